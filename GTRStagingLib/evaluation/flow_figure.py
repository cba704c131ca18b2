"""Draw the flow of patients: boxes for the rows read, left out and evaluated, and for each cohort, joined by arrows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.figure_style import INK, LINE, SIZE, SOFT, wrapped
from GTRStagingLib.evaluation.flow import Counts, FlowStep
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.figures import COLUMN, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Drawn = tuple[Figure, str]

EDGE, GAP, PAD = 0.04, 0.14, 0.06
"""Margin of the figure, distance between boxes, and distance of a box from its text, in inches."""

WIDE = COLUMN - 2 * EDGE
MAIN, ASIDE = 0.46 * WIDE, 0.47 * WIDE
"""Widths of the boxes of the main path and of those left out beside it, in inches."""


@dataclass(frozen=True)
class Box:
    """Box at a place in the figure, in inches from the left and the top; the first `bold` lines are its title."""

    left: float
    top: float
    width: float
    lines: tuple[str, ...]
    bold: int

    @property
    def height(self) -> float:
        """Height of the box in inches."""
        return len(self.lines) * LINE + 2 * PAD

    @property
    def middle(self) -> float:
        """Distance of the box's centre from the top of the figure, in inches."""
        return self.top + self.height / 2


def flow_figure(found: Evaluation) -> "Drawn":
    """Draw the flow of patients, with the stages of the rows that are evaluated, and return its text alternative."""
    first, *left_out, last = found.flow.steps
    left_out = [step for step in left_out if step.rows]
    top = EDGE
    main = [_box(EDGE, top, MAIN, first.text, [_count(first)])]
    top += main[0].height + GAP
    aside = []
    for step in left_out:
        aside.append(_box(EDGE + WIDE - ASIDE, top, ASIDE, f"Left out: {step.text}", [_count(step), _by_cohort(step)]))
        top += aside[-1].height + GAP / 2
    main.append(_box(EDGE, top + GAP / 2, MAIN, last.text, [_count(last), _stages(found.performance)]))
    top = main[-1].top + main[-1].height + GAP
    cohorts = []
    for part in found.cohorts.parts if found.cohorts is not None else ():
        counts = last.cohorts.get(part.name)
        lines = [*([_count(counts)] if counts is not None else []), _stages(part.performance)]
        cohorts.append(_box(EDGE + 0.3, top, WIDE - 0.3, part.name, lines))
        top += cohorts[-1].height + GAP / 2
    height = max(box.top + box.height for box in (*main, *aside, *cohorts)) + EDGE
    figure = new_figure(COLUMN, height)
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, COLUMN), ylim=(height, 0))
    axis.set_axis_off()
    for box in (*main, *aside, *cohorts):
        _draw(axis, box)
    trunk = EDGE + MAIN / 2
    _arrow(axis, (trunk, main[0].top + main[0].height), (trunk, main[1].top))
    for box in aside:
        _arrow(axis, (trunk, box.middle), (box.left, box.middle))
    for box in cohorts:
        _arrow(axis, (EDGE + 0.12, box.middle), (box.left, box.middle))
    if cohorts:
        axis.plot([EDGE + 0.12] * 2, [main[1].top + main[1].height, cohorts[-1].middle], color=SOFT, lw=0.8)
    return figure, f"Flow of patients. {_in_words(found, [first, *left_out, last])}"


def _count(counts: FlowStep | Counts) -> str:
    rows = counted(counts.rows, "row")
    if counts.patients is None:
        return rows
    return f"{rows}, {counted(counts.patients, 'patient')}"


def _by_cohort(step: FlowStep) -> str:
    """Return the rows of a step by cohort, cohorts without rows left out; empty without cohorts."""
    rows = {name: counts.rows for name, counts in step.cohorts.items() if counts.rows}
    return ", ".join(f"{name}: {n:,}".replace(" ", "\N{NO-BREAK SPACE}") for name, n in rows.items())


def _stages(performance: Performance) -> str:
    totals = performance.metrics.confusion.sum(axis=1).tolist()
    return ", ".join(f"{stage} {n:,}" for stage, n in zip(TStage, totals, strict=True))


def _box(left: float, top: float, width: float, title: str, lines: Sequence[str]) -> Box:
    """Make a box that is as high as its text, wrapped to the box's width."""
    title = title[:1].upper() + title[1:]
    room = width - 2 * PAD
    head = wrapped(title, room, bold=True)
    return Box(left, top, width, (*head, *(part for line in lines if line for part in wrapped(line, room))), len(head))


def _draw(axis: "Axes", box: Box) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((box.left, box.top), box.width, box.height, fc="#f4f6f8", ec=SOFT, lw=0.7))
    for i, line in enumerate(box.lines):
        axis.text(box.left + PAD, box.top + PAD + i * LINE + LINE / 2, line, fontsize=SIZE, color=INK,
                  va="center", fontweight="bold" if i < box.bold else "normal", parse_math=False)  # fmt: skip


def _arrow(axis: "Axes", start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": SOFT, "lw": 0.8, "shrinkA": 0,
                                              "shrinkB": 0, "mutation_scale": 6})  # fmt: skip


def _in_words(found: Evaluation, steps: Sequence[FlowStep]) -> str:
    first, *left_out, last = steps
    gone = "".join(f" Left out: {step.text}: {_count(step)}." for step in left_out)
    cohorts = found.cohorts.parts if found.cohorts is not None else ()
    by_cohort = "".join(f" {part.name}: {_stages(part.performance)}." for part in cohorts)
    return (
        f"{first.text[:1].upper()}{first.text[1:]}: {_count(first)}.{gone} {last.text[:1].upper()}{last.text[1:]}: "
        f"{_count(last)}; {_stages(found.performance)}.{by_cohort}"
    )


__all__ = ["flow_figure"]
