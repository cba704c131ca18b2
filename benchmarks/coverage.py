"""Measure the coverage of 95 % intervals on simulated cohorts.

    python benchmarks/coverage.py [--part stages dice] [--repetitions 1000] [--patients 240] [--json FILE]

A patient has one row or, in the clustered cohorts, one to four similar rows. The true value of every measure is that of
a very large cohort drawn in the same way. The Dice is skewed, and 0 for one patient in ten, as of a map that misses the
tumour.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.special import expit, softmax

from GTRStagingLib.stats import attention_by_stage, roc
from GTRStagingLib.stats.metrics import measure

PREVALENCE = (0.25, 0.25, 0.25, 0.25)
SHARPNESS = 1.3
DICE = (0.3, 0.6, 0.9, 1.2)
"""Log odds of the median Dice of a map that does not miss the tumour, by stage."""
MISSED = 0.1
LARGE = 400_000
"""Patients of the cohort that gives the true values."""


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


def draw_dice(rng, patients, clustered):
    """Draw the stages, Dice values and patients of a cohort."""
    stage_of = rng.choice(4, size=patients, p=PREVALENCE)
    rows = rng.integers(1, 5, size=patients) if clustered else np.ones(patients, int)
    patient_of = np.repeat(np.arange(patients), rows)
    stages = stage_of[patient_of]
    shared = rng.normal(size=patients)[patient_of]
    dice = expit(np.take(DICE, stages) + 0.8 * shared + 0.6 * rng.normal(size=len(patient_of)))
    missed = (rng.random(patients) < MISSED)[patient_of]
    return stages, np.where(missed, 0.0, dice), patient_of


def mean_dice(stages, dice, patients, seed):
    found = attention_by_stage.attention(stages, {"dice": dice}, patients, seed=seed).measures["dice"]
    return {"mean Dice": found["all"].mean, "mean Dice of T1": found["T1"].mean}


def true_estimates(stages, probabilities, patients):
    return {name: one.value for name, one in estimates(stages, probabilities, patients, 0).items()}


def true_mean_dice(stages, dice, _patients):
    return {"mean Dice": float(dice.mean()), "mean Dice of T1": float(dice[stages == 0].mean())}


PARTS = {"stages": (draw, estimates, true_estimates), "dice": (draw_dice, mean_dice, true_mean_dice)}


def coverage(part, repetitions, patients, clustered):
    drawn, found, true_values = PARTS[part]
    truth = true_values(*drawn(np.random.default_rng(1), LARGE, clustered))
    hits = dict.fromkeys(truth, 0)
    for repetition in range(repetitions):
        cohort = drawn(np.random.default_rng([2, repetition]), patients, clustered)
        for name, one in found(*cohort, repetition).items():
            hits[name] += one.low <= truth[name] <= one.high
    return {name: {"truth": truth[name], "covered": n / repetitions} for name, n in hits.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--json")
    options = parser.parse_args()
    attention_by_stage.MOST_PERMUTED = 0  # no interval needs the trend's permutations
    found = {kind: {} for kind in ("independent", "clustered")}
    for part in options.part:
        for kind, one in found.items():
            one |= coverage(part, options.repetitions, options.patients, kind == "clustered")
    print(f"{options.repetitions} cohorts of {options.patients} patients; share of 95 % intervals with the truth")
    print(f"{'':<22}{'truth':>8}{'one row':>10}{'1 to 4':>10}")
    for name, one in found["independent"].items():
        print(f"{name:<22}{one['truth']:>8.3f}{one['covered']:>10.3f}{found['clustered'][name]['covered']:>10.3f}")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
