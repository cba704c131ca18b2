"""Show the case of a session in a scene, and take it out again: CT, map, frame of the key slice, mark.

Names of nodes and positions say nothing about the case: the voxels lie around the origin without their tilt, and no
node is saved with a scene.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from GTRStagingSlicer import layers, nodes
from GTRStagingSlicer.mrml import Node, Scene
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.reading.case_voxels import CaseVoxels

RED = "Red"
"""Name of the view in which cases are read."""

FRAME_COLOUR = (1.0, 0.85, 0.1)
DATA = ("vtkMRMLDisplayableNode", "vtkMRMLTextNode", "vtkMRMLTableNode")
"""Classes of nodes that hold somebody's data, unless Slicer hides them from lists."""


@dataclass(frozen=True)
class View:
    """What is shown of a case.

    Attributes
    ----------
    slice
        Index of the axial slice, 0 nearest the feet.
    level, width
        HU.
    mark
        (column, row, slice) of the mark in voxels, see `CaseScene.mark`; None without one.
    """

    slice: int
    level: float
    width: float
    map_shown: bool = True
    mark: tuple[float, float, float] | None = None


def holds_data(scene: Scene) -> bool:
    """Return whether a scene contains images, segments or other data."""
    return any(not node.GetHideFromEditors() for name in DATA for node in nodes.of_class(scene, name))


class CaseScene:
    """Nodes of the case on the screen; at other times there are none.

    Parameters
    ----------
    changed
        Called after another slice is shown, or the mark has changed.
    fit
        Fits the CT into the views, which may move them.
    """

    def __init__(self, scene: Scene, changed: Callable[[], None], fit: Callable[[], None]) -> None:
        self._scene, self._changed, self._fit = scene, changed, fit
        self._added: list[Node] = []
        self._observed: list[tuple[vtk.vtkObject, int]] = []
        self._spacing, self._size = (1.0, 1.0, 1.0), (1, 1, 1)
        self._ct: Node | None = None
        self._map: Node | None = None
        self._mark: Node | None = None
        self._former: tuple[float, float, float] | None = None  # mark that the one being placed takes the place of
        self._slice: int | None = None
        self.seen: set[int] = set()

    # -- showing and removing --------------------------------------------------------------------------------------

    def show(self, voxels: "CaseVoxels", view: View, *, key_slice: int | None) -> None:
        """Show a case in place of the former one; `key_slice` gets a frame."""
        self.clear()
        self._size, self._spacing = voxels.grid.size, voxels.grid.spacing
        self._ct = self._add_volume(voxels.ct, _("CT"))
        display = self._ct.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(view.width, view.level)
        if voxels.map is not None:
            self._add_map(voxels.map)
        if key_slice is not None:
            self._add_frame(key_slice)
        layers.show_ct(self._scene, self._ct, self._map, State().opacity if view.map_shown else 0.0)
        if (red := self._red()) is not None:
            red.SetOrientation("Axial")
            self._fit()
            self.go_to(view.slice)
            self._observe(red, vtk.vtkCommand.ModifiedEvent, self._on_view)
        if view.mark is not None:
            self._add_mark().AddControlPoint(*self._ras(view.mark))
        self._on_view()

    def clear(self) -> None:
        """Remove the nodes of the case from the scene; what was seen is kept until `forget`."""
        for one, tag in self._observed:
            one.RemoveObserver(tag)
        self.stop_placing()
        for view in nodes.of_class(self._scene, "vtkMRMLSliceCompositeNode"):
            if self._ct is not None and view.GetBackgroundVolumeID() == self._ct.GetID():
                view.SetBackgroundVolumeID(None)
                view.SetForegroundVolumeID(None)
        for node in reversed(self._added):
            self._remove(node)
        self._added, self._observed = [], []
        self._ct = self._map = self._mark = self._slice = self._former = None

    def forget(self) -> None:
        """Forget which slices were seen, for another case."""
        self.seen = set()

    @property
    def view(self) -> View:
        """What is shown now; of a case that is on the screen."""
        level, width = self.window
        return View(self._slice or 0, level, width, self.map_shown, self.mark)

    # -- slices and window -----------------------------------------------------------------------------------------

    @property
    def slice(self) -> int | None:
        """Index of the axial slice in the Red view; None if it shows another plane, or no case."""
        return self._slice

    def go_to(self, index: int) -> None:
        """Show an axial slice; the first or last one for an index beyond."""
        if (red := self._red()) is not None and self._ct is not None:
            red.SetSliceOffset(min(self._size[2] - 1, max(0, index)) * self._spacing[2])

    def step(self, slices: int) -> None:
        """Scroll by a number of slices."""
        if self._slice is not None:
            self.go_to(self._slice + slices)

    @property
    def window(self) -> tuple[float, float]:
        """Level and width, HU, of a case that is on the screen."""
        display = self._ct.GetDisplayNode()  # type: ignore[union-attr]
        return display.GetLevel(), display.GetWindow()

    def set_window(self, level: float, width: float) -> None:
        """Set the window of the CT, HU."""
        if self._ct is not None:
            self._ct.GetDisplayNode().SetWindowLevel(min(6000.0, max(10.0, width)), min(3000.0, max(-1000.0, level)))

    def reset(self, level: float, width: float) -> None:
        """Set the window, and fit the CT into the view at its slice."""
        shown = self._slice
        self.set_window(level, width)
        self._fit()
        if shown is not None:
            self.go_to(shown)

    # -- the map ---------------------------------------------------------------------------------------------------

    @property
    def map_shown(self) -> bool:
        """Whether the map is drawn; true without one, so that the next one is."""
        if self._map is None:
            return True
        views = nodes.of_class(self._scene, "vtkMRMLSliceCompositeNode")
        return any(v.GetForegroundVolumeID() == self._map.GetID() and v.GetForegroundOpacity() > 0 for v in views)

    def show_map(self, shown: bool) -> None:
        """Draw the map, or hide it."""
        if self._map is not None:
            layers.set_opacity(self._scene, self._map, State().opacity if shown else 0.0)

    # -- the mark --------------------------------------------------------------------------------------------------

    @property
    def mark(self) -> tuple[float, float, float] | None:
        """(column, row, slice) of the mark in voxels, to a thousandth; 0 at the patient's right, front and feet."""
        node = self._mark
        if node is None:
            return None
        return self._point_of(node) or self._former

    def _point_of(self, node: Node) -> tuple[float, float, float] | None:
        """Return the defined point of a mark, as `mark`."""
        for i in range(node.GetNumberOfControlPoints()):
            if node.GetNthControlPointPositionStatus(i) == node.PositionDefined:  # not what follows the pointer
                at = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(i, at)
                column, row, index, _one = np.linalg.inv(self._ijk_to_ras()) @ (*at, 1.0)
                return round(float(column), 3), round(float(row), 3), round(float(index), 3)
        return None

    @property
    def placing(self) -> bool:
        """Whether the next click sets the mark."""
        interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        return (
            self._mark is not None
            and interaction is not None
            and interaction.GetCurrentInteractionMode() == interaction.Place
        )

    def start_placing(self) -> None:
        """Let the next click in a view set the mark, in place of the former one, which stays until then."""
        selection = self._scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
        if self._ct is None or selection is None or interaction is None:
            return
        former = self.mark
        self.remove_mark()
        node, self._former = self._add_mark(), former
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)

    def stop_placing(self) -> None:
        """Let clicks in the views do what they usually do."""
        if self.placing:
            interaction = self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode")
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
            if self._mark is not None and self._former is not None and self._point_of(self._mark) is None:
                self._mark.RemoveAllControlPoints()  # one that follows the pointer
                self._mark.AddControlPoint(*self._ras(self._former))

    def remove_mark(self) -> None:
        """Remove the mark."""
        self._former = None
        self.stop_placing()
        if self._mark is not None:
            self._added.remove(self._mark)
            self._observed = [pair for pair in self._observed if pair[0] is not self._mark]
            self._remove(self._mark)
            self._mark = None
            self._changed()

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _red(self) -> "slicer.vtkMRMLSliceNode | None":
        views = nodes.of_class(self._scene, "vtkMRMLSliceNode")
        return next((view for view in views if view.GetLayoutName() == RED), None)

    def _ijk_to_ras(self) -> np.ndarray:
        """Return the (4, 4) RAS matrix of the voxels: centred in the plane, the lowest slice at 0."""
        (x, y, z), (columns, rows, _slices) = self._spacing, self._size
        made = np.diag([-x, -y, z, 1.0])
        made[:2, 3] = x * (columns - 1) / 2, y * (rows - 1) / 2
        return made

    def _ras(self, voxel: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z, _one = self._ijk_to_ras() @ (*voxel, 1.0)
        return float(x), float(y), float(z)

    def _add(self, class_name: str, name: str) -> Node:
        node = self._scene.AddNewNodeByClass(class_name, name)
        node.CreateDefaultDisplayNodes()
        self._keep(node)
        return node

    def _keep(self, node: Node) -> None:
        """Take a node for one of the case, which no scene file contains."""
        node.SetSaveWithScene(False)
        if (display := getattr(node, "GetDisplayNode", lambda: None)()) is not None:
            display.SetSaveWithScene(False)
        self._added.append(node)

    def _remove(self, node: Node) -> None:
        """Remove a node with its display nodes, as far as they are still there."""
        displays = [] if not hasattr(node, "GetNumberOfDisplayNodes") else [
            node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())
        ]  # fmt: skip
        for one in (*displays, node):
            if one is not None and one.GetScene() is self._scene:
                self._scene.RemoveNode(one)

    def _add_volume(self, voxels: np.ndarray, name: str) -> Node:
        node = self._add("vtkMRMLScalarVolumeNode", name)
        nodes.fill(node, sitk.GetImageFromArray(voxels), self._ijk_to_ras())
        return node

    def _add_map(self, shares: np.ndarray) -> None:
        known = set(nodes.of_class(self._scene, "vtkMRMLColorTableNode"))
        self._map = self._add_volume(shares.astype(np.float32) / 255, _("Map"))
        layers.colour_attention(self._scene, self._map)
        layers.style_attention(self._map, shown_from=State().shownFrom)
        for table in set(nodes.of_class(self._scene, "vtkMRMLColorTableNode")) - known:
            self._keep(table)

    def _add_frame(self, index: int) -> None:
        """Add a thin box around a slice: a frame in the axial view, lines in the others."""
        (x, y, z), (columns, rows, _slices) = self._spacing, self._size
        box = vtk.vtkCubeSource()
        box.SetBounds(*(sign * 0.49 * length for length in (x * columns, y * rows) for sign in (-1, 1)),
                      (index - 0.45) * z, (index + 0.45) * z)  # fmt: skip
        box.Update()
        node = self._add("vtkMRMLModelNode", _("Key slice"))
        node.SetAndObservePolyData(box.GetOutput())
        node.SetSelectable(False)
        display = node.GetDisplayNode()
        display.SetColor(*FRAME_COLOUR)
        display.SetVisibility2D(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(2)

    def _add_mark(self) -> Node:
        node = self._mark = self._add("vtkMRMLMarkupsFiducialNode", _("Mark"))
        node.SetMaximumNumberOfControlPoints(1)
        node.SetControlPointLabelFormat("")
        for event in (node.PointPositionDefinedEvent, node.PointModifiedEvent):
            self._observe(node, event, lambda caller, event: self._changed())
        return node

    # -- events ----------------------------------------------------------------------------------------------------

    def _observe(self, one: "vtk.vtkObject", event: "int | str", act: Callable[..., None]) -> None:
        self._observed.append((one, one.AddObserver(event, act)))

    def _on_view(self, caller: object = None, event: str = "") -> None:
        """Note which slice the Red view shows."""
        red, found = self._red(), None
        if red is not None and self._ct is not None:
            plane = nodes.matrix_of(lambda m: m.DeepCopy(red.GetSliceToRAS()))
            index = round(float(plane[2, 3]) / self._spacing[2])
            if abs(plane[2, 2]) > 0.999 and 0 <= index < self._size[2]:
                found = index
        if found is not None:
            self.seen.add(found)
        if found != self._slice:
            self._slice = found
            self._changed()


__all__ = ["CaseScene", "View", "holds_data"]
