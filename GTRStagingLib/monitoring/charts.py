"""Draw the chart of a watched measure: its values or shares by period, and the statistic with its limits."""

from typing import TYPE_CHECKING

import numpy as np

from GTRStagingLib.monitoring.watch import Period, Watch, WatchedMeasure, shares
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.figures import BLUE, ORANGE, PAGE, new_figure, without_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 1.9
"""Height of a figure, inches."""

MOST_TICKS = 6

GREY, BAND = "#5b6670", "#dfe6ec"
LEVELS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999999")
"""Colours of categories, of Okabe and Ito."""

SMALL = 7
"""Size of text, points."""


def chart_figure(found: Watch, one: WatchedMeasure) -> "Figure":
    """Draw a measure: on the left what it was, on the right the statistic of its chart.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure = new_figure(PAGE, HEIGHT, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    (_draw_numbers if one.measure.is_number else _draw_shares)(left, found, one)
    _draw_statistic(right, found, one)
    for axes in (left, right):
        axes.tick_params(labelsize=SMALL, length=2)
        without_spines(axes, "top", "right")
    return figure


def words(found: Watch, one: WatchedMeasure) -> str:
    """Describe the figure of a measure for who cannot see it."""
    unit = f" ({one.measure.unit})" if one.measure.unit else ""
    known = "" if len(one.where) == len(found.stream.cases) else f", known in {counted(len(one.where), 'case')}"
    text = f"{one.measure.label}{unit} by period{known}, and the statistic of its chart."
    return f"{text} Limit: {one.chart.limit:.3g}. " + (
        "No alarm." if one.first is None else f"Alarm at {found.place(one.first)}: {one.changed}."
    )


def _draw_numbers(axes: "Axes", found: Watch, one: WatchedMeasure) -> None:
    """Draw the value of each case, the median of each period, and the reference's range."""
    values = np.array(one.values, float)
    sample = one.expected.sample
    if one.expected.limits is not None:
        axes.axhspan(*one.expected.limits, color=BAND, zorder=0)
    if sample is not None:
        axes.axhline(float(np.median(sample)), color=GREY, linewidth=0.8, zorder=1)
    axes.plot(one.where + 1, values, ".", color=BLUE, markersize=2.5, alpha=0.45, zorder=2)
    for period in found.periods:
        if part := one.inside(period):
            axes.plot([period.first + 1, period.end], [np.median(values[part.start : part.stop])] * 2,
                      color="black", linewidth=1.6, solid_capstyle="butt", zorder=3)  # fmt: skip
    axes.set_ylabel(one.measure.unit or "value", fontsize=SMALL)
    _ticks(axes, found)


def _draw_shares(axes: "Axes", found: Watch, one: WatchedMeasure) -> None:
    """Draw the shares of the categories in the reference and in each period, as stacked bars."""
    total = sum(one.expected.counts.values())
    columns: list[tuple[str, dict[str, float]]] = [
        ("ref.", {level: count / total for level, count in one.expected.counts.items()}),
        *((period.name, found_here) for period in found.periods if (found_here := shares(one, one.inside(period)))),
    ]
    bottom = np.zeros(len(columns))
    for level, colour in zip(one.expected.counts, LEVELS, strict=False):
        heights = np.array([column[level] for _, column in columns])
        if heights.any():
            axes.bar(np.arange(len(columns)), heights, 0.85, bottom=bottom, color=colour, label=level,
                     edgecolor="white", linewidth=0.4)  # fmt: skip
        bottom += heights
    shown = [0, *range(1, len(columns), max(1, -(-(len(columns) - 1) // MOST_TICKS)))]
    axes.set_xticks(shown, [columns[i][0] for i in shown])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share", fontsize=SMALL)
    axes.legend(fontsize=SMALL - 1, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, handlelength=0.9)


def _draw_statistic(axes: "Axes", found: Watch, one: WatchedMeasure) -> None:
    """Draw the statistic after each case; what lies beyond the limit in another colour."""
    chart, where = one.chart, one.where + 1
    sides = (-1, 1) if one.expected.sample is not None else (1,)
    for side in sides:
        axes.axhline(side * chart.limit, color=ORANGE, linewidth=0.9, linestyle="--")
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.plot(where, chart.statistic, color=BLUE, linewidth=1)
    beyond = np.where(np.abs(chart.statistic) > chart.limit, chart.statistic, np.nan)
    axes.plot(where, beyond, color=ORANGE, linewidth=1.6)
    if chart.first is not None:
        axes.plot([where[chart.first]], [chart.statistic[chart.first]], "v", color=ORANGE, markersize=5, zorder=4)
        case, height = int(where[chart.first]), float(chart.statistic[chart.first])
        early = case < len(found.stream.cases) / 4  # no room on the left
        place = (6, -8 if height > 0 else 3) if early else (-5, 3)
        axes.annotate(f"case {case}", (case, height), xytext=place, textcoords="offset points",
                      ha="left" if early else "right", fontsize=SMALL)  # fmt: skip
    axes.margins(y=0.18)
    axes.set_ylabel("statistic", fontsize=SMALL)
    _ticks(axes, found)


def _ticks(axes: "Axes", found: Watch) -> None:
    """Name the beginnings of periods on the axis of the cases; few of them, if there are many periods."""
    many = len(found.periods)
    shown: list[Period] = list(found.periods[:: max(1, -(-many // MOST_TICKS))])
    if isinstance(found.by, int):
        axes.set_xlabel("case", fontsize=SMALL)
    axes.set_xticks(
        [period.first + 1 for period in shown],
        [str(period.first + 1) if isinstance(found.by, int) else period.name for period in shown],
    )
    axes.set_xlim(0.5, len(found.stream.cases) + 0.5)


__all__ = ["chart_figure", "words"]
