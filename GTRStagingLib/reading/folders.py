"""Write the folder of a study: a folder to hand out for each reader, and the organiser's own.

The reader's folder has no id of a case, no stage of a patient, and no text of an image's header. What is in
`organiser` is never handed out.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from GTRStagingLib import __version__
from GTRStagingLib.batch.columns import PROBABILITIES
from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import axial_size
from GTRStagingLib.reading.advice import Advice
from GTRStagingLib.reading.case_images import read_case, write_case_image, write_map
from GTRStagingLib.reading.designs import AIDED, TRAINING, Design, Planned, Schedule, case_codes, schedule
from GTRStagingLib.reading.plan import (
    ADVICE,
    CASES,
    READERS,
    Plan,
    PlannedCase,
    PlannedItem,
    Rules,
    advice_file,
    map_file,
)
from GTRStagingLib.reading.readers_table import ReaderRow
from GTRStagingLib.reading.seals import equal_times, seal
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import new_folder, sha256_of_data, write_json
from GTRStagingLib.tables.table_files import write_table

ORGANISER = "organiser"
STUDY, KEY, TRUTH, SCHEDULE, GIVEN = "study.json", "key.csv", "truth.csv", "schedule.csv", "advice.csv"
"""Files of the organiser."""

KIND = "reader study"
COPIED, REFERRED = "copy", "reference"

README = f"""Folder of a reader in a reader study. {RESEARCH_USE_ONLY}

Open it with the module GTR Reading of 3D Slicer, or with `gtrstaging reading serve`. Do not change, rename or open its
files by hand: the software notices it. Your answers are in log.jsonl. Give the whole folder back to the organiser.
"""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How the folder of a study is written.

    Attributes
    ----------
    images
        'copy' of the voxels, without a header; or 'reference' to the files of the cohort table, whose paths and headers
        readers can then see.
    keep_advice
        Write the advice into the organiser's folder, to be handed out after the first period.
    """

    design: Design
    rules: Rules = field(default_factory=Rules)
    images: str = COPIED
    keep_advice: bool = False

    def __post_init__(self) -> None:
        if self.images not in (COPIED, REFERRED):
            raise InputError(f"`images` is {self.images!r}; expected {COPIED} or {REFERRED}. Choose one.")


@dataclass(frozen=True)
class _Prepared:
    """Case whose image is ready: its files in a temporary folder, or a reference."""

    slices: int
    key_slice: int | None
    image: Path | None
    drawn: Path | None
    reference: Path | None = None
    digest: str | None = None
    series: str | None = None


def write_study(
    cohort: Cohort,
    readers: Sequence[ReaderRow],
    advice: Mapping[str, Advice],
    out: Path,
    options: StudyOptions,
    *,
    progress: Callable[[str], None] = lambda case: None,
    facts: Mapping[str, Any] | None = None,
) -> Schedule:
    """Write the folder of a study, whole or not at all.

    Parameters
    ----------
    cohort
        Cases with stages and images.
    advice
        Case id -> the model's advice, with its map if the rules show it.
    out
        Folder, which must not exist.
    progress
        Called with the id of each case before it is read.
    facts
        Further content of the organiser's `study.json`.

    Raises
    ------
    InputError
        If the folder exists, the design is not possible, or a case has no image or no key slice that it needs.
    OutputError, OSError
        If it cannot be written.
    """
    if out.exists():
        raise InputError(f"{out.name} exists; expected a new folder. Choose another `out`.")
    rules, design = options.rules, options.design
    names = [reader.name for reader in readers]
    planned = schedule(list(cohort), names, design)
    codes = case_codes(names, [case.case_id for case in cohort], design.seed)
    study = sha256_of_data("study", design.seed, sorted(case.case_id for case in cohort), names)[:16]
    with new_folder(out) as work, tempfile.TemporaryDirectory(dir=work) as spare:
        ready = {case.case_id: _prepared(case, advice[case.case_id], Path(spare), options, progress) for case in cohort}
        if rules.marks_key_slice and (none := [one for one, case in ready.items() if case.key_slice is None]):
            raise InputError(
                f"{counted(len(none), 'case has', 'cases have')} no key slice ({', '.join(none[:5])}); expected one to "
                "mark. Fill in the column key_slice or roi, or do not mark key slices."
            )
        seals = {}
        for name in names:
            folder, held = work / READERS / name, work / ORGANISER / ADVICE / name
            items = planned.readings[name]
            plan = Plan(study, name, rules, *_plan(items, codes[name], ready, marks=rules.marks_key_slice))
            _write_reader(folder, plan, ready, codes[name], items)
            place = held if options.keep_advice else folder
            _write_advice(place, ready, codes[name], items, advice, rules)
            seals[name] = seal(folder, [held] if options.keep_advice else [])
            equal_times(folder)
        _write_organiser(work / ORGANISER, cohort, planned, codes, advice, ready)
        write_json(
            {"kind": KIND, "schema": 1, "study": study, "software": __version__, "design": design.to_json(),
             "rules": asdict(rules) | {"shows": list(rules.shows)}, "images": options.images,
             "keep_advice": options.keep_advice,
             "readers": {one.name: {"manifest": seals[one.name], "group": planned.groups[one.name],
                                    "given": dict(one.given)} for one in readers},
             **(facts or {})}, work / ORGANISER / STUDY,
        )  # fmt: skip
    return planned


def _prepared(
    case: Case, advice: Advice, spare: Path, options: StudyOptions, progress: Callable[[str], None]
) -> _Prepared:
    progress(case.case_id)
    scan, key_slice = read_case(case)
    slices, number = axial_size(scan.grid)[2], len(list(spare.iterdir()))
    drawn, image = None, None
    if advice.map is not None:
        drawn = spare / f"{number}-map.nii.gz"
        write_map(advice.map, scan, drawn)
    if options.images == REFERRED:
        # The series that an ROI chose among several is named, since readers have no ROI.
        series = case.series or scan.identifiers.get("SeriesInstanceUID")
        return _Prepared(slices, key_slice, None, drawn, case.ct.absolute(), scan.digest, series)
    image = spare / f"{number}.nii.gz"
    write_case_image(scan, image)
    return _Prepared(slices, key_slice, image, drawn)


def _plan(
    items: Sequence[Planned], codes: Mapping[str, str], ready: Mapping[str, _Prepared], *, marks: bool
) -> tuple[dict[str, PlannedCase], tuple[PlannedItem, ...]]:
    """Return the cases of a reader by their codes, sorted by these, and the items."""
    cases, found = {}, []
    for place, one in _places(items):
        code, case = codes[one.case_id], ready[one.case_id]
        image = f"{CASES}/{code}.nii.gz" if case.reference is None else str(case.reference)
        key_slice = case.key_slice if marks else None
        cases[code] = PlannedCase(code, image, case.slices, case.series, case.digest, key_slice)
        found.append(PlannedItem(code, one.phase, one.period, one.kind, place))
    return {code: cases[code] for code in sorted(cases)}, tuple(found)


def _write_reader(
    folder: Path,
    plan: Plan,
    ready: Mapping[str, _Prepared],
    codes: Mapping[str, str],
    items: Sequence[Planned],
) -> None:
    (folder / CASES).mkdir(parents=True)
    (folder / "README.txt").write_text(README, encoding="utf-8")
    for case_id in sorted({one.case_id for one in items}, key=codes.__getitem__):
        if (image := ready[case_id].image) is not None:
            shutil.copyfile(image, folder / CASES / f"{codes[case_id]}.nii.gz")
    plan.write(folder)


def _write_advice(
    folder: Path,
    ready: Mapping[str, _Prepared],
    codes: Mapping[str, str],
    items: Sequence[Planned],
    advice: Mapping[str, Advice],
    rules: Rules,
) -> None:
    """Write the parts of the advice that the design shows, of the cases that a reader reads with it."""
    for case_id in sorted({one.case_id for one in items if one.phase == AIDED}, key=codes.__getitem__):
        write_json(advice[case_id].only(rules.shows).to_json(), folder / advice_file(codes[case_id]))
        if "map" in rules.shows and (drawn := ready[case_id].drawn) is not None:
            shutil.copyfile(drawn, folder / map_file(codes[case_id]))


def _write_organiser(
    folder: Path,
    cohort: Cohort,
    planned: Schedule,
    codes: Mapping[str, Mapping[str, str]],
    advice: Mapping[str, Advice],
    ready: Mapping[str, _Prepared],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(name, own[case_id], case_id) for name, own in codes.items() for case_id in sorted(own)]
    _table(folder / KEY, ("reader", "code", "case_id"), rows)
    cases = list(cohort)
    kinds = dict.fromkeys(planned.training, TRAINING)
    truth = [
        (
            one.case_id,
            one.patient_id,
            one.centre,
            None if one.stage is None else one.stage.name,
            kinds.get(one.case_id, str(planned.parts.get(one.case_id, 0) + 1)),
            ready[one.case_id].key_slice,
            ready[one.case_id].slices,
        )
        for one in cases
    ]
    _table(folder / TRUTH, ("case_id", "patient_id", "centre", "stage", "part", "key_slice", "slices"), truth)
    order = [
        (name, str(one.period), str(place), one.phase, one.kind, one.case_id)
        for name, items in planned.readings.items()
        for place, one in _places(items)
    ]
    _table(folder / SCHEDULE, ("reader", "period", "place", "phase", "kind", "case_id"), order)
    given = [
        (case_id, None if one.stage is None else one.stage.name, " ".join(vote.name for vote in one.votes) or None,
         one.stage_set, *(one.probabilities or (None,) * len(PROBABILITIES)))
        for case_id, one in advice.items()
    ]  # fmt: skip
    _table(folder / GIVEN, ("case_id", "stage", "votes", "stage_set", *PROBABILITIES), given)


def _places(items: Sequence[Planned]) -> list[tuple[int, Planned]]:
    places: dict[int, int] = {}
    found = []
    for one in items:
        places[one.period] = places.get(one.period, 0) + 1
        found.append((places[one.period], one))
    return found


def _table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in header]
    write_table(path, dict(zip(header, columns, strict=True)))


__all__ = ["COPIED", "GIVEN", "KEY", "KIND", "ORGANISER", "REFERRED", "SCHEDULE", "STUDY", "TRUTH",
           "StudyOptions", "write_study"]  # fmt: skip
