"""Keep what may name a person out of a batch's records: in a log of each failed case that is not to be shared.

`OUT/local/CASE.log` has the whole message, its details and the traceback, with all paths. Records and tables have the
message without folders and without the names of the files in a case's folder.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from GTRStagingLib.support.files import atomic_file

LOCAL = "local"
"""Folder of the local logs, in the output folder of a batch."""

NOTICE = "Local log: may contain names of patients, files and folders. Do not share it."


def log_file(folder: Path) -> Path:
    """Return the local log of a case, by its case folder `OUT/cases/CASE`."""
    return folder.parent.parent / LOCAL / f"{folder.name}.log"


def write_log(path: Path, parts: Iterable[str]) -> bool:
    """Write the non-empty parts of a local log under a notice; return whether there are any."""
    content = [part.rstrip() for part in parts if part.strip()]
    if content:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as stream:
            stream.write(("\n\n".join([NOTICE, *content]) + "\n").encode(errors="backslashreplace"))
    return bool(content)


def remove_log(path: Path) -> None:
    """Remove the local log of an earlier run, and its folder if it is empty."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


__all__ = ["LOCAL", "NOTICE", "log_file", "remove_log", "write_log"]
