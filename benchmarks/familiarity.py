"""Measure whether results tell unfamiliar cases: false alarms, another scanner, and images of other kinds.

    gtrstaging phantom --cases 400 --scanner A B --format nifti --seed 700000 --workers 2 --out testAB
    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --workers 2 --out heldout
    python benchmarks/familiarity.py --usual testAB/cohort.csv --scanner-c heldout/cohort.csv --scans CT... \
        [--altered 60] [--model demonstration] [--cases N] [--rounds 15]

The model has to know what it learned from (`gtrstaging models familiarity`). `--usual` are patients like those of its
training, `--scanner-c` those of another scanner, `--scans` CTs of other kinds, of which every slice is a key slice.
The altered images are made of `--altered` phantoms of scanners A and B, seeds 700000 on, the first of `--usual`. No
method and no threshold was chosen on any of these images. Intervals are Wilson's, 95 %. The cost is the processor time
of `stage_case` with the comparison relative to that without it, `--rounds` pairs in turn on one phantom of 512 pixels.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter, rotate
from scipy.stats import binomtest

from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.errors import StagingError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.keyslice import KeySlice
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.scans import Scan, read_scan, scan_of
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import load_model, ready
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone
from GTRStagingLib.phantoms import anatomy
from GTRStagingLib.phantoms.anatomy import build_abdomen, draw_body
from GTRStagingLib.phantoms.phantom import Phantom, make_phantom
from GTRStagingLib.phantoms.scanner import as_image, draw_acquisition, profile, simulate_scan
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import compare
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.preprocess import prepare
from GTRStagingLib.staging.voting import vote
from GTRStagingLib.support.pools import parallel_map

SEED = 700_000
SIZE = 256

ARTERIAL = {"liver": 70.0, "spleen": 130.0, "pancreas": 110.0, "kidney": 210.0, "medulla": 70.0, "aorta": 350.0,
            "vein": 60.0, "bowel": 90.0, "mucosa": 130.0}  # fmt: skip
"""HU of organs in the arterial phase, by textbooks; the marrow keeps its value."""

MR_LIKE = ((-1024, -1000), (-950, -1000), (-200, -1000), (-100, 220), (-20, 60), (10, -60), (60, 40), (110, 90),
           (160, 140), (400, -80), (3000, -120))  # fmt: skip
"""HU -> value of an image like a T1-weighted MR: fat is bright, bone dark. Its values are within the range of HU and
keep the air, since an image without it is refused when it is read."""


@dataclass(frozen=True)
class Seen:
    """Verdict on one image; `correct` is None without a true stage."""

    group: str
    verdict: str
    correct: bool | None = None
    by_acquisition: bool = False


@cache
def _loaded(model: str) -> Backbone:
    torch.set_num_threads(1)
    return load_model(model, "cpu", "torch")


def _seen(group: str, scan: Scan, key: KeySlice, backbone: Backbone, stage: TStage | None = None) -> Seen:
    try:
        slices = prepare(scan, key, backbone.card.recipe, intensity=scan.intensity)
    except StagingError:
        return Seen(group, "refused")
    found = backbone.classify(slices.pixels)
    familiarity = compare(scan, slices, found.features, backbone.reference)
    voted = vote(slices.offsets, probabilities(found.logits, backbone.card)).stage
    by_acquisition = any(reason.startswith("slices ") for reason in familiarity.reasons)
    return Seen(group, familiarity.verdict, None if stage is None else voted == stage, by_acquisition)


def _case(job: tuple[str, str, Case]) -> list[Seen]:
    group, model, case = job
    scan = read_scan(case.image)
    mask = read_roi(case.roi, segment=case.segment).onto(scan.grid)
    return [_seen(group, scan, keyslice.choose(scan, mask=mask), _loaded(model), case.stage)]


def _scan(job: tuple[str, Path]) -> list[Seen]:
    """Judge a CT at each of its slices."""
    model, path = job
    scan = read_scan(path)
    count = scan.grid.GetSize()[2]
    return [_seen(path.name, scan, KeySlice(i, 0.0, "hand"), _loaded(model)) for i in range(count)]


# -- altered images ------------------------------------------------------------------------------------------------


def _altered(job: tuple[str, int]) -> list[Seen]:
    """Judge the altered images of one phantom."""
    model, number = job
    stage, scanner = TStage(number % 4), "AB"[number // 4 % 2]
    made = make_phantom(stage, seed=SEED + number, scanner=scanner, size=SIZE)
    slices, spacing = _voting(made), made.ct.GetSpacing()
    found = []
    for name, alter in ALTERATIONS.items():
        found.append((name, alter(slices, made)))
    for name, values in (("arterial contrast", ARTERIAL), ("only the aorta as bright as in the arterial phase",
                         {"aorta": ARTERIAL["aorta"]})):  # fmt: skip
        with mock.patch.dict(anatomy.ENHANCED, values):
            found.append((name, _voting(make_phantom(stage, seed=SEED + number, scanner=scanner, size=SIZE))))
    found += _far_away(SEED + number, scanner)
    judged = []
    for name, values in found:
        image = as_image(np.clip(np.rint(values), -1024, 3071).astype(np.int16), spacing[0], spacing[2])
        try:
            scan = scan_of(image, name)
        except StagingError:
            judged.append(Seen(name, "refused"))
            continue
        judged.append(_seen(name, scan, KeySlice(1, 0.0, "hand"), _loaded(model)))
    return judged


def _voting(made: Phantom) -> np.ndarray:
    """Return the key slice and its neighbours, (3, H, W)."""
    areas = sitk.GetArrayViewFromImage(made.tumour).sum(axis=(1, 2))
    key = min(max(int(areas.argmax()), 1), len(areas) - 2)
    return sitk.GetArrayFromImage(made.ct)[key - 1 : key + 2].astype(np.float64)


def _doubled_noise(slices: np.ndarray, made: Phantom) -> np.ndarray:
    """Add noise of the scanner's grain with the root of 3 times its deviation, so that the sum has twice of it."""
    grain = made.scan.profile.grain_mm / made.ct.GetSpacing()[0]
    white = np.random.default_rng(made.seed).standard_normal(slices.shape)
    noise = gaussian_filter(white, sigma=(0, grain, grain))
    return slices + np.sqrt(3) * made.scan.noise_hu * noise / noise.std()


def _half_outside(slices: np.ndarray, made: Phantom) -> np.ndarray:
    moved = np.full_like(slices, -1024)
    half = slices.shape[2] // 2
    moved[:, :, half:] = slices[:, :, :half]
    return moved


ALTERATIONS: dict[str, Callable[[np.ndarray, Phantom], np.ndarray]] = {
    "MR-like contrast": lambda slices, made: np.interp(slices, *zip(*MR_LIKE, strict=True)),
    "HU shifted by +100": lambda slices, made: slices + 100,
    "HU shifted by -100": lambda slices, made: slices - 100,
    "noise doubled": _doubled_noise,
    "mirrored left to right": lambda slices, made: slices[:, :, ::-1],
    "rotated by 45°": lambda slices, made: rotate(slices, 45, axes=(1, 2), reshape=False, order=1, cval=-1024),
    "half outside the field": _half_outside,
}


def _far_away(seed: int, scanner: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield slices 100 mm above and below the stomach, of the same patient in a longer scan without a tumour."""
    rng = np.random.default_rng(seed)
    body = draw_body(rng)
    scan = draw_acquisition(profile(scanner), rng)
    pixel_mm, slice_mm = scan.field_mm / SIZE, scan.profile.slice_mm
    shape = (round(430 / slice_mm), SIZE, SIZE)
    abdomen = build_abdomen(body, shape, (slice_mm, pixel_mm), scan.enhancement, rng)
    heights = abdomen.places[2][:, 0, 0]
    stomach = heights[abdomen.gut.any(axis=(1, 2))]
    for name, height in (("above", stomach.max() + 100), ("below", stomach.min() - 100)):
        key = min(max(int(np.abs(heights - height).argmin()), 1), len(heights) - 2)
        if abs(heights[key] - height) > slice_mm:
            raise ValueError(f"the phantom ends {abs(heights[key] - height):.0f} mm before this height")
        part = simulate_scan(abdomen.hu[key - 1 : key + 2], scan, pixel_mm, rng)
        yield f"100 mm {name} the stomach", part.astype(np.float64)


# -- the cost --------------------------------------------------------------------------------------------------------


def _cost(name: str, rounds: int) -> float:
    """Return the median ratio of processor times of staging one case, with and without the comparison."""
    torch.set_num_threads(1)
    model = weights.load(name)
    made = make_phantom(TStage.T3, seed=SEED, scanner="B", size=512)
    scan, tumour = scan_of(made.ct, "phantom"), Roi(made.tumour, "tumour")
    with_it, without = (ready(one, "cpu", "torch") for one in (model, replace(model, reference=None)))
    stage_case(scan, with_it, tumour=tumour), stage_case(scan, without, tumour=tumour)
    ratios = []
    for turn in range(rounds):
        seconds = {}
        for backbone in (with_it, without) if turn % 2 else (without, with_it):
            start = time.process_time()
            stage_case(scan, backbone, tumour=tumour)
            seconds[backbone is with_it] = time.process_time() - start
        ratios.append(seconds[True] / seconds[False])
    return statistics.median(ratios)


# -- the table -----------------------------------------------------------------------------------------------------


def _share(count: int, of: int) -> str:
    if not of:
        return "-"
    limits = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count / of:.3f} ({limits.low:.3f} to {limits.high:.3f})"


def _row(group: str, seen: Sequence[Seen]) -> str:
    count = Counter(one.verdict for one in seen)
    flagged = count["unlike"] + count["unusual"] + count["refused"]
    cells = (group, len(seen), count["unlike"], count["unusual"], count["refused"], _share(flagged, len(seen)))
    return f"| {' | '.join(map(str, cells))} |"


def _accuracy(group: str, seen: Sequence[Seen]) -> Iterator[str]:
    for verdict in ("usual", "unusual", "unlike"):
        those = [one.correct for one in seen if one.verdict == verdict]
        yield f"| {group} | {verdict} | {len(those)} | {_share(sum(map(bool, those)), len(those))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usual", type=Path, required=True)
    parser.add_argument("--scanner-c", type=Path, required=True)
    parser.add_argument("--scans", type=Path, nargs="*", default=[])
    parser.add_argument("--altered", type=int, default=60)
    parser.add_argument("--model", default="demonstration")
    parser.add_argument("--cases", type=int, help="use only the first cases of each table")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"Staging with the comparison takes {_cost(options.model, options.rounds):.3f} of the time without it.\n")
    tables = {"A and B, not seen in training": options.usual, "scanner C": options.scanner_c}
    print("| images | number | unlike | unusual | refused | flagged |\n|---|---|---|---|---|---|")
    groups = {}
    for group, table in tables.items():
        jobs = [(group, options.model, case) for case in read_cohort(table).cases[: options.cases]]
        groups[group] = [one for seen in parallel_map(_case, jobs, options.workers) for one in seen]
        print(_row(group, groups[group]), flush=True)
    of_altered: dict[str, list[Seen]] = {}
    for seen in parallel_map(_altered, [(options.model, n) for n in range(options.altered)], options.workers):
        for one in seen:
            of_altered.setdefault(one.group, []).append(one)
    for group, seen in of_altered.items():
        print(_row(group, seen), flush=True)
    for path in options.scans:
        print(_row(path.name, _scan((options.model, path))), flush=True)
    print("\n| images | verdict | number | accuracy |\n|---|---|---|---|")
    for group, seen in groups.items():
        print("\n".join(_accuracy(group, seen)))
    alone = sum(one.by_acquisition for one in groups["scanner C"])
    print(f"\nScanner C: the distance of the slices is among the reasons in {alone} of {len(groups['scanner C'])}.")


if __name__ == "__main__":
    main()
