import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.voting import SlicePrediction, vote

T1, T2, T3, T4 = TStage


@pytest.mark.smoke
def test_the_majority_wins_even_against_the_mean():
    prediction = vote([-1, 0, 1], np.array([[0.4, 0.6, 0, 0], [0.4, 0.6, 0, 0], [0.98, 0.02, 0, 0]]))
    assert prediction.stage == T2
    assert prediction.mean_probability_stage == T1
    assert not prediction.unanimous
    assert not prediction.tied
    assert prediction.votes == {T1: 1, T2: 2, T3: 0, T4: 0}


@pytest.mark.smoke
def test_a_tie_of_three_goes_to_the_highest_mean_probability():
    rows = np.array([[0.9, 0.1, 0, 0], [0, 0.6, 0.4, 0], [0, 0.1, 0.5, 0.4]])
    prediction = vote([-1, 0, 1], rows)
    assert prediction.tied
    assert prediction.stage == T1  # means: 0.300, 0.267, 0.300 (T3 ties on the mean: the lower stage)
    assert prediction.probabilities == pytest.approx(rows.mean(0))


def test_a_tie_goes_to_the_higher_stage_where_its_mean_is_higher():
    rows = np.array([[0.5, 0.2, 0.3, 0], [0.1, 0.5, 0.4, 0], [0.05, 0.05, 0.9, 0]])
    prediction = vote([-1, 0, 1], rows)  # one vote each for T1, T2, T3; means: 0.217, 0.250, 0.533
    assert prediction.votes == {T1: 1, T2: 1, T3: 1, T4: 0}
    assert prediction.tied
    assert prediction.stage == T3


def test_a_tied_stage_wins_over_an_untied_one_of_higher_mean():
    # T2 and T3 have one vote each; T1 has none, but the highest mean.
    prediction = vote([0, 1], np.array([[0.45, 0.55, 0, 0], [0.45, 0, 0.55, 0]]))
    assert prediction.mean_probability_stage == T1
    assert prediction.stage == T2


@pytest.mark.parametrize("offsets", [[0], [0, 1], [-2, 0, 2]])
def test_any_number_of_slices_votes_if_the_key_slice_is_among_them(offsets):
    prediction = vote(offsets, np.tile([0.0, 0, 0, 1], (len(offsets), 1)))
    assert prediction.stage == T4
    assert prediction.unanimous


@pytest.mark.parametrize("offsets", [[1], [0, 0], []])
def test_no_vote_without_the_key_slice_or_with_one_slice_twice(offsets):
    with pytest.raises(InputError, match="key slice"):
        vote(offsets, np.tile([0.25] * 4, (len(offsets), 1)).reshape(len(offsets), 4))


@pytest.mark.parametrize("row", [[0.5, 0.5, 0.5, -0.5], [0.2] * 4, [np.nan, 0.5, 0.5, 0], [1, 0, 0]])
def test_invalid_distributions_are_refused(row):
    with pytest.raises(InputError, match="expected"):
        SlicePrediction(0, tuple(row))


def test_a_distribution_within_rounding_is_accepted():
    assert SlicePrediction(0, (0.25, 0.25, 0.25, 0.25003)).stage == T4


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"expected \(2, 4\)"):
        vote([0, 1], np.eye(4)[:3])
