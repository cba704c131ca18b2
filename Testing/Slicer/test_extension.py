"""Files for CMake and translators: every file is listed, every text can be translated."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import fields
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from GTRStagingSlicer import dependencies, models, samples, tables
from GTRStagingSlicer.state import Device, Method, State, Target
from packaging.requirements import Requirement
from PIL import Image

from GTRStagingLib.batch import batch
from GTRStagingLib.model import weights
from GTRStagingLib.results import outputs
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging import options

ROOT = Path(__file__).parents[2]
MODULE, READING, LIBRARY = ROOT / "GTRStaging", ROOT / "GTRReading", ROOT / "GTRStagingLib"
MODULES = (MODULE, READING)
SCRIPTS = sorted(path for module in MODULES for path in module.rglob("*.py"))

of_each_module = pytest.mark.parametrize("module", MODULES, ids=lambda folder: folder.name)


def listed(folder, variable):
    text = (folder / "CMakeLists.txt").read_text()
    body = re.search(rf"set\({variable}\n(.*?)\)", text, flags=re.DOTALL)[1]
    return sorted(body.replace("${MODULE_NAME}", folder.name).split())


@pytest.mark.parametrize("folder", [*MODULES, LIBRARY], ids=lambda f: f.name)
def test_cmake_lists_every_file(folder):
    ours = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    ours = {str(p.relative_to(folder)) for p in ours} - {"CMakeLists.txt"}
    scripts, resources = listed(folder, "MODULE_PYTHON_SCRIPTS"), listed(folder, "MODULE_PYTHON_RESOURCES")
    assert sorted(scripts + resources) == sorted(ours)
    assert all(name.endswith(".py") for name in scripts)


def test_the_tests_are_not_installed():
    top = (ROOT / "CMakeLists.txt").read_text()
    assert re.findall(r"^add_subdirectory\((\w+)\)", top, flags=re.MULTILINE) == [
        "GTRStagingLib",
        "GTRStaging",
        "GTRReading",
    ]


def test_the_icons_have_their_sizes():
    icons = [Image.open(module / "Resources" / "Icons" / f"{module.name}.png") for module in MODULES]
    assert [icon.size for icon in icons] == [(128, 128), (128, 128)]
    assert icons[0].tobytes() != icons[1].tobytes()
    for stage in samples.SEEDS:
        assert Image.open(samples.ICONS / f"Phantom{stage}.png").size == (260, 280)


def test_the_requirements_are_those_of_the_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["report"]]
    assert sorted(map(str, dependencies.requirements())) == sorted(str(Requirement(line)) for line in wanted)
    full = [line for line in extras["torch"] if not line.startswith("onnx>")]  # it only writes graphs
    assert list(map(str, dependencies.requirements(dependencies.FULL))) == [str(Requirement(line)) for line in full]


def test_the_same_words_are_used_on_both_sides():
    assert {m.value for m in Method} == set(options.METHODS)
    assert [t.value for t in Target] == ["predicted", *(s.name for s in TStage)]
    assert tuple(s.name for s in TStage) == tables.STAGES
    assert {d.value for d in Device} == {"auto", "cpu"}
    assert weights.untrained(18).card.warning == models.warning_of("untrained")
    from GTRStagingLib.results import overlay

    for method in set(Method) - {Method.AUTO}:  # its result names the chosen method
        assert method.label().casefold().startswith(overlay.METHOD_NAMES[method.value].casefold())
    assert (State().shownFrom, State().opacity) == (overlay.SHOWN_FROM, overlay.OPACITY[1])
    assert batch.SCENE not in outputs.OUTPUTS


@of_each_module
def test_the_package_says_what_each_of_its_files_is_for(module):
    """A newcomer reads it first: every file is named there, and nothing that has gone."""
    package = module / f"{module.name}Slicer"
    documented = re.findall(r"`(\w+)`", ast.get_docstring(ast.parse((package / "__init__.py").read_text())))
    assert set(documented) == {path.stem for path in package.glob("*.py")} - {"__init__"}


# -- the panel's file ----------------------------------------------------------------------------------------------


def form_of(module):
    return ET.parse(module / "Resources" / "UI" / f"{module.name}.ui")


def widgets(module=MODULE):
    return [w for w in form_of(module).iter("widget") if w.get("class") != "qMRMLWidget"]


def text_of(widget, name):
    found = widget.find(f"property[@name='{name}']/string")
    return None if found is None else found.text


@of_each_module
def test_every_widget_has_a_tooltip(module):
    frames = {"resultBox"}  # around others
    assert {w.get("name") for w in widgets(module) if not text_of(w, "toolTip")} <= frames


@pytest.mark.parametrize(("module", "least"), [(MODULE, 20), (READING, 12)])
def test_keys_reach_every_section_without_ambiguity(module, least):
    keys = [m[1].lower() for w in widgets(module) if (m := re.search(r"&(\w)", text_of(w, "text") or ""))]
    assert len(keys) >= least
    assert sorted(keys) == sorted(set(keys))


@of_each_module
def test_buddies_exist(module):
    names = {w.get("name") for w in widgets(module)}
    for buddy in form_of(module).iter("cstring"):
        assert buddy.text in names


def test_sections_follow_the_order_of_the_work():
    heads = [text_of(w, "text") for w in widgets() if w.get("class") == "ctkCollapsibleButton"]
    assert heads == ["1. Input", "2. Key slice", "3. Stage", "4. Attention", "5. Agreement", "6. Nomogram", "7. Report",
                     "Results of this scene", "8. Batch"]  # fmt: skip


def test_parameters_named_in_the_panel_exist():
    named = {p.find("string").text for p in form_of(MODULE).iter("property") if p.get("name") == "SlicerParameterName"}
    assert named <= {f.name for f in fields(State)}
    assert {"method", "target", "opacity", "threshold", "device"} <= named


@of_each_module
def test_widgets_used_by_the_code_are_in_the_panel(module):
    names = {w.get("name") for w in form_of(module).iter("widget")}
    for path in module.rglob("*.py"):
        for used in re.findall(r"\b(?:self\.ui|self\._ui|ui)\.([a-z]\w+)", path.read_text()):
            assert used in names, f"{path.name}: {used}"


@of_each_module
def test_no_cell_of_a_layout_has_two_items(module):
    for layout in form_of(module).iter("layout"):
        cells = [
            (item.get("row"), int(item.get("column")) + i)
            for item in layout.findall("item")
            if item.get("row") is not None
            for i in range(int(item.get("colspan") or 1))
        ]
        assert len(cells) == len(set(cells)), layout.get("name")


# -- the code ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_nothing_heavy_is_imported_at_file_scope(path):
    allowed = {
        "slicer",
        "qt",
        "ctk",
        "vtk",
        "numpy",
        "SimpleITK",
        "packaging",
        "pip",
        "GTRStagingLib",
        "GTRStagingSlicer",
        "GTRReadingSlicer",
    }
    tree = ast.parse(path.read_text())
    at_scope = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and n.col_offset <= 4]
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in at_scope:
        if id(node) in inside or (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            continue
        names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        for name in names:
            root = name.split(".")[0]
            assert root in allowed or root in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_the_files_import_one_another_one_way():
    """Imports inside functions count as well: none is there to hide a circle."""
    folders = {path: next(module for module in MODULES if path.is_relative_to(module)) for path in SCRIPTS}
    files = {".".join(path.relative_to(folder).with_suffix("").parts): path for path, folder in folders.items()}
    imported = {name: named_by_imports(path) & files.keys() for name, path in files.items()}
    assert imported["GTRStaging"] >= {"GTRStagingSlicer.logic", "GTRStagingSlicer.selftest"}
    assert imported["GTRReading"] >= {"GTRReadingSlicer.sitting", "GTRReadingSlicer.selftest"}
    of_staging = {one for name, found in imported.items() if name.startswith("GTRStaging") for one in found}
    assert not [one for one in of_staging if one.startswith("GTRReading")]
    TopologicalSorter(imported).prepare()  # its CycleError names the files of a circle


def named_by_imports(path):
    """Every dotted name that a file may import, wherever in it: `from a import b` may mean the file a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_module_and_what_it_imports_load_no_torch(tmp_path):
    """In a Slicer without any of the packages: what is imported by the panel imports none of them."""
    names = ["nodes", "state", "layers", "tables", "scene_staging", "models", "samples", "dependencies", "nomograms"]
    heavy = (
        "filelock",
        "nibabel",
        "torch",
        "torchvision",
        "skimage",
        "matplotlib",
        "pytorch_grad_cam",
        "pandas",
        "safetensors",
        "jinja2",
    )
    own = ", ".join(f"GTRStagingSlicer.{name}" for name in names)
    own += ", GTRReadingSlicer.sitting, GTRReadingSlicer.presenter, GTRReadingSlicer.keys"
    code = f"import {own}, sys; print([m for m in {heavy} if m in sys.modules])"
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *map(str, MODULES)]))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                           env=os.environ | {"PYTHONPATH": paths})  # fmt: skip
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_no_file_is_longer_than_520_lines(path):
    assert len(path.read_text().splitlines()) <= 520


def test_translators_get_whole_sentences():
    """What is handed to the translation is one literal each; its places have names."""
    for path in SCRIPTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path.name}:{node.lineno}: no tool could extract it"
                assert "{}" not in argument.value


def test_modules_and_panels_state_research_use_only():
    stated = [module / name for module in MODULES for name in (f"{module.name}.py", f"Resources/UI/{module.name}.ui")]
    for path in (*stated, ROOT / "docs" / "tutorials" / "clinician.md", ROOT / "CMakeLists.txt"):
        shown_text = re.sub(r'["\s>*]+', " ", path.read_text())
        assert RESEARCH_USE_ONLY.split(".")[0] in shown_text, path.name
    for module in MODULES:
        assert RESEARCH_USE_ONLY in "".join(text_of(w, "text") or "" for w in widgets(module))


def test_the_threshold_slider_has_the_steps_of_the_sweep():
    """So that the agreement at each of its places is known, also of a scene that was reloaded."""
    (slider,) = [w for w in widgets() if w.get("name") == "thresholdSlider"]
    low, high, step = (
        float(slider.find(f"property[@name='{name}']/double").text) for name in ("minimum", "maximum", "singleStep")
    )
    assert [round(low + i * step, 2) for i in range(round((high - low) / step) + 1)] == list(options.SWEEP)
