"""Check NIfTI files for errors that ITK ignores: truncated files, invalid sizes, contradictory orientations.

Field offsets are those of nifti1.h.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, skewed_error

_VERSION_1, _VERSION_2 = struct.pack("<i", 348), struct.pack("<i", 540)  # first bytes of their headers
_IN_MM = {1: 1000.0, 3: 0.001}  # metres, micrometres; any other code is taken as mm


@dataclass(frozen=True)
class NiftiHeader:
    """Header fields that determine the length of the file and its geometry."""

    sizes: tuple[int, ...]
    bits_a_voxel: int
    spacing: tuple[float, ...]
    handedness: float
    start: float
    unit: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    rows: tuple[float, ...]

    @property
    def length(self) -> int:
        """Length of the complete file, in bytes."""
        return int(self.start) + math.prod(self.sizes) * self.bits_a_voxel // 8

    def transforms(self) -> Iterator[np.ndarray]:
        """Yield the (4, 4) voxel-to-LPS matrices of the qform and of the sform, if their codes are set."""
        to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
        if self.qform_code > 0:
            yield to_lps @ self._qform()
        if self.sform_code > 0:
            sform = np.vstack([np.reshape(self.rows, (3, 4)), [0, 0, 0, 1]])
            sform[:3] *= _IN_MM.get(self.unit, 1.0)
            yield to_lps @ sform

    def _qform(self) -> np.ndarray:
        b, c, d = self.quaternion
        a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        axes = np.array([
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ])  # fmt: skip
        steps = np.array(self.spacing[:3]) * (1, 1, -1 if self.handedness < 0 else 1)
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = axes * steps, self.offset
        place[:3] *= _IN_MM.get(self.unit, 1.0)
        return place


def read_header(path: Path) -> NiftiHeader:
    """Read the header, and check the length of the file and the spacing.

    Raises
    ------
    InputError
        If the file is not NIfTI-1, damaged or truncated.
    GeometryError
        If a spacing is 0, or the geometry has non-finite numbers.
    """
    try:
        with _opened(path) as file:
            start = file.read(352)
            header, version = _parsed(start), start[:4]
            length = len(start) + _rest(file, path)
    except (struct.error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path.name} is damaged or truncated; expected a complete NIfTI file. Copy or convert it again."
        ) from error
    if version not in (_VERSION_1, _VERSION_1[::-1]) or not 1 <= len(header.sizes) <= 7:
        found = " (found NIfTI-2)" if version in (_VERSION_2, _VERSION_2[::-1]) else ""
        raise InputError(f"{path.name} has no NIfTI-1 header{found}; expected one by its name. Convert the file again.")
    if min(header.sizes) < 1 or not (math.isfinite(header.start) and header.start >= 352):
        raise InputError(
            f"{path.name}: sizes {header.sizes}, voxels from byte {header.start:g}; expected sizes above 0, and voxels "
            "from byte 352 or later. The header is damaged: convert the scan again."
        )
    if length < header.length:
        raise InputError(
            f"{path.name} has {length} bytes; expected {header.length} by its header. It is truncated: copy it again."
        )
    spacing = header.spacing[: min(len(header.sizes), 3)]
    finite = all(np.isfinite(matrix).all() for matrix in header.transforms())
    if not finite or not all(math.isfinite(s) and s != 0 for s in spacing):
        raise skewed_error(path.name)
    return header


def require_consistent_geometry(header: NiftiHeader, image: sitk.Image, name: str) -> None:
    """Raise `GeometryError` unless qform, sform and the image read by ITK have the same voxel positions.

    ITK uses one, the other, or the spacing of one with the origin of the other; other readers choose differently, and
    the difference may exchange left and right.
    """
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.GetSize()) - 1)
    read = np.array([image.TransformIndexToPhysicalPoint([int(i) for i in corner]) for corner in corners])
    for place in header.transforms():
        stated = corners @ place[:3, :3].T + place[:3, 3]
        apart = float(np.linalg.norm(stated - read, axis=1).max())
        if not apart <= LATTICE_TOLERANCE * max(image.GetSpacing()):
            raise GeometryError(
                f"{name}: the voxel positions of its header differ by up to {apart:.1f} mm (qform code "
                f"{header.qform_code}, sform code {header.sform_code}, or the axes are skewed); expected the same "
                "positions. Convert the scan again from DICOM, or set qform and sform to the same matrix."
            )


def _parsed(start: bytes) -> NiftiHeader:
    order = "<" if start[:4] in (_VERSION_1, _VERSION_2) else ">"

    def fields(code: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(order + code, start, at)

    rank, *sizes = (int(n) for n in fields("8h", 40))
    handedness, *spacing = fields("8f", 76)
    qform_code, sform_code = (int(code) for code in fields("2h", 252))
    return NiftiHeader(
        sizes=tuple(sizes[: max(rank, 0)]) if rank <= 7 else (),
        bits_a_voxel=int(fields("h", 72)[0]),
        spacing=tuple(spacing),
        handedness=handedness,
        start=fields("f", 108)[0],
        unit=int(fields("b", 123)[0]) & 7,
        qform_code=qform_code,
        sform_code=sform_code,
        quaternion=fields("3f", 256),
        offset=fields("3f", 268),
        rows=fields("12f", 280),
    )


def _rest(file: IO[bytes], path: Path) -> int:
    """Return the number of bytes to the end; a compressed file is read to check its checksum."""
    if not _compressed(path):
        return path.stat().st_size - file.tell()
    length = 0
    while chunk := file.read(1 << 22):
        length += len(chunk)
    return length


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if _compressed(path) else path.open("rb")  # type: ignore[return-value]


def _compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
