"""Intervals of whole evaluations: none has the width 0, and none counts one patient as many."""

import json

import numpy as np
import pandas as pd
import pytest

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


def evaluated(folder, table):
    table.to_csv(folder / "predictions.csv", index=False)
    found = evaluate(read_predictions(folder / "predictions.csv"))
    return found, dict(estimates(json.loads(json.dumps(found.to_json(), allow_nan=False))))


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
    for path, one in found.items():
        assert one["low"] is None or one["low"] < one["high"], path
        assert (one["low"] is None) == (one["high"] is None), path
        assert one["value"] is None or one["low"] is not None or "no interval" in one["method"], path
    for path in ("/accuracy", "/kappa/plain", "/kappa/quadratic", "/macro_f1", "/auc/macro", "/auc/per_class/T1",
                 "/per_class/T2/f1", "/per_class/T2/sensitivity"):  # fmt: skip
        assert (found[path]["value"], found[path]["high"]) == (1, 1)
        assert 0.7 < found[path]["low"] < 0.99
    assert found["/mean_absolute_error"]["low"] == 0 < found["/mean_absolute_error"]["high"] < 0.1


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
