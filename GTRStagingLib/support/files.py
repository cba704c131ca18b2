"""Nothing half-written ever stands under its final name; and which names can be told to the libraries."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from GTRStagingLib.errors import InputError, StagingError


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, that becomes `target` once everything in it is whole.

    On any error, an interruption included, it is removed and `target` is as it was. The caller makes sure that
    `target` does not exist.

    Examples
    --------
    What is written while the block fails never stands under the final name.

    >>> from pathlib import Path
    >>> from GTRStagingLib.support.files import new_folder
    >>> with new_folder(Path("whole")) as work:
    ...     _ = (work / "numbers.txt").write_text("1 2 3")
    >>> Path("whole/numbers.txt").read_text()
    '1 2 3'
    >>> with new_folder(Path("broken")) as work:
    ...     _ = (work / "numbers.txt").write_text("1 2 ")
    ...     raise OSError("the disk is full")
    Traceback (most recent call last):
    OSError: the disk is full
    >>> Path("broken").exists()
    False
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / _unfinished(target.name)
    try:
        work.mkdir(mode=0o700)
        yield work
        work.chmod(0o755)
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def replace_files(folder: Path, names: list[str]) -> Iterator[Path]:
    """A folder to write `names` into, that are then moved into `folder` one by one, in this order.

    Name the file that says "all is here" last: an older one of it is removed first, so that it never vouches for
    files that are not its own. On any error before the moving, an interruption included, `folder` is as it was: gone,
    if it was made here. If a move fails, or the process dies between two, the last file is absent, and the others are
    partly new and partly old.

    Raises
    ------
    StagingError
        If a folder stands where a file is to go; before anything is written or removed.
    """
    for name in names:
        if (folder / name).is_dir():
            raise StagingError(
                f"{folder / name} is a folder; expected a file to replace, or nothing. Move it elsewhere, or choose "
                "another folder for the results."
            )
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = folder / _unfinished()
        try:
            work.mkdir(mode=0o700)
            yield work
            for name in names:
                _flush(work / name)
            (folder / names[-1]).unlink(missing_ok=True)
            for name in names:
                (work / name).replace(folder / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):  # what is not empty stays, and that is what was written
            for made in missing:
                made.rmdir()


@contextmanager
def atomic_file(target: Path) -> Iterator[IO[bytes]]:
    """A binary stream into a file that becomes `target` once it is whole, whoever else writes the same meanwhile."""
    work = target.parent / _unfinished()
    try:
        with work.open("xb") as stream:
            yield stream
        _flush(work)
        work.chmod(0o644)
        work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write plain data as people can read it, whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write((json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def require_file_can_be_written(path: Path) -> None:
    """Raise unless a file can be put there: before hours are spent on what it is to hold.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.support.files import require_file_can_be_written
    >>> require_file_can_be_written(Path("new") / "numbers.json")
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "is a folder" if path.is_dir() else f"cannot be written: {there} is no folder that can be written to"
        raise InputError(f"{path} {what}; expected a file to write. Give another path.")


def read_json(path: Path, expected: str) -> Any:
    """The plain data of a file; an `InputError` that says what was `expected` where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); expected {expected}.") from error


def _unfinished(what: str = "writing") -> str:
    """A hidden name that nothing else has.

    It is known before the file is made, so that an interruption in between leaves nothing that nobody would remove.
    """
    return f".{what}-{secrets.token_hex(4)}"


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def require_utf8_path(path: Path) -> None:
    """Raise unless a path is valid text: others, from archives of another encoding, end the process within ITK."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(
            f"{shown}: this path is not valid UTF-8; expected one that is. Rename what shows a backslash here (an "
            "archive may have been unpacked with the wrong encoding)."
        ) from error


def sha256_of_data(*content: Any) -> str:
    """Hex sha256 of plain data, as JSON has it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
