"""Can the phantoms' stage be told without looking at the tumour's depth? It should not.

    python benchmarks/shortcuts.py [--cases 480] [--seed 40000] [--workers 2]

A logistic regression is given what a network could cheat with: the tumour's area in the key slice, its mean and highest
HU, and the slice's mean and standard deviation. Its accuracy in ten folds (chance is 25 %) is what a network must beat
before it can be said to have learned the stage.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import SimpleITK as sitk
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from GTRStagingLib import keyslice
from GTRStagingLib.phantom import make_phantom
from GTRStagingLib.phantom_scanner import PROFILES
from GTRStagingLib.stages import TStage

FEATURES = ("area of the tumour", "its mean HU", "its highest HU", "mean of the slice", "its standard deviation")


def features(job: tuple[int, TStage, str]) -> list[float]:
    seed, stage, scanner = job
    made = make_phantom(stage, seed=seed, scanner=scanner)
    key = keyslice.by_area(made.ct, made.tumour)
    hu = sitk.GetArrayViewFromImage(made.ct)[key.index].astype(float)
    tumour = hu[sitk.GetArrayViewFromImage(made.tumour)[key.index] > 0]
    return [key.tumour_area_mm2, tumour.mean(), tumour.max(), hu.mean(), hu.std()]


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
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        table = np.array(list(pool.map(features, jobs, chunksize=4)))
    stages = np.array([int(stage) for _, stage, _ in jobs])
    folds = StratifiedKFold(10, shuffle=True, random_state=0)

    def accuracy(columns: list[int]) -> np.ndarray:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        return cross_val_score(model, table[:, columns], stages, cv=folds)

    every = accuracy(list(range(len(FEATURES))))
    print(f"all five: {every.mean():.3f} (standard error {every.std(ddof=1) / np.sqrt(len(every)):.3f}), "
          f"{options.cases} cases of scanners {', '.join(scanners)}; the aim is below 0.5")  # fmt: skip
    for column, name in enumerate(FEATURES):
        print(f"  {name + ' alone:':<30} {accuracy([column]).mean():.3f}")


if __name__ == "__main__":
    main()
