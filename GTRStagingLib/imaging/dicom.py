"""Read a CT from DICOM: the geometry of its slices, and their voxels in HU.

The geometry is read from the headers, by pydicom without pixels, and checked; pixels are decoded on demand, file by
file (`stack.LazyVoxels`). No slice is guessed, dropped or interpolated.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom_headers import (
    CT_IMAGE,
    DicomSeries,
    Header,
    choose_series,
    frames_of,
    group_series,
    headers_below,
    import_dicom_package,
    read_header,
    whole_header,
)
from GTRStagingLib.imaging.stack import LazyVoxels, Plane, first_few, plane_of, stack_planes

ACQUISITION = (
    "Modality Manufacturer ManufacturerModelName ConvolutionKernel SliceThickness SpacingBetweenSlices KVP "
    "XRayTubeCurrent Exposure ContrastBolusAgent BodyPartExamined ImageType"
)
IDENTIFIERS = (
    "PatientName PatientID PatientBirthDate PatientSex PatientAge AccessionNumber InstitutionName StudyDate "
    "StudyDescription SeriesDescription SeriesNumber StudyInstanceUID SeriesInstanceUID"
)


@dataclass(frozen=True)
class DicomCT:
    """CT read from DICOM, with the values of its headers (see `scans.Scan`)."""

    voxels: LazyVoxels
    format: str
    digest: str
    acquisition: Mapping[str, str]
    identifiers: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...]
    frame_of_reference: str | None = field(repr=False)


def read_ct(path: Path, series: str | None) -> DicomCT:
    """Read the CT of a DICOM file, or the series chosen by `series` from a folder and its sub-folders."""
    headers, n_others = headers_below(path) if path.is_dir() else ([read_header(path)], 0)
    found = group_series(headers)
    if not path.is_dir() and found[0].modality == "CT" and found[0].n_slices > 1:
        chosen = found[0]  # of any SOP class; missing positions are reported below
    else:
        chosen = choose_series(found, series)
    warnings = _left_out(found, n_others)
    if all(h.get("SOPClassUID") == CT_IMAGE and frames_of(h) == 1 for h in chosen.headers):
        if not path.is_dir():
            warnings += ("A single slice was read. Give the folder of the series to include its neighbouring slices.",)
        return _read_single_frames(chosen, warnings)
    if len(chosen.headers) > 1:
        names = first_few(f.name for f in chosen.files)
        raise InputError(
            f"The series has {len(chosen.headers)} multi-frame files ({names}); expected one. Choose the file."
        )
    return _read_multiframe(chosen.headers[0], warnings)


def _left_out(found: Iterable[DicomSeries], n_others: int) -> tuple[str, ...]:
    counts = Counter(s.content for s in found for _ in s.headers if s.content != "CT")
    others = (f"Left out: {n_others} file(s) that are not DICOM.",) if n_others else ()
    return tuple(f"Left out: {n} file(s) of {content}." for content, n in sorted(counts.items())) + others


def _read_single_frames(series: DicomSeries, warnings: tuple[str, ...]) -> DicomCT:
    for header in series.headers:
        _require_grey(header, header.path.name)
        _require_hounsfield(header, header.path.name)
    stack = stack_planes([_plane(h) for h in series.headers])
    slices = [series.headers[i] for i in stack.order]
    first = slices[0]
    acquisition, identifiers = acquisition_and_identifiers(
        whole_header(first.path, f"{ACQUISITION} {IDENTIFIERS}".split())
    )
    return DicomCT(
        voxels=LazyVoxels(stack.grid, partial(_decoded_files, [h.path for h in slices])),
        format="DICOM series",
        digest=_digest_of(slices),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(first),
    )


def _require_grey(header: Any, name: str) -> None:
    samples, photometric = header.get("SamplesPerPixel"), header.get("PhotometricInterpretation")
    if samples != 1 or photometric != "MONOCHROME2":
        raise InputError(
            f"{name}: {samples} value(s) per pixel, {photometric}; expected 1, MONOCHROME2. This is a picture, not a "
            "CT slice. Give the original series."
        )


def _require_hounsfield(rescale: Any, name: str) -> None:
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if rescale.get(keyword) is None or rescale.get(keyword) == "":
            raise InputError(
                f"{name}: {keyword} is missing; expected the conversion of stored values to Hounsfield units. Export "
                "the series again from the archive."
            )
        # GDCM silently replaces a slope of 0 or a non-number by 1.
        number = _finite(rescale.get(keyword))
        if number is None or (keyword == "RescaleSlope" and number == 0):
            raise InputError(
                f"{name}: {keyword} is {_text(rescale.get(keyword))}; expected a finite number, not 0 for the slope, "
                "to convert to Hounsfield units. Export the series again from the archive."
            )
    if (unit := rescale.get("RescaleType") or "HU") not in ("HU", "HU_MOD", "US"):
        raise InputError(f"{name}: values are in {unit}; expected HU. Choose the CT reconstruction, not a derived map.")


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _plane(header: Header) -> Plane:
    return plane_of(header, header, header, header, header.path.name)


def _frame_plane(header: Any, frame: int) -> Plane:
    groups = (f"{part}Sequence" for part in ("PlanePosition", "PlaneOrientation", "PixelMeasures"))
    position, orientation, measures = (functional_group(header, frame, group) for group in groups)
    return plane_of(header, position, orientation, measures, f"frame {frame + 1}")


def _decoded_files(files: Sequence[Path], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the (y, x) HU of single-frame files, each with its own rescale slope and intercept."""
    return (_decoded(files[k]) for k in numbers)


def _decoded(path: Path) -> np.ndarray:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _undecodable(path) from error
    return compact(voxels[0])


def _undecodable(path: Path) -> InputError:
    return InputError(
        f"{path.name}: the pixels cannot be decoded; expected a complete file in a common compression. It may be "
        "truncated: transfer it again, or save it uncompressed."
    )


def compact(values: np.ndarray) -> np.ndarray:
    """Return the values as int16 if all are whole numbers in its range, otherwise as float32."""
    limits = np.iinfo(np.int16)
    fits = values.size and values.min() >= limits.min and values.max() <= limits.max
    if fits and (np.issubdtype(values.dtype, np.integer) or (values == np.rint(values)).all()):
        return values.astype(np.int16)
    return values.astype(np.float32)


def _read_multiframe(listed: Header, warnings: tuple[str, ...]) -> DicomCT:
    path, count = listed.path, frames_of(listed)
    header = whole_header(path)
    if "PerFrameFunctionalGroupsSequence" not in header:
        raise GeometryError(
            f"{path.name}: {count} frames without positions; expected an enhanced CT, with the position of each frame. "
            "Give the original series."
        )
    _require_grey(header, path.name)
    described_frames = len(header.PerFrameFunctionalGroupsSequence)
    if described_frames != count:
        raise GeometryError(
            f"{path.name}: {count} frames, but {described_frames} positions; expected one position per frame. The file "
            "is damaged: transfer it again, or export the original series."
        )
    frames = range(described_frames)
    for frame in frames:
        rescale = functional_group(header, frame, "PixelValueTransformationSequence")
        _require_hounsfield(rescale, f"frame {frame + 1}")
    stack = stack_planes([_frame_plane(header, frame) for frame in frames])
    acquisition, identifiers = acquisition_and_identifiers(header)
    return DicomCT(
        voxels=LazyVoxels(stack.grid, partial(_decoded_frames, path, stack.order)),
        format="DICOM multi-frame",
        digest=_digest_of([listed]),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(header),
    )


def _decoded_frames(path: Path, order: Sequence[int], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    highdicom = import_dicom_package("highdicom")
    hounsfield = {
        "apply_modality_transform": True,
        "apply_real_world_transform": False,
        "apply_voi_transform": False,
        "apply_presentation_lut": False,
    }
    try:
        image = highdicom.imread(path, lazy_frame_retrieval=True)
        for k in numbers:
            yield compact(image.get_frame(order[k] + 1, **hounsfield))
    except Exception as error:  # each decoder raises its own kinds
        raise _undecodable(path) from error


def functional_group(header: Any, frame: int, name: str) -> Any:
    """Return a functional group of one frame of a multi-frame header, or the shared one; empty if there is neither."""
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (header.PerFrameFunctionalGroupsSequence[frame], *shared):  # the shared sequence has at most one item
        if groups.get(name):
            return groups[name][0]
    return {}


def frame_of_reference(header: Any) -> str | None:
    """Return the UID of the DICOM frame of reference; None if it is missing."""
    return str(header.get("FrameOfReferenceUID") or "") or None


def acquisition_and_identifiers(header: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return a header's values on the acquisition, without identifiers, and its identifiers."""
    return _texts(header, ACQUISITION), _texts(header, IDENTIFIERS)


def _texts(header: Any, keywords: str) -> dict[str, str]:
    values = {}
    for keyword in keywords.split():
        value = header.get(keyword)
        if value not in (None, ""):
            values[keyword] = _text(value)
    return values


def _text(value: Any) -> str:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return "/".join(map(str, value)) if several else str(value)


def _digest_of(slices: Iterable[Header]) -> str:
    """Return the sha256 of the headers and file sizes of slices, in the order of their positions."""
    return hashlib.sha256(b"".join(header.digest or b"" for header in slices)).hexdigest()
