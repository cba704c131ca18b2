"""Evaluate models and their attention maps on phantoms: three methods on the same cases.

    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --workers 2 --out heldout
    python benchmarks/evaluation.py heldout/cohort.csv --plain plain [--gated demonstration] [--workers 2]
                                    [--rows rows.csv] [--seeds demonstration-s1 demonstration-s2]

`--plain` is a model with the usual head: its Grad-CAM and its fine map are measured. `--gated` is a model with a gated
head that was trained from it. Accuracy is that of the three-slice vote. A map is of the predicted stage, in the key
slice, at half of its maximum, a threshold fixed beforehand. Each map is compared with baselines of its area that do not
use the slice: random pixels in the body (chance), a disc in its middle (blob), and the place of the other cases'
tumours (mean mask). `staging.map_checks` defines the measures.

Intervals are 95 %: Wilson's for shares, jackknife over patients otherwise. The cost is the time of three slices
relative to an eager forward pass of the same network, timed in turn in one process; for depth 152 see `latency.py`.
`--seeds` adds the accuracy and the Dice of the same model trained from other seeds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from scipy.stats import binomtest
from shortcuts import accuracy as shortcut_accuracy
from shortcuts import features as shortcut_features

from GTRStagingLib.checking.model_check import LATE, RANDOMISED, compare_with_other_patients
from GTRStagingLib.checking.rules import mean_of
from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import randomised, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.passes import PassRequest
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging import map_checks
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.stats import roc
from GTRStagingLib.support.pools import parallel_map

ROUNDS = 15

Numbers = dict[str, float]


# -- one case ------------------------------------------------------------------------------------------------------


def _measured(job: tuple[Case, str, str]) -> tuple[dict[str, object], map_checks.Measured]:
    """Return the prediction of a model for a case, and the measures of its map."""
    case, name, method = job
    by = ready(_loaded(name), "cpu", "torch")
    options = StagingOptions(method=method, threshold=map_checks.THRESHOLD, neighbour_maps=False)
    result = stage_case(read_scan(case.image), by, options, tumour=read_roi(case.roi, segment=case.segment))
    key = result.slices.key
    native, roi = (sitk.GetArrayFromImage(one)[key] for one in (result.slices.native, result.roi))
    row = {
        "case": case.case_id,
        "patient": case.patient_id,
        "stage": str(case.stage),
        "predicted": str(result.prediction.stage),
        **{f"p_{stage}": p for stage, p in zip(TStage, result.prediction.probabilities, strict=True)},
        **shortcut_features(native, roi.astype(bool), result.slices.native.GetSpacing()),
    }
    return row, map_checks.measure(result, by)


@cache
def _loaded(name: str) -> weights.Model:
    """Load a model once per process, with one thread, since there is one process per core."""
    torch.set_num_threads(1)
    return weights.load(name)


def _compared(job: tuple[str, Sequence[str], Sequence[map_checks.SeenSlice]]) -> list[Numbers]:
    name, parts, slices = job
    by = ready(randomised.randomised(_loaded(name), parts, 0), "cpu", "torch")
    return [numbers for one in slices for numbers in map_checks.compare_maps(by, [one])]


# -- all cases -----------------------------------------------------------------------------------------------------


def table(cases: Sequence[Case], model: str, method: str, workers: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each case, and for each step of random weights a row with the comparison of some cases' maps."""
    found = list(parallel_map(_measured, [(case, model, method) for case in cases], workers))
    measured = [one for _, one in found]
    beside, _ = compare_with_other_patients(measured, [str(row["patient"]) for row, _ in found])
    rows = pd.DataFrame([{**row, **one.numbers, **more} for (row, one), more in zip(found, beside, strict=True)])
    some = [one.seen for one in measured if not one.numbers["empty"]][:RANDOMISED]
    parts = randomised.parts_of(weights.load(model).card.head)
    steps = [*(parts[: i + 1] for i in range(len(parts))), *LATE]
    names = [*parts, *(f"{' and '.join(one)} alone" for one in LATE)]
    compared = parallel_map(_compared, [(model, step, some) for step in steps], workers)
    curve = [{"random": name, **pd.DataFrame(left).mean()} for name, left in zip(names, compared, strict=True)]
    return rows, pd.DataFrame(curve)


def share(right: np.ndarray) -> str:
    """Format a share with Wilson's interval."""
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return f"{right.mean():.3f} ({interval.low:.3f} to {interval.high:.3f})"


def mean(rows: pd.DataFrame, measure: str, digits: int = 3, minus: str | None = None) -> str:
    """Format a mean with its interval by the jackknife over patients, without cases that have no value."""
    found = mean_of(rows.to_dict("records"), measure, rows.patient.to_numpy(), minus)
    if found.value is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:,.{digits}f} (no interval)"
    return f"{found.value:,.{digits}f} ({found.low:,.{digits}f} to {found.high:,.{digits}f})"


def macro_auc(rows: pd.DataFrame) -> float:
    """Compute the macro AUC of the slices' mean probabilities."""
    stages = np.array([int(TStage[stage]) for stage in rows.stage])
    found = roc.macro(roc.stage_areas(stages, rows[[f"p_{stage}" for stage in TStage]].to_numpy()))
    return float("nan") if found is None else found.value


# -- the cost ------------------------------------------------------------------------------------------------------


def costs(plain: str, gated: str | None) -> dict[str, float]:
    """Return name -> time of three slices and their maps over an eager forward pass, the median of paired rounds."""
    pixels = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    x, grid = torch.from_numpy(pixels), sitk.Image([224, 224, 3], sitk.sitkUInt8)
    model = weights.load(plain)

    def bare() -> None:
        with torch.no_grad():
            model.network(x)

    def ours(by, method: str) -> None:
        wanted = [PassRequest(range(3), (0, 1, 2), TStage.T3)] if method == "fine" else []
        compute_attention(by, by.classify(pixels, wanted), grid, target=TStage.T3, method=method)

    runs: dict[str, Callable[[], None]] = {"bare": bare}
    for backend in ("torch", "onnx"):
        for method in ("gradcam", "fine"):
            runs[f"{method}, {backend}"] = partial(ours, ready(model, "cpu", backend), method)
        if gated is not None:
            runs[f"gated, {backend}"] = partial(ours, ready(weights.load(gated), "cpu", backend), "gated")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: statistics.median(a / b for a, b in zip(taken, seconds["bare"], strict=True))
        for name, taken in seconds.items()
        if name != "bare"
    }


# -- report --------------------------------------------------------------------------------------------------------


def print_report(rows: Mapping[str, pd.DataFrame], curves: Mapping[str, pd.DataFrame]) -> None:
    """Print all results as Markdown."""
    first = next(iter(rows.values()))
    for name, part in rows.items():
        right = (part.stage == part.predicted).to_numpy()
        print(f"{name}: {len(part)} cases, accuracy {share(right)}, macro AUC {macro_auc(part):.3f}")
        print(f"\n{pd.crosstab(part.stage, part.predicted)}\n")
    print("| | " + " | ".join(rows) + " |\n|---|" + "---|" * len(rows))

    def line(words: str, cell: Callable[[pd.DataFrame], str]) -> None:
        print(f"| {words} | " + " | ".join(map(cell, rows.values())) + " |")

    line("accuracy", lambda part: share((part.stage == part.predicted).to_numpy()))
    stages = [*sorted(first.stage.unique()), "all"]
    for stage in stages:
        where = partial(lambda part, stage: part if stage == "all" else part[part.stage == stage], stage=stage)
        for words, measure in (
            ("Dice", "dice"), ("chance", "chance_dice"), ("blob", "blob_dice"), ("mean mask", "mean_mask_dice")
        ):  # fmt: skip
            line(f"{words}, {stage}", lambda part, where=where, measure=measure: mean(where(part), measure))
    line("Dice - mean mask", lambda part: mean(part, "dice", minus="mean_mask_dice"))
    line("mm2 of the map", lambda part: mean(part, "area_mm2", 0))
    line("mm2 of the tumour", lambda part: mean(part, "roi_area_mm2", 0))
    for words, measure in (
        ("peak in the tumour", "pointing_hit"), ("the same, mean mask", "mean_mask_pointing"),
        ("share of the map in the tumour", "energy_inside"), ("the same, mean mask", "mean_mask_energy"),
        ("mm between the centroids", "centroid_mm"), ("fall of the probability, map filled in", "fall"),
        ("the same, tissue elsewhere", "control_fall"), ("the same, the tumour", "roi_fall"),
        ("Spearman, other stages' maps", "other_spearman"), ("Spearman, the runner-up's", "second_spearman"),
    ):  # fmt: skip
        line(words, lambda part, measure=measure: mean(part, measure))
    line("no map", lambda part: str(int(part["empty"].sum())))
    print(f"\nRandom weights from the head down, {RANDOMISED} cases: Spearman with the map, Dice\n")
    for name, curve in curves.items():
        print(
            f"- {name}: " + "; ".join(f"{one.random} {one.spearman:+.2f}, {one.dice:.2f}" for one in curve.itertuples())
        )
    value, error = shortcut_accuracy(first)
    print(f"\nAccuracy of shortcut features on the same cases: {value:.3f} (standard error {error:.3f})")


def print_paired(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Print McNemar's exact test of two models on the same cases."""
    a, b = ((rows.stage == rows.predicted).to_numpy() for rows in (one, other))
    only = int((a & ~b).sum()), int((~a & b).sum())
    p = binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    print(f"\nCorrect only by the plain model {only[0]}, only by the gated {only[1]}: McNemar's exact test p = {p:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--plain", required=True)
    parser.add_argument("--gated")
    parser.add_argument("--seeds", nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="write the table of cases there")
    options = parser.parse_args()
    cases = read_cohort(options.cohort).cases
    ways = [("Grad-CAM", options.plain, "gradcam"), ("fine map", options.plain, "fine")]
    ways += [("gated", options.gated, "gated")] if options.gated else []
    found = {name: table(cases, model, method, options.workers) for name, model, method in ways}
    rows = {name: one for name, (one, _) in found.items()}
    if options.rows:
        pd.concat([one.assign(map=name) for name, one in rows.items()]).to_csv(options.rows, index=False)
    print_report(rows, {name: curve for name, (_, curve) in found.items()})
    if options.gated:
        print_paired(rows["fine map"], rows["gated"])
    for model in options.seeds:
        more, _ = table(cases, model, "auto", options.workers)
        right = (more.stage == more.predicted).to_numpy()
        print(f"{model}: accuracy {share(right)}, Dice {mean(more, 'dice')}")
    print(f"\nTime over an eager forward pass, {torch.get_num_threads()} threads:")
    for name, ratio in costs(options.plain, options.gated).items():
        print(f"- {name}: {ratio:.2f}")


if __name__ == "__main__":
    main()
