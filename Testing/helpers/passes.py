"""One pass through a network as it stands: what every backend is held against."""

import torch

from GTRStagingLib.model.backbone import Pass


def passed(network, pixels):
    """Eager, on the CPU, nothing folded."""
    with torch.no_grad():
        layers = network.layers(torch.from_numpy(pixels))
        logits, features = network.decide(layers)
    return Pass(logits.numpy(), features.numpy(), layers["layer4"].numpy(), "cpu", "plain")
