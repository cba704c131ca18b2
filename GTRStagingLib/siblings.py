"""Whether the rows of an evaluation were seen in training: the same rows, and other rows of the same patients."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.partitions import read_partitions
from GTRStagingLib.predictions import Predictions


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
        (n,) bool: the row itself stands in the training table.
    related
        (n,) bool: other rows of its patient do, which are none of the evaluated ones.
    n_patients_related
        Patients of the evaluation of whom that is so.
    """

    training: str
    training_rows: int
    training_patients: int
    listed: np.ndarray
    related: np.ndarray
    n_patients: int
    n_patients_related: int

    @property
    def leaks(self) -> bool:
        """Whether any row or patient was seen in training."""
        return bool(self.listed.any() or self.related.any())

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.leaks:
            rows = f"{len(self.listed)} rows, and none of their {self.n_patients} patients"
            return f"None of the {rows}, is in {self.training}."
        return (
            f"LEAK: {int(self.listed.sum())} of the {len(self.listed)} rows are in {self.training} themselves, and "
            f"{self.n_patients_related} of the {self.n_patients} patients have other rows there. Figures over all rows "
            "say little about patients whom the model has never seen."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "training_table": self.training,
            "training_rows": self.training_rows,
            "training_patients": self.training_patients,
            "rows_listed_in_training": int(self.listed.sum()),
            "rows_with_siblings_in_training": int(self.related.sum()),
            "patients_with_siblings_in_training": self.n_patients_related,
            "patients_without": self.n_patients - self.n_patients_related,
            "leaks": self.leaks,
            "sentence": self.sentence,
        }


def find_siblings(found: Predictions, training: Path, pattern: str | None) -> Siblings:
    """Compare with a training table, by file name and patient.

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
    entries = read_partitions({"training": training}, pattern, None)
    names = np.array([_base(str(name)) for name in found.case_names], dtype=object)
    own = set(names)
    listed_there = {_base(entry.name) for entry in entries}
    others = {entry.patient for entry in entries if _base(entry.name) not in own}
    patient_related = np.array([name in others for name in found.patient_names])
    return Siblings(
        training=training.name,
        training_rows=len(entries),
        training_patients=len({entry.patient for entry in entries}),
        listed=np.array([name in listed_there for name in names]),
        related=patient_related[found.patients],
        n_patients=len(found.patient_names),
        n_patients_related=int(patient_related.sum()),
    )


def _base(name: str) -> str:
    """A path's last part, whichever system wrote it."""
    return name.replace("\\", "/").rsplit("/", 1)[-1]


__all__ = ["Siblings", "find_siblings"]
