"""Evaluate predictions by cohort: every part of an evaluation for the rows of each cohort, and their differences."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import without_backticks
from GTRStagingLib.evaluation.performance import Performance, curves, performance
from GTRStagingLib.evaluation.predictions import ATTENTION, Predictions
from GTRStagingLib.evaluation.table_one import CohortLine, groups_by
from GTRStagingLib.stats.attention_by_stage import AttentionStudy, attention
from GTRStagingLib.stats.calibration import Calibration, calibrate
from GTRStagingLib.stats.decisions import Decisions
from GTRStagingLib.stats.heterogeneity import Heterogeneity

Decide = Callable[[Predictions, int], Decisions]
"""Computes the decision curves of predictions with a seed."""


@dataclass(frozen=True)
class CohortEvaluation:
    """Evaluation of one cohort: the rows with one value in the cohort column.

    Attributes
    ----------
    name
        The value; 'not given' for empty cells.
    curves
        Stage -> (k, 2) false and true positive rates.
    calibration
        None without probabilities.
    attention
        None without a column of Dice coefficients.
    notes
        Why something of this cohort is missing, or must be read with care.
    """

    name: str
    predictions: Predictions
    performance: Performance
    curves: Mapping[str, np.ndarray | None]
    calibration: Calibration | None
    decisions: Decisions
    attention: AttentionStudy | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, with the keys of `metrics.json`."""
        return {
            **self.performance.to_json(),
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "decisions": self.decisions.to_json(),
            "attention": None if self.attention is None else self.attention.to_json(),
            "notes": [without_backticks(note) for note in self.notes],
        }


@dataclass(frozen=True)
class Cohorts:
    """Evaluation by cohort.

    Attributes
    ----------
    column
        The cohort column.
    parts
        The cohorts, in the order of their first rows in the table.
    description
        Patients by cohort (Table 1).
    heterogeneity
        Tests of the differences between the cohorts.
    """

    column: str
    parts: tuple[CohortEvaluation, ...]
    description: tuple[CohortLine, ...]
    heterogeneity: tuple[Heterogeneity, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "column": self.column,
            "parts": {part.name: part.to_json() for part in self.parts},
            "description": [line.to_json() for line in self.description],
            "heterogeneity": [one.to_json() for one in self.heterogeneity],
        }


def evaluate_part(found: Predictions, name: str, decide: Decide, *, seed: int = 0) -> CohortEvaluation:
    """Evaluate some rows: performance, curves, calibration, decisions and attention, as far as they allow."""
    four, clusters = found.probabilities, found.clusters
    columns = {n.casefold(): found.numbers(n) for n in found.frame.columns if n.casefold() in ATTENTION}
    measures = {n: values for n, values in columns.items() if values is not None and not np.isnan(values).all()}
    return CohortEvaluation(
        name=name,
        predictions=found,
        performance=performance(found, seed=seed),
        curves=curves(found),
        calibration=None if four is None else calibrate(found.stages, four, clusters, seed=seed),
        decisions=decide(found, seed),
        attention=attention(found.stages, measures, clusters, seed=seed) if "dice" in measures else None,
        notes=(),
    )


def evaluate_cohorts(found: Predictions, column: str, decide: Decide, *, seed: int = 0) -> Cohorts:
    """Evaluate the rows of each cohort, and test the differences between the cohorts.

    Raises
    ------
    InputError
        If the column does not exist, or has too many values.
    """
    levels = groups_by(found, column)
    in_order = sorted(levels, key=lambda name: int(np.flatnonzero(levels[name])[0]))
    parts = tuple(evaluate_part(found.of(levels[name]), name, decide, seed=seed) for name in in_order)
    return Cohorts(column, parts, (), ())


__all__ = ["CohortEvaluation", "Cohorts", "Decide", "evaluate_cohorts", "evaluate_part"]
