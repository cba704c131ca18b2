"""Find what a received study is staged by: an ROI, or a key object selection."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_files import damage_refused, import_dicom_package
from GTRStagingLib.imaging.dicom_headers import files_below
from GTRStagingLib.imaging.dicom_references import is_own
from GTRStagingLib.imaging.key_objects import KEY_OBJECT, read_key_objects

ROIS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}
"""Classes of ROIs: Segmentation, Label Map Segmentation, RT Structure Set."""


@dataclass(frozen=True)
class Contents:
    """What a study contains, as far as it decides on staging.

    Attributes
    ----------
    rois
        Files of ROIs.
    key_objects
        Number of key object selections that mark key images.
    images
        Number of CT objects.
    """

    rois: tuple[Path, ...]
    key_objects: int
    images: int

    @property
    def left_alone(self) -> str:
        """Why the study is not staged; empty if it is."""
        if not self.images:
            return "no CT"
        if not self.rois and not self.key_objects:
            return "no ROI and no key object selection"
        return ""


def contents_of(folder: Path) -> Contents:
    """Read what a study contains; objects of this software are results, and are not counted.

    Raises
    ------
    InputError
        If an object cannot be read, a CT has several ROIs, or it has no ROI and a damaged key object selection.
    """
    rois, marks, images = [], [], 0
    for path in files_below(folder):
        header = _header(path)
        if is_own(header):
            continue
        kind = str(header.get("SOPClassUID") or "")
        if kind in ROIS:
            rois.append(path)
        elif kind == KEY_OBJECT:
            marks.append(path)
        else:
            images += str(header.get("Modality") or "") == "CT"
    if images and len(rois) > 1:
        raise InputError(
            f"The study has {len(rois)} ROIs; expected one, which decides. Stage it by itself with one of "
            "them, or send it with one."
        )
    read = read_key_objects(marks)
    if images and not rois and read.errors:
        raise read.errors[0]
    return Contents(tuple(rois), sum(one.marks for one in read.found), images)


def _header(path: Path) -> Any:
    with damage_refused(
        lambda error: f"An object cannot be read as DICOM ({type(error).__name__}); expected one. Send the study again."
    ):
        dcmread = import_dicom_package("pydicom").dcmread
        return dcmread(
            path, stop_before_pixels=True, specific_tags=["SOPClassUID", "Modality", "ManufacturerModelName"]
        )


__all__ = ["ROIS", "Contents", "contents_of"]
