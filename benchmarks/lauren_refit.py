"""Estimate the effect of Lauren's type in the table released by the authors of the published model.

    python benchmarks/lauren_refit.py

Fits the proportional-odds model to `released/clinic_sel.csv` (covariates, one row per slice) joined with
`released/splits/train.csv` (PathT) of ../shared/data (or GTR_TEST_DATA), and prints the log odds of a higher stage of
the diffuse type against the intestinal type, with intervals clustered by study. The release contains no Rad-score, so
that no refit equals the published model.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from GTRStagingLib.stats.proportional_odds import Design, fit

DATA = Path(os.environ.get("GTR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "released"
POOR, MODERATE = "Differentiation_status_poor", "Differentiation_status_moderate"
TYPES = ["Lauren_intestinal", "Lauren_diffuse", "Lauren_mixed"]
MARKERS = ["CEA", "CA19_9", "AFP", "CA72_4", "CA125"]
SPECIFICATIONS = {
    "Lauren alone": [],
    "and size": ["Tumor_size"],
    "and differentiation": [POOR, MODERATE],
    "and size, differentiation": ["Tumor_size", POOR, MODERATE],
    "and poor against the rest": [POOR],
    "and poor against the rest, size": ["Tumor_size", POOR],
    "and poor against the rest, markers": [POOR, *MARKERS],
    "and all but the place of the tumour": ["Tumor_size", POOR, MODERATE, "Age", "Sex", "PD_L1", *MARKERS],
}


def slices():
    """Read the released slices with their studies, from the beginning of their names."""
    stages = pd.read_csv(DATA / "splits" / "train.csv")
    rows = stages.merge(pd.read_csv(DATA / "clinic_sel.csv"), left_on="PatientID", right_on="image_name")
    rows["study"] = rows["PatientID"].str.extract(r"^(.*?)\.nii", expand=False)
    rows["key"] = ~rows["PatientID"].str.contains(r"_[+-]\d+\.png$")
    return rows


def effect(rows, columns, wanted, reference):
    """Estimate the log odds of `wanted` against `reference`, both of Lauren's types."""
    types = [f"Lauren_{t}" for t in ("intestinal", "diffuse", "mixed") if t != reference]
    names = (*types, *columns)
    design = Design(names, rows[list(names)].to_numpy(float), rows["PathT"].to_numpy(), pd.factorize(rows["study"])[0])
    return fit(design).effects[types.index(f"Lauren_{wanted}")].coefficient


def main():
    rows = slices()
    kinds = rows.groupby("study")[TYPES].max().sum(axis=1)
    stages = rows.groupby("study")["PathT"].nunique()
    print(f"{len(rows)} slices of {len(kinds)} studies. Slices of one study contradict one another:")
    print(f"{(kinds > 1).sum()} studies have several of Lauren's types, {(stages > 1).sum()} several stages.")
    cross = pd.crosstab(rows[[POOR, MODERATE]].to_numpy() @ [2, 1], rows[TYPES].to_numpy().argmax(axis=1))
    print("Rows by differentiation (well, moderate, poor) and type (intestinal, diffuse, mixed):")
    print(np.array2string(cross.to_numpy()))
    tested = pd.read_csv(DATA / "splits" / "test.csv")["PatientID"]
    subsets = {
        "all slices": rows,
        "without the test split": rows[~rows["PatientID"].isin(tested)],
        "one slice per study": rows[rows["key"]],
    }
    for name, some in subsets.items():
        print(f"\n{name} ({len(some)}): log odds of a higher stage, 95 % interval")
        print(f"{'':<40}{'diffuse against intestinal':<32}intestinal against diffuse")
        for what, columns in SPECIFICATIONS.items():
            both = [effect(some, columns, *pair) for pair in (("diffuse", "intestinal"), ("intestinal", "diffuse"))]
            print(f"{what:<40}{both[0].text(2):<32}{both[1].text(2)}")


if __name__ == "__main__":
    main()
