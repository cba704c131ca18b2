"""The house rules, held against the code: layers, silence, lazy imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import GTRStagingLib

PACKAGE = Path(GTRStagingLib.__file__).parent
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent == PACKAGE)


def name_of(path):
    """'imaging.geometry' of GTRStagingLib/imaging/geometry.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NAMES = {name_of(path) for path in MODULES}


def rooms_without_torch():
    """Every module that must work where torch is not installed: all but those that run or train a network."""
    engine = {"staging.cam", "staging.pipeline", "batch.model_process", "batch.cluster", "__main__"}
    return sorted(name for name in NAMES - engine if name.split(".")[0] not in ("model", "training"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_library_neither_prints_nor_configures(path):
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    if not name_of(path).startswith("cli."):
        assert "print" not in calls
    assert not {"logging.basicConfig", "warnings.filterwarnings", "warnings.simplefilter", "plt.figure"} & calls


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_file_grows_past_what_one_can_hold_in_mind(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 520


@pytest.mark.parametrize(
    "module",
    [
        f"GTRStagingLib{name}"
        for name in ("", ".cli.main", ".cohort.cohort", ".cohort.audit", ".evaluation.checklists", ".nomogram.nomogram")
    ],
)
def test_importing_is_free(module):
    heavy = ("torch", "SimpleITK", "numpy", "matplotlib", "pandas", "pydantic", "sklearn", "statsmodels")
    code = f"import {module}, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_torch_is_loaded_by_the_rooms_that_run_a_network_alone():
    names = ", ".join(f"GTRStagingLib.{name}" for name in rooms_without_torch() if name != "__init__")
    code = f"import {names}, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_all_names_what_exists():
    assert GTRStagingLib.__all__
    for name in GTRStagingLib.__all__:
        assert getattr(GTRStagingLib, name) is not None
