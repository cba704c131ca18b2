"""Compare two shares of the same rows by McNemar's test, clustered by patient."""

import numpy as np
from scipy.stats import chi2

from GTRStagingLib.stats.estimates import (
    LEVEL,
    ROUNDING,
    Clusters,
    Estimate,
    Patients,
    at_most,
    effective_patients,
    no_interval,
)


def clustered_mcnemar(first: np.ndarray, second: np.ndarray, patients: Patients) -> tuple[Estimate, float | None, str]:
    """Estimate the difference of two shares of rows by McNemar's test for clusters (Obuchowski 1998, Stat Med 17:1495).

    Of the available tests, this one tests the reported difference, with equal weight for every row. The interval
    contains the differences that the test does not reject. With one row per patient the test is McNemar's chi-square,
    uncorrected, times (patients - 1) / patients. If every patient has the same difference, the test rejects all others,
    however few the patients: then there is no interval, or a one-sided one if only one of the two is ever right.

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
    net, sizes = clusters.sums(first.astype(float) - second), clusters.sizes
    reason = no_interval(sizes) or (None if net.any() else "both are right equally often in every patient")
    same = bool(np.ptp(net / sizes) < ROUNDING)
    if reason is None and same and abs(value) < 1 - ROUNDING:
        reason = "the difference is the same in every patient"
    if reason is not None:
        return Estimate(value, None, None, f"{method}: no interval, {reason}"), None, f"not defined: {reason}"
    k, n = len(net), len(clusters)
    statistic = net.sum() ** 2 / (k / (k - 1) * (net**2).sum())
    p = float(chi2.sf(statistic, 1))
    if same:
        patients_ = effective_patients(sizes)
        reach, how = 2 * at_most(patients_), f"Wilson, one-sided, of no exception in {patients_:.4g} patients, 95 %"
        low, high = (value, value + reach) if value < 0 else (value - reach, value)
        return Estimate(value, low, high, how), p, method
    # The test of a difference d has net - d * sizes in place of net; equal to the critical value, it is quadratic in d.
    factor = float(chi2.ppf(LEVEL, 1)) * k / (k - 1)
    squared = n**2 - factor * float((sizes.astype(float) ** 2).sum())
    half = n * float(net.sum()) - factor * float((sizes * net).sum())
    rest = float(net.sum()) ** 2 - factor * float((net**2).sum())
    root = max(0.0, half**2 - squared * rest) ** 0.5
    low, high = max(-1.0, (half - root) / squared), min(1.0, (half + root) / squared)
    return Estimate(value, low, high, f"{method}, inverted, 95 %"), p, method


__all__ = ["clustered_mcnemar"]
