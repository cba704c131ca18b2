"""Train a gate by masks: its loss, and its Dice with the masks."""

import torch
from torch import Tensor, nn

LEAST_COVER = 0.25
"""Smallest sum of the shares of cells that an ROI covers; a slice with less has too little tumour to train a gate."""


def usable(masks: Tensor) -> Tensor:
    """Return which of (n, h, w) masks exist (not NaN) and show a tumour, (n,) bool."""
    return torch.nan_to_num(masks).sum(dim=(1, 2)) >= LEAST_COVER


def mask_loss(gate_logit: Tensor, masks: Tensor) -> Tensor:
    """Compute balanced cross-entropy plus soft Dice loss of a gate with masks; 0 without any usable mask.

    The cross-entropy is balanced because a tumour covers about a hundredth of the cells: the cells inside have the same
    total weight as those outside.

    Parameters
    ----------
    gate_logit
        (n, h, w): the gate before its sigmoid.
    masks
        (n, h, w) in 0..1, NaN if unknown.
    """
    there = usable(masks)
    if not there.any():
        return gate_logit.sum() * 0.0
    logit, mask = gate_logit[there].float(), masks[there]
    each = nn.functional.binary_cross_entropy_with_logits(logit, mask, reduction="none")
    inside = (each * mask).sum(dim=(1, 2)) / mask.sum(dim=(1, 2))
    outside = (each * (1 - mask)).sum(dim=(1, 2)) / (1 - mask).sum(dim=(1, 2))
    gate = torch.sigmoid(logit)
    dice = 2 * (gate * mask).sum(dim=(1, 2)) / (gate + mask).sum(dim=(1, 2))
    return ((inside + outside) / 2 + (1 - dice)).mean()


def dice(maps: Tensor, masks: Tensor) -> Tensor:
    """Compute the Dice (n,) of maps at half of their maximum with masks at half a cell; both (n, h, w)."""
    region = maps >= 0.5 * maps.amax(dim=(1, 2), keepdim=True)
    tumour = masks >= 0.5
    both = (region & tumour).sum(dim=(1, 2))
    return 2 * both / (region.sum(dim=(1, 2)) + tumour.sum(dim=(1, 2)))


__all__ = ["dice", "mask_loss", "usable"]
