"""Training samples: slices from the cache, augmented and ordered by seeds."""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from threading import Thread

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
"""(3, H, W) float32 pixels; stage; index of the slice in its set; share of each cell of a gated head that the ROI
covers, (H/4, W/4) float32, NaN without an ROI, and an empty array if the set has no masks."""


class SliceSet(Dataset[Sample]):
    """Every voting slice of every case, with the case's stage.

    The index is `(epoch, index)`. A sample depends on these and the seed alone, not on the process or on earlier
    samples, so that an epoch can be repeated exactly. Without augmentation, a sample equals the output of
    `staging.preprocess.prepare` at inference, to the bit.

    Parameters
    ----------
    augment
        Seed of the augmentation; None for no augmentation.
    masks
        Whether samples contain the mask of their ROI, transformed like the slice.
    """

    def __init__(
        self, cases: Sequence[CachedCase], recipe: Recipe, augment: int | None = None, *, masks: bool = False
    ) -> None:
        self.cases, self.recipe, self.augment, self.masks = tuple(cases), recipe, augment, masks
        self.places = [(c, s) for c, case in enumerate(self.cases) for s in range(len(case.offsets))]
        """(case, slice in it) of each sample."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> Sample:
        epoch, index = epoch_and_index
        case, place = self.places[index]
        pixels = np.array(self.cases[case].slices()[place])
        shares = self.cases[case].covered() if self.masks else None
        mask = None if shares is None else shares[place] / np.float32(255)
        if self.augment is not None:
            pixels, mask = augmented_with(pixels, mask, (self.augment, epoch, index))
        stage = int(self.cases[case].stage)
        return normalised(pixels[None], self.recipe)[0], stage, index, self._cells(mask, pixels.shape)

    def _cells(self, mask: np.ndarray | None, size: tuple[int, ...]) -> np.ndarray:
        """Return the mask in the cells of a gated head, as in `Sample`."""
        if not self.masks:
            return np.zeros(0, dtype=np.float32)
        return pooled(np.full(size, np.nan) if mask is None else mask, GATE_STRIDE)


class Shuffled(DistributedSampler[Sample]):
    """Sampler of `(epoch, index)` in an order drawn from seed and epoch; each rank gets its share."""

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        for index in super().__iter__():
            yield self.epoch, index  # type: ignore[misc]


def training_loader(
    samples: SliceSet, *, batch_size: int, seed: int, epoch: int = 0, rank: int = 0, ranks: int = 1, workers: int = 0
) -> DataLoader[Sample]:
    """Return a loader of one rank's batches, in a new order each epoch, from `epoch` on.

    An iterator with workers draws the first indices when it is made, and Lightning makes the first one before it sets
    the sampler's epoch: hence the parameter `epoch`, without which a resumed run would repeat the order of epoch 0.

    An incomplete last batch is left out, unless it is the only one: its few slices would affect the batch norms as much
    as a full batch. Each epoch leaves out other slices.
    """
    order = Shuffled(samples, num_replicas=ranks, rank=rank, shuffle=True, seed=seed)
    order.set_epoch(epoch)
    return _loader(samples, order, batch_size, workers, drop_last=len(order) > batch_size)


def plain_loader(
    samples: SliceSet, *, batch_size: int, rank: int = 0, ranks: int = 1, workers: int = 0
) -> DataLoader[Sample]:
    """Return a loader of one rank's batches in the set's order; each sample once, for any number of ranks."""
    share = [(0, index) for index in range(rank, len(samples), ranks)]
    return _loader(samples, share, batch_size, workers)


def _loader(
    samples: SliceSet,
    order: Iterable[tuple[int, int]] | Shuffled,
    batch_size: int,
    workers: int,
    *,
    drop_last: bool = False,
) -> DataLoader[Sample]:
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=order,
        drop_last=drop_last,
        num_workers=workers,
        worker_init_fn=_end_with_parent,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: torch's random numbers stay as they are
    )


def _end_with_parent(worker: int) -> None:
    """End a loading worker as soon as its run has ended, also by a kill.

    torch looks whether the process is there that started the worker. That is not the run but a server where processes
    start by `forkserver`, the default of Linux from Python 3.14: workers with 900 MB stayed for ever.
    """
    if (run := multiprocessing.parent_process()) is None:
        return

    def wait() -> None:
        run.join()
        os._exit(1)

    Thread(target=wait, name="end with parent", daemon=True).start()


__all__ = ["Shuffled", "SliceSet", "plain_loader", "training_loader"]
