"""Convert a displayed case for a viewer in a browser: NIfTI of its voxels in axial order, and nothing else."""

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np

from GTRStagingLib.imaging.geometry import Grid
from GTRStagingLib.reading.case_voxels import case_voxels, position_mm
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
        """Return the LPS mm of a point on an axial slice, see `case_voxels.position_mm`."""
        return position_mm(self.grid, index, column, row)


def viewer_images(item: Item) -> ViewerImages:
    """Read the images of a displayed case for a viewer.

    Raises
    ------
    InputError, GeometryError
        If the CT cannot be read, or the map is on other voxels.
    """
    read = case_voxels(item)
    drawn = None if read.map is None else _nifti(read.map, read.grid)
    return ViewerImages(read.grid, _nifti(read.ct, read.grid), drawn)


def _nifti(voxels: np.ndarray, grid: Grid) -> bytes:
    """Return (z, y, x) voxels in axial LPS order as NIfTI, whose axes are right, anterior and superior."""
    x, y, z = grid.spacing
    made = nib.Nifti1Image(np.ascontiguousarray(voxels).transpose(2, 1, 0), np.diag([-x, -y, z, 1.0]))  # type: ignore[no-untyped-call]
    content: bytes = made.to_bytes()
    return content


__all__ = ["ViewerImages", "viewer_images"]
