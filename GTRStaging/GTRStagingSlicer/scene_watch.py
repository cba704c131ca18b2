"""Call a function when the CT, the segmentation or a view of the panel's case changes."""

from collections.abc import Callable, Iterator

import slicer
import vtk

from GTRStagingSlicer import nodes
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.state import State


class SceneWatch:
    """Observers of the voxels, the segments and the transforms of a case, of the slice views, and of the scene's list.

    Parameters
    ----------
    changed
        Called after each change, without arguments.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tags: list[tuple[vtk.vtkObject, int]] = []
        self._watched: list[tuple[vtk.vtkObject, int]] = []

    def follow(self, state: State | None, scene: Scene) -> None:
        """Observe the nodes of a state, or with None stop observing; what is observed already stays so."""
        wanted = [] if state is None else list(_watched(state, scene))
        if wanted == self._watched:
            return
        for one, tag in self._tags:
            one.RemoveObserver(tag)
        self._tags = [(one, one.AddObserver(event, self._on_event)) for one, event in wanted]
        self._watched = wanted

    def _on_event(self, caller: object, event: str) -> None:
        self._changed()


def _watched(state: State, scene: Scene) -> Iterator[tuple["vtk.vtkObject", int]]:
    """Yield objects and events that may change the case, its place, or what the views show."""
    moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
    if state.inputVolume is not None:
        yield state.inputVolume, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
        yield state.inputVolume, moved
        yield state.inputVolume, vtk.vtkCommand.ModifiedEvent
    if state.tumourSegmentation is not None:
        yield state.tumourSegmentation, moved
        yield state.tumourSegmentation, vtk.vtkCommand.ModifiedEvent
        inner, of = state.tumourSegmentation.GetSegmentation(), slicer.vtkSegmentation
        for event in (of.SegmentAdded, of.SegmentRemoved, of.SegmentModified, of.SourceRepresentationModified):
            yield inner, event
    for view in nodes.of_class(scene, "vtkMRMLSliceCompositeNode"):
        yield view, vtk.vtkCommand.ModifiedEvent
    for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
        yield scene, event


__all__ = ["SceneWatch"]
