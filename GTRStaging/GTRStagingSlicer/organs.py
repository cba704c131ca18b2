"""Recognise a segment of the stomach, and make an empty one of the tumour; no Qt."""

import slicer

from GTRStagingSlicer import candidates, nodes, samples, terminology
from GTRStagingSlicer.mrml import Scene, SegmentationNode, VolumeNode

STOMACH_NAME = "stomach"
STOMACH_CODES = frozenset({("SCT", "69695003"), ("SRT", "T-57000")})
"""Codes of the stomach as a segment's type: SNOMED CT, and its older code that DICOM used before 2018."""


def is_stomach(name: str, entry: str) -> bool:
    """Return whether a segment is the stomach, by its name or by the type of its terminology entry.

    The anatomic region does not count: that of a tumour of the stomach is the stomach, too.

    Examples
    --------
    >>> from GTRStagingSlicer.organs import is_stomach
    >>> from GTRStagingSlicer.terminology import STOMACH, TUMOUR
    >>> is_stomach(" Stomach", ""), is_stomach("Segment_1", STOMACH), is_stomach("Segment_1", TUMOUR)
    (True, True, False)
    """
    if name.strip().casefold() == STOMACH_NAME:
        return True
    parts = entry.split("~")
    return len(parts) > 2 and tuple(parts[2].split("^")[:2]) in STOMACH_CODES


def segments(scene: Scene) -> list[tuple[SegmentationNode, str]]:
    """Return the segments of a scene as segmentation and id, without those of the attention."""
    return [(node, one) for node in candidates.segmentations(scene) for one in candidates.tumour_segments(node)]


def stomachs(scene: Scene) -> list[tuple[SegmentationNode, str]]:
    """Return the scene's segments of the stomach as segmentation and id."""
    found = []
    for node, one in segments(scene):
        segment = node.GetSegmentation().GetSegment(one)
        if is_stomach(segment.GetName(), nodes.terminology_of(segment)):
            found.append((node, one))
    return found


def new_tumour(scene: Scene, ct: VolumeNode, name: str) -> SegmentationNode:
    """Add a segmentation of a CT with one empty segment `samples.TUMOUR`, coded as a tumour of the stomach."""
    node = scene.AddNewNodeByClass(candidates.SEGMENTATION, scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    node.GetSegmentation().AddEmptySegment(samples.TUMOUR, samples.TUMOUR)
    segment = node.GetSegmentation().GetSegment(samples.TUMOUR)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology.TUMOUR)
    return node


__all__ = ["STOMACH_NAME", "is_stomach", "new_tumour", "segments", "stomachs"]
