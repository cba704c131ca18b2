"""Row of a table of cases: the one type for all commands, and the one list of checks of its cells."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.addresses import WebAddress, is_web_address, parse_web_address
from GTRStagingLib.tables.cells import (
    KeySliceCell,
    Split,
    cell_text,
    covariate_value,
    folder_name,
    key_slice_of,
    plain_text,
    reason_of,
    split_of,
    unaltered_id,
    visible_text,
)
from GTRStagingLib.tables.stage_cells import NAMES, coded_stage


def _place(text: str) -> str:
    """Check the address of an archive; a path passes."""
    try:
        return parse_web_address(text).whole if is_web_address(text) else text
    except InputError as error:
        raise ValueError(without_backticks(error)) from error


CHECKS: Mapping[str, tuple[Callable[[str], Any], ...]] = {
    "case_id": (unaltered_id, folder_name),
    "patient_id": (unaltered_id,),
    "centre": (plain_text, visible_text),
    "image": (plain_text, _place),
    "series": (unaltered_id,),
    "roi": (plain_text,),
    "segment": (plain_text,),
    "key_slice": (key_slice_of,),
    "stomach": (plain_text,),
    "stomach_segment": (plain_text,),
    "stage": (partial(coded_stage, code=NAMES),),
    "split": (split_of,),
    "exclude": (reason_of,),
}
"""Checks of the cells of each column, in order; the last one gives the value. Further columns are covariates."""

_EMPTY = {"case_id": "expected an id for every case", "patient_id": "expected an id for every patient",
          "image": "expected the path of a CT", "stage": "expected T1 to T4"}  # fmt: skip


def checked(column: str, text: str) -> Any:
    """Return the value of a cell of `CHECKS`; raise ValueError with the expected value."""
    values = [check(text) for check in CHECKS[column]]
    return values[-1]


def expected(column: str) -> str:
    """Return what an empty cell of a required column should contain."""
    return _EMPTY.get(column, "expected a value in every row")


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """Row of a table of cases, checked on construction; None where nothing is known.

    Attributes
    ----------
    case_id
        Valid as a folder name.
    patient_id
        Empty if the table does not name patients.
    image, roi
        Paths of the CT and of the tumour for `imaging.inputs.read_inputs`; their existence is not checked.
    archive
        Address of the CT, for `archive.remote_series.read_remote`, where the table names no path.
    series
        UID, end of the UID, or number of the CT series, if a DICOM folder has several.
    segment
        Label or number of the segment, if the ROI has several.
    key_slice
        Axial index, 0 nearest the feet; or 'ko', for the slice that a key object selection marks.
    stomach, stomach_segment
        Path of a mask of the stomach, and its segment, for `imaging.rois.read_stomach`.
    exclude
        Reason to leave the case out.
    skip
        Reason why a batch does not stage the case: that of `exclude`, and others.
    covariates
        Numbers, texts, or None if missing. A text that can be read as a number must be given as a number.
    given
        Text of all cells but `case_id`, to copy them to results; empty for a missing value. Without cells for a row
        that was not read from a table.
    """

    case_id: str
    patient_id: str = ""
    image: Path | None = None
    archive: WebAddress | None = None
    centre: str | None = None
    roi: Path | None = None
    segment: str | None = None
    key_slice: KeySliceCell | None = None
    stomach: Path | None = None
    stomach_segment: str | None = None
    stage: TStage | None = None
    split: Split | None = None
    covariates: Mapping[str, str | float | None] = field(default_factory=dict, hash=False)
    series: str | None = None
    exclude: str | None = None
    skip: str | None = None
    given: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        checks: list[tuple[str, Any, Callable[[Any], Any]]] = [
            *((name, getattr(self, name), partial(_column, name)) for name in CHECKS),
            *(("name of a covariate", name, _covariate_name) for name in self.covariates),
            *((name, value, _covariate) for name, value in self.covariates.items()),
        ]
        for where, value, rule in checks:
            try:
                if value is not None:
                    rule(value)
            except ValueError as error:
                raise InputError(f"Case {self.case_id!r}, {where} {value!r}: {error}.") from error

    @classmethod
    def of(cls, cells: Mapping[str, str | None], folder: Path) -> Self:
        """Return the row of checked cells (see `case_table.read_case_table`); relative paths start at `folder`."""
        values: dict[str, Any] = {
            name: None if (text := cells.get(name)) is None else checked(name, text) for name in CHECKS
        }
        if is_web_address(values["image"]):
            values |= {"archive": parse_web_address(values["image"]), "image": None}
        for name in ("image", "roi", "stomach"):
            values[name] = None if values[name] is None else folder / values[name]
        return cls(
            **values | {"patient_id": values["patient_id"] or ""},
            covariates={
                name: None if text is None else covariate_value(text)
                for name, text in cells.items()
                if name not in CHECKS
            },
            skip=f"excluded: {values['exclude']}" if values["exclude"] else None,
            given={name: text or "" for name, text in cells.items() if name != "case_id"},
        )

    @property
    def ct(self) -> Path:
        """Path of the CT; raises `InputError` if the row names none."""
        if self.archive is not None:
            raise InputError(
                f"Case {self.case_id}: the image is in an archive; expected a path here. Export the series from the "
                "archive, and give its folder."
            )
        if self.image is None:
            raise InputError(f"Case {self.case_id} has no image; expected the path of a CT. Fill it in.")
        return self.image


Row = TypeVar("Row", bound=CaseRow)


@dataclass(frozen=True)
class Cases(Sequence[Row]):
    """Rows of a table of cases, in its order, and notes on how the table was read."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        return self.rows[index]


def _column(name: str, value: Any) -> None:
    if name == "patient_id" and value == "":
        return
    if str(checked(name, str(value))) != str(value):
        raise ValueError(f"expected {checked(name, str(value))}")


def _covariate_name(name: str) -> None:
    if plain_text(name) in CHECKS:
        raise ValueError("expected a name other than those of the columns")


def _covariate(value: str | float) -> None:
    if covariate_value(cell_text(value)) != value:
        raise ValueError("expected a finite number, or a text that cannot be read as a number")


__all__ = ["CHECKS", "CaseRow", "Cases", "checked", "expected"]
