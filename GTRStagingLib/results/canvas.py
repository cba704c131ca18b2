"""Draw texts, slices and outlines on a page of pixels with Pillow, in matplotlib's font.

The page is drawn at its final size, which takes a fraction of the time of a matplotlib figure.
"""

import struct
import unicodedata
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

INK, GREY = "#16202a", "#55606b"
SUPERSAMPLING = 2
"""Factor by which outlines are drawn larger and then reduced, for smooth edges."""

_CASING, _LINE = 5.0, 2.5  # pixels
_DASH, _SPACE = 9.0, 7.0


class Box(NamedTuple):
    """Rectangle of the page in pixels; the right and lower edges lie outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top


@dataclass(frozen=True)
class View:
    """Shown part of the slices, in millimetres from the corner of their field (in pixels without a spacing)."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in millimetres."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in millimetres."""
        return self.bottom - self.top

    def pixels(self, spacing: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return the view in pixels of a slice: left, top, right, bottom, as for Pillow's `resize`."""
        sx, sy = spacing
        return self.left / sx, self.top / sy, self.right / sx, self.bottom / sy


@dataclass(frozen=True)
class Text:
    """Text on the page; `anchor` is Pillow's anchor of a point on its baseline."""

    words: str
    x: float
    y: float
    size: int
    bold: bool
    anchor: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the text, in pixels of the page."""
        left, top, right, bottom = _font(self.size, self.bold).getbbox(self.words, anchor=self.anchor)
        return left + self.x, top + self.y, right + self.x, bottom + self.y


@dataclass(frozen=True)
class Panel:
    """View of a slice on the page.

    Attributes
    ----------
    name
        Name of the panel.
    spacing
        Width and height of a pixel of the slice.
    """

    name: str
    box: Box
    view: View
    spacing: tuple[float, float]

    @property
    def scale(self) -> float:
        """Pixels of the page per millimetre."""
        return self.box.width / self.view.width

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Convert a position in millimetres of the slice's field to x and y on the page."""
        return (
            self.box.left + (x - self.view.left) * self.scale,
            self.box.top + (y - self.view.top) * self.scale,
        )

    def place(self, points: np.ndarray) -> np.ndarray:
        """Convert (N, 2) rows and columns of the slice, 0 at the centre of the first pixel, to x and y on the page."""
        sx, sy = self.spacing
        return np.stack(self.at((points[:, 1] + 0.5) * sx, (points[:, 0] + 0.5) * sy), axis=1)


class Canvas:
    """White page to draw on.

    Attributes
    ----------
    image
        The page.
    texts, panels, outlines
        The drawn objects with their positions; outlines as (panel's name, colour, lines in pixels of the page).
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self.texts: list[Text] = []
        self.panels: list[Panel] = []
        self.outlines: list[tuple[str, str, list[np.ndarray]]] = []
        self._pictures: dict[Any, tuple[np.ndarray, Image.Image]] = {}
        self._pen = ImageDraw.Draw(self.image)

    def cut(self, height: int) -> None:
        """Crop the page to a height."""
        self.image = self.image.crop((0, 0, self.image.width, height))
        self._pen = ImageDraw.Draw(self.image)

    def png(self, about: str) -> bytes:
        """Return the page as a PNG file with a description."""
        return _png(np.asarray(self.image), about)

    # -- words and shapes ----------------------------------------------------------------------------------------

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int,
        *,
        bold: bool = False,
        colour: str = INK,
        side: Literal["left", "middle", "right"] = "left",
        cased: bool = False,
    ) -> None:
        """Draw a line of text with its baseline at y; `cased` adds a black edge, readable on any background."""
        anchor = {"left": "ls", "middle": "ms", "right": "rs"}[side]
        if cased:
            stamp, across, down = _cased(words, size, bold, colour, anchor)
            self.image.paste(stamp, (round(x) + across, round(y) + down), stamp)
        else:
            self._pen.text((x, y), words, fill=colour, font=_font(size, bold), anchor=anchor)
        self.texts.append(Text(words, x, y, size, bold, anchor))

    def paragraph(self, x: float, y: float, words: str, size: int, width: float, *, bold: bool = False) -> float:
        """Draw text in as many lines as needed; return the next baseline."""
        for line in wrapped(words, size, width, bold=bold):
            self.text(x, y, line, size, bold=bold)
            y += round(1.35 * size)
        return y

    def rectangle(self, box: tuple[float, float, float, float], colour: str) -> None:
        """Fill a rectangle; its right and lower edges lie outside."""
        left, top, right, bottom = box
        self._pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def frame(self, box: Box, colour: str, width: int) -> None:
        """Draw a frame around a rectangle, outside it."""
        outside = (box.left - width, box.top - width, box.right + width - 1, box.bottom + width - 1)
        self._pen.rectangle(outside, outline=colour, width=width)

    # -- slices --------------------------------------------------------------------------------------------------

    def panel(self, name: str, box: Box, view: View, grey: np.ndarray, spacing: tuple[float, float]) -> Panel:
        """Draw the view of a slice (uint8) in the middle of a box, with the same scale in both directions."""
        scale = min(box.width / view.width, box.height / view.height)
        width, height = (max(1, round(length * scale)) for length in (view.width, view.height))
        left, top = box.left + (box.width - width) // 2, box.top
        panel = Panel(name, Box(left, top, left + width, top + height), view, spacing)
        self.image.paste(self._enlarged(grey, (width, height), view.pixels(spacing)), (left, top))
        self.panels.append(panel)
        return panel

    def _enlarged(
        self, grey: np.ndarray, size: tuple[int, int], part: tuple[float, float, float, float]
    ) -> Image.Image:
        """Return part of a slice at a size; the same part of the same array is enlarged once."""
        key = id(grey), size, part
        if key not in self._pictures:
            picture = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC, part).convert("RGB")
            self._pictures[key] = grey, picture  # the array is kept, so that its id is not given to another
        return self._pictures[key][1]

    def colour(self, panel: Panel, shares: np.ndarray, colours: np.ndarray) -> None:
        """Draw shares (H, W) of 0 to 1 over the slice, in (256, 4) uint8 colours with opacity."""
        box = panel.box
        index = Image.fromarray((shares * 255 + 0.5).astype(np.uint8))
        fine = index.resize((box.width, box.height), Image.Resampling.BILINEAR, panel.view.pixels(panel.spacing))
        self._tint((box.left, box.top), fine, colours)

    def ramp(self, box: Box, ground: str, colours: np.ndarray) -> None:
        """Draw a bar of the colours from left to right, over a background colour."""
        self.rectangle(box, ground)
        shares = np.linspace(0.5, 255.49, box.width).astype(np.uint8)
        self._tint((box.left, box.top), Image.fromarray(np.tile(shares, (box.height, 1))), colours)

    def _tint(self, corner: tuple[int, int], index: Image.Image, colours: np.ndarray) -> None:
        opacity = index.point(colours[:, 3].tolist())
        index.putpalette(colours[:, :3].tobytes())
        self.image.paste(index.convert("RGB"), corner, opacity)

    def outline(self, panel: Panel, lines: list[np.ndarray], colour: str, *, dashed: bool = False) -> None:
        """Draw lines of `contours` with a dark edge, visible on any background."""
        if not lines:
            return
        lines = [panel.place(line) for line in lines]
        self.outlines.append((panel.name, colour, lines))
        shown = [dash for line in lines for dash in _dashes(line)] if dashed else lines
        self._strokes(panel.box, lines, "black", _CASING, 0.7)
        self._strokes(panel.box, shown, colour, _LINE, 1.0)

    def _strokes(self, box: Box, lines: list[np.ndarray], colour: str, width: float, opacity: float) -> None:
        """Draw smooth lines, cropped to a box."""
        points = np.concatenate(lines)
        low = np.maximum(np.floor(points.min(axis=0) - width), (box.left, box.top)).astype(int)
        high = np.minimum(np.ceil(points.max(axis=0) + width), (box.right, box.bottom)).astype(int)
        if (low >= high).any():
            return
        mask = Image.new("L", tuple((high - low) * SUPERSAMPLING))
        pen = ImageDraw.Draw(mask)
        for line in lines:
            pen.line(
                ((line - low) * SUPERSAMPLING).ravel().tolist(),
                fill=round(255 * opacity),
                width=round(width * SUPERSAMPLING),
            )
        self.image.paste(colour, (*low.tolist(), *high.tolist()), mask.reduce(SUPERSAMPLING))

    def label(self, panel: Panel, words: str, size: int) -> None:
        """Draw text on a dark background in the upper middle of a panel."""
        lines = wrapped(words, size, panel.box.width - 120, bold=True)
        wide = max(_font(size, True).getlength(line) for line in lines) / 2 + 10
        middle, top, step = (panel.box.left + panel.box.right) / 2, panel.box.top + 12, round(1.35 * size)
        self.rectangle((middle - wide, top, middle + wide, top + step * len(lines) + 12), "black")
        for i, line in enumerate(lines):
            self.text(middle, top + step * (i + 1), line, size, bold=True, colour="white", side="middle")

    def scale_bar(self, panel: Panel) -> None:
        """Draw a scale bar in the lower left corner: the round length nearest a fifth of the view."""
        length = min((5, 10, 20, 50, 100, 200), key=lambda mm: abs(mm - panel.view.width / 5))
        x, y = panel.box.left + 14, panel.box.bottom - 18
        end = x + round(length * panel.scale)
        self.rectangle((x - 2, y - 4, end + 2, y + 6), "black")
        self.rectangle((x, y - 2, end, y + 4), "white")
        self.text(x, y - 12, f"{length} mm", 22, colour="white", cased=True)


def contours(values: np.ndarray, level: float) -> list[np.ndarray]:
    """Return the contour lines of a slice at a level, closed at the field's edge: (N, 2) rows and columns each."""
    hot = values >= level
    rows, columns = (np.flatnonzero(hot.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return []
    # The region with a margin of one pixel, and a border below the level.
    top, left = max(rows[0] - 1, 0), max(columns[0] - 1, 0)
    part = values[top : rows[-1] + 2, left : columns[-1] + 2].astype(np.float32)
    padded = np.pad(part, 1, constant_values=min(0.0, float(part.min())))
    return [line + np.array([top - 1, left - 1]) for line in find_contours(padded, level)]


def wrapped(words: str, size: int, width: float, *, bold: bool = False) -> list[str]:
    """Break text into lines of at most a width in pixels."""
    font, rest, lines = _font(size, bold), [word for word in words.split(" ") if word], list[str]()
    while rest:
        candidates = [" ".join(rest[:count]) for count in range(2, len(rest) + 1)]
        count = 1 + bisect_right(candidates, width, key=font.getlength)  # a word too wide has a line of its own
        lines.append(" ".join(rest[:count]))
        rest = rest[count:]
    return lines or [""]


def fitted(words: str, size: int, width: float, *, bold: bool = False) -> int:
    """Return the largest size, at most the given one, at which text fits into a width."""
    return min(size, int(size * width / max(_font(size, bold).getlength(words), 1.0)))


def _png(pixels: np.ndarray, about: str) -> bytes:
    """Return an RGB picture as a PNG file, with the filter "up" and zlib's fastest level.

    Pillow tries five filters on each row, which takes twice as long for a file of the same size.
    """
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    plain = pixels.reshape(height, -1)
    rows[0, 1:] = plain[0]
    np.subtract(plain[1:], plain[:-1], out=rows[1:, 1:])
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"tEXt", b"Description\0" + about.encode("latin-1", "replace")),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    )
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        parts += struct.pack(">I", len(content)), name, content, struct.pack(">I", zlib.crc32(name + content))
    return b"".join(parts)


def is_drawable(words: str) -> bool:
    """Return whether the font can show a text: it has all letters, from left to right, without marks to combine."""
    return all(
        ord(c) in _letters()
        and c.isprintable()
        and unicodedata.bidirectional(c) not in ("R", "AL")
        and not unicodedata.category(c).startswith("M")
        for c in words
    )


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the font has in both weights."""
    plain, bold = (frozenset(FT2Font(_font_file(bold)).get_charmap()) for bold in (False, True))
    return plain & bold


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return the font; its basic layout is the same on every machine."""
    return ImageFont.truetype(_font_file(bold), size, layout_engine=ImageFont.Layout.BASIC)


def _font_file(bold: bool) -> str:
    """Return the file of DejaVu Sans, which matplotlib contains."""
    return str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))


@lru_cache(64)
def _cased(words: str, size: int, bold: bool, colour: str, anchor: str) -> tuple[Image.Image, int, int]:
    """Return text with a black edge as a picture, and the offset of its corner from the text's position."""
    font, edge = _font(size, bold), max(2, size // 10)
    left, top, right, bottom = (int(at) for at in font.getbbox(words, anchor=anchor, stroke_width=edge))
    stamp = Image.new("RGBA", (right - left, bottom - top))
    ImageDraw.Draw(stamp).text(
        (-left, -top), words, fill=colour, font=font, anchor=anchor, stroke_width=edge, stroke_fill="black"
    )
    return stamp, left, top


def _dashes(line: np.ndarray) -> list[np.ndarray]:
    """Cut a line of (N, 2) points into dashes of equal length."""
    along = np.concatenate([[0.0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
    starts = np.arange(0.0, along[-1], _DASH + _SPACE)
    ends = np.minimum(starts + _DASH, along[-1])
    first, last = (np.stack([np.interp(at, along, axis) for axis in line.T], axis=1) for at in (starts, ends))
    inner = zip(np.searchsorted(along, starts, "right"), np.searchsorted(along, ends), strict=True)
    return [np.vstack([a, line[i:j], b]) for (i, j), a, b in zip(inner, first, last, strict=True)]


__all__ = ["GREY", "INK", "SUPERSAMPLING", "Box", "Canvas", "Panel", "Text", "View", "contours", "fitted",
           "is_drawable", "wrapped"]  # fmt: skip
