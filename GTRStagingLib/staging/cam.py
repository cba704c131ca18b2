"""Compute attention maps: the evidence for a stage, by place.

**fine**, for any network with the usual head: raw Grad-CAM of `layer4`, which marks the cells with evidence for *this*
stage, times the geometric mean of the LayerCAM of `layer2` and of `stem`, each divided by its maximum, which mark the
places inside those cells that the network uses. Grad-CAM keeps its raw scale, so that weak evidence stays weak. Each
layer is placed by its own receptive field, and all are interpolated to the cells of the stem, every 4 pixels. Both
parts are needed: the LayerCAM of an early layer is nearly the same for every stage.

**gated**, for networks with a gated head: the decomposition of the decision, see `model.network.GatedHead`. A cell
contributes g (e - mean of e over the stages) / Σ g to a stage's logit; the map shows the contributions above 0.

**gradcam** and the other methods are pytorch-grad-cam's. They run on the network's head alone, with the feature map
that the prediction already computed, and are equal to those of the full model. (With this head Grad-CAM, HiResCAM and
XGradCAM give the same map; only the methods that differ are available.)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.backbone import EXPLAINED, Backbone, Pass
from GTRStagingLib.model.card import ATTENTION_LAYER
from GTRStagingLib.model.cells import CellGrid, half_pixel_centres, interpolation
from GTRStagingLib.model.network import Head
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.options import Alignment, Method, require_alignment, require_method, resolve_method


class _HeadModule(nn.Module):
    """Head of the network, with a target layer for CAM methods.

    `target` is an identity: with the cached feature map as input, a CAM method gives the same map on this module as on
    the whole network, without a second pass.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.target = nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.weight, self.bias = (nn.Parameter(torch.tensor(a), requires_grad=False) for a in (head.weight, head.bias))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Compute logits (S, 4) from a feature map (S, features, h, w)."""
        features = torch.flatten(self.avgpool(self.target(feature_map)), 1)
        return nn.functional.linear(features, self.weight, self.bias)


class _RawMaps(BaseCAM):
    """CAM without scaling to 0..1, which makes weak evidence look strong, and without upsampling."""

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: list[Any], eigen_smooth: bool) -> np.ndarray:
        recorded = self.activations_and_grads
        activations = recorded.activations[0].numpy()
        gradients = recorded.gradients[0].numpy() if recorded.gradients else None
        layer = self.target_layers[0]
        return self.get_cam_image(input_tensor, layer, targets, activations, gradients, eigen_smooth)

    def aggregate_multi_layers(self, cam_per_target_layer: np.ndarray) -> np.ndarray:
        return np.maximum(cam_per_target_layer, 0).astype(np.float32)


class _GradCAM(_RawMaps, GradCAM):
    pass


class _GradCAMPlusPlus(_RawMaps, GradCAMPlusPlus):
    pass


class _LayerCAM(_RawMaps, LayerCAM):
    pass


class _EigenCAM(_RawMaps, EigenCAM):
    """EigenCAM by the thin SVD: 49 singular vectors are enough, 2,048 take seconds."""

    def get_cam_image(self, *arguments: Any) -> np.ndarray:
        return np.stack([_first_component(one) for one in arguments[3]])


def _first_component(activations: np.ndarray) -> np.ndarray:
    """Project the centred cells of a map (C, h, w) on their first principal axis, to (h, w).

    The sign of such an axis is arbitrary and differs between libraries. Here the axis points to larger features, which
    are all 0 or more.
    """
    cells = activations.reshape(len(activations), -1).T
    centred = cells - cells.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axis = axes[0] if axes[0].sum() >= 0 else -axes[0]
    return (centred @ axis).reshape(activations.shape[1:])


_CAMS: Mapping[Method, type[_RawMaps]] = {
    "gradcam": _GradCAM,
    "gradcam++": _GradCAMPlusPlus,
    "layercam": _LayerCAM,
    "eigencam": _EigenCAM,
}
"""Selvaraju 2017 (doi:10.1109/ICCV.2017.74), Chattopadhay 2018 (doi:10.1109/WACV.2018.00097), Jiang 2021
(doi:10.1109/TIP.2021.3089943), Muhammad 2020 (doi:10.1109/IJCNN48605.2020.9206626; independent of the stage)."""


class _Cells(NamedTuple):
    """Maps of S slices, (S, h, w), and the positions of their cells."""

    maps: np.ndarray
    rows: CellGrid
    columns: CellGrid


def raw_maps(head: Head, feature_map: np.ndarray, method: Method, target: TStage) -> np.ndarray:
    """Compute maps by a method of the last layer, (S, h, w) float32, >= 0, from the cached map (S, C, h, w) on the CPU.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    require_method(method)
    module = _HeadModule(head).eval()
    cam = _CAMS[method](model=module, target_layers=[module.target])
    try:
        with torch.enable_grad():
            leaf = torch.tensor(feature_map, requires_grad=True)
            return cam(leaf, [ClassifierOutputTarget(int(target))] * len(leaf))
    finally:
        cam.activations_and_grads.release()


def compute_attention(
    backbone: Backbone,
    seen: Pass,
    grid: sitk.Image,
    *,
    target: TStage,
    method: Method = "auto",
    alignment: Alignment = "receptive_field",
) -> Attention:
    """Compute the attention of the slices on `grid` from their pass through the network.

    Parameters
    ----------
    backbone
        Backbone that made the pass.
    seen
        Pass of S slices. A fine map is computed for the slices with gradients for the target, and for no others.

    Raises
    ------
    InputError
        If the method or alignment is unknown or not available for this model, the pass lacks the gradients for the
        target that the method needs, or the maps do not fit the grid's slices or are not finite and >= 0.
    """
    require_alignment(alignment)
    method = resolve_method(backbone.card, method)

    def placed(maps: np.ndarray, layer: str) -> _Cells:
        if alignment == "receptive_field":
            return _Cells(maps, backbone.cells[layer], backbone.cells[layer])
        height, width = grid.GetSize()[1], grid.GetSize()[0]
        return _Cells(maps, half_pixel_centres(maps.shape[1], height), half_pixel_centres(maps.shape[2], width))

    def attention(cells: _Cells, layers: tuple[str, ...], mapped: tuple[bool, ...] = ()) -> Attention:
        return Attention(cells.maps, method, layers, target, alignment, grid, cells.rows, cells.columns, mapped)

    if method == "gated":
        return attention(placed(contributions(seen.maps["gate"], seen.maps["evidence"], target), "stem"), ("gate",))
    if method != "fine":
        last = raw_maps(backbone.head, seen.feature_map, method, target)
        return attention(placed(last, ATTENTION_LAYER), (ATTENTION_LAYER,))
    if seen.targets is None or not (seen.targets == target).any():
        raise InputError(
            f"The pass has no gradients for {target}, which a fine map needs; expected them. Request them with "
            "backbone.classify(pixels, [PassRequest(...)])."
        )
    mapped = seen.targets == target
    last = raw_maps(backbone.head, seen.feature_map[mapped], "gradcam", target)
    inner = [placed(seen.maps[layer][mapped], layer) for layer in EXPLAINED]
    fused = _fused(placed(last, ATTENTION_LAYER), inner)
    maps = np.zeros((len(mapped), *fused.maps.shape[1:]), np.float32)
    maps[mapped] = fused.maps
    return attention(fused._replace(maps=maps), (ATTENTION_LAYER, *EXPLAINED), tuple(mapped.tolist()))


def comparison_map(backbone: Backbone, seen: Pass, attention: Attention) -> Attention | None:
    """Return a second map of the same pass to show beside the first, or None.

    For a fine map, the usual Grad-CAM of the last layer; for a gated map, the gate, which does not depend on the stage.
    Other methods have no second map.
    """
    if attention.method == "fine":
        return compute_attention(
            backbone, seen, attention.grid, target=attention.target, method="gradcam", alignment=attention.alignment
        )
    if attention.method == "gated":
        return replace(attention, maps=seen.maps["gate"], method="gate")
    return None


def contributions(gate: np.ndarray, evidence: np.ndarray, target: TStage) -> np.ndarray:
    """Decompose a gated decision for a stage into the contributions of its cells.

    Parameters
    ----------
    gate, evidence
        (S, h, w) and (S, 4, h, w), as in `model.network.Gated`.

    Returns
    -------
    (S, h, w) float32: contribution of each cell to the stage's logit above the mean of all logits; 0 if negative.
    """
    above = evidence[:, int(target)] - evidence.mean(axis=1)
    total = np.maximum(gate.sum(axis=(1, 2), keepdims=True), 1e-6)
    return np.maximum(gate * above / total, 0).astype(np.float32)


def _fused(last: _Cells, inner: list[_Cells]) -> _Cells:
    """Multiply raw Grad-CAM by the geometric mean of two scaled LayerCAM maps, on the cells of the finest map."""
    finest = min(inner, key=lambda one: one.rows.step)

    def resampled(one: _Cells) -> np.ndarray:
        height, width = finest.maps.shape[1:]
        rows = interpolation(one.rows, one.maps.shape[1], finest.rows, height)
        columns = interpolation(one.columns, one.maps.shape[2], finest.columns, width)
        return np.asarray(rows @ one.maps @ columns.T)

    shares = [resampled(one) / np.maximum(one.maps.max(axis=(1, 2), keepdims=True), 1e-30) for one in inner]
    product = resampled(last) * np.sqrt(shares[0] * shares[1])
    return finest._replace(maps=np.maximum(product, 0).astype(np.float32))


__all__ = ["comparison_map", "compute_attention", "contributions", "raw_maps"]
