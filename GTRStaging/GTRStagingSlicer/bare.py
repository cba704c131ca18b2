"""Make a MRML scene outside the application, with the package `slicer-core`: for tests and for writing `.mrb` files.

The scene's logics must exist before its nodes: without the segmentations logic, writing a scene with a segmentation
ends the process.
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
"""Module -> class of its logic, in the order of construction."""


@dataclass(frozen=True)
class BareScene:
    """Scene with its logics, which are kept as long as this object."""

    scene: Scene
    application: Application
    logics: tuple[object, ...]
    unpacked: tempfile.TemporaryDirectory[str]
    """Folder in which `.mrb` files are unpacked while they are read."""

    def close(self) -> None:
        """Empty the scene and remove its unpacked files."""
        self.scene.Clear(True)
        self.unpacked.cleanup()


def bare_scene() -> BareScene:
    """Return an empty scene with the logics that Slicer adds at its start."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    unpacked = tempfile.TemporaryDirectory(prefix="gtrstaging-")
    (Path(unpacked.name) / "ColorFiles").mkdir()  # the colour logic requires the folder; it may be empty
    (Path(unpacked.name) / ".slicer-cache").touch()  # allows the cache to empty this folder
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
