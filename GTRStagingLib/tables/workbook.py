"""Read the first sheet of an Excel workbook (`.xlsx`) as texts. Needs openpyxl, of the extra `cohort`."""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.support import extras
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.cells import cell_text
from GTRStagingLib.tables.headers import PATIENTS, find

IDS = ("case_id", "series")
"""Columns of ids, with those of patients: their numbers may have lost digits."""

DIGITS = 15
"""Number of digits that Excel keeps."""

_ZEROS = re.compile(r"0+", re.ASCII)


def read_workbook(path: Path) -> tuple[list[list[str]], tuple[str, ...]]:
    """Return the cells of the first sheet, the header included, and notes on what else the workbook has.

    A formula gives its stored result. Hidden rows and columns are read.

    Raises
    ------
    InputError
        If the file is not a workbook, cells are merged, a formula has no result, or Excel has altered an id.
    MissingDependencyError
        If openpyxl is not installed.
    """
    openpyxl = extras.import_extra("openpyxl", "Excel workbooks need", "cohort")
    try:
        with path.open("rb") as file:
            results = openpyxl.load_workbook(file, data_only=True)
        with path.open("rb") as file:
            formulas = openpyxl.load_workbook(file)
    except Exception as error:  # the layers of a workbook raise many kinds
        raise InputError(
            f"{path.name} cannot be read as an Excel workbook; expected a whole .xlsx file without a password. Save it "
            "again, or as 'CSV UTF-8'."
        ) from error
    if not results.worksheets:
        raise InputError(f"{path.name} has no sheet with cells; expected a table. Save the table as the first sheet.")
    sheet = results.worksheets[0]
    if merged := sorted(map(str, sheet.merged_cells.ranges)):
        raise InputError(
            f"{path.name}, cells {merged[0]} are merged ({len(merged)} such places); expected a value in every cell. "
            "Unmerge the cells, and fill them in."
        )
    _require_results(path, sheet, formulas.worksheets[0])
    rows = [[_text(cell) for cell in row] for row in sheet.iter_rows()]
    _require_unaltered_ids(path, sheet)
    return rows, tuple(_notes(path, results, sheet))


def _notes(path: Path, workbook: Any, sheet: Any) -> Iterator[str]:
    if len(workbook.sheetnames) > 1:
        yield f"{path.name} has {len(workbook.sheetnames)} sheets; {sheet.title!r}, the first one, is read."
    if hidden := sum(one.hidden for one in sheet.row_dimensions.values()):
        yield f"{counted(hidden, 'hidden row')} of {path.name} read, too. Delete what does not belong to the table."
    if columns := [name for name, one in sheet.column_dimensions.items() if one.hidden]:
        yield f"Hidden columns of {path.name} are read, too (from column {columns[0]})."


def _text(cell: Any) -> str:
    value = cell.value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
    if isinstance(value, int) and _ZEROS.fullmatch(cell.number_format or ""):
        return str(value).zfill(len(cell.number_format))  # shown as 007
    return cell_text(value)


def _require_results(path: Path, results: Any, formulas: Any) -> None:
    """Raise `InputError` if a formula has no stored result, as in a file that Excel has not saved."""
    for row in formulas.iter_rows():
        for cell in row:
            if cell.data_type == "f" and results[cell.coordinate].value is None:
                raise InputError(
                    f"{path.name}, cell {cell.coordinate} has a formula without a result; expected a value. Open and "
                    "save the workbook in Excel, or replace the formulas by their values."
                )


def _require_unaltered_ids(path: Path, sheet: Any) -> None:
    """Raise `InputError` if an id is a date, a fraction, or a number of more digits than Excel keeps."""
    rows = sheet.iter_rows()
    header = [_text(cell).strip() for cell in next(rows, ())]
    names = [found for name in (*IDS, *PATIENTS) if (found := find(header, [name])) is not None]
    columns = {header.index(name): name for name in names}
    for row in rows:
        for index, name in columns.items():
            value = row[index].value
            altered = (isinstance(value, float) and not value.is_integer()) or (
                isinstance(value, int | float) and abs(value) >= 10**DIGITS
            )
            if altered or isinstance(value, datetime.date | datetime.time):
                raise InputError(
                    f"{path.name}, row {row[index].row}, {name} {_text(row[index])!r}: expected the original id, not a "
                    "number or date of Excel. Format the column as text, and enter the ids again."
                )


__all__ = ["read_workbook"]
