"""GTRNet: torchvision's ResNet with the paper's two-stream stem, and the pieces that one pass gives.

The article speaks of a ResNet-152 "with parallel max-pooling and center-cropping streams in the early layers" and
gives no more detail; the published code runs the plain ResNet. `fusion="none"` is the published network, `"add"`
ours, `"concat"` multi-crop pooling after Shen et al. 2017 (doi:10.1016/j.patcog.2016.05.029) for comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from GTRStagingLib.card import Fusion
from GTRStagingLib.errors import WeightsError
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

    def stem(self, x: Tensor, crop_shift: tuple[int, int] = (0, 0)) -> Tensor:
        """(S, 3, H, W) -> (S, 64, H/4, W/4).

        `crop_shift` moves the detail's crop by (rows, columns) of the output grid, each 4 input pixels, as far as
        the image reaches.
        """
        stem = self.relu(self.bn1(self.conv1(x)))
        context = self.maxpool(stem)
        if self.fusion == "none":
            return context
        rows, columns = context.shape[-2:]
        top, left = crop_corner((rows, columns), crop_shift)
        # Twice the resolution, so that as many pixels as the context has cells are half of its field.
        crop = stem[..., 2 * top : 2 * top + rows, 2 * left : 2 * left + columns]
        if self.fusion == "concat":
            return self.detail(torch.cat([context, crop], dim=1))
        detail = self.detail(crop)
        right, below = columns - left - detail.shape[-1], rows - top - detail.shape[-2]
        return context + nn.functional.pad(detail, (left, right, top, below))

    def feature_map(self, x: Tensor, crop_shift: tuple[int, int] = (0, 0)) -> Tensor:
        """(S, 3, H, W) -> (S, features, H/32, W/32): everything but the head."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x, crop_shift)))))

    def forward(self, x: Tensor) -> Tensor:
        """(S, 3, H, W) -> logits (S, 4)."""
        return self.head(self.feature_map(x))[0]

    def head(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map -> logits (S, 4) and penultimate features (S, features)."""
        features = torch.flatten(self.avgpool(feature_map), 1)
        return self.fc(features), features


class Head(nn.Module):
    """What lies between the last feature map and the logits, with a place to hang a CAM on.

    `target` is an identity, so that a CAM method run on this module with the cached map as its input gives what it
    would give on the whole network, without a second pass through it. It lies on the CPU, wherever the network does.
    """

    def __init__(self, network: GTRNet) -> None:
        super().__init__()
        self.target = nn.Identity()
        self.avgpool = network.avgpool
        # On a CPU the same storage as the network's, but no gradient of a map ever reaches the network.
        self.weight = nn.Parameter(network.fc.weight.detach().cpu(), requires_grad=False)
        self.bias = nn.Parameter(network.fc.bias.detach().cpu(), requires_grad=False)

    def forward(self, feature_map: Tensor) -> Tensor:
        """(S, features, h, w) -> logits (S, 4)."""
        features = torch.flatten(self.avgpool(self.target(feature_map)), 1)
        return nn.functional.linear(features, self.weight, self.bias)


def crop_corner(grid: tuple[int, int], shift: tuple[int, int]) -> tuple[int, int]:
    """(top, left) cell of the detail's crop on the stem's output grid, kept inside it."""
    free = [cells // 2 for cells in grid]
    top, left = (min(max(room // 2 + move, 0), room) for room, move in zip(free, shift, strict=True))
    return top, left


class Classified(NamedTuple):
    """One pass of the backbone.

    `logits` (S, 4) and `features` (S, features) are float32 arrays; `feature_map` (S, features, h, w) is a float32
    tensor on the network's device.
    """

    logits: np.ndarray
    features: np.ndarray
    feature_map: Tensor


def classify(network: GTRNet, pixels: np.ndarray, crop_shift: tuple[int, int] = (0, 0)) -> Classified:
    """Send the slices through the network, once, in one batch, on the device that it lies on.

    Under `no_grad`, not `inference_mode`: the map's tensors must be differentiable later. Autocast on CUDA only:
    bfloat16 on a CPU without matrix units is many times slower.
    """
    device = next(network.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=device.type == "cuda"):
        x = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
        feature_map = network.feature_map(x, crop_shift)
    with torch.no_grad():
        feature_map = feature_map.float()
        logits, features = network.head(feature_map)
    return Classified(logits.cpu().numpy(), features.cpu().numpy(), feature_map)


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a feature map are centred: cell k at input pixel `first + k * step`, on both axes."""

    step: float
    first: float


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


def half_pixel_centres(cells: int, pixels: int) -> CellGrid:
    """Where every common upsampler puts the cells of a map of `cells` that is stretched to `pixels`."""
    step = pixels / cells
    return CellGrid(step, (step - 1) / 2)


def _main_path(network: ResNet) -> Iterator[nn.Conv2d | nn.MaxPool2d]:
    yield network.conv1
    yield network.maxpool
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            yield from (layer for layer in block.children() if isinstance(layer, nn.Conv2d))


def _side(value: int | tuple[int, ...]) -> int:
    """The one number of a square kernel, stride or padding."""
    return value if isinstance(value, int) else value[0]
