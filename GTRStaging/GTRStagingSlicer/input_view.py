"""Lists of CTs, segmentations and segments in the panel's section of the input."""

from collections.abc import Callable
from typing import Any

import slicer

from GTRStagingSlicer import candidates, presenter, scene_staging
from GTRStagingSlicer.logic import GTRStagingParameterNode
from GTRStagingSlicer.mrml import Node
from GTRStagingSlicer.words import tr as _


class InputView:
    """Lists of the nodes that may be the CT and the tumour; the user's choices are stored in the state.

    Parameters
    ----------
    show
        Shows a CT in the views.
    """

    def __init__(self, ui: Any, show: Callable[[Node], None]) -> None:
        self._ui, self._show = ui, show
        self._state: GTRStagingParameterNode | None = None
        self._filling = False
        self._labels: dict[str, str] = {}
        self._agreed: set[tuple[str, str]] = set()
        ui.inputSelector.connect("currentIndexChanged(int)", self._on_ct)
        ui.tumourSelector.connect("currentIndexChanged(int)", self._on_segmentation)
        ui.segmentSelector.connect("currentIndexChanged(int)", self._on_segment)

    def refresh(self, state: GTRStagingParameterNode | None) -> None:
        """List the nodes of the scene, and mark the chosen ones; the state may be None."""
        self._state, ui = state, self._ui
        cts, segmentations, segments = {}, {}, {}
        if state is not None:
            cts = candidates.labels(candidates.cts(slicer.mrmlScene))
            segmentations = candidates.labels(candidates.segmentations(slicer.mrmlScene))
            if state.tumourSegmentation is not None:
                segments = candidates.tumour_segments(state.tumourSegmentation)
        ct = None if state is None else state.inputVolume
        segmentation = None if state is None else state.tumourSegmentation
        self._labels = {**cts, **segmentations}
        self._filling = True
        try:
            for selector, first, entries, chosen in (
                (ui.inputSelector, _("Choose the CT"), cts, ct),
                (ui.tumourSelector, _("None"), segmentations, segmentation),
            ):
                _fill(selector, presenter.choices(first, entries, "" if chosen is None else chosen.GetID()))
            segment = "" if state is None else state.tumourSegment
            _fill(ui.segmentSelector, presenter.choices(_("Choose the tumour's segment"), segments, segment))
            ui.segmentSelector.visible = segmentation is not None
        finally:
            self._filling = False

    def label_of(self, node: Node | None) -> str | None:
        """Return the label of a node in the lists, or else its name; None without a node."""
        return None if node is None else self._labels.get(node.GetID(), node.GetName() or "")

    def agrees(self) -> bool:
        """Return whether the segmentation is of the chosen CT; ask, once, if it was drawn on another volume."""
        state = self._state
        other = None if state is None else candidates.drawn_on_another(state)
        if state is None or other is None or not scene_staging.has_segment(state):
            return True
        pair = (state.tumourSegmentation.GetID(), state.inputVolume.GetID())
        if pair not in self._agreed:
            question = presenter.drawn_elsewhere(self.label_of(other), self.label_of(state.inputVolume))
            if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Segmentation of another volume")):
                return False
            self._agreed.add(pair)
        return True

    def _on_ct(self, index: int) -> None:
        if self._state is not None and not self._filling:
            ct = _chosen(self._ui.inputSelector, index)
            self._state.inputVolume = ct
            if ct is not None:
                self._show(ct)

    def _on_segmentation(self, index: int) -> None:
        if self._state is None or self._filling:
            return
        segmentation = _chosen(self._ui.tumourSelector, index)
        with slicer.util.NodeModify(self._state):
            self._state.tumourSegmentation = segmentation
            self._state.tumourSegment = "" if segmentation is None else candidates.likely_tumour(segmentation)

    def _on_segment(self, index: int) -> None:
        if self._state is not None and not self._filling:
            self._state.tumourSegment = self._ui.segmentSelector.itemData(index) or ""


def _fill(selector: Any, choices: presenter.Choices) -> None:
    """Fill a list, and mark the chosen row; a list that has not changed is left as it is."""
    if tuple((selector.itemData(i), selector.itemText(i)) for i in range(selector.count)) != choices.rows:
        selector.clear()
        for node, label in choices.rows:
            selector.addItem(label, node)
    selector.currentIndex = choices.index


def _chosen(selector: Any, index: int) -> Node | None:
    """Return the node of a list's row; None for the first row."""
    node = selector.itemData(index) if index > 0 else ""
    return slicer.mrmlScene.GetNodeByID(node) if node else None


__all__ = ["InputView"]
