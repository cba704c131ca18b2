"""Judge whether slices are in HU: what must be read, and what must be refused."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.hounsfield import require_hounsfield
from GTRStagingLib.imaging.keyslice import by_index
from GTRStagingLib.imaging.scans import MemoryVoxels, Scan, read_scan, scan_of
from GTRStagingLib.model.recipe import GTR, RELEASED
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.preprocess import prepare

RNG = np.random.default_rng(0)


def names(slices):
    return [f"Slice {i}" for i in range(len(slices))]


def require(slices):
    require_hounsfield(np.asarray(slices), names(slices))


def refused(slices):
    """Return the error of the first slice, each of which must be refused alone."""
    for one in slices:
        with pytest.raises(InputError, match="is not in HU") as found:
            require(one[None])
    return str(found.value)


def voxels(path):
    scan = read_scan(shared(path))
    return sitk.GetArrayFromImage(scan.slices(0, scan.grid.size[2] - 1)).astype(np.float64)


def a_phantom_by(scanner):
    made = make_phantom(TStage.T3, seed=5, scanner=scanner, size=128)
    return sitk.GetArrayFromImage(made.ct)[::6].astype(np.float64)


@pytest.fixture(scope="module", params=["A", "B", "C"])
def phantom(request):
    return a_phantom_by(request.param)


CTS = ("ct/ct_3slice_dicom", "ct/totalseg_example_ct_sm.nii.gz", "cases/control/ct")


@pytest.fixture(scope="module", params=["A", "B", "C", *CTS])
def hu(request):
    return voxels(request.param) if request.param in CTS else a_phantom_by(request.param)


def corners(hu):
    """Return the pixels outside the circle of reconstruction."""
    y, x = (np.linspace(-1, 1, n) for n in hu.shape[1:])
    return np.broadcast_to(np.hypot(y[:, None], x) > 1, hu.shape)


HARMLESS = {
    "as it is": lambda hu: hu,
    "int16": lambda hu: hu.astype(np.int16),
    "float32": lambda hu: hu.astype(np.float32),
    "padding of -2000": lambda hu: np.where(corners(hu), -2000, hu),
    "padding of -3024": lambda hu: np.where(corners(hu), -3024, hu).astype(np.int16),
    "padding of -32768": lambda hu: np.where(corners(hu), -32768, hu).astype(np.int16),
    "clipped to a window": lambda hu: hu.clip(-160, 240),
    "half the pixels": lambda hu: hu[:, ::2, ::2],
    "one voxel of NaN": lambda hu: np.where(np.arange(hu.size).reshape(hu.shape) == 5, np.nan, hu),
    "one voxel of metal": lambda hu: np.where(np.arange(hu.size).reshape(hu.shape) == 5, 30000, hu),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_every_slice_in_hu_is_read(hu, name):
    for one in HARMLESS[name](hu):
        require(one[None])


@pytest.mark.parametrize(
    ("path", "z", "y", "x", "side"),
    [("ct/ct_3slice_dicom", 2, 150, 235, 120), ("ct/totalseg_example_ct_sm.nii.gz", 20, 20, 25, 50)],
)
def test_a_field_inside_the_abdomen_needs_no_air(path, z, y, x, side):
    inside = voxels(path)[z : z + 1, y : y + side, x : x + side]
    assert inside.min() > -250
    require(inside)
    for wrong in (inside + 1024, inside * 0.1, WRONG["8 bits as int16"](inside)):
        refused(wrong)


WRONG = {
    "8 bits as int16": lambda hu: np.rint((hu.clip(-125, 225) + 125) * 255 / 350).astype(np.int16),
    "8 bits, signed": lambda hu: np.rint((hu.clip(-125, 225) + 125) * 255 / 350).astype(np.int16) - 128,
    "mask": lambda hu: (hu > 0).astype(np.uint8),
    "label map": lambda hu: np.digitize(hu, [-500, 0, 100]).astype(np.int16),
    "0 to 1": lambda hu: (hu.clip(-1000, 1000) + 1000) / 2000,
    "-1 to 1": lambda hu: hu.clip(-1000, 1000) / 1000,
    "mean 0, standard deviation 1": lambda hu: (hu - hu.mean()) / hu.std(),
    "MR": lambda hu: np.interp(hu, [-1000, -200, -100, 0, 60, 120, 1500], [0, 100, 3000, 300, 900, 1500, 100]),
    "MR, 0 to 4095, minus 2048": lambda hu: (
        np.interp(hu, [-1000, -100, 60, 1500], [0, 3000, 1200, 100]) + RNG.rayleigh(20, hu.shape) - 2048
    ),
    "MR, minus 500": lambda hu: np.interp(hu, [-1000, -100, 60, 1500], [0, 3000, 1200, 100]) - 500,
    "inverted": lambda hu: -hu,
    "half": lambda hu: hu / 2,
}


@pytest.mark.parametrize("name", WRONG)
def test_every_slice_of_another_kind_is_refused(hu, name):
    assert "expected air at -1000, fat near -100, muscle and organs at 0 to 200" in refused(WRONG[name](hu))


def names_of(shift, padding):
    """Return the pattern of a shift's size: padding of -2000 that was not shifted looks like air then."""
    return "(1024|1000)" if (shift, padding) == (-1024, -2000) else str(abs(shift))


@pytest.mark.parametrize("shift", [1024, -1024, 1000, 8192, -8192])
@pytest.mark.parametrize("padding", [None, -2000, -30000])
def test_a_shift_is_refused_and_named(phantom, shift, padding):
    shifted = phantom + shift
    if padding is not None:
        shifted = np.where(corners(phantom), padding, shifted)
    message = refused(shifted)
    assert re.search(
        rf"look as if {names_of(shift, padding)} had been {'added' if shift > 0 else 'subtracted'} \(", message
    )


def test_the_message_of_a_shift_gives_the_peaks():
    scan = read_scan(shared("cases/control/ct.nii.gz"))
    shifted = sitk.GetArrayFromImage(scan.slices(3, 3)).astype(np.int16) + 1024
    assert "added (air around 24, soft tissue around 10" in refused(shifted)


@pytest.mark.parametrize(("factor", "words"), [(10, "multiplied by 10"), (0.1, "divided by 10")])
def test_an_error_of_scale_is_refused_and_named(phantom, factor, words):
    assert f"look as if HU had been {words} (soft tissue around" in refused(phantom * factor)


def test_a_double_intercept_of_a_scan_with_constant_air_is_refused():
    hu = voxels("cases/control/ct")
    assert "look as if 1024 had been subtracted" in refused(hu - 1024)


def test_a_case_with_a_lost_intercept_is_refused_by_file_and_by_slice(tmp_path):
    path = shared("cases/lost-intercept/ct.nii.gz")
    with pytest.raises(InputError, match="ct.nii.gz is not in HU: .* 1024 had been added .*soft tissue around 10"):
        read_scan(path)
    image = sitk.ReadImage(str(path), sitk.sitkInt16)
    with pytest.raises(InputError, match="The volume is not in HU: .* 1024 had been added"):
        scan_of(image, "The volume")
    unread = Scan(MemoryVoxels(image), "HU", True, "", "NIfTI")
    for recipe in (GTR, RELEASED):
        with pytest.raises(InputError, match="Slice 2 is not in HU: .* 1024 had been added"):
            prepare(unread, by_index(image, 3), recipe)


def test_a_single_slice_of_another_scale_is_named():
    hu = voxels("ct/ct_3slice_dicom")
    hu[1] += 1024
    with pytest.raises(InputError, match="^Slice 1 is not in HU"):
        require(hu)


def test_the_voxels_outside_the_voting_slices_do_not_count():
    made = make_phantom(TStage.T2, seed=1, size=64).ct
    values = sitk.GetArrayFromImage(made)
    values[:5] += 1024
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(made)
    scan = Scan(MemoryVoxels(image), "HU", True, "", "NIfTI")
    assert prepare(scan, by_index(image, 12), GTR).offsets == (-1, 0, 1)
    with pytest.raises(InputError, match="Slice 4 is not in HU"):
        prepare(scan, by_index(image, 5), GTR)


def test_air_alone_and_padding_alone_are_in_hu():
    air = RNG.normal(-1000, 10, (1, 64, 64))
    require(air)
    require(np.full((1, 64, 64), -1000))
    require(np.full((1, 64, 64), -2000))
    require(np.full((1, 64, 64), np.nan))


def test_of_a_few_voxels_one_must_be_negative():
    require(np.array([[[-1, 5]]]))
    with pytest.raises(InputError, match="its values reach from 0 to 5, none below 0"):
        require(np.array([[[0, 5]]]))
