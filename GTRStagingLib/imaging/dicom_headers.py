"""DICOM files by their headers: what each says before its pixels, and which series a folder holds.

Read by pydicom, as little as is needed: of a series of hundreds of files, the headers are most of the work.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_layout import HeaderReader
from GTRStagingLib.support import extras
from GTRStagingLib.support.files import require_utf8_path

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
CT_CLASSES = frozenset({CT_IMAGE, f"{CT_IMAGE}.1", f"{CT_IMAGE}.2"})
"""CT Image Storage, Enhanced CT, Legacy Converted Enhanced CT."""

SIDECARS = (
    ".bat .bmp .css .csv .db .dll .doc .docx .exe .gif .htm .html .icns .ico .inf .ini .jar .jpeg .jpg .js .json .log "
    ".md .md5 .pdf .png .rtf .sha256 .tsv .txt .url .xls .xlsx .xml .yaml .yml"
)
"""Ends of the names of files that exports write beside the slices: nobody misses a slice for them."""

EVERY_FILE = (
    "SOPClassUID SeriesInstanceUID SeriesNumber SeriesDescription Modality ImageType FrameOfReferenceUID "
    "NumberOfFrames Rows Columns PixelSpacing SliceThickness SpacingBetweenSlices ImagePositionPatient "
    "ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType SamplesPerPixel PhotometricInterpretation"
)
"""What is read of each file of a folder; the rest, of the first slice alone."""


@dataclass(frozen=True)
class Header:
    """What a DICOM file says before its pixels: values by keyword, those of `EVERY_FILE`.

    `digest` is the sha256 of all bytes before the pixels and of the file's size; None for what is no CT.
    """

    path: Path
    values: Mapping[str, Any] = field(repr=False)
    digest: bytes | None = field(repr=False)

    def get(self, keyword: str) -> Any:
        """The value, or None."""
        return self.values.get(keyword)


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
    headers: tuple[Header, ...] = field(repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order of their names, which says nothing of their positions."""
        return tuple(h.path for h in self.headers)

    @property
    def n_slices(self) -> int:
        """Slices, counting the frames of multi-frame files."""
        return sum(map(frames_of, self.headers))

    def __str__(self) -> str:
        number = "-" if self.number is None else self.number
        return f"number {number}, '{self.description}', {self.n_slices} {self.content} slices, UID {self.uid}"


def list_series(folder: Path) -> tuple[DicomSeries, ...]:
    """Every DICOM series at or below a folder, CT or not; files that are not DICOM are passed over."""
    return grouped(headers_below(folder)[0])


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


def headers_below(folder: Path) -> tuple[list[Header], int]:
    """The headers at or below a folder, and how many files that could be slices by their names are not DICOM."""
    headers, others, reader = list[Header](), [], HeaderReader(EVERY_FILE.split())
    for path in files_below(folder):
        if (header := _header(path, reader)) is not None:
            headers.append(header)
        elif path.suffix.lower() in (".dcm", ".ima"):
            raise _not_dicom(path, "expected one by its name")
        elif not _is_sidecar(path):
            others.append(path)
    folders = {h.path.parent for h in headers}
    for path in others:
        if path.parent in folders and path.stat().st_size == 0:
            raise _not_dicom(path, "expected one like those beside it")
    return headers, len(others)


def files_below(folder: Path) -> list[Path]:
    """All files at or below a folder, in the order of their names.

    Links to nothing, and what macOS writes beside a file whose attributes find no room in it (`._NAME`), are none.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; expected a folder that can be read.") from error

    entries = (Path(at) / name for at, _, names in os.walk(folder, onerror=refuse) for name in names)
    found = sorted(path for path in entries if not path.name.startswith("._") and _is_file(path))
    for path in found:
        require_utf8_path(path)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from error


def _is_sidecar(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return hidden or path.name.upper() == "DICOMDIR" or path.suffix.lower() in SIDECARS.split()


def _not_dicom(path: Path, expected: str) -> InputError:
    return InputError(
        f"{path.name} ({path.stat().st_size} bytes) is not a DICOM file; {expected}. It may be damaged: transfer it "
        "again, or remove it from the folder if it does not belong there."
    )


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path.name}: {error.strerror}; expected a file that can be read.")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do, except for the index called DICOMDIR."""
    try:
        with path.open("rb") as file:
            return _begins_as_dicom(file.read(132), path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _begins_as_dicom(start: bytes, path: Path) -> bool:
    return start[128:] == b"DICM" and path.name.upper() != "DICOMDIR"


def read_header(path: Path) -> Header:
    """Read what a DICOM file says before its pixels; an `InputError` if it is none, or damaged."""
    header = _header(path, HeaderReader(EVERY_FILE.split()))
    if header is None:
        raise _not_dicom(path, "expected one")
    return header


def _header(path: Path, reader: HeaderReader) -> Header | None:
    """Read a header; None if the file does not begin as DICOM files do."""
    try:
        with path.open("rb") as file:
            start = file.read(reader.reach)
            if not _begins_as_dicom(start[:132], path):
                return None
            import_dicom_package("pydicom")
            try:
                values, length = reader.read(file, start)
            except Exception as error:  # whatever a damaged file makes the parser raise
                raise _unreadable_header(path) from error
            for keyword in ("SOPClassUID", "SeriesInstanceUID"):
                if not values.get(keyword):
                    raise InputError(
                        f"{path.name}: its DICOM header has no {keyword}; expected one in every image. The file is "
                        "truncated or damaged: transfer it again."
                    )
            if values["SOPClassUID"] not in CT_CLASSES:
                return Header(path, values, None)
            if length > len(start):
                file.seek(0)
                start = file.read(length)
            size = os.fstat(file.fileno()).st_size
            return Header(path, values, hashlib.sha256(start[:length] + b"%d" % size).digest())
    except OSError as error:
        raise _unreadable(path, error) from error


def whole_header(path: Path, keywords: Sequence[str] | None = None) -> Any:
    """A file's header as pydicom has it; all of it, or the elements of these keywords."""
    try:
        return import_dicom_package("pydicom").dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    except Exception as error:  # whatever a damaged file makes the parser raise
        raise _unreadable_header(path) from error


def _unreadable_header(path: Path) -> InputError:
    return InputError(f"{path.name}: its DICOM header cannot be read. Transfer the file again.")


def import_dicom_package(module: str) -> Any:
    """Import a module of the optional part `dicom`."""
    return extras.import_extra(module, "Reading this DICOM needs", "dicom")


def grouped(headers: Iterable[Header]) -> tuple[DicomSeries, ...]:
    """The headers by series; what is no CT slice in a series is a series of its own."""
    groups: dict[tuple[str, str], list[Header]] = {}
    for header in headers:
        groups.setdefault((str(header.get("SeriesInstanceUID")), _content(header)), []).append(header)
    return tuple(
        DicomSeries(
            uid=uid,
            number=_whole(group[0], "SeriesNumber"),
            description=str(group[0].get("SeriesDescription") or ""),
            modality=str(group[0].get("Modality") or ""),
            content=content,
            headers=tuple(group),
        )
        for (uid, content), group in groups.items()
    )


def frames_of(header: Header) -> int:
    """How many frames a file says it has; 1 where it does not say."""
    return _whole(header, "NumberOfFrames") or 1


def _whole(header: Header, keyword: str) -> int | None:
    """A whole number of a header, or None where it has none."""
    value = header.get(keyword)
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{header.path.name}: {keyword} is {value!r}; expected a whole number. Its header is damaged: "
            "transfer the file again."
        ) from error


def _content(header: Header) -> str:
    modality = str(header.get("Modality") or "unknown modality")
    if modality != "CT":
        return modality
    if "LOCALIZER" in (header.get("ImageType") or ()):
        return "CT localizer"
    kind = header.get("SOPClassUID")
    return "CT" if kind in CT_CLASSES else str(kind.name)
