"""Calibration against R, against scikit-learn, and against cases computed by hand."""

import json
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from helpers.golden_data import FIRST, ROWS, golden, patients, probabilities, stages
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import t as student
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import GroupKFold

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.calibration import (
    ECE_DEFINITION,
    calibrate,
    hosmer_lemeshow,
    multinomial_hosmer_lemeshow,
    ordinal_hosmer_lemeshow,
    quantile_groups,
    recalibration,
    reliability,
)
from GTRStagingLib.stats.decisions import at_least

EXPECTED = golden("calibration")
EVENTS = ["T1", "T2", "T3", "T4", "at least T2", "at least T3", "at least T4"]


def calibrated(rows, model="p", seed=0):
    return calibrate(stages(rows), probabilities(rows, model), patients(rows), seed=seed)


@pytest.fixture(scope="module")
def of_first():
    return calibrated(FIRST)


@pytest.fixture(scope="module")
def of_all():
    return calibrated(ROWS)


def simulated(n, sharpness, seed=0):
    """Stages drawn from probabilities, and the probabilities of a model overconfident by `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, 4))
    truth = (softmax(logits, axis=1).cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(0, 3)
    return truth, softmax(sharpness * logits, axis=1)


# -- bins, curves, ECE, Brier ------------------------------------------------------------------------------------------


def test_bins_have_equal_counts_and_do_not_split_equal_values():
    order = np.random.default_rng(1).permutation(20)
    assert quantile_groups(order).tolist() == (order // 2).tolist()
    assert quantile_groups(np.repeat([0, 1, 2], [17, 1, 2])).tolist() == [0] * 17 + [1] + [2] * 2
    assert quantile_groups(np.repeat([0, 1, 2], [18, 1, 1])).tolist() == [0] * 18 + [1] * 2
    assert quantile_groups(np.array([0.3, 0.3])).tolist() == [0, 0]
    assert quantile_groups(np.array([0.3])).tolist() == [0]
    values = np.round(np.random.default_rng(0).random(997), 2)
    groups = quantile_groups(values)
    assert all(len(set(groups[values == value])) == 1 for value in values)
    assert (np.diff(groups[np.argsort(values)]) >= 0).all()
    assert set(groups) == set(range(10))


@pytest.mark.parametrize("event", ["T2", "at least T3"])
def test_the_curve_is_rs(of_first, event):
    (found,) = [one.curve for one in of_first.events if one.event == event]
    expected = EXPECTED["curves"][event]
    assert [point.n for point in found] == expected["n"]
    assert [point.predicted for point in found] == pytest.approx(expected["predicted"], abs=1e-9)
    assert [point.observed.value for point in found] == pytest.approx(expected["observed"], abs=1e-9)
    assert all(point.observed.method == "Wilson, 95 %" for point in found)


def test_the_shares_of_a_curve_are_clustered_by_patient():
    happened, predicted = np.array([1, 1, 0, 0, 1, 0], bool), np.full(6, 0.5)
    (point,) = reliability(happened, predicted, np.array([0, 0, 1, 1, 2, 2]))
    assert (point.n, point.predicted, point.observed.value) == (6, 0.5, 0.5)
    assert "clustered by patient" in point.observed.method


def test_ece_and_brier_are_rs_and_scikit_learns(of_first):
    truth, p = stages(FIRST), probabilities(FIRST)
    assert of_first.ece.value == pytest.approx(EXPECTED["ece"]["top"], abs=1e-9)
    assert of_first.classwise_ece.value == pytest.approx(EXPECTED["ece"]["classwise"], abs=1e-9)
    assert of_first.brier.value == pytest.approx(EXPECTED["brier"]["all"], abs=1e-9)
    assert [one.event for one in of_first.events] == EVENTS
    for stage, one in zip(TStage, of_first.events, strict=False):
        assert one.brier.value == pytest.approx(brier_score_loss(truth == stage, p[:, stage]), abs=1e-12)
    for k, one in zip(("T2", "T3", "T4"), of_first.events[4:], strict=True):
        assert one.brier.value == pytest.approx(EXPECTED["val_prob"]["p"][k]["brier"], abs=1e-5)  # clipped there
    assert "equal count" in ECE_DEFINITION
    assert of_first.definition == ECE_DEFINITION


def test_an_ece_by_hand():
    # Two bins of one value each: |0.2 - 1/5| and |0.8 - 3/5|, in which the first is met exactly.
    happened = np.repeat([True, False, True, False], [1, 4, 3, 2])
    p = np.repeat([0.2, 0.8], 5)
    truth = np.where(happened, 3, 0)
    found = calibrate(truth, np.column_stack([1 - p, 0 * p, 0 * p, p]), np.arange(10), seed=0)
    assert found.events[3].ece.value == pytest.approx(0.1)
    assert found.events[1].ece.value == 0  # T2 is never predicted and never true
    # The top label is right in 4 of 5 and 3 of 5, with 0.8 each time, so in one bin.
    assert found.ece.value == pytest.approx(abs(0.8 - 0.7))


def test_the_intervals_of_losses_are_by_the_jackknife_over_patients(of_all):
    truth, p, ids = stages(ROWS), probabilities(ROWS), patients(ROWS)
    losses, number = ((p - np.eye(4)[truth]) ** 2).sum(axis=1), ids.max() + 1
    left = np.array([losses[ids != one].mean() for one in range(number)])
    error = float(((number - 1) / number * ((left - left.mean()) ** 2).sum()) ** 0.5)
    brier = of_all.brier
    assert brier.value == pytest.approx(losses.mean())
    low, value, high = (logit(x / 2) for x in (brier.low, brier.value, brier.high))  # between 0 and 2
    assert high - value == pytest.approx(value - low)
    half = 2 * error * student.ppf(0.975, number - 1) / (brier.value * (2 - brier.value))
    assert high - value == pytest.approx(half, rel=0.03)
    assert "jackknife over patients" in brier.method
    log = of_all.scaling.before.log_loss
    assert log.high / log.value == pytest.approx(log.value / log.low)
    assert calibrated(ROWS) == of_all


def test_identical_pairs_of_rows_count_as_one_each(of_first):
    twice = FIRST.loc[FIRST.index.repeat(2)]
    found = calibrated(twice)
    assert (found.n_rows, found.n_patients) == (480, 240)
    for one, other in [(found.brier, of_first.brier), (found.events[5].slope, of_first.events[5].slope)]:
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=1e-6)


@pytest.mark.parametrize("rows_of_one", [1, 3])
def test_an_ece_has_no_interval_but_what_chance_would_show(rows_of_one):
    """Perfectly calibrated cohorts: the errors are as large as stated, and all of it is chance."""
    found = []
    for seed in range(30):
        truth, p = simulated(240 // rows_of_one, 1.0, seed)
        ids = np.repeat(np.arange(len(truth)), rows_of_one)
        found.append(calibrate(truth[ids], p[ids], ids, seed=0).ece)
    assert all((one.low, one.high) == (None, None) for one in found)
    stated = [float(one.method.split("about ")[1].split(" ")[0]) for one in found]
    assert np.mean([one.value for one in found]) > 0.05
    assert np.mean(stated) == pytest.approx(np.mean([one.value for one in found]), rel=0.1)


@pytest.mark.parametrize("n", [1, 3, 60])
def test_an_ece_lies_between_0_and_1(n):
    """On a cohort that is always wrong and sure, the interval once reached 1.306."""
    truth = np.zeros(n, int)
    found = calibrate(truth, np.tile([0.0, 0, 0, 1], (n, 1)), np.arange(n), seed=0)
    for one in (found.ece, found.classwise_ece, *(event.ece for event in found.events)):
        assert 0 <= one.value <= 1
        assert one.high is None
    assert found.ece.value == 1


def test_losses_of_fewer_than_50_patients_have_no_interval():
    """In most rows they are near 0: with 20 patients, intervals of Brier scores of an event had 90 % coverage."""
    p = np.random.default_rng(2).dirichlet(np.ones(4), 50)
    for n in (49, 50):
        found = calibrate(np.arange(n) % 4, p[:n], np.arange(n), seed=0)
        losses = [event.brier for event in found.events]
        losses += [loss for side in (found.scaling.before, found.scaling.after) for loss in (side.brier, side.log_loss)]
        for one in (found.brier, *losses):
            assert (one.low is None) == (n == 49)
            assert (one.method.endswith("no interval, 49 patients, fewer than 50")) == (n == 49)


def test_a_loss_that_is_the_same_in_every_row_has_no_interval():
    truth, ids = np.arange(100) % 4, np.repeat(np.arange(50), 2)
    found = calibrate(truth, np.full((100, 4), 0.25), ids, seed=0).brier
    assert (found.value, found.low, found.high) == (pytest.approx(0.75), None, None)
    assert "does not vary" in found.method


# -- Hosmer-Lemeshow ---------------------------------------------------------------------------------------------------


def test_a_hosmer_lemeshow_test_by_hand():
    predicted = np.repeat([0.25, 0.5, 0.75], 4)
    happened = np.array([1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0], bool)  # 2, 2, 3 where 1, 2, 3 are expected
    found = hosmer_lemeshow(happened, predicted, np.arange(12))
    assert found.statistic == pytest.approx((2 - 1) ** 2 / 1 + (2 - 3) ** 2 / 3)
    assert (found.df, found.groups) == (3, 3)
    assert "external validation" in found.method


def assert_the_same(found, expected):
    assert (found.df, found.groups) == (expected["df"], expected["groups"])
    assert found.statistic == pytest.approx(expected["statistic"], rel=1e-7)
    assert found.p == pytest.approx(expected["p"], rel=1e-6)
    assert ("p is approximate" in found.method) == (expected["least"] < 1)


def test_the_tests_of_fit_are_rs():
    expected, fitted = EXPECTED["hosmer_lemeshow"], np.array(EXPECTED["fitted"]["multinomial"])
    truth, q, ids = stages(FIRST), probabilities(FIRST, "q"), np.arange(len(FIRST))
    late = truth >= TStage.T3
    assert_the_same(hosmer_lemeshow(late, at_least(q, TStage.T3), ids), expected["binary"])
    assert_the_same(ordinal_hosmer_lemeshow(truth, q, ids), expected["ordinal"])
    assert_the_same(multinomial_hosmer_lemeshow(truth, fitted, ids), expected["multinomial"])


def test_under_the_truth_the_tests_of_given_probabilities_reject_in_5_percent():
    rejected = np.zeros(3)
    for seed in range(400):
        truth, p = simulated(500, 1.0, seed)
        p = 0.8 * p + 0.05  # so that every cell expects a few
        truth = (p.cumsum(axis=1) < np.random.default_rng(seed + 1000).random(500)[:, None]).sum(axis=1).clip(0, 3)
        ids = np.arange(500)
        tests = [
            hosmer_lemeshow(truth >= TStage.T3, at_least(p, TStage.T3), ids),
            multinomial_hosmer_lemeshow(truth, p, ids),
            ordinal_hosmer_lemeshow(truth, p, ids),
        ]
        rejected += [one.p < 0.05 for one in tests]
    assert rejected / 400 == pytest.approx(0.05, abs=0.03)


def test_a_test_of_fit_states_its_assumptions_and_why_it_is_not_defined(of_all):
    joint = of_all.multinomial
    assert "300 rows are of 240 patients" in joint.method
    assert hosmer_lemeshow(np.array([True, False]), np.array([0.4, 0.6]), np.arange(2)).method == (
        "not defined: 2 groups by the prediction, at least 3 are required"
    )
    none = hosmer_lemeshow(np.arange(30) % 2 == 0, np.repeat([0, 0.5, 1], 10), np.arange(30))
    assert none.statistic is none.df is none.p is None
    assert "no row of a class is expected" in none.method


# -- recalibration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["p", "q"])
@pytest.mark.parametrize("which", ["first", "all"])
def test_intercept_and_slope_are_rs(model, which):
    rows = {"first": FIRST, "all": ROWS}[which]
    for stage in list(TStage)[1:]:
        predicted = at_least(probabilities(rows, model), stage)
        expected = EXPECTED["recalibration"][which][model][str(stage)]
        for name, found in zip(
            ("intercept", "slope"), recalibration(stages(rows) >= stage, predicted, patients(rows)), strict=True
        ):
            assert found.value == pytest.approx(expected[name][0], abs=2e-6), (stage, name)
            # R's interval is Wald's: of the model's variance, or of the sandwich for clusters. The jackknife does not
            # assume the model, so that it may be narrower than the first, but is as wide as the second.
            width, of_wald = found.high - found.low, expected[name][2] - expected[name][1]
            assert (1 if which == "all" else 0.8) < width / of_wald < 1.5, (stage, name)
            assert found.value - found.low == pytest.approx(found.high - found.value)
            assert ("clustered" in found.method) == (which == "all")
        if which == "first":
            assert found.value == pytest.approx(EXPECTED["val_prob"][model][str(stage)]["slope"], abs=1e-5)


def test_the_error_of_a_slope_is_that_of_fits_without_each_patient():
    """Against statsmodels, which fits each of them from the start; one Newton step is nearly as far."""
    stage, ids = stages(ROWS), patients(ROWS)
    happened, odds = stage >= TStage.T3, logit(np.clip(at_least(probabilities(ROWS), TStage.T3), 1e-6, 1 - 1e-6))
    for at, found in enumerate(recalibration(happened, expit(odds), ids)):
        left = []
        for one in range(ids.max() + 1):
            rows = ids != one
            design = sm.add_constant(odds[rows]) if at else np.ones((rows.sum(), 1))
            model = sm.GLM(happened[rows], design, sm.families.Binomial(), offset=None if at else odds[rows])
            left.append(model.fit().params[-1])
        k, left = len(left), np.array(left)
        error = float(((k - 1) / k * ((left - left.mean()) ** 2).sum()) ** 0.5)
        assert found.high - found.value >= 0.95 * student.ppf(0.975, k - 1) * error
        assert found.high - found.value == pytest.approx(student.ppf(0.975, k - 1) * error, rel=0.1)


def test_a_distortion_of_the_log_odds_is_found_again():
    rng = np.random.default_rng(0)
    odds = 1.5 * rng.normal(size=40_000)
    happened = rng.random(40_000) < expit(0.5 + 0.7 * odds)
    intercept, slope = recalibration(happened, expit(odds), np.arange(40_000))
    assert slope.low < 0.7 < slope.high
    assert slope.high - slope.low < 0.05
    assert intercept.low > 0.3


def test_predictions_of_0_and_1_are_limited_and_counted():
    happened, predicted = np.array([1, 0, 1, 0, 1, 0], bool), np.array([1, 0, 0, 0.6, 0.7, 0.5])
    intercept, slope = recalibration(happened, predicted, np.arange(6))
    assert "3 predictions limited to 1e-06 from 0 and 1" in intercept.method
    assert "3 predictions limited" in slope.method
    residual = happened - expit(intercept.value + logit(np.clip(predicted, 1e-6, 1 - 1e-6)))
    assert residual.sum() == pytest.approx(0, abs=1e-6)  # what the likelihood asks of it


@pytest.mark.parametrize(
    ("happened", "predicted", "intercept", "slope"),
    [
        ([1, 1, 1], [0.2, 0.5, 0.9], "every row", "every row"),
        ([0, 0, 0], [0.2, 0.5, 0.9], "no row", "no row"),
        ([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], None, "separate"),
        ([1, 0, 1, 0], [0.1, 0.9, 0.2, 0.8], None, "separate"),
        ([0, 1, 0, 1], [0.1, 0.5, 0.5, 0.8], None, "separate"),
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3], None, "equal"),
    ],
)
def test_without_a_best_fit_the_reason_is_given(happened, predicted, intercept, slope):
    both = recalibration(np.array(happened, bool), np.array(predicted), np.arange(len(happened)))
    for found, reason in zip(both, (intercept, slope), strict=True):
        assert (found.value is None) == (reason is not None)
        assert (reason or "jackknife") in found.method


# -- temperature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["p", "q"])
def test_temperature_and_log_loss_are_rs(model):
    found = calibrated(ROWS, model).scaling
    assert found.temperature.value == pytest.approx(EXPECTED["temperature"][model], rel=1e-4)
    assert found.before.log_loss.value == pytest.approx(EXPECTED["log_loss"][model], abs=2e-6)
    assert found.after.log_loss.value < found.before.log_loss.value


def test_temperatures_are_cross_fitted_by_patient(of_all):
    truth, ids = stages(ROWS), patients(ROWS)
    logs = np.log(np.maximum(probabilities(ROWS), 1e-6))
    searched = np.geomspace(0.8, 2.5, 2000)
    scaled = np.zeros_like(logs)
    for others, rows in GroupKFold(5).split(logs, groups=ids):
        assert not set(ids[others]) & set(ids[rows])
        losses = -log_softmax(logs[others] / searched[:, None, None], axis=2)[:, np.arange(len(others)), truth[others]]
        scaled[rows] = softmax(logs[rows] / searched[losses.mean(axis=1).argmin()], axis=1)
    after = of_all.scaling.after
    assert after.log_loss.value == pytest.approx(log_loss(truth, scaled), abs=1e-5)
    assert after.brier.value == pytest.approx(((scaled - np.eye(4)[truth]) ** 2).sum(axis=1).mean(), abs=1e-4)
    assert "5 folds of patients" in of_all.scaling.temperature.method


def test_a_temperature_corrects_an_overconfident_model():
    found = calibrate(*simulated(4000, 2.0), np.arange(4000), seed=0)
    assert found.scaling.temperature.value == pytest.approx(2.0, rel=0.1)
    assert found.scaling.after.ece.value < 0.4 * found.scaling.before.ece.value
    assert found.events[5].slope.high < 0.7  # not 1 over 2: collapsing stages is no straight line


# -- what a table may be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("stage", [0, 3])
def test_few_rows_of_one_stage_raise_no_error(n, stage):
    rng = np.random.default_rng(n)
    for p in (np.full((n, 4), 0.25), np.tile([1.0, 0, 0, 0], (n, 1)), softmax(rng.normal(size=(n, 4)), axis=1)):
        for ids in (np.arange(n), np.zeros(n, int), np.arange(n) // 2):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = calibrate(np.full(n, stage), p, ids, seed=0)
            assert found.events[stage].slope.value is None
            text = json.dumps(found.to_json(), allow_nan=False)
            assert "NaN" not in text
            if ids.max() == 0:
                assert found.scaling.temperature.value is found.scaling.after.ece.value is None
                assert "one patient" in found.scaling.after.brier.method


def test_a_stage_that_is_absent_leaves_the_others_as_they_are(of_all):
    rows = ROWS[ROWS["stage"] != "T1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrated(rows)
    by_event = {one.event: one for one in found.events}
    assert "no row" in by_event["T1"].slope.method
    assert "every row" in by_event["at least T2"].intercept.method
    assert by_event["at least T3"].slope.value is not None
    assert found.clipped == (probabilities(rows) < 1e-6).any(axis=1).sum() > 0


def test_invalid_predictions_are_refused():
    p = np.full((3, 4), 0.25)
    with pytest.raises(InputError, match="0 stages"):
        calibrate(np.array([], int), np.zeros((0, 4)), np.array([], int), seed=0)
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        calibrate(np.zeros(3, int), p[:, :3], np.arange(3), seed=0)
    with pytest.raises(InputError, match="missing"):
        calibrate(np.zeros(3, int), p * np.nan, np.arange(3), seed=0)
    with pytest.raises(InputError, match="above 1"):
        calibrate(np.zeros(3, int), p * 5, np.arange(3), seed=0)
