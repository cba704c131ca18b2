"""Whether the rows of an evaluation were seen in training: the same rows, and other rows of the same patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.cohort.partitions import PATIENTS
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.columns import CASES
from GTRStagingLib.evaluation.parsing import last_part, matched, read_cells
from GTRStagingLib.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Siblings:
    """What a training table has of the rows that were evaluated.

    Attributes
    ----------
    training
        Name of the table.
    training_rows, training_patients
        Its size.
    listed
        (n,) bool: the row itself stands in the training table; None where no column of ids tells.
    related
        (n,) bool: other rows of its patient do.
    examples
        A patient of either table: where nothing is shared, they may only be written differently.
    """

    training: str
    training_rows: int
    training_patients: int
    listed: np.ndarray | None
    related: np.ndarray
    n_patients: int
    n_patients_related: int
    examples: tuple[str, str]

    @property
    def unseen(self) -> np.ndarray:
        """(n,) bool: neither the row nor another one of its patient stands in the training table."""
        return ~self.related if self.listed is None else ~self.related & ~self.listed

    @property
    def leaks(self) -> bool:
        """Whether any row or patient was seen in training."""
        return not bool(self.unseen.all())

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        rows = len(self.related)
        if not self.leaks:
            here, there = self.examples
            return (
                f"No id of the {rows} rows, and none of their {self.n_patients} patients, is in {self.training}: a "
                f"patient is called {here!r} here and {there!r} there. If these are two ways to write ids, this says "
                "nothing."
            )
        if self.listed is None:
            themselves = "whether the rows themselves are there, no column of ids tells"
        else:
            themselves = f"{int(self.listed.sum())} of the {rows} rows are in {self.training} themselves"
        return (
            f"LEAK: {themselves}, and {self.n_patients_related} of the {self.n_patients} patients have other rows in "
            f"{self.training}. Neither is so for {int(self.unseen.sum())} rows: figures over all say little about "
            "patients whom the model has never seen."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
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
    """Compare with a training table, by id and patient.

    Rows are one if their ids are: the last parts of paths where these tell the rows of either table apart, or else the
    whole paths.

    Parameters
    ----------
    pattern
        As for `read_predictions`: what finds the patient in an id of either table.

    Raises
    ------
    InputError
        If nothing tells the patients of either table apart.
    """
    if found.told_apart is None:
        raise InputError(
            f"{found.source}: nothing tells patients apart; expected --patient-pattern, or a column of patients, to "
            f"compare with {training.name}."
        )
    frame = read_cells(training)
    spelt = {name.casefold(): name for name in reversed(list(frame.columns))}
    ids = [spelt[n.casefold()] for n in ((found.columns.case or "", *CASES)) if n.casefold() in spelt]
    column = next((name for name in ids if frame[name].is_unique), None)
    patient = next(
        (spelt[n.casefold()] for n in (found.columns.patient or "", *PATIENTS) if n.casefold() in spelt), None
    )
    source = (column or patient) if pattern is not None else patient
    if source is None:
        raise InputError(
            f"{training.name}: no column of {', '.join(frame.columns)} tells its patients apart; expected the one that "
            f"{found.source} has, or {' or '.join(PATIENTS)}. Rename it."
        )
    texts = frame[source].tolist()
    patients = texts if pattern is None else matched(pattern, texts, f"{training.name}, {source}")
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
    )


def _comparable(own: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str]]:
    last = [last_part(name) for name in own], [last_part(name) for name in theirs]
    if all(len(set(names)) == len(names) for names in last):
        return last
    whole = ([name.replace("\\", "/") for name in names] for names in (own, theirs))
    first, second = whole
    return first, second


__all__ = ["Siblings", "find_siblings"]
