"""The files of a case: what it is read from, how those looked, and what is written of it."""

from collections.abc import Iterable
from pathlib import Path

OUTPUTS = ("attention.nrrd", "overlay.png", "report.html", "result.json")
"""In the order in which they take their places: where result.json stands, all of them do, and are one case's."""

Look = list[list[str | int]]
"""[name, size, times of change in ns] of each file: what tells, without reading them, that they are the same."""


def files_of(path: Path) -> list[Path]:
    """The files that a CT or an ROI is read from; none where nothing is there."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    if path.suffix.lower() in (".mhd", ".nhdr"):  # the voxels lie in a file beside the header
        return sorted(path.parent.glob(f"{path.stem}.*"))
    beside = [path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01")]
    neighbours = beside if path.suffix.lower() == ".png" else []
    return [one for one in (path, *neighbours) if one.is_file()]


def look_of(paths: Iterable[Path], *, strict: bool = False) -> Look:
    """How the files of some paths look.

    Parameters
    ----------
    strict
        Note as well when the file's entry changed, which no program sets at will: a copy looks different then, and so
        does a file that was changed and given its old date.
    """
    stats = [(one.name, one.stat()) for path in paths for one in files_of(path)]
    if strict:
        return [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


__all__ = ["OUTPUTS", "Look", "files_of", "look_of"]
