"""Make cases for a planted network: a disc in the body that is brighter than the liver."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from conftest import planted_card, planted_network

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.model import weights
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.stages import TStage

HALF = Recipe("gtr", spacing_mm=2.0, input_size=96)
"""The default recipe at less than half its size: maps of 24 cells of 8 mm."""

TISSUE, LIVER, SPOT = 30.0, 85.0, 118.0
"""HU; the last two differ by a tenth of the window."""


def a_spotted_cohort(folder: Path, cases: int, *, rois: bool = True, seed: int = 0, radius: float = 4.5) -> list[Case]:
    """Return one case per patient, stages in turn: tissue with liver in the right half, the disc in the left half."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64))
    body = ((y - 32) / 26) ** 2 + ((x - 32) / 28) ** 2 < 1
    liver = ((y - 32) / 18) ** 2 + ((x - 20) / 11) ** 2 < 1
    made = []
    for number in range(cases):
        row, column = rng.uniform(18, 46), rng.uniform(40, 50)
        disc = (y - row) ** 2 + (x - column) ** 2 < radius**2
        hu = np.where(body, TISSUE, -1000.0)
        hu[liver], hu[disc] = LIVER, SPOT
        hu = hu + rng.normal(0, 3, (3, 64, 64))
        mask = np.zeros((3, 64, 64), np.uint8)
        mask[1, disc] = 1
        mask[[0, 2]] = mask[1] & (rng.random((64, 64)) < 0.5)
        image, roi = (folder / f"{number}{end}.nii.gz" for end in ("", "_roi"))
        for array, path in ((hu.astype(np.int16), image), (mask, roi)):
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing((3.0, 3.0, 5.0))
            sitk.WriteImage(volume, str(path))
        made.append(
            Case(
                case_id=f"case{number}",
                patient_id=f"patient{number}",
                image=image,
                roi=roi if rois else None,
                key_slice=1,
                stage=TStage(number % 4),
            )
        )
    return made


def a_spot_model(*, by_stage: bool = True) -> weights.Model:
    """Return a model that predicts T3 for spots brighter than liver; else one with similar evidence for all stages."""
    network = planted_network(2, 10)
    network.bn1.bias.fill_(-1.4)
    network.fc.weight *= 40
    if not by_stage:
        network.fc.weight[:, 0] = network.fc.weight[2, 0] * torch.tensor([0.7, 0.8, 1.0, 0.9])
    return weights.Model(replace(planted_card(10), name="spots", status="trained", recipe=HALF), network)


def a_random_model() -> weights.Model:
    """Return a model with random weights and the small recipe."""
    model = weights.untrained(10, "none")
    return replace(model, card=replace(model.card, recipe=HALF))
