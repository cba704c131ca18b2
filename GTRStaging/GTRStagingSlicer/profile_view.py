"""Show the staging along the scan in the panel's section of the stage: button, words, chart and table."""

from collections.abc import Callable
from typing import Any

from GTRStagingSlicer import presenter, profiles, reporting
from GTRStagingSlicer.loading_view import Steps
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class ProfileView:
    """Buttons and words of the profile; the profile itself is in the scene.

    Parameters
    ----------
    run
        Runs a function with the panel's progress bar, and shows errors.
    steps, tick
        Show the slices that are done, and keep the window alive meanwhile.
    """

    def __init__(
        self,
        ui: Any,
        logic: GTRStagingLogic,
        run: Callable[[Callable[[], object]], None],
        steps: Steps,
        tick: Callable[[], None],
    ) -> None:
        self._ui, self._logic, self._steps, self._tick = ui, logic, steps, tick
        self._state: State | None = None
        self._shown: object = None
        ui.profileButton.connect("clicked(bool)", lambda checked=False: run(self._make))
        ui.profilePlotButton.connect("clicked(bool)", lambda checked=False: self._on_show(False))
        ui.profileTableButton.connect("clicked(bool)", lambda checked=False: self._on_show(True))

    def refresh(self, state: State | None, idle: bool, reason: str | None) -> None:
        """Enable the buttons and describe the profile; `reason` is why the case cannot be staged, or None."""
        self._state, ui = state, self._ui
        ui.profileButton.enabled = idle and reason is None
        ui.profileButton.toolTip = reason or _(
            "Stages each slice of the segment as the key slice, or without a segment each slice up to 30 mm from the "
            "key slice, and plots the probabilities over the position."
        )
        shown = State() if state is None else state  # empty for a closed scene
        ui.profilePlotButton.enabled = idle and shown.profilePlot is not None
        ui.profileTableButton.enabled = idle and shown.profileTable is not None
        text = shown.profileText
        stale = state is not None and self._logic.profileOutOfDate(state)
        now = None if text is None else (text.GetID(), text.GetMTime(), stale)
        if now != self._shown:
            self._shown = now
            self._describe(shown, stale)

    def _describe(self, state: State, stale: bool) -> None:
        """Fill the label with the profile in words, or hide it without one."""
        label, record = self._ui.profileLabel, profiles.record_of(state)
        label.visible = record is not None
        if record is None:
            return
        key = profiles.key_of(record)
        verdict = None if key is None else key["familiarity"]
        marked = presenter.profile_in_html(profiles.in_words(record), verdict, stale=stale)
        label.text, label.styleSheet = marked.text, marked.style

    def _make(self) -> None:
        """Stage along the scan, and show the chart."""
        if self._state is None:
            return
        progress = self._steps.counting(_("Staged {done} of {total} slices …"))
        self._logic.profile(self._state, progress, self._tick)
        self._logic.showPlot(self._state.profilePlot)

    def _on_show(self, table: bool) -> None:
        """Show the table or the chart in the layout."""
        with reporting.errors_shown():
            if self._state is not None and table:
                self._logic.showTable(self._state.profileTable)
            elif self._state is not None:
                self._logic.showPlot(self._state.profilePlot)


__all__ = ["ProfileView"]
