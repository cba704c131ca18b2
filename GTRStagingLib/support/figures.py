"""Create matplotlib figures and write them reproducibly: the same figure gives the same file.

Neither pyplot nor global settings are used, so that figures can be drawn inside any program.
"""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["pdf", "png", "svg"]

DPI = 300
"""Resolution of a PNG for print, in pixels per inch."""

COLUMN = 88 / 25.4
"""Width of a column of a journal, 88 mm, in inches: text of a figure of this width is printed at its size."""

PAGE = 180 / 25.4
"""Width of two columns of a journal, 180 mm, in inches."""

BLUE, ORANGE = "#0072B2", "#D55E00"
"""Two colours of Okabe and Ito, which readers with a colour vision deficiency tell apart."""

COLOURS = {"T1": "#AE9208", "T2": "#0980B5", "T3": "#912D1A", "T4": "#282A68"}
"""Colours of the stages, darker for higher ones: they differ in grey print and for all kinds of colour vision, and have
a contrast of 3:1 or more with white. The tests measure this by the simulation of Machado et al. 2009."""

DASHES: dict[str, Any] = {"T1": "-", "T2": (0, (6, 2)), "T3": (0, (3, 1.5)), "T4": (0, (6, 1.5, 1.5, 1.5))}
MARKS = {"T1": "o", "T2": "s", "T3": "^", "T4": "D"}
"""Dashes and marks of the lines of the stages."""

FALLBACKS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Microsoft YaHei", "SimHei", "PingFang SC",
             "Hiragino Sans GB", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Arial Unicode MS")  # fmt: skip
"""Fonts of the systems with Chinese, Japanese and Korean letters, which matplotlib's own font lacks."""

SALT = "gtrstaging"
"""Default seed of the ids within an SVG."""


def new_figure(
    width: float,
    height: float,
    *,
    layout: Literal["constrained"] | None = None,
    what: str = "Figures need",
    extra: str = "report",
) -> "Figure":
    """Create a white figure of a width and height in inches, with an Agg canvas.

    Parameters
    ----------
    what, extra
        Start of the error message, and the extra that it names, if matplotlib is not installed.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    agg = import_extra("matplotlib.backends.backend_agg", what, extra)
    made: Figure = import_extra("matplotlib.figure", what, extra).Figure(
        figsize=(width, height), facecolor="white", layout=layout
    )
    agg.FigureCanvasAgg(made)
    return made


def fonts_for(text: str) -> list[str]:
    """Return the fonts that a text needs: matplotlib's own, and the installed `FALLBACKS` if it lacks a letter.

    matplotlib warns of a letter that none of them has, and draws a box in its place.
    """
    own = "DejaVu Sans"
    return [own] if set(map(ord, text)) - {ord("\n")} <= _letters_of(own) else [own, *_installed(FALLBACKS)]


@cache
def _letters_of(font: str) -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(font)).get_charmap())


@cache
def _installed(fonts: tuple[str, ...]) -> list[str]:
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return [font for font in fonts if font in known]


def _with_fonts(figure: "Figure") -> None:
    """Set the fonts of all texts that matplotlib's own font cannot show."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and len(fonts := fonts_for(text.get_text())) > 1:
            text.set_fontfamily(fonts)


def without_spines(axes: "Axes", *sides: Literal["bottom", "left", "right", "top"]) -> None:
    """Hide sides of the frame."""
    for side in sides:
        axes.spines[side].set_visible(False)


def write_figure(
    figure: "Figure",
    target: Path | IO[bytes],
    kind: Kind,
    *,
    dpi: float | None = None,
    about: Mapping[str, str | None] | None = None,
    salt: str = SALT,
) -> None:
    """Write a figure; an SVG contains its text as paths, so that it needs no font.

    Parameters
    ----------
    about
        Metadata, by the names of the format; the date is always left out.
    salt
        Seed of the ids within an SVG: figures on one page need different ones.
    """
    from matplotlib import rc_context

    _with_fonts(figure)
    undated: Mapping[str, None] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(  # the figure's colour, independent of the host's settings
            target, format=kind, dpi=dpi, facecolor=figure.get_facecolor(), metadata={**undated, **(about or {})}
        )


def figure_bytes(figure: "Figure", kind: Kind, **how: Any) -> bytes:
    """Return the bytes that `write_figure` writes."""
    stream = io.BytesIO()
    write_figure(figure, stream, kind, **how)
    return stream.getvalue()


__all__ = [
    "BLUE",
    "COLOURS",
    "COLUMN",
    "DASHES",
    "DPI",
    "MARKS",
    "ORANGE",
    "PAGE",
    "Kind",
    "figure_bytes",
    "fonts_for",
    "new_figure",
    "without_spines",
    "write_figure",
]
