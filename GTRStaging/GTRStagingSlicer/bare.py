"""A MRML scene outside the application, through the package `slicer-core`: for tests, and for writing `.mrb` files.

The scene's logics must be there before its nodes: without the segmentations logic, writing a scene with a
segmentation ends the process.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import slicer

from GTRStagingSlicer.mrml import Application, Scene

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}
"""Module -> class, in the order in which they are made."""


@dataclass(frozen=True)
class BareScene:
    """A scene and the logics that serve it, which live as long as this does."""

    scene: Scene
    application: Application
    logics: tuple[object, ...]
    unpacked: tempfile.TemporaryDirectory[str]
    """Where `.mrb` files are unpacked while they are read."""

    def close(self) -> None:
        """Empty the scene and remove what was unpacked for it."""
        self.scene.Clear(True)
        self.unpacked.cleanup()


def bare_scene() -> BareScene:
    """An empty scene with what Slicer's own start gives it."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    unpacked = tempfile.TemporaryDirectory(prefix="gtrstaging-")
    (Path(unpacked.name) / "ColorFiles").mkdir()  # which the colour logic looks for, and is content to find empty
    (Path(unpacked.name) / ".slicer-cache").touch()  # tells the cache that it may empty this folder
    application.SetHomeDirectory(unpacked.name)
    application.SetShareDirectory(".")
    files = slicer.vtkMRMLRemoteIOLogic()
    files.SetMRMLScene(scene)
    files.AddDataIOToScene()
    files.GetCacheManager().SetRemoteCacheDirectory(unpacked.name)
    logics: list[object] = [files]
    for module, name in LOGICS.items():
        logic = getattr(slicer, name)()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(module, logic)
        logics.append(logic)
    return BareScene(scene, application, tuple(logics), unpacked)
