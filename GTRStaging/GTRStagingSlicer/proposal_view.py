"""Show the panel's key slice in words, and the slices that the model proposes; choosing one of them confirms it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt

from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingSlicer import nodes, scene_staging
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
        found = () if self._shown is None else self._shown.candidates
        self._ui.proposalLabel.visible = bool(found)
        for rank, button in enumerate(self._buttons):
            button.visible = rank < len(found)
            button.enabled = enabled
            button.checked = rank < len(found) and state is not None and found[rank].index == state.keySlice

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
                button.text = _("Slice {index}, score {score:.2f}").format(index=one.index, score=one.score)
                button.toolTip = _("Slice {index} at S {mm:.1f} mm: click to confirm it as the key slice.").format(
                    index=one.index, mm=one.position_mm
                )
        text = _("Proposed by the model{where}, the best first. Look at the slices, and click the one that shows the "
                 "tumour best.")  # fmt: skip
        if found.candidates[0].score < 0.5:
            text = _("The model finds no slice in which a tumour is more likely than not{where}: the slices may show "
                     "no tumour.")  # fmt: skip
        self._ui.proposalLabel.text = text.format(where=_(" among the slices with stomach") if found.in_stomach else "")
        self._shown, self._of = found, _source(self._state)

    def _on_chosen(self, rank: int) -> None:
        if self._shown is not None and rank < len(self._shown.candidates):
            self._choose(self._shown.candidates[rank].index, scene_staging.CONFIRMED)


def _source(state: State | None) -> object:
    """Return what a proposal depends on, to compare."""
    volume = None if state is None else state.inputVolume
    return None if state is None or volume is None else (volume.GetID(), nodes.geometry_key(volume), state.model)


def key_slice_in_words(state: State, grid: geometry.ImageOrGrid) -> str:
    """Describe the key slice of a state and its voting slices, or tell that none is chosen."""
    last = geometry.axial_size(grid)[2] - 1
    if state.keySlice < 0:
        text = _("No key slice is chosen (0, nearest the feet, to {last}).")
        if scene_staging.has_segment(state):
            text = _("No key slice is chosen (0, at the feet, to {last}): Apply uses the largest section.")
        return (text if last else _("The only slice of the scan is its key slice.")).format(last=last)
    key = keyslice.by_index(grid, state.keySlice)
    voting = [str(i) for i in range(key.index - 1, key.index + 2) if 0 <= i <= last]
    how = {
        scene_staging.TUMOUR_AREA: _("largest section of the segment"),
        scene_staging.CONFIRMED: _("proposed by the model, confirmed by hand"),
        scene_staging.PROPOSED: _("proposed by the model: confirm it"),
    }.get(state.keySliceChosenBy, _("by hand"))
    return _("Slice {index} of 0 to {last}, at S {mm:.1f} mm ({how}). Voting: {slices}.").format(
        index=key.index, last=last, mm=key.position_mm, how=how, slices=", ".join(voting)
    )


__all__ = ["BUTTONS", "ProposalView", "key_slice_in_words"]
