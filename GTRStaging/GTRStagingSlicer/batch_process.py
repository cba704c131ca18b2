"""Run the panel's batch: start the command `gtrstaging batch` in a separate process and follow its output."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import qt
import slicer

import GTRStagingLib
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.cells import unguarded
from GTRStagingSlicer import models, presenter, tables
from GTRStagingSlicer.mrml import Scene, TableNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

EVERY_MS = 500

_START = f"""
import sys
sys.path.append({str(Path(GTRStagingLib.__file__).resolve().parents[1])!r})
from GTRStagingLib.cli.main import main
sys.exit(main())
"""
"""Code that starts the command line; it adds the library's folder, since PythonSlicer sets its own PYTHONPATH."""


@dataclass
class _Run:
    """Running batch: its process, its output and its progress.

    Attributes
    ----------
    read
        Bytes of the output that were read.
    lines
        Lines of the output that do not report progress: warnings and errors.
    begun, failed
        Whether a case has ended; number of failed cases.
    stopped
        Whether the user stopped it.
    notes
        Sentences on how the case table was read.
    """

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    folder: Path
    read: int = 0
    lines: list[str] = field(default_factory=list)
    begun: bool = False
    failed: int = 0
    stopped: bool = False
    notes: tuple[str, ...] = ()


class BatchProcess:
    """Batch of the panel, one at a time; polls a file, since Slicer's event loop gives a thread too little time."""

    def __init__(self, ui: Any, show_error: Callable[[str], None]) -> None:
        self._ui, self._show_error = ui, show_error
        self._run: _Run | None = None
        self.table: TableNode | None = None
        """Table node of the last batch's results; not saved with a scene, since it contains the ids of all cases."""
        self.ended: Callable[[], None] = lambda: None
        """Called when a batch has ended."""
        self._timer = qt.QTimer()
        self._timer.setInterval(EVERY_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def running(self) -> bool:
        """Whether a batch is running."""
        return self._run is not None

    def refresh(self, open_scene: bool) -> None:
        """Enable the buttons that can be used."""
        table, folder = self._ui.batchTableSelector.currentPath, self._ui.batchFolderSelector.currentPath
        decision = presenter.batch(scene=open_scene, running=self.running, table=table, folder=folder)
        self._ui.batchRunButton.enabled, self._ui.batchRunButton.toolTip = decision.can_start, decision.tip
        self._ui.batchCancelButton.enabled = self.running
        self._ui.batchTableSelector.enabled = self._ui.batchFolderSelector.enabled = not self.running

    def start(self, state: State) -> None:
        """Start a batch of the chosen case table, with the model and the settings of the state.

        Raises
        ------
        InputError
            If the table cannot be read, the model has no map of the chosen method, or the process does not start.
        """
        table = Path(self._ui.batchTableSelector.currentPath).expanduser()
        folder = Path(self._ui.batchFolderSelector.currentPath).expanduser()
        notes = read_cases(table).notes
        if (reason := models.reason_no_map(state.model, state.method)) is not None:
            raise InputError(reason)
        command = [_python(), "-c", _START, "batch", str(table), "--out", str(folder), "--model", state.model]
        # An earlier run in that folder is resumed; one processor is left for Slicer.
        command += ["--resume", "--workers", str(max(1, (os.cpu_count() or 2) - 1))]
        command += ["--cam", state.method.value, "--target", state.target.value]
        command += ["--threshold", f"{state.threshold:g}", "--device", state.device.value, "--progress", "json"]
        output = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (it is needed as long as the process runs)
        try:
            process = subprocess.Popen(  # noqa: S603 (our own command, without a shell)
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise InputError(
                _("The batch cannot be started with {python}: {error}. Run “gtrstaging batch” in a terminal instead.")
                .format(python=command[0], error=error)
            ) from error  # fmt: skip
        self._run = _Run(process, output, folder, notes=notes)
        self._ui.batchProgress.visible = True
        self._ui.batchProgress.value = 0
        self._ui.batchLabel.text = _("Starting: loading the model …")
        self.refresh(True)
        self._timer.start()

    def shown(self, folder: Path) -> TableNode:
        """Return the table node of a folder's results, filled from its file."""
        return show_results(slicer.mrmlScene, self.table, folder / PREDICTIONS)

    def stop(self) -> None:
        """Stop the batch; finished cases and predictions.csv are kept."""
        run = self._run
        if run is not None:
            run.stopped = True
            _end_process(run.process, hard=False)
            try:
                run.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _end_process(run.process, hard=True)
                run.process.wait()
            self._poll()

    def _poll(self) -> None:
        """Show the progress; finish when the process has ended."""
        run = self._run
        if run is None:
            return
        code = run.process.poll()
        run.output.seek(run.read)
        fresh = run.output.read()
        whole = fresh.rfind(b"\n") + 1 if code is None else len(fresh)
        run.read += whole
        for line in fresh[:whole].decode(errors="replace").splitlines():
            self._read_line(run, line)
        if code is not None:
            self._end(run, code)

    def _read_line(self, run: _Run, line: str) -> None:
        """Show the progress that a line of output reports; keep any other line."""
        try:
            progress = json.loads(line)
            done, total = progress["settled"], progress["total"]
        except (ValueError, KeyError, TypeError):
            run.lines.append(line)
            return
        run.begun = run.begun or done > 0
        self._ui.batchProgress.maximum = total
        self._ui.batchProgress.value = done
        run.failed = progress.get("failed", 0)
        self._ui.batchLabel.text = presenter.batch_progress(done, total, run.failed, progress.get("seconds_left"))

    def _end(self, run: _Run, code: int) -> None:
        self._timer.stop()
        run.output.close()
        self._run = None
        self._ui.batchProgress.visible = False
        if run.stopped:
            self._ui.batchLabel.text = _("Stopped. {progress}").format(progress=self._ui.batchLabel.text)
        if presenter.batch_ended_early(code, failed=run.failed, stopped=run.stopped):
            reason = "\n".join(run.lines[-5:]) or _("exit code {code}").format(code=code)
            self._show_error(_("The batch ended early: {reason}").format(reason=reason))
        if run.begun and run.notes:
            self._ui.batchLabel.text += " " + " ".join(run.notes)
        if run.begun and (run.folder / PREDICTIONS).is_file():
            self.table = self.shown(run.folder)
        self.refresh(True)
        self.ended()


def _end_process(process: subprocess.Popen[bytes], *, hard: bool) -> None:
    """End the process and those that it started: PythonSlicer is a launcher. No file is left half written."""
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)
    else:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=False)  # noqa: S603, S607


def show_results(scene: Scene, previous: TableNode | None, path: Path) -> TableNode:
    """Show the batch's predictions.csv as a table node of texts."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = [[unguarded(cell) for cell in row] for row in csv.reader(file)]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(head)}
    table = tables.fill_table(scene, previous, _("Batch results"), columns)
    table.SetSaveWithScene(False)
    return table


def _python() -> str:
    """Return the path of Slicer's Python; outside Slicer, of the running Python."""
    return shutil.which("PythonSlicer") or sys.executable
