"""Measure how often a Rad-score of pure noise looks significant, and what remains of a real signal.

    python benchmarks/radscore_noise.py [--fits 200] [--patients 150] [--features 200] [--signal 0] [--seed 0]
        [--json FILE]

Every fit has its own cohort: stages and features are independent, or the first three features follow the stage with
`--signal` standard deviations a stage. A Rad-score looks significant if the interval of its out-of-fold correlation
lies above 0, or if its p-value in a nomogram is below 0.05. A fit that selects no feature, or whose out-of-fold scores
are all the same, is refused, and counts as not significant.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import chi2, norm

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.fit import fit_nomogram
from GTRStagingLib.radscore.fit import fit
from GTRStagingLib.radscore.inputs import CaseFeatures
from GTRStagingLib.stats.estimates import Z
from GTRStagingLib.tables.table_files import Table

INFORMATIVE = 3
PREVALENCE = (0.25, 0.25, 0.25, 0.25)
ALPHA = 0.05


def one_fit(seed, patients, count, signal):
    """Fit a Rad-score and a nomogram on a new cohort; return None if one of them is refused."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(patients, count))
    stages = rng.choice(4, size=patients, p=PREVALENCE)
    values[:, :INFORMATIVE] += signal * stages[:, None]
    ids = tuple(f"c{i}" for i in range(patients))
    features = CaseFeatures(ids, values, tuple(f"DL-{i + 1:04d}" for i in range(count)), "net", "a" * 64)
    try:
        made = fit(features, stages, np.arange(patients), seed=seed)
        rows = tuple(
            {"case_id": i, "patient_id": i, "stage": f"T{s + 1}", "radscore": repr(float(score))}
            for i, s, score in zip(ids, stages, made.out_of_fold, strict=True)
        )
        table = Table(Path("noise.csv"), tuple(rows[0]), rows, tuple(range(2, len(rows) + 2)))
        score = made.radscore.to_json()
        record = fit_nomogram(table, ["radscore"], name="noise", radscore=score, resamples=1).record
    except InputError:
        return None
    outside, (row,), test = (
        made.radscore.record["out_of_fold"]["spearman"],
        record["coefficients"],
        record["radscore_test"],
    )
    return {
        "correlation": outside["value"],
        "interval above 0": outside["low"] > 0,
        "interval below 0": outside["high"] < 0,
        "p of Wald": row["p"] < ALPHA,
        "p of the likelihood ratio": test["p"] < ALPHA,
        # Without the factor of `stats.lasso.overlap`:
        "uncorrected p of Wald": 2 * norm.sf(abs(row["coefficient"]["value"]) / uncorrected(row, made)) < ALPHA,
        "uncorrected p of the likelihood ratio": chi2.sf(test["chi2"] * factor(made), 1) < ALPHA,
    }


def factor(made):
    folds = made.radscore.record["folds"]["number"]
    return 1 + folds / (folds - 1)


def uncorrected(row, made):
    estimate = row["coefficient"]
    return (estimate["high"] - estimate["low"]) / (2 * Z) / factor(made) ** 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--signal", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first fit; the next has the next seed")
    parser.add_argument("--json")
    options = parser.parse_args()
    found = [
        one_fit(seed, options.patients, options.features, options.signal)
        for seed in range(options.seed, options.seed + options.fits)
    ]
    made = [one for one in found if one is not None]
    print(f"{options.fits} fits on {options.patients} patients and {options.features} features, signal "
          f"{options.signal:g}: {len(made)} with a Rad-score")  # fmt: skip
    if made:
        correlations = [one["correlation"] for one in made]
        print(f"out-of-fold correlation: mean {np.mean(correlations):.3f}, {np.min(correlations):.3f} to "
              f"{np.max(correlations):.3f}")  # fmt: skip
        print(f"{'':<40}{'fits':>6}{'of all':>9}{'of those with a score':>24}")
        for name in (name for name in made[0] if name != "correlation"):
            hits = sum(bool(one[name]) for one in made)
            print(f"{name:<40}{hits:>6}{hits / len(found):>9.3f}{hits / len(made):>24.3f}")
    if options.json:
        Path(options.json).write_text(json.dumps(made, indent=1, default=bool) + "\n")


if __name__ == "__main__":
    main()
