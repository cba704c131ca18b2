"""Check DICOM files by dciodvfy and dcentvfy, of David Clunie's dicom3tools."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest


def no_errors(path: Path) -> None:
    """Fail if dciodvfy finds an error in a file; skip if it is not installed, but fail then under CI."""
    _run("dciodvfy", "-new", str(path))


def consistent(files: Iterable[Path]) -> None:
    """Fail if dcentvfy finds that files disagree on their patient, study or series; skip as above."""
    _run("dcentvfy", *map(str, files))


def _run(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        message = f"{name} is not installed (Debian: dicom3tools)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace", check=False)
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert not found, "\n".join(found)
