"""Areas under the ROC curve with DeLong's variance, clustered by patient where one has several rows; the curves.

Each area comes with its influence values, one a row, whose squares add up to DeLong's variance (DeLong et al. 1988,
Biometrics 44:837). Sums of them within a patient give the clustered variance (Obuchowski 1997, Biometrics 53:567),
means of them over stages that of the macro average, and differences of them that of a paired comparison: one
formula, and no covariance matrix of its own for each case.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Estimate, Patients, Z, undefined

POINTS_OF_A_CURVE = 400
"""Points that a drawn curve keeps; its area is computed from all of them."""


@dataclass(frozen=True)
class Area:
    """An area and how much each row moves it.

    Attributes
    ----------
    influence
        (n,); the sum of its squares is the variance of `value`.
    """

    value: float
    influence: np.ndarray


def area(positive: np.ndarray, scores: np.ndarray) -> Area | None:
    """The area under the ROC curve, ties counting half; None unless there are positives and negatives.

    Parameters
    ----------
    positive
        (n,) bool.
    scores
        (n,), higher for what is called positive.

    Examples
    --------
    Of the six pairs of a positive and a negative, five are in the right order: 0.4 lies below 0.5.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.roc import area
    >>> positive = np.array([True, True, True, False, False])
    >>> round(area(positive, np.array([0.9, 0.8, 0.4, 0.5, 0.3])).value, 4)
    0.8333
    """
    m = int(positive.sum())
    n = len(positive) - m
    if m == 0 or n == 0:
        return None
    ranks = rankdata(scores)
    # Of a positive, the share of negatives below it; of a negative, that of the positives above it (Sun & Xu 2014,
    # IEEE Signal Process Lett 21:1389: from ranks, without comparing pairs).
    above = (ranks[positive] - rankdata(scores[positive])) / n
    below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    value = float(above.mean())
    influence = np.empty(len(positive))
    influence[positive] = (above - value) / m * _unbiased(m)
    influence[~positive] = (below - value) / n * _unbiased(n)
    return Area(value, influence)


def _unbiased(n: int) -> float:
    """What makes the sum of squares that of a sample's variance, n - 1 below."""
    return float((n / (n - 1)) ** 0.5) if n > 1 else float("nan")


def stage_areas(stages: np.ndarray, probabilities: np.ndarray) -> list[Area | None]:
    """One-against-rest areas, T1..T4; None of a stage that is missing."""
    return [area(stages == stage, probabilities[:, stage]) for stage in TStage]


def macro(areas: list[Area | None]) -> Area | None:
    """The mean of the four; None unless all are there."""
    whole = [one for one in areas if one is not None]
    if len(whole) < len(areas):
        return None
    return Area(float(np.mean([one.value for one in whole])), np.mean([one.influence for one in whole], axis=0))


def micro(stages: np.ndarray, probabilities: np.ndarray) -> Area | None:
    """Each row's four questions 'is it this stage?' pooled; a row's influence is that of its four."""
    pooled = area((stages[:, None] == np.arange(len(TStage))).ravel(), probabilities.ravel())
    return None if pooled is None else Area(pooled.value, pooled.influence.reshape(-1, len(TStage)).sum(axis=1))


def standard_error(influence: np.ndarray, patients: Patients) -> float:
    """From influence values, summed within each patient; NaN where all rows are one patient's."""
    whose = Clusters.of(patients)
    if not whose.clustered:
        return float((influence**2).sum() ** 0.5)
    if whose.number < 2:
        return float("nan")
    return float((whose.number / (whose.number - 1) * (whose.sums(influence) ** 2).sum()) ** 0.5)


def estimate(found: Area | None, patients: Patients) -> Estimate:
    """The area with DeLong's interval, formed on the logit scale, which keeps it below 1."""
    if found is None:
        return undefined("a stage is missing, or there is no other")
    whose = Clusters.of(patients)
    error = standard_error(found.influence, whose)
    method = "DeLong, logit scale, 95 %"
    if whose.clustered:
        method = "DeLong clustered by patient (Obuchowski), logit scale, 95 %"
    if not error > 0 or not 0 < found.value < 1:
        why = "the ranks separate perfectly" if found.value in (0.0, 1.0) else "too few rows of a stage"
        return Estimate(found.value, None, None, f"{method}: no interval, {why}")
    half = Z * error / (found.value * (1 - found.value))
    low, high = expit([logit(found.value) - half, logit(found.value) + half]).tolist()
    return Estimate(found.value, low, high, method)


def difference(one: Area | None, other: Area | None, patients: Patients) -> tuple[Estimate, float | None]:
    """`one` minus `other` on the same rows, and the two-sided p-value (DeLong's paired test).

    Examples
    --------
    Scores in the right order but for one pair, against the same scores upside down: 5/6 - 1/6.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.roc import area, difference
    >>> positive, scores = np.array([True, True, True, False, False]), np.array([0.9, 0.8, 0.4, 0.5, 0.3])
    >>> found, p = difference(area(positive, scores), area(positive, -scores), np.arange(5))
    >>> round(found.value, 6), found.low < found.value < found.high
    (0.666667, True)
    """
    if one is None or other is None:
        return undefined("a stage is missing, or there is no other"), None
    value = one.value - other.value
    error = standard_error(one.influence - other.influence, patients)
    method = "DeLong, paired, 95 %"
    if not error > 0:
        return Estimate(value, None, None, f"{method}: no interval, the difference does not vary"), None
    p = float(2 * norm.sf(abs(value) / error))
    return Estimate(value, value - Z * error, value + Z * error, method), p


def curve(positive: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """(k, 2) false and true positive rates, from (0, 0) to (1, 1), thinned to what a drawing shows."""
    m = int(positive.sum())
    n = len(positive) - m
    if m == 0 or n == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    true = np.cumsum(positive[order])[last_of_tie] / m
    false = np.cumsum(~positive[order])[last_of_tie] / n
    points = np.vstack([[0.0, 0.0], np.column_stack([false, true])])
    if len(points) <= POINTS_OF_A_CURVE:
        return points
    along = points.sum(axis=1)  # grows along the curve, so that steep and flat parts are thinned alike
    kept = np.unique(np.searchsorted(along, np.linspace(0, 2, POINTS_OF_A_CURVE)).clip(max=len(points) - 1))
    return points[kept]


__all__ = ["Area", "area", "curve", "difference", "estimate", "macro", "micro", "stage_areas", "standard_error"]
