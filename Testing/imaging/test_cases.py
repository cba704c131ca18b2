"""Small inputs that were once read wrongly: each gives its true voxels at their true place, or a clear refusal.

The folder `cases` of the test data has one trait per folder; its README states what is right. `perfect-scores` is about
intervals, not about reading, and is left out here.
"""

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.geometry import embedded
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.pipeline import stage_case

LARGE, SMALL = 3.0, 6.0
"""Pixels of the cases, in mm."""

READ = {
    # (path, folder of the truth): (pixel size in mm, position of the lowest slice in mm)
    ("control/ct", "control"): (LARGE, -100.0),
    ("control/ct.nii.gz", "control"): (LARGE, -100.0),
    ("pixel-padding/unsigned63536", "pixel-padding"): (LARGE, -90.0),
    ("pixel-padding/signed-2000", "pixel-padding"): (LARGE, -90.0),
    ("no-preamble/top-two-plain", "no-preamble"): (SMALL, -100.0),
    ("multi-frame-12-bit/multi.dcm", "multi-frame-12-bit"): (LARGE, -90.0),
    ("nifti-slope-0/slope0inter.nii.gz", "nifti-slope-0"): (LARGE, -100.0),
    ("nifti-geometry/shear1e-4.nii.gz", "nifti-geometry"): (LARGE, -100.0),
    ("spacing-between-slices-0/zero", "spacing-between-slices-0"): (SMALL, -100.0),
    ("sparse-seg/ct", "sparse-seg"): (LARGE, -100.0),
    ("chinese-segment/ct", "control"): (LARGE, -100.0),
    ("float-labels/ct.nii.gz", "control"): (LARGE, -100.0),
}

REFUSED = {
    "two-acquisitions/interleaved": "acquisition",
    "damaged-volumes/flipped.mha": "flipped.mha",
    "damaged-volumes/list.mhd": "list.mhd.* 5 ",
    "damaged-volumes/mha_no_spacing.mha": "ElementSpacing",
    "damaged-volumes/nrrd_ascii_crash.nrrd": "nrrd_ascii_crash.nrrd",
    "damaged-volumes/enh_toplevel_rescale.dcm": "Rescale",
    "damaged-volumes/png_half_rows_valid_crc.png": "png_half_rows_valid_crc.png",
    "two-series/study": "2 CT series; expected one",
}
"""Path and a fragment of the message."""

AIR = -1000


def voxels_of(scan):
    return sitk.GetArrayFromImage(scan.slices(0, scan.grid.size[2] - 1))


@pytest.mark.parametrize(("case", "place"), READ.items(), ids=lambda one: one[0] if isinstance(one[0], str) else "")
def test_the_voxels_are_the_true_ones_at_their_true_place(case, place):
    path, truth = case
    scan = read_scan(shared("cases") / path)
    image = scan.slices(0, scan.grid.size[2] - 1)
    true = np.load(shared("cases") / truth / "truth.npy")
    found = sitk.GetArrayFromImage(image)
    # Air below -1000 HU is padding, which holds no tissue in any form.
    np.testing.assert_array_equal(np.maximum(found, AIR), true)
    pixel, lowest = place
    assert image.GetSpacing() == pytest.approx((pixel, pixel, 5.0), abs=1e-4)
    corner = image.TransformIndexToPhysicalPoint((0, 0, 0))
    assert corner == pytest.approx((-190.5, -190.5, lowest), abs=0.05)
    # The far corner as well: the tolerance of 0.05 voxels that every format has.
    far = image.TransformIndexToPhysicalPoint([n - 1 for n in image.GetSize()])
    steps = np.multiply((pixel, pixel, 5.0), np.array(image.GetSize()) - 1)
    assert far == pytest.approx(np.add(steps, (-190.5, -190.5, lowest)), abs=0.05 * pixel)


@pytest.mark.parametrize(("path", "fragment"), REFUSED.items())
def test_what_has_no_right_answer_is_refused_with_its_name_and_a_remedy(path, fragment):
    with pytest.raises((InputError, GeometryError), match=fragment) as caught:
        voxels_of(read_scan(shared("cases") / path))
    assert "expected" in str(caught.value)


def outcome_of(path):
    """Return the voxels, or the message of a refusal."""
    try:
        return voxels_of(read_scan(path)), ""
    except InputError as error:
        return None, str(error)


def test_gzip_without_its_suffix_is_read_or_the_error_names_the_name():
    path = shared("cases") / "nifti-geometry" / "gz-named.nii"
    found, message = outcome_of(path)
    if found is not None:
        np.testing.assert_array_equal(found, np.load(path.with_name("truth.npy")))
    else:
        assert ("gz-named.nii" in message, ".nii.gz" in message) == (True, True), message


def test_nan_is_refused_or_air_and_never_soft_tissue():
    found, message = outcome_of(shared("cases") / "nifti-nan" / "outside.nii.gz")
    if found is None:
        assert "outside.nii.gz" in message
    else:
        odd = found != voxels_of(read_scan(shared("cases") / "control" / "ct.nii.gz"))
        assert odd.any()
        assert (found[odd] <= AIR).all()


@pytest.mark.parametrize("series", ["1", "2"])
def test_one_of_two_series_is_read_by_its_number(series):
    scan = read_scan(shared("cases") / "two-series" / "study", series=series)
    assert scan.grid.size[2] == 3


def test_the_interleaved_acquisitions_are_never_one_stack():
    """Where a choice is offered, each choice gives one acquisition: 7 slices, 5 mm apart."""
    path = shared("cases") / "two-acquisitions" / "interleaved"
    for choice in ("1", "2"):
        try:
            scan = read_scan(path, series=choice)
        except (InputError, GeometryError):
            continue
        assert (scan.grid.size[2], scan.grid.spacing[2]) == (7, pytest.approx(5.0))


def test_labels_that_are_whole_but_for_rounding_are_labels():
    folder = shared("cases") / "float-labels"
    roi = read_roi(folder / "almost.nii.gz")
    drawn = read_roi(shared("cases") / "control" / "tumour.nii.gz")
    assert (sitk.GetArrayFromImage(roi.mask) == sitk.GetArrayFromImage(drawn.mask)).all()
    assert roi.segment == "1"


def test_a_sparse_seg_is_placed_plane_by_plane():
    folder = shared("cases") / "sparse-seg"
    scan, roi = read_scan(folder / "ct"), read_roi(folder / "alternate-nospacing.dcm")
    mask = embedded(roi.onto(scan.grid), scan.grid)
    assert sitk.GetArrayFromImage(mask).sum((1, 2)).tolist() == [0, 50, 0, 114, 0, 50, 0]
    assert keyslice.choose(scan, mask=mask).index == 3


def test_a_seg_with_fewer_frames_than_it_states_is_refused():
    with pytest.raises(InputError, match=r"seg_frames3\.dcm"):
        read_roi(shared("cases") / "damaged-volumes" / "seg_frames3.dcm")


def test_a_segment_is_chosen_by_its_chinese_name():
    """That its picture shows the name is tested with the pictures."""
    roi = read_roi(shared("cases") / "chinese-segment" / "utf8.dcm", segment="肿瘤")
    assert roi.segment == "肿瘤"


@pytest.mark.slow
def test_the_control_is_staged_as_its_readme_states(one_thread):
    """T4 at key slice 3, the same from DICOM and NIfTI; the README's probabilities are those of an earlier model."""
    tumour = read_roi(shared("cases") / "control" / "tumour.nii.gz")
    model = load_model("demonstration", device="cpu")
    dicom, volume = (
        stage_case(read_scan(shared("cases") / "control" / name), model, tumour=tumour) for name in ("ct", "ct.nii.gz")
    )
    assert dicom.key_slice.index == 3
    assert dicom.prediction.stage == TStage.T4
    assert dicom.prediction.probabilities == volume.prediction.probabilities


@pytest.mark.slow
def test_a_ct_whose_intercept_is_lost_is_refused_before_it_is_staged(one_thread):
    path = shared("cases") / "lost-intercept" / "ct.nii.gz"

    def staged():
        scan = read_scan(path)
        key = keyslice.by_index(scan.grid, 3)
        return stage_case(scan, load_model("demonstration", device="cpu"), key_slice=key)

    with pytest.raises(InputError, match="1,?024"):
        staged()
