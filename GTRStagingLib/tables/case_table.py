"""Check the header and the case ids of a table of cases, and list all errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import folder_key
from GTRStagingLib.tables.table_files import Table, read_table

SHOWN = 20
"""Number of errors that a message lists; further ones are only counted."""


@dataclass(frozen=True)
class CaseTable:
    """Table with one case per row, and the errors of its header and ids, each with its row."""

    table: Table
    faults: tuple[str, ...]

    def require(self, further: Sequence[str] = ()) -> None:
        """Raise `InputError` with all errors, including the `further` errors of rows, if there are any."""
        faults = (*self.faults, *further)
        if faults:
            more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
            listing = "".join(f"\n  {fault}" for fault in faults[:SHOWN]) + more
            raise InputError(
                f"{self.table.path.name} has {len(faults)} error(s); expected none. Correct the table:{listing}"
            )


def read_case_table(path: Path, needed: Sequence[str], known: Sequence[str]) -> CaseTable:
    """Read a table of cases, `.csv` or `.parquet`.

    Parameters
    ----------
    needed, known
        Required columns, and all columns that the library uses; further columns are the user's own.

    Raises
    ------
    InputError
        If the file cannot be read, or a required column is missing.
    """
    table = read_table(path)
    if missing := [name for name in needed if name not in table.columns]:
        raise InputError(
            f"{path.name}: column {', '.join(missing)} is missing; found {', '.join(table.columns)}. Required: "
            f"{', '.join(needed)}; optional: {', '.join(c for c in known if c not in needed)}. Rename the columns."
        )
    return CaseTable(table, (*_header_faults(table.columns, known), *_duplicate_ids(table)))


def _header_faults(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Report misspelt columns, which would otherwise pass for columns of the user's own."""
    ours = {name.replace("_", ""): name for name in known} | ({"center": "centre"} if "centre" in known else {})
    meant = {name: ours.get("".join(c for c in name.casefold() if c.isalnum())) for name in columns}
    return [f"row 1, column {name!r}: expected {own!r}. Rename the column." for name, own in meant.items()
            if own not in (None, name)]  # fmt: skip


def _duplicate_ids(table: Table) -> list[str]:
    faults, first_rows = [], dict[str, int]()
    for number, cells in zip(table.numbers, table.rows, strict=True):
        name = folder_key(cells["case_id"] or "")
        if name and (first := first_rows.setdefault(name, number)) != number:
            faults.append(
                f"row {number}, case_id {cells['case_id']!r}: expected a unique id, ignoring case; row {first} has the "
                "same id"
            )
    return faults


__all__ = ["CaseTable", "read_case_table"]
