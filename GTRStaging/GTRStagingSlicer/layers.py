"""Show the attention over the CT: a volume with colours and legend, its outline, and the voting slices."""

import textwrap
from functools import cache

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingSlicer import nodes, terminology
from GTRStagingSlicer.mrml import Application, ModelNode, Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.nodes import Placed
from GTRStagingSlicer.words import tr as _

PEAK, KEY_PEAK = "GTRStaging.RawMaximum", "GTRStaging.RawMaximumOfKeySlice"
"""Attributes of the attention node: the raw maximum, to which its voxels are scaled, and that of the key slice."""

COLOURS = "GTR Staging attention"
CT, PART = "GTRStaging.CT", "GTRStaging.Part"
"""Node reference and attribute of a result's nodes: the CT, and the field of the state."""

WITHOUT_CT = "GTRStaging.WithoutCT"
"""Attribute of a nomogram's nodes that were made while no CT was chosen."""

FOLDER = "GTRStaging.Result"
"""Attribute of the folder of a result in the subject hierarchy."""

OUTLINE = "attention"
"""Id of the outline's segment."""


def reuse_or_add(scene: Scene, node: Node | None, class_name: str, name: str) -> Node:
    """Return the node of an earlier run, or a new node, under the given name; names need not be unique."""
    if node is None or node.GetScene() is not scene:
        node = scene.AddNewNodeByClass(class_name, name)
    node.SetName(name)
    node.SetUndoEnabled(True)
    return node


def mark(node: Node, ct: VolumeNode | None, part: str) -> None:
    """Store the CT of a result's node, and the field of the state that contains the node.

    A nomogram can be read without a CT; its nodes differ from those of a CT that was deleted.
    """
    node.SetNodeReferenceID(CT, None if ct is None else ct.GetID())
    node.SetAttribute(WITHOUT_CT, "1" if ct is None else None)
    node.SetAttribute(PART, part)


def belongs_to(node: Node, ct: VolumeNode | None) -> bool:
    """Return whether a marked node is of a CT, or with None whether it was made without one."""
    if ct is None:
        return node.GetAttribute(WITHOUT_CT) is not None
    return node.GetNodeReference(CT) is ct


def place_beside(scene: Scene, node: Node, ct: VolumeNode) -> None:
    """Place a node beside the CT in the subject hierarchy: in its study, if it has one.

    A node in the folder of a result stays there.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    beside = hierarchy.GetItemByDataNode(ct) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct)
    parent = hierarchy.GetItemParent(beside)
    item = hierarchy.GetItemByDataNode(node)
    if item and hierarchy.GetItemAttribute(hierarchy.GetItemParent(item), FOLDER):
        return
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def is_attention(node: VolumeNode) -> bool:
    """Return whether a volume is an attention map of this module."""
    return node.GetAttribute(PEAK) is not None


def is_outline(segment_id: str, segment: "slicer.vtkSegment") -> bool:
    """Return whether a segment is an outline of an attention map; those of older versions have no codes."""
    codes = nodes.terminology_of(segment)
    ours = terminology.ATTENTION.split("~")[2]
    return ours in codes.split("~") or (not codes and segment_id == OUTLINE)


# -- the attention map ---------------------------------------------------------------------------------------------


def show_attention(
    scene: Scene,
    previous: VolumeNode | None,
    block: sitk.Image,
    *,
    key_peak: float,
    ct: VolumeNode,
    placed_ct: Placed,
    name: str,
) -> VolumeNode:
    """Add the attention as a volume of shares of its maximum, on the CT's own voxels.

    Parameters
    ----------
    kept
        The volume of an earlier run, or None.
    block
        Raw attention, as `StagingResult.attention_volume`.
    key_peak
        Maximum of the raw attention in the key slice.
    placed_ct
        The CT as `nodes.placed` returned it.
    """
    raw = sitk.GetArrayViewFromImage(block)
    peak = float(raw.max())
    shares = sitk.GetImageFromArray((raw / peak if peak > 0 else np.zeros_like(raw)).astype(np.float32))
    shares.CopyInformation(block)
    node = reuse_or_add(scene, previous, "vtkMRMLScalarVolumeNode", name)
    nodes.fill_block(node, shares, ct, placed_ct)
    node.SetAttribute(PEAK, repr(peak))
    node.SetAttribute(KEY_PEAK, repr(key_peak))
    colour_attention(scene, node)
    place_beside(scene, node, ct)
    return node


def colour_attention(scene: Scene, node: VolumeNode) -> None:
    """Give a volume of shares of the maximum the colours of attention; the scene gets their table if it lacks it."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modified = display.StartModify()
    display.SetAndObserveColorNodeID(_colour_table(scene).GetID())
    # Not scaled to each slice: weak attention in one slice must not look strong.
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetInterpolate(False)
    display.EndModify(modified)


def style_attention(node: VolumeNode, *, shown_from: float) -> None:
    """Hide the attention below a share of the maximum."""
    display = node.GetDisplayNode()
    display.SetApplyThreshold(True)
    display.SetThreshold(max(shown_from, 1e-6), 1.0)  # above 0, so that the CT shows where the attention is 0


@cache
def _heat_colours() -> tuple[tuple[float, float, float], ...]:
    """Return the 256 colours of the report, from share 0 to share 1."""
    from GTRStagingLib.results.overlay import heat_colours

    colours = heat_colours(np.linspace(0, 1, 256)[None], 1.0)[0]
    return tuple((float(red), float(green), float(blue)) for red, green, blue in colours[:, :3])


def _colour_table(scene: Scene) -> "slicer.vtkMRMLColorTableNode":
    """Return the scene's colour table for attention, added if it is missing."""
    found = scene.GetFirstNode(COLOURS, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(COLOURS)
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    for i, (red, green, blue) in enumerate(_heat_colours()):
        table.SetColor(i, f"{i / 255:.2f}", red, green, blue, 1.0)
    table.GetLookupTable().SetRange(0, 255)
    return scene.AddNode(table)


def _slice_views(scene: Scene) -> "list[slicer.vtkMRMLSliceCompositeNode]":
    """Return the node of each slice view that stores which volumes the view shows."""
    return nodes.of_class(scene, "vtkMRMLSliceCompositeNode")


def overlay(scene: Scene, ct: VolumeNode, attention: VolumeNode, opacity: float, *, everywhere: bool = False) -> None:
    """Show the attention over the CT in each slice view that shows the CT or nothing; if no view does, in all views.

    Parameters
    ----------
    everywhere
        Use every view, also those that show another volume.
    """
    views = _slice_views(scene)
    fitting = [view for view in views if view.GetBackgroundVolumeID() in (None, "", ct.GetID())]
    for view in views if everywhere or not fitting else fitting:
        modified = view.StartModify()
        view.SetBackgroundVolumeID(ct.GetID())
        view.SetForegroundVolumeID(attention.GetID())
        view.SetForegroundOpacity(opacity)
        view.EndModify(modified)


def set_opacity(scene: Scene, attention: VolumeNode, opacity: float) -> None:
    """Set the opacity of the attention in the views that show it."""
    for view in _slice_views(scene):
        if view.GetForegroundVolumeID() == attention.GetID():
            view.SetForegroundOpacity(opacity)


LEGEND_SIZE, LEGEND_POSITION = (0.06, 0.25), (0.98, 0.02)
"""Size of the legend's bar and numbers, and its place, as shares of a view: in the corner below and beside the body."""
LEGEND_FONT, LEGEND_LINE = 11, 10
"""Points of the legend's text, and the characters after which its title is broken."""


def show_ct(scene: Scene, ct: VolumeNode, attention: VolumeNode | None, opacity: float) -> None:
    """Show a CT in every slice view, with its attention or without one: never with that of another CT."""
    for view in _slice_views(scene):
        modified = view.StartModify()
        view.SetBackgroundVolumeID(ct.GetID())
        view.SetForegroundVolumeID(None if attention is None else attention.GetID())
        if attention is not None:
            view.SetForegroundOpacity(opacity)
        view.EndModify(modified)


def place_legend(scene: Scene, attention: VolumeNode, shown: bool) -> None:
    """Show the legend in one view that shows the attention: in an axial one, where a corner beside the body is free."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(attention)
    if legend is None:
        return
    names = [v.GetLayoutName() for v in _slice_views(scene) if v.GetForegroundVolumeID() == attention.GetID()]
    views = [v for v in nodes.of_class(scene, "vtkMRMLSliceNode") if v.GetLayoutName() in names]
    wanted = [v.GetID() for v in sorted(views, key=lambda v: v.GetOrientation() != "Axial")[:1]]
    modified = legend.StartModify()
    if wanted != [legend.GetNthViewNodeID(i) for i in range(legend.GetNumberOfViewNodeIDs())]:
        legend.RemoveAllViewNodeIDs()
        for one in wanted:
            legend.AddViewNodeID(one)
    legend.SetVisibility(shown and bool(wanted))
    legend.EndModify(modified)


def show_legend(attention: VolumeNode, title: str, shown: bool) -> None:
    """Show or hide Slicer's colour legend for the attention; `place_legend` then limits it to views."""
    logic = slicer.vtkSlicerColorLogic
    legend = logic.GetColorLegendDisplayNode(attention)
    if legend is None and not shown:
        return
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(attention)
        legend.SetSize(*LEGEND_SIZE)
        legend.SetPosition(*LEGEND_POSITION)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontSize(LEGEND_FONT)
    legend.SetTitleText(textwrap.fill(title, LEGEND_LINE))
    legend.SetNumberOfLabels(3)
    legend.SetLabelFormat("%.2f")
    legend.SetVisibility(shown)


def hide_legend(attention: VolumeNode) -> None:
    """Hide the colour legend of the attention, if it has one."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(attention)
    if legend is not None:
        legend.SetVisibility(False)


def reason_no_3d(application: Application | None) -> str | None:
    """Return why the attention cannot be rendered in 3-D; None if it can."""
    if application is not None and application.GetModuleLogic("VolumeRendering") is not None:
        return None
    return str(_("3-D needs Slicer's Volume Rendering module, which is not loaded."))


def show_3d(application: Application | None, attention: VolumeNode, shown: bool, shown_from: float) -> None:
    """Render the attention in the 3-D views; do nothing without the logic of the Volume Rendering module."""
    logic = None if application is None else application.GetModuleLogic("VolumeRendering")
    if logic is None:
        return
    display = logic.GetFirstVolumeRenderingDisplayNode(attention)
    if display is None and not shown:
        return
    if display is None:
        display = logic.CreateDefaultVolumeRenderingNodes(attention)
    opacity = vtk.vtkPiecewiseFunction()
    for share, value in ((0.0, 0.0), (shown_from, 0.0), (min(shown_from + 0.01, 1.0), 0.15), (1.0, 0.8)):
        opacity.AddPoint(share, value)
    colour = vtk.vtkColorTransferFunction()
    for i, rgb in enumerate(_heat_colours()):
        colour.AddRGBPoint(i / 255, *rgb)
    inside = display.GetVolumePropertyNode().GetVolumeProperty()
    inside.SetScalarOpacity(opacity)
    inside.SetColor(colour)
    inside.ShadeOff()
    display.SetVisibility(shown)


# -- the region above the threshold --------------------------------------------------------------------------------


def show_outline(
    scene: Scene,
    previous: SegmentationNode | None,
    attention: VolumeNode,
    ct: VolumeNode,
    *,
    threshold: float,
    name: str,
) -> SegmentationNode:
    """Add the region above a share of the key slice's maximum as a segment on the CT's grid, drawn as an outline."""
    node = reuse_or_add(scene, previous, "vtkMRMLSegmentationNode", name)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    parent = attention.GetParentTransformNode()
    node.SetAndObserveTransformNodeID(None if parent is None else parent.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    place = nodes.matrix_of(attention.GetIJKToRASMatrix)
    region = above(attention, threshold)
    image = sitk.GetImageFromArray(region.astype(np.uint8))
    label = _("attention at {share:.0%} of the key slice's maximum").format(share=threshold)
    nodes.add_segment(node, image, label, (1.0, 1.0, 1.0), OUTLINE, place, terminology=terminology.ATTENTION)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility3D(False)
    place_beside(scene, node, ct)
    return node


def above(attention: VolumeNode, threshold: float) -> np.ndarray:
    """Return (z, y, x) bool, in the node's order: whether the attention reaches a share of the key slice's maximum."""
    shares = nodes.array_of(attention.GetImageData())
    peak, key_peak = float(attention.GetAttribute(PEAK)), float(attention.GetAttribute(KEY_PEAK))
    if key_peak == 0:
        return np.zeros(shares.shape, dtype=bool)
    # A tolerance for float32's rounding, so that the maximum itself is always included.
    return shares >= threshold * key_peak / peak * (1 - 1e-6)


# -- the voting slices ---------------------------------------------------------------------------------------------


def show_voting(
    scene: Scene,
    previous: ModelNode | None,
    grid: geometry.ImageOrGrid,
    key: KeySlice,
    ct: VolumeNode,
    *,
    shown: bool = True,
) -> ModelNode:
    """Add the planes of the key slice and its neighbours; other slice views show them as lines."""
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    slices = geometry.axial_size(grid)[2]
    for index in range(max(0, key.index - 1), min(slices, key.index + 2)):
        cells.InsertNextCell(4)
        for corner in nodes.slice_corners(grid, index):
            cells.InsertCellPoint(points.InsertNextPoint(*corner))
    planes = vtk.vtkPolyData()
    planes.SetPoints(points)
    planes.SetPolys(cells)
    node = reuse_or_add(scene, previous, "vtkMRMLModelNode", _("Voting slices"))
    node.SetAndObservePolyData(planes)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(1.0, 0.85, 0.1)
    display.SetOpacity(0.12)
    display.SetVisibility(shown)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)  # a slab would cover the attention there
    display.SetSliceIntersectionThickness(1)
    display.BackfaceCullingOff()
    display.LightingOff()
    node.SetSelectable(False)
    mark(node, ct, "votingSlices")
    place_beside(scene, node, ct)
    return node
