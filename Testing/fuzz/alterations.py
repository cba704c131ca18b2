"""Damage to an input: to its bytes, to the fields of its header, and to its files.

Each alteration takes the random numbers of an input and its draft, changes the draft, and returns a short description.
"""

import gzip
import io
import random
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from fuzz import bases
from fuzz.bases import Base


@dataclass(frozen=True)
class Special:
    """A file that is not regular: a pipe, or a link to `target`."""

    target: str = ""


@dataclass
class Draft:
    """An input in the making.

    `harmless`: nothing that was done touches voxels or geometry, so that the result of the base is right as well.
    `must_read`: a refusal is wrong.
    """

    base: Base
    files: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    harmless: bool = True
    must_read: bool = False

    @classmethod
    def of(cls, base: Base) -> "Draft":
        return cls(base, dict(base.files), base.path)

    def pick(self, rng: random.Random) -> str:
        """Return the name of a file to damage."""
        return rng.choice([name for name, content in self.files.items() if isinstance(content, bytes)])


Alteration = Callable[[random.Random, Draft], str]

HOSTILE = (
    "0",
    "-1",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1e308",
    "1e400",
    "1e-308",
    "2,75",
    "",
    " ",
    "abc",
    "1e3",
    "0x10",
    "99999999999999999999",
    "4294967296",
    "2147483648",
    "32768",
    "65536",
    "none",
    "1 2",
    "1\\2",
    "-0.0",
    "1_0",
    "0.5",
    "3.0001",
    "+7",
    "٣",
    "\x00",
)
"""Texts in place of a number."""


def number_near(rng: random.Random, text: str) -> str:
    """Return a hostile text, or a number that is near the one given."""
    choice = rng.random()
    if choice < 0.7:
        return rng.choice(HOSTILE)
    try:
        number = float(text)
    except ValueError:
        return rng.choice(HOSTILE)
    return str(rng.choice([number + 1, number - 1, number * 2, number / 2, -number, number + 1e-4, round(number, 1)]))


# -- Bytes -----------------------------------------------------------------------------------------------------------


def _on_bytes(rng: random.Random, draft: Draft, change: Callable[[bytearray], str]) -> str:
    """Change the bytes of a file: of a gzip file, often its content."""
    name = draft.pick(rng)
    content = draft.files[name]
    inside = content[:2] == b"\x1f\x8b" and rng.random() < 0.6
    if inside:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            inside = False
    changed = bytearray(content)
    what = change(changed)
    draft.files[name] = bases.packed(bytes(changed)) if inside else bytes(changed)
    draft.harmless = False
    return f"{name}{' (unpacked)' if inside else ''}: {what}"


def _place(rng: random.Random, content: bytearray) -> int:
    """Return a place in a file, half of the time in its first 600 bytes."""
    length = len(content)
    if not length:
        return 0
    return rng.randrange(min(600, length)) if rng.random() < 0.5 else rng.randrange(length)


def flip(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        bits = []
        for _ in range(rng.choice([1, 1, 1, 1, 2, 4, 8])):
            if content:
                at, bit = _place(rng, content), rng.randrange(8)
                content[at] ^= 1 << bit
                bits.append(f"{at}.{bit}")
        return f"bits {' '.join(bits)} flipped"

    return _on_bytes(rng, draft, change)


def overwrite(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        at, length = _place(rng, content), rng.choice([1, 1, 2, 4, 8, 64, 512])
        kind = rng.choice(["zeros", "ones", "random", "digits"])
        length = min(length, len(content) - at)
        content[at : at + length] = {
            "zeros": bytes(length),
            "ones": b"\xff" * length,
            "random": rng.randbytes(length),
            "digits": bytes(rng.choice(b"0123456789.-e ") for _ in range(length)),
        }[kind]
        return f"{length} bytes at {at} are {kind}"

    return _on_bytes(rng, draft, change)


def truncate(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        length = len(content)
        keep = rng.choice([_place(rng, content), max(0, length - rng.choice([1, 2, 3, 4, 8, 100])), 0, length // 2])
        del content[keep:]
        return f"cut to {keep} of {length} bytes"

    return _on_bytes(rng, draft, change)


def extend(rng: random.Random, draft: Draft) -> str:
    """Append bytes: they lie after what the header describes, so that the result of the base is right."""
    harmless = draft.harmless

    def change(content: bytearray) -> str:
        length = rng.choice([1, 2, 16, 96, 512, 4096])
        content += bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
        return f"{length} bytes appended"

    what = _on_bytes(rng, draft, change)
    draft.harmless = harmless
    return what


def insert(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        at, length = _place(rng, content), rng.choice([1, 2, 4, 96])
        content[at:at] = rng.randbytes(length)
        return f"{length} bytes inserted at {at}"

    return _on_bytes(rng, draft, change)


def remove(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        at, length = _place(rng, content), rng.choice([1, 2, 4, 96])
        del content[at : at + length]
        return f"{length} bytes removed at {at}"

    return _on_bytes(rng, draft, change)


def splice(rng: random.Random, draft: Draft) -> str:
    """Put a part of another base's file in the place of a part."""
    other = bases.base(rng.choice(list(bases.BASES)))
    donor = other.files[rng.choice(list(other.files))]

    def change(content: bytearray) -> str:
        start, length = rng.randrange(len(donor)), rng.choice([8, 64, 512, 4096])
        at = _place(rng, content)
        part = donor[start : start + length]
        content[at : at + len(part)] = part
        return f"{len(part)} bytes of {other.name} at {at}"

    return _on_bytes(rng, draft, change)


def swap_blocks(rng: random.Random, draft: Draft) -> str:
    def change(content: bytearray) -> str:
        a, b, length = _place(rng, content), _place(rng, content), rng.choice([1, 2, 16, 96])
        a, b = min(a, b), max(a, b)
        if a + length <= b and b + length <= len(content):
            content[a : a + length], content[b : b + length] = content[b : b + length], content[a : a + length]
        return f"{length} bytes at {a} and {b} exchanged"

    return _on_bytes(rng, draft, change)


BYTES: tuple[tuple[int, Alteration], ...] = (
    (8, flip),
    (3, overwrite),
    (3, truncate),
    (2, extend),
    (1, insert),
    (1, remove),
    (1, splice),
    (1, swap_blocks),
)


# -- Files -----------------------------------------------------------------------------------------------------------


def drop(rng: random.Random, draft: Draft) -> str:
    name = draft.pick(rng)
    del draft.files[name]
    draft.harmless = False
    return f"{name} is missing"


def duplicate(rng: random.Random, draft: Draft) -> str:
    name = draft.pick(rng)
    copy = rng.choice([f"copy-{name}", f"0{name}", f"~{name}", f"zz{name}"])
    draft.files[copy] = draft.files[name]
    draft.harmless = not name.endswith(".dcm")
    return f"{copy} is a copy of {name}"


def exchange(rng: random.Random, draft: Draft) -> str:
    """Exchange two files of the input, or give one the content of another base's file."""
    draft.harmless = False
    name = draft.pick(rng)
    if len(draft.files) > 1 and rng.random() < 0.5:
        other = draft.pick(rng)
        draft.files[name], draft.files[other] = draft.files[other], draft.files[name]
        return f"{name} and {other} are exchanged"
    base = bases.base(rng.choice(list(bases.BASES)))
    donor = rng.choice(list(base.files))
    draft.files[name] = base.files[donor]
    return f"{name} has the content of {donor} of {base.name}"


def strange(rng: random.Random, draft: Draft) -> str:
    """Put a pipe, a device or a link in the place of a file."""
    name = draft.pick(rng)
    target = rng.choice(["", "/dev/zero", "/dev/null", "missing", "."])
    draft.files[name] = Special(target)
    draft.harmless = False
    return f"{name} is {'a pipe' if not target else f'a link to {target}'}"


def stranger(rng: random.Random, draft: Draft) -> str:
    """Put a file of another kind beside the others, which changes nothing."""
    name = rng.choice(["README.txt", "notes.md", "DICOMDIR", "thumb.png.txt"])
    draft.files[name] = rng.choice([b"", b"notes", rng.randbytes(400)])
    return f"{name} is added"


FILES: tuple[tuple[int, Alteration], ...] = ((3, drop), (3, duplicate), (3, exchange), (1, strange), (1, stranger))
ONE_FILE: tuple[tuple[int, Alteration], ...] = ((1, exchange), (1, strange))


# -- Headers of text: NRRD and MetaImage -----------------------------------------------------------------------------

NRRD_VALUES = {
    "type": ("uchar", "short", "ushort", "int", "float", "double", "block", "int64"),
    "encoding": ("raw", "gzip", "ascii", "hex", "bzip2", "txt", "zlib"),
    "endian": ("little", "big", "middle"),
    "space": (
        "right-anterior-superior",
        "LPS",
        "RAS",
        "LAS",
        "left-posterior-superior-time",
        "scanner-xyz",
        "3D-left-handed",
    ),
    "space origin": ("none", "(nan,nan,nan)", "(0,0)", "(-176.25,-156.0,-100.0,0)", "(inf,0,0)", "(0, 0, 0)"),
    "space directions": (
        "none none none",
        "(7.5,0,0) (0,8,0) none",
        "(0,0,0) (0,8,0) (0,0,5)",
        "(7.5,0,0) (7.5,0,0) (0,0,5)",
        "(7.5,0.01,0) (0,8,0) (0,0,5)",
        "(7.5,0,0) (0,8,0) (0,0,-5)",
        "(0,7.5,0) (8,0,0) (0,0,5)",
    ),
    "kinds": ("domain domain vector", "list domain domain", "space space space", "3-color domain domain", "domain"),
    "data file": (
        "ct.raw",
        "missing.raw",
        "../ct.raw",
        "/dev/zero",
        "/etc/passwd",
        ".",
        "LIST",
        "ct%d.raw 0 4 1",
        "skip",
    ),
    "dimension": ("2", "4", "0", "17", "99"),
    "sizes": ("48 40 4", "48 40 6", "48 39 5", "40 48 5", "96 20 5", "100000 100000 100000", "48 40", "48 40 5 1"),
}
NRRD_MORE = (
    "byte skip: 2",
    "line skip: 1",
    "byte skip: -1",
    "spacings: 1 1 1",
    'space units: "m" "m" "m"',
    "min: 0",
    "old min: 0",
    "space dimension: 3",
    "measurement frame: (1,0,0) (0,1,0) (0,0,1)",
    "key:=value",
    "unknown: 1",
    "axis mins: 5 5 5",
    "centers: node node node",
    "block size: 2",
    "type: float",
)
META_VALUES = {
    "NDims": ("2", "4", "0", "-1", "10", "11", "99", "2147483647"),
    "ElementType": (
        "MET_UCHAR",
        "MET_USHORT",
        "MET_FLOAT",
        "MET_DOUBLE",
        "MET_INT",
        "MET_NONE",
        "MET_SHORT_ARRAY",
        "MET_FLOAT_MATRIX",
        "MET_STRING",
        "short",
    ),
    "ElementDataFile": (
        "LOCAL",
        "LIST",
        "missing.raw",
        "../ct.raw",
        "/dev/zero",
        "/etc/passwd",
        "ct%d.raw 0 4 1",
        "",
        ".",
    ),
    "TransformMatrix": (
        "1 0 0 0 1 0 0 0 -1",
        "0 1 0 1 0 0 0 0 1",
        "1 0 0 0 1 0 0 0 0",
        "1 0.01 0 0 1 0 0 0 1",
        "2 0 0 0 2 0 0 0 2",
        "1 0 0 0 1 0",
        "0 0 0 0 0 0 0 0 0",
    ),
    "DimSize": ("48 40 4", "48 40 6", "48 39 5", "40 48 5", "96 20 5", "100000 100000 100000", "48 40", "48 40 5 1"),
    "CompressedData": ("True", "False", "maybe"),
    "BinaryData": ("False", "maybe"),
    "BinaryDataByteOrderMSB": ("True", "False", "maybe"),
    "CompressedDataSize": ("0", "-1", "10", "99999999", "1e9"),
    "ObjectType": ("Scene", "Ellipse", "Tube", "Mesh"),
}
META_MORE = (
    "HeaderSize = 4",
    "HeaderSize = -1",
    "ElementNumberOfChannels = 3",
    "DistanceUnits = m",
    "Offset = 0 0 0",
    "ElementSpacing = 1 1 1",
    "Orientation = 1 0 0 0 1 0 0 0 1",
    "ElementToIntensityFunctionSlope = 2",
    "Comment = a",
    "Modality = MET_MOD_CT",
    "unknown",
    "Position = 1 2 3",
    "BinaryDataByteOrderMSB = True",
    "ElementSize = 2 2 2",
    "Name = x",
    "HeaderSize = 99999999999",
    "DimSize_ARRAY = 3",
)


def _text_header(content: bytes) -> tuple[list[str], bytes]:
    """Return the lines of a header, and what follows it."""
    if content.startswith(b"NRRD"):
        head, mark, data = content.partition(b"\n\n")
        return head.decode("latin-1").split("\n"), mark + data
    match = re.search(rb"ElementDataFile[^\n]*(\n|$)", content)
    end = match.end() if match else 0
    return content[:end].decode("latin-1").rstrip("\n").split("\n"), (b"\n" if match else b"") + content[end:]


def text_field(rng: random.Random, draft: Draft) -> str:
    """Change, remove, add or double a field of an NRRD or MetaImage header."""
    name = draft.path
    if not isinstance(draft.files.get(name), bytes):
        return "nothing"
    lines, data = _text_header(draft.files[name])
    draft.harmless = False
    nrrd = bool(lines) and lines[0].startswith("NRRD")
    separator, values, more = (": ", NRRD_VALUES, NRRD_MORE) if nrrd else (" = ", META_VALUES, META_MORE)
    at = rng.randrange(len(lines))
    choice = rng.random()
    old = lines[at]
    if choice < 0.12:
        del lines[at]
        what = f"without {old!r}"
    elif choice < 0.24:
        added = rng.choice(more)
        lines.insert(rng.randrange(1, len(lines)) if len(lines) > 1 else 0, added)
        what = f"with {added!r}"
    elif choice < 0.29:
        lines.insert(at, old)
        what = f"{old!r} twice"
    elif choice < 0.34:
        lines = [line + "\r" for line in lines]
        data = data.replace(b"\n", b"\r\n", 1) if nrrd else data
        what = "lines end with CR LF"
    else:
        key, mark, value = old.partition(separator)
        if choice < 0.65 and key in values:
            new = rng.choice(values[key])
        elif (words := re.findall(r"[-+.\w]+", value)) and choice < 0.93:
            # One number of several.
            spans = list(re.finditer(r"[-+.\w]+", value))
            span = rng.choice(spans)
            new = value[: span.start()] + number_near(rng, words[spans.index(span)]) + value[span.end() :]
        else:
            new = rng.choice(HOSTILE)
        lines[at] = key + mark + new
        what = f"{old!r} is {lines[at]!r}"
    draft.files[name] = "\n".join(lines).encode("utf-8", "surrogateescape") + data
    return what


# -- NIfTI -----------------------------------------------------------------------------------------------------------

NIFTI = {
    "sizeof_hdr": (0, "i"),
    "dim0": (40, "h"),
    "dim1": (42, "h"),
    "dim2": (44, "h"),
    "dim3": (46, "h"),
    "dim4": (48, "h"),
    "dim5": (50, "h"),
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "slice_start": (74, "h"),
    "qfac": (76, "f"),
    "pixdim1": (80, "f"),
    "pixdim2": (84, "f"),
    "pixdim3": (88, "f"),
    "pixdim4": (92, "f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "b"),
    "cal_max": (124, "f"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern_b": (256, "f"),
    "quatern_c": (260, "f"),
    "quatern_d": (264, "f"),
    "qoffset_x": (268, "f"),
    "qoffset_y": (272, "f"),
    "qoffset_z": (276, "f"),
    **{f"srow{i}": (280 + 4 * i, "f") for i in range(12)},
    "magic": (344, "i"),
    "extension": (348, "i"),
}
NIFTI_NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    4,
    5,
    8,
    16,
    64,
    256,
    512,
    768,
    1024,
    1280,
    128,
    511,
    1536,
    1792,
    2048,
    2304,
    32767,
    -32768,
    7,
    39,
    41,
)
NIFTI_REALS = (
    0.0,
    -1.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e30,
    -1e30,
    1e-30,
    1e-3,
    0.5,
    1.0,
    2.0,
    352.0,
    348.0,
    353.0,
    352.5,
    1e10,
    7.5,
    -7.5,
    7.501,
    1e-4,
    3e38,
    -1024.0,
    1e-42,
)


def nifti_field(rng: random.Random, draft: Draft) -> str:
    name = draft.path
    content = draft.files.get(name)
    if not isinstance(content, bytes):
        return "nothing"
    compressed = content[:2] == b"\x1f\x8b"
    try:
        changed = bytearray(gzip.decompress(content) if compressed else content)
    except (OSError, EOFError, zlib.error):
        return "nothing"
    if len(changed) < 352:
        return "nothing"
    draft.harmless = False
    order = ">" if changed[:4] == struct.pack(">i", 348) else "<"
    if rng.random() < 0.12 and len(changed) > 400:
        # A value that is not a number, in files of floating point.
        at = 352 + 4 * rng.randrange((len(changed) - 356) // 4)
        value = rng.choice([float("nan"), float("inf"), -float("inf"), 3e38])
        struct.pack_into(order + "f", changed, at, value)
        what = f"{value} as float at byte {at}"
    else:
        field, (at, code) = rng.choice(list(NIFTI.items()))
        old = struct.unpack_from(order + code, changed, at)[0]
        if code == "f":
            near = [old * 2, -old, old + 1, old * 1.001, old * 1.00001]
            value = rng.choice(NIFTI_REALS) if rng.random() < 0.7 else rng.choice(near)
        else:
            value = rng.choice([one for one in (*NIFTI_NUMBERS, old + 1, old - 1) if code != "b" or -128 <= one < 128])
        struct.pack_into(order + code, changed, at, value)
        what = f"{field} is {value} in place of {old}"
        if field in ("cal_max", "slice_start", "intent_code", "extension", "dim5", "pixdim4"):
            draft.harmless = field in ("cal_max", "slice_start")
    draft.files[name] = bases.packed(bytes(changed)) if compressed else bytes(changed)
    return what


# -- PNG -------------------------------------------------------------------------------------------------------------


def png_field(rng: random.Random, draft: Draft) -> str:
    """Change chunks, with right checksums."""
    name = draft.pick(rng)
    content = draft.files[name]
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return "nothing"
    chunks, at = [], 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunks.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    if len(chunks) < 3 or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return "nothing"
    draft.harmless = False
    sizes = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    data = next((i for i, (kind, _) in enumerate(chunks) if kind == b"IDAT"), 1)
    choice = rng.randrange(8)
    if choice < 3:
        i = rng.randrange(7)
        new = rng.choice(
            [0, 1, 2, 3, 4, 6, 8, 16, sizes[i] + 1, max(sizes[i] - 1, 0), sizes[i] * 2]
            + ([10**5, 2**31 - 1] if i < 2 else [])
        )
        what, sizes[i] = f"IHDR field {i} is {new} in place of {sizes[i]}", new
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *sizes))
    elif choice == 3:
        try:
            lines = zlib.decompressobj().decompress(chunks[data][1], 1 << 20)
        except zlib.error:
            return "nothing"
        keep = rng.choice([0, 1, len(lines) // 2, max(len(lines) - 1, 0), max(len(lines) - 49, 0)])
        chunks[data] = (b"IDAT", zlib.compress(lines[:keep]))
        what = f"{keep} of {len(lines)} bytes of rows"
    elif choice == 4:
        body = bytearray(chunks[data][1])
        at = rng.randrange(len(body))
        body[at] ^= 1 << rng.randrange(8)
        chunks[data] = (b"IDAT", bytes(body))
        what = f"byte {at} of IDAT changed, with its checksum"
    elif choice == 5:
        kind = rng.choice([b"zTXt", b"iTXt", b"PLTE", b"tRNS", b"gAMA", b"acTL", b"CgBI", b"iCCP", b"eXIf"])
        body = rng.choice(
            [
                b"",
                b"Title\0\0" + zlib.compress(bytes(10**6)),
                rng.randbytes(12),
                b"Title\0\0abc",
                b"Comment\0\1\0\0\0" + zlib.compress(bytes(10**6)),
            ]
        )
        chunks.insert(rng.choice([1, data, data + 1]), (kind, body))
        what = f"chunk {kind.decode()} of {len(body)} bytes"
    elif choice == 6:
        gone = rng.randrange(len(chunks))
        what = f"without {chunks[gone][0]!r}"
        del chunks[gone]
    else:
        twice = rng.randrange(len(chunks))
        chunks.insert(twice, chunks[twice])
        what = f"{chunks[twice][0]!r} twice"
    draft.files[name] = content[:8] + b"".join(bases.chunk(kind, body) for kind, body in chunks)
    return f"{name}: {what}"


# -- DICOM -----------------------------------------------------------------------------------------------------------

DICOM_TEXTS = {
    "Rows": (),
    "Columns": (),
    "BitsAllocated": (),
    "BitsStored": (),
    "HighBit": (),
    "PixelRepresentation": (),
    "SamplesPerPixel": (),
    "PlanarConfiguration": (),
    "PixelPaddingValue": (),
    "PixelPaddingRangeLimit": (),
    "NumberOfFrames": ("0", "2", "-1", "1", "5", "6", "4", "abc", "1\\1", "99999"),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "", "PALETTE COLOR", "MONOCHROME2\\X", "YBR_FULL"),
    "RescaleSlope": (),
    "RescaleIntercept": (),
    "RescaleType": ("HU", "OD", "US", "", "HU_MOD", "H U"),
    "PixelSpacing": ("8.0", "8.0\\7.5\\5", "7.5\\8.0", "0\\7.5", "-8.0\\7.5", "8,0\\7,5", "nan\\nan", ""),
    "ImagePositionPatient": (
        "0\\0\\0",
        "-176.25\\-156.0",
        "nan\\0\\0",
        "-176.25\\-156.0\\inf",
        "1e308\\0\\0",
        "",
        "-176,25\\-156,0\\-100,0",
    ),
    "ImageOrientationPatient": (
        "0\\1\\0\\1\\0\\0",
        "1\\0\\0\\0\\-1\\0",
        "1\\0\\0\\1\\0\\0",
        "0\\0\\0\\0\\0\\0",
        "1\\0\\0\\0\\1",
        "",
        "1\\0.001\\0\\0\\1\\0",
        "0.9\\0\\0\\0\\0.9\\0",
    ),
    "SliceThickness": (),
    "SpacingBetweenSlices": (),
    "GantryDetectorTilt": (),
    "PixelAspectRatio": ("1\\2", "0\\0"),
    "SOPClassUID": (
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.4",
        "",
        "1.2\\1.3",
        "1.2.840.10008.5.1.4.1.1.7",
        "x",
    ),
    "SOPInstanceUID": ("", "1.2.3", "1\\2"),
    "SeriesInstanceUID": ("", "1.2.3", "1.2\\1.3"),
    "FrameOfReferenceUID": ("", "1.2.3", "1\\2"),
    "Modality": ("MR", "", "CT\\MR", "PT", "ct"),
    "ImageType": ("ORIGINAL\\PRIMARY\\LOCALIZER", "", "DERIVED", "LOCALIZER"),
    "AcquisitionNumber": ("2", "", "abc"),
    "InstanceNumber": ("2", "", "abc"),
    "AcquisitionTime": ("120010", "", "abc"),
    "SpecificCharacterSet": ("GB18030", "ISO_IR 192", "abc", "ISO 2022 IR 87\\ISO_IR 100", ""),
    "PatientPosition": ("FFS", "HFP", "abc"),
    "SeriesNumber": ("abc", "1\\2", ""),
    "PatientName": ("\x1b$B", "a" * 300),
    "SeriesDescription": ("\xff\xfe", "a\\b", "=1+1"),
    "LossyImageCompression": ("01",),
    "ContourGeometricType": ("POINT", "OPEN_PLANAR", "CLOSEDPLANAR_XOR", ""),
    "NumberOfContourPoints": ("1", "abc", "3", "99"),
    "ContourData": (
        "0\\0\\0",
        "1\\2",
        "nan\\0\\0\\1\\1\\0\\2\\0\\0",
        "",
        "-60\\0\\-90\\-30\\0\\-90\\-30\\40\\-90",
        "1e308\\0\\0\\0\\0\\0\\5\\5\\0",
    ),
    "ROINumber": ("1", "2", "99", "abc", "1\\2"),
    "ReferencedROINumber": ("1", "2", "99", "abc"),
    "ROIName": ("", "stomach", "a\\b"),
    "ContourOffsetVector": ("0\\0\\0", "0\\0\\5"),
    "SegmentNumber": (),
    "ReferencedSegmentNumber": (),
    "SegmentLabel": ("", "stomach"),
    "SegmentationType": ("FRACTIONAL", "BINARY", "LABELMAP", ""),
    "MaximumFractionalValue": (),
}
SHORTS = (0, 1, 2, 3, 7, 8, 11, 12, 13, 15, 16, 24, 32, 39, 41, 47, 49, 64, 255, 1024, 1064, 32768, 63536, 65535)


def _items(d: Any) -> list[Any]:
    """Return a data set and the items of its sequences."""
    found = [d]
    for element in d:
        if element.VR == "SQ":
            for item in element.value or ():
                found += _items(item)
    return found


def _write(d: Any) -> bytes:
    stream = io.BytesIO()
    d.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def _set(rng: random.Random, d: Any, keyword: str, text: str | None, order: str, implicit: bool) -> str:
    """Set an element to a text or, for binary ones, to a number, without any check; return its description."""
    tag = Tag(keyword)
    kind = pydicom.datadict.dictionary_VR(tag)
    if kind in ("US", "US or SS", "US or SS or OW"):
        number = rng.choice(SHORTS)
        count = rng.choice([1, 1, 1, 1, 1, 1, 0, 2])
        value, kind, shown = struct.pack(f"{order}{count}H", *[number] * count), "US", f"{count} x {number}"
    else:
        shown = text or ""
        value = shown.encode("utf-8")
        value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    d[tag] = RawDataElement(tag, kind, len(value), value, 0, implicit, order == "<", True)
    return f"{keyword} is {shown!r}"


def dicom_field(rng: random.Random, draft: Draft) -> str:
    """Change, remove or add an element in one file, or in all of them."""
    names = [name for name, content in draft.files.items() if isinstance(content, bytes) and len(content) > 200]
    if not names:
        return "nothing"
    every = len(names) > 1 and rng.random() < 0.35
    seed = rng.random()
    chosen = names if every else [rng.choice(names)]
    draft.harmless = False
    what = "nothing"
    for name in chosen:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                d = pydicom.dcmread(io.BytesIO(draft.files[name]))
                changed = what_changed(random.Random(seed), d)
                content = _write(d)
        except Exception:
            continue
        draft.files[name], what = content, changed
    return f"{'all' if every else chosen[0]}: {what}"


def what_changed(rng: random.Random, d: Any) -> str:
    """Change one element of a data set."""
    big = d.file_meta.get("TransferSyntaxUID") == bases.ExplicitVRBigEndian
    order, implicit = ">" if big else "<", d.file_meta.get("TransferSyntaxUID") == bases.ImplicitVRLittleEndian
    choice = rng.random()
    if choice < 0.22 and "PixelData" in d:
        return _pixels(rng, d)
    if choice < 0.27:
        syntaxes = (
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.5",
            "1.2.840.10008.1.2.4.90",
            "1.2.840.10008.1.2.4.70",
            "1.2.840.10008.1.2.4.80",
            "1.2.3",
        )
        # The name alone: the bytes of the elements stay as they are.
        new = rng.choice(syntaxes)
        stream = _write(d)
        old = d.file_meta.TransferSyntaxUID
        d.clear()
        fresh = pydicom.dcmread(io.BytesIO(stream))
        d.update(fresh)
        d.file_meta = fresh.file_meta
        if not (new.endswith((".1.2", ".1.2.1")) and str(old) in ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")):
            d.file_meta["TransferSyntaxUID"]._value = new if new in syntaxes[2:6] else old
        return f"transfer syntax {new}"
    items = [item for item in _items(d) if len(item)]
    item = d if rng.random() < 0.6 or len(items) == 1 else rng.choice(items)
    present = [keyword for keyword in DICOM_TEXTS if keyword in item]
    if choice < 0.37 and present:
        keyword = rng.choice(present)
        del item[keyword]
        return f"without {keyword}"
    known = present if present and rng.random() < 0.75 else list(DICOM_TEXTS)
    keyword = rng.choice(known)
    texts = DICOM_TEXTS[keyword] or HOSTILE
    return _set(rng, item, keyword, rng.choice([t for t in texts if "\x00" not in t]), order, implicit)


def _pixels(rng: random.Random, d: Any) -> str:
    """Make the pixels shorter or longer, or set bits above BitsStored."""
    value = d.PixelData
    choice = rng.choice(
        [
            "half",
            "row less",
            "two bytes less",
            "a row more",
            "two bytes more",
            "empty",
            "twice",
            "high bits",
            "padding",
            "gone",
        ]
    )
    row = 2 * int(d.Columns)
    if choice == "gone":
        del d.PixelData
        return "without PixelData"
    if choice in ("high bits", "padding"):
        changed = bytearray(value)
        for _ in range(20):
            at = rng.randrange(max(len(changed) // 2, 1)) * 2
            if at + 1 < len(changed):
                if choice == "high bits":
                    changed[at + 1] |= 0xF0
                else:
                    changed[at : at + 2] = b"\x30\xf8"
        if choice == "padding":
            kind = "SS" if d.get("PixelRepresentation") == 1 else "US"
            d.add_new("PixelPaddingValue", kind, -2000 if kind == "SS" else 63536)
        value = bytes(changed)
    else:
        value = {
            "half": value[: len(value) // 2],
            "row less": value[: max(len(value) - row, 0)],
            "two bytes less": value[:-2],
            "a row more": value + bytes(row),
            "two bytes more": value + b"\0\0",
            "empty": b"",
            "twice": value + value,
        }[choice]
    d["PixelData"]._value = value
    return f"PixelData: {choice}"


FIELDS: dict[str, Alteration] = {
    "DICOM": dicom_field,
    "RTSTRUCT": dicom_field,
    "NIfTI": nifti_field,
    "NRRD": text_field,
    "MetaImage": text_field,
    "PNG": png_field,
}


def alteration(rng: random.Random, draft: Draft) -> Alteration:
    """Return a random alteration for the draft's format."""
    fields = FIELDS[draft.base.format.split()[0]]
    files = FILES if len(draft.base.files) > 1 else ONE_FILE
    kind = rng.random()
    if kind < 0.45:
        return fields
    listed = files if kind < 0.45 + (0.12 if len(draft.base.files) > 1 else 0.02) else BYTES
    return rng.choices([one for _, one in listed], [weight for weight, _ in listed])[0]
