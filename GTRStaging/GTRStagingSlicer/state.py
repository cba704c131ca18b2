"""Define the state of the panel: its choices and the nodes of a result, for the panel, saved scenes and batches.

In Slicer the module's typed parameter node has these fields; outside, a `State` contains them, and `save` writes them
into a scene in the form of that parameter node.
"""

import enum
from dataclasses import dataclass, fields

import slicer

from GTRStagingLib.model.registry import DEFAULT
from GTRStagingLib.staging.options import is_stage_specific
from GTRStagingSlicer.mrml import ModelNode, Node, PlotNode, Scene, SegmentationNode, TableNode, TextNode, VolumeNode
from GTRStagingSlicer.words import tr as _

MODULE = "GTRStaging"


class Method(enum.Enum):
    """Method of the attention; the value is the library's name."""

    AUTO = "auto"
    FINE = "fine"
    GATED = "gated"
    GRADCAM = "gradcam"
    GRADCAMPP = "gradcam++"
    LAYERCAM = "layercam"
    EIGENCAM = "eigencam"

    def label(self) -> str:
        """Return the name in the panel, with a note if the map is not specific to a stage."""
        name = {
            "auto": _("Automatic (the model's best)"),
            "fine": _("Fine map"),
            "gated": _("Gated map"),
            "gradcam": "Grad-CAM",
            "gradcam++": "Grad-CAM++",
            "layercam": "LayerCAM",
            "eigencam": "EigenCAM",
        }[self.value]
        if self.of_a_stage:
            return name
        same = self is Method.EIGENCAM
        template = _("{method} (the same for every stage)") if same else _("{method} (similar for every stage)")
        return template.format(method=name)

    @property
    def of_a_stage(self) -> bool:
        """Whether the map is specific to a stage."""
        return is_stage_specific(self.value)


class Target(enum.Enum):
    """Stage for which the attention is shown."""

    PREDICTED = "predicted"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"

    def label(self) -> str:
        """Return the name in the panel."""
        return _("Predicted stage") if self is Target.PREDICTED else self.value


class Device(enum.Enum):
    """Device of the network; the value is the library's name."""

    AUTO = "auto"
    CPU = "cpu"

    def label(self) -> str:
        """Return the name in the panel."""
        return _("Automatic (GPU if available)") if self is Device.AUTO else _("CPU")


@dataclass(eq=False)  # hashable, as observers require
class State:
    """State of the panel that is saved with a scene.

    Attributes
    ----------
    tumourSegment
        Id of the tumour's segment in `tumourSegmentation`.
    stomachSegmentation, stomachSegment
        Segment of the stomach; without one, that which is recognised in the scene.
    keySlice, keySliceChosenBy
        Axial index, 0 nearest the feet, -1 before one is chosen; "hand", "tumour area", or "proposed" or "confirmed"
        for a proposal of the model.
    threshold
        Share of the key slice's maximum above which attention counts as highlighted.
    shownFrom
        Share of the maximum below which the attention is hidden.
    privateCodes
        Whether DICOM objects have private codes in place of those of SNOMED CT and the AJCC.
    showVoting
        Whether slice views show the voting slices as lines.
    attentionVolume ... resultText
        Nodes of the result of the CT; the next run fills them again (see `case_results`).
    resultVolume, resultSegmentation, resultOf
        CT, segmentation and settings of the result, to detect when it is out of date.
    profileText, profileTable, profilePlot
        Record of the CT's staging along the scan as JSON, its table and its chart.
    nomogramText
        The chosen nomogram as JSON, for all CTs.
    nomogramGiven, nomogramTable
        Values given to the nomogram for the patient of the CT as JSON; the table of its result.
    """

    inputVolume: VolumeNode = None
    tumourSegmentation: SegmentationNode = None
    tumourSegment: str = ""
    stomachSegmentation: SegmentationNode = None
    stomachSegment: str = ""
    model: str = DEFAULT
    keySlice: int = -1
    keySliceChosenBy: str = ""
    device: Device = Device.AUTO
    method: Method = Method.AUTO
    target: Target = Target.PREDICTED
    opacity: float = 0.5
    shownFrom: float = 0.25
    threshold: float = 0.5
    showLegend: bool = True
    showOutline: bool = True
    show3D: bool = False
    privateCodes: bool = False
    showVoting: bool = True
    attentionVolume: VolumeNode = None
    attentionOutline: SegmentationNode = None
    votingSlices: ModelNode = None
    resultTable: TableNode = None
    agreementTable: TableNode = None
    sweepTable: TableNode = None
    sweepPlot: PlotNode = None
    resultText: TextNode = None
    resultVolume: VolumeNode = None
    resultSegmentation: SegmentationNode = None
    resultOf: str = ""
    profileText: TextNode = None
    profileTable: TableNode = None
    profilePlot: PlotNode = None
    nomogramText: TextNode = None
    nomogramGiven: TextNode = None
    nomogramTable: TableNode = None


def save(state: State, scene: Scene) -> None:
    """Write a state into a scene as the module's parameter node, with which the panel opens."""
    node = slicer.vtkMRMLScriptedModuleNode()
    node.SetSingletonTag(MODULE)
    node.SetAttribute("ModuleName", MODULE)
    node.SetName(MODULE)
    node = scene.AddNode(node)
    for field in fields(State):
        value = getattr(state, field.name)
        if value is None or isinstance(value, Node):
            node.SetParameter(field.name, "")
            node.SetNodeReferenceID(field.name, None if value is None else value.GetID())
        else:
            node.SetParameter(field.name, value.name if isinstance(value, enum.Enum) else str(value))
