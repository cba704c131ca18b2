"""Connect the list of results to its widgets: Show, Delete and Export."""

from collections.abc import Callable
from typing import Any

import slicer

from GTRStagingLib.errors import InputError
from GTRStagingSlicer import case_list, case_results, reporting, result_view
from GTRStagingSlicer.logic import GTRStagingParameterNode
from GTRStagingSlicer.words import tr as _


class CaseView:
    """List of the scene's results in the panel.

    Parameters
    ----------
    ui
        Widgets of the panel.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._rows: tuple[case_list.Row, ...] = ()
        self._state: GTRStagingParameterNode | None = None
        self._idle = True
        ui.casesTable.connect("itemSelectionChanged()", self._refresh_buttons)
        ui.caseShowButton.connect("clicked(bool)", lambda checked=False: self._act(self.show))
        ui.caseDeleteButton.connect("clicked(bool)", lambda checked=False: self._act(self.delete))
        ui.caseExportButton.connect("clicked(bool)", lambda checked=False: self._act(self.export))

    def refresh(self, state: GTRStagingParameterNode | None, idle: bool) -> None:
        """Update the list; the selected row stays selected, or else the row of the result that is shown is."""
        self._state, self._idle = state, idle
        rows = () if state is None else case_list.rows(slicer.mrmlScene, state)
        if rows != self._rows:
            chosen = next((row.text for row in rows if row.chosen), None)
            before = next((row.text for row in self._rows if row.chosen), None)
            selected = self.selected()
            wanted = chosen if selected is None or chosen != before else selected.text
            self._rows = rows
            self._fill()
            index = next((i for i, row in enumerate(rows) if row.text == wanted), None)
            if index is None:
                self.ui.casesTable.clearSelection()
            else:
                self.ui.casesTable.selectRow(index)
        self._refresh_buttons()

    def selected(self) -> case_list.Row | None:
        """Return the selected row; None without one."""
        index = self.ui.casesTable.currentRow()
        picked = len(self.ui.casesTable.selectedItems()) > 0
        return self._rows[index] if picked and 0 <= index < len(self._rows) else None

    def _fill(self) -> None:
        heads = [_("CT"), _("Stage"), _("Staged")]
        lines = [[("▸ " if row.chosen else "") + row.case, row.stage, row.time] for row in self._rows]
        result_view.fill(self.ui.casesTable, heads, lines, first_is_wide=True)

    def _refresh_buttons(self) -> None:
        folder = self.ui.reportFolderSelector.currentPath
        states = case_list.buttons(self.selected(), idle=self._idle and self._state is not None, folder=folder)
        for button, state in (
            (self.ui.caseShowButton, states.show),
            (self.ui.caseDeleteButton, states.delete),
            (self.ui.caseExportButton, states.export),
        ):
            button.enabled, button.toolTip = state.enabled, state.tip

    def _act(self, action: Callable[[case_list.Row, GTRStagingParameterNode], None]) -> None:
        row, state = self.selected(), self._state
        if row is not None and state is not None:
            with reporting.errors_shown():
                action(row, state)

    def show(self, row: case_list.Row, state: GTRStagingParameterNode) -> None:
        """Choose the CT of a result; the panel then shows the result."""
        state.inputVolume = case_results.ct_of(slicer.mrmlScene.GetNodeByID(row.text))
        self.ui.overlayButton.click()

    def delete(self, row: case_list.Row, state: GTRStagingParameterNode) -> None:
        """Remove a result from the scene, after asking."""
        text = slicer.mrmlScene.GetNodeByID(row.text)
        question = _("Remove the result “{name}” from the scene?").format(name=case_results.title(text))
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("GTR Staging")):
            slicer.mrmlScene.SaveStateForUndo()
            case_results.remove(slicer.mrmlScene, text)
            state.Modified()  # the panel observes it

    def export(self, row: case_list.Row, state: GTRStagingParameterNode) -> None:
        """Show a result, and write its report.

        Raises
        ------
        InputError
            If the result is not current.
        """
        self.show(row, state)
        if not self.ui.exportButton.enabled:
            raise InputError(self.ui.exportButton.toolTip)
        self.ui.exportButton.click()
