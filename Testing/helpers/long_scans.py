"""Make scans of several slices with a bright disc, largest in one slice, for the planted network of `spots`."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.stages import TStage

SLICES, STEP_MM = 11, 5.0
TISSUE, SPOT = 30.0, 118.0


def a_long_scan(key: int, seed: int = 0) -> tuple[sitk.Image, sitk.Image]:
    """Return CT and mask: a disc with a radius of 6 pixels in slice `key`, of 5 beside it and of 4 two away."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64))
    body = ((y - 32) / 26) ** 2 + ((x - 32) / 28) ** 2 < 1
    row, column = rng.uniform(24, 40, 2)
    hu = np.repeat(np.where(body, TISSUE, -1000.0)[None], SLICES, axis=0)
    mask = np.zeros((SLICES, 64, 64), np.uint8)
    for index in range(max(key - 2, 0), min(key + 3, SLICES)):
        disc = (y - row) ** 2 + (x - column) ** 2 < (6 - abs(index - key)) ** 2
        hu[index, disc], mask[index, disc] = SPOT, 1
    hu += rng.normal(0, 3, hu.shape)
    return _placed(hu.astype(np.int16)), _placed(mask)


def slices_mask(*slices: int) -> sitk.Image:
    """Return a mask of the middle of some slices of such a scan, as of a stomach."""
    mask = np.zeros((SLICES, 64, 64), np.uint8)
    mask[list(slices), 28:36, 28:36] = 1
    return _placed(mask)


def a_long_cohort(folder: Path, patients: int) -> list[Case]:
    """Return one case per patient in the split 'train', stages in turn, key slices 2 to 8 in turn."""
    folder.mkdir(parents=True)
    made = []
    for number in range(patients):
        image, roi = (folder / f"{number}{end}.nii.gz" for end in ("", "_roi"))
        for one, path in zip(a_long_scan(2 + number % 7, number), (image, roi), strict=True):
            sitk.WriteImage(one, str(path))
        made.append(Case(case_id=f"case{number}", patient_id=f"patient{number}", image=image, roi=roi,
                         stage=TStage(number % 4), split="train"))  # fmt: skip
    return made


def _placed(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3.0, 3.0, STEP_MM))
    return image
