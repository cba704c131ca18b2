"""Read weights of other ResNets as initial weights of a training; refuse other architectures.

A file does not contain the strides of a network: torchvision's bottlenecks stride in the 3x3 convolution, those of
Keras and Caffe in the first 1x1, with tensors of the same shapes. Biased convolutions reveal the latter; a conversion
that left the biases out cannot be recognised.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models.resnet import Bottleneck

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import weights
from GTRStagingLib.model.arrays import WEIGHTS_FILE
from GTRStagingLib.model.checkpoints import count_blocks, find_state_dict, load_plain
from GTRStagingLib.model.network import BLOCKS, GTRNet
from GTRStagingLib.model.registry import CARD_FILE
from GTRStagingLib.support.files import sha256_of

NUMBERED: Mapping[str, str] = {
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
    "9": "fc",
}
"""torchvision's names by their place in `nn.Sequential(*resnet.children())`; 2, 3 and 8 have no weights."""

DEPTHS_BY_BLOCKS: Mapping[tuple[tuple[int, ...], bool], int] = {
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 23, 3), True): 101,
    **{(tuple(blocks), block is Bottleneck): depth for depth, (block, blocks) in BLOCKS.items()},
}
"""Depths of this software and two others, by the blocks of layer1 to layer4 and whether these are bottlenecks."""

KERAS = frozenset({".h5", ".hdf5", ".keras"})


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Backbone of another ResNet: all weights but its classifier's.

    Attributes
    ----------
    tensors
        By torchvision's names, in the network's number types; without `fc.*`.
    sha256
        Of the file.
    provenance
        Text for the card: the file's name and hash, the mapping of names, and tensors left out or changed.
    doubt
        Warning for the user about a property that the file does not contain, or None.
    """

    tensors: Mapping[str, Tensor]
    sha256: str
    provenance: str
    doubt: str | None = None


def read_pretrained(path: Path, depth: int) -> Pretrained:
    """Read the backbone of a ResNet of a depth from a file of weights; no code of the file runs.

    Accepts `.safetensors` and files of `torch.save`, bare or under one of `checkpoints.WRAPPERS`; torchvision's names
    or the numbers of a Sequential made of its children (RadImageNet's PyTorch release), under any prefix; a first
    convolution of three channels, or of one.

    Raises
    ------
    WeightsError
        If the file is damaged or contains code; is no ResNet, or of another depth or width; has biased convolutions, or
        norms without running statistics.
    """
    sha256, state = _read(path)
    root, numbered = _root(state, path)
    own = {_renamed(key.removeprefix(root), numbered): t for key, t in state.items() if key.startswith(root)}
    backbone = {key: tensor for key, tensor in own.items() if not key.startswith("fc.")}
    names = f"names under {root!r}" if root else "names"
    notes = [f"{names} numbered as in a Sequential, 0 to 7" if numbered else f"{names} as torchvision's"]
    if left_out := len(state) - len(backbone):
        notes.append(f"{left_out} tensors of its classifier or outside the backbone left out")
    _require_plain(backbone, path)
    if biases := {key for key in backbone if re.search(r"(conv\d|downsample\.0)\.bias$", key)}:
        _require_zero({key: backbone.pop(key) for key in biases}, path)
        notes.append(f"{len(biases)} convolution biases, all zero, left out")
    _require_statistics(backbone, path)
    _require_depth(backbone, depth, path)
    stem = backbone.get("conv1.weight")
    if stem is not None and stem.is_floating_point() and stem.ndim == 4 and stem.shape[1] == 1:
        backbone["conv1.weight"] = stem.float().expand(-1, 3, -1, -1) / 3
        notes.append("first convolution of 1 channel copied to 3, a third each: it computes their mean")
    doubt = None
    if "layer1.0.conv3.weight" in backbone:
        doubt = _doubt(backbone, path)
        counted = "" if doubt is None else ", although its batch norms counted no batch"
        notes.append(f"strides, which a file does not contain, assumed to be torchvision's{counted}")
    return Pretrained(
        tensors=_cast(backbone, depth, path),
        sha256=sha256,
        provenance=f"weights of {path.name}, sha256 {sha256}, under a random head ({'; '.join(notes)})",
        doubt=doubt,
    )


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the file's hash and its state dict."""
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; expected weights of a ResNet (.pth, .pt, .safetensors).")
    if path.name == WEIGHTS_FILE and path.with_name(CARD_FILE).is_file():
        raise WeightsError(
            f"{path} belongs to a model of this software; expected weights of another. Use `init={path.parent}`, "
            "which also takes over the model's recipe and leak warning."
        )
    if path.suffix.lower() in KERAS:
        raise WeightsError(
            f"{path.name} is a Keras file; expected a PyTorch file (.pth, .pt, .safetensors). Keras' ResNets stride in "
            "other convolutions than torchvision's: use weights that were trained in torchvision's network."
        )
    sha256 = sha256_of(path)
    if path.suffix.lower() != ".safetensors":
        return sha256, find_state_dict(load_plain(path), path)
    try:
        return sha256, find_state_dict(safetensors.torch.load_file(path), path)
    except WeightsError:
        raise
    except Exception as error:  # a header with other number types raises KeyError, for example
        raise WeightsError(
            f"{path.name} ({path.stat().st_size:,} bytes) cannot be read: it is damaged, truncated, or has number "
            "types that are not supported. Expected a complete safetensors file: download or copy it again."
        ) from error


def _root(state: Mapping[str, Tensor], path: Path) -> tuple[str, bool]:
    """Return the prefix of the backbone's names, and whether the names are numbers."""
    named, numbers = "layer1.0.conv1.weight", "4.0.conv1.weight"
    found = {
        key.removesuffix(end): end == numbers
        for key in state
        for end in (named, numbers)
        if key == end or key.endswith(f".{end}")
    }
    # Momentum contrast (MoCo) also stores a running average of its encoder; the encoder itself is used.
    averages = {root for root in found if "encoder_k." in root and root.replace("encoder_k.", "encoder_q.") in found}
    roots = sorted(found.keys() - averages)
    if not roots:
        raise WeightsError(
            f"{path.name} contains no ResNet: {len(state)} tensors, the first {', '.join(sorted(state)[:3])}. Expected "
            "torchvision's names (conv1, bn1, layer1 to layer4), or the numbers 0, 1 and 4 to 7 of a Sequential made "
            "of its parts, under any prefix."
        )
    if len(roots) > 1:
        raise WeightsError(
            f"{path.name} contains {len(roots)} ResNets, under {', '.join(map(repr, roots))}; expected one. Save the "
            "one to start from in a separate file."
        )
    return roots[0], found[roots[0]]


def _renamed(key: str, numbered: bool) -> str:
    head, dot, rest = key.partition(".")
    return f"{NUMBERED.get(head, head)}{dot}{rest}" if numbered else key


def _require_plain(backbone: Mapping[str, Tensor], path: Path) -> None:
    for key, tensor in backbone.items():
        known = tensor.dtype in weights.FLOATS | weights.INTEGERS
        if not known or tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_nested:
            raise WeightsError(
                f"{path.name} contains {key} as {tensor.dtype}, {tensor.layout}, on {tensor.device}; expected a dense "
                "tensor on the CPU. Save the plain float32 state dict, neither quantised nor sparse."
            )


def _require_zero(biases: Mapping[str, Tensor], path: Path) -> None:
    if biased := sorted(key for key, bias in biases.items() if bias.any()):
        raise WeightsError(
            f"{path.name} has biased convolutions ({len(biased)}, the first {biased[0]}); expected none, as in "
            "torchvision. Networks of Keras and Caffe have biases and also stride in the first 1x1 convolution of a "
            "bottleneck, torchvision's in the 3x3. Use weights that were trained in torchvision's network."
        )


def _require_statistics(backbone: Mapping[str, Tensor], path: Path) -> None:
    norms = {key.removesuffix("weight") for key in backbone if re.search(r"(bn\d|downsample\.1)\.weight$", key)}
    if without := sorted(norm for norm in norms if not {f"{norm}running_mean", f"{norm}running_var"} <= set(backbone)):
        raise WeightsError(
            f"{path.name} has {len(without)} norms without running statistics (the first {without[0].rstrip('.')}): "
            "group norms, or batch norms that store none. Expected batch norms with running_mean and running_var; use "
            "weights of a network that has them."
        )


def _require_depth(backbone: Mapping[str, Tensor], depth: int, path: Path) -> None:
    inner = backbone.get("layer1.0.conv2.weight")
    if inner is not None and tuple(inner.shape) != (64, 64, 3, 3):
        raise WeightsError(
            f"{path.name} has layer1.0.conv2.weight of shape {tuple(inner.shape)}; expected (64, 64, 3, 3). It is a "
            "ResNet of another width, or with grouped convolutions (ResNeXt): use weights of a plain ResNet."
        )
    blocks, bottleneck = count_blocks(backbone)
    found = DEPTHS_BY_BLOCKS.get((tuple(blocks), bottleneck))
    if found == depth:
        return
    if found in BLOCKS:
        raise WeightsError(f"{path.name} is a ResNet-{found}; expected a ResNet-{depth}. Use `depth={found}`.")
    kind = f"a ResNet-{found}" if found else f"of another architecture, with blocks {blocks} in layer1 to layer4"
    raise WeightsError(
        f"{path.name} is {kind}; expected a ResNet-{depth}. Use weights of a depth that can be trained: "
        f"{', '.join(map(str, BLOCKS))}."
    )


def _cast(backbone: Mapping[str, Tensor], depth: int, path: Path) -> dict[str, Tensor]:
    """Return the tensors in the network's number types; raise `WeightsError` unless they fit the network."""
    with torch.device("meta"):
        network = GTRNet(depth)
    head = {key: torch.zeros(t.shape) for key, t in network.state_dict().items() if key.startswith("fc.")}
    try:
        cast = weights.cast_state({**backbone, **head}, network)
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error}") from error
    return {key: tensor for key, tensor in cast.items() if key not in head}


def _doubt(backbone: Mapping[str, Tensor], path: Path) -> str | None:
    """Return a warning unless the batch norms counted batches, as PyTorch's do in a training."""
    if any(tensor.any() for key, tensor in backbone.items() if key.endswith("num_batches_tracked")):
        return None
    return (
        f"The batch norms of {path.name} counted no batch: the file is old, or was converted from another framework. A "
        "conversion from Keras or Caffe strides in other convolutions than torchvision's network, which the file does "
        "not show. Make sure that the weights were trained in torchvision's network."
    )


__all__ = ["Pretrained", "read_pretrained"]
