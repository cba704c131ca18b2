"""Teach a gate where to look, by masks: its loss, and how well it looks."""

import torch
from torch import Tensor, nn

LEAST_COVER = 0.25
"""Cells that an ROI must cover, all shares added up: a slice with less shows no tumour that a gate could learn from."""


def known(masks: Tensor) -> Tensor:
    """(n,) bool: which of (n, h, w) masks are there (not NaN), and show a tumour."""
    return torch.nan_to_num(masks).sum(dim=(1, 2)) >= LEAST_COVER


def mask_loss(gate_logit: Tensor, masks: Tensor) -> Tensor:
    """Balanced cross-entropy and soft Dice of a gate against masks; 0 where no mask is known.

    Balanced, because a tumour covers a hundredth of the cells: those that it covers count as much as all the others.

    Parameters
    ----------
    gate_logit
        (n, h, w): the gate before its sigmoid.
    masks
        (n, h, w) in 0..1, NaN where none is known.
    """
    there = known(masks)
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
    """(n,) Dice of maps, cut at half of their own maximum, with masks, cut at half a cell; both (n, h, w)."""
    region = maps >= 0.5 * maps.amax(dim=(1, 2), keepdim=True)
    tumour = masks >= 0.5
    both = (region & tumour).sum(dim=(1, 2))
    return 2 * both / (region.sum(dim=(1, 2)) + tumour.sum(dim=(1, 2)))


__all__ = ["dice", "known", "mask_loss"]
