import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from GTRStagingLib import checkpoints, weights
from GTRStagingLib.errors import WeightsError
from GTRStagingLib.files import sha256_of
from GTRStagingLib.recipe import GTR, RELEASED


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))


def a_resnet(depth=18, classes=4, seed=5):
    """torchvision's own, with statistics that make its logits lively."""
    torch.manual_seed(seed)
    network = getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.fill_(0.5)
    return network.eval()


def as_the_release_writes_it(network, path, shape):
    """The shapes in which the authors' training script leaves its weights."""
    state = network.state_dict()
    if shape == "module.":
        state = torch.nn.DataParallel(network).state_dict()
        assert all(key.startswith("module.") for key in state)
    if shape == "best_model":
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        sum(p.sum() for p in network.parameters()).backward()
        optimizer.step()
        state = {
            "epoch": 3,
            "model_state_dict": network.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": 0.25,
            "acc": np.float64(0.9),
        }
    torch.save(state, path, _use_new_zipfile_serialization=shape != "legacy")
    return path


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


@pytest.mark.slow
def test_an_imported_resnet152_gives_torchvisions_logits_on_the_same_picture(tmp_path, shared_data):
    """The released recipe and a checkpoint as the training script writes it, against torchvision's own pipeline."""
    from torchvision import transforms

    from GTRStagingLib import images, keyslice
    from GTRStagingLib.network import classify
    from GTRStagingLib.preprocess import prepare

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
        scan = images.read_scan(picture)
        slices = prepare(scan.image, keyslice.by_index(scan.image, 0), RELEASED, intensity=scan.intensity)
        found = classify(model.network, slices.pixels).logits
        assert np.abs(expected).max() > 1e-2
        assert np.abs(found - expected).max() <= 1e-4


def test_depth_and_fusion_are_read_off_the_weights(tmp_path):
    for fusion in ("none", "add", "concat"):
        start = weights.untrained(18, fusion)
        torch.save(start.network.state_dict(), tmp_path / f"{fusion}.pth")
        card, _ = checkpoints.import_checkpoint(tmp_path / f"{fusion}.pth", recipe=GTR, name=f"from-{fusion}")
        assert (card.depth, card.fusion) == (18, fusion)


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


def a_whole_model(path):
    torch.save(a_resnet(), path)


def a_list(path):
    torch.save([torch.zeros(3)], path)


def no_weights(path):
    torch.save({"epoch": 3, "acc": 0.5}, path)


BAD_FILES = {
    hostile: "would run code",
    hostile_bare_pickle: "would run code|cannot be read",
    a_whole_model: "would run code",
    cut_short: "damaged, cut short",
    cut_short_legacy: "damaged, cut short",
    empty: "damaged, cut short",
    text: "no checkpoint",
    imagenet_classes: "1000 classes; expected 4",
    another_depth: r"another architecture: blocks \[3, 4, 6, 3\]",
    another_architecture: "another architecture",
    a_key_missing: r"1 keys missing \(layer4.1.conv2.weight\)",
    a_key_too_many: r"1 unknown \(attention.weight\)",
    a_wrong_shape: r"conv1.weight has shape \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)",
    not_a_number: "NaN or infinite values in layer1.0.conv1.weight",
    a_list: "holds a list",
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
    """Loaded the careless way, it runs its command: the test above would otherwise prove nothing."""
    hostile(tmp_path / "model.pth")
    code = "import torch; torch.load('model.pth', weights_only=False)"
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
    assert (tmp_path / "PWNED").exists()


def test_a_wrong_hash_is_refused_before_anything_is_loaded(tmp_path):
    hostile(tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        checkpoints.import_checkpoint(tmp_path / "model.pth", recipe=RELEASED, name="bad", sha256="0" * 64)
    assert not weights.models_folder().exists()


def test_the_published_file_is_known_by_its_hash():
    ((hash_, name),) = checkpoints.PUBLISHED_FILES.items()
    assert hash_ == "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561"
    assert "233,519,033" in name


def test_a_file_that_is_not_the_published_one_is_not_called_so(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "models.pth", "bare")
    card, _ = checkpoints.import_checkpoint(path, recipe=RELEASED, name="mine")
    assert "not a file known by its hash" in card.provenance
    assert card.licence == "not stated in the file"


@pytest.mark.parametrize("name", ["", "untrained", "../x", "a/b", ".hidden", "a b"])
def test_names_that_are_no_names_are_refused(tmp_path, name):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    with pytest.raises(WeightsError, match="Model name"):
        checkpoints.import_checkpoint(path, recipe=RELEASED, name=name)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(WeightsError, match="is not a file"):
        checkpoints.import_checkpoint(tmp_path / "none.pth", recipe=RELEASED, name="x")


def test_only_a_model_that_has_learned_carries_no_warning(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    assert checkpoints.import_checkpoint(path, recipe=RELEASED, name="m")[0].warning is None


# -- ImageNet --------------------------------------------------------------------------------------------------------


def test_imagenet_weights_offline_are_a_clear_error(tmp_path, monkeypatch):
    """No network: the proxy points at a closed port, and the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(WeightsError, match=r"network connection, or the file resnet18-f37072fd.pth in .*checkpoints"):
        checkpoints.import_imagenet(recipe=GTR, name="start", depth=18)
    assert not weights.models_folder().exists()


def test_imagenet_weights_of_another_hash_are_refused(tmp_path, monkeypatch):
    """A file that somebody put into torchvision's cache: torchvision alone would take it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(a_resnet(classes=1000).state_dict(), cache / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match="expected one that begins with f37072fd"):
        checkpoints.import_imagenet(recipe=GTR, name="start", depth=18)
