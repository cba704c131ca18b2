"""What the panel asks for and what a run has made: one list of fields, in the panel, in a saved scene, in batches.

In Slicer the module's typed parameter node has these fields; outside, a `State` holds them, and `save` writes them into
a scene as that parameter node reads them.
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
    """How the attention is computed; the value is the library's name."""

    AUTO = "auto"
    FINE = "fine"
    GATED = "gated"
    GRADCAM = "gradcam"
    GRADCAMPP = "gradcam++"
    LAYERCAM = "layercam"
    EIGENCAM = "eigencam"

    def label(self) -> str:
        """As a person reads it, with a word where the map is less of a stage than one would think."""
        name = {
            "auto": _("Automatic (the model's best)"),
            "fine": _("Fine map"),
            "gated": _("Gated decision"),
            "gradcam": "Grad-CAM",
            "gradcam++": "Grad-CAM++",
            "layercam": "LayerCAM",
            "eigencam": "EigenCAM",
        }[self.value]
        if self.of_a_stage:
            return name
        same = self is Method.EIGENCAM
        said = _("{method} (the same for every stage)") if same else _("{method} (similar for every stage)")
        return said.format(method=name)

    @property
    def of_a_stage(self) -> bool:
        """Whether its map may be called the attention for a stage."""
        return is_stage_specific(self.value)


class Target(enum.Enum):
    """The stage whose attention is shown."""

    PREDICTED = "predicted"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"

    def label(self) -> str:
        """As a person reads it."""
        return _("Predicted stage") if self is Target.PREDICTED else self.value


class Device(enum.Enum):
    """Where the network runs; the value is the library's name."""

    AUTO = "auto"
    CPU = "cpu"

    def label(self) -> str:
        """As a person reads it."""
        return _("Automatic (GPU if there is one)") if self is Device.AUTO else _("CPU")


@dataclass(eq=False)  # hashable, as what observers are kept by must be
class State:
    """Everything that a saved scene must bring back.

    Attributes
    ----------
    tumourSegment
        Id of the segment in `tumourSegmentation`.
    keySlice, keySliceChosenBy
        Axial index, 0 nearest the feet, -1 while none is chosen; "hand" or "tumour area".
    threshold
        Share of the key slice's maximum from which attention counts: for the outline and for Dice.
    shownFrom
        Share of the maximum below which no heat is drawn.
    attentionVolume ... resultText
        Nodes that a run made, and the next one fills again.
    resultVolume, resultSegmentation, resultOf
        What the result was made of, to tell when it is out of date: the CT, the segmentation, and the settings.
    nomogramText, nomogramTable
        The chosen nomogram, whole; what it says.
    nomogramVolume, nomogramValues
        The CT of the patient of whom something is given for it, and what: JSON, empty for nothing.
    """

    inputVolume: VolumeNode = None
    tumourSegmentation: SegmentationNode = None
    tumourSegment: str = ""
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
    nomogramText: TextNode = None
    nomogramTable: TableNode = None
    nomogramVolume: VolumeNode = None
    nomogramValues: str = ""


def save(state: State, scene: Scene) -> None:
    """Write a state into a scene, as the module's parameter node: the panel opens with it."""
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
