"""Evaluate predictions by cohort: every part of an evaluation for the rows of each cohort, and their differences."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.evaluation.cohort_table import CohortLine, describe_cohorts, shared_patients
from GTRStagingLib.evaluation.performance import Performance, curves, macro_area, performance
from GTRStagingLib.evaluation.predictions import ATTENTION, Predictions
from GTRStagingLib.evaluation.risk_scores import risk_by_scores
from GTRStagingLib.evaluation.slice_stability import slice_stability
from GTRStagingLib.evaluation.stage_sets import mixed_sets, stage_sets
from GTRStagingLib.evaluation.table_one import NOT_GIVEN
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.attention_by_stage import AttentionStudy, attention
from GTRStagingLib.stats.calibration import Calibration, calibrate
from GTRStagingLib.stats.decisions import Decisions
from GTRStagingLib.stats.heterogeneity import Heterogeneity, compare_areas, compare_means, compare_shares, corrected
from GTRStagingLib.stats.risk_coverage import RiskCoverage
from GTRStagingLib.stats.set_coverage import SetCoverage
from GTRStagingLib.stats.stage_stability import StageStability
from GTRStagingLib.support.counts import counted

MOST_COHORTS = 12
"""Largest number of cohorts; a column with more values is no column of cohorts."""

Decide = Callable[[Predictions], Decisions]
"""Computes the decision curves of predictions."""


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
    stage_sets
        None without a column of stage sets, or without any set.
    risk_coverage
        None without scores of uncertainty beside the probabilities.
    slice_stability
        How far the stage holds along the scan; None if the table does not tell.
    training
        Whether the model was fitted on rows of this cohort, by the split of its rows or by its name.
    """

    name: str
    predictions: Predictions
    performance: Performance
    curves: Mapping[str, np.ndarray | None]
    calibration: Calibration | None
    decisions: Decisions
    attention: AttentionStudy | None
    notes: tuple[str, ...]
    training: bool = False
    stage_sets: SetCoverage | None = None
    risk_coverage: RiskCoverage | None = None
    slice_stability: StageStability | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, with the keys of `metrics.json`."""
        return {
            **self.performance.to_json(),
            "calibration": None if self.calibration is None else self.calibration.to_json(),
            "decisions": self.decisions.to_json(),
            "attention": None if self.attention is None else self.attention.to_json(),
            "stage_sets": None if self.stage_sets is None else self.stage_sets.to_json(),
            "risk_coverage": None if self.risk_coverage is None else self.risk_coverage.to_json(),
            "slice_stability": None if self.slice_stability is None else self.slice_stability.to_json(),
            "training": self.training,
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
        Tests of the differences between the cohorts; empty if a note states why there is none.
    shared_patients
        Number of patients with rows in several cohorts.
    notes
        Sentences on the cohorts together.
    """

    column: str
    parts: tuple[CohortEvaluation, ...]
    description: tuple[CohortLine, ...]
    heterogeneity: tuple[Heterogeneity, ...]
    shared_patients: int = 0
    notes: tuple[str, ...] = ()

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Sentences on the cohorts together, and on each with its name."""
        return (*self.notes, *(f"Cohort {part.name}: {note}" for part in self.parts for note in part.notes))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "column": self.column,
            "parts": {part.name: part.to_json() for part in self.parts},
            "description": [line.to_json() for line in self.description],
            "heterogeneity": [one.to_json() for one in self.heterogeneity],
            "shared_patients": self.shared_patients,
            "notes": [without_backticks(note) for note in self.notes],
        }


def evaluate_part(found: Predictions, name: str, decide: Decide, *, seed: int = 0) -> CohortEvaluation:
    """Evaluate some rows: performance, curves, calibration, decisions and attention, as far as they allow."""
    four, clusters = found.probabilities, found.clusters
    measures, sets = _measures(found), stage_sets(found)
    return CohortEvaluation(
        name=name,
        predictions=found,
        performance=performance(found),
        curves=curves(found),
        calibration=None if four is None else calibrate(found.stages, four, clusters, seed=seed),
        decisions=decide(found),
        attention=attention(found.stages, measures, clusters, seed=seed) if "dice" in measures else None,
        notes=tuple(_notes(found, name, sets)),
        training=_is_training(found, name),
        stage_sets=sets,
        risk_coverage=risk_by_scores(found),
        slice_stability=slice_stability(found),
    )


def _measures(found: Predictions) -> dict[str, np.ndarray]:
    """Map each measure of attention with a number to its (n,) numbers, NaN for empty cells."""
    columns = {n.casefold(): found.numbers(n) for n in found.frame.columns if n.casefold() in ATTENTION}
    return {n: values for n, values in columns.items() if values is not None and not np.isnan(values).all()}


def cohort_rows(found: Predictions, column: str) -> dict[str, np.ndarray]:
    """Map each cohort to the (n,) bool of its rows, in the order of their first rows.

    Raises
    ------
    InputError
        If the column does not exist or has too many values, or rows were left out by it as a column of splits.
    """
    known = ", ".join(found.frame.columns)
    if column not in found.frame.columns:
        raise InputError(f"`cohort_column` {column!r} is not in {found.source}; expected one of {known}.")
    if column == found.columns.split and any(reason.startswith("not in split") for reason in found.flow.excluded):
        raise InputError(
            f"`cohort_column` is {column!r}, but rows of other splits were left out; expected all. Set `split` to all."
        )
    texts = cohort_names(found.texts(column))
    names = list(dict.fromkeys(texts.tolist()))
    if len(names) > MOST_COHORTS:
        raise InputError(
            f"`cohort_column` {column!r} has {len(names)} different values; expected at most {MOST_COHORTS} cohorts. "
            "Choose a column of cohorts."
        )
    return {name: texts == name for name in names}


def cohort_names(texts: np.ndarray) -> np.ndarray:
    """Return the (n,) cells of a cohort column as names of cohorts: 'not given' for empty cells."""
    return np.array([NOT_GIVEN if text is None else text for text in texts], dtype=object)


def evaluate_cohorts(
    found: Predictions, column: str, rows: Mapping[str, np.ndarray], decide: Decide, *, seed: int = 0
) -> Cohorts:
    """Evaluate the rows of each cohort, describe its patients, and test the differences between the cohorts.

    Parameters
    ----------
    column, rows
        The cohort column, and its cohorts as returned by `cohort_rows`.
    decide
        Computes the decision curves.
    """
    parts = tuple(evaluate_part(found.of(own), name, decide, seed=seed) for name, own in rows.items())
    shared = shared_patients(found.clusters, rows.values())
    tested = [part for part in parts if not part.training and part.name != NOT_GIVEN]
    again = shared_patients(found.clusters, (rows[part.name] for part in tested))
    notes = []
    if shared:
        notes.append(
            f"LEAK: {shared} of {found.clusters.number} patients have rows in several cohorts of {column}. If the "
            "model was fitted on one of these cohorts, the results of the others are too high."
        )
    if again:
        notes.append(
            f"Differences between cohorts are not tested: {counted(again, 'patient')} of the compared cohorts "
            f"{'has' if again == 1 else 'have'} rows in several of them, and the tests require different patients."
        )
    if len(parts) == 1:
        value = "is empty in all rows" if NOT_GIVEN in rows else f"has one value, {parts[0].name!r}"
        notes.append(f"{column} {value}, so there are no cohorts to compare.")
    elif NOT_GIVEN in rows:
        notes.append(
            f"{column} is empty, or {NOT_GIVEN!r}, in {int(rows[NOT_GIVEN].sum())} of {counted(len(found), 'row')}: "
            f"the tables show them as the cohort {NOT_GIVEN!r}, which is in no test of differences between cohorts."
        )
    if left := ", ".join(part.name for part in parts if part.training):
        notes.append(f"In no test of differences between cohorts: {left}, on whose rows the model was fitted.")
    if alike := _alike(part.name for part in parts):
        notes.append(f"{column} has values that differ in case only ({alike}): they are cohorts of their own.")
    return Cohorts(
        column=column,
        parts=parts,
        description=describe_cohorts(found, column, rows),
        heterogeneity=_heterogeneity(tested, seed) if len(parts) > 1 and not again else (),
        shared_patients=shared,
        notes=tuple(notes),
    )


def _alike(names: Iterable[str]) -> str:
    """List the names that differ in case only, as text."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    return "; ".join(", ".join(same) for same in groups.values() if len(same) > 1)


def _is_training(found: Predictions, name: str) -> bool:
    return name.casefold().startswith("train") or bool(_of_split(found, "train"))


def _of_split(found: Predictions, split: str) -> int:
    """Count the rows whose split begins with a text."""
    if found.columns.split is None:
        return 0
    counts = found.frame[found.columns.split].value_counts().items()
    return sum(int(n) for text, n in counts if text.casefold().startswith(split))


def _notes(found: Predictions, name: str, sets: SetCoverage | None) -> list[str]:
    """Return what a reader of the numbers of these rows must know."""
    notes = []
    if _is_training(found, name):
        n = _of_split(found, "train")
        which = f"{n} of {len(found)} rows are of the split of training" if n else "By its name, it is of training"
        notes.append(f"{which}: the model was fitted on them, so these results are not of new patients.")
    for split, use in (("validation", "chosen"), ("calibration", "calibrated")):
        if n := _of_split(found, split[:5]):
            note = f"{n} of {len(found)} rows are of the split of {split}, by which the model was {use}."
            circular = " Its stage sets may be calibrated on them, and their coverage then says nothing of others."
            notes.append(note if sets is None else note + circular)
    if sets is not None:
        notes += mixed_sets(found, sets)
    missing = [str(stage) for stage in TStage if not (found.stages == stage).any()]
    if missing:
        notes.append(f"No row is {' or '.join(missing)}, so measures that require such rows are not defined.")
    return notes


def _heterogeneity(parts: Sequence[CohortEvaluation], seed: int) -> tuple[Heterogeneity, ...]:
    """Test accuracy, macro AUC, sensitivity and specificity by stage, and mean Dice, corrected for their number."""
    by_name = {part.name: part.predictions for part in parts}
    tests = [
        compare_shares(
            "accuracy", {name: (one.stages == one.predicted, one.clusters) for name, one in by_name.items()}, seed=seed
        )
    ]
    if parts and all(one.probabilities is not None for one in by_name.values()):
        areas = {name: (macro_area(one), one.clusters) for name, one in by_name.items()}
        tests.append(compare_areas("macro AUC", areas))
    for what, positive in (("sensitivity", True), ("specificity", False)):
        for stage in TStage:
            hits = {}
            for name, one in by_name.items():
                rows = (one.stages == stage) == positive
                hits[name] = ((one.predicted[rows] == stage) == positive, one.clusters.at(rows))
            tests.append(compare_shares(f"{what} of {stage}", hits, seed=seed))
    dice = {name: _measures(one).get("dice", np.full(len(one), np.nan)) for name, one in by_name.items()}
    given = {name: ~np.isnan(values) for name, values in dice.items()}
    if any(rows.any() for rows in given.values()):
        means = {name: (dice[name][rows], by_name[name].clusters.at(rows)) for name, rows in given.items()}
        tests.append(compare_means("mean Dice", means))
    return corrected(tests)


__all__ = [
    "MOST_COHORTS",
    "CohortEvaluation",
    "Cohorts",
    "Decide",
    "cohort_names",
    "cohort_rows",
    "evaluate_cohorts",
    "evaluate_part",
]
