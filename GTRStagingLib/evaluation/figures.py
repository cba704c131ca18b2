"""Draw the figures of an evaluation with matplotlib: of all rows, by cohort, by centre, of readers, and of the flow."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from GTRStagingLib.evaluation import figure_panels
from GTRStagingLib.evaluation.cohorts import CohortEvaluation
from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.figure_style import (
    BEHIND,
    GUIDE,
    INK,
    LINE,
    SMALLEST,
    SOFT,
    name_axes,
    new_axes,
    whisker,
    wrapped,
)
from GTRStagingLib.evaluation.flow_figure import flow_figure
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.evaluation.reader_figures import reader_figures
from GTRStagingLib.stats.estimates import Estimate, undefined
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.figures import COLUMN
from GTRStagingLib.tables.column_words import label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Drawn = tuple[Figure, str]


def figures(found: Evaluation) -> "dict[str, Drawn]":
    """Return the figures: file name without ending -> figure and its text alternative.

    With cohorts, the figures of all rows have a second form, NAME_by_cohort, with a panel for each cohort.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    import_extra("matplotlib.figure", "Figures need", "report")
    drawn = _of_parts([_whole(found)])
    if found.cohorts is not None:
        drawn |= {f"{name}_by_cohort": one for name, one in _of_parts(found.cohorts.parts).items()}
    if found.flow.steps:
        drawn["flow"] = flow_figure(found)
    if found.study is not None:
        drawn |= reader_figures(found.study, found.answers)
    for column, levels in found.groups.items():
        if len(levels) > 1:
            drawn[f"forest_{file_name(column)}"] = _forest(found, column, levels)
    return drawn


def file_name(column: str) -> str:
    """Return a column's name as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in column)


def _whole(found: Evaluation) -> CohortEvaluation:
    return CohortEvaluation("all", found.predictions, found.performance, found.curves, found.calibration,
                            found.decisions, found.attention, (), risk_coverage=found.risk_coverage)  # fmt: skip


def _of_parts(parts: Sequence[CohortEvaluation]) -> "dict[str, Drawn]":
    """Draw each figure of the parts that have its data."""
    shown: dict[str, tuple[Callable[[Sequence[CohortEvaluation]], Drawn], list[CohortEvaluation]]] = {
        "roc": (figure_panels.roc, [one for one in parts if one.performance.areas is not None]),
        "confusion": (figure_panels.confusion, list(parts)),
        "calibration": (figure_panels.calibration, [one for one in parts if one.calibration is not None]),
        "decision_curves": (figure_panels.decision_curves, list(parts)),
        "risk_coverage": (figure_panels.risk_coverage, [one for one in parts if one.risk_coverage is not None]),
        "attention": (figure_panels.attention, [one for one in parts if one.attention is not None]),
    }
    return {name: draw(some) for name, (draw, some) in shown.items() if some}


def _forest(found: Evaluation, column: str, levels: Mapping[str, Performance]) -> "Drawn":
    measures: dict[str, Callable[[Performance], Estimate]] = {"Accuracy": lambda one: one.metrics.accuracy}
    if found.performance.areas is not None:
        measures["Macro AUC"] = lambda one: undefined("") if one.areas is None else one.areas.macro
    measures["Sensitivity\nfor T3–4"] = lambda one: one.metrics.boundaries["T3-4 against T1-2"].sensitivity
    rows = [*((name, one) for name, one in levels.items()), ("all", found.performance)]
    labels = [wrapped(f"{name} (n = {one.metrics.n_rows:,})", 0.3 * COLUMN) for name, one in rows]
    high = LINE * max(2, *map(len, labels))
    figure, axes = new_axes(1, len(measures), 0.75 + high * len(rows), sharex=True, sharey=True, squeeze=False)
    values, least = [], 1.0
    for axis, (measure, take) in zip(np.ravel(axes), measures.items(), strict=True):
        estimates = [take(one) for _, one in rows]
        for y, estimate in enumerate(estimates):
            whisker(axis, estimate, y, whole=y == len(rows) - 1)
        whole = estimates[-1].value
        if whole is not None:
            axis.axvline(whole, color=GUIDE, lw=0.8, zorder=BEHIND)
        least = min([least, *(e.value if e.low is None else e.low for e in estimates if e.value is not None)])
        name_axes(axis, measure)
        listed = "; ".join(f"{name} {one.text()}" for (name, _), one in zip(rows, estimates, strict=True))
        values.append(f"{' '.join(measure.split())}: {listed}")
    first = np.ravel(axes)[0]
    first.set_yticks(range(len(rows)), ["\n".join(lines) for lines in labels], parse_math=False)
    low = min(0.9, math.floor(10 * least) / 10)
    room = 0.07 * (1 - low)  # for the marks at the ends
    first.set(ylim=(len(rows) - 0.4, -0.6), xlim=(low - room, 1 + room))
    first.set_xticks([low, 1.0], [f"{low:g}", "1"])
    first.set_title(label_of(column), fontsize=SMALLEST, color=INK, loc="left", fontweight="bold")
    figure.supxlabel("Estimate with 95 % interval; ◆ and line: all rows", fontsize=SMALLEST, color=SOFT)
    return figure, f"Forest plot by {label_of(column)}, with 95 % intervals. " + ". ".join(values) + "."


__all__ = ["figures", "file_name"]
