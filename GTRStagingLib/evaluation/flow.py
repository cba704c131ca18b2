"""Count the rows and patients of a table through the exclusions, in total and by cohort (flow of patients)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


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
        Rows and patients that remain, or that leave at this step: a patient leaves with the last row.
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


__all__ = ["Counts", "FlowStep", "PatientFlow"]
