"""Read the header of a NIfTI-1 file by nibabel, and check that its orientations agree.

The header alone is read here; `stored.read_stored` reads the voxels.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE
from GTRStagingLib.imaging.stored import Part, StoredVolume, require_grid

_VERSIONS = {348: "NIfTI-1", 540: "NIfTI-2"}
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # not stated, metres, millimetres, micrometres
_CODES = range(6)  # of qform and sform
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COMPLEX = {32, 1792, 2048}
_COLOUR = {128: 3, 2304: 4}


def read_header(path: Path) -> StoredVolume:
    """Read the header of a NIfTI-1 file, compressed or not: the content decides, not the name.

    A slope of 0, NaN or infinity means no scaling, and then the intercept is ignored, as the format defines.

    Raises
    ------
    InputError
        If the file is not NIfTI-1 in one file, or its header is damaged.
    GeometryError
        If a spacing is not a number above 0, or the orientations contradict one another.
    """
    from nibabel import nifti1

    block, compressed = _first_bytes(path)
    versions = (_VERSIONS.get(struct.unpack(f"{order}i", block[:4])[0]) for order in "<>") if len(block) >= 4 else ()
    version = next((one for one in versions if one), None)
    if version != "NIfTI-1" or len(block) < 348 or block[344:348] != b"n+1\0":
        found = f" (found {version})" if version == "NIfTI-2" else ""
        found = " (its voxels are in an .img file)" if block[344:348] == b"ni1\0" else found
        raise InputError(f"{path.name} has no NIfTI-1 header{found}; expected one by its name. Convert the file again.")
    parse: Any = nifti1.Nifti1Header
    header = parse(block, check=False)
    if header["pixdim"][0] == 0:  # as the format defines
        header["pixdim"][0] = 1
    rank = int(header["dim"][0])
    sizes = tuple(int(n) for n in header["dim"][1 : 1 + max(0, rank)])
    start = float(header["vox_offset"])
    if not 2 <= rank <= 7 or min(sizes) < 1 or not (352 <= start <= 2**31 and start == int(start)):
        raise InputError(
            f"{path.name}: sizes {sizes}, voxels from byte {start:g}; expected sizes above 0, and voxels from byte 352 "
            "or later. The header is damaged: convert the scan again."
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    channels = math.prod(sizes[4:])
    kind = _kind(header, path.name)
    sizes = (*sizes[:4], 1)[: max(2, min(len(sizes), 4))]
    sizes = sizes[:3] if sizes[3:] == (1,) else sizes
    steps, warnings = _place(header, sizes, path.name)
    first = int(start)
    return StoredVolume(
        name=path.name,
        sizes=sizes,
        kind=kind,
        steps=steps[:3, :3],
        origin=steps[:3, 3],
        parts=(Part(path, 0, skip=first),),
        encoding="gzip" if compressed else "raw",
        channels=channels,
        channels_last=True,
        scale=_scale(header, path.name),
        warnings=warnings,
    )


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """Return the first 348 bytes, decompressed if necessary, and whether the file is compressed."""
    with path.open("rb") as file:
        start = file.read(348)
    if not start.startswith(b"\x1f\x8b"):
        return start, False
    try:
        with gzip.open(path) as unpacked:  # of any number of members, with names of any length
            return unpacked.read(348), True
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path.name} is damaged or truncated: it begins like a gzip file; expected a complete NIfTI file. Copy or "
            "convert it again."
        ) from error


def _kind(header: Any, name: str) -> np.dtype:
    code = int(header["datatype"])
    if code in _COMPLEX:
        raise InputError(f"{name} has complex numbers; expected real numbers, in HU. Give the CT.")
    if code in _COLOUR:
        raise InputError(
            f"{name} has {_COLOUR[code]} values per voxel (colour or vectors); expected 1, in HU. Give the CT."
        )
    try:
        kind: np.dtype = header.get_data_dtype()
    except Exception as error:  # nibabel raises several kinds for an unknown code
        raise InputError(
            f"{name} has NIfTI datatype {code}; expected a type of whole or real numbers. Convert the scan again."
        ) from error
    if int(header["bitpix"]) != kind.itemsize * 8:
        raise InputError(
            f"{name} has {int(header['bitpix'])} bits per voxel by its header; expected {kind.itemsize * 8} for "
            f"{kind.name}. The header is damaged: convert the scan again."
        )
    return kind


def _scale(header: Any, name: str) -> tuple[float, float] | None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return None
    if not math.isfinite(intercept):
        raise InputError(
            f"{name} has slope {slope:g} with intercept {intercept:g}; expected a finite intercept. The header is "
            "damaged: convert the scan again from DICOM."
        )
    return slope, intercept


def _place(header: Any, sizes: tuple[int, ...], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the (4, 4) voxel-to-LPS matrix in mm, and warnings.

    The sform is taken where it is set, else the qform. Both, and the spacing, must state the same voxel positions:
    other readers choose differently, and the difference may exchange left and right.
    """
    unit = _MM.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        raise GeometryError(
            f"{name} has xyzt_units {int(header['xyzt_units'])}, with no unit of length; expected mm (2). Convert the "
            "scan again from DICOM."
        )
    whole = (*sizes, 1)[:3]
    flat = len(sizes) == 2
    spacing = np.asarray(header["pixdim"][1:4], float) * unit
    if flat:
        spacing[2] = 1.0
    size_only = np.diag([*spacing, 1.0])
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        shown = " × ".join(f"{s:g}" for s in spacing)
        raise GeometryError(
            f"{name}: a spacing is 0 or not a number ({shown} mm); expected three numbers above 0. Convert the scan "
            "again from DICOM."
        )
    codes = {form: int(header[f"{form}_code"]) for form in ("qform", "sform")}
    if not all(code in _CODES for code in codes.values()):
        raise GeometryError(
            f"{name} has qform code {codes['qform']} and sform code {codes['sform']}; expected 0 to {_CODES[-1]}. The "
            "header is damaged: convert the scan again from DICOM."
        )
    if max(codes.values()) == 0:
        return size_only, ("The NIfTI header does not state which side is left; the orientation is assumed.",)
    places = []
    for form in ("sform", "qform"):
        if codes[form] > 0:
            place = _TO_LPS @ _form(header, form, name)
            place[:3] *= unit
            if flat:
                place = _flat(place)
            require_grid(whole, place[:3, :3], place[:3, 3], name)
            places.append(place)
    chosen = places[0]
    stretched = chosen.copy()
    stretched[:3, :3] *= spacing / np.linalg.norm(chosen[:3, :3], axis=0)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(whole) - 1)
    for other in (stretched, *places[1:]):
        apart = np.linalg.norm(corners @ (other - chosen)[:3, :3].T + (other - chosen)[:3, 3], axis=1).max()
        if not apart <= LATTICE_TOLERANCE * spacing.max():
            raise GeometryError(
                f"{name}: the voxel positions of its header differ by up to {apart:.1f} mm (qform code "
                f"{codes['qform']}, sform code {codes['sform']}, and the spacing); expected the same positions. "
                "Convert the scan again from DICOM, or set qform and sform to the same matrix."
            )
    return chosen, ()


def _form(header: Any, form: str, name: str) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            matrix: Any = header.get_sform() if form == "sform" else header.get_qform()
    except Exception as error:  # nibabel raises several kinds for an invalid quaternion
        raise GeometryError(
            f"{name}: the axes are skewed, or its {form} is not a number ({error}); expected an orientation. Convert "
            "the scan again from DICOM."
        ) from error
    return np.array(matrix, float)


def _flat(place: np.ndarray) -> np.ndarray:
    """Return the matrix of a single slice with a thickness of 1 mm."""
    place = place.copy()
    place[:3, 2] /= np.linalg.norm(place[:3, 2]) or 1.0
    return place
