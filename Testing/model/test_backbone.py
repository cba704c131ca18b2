"""Backbones: each backend gives the outputs of the plain network and leaves the network unchanged."""

import gc
import hashlib
import os
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from conftest import planted_model
from helpers.passes import passed

from GTRStagingLib.cli import arguments
from GTRStagingLib.errors import InputError, MissingDependencyError, WeightsError
from GTRStagingLib.model import backbone, onnx_graph, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.network import folded
from GTRStagingLib.model.onnx_backbone import OnnxBackbone
from GTRStagingLib.model.passes import EXPLAINED, PassRequest
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import raw_maps

PIXELS = np.random.default_rng(0).normal(size=(6, 3, 224, 224)).astype(np.float32)
ARRAYS = ("logits", "features", "feature_map")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Cache for the whole module: tests share the exported graphs."""
    monkeypatch.setenv("GTRSTAGING_CACHE", str(tmp_path_factory.getbasetemp() / "backbones"))


def lively(depth, fusion, seed=0):
    """Model with batch norms and a second stream that affect the output, as after a training."""
    model = weights.untrained(depth, fusion)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.8, 1.2, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
        if fusion == "add":
            model.network.detail[1].weight.fill_(1.0)
        elif fusion == "concat":
            model.network.detail[0].weight[:, 64:].normal_(0, 0.1, generator=generator)
    return model


def digest(network):
    """Return the state that training, saving and hashing depend on."""
    state = network.state_dict()
    digest = hashlib.sha256(b"".join(key.encode() + tensor.numpy().tobytes() for key, tensor in state.items()))
    return digest.hexdigest(), network.training, next(network.parameters()).device


# -- PyTorch -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [10, 18, 50])
@pytest.mark.parametrize("fusion", ["none", "add", "concat"])
def test_folding_changes_nothing_but_the_rounding(depth, fusion):
    model = lively(depth, fusion)
    before = digest(model.network)
    expected, found = passed(model.network, PIXELS[:2]), ready(model, "cpu", "torch").classify(PIXELS[:2])
    for name in ARRAYS:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
        assert np.abs(theirs).max() > 0.05, name
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    head = Head.of(model.network)
    maps = [[raw_maps(head, seen.feature_map, "gradcam", stage) for stage in TStage] for seen in (found, expected)]
    assert np.max(maps[1]) > 1e-3  # of some stages they may be empty
    np.testing.assert_allclose(*maps, atol=1e-5)
    assert digest(model.network) == before


@pytest.mark.parametrize("fusion", ["none", "add", "concat"])
def test_no_batch_norm_is_left_over(fusion):
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded(lively(50, fusion).network).modules())


def test_a_second_stream_is_not_lost():
    """The comparisons above also pass for a stem that both networks ignore."""
    model = lively(18, "add")
    with_detail = ready(model, "cpu", "torch").classify(PIXELS[:1])
    model.network.detail[1].weight.data.zero_()
    model.network.detail[1].bias.data.zero_()
    without = ready(weights.Model(model.card, model.network), "cpu", "torch").classify(PIXELS[:1])
    assert np.abs(with_detail.logits - without.logits).max() > 1e-3


def test_no_pass_leaves_a_gradient_or_a_hook():
    model = planted_model()
    model.network.requires_grad_(True)
    ready(model, "cpu", "torch").classify(PIXELS[:1])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.network.parameters())
    assert not any(module._forward_hooks for module in model.network.modules())


# -- any backend ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["torch", "onnx"])
def a_backbone(request, tmp_path_factory):
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GTRSTAGING_CACHE", str(tmp_path_factory.getbasetemp() / "backbones"))
        return ready(lively(18, "add"), "cpu", request.param)


def test_the_same_input_gives_the_same_bits(a_backbone):
    first, second = a_backbone.classify(PIXELS[:3]), a_backbone.classify(PIXELS[:3].copy())
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_case_is_the_same_alone_and_among_others(a_backbone):
    together = a_backbone.classify(PIXELS)
    for part in (slice(0, 3), slice(3, 6), slice(1, 3), slice(4, 5)):
        alone = a_backbone.classify(PIXELS[part])
        for name in ARRAYS:
            np.testing.assert_allclose(getattr(alone, name), getattr(together, name)[part], atol=1e-6, err_msg=name)


def test_passes_and_requests_can_be_pickled(a_backbone):
    seen = a_backbone.classify(PIXELS[:1])
    assert (seen.device, seen.warning) == ("cpu", None)
    assert seen.backend.startswith(("PyTorch ", "ONNX Runtime "))
    again, head, cells = pickle.loads(pickle.dumps((seen, a_backbone.head, a_backbone.cells)))
    maps = [raw_maps(one, seen.feature_map, "gradcam", TStage.T2) for one in (head, a_backbone.head)]
    np.testing.assert_array_equal(*maps)
    np.testing.assert_array_equal(again.feature_map, seen.feature_map)
    assert cells == a_backbone.cells
    logits = seen.features @ head.weight.T + head.bias
    np.testing.assert_allclose(logits, seen.logits, atol=1e-5)


def test_a_flipped_view_is_no_other_input(a_backbone):
    view = PIXELS[:1, :, :, ::-1]
    np.testing.assert_array_equal(a_backbone.classify(view).logits, a_backbone.classify(view.copy()).logits)


def test_a_head_of_another_number_of_stages_is_refused():
    with pytest.raises(WeightsError, match=r"\(5, 8\).*expected \(4, features\)"):
        Head(np.zeros((5, 8), np.float32), np.zeros(5, np.float32))


# -- which one, and for how long -----------------------------------------------------------------------------------


def test_auto_takes_onnx_runtime_on_a_cpu_where_it_is_installed(monkeypatch):
    pytest.importorskip("onnxruntime")
    model = lively(18, "add")
    assert isinstance(ready(model, "cpu"), OnnxBackbone)
    monkeypatch.setattr(backbone, "find_spec", lambda name: None)
    assert isinstance(ready(lively(18, "add"), "cpu"), TorchBackbone)


def test_a_model_is_made_ready_once_and_forgotten_with_it():
    model, other = planted_model(), planted_model()
    by = ready(model, "cpu", "torch")
    assert ready(model, "cpu", "torch") is by
    assert ready(other, "cpu", "torch") is not by
    gone = weakref.ref(by)
    del model, by
    gc.collect()
    assert gone() is None


def test_an_onnx_backbone_is_removed_with_its_model():
    pytest.importorskip("onnxruntime")
    model = lively(18, "add")
    gone = weakref.ref(ready(model, "cpu", "onnx"))
    assert gone() is not None
    del model
    gc.collect()
    assert gone() is None


def test_backbones_that_cannot_be_made_name_the_remedy(monkeypatch):
    model = planted_model()
    with pytest.raises(InputError, match="expected one of auto, torch, onnx, compile"):
        ready(model, "cpu", "tensorrt")
    with pytest.raises(InputError, match="This machine has no device"):
        ready(model, "cuda:97", "torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match=r"Backend 'onnx' on device 'cuda'.*`device=cpu`"):
        ready(model, "cuda", "onnx")


def test_without_onnx_runtime_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install gtrstaging\."):
        ready(planted_model(), "cpu", "onnx")


def test_auto_goes_on_with_pytorch_and_says_so(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_graph, "differences", lambda *_: iter(["logits for 3 slices by 1"]))
    monkeypatch.setattr(onnx_graph, "default_folder", lambda: None)
    seen = ready(planted_model(), "cpu").classify(PIXELS[:1])
    assert seen.backend.startswith("PyTorch")
    assert "PyTorch ran instead of ONNX Runtime" in seen.warning
    assert "logits" in seen.warning


def test_the_command_line_lists_all_backends():
    assert arguments.BACKENDS == backbone.BACKENDS


# -- a GPU whose memory is full ------------------------------------------------------------------------------------


class OnGpu(TorchBackbone):
    """Imitation of a GPU: everything runs on the CPU, but the pass on the device fails with a given error."""

    def __init__(self, model, kind, error):
        super().__init__(model, torch.device("cpu"))
        self._place, self._error = torch.device(kind), error

    def _run(self, pixels, wanted, place, warning):
        if place.type != "cpu" or self._place.type == "cpu":
            raise self._error
        return super()._run(pixels, wanted, place, warning)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("cuda", torch.OutOfMemoryError("CUDA out of memory")),
        ("mps", RuntimeError("MPS backend out of memory (MPS allocated: 8.98 GB, max allowed: 9.07 GB)")),
        ("cuda", RuntimeError("CUDA error: out of memory")),
    ],
)
def test_a_gpu_without_memory_hands_over_to_the_cpu_and_says_so(kind, error):
    model = planted_model()
    seen = OnGpu(model, kind, error).classify(PIXELS[:1])
    assert seen.device == "cpu"
    assert f"memory of {kind} was too small" in seen.warning
    np.testing.assert_array_equal(seen.logits, ready(model, "cpu", "torch").classify(PIXELS[:1]).logits)


def test_another_failure_of_a_gpu_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="device-side assert"):
        OnGpu(planted_model(), "cuda", RuntimeError("CUDA error: device-side assert triggered")).classify(PIXELS[:1])


def test_a_cpu_without_memory_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        OnGpu(planted_model(), "cpu", torch.OutOfMemoryError("out of memory")).classify(PIXELS[:1])


class Autocasting(TorchBackbone):
    """Backbone that rounds on the CPU as a GPU does."""

    def _autocasts(self, place):
        return True


def test_a_case_is_rounded_alike_with_a_map_and_without():
    model = lively(10, "none")
    by = Autocasting(model, torch.device("cpu"))
    plain = by.classify(PIXELS[:3])
    alone = by.classify(PIXELS[:3], [PassRequest(range(3), (0, 1, 2))])
    key_alone = by.classify(PIXELS[:3], [PassRequest(range(3), (1,))])
    full = ready(model, "cpu", "torch").classify(PIXELS[:3], [PassRequest(range(3), (0, 1, 2))])
    for name in ARRAYS:
        assert np.abs(getattr(alone, name) - getattr(full, name)).max() > 1e-4, name  # it does round
        np.testing.assert_array_equal(getattr(alone, name), getattr(plain, name), err_msg=name)
        np.testing.assert_array_equal(getattr(key_alone, name), getattr(plain, name), err_msg=name)
    for name in EXPLAINED:  # of float32 all the same
        assert full.maps[name].max() > 0
        np.testing.assert_allclose(alone.maps[name], full.maps[name], rtol=1e-4, atol=1e-6 * full.maps[name].max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_a_case_the_same_alone_and_among_others():
    by = ready(lively(18, "add"), "cuda", "torch")
    plain = by.classify(PIXELS)
    alone = by.classify(PIXELS, [PassRequest(range(6), (0, 1, 2, 3, 4, 5))])
    pair = by.classify(PIXELS, [PassRequest(range(3), (1,)), PassRequest(range(3, 6), (4,))])
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(alone, name), getattr(plain, name), err_msg=name)
        np.testing.assert_array_equal(getattr(pair, name), getattr(plain, name), err_msg=name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_kind_of_pass():
    model = lively(18, "add")
    before = digest(model.network)
    expected = ready(model, "cpu", "torch").classify(PIXELS)
    seen = ready(model, "cuda", "torch").classify(PIXELS)
    for name in ARRAYS:
        found, wanted = getattr(seen, name), getattr(expected, name)
        assert (type(found), found.dtype, found.shape) == (np.ndarray, np.float32, wanted.shape)
        assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()  # autocast
    assert digest(model.network) == before


# -- the compiler --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_compiled_network_says_the_same():
    model = lively(10, "add")
    try:
        by = ready(model, "cpu", "compile")
    except InputError as error:
        pytest.skip(str(error))
    expected, found = passed(model.network, PIXELS), by.classify(PIXELS)
    assert "compiled" in found.backend
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    eager = ready(model, "cpu", "torch")
    for shown in ((0, 1, 2), (1,)):
        wanted = [PassRequest(range(3), shown)]
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            found = by.classify(PIXELS[:3], wanted)
        expected = eager.classify(PIXELS[:3], wanted)
        for name in EXPLAINED:
            mine, theirs = found.maps[name], expected.maps[name]
            assert theirs.max() > 0
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * theirs.max(), err_msg=name)
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
        # Both halves of what is explained, forward and backward, are the compiler's.
        calls = {event.key: event.count for event in profiled.key_averages()}
        assert calls["CompiledFunction"] == calls["CompiledFunctionBackward"] == 2


@pytest.mark.slow
def test_without_a_compiler_the_remedy_is_named(tmp_path):
    code = (
        "from GTRStagingLib import errors\nfrom GTRStagingLib.model import backbone, weights\n"
        "try:\n    backbone.ready(weights.untrained(10), 'cpu', 'compile')\n"
        "except errors.InputError as error:\n    print(error)"
    )
    nowhere = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True, check=True
    )
    assert "Expected a C++ compiler" in run.stdout
    assert "`backend=torch`" in run.stdout
