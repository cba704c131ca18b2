import json
import os

import numpy as np
import pytest
import safetensors.torch
import torch

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import verify
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.support.files import sha256_of

OURS = {"untrained": None, "demonstration": registry.SHIPPED / "demonstration"}
"""Models shipped with the software."""


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))


def test_models_are_found_by_name_and_by_folder(tmp_path, a_model):
    assert registry.available() == OURS
    weights.save(a_model, registry.models_folder() / "mine")
    assert set(registry.available()) == {*OURS, "mine"}
    assert weights.load("mine").card == weights.load(str(registry.models_folder() / "mine")).card
    with pytest.raises(WeightsError, match="neither one of untrained, demonstration, mine nor a folder"):
        weights.load("yours")


def test_an_existing_model_is_not_overwritten(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    before = sha256_of(tmp_path / "m" / "model.safetensors")
    with pytest.raises(WeightsError, match="exists"):
        weights.save(a_model, tmp_path / "m")
    assert sha256_of(tmp_path / "m" / "model.safetensors") == before


@pytest.mark.smoke
def test_saved_and_loaded_is_the_same_network(tmp_path, a_model):
    card = weights.save(a_model, tmp_path / "m")
    assert card.sha256 == a_model.card.sha256  # the untrained card names the hash of what would be written
    loaded = weights.load(str(tmp_path / "m"))
    for key, value in a_model.network.state_dict().items():
        assert (loaded.network.state_dict()[key] == value).all()
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_a_half_model_of_another_tool_is_loaded_as_float32(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    path, card = tmp_path / "m" / "model.safetensors", tmp_path / "m" / "card.json"
    safetensors.torch.save_file({k: v.half() for k, v in a_model.network.state_dict().items()}, path)
    card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": sha256_of(path)}))
    loaded = weights.load(str(tmp_path / "m")).network
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert {buffer.dtype for buffer in loaded.buffers()} == {torch.float32, torch.int64}


def test_weights_that_lack_the_stems_own_keys_get_the_same_ones_every_time_and_draw_nothing(a_model):
    state = {k: v for k, v in a_model.network.state_dict().items() if not k.startswith("detail.")}
    before = torch.random.get_rng_state()
    filled = weights.network_with(state, 10, "add").state_dict()
    assert (torch.random.get_rng_state() == before).all()
    assert all(torch.equal(filled[k], v) for k, v in a_model.network.state_dict().items())


@pytest.mark.skipif(os.name != "posix", reason="modes and limits of POSIX")
def test_a_model_is_readable_for_whom_the_umask_allows(tmp_path, a_model):
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            weights.save(a_model, tmp_path / f"{umask}")
        finally:
            os.umask(before)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / f"{umask}").iterdir()}
        assert modes == {"model.safetensors": mode, "card.json": mode}


@pytest.mark.skipif(os.name != "posix", reason="modes and limits of POSIX")
def test_a_disk_that_takes_no_more_is_a_clear_error_and_leaves_nothing(tmp_path, a_model):
    """A real write that fails: the operating system lets this process write no file beyond a megabyte."""
    from helpers.limits import files_up_to

    message = r"cannot be written: .*needs 19,\d{3},\d{3} bytes; .* has [\d,]+ free. Free some"
    with files_up_to(1_000_000), pytest.raises(WeightsError, match=message):
        weights.save(a_model, tmp_path / "models" / "m")
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]


def test_without_a_home_directory_the_built_in_model_is_there(homeless):
    assert registry.models_folder() is None
    assert registry.available() == OURS
    assert registry.locate("untrained") is None


def test_a_folder_named_untrained_does_not_hide_the_built_in_model(tmp_path, a_model):
    weights.save(a_model, registry.models_folder() / "untrained")
    assert registry.available() == OURS
    assert registry.locate("untrained") is None


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
    elif what == "nested":
        card.write_text("[" * 100_000)
    elif what == "no record":
        card.write_text(json.dumps({**data, "training": "long"}))
    elif what == "perhaps leaking":
        card.write_text(json.dumps({**data, "leaking": "no"}))
    elif what == "no temperature":
        card.write_text(json.dumps({**data, "temperature": 0}))


DAMAGES = {
    "one bit": "its card gives",
    "cut short": "its card gives",
    "missing weights": "is missing",
    "not safetensors": "cannot be read",
    "another depth": "not those of a ResNet-50",
    "broken card": "cannot be read",
    "no object": r"is \[.*\]; expected an object",
    "no recipe": "not valid: recipe missing",
    "other stages": "T1 to T4 in this order",
    "unknown field": "unknown fields .'accuracy'",
    "unknown status": "'approved'",
    "no record": "an object or null",
    "perhaps leaking": "true or false",
    "no temperature": "positive, finite number",
    "nested": "cannot be read",
}


@pytest.mark.smoke
@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_model_is_refused(tmp_path, a_model, what):
    weights.save(a_model, tmp_path / "m")
    damage(tmp_path / "m", what)
    with pytest.raises(WeightsError, match=DAMAGES[what]):
        verify(str(tmp_path / "m"))


BAD_VALUES = {
    "temperature": [float("inf"), float("nan"), True, "1", 10**400],
    "depth": [18.0, "18", [18]],
    "name": [5, None, ""],
    "provenance": [None, {}],
    "sha256": [7],
    "stages": [4],
    "recipe": [5, None, ["name"]],
    "recipe.name": [7, ""],
    "recipe.hu_range": [3, [1, 2, 3], [-float("inf"), 0], ["a", "b"], "ab", None],
    "recipe.window": [[1], [float("nan"), 350], [50, float("inf")], [50, True]],
    "recipe.input_size": [224.0, True, "224", None],
    "recipe.n4": ["no", 0],
    "recipe.quantised": ["yes", None],
    "recipe.spacing_mm": ["1", True, float("inf")],
    "recipe.channels": [3.0],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, all_ in BAD_VALUES.items() for value in all_],
    ids=lambda value: repr(value)[:20],
)
def test_a_card_with_a_value_of_another_kind_is_refused_when_it_is_read(tmp_path, a_model, field, value):
    data = json.loads(json.dumps(a_model.card.to_json()))
    weights.ModelCard.from_json(data)
    where, _, key = field.rpartition(".")
    (data[where] if where else data)[key] = value
    (tmp_path / "card.json").write_text(json.dumps(data))
    with pytest.raises(WeightsError, match=r"card\.json.*(expected|not valid)"):
        registry.read_card(tmp_path)


def test_the_untrained_model_is_reproducible_and_marked():
    first, second = weights.untrained(18), weights.untrained(18)
    assert first.card == second.card
    assert first.card.sha256 != weights.untrained(18, seed=1).card.sha256
    assert "UNTRAINED" in first.card.warning
    state = torch.random.get_rng_state()
    weights.untrained(18)
    assert (torch.random.get_rng_state() == state).all()


def test_probabilities_are_the_softmax_at_the_cards_temperature(a_model):
    from dataclasses import replace

    logits = np.array([[1.0, 2, 3, 4], [900, 0, 0, 0]], dtype=np.float32)
    for temperature in (1.0, 2.5):
        card = replace(a_model.card, temperature=temperature)
        expected = torch.softmax(torch.tensor(logits, dtype=torch.float64) / temperature, 1).numpy()
        np.testing.assert_allclose(probabilities(logits, card), expected, atol=1e-12)
    with pytest.raises(Exception, match="not finite"):
        probabilities(np.array([[np.nan, 0, 0, 0]]), a_model.card)


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


def test_weights_beyond_float16_are_refused(tmp_path):
    model = weights.untrained(10)
    model.network.bn1.running_var[3] = 1e5
    with pytest.raises(WeightsError, match=r"bn1.running_var contain weights above 65,504.*`half`"):
        weights.save(model, tmp_path / "m", half=True)
    assert not list(tmp_path.iterdir())


def test_the_feature_statistics_of_version_0_1_0_are_not_read(tmp_path, a_model):
    """Its models have a file of this name without a reference on the card."""
    weights.save(a_model, tmp_path / "m")
    (tmp_path / "m" / "features.safetensors").write_bytes(b"mean and covariance")
    path = tmp_path / "m" / "card.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k != "familiarity"}
    path.write_text(json.dumps({**old, "features_sha256": "a" * 64}))
    assert weights.load(str(tmp_path / "m")).reference is None


def test_a_card_of_before_training_existed_still_loads(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    path = tmp_path / "m" / "card.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("leaking", "features_sha256", "training")}
    path.write_text(json.dumps(old))
    card = weights.load(str(tmp_path / "m")).card
    assert (card.leaking, card.features_sha256, card.training) == (False, None, None)


def test_a_leak_is_reported_beside_other_warnings(a_model):
    from dataclasses import replace

    trained = replace(a_model.card, status="trained")
    assert trained.warning is None
    assert "LEAKING" in replace(trained, leaking=True).warning
    both = replace(a_model.card, status="demonstration", leaking=True).warning
    assert "DEMONSTRATION" in both
    assert "LEAKING" in both
