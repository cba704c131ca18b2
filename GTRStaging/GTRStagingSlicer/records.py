"""Read the record of a scene's result, also of older versions, and describe it in words; needs no package."""

import json
import math
from collections.abc import Mapping
from typing import Any

from GTRStagingLib.model.card import NOT_CHECKED
from GTRStagingSlicer.state import Method
from GTRStagingSlicer.words import tr as _

OLDER = "of an older version"
"""Reason in `agreement.reasons` for a measure that is missing from records of an older version."""

UNJUDGED = "This result of an older version does not tell whether the case is like the training."


def read(text: str) -> Mapping[str, Any]:
    """Parse a record of any version; fields that earlier schemas lack are added as unknown."""
    record: dict[str, Any] = json.loads(text)
    attention, model, agreement = record["attention"], record["model"], record["agreement"]
    if "layers" not in attention:
        attention["layers"] = [attention.pop("layer")]
    attention.setdefault("mapped", [True] * len(attention["empty"]))
    record["prediction"].setdefault("set", None)
    record["prediction"].setdefault("stability", None)
    record.setdefault(
        "familiarity",
        {"verdict": "not known", "distance": None, "percentile": None, "reasons": [], "promise": UNJUDGED},
    )
    model.setdefault("check", None)
    model.setdefault("check_in_words", NOT_CHECKED)
    if agreement is not None and "blob_dice" not in agreement:
        for cut in (agreement, agreement["otsu"], *agreement["sweep"]):
            cut.update(blob_dice=None, mean_mask_dice=None)
        agreement["reasons"]["mean mask"] = OLDER
    return record


def cut_at(agreement: Mapping[str, Any], threshold: float) -> Mapping[str, Any]:
    """Return the agreement at the nearest available threshold: the run's own, or a step of its sweep."""
    return min((agreement, *agreement["sweep"]), key=lambda cut: abs(cut["threshold"] - threshold))


# -- in words ------------------------------------------------------------------------------------------------------


def likeness_name(familiarity: Mapping[str, Any]) -> str:
    """Name whether the case is like the training."""
    return {
        "usual": _("usual for the training"),
        "unusual": _("unusual for the training"),
        "unlike": _("UNLIKE THE TRAINING"),
    }.get(familiarity["verdict"], _("likeness to the training not known"))


def likeness_in_words(familiarity: Mapping[str, Any]) -> str:
    """Describe whether the case is like the training: percentile, reasons, and rates of false alarms."""
    if familiarity["percentile"] is None:
        return str(familiarity["promise"])
    rank = _("Farther from the training than all held-out patients.")
    if familiarity["percentile"] < 100:
        rank = _("Farther from the training than {percentile} % of the held-out patients.").format(
            percentile=math.floor(familiarity["percentile"])
        )
    found = [_("Found: {reasons}.").format(reasons="; ".join(familiarity["reasons"]))] if familiarity["reasons"] else []
    return " ".join((rank, *found, familiarity["promise"]))


def heat_in_words(attention: Mapping[str, Any]) -> str:
    """Return a short name of the attention map: its stage, or its method if the map is not specific to a stage."""
    method = Method(attention["method"])
    return _("Attention for {stage}").format(stage=attention["target"]) if method.of_a_stage else method.label()


def map_in_words(record: Mapping[str, Any]) -> str:
    """Describe the map: its method, its stage, and the slices without a map."""
    attention = record["attention"]
    method = Method(attention["method"])
    template = _("{method} for {stage}.") if method.of_a_stage else "{method}."
    words = template.format(method=method.label(), stage=attention["target"])
    slices = record["prediction"]["slices"]
    without = [str(one["index"]) for one, mapped in zip(slices, attention["mapped"], strict=True) if not mapped]
    if without:
        words += " " + _("These slices voted, but no map was computed for them: {slices}.").format(
            slices=", ".join(without)
        )
    return words


def agreement_in_words(agreement: Mapping[str, Any], threshold: float) -> tuple[str, ...]:
    """Compare the map with the segment: area, maximum, and Dice beside the baselines."""
    cut, segment = cut_at(agreement, threshold), agreement["segment"]
    if cut["dice"] is None:
        return (_("Dice is not defined: {reason}.").format(reason=agreement["reasons"].get("all", "")),)
    if cut["area_mm2"] is None or not agreement["roi_area_mm2"]:
        region = (
            _("The peak of the map lies inside “{segment}”. The areas are unknown: the CT has no spacing.")
            if agreement["pointing_hit"]
            else _("The peak of the map lies OUTSIDE “{segment}”. The areas are unknown: the CT has no spacing.")
        ).format(segment=segment)
        return (region, _dice_in_words(cut, segment), _baselines_in_words(agreement, cut))
    ratio = cut["area_mm2"] / agreement["roi_area_mm2"]
    region = (
        _("The highlighted region measures {area:,.0f} mm², {ratio} times the {roi:,.0f} mm² of “{segment}”. The "
          "peak of the map lies inside “{segment}”.")
        if agreement["pointing_hit"]
        else _("The highlighted region measures {area:,.0f} mm², {ratio} times the {roi:,.0f} mm² of “{segment}”. The "
               "peak of the map lies OUTSIDE “{segment}”.")
    ).format(
        area=cut["area_mm2"],
        ratio=f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
        roi=agreement["roi_area_mm2"],
        segment=segment,
    )  # fmt: skip
    return (region, _dice_in_words(cut, segment), _baselines_in_words(agreement, cut))


def _dice_in_words(cut: Mapping[str, Any], segment: str) -> str:
    """Report Dice with the segment and the Dice of each baseline that the record contains."""
    if cut["blob_dice"] is None:
        template = _(
            "Dice with “{segment}” is {dice:.3f}. The same area at random in the body scores {chance_dice:.3f}."
        )
    elif cut["mean_mask_dice"] is None:
        template = _(
            "Dice with “{segment}” is {dice:.3f}. The same area scores {chance_dice:.3f} at random in the body, and "
            "{blob_dice:.3f} as a centred blob."
        )
    else:
        template = _(
            "Dice with “{segment}” is {dice:.3f}. The same area scores {chance_dice:.3f} at random in the body, "
            "{blob_dice:.3f} as a centred blob, and {mean_mask_dice:.3f} where the mean mask of the model's training "
            "cases is highest."
        )
    return template.format(**{**cut, "segment": segment})


def _baselines_in_words(agreement: Mapping[str, Any], cut: Mapping[str, Any]) -> str:
    """Report which baselines the map does not exceed, and which are unknown."""
    names = {"chance_dice": _("chance"), "blob_dice": _("the blob"), "mean_mask_dice": _("the mean mask")}
    known = [name for name in names if cut[name] is not None]
    not_exceeded = [names[name] for name in known if cut["dice"] <= cut[name]]
    sentences = [
        _("The map does NOT exceed {baselines}.").format(baselines=", ".join(not_exceeded))
        if not_exceeded
        else _("The map exceeds each of these.")
        if len(known) > 1
        else _("The map exceeds it.")
    ]
    if agreement["reasons"].get("mean mask") == OLDER:
        sentences.append(
            _("This result of an older version contains no Dice of a centred blob or the mean mask: press Apply.")
        )
    elif cut["mean_mask_dice"] is None:
        sentences.append(_("The Dice of the mean mask is unknown: the model has no mean mask for this slice."))
    return " ".join(sentences)
