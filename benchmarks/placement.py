"""Measure the displacement of Grad-CAM from the tumour for both conventions of placing its cells.

    gtrstaging phantom --cases 400 --scanner C --format nifti --seed 900000 --workers 2 --out heldout
    python benchmarks/placement.py heldout/cohort.csv --model plain [--workers 2] [--rows rows.csv]

The map is Grad-CAM of the last layer, with cells of 32 pixels, for the predicted stage, in the key slice, at half of
its maximum. The displacement is measured in two ways: the mean vector from the tumour's centroid to the map's, and the
flip test, which needs no tumour: the map of the mirrored slice, mirrored back, should coincide with the slice's own
map, and half of their distance is the displacement. Intervals are 95 %, from a bootstrap over patients. `evaluation.py`
measures the quality of the maps.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch

from GTRStagingLib.cohort.cohort import Case, read_cohort
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.geometry import embedded
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.cells import half_pixel_centres
from GTRStagingLib.model.weights import Model
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.agreement import chance_dice
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.preprocess import body_mask
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.stats import roc
from GTRStagingLib.support.pools import parallel_map

PLACEMENTS = ("receptive_field", "half_pixel")
DISPLACEMENTS = ("right", "down", "flip_right", "flip_down")
"""From the tumour, and by the flip test."""

THRESHOLD = 0.5
RESAMPLES = 2000


# -- one case ------------------------------------------------------------------------------------------------------


def measured(case: Case, model: Model, method: str) -> dict[str, object]:
    """Stage a case, and return a row of the table with lengths in pixels of the network's input and in mm."""
    scan = read_scan(case.image)
    mask = read_roi(case.roi, segment=case.segment).onto(scan.grid)
    result = stage_case(
        scan, ready(model, device="cpu"), StagingOptions(method=method), key_slice=keyslice.by_area(scan.grid, mask)
    )
    native = sitk.GetArrayFromImage(result.slices.native)[result.slices.key]
    tumour = sitk.GetArrayFromImage(embedded(mask, result.slices.native))[result.slices.key].astype(bool)
    pixel_mm = result.slices.grid.GetSpacing()[0]
    row: dict[str, object] = {
        "case": case.case_id,
        "patient": case.patient_id,
        "stage": str(case.stage),
        "predicted": str(result.prediction.stage),
        **{f"p_{stage}": p for stage, p in zip(TStage, result.prediction.probabilities, strict=True)},
        "pixel_mm": pixel_mm,
    }
    body = body_mask(native)
    mm = np.array(result.slices.native.GetSpacing()[1::-1])  # of rows and columns
    for placement, (hot, *mirrored) in _hot_regions(result, model).items():
        if hot is None:
            continue
        row[f"dice_{placement}"] = _dice(hot, tumour)
        away = (_centroid(hot) - _centroid(tumour)) * mm
        row[f"down_{placement}_mm"], row[f"right_{placement}_mm"] = away
        for axis, (name, other) in enumerate(zip(("down", "right"), mirrored, strict=True)):
            if other is not None:
                row[f"flip_{name}_{placement}_mm"] = ((_centroid(hot) - _centroid(other)) / 2 * mm)[axis]
        if placement == "receptive_field":
            row["random"] = chance_dice(hot, tumour, body)
            row["blob"] = _dice(_disc(hot.shape, _centroid(body), int(hot.sum())), tumour)
    return row


def _hot_regions(result: StagingResult, model: Model) -> dict[str, list[np.ndarray | None]]:
    """Return the regions above the threshold on the CT's pixels for each placement; None for an empty map.

    The first region is of the slice itself, the others of the slice mirrored vertically or horizontally and back.
    """
    slices, own = result.slices, result.attention
    regions: dict[str, list[np.ndarray | None]] = {placement: [] for placement in PLACEMENTS}
    for axis in (None, 0, 1):
        if axis is None:
            attention = own
        else:
            by = ready(model, "cpu")
            seen = by.classify(np.flip(slices.pixels, axis + 2))
            attention = compute_attention(by, seen, slices.grid, target=own.target, method=own.method)
        usual = half_pixel_centres(own.maps.shape[1], slices.grid.GetSize()[1])
        for placement, placed in zip(
            PLACEMENTS,
            (attention, replace(attention, alignment="half_pixel", rows=usual, columns=usual)),
            strict=True,
        ):
            heat = sitk.GetArrayFromImage(placed.on(slices.native))[slices.key]
            heat = heat if axis is None else np.flip(heat, axis)
            regions[placement].append(heat >= THRESHOLD * heat.max() if heat.max() > 0 else None)
    return regions


def _centroid(region: np.ndarray) -> np.ndarray:
    return np.argwhere(region).mean(axis=0)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def _disc(shape: tuple[int, ...], middle: np.ndarray, area: int) -> np.ndarray:
    """Return the `area` pixels nearest to a point."""
    away = ((np.indices(shape).T - middle) ** 2).sum(axis=-1).T
    nearest = np.zeros(away.size, dtype=bool)
    nearest[np.argsort(away, axis=None, kind="stable")[:area]] = True
    return nearest.reshape(shape)


# -- all cases -----------------------------------------------------------------------------------------------------


def table(cases: Sequence[Case], model: str, workers: int, method: str = "gradcam") -> pd.DataFrame:
    """Return a table with one row per case."""
    return pd.DataFrame(list(parallel_map(_row, [(case, model, method) for case in cases], workers)))


@cache
def _loaded(name: str) -> Model:
    """Load a model once per process, with one thread, since there is one process per core."""
    torch.set_num_threads(1)
    return weights.load(name)


def _row(job: tuple[Case, str, str]) -> dict[str, object]:
    case, name, method = job
    return measured(case, _loaded(name), method)


def mean(rows: pd.DataFrame, values: pd.Series, seed: int = 0) -> str:
    """Format a mean with its bootstrap interval over patients, without cases that have no value."""
    known = values.notna()
    sums = values[known].groupby(rows.patient[known]).agg(["sum", "size"]).to_numpy()
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return f"{values[known].mean():.3f} ({low:.3f} to {high:.3f})"


def macro_auc_of(rows: pd.DataFrame) -> float:
    """Compute the macro AUC of the slices' mean probabilities."""
    stages = np.array([int(TStage[stage]) for stage in rows.stage])
    found = roc.macro(roc.stage_areas(stages, rows[[f"p_{stage}" for stage in TStage]].to_numpy()))
    return float("nan") if found is None else found.value


def print_report(rows: pd.DataFrame) -> None:
    """Print the displacements as Markdown."""
    print("| map placed by | Dice | from tumour, mm right | mm down | flip test, mm right | mm down | pixels |")
    print("|---|---|---|---|---|---|---|")
    for placement in PLACEMENTS:
        of = {name: rows[f"{name}_{placement}_mm"] for name in DISPLACEMENTS}
        pixels = [f"{(values / rows.pixel_mm).mean():+.1f}" for values in of.values()]
        print(
            f"| {placement} | {mean(rows, rows[f'dice_{placement}'])} | "
            f"{' | '.join(mean(rows, values) for values in of.values())} | {', '.join(pixels)} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", required=True, help="with the usual head")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=Path, help="write the table of cases there")
    options = parser.parse_args()
    rows = table(read_cohort(options.cohort).cases, options.model, options.workers)
    if options.rows:
        rows.to_csv(options.rows, index=False)
    print_report(rows)


if __name__ == "__main__":
    main()
