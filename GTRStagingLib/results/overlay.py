"""The picture of a result: the slices that voted, the attention over them on one scale, the ROI, and the stage.

Drawn by matplotlib's own objects: neither pyplot nor any of its global settings is touched, so that it can be drawn
inside any program. Nothing on it names the case.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from GTRStagingLib.imaging.keyslice import CHOICE_IN_WORDS
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support.figures import figure_bytes, new_figure

METHOD_NAMES = {
    "fine": "fine map",
    "gated": "gated decision",
    "gate": "gate",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
}

DPI = 150
WIDTH = 12.0
"""Inches: 1800 pixels."""

SHOWN_FROM = 0.15
"""Share of the maximum below which no heat is drawn, so that the anatomy stays readable."""

OPACITY = (0.08, 0.70)
"""Of the heat at `SHOWN_FROM` and at the maximum."""

_INK, _GREY, _ROI, _THRESHOLD = "#16202a", "#55606b", "#00e5ff", "#ffffff"
_MARGIN, _GAP = 0.35, 0.16  # inches
_HEADER, _STRIP, _PANEL_TITLE, _FOOT = 1.0, 0.40, 0.42, 1.40
_TALLEST = 6.2


@dataclass(frozen=True)
class View:
    """The part of the slices that is shown, in millimetres from the corner of their field (pixels without a size)."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def aspect(self) -> float:
        """Height over width."""
        return (self.bottom - self.top) / (self.right - self.left)


def png(result: StagingResult) -> bytes:
    """The picture as a PNG file of 1800 pixels' width; its metadata carry the warnings too."""
    text = " ".join(filter(None, (RESEARCH_USE_ONLY, result.model.warning)))
    # A tenth larger than at zlib's usual level, in three quarters of the time.
    return figure_bytes(render(result), "png", dpi=DPI, about={"Description": text}, compress_level=3)


def render(result: StagingResult) -> Figure:
    """The picture as a matplotlib figure with an Agg canvas."""
    view = view_of(result)
    n = len(result.slices.offsets)
    room = WIDTH - 2 * _MARGIN - (n - 1) * _GAP
    height = min(room / n * view.aspect, _TALLEST)
    width = height / view.aspect
    strip = _STRIP if result.model.warning else 0.0

    total = _HEADER + strip + _PANEL_TITLE + height + _FOOT
    figure = new_figure(WIDTH, total)
    page = _Page(figure, total)

    _header(page, result)
    if result.model.warning:
        # The name is shortened, never the sentence.
        _warning_strip(page, str(replace(result.model, name=_short(result.model.name)).warning))
    top = total - _HEADER - strip - _PANEL_TITLE
    left = (WIDTH - n * width - (n - 1) * _GAP) / 2
    for position in range(n):
        axes = page.axes(left + position * (width + _GAP), top - height, width, height)
        _panel(axes, result, position, view)
    _footer(page, result)
    return figure


def view_of(result: StagingResult) -> View:
    """The body with a margin, so that the anatomy is large; the whole field where that gains little.

    The ROI and every place of strong attention stay in the view: attention that falls beside the patient is a
    finding, and must not be cut off.
    """
    values = sitk.GetArrayViewFromImage(result.slices.native)
    hu = result.scan.intensity == "HU"
    shown = np.any(result.slices.body if hu else values > 0.05 * values.max(), axis=0)
    if result.roi is not None:
        shown |= sitk.GetArrayViewFromImage(result.roi).any(axis=0)
    heat = sitk.GetArrayViewFromImage(result.heat)
    if heat.max() > 0:
        shown |= (heat >= 0.5 * heat.max()).any(axis=0)
    sx, sy, _ = result.slices.native.GetSpacing()
    rows, columns = np.nonzero(shown.any(axis=1))[0], np.nonzero(shown.any(axis=0))[0]
    full = View(0.0, shown.shape[1] * sx, 0.0, shown.shape[0] * sy)
    if not rows.size:
        return full
    margin = 0.03 * max(full.right, full.bottom)
    view = View(
        max(columns[0] * sx - margin, 0.0),
        min((columns[-1] + 1) * sx + margin, full.right),
        max(rows[0] * sy - margin, 0.0),
        min((rows[-1] + 1) * sy + margin, full.bottom),
    )
    gain = (view.right - view.left) * (view.bottom - view.top) / (full.right * full.bottom)
    return view if gain < 0.85 else full


@dataclass(frozen=True)
class _Page:
    """Places on the figure, in inches from its lower left corner."""

    figure: Figure
    height: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((x / WIDTH, y / self.height, width / WIDTH, height / self.height))

    def text(self, x: float, y: float, words: str, size: float, **style: Any) -> None:
        # Names are people's: a dollar sign in one is no formula.
        style = {"color": _INK, "va": "baseline", "parse_math": False, **style}
        self.figure.text(x / WIDTH, y / self.height, words, fontsize=size, **style)

    def patch(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        place = (x / WIDTH, y / self.height)
        shape = Rectangle(place, width / WIDTH, height / self.height, transform=self.figure.transFigure, **style)
        self.figure.add_artist(shape)


# -- the words around the slices -----------------------------------------------------------------------------------


def vote_in_words(result: StagingResult) -> str:
    """The vote, as in 'unanimous (3 of 3 slices)' or '2 of 3 slices'."""
    prediction = result.prediction
    n = len(prediction.slices)
    if n == 1:
        return "1 slice: no vote"
    count = f"{prediction.votes[prediction.stage]} of {n} slices"
    if prediction.unanimous:
        return f"unanimous ({count})"
    return f"{count}, tied; decided by mean probability" if prediction.tied else count


def _header(page: _Page, result: StagingResult) -> None:
    prediction, card = result.prediction, result.model
    base = page.height - 0.78
    page.text(_MARGIN, base, str(prediction.stage), 44, weight="bold")
    page.text(1.55, base + 0.3, vote_in_words(result), 16, weight="bold")
    means = "    ".join(f"{stage} {share:.2f}" for stage, share in zip(TStage, prediction.probabilities, strict=True))
    against = "" if prediction.mean_probability_stage == prediction.stage else "    (not what the vote says)"
    page.text(1.55, base + 0.01, f"Mean probability    {means}{against}", 12)
    right = WIDTH - _MARGIN
    page.text(right, base + 0.3, "GTR Staging", 12, ha="right", color=_GREY)
    page.text(right, base + 0.01, f"model {_short(card.name)}, recipe {_short(card.recipe.name)}", 12, ha="right")


def _warning_strip(page: _Page, warning: str) -> None:
    y = page.height - _HEADER - 0.3
    page.patch(_MARGIN, y, WIDTH - 2 * _MARGIN, 0.34, facecolor="#b3001b", edgecolor="none")
    size = 12.5 * min(1.0, 110 / len(warning))  # longer ones are written smaller, not cut
    page.text(WIDTH / 2, y + 0.17, warning, size, color="white", weight="bold", ha="center", va="center")


def _footer(page: _Page, result: StagingResult) -> None:
    """Colour bar and legend side by side, and below them what the picture is not for."""
    _colour_bar(page, result)
    if result.roi is not None:
        _legend(page, 7.2, 1.04, _ROI, "solid", f"ROI “{_short(result.segment or 'tumour')}”")
    if (share := _threshold(result)) is not None:
        _legend(page, 7.2, 0.68, _THRESHOLD, (0, (4, 2)), f"attention at {share:g} of the key slice's maximum")
    page.text(7.2, 0.42, f"key slice: {CHOICE_IN_WORDS[result.key_slice.chosen_by]}", 10.5)
    page.text(WIDTH / 2, 0.12, RESEARCH_USE_ONLY, 12, ha="center", weight="bold")


def _colour_bar(page: _Page, result: StagingResult) -> None:
    """The colours as they are drawn: over the grey of soft tissue, and none below what is drawn at all."""
    attention = result.attention
    name = f"attention for {attention.target} ({METHOD_NAMES.get(attention.method, attention.method)})"
    peak = float(sitk.GetArrayViewFromImage(result.heat).max())
    if peak == 0:
        page.text(_MARGIN, 0.9, f"No {name} in any slice", 12, weight="bold")
        return
    bar = page.axes(_MARGIN, 0.82, 6.2, 0.17)
    bar.set_facecolor("0.45")
    ramp = np.linspace(0, peak, 512)[None]
    bar.imshow(heat_colours(ramp, peak), extent=(0, peak, 0, 1), aspect="auto", interpolation="nearest")
    bar.set_yticks([])
    bar.set_xticks([0, peak / 2, peak], ["0", f"{peak / 2:.3g}", f"{peak:.3g}"])
    first, _, last = bar.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    bar.tick_params(labelsize=10.5, length=2.5, pad=2, colors=_INK)
    page.text(_MARGIN, 1.08, f"{name}, raw units; not drawn below {SHOWN_FROM:.0%} of the maximum", 10.5)


def _legend(page: _Page, x: float, y: float, colour: str, dashes: Any, words: str) -> None:
    """A line on a dark ground, as on the slices, and its name."""
    page.patch(x, y - 0.09, 0.5, 0.26, facecolor="0.25", edgecolor="none")
    line = Line2D(
        [(x + 0.07) / WIDTH, (x + 0.43) / WIDTH],
        [(y + 0.04) / page.height] * 2,
        color=colour,
        linewidth=1.8,
        linestyle=dashes,
        transform=page.figure.transFigure,
    )
    page.figure.add_artist(line)
    page.text(x + 0.6, y, words, 10.5)


def _short(name: str) -> str:
    """A name that fits, in letters that the font has."""
    readable = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    return readable if len(readable) <= 24 else readable[:23] + "…"


def _threshold(result: StagingResult) -> float | None:
    """Where the key slice's map was cut for its Dice, if it was."""
    agreement = result.agreement
    if agreement is None or result.attention.empty[result.slices.key]:
        return None
    return agreement.threshold


# -- one slice -----------------------------------------------------------------------------------------------------


def heat_colours(heat: np.ndarray, peak: float) -> np.ndarray:
    """(H, W) raw attention -> (H, W, 4): perceptually even colours whose opacity grows with the attention."""
    share = Normalize(0, peak)(heat).filled(0) if peak > 0 else np.zeros(heat.shape)
    # The lower end of the colour map is black: over a grey picture it would read as anatomy.
    rgba = colormaps["inferno"](0.3 + 0.7 * share)
    low, high = OPACITY
    rgba[..., 3] = np.where(share >= SHOWN_FROM, low + (high - low) * (share - SHOWN_FROM) / (1 - SHOWN_FROM), 0.0)
    return rgba


def slice_label(result: StagingResult, position: int) -> str:
    """A slice by its place, as in 'key slice 57 (S −123.4 mm)' or 'one below (−1)'."""
    offset, key = result.slices.offsets[position], result.key_slice
    if offset == 0:
        if not result.scan.spacing_known:
            return f"key slice {key.index}"
        place = f"(S {signed(key.position_mm)} mm)".replace(" ", "\N{NO-BREAK SPACE}")
        return f"key slice {key.index} {place}"
    count = "one" if abs(offset) == 1 else f"{abs(offset)} slices"
    return f"{count} {'above' if offset > 0 else 'below'} ({'+' if offset > 0 else '−'}{abs(offset)})"


def signed(value: float) -> str:
    """One decimal and a minus sign of its own width."""
    return f"{value:.1f}".replace("-", "−")


def _panel(axes: Axes, result: StagingResult, position: int, view: View) -> None:
    sx, sy, _ = result.slices.native.GetSpacing()
    grey = sitk.GetArrayViewFromImage(result.slices.native)[position]
    extent = (0.0, grey.shape[1] * sx, grey.shape[0] * sy, 0.0)
    low, high = result.model.recipe.window_hu if result.scan.intensity == "HU" else (0.0, 255.0)
    axes.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="antialiased")

    heat = sitk.GetArrayViewFromImage(result.heat)
    peak = float(heat.max())
    casing = [patheffects.withStroke(linewidth=3.2, foreground="black")]
    if result.attention.empty[position]:
        words = f"no attention for {result.attention.target} in this slice"
        axes.text(0.5, 0.97, words, transform=axes.transAxes, color="white", fontsize=12, weight="bold", ha="center",
                  va="top", bbox={"facecolor": "black", "edgecolor": "white", "alpha": 0.8})  # fmt: skip
    else:
        axes.imshow(heat_colours(heat[position], peak), extent=extent, interpolation="nearest")
    if (share := _threshold(result)) is not None and position == result.slices.key:
        _outline(axes, heat[position], share * float(heat[position].max()), (sx, sy), _THRESHOLD, "dashed")
    if result.roi is not None:
        roi = sitk.GetArrayViewFromImage(result.roi)[position]
        _outline(axes, roi, 0.5, (sx, sy), _ROI, "solid")

    axes.set_xlim(view.left, view.right)
    axes.set_ylim(view.bottom, view.top)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    is_key = position == result.slices.key
    for spine in axes.spines.values():
        spine.set_color(_INK)
        spine.set_linewidth(2.5 if is_key else 0.8)
    _panel_title(axes, result, position)
    if result.scan.spacing_known:
        _scale_bar(axes, view)
        for words, x, side in (("R", 0.02, "left"), ("L", 0.98, "right")):
            axes.text(x, 0.5, words, transform=axes.transAxes, color="white", fontsize=15, weight="bold", ha=side,
                      va="center", path_effects=casing)  # fmt: skip


def _panel_title(axes: Axes, result: StagingResult, position: int) -> None:
    one = result.prediction.slices[position]
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "color": _INK, "va": "bottom"}
    weight = "bold" if one.offset == 0 else "normal"
    axes.annotate(slice_label(result, position), (0, 1), (0, 6), fontsize=12, weight=weight, **style)
    share = f"{one.stage}  {one.probabilities[one.stage]:.2f}"
    axes.annotate(share, (1, 1), (0, 6), fontsize=13, weight="bold", ha="right", **style)


def _outline(
    axes: Axes, values: np.ndarray, level: float, spacing: tuple[float, float], colour: str, style: str
) -> None:
    """The line at a level, in a dark casing that keeps it visible on any ground."""
    if not values.min() < level <= values.max():
        return
    # The region and a border below the level, which closes the line where it reaches the edge of the field.
    rows, columns = (np.flatnonzero((values >= level).any(axis=axis)) for axis in (1, 0))
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    part = values[top : rows[-1] + 2, left : columns[-1] + 2].astype(np.float32)
    padded = np.pad(part, 1, constant_values=min(0.0, float(values.min())))
    x = (np.arange(padded.shape[1]) + left - 0.5) * spacing[0]
    y = (np.arange(padded.shape[0]) + top - 0.5) * spacing[1]
    line = axes.contour(x, y, padded, levels=[level], colors=colour, linewidths=1.5, linestyles=style)
    line.set_path_effects([patheffects.Stroke(linewidth=3.0, foreground="black", alpha=0.75), patheffects.Normal()])


def _scale_bar(axes: Axes, view: View) -> None:
    """The round length nearest a fifth of the view."""
    width, height = view.right - view.left, view.bottom - view.top
    length = min((5, 10, 20, 50, 100, 200), key=lambda mm: abs(mm - width / 5))
    x, y = view.left + 0.03 * width, view.bottom - 0.035 * height
    for line_width, colour in ((5.0, "black"), (2.6, "white")):
        axes.plot([x, x + length], [y, y], color=colour, linewidth=line_width, solid_capstyle="butt", zorder=5)
    axes.text(x + length / 2, y - 0.02 * height, f"{length} mm", color="white", fontsize=11, ha="center", va="bottom",
              path_effects=[patheffects.withStroke(linewidth=2.6, foreground="black")])  # fmt: skip


__all__ = ["METHOD_NAMES", "SHOWN_FROM", "View", "heat_colours", "png", "render", "signed", "slice_label",
           "view_of", "vote_in_words"]  # fmt: skip
