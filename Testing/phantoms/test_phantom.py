from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from GTRStagingLib.cli import phantom as phantom_command
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.geometry import axial_order, same_grid
from GTRStagingLib.phantoms.anatomy import FAT, LAYERS, build_abdomen, draw_body
from GTRStagingLib.phantoms.export import write_dicom, write_nifti
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.phantoms.scanner import COVERAGE_MM, HELD_OUT, PROFILES, draw_acquisition, simulate_scan
from GTRStagingLib.stages import TStage

T1, T2, T3, T4 = TStage


@cache
def phantom(stage, seed=0, scanner="A", size=128):
    return make_phantom(stage, seed=seed, scanner=scanner, size=size)


def arrays(one):
    return sitk.GetArrayFromImage(one.ct), sitk.GetArrayFromImage(one.tumour).astype(bool)


def test_the_same_arguments_give_the_same_phantom():
    first, second = (make_phantom(T3, seed=7, size=96) for _ in range(2))
    assert (arrays(first)[0] == arrays(second)[0]).all()
    assert (arrays(first)[1] == arrays(second)[1]).all()
    assert (arrays(make_phantom(T3, seed=8, size=96))[0] != arrays(first)[0]).any()


def test_ct_and_mask_have_the_same_axial_grid():
    one = phantom(T3)
    assert same_grid(one.ct, one.tumour, tolerance=1e-9)
    assert axial_order(one.ct).axes == (0, 1, 2)
    assert not any(axial_order(one.ct).flipped)
    assert one.ct.GetPixelID() == sitk.sitkInt16


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100_000))
def test_the_stage_is_the_depth(seed):
    """For each seed, a higher stage is deeper, by the layers that define the stages."""
    four = [make_phantom(stage, seed=seed, size=128) for stage in TStage]
    body = four[0].body
    wall, border = body.wall_mm, body.wall_mm + body.fat_plane_mm
    depths = [one.depth_mm for one in four]
    assert 0 < depths[0] < LAYERS[1] * wall  # within the submucosa
    assert LAYERS[1] * wall < depths[1] <= wall  # the muscularis
    assert wall < depths[2] < border  # the fat, but not all of it
    assert depths[3] > border
    masks = [arrays(one)[1] for one in four]
    for mask in masks:
        areas = mask.sum(axis=(1, 2))
        assert areas[areas.argmax()] > 10
        pieces, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        assert np.bincount(pieces.ravel())[1:].max() > 0.9 * mask.sum()
    assert (masks[0] <= masks[1]).all()


def test_the_stage_changes_only_the_depth():
    four = [phantom(stage, 3) for stage in TStage]
    assert all((one.body, one.lesion, one.scan) == (four[0].body, four[0].lesion, four[0].scan) for one in four)
    (ct1, mask1), (ct4, mask4) = arrays(four[0]), arrays(four[3])
    near = ndimage.binary_dilation(mask1 | mask4, np.ones((5, 15, 15)))  # the haze before a deep tumour, and the blur
    assert (ct1[~near] == ct4[~near]).all()
    assert (ct1[near] != ct4[near]).any()


def test_all_other_parameters_vary_and_are_independent_of_the_stage():
    """Each is the same for the four stages of a seed, and varies between seeds."""
    drawn = [phantom(T1, seed, size=64) for seed in range(24)]
    for value in (
        lambda p: p.body.scale, lambda p: p.body.wall_mm, lambda p: p.body.distension, lambda p: p.lesion.length_mm,
        lambda p: p.lesion.bulge_mm, lambda p: p.lesion.enhancement_hu, lambda p: p.scan.noise_hu,
    ):  # fmt: skip
        values = np.array([value(one) for one in drawn])
        assert values.std() > 0.03 * values.mean()
    assert {one.lesion.neighbour for one in drawn} == {"liver", "pancreas", "spleen", "bowel"}
    centres = np.array([one.lesion.centre_mm for one in drawn])
    assert (centres.std(axis=0) > 12).all()


def test_a_t3_keeps_the_fat_plane_and_a_t4_does_not():
    """Before noise and blur: the tissue between tumour and organ, by the masks of the anatomy."""
    for seed in range(4):
        touching = {}
        for stage in (T3, T4):
            one = phantom(stage, seed)
            rng = np.random.default_rng(seed)
            body = draw_body(rng)
            scan = draw_acquisition(PROFILES["A"], rng)
            ct, mask = arrays(one)
            pixel, slice_mm = one.ct.GetSpacing()[0], one.ct.GetSpacing()[2]
            abdomen = build_abdomen(body, ct.shape, (slice_mm, pixel), scan.enhancement, rng)
            touching[stage] = np.count_nonzero(abdomen.organs[one.lesion.neighbour] & mask)
        assert touching[T3] == 0
        assert touching[T4] > 0


def test_the_anatomy_has_realistic_hu():
    rng = np.random.default_rng(0)
    abdomen = build_abdomen(draw_body(rng), (24, 256, 256), (5.0, 1.4), 1.0, rng)
    hu, organs = abdomen.hu, abdomen.organs
    assert 100 < np.median(hu[organs["liver"]]) < 116
    assert 112 < np.median(hu[organs["spleen"]]) < 128
    assert 86 < np.median(hu[organs["pancreas"]]) < 98
    lumen = hu[abdomen.gut & (abdomen.depth < 0)]
    assert ((lumen < -900) | (abs(lumen) < 15)).all()  # gas above water
    x, y, _ = abdomen.places
    assert np.broadcast_to(x, hu.shape)[organs["liver"]].mean() < -40  # on the patient's right
    assert np.broadcast_to(x, hu.shape)[organs["spleen"]].mean() > 60
    bone = hu > 250
    assert np.broadcast_to(y, hu.shape)[bone].mean() > 20  # the spine is at the back
    body = hu > -300
    assert 0.2 < body.mean() < 0.7
    assert (hu[body] == FAT).mean() > 0.1


def test_the_wall_has_its_layers():
    rng = np.random.default_rng(1)
    body = draw_body(rng)
    abdomen = build_abdomen(body, (12, 512, 512), (10.0, 0.7), 1.0, rng)
    share = abdomen.depth / body.wall_mm
    means = [abdomen.hu[abdomen.gut & (share > low) & (share < high)].mean()
             for low, high in zip((0, *LAYERS), LAYERS, strict=False)]  # fmt: skip
    mucosa, submucosa, muscularis, serosa = means
    assert mucosa > muscularis > submucosa
    assert submucosa < 30 < muscularis < serosa < mucosa


# -- the scanner ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROFILES)
def test_a_scan_has_the_parameters_of_its_profile(name):
    one = phantom(T2, 5, name)
    scanner = PROFILES[name]
    sx, sy, sz = one.ct.GetSpacing()
    assert sz == scanner.slice_mm
    assert sx == sy
    assert scanner.field_mm[0] <= sx * 128 <= scanner.field_mm[1]
    assert one.ct.GetDepth() * sz == pytest.approx(COVERAGE_MM, abs=sz)
    lowest, highest = scanner.noise_hu
    assert lowest <= one.scan.noise_hu <= highest


def test_profiles_differ_in_all_parameters():
    assert HELD_OUT in PROFILES
    for attribute in ("kernel", "blur_mm", "noise_hu", "slice_mm", "field_mm", "delay_s"):
        assert len({getattr(one, attribute) for one in PROFILES.values()}) == 3, attribute
    slices = [one.slice_mm for one in PROFILES.values()]
    assert (min(slices), max(slices)) == (1.5, 5.0)


@pytest.mark.parametrize("name", PROFILES)
def test_noise_has_the_drawn_level(name):
    """The standard deviation of a water phantom is that of noise and tissue texture."""
    rng = np.random.default_rng(3)
    scan = draw_acquisition(PROFILES[name], rng)
    seen = simulate_scan(np.zeros((6, 200, 200), dtype=np.float32), scan, 1.4, rng)
    assert seen.std() == pytest.approx(np.hypot(scan.noise_hu, 4.0), rel=0.03)
    sharp = np.abs(np.diff(seen.astype(float), axis=2)).mean() / seen.std()
    assert sharp > 0.2


def test_the_error_for_an_unknown_scanner_lists_the_profiles():
    with pytest.raises(InputError, match="A, B, C"):
        make_phantom(T1, scanner="D")


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_dicom_series_is_read_unchanged(tmp_path):
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
        write_dicom(make_phantom(T2, seed=4, size=64), tmp_path / name)
    for path in sorted((tmp_path / "a" / "ct").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / "ct" / path.name).read_bytes()


@pytest.mark.smoke
def test_the_reader_accepts_both_forms(tmp_path):
    from GTRStagingLib.imaging.geometry import embedded
    from GTRStagingLib.imaging.rois import read_roi
    from GTRStagingLib.imaging.scans import read_scan

    one = phantom(T4)
    write_dicom(one, tmp_path / "d")
    write_nifti(one, tmp_path / "n")
    for ct, roi, segment in (("d/ct", "d/tumour_seg.dcm", "tumour"), ("n/ct.nii.gz", "n/tumour.nii.gz", 1)):
        scan = read_scan(tmp_path / ct)
        assert same_grid(scan.image, one.ct, tolerance=1e-3)
        assert (sitk.GetArrayFromImage(scan.image) == arrays(one)[0]).all()
        placed = embedded(read_roi(tmp_path / roi, segment=segment).onto(scan.image), scan.image)
        assert (sitk.GetArrayFromImage(placed) == arrays(one)[1]).all()


@pytest.mark.parametrize("write", [write_dicom, write_nifti])
def test_a_folder_with_content_is_refused(tmp_path, write):
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


@pytest.mark.parametrize("bad", [{"size": 32}, {"size": 4096}, {"seed": -1}])
def test_invalid_sizes_and_seeds_are_refused(bad):
    with pytest.raises(InputError, match="expected"):
        make_phantom(T1, **bad)


def test_the_command_line_offers_all_profiles():
    assert tuple(PROFILES) == phantom_command.SCANNERS
