"""Draw lines of table nodes in a chart of the scene."""

from collections.abc import Sequence
from typing import NamedTuple

import slicer

from GTRStagingSlicer.layers import reuse_or_add
from GTRStagingSlicer.mrml import Node, PlotNode, Scene, TableNode

SOLID = slicer.vtkMRMLPlotSeriesNode.LineStyleSolid
DASHED = slicer.vtkMRMLPlotSeriesNode.LineStyleDash
DASH_DOTTED = slicer.vtkMRMLPlotSeriesNode.LineStyleDashDot
CIRCLE = slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle
CROSS = slicer.vtkMRMLPlotSeriesNode.MarkerStyleCross
SQUARE = slicer.vtkMRMLPlotSeriesNode.MarkerStyleSquare
DIAMOND = slicer.vtkMRMLPlotSeriesNode.MarkerStyleDiamond
PLUS = slicer.vtkMRMLPlotSeriesNode.MarkerStylePlus
NONE = 0
"""No line, or no marker."""


class Line(NamedTuple):
    """Columns `y` over `x` of a table node; the line's name in the legend is that of the column `y`."""

    table: TableNode
    x: str
    y: str
    colour: tuple[float, float, float]
    marker: int = NONE
    style: int = SOLID


def draw(scene: Scene, plot: PlotNode, lines: Sequence[Line]) -> None:
    """Draw lines in a chart by the series nodes that it has already; those that are left over are removed."""
    previous = series_of(plot)
    for series in previous[len(lines) :]:  # of an earlier result with more lines
        plot.RemovePlotSeriesNodeID(series.GetID())
        scene.RemoveNode(series)
    for i, line in enumerate(lines):
        series = reuse_or_add(scene, previous[i] if i < len(previous) else None, "vtkMRMLPlotSeriesNode", line.y)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetAndObserveTableNodeID(line.table.GetID())
        series.SetXColumnName(line.x)
        series.SetYColumnName(line.y)
        series.SetMarkerStyle(line.marker)
        series.SetMarkerSize(6)
        series.SetLineStyle(line.style)
        series.SetLineWidth(2)
        series.SetColor(*line.colour)
        if not plot.HasPlotSeriesNodeID(series.GetID()):
            plot.AddAndObservePlotSeriesNodeID(series.GetID())


def series_of(plot: PlotNode) -> list[Node]:
    """Return the series nodes of a chart, in the order of its legend."""
    return [plot.GetNthPlotSeriesNode(i) for i in range(plot.GetNumberOfPlotSeriesNodes())]


def set_axes(plot: PlotNode, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Set the ranges of a chart's axes, and show its legend."""
    plot.SetXAxisRangeAuto(False)
    plot.SetXAxisRange(*x)
    plot.SetYAxisRangeAuto(False)
    plot.SetYAxisRange(*y)
    plot.SetLegendVisibility(True)


__all__ = ["CIRCLE", "CROSS", "DASHED", "DASH_DOTTED", "DIAMOND", "NONE", "PLUS", "SOLID", "SQUARE", "Line",
           "draw", "series_of", "set_axes"]  # fmt: skip
