"""Calibration of stage sets by patient, and their coverage."""

import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.set_calibration import calibrate_sets
from GTRStagingLib.stats.set_coverage import set_coverage
from GTRStagingLib.stats.split_scores import SplitLogits

ABOUT = {"digest": "ab" * 32, "source": "planted"}


def seen_of(stages, patients, logits):
    n = len(stages)
    return SplitLogits(np.log(np.array(logits)), np.arange(n), np.zeros(n, int), np.array(stages), patients)


def test_the_first_case_of_each_patient_counts():
    """Nine patients of T1, whose second cases are all wrong: only right first cases have a score of 0."""
    right, wrong = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]
    patients = [str(i) for i in range(9)]
    seen = seen_of([0] * 18, patients * 2, [right] * 9 + [wrong] * 9)
    found = calibrate_sets(seen, 1.0, 0.9, **ABOUT)
    assert found["scores"] == {"T1": [0.0] * 9, "T2": [], "T3": [], "T4": []}
    assert found["patients"] == {"T1": 9, "T2": 0, "T3": 0, "T4": 0}


def test_scores_are_of_the_true_stage_at_the_temperature():
    """At temperature 2 the odds of 16 to 1 become 4 to 1: shares 4, 1, 1, 1 of 7."""
    seen = seen_of([1] * 9, [str(i) for i in range(9)], [[16 / 19, 1 / 19, 1 / 19, 1 / 19]] * 9)
    assert calibrate_sets(seen, 2.0, 0.9, **ABOUT)["scores"]["T2"] == [pytest.approx(6 / 7, abs=1e-6)] * 9


def test_too_few_patients_of_every_stage_are_refused_with_their_numbers():
    seen = seen_of([0] * 8 + [2] * 3, [str(i) for i in range(11)], [[0.25] * 4] * 11)
    with pytest.raises(InputError, match=r"T1 8, T2 0, T3 3, T4 0 patients; expected 9 or more of a stage for 90 %"):
        calibrate_sets(seen, 1.0, 0.9, **ABOUT)


def test_coverage_and_size_by_stage():
    stages = np.array([0, 0, 1, 3, 3])
    sets = np.array([[0, 0], [1, 2], [0, 2], [2, 3], [0, 3]])
    found = set_coverage(stages, sets, np.arange(5), without=2)
    assert {name: one.value for name, one in found.coverage.items()} == {
        "all": 0.8, "T1": 0.5, "T2": 1.0, "T3": None, "T4": 1.0
    }  # fmt: skip
    assert {name: one.value for name, one in found.size.items()} == {
        "all": pytest.approx(2.4), "T1": 1.5, "T2": 3.0, "T3": None, "T4": 3.0
    }  # fmt: skip
    assert (found.rows, found.without) == (5, 2)
    assert found.to_json()["coverage"]["T3"]["method"] == "not defined: no rows"


def test_rows_of_one_patient_do_not_narrow_the_interval():
    stages = np.repeat([int(TStage.T2)] * 40, 2)
    sets = np.repeat([[1, 1]] * 30 + [[2, 2]] * 10, 2, axis=0)
    twice = set_coverage(stages, sets, np.repeat(np.arange(40), 2)).coverage["all"]
    once = set_coverage(stages[::2], sets[::2], np.arange(40)).coverage["all"]
    assert twice.low == pytest.approx(once.low, abs=0.01)
