"""Slices as training takes them: from the cache, augmented by seed, in an order that a seed decides."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from GTRStagingLib.imaging.coverage import pooled
from GTRStagingLib.model.card import GATE_STRIDE
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.staging.preprocess import normalised
from GTRStagingLib.training.augment import augmented_with
from GTRStagingLib.training.slice_cache import CachedCase

Sample = tuple[np.ndarray, int, int, np.ndarray]
"""(3, H, W) float32 pixels; stage; index of the slice in its set; what share of each cell of a gated head the ROI
covers, (H/4, W/4) float32, NaN where no ROI is known, and nothing at all where the set is asked for no masks."""


class SliceSet(Dataset[Sample]):
    """Every voting slice of every case, with the case's stage.

    It is asked for `(epoch, index)`: what a sample looks like depends on these and the seed alone, whichever process
    makes it and whatever went before, so that an epoch can be run again exactly. Without augmentation a sample is what
    `staging.preprocess.prepare` gives at inference, to the bit.

    Parameters
    ----------
    augment
        Seed of the augmentation; None for none.
    masks
        Whether samples come with what their ROI covers, moved as the slice is.
    """

    def __init__(
        self, cases: Sequence[CachedCase], recipe: Recipe, augment: int | None = None, *, masks: bool = False
    ) -> None:
        self.cases, self.recipe, self.augment, self.masks = tuple(cases), recipe, augment, masks
        self.places = [(c, s) for c, case in enumerate(self.cases) for s in range(len(case.offsets))]
        """(case, slice in it) of each sample."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, asked: tuple[int, int]) -> Sample:
        epoch, index = asked
        case, place = self.places[index]
        pixels = np.array(self.cases[case].slices()[place])
        shares = self.cases[case].covered() if self.masks else None
        mask = None if shares is None else shares[place] / np.float32(255)
        if self.augment is not None:
            pixels, mask = augmented_with(pixels, mask, (self.augment, epoch, index))
        stage = int(self.cases[case].stage)
        return normalised(pixels[None], self.recipe)[0], stage, index, self._cells(mask, pixels.shape)

    def _cells(self, mask: np.ndarray | None, size: tuple[int, ...]) -> np.ndarray:
        """The mask in the cells of a gated head, as `Sample` has it."""
        if not self.masks:
            return np.zeros(0, dtype=np.float32)
        return pooled(np.full(size, np.nan) if mask is None else mask, GATE_STRIDE)


class Shuffled(DistributedSampler[Sample]):
    """`(epoch, index)` of every sample, in an order drawn from seed and epoch; each rank gets its share."""

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        for index in super().__iter__():
            yield self.epoch, index  # type: ignore[misc]


def training_loader(
    samples: SliceSet, *, batch_size: int, seed: int, rank: int = 0, ranks: int = 1, workers: int = 0
) -> DataLoader[Sample]:
    """Batches of one rank, in a new order each epoch.

    A last batch that is not full is left out, unless it is the only one: the batch norms would learn from a few slices
    as much as from a batch. Every epoch leaves out others.
    """
    order = Shuffled(samples, num_replicas=ranks, rank=rank, shuffle=True, seed=seed)
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=order,
        drop_last=len(order) > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: torch's random numbers stay as they are
    )


def plain_loader(
    samples: SliceSet, *, batch_size: int, rank: int = 0, ranks: int = 1, workers: int = 0
) -> DataLoader[Sample]:
    """Batches of one rank in the set's own order; every sample once, however many ranks there are."""
    share = [(0, index) for index in range(rank, len(samples), ranks)]
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=share,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: torch's random numbers stay as they are
    )


__all__ = ["Shuffled", "SliceSet", "plain_loader", "training_loader"]
