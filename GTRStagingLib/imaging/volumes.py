"""Recognise the format of a file, and read a NIfTI, NRRD or MetaImage volume of any voxel type."""

import stat
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import nifti
from GTRStagingLib.imaging.dicom_headers import is_dicom
from GTRStagingLib.imaging.geometry import set_direction, skewed_error
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


def format_of(path: Path) -> str:
    """Return the format of a path ("DICOM" or a value of `FORMATS`); raise `InputError` if it is not supported."""
    require_utf8_path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "DICOM"
        if not stat.S_ISREG(mode):  # reading a pipe may block, and a device may be endless
            raise InputError(
                f"{path} is a pipe, a device or a socket; expected a file or a folder. Copy its content to a file."
            )
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; expected a readable file or folder. Check the path and its permissions."
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
    """Read a NIfTI, NRRD or MetaImage file as a 3-D image of the stored type; return it with warnings."""
    header = nifti.read_header(path) if format_of(path) == "NIfTI" else None
    warnings: tuple[str, ...] = ()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        # Messages of ITK for an invalid geometry; all others mean that the file cannot be read.
        if "orthonormal" in str(error) or "Zero-valued spacing" in str(error) or "determinant" in str(error):
            raise skewed_error(path.name) from error
        raise InputError(
            f"{path.name} cannot be read as {format_of(path)}; expected a complete, valid file. It may be truncated or "
            "of another type: copy or convert it again."
        ) from error
    if image.GetDimension() == 4:
        if image.GetSize()[3] != 1:
            raise InputError(
                f"{path.name} has {image.GetSize()[3]} volumes (4-D); expected one. Save the portal-venous phase as a "
                "3-D file."
            )
        image = image[..., 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
        warnings += ("The file has a single slice without thickness; 1 mm is assumed.",)
    if image.GetDimension() != 3 or 0 in image.GetSize():
        raise InputError(f"{path.name} has size {image.GetSize()}; expected a 3-D volume.")
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path.name} has complex numbers; expected real numbers, in HU. Give the CT.")
    require_upright(image, path.name)
    if header is not None:
        nifti.require_consistent_geometry(header, image, path.name)
    set_direction(image, image.GetDirection())
    return image, warnings + _orientation_warnings(image)


def require_upright(image: sitk.Image, name: str) -> None:
    """Raise `GeometryError` unless the axes are perpendicular, and spacing and origin finite."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    finite = np.isfinite([*image.GetDirection(), *image.GetOrigin(), *image.GetSpacing()]).all()
    if not finite or not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise skewed_error(name)


def _orientation_warnings(image: sitk.Image) -> tuple[str, ...]:
    codes = [image.GetMetaData(k) for k in ("qform_code", "sform_code") if image.HasMetaDataKey(k)]
    if codes == ["0", "0"]:
        return ("The NIfTI header does not state which side is left; the orientation is assumed.",)
    reader = "ITK_InputFilterName"
    nrrd = image.HasMetaDataKey(reader) and image.GetMetaData(reader) == "NrrdImageIO"
    if nrrd and not image.HasMetaDataKey("NRRD_space"):
        return ("The NRRD header does not state which side is left; the orientation is assumed.",)
    return ()
