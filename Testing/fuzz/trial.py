"""The reading of one input in a process of its own, and its verdict.

The library reads first; only what it accepts is judged by the oracle, since a refusal with a name and a remedy is never
wrong for an altered file.
"""

import itertools
import re
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from fuzz import bases, inputs, oracle
from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.geometry import Grid
from GTRStagingLib.support.isolation import DiedError, IsolatedProcess

RIGHT, REFUSED, OTHER, CRASH, HANG, WRONG = (
    "accepted right", "refused", "other exception", "crash", "hang", "accepted wrong")  # fmt: skip
UNCLEAR, LOST = "refused without a name or a remedy", "refused though harmless"
VERDICTS = (RIGHT, REFUSED, OTHER, CRASH, HANG, WRONG)
UNSTATED = "the file states no orientation, and no warning states that one was assumed"
BAD = (OTHER, CRASH, HANG, WRONG, UNCLEAR, LOST)

CT = Grid(bases.SIZE[::-1], bases.SPACING, bases.ORIGIN, (1, 0, 0, 0, 1, 0, 0, 0, 1))
"""Grid of the CT on which ROIs are placed."""

SECONDS = 30.0
"""Time limit of one input; the slowest takes less than a second on an idle machine."""

MEMORY_MB = 512
"""Memory that one input may need; the largest valid one has 40 kB."""


@dataclass(frozen=True)
class Verdict:
    """Verdict of one input."""

    number: int
    format: str
    what: str
    verdict: str
    reason: str = ""


def library(folder: Path, one: inputs.Input) -> tuple[str, Any]:
    """Read an input with the library; return the kind of the outcome, and the result or the message."""
    from GTRStagingLib.imaging.rois import read_roi
    from GTRStagingLib.imaging.scans import read_scan

    path = folder / one.path
    try:
        if one.kind == "roi":
            roi = read_roi(path, segment=one.segment)
            mask = roi.onto(CT)
            index = np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1]
            affine = place_of(mask)
            return "accepted", (index @ affine[:3, :3].T + affine[:3, 3], " ".join(roi.warnings))
        scan = read_scan(path)
        image = scan.slices(0, axial_length(scan) - 1)
        return "accepted", (sitk.GetArrayFromImage(image), place_of(image), " ".join(scan.warnings))
    except (InputError, GeometryError) as error:
        return "refused", str(error)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "other", f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:200]}"


def axial_length(scan: Any) -> int:
    from GTRStagingLib.imaging.geometry import axial_size

    return axial_size(scan.grid)[2]


def place_of(image: sitk.Image) -> np.ndarray:
    """Return the (4, 4) affine of an image, from voxel (x, y, z) to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def clear(message: str, folder: Path, one: inputs.Input) -> bool:
    """Return whether a refusal names a file (or its slices), an expectation or a remedy, and no absolute path."""
    names = (
        [Path(name).name for name in one.files]
        + [(folder / one.path).name]
        + [
            "frame",
            "series",
            "slice",
            "stack",
            "CT images",
            "folder",
            "ROI",
        ]
    )
    named = any(name and name in message for name in names)
    remedy = "expected" in message or re.search(r"[.)] [A-Z`][^.]+\.$", message)
    return bool(named and remedy and str(folder) not in message)


def judge(folder: Path, one: inputs.Input, found: Any) -> tuple[str, str]:
    """Compare what the library accepted with the oracle's reading."""
    try:
        if one.kind == "roi":
            right = oracle.read_roi(folder / one.path, one.segment)
            if right.assumed and "assumed" not in found[1]:
                return WRONG, UNSTATED
            return compare_points(found[0], right)
        right = oracle.reader_of(folder / one.path)(folder / one.path)
    except oracle.NoAnswerError as error:
        if one.harmless and same_as_base(one, found):
            return RIGHT, ""
        return WRONG, f"no right answer: {error}"
    if right.steps is not None and "assumed" not in found[2]:
        return WRONG, UNSTATED
    return compare(found[0].astype(np.float64), found[1], right)


def same_as_base(one: inputs.Input, found: Any) -> bool:
    """Return whether the result is that of the unaltered file."""
    right = inputs.right_of(one.base)
    if right is None:
        return False
    if one.kind == "roi":
        return compare_points(found[0], right)[0] == RIGHT
    return compare(found[0].astype(np.float64), found[1], right)[0] == RIGHT


def compare_points(found: np.ndarray, right: oracle.Points) -> tuple[str, str]:
    from scipy.spatial import cKDTree

    tolerance = right.tolerance + 1e-6 * float(np.abs(right.inside).max(initial=0))
    if right.either is not None and len(right.either):
        doubtful = cKDTree(right.either).query(found)[0] <= tolerance
        found = found[~doubtful]
    if len(found) != len(right.inside):
        return WRONG, f"{len(found)} voxels of the ROI, right are {len(right.inside)}"
    apart = float(cKDTree(found).query(right.inside)[0].max()) if len(found) else 0.0
    if not apart <= tolerance:
        return WRONG, f"voxels of the ROI are up to {apart:.3g} mm off"
    return RIGHT, ""


def compare(values: np.ndarray, affine: np.ndarray, right: oracle.Right) -> tuple[str, str]:
    """Compare (z, y, x) values and their affine with what is right, in any order and direction of the axes."""
    if right.affine is None:
        return compare_unplaced(values, affine, right)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    theirs = right.affine[:3, :3] / np.linalg.norm(right.affine[:3, :3], axis=0)
    cosines = (affine[:3, :3] / lengths).T @ theirs  # (x, y, z of the library) by (x, y, z of the oracle)
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(cosines[i, p[i]]) for i in range(3)))
    flipped = [cosines[i, order[i]] < 0 for i in range(3)]

    def ordered(array: np.ndarray) -> np.ndarray:
        axes = [2 - order[2 - i] for i in range(3)]  # of a (z, y, x) array
        array = np.transpose(array, (*axes, *range(3, array.ndim)))
        return array[tuple(slice(None, None, -1 if flipped[2 - i] else 1) for i in range(3))]

    z, y, x = np.indices(right.values.shape)
    index = np.stack([x, y, z], -1)
    places = right.places if right.places is not None else index @ right.affine[:3, :3].T + right.affine[:3, 3]
    true, places = ordered(right.values), ordered(places)
    padded = None if right.padded is None else ordered(right.padded)
    if values.shape != true.shape:
        return WRONG, f"shape {values.shape}, right is {true.shape}"
    z, y, x = np.indices(values.shape)
    apart = np.stack([x, y, z], -1) @ affine[:3, :3].T + affine[:3, 3] - places
    normal = right.affine[:3, 2] / np.linalg.norm(right.affine[:3, 2])
    along = np.abs(apart @ normal)
    across = np.linalg.norm(apart - (apart @ normal)[..., None] * normal, axis=-1)
    if not (along.max() <= right.along and across.max() <= right.across):
        return WRONG, f"voxels are up to {along.max():.3g} mm off along the normal and {across.max():.3g} mm across"
    return compare_values(values, true, padded)


def compare_unplaced(values: np.ndarray, affine: np.ndarray, right: oracle.Right) -> tuple[str, str]:
    """Compare where the file does not state positions: the values must agree in some direction of the axes."""
    outcome = WRONG, "values"
    for order in itertools.permutations(range(3)):
        if right.steps is None and order != (0, 1, 2):
            break
        array = np.transpose(right.values, order)
        if array.shape != values.shape:
            continue
        if right.steps is not None:
            steps = np.array([right.steps[2 - axis] for axis in order])[::-1]
            if not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), steps, rtol=1e-3):
                outcome = WRONG, f"steps {np.linalg.norm(affine[:3, :3], axis=0)}, right are {steps}"
                continue
        for flips in itertools.product((1, -1), repeat=3 if right.steps is not None else 0):
            turned = array[tuple(slice(None, None, f) for f in flips)] if flips else array
            outcome = compare_values(values, turned, None)
            if outcome[0] == RIGHT:
                return outcome
    return outcome


def compare_values(values: np.ndarray, true: np.ndarray, padded: np.ndarray | None) -> tuple[str, str]:
    wrong = ~(np.abs(values - true) <= 0.01 + 1e-6 * np.abs(true))
    if padded is not None:
        wrong = np.where(padded, ~(values <= oracle.AIR), wrong)
    if not wrong.any():
        return RIGHT, ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return WRONG, f"{wrong.sum()} of {wrong.size} voxels are wrong: {values[at]:g} at {at}, right is {true[at]:g}"


# -- In the process of its own ---------------------------------------------------------------------------------------


class Worker:
    """Reader of inputs: makes an input, lets the library read it, and keeps the result for the oracle."""

    def __init__(self, seed: int, folder: str) -> None:
        self.seed, self.folder = seed, Path(folder)
        self.found: Any = None

    def __call__(self, job: tuple[str, int]) -> tuple[str, str]:
        step, number = job
        one = inputs.make(self.seed, number)
        place = self.folder / f"{number}" / "case"
        if step == "make":
            inputs.write(one, place)
            return one.format, one.what
        if step == "read":
            kind, self.found = library(place, one)
            if kind == "refused":
                if one.must_read:
                    return LOST, self.found
                return (REFUSED if clear(self.found, place, one) else UNCLEAR), self.found
            return (OTHER, self.found) if kind == "other" else ("judge", "")
        return judge(place, one, self.found)


def setup(seed: int, folder: str) -> Callable[[Any], Any]:
    """Return the function that runs jobs in the process; imports what is slow before time and memory are limited."""
    import warnings

    import highdicom
    import scipy.spatial

    import GTRStagingLib.imaging.rois
    import GTRStagingLib.imaging.scans

    assert highdicom.__name__
    assert scipy.spatial.__name__
    assert GTRStagingLib.imaging.rois.__name__
    warnings.simplefilter("ignore")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for name in inputs.bases.BASES:  # so that no input pays for the making of its base
        inputs.right_of(name)
    return Worker(seed, folder)


# -- In the calling process ------------------------------------------------------------------------------------------


def run(seed: int, numbers: Iterable[int], folder: Path, *, jobs: int = 1) -> Iterator[Verdict]:
    """Yield the verdicts of inputs, in the order of their numbers."""
    numbers = list(numbers)
    shares = [numbers[i : i + 50] for i in range(0, len(numbers), 50)]
    processes = [
        IsolatedProcess(setup, seed, str(folder), seconds=SECONDS, memory_mb=MEMORY_MB, threads=1) for _ in range(jobs)
    ]
    free = list(processes)

    def share(of: list[int]) -> list[Verdict]:
        process = free.pop()
        try:
            return [_verdict(process, number, folder) for number in of]
        finally:
            free.append(process)

    try:
        with ThreadPoolExecutor(jobs) as threads:
            for verdicts in threads.map(share, shares):
                yield from verdicts
    finally:
        for process in processes:
            process.close()


def _verdict(process: IsolatedProcess, number: int, folder: Path) -> Verdict:
    place = folder / f"{number}"
    place.mkdir(parents=True)
    try:
        format_, what = process.run(("make", number))
        try:
            verdict, reason = process.run(("read", number))
        except DiedError as error:
            text = str(error) if error.overtime else f"{error} {error.log[-1500:]}"
            return Verdict(number, format_, what, HANG if error.overtime else CRASH, text)
        if verdict == "judge":
            verdict, reason = process.run(("judge", number))
        return Verdict(number, format_, what, verdict, reason)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts by format, as a table in Markdown."""
    verdicts = list(verdicts)
    formats = [*dict.fromkeys(sorted(v.format for v in verdicts)), ""]
    lines = ["| format | inputs | " + " | ".join(VERDICTS) + " |", "|---|" + "---|" * (len(VERDICTS) + 1)]
    for name in formats:
        counts = Counter({UNCLEAR: REFUSED, LOST: REFUSED}.get(v.verdict, v.verdict)
                         for v in verdicts if name in ("", v.format))  # fmt: skip
        cells = [f"{counts[verdict]:,}" for verdict in VERDICTS]
        lines.append(f"| {name or '**all**'} | {counts.total():,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
