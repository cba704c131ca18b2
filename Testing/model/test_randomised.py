"""Weights made random part by part."""

from dataclasses import replace

import pytest
import torch

from GTRStagingLib.errors import InputError
from GTRStagingLib.model import weights
from GTRStagingLib.model.randomised import parts_of, randomised


@pytest.fixture(scope="module", params=["mean", "gated"])
def learned(request):
    """Model with weights that no initialisation has."""
    model = weights.untrained(10, "add")
    network = weights.seeded_network(10, "add", 0, request.param)
    state = {k: t + 1 if t.is_floating_point() else t for k, t in network.state_dict().items()}
    network.load_state_dict(state)
    return replace(model, network=network.eval(), card=replace(model.card, head=request.param))


def changed(one, other):
    """Return the modules with different weights or statistics."""
    theirs = other.network.state_dict()
    return {k.partition(".")[0] for k, t in one.network.state_dict().items() if not torch.equal(t, theirs[k])}


def test_the_parts_that_are_named_are_made_random_and_no_others(learned):
    before = {k: t.clone() for k, t in learned.network.state_dict().items()}
    parts = parts_of(learned.card.head)
    modules = [{parts[0]}, {"layer4"}, {"layer3"}, {"layer2"}, {"layer1"}, {"conv1", "bn1", "detail"}]
    for part, expected in zip(parts, modules, strict=True):
        assert changed(randomised(learned, [part], 0), learned) == expected
    assert changed(randomised(learned, parts, 0), learned) == set().union(*modules)
    assert all(torch.equal(t, before[k]) for k, t in learned.network.state_dict().items())
    assert {name.partition(".")[0] for name in before} == set().union(*modules)


def test_the_same_seed_gives_the_same_weights(learned):
    parts = parts_of(learned.card.head)
    assert not changed(randomised(learned, parts, 3), randomised(learned, parts, 3))
    assert changed(randomised(learned, parts, 3), randomised(learned, parts, 4))


def test_random_weights_are_not_those_that_a_training_starts_from(learned):
    """A trained last layer is close to its initial weights: the map would be that of the trained one."""
    parts = parts_of(learned.card.head)
    for seed in range(3):
        start = weights.seeded_network(10, "add", seed, learned.card.head).last.weight.detach()
        other = randomised(learned, parts, seed).network.last.weight
        assert abs(float(torch.corrcoef(torch.stack([start.ravel(), other.ravel()]))[0, 1])) < 0.2


@pytest.mark.parametrize("depth", [18, pytest.param(152, marks=pytest.mark.slow)])
def test_a_deep_network_of_random_weights_gives_finite_numbers(depth):
    model = weights.untrained(depth, "none")
    for parts in (parts_of("mean"), ("layer4", "layer3")):
        network = randomised(model, parts, 0).network
        assert torch.isfinite(network(torch.randn(1, 3, 64, 64))).all()


def test_a_part_that_there_is_not_is_an_error(learned):
    with pytest.raises(InputError, match="layer5"):
        randomised(learned, ["layer5"], 0)
