"""Decode the pixels of DICOM files to stored values, and convert these to HU.

The header states how many values there are and which of their bits count; a file that contains more or less is refused.
Uncompressed and RLE pixels are read by this module, and codestreams of the JPEG family are decoded by GDCM, one frame
at a time. All pass the same checks.
"""

import os
import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_files import PIXEL_DATA, UNDEFINED, DicomFile, PixelElement, open_dataset
from GTRStagingLib.imaging.stored import require_finite
from GTRStagingLib.support.counts import counted

PADDING_HU = -1000
"""HU of voxels that the header declares as padding (outside of the reconstruction): air."""

TISSUE_HU = (-200, 400)
"""Values of soft tissue, which padding must not have inside the body."""

MOST_PIXELS = 4096 * 4096
"""Largest number of pixels of a slice; CT slices have 512×512 to 2048×2048."""

NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
"""Implicit and explicit little endian, deflated, explicit big endian."""

RLE = "1.2.840.10008.1.2.5"

JPEG_FAMILY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91))
"""JPEG baseline, extended and lossless; JPEG-LS; JPEG 2000."""

_REMEDY = "The file is damaged or truncated: transfer it again."


class Rescale(NamedTuple):
    """Conversion of stored values to HU."""

    slope: float
    intercept: float


class Padding(NamedTuple):
    """Stored values that are padding, from `low` to `high`; `above` if they use bits above BitsStored."""

    low: int
    high: int
    above: bool


@dataclass(frozen=True)
class PixelFormat:
    """Size and number format of the pixels of a file, as checked header values."""

    rows: int
    columns: int
    frames: int
    allocated: int
    stored: int
    signed: bool
    padding: Padding | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        return self.rows * self.columns * self.allocated // 8

    def values(self, raw: np.ndarray) -> np.ndarray:
        """Return the stored values (signed integers) of allocated words; bits above BitsStored are left out."""
        wide = raw.astype(np.int64 if self.allocated > 16 else np.int32)
        return self.wrapped(wide, self.stored)

    def wrapped(self, values: Any, bits: int) -> Any:
        """Return integers as numbers of `bits` bits, with the sign of the format."""
        low = values & ((1 << bits) - 1)
        half = 1 << (bits - 1)
        return (low ^ half) - half if self.signed else low

    def padded(self, raw: np.ndarray, values: np.ndarray) -> np.ndarray | None:
        """Return which voxels are padding; None if the header declares none."""
        if self.padding is None:
            return None
        compared = self.wrapped(raw.astype(np.int64), self.allocated) if self.padding.above else values
        return np.asarray((compared >= self.padding.low) & (compared <= self.padding.high))


def decoded(
    path: DicomFile, rescales: Sequence[Rescale], numbers: Sequence[int], frames: int = 1
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the (y, x) HU of frames of a file, each with the share of its voxels that are padding.

    Values are int16 if all are whole numbers in its range, otherwise float32. Padding has `PADDING_HU`.

    Parameters
    ----------
    path
        A DICOM file, here or in an archive.
    rescales
        Conversion of each of the `frames` frames.
    numbers
        Indices of the frames to decode.
    frames
        Number of frames that the file must state.

    Raises
    ------
    InputError
        If the pixels are damaged, truncated, or contradict the header.
    """
    with open_dataset(path) as (file, header, element):
        form = pixel_format(header, path.name)
        if form.frames != frames:
            raise InputError(f"{path.name}: NumberOfFrames is {form.frames}; expected {frames}. {_REMEDY}")
        for k, raw in zip(numbers, _raw_frames(file, header, element, form, numbers, path.name), strict=True):
            values = form.values(raw)
            padded = form.padded(raw, values)
            hounsfield = _rescaled(values, rescales[k])
            require_finite(hounsfield, f"{path.name} (RescaleSlope {rescales[k].slope:g})")
            if padded is None or not padded.any():
                yield compact(hounsfield), 0.0
            else:
                _require_outside(padded, hounsfield, path.name)
                hounsfield[padded] = PADDING_HU
                yield compact(hounsfield), float(padded.mean())


def _require_outside(padded: np.ndarray, hounsfield: np.ndarray, name: str) -> None:
    """Raise `InputError` if padding that is tissue by its value also occurs as single voxels, inside the body."""
    found = padded & (hounsfield >= TISSUE_HU[0]) & (hounsfield <= TISSUE_HU[1])
    if not found.any():
        return
    around = np.pad(padded, 1)
    near = around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
    if alone := int((found & ~near).sum()):
        raise InputError(
            f"{name}: PixelPaddingValue is tissue ({hounsfield[found].min():g} to {hounsfield[found].max():g} HU), and "
            f"{alone} single voxels have it; expected padding outside of the reconstruction only. Export the original "
            "series again."
        )


def _rescaled(values: np.ndarray, rescale: Rescale) -> np.ndarray:
    slope, intercept = rescale
    whole = slope == 1 and intercept == round(intercept) and abs(intercept) < 2**30
    with np.errstate(over="ignore"):  # refused as not finite
        return values + int(intercept) if whole else values * slope + intercept


def compact(values: np.ndarray) -> np.ndarray:
    """Return the values as int16 if all are whole numbers in its range, otherwise as float32."""
    limits = np.iinfo(np.int16)
    fits = values.size and values.min() >= limits.min and values.max() <= limits.max
    if fits and (np.issubdtype(values.dtype, np.integer) or (values == np.rint(values)).all()):
        return values.astype(np.int16)
    return values.astype(np.float32)


def pixel_format(header: Any, name: str) -> PixelFormat:
    """Return the pixel format of a header; raise `InputError` if its values contradict one another."""
    rows, columns = (_whole(header, keyword, name) for keyword in ("Rows", "Columns"))
    require_size(rows, columns, name)
    allocated, stored, signed = (
        _whole(header, keyword, name) for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    high = _whole(header, "HighBit", name, stored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1 or signed not in (0, 1):
        raise InputError(
            f"{name}: BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}, PixelRepresentation {signed}; "
            "expected 8, 16 or 32 bits, at most as many stored, HighBit = BitsStored - 1, and 0 or 1. Export the "
            "original series again."
        )
    if header.get("ModalityLUTSequence"):
        raise InputError(
            f"{name}: the values are converted by a table (Modality LUT Sequence); expected RescaleSlope and "
            "RescaleIntercept alone. Export the original series again."
        )
    form = PixelFormat(
        rows, columns, _whole(header, "NumberOfFrames", name, 1) or 1, allocated, stored, bool(signed), None
    )
    if form.frames < 1:
        raise InputError(f"{name}: NumberOfFrames is {form.frames}; expected 1 or more. {_REMEDY}")
    return replace(form, padding=_padding(header, form, name))


def require_size(rows: int, columns: int, name: str) -> None:
    """Raise `InputError` unless a slice can have this size."""
    if rows < 1 or columns < 1 or rows * columns > MOST_PIXELS:
        raise InputError(
            f"{name} has {columns}×{rows} pixels (Columns×Rows); expected a CT slice of about 512×512. {_REMEDY}"
        )


def _whole(header: Any, keyword: str, name: str, default: int | None = None) -> int:
    value = header.get(keyword)
    if value in (None, "") and default is not None:
        return default
    try:
        if isinstance(value, bool) or int(value) != float(value):
            raise ValueError
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        shown = "missing" if value in (None, "") else str(value)[:40]
        raise InputError(f"{name}: {keyword} is {shown}; expected a whole number. {_REMEDY}") from error


def _padding(header: Any, form: PixelFormat, name: str) -> Padding | None:
    """Return the declared padding in stored values, of whichever sign the header's VR has."""
    limits = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = header.get(keyword)
        if isinstance(value, bytes) and len(value) == form.allocated // 8:  # the VR is not known
            value = int.from_bytes(value, "little")
        if value not in (None, "", b""):
            value = _whole({keyword: value}, keyword, name)
            if not -(1 << (form.allocated - 1)) <= value < 1 << form.allocated:
                raise InputError(f"{name}: {keyword} is {value}; expected {form.allocated} bits. {_REMEDY}")
            limits.append(form.wrapped(value, form.allocated))
        elif keyword == "PixelPaddingValue" and header.get("PixelPaddingRangeLimit") not in (None, ""):
            raise InputError(
                f"{name}: PixelPaddingRangeLimit without PixelPaddingValue; expected both or neither. Export the "
                "original series again."
            )
    if not limits:
        return None
    above = any(form.wrapped(limit, form.stored) != limit for limit in limits)
    return Padding(min(limits), max(limits), above)


# -- stored values ---------------------------------------------------------------------------------------------------


def _raw_frames(
    file: BinaryIO,
    header: Any,
    element: PixelElement | None,
    form: PixelFormat,
    numbers: Sequence[int],
    name: str,
) -> Iterator[np.ndarray]:
    """Yield allocated words of frames, (y, x)."""
    samples = _whole(header, "SamplesPerPixel", name, 1)
    if element is None or element.tag != PIXEL_DATA or samples != 1:
        found = "no PixelData" if element is None or element.tag != PIXEL_DATA else f"SamplesPerPixel {samples}"
        raise InputError(f"{name}: {found}; expected integers, one per pixel. {_REMEDY}")
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "")
    native = syntax in NATIVE or not syntax
    if native != (element.length != UNDEFINED):
        raise InputError(
            f"{name}: PixelData {'has no length' if native else 'has a length'}, but the transfer syntax is "
            f"{_syntax_name(syntax)}; expected {'uncompressed' if native else 'encapsulated'} pixels. Export the "
            "original series again."
        )
    if native:
        yield from _native_frames(file, header, element, form, numbers, name)
        return
    if syntax != RLE and syntax not in JPEG_FAMILY:
        raise InputError(
            f"{name}: the pixels are compressed as {_syntax_name(syntax)}; expected no compression, RLE, JPEG, JPEG-LS "
            "or JPEG 2000. Save the series uncompressed."
        )
    for frame in _encapsulated(file, header, element, form, numbers, name):
        yield _rle(frame, form, name) if syntax == RLE else _codestream(frame, form, syntax, name)


def _syntax_name(uid: str) -> str:
    from pydicom.uid import UID

    return str(UID(uid).name)[:64] if re.fullmatch(r"[0-9.]+", uid) else "unknown"


def _native_frames(
    file: BinaryIO, header: Any, element: PixelElement, form: PixelFormat, numbers: Sequence[int], name: str
) -> Iterator[np.ndarray]:
    expected = form.frame_bytes * form.frames
    size = file.seek(0, 2)
    found = min(element.length, max(size - element.value_tell, 0))
    if element.length not in (expected, expected + expected % 2) or found < element.length:
        raise InputError(
            f"{name}: the pixels cannot be decoded: PixelData has {found} bytes, but {form.columns}×{form.rows} pixels "
            f"of {form.allocated} bits in {counted(form.frames, 'frame')} need {expected}; expected the same. {_REMEDY}"
        )
    _require_nothing_else(file, header, element.value_tell + element.length, name)
    little = header.original_encoding[1] is not False
    if form.allocated == 8 and not little:  # the order of bytes depends on the VR
        raise InputError(f"{name}: 8-bit pixels in big-endian order; expected little-endian. Save the series again.")
    kind = np.dtype(f"{'<' if little else '>'}u{form.allocated // 8}")
    for k in numbers:
        file.seek(element.value_tell + k * form.frame_bytes)
        words = np.frombuffer(file.read(form.frame_bytes), kind)
        yield words.reshape(form.rows, form.columns)


def _encapsulated(
    file: BinaryIO, header: Any, element: PixelElement, form: PixelFormat, numbers: Sequence[int], name: str
) -> Iterator[bytes]:
    """Yield compressed frames."""
    from pydicom.encaps import generate_frames

    file.seek(element.value_tell)
    tables = [header.get(keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = (tables[0], tables[1]) if all(tables) else None
    try:
        _require_nothing_else(file, header, _end_of_fragments(file, name), name)
        file.seek(element.value_tell)
        wanted, count, kept = set(numbers), 0, {}
        for frame in generate_frames(file, number_of_frames=form.frames, extended_offsets=offsets):
            if count in wanted:
                kept[count] = frame
            count += 1
            if count > form.frames:
                break
    except InputError:
        raise
    except Exception as error:  # damaged offsets can raise any kind
        raise InputError(
            f"{name}: the pixels cannot be decoded: PixelData has damaged fragments; expected complete ones. {_REMEDY}"
        ) from error
    if count != form.frames:
        found = "more frames" if count > form.frames else counted(count, "frame")
        raise InputError(
            f"{name}: the pixels cannot be decoded: PixelData has {found}, NumberOfFrames is {form.frames}; "
            f"expected the same. {_REMEDY}"
        )
    yield from (kept[k] for k in numbers)


def _require_nothing_else(file: BinaryIO, header: Any, at: int, name: str) -> None:
    """Raise `InputError` unless the file ends behind its pixels, or has complete elements with later tags there."""
    order = ">" if header.original_encoding[1] is False else "<"
    size = file.seek(0, 2)
    before = PIXEL_DATA
    while at < size:
        file.seek(at)
        start = file.read(12).ljust(12, b"\0")
        group, number = struct.unpack(f"{order}HH", start[:4])
        begin = 8 if header.original_encoding[0] is False else 4  # groups after the pixels have long VRs only
        length = struct.unpack(f"{order}L", start[begin : begin + 4])[0]
        tag = group << 16 | number
        end = at + begin + 4 + length
        if tag <= before or (length != UNDEFINED and end > size):
            raise InputError(
                f"{name}: the pixels cannot be decoded: {size - at} bytes follow PixelData that are not DICOM; "
                f"expected the end of the file. {_REMEDY}"
            )
        if length == UNDEFINED:
            return
        before, at = tag, end


def _end_of_fragments(file: BinaryIO, name: str) -> int:
    """Return the end of a chain of items at the file's position; raise `InputError` without its delimiter."""
    at = file.tell()
    size = file.seek(0, 2)
    while True:
        file.seek(at)
        start = file.read(8)
        group, item, length = struct.unpack("<HHL", start) if len(start) == 8 else (0, 0, 0)
        if (group, item) == (0xFFFE, 0xE0DD):
            return at + 8
        if (group, item) != (0xFFFE, 0xE000) or at + 8 + length > size:
            raise InputError(
                f"{name}: the pixels cannot be decoded: PixelData ends after {max(size - at, 0)} bytes of a fragment "
                f"of {length}; expected complete fragments. {_REMEDY}"
            )
        at += 8 + length


def _rle(frame: bytes, form: PixelFormat, name: str) -> np.ndarray:
    """Decode an RLE frame (PS3.5 annex G): one segment for each byte of a word, the most significant first."""
    words = form.allocated // 8
    count = form.rows * form.columns
    numbers = struct.unpack("<16L", frame[:64]) if len(frame) >= 64 else (0,) * 16
    ends = [*numbers[2 : words + 1], len(frame)]
    decoded_bytes = np.zeros((words, count), np.uint8)
    found = -1
    if numbers[0] == words and list(numbers[1 : words + 1]) == sorted(numbers[1 : words + 1]) and numbers[1] >= 64:
        for k, (first, last) in enumerate(zip(numbers[1 : words + 1], ends, strict=True)):
            segment = _rle_segment(frame[first:last], count)
            found = len(segment)
            if found != count:
                break
            decoded_bytes[k] = np.frombuffer(segment, np.uint8)
    if found != count:
        raise InputError(
            f"{name}: the pixels cannot be decoded: a segment has {'no' if found < 0 else found} bytes (RLE), but "
            f"{form.columns}×{form.rows} pixels need {count}; expected the same. {_REMEDY}"
        )
    raw = decoded_bytes[::-1].T.copy().view(f"<u{words}")
    return raw.reshape(form.rows, form.columns)


def _rle_segment(source: bytes, most: int) -> bytearray:
    """Decode a segment, up to more than `most` bytes; a run or literal that is cut short ends it."""
    out = bytearray()
    at, end = 0, len(source)
    while at < end and len(out) <= most:
        control = source[at]
        at += 1
        if control < 128:
            out += source[at : at + control + 1]
            at += control + 1
        elif control > 128:
            out += source[at : at + 1] * (257 - control)
            at += 1
    return out


_NEXT_IMAGE = re.compile(rb"\xff\xd9\x00?\xff(?:\xd8\xff|\x4f\xff\x51)")


def _codestream(frame: bytes, form: PixelFormat, syntax: str, name: str) -> np.ndarray:
    """Decode a frame of the JPEG family by GDCM, after its own header agrees with that of the file."""
    columns, rows, components, bits = _stated_size(frame)
    if (rows, columns, components) != (form.rows, form.columns, 1) or bits > form.allocated:
        raise InputError(
            f"{name}: the pixels cannot be decoded: the compressed picture states {columns}×{rows} pixels, "
            f"{counted(components, 'value')} of {bits} bits; expected {form.columns}×{form.rows}, 1 of at most "
            f"{form.allocated}. {_REMEDY}"
        )
    if not re.search(rb"\xff\xd9\x00*\Z", frame[-64:]) or _NEXT_IMAGE.search(frame):
        raise InputError(
            f"{name}: the pixels cannot be decoded: the compressed picture of {len(frame)} bytes does not end where "
            f"its frame does; expected one complete picture. {_REMEDY}"
        )
    handle, path = tempfile.mkstemp(prefix="gtrstaging-", suffix=".dcm")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_file_of(frame, form, syntax))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(path)
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(
            f"{name}: the pixels cannot be decoded as {_syntax_name(syntax)}; expected a complete picture. It may be "
            "damaged: transfer it again, or save it uncompressed."
        ) from error
    finally:
        Path(path).unlink()
    if pixels.shape != (1, form.rows, form.columns) or pixels.dtype.kind not in "iu":
        raise InputError(
            f"{name}: the pixels cannot be decoded: {pixels.shape[-1]}×{pixels.shape[-2]} pixels were decoded; "
            f"expected {form.columns}×{form.rows}. {_REMEDY}"
        )
    return np.asarray(pixels[0])


def _stated_size(frame: bytes) -> tuple[int, int, int, int]:
    """Return columns, rows, components and bits of a JPEG, JPEG-LS or JPEG 2000 picture; zeros if it states none."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) > 42:
        right, bottom, left, top = struct.unpack(">4L", frame[8:24])
        return right - left, bottom - top, struct.unpack(">H", frame[40:42])[0], (frame[42] & 0x7F) + 1
    at = 2 if frame[:2] == b"\xff\xd8" else len(frame)
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, rows, columns, components = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            return columns, rows, components, bits
        at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return 0, 0, 0, 0


def _file_of(frame: bytes, form: PixelFormat, syntax: str) -> bytes:
    """Return a DICOM file with a frame and nothing else, which GDCM decodes to allocated words."""

    def element(group: int, number: int, vr: bytes, value: bytes | int) -> bytes:
        raw = struct.pack("<H", value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr, len(raw)) + raw

    picture, bits = b"1.2.840.10008.5.1.4.1.1.7", form.allocated  # Secondary Capture
    meta = element(2, 2, b"UI", picture) + element(2, 3, b"UI", b"1.2.3") + element(2, 16, b"UI", syntax.encode())
    shown = element(8, 0x16, b"UI", picture) + element(8, 0x18, b"UI", b"1.2.3")
    shown += element(0x28, 2, b"US", 1) + element(0x28, 4, b"CS", b"MONOCHROME2 ")
    words = {0x10: form.rows, 0x11: form.columns, 0x100: bits, 0x101: bits, 0x102: bits - 1, 0x103: 0}
    shown += b"".join(element(0x28, number, b"US", value) for number, value in words.items())
    even = frame + b"\0" * (len(frame) % 2)
    items = [struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, UNDEFINED), struct.pack("<HHL", 0xFFFE, 0xE000, 0)]
    items += [struct.pack("<HHL", 0xFFFE, 0xE000, len(even)), even, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)]
    length = element(2, 0, b"UL", struct.pack("<L", len(meta)))
    return b"".join([bytes(128), b"DICM", length, meta, shown, *items])
