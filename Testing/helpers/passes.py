"""One pass through a network as it stands: what every backend is held against."""

import torch

from GTRStagingLib.model.backbone import Pass


def passed(network, pixels):
    """Eager, on the CPU, nothing folded."""
    with torch.no_grad():
        feature_map = network.feature_map(torch.from_numpy(pixels))
        logits, features = network.head(feature_map)
    return Pass(logits.numpy(), features.numpy(), feature_map.numpy(), "cpu", "plain")
