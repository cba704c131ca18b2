"""A number with its 95 % interval, and the general ways to one; the unit that is drawn is always the patient."""

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
    """Which rows are whose, told once, so that no statistic need sort the patients again.

    Attributes
    ----------
    codes
        (n,) whole numbers from 0 that tell patients apart: each of them below `number` is that of a row or more.
    number
        Patients.
    """

    codes: np.ndarray
    number: int

    @classmethod
    def of(cls, patients: "Patients") -> "Clusters":
        """Patients by (n,) ids of any kind, numbered in the order of their ids; clusters as they are."""
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
        """(number,) rows of each."""
        return np.bincount(self.codes, minlength=self.number)

    @cached_property
    def first(self) -> np.ndarray:
        """(number,) the first row of each."""
        result = np.empty(self.number, dtype=np.intp)
        result[self.codes[::-1]] = np.arange(len(self.codes))[::-1]  # of rows of one patient the last written stays
        return result

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(number,) or (number, k) sums over each one's rows, of (n,) or (n, k) numbers."""
        if values.ndim == 1:
            return np.bincount(self.codes, weights=values, minlength=self.number)
        return np.column_stack([self.sums(column) for column in values.T])

    def at(self, rows: np.ndarray) -> "Clusters":
        """Some of the rows, by a (n,) bool, and the patients who have one of them, in the same order."""
        codes = self.codes[rows]
        present = np.bincount(codes, minlength=self.number) > 0
        return Clusters((np.cumsum(present) - 1)[codes], int(np.count_nonzero(present)))

    def tiled(self, times: int) -> "Clusters":
        """All rows so many times over, one after another."""
        return Clusters(np.tile(self.codes, times), self.number)


Patients = Clusters | np.ndarray
"""Whose rows are: coded, or (n,) ids, which are coded where they come in."""


@dataclass(frozen=True)
class Estimate:
    """A number and its interval, and how they were found.

    `value` is None where the number is not defined, `low` and `high` where the interval is not; `method` says why.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def text(self, digits: int = 3, percent: bool = False) -> str:
        """'0.925 (0.884 to 0.952)', as a report writes it."""
        if self.value is None:
            return "not defined"
        scale, unit = (100, " %") if percent else (1, "")
        value = f"{scale * self.value:.{digits}f}{unit}"
        if self.low is None or self.high is None:
            return f"{value} (no interval)"
        return f"{value} ({scale * self.low:.{digits}f} to {scale * self.high:.{digits}f})"


def undefined(reason: str) -> Estimate:
    """What is written where a number is not defined."""
    return Estimate(None, None, None, f"not defined: {reason}")


def proportion(hits: np.ndarray, patients: Patients) -> Estimate:
    """A share of rows: Wilson's interval; where a patient has several rows, one by the clusters.

    Parameters
    ----------
    hits
        (n,) bool.
    patients
        (n,) whole numbers that tell patients apart.

    Examples
    --------
    Eight of ten; Wilson's interval is not symmetric about 0.8 and ends below 1. The same rows say less if they are of
    five patients, two each.

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
    whose = Clusters.of(patients)
    clusters = whose.number
    if clusters == n:
        low, high = _wilson(value, n)
        return Estimate(value, low, high, "Wilson, 95 %")
    if clusters < 2:
        return of_one_patient(value)
    # The rows' effective number: as many independent rows would have the variance between patients (Saha et al. 2016,
    # Stat Methods Med Res 25:2021, the Wilson interval with the design effect).
    residuals = whose.sums(np.asarray(hits, float) - value)
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / n**2
    effective = float(n) if variance == 0 else max(1.0, min(float(n), value * (1 - value) / variance))
    if variance == 0 and value in (0.0, 1.0):
        effective = float(clusters)  # nothing varies, so the clusters are all that is known
    low, high = _wilson(value, effective)
    return Estimate(value, low, high, "Wilson with the rows' effective number, clustered by patient, 95 %")


def _wilson(value: float, n: float) -> tuple[float, float]:
    centre = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (value * (1 - value) / n + Z**2 / (4 * n**2)) ** 0.5
    return 0.0 if value == 0 else max(0.0, centre - half), 1.0 if value == 1 else min(1.0, centre + half)


def patient_counts(cells: np.ndarray, size: int, patients: Patients) -> np.ndarray:
    """(patients, size) how many rows each patient has in each cell, `cells` being (n,) numbers below `size`."""
    whose = Clusters.of(patients)
    return np.bincount(whose.codes * size + cells, minlength=whose.number * size).reshape(-1, size)


def resampled_counts(counts: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """(resamples, size) sums over patients drawn with replacement.

    Patients with equal counts are exchangeable, so that how often each kind is drawn is multinomial: the very
    distribution of the bootstrap over patients, at a cost that does not grow with their number.
    """
    return _drawn(*_kinds(counts), seed, resamples)


def _drawn(kinds: np.ndarray, times: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).multinomial(times.sum(), times / times.sum(), size=resamples)
    # As floats, which BLAS multiplies: whole numbers of this size come out exact.
    sums: np.ndarray = drawn.astype(float) @ kinds.astype(float)
    return sums.astype(kinds.dtype)


def _kinds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different patients' counts, and how many patients have each."""
    if np.issubdtype(counts.dtype, np.integer) and counts.sum() == len(counts):
        # One row each: the kinds are the cells, in the order of `unique`, and patients need not be sorted.
        cells = np.flatnonzero(counts.sum(axis=0))[::-1]
        return np.eye(counts.shape[1], dtype=counts.dtype)[cells], counts.sum(axis=0)[cells]
    if not np.issubdtype(counts.dtype, np.integer):
        return np.unique(counts, axis=0, return_counts=True)
    _, first, times = np.unique(_ranks(counts), return_index=True, return_counts=True)
    return counts[first], times


def _ranks(counts: np.ndarray) -> np.ndarray:
    """(patients,) whole numbers in the order of the rows, so that they are sorted a tenth as long as the rows are."""
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
    """Estimates of what can be told from counts alone, by the patient bootstrap (bias-corrected and accelerated).

    Percentiles alone hold the truth too seldom for what is biased in small samples, as F1 is
    (`benchmarks/coverage.py`; Efron 1987, J Am Stat Assoc 82:171).

    Parameters
    ----------
    statistic
        (…, size) counts -> (…, k) numbers, NaN where one is not defined.
    counts
        (patients, size), as `patient_counts` gives them.

    Examples
    --------
    Every patient has a row in each of two cells: whoever is drawn, the first cell holds half of the rows. If half of
    the patients have both their rows there, and the others none, the share depends on who is drawn.

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
    without = statistic(whole - kinds)  # each patient left out, patients of a kind at once
    drawn = statistic(_drawn(kinds, times, seed, resamples))
    return [
        percentiles(float(value), draws, _accelerated(float(value), draws, left, times))
        for value, draws, left in zip(values, drawn.T, without.T, strict=True)
    ]


def _accelerated(value: float, drawn: np.ndarray, without: np.ndarray, times: np.ndarray) -> tuple[float, float] | None:
    """The quantiles that BCa takes; None where the draws do not tell."""
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
    """A number whose interval nothing tells."""
    if np.isnan(value):
        return undefined("the rows that it would be taken of are missing")
    return Estimate(value, None, None, "all rows are of one patient: no interval")


def percentiles(value: float, drawn: np.ndarray, at: tuple[float, float] | None = None) -> Estimate:
    """An estimate from bootstrap draws, NaN among them where a resample left the number undefined.

    `at` are the quantiles of the interval, where they are others than those of its level.
    """
    if np.isnan(value):
        return undefined("the rows that it would be taken of are missing")
    whole = drawn[~np.isnan(drawn)]
    method = f"patient bootstrap, {'percentiles' if at is None else 'BCa'}, 95 %"
    if len(whole) < len(drawn):
        method += f", {len(whole)} of {len(drawn)} resamples in which it is defined"
    if len(whole) < 0.5 * len(drawn):
        return Estimate(value, None, None, f"{method}: too few for an interval")
    low, high = np.quantile(whole, at or ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return Estimate(value, low, high, method)


def holm(p: np.ndarray) -> np.ndarray:
    """(n,) p-values corrected for their number (Holm 1979, Scand J Stat 6:65).

    Not by statsmodels, whose `multipletests` collects the whole process's garbage each time: that took longer than the
    rest of a reader study.
    """
    order, n = np.argsort(p), len(p)
    result = np.empty(n)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(n, 0, -1)), 1.0)
    return result


def patient_draws(patients: Patients, *, seed: int, resamples: int = RESAMPLES) -> "list[np.ndarray]":
    """Rows of patients drawn with replacement, for statistics that counts do not tell."""
    whose = Clusters.of(patients)
    order, sizes = np.argsort(whose.codes, kind="stable"), whose.sizes
    starts = np.cumsum(sizes) - sizes  # of each patient's rows in that order
    rng = np.random.default_rng(seed)

    def drawn() -> np.ndarray:
        who = rng.integers(whose.number, size=whose.number)
        times = sizes[who]
        # Counted through, each patient drawn begins at its own first row.
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
