"""Draw a profile: stages, probabilities, familiarity and ROI over the position along the scan."""

from typing import TYPE_CHECKING

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.profile import Profile, ProfileSlice
from GTRStagingLib.support.figures import COLOURS, DASHES, MARKS, figure_bytes, new_figure, without_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, ROI_HEIGHT = 9.0, 5.6, 1.3
"""Size in inches, and what is added for the ROI."""

INK, SOFT, GUIDE, STABLE = "#16202a", "#4a5560", "#c9d0d6", "#d9ecdf"
RED, AMBER, GREEN = "#a30019", "#b97700", "#1a6b3c"
VERDICTS = {"usual": (GREEN, "o"), "unusual": (AMBER, "s"), "unlike": (RED, "x"), "not known": (SOFT, ".")}
"""Colour and mark of each verdict on familiarity."""


def svg(found: Profile) -> str:
    """Draw a profile as an SVG without a prologue, to stand in a page.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    with_roi = any(one.roi_area_mm2 is not None for one in found.slices)
    heights = [0.45, 3.0, 1.5] + ([1.3] if with_roi else [])
    figure = new_figure(WIDTH, HEIGHT + (ROI_HEIGHT if with_roi else 0), layout="constrained", what="A profile needs")
    axes: list[Axes] = list(
        figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.03})
    )
    for axis in axes:
        without_spines(axis, "top", "right")
        axis.tick_params(colors=INK, labelsize=9)
        _mark_key(axis, found)
    _stages(axes[0], found)
    _probabilities(axes[1], found)
    _familiarity(axes[2], found)
    if with_roi:
        _roi(axes[3], found)
    axes[-1].set_xlabel("Position along the body axis, S in mm (feet ← → head)", color=INK, fontsize=10)
    axes[-1].set_xlim(
        found.slices[0].position_mm - found.slice_mm / 2, found.slices[-1].position_mm + found.slice_mm / 2
    )
    text = figure_bytes(figure, "svg", salt="gtrstaging-profile").decode()
    return text[text.index("<svg") :]


def _mark_key(axis: "Axes", found: Profile) -> None:
    """Mark the key slice by a line, and the range in which the stage holds by a ground."""
    half = found.slice_mm / 2
    if found.stable_mm is not None:
        axis.axvspan(found.stable_mm[0] - half, found.stable_mm[1] + half, color=STABLE, zorder=0, lw=0)
    if found.key is not None:
        axis.axvline(found.key.position_mm, color=INK, lw=1.2, ls=(0, (2, 2)), zorder=1)


def _stages(axis: "Axes", found: Profile) -> None:
    """Show the stage of each slice alone as a coloured cell with its name, as far as the names have room."""
    from matplotlib.patches import Rectangle

    half = found.slice_mm / 2
    for run in _runs(found):
        stage = run[0].own.stage if run[0].own else None
        left = run[0].position_mm - half
        width = run[-1].position_mm + half - left
        colour = "white" if stage is None else COLOURS[str(stage)]
        hatch = "////" if stage is None else None
        axis.add_patch(Rectangle((left, 0), width, 1, facecolor=colour, edgecolor="white", hatch=hatch, lw=0.8))
        if width / (len(found.slices) * found.slice_mm) > 0.03:
            name, ink = ("refused", SOFT) if stage is None else (str(stage), "white")
            axis.text(left + width / 2, 0.47, name, ha="center", va="center", color=ink, fontsize=9, fontweight="bold",
                      clip_on=True)  # fmt: skip
    axis.set(ylim=(0, 1), yticks=[])
    without_spines(axis, "left", "bottom")
    axis.tick_params(bottom=False)
    axis.set_title("Stage of each slice by its own probabilities", loc="left", fontsize=10, color=INK)


def _runs(found: Profile) -> list[list[ProfileSlice]]:
    """Group neighbouring slices of one stage."""
    runs: list[list[ProfileSlice]] = []
    for one in found.slices:
        stage = one.own.stage if one.own else None
        if runs and (runs[-1][-1].own.stage if runs[-1][-1].own else None) == stage:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _probabilities(axis: "Axes", found: Profile) -> None:
    """Draw the four probabilities of each slice alone; a refused slice leaves a gap."""
    at = [one.position_mm for one in found.slices]
    for stage in TStage:
        shares = [np.nan if one.own is None else one.own.probabilities[stage] for one in found.slices]
        name = str(stage)
        axis.plot(at, shares, color=COLOURS[name], ls=DASHES[name], marker=MARKS[name], ms=3.5, lw=1.6, label=name)
    axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel("Probability", color=INK, fontsize=10)
    axis.grid(axis="y", color=GUIDE, lw=0.6)
    handles, names = axis.get_legend_handles_labels()
    if found.key is not None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles.append(Line2D([], [], color=INK, lw=1.2, ls=(0, (2, 2))))
        names.append("key slice")
        if found.stable_mm is not None:
            handles.append(Patch(color=STABLE))
            names.append(f"{found.stage} holds")
    axis.legend(handles, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=6, frameon=False, fontsize=9)


def _familiarity(axis: "Axes", found: Profile) -> None:
    """Draw the percentile of each slice as the key slice, with the verdict as mark and colour."""
    axis.set_ylim(-4, 106)
    axis.set_ylabel("Unfamiliarity\n(percentile)", color=INK, fontsize=10)
    known = [(one.position_mm, one.familiarity) for one in found.slices if one.familiarity is not None]
    judged = [(at, one.percentile, one.verdict) for at, one in known if one.percentile is not None]
    if not judged:
        axis.text(0.5, 0.5, "not known: the model has no record of what it learned from", ha="center", va="center",
                  transform=axis.transAxes, color=SOFT, fontsize=10)  # fmt: skip
        return
    axis.plot([at for at, _, _ in judged], [percentile for _, percentile, _ in judged], color=GUIDE, lw=1, zorder=2)
    for verdict, (colour, mark) in VERDICTS.items():
        chosen = [(at, percentile) for at, percentile, one in judged if one == verdict]
        if chosen:
            places, ranks = zip(*chosen, strict=True)
            axis.scatter(places, ranks, color=colour, marker=mark, s=22, zorder=3, label=verdict)
    axis.grid(axis="y", color=GUIDE, lw=0.6)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, title="likeness")


def _roi(axis: "Axes", found: Profile) -> None:
    """Draw the area of the ROI as a ground, and the share of the attention in it as points."""
    at = [one.position_mm for one in found.slices]
    areas = [one.roi_area_mm2 or 0.0 for one in found.slices]
    axis.fill_between(at, areas, step="mid", color=GUIDE, lw=0, zorder=1)
    axis.set_ylim(0, 1.1 * max(*areas, 1.0))
    axis.set_ylabel("Area of\nthe ROI, mm²", color=SOFT, fontsize=10)
    other = axis.twinx()
    without_spines(other, "top")
    other.set_ylim(-0.04, 1.04)
    other.set_ylabel("Attention in it\n(share)", color=COLOURS["T2"], fontsize=10)
    other.tick_params(colors=COLOURS["T2"], labelsize=9)
    shares = [np.nan if one.attention_inside is None else one.attention_inside for one in found.slices]
    other.plot(at, shares, color=COLOURS["T2"], marker="o", ms=4, lw=1.4)


__all__ = ["svg"]
