"""What N4 does to a CT slice that has no bias field, and what it costs.

    python benchmarks/n4.py [--seeds 3]

The phantom's HU are free of any bias, so that every change is N4's own doing. Three ways are compared on the key
slice at 1 mm: on the windowed, positive slice (what recipe `paper` does), on HU as they are, and on HU shifted to be
positive.
"""

import argparse
import statistics
import time

import numpy as np
import SimpleITK as sitk

from GTRStagingLib import geometry, keyslice
from GTRStagingLib.phantom import make_phantom
from GTRStagingLib.preprocess import n4, windowed
from GTRStagingLib.recipe import GTR
from GTRStagingLib.stages import TStage


def plain_n4(values: np.ndarray) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.N4BiasFieldCorrection(sitk.GetImageFromArray(values.astype(np.float32))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{'seed':>4}  {'windowed: gain in tissue':>26}  {'seconds':>7}  {'raw HU: change':>14}  shifted HU: liver")
    seconds = []
    for seed in range(options.seeds):
        phantom = make_phantom(TStage.T3, seed=seed)
        key = keyslice.by_area(phantom.ct, phantom.tumour)
        native = geometry.axial_slices(phantom.ct, key.index, key.index)
        field = geometry.resampled(native, geometry.square_grid(native, 1.0), outside=-1024.0)
        hu = sitk.GetArrayFromImage(field)[0]
        grey = windowed(hu, GTR)
        start = time.perf_counter()
        corrected = n4(grey)
        seconds.append(time.perf_counter() - start)
        tissue = (grey > 40) & (grey < 250)
        gain = (corrected[tissue] + 1) / (grey[tissue] + 1)
        raw_change = np.abs(plain_n4(hu) - hu).max()
        shifted = plain_n4(hu + 1025) - 1025
        liver = (hu > 90) & (hu < 130)
        print(
            f"{seed:>4}  {gain.min():>10.2f} to {gain.max():.2f} (x)      {seconds[-1]:>7.2f}  {raw_change:>11.2f} HU"
            f"  {hu[liver].mean():.0f} -> {shifted[liver].mean():.0f} HU"
        )
    print(f"median {statistics.median(seconds):.2f} s a slice of {field.GetSize()[0]}x{field.GetSize()[1]} pixels")


if __name__ == "__main__":
    main()
