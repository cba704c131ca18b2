"""Read CSV, Excel and Parquet tables as text, with the row numbers of a spreadsheet, and write CSV and Parquet.

Needs the extra `cohort`, which is imported only when a table is read or written; CSV is read without it.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.support import extras
from GTRStagingLib.support.files import replace_files
from GTRStagingLib.tables.cells import MISSING, cell_text, guarded, unguarded
from GTRStagingLib.tables.headers import is_text
from GTRStagingLib.tables.numerals import has_marks, plain_numbers
from GTRStagingLib.tables.text_formats import SEPARATORS, text_format
from GTRStagingLib.tables.workbook import read_workbook

TEXTS = (".csv", ".tsv", ".txt")
KINDS = (*TEXTS, ".xlsx", ".parquet")
"""Ends of the names of tables that are read."""


@dataclass(frozen=True)
class Table:
    """Cells of a table as stripped text; None for missing values.

    `numbers[i]` is the number of `rows[i]` in a spreadsheet: the header is row 1; empty rows are counted but left out.
    `notes` has a sentence on everything that was not read as it stands, such as decimal commas.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str | None], ...]
    numbers: tuple[int, ...]
    notes: tuple[str, ...] = ()


def import_table_package(module: str) -> Any:
    """Import a module of the extra `cohort`."""
    return extras.import_extra(module, "Cohort tables need", "cohort")


def read_table(path: Path) -> Table:
    """Read a table: text (`.csv`, `.tsv`, `.txt`), the first sheet of an Excel workbook (`.xlsx`), or `.parquet`.

    Text is UTF-8, UTF-16 or GB18030, separated by commas, semicolons or tabs. A column of numbers with decimal commas
    or percent signs is read as numbers with points; `notes` states it.

    Raises
    ------
    InputError
        If the file cannot be read, has no rows, its header has an empty or a duplicate name, or its numbers could mean
        two things.

    Examples
    --------
    An empty row is left out but counted, so that `numbers` are the row numbers of a spreadsheet.

    >>> from pathlib import Path
    >>> from GTRStagingLib.tables.table_files import read_table
    >>> with Path("cases.csv").open("w") as file:
    ...     for row in ("case_id;size", "007;6,5", ";", "008;NA"):
    ...         print(row, file=file)
    >>> table = read_table(Path("cases.csv"))
    >>> table.rows
    ({'case_id': '007', 'size': '6.5'}, {'case_id': '008', 'size': None})
    >>> table.numbers
    (2, 4)
    >>> table.notes
    ('cases.csv is separated by semicolons.', "Column 'size': decimal commas are read as points, '6,5' as 6.5.")
    """
    kind = kind_of(path, KINDS)
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a table. Check the path.")
    separator, notes = "", tuple[str, ...]()
    if kind in TEXTS:
        cells, separator, notes = _text(path)
    elif kind == ".xlsx":
        cells, notes = read_workbook(path)
    else:
        cells = _parquet(path)
    return _table(path, cells, separator, notes)


def _table(path: Path, cells: Sequence[Sequence[str]], separator: str, notes: tuple[str, ...]) -> Table:
    header, *body = [[cell.strip() for cell in row] for row in cells] or [[]]
    if not any(header) and not any(map(any, body)):
        raise InputError(f"{path.name} is empty; expected a header and rows.")
    while header and not header[-1] and all(len(row) == len(header) and not row[-1] for row in body if any(row)):
        header, body = header[:-1], [row[: len(header) - 1] for row in body]  # spreadsheets write empty columns
    require_names(path, header)
    rows, numbers = [], []
    for number, texts in enumerate(body, start=2):
        if not any(texts):
            continue
        if len(texts) != len(header):
            raise InputError(
                f"{path.name}, row {number}: {len(texts)} cells; expected {len(header)}, as in the header. Put quotes "
                f"around cells that contain {SEPARATORS.get(separator, 'commas')}. If it is the last row, the file may "
                "be truncated."
            )
        rows.append({name: None if t in MISSING else t for name, t in zip(header, texts, strict=True)})
        numbers.append(number)
    if not rows:
        raise InputError(f"{path.name} has no rows below its header; expected at least one.")
    columns = {name: {text for row in rows if (text := row[name]) is not None} for name in header}
    altered, more = _altered_numbers(path, columns, separator)
    for name, texts_of in altered.items():
        for row in rows:
            row[name] = texts_of.get(row[name] or "", row[name])
    return Table(path, tuple(header), tuple(rows), tuple(numbers), (*notes, *more))


def require_names(path: Path, header: Sequence[str]) -> None:
    """Raise `InputError` if a column has no name, or two have the same."""
    duplicates = sorted({name for name in header if header.count(name) > 1})
    if duplicates or "" in header:
        found = f"column {duplicates[0]!r} twice" if duplicates and duplicates[0] else "a column without a name"
        raise InputError(f"{path.name}, row 1: {found}; expected a unique name for each column. Rename it.")


def _altered_numbers(
    path: Path, columns: Mapping[str, Iterable[str]], separator: str
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the numbers of cells with decimal commas or percent signs, by column and text, and notes.

    Parameters
    ----------
    columns
        Different texts of each column.
    separator
        Of a table of text; in a table with semicolons, commas never separate thousands.

    Raises
    ------
    InputError
        If the numbers of a column could mean two things.
    """
    altered, notes = {}, []
    for name, texts in columns.items():
        if is_text(name) or not any(map(has_marks, texts)):
            continue
        try:
            found, note = plain_numbers(name, sorted(texts), comma_is_decimal=separator == ";")
        except ValueError as error:
            raise InputError(f"{path.name}, {error}.") from error
        if found:
            altered[name] = found
        notes += [note] if note else []
    return altered, notes


def write_table(path: Path, columns: Mapping[str, Sequence[str | float | None]]) -> None:
    """Write columns of texts, numbers or both, whole or not at all; an existing file is replaced.

    Every number is written with all its digits: `read_table` returns text of the same number. In a CSV file, no text
    can be taken for a formula (see `cells.guarded`); `read_table` returns the original text.
    """
    kind = kind_of(path, (".csv", ".parquet"))
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


def kind_of(path: Path, kinds: Sequence[str] = KINDS) -> str:
    """Return the end of a table's name, in lower case; raise `InputError` if it is not one of `kinds`."""
    kind = path.suffix.lower()
    if kind not in kinds:
        listed = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        raise InputError(
            f"{path.name} is not a table; expected a name that ends in {listed}. Save the table as one of them."
        )
    return kind


def _typed(values: Sequence[str | float | None], kind: str) -> list[str | float | None]:
    """Return a column for the file: numbers for Parquet if it has only numbers, otherwise text."""
    if kind == ".parquet" and all(not isinstance(v, str) for v in values):
        return list(values)
    safe = guarded if kind == ".csv" else str
    return [None if v is None else safe(cell_text(v)) for v in values]


def _text(path: Path) -> tuple[list[list[str]], str, tuple[str, ...]]:
    """Return the cells of a table of text, its separator, and notes."""
    try:
        form = text_format(path)
        with path.open(encoding=form.encoding, newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=form.separator)
            cells = [[unguarded(cell.strip()) for cell in row] for row in reader]
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
    if not cells or not any(cells[0]):
        raise InputError(f"{path.name} is empty; expected a header and rows.")
    if (row := next((i for i, row in enumerate(cells, start=1) if "\0" in "".join(row)), None)) is not None:
        raise InputError(f"{path.name}, row {row}: a NUL character; expected text. Save the table as 'CSV UTF-8'.")
    return cells, form.separator, form.notes


def _parquet(path: Path) -> list[list[str]]:
    """Return the cells of a Parquet file, the header included."""
    pandas = import_table_package("pandas")
    parquet, types = (import_table_package(name) for name in ("pyarrow.parquet", "pyarrow.types"))
    try:
        schema = parquet.read_schema(path)
        header = [str(name).strip() for name in schema.names]
        nested = [f"{one.name} ({one.type})" for one in schema if _is_nested_or_binary(types, one.type)]
        require_names(path, header)  # pandas cannot read duplicate names
        _require_plain_columns(path, nested)
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
    return [
        [str(name).strip() for name in frame.columns],
        *(
            ["" if value is pandas.NA or value is None else cell_text(value) for value in row]
            for row in frame.astype(object).itertuples(index=False, name=None)
        ),
    ]


def _is_nested_or_binary(types: Any, kind: Any) -> bool:
    return bool(
        types.is_nested(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _require_plain_columns(path: Path, nested: Sequence[str]) -> None:
    """Raise `InputError` if there are columns whose cells are no texts, numbers or dates."""
    if nested:
        raise InputError(
            f"{path.name} has columns of lists, objects or bytes: {', '.join(nested[:5])}; expected texts, numbers and "
            "dates. Convert these columns to text, or leave them out."
        )
