"""Partitions that others give as files, one table a side: which column is what, and which rows are one patient's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from GTRStagingLib.cohort.rules import Entry
from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import covariate_value
from GTRStagingLib.tables.table_files import Table, read_table

IDS = ("case_id", "image_name", "image_id", "slice_id", "PatientID", "SlicePath", "image", "path", "file", "filename",
       "name", "id", "patient_id")  # fmt: skip
PATIENTS = ("patient_id", "PatientID", "patient", "subject_id", "subject")
STAGES = ("stage", "T_stage", "pT", "PathT", "label")
CENTRES = ("centre", "center", "site", "hospital")


def read_partitions(sides: Mapping[str, Path], pattern: str | None, id_column: str | None) -> list[Entry]:
    """Rows of all sides, each with its patient, and stage and centre where a column is called so.

    Rows are told apart by `id_column`, by default the first of `IDS` that every side has and that repeats in none of
    them. The patient is what `pattern` finds in the id (its first group, or all of it), by default the column of
    `PATIENTS`.

    Raises
    ------
    InputError
        If no column tells rows or patients apart, or an id does not fit the pattern.
    """
    tables = {side: read_table(path) for side, path in sides.items()}
    column = id_column or _unique_column(list(tables.values()))
    entries = []
    for side, table in tables.items():
        if column not in table.columns:
            raise InputError(f"{table.path.name} has no column {column!r}; expected one of {', '.join(table.columns)}.")
        patient_column = column if pattern is not None else _column(table, PATIENTS)
        if patient_column is None:
            raise InputError(
                f"{table.path.name}: none of its columns ({', '.join(table.columns)}) says which rows are one "
                f"patient's; expected {' or '.join(PATIENTS)}. Give --patient-pattern, as in '^(.+?)_slice'."
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
                    side=side,
                    stage=row[stage] if stage else None,
                    centre=row[centre] if centre else None,
                )
            )
    return entries


def read_covariates(path: Path, entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """Rows of a table of covariates, each with the patient of the sides whom it describes; and the ids of the others.

    They are joined by the column that shares most values with the ids, or else with the patients, of the sides.

    Raises
    ------
    InputError
        If no row belongs to a row of the sides.
    """
    table = read_table(path)
    patient_of = {}
    for entry in entries:
        patient_of[entry.name] = patient_of[entry.patient] = entry.patient
    shares = {name: sum(row[name] in patient_of for row in table.rows) for name in table.columns}
    column = max(shares, key=lambda name: shares[name])
    if not shares[column]:
        raise InputError(
            f"{path.name}: no column ({', '.join(table.columns)}) holds ids of the sides; expected one. Give the "
            "table that belongs to them."
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
    met = f"{', '.join(shared)} repeat" if shared else f"{', '.join(tables[0].columns)} are none that we know"
    raise InputError(
        f"No column tells the rows of {tables[0].path.name} apart: {met}. Expected an id of its own in every row. Name "
        "the column with --id-column."
    )


def _present(table: Table, wanted: Sequence[str]) -> list[str]:
    """The table's own spellings of the wanted names, in the order of the wanted."""
    spelt = {name.casefold(): name for name in reversed(table.columns)}
    return [spelt[name.casefold()] for name in wanted if name.casefold() in spelt]


def _column(table: Table, wanted: Sequence[str]) -> str | None:
    return next(iter(_present(table, wanted)), None)


def _given(row: Mapping[str, str | None], column: str, where: str) -> str:
    text = row[column]
    if text is None:
        raise InputError(f"{where}, {column} is empty; expected an id. Fill it in.")
    return text


def _matched(pattern: str, name: str, where: str) -> str:
    match = re.search(pattern, name)
    found = None if match is None else match[1] if match.re.groups else match[0]
    if not found:
        raise InputError(f"{where}: {name!r} does not fit the pattern {pattern!r}; expected every id to. Change it.")
    return found
