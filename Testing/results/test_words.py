"""The sentences about a map: true of its numbers, and none that flatters."""

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


def test_the_region_is_measured_against_the_roi():
    said = words.region_in_words(agreement())
    assert "at least 0.5 of the key slice's maximum" in said
    assert "873 mm², 1.03 times the ROI's 850 mm²" in said
    assert said.endswith("The peak of the map lies in the ROI.")
    coarse = words.region_in_words(replace(agreement(area_mm2=19374.0), pointing_hit=False))
    assert "19,374 mm², 23 times the ROI's 850 mm²" in coarse
    assert coarse.endswith("The peak of the map lies outside the ROI.")


def test_dice_stands_beside_all_that_needs_no_scan():
    said = words.baselines_in_words(agreement(), "the body's section")
    assert said == (
        "Dice with the ROI is 0.610. The same area gets 0.020 at random in the body's section, 0.060 as a disc in the "
        "middle of it, and 0.190 where the mean mask of the model's cases is highest, by location alone. The map is "
        "above each of these."
    )


@pytest.mark.parametrize(
    ("dice", "said"),
    [
        (0.10, "The map is not above the mean mask."),
        (0.06, "The map is not above the disc or the mean mask."),
        (0.01, "The map is not above chance or the disc or the mean mask."),
    ],
)
def test_what_a_map_does_not_beat_is_named(dice, said):
    assert words.baselines_in_words(agreement(dice=dice), "the slice").endswith(said)


def test_without_a_mean_mask_nothing_is_said_of_location():
    said = words.baselines_in_words(agreement(mean_mask_dice=math.nan), "the slice")
    assert "0.060 as a disc in the middle of it. The map is above each of these." in said
    assert said.endswith("Without a mean mask of the model, what location alone would give is not known.")
    assert "nan" not in said


def test_what_is_not_defined_is_not_said():
    nothing = agreement(dice=math.nan, chance_dice=math.nan)
    assert words.region_in_words(nothing) is words.baselines_in_words(nothing, "the slice") is None
    without_size = words.region_in_words(replace(agreement(area_mm2=math.nan), roi_area_mm2=math.nan))
    assert "the pixels' size is not known" in without_size
    assert "nan" not in without_size


def of_method(method, step=32.0):
    attention = results.with_roi().attention
    return replace(attention, method=method, rows=CellGrid(step, 0.0), columns=CellGrid(step, 0.0))


def test_cells_are_told_in_millimetres_and_what_they_cannot_show():
    attention = of_method("gradcam")
    width = 32 * attention.grid.GetSpacing()[0]
    for step, cannot in ((32.0, width > 10), (40 / width * 32, True), (4 / width * 32, False)):
        one = of_method("gradcam", step)
        said = words.map_in_words(one, spacing_known=True)
        assert ("so it cannot show a wall" in said) == cannot
    assert "about 40 mm wide, so" in words.map_in_words(of_method("gradcam", 40 / width * 32), spacing_known=True)
    assert "about 4.0 mm wide." in words.map_in_words(of_method("fine", 4 / width * 32), spacing_known=True)
    assert "mm" not in words.map_in_words(attention, spacing_known=False)


def test_every_method_has_a_name_and_a_sentence():
    for method in {*METHODS, "fine", "gated", "gate"} - {"auto"}:
        said = words.map_in_words(of_method(method), spacing_known=False)
        assert len(said) > 30, method
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


def test_a_slice_without_a_map_and_one_whose_map_is_empty_are_told_apart():
    result = results.not_mapped(results.without_attention(results.split_vote(), 1), 2)
    assert words.empty_in_words(result.attention, 0) is None
    assert words.empty_in_words(result.attention, 1) == "no attention for T3 in this slice"
    assert words.empty_in_words(result.attention, 2) == "no map was computed for this slice"
