"""Place the cells of a feature map on the pixels of the network's input. Needs no torch."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CellGrid:
    """Centres of the cells of a feature map: cell k at input pixel `first + k * step`, on both axes."""

    step: float
    first: float


def half_pixel_centres(cells: int, pixels: int) -> CellGrid:
    """Return the cell centres that common upsamplers assume for a map of `cells` cells stretched to `pixels` pixels."""
    step = pixels / cells
    return CellGrid(step, (step - 1) / 2)


def interpolation(of: CellGrid, cells: int, to: CellGrid, wanted: int) -> np.ndarray:
    """Return the matrix that interpolates values of one cell grid to another along one axis.

    Linear between the centres of the cells, and constant beyond the outermost centres.

    Parameters
    ----------
    of, cells
        Centres and number of the given cells.
    to, wanted
        Centres and number of the wanted cells.

    Returns
    -------
    (wanted, cells) float32; each row sums to 1.

    Examples
    --------
    Between two cells, 8 pixels apart, lies one cell of a grid of 4 pixels; the fourth lies beyond the last.

    >>> from GTRStagingLib.model.cells import CellGrid, interpolation
    >>> interpolation(CellGrid(8, 0), 2, CellGrid(4, 0), 4).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    """
    place = np.clip((to.first + to.step * np.arange(wanted) - of.first) / of.step, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells))).astype(np.float32)


__all__ = ["CellGrid", "half_pixel_centres", "interpolation"]
