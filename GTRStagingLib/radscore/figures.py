"""Draw three figures of a Rad-score: cross-validated error, coefficient paths, and largest coefficients.

The figures use matplotlib objects, as `results.overlay` does, without pyplot and its global settings.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from GTRStagingLib.radscore.fit import Fit
from GTRStagingLib.radscore.radscore import RadScore
from GTRStagingLib.support import extras
from GTRStagingLib.support.figures import BLUE, COLUMN, DPI, ORANGE, new_figure, without_spines, write_figure
from GTRStagingLib.support.files import replace_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP = 30
"""Number of bars, as in Fig. 4a of the paper."""

GREY = "#555555"
"""Third colour beside blue, which is darker in grey print, and orange, which is also hatched."""

SIZES = {"title": 7.5, "label": 7, "tick": 6.5, "small": 6.5}
"""Sizes of text in points, in print as well, since the figures are as wide as a journal's column."""


def _figure(height: float) -> "Figure":
    return new_figure(COLUMN, height, layout="constrained", extra="evaluate")


def _dressed(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=SIZES["title"], loc="left", pad=5)
    axes.set_xlabel(x, fontsize=SIZES["label"])
    axes.set_ylabel(y, fontsize=SIZES["label"])
    axes.tick_params(labelsize=SIZES["tick"])
    without_spines(axes, "right")


def _legend(figure: "Figure") -> None:
    """Add a legend below the axes, where it hides no data."""
    legend = figure.legend(fontsize=SIZES["small"], frameon=False, loc="outside lower center", ncols=1)
    for line in legend.get_lines():
        line.set_linewidth(max(0.9, line.get_linewidth()))


def _penalty_axis(axes: "Axes", fit: Fit) -> None:
    """Format the axis of penalties as in glmnet, the largest at the right, with the number of features at the top."""
    ticker = extras.import_extra("matplotlib.ticker", "Figures need", "evaluate")
    penalties, kept = fit.path.penalties, fit.path.kept
    axes.set_xscale("log")
    low, high = float(penalties[-1]), float(penalties[0])
    axes.set_xlim(low / 1.05, high * 1.05)
    digits = [1.0, 2.0, 5.0] if high < 50 * low else [1.0]
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=digits))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    top = axes.secondary_xaxis("top")
    shown = np.unique(np.linspace(0, len(penalties) - 1, 9).round().astype(int))
    top.xaxis.set_major_locator(ticker.FixedLocator(penalties[shown].tolist()))
    top.xaxis.set_major_formatter(ticker.FixedFormatter([str(kept[i]) for i in shown]))
    top.xaxis.set_minor_locator(ticker.NullLocator())
    top.tick_params(labelsize=SIZES["tick"])
    top.set_xlabel("Features kept", fontsize=SIZES["label"])


def _mark_choice(axes: "Axes", fit: Fit) -> None:
    rule, path = fit.radscore.record["rule"], fit.path
    least, within = path.chosen("min"), path.chosen("1se")
    choices: list[tuple[int, str, Any, str]] = [
        (least, "min", "--", "least error"), (within, "1se", ":", "largest penalty within 1 SE"),
    ]  # fmt: skip
    for index, name, line, words in choices:
        taken = " (chosen)" * (name == rule)
        label = f"{words}: {path.penalties[index]:.3g}, keeps {path.kept[index]}{taken}"
        axes.axvline(path.penalties[index], color="black", linestyle=line, linewidth=0.9, label=label)


def error_figure(fit: Fit) -> "Figure":
    """Draw the cross-validated error along the penalties, with its standard error, and both choices."""
    figure = _figure(3.0)
    axes, path = figure.add_subplot(), fit.path
    low, high = path.errors - path.standard_errors, path.errors + path.standard_errors
    axes.fill_between(path.penalties, low, high, color=BLUE, alpha=0.22, linewidth=0, label="± 1 standard error (SE)")
    axes.plot(path.penalties, path.errors, color=BLUE, linewidth=1.4, label="error of held-out patients")
    _mark_choice(axes, fit)
    _penalty_axis(axes, fit)
    folds = fit.radscore.record["folds"]["number"]
    title = f"Choice of the penalty: {folds} folds by patient"
    _dressed(axes, title, "Penalty (log scale)", "Mean squared error (stages²)")
    _legend(figure)
    return figure


def paths_figure(fit: Fit) -> "Figure":
    """Draw the coefficients along the penalties; those of the Rad-score are highlighted."""
    figure = _figure(3.0)
    axes, path = figure.add_subplot(), fit.path
    kept = set(fit.radscore.indices)
    ever = np.flatnonzero(path.coefficients.any(axis=1))
    thin = min(1.0, (60 / max(len(ever), 1)) ** 0.5)
    labels = {True: f"in the Rad-score ({len(kept)})", False: f"not in it ({len(set(ever.tolist()) - kept)})"}
    for chosen, colour, width in ((False, "#AAAAAA", 0.6 * thin), (True, BLUE, 0.9 * thin)):
        label: str | None = labels[chosen]
        for feature in ever:
            if (int(feature) in kept) == chosen:
                axes.plot(path.penalties, path.coefficients[feature], color=colour, linewidth=width, label=label)
                label = None
    axes.axhline(0, color=GREY, linewidth=0.8)
    _mark_choice(axes, fit)
    _penalty_axis(axes, fit)
    _dressed(axes, "Coefficients along the penalty", "Penalty (log scale)", "Coefficient (stages per SD)")
    _legend(figure)
    return figure


def coefficients_figure(radscore: RadScore) -> "Figure":
    """Draw the `TOP` coefficients of largest magnitude, the largest at the top."""
    order = np.argsort(-np.abs(radscore.coefficients), kind="stable")[:TOP]
    values = np.array(radscore.coefficients)[order]
    figure = _figure(max(1.5, 0.85 + 0.12 * len(order)))
    axes = figure.add_subplot()
    for sign, colour, hatch, words in ((1, BLUE, "", "higher stage"), (-1, ORANGE, "////", "lower stage")):
        rows = np.flatnonzero(np.sign(values) == sign)
        if len(rows):
            axes.barh(rows, values[rows], color=colour, hatch=hatch, edgecolor="white", linewidth=0.5,
                      label=f"higher value: {words}")  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.9)
    axes.set_yticks(range(len(order)), [radscore.names[i] for i in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    many = len(radscore.coefficients)
    title = f"The {len(order)} largest of {many} coefficients" if many > len(order) else f"All {many} coefficients"
    _dressed(axes, title, "Coefficient (stages per SD of the feature)", "Feature")
    axes.tick_params(axis="y", labelsize=SIZES["small"])
    without_spines(axes, "top")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    _legend(figure)
    return figure


def write_figures(fit: Fit, folder: Path, stem: str) -> list[Path]:
    """Write `STEM-error`, `STEM-paths` and `STEM-coefficients`, as PNG and SVG, and return their paths.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    figures = {
        "error": error_figure(fit),
        "paths": paths_figure(fit),
        "coefficients": coefficients_figure(fit.radscore),
    }
    names = [f"{stem}-{kind}{suffix}" for kind in figures for suffix in (".png", ".svg")]
    with replace_files(folder, names) as work:
        for kind, figure in figures.items():
            write_figure(figure, work / f"{stem}-{kind}.png", "png", dpi=DPI, about={"Software": None})
            write_figure(figure, work / f"{stem}-{kind}.svg", "svg")
    return [folder / name for name in names]


__all__ = ["TOP", "coefficients_figure", "error_figure", "paths_figure", "write_figures"]
