"""Read splits given as separate tables: recognise their columns, and the patient of each row."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from GTRStagingLib.cohort.rules import Entry
from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import covariate_value, visible_text
from GTRStagingLib.tables.table_files import Table, read_table

IDS = ("case_id", "image_name", "image_id", "slice_id", "PatientID", "SlicePath", "image", "path", "file", "filename",
       "name", "id", "patient_id")  # fmt: skip
PATIENTS = ("patient_id", "PatientID", "patient", "subject_id", "subject")
STAGES = ("stage", "T_stage", "pT", "PathT", "label")
CENTRES = ("centre", "center", "site", "hospital")


def read_partitions(splits: Mapping[str, Path], pattern: str | None, id_column: str | None) -> list[Entry]:
    """Return the rows of all splits, each with its patient, and with stage and centre if there are such columns.

    The id of a row is in `id_column`, by default the first of `IDS` that is in every split and unique in each. The
    patient is the part of the id that matches `pattern` (its first group, or the whole match), by default the column
    of `PATIENTS`.

    Raises
    ------
    InputError
        If there is no column of ids or patients, or an id does not match the pattern.
    """
    tables = {split: read_table(path) for split, path in splits.items()}
    column = id_column or _unique_column(list(tables.values()))
    entries = []
    for split, table in tables.items():
        if column not in table.columns:
            raise InputError(f"{table.path.name} has no column {column!r}; expected one of {', '.join(table.columns)}.")
        patient_column = column if pattern is not None else _column(table, PATIENTS)
        if patient_column is None:
            raise InputError(
                f"{table.path.name} has no column of patients among {', '.join(table.columns)}; expected "
                f"one of {', '.join(PATIENTS)}. Give `patient_pattern`, such as '^(.+?)_slice'."
            )
        stage, centre = _column(table, STAGES), _column(table, CENTRES)
        for number, row in zip(table.numbers, table.rows, strict=True):
            where = f"{table.path.name}, row {number}"
            patient = _given(row, patient_column, where)
            if pattern is not None:
                patient = _matched(pattern, patient, where)
            entries.append(
                Entry(
                    name=_given(row, column, where),
                    patient=patient,
                    split=split,
                    stage=row[stage] if stage else None,
                    centre=row[centre] if centre else None,
                )
            )
    return entries


def read_covariates(path: Path, entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """Return the rows of a table of covariates with their patients, and the ids of rows without a known patient.

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
    return described, others


def _unique_column(tables: Sequence[Table]) -> str:
    shared = [name for name in _present(tables[0], IDS) if all(name in table.columns for table in tables)]
    for name in shared:
        if all(len({row[name] for row in table.rows}) == len(table.rows) for table in tables):
            return name
    found = f"{', '.join(shared)} repeat" if shared else f"no known name among {', '.join(tables[0].columns)}"
    raise InputError(
        f"{tables[0].path.name} has no column of unique ids: {found}. Expected a unique id in every row. Name the "
        "column with `id_column`."
    )


def _present(table: Table, wanted: Sequence[str]) -> list[str]:
    """Return those of the wanted names that the table contains, in the table's spelling and the wanted order."""
    spelt = {name.casefold(): name for name in reversed(table.columns)}
    return [spelt[name.casefold()] for name in wanted if name.casefold() in spelt]


def _column(table: Table, wanted: Sequence[str]) -> str | None:
    return next(iter(_present(table, wanted)), None)


def _given(row: Mapping[str, str | None], column: str, where: str) -> str:
    text = row[column]
    if text is None:
        raise InputError(f"{where}, {column} is empty; expected an id. Fill it in.")
    try:
        return visible_text(text)
    except ValueError as error:
        raise InputError(f"{where}, {column} {text!r}: {error}.") from error


def _matched(pattern: str, name: str, where: str) -> str:
    match = re.search(pattern, name)
    found = None if match is None else match[1] if match.re.groups else match[0]
    if not found:
        raise InputError(
            f"{where}: {name!r} does not match the pattern {pattern!r}; expected a match in every id. Change the "
            "pattern."
        )
    return found
