"""Short names of Slicer's classes for annotations; they are untyped C++ classes, which mypy treats as Any."""

from slicer import vtkMRMLModelNode as ModelNode
from slicer import vtkMRMLNode as Node
from slicer import vtkMRMLPlotChartNode as PlotNode
from slicer import vtkMRMLScalarVolumeNode as VolumeNode
from slicer import vtkMRMLScene as Scene
from slicer import vtkMRMLSegmentationNode as SegmentationNode
from slicer import vtkMRMLTableNode as TableNode
from slicer import vtkMRMLTextNode as TextNode
from slicer import vtkSlicerApplicationLogic as Application

__all__ = [
    "Application",
    "ModelNode",
    "Node",
    "PlotNode",
    "Scene",
    "SegmentationNode",
    "TableNode",
    "TextNode",
    "VolumeNode",
]
