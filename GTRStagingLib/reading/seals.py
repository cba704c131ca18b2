"""Seal a reader's folder by the hashes of its files, and find files that were changed afterwards."""

import os
from collections.abc import Iterable
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


def sealed_files(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of the files that were sealed; raise `InputError` if they are not known."""
    fields = Fields(read_json(folder / MANIFEST, "the folder of a reader in a study"), MANIFEST)
    fields.require_kind(KIND)
    files = Fields(fields.data.get("files"), "files")
    return {name: files.sha256(name) for name in files.data}


def handed_out_later(folder: Path) -> frozenset[str]:
    """Return the names of the files that a folder gets later; raise `InputError` if they are not known."""
    fields = Fields(read_json(folder / MANIFEST, "the folder of a reader in a study"), MANIFEST)
    return frozenset(map(str, fields.data.get("later") or ()))


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


def broken_seals(folder: Path, sealed: dict[str, str], later: frozenset[str] = frozenset()) -> list[str]:
    """Return a sentence on each sealed file of a folder that is missing or was changed."""
    found = []
    for name, sha256 in sealed.items():
        path = folder / name
        if not path.is_file():
            if name not in later:
                found.append(f"{name} is missing.")
        elif sha256_of(path) != sha256:
            found.append(f"{name} was changed after the study was designed.")
    return found


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


__all__ = ["MANIFEST", "broken_seals", "equal_times", "handed_out_later", "require_sealed", "seal", "sealed_files"]
