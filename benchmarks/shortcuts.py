"""Measure how well simple features predict the phantoms' stage without the depth of the tumour.

    python benchmarks/shortcuts.py [--cases 480] [--seed 40000] [--workers 2]

A logistic regression uses features that could serve a network as shortcuts: the tumour's area in the key slice, its
mean and highest HU, and the slice's mean and standard deviation. A network has learned the stage only if its accuracy
is higher than that of the regression in ten folds (chance is 25 %); `evaluation.py` prints both.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd
import SimpleITK as sitk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import PROFILES
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.pools import parallel_map

FEATURES = ("tumour_mm2", "tumour_mean_hu", "tumour_max_hu", "slice_mean_hu", "slice_std_hu")


def features(hu: np.ndarray, tumour: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """Compute the features of a key slice, (H, W) HU, with its tumour, bool."""
    inside = hu[tumour].astype(float)
    area = tumour.sum() * spacing[0] * spacing[1]
    values = (area, inside.mean(), inside.max(), hu.mean(dtype=float), hu.std(dtype=float))
    return dict(zip(FEATURES, map(float, values), strict=True))


def accuracy(rows: pd.DataFrame, columns: Sequence[str] = FEATURES) -> tuple[float, float]:
    """Return the mean accuracy over ten folds and its standard error, for rows with `stage` and the features."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    right = cross_val_score(model, rows[list(columns)], rows.stage, cv=folds)
    return float(right.mean()), float(right.std(ddof=1) / np.sqrt(len(right)))


def _row(job: tuple[int, TStage, str]) -> dict[str, object]:
    seed, stage, scanner = job
    made = make_phantom(stage, seed=seed, scanner=scanner)
    key = keyslice.by_area(made.ct, made.tumour).index
    hu, tumour = (sitk.GetArrayViewFromImage(image)[key] for image in (made.ct, made.tumour))
    return {"stage": str(stage), **features(hu, tumour > 0, made.ct.GetSpacing())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=480)
    parser.add_argument("--seed", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    scanners = list(PROFILES)
    jobs = [
        (options.seed + i, TStage(i % len(TStage)), scanners[i // len(TStage) % len(scanners)])
        for i in range(options.cases)
    ]
    rows = pd.DataFrame(list(parallel_map(_row, jobs, options.workers)))
    value, error = accuracy(rows)
    print(f"all five: {value:.3f} (standard error {error:.3f}), {options.cases} cases of scanners "
          f"{', '.join(scanners)}; the aim is below 0.5")  # fmt: skip
    for name in FEATURES:
        print(f"  {name + ' alone:':<24} {accuracy(rows, [name])[0]:.3f}")


if __name__ == "__main__":
    main()
