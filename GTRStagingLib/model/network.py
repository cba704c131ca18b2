"""GTRNet: torchvision's ResNet with the paper's two-stream stem, folded for inference, and where its cells look.

The article speaks of a ResNet-152 "with parallel max-pooling and center-cropping streams in the early layers" and
gives no more detail; the published code runs the plain ResNet. `fusion="none"` is the published network, `"add"`
ours, `"concat"` multi-crop pooling after Shen et al. 2017 (doi:10.1016/j.patcog.2016.05.029) for comparison.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import Fusion
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.stages import TStage

BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    10: (BasicBlock, [1, 1, 1, 1]),
    18: (BasicBlock, [2, 2, 2, 2]),
    50: (Bottleneck, [3, 4, 6, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
"""He et al. 2016, table 1, for the depths on offer; 10, its blocks halved once more, 18 and 50 are for
demonstrations."""


class GTRNet(ResNet):
    """ResNet with an optional centre-crop stream beside the stem's max-pooling.

    For a 224×224 input the stem gives 64×112×112. *Context* is its max-pooling to 64×56×56; *detail* its central
    quarter [28:84]² at full resolution. Every key but `detail.*` is torchvision's, so that ImageNet's or the
    published weights load unchanged; and until training says otherwise, the output is the plain ResNet's.

    Parameters
    ----------
    depth
        10, 18, 50 or 152.
    fusion
        'none': the plain ResNet. 'add': the detail passes a strided convolution and a batch norm of gamma 0, and is
        added at its true place [14:42]² of the 56×56 grid, so that one place in the feature map is one place in the
        image. 'concat': [context | detail] through a 1×1 convolution that begins as [I | 0]; one cell then answers
        for two places, and its attention has no single location.
    """

    def __init__(self, depth: int = 152, fusion: Fusion = "none") -> None:
        if depth not in BLOCKS or fusion not in get_args(Fusion):
            raise WeightsError(
                f"Network of depth {depth!r} and fusion {fusion!r}; expected a depth of {', '.join(map(str, BLOCKS))} "
                f"and a fusion of {', '.join(get_args(Fusion))}."
            )
        block, layers = BLOCKS[depth]
        super().__init__(block, layers, num_classes=len(TStage))
        self.depth, self.fusion = depth, fusion
        width = self.conv1.out_channels
        if fusion == "add":
            norm = nn.BatchNorm2d(width)
            nn.init.zeros_(norm.weight)
            self.detail = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), norm)
        elif fusion == "concat":
            mix = nn.Conv2d(2 * width, width, 1, bias=False)
            identity = torch.eye(width)[:, :, None, None]
            with torch.no_grad():
                mix.weight.copy_(torch.cat([identity, torch.zeros_like(identity)], dim=1))
            self.detail = nn.Sequential(mix)

    @property
    def features(self) -> int:
        """Length of the penultimate feature vector: 2,048 for depth 50 and 152, 512 for 10 and 18."""
        return int(self.fc.in_features)

    def stem(self, x: Tensor) -> Tensor:
        """(S, 3, H, W) -> (S, 64, H/4, W/4)."""
        stem = self.relu(self.bn1(self.conv1(x)))
        context = self.maxpool(stem)
        if self.fusion == "none":
            return context
        rows, columns = context.shape[-2:]
        top, left = rows // 4, columns // 4
        # Twice the resolution, so that as many pixels as the context has cells are half of its field.
        crop = stem[..., 2 * top : 2 * top + rows, 2 * left : 2 * left + columns]
        if self.fusion == "concat":
            return self.detail(torch.cat([context, crop], dim=1))
        detail = self.detail(crop)
        right, below = columns - left - detail.shape[-1], rows - top - detail.shape[-2]
        return context + nn.functional.pad(detail, (left, right, top, below))

    def feature_map(self, x: Tensor) -> Tensor:
        """(S, 3, H, W) -> (S, features, H/32, W/32): everything but the head."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def forward(self, x: Tensor) -> Tensor:
        """(S, 3, H, W) -> logits (S, 4)."""
        return self.head(self.feature_map(x))[0]

    def head(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map -> logits (S, 4) and penultimate features (S, features)."""
        features = torch.flatten(self.avgpool(feature_map), 1)
        return self.fc(features), features


@dataclass(frozen=True, eq=False)
class Head:
    """The linear layer between the averaged last feature map and the logits, as another process can have it too.

    Attributes
    ----------
    weight, bias
        (4, features) and (4,) float32.
    """

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or len(self.weight) != len(TStage) or self.bias.shape != (len(TStage),):
            raise WeightsError(
                f"A head of weights {self.weight.shape} and bias {self.bias.shape}; expected ({len(TStage)}, features) "
                f"and ({len(TStage)},)."
            )

    @classmethod
    def of(cls, network: GTRNet) -> "Head":
        """A copy of the network's."""
        weight, bias = (parameter.numpy(force=True).copy() for parameter in (network.fc.weight, network.fc.bias))
        return cls(weight, bias)


def folded(network: GTRNet) -> GTRNet:
    """A copy for inference: every batch norm folded into the convolution before it, which is exact up to rounding."""
    copy = deepcopy(network).eval().requires_grad_(False)
    for module in list(copy.modules()):
        # In the ResNet and in our stem alike, a batch norm is registered right after the convolution that it follows.
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return copy


def receptive_centres(network: ResNet) -> CellGrid:
    """Where the last feature map's cells look, computed from the network's strides and paddings.

    After Araujo et al. 2019 (doi:10.23915/distill.00021): a layer of kernel k, stride s and padding p moves the
    first centre by (d(k - 1)/2 - p) steps of its input and multiplies the step by s. With ResNet's usual paddings
    nothing is moved: cell k is centred on pixel 32k, not on 32k + 15.5 as upsampling assumes.
    """
    step, first = 1.0, 0.0
    for layer in _main_path(network):
        kernel, stride, padding, dilation = (
            _side(getattr(layer, name)) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        first += (dilation * (kernel - 1) / 2 - padding) * step
        step *= stride
    return CellGrid(step, first)


def _main_path(network: ResNet) -> Iterator[nn.Conv2d | nn.MaxPool2d]:
    yield network.conv1
    yield network.maxpool
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            yield from (layer for layer in block.children() if isinstance(layer, nn.Conv2d))


def _side(value: int | tuple[int, ...]) -> int:
    """The one number of a square kernel, stride or padding."""
    return value if isinstance(value, int) else value[0]


__all__ = ["BLOCKS", "GTRNet", "Head", "folded", "receptive_centres"]
