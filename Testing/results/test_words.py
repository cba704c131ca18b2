"""The sentences about a map agree with its numbers."""

import math
from dataclasses import replace

import pytest
from helpers import results

from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.results import words
from GTRStagingLib.staging.options import METHODS, is_stage_specific


def agreement(**changes):
    """Of an ROI of 850 mm²; changes of the cut at the chosen threshold."""
    found = results.with_roi().agreement
    cut = {"threshold": 0.5, "dice": 0.61, "chance_dice": 0.02, "blob_dice": 0.06, "mean_mask_dice": 0.19,
           "area_mm2": 873.0, **changes}  # fmt: skip
    return replace(found, at_threshold=replace(found.at_threshold, **cut), roi_area_mm2=850.0, pointing_hit=True)


def test_the_region_is_compared_with_the_roi():
    text = words.region_in_words(agreement())
    assert "at least 0.5 of the key slice's maximum" in text
    assert "873 mm², 1.03 times the ROI's 850 mm²" in text
    assert text.endswith("The peak of the map lies in the ROI.")
    coarse = words.region_in_words(replace(agreement(area_mm2=19374.0), pointing_hit=False))
    assert "19,374 mm², 23 times the ROI's 850 mm²" in coarse
    assert coarse.endswith("The peak of the map lies outside the ROI.")


def test_dice_is_compared_with_the_baselines():
    text = words.baselines_in_words(agreement(), "the body's section")
    assert text == (
        "Dice with the ROI is 0.610. The same area scores 0.020 at random in the body's section, 0.060 as a centred "
        "blob, and 0.190 where the mean mask of the model's training cases is highest. The map exceeds each of these."
    )


@pytest.mark.parametrize(
    ("dice", "sentence"),
    [
        (0.10, "The map does not exceed the mean mask."),
        (0.06, "The map does not exceed the blob or the mean mask."),
        (0.01, "The map does not exceed chance or the blob or the mean mask."),
    ],
)
def test_the_baselines_that_a_map_does_not_exceed_are_named(dice, sentence):
    assert words.baselines_in_words(agreement(dice=dice), "the slice").endswith(sentence)


def test_a_missing_mean_mask_is_reported():
    text = words.baselines_in_words(agreement(mean_mask_dice=math.nan), "the slice")
    assert "0.060 as a centred blob. The map exceeds each of these." in text
    assert text.endswith("The Dice of the mean mask is unknown: the model has no mean mask for this slice.")
    assert "nan" not in text


def test_undefined_measures_are_left_out():
    nothing = agreement(dice=math.nan, chance_dice=math.nan)
    assert words.region_in_words(nothing) is words.baselines_in_words(nothing, "the slice") is None
    without_size = words.region_in_words(replace(agreement(area_mm2=math.nan), roi_area_mm2=math.nan))
    assert "has no known area: the input has no spacing" in without_size
    assert "nan" not in without_size


def of_method(method, step=32.0):
    attention = results.with_roi().attention
    return replace(attention, method=method, rows=CellGrid(step, 0.0), columns=CellGrid(step, 0.0))


def test_the_width_of_cells_is_stated_in_millimetres():
    attention = of_method("gradcam")
    width = 32 * attention.grid.GetSpacing()[0]
    for step, cannot in ((32.0, width > 10), (40 / width * 32, True), (4 / width * 32, False)):
        one = of_method("gradcam", step)
        text = words.map_in_words(one, spacing_known=True)
        assert ("so the map cannot show a wall" in text) == cannot
    assert "about 40 mm wide, so" in words.map_in_words(of_method("gradcam", 40 / width * 32), spacing_known=True)
    assert "about 4.0 mm wide." in words.map_in_words(of_method("fine", 4 / width * 32), spacing_known=True)
    assert "mm" not in words.map_in_words(attention, spacing_known=False)


def test_every_method_has_a_name_and_a_sentence():
    for method in {*METHODS, "fine", "gated", "gate"} - {"auto"}:
        text = words.map_in_words(of_method(method), spacing_known=False)
        assert len(text) > 30, method
        assert method in words.METHOD_NAMES
    target = str(of_method("gradcam").target)
    for method in ("gate", "eigencam"):
        assert target not in words.map_in_words(of_method(method), spacing_known=False)
    assert words.map_name(of_method("gate")) == "gate (the same for every stage)"
    assert words.map_name(of_method("eigencam")) == "EigenCAM (the same for every stage)"
    assert words.map_name(of_method("layercam")) == "LayerCAM (similar for every stage)"
    assert words.map_name(of_method("gradcam++")) == "Grad-CAM++ (similar for every stage)"
    for method in words.METHOD_NAMES:
        assert ("for every stage" in words.map_in_words(of_method(method), spacing_known=False)) != is_stage_specific(
            method
        )
    assert words.map_name(of_method("gradcam")) == f"attention for {target} (Grad-CAM)"


def test_a_missing_map_and_an_empty_map_have_different_sentences():
    result = results.not_mapped(results.without_attention(results.split_vote(), 1), 2)
    assert words.empty_in_words(result.attention, 0) is None
    assert words.empty_in_words(result.attention, 1) == "no attention for T3 in this slice"
    assert words.empty_in_words(result.attention, 2) == "no map was computed for this slice"
