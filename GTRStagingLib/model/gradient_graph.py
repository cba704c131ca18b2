"""Write down a folded ResNet with the backward pass that a fine map needs, as one graph without autograd.

ONNX Runtime knows no gradients. But the folded network is convolutions and ReLUs, and so is its backward pass: a
convolution is undone by that of the flipped and transposed weights, a ReLU by the mask of where it let through.
`torch.autograd` gives the same numbers, which `onnx_graph` verifies before the graph is believed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from GTRStagingLib.model.network import LAYERS, GTRNet

STRIDE = 32
"""Of the network: sides that are a multiple of it are halved without a remainder, on which the backward pass relies."""


class NetworkWithMaps(nn.Module):
    """Everything that one pass gives, and the LayerCAM of `stem` and `layer2`.

    Parameters
    ----------
    network
        Folded, with the usual head.
    """

    def __init__(self, network: GTRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, bias: Tensor, temperature: Tensor) -> tuple[Tensor, ...]:
        """Classify the slices of one case, and explain the stage of their highest mean probability.

        Parameters
        ----------
        pixels
            (S, 3, H, W), H and W multiples of 32.
        bias
            (4,) added to the sum of the slices' probabilities: those of further slices, or a certainty.
        temperature
            The logits are divided by it before the softmax.

        Returns
        -------
        Logits (S, 4), features (S, channels), feature map (S, channels, h, w), the maps of stem and layer2 (S, …) and
        the stage (1,).
        """
        network = self.network
        stem = network.stem(pixels)
        layers, steps = _forward(network, stem)
        logits, features = network.decide(layers)
        shares = torch.softmax(logits / temperature, dim=1).sum(dim=0) + bias
        stage = torch.argmax(shares, dim=0, keepdim=True)
        last = layers["layer4"]
        gradient = (network.fc.weight[stage] / (last.shape[2] * last.shape[3]))[:, :, None, None].expand_as(last)
        gradients = {}
        for name in reversed(LAYERS[1:]):
            gradients[name] = gradient
            for block, inside, outcome in reversed(steps[name]):
                gradient = _through_block(block, inside, outcome, gradient)
        gradients["stem"] = gradient
        maps = [layer_cam(layers[name], gradients[name]) for name in ("stem", "layer2")]
        return logits, features, last, *maps, stage


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """(S, C, h, w) of a layer, twice -> (S, h, w) LayerCAM (Jiang 2021, doi:10.1109/TIP.2021.3089943), raw."""
    return (gradients.clamp_min(0) * activations).sum(dim=1).clamp_min(0)


Step = tuple[BasicBlock | Bottleneck, list[Tensor], Tensor]
"""A block, what its inner ReLUs gave, and what the block gave."""


def _forward(network: GTRNet, stem: Tensor) -> tuple[dict[str, Tensor], dict[str, list[Step]]]:
    """What the layers give, and what their backward pass must know; in torchvision's order of operations."""
    layers, x = {"stem": stem}, stem
    steps: dict[str, list[Step]] = {}
    for name in LAYERS[1:]:
        steps[name] = []
        for block in getattr(network, name):
            *inner, last = _convolutions(block)
            inside, y = [], x
            for convolution in inner:
                y = functional.relu(convolution(y))
                inside.append(y)
            x = functional.relu(last(y) + (x if block.downsample is None else block.downsample(x)))
            steps[name].append((block, inside, x))
        layers[name] = x
    return layers, steps


def _convolutions(block: BasicBlock | Bottleneck) -> list[nn.Conv2d]:
    """Those of the main path, in order."""
    return [block.conv1, block.conv2] + ([block.conv3] if isinstance(block, Bottleneck) else [])


def _through_block(block: BasicBlock | Bottleneck, inside: list[Tensor], outcome: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of a block's output -> that of its input."""
    first, *others = _convolutions(block)
    gradient = gradient * _mask(outcome)
    inner = gradient
    for convolution, y in zip(reversed(others), reversed(inside), strict=True):
        inner = _through(convolution, inner) * _mask(y)
    beside = gradient if block.downsample is None else _through(block.downsample[0], gradient)
    return _through(first, inner) + beside


def _mask(outcome: Tensor) -> Tensor:
    """Where a ReLU let through."""
    return (outcome > 0).to(outcome.dtype)


def _through(convolution: nn.Conv2d, gradient: Tensor) -> Tensor:
    """The gradient of a convolution's output -> that of its input, of twice the side with a stride of 2."""
    weight, stride, padding = convolution.weight, convolution.stride[0], int(convolution.padding[0])
    if stride == 1:  # as a plain convolution, which ONNX Runtime computes much faster than a transposed one
        flipped = weight.transpose(0, 1).flip(2, 3).contiguous()
        return functional.conv2d(gradient, flipped, padding=weight.shape[-1] - 1 - padding)
    return functional.conv_transpose2d(gradient, weight, stride=stride, padding=padding, output_padding=stride - 1)


__all__ = ["STRIDE", "NetworkWithMaps", "layer_cam"]
