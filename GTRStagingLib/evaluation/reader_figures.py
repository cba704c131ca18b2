"""Draw the figures of a reader study with matplotlib: accuracy by phase, seconds for a case, and changed answers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from GTRStagingLib.evaluation.answer_analysis import AnswerAnalysis
from GTRStagingLib.evaluation.figure_style import (
    LINE,
    MODEL_COLOUR,
    SMALLEST,
    SOFT,
    legend_above,
    name_axes,
    new_axes,
    share_ticks,
    whisker,
    wrapped,
)
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.stats.reader_study import PHASES, ReaderStudy
from GTRStagingLib.support.figures import COLUMN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Drawn = tuple[Figure, str]

FILLS: Mapping[str, str] = dict(zip(PHASES, ("white", MODEL_COLOUR), strict=True))
"""Phase -> colour inside its marks."""

SHIFTS: Mapping[str, float] = dict(zip(PHASES, (-0.16, 0.16), strict=True))
"""Phase -> place of its marks below the middle of the reader's line."""


def reader_figures(study: ReaderStudy, answers: AnswerAnalysis | None) -> "dict[str, Drawn]":
    """Return the figures of a reader study: file name without ending -> figure and its text alternative."""
    drawn = {"reader_study": _accuracy(study)}
    if answers is not None and any(one.median is not None for one in answers.times):
        drawn["reader_times"] = _times(answers)
    if answers is not None and answers.advice is not None and _has_changes(answers):
        drawn["reader_switches"] = _switches(answers)
    return drawn


def _accuracy(study: ReaderStudy) -> "Drawn":
    names = [row.reader for row in study.rows] + ([] if study.model is None else [study.model.name])
    measures = {"accuracy": "Accuracy", "kappa_quadratic": "Quadratic kappa"}
    figure, axes = _lines_of(names, len(measures))
    values = []
    for axis, (measure, words) in zip(axes, measures.items(), strict=True):
        for y, row in enumerate(study.rows):
            both: list[Estimate] = [getattr(phase, measure) for phase in (row.unaided, row.aided)]
            for phase, one in zip(PHASES, both, strict=True):
                _mark(axis, y, phase, one.value, one.low, one.high)
            values.append(
                f"{shown_name(row.reader)}, {words.lower()}: unaided {both[0].text()}, aided {both[1].text()}"
            )
        if study.model is not None:
            whisker(axis, getattr(study.model, measure), len(study.rows), whole=True)
            values.append(f"{shown_name(study.model.name)}, {words.lower()}: {getattr(study.model, measure).text()}")
        axis.locator_params(axis="x", nbins=4)
        name_axes(axis, words)
    figure.supxlabel("Estimate with 95 % interval", fontsize=SMALLEST, color=SOFT)
    _name_phases(figure, axes[0])
    return figure, "Reader study. " + "; ".join(values) + "."


def _times(answers: AnswerAnalysis) -> "Drawn":
    """Draw the median and the quartiles of the seconds of each reader in both phases."""
    names = list(dict.fromkeys(one.reader for one in answers.times))
    figure, (axis,) = _lines_of(names, 1)
    values = []
    for one in answers.times:
        _mark(axis, names.index(one.reader), one.phase, one.median, one.q1, one.q3)
        known = "not known" if one.median is None else f"{one.median:.0f} ({one.q1:.0f} to {one.q3:.0f})"
        values.append(f"{shown_name(one.reader)}, {one.phase}: {known}")
    axis.set_xlim(left=0)
    axis.locator_params(axis="x", nbins=5, integer=True)
    name_axes(axis, "Seconds for a case")
    figure.supxlabel("Median with quartiles", fontsize=SMALLEST, color=SOFT)
    _name_phases(figure, axis)
    return figure, "Seconds for a case, median with quartiles. " + "; ".join(values) + "."


def _has_changes(answers: AnswerAnalysis) -> bool:
    rows = () if answers.advice is None else answers.advice.rows
    return any(one.n_right_before or one.n_wrong_before for one in rows)


def _switches(answers: AnswerAnalysis) -> "Drawn":
    """Draw the shares of answers that changed to the wrong advice, and to the right stage by right advice."""
    assert answers.advice is not None  # noqa: S101 (checked by the caller)
    rows = answers.advice.rows
    measures = {"switched_to_wrong": "Right before, then\nthe wrong advice",
                "switched_to_right": "Wrong before, then\nright by advice"}  # fmt: skip
    figure, axes = _lines_of([row.reader for row in rows], len(measures))
    values = []
    for axis, (measure, words) in zip(axes, measures.items(), strict=True):
        for y, row in enumerate(rows):
            whisker(axis, getattr(row, measure), y, whole=y == len(rows) - 1)
        axis.set_xlim(-0.04, 1.04)
        share_ticks(axis, sides="x")
        name_axes(axis, words)
        listed = "; ".join(f"{shown_name(row.reader)} {getattr(row, measure).text()}" for row in rows)
        values.append(f"{' '.join(words.split())}: {listed}")
    figure.supxlabel("Share with 95 % interval; ◆: all readers", fontsize=SMALLEST, color=SOFT)
    return figure, "Answers changed by advice. " + ". ".join(values) + "."


# -- common ------------------------------------------------------------------------------------------------------------


def _lines_of(names: Sequence[str], panels: int) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure with panels side by side and a line for each name, the first at the top."""
    labels = [wrapped(shown_name(name), 0.25 * COLUMN) for name in names]
    height = 0.75 + LINE * max(2, *map(len, labels)) * len(names)
    figure, axes = new_axes(1, panels, height, sharey=True, squeeze=False)
    axes[0, 0].set_yticks(range(len(names)), ["\n".join(lines) for lines in labels], parse_math=False)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    return figure, list(axes[0])


def _mark(axis: "Axes", line: int, phase: str, value: float | None, low: float | None, high: float | None) -> None:
    y = line + SHIFTS[phase]
    if low is not None and high is not None:
        axis.plot([low, high], [y, y], color=MODEL_COLOUR, lw=1.1, zorder=1)
    if value is not None:
        axis.plot(value, y, "o", mfc=FILLS[phase], mec=MODEL_COLOUR, ms=4, zorder=2)


def _name_phases(figure: "Figure", axis: "Axes") -> None:
    legend_above(figure, {phase.capitalize(): axis.plot([], [], "o", mfc=fill, mec=MODEL_COLOUR, ms=4)[0]
                          for phase, fill in FILLS.items()}, columns=2)  # fmt: skip


__all__ = ["reader_figures"]
