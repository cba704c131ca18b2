"""Read an ROI of an RTSTRUCT: closed planar contours in patient coordinates, drawn on the slices of a CT.

Contours have no voxels of their own. On a slice of the CT, a pixel belongs to the ROI if its centre lies inside an odd
number of contours (even-odd rule), or on one of them. So a contour inside another is a hole, as is the inner part of a
key-hole contour. Two separate contours on one plane are added. Contours that overlap in part are refused, unless the
file states what that means (`CLOSEDPLANAR_XOR`).

Source: DICOM PS3.3 C.8.8.5 (structure set) and C.8.8.6 (ROI contour).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom_files import damage_refused
from GTRStagingLib.imaging.dicom_headers import whole_header
from GTRStagingLib.imaging.dicom_references import References, of_rtstruct
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, Grid, ImageOrGrid, describe, grid_of
from GTRStagingLib.imaging.segments import Segment, choose_segment, empty_segment_error, in_mm
from GTRStagingLib.imaging.stack import NEAREST, off_slice_tolerance

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage."""

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Types of contours that enclose an area."""

INSIDE = 1
"""Value of `skimage.measure.grid_points_in_poly` inside a polygon, by the even-odd rule; above it, on the outline."""

MOST_WORK = 1e10
"""Largest sum of corners times pixels around them: about a minute."""

DIGITS = 6
"""Decimals of a pixel to which corners are rounded, so that a corner on a pixel's centre remains there."""


Window = tuple[slice, slice]
"""Block of the pixels of a slice."""


@dataclass(frozen=True)
class Contours:
    """Closed contours of an ROI.

    Attributes
    ----------
    name
        Name of the file.
    segment
        Number and name of the ROI.
    corners
        (N, 3) LPS mm of each contour, with N >= 3.
    exclusive
        Whether the file states that overlaps of contours are holes (`CLOSEDPLANAR_XOR`).
    """

    name: str
    segment: Segment
    corners: tuple[np.ndarray, ...]
    exclusive: bool = False

    def placed(self, ct: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
        """Return a 0/1 image of the contours on the voxels of the CT: the block that contains them.

        Parameters
        ----------
        resample
            Not used: contours fit any pixels, but must lie on slices.

        Raises
        ------
        GeometryError
            If a contour lies on no slice of the CT, or outside the CT.
        InputError
            If no centre of a pixel lies in the contours, if two are equal or overlap in part, or if they have too many
            corners.
        """
        grid = grid_of(ct)
        corners = [_indices(points, grid) for points in self.corners]
        axis = int(np.argmin(np.max([np.ptp(points, axis=0) * grid.spacing for points in corners], axis=0)))
        across = [a for a in range(3) if a != axis]
        flat = [np.round(points[:, across], DIGITS) for points in corners]
        slices = self._slices([points[:, axis] for points in corners], axis, grid)
        self._require_inside(flat, np.array(grid.size)[across], grid)
        self._require_few(flat)
        self._require_different(flat, slices)
        low = np.floor(np.min([points.min(axis=0) for points in flat], axis=0)).astype(int).clip(0)
        high = np.ceil(np.max([points.max(axis=0) for points in flat], axis=0)).astype(int)
        shape = np.minimum(high + 1, np.array(grid.size)[across]) - low
        inside = np.zeros((max(slices) - min(slices) + 1, *shape), bool)
        outline = np.zeros_like(inside)
        filled = [_filled(points - low, tuple(shape.tolist())) for points in flat]
        self._require_apart(filled, slices)
        for number, (window, found) in zip(slices, filled, strict=True):
            inside[number - min(slices)][window] ^= found == INSIDE
            outline[number - min(slices)][window] |= found > INSIDE
        # (slice, first, second axis across) to (x, y, z), then to (z, y, x).
        voxels = np.transpose(np.moveaxis(inside | outline, 0, axis), (2, 1, 0)).astype(np.uint8)
        if not voxels.any():
            raise empty_segment_error(self.segment, self.name)
        size = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
        origin = grid.TransformContinuousIndexToPhysicalPoint(np.insert(low, axis, min(slices)).tolist())
        return Grid(size, grid.spacing, origin, grid.direction).image(voxels)  # type: ignore[arg-type]

    def _which(self, number: int) -> str:
        centre = in_mm(self.corners[number].mean(axis=0))
        return f"{self.name}: the contour of '{self.segment.label}' centred at {centre}"

    def _slices(self, along: Sequence[np.ndarray], axis: int, grid: Grid) -> list[int]:
        """Return the slice of each contour, by the indices of its corners along an axis."""
        found, step = [], grid.spacing[axis]
        allowed = off_slice_tolerance(step)
        for number, indices in enumerate(along):
            nearest = np.rint(indices.mean())
            flat = abs(indices.mean() - nearest) <= allowed and np.abs(indices - nearest).max() <= NEAREST
            if not flat or not 0 <= nearest < grid.size[axis]:
                raise GeometryError(
                    f"{self._which(number)} lies on no slice of the CT ({describe(grid)}), whose slices are "
                    f"{step:.4g} mm apart; expected each contour on a slice. Give the complete CT on which the "
                    "contours were drawn."
                )
            found.append(int(nearest))
        return found

    def _require_inside(self, flat: Sequence[np.ndarray], size: np.ndarray, grid: Grid) -> None:
        edge = 0.5 + LATTICE_TOLERANCE
        for number, points in enumerate(flat):
            if not ((points >= -edge) & (points <= size - 1 + edge)).all():
                raise GeometryError(
                    f"{self._which(number)} reaches outside the CT ({describe(grid)}); expected all contours inside. "
                    "Give the complete CT on which the contours were drawn."
                )

    def _require_different(self, flat: Sequence[np.ndarray], slices: Sequence[int]) -> None:
        """Raise `InputError` if two contours are equal: by the even-odd rule, they would cancel each other."""
        seen = set()
        for number, (at, points) in enumerate(zip(slices, flat, strict=True)):
            corners = (at, np.unique(points + 0.0, axis=0).tobytes())
            if corners in seen:
                raise InputError(f"{self._which(number)} is there twice; expected each contour once. Remove the copy.")
            seen.add(corners)

    def _require_apart(self, filled: Sequence[tuple[Window, np.ndarray]], slices: Sequence[int]) -> None:
        """Raise `InputError` if contours of a slice overlap in part: this could mean a union or a hole."""
        if self.exclusive:
            return
        by_slice: dict[int, list[int]] = {}
        for number, at in enumerate(slices):
            by_slice.setdefault(at, []).append(number)
        pairs = (pair for numbers in by_slice.values() for pair in combinations(numbers, 2))
        for one, other in pairs:
            if _overlap_in_part(filled[one], filled[other]):
                raise InputError(
                    f"{self._which(one)} overlaps another one on the same plane in part (centred at "
                    f"{in_mm(self.corners[other].mean(axis=0))}); expected contours apart, or one inside the other as "
                    "a hole. Draw them as one contour."
                )

    def _require_few(self, flat: Sequence[np.ndarray]) -> None:
        """Raise `InputError` if the contours would take minutes to draw."""
        work = sum(len(points) * float(np.prod(np.ptp(points, axis=0) + 1)) for points in flat)
        if work > MOST_WORK:
            raise InputError(
                f"{self.name}: the contours of '{self.segment.label}' have {sum(map(len, flat))} corners over large "
                "areas; expected the outline of a tumour. Choose another ROI, or export it as a DICOM SEG."
            )


def _indices(points: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the (N, 3) continuous indices (x, y, z) of points in LPS mm."""
    axes = np.reshape(grid.direction, (3, 3)) * grid.spacing
    found: np.ndarray = np.linalg.solve(axes, (points - grid.origin).T).T
    return found


def _filled(points: np.ndarray, shape: tuple[int, int]) -> tuple[Window, np.ndarray]:
    """Return the block of pixels around a polygon, and where each centre lies: 0 outside, `INSIDE`, above on it."""
    from skimage.measure import grid_points_in_poly

    first = np.floor(points.min(axis=0)).astype(int).clip(0)
    last = np.minimum(np.ceil(points.max(axis=0)).astype(int), np.array(shape) - 1)
    y, x = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    found: np.ndarray = grid_points_in_poly(tuple((last - first + 1).tolist()), points - first, binarize=False)
    return (y, x), found


def _overlap_in_part(one: tuple[Window, np.ndarray], other: tuple[Window, np.ndarray]) -> bool:
    """Return whether two filled polygons overlap, and neither contains the other, by more than about a pixel."""
    from scipy.ndimage import binary_erosion

    if any(a.start >= b.stop or b.start >= a.stop for a, b in zip(one[0], other[0], strict=True)):
        return False
    first = [min(a.start, b.start) for a, b in zip(one[0], other[0], strict=True)]
    last = [max(a.stop, b.stop) for a, b in zip(one[0], other[0], strict=True)]
    masks = np.zeros((2, last[0] - first[0], last[1] - first[1]), bool)
    for mask, ((y, x), found) in zip(masks, (one, other), strict=True):
        mask[y.start - first[0] : y.stop - first[0], x.start - first[1] : x.stop - first[1]] = found > 0
    a, b = masks
    return all(binary_erosion(part).any() for part in (a & b, a & ~b, b & ~a))


def read_contours(path: Path, wanted: str | int | None) -> tuple[Contours, str | None, References]:
    """Read the contours of an ROI of an RTSTRUCT.

    Parameters
    ----------
    wanted
        ROI number or ROI name (ignoring case); required only if several ROIs have contours.

    Returns
    -------
    The contours, the UID of the ROI's frame of reference, or None, and what the ROI refers to.

    Raises
    ------
    InputError
        If the file is damaged, the ROI is missing, ambiguous or without contours, or a contour is not closed and
        planar.
    """
    header = whole_header(path)
    with damage_refused(
        lambda _: (
            f"{path.name} cannot be read as an RTSTRUCT; expected a complete, valid file. Export or copy it again."
        )
    ):
        contours, frame = _read(header, wanted, path.name)
    return contours, frame, of_rtstruct(header, contours.segment.number, "the ROI", path)


def _read(header: Any, wanted: str | int | None, name: str) -> tuple[Contours, str | None]:
    described = {int(roi.ROINumber): roi for roi in header.get("StructureSetROISequence") or ()}
    drawn: dict[int, Any] = {}
    for item in header.get("ROIContourSequence") or ():
        number = int(item.ReferencedROINumber)
        if number in drawn or number not in described:
            raise InputError(
                f"{name}: the contours refer to ROI {number}, which is "
                f"{'used twice' if number in drawn else 'not described'}; expected each described ROI once. The file "
                "is damaged: export it again."
            )
        drawn[number] = item.get("ContourSequence") or ()
    if len(described) != len(header.get("StructureSetROISequence") or ()):
        raise InputError(f"{name}: two ROIs have the same number; expected different ones. Export the file again.")
    offered = [
        Segment(number, str(roi.get("ROIName") or number), voxels=None if drawn.get(number) else 0)
        for number, roi in described.items()
    ]
    chosen = choose_segment(offered, wanted, name)
    if chosen.voxels == 0:
        raise empty_segment_error(chosen, name)
    listed = enumerate(drawn[chosen.number], 1)
    corners = [_corners(one, f"{name}: contour {number} of '{chosen.label}'") for number, one in listed]
    # One or two corners enclose no area.
    enclosing = tuple(points for points in corners if len(points) > 2)
    if not enclosing:
        raise empty_segment_error(chosen, name)
    frame = described[chosen.number].get("ReferencedFrameOfReferenceUID")
    exclusive = any(one.ContourGeometricType == CLOSED[1] for one in drawn[chosen.number])
    return Contours(name, chosen, enclosing, exclusive), str(frame or "") or None


def _corners(contour: Any, what: str) -> np.ndarray:
    """Return the (N, 3) corners of a contour in LPS mm; `what` names it."""
    kind = str(contour.get("ContourGeometricType") or "of no type")
    if kind not in CLOSED:
        raise InputError(f"{what} is {kind}; expected CLOSED_PLANAR. Draw the ROI as closed contours, or export a SEG.")
    if any(float(v) != 0 for v in contour.get("ContourOffsetVector") or ()):
        raise InputError(f"{what} has a ContourOffsetVector; expected none. Export the contours again without it.")
    data = contour.get("ContourData")
    values = np.array([] if data is None else data, dtype=float).ravel()
    stated = contour.get("NumberOfContourPoints")
    count = len(values) / 3
    if len(values) % 3 or (stated is not None and int(stated) != count):
        raise InputError(
            f"{what} has {len(values)} coordinates, and NumberOfContourPoints is {stated}; expected three coordinates "
            "per point. The file is damaged: export it again."
        )
    if not np.isfinite(values).all():
        odd = values[~np.isfinite(values)][0]
        raise InputError(f"{what} has the coordinate {odd}; expected numbers in mm. Export the contours again.")
    return values.reshape(-1, 3)


__all__ = ["RTSTRUCT", "Contours", "read_contours"]
