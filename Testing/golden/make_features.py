"""Writes features.csv, the simulated features that radscore.R fits: of cohort.csv's rows, 40 columns.

    python Testing/golden/make_features.py

Features of the two rows of a patient are alike; eight of the forty go with the stage, one never varies.
"""

from pathlib import Path

import numpy as np
import pandas as pd


def main():
    here = Path(__file__).parent
    cohort = pd.read_csv(here / "cohort.csv")
    rng = np.random.default_rng(20251221)
    patient = cohort["patient_id"].str[1:].astype(int).to_numpy()
    stage = cohort["stage"].str[1].astype(int).to_numpy()
    shared = rng.normal(size=(patient.max() + 1, 40))[patient]
    factor = rng.normal(size=(len(cohort), 1))
    values = shared + 0.5 * rng.normal(size=shared.shape) + 0.7 * factor
    values[:, :8] += np.array([0.5, -0.4, 0.4, 0.3, -0.3, 0.2, 0.2, -0.15]) * (stage[:, None] - 2.5)
    values = values * rng.uniform(0.2, 3, size=40) + rng.uniform(0, 2, size=40)
    values[:, 39] = 0.25
    table = pd.DataFrame(values.round(4), columns=[f"DL-{i + 1:04d}" for i in range(40)])
    table.insert(0, "case_id", cohort["case_id"])
    table.to_csv(here / "features.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
