"""Draw the picture of a result: the voting slices with the attention on one scale, the ROI, and the stage.

The picture shows the whole key slice and two close-ups, first without and then with the attention, so that the reader
sees the wall before the map. It does not contain the name of the case.
"""

from dataclasses import replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib import colormaps

from GTRStagingLib.imaging.geometry import empty_grid, grid_of
from GTRStagingLib.imaging.keyslice import CHOICE_IN_WORDS
from GTRStagingLib.model.several import members_of
from GTRStagingLib.results.canvas import GREY, INK, Box, Canvas, Panel, View, contours, fitted, is_drawable
from GTRStagingLib.results.words import (
    METHOD_NAMES,
    empty_in_words,
    likeness,
    likeness_in_words,
    looks_in_words,
    map_name,
    scale_in_words,
    slice_label,
    stage_set_in_short,
    vote_in_words,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.result import StagingResult

WIDTH = 1800
"""Width in pixels. A report shows the picture half as wide, so that text of size 24 is as large as the page's text."""

SHOWN_FROM = 0.25
"""Share of the maximum below which the attention is not drawn, so that the anatomy stays visible."""

OPACITY = (0.15, 0.5)
"""Opacity of the attention at `SHOWN_FROM` and at the maximum."""

CLOSE_UP_MM = 90.0
"""Side of the close-up, in which a wall of 5 mm is 30 pixels wide."""

FARTHEST_MM = 150.0
"""Side up to which the close-up is enlarged to show the whole ROI."""

_ROI, _THRESHOLD = "#00e5ff", "#ffffff"
_MARGIN, _GAP = 40, 20
_LEFT, _CLOSE = 580, 550  # widths of the columns: the whole slice with its neighbours, and each close-up
_TITLE, _BODY, _SMALL = 28, 24, 22  # sizes of text
_SMALL_WIDTH = 480  # width of each of two pictures side by side
_SHARE_OF_FIELD = 0.3  # side of the close-up without a spacing
_TALL = 2400


def png(result: StagingResult) -> bytes:
    """Return the picture as a PNG file 1800 pixels wide, with the warnings in its metadata."""
    return render(result).png(" ".join(filter(None, (RESEARCH_USE_ONLY, result.model.warning))))


def render(result: StagingResult) -> Canvas:
    """Draw the picture on a canvas."""
    page = Canvas(WIDTH, _TALL)
    y = _likeness(page, _header(page, result), result)
    for card in members_of(result.model):
        if card.warning:
            # Only the model's name may be shortened, not the warning.
            y = _warning_strip(page, y, str(replace(card, name=_short(card.name)).warning))
    slices = _Slices(result, result.attention, sitk.GetArrayViewFromImage(result.heat))
    near = close_up_of(result)
    left = _whole_and_neighbours(page, y, slices, near)
    right = _close_ups(page, y, slices, near)
    y = _map_check(page, max(left, right) + 30, result)
    page.text(WIDTH / 2, y + 34, RESEARCH_USE_ONLY, _BODY, bold=True, side="middle")
    page.cut(y + 56)
    return page


def small_png(result: StagingResult, attention: Attention) -> bytes:
    """Return a small picture of the whole key slice with one map, on that map's own scale, as a PNG file."""
    key = result.slices.key
    heat = sitk.GetArrayViewFromImage(result.heat)
    if attention is not result.attention:
        heat = np.zeros_like(heat)
        heat[key] = _on_slice(result, attention, key)  # the others are not needed
    slices = _Slices(result, attention, heat)
    view = view_of(result)
    height = min(round(_SMALL_WIDTH * view.height / view.width), _SMALL_WIDTH)
    page = Canvas(_SMALL_WIDTH, height)
    slices.draw(page, "small", Box(0, 0, _SMALL_WIDTH, height), view, key)
    return page.png(RESEARCH_USE_ONLY)


def _on_slice(result: StagingResult, attention: Attention, position: int) -> np.ndarray:
    """Return the map of one slice on the acquired slice, (H, W)."""
    one = slice(position, position + 1)
    alone = replace(attention, maps=attention.maps[one], mapped=attention.mapped[one], grid=attention.grid[:, :, one])
    native = grid_of(result.slices.native)[:, :, one]
    on_it = alone.on(empty_grid(native.size, native.spacing, native.origin, native.direction))
    heat: np.ndarray = sitk.GetArrayFromImage(on_it)[0]
    return heat


# -- views and slices ----------------------------------------------------------------------------------------------


def view_of(result: StagingResult) -> View:
    """Return a view of the body with a margin; the whole field if the body fills most of it.

    The view includes the ROI and all strong attention: attention beside the patient is an error of the map, and must
    not be cropped.
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
    return view if view.width * view.height < 0.85 * full.width * full.height else full


def close_up_of(result: StagingResult) -> View:
    """Return a square of the key slice around the strongest attention, with the ROI if it is near."""
    key = result.slices.key
    heat = sitk.GetArrayViewFromImage(result.heat)[key]
    sx, sy, _ = result.slices.native.GetSpacing()
    height, width = heat.shape[0] * sy, heat.shape[1] * sx
    known = result.scan.spacing_known
    side = CLOSE_UP_MM if known else _SHARE_OF_FIELD * max(height, width)
    farthest = FARTHEST_MM if known else 2 * side
    roi = None
    if result.roi is not None:
        rows, columns = np.nonzero(sitk.GetArrayViewFromImage(result.roi)[key])
        if rows.size:
            roi = (columns.min() * sx, (columns.max() + 1) * sx, rows.min() * sy, (rows.max() + 1) * sy)
    if heat.max() > 0:
        x, y = _centre_of(heat, (sx, sy), side)
    elif roi is not None:
        x, y = (roi[0] + roi[1]) / 2, (roi[2] + roi[3]) / 2
    else:
        body = view_of(result)
        x, y = (body.left + body.right) / 2, (body.top + body.bottom) / 2
    square = (x - side / 2, x + side / 2, y - side / 2, y + side / 2)
    if roi is not None:
        margin = 0.05 * side
        left, right = min(square[0], roi[0] - margin), max(square[1], roi[1] + margin)
        top, bottom = min(square[2], roi[2] - margin), max(square[3], roi[3] + margin)
        larger = max(right - left, bottom - top)
        if larger <= farthest:  # else the ROI is far away; the view of the whole slice shows it
            x, y, side = (left + right) / 2, (top + bottom) / 2, larger
    return View(*_interval_within(x, side, width), *_interval_within(y, side, height))


def _centre_of(heat: np.ndarray, spacing: tuple[float, float], side: float) -> tuple[float, float]:
    """Return the centre of the strong attention near the map's peak: x and y in mm."""
    rows, columns = np.nonzero(heat >= 0.5 * heat.max())
    at = np.stack([(columns + 0.5) * spacing[0], (rows + 0.5) * spacing[1]])
    weights = heat[rows, columns]
    place = at[:, [weights.argmax()]]
    for _ in range(5):  # moves from the peak to the centre of the attention near it; distant attention has no effect
        near = (np.abs(at - place) <= side / 2).all(axis=0)
        before, place = place, np.average(at[:, near], axis=1, weights=weights[near])[:, None]
        if np.abs(place - before).max() < 0.01 * side:
            break
    return float(place[0, 0]), float(place[1, 0])


def _interval_within(middle: float, side: float, length: float) -> tuple[float, float]:
    """Return the interval around a middle, moved so that it lies within the field."""
    side = min(side, length)
    start = min(max(middle - side / 2, 0.0), length - side)
    return start, start + side


class _Slices:
    """Slices of a result in grey with a map; `heat` is (S, H, W)."""

    def __init__(self, result: StagingResult, attention: Attention, heat: np.ndarray) -> None:
        self.result, self.attention, self.heat = result, attention, heat
        self.key = result.slices.key
        self.spacing = result.slices.native.GetSpacing()[:2]
        self.peak = float(heat.max())
        self._greys: dict[int, np.ndarray] = {}
        self._rois: dict[int, list[np.ndarray]] = {}

    def _grey(self, position: int) -> np.ndarray:
        """Return a slice in the recipe's window, uint8; the same array at each call."""
        if position in self._greys:
            return self._greys[position]
        result = self.result
        low, high = result.model.recipe.window_hu if result.scan.intensity == "HU" else (0.0, 255.0)
        native = sitk.GetArrayViewFromImage(result.slices.native)[position].astype(np.float32)
        grey: np.ndarray = ((native - low) * (255 / (high - low)) + 0.5).clip(0, 255).astype(np.uint8)
        self._greys[position] = grey
        return grey

    @cached_property
    def _threshold_outline(self) -> list[np.ndarray]:
        """Outlines of the key slice's map at the threshold."""
        share = _threshold(self.result)
        heat = self.heat[self.key]
        return [] if share is None else contours(heat, share * float(heat.max()))

    def _roi_outline(self, position: int) -> list[np.ndarray]:
        """Return the ROI's outlines on a slice."""
        if self.result.roi is None:
            return []
        if position not in self._rois:
            self._rois[position] = contours(sitk.GetArrayViewFromImage(self.result.roi)[position], 0.5)
        return self._rois[position]

    def draw(self, page: Canvas, name: str, box: Box, view: View, position: int, *, plain: bool = False) -> Panel:
        """Draw the view of a slice; unless `plain`, with its map and outlines."""
        panel = page.panel(name, box, view, self._grey(position), self.spacing)
        if not plain:
            self._draw_map(page, panel, position)
        page.frame(panel.box, INK, 2)
        if self.result.scan.spacing_known:
            inner = panel.box
            page.text(inner.left + 10, inner.top + 32, "R", _TITLE, bold=True, colour="white", cased=True)
            page.text(
                inner.right - 10, inner.top + 32, "L", _TITLE, bold=True, colour="white", cased=True, side="right"
            )
            if position == self.key:
                page.scale_bar(panel)
        return panel

    def _draw_map(self, page: Canvas, panel: Panel, position: int) -> None:
        nothing = empty_in_words(self.attention, position)
        if nothing is None:
            page.colour(panel, self.heat[position] / self.peak, _colours())
            if position == self.key:
                page.outline(panel, self._threshold_outline, _THRESHOLD, dashed=True)
        page.outline(panel, self._roi_outline(position), _ROI)
        if nothing is not None and position == self.key:  # a neighbouring slice is too small for a text
            page.label(panel, nothing, _SMALL)


def _threshold(result: StagingResult) -> float | None:
    """Return the threshold of the key slice's map for Dice; None without Dice."""
    agreement = result.agreement
    if agreement is None or empty_in_words(result.attention, result.slices.key) is not None:
        return None
    return agreement.threshold


def heat_colours(heat: np.ndarray, peak: float) -> np.ndarray:
    """Convert (H, W) raw attention to (H, W, 4) colours, perceptually uniform, with opacity that grows with it."""
    share = np.clip(heat / peak, 0.0, 1.0) if peak > 0 else np.zeros(heat.shape)
    # The ends of the colour map are black and nearly white, which would look like anatomy over a grey picture.
    rgba: np.ndarray = colormaps["inferno"](0.3 + 0.55 * share)
    low, high = OPACITY
    rgba[..., 3] = np.where(share >= SHOWN_FROM, low + (high - low) * (share - SHOWN_FROM) / (1 - SHOWN_FROM), 0.0)
    return rgba


@cache
def _colours() -> np.ndarray:
    """Return the colours of 256 shares, as bytes."""
    return np.round(255 * heat_colours(np.linspace(0.0, 1.0, 256)[None], 1.0)[0]).astype(np.uint8)


# -- the columns ---------------------------------------------------------------------------------------------------


def _whole_and_neighbours(page: Canvas, y: int, slices: _Slices, near: View) -> int:
    """Draw the whole key slice, and the neighbouring slices below it; return their lower end."""
    view = view_of(slices.result)
    box = Box(_MARGIN, y + 46, _MARGIN + _LEFT, y + 46 + min(round(_LEFT * view.height / view.width), _CLOSE))
    _slice_title(page, box, slices.result, slices.key, _BODY)
    panel = slices.draw(page, "whole", box, view, slices.key)
    _frame_close_up(page, panel, near)
    lower = end = box.bottom
    neighbours = [i for i in range(len(slices.result.slices.offsets)) if i != slices.key]
    width = (_LEFT - _GAP) // 2
    height = min(round(width * view.height / view.width), width)
    for column, position in enumerate(neighbours):
        left = _MARGIN + column * (width + _GAP)
        box = Box(left, end + 50, left + width, end + 50 + height)
        _slice_title(page, box, slices.result, position, _SMALL)
        slices.draw(page, f"neighbour {position}", box, view, position)
        if (nothing := empty_in_words(slices.attention, position)) is not None:
            lower = max(lower, round(page.paragraph(left, box.bottom + 30, nothing, _SMALL, width)) - 30)
        lower = max(lower, box.bottom)
    end = lower + 40
    choice = f"key slice: {CHOICE_IN_WORDS[slices.result.key_slice.chosen_by]}"
    page.text(_MARGIN, end, choice, fitted(choice, _SMALL, _LEFT))
    return end


def _frame_close_up(page: Canvas, panel: Panel, near: View) -> None:
    """Frame the part of the whole slice that the close-ups show."""
    (left, top), (right, bottom) = panel.at(near.left, near.top), panel.at(near.right, near.bottom)
    box = Box(
        max(round(left), panel.box.left + 3),
        max(round(top), panel.box.top + 3),
        min(round(right), panel.box.right - 3),
        min(round(bottom), panel.box.bottom - 3),
    )
    page.frame(box, "white", 2)


def _slice_title(page: Canvas, box: Box, result: StagingResult, position: int, size: int) -> None:
    """Write a slice's position and its vote."""
    one = result.prediction.slices[position]
    page.text(box.left, box.top - 12, slice_label(result, position), size, bold=one.offset == 0)
    share = f"{one.stage} {one.probabilities[one.stage]:.2f}"
    page.text(box.right, box.top - 12, share, size, bold=True, side="right")


def _close_ups(page: Canvas, y: int, slices: _Slices, near: View) -> int:
    """Draw the close-ups without and with the attention, and the legend below; return their lower end."""
    result = slices.result
    size = f"close-up, {near.width:.0f} mm" if result.scan.spacing_known else "close-up"
    first = _MARGIN + _LEFT + _GAP
    for column, (words, plain) in enumerate(((f"{size}, CT alone", True), ("the same with the attention", False))):
        left = first + column * (_CLOSE + _GAP)
        box = Box(left, y + 46, left + _CLOSE, y + 46 + _CLOSE)
        page.text(left, y + 34, words, _BODY, bold=True)
        slices.draw(page, "plain" if plain else "close-up", box, near, slices.key, plain=plain)
    y += 46 + _CLOSE
    lines = _legend(page, first, y + 40, result)
    return max(lines, _colour_bar(page, first + _CLOSE + _GAP, y + 40, slices))


# -- texts ---------------------------------------------------------------------------------------------------------


def _header(page: Canvas, result: StagingResult) -> int:
    """Write the stage, the vote, the stage set and the model; return their lower end."""
    prediction, card = result.prediction, result.model
    page.text(_MARGIN, 112, str(prediction.stage), 96, bold=True)
    page.text(210, 70, vote_in_words(result), 34, bold=True)
    means = "   ".join(f"{stage} {share:.2f}" for stage, share in zip(TStage, prediction.probabilities, strict=True))
    contradiction = "" if prediction.mean_probability_stage == prediction.stage else "   (differs from the vote)"
    page.text(210, 112, f"Mean probability   {means}{contradiction}", _BODY)
    right = WIDTH - _MARGIN
    page.text(right, 70, "GTR Staging", _BODY, side="right", colour=GREY)
    models = len(members_of(card))
    model = f"model {_short(card.name)}" if models == 1 else f"{models} models"
    page.text(right, 112, f"{model}, recipe {_short(card.recipe.name)}", _BODY, side="right")
    page.text(210, 152, stage_set_in_short(result), _BODY, bold=True)
    if (looks := looks_in_words(result)) is None:
        return 172
    page.text(210, 192, looks, _BODY, bold=True)
    return 212


def _likeness(page: Canvas, y: int, result: StagingResult) -> int:
    """Write whether the case is like the training, 'unlike' as large as the stage; return the lower end."""
    familiarity = result.familiarity
    name, sentence = likeness(familiarity), likeness_in_words(familiarity)
    inner = WIDTH - 2 * _MARGIN
    if familiarity.verdict != "unlike":
        open_ = familiarity.verdict == "unusual" or bool(familiarity.reasons)
        colour = "#8a5a00" if open_ else GREY
        text = name[0].upper() + name[1:]
        page.text(_MARGIN, y + 26, text, _BODY, bold=True, colour=colour)
        if not open_:
            return y + 40
        return round(page.paragraph(_MARGIN, y + 60, sentence, _SMALL, inner))
    page.rectangle((_MARGIN, y, WIDTH - _MARGIN, y + 116), "#b3001b")
    page.text(WIDTH / 2, y + 92, name, 96, bold=True, colour="white", side="middle")
    return round(page.paragraph(_MARGIN, y + 152, sentence, _BODY, inner, bold=True))


def _warning_strip(page: Canvas, y: int, warning: str) -> int:
    """Write the model's warning on a red strip; return its lower end."""
    inner = WIDTH - 2 * _MARGIN
    page.rectangle((_MARGIN, y, WIDTH - _MARGIN, y + 52), "#b3001b")
    size = fitted(warning, _BODY, inner - 30, bold=True)  # a longer warning is written smaller, not shortened
    page.text(WIDTH / 2, y + 26 + 0.36 * size, warning, size, bold=True, colour="white", side="middle")
    return y + 62


def _legend(page: Canvas, x: int, y: int, result: StagingResult) -> int:
    """Explain the outlines; return the lower end of the legend."""
    if result.roi is not None:
        _legend_line(page, x, y, _ROI, dashed=False)
        page.text(x + 80, y, _roi_name(result), _BODY)
        y += 42
    if (share := _threshold(result)) is not None:
        _legend_line(page, x, y, _THRESHOLD, dashed=True)
        page.text(x + 80, y, f"{share:g} of the key slice's maximum", _BODY)
        y += 42
    return y - 42


def _legend_line(page: Canvas, x: int, y: int, colour: str, *, dashed: bool) -> None:
    """Draw a sample of an outline on a dark background."""
    page.rectangle((x, y - 26, x + 64, y + 8), "#404040")
    for start in (8, 25, 42) if dashed else (8,):
        page.rectangle((x + start, y - 11, x + start + (12 if dashed else 48), y - 7), colour)


def _colour_bar(page: Canvas, x: int, y: int, slices: _Slices) -> int:
    """Draw the colour bar, over the grey of soft tissue; return its lower end."""
    name = map_name(slices.attention)
    if slices.peak == 0:
        return round(page.paragraph(x, y, f"No {name} in any slice", _BODY, _CLOSE, bold=True))
    page.text(x, y, name, fitted(name, _BODY, _CLOSE, bold=True), bold=True)
    y += 16
    bar = Box(x, y, x + _CLOSE, y + 28)
    page.ramp(bar, "#737373", _colours())
    page.frame(bar, INK, 1)
    sides: tuple[Any, ...] = ("left", "middle", "right")
    for share, side in zip((0.0, 0.5, 1.0), sides, strict=True):
        value = f"{share * slices.peak:.3g}"
        page.text(x + share * _CLOSE, y + 56, value, _SMALL, side=side)
    scale = "raw units" if slices.result.looks is None else scale_in_words(slices.result)
    note = f"{scale}; not drawn below {SHOWN_FROM:.0%} of the maximum"
    if slices.result.looks is not None:
        return round(page.paragraph(x, y + 90, note, _SMALL, _CLOSE))
    page.text(x, y + 90, note, _SMALL, colour=GREY)
    return y + 96


def _map_check(page: Canvas, y: int, result: StagingResult) -> int:
    """Write the check of the model's map; return its lower end."""
    colour = {"passed": "#1a6b3c", "failed": "#b3001b", "not checked": "#8a5a00"}[result.map_verdict]
    end = page.paragraph(_MARGIN + 24, y + 24, result.map_check, _BODY, WIDTH - 2 * _MARGIN - 24, bold=True)
    page.rectangle((_MARGIN, y - 2, _MARGIN + 8, end - 20), colour)
    return round(end)


def _roi_name(result: StagingResult) -> str:
    """Return the name of the ROI, or its number if the font lacks a letter; the report contains both."""
    name = result.segment or "tumour"
    if is_drawable(name):
        return f"ROI “{_short(name)}”"
    return "ROI (name in the report)" if result.segment_number is None else f"ROI: segment {result.segment_number}"


def _short(name: str) -> str:
    """Shorten a name to 24 characters, with a question mark for each that the font lacks."""
    readable = "".join(c if is_drawable(c) else "?" for c in name)
    return readable if len(readable) <= 24 else readable[:23] + "…"


__all__ = ["CLOSE_UP_MM", "METHOD_NAMES", "OPACITY", "SHOWN_FROM", "close_up_of", "heat_colours", "png", "render",
           "small_png", "view_of"]  # fmt: skip
