"""Stage sets: scores, limits, sets, and what they promise."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers import results
from hypothesis import given
from hypothesis import strategies as st

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stage_set import StageSet, least_patients, limit, scores, stage_set
from GTRStagingLib.staging.voting import vote

T1, T2, T3, T4 = TStage

ENOUGH = [0.0] * 8 + [0.7, 0.9]
"""Ten scores: the (10 + 1) * 0.9 = 9.9, so the tenth, is the limit at 90 %: 0.9."""


def calibrated(level=0.9, **of_stage):
    own = {stage.name: of_stage.get(stage.name, ENOUGH) for stage in TStage}
    return {"level": level, "scores": own, "patients": {name: len(one) for name, one in own.items()},
            "digest": "ab" * 32, "source": "planted", "warning": None}  # fmt: skip


def a_card(**changes):
    return replace(results.a_small_model().card, stage_sets=calibrated(**changes))


def one_slice(*probabilities):
    return vote([0], np.array([probabilities]))


# -- scores and limits ---------------------------------------------------------------------------------------------


def test_the_voted_stage_has_score_zero_even_if_another_has_the_higher_mean():
    """Two slices of T2 at 0.5 and one of T3 at 1: the vote is T2, the mean of T3 is higher."""
    prediction = vote([-1, 0, 1], np.array([[0, 0.6, 0.4, 0], [0, 0.6, 0.4, 0], [0, 0, 1.0, 0]]))
    assert (prediction.stage, prediction.mean_probability_stage) == (T2, T3)
    assert scores(prediction) == (1.0, 0.0, 0.6, 1.0)


def test_a_stage_beyond_an_unlikely_one_has_at_least_its_score():
    assert scores(one_slice(0.55, 0.05, 0.4, 0.0)) == (0.0, 0.95, 0.95, 1.0)


@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=4))
def test_scores_never_fall_with_the_distance_from_the_vote(weights):
    prediction = one_slice(*(np.array(weights) / sum(weights)))
    found, voted = scores(prediction), int(prediction.stage)
    assert found[voted] == 0
    assert list(found[voted:]) == sorted(found[voted:])
    assert list(found[voted::-1]) == sorted(found[voted::-1])


@given(
    st.lists(st.integers(0, 5), min_size=0, max_size=40),
    st.integers(0, 5),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_a_score_is_within_the_limit_by_the_definition_of_the_p_value(those, new, level):
    """Vovk et al. 2005: p = (1 + number of calibration scores at least as high) / (n + 1); in the set if p > 1 - level.

    In whole numbers, of percents.
    """
    p = (1 + sum(one >= new for one in those)) * 100
    inside = p > round(100 - 100 * level) * (len(those) + 1)
    assert (new <= limit([float(one) for one in those], level)) == inside


@pytest.mark.parametrize(("level", "least"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_fewer_patients_than_the_least_give_no_limit(level, least):
    assert least_patients(level) == least
    assert math.isinf(limit([0.0] * (least - 1), level))
    assert limit([0.0] * least, level) == 0


@pytest.mark.parametrize("level", [0.4, 1.0, -1, float("nan")])
def test_a_level_without_meaning_is_refused(level):
    with pytest.raises(InputError, match="a share from 0.5 to 0.99"):
        least_patients(level)


# -- sets ----------------------------------------------------------------------------------------------------------


def test_a_model_without_a_calibration_has_no_set():
    assert stage_set(results.a_small_model().card, one_slice(0.1, 0.7, 0.1, 0.1)) is None


def test_a_set_contains_the_stages_below_their_own_limits():
    card = a_card(T1=[0.5] * 9, T3=[0.8] * 9)
    found = stage_set(card, one_slice(0.2, 0.6, 0.2, 0.0))  # scores 0.8, 0, 0.8, 1; limits 0.5, 0.9, 0.8, 0.9
    assert (found.stages, found.text, found.level) == ((T2, T3), "T2–T3", 0.9)
    assert found.patients == {T1: 9, T2: 10, T3: 9, T4: 10}
    assert found.always == ()


def test_a_single_stage_is_a_set():
    assert stage_set(a_card(), one_slice(0.01, 0.97, 0.01, 0.01)).text == "T2"


def test_a_stage_with_too_few_patients_is_in_every_set_and_so_are_those_on_the_way():
    """T2 and T3 are excluded by their limits, but lie between T1 and the voted T4."""
    found = stage_set(a_card(T1=[0.0] * 8), one_slice(0.01, 0.01, 0.01, 0.97))
    assert (found.text, found.always) == ("T1–T4", (T1,))


def test_a_set_has_the_warning_of_its_card():
    card = replace(a_card(), stage_sets={**calibrated(), "warning": "chosen by them"})
    assert stage_set(card, one_slice(0.1, 0.7, 0.1, 0.1)).warning == "chosen by them"
    assert stage_set(a_card(), one_slice(0.1, 0.7, 0.1, 0.1)).warning is None


def test_a_withheld_set_is_empty_and_says_why():
    found = stage_set(a_card(), one_slice(0.01, 0.97, 0.01, 0.01), withheld="the case is unlike the training")
    assert (found.stages, found.text, found.withheld) == ((), "", "the case is unlike the training")


@pytest.mark.parametrize(("stages", "withheld"), [((T1, T3), None), ((T2, T1), None), ((), None), ((T1,), "a reason")])
def test_a_set_that_contradicts_itself_is_refused(stages, withheld):
    with pytest.raises(InputError, match="neighbouring stages"):
        StageSet(stages, 0.9, dict.fromkeys(TStage, 10), withheld)


# -- the promise ---------------------------------------------------------------------------------------------------


def test_new_patients_are_covered_as_promised_by_stage():
    """The mean coverage of each stage over many calibrations is at least the level, and without ties nearly it.

    The probabilities are poor and not calibrated, and differ between the stages: the promise depends on neither.
    Without ties it is ceil(0.8 * (n + 1)) / (n + 1) for n patients of a stage: 0.8 for 24.
    """
    rng = np.random.default_rng(5)

    def predicted(stage):
        logits = rng.normal(0, 1.5, 4) + 2.0 * (1 + int(stage)) / 2 * (np.arange(4) == stage)
        return one_slice(*(np.exp(logits) / np.exp(logits).sum()))

    covered = {stage: [] for stage in TStage}
    for _ in range(150):
        own = {stage.name: sorted(scores(predicted(stage))[stage] for _ in range(24)) for stage in TStage}
        card = a_card(level=0.8, **own)
        for stage in TStage:
            covered[stage] += [stage in stage_set(card, predicted(stage)).stages for _ in range(4)]
    for stage, hits in covered.items():
        # 600 hits of 150 calibrations: the standard error is about 0.02.
        assert np.mean(hits) > 0.8 - 0.06, stage
    assert np.mean(covered[T1]) < 0.8 + 0.08  # the vote is rarely right here, so that nothing is covered for free


# -- the card ------------------------------------------------------------------------------------------------------


def test_a_calibration_survives_the_cards_file():
    card = a_card()
    again = ModelCard.from_json(card.to_json())
    assert again == card
    assert again.card_sha256 == card.card_sha256
    assert again.card_sha256 != replace(card, stage_sets=calibrated(level=0.8)).card_sha256


@pytest.mark.parametrize(
    ("change", "shown_text"),
    [
        ({"level": 1.0}, "level 1.0; expected a number from 0.5"),
        ({"scores": {"T1": ENOUGH}}, "T2 is missing"),
        ({"scores": {stage.name: [0.1] for stage in TStage}}, "expected 10 numbers from 0 to 1"),
        ({"scores": {stage.name: [2.0] * 10 for stage in TStage}}, "expected 10 numbers from 0 to 1"),
        ({"digest": "x"}, "64 lower-case"),
        ({"source": 3}, "expected a text"),
        ({"more": 1}, "unknown fields"),
    ],
)
def test_a_damaged_calibration_is_refused(change, shown_text):
    with pytest.raises(WeightsError, match=shown_text):
        replace(results.a_small_model().card, stage_sets={**calibrated(), **change})
