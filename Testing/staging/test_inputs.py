"""What is given in another type is refused with value, expectation and remedy, and not by a traceback within."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from helpers.results import a_small_model, box_on

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.scans import read_scan, scan_of
from GTRStagingLib.model.backbone import load_model, load_models, ready
from GTRStagingLib.results.outputs import write_outputs
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.proposal import propose
from GTRStagingLib.staging.scanning import profile_scan


@pytest.fixture(scope="module")
def case():
    ct = ct_like()
    return {"ct": ct, "scan": scan_of(ct, "a"), "roi": box_on(ct), "backbone": ready(a_small_model(), "cpu")}


ROI, SCAN = "an ROI. Call read_roi", "a scan. Call read_scan"

WRONG = {
    "an image as the tumour": (
        lambda c: stage_case(c["scan"], c["backbone"], tumour=c["roi"].mask), "`tumour` is of the type Image", ROI
    ),
    "an image as the stomach": (
        lambda c: stage_case(c["scan"], c["backbone"], tumour=c["roi"], stomach=c["ct"]),
        "`stomach` is of the type Image", ROI,
    ),
    "an image as the scan": (
        lambda c: stage_case(c["ct"], c["backbone"], tumour=c["roi"]), "`scan` is of the type Image", SCAN
    ),
    "a text as the key slice": (
        lambda c: stage_case(c["scan"], c["backbone"], key_slice="8"), "`key_slice` is '8' (str)", "index of a slice"
    ),
    "a fraction as the key slice": (
        lambda c: stage_case(c["scan"], c["backbone"], key_slice=4.5), "`key_slice` is 4.5 (float)", "a whole number"
    ),
    "True as the key slice": (
        lambda c: stage_case(c["scan"], c["backbone"], key_slice=True), "`key_slice` is True", "a whole number"
    ),
    "a dictionary as options": (
        lambda c: stage_case(c["scan"], c["backbone"], {"tta": True}), "`options` is of the type dict", "StagingOpt"
    ),
    "a number as the name": (
        lambda c: stage_case(c["scan"], c["backbone"], key_slice=4, case_id=5), "`case_id` is 5 (int)", "a name"
    ),
    "a name as the model": (
        lambda c: stage_case(c["scan"], "demonstration", key_slice=4), "`backbone` is 'demonstration'", "load_model("
    ),
    "a profile of an image": (
        lambda c: profile_scan(c["ct"], c["backbone"]), "`scan` is of the type Image", SCAN
    ),
    "a profile with an image as the tumour": (
        lambda c: profile_scan(c["scan"], c["backbone"], tumour=c["ct"]), "`tumour` is of the type Image", ROI
    ),
    "one index": (
        lambda c: profile_scan(c["scan"], c["backbone"], indices=4), "`indices` is 4 (int)", "indices of slices"
    ),
    "indices as texts": (
        lambda c: profile_scan(c["scan"], c["backbone"], indices=["4"]), "`indices` is '4' (str)", "whole numbers"
    ),
    "a proposal within an image": (
        lambda c: propose(c["scan"], c["backbone"], stomach=c["ct"]), "`stomach` is of the type Image", ROI
    ),
    "a proposal by a name": (
        lambda c: propose(c["scan"], "demonstration"), "`backbone` is 'demonstration'", "load_model("
    ),
    "no model": (lambda c: load_model(None), "`model` is None", "a name or a folder"),
    "no models": (lambda c: load_models(None), "`model` is None", "or a list of these"),
    "models of which one is None": (lambda c: load_models([None]), "`model` is None", "a path"),
    "no device": (lambda c: load_model("demonstration", None), "`device` is None", 'device="auto"'),
    "an array as the image": (lambda c: scan_of(np.zeros((3, 4)), "a"), "`image` is of the type ndarray", "ReadImage"),
    "an array as the mask": (lambda c: Roi(np.zeros((3, 4)), "a"), "`mask` is of the type ndarray", "read_roi(path)"),
    "no path of a scan": (lambda c: read_scan(None), "`path` is None", "a path"),
    "an empty path": (lambda c: read_roi(""), "`path` is ''", "a path"),
    "no folder": (lambda c: write_outputs(None, None), "`out` is None", "a path"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_another_type_is_refused(name, case):
    call, met, expected = WRONG[name]
    with pytest.raises(InputError) as error:
        call(case)
    assert str(error.value).startswith(met)
    assert "; expected " in str(error.value)
    assert expected in str(error.value)


def test_paths_may_be_texts_and_indices_of_numpy(case, tmp_path):
    sitk.WriteImage(case["ct"], tmp_path / "ct.nrrd")
    sitk.WriteImage(case["roi"].mask, tmp_path / "roi.nrrd")
    assert read_scan(str(tmp_path / "ct.nrrd")).digest == read_scan(tmp_path / "ct.nrrd").digest
    assert read_roi(str(tmp_path / "roi.nrrd")).segment == "1"
    key = keyslice.by_index(case["ct"], np.int64(4))
    assert (key.index, type(key.index)) == (4, int)
    folder = Path(__file__).parents[2] / "GTRStagingLib" / "resources" / "models" / "demonstration"
    for models in (folder, [folder], str(folder)):
        assert [one.card.name for one in load_models(models, device="cpu")] == ["demonstration"]
