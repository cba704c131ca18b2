"""The gated head: its logits are the sum of the cells' contributions, also when folded, saved and loaded."""

import numpy as np
import pytest
import torch
from helpers.passes import passed

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import weights
from GTRStagingLib.model.network import GTRNet, folded
from GTRStagingLib.staging.result import versions

PIXELS = np.random.default_rng(1).normal(size=(2, 3, 96, 128)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """A gated network with batch-norm statistics of some data."""
    made = weights.seeded_network(10, "none", 3, "gated").train()
    with torch.no_grad():
        made(torch.from_numpy(PIXELS))
    return made.eval().requires_grad_(False)


def test_the_logits_are_the_shares_of_the_cells_added_up(network):
    found = network.gate(network.layers(torch.from_numpy(PIXELS)))
    assert found.gate.shape == (2, 24, 32)
    assert found.evidence.shape == (2, 4, 24, 32)
    weighted = (found.gate[:, None] * found.evidence).sum(dim=(2, 3)) / found.gate.sum(dim=(1, 2))[:, None]
    torch.testing.assert_close(weighted, found.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network.last(found.features), found.logits)
    torch.testing.assert_close(torch.sigmoid(found.gate_logit), found.gate)
    assert found.features.shape == (2, network.features)
    torch.testing.assert_close(network(torch.from_numpy(PIXELS)), found.logits)


def test_the_folded_network_gives_the_same_output(network):
    copy = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in copy.modules())
    expected, found = (one.gate(one.layers(torch.from_numpy(PIXELS))) for one in (network, copy))
    for name in ("logits", "features", "gate", "evidence"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("half", [False, True])
def test_the_saved_and_loaded_network_gives_the_same_output(network, tmp_path, half):
    card = weights.ModelCard(
        name="gated", status="demonstration", depth=10, fusion="none", recipe=weights.GTR, sha256="0" * 64,
        provenance=f"a test, {versions()['gtrstaging']}", trained_on="nothing", licence="Apache-2.0", head="gated",
        masks=1200,
    )  # fmt: skip
    mean_mask = np.linspace(0, 1, 56 * 56, dtype=np.float32).reshape(56, 56)
    weights.save(weights.Model(card, network, mean_mask), tmp_path / "m", half=half)
    loaded = weights.load(str(tmp_path / "m"))
    assert loaded.card.head_in_words == "gated, stride 4, masks of 1,200 cases"
    expected, found = (passed(one, PIXELS).logits for one in (network, loaded.network))
    np.testing.assert_allclose(found, expected, atol=2e-2 if half else 0)
    np.testing.assert_allclose(loaded.mean_mask, mean_mask, atol=1e-3)


def test_a_head_of_one_kind_is_no_head_of_the_other(network):
    with pytest.raises(WeightsError, match=r"not those of .*head 'mean'.*fc.bias"):
        weights.network_with(network.state_dict(), 10, "none", "mean")
    with pytest.raises(WeightsError, match=r"not those of .*head 'gated'.*gate\."):
        weights.network_with(GTRNet(10).state_dict(), 10, "none", "gated")
