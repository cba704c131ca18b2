"""Read the header of an NRRD file by pynrrd, and what pynrrd accepts or alters."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.stored import Encoding, Part, StoredVolume
from GTRStagingLib.support.detached import file_within, read_text_header

_SPACES = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
}  # fmt: skip
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
    "ascii": "ascii", "text": "ascii", "txt": "ascii",
}  # fmt: skip
_KINDS = {
    name: code
    for code, names in {
        "i1": "signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(", ")
}
_UNKNOWN_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_MILLIMETRES = {"", "mm", "???", "none", "millimeter", "millimeters", "millimetre", "millimetres"}
_DOMAIN = {"domain", "space", "time", "???", "none"}
_VALUES = {
    "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "complex", "2-vector", "3-color",
    "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color", "3-vector", "3-gradient", "3-normal", "4-vector",
    "quaternion", "2d-symmetric-matrix", "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix",
    "3d-symmetric-matrix", "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix",
}  # fmt: skip
_WHOLE = ("sizes", "dimension", "space dimension", "line skip", "lineskip", "byte skip", "byteskip")
_NUMBERS = (*_WHOLE, "spacings", "space directions", "space origin")
_ASSUMED = "The NRRD header does not state which side is left; the orientation is assumed."


def read_header(path: Path) -> StoredVolume:
    """Read the header of an NRRD file, attached or detached.

    Raises
    ------
    InputError
        If the header is damaged, incomplete or of an unsupported kind.
    GeometryError
        If the spacing or the origin is missing or not a number.
    """
    from nrrd import read_header as parse

    name = path.name
    text = read_text_header(path)
    if not text.lines or not text.lines[0].startswith("NRRD"):
        raise InputError(f"{name} has no NRRD header; expected one by its name. Convert the file again.")
    lines, pairs = [text.lines[0]], {}
    for line in text.lines[1:]:
        key, colon, value = line.partition(":")
        if value.startswith("="):
            pairs[key] = value[1:].strip().replace("\\n", "\n").replace("\\\\", "\\")
        elif not line or line.startswith("#") or re.fullmatch(r"data ?file", key, re.IGNORECASE):
            continue
        elif not colon:
            raise _invalid(name, "", line)
        else:
            key = key.strip().lower()
            _require_numbers(key, value, name)
            lines.append(f"{key}: {value}")
    try:
        header: dict[str, Any] = dict(parse(lines))
    except Exception as error:  # pynrrd raises several kinds
        raise InputError(
            f"{name} has an invalid NRRD header ({type(error).__name__}: {str(error)[:100]}); expected one by the "
            "format's definition. Convert the file again."
        ) from error
    for needed in ("dimension", "type", "encoding", "sizes"):
        if needed not in header:
            raise InputError(f"{name} has no field '{needed}'; expected it in an NRRD header. Convert the file again.")
    kind = _kind(header, name)
    encoding = _ENCODINGS.get(str(header["encoding"]).lower())
    if encoding is None:
        raise _invalid(name, "encoding", str(header["encoding"]))
    sizes = tuple(int(n) for n in header["sizes"])
    if header["dimension"] != len(sizes) or not 1 <= len(sizes) <= 5 or min(sizes) < 1:
        raise InputError(
            f"{name} has dimension {header['dimension']} and size {sizes}; expected as many sizes above 0, of a 3-D "
            "volume. Convert the file again."
        )
    channels_axis = _channels_axis(header, len(sizes), name)
    domain = [axis for axis in range(len(sizes)) if axis != channels_axis]
    if channels_axis not in (None, 0, len(sizes) - 1):
        raise InputError(
            f"{name} has its values per voxel along axis {channels_axis}; expected the first or the last axis. Save "
            "the volume again."
        )
    steps, origin, warnings = _place(header, domain, name)
    return StoredVolume(
        name=name,
        sizes=tuple(sizes[axis] for axis in domain),
        kind=kind,
        steps=steps,
        origin=origin,
        parts=_parts(path, header, encoding, text.length, text.data_files),
        encoding=encoding,
        channels=1 if channels_axis is None else sizes[channels_axis],
        channels_last=channels_axis not in (None, 0),
        text=pairs,
        warnings=warnings,
    )


def _require_numbers(key: str, value: str, name: str) -> None:
    """Raise `InputError` where pynrrd would round a number, or take text that is not one."""
    whole = r"\s*-?[0-9]{1,18}(\s+[0-9]{1,18})*\s*"
    real = r"([-+0-9.eE() ,\t]|none|nan|inf)*"
    pattern = whole if key in _WHOLE else real if key in _NUMBERS else ".*"
    if not re.fullmatch(pattern, value, re.IGNORECASE | re.DOTALL):
        raise _invalid(name, key, value)


def _invalid(name: str, field: str, value: str) -> InputError:
    return InputError(
        f"{name} has the NRRD field '{field[:40]}' with the value '{value.strip()[:60]}'; expected a value by the "
        "format's definition. Convert the file again."
    )


def _kind(header: dict[str, Any], name: str) -> np.dtype:
    code = _KINDS.get(str(header["type"]).lower())
    if code is None:
        raise _invalid(name, "type", str(header["type"]))
    kind = np.dtype(code)
    if kind.itemsize == 1 or str(header["encoding"]).lower() in ("ascii", "text", "txt"):
        return kind
    order = {"little": "<", "big": ">"}.get(str(header.get("endian", "")).lower())
    if order is None:
        raise InputError(
            f"{name} has endian '{header.get('endian', '')}'; expected 'little' or 'big'. Convert the file again."
        )
    return kind.newbyteorder(order)  # type: ignore[arg-type]


def _channels_axis(header: dict[str, Any], rank: int, name: str) -> int | None:
    """Return the axis of the values per voxel: that without a direction in space, or of another kind than space."""
    kinds = [str(one).lower() for one in header.get("kinds", ["domain"] * rank)]
    directions = header.get("space directions")
    absent = [False] * rank if directions is None else [one is None or bool(np.isnan(one).all()) for one in directions]
    if len(kinds) != rank or len(absent) != rank:
        raise InputError(
            f"{name} has {len(kinds)} kinds and {len(absent)} space directions; expected {rank} of each. Convert the "
            "file again."
        )
    for axis, kind in enumerate(kinds):
        contradictory = directions is not None and kind in _VALUES and not absent[axis]
        if kind not in _DOMAIN | _VALUES or contradictory:
            raise _invalid(name, "kinds", f"{kind} of axis {axis}" + (" with a direction" if contradictory else ""))
    axes = [axis for axis in range(rank) if absent[axis] or kinds[axis] not in _DOMAIN]
    if len(axes) > 1:
        raise InputError(
            f"{name} has {len(axes)} axes without a direction in space; expected at most one. Save a 3-D volume."
        )
    return axes[0] if axes else None


def _place(header: dict[str, Any], domain: list[int], name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the (n, n) steps and the (n,) origin in LPS mm, and warnings."""
    timed = str(header.get("space", "")).lower() in ("rast", "last", "lpst") or "-time" in str(header.get("space", ""))
    space = str(header.get("space", "")).lower().removesuffix("-time")
    space = space[:3] if space in ("rast", "last", "lpst") else space
    if space and space not in _SPACES and space not in _UNKNOWN_SPACES:
        raise _invalid(name, "space", space)
    units = [str(one).lower() for key in ("space units", "units") for one in header.get(key, [])[:3]]
    if wrong := [one for one in units if one not in _MILLIMETRES]:
        raise GeometryError(
            f"{name} has the unit '{wrong[0][:20]}'; expected mm. Convert the scan again with spacing in mm."
        )
    signs = np.array(_SPACES.get(space, (1, 1, 1)), float)
    warnings = () if space in _SPACES else (_ASSUMED,)
    directions, spacings = header.get("space directions"), header.get("spacings")
    if directions is not None and spacings is not None and np.isfinite(np.asarray(spacings, float)).any():
        raise GeometryError(
            f"{name} has both 'spacings' and 'space directions'; expected one of them. Convert the scan again from "
            "DICOM."
        )
    if directions is None:
        if spacings is None or len(spacings) != len(header["sizes"]):
            raise GeometryError(
                f"{name} has no spacing; expected 'space directions' or 'spacings'. Convert the scan again from DICOM."
            )
        steps = np.diag(np.asarray(spacings, float)[domain])
    else:
        columns = [directions[axis] for axis in domain]
        if any(one is None for one in columns) or len({len(one) for one in columns}) != 1:
            raise GeometryError(f"{name} has no direction of an axis; expected one of each. Convert the scan again.")
        steps = np.array(columns, float).T
        if steps.shape[0] != steps.shape[1] and not (steps.shape == (3, 4) or steps.shape == (3, 2)):
            raise _invalid(name, "space directions", f"{steps.shape[1]} axes in {steps.shape[0]} dimensions")
    origin = header.get("space origin")
    if origin is None:
        if space or directions is not None:
            raise GeometryError(
                f"{name} has no space origin; expected the position of its first voxel. Convert the scan again from "
                "DICOM."
            )
        origin = np.zeros(len(steps))
    origin = np.asarray(origin, float)
    if len(origin) != len(steps):
        raise _invalid(name, "space origin", str(origin.tolist()))
    if space in _SPACES and len(origin) != (4 if timed else 3):
        raise _invalid(name, "space", f"{header['space']}, with {len(origin)} coordinates")
    n = min(3, *steps.shape)
    if steps.shape[0] == 3 and n == 2:  # one slice, placed in space
        normal = np.cross(steps[:, 0], steps[:, 1])
        steps = np.column_stack([steps, normal / (np.linalg.norm(normal) or 1.0)])
        n = 3
    return signs[:n, np.newaxis] * steps[:n, :n], signs[:n] * origin[:n], warnings


def _parts(
    path: Path, header: dict[str, Any], encoding: Encoding, attached: int, named: tuple[str, ...] | None
) -> tuple[Part, ...]:
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if lines < 0 or skip < -1 or (skip == -1 and (encoding != "raw" or lines)):
        raise _invalid(path.name, "byte skip", f"{skip}, line skip {lines}, encoding {encoding}")
    files = [(path, attached)] if named is None else [(file_within(path, one), 0) for one in named]
    parts = []
    for file, start in files:
        if lines:
            with file.open("rb") as stream:
                stream.seek(start)
                for _ in range(min(lines, 1_000_000)):
                    stream.readline(1 << 20)
                start = stream.tell()
        parts.append(Part(file, None if skip == -1 else start, skip=max(skip, 0)))
    return tuple(parts)
