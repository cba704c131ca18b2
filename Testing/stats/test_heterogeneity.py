"""Tests of differences between cohorts, compared with scipy and statsmodels."""

import numpy as np
import pytest
from helpers.golden_data import ROWS, patients, probabilities, stages
from scipy.special import logit
from scipy.stats import chi2, chi2_contingency, fisher_exact
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.stats.heterogeneity import Heterogeneity, compare_areas, compare_means, compare_shares, corrected


def hits(right, of, times=1):
    """Return hits of `of` patients with `times` equal rows each, and their clusters."""
    one = np.arange(of) < right
    return np.repeat(one, times), Clusters(np.repeat(np.arange(of), times), of)


def test_shares_of_single_rows_are_compared_by_pearsons_test():
    given = {"A": (80, 100), "B": (150, 240), "C": (41, 60)}
    found = compare_shares("accuracy", {name: hits(*one) for name, one in given.items()})
    expected = chi2_contingency([[x, n - x] for x, n in given.values()], correction=False)
    assert (found.statistic, found.df, found.p) == (
        pytest.approx(expected.statistic),
        2,
        pytest.approx(expected.pvalue),
    )
    assert found.i2 == pytest.approx(1 - 2 / expected.statistic)


def test_repeated_rows_of_a_patient_add_nothing():
    """Copies of each row carry no information, so Q must stay that of the patients; by rows it would be five times."""
    once = compare_shares("accuracy", {"A": hits(80, 100), "B": hits(150, 240)})
    copied = compare_shares("accuracy", {"A": hits(80, 100, 5), "B": hits(150, 240, 5)})
    assert copied.statistic == pytest.approx(once.statistic, rel=1e-6)
    assert "several rows per patient" in copied.method


def test_few_expected_misses_are_compared_by_random_assignments():
    """With two cohorts of one size, a table is as extreme by Q as by Fisher's exact test."""
    found = compare_shares("accuracy", {"A": hits(30, 30), "B": hits(25, 30)})
    exact = fisher_exact([[30, 0], [25, 5]]).pvalue
    assert "random assignments" in found.method
    assert found.p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5)
    assert found.p > chi2_contingency([[30, 0], [25, 5]], correction=False).pvalue


@pytest.mark.parametrize("times", [1, 3])
def test_equal_cohorts_are_rejected_as_often_as_stated(times):
    """Of 400 simulations at 5 %, 20 ± 4.4 are rejected; with correlated rows of three per patient as well."""
    rng = np.random.default_rng(0)

    def cohort(n):
        skill = rng.beta(0.7 * 2, 0.3 * 2, n)  # correlation within patients 1/3
        codes = np.repeat(np.arange(n), times)
        return rng.random(len(codes)) < skill[codes], Clusters(codes, n)

    p = [compare_shares("a", {"A": cohort(80), "B": cohort(120), "C": cohort(60)}).p for _ in range(400)]
    assert 7 <= sum(one < 0.05 for one in p) <= 33


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt:RuntimeWarning")  # its random effects
def test_areas_are_compared_as_in_a_meta_analysis():
    cohorts, effects, variances = {}, [], []
    for name in ("North", "South", "West"):
        rows = ROWS[ROWS["centre"] == name]
        clusters = Clusters.of(patients(rows))
        area = roc.macro(roc.stage_areas(stages(rows), probabilities(rows)))
        cohorts[name] = (area, clusters)
        effects.append(logit(area.value))
        variances.append((roc.standard_error(area.influence, clusters) / area.value / (1 - area.value)) ** 2)
    found = compare_areas("macro AUC", cohorts)
    expected = combine_effects(np.array(effects), np.array(variances), method_re="dl")
    test = expected.test_homogeneity()
    assert (found.statistic, found.p) == (pytest.approx(test.statistic), pytest.approx(test.pvalue))
    assert found.i2 == pytest.approx(max(0, expected.i2))


def test_means_are_compared_as_in_a_meta_analysis_of_their_logits():
    """The jackknife's standard error of a mean with a row a patient is the usual one."""
    cohorts, effects, variances = {}, [], []
    for name in ("North", "South", "West"):
        rows = ROWS[ROWS["centre"] == name].drop_duplicates("patient_id")
        dice = rows["dice"].dropna()
        cohorts[name] = (dice.to_numpy(), Clusters(np.arange(len(dice)), len(dice)))
        effects.append(logit(dice.mean()))
        variances.append((dice.sem() / dice.mean() / (1 - dice.mean())) ** 2)
    found = compare_means("mean Dice", cohorts)
    weights = 1 / np.array(variances)
    mean = np.sum(weights * effects) / weights.sum()
    statistic = float(np.sum(weights * (np.array(effects) - mean) ** 2))
    assert (found.statistic, found.p, found.df) == (
        pytest.approx(statistic),
        pytest.approx(chi2.sf(statistic, 2)),
        2,
    )


def test_means_of_several_rows_a_patient_are_compared_by_their_patients():
    """Copies of each row carry no information, so that Q stays about that of single rows."""
    rng = np.random.default_rng(3)
    once = {name: (rng.beta(a, 4, n), Clusters(np.arange(n), n)) for name, a, n in (("A", 4, 60), ("B", 6, 90))}
    copied = {
        name: (np.repeat(values, 4), Clusters(np.repeat(np.arange(one.number), 4), one.number))
        for name, (values, one) in once.items()
    }
    assert compare_means("", copied).statistic == pytest.approx(compare_means("", once).statistic, rel=1e-9)


def test_cohorts_whose_means_cannot_be_compared_are_named():
    rng = np.random.default_rng(4)
    many, few = Clusters(np.arange(30), 30), Clusters(np.repeat(np.arange(3), 10), 3)
    found = compare_means(
        "mean Dice",
        {
            "A": (rng.random(30), many),
            "B": (rng.random(30), many),
            "none": (np.empty(0), Clusters(np.empty(0, int), 0)),
            "same": (np.full(30, 0.7), many),
            "percent": (100 * rng.random(30), many),
            "few": (rng.random(30), few),
        },
    )
    assert found.df == 1
    assert found.method == (
        "Cochran's Q of means on the logit scale, jackknife over patients; none has no such rows; same has no standard "
        "error; percent has values outside 0 to 1; few has no reliable standard error: one patient has 10 of 30 rows, "
        "more than a fifth"
    )


def test_cohorts_without_the_measure_are_named():
    perfect = roc.area(np.array([True, False, True]), np.array([0.9, 0.1, 0.8]))
    usual = roc.area(np.arange(20) % 2 == 0, np.random.default_rng(1).random(20))
    one, many = Clusters(np.arange(3), 3), Clusters(np.arange(20), 20)
    found = compare_areas("macro AUC", {"A": (perfect, one), "B": (None, one), "C": (usual, many)})
    assert (found.statistic, found.p, found.df) == (None, None, 0)
    assert found.method == (
        "not tested: fewer than two cohorts have the measure; A has no standard error; B lacks a stage"
    )
    found = compare_shares("sensitivity of T1", {"A": hits(0, 0), "B": hits(5, 9), "C": hits(6, 9)})
    assert found.df == 1
    assert found.method.endswith("A has no such rows")


def test_a_patient_with_most_of_a_cohorts_rows_is_compared_by_random_assignments_and_leaves_no_area():
    rng = np.random.default_rng(2)
    codes = np.r_[np.zeros(200, int), np.arange(1, 40)]
    uneven, usual = Clusters(codes, 40), Clusters(np.arange(100), 100)
    found = compare_shares("accuracy", {"A": (rng.random(239) < 0.6, uneven), "B": (rng.random(100) < 0.6, usual)})
    assert "random assignments" in found.method
    positive = rng.random(239) < 0.5
    areas = {
        "A": (roc.area(positive, rng.random(239)), uneven),
        "B": (roc.area(positive[:100], rng.random(100)), usual),
        "C": (roc.area(positive[100:200], rng.random(100)), usual),
    }
    found = compare_areas("macro AUC", areas)
    assert found.df == 1
    assert "A has no reliable standard error: one patient has 200 of 239 rows" in found.method


def test_a_patient_with_most_rows_makes_no_difference_of_equal_cohorts():
    """Of 200 simulations at 5 %, 10 ± 3.1 are rejected; the patient with 100 rows is right or wrong in all of them."""
    rng = np.random.default_rng(1)

    def cohort(n, most):
        codes = np.r_[np.zeros(most - 1, int), np.arange(n)]
        right = rng.random(n) < 0.7
        return right[codes], Clusters(codes, n)

    p = [compare_shares("a", {"A": cohort(60, 100), "B": cohort(60, 1)}).p for _ in range(200)]
    assert sum(one < 0.05 for one in p) <= 20


def test_cohorts_that_are_all_right_do_not_differ():
    found = compare_shares("accuracy", {"A": hits(20, 20), "B": hits(30, 30)})
    assert (found.statistic, found.p, found.i2) == (0.0, 1.0, 0.0)


def test_p_values_are_corrected_for_the_number_of_defined_tests():
    found = [Heterogeneity(str(p), None if p is None else 1.0, 1, p, None, "") for p in (0.01, None, 0.02, 0.5)]
    holm = multipletests([0.01, 0.02, 0.5], method="holm")[1].tolist()
    assert [one.p_holm for one in corrected(found)] == [holm[0], None, *holm[1:]]
    assert corrected([]) == ()
