"""List the input files of a case, with their sizes and times of change, and the names of its output files."""

from collections.abc import Iterable
from pathlib import Path

from GTRStagingLib.support.detached import data_files

OUTPUTS = ("attention.nrrd", "overlay.png", "report.html", "result.json")
"""Output files of a case, in the order in which they are written: where result.json exists, all exist."""

DISAGREEMENT = "disagreement.nrrd"
"""Further output file of a case that was looked at several times."""

DICOM = "dicom"
"""Sub-folder of a case for its results as DICOM objects."""

DICOM_OUTPUTS = tuple(f"{DICOM}/{name}.dcm" for name in ("map", "region", "key-objects", "picture", "report"))
"""Files in that folder, those of `dicom_results.write.FILES`."""

FileStats = list[list[str | int]]
"""[name, size, times of change in ns] of each file: equal for unchanged files, without reading them."""


def input_files(path: Path) -> list[Path]:
    """Return the files that a CT or an ROI is read from; empty if the path does not exist."""
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    if found := data_files(path):
        return sorted({path, *found})
    beside = [path.with_name(f"{path.stem}_{offset}{path.suffix}") for offset in ("-01", "+01")]
    neighbours = beside if path.suffix.lower() == ".png" else []
    return [one for one in (path, *neighbours) if one.is_file()]


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


__all__ = ["DICOM", "DICOM_OUTPUTS", "DISAGREEMENT", "OUTPUTS", "FileStats", "file_stats", "input_files"]
