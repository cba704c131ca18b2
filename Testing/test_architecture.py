"""The house rules, held against the code: layers, silence, lazy imports."""

import ast
import os
import subprocess
import sys
from importlib import import_module
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
    engine = {"staging.cam", "staging.map_checks", "staging.pipeline", "staging.scanning", "batch.cluster", "__main__"}
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
    heavy = ("torch", "SimpleITK", "numpy", "matplotlib", "openpyxl", "pandas", "sklearn", "statsmodels")
    code = f"import {module}, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_torch_is_loaded_by_the_rooms_that_run_a_network_alone():
    names = ", ".join(f"GTRStagingLib.{name}" for name in rooms_without_torch() if name != "__init__")
    code = f"import {names}, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


# -- the public face -----------------------------------------------------------------------------------------------


def named_for_type_checkers():
    """Name -> module, of the imports under TYPE_CHECKING in the package's __init__."""
    for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("GTRStagingLib."):
            yield from ((alias.name, node.module.removeprefix("GTRStagingLib.")) for alias in node.names)


def test_the_public_names_are_sorted_and_the_same_for_python_and_type_checkers():
    assert sorted([*GTRStagingLib._WHERE, "__version__"]) == GTRStagingLib.__all__
    assert dict(named_for_type_checkers()) == GTRStagingLib._WHERE


@pytest.mark.parametrize("name", GTRStagingLib.__all__)
def test_a_public_name_is_what_its_module_has(name):
    found = getattr(GTRStagingLib, name)
    if name != "__version__":
        assert found is getattr(import_module(f"GTRStagingLib.{GTRStagingLib._WHERE[name]}"), name)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'weights_of_old'"):
        GTRStagingLib.weights_of_old  # noqa: B018


USES = """
from pathlib import Path
from GTRStagingLib import StagingOptions, load_model, read_scan, stage_case
result = stage_case(read_scan(Path("ct")), load_model("demonstration"), StagingOptions(threshold=0.4))
reveal_type(result.prediction.stage)
stage_case(read_scan(Path("ct")), "demonstration", StagingOptions(threshhold=0.4))
from GTRStagingLib import read_scann
"""


@pytest.mark.slow
def test_a_type_checker_sees_the_real_types(tmp_path):
    """A name is no model made ready, an option is misspelt, and so is a name of ours."""
    pytest.importorskip("mypy", reason="of the extra dev")
    (tmp_path / "uses.py").write_text(USES)
    environment = {**os.environ, "MYPYPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "mypy", "--config-file", str(PACKAGE.parent / "pyproject.toml"), "uses.py"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = [line.partition(": ")[2] for line in found.stdout.splitlines() if line.startswith("uses.py")]
    assert 'note: Revealed type is "GTRStagingLib.stages.TStage"' in said
    assert any("Unexpected keyword argument" in line and "threshhold" in line for line in said)
    assert any('has incompatible type "str"; expected "Backbone | Sequence[Backbone]"' in line for line in said)
    assert any('has no attribute "read_scann"' in line for line in said)
    assert len(said) == 4 + any("Did you mean" in line and line.startswith("note") for line in said)
