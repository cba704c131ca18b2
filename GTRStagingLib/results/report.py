"""Write the report of a result as one self-contained page."""

import base64
import math
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.keyslice import CHOICE_IN_WORDS
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.nomogram import page as nomogram_page
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.agreement import Agreement, Overlap
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support import pages

STAGE_MEANINGS: Mapping[TStage, str] = {
    TStage.T1: "tumour invades no deeper than the submucosa",
    TStage.T2: "tumour invades the muscularis propria",
    TStage.T3: "tumour penetrates the subserosal connective tissue, but not the serosa",
    TStage.T4: "tumour invades the serosa (visceral peritoneum) or adjacent structures",
}
"""AJCC 8th edition, gastric cancer."""


# -- the report ----------------------------------------------------------------------------------------------------


def html(
    result: StagingResult,
    overlay_png: bytes,
    *,
    include_phi: bool = False,
    nomogram: Nomogram | None = None,
    values: Mapping[str, str | float] | None = None,
) -> str:
    """The report as one self-contained page: nothing is fetched, and nothing is run but the nomogram's controls.

    Parameters
    ----------
    overlay_png
        The picture, as `overlay.png` gives it.
    include_phi
        Show what identifies the patient.
    nomogram
        Stands beside the network's stage, with controls; without one the page has no script.
    values
        Of the nomogram's terms, as far as they are known; its controls ask for the others.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is not installed, or the nomogram does not take a value.
    """
    if values is not None and nomogram is None:
        raise InputError(f"Values of {', '.join(values) or 'no term'} without a nomogram; expected both, or neither.")
    overlay = overlay_module()
    scripts = [] if nomogram is None else [nomogram_page.script()]
    return pages.template("report.html.j2").render(
        result=result,
        stages=list(TStage),
        stage_meaning=STAGE_MEANINGS[result.prediction.stage],
        research_use_only=RESEARCH_USE_ONLY,
        policy=pages.policy(*scripts),
        scripts=scripts,
        nomogram=None if nomogram is None else _nomogram(nomogram, values, result),
        vote=overlay.vote_in_words(result),
        labels=[overlay.slice_label(result, i) for i in range(len(result.slices.offsets))],
        overlay=base64.b64encode(overlay_png).decode("ascii"),
        overlay_words=_picture_in_words(result),
        key_position=f"S {overlay.signed(result.key_slice.position_mm)} mm" if result.scan.spacing_known else None,
        key_choice=choice_in_words(result),
        agreement=None if result.agreement is None else _agreement_table(result.agreement, _room_of(result)),
        sweep=None if result.agreement is None else _sweep(result.agreement),
        method=overlay.METHOD_NAMES.get(result.attention.method, result.attention.method),
        placement=_placement_in_words(result.attention),
        crop=_crop_in_words(result),
        recipe=recipe_in_words(result.model.recipe),
        size="×".join(map(str, result.scan.grid.GetSize())),
        spacing="×".join(f"{s:.3g}" for s in result.scan.grid.GetSpacing()) if result.scan.spacing_known else None,
        time=result.provenance.utc.replace("T", " ").replace("+00:00", " UTC"),
        include_phi=include_phi,
    )


def _nomogram(nomogram: Nomogram, values: Mapping[str, str | float] | None, result: StagingResult) -> str:
    """Its section, the network's stage in it."""
    prediction = result.prediction
    return nomogram_page.fragment(
        nomogram, values=values, network_stage=prediction.stage, network_probabilities=prediction.probabilities
    )


def overlay_module() -> ModuleType:
    """The module that draws; matplotlib is asked for when it is needed."""
    try:
        from GTRStagingLib.results import overlay
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise InputError(
            "The report needs matplotlib, which is not installed; expected matplotlib and jinja2. "
            "Run: pip install 'gtrstaging[report]'"
        ) from error
    return overlay


def recipe_in_words(recipe: Recipe) -> str:
    """The preprocessing as a person would tell it."""
    low, high = recipe.window_hu
    level, width = recipe.window
    if recipe.spacing_mm is None:
        field = f"shorter side resized to {recipe.input_size} pixels, aspect kept"
    else:
        field = (
            f"resampled to {recipe.spacing_mm:g} mm in plane over a square field, "
            f"resized to {recipe.input_size}×{recipe.input_size}"
        )
    steps = [
        f"HU clipped to {_minus(recipe.hu_range[0])} … {recipe.hu_range[1]:g}",
        f"window level {level:g}, width {width:g} ({_minus(low)} … {high:g} HU)",
        "N4 bias-field correction" if recipe.n4 else "no N4",
        *(["rounded to 8 bits"] if recipe.quantised else []),
        field,
        "each slice to mean 0 and standard deviation 1" if recipe.normalisation == "zscore" else "ImageNet's constants",
    ]
    return "; ".join(steps) + "."


def _minus(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _picture_in_words(result: StagingResult) -> str:
    """What the picture shows, for those who do not see it."""
    n = len(result.slices.offsets)
    what = f"{n} axial CT slice{'s' if n > 1 else ''} with the attention for {result.attention.target} in colour"
    roi = "" if result.roi is None else " and the ROI's outline"
    empty = sum(result.attention.empty)
    return what + roi + "." + (f" The map is empty in {empty} of {n}." if empty else "")


def choice_in_words(result: StagingResult) -> str:
    """Say how the key slice was chosen, with the ROI's area in it where there is one."""
    key = result.key_slice
    how = CHOICE_IN_WORDS[key.chosen_by]
    if key.tumour_area_mm2 is None or not result.scan.spacing_known:
        return how
    return f"{how}; the ROI measures {key.tumour_area_mm2:,.0f} mm² there"


def _placement_in_words(attention: Attention) -> str:
    if attention.alignment == "receptive_field":
        return "cells placed by the network's receptive field"
    return "cells placed by the half-pixel convention, half a cell too far right and down"


def _crop_in_words(result: StagingResult) -> str:
    return "none: the network has no centre crop" if result.model.fusion == "none" else "at the image's centre"


# -- agreement -----------------------------------------------------------------------------------------------------


def _room_of(result: StagingResult) -> str:
    """Where the map of chance could lie; a picture has no HU to find the body by."""
    return "the body's section" if result.scan.intensity == "HU" else "the slice"


def _agreement_table(agreement: Agreement, room: str) -> dict[str, Any]:
    """Rows of texts: the two cuts beside each other, then what is of the whole map."""
    reasons = agreement.reasons

    def shown(value: float, digits: int, unit: str = "") -> str:
        if math.isnan(value):
            why = reasons.get("all") or reasons.get("millimetres") or "no reason recorded"
            return f"not defined: {why}"
        return f"{value:,.{digits}f}{unit}"

    cuts = (agreement.at_threshold, agreement.at_otsu)
    measures = (
        ("Dice", lambda o: shown(o.dice, 3)),
        ("Dice by chance", lambda o: shown(o.chance_dice, 3)),
        ("IoU", lambda o: shown(o.iou, 3)),
        ("Area of the attention", lambda o: shown(o.area_mm2, 0, " mm²")),
        ("Distance of the centroids", lambda o: shown(o.centroid_distance_mm, 1, " mm")),
        ("HD95 (outlines)", lambda o: shown(o.hd95_mm, 1, " mm")),
    )
    hit = {True: "yes", False: "no", None: shown(math.nan, 0)}[agreement.pointing_hit]
    return {
        "heads": (_cut_in_words(cuts[0], "chosen"), _cut_in_words(cuts[1], "Otsu")),
        "rows": [(name, *map(text, cuts)) for name, text in measures],
        "whole": [
            ("Maximum lies in the ROI (pointing game)", hit),
            ("Share of the attention inside the ROI", shown(agreement.energy_inside, 3)),
            ("Area of the ROI", shown(agreement.roi_area_mm2, 0, " mm²")),
        ],
        "verdict": _against_chance(agreement.at_threshold, room),
    }


def _cut_in_words(overlap: Overlap, name: str) -> str:
    return name if math.isnan(overlap.threshold) else f"{name}: {overlap.threshold:.2f} of the maximum"


def _against_chance(overlap: Overlap, room: str) -> str | None:
    if math.isnan(overlap.dice):
        return None
    side = "above" if overlap.dice > overlap.chance_dice else "not above"
    return (
        f"Dice {overlap.dice:.3f} is {side} the {overlap.chance_dice:.3f} that a map of the same area would get if its "
        f"pixels lay at random in {room}."
    )


def _sweep(agreement: Agreement) -> dict[str, Any] | None:
    """The threshold sweep as points of a drawing of 420×240 units; None where nothing is defined."""
    cuts = [cut for cut in agreement.sweep if not math.isnan(cut.dice)]
    if not cuts:
        return None
    top = max(0.1, *(max(cut.dice, cut.chance_dice) for cut in cuts))
    step = 0.05 if top <= 0.2 else 0.1 if top <= 0.5 else 0.2
    top = step * math.ceil(top / step - 1e-9)

    def x(threshold: float) -> float:
        return round(44 + 364 * threshold, 1)

    def y(dice: float) -> float:
        return round(196 - 172 * dice / top, 1)

    def line(values: Iterator[tuple[float, float]]) -> str:
        return " ".join(f"{x(threshold)},{y(dice)}" for threshold, dice in values)

    return {
        "dice": line((cut.threshold, cut.dice) for cut in cuts),
        "chance": line((cut.threshold, cut.chance_dice) for cut in cuts),
        "chosen": (x(agreement.threshold), y(agreement.dice), f"{agreement.threshold:g}"),
        "x_ticks": [(x(0.2 * i), f"{0.2 * i:.1f}") for i in range(6)],
        "y_ticks": [(y(step * i), f"{step * i:.2f}") for i in range(round(top / step) + 1)],
        "best": max(cuts, key=lambda cut: cut.dice),
    }


__all__ = ["choice_in_words", "html", "overlay_module", "recipe_in_words"]
