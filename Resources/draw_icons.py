"""Draws the modules' icons and the sample data's thumbnails: `python Resources/draw_icons.py`."""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "GTRStaging"))

from GTRStagingSlicer.samples import ICONS, SEEDS  # noqa: E402

from GTRStagingLib.imaging import keyslice  # noqa: E402
from GTRStagingLib.phantoms.phantom import make_phantom  # noqa: E402
from GTRStagingLib.results.overlay import heat_colours  # noqa: E402
from GTRStagingLib.stages import TStage  # noqa: E402

READING_ICONS = ROOT / "GTRReading" / "Resources" / "Icons"


def canvas(width, height):
    """A figure of so many pixels, its axes over all of it, counted from the upper left."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


def slice_icon(middle):
    """An axial slice with its middle at a height of the picture: the body, the spine, the stomach's wall."""
    figure, axes = canvas(128, 128)
    figure.patch.set_alpha(0)
    axes.add_patch(
        FancyBboxPatch((4, 4), 120, 120, boxstyle="round,pad=0,rounding_size=20", fc="#10161d", ec="#4c5b6b")
    )
    axes.add_patch(Ellipse((64, middle), 104, 82, fc="#56616d", ec="#8b98a5", lw=2))
    axes.add_patch(Ellipse((64, middle + 26), 22, 18, fc="#d9dee3", ec="none"))
    axes.add_patch(Ellipse((72, middle - 12), 48, 32, angle=-18, fc="#141a21", ec="#b9c3cd", lw=6))
    return figure, axes


def icon():
    """An axial slice with heat where the stomach's wall is thick."""
    figure, axes = slice_icon(64)
    y, x = np.mgrid[0:128, 0:128]
    heat = np.exp(-(((x - 92) / 15) ** 2 + ((y - 47) / 13) ** 2) / 1.1)
    axes.imshow(heat_colours(heat, 1.0), extent=(0, 128, 128, 0), interpolation="bilinear", zorder=5)
    axes.text(17, 112, "T", color="white", fontsize=23, weight="bold", zorder=6)
    figure.savefig(ICONS / "GTRStaging.png", transparent=True)


def reading_icon():
    """The same slice without heat, and the pen of a reader who writes."""
    figure, axes = slice_icon(58)
    axes.add_patch(Polygon([(58, 112), (62, 96), (106, 52), (118, 64), (74, 108)], fc="#f2c14e", ec="#10161d", lw=3))
    axes.add_patch(Polygon([(58, 112), (62, 96), (74, 108)], fc="#f4ead2", ec="#10161d", lw=3))
    axes.plot([14, 50], [113, 113], color="white", lw=4, solid_capstyle="round")
    figure.savefig(READING_ICONS / "GTRReading.png", transparent=True)


def thumbnail(stage):
    """The phantom's key slice, with its tumour's outline, 260×280 pixels as the Sample Data module shows them."""
    made = make_phantom(TStage[stage], seed=SEEDS[stage], scanner="C")
    key = keyslice.by_area(made.ct, made.tumour).index
    slice_, mask = (sitk.GetArrayViewFromImage(image)[key] for image in (made.ct, made.tumour))
    figure, axes = canvas(260, 280)
    figure.patch.set_facecolor("black")
    axes.imshow(slice_, cmap="gray", vmin=-125, vmax=225, extent=(0, 260, 260, 0))
    grid = (np.arange(mask.shape[0]) + 0.5) * 260 / mask.shape[0]
    axes.contour(grid, grid, mask, levels=[0.5], colors="#f2563a", linewidths=1.4)
    axes.text(8, 274, f"synthetic phantom, {stage}", color="white", fontsize=10)
    figure.savefig(ICONS / f"Phantom{stage}.png", facecolor="black")


if __name__ == "__main__":
    icon()
    reading_icon()
    for name in SEEDS:
        thumbnail(name)
