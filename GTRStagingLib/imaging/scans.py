"""Read a CT of any supported format as a `Scan`, in the axis order and geometry of the input.

The geometry is read first; voxels are read on demand, so that staging three slices decodes three slices.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom import DicomCT, read_ct, read_remote_ct
from GTRStagingLib.imaging.dicom_headers import Header
from GTRStagingLib.imaging.dicom_references import References
from GTRStagingLib.imaging.dicom_source import DicomSource
from GTRStagingLib.imaging.geometry import Grid, Window, axial_lps, axial_order, axial_window, direction_matrix, grid_of
from GTRStagingLib.imaging.hounsfield import require_hounsfield
from GTRStagingLib.imaging.key_objects import KeyObjects
from GTRStagingLib.imaging.png import read_grey
from GTRStagingLib.imaging.stored import require_finite, require_grid
from GTRStagingLib.imaging.volumes import format_of, read_volume
from GTRStagingLib.support.detached import HEADERS, read_text_header
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.support.given import given_path, require_type


class Voxels(Protocol):
    """Voxels of a scan: `MemoryVoxels` in memory, or `stack.LazyVoxels` in files."""

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""

    def cut(self, window: Window) -> sitk.Image:
        """Return a block of the voxels as an image."""

    def whole(self) -> sitk.Image:
        """Return all voxels as an image."""


@dataclass(frozen=True)
class MemoryVoxels:
    """Volume in memory, as stored in the file; blocks are converted to the type `pixel`, if it is given."""

    stored: sitk.Image
    pixel: int | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""
        return grid_of(self.stored)

    def cut(self, window: Window) -> sitk.Image:
        """Return a block of the voxels, like `whole` without the header's free text."""
        return sitk.Cast(self.stored[window], self._pixel)

    def whole(self) -> sitk.Image:
        """Return all voxels; copied only if they have another type or a header's text."""
        plain = self.stored.GetPixelID() == self._pixel and not self.stored.GetMetaDataKeys()
        return self.stored if plain else sitk.Cast(self.stored, self._pixel)

    @property
    def _pixel(self) -> int:
        kind: int = self.stored.GetPixelID() if self.pixel is None else self.pixel
        return kind


@dataclass(frozen=True)
class Scan:
    """CT in the axis order and geometry of the input.

    Attributes
    ----------
    voxels
        3-D and scalar: HU as int16 or float32, or windowed grey as uint8. DICOM is decoded on each request, so that a
        damaged slice raises only where it is needed.
    intensity
        Kind of the values.
    spacing_known
        False for a PNG: its unit spacing is not millimetres.
    digest
        sha256 of the input's bytes; for DICOM, of the headers (which contain the UID of each image) and sizes of the
        files of its slices, in the order of their positions; for a volume in memory, of its voxels and geometry.
        `digest_with` includes voxels for all formats.
    format
        "DICOM series", "DICOM multi-frame", "NIfTI", "NRRD", "MetaImage", "PNG" or "volume in memory".
    acquisition
        Header values of scanner and protocol, without identifiers.
    identifiers
        Patient, study and path; to be written only on request.
    warnings
        Warnings for the reader of the result, without identifiers and paths.
    key_index
        Index of a PNG among its neighbouring slices; None for volumes.
    frame_of_reference
        UID of the DICOM frame of reference, to compare with that of an ROI; None if it is missing.
    source
        Images of the acquired slices, for results that refer to them; None unless the scan was read from DICOM.
    key_objects
        Key object selections that may mark its key slice; None unless the scan was read from DICOM.
    rejected
        Acquired slices, by their index, that a key object selection in the folder rejects, with its title: they are
        not given out by `slices`.
    """

    voxels: Voxels = field(repr=False)
    intensity: Literal["HU", "windowed"]
    spacing_known: bool
    digest: str
    format: str
    acquisition: Mapping[str, str] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()
    key_index: int | None = None
    frame_of_reference: str | None = field(default=None, repr=False)
    source: DicomSource | None = field(default=None, repr=False, compare=False)
    key_objects: KeyObjects | None = field(default=None, repr=False, compare=False)
    rejected: Mapping[int, str] = field(default_factory=dict, repr=False)

    @property
    def grid(self) -> Grid:
        """Grid of the scan, in the axis order of the input."""
        return self.voxels.grid

    @cached_property
    def image(self) -> sitk.Image:
        """Volume in the axis order of the input; read on first use, and kept.

        Raises
        ------
        InputError
            If a slice cannot be decoded.
        """
        return self.voxels.whole()

    def slices(self, first: int, last: int, step: int = 1) -> sitk.Image:
        """Return axial slices first..last (inclusive), in axial LPS order; a DICOM series decodes only their files.

        Raises
        ------
        GeometryError
            If the scan has no such slices.
        InputError
            If a slice cannot be decoded, or was rejected in the archive.
        """
        window = axial_window(self.grid, first, last, step)
        if self.rejected:
            self._require_not_rejected(window)
        return axial_lps(self.voxels.cut(window))

    def _require_not_rejected(self, window: Window) -> None:
        for k in self.grid.indices(window)[2]:
            if k in self.rejected:
                index = self.axial_index(k)
                which = f"Acquired slice {k}" if index is None else f"Slice {index}"
                raise InputError(
                    f"{which} is marked '{self.rejected[k]}' by a key object selection; expected slices that may be "
                    "used, as key slice and as neighbours. Choose another key slice; if the rejection was withdrawn, "
                    "take its file out of the folder of the CT."
                )

    def axial_index(self, k: int) -> int | None:
        """Return the axial index of an acquired slice, at index k of the third axis; None if these are not axial."""
        order = axial_order(self.grid)
        if order.axes[2] != 2:
            return None
        return self.grid.size[2] - 1 - k if order.flipped[2] else k

    def padding(self, index: int) -> float:
        """Return the share of declared padding (0 to 1) in an axial slice that was read; 0 if its file declares none.

        Of a stack that is not axial, it is the mean of the acquired slices that were read.
        """
        shares: Mapping[int, float] = getattr(self.voxels, "padding", {})
        read = [
            shares[k] for k in self.grid.indices(axial_window(self.grid, index, index))[2] if shares.get(k) is not None
        ]
        return sum(read) / len(read) if read else 0.0

    def digest_with(self, slices: sitk.Image, offsets: Iterable[int]) -> str:
        """Return the sha256 of `digest` and of the used slices: their offsets from the key slice, and their voxels."""
        voxels = sitk.GetArrayViewFromImage(slices)
        digest = hashlib.sha256(f"{self.digest} {list(offsets)} {voxels.shape} {voxels.dtype} ".encode())
        digest.update(np.ascontiguousarray(voxels).data)
        return digest.hexdigest()


def read_scan(
    path: Path, *, series: str | None = None, referring: Sequence[References] = (), by_key_objects: bool = False
) -> Scan:
    """Read a CT.

    Parameters
    ----------
    path
        A DICOM folder or file, a NIfTI, NRRD or MetaImage volume, or an 8-bit PNG of one windowed slice, with its
        neighbouring slices `NAME_-01.png` and `NAME_+01.png` beside it, if they exist.
    series
        UID, end of the UID, or number of the series to read, if a DICOM folder has several CT series; with a part
        (`3.2`, `UID#2`) if a series joins several acquisitions.
    referring
        What ROIs refer to (`Roi.refers_to`): without `series`, this chooses among several series; see `inputs`.
    by_key_objects
        Let a key object selection choose among several series, if no ROI does.

    Raises
    ------
    InputError
        If the input cannot be read or is not a CT.
    GeometryError
        If the geometry of the input is missing or invalid.

    Examples
    --------
    >>> from pathlib import Path
    >>> import SimpleITK as sitk
    >>> from GTRStagingLib.imaging.scans import read_scan
    >>> from GTRStagingLib.phantoms.phantom import make_phantom
    >>> from GTRStagingLib.stages import TStage
    >>> phantom = make_phantom(TStage.T3, size=64)
    >>> sitk.WriteImage(phantom.ct, "ct.nrrd")
    >>> scan = read_scan(Path("ct.nrrd"))
    >>> scan.format, scan.intensity, scan.grid.size == phantom.ct.GetSize()
    ('NRRD', 'HU', True)
    >>> scan.slices(10, 12).GetSize()
    (64, 64, 3)
    """
    path = given_path("path", path)
    kind = format_of(path)
    if series is not None and kind != "DICOM":
        raise InputError(f"{path.name} is {kind}; `series` requires DICOM. Omit `series`.")
    identifiers = {"InputPath": str(path)}
    if kind == "PNG":
        return _read_png(path, identifiers)
    if kind == "DICOM":
        return _scan_of_dicom(read_ct(path, series, referring, by_key_objects=by_key_objects), identifiers)
    image, warnings = read_volume(path)
    return Scan(
        voxels=_hounsfield(image, path.name),
        intensity="HU",
        spacing_known=True,
        digest=_volume_digest(path, image),
        format=kind,
        identifiers=identifiers,
        warnings=warnings,
    )


def remote_scan(
    headers: Sequence[Header],
    *,
    place: str,
    series: str | None = None,
    referring: Sequence[References] = (),
    by_key_objects: bool = False,
) -> Scan:
    """Return a scan of a CT in an archive, of which a slice is fetched when it is decoded first.

    Parameters
    ----------
    headers
        Headers of all files of one or more series (see `dicom_remote`), and of key object selections.
    place
        Address of the study, in the place of a path; written only on request.
    series, referring, by_key_objects
        As in `read_scan`.

    Raises
    ------
    InputError, GeometryError
        As `read_scan`.
    """
    ct = read_remote_ct(headers, series, referring, by_key_objects=by_key_objects)
    return _scan_of_dicom(ct, {"InputPath": place})


def _scan_of_dicom(ct: DicomCT, identifiers: Mapping[str, str]) -> Scan:
    return Scan(
        voxels=ct.voxels,
        intensity="HU",
        spacing_known=True,
        digest=ct.digest,
        format=ct.format,
        acquisition=ct.acquisition,
        identifiers={**ct.identifiers, **identifiers},
        warnings=ct.warnings,
        frame_of_reference=ct.frame_of_reference,
        source=ct.source,
        key_objects=ct.key_objects,
        rejected=ct.rejected,
    )


def scan_of(
    image: sitk.Image, name: str, *, identifiers: Mapping[str, str] | None = None, warnings: tuple[str, ...] = ()
) -> Scan:
    """Return a scan of a CT in memory.

    Parameters
    ----------
    image
        3-D, in HU, in LPS.
    name
        Name for messages; not stored, since volumes may be named after patients.
    identifiers
        As in `Scan`: written only on request.

    Raises
    ------
    InputError
        If the image is not a CT in HU.
    GeometryError
        If the axes are not perpendicular.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.imaging.geometry import Grid
    >>> from GTRStagingLib.imaging.scans import scan_of
    >>> place = Grid((2, 2, 3), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> scan = scan_of(place.image(np.full((3, 2, 2), -1000, np.int16)), "air")
    >>> scan.format, scan.grid == place
    ('volume in memory', True)
    """
    require_type(
        "image", image, sitk.Image, "an image of SimpleITK", "Call SimpleITK.ReadImage(path), or read_scan(path)."
    )
    if image.GetDimension() != 3 or 0 in image.GetSize():
        raise InputError(f"{name} has size {image.GetSize()}; expected a 3-D volume.")
    require_grid(image.GetSize(), direction_matrix(image) * image.GetSpacing(), np.array(image.GetOrigin()), name)
    require_finite(sitk.GetArrayViewFromImage(image), name)
    voxels = _hounsfield(image, name)
    place = struct.pack("<3I15d", *image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection())
    kind = np.int16 if voxels.pixel == sitk.sitkInt16 else np.float32
    return Scan(
        voxels=voxels,
        intensity="HU",
        spacing_known=True,
        digest=_sha256([place], (plane.astype(kind, copy=False) for plane in sitk.GetArrayViewFromImage(image))),
        format="volume in memory",
        identifiers=dict(identifiers or {}),
        warnings=warnings,
    )


def _hounsfield(image: sitk.Image, name: str) -> MemoryVoxels:
    """Return the voxels as int16 or float32; raise `InputError` unless they can be in HU."""
    if (channels := image.GetNumberOfComponentsPerPixel()) != 1:
        raise InputError(f"{name} has {channels} values per voxel (colour or vectors); expected 1, in HU. Give the CT.")
    values = sitk.GetArrayViewFromImage(image)
    require_hounsfield(values[np.newaxis], [name])
    # Floating-point files become float32; integers become int16 if they are in its range.
    fits = values.dtype.kind in "iu" and values.min() >= -32768 and values.max() <= 32767
    return MemoryVoxels(image, sitk.sitkInt16 if fits else sitk.sitkFloat32)


def _volume_digest(path: Path, image: sitk.Image) -> str:
    if path.suffix.lower() not in HEADERS or read_text_header(path).data_files is None:
        return sha256_of(path)
    # The voxels are in other files.
    return _sha256([path.read_bytes()], sitk.GetArrayViewFromImage(image))


def _sha256(*parts: Iterable[Any]) -> str:
    """Return the sha256 of bytes and arrays, of which one at a time is in memory."""
    digest = hashlib.sha256()
    for part in chain(*parts):
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _read_png(path: Path, identifiers: Mapping[str, str]) -> Scan:
    """Read a windowed slice and its neighbouring slices, by the file names of the published data."""
    below, above = (path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01"))
    files = [f for f in (below, path, above) if f == path or f.is_file()]
    slices = [read_grey(f) for f in files]
    for file, grey in zip(files, slices, strict=True):
        if grey.shape != slices[0].shape:
            raise InputError(
                f"{file.name} has {grey.shape[1]}×{grey.shape[0]} pixels, {files[0].name} "
                f"{slices[0].shape[1]}×{slices[0].shape[0]}; expected neighbouring slices of one scan. Move the "
                "other file elsewhere."
            )
    return Scan(
        voxels=MemoryVoxels(sitk.GetImageFromArray(np.stack(slices))),
        intensity="windowed",
        spacing_known=False,
        digest=_sha256(file.read_bytes() for file in files),
        format="PNG",
        identifiers=identifiers,
        key_index=files.index(path),
    )
