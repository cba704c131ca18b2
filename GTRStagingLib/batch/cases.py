"""Read the case table of a batch: the cases to stage, and the cases to skip with the reason."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.case_table import read_case_table
from GTRStagingLib.tables.cells import folder_name, unaltered_id

COLUMNS = ("case_id", "image", "series", "roi", "segment", "key_slice", "exclude")
"""Known columns, as in a cohort table. The first two are required; columns beside these are copied to the results.
`exclude` contains the reason why a case is left out."""

SWITCHES = frozenset({"0", "1", "true", "false", "yes", "no", "y", "n"})
"""Values of `exclude` that are ambiguous, because a reason is expected."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class BatchCase:
    """One row of the case table.

    Attributes
    ----------
    image, roi
        Paths as `imaging.scans.read_scan` and `imaging.rois.read_roi` take them.
    segment
        Name or number of the segment, if the segmentation has several.
    key_slice
        Axial index; None: the largest section of the ROI.
    given
        The table's other columns, by name.
    skip
        Reason to leave the case out; None: stage it.
    series
        UID, end of the UID, or number of the CT series, as `imaging.scans.read_scan` takes it.
    """

    case_id: str
    image: Path
    roi: Path | None = None
    segment: str | None = None
    key_slice: int | None = None
    given: Mapping[str, str] = field(default_factory=dict, hash=False)
    skip: str | None = None
    series: str | None = None


def read_cases(path: Path, split: Collection[str] = ()) -> tuple[BatchCase, ...]:
    """Read a case table or cohort table (CSV or Parquet); its paths are relative to its folder.

    Rows without an image, with a reason in `exclude`, or in another split than those of `split` (all, if empty) are
    included, with the reason in `skip`.

    Raises
    ------
    InputError
        With every error of the table: its row (the header is row 1) and the expected content.
    """
    read = read_case_table(path, COLUMNS[:2], COLUMNS)
    if split and "split" not in read.table.columns:
        raise InputError(
            f"{path.name} has no column 'split'; expected one to select the cases of {', '.join(split)}. Split the "
            "cohort first, or leave out `split`."
        )
    cases, errors = [], []
    folder = path.absolute().parent
    for number, cells in zip(read.table.numbers, read.table.rows, strict=True):
        try:
            cases.append(_case(cells, folder, split))
        except ValueError as error:
            errors.append(f"row {number}, {error}")
    read.require(errors)
    return tuple(cases)


def _case(cells: Mapping[str, str | None], folder: Path, split: Collection[str]) -> BatchCase:
    case_id, image, roi, key = (cells.get(name) for name in ("case_id", "image", "roi", "key_slice"))
    if case_id is None:
        raise ValueError("case_id is empty: expected an id for every case")
    try:
        folder_name(unaltered_id(case_id))
    except ValueError as error:
        raise ValueError(f"case_id {case_id!r}: {error}") from error
    if key is not None and not (key.isdecimal() and len(key) < 10):
        raise ValueError(f"key_slice {key!r}: expected a whole number from 0 (the slice nearest the feet), or nothing")
    if series := cells.get("series"):
        try:
            unaltered_id(series)
        except ValueError as error:
            raise ValueError(f"series {series!r}: {error}") from error
    if (exclude := cells.get("exclude")) and exclude.casefold() in SWITCHES:
        raise ValueError(f"exclude {exclude!r}: expected the reason to leave the case out, or nothing")
    return BatchCase(
        case_id=case_id,
        image=folder / (image or ""),
        roi=None if roi is None else folder / roi,
        segment=cells.get("segment"),
        key_slice=None if key is None else int(key),
        given={name: text or "" for name, text in cells.items() if name not in COLUMNS},
        skip=_reason_to_skip(cells, split),
        series=series,
    )


def _reason_to_skip(cells: Mapping[str, str | None], split: Collection[str]) -> str | None:
    if reason := cells.get("exclude"):
        return f"excluded: {reason}"
    if cells["image"] is None:
        return "no image in the table"
    if split and (own := cells["split"]) not in split:
        return f"in split {own}" if own else "in no split"
    return None


__all__ = ["COLUMNS", "SPLITS", "BatchCase", "read_cases"]
