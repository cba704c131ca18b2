"""Staging of a whole case, on real and on unusual input."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import a_spot, ct_like, planted_model, rotation
from helpers.passes import passed
from PIL import Image

from GTRStagingLib.errors import Cancelled, GeometryError, InputError
from GTRStagingLib.imaging import geometry, keyslice
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan, read_scan
from GTRStagingLib.model import weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.recipe import GTR, RELEASED
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.model.weights import Model
from GTRStagingLib.phantoms import export
from GTRStagingLib.results import overlay
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging import preprocess
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import STEPS, stage_case
from GTRStagingLib.staging.preprocess import prepare


def scan_of(image, **changes):
    return Scan(**{"voxels": MemoryVoxels(image), "intensity": "HU", "spacing_known": True, "digest": "ab" * 32,
                   "format": "NIfTI", **changes})  # fmt: skip


def roi_of(ct, slices, rows=slice(10, 20), columns=slice(15, 30)):
    """A box on the CT's grid, in axial order."""
    axial = geometry.axial_lps(ct)
    array = np.zeros(axial.GetSize()[::-1], dtype=np.uint8)
    array[slices, rows, columns] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(axial)
    return Roi(geometry.in_axis_order_of(mask, ct), "tumour")


@pytest.fixture
def a_released_model():
    """A network of the published shape (small) that expects windowed pictures."""
    start = weights.untrained(18, "none")
    return Model(replace(start.card, recipe=RELEASED, status="trained", name="released"), start.network)


# -- real input ----------------------------------------------------------------------------------------------------


def test_the_real_dicom_with_its_liver(shared_data, a_model):
    scan = read_scan(shared_data / "ct" / "ct_3slice_dicom")
    for roi_file in ("ct_3slice_liver_seg.dcm", "ct_3slice_liver_seg.nrrd"):
        result = stage_case(scan, ready(a_model), tumour=read_roi(shared_data / "ct" / roi_file))
        assert result.key_slice.chosen_by == "tumour area"
        mask = sitk.GetArrayFromImage(
            geometry.embedded(read_roi(shared_data / "ct" / roi_file).onto(scan.grid), scan.grid)
        )
        areas = mask.sum(axis=(1, 2))
        assert result.key_slice.index == int(np.argmax(areas))
        assert result.agreement.roi_area_mm2 == pytest.approx(areas.max() * np.prod(scan.image.GetSpacing()[:2]))
        assert 0 <= result.agreement.dice <= 1
        assert result.slices.offsets == {0: (0, 1), 1: (-1, 0, 1), 2: (-1, 0)}[result.key_slice.index]
        assert geometry.same_grid(result.attention_volume, geometry.axial_slices(
            scan.image, result.key_slice.index + result.slices.offsets[0],
            result.key_slice.index + result.slices.offsets[-1]))  # fmt: skip


@pytest.mark.parametrize(
    ("of_ct", "of_roi", "warned"),
    [("1.2", "1.2", False), ("1.2", "1.3", True), (None, "1.3", False), ("1.2", None, False)],
)
def test_an_roi_of_another_frame_of_reference_is_placed_with_a_warning(a_ct, a_model, of_ct, of_roi, warned):
    roi = replace(roi_of(a_ct, slice(3, 6)), frame_of_reference=of_roi)
    result = stage_case(scan_of(a_ct, frame_of_reference=of_ct), ready(a_model), tumour=roi)
    sentence = "The ROI and the CT name different frames of reference; the ROI was placed by its coordinates."
    assert (sentence in result.warnings) == warned


def test_the_flipped_nifti_with_its_stomach(shared_data, a_model):
    scan = read_scan(shared_data / "ct" / "totalseg_example_ct_sm.nii.gz")
    assert scan.image.GetDirection()[0] == scan.image.GetDirection()[4] == -1
    roi = read_roi(shared_data / "ct" / "totalseg_example_seg.nii.gz", segment=6)
    result = stage_case(scan, ready(a_model), tumour=roi)
    assert result.slices.offsets == (-1, 0, 1)
    # The result lies on the input's own voxels, in the input's own order.
    assert result.attention_volume.GetDirection() == pytest.approx(scan.image.GetDirection())
    assert geometry.lattice_drift(result.attention_volume, scan.image) < 1e-3
    assert np.prod(sitk.GetArrayFromImage(result.roi).shape) == np.prod(result.attention_volume.GetSize())
    # And the ROI of the key slice has the area that the file has in that slice.
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data / "ct" / "totalseg_example_seg.nii.gz"))) == 6
    assert result.agreement.roi_area_mm2 == pytest.approx(label.sum(axis=(1, 2)).max() * 9.0, rel=1e-3)
    assert sitk.GetArrayFromImage(result.roi)[result.slices.key].sum() == label.sum(axis=(1, 2)).max()


@pytest.mark.parametrize("case", ["case001", "case002", "case003", "case004"])
def test_the_released_pictures(shared_data, a_released_model, case):
    result = stage_case(read_scan(shared_data / "released" / f"{case}.png"), ready(a_released_model))
    assert result.slices.offsets == (0,)
    assert result.prediction.unanimous
    assert any("1 of 3 slices" in text for text in result.warnings)
    assert any("no physical pixel size" in text for text in result.warnings)
    assert result.attention_volume.GetSize() == (512, 512, 1)
    assert result.provenance.recipe["name"] == "released"


def test_pictures_with_neighbours_vote_together(tmp_path, a_released_model):
    rng = np.random.default_rng(0)
    for name in ("10_P1.nii.png", "10_P1.nii_-01.png", "10_P1.nii_+01.png"):
        Image.fromarray(rng.integers(0, 256, (512, 512), dtype=np.uint8)).save(tmp_path / name)
    result = stage_case(read_scan(tmp_path / "10_P1.nii.png"), ready(a_released_model))
    assert result.slices.offsets == (-1, 0, 1)
    assert result.key_slice.index == 1


def test_a_picture_needs_a_model_of_the_released_recipe(shared_data, a_model):
    with pytest.raises(InputError, match="8-bit windowed picture"):
        stage_case(read_scan(shared_data / "released" / "case001.png"), ready(a_model))


@pytest.mark.smoke
def test_the_phantom(a_phantom, a_model):
    result = stage_case(scan_of(a_phantom.ct), ready(a_model), tumour=Roi(a_phantom.tumour, "tumour"))
    areas = sitk.GetArrayViewFromImage(a_phantom.tumour).sum(axis=(1, 2))
    assert result.key_slice.index == int(np.argmax(areas))
    assert result.roi.GetSize()[:2] == a_phantom.ct.GetSize()[:2]


# -- the story -----------------------------------------------------------------------------------------------------


def test_every_step_is_announced_and_timed(a_ct, a_model):
    heard = []
    result = stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(2, 6)), progress=heard.append)
    assert tuple(heard) == STEPS
    assert tuple(result.timings_s) == STEPS
    assert all(seconds >= 0 for seconds in result.timings_s.values())


def test_values_used_by_several_steps_are_computed_once(a_ct, a_model, monkeypatch):
    """The axial order of the grid; the body, which agreement needs in the key slice and overlays in all slices."""
    orders, bodies = [], []
    order, body = geometry._order_towards, preprocess.body_mask
    geometry._axial_order.cache_clear()
    monkeypatch.setattr(geometry, "_order_towards", lambda *given: orders.append(given) or order(*given))
    monkeypatch.setattr(preprocess, "body_mask", lambda *given: bodies.append(given) or body(*given))
    result = stage_case(scan_of(a_ct), ready(a_model), key_slice=keyslice.by_index(a_ct, 4))
    assert len(orders) == 1
    with_roi = stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(2, 6)))
    assert len(bodies) == 1
    for one in (result, with_roi):
        overlay.view_of(one)
        overlay.view_of(one)
    assert len(bodies) == 6


@pytest.mark.parametrize("at", STEPS)
def test_a_run_can_be_stopped_at_every_step(a_ct, a_model, at):
    def stop(step):
        if step == at:
            raise Cancelled(f"stopped before {step}")

    with pytest.raises(Cancelled, match=at):
        stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(2, 6)), progress=stop)


def test_two_runs_give_the_same_bits(a_ct, a_model):
    first, second = (stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(2, 6))) for _ in range(2))
    assert first.prediction == second.prediction
    assert (first.features == second.features).all()
    assert (sitk.GetArrayViewFromImage(first.heat) == sitk.GetArrayViewFromImage(second.heat)).all()
    assert first.agreement == second.agreement


def test_the_features_are_the_penultimate_ones_of_the_same_pass(a_ct, a_model):
    result = stage_case(scan_of(a_ct), ready(a_model), key_slice=keyslice.by_index(a_ct, 4))
    seen = passed(a_model.network, result.slices.pixels)
    with torch.no_grad():
        again = a_model.network.fc(torch.from_numpy(result.features)).numpy()
    np.testing.assert_allclose(again, seen.logits, atol=1e-5)
    assert result.features.shape == (3, 512)


def test_the_attention_is_of_the_predicted_stage_or_of_the_one_asked_for(a_ct, a_model):
    key = keyslice.by_index(a_ct, 4)
    predicted = stage_case(scan_of(a_ct), ready(a_model), key_slice=key)
    assert predicted.attention.target == predicted.prediction.stage
    for target in TStage:
        asked = stage_case(scan_of(a_ct), ready(a_model), StagingOptions(target=target), key_slice=key)
        assert asked.attention.target == target
        assert asked.prediction == predicted.prediction


def test_a_case_is_named_after_its_content_alone(a_ct, a_model):
    key = keyslice.by_index(a_ct, 4)
    assert stage_case(scan_of(a_ct), ready(a_model), key_slice=key).case_id == "case-abababab"
    assert stage_case(scan_of(a_ct), ready(a_model), key_slice=key, case_id="A 7").case_id == "A 7"


@pytest.mark.smoke
def test_the_planted_tumour_is_found_where_it_lies_on_an_oblique_flipped_scan():
    """Key slice by area, map and agreement through the geometry of an oblique and flipped scan."""
    direction = rotation((1, 0.4, 0.3), 23) @ np.diag([-1.0, 1, -1])
    ct = ct_like(shape=(9, 160, 200), spacing=(1.5, 2.1, 4.0), direction=direction)
    # At the centre of a cell, so that the thresholded map is as symmetric as the spot.
    grid = prepare(ct, keyslice.by_index(ct, 4), GTR).grid
    spot = a_spot(ct, np.array(grid.TransformIndexToPhysicalPoint((96, 96, 1))))
    mask = spot > 0
    result = stage_case(scan_of(spot), ready(planted_model()), tumour=Roi(mask, "spot"))
    assert result.key_slice.index == 4
    assert result.prediction.stage == TStage.T3
    assert result.agreement.pointing_hit
    assert result.agreement.at_threshold.centroid_distance_mm < 2.5
    usual = stage_case(
        scan_of(spot),
        ready(planted_model()),
        StagingOptions(method="gradcam", alignment="half_pixel"),
        tumour=Roi(mask, "spot"),
    )
    assert usual.agreement.at_threshold.centroid_distance_mm > 20
    assert any("half a cell" in text for text in usual.warnings)
    assert any("tilted" in text for text in result.warnings)


# -- the key slice -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "offsets"), [(0, (0, 1)), (8, (-1, 0))])
def test_a_key_slice_at_either_end_votes_with_two_and_a_warning(a_ct, a_model, index, offsets):
    result = stage_case(scan_of(a_ct), ready(a_model), key_slice=keyslice.by_index(a_ct, index))
    assert result.slices.offsets == offsets
    assert any("2 of 3 slices" in text for text in result.warnings)
    assert result.attention.maps.shape == (2, 56, 56)


def test_a_one_slice_volume_votes_alone_and_needs_no_choice(a_model):
    ct = ct_like(shape=(1, 40, 50))
    result = stage_case(scan_of(ct), ready(a_model))
    assert result.key_slice.chosen_by == "only slice"
    assert result.slices.offsets == (0,)
    assert any("1 of 3 slices" in text for text in result.warnings)


def test_without_a_key_slice_the_error_names_the_options(a_ct, a_model):
    with pytest.raises(InputError, match="Give the `key_slice`, or an ROI of the tumour"):
        stage_case(scan_of(a_ct), ready(a_model))


def test_neighbours_further_away_are_recorded(a_ct, a_model):
    result = stage_case(
        scan_of(a_ct), ready(a_model), StagingOptions(neighbour_mm=8.0), key_slice=keyslice.by_index(a_ct, 4)
    )
    assert result.slices.offsets == (-2, 0, 2)
    assert any("2 acquired slices from the key slice" in text for text in result.warnings)


# -- the ROI -------------------------------------------------------------------------------------------------------


def test_an_roi_that_misses_the_chosen_slice_leaves_agreement_undefined(a_ct, a_model):
    result = stage_case(
        scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(1, 3)), key_slice=keyslice.by_index(a_ct, 6)
    )
    assert np.isnan(result.agreement.dice)
    assert result.key_slice.tumour_area_mm2 == 0


def test_chance_lies_in_the_body_of_the_key_slice(a_ct, a_model):
    result = stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(2, 6)))
    key = result.slices.key
    heat, roi, hu = (sitk.GetArrayFromImage(i)[key] for i in (result.heat, result.roi, result.slices.native))
    hot = heat >= 0.5 * heat.max()
    body = hu > -300  # the ellipse of soft tissue, in air
    assert body.mean() < 0.7
    assert (roi.astype(bool) & ~body).sum() == 0
    expected = 2 * roi.sum() * min(hot.sum() / body.sum(), 1) / (hot.sum() + roi.sum())
    assert result.agreement.at_threshold.chance_dice == pytest.approx(expected)


def test_an_empty_roi_is_refused(a_ct, a_model):
    with pytest.raises(InputError):
        stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(a_ct, slice(0, 0)))


def test_an_roi_on_another_grid_is_refused_unless_resampling_is_asked_for(a_ct, a_model):
    finer = ct_like(shape=(9, 80, 100), spacing=(0.45, 0.55, 4.0))
    roi = roi_of(finer, slice(2, 6), slice(20, 40), slice(30, 60))
    with pytest.raises(GeometryError, match="`resample_roi=True`"):
        stage_case(scan_of(a_ct), ready(a_model), tumour=roi)
    result = stage_case(scan_of(a_ct), ready(a_model), StagingOptions(resample_roi=True), tumour=roi)
    assert result.agreement.roi_area_mm2 == pytest.approx(10 * 15 * 0.9 * 1.1, rel=0.15)
    assert any("by nearest neighbour" in text for text in result.warnings)


def test_an_roi_outside_the_ct_is_refused(a_ct, a_model):
    elsewhere = ct_like(origin=(2000.0, 30.0, -400.0))
    with pytest.raises(GeometryError, match="expected an overlap"):
        stage_case(scan_of(a_ct), ready(a_model), tumour=roi_of(elsewhere, slice(2, 6)))


# -- warnings ------------------------------------------------------------------------------------------------------


def test_an_untrained_model_is_named_first(a_ct, a_model):
    result = stage_case(scan_of(a_ct), ready(a_model), key_slice=keyslice.by_index(a_ct, 4))
    assert "UNTRAINED" in result.warnings[0]


@pytest.mark.parametrize("given", ["demonstration", None, "a model"])
def test_what_is_not_a_backbone_is_refused_before_reading(a_ct, a_model, given):
    with pytest.raises(InputError, match="expected a backbone.*load_model"):
        stage_case(scan_of(a_ct), a_model if given == "a model" else given, progress=pytest.fail)


def test_a_backbone_is_used_unchanged_and_its_warning_reported(a_ct, a_model):
    """As after a pass for which a GPU was too small."""

    class Handed(TorchBackbone):
        def classify(self, pixels, wanted=()):
            return replace(super().classify(pixels, wanted), warning="The memory of cuda was too small.")

    by = Handed(a_model, torch.device("cpu"))
    result = stage_case(scan_of(a_ct), by, key_slice=keyslice.by_index(a_ct, 4))
    assert "The memory of cuda was too small." in result.warnings
    assert result.provenance.device == "cpu"
    assert result.model == a_model.card


@pytest.mark.parametrize(("backend", "name"), [("torch", "PyTorch"), ("onnx", "ONNX Runtime")])
def test_the_record_contains_device_and_backend(a_ct, a_model, backend, name):
    if backend == "onnx":
        pytest.importorskip("onnxruntime")
        if torch.__version__ < (2, 10):
            pytest.skip("torch before 2.10 cannot export the gradients, and PyTorch computes them")
    result = stage_case(
        scan_of(a_ct), ready(a_model, device="cpu", backend=backend), key_slice=keyslice.by_index(a_ct, 4)
    )
    assert result.provenance.backend.startswith(name)
    assert ("onnxruntime" in result.provenance.versions) == (backend == "onnx")


def test_of_a_series_only_the_slices_that_vote_are_decoded(tmp_path, a_phantom, a_model):
    export.write_dicom(a_phantom, tmp_path / "p")
    tumour = read_roi(tmp_path / "p" / "tumour_seg.dcm")
    scan = read_scan(tmp_path / "p" / "ct")
    whole = stage_case(scan, ready(a_model), tumour=tumour)
    voting = {f"{whole.key_slice.index + offset + 1:04d}.dcm" for offset in whole.slices.offsets}
    for path in (tmp_path / "p" / "ct").iterdir():
        if path.name not in voting:
            path.write_bytes(path.read_bytes()[:-1000])
    damaged = read_scan(tmp_path / "p" / "ct")
    again = stage_case(damaged, ready(a_model), tumour=tumour)
    assert again.key_slice == whole.key_slice
    assert again.prediction == whole.prediction
    assert again.agreement == whole.agreement
    assert (sitk.GetArrayViewFromImage(again.roi) == sitk.GetArrayViewFromImage(whole.roi)).all()
    assert geometry.same_grid(again.attention_volume, whole.attention_volume)
    with pytest.raises(InputError, match="cannot be decoded"):
        _ = damaged.image


def test_backends_agree_on_a_case(a_ct, a_model):
    pytest.importorskip("onnxruntime")
    one, other = (
        stage_case(scan_of(a_ct), ready(a_model, device="cpu", backend=backend), key_slice=keyslice.by_index(a_ct, 4))
        for backend in ("torch", "onnx")
    )
    assert one.prediction.stage == other.prediction.stage
    np.testing.assert_allclose(one.prediction.probabilities, other.prediction.probabilities, atol=1e-5)
    np.testing.assert_allclose(one.attention.maps, other.attention.maps, atol=1e-5)


def test_an_empty_map_is_reported():
    ct = ct_like(shape=(9, 160, 200), spacing=(1.5, 2.1, 4.0))
    spot = a_spot(ct, np.array(ct.TransformIndexToPhysicalPoint((90, 70, 4))))
    result = stage_case(
        scan_of(spot), ready(planted_model()), StagingOptions(target=TStage.T1), tumour=Roi(spot > 0, "s")
    )
    assert result.attention.empty == (True, True, True)
    assert np.isnan(result.agreement.dice)
    assert any("empty for T1" in text for text in result.warnings)


def test_eigencam_warns_that_it_ignores_the_stage(a_ct, a_model):
    key = keyslice.by_index(a_ct, 4)
    asked = stage_case(
        scan_of(a_ct), ready(a_model), StagingOptions(method="eigencam", target=TStage.T2), key_slice=key
    )
    assert any("EigenCAM does not depend" in text for text in asked.warnings)
    plain = stage_case(scan_of(a_ct), ready(a_model), StagingOptions(method="eigencam"), key_slice=key)
    assert not any("EigenCAM does not depend" in text for text in plain.warnings)


def test_a_map_that_hardly_depends_on_the_stage_has_a_warning(a_ct, a_model):
    key = keyslice.by_index(a_ct, 4)
    for method, warned in (("layercam", True), ("gradcam++", True), ("gradcam", False)):
        result = stage_case(scan_of(a_ct), ready(a_model), StagingOptions(method=method), key_slice=key)
        assert any("nearly the same map for every stage" in text for text in result.warnings) is warned


def test_the_provenance_suffices_to_reproduce_the_result(a_ct, a_model):
    result = stage_case(scan_of(a_ct), ready(a_model, device="cpu"), key_slice=keyslice.by_index(a_ct, 4))
    assert result.provenance.weights_sha256 == a_model.card.sha256
    assert result.provenance.device == "cpu"
    assert result.provenance.input_digest == result.scan.digest_with(result.slices.native, (-1, 0, 1)) != "ab" * 32
    assert {"torch", "gtrstaging", "onnxruntime", "SimpleITK", "pydicom", "nibabel", "pynrrd"} <= set(
        result.provenance.versions
    )
