"""Find duplicate images by content: equal voxels, and key slices with the same picture.

Two key slices are the same if their pictures agree in the fine structure, after subtraction of the blurred picture and
correction of a small shift. Different patients have similar outlines and gradients, but not the same positions of
vessels and folds: `benchmarks/near_duplicates.py` measures the difference on real CT and on phantoms.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, MissingDependencyError, without_backticks
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.dicom_headers import SeveralSeriesError
from GTRStagingLib.imaging.dicom_pixels import compact
from GTRStagingLib.imaging.geometry import axial_lps
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import Scan, read_scan
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS, parallel_map
from GTRStagingLib.support.shared_text import shared_error

SIDE = 128
"""Width and height of a picture in pixels of about 3 mm, which show vessels and average noise."""

SAME_SLICE = 0.85
"""Smallest correlation of the fine structure of two pictures of the same slice."""

WORTH_COMPARING = 0.88
"""Smallest correlation of the coarse structure (32 × 32) for a comparison of the fine structure."""

FLIPS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))
"""Axes of (n, y, x) along which a copy may be mirrored."""

_COARSE, _COARSE_SIGMA = 32, 3.0
_FINE_SIGMA, _FINE_FLOOR = 2.0, 0.06
_REACH = 5  # pixels of SIDE that a slice may be shifted by
_BLOCK = 1024


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a case: the hash of its image, and the picture of its key slice.

    Attributes
    ----------
    digest
        sha256 of the voxels in axial LPS order, which is the same for a DICOM series and its conversion to NIfTI; for
        a PNG, of the slice without its neighbouring slices. None if the image cannot be read.
    picture
        (SIDE, SIDE) uint8; None if the key slice is unknown.
    problem
        Error of the image, the ROI or the key slice, if there is one.
    """

    digest: str | None
    picture: np.ndarray | None = field(default=None, repr=False)
    problem: str | None = None


class Pair(NamedTuple):
    """Pair of pictures of the same slice, by their indices, the smaller first."""

    first: int
    second: int
    similarity: float


def fingerprints(
    cases: Sequence[Case],
    progress: Callable[[str], None] | None = None,
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Fingerprint]:
    """Return the fingerprints of cases, in their order.

    Each image is read once; a process has one image in memory at a time. An image that ends its process, or exceeds a
    limit, has its own `problem`, and so has each case of it.

    Parameters
    ----------
    progress
        Called with the id of a case after its image is read.
    workers, limits
        Number of processes that read, and limits of each image, see `support.pools.parallel_map`.
    """
    together: dict[tuple[Path, str | None], list[int]] = {}
    for i, case in enumerate(cases):
        together.setdefault((case.image.resolve(), case.series), []).append(i)
    jobs = [(path, tuple(cases[i] for i in of)) for (path, _), of in together.items()]
    found: dict[int, Fingerprint] = {}
    every = parallel_map(_of_image, jobs, workers, limits=limits, failed=_unreadable)
    for of, prints in zip(together.values(), every, strict=True):
        found.update(zip(of, prints, strict=True))
        if progress is not None:
            progress(cases[of[0]].case_id)
    return [found[i] for i in range(len(cases))]


def _of_image(job: tuple[Path, tuple[Case, ...]]) -> list[Fingerprint]:
    """Return the fingerprints of the cases of one image."""
    path, cases = job
    try:
        scan = read_scan(path, series=cases[0].series)
    except SeveralSeriesError:  # the ROI of each case may refer to another one
        return [_of_chosen(case) for case in cases]
    digest = _digest(scan)
    return [_of_case(scan, digest, case) for case in cases]


def _of_chosen(case: Case) -> Fingerprint:
    try:
        scan = read_inputs(case.image, roi=case.roi, segment=case.segment, key_slice=case.key_slice).scan
        return _of_case(scan, _digest(scan), case)
    except (InputError, MissingDependencyError) as error:
        return Fingerprint(None, problem=without_backticks(shared_error(error)))


def _unreadable(job: tuple[Path, tuple[Case, ...]], reason: str) -> list[Fingerprint]:
    return [Fingerprint(None, problem=without_backticks(reason)) for _ in job[1]]


def _of_case(scan: Scan, digest: str, case: Case) -> Fingerprint:
    try:
        mask = None
        if case.roi is not None and case.key_slice is None:  # else its area in the slice is of no use here
            mask = read_roi(case.roi, segment=case.segment).onto(scan.grid)
        key = keyslice.find(scan, mask=mask, key_slice=case.key_slice)
        return Fingerprint(digest, None if key is None else picture_of(scan, key.index))
    except (InputError, MissingDependencyError) as error:
        return Fingerprint(digest, problem=without_backticks(shared_error(error)))


def _digest(scan: Scan) -> str:
    image = axial_lps(scan.image) if scan.key_index is None else scan.image[..., scan.key_index]
    values = compact(sitk.GetArrayViewFromImage(image))
    digest = hashlib.sha256(f"{values.shape} {values.dtype} ".encode())
    digest.update(values.data)
    return digest.hexdigest()


def picture_of(scan: Scan, index: int) -> np.ndarray:
    """Return the (SIDE, SIDE) uint8 picture of an axial slice: the soft-tissue window, averaged over cells.

    Raises
    ------
    InputError
        If the slice has only one value in the window, so that it cannot be compared.
    """
    from skimage.transform import resize_local_mean

    values = sitk.GetArrayFromImage(scan.slices(index, index))[0].astype(np.float32)
    if scan.intensity == "HU":
        values = values.clip(*GTR.window_hu)
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise InputError(f"Slice {index} has only one value ({low:g}); expected anatomy. Choose another slice.")
    small = resize_local_mean((values - low) / (high - low), (SIDE, SIDE), grid_mode=True, preserve_range=True)
    return np.rint(255 * small).astype(np.uint8)


def same_slices(pictures: np.ndarray, owners: Sequence[int], digests: Sequence[int]) -> list[Pair]:
    """Return the pairs of pictures of the same slice, unchanged or mirrored.

    Parameters
    ----------
    pictures
        (n, SIDE, SIDE) uint8.
    owners, digests
        Numbers of patient and image of each picture; pairs of one patient or one image are ignored.
    """
    owner, digest = np.asarray(owners), np.asarray(digests)
    coarse = _coarse(pictures)
    pairs: dict[tuple[int, int], float] = {}
    for rows, columns in _blocks(len(pictures)):
        other = (owner[rows, None] != owner[None, columns]) & (digest[rows, None] != digest[None, columns])
        for flip in FLIPS:
            mirrored = np.flip(coarse[columns], flip).reshape(len(coarse[columns]), -1)
            alike = coarse[rows].reshape(len(coarse[rows]), -1) @ mirrored.T
            at = np.argwhere(other & (alike >= WORTH_COMPARING)) + np.array([rows.start, columns.start])
            for i, j in at[at[:, 0] < at[:, 1]].tolist():
                value = similarity(pictures[i], np.flip(pictures[j], tuple(axis - 1 for axis in flip)))
                if value >= SAME_SLICE:
                    pairs[i, j] = max(value, pairs.get((i, j), 0.0))
    return [Pair(i, j, value) for (i, j), value in sorted(pairs.items())]


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation (-1 to 1) of the fine structure of two pictures, the second shifted onto the first."""
    from scipy.ndimage import shift
    from skimage.registration import phase_cross_correlation

    a, b = first.astype(np.float64), second.astype(np.float64)
    offset, _, _ = phase_cross_correlation(a, b, upsample_factor=8, normalization=None)
    if np.abs(offset).max() <= _REACH:
        b = shift(b, offset, order=1, mode="nearest")
    inner = (slice(_REACH, -_REACH),) * 2
    x, y = (_fine(picture)[inner].ravel() for picture in (a, b))
    return float(np.corrcoef(x, y)[0, 1]) if x.any() and y.any() else 0.0


def _fine(picture: np.ndarray) -> np.ndarray:
    """Return the fine structure at even contrast, so that bone and skin do not dominate."""
    from scipy.ndimage import gaussian_filter

    values = picture / 255.0
    values = values - gaussian_filter(values, _FINE_SIGMA, mode="nearest")
    return values / np.sqrt(gaussian_filter(values**2, _FINE_SIGMA, mode="nearest") + _FINE_FLOOR**2)


def _coarse(pictures: np.ndarray) -> np.ndarray:
    """Return the (n, 32, 32) float32 coarse structure, each with mean 0 and length 1."""
    from scipy.ndimage import gaussian_filter

    cell = SIDE // _COARSE
    small = pictures.reshape(-1, _COARSE, cell, _COARSE, cell).mean((2, 4), dtype=np.float32)
    small -= gaussian_filter(small, (0, _COARSE_SIGMA, _COARSE_SIGMA), mode="nearest")
    small -= small.mean((1, 2), keepdims=True)
    length = np.linalg.norm(small, axis=(1, 2), keepdims=True)
    return np.divide(small, length, out=np.zeros_like(small), where=length > 0)


def _blocks(n: int) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks of rows and columns of all pairs of n pictures."""
    for row in range(0, n, _BLOCK):
        for column in range(row, n, _BLOCK):
            yield slice(row, min(row + _BLOCK, n)), slice(column, min(column + _BLOCK, n))
