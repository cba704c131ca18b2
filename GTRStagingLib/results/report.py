"""Write the report of a result as one self-contained page."""

import base64
import math
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.model.several import members_of
from GTRStagingLib.nomogram import page as nomogram_page
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.results import words
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.agreement import Agreement
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support import pages
from GTRStagingLib.support.extras import import_extra

STAGE_MEANINGS: Mapping[TStage, str] = {
    TStage.T1: "tumour invades no deeper than the submucosa",
    TStage.T2: "tumour invades the muscularis propria",
    TStage.T3: "tumour penetrates the subserosal connective tissue, but not the serosa",
    TStage.T4: "tumour invades the serosa (visceral peritoneum) or adjacent structures",
}
"""Meaning of each stage: AJCC 8th edition, gastric cancer."""


# -- the report ----------------------------------------------------------------------------------------------------


def html(
    result: StagingResult,
    overlay_png: bytes,
    *,
    include_phi: bool = False,
    nomogram: Nomogram | None = None,
    values: Mapping[str, str | float] | None = None,
) -> str:
    """Return the report as one self-contained page; its only script is that of the nomogram's controls.

    Parameters
    ----------
    overlay_png
        The picture, as `overlay.png` returns it.
    include_phi
        Show the patient's identifiers.
    nomogram
        Nomogram to show beside the network's stage, with controls; without one the page contains no script.
    values
        Known values of the nomogram's terms; the others can be entered in the page.

    Raises
    ------
    InputError
        If the nomogram does not accept a value.
    MissingDependencyError
        If jinja2 is not installed, or matplotlib for a result with two maps.
    """
    if values is not None and nomogram is None:
        raise InputError(
            f"Values of {', '.join(values) or 'no term'} without a nomogram. `values` requires `nomogram`."
        )
    scripts = [] if nomogram is None else [nomogram_page.script()]
    return pages.template("report.html.j2").render(
        result=result,
        stages=list(TStage),
        stage_meaning=STAGE_MEANINGS[result.prediction.stage],
        research_use_only=RESEARCH_USE_ONLY,
        policy=pages.policy(*scripts),
        scripts=scripts,
        alarms=pages.alarms(
            *(one.warning for one in members_of(result.model)),
            *([] if nomogram is None else nomogram_page.warnings_of(nomogram)),
        ),
        nomogram=None if nomogram is None else _nomogram(nomogram, values, result),
        vote=words.vote_in_words(result),
        looks=words.looks_in_words(result),
        scale="raw units" if result.looks is None else words.scale_in_words(result),
        models=members_of(result.model),
        stage_set=words.stage_set_in_words(result),
        stability=words.stability_in_words(result.stability, result.prediction),
        likeness=words.likeness(result.familiarity),
        likeness_words=words.likeness_in_words(result.familiarity),
        labels=[words.slice_label(result, i) for i in range(len(result.slices.offsets))],
        overlay=_embedded(overlay_png),
        overlay_words=_picture_in_words(result),
        map_meaning=words.result_map_in_words(result),
        compared=_compared(result),
        key_position=f"S {words.signed(result.key_slice.position_mm)} mm" if result.scan.spacing_known else None,
        key_choice=words.choice_in_words(result.key_slice, spacing_known=result.scan.spacing_known),
        agreement=None
        if result.agreement is None
        else _agreement_table(result.agreement, words.section_in_words(result)),
        sweep=None if result.agreement is None else _sweep(result.agreement),
        map=words.map_in_a_sentence(result.attention),
        method=words.method_in_words(result.attention),
        placement=_placement_in_words(result.attention),
        crop=_crop_in_words(result),
        recipe=recipe_in_words(result.model.recipe),
        size="×".join(map(str, result.scan.grid.GetSize())),
        spacing="×".join(f"{s:.3g}" for s in result.scan.grid.GetSpacing()) if result.scan.spacing_known else None,
        time=pages.moment(result.provenance.utc),
        include_phi=include_phi,
    )


def _nomogram(nomogram: Nomogram, values: Mapping[str, str | float] | None, result: StagingResult) -> str:
    """Return the section of the nomogram, with the network's stage."""
    prediction = result.prediction
    return nomogram_page.fragment(
        nomogram, values=values, network_stage=prediction.stage, network_probabilities=prediction.probabilities
    )


def overlay_module() -> ModuleType:
    """Import the module that draws the overlay.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    import_extra("matplotlib", "The report needs", "report")
    from GTRStagingLib.results import overlay

    return overlay


def recipe_in_words(recipe: Recipe) -> str:
    """Describe the preprocessing in one sentence."""
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
    """Describe the picture, as its alternative text."""
    n, attention = len(result.slices.offsets), result.attention
    slices = f"{n} axial CT slice{'s' if n > 1 else ''} with {words.map_in_a_sentence(attention)} in colour"
    roi = "" if result.roi is None else " and the ROI's outline"
    text = f"{slices}{roi}; the key slice also close up."
    if empty := sum(attention.empty):
        text += f" The map is empty in {empty} of {n}."
    if missing := n - sum(attention.mapped):
        text += f" No map was computed for {missing} of {n}."
    return text


def _compared(result: StagingResult) -> list[dict[str, str]]:
    """Describe the result's two maps with small pictures; return an empty list without a second map."""
    if result.comparison is None:
        return []
    return [
        {
            "name": words.map_name(one),
            "meaning": words.result_map_in_words(result)
            if one is result.attention
            else words.map_in_words(one, spacing_known=result.scan.spacing_known),
            "picture": _embedded(overlay_module().small_png(result, one)),
        }
        for one in (result.attention, result.comparison)
    ]


def _embedded(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")


def _placement_in_words(attention: Attention) -> str:
    if attention.alignment == "receptive_field":
        return "cells placed by the network's receptive field"
    return "cells placed by the half-pixel convention, half a cell too far to the right and down"


def _crop_in_words(result: StagingResult) -> str:
    crops = {one.fusion != "none" for one in members_of(result.model)}
    if len(crops) > 1:
        return "of some of the models, at the image's centre"
    return "at the image's centre" if crops == {True} else "none: the network has no centre crop"


# -- agreement -----------------------------------------------------------------------------------------------------


def _agreement_table(agreement: Agreement, section: str) -> dict[str, Any]:
    """Return rows of texts: measures at the chosen threshold, then those of the whole map."""
    reasons, cut = agreement.reasons, agreement.at_threshold

    def shown(value: float, digits: int, unit: str = "", reason: str | None = None) -> str:
        if math.isnan(value):
            text = reasons.get("all") or reasons.get(reason or "millimetres") or "no reason recorded"
            return f"not defined: {text}"
        return f"{value:,.{digits}f}{unit}"

    hit = {True: "yes", False: "no", None: shown(math.nan, 0)}[agreement.pointing_hit]
    return {
        "head": f"At least {cut.threshold:.2f} of the maximum",
        "rows": [
            ("Dice", shown(cut.dice, 3)),
            ("Chance Dice", shown(cut.chance_dice, 3)),
            ("Dice of a centred blob", shown(cut.blob_dice, 3)),
            ("Dice of the mean mask", shown(cut.mean_mask_dice, 3, reason="mean mask")),
            ("IoU", shown(cut.iou, 3)),
            ("Area of the attention", shown(cut.area_mm2, 0, " mm²")),
            ("Area of the ROI", shown(agreement.roi_area_mm2, 0, " mm²")),
            ("Distance of the centroids", shown(cut.centroid_distance_mm, 1, " mm")),
            ("HD95 (outlines)", shown(cut.hd95_mm, 1, " mm")),
        ],
        "whole": [
            ("Maximum lies in the ROI (pointing game)", hit),
            ("Share of the attention inside the ROI", shown(agreement.energy_inside, 3)),
        ],
        "region": words.region_in_words(agreement),
        "baselines": words.baselines_in_words(agreement, section),
    }


def _sweep(agreement: Agreement) -> dict[str, Any] | None:
    """Return the threshold sweep as points of a drawing of 420×240 units; None if no Dice is defined."""
    cuts = [cut for cut in agreement.sweep if not math.isnan(cut.dice)]
    if not cuts:
        return None
    located = [cut for cut in cuts if not math.isnan(cut.mean_mask_dice)]
    values = [value for cut in cuts for value in (cut.dice, cut.chance_dice, cut.blob_dice, cut.mean_mask_dice)]
    top = max(0.1, *(value for value in values if not math.isnan(value)))
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
        "blob": line((cut.threshold, cut.blob_dice) for cut in cuts),
        "mean_mask": line((cut.threshold, cut.mean_mask_dice) for cut in located),
        "chosen": (x(agreement.threshold), y(agreement.dice), f"{agreement.threshold:g}"),
        "x_ticks": [(x(0.2 * i), f"{0.2 * i:.1f}") for i in range(6)],
        "y_ticks": [(y(step * i), f"{step * i:.2f}") for i in range(round(top / step) + 1)],
        "best": max(cuts, key=lambda cut: cut.dice),
    }


__all__ = ["html", "overlay_module", "recipe_in_words"]
