"""Read the scores of uncertainty of a table of predictions, and measure whether they tell of its errors."""

import numpy as np

from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.evaluation.stage_sets import set_sizes
from GTRStagingLib.stats.risk_coverage import RiskCoverage, risk_coverage

SPREAD, LOOKS, PERCENTILE = "spread", "looks", "familiarity_percentile"
"""Columns of a batch; a column of the first name is a score beside one of the second only."""


def risk_by_scores(found: Predictions) -> RiskCoverage | None:
    """Measure softmax, spread, familiarity and set size; None if the table has none of the last three.

    Softmax is 1 minus the highest probability. A score that no row has is left out; the first is softmax, if the table
    has probabilities.

    Raises
    ------
    InputError
        If a cell is no stage set.
    """
    own = {
        "spread": _numbers(found, SPREAD, beside=LOOKS),
        "familiarity": _numbers(found, PERCENTILE),
        "set size": set_sizes(found),
    }
    own = {name: score for name, score in own.items() if not np.isnan(score).all()}
    if not own:
        return None
    softmax = {} if found.probabilities is None else {"softmax": 1 - found.probabilities.max(axis=1)}
    return risk_coverage(found.predicted != found.stages, {**softmax, **own}, found.clusters)


def _numbers(found: Predictions, column: str, *, beside: str | None = None) -> np.ndarray:
    """Return the (n,) numbers of a column in any case, NaN without it, or without the column beside it."""
    named = None if beside is not None and found.spelt(beside) is None else found.spelt(column)
    numbers = None if named is None else found.numbers(named)
    return np.full(len(found), np.nan) if numbers is None else numbers


__all__ = ["risk_by_scores"]
