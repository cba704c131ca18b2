"""Slices into one even stack: their order by position, and every way in which they can fail to form a volume.

Nothing is guessed, dropped or interpolated: a stack with a gap, a double, two spacings or a tilt is an error
that names the slices. Their voxels are decoded where they are asked for, and nowhere else (`Undecoded`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError
from GTRStagingLib.imaging.geometry import Grid, Window, without_dust

DUPLICATE_MM = 0.01
"""Two slices nearer than this are at one place: finer than any scanner's slices, coarser than float noise."""

TOLERANCE_MM, TOLERANCE_OF_SPACING = 0.1, 0.02
"""How far a step may err, the larger counting: positions written to 0.1 mm are each off by up to half."""

TILT_DEGREES = 0.1
"""Orientations rounded to three digits lean by up to 0.05°; real gantry tilts begin at about half a degree."""


class Plane(NamedTuple):
    """Where one slice lies: LPS mm; `orientation` is the direction of x then of y; `pixel_mm` is (y, x)."""

    name: str
    position: np.ndarray  # (3,)
    orientation: np.ndarray  # (6,)
    pixel_mm: np.ndarray  # (2,)
    shape: tuple[int, int]  # rows, columns
    thickness_mm: float | None


@dataclass(frozen=True)
class Stack:
    """Slices in order of position (against the stack's own normal, not the body), and their even grid.

    `order[k]` is the index, among the planes as given, of slice k.
    """

    order: tuple[int, ...]
    grid: Grid
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Undecoded:
    """The voxels of a stack, decoded slice by slice when they are asked for.

    `decode` gives the (y, x) int16 or float32 values of the slices of these numbers, one after the other.
    """

    grid: Grid
    decode: Callable[[Sequence[int]], Iterable[np.ndarray]]

    def cut(self, window: Window) -> sitk.Image:
        """A block of the voxels: int16, or float32 where one of its slices is. Only its slices are decoded."""
        x, y, _ = window
        numbers = self.grid.chosen(window)[2]
        # Copied, so that of a slice no more is kept than its part of the block.
        return self.grid[window].image(np.stack([one[y, x].copy() for one in self.decode(numbers)]))

    def whole(self) -> sitk.Image:
        """All voxels."""
        return self.cut((slice(None),) * 3)


def plane_of(header: Any, position: Any, orientation: Any, measures: Any, name: str) -> Plane:
    """Place a slice, by the parts of its header that say so; `GeometryError` where they are silent."""
    told = [keyword for keyword in ("SpacingBetweenSlices", "SliceThickness") if measures.get(keyword)]
    return Plane(
        name,
        _numbers(position, "ImagePositionPatient", 3, name),
        _numbers(orientation, "ImageOrientationPatient", 6, name),
        _numbers(measures, "PixelSpacing", 2, name),
        (int(header.get("Rows") or 0), int(header.get("Columns") or 0)),
        abs(float(_numbers(measures, told[0], 1, name)[0])) if told else None,
    )


def _numbers(header: Any, keyword: str, count: int, name: str) -> np.ndarray:
    try:
        values = np.array(header.get(keyword), dtype=float).reshape(count)
    except (TypeError, ValueError):
        values = np.full(count, np.nan)
    if not np.isfinite(values).all():
        raise GeometryError(
            f"{name}: {keyword} is missing or not {count} numbers; expected the values that say where the slice "
            "lies. Export the original series again."
        )
    return values


def stacked(planes: Sequence[Plane]) -> Stack:
    """Order slices by position along their normal, and require that they form one even, upright stack.

    Raises
    ------
    GeometryError
        Naming the slices, if orientations, pixel sizes or matrices are mixed, if positions are doubled, missing or
        uneven, or if the stack leans (gantry tilt).
    """
    _require_one(planes, "matrix size (rows, columns)", [p.shape for p in planes], 0)
    _require_one(planes, "orientation", [p.orientation for p in planes], 1e-3)
    _require_one(planes, "pixel spacing (mm)", [p.pixel_mm for p in planes], 1e-3)
    along_x, along_y = planes[0].orientation[:3], planes[0].orientation[3:]
    lengths = np.linalg.norm(along_x), np.linalg.norm(along_y)
    if not np.allclose([*lengths, along_x @ along_y], [1, 1, 0], atol=1e-3) or (planes[0].pixel_mm <= 0).any():
        raise GeometryError(
            f"{planes[0].name}: orientation {planes[0].orientation.tolist()}, pixels {planes[0].pixel_mm.tolist()} mm; "
            "expected two perpendicular unit vectors and sizes above 0. Export the original series again."
        )
    normal = np.cross(along_x, along_y)
    normal /= np.linalg.norm(normal)
    along_x = along_x / lengths[0]
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
            direction=without_dust(np.column_stack([along_x, np.cross(normal, along_x), normal]).ravel()),
        ),
        warnings=warnings,
    )


def _require_one(planes: Sequence[Plane], what: str, values: Sequence[Any], tolerance: float) -> None:
    table = np.array(values, dtype=float)
    usual = np.array(Counter(map(tuple, table.tolist())).most_common(1)[0][0])
    odd = np.flatnonzero((np.abs(table - usual) > tolerance).any(axis=1))
    if odd.size:
        raise GeometryError(
            f"Mixed {what}: {usual.tolist()} in most slices, but {table[odd[0]].tolist()} in "
            f"{some(planes[int(i)].name for i in odd)}; expected one throughout. Keep a single reconstruction in the "
            "series."
        )


def _even_spacing(planes: Sequence[Plane], along: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """The spacing of slices at the ordered positions `along` (mm), and warnings; raises unless it is even."""
    thickness = planes[0].thickness_mm
    if len(planes) == 1:
        return thickness or 1.0, () if thickness else ("A single slice of unknown thickness: taken as 1 mm.",)
    steps = np.diff(along)
    pairs = [f"{a.name} and {b.name}" for a, b in pairwise(planes)]
    if (same := np.flatnonzero(steps < DUPLICATE_MM)).size:
        raise GeometryError(
            f"Slices at one position: {some(pairs[i] for i in same)}; expected one slice a position. Remove the "
            "copies, or separate the phases or reconstructions that share the series."
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
            f"{skipped.sum()} slice(s) missing, the usual step being {usual:.3g} mm: {some(gaps)}; expected an even "
            "stack. Transfer the series again in full (or, if it mixes two spacings, export an evenly spaced one)."
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
        f"Slices lie {spacing:.3g} mm apart, the header says {thickness:g} mm: some in between may be missing.",
    )


def _require_upright(planes: Sequence[Plane], positions: np.ndarray, normal: np.ndarray) -> None:
    """Raise unless slices in order lie straight above one another along their normal."""
    along = positions @ normal
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    shift = np.linalg.norm(sideways, axis=1)
    bend = np.linalg.norm(sideways - np.outer(np.linspace(0, 1, len(planes)), sideways[-1]), axis=1)
    # A pixel of wobble does no harm, and rounded headers show it; more is another reconstruction.
    if bend.max() > max(TOLERANCE_MM, min(planes[0].pixel_mm)):
        raise GeometryError(
            f"{planes[int(bend.argmax())].name} is shifted sideways by {bend.max():.2f} mm; expected the slices above "
            "one another. Keep a single reconstruction in the series."
        )
    angle = float(np.degrees(np.arctan2(shift[-1], along[-1] - along[0])))
    if shift.max() > TOLERANCE_MM and angle > TILT_DEGREES:
        raise GeometryError(
            f"The stack leans by {angle:.1f}° from {planes[0].name} to {planes[-1].name} (gantry tilt); expected "
            "slices straight above one another. Have the scan reformatted without tilt, or convert it with dcm2niix, "
            "which corrects the tilt."
        )


def some(names: Iterable[str], limit: int = 3) -> str:
    """List the first few names, and how many more there are."""
    listed = list(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return "; ".join(listed[:limit]) + rest
