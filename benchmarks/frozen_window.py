"""Measure how long Slicer's window stands still while the panel works, in a running Slicer.

    Slicer --no-splash --additional-module-paths GTRStaging --python-script benchmarks/frozen_window.py

A timer of 5 ms notes the longest time between two of its calls in each phase: while the module opens and loads the
model, during the first and further presses of Apply, and along the scan. The time that the views need to be drawn is
part of it, and is measured alone as well. At last, Cancel is pressed during a run.
"""

import statistics
import time
import traceback

import qt
import slicer

TICK_MS = 5
AGAIN = 3
"""Further presses of Apply."""


class Watch:
    """Longest time between two calls of a timer, since `begin`."""

    def __init__(self) -> None:
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.connect("timeout()", self._on_timeout)
        self._timer.start()
        self.begin()

    def begin(self) -> None:
        """Start a phase."""
        self._last, self.longest = time.monotonic(), 0.0

    def _on_timeout(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.stop()


def settle(seconds):
    """Let the window work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.001)


def phase(watch, name, work, after=1.0):
    """Do work and print how long it took, and how long the window stood at most."""
    watch.begin()
    start = time.monotonic()
    work()
    took = time.monotonic() - start
    settle(after)
    print(f"{name}: {took:.2f} s; the window stood for {watch.longest:.2f} s at most", flush=True)


def main() -> None:
    from GTRStagingSlicer import samples

    watch = Watch()
    ct, tumour = samples.load(slicer.mrmlScene, "T3")
    slicer.util.setSliceViewerLayers(background=ct, foreground=None, label=None, fit=True)
    settle(2.0)
    phase(watch, "opening the module, loading", lambda: slicer.util.selectModule("GTRStaging"), after=8.0)
    panel = slicer.modules.gtrstaging.widgetRepresentation().self()
    ui = panel.ui
    ui.inputSelector.currentIndex = ui.inputSelector.findData(ct.GetID())
    ui.tumourSelector.currentIndex = ui.tumourSelector.findData(tumour.GetID())
    ui.largestSectionButton.click()
    settle(1.0)
    phase(watch, "first Apply", ui.applyButton.click)
    for _ in range(AGAIN):
        phase(watch, "Apply again", ui.applyButton.click)
    phase(watch, "stage along the scan", ui.profileButton.click)
    phase(watch, "proposal", ui.proposeButton.click)
    drawn = []
    for _ in range(9):
        start = time.monotonic()
        slicer.util.forceRenderAllViews()
        drawn.append(time.monotonic() - start)
    print(f"drawing all views once: {statistics.median(drawn):.2f} s")
    pressed = []

    def press():
        pressed.append(time.monotonic())
        ui.cancelButton.click()

    qt.QTimer.singleShot(150, press)
    ui.applyButton.click()
    if pressed:
        print(f"Cancel: the run ended {time.monotonic() - pressed[0]:.2f} s after it was pressed")
    watch.stop()


if __name__ == "__main__":
    code = 0
    try:
        main()
    except Exception:
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
