"""Proposed key slices: which slice, what the result says of it, and what is refused."""

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.long_scans import SLICES, STEP_MM, a_long_scan, slices_mask
from helpers.spots import a_spot_model

from GTRStagingLib.batch.local import stage_from_files
from GTRStagingLib.batch.records import row_of
from GTRStagingLib.errors import Cancelled, GeometryError, InputError, WeightsError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import scan_of
from GTRStagingLib.model.backbone import load_model, ready
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.results.record import schema, to_json
from GTRStagingLib.results.words import choice_in_words
from GTRStagingLib.staging import proposal as proposals
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.preprocess import prepare, prepare_alone
from GTRStagingLib.staging.proposal import propose
from GTRStagingLib.tables.case_row import CaseRow

PROPOSE = StagingOptions(propose_key_slice=True)
KEY = 6


def a_head(bias=0.0, smoothing_mm=0.0):
    """The planted network's feature 0 is the amount of bright spot in the slice; the head is the feature itself."""
    return ProposalHead(np.eye(512)[0] * 100, bias, smoothing_mm, patients=20)


@pytest.fixture(scope="module")
def backbone():
    return ready(replace(a_spot_model(), proposal_head=a_head(bias=-1.0)), "cpu", "torch")


@pytest.fixture(scope="module")
def scan():
    return scan_of(a_long_scan(KEY)[0], "a scan")


def stomach(*slices):
    return Roi(slices_mask(*slices), "stomach")


# -- which slice ---------------------------------------------------------------------------------------------------


def test_the_best_slice_is_that_of_the_largest_disc(backbone, scan):
    found = propose(scan, backbone)
    assert found.key_slice == keyslice.KeySlice(KEY, KEY * STEP_MM, "proposed")
    assert np.isfinite(found.scores).all()
    assert found.candidates[0].score == found.scores.max() > 0.5
    assert np.argsort(found.scores)[-5:].min() >= KEY - 2


def test_the_proposed_slices_are_apart_and_have_their_pictures(backbone, scan):
    found = propose(scan, backbone)
    places = [one.position_mm for one in found.candidates]
    assert len(places) == len(found.pictures) == 3
    assert min(abs(a - b) for i, a in enumerate(places) for b in places[:i]) >= proposals.APART_MM
    picture = found.pictures[0]
    assert (picture.dtype, picture.ndim) == (np.uint8, 2)
    mask = sitk.GetArrayFromImage(a_long_scan(KEY)[1])[KEY]
    row, column = (int(c.mean() / 64 * n) for c, n in zip(np.nonzero(mask), picture.shape, strict=True))
    assert picture[row, column] > np.median(picture[picture > 0]) + 20


def test_with_a_stomach_only_its_slices_are_scored(backbone, scan):
    found = propose(scan, backbone, stomach=stomach(1, 2, 3, 4))
    assert found.key_slice.index == 4
    assert np.flatnonzero(np.isfinite(found.scores)).tolist() == [1, 2, 3, 4]
    assert found.in_stomach


def test_the_scores_do_not_depend_on_the_passes(backbone, scan, monkeypatch):
    before = propose(scan, backbone).scores
    monkeypatch.setattr(proposals, "AT_ONCE", 1)
    np.testing.assert_allclose(propose(scan, backbone).scores, before, atol=1e-4)


def test_a_pass_has_few_slices_whatever_the_length_of_the_scan(backbone, scan, monkeypatch):
    passes = []
    monkeypatch.setattr(proposals, "AT_ONCE", 5)

    run = type(backbone).classify

    def counted(self, pixels, wanted=()):
        passes.append(len(pixels))
        return run(self, pixels, wanted)

    monkeypatch.setattr(type(backbone), "classify", counted)
    propose(scan, backbone)
    assert (max(passes), sum(passes)) == (5, SLICES)


def test_a_slice_alone_is_prepared_as_among_its_neighbours(a_phantom, backbone):
    for recipe in (backbone.card.recipe, replace(backbone.card.recipe, spacing_mm=None)):
        key = keyslice.by_index(a_phantom.ct, 11)
        among = prepare(a_phantom.ct, key, recipe)
        alone = prepare_alone(a_phantom.ct, key, recipe)
        np.testing.assert_array_equal(alone.pixels[0], among.pixels[among.key])


# -- what cannot be proposed ---------------------------------------------------------------------------------------


def with_empty(*slices):
    array = sitk.GetArrayFromImage(a_long_scan(KEY)[0])
    array[list(slices)] = -1000
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3.0, 3.0, STEP_MM))
    return scan_of(image, "a scan with empty slices")


def test_a_slice_whose_neighbour_cannot_be_staged_is_not_proposed(backbone):
    """Slice 7 is empty: 6 would be staged with it, and 5 is the next best."""
    found = propose(with_empty(KEY + 1), backbone)
    assert list(found.left_out) == [KEY + 1]
    assert "constant" in found.left_out[KEY + 1]
    assert found.key_slice.index == KEY - 1
    result = stage_case(with_empty(KEY + 1), backbone, PROPOSE)
    assert any("1 slice could not be scored" in text and "slice 7" in text for text in result.warnings)


def test_a_scan_without_a_slice_to_stage_is_refused_with_the_reason(backbone):
    with pytest.raises(InputError, match=r"No slice can be proposed.*11 were refused, slice 0: Slice 0 is "):
        propose(with_empty(*range(SLICES)), backbone)


def test_a_model_without_a_head_is_refused(scan):
    with pytest.raises(WeightsError, match="'spots' has no head that proposes key slices.*Fit it"):
        stage_case(scan, ready(a_spot_model(), "cpu", "torch"), PROPOSE)


def test_a_run_can_be_stopped(backbone, scan, monkeypatch):
    monkeypatch.setattr(proposals, "AT_ONCE", 5)
    seen = []

    def progress(done, total):
        seen.append((done, total))
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        propose(scan, backbone, progress=progress)
    assert seen == [(5, SLICES)]


# -- the result ----------------------------------------------------------------------------------------------------


def test_the_result_asks_to_confirm_the_slice(backbone, scan):
    result = stage_case(scan, backbone, PROPOSE)
    assert (result.key_slice.index, result.key_slice.chosen_by) == (KEY, "proposed")
    assert result.warnings[0].startswith(f"The key slice {KEY} was PROPOSED BY THE MODEL and not chosen by a reader")
    assert f"next best slices are {result.proposal.candidates[1].index} (S " in result.warnings[1]
    assert choice_in_words(result.key_slice) == "proposed by the model: confirm it"
    only = replace(result.proposal, candidates=result.proposal.candidates[:2])
    texts = list(proposals.to_confirm(only, result.key_slice, stage_sets=False))
    assert any(f"next best slice is {only.candidates[1].index} (S " in text for text in texts)
    record = json.loads(json.dumps(to_json(result), allow_nan=False))
    jsonschema.Draft202012Validator(schema()).validate(record)
    assert record["key_slice"]["proposal"]["candidates"][0]["index"] == KEY
    assert row_of(result)["key_slice_by"] == "proposed"
    by_hand = stage_case(scan, backbone, key_slice=KEY)
    np.testing.assert_array_equal(by_hand.features, result.features)
    assert to_json(by_hand)["key_slice"]["proposal"] is None


def test_the_promise_of_a_stage_set_does_not_cover_a_proposed_slice(a_small_phantom):
    demonstration, phantom = load_model("demonstration", "cpu"), scan_of(a_small_phantom.ct, "phantom")
    text = "The promise of the stage set is for slices chosen as in its calibration, not for proposed ones."
    proposed = stage_case(phantom, demonstration, PROPOSE)
    assert text in proposed.warnings
    assert text not in stage_case(phantom, demonstration, key_slice=proposed.key_slice.index).warnings


def test_what_the_user_gives_comes_before_the_proposal(backbone, scan):
    given = stage_case(scan, backbone, PROPOSE, key_slice=3)
    assert (given.key_slice.index, given.key_slice.chosen_by, given.proposal) == (3, "hand", None)
    by_roi = stage_case(scan, backbone, PROPOSE, tumour=Roi(a_long_scan(4)[1], "tumour"))
    assert (by_roi.key_slice.index, by_roi.key_slice.chosen_by) == (4, "tumour area")
    assert not any("PROPOSED" in text for text in (*given.warnings, *by_roi.warnings))


def test_nothing_is_proposed_unless_it_is_asked_for(backbone, scan):
    with pytest.raises(InputError, match="No key slice is chosen.*`propose_key_slice`"):
        stage_case(scan, backbone)


def test_a_proposal_without_a_likely_tumour_says_so(scan):
    doubtful = ready(replace(a_spot_model(), proposal_head=a_head(bias=-1000.0)), "cpu", "torch")
    result = stage_case(scan, doubtful, PROPOSE)
    assert any("no slice in which a tumour is more likely than not: the best score is 0.00" in text
               for text in result.warnings)  # fmt: skip


def test_an_error_about_the_stomach_does_not_speak_of_the_tumour(backbone, scan):
    far = slices_mask(KEY)
    far.SetOrigin((1000.0, 0.0, 0.0))
    with pytest.raises(GeometryError, match=r"^Mask of the stomach: .* has no voxel inside the CT"):
        propose(scan, backbone, stomach=Roi(far, "stomach"))


def test_a_resampled_stomach_is_stated(backbone, scan):
    texts = {
        resample: stage_case(
            scan, backbone, StagingOptions(resample_roi=resample), stomach=stomach(KEY), key_slice=KEY
        ).warnings
        for resample in (False, True)
    }
    new = set(texts[True]) - set(texts[False])
    assert new == {
        "The mask of the stomach was resampled to the CT's grid by nearest neighbour, where the grids differ."
    }


def test_nothing_is_said_of_the_promise_of_a_withheld_set(a_phantom):
    """Six looks have no stage set, hence no promise that a proposed slice could break."""
    model, scan = load_model("demonstration", device="cpu"), scan_of(a_phantom.ct, "phantom")
    for tta in (False, True):
        found = stage_case(scan, model, StagingOptions(propose_key_slice=True, tta=tta))
        promised = any("promise of the stage set" in text for text in found.warnings)
        assert promised == (not found.stage_set.withheld) == (not tta)


def test_a_key_slice_without_stomach_is_warned_of(backbone, scan):
    outside = stage_case(scan, backbone, stomach=stomach(1, 2), key_slice=KEY)
    assert f"The key slice {KEY} (S 30.0 mm) shows NO STOMACH by the given mask, whose slices lie at S 5.0 to 10.0" in (
        " ".join(outside.warnings)
    )
    inside = stage_case(scan, backbone, stomach=stomach(5, KEY, 7), key_slice=KEY)
    gap = stage_case(scan, backbone, stomach=stomach(5, 7), key_slice=KEY)
    assert not any("STOMACH" in text for text in inside.warnings)
    assert any("NO STOMACH" in text for text in gap.warnings)


def test_a_confirmed_slice_is_no_warning(backbone, scan):
    key = replace(propose(scan, backbone).key_slice, chosen_by="confirmed")
    result = stage_case(scan, backbone, key_slice=key)
    assert choice_in_words(result.key_slice) == "proposed by the model, confirmed by hand"
    assert not any("PROPOSED" in text for text in result.warnings)


# -- a batch -------------------------------------------------------------------------------------------------------


def test_a_batch_proposes_for_cases_without_a_slice_only_when_asked(backbone, tmp_path):
    ct, mask = tmp_path / "ct.nii.gz", tmp_path / "stomach.nii.gz"
    sitk.WriteImage(a_long_scan(KEY)[0], str(ct))
    sitk.WriteImage(slices_mask(2, 3, 4), str(mask))
    case = CaseRow(case_id="a", image=ct, stomach=mask)
    with pytest.raises(InputError, match="No key slice is chosen"):
        stage_from_files(backbone, StagingOptions())(case, tmp_path / "never")
    stage = stage_from_files(backbone, PROPOSE)
    assert stage(case, tmp_path / "asked").key_slice == keyslice.KeySlice(4, 20.0, "proposed")
    chosen = stage(replace(case, key_slice=KEY), tmp_path / "chosen")
    assert chosen.key_slice.chosen_by == "hand"
    assert any("NO STOMACH" in text for text in chosen.warnings)
