"""Compute attention maps: the evidence for a stage, by place.

**fine**, for any network with the usual head: raw Grad-CAM of `layer4`, which marks the cells with evidence for *this*
stage, times the geometric mean of the LayerCAM of `layer2` and of `stem`, each divided by its maximum, which mark the
places inside those cells that the network uses. Grad-CAM keeps its raw scale, so that weak evidence stays weak. Each
layer is placed by its own receptive field, and all are interpolated to the cells of the stem, every 4 pixels. Both
parts are needed: the LayerCAM of an early layer is nearly the same for every stage.

**gated**, for networks with a gated head: the decomposition of the decision, see `model.network.GatedHead`. A cell
contributes g (e - mean of e over the stages) / Σ g to a stage's logit; the map shows the contributions above 0.

**gradcam** and the other methods of the last layer need the head alone, and the feature map that the prediction already
computed: behind it come a mean and a matrix, whose gradient is a row of the matrix. The maps equal those of
pytorch-grad-cam on the full model. (With this head Grad-CAM, HiResCAM and XGradCAM give the same map; only the methods
that differ are available.) Nothing here needs torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import ATTENTION_LAYER
from GTRStagingLib.model.cells import CellGrid, half_pixel_centres, interpolation
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.passes import EXPLAINED, Backbone, Pass
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.options import Alignment, Method, require_alignment, require_method, resolve_method


class _Cells(NamedTuple):
    """Maps of S slices, (S, h, w), and the positions of their cells."""

    maps: np.ndarray
    rows: CellGrid
    columns: CellGrid


def raw_maps(head: Head, feature_map: np.ndarray, method: Method, target: TStage) -> np.ndarray:
    """Compute maps by a method of the last layer, (S, h, w) float32, >= 0, from the cached map (S, C, h, w).

    They are neither scaled to 0..1, which makes weak evidence look strong, nor interpolated.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    require_method(method)
    if method == "eigencam":
        maps = np.stack([_first_component(one) for one in feature_map])
    else:
        # The mean over the cells and the linear layer have this gradient, the same in every cell of a channel.
        gradient = head.weight[int(target)] / np.float32(feature_map.shape[2] * feature_map.shape[3])
        maps = np.einsum("sc,schw->shw", _WEIGHTS[method](feature_map, gradient), feature_map, optimize=True)
    return np.maximum(maps, 0).astype(np.float32)


def _of_gradcam(feature_map: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the weights (S, C) of the channels: their mean gradient."""
    return np.broadcast_to(gradient, feature_map.shape[:2])


def _of_layercam(feature_map: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the positive gradients (S, C), by which LayerCAM weights each cell."""
    return np.broadcast_to(np.maximum(gradient, 0), feature_map.shape[:2])


def _of_gradcam_plus_plus(feature_map: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the weights (S, C) of Chattopadhay 2018, equation 19, summed over the equal cells of a channel.

    A small number keeps the denominator from 0, as in pytorch-grad-cam, whose maps these are.
    """
    total = feature_map.sum(axis=(2, 3))
    squared = gradient**2
    shares = np.where(gradient != 0, squared / (2 * squared + total * squared * gradient + np.float32(1e-6)), 0)
    weights: np.ndarray = np.maximum(gradient, 0) * shares * np.float32(feature_map.shape[2] * feature_map.shape[3])
    return weights


_WEIGHTS: Mapping[Method, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "gradcam": _of_gradcam,
    "gradcam++": _of_gradcam_plus_plus,
    "layercam": _of_layercam,
}
"""Selvaraju 2017 (doi:10.1109/ICCV.2017.74), Chattopadhay 2018 (doi:10.1109/WACV.2018.00097), Jiang 2021
(doi:10.1109/TIP.2021.3089943)."""


def _first_component(activations: np.ndarray) -> np.ndarray:
    """Project the centred cells of a map (C, h, w) on their first principal axis, to (h, w): EigenCAM.

    Muhammad 2020 (doi:10.1109/IJCNN48605.2020.9206626); independent of the stage. The sign of such an axis is arbitrary
    and differs between libraries. Here the axis points to larger features, which are all 0 or more.
    """
    cells = activations.reshape(len(activations), -1).T
    centred = cells - cells.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axis = axes[0] if axes[0].sum() >= 0 else -axes[0]
    return (centred @ axis).reshape(activations.shape[1:])


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
