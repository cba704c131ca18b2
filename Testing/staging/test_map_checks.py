"""Measures of one case for a check: filled regions, controls, similarity of maps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from helpers import results
from helpers.spots import SPOT, TISSUE, a_spot_model, a_spotted_cohort

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan, scan_of
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import raw_maps
from GTRStagingLib.staging.covering import ALIKE, CONTROLS, fill_region, find_controls
from GTRStagingLib.staging.map_checks import (
    OPTIONS,
    compare_maps,
    dice_in_cells,
    disc_in_cells,
    highest,
    measure,
    similarity,
)
from GTRStagingLib.staging.pipeline import stage_case

Y, X = np.indices((80, 80))
BODY = (Y - 40) ** 2 + (X - 40) ** 2 < 36**2
RNG = np.random.default_rng(0)


def disc(row, column, radius):
    return (Y - row) ** 2 + (X - column) ** 2 < radius**2


def test_a_filled_region_equals_its_surroundings():
    """In a slope the mean of the surroundings is the slope's own value; air contributes nothing."""
    slope = np.where(BODY, X.astype(float), -1000.0)
    region = disc(40, 40, 4) | (disc(40, 40, 6) & (X > 40))
    spoilt = np.where(region, 900.0, slope)
    filled = fill_region(spoilt, region, BODY, (1.0, 1.0))
    assert np.abs(filled - slope)[region].max() < 3
    np.testing.assert_array_equal(filled[~region], slope[~region])
    edge = disc(40, 5, 4)
    assert fill_region(np.where(edge, 900.0, slope), edge, BODY, (1.0, 1.0))[edge & BODY].min() > 0


def test_a_region_far_from_tissue_gets_the_mean_of_all_tissue():
    grey = np.where(BODY, 50.0, -1000.0)
    assert fill_region(grey, BODY, BODY, (1.0, 1.0))[BODY] == pytest.approx(grey.mean())
    assert (fill_region(grey, np.zeros_like(BODY), BODY, (1.0, 1.0)) == grey).all()


def test_controls_have_the_shape_and_the_tissue_and_keep_apart():
    grey = np.where(X < 40, 60.0, 130.0) + RNG.normal(0, 5, BODY.shape)
    region, tumour = disc(40, 22, 5), disc(25, 25, 4)
    found = find_controls(region, grey, BODY, tumour, 255.0)
    assert len(found) == CONTROLS
    for one in found:
        assert one.sum() == region.sum()
        assert not (one & (region | tumour)).any()
        assert (one & BODY).sum() >= 0.98 * one.sum()
        assert abs(grey[one].mean() - grey[region].mean()) <= ALIKE * 255
        np.testing.assert_array_equal(one.any(axis=0).sum(), region.any(axis=0).sum())
    assert [one.tolist() for one in find_controls(region, grey, BODY, tumour, 255.0)] == [one.tolist() for one in found]


def test_controls_have_the_region_s_standard_deviation():
    """One half is smooth, the other noisy about the same mean."""
    grey = 100.0 + np.where(X < 40, 0.0, RNG.normal(0, 20, BODY.shape))
    for column, side in ((58, X >= 40), (22, X < 40)):
        for one in find_controls(disc(40, column, 5), grey, BODY, np.zeros_like(BODY), 255.0):
            assert (one & side).sum() > 0.9 * one.sum()


def test_without_a_similar_place_there_is_no_control():
    region = disc(40, 22, 5)
    assert find_controls(region, np.where(region, 200.0, 100.0), BODY, np.zeros_like(BODY), 255.0) == []
    assert find_controls(BODY, np.full(BODY.shape, 100.0), BODY, np.zeros_like(BODY), 255.0) == []
    assert find_controls(np.zeros_like(BODY), np.full(BODY.shape, 100.0), BODY, np.zeros_like(BODY), 255.0) == []


def test_maps_are_compared_by_ranks_in_the_body():
    heat = RNG.random(BODY.shape)
    assert similarity(heat, heat**3, BODY) == pytest.approx(1)
    assert similarity(heat, -heat, BODY) == pytest.approx(-1)
    assert abs(similarity(heat, RNG.random(BODY.shape), BODY)) < 0.1
    assert similarity(heat, np.zeros_like(heat), BODY) == 0
    assert math.isnan(similarity(np.zeros_like(heat), heat, BODY))
    # All are 0 in air: over the whole slice, two maps that share nothing but the body would be similar.
    one, other = (np.where(BODY, RNG.random(BODY.shape), 0) for _ in range(2))
    assert abs(similarity(one, other, BODY)) < 0.1
    assert similarity(one, other, np.ones_like(BODY)) > 0.4


def test_regions_in_cells():
    roi = np.zeros((4, 4), np.float32)
    roi[1, 1], roi[1, 2] = 1.0, 0.5
    region = np.zeros((4, 4), bool)
    region[1, 1:3] = True
    assert dice_in_cells(region, roi) == pytest.approx(2 * 1.5 / 3.5)
    np.testing.assert_array_equal(highest(roi, 1), roi == 1)
    np.testing.assert_array_equal(highest(roi, 9), roi > 0)
    np.testing.assert_array_equal(disc_in_cells(np.ones((3, 3), bool), 1), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert disc_in_cells(np.ones((5, 5), bool), 5).sum(axis=0).tolist() == [0, 1, 3, 1, 0]


def test_other_stages_and_weights_use_the_method_of_the_map():
    ct = ct_like()
    by = ready(weights.untrained(10, "none"), "cpu", "torch")
    options = replace(OPTIONS, method="gradcam")
    result = stage_case(scan_of(ct, "ct"), by, options, key_slice=keyslice.by_index(ct, 4))
    found = measure(result, by)
    assert (found.seen.method, found.seen.heat.shape) == ("gradcam", (7, 7))
    assert compare_maps(by, [found.seen]) == [{"spearman": pytest.approx(1)}]
    last = result.attention
    pixels = result.slices.pixels
    other = [s for s in TStage if s != last.target]
    maps = [raw_maps(by.head, by.classify(pixels).feature_map, "gradcam", s)[result.slices.key] for s in other]
    expected = np.mean([similarity(found.seen.heat, one, found.seen.body) for one in maps])
    assert found.numbers["other_spearman"] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", ["with_roi", "without_roi", "roi_elsewhere", "a_picture", "one_slice"])
def test_every_staged_case_is_measured(name):
    """Scans and pictures, with and without ROI: defined measures are finite, undefined ones are missing or NaN."""
    result = results.ALL[name]()
    found = measure(result, ready(results.a_small_model(), "cpu", "torch"))
    numbers = found.numbers
    assert numbers["empty"] == 0
    assert -1 <= numbers["other_spearman"] <= 1
    assert found.seen.heat.shape == found.seen.body.shape
    if name == "with_roi":
        assert numbers["dice"] == result.agreement.dice
        assert found.seen.roi.shape == found.seen.heat.shape
        area = found.seen.roi.sum() * (result.slices.grid.GetSpacing()[0] * 4) ** 2
        assert area == pytest.approx(result.agreement.roi_area_mm2, rel=0.02)
    if result.roi is None or name == "roi_elsewhere":
        assert "dice" not in numbers


def test_filling_the_spot_gives_the_slice_without_it(tmp_path):
    """In the key slice chosen by the ROI's area the disc is whole, and the same slice without it is known."""
    (case,) = a_spotted_cohort(tmp_path / "cases", 1, radius=3.0)  # all of it may be covered
    by = ready(a_spot_model(), "cpu", "torch")
    roi = read_roi(case.roi)
    result = stage_case(read_scan(case.image), by, OPTIONS, tumour=roi)
    found = measure(result, by)
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(case.roi))).astype(bool)
    areas = inside.sum(axis=(1, 2)) * 3.0**2
    assert areas[1] > 1.5 * max(areas[0], areas[2])
    assert found.numbers["roi_area_mm2"] == areas[1]
    volume = sitk.ReadImage(str(case.image))
    voxels = sitk.GetArrayFromImage(volume)
    voxels[:, inside[1]] -= round(SPOT - TISSUE)
    without = sitk.GetImageFromArray(voxels)
    without.CopyInformation(volume)
    bare = stage_case(scan_of(without, "ct"), by, OPTIONS, key_slice=keyslice.by_index(without, 1))
    stage = int(result.attention.target)
    p, q = (one.prediction.slices[one.slices.key].probabilities[stage] for one in (result, bare))
    assert p - q > 0.1
    assert found.numbers["roi_fall"] == pytest.approx(p - q, rel=0.05)
    assert found.numbers["fall"] == pytest.approx(p - q, rel=0.2)
    assert abs(found.numbers["control_fall"]) < 0.05 * (p - q)


def test_an_empty_map_on_an_roi_has_a_dice_of_0():
    result = results.without_attention(results.with_roi(), results.with_roi().slices.key)
    model = results.a_small_model()
    zeros = dict.fromkeys(("dice", "chance_dice", "blob_dice"), 0.0)
    assert measure(result, ready(model, "cpu", "torch")).numbers == {"empty": 1.0, **zeros}
    knows = replace(model, mean_mask=np.ones((56, 56), np.float32))
    assert measure(result, ready(knows, "cpu", "torch")).numbers["model_mean_mask_dice"] == 0
    bare = replace(result, roi=None, agreement=None)
    assert measure(bare, ready(model, "cpu", "torch")).numbers == {"empty": 1.0}
