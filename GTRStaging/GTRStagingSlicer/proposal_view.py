"""Show the slices that the model proposes as the key slice; choosing one of them confirms it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from GTRStagingSlicer import key_slice_content, nodes, scene_staging
from GTRStagingSlicer.loading_view import Steps
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.staging.proposal import Proposal

BUTTONS = 3
"""Number of pictures in the panel; `staging.proposal.SHOWN`, repeated, since it would import large packages."""

PICTURE_PIXELS = 112
"""Longer side of a picture in the panel."""


class ProposalView:
    """Button and pictures of the proposal in the panel's section of the key slice.

    A proposal is not saved with a scene: it belongs to the CT, its geometry and the model that made it, and is hidden
    when one of them changes.

    Parameters
    ----------
    run
        Runs a function with the panel's progress bar, and shows errors.
    steps, tick
        Show the slices that are done, and keep the window alive meanwhile.
    choose
        Stores the index of a slice, and how it was chosen.
    """

    def __init__(
        self,
        ui: Any,
        logic: GTRStagingLogic,
        run: Callable[[Callable[[], object]], None],
        steps: Steps,
        tick: Callable[[], None],
        choose: Callable[[int, str], None],
    ) -> None:
        self._ui, self._logic, self._run, self._choose = ui, logic, run, choose
        self._steps, self._tick = steps, tick
        self._state: State | None = None
        self._shown: Proposal | None = None
        self._of: object = None
        self._buttons = [getattr(ui, f"proposal{number}Button") for number in range(1, BUTTONS + 1)]
        ui.proposeButton.connect("clicked(bool)", lambda checked=False: self._run(self._propose))
        for rank, button in enumerate(self._buttons):
            button.connect("clicked(bool)", lambda checked=False, rank=rank: self._on_chosen(rank))

    def refresh(self, state: State | None, idle: bool) -> None:
        """Enable the buttons, mark the chosen slice, and hide a proposal of another CT or model."""
        self._state = state
        if _source(state) != self._of:
            self._of, self._shown = _source(state), None
        enabled = idle and state is not None and state.inputVolume is not None
        self._ui.proposeButton.enabled = enabled
        found = [] if self._shown is None else [one.index for one in self._shown.candidates]
        self._ui.proposalLabel.visible = bool(found)
        key_slice = -1 if state is None else state.keySlice
        states = key_slice_content.slice_buttons(found, key_slice, BUTTONS)
        for button, one in zip(self._buttons, states, strict=True):
            button.visible, button.enabled, button.checked = one.visible, enabled, one.checked

    def _propose(self) -> None:
        """Let the model propose, and show the slices with their pictures; none of them is chosen yet."""
        if self._state is None:
            return
        progress = self._steps.counting(_("Scored {done} of {total} slices …"))
        found = self._logic.propose(self._state, progress, self._tick)
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            for button, one, picture in zip(self._buttons, found.candidates, found.pictures, strict=False):
                path = str(Path(folder) / f"{one.index}.png")
                small = Image.fromarray(picture)
                small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
                small.save(path)
                button.setIcon(qt.QIcon(qt.QPixmap(path)))
                button.setIconSize(qt.QSize(*small.size))
                button.text = key_slice_content.slice_in_words(one.index, one.score)
                button.toolTip = key_slice_content.slice_tip(one.index, one.position_mm)
        best = found.candidates[0].score
        self._ui.proposalLabel.text = key_slice_content.proposal_in_words(best, in_stomach=found.in_stomach)
        self._shown, self._of = found, _source(self._state)

    def _on_chosen(self, rank: int) -> None:
        if self._shown is not None and rank < len(self._shown.candidates):
            self._choose(self._shown.candidates[rank].index, scene_staging.CONFIRMED)


def _source(state: State | None) -> object:
    """Return what a proposal depends on, to compare."""
    volume = None if state is None else state.inputVolume
    return None if state is None or volume is None else (volume.GetID(), nodes.geometry_key(volume), state.model)


__all__ = ["BUTTONS", "ProposalView"]
