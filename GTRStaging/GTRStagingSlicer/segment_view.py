"""Segments of the panel: the stomach's selector, TotalSegmentator, and the Segment Editor for the tumour."""

from collections.abc import Callable
from typing import Any

import qt
import slicer

from GTRStagingLib.errors import InputError
from GTRStagingSlicer import nodes, organs, presenter, reporting, samples
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.mrml import SegmentationNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

TOTAL_SEGMENTATOR = "TotalSegmentator"
EDITOR = "SegmentEditor"


class SegmentView:
    """Widgets for the segments, below the selector of the tumour."""

    def __init__(self, ui: Any, logic: GTRStagingLogic) -> None:
        self._ui, self._logic, self._refreshing = ui, logic, False
        self._use: Any = None
        self._listed: list[tuple[Any, str]] = []
        ui.stomachSelector.connect("activated(int)", self._on_stomach)
        ui.totalSegmentatorButton.connect("clicked(bool)", self._guarded(self._open_total_segmentator))
        ui.newSegmentButton.connect("clicked(bool)", self._guarded(self._new_segment))

    def _guarded(self, act: Callable[[], None]) -> Callable[..., None]:
        def pressed(checked: bool = False) -> None:
            with reporting.errors_shown():
                act()

        return pressed

    def refresh(self, state: State | None, idle: bool) -> None:
        """Show the chosen or recognised stomach, and the buttons that can be used."""
        there = idle and state is not None and state.inputVolume is not None
        self._ui.newSegmentButton.enabled = self._ui.totalSegmentatorButton.enabled = there
        self._ui.totalSegmentatorButton.visible = hasattr(slicer.modules, TOTAL_SEGMENTATOR.lower())
        if state is None or self._refreshing:
            return
        self._refreshing = True
        try:
            selector = self._ui.stomachSelector
            listed = organs.segments(slicer.mrmlScene)
            chosen = (state.stomachSegmentation, state.stomachSegment)
            selector.clear()
            selector.addItems([_("Recognised in the scene"), *(_in_words(*one) for one in listed)])
            selector.currentIndex = listed.index(chosen) + 1 if chosen in listed else 0
            self._listed = listed
        finally:
            self._refreshing = False
        names = [_in_words(*one) for one in organs.stomachs(slicer.mrmlScene)]
        hint = presenter.stomach_hint(names, chosen=state.stomachSegmentation is not None)
        self._ui.stomachHint.text, self._ui.stomachHint.visible = hint, bool(hint)

    def _on_stomach(self, index: int) -> None:
        """Store the chosen segmentation and segment together; the first item chooses no segment."""
        if self._refreshing:
            return
        state = self._logic.getParameterNode()
        node, segment = (None, "") if index < 1 else self._listed[index - 1]
        with slicer.util.NodeModify(state):
            state.stomachSegmentation, state.stomachSegment = node, segment

    def _open_total_segmentator(self) -> None:
        """Open TotalSegmentator's module with the CT and its fast mode chosen; its own Apply runs it."""
        widget = slicer.modules.totalsegmentator.widgetRepresentation().self()
        parameters = widget.logic.getParameterNode()
        parameters.SetNodeReferenceID("InputVolume", self._logic.getParameterNode().inputVolume.GetID())
        parameters.SetParameter("Task", "total")
        parameters.SetParameter("Fast", "true")
        slicer.util.selectModule(TOTAL_SEGMENTATOR)

    def _new_segment(self) -> None:
        """Make an empty segment of the tumour, and open it in the Segment Editor on the key slice."""
        state = self._logic.getParameterNode()
        ct = state.inputVolume
        node = organs.new_tumour(slicer.mrmlScene, ct, _("{ct} tumour").format(ct=ct.GetName()))
        with slicer.util.NodeModify(state):
            state.tumourSegmentation, state.tumourSegment = node, samples.TUMOUR
        slicer.util.selectModule(EDITOR)
        editor = self._editor()
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(ct)
        editor.setCurrentSegmentID(samples.TUMOUR)
        if state.keySlice >= 0:
            self._logic.showSlice(self._logic.grid(ct), state.keySlice)
        self._add_use_button()

    @staticmethod
    def _editor() -> Any:
        return slicer.modules.segmenteditor.widgetRepresentation().self().editor

    def _add_use_button(self) -> None:
        """Add the button with which the Segment Editor gives its segment to the panel, once."""
        if self._use is None:
            self._use = qt.QPushButton(_("Use this segment in GTR Staging"))
            self._use.toolTip = _("Chooses the segment that is being edited as the tumour, and returns to GTR Staging.")
            self._use.connect("clicked(bool)", self._guarded(self._use_segment))
            slicer.modules.segmenteditor.widgetRepresentation().layout().addWidget(self._use)

    def _use_segment(self) -> None:
        """Choose the segment that is being edited as the tumour, and return to the panel."""
        editor = self._editor()
        node, segment = editor.segmentationNode(), editor.currentSegmentID()
        if node is None or not segment:
            raise InputError(_("No segment is chosen in the Segment Editor; expected the tumour's. Choose it there."))
        state = self._logic.getParameterNode()
        with slicer.util.NodeModify(state):
            state.tumourSegmentation, state.tumourSegment = node, segment
        slicer.util.selectModule("GTRStaging")

    def close(self) -> None:
        """Take the button out of the Segment Editor; called when the panel is destroyed."""
        if self._use is not None:
            self._use.deleteLater()
            self._use = None


def _in_words(node: SegmentationNode, segment: str) -> str:
    """Return the names of a segmentation and its segment."""
    return f"{node.GetName()} / {nodes.segments_of(node)[segment]}"


__all__ = ["SegmentView"]
