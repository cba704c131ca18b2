"""The record of a scene's result: read, of older versions too, and told in sentences. Needs none of the packages."""

import json
from collections.abc import Mapping
from typing import Any

from GTRStagingLib.model.card import NOT_CHECKED
from GTRStagingSlicer.state import Method
from GTRStagingSlicer.words import tr as _

OLDER = "of an older version"
"""Why a measure is missing that records did not have when the scene was saved; among `agreement.reasons`."""


def read(text: str) -> Mapping[str, Any]:
    """A record as records are now; what one of schema 1 does not know is added as unknown."""
    record: dict[str, Any] = json.loads(text)
    attention, model, agreement = record["attention"], record["model"], record["agreement"]
    if "layers" not in attention:
        attention["layers"] = [attention.pop("layer")]
    attention.setdefault("mapped", [True] * len(attention["empty"]))
    model.setdefault("check", None)
    model.setdefault("check_in_words", NOT_CHECKED)
    if agreement is not None and "blob_dice" not in agreement:
        for cut in (agreement, agreement["otsu"], *agreement["sweep"]):
            cut.update(blob_dice=None, mean_mask_dice=None)
        agreement["reasons"]["mean mask"] = OLDER
    return record


def cut_at(agreement: Mapping[str, Any], threshold: float) -> Mapping[str, Any]:
    """What the record says at a threshold: at the run's own, or at the nearest step of its sweep."""
    return min((agreement, *agreement["sweep"]), key=lambda cut: abs(cut["threshold"] - threshold))


# -- in words ------------------------------------------------------------------------------------------------------


def heat_in_words(attention: Mapping[str, Any]) -> str:
    """What the heat is, where there is little room: for a stage only where it is that stage's own."""
    method = Method(attention["method"])
    return _("Attention for {stage}").format(stage=attention["target"]) if method.of_a_stage else method.label()


def map_in_words(record: Mapping[str, Any]) -> str:
    """By which method the map was made and for which stage, and which of the slices have none."""
    attention = record["attention"]
    method = Method(attention["method"])
    said = _("{method} for {stage}.") if method.of_a_stage else "{method}."
    words = said.format(method=method.label(), stage=attention["target"])
    slices = record["prediction"]["slices"]
    without = [str(one["index"]) for one, mapped in zip(slices, attention["mapped"], strict=True) if not mapped]
    if without:
        words += " " + _("No map was computed for these slices, which voted all the same: {slices}.").format(
            slices=", ".join(without)
        )
    return words


def agreement_in_words(agreement: Mapping[str, Any], threshold: float) -> tuple[str, ...]:
    """Whether the map lies on the segment: its area, its peak, and Dice beside what knows nothing of the slice."""
    cut, segment = cut_at(agreement, threshold), agreement["segment"]
    if cut["dice"] is None:
        return (_("Dice is not defined: {reason}.").format(reason=agreement["reasons"].get("all", "")),)
    ratio = cut["area_mm2"] / agreement["roi_area_mm2"]
    region = (
        _("The highlighted region measures {area:,.0f} mm², {ratio} times the {roi:,.0f} mm² of “{segment}”. The peak "
          "of the map lies inside “{segment}”.")
        if agreement["pointing_hit"]
        else _("The highlighted region measures {area:,.0f} mm², {ratio} times the {roi:,.0f} mm² of “{segment}”. The "
               "peak of the map lies OUTSIDE “{segment}”.")
    ).format(
        area=cut["area_mm2"],
        ratio=f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
        roi=agreement["roi_area_mm2"],
        segment=segment,
    )  # fmt: skip
    return (region, _dice_in_words(cut, segment), _rivals_in_words(agreement, cut))


def _dice_in_words(cut: Mapping[str, Any], segment: str) -> str:
    if cut["blob_dice"] is None:
        said = _("Dice with “{segment}” is {dice:.3f}. The same area at random in the body gets {chance_dice:.3f}.")
    elif cut["mean_mask_dice"] is None:
        said = _(
            "Dice with “{segment}” is {dice:.3f}. The same area gets {chance_dice:.3f} at random in the body, and "
            "{blob_dice:.3f} as a disc in its middle."
        )
    else:
        said = _(
            "Dice with “{segment}” is {dice:.3f}. The same area gets {chance_dice:.3f} at random in the body, "
            "{blob_dice:.3f} as a disc in its middle, and {mean_mask_dice:.3f} where tumours of the model's cases "
            "lie most often."
        )
    return said.format(**{**cut, "segment": segment})


def _rivals_in_words(agreement: Mapping[str, Any], cut: Mapping[str, Any]) -> str:
    """What the map is not better than, and what is not known of that."""
    names = {"chance_dice": _("chance"), "blob_dice": _("the disc"), "mean_mask_dice": _("location alone")}
    known = [name for name in names if cut[name] is not None]
    as_good = [names[name] for name in known if cut["dice"] <= cut[name]]
    said = [
        _("The map is NOT above {rivals}.").format(rivals=", ".join(as_good))
        if as_good
        else _("The map is above each of these.")
        if len(known) > 1
        else _("The map is above that.")
    ]
    if agreement["reasons"].get("mean mask") == OLDER:
        said.append(
            _("What a disc or location alone would get was not measured when this result was made: press Apply.")
        )
    elif cut["mean_mask_dice"] is None:
        said.append(_("What location alone would get is not known: the model has no mean of its cases' tumours."))
    return " ".join(said)
