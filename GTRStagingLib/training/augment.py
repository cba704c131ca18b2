"""Augment training slices: flip, rotation, scaling and intensity, as named in the article.

Augmentation acts on the windowed slice in 0..255, before normalisation; a seed alone determines the random values.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.utils import make_grid, save_image

ROTATION_DEGREES, SCALES, SHIFT = 15.0, (0.9, 1.1), 0.05
BRIGHTNESS, CONTRAST, GAMMAS = 0.15, 0.15, (0.8, 1.25)
"""The article gives no numbers; these keep the organs in the field and the layers of the wall visible."""


def _random_gamma(picture: Tensor) -> Tensor:
    """Apply a random gamma, since z-scoring removes brightness and contrast again, except for clipped values."""
    low, high = GAMMAS
    gamma = low * (high / low) ** torch.rand(()).item()
    return v2.functional.adjust_gamma(picture, gamma)


_MOVED = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(
            ROTATION_DEGREES, translate=(SHIFT, SHIFT), scale=SCALES, interpolation=InterpolationMode.BILINEAR, fill=0.0
        ),
    ]
)
_SHADED = v2.Compose([v2.ColorJitter(brightness=BRIGHTNESS, contrast=CONTRAST), v2.Lambda(_random_gamma)])


def augmented(pixels: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Return an augmented slice, (H, W) float32 in 0..255; equal seeds give equal transformations.

    The state of torch's random generator does not change.
    """
    return augmented_with(pixels, None, seed)[0]


def augmented_with(
    pixels: np.ndarray, mask: np.ndarray | None, seed: Sequence[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return an augmented slice and a mask, (H, W) in 0..1, moved like it; the mask does not affect the slice."""
    drawn = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]) >> 1
    planes = [np.clip(pixels, 0, 255) / np.float32(255), *([] if mask is None else [mask.astype(np.float32)])]
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(drawn)
        moved = _MOVED(torch.from_numpy(np.stack(planes)))
        shaded = _SHADED(moved[:1])
    return (shaded[0] * 255).numpy(), None if mask is None else moved[1].numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: a slice is too small to divide, and on a busy machine threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_contact_sheet(slices: Sequence[np.ndarray], path: Path, *, seed: int = 0, variants: int = 7) -> None:
    """Write a picture with a row per slice: the slice and `variants` augmentations of it.

    Parameters
    ----------
    slices
        Each (H, W) float32 in 0..255, all of one size.
    path
        File name of a picture, for example with `.png`.
    """
    rows = [
        [one, *(augmented(one, (seed, variant, position)) for variant in range(variants))]
        for position, one in enumerate(slices)
    ]
    pictures = torch.from_numpy(np.stack([picture for row in rows for picture in row]))[:, None] / 255
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(make_grid(pictures, nrow=variants + 1, padding=4, pad_value=0.5), path)


__all__ = ["augmented", "augmented_with", "write_contact_sheet"]
