"""Slices as training takes them: from the cache, augmented by seed, in an order that a seed decides."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.staging.preprocess import normalised
from GTRStagingLib.training.augment import augmented
from GTRStagingLib.training.slice_cache import CachedCase

Sample = tuple[np.ndarray, int, int]
"""(3, H, W) float32 pixels, stage, index of the slice in its set."""


class SliceSet(Dataset[Sample]):
    """Every voting slice of every case, with the case's stage.

    It is asked for `(epoch, index)`: what a sample looks like depends on these and the seed alone, whichever process
    makes it and whatever went before, so that an epoch can be run again exactly. Without augmentation a sample is what
    `staging.preprocess.prepare` gives at inference, to the bit.

    Parameters
    ----------
    augment
        Seed of the augmentation; None for none.
    """

    def __init__(self, cases: Sequence[CachedCase], recipe: Recipe, augment: int | None = None) -> None:
        self.cases, self.recipe, self.augment = tuple(cases), recipe, augment
        self.places = [(c, s) for c, case in enumerate(self.cases) for s in range(len(case.offsets))]
        """(case, slice in it) of each sample."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, asked: tuple[int, int]) -> Sample:
        epoch, index = asked
        case, place = self.places[index]
        pixels = np.array(self.cases[case].slices()[place])
        if self.augment is not None:
            pixels = augmented(pixels, (self.augment, epoch, index))
        return normalised(pixels[None], self.recipe)[0], int(self.cases[case].stage), index


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
