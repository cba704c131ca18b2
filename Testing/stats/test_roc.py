"""Areas under the ROC curve against pROC's and scikit-learn's."""

import numpy as np
import pytest
from helpers.golden_data import FIRST, ROWS, golden, patients, probabilities, stages
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score, roc_curve

from GTRStagingLib.stats import roc

REFERENCE = golden("discrimination")


@pytest.mark.parametrize("stage", range(4))
def test_area_variance_and_paired_test_are_those_of_proc(stage):
    true, ids = stages(FIRST) == stage, patients(FIRST)
    one, other = (roc.area(true, probabilities(FIRST, model)[:, stage]) for model in "pq")
    expected = REFERENCE["areas"][f"T{stage + 1}"]
    assert one.value == pytest.approx(expected["auc"], abs=1e-10)
    assert other.value == pytest.approx(expected["other"], abs=1e-10)
    assert roc.standard_error(one.influence, ids) ** 2 == pytest.approx(expected["variance"], rel=1e-8)
    difference, p = roc.difference(one, other, ids)
    # pROC takes the normal distribution: its p gives the statistic, and ours is Student's p of it.
    statistic, error = norm.isf(expected["p"] / 2), abs(difference.value) / norm.isf(expected["p"] / 2)
    influence = one.influence - other.influence
    degrees = min(239, 2 / ((influence**4).sum() / (influence**2).sum() ** 2 - 1 / 240))
    assert p == pytest.approx(2 * student.sf(statistic, degrees), rel=1e-6)
    half = student.ppf(0.975, degrees) * error
    assert (difference.low, difference.high) == pytest.approx((difference.value - half, difference.value + half))
    assert (difference.low > 0 or difference.high < 0) == (p < 0.05)


@pytest.mark.parametrize("stage", range(4))
def test_the_interval_is_procs_on_the_logit_scale_but_for_students_quantile(stage):
    found = roc.area(stages(FIRST) == stage, probabilities(FIRST)[:, stage])
    expected, one = REFERENCE["areas"][f"T{stage + 1}"], roc.estimate(found, patients(FIRST))
    degrees = min(239, 2 / ((found.influence**4).sum() / (found.influence**2).sum() ** 2 - 1 / 240))
    half = student.ppf(0.975, degrees) * expected["variance"] ** 0.5 / (expected["auc"] * (1 - expected["auc"]))
    middle = logit(expected["auc"])
    assert (one.low, one.high) == pytest.approx((expit(middle - half), expit(middle + half)), rel=1e-7)


@pytest.mark.parametrize("stage", range(4))
def test_the_clustered_variance_is_obuchowskis_but_for_its_small_sample_factors(stage):
    found = roc.area(stages(ROWS) == stage, probabilities(ROWS)[:, stage])
    expected = REFERENCE["clustered_variance"][f"T{stage + 1}"]
    assert roc.standard_error(found.influence, patients(ROWS)) ** 2 == pytest.approx(expected, rel=0.005)
    # and it is another one than that of independent rows
    assert roc.standard_error(found.influence, np.arange(len(ROWS))) ** 2 != pytest.approx(expected, rel=0.01)


def test_repeated_rows_of_the_same_patients_change_nothing():
    true, scores = stages(FIRST) == 2, probabilities(FIRST)[:, 2]
    once = roc.estimate(roc.area(true, scores), patients(FIRST))
    twice = roc.estimate(roc.area(np.tile(true, 2), np.tile(scores, 2)), np.tile(patients(FIRST), 2))
    assert twice.value == pytest.approx(once.value)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.01)
    assert "clustered by patient" in twice.method


def test_macro_and_micro_are_scikit_learns():
    true, given = stages(ROWS), probabilities(ROWS)
    given = given / given.sum(axis=1, keepdims=True)
    areas = roc.stage_areas(true, given)
    assert roc.macro(areas).value == pytest.approx(roc_auc_score(true, given, multi_class="ovr"), abs=1e-12)
    expected = roc_auc_score(true, given, multi_class="ovr", average="micro")
    assert roc.micro(true, given).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_their_variance_is_that_of_repeated_samples(average):
    rng = np.random.default_rng(5)
    values, variances = [], []
    for _ in range(400):
        true = rng.integers(4, size=120)
        given = rng.dirichlet(np.ones(4), size=120) + 0.35 * np.eye(4)[true]
        given /= given.sum(axis=1, keepdims=True)
        found = roc.macro(roc.stage_areas(true, given)) if average == "macro" else roc.micro(true, given)
        values.append(found.value)
        variances.append(roc.standard_error(found.influence, np.arange(120)) ** 2)
    assert np.mean(variances) == pytest.approx(np.var(values, ddof=1), rel=0.2)


def test_ties_count_half():
    assert roc.area(np.array([True, False]), np.array([0.3, 0.3])).value == 0.5
    true, rounded = stages(FIRST) == 2, probabilities(FIRST)[:, 2].round(1)
    assert roc.area(true, rounded).value == pytest.approx(roc_auc_score(true, rounded), abs=1e-12)


def test_undefined_areas_give_a_reason():
    assert roc.area(np.ones(3, bool), np.arange(3.0)) is None
    missing = roc.estimate(None, np.arange(3))
    assert (missing.value, missing.low) == (None, None)
    assert "missing" in missing.method
    few = roc.estimate(roc.area(np.array([1, 1, 0, 0], bool), np.array([0.9, 0.8, 0.2, 0.1])), np.arange(4))
    assert (few.value, few.low, few.high) == (1.0, None, None)
    assert "2 patients, fewer than 8 on one side" in few.method
    of_one_patient = roc.estimate(roc.area(np.array([1, 0, 1, 0], bool), np.array([0.9, 0.8, 0.2, 0.1])), np.zeros(4))
    assert of_one_patient.low is None
    assert roc.macro([None, None, None, None]) is None


def test_a_perfect_area_has_a_one_sided_limit():
    """Eight positives and as many of the twenty negatives make eight independent pairs, none in the wrong order."""
    positive = np.arange(28) < 8
    found = roc.estimate(roc.area(positive, 1.0 * positive), np.arange(28))
    quantile = student.ppf(0.975, 7)
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(8 / (8 + quantile**2)), 1.0)
    reverse = roc.estimate(roc.area(positive, -1.0 * positive), np.arange(28))
    assert (reverse.value, reverse.low, reverse.high) == (0.0, 0.0, pytest.approx(1 - found.low))
    stage, four = np.repeat(np.arange(4), 8), np.eye(4)[np.repeat(np.arange(4), 8)]
    macro = roc.estimate(roc.macro(roc.stage_areas(stage, four)), np.arange(32))
    assert (macro.value, macro.low, macro.high) == (1.0, pytest.approx(found.low), 1.0)


def test_a_patient_with_most_rows_of_a_side_leaves_no_interval():
    """With 200 of 230 rows of one patient, the interval of an area had 38.5 % coverage."""
    ids = np.r_[np.zeros(200, int), np.arange(1, 31)]
    positive, scores = np.r_[np.ones(200, bool), np.arange(30) < 15], np.random.default_rng(0).random(230)
    found = roc.estimate(roc.area(positive, scores), ids)
    assert (found.low, found.high) == (None, None)
    assert "one patient has 200 of 215 rows, more than a fifth on one side" in found.method


def test_few_patients_of_a_side_leave_no_test_of_a_difference():
    """With 2 positives of 62, 13 % of 1,500 tests of equal areas had p < 0.05; 8 are the fewest that are tested."""
    rng = np.random.default_rng(3)
    for positives, tested in ((2, False), (7, False), (8, True)):
        positive = np.arange(positives + 60) < positives
        one, other = (roc.area(positive, positive + rng.normal(size=len(positive))) for _ in range(2))
        found, p = roc.difference(one, other, np.arange(len(positive)))
        assert found.value == pytest.approx(one.value - other.value)
        assert (p is not None, found.low is not None) == (tested, tested)
        assert tested or f"{positives} patients, fewer than 8 on one side" in found.method


def test_the_curve_is_scikit_learns_and_stays_so_when_thinned():
    true, scores = stages(ROWS) == 1, probabilities(ROWS)[:, 1]
    false_rate, true_rate, _ = roc_curve(true, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.curve(true, scores), np.column_stack([false_rate, true_rate]))
    rng = np.random.default_rng(0)
    many = rng.random(20_000) < 0.3
    scores = rng.normal(size=20_000) + many
    thin = roc.curve(many, scores)
    assert len(thin) <= roc.POINTS_OF_A_CURVE
    assert tuple(thin[0]) == (0, 0)
    assert tuple(thin[-1]) == (1, 1)
    trapezia = np.diff(thin[:, 0]) * (thin[1:, 1] + thin[:-1, 1]) / 2
    assert trapezia.sum() == pytest.approx(roc.area(many, scores).value, abs=1e-3)
