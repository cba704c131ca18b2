"""Sample data: phantoms T1 to T4, made on this computer, nothing downloaded, with their tumour as a segmentation."""

from pathlib import Path

import SimpleITK as sitk
import slicer

from GTRStagingSlicer import nodes
from GTRStagingSlicer.mrml import Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.words import tr as _

CATEGORY = "GTR Staging"
ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
SEEDS = {"T1": 11, "T2": 12, "T3": 3, "T4": 14}
"""One patient a stage; of scanner C, which the demonstration model never saw."""
TUMOUR = "tumour"
RED = (0.9, 0.25, 0.2)


def name_of(stage: str) -> str:
    """The sample's name, as the Sample Data module shows it."""
    return f"GTRStaging phantom {stage}"


def register() -> None:
    """Offer the phantoms in the Sample Data module."""
    from SampleData import SampleDataLogic

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):  # newer than Slicer 5.10
        SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("GTR Staging (synthetic phantoms)"))
    for stage in SEEDS:
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name_of(stage),
            uris=[],  # nothing is downloaded; the lists must be of one length
            fileNames=[],
            nodeNames=[],
            thumbnailFileName=str(ICONS / f"Phantom{stage}.png"),
            customDownloader=lambda source, stage=stage: _shown(stage),
        )
    if hasattr(slicer.modules, "SampleDataWidget"):
        _list_again(slicer.modules.SampleDataWidget)


def _list_again(widget: "slicer.qSlicerScriptedLoadableModuleWidget") -> None:
    """Where Sample Data is the module that Slicer starts with, it was filled before anything could be registered."""
    layout = widget.categoryLayout
    from_address = layout.itemAt(layout.count() - 1).widget()  # its own last section, which listing anew would drop
    layout.removeWidget(from_address)
    widget.setCategoriesFromSampleDataSources(layout, slicer.modules.sampleDataSources, widget.logic)
    layout.addWidget(from_address)


def _shown(stage: str) -> list[Node]:
    """What the Sample Data module's button does: make the phantom, and show its tumour's slices."""
    ct, tumour = load(slicer.mrmlScene, stage)
    slicer.util.setSliceViewerLayers(background=ct, foreground=None, label=None, fit=True)
    return [ct, tumour]


def load(scene: Scene, stage: str) -> tuple[VolumeNode, SegmentationNode]:
    """Make a phantom and put it into a scene.

    Returns
    -------
    vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
        The CT in an abdominal window, and its tumour as the segment "tumour".
    """
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    made = make_phantom(TStage[stage], seed=SEEDS[stage], scanner="C")
    ct = add_ct(scene, made.ct, name_of(stage))
    return ct, add_tumour(scene, ct, made.tumour, f"{name_of(stage)} tumour")


def add_ct(scene: Scene, image: sitk.Image, name: str) -> VolumeNode:
    """A CT of the library as a volume node, in an abdominal window."""
    ct = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    nodes.fill(ct, image)
    ct.CreateDefaultDisplayNodes()
    display = ct.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(350, 50)
    return ct


def add_tumour(scene: Scene, ct: VolumeNode, mask: sitk.Image, name: str, segment: str = TUMOUR) -> SegmentationNode:
    """A 0/1 image of the library as a segmentation node with one segment, drawn as a line."""
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    nodes.add_segment(segmentation, mask, segment, RED, TUMOUR)
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    return segmentation
