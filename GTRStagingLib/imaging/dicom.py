"""CT from DICOM: where its slices lie, and their voxels in HU.

Headers come first, read by pydicom without pixels, and the whole geometry is checked on them; pixels are decoded
when they are asked for, file by file (`stack.Undecoded`). No slice is guessed, dropped or interpolated.
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
    grouped,
    headers_below,
    import_dicom_package,
    read_header,
    whole_header,
)
from GTRStagingLib.imaging.stack import Plane, Undecoded, plane_of, some, stacked

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
    """A CT read from DICOM, with what its headers say (see `scans.Scan`)."""

    voxels: Undecoded
    format: str
    digest: str
    acquisition: Mapping[str, str]
    identifiers: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...]
    frame_of_reference: str | None = field(repr=False)


def read_ct(path: Path, series: str | None) -> DicomCT:
    """Read the CT of a DICOM file, or of a folder (and its sub-folders) of which `series` chooses one."""
    headers, passed_over = headers_below(path) if path.is_dir() else ([read_header(path)], 0)
    found = grouped(headers)
    if not path.is_dir() and found[0].modality == "CT" and found[0].n_slices > 1:
        chosen = found[0]  # of whatever class: if it has no positions, that is the message
    else:
        chosen = choose_series(found, series)
    warnings = _left_out(found, passed_over)
    if all(h.get("SOPClassUID") == CT_IMAGE and frames_of(h) == 1 for h in chosen.headers):
        if not path.is_dir():
            warnings += ("A single slice was read: for its neighbours, give the folder of the series.",)
        return _read_single_frames(chosen, warnings)
    if len(chosen.headers) > 1:
        names = some(f.name for f in chosen.files)
        raise InputError(
            f"The series lies in {len(chosen.headers)} multi-frame files ({names}); expected one. Name it."
        )
    return _read_multiframe(chosen.headers[0], warnings)


def _left_out(found: Iterable[DicomSeries], passed_over: int) -> tuple[str, ...]:
    counts = Counter(s.content for s in found for _ in s.headers if s.content != "CT")
    others = (f"Left out: {passed_over} file(s) that are not DICOM.",) if passed_over else ()
    return tuple(f"Left out: {n} file(s) of {content}." for content, n in sorted(counts.items())) + others


def _read_single_frames(series: DicomSeries, warnings: tuple[str, ...]) -> DicomCT:
    for header in series.headers:
        _require_grey(header, header.path.name)
        _require_hounsfield(header, header.path.name)
    stack = stacked([_plane(h) for h in series.headers])
    slices = [series.headers[i] for i in stack.order]
    first = slices[0]
    acquisition, identifiers = described(whole_header(first.path, f"{ACQUISITION} {IDENTIFIERS}".split()))
    return DicomCT(
        voxels=Undecoded(stack.grid, partial(_decoded_files, [h.path for h in slices])),
        format="DICOM series",
        digest=_digest_of(slices),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(first),
    )


def _require_grey(header: Any, name: str) -> None:
    colours, meaning = header.get("SamplesPerPixel"), header.get("PhotometricInterpretation")
    if colours != 1 or meaning != "MONOCHROME2":
        raise InputError(
            f"{name}: {colours} value(s) a pixel, {meaning}; expected 1, MONOCHROME2. This is a picture, not a "
            "CT slice: give the original series."
        )


def _require_hounsfield(rescale: Any, name: str) -> None:
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if rescale.get(keyword) is None or rescale.get(keyword) == "":
            raise InputError(
                f"{name}: no {keyword}; expected the rule that turns stored values into Hounsfield units. "
                "Export the series again from the archive."
            )
        # GDCM takes a slope of 0 or of no number for 1 without a word.
        number = _finite(rescale.get(keyword))
        if number is None or (keyword == "RescaleSlope" and number == 0):
            raise InputError(
                f"{name}: {keyword} is {_text(rescale.get(keyword))}; expected a finite number, and a slope that is "
                "not 0, for Hounsfield units. Export the series again from the archive."
            )
    if (unit := rescale.get("RescaleType") or "HU") not in ("HU", "HU_MOD", "US"):
        raise InputError(f"{name}: values in {unit}; expected HU. Choose the CT reconstruction, not a derived map.")


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
    """(y, x) HU of single-frame files, each by itself, so that each has its own rescale slope and intercept applied."""
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
        f"{path.name}: its pixels cannot be decoded; expected a whole file in a common compression. It may "
        "be truncated: transfer it again, or save it uncompressed."
    )


def compact(values: np.ndarray) -> np.ndarray:
    """Give the values as int16 where they are whole numbers that fit, otherwise as float32."""
    limits = np.iinfo(np.int16)
    fits = values.size and values.min() >= limits.min and values.max() <= limits.max
    if fits and (np.issubdtype(values.dtype, np.integer) or (values == np.rint(values)).all()):
        return values.astype(np.int16)
    return values.astype(np.float32)


def _read_multiframe(said: Header, warnings: tuple[str, ...]) -> DicomCT:
    path, count = said.path, frames_of(said)
    header = whole_header(path)
    if "PerFrameFunctionalGroupsSequence" not in header:
        raise GeometryError(
            f"{path.name}: {count} frames without positions; expected an enhanced CT, which says where "
            "each frame lies. Give the original series."
        )
    _require_grey(header, path.name)
    described_frames = len(header.PerFrameFunctionalGroupsSequence)
    if described_frames != count:
        raise GeometryError(
            f"{path.name}: {count} frames, but positions of {described_frames}; expected one of each frame. "
            "The file is damaged: transfer it again, or export the original series."
        )
    frames = range(described_frames)
    for frame in frames:
        rescale = functional_group(header, frame, "PixelValueTransformationSequence")
        _require_hounsfield(rescale, f"frame {frame + 1}")
    stack = stacked([_frame_plane(header, frame) for frame in frames])
    acquisition, identifiers = described(header)
    return DicomCT(
        voxels=Undecoded(stack.grid, partial(_decoded_frames, path, stack.order)),
        format="DICOM multi-frame",
        digest=_digest_of([said]),
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
    except Exception as error:  # as many kinds as there are decoders
        raise _undecodable(path) from error


def functional_group(header: Any, frame: int, name: str) -> Any:
    """Find what a multi-frame header says of one frame: by itself, or for all; empty if neither."""
    shared = header.get("SharedFunctionalGroupsSequence") or ()
    for groups in (header.PerFrameFunctionalGroupsSequence[frame], *shared):  # what is shared is one item, or none
        if groups.get(name):
            return groups[name][0]
    return {}


def frame_of_reference(header: Any) -> str | None:
    """The UID of the room in which positions are told; None where it is not named."""
    return str(header.get("FrameOfReferenceUID") or "") or None


def described(header: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Read what a header says of the acquisition, free of identifiers, and what it says of the patient."""
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
    """sha256 over the slices, in order of position, of what their files say before the pixels, and of their sizes."""
    return hashlib.sha256(b"".join(header.digest or b"" for header in slices)).hexdigest()
