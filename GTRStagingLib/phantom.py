"""A synthetic abdominal CT with a gastric tumour whose stage, depth and mask are known exactly. First version.

The stage is the depth that the tumour reaches (AJCC 8): T1 mucosa and submucosa, T2 muscularis with a smooth outer
contour, T3 subserosal fat with an irregular one, T4 through the fat plane into the liver, the pancreas or the spleen.
Everything else is drawn from the seed, whatever the stage: one seed is one patient, in four stages.

Positions inside are millimetres from the body's centre: x to the left, y to the back, z to the head.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from skimage.filters import gaussian

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage

# Portal-venous HU, as text books and routine scans have them.
AIR, GAS, FAT, WATER, MUSCLE, MARROW, CORTEX = -1000.0, -950.0, -100.0, 5.0, 60.0, 190.0, 650.0
LIVER, SPLEEN, PANCREAS, KIDNEY, MEDULLA, AORTA, VEIN = 108.0, 120.0, 92.0, 185.0, 150.0, 155.0, 150.0
MUCOSA, SUBMUCOSA, MUSCULARIS = 125.0, 45.0, 80.0

LAYERS = (0.35, 0.6, 1.0)
"""Outer borders of mucosa, submucosa and muscularis, as shares of the wall."""


@dataclass(frozen=True)
class Anatomy:
    """What the seed decides, and the stage does not.

    Attributes
    ----------
    body, distension
        Scale of the body, and of the stomach's lumen.
    wall_mm, fat_plane_mm
        Thickness of the gastric wall, and of the fat between it and the organs.
    tumour_length_mm, tumour_bulge_mm
        Along the wall, and into the lumen.
    tumour_hu
        Enhancement.
    neighbour
        The organ that the tumour faces: 'liver', 'pancreas' or 'spleen'.
    """

    body: float
    subcutaneous_mm: float
    distension: float
    wall_mm: float
    fat_plane_mm: float
    tumour_length_mm: float
    tumour_bulge_mm: float
    tumour_hu: float
    neighbour: str
    gas_level: float


@dataclass(frozen=True)
class Phantom:
    """A CT and its ground truth.

    Attributes
    ----------
    ct
        int16 HU, axial LPS.
    tumour
        uint8 0/1 on the same grid.
    depth_mm
        Greatest depth of the tumour, from the inner surface of the wall outwards.
    """

    ct: sitk.Image
    tumour: sitk.Image
    stage: TStage
    seed: int
    depth_mm: float
    anatomy: Anatomy


def make_phantom(
    stage: TStage,
    *,
    seed: int = 0,
    size: int = 256,
    field_of_view_mm: float = 360.0,
    slice_thickness_mm: float = 5.0,
    slices: int = 24,
    noise_hu: float = 11.0,
) -> Phantom:
    """Make a phantom: the same bits for the same arguments.

    Parameters
    ----------
    size, slices
        Pixels of a slice's side (64 or more), and slices (8 or more).
    noise_hu
        Standard deviation of the noise, correlated as a soft kernel leaves it.

    Raises
    ------
    InputError
        If the slices are too few or too small to hold a stomach, or a number is out of range.
    """
    if size < 64 or slices < 8 or not 200 <= field_of_view_mm <= 700 or slices * slice_thickness_mm < 80:
        raise InputError(
            f"Phantom of {slices} slices of {slice_thickness_mm:g} mm, {size} pixels over {field_of_view_mm:g} mm; "
            "expected at least 80 mm in 8 slices or more, 64 pixels or more, and a field of 200 to 700 mm."
        )
    if noise_hu < 0 or seed < 0:
        raise InputError(f"Noise of {noise_hu:g} HU, seed {seed}; expected neither below 0.")
    rng = np.random.default_rng(seed)
    anatomy = _anatomy(rng)
    spacing = field_of_view_mm / size
    x, y, z = _coordinates(size, slices, spacing, slice_thickness_mm)
    hu, organs, depth, gut = _abdomen(x, y, z, anatomy, rng)
    centre = _tumour_centre(x, y, z, depth, organs[anatomy.neighbour], anatomy, rng)
    bumps = _bumps(hu.shape, rng)
    tumour, deepest = _tumour(stage, x, y, z, depth, gut, centre, bumps, anatomy)
    hu = np.where(tumour, anatomy.tumour_hu * (1 + 0.08 * bumps), hu)
    ct = _scanned(hu, noise_hu, rng)
    return Phantom(
        _image(ct, spacing, slice_thickness_mm),
        _image(tumour.astype(np.uint8), spacing, slice_thickness_mm),
        stage,
        seed,
        deepest,
        anatomy,
    )


def _anatomy(rng: np.random.Generator) -> Anatomy:
    return Anatomy(
        body=rng.uniform(0.92, 1.08),
        subcutaneous_mm=rng.uniform(12, 28),
        distension=rng.uniform(0.85, 1.2),
        wall_mm=rng.uniform(4.0, 6.0),
        fat_plane_mm=rng.uniform(7.0, 10.0),
        tumour_length_mm=rng.uniform(32, 60),
        tumour_bulge_mm=rng.uniform(4, 12),
        tumour_hu=rng.uniform(85, 115),
        neighbour=str(rng.choice(["liver", "pancreas", "spleen"])),
        gas_level=rng.uniform(0.15, 0.55),
    )


def _coordinates(size: int, slices: int, spacing: float, thickness: float) -> list[np.ndarray]:
    """x, y, z in mm, ready to broadcast to (slices, size, size)."""
    plane = ((np.arange(size) - (size - 1) / 2) * spacing).astype(np.float32)
    height = ((np.arange(slices) - (slices - 1) / 2) * thickness).astype(np.float32)
    return [plane[None, None, :], plane[None, :, None], height[:, None, None]]


def _ellipsoid(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, at: tuple[float, ...], radii: tuple[float, ...]
) -> np.ndarray:
    """Below 1 inside."""
    return sum(((c - a) / r) ** 2 for c, a, r in zip((x, y, z), at, radii, strict=True))  # type: ignore[return-value]


def _tube(x: np.ndarray, y: np.ndarray, z: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Distance (mm) to a tube through (x, y, z, radius) points: negative inside, positive outside."""
    best = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), np.inf, dtype=np.float32)
    for px, py, pz, radius in path.astype(np.float32):
        np.minimum(best, np.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) - radius, out=best)
    return best


def _smooth_path(points: list[tuple[float, ...]], n: int = 48) -> np.ndarray:
    """(n, 4) points along a smooth curve through control points of (x, y, z, radius)."""
    knots = np.linspace(0, 1, len(points))
    fine = np.linspace(0, 1, 8 * n)
    curve = np.stack([np.interp(fine, knots, column) for column in np.array(points).T], axis=1)
    return gaussian(curve, sigma=(0.6 * n, 0), mode="nearest")[::8]


def _abdomen(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, a: Anatomy, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """HU before the scanner; the organs' masks; depth from the stomach's inner surface, mm; stomach and wall."""
    x, y, z = x / a.body, y / a.body, z
    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    hu = np.full(shape, AIR, dtype=np.float32)
    # How far inside the skin, in mm, near enough: the body's section is a flattened ellipse, wider below.
    radius = (np.abs(x / (163 - 0.08 * z)) ** 2.3 + np.abs(y / 112) ** 2.3) ** (1 / 2.3)
    skin = (1 - radius) * 125
    hu[np.broadcast_to(skin > 0, shape)] = 30.0
    hu[np.broadcast_to(skin > 2.5, shape)] = FAT
    wall = skin - a.subcutaneous_mm * (1 + 0.25 * np.sin(2 * np.arctan2(y, x)))
    hu[np.broadcast_to(wall > 0, shape)] = MUSCLE
    cavity = np.broadcast_to(wall > 9, shape)
    hu[cavity] = FAT
    _ribs(hu, x, y, z, np.broadcast_to(wall, shape))
    _spine(hu, x, y, z, shape)

    lumen = a.distension
    stomach = _tube(x, y, z, _smooth_path([
        (62, 18, 75, 20 * lumen), (64, 8, 45, 30 * lumen), (58, -22, 15, 28 * lumen), (38, -48, -12, 24 * lumen),
        (2, -52, -28, 19 * lumen), (-28, -38, -30, 12 * lumen), (-44, -22, -30, 8 * lumen)]))  # fmt: skip
    apart = stomach > a.wall_mm + a.fat_plane_mm

    liver = (_ellipsoid(x, y, z, (-78, -8, 22), (76, 88, 78)) < 1) | (
        _ellipsoid(x, y, z, (-5, -52, 34), (78, 36, 46)) < 1
    )
    spleen = _ellipsoid(x, y, z, (112, 34, 18), (32, 50, 52)) < 1
    pancreas = _tube(x, y, z, _smooth_path([
        (-40, 4, -32, 15), (-12, -2, -14, 10), (28, 8, -2, 11), (72, 26, 16, 11), (90, 30, 22, 9)])) < 0  # fmt: skip
    kidneys = {side: _ellipsoid(x, y, z, (side * 66, 56, -42), (29, 27, 58)) for side in (-1, 1)}
    organs = {}
    taken = ~apart
    for name, mask, value in (("liver", liver, LIVER), ("spleen", spleen, SPLEEN), ("pancreas", pancreas, PANCREAS)):
        organs[name] = np.broadcast_to(mask, shape) & cavity & ~taken & ~(hu > 65)
        taken = taken | organs[name]
        hu[organs[name]] = value
    for mask in kidneys.values():
        inside = np.broadcast_to(mask < 1, shape) & cavity & ~taken & ~(hu > 65)
        hu[inside] = KIDNEY
        hu[inside & np.broadcast_to(mask < 0.55, shape)] = MEDULLA
        hu[inside & np.broadcast_to(mask < 0.16, shape)] = -60.0
    _vessels(hu, x, y, z, organs["liver"], rng)
    _bowel(hu, x, y, z, cavity & ~taken & ~(hu > -90), a, rng)

    gut = (stomach < a.wall_mm) & cavity
    level = -52 + 60 * a.gas_level - 20
    hu[gut] = np.select(
        [stomach < 0, stomach < LAYERS[0] * a.wall_mm, stomach < LAYERS[1] * a.wall_mm],
        [np.where(np.broadcast_to(y, shape) < level, GAS, WATER), MUCOSA, SUBMUCOSA],
        MUSCULARIS,
    )[gut]
    return hu, organs, stomach, gut


def _ribs(hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, wall: np.ndarray) -> None:
    """Ribs run down and forward, so that each slice cuts several, short and oblique."""
    angle = np.arctan2(y, np.abs(x))
    phase = (angle * 1.9 + z / 26 + np.where(x > 0, 0.15, 0.0)) % 1.0
    rib = (np.abs(phase - 0.5) < 0.17) & (wall > 0.5) & (wall < 8.5) & (angle < 1.05) & (angle > -0.75)
    hu[rib] = CORTEX * 0.75
    hu[rib & (np.abs(phase - 0.5) < 0.11) & (wall > 2.5) & (wall < 6.5)] = MARROW


def _spine(hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, shape: tuple[int, ...]) -> None:
    across = np.abs(x)
    for at, radii in (((38, 84), (32, 24)), ((24, 52), (11, 17))):  # erector spinae, psoas and crus
        hu[np.broadcast_to(((across - at[0]) / radii[0]) ** 2 + ((y - at[1]) / radii[1]) ** 2 < 1, shape)] = MUSCLE
    body = (x / 22) ** 2 + ((y - 52) / 17) ** 2
    process = ((across - 20 - 0.3 * (y - 70)) / 15) ** 2 + ((y - 74) / 4.5) ** 2
    spinous = (x / 3.5) ** 2 + ((y - 92) / 13) ** 2
    arch = ((x / 15) ** 2 + ((y - 75) / 13) ** 2 < 1) & ((x / 10) ** 2 + ((y - 75) / 9) ** 2 > 1)
    disc = np.broadcast_to((z % 34) < 7, shape)
    hu[np.broadcast_to(arch | (process < 1) | (spinous < 1), shape)] = 0.6 * CORTEX
    hu[np.broadcast_to(body < 1, shape)] = 0.7 * CORTEX
    hu[np.broadcast_to(body < 0.8, shape)] = MARROW
    hu[np.broadcast_to(body < 1, shape) & disc] = 85.0
    hu[np.broadcast_to((x / 10) ** 2 + ((y - 75) / 9) ** 2 < 1, shape)] = 30.0
    aorta = ((x - 9) ** 2 + (y - 24) ** 2) / 10.5**2
    hu[np.broadcast_to(aorta < 1, shape)] = AORTA
    hu[np.broadcast_to(((x + 22) / 13) ** 2 + ((y - 24) / 10) ** 2 < 1, shape)] = VEIN


def _vessels(
    hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, liver: np.ndarray, rng: np.random.Generator
) -> None:
    """Portal and hepatic veins, from the hilum outwards."""
    for _ in range(9):
        direction = rng.normal(size=3) * (1, 1, 0.5) + (-0.7, -0.3, 0.4)
        direction /= np.linalg.norm(direction)
        ends = [(-28 + 80 * t * direction[0], 0 + 80 * t * direction[1], 10 + 80 * t * direction[2], 5.5 - 4 * t)
                for t in np.linspace(0, 1, 24)]  # fmt: skip
        hu[liver & (_tube(x, y, z, np.array(ends)) < 0)] = VEIN


def _bowel(
    hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, room: np.ndarray, a: Anatomy, rng: np.random.Generator
) -> None:
    """Loops of bowel and colon where there is room, with fluid, stool or gas, and mesenteric vessels between them."""
    for centre in ((-95, -38, -46), (100, -25, -30), (-70, -66, -52), (70, -68, -48), (20, -40, -66), (-20, -10, -60),
                   (45, 5, -52), (105, 10, -55), (10, -78, -50), (-105, 5, -60)):  # fmt: skip
        at = np.array(centre) + rng.normal(0, 5, 3)
        radii = tuple(rng.uniform(13, 20, 3) * (1, 1, 1.4))
        loop = _ellipsoid(x, y, z, tuple(at), radii)
        hu[room & (loop < 1)] = 85.0
        content = GAS if rng.random() < 0.45 else rng.uniform(10, 35)
        inside = room & (loop < 0.72)
        hu[inside] = np.where(np.broadcast_to(y, hu.shape) < at[1] + 2, content, 25.0)[inside]
    for _ in range(45):
        at = rng.uniform((-70, -70, -70), (90, 20, 40))
        hu[room & (_ellipsoid(x, y, z, tuple(at), tuple(rng.uniform(1.5, 3.2, 3) * (1, 1, 3))) < 1) & (hu < -50)] = (
            120.0
        )


def _tumour_centre(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray, organ: np.ndarray, a: Anatomy,
    rng: np.random.Generator,
) -> tuple[float, float, float]:  # fmt: skip
    """A place on the outer surface of the wall, beyond whose fat plane the chosen organ begins."""
    border = a.wall_mm + a.fat_plane_mm
    height = 0.55 * float(np.abs(z).max())
    near = np.argwhere(organ & (depth < border + 3) & (np.abs(z) < height))
    if len(near) == 0:
        near = np.argwhere(np.broadcast_to((depth > 0) & (depth < border) & (np.abs(z) < height), depth.shape))
    k, j, i = near[rng.integers(len(near))]
    return float(x[0, 0, i]), float(y[0, j, 0]), float(z[k, 0, 0])


def _bumps(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of standard deviation 1: what makes a contour irregular."""
    field = gaussian(rng.normal(size=shape).astype(np.float32), sigma=(0.8, 3, 3))
    return (field / field.std()).astype(np.float32)


def _tumour(
    stage: TStage, x: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray, gut: np.ndarray,
    centre: tuple[float, float, float], bumps: np.ndarray, a: Anatomy,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """The mask, and how deep it reaches (mm).

    `centre` lies beyond the wall's fat plane: distances along the wall are taken from its foot on the wall.
    """
    border = a.wall_mm + a.fat_plane_mm
    reach = {
        TStage.T1: LAYERS[1] * a.wall_mm,
        TStage.T2: LAYERS[2] * a.wall_mm,
        TStage.T3: a.wall_mm + 0.6 * a.fat_plane_mm,
        TStage.T4: border + 5.0,
    }[stage]
    away = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    # From the foot, `border` mm inwards, to a voxel of the wall: the side of a right triangle.
    along = np.sqrt(np.maximum(away**2 - (border - np.minimum(depth, border)) ** 2, 0)) / (a.tumour_length_mm / 2)
    profile = np.sqrt(np.clip(1 - along**2, 0, 1))
    outer = a.wall_mm * LAYERS[0] + (reach - a.wall_mm * LAYERS[0]) * profile
    if stage >= TStage.T3:
        outer = np.minimum(outer * (1 + 0.16 * bumps), reach)
    tumour = (along < 1) & (depth > -a.tumour_bulge_mm * profile) & (depth < outer)
    tumour = tumour & (gut | (stage >= TStage.T3))
    return tumour, float(depth[tumour].max()) if tumour.any() else 0.0


def _scanned(hu: np.ndarray, noise_hu: float, rng: np.random.Generator) -> np.ndarray:
    """Partial volume, texture of the tissue, and noise as a soft kernel leaves it."""
    blurred = gaussian(hu, sigma=(0.35, 0.75, 0.75), preserve_range=True)
    texture = np.stack([gaussian(rng.normal(size=hu.shape[1:]), sigma=3.0) for _ in range(len(hu))])
    noise = np.stack([gaussian(rng.normal(size=hu.shape[1:]), sigma=0.85) for _ in range(len(hu))])
    tissue = blurred > -500
    scanned = blurred + noise * (noise_hu / noise.std()) + tissue * texture * (4.0 / texture.std())
    return np.clip(np.round(scanned), -1024, 3071).astype(np.int16)


def _image(array: np.ndarray, spacing: float, thickness: float) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing, spacing, thickness))
    nz, ny, nx = array.shape
    image.SetOrigin((-(nx - 1) / 2 * spacing, -(ny - 1) / 2 * spacing, -(nz - 1) / 2 * thickness))
    return image
