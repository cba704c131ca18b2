"""The panel's batch: the library's own command in a process of its own, followed by what it writes, line by line."""

import csv
import json
import math
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
from GTRStagingSlicer import models, tables
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
"""The command line, wherever the library lies: PythonSlicer sets its own PYTHONPATH."""


@dataclass
class _Run:
    """A batch under way: its process, what that has said so far, and how it stands.

    Attributes
    ----------
    read
        Bytes of the output that were heard.
    lines
        What was no progress: a warning, or why it failed.
    begun, failed
        Whether a case was settled; how many failed.
    stopped
        By the user.
    """

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    folder: Path
    read: int = 0
    lines: list[str] = field(default_factory=list)
    begun: bool = False
    failed: int = 0
    stopped: bool = False


class BatchProcess:
    """One batch at a time; its progress is read from a file, since a thread would starve in Slicer's event loop."""

    def __init__(self, ui: Any, tell: Callable[[str], None]) -> None:
        self._ui, self._tell = ui, tell
        self._run: _Run | None = None
        self.table: TableNode | None = None
        """The table node of the last batch's results; not saved with a scene, since it names all its cases."""
        self._timer = qt.QTimer()
        self._timer.setInterval(EVERY_MS)
        self._timer.connect("timeout()", self._look)

    @property
    def running(self) -> bool:
        """Whether a batch is under way."""
        return self._run is not None

    def refresh(self, open_scene: bool) -> None:
        """Enable what can be pressed."""
        ready = open_scene and bool(
            self._ui.batchTableSelector.currentPath and self._ui.batchFolderSelector.currentPath
        )
        self._ui.batchRunButton.enabled = ready and not self.running
        self._ui.batchRunButton.toolTip = (
            _("A batch is running.")
            if self.running
            else _("Stages every case of the table; Slicer stays usable.")
            if ready
            else _("Choose a case table and a folder for the results.")
        )
        self._ui.batchCancelButton.enabled = self.running
        self._ui.batchTableSelector.enabled = self._ui.batchFolderSelector.enabled = not self.running

    def start(self, state: State) -> None:
        """Start the batch of the table that is chosen, with the model and the settings of the state.

        Raises
        ------
        InputError
            If the table cannot be read, or the model has no map of the method: before anything is started.
        """
        table = Path(self._ui.batchTableSelector.currentPath).expanduser()
        folder = Path(self._ui.batchFolderSelector.currentPath).expanduser()
        read_cases(table)
        if (reason := models.reason_against(state.model, state.method)) is not None:
            raise InputError(reason)
        command = [_python(), "-c", _START, "batch", str(table), "--out", str(folder), "--model", state.model]
        # What an earlier run has done in that folder stays, if nothing has changed; a processor is left for Slicer.
        command += ["--resume", "--workers", str(max(1, (os.cpu_count() or 2) - 1))]
        command += ["--cam", state.method.value, "--target", state.target.value]
        command += ["--threshold", f"{state.threshold:g}", "--device", state.device.value, "--progress", "json"]
        output = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (it lives as long as the process)
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
                _("The batch cannot be started with {python}: {error}. Run `gtrstaging batch` in a terminal instead.")
                .format(python=command[0], error=error)
            ) from error  # fmt: skip
        self._run = _Run(process, output, folder)
        self._ui.batchProgress.visible = True
        self._ui.batchProgress.value = 0
        self._ui.batchLabel.text = _("Starting: loading the model …")
        self.refresh(True)
        self._timer.start()

    def stop(self) -> None:
        """Stop the batch; the cases that are done stay, and predictions.csv is whole."""
        run = self._run
        if run is not None:
            run.stopped = True
            _end_process(run.process, hard=False)
            try:
                run.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _end_process(run.process, hard=True)
                run.process.wait()
            self._look()

    def _look(self) -> None:
        """Follow the progress; clear up when the process has ended."""
        run = self._run
        if run is None:
            return
        code = run.process.poll()
        run.output.seek(run.read)
        fresh = run.output.read()
        whole = fresh.rfind(b"\n") + 1 if code is None else len(fresh)
        run.read += whole
        for line in fresh[:whole].decode(errors="replace").splitlines():
            self._hear(run, line)
        if code is not None:
            self._end(run, code)

    def _hear(self, run: _Run, line: str) -> None:
        try:
            said = json.loads(line)
            done, total = said["settled"], said["total"]
        except (ValueError, KeyError, TypeError):
            run.lines.append(line)
            return
        run.begun = run.begun or done > 0
        self._ui.batchProgress.maximum = total
        self._ui.batchProgress.value = done
        run.failed = said.get("failed", 0)
        self._ui.batchLabel.text = _("{done} of {total} cases, {failed} failed.").format(
            done=done, total=total, failed=run.failed
        )
        if done < total and (left := said.get("seconds_left")) is not None:
            self._ui.batchLabel.text += " " + _("{minutes} min left.").format(minutes=math.ceil(left / 60))

    def _end(self, run: _Run, code: int) -> None:
        self._timer.stop()
        run.output.close()
        self._run = None
        self._ui.batchProgress.visible = False
        if run.stopped:
            self._ui.batchLabel.text = _("Stopped. {said}").format(said=self._ui.batchLabel.text)
        elif code not in (0, 1) or (code == 1 and not run.failed):
            said = "\n".join(run.lines[-5:]) or _("it ended with code {code}").format(code=code)
            self._tell(_("The batch ended early: {said}").format(said=said))
        if run.begun and (run.folder / PREDICTIONS).is_file():
            self.table = show_results(slicer.mrmlScene, self.table, run.folder / PREDICTIONS)
        self.refresh(True)


def _end_process(process: subprocess.Popen[bytes], *, hard: bool) -> None:
    """PythonSlicer is a launcher: what it launched must go with it. Files only take their place when whole."""
    if os.name == "posix":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)
    else:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=False)  # noqa: S603, S607


def show_results(scene: Scene, kept: TableNode | None, path: Path) -> TableNode:
    """The batch's predictions.csv as a table node, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(head)}
    table = tables.fill_table(scene, kept, _("Batch results"), columns)
    table.SetSaveWithScene(False)
    return table


def _python() -> str:
    """Slicer's Python as a program of its own; outside Slicer, the Python that runs this."""
    return shutil.which("PythonSlicer") or sys.executable
