"""Say what a result shows, in sentences that its picture and its report share."""

import math

from GTRStagingLib.imaging.keyslice import CHOICE_IN_WORDS
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.options import is_stage_specific
from GTRStagingLib.staging.result import StagingResult

METHOD_NAMES = {
    "fine": "fine map",
    "gated": "gated decision",
    "gate": "gate",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
}

_MEANINGS = {
    "fine": "Which small places, inside the region that speaks for {stage}, the network reads.",
    "gated": "What each place added to the decision for {stage}; with the places that spoke against it, which are not "
    "shown, the sum over the slice is the decision.",
    "gate": "Where the model looks.",
    "gradcam": "Which coarse region speaks for {stage}.",
    "gradcam++": "Which coarse region speaks for {stage}, each cell weighted on its own.",
    "layercam": "Which cells the network reads, weighted for {stage}.",
    "eigencam": "The strongest pattern among the network's features.",
}

_WALL_MM = 10.0
"""A map of larger cells cannot show a wall of the stomach, which measures 3 to 10 mm."""


# -- vote and slices -----------------------------------------------------------------------------------------------


def vote_in_words(result: StagingResult) -> str:
    """The vote, as in 'unanimous (3 of 3 slices)' or '2 of 3 slices'."""
    prediction = result.prediction
    n = len(prediction.slices)
    if n == 1:
        return "1 slice: no vote"
    count = f"{prediction.votes[prediction.stage]} of {n} slices"
    if prediction.unanimous:
        return f"unanimous ({count})"
    return f"{count}, tied; decided by mean probability" if prediction.tied else count


def slice_label(result: StagingResult, position: int) -> str:
    """A slice by its place, as in 'key slice 57 (S −123.4 mm)' or 'one below (−1)'."""
    offset, key = result.slices.offsets[position], result.key_slice
    if offset == 0:
        if not result.scan.spacing_known:
            return f"key slice {key.index}"
        place = f"(S {signed(key.position_mm)} mm)".replace(" ", "\N{NO-BREAK SPACE}")
        return f"key slice {key.index} {place}"
    count = "one" if abs(offset) == 1 else f"{abs(offset)} slices"
    return f"{count} {'above' if offset > 0 else 'below'} ({'+' if offset > 0 else '−'}{abs(offset)})"


def choice_in_words(result: StagingResult) -> str:
    """Say how the key slice was chosen, with the ROI's area in it where there is one."""
    key = result.key_slice
    how = CHOICE_IN_WORDS[key.chosen_by]
    if key.tumour_area_mm2 is None or not result.scan.spacing_known:
        return how
    return f"{how}; the ROI measures {key.tumour_area_mm2:,.0f} mm² there"


def signed(value: float) -> str:
    """One decimal and a minus sign of its own width."""
    return f"{value:.1f}".replace("-", "−")


# -- the map -------------------------------------------------------------------------------------------------------


def map_name(attention: Attention) -> str:
    """The map by its stage and method, as in 'attention for T3 (Grad-CAM)' or 'LayerCAM (similar for every stage)'."""
    name = METHOD_NAMES.get(attention.method, attention.method)
    if is_stage_specific(attention.method):
        return f"attention for {attention.target} ({name})"
    return f"{name} ({_sameness(attention.method)})"


def map_in_a_sentence(attention: Attention) -> str:
    """The map where its method is told elsewhere, as in 'the attention for T3'; by its name where it is of no stage."""
    return f"the attention for {attention.target}" if is_stage_specific(attention.method) else map_name(attention)


def method_in_words(attention: Attention) -> str:
    """The method first, as in 'Grad-CAM for T3' or 'LayerCAM (similar for every stage)'."""
    if is_stage_specific(attention.method):
        return f"{METHOD_NAMES.get(attention.method, attention.method)} for {attention.target}"
    return map_name(attention)


def _sameness(method: str) -> str:
    """How a map that is not of a stage is like that for another one."""
    return f"{'the same' if method in ('eigencam', 'gate') else 'similar'} for every stage"


def map_in_words(attention: Attention, *, spacing_known: bool) -> str:
    """What a map of this method tells, and how wide its cells are."""
    said = _MEANINGS.get(attention.method, "").format(stage=attention.target)
    if not is_stage_specific(attention.method):
        said += f" The map is {_sameness(attention.method)}."
    if not spacing_known:
        return said
    cell = attention.columns.step * attention.grid.GetSpacing()[0]
    wide = f"One cell is about {cell:.0f} mm wide" if cell >= _WALL_MM else f"One cell is about {cell:.1f} mm wide"
    return f"{said} {wide}{', so it cannot show a wall' if cell > _WALL_MM else ''}.".strip()


def empty_in_words(attention: Attention, position: int) -> str | None:
    """Why a slice shows no map; None where it has one."""
    if not attention.mapped[position]:
        return "no map was computed for this slice"
    if attention.empty[position]:
        of = f" for {attention.target}" if is_stage_specific(attention.method) else ""
        return f"no attention{of} in this slice"
    return None


# -- agreement -----------------------------------------------------------------------------------------------------


def region_in_words(agreement: Agreement) -> str | None:
    """The highlighted region's area beside the ROI's, and whether the map's peak lies in the ROI.

    None where the agreement is not defined.
    """
    cut = agreement.at_threshold
    if math.isnan(cut.dice):
        return None
    peak = "in" if agreement.pointing_hit else "outside"
    region = f"The highlighted region (at least {cut.threshold:g} of the key slice's maximum)"
    if math.isnan(cut.area_mm2):
        return f"The peak of the map lies {peak} the ROI. {region} has no area: the pixels' size is not known."
    roi = agreement.roi_area_mm2
    return (
        f"{region} measures {cut.area_mm2:,.0f} mm², {_times(cut.area_mm2 / roi)} times the ROI's {roi:,.0f} mm². "
        f"The peak of the map lies {peak} the ROI."
    )


def baselines_in_words(agreement: Agreement, room: str) -> str | None:
    """Dice beside what regions of the same area get that know nothing of the scan; None where it is not defined.

    Parameters
    ----------
    room
        Where a region of chance could lie, as in "the body's section".
    """
    cut = agreement.at_threshold
    if math.isnan(cut.dice):
        return None
    rivals = [
        ("chance", cut.chance_dice, f"at random in {room}"),
        ("the disc", cut.blob_dice, "as a disc in the middle of it"),
        ("the mean mask", cut.mean_mask_dice, "where the mean mask of the model's cases is highest, by location alone"),
    ]
    known = [rival for rival in rivals if not math.isnan(rival[1])]
    beside = [f"{dice:.3f} {how}" for _, dice, how in known]
    better = [name for name, dice, _ in known if cut.dice <= dice]
    said = f"Dice with the ROI is {cut.dice:.3f}. The same area gets {', '.join(beside[:-1])}, and {beside[-1]}."
    said += f" The map is not above {' or '.join(better)}." if better else " The map is above each of these."
    if math.isnan(cut.mean_mask_dice):
        said += " Without a mean mask of the model, what location alone would give is not known."
    return said


def room_in_words(result: StagingResult) -> str:
    """Where a region of chance could lie; a picture has no HU to find the body by."""
    return "the body's section" if result.scan.intensity == "HU" else "the slice"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


__all__ = [
    "METHOD_NAMES",
    "baselines_in_words",
    "choice_in_words",
    "empty_in_words",
    "map_in_a_sentence",
    "map_in_words",
    "map_name",
    "method_in_words",
    "region_in_words",
    "room_in_words",
    "signed",
    "slice_label",
    "vote_in_words",
]
