"""Show a result as table nodes and a plot, made from its record alone, so that a reloaded scene can update them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import vtk

from GTRStagingLib.nomogram.effects import effects, ratio_text
from GTRStagingLib.nomogram.nomogram import REFERENCE, Nomogram, Reading
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.stage_set import least_patients
from GTRStagingSlicer import records
from GTRStagingSlicer.charts import CIRCLE, DASHED, SOLID, Line, draw, set_axes
from GTRStagingSlicer.layers import place_beside, reuse_or_add
from GTRStagingSlicer.mrml import PlotNode, Scene, TableNode, VolumeNode
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _

STAGES = ("T1", "T2", "T3", "T4")


def show_result(scene: Scene, previous: TableNode | None, record: Mapping[str, Any], ct: VolumeNode) -> TableNode:
    """Fill the table of a result: stage, probabilities, votes and provenance, one row each."""
    prediction, key, model = record["prediction"], record["key_slice"], record["model"]
    rows = [(_("Stage"), prediction["stage"]), (_("Vote"), vote_in_words(prediction))]
    rows.append((_("Stage set"), stage_set_in_words(prediction)))
    rows.append((_("If the key slice moves"), stability_in_words(prediction)))
    if (looks := record.get("looks")) is not None:
        votes = ", ".join(f"{n} {stage}" for stage, n in looks["votes"].items() if n)
        words = _("{count} looks: {votes}; spread {spread:.3f} of 2 bits")
        rows.append((_("Looks"), words.format(count=len(looks["each"]), votes=votes, spread=looks["spread"])))
    rows += [
        (_("Mean probability of {stage}").format(stage=stage), f"{p:.4f}")
        for stage, p in zip(STAGES, prediction["probabilities"], strict=True)
    ]
    for one in prediction["slices"]:
        shares = "  ".join(f"{stage} {p:.4f}" for stage, p in zip(STAGES, one["probabilities"], strict=True))
        rows.append((_("Slice {index} ({offset:+d})").format(**one), f"{one['stage']}   ({shares})"))
    rows += [
        (_("Key slice"), f"{key['index']}  (S {key['position_mm']:.1f} mm)"),
        (_("Model"), f"{model['name']} ({model['status']}), sha256 {model['sha256']}"),
        (_("Attention"), records.map_in_words(record)),
        (_("Check of the map"), model["check_in_words"]),
        (_("Likeness"), records.likeness_name(record["familiarity"])),
        (_("Device"), record["provenance"]["device"]),
        (_("Duration"), f"{sum(record['timings_s'].values()):.1f} s"),
        (_("Created"), record["provenance"]["utc"]),
    ]
    rows += [(_("Warning"), plain(text)) for text in record["warnings"]]
    rows.append((_("Use"), RESEARCH_USE_ONLY))
    columns = {_("Item"): [name for name, _value in rows], _("Value"): [value for _name, value in rows]}
    return fill_table(scene, previous, _("{ct} staging").format(ct=ct.GetName()), columns, ct)


def vote_in_words(prediction: Mapping[str, Any]) -> str:
    """Describe the vote, as in 'unanimous: 3 of 3 slices'."""
    n, won = len(prediction["slices"]), prediction["votes"][prediction["stage"]]
    if n == 1:
        return _("one slice: no vote")
    if prediction["unanimous"]:
        return _("unanimous: {won} of {n} slices").format(won=won, n=n)
    if prediction["tied"]:
        return _("not unanimous: {won} of {n} slices, tied; the mean probability decided").format(won=won, n=n)
    return _("not unanimous: {won} of {n} slices").format(won=won, n=n)


def stage_set_in_words(prediction: Mapping[str, Any]) -> str:
    """Describe the stage set and its promise, why it is withheld, or that there is none."""
    found = prediction["set"]
    if found is None:
        return _("none: the model has no calibration")
    if found["withheld"] is not None:
        return _("withheld: {reason}").format(reason=plain(found["withheld"]))
    patients = ", ".join(f"{stage} {n}" for stage, n in found["patients"].items())
    promise = (
        _(
            "{text}: contains the true stage in {percent:g} % or more of the patients of each stage, on average over "
            "calibrations, if they are like those of the calibration ({patients})"
        )
        if found["warning"] is None
        else _(
            "{text}: meant to contain the true stage in {percent:g} % of the patients of each stage, but may do so "
            "less often: see the warnings (calibration: {patients})"
        )
    )
    words = promise.format(text=found["text"], percent=100 * found["level"], patients=patients)
    few = [stage for stage, n in found["patients"].items() if n < least_patients(found["level"])]
    if few:
        words += _("; in every set, for too few patients: {stages}").format(stages=", ".join(few))
    return words


def stability_in_words(prediction: Mapping[str, Any]) -> str:
    """Describe how far the stage holds when the key slice moves, as far as the voting slices show."""
    found = prediction["stability"]
    if found is None:
        return _("not known: no neighbouring slice voted, the CT has no spacing, or the result is of an older version")
    own = next(one["stage"] for one in prediction["slices"] if one["offset"] == 0)
    if own != prediction["stage"]:
        return _("{stage} comes from the neighbours: the key slice alone gives {own}").format(
            stage=prediction["stage"], own=own
        )
    ways = ((found["up"], _("towards the head")), (found["down"], _("towards the feet")))
    return "; ".join(_way_in_words(way, found["step_mm"], name, prediction["stage"]) for way, name in ways)


def _way_in_words(way: Mapping[str, Any], step: float, name: str, stage: str) -> str:
    """Describe how far the stage holds in one direction, as `name` names it."""
    if way["asked_mm"] == 0:
        text = _("{way}: no slice was asked")
    elif way["at_least"]:
        text = _("{way}: {stage} for at least {stays:.1f} mm")
    elif way["stays_mm"] == 0:
        text = _("{way}: changes within {step:.1f} mm")
    else:
        text = _("{way}: {stage} for {stays:.1f} mm, then it changes")
    return text.format(way=name, stage=stage, stays=way["stays_mm"], step=step)


DICES = ("dice", "chance_dice", "blob_dice", "mean_mask_dice")
"""Dice of the map, then of the baselines: regions of the same area, chosen without reading the slice."""

MEASURES = (*DICES, "iou", "area_mm2", "centroid_distance_mm", "hd95_mm")
"""Measures of the map at a threshold, in the order in which they are shown."""


def measure_in_words(measure: str) -> tuple[str, str]:
    """Return (name, unit) of a measure."""
    return {
        "dice": (_("Dice"), ""),
        "chance_dice": (_("Chance Dice"), ""),
        "blob_dice": (_("Dice of a centred blob"), ""),
        "mean_mask_dice": (_("Dice of the mean mask"), ""),
        "iou": (_("IoU"), ""),
        "area_mm2": (_("Area of the highlighted region"), "mm²"),
        "centroid_distance_mm": (_("Distance of the centroids"), "mm"),
        "hd95_mm": (_("HD95 of the outlines"), "mm"),
    }[measure]


POINTING_ROW = 1 + len(MEASURES)
"""Index in `agreement_rows` of the row for the maximum in the ROI: 1 for yes, 0 for no."""


def agreement_rows(agreement: Mapping[str, Any], threshold: float) -> list[tuple[str, float, str]]:
    """Return rows (measure, value at the threshold, unit); undefined values are NaN."""
    cut = records.cut_at(agreement, threshold)
    rows = [(_("Threshold"), number_or_nan(cut["threshold"]), _("share of the maximum"))]
    for key in MEASURES:
        name, unit = measure_in_words(key)
        rows.append((name, number_or_nan(cut[key]), unit))
    hit = agreement["pointing_hit"]
    whole_map = (
        (_("Maximum lies in the ROI (1 yes, 0 no)"), None if hit is None else float(hit), ""),
        (_("Share of the attention inside the ROI"), agreement["energy_inside"], ""),
        (_("Area of the ROI"), agreement["roi_area_mm2"], "mm²"),
    )
    return rows + [(name, number_or_nan(value), unit) for name, value, unit in whole_map]


def show_agreement(
    scene: Scene, previous: TableNode | None, agreement: Mapping[str, Any], threshold: float, ct: VolumeNode
) -> TableNode:
    """Fill the table of the agreement in the key slice, at the chosen threshold."""
    measure, chosen, unit = zip(*agreement_rows(agreement, threshold), strict=True)
    columns = {_("Measure"): measure, _("At the threshold"): chosen, _("Unit"): unit}
    name = _("{ct} agreement with {segment}").format(ct=ct.GetName(), segment=agreement["segment"])
    return fill_table(scene, previous, name, columns, ct)


_ALWAYS_DRAWN = ("dice", "chance_dice")
_COLOURS = {
    "dice": (0.75, 0.1, 0.15),
    "chance_dice": (0.45, 0.5, 0.55),
    "blob_dice": (0.1, 0.4, 0.7),
    "mean_mask_dice": (0.85, 0.55, 0.05),
}
"""Colours of the lines in the chart of the threshold sweep."""


def show_sweep(
    scene: Scene,
    previous_table: TableNode | None,
    previous_plot: PlotNode | None,
    agreement: Mapping[str, Any],
    ct: VolumeNode,
) -> tuple[TableNode, PlotNode]:
    """Show Dice over the threshold, beside the baselines, as a table node and a chart.

    Returns
    -------
    vtkMRMLTableNode, vtkMRMLPlotChartNode
    """
    cuts = agreement["sweep"]
    heads = {"threshold": _("Threshold"), **{key: measure_in_words(key)[0] for key in (*DICES, "iou")}}
    columns = {head: [number_or_nan(cut[key]) for cut in cuts] for key, head in heads.items()}
    table = fill_table(scene, previous_table, _("{ct} threshold sweep").format(ct=ct.GetName()), columns, ct)
    plot = reuse_or_add(
        scene, previous_plot, "vtkMRMLPlotChartNode", _("{ct} Dice by threshold").format(ct=ct.GetName())
    )
    drawn = [key for key in DICES if key in _ALWAYS_DRAWN or any(cut[key] is not None for cut in cuts)]
    lines = [
        Line(table, heads["threshold"], heads[key], _COLOURS[key], *((CIRCLE, SOLID) if key == "dice" else (0, DASHED)))
        for key in drawn
    ]
    draw(scene, plot, lines)
    plot.SetTitle(_("Agreement with {segment}").format(segment=agreement["segment"]))
    plot.SetXAxisTitle(_("Threshold (share of the key slice's maximum)"))
    plot.SetYAxisTitle(_("Dice"))
    defined = [cut[key] for cut in cuts for key in DICES if cut[key] is not None]
    set_axes(plot, (0.0, 1.0), (0.0, 1.4 * max(defined, default=1.0)))  # with room for the legend above the lines
    place_beside(scene, plot, ct)
    return table, plot


class NomogramRow(NamedTuple):
    """Texts of a term; `ratio` is the odds ratio of its value against `reference`."""

    factor: str
    value: str
    points: str
    ratio: str = "–"
    reference: str = "–"


def nomogram_rows(nomogram: Nomogram, reading: Reading) -> list[NomogramRow]:
    """Return a row for each term."""
    rows = []
    for term in nomogram.terms:
        value = reading.values[term.name]
        points = f"{reading.points[term.name]:.1f}"
        if value == REFERENCE:
            rows.append(NomogramRow(term.label, _("left out"), points))
            continue
        rows.append(
            NomogramRow(
                term.label,
                value if isinstance(value, str) else _with_unit(value, term.unit),
                points,
                ratio_text(reading.contributions[term.name]),
                (term.reference or "–") if term.is_choice else _with_unit(term.typical, term.unit),
            )
        )
    return rows


def _with_unit(value: float, unit: str) -> str:
    return f"{round(value, 2):g} {unit}".strip()


def show_nomogram(
    scene: Scene,
    previous: TableNode | None,
    nomogram: Nomogram,
    reading: Reading,
    network: str | None,
    radscore: str,
    ct: VolumeNode | None,
) -> TableNode:
    """Fill the table of a nomogram's result beside the network's stage: one row each."""
    rows = [
        (_("Nomogram"), nomogram.name),
        (_("Stage by the nomogram"), str(reading.stage)),
        (_("Stage by the network"), network or "–"),
    ]
    rows += [
        (_("Probability of {stage} by the nomogram").format(stage=stage), f"{p:.4f}")
        for stage, p in zip(STAGES, reading.probabilities, strict=True)
    ]
    for row in nomogram_rows(nomogram, reading):
        template = (
            _("{value}: {points} points")
            if row.ratio == "–"  # left out
            else _("{value}: {points} points, odds ratio {ratio} compared with {reference}")
        )
        rows.append((row.factor, template.format(**row._asdict())))
    rows.append((_("Total points"), f"{reading.total_points:.1f}"))
    rows += [(_("Rad-score"), radscore)] if radscore else []
    rows += [(_("Odds ratio in the model (95 %)"), one.sentence) for one in effects(nomogram) if not one.is_reference]
    rows.append((_("Source"), nomogram.source))
    rows += [(_("Warning"), plain(text)) for text in reading.warnings]
    rows.append((_("Use"), RESEARCH_USE_ONLY))
    columns = {_("Item"): [name for name, _value in rows], _("Value"): [value for _name, value in rows]}
    name = _("nomogram") if ct is None else _("{ct} nomogram").format(ct=ct.GetName())
    return fill_table(scene, previous, name, columns, ct)


def fill_table(
    scene: Scene,
    previous: TableNode | None,
    name: str,
    columns: Mapping[str, Sequence[str | float]],
    ct: VolumeNode | None = None,
) -> TableNode:
    """Fill a table node with columns of texts and of numbers."""
    node = reuse_or_add(scene, previous, "vtkMRMLTableNode", name)
    table = vtk.vtkTable()
    for head, values in columns.items():
        text = any(isinstance(value, str) for value in values)
        column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
        column.SetName(head)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)
    if ct is not None:
        place_beside(scene, node, ct)
    return node


def number_or_nan(value: float | None) -> float:
    """Return a value as a number of a table node; NaN if it is not known."""
    return math.nan if value is None else float(value)
