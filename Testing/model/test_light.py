"""A model folder's graphs give PyTorch's numbers, belong to its weights, and run where PyTorch is not installed."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from GTRStagingLib.checking.card_writing import write_graphs
from GTRStagingLib.errors import MissingDependencyError, WeightsError
from GTRStagingLib.model import backbone, onnx_session, registry, weights
from GTRStagingLib.model.backbone import load_model, verify
from GTRStagingLib.model.onnx_backbone import OnnxBackbone
from GTRStagingLib.model.onnx_session import GraphError
from GTRStagingLib.model.passes import PassRequest
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.files import sha256_of

SIZE = 64
PIXELS = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)

BLOCKED = ("torch", "torchvision", "pytorch_grad_cam", "lightning", "onnx")

needs_gradients = pytest.mark.skipif(torch.__version__ < (2, 10), reason="exports no gradients")


def a_folder(path, *, depth=10, fusion="none", half=False, seed=1):
    """Write a model folder with random weights and graphs."""
    model = weights.untrained(depth, fusion, seed)
    card = replace(model.card, name=path.name, status="trained", recipe=replace(model.card.recipe, input_size=SIZE))
    weights.save(replace(model, card=card), path, half=half)
    write_graphs(path)
    return path


@pytest.fixture
def without_torch(monkeypatch):
    """Make the parts that ask whether PyTorch is installed believe that it is not."""
    monkeypatch.setattr(backbone, "torch_installed", lambda: False)


def run_without_torch(code, *arguments):
    """Run code in a Python that cannot import torch, and return its standard output."""
    start = f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
    look = f"found = [m for m in sys.modules if m.partition('.')[0] in {BLOCKED} and sys.modules[m]]"
    end = f"\n{look}\nassert not found, found"
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code) + end, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- equal to PyTorch ----------------------------------------------------------------------------------------------


@needs_gradients
@pytest.mark.parametrize(("fusion", "half"), [("none", False), ("none", True), ("add", True), ("concat", False)])
def test_the_graphs_of_a_folder_give_pytorchs_numbers(tmp_path, fusion, half):
    folder = a_folder(tmp_path / "m", fusion=fusion, half=half)
    light, full = load_model(str(folder), "cpu", "onnx"), load_model(str(folder), "cpu", "torch")
    assert isinstance(light, OnnxBackbone)
    request = [PassRequest(range(3), (0, 2), TStage.T2)]
    found, expected = light.classify(PIXELS, request), full.classify(PIXELS, request)
    assert found.backend.startswith("ONNX Runtime")
    assert found.warning is None
    for name in ("logits", "features", "feature_map"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.targets, expected.targets)
    for name, usual in expected.maps.items():
        assert np.quantile(np.abs(found.maps[name] - usual), 0.99) <= 1e-4 * usual.max()
    assert dict(light.cells) == dict(full.cells)
    np.testing.assert_array_equal(light.head.weight, full.head.weight)


def test_the_demonstration_models_graph_gives_pytorchs_numbers():
    light, full = load_model("demonstration", "cpu", "onnx"), load_model("demonstration", "cpu", "torch")
    pixels = np.random.default_rng(1).normal(size=(2, 3, 224, 224)).astype(np.float32)
    found, expected = light.classify(pixels), full.classify(pixels)
    for ours, theirs in ((getattr(found, name), getattr(expected, name)) for name in ("logits", "features")):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert set(found.maps) == {"gate", "evidence"}
    for name, usual in expected.maps.items():
        np.testing.assert_allclose(found.maps[name], usual, rtol=1e-4, atol=1e-4)
    for name in ("mean_mask", "reference", "proposal_head"):
        assert (getattr(light, name) is None) == (getattr(full, name) is None)
    np.testing.assert_array_equal(light.mean_mask, full.mean_mask)


def test_a_graph_contains_no_weights(tmp_path):
    folder = a_folder(tmp_path / "m")
    assert (folder / "model.onnx").stat().st_size < 200_000 < (folder / "model.safetensors").stat().st_size
    assert (registry.SHIPPED / "demonstration" / "model.onnx").stat().st_size < 100_000


# -- bound to the weights and the card -----------------------------------------------------------------------------


def test_a_graph_of_other_weights_is_refused(tmp_path):
    ours, other = a_folder(tmp_path / "a"), a_folder(tmp_path / "b", seed=2)
    shutil.copyfile(other / "model.onnx", ours / "model.onnx")
    with pytest.raises(WeightsError, match=r"model\.onnx has sha256 .* its card gives"):
        load_model(str(ours), "cpu")
    card = json.loads((ours / "card.json").read_text())
    (ours / "card.json").write_text(json.dumps({**card, "graph_sha256": sha256_of(ours / "model.onnx")}))
    with pytest.raises(WeightsError, match="belongs to weights with sha256 .* models export-onnx a"):
        load_model(str(ours), "cpu")


def test_altered_weights_are_refused_before_the_graph_is_opened(tmp_path):
    folder = a_folder(tmp_path / "m")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-9] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors has sha256"):
        load_model(str(folder), "cpu", "onnx")


def test_a_graph_without_its_note_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    folder = a_folder(tmp_path / "m")
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    del graph.metadata_props[:]
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "graph_sha256": sha256_of(folder / "model.onnx")}))
    with pytest.raises(WeightsError, match="no valid note"):
        load_model(str(folder), "cpu", "onnx")


def test_another_answer_than_pytorchs_is_refused_and_auto_goes_on_with_pytorch(tmp_path, monkeypatch):
    folder = a_folder(tmp_path / "m")
    real = onnx_session.trial
    monkeypatch.setattr(
        onnx_session, "trial", lambda size, gradients: {k: v + 0.1 for k, v in real(size, gradients=gradients).items()}
    )
    with pytest.raises(GraphError, match=r"differs here from PyTorch's answer in logits"):
        load_model(str(folder), "cpu", "onnx")
    found = load_model(str(folder), "cpu")
    assert isinstance(found, TorchBackbone)
    assert "PyTorch ran instead of ONNX Runtime" in found.classify(PIXELS).warning


def test_weights_that_a_graph_cannot_refer_to_are_named(tmp_path):
    import safetensors.torch

    folder = a_folder(tmp_path / "m")
    state = {
        k: t.bfloat16() if t.is_floating_point() else t
        for k, t in weights.load(str(folder)).network.state_dict().items()
    }
    safetensors.torch.save_file(state, folder / "model.safetensors")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "sha256": sha256_of(folder / "model.safetensors")}))
    before = (folder / "card.json").read_text()
    with pytest.raises(WeightsError, match="as BF16; expected F16 or F32"):
        write_graphs(folder)
    assert (folder / "card.json").read_text() == before


# -- without PyTorch -----------------------------------------------------------------------------------------------


def test_a_model_without_graphs_says_what_it_needs(tmp_path, without_torch):
    model = weights.untrained(10, "none", 1)
    weights.save(replace(model, card=replace(model.card, name="m", status="trained")), tmp_path / "m")
    with pytest.raises(MissingDependencyError, match=r"has no model\.onnx.*export-onnx.*gtrstaging\[torch\]"):
        load_model(str(tmp_path / "m"), "cpu")
    with pytest.raises(MissingDependencyError, match="'untrained' is made by PyTorch"):
        load_model("untrained", "cpu")
    with pytest.raises(MissingDependencyError, match="Backend 'torch' needs PyTorch"):
        load_model("demonstration", "cpu", "torch")


def test_a_fine_map_without_its_graph_says_what_it_needs(tmp_path, without_torch):
    folder = a_folder(tmp_path / "m")
    card = registry.read_card(folder)
    (folder / "card.json").write_text(replace(card, gradients_sha256=None).to_text())
    light = load_model(str(folder), "cpu")
    assert light.classify(PIXELS).logits.shape == (3, 4)
    with pytest.raises(
        MissingDependencyError, match=r"^The fine map needs.*no gradients\.onnx.*method=gradcam.*export-onnx m$"
    ):
        light.classify(PIXELS, [PassRequest(range(3), (1,))])
    assert "not its fine map" in replace(card, gradients_sha256=None).graph_in_words


def test_a_gpu_without_pytorch_is_refused():
    code = """
        from GTRStagingLib.model.device import choose
        from GTRStagingLib.errors import InputError
        assert str(choose()) == "cpu"
        try:
            choose("cuda")
        except InputError as error:
            print(error)
    """
    assert "needs PyTorch, which is not installed" in run_without_torch(code)


def test_a_model_is_verified_without_pytorch(without_torch, tmp_path):
    assert verify("demonstration").name == "demonstration"
    folder = a_folder(tmp_path / "m")
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match="sha256"):
        verify(str(folder))
