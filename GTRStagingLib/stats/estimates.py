"""Compute 95 % intervals of proportions, means and other statistics from the spread between patients."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit
from scipy.stats import norm

LEVEL = 0.95
RESAMPLES = 2000
Z = float(norm.ppf((1 + LEVEL) / 2))

MOST_OF_ONE = 0.2
"""Largest share of the rows that one patient may have in an interval."""

FEWEST = 8
"""Fewest effective patients for an interval; Wilson's interval with one row a patient has no such limit."""

FEWEST_OF_AMOUNTS = 30
"""Fewest effective patients for the interval of a mean of amounts between two limits, such as Dice coefficients."""

FEWEST_OF_LONG_TAILS = 50
"""The same of amounts of which a few make up most: Brier scores and log losses."""

FEWEST_OF_DISTANCES = 100
"""The same of distances and areas, whose largest values can be many times the others."""

Range = tuple[float, float]
"""Least and largest possible value of a statistic; the largest may be infinite."""

ROUNDING = 1e-12
"""Differences that count as rounding."""

_LARGE = 500.0
"""Largest exponent of a limit on the log scale, so that it stays finite."""


@dataclass(frozen=True)
class Clusters:
    """Rows by patient, coded once, so that no statistic has to sort the patients again.

    Attributes
    ----------
    codes
        (n,) patient of each row, from 0; every number below `number` occurs.
    number
        Number of patients.
    """

    codes: np.ndarray
    number: int

    @classmethod
    def of(cls, patients: "Patients") -> "Clusters":
        """Code (n,) ids of patients in ascending order; return `Clusters` unchanged."""
        if isinstance(patients, Clusters):
            return patients
        ids, codes = np.unique(patients, return_inverse=True)
        return cls(codes, len(ids))

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def clustered(self) -> bool:
        """Whether a patient has several rows."""
        return self.number < len(self.codes)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of rows of each patient, (number,)."""
        return np.bincount(self.codes, minlength=self.number)

    @cached_property
    def first(self) -> np.ndarray:
        """Index of the first row of each patient, (number,)."""
        result = np.empty(self.number, dtype=np.intp)
        result[self.codes[::-1]] = np.arange(len(self.codes))[::-1]  # the last assignment to a patient is the first row
        return result

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum (n,) or (n, k) numbers over the rows of each patient, to (number,) or (number, k)."""
        if values.ndim == 1:
            return np.bincount(self.codes, weights=values, minlength=self.number)
        return np.column_stack([self.sums(column) for column in values.T])

    def at(self, rows: np.ndarray) -> "Clusters":
        """Select rows by a (n,) bool, with the patients of these rows in the same order."""
        codes = self.codes[rows]
        present = np.bincount(codes, minlength=self.number) > 0
        return Clusters((np.cumsum(present) - 1)[codes], int(np.count_nonzero(present)))

    def tiled(self, times: int) -> "Clusters":
        """Repeat all rows a number of times."""
        return Clusters(np.tile(self.codes, times), self.number)


Patients = Clusters | np.ndarray
"""Patients of the rows: coded, or (n,) ids."""


@dataclass(frozen=True)
class Estimate:
    """Number with its interval and method.

    `value` is None if the number is not defined, `low` and `high` if the interval is not; `method` states the reason.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)

    def text(self, digits: int = 3, percent: bool = False) -> str:
        """Return the estimate as text, as in '0.925 (0.884 to 0.952)'."""
        if self.value is None:
            return "not defined"
        scale, unit = (100, " %") if percent else (1, "")
        value = f"{scale * self.value:.{digits}f}{unit}"
        if self.low is None or self.high is None:
            return f"{value} (no interval)"
        return f"{value} ({scale * self.low:.{digits}f} to {scale * self.high:.{digits}f})"


def undefined(reason: str) -> Estimate:
    """Return the estimate of a number that is not defined, with the reason."""
    return Estimate(None, None, None, f"not defined: {reason}")


def no_interval(sizes: np.ndarray, fewest: int = FEWEST) -> str | None:
    """Return why patients with these numbers of rows, (patients,), allow no interval; None if they allow one.

    `fewest` is the least effective number of patients. Where one patient has more than a fifth of the rows, the spread
    between patients is mostly that of this patient, and of few patients it is not known well enough; intervals then do
    not hold (`benchmarks/coverage.py`).
    """
    if len(sizes) < 2:
        return "all rows are of one patient"
    most, rows = int(sizes.max()), int(sizes.sum())
    if most > max(1, MOST_OF_ONE * rows):
        return f"one patient has {most} of {rows} rows, more than a fifth"
    patients = effective_patients(sizes)
    if patients >= fewest:
        return None
    unequal = f" (effective number {patients:.1f})" if patients < len(sizes) - 0.05 else ""
    return f"{len(sizes)} patients{unequal}, fewer than {fewest}"


def effective_patients(sizes: np.ndarray) -> float:
    """Return the effective number of patients with these numbers of rows, (patients,) (Kish 1965, Survey Sampling).

    It is the number of patients if all have equally many rows, and smaller otherwise; 0 without rows.

    Examples
    --------
    Ten patients with a row each and one with ten rows: (10 + 10)**2 / (10 * 1**2 + 10**2).

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import effective_patients
    >>> round(effective_patients(np.array([1] * 10 + [10])), 3)
    3.636
    """
    rows = float(sizes.sum())
    return rows**2 / float((sizes.astype(float) ** 2).sum()) if rows else 0.0


@dataclass(frozen=True)
class Spread:
    """Spread of a result between patients.

    Attributes
    ----------
    error
        Standard error; NaN if it is not defined.
    degrees
        Degrees of freedom of its square.
    """

    error: float
    degrees: float

    @classmethod
    def of(cls, apart: np.ndarray, times: np.ndarray | None = None) -> "Spread":
        """Compute the spread by the jackknife over patients (Efron and Stein 1981, Ann Stat 9:586).

        Parameters
        ----------
        apart
            (kinds,) the result without a patient, minus the result.
        times
            (kinds,) number of patients that each value stands for, by default 1.
        """
        times = np.ones(len(apart)) if times is None else times.astype(float)
        k = float(times.sum())
        if k < 2:
            return cls(float("nan"), 1.0)
        return cls.of_influence((apart - times @ apart / k) * (1 - 1 / k) ** 0.5, times)

    @classmethod
    def of_influence(cls, influence: np.ndarray, times: np.ndarray | None = None) -> "Spread":
        """Compute the spread from the (kinds,) influence of each patient; the sum of squares is the variance.

        The degrees of freedom are those of a chi-square with the mean and the variance of that sum (Satterthwaite 1946,
        Biometrics Bull 2:110), estimated from the fourth powers. They are few if a few patients make up most of the
        variance, as in an area under the curve near 1, and at most the number of patients less one.
        """
        times = np.ones(len(influence)) if times is None else times
        k, squares = float(times.sum()), influence**2
        variance = float(times @ squares)
        if not np.isfinite(variance) or variance < ROUNDING**2:
            return cls(variance if np.isnan(variance) else 0.0, max(1.0, k - 1))
        excess = float(times @ squares**2) / variance**2 - 1 / k
        return cls(variance**0.5, min(k - 1, max(1.0, 2 / max(excess, 2 / k))))


def interval(value: float, spread: Spread, within: Range | None = None) -> Range:
    """Return the limits of a 95 % interval of a value inside its range, by Student's quantile.

    The interval is symmetric without `within`, symmetric on the logit scale between two finite limits, and on the log
    scale above a limit. It stays in the range.
    """
    half = _quantile(spread.degrees) * spread.error
    if within is None:
        return value - half, value + half
    least, most = within
    if np.isinf(most):
        factor = float(np.exp(min(half / (value - least), _LARGE)))
        return least + (value - least) / factor, least + (value - least) * factor
    share, half = (value - least) / (most - least), half * (most - least) / ((value - least) * (most - value))
    low, high = expit([logit(share) - half, logit(share) + half]).tolist()
    return least + (most - least) * low, least + (most - least) * high


def at_most(patients: float) -> float:
    """Return the upper limit of a share of rows of which none was seen in so many (effective) patients.

    Source: Wilson's interval for no hit, with Student's quantile.
    """
    return 1.0 if patients <= 1 else _wilson(0.0, patients, _quantile(patients - 1))[1]


def estimated(
    value: float, spread: Spread, sizes: np.ndarray, method: str, within: Range | None = None, fewest: int = FEWEST
) -> Estimate:
    """Return the estimate with its `interval`, or without one and with the reason.

    A value at a limit of its range that does not vary has a one-sided interval: as if as many yes-or-no observations as
    (effective) patients had all given this value. If it varies, the range depends on the rows, as that of a kappa with
    the numbers of stages read; then neither scale nor limit is known, and there is no interval.

    Parameters
    ----------
    sizes
        (patients,) numbers of rows.
    fewest
        Least effective number of patients for an interval.
    """
    scale = "t" if within is None else f"t on the {'log' if np.isinf(within[1]) else 'logit'} scale"
    method = f"{method}, {scale}{', clustered by patient' if len(sizes) and sizes.max() > 1 else ''}, 95 %"
    reason, patients = no_interval(sizes, fewest), effective_patients(sizes)
    at_end = _end(value, within)
    if reason is None and not np.isfinite(spread.error):
        reason = "it is not defined without one of the patients"
    if reason is None and spread.error == 0 and (at_end is None or within is None or np.isinf(within[1])):
        reason = "it does not vary between patients"
    if reason is None and spread.error > 0 and at_end is not None:
        reason = f"it is the {'least' if within and at_end == within[0] else 'largest'} value that these rows allow"
    if reason is not None:
        return Estimate(value, None, None, f"{method}: no interval, {reason}")
    if spread.error > 0:
        low, high = interval(value, Spread(spread.error, min(spread.degrees, patients - 1)), within)
        return Estimate(value, low, high, method)
    least, most = within or (0.0, 0.0)
    reach = at_most(patients) * (most - least)
    low, high = (least, least + reach) if at_end == least else (most - reach, most)
    return Estimate(value, low, high, f"Wilson, one-sided, of no exception in {patients:.4g} patients, 95 %")


def _end(value: float, within: Range | None) -> float | None:
    """Return the end of the range at which a value is, up to rounding; None if it is inside."""
    if within is None:
        return None
    least, most = within
    near = ROUNDING * (most - least if np.isfinite(most - least) else max(1.0, abs(least)))
    return least if value <= least + near else most if value >= most - near else None


def compared(value: float, spread: Spread, sizes: np.ndarray, method: str) -> tuple[Estimate, float | None]:
    """Return the estimate of a difference and the two-sided p-value of the same t test; None without an interval."""
    found = estimated(value, spread, sizes, method)
    if found.low is None:
        return found, None
    degrees = min(spread.degrees, effective_patients(sizes) - 1)
    return found, float(2 * stdtr(degrees, -abs(value) / spread.error))


def proportion(hits: np.ndarray, patients: Patients) -> Estimate:
    """Estimate a proportion of rows with Wilson's interval, clustered by patient if patients have several rows.

    Parameters
    ----------
    hits
        (n,) bool.
    patients
        (n,) patient of each row.

    Examples
    --------
    Eight of ten; Wilson's interval is not symmetric about 0.8 and ends below 1. Each row twice does not make it
    narrower, since the rows are still of ten patients.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import proportion
    >>> hits = np.array([True] * 8 + [False] * 2)
    >>> print(proportion(hits, np.arange(10)).text())
    0.800 (0.490 to 0.943)
    >>> twice = proportion(np.repeat(hits, 2), np.repeat(np.arange(10), 2))
    >>> twice.low < 0.490 < 0.943 < twice.high
    True
    """
    n = len(hits)
    if n == 0:
        return undefined("no rows")
    value, clusters = float(np.mean(hits)), Clusters.of(patients)
    if not clusters.clustered:
        return Estimate(value, *_wilson(value, n, Z), "Wilson, 95 %")
    method = "Wilson with the effective number of rows, clustered by patient, 95 %"
    reason = no_interval(clusters.sizes)
    if reason is not None:
        return Estimate(value, None, None, f"{method}: no interval, {reason}")
    # The effective number of rows: the number of independent rows with the same variance as between patients (Saha et
    # al. 2016, Stat Methods Med Res 25:2021, the Wilson interval with the design effect).
    apart, patients_ = np.asarray(hits, float) - value, effective_patients(clusters.sizes)
    spread = spread_of_mean(clusters.sums(apart), float(apart @ apart), clusters)
    # Without variation, only the number of patients is known.
    effective = patients_ if spread.error == 0 else max(1.0, value * (1 - value) / spread.error**2)
    return Estimate(value, *_wilson(value, effective, _quantile(min(spread.degrees, patients_ - 1))), method)


def mean(values: np.ndarray, patients: Patients, within: Range | None = None, fewest: int = FEWEST) -> Estimate:
    """Estimate the mean of rows by the jackknife over patients.

    Parameters
    ----------
    values
        (n,), finite.
    within
        Least and largest possible value, which the interval then respects; the largest may be infinite.
    fewest
        Least effective number of patients for an interval: the more, the fewer rows make up most of the mean.

    Examples
    --------
    Without limits, and with one row a patient of a symmetric distribution, the interval is Student's.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import mean
    >>> print(mean(np.arange(9.0), np.arange(9)).text(2))
    4.00 (1.89 to 6.11)
    """
    if not len(values):
        return undefined("no row has a value")
    clusters, value = Clusters.of(patients), float(np.mean(values))
    apart = np.asarray(values, float) - value
    if float(np.abs(apart).max()) < ROUNDING:
        apart, value = np.zeros(len(apart)), float(values[0])
    spread = spread_of_mean(clusters.sums(apart), float(apart @ apart), clusters)
    return estimated(value, spread, clusters.sizes, "jackknife over patients", within, fewest)


def spread_of_mean(sums: np.ndarray, squares: float, clusters: Clusters) -> Spread:
    """Return the spread of a mean over rows, which is not below that of independent rows.

    Rows of a patient that differ more than rows of two patients do not count as more rows than there are.

    Parameters
    ----------
    sums
        (patients,) sums over the rows of each patient of their distances from the mean.
    squares
        Sum of the squares of these distances over all rows.
    """
    if clusters.number < 2:
        return Spread(float("nan"), 1.0)
    n = len(clusters)
    found, independent = Spread.of(-sums / (n - clusters.sizes)), squares**0.5 / n
    if not clusters.clustered or independent < ROUNDING:
        return found
    return Spread(max(found.error, independent), found.degrees)


def _quantile(degrees: float) -> float:
    return float(stdtrit(degrees, (1 + LEVEL) / 2))


def _wilson(value: float, n: float, z: float) -> Range:
    centre = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (value * (1 - value) / n + z**2 / (4 * n**2)) ** 0.5
    return 0.0 if value == 0 else max(0.0, centre - half), 1.0 if value == 1 else min(1.0, centre + half)


def patient_counts(cells: np.ndarray, size: int, patients: Patients) -> np.ndarray:
    """Count the rows of each patient in each cell, (patients, size); `cells` are (n,) numbers below `size`."""
    clusters = Clusters.of(patients)
    return np.bincount(clusters.codes * size + cells, minlength=clusters.number * size).reshape(-1, size)


def _kinds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows of counts, and the number of patients with each."""
    if counts.sum() == len(counts):
        # One row per patient: the kinds are the cells, in the order of `unique`, without sorting the patients.
        cells = np.flatnonzero(counts.sum(axis=0))[::-1]
        return np.eye(counts.shape[1], dtype=counts.dtype)[cells], counts.sum(axis=0)[cells]
    _, first, times = np.unique(_ranks(counts), return_index=True, return_counts=True)
    return counts[first], times


def _ranks(counts: np.ndarray) -> np.ndarray:
    """Return (patients,) whole numbers in the order of the rows of counts; sorting them takes a tenth of the time."""
    ranks, reach = np.zeros(len(counts), dtype=np.int64), 1
    for column, most in zip(counts.T, counts.max(axis=0).tolist(), strict=True):
        if reach * (most + 1) > 2**62:
            there, ranks = np.unique(ranks, return_inverse=True)
            reach = len(there)
        ranks, reach = ranks * (most + 1) + column, reach * (most + 1)
    return ranks


def jackknifed(
    statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, within: Sequence[Range | None]
) -> list[Estimate]:
    """Estimate statistics of counts by leaving out each patient (Efron and Stein 1981, Ann Stat 9:586).

    Patients with equal counts are left out once for all of them, so that the cost does not grow with their number.

    Parameters
    ----------
    statistic
        (…, size) counts -> (…, k) numbers, NaN for a number that is not defined.
    counts
        (patients, size) numbers of rows, as returned by `patient_counts`.
    within
        Range of each of the k numbers, None if it has no limits.

    Examples
    --------
    The mean of two of ten; leaving out each row gives the usual standard error of a mean.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import jackknifed, mean
    >>> hits = np.repeat([1, 0], [2, 8])
    >>> def share(counts):
    ...     return counts[..., 1:] / counts.sum(axis=-1, keepdims=True)
    >>> (found,) = jackknifed(share, np.stack([1 - hits, hits], axis=1), [None])
    >>> found.text() == mean(hits, np.arange(10)).text()
    True
    """
    sizes = counts.sum(axis=1)
    return [
        undefined("the required rows are missing") if np.isnan(value)
        else estimated(value, spread, sizes, "jackknife over patients", limits)
        for (value, spread), limits in zip(jackknife(statistic, counts), within, strict=True)
    ]  # fmt: skip


def jackknife(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> list[tuple[float, Spread]]:
    """Compute statistics of counts, as for `jackknifed`, and their spread."""
    whole = counts.sum(axis=0, keepdims=True)
    values = statistic(whole)[0]
    kinds, times = _kinds(counts)
    without = statistic(whole - kinds)  # each patient left out, one of each kind
    return [
        (value, Spread.of(apart, times)) for value, apart in zip(values.tolist(), (without - values).T, strict=True)
    ]


def holm(p: np.ndarray) -> np.ndarray:
    """Correct (n,) p-values for their number (Holm 1979, Scand J Stat 6:65).

    `multipletests` of statsmodels runs a full garbage collection at each call, which takes longer than the rest of a
    reader study.
    """
    order, n = np.argsort(p), len(p)
    result = np.empty(n)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(n, 0, -1)), 1.0)
    return result


def patient_draws(patients: Patients, *, seed: int, resamples: int = RESAMPLES) -> "list[np.ndarray]":
    """Draw patients with replacement and return their rows, for statistics that cannot be computed from counts."""
    clusters = Clusters.of(patients)
    order, sizes = np.argsort(clusters.codes, kind="stable"), clusters.sizes
    starts = np.cumsum(sizes) - sizes  # first position of each patient's rows in that order
    rng = np.random.default_rng(seed)

    def drawn() -> np.ndarray:
        who = rng.integers(clusters.number, size=clusters.number)
        times = sizes[who]
        # Shift the running count so that each drawn patient starts at its own first row.
        shifts = starts[who] - (np.cumsum(times) - times)
        result: np.ndarray = order[np.arange(times.sum()) + np.repeat(shifts, times)]
        return result

    return [drawn() for _ in range(resamples)]


__all__ = ["FEWEST", "FEWEST_OF_AMOUNTS", "FEWEST_OF_DISTANCES", "FEWEST_OF_LONG_TAILS", "LEVEL", "MOST_OF_ONE",
           "RESAMPLES", "ROUNDING", "Clusters", "Estimate", "Patients", "Range", "Spread", "Z", "at_most", "compared",
           "effective_patients", "estimated", "holm", "interval", "jackknife", "jackknifed", "mean", "no_interval",
           "patient_counts", "patient_draws", "proportion", "spread_of_mean", "undefined"]  # fmt: skip
