"""Intervals against other implementations, and against repeated samples."""

from inspect import signature

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from GTRStagingLib.stats import estimates
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    bootstrapped,
    holm,
    patient_counts,
    patient_draws,
    percentiles,
    proportion,
    resampled_counts,
    undefined,
)


@st.composite
def rows_by_patient(draw):
    """Ids that are neither dense nor in order, and which rows to take."""
    n = draw(st.integers(1, 30))
    ids = draw(st.lists(st.integers(-3, 9), min_size=n, max_size=n))
    rows = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(ids) * 1009, np.array(rows)


@settings(max_examples=60, deadline=None)
@given(rows_by_patient())
def test_clusters_equal_loops_over_the_patients(drawn):
    ids, rows = drawn
    found, patients = Clusters.of(ids), sorted(set(ids.tolist()))
    assert (len(found), found.number, found.clustered) == (len(ids), len(patients), len(patients) < len(ids))
    of_each = [np.flatnonzero(ids == patient) for patient in patients]
    assert [np.flatnonzero(found.codes == code).tolist() for code in range(found.number)] == [
        one.tolist() for one in of_each
    ]
    assert found.sizes.tolist() == [len(one) for one in of_each]
    assert found.first.tolist() == [one[0] for one in of_each]
    values = np.arange(len(ids)) ** 2.0
    assert found.sums(values).tolist() == [values[one].sum() for one in of_each]
    two = found.sums(np.column_stack([values, -values]))
    assert two.tolist() == [[values[one].sum(), -values[one].sum()] for one in of_each]
    some = found.at(rows)
    assert (some.codes.tolist(), some.number) == (Clusters.of(ids[rows]).codes.tolist(), len(set(ids[rows].tolist())))
    assert found.tiled(2).codes.tolist() == Clusters.of(np.tile(ids, 2)).codes.tolist()


def test_clusters_are_coded_once_and_take_names():
    found = Clusters.of(np.array(["b", "a", "b"], dtype=object))
    assert found.codes.tolist() == [1, 0, 1]
    assert Clusters.of(found) is found
    assert Clusters.of(np.zeros(0, int)).number == 0


def test_ids_and_clusters_give_the_same_numbers():
    rng = np.random.default_rng(3)
    hits, ids, cells = rng.random(50) < 0.7, rng.integers(20, size=50) * 7, rng.integers(4, size=50)
    found = Clusters.of(ids)
    assert proportion(hits, found) == proportion(hits, ids)
    assert patient_counts(cells, 4, found).tolist() == patient_counts(cells, 4, ids).tolist()
    by_id, by_code = (patient_draws(one, seed=2, resamples=3) for one in (ids, found))
    assert [rows.tolist() for rows in by_id] == [rows.tolist() for rows in by_code]


def test_a_draw_has_all_rows_of_each_patient_drawn():
    ids = np.array([4, 9, 4, 2, 9, 4])
    rng = np.random.default_rng(6)
    for rows in patient_draws(ids, seed=6, resamples=20):
        expected = [np.flatnonzero(ids == [2, 4, 9][one]) for one in rng.integers(3, size=3)]
        assert rows.tolist() == np.concatenate(expected).tolist()


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 7), (221, 239), (500, 1000)])
def test_a_share_of_patients_has_wilsons_interval(hits, n):
    found = proportion(np.arange(n) < hits, np.arange(n))
    low, high = proportion_confint(hits, n, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((hits / n, low, high), abs=1e-12)
    assert found.method == "Wilson, 95 %"


def test_a_share_of_rows_that_come_in_identical_pairs_is_that_of_the_patients():
    hits = np.arange(60) < 40
    once, twice = proportion(hits, np.arange(60)), proportion(np.repeat(hits, 2), np.repeat(np.arange(60), 2))
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high), abs=0.003)
    assert "clustered" in twice.method


def test_a_clustered_share_of_1_depends_on_the_number_of_patients():
    found = proportion(np.ones(30, bool), np.repeat(np.arange(10), 3))
    assert found.low == pytest.approx(proportion_confint(10, 10, method="wilson")[0])


def test_no_rows_and_one_patient_give_a_reason():
    assert proportion(np.zeros(0, bool), np.zeros(0, int)) == undefined("no rows")
    one = proportion(np.array([True, False]), np.zeros(2, int))
    assert (one.value, one.low) == (0.5, None)
    assert "one patient" in one.method


def test_counts_are_rows_of_each_patient_in_each_cell():
    counts = patient_counts(np.array([0, 2, 2, 1]), 3, np.array([7, 7, 9, 7]))
    assert counts.tolist() == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow), 60])  # theirs takes a second each
def test_holm_is_that_of_statsmodels_to_the_last_bit(n):
    p = np.random.default_rng(n).random(n) ** 3
    p[n // 2 :] = p[n // 2 :].round(1)  # ties, and zeros
    assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


@pytest.mark.parametrize("most", [1, 5, 10**6])
def test_kinds_are_the_different_rows_in_their_order(most):
    """Counts too large for one whole number among them: the columns are ranked step by step."""
    rng = np.random.default_rng(most)
    rows = rng.integers(0, most + 1, size=(60, 12))
    counts = np.concatenate([rows, rows[rng.integers(60, size=200)], np.zeros((2, 12), int)])
    expected = np.unique(counts, axis=0, return_counts=True)
    for found, other in zip(estimates._kinds(counts), expected, strict=True):
        assert found.tolist() == other.tolist()


def test_resampled_counts_have_the_distribution_of_the_bootstrap_over_patients():
    rng = np.random.default_rng(1)
    cells, ids = rng.integers(4, size=90), rng.integers(30, size=90)
    counts = patient_counts(cells, 4, ids)
    drawn = resampled_counts(counts, seed=0, resamples=4000)
    index = np.random.default_rng(2).integers(len(counts), size=(4000, len(counts)))
    expected = counts[index].sum(axis=1)
    np.testing.assert_allclose(drawn.mean(axis=0), counts.sum(axis=0), rtol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.12 * np.cov(expected.T).max())


def test_a_bootstrapped_share_is_near_wilsons():
    hits = np.arange(200) % 3 == 0
    counts = patient_counts(hits.astype(int), 2, np.arange(200))
    (found,) = bootstrapped(lambda c: (c[..., 1] / c.sum(axis=-1))[..., None], counts, seed=0)
    exact = proportion(hits, np.arange(200))
    assert (found.value, found.low, found.high) == pytest.approx((exact.value, exact.low, exact.high), abs=0.01)


def test_draws_of_patients_bring_all_their_rows():
    ids = np.array([0, 1, 0, 2])
    for rows in patient_draws(ids, seed=0, resamples=20):
        times = np.bincount(rows, minlength=4)
        assert times[0] == times[2]
        assert times[0] + times[1] + times[3] == 3


def test_draws_without_a_defined_value_are_reported():
    some = percentiles(1.0, np.array([0.9, np.nan, 1.1, 1.0]))
    assert "3 of 4 resamples" in some.method
    few = percentiles(1.0, np.array([np.nan, np.nan, 1.1]))
    assert (few.value, few.low) == (1.0, None)
    assert percentiles(float("nan"), np.ones(3)).value is None


def test_texts():
    assert Estimate(0.92468, 0.8841, 0.95183, "").text() == "0.925 (0.884 to 0.952)"
    assert Estimate(0.92468, 0.8841, 0.95183, "").text(1, percent=True) == "92.5 % (88.4 to 95.2)"
    assert Estimate(1.0, None, None, "").text() == "1.000 (no interval)"
    assert undefined("x").text() == "not defined"


def test_sums_that_happen_to_equal_the_number_of_patients_are_not_taken_for_counts():
    sums = np.array([[0.5, 1.0], [0.9, 0.0]])  # adds up to 2.4, of two patients
    drawn = resampled_counts(sums, seed=0, resamples=50)
    assert {round(float(total), 6) for total in drawn[:, 0]} == {1.0, 1.4, 1.8}


def test_the_accelerated_interval_is_scipys():
    rng = np.random.default_rng(3)
    hits = (rng.random(80) < 0.85).astype(int)
    odds = lambda c: (c[..., 1] / c[..., 0])[..., None]  # noqa: E731 (skewed and biased: percentiles would be off)
    (found,) = bootstrapped(odds, patient_counts(hits, 2, np.arange(80)), seed=0, resamples=40_000)

    def of_rows(x, axis=-1):
        with np.errstate(divide="ignore"):  # scipy also asks for samples without any miss
            return x.sum(axis=axis) / (1 - x).sum(axis=axis)

    generator = "rng" if "rng" in signature(stats.bootstrap).parameters else "random_state"  # before scipy 1.15
    how = {"n_resamples": 40_000, "method": "BCa", generator: np.random.default_rng(1)}
    expected = stats.bootstrap((hits,), of_rows, **how).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.03)
    assert "BCa" in found.method
