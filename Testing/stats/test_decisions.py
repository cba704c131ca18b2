"""Net benefit against the package dcurves, and over- and under-treatment against the article's figures."""

import json
import warnings

import numpy as np
import pytest
from helpers.golden_data import ROWS, golden, patients, probabilities, stages
from scipy import stats

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.decisions import (
    DEFINITIONS,
    THRESHOLDS,
    TREAT_ALL,
    TREAT_NONE,
    at_least,
    decide,
    net_benefit,
    net_benefit_band,
    treatment,
)


def a_table(tp, fp, fn, tn):
    """Stages and predictions with these counts at T3, the stages within each side being of both kinds."""
    truth = np.repeat([2, 1, 2, 1], [tp, fp, fn, tn]) + np.arange(tp + fp + fn + tn) % 2 * np.repeat(
        [1, -1, 1, -1], [tp, fp, fn, tn]
    )
    return truth, np.repeat([3, 2, 1, 0], [tp, fp, fn, tn])


def of_the_cohort():
    truth, p = stages(ROWS), probabilities(ROWS)
    predicted = {"model": p.argmax(axis=1), "eus": stages(ROWS, "eus")}
    return truth, predicted, {"model": p}, patients(ROWS)


def test_net_benefit_is_dcurves_at_every_threshold():
    expected = golden("decisions")
    assert list(THRESHOLDS) == expected["thresholds"]
    found = decide(*of_the_cohort())
    assert [curve.event for curve in found.curves] == ["at least T2", "at least T3", "at least T4"]
    names = {"model": "model", "eus": "eus", TREAT_ALL: "all", TREAT_NONE: "none"}
    for curve in found.curves:
        assert set(curve.net_benefit) == set(names)
        for ours, theirs in names.items():
            assert curve.net_benefit[ours] == pytest.approx(expected[curve.event][theirs], abs=1e-9), ours


def test_net_benefit_by_hand():
    happened, predicted = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])
    found = net_benefit(happened, predicted, np.array([0.0, 0.4, 0.5, 0.95]))
    assert found == pytest.approx([2 / 4, 2 / 4 - 1 / 4 * 0.4 / 0.6, 1 / 4, 0.0])


def test_treating_all_starts_at_the_prevalence_and_a_readers_no_is_not_treated():
    truth, predicted, four, ids = of_the_cohort()
    for event, curve in zip((1, 2, 3), decide(truth, predicted, four, ids).curves, strict=True):
        assert curve.thresholds[0] == 0
        assert curve.net_benefit[TREAT_ALL][0] == curve.prevalence == np.mean(truth >= event)
        assert set(curve.net_benefit[TREAT_NONE]) == {0.0}
        assert curve.net_benefit["eus"][0] == pytest.approx(np.mean((truth >= event) & (predicted["eus"] >= event)))


def test_a_sum_of_probabilities_reaches_the_threshold_that_it_is_equal_to():
    p = np.array([[0.2, 0.0, 0.7, 0.1], [0.2, 0.0, 0.1, 0.7]])
    assert (0.7 + 0.1) < 0.8
    assert at_least(p, TStage.T3).tolist() == [0.8, 0.8]
    curve = decide(np.array([2, 3]), {}, {"model": p}, np.arange(2)).curves[1]
    assert curve.net_benefit["model"][80:82] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("tp", "fp", "fn", "over", "under", "nnt"),
    [(114, 5, 6, "2.09", "2.51", "2.19"), (78, 31, 42, "12.97", "17.57", "5.09")],
)
def test_the_definitions_give_the_articles_figures(tp, fp, fn, over, under, nnt):
    truth, predicted = a_table(tp, fp, fn, 239 - tp - fp - fn)
    found = treatment(truth, predicted, np.arange(239))
    assert (found.tp, found.fp, found.fn, found.tn) == (tp, fp, fn, 239 - tp - fp - fn)
    assert (f"{100 * found.over.value:.2f}", f"{100 * found.under.value:.2f}") == (over, under)
    assert f"{found.nnt.value:.2f}" == nnt
    at_half = net_benefit(truth >= 2, (predicted >= 2).astype(float), np.array([0.5]))[0]
    assert found.nnt.value == pytest.approx(1 / at_half)
    assert found.nnt.low < found.nnt.value < found.nnt.high
    for text in ("FP/N", "FN/N", "N/(TP − FP)", "prevalence"):
        assert text in DEFINITIONS


def test_the_interval_of_the_number_needed_to_treat_is_that_of_the_net_benefit():
    truth, predicted = a_table(114, 5, 6, 114)
    found = treatment(truth, predicted, np.arange(239)).nnt
    net = (114 - 5) / 239  # the mean of +1, -1 and 0: its normal interval is near enough to the bootstrap's
    half = 1.96 * (((114 + 5) / 239 - net**2) / 239) ** 0.5
    assert (1 / found.high, 1 / found.low) == pytest.approx((net - half, net + half), abs=0.01)


def test_the_band_of_a_net_benefit_is_that_of_the_mean_of_the_rows_gains():
    """With one row a patient, a net benefit is the mean of 1, -t / (1 - t) and 0."""
    truth, _, four, _ = of_the_cohort()
    ids = np.arange(len(truth))
    for curve, event in zip(decide(truth, {}, four, ids).curves, (1, 2, 3), strict=True):
        given = at_least(four["model"], TStage(event))
        for k in (10, 40, 60):
            harm = THRESHOLDS[k] / (1 - THRESHOLDS[k])
            gains = (given >= THRESHOLDS[k]) * np.where(truth >= event, 1.0, -harm)
            value, band = gains.mean(), curve.bands["model"][k]
            assert value == pytest.approx(curve.net_benefit["model"][k])
            low, middle, high = (np.log((x + harm) / (1 - x)) for x in (band[0], value, band[1]))
            assert high - middle == pytest.approx(middle - low)
            quantile = (high - middle) * (1 - value) * (value + harm) / (1 + harm) / stats.sem(gains)
            assert stats.t.ppf(0.975, len(ids) - 1) - 1e-9 <= quantile < 2.3  # few degrees where few rows vary


def test_bands_sum_within_patients_and_are_absent_without_treatment():
    truth, predicted, four, _ = of_the_cohort()
    ids = np.arange(len(truth))
    once = decide(truth, predicted, four, ids)
    twice = decide(*(np.repeat(one, 2) for one in (truth,)), {k: np.repeat(v, 2) for k, v in predicted.items()},
                   {k: np.repeat(v, 2, axis=0) for k, v in four.items()}, np.repeat(ids, 2))  # fmt: skip
    for one, other in zip(once.curves, twice.curves, strict=True):
        assert set(one.bands) == {"model", "eus"}  # not of treating all and none
        for name, band in one.bands.items():
            assert np.isnan(band).all(axis=1).tolist() == np.isnan(band).any(axis=1).tolist()
            np.testing.assert_allclose(other.bands[name], band, rtol=1e-9)
    nobody = decide(truth, {}, {"model": np.full((len(truth), 4), 0.25)}, ids).curves[2]
    assert np.isnan(nobody.bands["model"][30:]).all()
    plain = nobody.to_json()["bands"]["model"]
    assert plain[30] == [None, None]
    assert plain[10] == nobody.bands["model"][10].tolist()
    one_patient = decide(truth, predicted, four, np.r_[np.zeros(100, int), ids[100:]]).curves[0]
    assert np.isnan(one_patient.bands["model"]).all()


def test_a_band_is_not_narrower_than_that_of_independent_rows():
    """In each of 20 patients one row is treated rightly and one is not treated: patients alone would not vary."""
    happened, ids = np.tile([True, False], 20), np.repeat(np.arange(20), 2)
    low, high = net_benefit_band(happened, happened.astype(float), np.array([0.4]), ids)[0]
    value = 0.5
    # On the logit scale between -harm and 1, from the standard error of 40 independent rows.
    harm, error = 0.4 / 0.6, (0.25 / 40) ** 0.5
    below, middle, above = (np.log((x + harm) / (1 - x)) for x in (low, value, high))
    half = stats.t.ppf(0.975, 19) * error * (1 + harm) / ((1 - value) * (value + harm))
    assert (middle - below, above - middle) == pytest.approx((half, half))
    # Treating all rows of an event that all have, or none has, does not vary.
    for all_of_them in (np.ones(40, bool), np.zeros(40, bool)):
        assert np.isnan(net_benefit_band(all_of_them, np.ones(40), np.array([0.1, 0.7]), ids)).all()


def test_identical_pairs_of_rows_count_as_one_each():
    truth, predicted = a_table(30, 10, 10, 30)
    once = treatment(truth, predicted, np.arange(80))
    twice = treatment(np.repeat(truth, 2), np.repeat(predicted, 2), np.repeat(np.arange(80), 2))
    assert (twice.nnt.low, twice.nnt.high) == pytest.approx((once.nnt.low, once.nnt.high))
    assert twice.over.high == pytest.approx(once.over.high, abs=0.007)  # by Student's quantile
    assert "clustered" in twice.over.method


def test_the_lowest_treated_stage_is_t3():
    found = treatment(np.array([2, 2, 1, 0, 3]), np.array([2, 1, 2, 1, 3]), np.arange(5))
    assert (found.boundary, found.tp, found.fp, found.fn, found.tn) == ("T3", 2, 1, 1, 1)


def test_without_more_right_than_wrong_treatments_nnt_is_not_defined():
    found = treatment(*a_table(4, 4, 1, 1), np.arange(10))
    assert found.nnt.value is None
    assert "TP 4, FP 4" in found.nnt.method
    unsure = treatment(*a_table(5, 4, 1, 1), np.arange(11)).nnt
    assert unsure.value == 11
    assert unsure.low is unsure.high is None
    assert "no upper limit" in unsure.method


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_one_stage_or_one_row_raises_no_error(stage):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 7):
            truth, p = np.full(n, stage), np.full((n, 4), 0.25)
            found = decide(truth, {"model": p.argmax(axis=1)}, {"model": p}, np.arange(n))
            assert found.curves[2].prevalence == (stage == 3)
            assert found.treatment["model"].nnt.value is None
            assert json.loads(json.dumps(found.to_json(), allow_nan=False))["definitions"] == DEFINITIONS


def test_no_rows_and_names_that_are_taken_are_refused():
    with pytest.raises(InputError, match="0 rows"):
        decide(np.array([], int), {}, {}, np.array([], int))
    with pytest.raises(InputError, match="treat all"):
        decide(np.array([1]), {TREAT_ALL: np.array([1])}, {}, np.array([0]))
