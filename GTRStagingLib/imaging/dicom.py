"""Read a CT from DICOM: the geometry of its slices, and their voxels in HU.

The geometry is read from the headers, by pydicom without pixels, and checked; pixels are decoded on demand, file by
file (`stack.LazyVoxels`). No slice is guessed, dropped or interpolated.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import dicom_acquisitions
from GTRStagingLib.imaging.dicom_files import DicomFile, damage_refused
from GTRStagingLib.imaging.dicom_headers import (
    CT_IMAGE,
    DicomSeries,
    Header,
    frames_of,
    group_series,
    headers_below,
    read_header,
    whole_header,
)
from GTRStagingLib.imaging.dicom_pixels import Rescale, decoded
from GTRStagingLib.imaging.dicom_references import References, choose_referred, elsewhere_warnings
from GTRStagingLib.imaging.dicom_source import DicomSource
from GTRStagingLib.imaging.key_objects import KEY_OBJECT, KeyObjects, rejected_slices, rejection_warnings
from GTRStagingLib.imaging.stack import LazyVoxels, Plane, first_few, plane_of, stack_planes
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.shared_text import without_identifiers

ACQUISITION = (
    "Modality Manufacturer ManufacturerModelName ConvolutionKernel SliceThickness SpacingBetweenSlices KVP "
    "XRayTubeCurrent Exposure SingleCollimationWidth TotalCollimationWidth ContrastBolusIngredientConcentration "
    "ContrastBolusVolume ContrastFlowRate BodyPartExamined ImageType"
)
LONGEST = 64
"""Largest length of a value on the acquisition."""

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
    source: DicomSource = field(repr=False)
    key_objects: KeyObjects | None = field(default=None, repr=False)
    rejected: Mapping[int, str] = field(default_factory=dict, repr=False)


def read_ct(
    path: Path, series: str | None, referring: Sequence[References] = (), *, by_key_objects: bool = False
) -> DicomCT:
    """Read the CT of a DICOM file, or the series chosen by `series` from a folder and its sub-folders.

    Parameters
    ----------
    referring
        References of ROIs: among several series, the one that they refer to is read.
    by_key_objects
        Let a key object selection choose among several series, if no ROI does.

    Raises
    ------
    InputError, GeometryError
        If there is no CT, if it cannot be read without doubt, or if a value of a header has an unexpected form.
    """
    with damage_refused(
        lambda error: (
            f"{path.name}: a value of a DICOM header has an unexpected form ({type(error).__name__}); "
            "expected a CT. The file is damaged: transfer it again."
        )
    ):
        return _read_ct(path, series, referring, by_key_objects)


def _read_ct(path: Path, series: str | None, referring: Sequence[References], by_key_objects: bool) -> DicomCT:
    headers, n_others = headers_below(path) if path.is_dir() else ([read_header(path)], 0)
    found = group_series(headers)
    key = KeyObjects(path, _key_object_files(headers))
    if path.is_dir():
        chosen, notes = choose_referred(found, series, referring, key.references if by_key_objects else None)
        return _read_found(found, chosen, notes, n_others, referring, key, by_key_objects)
    alone = ("A single slice was read. Give the folder of the series to include its neighbouring slices.",)
    if found[0].modality == "CT" and found[0].n_slices > 1:
        chosen, notes = found[0], tuple(elsewhere_warnings(found[0], referring))  # of any class; positions are checked
    else:
        chosen, notes = choose_referred(found, series, referring, key.references if by_key_objects else None)
    return _read_found(found, chosen, notes, n_others, referring, key, by_key_objects, alone)


def _key_object_files(headers: Iterable[Header]) -> tuple[DicomFile, ...]:
    return tuple(one.path for one in headers if one.get("SOPClassUID") == KEY_OBJECT)


def _read_found(
    found: Sequence[DicomSeries],
    chosen: DicomSeries,
    notes: tuple[str, ...],
    n_others: int,
    referring: Sequence[References],
    key: KeyObjects,
    by_key_objects: bool,
    alone: tuple[str, ...] = (),
) -> DicomCT:
    """Read the chosen one of the found series; `alone` are warnings if it has single-frame files."""
    _require_no_slice_left_out(found, chosen)
    read = {_same_file(file) for one in referring for file in one.files}
    if by_key_objects or any(one.rejects for one in key.inside.found):
        read |= {_same_file(file) for file in key.files}
    ct = _read_series(chosen, notes + _left_out(found, n_others, read), alone)
    rejected = rejected_slices(key.inside.found, ct.source)
    patient, study, one = (
        ct.identifiers.get(keyword, "") for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    return replace(
        ct,
        key_objects=replace(key, patient=patient, study=study, series=one),
        rejected=rejected,
        warnings=ct.warnings + tuple(rejection_warnings(rejected, len(key.inside.errors))),
    )


def _same_file(file: DicomFile) -> DicomFile:
    """Return what is equal for the same file."""
    return file.resolve() if isinstance(file, Path) else file


def _read_series(chosen: DicomSeries, warnings: tuple[str, ...], alone: tuple[str, ...]) -> DicomCT:
    if all(h.get("SOPClassUID") == CT_IMAGE and frames_of(h) == 1 for h in chosen.headers):
        return _read_single_frames(chosen, warnings + alone)
    if len(chosen.headers) > 1:
        names = first_few(f.name for f in chosen.files)
        raise InputError(
            f"The series has {len(chosen.headers)} multi-frame files ({names}); expected one. Choose the file."
        )
    return _read_multiframe(chosen.headers[0], warnings)


def read_remote_ct(
    headers: Sequence[Header],
    series: str | None,
    referring: Sequence[References] = (),
    *,
    by_key_objects: bool = False,
) -> DicomCT:
    """Read the CT of headers whose files are in an archive (see `dicom_remote`), with the checks of `read_ct`.

    A file is fetched when its slice is decoded first. The headers may include those of key object selections.

    Raises
    ------
    InputError, GeometryError
        As `read_ct`.
    """
    with damage_refused(
        lambda error: (
            f"A value of the archive's metadata has an unexpected form ({type(error).__name__}); expected a CT. Export "
            "the series from the archive, and give its folder."
        )
    ):
        found, key = group_series(headers), KeyObjects(None, _key_object_files(headers))
        chosen, notes = choose_referred(found, series, referring, key.references if by_key_objects else None)
        return _read_found(found, chosen, notes, 0, referring, key, by_key_objects)


def _require_no_slice_left_out(found: Iterable[DicomSeries], chosen: DicomSeries) -> None:
    """Raise `InputError` if files of the chosen series are no CT by their class or modality, but lie in its stack."""
    shape = [chosen.headers[0].get(keyword) for keyword in ("Rows", "Columns")]
    for other in found:
        if other is chosen or other.uid != chosen.uid or other.content in ("CT", "CT localizer"):
            continue
        for header in other.headers:
            placed = header.get("ImagePositionPatient") and header.get("ImageOrientationPatient")
            if placed and [header.get(keyword) for keyword in ("Rows", "Columns")] == shape:
                raise InputError(
                    f"{header.path.name} is {other.content} by its header, but belongs to the series of the CT and has "
                    "its matrix and a position; expected CT slices. It may be a damaged slice: transfer it again, or "
                    "move it elsewhere."
                )


def _left_out(found: Iterable[DicomSeries], n_others: int, read: Collection[DicomFile]) -> tuple[str, ...]:
    """Return warnings about the files that are not CT slices, apart from those that are `read` otherwise."""
    apart = ((s.content, h.path) for s in found for h in s.headers if s.content != "CT")
    counts = Counter(content for content, path in apart if not read or _same_file(path) not in read)
    others = (f"Left out: {counted(n_others, 'file that is', 'files that are')} not DICOM.",) if n_others else ()
    return tuple(f"Left out: {counted(n, 'file')} of {content}." for content, n in sorted(counts.items())) + others


def _read_single_frames(series: DicomSeries, warnings: tuple[str, ...]) -> DicomCT:
    rescales, planes = list[Rescale](), list[Plane]()
    for header in series.headers:
        name = header.path.name
        _require_grey(header, name)
        rescales.append(_rescale(header, name))
        planes.append(plane_of(header, header, header, header, name))
    if not series.one_sweep:
        raise GeometryError(
            f"The times of acquisition of {len(series.headers)} slices are not in the order of their positions; "
            "expected one acquisition. Export each acquisition as a series of its own."
        )
    stack = stack_planes(planes)
    slices = [series.headers[i] for i in stack.order]
    files = [(series.headers[i].path, rescales[i]) for i in stack.order]
    first = slices[0]
    acquisition, identifiers = acquisition_and_identifiers(
        whole_header(first.path, f"{ACQUISITION} {IDENTIFIERS}".split())
    )
    return DicomCT(
        voxels=LazyVoxels(stack.grid, partial(_decoded_files, files)),
        format="DICOM series",
        digest=_digest_of(slices),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(first),
        source=DicomSource(len(slices), partial(_headers_of_files, [one.path for one in slices])),
    )


def _require_grey(header: Any, name: str) -> None:
    samples, photometric = header.get("SamplesPerPixel"), header.get("PhotometricInterpretation")
    if samples != 1 or photometric != "MONOCHROME2":
        raise InputError(
            f"{name}: {counted(samples, 'value')} per pixel, {photometric}; expected 1, MONOCHROME2. This is a "
            "picture, not a CT slice. Give the original series."
        )


def _rescale(rescale: Any, name: str) -> Rescale:
    """Return the conversion to HU; raise `InputError` if it is missing or invalid."""
    numbers = []
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if rescale.get(keyword) is None or rescale.get(keyword) == "":
            raise InputError(
                f"{name}: {keyword} is missing; expected the conversion of stored values to Hounsfield units. Export "
                "the series again from the archive."
            )
        number = dicom_acquisitions.number(rescale.get(keyword))
        if number is None or (keyword == "RescaleSlope" and number == 0):
            raise InputError(
                f"{name}: {keyword} is {_text(rescale.get(keyword))}; expected a finite number, not 0 for the slope, "
                "to convert to Hounsfield units. Export the series again from the archive."
            )
        numbers.append(number)
    unit = rescale.get("RescaleType") or "HU"
    if str(unit).strip().upper() not in ("HU", "HU_MOD", "US", "HOUNSFIELD"):
        raise InputError(
            f"{name}: values are in {_text(unit)}; expected HU. Choose the CT reconstruction, not a derived map."
        )
    return Rescale(*numbers)


def frame_plane(header: Any, frame: int) -> Plane:
    """Return the geometry of a frame of a multi-frame header; raise `GeometryError` if a value is missing."""
    groups = (f"{part}Sequence" for part in ("PlanePosition", "PlaneOrientation", "PixelMeasures"))
    position, orientation, measures = (functional_group(header, frame, group) for group in groups)
    return plane_of(header, position, orientation, measures, f"frame {frame + 1}")


def _decoded_files(
    files: Sequence[tuple[DicomFile, Rescale]], numbers: Sequence[int]
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the (y, x) HU of single-frame files, each with its own rescale slope and intercept."""
    for k in numbers:
        path, rescale = files[k]
        yield from decoded(path, [rescale], [0])


def _headers_of_files(files: Sequence[DicomFile], numbers: Sequence[int], keywords: Sequence[str] | None) -> list[Any]:
    return [whole_header(files[k], keywords) for k in numbers]


def _headers_of_frames(path: DicomFile, numbers: Sequence[int], keywords: Sequence[str] | None) -> list[Any]:
    return [whole_header(path, keywords)] * len(numbers)


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
    groups = (functional_group(header, frame, "PixelValueTransformationSequence") for frame in frames)
    rescales = [_rescale(group, f"frame {frame + 1}") for frame, group in enumerate(groups)]
    _require_stated_once(header, frames, path.name)
    described = [_frame_values(header, frame) for frame in frames]
    parts = dicom_acquisitions.split(described)
    if len(parts) > 1 or not parts[0].one_sweep:
        sizes = ", ".join(str(len(part.slices)) for part in parts)
        raise GeometryError(
            f"{path.name}: the frames belong to several acquisitions ({sizes} frames); expected one. Export each "
            "acquisition as a file of its own."
        )
    stack = stack_planes([frame_plane(header, frame) for frame in frames])
    acquisition, identifiers = acquisition_and_identifiers(header)
    return DicomCT(
        voxels=LazyVoxels(stack.grid, partial(_decoded_frames, path, rescales, stack.order)),
        format="DICOM multi-frame",
        digest=_digest_of([listed]),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(header),
        source=DicomSource(
            len(stack.order), partial(_headers_of_frames, path), tuple(frame + 1 for frame in stack.order)
        ),
    )


def _decoded_frames(
    path: DicomFile, rescales: Sequence[Rescale], order: Sequence[int], numbers: Sequence[int]
) -> Iterator[tuple[np.ndarray, float]]:
    return decoded(path, rescales, [order[k] for k in numbers], len(rescales))


_STATED_ONCE = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}
"""Values that a multi-frame header may state at its top level, for all frames and for one, by functional group."""


def _require_stated_once(header: Any, frames: range, name: str) -> None:
    """Raise `InputError` if a value at the top level or in the shared groups differs from that of a frame."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    for group, keywords in _STATED_ONCE.items():
        wide = [("at the top level", header)]
        wide += [("in the shared groups", shared[group][0])] if shared.get(group) else []
        for keyword in keywords:
            stated = [(where, value) for where, part in wide if (value := part.get(keyword)) not in (None, "")]
            if stated == [] or (
                [where for where, _ in stated] == ["in the shared groups"]
                and not any(frame.get(group) for frame in header.PerFrameFunctionalGroupsSequence)
            ):
                continue
            for frame in frames:
                value = functional_group(header, frame, group).get(keyword)
                for where, other in stated:
                    if value not in (None, "") and _comparable(other) != _comparable(value):
                        raise InputError(
                            f"{name}: {keyword} is {_text(other)} {where}, but {_text(value)} in frame {frame + 1}; "
                            "expected one value. Export the original series again."
                        )


def _comparable(value: Any) -> Any:
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [dicom_acquisitions.number(one) for one in several]
    return str(value) if None in numbers else [round(one or 0.0, 6) for one in numbers]


_OF_FRAMES = {
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
    },
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
    "CTXRayDetailsSequence": {"KVP": "KVP"},
}
"""Values of a frame that tell acquisitions apart, by functional group, with their keywords in single-frame files."""


def _frame_values(header: Any, frame: int) -> dict[str, Any]:
    values = dict[str, Any]()
    for name, keywords in _OF_FRAMES.items():
        group = functional_group(header, frame, name)
        values |= {keyword: group.get(source) for source, keyword in keywords.items()}
    return values


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
    identifiers = _texts(header, IDENTIFIERS)
    found = _texts(header, ACQUISITION)
    # A value that repeats an identifier, or is longer than DICOM allows, is no value on the acquisition.
    plain = {name: text for name, text in found.items() if without_identifiers(text, identifiers) == text}
    return {name: text for name, text in plain.items() if max(map(len, text.split("/"))) <= LONGEST}, identifiers


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
