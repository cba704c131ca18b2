"""Compute geometry: axial order without resampling, grids, and the resampling of one grid onto another.

3-D arrays are passed as `sitk.Image`, so that their geometry is kept; a `Grid` is the geometry without the voxels, and
functions that need no voxels accept either (`ImageOrGrid`). Positions are LPS millimetres, arrays (z, y, x), grid sizes
(x, y, z) as in SimpleITK.
"""

# ruff: noqa: N802 (a Grid has the methods of a SimpleITK image)

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TypeAlias

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError

LATTICE_TOLERANCE = 0.05
"""Largest distance, in voxels, between two lattices that count as the same: headers round their positions."""

Window = tuple[slice, slice, slice]
"""Block of a grid's voxels, by its (x, y, z) indices."""


@dataclass(frozen=True)
class Grid:
    """Geometry of an image without its voxels; has the geometry methods of a SimpleITK image.

    Attributes
    ----------
    size
        (x, y, z) voxels.
    spacing, origin
        (x, y, z) mm, LPS.
    direction
        (9,) direction cosines, row by row.

    Examples
    --------
    Slices 5 mm apart, the lowest at -100 mm: index 1 along z lies at -95 mm.

    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> grid = Grid((4, 4, 3), (0.5, 0.5, 5.0), (0.0, 0.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> grid.TransformContinuousIndexToPhysicalPoint((2, 0, 1))
    (1.0, 0.0, -95.0)
    >>> grid[:, :, 1:].origin
    (0.0, 0.0, -95.0)
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    def GetDimension(self) -> int:
        """Return 3."""
        return len(self.size)

    def GetSize(self) -> tuple[int, int, int]:
        """Return `size`."""
        return self.size

    def GetSpacing(self) -> tuple[float, float, float]:
        """Return `spacing`."""
        return self.spacing

    def GetOrigin(self) -> tuple[float, float, float]:
        """Return `origin`."""
        return self.origin

    def GetDirection(self) -> tuple[float, ...]:
        """Return `direction`."""
        return self.direction

    def TransformContinuousIndexToPhysicalPoint(self, index: Sequence[float]) -> tuple[float, ...]:
        """Return the LPS mm of a continuous index (x, y, z)."""
        return tuple((self._axes @ index + self.origin).tolist())

    def TransformPhysicalPointToContinuousIndex(self, point: Sequence[float]) -> tuple[float, ...]:
        """Return the continuous index (x, y, z) of a point in LPS mm."""
        return tuple(np.linalg.solve(self._axes, np.subtract(point, self.origin)).tolist())

    @property
    def _axes(self) -> np.ndarray:
        """Steps along the axes, (3, 3) mm: column i is that along axis i."""
        axes: np.ndarray = direction_matrix(self) * self.spacing
        return axes

    def __getitem__(self, window: Window) -> "Grid":
        """Return the grid of a block of the voxels, like slicing an image."""
        first, size, steps = zip(*((one[0], len(one), one.step) for one in self.indices(window)), strict=True)
        spacing = tuple(s * step for s, step in zip(self.spacing, steps, strict=True))
        origin = self.TransformContinuousIndexToPhysicalPoint(first)
        return Grid(size, spacing, origin, self.direction)  # type: ignore[arg-type]

    def indices(self, window: Window) -> tuple[range, range, range]:
        """Return the (x, y, z) indices of a block, which must not be empty."""
        ranges = tuple(range(*one.indices(n)) for one, n in zip(window, self.size, strict=True))
        if not all(ranges):
            raise GeometryError(f"The block of a grid of {self.size} voxels is empty; expected at least one voxel.")
        return ranges  # type: ignore[return-value]

    def image(self, voxels: np.ndarray) -> sitk.Image:
        """Return (z, y, x) voxels as an image on this grid."""
        made = sitk.GetImageFromArray(voxels)
        made.SetSpacing(self.spacing)
        made.SetOrigin(self.origin)
        made.SetDirection(self.direction)
        return made


ImageOrGrid: TypeAlias = sitk.Image | Grid


def grid_of(place: ImageOrGrid) -> Grid:
    """Return the grid of an image."""
    return Grid(place.GetSize(), place.GetSpacing(), place.GetOrigin(), place.GetDirection())


@dataclass(frozen=True)
class AxialOrder:
    """Map of an image's axes to axial LPS axes, by permutation and flips only.

    Attributes
    ----------
    axes
        `axes[j]` is the input axis that becomes axial axis j (0: to the left, 1: posterior, 2: head).
    flipped
        Whether axial axis j is opposite to that input axis.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]


def axial_order(image: ImageOrGrid) -> AxialOrder:
    """Return the order and signs that bring an image's axes closest to L, P, S without resampling."""
    return _axial_order(tuple(image.GetDirection()))


@lru_cache(maxsize=64)
def _axial_order(direction: tuple[float, ...]) -> AxialOrder:
    """Cache `axial_order` by direction, on which alone it depends: a case needs it a dozen times."""
    return _order_towards(direction, np.eye(3))


def _order_towards(direction: Sequence[float], frame: np.ndarray) -> AxialOrder:
    """Return the order and signs that bring axes of a direction (row by row) closest to the frame's columns.

    At 45° two orders are equally close: after rounding the first is taken, independent of the last digits.
    """
    cosines = frame.T @ np.reshape(direction, (3, 3))
    axes = max(permutations(range(3)), key=lambda p: round(sum(abs(cosines[j, p[j]]) for j in range(3)), 6))
    flipped = tuple(bool(cosines[j, axes[j]] < 0) for j in range(3))
    return AxialOrder(axes, flipped)  # type: ignore[arg-type]


def direction_matrix(image: ImageOrGrid) -> np.ndarray:
    """Return the (3, 3) direction cosines; column i is the direction of axis i in LPS."""
    return np.reshape(image.GetDirection(), (3, 3))


def set_direction(image: sitk.Image, direction: Iterable[float]) -> None:
    """Set an image's direction (row-major), by `without_rounding_noise`."""
    image.SetDirection(without_rounding_noise(direction))


def without_rounding_noise(direction: Iterable[float]) -> tuple[float, ...]:
    """Return direction cosines with the tiny ones set to 0.

    ITK silently inverts the matrix to NaN if one of them is denormal (1e-310).
    """
    return tuple(0.0 if abs(d) < 1e-12 else float(d) for d in direction)


def axial_size(image: ImageOrGrid) -> tuple[int, int, int]:
    """Return the size (x, y, z) of the image in axial order, without reordering it."""
    size = image.GetSize()
    x, y, z = axial_order(image).axes
    return size[x], size[y], size[z]


def axial_lps(image: sitk.Image) -> sitk.Image:
    """Return the image in axial LPS order: x to the left, y to the back, z to the head.

    Axes are permuted and flipped, never resampled: the slices are the acquired ones, and an oblique acquisition keeps
    its obliquity in the direction matrix (`tilt_degrees` measures it).

    Examples
    --------
    Three slices of one voxel, stored from the head down, are returned from the feet up, each at its position.

    >>> import numpy as np
    >>> import SimpleITK as sitk
    >>> from GTRStagingLib.imaging.geometry import axial_lps
    >>> image = sitk.GetImageFromArray(np.array([[[30]], [[20]], [[10]]]))
    >>> image.SetOrigin((0, 0, 2))
    >>> image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    >>> axial = axial_lps(image)
    >>> sitk.GetArrayFromImage(axial).ravel().tolist()
    [10, 20, 30]
    >>> image.TransformIndexToPhysicalPoint((0, 0, 2)) == axial.TransformIndexToPhysicalPoint((0, 0, 0))
    True
    """
    return _reordered(image, axial_order(image))


def axial_slices(image: sitk.Image, first: int, last: int, step: int = 1) -> sitk.Image:
    """Return axial slices first..last (inclusive) of an image in any axis order, in axial LPS order.

    Only these slices are copied.
    """
    return axial_lps(image[axial_window(image, first, last, step)])


def axial_window(place: ImageOrGrid, first: int, last: int, step: int = 1) -> Window:
    """Return the block of axial slices first..last (inclusive), in the axis order of the image.

    Raises
    ------
    GeometryError
        If the image has no such slices.
    """
    order = axial_order(place)
    stack = order.axes[2]
    length = place.GetSize()[stack]
    if not 0 <= first <= last < length:
        raise GeometryError(f"Axial slices {first} to {last} do not exist; expected slices from 0 to {length - 1}.")
    last -= (last - first) % step
    low, high = (length - 1 - last, length - 1 - first) if order.flipped[2] else (first, last)
    window = [slice(None)] * 3
    window[stack] = slice(low, high + 1, step)
    return tuple(window)  # type: ignore[return-value]


def _reordered(image: sitk.Image, order: AxialOrder) -> sitk.Image:
    if order.axes != (0, 1, 2):
        image = sitk.PermuteAxes(image, order.axes)
    return sitk.Flip(image, order.flipped) if any(order.flipped) else image


def _grid_reordered(place: ImageOrGrid, order: AxialOrder) -> Grid:
    """Return the grid of an image after `_reordered`."""
    size, spacing, columns = place.GetSize(), place.GetSpacing(), direction_matrix(place).T
    corner = [0.0] * 3
    for axis, flipped in zip(order.axes, order.flipped, strict=True):
        corner[axis] = size[axis] - 1.0 if flipped else 0.0
    signs = np.where(order.flipped, -1.0, 1.0)
    direction = (columns[list(order.axes)] * signs[:, None]).T
    return Grid(
        tuple(size[axis] for axis in order.axes),  # type: ignore[arg-type]
        tuple(spacing[axis] for axis in order.axes),  # type: ignore[arg-type]
        place.TransformContinuousIndexToPhysicalPoint(corner),  # type: ignore[arg-type]
        tuple(direction.ravel().tolist()),
    )


def in_axis_order_of(axial: sitk.Image, original: ImageOrGrid) -> sitk.Image:
    """Undo `axial_lps`: return an axial image in the axis order of the original image."""
    order = axial_order(original)
    if any(order.flipped):
        axial = sitk.Flip(axial, order.flipped)
    back = tuple(int(i) for i in np.argsort(order.axes))
    return sitk.PermuteAxes(axial, back) if back != (0, 1, 2) else axial


def slice_centre(image: ImageOrGrid, index: int) -> tuple[float, ...]:
    """Return the LPS mm of the centre of an axial slice."""
    order = axial_order(image)
    centre = [(n - 1) / 2 for n in image.GetSize()]
    stack = order.axes[2]
    centre[stack] = image.GetSize()[stack] - 1 - index if order.flipped[2] else index
    point: tuple[float, ...] = image.TransformContinuousIndexToPhysicalPoint(centre)
    return point


def slice_position_mm(image: ImageOrGrid, index: int) -> float:
    """Return the position of the centre of an axial slice along the body axis (S, mm)."""
    return float(slice_centre(image, index)[2])


def tilt_degrees(image: ImageOrGrid) -> float:
    """Return the angle between the slices' normal and the body axis."""
    normal = direction_matrix(image)[:, axial_order(image).axes[2]]
    return float(np.degrees(np.arccos(np.clip(abs(normal[2]), 0, 1))))


def same_grid(a: ImageOrGrid, b: ImageOrGrid, *, tolerance: float = LATTICE_TOLERANCE) -> bool:
    """Return whether two images have the same size and voxel positions, within `tolerance` voxels."""
    return a.GetSize() == b.GetSize() and lattice_drift(a, b, nearest=False) <= tolerance


def require_same_grid(a: ImageOrGrid, b: ImageOrGrid, what: str) -> None:
    """Raise `GeometryError` unless two images have the same grid; `what` names them, as in 'attention map and ROI'."""
    if not same_grid(a, b):
        raise _different_grids(a, b, what)


def _different_grids(a: ImageOrGrid, b: ImageOrGrid, what: str) -> GeometryError:
    return GeometryError(
        f"{what} have different grids ({describe(a)}; {describe(b)}); expected the same. Resample one onto the other."
    )


def describe(image: ImageOrGrid) -> str:
    """Return size, spacing and origin in one line, for messages."""
    size = "×".join(map(str, image.GetSize()))
    spacing = "×".join(f"{s:.3g}" for s in image.GetSpacing())
    origin = ", ".join(f"{o:.1f}" for o in image.GetOrigin())
    return f"{size} voxels of {spacing} mm from ({origin})"


def lattice_drift(image: ImageOrGrid, reference: ImageOrGrid, *, nearest: bool = True) -> float:
    """Return the largest distance, in the reference's voxels, between the voxel centres of image and reference.

    With `nearest`, the images may begin at different voxels of the lattice; without it, voxel (0, 0, 0) must be the
    same.
    """
    drift = 0.0
    span = np.array(image.GetSize()) - 1
    start = np.array(_continuous_index(image, np.zeros(3), reference))
    first = np.round(start) if nearest else np.zeros(3)
    # The map between two grids is affine, so its largest deviation from a shift is at a corner.
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * span
        drift = max(drift, float(np.abs(_continuous_index(image, index, reference) - (first + index)).max()))
    return drift


def on_lattice(mask: ImageOrGrid, reference: ImageOrGrid) -> bool:
    """Return whether a mask's voxels are voxels of the reference, cropped, flipped or permuted."""
    towards = _order_towards(mask.GetDirection(), direction_matrix(reference))
    return lattice_drift(_grid_reordered(mask, towards), reference) <= LATTICE_TOLERANCE


def _continuous_index(image: ImageOrGrid, index: np.ndarray, reference: ImageOrGrid) -> np.ndarray:
    point = image.TransformContinuousIndexToPhysicalPoint([float(i) for i in index])
    return np.array(reference.TransformPhysicalPointToContinuousIndex(point))


def resized_grid(image: ImageOrGrid, size: tuple[int, int]) -> sitk.Image:
    """Return an empty grid of `size` (x, y) pixels over the field of the image's slices.

    The outer edges of the pixels coincide, not the centres of the corner pixels, as in image libraries.
    """
    old = np.array(image.GetSize(), dtype=float)
    new = np.array([*size, old[2]])
    spacing = np.array(image.GetSpacing()) * old / new
    corner = (old / new - 1) / 2
    origin = image.TransformContinuousIndexToPhysicalPoint([float(c) for c in corner])
    return empty_grid(tuple(int(n) for n in new), tuple(spacing), origin, image.GetDirection())


def square_grid(image: ImageOrGrid, spacing_mm: float) -> sitk.Image:
    """Return an empty grid of square pixels over the smallest centred square that contains the image's slices.

    Anatomy is never stretched: if the field is not square, the shorter side is padded with air.
    """
    nx, ny, nz = image.GetSize()
    sx, sy, sz = image.GetSpacing()
    side = max(1, int(np.ceil(max(nx * sx, ny * sy) / spacing_mm - 1e-6)))
    corner = [
        (nx - 1) / 2 - (side - 1) / 2 * spacing_mm / sx,
        (ny - 1) / 2 - (side - 1) / 2 * spacing_mm / sy,
        0.0,
    ]
    origin = image.TransformContinuousIndexToPhysicalPoint(corner)
    return empty_grid((side, side, nz), (spacing_mm, spacing_mm, sz), origin, image.GetDirection())


def empty_grid(
    size: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]
) -> sitk.Image:
    """Return a uint8 image of zeros with a geometry."""
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([float(s) for s in spacing])
    grid.SetOrigin([float(o) for o in origin])
    set_direction(grid, direction)
    return grid


def resampled(image: sitk.Image, grid: sitk.Image, *, outside: float) -> sitk.Image:
    """Return the image on the grid, linearly interpolated, as float32; `outside` where it has no data."""
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)


def embedded(block: sitk.Image, place: ImageOrGrid, kind: int = sitk.sitkUInt8) -> sitk.Image:
    """Return a mask or map on a grid, by the nearest voxel, as pixels of a kind; 0 outside the block."""
    return sitk.Resample(
        block, place.GetSize(), sitk.Transform(), sitk.sitkNearestNeighbor, place.GetOrigin(), place.GetSpacing(),
        place.GetDirection(), 0, kind,
    )  # fmt: skip


def onto_grid(mask: sitk.Image, reference: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
    """Return a mask on the whole grid of the reference; parameters and errors as for `onto_block`.

    Examples
    --------
    A mask of one voxel, at (1, 0, 1) of the CT.

    >>> import numpy as np
    >>> import SimpleITK as sitk
    >>> from GTRStagingLib.imaging.geometry import Grid, onto_grid
    >>> ct = Grid((2, 1, 3), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> mask = Grid((1, 1, 1), ct.spacing, (1.0, 0.0, 5.0), ct.direction).image(np.ones((1, 1, 1), np.uint8))
    >>> sitk.GetArrayFromImage(onto_grid(mask, ct)).tolist()
    [[[0, 0]], [[0, 1]], [[0, 0]]]
    """
    return embedded(onto_block(mask, reference, resample=resample), reference)


def onto_block(mask: sitk.Image, reference: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
    """Return a mask as a block of the reference's voxels, which is small even in a large scan.

    The mask may be cropped, flipped or permuted, as long as its voxels are voxels of the reference.

    Parameters
    ----------
    mask, reference
        In any axis order.
    resample
        Accept other voxels and take the nearest (the caller must record this choice).

    Returns
    -------
    uint8 image of 0 and 1, on voxels of the reference, in its axis order.

    Raises
    ------
    GeometryError
        If the mask is (partly) outside the reference, or on other voxels while `resample` is False.
    """
    # The mask is brought to the axis order of the reference, which is never reordered.
    order = _order_towards(mask.GetDirection(), direction_matrix(reference))
    whole = _grid_reordered(mask, order)
    part = _reordered(mask[_bounding_box(mask)], order)
    places = np.argwhere(sitk.GetArrayViewFromImage(part))[:, ::-1]
    outside = int(np.count_nonzero(~_within(places, part, reference)))
    if outside == len(places):
        raise GeometryError(
            f"The ROI ({describe(whole)}) has no voxel inside the CT ({describe(reference)}); expected an overlap. "
            "Check that it is the segmentation of this scan and not empty."
        )
    if not resample and (drift := lattice_drift(whole, reference)) > LATTICE_TOLERANCE:
        raise GeometryError(
            f"The voxels of the ROI ({describe(whole)}) and of the CT ({describe(reference)}) are {drift:.2f} "
            f"voxels apart; expected at most {LATTICE_TOLERANCE}. Export the ROI with the CT as reference geometry, or "
            "allow nearest-neighbour resampling where that can be chosen (`resample_roi=True`)."
        )
    if outside:
        raise GeometryError(
            f"{outside} of {len(places)} voxels of the ROI are outside the CT; expected none. Give the complete scan "
            "on which the ROI was drawn."
        )
    return embedded(part, grid_of(reference)[_window_around(part, reference)])


def _bounding_box(mask: sitk.Image) -> Window:
    """Return the smallest block that contains a mask's non-zero voxels; its first voxel if there are none."""
    voxels = sitk.GetArrayViewFromImage(mask)
    filled = (np.flatnonzero(voxels.any(axis=others)) for others in ((0, 1), (0, 2), (1, 2)))
    x, y, z = (slice(int(at[0]), int(at[-1]) + 1) if at.size else slice(0, 1) for at in filled)
    return x, y, z


def _window_around(part: ImageOrGrid, reference: ImageOrGrid) -> Window:
    """Return the block of the reference's voxels that contains an image, to the outer edges of its voxels."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * part.GetSize() - 0.5
    there = [_continuous_index(part, corner, reference) for corner in corners]
    first = np.clip(np.floor(np.min(there, axis=0)), 0, np.array(reference.GetSize()) - 1).astype(int)
    last = np.clip(np.ceil(np.max(there, axis=0)), first, np.array(reference.GetSize()) - 1).astype(int)
    x, y, z = (slice(int(low), int(high) + 1) for low, high in zip(first, last, strict=True))
    return x, y, z


def slices_of_block(block: ImageOrGrid, whole: ImageOrGrid, what: str) -> range:
    """Return the axial slices of an image that a block of its voxels covers.

    Raises
    ------
    GeometryError
        Unless the block consists of voxels of the whole, in its axis order; `what` names both, as in 'ROI and CT'.
    """
    start = np.round(_continuous_index(block, np.zeros(3), whole))
    inside = (start >= 0).all() and (start + block.GetSize() <= whole.GetSize()).all()
    if not inside or lattice_drift(block, whole) > LATTICE_TOLERANCE:
        raise _different_grids(block, whole, what)
    order = axial_order(whole)
    stack = order.axes[2]
    first, count = int(start[stack]), block.GetSize()[stack]
    if order.flipped[2]:
        first = whole.GetSize()[stack] - first - count
    return range(first, first + count)


def _within(indices: np.ndarray, image: ImageOrGrid, reference: ImageOrGrid) -> np.ndarray:
    """Return (n,) bool: whether an image's voxels, given by (n, 3) indices (x, y, z), are centred in the reference."""
    points = indices * image.GetSpacing() @ direction_matrix(image).T + image.GetOrigin()
    there = (points - reference.GetOrigin()) @ direction_matrix(reference) / reference.GetSpacing()
    # To the outer edge of the voxels, plus the tolerance between two lattices.
    edge = 0.5 + LATTICE_TOLERANCE
    return ((there > -edge) & (there < np.array(reference.GetSize()) - 1 + edge)).all(axis=1)


def skewed_error(name: str) -> GeometryError:
    """Return the error for skewed axes or invalid spacing."""
    return GeometryError(
        f"{name}: the axes are skewed, or a spacing is 0 or not a number; expected perpendicular axes and spacing in "
        "mm. Convert the scan again from DICOM, or resample it onto an even grid (as for a gantry tilt)."
    )
