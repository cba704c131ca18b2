"""Compute ROC curves and their areas with DeLong's variance, clustered by patient if patients have several rows.

Each area has influence values, one per row; the sum of their squares is DeLong's variance (DeLong et al. 1988,
Biometrics 44:837). Their sums within patients give the clustered variance (Obuchowski 1997, Biometrics 53:567), their
means over stages the variance of the macro average, and their differences that of a paired comparison. One formula
replaces separate covariance matrices.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    Spread,
    at_most,
    compared,
    effective_patients,
    estimated,
    no_interval,
    undefined,
)

POINTS_OF_A_CURVE = 400
"""Points of a drawn curve; areas are computed from all points."""


@dataclass(frozen=True)
class Area:
    """Area under the ROC curve with the influence of each row.

    Attributes
    ----------
    influence
        (n,); the sum of their squares is the variance of `value`.
    side
        (n,) whole numbers: rows of different sides are ranked against each other, such as positives and negatives.
    """

    value: float
    influence: np.ndarray
    side: np.ndarray


def area(positive: np.ndarray, scores: np.ndarray) -> Area | None:
    """Compute the area under the ROC curve, ties counting half; None without positives or without negatives.

    Parameters
    ----------
    positive
        (n,) bool.
    scores
        (n,), higher for positives.

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
    # For a positive, the share of negatives below it; for a negative, the share of positives above it (Sun & Xu 2014,
    # IEEE Signal Process Lett 21:1389: from ranks, without comparing pairs).
    above = (ranks[positive] - rankdata(scores[positive])) / n
    below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    value = float(above.mean())
    influence = np.empty(len(positive))
    influence[positive] = (above - value) / m * _unbiased(m)
    influence[~positive] = (below - value) / n * _unbiased(n)
    return Area(value, influence, positive.astype(int))


def _unbiased(n: int) -> float:
    """Return the factor that gives the sample variance, with n - 1 in the denominator."""
    return float((n / (n - 1)) ** 0.5) if n > 1 else float("nan")


def stage_areas(stages: np.ndarray, probabilities: np.ndarray) -> list[Area | None]:
    """Compute the one-vs-rest areas of T1..T4; None for a missing stage."""
    return [area(stages == stage, probabilities[:, stage]) for stage in TStage]


def macro(areas: list[Area | None]) -> Area | None:
    """Average the four areas; None if one is missing."""
    whole = [one for one in areas if one is not None]
    if len(whole) < len(areas):
        return None
    side = np.select([one.side == 1 for one in whole], range(len(whole)))
    return Area(float(np.mean([one.value for one in whole])), np.mean([one.influence for one in whole], axis=0), side)


def micro(stages: np.ndarray, probabilities: np.ndarray) -> Area | None:
    """Pool the four one-vs-rest classifications of each row; a row's influence is the sum of its four."""
    pooled = area((stages[:, None] == np.arange(len(TStage))).ravel(), probabilities.ravel())
    if pooled is None:
        return None
    influence = pooled.influence.reshape(-1, len(TStage)).sum(axis=1)
    return Area(pooled.value, influence, np.zeros(len(stages), int))  # each row is a positive and three negatives


def standard_error(influence: np.ndarray, patients: Patients) -> float:
    """Compute the standard error from influence values, summed within patients; NaN for rows of one patient only."""
    return _spread(influence, Clusters.of(patients)).error


def _spread(influence: np.ndarray, clusters: Clusters) -> Spread:
    if not clusters.clustered:
        return Spread.of_influence(influence)
    if clusters.number < 2:
        return Spread(float("nan"), 1.0)
    return Spread.of_influence(clusters.sums(influence) * (clusters.number / (clusters.number - 1)) ** 0.5)


def no_interval_of(found: Area, patients: Patients) -> str | None:
    """Return why the patients of a side allow no interval of an area (`estimates.no_interval`); None if they do."""
    sides = _sizes_of_sides(found, Clusters.of(patients))
    reason = next((reason for sizes in sides if (reason := no_interval(sizes))), None)
    where = " on one side" if len(sides) == 2 else " of one stage" if len(sides) > 2 else ""
    return None if reason is None else f"{reason}{where}"


def _sizes_of_sides(found: Area, clusters: Clusters) -> list[np.ndarray]:
    return [clusters.at(found.side == side).sizes for side in np.unique(found.side)]


def estimate(found: Area | None, patients: Patients) -> Estimate:
    """Estimate an area with DeLong's variance and a t interval on the logit scale, which keeps it below 1.

    Ranks without an error have a one-sided limit. Pairs of a positive and a negative of which no two share a patient
    are independent; there are at least as many as patients on the smaller side, and all of them are in order.
    """
    if found is None:
        return undefined("a stage is missing, or is the only one")
    clusters = Clusters.of(patients)
    method = "DeLong (Obuchowski)" if clusters.clustered else "DeLong"
    reason = no_interval_of(found, clusters)
    if reason is not None:
        return Estimate(found.value, None, None, f"{method}: no interval, {reason}")
    if found.value in (0.0, 1.0):
        pairs = min([effective_patients(sizes) for sizes in _sizes_of_sides(found, clusters)] + [clusters.number / 2])
        low, high = (1 - at_most(pairs), 1.0) if found.value == 1 else (0.0, at_most(pairs))
        return Estimate(found.value, low, high, f"Wilson, one-sided, of no exception in {pairs:.4g} pairs, 95 %")
    return estimated(found.value, _spread(found.influence, clusters), clusters.sizes, method, (0.0, 1.0))


def difference(one: Area | None, other: Area | None, patients: Patients) -> tuple[Estimate, float | None]:
    """Estimate `one` minus `other` on the same rows, with the p-value of DeLong's paired test, by Student's t.

    Without an interval or a test where the patients of a side allow none: with two positives, 13 % of the tests of
    equal areas had p below 0.05.

    Examples
    --------
    Scores with one pair in the wrong order, compared with the reversed scores: 63/64 - 1/64.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.roc import area, difference
    >>> positive, scores = np.repeat([True, False], 8), np.array([15, 14, 13, 12, 11, 10, 9, 7, 8, 6, 5, 4, 3, 2, 1, 0])
    >>> found, p = difference(area(positive, scores), area(positive, -scores), np.arange(16))
    >>> round(found.value, 6), found.low < found.value < found.high
    (0.96875, True)
    """
    if one is None or other is None:
        return undefined("a stage is missing, or is the only one"), None
    clusters, value = Clusters.of(patients), one.value - other.value
    reason = no_interval_of(one, clusters)  # the sides are those of both
    if reason is not None:
        return Estimate(value, None, None, f"DeLong, paired: no interval, {reason}"), None
    return compared(value, _spread(one.influence - other.influence, clusters), clusters.sizes, "DeLong, paired")


def curve(positive: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """Return (k, 2) false and true positive rates from (0, 0) to (1, 1), thinned for drawing."""
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
    along = points.sum(axis=1)  # increases along the curve, so that steep and flat parts are thinned equally
    kept = np.unique(np.searchsorted(along, np.linspace(0, 2, POINTS_OF_A_CURVE)).clip(max=len(points) - 1))
    return points[kept]


__all__ = ["Area", "area", "curve", "difference", "estimate", "macro", "micro", "no_interval_of", "stage_areas",
           "standard_error"]  # fmt: skip
