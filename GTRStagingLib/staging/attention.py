"""Where the network looked: the Grad-CAM family on the cached last feature map, placed on the anatomy.

The CAM methods are pytorch-grad-cam's. They run on the network's head alone, with the feature map that the
prediction already computed: no second pass through the network, no backward pass through its layers, and raw maps
equal to those of the full model. (With this head Grad-CAM, HiResCAM and XGradCAM are one and the same map; only the
methods that differ are offered.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import SimpleITK as sitk
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import LATTICE_TOLERANCE, empty_grid
from GTRStagingLib.model.card import ATTENTION_LAYER
from GTRStagingLib.model.network import CellGrid, Head, half_pixel_centres
from GTRStagingLib.stages import TStage

Alignment = Literal["receptive_field", "half_pixel"]


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


METHODS: Mapping[str, type[_RawMaps]] = {
    "gradcam": _GradCAM,
    "gradcam++": _GradCAMPlusPlus,
    "layercam": _LayerCAM,
    "eigencam": _EigenCAM,
}
"""Selvaraju 2017 (doi:10.1109/ICCV.2017.74), Chattopadhay 2018 (doi:10.1109/WACV.2018.00097), Jiang 2021
(doi:10.1109/TIP.2021.3089943), Muhammad 2020 (doi:10.1109/IJCNN48605.2020.9206626; not of any one stage)."""


@dataclass(frozen=True)
class Attention:
    """Raw attention maps and where they lie.

    Attributes
    ----------
    maps
        (S, h, w) float32, >= 0, not scaled; of the network's own resolution (7×7 for 224×224 input).
    method, layer, target
        How, from which layer, and for which stage.
    alignment
        'receptive_field': cells stand where the network's strides and paddings put them; 'half_pixel': where
        common upsamplers do, half a cell too far right and down.
    grid
        W×H×S geometry of the network's input.
    rows, columns
        Centres of the cells in pixels of that grid.
    """

    maps: np.ndarray
    method: str
    layer: str
    target: TStage
    alignment: Alignment
    grid: sitk.Image
    rows: CellGrid
    columns: CellGrid

    def __post_init__(self) -> None:
        if self.maps.ndim != 3 or len(self.maps) != self.grid.GetSize()[2]:
            raise InputError(
                f"Maps of shape {self.maps.shape} for {self.grid.GetSize()[2]} slices; expected (S, h, w)."
            )
        if not np.isfinite(self.maps).all() or (self.maps < 0).any():
            bad = int(np.count_nonzero(~(np.isfinite(self.maps) & (self.maps >= 0))))
            raise InputError(
                f"The attention maps hold {bad} values that are negative or not finite; expected finite ones, 0 or "
                "more. Verify the model (`gtrstaging models verify`), or choose another attention method."
            )

    @property
    def empty(self) -> tuple[bool, ...]:
        """For each slice, whether nothing speaks for the target: such a map is flagged, never stretched."""
        return tuple(not bool(one.any()) for one in self.maps)

    @cached_property
    def image(self) -> sitk.Image:
        """The cells as an image in physical space, one voxel a cell, with a border of one repeated cell.

        The border lets interpolation reach the edge of the input, beyond the outermost cells' centres.
        """
        padded = np.pad(self.maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
        sx, sy, sz = self.grid.GetSpacing()
        corner = (self.columns.first - self.columns.step, self.rows.first - self.rows.step, 0.0)
        size = (padded.shape[2], padded.shape[1], padded.shape[0])
        spacing = (self.columns.step * sx, self.rows.step * sy, sz)
        origin = self.grid.TransformContinuousIndexToPhysicalPoint(corner)
        image = sitk.GetImageFromArray(padded)
        image.CopyInformation(empty_grid(size, spacing, origin, self.grid.GetDirection()))
        return image

    def on(self, reference: sitk.Image) -> sitk.Image:
        """The maps at every pixel of a grid with the same slices: float32, linearly interpolated in plane.

        Raises
        ------
        GeometryError
            If the reference's slices are not those of the maps.
        """
        last = self.grid.GetSize()[2] - 1
        for index in (0, last):
            point = reference.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, float(index)))
            if abs(self.grid.TransformPhysicalPointToContinuousIndex(point)[2] - index) > LATTICE_TOLERANCE:
                raise GeometryError(f"The heat map's {last + 1} slices are not those of the grid it should be put on.")
        if reference.GetSize()[2] != last + 1:
            raise GeometryError(
                f"A heat map of {last + 1} slices for a grid of {reference.GetSize()[2]}; expected equal."
            )
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(reference)
        resampler.SetInterpolator(sitk.sitkLinear)
        resampler.UseNearestNeighborExtrapolatorOn()
        return resampler.Execute(self.image)


def raw_maps(head: Head, feature_map: np.ndarray, method: str, target: TStage) -> np.ndarray:
    """(S, C, h, w) cached map -> (S, h, w) float32 maps, >= 0; on the CPU.

    Raises
    ------
    InputError
        If there is no such method.
    """
    if method not in METHODS:
        raise InputError(f"Attention method {method!r}; expected one of {', '.join(METHODS)}.")
    module = _HeadModule(head).eval()
    cam = METHODS[method](model=module, target_layers=[module.target])
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
    method: str = "gradcam",
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
    if alignment not in get_args(Alignment):
        raise InputError(f"Alignment {alignment!r}; expected one of {', '.join(get_args(Alignment))}.")
    maps = raw_maps(head, feature_map, method, target)
    if alignment == "receptive_field":
        rows = columns = cells
    else:
        rows = half_pixel_centres(maps.shape[1], grid.GetSize()[1])
        columns = half_pixel_centres(maps.shape[2], grid.GetSize()[0])
    return Attention(maps, method, ATTENTION_LAYER, target, alignment, grid, rows, columns)


__all__ = ["METHODS", "Alignment", "Attention", "attend", "raw_maps"]
