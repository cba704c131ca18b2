"""Measures of the confusion matrix, against R's and scikit-learn's numbers."""

import warnings

import numpy as np
import pytest
from helpers.golden_data import FIRST, ROWS, golden, patients, probabilities, stages
from sklearn.metrics import (
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
)

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


def test_the_bootstrap_is_that_over_patients():
    """Against drawing the patients one by one, which is slower and gives the same."""
    true, predicted, ids = stages(ROWS), probabilities(ROWS).argmax(axis=1), patients(ROWS)
    rng = np.random.default_rng(7)
    rows_of = [np.flatnonzero(ids == p) for p in range(ids.max() + 1)]
    drawn = []
    for _ in range(800):
        rows = np.concatenate([rows_of[p] for p in rng.integers(len(rows_of), size=len(rows_of))])
        drawn.append(cohen_kappa_score(true[rows], predicted[rows], weights="linear"))
    expected = np.quantile(drawn, [0.025, 0.975])
    found = measure(true, predicted, ids).kappa_linear
    assert found.low == pytest.approx(expected[0], abs=0.012)
    assert found.high == pytest.approx(expected[1], abs=0.012)
    assert "patient bootstrap" in found.method


def test_repeated_rows_of_a_patient_do_not_narrow_an_interval():
    true, predicted, ids = stages(FIRST), probabilities(FIRST).argmax(axis=1), patients(FIRST)
    once = measure(true, predicted, ids)
    thrice = measure(np.tile(true, 3), np.tile(predicted, 3), np.tile(ids, 3))
    naive = measure(np.tile(true, 3), np.tile(predicted, 3), np.arange(3 * len(true)))
    for name in ("accuracy", "kappa_quadratic", "mean_absolute_error"):
        a, b, c = (getattr(m, name) for m in (once, thrice, naive))
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.05), name
        assert c.high - c.low < 0.7 * (a.high - a.low), name
    assert "clustered by patient" in thrice.accuracy.method
    assert (thrice.n_rows, thrice.n_patients) == (3 * len(true), len(true))


def test_the_seed_decides():
    arguments = stages(ROWS), probabilities(ROWS).argmax(axis=1), patients(ROWS)
    assert measure(*arguments, seed=3).to_json() == measure(*arguments, seed=3).to_json()
    assert measure(*arguments, seed=3).kappa_plain.low != measure(*arguments, seed=4).kappa_plain.low


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
