"""Offer phantoms T1 to T4 as sample data: CT and tumour segmentation, made on this computer without a download."""

from pathlib import Path

import SimpleITK as sitk
import slicer

from GTRStagingSlicer import nodes, terminology
from GTRStagingSlicer.mrml import Node, Scene, SegmentationNode, VolumeNode
from GTRStagingSlicer.words import tr as _

CATEGORY = "GTR Staging"
ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
SEEDS = {"T1": 11, "T2": 12, "T3": 3, "T4": 14}
"""Stage -> seed of its phantom; all are of scanner profile C, on which the demonstration model was not trained."""
TUMOUR = "tumour"
RED, YELLOW = (0.9, 0.25, 0.2), (0.95, 0.8, 0.3)
"""Colours of the outlines of tumour and stomach."""


def name_of(stage: str) -> str:
    """Return the sample's name in the Sample Data module."""
    return f"GTRStaging phantom {stage}"


def register() -> None:
    """Add the phantoms to the Sample Data module."""
    from SampleData import SampleDataLogic

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):  # newer than Slicer 5.10
        SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("GTR Staging (synthetic phantoms)"))
    for stage in SEEDS:
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name_of(stage),
            uris=[],  # nothing is downloaded; the three lists must have the same length
            fileNames=[],
            nodeNames=[],
            thumbnailFileName=str(ICONS / f"Phantom{stage}.png"),
            customDownloader=lambda source, stage=stage: _load_and_show(stage),
        )
    if hasattr(slicer.modules, "SampleDataWidget"):
        _refresh_list(slicer.modules.SampleDataWidget)


def _refresh_list(widget: "slicer.qSlicerScriptedLoadableModuleWidget") -> None:
    """List the samples again: if Slicer starts with Sample Data, its list is older than the registration."""
    layout = widget.categoryLayout
    from_address = layout.itemAt(layout.count() - 1).widget()  # the last section, which a new listing would remove
    layout.removeWidget(from_address)
    widget.setCategoriesFromSampleDataSources(layout, slicer.modules.sampleDataSources, widget.logic)
    layout.addWidget(from_address)


def _load_and_show(stage: str) -> list[Node]:
    """Make the phantom and show it in the slice views, as the button of the Sample Data module does."""
    ct, tumour = load(slicer.mrmlScene, stage)
    slicer.util.setSliceViewerLayers(background=ct, foreground=None, label=None, fit=True)
    return [ct, tumour]


def load(scene: Scene, stage: str) -> tuple[VolumeNode, SegmentationNode]:
    """Make a phantom and add it to a scene.

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
    """Add a CT of the library to a scene as a volume node, in an abdominal window."""
    ct = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    nodes.fill(ct, image)
    ct.CreateDefaultDisplayNodes()
    display = ct.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(350, 50)
    return ct


def add_tumour(scene: Scene, ct: VolumeNode, mask: sitk.Image, name: str, segment: str = TUMOUR) -> SegmentationNode:
    """Add a 0/1 image to a scene as a segmentation node with the tumour's segment, drawn as an outline."""
    return add_segmentation(scene, ct, mask, name, segment, RED, TUMOUR, terminology.TUMOUR)


def add_segmentation(
    scene: Scene,
    ct: VolumeNode,
    mask: sitk.Image,
    name: str,
    segment: str,
    colour: tuple[float, float, float],
    segment_id: str,
    codes: str | None = None,
) -> SegmentationNode:
    """Add a 0/1 image to a scene as a segmentation node with one segment, drawn as an outline.

    `codes` is Slicer's text of the segment's terminology.
    """
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    nodes.add_segment(segmentation, mask, segment, colour, segment_id, terminology=codes)
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    return segmentation
