"""Attention maps and their place on the anatomy. `cam` computes them; this module needs no torch."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, empty_grid
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.options import Alignment


@dataclass(frozen=True)
class Attention:
    """Raw attention maps and their positions.

    Attributes
    ----------
    maps
        (S, h, w) float32, >= 0, not scaled, in the network's resolution (for 224×224 input 56×56 if the method is fine
        or gated, else 7×7).
    method, layers, target
        Attention method, layers that it used, and stage.
    alignment
        'receptive_field': cells are placed by the network's strides and paddings; 'half_pixel': as common upsamplers
        place them, half a cell too far right and down.
    grid
        W×H×S grid of the network's input.
    rows, columns
        Centres of the cells in pixels of that grid.
    mapped
        For each slice, whether a map was computed; otherwise its cells are 0. All True if not given.
    """

    maps: np.ndarray
    method: str
    layers: tuple[str, ...]
    target: TStage
    alignment: Alignment
    grid: sitk.Image
    rows: CellGrid
    columns: CellGrid
    mapped: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mapped", tuple(self.mapped) or (True,) * len(self.maps))
        if len(self.mapped) != len(self.maps):
            raise InputError(f"`mapped` has {len(self.mapped)} values for {len(self.maps)} slices; expected as many.")
        if self.maps.ndim != 3 or len(self.maps) != self.grid.GetSize()[2]:
            raise InputError(
                f"Maps of shape {self.maps.shape} for {self.grid.GetSize()[2]} slices; expected (S, h, w)."
            )
        if not np.isfinite(self.maps).all() or (self.maps < 0).any():
            bad = int(np.count_nonzero(~(np.isfinite(self.maps) & (self.maps >= 0))))
            raise InputError(
                f"The attention maps contain {bad} values that are negative or not finite; expected finite values of 0 "
                "or more. Verify the model, or choose another attention method."
            )

    @property
    def empty(self) -> tuple[bool, ...]:
        """For each slice, whether its map is 0 everywhere: no evidence for the target. Such maps are not scaled."""
        return tuple(mapped and not one.any() for mapped, one in zip(self.mapped, self.maps, strict=True))

    @cached_property
    def image(self) -> sitk.Image:
        """Image of the cells in physical space, one voxel per cell, with a border of one repeated cell.

        The border allows interpolation up to the edge of the input, beyond the outermost cells' centres.
        """
        padded = np.pad(self.maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
        sx, sy, sz = self.grid.GetSpacing()
        corner = (self.columns.first - self.columns.step, self.rows.first - self.rows.step, 0.0)
        size = (padded.shape[2], padded.shape[1], padded.shape[0])
        spacing = (self.columns.step * sx, self.rows.step * sy, sz)
        origin = self.grid.TransformContinuousIndexToPhysicalPoint(corner)
        image = sitk.GetImageFromArray(padded)
        image.CopyInformation(empty_grid(size, spacing, origin, self.grid.GetDirection()))
        return image

    def on(self, reference: sitk.Image) -> sitk.Image:
        """Resample the maps to a grid with the same slices: float32, linearly interpolated in plane.

        Raises
        ------
        GeometryError
            If the reference has other slices than the maps.
        """
        last = self.grid.GetSize()[2] - 1
        for index in (0, last):
            point = reference.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, float(index)))
            if abs(self.grid.TransformPhysicalPointToContinuousIndex(point)[2] - index) > LATTICE_TOLERANCE:
                raise GeometryError(
                    f"The attention map's {last + 1} slices and those of the grid differ in position; expected the "
                    "same."
                )
        if reference.GetSize()[2] != last + 1:
            raise GeometryError(
                f"The attention map has {last + 1} slices, the grid {reference.GetSize()[2]}; expected equal numbers."
            )
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(reference)
        resampler.SetInterpolator(sitk.sitkLinear)
        resampler.UseNearestNeighborExtrapolatorOn()
        return resampler.Execute(self.image)


__all__ = ["Attention"]
