"""Judge whether the values of slices are in HU, by their histogram.

HU are a physical scale: air is at -1000, fat near -100, muscle and organs at 0 to 200. A lost or doubled rescale
intercept, a scale error, an MR, a mask and a windowed picture put these peaks elsewhere. The limits below are far from
the values of real CTs and of the wrong scales on both sides (`benchmarks/hounsfield.py`, docs/benchmarks.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from GTRStagingLib.errors import InputError

ENOUGH = 256
"""Values that a histogram requires; of fewer, some must be below 0."""

SAMPLE = 256**2
"""Values that are counted at most: an even sample of a slice, or of a volume, gives the same shares."""

OUTSIDE = -1100
"""Values below are not from a person: padding, which has one or two exact values."""

MOST_OUTSIDE = 0.12
"""Share of values below `OUTSIDE` that are not padding, such as padding that was interpolated."""

NEGATIVE, LEAST_NEGATIVE = -50, 0.001
"""Every slice of a person contains fat, gas or air."""

GAS, ENOUGH_GAS, LIGHTEST_GAS = -400, 0.05, -700
"""Where there is gas, its lightest twentieth is near air or lung."""

TISSUE, ENOUGH_TISSUE = -300, 16
LIGHT, MOST_LIGHT, LIGHT_TO_TISSUE = -700, 0.05, 3
"""Values between lung and fat (`LIGHT` to `TISSUE`) are the edges of tissue. `ENOUGH_TISSUE` values are judged."""

SOFT, LEAST_SOFT = (-200, 300), 0.5
MOST_FREQUENT = 200
"""Tissue is mostly fat, muscle and organs, and its most frequent value is one of theirs."""

FAT, FAT_RATIO = (-160, -50), 2
DENSE, MOST_DENSE, MOST_EDGE = 600, 0.03, 0.05
"""Bone, metal and oral contrast (above `DENSE`), and the edges of fat (below it), are few, or at most twice the fat."""

NO_GAS, ORGAN, LEAST_ORGAN = 0.01, 30, 0.1
"""Inside the body, without gas: muscle and organs are above 30 HU."""

CLIPPED, HIGHEST_CLIP = 0.1, -120
"""Share of the lowest value, above `GAS`, from which a slice was clipped to a window, which must reach down to fat.
This value is not counted as tissue."""

SIGNED_BYTE = (-128, 127)
"""A slice that was clipped to these values is a picture."""

SHIFTS = (1024, -1024, 1000, -1000, 2048, -2048, 4096, -4096, 8192, -8192, 32768, -32768)
FACTORS = (10.0, 0.1)
"""Errors of scale that a message can name."""

_LOWEST, _HIGHEST = -32768, 32767


def require_hounsfield(slices: np.ndarray, names: Sequence[str]) -> None:
    """Raise `InputError` unless each of the slices, (S, H, W), is in HU.

    Parameters
    ----------
    slices
        Values of any number type, on any grid: only the frequencies of the finite ones count. A whole volume counts as
        one slice, (1, Z, Y, X).
    names
        S names for the message, such as 'Slice 12'.

    Examples
    --------
    >>> from GTRStagingLib.imaging.hounsfield import require_hounsfield
    >>> from GTRStagingLib.phantoms.phantom import make_phantom
    >>> from GTRStagingLib.stages import TStage
    >>> import SimpleITK as sitk
    >>> hu = sitk.GetArrayFromImage(make_phantom(TStage.T3, size=64).ct)[12:13]
    >>> require_hounsfield(hu, ["Slice 12"])
    >>> require_hounsfield(hu + 1024, ["Slice 12"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    GTRStagingLib.errors.InputError: Slice 12 is not in HU: its values look as if 1024 had been added (air around ...
    """
    for one, name in zip(slices, names, strict=True):
        sample = _sample(one)
        found = _implausible(sample)
        if found is not None:
            raise InputError(
                f"{name} is not in HU: {_explained(sample) or found}; expected air at -1000, fat near -100, muscle and "
                "organs at 0 to 200. Convert the CT again from DICOM, with its rescale slope and intercept, and check "
                "that it is no MR, mask or windowed picture."
            )


def _sample(one: np.ndarray) -> np.ndarray:
    """Return (n,) finite values: every k-th along each axis."""
    k = math.ceil((one.size / SAMPLE) ** (1 / one.ndim))
    sample = one[(np.s_[::k],) * one.ndim].ravel()
    return sample if sample.dtype.kind in "iu" else sample[np.isfinite(sample)]


def _implausible(values: np.ndarray, *, empty: str | None = None) -> str | None:
    """Return in words what is not as in HU, or None; `empty` for values without tissue, such as air alone."""
    if values.size == 0:
        return empty
    low, high = values.min(), values.max()
    if values.size < ENOUGH:
        return None if low < 0 else f"its values reach from {low:g} to {high:g}, none below 0"
    found = _Histogram.of(values)
    span = f"its values reach from {low:g} to {high:g}"
    if found.outside > MOST_OUTSIDE * (found.n + found.outside):
        share = found.outside / (found.n + found.outside)
        return f"{span}, and {share:.0%} of them are below {OUTSIDE} without being padding"
    if found.clipped is not None and found.clipped > HIGHEST_CLIP:
        return f"{span}, and the lowest of them is frequent, as of a mask or a background"
    if found.n == 0:
        return empty
    if found.share(OUTSIDE, NEGATIVE) < LEAST_NEGATIVE:
        return f"{span}, none or few below {NEGATIVE}, as fat and air are"
    gas = found.share(OUTSIDE, GAS)
    if gas > ENOUGH_GAS and (lightest := found.percentile(OUTSIDE, GAS, 0.05)) > LIGHTEST_GAS:
        return f"{span}, and the lightest gas is at {lightest}"
    tissue, light = found.share(TISSUE, _HIGHEST), found.share(LIGHT, TISSUE)
    if light > max(MOST_LIGHT, LIGHT_TO_TISSUE * tissue):
        return f"{span}, and {light:.0%} of them are between lung and fat ({LIGHT} to {TISSUE})"
    if tissue * found.n < ENOUGH_TISSUE:
        return empty
    soft, mode = found.share(*SOFT) / tissue, found.mode(TISSUE, DENSE)
    if soft < LEAST_SOFT or mode > MOST_FREQUENT:
        return f"{span}, {soft:.0%} of the tissue is at {SOFT[0]} to {SOFT[1]}, and its most frequent value is {mode}"
    fat = found.share(*FAT) / tissue
    for start, stop, most in ((TISSUE, FAT[0], MOST_EDGE), (DENSE, _HIGHEST, MOST_DENSE)):
        if (share := found.share(start, stop) / tissue) > max(most, FAT_RATIO * fat):
            there = f"above {start}" if stop == _HIGHEST else f"at {start} to {stop}"
            return f"{span}, {share:.0%} of the tissue is {there}, and {fat:.0%} at {FAT[0]} to {FAT[1]}, as fat is"
    if gas < NO_GAS and (organ := found.share(ORGAN, _HIGHEST) / tissue) < LEAST_ORGAN:
        return f"{span}, and {organ:.0%} of the tissue is above {ORGAN}, as muscle and organs are"
    if found.clipped == SIGNED_BYTE[0] and high <= SIGNED_BYTE[1]:
        return f"{span}, as in a picture of signed 8 bits"
    return None


@dataclass(frozen=True)
class _Histogram:
    """Counts of the whole values from -32768 to 32767, without padding.

    Attributes
    ----------
    below
        (65537,) counts of the values below each value, of the values from `OUTSIDE`.
    n
        Number of the values from `OUTSIDE`.
    outside
        Number of the values below `OUTSIDE` that are not padding.
    clipped
        Lowest value, above `GAS`, if the slice was clipped to it.
    """

    below: np.ndarray
    n: int
    outside: int
    clipped: int | None

    @classmethod
    def of(cls, values: np.ndarray) -> "_Histogram":
        """Count values; the two most frequent ones below `OUTSIDE` are padding."""
        if values.dtype != np.int16:
            values = np.rint(np.clip(values, _LOWEST, _HIGHEST))
        whole = values.astype(np.intp) - _LOWEST
        counts = np.bincount(whole, minlength=_HIGHEST - _LOWEST + 1)
        outside = counts[: OUTSIDE - _LOWEST]
        for _ in range(2):
            outside[np.argmax(outside)] = 0
        strange = int(outside.sum())
        outside[:] = 0
        lowest, clipped = int(np.argmax(counts > 0)), None
        if lowest + _LOWEST > GAS and counts[lowest] > CLIPPED * counts.sum():
            clipped, counts[lowest] = lowest + _LOWEST, 0
        below = np.concatenate([[0], np.cumsum(counts)])
        return cls(below, int(below[-1]), strange, clipped)

    def share(self, low: int, high: int) -> float:
        """Return the share of the values from `low` to below `high`."""
        return float(self.below[high - _LOWEST] - self.below[low - _LOWEST]) / self.n

    def percentile(self, low: int, high: int, share: float) -> int:
        """Return the value below which a share of those from `low` to below `high` is."""
        start, stop = self.below[low - _LOWEST], self.below[high - _LOWEST]
        return int(np.searchsorted(self.below, start + share * (stop - start), side="right")) - 1 + _LOWEST

    def mode(self, low: int, high: int, width: int = 20) -> int:
        """Return the middle of the most frequent `width` values from `low` to below `high`."""
        below = self.below[low - _LOWEST : high - _LOWEST + 1]
        counts = below[width:] - below[:-width]
        return int(np.mean(np.flatnonzero(counts == counts.max()))) + low + width // 2


def _explained(values: np.ndarray) -> str | None:
    """Return the error of scale without which the values would be in HU, in words, or None."""
    if values.size < ENOUGH:
        return None
    wide = values.astype(np.float64)
    fitting = [shift for shift in SHIFTS if _implausible(wide - shift, empty="no tissue") is None]
    if fitting:
        # Several shifts may fit: the right one places air at -1000, and 1024 is by far the most usual one.
        shift = min(fitting, key=lambda one: (round(abs(_air(wide - one) + 1000), -1), SHIFTS.index(one)))
        hu = _Histogram.of(wide - shift)
        verb = "added" if shift > 0 else "subtracted"
        air = f"air around {_air(wide - shift) + shift:.0f}, " if hu.share(OUTSIDE, GAS) > NO_GAS else ""
        return (
            f"its values look as if {abs(shift)} had been {verb} ({air}soft tissue around "
            f"{hu.mode(-20, DENSE) + shift})"
        )
    for factor in FACTORS:
        if _implausible(wide / factor, empty="no tissue") is None:
            verb = f"multiplied by {factor:g}" if factor > 1 else f"divided by {1 / factor:g}"
            soft = _Histogram.of(wide / factor).mode(-20, DENSE) * factor
            return f"its values look as if HU had been {verb} (soft tissue around {soft:g})"
    return None


def _air(values: np.ndarray) -> int:
    """Return the most frequent value of gas and air, or -1000 without them."""
    found = _Histogram.of(values)
    return found.mode(OUTSIDE, GAS) if found.n and found.share(OUTSIDE, GAS) > NO_GAS else -1000


__all__ = ["require_hounsfield"]
