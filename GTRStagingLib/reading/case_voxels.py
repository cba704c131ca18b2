"""Read what front-ends show of a case: its voxels in axial order, and the attention map on them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import Grid, axial_lps, axial_size, grid_of, same_grid
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.imaging.volumes import read_volume
from GTRStagingLib.reading.session import Item


@dataclass(frozen=True)
class CaseVoxels:
    """Voxels of a displayed case.

    Attributes
    ----------
    grid
        Of the CT in axial LPS order.
    ct
        (z, y, x) HU: int16 where it holds them without loss, else float32.
    map
        (z, y, x) uint8 of the attention map on the same voxels, 255 at its maximum; None without one.
    """

    grid: Grid
    ct: np.ndarray = field(repr=False)
    map: np.ndarray | None = field(default=None, repr=False)


def case_voxels(item: Item) -> CaseVoxels:
    """Read the voxels of a displayed case.

    Raises
    ------
    InputError, GeometryError
        If the CT cannot be read, or the map is on other voxels.
    """
    scan = read_scan(item.image, series=item.series)
    image = scan.slices(0, axial_size(scan.grid)[2] - 1)
    drawn = None if item.advice is None or item.advice.map is None else _map(item.advice.map, image)
    return CaseVoxels(grid_of(image), _hounsfield(image), drawn)


def position_mm(grid: Grid, index: int, column: float, row: float) -> tuple[float, float, float]:
    """Return the LPS mm of a point on an axial slice of a case.

    Parameters
    ----------
    grid
        Of `CaseVoxels`.
    index
        Of the slice, 0 nearest the feet.
    column, row
        Index of the voxel, 0 at the patient's right and front; the middle of a voxel is a whole number.

    Raises
    ------
    InputError
        If the point is not on the slice.
    """
    columns, rows, slices = grid.size
    within = -0.5 <= column <= columns - 0.5 and -0.5 <= row <= rows - 0.5 and 0 <= index < slices
    if not within:
        raise InputError(
            f"The mark is at voxel {column:g}, {row:g} of slice {index}; expected a point within {columns} by "
            f"{rows} voxels and {slices} slices. Mark the tumour again."
        )
    x, y, z = grid.TransformContinuousIndexToPhysicalPoint((column, row, index))
    return x, y, z


def _hounsfield(image: sitk.Image) -> np.ndarray:
    """Return (z, y, x) HU, in 16 bits where these hold them without loss."""
    voxels: np.ndarray = sitk.GetArrayFromImage(image)
    finite = np.nan_to_num(voxels, nan=-1024.0) if voxels.dtype.kind == "f" else voxels
    rounded = np.clip(finite, -32768, 32767).astype(np.int16)
    return rounded if np.array_equal(rounded, finite) else finite.astype(np.float32)


def _map(path: Path, image: sitk.Image) -> np.ndarray:
    drawn = axial_lps(read_volume(path)[0])
    if not same_grid(drawn, image):
        raise InputError(
            "The attention map of this case is on other voxels than its CT; expected the same ones. Tell the organiser."
        )
    shares = np.maximum(np.nan_to_num(sitk.GetArrayFromImage(drawn).astype(np.float32)), 0)
    peak = float(shares.max())
    return np.round(shares * (255 / peak if peak > 0 else 0)).astype(np.uint8)


__all__ = ["CaseVoxels", "case_voxels", "position_mm"]
