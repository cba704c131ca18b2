"""Read an 8-bit PNG of one windowed slice, checked completely before Pillow decodes it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.stored import inflate

MAX_PIXELS = 2**26
"""Largest number of pixels of a slice: 8192×8192."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_grey(path: Path) -> np.ndarray:
    """Read an 8-bit PNG, grey or RGB with equal channels, as (y, x) uint8.

    Raises
    ------
    InputError
        If the file is damaged or truncated, has a wrong checksum, or is not a grey picture of 8 bits.
    """
    from PIL import Image

    chunks = _chunks(path)
    width, height, bits, colour, compression, filtering, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    # From the header: Pillow silently reduces 16-bit colour to 8 bits.
    if bits != 8 or colour not in (0, 2):
        raise InputError(
            f"{path.name}: {bits} bits per channel, PNG colour type {colour}; expected 8-bit grey (0) or RGB (2). "
            "Save it as 8-bit grey PNG in the window of the model's training, or give the CT."
        )
    if (compression, filtering) != (0, 0) or interlaced not in (0, 1):
        raise InputError(
            f"{path.name} has compression {compression}, filter {filtering} and interlace {interlaced} in its header; "
            "expected methods that PNG defines (0, 0, and 0 or 1). It is damaged: copy it again."
        )
    if not 1 <= width * height <= MAX_PIXELS:
        raise InputError(
            f"{path.name} has {width}×{height} pixels; expected a CT slice of about 512×512. Give the original slice."
        )
    channels = 3 if colour == 2 else 1
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    columns_rows = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    size = sum(rows * (1 + columns * channels) for columns, rows in columns_rows if columns > 0 and rows > 0)
    data = b"".join(content for kind, content in chunks if kind == b"IDAT")
    inflate(io.BytesIO(data), "zlib", memoryview(bytearray(size)), path.name)
    # Texts, profiles and animations are left out: Pillow would parse them.
    checked = _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
        if kind in (b"IHDR", b"IDAT", b"IEND")
    )
    try:
        with Image.open(io.BytesIO(checked), formats=["PNG"]) as picture:
            pixels = np.asarray(picture)
    except Exception as error:  # Pillow raises several kinds
        raise InputError(f"{path.name} is damaged or truncated; expected a complete PNG. Copy it again.") from error
    if pixels.shape != (height, width, 3)[: 3 if channels == 3 else 2] or pixels.dtype != np.uint8:
        raise InputError(f"{path.name} is damaged; expected {width}×{height} pixels of 8 bits. Copy it again.")
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise InputError(
                f"{path.name} is a colour picture; expected grey. Give the slice without overlays or colour maps."
            )
        pixels = pixels[..., 0]
    return pixels


def _chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """Return kind and content of each chunk, from IHDR to IEND, with the right checksums."""
    with path.open("rb") as file:
        whole = file.read(4 * MAX_PIXELS)  # more than any slice; the rest would be a chunk that is cut off
    if not whole.startswith(_SIGNATURE):
        raise InputError(f"{path.name} is not a PNG; expected one by its name. Save it again as 8-bit grey PNG.")
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        length, kind = struct.unpack(">I4s", whole[at : at + 8].ljust(8, b"\0"))
        content, crc = whole[at + 8 : at + 8 + length], whole[at + 8 + length : at + 12 + length]
        if len(crc) != 4:
            raise InputError(
                f"{path.name} is damaged or truncated (it ends in byte {len(whole)}); expected a complete PNG. Copy it "
                "again."
            )
        if struct.unpack(">I", crc)[0] != zlib.crc32(kind + content):
            raise InputError(
                f"{path.name} is damaged or truncated: the checksum of its chunk at byte {at} is wrong; expected a "
                "complete PNG. Copy it again."
            )
        if not chunks and (kind != b"IHDR" or length != 13):
            raise InputError(f"{path.name} is damaged: it does not begin with IHDR; expected a PNG. Copy it again.")
        if kind[0] & 0x20 == 0 and kind not in _CRITICAL:  # PNG: without knowing it, the picture cannot be shown
            raise InputError(
                f"{path.name} has an unknown chunk at byte {at} that changes the picture; expected a plain PNG. Save "
                "it again as 8-bit grey PNG."
            )
        if chunks and kind == b"IHDR":
            raise InputError(f"{path.name} is damaged: it has two headers; expected one PNG. Copy it again.")
        chunks.append((kind, content))
        at += 12 + length
    if at != len(whole):
        raise InputError(
            f"{path.name} has {len(whole) - at} bytes after its end; expected one complete PNG. Save it again."
        )
    return chunks


__all__ = ["MAX_PIXELS", "read_grey"]
