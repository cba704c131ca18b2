"""How far the stage holds along the slices: by hand, censored or not, and against the vote at every moved key slice."""

import itertools

import numpy as np
import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stability import Stability, stability, stability_of
from GTRStagingLib.staging.voting import vote

T1, T2, T3, T4 = TStage


def voted(*stages, offsets=(-1, 0, 1)):
    """The vote of slices that are nearly sure of these stages."""
    rows = np.full((len(stages), 4), 0.1)
    rows[range(len(stages)), [int(stage) for stage in stages]] = 0.7
    return vote(offsets, rows)


@pytest.mark.parametrize(
    ("prediction", "up", "down"),
    [
        (voted(T3, T3, T3), (2.0, True), (2.0, True)),
        (voted(T2, T3, T3), (2.0, True), (0.0, False)),
        (voted(T3, T3, T4), (0.0, False), (2.0, True)),
        (voted(T3, T2, T3), (0.0, False), (0.0, False)),  # the key slice itself has another stage
        (voted(T3, T3, offsets=(0, 1)), (2.0, True), (0.0, False)),  # nothing below to ask
    ],
)
def test_the_voting_slices_give_a_distance_or_a_lower_limit(prediction, up, down):
    found = stability_of(prediction, 2.0)
    assert list(zip((found.stays_up_mm, found.stays_down_mm), found.at_least, strict=True)) == [up, down]


def test_neighbours_at_a_distance_are_asked_at_that_distance():
    found = stability_of(voted(T3, T3, T1, offsets=(-4, 0, 4)), 1.25)
    assert (found.step_mm, found.stays_up_mm, found.asked_up_mm, found.stays_down_mm) == (5.0, 0.0, 5.0, 5.0)


def test_without_a_neighbour_or_a_spacing_nothing_is_known():
    assert stability_of(voted(T3, offsets=(0,)), 2.0) is None
    assert stability_of(voted(T3, T3, T3), None) is None
    assert stability({0: T3, 4: T3}, T3, 1.0) is None  # a gap beside the key slice
    with pytest.raises(InputError, match="expected the key slice"):
        stability({1: T3}, T3, 1.0)


def test_what_follows_a_change_or_a_gap_does_not_count():
    asked = {-3: T3, -2: T3, -1: T3, 0: T3, 1: T3, 2: T4, 3: T3, 5: T3}
    assert stability(asked, T3, 3.0) == Stability(3.0, 3.0, 9.0, 9.0, 9.0)


def test_within_the_range_every_key_slice_gives_the_stage_of_the_case():
    """The claim of the module, for every series of two stages in seven slices and of three in six, and every key."""
    for n, kinds in ((7, (T2, T3)), (6, (T1, T2, T3))):
        for stages in itertools.product(kinds, repeat=n):
            votes = [
                voted(*[stages[i + o] for o in offsets], offsets=offsets).stage
                for i in range(n)
                for offsets in [[o for o in (-1, 0, 1) if 0 <= i + o < n]]
            ]
            for key, stage in enumerate(votes):
                found = stability({i - key: one for i, one in enumerate(stages)}, stage, 1.0)
                moved = range(key - int(found.stays_down_mm), key + int(found.stays_up_mm) + 1)
                assert {votes[i] for i in moved} == {stage}


@pytest.mark.parametrize(
    ("found", "distance", "answer"),
    [
        (Stability(5.0, 5.0, 5.0, 5.0, 5.0), 5.0, True),
        (Stability(5.0, 5.0, 5.0, 5.0, 5.0), 4.9, None),  # no slice is so near
        (Stability(5.0, 5.0, 5.0, 5.0, 5.0), 9.9, True),  # the next slice is at 10 mm
        (Stability(5.0, 5.0, 5.0, 5.0, 5.0), 10.0, None),
        (Stability(5.0, 0.0, 5.0, 5.0, 5.0), 5.0, False),
        (Stability(5.0, 0.0, 5.0, 5.0, 5.0), 10.0, None),  # changed, but whether others hold so far nobody asked
        (Stability(2.0, 4.0, 8.0, 8.0, 8.0), 5.0, True),
        (Stability(2.0, 4.0, 8.0, 8.0, 8.0), 6.0, False),
        (Stability(2.5, 2.5, 2.5, 0.0, 0.0), 2.5, None),  # nothing below was asked
        (Stability(4.999999, 4.999999, 4.999999, 4.999999, 4.999999), 5.0, True),  # rounded headers
    ],
)
def test_within_a_distance_the_stage_holds_or_not_or_nobody_knows(found, distance, answer):
    assert found.within(distance) is answer


@pytest.mark.parametrize("values", [(0, 1, 1, 1, 1), (1, -1, 1, 1, 1), (1, 2, 1, 1, 1), (1, 1, float("nan"), 1, 1)])
def test_impossible_distances_are_refused(values):
    with pytest.raises(InputError):
        Stability(*values)
