"""Seal a reader's folder by the hashes of its files, and find files that were changed afterwards."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json, sha256_of, write_json

MANIFEST = "manifest.json"
KIND = "reading manifest"

WRITTEN = 315_532_800
"""Time of all files that are handed out, 1980-01-01, so that none tells when and in which order it was made."""


def seal(folder: Path, later: Iterable[Path] = ()) -> str:
    """Write the hashes of all files of a folder beside them; return the hash of these hashes.

    Parameters
    ----------
    later
        Folders elsewhere, whose files are sealed as well: they are copied into the folder later.
    """
    files = {_name(path, folder): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    held: dict[str, str] = {}
    for other in later:
        held |= {_name(path, other): sha256_of(path) for path in sorted(other.rglob("*")) if path.is_file()}
    write_json({"kind": KIND, "schema": 1, "files": files | held, "later": sorted(held)}, folder / MANIFEST)
    return sha256_of(folder / MANIFEST)


def equal_times(folder: Path) -> None:
    """Give all files and folders below a folder the same time."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (WRITTEN, WRITTEN))


@dataclass(frozen=True)
class Manifest:
    """Seals of a folder.

    Attributes
    ----------
    files
        Name -> sha256 of the files that were sealed.
    later
        Names of those that the folder gets later.
    """

    files: Mapping[str, str]
    later: frozenset[str]

    def missing(self, folder: Path) -> list[str]:
        """Return the names of the files that a folder should have and has not."""
        return [name for name in self.files if name not in self.later and not (folder / name).is_file()]

    def changed(self, folder: Path) -> list[str]:
        """Return the names of the files of a folder that are not as they were sealed."""
        there = ((folder / name, name, sha256) for name, sha256 in self.files.items())
        return [name for path, name, sha256 in there if path.is_file() and sha256_of(path) != sha256]


def read_manifest(folder: Path) -> Manifest:
    """Read the seals of a folder; raise `InputError` if they are not known."""
    fields = Fields(read_json(folder / MANIFEST, "the folder of a reader in a study"), MANIFEST)
    fields.require_kind(KIND)
    files = Fields(fields.data.get("files"), "files")
    return Manifest(
        {name: files.sha256(name) for name in files.data}, frozenset(map(str, fields.data.get("later") or ()))
    )


def require_sealed(folder: Path, name: str, sha256: str | None) -> Path:
    """Return the path of a file of a folder; raise `InputError` unless it has its hash."""
    path = folder / name
    found = None if not path.is_file() else sha256_of(path)
    if found is None or found != sha256:
        what = "is missing" if found is None else "was changed after the study was designed"
        raise InputError(
            f"{name} {what}; expected the file as it was handed out. Copy it again from the organiser's folder."
        )
    return path


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


__all__ = ["MANIFEST", "Manifest", "equal_times", "read_manifest", "require_sealed", "seal"]
