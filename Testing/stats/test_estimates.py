"""Intervals against other implementations, against closed forms, and against repeated samples."""

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
    Spread,
    at_most,
    compared,
    effective_patients,
    estimated,
    holm,
    interval,
    jackknifed,
    mean,
    no_interval,
    patient_counts,
    patient_draws,
    proportion,
    undefined,
)
from GTRStagingLib.stats.metrics import measure


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
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high), abs=0.005)
    assert twice.high - twice.low > once.high - once.low  # Student's quantile in place of the normal one
    assert "clustered" in twice.method


def test_a_clustered_share_of_1_depends_on_the_number_of_patients():
    found = proportion(np.ones(30, bool), np.repeat(np.arange(10), 3))
    quantile = stats.t.ppf(0.975, 9)
    assert (found.low, found.high) == (pytest.approx(10 / (10 + quantile**2)), 1)


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


def by_leaving_out(statistic, rows, ids):
    """The standard error by leaving out each patient, one by one."""
    left = np.array([statistic(rows[ids != one]) for one in np.unique(ids)])
    k = len(left)
    return float(((k - 1) / k * ((left - left.mean()) ** 2).sum()) ** 0.5)


def test_a_mean_of_symmetric_values_has_students_interval():
    values = np.arange(12) / 12
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    found = mean(values, np.arange(12))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


@pytest.mark.parametrize("within", [None, (0.0, 1.0), (0.0, np.inf)])
def test_a_clustered_mean_has_the_error_of_leaving_out_each_patient(within):
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(45), rng.integers(1, 5, 45))
    values = (rng.random(45)[ids] + rng.random(len(ids))) / 2
    found, error = mean(values, ids, within), by_leaving_out(np.mean, values, ids)
    scale = {None: lambda x: x, (0.0, 1.0): lambda x: np.log(x / (1 - x)), (0.0, np.inf): np.log}[within]
    slope = {None: 1.0, (0.0, 1.0): found.value * (1 - found.value), (0.0, np.inf): found.value}[within]
    low, value, high = (float(scale(x)) for x in (found.low, found.value, found.high))
    assert high - value == pytest.approx(value - low)  # symmetric on its scale
    quantile = (high - value) * slope / error
    degrees = effective_patients(np.bincount(ids)) - 1
    assert quantile == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.02)
    assert "clustered by patient" in found.method


def test_statistics_of_counts_have_the_error_of_leaving_out_each_patient():
    rng = np.random.default_rng(4)
    cells, ids = rng.integers(3, size=120), rng.integers(40, size=120)

    def odds(counts):
        return (counts[..., [1]] / counts[..., [0]]) ** 2

    (found,) = jackknifed(odds, patient_counts(cells, 3, ids), [None])
    error = by_leaving_out(lambda rows: ((rows == 1).sum() / (rows == 0).sum()) ** 2, cells, ids)
    assert found.value == pytest.approx(((cells == 1).sum() / (cells == 0).sum()) ** 2)
    degrees = effective_patients(np.unique(ids, return_counts=True)[1]) - 1
    assert found.high - found.value >= stats.t.ppf(0.975, degrees) * error * (1 - 1e-9)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, degrees) * error, rel=0.15)


def test_the_degrees_of_freedom_are_those_of_the_patients_that_vary():
    normal = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    assert Spread.of_influence(normal).degrees == pytest.approx(399, rel=0.05)
    # Two patients of 100 make up the variance: the fourth moment is 2 / 4 of the squared variance.
    two = np.r_[np.ones(2), np.zeros(98)]
    assert Spread.of_influence(two).degrees == pytest.approx(2 / (1 / 2 - 1 / 100))
    assert Spread.of_influence(np.r_[1.0, np.zeros(99)]).degrees == pytest.approx(2 / (1 - 1 / 100))
    # A kind of patient that stands for three is as three patients.
    once, thrice = Spread.of(np.array([1.0, 2, 2, 2])), Spread.of(np.array([1.0, 2]), np.array([1, 3]))
    assert (thrice.error, thrice.degrees) == pytest.approx((once.error, once.degrees))


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(1e-6, 0.5), st.floats(1, 300))
def test_an_interval_stays_in_its_range_and_holds_its_value(share, error, degrees):
    spread = Spread(error, degrees)
    for within, value in (((0.0, 1.0), share), ((-2.0, 1.0), 3 * share - 2), ((0.0, np.inf), share), (None, share)):
        low, high = interval(value, spread, within)
        assert low < value < high or (low == within[0] and high == within[1]) or low <= value <= high
        assert low < high
        if within is not None:
            assert within[0] <= low <= high <= within[1]


def test_a_patient_with_more_than_a_fifth_of_the_rows_leaves_no_interval():
    """On 30 patients, one of them with 200 of 229 rows, the interval of a share had 68 % coverage."""
    ids = np.r_[np.zeros(200, int), np.arange(1, 30)]
    hits = np.random.default_rng(0).random(len(ids)) < 0.6
    for found in (proportion(hits, ids), mean(hits, ids)):
        assert found.value == pytest.approx(hits.mean())
        assert (found.low, found.high) == (None, None)
        assert "one patient has 200 of 229 rows, more than a fifth" in found.method
    assert no_interval(np.array([1] * 8)) is None
    assert no_interval(np.array([1] * 7)) == "7 patients, fewer than 8"
    assert no_interval(np.array([2, 2, 2, 2, 2, 3, 1, 1])) == "8 patients (effective number 7.3), fewer than 8"
    assert no_interval(np.array([3])) == "all rows are of one patient"
    assert effective_patients(np.bincount(ids)) == pytest.approx(229**2 / (200**2 + 29))
    assert effective_patients(np.full(7, 3)) == 7
    assert effective_patients(np.zeros(0, int)) == 0


def test_a_value_at_a_limit_has_a_one_sided_interval_and_none_has_the_width_0():
    none = mean(np.zeros(40), np.arange(40), (0.0, 2.0))
    quantile = stats.t.ppf(0.975, 39)
    assert (none.low, none.high) == (0.0, pytest.approx(2 * quantile**2 / (40 + quantile**2)))
    assert at_most(40) == pytest.approx(none.high / 2)
    full = mean(np.ones(40), np.arange(40), (0.0, 1.0))
    assert (full.low, full.high) == (pytest.approx(40 / (40 + quantile**2)), 1.0)
    for values, within in ((np.full(40, 0.3), (0.0, 1.0)), (np.zeros(40), None), (np.zeros(40), (0.0, np.inf))):
        same = mean(values, np.arange(40), within)
        assert (same.low, same.high) == (None, None)
        assert "does not vary between patients" in same.method


@pytest.mark.parametrize("within", [(0.0, 1.0), (-0.3, 1.0), (0.0, np.inf), (-0.1, 3.0)])
@pytest.mark.parametrize("off", [-1e-13, 0.0, 1e-13])
def test_a_value_at_an_end_that_varies_has_no_interval_with_the_reason(within, off):
    """Ends that depend on the rows, as those of a kappa; and values at an end up to rounding."""
    sizes = np.ones(40, int)
    for end, what in zip(within, ("least", "largest"), strict=True):
        if np.isinf(end):
            continue
        found = estimated(end + off, Spread(0.05, 39), sizes, "m", within)
        assert (found.value, found.low, found.high) == (end + off, None, None)
        assert f"no interval, it is the {what} value that these rows allow" in found.method
        same = estimated(end + off, Spread(0.0, 39), sizes, "m", within)
        if np.isinf(within[1]):
            assert same.low is None
        else:
            reach = at_most(40) * (within[1] - within[0])
            one_sided = (end, end + reach) if what == "least" else (end - reach, end)
            assert (same.low, same.high) == pytest.approx(one_sided)


def test_the_least_kappa_has_no_interval():
    """Every row is read as the neighbouring stage: no agreement, less than by chance."""
    stages = np.repeat(np.arange(4), [10, 9, 8, 7])
    read = np.array([1, 0, 3, 2])[stages]
    found = measure(stages, read, np.arange(34))
    expected = 1 - 1 / (1 - (2 * 10 * 9 + 2 * 8 * 7) / 34**2)
    assert found.kappa_plain.value == pytest.approx(expected)
    assert (found.kappa_plain.low, found.kappa_plain.high) == (None, None)
    assert "it is the least value that these rows allow" in found.kappa_plain.method
    assert found.kappa_linear.low < found.kappa_linear.value < found.kappa_linear.high


def test_a_mean_of_fewer_patients_than_its_kind_needs_has_no_interval():
    values = np.exp(np.random.default_rng(0).normal(size=30))
    for within in ((0.0, np.inf), (0.0, 99.0), None):
        few, enough = (mean(values[:n], np.arange(n), within, 30) for n in (29, 30))
        assert (few.low, few.high) == (None, None)
        assert few.method.endswith("no interval, 29 patients, fewer than 30")
        assert enough.low < enough.value < enough.high
        assert mean(values[:8], np.arange(8), within).low is not None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 30), st.floats(-1, 1))
def test_the_interval_of_a_difference_excludes_0_exactly_where_p_is_below_005(seed, n, shift):
    apart = np.random.default_rng(seed).normal(size=n)
    found, p = compared(shift, Spread.of(apart / n), np.ones(n, int), "t")
    assert (p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "most"), [(60, 1), (60, 5), (20, 5)])
def test_clustered_means_of_skewed_values_are_covered(patients, most):
    """Of 600 cohorts; the percentiles of a bootstrap covered 78 % of the means of clustered groups."""
    rng, covered = np.random.default_rng(8), 0
    draws = 600
    truth = 0.9 * np.mean(1 / (1 + np.exp(-0.3 - rng.normal(size=400_000))))
    for _ in range(draws):
        ids = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
        shared, missed = rng.normal(size=patients)[ids], (rng.random(patients) < 0.1)[ids]
        values = np.where(missed, 0, 1 / (1 + np.exp(-0.3 - 0.8 * shared - 0.6 * rng.normal(size=len(ids)))))
        found = mean(values, ids, (0.0, 1.0))
        covered += found.low <= truth <= found.high
    assert 0.91 < covered / draws < 0.985


def test_draws_of_patients_bring_all_their_rows():
    ids = np.array([0, 1, 0, 2])
    for rows in patient_draws(ids, seed=0, resamples=20):
        times = np.bincount(rows, minlength=4)
        assert times[0] == times[2]
        assert times[0] + times[1] + times[3] == 3


def test_texts():
    assert Estimate(0.92468, 0.8841, 0.95183, "").text() == "0.925 (0.884 to 0.952)"
    assert Estimate(0.92468, 0.8841, 0.95183, "").text(1, percent=True) == "92.5 % (88.4 to 95.2)"
    assert Estimate(1.0, None, None, "").text() == "1.000 (no interval)"
    assert undefined("x").text() == "not defined"
