"""Load packages and model in the background once the module is open, and show the steps of a run with time left."""

import logging
import time
from collections.abc import Callable
from typing import Any

import qt

from GTRStagingSlicer import result_content, result_view
from GTRStagingSlicer.background import EVERY_S
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.time_left import Clock, left_in_words
from GTRStagingSlicer.words import tr as _

AFTER_MS = 300
"""Milliseconds after which loading begins: the panel is drawn first."""

LOADING = "loading"


class Loading:
    """Loading in the background. Its timer gives the thread time, which Slicer's event loop does not."""

    def __init__(self, ui: Any, logic: GTRStagingLogic) -> None:
        self._ui, self._logic = ui, logic
        self._of: tuple[str, str] | None = None
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._on_timeout)

    def start(self, state: State | None, lacking: object) -> None:
        """Load what staging with the state's model needs, unless packages are lacking or it was loaded before."""
        wanted = None if state is None or lacking else (state.model, state.device.value)
        if wanted is None or wanted == self._of:
            return
        self._of = wanted
        self._timer.setInterval(AFTER_MS)
        self._timer.start()

    def stop(self) -> None:
        """Stop the timer: the module is left, or a run gives the thread its time."""
        self._timer.stop()
        self._ui.loadingLabel.visible = False

    def _on_timeout(self) -> None:
        if self._of is not None and self._timer.interval == AFTER_MS:
            self._logic.load(*self._of)
            self._timer.setInterval(round(1000 * EVERY_S))
        running = self._logic.worker.running
        self._ui.loadingLabel.visible = running
        self._ui.loadingLabel.text = _("Loading the model and its packages in the background …")
        if running:
            time.sleep(EVERY_S)  # the only time that the thread gets in Slicer's event loop
        else:
            self._timer.stop()
            if (error := self._logic.worker.error) is not None:
                logging.info("GTR Staging: not loaded in the background", exc_info=error)


class Steps:
    """Steps of a run in the panel: name, bar and time left."""

    def __init__(self, ui: Any, now: Callable[[], float] = time.monotonic) -> None:
        self._ui, self._now, self._clock = ui, now, Clock()
        self._count = ""

    def begin(self) -> None:
        """Show the bar, empty."""
        self._clock.begin(self._now())
        self._count = ""
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = self._ui.applyHint.visible = True
        self._ui.applyHint.text = result_content.step_in_words(LOADING)

    def enter(self, step: str) -> None:
        """Show that a step begins."""
        self._clock.enter(step, self._now())
        self._ui.progressBar.value += 1
        self.show()

    def show(self) -> None:
        """Show the slices that are done, else the step and the time left."""
        if self._count:
            self._ui.applyHint.text = self._count
        elif self._clock.step:
            left = left_in_words(self._clock.left_s(self._now()))
            words = result_content.step_in_words(self._clock.step)
            self._ui.applyHint.text = " ".join(filter(None, (words, left)))

    def counting(self, words: str) -> Callable[[int, int], None]:
        """Return a function that shows the numbers of slices done and of all.

        Parameters
        ----------
        words
            What the panel says, with the places {done} and {total}.
        """

        def progress(done: int, total: int) -> None:
            self._ui.progressBar.value = self._ui.progressBar.maximum * done // total
            self._count = words.format(done=done, total=total)
            self.show()

        return progress

    def folding(self, work: Callable[[], object]) -> Callable[[], None]:
        """Return work that folds the sections above the result once it is done."""

        def done() -> None:
            work()
            result_view.fold_inputs(self._ui)

        return done

    def end(self, *, whole: bool) -> None:
        """Hide the bar; a run that was not cancelled gives the durations for the next estimate."""
        if whole:
            self._clock.end(self._now())
        self._ui.progressBar.visible = False


__all__ = ["Loading", "Steps"]
