import json
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

from GTRStagingLib import weights
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
    card, folder = weights.import_checkpoint(path, recipe=RELEASED, name="released", sha256=sha256_of(path))
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
    weights.import_checkpoint(path, recipe=RELEASED, name="r152")
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
    for fusion, depth in (("none", 18), ("add", 10), ("concat", 18)):
        start = weights.untrained(depth, fusion)
        torch.save(start.network.state_dict(), tmp_path / f"{fusion}.pth")
        card, _ = weights.import_checkpoint(tmp_path / f"{fusion}.pth", recipe=GTR, name=f"from-{fusion}")
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
        weights.import_checkpoint(path, recipe=RELEASED, name="bad", out=tmp_path / "out")
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
        weights.import_checkpoint(tmp_path / "model.pth", recipe=RELEASED, name="bad", sha256="0" * 64)
    assert not weights.models_folder().exists()


def test_the_published_file_is_known_by_its_hash():
    ((hash_, name),) = weights.PUBLISHED_FILES.items()
    assert hash_ == "df3fc8e82b45d387254c3502f0cea81a6f1163d4adbdeddd4dd6bc5e10999561"
    assert "233,519,033" in name


def test_a_file_that_is_not_the_published_one_is_not_called_so(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "models.pth", "bare")
    card, _ = weights.import_checkpoint(path, recipe=RELEASED, name="mine")
    assert "not a file known by its hash" in card.provenance
    assert card.licence == "not stated in the file"


@pytest.mark.parametrize("name", ["", "untrained", "../x", "a/b", ".hidden", "a b"])
def test_names_that_are_no_names_are_refused(tmp_path, name):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    with pytest.raises(WeightsError, match="Model name"):
        weights.import_checkpoint(path, recipe=RELEASED, name=name)


def test_an_existing_model_is_not_overwritten(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    before = sha256_of(tmp_path / "m" / "model.safetensors")
    with pytest.raises(WeightsError, match="exists"):
        weights.save(a_model, tmp_path / "m")
    assert sha256_of(tmp_path / "m" / "model.safetensors") == before


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(WeightsError, match="is not a file"):
        weights.import_checkpoint(tmp_path / "none.pth", recipe=RELEASED, name="x")


# -- folders -------------------------------------------------------------------------------------------------------


def test_models_are_found_by_name_and_by_folder(tmp_path, a_model):
    assert weights.available() == {"untrained": None}
    weights.save(a_model, weights.models_folder() / "mine")
    assert set(weights.available()) == {"untrained", "mine"}
    assert weights.load("mine").card == weights.load(str(weights.models_folder() / "mine")).card
    with pytest.raises(WeightsError, match="neither one of untrained, mine nor a folder"):
        weights.load("yours")


def test_saved_and_loaded_is_the_same_network(tmp_path, a_model):
    card = weights.save(a_model, tmp_path / "m")
    assert card.sha256 == a_model.card.sha256  # the untrained card names the hash of what would be written
    loaded = weights.load(str(tmp_path / "m"))
    for key, value in a_model.network.state_dict().items():
        assert (loaded.network.state_dict()[key] == value).all()
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def damage(folder, what):
    path, card = folder / "model.safetensors", folder / "card.json"
    data = json.loads(card.read_text())
    if what == "one bit":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif what == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "missing weights":
        path.unlink()
    elif what == "not safetensors":
        path.write_bytes(b"nothing")
        card.write_text(json.dumps({**data, "sha256": sha256_of(path)}))
    elif what == "another depth":
        card.write_text(json.dumps({**data, "depth": 50}))
    elif what == "broken card":
        card.write_text("{")
    elif what == "no object":
        card.write_text("[]")
    elif what == "no recipe":
        del data["recipe"]
        card.write_text(json.dumps(data))
    elif what == "other stages":
        card.write_text(json.dumps({**data, "stages": ["T4", "T3", "T2", "T1"]}))
    elif what == "unknown field":
        card.write_text(json.dumps({**data, "accuracy": 1.0}))
    elif what == "unknown status":
        card.write_text(json.dumps({**data, "status": "approved"}))
    elif what == "no record":
        card.write_text(json.dumps({**data, "training": "long"}))
    elif what == "perhaps leaking":
        card.write_text(json.dumps({**data, "leaking": "no"}))
    elif what == "no temperature":
        card.write_text(json.dumps({**data, "temperature": 0}))


DAMAGES = {
    "one bit": "its card says",
    "cut short": "its card says",
    "missing weights": "is missing",
    "not safetensors": "cannot be read",
    "another depth": "not those of a ResNet-50",
    "broken card": "cannot be read",
    "no object": "holds a list",
    "no recipe": "not valid: 'recipe'",
    "other stages": "T1 to T4 in this order",
    "unknown field": "unknown fields .'accuracy'",
    "unknown status": "'approved'",
    "no temperature": "positive number",
    "no record": "an object or null",
    "perhaps leaking": "true or false",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_model_is_refused(tmp_path, a_model, what):
    weights.save(a_model, tmp_path / "m")
    damage(tmp_path / "m", what)
    with pytest.raises(WeightsError, match=DAMAGES[what]):
        weights.verify(str(tmp_path / "m"))


def test_the_untrained_model_is_the_same_every_time_and_says_what_it_is():
    first, second = weights.untrained(18), weights.untrained(18)
    assert first.card == second.card
    assert first.card.sha256 != weights.untrained(18, seed=1).card.sha256
    assert "UNTRAINED" in first.card.warning
    state = torch.random.get_rng_state()
    weights.untrained(18)
    assert (torch.random.get_rng_state() == state).all()


def test_only_a_model_that_has_learned_carries_no_warning(tmp_path):
    path = as_the_release_writes_it(a_resnet(), tmp_path / "m.pth", "bare")
    assert weights.import_checkpoint(path, recipe=RELEASED, name="m")[0].warning is None


def test_half_the_space_and_nearly_the_same_weights(tmp_path):
    model = weights.untrained(10)
    whole, half = (weights.save(model, tmp_path / name, half=name == "half") for name in ("whole", "half"))
    sizes = {name: (tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")}
    assert sizes["half"] < 0.51 * sizes["whole"]
    assert sizes["half"] < 12e6  # what may be shipped
    assert half.sha256 == sha256_of(tmp_path / "half" / "model.safetensors") != whole.sha256
    loaded = weights.load(str(tmp_path / "half")).network.state_dict()
    for key, value in model.network.state_dict().items():
        assert loaded[key].dtype == value.dtype
        assert torch.allclose(loaded[key], value, rtol=2**-11, atol=2**-24), key


def test_what_float16_cannot_hold_is_refused(tmp_path):
    model = weights.untrained(10)
    model.network.bn1.running_var[3] = 1e5
    with pytest.raises(WeightsError, match=r"above 65,504 in bn1.running_var.*--half"):
        weights.save(model, tmp_path / "m", half=True)
    assert not list(tmp_path.iterdir())


def test_feature_statistics_come_back_by_their_hash(tmp_path, a_model):
    rng = np.random.default_rng(0)
    kept = weights.FeatureStatistics(rng.normal(size=4).astype("f4"), rng.normal(size=(4, 4)).astype("f4"), 17)
    card = weights.save(a_model, tmp_path / "m", features=kept)
    assert weights.load(str(tmp_path / "m")).card == card
    back = weights.load_features(str(tmp_path / "m"))
    assert (back.mean == kept.mean).all()
    assert (back.covariance == kept.covariance).all()
    assert back.n == 17
    path = tmp_path / "m" / "features.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="its card says"):
        weights.load_features(str(tmp_path / "m"))
    weights.save(a_model, tmp_path / "without")
    assert weights.load_features(str(tmp_path / "without")) is weights.load_features("untrained") is None


def test_a_card_of_before_training_existed_still_loads(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    path = tmp_path / "m" / "card.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("leaking", "features_sha256", "training")}
    path.write_text(json.dumps(old))
    card = weights.load(str(tmp_path / "m")).card
    assert (card.leaking, card.features_sha256, card.training) == (False, None, None)


def test_a_leak_is_said_whatever_else_is(a_model):
    from dataclasses import replace

    trained = replace(a_model.card, status="trained")
    assert trained.warning is None
    assert "LEAKING" in replace(trained, leaking=True).warning
    both = replace(a_model.card, status="demonstration", leaking=True).warning
    assert "DEMONSTRATION" in both
    assert "LEAKING" in both


def test_probabilities_are_the_softmax_at_the_cards_temperature(a_model):
    from dataclasses import replace

    logits = np.array([[1.0, 2, 3, 4], [900, 0, 0, 0]], dtype=np.float32)
    for temperature in (1.0, 2.5):
        card = replace(a_model.card, temperature=temperature)
        expected = torch.softmax(torch.tensor(logits, dtype=torch.float64) / temperature, 1).numpy()
        np.testing.assert_allclose(weights.probabilities(logits, card), expected, atol=1e-12)
    with pytest.raises(Exception, match="not finite"):
        weights.probabilities(np.array([[np.nan, 0, 0, 0]]), a_model.card)


def test_imagenet_weights_offline_are_a_clear_error(tmp_path, monkeypatch):
    """No network: the proxy points at a closed port, and the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(WeightsError, match=r"network connection, or the file resnet18-f37072fd.pth in .*checkpoints"):
        weights.import_imagenet(recipe=GTR, name="start", depth=18)
    assert not weights.models_folder().exists()


def test_there_are_no_imagenet_weights_of_a_resnet10():
    with pytest.raises(WeightsError, match="no ImageNet weights of ResNet-10"):
        weights.import_imagenet(recipe=GTR, name="start", depth=10)


def test_imagenet_weights_of_another_hash_are_refused(tmp_path, monkeypatch):
    """A file that somebody put into torchvision's cache: torchvision alone would take it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(a_resnet(classes=1000).state_dict(), cache / "resnet18-f37072fd.pth")
    with pytest.raises(WeightsError, match="expected one that begins with f37072fd"):
        weights.import_imagenet(recipe=GTR, name="start", depth=18)
