"""Compute decision curves (net benefit over thresholds), over- and under-treatment, and the number needed to treat.

Net benefit: Vickers & Elkin 2006, Med Decis Making 26:565. The tests compare with the package `dcurves`, which is not a
dependency because it requires lifelines.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    Spread,
    effective_patients,
    interval,
    mean,
    no_interval,
    proportion,
    spread_of_mean,
    undefined,
)

THRESHOLDS = tuple(round(0.01 * i, 2) for i in range(100))
"""0 to 0.99; at 0, the net benefit of treating all is the prevalence."""

EVENTS = (TStage.T2, TStage.T3, TStage.T4)

TREAT_ALL, TREAT_NONE = "treat all", "treat none"

DEFINITIONS = (
    "Net benefit at threshold t: TP/N − FP/N · t/(1 − t), if patients with a probability of t or more are treated; the "
    "curve of treating all starts at the prevalence. For the counts below, patients with T3 or more are treated. "
    "Over-treatment is FP/N (predicted T3 or more, true stage lower), under-treatment is FN/N. NNT is N/(TP − FP), the "
    "number of patients to stage for one more correct treatment: 1 / net benefit at 0.5. The article does not define "
    "these measures; its counts give its figures with these definitions."
)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of one event, such as 'at least T3'.

    Attributes
    ----------
    prevalence
        Share of the rows with the event.
    thresholds
        (k,) threshold probabilities.
    net_benefit
        Strategy -> (k,) net benefit: of the model, of others, of treating all and of treating none.
    bands
        Name of the model and of each other -> (k, 2) lower and upper limit of its net benefit, pointwise 95 % by the
        jackknife over patients; NaN where there is no interval.
    """

    event: str
    prevalence: float
    thresholds: tuple[float, ...]
    net_benefit: Mapping[str, tuple[float, ...]]
    bands: Mapping[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data; NaN is None."""
        bands = {
            name: [[None if np.isnan(limit) else limit for limit in pair] for pair in band.tolist()]
            for name, band in self.bands.items()
        }
        return {**asdict(self), "bands": bands}


@dataclass(frozen=True)
class Treatment:
    """Consequences of treatment by predicted stage.

    Attributes
    ----------
    boundary
        Lowest stage that is treated.
    tp, fp, fn, tn
        Numbers of rows.
    over, under
        FP/N and FN/N.
    nnt
        N/(TP − FP); not defined unless TP exceeds FP.
    """

    boundary: str
    tp: int
    fp: int
    fn: int
    tn: int
    over: Estimate
    under: Estimate
    nnt: Estimate


@dataclass(frozen=True)
class Decisions:
    """Decision curves of each event, and treatment at T3 by the model, other models and readers."""

    curves: tuple[DecisionCurve, ...]
    treatment: Mapping[str, Treatment]
    definitions: str = DEFINITIONS

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {**asdict(self), "curves": [curve.to_json() for curve in self.curves]}


def at_least(probabilities: np.ndarray, stage: TStage) -> np.ndarray:
    """Return the (n,) probability of a stage or a higher one from (n, 4) probabilities.

    Rounded to 12 decimals, so that sums do not depend on the order of terms, and 0.7 + 0.1 reaches a threshold of 0.8.
    """
    result: np.ndarray = np.round(np.minimum(probabilities[:, stage:].sum(axis=1), 1.0), 12)
    return result


def net_benefit(happened: np.ndarray, predicted: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the (k,) net benefit of treating rows with `predicted` at or above the threshold, and above 0.

    Parameters
    ----------
    happened
        (n,) bool.
    predicted
        (n,) probabilities; 0 or 1 for a reader.
    thresholds
        (k,) in [0, 1).

    Examples
    --------
    One of four rows has the event. At 0.5 two rows are treated, one of them correctly: 1/4 - 1/4 * 0.5 / 0.5. At 0.75
    only the correct one is treated.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.decisions import net_benefit
    >>> happened = np.array([True, False, False, False])
    >>> net_benefit(happened, np.array([0.9, 0.6, 0.2, 0.1]), np.array([0.5, 0.75])).tolist()
    [0.0, 0.25]
    """
    order = np.argsort(predicted, kind="stable")
    ascending = predicted[order]
    # A probability of 0, such as a reader's "no", is not treated, even at threshold 0.
    below = np.searchsorted(ascending, np.maximum(thresholds, np.finfo(float).tiny), side="left")
    events_below = np.concatenate([[0], np.cumsum(happened[order])])[below]
    n, events = len(happened), int(happened.sum())
    true, false = events - events_below, (n - below) - (events - events_below)
    result: np.ndarray = true / n - false / n * thresholds / (1 - thresholds)
    return result


def net_benefit_band(
    happened: np.ndarray, predicted: np.ndarray, thresholds: np.ndarray, patients: Patients
) -> np.ndarray:
    """Return the (k, 2) pointwise 95 % limits of `net_benefit`, by the jackknife over patients.

    NaN where there is no interval: where nobody is treated, and at every threshold if one patient has too many rows.

    Parameters
    ----------
    happened, predicted, patients
        (n,) bool, probabilities, and patient of each row.
    thresholds
        (k,) in [0, 1), ascending.

    Examples
    --------
    At threshold 0, every row is treated, and the net benefit is the share of rows with the event, 0.5.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.decisions import net_benefit_band
    >>> happened = np.arange(40) % 2 == 0
    >>> band = net_benefit_band(happened, np.full(40, 0.3), np.array([0.0, 0.4]), np.arange(40))
    >>> band.round(2).tolist()
    [[0.34, 0.66], [nan, nan]]
    """
    clusters, n = Clusters.of(patients), len(happened)
    result = np.full((len(thresholds), 2), np.nan)
    if no_interval(clusters.sizes) is not None:
        return result
    number, sizes = clusters.number, clusters.sizes
    most_degrees = effective_patients(sizes) - 1
    order = np.argsort(predicted, kind="stable")
    starts = np.searchsorted(predicted[order], np.maximum(thresholds, np.finfo(float).tiny), side="left")
    true, false, end = np.zeros(number), np.zeros(number), n
    for place in range(len(thresholds) - 1, -1, -1):  # from the highest threshold, so that each row is added once
        rows = order[starts[place] : end]
        end = starts[place]
        true += np.bincount(clusters.codes[rows[happened[rows]]], minlength=number)
        false += np.bincount(clusters.codes[rows[~happened[rows]]], minlength=number)
        harm = thresholds[place] / (1 - thresholds[place])  # of a false positive, in true positives
        gains = true - false * harm
        value, right, wrong = float(gains.sum()) / n, float(true.sum()), float(false.sum())
        squares = right * (1 - value) ** 2 + wrong * (harm + value) ** 2 + (n - right - wrong) * value**2
        spread = spread_of_mean(gains - value * sizes, squares, clusters)
        if spread.error > 0:
            result[place] = interval(value, Spread(spread.error, min(spread.degrees, most_degrees)), (-harm, 1.0))
    return result


def treatment(stages: np.ndarray, predicted: np.ndarray, patients: Patients) -> Treatment:
    """Estimate over- and under-treatment and the number needed to treat, if T3 and T4 are treated, as predicted.

    Parameters
    ----------
    stages, predicted
        (n,) 0..3.
    patients
        (n,) patient of each row.

    Examples
    --------
    Ten rows: 3 of 4 rows of T3 and 1 of 6 rows of T1 are treated. NNT is 10 / (3 - 1).

    >>> import numpy as np
    >>> from GTRStagingLib.stats.decisions import treatment
    >>> stages = np.array([2, 2, 2, 2, 0, 0, 0, 0, 0, 0])
    >>> found = treatment(stages, np.array([2, 2, 2, 0, 2, 0, 0, 0, 0, 0]), np.arange(10))
    >>> found.over.value, found.under.value, found.nnt.value
    (0.1, 0.1, 5.0)
    """
    positive, treated, clusters = stages >= TStage.T3, predicted >= TStage.T3, Clusters.of(patients)
    tn, fp, fn, tp = np.bincount(2 * positive.astype(int) + treated, minlength=4).tolist()
    return Treatment(
        boundary=str(TStage.T3),
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        over=proportion(treated & ~positive, clusters),
        under=proportion(~treated & positive, clusters),
        nnt=_nnt(treated * np.where(positive, 1.0, -1.0), clusters),
    )


def _nnt(gains: np.ndarray, clusters: Clusters) -> Estimate:
    """Estimate NNT from (n,) 1 for a correct treatment, -1 for a wrong one, 0 for none: 1 / net benefit at 0.5.

    Without a net benefit the number is infinite (Altman 1998, BMJ 317:1309), so the interval of a net benefit that may
    be 0 has no inverse.
    """
    right, wrong = int((gains > 0).sum()), int((gains < 0).sum())
    if right <= wrong:
        return undefined(f"treatments are not more often right than wrong (TP {right}, FP {wrong})")
    net, value = mean(gains, clusters, (-1.0, 1.0)), len(gains) / (right - wrong)
    if net.low is None or net.high is None:
        return Estimate(value, None, None, f"{net.method}, of net benefit")
    if net.low <= 0:
        return Estimate(
            value, None, None, f"{net.method}, of net benefit: no interval, since that includes 0: no upper limit"
        )
    return Estimate(value, 1 / net.high, 1 / net.low, f"{net.method}, of net benefit")


def decide(
    stages: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
    patients: Patients,
) -> Decisions:
    """Compute decision curves for 'at least T2', 'T3' and 'T4', and treatment at T3.

    Parameters
    ----------
    stages
        (n,) true stages, 0..3.
    predicted
        Name -> (n,) stages of a model, a reader or EUS; without probabilities they count as 0 or 1.
    probabilities
        Name -> (n, 4), if available.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If there are no rows, or a name is 'treat all' or 'treat none'.
    """
    names = dict.fromkeys((*probabilities, *predicted))
    if not len(stages) or {TREAT_ALL, TREAT_NONE} & set(names):
        raise InputError(f"{len(stages)} rows, predictions {list(names)}; expected at least one row, and other names "
                         f"than '{TREAT_ALL}' and '{TREAT_NONE}'.")  # fmt: skip
    at, clusters = np.array(THRESHOLDS), Clusters.of(patients)
    curves = []
    for event in EVENTS:
        happened = stages >= event
        values_of = {
            name: at_least(probabilities[name], event) if name in probabilities
            else (predicted[name] >= event).astype(float)
            for name in names
        }  # fmt: skip
        benefit = {name: net_benefit(happened, values, at) for name, values in values_of.items()}
        benefit[TREAT_ALL] = net_benefit(happened, np.ones(len(stages)), at)
        benefit[TREAT_NONE] = np.zeros(len(at))
        curves.append(
            DecisionCurve(
                f"at least {event}",
                float(happened.mean()),
                THRESHOLDS,
                {name: tuple(values.tolist()) for name, values in benefit.items()},
                {name: net_benefit_band(happened, values, at, clusters) for name, values in values_of.items()},
            )
        )
    treated = {name: treatment(stages, values, clusters) for name, values in predicted.items()}
    return Decisions(tuple(curves), treated)


__all__ = ["DEFINITIONS", "THRESHOLDS", "TREAT_ALL", "TREAT_NONE", "DecisionCurve", "Decisions", "Treatment",
           "at_least", "decide", "net_benefit", "net_benefit_band", "treatment"]  # fmt: skip
