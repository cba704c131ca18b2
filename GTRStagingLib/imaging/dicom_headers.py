"""Read the headers of DICOM files, and list the series of a folder.

Only the required elements are read by pydicom: for a series of hundreds of files, the headers take most of the time.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import dicom_acquisitions
from GTRStagingLib.imaging.dicom_files import (
    DicomFile,
    begins_as_dicom,
    damage_refused,
    import_dicom_package,
    inflated_header,
    is_deflated,
    unreadable,
    unreadable_header,
)
from GTRStagingLib.imaging.dicom_layout import HeaderReader, numbers_of, text_of
from GTRStagingLib.imaging.dicom_remote import RemoteFile, plain_metadata, values_of
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import require_utf8_path

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
CT_CLASSES = frozenset({CT_IMAGE, f"{CT_IMAGE}.1", f"{CT_IMAGE}.2"})
"""CT Image Storage, Enhanced CT, Legacy Converted Enhanced CT."""

SIDECARS = (
    ".bat .bmp .css .csv .db .dll .doc .docx .exe .gif .htm .html .icns .ico .inf .ini .jar .jpeg .jpg .js .json .log "
    ".md .md5 .pdf .png .rtf .sha256 .tsv .txt .url .xls .xlsx .xml .yaml .yml"
)
"""Suffixes of files that exports write beside the slices; they are ignored without a warning."""

OTHER_DATA = (
    ".7z .gz .h5 .mat .mgz .mha .mhd .mrb .nhdr .nii .npy .npz .nrrd .obj .ply .raw .seg .stl .tar .tif .tiff .vtk .xz "
    ".zip .zst"
)
"""Suffixes of other data, which is left out with a warning. Any other file beside the slices could be a slice."""

EVERY_FILE = (
    "SOPClassUID SeriesInstanceUID SeriesNumber SeriesDescription Modality ImageType FrameOfReferenceUID "
    "NumberOfFrames Rows Columns PixelSpacing SliceThickness SpacingBetweenSlices ImagePositionPatient "
    "ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType SamplesPerPixel PhotometricInterpretation"
)
"""Keywords read from each file of a folder, with `dicom_acquisitions.TEXTS`; all others are read from the first slice
only."""

END = 8
"""Characters of the end of a UID that names a series without a number."""


@dataclass(frozen=True)
class Header:
    """Header of a DICOM file: the values of `EVERY_FILE`, by keyword.

    `digest` is the sha256 of all bytes before the pixels and of the file size, or of the metadata if the file is in an
    archive; None if the file is not a CT.
    """

    path: DicomFile
    values: Mapping[str, Any] = field(repr=False)
    digest: bytes | None = field(repr=False)

    def get(self, keyword: str) -> Any:
        """Return the value of a keyword, or None."""
        return self.values.get(keyword)


@dataclass(frozen=True)
class DicomSeries:
    """Series of a folder, by its headers, or one of its acquisitions or reconstructions.

    `content` is "CT" for slices of a scan, otherwise the kind of the files ("CT localizer", "MR", "SEG", ...). `part`
    is 1, 2, ... if several acquisitions share the UID, otherwise None; `later_s` is the time since the first of them.
    `one_sweep` is False if the times of acquisition contradict the order of the positions.
    """

    uid: str = field(repr=False)
    number: int | None
    description: str = field(repr=False)
    modality: str
    content: str
    headers: tuple[Header, ...] = field(repr=False, compare=False)
    part: int | None = None
    later_s: float | None = None
    one_sweep: bool = True

    @property
    def files(self) -> tuple[DicomFile, ...]:
        """Files in the order of their names, which is not the order of their positions."""
        return tuple(h.path for h in self.headers)

    @property
    def n_slices(self) -> int:
        """Number of slices, counting each frame of multi-frame files."""
        return sum(map(frames_of, self.headers))

    @property
    def name(self) -> str:
        """Value of `series` that chooses this series: its number and part, or the end of its UID."""
        part = self.part or ""
        if self.number is None:
            return f"{self.uid[-END:]}{part and f'#{part}'}"
        return f"{self.number}{part and f'.{part}'}"

    def fits(self, wanted: str) -> tuple[bool, bool, bool]:
        """Return whether `wanted` is the UID, the number, or the end of the UID; with a part, that of this part.

        A short end that reads as a number, such as `7` or `3.1`, is not taken: it may be that of a missing series.
        """
        uid, _, part = wanted.rpartition("#") if "#" in wanted else (wanted, "", "")
        of_part = not part or part == str(self.part)
        numbers = (str(self.number), f"{self.number}.{self.part}")
        ends = bool(uid) and self.uid.endswith(uid) and not (len(uid) < END and re.fullmatch(r"\d+(\.\d+)?", uid))
        return of_part and self.uid == uid, wanted in numbers, of_part and ends

    @property
    def label(self) -> str:
        """Number and part for messages, without a UID: '3', '3.2', or '-' if it has no number."""
        return f"-{(self.part and f'#{self.part}') or ''}" if self.number is None else self.name

    def __str__(self) -> str:
        return ", ".join([f"number {self.label}: {self.n_slices} {self.content} slices", *self._facts()])

    def _facts(self) -> Iterable[str]:
        """Yield what tells acquisitions apart, without free text and UIDs."""
        step = dicom_acquisitions.typical_step(dicom_acquisitions.positions_along(self.headers))
        if step:
            yield f"{step:.3g} mm apart"
        kernels = {str(h.get("ConvolutionKernel") or "") for h in self.headers}
        if kernels != {""}:
            yield f"kernel {'/'.join(sorted(kernels))[:32]}"
        agents = {bool(h.get("ContrastBolusAgent")) for h in self.headers}
        if len(agents) == 1:
            yield "contrast agent stated" if agents == {True} else "no contrast agent stated"
        if self.part is not None:
            numbers = sorted({n for h in self.headers if (n := dicom_acquisitions.number(h.get("AcquisitionNumber")))})
            if numbers:
                yield "acquisition " + (
                    f"{numbers[0]:g}" if len(numbers) == 1 else f"{numbers[0]:g} to {numbers[-1]:g}"
                )
            if self.later_s is not None:
                yield f"{abs(self.later_s):g} s {'before' if self.later_s < 0 else 'after'} the first"


class SeveralSeriesError(InputError):
    """Error of a folder with several CT series, or parts of one, of which none was chosen.

    Attributes
    ----------
    scans
        The series, and parts of series, that are offered.
    """

    def __init__(self, scans: Sequence[DicomSeries], remark: str = "", details: str = "") -> None:
        self.scans = tuple(scans)
        super().__init__(
            f"{_counted(scans)}; expected one{remark and f', and {remark}'}. Give the folder of the portal-venous one, "
            f"or its `series` (number, UID or end of the UID):{_listing(scans)}",
            details=_details(scans) + details,
        )


def list_series(folder: Path) -> tuple[DicomSeries, ...]:
    """Return all DICOM series in a folder and its sub-folders, CT or not; other files are ignored."""
    return group_series(headers_below(folder)[0])


def choose_series(found: Sequence[DicomSeries], wanted: str | None) -> DicomSeries:
    """Return the only CT series, or the one with the UID, number or end of UID `wanted`."""
    scans = [s for s in found if s.content == "CT"]
    if not scans:
        kinds = "; ".join(f"{s.content} ({counted(len(s.headers), 'file')})" for s in found) or "no DICOM files"
        raise InputError(
            f"No CT images; found {kinds}; expected a CT. Give the slices of a CT series, or an enhanced CT file."
        )
    if wanted is None and len(scans) == 1:
        return scans[0]
    if wanted is None:
        raise SeveralSeriesError(scans)
    fitting = [(s, s.fits(wanted.strip())) for s in scans]
    shown = wanted if wanted.count(".") < 2 else "(UID)"
    for way in range(3):
        matches = [s for s, fits in fitting if fits[way]]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(
                f"`series` {shown} fits {len(matches)} CT series or acquisitions; expected one. Give the number with "
                f"its part, or a UID:{_listing(matches)}",
                details=_details(scans),
            )
    raise InputError(f"`series` {shown} fits no CT series; expected one of:{_listing(scans)}", details=_details(scans))


def _listing(scans: Iterable[DicomSeries]) -> str:
    return "".join(f"\n  {s}" for s in scans)


def _details(scans: Iterable[DicomSeries]) -> str:
    return "".join(f"\n  {s.name}: '{s.description}', UID {s.uid}{(s.part and f'#{s.part}') or ''}" for s in scans)


def _counted(scans: Sequence[DicomSeries]) -> str:
    uids = len({s.uid for s in scans})
    if uids == len(scans):
        return f"{uids} CT series"
    return f"{uids} CT series with {len(scans)} acquisitions or reconstructions"


def headers_below(folder: Path) -> tuple[list[Header], int]:
    """Return the headers in a folder and its sub-folders, and the number of possible slices that are not DICOM."""
    headers, others, folders, reader = list[Header](), [], set[Path](), _header_reader()
    for path in files_below(folder):
        if (header := _header(path, reader)) is not None:
            headers.append(header)
            folders.add(path.parent)
        elif path.suffix.lower() in (".dcm", ".ima"):
            raise _not_dicom(path, "expected DICOM by its name")
        elif not _is_sidecar(path):
            others.append(path)
    for path in others:
        if path.parent in folders and _could_be_slice(path):
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
        raise unreadable(path, error) from error


def _could_be_slice(path: Path) -> bool:
    """Return whether a file that is not DICOM could be a damaged slice: an empty or binary file of no other format."""
    if path.suffix.lower() in OTHER_DATA.split():
        return False
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise unreadable(path, error) from error
    return not start or b"\0" in start


def _is_sidecar(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return hidden or path.name.upper() == "DICOMDIR" or path.suffix.lower() in SIDECARS.split()


def _not_dicom(path: Path, expected: str) -> InputError:
    return InputError(
        f"{path.name} ({path.stat().st_size} bytes) is not a DICOM file; {expected}. It may be damaged: transfer it "
        "again, or remove it from the folder if it does not belong there."
    )


def is_dicom(path: Path) -> bool:
    """Return whether a file begins like a DICOM file and is not the index DICOMDIR."""
    try:
        with path.open("rb") as file:
            return begins_as_dicom(file.read(132), path)
    except OSError as error:
        raise unreadable(path, error) from error


def read_header(path: Path) -> Header:
    """Read the header of a DICOM file; raise `InputError` if the file is not DICOM or damaged."""
    header = _header(path, _header_reader())
    if header is None:
        raise _not_dicom(path, "expected DICOM")
    return header


def remote_header(metadata: Mapping[str, Any], name: str, fetch: Callable[[], bytes]) -> Header:
    """Return the header of a file in an archive; its digest is that of the metadata.

    Parameters
    ----------
    metadata
        DICOM JSON model of the header, as an archive's metadata.
    name
        Name for messages, without identifiers.
    fetch
        Function that returns the bytes of the file.

    Raises
    ------
    InputError
        If the metadata have no class or series, or cannot be read.
    """
    import_dicom_package("pydicom")
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    plain = plain_metadata(metadata)
    keywords = {*EVERY_FILE.split(), *dicom_acquisitions.TEXTS}
    tags = {f"{tag_for_keyword(keyword):08X}" for keyword in keywords}
    with damage_refused(
        lambda error: (
            f"{name}: the archive's metadata cannot be read ({type(error).__name__}); expected the header of an image. "
            "Export the series from the archive, and give its folder."
        )
    ):
        some = Dataset.from_json({tag: element for tag, element in plain.items() if tag.upper() in tags})
        values = values_of(some, sorted(keywords), dicom_acquisitions.TEXTS)
    for keyword in ("SOPClassUID", "SeriesInstanceUID"):
        if not isinstance(values.get(keyword), str):
            raise InputError(
                f"{name}: the archive's metadata have no {keyword}; expected one, as in every image. Export the series "
                "from the archive, and give its folder."
            )
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()
    file = RemoteFile(name, plain, fetch)
    return Header(file, values, digest if values["SOPClassUID"] in CT_CLASSES else None)


def _header_reader() -> HeaderReader:
    own = dict.fromkeys(dicom_acquisitions.TEXTS, text_of) | {"ImagePositionPatient": numbers_of}
    return HeaderReader((keyword for keyword in EVERY_FILE.split() if keyword not in own), own)


def _header(path: Path, reader: HeaderReader) -> Header | None:
    """Read a header; return None if the file does not begin like a DICOM file."""
    try:
        with path.open("rb") as file:
            start = file.read(reader.reach)
            if not begins_as_dicom(start[:132], path):
                return None
            import_dicom_package("pydicom")
            size = os.fstat(file.fileno()).st_size
            stream: BinaryIO = file
            try:
                if is_deflated(start):
                    stream = inflated_header(file, path.name)
                    start = stream.read(reader.reach)
                values, length = reader.read(stream, start)
            except InputError:
                raise
            except Exception as error:  # a damaged file can raise any kind
                raise unreadable_header(path, error) from error
            for keyword in ("SOPClassUID", "SeriesInstanceUID"):
                if not values.get(keyword):
                    raise InputError(
                        f"{path.name}: the DICOM header has no {keyword}; expected one, as in every image. The file is "
                        "truncated or damaged: transfer it again."
                    )
                if not isinstance(values[keyword], str):
                    raise InputError(
                        f"{path.name}: {keyword} is not text of one value; expected one UID. The file is damaged: "
                        "transfer it again.",
                        details=str(values[keyword]),
                    )
            if values["SOPClassUID"] not in CT_CLASSES:
                return Header(path, values, None)
            if length > len(start):
                stream.seek(0)
                start = stream.read(length)
            return Header(path, values, hashlib.sha256(start[:length] + b"%d" % size).digest())
    except OSError as error:
        raise unreadable(path, error) from error


def whole_header(path: DicomFile, keywords: Sequence[str] | None = None) -> Any:
    """Read a file's header with pydicom: all elements, or those of the keywords.

    Of a file in an archive that is not fetched, this is its metadata, with all elements that these have.
    """
    if isinstance(path, RemoteFile) and not path.is_fetched:
        return path.header
    dcmread = import_dicom_package("pydicom").dcmread
    try:
        with path.open("rb") as file:
            deflated = is_deflated(file.read(1024))
            stream = inflated_header(file, path.name) if deflated else file
            stream.seek(0)
            return dcmread(stream, stop_before_pixels=True, specific_tags=keywords, force=True)
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise any kind
        raise unreadable_header(path, error) from error


def group_series(headers: Iterable[Header]) -> tuple[DicomSeries, ...]:
    """Group headers by series; files of a series that are not CT slices form a series of their own."""
    groups: dict[tuple[str, str], list[Header]] = {}
    for header in headers:
        groups.setdefault((str(header.get("SeriesInstanceUID")), _content(header)), []).append(header)
    return tuple(part for (uid, content), group in groups.items() for part in _parts_of(uid, content, group))


def _parts_of(uid: str, content: str, group: Sequence[Header]) -> Iterable[DicomSeries]:
    """Yield a series, or each of the acquisitions of a CT with this UID."""
    single = content == "CT" and all(frames_of(h) == 1 for h in group)
    whole = dicom_acquisitions.Part(tuple(group), one_sweep=True, first_s=None)
    parts = dicom_acquisitions.split(group) if single else [whole]
    begin = parts[0].first_s
    for k, (headers, one_sweep, first) in enumerate(parts):
        yield DicomSeries(
            uid=uid,
            number=_whole(headers[0], "SeriesNumber"),
            description=str(headers[0].get("SeriesDescription") or ""),
            modality=str(headers[0].get("Modality") or ""),
            content=content,
            headers=headers,
            part=k + 1 if len(parts) > 1 else None,
            later_s=None if k == 0 or begin is None or first is None else _after(first, begin),
            one_sweep=one_sweep,
        )


def _after(first_s: float, begin_s: float) -> float:
    """Return the seconds between two times; without dates, the second may be after midnight."""
    later, day = first_s - begin_s, dicom_acquisitions.DAY_S
    dated = min(first_s, begin_s) > 2 * day
    return round(later if dated or abs(later) < day / 2 else later - math.copysign(day, later), 3)


def frames_of(header: Header) -> int:
    """Return the number of frames of a file; 1 if the header does not state it."""
    frames = _whole(header, "NumberOfFrames") or 1
    if frames < 1:
        raise InputError(
            f"{header.path.name}: NumberOfFrames is {frames}; expected 1 or more. The header is damaged: transfer the "
            "file again."
        )
    return frames


def _whole(header: Header, keyword: str) -> int | None:
    """Return a whole number of a header, or None if it is missing."""
    value = header.get(keyword)
    if value in (None, ""):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{header.path.name}: {keyword} is {value!r}; expected a whole number. The header is damaged: transfer the "
            "file again."
        ) from error


def _content(header: Header) -> str:
    modality = str(header.get("Modality") or "unknown modality")
    if modality != "CT":
        return modality
    if "LOCALIZER" in str(header.get("ImageType") or ""):
        return "CT localizer"
    kind = header.get("SOPClassUID")
    return "CT" if kind in CT_CLASSES else str(getattr(kind, "name", kind))
