"""Measure whether a score tells of errors: the risk-coverage curve and the area under it.

Rows are sorted from the lowest score of uncertainty to the highest. The risk at a coverage k / n is the share of errors
among the first k rows, and the area is its mean over k = 1, …, n (AURC: Geifman, Uziel and El-Yaniv 2019,
"Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", arXiv:1805.08206; the curve: Geifman and El-Yaniv
2017, arXiv:1705.08500). Rows of equal scores are in random order, and the area is its expectation: a score that is the
same for all rows has the error rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.estimates import (
    FEWEST_OF_LONG_TAILS,
    Clusters,
    Estimate,
    Patients,
    Spread,
    compared,
    estimated,
    undefined,
)

METHOD = "jackknife over patients"

SHOWN = 201
"""Largest number of points of a curve in `metrics.json` and in a figure."""


@dataclass(frozen=True)
class ScoreRisk:
    """Risk and coverage by one score.

    Attributes
    ----------
    name
        Name of the score.
    rows
        Rows that have the score.
    area
        Area under the risk-coverage curve: lower is better.
    random, best
        Area of an order at random, which is the error rate, and of the best order, with all errors last; NaN without
        rows.
    minus_first, p
        Area minus that of the first score, on the rows that have both, and its p-value; None for the first score, and p
        also without an interval.
    curve
        (k, 2) coverage and risk, at most `SHOWN` points; between equal scores the expected risk.
    """

    name: str
    rows: int
    area: Estimate
    random: float
    best: float
    minus_first: Estimate | None
    p: float | None
    curve: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            "rows": self.rows,
            "area": self.area.to_json(),
            "random": None if np.isnan(self.random) else self.random,
            "best": None if np.isnan(self.best) else self.best,
            "minus_first": None if self.minus_first is None else self.minus_first.to_json(),
            "p": self.p,
            "curve": self.curve.tolist(),
        }


@dataclass(frozen=True)
class RiskCoverage:
    """Risk and coverage by several scores of the same predictions; the first is what the others are compared with."""

    scores: tuple[ScoreRisk, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the scores by their names, as plain data."""
        return {one.name: one.to_json() for one in self.scores}


def risk_coverage(wrong: np.ndarray, scores: Mapping[str, np.ndarray], patients: Patients) -> RiskCoverage:
    """Measure how well scores of uncertainty order the errors of predictions.

    Parameters
    ----------
    wrong
        (n,) bool, whether the prediction is wrong.
    scores
        Name -> (n,) uncertainty, higher for less certain rows, NaN where it is not known.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If there is no score, or one has another number of rows.

    Examples
    --------
    One error in four. The first score puts it last: risks 0, 0, 0 and 1/4, their mean is 1/16. The second is the same
    for all rows, an order at random.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.risk_coverage import risk_coverage
    >>> wrong = np.array([False, False, False, True])
    >>> scores = {"good": np.array([0.1, 0.2, 0.3, 0.9]), "none": np.zeros(4)}
    >>> [round(one.area.value, 6) for one in risk_coverage(wrong, scores, np.arange(4)).scores]
    [0.0625, 0.25]
    """
    if not scores:
        raise InputError("No score of uncertainty; expected one or more.")
    wrong, clusters = np.asarray(wrong, bool), Clusters.of(patients)
    values = {name: np.asarray(one, float) for name, one in scores.items()}
    for name, one in values.items():
        if one.shape != wrong.shape:
            raise InputError(f"Score {name!r} of shape {one.shape}; expected {wrong.shape}, one number for each row.")
    reference = next(iter(values.values()))
    return RiskCoverage(
        tuple(
            _score(name, wrong, one, clusters, None if one is reference else reference) for name, one in values.items()
        )
    )


def _score(
    name: str, wrong: np.ndarray, score: np.ndarray, clusters: Clusters, reference: np.ndarray | None
) -> ScoreRisk:
    """Measure one score, and compare it with a reference on the rows that have both."""
    known = ~np.isnan(score)
    n = int(known.sum())
    if not n:
        gone, nothing = undefined("no row has the score"), float("nan")
        return ScoreRisk(name, 0, gone, nothing, nothing, None if reference is None else gone, None, np.empty((0, 2)))
    errors, own = wrong[known], clusters.at(known)
    value, apart = _area(errors, score[known])
    minus, p = None, None
    if reference is not None:
        both = known & ~np.isnan(reference)
        minus, p = _difference(wrong[both], score[both], reference[both], clusters.at(both))
    return ScoreRisk(
        name=name,
        rows=n,
        area=estimated(value, _spread(apart, own), own.sizes, METHOD, (0.0, 1.0), FEWEST_OF_LONG_TAILS),
        random=float(errors.mean()),
        best=_area(errors, errors.astype(float))[0] if errors.any() else 0.0,
        minus_first=minus,
        p=p,
        curve=_curve(errors, score[known]),
    )


def _difference(
    wrong: np.ndarray, score: np.ndarray, reference: np.ndarray, clusters: Clusters
) -> tuple[Estimate, float | None]:
    """Return the difference of the areas of two scores of the same rows, and its p-value."""
    if not len(wrong):
        return undefined("no row has both scores"), None
    (one, apart), (other, apart_other) = _area(wrong, score), _area(wrong, reference)
    spread = _spread(apart - apart_other, clusters)
    if float(np.abs(apart - apart_other).max()) < 1e-12:
        spread = Spread(0.0, spread.degrees)
    found, p = compared(one - other, spread, clusters.sizes, METHOD)
    if len(clusters.sizes) < FEWEST_OF_LONG_TAILS and found.low is not None:
        return Estimate(
            found.value, None, None, f"{METHOD}: no interval, fewer than {FEWEST_OF_LONG_TAILS} patients"
        ), None
    return found, p


@dataclass(frozen=True)
class _Blocks:
    """Blocks of rows with equal scores, in ascending order of the scores.

    Attributes
    ----------
    of
        (n,) block of each row.
    before, errors_before
        (b,) rows and errors in the blocks before.
    size, errors
        (b,) rows and errors in the block.
    """

    of: np.ndarray
    before: np.ndarray
    size: np.ndarray
    errors_before: np.ndarray
    errors: np.ndarray

    @classmethod
    def made(cls, wrong: np.ndarray, score: np.ndarray) -> "_Blocks":
        """Sort the rows into blocks."""
        _, of, size = np.unique(score, return_inverse=True, return_counts=True)
        errors = np.bincount(of, weights=wrong, minlength=len(size))
        return cls(of, np.cumsum(size) - size, size, np.cumsum(errors) - errors, errors)


def _area(wrong: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """Compute the area, and for each of n rows the area without the row, minus the area (0 for a single row).

    Without a row of a block, the blocks before it stay, and each later row is one rank nearer: sums over them are the
    differences of cumulative sums, so that all n areas take the time of sorting.
    """
    blocks, n = _Blocks.made(wrong, score), len(wrong)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])

    def inside(errors: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Sum the risks of the ranks of each block, which has these errors and size."""
        ranks = harmonic[blocks.before + size] - harmonic[blocks.before]
        share = np.divide(errors, size, out=np.zeros(len(size)), where=size > 0)
        summed: np.ndarray = blocks.errors_before * ranks + share * (size - blocks.before * ranks)
        return summed

    own = inside(blocks.errors, blocks.size)
    area = float(own.sum()) / n
    if n == 1:
        return area, np.zeros(1)
    # Errors among the first k rows, k = 1..n, and the sums of E(k) / (k - 1) over the ranks after each block.
    expected = np.cumsum(np.repeat(blocks.errors / blocks.size, blocks.size))
    shifted = np.concatenate([[0.0], np.cumsum(expected[1:] / np.arange(1, n))])
    last = blocks.before + blocks.size
    later = shifted[-1] - shifted[last - 1]
    ranks_later = harmonic[n - 1] - harmonic[last - 1]
    earlier = np.cumsum(own) - own
    apart = np.empty((2, len(last)))
    for x in (0, 1):
        left = np.maximum(blocks.errors - x, 0)  # x = 1 in a block without errors is read by no row
        apart[x] = (earlier + inside(left, blocks.size - 1) + later - x * ranks_later) / (n - 1) - area
    return area, apart[wrong.astype(int), blocks.of]


def _spread(apart: np.ndarray, clusters: Clusters) -> Spread:
    """Return the spread between patients of a result, by how it changes without each row.

    With several rows of a patient, the changes add up, which is exact to the first order.
    """
    alone = Spread.of(apart)
    if not clusters.clustered:
        return alone
    n, k = len(apart), clusters.number
    if k < 2:
        return Spread(float("nan"), 1.0)
    influence = clusters.sums(apart - apart.mean()) * (1 - 1 / n) ** 0.5 * (k / (k - 1)) ** 0.5
    together = Spread.of_influence(influence)
    return Spread(max(alone.error, together.error), together.degrees)


def _curve(wrong: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return coverages and expected risks, (k, 2), evenly spaced from the first to the last, at most `SHOWN`."""
    blocks, n = _Blocks.made(wrong, score), len(wrong)
    expected = np.cumsum(np.repeat(blocks.errors / blocks.size, blocks.size))
    ranks = np.unique(np.linspace(1, n, min(n, SHOWN)).round().astype(int))
    return np.column_stack([ranks / n, expected[ranks - 1] / ranks])


__all__ = ["RiskCoverage", "ScoreRisk", "risk_coverage"]
