"""A plugin of pytest (`-p helpers.loaded_modules`): from which files a run has loaded the extension and the library.

It writes them as JSON into the file that `GTR_LOADED_MODULES` names, for whoever started the run to look at.
"""

import json
import os
import sys
from pathlib import Path

import pytest

VARIABLE = "GTR_LOADED_MODULES"
PACKAGES = ("GTRStaging", "GTRStagingSlicer", "GTRStagingLib")

_files: dict[str, set[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """After each test, before its fixtures take the module out again."""
    try:
        return (yield)
    finally:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in PACKAGES:
                _files.setdefault(name, set()).add(str(module.__file__))


def pytest_sessionfinish():
    Path(os.environ[VARIABLE]).write_text(json.dumps({name: sorted(files) for name, files in _files.items()}))
