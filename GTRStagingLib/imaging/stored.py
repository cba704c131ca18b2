"""Read the voxels that a volume's header describes, and check what must hold for every format.

Each format's module turns a header into a `StoredVolume`; `read_stored` alone opens and decodes the voxels. ITK only
carries the result.
"""

import bz2
import ctypes
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, set_direction

MAX_BYTES = 4 * 2**30
"""Largest size of the voxels of one volume, in bytes: about 8,000 CT slices of 512×512 as int16."""

SPACINGS = (1e-3, 1e4)
"""Smallest and largest spacing, in mm; others are damaged headers."""

FARTHEST = 1e7
"""Largest coordinate of the first voxel, in mm."""

Encoding = Literal["raw", "ascii", "gzip", "zlib", "bzip2"]

_CHUNK = 1 << 20
_MAX_RATIO = {"gzip": 1040, "zlib": 1040}  # deflate cannot expand by more than 1,032
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_PIXELS = {
    "i1": (sitk.sitkInt8, sitk.sitkVectorInt8), "u1": (sitk.sitkUInt8, sitk.sitkVectorUInt8),
    "i2": (sitk.sitkInt16, sitk.sitkVectorInt16), "u2": (sitk.sitkUInt16, sitk.sitkVectorUInt16),
    "i4": (sitk.sitkInt32, sitk.sitkVectorInt32), "u4": (sitk.sitkUInt32, sitk.sitkVectorUInt32),
    "i8": (sitk.sitkInt64, sitk.sitkVectorInt64), "u8": (sitk.sitkUInt64, sitk.sitkVectorUInt64),
    "f4": (sitk.sitkFloat32, sitk.sitkVectorFloat32), "f8": (sitk.sitkFloat64, sitk.sitkVectorFloat64),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """File, or part of one, with voxels.

    Attributes
    ----------
    path
        Regular file.
    start
        First byte of the encoded voxels; None if they are the last bytes of the file (only raw).
    length
        Number of encoded bytes; None if they end with the file.
    skip
        Bytes to omit after decoding.
    """

    path: Path
    start: int | None = 0
    length: int | None = None
    skip: int = 0


@dataclass(frozen=True)
class StoredVolume:
    """What a header states of its volume.

    Attributes
    ----------
    name
        File name, for messages.
    sizes
        Voxels along the axes, the fastest first, without the axis of channels.
    kind
        Type of the stored values, with its byte order.
    steps
        (n, n) mm; column i is the step along axis i, in LPS. n is at most the number of `sizes`; others are ignored.
    origin
        (n,) LPS mm.
    parts
        Files with the voxels, in order, each with the same number of voxels.
    channels
        Values per voxel; `channels_last` if each channel is stored as a volume of its own.
    scale
        Slope and intercept; None if the stored values are the values.
    text
        Metadata to keep.
    """

    name: str
    sizes: tuple[int, ...]
    kind: np.dtype
    steps: np.ndarray
    origin: np.ndarray
    parts: tuple[Part, ...]
    encoding: Encoding = "raw"
    channels: int = 1
    channels_last: bool = False
    scale: tuple[float, float] | None = None
    text: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def read_stored(stored: StoredVolume) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a volume as a 3-D image; return it with warnings.

    This is the one list of what must hold for every format, in this order: a known voxel type; sizes above 0 of one
    3-D volume; at most `MAX_BYTES`, and not more than the files can contain, before anything is allocated; finite
    origin, possible spacing, perpendicular axes; exactly the header's number of bytes, with the checksum of the
    compression; finite values.

    Raises
    ------
    InputError
        If the voxels are not those that the header states.
    GeometryError
        If the geometry is invalid.
    """
    name = stored.name
    sizes, warnings = _three_sizes(stored), stored.warnings
    if len(stored.sizes) == 2:
        warnings = ("The file has a single slice without thickness; 1 mm is assumed.", *warnings)
    steps, origin = np.eye(3), np.zeros(3)
    n = min(3, len(stored.steps))
    steps[:n, :n], origin[:n] = stored.steps[:n, :n], stored.origin[:n]
    require_grid(sizes, steps, origin, name)
    image, values = _empty_image(sizes, stored)
    each = values.size // len(stored.parts)
    for index, part in enumerate(stored.parts):
        _fill(values[index * each : (index + 1) * each], part, stored)
    if not stored.kind.isnative:
        values = values.byteswap(inplace=True).view(stored.kind.newbyteorder("="))
    shape = (*sizes[::-1], stored.channels)
    if stored.channels > 1 and stored.channels_last:
        values = np.moveaxis(values.reshape(stored.channels, *shape[:-1]), 0, -1)
        image = sitk.GetImageFromArray(values, isVector=True)
    if stored.scale not in (None, (1.0, 0.0)):
        values = _scaled(values.ravel(), *stored.scale)
        image = sitk.GetImageFromArray(values.reshape(shape if stored.channels > 1 else shape[:-1]))
    require_finite(values, name)
    spacing = np.linalg.norm(steps, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    set_direction(image, (steps / spacing).ravel())
    for key, text in stored.text.items():
        image.SetMetaData(key, text)
    return image, warnings


def require_grid(sizes: Sequence[int], steps: np.ndarray, origin: np.ndarray, name: str) -> None:
    """Raise `GeometryError` unless spacing and origin are possible numbers, and the axes are perpendicular.

    Parameters
    ----------
    sizes
        (x, y, z) voxels.
    steps
        (3, 3) mm; column i is the step along axis i.
    origin
        (3,) mm.
    name
        Name for messages.

    Notes
    -----
    The axes count as perpendicular if every voxel is within `LATTICE_TOLERANCE` of an upright grid, in voxels.
    """
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(steps, axis=0) if np.isfinite(steps).all() else np.full(3, np.nan)
    shown = f"spacing {' × '.join(f'{s:g}' for s in spacing)} mm, origin {', '.join(f'{o:g}' for o in origin)} mm"
    if not (np.isfinite(origin).all() and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise GeometryError(
            f"{name}: a spacing is 0 or not a number, or the origin is not a number ({shown}); expected finite "
            "numbers, and spacing above 0. Convert the scan again from DICOM."
        )
    if not ((spacing >= SPACINGS[0]) & (spacing <= SPACINGS[1])).all() or not (np.abs(origin) <= FARTHEST).all():
        raise GeometryError(
            f"{name} has {shown}; expected a spacing of {SPACINGS[0]:g} to {SPACINGS[1]:g} mm, at most {FARTHEST:g} mm "
            "from the origin of the coordinates. The header is damaged: convert the scan again from DICOM."
        )
    left, _, right = np.linalg.svd(steps / spacing)
    upright = left @ right
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * (np.array(sizes) - 1)
    drift = np.abs(corners @ (upright.T @ steps / spacing[:, np.newaxis]).T - corners).max()
    if not drift <= LATTICE_TOLERANCE:
        raise GeometryError(
            f"{name}: the axes are skewed (voxels are up to {drift:.2g} voxels from an upright grid); expected at most "
            f"{LATTICE_TOLERANCE}. Convert the scan again from DICOM, or resample it onto an even grid (as for a "
            "gantry tilt)."
        )


def require_finite(values: np.ndarray, name: str) -> None:
    """Raise `InputError` if values are NaN or infinite, as float32."""
    if values.dtype.kind != "f" or values.size == 0:
        return
    low, high = float(values.min()), float(values.max())
    if -_FLOAT32_MAX <= low <= high <= _FLOAT32_MAX:  # false for NaN, too
        return
    missing = int(np.isnan(values).sum())
    infinite = int((np.abs(values) > _FLOAT32_MAX).sum())
    raise InputError(
        f"{name} has NaN (not a number) in {missing} and infinite values in {infinite} of {values.size} voxels; "
        "expected finite values. Convert the file again; in a CT, voxels outside the field of view must be air "
        "(-1000 HU)."
    )


def require_not_more(count: int, name: str) -> None:
    """Raise `InputError` if a volume has more than `MAX_BYTES` bytes."""
    if count > MAX_BYTES:
        raise InputError(
            f"{name} has voxels of {count / 2**30:.1f} GiB by its header; expected at most {MAX_BYTES // 2**30} GiB. "
            "If the header is right, crop or resample the scan; otherwise convert it again."
        )


def _three_sizes(stored: StoredVolume) -> tuple[int, int, int]:
    name, sizes = stored.name, stored.sizes
    if stored.kind.str[1:] not in _PIXELS:
        raise InputError(f"{name} has voxels of type {stored.kind}; expected whole or real numbers. Convert the scan.")
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1 or stored.channels < 1:
        raise InputError(f"{name} has size {sizes}; expected a 3-D volume, with sizes above 0. Convert the scan again.")
    if len(sizes) == 4 and sizes[3] != 1:
        raise InputError(
            f"{name} has {sizes[3]} volumes (4-D); expected one. Save the portal-venous phase as a 3-D file."
        )
    count = math.prod(sizes) * stored.channels
    require_not_more(count * stored.kind.itemsize, name)
    if count % len(stored.parts):
        raise InputError(
            f"{name} refers to {len(stored.parts)} data files for {count} values; expected the same number in each. "
            "Save the volume in one file."
        )
    for part in stored.parts:
        _require_enough(part, count // len(stored.parts), stored)
    return (*sizes, 1)[:3]  # type: ignore[return-value]


def _require_enough(part: Part, count: int, stored: StoredVolume) -> None:
    """Raise `InputError` if a file cannot contain its voxels: read from its size, before anything is allocated."""
    there, needed = part.path.stat().st_size, count * stored.kind.itemsize
    end = (part.start or 0) + (part.length or 0)
    if part.length is not None and there != end:
        raise InputError(
            f"{part.path.name} has {there} bytes; expected {end} by its header. It is truncated or has "
            "other data at its end: copy or convert it again."
        )
    if stored.encoding == "raw":
        total = part.skip + needed + (part.start or 0)
        if there < total or (there > total and part.start is not None):
            what = "is truncated: copy" if there < total else "has other data at its end: copy or convert"
            raise InputError(f"{part.path.name} has {there} bytes; expected {total} by its header. It {what} it again.")
        return
    most = _MAX_RATIO.get(stored.encoding)
    held = there - (part.start or 0)
    possible = held * most if most else held if stored.encoding == "ascii" else MAX_BYTES
    if (count if stored.encoding == "ascii" else needed) > possible or held <= 0:
        raise InputError(
            f"{part.path.name} has {held} bytes of compressed or written voxels; expected voxels of {needed} bytes by "
            "its header, which cannot be in them. It is truncated, or its header is damaged: copy or convert it again."
        )


def _fill(values: np.ndarray, part: Part, stored: StoredVolume) -> None:
    name = part.path.name
    if stored.encoding == "ascii":
        with part.path.open("rb") as file:
            file.seek(part.start or 0)
            values[:] = _written_numbers(file.read()[part.skip :], values, name)
        return
    into = values.view(np.uint8).data
    with part.path.open("rb") as file:
        if stored.encoding == "raw":
            start = part.path.stat().st_size - len(into) if part.start is None else part.start + part.skip
            file.seek(start)
            got = file.readinto(into)
            if got != len(into):
                raise InputError(
                    f"{name} has {start + got} bytes; expected {start + len(into)} by its header. It is truncated: "
                    "copy it again."
                )
            return
        file.seek(part.start or 0)
        inflate(file, stored.encoding, into, name, skip=part.skip)


def inflate(file: IO[bytes], encoding: Encoding, into: memoryview, name: str, *, skip: int = 0) -> None:
    """Decompress a file from its present position to its end.

    Parameters
    ----------
    into
        Bytes to fill; no more than their number is ever decompressed.
    skip
        Decompressed bytes to omit first.

    Raises
    ------
    InputError
        If the data are damaged, their checksum is wrong, or they are shorter or longer than `into`.
    """
    at, step, data = -skip, _decompressor(encoding), b""
    try:
        while True:
            if step.eof:
                data = step.unused_data.lstrip(b"\0") or file.read(_CHUNK).lstrip(b"\0")
                if not data:
                    break
                if encoding == "zlib" or not data.startswith(b"\x1f\x8b" if encoding == "gzip" else b"BZh"):
                    raise InputError(
                        f"{name} has other data after its compressed voxels; expected their end. Copy or convert it "
                        "again."
                    )
                step = _decompressor(encoding)
            elif isinstance(step, bz2.BZ2Decompressor):
                data = file.read(_CHUNK) if step.needs_input else b""
            else:
                data = step.unconsumed_tail or file.read(_CHUNK // 4)  # little is copied as a tail
            made = step.decompress(data, _CHUNK)
            if not data and not made and not step.eof:
                raise EOFError
            if at + len(made) > len(into):
                raise InputError(
                    f"{name} has more than {len(into) + skip} bytes when decompressed; expected {len(into) + skip} by "
                    "its header. Its header is damaged, or it has other data at its end: convert it again."
                )
            if at >= 0:
                into[at : at + len(made)] = made
            elif len(made) > -at:
                into[: at + len(made)] = made[-at:]
            at += len(made)
    except (zlib.error, OSError, EOFError) as error:
        raise InputError(
            f"{name} is damaged or truncated: its compressed voxels ({encoding}) cannot be read to their end with the "
            f"right checksum; expected {len(into) + skip} bytes. Copy or convert it again."
        ) from error
    if at != len(into):
        raise InputError(
            f"{name} has {at + skip} bytes when decompressed; expected {len(into) + skip} by its header. It is "
            "truncated: copy it again."
        )


def _decompressor(encoding: Encoding) -> Any:
    if encoding == "bzip2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(31 if encoding == "gzip" else 15)


def _written_numbers(text: bytes, like: np.ndarray, name: str) -> np.ndarray:
    """Return numbers written as text; in any locale, a decimal point."""
    native = like.dtype.newbyteorder("=")
    wide = np.dtype(np.float64) if native.kind == "f" else np.dtype(np.uint64 if native == np.uint64 else np.int64)
    if text.translate(None, b"0123456789+-.eE \t\r\n\v\f"):
        raise InputError(
            f"{name} has other characters than numbers in its voxels; expected numbers as text. Convert it again."
        )
    words = text.split()
    if len(words) != like.size:
        raise InputError(
            f"{name} has {len(words)} numbers; expected {like.size} by its header. Copy or convert it again."
        )
    try:
        if wide.kind == "f":
            return np.array(words).astype(np.float64)
        numbers = np.array([int(word) for word in words], wide)
        low, high = np.iinfo(native).min, np.iinfo(native).max
        if numbers.min() < low or numbers.max() > high:
            raise OverflowError
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{name} has numbers that are not {native}, the type in its header; expected only such. Convert it again."
        ) from error
    return numbers


def _scaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Return slope × values + intercept; float32 for types of up to 16 bits and for float32, else float64."""
    small = values.dtype.itemsize <= 2 or values.dtype == np.float32
    made = np.empty(values.size, np.float32 if small else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # refused as not finite
        for first in range(0, values.size, _CHUNK):
            block = slice(first, first + _CHUNK)
            made[block] = values[block].astype(np.float64) * slope + intercept
    return made


def _empty_image(sizes: Sequence[int], stored: StoredVolume) -> tuple[sitk.Image, np.ndarray]:
    """Return a new image, and its values as a flat array that can be written, so that they exist once in memory."""
    scalar, vector = _PIXELS[stored.kind.newbyteorder("=").str[1:]]
    image = sitk.Image(sizes, scalar) if stored.channels == 1 else sitk.Image(sizes, vector, stored.channels)
    view = sitk.GetArrayViewFromImage(image)
    memory = (ctypes.c_uint8 * view.nbytes).from_address(view.ctypes.data)
    return image, np.frombuffer(memory, stored.kind)
