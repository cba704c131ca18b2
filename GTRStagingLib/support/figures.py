"""Create matplotlib figures and write them reproducibly: the same figure gives the same file.

Neither pyplot nor global settings are used, so that figures can be drawn inside any program.
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

DPI = 300
"""Resolution of a PNG for print, in pixels per inch."""

COLUMN = 88 / 25.4
"""Width of a column of a journal, 88 mm, in inches: text of a figure of this width is printed at its size."""

BLUE, ORANGE = "#0072B2", "#D55E00"
"""Two colours of Okabe and Ito, which readers with a colour vision deficiency tell apart."""

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


__all__ = ["BLUE", "COLUMN", "DPI", "ORANGE", "Kind", "figure_bytes", "new_figure", "without_spines", "write_figure"]
