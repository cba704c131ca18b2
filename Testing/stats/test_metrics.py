"""What the confusion matrix tells, against R's and scikit-learn's numbers."""

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
def told():
    return measure(stages(FIRST), probabilities(FIRST).argmax(axis=1), patients(FIRST))


def test_kappas_and_accuracy_are_those_of_r(told):
    for name, expected in REFERENCE["kappa"].items():
        assert getattr(told, f"kappa_{name}").value == pytest.approx(expected, abs=1e-10)
    wilson = REFERENCE["wilson"]
    assert told.accuracy.value == wilson["hits"] / wilson["n"]
    assert told.accuracy.low == pytest.approx(wilson["low"], abs=1e-10)
    assert told.accuracy.high == pytest.approx(wilson["high"], abs=1e-10)


def test_the_rest_is_scikit_learns(told):
    true, said = stages(FIRST), probabilities(FIRST).argmax(axis=1)
    np.testing.assert_array_equal(told.confusion, confusion_matrix(true, said))
    for k, (name, one) in enumerate(told.per_class.items()):
        assert name == f"T{k + 1}"
        assert one.sensitivity.value == pytest.approx(recall_score(true == k, said == k))
        assert one.specificity.value == pytest.approx(recall_score(true != k, said != k))
        assert one.ppv.value == pytest.approx(precision_score(true == k, said == k))
        assert one.npv.value == pytest.approx(precision_score(true != k, said != k))
        assert one.f1.value == pytest.approx(f1_score(true == k, said == k))
        assert one.n_positive == (true == k).sum()
    late = told.boundaries["T3-4 against T1-2"]
    assert late.sensitivity.value == pytest.approx(recall_score(true >= 2, said >= 2))
    assert late.f1.value == pytest.approx(f1_score(true >= 2, said >= 2))
    assert told.macro_f1.value == pytest.approx(f1_score(true, said, average="macro"))
    assert told.mean_absolute_error.value == pytest.approx(np.abs(true - said).mean())
    shares = told.accuracy.value + told.over_staged.value + told.under_staged.value
    assert shares == pytest.approx(1)
    assert told.over_staged.value == pytest.approx((said > true).mean())


def test_the_bootstrap_is_that_over_patients():
    """Against drawing the patients one by one, which is slower and says the same."""
    true, said, whose = stages(ROWS), probabilities(ROWS).argmax(axis=1), patients(ROWS)
    rng = np.random.default_rng(7)
    rows_of = [np.flatnonzero(whose == p) for p in range(whose.max() + 1)]
    drawn = []
    for _ in range(800):
        rows = np.concatenate([rows_of[p] for p in rng.integers(len(rows_of), size=len(rows_of))])
        drawn.append(cohen_kappa_score(true[rows], said[rows], weights="linear"))
    expected = np.quantile(drawn, [0.025, 0.975])
    told = measure(true, said, whose).kappa_linear
    assert told.low == pytest.approx(expected[0], abs=0.012)
    assert told.high == pytest.approx(expected[1], abs=0.012)
    assert "patient bootstrap" in told.method


def test_repeated_rows_of_a_patient_do_not_narrow_an_interval():
    true, said, whose = stages(FIRST), probabilities(FIRST).argmax(axis=1), patients(FIRST)
    once = measure(true, said, whose)
    thrice = measure(np.tile(true, 3), np.tile(said, 3), np.tile(whose, 3))
    naive = measure(np.tile(true, 3), np.tile(said, 3), np.arange(3 * len(true)))
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
    ("true", "said"),
    [([2], [2]), ([0, 0, 0], [0, 0, 0]), ([0, 1, 2], [3, 3, 3]), ([1, 1], [0, 2])],
    ids=["one row", "one stage", "never right", "stage never predicted"],
)
def test_what_is_not_defined_is_none_with_a_reason(true, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = measure(np.array(true), np.array(said), np.arange(len(true))).to_json()

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

    walk(told)
    if said == [3, 3, 3]:
        assert told["accuracy"]["value"] == 0
        assert told["per_class"]["T4"]["sensitivity"]["value"] is None


def test_one_patient_has_no_interval():
    told = measure(np.array([0, 1, 2]), np.array([0, 1, 1]), np.zeros(3, int))
    assert told.accuracy.value == pytest.approx(2 / 3)
    assert told.accuracy.low is None
    assert "one patient" in told.accuracy.method
