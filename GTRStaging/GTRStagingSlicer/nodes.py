"""From MRML nodes to the library's images and back: voxels, place and segments.

Slicer tells positions in RAS and puts nodes under transforms; the library has LPS and none. What the library gets is
where things are in the world, and the user's own nodes are never changed: what must be bent is bent on a copy.
"""

import re
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
from GTRStagingSlicer.mrml import SegmentationNode, VolumeNode
from GTRStagingSlicer.words import tr as _

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
BINARY_LABELMAP = "Binary labelmap"


@dataclass(frozen=True)
class Placed:
    """A volume's voxels in the world.

    Attributes
    ----------
    image
        In LPS, in the axis order of the node.
    ijk_to_world
        (4, 4) RAS.
    hardened
        Whether its transform bends or shears the grid, so that the voxels were interpolated on an upright one.
    """

    image: sitk.Image
    ijk_to_world: np.ndarray
    hardened: bool


# -- volumes -------------------------------------------------------------------------------------------------------


def placed(volume: VolumeNode) -> Placed:
    """A volume node's voxels and where they lie in the world.

    Raises
    ------
    InputError
        If the node holds no voxels.
    GeometryError
        If its own axes are not perpendicular.
    """
    data = volume.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None:
        raise InputError(
            _("The volume “{name}” holds no voxels; expected a CT. Load it again, or choose another volume.").format(
                name=volume.GetName()
            )
        )
    own = matrix_of(volume.GetIJKToRASMatrix)
    parent = volume.GetParentTransformNode()
    if parent is None:
        return Placed(_image(data, own), own, False)
    if parent.IsTransformToWorldLinear():
        to_world = parent_to_world(volume) @ own
        if _upright(to_world):
            return Placed(_image(data, to_world), to_world, False)
    # A general transform, even of linear parts, makes Slicer interpolate the voxels on an upright grid.
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.Copy(volume)
    copy.ApplyTransform(_any_to_world(parent))
    there = matrix_of(copy.GetIJKToRASMatrix)
    return Placed(_image(copy.GetImageData(), there), there, True)


def grid_of(volume: VolumeNode) -> geometry.ImageOrGrid:
    """Where `placed` would put a volume's voxels; they are looked at only where a transform bends them.

    Raises
    ------
    InputError, GeometryError
        As `placed` does.
    """
    parent = volume.GetParentTransformNode()
    if volume.GetImageData() is None or not (parent is None or parent.IsTransformToWorldLinear()):
        return placed(volume).image
    to_world = parent_to_world(volume) @ matrix_of(volume.GetIJKToRASMatrix)
    if not _upright(to_world):
        return placed(volume).image
    place = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    _place(place, to_world)
    return replace(geometry.grid_of(place), size=volume.GetImageData().GetDimensions())


def place_of(volume: VolumeNode | None) -> str:
    """Where a volume lies, as a text to compare: to a micrometre; empty where there is no volume."""
    if volume is None:
        return ""
    parent = volume.GetParentTransformNode()
    own = matrix_of(volume.GetIJKToRASMatrix)
    if parent is None or parent.IsTransformToWorldLinear():
        bent, matrix = "", parent_to_world(volume) @ own
    else:
        bent, matrix = f"bent by {parent.GetName()} ", own
    return bent + " ".join(f"{value:.3f}" for value in (matrix[:3] + 0.0).ravel())


def scan_of(there: Placed, name: str) -> Scan:
    """The CT of a volume node of that name, as the library stages it."""
    warnings: tuple[str, ...] = ()
    if there.hardened:
        warnings = (_("The volume's transform bends its grid: the voxels were interpolated on an upright one."),)
    return scans.scan_of(there.image, f"The volume “{name}”", identifiers={"VolumeName": name}, warnings=warnings)


def matrix_of(getter: Callable[["vtk.vtkMatrix4x4"], object]) -> np.ndarray:
    """(4, 4) from a method of VTK that fills a matrix."""
    matrix = vtk.vtkMatrix4x4()
    getter(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def vtk_matrix(values: np.ndarray) -> "vtk.vtkMatrix4x4":
    """A (4, 4) array as VTK's matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(values, dtype=float).ravel().tolist())
    return matrix


def parent_to_world(node: "slicer.vtkMRMLTransformableNode") -> np.ndarray:
    """(4, 4) RAS: from where a node is drawn to the world; its transform must be linear."""
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    return matrix_of(lambda matrix: between(node.GetParentTransformNode(), None, matrix))


def _any_to_world(transform: "slicer.vtkMRMLTransformNode") -> "vtk.vtkGeneralTransform":
    """From under a transform, bent as it may be, to the world."""
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(transform, None, general)
    return general


def _upright(ijk_to_ras: np.ndarray) -> bool:
    axes = ijk_to_ras[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        return False
    cosines = axes / lengths
    return bool(np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-4))


def array_of(data: "vtk.vtkImageData") -> np.ndarray:
    """(z, y, x) voxels, or (z, y, x, c) where there are several values each; not copied."""
    scalars = data.GetPointData().GetScalars()
    channels = scalars.GetNumberOfComponents()
    shape = (*data.GetDimensions()[::-1], channels) if channels > 1 else data.GetDimensions()[::-1]
    return numpy_support.vtk_to_numpy(scalars).reshape(shape)


def _put(data: "vtk.vtkImageData", array: np.ndarray) -> None:
    """Give VTK's image these (z, y, x) voxels, as a copy of its own."""
    data.SetDimensions(*array.shape[::-1])
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    data.GetPointData().SetScalars(scalars)


def _image(data: "vtk.vtkImageData", ijk_to_ras: np.ndarray) -> sitk.Image:
    array = array_of(data)
    image = sitk.GetImageFromArray(array, isVector=array.ndim > 3)
    _place(image, ijk_to_ras)
    return image


def _place(image: sitk.Image, ijk_to_ras: np.ndarray) -> None:
    """Give an image the place that a matrix tells in RAS."""
    if not _upright(ijk_to_ras):
        raise geometry.skewed_error("The volume")
    lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    geometry.set_direction(image, (lps[:3, :3] / spacing).ravel())


def ijk_to_ras_of(image: geometry.ImageOrGrid) -> np.ndarray:
    """(4, 4) of an image of the library, in RAS."""
    lps = np.eye(4)
    lps[:3, :3] = geometry.direction_matrix(image) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


def fill(volume: VolumeNode, image: sitk.Image, ijk_to_ras: np.ndarray | None = None) -> None:
    """Put an image's voxels into a volume node, at its own place or at another (4, 4) one, in RAS."""
    data = vtk.vtkImageData()
    _put(data, sitk.GetArrayViewFromImage(image))
    modified = volume.StartModify()
    volume.SetAndObserveImageData(data)
    volume.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras_of(image) if ijk_to_ras is None else ijk_to_ras))
    volume.EndModify(modified)


def fill_block(
    volume: VolumeNode,
    block: sitk.Image,
    ct: VolumeNode,
    there: Placed,
) -> None:
    """Put a block of the CT's own voxels into a volume node, so that it stays with the CT wherever that is moved.

    Parameters
    ----------
    block
        Some of the voxels of `there.image`, in its axis order.
    there
        The CT as it was placed. Where it was hardened, the block stays in the world, under no transform.
    """
    if there.hardened:
        volume.SetAndObserveTransformNodeID(None)
        fill(volume, block)
        return
    start = np.round(there.image.TransformPhysicalPointToContinuousIndex(block.GetOrigin()))
    shift = np.eye(4)
    shift[:3, 3] = start
    parent = ct.GetParentTransformNode()
    volume.SetAndObserveTransformNodeID(None if parent is None else parent.GetID())
    fill(volume, block, matrix_of(ct.GetIJKToRASMatrix) @ shift)


# -- slices --------------------------------------------------------------------------------------------------------


def slice_centre(image: geometry.ImageOrGrid, index: int) -> np.ndarray:
    """(3,) RAS of the centre of an axial slice, counted from the feet."""
    return np.array(geometry.slice_centre(image, index)) * [-1, -1, 1]


def slice_corners(image: geometry.ImageOrGrid, index: int) -> np.ndarray:
    """(4, 3) RAS: the outer corners of an axial slice, in turn."""
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
    """The axial slice that a slice view shows.

    Parameters
    ----------
    plane
        (4, 4) RAS, the view's SliceToRAS: its third column is the normal, its fourth a point.

    Raises
    ------
    InputError
        If the view does not show the scan's slices, or stands outside the scan.
    """
    slices = geometry.axial_size(image)[2]
    first, last = slice_centre(image, 0), slice_centre(image, slices - 1)
    normal = plane[:3, 2] / np.linalg.norm(plane[:3, 2])
    axis = geometry.direction_matrix(image)[:, geometry.axial_order(image).axes[2]] * [-1, -1, 1]
    angle = float(np.degrees(np.arccos(np.clip(abs(normal @ axis), 0, 1))))
    if angle > 45:
        raise InputError(
            _(
                "The Red view is turned by {angle:.0f}° from the scan's slices; expected an axial view. Set its "
                "orientation to Axial, and choose the slice again."
            ).format(angle=angle)
        )
    point = plane[:3, 3]
    spacing = image.GetSpacing()[geometry.axial_order(image).axes[2]]
    if slices == 1:
        steps = float((point - first) @ axis / spacing)
    else:
        way = (last - first) / (slices - 1)
        # Where the plane meets the line through the slices' centres.
        steps = float((point - first) @ normal / (way @ normal))
    index = round(steps)
    if not 0 <= index < slices:
        raise InputError(
            _(
                "The Red view stands {mm:.0f} mm outside the scan ({slices} slices); expected one of its slices. "
                "Scroll to the tumour first."
            ).format(mm=abs(steps - np.clip(steps, 0, slices - 1)) * spacing, slices=slices)
        )
    return keyslice.by_index(image, index)


# -- segments ------------------------------------------------------------------------------------------------------


def segments_of(segmentation: SegmentationNode) -> dict[str, str]:
    """Segment id -> name."""
    inner = segmentation.GetSegmentation()
    ids = [inner.GetNthSegmentID(i) for i in range(inner.GetNumberOfSegments())]
    return {one: inner.GetSegment(one).GetName() for one in ids}


def likely_tumour(segmentation: SegmentationNode) -> str:
    """Id of the segment that is called like a tumour, else of the first; empty where there is none."""
    names = segments_of(segmentation)
    called = [one for one, name in names.items() if re.search(r"tumou?r|lesion|cancer|gtv|neoplas", name.casefold())]
    return next(iter(called or names), "")


def roi_of(segmentation: SegmentationNode, segment: str, ct: VolumeNode, there: Placed) -> Roi:
    """One segment as an ROI: on its own voxels in the world, or on the CT's where a transform bends it.

    Parameters
    ----------
    segment
        Its id in the segmentation.
    there
        The CT as `placed` gave it.

    Raises
    ------
    InputError
        If the segmentation has no such segment, or it is empty.
    """
    names = segments_of(segmentation)
    if segment not in names:
        listing = ", ".join(f"“{name}”" for name in names.values()) or _("none, it is empty")
        raise InputError(
            _(
                "The segmentation “{name}” has no segment of the id “{segment}”; expected one of: {listing}. Choose "
                "the tumour's segment."
            ).format(name=segmentation.GetName(), segment=segment, listing=listing)
        )
    drawn = _labelmap(segmentation, segment, ct)
    parent = segmentation.GetParentTransformNode()
    own = matrix_of(drawn.GetImageToWorldMatrix)
    linear = parent is None or parent.IsTransformToWorldLinear()
    to_world = parent_to_world(segmentation) @ own if linear else None
    if to_world is not None and _upright(to_world):
        image = _mask(drawn, to_world)
    else:
        image = _sampled(drawn, parent, ct, there)
    name = names[segment]
    if image is None or not sitk.GetArrayViewFromImage(image).any():
        raise InputError(
            _(
                "The segment “{name}” is empty; expected the tumour. Draw it in the Segment Editor, or choose another."
            ).format(name=name)
        )
    return Roi(image, name)


def _labelmap(segmentation: SegmentationNode, segment: str, ct: VolumeNode) -> "slicer.vtkOrientedImageData":
    """A segment's own 0/1 voxels; made on a copy where the user has drawn it as a surface or as contours."""
    if not segmentation.GetSegmentation().ContainsRepresentation(BINARY_LABELMAP):
        segmentation = _with_labelmap(segmentation, ct)
    drawn = slicer.vtkOrientedImageData()
    shared = segmentation.GetBinaryLabelmapInternalRepresentation(segment)
    if shared is not None and not shared.IsEmpty():
        segmentation.GetBinaryLabelmapRepresentation(segment, drawn)
    return drawn


def _with_labelmap(segmentation: SegmentationNode, ct: VolumeNode) -> SegmentationNode:
    """A copy outside the scene, turned into voxels of the CT."""
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
                "The segmentation “{name}” cannot be turned into voxels; expected a binary labelmap, or what Slicer "
                "can make one of. Create its binary labelmap in the Segmentations module."
            ).format(name=segmentation.GetName())
        )
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetAndObserveSegmentation(drawn)
    return copy


def _mask(drawn: "slicer.vtkOrientedImageData", image_to_world: np.ndarray) -> sitk.Image | None:
    if drawn.GetPointData().GetScalars() is None:
        return None
    start = np.eye(4)
    start[:3, 3] = drawn.GetExtent()[::2]
    return _image(drawn, image_to_world @ start)


def _sampled(
    drawn: "slicer.vtkOrientedImageData", parent: "slicer.vtkMRMLTransformNode", ct: VolumeNode, there: Placed
) -> sitk.Image | None:
    """A segment whose transform bends it, taken at the CT's voxels."""
    if drawn.GetPointData().GetScalars() is None:
        return None
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(
        0, there.image.GetSize()[0] - 1, 0, there.image.GetSize()[1] - 1, 0, there.image.GetSize()[2] - 1
    )
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    reference.SetImageToWorldMatrix(vtk_matrix(there.ijk_to_world))
    out = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(drawn, reference, out, False, False, _any_to_world(parent)):
        raise GeometryError(
            _(
                "The segment cannot be brought onto the CT “{name}” through its transform; expected one that can be "
                "inverted. Harden the transform on a copy in the Transforms module."
            ).format(name=ct.GetName())
        )
    return _mask(out, there.ijk_to_world)


def add_segment(
    segmentation: SegmentationNode,
    mask: sitk.Image,
    name: str,
    colour: tuple[float, float, float],
    segment: str,
    ijk_to_ras: np.ndarray | None = None,
) -> None:
    """Add a 0/1 image as a segment of that id, or draw the one of that id anew."""
    inner = segmentation.GetSegmentation()
    if inner.GetSegment(segment) is not None:
        inner.RemoveSegment(segment)
    drawn = slicer.vtkOrientedImageData()
    _put(drawn, sitk.GetArrayViewFromImage(mask).astype(np.uint8))
    drawn.SetImageToWorldMatrix(vtk_matrix(ijk_to_ras_of(mask) if ijk_to_ras is None else ijk_to_ras))
    segmentation.AddSegmentFromBinaryLabelmapRepresentation(drawn, name, colour, segment)
