"""Write files and folders atomically, read JSON, and check paths."""

import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from GTRStagingLib.errors import InputError, StagingError

LARGEST_JSON = 2**26
"""Largest size of a JSON file in bytes; the largest of this software, a result with features, has less than 1 MB."""

DEEPEST_JSON = 64
"""Largest number of objects and lists inside each other; those of this software have fewer than ten."""

_TOO_DEEP = f"nested deeper than {DEEPEST_JSON} levels"
_TOO_LARGE = "a number beyond the range of a 64-bit float"
_WRITING = "writing"
_HALF = re.compile("[\ud800-\udfff]")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to write into, and rename it to `target` once the block is complete.

    On any error, an interruption included, the folder is removed. The caller ensures that `target` does not exist.
    Folders and files have the mode that the user's umask allows, here and below.

    Examples
    --------
    If the block fails, the final name does not exist.

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
        work.mkdir()
        yield work
        work.replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def replace_files(folder: Path, names: list[str], older: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder to write `names` into, then move these files into `folder` in this order.

    The last name must be the file that marks the others as complete: its old version is removed before the first move,
    so that it is never beside files of another version. On any error before the moves, an interruption included,
    `folder` is unchanged, or removed if it was created here. If a move fails, or the process dies between two moves,
    the last file is absent, and the others are partly new and partly old.

    Parameters
    ----------
    older
        Further files to remove with the old version of the last name, since they belong to it.

    Raises
    ------
    StagingError
        If a name is an existing folder; raised before anything is written or removed.
    """
    for name in names:
        if (folder / name).is_dir():
            raise StagingError(
                f"{folder / name} is a folder; expected a file or nothing. Move it elsewhere, or choose another folder "
                "for the results."
            )
    created = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = folder / _unfinished()
        try:
            work.mkdir()
            yield work
            for name in names:
                _flush(work / name)
            (folder / names[-1]).unlink(missing_ok=True)
            for name in older:
                (folder / name).unlink(missing_ok=True)
            for name in names:
                (work / name).replace(folder / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        with suppress(OSError):  # a folder that is not empty contains the results and stays
            for parent in created:
                parent.rmdir()


@contextmanager
def atomic_file(target: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Yield a binary stream to a temporary file, renamed to `target` once complete; safe for concurrent writers.

    A `private` file can be read and written by its owner only.
    """
    work = target.parent / _unfinished()
    mode = 0o600 if private else 0o666  # less what the umask forbids
    try:
        with open(work, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as stream:
            yield stream
        _flush(work)
        work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def give_usual_mode(path: Path) -> None:
    """Give a file the mode that the user's umask allows; some libraries make files for their owner only."""
    usual = path.with_name(_unfinished())
    try:
        usual.touch()
        path.chmod(usual.stat().st_mode & 0o777)
    finally:
        usual.unlink(missing_ok=True)


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write plain data as indented JSON, whole or not at all; create the folder if it is missing."""
    try:
        content = (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise StagingError(
            f"{path.name} was not written: a number in it is not finite; expected finite numbers. Check the input."
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as stream:
        stream.write(content)


def require_file_can_be_written(path: Path) -> None:
    """Raise `InputError` unless a file can be written to the path; call it before a long computation.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.support.files import require_file_can_be_written
    >>> require_file_can_be_written(Path("new") / "numbers.json")
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        found = "is a folder" if path.is_dir() else f"cannot be written: {nearest} is not a writable folder"
        raise InputError(f"{path} {found}; expected a writable file. Give another path.")


def read_json(path: Path, expected: str, *, error: type[StagingError] = InputError) -> Any:
    """Read a JSON file as plain data, see `parse_json`.

    Parameters
    ----------
    expected
        Content that the message of an error expects, as in "a nomogram's file".
    error
        Class of the error.

    Raises
    ------
    StagingError
        If the path is not a regular file, or its content is not valid.
    """
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise error(f"{path.name} is not a file; expected {expected}.")
        if (size := path.stat().st_size) > LARGEST_JSON:
            raise error(f"{path.name} has {size:,} bytes; expected {expected}, of at most {LARGEST_JSON:,}.")
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as found:
        raise error(f"{path.name} cannot be read as JSON ({found}); expected {expected}.") from found


def parse_json(content: bytes | str) -> Any:
    """Convert strict JSON in UTF-8, with or without a byte order mark, to plain data.

    All its numbers are finite as a float, so that `float()` of an integer does not overflow.

    Raises
    ------
    ValueError
        If the content is not JSON, is nested deeper than `DEEPEST_JSON`, or contains the same key twice in an object,
        NaN, a number beyond the range of a float, or half of a surrogate pair, which cannot be written.

    Examples
    --------
    >>> from GTRStagingLib.support.files import parse_json
    >>> parse_json(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse_json('{"a": 1e999}')
    Traceback (most recent call last):
    ValueError: a number beyond the range of a 64-bit float
    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: key 'a' twice in one object
    """
    text = content.removeprefix("\ufeff") if isinstance(content, str) else content.decode("utf-8-sig")
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's limit of digits
            raise ValueError(_TOO_LARGE) from None
        raise
    unseen, depth = [data], 0
    while unseen:  # level by level
        inner = []
        for value in unseen:
            if isinstance(value, list | dict):
                if depth == DEEPEST_JSON:
                    raise ValueError(_TOO_DEEP)
                inner += value if isinstance(value, list) else [*value, *value.values()]
            elif isinstance(value, str):
                if not value.isascii() and _HALF.search(value):
                    raise ValueError("half of a surrogate pair in a text")
            elif isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
                raise ValueError(_TOO_LARGE)
        unseen, depth = inner, depth + 1
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice[:100]!r} twice in one object")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is not a number of JSON")


def remove_partial_files(folder: Path, *, below: bool = True) -> None:
    """Remove what a killed process left unfinished in a folder, and `below` it; no other process may write there."""
    for place, folders, names in os.walk(folder):  # a sub-folder that vanishes meanwhile is no error
        for left in (Path(place, name) for name in (*folders, *names) if name.startswith(f".{_WRITING}-")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if not below:
            break


def _unfinished(what: str = _WRITING) -> str:
    """Return a unique hidden name.

    The name is known before the file is created, so that it is removed after an interruption at any time.
    """
    return f".{what}-{secrets.token_hex(4)}"


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_utf8_path(path: Path) -> None:
    """Raise `InputError` unless a path is valid UTF-8: others, from archives of another encoding, crash ITK."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(
            f"{shown} is not valid UTF-8; expected a path in UTF-8. Rename the part with a backslash (an archive may "
            "have been unpacked with the wrong encoding)."
        ) from error


def sha256_of_data(*content: Any) -> str:
    """Return the hex sha256 of plain data, written as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
