"""Measure calibration: reliability, ECE, Brier score, Hosmer-Lemeshow tests, recalibration, temperature scaling.

Seven events are evaluated, each against its complement: the four stages, and "at least" T2, T3 and T4.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import chi2

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.decisions import at_least
from GTRStagingLib.stats.estimates import (
    LEVEL,
    RESAMPLES,
    Clusters,
    Estimate,
    Patients,
    Z,
    percentiles,
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
MANY_ROWS = 20_000
FEW_RESAMPLES = 200
"""Number of resamples above `MANY_ROWS` rows, where intervals are narrow and resamples are slow."""

ECE_DEFINITION = (
    f"Expected calibration error: {BINS} bins of equal count (equal predictions stay together), the mean over rows of "
    "the absolute difference between a bin's mean prediction and its observed share. Top-label: the prediction is the "
    "largest of the four probabilities, the event that its stage is right. Classwise: the mean of the four stages' own."
)

ROWS_OF_A_FIT = 200_000
"""Largest number of rows that a temperature is fitted to; its error is then about 0.2 %."""

_ONE_PATIENT = "all rows are of one patient, so no other rows remain to fit a temperature"

Measure = tuple[np.ndarray, np.ndarray]
"""(n,) weights and (n,) cells. The measure is the sum over cells of |sum of the weights in the cell|, divided by n. A
mean loss has one cell, an ECE has one per bin."""


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
        Seed of the patient bootstrap.

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

    measures = {f"brier {event}": _mean((predicted - happened) ** 2) for event, (happened, predicted) in events.items()}
    measures |= {f"ece {event}": _gaps(happened, predicted) for event, (happened, predicted) in events.items()}
    measures |= {"log loss": _log_loss(stages, probabilities), "ece": _top_gaps(stages, probabilities)}
    if scaled is not None:
        squares = (scaled - (stages[:, None] == np.arange(len(TStage)))) ** 2
        measures |= {"log loss after": _log_loss(stages, scaled), "ece after": _top_gaps(stages, scaled)}
        measures["brier after"] = _mean(squares.sum(axis=1))
    found = _resampled(measures, clusters, seed)
    brier = _loss(*(found[f"brier {stage}"] for stage in TStage))
    ece = _ece(found["ece"])
    after = Losses(*[undefined(_ONE_PATIENT)] * 3)
    if scaled is not None:
        after = Losses(_loss(found["log loss after"]), _ece(found["ece after"]), _loss(found["brier after"]))
    return Calibration(
        n_rows=len(stages),
        n_patients=clusters.number,
        clipped=int((probabilities < CLIP).any(axis=1).sum()),
        events=tuple(
            EventCalibration(
                event,
                reliability(happened, predicted, clusters),
                _ece(found[f"ece {event}"]),
                _loss(found[f"brier {event}"]),
                *recalibration(happened, predicted, clusters),
                hosmer_lemeshow(happened, predicted, clusters),
            )
            for event, (happened, predicted) in events.items()
        ),
        ece=ece,
        classwise_ece=_ece(*(found[f"ece {stage}"] for stage in TStage)),
        brier=brier,
        multinomial=multinomial_hosmer_lemeshow(stages, probabilities, clusters),
        ordinal=ordinal_hosmer_lemeshow(stages, probabilities, clusters),
        scaling=TemperatureScaling(temperature, Losses(_loss(found["log loss"]), ece, brier), after),
    )


def quantile_groups(values: np.ndarray, groups: int = BINS) -> np.ndarray:
    """Return the (n,) group of each value, from 0 for the lowest; groups of equal count, equal values in one group."""
    ordered = np.sort(values)
    edges = ordered[[-(-len(values) * k // groups) - 1 for k in range(1, groups)]]
    return np.searchsorted(np.unique(edges), values)


def reliability(
    happened: np.ndarray, predicted: np.ndarray, patients: Patients, *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability curve of an event, (n,) bool, over its predictions, (n,)."""
    group, clusters = quantile_groups(predicted, bins), Clusters.of(patients)
    inside = [group == one for one in range(int(group.max()) + 1)]
    return tuple(
        ReliabilityBin(float(predicted[rows].mean()), proportion(happened[rows], clusters.at(rows)), int(rows.sum()))
        for rows in inside
    )


def hosmer_lemeshow(
    happened: np.ndarray, predicted: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """Test the fit of an event (Hosmer and Lemeshow 1980), with g degrees of freedom, or g - 2 if `fitted`.

    Parameters
    ----------
    happened, predicted
        (n,) bool, and (n,) probabilities.
    fitted
        Whether the model was fitted to these rows, which reduces the degrees of freedom.
    """
    both = np.column_stack([1 - predicted, predicted])
    return _grouped_test(happened.astype(int), both, predicted, "the prediction", patients, groups, fitted)


def multinomial_hosmer_lemeshow(
    stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """Test four probabilities, grouped by the probability of not T1 (Fagerland, Hosmer and Bofin 2008, Stat Med)."""
    score = at_least(probabilities, TStage.T2)
    return _grouped_test(stages, probabilities, score, "the probability of not T1", patients, groups, fitted)


def ordinal_hosmer_lemeshow(
    stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """Test four ordered probabilities, grouped by the expected stage (Fagerland and Hosmer 2013, Stat Med)."""
    score = np.round(probabilities @ np.arange(len(TStage)), 12)
    return _grouped_test(stages, probabilities, score, "the expected stage", patients, groups, fitted, ordinal=True)


def _grouped_test(
    outcomes: np.ndarray,
    probabilities: np.ndarray,
    score: np.ndarray,
    by: str,
    patients: Patients,
    groups: int,
    fitted: bool,
    ordinal: bool = False,
) -> HosmerLemeshow:
    """Compute Pearson's statistic of groups by classes; the groups are quantiles of a score."""
    classes = probabilities.shape[1]
    group = quantile_groups(score, groups)
    g = int(group.max()) + 1
    if g < 3:
        return HosmerLemeshow(None, None, None, g, f"not defined: {g} groups by {by}, at least 3 are required")
    observed = np.bincount(group * classes + outcomes, minlength=g * classes).reshape(g, classes)
    expected = np.column_stack([np.bincount(group, weights=column) for column in probabilities.T])
    least = float(expected.min())
    if least < CLIP:
        return HosmerLemeshow(None, None, None, g, f"not defined: no row of a class is expected in a group by {by}")
    statistic = float(((observed - expected) ** 2 / expected).sum())
    method = f"{g} groups of equal count by {by}; {'model fitted to these rows' if fitted else 'external validation'}"
    df, scale = float((g - 2) * (classes - 1) + (classes - 2 if ordinal else 0)), 1.0
    if not fitted:
        df = float(g)
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
    """Estimate the last coefficient of a logistic model, (n, k) design, with Wald's interval.

    The model has at most two coefficients but up to millions of rows; statsmodels gives the same result, but makes
    dozens of copies of the rows.
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
    value = float(found.x[-1])
    inverse = np.linalg.inv(curvature(found.x) * len(happened))
    number = clusters.number
    if not clusters.clustered:
        half = Z * float(inverse[-1, -1]) ** 0.5
        return Estimate(value, value - half, value + half, f"logistic model, {what}; Wald, 95 %")
    if number < 3:
        return Estimate(value, None, None, f"logistic model, {what}; {number} patients: no interval")
    # Liang and Zeger 1986, with the correction for few clusters of statsmodels and Stata.
    residuals = happened - expit(offset + design @ found.x)
    scores = clusters.sums(design * residuals[:, None])
    few = number / (number - 1) * (len(clusters) - 1) / (len(clusters) - len(start))
    half = Z * float((inverse @ (scores.T @ scores) @ inverse)[-1, -1] * few) ** 0.5
    return Estimate(value, value - half, value + half, f"logistic model, {what}; Wald, clustered by patient, 95 %")


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
    method = f"least log loss of {rows_used}; the scaled results are cross-fitted in {folds} folds of patients"
    if not 1.01 * TEMPERATURES[0] < whole < 0.99 * TEMPERATURES[1]:
        method += "; the temperature is at a limit of the search range"
    return scaled, Estimate(whole, None, None, method)


def _mean(losses: np.ndarray) -> Measure:
    return losses, np.zeros(len(losses), dtype=int)


def _log_loss(stages: np.ndarray, probabilities: np.ndarray) -> Measure:
    return _mean(-np.log(np.maximum(probabilities[np.arange(len(stages)), stages], CLIP)))


def _gaps(happened: np.ndarray, predicted: np.ndarray) -> Measure:
    return happened - predicted, quantile_groups(predicted)


def _top_gaps(stages: np.ndarray, probabilities: np.ndarray) -> Measure:
    return _gaps(probabilities.argmax(axis=1) == stages, probabilities.max(axis=1))


class _Draws(NamedTuple):
    """Measure of the sample, of resamples, and of the resamples minus the sample (the effect of chance)."""

    value: float
    drawn: np.ndarray
    about: np.ndarray


def _resampled(measures: Mapping[str, Measure], clusters: Clusters, seed: int) -> dict[str, _Draws]:
    """Run the patient bootstrap of all measures at once.

    The sums of the cells are computed once by patient; a resample is then a product with each patient's number of
    draws.
    """
    n, patients = len(clusters), clusters.number
    tables = [
        sparse.csr_matrix((weights, (cells, clusters.codes)), shape=(int(cells.max()) + 1, patients))
        for weights, cells in measures.values()
    ]
    starts = np.cumsum([0, *(table.shape[0] for table in tables[:-1])])
    table = sparse.vstack(tables, format="csr")
    rng = np.random.default_rng(seed)
    sample = table @ np.ones(patients) / n
    drawn, about = [], []
    for _ in range(RESAMPLES if n <= MANY_ROWS else FEW_RESAMPLES):
        times = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        means = table @ times.astype(float) / (times @ clusters.sizes)
        drawn.append(np.add.reduceat(np.abs(means), starts))
        about.append(np.add.reduceat(np.abs(means - sample), starts))
    values = np.add.reduceat(np.abs(sample), starts).tolist()
    return dict(zip(measures, map(_Draws, values, np.transpose(drawn), np.transpose(about)), strict=True))


def _loss(*parts: _Draws) -> Estimate:
    """Estimate the sum of the parts, with percentiles."""
    drawn = np.sum([part.drawn for part in parts], axis=0)
    found = percentiles(sum(part.value for part in parts), drawn)
    return replace(found, method=f"{found.method}, {len(drawn)} resamples")


def _ece(*parts: _Draws) -> Estimate:
    """Estimate the mean of the parts, with a basic bootstrap.

    Noise can only increase an ECE, and a resample adds noise again: percentiles of the draws lie above the true value
    and never cover a good calibration. The basic bootstrap subtracts the increase by resampling. If the value is within
    the range of perfect calibration by chance, the interval includes 0. In simulations of 240 and 1,000 rows with true
    ECEs of 0 to 0.16, it covered the true value in 87 to 98 % of the cohorts (percentiles: in none, at 0).
    """
    value = sum(part.value for part in parts) / len(parts)
    drawn, about = (np.mean(draws, axis=0) for draws in ([p.drawn for p in parts], [p.about for p in parts]))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    by_chance = value <= float(np.quantile(about, (1 + LEVEL) / 2))
    return Estimate(
        value,
        0.0 if by_chance else max(0.0, 2 * value - high),
        max(value, 2 * value - low),
        f"basic bootstrap over patients, 95 %, {len(drawn)} resamples; perfect calibration would show about "
        f"{float(about.mean()):.3f} by chance",
    )


__all__ = ["BINS", "CLIP", "ECE_DEFINITION", "Calibration", "EventCalibration", "HosmerLemeshow", "Losses",
           "ReliabilityBin", "TemperatureScaling", "calibrate", "hosmer_lemeshow",
           "multinomial_hosmer_lemeshow", "ordinal_hosmer_lemeshow", "quantile_groups", "recalibration",
           "reliability"]  # fmt: skip
