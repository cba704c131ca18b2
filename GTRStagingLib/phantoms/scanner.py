"""Simulate scanners: profiles of three centres, one of which is held out of all training.

Table 4 of the article lists scanner, collimation, contrast agent, delay (45 to 70 s) and slice thickness (1 to 5 mm) of
its centres. The profiles vary kernel, noise, slice thickness, delay, pixel size and field of view; the values are not
from the article.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from GTRStagingLib.errors import InputError

COVERAGE_MM = 120.0
"""Length of every scan: the upper abdomen."""


@dataclass(frozen=True)
class ScannerProfile:
    """Scanner profile of one centre; parameters that vary between patients are (lowest, highest) pairs.

    Attributes
    ----------
    kernel
        Name of the kernel in the DICOM header.
    blur_mm
        Standard deviation of the in-plane point spread.
    grain_mm
        Correlation length of the noise; a soft kernel leaves coarse grain, a sharp one fine.
    noise_hu
        Standard deviation of the noise.
    slice_mm
        Slice thickness and distance.
    field_mm
        Side of the square field of view.
    delay_s
        Time from injection to scan, which determines the enhancement (`Acquisition.enhancement`).
    """

    name: str
    manufacturer: str
    kernel: str
    blur_mm: float
    grain_mm: float
    noise_hu: tuple[float, float]
    slice_mm: float
    field_mm: tuple[float, float]
    delay_s: tuple[float, float]
    kvp: int


PROFILES: Mapping[str, ScannerProfile] = {
    profile.name: profile
    for profile in (
        ScannerProfile("A", "Phantom Medical A", "SOFT", 0.9, 1.2, (8, 13), 5.0, (340, 380), (65, 75), 120),
        ScannerProfile("B", "Phantom Medical B", "STANDARD", 0.7, 0.9, (11, 17), 3.0, (330, 400), (60, 80), 120),
        ScannerProfile("C", "Phantom Medical C", "DETAIL", 0.55, 0.7, (14, 20), 1.5, (350, 410), (70, 90), 100),
    )
}
"""Profiles of the three centres. No demonstration model is trained on C."""

HELD_OUT = "C"
"""Name of the profile that is never used in training."""


def profile(name: str) -> ScannerProfile:
    """Return a scanner profile by its name."""
    if name not in PROFILES:
        raise InputError(f"Scanner profile {name!r} does not exist; expected one of {', '.join(PROFILES)}.")
    return PROFILES[name]


@dataclass(frozen=True)
class Acquisition:
    """Parameters of one patient's scan, drawn from a profile."""

    profile: ScannerProfile
    noise_hu: float
    field_mm: float
    delay_s: float

    @property
    def enhancement(self) -> float:
        """Enhancement of organs relative to 70 s: it decreases slowly, and is higher at lower tube voltage."""
        return (1.0 - 0.006 * (self.delay_s - 70.0)) * (1.12 if self.profile.kvp < 120 else 1.0)


def draw_acquisition(scanner: ScannerProfile, rng: np.random.Generator) -> Acquisition:
    """Draw the parameters of one patient's scan."""
    return Acquisition(
        scanner, rng.uniform(*scanner.noise_hu), rng.uniform(*scanner.field_mm), rng.uniform(*scanner.delay_s)
    )


def simulate_scan(hu: np.ndarray, scan: Acquisition, spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Return the acquired int16 HU of (z, y, x) true HU: with point spread, tissue texture and noise of the kernel."""
    blur = scan.profile.blur_mm / spacing_mm
    # Along z a slice includes the edges of its neighbours: the slice profile is wider than the thickness.
    blurred = gaussian_filter(hu, sigma=(0.35, blur, blur), mode="nearest")
    texture = _grain(hu.shape, 4.0 / spacing_mm, rng)
    noise = _grain(hu.shape, scan.profile.grain_mm / spacing_mm, rng)
    seen = blurred + scan.noise_hu * noise + np.where(blurred > -500, np.float32(4.0), np.float32(0.0)) * texture
    return np.clip(np.rint(seen), -1024, 3071).astype(np.int16)


def _grain(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise with standard deviation 1, correlated in plane over `length` pixels, independent between slices."""
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth = gaussian_filter(white, sigma=(0, length, length), mode="nearest")
    return smooth / smooth.std()


def as_image(array: np.ndarray, spacing_mm: float, slice_mm: float) -> sitk.Image:
    """Return a (z, y, x) array as an axial LPS image, centred on the origin."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing_mm, spacing_mm, slice_mm))
    nz, ny, nx = array.shape
    image.SetOrigin((-(nx - 1) / 2 * spacing_mm, -(ny - 1) / 2 * spacing_mm, -(nz - 1) / 2 * slice_mm))
    return image
