"""Measure whether the spread of several looks tells of errors, beside softmax, familiarity and stage sets.

    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --workers 2 --out heldout
    python benchmarks/risk_coverage.py heldout/cohort.csv --cases 200 [--model demonstration --model ...] \
        [--workers N] [--seen FILE]

Each case is looked at by every model, at its slices as acquired, mirrored and shifted (`staging.looks.VIEWS`). Three
predictions are made of these looks: the first model's one look, its mean over all views, and with several `--model` the
mean of the models' one looks. For each, the area under the risk-coverage curve says whether the errors are among the
cases that a score calls uncertain (`stats.risk_coverage`); lower is better, and an order at random has the error rate.
The set size is that of the first model's one look. `--seen` keeps the looks, so that only the areas are computed again.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from GTRStagingLib.checking.case_runs import prepared
from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.model.backbone import load_models
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.passes import Backbone
from GTRStagingLib.staging.familiarity import compare
from GTRStagingLib.staging.looks import VIEWS, mean_vote, spread, worst
from GTRStagingLib.staging.stage_set import stage_set
from GTRStagingLib.staging.voting import Prediction, vote
from GTRStagingLib.support.pools import parallel_map


@dataclass(frozen=True)
class Seen:
    """Looks at one case.

    Attributes
    ----------
    looks
        (models, views, slices, 4) probabilities.
    offsets
        Of the slices from the key slice.
    distance, percentile
        Of the worst familiarity to the models; None if not known.
    set_size
        Stages in the set of the first model's one look; None without a set.
    """

    case_id: str
    patient: str
    stage: int
    looks: list[list[list[list[float]]]]
    offsets: list[int]
    distance: float | None
    percentile: float | None
    set_size: int | None

    def prediction(self, models: slice, views: slice) -> tuple[Prediction, float]:
        """Return the mean prediction of some looks, and their spread."""
        chosen = np.array(self.looks)[models, views]
        each = [vote(self.offsets, one) for one in chosen.reshape(-1, *chosen.shape[2:])]
        return mean_vote(each), spread(np.array([one.probabilities for one in each]))


@cache
def _loaded(models: tuple[str, ...]) -> tuple[Backbone, ...]:
    torch.set_num_threads(1)
    return load_models(models, "cpu", "torch")


def _look(job: tuple[tuple[str, ...], Case]) -> Seen:
    models, case = job
    backbones = _loaded(models)
    scan, slices = prepared(case, backbones[0].card.recipe)
    looks, familiarities = [], []
    for one in backbones:
        passes = [one.classify(view.of(slices.pixels)) for view in VIEWS]
        looks.append([probabilities(seen.logits, one.card).tolist() for seen in passes])
        familiarities.append(compare(scan, slices, passes[0].features, one.reference))
    familiarity = worst(familiarities)
    first = vote(slices.offsets, np.array(looks[0][0]))
    found = None if familiarity.verdict == "unlike" else stage_set(backbones[0].card, first)
    return Seen(
        case.case_id, case.patient_id, int(case.stage), looks, list(slices.offsets), familiarity.distance,
        familiarity.percentile, None if found is None else len(found.stages),
    )  # fmt: skip


def show(seen: list[Seen], models: int) -> None:
    """Print a table for each way to look."""
    from GTRStagingLib.stats.risk_coverage import risk_coverage

    patients = np.array([one.patient for one in seen])
    stages = np.array([one.stage for one in seen])

    def numbers(values: list[float | None]) -> np.ndarray:
        return np.array([np.nan if one is None else one for one in values], float)

    ways = {
        "one look of the first model": (slice(1), slice(1)),
        f"{len(VIEWS)} views by the first model": (slice(1), slice(None)),
    }
    if models > 1:
        ways[f"one look by each of {models} models"] = (slice(None), slice(1))
        ways[f"{len(VIEWS)} views by each of {models} models"] = (slice(None), slice(None))
    for name, (some, views) in ways.items():
        found = [one.prediction(some, views) for one in seen]
        wrong = np.array([int(prediction.stage) for prediction, _ in found]) != stages
        scores = {
            "softmax": np.array([1 - max(prediction.probabilities) for prediction, _ in found]),
            "spread": np.array([bits for _, bits in found]),
            "familiarity, distance": numbers([one.distance for one in seen]),
            "familiarity, percentile": numbers([one.percentile for one in seen]),
            "set size": numbers([one.set_size for one in seen]),
        }
        if name.startswith("one look of"):
            del scores["spread"]
        result = risk_coverage(wrong, scores, patients)
        print(f"\n{name}: {int(wrong.sum())} of {len(wrong)} wrong\n")
        print("| score | rows | area | random order | best order | difference from softmax |")
        print("|---|---|---|---|---|---|")
        for score in result.scores:
            minus = "-" if score.minus_first is None else score.minus_first.text()
            ends = f"{score.random:.3f} | {score.best:.3f}"
            print(f"| {score.name} | {score.rows} | {score.area.text()} | {ends} | {minus} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", action="append")
    parser.add_argument("--cases", type=int, help="use only the first cases")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seen", type=Path, help="file for the looks; read if it exists")
    options = parser.parse_args()
    models = tuple(options.model or ["demonstration"])
    if options.seen is None or not options.seen.exists():
        jobs = [(models, case) for case in read_cohort(options.cohort).cases[: options.cases]]
        seen = list(parallel_map(_look, jobs, options.workers))
        if options.seen is not None:
            options.seen.write_text(json.dumps([asdict(one) for one in seen]), encoding="utf-8")
    else:
        seen = [Seen(**one) for one in json.loads(options.seen.read_text(encoding="utf-8"))]
    show(seen, len(seen[0].looks))


if __name__ == "__main__":
    main()
