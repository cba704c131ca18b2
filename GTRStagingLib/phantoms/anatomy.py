"""Build the upper abdomen of a synthetic patient from shapes, before the simulation of the scanner.

Positions are millimetres from the body's centre in a patient of standard size: x to the left, y to the back, z to the
head. `Body` scales them; the distances in `Body` are true millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

# HU in the portal-venous phase, by textbooks and routine scans.
AIR, GAS, FAT, WATER, MUSCLE, CORTEX = -1000.0, -950.0, -100.0, 8.0, 58.0, 650.0
ENHANCED = {"liver": 108.0, "spleen": 120.0, "pancreas": 92.0, "kidney": 185.0, "medulla": 150.0, "aorta": 155.0,
            "vein": 160.0, "bowel": 85.0, "mucosa": 125.0, "marrow": 190.0}  # fmt: skip
SUBMUCOSA, MUSCULARIS, SEROSA = 25.0, 62.0, 75.0

LAYERS = (0.3, 0.62, 0.92, 1.0)
"""Outer borders of mucosa, submucosa, muscularis and serosa, as shares of the wall thickness."""

NEIGHBOURS = ("liver", "pancreas", "spleen", "bowel")
"""Organs that a tumour can grow into."""


@dataclass(frozen=True)
class Body:
    """Parameters of the patient, which depend on the seed and not on the stage.

    Attributes
    ----------
    scale
        Scale of the whole body.
    subcutaneous_mm
        Thickness of the fat under the skin.
    distension
        Scale of the stomach's lumen.
    wall_mm, fat_plane_mm
        Thickness of the gastric wall, and of the fat between wall and organs.
    gas_level
        Level of the gas in the lumen, 0 to 1.
    turned_degrees, moved_mm
        Rotation and position of the patient on the table.
    """

    scale: float
    subcutaneous_mm: float
    distension: float
    wall_mm: float
    fat_plane_mm: float
    gas_level: float
    turned_degrees: float
    moved_mm: tuple[float, float]


def draw_body(rng: np.random.Generator) -> Body:
    """Draw the parameters of a patient."""
    return Body(
        scale=rng.uniform(0.9, 1.08),
        subcutaneous_mm=rng.uniform(10, 28),
        distension=rng.uniform(0.85, 1.2),
        wall_mm=rng.uniform(5.5, 8.0),
        fat_plane_mm=rng.uniform(7.0, 10.0),
        gas_level=rng.uniform(0.1, 0.55),
        turned_degrees=rng.uniform(-5, 5),
        moved_mm=(rng.uniform(-8, 8), rng.uniform(-8, 8)),
    )


@dataclass(frozen=True)
class Abdomen:
    """Abdomen of a patient on a grid of (z, y, x) voxels.

    Attributes
    ----------
    hu
        HU before the simulation of the scanner, without a tumour.
    depth
        Signed distance from the inner surface of the gastric wall, mm: negative in the lumen. Distances are exact up to
        `REACH_MM` and only large beyond.
    gut
        Mask of lumen and wall of the stomach.
    organs
        Masks of `NEIGHBOURS`.
    places
        x, y, z in true mm from the body's centre, each broadcast to the grid.
    """

    hu: np.ndarray
    depth: np.ndarray
    gut: np.ndarray
    organs: dict[str, np.ndarray]
    places: tuple[np.ndarray, np.ndarray, np.ndarray]


REACH_MM = 32.0
"""Distance from the stomach up to which depths are exact: wall, fat plane, and the deepest tumour."""


def build_abdomen(body: Body, shape: tuple[int, int, int], spacing_mm: tuple[float, float], enhancement: float,
                  rng: np.random.Generator) -> Abdomen:  # fmt: skip
    """Build the abdomen of a patient.

    Parameters
    ----------
    shape, spacing_mm
        (z, y, x) voxels; slice distance and pixel size.
    enhancement
        Factor on the enhancement of tissue by contrast medium.
    """
    x, y, z = _places(body, shape, spacing_mm)
    places = (x * body.scale, y * body.scale, z * body.scale)
    values = {name: 40 + (hu - 40) * enhancement * rng.uniform(0.96, 1.04) for name, hu in ENHANCED.items()}
    hu = np.full(shape, AIR, dtype=np.float32)
    inside = _wall_and_bones(hu, x, y, z, body, values)
    _spine(hu, x, y, z, values)
    _couch(hu, x, y)

    wide = body.distension
    stomach = _tube((x, y, z), _smooth_path([
        (62, 18, 75, 20 * wide), (64, 8, 45, 30 * wide), (58, -22, 15, 28 * wide), (38, -48, -12, 24 * wide),
        (2, -52, -28, 19 * wide), (-28, -38, -30, 12 * wide), (-44, -22, -30, 8 * wide)]),
        REACH_MM / body.scale) * body.scale  # fmt: skip
    free = inside & (stomach > body.wall_mm + body.fat_plane_mm)
    organs = _organs(hu, (x, y, z), free, values, rng)

    gut = (stomach < body.wall_mm) & inside
    level = -60 + 55 * body.gas_level
    content = np.where(np.broadcast_to(y, shape)[gut] < level, np.float32(GAS), np.float32(WATER))
    depth = stomach[gut] / body.wall_mm
    layers = [depth < 0, *(depth < border for border in LAYERS[:3])]
    hu[gut] = np.select(layers, [content, values["mucosa"], SUBMUCOSA, MUSCULARIS], SEROSA)
    return Abdomen(hu, stomach, gut, organs, places)


def _places(body: Body, shape: tuple[int, int, int], spacing_mm: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Return coordinates in a patient of standard size in this patient's position, to be broadcast to the shape."""
    nz, ny, nx = shape
    slice_mm, pixel_mm = spacing_mm
    z = ((np.arange(nz) - (nz - 1) / 2) * slice_mm / body.scale).astype(np.float32)[:, None, None]
    across = ((np.arange(nx) - (nx - 1) / 2) * pixel_mm - body.moved_mm[0]).astype(np.float32)[None, None, :]
    back = ((np.arange(ny) - (ny - 1) / 2) * pixel_mm - body.moved_mm[1]).astype(np.float32)[None, :, None]
    turn = np.radians(body.turned_degrees)
    x = (np.cos(turn) * across + np.sin(turn) * back) / body.scale
    y = (np.cos(turn) * back - np.sin(turn) * across) / body.scale
    return x.astype(np.float32), y.astype(np.float32), z


# -- shapes --------------------------------------------------------------------------------------------------------


def _ellipsoid(places: tuple[np.ndarray, ...], at: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Return the ellipsoid's function, which is below 1 inside."""
    return sum(((c - a) / r) ** 2 for c, a, r in zip(places, at, radii, strict=True))  # type: ignore[return-value]


def _tube(places: tuple[np.ndarray, ...], path: np.ndarray, reach: float) -> np.ndarray:
    """Return the distance (mm) to a tube through (x, y, z, radius) points, negative inside, at most `reach`.

    Each ball of the tube is computed in its bounding box only.
    """
    shape = np.broadcast_shapes(*(c.shape for c in places))
    nearest = np.full(shape, reach, dtype=np.float32)
    for px, py, pz, radius in path.astype(np.float32):
        box = _box(places, (px, py, pz), (radius + reach,) * 3)
        if box is None:
            continue
        x, y, z = _cut(places, box)
        flat = (x[0] - px) ** 2 + (y[0] - py) ** 2
        distance = np.sqrt(flat[None] + (z - pz) ** 2) - radius
        np.minimum(nearest[box], distance, out=nearest[box])
    return nearest


Box = tuple[slice, slice, slice]
"""Block of voxels along z, y and x."""


def _box(
    places: tuple[np.ndarray, ...], at: Sequence[float] | np.ndarray, radii: Sequence[float] | np.ndarray
) -> Box | None:
    """Return the box within the radii of a point, or None: small shapes are computed in their box only."""
    x, y, z = places
    flat = (np.abs(x[0] - at[0]) < radii[0]) & (np.abs(y[0] - at[1]) < radii[1])
    spans = (_span(np.abs(z[:, 0, 0] - at[2]) < radii[2]), _span(flat.any(axis=1)), _span(flat.any(axis=0)))
    return None if None in spans else spans  # type: ignore[return-value]


def _cut(places: tuple[np.ndarray, ...], box: Box) -> tuple[np.ndarray, ...]:
    """Return the coordinates in a box."""
    x, y, z = places
    return x[:, box[1], box[2]], y[:, box[1], box[2]], z[box[0]]


def _span(wanted: np.ndarray) -> slice | None:
    """Return the slice from the first to the last True."""
    found = np.flatnonzero(wanted)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else None


def _smooth_path(points: list[tuple[float, ...]], n: int = 48) -> np.ndarray:
    """Return (n, 4) points on a smooth curve along control points of (x, y, z, radius)."""
    knots = np.linspace(0, 1, len(points))
    fine = np.linspace(0, 1, 8 * n)
    curve = np.stack([np.interp(fine, knots, column) for column in np.array(points).T], axis=1)
    return gaussian_filter(curve, sigma=(0.6 * n, 0), mode="nearest")[::8]


# -- wall, bones and couch -----------------------------------------------------------------------------------------


def _wall_and_bones(
    hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, body: Body, values: dict[str, float]
) -> np.ndarray:
    """Paint skin, fat, muscle and ribs; return the mask of the abdominal cavity."""
    shape = hu.shape
    # Approximate distance from the skin in mm: the cross-section is a flattened ellipse, wider below.
    radius = (np.abs(x / (163 - 0.08 * z)) ** 2.3 + np.abs(y / 112) ** 2.3) ** (1 / 2.3)
    skin = (1 - radius) * 125
    hu[np.broadcast_to(skin > 0, shape)] = 30.0
    hu[np.broadcast_to(skin > 2.5, shape)] = FAT
    wall = skin - body.subcutaneous_mm * (1 + 0.25 * np.sin(2 * np.arctan2(y, x)))
    hu[wall > 0] = MUSCLE
    cavity = wall > 9
    hu[cavity] = FAT
    # Ribs run down and forward, so that each slice has several short oblique sections.
    angle = np.arctan2(y, np.abs(x))
    phase = np.abs((angle * 1.9 + z / 26 + np.where(x > 0, 0.15, 0.0)) % 1.0 - 0.5)
    rib = (phase < 0.17) & (wall > 0.5) & (wall < 8.5) & (angle < 1.05) & (angle > -0.75)
    hu[rib] = CORTEX * 0.75
    hu[rib & (phase < 0.11) & (wall > 2.5) & (wall < 6.5)] = values["marrow"]
    return cavity


def _spine(hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, values: dict[str, float]) -> None:
    """Paint the vertebrae, the muscles beside them, and the large vessels in front of them."""
    across = np.abs(x)

    def paint(region: np.ndarray, value: float) -> None:
        hu[np.broadcast_to(region, hu.shape)] = value

    for at, radii in (((38, 84), (32, 24)), ((24, 52), (11, 17))):  # erector spinae, psoas and crus
        paint(((across - at[0]) / radii[0]) ** 2 + ((y - at[1]) / radii[1]) ** 2 < 1, MUSCLE)
    vertebra = (x / 22) ** 2 + ((y - 52) / 17) ** 2
    process = ((across - 20 - 0.3 * (y - 70)) / 15) ** 2 + ((y - 74) / 4.5) ** 2
    spinous = (x / 3.5) ** 2 + ((y - 92) / 13) ** 2
    canal = (x / 10) ** 2 + ((y - 75) / 9) ** 2
    arch = ((x / 15) ** 2 + ((y - 75) / 13) ** 2 < 1) & (canal > 1)
    paint(arch | (process < 1) | (spinous < 1), 0.6 * CORTEX)
    paint(vertebra < 1, 0.7 * CORTEX)
    paint(vertebra < 0.8, values["marrow"])
    paint((vertebra < 1) & (z % 34 < 7), 85.0)  # the discs
    paint(canal < 1, 30.0)
    paint(((x - 9) ** 2 + (y - 24) ** 2) / 10.5**2 < 1, values["aorta"])
    paint(((x + 22) / 13) ** 2 + ((y - 24) / 10) ** 2 < 1, values["vein"])


def _couch(hu: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Paint the scanner's table under the back: a shell filled with foam."""
    under = y - 118 + (x / 60) ** 2 * 4
    table = (np.abs(x) < 190) & (under > 0) & (under < 16)
    shell = table & ((under < 1.6) | (under > 14.4))
    empty = hu <= AIR
    hu[np.broadcast_to(table, hu.shape) & empty] = -880.0
    hu[np.broadcast_to(shell, hu.shape) & empty] = -250.0


# -- the organs ----------------------------------------------------------------------------------------------------


def _organs(
    hu: np.ndarray, places: tuple[np.ndarray, ...], free: np.ndarray, values: dict[str, float],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Paint organs, vessels and bowel in free space; return the masks of `NEIGHBOURS`."""
    shape = hu.shape
    liver = (_ellipsoid(places, (-78, -8, 22), (76, 88, 78)) < 1) | (
        _ellipsoid(places, (-5, -52, 34), (78, 36, 46)) < 1
    )
    spleen = _ellipsoid(places, (112, 34, 18), (32, 50, 52)) < 1
    pancreas = _tube(places, _smooth_path([
        (-40, 4, -32, 15), (-12, -2, -14, 10), (28, 8, -2, 11), (72, 26, 16, 11),
        (90, 30, 22, 9)]), 2.0) < 0  # fmt: skip
    organs = {}
    for name, mask in (("liver", liver), ("spleen", spleen), ("pancreas", pancreas)):
        organs[name] = np.broadcast_to(mask, shape) & free & (hu < 0)
        hu[organs[name]] = values[name]
    for side in (-1, 1):
        kidney = _ellipsoid(places, (side * 66, 56, -42), (29, 27, 58))
        inside = np.broadcast_to(kidney < 1, shape) & free & (hu < 0)
        hu[inside] = values["kidney"]
        hu[inside & np.broadcast_to(kidney < 0.55, shape)] = values["medulla"]
        hu[inside & np.broadcast_to(kidney < 0.16, shape)] = -60.0
    _liver_veins(hu, places, organs["liver"], values, rng)
    organs["bowel"] = _bowel(hu, places, free & (hu < -90), values, rng)
    return organs


def _liver_veins(
    hu: np.ndarray, places: tuple[np.ndarray, ...], liver: np.ndarray, values: dict[str, float],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Paint portal and hepatic veins, from the hilum outwards."""
    along = np.linspace(0, 1, 24)
    for _ in range(9):
        way = rng.normal(size=3) * (1, 1, 0.5) + (-0.7, -0.3, 0.4)
        way /= np.linalg.norm(way)
        path = np.column_stack([np.array([-28.0, 0, 10]) + 80 * along[:, None] * way, 5.5 - 4 * along])
        hu[liver & (_tube(places, path, 1.0) < 0)] = values["vein"]


LOOPS = ((-95, -38, -46), (100, -25, -30), (-70, -66, -52), (70, -68, -48), (20, -40, -66), (-20, -10, -60),
         (45, 5, -52), (105, 10, -55), (10, -78, -50), (-105, 5, -60), (40, -78, -30), (92, -52, -10))  # fmt: skip
"""Approximate centres of the loops of bowel and colon."""


def _bowel(
    hu: np.ndarray, places: tuple[np.ndarray, ...], room: np.ndarray, values: dict[str, float],
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Paint loops with fluid, stool or gas, and mesenteric vessels between them; return the mask of the loops."""
    y = np.broadcast_to(places[1], hu.shape)
    loops = np.zeros(hu.shape, dtype=bool)
    for centre in LOOPS:
        at = np.array(centre) + rng.normal(0, 5, 3)
        radii = rng.uniform(13, 20, 3) * (1, 1, 1.4)
        content = GAS if rng.random() < 0.45 else rng.uniform(10, 35)
        if (box := _box(places, at, radii)) is None:
            continue
        loop = _ellipsoid(_cut(places, box), tuple(at), tuple(radii))
        wall = room[box] & (loop < 1)
        inside = wall & (loop < 0.72)
        hu[box][wall] = values["bowel"]
        hu[box][inside] = np.where(y[box][inside] < at[1] + 2, np.float32(content), np.float32(25.0))
        loops[box] |= wall
    for _ in range(45):
        at = rng.uniform((-70, -70, -70), (90, 20, 40))
        radii = rng.uniform(1.5, 3.2, 3) * (1, 1, 3)
        if (box := _box(places, at, radii)) is not None:
            vessel = _ellipsoid(_cut(places, box), tuple(at), tuple(radii)) < 1
            hu[box][room[box] & ~loops[box] & vessel] = 120.0
    return loops
