"""Compare a slice's altered copies with other people's slices; `cohort.fingerprint.SAME_SLICE` must separate them.

    python benchmarks/near_duplicates.py

Real slices are from ../shared/data (or GTR_TEST_DATA), of six people; phantoms have seeds that no test uses. Phantoms
are the hardest case, because all of them share one anatomy.
"""

import io
import os
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from skimage.transform import resize_local_mean

from GTRStagingLib.cohort import fingerprint
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan, read_scan
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage

DATA = Path(os.environ.get("GTR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEEDS = range(500, 560)


def windowed(scan, index):
    """Return a windowed slice, (y, x) float from 0 to 1."""
    values = sitk.GetArrayFromImage(scan.slices(index, index))[0].astype(np.float32)
    low, high = GTR.window_hu if scan.intensity == "HU" else (0, 255)
    return (values.clip(low, high) - low) / (high - low)


def picture(values):
    image = sitk.GetImageFromArray(np.rint(values.clip(0, 1) * 255).astype(np.uint8)[np.newaxis])
    return fingerprint.picture_of(Scan(MemoryVoxels(image), "windowed", False, "", "PNG"), 0)


def copies(values, rng):
    """Yield altered copies of a slice; 5 % of the window are 17.5 HU."""
    yield "noise of 5 % of the window", values + rng.normal(0, 0.05, values.shape)
    yield "noise of 10 %", values + rng.normal(0, 0.10, values.shape)
    yield "window narrowed by 24 %", (values - 0.12) / 0.76
    yield "gamma 1.5", values**1.5
    buffer = io.BytesIO()
    Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(buffer, "JPEG", quality=40)
    yield "JPEG, quality 40", np.asarray(Image.open(buffer)) / 255
    yield "shifted by a pixel", np.roll(values, 1, 0)
    yield "shifted by a pixel both ways", np.roll(values, (1, 1), (0, 1))
    yield "half the pixels", resize_local_mean(values, [n // 2 for n in values.shape])


def slices():
    """Yield (group, patient, slice) of real scans and of phantoms."""
    for number in range(1, 5):
        scan = read_scan(DATA / f"released/case00{number}.png")
        yield "real, 512 pixels", f"release {number}", windowed(scan, scan.key_index)
    yield "real, 512 pixels", "dcmqi", windowed(read_scan(DATA / "ct/ct_3slice_dicom"), 1)
    scan = read_scan(DATA / "ct/totalseg_example_ct_sm.nii.gz")
    for index in (5, 12, 18, 24):
        yield "real, 122 pixels of 3 mm", "TotalSegmentator", windowed(scan, index)
    for seed in SEEDS:
        made = make_phantom(TStage(seed % 4), seed=seed)
        areas = np.count_nonzero(sitk.GetArrayViewFromImage(made.tumour), axis=(1, 2))
        scan = Scan(MemoryVoxels(made.ct), "HU", True, "", "phantom")
        for index in sorted({int(areas.argmax()), 12}):
            yield "phantoms, 256 pixels", f"seed {seed}", windowed(scan, index)


def main():
    rng = np.random.default_rng(0)
    found = list(slices())
    pictures = [picture(values) for _, _, values in found]
    lowest = defaultdict(lambda: 1.0)
    coarsest = 1.0
    for i, (group, _, values) in enumerate(found):
        if group[0] == "r" or i % 6 == 0:
            for name, copy in copies(values, rng):
                pair = np.stack([pictures[i], picture(copy)])
                lowest[name, group] = min(lowest[name, group], fingerprint.similarity(*pair))
                coarsest = min(coarsest, float((np.prod(fingerprint._coarse(pair), axis=0)).sum()))
    groups = list(dict.fromkeys(group for group, _, _ in found))
    print(f"Lowest similarity of a slice to its own copy (the limit is {fingerprint.SAME_SLICE}):")
    for name in dict.fromkeys(name for name, _ in lowest):
        print(f"  {name:<32}" + "   ".join(f"{group}: {lowest[name, group]:.3f}" for group in groups))
    print(f"Lowest coarse correlation of any copy: {coarsest:.3f} (the sieve is {fingerprint.WORTH_COMPARING})")
    coarse = fingerprint._coarse(np.stack(pictures)).reshape(len(pictures), -1)
    alike = coarse @ coarse.T
    print("Highest similarity of slices of two people:")
    for kind in "rp":
        pairs = [
            (i, j)
            for i, j in combinations(range(len(found)), 2)
            if found[i][1] != found[j][1] and found[i][0][0] == found[j][0][0] == kind
        ]
        pairs.sort(key=lambda pair: -alike[pair])
        highest = max(fingerprint.similarity(pictures[i], pictures[j]) for i, j in pairs[:600])
        sieved = sum(alike[pair] >= fingerprint.WORTH_COMPARING for pair in pairs)
        name = {"r": "real", "p": "phantoms"}[kind]
        print(f"  {name:<10}{highest:.3f}   ({len(pairs)} pairs, {sieved} of them past the sieve)")


if __name__ == "__main__":
    main()
