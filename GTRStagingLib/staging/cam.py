"""Compute attention maps: the Grad-CAM family on the cached last feature map.

The CAM methods are pytorch-grad-cam's. They run on the network's head alone, with the feature map that the
prediction already computed: no second pass through the network, no backward pass through its layers, and raw maps
equal to those of the full model. (With this head Grad-CAM, HiResCAM and XGradCAM are one and the same map; only the
methods that differ are offered.)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from GTRStagingLib.model.card import ATTENTION_LAYER
from GTRStagingLib.model.cells import CellGrid, half_pixel_centres
from GTRStagingLib.model.network import Head
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.options import Alignment, Method, require_alignment, require_method


class _HeadModule(nn.Module):
    """The network's head with a place to hang a CAM on.

    `target` is an identity, so that a CAM method run on this module with the cached map as its input gives what it
    would give on the whole network, without a second pass through it.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.target = nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.weight, self.bias = (nn.Parameter(torch.tensor(a), requires_grad=False) for a in (head.weight, head.bias))

    def forward(self, feature_map: Tensor) -> Tensor:
        """(S, features, h, w) -> logits (S, 4)."""
        features = torch.flatten(self.avgpool(self.target(feature_map)), 1)
        return nn.functional.linear(features, self.weight, self.bias)


class _RawMaps(BaseCAM):
    """Keep the map as it is: no stretching to 0..1, which makes weak evidence look strong, and no upsampling."""

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
    """pytorch-grad-cam's, with the thin SVD: 49 singular vectors are enough, 2,048 take seconds."""

    def get_cam_image(self, *arguments: Any) -> np.ndarray:
        return np.stack([_first_component(one) for one in arguments[3]])


def _first_component(activations: np.ndarray) -> np.ndarray:
    """(C, h, w) -> (h, w): projection of the centred cells on their first principal axis."""
    cells = activations.reshape(len(activations), -1).T
    centred = cells - cells.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return (centred @ axes[0]).reshape(activations.shape[1:])


_CAMS: Mapping[Method, type[_RawMaps]] = {
    "gradcam": _GradCAM,
    "gradcam++": _GradCAMPlusPlus,
    "layercam": _LayerCAM,
    "eigencam": _EigenCAM,
}
"""Selvaraju 2017 (doi:10.1109/ICCV.2017.74), Chattopadhay 2018 (doi:10.1109/WACV.2018.00097), Jiang 2021
(doi:10.1109/TIP.2021.3089943), Muhammad 2020 (doi:10.1109/IJCNN48605.2020.9206626; not of any one stage)."""


def raw_maps(head: Head, feature_map: np.ndarray, method: Method, target: TStage) -> np.ndarray:
    """(S, C, h, w) cached map -> (S, h, w) float32 maps, >= 0; on the CPU.

    Raises
    ------
    InputError
        If there is no such method.
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


def attend(
    head: Head,
    cells: CellGrid,
    feature_map: np.ndarray,
    grid: sitk.Image,
    *,
    target: TStage,
    method: Method = "gradcam",
    alignment: Alignment = "receptive_field",
) -> Attention:
    """Attention of the slices on `grid`, from the feature map of their one pass through the network.

    Parameters
    ----------
    head, cells
        Of the network that made the map: its last layer, and where its cells look.
    feature_map
        (S, features, h, w) float32.

    Raises
    ------
    InputError
        If there is no such method or alignment, or the maps are not of the grid's slices, finite and >= 0.
    """
    require_alignment(alignment)
    maps = raw_maps(head, feature_map, method, target)
    if alignment == "receptive_field":
        rows = columns = cells
    else:
        rows = half_pixel_centres(maps.shape[1], grid.GetSize()[1])
        columns = half_pixel_centres(maps.shape[2], grid.GetSize()[0])
    return Attention(maps, method, ATTENTION_LAYER, target, alignment, grid, rows, columns)


__all__ = ["attend", "raw_maps"]
