"""Watch a stream of cases by control charts with a stated probability of a false alarm.

A chart is an exponentially weighted moving average (EWMA; Roberts 1959): of normal scores of ranks for numbers, and of
shares for categories. Its limit is simulated for a horizon, a number of cases: the probability that a stream like the
reference crosses it at any of these cases is at most the stated one, however often somebody looks. The simulation
draws the reference too, so that a small one widens the limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import signal, special

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.counts import counted

WEIGHT = 0.05
"""Weight of the newest case in a chart: its memory is of about 2 / WEIGHT = 40 cases, which suits lasting shifts of
half a standard deviation (Lucas and Saccucci 1990)."""

DRAWS = 10_000
"""Number of simulated streams behind a limit."""

LEAST_REFERENCE = 20
"""Least number of reference cases of a chart."""

_CHUNK = 250
"""Number of streams that are simulated at once."""


@dataclass(frozen=True, eq=False)
class Chart:
    """Control chart of n cases in their order.

    Attributes
    ----------
    statistic
        (n,) value of the chart after each case: signed for numbers, where 0 is the reference's centre; 0 or more for
        shares.
    limit
        Limit of its size.
    first
        Index of the first case beyond the limit; None without an alarm.
    since
        Index of the case at which the change most likely began: the likelihood of a change from there to the alarm is
        largest. None without an alarm.
    """

    statistic: np.ndarray
    limit: float
    first: int | None
    since: int | None


def number_chart(
    reference: np.ndarray, values: np.ndarray, *, horizon: int, probability: float, seed: int = 0
) -> Chart:
    """Chart numbers by their ranks among those of the reference; upwards and downwards.

    The limit needs no assumption on the distribution of numbers without ties; with ties it is conservative.

    Parameters
    ----------
    reference
        (m,) finite numbers, in any order.
    values
        (n,) finite numbers, in the order of time; n is at most `horizon`.
    horizon
        Number of cases within which `probability` holds.
    probability
        Largest probability of a false alarm within the horizon.

    Raises
    ------
    InputError
        If there are too few reference numbers, more values than the horizon, or the probability is out of its range.

    Examples
    --------
    Thirty values above all of a reference raise an alarm within a few cases.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.control_charts import number_chart
    >>> chart = number_chart(np.arange(100.0), np.full(30, 200.0), horizon=30, probability=0.05)
    >>> chart.first is not None and chart.first < 10, chart.since
    (True, 0)
    """
    _require(len(reference), len(values), horizon, probability)
    scores = normal_scores(np.sort(reference), values)
    statistic = smoothed(scores)
    limit = _rank_limit(len(reference), horizon, probability, seed)
    beyond = np.flatnonzero(np.abs(statistic) > limit)
    if not len(beyond):
        return Chart(statistic, limit, None, None)
    first = int(beyond[0])
    sums = np.cumsum(scores[first::-1])  # of the last 1, 2, ... cases before the alarm
    back = int(np.argmax(np.sign(statistic[first]) * sums * np.abs(sums) / np.arange(1, first + 2)))
    return Chart(statistic, limit, first, first - back)


def share_chart(
    counts: Sequence[float], codes: np.ndarray, *, horizon: int, probability: float, seed: int = 0
) -> Chart:
    """Chart the shares of categories by their distance from those of the reference.

    The statistic is that of Freeman and Tukey, which is about a chi-square with a degree of freedom less than there are
    categories, and which rare categories do not dominate.

    Parameters
    ----------
    counts
        Number of reference cases of each of k categories; 0 for one that the reference does not have.
    codes
        (n,) category of each case, from 0 to k - 1, in the order of time; n is at most `horizon`.
    horizon, probability
        As in `number_chart`.

    Raises
    ------
    InputError
        As in `number_chart`.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.control_charts import share_chart
    >>> usual = share_chart([50, 50], np.arange(40) % 2, horizon=40, probability=0.05)
    >>> other = share_chart([50, 50], np.ones(40, int), horizon=40, probability=0.05)
    >>> usual.first, other.first is not None
    (None, True)
    """
    _require(round(sum(counts)), len(codes), horizon, probability)
    expected = _smoothed_shares(counts)
    states = np.stack([smoothed((codes == k).astype(float), share) for k, share in enumerate(expected)])
    statistic = _freeman_tukey(states, expected)
    limit = _share_limit(tuple(float(one) for one in counts), horizon, probability, seed)
    beyond = np.flatnonzero(statistic > limit)
    if not len(beyond):
        return Chart(statistic, limit, None, None)
    first = int(beyond[0])
    found = np.cumsum([codes[first::-1] == k for k in range(len(expected))], axis=1)  # in the last 1, 2, ... cases
    ratio = special.xlogy(found, found / (found.sum(axis=0) * expected[:, None])).sum(axis=0)
    return Chart(statistic, limit, first, first - int(np.argmax(ratio)))


def normal_scores(reference: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the normal quantiles of the ranks that values have among an ascending reference; ties share the mean rank.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.control_charts import normal_scores
    >>> normal_scores(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])).round(2).tolist()
    [-1.15, 0.0, 1.15]
    """
    below, upto = (np.searchsorted(reference, values, side=side) for side in ("left", "right"))
    return np.asarray(special.ndtri(((below + upto) / 2 + 0.5) / (len(reference) + 1)))


def smoothed(values: np.ndarray, start: float = 0.0) -> np.ndarray:
    """Return the exponentially weighted moving average along the last axis of (…, n) values, from a start before them.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.control_charts import smoothed
    >>> smoothed(np.array([1.0, 1.0])).round(4).tolist()
    [0.05, 0.0975]
    """
    before = np.full((*values.shape[:-1], 1), (1 - WEIGHT) * start)
    found, _ = signal.lfilter([WEIGHT], [1, WEIGHT - 1], values, axis=-1, zi=before)
    return np.asarray(found)


def stability_index(expected: Sequence[float], counts: Sequence[float]) -> float:
    """Return the population stability index (PSI) of counts against the counts of a reference.

    Half a case is added to each category, so that an empty one gives a finite value.

    Examples
    --------
    >>> from GTRStagingLib.stats.control_charts import stability_index
    >>> stability_index([50, 50], [20, 20])
    0.0
    >>> round(stability_index([50, 50], [36, 4]), 2)
    0.82
    """
    before, after = _smoothed_shares(expected), _smoothed_shares(counts)
    return float(((after - before) * np.log(after / before)).sum())


# -- limits --------------------------------------------------------------------------------------------------------


def _require(reference: int, cases: int, horizon: int, probability: float) -> None:
    if reference < LEAST_REFERENCE:
        raise InputError(
            f"The reference has {counted(reference, 'case')}; expected {LEAST_REFERENCE} or more. Use a larger "
            "reference."
        )
    if not 0 < cases <= horizon:
        raise InputError(
            f"{counted(cases, 'case')} with a horizon of {horizon}; expected at least one case, and no more than the "
            "horizon. Raise `horizon`."
        )
    if not 1 <= probability * DRAWS < DRAWS:
        raise InputError(
            f"A probability of {probability:g} of a false alarm of one chart; expected {1 / DRAWS:g} or more, and less "
            "than 1. Allow more false alarms, or watch fewer measures."
        )


@lru_cache(maxsize=256)
def _rank_limit(reference: int, horizon: int, probability: float, seed: int) -> float:
    """Return the limit of a chart of ranks among so many reference cases."""
    scores = special.ndtri((np.arange(reference + 1) + 0.5) / (reference + 1))

    def largest(rng: np.random.Generator, streams: int) -> np.ndarray:
        ranks = [np.searchsorted(np.sort(rng.random(reference)), rng.random(horizon)) for _ in range(streams)]
        return np.asarray(np.abs(smoothed(scores[np.array(ranks)])).max(axis=1))

    return _limit(largest, probability, seed)


@lru_cache(maxsize=256)
def _share_limit(counts: tuple[float, ...], horizon: int, probability: float, seed: int) -> float:
    """Return the limit of a chart of shares; the true shares are drawn from their posterior distribution (Jeffreys)."""
    expected = _smoothed_shares(counts)

    def largest(rng: np.random.Generator, streams: int) -> np.ndarray:
        upper = np.cumsum(rng.dirichlet(np.array(counts) + 0.5, streams), axis=1)
        drawn = rng.random((streams, horizon))
        codes = np.zeros(drawn.shape, np.int8)
        for k in range(len(counts) - 1):
            codes += drawn >= upper[:, [k]]
        states = np.stack([smoothed((codes == k).astype(float), share) for k, share in enumerate(expected)])
        return np.asarray(_freeman_tukey(states, expected).max(axis=1))

    return _limit(largest, probability, seed)


def _limit(largest: Callable[[np.random.Generator, int], np.ndarray], probability: float, seed: int) -> float:
    """Return the least limit that at most the stated share of simulated streams crosses."""
    rng = np.random.default_rng(seed)
    found = np.sort(np.concatenate([largest(rng, _CHUNK) for _ in range(DRAWS // _CHUNK)]))
    return float(found[-1 - int(probability * DRAWS + 1e-9)])


def _smoothed_shares(counts: Sequence[float]) -> np.ndarray:
    added = np.asarray(counts, float) + 0.5
    return np.asarray(added / added.sum())


def _freeman_tukey(states: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the (…) distance of (k, …) moving shares from the (k,) expected ones."""
    cases = (2 - WEIGHT) / WEIGHT  # a plain mean of so many cases has the same variance
    apart = np.sqrt(np.maximum(states, 0)) - np.sqrt(expected).reshape(-1, *[1] * (states.ndim - 1))
    return np.asarray(4 * cases * (apart**2).sum(axis=0))


__all__ = [
    "DRAWS",
    "LEAST_REFERENCE",
    "WEIGHT",
    "Chart",
    "normal_scores",
    "number_chart",
    "share_chart",
    "smoothed",
    "stability_index",
]
