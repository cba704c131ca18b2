"""Writes cohort.csv, the simulated cohort that every reference number beside it was computed from.

    python Testing/golden/make_cohort.py

300 rows of 240 patients (60 of them twice), of three centres: stages from a proportional-odds model, probabilities of a
network and of a weaker one (`q_`), readers without and with the network's help, EUS, covariates, attention.
"""

from pathlib import Path

import numpy as np
import pandas as pd

THRESHOLDS = (-2.0, 0.2, 1.9)
BETA = {"radscore": 1.1, "size_cm": 0.35, "poor": 0.7, "moderate": 0.3, "diffuse": 0.5, "mixed": 0.2}


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def main():
    rng = np.random.default_rng(20251220)
    patients = 240
    radscore = rng.normal(size=patients).round(3)
    size = np.clip(rng.gamma(6, 0.6, size=patients), 0.8, 12).round(1)
    differentiation = rng.choice(["well", "moderate", "poor"], p=[0.15, 0.35, 0.5], size=patients)
    lauren = rng.choice(["intestinal", "diffuse", "mixed"], p=[0.4, 0.35, 0.25], size=patients)
    lp = (
        BETA["radscore"] * radscore
        + BETA["size_cm"] * (size - 3.5)
        + BETA["poor"] * (differentiation == "poor")
        + BETA["moderate"] * (differentiation == "moderate")
        + BETA["diffuse"] * (lauren == "diffuse")
        + BETA["mixed"] * (lauren == "mixed")
    )
    latent = lp + rng.logistic(size=patients)
    stage = np.searchsorted(THRESHOLDS, latent)
    base = pd.DataFrame(
        {
            "patient_id": [f"P{i:03d}" for i in range(patients)],
            "centre": rng.choice(["North", "South", "West"], p=[0.5, 0.3, 0.2], size=patients),
            "stage": [f"T{s + 1}" for s in stage],
            "age": rng.normal(62, 10, size=patients).round().astype(int),
            "sex": rng.choice(["F", "M"], p=[0.35, 0.65], size=patients),
            "size_cm": size,
            "differentiation": differentiation,
            "lauren": lauren,
            "radscore": radscore,
        }
    )
    again = rng.choice(patients, size=60, replace=False)
    rows = pd.concat([base, base.iloc[np.sort(again)]], ignore_index=True)
    n = len(rows)
    truth = rows["stage"].str[1].astype(int).to_numpy() - 1
    for prefix, sharpness in (("p", 2.2), ("q", 1.3)):
        logits = rng.normal(size=(n, 4)) - sharpness * 0.5 * (np.arange(4) - truth[:, None]) ** 2
        probabilities = softmax(1.4 * logits).round(4)
        largest = probabilities.argmax(axis=1)
        rest = 1 - (probabilities.sum(axis=1) - probabilities[np.arange(n), largest])
        probabilities[np.arange(n), largest] = rest.round(4)
        for k in range(4):
            rows[f"{prefix}_T{k + 1}"] = probabilities[:, k]
    for name, error in (("reader1_unaided", 0.9), ("reader1_aided", 0.6), ("reader2_unaided", 1.1),
                        ("reader2_aided", 0.7), ("eus", 1.0)):  # fmt: skip
        said = np.clip(np.round(truth + rng.normal(0, error, size=n)), 0, 3).astype(int)
        rows[name] = [f"T{s + 1}" for s in said]
    rows["dice"] = np.clip(rng.normal(0.25 + 0.04 * truth, 0.12), 0, 1).round(3)
    rows["chance_dice"] = np.clip(rng.normal(0.05, 0.02, size=n), 0.001, 1).round(3)
    rows.insert(0, "case_id", [f"case{i:03d}" for i in range(n)])
    rows.to_csv(Path(__file__).with_name("cohort.csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
