"""Compare attention methods on the same cases: agreement with the tumour, and dependence on the stage.

    gtrstaging phantom --cases 80 --scanner A B --format nifti --seed 700000 --workers 2 --out trial
    python benchmarks/attention_methods.py trial/cohort.csv --model plain [--cases 80]

The model has the usual head. Each map is of the key slice and the predicted stage, at half of its maximum, on the
network's input grid, to which the ROI is resampled. Printed for each method:

- Dice, and the area above the threshold;
- whether the maximum lies in the ROI, and the share of the map in the ROI;
- Spearman's correlation with the same method's map for the second most likely stage: near 1, the map does not depend on
  the stage.

`fine` is the library's method. RefineCAM is that of pytorch-grad-cam 1.5.7, run on the full model: the product of the
maps of three layers, each divided by its maximum. FinerCAM explains the difference of a logit from other logits:
`fine, from …` is the fine map with this difference in its coarse factor, from the second most likely stage (the maps of
the two stages are then each other's negative, and their correlation is meaningless) or from the mean of all. Cells are
placed by the receptive field, except for RefineCAM, which stretches its maps itself.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from pytorch_grad_cam import GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.refine_cam import RefineCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr

from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.geometry import embedded
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import weights
from GTRStagingLib.model.cells import CellGrid, interpolation
from GTRStagingLib.model.head import Head
from GTRStagingLib.model.passes import Pass, PassRequest
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import compute_attention, raw_maps
from GTRStagingLib.staging.preprocess import prepare

Maps = dict[str, Callable[[TStage, TStage], np.ndarray]]
"""Method -> function of a stage and the stage to compare with that returns the (224, 224) map."""


def candidates(model: weights.Model, by: TorchBackbone, pixels: np.ndarray, grid: sitk.Image) -> Maps:
    x, every = torch.from_numpy(pixels), range(len(pixels))
    passes: dict[TStage, Pass] = {}

    def seen(stage: TStage) -> Pass:
        if stage not in passes:
            passes[stage] = by.classify(pixels, [PassRequest(every, tuple(every), stage)])
        return passes[stage]

    def of(method: str) -> Callable[[TStage, TStage], np.ndarray]:
        return lambda stage, _: on_input(compute_attention(by, seen(stage), grid, target=stage, method=method).maps[0])

    def on_input(maps: np.ndarray) -> np.ndarray:
        side = 224 // len(maps)
        m = interpolation(CellGrid(side, 0), len(maps), CellGrid(1, 0), 224)
        return m @ maps @ m.T

    def share(maps: np.ndarray) -> np.ndarray:
        return maps / max(float(maps.max()), 1e-30)

    def contrasted(stage: TStage, others: Sequence[int]) -> np.ndarray:
        weight = by.head.weight.copy()
        weight[stage] -= weight[list(others)].mean(axis=0)
        coarse = raw_maps(Head(weight, by.head.bias), seen(stage).feature_map, "gradcam", stage)[0]
        parts = [share(on_input(seen(stage).maps[layer][0])) for layer in ("layer2", "stem")]
        return on_input(coarse) * np.sqrt(parts[0] * parts[1])

    def refined(base: type) -> Callable[[TStage, TStage], np.ndarray]:
        layers = [getattr(model.network, name) for name in ("layer2", "layer3", "layer4")]

        def run(stage: TStage, _: TStage) -> np.ndarray:
            cam = RefineCAM(model.network, layers, base_method=base)
            found = cam(x, [ClassifierOutputTarget(int(stage))])[0]
            for one in cam.base_cam_per_layer:
                one.activations_and_grads.release()
            return found

        return run

    return {
        "gradcam": of("gradcam"),
        "gradcam++": of("gradcam++"),
        "layercam": of("layercam"),
        "layercam layer2": lambda stage, _: on_input(seen(stage).maps["layer2"][0]),
        "fine": of("fine"),
        "fine, from the runner-up": lambda stage, other: contrasted(stage, [other]),
        "fine, from the mean": lambda stage, _: contrasted(stage, range(len(TStage))),
        "RefineCAM of Grad-CAM++": refined(GradCAMPlusPlus),
        "RefineCAM of LayerCAM": refined(LayerCAM),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--cases", type=int, default=80)
    options = parser.parse_args()
    model = weights.load(options.model)
    by = TorchBackbone(model, torch.device("cpu"))
    model.network.requires_grad_(True)  # required by pytorch-grad-cam
    found: dict[str, list[tuple[float, ...]]] = {}
    for case in read_cohort(options.cohort).cases[: options.cases]:
        scan = read_scan(case.image)
        mask = read_roi(case.roi, segment=case.segment).onto(scan.grid)
        slices = prepare(scan, keyslice.by_area(scan.grid, mask), model.card.recipe, intensity=scan.intensity)
        grid = slices.grid[:, :, slices.key : slices.key + 1]
        roi = sitk.Resample(embedded(mask, slices.native), grid, sitk.Transform(), sitk.sitkNearestNeighbor)
        inside = sitk.GetArrayFromImage(roi)[0].astype(bool)
        pixels = slices.pixels[slices.key : slices.key + 1]
        order = by.classify(pixels).logits[0].argsort()[::-1]
        stage, other = (TStage(int(one)) for one in order[:2])
        area = float(np.prod(grid.GetSpacing()[:2]))
        for name, run in candidates(model, by, pixels, grid).items():
            heat, beside = run(stage, other), run(other, stage)
            hot = heat >= 0.5 * heat.max()
            dice = 2 * (hot & inside).sum() / (hot.sum() + inside.sum())
            hit = inside[np.unravel_index(heat.argmax(), heat.shape)]
            alike = float("nan") if not beside.any() else spearmanr(heat.ravel(), beside.ravel()).statistic
            found.setdefault(name, []).append((dice, hot.sum() * area, hit, heat[inside].sum() / heat.sum(), alike))
    print("| map | Dice at 0.5 | standard error | mm2 | peak in ROI | share in ROI | Spearman, runner-up stage |")
    print("|---|---|---|---|---|---|---|")
    for name, rows in found.items():
        dice, area, hit, energy, alike = np.array(rows, dtype=float).T
        print(
            f"| {name} | {dice.mean():.3f} | {dice.std(ddof=1) / np.sqrt(len(dice)):.3f} | {area.mean():,.0f} | "
            f"{hit.mean():.2f} | {energy.mean():.3f} | {np.nanmean(alike):+.2f} |"
        )


if __name__ == "__main__":
    main()
