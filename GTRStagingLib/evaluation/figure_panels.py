"""Draw the figures of an evaluated table, with a panel or a row of panels for each part (all rows, or a cohort).

Each function takes evaluated parts, and returns the figure and its text alternative.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from GTRStagingLib.evaluation.cohorts import CohortEvaluation
from GTRStagingLib.evaluation.evaluate import BASELINE_NAMES, MODEL
from GTRStagingLib.evaluation.figure_style import (
    BEHIND,
    COLOURS,
    DASHES,
    GUIDE,
    INK,
    LINE,
    MARKS,
    MODEL_COLOUR,
    SMALLEST,
    SOFT,
    Grid,
    corner_below,
    labelled,
    legend_at,
    legend_columns,
    name_all,
    name_axes,
    name_row,
    share_ticks,
    text_on,
)
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.attention_by_stage import BASELINES
from GTRStagingLib.stats.calibration import EventCalibration
from GTRStagingLib.stats.decisions import TREAT_ALL, TREAT_NONE, DecisionCurve
from GTRStagingLib.stats.readers import phase_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Drawn = tuple[Figure, str]

Parts = Sequence[CohortEvaluation]

HIGHEST_THRESHOLD = 0.8
"""End of the decision curves' axis; above it, the net benefit depends on few patients."""

MOST_BANDS = 3
"""Largest number of bands of one panel; with more strategies, the model's alone is drawn."""

RISK_SCORES = ("softmax", "spread", "familiarity", "set size")
"""Scores of `risk_scores`, in the order of their colours."""

BASELINE_MARKS = {"chance": "_", "blob": "o", "mean_mask": "D"}


def _titles(parts: Parts) -> list[str]:
    """Return the titles of the panels, with name and number of rows; empty if the figure has one part alone."""
    counts = (f"(n = {len(part.predictions):,})".replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
    return ["" if len(parts) == 1 else f"{part.name} {n}" for part, n in zip(parts, counts, strict=True)]


def _each(parts: Parts, words: Mapping[str, str]) -> str:
    """Join the words on each part, which is named if there are several."""
    return " ".join(text if len(parts) == 1 else f"{name}: {text}" for name, text in words.items())


# -- discrimination ------------------------------------------------------------------------------------------------


def roc(parts: Parts) -> "Drawn":
    """Draw the ROC curves of each stage against the others, with their areas; parts have probabilities."""
    alone = len(parts) == 1
    grid = Grid(1, left=0.62, right=0.62, below=0.98) if alone else Grid(2, below=1.4)
    grid, titles = grid.titled(_titles(parts))
    figure, axes = grid.draw(len(parts))
    words = {}
    for axis, part, title in zip(axes, parts, titles, strict=True):
        areas = part.performance.areas
        assert areas is not None  # noqa: S101 (checked by the caller)
        axis.plot([0, 1], [0, 1], color=GUIDE, lw=0.8, zorder=BEHIND)
        for stage, curve in part.curves.items():
            points = np.empty((0, 2)) if curve is None else curve
            label = f"{stage}  {areas.per_class[stage].text()}"
            axis.plot(*points.T, color=COLOURS[stage], ls=DASHES[stage], lw=1.3, label=label)
        for name, area in (("Macro", areas.macro), ("Micro", areas.micro)):
            axis.plot([], [], " ", label=f"{name}  {area.text()}")
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        share_ticks(axis)
        name_axes(axis, "1 − specificity", "Sensitivity", title)
        left, top = corner_below(figure, axis)
        legend_at(figure, labelled([axis]), left=0.04 if alone else left - 0.38, top=top + 0.42, columns=1 + alone,
                  title="AUC (95 % interval)")  # fmt: skip
        values = "; ".join(f"{name} {one.text()}" for name, one in areas.per_class.items())
        words[part.name] = f"{values}; macro {areas.macro.text()}; micro {areas.micro.text()}."
    return figure, f"ROC curves, each stage against the rest. AUC with 95 % interval: {_each(parts, words)}"


def confusion(parts: Parts) -> "Drawn":
    """Draw the confusion matrices: the darker a cell, the larger its share of the true stage."""
    from matplotlib import colormaps

    blues, names, words = colormaps["Blues"], [str(stage) for stage in TStage], {}
    grid = Grid(1, left=0.5, right=0.5) if len(parts) == 1 else Grid(2, between=0.42, right=0.04)
    grid, titles = grid.titled(_titles(parts))
    figure, axes = grid.draw(len(parts))
    for axis, part, title in zip(axes, parts, titles, strict=True):
        matrix = part.performance.metrics.confusion
        totals = matrix.sum(axis=1, keepdims=True)
        shares = matrix / np.maximum(totals, 1)
        axis.imshow(shares, cmap=blues, vmin=0, vmax=1, aspect="auto")
        for i in range(len(names)):
            for j in range(len(names)):
                share = f"{100 * shares[i, j]:.0f} %" if totals[i, 0] else "–"
                axis.text(j, i, f"{matrix[i, j]:,}\n{share}", ha="center", va="center", linespacing=1.05,
                          color=text_on(blues(shares[i, j])), fontsize=SMALLEST,
                          fontweight="bold" if i == j else "normal")  # fmt: skip
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(names)), names)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        name_axes(axis, "Predicted stage", "True stage", title)
        rows = (f"true {n}: {', '.join(map(str, row))}" for n, row in zip(names, matrix.tolist(), strict=True))
        words[part.name] = "; ".join(rows) + "."
    return figure, (
        "Confusion matrix: counts, and shares of each true stage, darker for a larger share. Predicted T1, T2, T3, T4 "
        f"of {_each(parts, words)}"
    )


def risk_coverage(parts: Parts) -> "Drawn":
    """Draw the risk-coverage curve of each score of uncertainty, and the error rate; parts have such scores."""
    alone = len(parts) == 1
    grid = Grid(1, left=0.62, right=0.62, below=1.15) if alone else Grid(2, left=0.5, between=0.6, below=1.15)
    grid, titles = grid.titled(_titles(parts))
    figure, axes = grid.draw(len(parts))
    colours = dict(zip(RISK_SCORES, (MODEL_COLOUR, *(COLOURS[stage] for stage in ("T3", "T1", "T4"))), strict=True))
    dashes = dict(zip(RISK_SCORES, DASHES.values(), strict=True))
    words = {}
    for axis, part, title in zip(axes, parts, titles, strict=True):
        assert part.risk_coverage is not None  # noqa: S101 (checked by the caller)
        scores = part.risk_coverage.scores
        highest = max([0.05, *(float(one.curve[:, 1].max()) for one in scores if one.rows)])
        axis.axhline(scores[0].random, color=GUIDE, lw=0.8, zorder=BEHIND)
        for one in scores:
            area = "not defined" if one.area.value is None else f"{one.area.value:.3f}"  # two panels have no more room
            label = f"{one.name[0].upper()}{one.name[1:]}  {one.area.text() if alone else area}"
            axis.plot(*one.curve.T, color=colours[one.name], ls=dashes[one.name], lw=1.3, label=label)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02 * highest, 1.05 * highest))
        share_ticks(axis, sides="x")
        name_axes(axis, "Coverage", "Share of errors", title)
        left, top = corner_below(figure, axis)
        legend_at(figure, labelled([axis]), left=left, top=top + 0.42, columns=1,
                  title="Area (95 % interval)" if alone else "Area")  # fmt: skip
        areas = "; ".join(f"{one.name} {one.area.text()}" for one in scores)
        words[part.name] = f"{areas}; at random {scores[0].random:.3f}."
    return figure, (
        "Risk-coverage curves: share of errors among the most certain rows, by each score. Area with 95 % interval: "
        f"{_each(parts, words)}"
    )


# -- calibration and decisions -------------------------------------------------------------------------------------


def calibration(parts: Parts) -> "Drawn":
    """Draw the calibration curves: of all seven events for one part, of the four stages for several."""
    stages = len(TStage)
    if len(parts) == 1:
        events = _events(parts[0])
        rows: list[Sequence[EventCalibration | None]] = [events[:stages], [None, *events[stages:]]]
    else:
        rows = [_events(part)[:stages] for part in parts]
    grid, titles = Grid(stages, below=0.2, between=0.1, foot=0.18).titled(_titles(parts) * len(rows), lines=2)
    figure, axes = grid.draw(stages * len(rows))
    words = []
    for k, row in enumerate(rows):
        line, first = axes[stages * k : stages * (k + 1)], True
        name_row(figure, line[0], titles[k], lines=2)
        for axis, event in zip(line, row, strict=True):
            if event is None:
                axis.remove()
                continue
            _reliability(axis, event, first)
            first = False
            whose = "" if len(parts) == 1 else f"{parts[k].name}, "
            words.append(f"{whose}{event.event}: slope {event.slope.text(2)}, ECE {event.ece.text()}")
    name_all(figure, "Mean predicted probability", "Observed share (95 % interval)")
    return figure, "Calibration curves; the diagonal is perfect calibration. " + "; ".join(words) + "."


def _events(part: CohortEvaluation) -> Sequence[EventCalibration]:
    assert part.calibration is not None  # noqa: S101 (checked by the caller)
    return part.calibration.events


def _reliability(axis: "Axes", event: EventCalibration, first: bool) -> None:
    stage = event.event[-2:]
    axis.plot([0, 1], [0, 1], color=GUIDE, lw=0.8, zorder=BEHIND)
    for point in event.curve:
        if point.observed.low is not None and point.observed.high is not None:
            axis.plot([point.predicted] * 2, [point.observed.low, point.observed.high], color=COLOURS[stage], lw=0.7)
    observed = np.array([point.observed.value for point in event.curve], dtype=float)
    axis.plot([point.predicted for point in event.curve], observed, color=COLOURS[stage], lw=1, marker=MARKS[stage],
              ms=2.5)  # fmt: skip
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    share_ticks(axis)
    axis.tick_params(labelleft=first)
    ece = "not defined" if event.ece.value is None else f"{event.ece.value:.3f}"
    axis.set_title(f"{_capitalised(event.event)}\nECE {ece}", fontsize=SMALLEST, loc="left", color=INK, pad=3)


def decision_curves(parts: Parts) -> "Drawn":
    """Draw the net benefit of the model, of others, of treating all and of treating none, with bands if there are."""
    names = list(dict.fromkeys(name for part in parts for name in _others(part)))
    looks = _looks(names)
    events, columns = len(parts[0].decisions.curves), legend_columns([shown_name(name) for name in looks])
    head = 0.06 + LINE * math.ceil(len(looks) / columns)
    grid, titles = Grid(events, ratio=1.3, below=0.2, between=0.2, foot=0.18, head=head).titled(_titles(parts), lines=1)
    figure, axes = grid.draw(events * len(parts))
    highest = max(_highest(curve) for part in parts for curve in part.decisions.curves)
    words = {}
    for k, part in enumerate(parts):
        line = axes[events * k : events * (k + 1)]
        name_row(figure, line[0], titles[k], lines=1)
        for axis, curve in zip(line, part.decisions.curves, strict=True):
            _net_benefit(axis, curve, looks)
            axis.set(xlim=(0, HIGHEST_THRESHOLD), ylim=(-0.1, highest * 1.06))
            share_ticks(axis, HIGHEST_THRESHOLD, sides="x")
            axis.tick_params(labelleft=axis is line[0])
            axis.set_title(_capitalised(curve.event), fontsize=SMALLEST, loc="left", color=INK, pad=3)
        words[part.name] = "; ".join(_in_words(curve, names) for curve in part.decisions.curves) + "."
    name_all(figure, "Threshold probability", "Net benefit")
    legend_at(figure, labelled(axes), left=0.04, top=0.04, columns=columns)
    beside = ", ".join(["the model", *map(shown_name, names)])
    bands = " Bands are 95 % intervals." if any(_bands(c) for part in parts for c in part.decisions.curves) else ""
    return figure, f"Net benefit of {beside}, of treating all and of treating none.{bands} {_each(parts, words)}"


def _others(part: CohortEvaluation) -> list[str]:
    """Return the names beside the model, without readers of a two-phase study, who have a figure of their own."""
    names = part.decisions.curves[0].net_benefit
    phases = {column for pair in phase_columns(names)[0].values() for column in pair}
    return [name for name in names if name not in {MODEL, TREAT_ALL, TREAT_NONE} | phases]


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return name -> how its line is drawn, in the order of the legend."""
    colours = [COLOURS[stage] for stage in ("T3", "T1", "T4")]  # the colour of T2 is close to the model's
    dashes = [DASHES["T3"], (0, (2, 1)), DASHES["T4"], DASHES["T2"]]
    looks: dict[str, dict[str, Any]] = {MODEL: {"color": MODEL_COLOUR, "lw": 1.6}}
    for i, name in enumerate(names):  # three colours and four dashes make twelve different lines
        looks[name] = {"color": colours[i % len(colours)], "ls": dashes[i % len(dashes)], "lw": 1.1}
    looks[TREAT_ALL] = {"color": SOFT, "lw": 0.7}
    looks[TREAT_NONE] = {"color": SOFT, "ls": ":", "lw": 0.9}
    return looks


def _bands(curve: DecisionCurve) -> dict[str, np.ndarray]:
    """Return the bands that are drawn: the model's, and those of others if there are two at most."""
    given: Mapping[str, Any] = getattr(curve, "bands", {})
    names = [name for name in given if name not in {TREAT_ALL, TREAT_NONE}]
    return {name: np.asarray(given[name]) for name in names if name == MODEL or len(names) <= MOST_BANDS}


def _highest(curve: DecisionCurve) -> float:
    """Return the largest net benefit that a curve or a band reaches on the axis."""
    shown = np.array(curve.thresholds) <= HIGHEST_THRESHOLD
    tops = [float(np.nanmax(band[shown, 1])) for band in _bands(curve).values() if not np.isnan(band[shown, 1]).all()]
    return max([curve.prevalence, *tops])


def _net_benefit(axis: "Axes", curve: DecisionCurve, looks: Mapping[str, Mapping[str, Any]]) -> None:
    bands = _bands(curve)
    for name, look in looks.items():
        if name in curve.net_benefit:
            axis.plot(curve.thresholds, curve.net_benefit[name], label=shown_name(name), **look)
        if name in bands:
            axis.fill_between(curve.thresholds, *bands[name].T, color=look["color"], alpha=0.16, lw=0)


def _in_words(curve: DecisionCurve, names: Sequence[str]) -> str:
    half = curve.thresholds.index(0.5)
    values = ", ".join(
        f"{shown_name(name)} {curve.net_benefit[name][half]:.3f}"
        for name in (MODEL, *names)
        if name in curve.net_benefit
    )
    return f"{curve.event}: prevalence {curve.prevalence:.3f}, at threshold 0.5 {values}"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


# -- attention -----------------------------------------------------------------------------------------------------


def attention(parts: Parts) -> "Drawn":
    """Draw the Dice of attention and ROI by stage, with the means of the baselines; parts have such a study."""
    grid = Grid(1, ratio=0.6, below=0.44) if len(parts) == 1 else Grid(2, ratio=0.9, below=0.48, between=0.14)
    baselines = any(part.attention is not None and part.attention.against for part in parts)
    grid, titles = replace(grid, head=0.06 + 3 * LINE if baselines else 0).titled(_titles(parts))
    figure, axes = grid.draw(len(parts))
    words, most = {}, 0.25
    for axis, part, title in zip(axes, parts, titles, strict=True):
        study = part.attention
        assert study is not None  # noqa: S101 (checked by the caller)
        given = _dice(part)
        most = max(most, *(float(values.max()) for values in given if len(values)))
        boxes = axis.boxplot([values if len(values) else [np.nan] for values in given], widths=0.5, patch_artist=True,
                             medianprops={"color": INK, "lw": 1.4}, whiskerprops={"lw": 0.7}, capprops={"lw": 0.7},
                             boxprops={"lw": 0.7},
                             flierprops={"marker": ".", "ms": 2, "mfc": SOFT, "mec": SOFT})  # fmt: skip
        for box, stage in zip(boxes["boxes"], TStage, strict=True):
            box.set(facecolor=COLOURS[str(stage)], alpha=0.45, edgecolor=INK)
        for name, mark in BASELINE_MARKS.items():
            if name in study.against:
                means = [study.measures[BASELINES[name]][str(stage)].mean.value for stage in TStage]
                at = [(k + 1, mean) for k, mean in enumerate(means) if mean is not None]
                axis.plot([k for k, _ in at], [mean for _, mean in at], mark, color=INK, fillstyle="none",
                          ms=13 if mark == "_" else 4.5, mew=1.1, label=_capitalised(BASELINE_NAMES[name]))  # fmt: skip
        axis.set_xticks(range(1, 5), [f"{stage}\n({len(v):,})" for stage, v in zip(TStage, given, strict=True)])
        name_axes(axis, "True stage (rows)", "", title)
        mean = "; ".join(f"{name} {one.mean.text()}" for name, one in study.measures["dice"].items())
        beside = "".join(
            f" {BASELINE_NAMES[name].capitalize()}: {study.measures[BASELINES[name]]['all'].mean.text()}."
            for name in study.against
        )
        words[part.name] = f"mean {mean}.{beside}"
    for i, axis in enumerate(axes):
        axis.set_ylim(-0.02, min(1.02, most * 1.1))
        axis.tick_params(labelleft=i % grid.columns == 0)
    name_all(figure, "", "Dice of attention and ROI")
    legend_at(figure, labelled(axes), left=0.04, top=0.04, columns=2, title="Mean Dice of the baselines")
    return figure, f"Dice of the attention and the ROI by stage. {_each(parts, words)}"


def _dice(part: CohortEvaluation) -> list[np.ndarray]:
    """Return the Dice of the rows of each stage, without undefined ones."""
    found = part.predictions
    dice = found.numbers(next(column for column in found.frame.columns if column.casefold() == "dice"))
    assert dice is not None  # noqa: S101 (the study was computed from this column)
    return [dice[(found.stages == stage) & ~np.isnan(dice)] for stage in TStage]


__all__ = ["Parts", "attention", "calibration", "confusion", "decision_curves", "roc"]
