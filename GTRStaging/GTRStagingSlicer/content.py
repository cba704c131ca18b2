"""Tell whether voxels, segments or their place have changed since a result, within a session; without Qt.

`times_of` is quick and notices what its nodes report; `digest_of` reads the voxels themselves, for an export.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from vtk.util import numpy_support

from GTRStagingSlicer import nodes, scene_staging
from GTRStagingSlicer.mrml import Node, SegmentationNode
from GTRStagingSlicer.state import State


def times_of(state: State, *, stomach: bool = False) -> tuple[object, ...]:
    """Return when CT, segment and stomach last changed, and where and what they are; comparable within a session."""
    image = None if state.inputVolume is None else state.inputVolume.GetImageData()
    found: list[object] = [_transform_of(state.inputVolume)]
    found += [] if image is None else [image.GetMTime(), image.GetPointData().GetMTime()]
    for node, one in _drawn(state, stomach):
        segmentation = node.GetSegmentation()
        segment = segmentation.GetSegment(one)
        voxels = segment.GetRepresentation(segmentation.GetSourceRepresentationName())
        found += [_transform_of(node), one, segment.GetName(), segment.GetLabelValue()]
        found.append(None if voxels is None else voxels.GetMTime())
    return tuple(found)


def digest_of(state: State, *, stomach: bool = False) -> str:
    """Return a hash of the voxels and the place of CT, segment and stomach."""
    total = hashlib.sha256(nodes.geometry_key(state.inputVolume).encode())
    image = None if state.inputVolume is None else state.inputVolume.GetImageData()
    if image is not None and image.GetPointData().GetScalars() is not None:
        total.update(_bytes(nodes.array_of(image)))
    for node, one in _drawn(state, stomach):
        segmentation = node.GetSegmentation()
        segment = segmentation.GetSegment(one)
        voxels = segment.GetRepresentation(segmentation.GetSourceRepresentationName())
        total.update(repr((_transform_of(node), one, segment.GetName(), segment.GetLabelValue())).encode())
        if voxels is not None and voxels.IsA("vtkOrientedImageData") and voxels.GetPointData().GetScalars() is not None:
            total.update(repr((voxels.GetExtent(), nodes.matrix_of(voxels.GetImageToWorldMatrix).tolist())).encode())
            total.update(_bytes(numpy_support.vtk_to_numpy(voxels.GetPointData().GetScalars())))
        elif voxels is not None and voxels.IsA("vtkPointSet") and voxels.GetPoints() is not None:
            total.update(_bytes(numpy_support.vtk_to_numpy(voxels.GetPoints().GetData())))
    return total.hexdigest()


def _bytes(values: np.ndarray) -> memoryview:
    """Return the bytes of an array, without a copy if they lie in order."""
    return np.ascontiguousarray(values).data.cast("B")


def _drawn(state: State, stomach: bool) -> Iterator[tuple[SegmentationNode, str]]:
    """Yield segmentation and id of the chosen segment, and of the segments of the stomach."""
    if scene_staging.has_segment(state):
        yield state.tumourSegmentation, state.tumourSegment
    if stomach and state.inputVolume is not None:
        yield from scene_staging.called_stomach(state)


def _transform_of(node: Node | None) -> object:
    """Return what a node's transforms do, to compare: a matrix, or for those that bend, when they changed."""
    parent = None if node is None else node.GetParentTransformNode()
    if node is None or parent is None:
        return None
    if parent.IsTransformToWorldLinear():
        return nodes.parent_to_world(node).tolist()
    return parent.GetID(), parent.GetTransformToWorldMTime()


__all__ = ["digest_of", "times_of"]
