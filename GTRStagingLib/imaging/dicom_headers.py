"""Read the headers of DICOM files, and list the series of a folder.

Only the required elements are read by pydicom: for a series of hundreds of files, the headers take most of the time.
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
"""Suffixes of files that exports write beside the slices; they are ignored without a warning."""

EVERY_FILE = (
    "SOPClassUID SeriesInstanceUID SeriesNumber SeriesDescription Modality ImageType FrameOfReferenceUID "
    "NumberOfFrames Rows Columns PixelSpacing SliceThickness SpacingBetweenSlices ImagePositionPatient "
    "ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType SamplesPerPixel PhotometricInterpretation"
)
"""Keywords read from each file of a folder; all others are read from the first slice only."""


@dataclass(frozen=True)
class Header:
    """Header of a DICOM file: the values of `EVERY_FILE`, by keyword.

    `digest` is the sha256 of all bytes before the pixels and of the file size; None if the file is not a CT.
    """

    path: Path
    values: Mapping[str, Any] = field(repr=False)
    digest: bytes | None = field(repr=False)

    def get(self, keyword: str) -> Any:
        """Return the value of a keyword, or None."""
        return self.values.get(keyword)


@dataclass(frozen=True)
class DicomSeries:
    """Series of a folder, by its headers.

    `content` is "CT" for slices of a scan, otherwise the kind of the files ("CT localizer", "MR", "SEG", ...).
    """

    uid: str
    number: int | None
    description: str
    modality: str
    content: str
    headers: tuple[Header, ...] = field(repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files in the order of their names, which is not the order of their positions."""
        return tuple(h.path for h in self.headers)

    @property
    def n_slices(self) -> int:
        """Number of slices, counting each frame of multi-frame files."""
        return sum(map(frames_of, self.headers))

    def __str__(self) -> str:
        number = "-" if self.number is None else self.number
        return f"number {number}, '{self.description}', {self.n_slices} {self.content} slices, UID {self.uid}"


def list_series(folder: Path) -> tuple[DicomSeries, ...]:
    """Return all DICOM series in a folder and its sub-folders, CT or not; other files are ignored."""
    return group_series(headers_below(folder)[0])


def choose_series(found: Sequence[DicomSeries], wanted: str | None) -> DicomSeries:
    """Return the only CT series, or the one with the UID, number or end of UID `wanted`."""
    scans = [s for s in found if s.content == "CT"]
    if not scans:
        kinds = "; ".join(f"{s.content} ({len(s.headers)} file(s))" for s in found) or "no DICOM files"
        raise InputError(f"No CT images; found {kinds}. Give the slices of a CT series, or an enhanced CT file.")
    listing = "".join(f"\n  {s}" for s in scans)
    if wanted is None:
        if len(scans) == 1:
            return scans[0]
        raise InputError(
            f"{len(scans)} CT series; expected one. Give the folder of the portal-venous one, or its `series` (UID, "
            f"end of the UID, or number):{listing}"
        )
    for matches in (
        [s for s in scans if s.uid == wanted],
        [s for s in scans if str(s.number) == wanted],
        [s for s in scans if s.uid.endswith(wanted)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(f"`series` {wanted} fits {len(matches)} CT series; expected one. Give a UID:{listing}")
    raise InputError(f"`series` {wanted} fits no CT series; expected one of:{listing}")


def headers_below(folder: Path) -> tuple[list[Header], int]:
    """Return the headers in a folder and its sub-folders, and the number of possible slices that are not DICOM."""
    headers, others, reader = list[Header](), [], HeaderReader(EVERY_FILE.split())
    for path in files_below(folder):
        if (header := _header(path, reader)) is not None:
            headers.append(header)
        elif path.suffix.lower() in (".dcm", ".ima"):
            raise _not_dicom(path, "expected DICOM by its name")
        elif not _is_sidecar(path):
            others.append(path)
    folders = {h.path.parent for h in headers}
    for path in others:
        if path.parent in folders and path.stat().st_size == 0:
            raise _not_dicom(path, "expected DICOM like the files beside it")
    return headers, len(others)


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and its sub-folders, in the order of their names.

    Broken links, and the files in which macOS stores attributes of others (`._NAME`), are left out.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; expected a readable folder.") from error

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
    return InputError(f"{path.name}: {error.strerror}; expected a readable file.")


def is_dicom(path: Path) -> bool:
    """Return whether a file begins like a DICOM file and is not the index DICOMDIR."""
    try:
        with path.open("rb") as file:
            return _begins_as_dicom(file.read(132), path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _begins_as_dicom(start: bytes, path: Path) -> bool:
    return start[128:] == b"DICM" and path.name.upper() != "DICOMDIR"


def read_header(path: Path) -> Header:
    """Read the header of a DICOM file; raise `InputError` if the file is not DICOM or damaged."""
    header = _header(path, HeaderReader(EVERY_FILE.split()))
    if header is None:
        raise _not_dicom(path, "expected DICOM")
    return header


def _header(path: Path, reader: HeaderReader) -> Header | None:
    """Read a header; return None if the file does not begin like a DICOM file."""
    try:
        with path.open("rb") as file:
            start = file.read(reader.reach)
            if not _begins_as_dicom(start[:132], path):
                return None
            import_dicom_package("pydicom")
            try:
                values, length = reader.read(file, start)
            except Exception as error:  # a damaged file can raise any kind
                raise _unreadable_header(path) from error
            for keyword in ("SOPClassUID", "SeriesInstanceUID"):
                if not values.get(keyword):
                    raise InputError(
                        f"{path.name}: the DICOM header has no {keyword}, which every image needs. The file is "
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
    """Read a file's header with pydicom: all elements, or those of the keywords."""
    try:
        return import_dicom_package("pydicom").dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    except Exception as error:  # a damaged file can raise any kind
        raise _unreadable_header(path) from error


def _unreadable_header(path: Path) -> InputError:
    return InputError(f"{path.name}: the DICOM header cannot be read. Transfer the file again.")


def import_dicom_package(module: str) -> Any:
    """Import a module of the extra `dicom`."""
    return extras.import_extra(module, "Reading this DICOM needs", "dicom")


def group_series(headers: Iterable[Header]) -> tuple[DicomSeries, ...]:
    """Group headers by series; files of a series that are not CT slices form a series of their own."""
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
    """Return the number of frames of a file; 1 if the header does not state it."""
    return _whole(header, "NumberOfFrames") or 1


def _whole(header: Header, keyword: str) -> int | None:
    """Return a whole number of a header, or None if it is missing."""
    value = header.get(keyword)
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{header.path.name}: {keyword} is {value!r}; expected a whole number. The header is damaged: transfer the "
            "file again."
        ) from error


def _content(header: Header) -> str:
    modality = str(header.get("Modality") or "unknown modality")
    if modality != "CT":
        return modality
    if "LOCALIZER" in (header.get("ImageType") or ()):
        return "CT localizer"
    kind = header.get("SOPClassUID")
    return "CT" if kind in CT_CLASSES else str(kind.name)
