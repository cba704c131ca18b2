"""Measure how far the key slice may move before the stage changes, and whether a low distance tells of errors.

    gtrstaging phantom --cases 400 --scanner A B --format nifti --seed 700000 --out testAB
    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --out heldout
    python benchmarks/slice_stability.py testAB/cohort.csv heldout/cohort.csv --cases 96

The key slice is that of the largest area of the ROI. Every slice within `--mm` is asked, up and down, as by `gtrstaging
profile --around`. Besides the distances, the areas under the ROC curve of three scores for a wrong vote: the distance
for which the stage holds, in the slices of the profile and in the voting slices alone, and the highest mean
probability.
"""

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from GTRStagingLib.checking.case_runs import reasons, run_cases
from GTRStagingLib.checking.model_check import draw_cases
from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.errors import StagingError
from GTRStagingLib.imaging import keyslice, rois, scans
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.model.passes import Backbone
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.profile import slices_near
from GTRStagingLib.staging.scanning import profile_scan
from GTRStagingLib.staging.stability import Stability, stability_of
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.stage_stability import stage_stability
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.pools import DEFAULT_LIMITS


@dataclass(frozen=True)
class Seen:
    """Stability of a case in its profile and in its voting slices, its vote, and the highest mean probability."""

    stage: TStage
    profile: Stability
    voting: Stability
    top: float


@cache
def _loaded(model: str) -> Backbone:
    torch.set_num_threads(1)
    return load_model(model, "cpu")


def seen(job: tuple[tuple[str, float], str, Case]) -> Seen | str:
    """Make the profile of a case around its key slice; return the reason if it has none."""
    (model, mm), _, case = job
    try:
        scan = scans.read_scan(case.image, series=case.series)
        key = keyslice.choose(scan, mask=rois.read_roi(case.roi, segment=case.segment).onto(scan.grid))
        found = profile_scan(scan, _loaded(model), indices=slices_near(scan.grid, [key.index], mm), key_slice=key)
    except StagingError as error:
        return str(error)
    if found.key is None or found.key.prediction is None or found.stability is None:
        return "the key slice has no stage, or no neighbour"
    voted = found.key.prediction
    voting = stability_of(voted, found.slice_mm)
    return "one slice voted" if voting is None else Seen(voted.stage, found.stability, voting, max(voted.probabilities))


def quantiles(values: np.ndarray) -> str:
    """Return the median and the quartiles as text."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def show(cohort: Path, options: argparse.Namespace) -> None:
    """Print the distances and areas of a cohort."""
    cases = draw_cases([case for case in read_cohort(cohort) if case.roi is not None], options.cases, options.seed)
    outcomes = run_cases(
        seen,
        (options.model, options.mm),
        cases,
        device="cpu",
        workers=options.workers,
        limits=DEFAULT_LIMITS,
        progress=lambda done, total: None,
    )
    pairs = [(case, one) for case, one in zip(cases, outcomes, strict=True) if not isinstance(one, str)]
    print(f"\n{cohort.parent.name}: {counted(len(pairs), 'case')}, ± {options.mm:g} mm")
    for name, why in reasons(cases, outcomes).items():
        print(f"  left out: {name}: {why}")
    stages = np.array([int(case.stage) for case, _ in pairs])
    patients = np.array([case.patient_id for case, _ in pairs])
    up = np.array([one.profile.stays_up_mm for _, one in pairs])
    down = np.array([one.profile.stays_down_mm for _, one in pairs])
    ends = np.array([one.profile.at_least for _, one in pairs])
    print("  distance of the slices, mm:", sorted({round(one.profile.step_mm, 2) for _, one in pairs}))
    print(f"  {'':<6}{'n':>4}  {'up, mm: median (quartiles)':<30}{'down':<24}still holds at the end: up, down")
    for name, rows in {"all": stages >= 0, **{str(stage): stages == stage for stage in TStage}}.items():
        shares = ", ".join(f"{share:.2f}" for share in ends[rows].mean(axis=0))
        print(f"  {name:<6}{rows.sum():>4}  {quantiles(up[rows]):<30}{quantiles(down[rows]):<24}{shares}")
    shares = stage_stability(stages, [one.profile for _, one in pairs], patients, options.distances)
    for mm, groups in shares.stable.items():
        each = "  ".join(f"{name} {one.text(2)}" for name, one in groups.items() if one.value is not None)
        print(f"  stable to ± {mm:g} mm, of {shares.known[mm]} asked so far: {each}")
    wrong = stages != np.array([int(one.stage) for _, one in pairs])
    print(f"  wrong votes: {wrong.sum()} of {len(wrong)}; areas under the ROC curve for them:")
    scores = {
        "distance in the profile": np.array([-one.profile.least_mm for _, one in pairs]),
        "distance in the voting slices": np.array([-one.voting.least_mm for _, one in pairs]),
        "1 - highest mean probability": np.array([-one.top for _, one in pairs]),
    }
    for name, score in scores.items():
        print(f"    {name:<32}{roc.estimate(roc.area(wrong, score), patients).text()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="+", type=Path, metavar="COHORT")
    parser.add_argument("--model", default="demonstration")
    parser.add_argument("--mm", type=float, default=30.0)
    parser.add_argument("--distances", nargs="+", type=float, default=[2.5, 5.0, 10.0], metavar="MM")
    parser.add_argument("--cases", type=int, metavar="N", help="at most N cases of each cohort, drawn by stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for cohort in options.cohorts:
        show(cohort, options)


if __name__ == "__main__":
    main()
