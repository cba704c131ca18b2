"""Write checkpoints in the formats of the training script of the article's authors."""

import numpy as np
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet


def resnet10(num_classes):
    """Return a ResNet-10 of torchvision's blocks, a depth that torchvision does not offer."""
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


def a_resnet(depth=18, classes=4, seed=5):
    """Return torchvision's ResNet with statistics that vary its logits."""
    torch.manual_seed(seed)
    make = resnet10 if depth == 10 else getattr(torchvision.models, f"resnet{depth}")
    network = make(num_classes=classes)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.fill_(0.5)
    return network.eval()


def as_the_release_writes_it(network, path, shape):
    """Save weights in a format of the authors' training script."""
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
