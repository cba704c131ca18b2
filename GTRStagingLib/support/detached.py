"""Name the data files that the header of an NRRD or MetaImage file refers to.

The header decides whether the voxels are in other files, not the suffix: an `.mha` or `.nrrd` may refer to data files
too.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from GTRStagingLib.errors import InputError

HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Suffixes of files that begin with a text header, which may refer to data files."""

MAX_HEADER = 16 * 2**20
"""Largest text header, in bytes; those of segmentations with many segments have some thousand."""

MAX_FILES = 10_000
"""Largest number of data files of one header."""

_PATTERN = re.compile(r"([^%]*)%(0?)(\d{0,2})d([^%]*)")


class TextHeader(NamedTuple):
    """Text header: its lines, its length in bytes, and the names of its data files (None if the voxels follow)."""

    lines: tuple[str, ...]
    length: int
    data_files: tuple[str, ...] | None


def read_text_header(path: Path) -> TextHeader:
    """Read the text header of an NRRD or MetaImage file.

    `lines` ends before the list of data files.

    Raises
    ------
    InputError
        If the header has no end, or its list of data files is invalid.
    """
    with path.open("rb") as file:
        nrrd = file.read(4) == b"NRRD"
        file.seek(0)
        lines, named = [], None
        for line in _lines(file, path.name):
            if nrrd and not line:
                break
            lines.append(line)
            named = re.fullmatch(r"data ?file:\s*(.*)" if nrrd else r"ElementDataFile\s*=\s*(.*)", line, re.IGNORECASE)
            if named and (not nrrd or named[1].upper().split()[:1] == ["LIST"]):
                break
        length = file.tell()
        listed = named is not None and named[1].upper().split()[:1] == ["LIST"]
        following = [line for line in _lines(file, path.name) if line] if listed else []
    found = [re.fullmatch(r"data ?file:\s*(.*)", line, re.IGNORECASE) for line in lines] if nrrd else [named]
    values = list(dict.fromkeys(one[1] for one in found if one))
    if len(values) > 1:
        raise InputError(
            f"{path.name} refers to data files twice ('{values[0]}' and '{values[1]}'); expected one field. Convert "
            "the file again."
        )
    value = values[0] if values else None
    if value is None or (not nrrd and value.upper() == "LOCAL"):
        return TextHeader(tuple(lines), length, None)
    return TextHeader(tuple(lines), length, _names(value, following, path.name))


def file_within(header: Path, name: str) -> Path:
    """Return the path of a header's data file.

    Raises
    ------
    InputError
        Unless it is a regular file in the folder of the header or below.
    """
    asked = PurePosixPath(name.replace("\\", "/"))
    shown = f"{header.name} refers to the data file '{asked.name}'"
    leaves = asked.is_absolute() or PureWindowsPath(name).drive or ".." in asked.parts or "\0" in name
    path = header.parent / asked
    try:
        if leaves or not path.resolve().is_relative_to(header.parent.resolve()):
            raise InputError(
                f"{shown} outside its own folder; expected a file beside the header. Copy the data file there, and "
                "write its name without a path into the header."
            )
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shown}, which is missing or unreadable; expected it beside the header. Copy all files of the volume."
        ) from error
    if not stat.S_ISREG(mode) or not os.access(path, os.R_OK):
        raise InputError(f"{shown}, which is not a readable regular file; expected one. Copy the volume again.")
    return path


def data_files(path: Path) -> list[Path]:
    """Return the existing data files that a file's header refers to; empty if the voxels are in the file itself.

    If the header refers to data files that cannot be named, all files of its folder are returned.
    """
    if path.suffix.lower() not in HEADERS or not path.is_file():
        return []
    try:
        names = read_text_header(path).data_files
    except (InputError, OSError):
        names = ()
    found = []
    for name in names or ():
        try:
            found.append(file_within(path, name))
        except InputError:
            continue  # the reader refuses it
    if found or names is None:
        return found
    return [one for one in path.parent.iterdir() if one.is_file() and one != path]


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    while True:
        line = file.readline(MAX_HEADER + 1)
        if file.tell() > MAX_HEADER and not line.endswith(b"\n"):
            raise InputError(
                f"{name} has no end of its header in the first {MAX_HEADER // 2**20} MiB; expected a text header. The "
                "file is damaged or of another type: convert it again."
            )
        if not line:
            return
        yield line.decode(errors="replace").strip("\r\n").rstrip()


def _names(value: str, following: Sequence[str], name: str) -> tuple[str, ...]:
    first, *rest = value.split() or [""]
    if first.upper() == "LIST":
        if rest and not re.fullmatch("[1-9]", " ".join(rest)):
            raise InputError(
                f"{name} has the list of data files '{value}'; expected LIST, or LIST and the dimension of each file. "
                "Save the volume in one file."
            )
        names = tuple(following)
    elif "%" in value:
        pattern = _PATTERN.fullmatch(first)
        numbers = [int(one) for one in rest if re.fullmatch(r"-?[0-9]{1,9}", one)]
        if pattern is None or len(numbers) != len(rest) or len(numbers) < 2 or (numbers[2:3] or [1]) == [0]:
            raise InputError(
                f"{name} has the pattern of data files '{value}'; expected one such as 'slice%03d.raw 1 20 1'. Save "
                "the volume in one file."
            )
        low, high, step = (*numbers, 1)[:3] if len(numbers) == 2 else numbers[:3]
        indices = range(low, high + (1 if step > 0 else -1), step)
        if len(indices) > MAX_FILES:
            indices = range(MAX_FILES + 1)
        before, zero, width, after = pattern.groups()
        names = tuple(f"{before}{index:{zero}{width}d}{after}" for index in indices)
    else:
        names = (value,)
    if not 1 <= len(names) <= MAX_FILES or not all(names):
        raise InputError(
            f"{name} refers to {len(names) if value else 'no'} data files; expected 1 to {MAX_FILES}. Save the volume "
            "in one file."
        )
    return names


__all__ = ["HEADERS", "TextHeader", "data_files", "file_within", "read_text_header"]
