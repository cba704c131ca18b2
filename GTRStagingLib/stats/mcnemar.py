"""Compare two shares of the same rows by McNemar's test and the score interval of their difference, by patient."""

import numpy as np
from scipy.optimize import bisect
from scipy.stats import chi2

from GTRStagingLib.stats.estimates import Clusters, Estimate, Patients, Z, no_interval

_LEAST = float(np.finfo(float).tiny)


def clustered_mcnemar(first: np.ndarray, second: np.ndarray, patients: Patients) -> tuple[Estimate, float | None, str]:
    """Estimate the difference of two shares of rows, and test it by McNemar's test for clusters.

    The interval contains the differences d that the score test of d does not reject (Tango 1998, Stat Med 17:891); the
    score test of 0 is McNemar's. Where rows of a patient differ alike, numbers of rows are divided by the design effect
    under no difference, so that the test is that of Obuchowski (1998, Stat Med 17:1495); it never falls below that of
    independent rows. With one row a patient the test is McNemar's chi-square, uncorrected, times
    (patients - 1) / patients.

    Parameters
    ----------
    first, second
        (n,) bool.

    Returns
    -------
    tuple
        First minus second; the two-sided p-value, None if not defined; and the method as text.

    Examples
    --------
    Twenty rows, one a patient: the first is right alone in eight, the second in two. McNemar's chi-square is
    (8 - 2)**2 / (8 + 2) = 3.6, times 19 / 20.

    >>> import numpy as np
    >>> from scipy.stats import chi2
    >>> from GTRStagingLib.stats.mcnemar import clustered_mcnemar
    >>> rows = np.arange(20)
    >>> found, p, _ = clustered_mcnemar(rows < 8, rows >= 18, rows)
    >>> round(found.value, 6), round(float(chi2.isf(p, 1)), 6)
    (0.3, 3.42)
    """
    clusters = Clusters.of(patients)
    value = float(np.mean(first)) - float(np.mean(second))
    method = f"McNemar's test{' clustered by patient (Obuchowski)' if clusters.clustered else ''}"
    net = clusters.sums(first.astype(float) - second)
    reason = no_interval(clusters.sizes) or (None if net.any() else "both are right equally often in every patient")
    if reason is not None:
        return Estimate(value, None, None, f"{method}: no interval, {reason}"), None, f"not defined: {reason}"
    k, only_first, only_second = clusters.number, float((first & ~second).sum()), float((second & ~first).sum())
    effect = k / (k - 1) * max(1.0, float((net**2).sum()) / (only_first + only_second))
    counts = only_first / effect, only_second / effect, len(clusters) / effect
    low = bisect(lambda d: _score(d, *counts) - Z, -1.0, value) if value > -1 else -1.0
    high = bisect(lambda d: _score(d, *counts) + Z, value, 1.0) if value < 1 else 1.0
    p = float(chi2.sf(_score(0.0, *counts) ** 2, 1))
    return Estimate(value, low, high, f"{method}, score interval (Tango), 95 %"), p, method


def _score(difference: float, only_first: float, only_second: float, rows: float) -> float:
    """Return the score statistic of a difference of two shares of the same rows.

    Its variance is that under the most likely share of rows that are `only_second` if the difference holds.
    """
    half = ((2 * rows - only_first + only_second) * difference - only_first - only_second) / (4 * rows)
    share = max(0.0, half**2 + only_second * difference * (1 - difference) / (2 * rows)) ** 0.5 - half
    variance = rows * (2 * share + difference * (1 - difference))
    off = only_first - only_second - rows * difference
    return float(off / max(variance, _LEAST) ** 0.5)  # the variance is 0 at differences of -1 and 1


__all__ = ["clustered_mcnemar"]
