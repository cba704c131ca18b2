import json

import numpy as np
import pytest
import torch

from GTRStagingLib import weights
from GTRStagingLib.errors import WeightsError
from GTRStagingLib.files import sha256_of


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("GTRSTAGING_MODELS", str(tmp_path / "models"))


def test_models_are_found_by_name_and_by_folder(tmp_path, a_model):
    assert weights.available() == {"untrained": None}
    weights.save(a_model, weights.models_folder() / "mine")
    assert set(weights.available()) == {"untrained", "mine"}
    assert weights.load("mine").card == weights.load(str(weights.models_folder() / "mine")).card
    with pytest.raises(WeightsError, match="neither one of untrained, mine nor a folder"):
        weights.load("yours")


def test_an_existing_model_is_not_overwritten(tmp_path, a_model):
    weights.save(a_model, tmp_path / "m")
    before = sha256_of(tmp_path / "m" / "model.safetensors")
    with pytest.raises(WeightsError, match="exists"):
        weights.save(a_model, tmp_path / "m")
    assert sha256_of(tmp_path / "m" / "model.safetensors") == before


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


def test_probabilities_are_the_softmax_at_the_cards_temperature(a_model):
    from dataclasses import replace

    logits = np.array([[1.0, 2, 3, 4], [900, 0, 0, 0]], dtype=np.float32)
    for temperature in (1.0, 2.5):
        card = replace(a_model.card, temperature=temperature)
        expected = torch.softmax(torch.tensor(logits, dtype=torch.float64) / temperature, 1).numpy()
        np.testing.assert_allclose(weights.probabilities(logits, card), expected, atol=1e-12)
    with pytest.raises(Exception, match="not finite"):
        weights.probabilities(np.array([[np.nan, 0, 0, 0]]), a_model.card)
