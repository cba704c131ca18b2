"""Convert a displayed case for a viewer in a browser: NIfTI of its voxels in axial order, and nothing else."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import Grid, axial_lps, axial_size, grid_of, same_grid
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.imaging.volumes import read_volume
from GTRStagingLib.reading.session import Item


@dataclass(frozen=True)
class ViewerImages:
    """Images of a case as a viewer gets them.

    Attributes
    ----------
    grid
        Of the CT in axial LPS order.
    ct
        NIfTI in HU. Its axes are those of the voxels: position and tilt of the patient are left out.
    map
        NIfTI of the attention map on the same voxels, 255 at its maximum; None without one.
    """

    grid: Grid
    ct: bytes = field(repr=False)
    map: bytes | None = field(default=None, repr=False)

    def position_mm(self, index: int, column: float, row: float) -> tuple[float, float, float]:
        """Return the LPS mm of a point on an axial slice.

        Parameters
        ----------
        index
            Of the slice, 0 nearest the feet.
        column, row
            Index of the voxel, 0 at the patient's right and front; the middle of a voxel is a whole number.

        Raises
        ------
        InputError
            If the point is not on the slice.
        """
        columns, rows, slices = self.grid.size
        within = -0.5 <= column <= columns - 0.5 and -0.5 <= row <= rows - 0.5 and 0 <= index < slices
        if not within:
            raise InputError(
                f"The mark is at voxel {column:g}, {row:g} of slice {index}; expected a point within {columns} by "
                f"{rows} voxels and {slices} slices. Mark the tumour again."
            )
        x, y, z = self.grid.TransformContinuousIndexToPhysicalPoint((column, row, index))
        return x, y, z


def viewer_images(item: Item) -> ViewerImages:
    """Read the images of a displayed case for a viewer.

    Raises
    ------
    InputError, GeometryError
        If the CT cannot be read, or the map is on other voxels.
    """
    scan = read_scan(item.image, series=item.series)
    image = scan.slices(0, axial_size(scan.grid)[2] - 1)
    drawn = None if item.advice is None or item.advice.map is None else _map(item.advice.map, image)
    return ViewerImages(grid_of(image), _nifti(_hounsfield(image), image), drawn)


def _hounsfield(image: sitk.Image) -> np.ndarray:
    """Return (z, y, x) HU, in 16 bits where these hold them without loss."""
    voxels: np.ndarray = sitk.GetArrayFromImage(image)
    finite = np.nan_to_num(voxels, nan=-1024.0) if voxels.dtype.kind == "f" else voxels
    rounded = np.clip(finite, -32768, 32767).astype(np.int16)
    return rounded if np.array_equal(rounded, finite) else finite.astype(np.float32)


def _map(path: Path, image: sitk.Image) -> bytes:
    drawn = axial_lps(read_volume(path)[0])
    if not same_grid(drawn, image):
        raise InputError(
            "The attention map of this case is on other voxels than its CT; expected the same ones. Tell the organiser."
        )
    shares = np.maximum(np.nan_to_num(sitk.GetArrayFromImage(drawn).astype(np.float32)), 0)
    peak = float(shares.max())
    return _nifti(np.round(shares * (255 / peak if peak > 0 else 0)).astype(np.uint8), image)


def _nifti(voxels: np.ndarray, image: sitk.Image) -> bytes:
    """Return (z, y, x) voxels in axial LPS order as NIfTI, whose axes are right, anterior and superior."""
    x, y, z = image.GetSpacing()
    made = nib.Nifti1Image(np.ascontiguousarray(voxels).transpose(2, 1, 0), np.diag([-x, -y, z, 1.0]))  # type: ignore[no-untyped-call]
    content: bytes = made.to_bytes()
    return content


__all__ = ["ViewerImages", "viewer_images"]
