"""The rows of a batch: what is to be staged, and what is to be left out, with its reason."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.case_table import read_case_table
from GTRStagingLib.tables.cells import folder_name, whole_id

COLUMNS = ("case_id", "image", "roi", "segment", "key_slice", "exclude")
"""As in a cohort table. The first two are needed; all others are carried into the results. What stands under `exclude`
is why a case is left out."""

SWITCHES = frozenset({"0", "1", "true", "false", "yes", "no", "y", "n"})
"""What could mean either, where a reason is expected."""

SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class BatchCase:
    """One row: what to stage.

    Attributes
    ----------
    image, roi
        As `imaging.scans.read_scan` and `imaging.rois.read_roi` take them.
    segment
        Label or number, where the ROI has several.
    key_slice
        Axial index; None takes the ROI's largest section.
    given
        The table's other columns, by their own names.
    skip
        Why it is left out; None where it is to be staged.
    """

    case_id: str
    image: Path
    roi: Path | None = None
    segment: str | None = None
    key_slice: int | None = None
    given: Mapping[str, str] = field(default_factory=dict, hash=False)
    skip: str | None = None


def read_cases(path: Path, sides: Collection[str] = ()) -> tuple[BatchCase, ...]:
    """Read a case or cohort table (CSV or Parquet); paths in it are relative to its folder.

    Rows without an image, with a reason under `exclude`, or of another side than `sides` (all, if empty) are there too,
    and say why they are left out.

    Raises
    ------
    InputError
        With every fault of the table: row (the header is 1) and what was expected.
    """
    read = read_case_table(path, COLUMNS[:2], COLUMNS)
    if sides and "split" not in read.table.columns:
        raise InputError(
            f"{path.name} has no column split, and the cases of {', '.join(sides)} are asked for; expected one. Split "
            "the cohort first (gtrstaging cohort split), or leave --split out."
        )
    cases, faults = [], []
    folder = path.absolute().parent
    for number, cells in zip(read.table.numbers, read.table.rows, strict=True):
        try:
            cases.append(_case(cells, folder, sides))
        except ValueError as error:
            faults.append(f"row {number}, {error}")
    read.require(faults)
    return tuple(cases)


def _case(cells: Mapping[str, str | None], folder: Path, sides: Collection[str]) -> BatchCase:
    case_id, image, roi, key = (cells.get(name) for name in ("case_id", "image", "roi", "key_slice"))
    if case_id is None:
        raise ValueError("case_id is empty: expected an id for every case")
    try:
        folder_name(whole_id(case_id))
    except ValueError as error:
        raise ValueError(f"case_id {case_id!r}: {error}") from error
    if key is not None and not key.isdecimal():
        raise ValueError(f"key_slice {key!r}: expected a whole number from 0 (the slice nearest the feet), or nothing")
    if (exclude := cells.get("exclude")) and exclude.casefold() in SWITCHES:
        raise ValueError(f"exclude {exclude!r}: expected the reason to leave the case out, or nothing")
    return BatchCase(
        case_id=case_id,
        image=folder / (image or ""),
        roi=None if roi is None else folder / roi,
        segment=cells.get("segment"),
        key_slice=None if key is None else int(key),
        given={name: text or "" for name, text in cells.items() if name not in COLUMNS},
        skip=_reason_to_skip(cells, sides),
    )


def _reason_to_skip(cells: Mapping[str, str | None], sides: Collection[str]) -> str | None:
    if reason := cells.get("exclude"):
        return f"excluded: {reason}"
    if cells["image"] is None:
        return "no image in the table"
    if sides and (side := cells["split"]) not in sides:
        return f"of side {side}" if side else "of no side"
    return None


__all__ = ["COLUMNS", "SIDES", "BatchCase", "read_cases"]
