"""Fill every identifying element of DICOM files with a token of its own, and find tokens in any file."""

import base64
import binascii
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID_dictionary

from GTRStagingLib.imaging.dicom import ACQUISITION

MARK = "ZqxTok"
UID, DATE, NUMBER = "2.25.7770077", "1811", "7718191"
TOKEN = re.compile(
    rf"{MARK}\w+|{re.escape(UID)}\d+|(?<!\d){DATE}\d{{4}}(?!\d)|(?<!\d){NUMBER}(?!\d)".encode(), re.IGNORECASE
)
"""Texts, UIDs, dates and the series number; other short values cannot be told from other numbers."""

TEXTS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC")
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040)
KEPT = {*ACQUISITION.split(), "RescaleType", "SegmentLabel", "SegmentDescription", "CodeValue", "CodeMeaning",
        "CodingSchemeDesignator"} - {"ContrastBolusAgent"}  # fmt: skip
"""Elements that say how the file is read, or that results show by design."""


class Tokens:
    """Tokens of one patient; `of` keeps each by the keyword of its element."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}
        self._uids: dict[str, str] = {}

    def fill(self, d: FileDataset, *, series: str = "") -> FileDataset:
        """Replace the identifying values of a dataset, add all others that the dictionary has, and private ones."""
        self._replace(d, series)
        for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
            new = tag >> 16 in GROUPS and tag not in d and not retired and keyword not in KEPT
            if new and vm[0] == "1" and (vr in TEXTS or vr == "DA"):
                setattr(d, keyword, self._value(keyword, vr))
        d.SeriesNumber = NUMBER
        self.of["SeriesNumber"] = NUMBER
        block = d.private_block(0x0009, f"{MARK}creator", create=True)
        block.add_new(1, "LO", self._text("private"))
        block.add_new(2, "UN", self._text("unknown").encode())
        inner = Dataset()
        inner.PatientName, inner.ScheduledProcedureStepDescription = self._text("inner"), self._text("scheduled")
        d.RequestAttributesSequence = [inner]
        d.file_meta.ImplementationVersionName = f"{MARK}impl"
        d.file_meta.SourceApplicationEntityTitle = f"{MARK}aet"
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
        d.preamble = f"{MARK}preamble".encode().ljust(128, b"\0")
        return d

    def _replace(self, d: Dataset, series: str) -> None:
        for element in d:
            if element.VR == "SQ":
                for item in element.value:
                    self._replace(item, series)
            elif element.VR == "UI" and str(element.value) not in UID_dictionary:
                own = f"{element.value}{series if element.keyword == 'SeriesInstanceUID' else ''}"
                element.value = self._uids.setdefault(own, f"{UID}{len(self._uids):04}")
                self.of[element.keyword] = element.value
            elif (element.VR in TEXTS or element.VR == "DA") and element.keyword not in KEPT:
                element.value = self._value(element.keyword, element.VR)

    def _value(self, keyword: str, vr: str) -> str:
        if vr == "DA":
            days = len([one for one in self.of.values() if one.startswith(DATE)])
            return self.of.setdefault(keyword, f"{DATE}{days // 28 % 12 + 1:02}{days % 28 + 1:02}")
        return self._text(keyword) if vr != "PN" else f"{self._text(keyword)}^{MARK}given"

    def _text(self, keyword: str) -> str:
        return self.of.setdefault(keyword, f"{MARK}{len(self.of):04}")


def tokens_in(content: bytes, depth: int = 0) -> set[str]:
    """Return all tokens in the content of a file, also in what it contains packed or encoded."""
    found = {one.decode().lower() for one in TOKEN.findall(content)}
    found |= {one.decode().lower() for one in TOKEN.findall(content.replace(b"\0", b""))}  # UTF-16
    if depth < 5:
        for part in _parts(content):
            found |= tokens_in(part, depth + 1)
    return found


def _parts(content: bytes) -> Iterator[bytes]:
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            yield bundle.comment
            for name in bundle.namelist():
                yield name.encode()
                yield bundle.read(name)
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png_texts(content)
    elif content[:4] == b"NRRD":
        yield content.partition(b"\n\n")[2]
    elif content[:4] == b"PAR1":
        from pyarrow import parquet

        table = parquet.read_table(io.BytesIO(content))
        yield json.dumps(table.to_pylist(), default=str, ensure_ascii=False).encode()
        yield str(table.schema).encode()
    else:
        for coded in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", content):
            try:
                yield base64.b64decode(coded + b"=" * (-len(coded) % 4), validate=True)
            except binascii.Error:
                continue


def _png_texts(content: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + length]
        if kind == b"zTXt":
            yield zlib.decompress(data.partition(b"\0")[2][1:])
        elif kind != b"IDAT":
            yield data
        at += 12 + length


def tokens_below(folder: Path, *, without: str = "") -> dict[str, set[str]]:
    """Return the tokens in every file below a folder and in its name, but not in the sub-folder `without`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not (without and without in inside.parts):
            here = tokens_in(path.read_bytes()) | tokens_in(str(inside).encode())
            if here:
                found[str(inside)] = here
    return found
