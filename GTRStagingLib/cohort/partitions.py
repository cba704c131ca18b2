"""Read splits given as separate tables: recognise their columns, and the patient of each row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from GTRStagingLib.cohort.rules import Entry
from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import covariate_value, unaltered_id, visible_text
from GTRStagingLib.tables.headers import CASES, CENTRES, PATIENTS, STAGES, find, folded, patient_note, remarks
from GTRStagingLib.tables.patient_pattern import patients_in
from GTRStagingLib.tables.table_files import Table, read_table

IDS = (*CASES[:5], "PatientID", *CASES[5:], "patient_id")
"""Names of the ids of rows. In published tables, `PatientID` may be the name of a slice."""


def read_partitions(
    splits: Mapping[str, Path], pattern: str | None, id_column: str | None
) -> tuple[list[Entry], tuple[str, ...]]:
    """Return the rows of all splits, each with its patient, and with stage and centre if there are such columns.

    The id of a row is in `id_column`, by default the first of `IDS` that is in every split and unique in each. The
    patient is the part of the id that `pattern` finds (see `tables.patient_pattern`), by default the column of
    `PATIENTS`. The second value is notes on how the tables were read.

    Raises
    ------
    InputError
        If there is no column of ids or patients, or an id does not match the pattern.
    """
    tables = {split: read_table(path) for split, path in splits.items()}
    column = id_column or _unique_column(list(tables.values()))
    entries, notes = [], []
    for split, table in tables.items():
        notes += [*table.notes, *remarks(table.columns)]
        if column not in table.columns:
            raise InputError(f"{table.path.name} has no column {column!r}; expected one of {', '.join(table.columns)}.")
        names = _ids(table, column, [visible_text])
        if pattern is not None:
            patients = patients_in(pattern, names, f"{table.path.name}, {column}")
        elif (named := _column(table, PATIENTS)) is not None:
            patients = _ids(table, named, [visible_text, unaltered_id])
            notes += patient_note(named, len(patients), len(set(patients)))
        else:
            raise InputError(
                f"{table.path.name} has no column of patients among {', '.join(table.columns)}; expected "
                f"one of {', '.join(PATIENTS)}. Give `patient_pattern`, such as '^(.+?)_slice'."
            )
        stage, centre = _column(table, STAGES), _column(table, CENTRES)
        entries += [
            Entry(name, patient, split, row[stage] if stage else None, row[centre] if centre else None)
            for name, patient, row in zip(names, patients, table.rows, strict=True)
        ]
    return entries, tuple(dict.fromkeys(notes))


def read_covariates(path: Path, entries: Iterable[Entry]) -> tuple[list[Entry], list[str], tuple[str, ...]]:
    """Return the rows of a table of covariates with their patients, the ids of rows without a known patient, and notes.

    Rows are joined by the column that shares most values with the ids and patients of the splits.

    Raises
    ------
    InputError
        If no row belongs to a row of the splits.
    """
    table = read_table(path)
    patient_of = {}
    for entry in entries:
        patient_of[entry.name] = patient_of[entry.patient] = entry.patient
    shares = {name: sum(row[name] in patient_of for row in table.rows) for name in table.columns}
    column = max(shares, key=lambda name: shares[name])
    if not shares[column]:
        raise InputError(
            f"{path.name}: no column ({', '.join(table.columns)}) contains ids of the splits; expected one. Give the "
            "table of these cases."
        )
    described, others = [], []
    for number, row in zip(table.numbers, table.rows, strict=True):
        name = row[column]
        if name is None or name not in patient_of:
            others.append(str(name))
            continue
        values: dict[str, str | float | None] = {}
        for covariate, text in row.items():
            try:
                values[covariate] = None if text is None else covariate_value(text)
            except ValueError as error:
                raise InputError(f"{path.name}, row {number}, {covariate} {text!r}: {error}.") from error
        del values[column]
        described.append(Entry(name, patient_of[name], covariates=values))
    return described, others, table.notes


def _unique_column(tables: Sequence[Table]) -> str:
    present = [
        column
        for name in IDS
        for column in tables[0].columns
        if (column.casefold() == name.casefold() if name in PATIENTS else folded(column) == folded(name))
    ]
    shared = [name for name in dict.fromkeys(present) if all(name in table.columns for table in tables)]
    for name in shared:
        if all(len({row[name] for row in table.rows}) == len(table.rows) for table in tables):
            return name
    found = f"{', '.join(shared)} repeat" if shared else f"no known name among {', '.join(tables[0].columns)}"
    raise InputError(
        f"{tables[0].path.name} has no column of unique ids: {found}. Expected a unique id in every row. Name the "
        "column with `id_column`."
    )


def _column(table: Table, wanted: Sequence[str]) -> str | None:
    try:
        return find(table.columns, wanted)
    except ValueError as error:
        raise InputError(f"{table.path.name}, {error}.") from error


def _ids(table: Table, column: str, checks: Sequence[Callable[[str], str]]) -> list[str]:
    """Return the cells of a column of ids, checked."""
    ids = []
    for number, row in zip(table.numbers, table.rows, strict=True):
        text, where = row[column], f"{table.path.name}, row {number}"
        if text is None:
            raise InputError(f"{where}, {column} is empty; expected an id. Fill it in.")
        try:
            for check in checks:
                check(text)
        except ValueError as error:
            raise InputError(f"{where}, {column} {text!r}: {error}.") from error
        ids.append(text)
    return ids
