"""Compare the stems (plain ResNet, concatenating, spatially aligned), trained under equal conditions.

    gtrstaging phantom --cases 1600 --scanner A B --format nifti --seed 1000 --workers 2 --out learning
    gtrstaging cohort split learning/cohort.csv --out learning/split.csv
    python benchmarks/stem_ablation.py learning/split.csv --out ablation

Each fusion is trained with each seed on the cohort's split `train`, stops by the split `validation`, and is measured on
the split `test`, which does not affect the training: three-slice accuracy, macro AUC, Dice of the attention with both
placements, and the displacement of the map (see `placement.py`). Mean and standard deviation over the seeds are
reported. Finished trainings are not repeated, and interrupted ones are resumed.
"""

import argparse
from pathlib import Path

import pandas as pd
import placement

from GTRStagingLib.cohort.audit import audit
from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.model import registry
from GTRStagingLib.training.plan import Hardware, Plan
from GTRStagingLib.training.train import train

FUSIONS = ("none", "concat", "add")


def summary(rows: pd.DataFrame) -> dict[str, float]:
    """Return the results of one trained model on the test split."""
    found = {
        "accuracy": (rows.stage == rows.predicted).mean(),
        "macro AUC": placement.macro_auc_of(rows),
        "random": rows.random.mean(),
        "blob": rows.blob.mean(),
    }
    for way in placement.PLACEMENTS:
        found[f"Dice, {way}"] = rows[f"dice_{way}"].mean()
        for name in placement.DISPLACEMENTS:
            millimetres = rows[f"{name}_{way}_mm"]
            found[f"{name}, {way}, mm"] = millimetres.mean()
            found[f"{name}, {way}, pixels"] = (millimetres / rows.pixel_mm).mean()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--init", default="random", help="or a plain model, which every stem starts from")
    parser.add_argument("--cache", type=Path, help="of the prepared slices")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    cohort = read_cohort(options.cohort)
    hardware = Hardware(accelerator="cpu", precision=options.precision)
    test = cohort.of("test").cases
    audited = audit(cohort, workers=options.workers)
    found = []
    for seed in range(options.seeds):
        for fusion in FUSIONS:
            plan = Plan(
                depth=options.depth, fusion=fusion, init=options.init, max_epochs=options.max_epochs,
                patience=options.max_epochs,
                learning_rate=options.lr, schedule="cosine", seed=seed, demonstration=True,
            )  # fmt: skip
            folder = options.out / f"{fusion}-{seed}"
            table = options.out / f"{fusion}-{seed}.csv"
            train(cohort, folder, plan, hardware, cache=options.cache, resume=True, audited=audited)
            if not table.is_file():
                placement.table(test, str(folder), options.workers).to_csv(table, index=False)
            epochs = registry.read_card(folder).training["epochs"]
            one = {"fusion": fusion, "epochs": epochs, **summary(pd.read_csv(table))}
            print(f"{fusion}, seed {seed}: {epochs} epochs, accuracy {one['accuracy']:.3f}", flush=True)
            found.append(one)
    by_fusion = pd.DataFrame(found).groupby("fusion")
    means, spreads = (frame.loc[list(FUSIONS)] for frame in (by_fusion.mean(), by_fusion.std(ddof=1)))
    print(f"\n{len(test)} test cases; mean and standard deviation of {options.seeds} seeds\n")
    print(f"| | {' | '.join(FUSIONS)} |\n|---|{'---|' * len(FUSIONS)}")
    for name in means.columns:
        cells = [f"{means[name][fusion]:.3f} ± {spreads[name][fusion]:.3f}" for fusion in FUSIONS]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
