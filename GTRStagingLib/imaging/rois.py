"""Read an ROI: one segment of a DICOM SEG, an RTSTRUCT, a Slicer segmentation or a label map."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom import frame_of_reference
from GTRStagingLib.imaging.dicom_files import damage_refused
from GTRStagingLib.imaging.dicom_headers import files_below, is_dicom, read_header, whole_header
from GTRStagingLib.imaging.dicom_references import References, is_own
from GTRStagingLib.imaging.dicom_seg import SEG_CLASSES, read_seg
from GTRStagingLib.imaging.geometry import ImageOrGrid, onto_block
from GTRStagingLib.imaging.rtstruct import RTSTRUCT, read_contours
from GTRStagingLib.imaging.segments import (
    EmptyRoiError,
    Segment,
    SeveralSegmentsError,
    choose_segment,
    empty_segment_error,
)
from GTRStagingLib.imaging.volumes import format_of, read_volume
from GTRStagingLib.support.given import given_path, require_type

LABELS = range(1, 2**31)
"""Valid labels of a segment in a label map; 0 is the background."""

STOMACH = "stomach"
"""Name of the stomach's segment in the output of TotalSegmentator."""

LABEL_TOLERANCE = 1e-3
"""Largest distance of a value from a whole number that is a label: maps in floating point may be rounded."""


class Unplaced(Protocol):
    """ROI without a grid of its own: planes of a DICOM SEG, or contours of an RTSTRUCT."""

    def placed(self, ct: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
        """Return a 0/1 image on the slices of the CT; parameters and errors as for `Roi.onto`."""


@dataclass(frozen=True)
class Roi:
    """ROI of one segment.

    Attributes
    ----------
    mask
        uint8 image of 0 and 1, 3-D, in any axis order; or planes or contours, for which `onto` takes the slices from
        the CT.
    segment
        Name of the segment, or its number if it has no name.
    frame_of_reference
        UID of the frame of reference of a DICOM SEG or RTSTRUCT; None if it is missing.
    number
        Number of the segment in the file, or its place in the list of 3D Slicer; None if it has none.
    warnings
        What was assumed of the file, without identifiers and paths.
    refers_to
        CT series and images that a DICOM SEG or RTSTRUCT refers to; None for other files.
    """

    mask: sitk.Image | Unplaced
    segment: str
    frame_of_reference: str | None = field(default=None, repr=False)
    number: int | None = None
    warnings: tuple[str, ...] = ()
    refers_to: References | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not hasattr(self.mask, "placed"):
            remedy = "Call SimpleITK.ReadImage(path), or read_roi(path)."
            require_type("mask", self.mask, sitk.Image, "an image of SimpleITK", remedy)

    def onto(self, ct: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
        """Return the ROI as a block of the CT's voxels.

        Parameters
        ----------
        ct
            In any axis order.
        resample
            Accept other voxels and take the nearest (the caller must record this choice). Contours are drawn on any
            pixels, but must lie on slices of the CT in any case.

        Returns
        -------
        uint8 image of 0 and 1, on voxels of the CT, in its axis order.

        Raises
        ------
        GeometryError
            If the ROI is (partly) outside the CT, or on other voxels or slices.
        InputError
            If no voxel of the CT belongs to the ROI.

        Examples
        --------
        >>> from GTRStagingLib import Roi, TStage, make_phantom
        >>> phantom = make_phantom(TStage.T3, size=64)
        >>> Roi(phantom.tumour, "tumour").onto(phantom.ct).GetSize() < phantom.ct.GetSize()
        True
        """
        return onto_block(self.image(ct, resample=resample), ct, resample=resample)

    def image(self, ct: ImageOrGrid, *, resample: bool = False) -> sitk.Image:
        """Return the ROI as an image: in the geometry of the file, or, without a grid there, on slices of the CT.

        Parameters and errors as for `onto`, but the image may be outside the CT or on other pixels.
        """
        return self.mask if isinstance(self.mask, sitk.Image) else self.mask.placed(ct, resample=resample)


def read_roi(path: Path, *, segment: str | int | None = None) -> Roi:
    """Read an ROI.

    Parameters
    ----------
    path
        A DICOM SEG or RTSTRUCT file (or a folder with exactly one beside any other files, such as the CT's),
        `.seg.nrrd`, or a NIfTI, NRRD or MetaImage label map.
    segment
        Number or label (ignoring case) of the segment; required only if there are several.

    Raises
    ------
    InputError
        If the file is not an ROI, or the segment is missing, ambiguous or empty.
    GeometryError
        If the geometry of the file is missing or invalid.
    """
    path = given_path("path", path)
    kind = format_of(path)
    if kind == "PNG":
        raise InputError(f"{path.name} is a picture; expected a mask with a geometry. Give a DICOM SEG, NRRD or NIfTI.")
    if kind != "DICOM":
        return _read_label_map(path, segment)
    with damage_refused(
        lambda error: (
            f"{path.name}: a value of a DICOM header has an unexpected form ({type(error).__name__}); "
            "expected a DICOM SEG or an RTSTRUCT. Export or copy it again."
        )
    ):
        return _read_dicom(_only_segmentation(path) if path.is_dir() else path, segment)


def read_stomach(path: Path, *, segment: str | int | None = None) -> Roi:
    """Read a mask of the stomach, as of TotalSegmentator, in the forms and with the errors of `read_roi`.

    Parameters
    ----------
    segment
        Number or label of the segment; by default the only one, with a warning if it has another name, or the one of
        several that is called 'stomach'.
    """
    with stomach_named():
        roi = _read_stomach(path, segment)
    refers_to = None if roi.refers_to is None else replace(roi.refers_to, what="the mask of the stomach")
    return replace(roi, refers_to=refers_to)


def _read_stomach(path: Path, segment: str | int | None) -> Roi:
    try:
        roi = read_roi(path, segment=segment)
        if segment is None and not roi.segment.isdecimal() and STOMACH not in roi.segment.casefold():
            _refuse_empty_stomach(path)
            warning = (
                "The only segment of the mask of the stomach has another name than 'stomach'; it was taken as the "
                "stomach."
            )
            return replace(roi, warnings=(*roi.warnings, warning))
        return roi
    except SeveralSegmentsError as several:
        try:
            return read_roi(path, segment=STOMACH)
        except EmptyRoiError:
            raise
        except InputError:
            raise InputError(
                f"{several.found} None or several of them are called '{STOMACH}': choose the stomach's with "
                f"`stomach_segment`: {several.listing}."
            ) from several


def _refuse_empty_stomach(path: Path) -> None:
    """Raise `InputError` if a file has a segment called 'stomach' without voxels: another one is not meant."""
    try:
        read_roi(path, segment=STOMACH)
    except EmptyRoiError:
        raise
    except InputError:  # it has no segment of this name
        return


@contextmanager
def stomach_named() -> Iterator[None]:
    """Name the mask of the stomach in errors about an ROI: a case may have both."""
    try:
        yield
    except (InputError, GeometryError) as error:
        kind = GeometryError if isinstance(error, GeometryError) else InputError
        raise kind(f"Mask of the stomach: {error}", details=error.details) from error


def _only_segmentation(folder: Path) -> Path:
    found = [f for f in files_below(folder) if is_dicom(f) and _class_of(f) in {*SEG_CLASSES, RTSTRUCT}]
    found = [f for f in found if not is_own(whole_header(f, ["ManufacturerModelName"]))]  # results of an earlier run
    if len(found) != 1:
        names = f" ({', '.join(f.name for f in found[:5])})" if found else ""
        raise InputError(
            f"The folder has {len(found)} DICOM SEG or RTSTRUCT files{names}; expected one. Give the file of the ROI."
        )
    return found[0]


def _class_of(path: Path) -> str:
    return str(read_header(path).get("SOPClassUID"))


def _read_dicom(path: Path, wanted: str | int | None) -> Roi:
    header = read_header(path)
    kind = header.get("SOPClassUID")
    if str(kind) in SEG_CLASSES:
        planes, chosen, references = read_seg(path, wanted)
        return Roi(planes, chosen.label, frame_of_reference(header), chosen.number, refers_to=references)
    if str(kind) == RTSTRUCT:
        contours, frame, references = read_contours(path, wanted)
        return Roi(contours, contours.segment.label, frame, contours.segment.number, refers_to=references)
    raise InputError(
        f"{path.name} is {getattr(kind, 'name', kind)} ({header.get('Modality')}); expected a DICOM SEG or an "
        "RTSTRUCT. Export the ROI as DICOM SEG, RTSTRUCT, NRRD or NIfTI."
    )


def _read_label_map(path: Path, wanted: str | int | None) -> Roi:
    image, warnings = read_volume(path)
    stored = sitk.GetArrayViewFromImage(image)
    described = _slicer_segments(image, path.name)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = stored[np.newaxis]
    elif described:
        layers = np.moveaxis(stored, -1, 0)
    else:
        raise InputError(
            f"{path.name} has {image.GetNumberOfComponentsPerPixel()} values per voxel; expected one label. Save the "
            "ROI as a label map."
        )
    layers = [_labels(layer, path.name) for layer in layers]
    found = {(layer, number): count for layer, labels in enumerate(layers) for number, count in _count(labels)}
    offered = [s._replace(voxels=found.pop((s.layer, s.number), 0)) for s in described]
    offered += [Segment(number, str(number), layer, count) for (layer, number), count in found.items()]
    chosen = choose_segment(offered, wanted, path.name)
    mask = layers[chosen.layer] == chosen.number
    if not mask.any():
        raise empty_segment_error(chosen, path.name)
    roi = sitk.GetImageFromArray(mask.astype(np.uint8))
    roi.CopyInformation(image)
    return Roi(roi, chosen.label, number=chosen.number, warnings=tuple(f"ROI: {text}" for text in warnings))


def _labels(values: np.ndarray, name: str) -> np.ndarray:
    """Return the labels of a (z, y, x) map as whole numbers >= 0; raise `InputError` if a value is not a label."""
    if (lowest := values.min()) < -LABEL_TOLERANCE:
        raise InputError(
            f"{name} has negative values (lowest {lowest}); expected labels from 0. It seems to be the CT: give the "
            "mask."
        )
    if values.dtype.kind != "f":
        return values
    drawn = values[values != 0]
    labels = np.isfinite(drawn) & np.isclose(drawn, np.rint(drawn), rtol=0, atol=LABEL_TOLERANCE)
    if not labels.all():
        raise InputError(
            f"{name} has values that are not labels ({drawn[~labels][0]}); expected whole numbers. Give a mask; apply "
            "a threshold to a probability map first."
        )
    whole: np.ndarray = np.rint(values)
    return whole


def _count(labels: np.ndarray) -> list[tuple[int, int]]:
    """Return the non-zero labels of a (z, y, x) map, each with its number of voxels."""
    values, counts = np.unique(labels[labels != 0], return_counts=True)
    return [(int(v), int(n)) for v, n in zip(values, counts, strict=True)]


def _slicer_segments(image: sitk.Image, name: str) -> list[Segment]:
    """Return the segments of a `.seg.nrrd`; before Slicer 4.11 each had its own layer, with label 1."""
    keys = set(image.GetMetaDataKeys())
    layers = image.GetNumberOfComponentsPerPixel()

    def text_of(number: int, what: str, default: int | str) -> str:
        key = f"Segment{number}_{what}"
        if key not in keys:
            return str(default)
        # Bytes that are not UTF-8 could not be written into a result.
        return str(image.GetMetaData(key)).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def number_of(number: int, what: str, default: int, allowed: range) -> int:
        text = text_of(number, what, default)
        if not text.strip().isdecimal() or int(text) not in allowed:
            raise InputError(
                f"{name}: Segment{number}_{what} is '{text}'; expected a whole number from {allowed[0]} to "
                f"{allowed[-1]}. Save the segmentation again in Slicer, or give a label map."
            )
        return int(text)

    names = (re.fullmatch(r"Segment(\d+)_Name", key) for key in keys)
    numbers = sorted(int(match[1]) for match in names if match)
    return [
        Segment(
            number=number_of(i, "LabelValue", 1, LABELS),
            label=text_of(i, "Name", i),
            layer=number_of(i, "Layer", i if layers > 1 else 0, range(layers)),
        )
        for i in numbers
    ]
