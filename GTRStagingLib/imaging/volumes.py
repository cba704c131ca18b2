"""Recognise the format of a file, and read a NIfTI, NRRD or MetaImage volume of any voxel type."""

import stat
from pathlib import Path

import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import metaimage, nifti, nrrd
from GTRStagingLib.imaging.dicom_headers import is_dicom
from GTRStagingLib.imaging.stored import read_stored
from GTRStagingLib.support.files import require_utf8_path

FORMATS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".png": "PNG",
}
"""Formats by suffix; DICOM files have any name and are recognised by content. A format with several files is listed in
`tables.case_files` as well, by which a batch and a cache detect that a case has changed."""

_HEADERS = {"NIfTI": nifti.read_header, "NRRD": nrrd.read_header, "MetaImage": metaimage.read_header}


def format_of(path: Path) -> str:
    """Return the format of a path ("DICOM" or a value of `FORMATS`); raise `InputError` if it is not supported."""
    require_utf8_path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "DICOM"
        if not stat.S_ISREG(mode):  # reading a pipe may block, and a device may be endless
            raise InputError(
                f"{path.name} is a pipe, a device or a socket; expected a file or a folder. Copy its content to a "
                "file.",
                details=str(path),
            )
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path.name}: {error.strerror}; expected a readable file or folder. Check the path and its permissions.",
            details=str(path),
        ) from error
    known = [kind for end, kind in FORMATS.items() if path.name.lower().endswith(end)]
    if known:
        return known[0]
    if is_dicom(path):
        return "DICOM"
    raise InputError(
        f"{path.name} has no supported format; expected DICOM or a name that ends in {', '.join(FORMATS)}. Convert the "
        "file, or give the folder of a DICOM series."
    )


def read_volume(path: Path) -> tuple[sitk.Image, tuple[str, ...]]:
    """Read a NIfTI, NRRD or MetaImage file as a 3-D image; return it with warnings.

    The image has the stored type, or a floating-point type if the file has a slope and an intercept. An NRRD keeps its
    key/value pairs, and may have several values per voxel. `stored.read_stored` lists what is checked.

    Raises
    ------
    InputError
        If the file is not a volume, damaged, or of an unsupported kind.
    GeometryError
        If the geometry of the file is missing or invalid.
    """
    kind = format_of(path)
    if kind not in _HEADERS:
        raise InputError(f"{path.name} is {kind}; expected a volume as NIfTI, NRRD or MetaImage. Convert the file.")
    try:
        return read_stored(_HEADERS[kind](path))
    except OSError as error:
        raise InputError(
            f"{path.name} or one of its data files cannot be read ({error.strerror}); expected readable files. Check "
            "the files and their permissions."
        ) from error
