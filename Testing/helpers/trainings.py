"""Make small cohorts of phantom-like cases as files; higher stages have larger bright tumours."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from conftest import ct_like

from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.model.recipe import Recipe
from GTRStagingLib.stages import TStage
from GTRStagingLib.training.plan import Hardware

SMALL = Recipe("gtr", spacing_mm=4.0, input_size=32)
"""The default recipe at a seventh of its size, for trainings that take seconds."""

HERE = Hardware(accelerator="cpu", workers=0)
"""Training in this process only."""


def a_cohort(folder: Path, cases: int, *, validation: int = 4, test: int = 0) -> Cohort:
    """Return one case per patient, stages in turn; the first are split validation, the last split test."""
    folder.mkdir(parents=True)
    made = []
    for number in range(cases):
        stage = TStage(number % 4)
        ct = ct_like(shape=(4, 32, 32), spacing=(6.0, 6.0, 5.0), seed=number)
        hu = sitk.GetArrayFromImage(ct)
        hu[:, 10 : 13 + 2 * stage, 10:16] = 200
        tumour = np.zeros(hu.shape, dtype=np.uint8)
        tumour[2, 10 : 13 + 2 * stage, 10:16] = 1
        image, roi = (folder / f"{number}{end}" for end in (".nii.gz", "_roi.nii.gz"))
        for array, path in ((hu.astype(np.int16), image), (tumour, roi)):
            volume = sitk.GetImageFromArray(array)
            volume.CopyInformation(ct)
            sitk.WriteImage(volume, str(path))
        split = "validation" if number < validation else "test" if number >= cases - test else "train"
        by_hand = number % 2 == 0
        made.append(
            Case(
                case_id=f"case{number}",
                patient_id=f"patient{number}",
                image=image,
                roi=None if by_hand else roi,
                key_slice=2 if by_hand else None,
                stage=stage,
                split=split,
            )
        )
    return Cohort(tuple(made))
