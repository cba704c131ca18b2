"""A profile equals staging at each slice, whatever is refused, and asks the slices that it should."""

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from helpers.results import a_picture, a_small_model, box_on, scan_of

from GTRStagingLib.errors import Cancelled, InputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging import scanning
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.staging.profile import slices_between, slices_near
from GTRStagingLib.staging.scanning import profile_scan

ROUNDING = 1e-5
"""PyTorch's sums depend on the number of slices in a pass; ONNX Runtime's do not."""


@pytest.fixture(scope="module")
def phantom():
    from GTRStagingLib.phantoms.phantom import make_phantom

    return make_phantom(TStage.T3, seed=3, size=128)


@pytest.fixture(scope="module")
def demonstration():
    from GTRStagingLib.model.backbone import load_model

    return load_model("demonstration", device="cpu", backend="torch")


def test_each_slice_is_staged_as_if_it_were_the_key_slice(phantom, demonstration):
    """Votes, probabilities, familiarity, area and share of the attention, also where a batch ends and at the ROI's."""
    from GTRStagingLib.imaging.rois import Roi
    from GTRStagingLib.imaging.scans import scan_of as read

    scan, roi = read(phantom.ct, "phantom"), Roi(phantom.tumour, "tumour")
    found = profile_scan(scan, demonstration, tumour=roi, indices=range(3, 21))
    assert [one.index for one in found.slices] == list(range(3, 21))
    assert found.key_slice == keyslice.by_area(scan.grid, roi.onto(scan.grid))
    for index in (3, 8, 10, 18, 19, 20):
        one = found.slices[index - 3]
        alone = stage_case(scan, demonstration, tumour=roi, key_slice=index)
        assert one.position_mm == alone.key_slice.position_mm
        assert one.roi_area_mm2 == alone.key_slice.tumour_area_mm2
        assert [s.offset for s in one.prediction.slices] == [s.offset for s in alone.prediction.slices]
        for mine, theirs in zip(one.prediction.slices, alone.prediction.slices, strict=True):
            np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=ROUNDING)
        assert one.prediction.stage == alone.prediction.stage
        assert one.familiarity.verdict == alone.familiarity.verdict
        assert one.familiarity.distance == pytest.approx(alone.familiarity.distance, abs=ROUNDING)
        inside = alone.agreement.energy_inside
        assert one.attention_inside == (None if np.isnan(inside) else pytest.approx(inside, abs=ROUNDING))
    assert any(one.attention_inside for one in found.slices)
    short = stage_case(scan, demonstration, tumour=roi).stability
    for (stays, asked), (longer, _) in zip(short.ways, found.stability.ways, strict=True):
        assert longer == stays if stays < asked else longer >= stays


@pytest.mark.parametrize("method", ["fine", "layercam"])
def test_maps_of_the_usual_head_are_those_of_staging(method):
    ct = ct_like()
    model, roi, options = ready(a_small_model()), box_on(ct), StagingOptions(method=method, neighbour_mm=8.0)
    found = profile_scan(scan_of(ct), model, options, tumour=roi)
    assert found.step == 2
    for one in found.slices:
        alone = stage_case(scan_of(ct), model, options, tumour=roi, key_slice=one.index)
        inside = alone.agreement.energy_inside
        assert one.attention_inside == (None if np.isnan(inside) else pytest.approx(inside, rel=1e-4))
        np.testing.assert_allclose(one.prediction.probabilities, alone.prediction.probabilities, atol=ROUNDING)
    assert sum(one.attention_inside is not None for one in found.slices) == 3


def test_the_network_sees_each_slice_once_and_few_at_a_time(monkeypatch):
    """Besides the passes for the attention; slices beside the asked ones are seen for their votes."""
    monkeypatch.setattr(scanning, "AT_ONCE", 4)
    backbone, shapes = ready(a_small_model()), []
    run = type(backbone).classify

    def counted(self, pixels, wanted=()):
        shapes.append(len(pixels))
        return run(self, pixels, wanted)

    monkeypatch.setattr(type(backbone), "classify", counted)
    profile_scan(scan_of(ct_like()), backbone, indices=range(1, 7))
    assert max(shapes) <= 4
    assert sum(shapes) == 8


def without_anatomy(*blank, shape=(9, 40, 50)):
    ct = ct_like(shape=shape)
    values = sitk.GetArrayFromImage(ct)
    values[list(blank)] = -1000
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(ct)
    return image


def test_a_slice_that_staging_refuses_is_in_the_profile_with_the_reason():
    scan, model = scan_of(without_anatomy(7)), ready(a_small_model())
    found = profile_scan(scan, model, key_slice=3)
    refused = {one.index: one.refused for one in found.slices if one.refused}
    assert list(refused) == [6, 7, 8]
    with pytest.raises(InputError) as error:
        stage_case(scan, model, key_slice=6)
    assert refused[6] == str(error.value)
    assert "3 of 9 slices could not be staged; the table has the reasons." in found.warnings
    assert found.stability.asked_up_mm == 2 * 4.0  # the refused slices end what was asked
    assert found.stability.asked_down_mm == 3 * 4.0


def test_without_any_slice_that_can_be_staged_the_error_states_the_first_reason():
    with pytest.raises(InputError, match=r"None of the 2 slices can be staged\. The first: Slice .* is constant"):
        profile_scan(scan_of(without_anatomy(*range(9))), ready(a_small_model()), indices=[2, 3])


def test_a_refused_key_slice_has_no_stage_and_no_stability():
    found = profile_scan(scan_of(without_anatomy(7)), ready(a_small_model()), key_slice=7)
    assert (found.stage, found.stability, found.stable_mm) == (None, None, None)


def test_a_key_slice_outside_of_the_asked_ones_is_reported():
    found = profile_scan(scan_of(ct_like()), ready(a_small_model()), key_slice=1, indices=range(4, 7))
    assert (found.key_slice, found.stability) == (None, None)
    assert any("The key slice, 1, is not among the asked slices, 4 to 6" in text for text in found.warnings)


def test_the_stable_range_has_the_positions_of_its_slices():
    found = profile_scan(scan_of(ct_like()), ready(a_small_model()), key_slice=4)
    up, down = found.stability.stays_up_mm, found.stability.stays_down_mm
    low, high = found.stable_mm
    assert high - found.key.position_mm == pytest.approx(up)
    assert found.key.position_mm - low == pytest.approx(down)


@pytest.mark.parametrize("indices", [[], [2, 4], [3, 2], [-1, 0], [8, 9]])
def test_slices_with_gaps_or_outside_the_scan_are_refused(indices):
    with pytest.raises(InputError, match="expected ascending indices without gaps, from 0"):
        profile_scan(scan_of(ct_like()), ready(a_small_model()), indices=indices)


def test_a_picture_has_no_positions():
    with pytest.raises(InputError, match="no physical pixel size"):
        profile_scan(a_picture().scan, ready(a_small_model()))


@pytest.mark.parametrize("option", ["tta", "propose_key_slice"])
def test_options_that_a_profile_does_not_follow_are_refused(phantom, demonstration, option):
    """Else a profile would look like one of several looks, or of a proposed slice."""
    from GTRStagingLib.imaging.scans import scan_of as read

    with pytest.raises(InputError, match=f"Option {option} is set; expected options without it"):
        profile_scan(read(phantom.ct, "phantom"), demonstration, StagingOptions(**{option: True}), indices=range(9, 11))


def test_several_models_make_no_profile(phantom, demonstration):
    from GTRStagingLib.imaging.scans import scan_of as read

    with pytest.raises(InputError, match="`backbone` is of the type list; expected a backbone"):
        profile_scan(read(phantom.ct, "phantom"), [demonstration])


def test_it_can_be_cancelled_between_slices():
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        profile_scan(scan_of(ct_like()), ready(a_small_model()), progress=stop)
    assert seen == [(0, 9), (1, 9), (2, 9)]


def test_a_flipped_scan_has_the_same_profile():
    """The axial index is counted from the feet, whatever the order of the file."""
    ct = ct_like()
    flipped = sitk.Flip(ct, [False, False, True])
    model = ready(a_small_model())
    one, other = (profile_scan(scan_of(image), model, key_slice=4) for image in (ct, flipped))
    assert [a.position_mm for a in one.slices] == pytest.approx([b.position_mm for b in other.slices])
    assert one.stability == other.stability
    for a, b in zip(one.slices, other.slices, strict=True):
        np.testing.assert_allclose(a.own.probabilities, b.own.probabilities, atol=ROUNDING)


# -- which slices --------------------------------------------------------------------------------------------------


def test_ranges_by_position_and_around_slices():
    ct = ct_like()  # 9 slices, 4 mm apart, from -400 mm
    assert slices_between(ct) == range(9)
    assert slices_between(ct, -396.0, -384.0) == range(1, 5)
    assert slices_between(ct, low_mm=-371.9) == range(8, 9)
    assert slices_near(ct, [4], 8.0) == range(2, 7)
    assert slices_near(ct, [1, 2], 100.0) == range(9)
    with pytest.raises(InputError, match=r"No slice lies from -399 to -397 mm; .* -400\.0 to -368\.0 mm .* 4 mm"):
        slices_between(ct, -399.0, -397.0)
    with pytest.raises(InputError, match="expected a distance of 0 or more"):
        slices_near(ct, [4], -1.0)
