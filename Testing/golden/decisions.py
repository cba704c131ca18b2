"""Writes decisions.json: the net benefits of the model and of EUS in cohort.csv, by the package `dcurves`.

python Testing/golden/decisions.py
"""

import json
from pathlib import Path

import pandas as pd
from dcurves import dca

HERE = Path(__file__).parent
THRESHOLDS = [i / 100 for i in range(100)]


def main():
    rows = pd.read_csv(HERE / "cohort.csv")
    stage = rows["stage"].str[1].astype(int)
    found = {}
    for k in (2, 3, 4):
        data = pd.DataFrame(
            {
                "event": (stage >= k).astype(int),
                # The columns have four decimals, and so do their sums.
                "model": rows[[f"p_T{j}" for j in range(k, 5)]].sum(axis=1).round(4),
                "eus": (rows["eus"].str[1].astype(int) >= k).astype(float),
            }
        )
        table = dca(data=data, outcome="event", modelnames=["model", "eus"], thresholds=THRESHOLDS)
        found[f"at least T{k}"] = {
            name: [round(x, 12) for x in table.loc[table["model"] == name, "net_benefit"].tolist()]
            for name in ("model", "eus", "all", "none")
        }
    found["thresholds"] = THRESHOLDS
    (HERE / "decisions.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
