"""SplitScores against other implementations, and a temperature against a search."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss, roc_auc_score

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.split_scores import SplitLogits, case_votes, fitted_temperature, scores, slice_loss


def a_split(cases=40, sharpness=1.0, seed=0):
    rng = np.random.default_rng(seed)
    stages = np.arange(cases) % 4
    case = np.repeat(np.arange(cases), 3)
    logits = rng.normal(size=(3 * cases, 4)) + 1.5 * np.eye(4)[stages[case]]
    return SplitLogits(
        logits=sharpness * logits,
        case=case,
        offsets=np.tile([-1, 0, 1], cases),
        stages=stages,
        patients=[f"p{i // 2}" for i in range(cases)],
    )


def test_the_loss_is_scikit_learns():
    seen = a_split()
    probabilities = np.exp(log_softmax(seen.logits, axis=1))
    assert slice_loss(seen) == pytest.approx(log_loss(seen.slice_stages, probabilities), abs=1e-12)


def test_accuracy_is_of_cases_by_vote():
    logits = np.array([[9, 0, 0, 0], [9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 9, 0]], dtype=float)
    seen = SplitLogits(logits, np.array([0, 0, 0, 1, 1]), np.array([-1, 0, 1, 0, 1]), np.array([0, 3]), ["a", "b"])
    found = scores(seen)
    assert found.accuracy.value == 0.5
    assert found.slice_accuracy == pytest.approx(0.4)
    assert found.macro_auc.value is None
    assert "stage is missing" in found.macro_auc.method
    z = 1.959963984540054  # Wilson's interval of 1 in 2, by its formula
    half = z * np.sqrt(2 * 0.25 + z**2 / 4) / (2 + z**2)
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_intervals_contain_their_value_and_count_patients():
    found = scores(a_split())
    _, probabilities = case_votes(a_split())
    expected = roc_auc_score(a_split().stages, probabilities, multi_class="ovr", average="macro")
    assert found.macro_auc.value == pytest.approx(expected, abs=1e-12)
    for estimate in (found.accuracy, found.macro_auc):
        assert 0 <= estimate.low < estimate.value < estimate.high <= 1
        assert "clustered by patient" in estimate.method
    assert (found.cases, found.patients) == (40, 20)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_best_of_a_fine_search_and_scales_with_the_logits(sharpness):
    seen = a_split(sharpness=sharpness)
    found = fitted_temperature(seen)
    searched = np.geomspace(0.05, 20, 4000)
    best = searched[np.argmin([slice_loss(seen, one) for one in searched])]
    assert found == pytest.approx(best, rel=3e-3)
    assert found / sharpness == pytest.approx(fitted_temperature(a_split()), rel=1e-3)
    assert slice_loss(seen, found) <= slice_loss(seen)


def test_invalid_splits_are_refused():
    seen = a_split(4)
    with pytest.raises(InputError, match="slices of every case"):
        SplitLogits(seen.logits, seen.case, seen.offsets, np.append(seen.stages, 0), seen.patients)
    with pytest.raises(InputError, match="not finite"):
        SplitLogits(seen.logits * np.nan, seen.case, seen.offsets, seen.stages, seen.patients)
