"""Draw the figures of an evaluation with matplotlib, legible at a page's width and without colours."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from GTRStagingLib.evaluation.evaluate import BASELINE_NAMES, MODEL, Evaluation
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.attention_by_stage import BASELINES
from GTRStagingLib.stats.decisions import TREAT_ALL, TREAT_NONE
from GTRStagingLib.stats.estimates import Estimate, undefined
from GTRStagingLib.stats.readers import phase_columns
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.figures import BLUE, GREEN, OCHRE, RUST, new_figure, without_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"T1": BLUE, "T2": OCHRE, "T3": GREEN, "T4": RUST}

DASHES = {"T1": "-", "T2": (0, (6, 2)), "T3": (0, (3, 1.5)), "T4": (0, (6, 1.5, 1.5, 1.5))}
MARKS = {"T1": "o", "T2": "s", "T3": "^", "T4": "D"}
BASELINE_MARKS = {"chance": ("_", "#a30019"), "blob": ("o", "#6b3fa0"), "mean_mask": ("D", "#16202a")}
INK, SOFT, GROUND = "#16202a", "#4a5560", "#d8dee4"
SIZE = 9.0
WIDTH = 7.2
"""Width of a page between its margins, in inches."""


def figures(found: Evaluation) -> dict[str, "tuple[Figure, str]"]:
    """Return the figures: file name without ending -> figure and its text alternative.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    import_extra("matplotlib.figure", "Figures need", "report")
    drawn: dict[str, tuple[Figure, str]] = {}
    if found.performance.areas is not None:
        drawn["roc"] = _roc(found)
    drawn["confusion"] = _confusion(found)
    if found.calibration is not None:
        drawn["calibration"] = _calibration(found)
    drawn["decision_curves"] = _decision_curves(found)
    if found.study is not None:
        drawn["reader_study"] = _reader_study(found)
    if found.attention is not None:
        drawn["attention"] = _attention(found)
    for column, levels in found.groups.items():
        if len(levels) > 1:
            drawn[f"forest_{file_name(column)}"] = _forest(found, column, levels)
    return drawn


def file_name(column: str) -> str:
    """Return a column's name as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in column)


def _new(rows: int, columns: int, height: float, width: float = WIDTH, **how: Any) -> "tuple[Figure, Any]":
    figure = new_figure(width, height, layout="constrained")
    axes = figure.subplots(rows, columns, **how)
    for one in np.ravel(axes):
        one.tick_params(labelsize=SIZE, colors=INK, length=3)
        without_spines(one, "top", "right")
        for side in ("left", "bottom"):
            one.spines[side].set_color(SOFT)
    return figure, axes


def _named(axis: "Axes", x: str, y: str, title: str = "") -> None:
    axis.set_xlabel(x, fontsize=SIZE, color=INK)
    axis.set_ylabel(y, fontsize=SIZE, color=INK)
    if title:
        axis.set_title(title, fontsize=SIZE + 1, color=INK, loc="left", fontweight="bold")


def _legend(axis: "Axes", **how: Any) -> None:
    axis.legend(fontsize=SIZE - 1, frameon=False, handlelength=3, labelcolor=INK, **how)


# -- discrimination ------------------------------------------------------------------------------------------------


def _roc(found: Evaluation) -> "tuple[Figure, str]":
    areas = found.performance.areas
    assert areas is not None  # noqa: S101 (checked by the caller)
    figure, axis = _new(1, 1, 4.6, 4.9)
    axis.plot([0, 1], [0, 1], color=GROUND, lw=1, zorder=0)
    for stage, curve in found.curves.items():
        if curve is None:
            continue
        label = f"{stage}  {areas.per_class[stage].text()}"
        axis.plot(*curve.T, color=COLOURS[stage], ls=DASHES[stage], lw=1.8, label=label, drawstyle="default")
    axis.plot([], [], " ", label=f"macro  {areas.macro.text()}")
    axis.plot([], [], " ", label=f"micro  {areas.micro.text()}")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    _named(axis, "1 − specificity", "sensitivity")
    axis.legend(fontsize=SIZE - 1, frameon=False, loc="lower right", labelcolor=INK, handlelength=3,
                title="AUC (95 % interval)", title_fontsize=SIZE - 1, alignment="left")  # fmt: skip
    values = "; ".join(f"{name} {one.text()}" for name, one in areas.per_class.items())
    return (
        figure,
        f"ROC curves, each stage against the rest. AUC with 95 % interval: {values}; macro {areas.macro.text()}.",
    )


def _confusion(found: Evaluation) -> "tuple[Figure, str]":
    matrix = found.performance.metrics.confusion
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axis = _new(1, 1, 3.9, 4.2)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [str(stage) for stage in TStage]
    for i in range(4):
        for j in range(4):
            colour = "white" if shares[i, j] > 0.55 else INK
            axis.text(j, i, f"{matrix[i, j]:,}\n{100 * shares[i, j]:.0f} %", ha="center", va="center", color=colour,
                      fontsize=SIZE, fontweight="bold" if i == j else "normal")  # fmt: skip
    axis.set(xticks=range(4), yticks=range(4))
    axis.set_xticklabels(names)
    axis.set_yticklabels([f"{n}\n(n = {k:,})" for n, k in zip(names, matrix.sum(axis=1).tolist(), strict=True)])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    _named(axis, "predicted stage", "true stage")
    rows = "; ".join(f"true {n}: {', '.join(map(str, row))}" for n, row in zip(names, matrix.tolist(), strict=True))
    return figure, f"Confusion matrix, counts and shares of each true stage. Predicted T1, T2, T3, T4 of {rows}."


def _forest(found: Evaluation, column: str, levels: Mapping[str, Performance]) -> "tuple[Figure, str]":
    measures: dict[str, Callable[[Performance], Estimate]] = {"accuracy": lambda one: one.metrics.accuracy}
    if found.performance.areas is not None:
        measures["macro AUC"] = lambda one: undefined("") if one.areas is None else one.areas.macro
    measures["sensitivity for T3–4"] = lambda one: one.metrics.boundaries["T3-4 against T1-2"].sensitivity
    rows = [*((name, one) for name, one in levels.items()), ("all", found.performance)]
    figure, axes = _new(1, len(measures), 0.9 + 0.34 * len(rows), sharey=True)
    values = []
    for axis, (measure, take) in zip(np.ravel(axes), measures.items(), strict=True):
        estimates = [take(one) for _, one in rows]
        for y, estimate in enumerate(estimates):
            _whisker(axis, estimate, y, whole=y == len(rows) - 1)
        whole = estimates[-1].value
        if whole is not None:
            axis.axvline(whole, color=GROUND, lw=1, zorder=0)
        low = min([e.value if e.low is None else e.low for e in estimates if e.value is not None] or [0.0])
        axis.set_xlim(max(0.0, low - 0.05), 1.015)
        _named(axis, measure, "")
        values.append(f"{measure}: " + "; ".join(f"{n} {e.text()}" for (n, _), e in zip(rows, estimates, strict=True)))
    first = np.ravel(axes)[0]
    first.set_yticks(range(len(rows)))
    first.set_yticklabels([f"{name}  (n = {one.metrics.n_rows:,})" for name, one in rows])
    first.set_ylim(len(rows) - 0.4, -0.6)
    return figure, f"Forest plot by {column}, with 95 % intervals. " + ". ".join(values) + "."


def _whisker(axis: "Axes", estimate: Estimate, y: float, whole: bool) -> None:
    if estimate.value is None:
        axis.text(
            0.5, y, "not defined", fontsize=SIZE - 1, color=SOFT, transform=axis.get_yaxis_transform(), va="center"
        )
        return
    if estimate.low is not None and estimate.high is not None:
        axis.plot([estimate.low, estimate.high], [y, y], color=INK, lw=1.4, solid_capstyle="butt")
    axis.plot(estimate.value, y, "D" if whole else "s", color=INK, ms=6 if whole else 5)


# -- calibration and decisions -------------------------------------------------------------------------------------


def _calibration(found: Evaluation) -> "tuple[Figure, str]":
    assert found.calibration is not None  # noqa: S101 (checked by the caller)
    figure, axes = _new(2, 4, 4.3, sharex=True, sharey=True)
    events = found.calibration.events
    panels = [*events[:4], None, *events[4:]]
    values = []
    for axis, event in zip(np.ravel(axes), panels, strict=True):
        if event is None:
            axis.set_visible(False)
            continue
        colour, mark = COLOURS[event.event[-2:]], MARKS[event.event[-2:]]
        axis.plot([0, 1], [0, 1], color=GROUND, lw=1, zorder=0)
        for point in event.curve:
            if point.observed.low is not None:
                axis.plot([point.predicted] * 2, [point.observed.low, point.observed.high], color=colour, lw=1)
        axis.plot([p.predicted for p in event.curve], [p.observed.value for p in event.curve], color=colour, lw=1.2,
                  marker=mark, ms=4)  # fmt: skip
        slope = event.slope.text(2)
        axis.set_title(event.event, fontsize=SIZE, loc="left", fontweight="bold", color=INK)
        axis.text(0.04, 0.96, f"ECE {event.ece.value:.3f}" if event.ece.value is not None else "", fontsize=SIZE - 1.5,
                  transform=axis.transAxes, va="top", color=INK)  # fmt: skip
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        values.append(f"{event.event}: slope {slope}, ECE {event.ece.text()}")
    figure.supxlabel("mean predicted probability", fontsize=SIZE, color=INK)
    figure.supylabel("observed share (95 % interval)", fontsize=SIZE, color=INK)
    return figure, "Calibration curves. " + "; ".join(values) + "."


def _decision_curves(found: Evaluation) -> "tuple[Figure, str]":
    figure, axes = _new(1, 3, 3.1, sharey=True)
    curves = found.decisions.curves
    # The readers of a two-phase study have a separate figure; here they would hide the model's line.
    phases = {column for pair in phase_columns(found.predictions.readers)[0].values() for column in pair}
    others = [name for name in curves[0].net_benefit if name not in {MODEL, TREAT_ALL, TREAT_NONE} | phases]
    looks: dict[str, dict[str, Any]] = {
        TREAT_ALL: {"color": SOFT, "ls": "--", "lw": 1.2},
        TREAT_NONE: {"color": SOFT, "ls": ":", "lw": 1.2},
        MODEL: {"color": COLOURS["T1"], "lw": 2.2},
    }
    for name, colour, dash in zip(others, _cycled(COLOURS, len(others)), _cycled(DASHES, len(others)), strict=True):
        looks[name] = {"color": colour, "ls": dash, "lw": 1.3}
    for axis, curve in zip(axes, curves, strict=True):
        for name, look in looks.items():
            axis.plot(curve.thresholds, curve.net_benefit[name], label=name, **look)
        axis.set(xlim=(0, 1), ylim=(-0.08, max(c.prevalence for c in curves) * 1.06), xticks=[0, 0.25, 0.5, 0.75, 1])
        axis.set_xticklabels(["0", "¼", "½", "¾", "1"])
        axis.set_title(curve.event, fontsize=SIZE, loc="left", fontweight="bold", color=INK)
    axes[0].set_ylabel("net benefit", fontsize=SIZE, color=INK)
    figure.supxlabel("threshold probability", fontsize=SIZE, color=INK)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=SIZE - 1, frameon=False, ncols=4, loc="outside upper left", labelcolor=INK)
    values = "; ".join(
        f"{c.event}: prevalence {c.prevalence:.3f}, at threshold 0.5 {c.net_benefit[MODEL][50]:.3f}" for c in curves
    )
    return figure, f"Net benefit of the model, of treating all and of treating none. {values}."


def _cycled(looks: Mapping[str, Any], n: int) -> list[Any]:
    """Return `n` line styles, starting after the model's own."""
    values = list(looks.values())
    return [values[(1 + i) % len(values)] for i in range(n)]


# -- readers and attention -----------------------------------------------------------------------------------------


def _reader_study(found: Evaluation) -> "tuple[Figure, str]":
    study = found.study
    assert study is not None  # noqa: S101 (checked by the caller)
    figure, axis = _new(1, 1, 1.0 + 0.42 * (len(study.rows) + 1))
    values = []
    for y, row in enumerate(study.rows):
        for phase, shift, fill in ((row.unaided, -0.12, "white"), (row.aided, 0.12, COLOURS["T1"])):
            if phase.low is not None and phase.high is not None:
                axis.plot([phase.low, phase.high], [y + shift] * 2, color=COLOURS["T1"], lw=1.4)
            if phase.value is not None:
                axis.plot(phase.value, y + shift, "o", mfc=fill, mec=COLOURS["T1"], ms=6)
        values.append(f"{row.reader}: unaided {row.unaided.text()}, aided {row.aided.text()}")
    names = [row.reader for row in study.rows]
    if study.model is not None:
        _whisker(axis, study.model.accuracy, len(names), whole=True)
        values.append(f"{study.model.name} {study.model.accuracy.text()}")
        names.append(study.model.name)
    axis.plot([], [], "o", mfc="white", mec=COLOURS["T1"], label="unaided")
    axis.plot([], [], "o", color=COLOURS["T1"], label="aided")
    axis.set_yticks(range(len(names)))
    axis.set_yticklabels(names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    _named(axis, "accuracy (95 % interval)", "")
    _legend(axis, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure, "Reader study. Accuracy: " + "; ".join(values) + "."


def _attention(found: Evaluation) -> "tuple[Figure, str]":
    assert found.attention is not None  # noqa: S101 (checked by the caller)
    dice = found.predictions.numbers(_spelt(found, "dice"))
    assert dice is not None  # noqa: S101
    figure, axis = _new(1, 1, 3.4, 4.9)
    given = [dice[(found.predictions.stages == stage) & ~np.isnan(dice)] for stage in TStage]
    boxes = axis.boxplot([g if len(g) else [np.nan] for g in given], widths=0.5, showfliers=True,
                         medianprops={"color": INK, "lw": 2}, patch_artist=True,
                         flierprops={"marker": ".", "ms": 3, "mfc": SOFT, "mec": SOFT})  # fmt: skip
    for box, stage in zip(boxes["boxes"], TStage, strict=True):
        box.set(facecolor=COLOURS[str(stage)], alpha=0.35, edgecolor=INK)
    measures = found.attention.measures
    for name, (mark, colour) in BASELINE_MARKS.items():
        if name in found.attention.against:
            means = [measures[BASELINES[name]][str(stage)].mean.value for stage in TStage]
            at = [(k + 1, m) for k, m in enumerate(means) if m is not None]
            axis.plot([k for k, _ in at], [m for _, m in at], mark, color=colour, ms=26 if mark == "_" else 8, mew=2,
                      fillstyle="none", label=f"mean Dice of {BASELINE_NAMES[name]}")  # fmt: skip
    if found.attention.against:
        _legend(axis, loc="lower center", bbox_to_anchor=(0.5, 1))
    axis.set_xticks(range(1, 5))
    axis.set_xticklabels([f"{stage}\n(n = {len(g)})" for stage, g in zip(TStage, given, strict=True)])
    axis.set_ylim(-0.02, max(0.3, min(1.0, float(np.nanmax(dice)) * 1.2)))
    _named(axis, "true stage", "Dice of attention and ROI")
    values = "; ".join(f"{name} {one.mean.text()}" for name, one in measures["dice"].items())
    beside = "".join(
        f" {BASELINE_NAMES[name].capitalize()}: {measures[BASELINES[name]]['all'].mean.text()}."
        for name in found.attention.against
    )
    return figure, f"Dice of the attention and the ROI by stage. Mean: {values}.{beside}"


def _spelt(found: Evaluation, name: str) -> str:
    return next(column for column in found.predictions.frame.columns if column.casefold() == name)


__all__ = ["COLOURS", "figures", "file_name"]
