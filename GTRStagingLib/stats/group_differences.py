"""Compare a covariate between groups of patients: tests, and standardised differences, for a description of cohorts."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import chi2_contingency, fisher_exact, kruskal, random_table
from scipy.stats.contingency import expected_freq

from GTRStagingLib.stats.estimates import RESAMPLES

FEWEST_EXPECTED = 5.0
"""Smallest expected count for which the chi-squared distribution is used (Cochran 1954, Biometrics 10:417)."""


def compare_numbers(groups: Sequence[np.ndarray]) -> tuple[float | None, str]:
    """Return the p-value and the name of the Kruskal-Wallis test of numbers in groups.

    Groups without values are left out. The p-value is None if it is not defined; the reason replaces the name.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.group_differences import compare_numbers
    >>> p, test = compare_numbers([np.array([1.0, 2, 3]), np.array([4.0, 5, 6])])
    >>> round(p, 4), test
    (0.0495, 'Kruskal-Wallis')
    """
    given = [group for group in groups if len(group)]
    if len(given) < 2:
        return None, "not tested: fewer than two groups have values"
    if len(np.unique(np.concatenate(given))) < 2:
        return None, "not tested: all values are equal"
    return float(kruskal(*given).pvalue), "Kruskal-Wallis"


def compare_choices(counts: np.ndarray) -> tuple[float | None, str]:
    """Return the p-value and the name of the test of independence of a (groups, levels) table of counts.

    It is Pearson's chi-squared test. If an expected count is below `FEWEST_EXPECTED`, it is Fisher's exact test for two
    groups and two levels, else the chi-squared statistic's distribution over random tables with the same margins.
    The p-value is None if it is not defined; the reason replaces the name.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.group_differences import compare_choices
    >>> p, test = compare_choices(np.array([[30, 20], [20, 30]]))
    >>> round(p, 4), test
    (0.0455, 'chi-squared')
    >>> compare_choices(np.array([[3, 0], [0, 3]]))[1]
    'Fisher, exact'
    """
    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if len(table) < 2:
        return None, "not tested: fewer than two groups have values"
    if table.shape[1] < 2:
        return None, "not tested: all values are equal"
    expected = expected_freq(table)
    if expected.min() >= FEWEST_EXPECTED:
        return float(chi2_contingency(table, correction=False).pvalue), "chi-squared"
    if table.shape == (2, 2):
        return float(fisher_exact(table).pvalue), "Fisher, exact"
    drawn = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(RESAMPLES, random_state=np.random.default_rng(0))
    found, others = (((one - expected) ** 2 / expected).sum(axis=(-2, -1)) for one in (table, drawn))
    p = (1 + int((others >= found * (1 - 1e-9)).sum())) / (1 + RESAMPLES)
    return p, f"chi-squared, {RESAMPLES:,} random tables with the same margins"


def difference_of_numbers(groups: Sequence[np.ndarray]) -> float | None:
    """Return the largest absolute standardised difference of means between two groups.

    The difference of two groups is abs(mean1 - mean2) / sqrt((variance1 + variance2) / 2). None if there are not two
    groups with two values or more, or if the values do not vary within two groups with different means.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.group_differences import difference_of_numbers
    >>> difference_of_numbers([np.array([1.0, 3]), np.array([2.0, 4]), np.array([5.0, 7])])
    2.82842712474619
    """
    given = [group for group in groups if len(group) > 1]
    found = []
    for one, other in combinations(given, 2):
        apart = abs(float(one.mean() - other.mean()))
        spread = float((one.var(ddof=1) + other.var(ddof=1)) / 2) ** 0.5
        if spread == 0 and apart > 0:
            return None
        found.append(apart / spread if spread else 0.0)
    return max(found, default=None)


def difference_of_choices(counts: np.ndarray) -> float | None:
    """Return the largest absolute standardised difference between two groups of a (groups, levels) table of counts.

    The difference of two groups is the Mahalanobis distance of their shares (Yang & Dalton 2012, SAS Global Forum,
    paper 335): for two levels, abs(p1 - p2) / sqrt((p1 (1 - p1) + p2 (1 - p2)) / 2). None if there are not two
    groups, or if two groups have no level in common and do not vary.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.group_differences import difference_of_choices
    >>> round(difference_of_choices(np.array([[30, 20], [20, 30]])), 4)
    0.4082
    """
    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    shares = table / table.sum(axis=1, keepdims=True)
    found = []
    for one, other in combinations(shares, 2):
        gap = (one - other)[1:]
        spread = sum(np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in (one, other)) / 2
        inverse = np.linalg.pinv(spread, hermitian=True)
        if not np.allclose(spread @ inverse @ gap, gap):
            return None  # a level that one group never has and the other always has
        found.append(float(gap @ inverse @ gap) ** 0.5)
    return max(found, default=None)


__all__ = [
    "FEWEST_EXPECTED",
    "compare_choices",
    "compare_numbers",
    "difference_of_choices",
    "difference_of_numbers",
]
