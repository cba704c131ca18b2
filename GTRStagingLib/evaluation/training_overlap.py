"""Compare the rows of an evaluation with a training table: the same rows, and other rows of the same patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.parsing import read_cells
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.headers import CASES, PATIENTS, find
from GTRStagingLib.tables.patient_pattern import last_part, patients_in


@dataclass(frozen=True)
class Siblings:
    """Overlap of the evaluated rows with a training table; siblings are other rows of the same patient.

    Attributes
    ----------
    training
        Name of the training table.
    training_rows, training_patients
        Its numbers of rows and patients.
    listed
        (n,) bool: the row is in the training table; None if the tables have no common column of ids.
    related
        (n,) bool: the training table has other rows of the row's patient.
    examples
        Patient ids of either table, which may be written in different ways.
    notes
        Sentences on how the training table was read.
    """

    training: str
    training_rows: int
    training_patients: int
    listed: np.ndarray | None
    related: np.ndarray
    n_patients: int
    n_patients_related: int
    examples: tuple[str, str]
    notes: tuple[str, ...] = ()

    @property
    def unseen(self) -> np.ndarray:
        """Rows, (n,) bool, that are neither in the training table nor have siblings there."""
        return ~self.related if self.listed is None else ~self.related & ~self.listed

    @property
    def leaks(self) -> bool:
        """Whether any row or patient is in the training table."""
        return not bool(self.unseen.all())

    @property
    def sentence(self) -> str:
        """Finding as text."""
        rows = len(self.related)
        if not self.leaks:
            here, there = self.examples
            return (
                f"None of the {counted(rows, 'row')} and {counted(self.n_patients, 'patient')} is in "
                f"{self.training}. Patient ids look like {here!r} here and {there!r} there; if these are two ways to "
                "write ids, the comparison is not valid."
            )
        if self.listed is None:
            overlap = (
                f"{self.n_patients_related} of {self.n_patients} patients also appear in {self.training}. Row-level "
                "overlap could not be checked (no id column)."
            )
        else:
            overlap = (
                f"{int(self.listed.sum())} of {rows} rows are also in {self.training}, and {self.n_patients_related} "
                f"of {self.n_patients} patients have other rows there."
            )
        free = int(self.unseen.sum())
        few = f"Only {free} rows are" if free else "No row is"
        return (
            f"LEAK: {overlap} {few} free of overlap, so results over all rows do not "
            "describe patients that are new to the model."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "training_table": self.training,
            "training_rows": self.training_rows,
            "training_patients": self.training_patients,
            "rows_listed_in_training": None if self.listed is None else int(self.listed.sum()),
            "rows_with_siblings_in_training": int(self.related.sum()),
            "rows_unseen": int(self.unseen.sum()),
            "patients_with_siblings_in_training": self.n_patients_related,
            "patients_without": self.n_patients - self.n_patients_related,
            "leaks": self.leaks,
            "sentence": self.sentence,
        }


def find_siblings(found: Predictions, training: Path, pattern: str | None) -> Siblings:
    """Compare predictions with a training table by id and by patient.

    Rows are the same if their ids are: the last parts of paths if these are unique in both tables, else the whole
    paths.

    Parameters
    ----------
    pattern
        `patient_pattern` of `read_predictions`, which finds the patient in an id of either table.

    Raises
    ------
    InputError
        If a table does not identify its patients.
    """
    if found.patients_by is None:
        raise InputError(
            f"{found.source} does not identify patients; expected a column of patients, to compare with "
            f"{training.name}. Name it in `columns` (patient=NAME), or set `patient_pattern`."
        )
    frame, notes = read_cells(training)
    header = list(frame.columns)
    try:
        ids = [one for name in (found.columns.case or "case_id", *CASES) if (one := find(header, [name])) is not None]
        patient = find(header, [*([found.columns.patient] if found.columns.patient else []), *PATIENTS])
    except ValueError as error:
        raise InputError(f"{training.name}, {error}.") from error
    column = next((name for name in ids if frame[name].is_unique), None)
    source = (column or patient) if pattern is not None else patient
    if source is None:
        raise InputError(
            f"{training.name} has no column of patients among {', '.join(frame.columns)}; expected the same column as "
            f"{found.source}, or {' or '.join(PATIENTS)}. Rename the column."
        )
    texts = frame[source].tolist()
    patients = texts if pattern is None else patients_in(pattern, texts, f"{training.name}, {source}")
    own: Sequence[str] | None = None if found.columns.case is None else [str(name) for name in found.case_names]
    theirs: Sequence[str] | None = None if column is None else frame[column].tolist()
    listed = None
    in_both = np.zeros(len(patients), bool)
    if own is not None and theirs is not None:
        own, theirs = _comparable(own, theirs)
        here, there = set(own), set(theirs)
        listed = np.array([name in there for name in own])
        in_both = np.array([name in here for name in theirs])
    others = {name for name, both in zip(patients, in_both.tolist(), strict=True) if not both}
    patient_related = np.array([name in others for name in found.patient_names])
    return Siblings(
        training=training.name,
        training_rows=len(patients),
        training_patients=len(set(patients)),
        listed=listed,
        related=patient_related[found.patients],
        n_patients=len(found.patient_names),
        n_patients_related=int(patient_related.sum()),
        examples=(str(found.patient_names[0]), patients[0]),
        notes=notes,
    )


def _comparable(own: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    last = [last_part(name) for name in own], [last_part(name) for name in theirs]
    if all(len(set(names)) == len(names) for names in last):
        return last
    whole = ([name.replace("\\", "/") for name in names] for names in (own, theirs))
    first, second = whole
    return first, second


__all__ = ["Siblings", "find_siblings"]
