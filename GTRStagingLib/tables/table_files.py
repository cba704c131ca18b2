"""Read and write CSV and Parquet tables as text, with the row numbers of a spreadsheet.

Needs the extra `cohort`, which is imported only when a table is read or written.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.support import extras
from GTRStagingLib.support.files import replace_files
from GTRStagingLib.tables.cells import MISSING, cell_text, guarded, unguarded


@dataclass(frozen=True)
class Table:
    """Cells of a table as stripped text; None for missing values.

    `numbers[i]` is the number of `rows[i]` in a spreadsheet: the header is row 1; empty rows are counted but left out.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str | None], ...]
    numbers: tuple[int, ...]


def import_table_package(module: str) -> Any:
    """Import a module of the extra `cohort`."""
    return extras.import_extra(module, "Cohort tables need", "cohort")


def read_table(path: Path) -> Table:
    """Read a `.csv` (UTF-8, commas) or `.parquet` file.

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, or its header has an empty or a duplicate name.

    Examples
    --------
    An empty row is left out but counted, so that `numbers` are the row numbers of a spreadsheet.

    >>> from pathlib import Path
    >>> from GTRStagingLib.tables.table_files import read_table
    >>> with Path("cases.csv").open("w") as file:
    ...     for row in ("case_id,age", "007,61", ",", "008,NA"):
    ...         print(row, file=file)
    >>> table = read_table(Path("cases.csv"))
    >>> table.rows
    ({'case_id': '007', 'age': '61'}, {'case_id': '008', 'age': None})
    >>> table.numbers
    (2, 4)
    """
    kind = _kind(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a table. Check the path.")
    header, cells = _csv(path) if kind == ".csv" else _parquet(path)
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates or "" in header:
        found = f"column {duplicates[0]!r} twice" if duplicates and duplicates[0] else "a column without a name"
        raise InputError(f"{path.name}, row 1: {found}; expected a unique name for each column. Rename it.")
    rows, numbers = [], []
    for number, row in enumerate(cells, start=2):
        texts = [cell.strip() for cell in row]
        if not any(texts):
            continue
        if len(texts) != len(header):
            raise InputError(
                f"{path.name}, row {number}: {len(texts)} cells; expected {len(header)}, as in the header. Put quotes "
                "around cells that contain a comma. If it is the last row, the file may be truncated."
            )
        rows.append({name: None if t in MISSING else t for name, t in zip(header, texts, strict=True)})
        numbers.append(number)
    if not rows:
        raise InputError(f"{path.name} has no rows below its header; expected at least one.")
    return Table(path, tuple(header), tuple(rows), tuple(numbers))


def write_table(path: Path, columns: Mapping[str, Sequence[str | float | None]]) -> None:
    """Write columns of texts, numbers or both, whole or not at all; an existing file is replaced.

    Every number is written with all its digits: `read_table` returns text of the same number. In a CSV file, no text
    can be taken for a formula (see `cells.guarded`); `read_table` returns the original text.
    """
    kind = _kind(path)
    pandas = import_table_package("pandas")
    if kind == ".parquet":
        import_table_package("pyarrow")
    safe = guarded if kind == ".csv" else str
    frame = pandas.DataFrame({safe(name): pandas.Series(_typed(c, kind), dtype=object) for name, c in columns.items()})
    with replace_files(path.parent, [path.name]) as work:
        if kind == ".csv":
            frame.to_csv(work / path.name, index=False, encoding="utf-8", lineterminator="\n")
        else:
            frame.to_parquet(work / path.name, index=False, engine="pyarrow")


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise InputError(
            f"{path.name} is not a table; expected a name that ends in .csv or .parquet. Save the table as one of them."
        )
    return kind


def _typed(values: Sequence[str | float | None], kind: str) -> list[str | float | None]:
    """Return a column for the file: numbers for Parquet if it has only numbers, otherwise text."""
    if kind == ".parquet" and all(not isinstance(v, str) for v in values):
        return list(values)
    safe = guarded if kind == ".csv" else str
    return [None if v is None else safe(cell_text(v)) for v in values]


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = list(csv.reader(file, strict=True))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name} is not UTF-8 (byte {error.start}); expected UTF-8, which keeps accents in names. Save the "
            "table as 'CSV UTF-8'."
        ) from error
    except csv.Error as error:
        if "field limit" in str(error):
            raise InputError(
                f"{path.name} has a cell of more than {csv.field_size_limit():,} characters; expected short cells. A "
                "quote may not be closed: save the table again."
            ) from error
        raise InputError(
            f"{path.name} is not a valid CSV table ({error}); expected closed quotes. It may be truncated: save it "
            "again."
        ) from error
    if not cells or not any(cells):
        raise InputError(f"{path.name} is empty; expected a header and rows.")
    if (row := next((i for i, row in enumerate(cells, start=1) if "\0" in "".join(row)), None)) is not None:
        raise InputError(f"{path.name}, row {row}: a NUL character; expected text. Save the table as 'CSV UTF-8'.")
    header = [cell.strip() for cell in cells[0]]
    if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
        raise InputError(
            f"{path.name}: the header is separated by {marks[0]!r}; expected commas (and points in numbers). Save the "
            "table as comma-separated UTF-8."
        )
    return [unguarded(cell) for cell in header], [[unguarded(cell.strip()) for cell in row] for row in cells[1:]]


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    pandas = import_table_package("pandas")
    parquet, types = (import_table_package(name) for name in ("pyarrow.parquet", "pyarrow.types"))
    try:
        schema = parquet.read_schema(path)
        header = [str(name).strip() for name in schema.names]
        nested = [f"{one.name} ({one.type})" for one in schema if _is_nested_or_binary(types, one.type)]
        if nested or len(set(header)) < len(header):  # pandas cannot read the latter
            return header, _require_plain_columns(path, nested)
        # Nullable types keep whole numbers beside empty cells, so that an id does not become 7.0.
        frame = pandas.read_parquet(path, engine="pyarrow", dtype_backend="numpy_nullable", partitioning=None)
    except InputError:
        raise
    except Exception as error:  # the layers of Parquet raise many kinds
        raise InputError(f"{path.name} cannot be read as Parquet; expected a whole, valid file. Save it again.") from (
            error
        )
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    cells = [
        ["" if value is pandas.NA or value is None else cell_text(value) for value in row]
        for row in frame.astype(object).itertuples(index=False, name=None)
    ]
    return [str(name).strip() for name in frame.columns], cells


def _is_nested_or_binary(types: Any, kind: Any) -> bool:
    return bool(
        types.is_nested(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _require_plain_columns(path: Path, nested: Sequence[str]) -> list[list[str]]:
    """Raise `InputError` if there are columns whose cells are no texts, numbers or dates."""
    if nested:
        raise InputError(
            f"{path.name} has columns of lists, objects or bytes: {', '.join(nested[:5])}; expected texts, numbers and "
            "dates. Convert these columns to text, or leave them out."
        )
    return []
