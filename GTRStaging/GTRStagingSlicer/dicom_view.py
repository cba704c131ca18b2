"""Buttons of the panel that write a result as DICOM into Slicer's database, and send it to a server."""

from collections.abc import Callable
from typing import Any

import slicer

from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingSlicer import presenter, reporting
from GTRStagingSlicer.dicom_export import Exported, reason_not_exportable
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class Buttons:
    """The two buttons for DICOM in the panel's section of the report.

    Parameters
    ----------
    ensure
        Returns whether all packages are installed, after asking to install those that are missing.
    """

    def __init__(self, ui: Any, logic: GTRStagingLogic, ensure: Callable[[], bool]) -> None:
        self._ui, self._logic, self._ensure = ui, logic, ensure
        self._state: State | None = None
        self._exported: Exported | None = None
        self._of: object = None
        ui.dicomExportButton.connect("clicked(bool)", lambda checked=False: self._on_export())
        ui.dicomSendButton.connect("clicked(bool)", lambda checked=False: self._on_send())

    def refresh(self, state: State | None, idle: bool, obstacle: str | None) -> None:
        """Enable the buttons; `obstacle` is why a result cannot be exported at all, None if it can."""
        self._state = state
        if _source(state) != self._of:
            self._of, self._exported, self._ui.dicomLabel.text = _source(state), None, ""
        obstacle = obstacle or reason_not_exportable(None if state is None else state.resultVolume)
        buttons = presenter.dicom_buttons(idle=idle, obstacle=obstacle)
        self._ui.dicomExportButton.enabled = self._ui.dicomSendButton.enabled = buttons.enabled
        self._ui.dicomExportButton.toolTip, self._ui.dicomSendButton.toolTip = buttons.export_tip, buttons.send_tip

    def _on_export(self) -> None:
        """Write the objects, after asking."""
        question = _("Write this result as DICOM objects into Slicer's DICOM database, in the study of the CT?")
        if slicer.util.confirmOkCancelDisplay(f"{question}\n\n{RESEARCH_USE_ONLY}", windowTitle=_("Export as DICOM")):
            with reporting.errors_shown(), reporting.waiting():
                self._write()

    def _on_send(self) -> None:
        """Write the objects if that was not done yet, and open Slicer's dialog to send them."""
        with reporting.errors_shown():
            if self._exported is None:
                with reporting.waiting():
                    self._write()
            if self._exported is not None:
                import DICOMLib

                DICOMLib.DICOMSendDialog([str(path) for path in self._exported.files.values()])

    def _write(self) -> None:
        """Write the objects, unless the user does not install what is missing."""
        if self._state is None or not self._ensure():
            return
        self._exported, self._of = self._logic.exportDicom(self._state), _source(self._state)
        self._ui.dicomLabel.text = _("In the DICOM database, in the study of the CT: {kinds}.").format(
            kinds=", ".join(self._exported.files)
        )


def _source(state: State | None) -> object:
    """Return what exported objects depend on, to compare."""
    text = None if state is None else state.resultText
    if state is None or text is None:
        return None
    return text.GetID(), text.GetMTime(), state.threshold, state.privateCodes


__all__ = ["Buttons"]
