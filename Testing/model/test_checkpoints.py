import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from helpers import ROOT
from helpers.checkpoints import a_resnet, as_the_release_writes_it
from helpers.hostile import require_plain
from helpers.passes import passed
from PIL import Image

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.imaging.keyslice import by_index
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan
from GTRStagingLib.model import checkpoints, registry, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.recipe import GTR, RELEASED
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.support.files import sha256_of


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))


@pytest.mark.parametrize("shape", ["bare", "best_model", "module.", "legacy"])
def test_every_shape_of_the_release_is_imported(tmp_path, shape):
    network = a_resnet()
    path = as_the_release_writes_it(network, tmp_path / "model.pth", shape)
    card, folder = checkpoints.import_checkpoint(path, recipe=RELEASED, name="released", sha256=sha256_of(path))
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]
    model = weights.load("released")
    assert model.card == card
    assert (card.depth, card.fusion, card.status, card.recipe) == (18, "none", "trained", RELEASED)
    assert card.sha256 == sha256_of(folder / "model.safetensors")
    assert sha256_of(path) in card.provenance
    for key, value in network.state_dict().items():
        assert (model.network.state_dict()[key] == value).all(), key


def nested(state, *keys):
    for key in keys:
        state = {key: state, "epoch": 3}
    return state


WAYS_TO_SAVE = {
    "torch.compile": lambda net: torch.compile(net).state_dict(),
    "a compiled part": lambda net: {k.replace("layer1.", "layer1._orig_mod."): t for k, t in net.state_dict().items()},
    "compiled, parallel": lambda net: torch.nn.DataParallel(torch.compile(net)).state_dict(),
    "parallel, compiled": lambda net: torch.compile(torch.nn.DataParallel(net)).state_dict(),
    "Lightning's model": lambda net: nested({f"model.{k}": t for k, t in net.state_dict().items()}, "state_dict"),
    "Lightning's net": lambda net: nested({f"net.{k}": t for k, t in net.state_dict().items()}, "state_dict"),
    "Lightning, compiled": lambda net: nested(
        {f"model._orig_mod.{k}": t for k, t in net.state_dict().items()}, "state_dict"
    ),
    "with a loss": lambda net: nested(
        {f"model.{k}": t for k, t in net.state_dict().items()} | {"criterion.weight": torch.ones(4)}, "state_dict"
    ),
    "under model": lambda net: nested(net.state_dict(), "model"),
    "nested": lambda net: nested(net.state_dict(), "state_dict", "model"),
    "nested in three": lambda net: nested(
        {f"module.model.{k}": t for k, t in net.state_dict().items()}, "model_state_dict", "model", "state_dict"
    ),
}


@pytest.mark.parametrize("way", WAYS_TO_SAVE)
def test_wrapped_and_nested_weights_are_imported(tmp_path, way):
    network = a_resnet(10)
    expected = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    torch.save(WAYS_TO_SAVE[way](network), tmp_path / "m.pth")
    card, _ = checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="m")
    found = weights.load("m").network.state_dict()
    assert all((found[key] == tensor).all() for key, tensor in expected.items())
    assert ("criterion.weight" in card.provenance) == (way == "with a loss")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"model": state, "state_dict": state}, "several state dicts, under 'state_dict', 'model'"),
        (lambda state: {**state, "_orig_mod.conv1.weight": state["conv1.weight"]}, "conv1.weight twice"),
        (lambda state: {**{f"model.{k}": t for k, t in state.items()}, "fc.weight": torch.ones(4, 9)}, "another arch"),
        (lambda state: {**{f"model.{k}": t for k, t in state.items()}, "model.gate.x": torch.ones(4)}, "unknown"),
        (lambda state: nested(state, *["model"] * 9), "without weights"),
    ],
)
def test_weights_of_two_networks_are_refused(tmp_path, change, message):
    torch.save(change(a_resnet(10).state_dict()), tmp_path / "m.pth")
    with pytest.raises(WeightsError, match=message):
        checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="m")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("found", "name"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (np.zeros(3), "numpy"),
        (Path("x"), "pathlib"),
    ],
)
def test_what_torch_refuses_names_the_class(tmp_path, found, name, zipped):
    torch.save({"model": {}, "hyper_parameters": found}, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=rf"an object of {name}.*save model\.state_dict\(\) alone") as met:
        checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="m")
    require_plain(str(met.value))


@pytest.mark.slow
def test_an_imported_resnet152_gives_torchvisions_logits_on_the_same_picture(tmp_path, shared_data):
    """Compare the released recipe and a checkpoint of the training script with torchvision's own pipeline."""
    from torchvision import transforms

    from GTRStagingLib.imaging import keyslice, scans
    from GTRStagingLib.staging.preprocess import prepare

    network = a_resnet(152)
    path = as_the_release_writes_it(network, tmp_path / "best_model.pth", "best_model")
    checkpoints.import_checkpoint(path, recipe=RELEASED, name="r152")
    model = weights.load("r152")
    usual = transforms.Compose(
        [
            transforms.Resize(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    for picture in sorted((shared_data / "released").glob("case00?.png")):
        with torch.no_grad():
            expected = network(usual(Image.open(picture).convert("RGB"))[None]).numpy()
        scan = scans.read_scan(picture)
        slices = prepare(scan.image, keyslice.by_index(scan.image, 0), RELEASED, intensity=scan.intensity)
        found = passed(model.network, slices.pixels).logits
        assert np.abs(expected).max() > 1e-2
        assert np.abs(found - expected).max() <= 1e-4


def as_numpy_1_writes_it(path):
    """numpy 1.x names its scalars' maker without the underscore; everything else in the file stays."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    (pickled,) = (name for name in content if name.endswith("/data.pkl"))
    assert content[pickled].count(b"numpy._core.multiarray") == 1
    content[pickled] = content[pickled].replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, data in content.items():
            new.writestr(name, data)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="rewrites what numpy 2 writes")
def test_an_accuracy_that_numpy_1_wrote_is_no_code(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "best_model.pth", "best_model")
    as_numpy_1_writes_it(path)
    card, _ = checkpoints.import_checkpoint(path, recipe=RELEASED, name="old")
    assert card.depth == 18


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_imported_as_float32_and_run(tmp_path, dtype):
    """Counters too, as in a dictionary whose every tensor was halved."""
    network = a_resnet()
    torch.save({key: value.to(dtype) for key, value in network.state_dict().items()}, tmp_path / "m.pth")
    checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="m")
    loaded = weights.load("m").network
    kinds = {tensor.dtype for key, tensor in loaded.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert kinds == {torch.float32}
    pixels = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    expected = passed(weights.network_with(network.state_dict(), 18, "none"), pixels).logits
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(passed(loaded, pixels).logits, expected, rtol=0, atol=0.005)


def test_a_half_checkpoint_stages(tmp_path, a_ct):
    torch.save(a_resnet().half().state_dict(), tmp_path / "m.pth")
    checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="half")
    scan = Scan(voxels=MemoryVoxels(a_ct), intensity="HU", spacing_known=True, digest="ab" * 32, format="NIfTI")
    result = stage_case(scan, ready(weights.load("half")), key_slice=by_index(a_ct, 4))
    assert len(result.prediction.slices) == 3


def test_tensors_that_share_their_memory_are_imported(tmp_path):
    state = a_resnet().state_dict()
    state["bn1.weight"] = state["bn1.bias"] = torch.full((1,), 0.5).expand(64)
    torch.save(state, tmp_path / "m.pth")
    checkpoints.import_checkpoint(tmp_path / "m.pth", recipe=GTR, name="m")
    assert (weights.load("m").network.bn1.bias == 0.5).all()


def test_depth_and_fusion_are_read_off_the_weights(tmp_path):
    for fusion, depth in (("none", 18), ("add", 10), ("concat", 18)):
        start = weights.untrained(depth, fusion)
        torch.save(start.network.state_dict(), tmp_path / f"{fusion}.pth")
        card, _ = checkpoints.import_checkpoint(tmp_path / f"{fusion}.pth", recipe=GTR, name=f"from-{fusion}")
        assert (card.depth, card.fusion) == (depth, fusion)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def hostile(path):
    torch.save({"model_state_dict": {"fc.weight": Hostile()}}, path)


def hostile_bare_pickle(path):
    path.write_bytes(pickle.dumps(Hostile()))


def cut_short(path):
    as_the_release_writes_it(a_resnet(), path, "bare")
    path.write_bytes(path.read_bytes()[:100_000])


def cut_short_legacy(path):
    as_the_release_writes_it(a_resnet(), path, "legacy")
    path.write_bytes(path.read_bytes()[:100_000])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("<html>404 not found</html>")


def imagenet_classes(path):
    torch.save(a_resnet(classes=1000).state_dict(), path)


def another_depth(path):
    torch.save(torchvision.models.resnet34(num_classes=4).state_dict(), path)


def another_architecture(path):
    torch.save(torchvision.models.squeezenet1_1(num_classes=4).state_dict(), path)


def a_key_missing(path):
    state = a_resnet().state_dict()
    del state["layer4.1.conv2.weight"]
    torch.save(state, path)


def a_key_too_many(path):
    torch.save({**a_resnet().state_dict(), "attention.weight": torch.zeros(3)}, path)


def a_wrong_shape(path):
    torch.save({**a_resnet().state_dict(), "conv1.weight": torch.zeros(64, 1, 7, 7)}, path)


def not_a_number(path):
    state = a_resnet().state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, path)


def with_conv1(path, change):
    state = a_resnet().state_dict()
    torch.save({**state, "conv1.weight": change(state["conv1.weight"])}, path)


def whole_numbers(path):
    with_conv1(path, lambda weight: weight.to(torch.int32))


def complex_numbers(path):
    with_conv1(path, lambda weight: weight.to(torch.complex64))


def sparse(path):
    with_conv1(path, lambda weight: weight.to_sparse())


def quantised(path):
    with_conv1(path, lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8))


def without_values(path):
    with_conv1(path, lambda weight: weight.to("meta"))


def more_than_a_float32_holds(path):
    with_conv1(path, lambda weight: torch.full_like(weight, 1e300, dtype=torch.float64))


def a_negative_variance(path):
    state = a_resnet().state_dict()
    state["layer2.0.bn1.running_var"][3] = -0.25
    torch.save(state, path)


def a_whole_model(path):
    torch.save(a_resnet(), path)


def a_list(path):
    torch.save([torch.zeros(3)], path)


def no_weights(path):
    torch.save({"epoch": 3, "acc": 0.5}, path)


BAD_FILES = {
    hostile: "contains code",
    hostile_bare_pickle: "contains code|cannot be read",
    a_whole_model: "contains code",
    cut_short: "damaged, truncated",
    cut_short_legacy: "damaged, truncated",
    empty: "damaged, truncated",
    text: "not a checkpoint",
    imagenet_classes: "1000 classes; expected 4",
    another_depth: r"another architecture: blocks \[3, 4, 6, 3\]",
    another_architecture: "another architecture",
    a_key_missing: r"1 keys missing \(layer4.1.conv2.weight\)",
    a_key_too_many: r"1 unknown \(attention.weight\)",
    a_wrong_shape: r"conv1.weight has shape \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)",
    not_a_number: "NaN or infinite values in layer1.0.conv1.weight",
    whole_numbers: r"conv1.weight as torch.int32, .*expected a dense tensor of floating-point",
    complex_numbers: r"conv1.weight as torch.complex64",
    sparse: r"conv1.weight as torch.float32, torch.sparse_coo",
    quantised: r"conv1.weight as torch.qint8",
    without_values: r"conv1.weight as torch.float32, torch.strided, on meta",
    more_than_a_float32_holds: "NaN or infinite values in conv1.weight",
    a_negative_variance: r"-0.25 in layer2.0.bn1.running_var; expected variances",
    a_list: "contains a list",
    no_weights: "without weights",
}


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_bad_files_are_refused_and_nothing_is_written(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    make(path)
    with pytest.raises(WeightsError, match=BAD_FILES[make]):
        checkpoints.import_checkpoint(path, recipe=RELEASED, name="bad", out=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) in (["model.pth"], ["model.pth", "out"])


def test_the_hostile_file_is_indeed_hostile(tmp_path):
    """Loaded without `weights_only`, the file runs its command; otherwise the test above proves nothing."""
    hostile(tmp_path / "model.pth")
    code = "import torch; torch.load('model.pth', weights_only=False)"
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{ROOT}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert (tmp_path / "PWNED").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch wonders at the pickle protocols that garbage asks for
def test_no_garbage_ends_in_anything_but_a_weights_error(tmp_path):
    """Seeded changes of bytes in the headers of small files in both formats, and noise that begins like a pickle."""
    rng = np.random.default_rng(1)
    path, whole = tmp_path / "model.pth", []
    for zipped in (True, False):
        torch.save(
            {"fc.weight": torch.zeros(4, 8), "acc": np.float64(0.5)}, path, _use_new_zipfile_serialization=zipped
        )
        whole.append(path.read_bytes())
    kinds = set()
    for attempt in range(600):
        content = bytearray(whole[attempt % 2])
        places = rng.integers(0, min(len(content), 600), size=1 + attempt % 4)
        for place in places:
            content[place] = rng.integers(0, 256)
        if attempt % 3 == 0:
            content = bytearray(b"\x80\x02" + rng.integers(0, 256, size=40).astype(np.uint8).tobytes())
        path.write_bytes(content)
        with pytest.raises(WeightsError) as met:
            checkpoints.import_checkpoint(path, recipe=GTR, name="bad")
        require_plain(str(met.value))
        kinds.add(type(met.value.__cause__))
    assert {pickle.UnpicklingError, RuntimeError, IndexError} <= kinds  # it did get far enough to be damaged
    assert not registry.models_folder().exists()


def test_a_wrong_hash_is_refused_before_anything_is_loaded(tmp_path):
    hostile(tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        checkpoints.import_checkpoint(tmp_path / "model.pth", recipe=RELEASED, name="bad", sha256="0" * 64)
    assert not registry.models_folder().exists()


def test_the_published_file_is_known_by_its_hash():
    ((hash_, name),) = checkpoints.PUBLISHED_FILES.items()
    assert hash_ == "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561"
    assert "233,519,033" in name


def test_a_file_that_is_not_the_published_one_is_not_called_so(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "models.pth", "bare")
    card, _ = checkpoints.import_checkpoint(path, recipe=RELEASED, name="mine")
    assert "a file of unknown hash" in card.provenance
    assert card.licence == "not stated in the file"


@pytest.mark.parametrize("name", ["", "untrained", "../x", "a/b", ".hidden", "a b"])
def test_names_that_are_no_names_are_refused(tmp_path, name):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    with pytest.raises(WeightsError, match="Model name"):
        checkpoints.import_checkpoint(path, recipe=RELEASED, name=name)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(WeightsError, match="is not a file"):
        checkpoints.import_checkpoint(tmp_path / "none.pth", recipe=RELEASED, name="x")


def test_only_a_model_that_has_learned_carries_no_warning(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    assert checkpoints.import_checkpoint(path, recipe=RELEASED, name="m")[0].warning is None


def test_without_a_home_directory_the_place_must_be_named(tmp_path, homeless):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    with pytest.raises(WeightsError, match="Set GTRSTAGING_MODELS to a folder, or give `out`"):
        checkpoints.import_checkpoint(path, recipe=GTR, name="m")
    assert checkpoints.import_checkpoint(path, recipe=GTR, name="m", out=tmp_path)[1] == tmp_path / "m"


# -- ImageNet --------------------------------------------------------------------------------------------------------


def test_imagenet_under_a_new_head_is_the_same_every_time(tmp_path, monkeypatch):
    """torchvision's own network replaces the download of its loader."""
    given = a_resnet(classes=1000).state_dict()
    monkeypatch.setattr(checkpoints, "imagenet_state", lambda depth: dict(given))
    cards = []
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        card, folder = checkpoints.import_imagenet(recipe=GTR, name=name, depth=18)
        assert (torch.random.get_rng_state() == before).all()
        assert sha256_of(folder / "model.safetensors") == card.sha256
        cards.append(card)
    assert cards[0].sha256 == cards[1].sha256
    assert (cards[0].status, cards[0].depth, cards[0].fusion) == ("untrained", 18, "add")
    assert "'first' is UNTRAINED" in cards[0].warning
    state = weights.load("first").network.state_dict()
    own = {key for key in state if key.startswith(("fc.", "detail."))}
    assert {key for key in given if not key.startswith("fc.")} == set(state) - own
    assert all(torch.equal(state[key], given[key]) for key in set(state) - own)
    start = weights.untrained(18).network.state_dict()
    assert all(torch.equal(state[key], start[key]) for key in own)


def test_imagenet_weights_offline_are_a_clear_error(tmp_path, monkeypatch):
    """No network: the proxy points at a closed port, and the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(WeightsError, match=r"network connection, or the file resnet18-f37072fd.pth in .*checkpoints"):
        checkpoints.import_imagenet(recipe=GTR, name="start", depth=18)
    assert not registry.models_folder().exists()


def test_imagenet_weights_of_another_hash_are_refused(tmp_path, monkeypatch):
    """A wrong file in torchvision's cache, which torchvision itself would load."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(a_resnet(classes=1000).state_dict(), cache / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match="expected one that begins with f37072fd"):
        checkpoints.import_imagenet(recipe=GTR, name="start", depth=18)


def test_there_are_no_imagenet_weights_of_a_resnet10():
    with pytest.raises(WeightsError, match="no ImageNet weights of ResNet-10"):
        checkpoints.import_imagenet(recipe=GTR, name="start", depth=10)
