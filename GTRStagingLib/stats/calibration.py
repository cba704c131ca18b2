"""Do the probabilities mean what they say? Reliability, ECE, Brier, Hosmer-Lemeshow, recalibration, a temperature.

Seven events are looked at, each against its contrary: the four stages, and "at least" T2, T3 and T4.
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
"""Bins of a reliability curve and of an ECE, and groups of a Hosmer-Lemeshow test."""

CLIP = 1e-6
"""Where a logarithm is taken, probabilities are kept this far from 0 (and, of an event, from 1)."""

FOLDS = 5
MANY_ROWS = 20_000
FEW_RESAMPLES = 200
"""Resamples where there are more than `MANY_ROWS` rows: the intervals are narrow then, and the draws dear."""

ECE_DEFINITION = (
    f"Expected calibration error: {BINS} bins of equal count (equal predictions stay together), the mean over rows of "
    "the absolute difference between a bin's mean prediction and its observed share. Top-label: the prediction is the "
    "largest of the four probabilities, the event that its stage is right. Classwise: the mean of the four stages' own."
)

ROWS_OF_A_FIT = 200_000
"""Most rows that a temperature is fitted to: from so many it is known to some 0.2 %."""

_NOBODY_ELSE = "all rows are of one patient, so that none is left to fit a temperature on"

Measure = tuple[np.ndarray, np.ndarray]
"""(n,) weights and (n,) cells. What it measures is the sum over cells of |sum of the weights in the cell|, over n: a
mean loss has one cell, an ECE one for each bin."""


@dataclass(frozen=True)
class ReliabilityBin:
    """One point of a reliability curve: the mean prediction, and the share of rows in which the event happened."""

    predicted: float
    observed: Estimate
    n: int


@dataclass(frozen=True)
class HosmerLemeshow:
    """A test of fit; statistic, df and p are None where it is not defined, and `method` says why."""

    statistic: float | None
    df: float | None
    p: float | None
    groups: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class EventCalibration:
    """Calibration of one event, against its contrary.

    Attributes
    ----------
    event
        'T1', or 'at least T2'.
    curve
        From the lowest predictions to the highest.
    intercept
        Calibration in the large: log odds of the event beyond the predicted ones; 0 is ideal.
    slope
        Of the event's log odds over the predicted ones; 1 is ideal, below 1 the predictions are too extreme.
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
    """What one temperature would do to the probabilities.

    Attributes
    ----------
    temperature
        Fitted to all rows: above 1 the predictions are too sure.
    before, after
        `after` is cross-fitted: no row is scaled by a temperature that rows of its patient helped to fit.
    """

    temperature: Estimate
    before: Losses
    after: Losses


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities can be taken at their word.

    Attributes
    ----------
    clipped
        Rows with a probability closer to 0 than `CLIP`, which stand at `CLIP` where a logarithm is taken.
    events
        Seven, the four stages and then 'at least' T2 to T4.
    ece, classwise_ece
        As `definition` says.
    brier
        Summed over the four stages: 0 to 2.
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
        """Plain data."""
        return asdict(self)


def calibrate(stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, seed: int) -> Calibration:
    """Calibration of predictions that were not fitted to these rows.

    Parameters
    ----------
    stages
        (n,) the truth, 0 to 3.
    probabilities
        (n, 4), each in [0, 1].
    patients
        (n,) whole numbers that tell patients apart.
    seed
        Of the bootstrap over patients.

    Raises
    ------
    InputError
        If there are no rows, the three are not of one length, or a probability is not one.
    """
    if not len(stages) or probabilities.shape != (len(stages), len(TStage)) or len(patients) != len(stages):
        raise InputError(
            f"{len(stages)} stages, probabilities of shape {probabilities.shape}, {len(patients)} patients; expected "
            f"at least one row, and for each a stage, {len(TStage)} probabilities and a patient."
        )
    if wrong_shares(probabilities, most=1).any():
        raise InputError("Probabilities below 0, above 1 or missing; expected all in [0, 1]. Leave such rows out.")
    whose = Clusters.of(patients)
    events = {str(stage): (stages == stage, probabilities[:, stage]) for stage in TStage}
    for stage in (TStage.T2, TStage.T3, TStage.T4):
        events[f"at least {stage}"] = stages >= stage, at_least(probabilities, stage)
    scaled, temperature = _temperature_scaled(stages, probabilities, whose, seed)

    measures = {f"brier {event}": _mean((predicted - happened) ** 2) for event, (happened, predicted) in events.items()}
    measures |= {f"ece {event}": _gaps(happened, predicted) for event, (happened, predicted) in events.items()}
    measures |= {"log loss": _log_loss(stages, probabilities), "ece": _top_gaps(stages, probabilities)}
    if scaled is not None:
        squares = (scaled - (stages[:, None] == np.arange(len(TStage)))) ** 2
        measures |= {"log loss after": _log_loss(stages, scaled), "ece after": _top_gaps(stages, scaled)}
        measures["brier after"] = _mean(squares.sum(axis=1))
    found = _resampled(measures, whose, seed)
    brier = _loss(*(found[f"brier {stage}"] for stage in TStage))
    ece = _ece(found["ece"])
    after = Losses(*[undefined(_NOBODY_ELSE)] * 3)
    if scaled is not None:
        after = Losses(_loss(found["log loss after"]), _ece(found["ece after"]), _loss(found["brier after"]))
    return Calibration(
        n_rows=len(stages),
        n_patients=whose.number,
        clipped=int((probabilities < CLIP).any(axis=1).sum()),
        events=tuple(
            EventCalibration(
                event,
                reliability(happened, predicted, whose),
                _ece(found[f"ece {event}"]),
                _loss(found[f"brier {event}"]),
                *recalibration(happened, predicted, whose),
                hosmer_lemeshow(happened, predicted, whose),
            )
            for event, (happened, predicted) in events.items()
        ),
        ece=ece,
        classwise_ece=_ece(*(found[f"ece {stage}"] for stage in TStage)),
        brier=brier,
        multinomial=multinomial_hosmer_lemeshow(stages, probabilities, whose),
        ordinal=ordinal_hosmer_lemeshow(stages, probabilities, whose),
        scaling=TemperatureScaling(temperature, Losses(_loss(found["log loss"]), ece, brier), after),
    )


def quantile_groups(values: np.ndarray, groups: int = BINS) -> np.ndarray:
    """(n,) the group of each value, from 0 for the lowest, of equal count but that equal values stay together."""
    ordered = np.sort(values)
    edges = ordered[[-(-len(values) * k // groups) - 1 for k in range(1, groups)]]
    return np.searchsorted(np.unique(edges), values)


def reliability(
    happened: np.ndarray, predicted: np.ndarray, patients: Patients, *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The curve of an event, (n,) bool, over its predictions, (n,)."""
    group, whose = quantile_groups(predicted, bins), Clusters.of(patients)
    inside = [group == one for one in range(int(group.max()) + 1)]
    return tuple(
        ReliabilityBin(float(predicted[rows].mean()), proportion(happened[rows], whose.at(rows)), int(rows.sum()))
        for rows in inside
    )


def hosmer_lemeshow(
    happened: np.ndarray, predicted: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """The test for an event (Hosmer and Lemeshow 1980), of g degrees of freedom, or of g - 2 where it is `fitted`.

    Parameters
    ----------
    happened, predicted
        (n,) bool, and (n,) probabilities.
    fitted
        True where the predictions are of a model that was fitted to these very rows: it costs degrees of freedom.
    """
    both = np.column_stack([1 - predicted, predicted])
    return _grouped_test(happened.astype(int), both, predicted, "the prediction", patients, groups, fitted)


def multinomial_hosmer_lemeshow(
    stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """The test of four probabilities, grouped by that of not being T1 (Fagerland, Hosmer and Bofin 2008, Stat Med)."""
    score = at_least(probabilities, TStage.T2)
    return _grouped_test(stages, probabilities, score, "the probability of not T1", patients, groups, fitted)


def ordinal_hosmer_lemeshow(
    stages: np.ndarray, probabilities: np.ndarray, patients: Patients, *, groups: int = BINS, fitted: bool = False
) -> HosmerLemeshow:
    """The test of four ordered probabilities, grouped by the expected stage (Fagerland and Hosmer 2013, Stat Med)."""
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
    """Pearson's statistic of groups by classes, the groups being quantiles of a score."""
    classes = probabilities.shape[1]
    group = quantile_groups(score, groups)
    g = int(group.max()) + 1
    if g < 3:
        return HosmerLemeshow(None, None, None, g, f"not defined: {g} groups by {by}; it takes 3")
    observed = np.bincount(group * classes + outcomes, minlength=g * classes).reshape(g, classes)
    expected = np.column_stack([np.bincount(group, weights=column) for column in probabilities.T])
    least = float(expected.min())
    if least < CLIP:
        return HosmerLemeshow(None, None, None, g, f"not defined: a group by {by} expects no row of a class")
    statistic = float(((observed - expected) ** 2 / expected).sum())
    method = f"{g} groups of equal count by {by}; {'model fitted to these rows' if fitted else 'external validation'}"
    df, scale = float((g - 2) * (classes - 1) + (classes - 2 if ordinal else 0)), 1.0
    if not fitted:
        df = float(g)
        if classes > 2:
            df, scale = _moments(probabilities, group, expected)
            method += f"; p of the statistic over {scale:.4g}, by its moments under the probabilities"
    if least < 1:
        method += f"; p is rough, the least expected count being {least:.2g} (it should be 1)"
    whose = Clusters.of(patients)
    if whose.clustered:
        method += f"; takes rows as independent, though {len(outcomes)} rows are of {whose.number} patients"
    return HosmerLemeshow(statistic, df, float(chi2.sf(statistic / scale, df)), g, method)


def _moments(probabilities: np.ndarray, group: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Degrees of freedom and scale of the chi-square that has the statistic's mean and variance (Satterthwaite 1946).

    Given probabilities differ within a group, so that its counts vary less than multinomial ones would: of groups times
    (classes - 1) degrees of freedom, the test would hardly ever reject. What they vary is known, row by row.
    """
    mean = squares = 0.0
    for one, count in enumerate(expected):
        rows = probabilities[group == one]
        variance = (np.diag(count) - rows.T @ rows) / np.sqrt(np.outer(count, count))
        mean += float(np.trace(variance))
        squares += float((variance**2).sum())
    return round(mean**2 / squares, 2), squares / mean


def recalibration(happened: np.ndarray, predicted: np.ndarray, patients: Patients) -> tuple[Estimate, Estimate]:
    """Intercept and slope of logistic recalibration (Cox 1958; Van Calster et al. 2019, BMC Med).

    Parameters
    ----------
    happened, predicted, patients
        (n,) bool, probabilities, and whole numbers that tell patients apart.
    """
    if happened.all() or not happened.any():
        never = undefined(f"the event happened in {'every row' if happened.all() else 'no row'}")
        return never, never
    whose = Clusters.of(patients)
    kept = np.clip(predicted, CLIP, 1 - CLIP)
    odds, constant = logit(kept), np.ones(len(kept))
    changed = int((kept != predicted).sum())
    note = f"; {changed} predictions kept {CLIP:g} from 0 and 1" if changed else ""

    intercept = _logistic(happened, constant[:, None], odds, whose, f"predicted log odds as offset{note}")
    with_event, without = odds[happened], odds[~happened]
    if odds.min() == odds.max():
        slope = undefined("all predictions are equal")
    elif with_event.min() >= without.max() or without.min() >= with_event.max():
        slope = undefined("the predictions separate the event from its contrary, so that no finite slope fits best")
    else:
        design = np.column_stack([constant, odds])
        slope = _logistic(happened, design, np.zeros(len(odds)), whose, f"over the predicted log odds{note}")
    return intercept, slope


def _logistic(happened: np.ndarray, design: np.ndarray, offset: np.ndarray, whose: Clusters, what: str) -> Estimate:
    """The last coefficient of a logistic model, (n, k) design, with Wald's interval.

    Two coefficients at most, and millions of rows: statsmodels finds the same, with dozens of copies of the rows.
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
    clusters = whose.number
    if not whose.clustered:
        half = Z * float(inverse[-1, -1]) ** 0.5
        return Estimate(value, value - half, value + half, f"logistic model, {what}; Wald, 95 %")
    if clusters < 3:
        return Estimate(value, None, None, f"logistic model, {what}; {clusters} patients: no interval")
    # Liang and Zeger 1986; corrected as statsmodels and Stata do for few clusters.
    residuals = happened - expit(offset + design @ found.x)
    scores = whose.sums(design * residuals[:, None])
    few = clusters / (clusters - 1) * (len(whose) - 1) / (len(whose) - len(start))
    half = Z * float((inverse @ (scores.T @ scores) @ inverse)[-1, -1] * few) ** 0.5
    return Estimate(value, value - half, value + half, f"logistic model, {what}; Wald, clustered by patient, 95 %")


def _temperature_scaled(
    stages: np.ndarray, probabilities: np.ndarray, whose: Clusters, seed: int
) -> tuple[np.ndarray | None, Estimate]:
    """(n, 4) cross-fitted probabilities, and the temperature of all rows; None where it is not defined."""
    if whose.number < 2:
        return None, undefined(_NOBODY_ELSE)
    logs = np.log(np.maximum(probabilities, CLIP))
    rng = np.random.default_rng(seed)

    def fitted(rows: np.ndarray) -> float:
        if len(rows) > ROWS_OF_A_FIT:
            rows = rng.choice(rows, ROWS_OF_A_FIT, replace=False)
        n = len(rows)  # as a split of cases that have one slice each
        return fitted_temperature(SplitLogits(logs[rows], np.arange(n), np.zeros(n), stages[rows], whose.codes[rows]))

    folds = min(FOLDS, whose.number)
    splitter = extras.import_extra("sklearn.model_selection", "Calibration needs", "evaluate").GroupKFold(folds)
    scaled = np.empty_like(logs)
    for others, rows in splitter.split(logs, groups=whose.codes):
        scaled[rows] = softmax(logs[rows], fitted(others))
    whole = fitted(np.arange(len(logs)))
    rows_used = "all rows" if len(logs) <= ROWS_OF_A_FIT else f"{ROWS_OF_A_FIT} rows drawn at random"
    method = f"least log loss of {rows_used}; the scaled figures are cross-fitted in {folds} folds of patients"
    if not 1.01 * TEMPERATURES[0] < whole < 0.99 * TEMPERATURES[1]:
        method += "; it stands at an end of the range that was searched"
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
    """A measure of the sample, of resamples, and of the resamples about the sample: what chance alone makes of it."""

    value: float
    drawn: np.ndarray
    about: np.ndarray


def _resampled(measures: Mapping[str, Measure], whose: Clusters, seed: int) -> dict[str, _Draws]:
    """The bootstrap over patients, of all measures at once.

    The cells' sums are taken by patient once; a resample then is a product with how often each patient is drawn.
    """
    n, patients = len(whose), whose.number
    tables = [
        sparse.csr_matrix((weights, (cells, whose.codes)), shape=(int(cells.max()) + 1, patients))
        for weights, cells in measures.values()
    ]
    starts = np.cumsum([0, *(table.shape[0] for table in tables[:-1])])
    table = sparse.vstack(tables, format="csr")
    rng = np.random.default_rng(seed)
    sample = table @ np.ones(patients) / n
    drawn, about = [], []
    for _ in range(RESAMPLES if n <= MANY_ROWS else FEW_RESAMPLES):
        times = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        means = table @ times.astype(float) / (times @ whose.sizes)
        drawn.append(np.add.reduceat(np.abs(means), starts))
        about.append(np.add.reduceat(np.abs(means - sample), starts))
    values = np.add.reduceat(np.abs(sample), starts).tolist()
    return dict(zip(measures, map(_Draws, values, np.transpose(drawn), np.transpose(about)), strict=True))


def _loss(*parts: _Draws) -> Estimate:
    """The sum of the parts, with percentiles."""
    drawn = np.sum([part.drawn for part in parts], axis=0)
    found = percentiles(sum(part.value for part in parts), drawn)
    return replace(found, method=f"{found.method}, {len(drawn)} resamples")


def _ece(*parts: _Draws) -> Estimate:
    """The mean of the parts, with a basic bootstrap.

    Noise can only add to an ECE, and a resample adds it a second time: percentiles of the draws lie above the truth,
    and never cover a good calibration. The basic bootstrap takes off what the resampling added; and where the value is
    within what chance makes of perfect calibration, the interval reaches 0. In simulations of 240 and 1,000 rows with
    true ECEs of 0 to 0.16 it covered in 87 to 98 % of the cohorts (percentiles: in none, at 0).
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
