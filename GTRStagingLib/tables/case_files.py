"""List the input files of a case, with their sizes and times of change, and the names of its output files."""

import re
from collections.abc import Iterable
from pathlib import Path

OUTPUTS = ("attention.nrrd", "overlay.png", "report.html", "result.json")
"""Output files of a case, in the order in which they are written: where result.json exists, all exist."""

IN_TWO_FILES = (".mhd", ".nhdr")
"""Suffixes of header files that store their voxels in another file."""

FileStats = list[list[str | int]]
"""[name, size, times of change in ns] of each file: equal for unchanged files, without reading them."""


def input_files(path: Path) -> list[Path]:
    """Return the files that a CT or an ROI is read from; empty if the path does not exist."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    if path.suffix.lower() in IN_TWO_FILES and path.is_file():
        return sorted({path, *_beside(path)})
    beside = [path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01")]
    neighbours = beside if path.suffix.lower() == ".png" else []
    return [one for one in (path, *neighbours) if one.is_file()]


_DATA_FILE = re.compile(
    r"^(?:ElementDataFile[ \t]*=|data ?file[ \t]*:)[ \t]*(\S.*?)[ \t\r]*$", re.IGNORECASE | re.MULTILINE
)


def _beside(header: Path) -> list[Path]:
    """Return the file of voxels that a header names, or all files of its folder if it names no single file."""
    text = header.read_bytes()[:65536].decode(errors="replace")
    named = _DATA_FILE.search(text)
    if named is not None and (header.parent / named[1]).is_file():
        return [header.parent / named[1]]
    return [one for one in header.parent.iterdir() if one.is_file()]  # the header has a list, or a pattern of names


def file_stats(paths: Iterable[Path], *, strict: bool = False) -> FileStats:
    """Return names, sizes and times of change of the files that CTs and ROIs are read from.

    Parameters
    ----------
    strict
        Also return the inode and the time of the inode's last change (on Windows, of its creation), which programs
        cannot set: a copy then differs from its original, and so does a changed file with its old date restored.
    """
    stats = [(one.name, one.stat()) for path in paths for one in input_files(path)]
    if strict:
        return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


__all__ = ["IN_TWO_FILES", "OUTPUTS", "FileStats", "file_stats", "input_files"]
