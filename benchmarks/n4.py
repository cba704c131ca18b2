"""Measure the effect and the cost of N4 on CT slices without a bias field, at full and reduced resolution.

    python benchmarks/n4.py [--seeds 3]

The phantom's HU have no bias, so that N4 causes every change.

The first table compares three ways on the key slice at 1 mm: on the windowed, positive slice, fitted at full
resolution, on unchanged HU, and on HU shifted to be positive. The second compares ways to fit the field of the three
windowed voting slices: slice by slice at full resolution (the reference), slice by slice shrunken in plane (recipe
`paper` shrinks by 4), and as one slab shrunken in plane. `nearness` is the mean difference from the reference in
tissue, in grey levels of 255, and the correlation of the two changes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import n4, windowed


def plain_n4(values: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.N4BiasFieldCorrection(sitk.GetImageFromArray(values.astype(np.float32))))


def by_slice(shrink: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda slices: np.stack([n4(one, shrink=shrink) for one in slices])


def as_slab(shrink: int) -> Callable[[np.ndarray], np.ndarray]:
    def corrected(slices: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(slices + 1.0)
        small = sitk.Shrink(image, [shrink, shrink, 1])
        fit = sitk.N4BiasFieldCorrectionImageFilter()
        fit.Execute(small, sitk.Cast(small > 1.0, sitk.sitkUInt8))
        field = sitk.Exp(fit.GetLogBiasFieldAsImage(image))
        return np.clip(sitk.GetArrayFromImage(image / field) - 1.0, 0, 255).astype(np.float32)

    return corrected


WAYS = {
    "slice, whole": by_slice(1),
    "slice, shrunken by 2": by_slice(2),
    "slice, shrunken by 4": by_slice(4),
    "slice, shrunken by 8": by_slice(8),
    "slab, shrunken by 2": as_slab(2),
    "slab, shrunken by 4": as_slab(4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    cases = [hounsfield(seed) for seed in range(options.seeds)]
    print_effect(cases)
    print_cost(cases)


def hounsfield(seed: int) -> np.ndarray:
    """Return the voting slices of a phantom, (3, H, W) HU at 1 mm."""
    phantom = make_phantom(TStage.T3, seed=seed)
    key = keyslice.by_area(phantom.ct, phantom.tumour)
    native = geometry.axial_slices(phantom.ct, key.index - 1, key.index + 1)
    field = geometry.resampled(native, geometry.square_grid(native, 1.0), outside=-1024.0)
    return sitk.GetArrayFromImage(field)


def tissue_of(grey: np.ndarray) -> np.ndarray:
    return (grey > 40) & (grey < 250)


def print_effect(cases: list[np.ndarray]) -> None:
    print(f"{'seed':>4}  {'windowed: gain in tissue':>26}  {'raw HU: change':>14}  shifted HU: liver")
    for seed, (_, hu, _) in enumerate(cases):
        grey = windowed(hu, GTR)
        tissue = tissue_of(grey)
        gain = (n4(grey, shrink=1)[tissue] + 1) / (grey[tissue] + 1)
        raw_change = np.abs(plain_n4(hu) - hu).max()
        shifted = plain_n4(hu + 1025) - 1025
        liver = (hu > 90) & (hu < 130)
        print(
            f"{seed:>4}  {gain.min():>10.2f} to {gain.max():.2f} (x)      {raw_change:>11.2f} HU"
            f"  {hu[liver].mean():.0f} -> {shifted[liver].mean():.0f} HU"
        )


def print_cost(cases: list[np.ndarray]) -> None:
    found = {way: [] for way in WAYS}
    for hu in cases:
        grey = windowed(hu, GTR)
        tissue = tissue_of(grey)
        reference = None
        for way, corrected in WAYS.items():
            start = time.perf_counter()
            values = corrected(grey)
            seconds = time.perf_counter() - start
            reference = values if reference is None else reference
            changes = (values - grey)[tissue], (reference - grey)[tissue]
            gain = (values[tissue] + 1) / (grey[tissue] + 1)
            apart, alike = np.abs(changes[0] - changes[1]).mean(), np.corrcoef(*changes)[0, 1]
            found[way].append((seconds, apart, alike, gain.min(), gain.max()))
    print(f"\n{'fit of three slices':<22}{'s':>7}{'of whole':>10}{'gain in tissue':>18}{'nearness to whole':>20}")
    whole = [row[0] for row in found["slice, whole"]]
    for way, rows in found.items():
        seconds, apart, alike, low, high = zip(*rows, strict=True)
        share = statistics.median(a / b for a, b in zip(seconds, whole, strict=True))
        print(
            f"{way:<22}{statistics.median(seconds):>7.2f}{share:>10.2f}{f'{min(low):.2f} to {max(high):.2f}':>18}"
            f"{statistics.mean(apart):>10.1f}, {statistics.mean(alike):.2f}"
        )
    size = "x".join(map(str, cases[0].shape[:0:-1]))
    print(f"{len(cases)} phantoms, three slices of {size} pixels each; seconds are medians, nearness is a mean")


if __name__ == "__main__":
    main()
