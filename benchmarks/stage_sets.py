"""Measure how often stage sets contain the true stage: on new phantoms, on another scanner, and calibrated for it.

    gtrstaging phantom --cases 400 --scanner A B --format nifti --seed 700000 --out testAB
    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --out heldout
    gtrstaging phantom --cases 60 --scanner C --format nifti --seed 800000 --out calC
    python benchmarks/stage_sets.py --like testAB/cohort.csv --other heldout/cohort.csv --own calC/cohort.csv

`--like` is of the scanners that calibrated the model, `--other` of a scanner that it does not know, and `--own` of the
same one: on these patients the model is calibrated again, as by `gtrstaging models calibrate`. The network runs once on
each case; `--work` keeps its logits, so that a stopped run goes on. The limits are those between which 95 % of the
coverages lie if the sets keep their promise: of the test patients alone (binomial), and with the chance in who
calibrated the sets (beta-binomial).
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import betabinom, binom

from GTRStagingLib.checking.calibrate import Seen, calibrate_model, run_network, split_logits
from GTRStagingLib.cohort.cohort import Cohort, read_cohort
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.registry import locate, read_card
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.stage_set import least_patients, stage_set
from GTRStagingLib.stats.set_coverage import SetCoverage, set_coverage
from GTRStagingLib.stats.split_scores import SplitLogits, case_predictions

LEVELS = (0.9, 0.95)
"""The default, and a level above the accuracy of the model, at which sets have several stages."""


def logits_of(model: str, card: ModelCard, cohort: Cohort, kept: Path, workers: int) -> SplitLogits:
    """Run the network on the cases that the folder does not have yet, and return the logits of all."""
    kept.mkdir(parents=True, exist_ok=True)
    files = {case.case_id: kept / f"{case.case_id}-{card.sha256[:12]}.npz" for case in cohort}
    todo = [case for case in cohort if not files[case.case_id].is_file()]
    for start in range(0, len(todo), 20):
        for name, one in run_network(model, todo[start : start + 20], workers=workers)[0].items():
            np.savez(files[name], logits=one.logits, offsets=np.array(one.offsets))
    pairs = []
    for case in cohort:
        with np.load(files[case.case_id]) as one:
            pairs.append((case, Seen(one["logits"], tuple(one["offsets"].tolist()), "")))
    return split_logits(pairs)


def measured(card: ModelCard, seen: SplitLogits) -> tuple[SetCoverage, np.ndarray]:
    """Return coverage and size of the sets by a card's calibration, and the (cases,) voted stages."""
    predictions = case_predictions(seen, card.temperature)
    sets = [found.stages for one in predictions if (found := stage_set(card, one)) is not None]
    ends = np.array([[one[0], one[-1]] for one in sets])
    return set_coverage(seen.stages, ends, np.array(seen.patients)), np.array([one.stage for one in predictions])


def limits(sets: Mapping[str, Any], stage: TStage, n: int) -> tuple[str, str]:
    """Return the limits of the share of n patients of a stage, as texts: binomial and beta-binomial."""
    level, calibrated = sets["level"], sets["patients"][stage.name]
    rank = math.ceil((calibrated + 1) * Fraction(str(level)))
    alone = binom(n, level).interval(0.95)
    both = betabinom(n, rank, calibrated + 1 - rank).interval(0.95) if rank <= calibrated else (n, n)
    low, high = (" to ".join(f"{k / n:.2f}" for k in ends) for ends in (alone, both))
    return low, high


def show(title: str, card: ModelCard, seen: SplitLogits, level: float) -> None:
    """Print the table of a cohort at a level; the card's scores serve every level."""
    card = replace(card, stage_sets={**(card.stage_sets or {}), "level": level})
    found, voted = measured(card, seen)
    sets = card.stage_sets or {}
    print(f"\n{title}: {100 * level:g} %\n  temperature {card.temperature:.3f}; {sets['source']}")
    print(f"  {'':<5}{'n':>4}{'vote right':>12}  {'coverage':<24}{'binomial':<15}{'and calibration':<18}mean size")
    for name, coverage in found.coverage.items():
        rows = np.ones(len(voted), bool) if name == "all" else seen.stages == TStage[name]
        alone, both = ("", "") if name == "all" else limits(sets, TStage[name], int(rows.sum()))
        right = (voted == seen.stages)[rows].mean()
        print(f"  {name:<5}{rows.sum():>4}{right:>12.3f}  {coverage.text():<24}{alone:<15}{both:<18}"
              f"{found.size[name].text(2)}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demonstration")
    for name in ("like", "other", "own"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="COHORT")
    parser.add_argument("--work", type=Path, default=Path("stage_sets-work"))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    folder = locate(options.model)
    if folder is None:
        parser.error(f"--model {options.model}: expected a model folder with stage sets")
    card = read_card(folder)
    like, other = (
        logits_of(options.model, card, read_cohort(path), options.work / name, options.workers)
        for name, path in (("like", options.like), ("other", options.other))
    )
    own = calibrate_model(options.model, read_cohort(options.own), workers=options.workers)
    again = replace(card, temperature=own.temperature, stage_sets=own.stage_sets)
    for level in LEVELS:
        show("New patients of the scanners that calibrated the sets", card, like, level)
        show("Patients of another scanner, as the model is", card, other, level)
        if min(own.stage_sets["patients"].values()) >= least_patients(level):
            show("The same patients, after a calibration on others of this scanner", again, other, level)


if __name__ == "__main__":
    main()
