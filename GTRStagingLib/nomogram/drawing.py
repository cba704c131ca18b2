"""Draw a nomogram for paper: a scale for each predictor, for the total points, and for the probability of each stage.

P(T1) decreases and P(T4) increases with the points, so each value occurs once on its scale. P(T2) and P(T3) increase
and then decrease: their values occur twice, on both sides of the marked maximum, below their curve.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.nomogram import POINTS, REFERENCE, Nomogram, Reading, Term
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support import extras
from GTRStagingLib.support.figures import DPI, PAGE, Kind, new_figure, write_figure
from GTRStagingLib.support.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS: dict[str, Kind] = {".pdf": "pdf", ".png": "png", ".svg": "svg"}
PROBABILITIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Tick values of a scale of probabilities, as far as the scale reaches."""

MARGIN, LEFT, RIGHT = 0.15, 1.8, PAGE - 0.2
"""Left edge of the texts, and ends of the scales, in inches."""

TALL, LOW = 0.53, 0.45
"""Distances between scales in inches: of probabilities, and of all others."""

RIDGE = 0.3
"""Height of a probability of 1, in inches."""

INK, SOFT, PALE, DARK, MARK = "#1a1a1a", "#5c5c5c", "#c3d4e8", "#5b84b1", "#b3400a"
TITLE, NAME, LONG_NAME, TICK, NOTE = 10.0, 8.0, 6.5, 6.5, 6.5
"""Sizes of text in points, in print as well, since the drawing is as wide as a journal's page."""

_LINE = 0.125
_HEADER = 0.85
_TO_EDGE = 132
"""Letters in a line of a note."""


def draw(nomogram: Nomogram, path: Path, *, reading: Reading | None = None) -> None:
    """Write the drawing as PNG, SVG or PDF, by the path's suffix, in one step.

    Parameters
    ----------
    reading
        Result of a patient to mark in the drawing.

    Raises
    ------
    InputError
        If the suffix is not one of these, no term changes the odds, or matplotlib is not installed.
    """
    ending = path.suffix.lower()
    if ending not in KINDS:
        raise InputError(f"{path.name}; expected a name that ends in {', '.join(KINDS)}. Rename it.")
    drawn = figure(nomogram, reading=reading)
    title = f"Nomogram {nomogram.name}"
    about: dict[str, dict[str, str | None]] = {
        ".png": {"Description": RESEARCH_USE_ONLY},
        ".svg": {"Description": RESEARCH_USE_ONLY, "Title": title},
        ".pdf": {"Subject": RESEARCH_USE_ONLY, "Title": title},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        write_figure(drawn, stream, KINDS[ending], dpi=DPI, about=about[ending], salt=nomogram.name)


def figure(nomogram: Nomogram, *, reading: Reading | None = None) -> "Figure":
    """Draw a nomogram as a matplotlib figure with an Agg canvas; its coordinates are inches."""
    if not nomogram.points_per_unit:
        raise InputError(
            f"No term of {nomogram.name} changes the odds; expected a coefficient other than 0. Correct the file."
        )
    footer = _footer(nomogram, reading)
    scales = len(nomogram.terms) + 2
    height = _HEADER + scales * LOW + len(TStage) * TALL + 0.3 + _LINE * len(footer)
    drawn = new_figure(PAGE, height, what="Drawings need")
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE), ylim=(0, height))
    axes.axis("off")
    _Sheet(nomogram, reading, axes, height).fill(footer)
    return drawn


# -- scales --------------------------------------------------------------------------------------------------------


def total_points(nomogram: Nomogram) -> float:
    """Return the largest total of points."""
    return sum(high - low for low, high in (t.weights_of_range() for t in nomogram.terms)) * nomogram.points_per_unit


def probability_at(nomogram: Nomogram, points: float) -> tuple[float, float, float, float]:
    """Return the probabilities of T1..T4 at a total of points, for the lower scales."""
    return nomogram.probabilities(nomogram.base + points / nomogram.points_per_unit)


@dataclass(frozen=True)
class StageScale:
    """Scale of the probability of one stage.

    Attributes
    ----------
    ticks
        (points, probability) of the `PROBABILITIES` on the scale, by points; on both sides of `highest`.
    highest
        (points, probability) of the maximum, if it lies between the ends; None if the probability is monotonic.
    """

    stage: TStage
    ticks: tuple[tuple[float, float], ...]
    highest: tuple[float, float] | None


def stage_scale(nomogram: Nomogram, stage: TStage) -> StageScale:
    """Solve for the points at which a stage has the marked probabilities."""
    end = total_points(nomogram)

    def probability(points: float) -> float:
        return probability_at(nomogram, points)[stage]

    # Each of the four has at most one maximum, which the search between the ends finds.
    peak = float(minimize_scalar(lambda x: -probability(x), bounds=(0, end), method="bounded").x)
    inside = 0.005 * end < peak < 0.995 * end
    branches = [(0.0, peak), (peak, end)] if inside else [(0.0, end)]
    ticks = {
        (float(brentq(lambda x, p=p: probability(x) - p, low, high)), p)
        for low, high in branches
        for p in PROBABILITIES
        if (probability(low) - p) * (probability(high) - p) < 0
    }
    return StageScale(stage, tuple(sorted(ticks)), (peak, probability(peak)) if inside else None)


# -- the sheet -----------------------------------------------------------------------------------------------------


class _Sheet:
    """Drawing of the scales, from top to bottom; `y` is the position of the next one."""

    def __init__(self, nomogram: Nomogram, reading: Reading | None, axes: "Axes", height: float) -> None:
        self.nomogram, self.reading, self.axes = nomogram, reading, axes
        self.height = height
        self.y = height - _HEADER
        self.end = total_points(nomogram)

    def fill(self, footer: list[tuple[str, str, str]]) -> None:
        self._title()
        top = self.y
        self._points()
        for term in self.nomogram.terms:
            self.y -= LOW
            self._term(term, top)
        self.y -= LOW
        self._total()
        if self.reading is not None:
            stops = [self.y - 0.12 - step * TALL for step in range(1, len(TStage) + 1)]
            self._guide(self.reading.total_points, self.end, *stops)
        self.y -= 0.12
        for stage in TStage:
            self.y -= TALL
            self._stage(stage)
        self.y -= 0.42
        for sentence, colour, weight in footer:
            self.axes.text(MARGIN, self.y, sentence, size=NOTE, color=colour, weight=weight, va="top")
            self.y -= _LINE

    def _title(self) -> None:
        name = self.nomogram.name
        words = f"Nomogram {name if len(name) <= 50 else name[:49] + '…'}: T stage of gastric cancer"
        self.axes.text(MARGIN, self.height - 0.2, words, size=TITLE, weight="bold", color=INK, va="center")
        how = (
            "Read the points straight above each value, add them, and read the four probabilities straight below the "
            "total."
        )
        self.axes.text(MARGIN, self.height - 0.42, how, size=NOTE, color=SOFT, va="center")

    # -- scales ----------------------------------------------------------------------------------------------------

    def _at(self, points: float, end: float) -> float:
        return LEFT + (RIGHT - LEFT) * points / end

    def _name(self, name: str, unit: str = "", value: str | None = None) -> None:
        words = f"{name} ({unit})" if unit else name
        size = NAME if len(wrap(words, 22)) <= 2 else LONG_NAME
        lines = wrap(words, 22 if size == NAME else 28)[:2]
        shift = 0.5 * _LINE * (len(lines) - 1 + (value is not None))
        for i, line in enumerate(lines):
            self.axes.text(
                MARGIN, self.y + shift - i * 1.1 * _LINE, line, size=size, color=INK, va="center", weight="bold"
            )
        if value is not None:
            at = self.y + shift - 1.1 * _LINE * len(lines)
            self.axes.text(MARGIN, at, value, size=TICK, color=MARK, va="center")

    def _line(self, x0: float, x1: float) -> None:
        self.axes.plot([x0, x1], [self.y, self.y], color=INK, linewidth=1.1)

    def _tick(self, x: float, label: str | None = None, *, long: float = 0.07, above: bool = False) -> None:
        tip = self.y + (long if above else -long)
        self.axes.plot([x, x], [self.y, tip], color=INK, linewidth=0.9 if label else 0.6)
        if label:
            self._label(x, tip + (0.03 if above else -0.03), label, above=above)

    def _label(self, x: float, y: float, label: str, *, above: bool = False) -> None:
        self.axes.text(x, y, label, size=TICK, color=INK, ha="center", va="bottom" if above else "top", zorder=6,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip

    def _guide(self, points: float, end: float, *stops: float) -> None:
        """Mark a patient's points here and at the `stops`, with a line between; beside the scale if outside of it."""
        x = min(max(self._at(points, end), LEFT - 0.12), RIGHT + 0.12)
        self.axes.plot([x, x], [self.y, stops[-1]], color=MARK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=4)
        for y in (self.y, *stops):
            self.axes.plot(x, y, "o", color=MARK, markersize=5, zorder=7)

    def _points(self) -> None:
        self._name("Points")
        self._line(LEFT, RIGHT)
        for points in range(0, POINTS + 1, 2):
            round_one = points % 10 == 0
            self._tick(
                self._at(points, POINTS),
                str(points) if round_one else None,
                long=0.1 if round_one else 0.05,
                above=True,
            )

    def _term(self, term: Term, top: float) -> None:
        value = None
        if self.reading is not None:
            value = _value_text(term, self.reading)
            self._guide(self.reading.points[term.name], POINTS, top)
        self._name(term.label, term.unit, value)
        if term.is_choice:
            self._choice(term)
        else:
            self._number(term)

    def _points_of(self, term: Term, weight: float) -> float:
        return (weight - term.weights_of_range()[0]) * self.nomogram.points_per_unit

    def _number(self, term: Term) -> None:
        def x_of(value: float) -> float:
            return self._at(self._points_of(term, term.weight(value)), POINTS)

        ends = [x_of(value) for value in term.range]
        self._line(*ends)
        room = abs(ends[1] - ends[0])
        major = _nice(*term.range, most=max(1, min(10, int(room / 0.5))))
        for value in _between(major, 5, term.range) if room > 2 else []:
            self._tick(x_of(value), long=0.04)
        taken = -math.inf
        for value in sorted(major, key=x_of):
            label = _text(value)
            free = x_of(value) - _width(label) / 2 > taken
            self._tick(x_of(value), label if free else None)
            if free:
                taken = x_of(value) + _width(label) / 2 + 0.06
        for value, x in zip(term.range, ends, strict=True):
            if value not in major:
                self._tick(x, long=0.04)

    def _choice(self, term: Term) -> None:
        places = sorted((self._at(self._points_of(term, c), POINTS), level) for level, c in term.levels.items())
        self._line(places[0][0], places[-1][0])
        # Below the line, above it, or in a second row below; a label that fits nowhere is joined to the one before.
        rows: dict[str, list[tuple[float, str]]] = {"below": [], "above": [], "lower": []}
        for x, level in places:
            free = (r for r, there in rows.items() if not there or _right(there[-1]) < x - _width(level) / 2)
            row = next(free, None)
            if row is None:
                last, before = rows["lower"].pop()
                x, level, row = (last + x) / 2, f"{before}, {level}", "lower"
            rows[row].append((x, level))
        for x, level in places:
            self._tick(x, above=(x, level) in rows["above"])
        for drop, row in ((-0.1, "below"), (0.1, "above"), (-0.2, "lower")):
            for x, level in rows[row]:
                self._label(x, self.y + drop, level, above=row == "above")

    def _total(self) -> None:
        value = None if self.reading is None else f"{_text(self.reading.total_points, '.1f')} points"
        self._name("Total points", value=value)
        self._line(LEFT, RIGHT)
        major = _nice(0, self.end, most=14)
        for points in _between(major, 5, (0, self.end)):
            self._tick(self._at(points, self.end), long=0.05)
        for points in major:
            self._tick(self._at(points, self.end), f"{points:g}", long=0.1)

    def _stage(self, stage: TStage) -> None:
        value = None if self.reading is None else f"{self.reading.probabilities[stage]:.3f}"
        self._name(f"Probability of {stage}", value=value)
        points = np.linspace(0, self.end, 601)
        shares = np.array([probability_at(self.nomogram, one) for one in points])
        x = np.array([self._at(one, self.end) for one in points])
        high = self.y + RIDGE * shares[:, stage]
        self.axes.fill_between(x, self.y, high, color=PALE, linewidth=0)
        self.axes.fill_between(x, self.y, high, where=shares.argmax(axis=1) == stage, color=DARK, linewidth=0)
        self.axes.plot(x, high, color=INK, linewidth=0.7)
        self._line(LEFT, RIGHT)
        scale = stage_scale(self.nomogram, stage)
        placed: list[tuple[float, float]] = []
        if scale.highest is not None:
            at, label = self._at(scale.highest[0], self.end), f"highest {scale.highest[1]:.2f}"
            self.axes.plot([at, at], [self.y - 0.07, self.y + RIDGE * scale.highest[1]], color=INK, linewidth=0.9)
            self._label(at, self.y - 0.1, label)
            placed.append((at - _width(label) / 2 - 0.06, at + _width(label) / 2 + 0.06))
        if len(scale.ticks) + len(placed) < 2:
            for one in (0.0, self.end):
                self._tick(self._at(one, self.end), f"{probability_at(self.nomogram, one)[stage]:.2g}")
        # Round values first, since other labels are left out if there is not enough room.
        for one, probability in sorted(scale.ticks, key=lambda tick: _rank(tick[1])):
            at, label = self._at(one, self.end), f"{probability:g}"
            left, right = at - _width(label) / 2 - 0.04, at + _width(label) / 2 + 0.04
            free = all(right < a or left > b for a, b in placed)
            self._tick(at, label if free else None, long=0.07 if free else 0.04)
            if free:
                placed.append((left, right))


def _right(written: tuple[float, str]) -> float:
    """Return the leftmost position of the next label."""
    x, label = written
    return x + _width(label) / 2 + 0.1


# -- ticks and texts -----------------------------------------------------------------------------------------------


def _value_text(term: Term, reading: Reading) -> str:
    value, points = reading.values[term.name], reading.points[term.name]
    text = "left out" if value == REFERENCE else value if isinstance(value, str) else _text(value)
    return f"{text}: {_text(points, '.1f')} points"


def _rank(probability: float) -> int:
    return 0 if probability in (0.5, 0.1, 0.9) else 1 if round(probability * 10, 6).is_integer() else 2


def _nice(low: float, high: float, *, most: int) -> list[float]:
    """Return round numbers between two, with at most `most` steps."""
    ticker = extras.import_extra("matplotlib.ticker", "Drawings need", "report")
    ticks = ticker.MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [round(float(t), 10) + 0.0 for t in ticks if low - slack <= t <= high + slack]


def _between(major: list[float], parts: int, within: tuple[float, float]) -> list[float]:
    """Return the positions of minor ticks: each step in parts, up to the ends of the scale."""
    if len(major) < 2:
        return []
    step = (major[1] - major[0]) / parts
    first, last = math.ceil((within[0] - major[0]) / step), math.floor((within[1] - major[0]) / step)
    return [major[0] + i * step for i in range(first, last + 1) if i % parts]


def _text(value: float, form: str = "g") -> str:
    return format(value, form).replace("-", "−")


def _width(text: str) -> float:
    """Return the width of a tick's label in inches."""
    paths = extras.import_extra("matplotlib.textpath", "Drawings need", "report")
    return float(paths.TextPath((0, 0), text, size=TICK).get_extents().width) / 72


def _footer(nomogram: Nomogram, reading: Reading | None) -> list[tuple[str, str, str]]:
    """Return the lines of the footer, each with its colour and weight."""
    warnings = nomogram.warnings if reading is None else reading.warnings
    ratios = "; ".join(one.sentence for one in effects(nomogram) if not one.is_reference)
    ratios = f"Odds ratios of a higher stage (95 % interval): {ratios}."
    lines = [
        ("A curve shows the probability by points; it is dark where its stage is the most probable one.",
         SOFT, "normal"),
        *((line, SOFT, "normal") for line in wrap(ratios, _TO_EDGE)),
        *((line, SOFT, "normal") for line in wrap(f"Source: {nomogram.source}", _TO_EDGE)),
    ]  # fmt: skip
    for warning in warnings:
        lines += [(line, INK, "normal") for line in wrap(f"Warning: {warning}", _TO_EDGE)]
    return [*lines, (RESEARCH_USE_ONLY, INK, "bold")]


__all__ = ["KINDS", "PROBABILITIES", "StageScale", "draw", "figure", "probability_at", "stage_scale", "total_points"]
