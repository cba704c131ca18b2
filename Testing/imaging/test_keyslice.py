import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, rotation

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import keyslice


def a_mask(ct, areas):
    """Return a mask with a number of pixels in each slice, in the order of the image."""
    array = np.zeros(ct.GetSize()[::-1], dtype=np.uint8)
    for z, pixels in areas.items():
        array[z].flat[:pixels] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(ct)
    return mask


def test_an_index_counts_from_the_feet_in_any_order_of_the_file():
    up = ct_like(origin=(0, 0, -400))
    down = sitk.Flip(up, (False, False, True))
    assert down.GetDirection()[8] == -1
    assert keyslice.by_index(up, 2).position_mm == pytest.approx(-392)
    assert keyslice.by_index(down, 2) == keyslice.by_index(up, 2)


@pytest.mark.parametrize("index", [-1, 9])
def test_a_slice_outside_the_scan_is_refused(a_ct, index):
    with pytest.raises(InputError, match="0 .nearest the feet. to 8"):
        keyslice.by_index(a_ct, index)


@pytest.mark.parametrize(("mm", "index"), [(-400, 0), (-398.1, 0), (-397.9, 1), (-368, 8), (-366.1, 8), (-401.9, 0)])
def test_a_position_takes_the_nearest_slice(a_ct, mm, index):
    key = keyslice.by_position(a_ct, mm)
    assert (key.index, key.chosen_by) == (index, "position")
    assert abs(key.position_mm - mm) <= 2


@pytest.mark.parametrize("mm", [-402.1, -365.9, float("nan"), float("inf")])
def test_a_position_outside_the_scan_is_refused(a_ct, mm):
    with pytest.raises(InputError, match=r"-400\.0 to -368\.0 mm"):
        keyslice.by_position(a_ct, mm)


def test_a_position_on_tilted_slices_is_that_of_their_centres():
    ct = ct_like(direction=rotation((1, 0, 0), 20))
    for index in (0, 4, 8):
        key = keyslice.by_index(ct, index)
        assert keyslice.by_position(ct, key.position_mm).index == index


@pytest.mark.smoke
def test_the_slice_with_the_largest_area_is_chosen_with_its_area(a_ct):
    key = keyslice.by_area(a_ct, a_mask(a_ct, {2: 10, 5: 31, 6: 30}))
    assert (key.index, key.chosen_by) == (5, "tumour area")
    assert key.tumour_area_mm2 == pytest.approx(31 * 0.9 * 1.1)


def test_the_largest_area_is_found_in_a_coronal_image():
    coronal = sitk.PermuteAxes(ct_like(), (0, 2, 1))
    mask = sitk.PermuteAxes(a_mask(ct_like(), {2: 10, 5: 31}), (0, 2, 1))
    assert keyslice.by_area(coronal, mask).index == 5


def test_an_empty_roi_is_refused(a_ct):
    with pytest.raises(InputError, match="empty"):
        keyslice.by_area(a_ct, a_mask(a_ct, {}))


def test_an_roi_on_another_grid_is_refused(a_ct):
    with pytest.raises(GeometryError, match="ROI and CT"):
        keyslice.by_area(a_ct, a_mask(ct_like(origin=(0, 0, 0)), {5: 3}))


def test_a_key_slice_chosen_by_hand_gets_its_area(a_ct):
    key = keyslice.with_area(keyslice.by_index(a_ct, 3), a_ct, a_mask(a_ct, {2: 10}))
    assert (key.chosen_by, key.tumour_area_mm2) == ("hand", 0)
