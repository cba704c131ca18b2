import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.staging.agreement import compute_agreement
from GTRStagingLib.staging.options import SWEEP


def image(array, spacing=(2.0, 3.0, 5.0)):
    made = sitk.GetImageFromArray(np.asarray(array)[None])
    made.SetSpacing(spacing)
    return made


def block(rows, columns, value=1.0, shape=(20, 30), dtype=np.float32):
    array = np.zeros(shape, dtype=dtype)
    array[rows, columns] = value
    return array


ROI = image(block(slice(5, 9), slice(10, 20), 1, dtype=np.uint8))  # 4 x 10 pixels of 2 mm x 3 mm


def test_numbers_worked_out_by_hand():
    heat = image(block(slice(5, 9), slice(14, 24)))  # the same block, 4 columns (8 mm) to the left of the patient
    found = compute_agreement(heat, ROI)
    assert found.dice == pytest.approx(2 * 24 / 80)
    assert found.at_threshold.iou == pytest.approx(24 / 56)
    assert found.at_threshold.area_mm2 == pytest.approx(40 * 6)
    assert found.roi_area_mm2 == pytest.approx(40 * 6)
    assert found.at_threshold.centroid_distance_mm == pytest.approx(8.0)
    assert found.energy_inside == pytest.approx(24 / 40)
    # Of 24 outline pixels, the last 4 columns' (8 or more than 5 %) lie 2..8 mm beyond the other outline.
    assert found.at_threshold.hd95_mm == pytest.approx(8.0)
    assert found.at_threshold.chance_dice == pytest.approx(2 * 40 * (40 / 600) / 80)
    assert set(found.reasons) == {"mean mask"}


def test_a_perfect_map_is_perfect():
    found = compute_agreement(image(block(slice(5, 9), slice(10, 20), 7.0)), ROI)
    assert (found.dice, found.at_threshold.iou, found.energy_inside) == (1, 1, 1)
    assert (found.at_threshold.hd95_mm, found.at_threshold.centroid_distance_mm) == (0, 0)
    assert found.pointing_hit is True


def test_a_map_elsewhere_has_no_overlap():
    found = compute_agreement(image(block(slice(15, 18), slice(10, 20))), ROI)
    assert (found.dice, found.at_threshold.iou, found.energy_inside, found.pointing_hit) == (0, 0, 0, False)
    assert found.at_threshold.hd95_mm > 20


def test_thresholds_are_shares_of_the_maximum():
    heat = block(slice(5, 9), slice(10, 20), 0.004)
    heat[5:9, 20:25] = 0.0016  # 40 % of the maximum
    above, below = (
        compute_agreement(image(heat), ROI, threshold=0.5),
        compute_agreement(image(heat), ROI, threshold=0.3),
    )
    assert above.dice == 1
    assert below.dice == pytest.approx(2 * 40 / 100)
    assert (above.threshold, below.threshold) == (0.5, 0.3)


def test_the_sweep_covers_both_ends_and_shrinks():
    rows, columns = np.indices((20, 30))
    heat = np.exp(-((rows - 7) ** 2 + (columns - 15) ** 2) / 60).astype(np.float32)
    found = compute_agreement(image(heat), ROI)
    assert [one.threshold for one in found.sweep] == list(SWEEP)
    areas = [one.area_mm2 for one in found.sweep]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[-1] > 0


def test_otsu_separates_two_levels():
    heat = block(slice(5, 9), slice(10, 20), 10.0) + 1.0
    found = compute_agreement(image(heat), ROI)
    assert 0.09 < found.at_otsu.threshold < 1
    assert found.at_otsu.dice == 1


def test_chance_dice_refers_to_the_body():
    body = block(slice(0, 20), slice(0, 15), 1).astype(bool)  # half of the slice, half of the ROI
    found = compute_agreement(image(block(slice(5, 9), slice(10, 20))), ROI, body=body)
    assert found.at_threshold.chance_dice == pytest.approx(2 * 20 * (40 / 300) / 80)


def test_an_area_larger_than_the_body_fills_it():
    body = block(slice(5, 9), slice(10, 15), 1).astype(bool)  # 20 pixels, all of them in the ROI of 40
    found = compute_agreement(image(block(slice(5, 10), slice(10, 20))), ROI, body=body)  # 50 pixels
    assert found.at_threshold.chance_dice == pytest.approx(2 * 20 / (50 + 40))


def test_chance_dice_equals_the_mean_of_random_maps():
    rng = np.random.default_rng(0)
    inside = sitk.GetArrayFromImage(ROI)[0].astype(bool)
    dices = []
    for _ in range(3000):
        hot = np.zeros(600, dtype=bool)
        hot[rng.choice(600, 55, replace=False)] = True
        dices.append(2 * np.count_nonzero(hot.reshape(20, 30) & inside) / (55 + 40))
    heat = np.zeros(600, dtype=np.float32)
    heat[:55] = 1
    chance = compute_agreement(image(heat.reshape(20, 30)), ROI).at_threshold.chance_dice
    assert chance == pytest.approx(np.mean(dices), abs=3 * np.std(dices) / np.sqrt(3000))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_hd95_and_dice_agree_with_their_definitions(seed, threshold):
    rng = np.random.default_rng(seed)
    heat = rng.random((20, 30)).astype(np.float32) ** 4
    found = compute_agreement(image(heat), ROI, threshold=threshold)
    hot, inside = heat >= threshold * heat.max(), sitk.GetArrayFromImage(ROI)[0].astype(bool)
    assert found.dice == pytest.approx(2 * (hot & inside).sum() / (hot.sum() + inside.sum()))

    def outline(region):
        padded = np.pad(region, 1)
        eroded = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(region & ~eroded) * (3.0, 2.0)

    a, b = outline(hot), outline(inside)
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
    assert found.at_threshold.hd95_mm == pytest.approx(expected, abs=1e-4)


def test_a_region_at_the_edge_has_an_outline_there():
    everything = image(np.ones((20, 30), dtype=np.float32))
    found = compute_agreement(everything, ROI)
    assert found.at_threshold.hd95_mm > 20
    assert found.pointing_hit is False  # a flat map points at the middle of the slice, (10, 14): outside


def test_an_roi_missing_from_the_slice_leaves_agreement_undefined():
    found = compute_agreement(image(block(slice(5, 9), slice(10, 20))), image(np.zeros((20, 30), dtype=np.uint8)))
    assert math.isnan(found.dice)
    assert math.isnan(found.energy_inside)
    assert found.pointing_hit is None
    assert all(math.isnan(one.dice) for one in found.sweep)
    assert "ROI has no pixel" in found.reasons["all"]
    assert found.roi_area_mm2 == 0


def test_an_empty_map_leaves_agreement_undefined():
    found = compute_agreement(image(np.zeros((20, 30), dtype=np.float32)), ROI)
    assert math.isnan(found.dice)
    assert found.pointing_hit is None
    assert "empty" in found.reasons["all"]
    assert found.at_threshold.area_mm2 == 0


def test_without_a_pixel_size_there_are_no_millimetres():
    found = compute_agreement(image(block(slice(5, 9), slice(14, 24))), ROI, spacing_known=False)
    assert found.dice == pytest.approx(0.6)
    for value in (found.roi_area_mm2, found.at_threshold.area_mm2, found.at_threshold.hd95_mm,
                  found.at_threshold.centroid_distance_mm):  # fmt: skip
        assert math.isnan(value)
    assert "millimetres" in found.reasons


def test_different_grids_are_refused():
    with pytest.raises(GeometryError, match="Attention map and ROI"):
        compute_agreement(image(block(slice(5, 9), slice(10, 20)), spacing=(2.0, 3.1, 5.0)), ROI)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(InputError, match=r"Threshold .*expected .* Change `threshold`"):
        compute_agreement(image(block(slice(5, 9), slice(10, 20))), ROI, threshold=threshold)
