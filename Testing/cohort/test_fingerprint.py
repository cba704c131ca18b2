"""Find altered copies of images by content, and no slices of other patients."""

import io
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from PIL import Image

from GTRStagingLib.cohort import fingerprint
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan, read_scan
from GTRStagingLib.phantoms import export
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage


def case(image, **more):
    return Case(case_id=Path(image).name.replace(".", "_") or "x", patient_id="P", image=Path(image), **more)


def of(*cases):
    return list(fingerprint.fingerprints(cases))


def picture(values):
    """Of (y, x) values from 0 to 255."""
    image = sitk.GetImageFromArray(np.rint(values).clip(0, 255).astype(np.uint8)[np.newaxis])
    return fingerprint.picture_of(Scan(MemoryVoxels(image), "windowed", False, "", "PNG"), 0)


@pytest.fixture(scope="module")
def people(shared_data):
    """(y, x) slices of six real people, 0 to 255."""
    slices = [read_scan(shared_data / f"released/case00{n}.png").image[..., 0] for n in range(1, 5)]
    arrays = [sitk.GetArrayFromImage(s).astype(float) for s in slices]
    for path, index in (("ct/ct_3slice_dicom", 1), ("ct/totalseg_example_ct_sm.nii.gz", 15)):
        hu = sitk.GetArrayFromImage(read_scan(shared_data / path).image)[index].astype(float)
        arrays.append((hu.clip(-125, 225) + 125) / 350 * 255)
    return arrays


def test_a_series_and_its_conversions_are_one_image(tmp_path, a_phantom):
    export.write_dicom(a_phantom, tmp_path / "dicom")
    sitk.WriteImage(a_phantom.ct, str(tmp_path / "plain.nii"))
    sitk.WriteImage(sitk.Cast(a_phantom.ct, sitk.sitkFloat32), str(tmp_path / "float.nii.gz"))
    sitk.WriteImage(sitk.Flip(a_phantom.ct, (True, True, False)), str(tmp_path / "flipped.nrrd"), True)
    other = sitk.GetArrayFromImage(a_phantom.ct)
    other[0, 0, 0] += 1
    changed = sitk.GetImageFromArray(other)
    changed.CopyInformation(a_phantom.ct)
    sitk.WriteImage(changed, str(tmp_path / "changed.nii"))
    first, *same, changed = of(
        *(case(tmp_path / name) for name in ("dicom/ct", "plain.nii", "float.nii.gz", "flipped.nrrd", "changed.nii"))
    )
    assert {p.digest for p in same} == {first.digest}
    assert changed.digest != first.digest


def test_a_png_is_its_slice_without_its_neighbours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    for name, level in (("a.png", 0), ("b.png", 9), ("a_-01.png", 1), ("a_+01.png", 2)):
        Image.fromarray(pixels + np.uint8(level)).save(tmp_path / name)
    Image.fromarray(pixels).save(tmp_path / "copy.png", compress_level=0)
    a, copy, b = of(*(case(tmp_path / name) for name in ("a.png", "copy.png", "b.png")))
    assert a.digest == copy.digest != b.digest
    assert (a.picture == copy.picture).all()


def test_the_key_slice_is_the_given_one_or_the_roi_s_largest_or_unknown(tmp_path):
    ct = ct_like(shape=(9, 60, 70))
    mask = np.zeros((9, 60, 70), dtype=np.uint8)
    mask[6, 20:40, 25:45] = mask[5, 20:30, 25:45] = 1
    roi = sitk.GetImageFromArray(mask)
    roi.CopyInformation(ct)
    sitk.WriteImage(ct, str(tmp_path / "ct.nii.gz"))
    sitk.WriteImage(roi, str(tmp_path / "roi.nrrd"))
    given, drawn, unknown, outside, segment = of(
        case(tmp_path / "ct.nii.gz", key_slice=6, roi=tmp_path / "nowhere.nrrd"),
        case(tmp_path / "ct.nii.gz", roi=tmp_path / "roi.nrrd"),
        case(tmp_path / "ct.nii.gz"),
        case(tmp_path / "ct.nii.gz", key_slice=9),
        case(tmp_path / "ct.nii.gz", roi=tmp_path / "roi.nrrd", segment="7"),
    )
    assert (given.picture == drawn.picture).all()
    assert (unknown.picture, unknown.problem) == (None, None)
    assert "Key slice 9" in outside.problem
    assert "Segment '7'" in segment.problem
    assert len({p.digest for p in (given, drawn, unknown, outside, segment)}) == 1


def test_errors_are_reported_as_problems(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no")
    sitk.WriteImage(sitk.Image(32, 32, 4, sitk.sitkInt16) - 1000, str(tmp_path / "air.nii"))
    broken, air = of(case(tmp_path / "broken.nii.gz", key_slice=0), case(tmp_path / "air.nii", key_slice=0))
    assert broken.digest is None
    assert "no NIfTI-1 header" in broken.problem
    assert "has only one value" in air.problem


def test_a_missing_package_is_a_problem_of_its_images_only(tmp_path, a_phantom, monkeypatch):
    """An audit of a mixed cohort goes on without pydicom, and lists what it could not read."""
    export.write_dicom(a_phantom, tmp_path / "dicom")
    sitk.WriteImage(a_phantom.ct, str(tmp_path / "plain.nii"))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    series, plain = of(case(tmp_path / "dicom" / "ct"), case(tmp_path / "plain.nii"))
    assert series.digest is None
    assert series.problem == "Reading this DICOM needs pydicom: pip install 'gtrstaging[dicom]'."
    assert plain.digest is not None


def jpeg(values):
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer)).astype(float)


ALTERED = {
    "noise": lambda v: v + np.random.default_rng(7).normal(0, 0.04 * 255, v.shape),
    "another window": lambda v: (v - 20) / 215 * 255,
    "JPEG": jpeg,
    "shifted": lambda v: np.roll(v, 1, 1),
    "mirrored": lambda v: v[:, ::-1],
    "upside down": lambda v: v[::-1],
    "turned by half": lambda v: v[::-1, ::-1],
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_copy_is_found_and_no_other_patient(people, how):
    pictures = np.stack([picture(v) for v in [*people, *map(ALTERED[how], people)]])
    n = len(people)
    pairs = fingerprint.same_slices(pictures, range(2 * n), range(2 * n))
    assert [(p.first, p.second) for p in pairs] == [(i, i + n) for i in range(n)]


def test_pairs_of_one_patient_or_one_image_are_ignored(people):
    pictures = np.stack([picture(people[0])] * 3)
    assert len(fingerprint.same_slices(pictures, [0, 1, 2], [0, 1, 2])) == 3
    assert fingerprint.same_slices(pictures, [0, 0, 0], [0, 1, 2]) == []
    assert fingerprint.same_slices(pictures, [0, 1, 2], [5, 5, 5]) == []


def test_pairs_are_found_across_blocks(people, monkeypatch):
    pictures = np.stack([picture(v) for v in [*people, *people]])
    whole = fingerprint.same_slices(pictures, range(12), range(12))
    monkeypatch.setattr(fingerprint, "_BLOCK", 5)
    assert fingerprint.same_slices(pictures, range(12), range(12)) == whole
    assert [(p.first, p.second) for p in whole] == [(i, i + 6) for i in range(6)]


@pytest.mark.slow
def test_phantoms_of_different_seeds_are_different_patients():
    """The hardest case: all phantoms share one plan of the body."""
    pictures = []
    for seed in range(900, 912):
        made = make_phantom(TStage(seed % 4), seed=seed)
        pictures.append(fingerprint.picture_of(Scan(MemoryVoxels(made.ct), "HU", True, "", "phantom"), 12))
    assert fingerprint.same_slices(np.stack(pictures), range(12), range(12)) == []
    worst = max(fingerprint.similarity(a, b) for a, b in combinations(pictures, 2))
    assert worst < fingerprint.SAME_SLICE - 0.02


def test_a_phantom_scanned_twice_is_one_slice():
    """The same anatomy with other noise, like a second reconstruction of one scan."""
    made = make_phantom(TStage.T2, seed=77)
    noise = sitk.GetImageFromArray(np.random.default_rng(1).normal(0, 6, made.ct.GetSize()[::-1]).astype(np.float32))
    noise.CopyInformation(made.ct)
    again = sitk.Cast(made.ct, sitk.sitkFloat32) + noise
    a, b = (fingerprint.picture_of(Scan(MemoryVoxels(image), "HU", True, "", "x"), 12) for image in (made.ct, again))
    assert len(fingerprint.same_slices(np.stack([a, b]), [0, 1], [0, 1])) == 1
