"""Lock a folder against another process that works in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from GTRStagingLib.errors import InputError


@contextmanager
def locked_folder(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file inside the block; the system releases it when the process ends.

    Raises
    ------
    InputError
        If another process holds it; `refusal` is the message.
    OSError
        If the file cannot be made.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(blocking=False)
    except Timeout as error:
        raise InputError(refusal) from error
    try:
        yield
    finally:
        held.release()


__all__ = ["locked_folder"]
