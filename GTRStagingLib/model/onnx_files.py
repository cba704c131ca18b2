"""Make the graphs of a model folder, which refer to its weights and contain none themselves.

The file model.onnx is the network's forward pass; gradients.onnx, for the usual head, the forward pass with the
gradients of a fine map. Each weight is a reference (ONNX external data) to its bytes in `model.safetensors`; ONNX
Runtime converts half precision and folds the batch norms when it opens the graph. So a graph takes some tens of
kilobytes, and there is one copy of the weights. A note in the graph has the sha256 of the weights, the positions of the
cells, and a known answer: some outputs for a fixed input, by PyTorch, which every later use compares
(`onnx_session.stored_session`).
"""

import json
from copy import deepcopy
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import onnx_graph
from GTRStagingLib.model.arrays import GRADIENTS_FILE, GRAPH_FILE, WEIGHTS_FILE
from GTRStagingLib.model.network import GTRNet, all_centres, folded
from GTRStagingLib.model.onnx_session import (
    EXPLAINED_OUTPUTS,
    NOTE,
    NOTE_FORMAT,
    TOLERANCE,
    GraphError,
    opened,
    outputs_of,
    runtime,
    sampled,
    trial,
)
from GTRStagingLib.model.weights import Model
from GTRStagingLib.support.extras import import_extra

KINDS = {"F16": "FLOAT16", "F32": "FLOAT"}
"""Number types of safetensors that a graph can refer to -> ONNX's names."""


class FoldingConvolution(nn.Module):
    """Convolution that computes its weights from those of a convolution and the batch norm after it."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm
        self.stride, self.padding = convolution.stride, convolution.padding

    @property
    def weight(self) -> Tensor:
        """Folded weights, (out, in, h, w)."""
        return self.convolution.weight * self._scale[:, None, None, None]

    @property
    def _scale(self) -> Tensor:
        variance: Any = self.norm.running_var
        return self.norm.weight / torch.sqrt(variance + self.norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (S, in, H, W)."""
        mean: Any = self.norm.running_mean
        bias = self.norm.bias - mean * self._scale
        return nn.functional.conv2d(x, self.weight, bias, self.stride, self.padding)


def folding(network: GTRNet) -> GTRNet:
    """Return the network with a `FoldingConvolution` for each convolution and its batch norm; it shares the weights."""
    own = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    copy = deepcopy(network, dict(own))
    for module in list(copy.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, FoldingConvolution(convolution, norm))
                setattr(module, norm_name, nn.Identity())
    return copy


def make_graphs(model: Model, folder: Path) -> dict[str, bytes]:
    """Make the graphs of a model folder, and compare them with PyTorch.

    Parameters
    ----------
    model
        As loaded from the folder, on the CPU.
    folder
        The model folder; nothing is written to it.

    Returns
    -------
    File name -> content: model.onnx, and with the usual head gradients.onnx.

    Raises
    ------
    WeightsError
        If the weights are stored in a number type that a graph cannot refer to.
    MissingDependencyError
        If onnx or ONNX Runtime is not installed.
    GraphError
        If torch cannot export the network, or the outputs differ from PyTorch's by more than `TOLERANCE`.
    """
    graphs = {GRAPH_FILE: _verified(model, folder, gradients=False)}
    if model.card.head == "mean":
        graphs[GRADIENTS_FILE] = _verified(model, folder, gradients=True)
    return graphs


def _verified(model: Model, folder: Path, *, gradients: bool) -> bytes:
    """Return one graph, whose outputs equal PyTorch's here."""
    network, size = model.network, model.card.recipe.input_size
    runtime()
    module = onnx_graph.module_of(folding(network), gradients=gradients)
    traced = onnx_graph.trace(module, size, constants=False)
    keys = {id(tensor): key for key, tensor in network.state_dict(keep_vars=True).items()}
    names = {name: keys[id(tensor)] for name, tensor in module.state_dict(keep_vars=True).items()}
    note = {
        "format": NOTE_FORMAT,
        "weights": model.card.sha256,
        "cells": {layer: asdict(grid) for layer, grid in all_centres(network).items()},
        "made_by": f"torch {torch.__version__}",
        "answer": _answer(network, size, gradients=gradients),
    }
    graph = _referring(traced, names, folder / WEIGHTS_FILE, note)
    session = opened(graph, folder)
    differs = onnx_graph.gradient_differences if gradients else onnx_graph.differences
    if found := ", ".join(differs(session, network, size)):
        raise GraphError(
            f"The graph of {model.card.name!r} differs from PyTorch: {found}; expected at most {TOLERANCE:g}. Nothing "
            "was written. Use `backend=torch`."
        )
    return graph


def _answer(network: GTRNet, size: int, *, gradients: bool) -> dict[str, list[float]]:
    """Return samples of PyTorch's outputs for the fixed input; those with gradients by autograd."""
    given = {name: torch.from_numpy(one) for name, one in trial(size, gradients=gradients).items()}
    if gradients:
        names: tuple[str, ...] = EXPLAINED_OUTPUTS
        outputs = onnx_graph.explained(network, given["pixels"], int(given["bias"].argmax()))
    else:
        names = outputs_of(network.head_kind)
        with torch.no_grad():
            outputs = onnx_graph.module_of(folded(network), gradients=False)(given["pixels"])
    return {name: sampled(output.numpy()) for name, output in zip(names, outputs, strict=True)}


def _referring(traced: bytes, names: dict[str, str], weights: Path, note: dict[str, Any]) -> bytes:
    """Replace the weights in a graph by references to the file of the weights, and add the note.

    Parameters
    ----------
    names
        Name of a weight in the graph -> key in the file.
    """
    onnx = import_extra("onnx", "Exporting a network needs", "torch")
    model = onnx.load_from_string(traced)
    stored, first = _header(weights)
    initial, casts = {}, []
    for one in model.graph.initializer:
        if one.name not in names:
            initial[one.name] = one
            continue
        key = names[one.name]
        entry = stored[key]
        if entry["dtype"] not in KINDS:
            raise WeightsError(
                f"{weights} contains {key} as {entry['dtype']}; expected {' or '.join(KINDS)}, to which a graph can "
                "refer. Import or train the model again."
            )
        begin, end = entry["data_offsets"]
        tensor = onnx.TensorProto(name=key, dims=entry["shape"], data_location=onnx.TensorProto.EXTERNAL)
        tensor.data_type = getattr(onnx.TensorProto, KINDS[entry["dtype"]])
        for field, value in (("location", weights.name), ("offset", first + begin), ("length", end - begin)):
            tensor.external_data.add(key=field, value=str(value))
        initial[key] = tensor
        casts.append(onnx.helper.make_node("Cast", [key], [one.name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        node.ClearField("doc_string")
    for field, content in (("initializer", initial.values()), ("node", nodes)):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(content)
    onnx.helper.set_model_props(model, {NOTE: json.dumps(note)})
    return bytes(model.SerializeToString())


def _header(weights: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file that was loaded before; and where the bytes of its tensors begin."""
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return json.loads(stream.read(length)), 8 + length


__all__ = ["FoldingConvolution", "folding", "make_graphs"]
