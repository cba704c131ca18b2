"""Convert MRML nodes to the library's images and back: voxels, geometry and segments.

Slicer states positions in RAS and places nodes under transforms; the library uses LPS without transforms. The library
gets positions in the world. The user's nodes are not changed: transforms are hardened on copies.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util import numpy_support

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import geometry, keyslice, scans
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import Scan
from GTRStagingSlicer.mrml import Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.words import tr as _

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
BINARY_LABELMAP = "Binary labelmap"


def of_class(scene: Scene, class_name: str) -> list[Node]:
    """Return the nodes of a class and of those derived from it, in the scene's order."""
    return [scene.GetNthNodeByClass(i, class_name) for i in range(scene.GetNumberOfNodesByClass(class_name))]


@dataclass(frozen=True)
class Placed:
    """Voxels of a volume, with their geometry in world coordinates.

    Attributes
    ----------
    image
        Voxels in the axis order of the node, with their geometry in LPS.
    ijk_to_world
        (4, 4) matrix in RAS.
    hardened
        Whether the volume's transform bends or shears the grid, so that the voxels were interpolated on a regular grid.
    """

    image: sitk.Image
    ijk_to_world: np.ndarray
    hardened: bool


# -- volumes -------------------------------------------------------------------------------------------------------


def placed(volume: VolumeNode) -> Placed:
    """Return a volume node's voxels with their geometry in world coordinates.

    Raises
    ------
    InputError
        If the node contains no voxels.
    GeometryError
        If the volume's own axes are not perpendicular.
    """
    data = volume.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None:
        raise InputError(
            _("The volume “{name}” contains no voxels; expected a CT. Load it again, or choose another volume.").format(
                name=volume.GetName()
            )
        )
    own = matrix_of(volume.GetIJKToRASMatrix)
    parent = volume.GetParentTransformNode()
    if parent is None:
        return Placed(_image(data, own), own, False)
    if parent.IsTransformToWorldLinear():
        to_world = parent_to_world(volume) @ own
        if _is_perpendicular(to_world):
            return Placed(_image(data, to_world), to_world, False)
    # A general transform, even of linear parts, makes Slicer interpolate the voxels on a regular grid.
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.Copy(volume)
    copy.ApplyTransform(_any_to_world(parent))
    placed_ct = matrix_of(copy.GetIJKToRASMatrix)
    return Placed(_image(copy.GetImageData(), placed_ct), placed_ct, True)


def grid_of(volume: VolumeNode) -> geometry.ImageOrGrid:
    """Return the grid of `placed`, without reading voxels unless a transform bends the grid.

    Raises
    ------
    InputError, GeometryError
        As `placed` does.
    """
    parent = volume.GetParentTransformNode()
    if volume.GetImageData() is None or not (parent is None or parent.IsTransformToWorldLinear()):
        return placed(volume).image
    to_world = parent_to_world(volume) @ matrix_of(volume.GetIJKToRASMatrix)
    if not _is_perpendicular(to_world):
        return placed(volume).image
    place = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    _set_geometry(place, to_world)
    return replace(geometry.grid_of(place), size=volume.GetImageData().GetDimensions())


def geometry_key(volume: VolumeNode | None) -> str:
    """Return a volume's geometry, to a micrometre, as text for comparison; empty without a volume."""
    if volume is None:
        return ""
    parent = volume.GetParentTransformNode()
    own = matrix_of(volume.GetIJKToRASMatrix)
    if parent is None or parent.IsTransformToWorldLinear():
        bent, matrix = "", parent_to_world(volume) @ own
    else:
        bent, matrix = f"bent by {parent.GetName()} ", own
    return bent + " ".join(f"{value:.3f}" for value in (matrix[:3] + 0.0).ravel())


def scan_of(placed_ct: Placed, name: str) -> Scan:
    """Return the CT of a volume node as a `Scan` under the node's name."""
    warnings: tuple[str, ...] = ()
    if placed_ct.hardened:
        warnings = (_("The volume's transform bends its grid: the voxels were interpolated on a regular grid."),)
    return scans.scan_of(placed_ct.image, f"The volume “{name}”", identifiers={"VolumeName": name}, warnings=warnings)


def matrix_of(getter: Callable[["vtk.vtkMatrix4x4"], object]) -> np.ndarray:
    """Return the (4, 4) matrix that a method of VTK fills."""
    matrix = vtk.vtkMatrix4x4()
    getter(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def vtk_matrix(values: np.ndarray) -> "vtk.vtkMatrix4x4":
    """Convert a (4, 4) array to VTK's matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(values, dtype=float).ravel().tolist())
    return matrix


def parent_to_world(node: "slicer.vtkMRMLTransformableNode") -> np.ndarray:
    """Return the (4, 4) RAS matrix of a node's parent transform to the world; the transform must be linear."""
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    return matrix_of(lambda matrix: between(node.GetParentTransformNode(), None, matrix))


def _any_to_world(transform: "slicer.vtkMRMLTransformNode") -> "vtk.vtkGeneralTransform":
    """Return the transform from a transform node to the world; it may be non-linear."""
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(transform, None, general)
    return general


def _is_perpendicular(ijk_to_ras: np.ndarray) -> bool:
    """Return whether the axes of a matrix are perpendicular, finite and not of zero length."""
    axes = ijk_to_ras[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return False
    cosines = axes / lengths
    return bool(np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-4))


def array_of(data: "vtk.vtkImageData") -> np.ndarray:
    """Return (z, y, x) voxels, or (z, y, x, c) with several values for each voxel; not copied."""
    scalars = data.GetPointData().GetScalars()
    channels = scalars.GetNumberOfComponents()
    shape = (*data.GetDimensions()[::-1], channels) if channels > 1 else data.GetDimensions()[::-1]
    return numpy_support.vtk_to_numpy(scalars).reshape(shape)


def _set_voxels(data: "vtk.vtkImageData", array: np.ndarray) -> None:
    """Copy (z, y, x) voxels into VTK's image."""
    data.SetDimensions(*array.shape[::-1])
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    data.GetPointData().SetScalars(scalars)


def _image(data: "vtk.vtkImageData", ijk_to_ras: np.ndarray) -> sitk.Image:
    array = array_of(data)
    image = sitk.GetImageFromArray(array, isVector=array.ndim > 3)
    _set_geometry(image, ijk_to_ras)
    return image


def _set_geometry(image: sitk.Image, ijk_to_ras: np.ndarray) -> None:
    """Set spacing, origin and direction of an image from a RAS matrix."""
    if not _is_perpendicular(ijk_to_ras):
        raise geometry.skewed_error("The volume")
    lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    geometry.set_direction(image, (lps[:3, :3] / spacing).ravel())


def ijk_to_ras_of(image: geometry.ImageOrGrid) -> np.ndarray:
    """Return the (4, 4) RAS matrix of an image of the library."""
    lps = np.eye(4)
    lps[:3, :3] = geometry.direction_matrix(image) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


def fill(volume: VolumeNode, image: sitk.Image, ijk_to_ras: np.ndarray | None = None) -> None:
    """Copy an image's voxels into a volume node, with its own geometry or that of a (4, 4) RAS matrix."""
    data = vtk.vtkImageData()
    _set_voxels(data, sitk.GetArrayViewFromImage(image))
    modified = volume.StartModify()
    volume.SetAndObserveImageData(data)
    volume.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras_of(image) if ijk_to_ras is None else ijk_to_ras))
    volume.EndModify(modified)


def fill_block(
    volume: VolumeNode,
    block: sitk.Image,
    ct: VolumeNode,
    placed_ct: Placed,
) -> None:
    """Copy a block on the CT's voxels into a volume node under the CT's transform, so that it moves with the CT.

    Parameters
    ----------
    block
        Image on a part of the voxels of `placed_ct.image`, in its axis order.
    placed_ct
        The CT as `placed` returned it. If it was hardened, the block gets no transform.
    """
    if placed_ct.hardened:
        volume.SetAndObserveTransformNodeID(None)
        fill(volume, block)
        return
    start = np.round(placed_ct.image.TransformPhysicalPointToContinuousIndex(block.GetOrigin()))
    shift = np.eye(4)
    shift[:3, 3] = start
    parent = ct.GetParentTransformNode()
    volume.SetAndObserveTransformNodeID(None if parent is None else parent.GetID())
    fill(volume, block, matrix_of(ct.GetIJKToRASMatrix) @ shift)


# -- slices --------------------------------------------------------------------------------------------------------


def slice_centre(image: geometry.ImageOrGrid, index: int) -> np.ndarray:
    """Return the centre of an axial slice, counted from the feet, as (3,) RAS."""
    return np.array(geometry.slice_centre(image, index)) * [-1, -1, 1]


def slice_corners(image: geometry.ImageOrGrid, index: int) -> np.ndarray:
    """Return the outer corners of an axial slice, in order around it, as (4, 3) RAS."""
    order = geometry.axial_order(image)
    size, stack = image.GetSize(), order.axes[2]
    corners = []
    for across, down in ((0, 0), (1, 0), (1, 1), (0, 1)):
        at = [0.0, 0.0, 0.0]
        at[order.axes[0]] = across * size[order.axes[0]] - 0.5
        at[order.axes[1]] = down * size[order.axes[1]] - 0.5
        at[stack] = size[stack] - 1 - index if order.flipped[2] else index
        corners.append(image.TransformContinuousIndexToPhysicalPoint(at))
    return np.array(corners) * [-1, -1, 1]


def slice_at(image: geometry.ImageOrGrid, plane: np.ndarray) -> keyslice.KeySlice:
    """Return the axial slice that a slice view shows.

    Parameters
    ----------
    plane
        The view's SliceToRAS, (4, 4): its third column is the normal, its fourth a point.

    Raises
    ------
    InputError
        If the view does not show axial slices of the scan, or lies outside it.
    """
    slices = geometry.axial_size(image)[2]
    first, last = slice_centre(image, 0), slice_centre(image, slices - 1)
    normal = plane[:3, 2] / np.linalg.norm(plane[:3, 2])
    axis = geometry.direction_matrix(image)[:, geometry.axial_order(image).axes[2]] * [-1, -1, 1]
    angle = float(np.degrees(np.arccos(np.clip(abs(normal @ axis), 0, 1))))
    if angle > 45:
        raise InputError(
            _(
                "The Red view is rotated by {angle:.0f}° from the scan's slices; expected an axial view. Set its "
                "orientation to Axial, and choose the slice again."
            ).format(angle=angle)
        )
    point = plane[:3, 3]
    spacing = image.GetSpacing()[geometry.axial_order(image).axes[2]]
    if slices == 1:
        steps = float((point - first) @ axis / spacing)
    else:
        way = (last - first) / (slices - 1)
        # The intersection of the plane with the line through the slices' centres.
        steps = float((point - first) @ normal / (way @ normal))
    index = round(steps)
    if not 0 <= index < slices:
        raise InputError(
            _(
                "The Red view is {mm:.0f} mm outside the scan ({slices} slices); expected one of its slices. Scroll to "
                "the tumour first."
            ).format(mm=abs(steps - np.clip(steps, 0, slices - 1)) * spacing, slices=slices)
        )
    return keyslice.by_index(image, index)


# -- segments ------------------------------------------------------------------------------------------------------


def segments_of(segmentation: SegmentationNode) -> dict[str, str]:
    """Return the segments as id -> name."""
    inner = segmentation.GetSegmentation()
    ids = [inner.GetNthSegmentID(i) for i in range(inner.GetNumberOfSegments())]
    return {one: inner.GetSegment(one).GetName() for one in ids}


def terminology_of(segment: "slicer.vtkSegment") -> str:
    """Return Slicer's text of a segment's codes (see the module `terminology`); empty without one."""
    text = vtk.reference("")
    found = segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), text)
    return str(text) if found else ""


def roi_of(segmentation: SegmentationNode, segment: str, ct: VolumeNode, placed_ct: Placed) -> Roi:
    """Return a segment as an ROI: on its own grid in world coordinates, or on the CT's grid if a transform bends it.

    Parameters
    ----------
    segment
        Id of the segment in the segmentation.
    placed_ct
        The CT as `placed` returned it.

    Raises
    ------
    InputError
        If the segmentation has no segment of that id, or the segment is empty.
    """
    names = segments_of(segmentation)
    if segment not in names:
        listing = ", ".join(f"“{name}”" for name in names.values()) or _("no segments")
        raise InputError(
            _(
                "The segmentation “{name}” has no segment with the id “{segment}”; expected one of: {listing}. Choose "
                "the tumour's segment."
            ).format(name=segmentation.GetName(), segment=segment, listing=listing)
        )
    drawn = _labelmap_of(segmentation, segment, ct)
    parent = segmentation.GetParentTransformNode()
    own = matrix_of(drawn.GetImageToWorldMatrix)
    linear = parent is None or parent.IsTransformToWorldLinear()
    to_world = parent_to_world(segmentation) @ own if linear else None
    if to_world is not None and _is_perpendicular(to_world):
        image = _mask_of(drawn, to_world)
    else:
        image = _resampled_mask(drawn, parent, ct, placed_ct)
    name = names[segment]
    if image is None or not sitk.GetArrayViewFromImage(image).any():
        raise InputError(
            _(
                "The segment “{name}” is empty; expected the tumour. Draw it in the Segment Editor, or choose another "
                "segment."
            ).format(name=name)
        )
    return Roi(image, name, number=list(names).index(segment) + 1)


def _labelmap_of(segmentation: SegmentationNode, segment: str, ct: VolumeNode) -> "slicer.vtkOrientedImageData":
    """Return a segment's 0/1 voxels; a surface or contours are converted on a copy."""
    if not segmentation.GetSegmentation().ContainsRepresentation(BINARY_LABELMAP):
        segmentation = _converted_to_labelmap(segmentation, ct)
    drawn = slicer.vtkOrientedImageData()
    shared = segmentation.GetBinaryLabelmapInternalRepresentation(segment)
    if shared is not None and not shared.IsEmpty():
        segmentation.GetBinaryLabelmapRepresentation(segment, drawn)
    return drawn


def _converted_to_labelmap(segmentation: SegmentationNode, ct: VolumeNode) -> SegmentationNode:
    """Return a copy outside the scene, converted to label maps on the CT's grid."""
    drawn = slicer.vtkSegmentation()
    drawn.DeepCopy(segmentation.GetSegmentation())
    grid = slicer.vtkOrientedImageData()
    grid.ShallowCopy(ct.GetImageData())
    grid.SetImageToWorldMatrix(vtk_matrix(matrix_of(ct.GetIJKToRASMatrix)))
    converter = slicer.vtkSegmentationConverter
    drawn.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(grid)
    )
    if not drawn.CreateRepresentation(BINARY_LABELMAP):
        raise InputError(
            _(
                "The segmentation “{name}” cannot be converted to a binary labelmap. Create the binary labelmap in the "
                "Segmentations module."
            ).format(name=segmentation.GetName())
        )
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetAndObserveSegmentation(drawn)
    return copy


def _mask_of(drawn: "slicer.vtkOrientedImageData", image_to_world: np.ndarray) -> sitk.Image | None:
    if drawn.GetPointData().GetScalars() is None:
        return None
    start = np.eye(4)
    start[:3, 3] = drawn.GetExtent()[::2]
    return _image(drawn, image_to_world @ start)


def _resampled_mask(
    drawn: "slicer.vtkOrientedImageData", parent: "slicer.vtkMRMLTransformNode", ct: VolumeNode, placed_ct: Placed
) -> sitk.Image | None:
    """Return a segment under a transform that bends it, resampled to the CT's grid."""
    if drawn.GetPointData().GetScalars() is None:
        return None
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(
        0, placed_ct.image.GetSize()[0] - 1, 0, placed_ct.image.GetSize()[1] - 1, 0, placed_ct.image.GetSize()[2] - 1
    )
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    reference.SetImageToWorldMatrix(vtk_matrix(placed_ct.ijk_to_world))
    out = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(drawn, reference, out, False, False, _any_to_world(parent)):
        raise GeometryError(
            _(
                "The segment cannot be resampled to the CT “{name}”; expected an invertible transform. Harden the "
                "transform on a copy in the Transforms module."
            ).format(name=ct.GetName())
        )
    return _mask_of(out, placed_ct.ijk_to_world)


def add_segment(
    segmentation: SegmentationNode,
    mask: sitk.Image,
    name: str,
    colour: tuple[float, float, float],
    segment: str,
    ijk_to_ras: np.ndarray | None = None,
    terminology: str | None = None,
) -> None:
    """Add a 0/1 image as a segment with the given id; replace an earlier segment with this id.

    `terminology` is Slicer's text of its codes (see the module of that name), which Slicer's own exports write.
    """
    inner = segmentation.GetSegmentation()
    if inner.GetSegment(segment) is not None:
        inner.RemoveSegment(segment)
    drawn = slicer.vtkOrientedImageData()
    _set_voxels(drawn, sitk.GetArrayViewFromImage(mask).astype(np.uint8))
    drawn.SetImageToWorldMatrix(vtk_matrix(ijk_to_ras_of(mask) if ijk_to_ras is None else ijk_to_ras))
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(drawn, name, colour, segment)
    if terminology is not None:
        inner.GetSegment(segment).SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology)
