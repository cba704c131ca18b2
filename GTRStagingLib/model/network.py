"""GTRNet: torchvision's ResNet with the paper's two-stream stem, folded for inference, and the centres of its cells.

The article describes a ResNet-152 "with parallel max-pooling and center-cropping streams in the early layers" and
gives no more detail; the published code runs the plain ResNet. `fusion="none"` is the published network, `"add"` this
project's, `"concat"` multi-crop pooling after Shen et al. 2017 (doi:10.1016/j.patcog.2016.05.029) for comparison.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model.card import Fusion, HeadKind
from GTRStagingLib.model.cells import CellGrid, interpolation
from GTRStagingLib.stages import TStage

BLOCKS: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    10: (BasicBlock, [1, 1, 1, 1]),
    18: (BasicBlock, [2, 2, 2, 2]),
    50: (Bottleneck, [3, 4, 6, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
"""He et al. 2016, table 1, for the available depths; 10 (half the blocks of 18), 18 and 50 are for demonstrations."""


LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")
"""Layers with named outputs, from the first to the last; `stem` is the output of `GTRNet.stem`, for the plain ResNet
that of torchvision's `maxpool`."""

GATE_LAYERS = LAYERS[1:]
"""Layers that a gated head uses."""

GATE_WIDTH = 64
"""Features of each cell of a gated head."""


class GatedHead(nn.Module):
    """Head that averages the evidence of the cells, weighted by a learned gate (Ilse 2018, arXiv:1802.04712).

    Each of `GATE_LAYERS` is projected to `GATE_WIDTH` features, interpolated to the cells of the stem (every 4 pixels),
    and added; a 3×3 convolution of the sum gives the features h of each cell. From h follow the gate g in 0..1 and the
    evidence W h + b for each stage. The logits are the mean of the evidence, weighted by the gate: the contribution of
    cell i to the logit of a stage is g_i (W h_i + b) / Σ g, and the contributions of all cells add up to the logit.

    Parameters
    ----------
    channels
        Of each of `GATE_LAYERS`.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.looks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, GATE_WIDTH, 1, bias=False), nn.BatchNorm2d(GATE_WIDTH)) for c in channels
        )
        self.mix = nn.Sequential(
            nn.Conv2d(GATE_WIDTH, GATE_WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(GATE_WIDTH)
        )
        self.where = nn.Conv2d(GATE_WIDTH, 1, 1)
        self.fc = nn.Linear(GATE_WIDTH, len(TStage))

    def forward(self, layers: Mapping[str, Tensor]) -> "Gated":
        """Compute logits, features, gate and evidence from the outputs of `GATE_LAYERS` and of the stem."""
        size = layers["stem"].shape[-2:]
        first, *others = (
            _at_stem(project(layers[name]), name, size) for name, project in zip(GATE_LAYERS, self.looks, strict=True)
        )
        h = nn.functional.relu(sum(others, first))  # concatenating them would make training 50 % slower
        h = nn.functional.relu(self.mix(h))
        logit = self.where(h)
        gate = torch.sigmoid(logit)
        features = (gate * h).sum(dim=(2, 3)) / gate.sum(dim=(2, 3)).clamp_min(1e-6)
        evidence = nn.functional.conv2d(h, self.fc.weight[:, :, None, None], self.fc.bias)
        return Gated(self.fc(features), features, gate[:, 0], evidence, logit[:, 0])


class Gated(NamedTuple):
    """Output of a gated head for S slices with h × w cells in the stem.

    Attributes
    ----------
    logits, features
        (S, 4), and (S, `GATE_WIDTH`): the mean of the cells' features, weighted by the gate.
    gate
        (S, h, w) in 0..1.
    evidence
        (S, 4, h, w); its mean, weighted by the gate, gives the logits.
    gate_logit
        (S, h, w): the gate before its sigmoid, for training.
    """

    logits: Tensor
    features: Tensor
    gate: Tensor
    evidence: Tensor
    gate_logit: Tensor


def _at_stem(x: Tensor, layer: str, size: Sequence[int]) -> Tensor:
    """Interpolate (S, C, h, w) of a layer to the cells of the stem, (S, C, *size)."""
    factor = 2 ** (LAYERS.index(layer) - 1)
    if factor == 1:
        return x
    to, of = CellGrid(1.0, 0.0), CellGrid(float(factor), 0.0)
    rows, columns = (
        torch.from_numpy(interpolation(of, int(n), to, int(m))).to(x) for n, m in zip(x.shape[-2:], size, strict=True)
    )
    return rows @ x @ columns.T


class GTRNet(ResNet):
    """ResNet with an optional centre-crop stream beside the stem's max-pooling.

    For a 224×224 input the stem gives 64×112×112. *Context* is its max-pooling to 64×56×56; *detail* its central
    quarter [28:84]² at full resolution. Every key but `detail.*` is torchvision's, so that ImageNet's or the
    published weights load unchanged; before training, the output is the plain ResNet's.

    Parameters
    ----------
    depth
        10, 18, 50 or 152.
    fusion
        'none': the plain ResNet. 'add': the detail passes a strided convolution and a batch norm of initial gamma 0,
        and is added at its true place [14:42]² of the 56×56 grid, so that one place in the feature map is one place in
        the image. 'concat': [context | detail] through a 1×1 convolution that begins as [I | 0]; one cell then covers
        two places, and its attention has no single location.
    head
        'mean': the ResNet's own, average pooling and one linear layer `fc`. 'gated': a `GatedHead`, named `gate`.
    """

    def __init__(self, depth: int = 152, fusion: Fusion = "none", head: HeadKind = "mean") -> None:
        if depth not in BLOCKS or fusion not in get_args(Fusion) or head not in get_args(HeadKind):
            raise WeightsError(
                f"Network of depth {depth!r}, fusion {fusion!r} and head {head!r}; expected a depth of "
                f"{', '.join(map(str, BLOCKS))}, a fusion of {', '.join(get_args(Fusion))}, and a head of "
                f"{', '.join(get_args(HeadKind))}."
            )
        block, layers = BLOCKS[depth]
        super().__init__(block, layers, num_classes=len(TStage))
        self.depth, self.fusion, self.head_kind = depth, fusion, head
        if head == "gated":
            del self.fc
            self.gate = GatedHead([_width_of(getattr(self, layer)) for layer in GATE_LAYERS])
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
        """Length of the penultimate feature vector (2,048 for depth 50 and 152, 512 for 10 and 18, 64 if gated)."""
        return int(self.last.in_features)

    @property
    def head_module(self) -> nn.Module:
        """Module that computes the logits from the layers' outputs; all other modules are the backbone."""
        return self.gate if self.head_kind == "gated" else self.fc

    @property
    def last(self) -> nn.Linear:
        """Linear layer that gives the logits."""
        layer: nn.Linear = self.gate.fc if self.head_kind == "gated" else self.fc
        return layer

    def stem(self, x: Tensor) -> Tensor:
        """Compute the stem's output (S, 64, H/4, W/4) from pixels (S, 3, H, W)."""
        stem = self.relu(self.bn1(self.conv1(x)))
        context = self.maxpool(stem)
        if self.fusion == "none":
            return context
        rows, columns = context.shape[-2:]
        top, left = rows // 4, columns // 4
        # The crop has twice the resolution: as many pixels as the context has cells cover half of its field.
        crop = stem[..., 2 * top : 2 * top + rows, 2 * left : 2 * left + columns]
        if self.fusion == "concat":
            return self.detail(torch.cat([context, crop], dim=1))
        detail = self.detail(crop)
        right, below = columns - left - detail.shape[-1], rows - top - detail.shape[-2]
        return context + nn.functional.pad(detail, (left, right, top, below))

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of `LAYERS` from pixels (S, 3, H, W); of `layer4` (S, channels, H/32, W/32)."""
        return self.after_stem(self.stem(x))

    def after_stem(self, stem: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of `LAYERS` from the output of the stem, which is the first of them."""
        return {"stem": stem, **self.between("stem", "layer4", stem)}

    def between(self, first: str, last: str, x: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of the layers after one of `LAYERS`, up to `last`, from its output."""
        outputs = {}
        for name in LAYERS[LAYERS.index(first) + 1 : LAYERS.index(last) + 1]:
            x = outputs[name] = getattr(self, name)(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (S, 4) from pixels (S, 3, H, W)."""
        return self.decide(self.layers(x))[0]

    def decide(self, layers: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute logits (S, 4) and penultimate features (S, features) from the outputs of `LAYERS`."""
        if self.head_kind == "gated":
            found = self.gate(layers)
            return found.logits, found.features
        features = torch.flatten(self.avgpool(layers["layer4"]), 1)
        return self.fc(features), features


def _width_of(stage: nn.Sequential) -> int:
    """Return the number of output channels of a stage of the ResNet."""
    return int([layer for layer in stage[-1].children() if isinstance(layer, nn.Conv2d)][-1].out_channels)


def folded(network: GTRNet) -> GTRNet:
    """Return a copy for inference with every batch norm folded into the preceding convolution, exact up to rounding."""
    copy = deepcopy(network).eval().requires_grad_(False)
    for module in list(copy.modules()):
        # In the ResNet and in the second stream, a batch norm is registered directly after its convolution.
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return copy


def receptive_centres(network: ResNet, layer: str = LAYERS[-1]) -> CellGrid:
    """Compute the centres of a layer's cells from the strides and paddings up to it.

    After Araujo et al. 2019 (doi:10.23915/distill.00021): a layer of kernel k, stride s and padding p moves the
    first centre by (d(k - 1)/2 - p) steps of its input and multiplies the step by s. With ResNet's usual paddings
    the first centre does not move: cell k of the last layer is centred on pixel 32k, not on 32k + 15.5 as upsampling
    assumes.

    Parameters
    ----------
    layer
        One of `LAYERS`.
    """
    step, first = 1.0, 0.0
    for one in _main_path(network, layer):
        kernel, stride, padding, dilation = (
            _side(getattr(one, name)) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        first += (dilation * (kernel - 1) / 2 - padding) * step
        step *= stride
    return CellGrid(step, first)


def all_centres(network: ResNet) -> dict[str, CellGrid]:
    """Return `receptive_centres` of each of `LAYERS`."""
    return {layer: receptive_centres(network, layer) for layer in LAYERS}


def _main_path(network: ResNet, layer: str) -> Iterator[nn.Conv2d | nn.MaxPool2d]:
    yield network.conv1
    yield network.maxpool
    for name in LAYERS[1 : LAYERS.index(layer) + 1]:
        for block in getattr(network, name):
            yield from (one for one in block.children() if isinstance(one, nn.Conv2d))


def _side(value: int | tuple[int, ...]) -> int:
    """Return the single number of a square kernel, stride or padding."""
    return value if isinstance(value, int) else value[0]


__all__ = [
    "BLOCKS", "GATE_LAYERS", "GATE_WIDTH", "LAYERS", "GTRNet", "Gated", "GatedHead", "all_centres", "folded",
    "receptive_centres",
]  # fmt: skip
