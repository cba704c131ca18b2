"""The slices that a cohort's cases vote with, prepared once and kept on disk by content and recipe.

Three kinds of files. `slices/KEY.npy` holds a case's resized slices, (S, H, W) float32 in 0..255: KEY is the sha256 of
the scan's digest, the slices' voxels as acquired, their indices and the recipe, so that the same slices are never kept
twice and never taken for others. float32, because a training sample without augmentation is then what inference sees,
to the bit; float16 would halve the 0.2 MB a slice, at an error of 1/16 grey level. `masks/MASK.npz` holds what share of
each of their pixels the case's ROI covers, (S, H, W) in 255ths, MASK being the sha256 of these; a case without an ROI
has none. `cases/TICKET.json` says which KEY and MASK a case has, so that no volume must be read to know: TICKET is the
sha256 of what the case says (its paths, segment, key slice) and the recipe, and the file notes the size and time of
change of every file that was read. Where one differs, the case is read anew; where the volumes are gone altogether, the
ticket is believed, so that a cache can travel without them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.coverage import coverage
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import resize
from GTRStagingLib.support.files import sha256_of_data, whole_file
from GTRStagingLib.support.folders import cache_folder
from GTRStagingLib.support.pools import shared_out
from GTRStagingLib.tables.case_files import Look, look_of

CACHE_VERSION = 3
"""Raise it when the preprocessing or the tickets change: older files are then no longer found."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CachedCase:
    """A case and its slices on disk.

    Attributes
    ----------
    path
        `.npy` of (S, H, W) float32 in 0..255.
    key
        sha256 of the scan's digest, the slices' voxels as acquired, their indices and the recipe.
    offsets
        (S,) acquired slices from the key slice.
    mask
        sha256 of what the ROI covers of the slices; None where the case has no ROI.
    """

    case: Case
    path: Path
    key: str
    offsets: tuple[int, ...]
    mask: str | None = None

    @property
    def stage(self) -> TStage:
        """The case's stage, which training cannot do without."""
        if self.case.stage is None:
            raise InputError(f"Case {self.case.case_id} has no stage; expected one. Fill it in, or leave the case out.")
        return self.case.stage

    def slices(self) -> np.ndarray:
        """(S, H, W) float32 in 0..255, read when touched."""
        return np.load(self.path, mmap_mode="r")

    def covered(self) -> np.ndarray | None:
        """(S, H, W) uint8: what share of each pixel the ROI covers, in 255ths; None without an ROI."""
        if self.mask is None:
            return None
        shares: np.ndarray = np.load(_mask_file(self.path.parents[1], self.mask))["shares"]
        return shares


def default_folder() -> Path:
    """`$GTRSTAGING_CACHE`, or `gtrstaging` under the user's cache folder.

    Raises
    ------
    InputError
        If the user has no home directory.
    """
    own = cache_folder()
    if own is None:
        raise InputError("You have no home directory to keep a cache in; expected one. Give --cache DIR.")
    return own


def cache_slices(
    cases: Sequence[Case],
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> tuple[CachedCase, ...]:
    """The cases' slices, prepared where the cache has them not; in the cases' order.

    Safe for several processes on one folder at once: what two of them prepare is the same, and whole when it is there.

    Parameters
    ----------
    workers
        Processes that read and prepare, see `support.pools.shared_out`.
    progress
        Called with the cases done so far and their number.

    Raises
    ------
    InputError
        If any case cannot be prepared; it names them all, and what is prepared already stays.
    """
    for name in ("slices", "masks", "cases"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    found = [_lookup(case, recipe, folder) for case in cases]
    todo = [position for position, one in enumerate(found) if one is None]
    progress(len(cases) - len(todo), len(cases))
    failures = []
    outcomes = shared_out(_prepare, [(cases[position], recipe, folder) for position in todo], workers)
    for count, (position, outcome) in enumerate(zip(todo, outcomes, strict=True), 1):
        if isinstance(outcome, str):
            failures.append(f"{cases[position].case_id}: {outcome}")
        else:
            found[position] = outcome
        progress(len(cases) - len(todo) + count, len(cases))
    if failures:
        more = f" (and {len(failures) - 5} more)" if len(failures) > 5 else ""
        raise InputError(
            f"{len(failures)} of {len(cases)} cases cannot be prepared; expected all of them. Mend them, or take them "
            f"out of the cohort: {'; '.join(failures[:5])}{more}"
        )
    return tuple(one for one in found if one is not None)


Task = tuple[Case, Recipe, Path]


def _prepare(task: Task) -> CachedCase | str:
    case, recipe, folder = task
    try:
        return _read(case, recipe, folder)
    except StagingError as error:
        return str(error)


def _read(case: Case, recipe: Recipe, folder: Path) -> CachedCase:
    """Read the volumes, prepare the slices as inference does, and keep them."""
    seen = _look(case)  # before reading: a file that changes meanwhile is read anew next time
    scan = read_scan(case.image)
    chosen = None if case.key_slice is None else keyslice.by_index(scan.grid, case.key_slice)
    roi = None
    if case.roi is not None:
        roi = geometry.onto_block(read_roi(case.roi, segment=case.segment).mask, scan.grid)
    index = keyslice.choose(scan.grid, mask=roi, chosen=chosen, named=scan.key_index)
    slices = resize(scan, index, recipe, intensity=scan.intensity)
    used = scan.digest_with(slices.native, slices.offsets)
    key = sha256_of_data([CACHE_VERSION, used, recipe.to_json(), index.index, slices.offsets])
    path = folder / "slices" / f"{key}.npy"
    with whole_file(path) as stream:
        np.save(stream, slices.pixels)
    mask = None if roi is None else _keep(coverage(roi, slices.grid), folder)
    sizes = [path.stat().st_size, *([] if mask is None else [_mask_file(folder, mask).stat().st_size])]
    ticket = {"key": key, "offsets": slices.offsets, "mask": mask, "bytes": sizes, "files": seen}
    with whole_file(_ticket(case, recipe, folder)) as stream:
        stream.write(json.dumps(ticket).encode())
    return CachedCase(case, path, key, slices.offsets, mask)


def _keep(shares: np.ndarray, folder: Path) -> str:
    """Keep what an ROI covers, and return the sha256 that it is kept by."""
    held = np.rint(255 * shares).astype(np.uint8)
    mask = hashlib.sha256(repr(held.shape).encode() + held.tobytes()).hexdigest()
    with whole_file(_mask_file(folder, mask)) as stream:
        np.savez_compressed(stream, shares=held)
    return mask


def _mask_file(folder: Path, mask: str) -> Path:
    return folder / "masks" / f"{mask}.npz"


def _lookup(case: Case, recipe: Recipe, folder: Path) -> CachedCase | None:
    """The case as the cache has it; None where it must be read."""
    try:
        ticket = json.loads(_ticket(case, recipe, folder).read_bytes())
        path, mask = folder / "slices" / f"{ticket['key']}.npy", ticket["mask"]
        files = [path, *([] if mask is None else [_mask_file(folder, mask)])]
        whole = [one.stat().st_size for one in files] == ticket["bytes"]
    except (OSError, ValueError, KeyError):
        return None
    if not whole or (case.image.exists() and _look(case) != ticket["files"]):
        return None
    return CachedCase(case, path, ticket["key"], tuple(ticket["offsets"]), mask)


def _ticket(case: Case, recipe: Recipe, folder: Path) -> Path:
    roi = None if case.roi is None else str(case.roi.absolute())
    said = [CACHE_VERSION, str(case.image.absolute()), roi, case.segment, case.key_slice, recipe.to_json()]
    return folder / "cases" / f"{sha256_of_data(said)}.json"


def _look(case: Case) -> Look:
    """How the files look that the case is read from: a cache that travels keeps no times of an entry's change."""
    return look_of([case.image, *([] if case.roi is None else [case.roi])])


__all__ = ["CACHE_VERSION", "CachedCase", "cache_slices", "default_folder"]
