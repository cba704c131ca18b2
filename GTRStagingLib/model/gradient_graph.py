"""Express a folded ResNet and the backward pass of a fine map as one graph without autograd.

ONNX Runtime computes no gradients. The folded network, however, consists of convolutions and ReLUs, and so does its
backward pass: the gradient passes a convolution with the flipped and transposed weights, and a ReLU by the mask of its
positive outputs. `onnx_graph` verifies that `torch.autograd` gives the same numbers before it uses the graph.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from GTRStagingLib.model.network import LAYERS, GTRNet


class NetworkWithMaps(nn.Module):
    """Forward pass of a network with the LayerCAM of `stem` and `layer2`.

    Parameters
    ----------
    network
        Folded, with the usual head.
    """

    def __init__(self, network: GTRNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, bias: Tensor, temperature: Tensor) -> tuple[Tensor, ...]:
        """Classify the slices of one case, and compute the maps of the stage with the highest mean probability.

        Parameters
        ----------
        pixels
            (S, 3, H, W), H and W multiples of 32.
        bias
            (4,) added to the sum of the slices' probabilities: the probabilities of further slices, or a large number
            for a requested stage.
        temperature
            Divisor of the logits before the softmax.

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
    """Return the raw LayerCAM (S, h, w) of a layer (Jiang 2021, doi:10.1109/TIP.2021.3089943); inputs (S, C, h, w)."""
    return (gradients.clamp_min(0) * activations).sum(dim=1).clamp_min(0)


Step = tuple[BasicBlock | Bottleneck, list[Tensor], Tensor]
"""A block, the outputs of its inner ReLUs, and the output of the block."""


def _forward(network: GTRNet, stem: Tensor) -> tuple[dict[str, Tensor], dict[str, list[Step]]]:
    """Return the outputs of the layers, and the steps for their backward pass, in torchvision's order of operations."""
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
    """Return the convolutions of a block's main path, in order."""
    return [block.conv1, block.conv2] + ([block.conv3] if isinstance(block, Bottleneck) else [])


def _through_block(block: BasicBlock | Bottleneck, inside: list[Tensor], outcome: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of a block's input for that of its output."""
    first, *others = _convolutions(block)
    gradient = gradient * _mask(outcome)
    inner = gradient
    for convolution, y in zip(reversed(others), reversed(inside), strict=True):
        inner = _through(convolution, inner) * _mask(y)
    skipped = gradient if block.downsample is None else _through(block.downsample[0], gradient)
    return _through(first, inner) + skipped


def _mask(outcome: Tensor) -> Tensor:
    """Return 1 where a ReLU's output is positive, else 0."""
    return (outcome > 0).to(outcome.dtype)


def _through(convolution: nn.Conv2d, gradient: Tensor) -> Tensor:
    """Return the gradient of a convolution's input for that of its output; twice the side for a stride of 2."""
    weight, stride, padding = convolution.weight, convolution.stride[0], int(convolution.padding[0])
    if stride == 1:  # as a plain convolution, which ONNX Runtime computes much faster than a transposed one
        flipped = weight.transpose(0, 1).flip(2, 3).contiguous()
        return functional.conv2d(gradient, flipped, padding=weight.shape[-1] - 1 - padding)
    return functional.conv_transpose2d(gradient, weight, stride=stride, padding=padding, output_padding=stride - 1)


__all__ = ["NetworkWithMaps", "layer_cam"]
