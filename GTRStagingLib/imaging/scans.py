"""Reading a CT, whatever it comes as: one `Scan`, in the input's own axis order and geometry.

Reading tells where the voxels lie; the voxels themselves are had where they are asked for, so that staging three slices
costs three slices.
"""

import hashlib
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import nifti
from GTRStagingLib.imaging.dicom import read_ct
from GTRStagingLib.imaging.dicom_headers import is_dicom
from GTRStagingLib.imaging.geometry import Grid, Window, axial_lps, axial_window, grid_of, set_direction, skewed
from GTRStagingLib.support.files import require_utf8_path, sha256_of

FORMATS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".png": "PNG",
}
"""By the end of the name; DICOM is known by its content, since its files are called anything. A format of several files
stands in `tables.case_files` as well: it says what a batch and a cache must look at to notice that a case changed."""


class Voxels(Protocol):
    """The voxels of a scan, or the way to them: `Held` in memory, or still in files (`stack.Undecoded`)."""

    @property
    def grid(self) -> Grid:
        """Where they lie."""

    def cut(self, window: Window) -> sitk.Image:
        """A block of them, as an image of its own."""

    def whole(self) -> sitk.Image:
        """All of them."""


@dataclass(frozen=True)
class Held:
    """A volume in memory, as it was stored: what is cut out of it is given the type `pixel` afterwards, if one is."""

    stored: sitk.Image
    pixel: int | None = None

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return grid_of(self.stored)

    def cut(self, window: Window) -> sitk.Image:
        """A block of the voxels; as with `whole`, the header's free text stays behind."""
        return sitk.Cast(self.stored[window], self._pixel)

    def whole(self) -> sitk.Image:
        """All voxels; copied only if they have another type, or come with a header's text."""
        plain = self.stored.GetPixelID() == self._pixel and not self.stored.GetMetaDataKeys()
        return self.stored if plain else sitk.Cast(self.stored, self._pixel)

    @property
    def _pixel(self) -> int:
        kind: int = self.stored.GetPixelID() if self.pixel is None else self.pixel
        return kind


@dataclass(frozen=True)
class Scan:
    """A CT as it was read, in the input's own axis order and geometry.

    Attributes
    ----------
    voxels
        3-D and scalar: HU as int16 or float32, or windowed grey as uint8. Those of DICOM are decoded when they are
        asked for: each time anew, and a damaged slice is found by who needs it.
    intensity
        What the values are.
    spacing_known
        False for a PNG: its unit spacing is not millimetres.
    digest
        sha256 of the input's bytes; of DICOM, of what the files of its slices, in order of position and whatever they
        are called, say before their pixels (which names each image by its UID), and of their sizes; of a volume in
        memory, of its voxels and their place. `digest_with` covers voxels in any case.
    format
        "DICOM series", "DICOM multi-frame", "NIfTI", "NRRD", "MetaImage", "PNG" or "volume in memory".
    acquisition
        What the header says of scanner and protocol; free of identifiers.
    identifiers
        Patient, study and path: to be written only on request.
    warnings
        What a reader of the result must know; free of identifiers and paths.
    key_index
        The slice that a PNG's name asked for, among its neighbours; None for volumes.
    frame_of_reference
        DICOM's UID of the room in which positions are told, to compare with an ROI's; None where there is none.
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

    @property
    def grid(self) -> Grid:
        """Where the whole scan lies, in the input's axis order."""
        return self.voxels.grid

    @cached_property
    def image(self) -> sitk.Image:
        """The whole volume, in the input's axis order; had when it is first asked for, and then kept.

        Raises
        ------
        InputError
            If a slice cannot be decoded.
        """
        return self.voxels.whole()

    def slices(self, first: int, last: int, step: int = 1) -> sitk.Image:
        """Axial slices first..last (inclusive), in axial LPS order; of a DICOM series only their files are decoded.

        Raises
        ------
        GeometryError
            If the scan has no such slices.
        InputError
            If one of them cannot be decoded.
        """
        return axial_lps(self.voxels.cut(axial_window(self.grid, first, last, step)))

    def digest_with(self, slices: sitk.Image, offsets: Iterable[int]) -> str:
        """sha256 of `digest` and of slices that were used: their offsets from the key slice, and their voxels."""
        voxels = sitk.GetArrayViewFromImage(slices)
        digest = hashlib.sha256(f"{self.digest} {list(offsets)} {voxels.shape} {voxels.dtype} ".encode())
        digest.update(np.ascontiguousarray(voxels).data)
        return digest.hexdigest()


def read_scan(path: Path, *, series: str | None = None) -> Scan:
    """Read a CT.

    Parameters
    ----------
    path
        A DICOM folder or file, a NIfTI, NRRD or MetaImage volume, or an 8-bit PNG of one windowed slice, beside
        which `NAME_-01.png` and `NAME_+01.png` are its neighbours.
    series
        Of a DICOM folder with several CT series: the UID, its end, or the number of the one to read.

    Raises
    ------
    InputError
        If the input cannot be read or is no CT.
    GeometryError
        If nobody could tell from it where its voxels lie.

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
    kind = format_of(path)
    if series is not None and kind != "DICOM":
        raise InputError(f"--series {series} with {path.name} ({kind}); expected DICOM. Leave --series out.")
    identifiers = {"InputPath": str(path)}
    if kind == "PNG":
        return _read_png(path, identifiers)
    if kind == "DICOM":
        ct = read_ct(path, series)
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
        )
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


def scan_of(
    image: sitk.Image, name: str, *, identifiers: Mapping[str, str] | None = None, warnings: tuple[str, ...] = ()
) -> Scan:
    """A CT that another program holds in memory.

    Parameters
    ----------
    image
        3-D, in HU, in LPS.
    name
        For messages; it is kept nowhere, since people name volumes after patients.
    identifiers
        As in `Scan`: written only on request.

    Raises
    ------
    InputError
        If it is no CT in HU.
    GeometryError
        If its axes are not perpendicular.

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
    if image.GetDimension() != 3 or 0 in image.GetSize():
        raise InputError(f"{name} has size {image.GetSize()}; expected a 3-D volume.")
    _require_upright(image, name)
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


def format_of(path: Path) -> str:
    """Tell what a path holds ("DICOM" or a value of `FORMATS`); an `InputError` if nothing that can be read."""
    require_utf8_path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "DICOM"
        if not stat.S_ISREG(mode):  # a pipe may keep its reader waiting for ever, and a device may have no end
            raise InputError(
                f"{path} is a pipe, a device or a socket; expected a file or a folder. Copy what it gives to a file."
            )
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected a file or folder that can be read. Check the path and your rights."
        ) from error
    known = [kind for end, kind in FORMATS.items() if path.name.lower().endswith(end)]
    if known:
        return known[0]
    if is_dicom(path):
        return "DICOM"
    raise InputError(
        f"{path.name} is neither DICOM nor called {', '.join(FORMATS)}; expected one of these. Convert it, or give "
        "the folder of a DICOM series."
    )


def read_volume(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a NIfTI, NRRD or MetaImage file as stored, made 3-D, with its geometry checked; and warnings."""
    header = nifti.read_header(path) if format_of(path) == "NIfTI" else None
    warnings: tuple[str, ...] = ()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        # What ITK says of a geometry that it refuses; everything else is a file that it cannot read.
        if "orthonormal" in str(error) or "Zero-valued spacing" in str(error) or "determinant" in str(error):
            raise skewed(path.name) from error
        raise InputError(
            f"{path.name} cannot be read as {format_of(path)}; expected a whole, valid file. It may be truncated or "
            "of another type: copy or convert it again."
        ) from error
    if image.GetDimension() == 4:
        if image.GetSize()[3] != 1:
            raise InputError(
                f"{path.name} holds {image.GetSize()[3]} volumes (4-D); expected one. Save the portal-venous phase "
                "as a 3-D file."
            )
        image = image[..., 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
        warnings += ("The file holds a single slice without thickness: taken as 1 mm.",)
    if image.GetDimension() != 3 or 0 in image.GetSize():
        raise InputError(f"{path.name} has size {image.GetSize()}; expected a 3-D volume.")
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path.name} holds complex numbers; expected plain ones, in HU. Give the CT.")
    _require_upright(image, path.name)
    if header is not None:
        nifti.require_one_place(header, image, path.name)
    set_direction(image, image.GetDirection())
    return image, warnings + _orientation_warnings(image)


def _require_upright(image: sitk.Image, name: str) -> None:
    direction = np.reshape(image.GetDirection(), (3, 3))
    finite = np.isfinite([*image.GetDirection(), *image.GetOrigin(), *image.GetSpacing()]).all()
    if not finite or not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise skewed(name)


def _orientation_warnings(image: sitk.Image) -> tuple[str, ...]:
    codes = [image.GetMetaData(k) for k in ("qform_code", "sform_code") if image.HasMetaDataKey(k)]
    if codes == ["0", "0"]:
        return ("The NIfTI header does not say which side is left: the orientation is assumed.",)
    reader = "ITK_InputFilterName"
    nrrd = image.HasMetaDataKey(reader) and image.GetMetaData(reader) == "NrrdImageIO"
    if nrrd and not image.HasMetaDataKey("NRRD_space"):
        return ("The NRRD header does not say which side is left: the orientation is assumed.",)
    return ()


def _hounsfield(image: sitk.Image, name: str) -> Held:
    """The image, to be had as int16 or float32; raise unless it can be in HU."""
    if (channels := image.GetNumberOfComponentsPerPixel()) != 1:
        raise InputError(f"{name} has {channels} values a voxel (colour or vectors); expected 1, in HU. Give the CT.")
    values = sitk.GetArrayViewFromImage(image)
    if values.min() >= 0:
        raise InputError(
            f"{name} has no value below 0 (lowest {values.min():g}); expected a CT in HU, where fat and air are "
            "negative. It is an MR, a windowed picture or a mask, or its rescale intercept was lost: convert the CT "
            "again from DICOM."
        )
    # Floating-point files stay float32; integers of any width become int16 unless they do not fit.
    fits = values.dtype.kind in "iu" and values.min() >= -32768 and values.max() <= 32767
    return Held(image, sitk.sitkInt16 if fits else sitk.sitkFloat32)


def _volume_digest(path: Path, image: sitk.Image) -> str:
    if path.suffix.lower() not in (".nhdr", ".mhd"):
        return sha256_of(path)
    # The header's voxels lie in another file.
    return _sha256([path.read_bytes()], sitk.GetArrayViewFromImage(image))


def _sha256(*parts: Iterable[Any]) -> str:
    """Of bytes and arrays, one after the other; one of them at a time is held."""
    digest = hashlib.sha256()
    for part in chain(*parts):
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _read_png(path: Path, identifiers: Mapping[str, str]) -> Scan:
    """Read a windowed slice, and as its neighbours the files that the published data names so."""
    below, above = (path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01"))
    files = [f for f in (below, path, above) if f == path or f.is_file()]
    slices = [_png_grey(f) for f in files]
    for file, grey in zip(files, slices, strict=True):
        if grey.shape != slices[0].shape:
            raise InputError(
                f"{file.name} has {grey.shape[1]}×{grey.shape[0]} pixels, {files[0].name} "
                f"{slices[0].shape[1]}×{slices[0].shape[0]}; expected neighbouring slices of one scan. Move the "
                "file that is not one elsewhere."
            )
    return Scan(
        voxels=Held(sitk.GetImageFromArray(np.stack(slices))),
        intensity="windowed",
        spacing_known=False,
        digest=_sha256(file.read_bytes() for file in files),
        format="PNG",
        identifiers=identifiers,
        key_index=files.index(path),
    )


def _png_grey(path: Path) -> np.ndarray:
    """Read an 8-bit PNG, grey or RGB with three equal channels, as (y, x) uint8."""
    from PIL import Image, UnidentifiedImageError

    start = path.read_bytes()[:26]
    if start[:8] != b"\x89PNG\r\n\x1a\n" or len(start) < 26:
        raise InputError(f"{path.name} is not a PNG; expected one by its name. Save it again as 8-bit grey PNG.")
    # From the header itself: Pillow reduces 16-bit colour to 8 bits without a word.
    bits, colour_type = start[24:26]
    if bits != 8 or colour_type not in (0, 2):
        raise InputError(
            f"{path.name}: {bits} bits a channel, PNG colour type {colour_type}; expected 8-bit grey (0) or RGB "
            "(2). Save it as 8-bit grey PNG of the window that the model was trained with, or give the CT itself."
        )
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except Image.DecompressionBombError as error:
        width, height = struct.unpack(">II", start[16:24])
        raise InputError(
            f"{path.name} has {width}×{height} pixels; expected a slice of a CT, 512×512 or so. Give the slice itself."
        ) from error
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise InputError(f"{path.name} is damaged or truncated; expected a whole PNG. Copy it again.") from error
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise InputError(
                f"{path.name} is a colour picture; expected grey. Give the slice without overlays or colour maps."
            )
        pixels = pixels[..., 0]
    return pixels
