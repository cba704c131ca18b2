"""Write one CT as DICOM in any order of its axes: from the head or the feet, prone, and turned in the image's plane."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset

from GTRStagingLib.phantoms import export
from GTRStagingLib.phantoms.phantom import Phantom

ORIENTATIONS = {
    "head first, supine": ((0, 1, 2), (False, False, False)),
    "from the head down": ((0, 1, 2), (False, True, True)),
    "feet first": ((0, 1, 2), (True, False, True)),
    "prone": ((0, 1, 2), (True, True, False)),
    "quarter turn": ((1, 0, 2), (True, False, False)),
}
"""Order of the axes, then whether each is reversed, of a volume in axial LPS."""


def oriented(phantom: Phantom, name: str, turn_degrees: float = 0.0) -> Phantom:
    """Return the phantom with the axes of its CT and ROI in another order; the anatomy stays at its place.

    `turn_degrees` turns the patient about the body axis.
    """
    order, reversed_axes = ORIENTATIONS[name]
    changed = []
    for image in (phantom.ct, phantom.tumour):
        image = sitk.Flip(sitk.PermuteAxes(image, order), reversed_axes)
        angle = np.radians(turn_degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        direction = turn @ np.reshape(image.GetDirection(), (3, 3))
        image.SetOrigin(tuple(turn @ image.GetOrigin()))
        image.SetDirection(tuple(np.where(abs(direction) < 1e-12, 0, direction).ravel()))
        changed.append(image)
    return replace(phantom, ct=changed[0], tumour=changed[1])


def slices_of(phantom: Phantom) -> list[Dataset]:
    """Return the CT of a phantom as DICOM slices along its third axis."""
    slices = [export._ct_slice(phantom, k) for k in range(phantom.ct.GetDepth())]
    direction = np.reshape(phantom.ct.GetDirection(), (3, 3))
    for one in slices:
        one.ImageOrientationPatient = [f"{x:.10f}" for x in (*direction[:, 0], *direction[:, 1])]
    return slices


def write_slices(folder: Path, slices: list[Dataset]) -> Path:
    """Write slices into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(slices):
        one.file_meta.MediaStorageSOPInstanceUID = one.get("SOPInstanceUID", "2.25.4713")
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    return folder


def multi_frame(slices: list[Dataset]) -> Dataset:
    """Return slices as one enhanced CT, with frames in another order than the slices."""
    mixed = slices[1::2] + slices[::2]
    return LegacyConvertedEnhancedCTImage(mixed, "2.25.4711", 4, "2.25.4712", 1)
