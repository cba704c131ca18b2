"""Make figures by matplotlib's own objects, and write them so that the same figure is the same file.

Neither pyplot nor any of its global settings is touched, so that figures can be drawn inside any program.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["pdf", "png", "svg"]

DPI = 200
"""Of a PNG that is printed."""

BLUE, OCHRE, GREEN, RUST = "#0072B2", "#B07A00", "#00805E", "#C44E00"
"""Okabe and Ito's palette, darkened until lines of these colours can be read on white."""

ORANGE = "#D55E00"
"""Theirs as it is, for areas."""

SALT = "gtrstaging"


def new_figure(
    width: float,
    height: float,
    *,
    layout: Literal["constrained"] | None = None,
    what: str = "Figures need",
    extra: str = "report",
) -> "Figure":
    """A white figure of so many inches, with an Agg canvas.

    Parameters
    ----------
    what, extra
        The beginning of the sentence, and the optional part, that are told where matplotlib is not installed.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    agg = import_extra("matplotlib.backends.backend_agg", what, extra)
    made: Figure = import_extra("matplotlib.figure", what, extra).Figure(
        figsize=(width, height), facecolor="white", layout=layout
    )
    agg.FigureCanvasAgg(made)
    return made


def without_spines(axes: "Axes", *sides: Literal["bottom", "left", "right", "top"]) -> None:
    """Hide these sides of the frame."""
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
    """Write a figure, its letters as shapes where it is an SVG, so that no font is needed to read it.

    Parameters
    ----------
    about
        Metadata, in the names of the format; the time is left out of all.
    salt
        What the ids within an SVG are made of: figures on one page take different ones.
    """
    from matplotlib import rc_context

    undated: Mapping[str, None] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(  # its own colour, whatever the host's settings say
            target, format=kind, dpi=dpi, facecolor=figure.get_facecolor(), metadata={**undated, **(about or {})}
        )


def figure_bytes(figure: "Figure", kind: Kind, **how: Any) -> bytes:
    """What `write_figure` would write."""
    stream = io.BytesIO()
    write_figure(figure, stream, kind, **how)
    return stream.getvalue()


__all__ = ["BLUE", "DPI", "GREEN", "OCHRE", "ORANGE", "RUST", "Kind", "figure_bytes", "new_figure", "without_spines",
           "write_figure"]  # fmt: skip
