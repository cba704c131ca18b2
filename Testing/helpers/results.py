"""Results of small cases, each computed once by the real pipeline."""

from dataclasses import replace
from functools import cache

import numpy as np
import SimpleITK as sitk
from conftest import ct_like

from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.recipe import RELEASED
from GTRStagingLib.model.weights import Model
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.familiarity import Familiarity
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.voting import vote

IDENTIFIERS = {"PatientName": "Doe^Jane", "PatientID": "MRN-4711", "InputPath": "/clinic/doe_jane/ct"}
ROWS, COLUMNS = slice(12, 22), slice(18, 34)
"""Rows and columns of the ROI's box."""


def scan_of(image, **changes):
    return Scan(**{"voxels": MemoryVoxels(image), "intensity": "HU", "spacing_known": True, "digest": "ab" * 32,
                   "format": "NIfTI", "acquisition": {"KVP": "120"}, "identifiers": IDENTIFIERS,
                   **changes})  # fmt: skip


def box_on(ct, slices=slice(3, 6)):
    mask = np.zeros(ct.GetSize()[::-1], dtype=np.uint8)
    mask[slices, ROWS, COLUMNS] = 1
    image = sitk.GetImageFromArray(mask)
    image.CopyInformation(ct)
    return Roi(image, "tumour")


@cache
def a_small_model():
    return weights.untrained(depth=10)


@cache
def with_roi():
    """Return a result of three slices, with an ROI, by an untrained model."""
    ct = ct_like()
    result = stage_case(scan_of(ct), ready(a_small_model()), tumour=box_on(ct))
    return replace(result, timings_s={"reading": 0.5, **result.timings_s})


@cache
def without_roi():
    ct = ct_like()
    return stage_case(scan_of(ct), ready(a_small_model()), key_slice=keyslice.by_index(ct, 4))


@cache
def roi_elsewhere():
    """Return a result without ROI pixels in the key slice, so that the agreement is undefined."""
    ct = ct_like()
    return stage_case(
        scan_of(ct), ready(a_small_model()), tumour=box_on(ct, slice(7, 8)), key_slice=keyslice.by_index(ct, 2)
    )


@cache
def one_slice():
    ct = ct_like(shape=(1, 40, 50))
    return stage_case(scan_of(ct), ready(a_small_model()))


@cache
def a_picture():
    """Return a result of an 8-bit picture without geometry, with an ROI, by a model with status trained."""
    start = weights.untrained(18, "none")
    model = Model(replace(start.card, recipe=RELEASED, status="trained", name="released"), start.network)
    grey = np.random.default_rng(0).integers(30, 256, (1, 256, 300), dtype=np.uint8)
    image = sitk.GetImageFromArray(grey)
    scan = scan_of(image, intensity="windowed", spacing_known=False, format="PNG", key_index=0, acquisition={})
    return stage_case(scan, ready(model), tumour=box_on(image, slice(0, 1)))


def split_vote(result=None):
    """Return the result with two of three slices voting T3, by a trained model."""
    result = result or with_roi()
    rows = np.array([[0.1, 0.5, 0.3, 0.1], [0.05, 0.2, 0.6, 0.15], [0.1, 0.1, 0.45, 0.35]])
    card = replace(result.model, status="trained", name="planted")
    attention = replace(result.attention, target=TStage.T3)
    return replace(result, prediction=vote((-1, 0, 1), rows), model=card, attention=attention, warnings=())


def judged(verdict, *usual):
    """Return the result with a verdict on its likeness, and reasons of several lines; of 'usual', those given."""
    reasons = ("noise of 34 HU; training 8.1 to 16.7 HU", "a tube voltage of 80 kV; training 100 to 120 kV",
               "kernel DETAIL; training SOFT", "the slice as a whole looks unlike those of training")  # fmt: skip
    promise = "Of patients like the 400 held-out ones (calibration), at most 5 % are called unusual or unlike."
    likeness = Familiarity(verdict, 2.4, 99.75, usual if verdict == "usual" else reasons, promise)
    return replace(with_roi(), familiarity=likeness)


def unlike():
    return judged("unlike")


def unusual():
    return judged("unusual")


def without_attention(result, *positions):
    """Return the result with an empty map in these slices."""
    maps, heat = result.attention.maps.copy(), sitk.GetArrayFromImage(result.heat)
    for position in positions:
        maps[position] = heat[position] = 0
    image = sitk.GetImageFromArray(heat)
    image.CopyInformation(result.heat)
    return replace(result, attention=replace(result.attention, maps=maps), heat=image)


def not_mapped(result, *positions):
    """Return the result without a map for these slices."""
    bare = without_attention(result, *positions)
    mapped = tuple(i not in positions for i in range(len(bare.attention.maps)))
    return replace(bare, attention=replace(bare.attention, mapped=mapped))


CHECKED = {"verdict": "passed", "method": "fine", "cases": 12, "cohort": "ab" * 32, "utc": "2026-01-01T00:00:00",
           "version": "0", "summary": "Dice 0.61, chance 0.02", "tests": {}}  # fmt: skip
"""Entry of a map's check in a model card."""


ALL = {f.__name__: f for f in (with_roi, without_roi, roi_elsewhere, one_slice, a_picture, split_vote, unlike, unusual)}
