"""Tell which nodes of a scene may be the CT and the tumour of a case, and whether they belong together; without Qt."""

import re

import slicer

from GTRStagingSlicer import layers, nodes
from GTRStagingSlicer.mrml import Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.presenter import Listed, told_apart
from GTRStagingSlicer.state import State

VOLUME, SEGMENTATION = "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"

_TUMOUR = re.compile(
    r"(?<![a-z])(tumou?r|lesion|cancer|carcinoma|adenocarcinoma|neoplasm|mass|malignan(t|cy)|gtv)(e?s)?(?![a-z])"
)
"""Words that mean a tumour, in names of segments and meanings of terminologies, lower case."""


def cts(scene: Scene) -> list[VolumeNode]:
    """Return the volumes that may be a CT: scalar volumes that are neither hidden nor an attention map."""
    return [node for node in nodes.of_class(scene, VOLUME) if is_ct(node)]


def is_ct(node: Node | None) -> bool:
    """Return whether a node may be a CT."""
    # Masks and vectors are classes derived from that of scalar volumes.
    if node is None or node.GetClassName() != VOLUME or node.GetHideFromEditors():
        return False
    return not layers.is_attention(node)


def segmentations(scene: Scene) -> list[SegmentationNode]:
    """Return the segmentations that may contain a tumour: not those that are an outline of the attention alone."""
    return [
        node
        for node in nodes.of_class(scene, SEGMENTATION)
        if not node.GetHideFromEditors() and (tumour_segments(node) or not nodes.segments_of(node))
    ]


def tumour_segments(segmentation: SegmentationNode) -> dict[str, str]:
    """Return the segments that may be a tumour as id -> name: not those of the attention."""
    inner = segmentation.GetSegmentation()
    found = nodes.segments_of(segmentation)
    return {one: name for one, name in found.items() if not layers.is_outline(one, inner.GetSegment(one))}


def likely_tumour(segmentation: SegmentationNode) -> str:
    """Return the id of the one segment that name or terminology call a tumour, lesion or mass; else empty."""
    inner = segmentation.GetSegmentation()
    called = [
        one
        for one, name in tumour_segments(segmentation).items()
        if _TUMOUR.search(name.casefold()) or _TUMOUR.search(_meaning_of(inner.GetSegment(one)))
    ]
    return called[0] if len(called) == 1 else ""


def _meaning_of(segment: "slicer.vtkSegment") -> str:
    """Return the meanings of category, type and modifier of a segment's terminology, lower case."""
    entry = nodes.terminology_of(segment).split("~")[1:4]
    return " ".join(code.split("^")[-1] for code in entry).casefold()


# -- which belong together -----------------------------------------------------------------------------------------


def study_of(node: Node | None) -> int:
    """Return the item of a node's study in the subject hierarchy; 0 if it has none."""
    hierarchy = None if node is None else slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = 0 if hierarchy is None else hierarchy.GetItemByDataNode(node)
    if hierarchy is None or not item:
        return 0
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return int(hierarchy.GetItemAncestorAtLevel(item, level))


def study_name(node: Node | None) -> str:
    """Return the name of a node's study; empty if it has none."""
    item = study_of(node)
    if node is None or not item:
        return ""
    return str(slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene()).GetItemName(item))


def drawn_on_another(state: State) -> VolumeNode | None:
    """Return the volume that the chosen segmentation was drawn on, if it is another one than the chosen CT."""
    if state.tumourSegmentation is None or state.inputVolume is None:
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    drawn_on = state.tumourSegmentation.GetNodeReference(role)
    return None if drawn_on is state.inputVolume else drawn_on


def of_another_study(state: State) -> bool:
    """Return whether the chosen segmentation, or the volume that it was drawn on, is of another study than the CT."""
    ct = study_of(state.inputVolume)
    drawn = study_of(state.tumourSegmentation) or study_of(drawn_on_another(state))
    return bool(state.tumourSegmentation is not None and ct and drawn and ct != drawn)


def labels(found: list[Node]) -> dict[str, str]:
    """Return the labels that tell nodes apart in a list as id -> label."""
    listed = [Listed(node.GetID(), node.GetName() or "", study_name(node)) for node in found]
    return {one.id: label for one, label in zip(listed, told_apart(listed), strict=True)}


__all__ = [
    "cts",
    "drawn_on_another",
    "is_ct",
    "labels",
    "likely_tumour",
    "of_another_study",
    "segmentations",
    "study_name",
    "study_of",
    "tumour_segments",
]
