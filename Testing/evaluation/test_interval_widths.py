"""Intervals of whole evaluations: none has the width 0, and none counts one patient as many."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions


def estimates(node, path=""):
    if isinstance(node, dict) and {"value", "low", "high", "method"} <= node.keys():
        yield path, node
    elif isinstance(node, dict):
        for name, one in node.items():
            yield from estimates(one, f"{path}/{name}")
    elif isinstance(node, list):
        for place, one in enumerate(node):
            yield from estimates(one, f"{path}/{place}")


def numbers_of(found):
    """Every estimate of an evaluation's metrics.json by its path; each must obey the rules of intervals."""
    result = dict(estimates(json.loads(json.dumps(found.to_json(), allow_nan=False))))
    for path, one in result.items():
        assert one["low"] is None or one["low"] < one["high"], path
        assert (one["low"] is None) == (one["high"] is None), path
        assert one["value"] is None or one["low"] is not None or "no interval" in one["method"], path
        if "/ece" in path.lower() and one["value"] is not None:
            assert 0 <= one["value"] <= 1, path
            assert one["low"] is None, path
    assert any("/ece" in path.lower() for path in result)
    return result


def evaluated(folder, table, **options):
    table.to_csv(folder / "predictions.csv", index=False)
    found = evaluate(read_predictions(folder / "predictions.csv"), **options)
    return found, numbers_of(found)


def perfect(n=60, rows=1):
    """Stages of sure and right predictions, a reader who is right, and a map that meets the ROI."""
    stages = np.repeat(np.arange(n) % 4, rows)
    table = pd.DataFrame(np.eye(4)[stages], columns=[f"prob_{k}" for k in range(4)])
    table.insert(0, "case_id", [f"c{k}" for k in range(len(stages))])
    table.insert(1, "patient_id", [f"p{k}" for k in np.repeat(np.arange(n), rows)])
    table.insert(2, "true_label", stages)
    for name in ("reader1", "reader2_unaided", "reader2_aided"):
        table[name] = [f"T{stage + 1}" for stage in stages]
    return table.assign(dice=1.0, chance_dice=0.0)


@pytest.mark.parametrize("rows", [1, 3])
def test_no_interval_of_a_perfect_evaluation_has_the_width_0(tmp_path, rows):
    _, found = evaluated(tmp_path, perfect(rows=rows))
    assert len(found) > 150
    for path in ("/accuracy", "/kappa/plain", "/kappa/quadratic", "/macro_f1", "/auc/macro", "/auc/per_class/T1",
                 "/per_class/T2/f1", "/per_class/T2/sensitivity"):  # fmt: skip
        assert (found[path]["value"], found[path]["high"]) == (1, 1)
        assert 0.7 < found[path]["low"] < 0.99
    assert found["/mean_absolute_error"]["low"] == 0 < found["/mean_absolute_error"]["high"] < 0.1


@pytest.mark.smoke
def test_the_perfect_scores_of_the_test_data_have_no_interval_of_width_0():
    """40 right and sure predictions: the lower limits are those of no error in so many patients."""
    found = evaluate(read_predictions(shared("cases/perfect-scores/perfect.csv")))
    numbers = numbers_of(found)
    n, quantile = 40, stats.t.ppf(0.975, 39)
    assert (numbers["/accuracy"]["value"], numbers["/accuracy"]["high"]) == (1, 1)
    assert numbers["/accuracy"]["low"] == pytest.approx(proportion_confint(n, n, method="wilson")[0])
    errors = quantile**2 / (n + quantile**2)
    assert numbers["/mean_absolute_error"]["high"] == pytest.approx(errors)
    assert numbers["/kappa/plain"]["low"] == pytest.approx(1 - errors / 0.75)  # ten of each stage
    assert {numbers[f"/auc/{name}"]["high"] for name in ("macro", "micro", "per_class/T4")} == {1}
    assert numbers["/auc/per_class/T4"]["low"] < 0.75  # ten patients of the stage
    assert not any("more than a fifth" in note for note in found.notes)


def study(kind, design, n=96, rows=1):
    """Two readers in two phases, in two cohorts; they and the model are all right, all wrong, or fairly right."""
    rng = np.random.default_rng(7)
    table = perfect(n, rows).drop(columns=["reader1", "reader2_unaided", "reader2_aided"])
    stages = table["true_label"].to_numpy()

    def read():
        other = (stages + 1 + rng.integers(0, 3, len(stages))) % 4
        return {
            "perfect": stages,
            "wrong": np.array([1, 0, 3, 2])[stages],
            "opposite": np.array([2, 3, 0, 1])[stages],
            "fair": np.where(rng.random(len(stages)) < 0.7, stages, other),
        }[kind]

    number = table["patient_id"].str[1:].astype(int).to_numpy()
    half = number < n // 2
    for reader in ("reader1", "reader2"):
        for phase, own in (("unaided", half), ("aided", ~half)):
            words = [f"T{stage + 1}" for stage in read()]
            table[f"{reader}_{phase}"] = words if design == "same patients" else np.where(own, words, "")
    table[[f"prob_{k}" for k in range(4)]] = 0.9 * np.eye(4)[read()] + 0.025
    cohort = np.where(number // 4 % 2, "B", "A")  # each with every stage
    return table.assign(eus=[f"T{stage + 1}" for stage in read()], cohort=cohort)


@pytest.mark.parametrize("design", ["same patients", "other patients"])
@pytest.mark.parametrize(("kind", "rows"), [("perfect", 1), ("perfect", 3), ("wrong", 1), ("opposite", 3), ("fair", 3)])
def test_no_interval_of_readers_and_cohorts_has_the_width_0(tmp_path, kind, design, rows):
    found, numbers = evaluated(tmp_path, study(kind, design, rows=rows), cohort_column="cohort")
    assert [row.overlap.design for row in found.study.rows] == 3 * [
        "paired" if design == "same patients" else "unpaired"
    ]
    analysed = [one for path, one in numbers.items() if path.startswith("/reader_study/mrmc")]
    assert len(analysed) == 20  # accuracy and area, five effects, random and fixed readers
    if kind == "perfect":
        assert all(one["low"] is None and "the figures do not vary" in one["method"] for one in analysed)
    tests = found.cohorts.heterogeneity
    assert all(one.p is None or 0 < one.p <= 1 for one in tests)
    if kind == "perfect":
        assert {one.statistic for one in tests} == {0.0, None}
    gains = [one for row in found.study.rows for one in row.gains if one.measure == "accuracy"]
    by_patient = [one for one in gains if "exact" not in one.test]
    if design == "other patients":
        # From the two intervals: wide also where all readings of both phases are right, or all are wrong.
        assert all(one.estimate.low < one.estimate.value < one.estimate.high for one in by_patient)
    elif kind != "fair":
        assert all((one.estimate.low, one.p) == (None, None) for one in by_patient)


def test_a_patient_with_most_rows_leaves_neither_several_readers_nor_cohorts_an_interval(tmp_path):
    table = study("fair", "same patients", n=60)
    table = pd.concat([table, table.iloc[[0] * 100]], ignore_index=True)
    table["case_id"] = [f"c{k}" for k in range(len(table))]
    found, numbers = evaluated(tmp_path, table, cohort_column="cohort")
    assert any("One patient has 101 of 160 rows, more than a fifth" in note for note in found.notes)
    analysed = [one for path, one in numbers.items() if path.startswith("/reader_study/mrmc")]
    assert all(one["low"] is None and "one patient has" in one["method"] for one in analysed)
    assert {one.p for part in found.study.mrmc for one in part.effects} == {None}
    by_measure = {one.measure: one for one in found.cohorts.heterogeneity}
    assert "random assignments" in by_measure["accuracy"].method
    assert "A has no reliable standard error: one patient has" in by_measure["macro AUC"].method


@pytest.mark.parametrize("seed", range(8))
def test_the_calibration_error_of_any_probabilities_is_between_0_and_1(tmp_path, seed):
    rng = np.random.default_rng(seed)
    table = perfect(24, rows=1 + seed % 3)
    sharp = rng.dirichlet(np.full(4, (0.01, 0.3, 5)[seed % 3]), len(table))
    wrong = np.eye(4)[(table["true_label"] + 1) % 4]
    table[[f"prob_{k}" for k in range(4)]] = wrong if seed > 5 else sharp
    _, numbers = evaluated(tmp_path, table)
    if seed > 5:
        assert numbers["/calibration/ece"]["value"] == pytest.approx(1)


def test_a_patient_with_most_of_the_rows_is_noted_and_leaves_no_interval(tmp_path):
    rng = np.random.default_rng(3)
    table = perfect(31).drop(columns=["reader1", "reader2_unaided", "reader2_aided"])
    table = pd.concat([table, table.iloc[[0] * 200]], ignore_index=True)
    table["case_id"] = [f"c{k}" for k in range(len(table))]
    table[[f"prob_{k}" for k in range(4)]] = rng.dirichlet(np.ones(4), len(table))
    table["dice"] = rng.random(len(table))
    found, numbers = evaluated(tmp_path, table)
    assert any("One patient has 201 of 231 rows, more than a fifth" in note for note in found.notes)
    for path in ("/accuracy", "/kappa/linear", "/auc/macro", "/auc/micro", "/mean_absolute_error",
                 "/attention/measures/dice/all/mean"):  # fmt: skip
        assert numbers[path]["value"] is not None
        assert numbers[path]["low"] is None
        assert "one patient has 201 of 231 rows" in numbers[path]["method"] or "one patient" in numbers[path]["method"]
    fine, _ = evaluated(tmp_path, perfect())
    assert not any("more than a fifth" in note for note in fine.notes)


def test_few_patients_with_equally_many_rows_are_not_called_one_patient(tmp_path):
    found, _ = evaluated(tmp_path, perfect(6, rows=2))
    assert "Numbers of all rows have no interval: 6 patients, fewer than 8." in found.notes
    assert not any("this patient" in note for note in found.notes)
