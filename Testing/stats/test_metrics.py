"""Measures of the confusion matrix, against R's and scikit-learn's numbers."""

import warnings

import numpy as np
import pytest
from helpers.golden_data import FIRST, ROWS, golden, patients, probabilities, stages
from scipy.stats import t as student
from sklearn.metrics import (
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)
from statsmodels.stats.proportion import proportion_confint

from GTRStagingLib.stats.estimates import at_most
from GTRStagingLib.stats.metrics import measure

REFERENCE = golden("discrimination")


@pytest.fixture(scope="module")
def found():
    return measure(stages(FIRST), probabilities(FIRST).argmax(axis=1), patients(FIRST))


def test_kappas_and_accuracy_are_those_of_r(found):
    for name, expected in REFERENCE["kappa"].items():
        assert getattr(found, f"kappa_{name}").value == pytest.approx(expected, abs=1e-10)
    wilson = REFERENCE["wilson"]
    assert found.accuracy.value == wilson["hits"] / wilson["n"]
    assert found.accuracy.low == pytest.approx(wilson["low"], abs=1e-10)
    assert found.accuracy.high == pytest.approx(wilson["high"], abs=1e-10)


def test_other_measures_equal_those_of_scikit_learn(found):
    true, predicted = stages(FIRST), probabilities(FIRST).argmax(axis=1)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(true, predicted))
    for k, (name, one) in enumerate(found.per_class.items()):
        assert name == f"T{k + 1}"
        assert one.sensitivity.value == pytest.approx(recall_score(true == k, predicted == k))
        assert one.specificity.value == pytest.approx(recall_score(true != k, predicted != k))
        assert one.ppv.value == pytest.approx(precision_score(true == k, predicted == k))
        assert one.npv.value == pytest.approx(precision_score(true != k, predicted != k))
        assert one.f1.value == pytest.approx(f1_score(true == k, predicted == k))
        assert one.n_positive == (true == k).sum()
    late = found.boundaries["T3-4 against T1-2"]
    assert late.sensitivity.value == pytest.approx(recall_score(true >= 2, predicted >= 2))
    assert late.f1.value == pytest.approx(f1_score(true >= 2, predicted >= 2))
    assert found.macro_f1.value == pytest.approx(f1_score(true, predicted, average="macro"))
    assert found.mean_absolute_error.value == pytest.approx(np.abs(true - predicted).mean())
    shares = found.accuracy.value + found.over_staged.value + found.under_staged.value
    assert shares == pytest.approx(1)
    assert found.over_staged.value == pytest.approx((predicted > true).mean())


@pytest.mark.parametrize(
    ("name", "statistic", "least"),
    [
        ("kappa_linear", lambda a, b: cohen_kappa_score(a, b, weights="linear"), None),
        ("mean_absolute_error", lambda a, b: np.abs(a - b).mean(), 0),
        ("macro_f1", lambda a, b: f1_score(a, b, average="macro"), 0),
    ],
)
def test_errors_are_those_of_leaving_out_each_patient(name, statistic, least):
    """Against scikit-learn on the rows without each patient."""
    true, predicted, ids = stages(ROWS), probabilities(ROWS).argmax(axis=1), patients(ROWS)
    left = np.array([statistic(true[ids != one], predicted[ids != one]) for one in range(ids.max() + 1)])
    k, found = len(left), getattr(measure(true, predicted, ids), name)
    error = float(((k - 1) / k * ((left - left.mean()) ** 2).sum()) ** 0.5)
    most = {"mean_absolute_error": 3}.get(name, 1)
    if least is None:  # the largest disagreement is 3 stages in every row
        table = confusion_matrix(true, predicted)
        by_chance = (
            np.outer(table.sum(axis=1), table.sum(axis=0)) * np.abs(np.subtract.outer(range(4), range(4)))
        ).sum()
        least = 1 - 3 * table.sum() ** 2 / by_chance
    low, value, high = (np.log((x - least) / (most - x)) for x in (found.low, found.value, found.high))
    assert high - value == pytest.approx(value - low)
    half = student.ppf(0.975, ids.max()) * error * (most - least) / ((found.value - least) * (most - found.value))
    assert high - value == pytest.approx(half, rel=0.02)
    assert "jackknife over patients" in found.method


def test_f1_has_the_interval_of_the_share_of_true_positives():
    """F1 = 2 J / (1 + J) of the share J of hits among the rows that are of the stage or called so."""
    true, predicted = stages(FIRST), probabilities(FIRST).argmax(axis=1)
    hits, among = ((true == 2) & (predicted == 2)).sum(), ((true == 2) | (predicted == 2)).sum()
    low, high = (2 * j / (1 + j) for j in proportion_confint(hits, among, method="wilson"))
    found = measure(true, predicted, patients(FIRST)).per_class["T3"].f1
    assert (found.low, found.high) == pytest.approx((low, high))


def test_predictions_without_an_error_have_one_sided_limits():
    """Fifteen patients of each stage; none of 60 is an error, and an error is one stage off."""
    true = np.arange(60) % 4
    found = measure(true, true, np.arange(60))
    most = at_most(60)
    assert most == pytest.approx(student.ppf(0.975, 59) ** 2 / (60 + student.ppf(0.975, 59) ** 2))
    assert (found.mean_absolute_error.low, found.mean_absolute_error.high) == (0, most)
    # Disagreement by chance of four equal stages: 3/4, (6 * 1 + 4 * 2 + 2 * 3) / 16 and (6 * 1 + 4 * 4 + 2 * 9) / 16.
    for name, by_chance in (("plain", 0.75), ("linear", 1.25), ("quadratic", 2.5)):
        kappa = getattr(found, f"kappa_{name}")
        assert (kappa.value, kappa.low, kappa.high) == (1, pytest.approx(1 - most / by_chance), 1)
    share = 1 - at_most(15)
    assert (found.macro_f1.low, found.macro_f1.high) == (pytest.approx(2 * share / (1 + share)), 1)


def test_repeated_rows_of_a_patient_do_not_narrow_an_interval():
    true, predicted, ids = stages(FIRST), probabilities(FIRST).argmax(axis=1), patients(FIRST)
    once = measure(true, predicted, ids)
    thrice = measure(np.tile(true, 3), np.tile(predicted, 3), np.tile(ids, 3))
    naive = measure(np.tile(true, 3), np.tile(predicted, 3), np.arange(3 * len(true)))
    for name in ("accuracy", "kappa_quadratic", "mean_absolute_error", "macro_f1"):
        a, b, c = (getattr(m, name) for m in (once, thrice, naive))
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.05), name
        assert c.high - c.low < 0.7 * (a.high - a.low), name
    assert "clustered by patient" in thrice.accuracy.method
    assert (thrice.n_rows, thrice.n_patients) == (3 * len(true), len(true))


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([2], [2]), ([0, 0, 0], [0, 0, 0]), ([0, 1, 2], [3, 3, 3]), ([1, 1], [0, 2])],
    ids=["one row", "one stage", "never right", "stage never predicted"],
)
def test_undefined_measures_are_none_with_a_reason(true, predicted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(np.array(true), np.array(predicted), np.arange(len(true))).to_json()

    def walk(node):
        if isinstance(node, dict):
            if set(node) == {"value", "low", "high", "method"}:
                if node["value"] is None:
                    assert node["low"] is None
                    assert "not defined" in node["method"]
                else:
                    assert np.isfinite(node["value"])
                    assert (node["low"] is None) or node["low"] <= node["value"] + 1e-12 <= node["high"] + 2e-12
                return
            for one in node.values():
                walk(one)

    walk(found)
    if predicted == [3, 3, 3]:
        assert found["accuracy"]["value"] == 0
        assert found["per_class"]["T4"]["sensitivity"]["value"] is None


def test_one_patient_has_no_interval():
    found = measure(np.array([0, 1, 2]), np.array([0, 1, 1]), np.zeros(3, int))
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert found.accuracy.low is None
    assert "one patient" in found.accuracy.method
