"""Read the table of the readers of a study."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.reader_study import ALL
from GTRStagingLib.tables.case_table import require_none
from GTRStagingLib.tables.cells import folder_key, folder_name, unaltered_id
from GTRStagingLib.tables.headers import find
from GTRStagingLib.tables.table_files import read_table

NAMES = ("reader", "reader_id", "name")
"""Names of the column of readers."""


@dataclass(frozen=True)
class ReaderRow:
    """Reader of a study: an id that the organiser chooses, and further columns such as years of experience."""

    name: str
    given: Mapping[str, str]


def read_readers(path: Path) -> tuple[ReaderRow, ...]:
    """Read a table of readers.

    Raises
    ------
    InputError
        If it has no column of `NAMES`, or an id is empty, repeated, no name of a folder, or ends in 'aided'.
    """
    table = read_table(path)
    try:
        column = find(table.columns, NAMES)
    except ValueError as error:
        raise InputError(f"{path.name}, {error}.") from error
    if column is None:
        raise InputError(
            f"{path.name} has the columns {', '.join(table.columns[:20])}; expected a column {NAMES[0]} with an id of "
            "each reader. Rename the column."
        )
    faults, first = list[str](), dict[str, int]()
    for number, row in zip(table.numbers, table.rows, strict=True):
        name = row[column] or ""
        try:
            folder_name(unaltered_id(name))
            if re.search(r"(un)?aided$", name, re.IGNORECASE) or name.casefold() == ALL:
                raise ValueError("expected an id that does not end in 'aided', and is not 'all readers'")
            if (before := first.setdefault(folder_key(name), number)) != number:
                raise ValueError(f"expected a unique id, ignoring case; row {before} has the same")
        except ValueError as error:
            faults.append(f"row {number}, {column} {name!r}: {error}")
    require_none(path, faults)
    return tuple(
        ReaderRow(row[column] or "", {name: text or "" for name, text in row.items() if name != column})
        for row in table.rows
    )


__all__ = ["NAMES", "ReaderRow", "read_readers"]
