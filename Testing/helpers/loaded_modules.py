"""List the files from which a pytest run loads the extension and the library (plugin `-p helpers.loaded_modules`).

The list is written as JSON to the file in the environment variable `GTR_LOADED_MODULES`.
"""

import json
import os
import sys
from pathlib import Path

import pytest

VARIABLE = "GTR_LOADED_MODULES"
PACKAGES = ("GTRReading", "GTRReadingSlicer", "GTRStaging", "GTRStagingSlicer", "GTRStagingLib")

_files: dict[str, set[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Collect the modules after each test, before its fixtures remove them."""
    try:
        return (yield)
    finally:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in PACKAGES:
                _files.setdefault(name, set()).add(str(module.__file__))


def pytest_sessionfinish():
    Path(os.environ[VARIABLE]).write_text(json.dumps({name: sorted(files) for name, files in _files.items()}))
