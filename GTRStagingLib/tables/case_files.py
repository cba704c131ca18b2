"""The files of a case: what it is read from, how those looked, and what is written of it."""

import re
from collections.abc import Iterable
from pathlib import Path

OUTPUTS = ("attention.nrrd", "overlay.png", "report.html", "result.json")
"""In the order in which they take their places: where result.json stands, all of them do, and are one case's."""

IN_TWO_FILES = (".mhd", ".nhdr")
"""Headers whose voxels lie in another file."""

FileStats = list[list[str | int]]
"""[name, size, times of change in ns] of each file: what tells, without reading them, that they are the same."""


def input_files(path: Path) -> list[Path]:
    """The files that a CT or an ROI is read from; none where nothing is there."""
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
    """Where the voxels lie that a header speaks of: in the file that it names, or in any of its folder's."""
    said = header.read_bytes()[:65536].decode(errors="replace")
    named = _DATA_FILE.search(said)
    if named is not None and (header.parent / named[1]).is_file():
        return [header.parent / named[1]]
    return [one for one in header.parent.iterdir() if one.is_file()]  # a list, or a pattern of names


def file_stats(paths: Iterable[Path], *, strict: bool = False) -> FileStats:
    """How the files of some paths look.

    Parameters
    ----------
    strict
        Note as well which file it is to the system, and when its entry changed, which no program sets at will (on
        Windows it is when it was made): a copy looks different then, and so does a file with its old date set back.
    """
    stats = [(one.name, one.stat()) for path in paths for one in input_files(path)]
    if strict:
        return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


__all__ = ["IN_TWO_FILES", "OUTPUTS", "FileStats", "file_stats", "input_files"]
