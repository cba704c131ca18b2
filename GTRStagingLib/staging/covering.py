"""Fill a region of a slice from its surroundings, and find control regions elsewhere.

If a map shows the evidence for a stage, the stage is less likely when the map's region is filled in. Filling in any
region changes the slice, however; controls therefore fill in the same shape elsewhere, over tissue of the same kind.
"""

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

REACH_MM = 5.0
"""Standard deviation of the Gaussian that weights the surroundings: about the thickness of the stomach's wall."""

ALIKE = 0.1
"""Largest difference between the mean grey of a control and of the region, as a share of the window."""

INSIDE = 0.98
"""Smallest share of a control inside the body's section."""

TRIES, CONTROLS = 400, 5
APART = 2
"""Distance of a control from the region, pixels."""


def fill_region(grey: np.ndarray, region: np.ndarray, tissue: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Fill a region smoothly from the tissue around it.

    Parameters
    ----------
    grey
        (H, W) floating point.
    region, tissue
        (H, W) bool; pixels of the region do not count as its surroundings.
    spacing
        Of rows and columns, mm.

    Returns
    -------
    (H, W) copy; in the region, the mean of the surrounding tissue, weighted by a Gaussian of `REACH_MM`, or the mean of
    all tissue where none is near.
    """
    result = grey.copy()
    if not region.any():
        return result
    sigma = [REACH_MM / side for side in spacing]
    margin = [round(6 * one) + 1 for one in sigma]
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    part = tuple(
        slice(max(0, found[0] - more), found[-1] + more + 1)
        for found, more in zip((rows, columns), margin, strict=True)
    )
    around = (tissue & ~region)[part].astype(np.float64)
    weight = gaussian_filter(around, sigma, truncate=6)
    total = gaussian_filter(around * grey[part], sigma, truncate=6)
    rest = tissue & ~region
    overall = float(grey[rest].mean()) if rest.any() else float(grey.mean())
    smooth = np.where(weight > 1e-9, total / np.maximum(weight, 1e-9), overall)
    result[region] = smooth[region[part]]
    return result


def find_controls(
    region: np.ndarray, grey: np.ndarray, body: np.ndarray, avoid: np.ndarray, width: float, seed: int = 0
) -> list[np.ndarray]:
    """Find places for the region's shape elsewhere in the body, over tissue of the same kind.

    Places are drawn at random. Those with the region's mean grey, within `ALIKE`, are kept, and of these the `CONTROLS`
    with the standard deviation nearest to the region's: filling in smooth tissue changes nothing and is no comparison.

    Parameters
    ----------
    region, body, avoid
        (H, W) bool; a control overlaps neither the region nor `avoid`.
    grey
        (H, W), windowed as for the network.
    width
        Of the window, in the unit of `grey`.

    Returns
    -------
    At most `CONTROLS` (H, W) bool masks, the nearest first; an empty list if there is no such place.
    """
    pixels, places = np.argwhere(region), np.argwhere(body)
    if not len(pixels) or not len(places):
        return []
    avoid = avoid | binary_dilation(region, iterations=APART)
    drawn = np.random.default_rng(seed).choice(places, min(TRIES, len(places)), replace=False)
    shifts = drawn - np.round(pixels.mean(axis=0)).astype(int)
    low, high = pixels.min(axis=0) + shifts, pixels.max(axis=0) + shifts
    shifts = shifts[((low >= 0) & (high < region.shape)).all(axis=1)]
    rows, columns = (pixels[None] + shifts[:, None]).transpose(2, 0, 1)
    values = grey[rows, columns]
    apart = np.abs(values.mean(axis=1) - grey[region].mean())
    fits = (body[rows, columns].mean(axis=1) >= INSIDE) & ~avoid[rows, columns].any(axis=1) & (apart <= ALIKE * width)
    spread = np.abs(values.std(axis=1) - grey[region].std())
    spread[~fits] = np.inf
    found = []
    for one in np.argsort(spread, kind="stable")[: min(CONTROLS, int(fits.sum()))]:
        control = np.zeros_like(region)
        control[rows[one], columns[one]] = True
        found.append(control)
    return found


__all__ = ["fill_region", "find_controls"]
