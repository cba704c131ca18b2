"""The extension as its own CMake files install it: whole, nothing else, and working from there.

CMake is real; cmake/ has a stand-in for Slicer's part of it, so that neither Slicer nor a compiler is needed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, TESTING, loaded_modules

STANDIN = Path(__file__).parent / "cmake"
MODULES = Path("lib", "Slicer-5.12", "qt-scripted-modules")
# That of the virtual environment, if it is there, as the extra "test" brings it.
CMAKE = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def cmake(*arguments):
    done = subprocess.run([CMAKE, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the extension was installed into."""
    assert CMAKE, 'no cmake; pip install "gtrstaging[test]" brings it'
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("installed")
    cmake("-S", ROOT, "-B", build, "-G", "Unix Makefiles", f"-DSlicer_DIR={STANDIN}", "-DBUILD_TESTING=ON",
          f"-DCMAKE_TOOLCHAIN_FILE={STANDIN / 'NoCompiler.cmake'}")  # fmt: skip
    cmake("--install", build, "--prefix", prefix)
    return prefix


def files_of(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder): path for path in found}


def test_every_file_of_every_room_is_installed_and_nothing_else(installed):
    modules, library = files_of(ROOT / "GTRStaging") | files_of(ROOT / "GTRReading"), files_of(ROOT / "GTRStagingLib")
    wanted = modules | {"GTRStagingLib" / name: path for name, path in library.items()}
    wanted = {MODULES / name: path for name, path in wanted.items() if path.name != "CMakeLists.txt"}
    found = files_of(installed)
    assert sorted(found) == sorted(wanted)
    assert [str(name) for name, path in wanted.items() if found[name].read_bytes() != path.read_bytes()] == []


@pytest.mark.slow
def test_the_panel_works_from_the_installed_tree(installed, tmp_path):
    """The tests of this folder, but for those of the source tree itself, in a process that finds no other tree."""
    modules, loaded = installed / MODULES, tmp_path / "loaded.json"
    sources = [Path(__file__), Path(__file__).with_name("test_extension.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", loaded_modules.__name__, "-p", "no:cacheprovider",
         "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "--basetemp", tmp_path / "tests", Path(__file__).parent,
         *(f"--ignore={path}" for path in sources)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(modules), str(TESTING)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            loaded_modules.VARIABLE: str(loaded),
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    files = json.loads(loaded.read_text())
    assert {"GTRReading", "GTRReadingSlicer", "GTRStaging", "GTRStagingSlicer", "GTRStagingLib"} <= files.keys()
    elsewhere = {file for found in files.values() for file in found if not Path(file).is_relative_to(modules)}
    assert elsewhere == set()
