"""Show results in layouts of the module's own, and go back to the layout that the user had; without Qt."""

import json

import numpy as np
import slicer
import vtk

from GTRStagingSlicer import nodes
from GTRStagingSlicer.mrml import Scene, VolumeNode

RESULT, SWEEP, TABLE, READING = 21701, 21702, 21703, 21704
"""Numbers of the extension's layouts in Slicer: a result, the threshold sweep, a table, a case of a reader study."""

CT_VIEW = "GTRStagingCT"
"""Name of the axial view without attention, beside the Red view with it."""

OWN = "GTRStaging.OwnLayout"
"""Attribute of the layout node: number of the user's layout, to which `back` goes."""

ZOOM, LINKED = "GTRStaging.OwnFieldOfView", "GTRStaging.OwnLink"
"""Attributes of slice views: the user's field of view in mm, and whether the user had linked the view."""


def _slice(name: str, orientation: str, label: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{label}</property></view></item>'
    )


_RED, _YELLOW = _slice("Red", "Axial", "R"), _slice("Yellow", "Sagittal", "Y")
_GREEN, _CT = _slice("Green", "Coronal", "G"), _slice(CT_VIEW, "Axial", "CT")
_PLOT = '<item><view class="vtkMRMLPlotViewNode" singletontag="PlotView1"/></item>'
_TABLE = '<item><view class="vtkMRMLTableViewNode" singletontag="TableView1"/></item>'

DESCRIPTIONS = {
    RESULT: f'<layout type="vertical"><item><layout type="horizontal">{_CT}{_RED}</layout></item>'
    f'<item><layout type="horizontal">{_YELLOW}{_GREEN}</layout></item></layout>',
    SWEEP: f'<layout type="horizontal">{_RED}{_PLOT}</layout>',
    TABLE: f'<layout type="vertical">{_RED}{_TABLE}</layout>',
    READING: f'<layout type="vertical">{_RED}</layout>',
}
"""The layouts as Slicer's XML."""


def layout_node(scene: Scene) -> "slicer.vtkMRMLLayoutNode | None":
    """Return the scene's layout node, with the module's layouts; None without views."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if node is not None:
        for number, description in DESCRIPTIONS.items():
            if not node.IsLayoutDescription(number):
                node.AddLayoutDescription(number, description)
    return node


def is_own(node: "slicer.vtkMRMLLayoutNode") -> bool:
    """Return whether a layout of this module is shown."""
    return node.GetViewArrangement() in DESCRIPTIONS


def show(scene: Scene, layout: int) -> None:
    """Show a layout of the module; remember the user's if one is shown now."""
    node = layout_node(scene)
    if node is None:
        return
    if not is_own(node):
        node.SetAttribute(OWN, str(node.GetViewArrangement()))
        for view in nodes.of_class(scene, "vtkMRMLSliceNode"):
            view.SetAttribute(ZOOM, json.dumps(view.GetFieldOfView()))
    node.SetViewArrangement(layout)


def can_go_back(scene: Scene) -> bool:
    """Return whether a layout of the module is shown, so that `back` changes it."""
    node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return node is not None and is_own(node)


def back(scene: Scene) -> None:
    """Show the user's layout again; do nothing if the user has chosen another meanwhile."""
    node = layout_node(scene)
    if node is None or not is_own(node):
        return
    stored = node.GetAttribute(OWN)
    standard = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    node.SetViewArrangement(int(stored) if stored else standard)
    for view in nodes.of_class(scene, "vtkMRMLSliceCompositeNode"):
        if (linked := view.GetAttribute(LINKED)) is not None:
            view.SetLinkedControl(linked == "1")
            view.SetHotLinkedControl(linked == "1")
            view.RemoveAttribute(LINKED)


def zoom_back(scene: Scene) -> None:
    """Give the slice views the user's zoom, once the user's layout is there with its sizes."""
    for view in nodes.of_class(scene, "vtkMRMLSliceNode"):
        if (stored := view.GetAttribute(ZOOM)) is not None:
            view.SetFieldOfView(*json.loads(stored))
            view.RemoveAttribute(ZOOM)


def fit(logics: "vtk.vtkCollection") -> None:
    """Fit the CT into each slice view, without leaving the slice that it shows."""
    for i in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(i)
        offset = logic.GetSliceNode().GetSliceOffset()
        logic.FitSliceToBackground()
        logic.GetSliceNode().SetSliceOffset(offset)


def show_ct_alone(scene: Scene, ct: VolumeNode) -> None:
    """Show the CT in the view without attention, and link that view to the Red one: they are scrolled together."""
    for view in nodes.of_class(scene, "vtkMRMLSliceCompositeNode"):
        if view.GetLayoutName() == CT_VIEW:
            view.SetBackgroundVolumeID(ct.GetID())
            view.SetForegroundVolumeID(None)
        if view.GetLayoutName() in ("Red", CT_VIEW):
            if view.GetAttribute(LINKED) is None:
                view.SetAttribute(LINKED, str(int(view.GetLinkedControl())))
            view.SetLinkedControl(True)
            view.SetHotLinkedControl(True)


def centre_on(scene: Scene, point: np.ndarray) -> None:
    """Centre every slice view on a (3,) RAS point, without rotating it."""
    for view in nodes.of_class(scene, "vtkMRMLSliceNode"):
        view.JumpSliceByCentering(*point)


def mass_centre(attention: VolumeNode, slice_centre: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the centre of mass of an attention map, moved into the key slice, as (3,) RAS in world coordinates.

    Parameters
    ----------
    attention
        Volume of shares of the maximum; its transforms must be linear.
    slice_centre, normal
        (3,) RAS centre of the key slice, and the unit vector perpendicular to it.
    """
    shares = nodes.array_of(attention.GetImageData()).astype(float)
    total = shares.sum()
    if total <= 0:
        return slice_centre
    z, y, x = (float((shares.sum(axis=others) * np.arange(n)).sum() / total)
               for n, others in zip(shares.shape, ((1, 2), (0, 2), (0, 1)), strict=True))  # fmt: skip
    to_world = nodes.parent_to_world(attention) @ nodes.matrix_of(attention.GetIJKToRASMatrix)
    mass = (to_world @ (x, y, z, 1.0))[:3]
    return np.asarray(mass - ((mass - slice_centre) @ normal) * normal)
