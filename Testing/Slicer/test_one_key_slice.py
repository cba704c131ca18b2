"""Staging, batch, cache, audit, check of maps and 3D Slicer look at the same key slice of a case."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like, on_grid_of
from GTRStagingSlicer import samples, scene_staging
from GTRStagingSlicer.state import State
from PIL import Image
from scenes import add_volume

from GTRStagingLib.batch import local
from GTRStagingLib.checking import model_check
from GTRStagingLib.cohort import fingerprint
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.recipe import GTR, RELEASED
from GTRStagingLib.model.weights import Model
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.preprocess import resize
from GTRStagingLib.tables.case_row import CaseRow
from GTRStagingLib.training.slice_cache import cache_slices

NONE = "No key slice is chosen among 9 slices"

CASES = {
    "index": ({"image": "ct.nrrd", "key_slice": 4}, 4),
    "index beside an ROI": ({"image": "ct.nrrd", "roi": "roi.nrrd", "key_slice": 4}, 4),
    "ROI": ({"image": "ct.nrrd", "roi": "roi.nrrd"}, 6),
    "named": ({"image": "case.png"}, 1),
    "ROI on a named slice's neighbour": ({"image": "case.png", "roi": "png_roi.nrrd"}, 2),
    "only slice": ({"image": "one.nrrd"}, 0),
    "none": ({"image": "ct.nrrd"}, None),
}
"""Files of a case, and the index of its key slice, by hand."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CT of 9 slices, one of one slice, a PNG with its neighbours, and ROIs; the largest areas are at 6 and at 2."""
    where = tmp_path_factory.mktemp("cases")
    for name, slices in (("ct", 9), ("one", 1)):
        sitk.WriteImage(ct_like(shape=(slices, 64, 64)), str(where / f"{name}.nrrd"))
    rng = np.random.default_rng(0)
    for suffix in ("_-01", "", "_+01"):
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(where / f"case{suffix}.png")
    for name, image, largest in (("roi", "ct.nrrd", 6), ("png_roi", "case.png", 2)):
        scan = read_scan(where / image)
        mask = np.zeros(scan.grid.GetSize()[::-1], dtype=np.uint8)
        mask[largest - 1, 20:30, 20:30] = mask[largest, 20:40, 20:40] = 1
        sitk.WriteImage(on_grid_of(mask, scan.image), str(where / f"{name}.nrrd"))
    return where


@pytest.fixture(params=CASES)
def case(request, folder):
    given, index = CASES[request.param]
    paths = {name: folder / value for name, value in given.items() if name in ("image", "roi")}
    return {**given, **paths}, index


@pytest.fixture
def model_of(case, a_model):
    """The small model, with the recipe of the case's kind of image."""
    recipe = RELEASED if case[0]["image"].suffix == ".png" else GTR
    return Model(replace(a_model.card, recipe=recipe), a_model.network)


def of_staging(case, a_model):
    scan = read_scan(case["image"])
    tumour = read_roi(case["roi"]) if "roi" in case else None
    return stage_case(scan, ready(a_model), tumour=tumour, key_slice=case.get("key_slice")).key_slice.index


def of_a_batch(case, a_model, tmp_path):
    row = CaseRow(case_id="case", image=case["image"], roi=case.get("roi"), key_slice=case.get("key_slice"))
    return local.stage_from_files(ready(a_model), StagingOptions())(row, tmp_path).key_slice.index


def of_the_check_of_maps(case, a_model, monkeypatch):
    seen = []
    monkeypatch.setattr(model_check, "_model", lambda source: a_model)
    monkeypatch.setattr("GTRStagingLib.staging.map_checks.measure", lambda result, ready: seen.append(result))
    model_check._measured(("any", "cpu", in_a_cohort(case)))
    return seen[0].key_slice.index


def of_the_panel(case, a_model, bare):
    image = sitk.ReadImage(str(case["image"]))
    state = State(inputVolume=add_volume(bare.scene, image), keySlice=case.get("key_slice", -1))
    if "key_slice" in case:
        state.keySliceChosenBy = "hand"
    if "roi" in case:
        mask = sitk.ReadImage(str(case["roi"]))
        state.tumourSegmentation = samples.add_tumour(bare.scene, state.inputVolume, mask, "drawn")
        state.tumourSegment = samples.TUMOUR
    return scene_staging.compute(state, ready(a_model))[0].key_slice.index


def in_a_cohort(case):
    return Case(case_id="case", patient_id="p", stage=TStage.T2, **{"roi": None, "key_slice": None, **case})


def test_every_room_takes_the_same_slice(case, model_of, tmp_path, monkeypatch, bare, one_thread):
    given, index = case
    rooms = {
        "staging": lambda: of_staging(given, model_of),
        "batch": lambda: of_a_batch(given, model_of, tmp_path),
        "check of maps": lambda: of_the_check_of_maps(given, model_of, monkeypatch),
    }
    if given["image"].suffix != ".png":  # which 3D Slicer does not take: it is not in HU
        rooms["3D Slicer"] = lambda: of_the_panel(given, model_of, bare)
    if index is None:
        for name, room in rooms.items():
            with pytest.raises(InputError, match="Choose the key slice" if name == "3D Slicer" else NONE):
                room()
    else:
        assert {name: room() for name, room in rooms.items()} == dict.fromkeys(rooms, index)


def test_the_cache_holds_the_same_slice(case, model_of, tmp_path):
    given, index = case
    recipe = model_of.card.recipe
    if index is None:
        with pytest.raises(InputError, match=NONE):
            cache_slices([in_a_cohort(given)], recipe, tmp_path)
        return
    (cached,) = cache_slices([in_a_cohort(given)], recipe, tmp_path)
    scan = read_scan(given["image"])
    wanted = resize(scan, keyslice.by_index(scan.grid, index), recipe, intensity=scan.intensity)
    assert cached.offsets == wanted.offsets
    np.testing.assert_array_equal(cached.slices(), wanted.pixels)


def test_the_audit_compares_the_same_slice(case):
    given, index = case
    (found,) = fingerprint.fingerprints([in_a_cohort(given)])
    assert found.problem is None
    if index is None:
        assert found.picture is None
    else:
        np.testing.assert_array_equal(found.picture, fingerprint.picture_of(read_scan(given["image"]), index))
