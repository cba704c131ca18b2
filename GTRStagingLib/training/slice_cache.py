"""Prepare the voting slices of a cohort's cases once, and cache them on disk by content and recipe.

The cache has three kinds of files:

`slices/KEY.npy` contains a case's resized slices, (S, H, W) float32 in 0..255. KEY is the sha256 of the scan's digest,
the slices' voxels as acquired, their indices and the recipe, so that equal slices are stored once and different slices
never share a file. With float32, a training sample without augmentation equals the input of inference to the bit;
float16 would halve the 0.2 MB per slice, at an error of 1/16 grey level.

`masks/MASK.npz` contains the share of each pixel that the case's ROI covers, (S, H, W) in 255ths. MASK is the sha256 of
these shares; a case without an ROI has no such file.

`cases/TICKET.json` contains the KEY and MASK of a case, so that its volumes need not be read again. TICKET is the
sha256 of the case's paths, segment and key slice and of the recipe; the file contains the size and modification time of
every file that was read. If one differs, the case is read again. If the volumes are missing, the ticket is used
unchecked, so that a cache can be copied without them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.coverage import coverage
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.key_objects import marks_beside
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import resize
from GTRStagingLib.support.files import atomic_file, parse_json, sha256_of_data
from GTRStagingLib.support.folders import cache_folder
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS, parallel_map
from GTRStagingLib.tables.case_files import file_stats

CACHE_VERSION = 3
"""Version of the files; raise it when the preprocessing or the tickets change, so that older ones are not found."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CachedCase:
    """Case with its slices on disk.

    Attributes
    ----------
    path
        `.npy` of (S, H, W) float32 in 0..255.
    key
        sha256 of the scan's digest, the slices' voxels as acquired, their indices and the recipe.
    offsets
        (S,) acquired slices from the key slice.
    mask
        sha256 of the ROI's shares of the pixels; None for a case without an ROI.
    """

    case: Case
    path: Path
    key: str
    offsets: tuple[int, ...]
    mask: str | None = None

    @property
    def stage(self) -> TStage:
        """Stage of the case; raises `InputError` without one."""
        if self.case.stage is None:
            raise InputError(f"Case {self.case.case_id} has no stage; expected one. Add it, or leave the case out.")
        return self.case.stage

    def slices(self) -> np.ndarray:
        """Return the slices, (S, H, W) float32 in 0..255, memory-mapped."""
        return np.load(self.path, mmap_mode="r")

    def covered(self) -> np.ndarray | None:
        """Return the share of each pixel that the ROI covers, (S, H, W) uint8 in 255ths; None without an ROI."""
        if self.mask is None:
            return None
        shares: np.ndarray = np.load(_mask_file(self.path.parents[1], self.mask))["shares"]
        return shares


def default_folder() -> Path:
    """Return the cache folder: `$GTRSTAGING_CACHE`, or `gtrstaging` in the user's cache folder.

    Raises
    ------
    InputError
        If the user has no home directory.
    """
    own = cache_folder()
    if own is None:
        raise InputError("There is no home directory for the cache; expected one. Give a folder as `cache`.")
    return own


def cache_slices(
    cases: Sequence[Case],
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = lambda done, total: None,
) -> tuple[CachedCase, ...]:
    """Return the cases' slices in the order of the cases, and prepare those missing from the cache.

    Several processes can use one folder at the same time: they write equal files, and each file appears complete.

    Parameters
    ----------
    workers, limits
        Workers that read and prepare, and limits of each case, see `support.pools.parallel_map`.
    progress
        Called with the number of finished cases and of all cases.

    Raises
    ------
    InputError
        If cases cannot be prepared; the message names them, and prepared slices stay in the cache.
    """
    for name in ("slices", "masks", "cases"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found = [_lookup(case, recipe, folder) for case in cases]
    todo = [position for position, one in enumerate(found) if one is None]
    progress(len(cases) - len(todo), len(cases))
    failures = []
    tasks = [(cases[position], recipe, folder) for position in todo]
    outcomes = parallel_map(_read, tasks, workers, limits=limits, failed=_reason)
    for count, (position, outcome) in enumerate(zip(todo, outcomes, strict=True), 1):
        if isinstance(outcome, str):
            failures.append(f"{cases[position].case_id}: {outcome}")
        else:
            found[position] = outcome
        progress(len(cases) - len(todo) + count, len(cases))
    if failures:
        more = f" (and {len(failures) - 5} more)" if len(failures) > 5 else ""
        raise InputError(
            f"{len(failures)} of {len(cases)} cases cannot be prepared; expected all of them. Correct them, or remove "
            f"them from the cohort: {'; '.join(failures[:5])}{more}"
        )
    return tuple(one for one in found if one is not None)


Task = tuple[Case, Recipe, Path]


def _reason(task: Task, reason: str) -> str:
    return without_backticks(reason)


def _read(task: Task) -> CachedCase | str:
    """Read the volumes, prepare the slices as inference does, and store them."""
    case, recipe, folder = task
    seen = _look(case)  # before reading: a file that changes during reading is read again next time
    scan, drawn, _ = read_inputs(
        case.image, series=case.series, roi=case.roi, segment=case.segment, key_slice=case.key_slice
    )
    roi = None if drawn is None else drawn.onto(scan.grid)
    key_slice = keyslice.choose(scan, mask=roi, key_slice=case.key_slice)
    slices = resize(scan, key_slice, recipe, intensity=scan.intensity)
    used = scan.digest_with(slices.native, slices.offsets)
    key = sha256_of_data([CACHE_VERSION, used, recipe.to_json(), key_slice.index, slices.offsets])
    path = folder / "slices" / f"{key}.npy"
    with atomic_file(path) as stream:
        np.save(stream, slices.pixels)
    mask = None if roi is None else _store(coverage(roi, slices.grid), folder)
    sizes = [path.stat().st_size, *([] if mask is None else [_mask_file(folder, mask).stat().st_size])]
    ticket = {"key": key, "offsets": slices.offsets, "mask": mask, "bytes": sizes, "files": seen}
    with atomic_file(_ticket(case, recipe, folder)) as stream:
        stream.write(json.dumps(ticket).encode())
    return CachedCase(case, path, key, slices.offsets, mask)


def _store(shares: np.ndarray, folder: Path) -> str:
    """Store the shares that an ROI covers, and return their sha256."""
    rounded = np.rint(255 * shares).astype(np.uint8)
    mask = hashlib.sha256(repr(rounded.shape).encode() + rounded.tobytes()).hexdigest()
    with atomic_file(_mask_file(folder, mask)) as stream:
        np.savez_compressed(stream, shares=rounded)
    return mask


def _mask_file(folder: Path, mask: str) -> Path:
    return folder / "masks" / f"{mask}.npz"


def _lookup(case: Case, recipe: Recipe, folder: Path) -> CachedCase | None:
    """Return the case from the cache, or None if it must be read."""
    try:
        ticket = parse_json(_ticket(case, recipe, folder).read_bytes())
        path, mask = folder / "slices" / f"{ticket['key']}.npy", ticket["mask"]
        files = [path, *([] if mask is None else [_mask_file(folder, mask)])]
        whole = [one.stat().st_size for one in files] == ticket["bytes"]
        offsets = tuple(map(int, ticket["offsets"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not whole or (case.image.exists() and _look(case) != ticket["files"]):
        return None
    return CachedCase(case, path, ticket["key"], offsets, mask)


def _ticket(case: Case, recipe: Recipe, folder: Path) -> Path:
    roi = None if case.roi is None else str(case.roi.absolute())
    content = [
        CACHE_VERSION,
        str(case.image.absolute()),
        roi,
        case.series,
        case.segment,
        case.key_slice,
        recipe.to_json(),
    ]
    return folder / "cases" / f"{sha256_of_data(content)}.json"


def _look(case: Case) -> str:
    """Return a hash of the names, sizes and modification times of the case's files.

    Change times, which differ in a copy, are left out.
    """
    beside = marks_beside(case.image) if case.key_slice == keyslice.KO else []  # a key object selection may be there
    return sha256_of_data(file_stats([case.image, *([] if case.roi is None else [case.roi]), *beside]))


__all__ = ["CACHE_VERSION", "CachedCase", "cache_slices", "default_folder"]
