"""The attention on the anatomy: a volume over the CT, its colours and legend, its outline, and the slices that vote."""

from functools import cache

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingSlicer import nodes
from GTRStagingSlicer.mrml import Application, ModelNode, Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.nodes import Placed
from GTRStagingSlicer.words import tr as _

PEAK, KEY_PEAK = "GTRStaging.RawMaximum", "GTRStaging.RawMaximumOfKeySlice"
"""Attributes of the attention node, whose voxels are shares of the former."""

COLOURS = "GTR Staging attention"
OUTLINE = "attention"
"""Id of the segment that the outline is."""


def keep(scene: Scene, node: Node | None, class_name: str, name: str) -> Node:
    """The node that an earlier run made, or a new one; under that name, which another node may have too."""
    if node is None or node.GetScene() is not scene:
        node = scene.AddNewNodeByClass(class_name, name)
    node.SetName(name)
    return node


def place_beside(scene: Scene, node: Node, ct: VolumeNode) -> None:
    """Put a node where the CT stands in the subject hierarchy: in its study, if it has one."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    beside = hierarchy.GetItemByDataNode(ct) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct)
    parent = hierarchy.GetItemParent(beside)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


# -- the heat ------------------------------------------------------------------------------------------------------


def show_attention(
    scene: Scene,
    kept: VolumeNode | None,
    block: sitk.Image,
    *,
    key_peak: float,
    ct: VolumeNode,
    there: Placed,
    name: str,
) -> VolumeNode:
    """The attention as a volume of shares of its maximum, on the CT's own voxels.

    Parameters
    ----------
    kept
        The volume of an earlier run, or None.
    block
        Raw attention, as `StagingResult.attention_volume`.
    key_peak
        Its maximum in the key slice.
    """
    raw = sitk.GetArrayViewFromImage(block)
    peak = float(raw.max())
    shares = sitk.GetImageFromArray((raw / peak if peak > 0 else np.zeros_like(raw)).astype(np.float32))
    shares.CopyInformation(block)
    node = keep(scene, kept, "vtkMRMLScalarVolumeNode", name)
    nodes.fill_block(node, shares, ct, there)
    node.SetAttribute(PEAK, repr(peak))
    node.SetAttribute(KEY_PEAK, repr(key_peak))
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modified = display.StartModify()
    display.SetAndObserveColorNodeID(_colours(scene).GetID())
    # Never min-max scaled: weak evidence in one slice must not look strong.
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetInterpolate(False)
    display.EndModify(modified)
    place_beside(scene, node, ct)
    return node


def style_attention(node: VolumeNode, *, shown_from: float) -> None:
    """Draw no heat below a share of the maximum."""
    display = node.GetDisplayNode()
    display.SetApplyThreshold(True)
    display.SetThreshold(max(shown_from, 1e-6), 1.0)  # never 0: where there is no heat, the CT shows


@cache
def _scheme() -> tuple[tuple[float, float, float], ...]:
    """The report's colours, share by share."""
    from GTRStagingLib.results import overlay

    colours = overlay.heat_colours(np.linspace(0, 1, 256)[None], 1.0)[0]
    return tuple((float(red), float(green), float(blue)) for red, green, blue in colours[:, :3])


def _colours(scene: Scene) -> "slicer.vtkMRMLColorTableNode":
    found = scene.GetFirstNode(COLOURS, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(COLOURS)
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    for i, (red, green, blue) in enumerate(_scheme()):
        table.SetColor(i, f"{i / 255:.2f}", red, green, blue, 1.0)
    table.GetLookupTable().SetRange(0, 255)
    return scene.AddNode(table)


def _slice_views(scene: Scene) -> "list[slicer.vtkMRMLSliceCompositeNode]":
    """What each slice view shows."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode") for i in range(count)]


def lay_over(scene: Scene, ct: VolumeNode, attention: VolumeNode, opacity: float, *, everywhere: bool = False) -> None:
    """Show the attention over the CT in every slice view that shows the CT or nothing; in all of them if none does.

    Parameters
    ----------
    everywhere
        In every view, whatever it shows.
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
    """Make the heat more or less transparent, in the views that show it."""
    for view in _slice_views(scene):
        if view.GetForegroundVolumeID() == attention.GetID():
            view.SetForegroundOpacity(opacity)


def show_legend(attention: VolumeNode, title: str, shown: bool) -> None:
    """Slicer's colour legend for the heat, titled with what it is the attention for."""
    logic = slicer.vtkSlicerColorLogic
    legend = logic.GetColorLegendDisplayNode(attention)
    if legend is None and not shown:
        return
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(attention)
    legend.SetTitleText(title)
    legend.SetNumberOfLabels(5)
    legend.SetLabelFormat("%.2f")
    legend.SetVisibility(shown)


def show_3d(application: Application | None, attention: VolumeNode, shown: bool, shown_from: float) -> None:
    """Render the heat in the 3-D views, in the colours of the slices; needs the Volume Rendering module's logic."""
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
    for i, rgb in enumerate(_scheme()):
        colour.AddRGBPoint(i / 255, *rgb)
    inside = display.GetVolumePropertyNode().GetVolumeProperty()
    inside.SetScalarOpacity(opacity)
    inside.SetColor(colour)
    inside.ShadeOff()
    display.SetVisibility(shown)


# -- the region above the threshold --------------------------------------------------------------------------------


def show_outline(
    scene: Scene, kept: SegmentationNode | None, attention: VolumeNode, ct: VolumeNode, *, threshold: float, name: str
) -> SegmentationNode:
    """The region above a share of the key slice's maximum, as a segment on the CT's geometry, drawn as a line."""
    node = keep(scene, kept, "vtkMRMLSegmentationNode", name)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    parent = attention.GetParentTransformNode()
    node.SetAndObserveTransformNodeID(None if parent is None else parent.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    place = nodes.matrix_of(attention.GetIJKToRASMatrix)
    region = above(attention, threshold)
    image = sitk.GetImageFromArray(region.astype(np.uint8))
    label = _("attention at {share:.0%} of the key slice's maximum").format(share=threshold)
    nodes.add_segment(node, image, label, (1.0, 1.0, 1.0), OUTLINE, place)
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility3D(False)
    place_beside(scene, node, ct)
    return node


def above(attention: VolumeNode, threshold: float) -> np.ndarray:
    """(z, y, x) bool, in the node's order: where attention is at least that share of the key slice's maximum."""
    shares = nodes.array_of(attention.GetImageData())
    peak, key_peak = float(attention.GetAttribute(PEAK)), float(attention.GetAttribute(KEY_PEAK))
    if key_peak == 0:
        return np.zeros(shares.shape, dtype=bool)
    # With float32's last digit to spare, so that the maximum itself is always in.
    return shares >= threshold * key_peak / peak * (1 - 1e-6)


# -- the slices that vote ------------------------------------------------------------------------------------------


def show_voting(
    scene: Scene, kept: ModelNode | None, grid: geometry.ImageOrGrid, key: KeySlice, ct: VolumeNode
) -> ModelNode:
    """The planes of the key slice and of its neighbours: lines where other slice views cut them."""
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    slices = geometry.axial_size(grid)[2]
    for index in range(max(0, key.index - 1), min(slices, key.index + 2)):
        cells.InsertNextCell(4)
        for corner in nodes.slice_corners(grid, index):
            cells.InsertCellPoint(points.InsertNextPoint(*corner))
    planes = vtk.vtkPolyData()
    planes.SetPoints(points)
    planes.SetPolys(cells)
    node = keep(scene, kept, "vtkMRMLModelNode", _("Voting slices"))
    node.SetAndObservePolyData(planes)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetColor(1.0, 0.85, 0.1)
    display.SetOpacity(0.12)
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(1)
    display.BackfaceCullingOff()
    display.LightingOff()
    node.SetSelectable(False)
    place_beside(scene, node, ct)
    return node
