"""Test whether ROAD (Rong 2022, arXiv:2202.00449) ranks maps like their Dice with the phantoms' tumours.

    python benchmarks/road.py cohort.csv [--split validation] [--cases 20]

Only if it does, ROAD can judge maps without ROIs. The maps are of the predicted stage in the key slice: the true
tumour, smoothed by a cell; the fine map; Grad-CAM; a centred blob; noise. ROAD is pytorch-grad-cam's, with its noisy
linear imputation: the fall of the stage's probability when the most relevant pixels are imputed, minus the fall when
the least relevant ones are; at its own percentiles (10 to 90), and at those of a small tumour (the top 5, 2 and 1 %).
Printed are the means, and the mean of Kendall's tau with the maps' Dice in each case. For comparison: the fall when the
map's top 2 % of the body are filled in, minus that of its controls (`staging.covering`).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.ndimage import gaussian_filter
from scipy.stats import kendalltau

from GTRStagingLib.checking.model_check import draw_cases
from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.staging import map_checks
from GTRStagingLib.staging.map_checks import OPTIONS, cut, dice_in_cells
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.support.distributions import softmax

ITS_OWN = (10, 20, 30, 40, 50, 60, 70, 80, 90)
OF_TUMOURS = (95, 98, 99)


def road(network, pixels, heat, target, percentiles, temperature):
    """Return the mean over the percentiles of p(least relevant imputed) - p(most relevant imputed)."""
    order = np.argsort(heat.ravel())
    found = []
    for percentile in percentiles:
        keep = round(heat.size * percentile / 100)
        p = []
        for chosen in (order[keep:], order[: heat.size - keep]):
            mask = np.ones(heat.size, np.float32)
            mask[chosen] = 0
            torch.manual_seed(0)
            filled = NoisyLinearImputer()(pixels, torch.from_numpy(mask.reshape(heat.shape)))
            with torch.no_grad():
                p.append(softmax(network(filled[None]).numpy(), temperature)[0, target])
        found.append(p[1] - p[0])
    return float(np.mean(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--model", default="demonstration")
    options = parser.parse_args()
    cohort = read_cohort(options.cohort)
    cases = draw_cases(cohort.of(options.split).cases if options.split else cohort.cases, options.cases, 0)
    model = weights.load(options.model)
    by = ready(model, "cpu", "torch")
    rng, table, taus = np.random.default_rng(0), {}, {}
    for case in cases:
        result = stage_case(read_scan(case.image), by, OPTIONS, tumour=read_roi(case.roi, segment=case.segment))
        seen = map_checks.measure(result, by).seen
        coarse = sitk.GetArrayFromImage(result.comparison.on(result.slices.grid))[result.slices.key]
        middle = np.argwhere(seen.body).mean(axis=0)
        away = np.linalg.norm(np.moveaxis(np.indices(seen.body.shape), 0, -1) - middle, axis=-1)
        cells = {
            "true tumour": gaussian_filter(seen.roi, 1.0),
            "fine": seen.heat,
            "blob": np.exp(-0.5 * (away / 4) ** 2),
            "noise": rng.random(seen.heat.shape) * seen.body,
        }
        maps = {name: on_pixels(result, one) for name, one in cells.items()} | {"gradcam": coarse}
        dice = {name: dice_in_cells(cut(one), seen.roi) for name, one in cells.items()}
        dice["gradcam"] = dice_in_cells(cut(coarse[::4, ::4]), seen.roi)
        scores = {"dice": dice}
        pixels = torch.from_numpy(seen.pixels)
        for name, percentiles in (("its own", ITS_OWN), ("of tumours", OF_TUMOURS)):
            scores[name] = {
                m: road(model.network, pixels, one, int(seen.target), percentiles, model.card.temperature)
                for m, one in maps.items()
            }
        scores["covered"] = {}
        for m, one in maps.items():
            slices = result.slices.grid.GetSize()[2]
            placed = sitk.GetImageFromArray(np.repeat(one[None], slices, axis=0).astype(np.float32))
            placed.CopyInformation(result.slices.grid)
            on = sitk.Resample(placed, result.slices.native, sitk.Transform(), sitk.sitkLinear, 0.0)
            body = result.slices.body[result.slices.key]
            inside = sitk.GetArrayFromImage(result.roi)[result.slices.key].astype(bool)
            fell = map_checks._deletion(replace(result, heat=on), by, body, inside)
            scores["covered"][m] = fell["fall"] - fell["control_fall"]
        for score, values in scores.items():
            for m, value in values.items():
                table.setdefault((score, m), []).append(value)
            if score != "dice":
                # Defined values only: noise all over the body leaves no place for a control.
                names = [m for m in dice if not np.isnan(values[m])]
                tau = kendalltau([dice[m] for m in names], [values[m] for m in names]).statistic
                taus.setdefault(score, []).append(tau)
        print(case.case_id, flush=True)
    names = ["true tumour", "fine", "gradcam", "blob", "noise"]
    print("| | " + " | ".join(names) + " | tau with Dice |")
    print("|---|" + "---|" * (len(names) + 1))
    for score in ("dice", "its own", "of tumours", "covered"):
        means = " | ".join(mean(table[score, m]) for m in names)
        tau = "" if score == "dice" else f"{np.nanmean(taus[score]):.2f}"
        print(f"| {score} | {means} | {tau} |")


def mean(values):
    """Format the mean of the defined values."""
    known = np.array(values)[~np.isnan(values)]
    return f"{known.mean():.3f}" if len(known) else "-"


def on_pixels(result, cells):
    """Resample a map in the stem's cells to the pixels of the network's input."""
    key = result.slices.key
    maps = np.repeat(cells[None].astype(np.float32), len(result.attention.maps), axis=0)
    placed = replace(result.attention, maps=maps)
    return sitk.GetArrayFromImage(placed.on(result.slices.grid))[key]


if __name__ == "__main__":
    main()
