"""Compute the shares of pixels and cells that a mask covers: area and position in the patient."""

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, on_grid_of, rotation

from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.coverage import coverage, pooled


def a_mask(ct):
    """An oblong in two slices, off the middle in every direction."""
    voxels = np.zeros(sitk.GetArrayFromImage(ct).shape, np.uint8)
    voxels[3:5, 9:24, 28:35] = 1
    return on_grid_of(voxels, ct)


def centre_of(mask, position):
    """LPS mm of the centre of a mask's section with one of the slices of its third axis."""
    rows, columns = np.nonzero(sitk.GetArrayFromImage(mask)[position])
    return mask.TransformContinuousIndexToPhysicalPoint([columns.mean(), rows.mean(), float(position)])


@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True)], ids=["straight", "flipped"])
def test_coverage_keeps_area_and_position_of_a_mask(flips):
    """On an oblique scan, with pixels between its own: to half the distance of the points."""
    ct = ct_like(direction=rotation((0.3, 1, 0.2), 14) @ rotation((0, 0, 1), 9))
    mask = sitk.Flip(a_mask(ct), flips)
    native = geometry.axial_slices(ct, 2, 4)
    slices = geometry.square_grid(native, 0.53)
    shares = coverage(geometry.onto_block(mask, ct), slices)
    assert shares.shape == slices.GetSize()[::-1]
    assert not shares[0].any()  # the slice below it
    voxel, pixel = np.prod(ct.GetSpacing()[:2]), np.prod(slices.GetSpacing()[:2])
    for position in (1, 2):
        one = shares[position]
        assert one.sum() * pixel == pytest.approx(15 * 7 * voxel, rel=0.02)
        rows, columns = np.indices(one.shape)
        at = [(columns * one).sum() / one.sum(), (rows * one).sum() / one.sum(), float(position)]
        found = slices.TransformContinuousIndexToPhysicalPoint(at)
        np.testing.assert_allclose(found, centre_of(a_mask(ct), position + 2), atol=0.53 / 8)


def test_cells_are_centred_on_every_fourth_pixel():
    """The area is kept, and the centre of what is covered, times four, is its centre in pixels, to a 16th of a cell."""
    shares = np.zeros((2, 37, 50))
    shares[0, 11:18, 21:30] = 1
    shares[1, 0, 0] = shares[1, 36, 49] = 1
    cells = pooled(shares, 4)
    assert cells.shape == (2, 10, 13)
    rows, columns = np.indices(cells.shape[1:])
    assert cells[0].sum() * 16 == pytest.approx(7 * 9)
    assert (cells[0] * rows).sum() / cells[0].sum() * 4 == pytest.approx(14.0, abs=0.25)
    assert (cells[0] * columns).sum() / cells[0].sum() * 4 == pytest.approx(25.0, abs=0.25)
    assert cells[1, 0, 0] == cells[1, 9, 12] == 1 / 16
    assert cells[1].sum() == 2 / 16
