"""Prepare the network's input from a CT and its key slice. Only the voting slices are read."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, Protocol

import numpy as np
import SimpleITK as sitk
from PIL import Image
from skimage import measure

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.geometry import Grid, ImageOrGrid
from GTRStagingLib.imaging.hounsfield import require_hounsfield
from GTRStagingLib.imaging.keyslice import KeySlice, slice_distance_mm
from GTRStagingLib.imaging.stored import require_finite
from GTRStagingLib.model.recipe import Recipe

Intensity = Literal["HU", "windowed"]

AT_ONCE = 16
"""Slices of a scan in one pass of the network, where many are asked, so that memory does not grow with the scan."""

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
"""torchvision's constants for its ImageNet weights."""

FIELD_MM = (10.0, 2000.0)
"""Plausible side lengths of a slice of a person, or of a small part of one."""

DISTANCE_MM = (0.05, 50.0)
"""Plausible distances of slices: finer than any CT, and coarser than any scan of a tumour."""

BODY_HU = -300.0
"""Voxels above this are body: halfway between fat and lung, as usual."""


class Sliceable(Protocol):
    """Volume that gives single slices without reading all voxels, such as a `Scan`."""

    @property
    def grid(self) -> Grid:
        """Grid of the whole volume."""

    def slices(self, first: int, last: int, step: int = 1) -> sitk.Image:
        """Return the axial slices first..last (inclusive), in axial LPS order."""


N4_SHRINK = 4
"""Factor by which each side of a slice is shrunk before N4 fits its field, which has no fine structure."""


@dataclass(frozen=True)
class PreparedSlices:
    """Input of the network and its grid.

    Attributes
    ----------
    pixels
        (S, 3, H, W) float32.
    offsets
        (S,) acquired slices from the key slice, ascending; 0 is the key slice.
    grid
        W×H×S grid of `pixels`.
    native
        The same S slices as acquired, axial LPS: background of the pictures and grid of the ROI.
    """

    pixels: np.ndarray
    offsets: tuple[int, ...]
    grid: sitk.Image
    native: sitk.Image

    @property
    def key(self) -> int:
        """Position of the key slice among the S slices."""
        return self.offsets.index(0)

    @cached_property
    def key_body(self) -> np.ndarray:
        """Body's section in the key slice, (H, W) bool on `native`; requires HU. Computed once per case."""
        return body_mask(sitk.GetArrayViewFromImage(self.native)[self.key])

    @cached_property
    def body(self) -> np.ndarray:
        """Body's section in each slice, (S, H, W) bool on `native`; requires HU. Computed once per case."""
        native = enumerate(sitk.GetArrayViewFromImage(self.native))
        return np.stack([self.key_body if i == self.key else body_mask(one) for i, one in native])


@dataclass(frozen=True)
class ResizedSlices:
    """Slices on the network's grid, windowed but not normalised, as training augments them.

    Attributes
    ----------
    pixels
        (S, H, W) float32 in 0..255.
    offsets, grid, native
        As in `PreparedSlices`.
    """

    pixels: np.ndarray
    offsets: tuple[int, ...]
    grid: sitk.Image
    native: sitk.Image


def voting_slices(n_slices: int, index: int, step: int = 1) -> tuple[int, ...]:
    """Return the offsets of the voting slices: the key slice and its neighbouring slices inside the scan."""
    return tuple(offset for offset in (-step, 0, step) if 0 <= index + offset < n_slices)


def neighbour_step(ct: ImageOrGrid, neighbour_mm: float | None) -> int:
    """Return the step between voting slices: 1, or the number of slices nearest to `neighbour_mm` (at least 1)."""
    if neighbour_mm is None:
        return 1
    distance = slice_distance_mm(ct)
    length = geometry.axial_size(ct)[2] * distance
    if not 0 < neighbour_mm <= length:
        raise InputError(
            f"Neighbouring slices at {neighbour_mm:g} mm; expected a distance above 0 and within the scan's "
            f"{length:.0f} mm."
        )
    return max(1, round(neighbour_mm / distance))


def prepare(
    ct: sitk.Image | Sliceable, key: KeySlice, recipe: Recipe, *, intensity: Intensity = "HU", step: int = 1
) -> PreparedSlices:
    """Extract, window, resize and normalise the voting slices; parameters and errors are those of `resize`."""
    slices = resize(ct, key, recipe, intensity=intensity, step=step)
    return PreparedSlices(normalised(slices.pixels, recipe), slices.offsets, slices.grid, slices.native)


def prepare_alone(
    ct: sitk.Image | Sliceable, key: KeySlice, recipe: Recipe, *, intensity: Intensity = "HU"
) -> PreparedSlices:
    """Prepare a slice without its neighbours; its pixels are those that `prepare` gives it among them.

    Parameters and errors are those of `resize`.
    """
    slices = _resize_slices(ct, key, recipe, intensity, 1, (0,))
    return PreparedSlices(normalised(slices.pixels, recipe), slices.offsets, slices.grid, slices.native)


def resize(
    ct: sitk.Image | Sliceable, key: KeySlice, recipe: Recipe, *, intensity: Intensity = "HU", step: int = 1
) -> ResizedSlices:
    """Extract, resample, window and resize the voting slices.

    The result is the same as after resampling the whole volume in plane; the cost does not depend on its length.

    Parameters
    ----------
    ct
        An image, or a `Scan`, of any axis order and obliquity. HU, or 8-bit grey where `intensity` is 'windowed'.
    step
        Acquired slices from the key slice to its neighbours.

    Raises
    ------
    InputError
        If the voxels are not finite, not HU or constant after windowing, or the recipe does not take their intensity.
    """
    whole = ct if isinstance(ct, sitk.Image) else ct.grid
    offsets = voting_slices(geometry.axial_size(whole)[2], key.index, step)
    return _resize_slices(ct, key, recipe, intensity, step, offsets)


def _resize_slices(
    ct: sitk.Image | Sliceable,
    key: KeySlice,
    recipe: Recipe,
    intensity: Intensity,
    step: int,
    offsets: tuple[int, ...],
) -> ResizedSlices:
    """Extract, resample, window and resize the slices at these offsets from the key slice, `step` slices apart."""
    if intensity == "windowed" and not recipe.takes_windowed:
        raise InputError(
            f"The input is an 8-bit windowed picture, but recipe {recipe.name!r} requires HU; expected a CT in HU. Use "
            "the CT itself, or a model with recipe 'released'."
        )
    cut = partial(geometry.axial_slices, ct) if isinstance(ct, sitk.Image) else ct.slices
    native = cut(key.index + offsets[0], key.index + offsets[-1], step)
    if intensity == "HU":
        _check_field(native, step)
    _check_voxels(sitk.GetArrayViewFromImage(native), key.index, offsets, intensity)
    if recipe.spacing_mm is None:
        field = sitk.Cast(native, sitk.sitkFloat32)
    else:
        field = geometry.resampled(native, geometry.square_grid(native, recipe.spacing_mm), outside=recipe.hu_range[0])
    slices = sitk.GetArrayFromImage(field)
    if intensity == "HU":
        slices = windowed(slices, recipe)
    if recipe.n4:
        slices = np.stack([n4(one) for one in slices])
    size = _input_size(field, recipe)
    resized = np.stack([_resize(one, size, quantised=recipe.quantised) for one in slices])
    grid = geometry.resized_grid(native if recipe.spacing_mm is None else field, size)
    _require_anatomy(resized, key.index, offsets, recipe)
    return ResizedSlices(resized, offsets, grid, native)


def _check_field(native: sitk.Image, step: int) -> None:
    """Raise `InputError` unless slices have a plausible size and distance; wrong units make a grid huge or tiny."""
    field = [n * s for n, s in zip(native.GetSize()[:2], native.GetSpacing()[:2], strict=True)]
    if not (FIELD_MM[0] <= min(field) and max(field) <= FIELD_MM[1]):
        raise InputError(
            f"The slices measure {field[0]:.4g}×{field[1]:.4g} mm; expected {FIELD_MM[0]:g} to {FIELD_MM[1]:g} mm. "
            "Check that the header's sizes are in millimetres, and convert the scan again."
        )
    distance = native.GetSpacing()[2] / step
    if native.GetSize()[2] > 1 and not DISTANCE_MM[0] <= distance <= DISTANCE_MM[1]:
        raise InputError(
            f"The slices are {distance:.4g} mm apart; expected {DISTANCE_MM[0]:g} to {DISTANCE_MM[1]:g} mm. Check that "
            "the header's sizes are in millimetres, and convert the scan again."
        )


def _check_voxels(slices: np.ndarray, index: int, offsets: tuple[int, ...], intensity: Intensity) -> None:
    for offset, one in zip(offsets, slices, strict=True):
        require_finite(one, f"Slice {index + offset}")
    if intensity == "HU":
        require_hounsfield(slices, [f"Slice {index + offset}" for offset in offsets])


def windowed(slices: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Window slices, (S, H, W) HU, to float32 in 0..255 by the recipe's range and window.

    Examples
    --------
    The window L50 W350 of the recipe `gtr` reaches from -125 to 225 HU; its middle is 50 HU.

    >>> import numpy as np
    >>> from GTRStagingLib.model.recipe import find_recipe
    >>> from GTRStagingLib.staging.preprocess import windowed
    >>> windowed(np.array([[[-1000.0, -125.0, 50.0, 225.0, 900.0]]]), find_recipe("gtr")).tolist()
    [[[0.0, 0.0, 127.5, 255.0, 255.0]]]
    """
    low, high = recipe.window_hu
    clipped = np.clip(np.clip(slices, *recipe.hu_range), low, high)
    return ((clipped - low) * (255.0 / (high - low))).astype(np.float32)


def n4(windowed_slice: np.ndarray, *, shrink: int = N4_SHRINK) -> np.ndarray:
    """Correct the bias field of one windowed slice, (H, W) in 0..255, by N4 (Tustison 2010), as in the paper.

    CT has no bias field: the correction takes some tenths of a second per slice and changes values that should stay
    (numbers in docs/benchmarks.md, by `benchmarks/n4.py`). N4 works on logarithms, so 1 is added to the slice; tissue
    alone drives the fit. As usual, the field is fitted to the shrunken slice and divided out of the whole slice. The
    voting slices are fitted one by one: a joint fit takes longer and differs more from the fit of a single slice.

    Parameters
    ----------
    shrink
        Factor by which each side is shrunk for the fit; smaller for a small slice.
    """
    image = sitk.GetImageFromArray(windowed_slice + 1.0)
    factors = [max(1, min(shrink, n // 32)) for n in image.GetSize()]
    small = sitk.Shrink(image, factors)
    mask = sitk.Cast(small > 1.0, sitk.sitkUInt8)
    if not sitk.GetArrayViewFromImage(mask).any():
        return windowed_slice
    fit = sitk.N4BiasFieldCorrectionImageFilter()
    fit.Execute(small, mask)
    corrected = image / sitk.Exp(fit.GetLogBiasFieldAsImage(image))
    return np.clip(sitk.GetArrayFromImage(corrected) - 1.0, 0, 255).astype(np.float32)


def _input_size(field: sitk.Image, recipe: Recipe) -> tuple[int, int]:
    """Return (x, y) pixels: the shorter side by the recipe, the longer by the aspect, as torchvision's Resize does."""
    nx, ny, _ = field.GetSize()
    short = recipe.input_size
    return (short, int(short * ny / nx)) if nx <= ny else (int(short * nx / ny), short)


def _resize(one: np.ndarray, size: tuple[int, int], *, quantised: bool) -> np.ndarray:
    """Resize a slice by Pillow's antialiased bilinear filter, as torchvision's Resize does with a picture."""
    picture = Image.fromarray(np.round(one).astype(np.uint8) if quantised else one.astype(np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


def _require_anatomy(resized: np.ndarray, index: int, offsets: tuple[int, ...], recipe: Recipe) -> None:
    for offset, one in zip(offsets, resized, strict=True):
        if one.max() - one.min() < 1e-3:
            raise InputError(
                f"Slice {index + offset} is constant ({one.flat[0]:.4g} of 255) after windowing to "
                f"{recipe.window_hu[0]:g}..{recipe.window_hu[1]:g} HU; expected anatomy. Choose another key slice, and "
                "check that the scan is an abdominal CT in HU."
            )


def normalised(resized: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Normalise slices, (S, H, W) float32 in 0..255, to the network's input, (S, 3, H, W) float32."""
    if recipe.normalisation == "imagenet":
        channels = np.repeat(resized[:, None] / np.float32(255), recipe.channels, axis=1)
        return (channels - IMAGENET_MEAN[:, None, None]) / IMAGENET_STD[:, None, None]
    mean = resized.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    std = resized.std(axis=(1, 2), keepdims=True, dtype=np.float64)
    return np.repeat(((resized - mean) / std).astype(np.float32)[:, None], recipe.channels, axis=1)


def body_mask(native_slice: np.ndarray) -> np.ndarray:
    """Segment the body's section in a slice, (H, W) HU, to a bool mask, without the table and with gas filled.

    Returns the whole slice if nothing is denser than fat, so that the mask is never empty.
    """
    labels = measure.label(native_slice > BODY_HU)
    if labels.max() == 0:
        return np.ones(native_slice.shape, dtype=bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    body = sitk.GetImageFromArray((labels == largest).astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.BinaryFillhole(body)).astype(bool)
