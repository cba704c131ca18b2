"""Recognise DICOM files by their content, and open them with bounds on time and memory.

A file without the preamble of 128 bytes is DICOM as well, if it begins with a chain of elements. A deflated file is
inflated step by step, to a bound.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, cast

from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.support import extras

PIXELS = 0x7FE00000
"""Tag of the first pixel element."""

PIXEL_DATA = 0x7FE00010
"""Tag of Pixel Data, the pixels as whole numbers."""

FIRST_VALUES = 0x7FE00008
"""Tag of the first element that can contain pixels, after the tables of offsets."""

UNDEFINED = 0xFFFFFFFF
"""Length of an element that ends with a delimiter."""

DEFLATED = b"1.2.840.10008.1.2.1.99"

LONGEST_HEADER = 2 << 20
"""Longest inflated header of a deflated file, in bytes: 2,000 frames with 1 kB each."""

LONGEST_INFLATED = 1 << 30
"""Longest inflated file, in bytes: 2,000 slices of 512×512."""

_START = bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, 28) + struct.pack("<HH2sH", 2, 16, b"UI", 20)
_START += b"1.2.840.10008.1.2.1\0"
_LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"])
_VRS = _LONG_VRS | {
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
}  # fmt: skip


class DicomFile(Protocol):
    """DICOM file, as `Path` has it, or one in an archive (`dicom_remote.RemoteFile`)."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Return the file's bytes."""


def import_dicom_package(module: str) -> Any:
    """Import a module of the extra `dicom`."""
    return extras.import_extra(module, "Reading this DICOM needs", "dicom")


def begins_as_dicom(start: bytes, path: DicomFile) -> bool:
    """Return whether the first bytes of a file (132 or more) are those of DICOM, and it is not the index DICOMDIR."""
    return path.name.upper() != "DICOMDIR" and (start[128:132] == b"DICM" or begins_with_elements(start))


def begins_with_elements(start: bytes) -> bool:
    """Return whether a file begins with elements of group 2 or 8, as DICOM without a preamble does."""
    at, before, count = 0, (0, -1), 0
    for order in "<>":
        if struct.unpack(f"{order}H", start[:2].ljust(2, b"\1"))[0] in (2, 8):
            break
    else:
        return False
    while at + 12 <= min(len(start), 132):
        tag = struct.unpack(f"{order}HH", start[at : at + 4])
        if tag <= before or (count == 0 and tag[0] not in (2, 8)):
            return False
        vr = start[at + 4 : at + 6].decode("latin-1")
        if vr in _LONG_VRS:
            length, at = struct.unpack(f"{order}L", start[at + 8 : at + 12])[0], at + 12
        elif vr in _VRS:
            length, at = struct.unpack(f"{order}H", start[at + 6 : at + 8])[0], at + 8
        else:
            length, at = struct.unpack(f"{order}L", start[at + 4 : at + 8])[0], at + 8
        if length > 1 << 16 and length != UNDEFINED:
            return False
        before, count, at = tag, count + 1, at + length
    return count > 0


def is_deflated(start: bytes) -> bool:
    """Return whether the first bytes of a file name the deflated transfer syntax."""
    return start[128:132] == b"DICM" and DEFLATED in start[132:1024]


def inflated_header(file: BinaryIO, name: str) -> BinaryIO:
    """Return the header of a deflated file as an uncompressed file in memory; raise `InputError` if it is too long."""
    from pydicom.filereader import read_partial

    for most in (1 << 18, LONGEST_HEADER):
        start, ended = _inflated(file, name, most)
        read_partial(start, lambda tag, vr, length: int(tag) >= PIXELS)
        if ended or start.tell() < most:
            start.seek(0)
            return start
    raise InputError(
        f"{name}: the deflated header inflates to more than {LONGEST_HEADER} bytes; expected less. Save the series "
        "uncompressed."
    )


def inflated_whole(file: BinaryIO, name: str) -> BinaryIO:
    """Return a deflated file as an uncompressed one in memory, whole.

    Raises
    ------
    InputError
        If it is damaged, or would exceed `LONGEST_INFLATED`, or the length that its own pixels state.
    """
    from pydicom.filereader import read_partial

    start = inflated_header(file, name)
    header = read_partial(start, lambda tag, vr, length: int(tag) >= PIXELS)
    needed = 1
    for keyword in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated"):
        needed *= int(header.get(keyword) or 1)
    most = start.tell() + needed // 8 + (1 << 20)
    whole, ended = _inflated(file, name, min(most, LONGEST_INFLATED))
    if not ended:
        raise InputError(
            f"{name}: the deflated file inflates to more than {min(most, LONGEST_INFLATED)} bytes; expected what its "
            "pixels need. Save the series uncompressed."
        )
    return whole


def _inflated(file: BinaryIO, name: str, most: int) -> tuple[BinaryIO, bool]:
    """Return at most `most` inflated bytes behind an uncompressed start, and whether these are all."""
    file.seek(132)
    at = 132
    while (head := file.read(8)) and len(head) == 8 and head[:2] == b"\x02\x00":
        vr = head[4:6].decode("latin-1")
        length = struct.unpack("<L", file.read(4))[0] if vr in _LONG_VRS else struct.unpack("<H", head[6:])[0]
        at += (12 if vr in _LONG_VRS else 8) + length
        file.seek(at)
    file.seek(at)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    out = io.BytesIO()
    out.write(_START)
    try:
        while not inflate.eof and (left := most - (out.tell() - len(_START))) > 0:
            chunk = inflate.unconsumed_tail or file.read(1 << 16)
            if not chunk:
                raise InputError(
                    f"{name}: the deflated file ends too early; expected a complete file. It is truncated: transfer it "
                    "again."
                )
            out.write(inflate.decompress(chunk, min(left, 1 << 20)))
    except zlib.error as error:
        raise InputError(
            f"{name}: the deflated file is damaged ({error}); expected a complete file. Transfer it again."
        ) from error
    if inflate.eof and len(inflate.unused_data + file.read(2)) > 1:
        raise InputError(f"{name}: bytes follow the deflated data; expected its end. It is damaged: transfer it again.")
    out.seek(0)
    return cast(BinaryIO, out), inflate.eof


class PixelElement(NamedTuple):
    """Element with the pixels: its tag, the position of its value in the file, and its length."""

    tag: int
    value_tell: int
    length: int


@contextmanager
def open_dataset(path: DicomFile) -> Iterator[tuple[BinaryIO, Any, PixelElement | None]]:
    """Open a DICOM file: its bytes (inflated if they are deflated), its header by pydicom, and where its pixels are.

    Raises
    ------
    InputError
        If the header cannot be read, or if the content has an unexpected form.
    """
    import_dicom_package("pydicom")
    from pydicom.filereader import read_partial

    try:
        with path.open("rb") as stream:
            file = inflated_whole(stream, path.name) if is_deflated(stream.read(1024)) else stream
            file.seek(0)
            header = read_partial(file, lambda tag, vr, length: int(tag) >= FIRST_VALUES, force=True)
            yield file, header, _pixel_element(file, header)
    except (StagingError, GeneratorExit):
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged file can raise any kind
        raise unreadable_header(path, error) from error


def _pixel_element(file: BinaryIO, header: Any) -> PixelElement | None:
    """Return the element at the file's position; None at the end of the file."""
    at = file.tell()
    start = file.read(12)
    if len(start) < 8:
        return None
    order = ">" if header.original_encoding[1] is False else "<"
    group, number = struct.unpack(f"{order}HH", start[:4])
    explicit = start[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")  # an implicit length would be odd
    begin = 8 if explicit else 4
    length = struct.unpack(f"{order}L", start[begin : begin + 4].ljust(4, b"\0"))[0]
    return PixelElement(group << 16 | number, at + begin + 4, length)


@contextmanager
def damage_refused(message: Callable[[Exception], str]) -> Iterator[None]:
    """Turn any exception inside the block, which a damaged value can raise, into an `InputError` with this message.

    Errors of this library, such as that of a missing package, and missing memory are passed on.
    """
    try:
        yield
    except (StagingError, MemoryError):
        raise
    except Exception as error:
        raise InputError(message(error), details=str(error)) from error


def unreadable(path: DicomFile, error: OSError) -> InputError:
    """Return the error for a file that the system cannot read."""
    return InputError(f"{path.name}: {error.strerror}; expected a readable file. Check its permissions.")


def unreadable_header(path: DicomFile, error: Exception) -> InputError:
    """Return the error for a header that pydicom cannot read."""
    return InputError(
        f"{path.name}: the DICOM header cannot be read ({type(error).__name__}); expected a complete DICOM header. "
        "Transfer the file again.",
        details=str(error),
    )
