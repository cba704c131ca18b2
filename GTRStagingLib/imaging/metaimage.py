"""Read the header of a MetaImage file (.mha, .mhd)."""

import re
from pathlib import Path

import numpy as np

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.stored import Encoding, Part, StoredVolume
from GTRStagingLib.support.detached import file_within, read_text_header

_KINDS = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_ALIASES = {
    "TransformMatrix": ("TransformMatrix", "Rotation", "Orientation"),
    "Offset": ("Offset", "Position", "Origin"),
    "BinaryDataByteOrderMSB": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
}
_NEUTRAL = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?nan|[-+]?inf(?:inity)?"
_ASSUMED = "The MetaImage header does not state which side is left; the orientation is assumed."


def read_header(path: Path) -> StoredVolume:
    """Read the header of a MetaImage file, with its voxels in the file or in others.

    Raises
    ------
    InputError
        If the header is damaged or incomplete.
    GeometryError
        If spacing or position are missing.
    """
    name = path.name
    text = read_text_header(path)
    fields: dict[str, str] = {}
    for line in text.lines:
        key, equals, value = (one.strip() for one in line.partition("="))
        if not equals and line.strip():
            raise InputError(
                f"{name} has the header line '{line.strip()[:40]}'; expected 'Key = value'. The file is damaged or no "
                "MetaImage: convert it again."
            )
        if key in fields:
            raise _invalid(name, key, "stated twice")
        if key:
            fields[key] = value
    if "ElementDataFile" not in fields or fields.get("ObjectType", "Image").lower() != "image":
        raise InputError(
            f"{name} has no MetaImage header that ends in ElementDataFile; expected one by its name. Convert the file "
            "again."
        )
    rank = _whole(fields, "NDims", name)
    if not 2 <= rank <= 4:
        raise InputError(f"{name} has NDims {rank}; expected 3 dimensions. Convert the file again.")
    stated = _numbers(fields, "DimSize", rank, name)
    if not all(n.is_integer() for n in stated):  # false for infinity and NaN
        raise _invalid(name, "DimSize", fields["DimSize"])
    sizes = tuple(int(n) for n in stated)
    element = fields.get("ElementType", "(missing)")
    if element.upper() not in _KINDS:
        raise _invalid(name, "ElementType", element)
    for key, neutral in _NEUTRAL.items():
        if key in fields and _numbers(fields, key, 1, name) != [neutral]:
            raise InputError(
                f"{name} has {key} {fields[key][:40]}; expected {neutral:g}, stored HU. Convert the scan from DICOM."
            )
    if fields.get("DistanceUnits", "mm").lower() not in ("mm", "?", ""):
        raise GeometryError(
            f"{name} has the unit '{fields['DistanceUnits'][:20]}'; expected mm. Convert the scan again."
        )
    steps, origin, warnings = _place(fields, rank, name)
    binary = _flag(fields, "BinaryData", name)
    compressed = _flag(fields, "CompressedData", name)
    msb = _flag(fields, _key(fields, "BinaryDataByteOrderMSB", name), name)
    if compressed and binary is False:
        raise InputError(
            f"{name} has CompressedData True and BinaryData False; expected compressed voxels to be binary. The header "
            "is damaged: convert the file again."
        )
    encoding: Encoding = "zlib" if compressed else "raw" if binary is not False else "ascii"
    kind = np.dtype(_KINDS[element.upper()])
    if msb is None and kind.itemsize > 1 and encoding != "ascii":
        raise InputError(
            f"{name} has no field BinaryDataByteOrderMSB; expected True or False, the order of the bytes. Convert the "
            "file again."
        )
    return StoredVolume(
        name=name,
        sizes=sizes,
        kind=kind.newbyteorder(">" if msb and encoding != "ascii" else "<"),
        steps=steps,
        origin=origin,
        parts=_parts(path, fields, bool(compressed), encoding == "ascii", text.length, text.data_files),
        encoding=encoding,
        channels=_whole(fields, "ElementNumberOfChannels", name, 1),
        warnings=warnings,
    )


def _invalid(name: str, key: str, value: str) -> InputError:
    return InputError(
        f"{name} has the MetaImage field {key[:40]} with the value '{value[:60]}'; expected a value by the format's "
        "definition. Convert the file again."
    )


def _key(fields: dict[str, str], key: str, name: str) -> str:
    """Return the name under which a field is present; raise `InputError` if it is there under several."""
    present = [alias for alias in _ALIASES[key] if alias in fields]
    if len({fields[alias] for alias in present}) > 1:
        raise _invalid(name, " and ".join(present), "contradictory")
    return present[0] if present else key


def _numbers(fields: dict[str, str], key: str, count: int, name: str) -> list[float]:
    words = fields.get(key, "").split()
    if key not in fields:
        kind = GeometryError if key in ("ElementSpacing", "Offset") else InputError
        raise kind(f"{name} has no field {key}; expected it in a MetaImage header. Convert the file again.")
    if len(words) != count or not all(re.fullmatch(_NUMBER, word, re.IGNORECASE) for word in words):
        raise InputError(
            f"{name} has {key} '{fields[key][:60]}'; expected {count} numbers, with a decimal point. Convert the file "
            "again."
        )
    return [float(word) for word in words]


def _whole(fields: dict[str, str], key: str, name: str, default: int | None = None) -> int:
    text = fields.get(key, None if default is None else str(default))
    if text is None or not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise InputError(
            f"{name} has {key} '{(text or '')[:40]}'; expected a whole number. The header is damaged: convert the file "
            "again."
        )
    return int(text)


def _flag(fields: dict[str, str], key: str, name: str) -> bool | None:
    """Return a field that is True or False; None if it is missing."""
    if key not in fields:
        return None
    value = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}.get(fields[key].lower())
    if value is None:
        raise _invalid(name, key, fields[key])
    return value


def _place(fields: dict[str, str], rank: int, name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the (n, n) steps and the (n,) origin in LPS mm, and warnings."""
    spacing = np.array(_numbers(fields, "ElementSpacing", rank, name))
    at = _key(fields, "Offset", name)
    origin = np.array(_numbers(fields, at, rank, name))
    matrix = _key(fields, "TransformMatrix", name)
    if matrix not in fields:
        return np.diag(spacing), origin, (_ASSUMED,)
    axes = np.reshape(_numbers(fields, matrix, rank * rank, name), (rank, rank))  # each row is the direction of an axis
    lengths = np.linalg.norm(axes, axis=1)
    if not np.allclose(lengths, 1, atol=1e-3):
        raise GeometryError(
            f"{name}: {matrix} '{fields[matrix][:80]}' has axes that are not of length 1; expected direction cosines. "
            "Convert the scan again from DICOM."
        )
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise GeometryError(
            f"{name}: a spacing is 0 or not a number ({fields['ElementSpacing'][:60]} mm); expected numbers above 0. "
            "Convert the scan again from DICOM."
        )
    return (axes / lengths[:, np.newaxis]).T * spacing, origin, ()


def _parts(
    path: Path, fields: dict[str, str], compressed: bool, ascii_: bool, attached: int, named: tuple[str, ...] | None
) -> tuple[Part, ...]:
    skip = _whole(fields, "HeaderSize", path.name, 0)
    if skip < -1 or (skip == -1 and (compressed or ascii_)):
        raise _invalid(path.name, "HeaderSize", fields["HeaderSize"])
    length = None
    if compressed:
        length = _whole(fields, "CompressedDataSize", path.name)
        if length < 1 or (named is not None and len(named) != 1):
            raise _invalid(path.name, "CompressedDataSize", f"{length}, {len(named or ())} data files")
    if named is None:
        start = attached if skip == 0 else None if skip == -1 else skip
        return (Part(path, start, length),)
    start = None if skip == -1 else skip
    return tuple(Part(file_within(path, one), start, length) for one in named)
