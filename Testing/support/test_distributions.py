"""Softmax, and the search for rows that are not probabilities."""

import numpy as np
import pytest
import scipy.special

from GTRStagingLib.support import distributions
from GTRStagingLib.support.distributions import softmax, wrong_shares, wrong_sums

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 0.37, 12.5])
def test_softmax_equals_that_of_scipy(kind, temperature):
    logits = (np.random.default_rng(4).normal(size=(200, 4)) * 9).astype(kind)
    found = softmax(logits, temperature)
    assert found.dtype == np.float64
    assert found.tolist() == scipy.special.softmax(logits.astype(np.float64) / temperature, axis=1).tolist()


def test_softmax_handles_logits_with_overflowing_exponentials():
    assert softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_shares_below_0_infinite_or_missing_are_wrong():
    rows = np.array([[0.5, 0.5], [-1e-9, 1.0], [NAN, 1.0], [INF, 0.0], [0.0, 1.5]])
    assert wrong_shares(rows).tolist() == [False, True, True, True, False]
    assert wrong_shares(rows, most=1).tolist() == [False, True, True, True, True]
    assert not wrong_shares(rows[0])


def test_sums_off_by_more_than_the_tolerance_or_missing_are_wrong():
    rows = np.array([[0.5, 0.5], [0.5, 0.504], [0.5, 0.496], [0.5, 0.506], [0.5, 0.494], [NAN, 1.0], [INF, 0.0]])
    assert wrong_sums(rows, 0.005).tolist() == [False, False, False, True, True, True, True]
    assert wrong_sums(rows[3], 0.005)


def test_all_exported_names_exist():
    assert all(hasattr(distributions, name) for name in distributions.__all__)
