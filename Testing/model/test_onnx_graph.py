"""The graph gives the network's outputs, and a cached graph is verified before use."""

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from helpers.passes import passed

from GTRStagingLib.model import gradient_graph, onnx_graph, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.onnx_graph import verified_session
from GTRStagingLib.model.onnx_session import OUTPUTS, GraphError
from GTRStagingLib.model.passes import PassRequest
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.files import sha256_of

EXPORTS_GRADIENTS = torch.__version__ >= (2, 10)

pytest.importorskip("onnxruntime")

PIXELS = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
SIZE = 64
"""Input size in the tests of the cache, which need only small graphs."""

SMALL = PIXELS[:, :, :SIZE, :SIZE].copy()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GTRSTAGING_CACHE", str(tmp_path))
    return tmp_path / "onnx"


@pytest.fixture
def exports(monkeypatch):
    """List with an entry per export; the exports are real."""
    made, real = [], torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *given, **how: made.append(1) or real(*given, **how))
    return made


@pytest.fixture
def comparisons(monkeypatch):
    made, real = [], onnx_graph.differences
    monkeypatch.setattr(onnx_graph, "differences", lambda *given: made.append(1) or real(*given))
    return made


def a_network(seed=1):
    return weights.untrained(10, "none", seed).network


def logits(session, pixels=SMALL):
    return session.run(["logits"], {"pixels": pixels})[0]


def sealed(graph, verified):
    """Return a note of this user on a graph."""
    secret = onnx_graph._own_secret(graph.parent)
    seal = onnx_graph._seal(secret, graph, sha256_of(graph), verified)
    return json.dumps({"sha256": sha256_of(graph), "verified": verified, "seal": seal})


def the_files(folder):
    (graph,) = folder.glob("*.onnx")
    (note,) = folder.glob("*.json")
    (secret,) = folder.glob(".secret-*")
    assert not [path for path in folder.iterdir() if path not in (graph, note, secret)]
    return graph, note


# -- what it says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "fusion"),
    [
        *((10, fusion) for fusion in ("none", "add", "concat")),
        (18, "none"),
        *(pytest.param(18, fusion, marks=pytest.mark.slow) for fusion in ("add", "concat")),
        pytest.param(50, "add", marks=pytest.mark.slow),
        pytest.param(152, "none", marks=pytest.mark.slow),
        pytest.param(152, "add", marks=pytest.mark.slow),
    ],
)
def test_the_graph_gives_the_outputs_of_the_network(depth, fusion):
    model = weights.untrained(depth, fusion)
    with torch.no_grad():
        if fusion == "add":  # untrained, it adds nothing
            model.network.detail[1].weight.fill_(0.5)
        elif fusion == "concat":
            model.network.detail[0].weight[:, 64:] = 0.05
    state = {key: tensor.clone() for key, tensor in model.network.state_dict().items()}
    by = ready(model, "cpu", "onnx")
    for pixels in (PIXELS, PIXELS[1:2]):
        found, expected = by.classify(pixels), passed(model.network, pixels)
        assert found.backend.startswith("ONNX Runtime")
        for name in OUTPUTS:
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
            assert np.abs(theirs).max() > 1e-2
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)
    assert not model.network.training
    assert all(torch.equal(state[key], tensor) for key, tensor in model.network.state_dict().items())


@pytest.mark.parametrize(
    ("fusion", "shape", "by"),
    [
        ("none", (2, 3, 224, 298), "ONNX Runtime"),
        ("none", (1, 3, 160, 128), "ONNX Runtime"),
        ("add", (2, 3, 224, 298), "PyTorch"),
        ("add", (2, 3, 224, 224), "ONNX Runtime"),
        ("concat", (1, 3, 160, 224), "PyTorch"),
    ],
)
def test_pytorch_runs_shapes_that_the_graph_does_not_accept(fusion, shape, by):
    model = weights.untrained(10, fusion)
    if fusion == "add":
        model.network.detail[1].weight.fill_(0.5)
    pixels = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found, expected = ready(model, "cpu", "onnx").classify(pixels), passed(model.network, pixels)
    assert found.backend.startswith(by)
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)


# -- its gradients -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not EXPORTS_GRADIENTS, reason="torch before 2.10 cannot export the gradients")
@pytest.mark.parametrize(
    ("depth", "fusion", "shape", "by"),
    [
        (10, "none", (3, 3, 224, 224), "ONNX Runtime"),
        (10, "add", (3, 3, 224, 224), "ONNX Runtime"),
        (10, "none", (2, 3, 160, 256), "ONNX Runtime"),
        (10, "none", (1, 3, 224, 298), "PyTorch"),  # 298 is not halved five times without a remainder
        pytest.param(50, "none", (2, 3, 224, 224), "ONNX Runtime", marks=pytest.mark.slow),
        pytest.param(152, "none", (3, 3, 224, 224), "ONNX Runtime", marks=pytest.mark.slow),
    ],
)
def test_the_gradients_are_those_of_autograd(depth, fusion, shape, by):
    model = weights.untrained(depth, fusion)
    if fusion == "add":
        model.network.detail[1].weight.fill_(0.5)
    pixels = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    every = range(len(pixels))
    for target in (None, TStage.T4):
        wanted = [PassRequest(every, tuple(every), target)]
        found, expected = (ready(model, "cpu", name).classify(pixels, wanted) for name in ("onnx", "torch"))
        assert found.backend.startswith(by)
        assert found.targets.tolist() == expected.targets.tolist()
        for name, usual in expected.maps.items():
            away = np.abs(found.maps[name] - usual) / usual.max()
            assert np.median(away) < 1e-5
            assert np.quantile(away, 0.99) < (1e-5 if depth == 10 else 2e-3)  # see `onnx_graph.MAP_TOLERANCES`
        np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not EXPORTS_GRADIENTS, reason="torch before 2.10 cannot export the gradients")
@pytest.mark.parametrize("broken", ["_mask", "_through"])
def test_a_graph_with_other_gradients_is_not_used(own_cache, monkeypatch, broken):
    """Maps as from an error in the backward pass."""
    usual = getattr(gradient_graph, broken)
    wrong = {
        "_mask": lambda outcome: torch.ones_like(outcome),
        "_through": lambda convolution, gradient: 1.01 * usual(convolution, gradient),
    }
    monkeypatch.setattr(gradient_graph, broken, wrong[broken])
    with pytest.raises(GraphError, match=r"the map of stem for 3 slices by .*of its maximum"):
        verified_session(a_network(), SIZE, own_cache, gradients=True)
    assert not own_cache.exists()
    by = ready(weights.untrained(10, "none"), "cpu", "onnx")
    wanted = [PassRequest(range(3), (0, 1, 2), TStage.T2)]
    seen, expected = (
        by.classify(PIXELS, wanted),
        ready(weights.untrained(10, "none"), "cpu", "torch").classify(PIXELS, wanted),
    )
    assert seen.backend.startswith("PyTorch")
    assert "The fine map needs gradients. The graph of this network differs" in seen.warning
    np.testing.assert_array_equal(seen.maps["stem"], expected.maps["stem"])
    assert by.classify(PIXELS).backend.startswith("ONNX Runtime")


def test_the_export_is_quiet_after_others(own_cache, capfd):
    logits(verified_session(a_network(), SIZE, own_cache))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_export_is_quiet(own_cache):
    code = (
        "from GTRStagingLib.model import backbone, weights; import numpy as np\n"
        "backbone.ready(weights.untrained(10), 'cpu', 'onnx').classify(np.zeros((1, 3, 224, 224), np.float32))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", code], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")


# -- the cache -----------------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_exported_or_compared(own_cache, exports, comparisons):
    network = a_network()
    first = logits(verified_session(network, SIZE, own_cache))
    assert (len(exports), len(comparisons)) == (1, 1)
    second = logits(verified_session(network, SIZE, own_cache))
    assert (len(exports), len(comparisons)) == (1, 1)
    np.testing.assert_array_equal(first, second)
    the_files(own_cache)


def test_other_weights_under_the_same_card_have_a_graph_of_their_own(own_cache, exports):
    """The key of a graph is computed from the weights, not from the card."""
    model = weights.untrained(10, "none", seed=1)
    other = weights.Model(replace(model.card, name="other"), a_network(seed=2))
    first, second = (ready(one, "cpu", "onnx").classify(PIXELS).logits for one in (model, other))
    assert len(exports) == 2
    assert np.abs(first - second).max() > 1e-2


@pytest.mark.parametrize("harm", ["cut short", "a bit", "gone", "no note", "a note that is none", "a note of another"])
def test_a_damaged_file_is_made_anew(own_cache, exports, harm):
    network = a_network()
    expected = logits(verified_session(network, SIZE, own_cache))
    graph, note = the_files(own_cache)
    whole = graph.read_bytes()
    if harm == "cut short":
        graph.write_bytes(whole[:-1000])
    elif harm == "a bit":
        middle = len(whole) // 2
        graph.write_bytes(whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :])
    elif harm == "gone":
        graph.unlink()
    elif harm == "no note":
        note.unlink()
    else:
        note.write_text("[]" if harm == "a note that is none" else '{"sha256": "00", "verified": []}')
    np.testing.assert_array_equal(logits(verified_session(network, SIZE, own_cache)), expected)
    assert len(exports) == 2
    assert graph.read_bytes() == whole
    logits(verified_session(network, SIZE, own_cache))
    assert len(exports) == 2


@pytest.mark.parametrize("other", [a_network(seed=2), weights.untrained(18, "none").network, "none"])
def test_a_graph_of_another_model_is_found_out_and_replaced(own_cache, tmp_path, exports, other):
    """As after copying a cache: the note fits the file, but this environment has not verified it."""
    network = a_network()
    expected = logits(verified_session(network, SIZE, own_cache))
    graph, note = the_files(own_cache)
    if other == "none":
        foreign = b"no graph at all"
    else:
        verified_session(other, SIZE, tmp_path / "elsewhere")
        foreign = the_files(tmp_path / "elsewhere")[0].read_bytes()
    before = len(exports)
    graph.write_bytes(foreign)
    note.write_text(sealed(graph, ["onnxruntime 0.1 on a VAX"]))
    np.testing.assert_array_equal(logits(verified_session(network, SIZE, own_cache)), expected)
    assert len(exports) == before + 1


def test_another_machine_or_version_compares_again_and_exports_nothing(own_cache, exports, comparisons):
    network = a_network()
    verified_session(network, SIZE, own_cache)
    graph, note = the_files(own_cache)
    before = json.loads(note.read_text())
    note.write_text(sealed(graph, ["onnxruntime 0.1 on a VAX"]))
    verified_session(network, SIZE, own_cache)
    assert (len(exports), len(comparisons)) == (1, 2)
    assert json.loads(note.read_text())["verified"] == ["onnxruntime 0.1 on a VAX", *before["verified"]]
    verified_session(network, SIZE, own_cache)
    assert len(comparisons) == 2


@pytest.mark.parametrize("seal", [None, "0" * 64, "of another graph", "by another secret"])
def test_a_note_that_another_has_written_is_not_trusted(own_cache, tmp_path, exports, comparisons, seal):
    """Whoever can write to the folder replaces the graph, and writes that this environment has verified it."""
    network = a_network()
    expected = logits(verified_session(network, SIZE, own_cache))
    graph, note = the_files(own_cache)
    whole = json.loads(note.read_text())
    verified_session(a_network(seed=2), SIZE, tmp_path / "elsewhere")
    (foreign,) = (tmp_path / "elsewhere").glob("*.onnx")
    graph.write_bytes(foreign.read_bytes())
    forged = {"sha256": sha256_of(graph), "verified": whole["verified"], "seal": seal}
    if seal == "of another graph":
        own = own_cache / foreign.name
        own.write_bytes(foreign.read_bytes())
        forged["seal"] = json.loads(sealed(own, whole["verified"]))["seal"]
        own.unlink()
    elif seal == "by another secret":
        secret = bytes(32)
        forged["seal"] = onnx_graph._seal(secret, graph, forged["sha256"], forged["verified"])
    note.write_text(json.dumps({name: value for name, value in forged.items() if value is not None}))
    before = len(exports)
    np.testing.assert_array_equal(logits(verified_session(network, SIZE, own_cache)), expected)
    assert len(exports) == before + 1
    assert json.loads(note.read_text()) == whole


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_secret_that_others_can_read_is_not_used(own_cache, exports):
    network = a_network()
    expected = logits(verified_session(network, SIZE, own_cache))
    (secret,) = own_cache.glob(".secret-*")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.chmod(0o644)
    for _ in range(2):  # no cache: exported each time
        np.testing.assert_array_equal(logits(verified_session(network, SIZE, own_cache)), expected)
    assert len(exports) == 3
    secret.chmod(0o600)
    verified_session(network, SIZE, own_cache)
    assert len(exports) == 3
    secret.write_bytes(b"")
    verified_session(network, SIZE, own_cache)
    assert len(exports) == 4
    secret.rename(own_cache / "elsewhere")
    secret.symlink_to(own_cache / "elsewhere")
    verified_session(network, SIZE, own_cache)
    assert len(exports) == 5


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_folder_that_others_can_write_to_is_used_by_its_seals(own_cache, exports):
    """As a shared cache; each user has a note and a secret of their own."""
    network = a_network()
    own_cache.mkdir()
    own_cache.chmod(0o1777)
    verified_session(network, SIZE, own_cache)
    verified_session(network, SIZE, own_cache)
    assert len(exports) == 1


def test_without_a_writable_folder_the_graph_stays_in_memory(tmp_path, exports):
    network = a_network()
    (tmp_path / "file").write_text("where a folder should be")
    sessions = [verified_session(network, SIZE, folder) for folder in (None, tmp_path / "file" / "onnx")]
    np.testing.assert_array_equal(*map(logits, sessions))
    assert len(exports) == 2


def test_a_user_without_a_home_needs_none(homeless, exports):
    assert onnx_graph.default_folder() is None
    assert ready(weights.untrained(10), "cpu", "onnx").classify(PIXELS).backend.startswith("ONNX Runtime")
    assert len(exports) == 1


def _made(folder):
    return logits(verified_session(a_network(), SIZE, folder)).tobytes()


@pytest.mark.slow
def test_processes_can_export_at_the_same_time(own_cache):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert len(set(pool.map(_made, [own_cache] * 8))) == 1
    the_files(own_cache)


# -- not believed --------------------------------------------------------------------------------------------------


def test_a_graph_that_differs_is_refused_and_not_kept(own_cache, monkeypatch):
    """An exporter with the smallest detectable error."""
    real = onnx_graph.folded

    def wrong(network):
        copy = real(network)
        copy.fc.bias[2] += 3e-4
        return copy

    monkeypatch.setattr(onnx_graph, "folded", wrong)
    with pytest.raises(
        GraphError,
        match=r"logits for 3 slices by 0\.0003, logits for 1 slice by 0\.0003; expected at most 0\.0001",
    ):
        verified_session(a_network(), SIZE, own_cache)
    assert not own_cache.exists()


def test_a_failed_export_names_the_remedy(own_cache, monkeypatch):
    def gone(*given, **how):
        raise TypeError("export() got an unexpected keyword argument 'dynamo'")

    monkeypatch.setattr(torch.onnx, "export", gone)
    with pytest.raises(GraphError, match=r"cannot export.*`backend=torch`"):
        verified_session(a_network(), SIZE, own_cache)
    seen = ready(weights.untrained(10), "cpu").classify(PIXELS[:1])
    assert seen.backend.startswith("PyTorch")
    assert "cannot export" in seen.warning
