"""Measure the coverage of 95 % intervals on simulated cohorts.

    python benchmarks/coverage.py [--repetitions 1000] [--patients 240] [--json FILE]

A patient has one row or, in the clustered cohorts, one to four similar rows. The true value of every measure is that of
a very large cohort drawn in the same way.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.special import softmax

from GTRStagingLib.stats import roc
from GTRStagingLib.stats.metrics import measure

PREVALENCE = (0.25, 0.25, 0.25, 0.25)
SHARPNESS = 1.3


def draw(rng, patients, clustered):
    """Draw the stages, probabilities and patients of a cohort."""
    stage_of = rng.choice(4, size=patients, p=PREVALENCE)
    rows = rng.integers(1, 5, size=patients) if clustered else np.ones(patients, int)
    patient_of = np.repeat(np.arange(patients), rows)
    stages = stage_of[patient_of]
    shared = rng.normal(size=(patients, 4))[patient_of]  # correlates the errors of a patient's slices
    logits = 0.8 * shared + 0.6 * rng.normal(size=(len(patient_of), 4))
    logits -= SHARPNESS * 0.5 * (np.arange(4) - stages[:, None]) ** 2
    return stages, softmax(1.4 * logits, axis=1), patient_of


def estimates(stages, probabilities, patients, seed):
    found = measure(stages, probabilities.argmax(axis=1), patients, seed=seed)
    areas = roc.stage_areas(stages, probabilities)
    late = found.boundaries["T3-4 against T1-2"]
    return {
        "accuracy": found.accuracy,
        "sensitivity of T2": found.per_class["T2"].sensitivity,
        "specificity of T2": found.per_class["T2"].specificity,
        "PPV of T3": found.per_class["T3"].ppv,
        "sensitivity of T3-4": late.sensitivity,
        "macro F1": found.macro_f1,
        "kappa": found.kappa_plain,
        "linear kappa": found.kappa_linear,
        "quadratic kappa": found.kappa_quadratic,
        "mean absolute error": found.mean_absolute_error,
        "over-staged": found.over_staged,
        "AUC of T1": roc.estimate(areas[0], patients),
        "AUC of T2": roc.estimate(areas[1], patients),
        "macro AUC": roc.estimate(roc.macro(areas), patients),
        "micro AUC": roc.estimate(roc.micro(stages, probabilities), patients),
    }


def coverage(repetitions, patients, clustered):
    truth = {n: e.value for n, e in estimates(*draw(np.random.default_rng(1), 400_000, clustered), 0).items()}
    hits = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        cohort = draw(np.random.default_rng([2, repetition]), patients, clustered)
        for name, one in estimates(*cohort, repetition).items():
            hits[name] += one.low <= truth[name] <= one.high
    return {name: {"truth": truth[name], "covered": n / repetitions} for name, n in hits.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--json")
    options = parser.parse_args()
    found = {kind: coverage(options.repetitions, options.patients, kind == "clustered")
             for kind in ("independent", "clustered")}  # fmt: skip
    print(f"{options.repetitions} cohorts of {options.patients} patients; share of 95 % intervals with the truth")
    print(f"{'':<22}{'truth':>8}{'one row':>10}{'1 to 4':>10}")
    for name, one in found["independent"].items():
        print(f"{name:<22}{one['truth']:>8.3f}{one['covered']:>10.3f}{found['clustered'][name]['covered']:>10.3f}")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
