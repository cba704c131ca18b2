from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from GTRStagingLib.errors import InputError
from GTRStagingLib.geometry import axial_order, same_grid
from GTRStagingLib.phantom import LAYERS, make_phantom
from GTRStagingLib.phantom_files import write_dicom, write_nifti
from GTRStagingLib.stages import TStage

T1, T2, T3, T4 = TStage


@cache
def phantom(stage, seed=0):
    return make_phantom(stage, seed=seed)


def arrays(one):
    return sitk.GetArrayFromImage(one.ct), sitk.GetArrayFromImage(one.tumour).astype(bool)


def test_the_same_arguments_give_the_same_bits():
    first, second = make_phantom(T3, seed=7), make_phantom(T3, seed=7)
    assert (arrays(first)[0] == arrays(second)[0]).all()
    assert (arrays(first)[1] == arrays(second)[1]).all()
    assert (arrays(make_phantom(T3, seed=8))[0] != arrays(first)[0]).any()


def test_ct_and_mask_lie_on_one_axial_grid():
    one = phantom(T3)
    assert same_grid(one.ct, one.tumour, tolerance=0)
    assert axial_order(one.ct).axes == (0, 1, 2)
    assert not any(axial_order(one.ct).flipped)
    assert one.ct.GetPixelID() == sitk.sitkInt16


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_the_stage_is_the_depth(seed):
    """Of the same seed, for every one of them: deeper by stage, by the layers that the stage is defined by."""
    four = [make_phantom(stage, seed=seed, size=128) for stage in TStage]
    wall, fat = four[0].anatomy.wall_mm, four[0].anatomy.fat_plane_mm
    depths = [one.depth_mm for one in four]
    assert 0 < depths[0] <= LAYERS[1] * wall
    assert LAYERS[1] * wall < depths[1] <= wall
    assert wall < depths[2] < wall + fat
    assert depths[3] > wall + fat
    masks = [arrays(one)[1] for one in four]
    for mask in masks:
        areas = mask.sum(axis=(1, 2))
        assert 0 < areas.argmax() < len(areas) - 1
        assert ndimage.label(mask, np.ones((3, 3, 3)))[1] <= 3
    assert (masks[0] <= masks[1]).all()
    assert all(one.anatomy == four[0].anatomy for one in four)


def test_only_the_tumour_differs_between_the_stages_of_a_seed():
    (ct1, mask1), (ct4, mask4) = arrays(phantom(T1, 3)), arrays(phantom(T4, 3))
    near = ndimage.binary_dilation(mask1 | mask4, np.ones((3, 9, 9)))
    assert (ct1[~near] == ct4[~near]).all()
    assert (ct1[near] != ct4[near]).any()


def test_a_t4_tumour_touches_its_organ_and_a_t3_does_not():
    for seed in range(4):
        t3, t4 = phantom(T3, seed), phantom(T4, seed)
        ct, mask3 = arrays(t3)
        _, mask4 = arrays(t4)
        added = mask4 & ~mask3
        # What T4 grew into was organ (90 HU and more) in the T3 phantom, or the fat before it.
        assert (ndimage.median_filter(ct, (1, 5, 5))[added] > 60).any()


def test_the_anatomy_has_the_hu_that_a_radiologist_expects():
    ct, _ = arrays(phantom(T1))
    nz, ny, _ = ct.shape
    assert (ct[:, :5] < -900).all()
    middle = ct[nz // 2 + 4]
    assert 95 < np.median(middle[ny // 2 - 5 : ny // 2 + 5, 60:90]) < 120  # liver, on the picture's left
    body = ct > -300
    assert 0.15 < body.mean() < 0.6
    assert ((ct > -130) & (ct < -70)).sum() > 0.05 * body.sum()  # fat
    assert (ct[:, ny // 2 :] > 250).sum() > 5 * (ct[:, : ny // 4] > 250).sum()  # the spine is at the back


def test_noise_is_as_asked():
    silent = sitk.GetArrayFromImage(make_phantom(T1, seed=1, noise_hu=0).ct).astype(float)
    noisy = sitk.GetArrayFromImage(make_phantom(T1, seed=1, noise_hu=15).ct).astype(float)
    body = silent > -300
    assert (noisy - silent)[body].std() == pytest.approx(15, rel=0.03)


def test_a_dicom_series_reads_back_as_it_was(tmp_path):
    import highdicom as hd

    one = phantom(T3)
    write_dicom(one, tmp_path / "p")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "p" / "ct")))
    ct = reader.Execute()
    assert same_grid(ct, one.ct, tolerance=1e-3)
    assert (sitk.GetArrayFromImage(ct) == arrays(one)[0]).all()
    seg = hd.seg.segread(tmp_path / "p" / "tumour_seg.dcm")
    assert [str(d.SegmentLabel) for d in seg.SegmentSequence] == ["tumour"]
    volume = seg.get_volume(combine_segments=True)
    assert int((volume.array > 0).sum()) == int(arrays(one)[1].sum())


def test_dicom_files_are_the_same_twice(tmp_path):
    for name in ("a", "b"):
        write_dicom(make_phantom(T2, seed=4, size=64, slices=16), tmp_path / name)
    for path in sorted((tmp_path / "a" / "ct").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / "ct" / path.name).read_bytes()


def test_our_own_reader_takes_both_forms(tmp_path):
    from GTRStagingLib.geometry import onto_grid
    from GTRStagingLib.images import read_scan
    from GTRStagingLib.rois import read_roi

    one = phantom(T4)
    write_dicom(one, tmp_path / "d")
    write_nifti(one, tmp_path / "n")
    for ct, roi, segment in (("d/ct", "d/tumour_seg.dcm", "tumour"), ("n/ct.nii.gz", "n/tumour.nii.gz", 1)):
        scan = read_scan(tmp_path / ct)
        assert same_grid(scan.image, one.ct, tolerance=1e-3)
        assert (sitk.GetArrayFromImage(scan.image) == arrays(one)[0]).all()
        placed = onto_grid(read_roi(tmp_path / roi, segment=segment).mask, scan.image)
        assert (sitk.GetArrayFromImage(placed) == arrays(one)[1]).all()


@pytest.mark.parametrize("write", [write_dicom, write_nifti])
def test_a_folder_with_something_in_it_is_left_alone(tmp_path, write):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="not an empty folder"):
        write(phantom(T1), tmp_path / "mine")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    (tmp_path / "empty").mkdir()
    write(phantom(T1), tmp_path / "empty")
    assert (tmp_path / "empty" / "truth.json").is_file()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Path, "write_text", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        write_nifti(phantom(T1), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [{"size": 32}, {"slices": 4}, {"slices": 8, "slice_thickness_mm": 1.0},
                                 {"field_of_view_mm": 50.0}, {"noise_hu": -1.0}, {"seed": -1}])  # fmt: skip
def test_what_holds_no_stomach_is_refused(bad):
    with pytest.raises(InputError, match="expected"):
        make_phantom(T1, **bad)
