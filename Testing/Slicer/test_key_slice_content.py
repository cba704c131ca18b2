"""The key slice and the model's proposal in words, without Qt."""

import pytest
from conftest import ct_like
from GTRStagingSlicer import scene_staging
from GTRStagingSlicer.key_slice_content import (
    SliceButton,
    key_slice_in_words,
    proposal_in_words,
    slice_buttons,
    slice_in_words,
    slice_tip,
)
from GTRStagingSlicer.state import State
from scenes import add_volume, box

HIDDEN = SliceButton(visible=False, checked=False)


@pytest.mark.parametrize(
    ("chosen_by", "words"),
    [
        ("hand", "by hand"),
        ("", "by hand"),
        (scene_staging.TUMOUR_AREA, "largest section of the segment"),
        (scene_staging.CONFIRMED, "confirmed by hand"),
        (scene_staging.PROPOSED, "confirm it"),
    ],
)
def test_a_key_slice_states_place_origin_and_neighbours(chosen_by, words):
    text = key_slice_in_words(State(keySlice=2, keySliceChosenBy=chosen_by), ct_like())
    assert text.startswith("Slice 2 of 0 to 8, at S -392.0 mm (")  # -400 mm, and two steps of 4 mm
    assert words in text
    assert text.endswith("Voting: 1, 2, 3.")


@pytest.mark.parametrize(("index", "voting"), [(0, "0, 1"), (8, "7, 8")])
def test_at_the_ends_of_the_scan_fewer_slices_vote(index, voting):
    assert key_slice_in_words(State(keySlice=index), ct_like()).endswith(f"Voting: {voting}.")


def test_without_a_key_slice_it_is_said_what_apply_would_use(scene):
    from GTRStagingSlicer import samples

    assert key_slice_in_words(State(), ct_like()) == "No key slice is chosen (0, nearest the feet, to 8)."
    ct = add_volume(scene, ct_like())
    drawn = samples.add_tumour(scene, ct, box(ct_like()), "drawn")
    state = State(inputVolume=ct, tumourSegmentation=drawn, tumourSegment=samples.TUMOUR)
    assert key_slice_in_words(state, ct_like()).endswith("Apply uses the largest section.")
    assert "only slice" in key_slice_in_words(State(), ct_like(shape=(1, 40, 50)))


def test_a_proposal_marks_the_slice_that_is_chosen():
    assert slice_buttons([7, 3], 3, 3) == [SliceButton(True, False), SliceButton(True, True), HIDDEN]
    assert slice_buttons([], -1, 3) == [HIDDEN] * 3
    assert slice_buttons([7, 3, 5, 9], 9, 3) == [SliceButton(True, False)] * 3


def test_a_proposal_without_a_likely_tumour_asks_for_no_choice():
    likely, unlikely = (proposal_in_words(score, in_stomach=False) for score in (0.5, 0.49))
    assert "click the one that shows the tumour best" in likely
    assert "may show no tumour" in unlikely
    assert "click" not in unlikely
    for score in (0.5, 0.49):
        assert "among the slices with stomach" in proposal_in_words(score, in_stomach=True)
        assert "stomach" not in proposal_in_words(score, in_stomach=False)


def test_pictures_are_named_by_slice_score_and_place():
    assert slice_in_words(7, 0.876) == "Slice 7, score 0.88"
    assert slice_tip(7, -12.34) == "Slice 7 at S -12.3 mm: click to confirm it as the key slice."
