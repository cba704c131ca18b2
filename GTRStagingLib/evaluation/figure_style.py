"""Give the figures of an evaluation one look: as wide as a journal's column, with legends beside the data.

Text is at least `SMALLEST` points high in a figure of 88 mm, the width of a column, and as high as that in print.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.support.figures import BLUE, COLOURS, COLUMN, DASHES, MARKS, fonts_for, new_figure, without_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

MODEL_COLOUR = BLUE
INK, SOFT, GUIDE = "#16202a", "#4a5560", "#c3ccd5"

SIZE, SMALLEST = 7.0, 6.5
"""Sizes of text in points: of most of it, and of the smallest."""

LINE = 0.13
"""Height of a line of text in inches."""

BEHIND = 0
"""Drawing order of guides, such as a diagonal; data is drawn above them."""


@dataclass(frozen=True)
class Grid:
    """Layout of a figure of equal panels, a column wide; all sizes in inches.

    Attributes
    ----------
    columns
        Number of panels in a row.
    ratio
        Height of a panel divided by its width.
    left, right
        Room beside the panels of a row, for the labels of the axis.
    between
        Room between the panels of a row.
    above, below
        Room above and below each row, for titles, labels and legends; `titled` computes that for titles.
    head, foot
        Room at the top and the bottom of the figure.
    """

    columns: int
    ratio: float = 1.0
    left: float = 0.42
    right: float = 0.08
    between: float = 0.2
    above: float = 0.22
    below: float = 0.36
    head: float = 0.0
    foot: float = 0.0

    @property
    def wide(self) -> float:
        """Width of a panel."""
        return (COLUMN - self.left - self.right - (self.columns - 1) * self.between) / self.columns

    def draw(self, n: int) -> "tuple[Figure, list[Axes]]":
        """Create a figure with `n` axes, row by row; the figure is as high as its rows."""
        high = self.wide * self.ratio
        rows = math.ceil(n / self.columns)
        height = self.head + rows * (self.above + high + self.below) + self.foot
        figure, axes = new_figure(COLUMN, height), []
        for i in range(n):
            row, column = divmod(i, self.columns)
            left = self.left + column * (self.wide + self.between)
            top = self.head + self.above + row * (self.above + high + self.below)
            axes.append(figure.add_axes((left / COLUMN, 1 - (top + high) / height, self.wide / COLUMN, high / height)))
            dress(axes[-1])
        return figure, axes

    def titled(self, titles: Sequence[str], *, lines: int = 0) -> "tuple[Grid, list[str]]":
        """Return a grid with room for the titles of its panels, and the titles wrapped to the width of a panel.

        With `lines`, the titles are those of rows, which are as wide as the figure, above panels whose own titles have
        so many lines.
        """
        room = COLUMN - self.left - self.right if lines else self.wide + min(self.right, self.between)
        every = [wrapped(title, room, bold=True) for title in titles]
        most = max(len(title) if any(title) else 0 for title in every)
        above = 0.1 + LINE * (most + lines) + (0.06 if most and lines else 0)
        return replace(self, above=above), ["\n".join(title) for title in every]


def new_axes(rows: int, columns: int, height: float, **how: Any) -> "tuple[Figure, Any]":
    """Create a figure that is a column wide, with axes whose room depends on their labels; `height` in inches."""
    figure = new_figure(COLUMN, height, layout="constrained")
    axes = figure.subplots(rows, columns, **how)
    for one in np.ravel(axes):
        dress(one)
    return figure, axes


def corner_below(figure: "Figure", axis: "Axes") -> tuple[float, float]:
    """Return the lower left corner of an axis, in inches from the upper left corner of its figure."""
    width, height = figure.get_size_inches()
    box = axis.get_position()
    return float(box.x0 * width), float((1 - box.y0) * height)


def name_row(figure: "Figure", axis: "Axes", title: str, *, lines: int) -> None:
    """Title a row of panels, if the title has text; `axis` is the first, its own title has `lines` lines."""
    box = axis.get_position()
    figure.text(box.x0, box.y1 + (0.08 + LINE * lines) / figure.get_figheight(), title, fontsize=SIZE, color=INK,
                va="bottom", fontweight="bold", parse_math=False)  # fmt: skip


def name_all(figure: "Figure", x: str, y: str) -> None:
    """Name the axes that all panels share, below and at the left."""
    figure.supxlabel(x, fontsize=SIZE, color=INK, y=0.02 / figure.get_figheight())
    figure.supylabel(y, fontsize=SIZE, color=INK, x=0.02 / COLUMN)


def dress(axis: "Axes") -> None:
    """Set the size of an axis's labels, and leave out the frame at the top and at the right."""
    axis.tick_params(labelsize=SMALLEST, colors=INK, length=2.5, width=0.6, pad=2)
    without_spines(axis, "top", "right")
    for side in ("left", "bottom"):
        axis.spines[side].set(color=SOFT, linewidth=0.6)


def name_axes(axis: "Axes", x: str = "", y: str = "", title: str = "") -> None:
    """Name the two axes, and title the panel."""
    axis.set_xlabel(x, fontsize=SIZE, color=INK, labelpad=2)
    axis.set_ylabel(y, fontsize=SIZE, color=INK, labelpad=2)
    if title:
        axis.set_title(title, fontsize=SIZE, color=INK, loc="left", fontweight="bold", pad=4, parse_math=False)


LEGEND: dict[str, Any] = {"fontsize": SMALLEST, "frameon": False, "labelcolor": INK, "borderpad": 0,
                          "borderaxespad": 0, "labelspacing": 0.3, "handlelength": 2.6, "handletextpad": 0.6,
                          "columnspacing": 1.2}  # fmt: skip


LEGEND_LINE = 0.42
"""Width of a line and its distances in a legend, in inches."""


def legend_at(
    figure: "Figure", lines: Mapping[str, Any], *, left: float, top: float, columns: int, title: str | None = None
) -> None:
    """Add a legend, label -> line, whose upper left corner is `left` and `top` inches from that of the figure."""
    if lines:
        width, height = figure.get_size_inches()
        _plain(figure.legend(list(lines.values()), list(lines), loc="upper left", ncols=columns, title=title,
                             bbox_to_anchor=(left / width, 1 - top / height), title_fontsize=SMALLEST,
                             alignment="left", **LEGEND))  # fmt: skip


def legend_columns(labels: Sequence[str]) -> int:
    """Return the number of columns, four at most, in which a legend of these labels fits the width of a figure."""
    widths = [text_width(label) + LEGEND_LINE for label in labels]
    for columns in range(min(4, len(labels)), 1, -1):
        if sum(column.max() for column in np.array_split(widths, columns)) <= COLUMN - 0.1:
            return columns
    return 1


def legend_above(figure: "Figure", lines: Mapping[str, Any], columns: int) -> None:
    """Add a legend, label -> line, above all axes of a figure with a constrained layout."""
    _plain(figure.legend(list(lines.values()), list(lines), loc="outside upper left", ncols=columns,
                         **LEGEND | {"borderaxespad": 0.4}))  # fmt: skip


def _plain(legend: "Legend") -> None:
    """Show names as they are: a dollar sign in a name starts no formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def labelled(axes: Iterable["Axes"]) -> dict[str, Any]:
    """Return the lines of all axes by their labels."""
    known: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    return known


def whisker(axis: "Axes", estimate: Estimate, y: float, *, whole: bool = False) -> None:
    """Draw an estimate with its interval at height `y`; `whole` marks the estimate from all rows."""
    if estimate.value is None:
        axis.text(0.5, y, "not defined", fontsize=SMALLEST, color=SOFT, ha="center", va="center",
                  transform=axis.get_yaxis_transform(), bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip
        return
    if estimate.low is not None and estimate.high is not None:
        axis.plot([estimate.low, estimate.high], [y, y], color=INK, lw=1.1, solid_capstyle="butt")
    axis.plot(estimate.value, y, "D" if whole else "s", color=INK, ms=4.5 if whole else 3.5)


def text_on(rgb: Sequence[float]) -> str:
    """Return white or black, whichever has more contrast with a background of (3,) sRGB: always 4.5:1 or more."""
    background = luminance(rgb) + 0.05
    return "white" if 1.05 / background > background / 0.05 else "black"


def luminance(rgb: Sequence[float]) -> float:
    """Return the relative luminance of (3,) sRGB from 0 to 1, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def wrapped(text: str, width: float, *, bold: bool = False) -> list[str]:
    """Break a text of `SIZE` into lines of at most `width` inches, between words if it can be."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, bold=bold) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if text_width(lines[-1] + letter, bold=bold) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@cache
def text_width(text: str, *, bold: bool = False) -> float:
    """Return the width of a line of `SIZE` in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=fonts_for(text), size=SIZE, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def share_ticks(axis: "Axes", most: float = 1.0, *, sides: Sequence[str] = "xy") -> None:
    """Set few ticks from 0 to `most`, 0.8 or 1, so that their labels keep apart in a small panel."""
    ticks = [0, most / 2, most]
    for side in sides:
        getattr(axis, f"{side}axis").set_ticks(ticks, [f"{tick:g}" for tick in ticks])


__all__ = [
    "BEHIND",
    "COLOURS",
    "DASHES",
    "GUIDE",
    "INK",
    "LINE",
    "MARKS",
    "MODEL_COLOUR",
    "SIZE",
    "SMALLEST",
    "SOFT",
    "Grid",
    "dress",
    "labelled",
    "legend_above",
    "legend_at",
    "legend_columns",
    "luminance",
    "name_all",
    "name_axes",
    "new_axes",
    "share_ticks",
    "text_on",
    "text_width",
    "whisker",
    "wrapped",
]
