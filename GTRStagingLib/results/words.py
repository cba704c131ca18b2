"""Describe a result in sentences that its picture and its report share."""

import math

from GTRStagingLib.imaging.keyslice import CHOICE_IN_WORDS, KeySlice
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.familiarity import Familiarity
from GTRStagingLib.staging.looks import DISAGREEMENT, MIXED
from GTRStagingLib.staging.options import is_stage_specific
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.staging.stability import Stability
from GTRStagingLib.staging.stage_set import StageSet
from GTRStagingLib.staging.voting import Prediction

METHOD_NAMES = {
    "fine": "fine map",
    "gated": "gated map",
    "gate": "gate",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    MIXED: "mean of gated and fine maps",
}

_MEANINGS = {
    "fine": "The small places that the network reads, within the region that supports {stage}.",
    "gated": "The contribution of each place to the decision for {stage}. Negative contributions are not shown; with "
    "them, the sum over the slice is the decision.",
    "gate": "The places that the gate selects.",
    "gradcam": "The coarse region that supports {stage}.",
    "gradcam++": "The coarse region that supports {stage}, each cell weighted on its own.",
    "layercam": "The cells that the network reads, weighted for {stage}.",
    "eigencam": "The strongest pattern in the network's features.",
    MIXED: "The mean of the gated maps, which decompose the decision for {stage}, and of the fine maps, which show the "
    "small places that the network reads.",
    DISAGREEMENT: "The standard deviation of the looks' maps, each divided by its maximum: high where they differ.",
}

_WALL_MM = 10.0
"""Size of cells above which a map cannot show the wall of the stomach, which measures 3 to 10 mm."""


# -- vote and slices -----------------------------------------------------------------------------------------------


def vote_in_words(result: StagingResult) -> str:
    """Describe the vote, as in 'unanimous (3 of 3 slices)' or '2 of 3 slices'."""
    prediction = result.prediction
    n = len(prediction.slices)
    if n == 1:
        return "1 slice: no vote"
    count = f"{prediction.votes[prediction.stage]} of {n} slices"
    if prediction.unanimous:
        return f"unanimous ({count})"
    return f"{count}, tied; decided by mean probability" if prediction.tied else count


def stage_set_in_words(result: StagingResult) -> str:
    """Describe the stage set and what it promises, why it is withheld, or that the model has none."""
    found = result.stage_set
    if found is None:
        return "no stage set: the model has no calibration"
    if found.withheld is not None:
        return f"withheld: {found.withheld}"
    return f"{found.text}: {stage_set_promise(found)}"


def stage_set_in_short(result: StagingResult) -> str:
    """Name the stage set, as in 'Stage set T2–T3 (90 %)', or tell that there is none."""
    found = result.stage_set
    if found is None:
        return "No stage set"
    if found.withheld is not None:
        return "Stage set withheld"
    weaker = "" if found.warning is None else ", weaker promise"
    return f"Stage set {found.text} ({100 * found.level:g} %{weaker})"


def stage_set_promise(found: StageSet) -> str:
    """Describe what a stage set promises, by how many patients, and which stages it cannot exclude."""
    patients = ", ".join(f"{stage} {n}" for stage, n in found.patients.items())
    if found.warning is None:
        promise = (
            f"contains the true stage in {100 * found.level:g} % or more of the patients of each stage, on average "
            f"over calibrations, if they are like those of the calibration ({patients})"
        )
    else:
        promise = (
            f"meant to contain the true stage in {100 * found.level:g} % of the patients of each stage, but may do so "
            f"less often: see the warnings (calibration: {patients})"
        )
    if not found.always:
        return promise
    few = " and ".join(map(str, found.always))
    return f"{promise}; {few} {'is' if len(found.always) == 1 else 'are'} in every set, for too few patients"


def looks_in_words(result: StagingResult) -> str | None:
    """Describe the looks, their votes and their spread; None for one look.

    As in '6 looks: 5 T3, 1 T2; spread 0.031 of 2 bits'.
    """
    looks = result.looks
    if looks is None:
        return None
    models = len(looks.models)
    by = "" if models == 1 else f" by {models} models"
    votes = sorted(((count, stage) for stage, count in looks.votes.items() if count), key=lambda one: (-one[0], one[1]))
    given = f"all {votes[0][1]}" if len(votes) == 1 else ", ".join(f"{count} {stage}" for count, stage in votes)
    return f"{len(looks.each)} looks{by}: {given}; spread {looks.spread:.3f} of 2 bits"


def scale_in_words(result: StagingResult) -> str:
    """Describe the scale of the result's map: raw, or the mean of scaled maps."""
    return "raw" if result.looks is None else f"mean of {len(result.looks.each)} looks, each with a maximum of 1"


def stability_in_words(found: Stability | None, prediction: Prediction) -> str:
    """Describe how far the stage holds when the key slice moves, as far as slices were asked.

    Parameters
    ----------
    found
        Stability of the stage of `prediction`.
    prediction
        Vote at the key slice.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.results.words import stability_in_words
    >>> from GTRStagingLib.staging.stability import stability_of
    >>> from GTRStagingLib.staging.voting import vote
    >>> voted = vote([-1, 0, 1], np.array([[0, 0.6, 0.4, 0], [0, 0.2, 0.8, 0], [0, 0.1, 0.9, 0]]))
    >>> stability_in_words(stability_of(voted, 2.5), voted)
    'T3 holds for at least 2.5 mm towards the head; towards the feet it changes within 2.5 mm'
    """
    stage = prediction.stage
    if found is None:
        alone = len(prediction.slices) == 1
        return f"not known: {'no neighbouring slice was asked' if alone else 'the input has no spacing in millimetres'}"
    own = next(one.stage for one in prediction.slices if one.offset == 0)
    if own != stage:
        return f"none: the key slice alone gives {own}, only its neighbours give {stage}"
    if found.ways[0] == found.ways[1]:
        return _way_in_words(found, 0, "towards the head and the feet").format(stage=stage)
    ways = [_way_in_words(found, i, f"towards the {end}") for i, end in enumerate(("head", "feet"))]
    return f"{ways[0].format(stage=stage)}; {ways[1].format(stage='it')}"


def _way_in_words(found: Stability, direction: int, way: str) -> str:
    """Describe one direction, 0 up or 1 down, with '{stage}' for the stage."""
    stays, asked = found.ways[direction]
    if asked == 0:
        return f"no slice {way} was asked"
    if found.at_least[direction]:
        return f"{{stage}} holds for at least {stays:.1f} mm {way}"
    if stays == 0:
        return f"{way} {{stage}} changes within {found.step_mm:.1f} mm"
    return f"{{stage}} holds for {stays:.1f} mm {way} and changes within {stays + found.step_mm:.1f} mm"


def slice_label(result: StagingResult, position: int) -> str:
    """Name a slice by its position, as in 'key slice 57 (S −123.4 mm)' or 'one below (−1)'."""
    offset, key = result.slices.offsets[position], result.key_slice
    if offset == 0:
        if not result.scan.spacing_known:
            return f"key slice {key.index}"
        place = f"(S {signed(key.position_mm)} mm)".replace(" ", "\N{NO-BREAK SPACE}")
        return f"key slice {key.index} {place}"
    count = "one" if abs(offset) == 1 else f"{abs(offset)} slices"
    return f"{count} {'above' if offset > 0 else 'below'} ({'+' if offset > 0 else '−'}{abs(offset)})"


def choice_in_words(key: KeySlice, *, spacing_known: bool = True) -> str:
    """Describe how a key slice was chosen, with the ROI's area in it if there is an ROI, and a spacing."""
    how = CHOICE_IN_WORDS[key.chosen_by]
    if key.tumour_area_mm2 is None or not spacing_known:
        return how
    return f"{how}; the ROI measures {key.tumour_area_mm2:,.0f} mm² there"


def signed(value: float) -> str:
    """Format a number with one decimal and the Unicode minus sign."""
    return f"{value:.1f}".replace("-", "−")


# -- likeness to the training --------------------------------------------------------------------------------------


def likeness(familiarity: Familiarity) -> str:
    """Name the verdict, as in 'UNLIKE THE TRAINING' or 'likeness to the training not known'."""
    return {
        "usual": "usual for the training",
        "unusual": "unusual for the training",
        "unlike": "UNLIKE THE TRAINING",
        "not known": "likeness to the training not known",
    }[familiarity.verdict]


def likeness_in_words(familiarity: Familiarity) -> str:
    """Describe the verdict with its percentile and its reasons, in one or two sentences."""
    if familiarity.percentile is None:
        return familiarity.promise
    meaning = {
        "usual": "This case is like those that the model learned from",
        "unusual": "This case is rare among those that the model learned from",
        "unlike": "This case is unlike those that the model learned from, and its stage means nothing",
    }[familiarity.verdict]
    share = "all" if familiarity.percentile == 100 else f"{math.floor(familiarity.percentile)} % of the"
    rank = f"farther from them than {share} held-out patients"
    reasons = f" Found: {'; '.join(familiarity.reasons)}." if familiarity.reasons else ""
    return f"{meaning}: {rank}.{reasons}"


# -- the map -------------------------------------------------------------------------------------------------------


def map_name(attention: Attention) -> str:
    """Name the map by stage and method, as in 'attention for T3 (Grad-CAM)' or 'LayerCAM (similar for every stage)'."""
    if attention.method == DISAGREEMENT:
        return f"disagreement of the looks on the attention for {attention.target}"
    name = METHOD_NAMES.get(attention.method, attention.method)
    if is_stage_specific(attention.method):
        return f"attention for {attention.target} ({name})"
    return f"{name} ({_sameness(attention.method)})"


def map_in_a_sentence(attention: Attention) -> str:
    """Name the map, as in 'the attention for T3', or by its method if the map is not specific to a stage."""
    return f"the attention for {attention.target}" if is_stage_specific(attention.method) else map_name(attention)


def method_in_words(attention: Attention) -> str:
    """Name the map by its method first, as in 'Grad-CAM for T3' or 'LayerCAM (similar for every stage)'."""
    if is_stage_specific(attention.method):
        return f"{METHOD_NAMES.get(attention.method, attention.method)} for {attention.target}"
    return map_name(attention)


def _sameness(method: str) -> str:
    """State how similar the maps for other stages are, for a method that is not specific to a stage."""
    return f"{'the same' if method in ('eigencam', 'gate') else 'similar'} for every stage"


def map_in_words(attention: Attention, *, spacing_known: bool) -> str:
    """Describe the meaning of a map of this method and the width of its cells."""
    meaning = _MEANINGS.get(attention.method, "").format(stage=attention.target)
    if not is_stage_specific(attention.method):
        meaning += f" The map is {_sameness(attention.method)}."
    if not spacing_known:
        return meaning
    cell = attention.columns.step * attention.grid.GetSpacing()[0]
    wide = f"One cell is about {cell:.0f} mm wide" if cell >= _WALL_MM else f"One cell is about {cell:.1f} mm wide"
    return f"{meaning} {wide}{', so the map cannot show a wall' if cell > _WALL_MM else ''}.".strip()


def result_map_in_words(result: StagingResult) -> str:
    """Describe the meaning of the result's map: for several looks, of their mean."""
    meaning = map_in_words(result.attention, spacing_known=result.scan.spacing_known)
    if result.looks is None:
        return meaning
    n = len(result.looks.each)
    return f"The mean of the maps of {n} looks, each divided by its maximum. Of the map of one look: {meaning}"


def empty_in_words(attention: Attention, position: int) -> str | None:
    """Return why a slice shows no map; None if it has one."""
    if not attention.mapped[position]:
        return "no map was computed for this slice"
    if attention.empty[position]:
        of = f" for {attention.target}" if is_stage_specific(attention.method) else ""
        return f"no attention{of} in this slice"
    return None


# -- agreement -----------------------------------------------------------------------------------------------------


def region_in_words(agreement: Agreement) -> str | None:
    """Compare the highlighted region's area with the ROI's, and state whether the map's peak lies in the ROI.

    Returns None if the agreement is not defined.
    """
    cut = agreement.at_threshold
    if math.isnan(cut.dice):
        return None
    peak = "in" if agreement.pointing_hit else "outside"
    region = f"The highlighted region (at least {cut.threshold:g} of the key slice's maximum)"
    if math.isnan(cut.area_mm2):
        return f"The peak of the map lies {peak} the ROI. {region} has no known area: the input has no spacing."
    roi = agreement.roi_area_mm2
    return (
        f"{region} measures {cut.area_mm2:,.0f} mm², {_times(cut.area_mm2 / roi)} times the ROI's {roi:,.0f} mm². "
        f"The peak of the map lies {peak} the ROI."
    )


def baselines_in_words(agreement: Agreement, section: str) -> str | None:
    """Compare Dice with that of the baselines, regions of the same area; None if Dice is not defined.

    Parameters
    ----------
    section
        Part of the slice in which the baselines place their regions, as in "the body's section".
    """
    cut = agreement.at_threshold
    if math.isnan(cut.dice):
        return None
    baselines = [
        ("chance", cut.chance_dice, f"at random in {section}"),
        ("the blob", cut.blob_dice, "as a centred blob"),
        ("the mean mask", cut.mean_mask_dice, "where the mean mask of the model's training cases is highest"),
    ]
    known = [baseline for baseline in baselines if not math.isnan(baseline[1])]
    scores = [f"{dice:.3f} {where}" for _, dice, where in known]
    not_exceeded = [name for name, dice, _ in known if cut.dice <= dice]
    text = f"Dice with the ROI is {cut.dice:.3f}. The same area scores {', '.join(scores[:-1])}, and {scores[-1]}."
    if not_exceeded:
        text += f" The map does not exceed {' or '.join(not_exceeded)}."
    else:
        text += " The map exceeds each of these."
    if math.isnan(cut.mean_mask_dice):
        text += " The Dice of the mean mask is unknown: the model has no mean mask for this slice."
    return text


def section_in_words(result: StagingResult) -> str:
    """Return in which part of the slice the baselines lie; without HU the body cannot be found."""
    return "the body's section" if result.scan.intensity == "HU" else "the slice"


def _times(ratio: float) -> str:
    """Format a ratio of areas."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


__all__ = [
    "METHOD_NAMES",
    "baselines_in_words",
    "choice_in_words",
    "empty_in_words",
    "likeness",
    "likeness_in_words",
    "looks_in_words",
    "map_in_a_sentence",
    "map_in_words",
    "map_name",
    "method_in_words",
    "region_in_words",
    "result_map_in_words",
    "scale_in_words",
    "section_in_words",
    "signed",
    "slice_label",
    "stability_in_words",
    "stage_set_in_short",
    "stage_set_in_words",
    "stage_set_promise",
    "vote_in_words",
]
