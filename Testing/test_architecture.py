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

LAYERS = [
    {"__init__", "stages", "errors", "tables.cells", "support.pools"},
    {
        "support.files",
        "support.extras",
        "imaging.geometry",
        "staging.voting",
        "model.recipe",
        "tables.case_row",
        "stats.estimates",
        "evaluation.checklists",
        "support.isolation",
        "tables.case_files",
        "batch.columns",
    },
    {
        "imaging.keyslice",
        "model.card",
        "imaging.stack",
        "imaging.dicom_layout",
        "imaging.nifti",
        "tables.table_files",
        "phantoms.anatomy",
        "phantoms.scanner",
        "support.pages",
    },
    {"tables.case_table"},
    {
        "stats.roc",
        "stats.metrics",
        "stats.decisions",
        "stats.attention_by_stage",
        "stats.proportional_odds",
        "nomogram.nomogram",
        "radscore.radscore",
        "stats.lasso",
    },
    {"imaging.dicom_headers"},
    {
        "model.registry",
        "staging.agreement",
        "staging.preprocess",
        "imaging.dicom",
        "cohort.cohort",
        "cohort.rules",
        "stats.split_scores",
        "stats.readers",
        "batch.cases",
    },
    {"stats.proportional_odds_checks", "nomogram.drawing", "nomogram.page", "stats.calibration"},
    {"imaging.scans", "phantoms.phantom", "cohort.partitions", "nomogram.fit", "radscore.inputs"},
    {"imaging.rois", "phantoms.export", "evaluation.columns", "radscore.fit"},
    {"cohort.fingerprint", "phantoms.phantom_cohort", "evaluation.parsing", "radscore.figures"},
    {"cohort.audit", "evaluation.predictions"},
    {"evaluation.table_one", "evaluation.training_overlap"},
    {"evaluation.evaluate"},
    {"evaluation.checklist_facts", "evaluation.figures", "evaluation.tables"},
    {"evaluation.report"},
    {"model.network", "training.plan"},
    {"staging.attention", "model.device"},
    {"model.weights"},
    {"model.onnx_graph"},
    {"model.backbone"},
    {"staging.pipeline", "model.checkpoints", "batch.model_process"},
    {"training.slice_cache", "training.augment"},
    {"training.dataset"},
    {"training.loop"},
    {"results.record", "results.overlay", "batch.records"},
    {"results.report"},
    {"batch.batch"},
    {"batch.local"},
    {"batch.cluster"},
    {"training.train"},
    {"training.cross_validation"},
    {"cli.batch", "cli.cohort", "cli.evaluate", "cli.nomogram", "cli.radscore", "cli.train"},
    {"cli.main"},
    {"__main__"},
]
"""Each module imports from the layers above it in this list only."""

TORCH = {
    "model.backbone",
    "model.onnx_graph",
    "model.network",
    "model.weights",
    "model.checkpoints",
    "staging.attention",
    "model.device",
    "training.augment",
    "training.dataset",
    "training.loop",
    "training.train",
}
"""The only modules that import torch themselves."""


def imports(path):
    """Names of the modules that a file imports, at its head or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module
            if node.module.partition(".")[0] == "GTRStagingLib":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(path):
    return {name.removeprefix("GTRStagingLib.") for name in imports(path)} & NAMES


def level(name):
    found = [i for i, layer in enumerate(LAYERS) if name in layer]
    assert found, f"{name} stands in no layer: say in test_architecture.py where it belongs"
    return found[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    for name in own(path):
        assert level(name) < level(name_of(path)), f"{name_of(path)} imports {name}"


def test_every_layer_names_modules_that_exist():
    assert set().union(*LAYERS) == NAMES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_of_slicer_and_torch_in_its_rooms_only(path):
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"slicer", "qt", "vtk", "ctk"}
    if name_of(path) not in TORCH:
        assert not roots & {"torch", "torchvision", "pytorch_grad_cam"}


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


def test_the_statistics_and_geometry_need_no_torch():
    names = ", ".join(f"GTRStagingLib.{name}" for layer in LAYERS[: level("model.network")] for name in sorted(layer))
    code = f"import {names}, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_all_names_what_exists():
    assert GTRStagingLib.__all__
    for name in GTRStagingLib.__all__:
        assert getattr(GTRStagingLib, name) is not None
