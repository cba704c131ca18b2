"""Read a table of cases: find its columns, check every cell, and list all errors."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.addresses import WEB, is_web_address
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.case_row import CHECKS, Cases, Row, checked, expected
from GTRStagingLib.tables.cells import covariate_value, folder_key
from GTRStagingLib.tables.headers import COLUMNS, columns_read, patient_note
from GTRStagingLib.tables.table_files import Table, read_table

SHOWN = 20
"""Number of errors that a message lists; further ones are only counted. Also of columns."""

WORDED = ("key_slice", "stage", "split")
"""Columns with values that can be written in several ways."""


def read_case_table(
    path: Path,
    needed: Sequence[str],
    *,
    may_be_empty: Collection[str] = (),
    own: Collection[str] = (),
    keep_excluded: bool = False,
) -> Table:
    """Read a table of cases with the names of `COLUMNS` for its columns, and every cell checked.

    The notes of the table state each column that has another name, and each stage or split in another spelling.

    Parameters
    ----------
    needed
        Required columns of `COLUMNS`.
    may_be_empty
        Those of `needed` in which cells may be empty.
    own
        Columns that the caller uses under their own names.
    keep_excluded
        Keep the rows with a reason in `exclude`, which are left out otherwise, with a note.

    Raises
    ------
    InputError
        If the file cannot be read, a required column is missing, or a cell is wrong; the message lists each error with
        row (the header is 1), column, value and expected value.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.tables.case_table import read_case_table
    >>> with Path("cases.csv").open("w") as file:
    ...     for row in ("case_id,PatientID,stage", "a,007,T4a"):
    ...         print(row, file=file)
    >>> table = read_case_table(Path("cases.csv"), ["case_id", "patient_id"])
    >>> table.rows
    ({'case_id': 'a', 'patient_id': '007', 'stage': 'T4'},)
    >>> table.notes
    ("Column 'PatientID' is read as 'patient_id'.", "Column 'stage': 'T4a' is read as 'T4'.")
    """
    table = read_table(path)
    found, notes, faults = columns_read(table.columns, own)
    if missing := [name for name in needed if name not in found]:
        shown = [*table.columns[:SHOWN], *(["…"] if len(table.columns) > SHOWN else [])]
        optional = [name for name in COLUMNS if name not in needed]
        raise InputError(
            f"{path.name}: column {', '.join(missing)} is missing; found {', '.join(shown)}. Required: "
            f"{', '.join(needed)}; optional: {', '.join(optional)}. Rename the columns."
        )
    called = {spelt: name for name, spelt in found.items()}
    header = tuple(called.get(name, name) for name in table.columns)
    faults += [f"row 1, column {name!r}: expected a column of this name once; rename the column" for name in found
               if header.count(name) > 1]  # fmt: skip
    filled = set(needed) - set(may_be_empty)
    rows, altered = [], dict[str, dict[str, str]]()
    for number, cells in zip(table.numbers, table.rows, strict=True):
        row: dict[str, str | None] = {}
        for spelt, text in cells.items():
            name = called.get(spelt, spelt)
            try:
                row[name] = _canonical(name, text, filled if spelt in called else ())
            except ValueError as error:
                faults.append(f"row {number}, {name} {error}")
                continue
            if text is not None and row[name] != text and name in CHECKS:
                altered.setdefault(name, {})[text] = str(row[name])
        rows.append(row)
    require_none(path, [*faults, *_duplicate_ids(table.numbers, rows)])
    notes += [f"Column {name!r}: {next(iter(texts))!r} is read as {next(iter(texts.values()))!r}."
              for name, texts in altered.items() if name != "key_slice"]  # fmt: skip
    numbers = table.numbers
    if "exclude" in found and not keep_excluded:
        kept = [i for i, row in enumerate(rows) if row["exclude"] is None]
        if not kept:
            raise InputError(f"{path.name}: every row has a reason in the column 'exclude'; expected rows without one.")
        if out := len(rows) - len(kept):
            notes.append(f"{out} of {len(rows)} cases are left out, for the reason in the column 'exclude'.")
        rows, numbers = [rows[i] for i in kept], tuple(numbers[i] for i in kept)
    if "patient_id" in found:
        notes += patient_note(found["patient_id"], len(rows), len({row["patient_id"] for row in rows}))
    return Table(path, header, tuple(rows), numbers, (*table.notes, *notes))


def read_cases(
    path: Path,
    needed: Sequence[str],
    row: type[Row],
    *,
    may_be_empty: Collection[str] = (),
    keep_excluded: bool = False,
) -> Cases[Row]:
    """Read a table of cases as rows of a type; see `read_case_table`. Relative paths start at the table's folder."""
    table = read_case_table(path, needed, may_be_empty=may_be_empty, keep_excluded=keep_excluded)
    folder = path.absolute().parent
    return Cases(tuple(row.of(cells, folder) for cells in table.rows), table.notes)


def _canonical(name: str, text: str | None, filled: Collection[str]) -> str | None:
    """Return a cell as the library writes it; raise ValueError with what was met and expected."""
    if text is None:
        if name in filled:
            raise ValueError(f"is empty: {expected(name)}")
        return None
    try:
        if name not in CHECKS:
            covariate_value(text)
            return text
        value = checked(name, text)
    except ValueError as error:
        # An address may contain a UID or, against the rules, a password.
        raise ValueError(f"{WEB if is_web_address(text) else repr(text)}: {error}") from error
    return str(value) if name in WORDED else text


def _duplicate_ids(numbers: Sequence[int], rows: Sequence[Mapping[str, str | None]]) -> list[str]:
    faults, first_rows = [], dict[str, int]()
    for number, cells in zip(numbers, rows, strict=True):
        name = folder_key(cells.get("case_id") or "")
        if name and (first := first_rows.setdefault(name, number)) != number:
            faults.append(
                f"row {number}, case_id {cells['case_id']!r}: expected a unique id, ignoring case; row {first} has the "
                "same id"
            )
    return faults


def split_notes(empty: int, rows: int) -> list[str]:
    """Return a note on the number of rows with an empty `split`, for commands that fit on a split or evaluate one."""
    if not empty:
        return []
    if empty == rows:
        return ["Column 'split' is empty in all rows, so that no row is kept for testing. Write train, validation, "
                "test or calibration into it, or leave the column out."]  # fmt: skip
    return [f"Column 'split' is empty in {empty} of {rows} rows. They are in no split: neither training nor testing "
            "uses them. Write train, validation, test or calibration into each."]  # fmt: skip


def require_none(path: Path, faults: Sequence[str]) -> None:
    """Raise `InputError` with all errors of a table, if there are any."""
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        listing = "".join(f"\n  {fault}" for fault in faults[:SHOWN]) + more
        raise InputError(f"{path.name} has {counted(len(faults), 'error')}; expected none. Correct the table:{listing}")


__all__ = ["read_case_table", "read_cases", "require_none", "split_notes"]
