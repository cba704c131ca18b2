"""CT from DICOM: which series a folder holds, where their slices lie, and their voxels in HU.

Headers come first, read by pydicom without pixels, and the whole geometry is checked on them; pixels are
decoded last (`read_slices`), so that a caller may decode fewer. No slice is guessed, dropped or interpolated.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GTRStagingLib import extras
from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.files import require_sayable
from GTRStagingLib.stack import Plane, plane_of, some, stacked

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
CT_CLASSES = frozenset({CT_IMAGE, f"{CT_IMAGE}.1", f"{CT_IMAGE}.2"})
"""CT Image Storage, Enhanced CT, Legacy Converted Enhanced CT."""

SIDECARS = (
    ".bat .bmp .css .csv .db .dll .doc .docx .exe .gif .htm .html .icns .ico .inf .ini .jar .jpeg .jpg .js .json .log "
    ".md .md5 .pdf .png .rtf .sha256 .tsv .txt .url .xls .xlsx .xml .yaml .yml"
)
"""Ends of the names of files that exports write beside the slices: nobody misses a slice for them."""

ACQUISITION = (
    "Modality Manufacturer ManufacturerModelName ConvolutionKernel SliceThickness SpacingBetweenSlices KVP "
    "XRayTubeCurrent Exposure ContrastBolusAgent BodyPartExamined ImageType"
)
IDENTIFIERS = (
    "PatientName PatientID PatientBirthDate PatientSex PatientAge AccessionNumber InstitutionName StudyDate "
    "StudyDescription SeriesDescription SeriesNumber StudyInstanceUID SeriesInstanceUID"
)
GEOMETRY_AND_PIXELS = (
    "SOPClassUID FrameOfReferenceUID NumberOfFrames Rows Columns PixelSpacing ImagePositionPatient "
    "ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType SamplesPerPixel PhotometricInterpretation"
)


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder, as its headers describe it.

    `content` is "CT" for slices of a scan; otherwise what it is instead ("CT localizer", "MR", "SEG", ...).
    """

    uid: str
    number: int | None
    description: str
    modality: str
    content: str
    headers: tuple[Any, ...] = field(repr=False, compare=False)  # pydicom datasets without pixels

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order of their names, which says nothing of their positions."""
        return tuple(Path(h.filename) for h in self.headers)

    @property
    def n_slices(self) -> int:
        """Slices, counting the frames of multi-frame files."""
        return sum(map(_frames, self.headers))

    def __str__(self) -> str:
        number = "-" if self.number is None else self.number
        return f"number {number}, '{self.description}', {self.n_slices} {self.content} slices, UID {self.uid}"


@dataclass(frozen=True)
class DicomCT:
    """A CT read from DICOM, with what its headers say (see `images.Scan`)."""

    image: sitk.Image
    format: str
    digest: str
    acquisition: Mapping[str, str]
    identifiers: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...]
    frame_of_reference: str | None = field(repr=False)


def read_ct(path: Path, series: str | None) -> DicomCT:
    """Read the CT of a DICOM file, or of a folder (and its sub-folders) of which `series` chooses one."""
    headers, passed_over = _headers_below(path) if path.is_dir() else ([read_header(path)], 0)
    found = _grouped(headers)
    if not path.is_dir() and found[0].modality == "CT" and found[0].n_slices > 1:
        chosen = found[0]  # of whatever class: if it has no positions, that is the message
    else:
        chosen = choose_series(found, series)
    warnings = _left_out(found, passed_over)
    if all(h.SOPClassUID == CT_IMAGE and _frames(h) == 1 for h in chosen.headers):
        if not path.is_dir():
            warnings += ("A single slice was read: for its neighbours, give the folder of the series.",)
        return _read_single_frames(chosen, warnings)
    if len(chosen.headers) > 1:
        names = some(f.name for f in chosen.files)
        raise InputError(
            f"The series lies in {len(chosen.headers)} multi-frame files ({names}); expected one. Name it."
        )
    return _read_multiframe(chosen.files[0], warnings)


def _left_out(found: Iterable[DicomSeries], passed_over: int) -> tuple[str, ...]:
    counts = Counter(s.content for s in found for _ in s.headers if s.content != "CT")
    others = (f"Left out: {passed_over} file(s) that are not DICOM.",) if passed_over else ()
    return tuple(f"Left out: {n} file(s) of {content}." for content, n in sorted(counts.items())) + others


def _read_single_frames(series: DicomSeries, warnings: tuple[str, ...]) -> DicomCT:
    for header, path in zip(series.headers, series.files, strict=True):
        _require_grey(header, path.name)
        _require_hounsfield(header, path.name)
    stack = stacked([_plane(h) for h in series.headers])
    files = [series.files[i] for i in stack.order]
    first = series.headers[stack.order[0]]
    acquisition, identifiers = described(first)
    return DicomCT(
        image=stack.image(read_slices(files)),
        format="DICOM series",
        digest=digest_of(files),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(first),
    )


def list_series(folder: Path) -> tuple[DicomSeries, ...]:
    """Every DICOM series at or below a folder, CT or not; files that are not DICOM are passed over."""
    return _grouped(_headers_below(folder)[0])


def _headers_below(folder: Path) -> tuple[list[Any], int]:
    """The headers at or below a folder, and how many files that could be slices by their names are not DICOM."""
    headers, others = [], []
    for path in files_below(folder):
        if is_dicom(path):
            headers.append(read_header(path))
        elif path.suffix.lower() in (".dcm", ".ima"):
            raise _not_dicom(path, "expected one by its name")
        elif not _is_sidecar(path):
            others.append(path)
    folders = {Path(h.filename).parent for h in headers}
    for path in others:
        if path.parent in folders and path.stat().st_size == 0:
            raise _not_dicom(path, "expected one like those beside it")
    return headers, len(others)


def _is_sidecar(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return hidden or path.name.upper() == "DICOMDIR" or path.suffix.lower() in SIDECARS.split()


def _not_dicom(path: Path, expected: str) -> InputError:
    return InputError(
        f"{path.name} ({path.stat().st_size} bytes) is not a DICOM file; {expected}. It may be damaged: transfer it "
        "again, or remove it from the folder if it does not belong there."
    )


def files_below(folder: Path) -> list[Path]:
    """All files at or below a folder, in the order of their names.

    Links to nothing, and what macOS writes beside a file whose attributes find no room in it (`._NAME`), are none.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; expected a folder that can be read.") from error

    entries = (Path(at) / name for at, _, names in os.walk(folder, onerror=refuse) for name in names)
    found = sorted(path for path in entries if not path.name.startswith("._") and _is_file(path))
    for path in found:
        require_sayable(path)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path.name}: {error.strerror}; expected a file that can be read.")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do, except for the index called DICOMDIR."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM" and path.name.upper() != "DICOMDIR"
    except OSError as error:
        raise _unreadable(path, error) from error


def read_header(path: Path) -> Any:
    """Read a DICOM file's header, without pixels: only what this module asks for."""
    pydicom = required("pydicom")
    try:
        wanted = f"{GEOMETRY_AND_PIXELS} {ACQUISITION} {IDENTIFIERS}".split()
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
    except Exception as error:  # whatever a damaged file makes the parser raise
        raise InputError(f"{path.name}: its DICOM header cannot be read. Transfer the file again.") from error
    for keyword in ("SOPClassUID", "SeriesInstanceUID"):
        if not header.get(keyword):
            raise InputError(
                f"{path.name}: its DICOM header has no {keyword}; expected one in every image. The file is "
                "truncated or damaged: transfer it again."
            )
    return header


def required(module: str) -> Any:
    """Import a module of the optional part `dicom`."""
    return extras.required(module, "Reading this DICOM needs", "dicom")


def _grouped(headers: Iterable[Any]) -> tuple[DicomSeries, ...]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for header in headers:
        groups.setdefault((str(header.SeriesInstanceUID), _content(header)), []).append(header)
    return tuple(
        DicomSeries(
            uid=uid,
            number=_whole(group[0], "SeriesNumber"),
            description=str(group[0].get("SeriesDescription", "")),
            modality=str(group[0].get("Modality", "")),
            content=content,
            headers=tuple(group),
        )
        for (uid, content), group in groups.items()
    )


def _frames(header: Any) -> int:
    return _whole(header, "NumberOfFrames") or 1


def _whole(header: Any, keyword: str) -> int | None:
    """A whole number of a header, or None where it has none."""
    value = header.get(keyword)
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{Path(header.filename).name}: {keyword} is {value!r}; expected a whole number. Its header is damaged: "
            "transfer the file again."
        ) from error


def _content(header: Any) -> str:
    modality = str(header.get("Modality") or "unknown modality")
    if modality != "CT":
        return modality
    if "LOCALIZER" in (header.get("ImageType") or ()):
        return "CT localizer"
    return "CT" if header.SOPClassUID in CT_CLASSES else str(header.SOPClassUID.name)


def choose_series(found: Sequence[DicomSeries], wanted: str | None) -> DicomSeries:
    """Choose the one CT series, or the one that `wanted` names by its UID, its number, or its UID's end."""
    scans = [s for s in found if s.content == "CT"]
    if not scans:
        held = "; ".join(f"{s.content} ({len(s.headers)} file(s))" for s in found) or "no DICOM files"
        raise InputError(f"No CT images: found {held}. Expected the slices of a CT series, or an enhanced CT file.")
    listing = "".join(f"\n  {s}" for s in scans)
    if wanted is None:
        if len(scans) == 1:
            return scans[0]
        raise InputError(
            f"{len(scans)} CT series; expected one. Choose the portal-venous one with --series and its UID, the "
            f"end of its UID, or its number:{listing}"
        )
    for matches in (
        [s for s in scans if s.uid == wanted],
        [s for s in scans if str(s.number) == wanted],
        [s for s in scans if s.uid.endswith(wanted)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(f"--series {wanted} fits {len(matches)} CT series; expected one. Give a UID:{listing}")
    raise InputError(f"--series {wanted} fits no CT series; expected one of:{listing}")


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


def _plane(header: Any) -> Plane:
    name = Path(header.filename).name
    return plane_of(header, header, header, header, name)


def _frame_plane(header: Any, frame: int) -> Plane:
    groups = (f"{part}Sequence" for part in ("PlanePosition", "PlaneOrientation", "PixelMeasures"))
    position, orientation, measures = (functional_group(header, frame, group) for group in groups)
    return plane_of(header, position, orientation, measures, f"frame {frame + 1}")


def read_slices(files: Sequence[Path]) -> np.ndarray:
    """(z, y, x) HU of single-frame files, in the order given: int16, or float32 where that would lose.

    Each file is decoded by itself, so that each has its own rescale slope and intercept applied.
    """
    return np.stack([_decoded(path) for path in files])


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


def _read_multiframe(path: Path, warnings: tuple[str, ...]) -> DicomCT:
    header = required("pydicom").dcmread(path, stop_before_pixels=True)
    if "PerFrameFunctionalGroupsSequence" not in header:
        raise GeometryError(
            f"{path.name}: {_frames(header)} frames without positions; expected an enhanced CT, which says where "
            "each frame lies. Give the original series."
        )
    _require_grey(header, path.name)
    described_frames = len(header.PerFrameFunctionalGroupsSequence)
    if described_frames != _frames(header):
        raise GeometryError(
            f"{path.name}: {_frames(header)} frames, but positions of {described_frames}; expected one of each frame. "
            "The file is damaged: transfer it again, or export the original series."
        )
    frames = range(described_frames)
    for frame in frames:
        rescale = functional_group(header, frame, "PixelValueTransformationSequence")
        _require_hounsfield(rescale, f"frame {frame + 1}")
    stack = stacked([_frame_plane(header, frame) for frame in frames])
    acquisition, identifiers = described(header)
    return DicomCT(
        image=stack.image(_decoded_frames(path, stack.order)),
        format="DICOM multi-frame",
        digest=digest_of([path]),
        acquisition=acquisition,
        identifiers=identifiers,
        warnings=warnings + stack.warnings,
        frame_of_reference=frame_of_reference(header),
    )


def _decoded_frames(path: Path, order: Sequence[int]) -> np.ndarray:
    highdicom = required("highdicom")
    hounsfield = {
        "apply_modality_transform": True,
        "apply_real_world_transform": False,
        "apply_voi_transform": False,
        "apply_presentation_lut": False,
    }
    try:
        image = highdicom.imread(path)
        return np.stack([compact(image.get_frame(i + 1, **hounsfield)) for i in order])
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


def digest_of(files: Iterable[Path]) -> str:
    """sha256 of the files' bytes, one after the other: of the content, whatever the files are called."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
