"""A table of cases, one after the other: a folder each, a table of all, and no row that is not accounted for.

What is done with a case is injected, so that a viewer can stage it in its own scene.
"""

import csv
import io
import json
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.cells import folder_name, same_folder
from GTRStagingLib.errors import Cancelled, InputError, StagingError
from GTRStagingLib.files import whole_file
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables import read_table

if TYPE_CHECKING:
    from GTRStagingLib.agreement import Agreement
    from GTRStagingLib.nomogram import Nomogram
    from GTRStagingLib.radscore import RadScore
    from GTRStagingLib.staging import StagingResult
    from GTRStagingLib.weights import Model

COLUMNS = ("case_id", "image", "roi", "segment", "key_slice")
"""As in a cohort table. The first two are needed; all others are carried into the results."""

RESULTS, FAILED, SCENE = "results.csv", "failed.json", "scene.mrb"
HEAD = ("case_id", "status", "stage", "unanimous", *(f"p_{stage}" for stage in TStage), "key_slice", "dice",
        "chance_dice", "iou", "hd95_mm", "centroid_distance_mm", "pointing_hit", "energy_inside", "seconds",
        "error")  # fmt: skip
"""Of `results.csv`; the table's own columns follow, the stage among them as `true_stage`: `stage` is what was
predicted."""

TRUE_STAGE = "true_stage"


@dataclass(frozen=True)
class BatchCase:
    """One row: what to stage. `key_slice` is an axial index, None to take the ROI's largest section.

    `given` are the table's other columns, by their names in the results.
    """

    case_id: str
    image: Path
    roi: Path | None = None
    segment: str | None = None
    key_slice: int | None = None
    given: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a case: its row of `results.csv`."""

    row: Mapping[str, str]

    @property
    def case_id(self) -> str:
        """The case's id."""
        return self.row["case_id"]

    @property
    def error(self) -> str | None:
        """Why it failed; None where it was staged."""
        return self.row["error"] if self.row["status"] == "failed" else None


def read_cases(path: Path) -> tuple[BatchCase, ...]:
    """Read a case table (CSV or Parquet); paths in it are relative to its folder.

    Raises
    ------
    InputError
        With every fault of the table: row (the header is 1) and what was expected.
    """
    table = read_table(path)
    if missing := [name for name in COLUMNS[:2] if name not in table.columns]:
        raise InputError(
            f"{path.name}: no column {', '.join(missing)} among {', '.join(table.columns)}; expected case_id and "
            f"image, and where wanted {', '.join(COLUMNS[2:])}. Rename the columns."
        )
    cases, faults, seen = [], [], dict[str, int]()
    folder = path.absolute().parent
    for number, cells in zip(table.numbers, table.rows, strict=True):
        try:
            case = _case(cells, folder)
        except ValueError as error:
            faults.append(f"row {number}: {error}")
            continue
        first = seen.setdefault(same_folder(case.case_id), number)
        if first != number:
            faults.append(f"row {number}: case_id {case.case_id!r}; expected an id of its own, row {first} has it too")
        cases.append(case)
    if faults:
        listing = "".join(f"\n  {fault}" for fault in faults[:20]) + ("\n  ..." if len(faults) > 20 else "")
        raise InputError(f"{path.name} has {len(faults)} fault(s); expected none. Correct the table:{listing}")
    return tuple(cases)


def _case(cells: Mapping[str, str | None], folder: Path) -> BatchCase:
    case_id, image = cells["case_id"], cells["image"]
    if case_id is None or image is None:
        raise ValueError("expected a case_id and an image")
    roi, key = cells.get("roi"), cells.get("key_slice")
    if key is not None and not key.isdecimal():
        raise ValueError(f"key_slice {key!r}; expected a whole number from 0 (the slice nearest the feet), or nothing")
    return BatchCase(
        case_id=folder_name(case_id),
        image=folder / image,
        roi=None if roi is None else folder / roi,
        segment=cells.get("segment"),
        key_slice=None if key is None else int(key),
        given={_name_in_results(name): text or "" for name, text in cells.items() if name not in COLUMNS},
    )


def _name_in_results(column: str) -> str:
    name = TRUE_STAGE if column == "stage" else column
    return f"given_{name}" if name in HEAD else name


StageOne = Callable[[BatchCase, Path], "StagingResult"]
"""Stages a case and writes its files into its folder."""

Told = Callable[[BatchCase, "StagingResult"], Mapping[str, str]]
"""Further columns of a case that was staged."""


def run(
    cases: Sequence[BatchCase], out: Path, stage_one: StageOne, told: Told = lambda case, result: {}
) -> Iterator[Outcome]:
    """Stage case after case, and give what became of each as it is known.

    `out/cases/CASE/` holds a case's files, or `failed.json` with the reason; `out/results.csv` has a row for every case
    that is done or has failed, and is whole at any moment. A case that fails does not stop the others.

    Raises
    ------
    StagingError
        If `out` cannot be written to. `Cancelled` passes through, whoever raised it.
    """
    from GTRStagingLib.report import OUTPUTS

    rows: list[Mapping[str, str]] = []
    for case in cases:
        folder = out / "cases" / case.case_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not rows:
                _write(out / RESULTS, rows)  # one of an earlier run never stands for this one
            for old in (*OUTPUTS, FAILED, SCENE):
                (folder / old).unlink(missing_ok=True)
        except OSError as error:
            raise StagingError(
                f"{folder}: {error.strerror}; expected a folder that can be written to. Choose another for the results."
            ) from error
        try:
            result = stage_one(case, folder)
            outcome = Outcome({**_row_of(case.case_id, result), **case.given, **told(case, result)})
        except Cancelled:
            raise
        except Exception as error:  # a case that nobody expected must not cost the others
            outcome = _failed(case, error, folder)
        rows.append(outcome.row)
        _write(out / RESULTS, rows)
        yield outcome


def stage_from_files(model: "Model", **options: Any) -> StageOne:
    """Stage a case from its files with the library alone; `options` are `staging.stage_case`'s."""
    from GTRStagingLib import images, keyslice, rois
    from GTRStagingLib.report import write_outputs
    from GTRStagingLib.staging import stage_case

    def stage_one(case: BatchCase, folder: Path) -> "StagingResult":
        scan = images.read_scan(case.image)
        tumour = None if case.roi is None else rois.read_roi(case.roi, segment=case.segment)
        key = None if case.key_slice is None else keyslice.by_index(scan.image, case.key_slice)
        result = stage_case(scan, model=model, tumour=tumour, key_slice=key, case_id=case.case_id, **options)
        write_outputs(result, folder)
        return result

    return stage_one


def scores_of(radscore: "RadScore | None", nomogram: "Nomogram | None") -> Told:
    """The Rad-score (standardised) and the nomogram's probabilities as further columns.

    The nomogram takes its terms from the table's columns of these names, and the Rad-score from `radscore`, or from the
    one that it carries itself. Where a term has no value, `nomogram_note` says so.
    """
    from GTRStagingLib import radscore as radscores

    if radscore is None and nomogram is not None and nomogram.radscore is not None:
        radscore = radscores.from_json(nomogram.radscore)

    def told(case: BatchCase, result: "StagingResult") -> Mapping[str, str]:
        found: dict[str, str] = {}
        if radscore is not None:
            found["radscore"] = repr(radscores.of_features(radscore, result.features, result.model.sha256))
        if nomogram is not None:
            given = {**case.given, **found}
            try:
                reading = nomogram.read({t.name: given[t.name] for t in nomogram.terms if given.get(t.name)})
            except InputError as error:
                return {**found, "nomogram_note": str(error)}
            found |= {f"nomogram_{s}": repr(p) for s, p in zip(TStage, reading.probabilities, strict=True)}
            found["nomogram_stage"] = str(reading.stage)
        return found

    return told


def _row_of(case_id: str, result: "StagingResult") -> Mapping[str, str]:
    prediction, agreement = result.prediction, result.agreement
    return {
        "case_id": case_id,
        "status": "done",
        "stage": str(prediction.stage),
        "unanimous": "yes" if prediction.unanimous else "no",
        **{f"p_{stage}": repr(p) for stage, p in zip(TStage, prediction.probabilities, strict=True)},
        "key_slice": str(result.key_slice.index),
        **({} if agreement is None else _agreement(agreement)),
        "seconds": f"{sum(result.timings_s.values()):.2f}",
        "error": "",
    }


def _agreement(agreement: "Agreement") -> Mapping[str, str]:
    """Empty where a measure is not defined."""
    cut = agreement.at_threshold
    numbers = {name: getattr(cut, name) for name in ("dice", "chance_dice", "iou", "hd95_mm", "centroid_distance_mm")}
    numbers["energy_inside"] = agreement.energy_inside
    hit = {True: "1", False: "0", None: ""}[agreement.pointing_hit]
    return {name: "" if math.isnan(x) else repr(x) for name, x in numbers.items()} | {"pointing_hit": hit}


def _failed(case: BatchCase, error: Exception, folder: Path) -> Outcome:
    known = isinstance(error, StagingError)
    said = " ".join(str(error).split()) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
    record = {"case_id": case.case_id, "error": said, "traceback": "".join(traceback.format_exception(error))}
    with whole_file(folder / FAILED) as stream:
        stream.write((json.dumps(record, indent=2) + "\n").encode())
    return Outcome({"case_id": case.case_id, "status": "failed", "error": said, **case.given})


def _write(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    names = dict.fromkeys((*HEAD, *(name for row in rows for name in row)))
    table = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with whole_file(path) as stream:
        stream.write(text.getvalue().encode())


__all__ = ["COLUMNS", "FAILED", "RESULTS", "SCENE", "TRUE_STAGE", "BatchCase", "Outcome", "StageOne", "Told",
           "read_cases", "run", "scores_of", "stage_from_files"]  # fmt: skip
