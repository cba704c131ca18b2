"""Check DICOM files by dciodvfy, of David Clunie's dicom3tools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def no_errors(path: Path) -> None:
    """Fail if dciodvfy finds an error in a file; skip if it is not installed, but fail then under CI."""
    program = shutil.which("dciodvfy")
    if program is None:
        message = "dciodvfy is not installed (Debian: dicom3tools)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False)
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert not found, "\n".join(found)
