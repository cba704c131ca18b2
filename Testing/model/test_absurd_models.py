"""Refuse models whose card or weights cannot be right, and read their harmless neighbours."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import planted_model

from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import ready, verify
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.recipe import GTR, Recipe
from GTRStagingLib.stats.split_scores import TEMPERATURES
from GTRStagingLib.support.files import sha256_of

BACKENDS = ["torch", *(["onnx"] if find_spec("onnxruntime") and find_spec("onnx") else [])]
PIXELS = np.random.default_rng(0).standard_normal((3, 3, 224, 224), dtype=np.float32)

ABSURD = {
    "temperature": [0, -0.0, -1.5, 1e308, 1e-308, 5e-324, 1e4, 1e-4],
    "masks": [10**400, -1],
    "recipe.hu_range": [[1024, -1024], [50, 50], [50, 51], [-1e308, 1e308], [2000, 3000], [-1e6, 1024]],
    "recipe.window": [[50, 0], [50, -350], [50, 1e-9], [50, 5], [50, 1e6], [50, 1e308], [1e308, 350], [5000, 350]],
    "recipe.spacing_mm": [0, -1, 0.01, 1e-300, 1e6, 1e308],
    "recipe.input_size": [0, -32, 33, 4096, 2**40],
    "recipe.channels": [0, 1, 10**6],
    "depth": [0, 11, 10**400],
    "stages": [[], ["T1"], ["T1", "T2", "T3", "T4", "T5"]],
}
HARMLESS = {
    "temperature": [0.05, 0.2, 1, 10, 20.0],
    "masks": [0, 10_000],
    "recipe.hu_range": [[-1000, 1000], [-1024, 3071], [-200, 300], [-32768, 32767]],
    "recipe.window": [[40, 80], [50, 350], [-600, 1500], [1023.5, 4095]],
    "recipe.spacing_mm": [None, 0.5, 0.78125, 4.0],
    "recipe.input_size": [32, 224, 512],
}


def each(table):
    return pytest.mark.parametrize(
        ("field", "value"),
        [(field, value) for field, all_ in table.items() for value in all_],
        ids=lambda v: str(v)[:24],
    )


def write_card(folder, card, field, value):
    data = json.loads(json.dumps(card.to_json()))
    where, _, key = field.rpartition(".")
    (data[where] if where else data)[key] = value
    (folder / "card.json").write_text(json.dumps(data))


@each(ABSURD)
def test_an_absurd_card_is_refused(tmp_path, a_model, field, value):
    write_card(tmp_path, a_model.card, field, value)
    with pytest.raises(WeightsError, match=r"card\.json.*expected"):
        registry.read_card(tmp_path)


@each(HARMLESS)
def test_a_card_with_plausible_values_is_read(tmp_path, a_model, field, value):
    write_card(tmp_path, a_model.card, field, value)
    assert registry.read_card(tmp_path).name == a_model.card.name


def test_an_absurd_temperature_is_reported_without_the_valid_hashes(a_model):
    with pytest.raises(WeightsError, match="temperature 1e\\+308; expected a positive") as caught:
        replace(a_model.card, temperature=1e308)
    assert "sha256" not in str(caught.value)


def test_every_temperature_that_a_training_can_fit_is_plausible(a_model):
    for temperature in TEMPERATURES:
        assert replace(a_model.card, temperature=temperature).temperature == temperature


def test_an_absurd_recipe_is_refused_where_it_is_made():
    with pytest.raises(InputError, match=r"spacing 0.01 mm; expected 0.1 to 10 mm, or None"):
        Recipe("fine", spacing_mm=0.01)
    with pytest.raises(InputError, match=r"window \(50.0, 0.0\); expected .* a positive width of 20 to 10000 HU"):
        replace(GTR, window=(50.0, 0.0))
    with pytest.raises(InputError, match="overlap by 20 HU or more"):
        replace(GTR, window=(3000.0, 350.0))


def all_times(factor):
    return lambda state: {k: v * factor if v.is_floating_point() else v for k, v in state.items()}


def changed(suffix, change):
    return lambda state: {k: change(v.clone()) if k.endswith(suffix) and v.ndim else v for k, v in state.items()}


def convolutions(change):
    return lambda state: {k: change(v.clone()) if v.ndim == 4 else v for k, v in state.items()}


def one(value):
    def change(tensor):
        tensor.view(-1)[7 % tensor.numel()] = value
        return tensor

    return change


DAMAGES = {
    "all times 1e30": (all_times(1e30), "up to .*; expected at most"),
    "all times 1e8": (all_times(1e8), "up to .*; expected at most"),
    "all times 1e3": (all_times(1e3), "not finite or too large"),
    "all 0": (all_times(0.0), "same logits for any slice"),
    "all times 1e-30": (all_times(1e-30), "same logits for any slice"),
    "convolutions 0": (convolutions(torch.zeros_like), "same logits for any slice"),
    "first convolution 0": (changed("conv1.weight", torch.zeros_like), "same logits for any slice"),
    "last layer 0": (changed("fc.weight", torch.zeros_like), "same logits for any slice"),
    "NaN": (changed("fc.bias", one(float("nan"))), "NaN or infinite"),
    "infinite": (changed("layer1.0.conv1.weight", one(float("inf"))), "NaN or infinite"),
    "one of 1e38": (changed("bn1.bias", one(1e38)), "up to 1e\\+38 in bn1.bias; expected at most 1e\\+06"),
    "variance of 1e30": (changed("bn1.running_var", one(1e30)), "up to 1e\\+30 in bn1.running_var"),
}


@pytest.mark.parametrize("head", ["mean", "gated"])
@pytest.mark.parametrize("name", DAMAGES)
def test_absurd_weights_are_refused_when_they_are_loaded(tmp_path, name, head):
    change, words = DAMAGES[name]
    network = weights.scale_residuals(weights.seeded_network(10, "none", 1, head)).eval().requires_grad_(False)
    card = replace(weights.untrained(10, "none").card, head=head, name="mine", status="trained")
    weights.save(weights.Model(card, network), tmp_path / "m")
    verify(str(tmp_path / "m"))
    path = tmp_path / "m" / "model.safetensors"
    safetensors.torch.save_file(change(safetensors.torch.load_file(path)), path)
    data = json.loads((tmp_path / "m" / "card.json").read_text())
    (tmp_path / "m" / "card.json").write_text(json.dumps({**data, "sha256": sha256_of(path)}))
    for use in (weights.load, verify):
        with pytest.raises(WeightsError, match=words):
            use(str(tmp_path / "m"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["all 0", "last layer 0", "all times 1e3", "NaN"])
def test_absurd_weights_in_memory_are_refused_before_they_run(name, backend):
    model = weights.untrained(10)
    model.network.load_state_dict(DAMAGES[name][0](model.network.state_dict()))
    with pytest.raises(WeightsError, match="same logits for any slice|not finite or too large"):
        ready(model, "cpu", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_harmless_models_run(backend):
    no_bias = weights.untrained(10, "none")
    no_bias.network.fc.bias.zero_()
    usual = weights.seeded_network(18, "none", 3).eval().requires_grad_(False)
    for model in (no_bias, weights.Model(weights.untrained(18, "none").card, usual), planted_model(depth=10)):
        logits = ready(model, "cpu", backend).classify(PIXELS).logits
        assert np.isfinite(probabilities(logits, model.card)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_logits_of_an_overflow_are_refused(a_model, value):
    with pytest.raises(WeightsError, match="Model 'untrained' gives logits that are not finite or too large"):
        probabilities(np.array([[value, 0, 0, 0]]), a_model.card)


def test_absurd_mean_masks_are_refused(tmp_path, a_model):
    weights.save(replace(a_model, mean_mask=np.full((8, 8), 7, np.float32)), tmp_path / "m")
    with pytest.raises(WeightsError, match=r"values outside 0\.\.1"):
        weights.load(str(tmp_path / "m"))
