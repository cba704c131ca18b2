"""How a scanner sees an anatomy: three centres that differ as hospitals do, one of them kept out of all training.

The article's Table 4 lists for its centres the scanner, the collimation, the contrast agent, the delay (45 to 70 s) and
the slice thickness (1 to 5 mm). The profiles here vary kernel, noise, slice thickness, delay, pixel size and field of
view; their numbers are ours.
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
    """One centre's way of scanning; what varies from patient to patient is a (lowest, highest) pair.

    Attributes
    ----------
    kernel
        Name, as a DICOM header has it.
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
        From injection to scan; organs enhance by it (`enhancement`).
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
"""The three centres. No demonstration model is ever trained on C."""

HELD_OUT = "C"


def profile(name: str) -> ScannerProfile:
    """A profile by its name."""
    if name not in PROFILES:
        raise InputError(f"Scanner profile {name!r}; expected one of {', '.join(PROFILES)}.")
    return PROFILES[name]


@dataclass(frozen=True)
class Acquisition:
    """One patient's scan by a profile: what was drawn for it."""

    profile: ScannerProfile
    noise_hu: float
    field_mm: float
    delay_s: float

    @property
    def enhancement(self) -> float:
        """Contrast of the organs against that at 70 s: it washes out slowly, and rises at lower tube voltage."""
        return (1.0 - 0.006 * (self.delay_s - 70.0)) * (1.12 if self.profile.kvp < 120 else 1.0)


def acquisition(scanner: ScannerProfile, rng: np.random.Generator) -> Acquisition:
    """Draw one patient's scan."""
    return Acquisition(
        scanner, rng.uniform(*scanner.noise_hu), rng.uniform(*scanner.field_mm), rng.uniform(*scanner.delay_s)
    )


def scanned(hu: np.ndarray, scan: Acquisition, spacing_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(z, y, x) true HU -> int16 as acquired: point spread, texture of the tissue, and the kernel's noise."""
    blur = scan.profile.blur_mm / spacing_mm
    # Along z a slice sees its neighbours' edge: the section's profile is wider than its thickness.
    blurred = gaussian_filter(hu, sigma=(0.35, blur, blur), mode="nearest")
    texture = _grain(hu.shape, 4.0 / spacing_mm, rng)
    noise = _grain(hu.shape, scan.profile.grain_mm / spacing_mm, rng)
    seen = blurred + scan.noise_hu * noise + np.where(blurred > -500, np.float32(4.0), np.float32(0.0)) * texture
    return np.clip(np.rint(seen), -1024, 3071).astype(np.int16)


def _grain(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation 1, correlated in plane over `length` pixels; each slice by itself."""
    white = rng.standard_normal(shape, dtype=np.float32)
    smooth = gaussian_filter(white, sigma=(0, length, length), mode="nearest")
    return smooth / smooth.std()


def as_image(array: np.ndarray, spacing_mm: float, slice_mm: float) -> sitk.Image:
    """(z, y, x) array -> axial LPS image, centred on the origin."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((spacing_mm, spacing_mm, slice_mm))
    nz, ny, nx = array.shape
    image.SetOrigin((-(nx - 1) / 2 * spacing_mm, -(ny - 1) / 2 * spacing_mm, -(nz - 1) / 2 * slice_mm))
    return image
