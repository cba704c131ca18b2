"""Would it help to decide by a prediction? Net benefit over thresholds, and over- and under-treatment with their NNT.

The net benefit is one line (Vickers & Elkin 2006, Med Decis Making 26:565); the package `dcurves`, which would bring
lifelines with it into Slicer's Python, is the oracle of its tests.
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
    bootstrapped,
    patient_counts,
    proportion,
    undefined,
)

THRESHOLDS = tuple(round(0.01 * i, 2) for i in range(100))
"""0 to 0.99: at 0, treating all has the prevalence for its net benefit."""

EVENTS = (TStage.T2, TStage.T3, TStage.T4)

TREAT_ALL, TREAT_NONE = "treat all", "treat none"

DEFINITIONS = (
    "Net benefit at threshold t: TP/N − FP/N · t/(1 − t), a patient being treated whose probability is t or more; "
    "that of treating all starts at the prevalence. For the counts below, treatment is of T3 or more. Over-treatment "
    "is FP/N (predicted T3 or more, truly less), under-treatment is FN/N, and NNT is N/(TP − FP): the patients to be "
    "staged for one more to be treated rightly, 1 over the net benefit at 0.5. The article leaves these undefined; so "
    "defined, its counts give its figures."
)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of one event, such as 'at least T3'.

    Attributes
    ----------
    prevalence
        Share of the rows in which it is so.
    thresholds
        (k,) threshold probabilities.
    net_benefit
        Strategy -> (k,): the model's, those of others, treating all and none.
    """

    event: str
    prevalence: float
    thresholds: tuple[float, ...]
    net_benefit: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Treatment:
    """What deciding by predicted stages comes to.

    Attributes
    ----------
    boundary
        The stage from which on a patient is treated.
    tp, fp, fn, tn
        Rows.
    over, under
        FP/N and FN/N.
    nnt
        N/(TP − FP); not defined where TP does not exceed FP.
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
    """Curves for each event, and treatment at T3 for the model and everything beside it."""

    curves: tuple[DecisionCurve, ...]
    treatment: Mapping[str, Treatment]
    definitions: str = DEFINITIONS

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def at_least(probabilities: np.ndarray, stage: TStage) -> np.ndarray:
    """(n,) probability of this stage or a higher one, of (n, 4).

    To 12 decimals: sums of equal terms in another order stay equal, and 0.7 + 0.1 reaches a threshold of 0.8.
    """
    result: np.ndarray = np.round(np.minimum(probabilities[:, stage:].sum(axis=1), 1.0), 12)
    return result


def net_benefit(happened: np.ndarray, predicted: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(k,) the net benefit of treating where `predicted` is at least the threshold, and above 0.

    Parameters
    ----------
    happened
        (n,) bool.
    predicted
        (n,) probabilities; or 0 and 1, as of a reader.
    thresholds
        (k,) in [0, 1).

    Examples
    --------
    Of four rows one has the event. At 0.5 two are treated, one of them rightly: 1/4 - 1/4 * 0.5 / 0.5. At 0.75 only the
    right one is treated.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.decisions import net_benefit
    >>> happened = np.array([True, False, False, False])
    >>> net_benefit(happened, np.array([0.9, 0.6, 0.2, 0.1]), np.array([0.5, 0.75])).tolist()
    [0.0, 0.25]
    """
    order = np.argsort(predicted, kind="stable")
    ascending = predicted[order]
    # A probability of 0, such as a reader's no, is not treated even at threshold 0.
    below = np.searchsorted(ascending, np.maximum(thresholds, np.finfo(float).tiny), side="left")
    events_below = np.concatenate([[0], np.cumsum(happened[order])])[below]
    n, events = len(happened), int(happened.sum())
    true, false = events - events_below, (n - below) - (events - events_below)
    result: np.ndarray = true / n - false / n * thresholds / (1 - thresholds)
    return result


def treatment(
    stages: np.ndarray,
    predicted: np.ndarray,
    patients: Patients,
    *,
    boundary: TStage = TStage.T3,
    seed: int = 0,
) -> Treatment:
    """Over- and under-treatment, and the number needed to treat, if predicted stages decided.

    Parameters
    ----------
    stages, predicted
        (n,) 0..3.
    patients
        (n,) whole numbers that tell patients apart.

    Examples
    --------
    Ten rows: 4 of T3 of which 3 are found, 6 of T1 of which 1 is treated. NNT is 10 / (3 - 1).

    >>> import numpy as np
    >>> from GTRStagingLib.stats.decisions import treatment
    >>> stages = np.array([2, 2, 2, 2, 0, 0, 0, 0, 0, 0])
    >>> found = treatment(stages, np.array([2, 2, 2, 0, 2, 0, 0, 0, 0, 0]), np.arange(10))
    >>> found.over.value, found.under.value, found.nnt.value
    (0.1, 0.1, 5.0)
    """
    positive, said, whose = stages >= boundary, predicted >= boundary, Clusters.of(patients)
    counts = patient_counts(2 * positive.astype(int) + said, 4, whose)  # TN, FP, FN, TP
    tn, fp, fn, tp = counts.sum(axis=0).tolist()
    return Treatment(
        boundary=str(boundary),
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        over=proportion(said & ~positive, whose),
        under=proportion(~said & positive, whose),
        nnt=_nnt(counts, seed),
    )


def _nnt(counts: np.ndarray, seed: int) -> Estimate:
    """From (patients, 4) TN, FP, FN, TP: one over the net benefit at 0.5, and so its interval.

    Resamples without a net benefit belong to the interval, beyond every number (Altman 1998, BMJ 317:1309).
    """
    _, fp, _, tp = counts.sum(axis=0).tolist()
    if tp <= fp:
        return undefined(f"as many are treated wrongly as rightly, or more (TP {tp}, FP {fp})")
    (net,) = bootstrapped(lambda c: ((c[..., 3] - c[..., 1]) / c.sum(axis=-1))[..., None], counts, seed=seed)
    value = counts.sum() / (tp - fp)
    if net.low is None or net.high is None or net.low <= 0:
        return Estimate(float(value), None, None, f"{net.method}, of the net benefit: includes none, so no upper limit")
    return Estimate(float(value), 1 / net.high, 1 / net.low, f"{net.method}, of the net benefit")


def decide(
    stages: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
    patients: Patients,
    *,
    seed: int = 0,
) -> Decisions:
    """Decision curves for 'at least T2', 'T3' and 'T4', and treatment at T3.

    Parameters
    ----------
    stages
        (n,) the truth, 0..3.
    predicted
        Name -> (n,) stages, of a model, a reader, EUS: 0 or 1 at every threshold where there are no probabilities.
    probabilities
        Name -> (n, 4), of those that have them.
    patients
        (n,) whole numbers that tell patients apart.

    Raises
    ------
    InputError
        If there are no rows, or a name is that of treating all or none.
    """
    names = dict.fromkeys((*probabilities, *predicted))
    if not len(stages) or {TREAT_ALL, TREAT_NONE} & set(names):
        raise InputError(f"{len(stages)} rows, predictions {list(names)}; expected rows, and other names than "
                         f"'{TREAT_ALL}' and '{TREAT_NONE}'.")  # fmt: skip
    at = np.array(THRESHOLDS)
    curves = []
    for event in EVENTS:
        happened = stages >= event
        said = {
            name: at_least(probabilities[name], event) if name in probabilities
            else (predicted[name] >= event).astype(float)
            for name in names
        }  # fmt: skip
        benefit = {name: net_benefit(happened, values, at) for name, values in said.items()}
        benefit[TREAT_ALL] = net_benefit(happened, np.ones(len(stages)), at)
        benefit[TREAT_NONE] = np.zeros(len(at))
        curves.append(
            DecisionCurve(
                f"at least {event}",
                float(happened.mean()),
                THRESHOLDS,
                {name: tuple(values.tolist()) for name, values in benefit.items()},
            )
        )
    whose = Clusters.of(patients)
    treated = {name: treatment(stages, values, whose, seed=seed) for name, values in predicted.items()}
    return Decisions(tuple(curves), treated)


__all__ = ["DEFINITIONS", "THRESHOLDS", "TREAT_ALL", "TREAT_NONE", "DecisionCurve", "Decisions", "Treatment",
           "at_least", "decide", "net_benefit", "treatment"]  # fmt: skip
