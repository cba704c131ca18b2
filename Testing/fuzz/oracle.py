"""What an altered input contains, by readers that share no code with the library.

pydicom reads the elements of DICOM (native pixels are unpacked here), nibabel NIfTI, Pillow the pixels of a PNG; NRRD
and MetaImage are read here, by their specifications, with strict numbers. `NoAnswerError` means that the input has no
right answer: only a refusal is right.
"""

import bz2
import gzip
import io
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from PIL import Image

from fuzz import bases

AIR = -1000
LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class NoAnswerError(Exception):
    """The input has no right answer."""


@dataclass
class Right:
    """What is right: (z, y, x) values at their positions.

    Attributes
    ----------
    values
        In HU, as float64; or grey levels.
    affine
        Voxel index (x, y, z) to LPS mm; None if the file has no position (`steps` alone must agree).
    places
        (z, y, x, 3) LPS mm of each voxel, where slices have positions of their own; else by `affine`.
    padded
        Voxels outside the reconstruction, for which any air is right.
    unplaced
        Affine without a stated orientation.
    across, along
        Tolerances in mm, in the plane and along its normal.
    """

    values: np.ndarray
    affine: np.ndarray | None
    places: np.ndarray | None = None
    padded: np.ndarray | None = None
    steps: tuple[float, ...] | None = None
    across: float = 0.0
    along: float = 0.0
    unplaced: np.ndarray | None = None


def require(holds: Any, why: str) -> None:
    """Raise `NoAnswerError` unless the condition holds."""
    if not holds:
        raise NoAnswerError(why)


def numbers(text: str, count: int | None = None) -> list[float]:
    """Return strictly written finite numbers."""
    words = text.split()
    require(count is None or len(words) == count, f"{len(words)} numbers instead of {count}")
    require(
        all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word) for word in words), f"not numbers: {text!r}"
    )
    values = [float(word) for word in words]
    require(np.isfinite(values).all(), f"not finite: {text!r}")
    return values


def whole(text: str, count: int | None = None) -> list[int]:
    """Return strictly written whole numbers."""
    require(all(re.fullmatch(r"[+-]?\d+", word) for word in text.split()), f"not whole numbers: {text!r}")
    values = numbers(text, count)
    return [int(v) for v in values]


def beside(header: Path, name: str) -> bytes:
    """Return the content of a regular file in the folder of a header."""
    require(name and name == Path(name).name and name not in (".", ".."), f"{name!r} is outside the folder")
    path = header.parent / name
    require(path.is_file() and not path.is_symlink(), f"{name!r} is not a regular file")
    return path.read_bytes()


def inflated(content: bytes, size: int, window: int) -> bytes:
    """Return the content of one zlib or gzip stream with its checksum, and nothing after it."""
    stream = zlib.decompressobj(window)
    try:
        data = stream.decompress(content, size + 1)
        while not stream.eof and len(data) <= size and stream.unconsumed_tail:
            data += stream.decompress(stream.unconsumed_tail, size + 1 - len(data))
        if not stream.eof:
            data += stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise NoAnswerError(str(error)) from error
    require(stream.eof and not stream.unused_data, "the compressed stream does not end with the file")
    return data


def gunzipped(content: bytes) -> bytes:
    """Return the content of gzip members with their checksums."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise NoAnswerError(f"gzip: {error}") from error


def perpendicular(affine: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the largest deviation, in mm over the field, from perpendicular axes; raise if an axis has no length."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    require(np.isfinite(affine).all() and (lengths > 1e-6).all(), "no spacing")
    unit = affine[:3, :3] / lengths
    left, _, right = np.linalg.svd(unit)
    field = lengths * (np.array(shape[::-1]) - 1)
    return float(np.abs((unit - left @ right) @ np.diag(field)).max())


def volume(values: np.ndarray, affine: np.ndarray, **more: Any) -> Right:
    """Return a volume with its tolerance of a tenth of a voxel."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    skew = perpendicular(affine, values.shape)
    require(skew < 0.1 * lengths.max(), f"axes skewed by {skew:.2f} mm over the field")
    tolerance = 0.1 * float(lengths.max()) + 1e-5 * float(np.abs(affine[:3, 3]).max())
    return Right(values, affine, across=tolerance, along=tolerance, **more)


# -- NIfTI -----------------------------------------------------------------------------------------------------------


def read_nifti(path: Path) -> Right:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gunzipped(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nibabel.Nifti1Image.from_bytes(content)
            header = image.header
            start, kind = float(struct.unpack_from(header.endianness + "f", content, 108)[0]), header.get_data_dtype()
            shape = image.shape
            require(len(shape) >= 3 and all(n == 1 for n in shape[3:]) and min(shape) > 0, f"shape {shape}")
            require(kind.kind in "iuf" and kind.itemsize <= 8, f"type {kind}")
            require(int(header["bitpix"]) == kind.itemsize * 8, "bitpix is not that of the type")
            require(start >= 352 and start == int(start), f"voxels from byte {start}")
            require(len(content) == int(start) + math.prod(shape) * kind.itemsize, "length of the data")
            values = np.asarray(image.dataobj, dtype=np.float64).reshape(shape[:3]).T
            qform, sform = header.get_qform(coded=True), header.get_sform(coded=True)
            unit = int(header["xyzt_units"]) & 7
    except NoAnswerError:
        raise
    except Exception as error:
        raise NoAnswerError(f"nibabel: {type(error).__name__}: {error}") from error
    require(content[344:348] == b"n+1\0", "magic")
    require(unit in (0, 1, 2, 3), f"unit {unit}")
    require(np.isfinite(values).all(), "values that are not finite")
    scale = np.diag([{1: 1000.0, 3: 0.001}.get(unit, 1.0)] * 3 + [1.0])
    affines = [LPS_OF_RAS @ scale @ one[0] for one in (sform, qform) if one[0] is not None and one[1] > 0]
    if not affines:
        steps = tuple(float(abs(s)) * scale[0, 0] for s in header["pixdim"][1:4])
        require(np.isfinite(steps).all() and min(steps) > 0, "spacing")
        return Right(values, None, steps=steps)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(values.shape[::-1]) - 1)
    placed = [corners @ one[:3, :3].T + one[:3, 3] for one in affines]
    apart = float(np.abs(placed[0] - placed[-1]).max())
    require(apart < 0.1 * np.linalg.norm(affines[0][:3, :3], axis=0).max(), f"qform and sform are {apart:.2f} mm apart")
    return volume(values, affines[0])


# -- NRRD ------------------------------------------------------------------------------------------------------------

NRRD_TYPES = {
    "i1": "signed char;int8;int8_t", "u1": "uchar;unsigned char;uint8;uint8_t",
    "i2": "short;short int;signed short;signed short int;int16;int16_t",
    "u2": "ushort;unsigned short;unsigned short int;uint16;uint16_t",
    "i4": "int;signed int;int32;int32_t", "u4": "uint;unsigned int;uint32;uint32_t",
    "i8": "longlong;long long;long long int;signed long long;signed long long int;int64;int64_t",
    "u8": "ulonglong;unsigned long long;unsigned long long int;uint64;uint64_t", "f4": "float", "f8": "double",
}  # fmt: skip
NRRD_SPACES = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
NRRD_FIELDS = (
    "type",
    "dimension",
    "space",
    "space dimension",
    "sizes",
    "space directions",
    "kinds",
    "endian",
    "encoding",
    "space origin",
    "data file",
    "datafile",
    "spacings",
    "thicknesses",
    "axis mins",
    "axismins",
    "axis maxs",
    "axismaxs",
    "centers",
    "centerings",
    "labels",
    "units",
    "min",
    "max",
    "old min",
    "oldmin",
    "old max",
    "oldmax",
    "block size",
    "blocksize",
    "line skip",
    "lineskip",
    "byte skip",
    "byteskip",
    "number",
    "sample units",
    "sampleunits",
    "space units",
    "measurement frame",
    "content",
)


def nrrd_header(content: bytes) -> tuple[dict[str, str], list[str], list[str], bytes]:
    """Return the fields, keys, listed files and the rest of an NRRD file."""
    require(re.match(rb"NRRD000[0-5] *\r?\n", content), "magic")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    files: list[str] = []
    at = content.index(b"\n") + 1
    while at < len(content):
        end = content.find(b"\n", at)
        end = len(content) if end < 0 else end
        line = content[at:end].decode("latin-1").rstrip("\r")
        at = end + 1
        if not line:
            break
        if line.startswith("#"):
            continue
        if fields.get("data file", "").upper().startswith("LIST"):
            files += [line.strip()] if line.strip() else []
            continue
        key, _, value = line.partition(":=")
        field, separator, text = line.partition(": ")
        if ":=" in line and (not separator or len(key) < len(field)):
            require(keys.get(key, value) == value, f"{key} twice")
            keys[key] = value
            continue
        field = field.lower()
        require(":" in line, f"not a field: {line!r}")
        if field not in NRRD_FIELDS:
            continue  # a field that is lost is missed where it is needed
        field = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(field, field)
        require(fields.get(field, text.strip()) == text.strip(), f"{field} twice")
        fields[field] = text.strip()
    return fields, [f"{k}={v}" for k, v in keys.items()], files, content[at:]


def read_nrrd(path: Path) -> Right:
    fields, _, files, data = nrrd_header(path.read_bytes())
    for needed in ("type", "dimension", "sizes", "encoding"):
        require(needed in fields, f"no {needed}")
    kinds = [code for code, names in NRRD_TYPES.items() if fields["type"].lower() in names.split(";")]
    require(kinds, f"type {fields['type']}")
    kind = np.dtype(kinds[0])
    require(fields["dimension"] == "3", f"dimension {fields['dimension']}")
    sizes = whole(fields["sizes"], 3)
    require(min(sizes) > 0, f"sizes {sizes}")
    encoding = fields["encoding"].lower()
    length = math.prod(sizes) * kind.itemsize
    require(length < 1 << 30, "size")
    skips = [whole(fields.get(skip, "0"), 1)[0] for skip in ("line skip", "byte skip")]
    require(skips[0] >= 0 and skips[1] >= -1, "skips")

    def skipped(content: bytes) -> bytes:
        for _ in range(skips[0]):
            require(b"\n" in content, "lines to skip")
            content = content.split(b"\n", 1)[1]
        if encoding in ("gzip", "gz"):
            content = gunzipped(content)
        elif encoding in ("bzip2", "bz2"):
            try:
                content = bz2.decompress(content)
            except (OSError, ValueError) as error:
                raise NoAnswerError(f"bzip2: {error}") from error
        if skips[1] == -1:
            require(encoding == "raw" and len(content) >= length, "byte skip")
            return content[len(content) - length :]
        require(len(content) >= skips[1], "bytes to skip")
        return content[skips[1] :]

    named = fields.get("data file")
    if named is None:
        require(path.suffix != ".nhdr" or data, "no data")
        content = skipped(data)
    elif named.upper().startswith("LIST"):
        depth = whole(named[4:].strip() or "2", 1)[0]
        require(depth == 2 and len(files) == sizes[2], f"{len(files)} files for {sizes[2]} slices")
        parts = [skipped(beside(path, name)) for name in files]
        require(all(len(part) == length // sizes[2] for part in parts), "length of a file")
        content = b"".join(parts)
    else:
        require("%" not in named, "a pattern of files")
        content = skipped(beside(path, named))
    if encoding in ("ascii", "text", "txt"):
        words = content.decode("latin-1").split()
        require(len(words) == math.prod(sizes), f"{len(words)} values for {sizes}")
        given = np.array(numbers(" ".join(words)))
        if kind.kind in "iu":
            require((given == np.rint(given)).all(), "fractions in whole numbers")
            require(np.iinfo(kind).min <= given.min() and given.max() <= np.iinfo(kind).max, "beyond the type")
        values = given
    else:
        if encoding == "hex":
            digits = b"".join(content.split())
            require(re.fullmatch(rb"([0-9a-fA-F]{2})*", digits), "not hexadecimal")
            content = bytes.fromhex(digits.decode())
        else:
            require(encoding in ("raw", "gzip", "gz", "bzip2", "bz2"), f"encoding {encoding}")
        require(len(content) == length, f"{len(content)} bytes for {length}")
        order = fields.get("endian", "").lower()
        require(kind.itemsize == 1 or order in ("little", "big"), f"endian {order!r}")
        values = np.frombuffer(content, kind.newbyteorder(">" if order == "big" else "<")).astype(np.float64)
    values = values.reshape(sizes[::-1])
    require(np.isfinite(values).all(), "values that are not finite")
    for unit in re.findall(r'"([^"]*)"', fields.get("space units", "") + fields.get("units", "")):
        require(unit.strip().lower() in ("", "mm", "millimeter", "millimeters", "???"), f"unit {unit}")
    if "space directions" not in fields:
        require("space" not in fields and "space dimension" not in fields, "a space without directions")
        require("spacings" in fields, "no spacings")
        steps = numbers(fields["spacings"], 3)
        require(min(map(abs, steps)) > 0, "spacing 0")
        return Right(values, None, steps=tuple(map(abs, steps)))
    vectors = re.fullmatch(r"\s*\(([^()]*)\)\s*\(([^()]*)\)\s*\(([^()]*)\)\s*", fields["space directions"])
    require(vectors, f"space directions {fields['space directions']}")
    require("spacings" not in fields, "spacings and directions")
    assert vectors is not None
    axes = np.array([vector_of(one) for one in vectors.groups()]).T
    space = fields.get("space", "").lower()
    if space not in NRRD_SPACES:
        free = not space or space in ("scanner-xyz", "3d-right-handed", "3d-left-handed")
        require(free and fields.get("space dimension", "3") == "3", f"space {space!r}")
        perpendicular(np.vstack([np.column_stack([axes, np.zeros(3)]), [0, 0, 0, 1]]), values.shape)
        origin = re.fullmatch(r"\s*\(([^()]*)\)\s*", fields.get("space origin", ""))
        require(origin, f"space origin {fields.get('space origin')}")
        assert origin is not None
        unplaced = np.vstack([np.column_stack([axes, vector_of(origin[1])]), [0, 0, 0, 1]])
        return Right(values, None, steps=tuple(np.linalg.norm(axes, axis=0)), unplaced=unplaced)
    require(fields.get("space dimension", "3") == "3", "space and space dimension")
    origin = re.fullmatch(r"\s*\(([^()]*)\)\s*", fields.get("space origin", ""))
    require(origin, f"space origin {fields.get('space origin')}")
    assert origin is not None
    affine = np.vstack([np.column_stack([axes, vector_of(origin[1])]), [0, 0, 0, 1]])
    return volume(values, np.diag([*NRRD_SPACES[space], 1.0]) @ affine)


def vector_of(text: str) -> list[float]:
    words = text.split(",")
    require(len(words) == 3, f"vector {text!r}")
    return [numbers(word, 1)[0] for word in words]


# -- MetaImage -------------------------------------------------------------------------------------------------------

META_TYPES = {"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
              "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_LONG": "i4", "MET_ULONG": "u4",
              "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}  # fmt: skip
META_SAME = {"Position": "Offset", "Origin": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
             "ElementByteOrderMSB": "BinaryDataByteOrderMSB"}  # fmt: skip


def truth_of(text: str) -> bool:
    require(text.lower() in ("true", "false", "1", "0", "t", "f", "yes", "no"), f"not true or false: {text!r}")
    return text.lower() in ("true", "1", "t", "yes")


def read_meta(path: Path) -> Right:
    content = path.read_bytes()
    fields: dict[str, str] = {}
    stated: set[str] = set()
    at = 0
    while "ElementDataFile" not in fields:
        end = content.find(b"\n", at)
        require(at < len(content), "no ElementDataFile")
        end = len(content) if end < 0 else end
        line = content[at:end].decode("latin-1").strip()
        at = end + 1
        if not line:
            continue
        key, separator, text = line.partition("=")
        require(separator, f"not a field: {line[:40]!r}")
        require(key.strip() not in stated, f"{key} twice")
        stated.add(key.strip())
        key = META_SAME.get(key.strip(), key.strip())
        require(fields.get(key, text.strip()) == text.strip(), f"{key} twice")
        fields[key] = text.strip()
    for needed in ("NDims", "DimSize", "ElementType", "ElementSpacing", "Offset"):
        require(needed in fields, f"no {needed}")
    require(fields.get("ObjectType", "Image").lower() == "image", "not an image")
    require(whole(fields["NDims"], 1) == [3], f"NDims {fields['NDims']}")
    require(truth_of(fields.get("BinaryData", "True")), "text")
    require(fields.get("ElementNumberOfChannels", "1") == "1", "channels")
    require(fields.get("DistanceUnits", "mm") in ("mm", "?"), "units")
    for trap in ("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"):
        require(trap not in fields, trap)
    element = fields["ElementType"].upper()
    require(element in META_TYPES, f"type {element}")
    kind = np.dtype(META_TYPES[element])
    stated_sizes, spacing = numbers(fields["DimSize"], 3), numbers(fields["ElementSpacing"], 3)
    sizes = [int(n) for n in stated_sizes]
    require(sizes == stated_sizes, f"sizes {stated_sizes}")
    require(min(sizes) > 0 and min(spacing) > 0, f"sizes {sizes}, spacing {spacing}")
    offset = numbers(fields["Offset"], 3)
    matrix = np.reshape(numbers(fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1"), 9), (3, 3))
    big = truth_of(fields.get("BinaryDataByteOrderMSB", "False"))
    compressed = truth_of(fields.get("CompressedData", "False"))
    length = math.prod(sizes) * kind.itemsize
    require(length < 1 << 30, "size")
    skip = whole(fields.get("HeaderSize", "0"), 1)[0]
    require(skip >= -1, "HeaderSize")

    def unpacked(data: bytes, size: int) -> bytes:
        if compressed:
            require(skip == 0, "HeaderSize of compressed data")
            if "CompressedDataSize" in fields:
                size_of_data = whole(fields["CompressedDataSize"], 1)[0]
                require(0 < size_of_data <= len(data), "CompressedDataSize")
                data = data[:size_of_data]
            data = inflated(data, size, zlib.MAX_WBITS | 32)
        elif skip:
            data = data[-size:] if skip == -1 else data[skip:]
        require(len(data) == size, f"{len(data)} bytes for {size}")
        return data

    named = fields["ElementDataFile"]
    if named.upper() == "LOCAL":
        data = unpacked(content[at:], length)
    elif named.upper().startswith("LIST"):
        require(named.upper() == "LIST" or whole(named[4:], 1) == [2], "LIST of other than slices")
        names = [line.strip() for line in content[at:].decode("latin-1").splitlines() if line.strip()]
        require(len(names) == sizes[2] and not compressed, f"{len(names)} files for {sizes[2]} slices")
        data = b"".join(unpacked(beside(path, name), length // sizes[2]) for name in names)
    else:
        require("%" not in named, "a pattern of files")
        data = unpacked(beside(path, named), length)
    values = np.frombuffer(data, kind.newbyteorder(">" if big else "<")).astype(np.float64).reshape(sizes[::-1])
    require(np.isfinite(values).all(), "values that are not finite")
    norms = np.linalg.norm(matrix, axis=1)
    require(np.abs(norms - 1).max() < 2e-3, "directions that are no unit vectors")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix.T * spacing, offset  # a row of the matrix is the direction of an axis
    return volume(values, affine)


# -- PNG -------------------------------------------------------------------------------------------------------------


def read_png(path: Path) -> Right:
    beside_it = [path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01")]
    files = [f for f in (beside_it[0], path, beside_it[1]) if f == path or f.is_file()]
    slices = [png_grey(f.read_bytes()) for f in files]
    require(len({one.shape for one in slices}) == 1, "slices of different sizes")
    return Right(np.stack(slices).astype(np.float64), None)


def png_grey(content: bytes) -> np.ndarray:
    require(content[:8] == b"\x89PNG\r\n\x1a\n", "signature")
    at, chunks = 8, []
    while True:
        require(at + 12 <= len(content), "no IEND")
        length, name = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + length]
        require(len(body) == length, "a chunk beyond the end")
        checksum = struct.unpack_from(">I", content, at + 8 + length)[0] if at + 12 + length <= len(content) else None
        require(checksum == zlib.crc32(name + body), f"checksum of {name!r}")
        chunks.append((name, body))
        at += 12 + length
        if name == b"IEND":
            break
    require(chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13, "IHDR")
    require(len({body for name, body in chunks if name == b"IHDR"}) == 1, "two IHDR")
    # A chunk whose first letter is upper case is critical: who does not know it cannot read the picture.
    known = (b"IHDR", b"IDAT", b"IEND", b"PLTE")
    require(all(name in known or name[0] & 0x20 for name, _ in chunks), "an unknown critical chunk")
    at_idat = [i for i, (name, _) in enumerate(chunks) if name == b"IDAT"]
    require(at_idat and at_idat == list(range(at_idat[0], at_idat[-1] + 1)), "IDAT chunks apart")
    width, height, bits, colour, method, filters, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    require(bits == 8 and colour in (0, 2) and (method, filters) == (0, 0) and interlaced in (0, 1), "IHDR values")
    require(0 < width < 1 << 15 and 0 < height < 1 << 15, "size")
    stored = b"".join(body for name, body in chunks if name == b"IDAT")
    if not interlaced:
        size = height * (1 + width * (3 if colour == 2 else 1))
        lines = inflated(stored, size, zlib.MAX_WBITS)
        require(len(lines) == size, f"{len(lines)} bytes of lines for {size}")
        require(all(kind <= 4 for kind in lines[:: size // height]), "an unknown filter")
    try:
        # Without the chunks that do not belong to the picture, on whose faults Pillow fails.
        critical = b"".join(bases.chunk(name, body) for name, body in chunks if not name[0] & 0x20)
        pixels = np.asarray(Image.open(io.BytesIO(content[:8] + critical)))
    except Exception as error:
        raise NoAnswerError(f"Pillow: {error}") from error
    if pixels.ndim == 3:
        require(pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all(), "colours")
        pixels = pixels[..., 0]
    return pixels


# -- DICOM -----------------------------------------------------------------------------------------------------------

CT = "1.2.840.10008.5.1.4.1.1.2"
CT_CLASSES = (CT, f"{CT}.1", f"{CT}.2")
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


def dataset(path: Path) -> Any:
    """Return a DICOM file as pydicom reads it, with or without a preamble."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            d = pydicom.dcmread(path, force=True, defer_size=1 << 20)
            require(d.get("SOPClassUID"), f"{path.name}: no SOPClassUID")
    except NoAnswerError:
        raise
    except Exception as error:
        raise NoAnswerError(f"{path.name}: pydicom: {type(error).__name__}: {error}") from error
    return d


def text_of(d: Any, keyword: str) -> str:
    """Return an element as text; empty if pydicom cannot read it."""
    try:
        return str(d.get(keyword))
    except Exception:
        return ""


def single(d: Any, keyword: str, default: Any = None) -> Any:
    """Return a value that must not be multiple."""
    value = d.get(keyword, default)
    value = default if value in (None, "") else value
    require(isinstance(value, str) or not hasattr(value, "__len__"), f"{keyword} is {value!r}")
    return value


def real(d: Any, keyword: str, count: int | None = None) -> list[float]:
    value = d.get(keyword)
    require(value not in (None, ""), f"no {keyword}")
    several = [value] if count is None else list(value) if hasattr(value, "__len__") else [value]
    require(len(several) == (count or 1), f"{keyword} is {value!r}")
    try:
        found = [float(v) for v in several]
    except (TypeError, ValueError) as error:
        raise NoAnswerError(f"{keyword}: {error}") from error
    require(np.isfinite(found).all(), f"{keyword} is {value!r}")
    return found


def whole_of(d: Any, keyword: str, default: int | None = None) -> int:
    value = single(d, keyword, default)
    require(value is not None, f"no {keyword}")
    try:
        require(float(value) == int(value), f"{keyword} is {value!r}")
        return int(value)
    except (TypeError, ValueError) as error:
        raise NoAnswerError(f"{keyword}: {error}") from error


def stored_values(d: Any, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (frames, rows, columns) stored values, of BitsStored bits, and which are padding."""
    rows, columns = whole_of(d, "Rows"), whole_of(d, "Columns")
    allocated, stored = whole_of(d, "BitsAllocated"), whole_of(d, "BitsStored")
    high, signed = whole_of(d, "HighBit", stored - 1), whole_of(d, "PixelRepresentation")
    require(rows > 0 and columns > 0 and allocated in (8, 16, 32) and 0 < stored <= allocated, "bits or size")
    require(high == stored - 1 and signed in (0, 1), f"HighBit {high}, PixelRepresentation {signed}")
    require(whole_of(d, "SamplesPerPixel") == 1, "SamplesPerPixel")
    require(single(d, "PhotometricInterpretation") == "MONOCHROME2", "PhotometricInterpretation")
    require("PixelData" in d and "FloatPixelData" not in d, "PixelData")
    syntax = str(d.file_meta.get("TransferSyntaxUID", "") or "1.2.840.10008.1.2")
    if syntax in NATIVE:
        require(not d["PixelData"].is_undefined_length, "encapsulated pixels in a native syntax")
        length = frames * rows * columns * allocated // 8
        require(len(d.PixelData) == length + length % 2, f"{len(d.PixelData)} bytes of pixels for {length}")
        order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
        raw = np.frombuffer(d.PixelData[:length], f"{order}u{allocated // 8}").astype(np.int64)
    else:
        require(d["PixelData"].is_undefined_length, "native pixels in a compressed syntax")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", message=".*Bits Stored")  # the codestream has its own precision
                raw = d.pixel_array.astype(np.int64)
        except Exception as error:
            raise NoAnswerError(f"pydicom: {type(error).__name__}: {error}") from error
    whole = raw.reshape(frames, rows, columns)
    raw = whole & ((1 << stored) - 1)
    values = np.where(raw >> (stored - 1) & signed, raw - (1 << stored), raw)
    whole = np.where(whole >> (allocated - 1) & signed, whole - (1 << allocated), whole)
    return values, padding_of(d, values) | padding_of(d, whole)


def padding_of(d: Any, values: np.ndarray) -> np.ndarray:
    """Return which stored values are padding, which may use the bits above BitsStored."""
    if d.get("PixelPaddingValue") in (None, ""):
        return np.zeros(values.shape, bool)
    signed, stored = whole_of(d, "PixelRepresentation"), whole_of(d, "BitsStored")

    def limit(keyword: str) -> int:
        number = whole_of(d, keyword)
        if signed and number > (1 << 15) - 1:
            number -= 1 << 16
        return number + (1 << 16) if not signed and number < 0 else number

    first = limit("PixelPaddingValue")
    last = limit("PixelPaddingRangeLimit") if d.get("PixelPaddingRangeLimit") not in (None, "") else first
    require(stored <= 16, "padding of long values")
    low, high = min(first, last), max(first, last)
    return (values >= low) & (values <= high)


def rescale_of(item: Any) -> tuple[float, float]:
    slope, intercept = real(item, "RescaleSlope")[0], real(item, "RescaleIntercept")[0]
    require(slope != 0, "RescaleSlope is 0")
    require(single(item, "RescaleType", "HU") in ("HU", "HU_MOD", "US"), "RescaleType")
    return slope, intercept


def plane_places(
    position: list[float], orientation: list[float], pixel: list[float], shape: tuple[int, int]
) -> np.ndarray:
    """Return (rows, columns, 3) LPS mm."""
    along_x, along_y = np.array(orientation[:3]), np.array(orientation[3:])
    gram = (along_x @ along_x, along_y @ along_y, along_x @ along_y)
    require(np.allclose(gram, (1, 1, 0), atol=2.5e-3) and min(pixel) > 0, "orientation or pixel spacing")
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return position + rows[..., None] * along_y * pixel[0] + columns[..., None] * along_x * pixel[1]


def stacked(planes: list[tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]]) -> Right:
    """Return slices in the order of their positions; each is its values, padding, places and orientation."""
    normal = np.cross(planes[0][3][:3], planes[0][3][3:])
    require(len({one[0].shape for one in planes}) == 1, "slices of different sizes")
    planes = sorted(planes, key=lambda one: float(one[2][0, 0] @ normal))
    values, padded, places = (np.stack([one[i] for one in planes]) for i in range(3))
    along = places[:, 0, 0] @ normal
    step = float(along[-1] - along[0]) / (len(along) - 1) if len(along) > 1 else 1.0
    pixel = max(float(np.linalg.norm(places[0, 0, 1] - places[0, 0, 0])) if places.shape[2] > 1 else 1.0, 0.1)
    axes = np.column_stack([planes[0][3][:3], planes[0][3][3:], normal])
    field = float(np.ptp(places.reshape(-1, 3), axis=0).max())
    affine = np.eye(4)
    affine[:3, :3] = axes
    # Positions of real series are rounded: an even grid is right within these tolerances.
    noise = 2e-3 * field + 1e-5 * float(np.abs(places).max())
    return Right(values.astype(np.float64), affine, places, padded, across=1.05 * pixel + noise,
                 along=max(0.1, 0.02 * abs(step)) * 1.1 + noise)  # fmt: skip


def read_dicom(path: Path) -> Right:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_dicom(path)
    except NoAnswerError:
        raise
    except Exception as error:  # pydicom converts values when they are used
        raise NoAnswerError(f"pydicom: {type(error).__name__}: {error}") from error


def _read_dicom(path: Path) -> Right:
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    files = [f for f in files if f.suffix.lower() not in (".txt", ".json", ".md") and f.name.upper() != "DICOMDIR"]
    found = [dataset(f) for f in files]
    slices = [
        d
        for d in found
        # A file that is named is read as what it contains.
        if (str(d.SOPClassUID) in CT_CLASSES or path.is_file())
        and single(d, "Modality") == "CT"
        and (path.is_file() or "LOCALIZER" not in (d.get("ImageType") or ()))
    ]
    require(slices, "no CT")
    require(len({str(d.get("SeriesInstanceUID")) for d in slices}) == 1, "several series")
    series = slices[0].get("SeriesInstanceUID")
    require(series, "no SeriesInstanceUID")
    for d in found:
        localizer = "LOCALIZER" in (d.get("ImageType") or ())
        require(
            any(d is one for one in slices) or localizer or d.get("SeriesInstanceUID") != series,
            "a file of another kind",
        )
    for keyword in ("AcquisitionNumber", "ConvolutionKernel", "AcquisitionTime"):
        groups = [text_of(d, keyword) for d in slices]
        counts = {value: groups.count(value) for value in groups}
        require(len(counts) == 1 or min(counts.values()) == 1, f"{keyword}: {counts}")
    if any(str(d.SOPClassUID) != CT or (whole_of(d, "NumberOfFrames", 1) or 1) != 1 for d in slices):
        require(len(slices) == 1, "several multi-frame files")
        return frames_of(slices[0])
    planes = []
    for d in slices:
        values, padded = (one[0] for one in stored_values(d, 1))
        require("ModalityLUTSequence" not in d, "ModalityLUTSequence")
        slope, intercept = rescale_of(d)
        orientation = real(d, "ImageOrientationPatient", 6)
        places = plane_places(real(d, "ImagePositionPatient", 3), orientation, real(d, "PixelSpacing", 2), values.shape)
        planes.append((values * slope + intercept, padded, places, orientation))
    frames = {str(d.get("FrameOfReferenceUID") or "") for d in slices}
    require(len(frames) == 1, "several frames of reference")
    return stacked(planes)


def group_of(d: Any, frame: int, name: str) -> Any:
    for groups in (d.PerFrameFunctionalGroupsSequence[frame], *(d.get("SharedFunctionalGroupsSequence") or ())):
        if groups.get(name):
            return groups[name].value[0]
    raise NoAnswerError(f"no {name}")


def frames_of(d: Any) -> Right:
    count = whole_of(d, "NumberOfFrames", 1)
    groups = d.get("PerFrameFunctionalGroupsSequence") or ()
    require(0 < count == len(groups), f"{count} frames, {len(groups)} groups")
    values, padded = stored_values(d, count)
    planes = []
    try:
        for k in range(count):
            slope, intercept = rescale_of(group_of(d, k, "PixelValueTransformationSequence"))
            for keyword, number in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
                if d.get(keyword) not in (None, ""):
                    require(real(d, keyword)[0] == number, f"{keyword} at the top level")
            orientation = real(group_of(d, k, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
            position = real(group_of(d, k, "PlanePositionSequence"), "ImagePositionPatient", 3)
            pixel = real(group_of(d, k, "PixelMeasuresSequence"), "PixelSpacing", 2)
            places = plane_places(position, orientation, pixel, values[k].shape)
            planes.append((values[k] * slope + intercept, padded[k], places, orientation))
    except (AttributeError, TypeError, KeyError, IndexError) as error:
        raise NoAnswerError(f"{type(error).__name__}: {error}") from error
    return stacked(planes)


# -- ROIs ------------------------------------------------------------------------------------------------------------


@dataclass
class Points:
    """(n, 3) LPS mm of an ROI's voxels, with a tolerance in mm; `either` may belong to the ROI or not.

    `assumed`: the file does not state which side is left, and LPS was taken.
    """

    inside: np.ndarray
    tolerance: float
    either: np.ndarray | None = None
    assumed: bool = False


def read_roi(path: Path, segment: str | int | None) -> Points:
    """Return the voxels of an ROI."""
    if path.suffix == ".dcm":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                d = dataset(path)
                return contour_points(d, segment) if str(d.SOPClassUID) == RTSTRUCT else seg_points(d, segment)
        except NoAnswerError:
            raise
        except Exception as error:  # pydicom converts values when they are used
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
    right = reader_of(path)(path)
    affine = right.affine if right.affine is not None else right.unplaced
    require(affine is not None, "an ROI without positions")
    assert affine is not None
    values = right.values
    number: float | None = None
    if path.name.endswith(".seg.nrrd"):
        number = slicer_label(path, segment)
    found = np.rint(values)
    require(np.abs(values - found).max() <= 1e-3, "values that are not labels")
    require(found.min() >= 0, "negative values")
    if number is None:
        present = [v for v in np.unique(found) if v != 0]
        require(len(present) == 1, f"labels {present}")
        number = present[0]
    index = np.argwhere(found == number)[:, ::-1]
    require(len(index), "an empty ROI")
    tolerance = right.across or 0.1 * float(np.linalg.norm(affine[:3, :3], axis=0).max())
    return Points(index @ affine[:3, :3].T + affine[:3, 3], tolerance, assumed=right.affine is None)


def slicer_label(path: Path, segment: str | int | None) -> float | None:
    _, keys, _, _ = nrrd_header(path.read_bytes())
    values = dict(key.split("=", 1) for key in keys)
    names = {m[1]: v for k, v in values.items() if (m := re.fullmatch(r"Segment(\d+)_Name", k))}
    wanted = [n for n, v in names.items() if v.strip().casefold() == str(segment).casefold()]
    if not names and segment is not None:
        raise NoAnswerError("no segment of this name")
    require(len(wanted) == 1, f"segments {names}")
    require(values.get(f"Segment{wanted[0]}_Layer", "0").strip() == "0", "layer")
    return float(whole(values.get(f"Segment{wanted[0]}_LabelValue", "1"), 1)[0])


def seg_points(d: Any, segment: str | int | None) -> Points:
    kind = single(d, "SegmentationType")
    rows, columns, count = whole_of(d, "Rows"), whole_of(d, "Columns"), whole_of(d, "NumberOfFrames", 1)
    size, bits = rows * columns, whole_of(d, "BitsAllocated")
    kind = kind or ("BINARY" if bits == 1 else None)
    require(size > 0 and count > 0 and "PixelData" in d, "no frames")
    described = [(int(s.SegmentNumber), str(s.get("SegmentLabel")).strip().casefold()) for s in d.SegmentSequence]
    described = [one for one in described if one[0] != 0]
    wanted = [n for n, label in described if segment is None or label == str(segment).casefold()]
    require(len(wanted) == 1, f"segments {described}")
    groups = d.PerFrameFunctionalGroupsSequence
    require(len(groups) == count, f"{count} frames, {len(groups)} groups")
    require(str(d.file_meta.TransferSyntaxUID) in NATIVE, "a compressed SEG")
    length = math.ceil(count * size * bits / 8)
    require(len(d.PixelData) == length + length % 2, f"{len(d.PixelData)} bytes for {length}")
    raw = np.frombuffer(d.PixelData[:length], np.uint8 if bits <= 8 else f"<u{bits // 8}")
    if bits == 1:
        raw = np.unpackbits(raw, bitorder="little")[: count * size]
    frames = raw.reshape(count, rows, columns)
    if kind == "FRACTIONAL":
        most = whole_of(d, "MaximumFractionalValue")
        require(bits == 8 and frames.max() <= most, "fractions above 1")
        frames = frames / most >= 0.5
    points, tolerance, seen = [], 0.1, set()
    for k in range(count):
        if kind == "LABELMAP":
            drawn = frames[k] == wanted[0]
        else:
            require(kind in ("BINARY", "FRACTIONAL"), f"kind {kind}")
            require(kind == "FRACTIONAL" or frames[k].max() <= 1, "a binary value above 1")
            number = whole_of(group_of(d, k, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
            if number != wanted[0]:
                require(number in [n for n, _ in described], f"a frame of segment {number}, which is not described")
                continue
            drawn = frames[k].astype(bool)
        orientation = real(group_of(d, k, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        position = real(group_of(d, k, "PlanePositionSequence"), "ImagePositionPatient", 3)
        pixel = real(group_of(d, k, "PixelMeasuresSequence"), "PixelSpacing", 2)
        require(tuple(position) not in seen, "two frames at one position")
        seen.add(tuple(position))
        points.append(plane_places(position, orientation, pixel, drawn.shape)[drawn])
        tolerance = max(0.15 * max(pixel), tolerance)
    require(points, "no frame of the segment")
    together = np.concatenate(points)
    require(len(together), "an empty segment")
    return Points(together, tolerance)


RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def contour_points(d: Any, segment: str | int | None) -> Points:
    """Return the voxels of the synthetic CT whose centres lie in an odd number of contours."""
    described = {whole_of(roi, "ROINumber"): str(roi.get("ROIName") or "") for roi in d.StructureSetROISequence}
    require(len(described) == len(d.StructureSetROISequence), "two ROIs with one number")
    wanted = [n for n, label in described.items() if label.strip().casefold() == str(segment).casefold()]
    require(len(wanted) == 1, f"ROIs {described}")
    drawn = [item for item in d.ROIContourSequence if whole_of(item, "ReferencedROINumber") == wanted[0]]
    require(len(drawn) == 1, "contours of the ROI")
    depth, rows, columns = bases.SIZE
    y, x = np.mgrid[:rows, :columns]
    inside, near = np.zeros(bases.SIZE, bool), np.zeros(bases.SIZE, bool)
    for contour in drawn[0].ContourSequence:
        values = [float(v) for v in contour.ContourData]
        require(single(contour, "ContourGeometricType") in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"), "type of a contour")
        require(len(values) % 3 == 0 and np.isfinite(values).all(), "corners")
        require(whole_of(contour, "NumberOfContourPoints", len(values) // 3) * 3 == len(values), "number of corners")
        require(not any(float(v) for v in contour.get("ContourOffsetVector") or ()), "ContourOffsetVector")
        corners = (np.reshape(values, (-1, 3)) - bases.ORIGIN) / bases.SPACING
        if len(corners) < 3:
            continue
        k = int(np.rint(corners[:, 2].mean()))
        require(0 <= k < depth and np.abs(corners[:, 2] - k).max() < 0.3, "a contour between slices")
        require(((corners[:, :2] > -0.6) & (corners[:, :2] < np.array([columns, rows]) - 0.4)).all(), "outside the CT")
        odd = np.zeros((rows, columns), bool)
        for (x0, y0, _), (x1, y1, _) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            along = np.array([x1 - x0, y1 - y0])
            part = np.clip(((x - x0) * along[0] + (y - y0) * along[1]) / max(along @ along, 1e-12), 0, 1)
            near[k] |= np.hypot(x - x0 - part * along[0], y - y0 - part * along[1]) < 0.02
            if y0 != y1:
                crossing = (y0 > y) != (y1 > y)
                odd ^= crossing & (x < x0 + (y - y0) * along[0] / along[1])
        inside[k] ^= odd
    require(inside.any(), "an empty ROI")

    def points(of: np.ndarray) -> np.ndarray:
        return np.argwhere(of)[:, ::-1] * bases.SPACING + bases.ORIGIN

    return Points(points(inside & ~near), 0.5, points(near))


def reader_of(path: Path) -> Any:
    """Return the reader of a path, by the same rule as the library: its suffix."""
    name = path.name.lower()
    if path.is_dir():
        return read_dicom
    for ends, reader in (((".nii", ".nii.gz"), read_nifti), ((".nrrd", ".nhdr"), read_nrrd),
                         ((".mha", ".mhd"), read_meta), ((".png",), read_png)):  # fmt: skip
        if name.endswith(ends):
            return reader
    return read_dicom
