"""Load the simulated cohort of `Testing/golden` as arrays, and its reference numbers."""

import json

import numpy as np
import pandas as pd

from helpers import TESTING

GOLDEN = TESTING / "golden"
ROWS = pd.read_csv(GOLDEN / "cohort.csv")
FIRST = ROWS[~ROWS["patient_id"].duplicated()].reset_index(drop=True)
"""One row per patient."""


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def stages(rows, column="stage"):
    return rows[column].str[1].astype(int).to_numpy() - 1


def probabilities(rows, model="p"):
    return rows[[f"{model}_T{k}" for k in (1, 2, 3, 4)]].to_numpy()


def patients(rows):
    return np.unique(rows["patient_id"], return_inverse=True)[1]
