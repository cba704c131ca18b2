"""Comparison of covariates between groups, with scipy and by hand."""

from math import comb

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import chi2_contingency, fisher_exact, kruskal

from GTRStagingLib.stats.group_differences import (
    compare_choices,
    compare_numbers,
    difference_of_choices,
    difference_of_numbers,
)


def test_numbers_are_compared_by_ranks():
    rng = np.random.default_rng(0)
    groups = [rng.normal(mean, 1, 30) for mean in (0, 0.2, 0.6)]
    p, test = compare_numbers([*groups, np.empty(0)])
    assert (p, test) == (pytest.approx(kruskal(*groups).pvalue), "Kruskal-Wallis")


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([[1.0, 2.0], []], "fewer than two groups"),
        ([[3.0, 3.0], [3.0]], "all values are equal"),
    ],
)
def test_numbers_that_cannot_be_compared_have_no_p(groups, reason):
    p, test = compare_numbers([np.array(one) for one in groups])
    assert p is None
    assert reason in test


def test_choices_are_compared_by_the_test_that_their_counts_allow():
    many = np.array([[261, 692], [69, 170], [100, 260], [75, 165]])  # sex, in the article's Table 1
    assert compare_choices(many) == (
        pytest.approx(chi2_contingency(many, correction=False).pvalue),
        "chi-squared",
    )
    few = np.array([[1, 9], [6, 4]])
    assert compare_choices(few) == (pytest.approx(fisher_exact(few).pvalue), "Fisher, exact")
    wide = np.array([[1, 3, 4], [6, 1, 1]])
    p, test = compare_choices(wide)
    exact = fisher_exact_of_three(wide)
    assert "random tables" in test
    assert p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)


def fisher_exact_of_three(table):
    """Sum the probabilities of all 2 x 3 tables with the same margins and a chi-squared at least as large."""
    columns, first = table.sum(axis=0), int(table[0].sum())
    expected = np.outer(table.sum(axis=1), columns) / table.sum()
    found = ((table - expected) ** 2 / expected).sum()
    total = 0.0
    for a in range(columns[0] + 1):
        for b in range(columns[1] + 1):
            if 0 <= (c := first - a - b) <= columns[2]:
                row = np.array([a, b, c])
                other = ((np.array([row, columns - row]) - expected) ** 2 / expected).sum()
                if other >= found - 1e-9:
                    total += comb(columns[0], a) * comb(columns[1], b) * comb(columns[2], c)
    return total / comb(int(columns.sum()), first)


def test_empty_levels_and_groups_are_left_out():
    table = np.array([[30, 0, 20], [0, 0, 0], [20, 0, 30]])
    assert compare_choices(table) == compare_choices(np.array([[30, 20], [20, 30]]))
    assert compare_choices(np.array([[30, 20], [0, 0]]))[0] is None
    assert compare_choices(np.array([[30, 0], [7, 0]])) == (None, "not tested: all values are equal")


def test_the_largest_standardised_difference_of_means_is_found():
    a, b, c = np.array([60.0, 62, 64]), np.array([61.0, 63, 65]), np.array([50.0, 54, 58])
    spread = ((a.std(ddof=1) ** 2 + c.std(ddof=1) ** 2) / 2) ** 0.5
    by_hand = max(abs(a.mean() - c.mean()) / spread, abs(b.mean() - c.mean()) / spread)
    assert difference_of_numbers([a, b, c]) == pytest.approx(by_hand)
    assert difference_of_numbers([a, np.array([3.0])]) is None
    assert difference_of_numbers([np.array([2.0, 2]), np.array([3.0, 3])]) is None
    assert difference_of_numbers([np.array([2.0, 2]), np.array([2.0, 2])]) == 0


def test_the_standardised_difference_of_choices_is_a_mahalanobis_distance():
    """Whichever level is left out; the counts are those of the tumour's location in the article's Table 1."""
    table = np.array([[146, 70, 23], [152, 27, 61]])
    p, q = table / table.sum(axis=1, keepdims=True)
    for kept in ([0, 1], [1, 2], [0, 2]):
        spread = sum(np.diag(one[kept]) - np.outer(one[kept], one[kept]) for one in (p, q)) / 2
        expected = mahalanobis(p[kept], q[kept], np.linalg.inv(spread))
        assert difference_of_choices(table) == pytest.approx(expected)


def test_groups_without_a_common_level_have_no_standardised_difference():
    assert difference_of_choices(np.array([[7, 0], [0, 9]])) is None
    assert difference_of_choices(np.array([[7, 0], [5, 0]])) == 0
    assert difference_of_choices(np.array([[7, 3]])) is None
