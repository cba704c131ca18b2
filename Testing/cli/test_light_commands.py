"""The commands that stage run where PyTorch cannot be imported, and give PyTorch's results."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from GTRStagingLib.model import registry
from GTRStagingLib.phantoms.export import write_dicom

# Python runs this file at its start, also in the processes that a command starts. At their end it looks again.
BLOCK = """
import atexit, importlib.machinery, os, sys
BLOCKED = ("torch", "torchvision", "pytorch_grad_cam", "lightning", "onnx")
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in BLOCKED else real(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
import importlib.metadata
known = importlib.metadata.Distribution.from_name
def from_name(name):
    if name.replace("grad-cam", "pytorch_grad_cam") in BLOCKED:
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.Distribution.from_name = from_name
def look():
    if [name for name in sys.modules if name.partition(".")[0] in BLOCKED]:
        os._exit(97)
atexit.register(look)
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory, a_small_phantom):
    folder = tmp_path_factory.mktemp("case") / "phantom"
    write_dicom(a_small_phantom, folder)
    return folder


@pytest.fixture
def light(tmp_path):
    """Return a function that runs the command line without PyTorch."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments, expected=0):
        return gtrstaging(*arguments, expected=expected, PYTHONPATH=path)

    return run


def gtrstaging(*arguments, expected=0, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout + done.stderr


def staging(case):
    return "stage", case / "ct", "--segmentation", case / "tumour_seg.dcm", "--segment", "tumour"


def test_a_case_is_staged_as_with_pytorch(light, case, tmp_path):
    light(*staging(case), "--out", tmp_path / "light", "--dicom", tmp_path / "dicom")
    gtrstaging(*staging(case), "--out", tmp_path / "full", "--backend", "torch", "--device", "cpu")
    ours, theirs = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("light", "full"))
    assert ours["prediction"]["stage"] == theirs["prediction"]["stage"]
    expected = theirs["prediction"]["probabilities"]
    assert ours["prediction"]["probabilities"] == pytest.approx(expected, abs=1e-4)
    maps = [sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / name / "attention.nrrd")) for name in ("light", "full")]
    assert maps[1].max() > 0
    np.testing.assert_allclose(*maps, atol=1e-4 * max(1.0, float(maps[1].max())))
    assert list((tmp_path / "dicom").iterdir())
    assert "ONNX Runtime" in json.dumps(ours)
    assert "PyTorch" in json.dumps(theirs)


def test_a_batch_runs_without_pytorch(light, case, tmp_path):
    table = tmp_path / "cases.csv"
    row = f"a,p,{case / 'ct'},{case / 'tumour_seg.dcm'},tumour,T3"
    table.write_text(f"case_id,patient_id,image,roi,segment,stage\n{row}\n")
    light("batch", table, "--out", tmp_path / "out", "--workers", 1, "--no-evaluation")
    (record,) = (tmp_path / "out").rglob("done.json")
    assert json.loads(record.read_text())


def test_models_are_listed_shown_and_verified_without_pytorch(light, tmp_path):
    assert "demonstration" in light("models", "list")
    assert "runs without PyTorch" in light("models", "show", "demonstration")
    assert "valid" in light("models", "verify", "demonstration")


@pytest.mark.parametrize(
    "command",
    [
        ("models", "show", "untrained"),
        ("models", "import", "x.pth", "--recipe", "gtr", "--name", "m"),
        ("models", "export-onnx", "MODEL"),
    ],
)
def test_what_needs_pytorch_names_the_extra(light, command, tmp_path):
    shutil.copytree(registry.SHIPPED / "demonstration", tmp_path / "own")
    given = [tmp_path / "own" if part == "MODEL" else part for part in command]
    assert "gtrstaging[torch]" in light(*given, expected=1)


def test_a_case_by_a_model_that_pytorch_makes_names_the_extra(light, case, tmp_path):
    said = light(*staging(case), "--model", "untrained", "--out", tmp_path / "o", expected=1)
    assert "'untrained' is made by PyTorch" in said
    assert "gtrstaging[torch]" in said


def test_graphs_are_written_by_the_command(tmp_path):
    shutil.copytree(registry.SHIPPED / "demonstration", tmp_path / "own")
    (tmp_path / "own" / "model.onnx").unlink()
    printed = gtrstaging("models", "export-onnx", tmp_path / "own")
    assert "model.onnx:" in printed
    assert "runs without PyTorch" in printed
    assert registry.read_card(tmp_path / "own").graph_sha256 is not None
