"""Geometry there and back: oblique, flipped, permuted, anisotropic and transformed volumes, and their segments."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from conftest import ct_like
from GTRStagingSlicer import nodes, samples
from scenes import ORIENTATIONS, add_transform, add_volume, array_of, bend, box, oblique, rigid

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import geometry, keyslice


def same_voxels(a, b):
    return np.array_equal(sitk.GetArrayViewFromImage(a), sitk.GetArrayViewFromImage(b))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_an_image_comes_back_as_it_went_in(scene, name):
    image = ORIENTATIONS[name]()
    volume = add_volume(scene, image)
    there = nodes.placed(volume)
    assert geometry.same_grid(there.image, image, tolerance=1e-6)
    assert same_voxels(there.image, image)
    assert not there.hardened


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_voxel_lies_where_slicer_puts_it(scene, name):
    """Against VTK's own matrices, through two nested transforms."""
    volume = add_volume(scene, ORIENTATIONS[name]())
    outer = add_transform(scene, rigid((1, 2, 0.5), 33, (5, -7, 11)))
    inner = add_transform(scene, rigid((0, 1, 0), -12, (1, 2, 3)))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    volume.SetAndObserveTransformNodeID(inner.GetID())
    there = nodes.placed(volume)
    to_ras, to_world = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    volume.GetIJKToRASMatrix(to_ras)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(inner, None, to_world)
    for index in ((0, 0, 0), (3, 5, 2), (7, 1, 4)):
        ras = to_world.TransformPoint(to_ras.MultiplyPoint((*index, 1.0))[:3])
        lps = there.image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(np.array(lps) * [-1, -1, 1], ras, atol=1e-6)
    assert not there.hardened


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_grid_without_voxels_is_the_same(scene, name):
    volume = add_volume(scene, ORIENTATIONS[name]())
    volume.SetAndObserveTransformNodeID(add_transform(scene, rigid((1, 0, 0), 7, (1, 2, 3))).GetID())
    grid, image = nodes.grid_of(volume), nodes.placed(volume).image
    assert geometry.axial_size(grid) == geometry.axial_size(image)
    for index in (0, 3):
        assert np.allclose(nodes.slice_centre(grid, index), nodes.slice_centre(image, index), atol=1e-9)
        assert keyslice.by_index(grid, index).position_mm == pytest.approx(keyslice.by_index(image, index).position_mm)


def test_a_bent_volume_is_hardened_on_a_copy(scene):
    """What is bent is elsewhere, on a copy; the node is as it was."""
    image = ct_like()
    volume = add_volume(scene, image)
    before, transform = array_of(volume).copy(), bend(scene)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    n = scene.GetNumberOfNodes()
    there = nodes.placed(volume)
    assert there.hardened
    assert scene.GetNumberOfNodes() == n
    assert volume.GetParentTransformNode() is transform
    assert np.array_equal(array_of(volume), before)
    assert not np.array_equal(sitk.GetArrayViewFromImage(there.image), before)
    assert "bends its grid" in nodes.scan_of(there, "CT").warnings[0]


def test_a_shear_is_bent_upright_too(scene):
    """As a gantry tilt is: a linear transform after which the axes are no longer perpendicular."""
    shear = np.eye(4)
    shear[1, 2] = 0.2
    volume = add_volume(scene, ct_like())
    volume.SetAndObserveTransformNodeID(add_transform(scene, shear).GetID())
    assert nodes.placed(volume).hardened
    assert isinstance(nodes.grid_of(volume), sitk.Image)


def test_a_scan_keeps_names_apart_from_what_is_written(scene):
    scan = nodes.scan_of(nodes.placed(add_volume(scene, ct_like(), name="Doe^Jane")), "Doe^Jane")
    assert scan.identifiers == {"VolumeName": "Doe^Jane"}
    assert "Doe" not in repr(scan)
    assert scan.intensity == "HU"


def test_a_volume_that_is_not_a_ct_is_an_error(scene):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="“empty” contains no voxels.*Load it again"):
        nodes.placed(empty)
    with pytest.raises(InputError, match="“mask” is not in HU"):
        nodes.scan_of(nodes.placed(add_volume(scene, box(ct_like()))), "mask")
    skewed = add_volume(scene, ct_like())
    axes = nodes.matrix_of(skewed.GetIJKToRASMatrix)
    axes[:3, 0] += axes[:3, 1]
    skewed.SetIJKToRASMatrix(nodes.vtk_matrix(axes))
    with pytest.raises(GeometryError, match="skewed"):
        nodes.placed(skewed)


# -- slices --------------------------------------------------------------------------------------------------------


def plane(point, normal=(0.0, 0.0, 1.0)):
    matrix = np.eye(4)
    matrix[:3, 2], matrix[:3, 3] = normal, point
    return matrix


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_view_at_a_slices_centre_shows_that_slice(scene, name):
    grid = nodes.grid_of(add_volume(scene, ORIENTATIONS[name]()))
    for index in range(geometry.axial_size(grid)[2]):
        centre = nodes.slice_centre(grid, index)
        assert nodes.slice_at(grid, plane(centre)).index == index
        assert nodes.slice_at(grid, plane(centre, (0, 0, -1))).index == index
        assert keyslice.by_index(grid, index).position_mm == pytest.approx(centre[2])


def test_between_two_slices_the_nearer_one_is_chosen(scene):
    grid = nodes.grid_of(add_volume(scene, ct_like()))
    low, high = nodes.slice_centre(grid, 3), nodes.slice_centre(grid, 4)
    assert nodes.slice_at(grid, plane(low + 0.4 * (high - low))).index == 3
    assert nodes.slice_at(grid, plane(low + 0.6 * (high - low))).index == 4


def test_a_view_that_shows_no_slice_is_an_error_with_a_remedy(scene):
    grid = nodes.grid_of(add_volume(scene, ct_like()))
    with pytest.raises(InputError, match="rotated by 90°.*Set its orientation to Axial"):
        nodes.slice_at(grid, plane(nodes.slice_centre(grid, 3), (1, 0, 0)))
    with pytest.raises(InputError, match=r"20 mm outside the scan \(9 slices\).*Scroll"):
        nodes.slice_at(grid, plane(nodes.slice_centre(grid, 8) + np.array([0, 0, 20])))
    with pytest.raises(InputError, match="outside the scan"):
        nodes.slice_at(grid, plane(nodes.slice_centre(grid, 0) - np.array([0, 0, 2.1])))


# -- segments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_segment_comes_back_on_the_cts_voxels(scene, name):
    image = ORIENTATIONS[name]()
    ct, mask = add_volume(scene, image), box(image, slice(2, 6), slice(1, 4), slice(1, 5))
    segmentation = samples.add_tumour(scene, ct, mask, "segmentation")
    roi = nodes.roi_of(segmentation, samples.TUMOUR, ct, nodes.placed(ct))
    assert roi.segment == "tumour"
    assert same_voxels(geometry.onto_grid(roi.mask, image), mask)


def test_a_segment_moves_with_its_own_transform(scene):
    image = oblique()
    ct, mask = add_volume(scene, image), box(image)
    segmentation = samples.add_tumour(scene, ct, mask, "segmentation")
    step = geometry.direction_matrix(image)[:, 2] * image.GetSpacing()[2] * [-1, -1, 1]
    shift = np.eye(4)
    shift[:3, 3] = step
    segmentation.SetAndObserveTransformNodeID(add_transform(scene, shift).GetID())
    roi = nodes.roi_of(segmentation, samples.TUMOUR, ct, nodes.placed(ct))
    assert same_voxels(geometry.onto_grid(roi.mask, image), box(image, z=slice(4, 7)))


def test_ct_and_segment_under_one_transform_stay_on_each_other(scene):
    image = ct_like()
    ct, mask = add_volume(scene, image), box(image)
    segmentation = samples.add_tumour(scene, ct, mask, "segmentation")
    for transform in (add_transform(scene, rigid((1, 1, 0), 20, (9, 8, 7))), bend(scene, amplitude_mm=0.0)):
        ct.SetAndObserveTransformNodeID(transform.GetID())
        segmentation.SetAndObserveTransformNodeID(transform.GetID())
        there = nodes.placed(ct)
        roi = nodes.roi_of(segmentation, samples.TUMOUR, ct, there)
        assert same_voxels(geometry.onto_grid(roi.mask, there.image), mask)


def test_one_of_several_segments_on_a_shared_layer_is_singled_out(scene):
    image = ct_like()
    ct = add_volume(scene, image)
    segmentation = samples.add_tumour(scene, ct, box(image, x=slice(2, 8)), "segmentation")
    nodes.add_segment(segmentation, box(image, x=slice(20, 26)), "liver", (0, 1, 0), "liver")
    segmentation.GetSegmentation().CollapseBinaryLabelmaps(False)
    roi = nodes.roi_of(segmentation, "liver", ct, nodes.placed(ct))
    assert roi.segment == "liver"
    assert same_voxels(geometry.onto_grid(roi.mask, image), box(image, x=slice(20, 26)))


def test_a_surface_is_turned_into_voxels_on_a_copy(scene):
    image = ct_like(shape=(20, 40, 50), spacing=(1.0, 1.0, 1.5))
    ct, mask = add_volume(scene, image), box(image, slice(10, 36), slice(8, 30), slice(4, 16))
    segmentation = samples.add_tumour(scene, ct, mask, "segmentation")
    segmentation.CreateClosedSurfaceRepresentation()
    inner = segmentation.GetSegmentation()
    inner.SetSourceRepresentationName("Closed surface")
    inner.RemoveRepresentation(nodes.BINARY_LABELMAP)
    roi = nodes.roi_of(segmentation, samples.TUMOUR, ct, nodes.placed(ct))
    on_ct = sitk.GetArrayFromImage(geometry.onto_grid(roi.mask, image)).astype(bool)
    wanted = sitk.GetArrayFromImage(mask).astype(bool)
    # Slicer smooths the surface: corners and edges are cut, the body of the box is the same.
    dice = 2 * np.count_nonzero(on_ct & wanted) / (np.count_nonzero(on_ct) + np.count_nonzero(wanted))
    assert dice > 0.9
    assert not inner.ContainsRepresentation(nodes.BINARY_LABELMAP)


def test_an_unknown_segment_is_an_error_with_the_known_ones(scene):
    image = ct_like()
    ct = add_volume(scene, image)
    segmentation = samples.add_tumour(scene, ct, box(image), "mine")
    segmentation.GetSegmentation().AddEmptySegment("hollow", "hollow")
    there = nodes.placed(ct)
    with pytest.raises(InputError, match="“mine” has no segment with the id “x”.*“tumour”, “hollow”"):
        nodes.roi_of(segmentation, "x", ct, there)
    with pytest.raises(InputError, match="“hollow” is empty"):
        nodes.roi_of(segmentation, "hollow", ct, there)


def test_a_block_of_the_ct_stays_with_it(scene):
    """Under its transform, on its voxels, wherever it is moved afterwards."""
    image = oblique()
    ct = add_volume(scene, image)
    transform = add_transform(scene, rigid((0, 0, 1), 15, (3, 3, 3)))
    ct.SetAndObserveTransformNodeID(transform.GetID())
    there = nodes.placed(ct)
    block = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "block")
    nodes.fill_block(block, there.image[4:20, 2:9, 3:6], ct, there)
    assert block.GetParentTransformNode() is transform
    for _ in range(2):
        a, b = nodes.placed(block).image, nodes.placed(ct).image
        assert geometry.same_grid(a, b[4:20, 2:9, 3:6], tolerance=1e-6)
        assert same_voxels(a, b[4:20, 2:9, 3:6])
        transform.SetMatrixTransformToParent(nodes.vtk_matrix(rigid((1, 0, 0), 40)))
