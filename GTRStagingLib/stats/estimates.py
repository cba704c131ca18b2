"""Compute 95 % intervals of proportions and other statistics; resampling always draws patients."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import norm

LEVEL = 0.95
RESAMPLES = 2000
Z = float(norm.ppf((1 + LEVEL) / 2))


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
    Eight of ten; Wilson's interval is not symmetric about 0.8 and ends below 1. The interval is wider if the same rows
    are of five patients with two rows each.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import proportion
    >>> hits = np.array([True] * 8 + [False] * 2)
    >>> print(proportion(hits, np.arange(10)).text())
    0.800 (0.490 to 0.943)
    >>> by_five = proportion(hits, np.repeat(np.arange(5), 2))
    >>> by_five.low < 0.490 < 0.943 < by_five.high
    True
    """
    n = len(hits)
    if n == 0:
        return undefined("no rows")
    value = float(np.mean(hits))
    clusters = Clusters.of(patients)
    number = clusters.number
    if number == n:
        low, high = _wilson(value, n)
        return Estimate(value, low, high, "Wilson, 95 %")
    if number < 2:
        return of_one_patient(value)
    # The effective number of rows: the number of independent rows with the same variance as between patients (Saha et
    # al. 2016, Stat Methods Med Res 25:2021, the Wilson interval with the design effect).
    residuals = clusters.sums(np.asarray(hits, float) - value)
    variance = number / (number - 1) * float((residuals**2).sum()) / n**2
    effective = float(n) if variance == 0 else max(1.0, min(float(n), value * (1 - value) / variance))
    if variance == 0 and value in (0.0, 1.0):
        effective = float(number)  # without variation, only the number of patients is known
    low, high = _wilson(value, effective)
    return Estimate(value, low, high, "Wilson with the effective number of rows, clustered by patient, 95 %")


def _wilson(value: float, n: float) -> tuple[float, float]:
    centre = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (value * (1 - value) / n + Z**2 / (4 * n**2)) ** 0.5
    return 0.0 if value == 0 else max(0.0, centre - half), 1.0 if value == 1 else min(1.0, centre + half)


def patient_counts(cells: np.ndarray, size: int, patients: Patients) -> np.ndarray:
    """Count the rows of each patient in each cell, (patients, size); `cells` are (n,) numbers below `size`."""
    clusters = Clusters.of(patients)
    return np.bincount(clusters.codes * size + cells, minlength=clusters.number * size).reshape(-1, size)


def resampled_counts(counts: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Sum the counts over patients drawn with replacement, (resamples, size).

    Patients with equal counts are exchangeable, so the number of draws of each kind of patient is multinomial. This is
    exactly the distribution of the patient bootstrap, at a cost that does not grow with the number of patients.
    """
    return _drawn(*_kinds(counts), seed, resamples)


def _drawn(kinds: np.ndarray, times: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).multinomial(times.sum(), times / times.sum(), size=resamples)
    # As floats, which BLAS multiplies; whole numbers of this size stay exact.
    sums: np.ndarray = drawn.astype(float) @ kinds.astype(float)
    return sums.astype(kinds.dtype)


def _kinds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different rows of counts, and the number of patients with each."""
    if np.issubdtype(counts.dtype, np.integer) and counts.sum() == len(counts):
        # One row per patient: the kinds are the cells, in the order of `unique`, without sorting the patients.
        cells = np.flatnonzero(counts.sum(axis=0))[::-1]
        return np.eye(counts.shape[1], dtype=counts.dtype)[cells], counts.sum(axis=0)[cells]
    if not np.issubdtype(counts.dtype, np.integer):
        return np.unique(counts, axis=0, return_counts=True)
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


def bootstrapped(
    statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> list[Estimate]:
    """Estimate statistics of counts by the patient bootstrap (bias-corrected and accelerated, BCa).

    Percentile intervals contain the true value too rarely if the statistic is biased in small samples, as F1 is
    (`benchmarks/coverage.py`; Efron 1987, J Am Stat Assoc 82:171).

    Parameters
    ----------
    statistic
        (…, size) counts -> (…, k) numbers, NaN for a number that is not defined.
    counts
        (patients, size), as returned by `patient_counts`.

    Examples
    --------
    Every patient has a row in each of two cells: in every resample, the first cell contains half of the rows. If half
    of the patients have both their rows there, and the others none, the share depends on the resample.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import bootstrapped
    >>> def first_share(counts):
    ...     return counts[..., :1] / counts.sum(axis=-1, keepdims=True)
    >>> alike = bootstrapped(first_share, np.array([[1, 1]] * 20), seed=0)[0]
    >>> alike.value, alike.low, alike.high
    (0.5, 0.5, 0.5)
    >>> apart = bootstrapped(first_share, np.array([[2, 0], [0, 2]] * 10), seed=0)[0]
    >>> apart.value, apart.low < 0.4 < 0.6 < apart.high
    (0.5, True)
    """
    whole = counts.sum(axis=0, keepdims=True)
    values = statistic(whole)[0]
    if len(counts) < 2:
        return [of_one_patient(float(value)) for value in values]
    kinds, times = _kinds(counts)
    without = statistic(whole - kinds)  # each patient left out, one of each kind
    drawn = statistic(_drawn(kinds, times, seed, resamples))
    return [
        percentiles(float(value), draws, _accelerated(float(value), draws, left, times))
        for value, draws, left in zip(values, drawn.T, without.T, strict=True)
    ]


def _accelerated(value: float, drawn: np.ndarray, without: np.ndarray, times: np.ndarray) -> tuple[float, float] | None:
    """Return the quantiles of the BCa interval; None if the draws do not define them."""
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or np.isnan(without).any() or not len(drawn):
        return None
    below = float(np.mean(drawn < value) + np.mean(drawn == value) / 2)
    apart = np.average(without, weights=times) - without
    spread = float((times * apart**2).sum())
    if not 0 < below < 1 or spread == 0:
        return None
    bias = float(norm.ppf(below))
    acceleration = float((times * apart**3).sum()) / (6 * spread**1.5)
    low, high = (bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-Z, Z))
    return float(norm.cdf(low)), float(norm.cdf(high))


def of_one_patient(value: float) -> Estimate:
    """Return the estimate of a number from one patient's rows, without an interval."""
    if np.isnan(value):
        return undefined("the required rows are missing")
    return Estimate(value, None, None, "all rows are of one patient: no interval")


def percentiles(value: float, drawn: np.ndarray, at: tuple[float, float] | None = None) -> Estimate:
    """Estimate a number from its bootstrap draws, NaN for resamples in which it is not defined.

    `at` are the quantiles of the interval, by default those of the level.
    """
    if np.isnan(value):
        return undefined("the required rows are missing")
    whole = drawn[~np.isnan(drawn)]
    method = f"patient bootstrap, {'percentiles' if at is None else 'BCa'}, 95 %"
    if len(whole) < len(drawn):
        method += f", {len(whole)} of {len(drawn)} resamples in which it is defined"
    if len(whole) < 0.5 * len(drawn):
        return Estimate(value, None, None, f"{method}: too few for an interval")
    low, high = np.quantile(whole, at or ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return Estimate(value, low, high, method)


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


__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Clusters",
    "Estimate",
    "Patients",
    "Z",
    "bootstrapped", "holm", "of_one_patient",
    "patient_counts",
    "patient_draws",
    "percentiles",
    "proportion",
    "resampled_counts",
    "undefined",
]  # fmt: skip
