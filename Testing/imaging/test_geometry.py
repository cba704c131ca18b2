from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from GTRStagingLib.errors import GeometryError
from GTRStagingLib.imaging import geometry, keyslice

ORDERS = list(permutations(range(3)))


@st.composite
def scans(draw):
    """Small images of any axis order, signs, spacing, origin and obliquity."""
    columns = np.eye(3)[:, list(draw(st.sampled_from(ORDERS)))]
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    axis = draw(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1))
    degrees = draw(st.one_of(st.just(0.0), st.floats(-180, 180)))
    direction = rotation(axis, degrees) @ columns * np.array(signs)
    size = draw(st.tuples(*[st.integers(1, 6)] * 3))
    array = np.arange(np.prod(size), dtype=np.int16).reshape(size[::-1])
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(draw(st.tuples(*[st.floats(0.3, 7)] * 3)))
    image.SetOrigin(draw(st.tuples(*[st.floats(-500, 500)] * 3)))
    geometry.set_direction(image, direction.ravel())
    return image


def places(image):
    """Value of each voxel -> where it lies; values are distinct."""
    array = sitk.GetArrayViewFromImage(image)
    return {
        int(array[z, y, x]): image.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))
        for z, y, x in np.ndindex(array.shape)
    }


def assert_same_places(a, b):
    here, there = places(a), places(b)
    assert here.keys() == there.keys()
    for value, point in here.items():
        np.testing.assert_allclose(there[value], point, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(scans())
def test_axial_order_moves_no_voxel_and_can_be_undone(image):
    axial = geometry.axial_lps(image)
    assert_same_places(image, axial)
    back = geometry.in_axis_order_of(axial, image)
    assert geometry.same_grid(back, image, tolerance=1e-6)
    assert (sitk.GetArrayViewFromImage(back) == sitk.GetArrayViewFromImage(image)).all()


@settings(max_examples=150, deadline=None)
@given(scans())
def test_axial_axes_are_as_close_to_lps_as_possible(image):
    direction = geometry.direction_matrix(geometry.axial_lps(image))
    assert (np.diag(direction) >= -1e-12).all()
    best = max(sum(abs(direction[i, p[i]]) for i in range(3)) for p in ORDERS)
    assert np.trace(direction) == pytest.approx(best)


@settings(max_examples=150, deadline=None)
@given(scans(), st.data())
def test_a_grid_has_the_geometry_of_its_image(image, data):
    grid = geometry.grid_of(image)
    for asked in ("GetDimension", "GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(grid, asked)() == getattr(image, asked)()
    index = data.draw(st.tuples(*[st.floats(-20, 20)] * 3))
    point = image.TransformContinuousIndexToPhysicalPoint(index)
    assert grid.TransformContinuousIndexToPhysicalPoint(index) == pytest.approx(point, abs=1e-9)
    assert grid.TransformPhysicalPointToContinuousIndex(point) == pytest.approx(index, abs=1e-9)
    for f in (geometry.axial_order, geometry.axial_size, geometry.tilt_degrees, geometry.describe):
        assert f(grid) == f(image)
    for k in range(geometry.axial_size(image)[2]):
        assert geometry.slice_centre(grid, k) == pytest.approx(geometry.slice_centre(image, k), abs=1e-9)
    assert geometry.same_grid(grid, image, tolerance=1e-9)
    low = [data.draw(st.integers(0, n - 1)) for n in image.GetSize()]
    window = tuple(
        slice(a, data.draw(st.integers(a + 1, n)), data.draw(st.integers(1, 3)))
        for a, n in zip(low, image.GetSize(), strict=True)
    )
    assert grid[window].GetSize() == image[window].GetSize()
    assert geometry.same_grid(grid[window], image[window], tolerance=1e-9)
    array = sitk.GetArrayFromImage(image)
    assert_same_places(grid.image(array), image)


def test_an_empty_block_is_refused(a_ct):
    with pytest.raises(GeometryError, match="at least one voxel"):
        geometry.grid_of(a_ct)[slice(None), slice(5, 5), slice(None)]


@settings(max_examples=100, deadline=None)
@given(scans(), st.data())
def test_slices_are_the_same_before_and_after_reordering(image, data):
    axial = geometry.axial_lps(image)
    n = axial.GetSize()[2]
    assert geometry.axial_size(image) == axial.GetSize()
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    step = data.draw(st.integers(1, 4))
    cut = geometry.axial_slices(image, first, last, step)
    expected = axial[:, :, first : last + 1 : step]
    assert geometry.same_grid(cut, expected, tolerance=1e-6)
    assert (sitk.GetArrayViewFromImage(cut) == sitk.GetArrayViewFromImage(expected)).all()
    centre = [(n - 1) / 2 for n in axial.GetSize()[:2]]
    expected_mm = axial.TransformContinuousIndexToPhysicalPoint([*centre, float(first)])[2]
    assert geometry.slice_position_mm(image, first) == pytest.approx(expected_mm, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(scans(), st.data())
def test_a_reordered_and_cropped_mask_keeps_its_voxels(image, data):
    array = sitk.GetArrayViewFromImage(image)
    mask = sitk.GetImageFromArray((array % 3 == 0).astype(np.uint8))
    mask.CopyInformation(image)
    # Crop to the mask's own box, as Slicer does, and store it in another axis order.
    box = np.argwhere(sitk.GetArrayViewFromImage(mask))
    (z0, y0, x0), (z1, y1, x1) = box.min(0).tolist(), box.max(0).tolist()
    cropped = mask[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1]
    shuffled = sitk.PermuteAxes(cropped, data.draw(st.sampled_from(ORDERS)))
    placed = geometry.onto_grid(shuffled, image)
    assert geometry.same_grid(placed, image, tolerance=1e-6)
    assert (sitk.GetArrayViewFromImage(placed) == sitk.GetArrayViewFromImage(mask)).all()
    assert geometry.on_lattice(geometry.grid_of(shuffled), image)
    # The block is no larger than necessary, and has the same areas as the whole mask.
    block = geometry.onto_block(shuffled, geometry.grid_of(image))
    assert sitk.GetArrayViewFromImage(block).sum() == sitk.GetArrayViewFromImage(mask).sum()
    assert all(a <= b + 2 for a, b in zip(block.GetSize(), cropped.GetSize(), strict=True))
    assert keyslice.areas_mm2(geometry.grid_of(image), block) == pytest.approx(keyslice.areas_mm2(image, mask))
    n = geometry.axial_size(image)[2]
    first = data.draw(st.integers(0, n - 1))
    slices = geometry.axial_slices(image, first, data.draw(st.integers(first, n - 1)))
    expected = np.isin(sitk.GetArrayViewFromImage(slices), array[array % 3 == 0])
    assert (sitk.GetArrayViewFromImage(geometry.embedded(block, slices)) == expected).all()


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
@pytest.mark.parametrize("noise", [1e-12, -1e-12, 1e-4, -1e-4])
@pytest.mark.parametrize("order", ORDERS)
def test_at_45_degrees_a_mask_takes_the_order_of_its_ct(axis, noise, order):
    """Two orders are then equally close to L, P, S: rounding must not give mask and CT different orders."""
    ct = ct_like(direction=rotation(axis, 45))
    mask = a_block(ct)
    mask.SetDirection(rotation(axis, 45 + noise).ravel().tolist())
    placed = geometry.onto_grid(sitk.PermuteAxes(mask, order), ct)
    assert (sitk.GetArrayViewFromImage(placed) == sitk.GetArrayViewFromImage(a_block(ct))).all()


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_at_45_degrees_rounding_does_not_change_the_order(axis):
    orders = {geometry.axial_order(ct_like(direction=rotation(axis, 45 + noise))) for noise in (-1e-10, 0, 1e-10)}
    assert len(orders) == 1


@settings(max_examples=100, deadline=None)
@given(scans(), st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_a_resized_grid_covers_the_same_field(image, size):
    grid = geometry.resized_grid(image, size)
    assert grid.GetSize() == (*size, image.GetSize()[2])
    for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
        outer = [c * n - 0.5 for c, n in zip(corner, image.GetSize()[:2], strict=True)]
        inner = [c * n - 0.5 for c, n in zip(corner, size, strict=True)]
        np.testing.assert_allclose(
            grid.TransformContinuousIndexToPhysicalPoint([*inner, 0.0]),
            image.TransformContinuousIndexToPhysicalPoint([*outer, 0.0]),
            atol=1e-6,
        )


def test_a_square_grid_is_centred_and_contains_the_slices():
    image = ct_like(shape=(3, 40, 50), spacing=(0.9, 1.1, 4.0))
    grid = geometry.square_grid(image, 1.0)
    assert grid.GetSize() == (45, 45, 3)  # 50 * 0.9 = 45 mm is the longer side; 44 mm the other
    assert grid.GetSpacing() == (1.0, 1.0, 4.0)
    middle = [(n - 1) / 2 for n in image.GetSize()]
    np.testing.assert_allclose(
        grid.TransformContinuousIndexToPhysicalPoint([22.0, 22.0, 1.0]),
        image.TransformContinuousIndexToPhysicalPoint(middle),
        atol=1e-9,
    )


@pytest.mark.parametrize(("shift", "same"), [(0.0, True), (0.04, True), (0.06, False), (1.0, False)])
def test_grids_are_the_same_within_a_twentieth_of_a_voxel(a_ct, shift, same):
    moved = sitk.Image(a_ct)
    moved.SetOrigin([a_ct.GetOrigin()[0] + shift * a_ct.GetSpacing()[0], *a_ct.GetOrigin()[1:]])
    assert geometry.same_grid(a_ct, moved) is same


def test_a_different_spacing_is_another_grid_despite_the_same_origin(a_ct):
    other = sitk.Image(a_ct)
    other.SetSpacing([s * 1.01 for s in a_ct.GetSpacing()])
    assert not geometry.same_grid(a_ct, other)
    with pytest.raises(GeometryError, match="different grids"):
        geometry.require_same_grid(a_ct, other, "Heat map and ROI")


def a_block(ct, shift=(0.0, 0.0, 0.0)):
    """A mask of a few voxels on the CT's lattice, moved by some of its voxels."""
    array = np.zeros(ct.GetSize()[::-1], dtype=np.uint8)
    array[3:6, 10:20, 15:30] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(ct)
    mask.SetOrigin([o + s * v for o, s, v in zip(ct.GetOrigin(), shift, ct.GetSpacing(), strict=True)])
    return mask


def test_an_roi_between_the_voxels_is_refused_without_resampling(a_ct):
    mask = a_block(a_ct, shift=(0.3, 0.0, 0.0))
    with pytest.raises(GeometryError, match=r"are 0\.30 voxels apart.*`resample_roi=True`"):
        geometry.onto_grid(mask, a_ct)
    placed = geometry.onto_grid(mask, a_ct, resample=True)
    assert sitk.GetArrayViewFromImage(placed).sum() == 3 * 10 * 15


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(0.4, 2.5)] * 3), st.floats(-20, 20))
def test_a_resampled_block_has_the_nearest_voxels(shift, scale, degrees):
    ct = ct_like()
    mask = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
    mask.SetSpacing([s * v for s, v in zip(scale, ct.GetSpacing(), strict=True)])
    mask.SetDirection(rotation((1, 2, 3), degrees).ravel().tolist())
    middle = ct.TransformContinuousIndexToPhysicalPoint(
        # Not by halves of a voxel: two voxels would be equally near.
        [(n - 1) / 2 + s + 0.000314159 for n, s in zip(ct.GetSize(), shift, strict=True)]
    )
    centre = [n // 2 for n in ct.GetSize()]
    mask.SetOrigin((np.array(middle) - mask.TransformIndexToPhysicalPoint(centre)).tolist())
    (x, y, z) = centre
    mask[x - 4 : x + 5, y - 3 : y + 2, z - 1 : z + 2] = 1
    expected = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    found = geometry.onto_grid(mask, ct, resample=True)
    assert (sitk.GetArrayViewFromImage(found) == sitk.GetArrayViewFromImage(expected)).all()


def test_a_block_of_another_grid_is_refused(a_ct):
    block = a_block(a_ct)[15:30, 10:20, 3:6]
    assert geometry.slices_of_block(block, a_ct, "A and B") == range(3, 6)
    down = [sitk.Flip(image, (False, False, True)) for image in (block, a_ct)]
    assert geometry.slices_of_block(*down, "A and B") == range(3, 6)
    for other in (
        down[1],
        a_ct[:, :, 4:],
        a_ct[:, 11:, :],
        ct_like(spacing=(0.9, 1.1, 4.1)),
        ct_like(origin=(-20.5, 30, -400)),
    ):
        with pytest.raises(GeometryError, match="A and B have different grids"):
            geometry.slices_of_block(block, other, "A and B")


@pytest.mark.parametrize("resample", [False, True])
def test_an_roi_outside_the_ct_is_refused(a_ct, resample):
    with pytest.raises(GeometryError, match="expected an overlap"):
        geometry.onto_grid(a_block(a_ct, shift=(400.0, 0.0, 0.0)), a_ct, resample=resample)


@pytest.mark.parametrize("resample", [False, True])
def test_an_roi_partly_outside_the_ct_is_refused(a_ct, resample):
    with pytest.raises(GeometryError, match="150 of 450 voxels of the ROI are outside the CT; expected none"):
        geometry.onto_grid(a_block(a_ct, shift=(0.0, 0.0, -4.0)), a_ct, resample=resample)


def test_a_resampled_roi_loses_no_voxel_at_the_edge(a_ct):
    mask = a_block(a_ct, shift=(-15.3, 0.0, 0.0))  # its first column's centre lies 0.3 voxels outside the first voxel's
    assert sitk.GetArrayViewFromImage(geometry.onto_grid(mask, a_ct, resample=True)).sum() == 450
    mask = a_block(a_ct, shift=(-15.7, 0.0, 0.0))
    with pytest.raises(GeometryError, match="30 of 450 voxels of the ROI"):
        geometry.onto_grid(mask, a_ct, resample=True)


@pytest.mark.parametrize("degrees", [0, 12, 30])
def test_tilt_is_the_angle_of_the_slices(degrees):
    assert geometry.tilt_degrees(ct_like(direction=rotation((1, 0, 0), degrees))) == pytest.approx(degrees)


@pytest.mark.parametrize("dust", [1e-314, -1e-310, 1e-17])
def test_denormal_cosines_keep_the_geometry(dust):
    image = sitk.Image(2, 3, 4, sitk.sitkUInt8)
    geometry.set_direction(image, (1, dust, 0, -dust, 1, 0, 0, 0, -1))
    point = image.TransformIndexToPhysicalPoint((1, 2, 3))
    assert image.TransformPhysicalPointToContinuousIndex(point) == (1, 2, 3)


def test_slices_beyond_the_scan_are_refused(a_ct):
    with pytest.raises(GeometryError, match="0 to 8"):
        geometry.axial_slices(a_ct, 7, 9)


def test_on_lattice_agrees_with_onto_grid_without_resampling(a_ct):
    mask = sitk.Cast(a_ct > 0, sitk.sitkUInt8)
    for kept in (mask, mask[5:20, 3:, 2:5], sitk.Flip(mask, (True, False, True)), sitk.PermuteAxes(mask, (2, 0, 1))):
        assert geometry.on_lattice(kept, a_ct)
        geometry.onto_grid(kept, a_ct)
    shifted = sitk.Image(mask)
    shifted.SetOrigin(a_ct.TransformContinuousIndexToPhysicalPoint((0.1, 0.0, 0.0)))
    assert not geometry.on_lattice(shifted, a_ct)
    with pytest.raises(GeometryError, match="voxels apart"):
        geometry.onto_grid(shifted[1:-1, 1:-1, 1:-1], a_ct)
