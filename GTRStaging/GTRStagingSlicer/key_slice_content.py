"""Describe the key slice of a case and the model's proposal, without Qt.

`proposal_view` and the panel write it into their widgets.
"""

from dataclasses import dataclass

from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingSlicer import scene_staging
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _

LIKELY = 0.5
"""Score from which a tumour is more likely than not in a slice."""


@dataclass(frozen=True)
class SliceButton:
    """State of a button of the proposal: whether it has a slice, and whether that is the key slice."""

    visible: bool
    checked: bool


def slice_buttons(indices: list[int], key_slice: int, count: int) -> list[SliceButton]:
    """Return the state of each of `count` buttons for the proposed indices, the best first."""
    shown = [*indices[:count], *[None] * (count - len(indices))]
    return [SliceButton(index is not None, index == key_slice) for index in shown]


def slice_in_words(index: int, score: float) -> str:
    """Return the text below the picture of a proposed slice."""
    return _("Slice {index}, score {score:.2f}").format(index=index, score=score)


def slice_tip(index: int, position_mm: float) -> str:
    """Return the tooltip of the picture of a proposed slice."""
    words = _("Slice {index} at S {mm:.1f} mm: click to confirm it as the key slice.")
    return words.format(index=index, mm=position_mm)


def proposal_in_words(best_score: float, *, in_stomach: bool) -> str:
    """Describe a proposal; one whose best slice hardly shows a tumour says so instead of asking for a choice."""
    text = _("Proposed by the model{where}, the best first. Look at the slices, and click the one that shows the "
             "tumour best.")  # fmt: skip
    if best_score < LIKELY:
        text = _("The model finds no slice in which a tumour is more likely than not{where}: the slices may show "
                 "no tumour.")  # fmt: skip
    return text.format(where=_(" among the slices with stomach") if in_stomach else "")


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


__all__ = [
    "LIKELY",
    "SliceButton",
    "key_slice_in_words",
    "proposal_in_words",
    "slice_buttons",
    "slice_in_words",
    "slice_tip",
]
