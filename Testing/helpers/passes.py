"""Run one pass through an unchanged network, the reference of all backends."""

import torch

from GTRStagingLib.model.passes import Pass


def passed(network, pixels):
    """Return the pass in eager mode on the CPU, without folded layers."""
    with torch.no_grad():
        layers = network.layers(torch.from_numpy(pixels))
        logits, features = network.decide(layers)
    return Pass(logits.numpy(), features.numpy(), layers["layer4"].numpy(), "cpu", "plain")
