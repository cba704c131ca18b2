"""Compute the share of each pixel, and of each cell of a feature map, that a mask covers."""

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.imaging.geometry import ImageOrGrid, direction_matrix, embedded, empty_grid

POINTS = 4
"""Points along each side of a pixel at which the mask is sampled."""


def coverage(mask: sitk.Image, slices: ImageOrGrid) -> np.ndarray:
    """Return the share of each pixel that a mask covers.

    Parameters
    ----------
    mask
        0 and 1, in any axis order; each voxel covers its whole area.
    slices
        W×H×S grid of the pixels, parallel to the slices of the mask.

    Returns
    -------
    (S, H, W) float32 in 0..1, in multiples of 1 / POINTS².

    Examples
    --------
    A voxel of 3 mm, centred at 3 mm, covers one pixel of 2 mm and half of the next.

    >>> import numpy as np
    >>> from GTRStagingLib.imaging.coverage import coverage
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> straight = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    >>> mask = Grid((3, 1, 1), (3.0, 3.0, 5.0), (0.0, 0.0, 0.0), straight).image(np.array([[[0, 1, 0]]], np.uint8))
    >>> coverage(mask, Grid((4, 1, 1), (2.0, 2.0, 5.0), (0.5, 0.0, 0.0), straight)).tolist()
    [[[0.0, 1.0, 0.5, 0.0]]]
    """
    nx, ny, nz = slices.GetSize()
    sx, sy, sz = slices.GetSpacing()
    first = (1 / POINTS - 1) / 2  # position of the first point, in pixels
    points = empty_grid(
        (nx * POINTS, ny * POINTS, nz),
        (sx / POINTS, sy / POINTS, sz),
        slices.TransformContinuousIndexToPhysicalPoint([first, first, 0.0]),
        tuple(direction_matrix(slices).ravel().tolist()),
    )
    covered = sitk.GetArrayFromImage(embedded(mask, points)) != 0
    shares: np.ndarray = covered.reshape(nz, ny, POINTS, nx, POINTS).mean(axis=(2, 4), dtype=np.float32)
    return shares


def pooled(shares: np.ndarray, step: int) -> np.ndarray:
    """Average shares of pixels over cells of `step` by `step` pixels.

    Cells are centred on pixels 0, `step`, 2 `step`, ..., like the receptive fields of a ResNet; the part of a cell
    outside the image counts as not covered.

    Parameters
    ----------
    shares
        (..., H, W).

    Returns
    -------
    (..., ⌈H/step⌉, ⌈W/step⌉) float32.

    Examples
    --------
    Cells of four pixels: the first reaches from pixel -2 to the middle of pixel 2, and the second from there to the
    middle of pixel 6.

    >>> import numpy as np
    >>> from GTRStagingLib.imaging.coverage import pooled
    >>> pooled(np.array([[0, 0, 1, 1, 0, 0, 0, 0]] * 8), 4).tolist()
    [[0.078125, 0.234375], [0.125, 0.375]]
    """
    cells = shares
    for axis in (-2, -1):
        cells = _pooled(np.moveaxis(cells, axis, -1), step)
        cells = np.moveaxis(cells, -1, axis)
    return cells


def _pooled(shares: np.ndarray, step: int) -> np.ndarray:
    """Pool along the last axis, in half pixels, since cells begin and end in the middle of a pixel.

    Without a matrix product: for matrices this small its threads would take ten times as long.
    """
    cells = -(-shares.shape[-1] // step)
    halves = np.repeat(shares, 2, axis=-1)
    before, after = step - 1, max(0, 2 * step * cells - (step - 1) - halves.shape[-1])
    padded = np.pad(halves, [(0, 0)] * (shares.ndim - 1) + [(before, after)])[..., : 2 * step * cells]
    means: np.ndarray = padded.reshape(*shares.shape[:-1], cells, 2 * step).mean(axis=-1, dtype=np.float32)
    return means


__all__ = ["coverage", "pooled"]
