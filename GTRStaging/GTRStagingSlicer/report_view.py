"""Write the report of a case from the panel: into a folder of its own, after asking before files are replaced."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingSlicer import presenter, reporting, scene_staging
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class ReportView:
    """Buttons of the panel's section of the report.

    Parameters
    ----------
    ensure
        Returns whether all packages are installed, after asking to install those that are missing.
    """

    def __init__(self, ui: Any, logic: GTRStagingLogic, ensure: Callable[[], bool]) -> None:
        self._ui, self._logic, self._ensure = ui, logic, ensure
        self._state: State | None = None
        self._written: Path | None = None
        self._of: object = None
        ui.exportButton.connect("clicked(bool)", lambda checked=False: self._on_export())
        ui.showFolderButton.connect("clicked(bool)", lambda checked=False: self._on_show())

    def refresh(self, state: State | None, stale: bool) -> None:
        """Remove the line about a written report if it is not that of the shown result any more."""
        self._state = state
        if self._written is not None and (self._of != _source(state) or stale or not self._written.is_dir()):
            self._written, self._ui.reportLabel.text = None, ""

    def _on_export(self) -> None:
        """Write the report, after asking if one is there."""
        with reporting.errors_shown():
            record = None if self._state is None else scene_staging.record_of(self._state)
            if self._state is None or record is None or not self._ensure():
                return
            from GTRStagingLib.results.outputs import OUTPUTS

            folder = Path(self._ui.reportFolderSelector.currentPath).expanduser() / presenter.report_folder(record)
            question = presenter.question_before_replacing(folder.name, [n for n in OUTPUTS if (folder / n).exists()])
            if question and not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Export report")):
                return
            with reporting.waiting():
                names = self._logic.export(self._state, folder)
            self._written, self._of = folder, _source(self._state)
            words = _("Written: {names} in {folder}")
            self._ui.reportLabel.text = words.format(names=", ".join(names), folder=folder)
            self._ui.showFolderButton.enabled = True

    def _on_show(self) -> None:
        """Open the folder of the report, or else that of the reports, in the system's file manager."""
        folder = self._ui.reportFolderSelector.currentPath if self._written is None else str(self._written)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder))


def _source(state: State | None) -> object:
    """Return what a written report depends on, to compare."""
    if state is None:
        return None
    nodes = (state.resultText, state.nomogramText, state.nomogramGiven)
    times = [None if node is None else (node.GetID(), node.GetMTime()) for node in nodes]
    return *times, state.threshold


__all__ = ["ReportView"]
