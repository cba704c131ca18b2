"""Make a synthetic abdominal CT with a gastric tumour of exactly known stage, depth and mask.

The tumour grows from the mucosa, and the stage is the layer that it reaches (AJCC 8):

- T1: mucosa and submucosa; a dark stripe of submucosa and the muscularis outside it remain;
- T2: the muscularis; the outer contour stays smooth;
- T3: the subserosal fat; the contour is irregular, the fat around it hazy, the plane to the organs kept;
- T4: through the serosa and the fat plane into the liver, the pancreas, the spleen or the bowel.

Everything else depends only on the seed: one seed is one patient, in four stages. The walls have the upper end of the
normal thickness, and tumours enhance strongly, so that phantoms are easier than clinical cases.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from GTRStagingLib.errors import InputError
from GTRStagingLib.phantoms.anatomy import LAYERS, NEIGHBOURS, Abdomen, Body, build_abdomen, draw_body
from GTRStagingLib.phantoms.scanner import COVERAGE_MM, Acquisition, as_image, draw_acquisition, profile, simulate_scan
from GTRStagingLib.stages import TStage

REACH = {
    TStage.T1: (0.30, 0.45),
    TStage.T2: (0.88, 1.00),
    TStage.T3: (0.40, 0.70),
    TStage.T4: (3.5, 7.5),
}
"""Range of a tumour's depth: T1 and T2 in shares of the wall, T3 in shares of the fat plane, T4 in mm beyond it."""


@dataclass(frozen=True)
class Lesion:
    """Parameters of the tumour, which depend on the seed and not on the stage.

    Attributes
    ----------
    neighbour
        Organ that the tumour faces, one of `NEIGHBOURS`.
    centre_mm
        Point of this organ near the stomach: (x, y, z) from the body's centre.
    length_mm, bulge_mm
        Length along the wall, and height into the lumen.
    enhancement_hu
        HU of the tumour's tissue.
    share
        Position of the depth in the range of the stage (`REACH`), 0 to 1.
    """

    neighbour: str
    centre_mm: tuple[float, float, float]
    length_mm: float
    bulge_mm: float
    enhancement_hu: float
    share: float


@dataclass(frozen=True)
class Phantom:
    """Synthetic CT with its ground truth.

    Attributes
    ----------
    ct
        int16 HU, axial LPS.
    tumour
        uint8 0/1 on the same grid.
    stomach
        Lumen and wall of the stomach, with a tumour inside them: uint8 0/1 on the same grid.
    depth_mm
        Largest depth of the tumour, outwards from the inner surface of the wall.
    """

    ct: sitk.Image
    tumour: sitk.Image
    stomach: sitk.Image
    stage: TStage
    seed: int
    depth_mm: float
    body: Body
    lesion: Lesion
    scan: Acquisition


def make_phantom(stage: TStage, *, seed: int = 0, scanner: str = "A", size: int = 256) -> Phantom:
    """Make a phantom; equal arguments give exactly equal phantoms.

    Parameters
    ----------
    scanner
        Name of a scanner profile, one of `scanner.PROFILES`.
    size
        Width and height of the slices in pixels; scanners have 512, and 256 is four times as fast.

    Raises
    ------
    InputError
        If the slices are too small or too large, the seed is negative, or the profile does not exist.

    Examples
    --------
    One seed is one patient; only the depth of the tumour depends on the stage. T2 is within the wall, T3 is not.

    >>> from GTRStagingLib.phantoms.phantom import make_phantom
    >>> from GTRStagingLib.stages import TStage
    >>> t2, t3 = (make_phantom(stage, seed=1, size=64) for stage in (TStage.T2, TStage.T3))
    >>> t2.body == t3.body, t2.lesion == t3.lesion
    (True, True)
    >>> t2.depth_mm < t2.body.wall_mm < t3.depth_mm
    True
    """
    rng, body, scan, abdomen = _patient(seed, scanner, size)
    shape = abdomen.hu.shape
    pixel_mm, slice_mm = scan.field_mm / size, scan.profile.slice_mm
    lesion = _lesion(abdomen, body, pixel_mm, slice_mm, rng)
    bumps = _bumps(shape, pixel_mm, slice_mm, rng)
    outer, along = _extent(stage, abdomen, body, lesion, bumps)
    tumour = _tumour(stage, abdomen, lesion, outer, along)
    hu = _infiltrated(abdomen, outer, along) if stage >= TStage.T3 else abdomen.hu
    tissue = 40 + (lesion.enhancement_hu - 40) * scan.enhancement
    hu = np.where(tumour, tissue * (1 + np.float32(0.08) * bumps), hu)
    return Phantom(
        as_image(simulate_scan(hu, scan, pixel_mm, rng), pixel_mm, slice_mm),
        as_image(tumour.astype(np.uint8), pixel_mm, slice_mm),
        as_image(abdomen.gut.astype(np.uint8), pixel_mm, slice_mm),
        stage,
        seed,
        float(abdomen.depth[tumour].max()),
        body,
        lesion,
        scan,
    )


def stomach_of(seed: int, *, scanner: str = "A", size: int = 256) -> sitk.Image:
    """Return the mask of a phantom's stomach, as `Phantom.stomach`, without making the phantom.

    It does not depend on the stage; parameters and errors are those of `make_phantom`.

    Examples
    --------
    >>> import SimpleITK as sitk
    >>> from GTRStagingLib.phantoms.phantom import make_phantom, stomach_of
    >>> from GTRStagingLib.stages import TStage
    >>> whole = sitk.GetArrayFromImage(make_phantom(TStage.T3, seed=1, size=64).stomach)
    >>> bool((sitk.GetArrayFromImage(stomach_of(1, size=64)) == whole).all())
    True
    """
    _, _, scan, abdomen = _patient(seed, scanner, size)
    return as_image(abdomen.gut.astype(np.uint8), scan.field_mm / size, scan.profile.slice_mm)


def _patient(seed: int, scanner: str, size: int) -> tuple[np.random.Generator, Body, Acquisition, Abdomen]:
    """Return the patient of a seed without a tumour, and the generator, from which the tumour is drawn."""
    if not 64 <= size <= 1024 or seed < 0:
        raise InputError(
            f"Phantom with {size} pixels, seed {seed}; expected 64 to 1024 pixels and a seed of at least 0."
        )
    rng = np.random.default_rng(seed)
    body = draw_body(rng)
    scan = draw_acquisition(profile(scanner), rng)
    shape = (round(COVERAGE_MM / scan.profile.slice_mm), size, size)
    spacing = scan.profile.slice_mm, scan.field_mm / size
    return rng, body, scan, build_abdomen(body, shape, spacing, scan.enhancement, rng)


def _lesion(abdomen: Abdomen, body: Body, pixel_mm: float, slice_mm: float, rng: np.random.Generator) -> Lesion:
    """Draw a tumour that faces an organ: the first in random order that is near the stomach in this patient."""
    border = body.wall_mm + body.fat_plane_mm
    middle = np.abs(abdomen.places[2]) < 0.6 * np.abs(abdomen.places[2]).max()
    near = (abdomen.depth < border + 3) & middle
    for neighbour in rng.permutation(NEIGHBOURS):
        organ = abdomen.organs[neighbour]
        faces = np.argwhere(organ & near)
        if len(faces) > 20:
            break
    # Not at the organ's tip: where the organ is broad, its infiltration is visible.
    broad = gaussian_filter(organ.astype(np.float32), sigma=_voxels(8.0, pixel_mm, slice_mm), mode="nearest")[
        tuple(faces.T)
    ]
    faces = faces[broad >= np.median(broad)]
    k, j, i = faces[rng.integers(len(faces))]
    x, y, z = abdomen.places
    return Lesion(
        neighbour=str(neighbour),
        centre_mm=(float(x[0, j, i]), float(y[0, j, i]), float(z[k, 0, 0])),
        length_mm=rng.uniform(34, 76),
        bulge_mm=rng.uniform(4, 18),
        enhancement_hu=rng.uniform(92, 120),
        share=rng.uniform(0, 1),
    )


def _bumps(shape: tuple[int, ...], pixel_mm: float, slice_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise with standard deviation 1, for irregular contours."""
    white = rng.standard_normal(shape, dtype=np.float32)
    field = gaussian_filter(white, sigma=_voxels(4.0, pixel_mm, slice_mm), mode="nearest")
    return field / field.std()


def _voxels(length_mm: float, pixel_mm: float, slice_mm: float) -> tuple[float, float, float]:
    """Return a length in voxels along z, y and x."""
    return length_mm / slice_mm, length_mm / pixel_mm, length_mm / pixel_mm


def _extent(
    stage: TStage, abdomen: Abdomen, body: Body, lesion: Lesion, bumps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth (mm) of the outer border, and the distance from the middle along the wall (1: at the edge)."""
    border = body.wall_mm + body.fat_plane_mm
    low, high = REACH[stage]
    share = low + (high - low) * lesion.share
    reach = {
        TStage.T1: share * body.wall_mm,
        TStage.T2: share * body.wall_mm,
        TStage.T3: body.wall_mm + share * body.fat_plane_mm,
        TStage.T4: border + share,
    }[stage]
    x, y, z = (c - m for c, m in zip(abdomen.places, lesion.centre_mm, strict=True))
    away = x**2 + y**2 + z**2
    # The centre is beyond the fat plane. The distance from its foot on the wall, `border` mm inwards, to a voxel of the
    # wall is the other leg of a right triangle.
    foot = (border - np.minimum(abdomen.depth, border)) ** 2
    along = np.sqrt(np.maximum(away - foot, 0)) / (lesion.length_mm / 2)
    front = np.sqrt(np.clip(1 - along**2, 0, 1))
    mucosa = LAYERS[0] * body.wall_mm
    outer = mucosa + (reach - mucosa) * front
    if stage >= TStage.T3:
        outer = np.minimum(outer * (1 + np.float32(0.16) * bumps), reach)
    return outer, along


def _tumour(stage: TStage, abdomen: Abdomen, lesion: Lesion, outer: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return the mask of the tumour, in one piece."""
    front = np.sqrt(np.clip(1 - along**2, 0, 1))
    tumour = (along < 1) & (abdomen.depth > -lesion.bulge_mm * front) & (abdomen.depth < outer)
    return tumour & (abdomen.gut | (stage >= TStage.T3))


def _infiltrated(abdomen: Abdomen, outer: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return the HU with hazy fat in front of a tumour that extends beyond the wall."""
    beyond = abdomen.depth - outer
    haze = (abdomen.hu < -50) & (along < 0.9) & (beyond > 0) & (abdomen.depth > 0)
    return np.where(haze, abdomen.hu + 55 * np.exp(-np.maximum(beyond, 0) / 1.5), abdomen.hu).astype(np.float32)
