"""Measure calibration: reliability, ECE, Brier score, Hosmer-Lemeshow tests, recalibration, temperature scaling.

Seven events are evaluated, each against its complement: the four stages, and "at least" T2, T3 and T4.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import chi2

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.decisions import at_least
from GTRStagingLib.stats.estimates import (
    FEWEST_OF_LONG_TAILS,
    Clusters,
    Estimate,
    Patients,
    Spread,
    estimated,
    mean,
    proportion,
    undefined,
)
from GTRStagingLib.stats.split_scores import TEMPERATURES, SplitLogits, fitted_temperature
from GTRStagingLib.support import extras
from GTRStagingLib.support.distributions import softmax, wrong_shares

BINS = 10
"""Number of bins of a reliability curve and an ECE, and of groups of a Hosmer-Lemeshow test."""

CLIP = 1e-6
"""Smallest distance of probabilities from 0 (and, for an event, from 1) before a logarithm."""

FOLDS = 5

ECE_DEFINITION = (
    f"Expected calibration error: {BINS} bins of equal count (equal predictions stay together), the mean over rows of "
    "the absolute difference between a bin's mean prediction and its observed share. Top-label: the prediction is the "
    "largest of the four probabilities, the event that its stage is right. Classwise: the mean of the four stages. "
    "Chance makes it larger, the more the fewer patients there are, so that it has no interval; the value that perfect "
    "calibration would show is given instead."
)

ROWS_OF_A_FIT = 200_000
"""Largest number of rows that a temperature is fitted to; its error is then about 0.2 %."""

_ONE_PATIENT = "all rows are of one patient, so no other rows remain to fit a temperature"


@dataclass(frozen=True)
class ReliabilityBin:
    """Point of a reliability curve: the mean prediction, and the share of rows with the event."""

    predicted: float
    observed: Estimate
    n: int


@dataclass(frozen=True)
class HosmerLemeshow:
    """Test of fit; statistic, df and p are None if it is not defined, and `method` states the reason."""

    statistic: float | None
    df: float | None
    p: float | None
    groups: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class EventCalibration:
    """Calibration of one event against its complement.

    Attributes
    ----------
    event
        'T1', or 'at least T2'.
    curve
        Bins from the lowest predictions to the highest.
    intercept
        Calibration in the large: observed minus predicted log odds; 0 is ideal.
    slope
        Slope of the event's log odds over the predicted log odds; 1 is ideal, below 1 the predictions are too extreme.
    """

    event: str
    curve: tuple[ReliabilityBin, ...]
    ece: Estimate
    brier: Estimate
    intercept: Estimate
    slope: Estimate
    hosmer_lemeshow: HosmerLemeshow


@dataclass(frozen=True)
class Losses:
    """Mean negative log-likelihood, top-label ECE, and Brier score (summed over the four stages)."""

    log_loss: Estimate
    ece: Estimate
    brier: Estimate


@dataclass(frozen=True)
class TemperatureScaling:
    """Effect of temperature scaling on the probabilities.

    Attributes
    ----------
    temperature
        Fitted to all rows; above 1, the predictions are overconfident.
    before, after
        Losses; `after` is cross-fitted: the temperature of each row is fitted without the rows of its patient.
    """

    temperature: Estimate
    before: Losses
    after: Losses


@dataclass(frozen=True)
class Calibration:
    """Calibration of the four probabilities.

    Attributes
    ----------
    clipped
        Number of rows with a probability below `CLIP`, which is raised to `CLIP` before a logarithm.
    events
        The four stages and then 'at least' T2 to T4.
    ece, classwise_ece
        Expected calibration errors, see `definition`.
    brier
        Brier score, summed over the four stages: 0 to 2.
    multinomial, ordinal
        Hosmer-Lemeshow tests of the four probabilities together.
    """

    n_rows: int
    n_patients: int
    clipped: int
    events: tuple[EventCalibration, ...]
    ece: Estimate
    classwise_ece: Estimate
    brier: Estimate
    multinomial: HosmerLemeshow
    ordinal: HosmerLemeshow
    scaling: TemperatureScaling
    definition: str = ECE_DEFINITION

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def calibrate(stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, seed: int) -> Calibration:
    """Measure the calibration of predictions that were not fitted to these rows.

    Parameters
    ----------
    stages
        (n,) true stages, 0 to 3.
    probabilities
        (n, 4), each in [0, 1].
    patients
        (n,) patient of each row.
    seed
        Seed of the choice of rows for the temperature, if there are more than `ROWS_OF_A_FIT`.

    Raises
    ------
    InputError
        If there are no rows, the three lengths differ, or a probability is not in [0, 1].
    """
    if not len(stages) or probabilities.shape != (len(stages), len(TStage)) or len(patients) != len(stages):
        raise InputError(
            f"{len(stages)} stages, probabilities of shape {probabilities.shape}, {len(patients)} patients; expected "
            f"at least one row, each with a stage, {len(TStage)} probabilities and a patient."
        )
    if wrong_shares(probabilities, most=1).any():
        raise InputError("Probabilities below 0, above 1 or missing; expected all in [0, 1]. Remove such rows.")
    clusters = Clusters.of(patients)
    events = {str(stage): (stages == stage, probabilities[:, stage]) for stage in TStage}
    for stage in (TStage.T2, TStage.T3, TStage.T4):
        events[f"at least {stage}"] = stages >= stage, at_least(probabilities, stage)
    scaled, temperature = _temperature_scaled(stages, probabilities, clusters, seed)
    before = _losses(stages, probabilities, clusters)
    after = Losses(*[undefined(_ONE_PATIENT)] * 3) if scaled is None else _losses(stages, scaled, clusters)
    return Calibration(
        n_rows=len(stages),
        n_patients=clusters.number,
        clipped=int((probabilities < CLIP).any(axis=1).sum()),
        events=tuple(
            EventCalibration(
                event,
                reliability(happened, predicted, clusters),
                expected_calibration_error([(happened, predicted)], clusters),
                mean((predicted - happened) ** 2, clusters, (0.0, 1.0), FEWEST_OF_LONG_TAILS),
                *recalibration(happened, predicted, clusters),
                hosmer_lemeshow(happened, predicted, clusters),
            )
            for event, (happened, predicted) in events.items()
        ),
        ece=before.ece,
        classwise_ece=expected_calibration_error([events[str(stage)] for stage in TStage], clusters),
        brier=before.brier,
        multinomial=multinomial_hosmer_lemeshow(stages, probabilities, clusters),
        ordinal=ordinal_hosmer_lemeshow(stages, probabilities, clusters),
        scaling=TemperatureScaling(temperature, before, after),
    )


def _losses(stages: np.ndarray, probabilities: np.ndarray, clusters: Clusters) -> Losses:
    surprise = -np.log(np.maximum(probabilities[np.arange(len(stages)), stages], CLIP))
    squares = ((probabilities - (stages[:, None] == np.arange(len(TStage)))) ** 2).sum(axis=1)
    top = probabilities.argmax(axis=1) == stages, probabilities.max(axis=1)
    return Losses(
        log_loss=mean(surprise, clusters, (0.0, np.inf), FEWEST_OF_LONG_TAILS),
        ece=expected_calibration_error([top], clusters),
        brier=mean(squares, clusters, (0.0, 2.0), FEWEST_OF_LONG_TAILS),
    )


def expected_calibration_error(events: Sequence[tuple[np.ndarray, np.ndarray]], patients: Patients) -> Estimate:
    """Compute the mean expected calibration error of events, each with (n,) outcomes and (n,) predictions.

    There is no interval. The noise of a bin's share can only increase the error, by about 0.08 with 240 rows of a good
    calibration, and no interval tried held: percentiles of a bootstrap never cover a good calibration, and a basic
    bootstrap covers it in 87 to 98 % of cohorts and can exceed 1. `method` states the mean of the errors that perfect
    calibration would show, for bins whose shares vary between patients as those observed do.
    """
    clusters, value, by_chance = Clusters.of(patients), 0.0, 0.0
    for happened, predicted in events:
        gaps, bins = happened - predicted, quantile_groups(predicted)
        for one in range(int(bins.max()) + 1):
            rows = bins == one
            mean_gap = float(gaps[rows].mean())
            # The mean of |x| is the standard deviation times this factor, for a normal x of mean 0.
            inside = clusters.at(rows)
            sums, k = inside.sums(gaps[rows] - mean_gap), inside.number
            by_chance += float(k / max(k - 1, 1) * (sums**2).sum() * 2 / np.pi) ** 0.5
            value += abs(mean_gap) * int(rows.sum())
    rows_of_all = len(clusters) * len(events)
    return Estimate(
        min(value / rows_of_all, 1.0),
        None,
        None,
        f"no interval, because chance can only increase it; perfect calibration would show about "
        f"{by_chance / rows_of_all:.3f} by chance",
    )


def quantile_groups(values: np.ndarray) -> np.ndarray:
    """Return the (n,) group of each value, from 0 for the lowest: ten of equal count, equal values in one group."""
    ordered = np.sort(values)
    edges = ordered[[-(-len(values) * k // BINS) - 1 for k in range(1, BINS)]]
    return np.searchsorted(np.unique(edges), values)


def reliability(happened: np.ndarray, predicted: np.ndarray, patients: Patients) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve of an event, (n,) bool, over its predictions, (n,)."""
    group, clusters = quantile_groups(predicted), Clusters.of(patients)
    inside = [group == one for one in range(int(group.max()) + 1)]
    return tuple(
        ReliabilityBin(float(predicted[rows].mean()), proportion(happened[rows], clusters.at(rows)), int(rows.sum()))
        for rows in inside
    )


def hosmer_lemeshow(happened: np.ndarray, predicted: np.ndarray, patients: Patients) -> HosmerLemeshow:
    """Test the fit of an event, (n,) bool, of (n,) probabilities from a model that was not fitted to these rows.

    The statistic of g groups has g degrees of freedom (Hosmer and Lemeshow 1980).
    """
    both = np.column_stack([1 - predicted, predicted])
    return _grouped_test(happened.astype(int), both, predicted, "the prediction", patients)


def multinomial_hosmer_lemeshow(stages: np.ndarray, probabilities: np.ndarray, patients: Patients) -> HosmerLemeshow:
    """Test four probabilities, grouped by the probability of not T1 (Fagerland, Hosmer and Bofin 2008, Stat Med)."""
    score = at_least(probabilities, TStage.T2)
    return _grouped_test(stages, probabilities, score, "the probability of not T1", patients)


def ordinal_hosmer_lemeshow(stages: np.ndarray, probabilities: np.ndarray, patients: Patients) -> HosmerLemeshow:
    """Test four ordered probabilities, grouped by the expected stage (Fagerland and Hosmer 2013, Stat Med)."""
    score = np.round(probabilities @ np.arange(len(TStage)), 12)
    return _grouped_test(stages, probabilities, score, "the expected stage", patients)


def _grouped_test(
    outcomes: np.ndarray,
    probabilities: np.ndarray,
    score: np.ndarray,
    by: str,
    patients: Patients,
) -> HosmerLemeshow:
    """Compute Pearson's statistic of groups by classes; the groups are quantiles of a score."""
    classes = probabilities.shape[1]
    group = quantile_groups(score)
    g = int(group.max()) + 1
    if g < 3:
        return HosmerLemeshow(None, None, None, g, f"not defined: {g} groups by {by}, at least 3 are required")
    observed = np.bincount(group * classes + outcomes, minlength=g * classes).reshape(g, classes)
    expected = np.column_stack([np.bincount(group, weights=column) for column in probabilities.T])
    least = float(expected.min())
    if least < CLIP:
        return HosmerLemeshow(None, None, None, g, f"not defined: no row of a class is expected in a group by {by}")
    statistic = float(((observed - expected) ** 2 / expected).sum())
    method = f"{g} groups of equal count by {by}; external validation"
    df, scale = float(g), 1.0
    if classes > 2:
        df, scale = _moments(probabilities, group, expected)
        method += f"; p from the statistic divided by {scale:.4g}, matched to its moments under the probabilities"
    if least < 1:
        method += f"; p is approximate, since the least expected count is {least:.2g} (it should be at least 1)"
    clusters = Clusters.of(patients)
    if clusters.clustered:
        method += f"; assumes independent rows, but {len(outcomes)} rows are of {clusters.number} patients"
    return HosmerLemeshow(statistic, df, float(chi2.sf(statistic / scale, df)), g, method)


def _moments(probabilities: np.ndarray, group: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return df and scale of the chi-square with the statistic's mean and variance (Satterthwaite 1946).

    Probabilities differ within a group, so its counts vary less than multinomial counts. With groups times
    (classes - 1) degrees of freedom the test would almost never reject. The variance is known from the probabilities of
    each row.
    """
    mean = squares = 0.0
    for one, count in enumerate(expected):
        rows = probabilities[group == one]
        variance = (np.diag(count) - rows.T @ rows) / np.sqrt(np.outer(count, count))
        mean += float(np.trace(variance))
        squares += float((variance**2).sum())
    return round(mean**2 / squares, 2), squares / mean


def recalibration(happened: np.ndarray, predicted: np.ndarray, patients: Patients) -> tuple[Estimate, Estimate]:
    """Estimate intercept and slope of logistic recalibration (Cox 1958; Van Calster et al. 2019, BMC Med).

    Parameters
    ----------
    happened, predicted, patients
        (n,) bool, probabilities, and patient of each row.
    """
    if happened.all() or not happened.any():
        constant_event = undefined(f"the event happened in {'every row' if happened.all() else 'no row'}")
        return constant_event, constant_event
    clusters = Clusters.of(patients)
    kept = np.clip(predicted, CLIP, 1 - CLIP)
    odds, constant = logit(kept), np.ones(len(kept))
    changed = int((kept != predicted).sum())
    note = f"; {changed} predictions limited to {CLIP:g} from 0 and 1" if changed else ""

    intercept = _logistic(happened, constant[:, None], odds, clusters, f"predicted log odds as offset{note}")
    with_event, without = odds[happened], odds[~happened]
    if odds.min() == odds.max():
        slope = undefined("all predictions are equal")
    elif with_event.min() >= without.max() or without.min() >= with_event.max():
        slope = undefined("the predictions separate the event perfectly, so no finite slope fits best")
    else:
        design = np.column_stack([constant, odds])
        slope = _logistic(happened, design, np.zeros(len(odds)), clusters, f"over the predicted log odds{note}")
    return intercept, slope


def _logistic(happened: np.ndarray, design: np.ndarray, offset: np.ndarray, clusters: Clusters, what: str) -> Estimate:
    """Estimate the last coefficient of a logistic model, (n, 1 or 2) design, by the jackknife over patients.

    A fit without a patient is the fit of all rows and one Newton step from it. The model has at most two coefficients
    but up to millions of rows; statsmodels gives the same coefficients, but makes dozens of copies of the rows.
    """

    def loss(b: np.ndarray) -> float:
        odds = offset + design @ b
        return float(np.mean(np.logaddexp(0, odds) - odds * happened))

    def slope(b: np.ndarray) -> np.ndarray:
        return design.T @ (expit(offset + design @ b) - happened) / len(happened)

    def curvature(b: np.ndarray) -> np.ndarray:
        p = expit(offset + design @ b)
        return (design.T * (p * (1 - p))) @ design / len(happened)

    start = np.zeros(design.shape[1])
    found = minimize(loss, start, jac=slope, hess=curvature, method="trust-exact", options={"gtol": 1e-9})
    p = expit(offset + design @ found.x)
    scores = clusters.sums(design * (happened - p)[:, None])
    weight = p * (1 - p)
    # Information without each patient: of the last coefficient, and with two coefficients of the first and of both.
    last = _without(weight * design[:, -1] ** 2, clusters)
    with np.errstate(divide="ignore", invalid="ignore"):
        if design.shape[1] == 1:
            apart = -scores[:, 0] / last
        else:
            first = _without(weight * design[:, 0] ** 2, clusters)
            both = _without(weight * design[:, 0] * design[:, 1], clusters)
            apart = -(first * scores[:, 1] - both * scores[:, 0]) / (first * last - both**2)
    return estimated(float(found.x[-1]), Spread.of(apart), clusters.sizes, f"logistic model, {what}; jackknife")


def _without(values: np.ndarray, clusters: Clusters) -> np.ndarray:
    """Return the sum of (n,) values without each patient, (patients,)."""
    by_patient = clusters.sums(values)
    result: np.ndarray = by_patient.sum() - by_patient
    return result


def _temperature_scaled(
    stages: np.ndarray, probabilities: np.ndarray, clusters: Clusters, seed: int
) -> tuple[np.ndarray | None, Estimate]:
    """Return the (n, 4) cross-fitted probabilities, None if not defined, and the temperature of all rows."""
    if clusters.number < 2:
        return None, undefined(_ONE_PATIENT)
    logs = np.log(np.maximum(probabilities, CLIP))
    rng = np.random.default_rng(seed)

    def fitted(rows: np.ndarray) -> float:
        if len(rows) > ROWS_OF_A_FIT:
            rows = rng.choice(rows, ROWS_OF_A_FIT, replace=False)
        n = len(rows)  # as a split of cases with one slice each
        patients = clusters.codes[rows]
        return fitted_temperature(SplitLogits(logs[rows], np.arange(n), np.zeros(n), stages[rows], patients))

    folds = min(FOLDS, clusters.number)
    splitter = extras.import_extra("sklearn.model_selection", "Calibration needs", "evaluate").GroupKFold(folds)
    scaled = np.empty_like(logs)
    for others, rows in splitter.split(logs, groups=clusters.codes):
        scaled[rows] = softmax(logs[rows], fitted(others))
    whole = fitted(np.arange(len(logs)))
    rows_used = "all rows" if len(logs) <= ROWS_OF_A_FIT else f"{ROWS_OF_A_FIT} rows drawn at random"
    method = (
        f"least log loss of {rows_used}, no interval; the scaled results are cross-fitted in {folds} folds of patients"
    )
    if not 1.01 * TEMPERATURES[0] < whole < 0.99 * TEMPERATURES[1]:
        method += "; the temperature is at a limit of the search range"
    return scaled, Estimate(whole, None, None, method)


__all__ = ["BINS", "CLIP", "ECE_DEFINITION", "Calibration", "EventCalibration", "HosmerLemeshow", "Losses",
           "ReliabilityBin", "TemperatureScaling", "calibrate", "expected_calibration_error", "hosmer_lemeshow",
           "multinomial_hosmer_lemeshow", "ordinal_hosmer_lemeshow", "quantile_groups", "recalibration",
           "reliability"]  # fmt: skip
