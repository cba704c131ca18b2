"""Outcome of a batch in the panel: failed cases with their reasons, folder, table, and the scene of a case."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingSlicer import batch_cases, reporting, samples
from GTRStagingSlicer.batch_cases import BatchCase
from GTRStagingSlicer.batch_process import BatchProcess
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class BatchCasesView:
    """Buttons of a batch; the widgets of its outcome are hidden until the chosen folder has results."""

    def __init__(
        self,
        ui: Any,
        logic: GTRStagingLogic,
        batch: BatchProcess,
        state: Callable[[], State],
        ensure_dependencies: Callable[[], bool],
    ) -> None:
        self._ensure_dependencies = ensure_dependencies
        batch.ended = self.refresh
        self._ui, self._logic, self._batch, self._state = ui, logic, batch, state
        self._cases: tuple[BatchCase, ...] = ()
        self._of: object = None
        for button, act in (
            (ui.batchRunButton, self._run),
            (ui.batchCancelButton, batch.stop),
            (ui.batchOpenFolderButton, self._open_folder),
            (ui.batchTableButton, self._show_table),
            (ui.batchCaseButton, self._open_case),
        ):

            def pressed(checked: bool = False, act: Callable[[], None] = act) -> None:
                with reporting.errors_shown():
                    act()

            button.connect("clicked(bool)", pressed)

    @property
    def _folder(self) -> Path:
        return Path(self._ui.batchFolderSelector.currentPath or ".").expanduser()

    def refresh(self) -> None:
        """List the cases of the chosen folder, unless a batch is running there or nothing has changed."""
        table = self._folder / PREDICTIONS
        chosen = bool(self._ui.batchFolderSelector.currentPath) and not self._batch.running
        of = (str(table), table.stat().st_mtime_ns) if chosen and table.is_file() else None
        if of != self._of:
            self._of = of
            self._cases = () if of is None else batch_cases.read(self._folder)
            self._ui.batchCaseSelector.clear()
            self._ui.batchCaseSelector.addItems([one.in_words for one in self._cases])
            failures = batch_cases.failures_in_words(self._cases)
            self._ui.batchFailuresLabel.text = failures
            self._ui.batchFailuresLabel.visible = bool(failures)
        self._ui.batchCasesBox.visible = bool(self._cases)

    def _run(self) -> None:
        """Stage the cases of the case table in a separate process."""
        if self._ensure_dependencies():
            self._batch.start(self._state())

    def _open_folder(self) -> None:
        """Open the folder of the batch's results."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._folder)))

    def _show_table(self) -> None:
        """Show the table of predictions in the layout."""
        self._batch.table = self._batch.shown(self._folder)
        self._logic.showTable(self._batch.table)

    def _open_case(self) -> None:
        """Open the scene of the chosen case; without a scene file, its CT, ROI and key slice, ready for Apply."""
        case = self._cases[self._ui.batchCaseSelector.currentIndex]
        if case.scene_file is not None:
            slicer.util.loadScene(str(case.scene_file))
            return
        table = Path(self._ui.batchTableSelector.currentPath).expanduser()
        ct, tumour = batch_cases.add_to_scene(slicer.mrmlScene, table, case.case_id)
        state = self._state()
        with slicer.util.NodeModify(state):
            state.inputVolume, state.tumourSegmentation = ct, tumour
            state.tumourSegment = "" if tumour is None else samples.TUMOUR
        if case.key_slice >= 0:
            with slicer.util.NodeModify(state):
                state.keySlice, state.keySliceChosenBy = case.key_slice, "hand"
        self._ui.batchLabel.text = (
            _("Opened {case}. Press Apply for its result in the scene: the batch wrote no scene file.")
            if case.status == "done"
            else _("Opened {case}, which was not staged: {reason}")
        ).format(case=case.case_id, reason=case.reason)


__all__ = ["BatchCasesView"]
