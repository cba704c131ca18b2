"""Keep one result for each CT of a scene: its nodes, its folder in the subject hierarchy, and the choices it came from.

A node of a result refers to its CT, so that results stay apart when a scene is saved, loaded or added to another scene.
The panel's state has the nodes of one result: that of the chosen CT.
"""

import json
from typing import Any

import slicer
import vtk

from GTRStagingSlicer import charts, layers, nodes, records
from GTRStagingSlicer.layers import CT, FOLDER, PART
from GTRStagingSlicer.mrml import Node, Scene, TextNode, VolumeNode
from GTRStagingSlicer.state import Device, Method, State, Target
from GTRStagingSlicer.words import tr as _

SEGMENTATION = "GTRStaging.Segmentation"
"""Node reference of a result's text: the segmentation with which its attention was compared."""

CHOICES, SETTINGS = "GTRStaging.Choices", "GTRStaging.Settings"
"""Attributes of a result's text: the panel's choices as JSON, and `State.resultOf`."""

PARTS = {
    "attentionVolume": "vtkMRMLScalarVolumeNode",
    "attentionOutline": "vtkMRMLSegmentationNode",
    "votingSlices": "vtkMRMLModelNode",
    "resultTable": "vtkMRMLTableNode",
    "agreementTable": "vtkMRMLTableNode",
    "sweepTable": "vtkMRMLTableNode",
    "sweepPlot": "vtkMRMLPlotChartNode",
    "resultText": "vtkMRMLTextNode",
    "profileText": "vtkMRMLTextNode",
    "profileTable": "vtkMRMLTableNode",
    "profilePlot": "vtkMRMLPlotChartNode",
    "nomogramGiven": "vtkMRMLTextNode",
    "nomogramTable": "vtkMRMLTableNode",
}
"""Fields of the state with the nodes of a CT: of its result, its profile and its nomogram; and their classes."""


def parts_of(scene: Scene, ct: VolumeNode | None) -> dict[str, Node]:
    """Return the nodes that belong to a CT, or with None those made without one, as field of the state -> node."""
    return {
        name: node
        for name, class_name in PARTS.items()
        for node in nodes.of_class(scene, class_name)
        if node.GetAttribute(PART) == name and layers.belongs_to(node, ct)
    }


def texts(scene: Scene) -> list[TextNode]:
    """Return the text nodes with the records of all results, in the scene's order."""
    found = nodes.of_class(scene, PARTS["resultText"])
    return [node for node in found if node.GetAttribute(PART) == "resultText" and node.GetText()]


def ct_of(text: TextNode) -> VolumeNode | None:
    """Return the CT of a result; None if it was deleted."""
    return text.GetNodeReference(CT)


# -- the state and the results -------------------------------------------------------------------------------------


def turn_to_ct(state: State, scene: Scene) -> bool:
    """Give the state the result of its CT, or none, and hide the lines and the legend of the result before.

    Returns
    -------
    Whether the state had another result, or settings that are not those of the result, as after undo.
    """
    ct = state.inputVolume
    _adopt(state)
    parts = parts_of(scene, ct)
    before = {name: getattr(state, name) for name in PARTS}
    text = parts.get("resultText")
    settings = "" if text is None else text.GetAttribute(SETTINGS) or ""
    changed = before["resultText"] is not text or (text is not None and settings != state.resultOf)
    if not changed and all(parts.get(name) is node for name, node in before.items()):
        return False
    for node in before.values():
        if node is not None and not layers.belongs_to(node, ct):
            _hide(node)
    for name in PARTS:
        setattr(state, name, parts.get(name))
    state.resultVolume = None if text is None else ct
    state.resultSegmentation = None if text is None else text.GetNodeReference(SEGMENTATION)
    state.resultOf = settings
    return changed


def restore_choices(state: State) -> bool:
    """Give the state the choices of its result; return whether there is one that knows them."""
    text = state.resultText
    stored = None if text is None else text.GetAttribute(CHOICES)
    if not stored:
        return False
    choices: dict[str, Any] = json.loads(stored)
    state.tumourSegmentation = text.GetNodeReference(SEGMENTATION)
    state.tumourSegment = choices["segment"] if state.tumourSegmentation is not None else ""
    state.model = choices["model"]
    state.device, state.method = Device(choices["device"]), Method(choices["method"])
    state.target = Target(choices["target"])
    state.keySlice, state.keySliceChosenBy = choices["key slice"], choices["chosen by"]
    return True


def keep(state: State, scene: Scene, settings: str) -> None:
    """Store the state's result as that of its CT: mark its nodes, and file them in a folder of their own.

    `settings` becomes `State.resultOf`.
    """
    text, ct = state.resultText, state.resultVolume
    if text is None or ct is None:
        return
    text.SetAttribute(SETTINGS, settings)  # before the state's, which notifies the panel
    state.resultOf = settings
    segmentation = state.resultSegmentation
    text.SetNodeReferenceID(SEGMENTATION, None if segmentation is None else segmentation.GetID())
    choices = {
        "segment": state.tumourSegment,
        "model": state.model,
        "device": state.device.value,
        "method": state.method.value,
        "target": state.target.value,
        "key slice": state.keySlice,
        "chosen by": state.keySliceChosenBy,
    }
    text.SetAttribute(CHOICES, json.dumps(choices))
    file_in_folder(state, scene)


def file_in_folder(state: State, scene: Scene) -> None:
    """Mark the nodes of the state's CT, and move them into the folder of its result, which is named by its record.

    Without a result, the nodes stay beside the CT.
    """
    text, ct = state.resultText, state.inputVolume if state.resultVolume is None else state.resultVolume
    nodes = {name: getattr(state, name) for name in PARTS}
    for name, node in nodes.items():
        if node is not None:
            layers.mark(node, ct, name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None or text is None or ct is None:
        return
    folder = _folder_of(hierarchy, text)
    if not folder:
        layers.place_beside(scene, text, ct)
        study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(ct))
        folder = hierarchy.CreateFolderItem(study, "")
        hierarchy.SetItemAttribute(folder, FOLDER, "1")
    hierarchy.SetItemName(folder, title(text))
    for node in nodes.values():
        if node is not None:
            item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(folder, node)
            hierarchy.SetItemParent(item, folder)


def title(text: TextNode) -> str:
    """Return the name of a result: its CT, its stage, and the minute in which it was made."""
    record, ct = records.read(text.GetText()), ct_of(text)
    name = _("CT deleted") if ct is None else ct.GetName()
    return f"{name} · {record['prediction']['stage']} · {time_of(record['provenance']['utc'])}"


def time_of(utc: str) -> str:
    """Shorten the time of a record to its minute, as in '2026-03-04 09:15 UTC'."""
    return f"{utc[:16].replace('T', ' ')} UTC"


def remove(scene: Scene, text: TextNode) -> None:
    """Remove a result from the scene: its nodes and its folder. CT, segmentation and other results stay."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = 0 if hierarchy is None else _folder_of(hierarchy, text)
    ct = ct_of(text)
    doomed = list(parts_of(scene, ct).values()) if ct is not None else _in_folder(hierarchy, folder, text)
    for node in doomed:
        series = charts.series_of(node) if node.IsA(PARTS["sweepPlot"]) else []
        lines = {one.GetTableNode() for one in series} - {None}
        for one in (*series, *lines, node):
            if one.GetScene() is scene:  # a table may be that of several series
                scene.RemoveNode(one)
    if folder:
        hierarchy.RemoveItem(folder, False, False)


def _in_folder(hierarchy: Any, folder: int, text: TextNode) -> list[Node]:
    """Return the nodes of a result whose CT was deleted: those of its folder."""
    if not folder:
        return [text]
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(folder, found)
    nodes = [hierarchy.GetItemDataNode(found.GetId(i)) for i in range(found.GetNumberOfIds())]
    return [node for node in nodes if node is not None and node.GetAttribute(PART)]


def _folder_of(hierarchy: Any, text: TextNode) -> int:
    """Return the item of a result's folder; 0 without one."""
    item = hierarchy.GetItemByDataNode(text)
    parent = hierarchy.GetItemParent(item) if item else 0
    return parent if parent and hierarchy.GetItemAttribute(parent, FOLDER) else 0


def _adopt(state: State) -> None:
    """Mark the nodes of a result of an older version, which do not refer to their CT."""
    owner = state.resultVolume
    for name in PARTS:
        node = getattr(state, name)
        if node is not None and not node.GetAttribute(PART):
            ct = state.inputVolume if owner is None else owner
            if ct is not None:
                layers.mark(node, ct, name)
    text = state.resultText
    if text is not None and not text.GetAttribute(SETTINGS):
        text.SetAttribute(SETTINGS, state.resultOf)
        segmentation = state.resultSegmentation
        text.SetNodeReferenceID(SEGMENTATION, None if segmentation is None else segmentation.GetID())


def _hide(node: Node) -> None:
    """Hide lines, outline or legend of a result; the attention stays in the views that show it."""
    if node.IsA("vtkMRMLScalarVolumeNode"):
        layers.hide_legend(node)
    elif node.IsA("vtkMRMLDisplayableNode") and node.GetDisplayNode() is not None:
        node.SetDisplayVisibility(False)
