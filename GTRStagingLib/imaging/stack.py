"""Order slices by position, and check that they form an even stack.

No slice is guessed, dropped or interpolated: a gap, a duplicate, mixed spacing or a tilt raises an error that names the
slices. Voxels are decoded on demand (`LazyVoxels`).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, Grid, Window, without_rounding_noise
from GTRStagingLib.support.counts import counted

DUPLICATE_MM = 0.01
"""Slices closer than this are duplicates: less than the spacing of any scanner, more than rounding errors."""

TOLERANCE_MM, TOLERANCE_OF_SPACING = 0.1, 0.02
"""Tolerance of a step, the larger of both: positions rounded to 0.1 mm are off by up to 0.05 mm each."""

NEAREST = 0.45
"""Distance in slices within which one slice is clearly the nearest."""

TILT_DEGREES = 0.1
"""Smallest gantry tilt: orientations rounded to three digits tilt by up to 0.05°, real tilts by about 0.5° or more."""


LONGEST_SIDE = 8192
"""Most rows or columns of a slice; CT slices have 512 to 2,048."""


class Plane(NamedTuple):
    """Geometry of one slice in LPS mm; `orientation` is the direction of x, then of y, and `pixel_mm` is (y, x)."""

    name: str
    position: np.ndarray  # (3,)
    orientation: np.ndarray  # (6,)
    pixel_mm: np.ndarray  # (2,)
    shape: tuple[int, int]  # rows, columns
    thickness_mm: float | None


@dataclass(frozen=True)
class Stack:
    """Slices in the order of their positions along their normal (not along the body axis), and their even grid.

    `order[k]` is the index of slice k among the given planes.
    """

    order: tuple[int, ...]
    grid: Grid
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LazyVoxels:
    """Voxels of a stack, decoded slice by slice on demand.

    `decode` gives the (y, x) int16 or float32 values of the slices with the given indices, one after the other, each
    with the share of its voxels that are padding; `padding` is this share of the slices decoded so far, by index.
    """

    grid: Grid
    decode: Callable[[Sequence[int]], Iterable[tuple[np.ndarray, float]]]
    padding: dict[int, float] = field(default_factory=dict, compare=False)

    def cut(self, window: Window) -> sitk.Image:
        """Return a block of the voxels: int16, or float32 if one of its slices is. Only its slices are decoded."""
        x, y, _ = window
        numbers = self.grid.indices(window)[2]
        planes = []
        for k, (one, padding) in zip(numbers, self.decode(numbers), strict=True):
            self.padding[k] = padding
            planes.append(one[y, x].copy())  # only the part within the block stays in memory
        return self.grid[window].image(np.stack(planes))

    def whole(self) -> sitk.Image:
        """Return all voxels."""
        return self.cut((slice(None),) * 3)


def plane_of(header: Any, position: Any, orientation: Any, measures: Any, name: str) -> Plane:
    """Return the geometry of a slice from the parts of its header; raise `GeometryError` if a value is missing."""
    return Plane(
        name,
        _numbers(position, "ImagePositionPatient", 3, name),
        _numbers(orientation, "ImageOrientationPatient", 6, name),
        _numbers(measures, "PixelSpacing", 2, name),
        (_side(header, "Rows", name), _side(header, "Columns", name)),
        _thickness(measures, name),
    )


def _side(header: Any, keyword: str, name: str) -> int:
    """Return the number of rows or columns; raise `GeometryError` unless a slice can have it."""
    value = header.get(keyword)
    side = value if type(value) is int else _numbers(header, keyword, 1, name)[0]
    if not 1 <= side <= LONGEST_SIDE or side != round(side):
        raise GeometryError(
            f"{name}: {keyword} is {side:g}; expected a CT slice of about 512×512. The file is damaged: transfer it "
            "again."
        )
    return int(side)


def _thickness(measures: Any, name: str) -> float | None:
    """Return the stated distance or thickness of slices; a negative distance is a direction, and 0 states nothing."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = measures.get(keyword)
        if value is not None and value != "":
            finite = isinstance(value, float) and math.isfinite(value)
            stated = abs(float(value if finite else _numbers(measures, keyword, 1, name)[0]))
            if stated > 0:
                return stated
    return None


def _numbers(header: Any, keyword: str, count: int, name: str) -> np.ndarray:
    try:
        values = np.array(header.get(keyword), dtype=float).reshape(count)
    except (TypeError, ValueError, OverflowError):
        values = np.full(count, np.nan)
    if not np.isfinite(values).all():
        raise GeometryError(
            f"{name}: {keyword} is missing or not {count} numbers; expected the geometry of the slice. Export the "
            "original series again."
        )
    return values


def stack_planes(planes: Sequence[Plane]) -> Stack:
    """Order slices by position along their normal, and check that they form one even, upright stack.

    Raises
    ------
    GeometryError
        If orientations, pixel sizes or matrices are mixed, if positions are duplicate, missing or uneven, or if the
        stack is tilted (gantry tilt); the message names the slices.
    """
    axes = common_axes(planes)
    normal = axes[:, 2]
    positions = np.array([p.position for p in planes])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [planes[i] for i in order]
    spacing, warnings = _even_spacing(ordered, positions[order] @ normal)
    _require_upright(ordered, positions[order], normal)
    return Stack(
        order=tuple(int(i) for i in order),
        grid=Grid(
            size=(planes[0].shape[1], planes[0].shape[0], len(planes)),
            spacing=(float(planes[0].pixel_mm[1]), float(planes[0].pixel_mm[0]), spacing),
            origin=tuple(positions[order[0]].tolist()),
            direction=without_rounding_noise(axes.ravel()),
        ),
        warnings=warnings,
    )


def common_axes(planes: Sequence[Plane]) -> np.ndarray:
    """Return the (3, 3) direction of planes of one orientation, pixel size and matrix: columns x, y and normal.

    Raises
    ------
    GeometryError
        If these are mixed or invalid; the message names the planes.
    """
    _require_one(planes, "matrix size (rows, columns)", [p.shape for p in planes], 0)
    _require_one(planes, "orientation", [p.orientation for p in planes], 1e-3)
    _require_one(planes, "pixel spacing (mm)", [p.pixel_mm for p in planes], 1e-3)
    along_x, along_y = planes[0].orientation[:3], planes[0].orientation[3:]
    lengths = np.linalg.norm(along_x), np.linalg.norm(along_y)
    if not np.allclose([*lengths, along_x @ along_y], [1, 1, 0], atol=1e-3) or (planes[0].pixel_mm <= 0).any():
        raise GeometryError(
            f"{planes[0].name}: orientation {planes[0].orientation.tolist()}, pixels {planes[0].pixel_mm.tolist()} mm; "
            "expected two perpendicular unit vectors and pixel sizes above 0. Export the original series again."
        )
    normal = np.cross(along_x, along_y)
    normal /= np.linalg.norm(normal)
    along_x = along_x / lengths[0]
    return np.column_stack([along_x, np.cross(normal, along_x), normal])


def _require_one(planes: Sequence[Plane], what: str, values: Sequence[Any], tolerance: float) -> None:
    table = np.array(values, dtype=float)
    usual = np.array(Counter(map(tuple, table.tolist())).most_common(1)[0][0])
    odd = np.flatnonzero((np.abs(table - usual) > tolerance).any(axis=1))
    if odd.size:
        raise GeometryError(
            f"Mixed {what}: {usual.tolist()} in most slices, but {table[odd[0]].tolist()} in "
            f"{first_few(planes[int(i)].name for i in odd)}; expected the same in all slices. Keep a single "
            "reconstruction in the series."
        )


def _even_spacing(planes: Sequence[Plane], along: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Return the spacing of slices at the ordered positions `along` (mm), and warnings; raise unless it is even."""
    thickness = planes[0].thickness_mm
    if len(planes) == 1:
        return thickness or 1.0, () if thickness else (
            "The thickness of the single slice is unknown; 1 mm is assumed.",
        )
    steps = np.diff(along)
    pairs = [f"{a.name} and {b.name}" for a, b in pairwise(planes)]
    if (same := np.flatnonzero(steps < DUPLICATE_MM)).size:
        raise GeometryError(
            f"Slices at the same position: {first_few(pairs[i] for i in same)}; expected one slice per position. "
            "Remove the copies, or separate the phases or reconstructions of the series."
        )
    middle = np.sort(steps)[(len(steps) - 1) // 2]
    usual = float(steps[np.abs(steps - middle) <= middle / 2].mean())
    tolerance = max(TOLERANCE_MM, TOLERANCE_OF_SPACING * usual) + 1e-6
    skipped = np.maximum(np.rint(steps / usual).astype(int) - 1, 0)
    off_lattice = np.abs(steps - (skipped + 1) * usual) > tolerance
    if skipped.any() and not off_lattice.any():
        gaps = [
            f"{skipped[i]} between {pairs[i]} ({along[i]:.2f} to {along[i + 1]:.2f} mm)" for i in skipped.nonzero()[0]
        ]
        raise GeometryError(
            f"{counted(int(skipped.sum()), 'slice')} missing (usual step {usual:.3g} mm): {first_few(gaps)}; expected "
            "an even stack. Transfer the complete series again (or, if it mixes two spacings, export an evenly spaced "
            "one)."
        )
    spacing = float(along[-1] - along[0]) / len(steps)
    drift = np.abs(along - along[0] - spacing * np.arange(len(planes)))
    if off_lattice.any() or drift.max() > tolerance:
        worst = int(np.abs(steps - usual).argmax())
        raise GeometryError(
            f"Mixed spacing: steps of {steps.min():.3g} to {steps.max():.3g} mm, usually {middle:.3g} mm, but "
            f"{steps[worst]:.3g} mm between {pairs[worst]}; expected one spacing. Export an evenly spaced "
            "reconstruction."
        )
    if thickness is None or spacing <= 1.5 * thickness:
        return spacing, ()
    return spacing, (
        f"Slices are {spacing:.3g} mm apart, but {thickness:g} mm thick by the header; slices may be missing.",
    )


def _require_upright(planes: Sequence[Plane], positions: np.ndarray, normal: np.ndarray) -> None:
    """Raise `GeometryError` unless ordered slices are straight above one another along their normal."""
    along = positions @ normal
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    shift = np.linalg.norm(sideways, axis=1)
    bend = np.linalg.norm(sideways - np.outer(np.linspace(0, 1, len(planes)), sideways[-1]), axis=1)
    # Rounded headers shift slices by up to a pixel, which is harmless; a larger shift is another reconstruction.
    if bend.max() > max(TOLERANCE_MM, min(planes[0].pixel_mm)):
        raise GeometryError(
            f"{planes[int(bend.argmax())].name} is shifted sideways by {bend.max():.2f} mm; expected the slices above "
            "one another. Keep a single reconstruction in the series."
        )
    angle = float(np.degrees(np.arctan2(shift[-1], along[-1] - along[0])))
    if shift.max() > TOLERANCE_MM and angle > TILT_DEGREES:
        raise GeometryError(
            f"The stack is tilted by {angle:.1f}° from {planes[0].name} to {planes[-1].name} (gantry tilt); expected "
            "slices straight above one another. Reformat the scan without tilt, or convert it with dcm2niix, which "
            "corrects the tilt."
        )


def off_slice_tolerance(step: float) -> float:
    """Return how far a plane or contour may be from its slice, in slices that are `step` mm apart."""
    return min(max(TOLERANCE_MM / step, LATTICE_TOLERANCE), NEAREST)


def first_few(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few names, and the number of further ones."""
    listed = list(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return "; ".join(listed[:limit]) + rest
