"""What every table of cases must be: columns spelt as ours are, ids that tell the cases apart, all faults listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import folder_key
from GTRStagingLib.tables.table_files import Table, read_table

SHOWN = 20
"""Faults of a table that an error lists before it only counts."""


@dataclass(frozen=True)
class CaseTable:
    """A table with a case a row, and what is wrong with it as a whole: header and ids, each with its row."""

    table: Table
    faults: tuple[str, ...]

    def require(self, further: Sequence[str] = ()) -> None:
        """Raise `InputError` with every fault, the `further` ones of its rows included; return if there is none."""
        faults = (*self.faults, *further)
        if faults:
            more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
            listing = "".join(f"\n  {fault}" for fault in faults[:SHOWN]) + more
            raise InputError(
                f"{self.table.path.name} has {len(faults)} fault(s); expected none. Correct the table:{listing}"
            )


def read_case_table(path: Path, needed: Sequence[str], known: Sequence[str]) -> CaseTable:
    """Read a table of cases, `.csv` or `.parquet`.

    Parameters
    ----------
    needed, known
        Columns that it must have, and those that mean something; all others are the user's own.

    Raises
    ------
    InputError
        If it cannot be read, or a needed column is missing.
    """
    table = read_table(path)
    if missing := [name for name in needed if name not in table.columns]:
        raise InputError(
            f"{path.name}: no column {', '.join(missing)} among {', '.join(table.columns)}; expected "
            f"{', '.join(needed)}, and if known {', '.join(c for c in known if c not in needed)}. Rename the columns."
        )
    return CaseTable(table, (*_header_faults(table.columns, known), *_doubled(table)))


def _header_faults(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """A column that is called almost like one of ours would silently become one of the user's own."""
    ours = {name.replace("_", ""): name for name in known} | ({"center": "centre"} if "centre" in known else {})
    meant = {name: ours.get("".join(c for c in name.casefold() if c.isalnum())) for name in columns}
    return [f"row 1, column {name!r}: expected {own!r}, as we spell it" for name, own in meant.items()
            if own not in (None, name)]  # fmt: skip


def _doubled(table: Table) -> list[str]:
    faults, first_rows = [], dict[str, int]()
    for number, cells in zip(table.numbers, table.rows, strict=True):
        name = folder_key(cells["case_id"] or "")
        if name and (first := first_rows.setdefault(name, number)) != number:
            faults.append(
                f"row {number}, case_id {cells['case_id']!r}: expected an id of its own, but for case; row {first} has "
                "it too"
            )
    return faults


__all__ = ["CaseTable", "read_case_table"]
