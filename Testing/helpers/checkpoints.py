"""Checkpoints as the article's authors' training script leaves them."""

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet


def resnet10(num_classes):
    """Torchvision's parts in a size that it does not offer."""
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


def a_resnet(depth=18, classes=4, seed=5):
    """torchvision's own, with statistics that make its logits lively."""
    torch.manual_seed(seed)
    make = resnet10 if depth == 10 else getattr(torchvision.models, f"resnet{depth}")
    network = make(num_classes=classes)
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
