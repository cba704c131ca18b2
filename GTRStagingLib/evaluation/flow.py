"""Count the rows and patients of a table through the exclusions, in total and by cohort (flow of patients)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LeftOut:
    """Rows of a table that are not evaluated.

    Attributes
    ----------
    frame
        All columns of these rows as text, a pandas DataFrame of k rows.
    reasons, patients
        (k,) texts; the patient is None if the row does not identify one.
    """

    frame: Any = field(repr=False)
    reasons: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Numbers of rows and patients; `patients` is None if the table does not identify them."""

    rows: int
    patients: int | None


@dataclass(frozen=True)
class FlowStep:
    """Step of the flow of patients.

    Attributes
    ----------
    text
        As in 'read', 'no true stage' or 'evaluated'.
    rows, patients
        Rows and patients that remain, or that leave at this step: a patient leaves with the last row. Rows that do not
        identify a patient have none.
    cohorts
        Cohort -> the same counts; empty without a cohort column.
    excluded
        Whether the rows leave at this step.
    """

    text: str
    rows: int
    patients: int | None
    cohorts: Mapping[str, Counts] = field(default_factory=dict)
    excluded: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class PatientFlow:
    """Flow of patients: the rows read, the exclusions in the order in which they apply, and the rows evaluated.

    The counts of the first step are the sum of those of all other steps, in total and in each cohort.
    """

    steps: tuple[FlowStep, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the steps as plain data."""
        return [step.to_json() for step in self.steps]


def patient_flow(
    reasons: Sequence[str], rows: np.ndarray, patients: np.ndarray | None, cohorts: np.ndarray | None = None
) -> PatientFlow:
    """Count rows and patients at each step.

    Parameters
    ----------
    reasons
        The exclusions, in the order in which they apply.
    rows
        (n,) index of the row's reason; the number of reasons for an evaluated row.
    patients
        (n,) ids, None for a row that does not identify one; None if the table does not identify patients.
    cohorts
        (n,) names, or None without a cohort column.

    Examples
    --------
    Patient p loses one of two rows and stays; q leaves with its only row.

    >>> import numpy as np
    >>> from GTRStagingLib.evaluation.flow import patient_flow
    >>> found = patient_flow(["failed"], np.array([0, 1, 0]), np.array(["p", "p", "q"], dtype=object))
    >>> [(step.text, step.rows, step.patients) for step in found.steps]
    [('read', 3, 2), ('failed', 2, 1), ('evaluated', 1, 1)]
    """
    import pandas as pd

    codes = None if patients is None else pd.factorize(patients)[0]  # -1 for None
    whole = _counts(len(reasons), rows, codes)
    by_cohort = {}
    for name in [] if cohorts is None else dict.fromkeys(cohorts.tolist()):
        own = cohorts == name
        by_cohort[name] = _counts(len(reasons), rows[own], None if codes is None else codes[own])
    return PatientFlow(
        tuple(
            FlowStep(
                text,
                whole[k].rows,
                whole[k].patients,
                {name: counts[k] for name, counts in by_cohort.items()},
                excluded=0 < k <= len(reasons),
            )
            for k, text in enumerate(["read", *reasons, "evaluated"])
        )
    )


def _counts(n_reasons: int, rows: np.ndarray, codes: np.ndarray | None) -> list[Counts]:
    """Return the counts of all rows, of each reason and of the evaluated rows."""
    by_step = np.bincount(rows, minlength=n_reasons + 1).tolist()
    if codes is None:
        return [Counts(n, None) for n in (len(rows), *by_step)]
    known = codes >= 0
    last = np.full(int(codes.max(initial=-1)) + 1, -1)
    np.maximum.at(last, codes[known], rows[known])
    leaving = np.bincount(last[last >= 0], minlength=n_reasons + 1).tolist()
    return [Counts(len(rows), sum(leaving)), *map(Counts, by_step, leaving)]


__all__ = ["Counts", "FlowStep", "LeftOut", "PatientFlow", "patient_flow"]
