"""Stage the CT of a state along its slices, and show the profile in the scene: record, table and chart.

As `scene_staging`, this module needs neither Qt nor the application.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.figures import COLOURS
from GTRStagingSlicer import case_results, charts, layers, scene_staging, tables
from GTRStagingSlicer.background import at_once
from GTRStagingSlicer.mrml import PlotNode, Scene, TableNode, VolumeNode
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.staging.profile import Profile

STYLES = {
    "T1": (charts.CIRCLE, charts.SOLID),
    "T2": (charts.SQUARE, charts.DASHED),
    "T3": (charts.PLUS, charts.SOLID),
    "T4": (charts.DIAMOND, charts.DASH_DOTTED),
}
"""Marker and dashes of each stage, which tell the lines apart without colour."""

RED, INK = (0.64, 0.0, 0.1), (0.09, 0.13, 0.16)

TOP, UNLIKE_AT = 1.5, 1.06
"""Upper end of the chart, with room for the legend above the lines; height of the crosses of unlike slices."""


def compute(
    state: State,
    backbone: "Backbone",
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    apart: Callable[..., "Profile"] = at_once,
) -> "Profile":
    """Stage the CT of a state along its slices, without changing the scene.

    With a segment, the slices from its first to its last are asked, and those on the way to a key slice beyond them;
    without one, the slices up to 30 mm from the key slice, as by `gtrstaging profile --around`.

    Parameters
    ----------
    progress
        Called with the numbers of slices done and of all; an exception that it raises (`Cancelled`) stops the run.
    apart
        Does the part that needs no scene, as for `scene_staging.compute`.

    Raises
    ------
    StagingError
        If the case cannot be staged, or none of the slices can.
    """
    from dataclasses import replace

    from GTRStagingLib.imaging import keyslice
    from GTRStagingLib.staging.profile import slices_near
    from GTRStagingLib.staging.scanning import profile_scan

    case = scene_staging.case_of(state)
    grid, asked = case.scan.grid, []
    mask = None if case.tumour is None else case.tumour.onto(grid, resample=case.resample)
    key = keyslice.choose(case.scan, mask=mask, key_slice=case.key_slice)
    if mask is not None:
        asked = keyslice.areas_mm2(grid, mask).nonzero()[0].tolist()
    options = replace(scene_staging.options_of(state), resample_roi=case.resample)
    indices = slices_near(grid, [*asked, key.index], 0.0) if asked else slices_near(grid, [key.index])
    return apart(
        lambda tell: profile_scan(
            case.scan, backbone, options, indices=indices, tumour=case.tumour, key_slice=key, progress=tell
        ),
        progress,
    )


def show(found: "Profile", state: State, scene: Scene) -> None:
    """Show a profile in the scene as that of its CT: a table, a chart, and the record as a text node."""
    from GTRStagingLib.results.profile_outputs import to_json

    ct, record = state.inputVolume, to_json(found)
    case_results.turn_to_ct(state, scene)
    if found.key_slice is not None:
        scene_staging.keep_key_slice(state, found.key_slice)
    text = layers.reuse_or_add(scene, state.profileText, "vtkMRMLTextNode", _("{ct} profile").format(ct=ct.GetName()))
    text.SetText(json.dumps(record, allow_nan=False))
    layers.place_beside(scene, text, ct)
    state.profileText = text
    draw(record, state, scene, ct)
    text.SetAttribute(case_results.SETTINGS, scene_staging.settings_of(state))
    case_results.file_in_folder(state, scene)


def draw(record: Mapping[str, Any], state: State, scene: Scene, ct: VolumeNode) -> None:
    """Fill table and chart of a profile from its record."""
    state.profileTable = _show_table(scene, state.profileTable, record, ct)
    state.profilePlot = _show_chart(scene, state.profilePlot, state.profileTable, record, ct)


def record_of(state: State) -> Mapping[str, Any] | None:
    """Return the record of the scene's profile; None without one."""
    text = state.profileText
    if text is None or not text.GetText():
        return None
    record: dict[str, Any] = json.loads(text.GetText())
    return record


def out_of_date(state: State) -> bool:
    """Return whether the CT, its geometry, the segment or a setting differs from that of the profile."""
    text = state.profileText
    if record_of(state) is None:
        return False
    same = text.GetNodeReference(layers.CT) is state.inputVolume
    return not same or text.GetAttribute(case_results.SETTINGS) != scene_staging.settings_of(state)


def key_of(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the key slice of a record among its slices; None without one."""
    return next((one for one in record["slices"] if one["key_slice"]), None)


# -- table and chart -----------------------------------------------------------------------------------------------


def _show_table(scene: Scene, previous: TableNode | None, record: Mapping[str, Any], ct: VolumeNode) -> TableNode:
    """Fill the table of a profile: a row for each slice, from the feet to the head."""
    slices = record["slices"]
    columns: dict[str, Sequence[str | float]] = {
        _position(): _numbers(slices, "position_mm"),
        _("Slice"): _numbers(slices, "slice"),
        _("Stage of the slice alone"): _texts(slices, "own_stage"),
        _("Vote"): _texts(slices, "vote"),
        **{stage: _numbers(slices, f"p_{stage}") for stage in tables.STAGES},
        _("Likeness"): _texts(slices, "familiarity"),
        _("Farther than % of held-out patients"): _numbers(slices, "familiarity_percentile"),
        _unlike(): [UNLIKE_AT if one["familiarity"] == "unlike" else float("nan") for one in slices],
    }
    if record["segment"] is not None:
        columns[_("Area of the segment (mm²)")] = _numbers(slices, "roi_area_mm2")
        columns[_("Share of the attention in it")] = _numbers(slices, "attention_inside")
    columns[_("Why it cannot be staged")] = _texts(slices, "refused")
    return tables.fill_table(scene, previous, _("{ct} along the scan").format(ct=ct.GetName()), columns, ct)


def _position() -> str:
    return _("Position S (mm)")


def _unlike() -> str:
    return _("UNLIKE THE TRAINING")


def _numbers(slices: Sequence[Mapping[str, Any]], field: str) -> list[float]:
    """Return the values of a field, NaN where it is not known."""
    return [tables.number_or_nan(one[field]) for one in slices]


def _texts(slices: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    """Return the texts of a field, empty where it has none."""
    return [plain(one[field] or "") for one in slices]


def _show_chart(
    scene: Scene, previous: PlotNode | None, table: TableNode, record: Mapping[str, Any], ct: VolumeNode
) -> PlotNode:
    """Draw the probabilities of each slice alone over its position, the key slice, and what is unlike the training."""
    key_line = None if previous is None or previous.GetScene() is not scene else _key_table_of(previous, table)
    plot = layers.reuse_or_add(
        scene, previous, "vtkMRMLPlotChartNode", _("{ct} stage along the scan").format(ct=ct.GetName())
    )
    lines = [charts.Line(table, _position(), stage, _rgb(COLOURS[stage]), *STYLES[stage]) for stage in tables.STAGES]
    if any(one["familiarity"] == "unlike" for one in record["slices"]):
        lines.append(charts.Line(table, _position(), _unlike(), RED, charts.CROSS, charts.NONE))
    if (key := key_of(record)) is not None:
        name = _("Key slice {index}").format(index=key["slice"])
        at = {_position(): [key["position_mm"]] * 2, name: [0.0, 1.0]}
        key_line = tables.fill_table(scene, key_line, _("{ct} key slice").format(ct=ct.GetName()), at, ct)
        lines.append(charts.Line(key_line, _position(), name, INK, charts.NONE, charts.DASHED))
    charts.draw(scene, plot, lines)
    plot.SetTitle(
        _("Stage along the scan by the model {model}. {use}").format(
            model=record["model"]["name"], use=RESEARCH_USE_ONLY
        )
    )
    plot.SetXAxisTitle(_("Position along the body axis, S in mm (feet to head)"))
    plot.SetYAxisTitle(_("Probability of the slice alone"))
    half, ends = record["slice_mm"] / 2, [record["slices"][i]["position_mm"] for i in (0, -1)]
    charts.set_axes(plot, (ends[0] - half, ends[1] + half), (0.0, TOP))
    layers.place_beside(scene, plot, ct)
    return plot


def _key_table_of(plot: PlotNode, table: TableNode) -> TableNode | None:
    """Return the table of the key slice's line in an earlier chart; None without one."""
    found = [series.GetTableNode() for series in charts.series_of(plot)]
    return next((one for one in found if one is not None and one is not table), None)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


# -- in words ------------------------------------------------------------------------------------------------------


def in_words(record: Mapping[str, Any]) -> list[str]:
    """Describe a profile: its slices, how far the stage holds, the likeness to the training, and the warnings."""
    slices, key = record["slices"], key_of(record)
    asked = _("Slices {first} to {last}, S {low:.1f} to {high:.1f} mm.").format(
        first=slices[0]["slice"],
        last=slices[-1]["slice"],
        low=slices[0]["position_mm"],
        high=slices[-1]["position_mm"],
    )
    return [
        _head_in_words(record, key),
        asked,
        _("If the key slice moves: {words}").format(words=_stability_in_words(record, key)),
        _likeness_in_words(slices),
        *(plain(text) for text in record["warnings"] if text != record["model"]["warning"]),  # which the banner shows
        RESEARCH_USE_ONLY,
    ]


def _head_in_words(record: Mapping[str, Any], key: Mapping[str, Any] | None) -> str:
    if key is None:
        return _("Along the scan: no key slice")
    if record["stage"] is None:
        return _("Along the scan: the key slice {index} cannot be staged").format(index=key["slice"])
    return _("Along the scan: {stage} at the key slice {index}").format(stage=record["stage"], index=key["slice"])


def _stability_in_words(record: Mapping[str, Any], key: Mapping[str, Any] | None) -> str:
    if key is None or record["stability"] is None:
        return plain(record["in_words"])
    own = {"offset": 0, "stage": key["own_stage"]}
    return tables.stability_in_words({"stability": record["stability"], "stage": record["stage"], "slices": [own]})


def _likeness_in_words(slices: Sequence[Mapping[str, Any]]) -> str:
    names = {
        "usual": _("{count} usual"),
        "unusual": _("{count} unusual"),
        "unlike": _("{count} UNLIKE"),
        "not known": _("{count} not known"),
    }
    verdicts = [one["familiarity"] for one in slices if one["familiarity"] is not None]
    counts = [text.format(count=verdicts.count(one)) for one, text in names.items() if one in verdicts]
    return _("Likeness of the slices to the training: {counts}.").format(counts=", ".join(counts))


__all__ = ["compute", "draw", "in_words", "key_of", "out_of_date", "record_of", "show"]
