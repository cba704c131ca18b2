"""Read structured reports of this software back, from files or folders."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from GTRStagingLib.dicom_results import codes as c
from GTRStagingLib.dicom_results.identity import is_result
from GTRStagingLib.dicom_results.report_content import ReportContent
from GTRStagingLib.dicom_results.structured_report import CASE, SLICE
from GTRStagingLib.dicom_results.write import read_object, references_of
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_files import begins_as_dicom, import_dicom_package
from GTRStagingLib.imaging.dicom_references import OWN_MODEL
from GTRStagingLib.imaging.keyslice import ChosenBy
from GTRStagingLib.staging.familiarity import Verdict
from GTRStagingLib.staging.voting import Prediction, SlicePrediction
from GTRStagingLib.support.counts import counted

REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
"""SOP class of our reports, Comprehensive 3D SR."""

REPORT_CLASSES = "1.2.840.10008.5.1.4.1.1.88."
"""Beginning of the SOP classes of structured reports and key objects."""

KEY_OBJECTS_CLASS = "1.2.840.10008.5.1.4.1.1.88.59"

LARGEST_REPORT = 16 << 20
"""Largest report in bytes; ours have about 50 kB."""

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ReadReports:
    """Reports that were found.

    Attributes
    ----------
    reports
        One for each case, in the order of the files.
    notes
        Sentences on what was left out.
    """

    reports: tuple[ReportContent, ...]
    notes: tuple[str, ...]


def read_reports(paths: Iterable[Path]) -> ReadReports:
    """Read all reports of this software in files and folders, at any depth.

    Other objects in folders are passed over; reports of other software are left out and noted.

    Raises
    ------
    InputError
        If a path does not exist, a report is damaged or was changed, two reports of one case differ, or there is none.
    """
    import_dicom_package("pydicom")
    found: dict[str, tuple[ReportContent, Path]] = {}
    foreign, again = [], 0
    for path in _files(paths):
        ds = _read(path)
        if ds is None:
            continue
        if not _is_ours(ds):
            foreign.append(path.name)
            continue
        report = report_of(ds, path.name)
        if report.case_id not in found:
            found[report.case_id] = report, path
        elif found[report.case_id][0].digest == report.digest:
            again += 1
        else:
            raise InputError(
                f"{found[report.case_id][1].name} and {path.name} are two different reports of case "
                f"{report.case_id!r}; expected one. Move the older one away, or give the files that count."
            )
    if not found:
        raise InputError(
            f"No structured report of {OWN_MODEL} was found ({counted(len(foreign), 'report')} of other software); "
            "expected at least one. Stage with DICOM results first, or give their folder."
        )
    notes = []
    if foreign:
        few = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
        notes.append(f"{counted(len(foreign), 'report')} of other software left out: {few}.")
    if again:
        notes.append(f"{counted(again, 'report')} with the content of another one left out.")
    return ReadReports(tuple(report for report, _ in found.values()), tuple(notes))


def report_of(ds: Any, name: str) -> ReportContent:
    """Return the content of a report.

    Parameters
    ----------
    ds
        pydicom dataset of a report of this software.
    name
        Name of the file, for messages.

    Raises
    ------
    InputError
        If the report is incomplete, or its content is not what was written.
    """
    try:
        content, digest = _content(ds)
    except (AttributeError, IndexError, KeyError, LookupError, TypeError, ValueError) as error:
        raise _changed(name, f"it cannot be read ({type(error).__name__}: {error})") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if content.digest != digest:
        raise _changed(name, "its content does not match the digest that was written with it")
    return content


def _changed(name: str, why: str) -> InputError:
    return InputError(
        f"{name}: {why}; expected a report as this software wrote it. It was damaged or changed: export it again from "
        "the archive, or stage the case again."
    )


# -- files ---------------------------------------------------------------------------------------------------------


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of paths, each once."""
    seen = set()
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a folder or files with structured reports.")
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if one.is_file() and one.resolve() not in seen:
                seen.add(one.resolve())
                yield one


def _read(path: Path) -> Any:
    """Return the dataset of a structured report; None for other files."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    with path.open("rb") as file:
        if not begins_as_dicom(file.read(1024), path):
            return None
    try:
        head = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        kind = str(head.get("SOPClassUID") or "")
    except (InvalidDicomError, OSError, EOFError, ValueError, AttributeError, NotImplementedError) as error:
        raise _changed(path.name, f"it cannot be read ({type(error).__name__})") from error
    if not kind.startswith(REPORT_CLASSES) or kind == KEY_OBJECTS_CLASS:
        return None
    if (size := path.stat().st_size) > LARGEST_REPORT:
        raise InputError(f"{path.name} has {size:,} bytes; expected a report of at most {LARGEST_REPORT:,}.")
    ds = read_object(path)
    if ds is None:
        raise _changed(path.name, "it is damaged or cut off")
    return ds


def _is_ours(ds: Any) -> bool:
    return ds.SOPClassUID == REPORT_CLASS and is_result(ds)


# -- content -------------------------------------------------------------------------------------------------------


def _content(ds: Any) -> tuple[ReportContent, str]:
    """Return the content of a report and the digest that it states."""
    cases, slices, regions = [], [], []
    for group in _groups(ds):
        if group.tracking.startswith(f"{CASE} "):
            cases.append(group)
        elif group.tracking.startswith(f"{SLICE} "):
            slices.append(group)
        else:
            regions.append(group)
    (case,) = cases
    _require_same_stage(ds, case)
    prediction = Prediction(
        tuple(
            SlicePrediction(_whole(one.number(c.SLICE_OFFSET)), tuple(map(one.number, c.PROBABILITIES.values())))  # type: ignore[arg-type]
            for one in slices
        )
    )
    for one in slices:
        voted = next(each for each in prediction.slices if each.offset == one.number(c.SLICE_OFFSET))
        if one.one_of(c.QUESTION, c.STAGES) != voted.stage:
            raise ValueError(f"a slice's stage is not that of its probabilities, {voted.stage}")
    means = list(map(case.number, c.PROBABILITIES.values()))
    if not all(math.isclose(*both, abs_tol=1e-9) for both in zip(means, prediction.probabilities, strict=True)):
        raise ValueError("the probabilities of the case are not the mean of its slices'")
    listed = {uid for _, uid in references_of(ds)}
    for group in (case, *slices, *regions):
        if not group.images or not listed.issuperset(group.images):
            raise ValueError(f"the images of {group.tracking!r} are not in the list of evidence")
    region = regions[0] if regions else None
    algorithm = dict(text.split(": ", 1) for text in case.texts("111002"))  # Algorithm Parameters
    chosen_by = case.text(c.KEY_CHOSEN_BY[0])
    if chosen_by not in get_args(ChosenBy):
        raise ValueError(f"key slice by {chosen_by!r}")
    content = ReportContent(
        case_id=case.tracking.removeprefix(f"{CASE} "),
        software=case.text("111003"),  # Algorithm Version
        model=algorithm["model"],
        model_warning=case.maybe_text(c.MODEL_WARNING),
        weights_sha256=algorithm["weights_sha256"],
        card_sha256=algorithm["card_sha256"],
        method=algorithm["method"],
        prediction=prediction,
        stage=case.one_of(c.QUESTION, c.STAGES),
        key_slice=_whole(case.number(c.KEY_INDEX)),
        key_slice_by=chosen_by,
        key_position_mm=case.maybe(c.KEY_POSITION),
        slice_mm=case.maybe(c.SLICE_DISTANCE),
        familiarity=case.one_of(c.FAMILIARITY, {verdict: c.VERDICTS[verdict] for verdict in get_args(Verdict)}),
        percentile=case.maybe(c.FAMILIARITY_RANK),
        reasons=tuple(case.texts(c.FAMILIARITY_REASON[0])),
        set_stages=tuple(_key(c.STAGES, value) for value in case.codes(c.SET_STAGE)),
        set_level=case.maybe(c.SET_LEVEL),
        set_withheld=case.maybe_text(c.SET_WITHHELD),
        looks=_whole(case.number(c.LOOKS)),
        spread=case.maybe(c.SPREAD),
        threshold=None if region is None else region.number(c.THRESHOLD),
        agreement={} if region is None else region.all_of(c.AGREEMENT),
        pointing_hit=None if region is None else _hit(region.codes(c.POINTING)),
        warnings=tuple(case.texts(c.WARNING[0])),
    )
    return content, case.text(c.DIGEST[0])


def _groups(ds: Any) -> "Iterator[_Group]":
    """Yield the measurement groups; those of stage and slices were below the measurements in earlier versions."""
    for name in (c.IMAGING_MEASUREMENTS, c.QUALITATIVE_EVALUATIONS):
        for whole in _named(ds, name):
            yield from map(_Group, _named(whole, c.MEASUREMENT_GROUP))


def _require_same_stage(ds: Any, case: "_Group") -> None:
    """Raise an error if the evaluations of the document are not those of the case's group, which the digest covers."""
    for whole in map(_Items, _named(ds, c.QUALITATIVE_EVALUATIONS)):
        for name in (c.QUESTION, c.INTENDED_USE, c.MODEL_STATUS, c.FAMILIARITY):
            if whole.codes(name) != case.codes(name):
                raise ValueError(f"{name[2]} of the document is not that of the case")
        if whole.texts(c.MODEL_WARNING[0]) != case.texts(c.MODEL_WARNING[0]):
            raise ValueError("the warning of the model is not that of the case")


class _Items:
    """Items of a container by the value of their names' codes."""

    def __init__(self, item: Any) -> None:
        self._items: dict[str, list[Any]] = {}
        for one in item.ContentSequence:
            self._items.setdefault(str(one.ConceptNameCodeSequence[0].CodeValue), []).append(one)

    def texts(self, value: str) -> list[str]:
        return [str(one.TextValue) for one in self._items.get(value, ())]

    def text(self, value: str) -> str:
        (text,) = self.texts(value)
        return text

    def maybe_text(self, code: c.Code) -> str | None:
        return self.text(code[0]) if code[0] in self._items else None

    def number(self, code: c.Code) -> float:
        (one,) = self._items[code[0]]
        (measured,) = one.MeasuredValueSequence
        text = float(measured.NumericValue)
        exact = float(measured.get("FloatingPointValue", text))
        if not math.isclose(exact, text, rel_tol=1e-9):
            raise ValueError(f"{code[2]} is {text!r} and {exact!r}")
        return exact

    def maybe(self, code: c.Code) -> float | None:
        return self.number(code) if code[0] in self._items else None

    def all_of(self, known: Mapping[str, c.Code]) -> dict[str, float]:
        return {name: self.number(code) for name, code in known.items() if code[0] in self._items}

    def codes(self, name: c.Code) -> list[str]:
        found = [one for value in _values(name) for one in self._items.get(value, ())]
        return [str(one.ConceptCodeSequence[0].CodeValue) for one in found]

    def one_of(self, name: c.Code, known: Mapping[Any, c.Code]) -> Any:
        (value,) = self.codes(name)
        return _key(known, value)


class _Group(_Items):
    """Items of a measurement group, its tracking identifier, and the UIDs of its images."""

    def __init__(self, item: Any) -> None:
        super().__init__(item)
        self.tracking = self.text(c.TRACKING_ID[0])
        images = [one for one in item.ContentSequence if one.ValueType == "IMAGE"]
        self.images = [str(one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for one in images]


def _values(code: c.Code) -> tuple[str, ...]:
    """Return the values of a code in both codings."""
    return tuple(dict.fromkeys((code[0], c.in_private(code)[0])))


def _key(known: Mapping[_Found, c.Code], value: str) -> _Found:
    return next(key for key, code in known.items() if value in _values(code))


def _hit(found: list[str]) -> bool | None:
    return None if not found else found[0] == c.POINTING_HIT[0]


def _named(item: Any, name: c.Code) -> list[Any]:
    """Return the items of a container, or of the document, with a name."""
    return [one for one in item.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == name[0]]


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError(f"{value}, not a whole number")
    return int(value)


__all__ = ["ReadReports", "read_reports", "report_of"]
