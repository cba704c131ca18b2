"""Read DICOM CT from small real files: order, geometry, Hounsfield units, and all errors."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import (
    AXIAL,
    COLUMNS,
    CORONAL,
    FEET_FIRST_PRONE,
    OBLIQUE,
    PIXEL_MM,
    ROWS,
    a_series,
    move,
    save,
    say,
    stored,
    voxels,
    write,
)
from pydicom.dataset import Dataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    generate_uid,
)

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import geometry
from GTRStagingLib.imaging.dicom_headers import list_series
from GTRStagingLib.imaging.dicom_pixels import PADDING_HU
from GTRStagingLib.imaging.scans import Scan, read_scan

EXPECTED_HU = np.stack([stored(k).astype(int) - 1024 for k in range(6)])


def test_slices_are_ordered_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    slices = a_series()
    for k, d in enumerate(slices):
        d.InstanceNumber = 6 - k
        save(tmp_path / f"IM{(k * 5 + 3) % 6}", d)
    scan = read_scan(tmp_path)
    assert (voxels(scan.image) == EXPECTED_HU).all()
    assert scan.image.GetPixelID() == sitk.sitkInt16
    assert (scan.format, scan.intensity, scan.spacing_known, scan.warnings) == ("DICOM series", "HU", True, ())


@pytest.mark.smoke
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, FEET_FIRST_PRONE, OBLIQUE])
def test_every_voxel_is_at_its_dicom_position(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    slices = a_series(4, orientation=orientation)
    image = read_scan(write(tmp_path, slices)).image
    hu = voxels(image)
    for k, d in enumerate(slices):
        for row, column in ((0, 0), (3, 10), (11, 15)):
            # PS3.3 C.7.6.2.1.1: the first three cosines are the direction in which the column index grows.
            along = PIXEL_MM[1] * column * np.array(orientation[:3]) + PIXEL_MM[0] * row * np.array(orientation[3:])
            point = np.array(d.ImagePositionPatient, dtype=float) + along
            index = image.TransformPhysicalPointToIndex(point.tolist())
            assert np.allclose(image.TransformIndexToPhysicalPoint(index), point, atol=1e-4)
            assert hu[index[::-1]] == stored(k)[row, column] - 1024


def test_rescale_is_applied_slice_by_slice_and_fractions_survive(tmp_path: Path) -> None:
    slices = a_series(3)
    rules = [(1, -1024), (0.5, -1000.25), (2, 7)]
    for d, rule in zip(slices, rules, strict=True):
        d.RescaleSlope, d.RescaleIntercept = rule
    scan = read_scan(write(tmp_path, slices))
    expected = np.stack([stored(k) * slope + intercept for k, (slope, intercept) in enumerate(rules)])
    assert scan.image.GetPixelID() == sitk.sitkFloat32
    assert (voxels(scan.image) == expected).all()


def test_values_beyond_int16_become_float(tmp_path: Path) -> None:
    slices = a_series(2)
    slices[1].RescaleSlope = 200
    image = read_scan(write(tmp_path, slices)).image
    assert image.GetPixelID() == sitk.sitkFloat32
    assert voxels(image)[1, -1, -1] == (100 + 16 * 11 + 15) * 200 - 1024


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    slices = a_series()
    for d in slices:
        if syntax == ImplicitVRLittleEndian:
            d.file_meta.TransferSyntaxUID = syntax
        else:
            d.compress(syntax, generate_instance_uid=False)
    assert (voxels(read_scan(write(tmp_path, slices)).image) == EXPECTED_HU).all()


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, FEET_FIRST_PRONE, OBLIQUE])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_single_slices_equal_those_of_the_volume(
    tmp_path: Path, orientation: tuple[float, ...], multi_frame: bool
) -> None:
    slices = a_series(orientation=orientation)
    scan = read_scan(write(tmp_path, [enhanced(slices)] if multi_frame else slices))
    whole = geometry.axial_lps(scan.image)
    assert geometry.grid_of(scan.image) == scan.grid
    for first, last, step in ((0, 0, 1), (2, 4, 1), (1, 5, 2), (0, 5, 5), (5, 5, 1)):
        cut, expected = scan.slices(first, last, step), whole[:, :, first : last + 1 : step]
        assert geometry.same_grid(cut, expected, tolerance=1e-9)
        assert cut.GetPixelID() == expected.GetPixelID()
        assert (voxels(cut) == voxels(expected)).all()
    with pytest.raises(GeometryError, match=r"Axial slices 4 to \d+ do not exist; expected slices from 0"):
        scan.slices(4, geometry.axial_size(scan.grid)[2])


@pytest.mark.parametrize("orientation", [AXIAL, FEET_FIRST_PRONE])
def test_a_slice_that_is_not_needed_is_not_decoded(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    whole = geometry.axial_lps(read_scan(write(tmp_path / "whole", a_series(orientation=orientation))).image)
    folder = write(tmp_path / "damaged", a_series(orientation=orientation))
    damaged = folder / ("IM1.dcm" if orientation == AXIAL else "IM4.dcm")  # the second from the feet
    damaged.write_bytes(damaged.read_bytes()[:-100])
    scan = read_scan(folder)
    assert (voxels(scan.slices(2, 5)) == voxels(whole)[2:]).all()
    assert (voxels(scan.slices(0, 2, 2)) == voxels(whole)[[0, 2]]).all()
    for needed in (lambda: scan.slices(0, 1), lambda: scan.slices(1, 5, 4), lambda: scan.image):
        with pytest.raises(InputError, match=rf"{damaged.name}: the pixels cannot be decoded"):
            needed()


def test_slices_have_the_narrowest_type_and_the_values_of_the_volume(tmp_path: Path) -> None:
    slices = a_series()
    slices[4].RescaleSlope = 0.5
    scan = read_scan(write(tmp_path, slices))
    assert scan.image.GetPixelID() == sitk.sitkFloat32
    for first, last, kind in ((0, 3, sitk.sitkInt16), (3, 5, sitk.sitkFloat32), (5, 5, sitk.sitkInt16)):
        cut = scan.slices(first, last)
        assert cut.GetPixelID() == kind
        assert (voxels(cut) == voxels(scan.image)[first : last + 1]).all()


@pytest.mark.smoke
def test_a_missing_slice_is_named_with_its_position(tmp_path: Path) -> None:
    folder = write(tmp_path, a_series())
    (folder / "IM2.dcm").unlink()
    (folder / "IM3.dcm").unlink()
    with pytest.raises(
        GeometryError, match=r"2 slice.* missing.* 2\.5 mm.*IM1\.dcm and IM4\.dcm \(103\.50 to 111\.00 mm"
    ):
        read_scan(folder)


def test_of_three_slices_the_missing_one_is_found_too(tmp_path: Path) -> None:
    folder = write(tmp_path, a_series(4))
    (folder / "IM2.dcm").unlink()
    with pytest.raises(GeometryError, match=r"1 slice.* missing.*IM1\.dcm and IM3\.dcm"):
        read_scan(folder)


def test_a_duplicated_slice_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, a_series())
    (folder / "copy of IM4.dcm").write_bytes((folder / "IM4.dcm").read_bytes())
    with pytest.raises(
        GeometryError, match=r"same position: (IM4\.dcm and copy of IM4|copy of IM4\.dcm and IM4)\.dcm;"
    ):
        read_scan(folder)


def test_two_time_points_without_times_are_duplicates(tmp_path: Path) -> None:
    slices, again = a_series(4), a_series(4)
    for d in again:
        d.SeriesInstanceUID, d.PixelData = slices[0].SeriesInstanceUID, d.PixelData[::-1]
        d.FrameOfReferenceUID, d.StudyInstanceUID = slices[0].FrameOfReferenceUID, slices[0].StudyInstanceUID
    write(tmp_path, slices)
    write(tmp_path, again, name="late{}.dcm")
    with pytest.raises(GeometryError, match=r"the same position.* and 1 more; .*phases"):
        read_scan(tmp_path)


def test_mixed_spacing_names_the_files(tmp_path: Path) -> None:
    slices = a_series()
    for d in slices[3:]:
        move(d, 1.0)
    with pytest.raises(
        GeometryError, match=r"steps of 2\.5 to 3\.5 mm, usually 2\.5 mm, but 3\.5 mm between IM2\.dcm and IM3\.dcm"
    ):
        read_scan(write(tmp_path, slices))


def test_a_drifting_spacing_is_mixed_spacing(tmp_path: Path) -> None:
    slices = a_series(40)
    for k, d in enumerate(slices[20:]):
        move(d, 0.06 * k)
    with pytest.raises(GeometryError, match=r"steps of 2\.5 to 2\.56 mm"):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize(("shift_mm", "accepted"), [(0.08, True), (0.15, False)])
def test_the_tolerance_of_a_step(tmp_path: Path, shift_mm: float, accepted: bool) -> None:
    slices = a_series()
    for d in slices[3:]:
        move(d, shift_mm)
    folder = write(tmp_path, slices)
    if accepted:
        assert read_scan(folder).image.GetSize()[2] == 6
    else:
        with pytest.raises(GeometryError, match="Mixed spacing"):
            read_scan(folder)


def test_positions_rounded_to_a_tenth_are_accepted(tmp_path: Path) -> None:
    slices = a_series(40, step=0.625)
    for d in slices:
        d.ImagePositionPatient = [round(float(x), 1) for x in d.ImagePositionPatient]
    assert read_scan(write(tmp_path, slices)).image.GetSpacing()[2] == pytest.approx(0.625, abs=0.005)


def test_gantry_tilt_is_refused_with_its_angle(tmp_path: Path) -> None:
    slices = a_series()
    for k, d in enumerate(slices):
        move(d, 2.5 * k * np.tan(np.radians(12)), axis=1)
    with pytest.raises(GeometryError, match=r"is tilted by 12\.0° from IM0\.dcm to IM5\.dcm.*dcm2niix"):
        read_scan(write(tmp_path, slices))


def test_a_tilt_of_rounded_orientations_is_accepted(tmp_path: Path) -> None:
    slices = a_series(100)
    for k, d in enumerate(slices):
        move(d, 2.5 * k * np.tan(np.radians(0.05)), axis=1)
    assert read_scan(write(tmp_path, slices)).image.GetSize()[2] == 100


def test_a_slice_shifted_sideways_is_named(tmp_path: Path) -> None:
    slices = a_series()
    move(slices[3], 4.0, axis=0)
    with pytest.raises(GeometryError, match=r"IM3\.dcm is shifted sideways by 4\.00 mm"):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize(
    ("keyword", "value", "what"),
    [
        ("PixelSpacing", [0.75, 0.8], "pixel spacing"),
        ("ImageOrientationPatient", list(CORONAL), "orientation"),
        ("Rows", 11, "matrix size"),
    ],
)
def test_mixed_headers_name_the_odd_file(tmp_path: Path, keyword: str, value: object, what: str) -> None:
    slices = a_series()
    setattr(slices[2], keyword, value)
    slices[2].PixelData = slices[2].PixelData[: slices[2].Rows * COLUMNS * 2]
    with pytest.raises(GeometryError, match=rf"Mixed {what}.* in IM2\.dcm; expected the same"):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_absent_geometry_names_the_file(tmp_path: Path, keyword: str) -> None:
    slices = a_series(3)
    delattr(slices[1], keyword)
    with pytest.raises(GeometryError, match=rf"IM1\.dcm: {keyword} is missing"):
        read_scan(write(tmp_path, slices))


def test_axes_that_are_not_perpendicular_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="perpendicular unit vectors"):
        read_scan(write(tmp_path, a_series(3, orientation=(1, 0, 0, 0.1, 1, 0))))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_absent_rescale_names_the_file(tmp_path: Path, keyword: str) -> None:
    slices = a_series(3)
    delattr(slices[1], keyword)
    with pytest.raises(InputError, match=rf"IM1\.dcm: {keyword} is missing.*Hounsfield"):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("RescaleSlope", "0"), ("RescaleSlope", "1\\2")]
    + [(keyword, text) for keyword in ("RescaleSlope", "RescaleIntercept") for text in ("NaN", "inf", "none")],
)
def test_a_rescale_that_gives_no_hounsfield_units_names_the_file(tmp_path: Path, keyword: str, text: str) -> None:
    slices = a_series(3)
    say(slices[1], keyword, text)
    shown = re.escape(text.replace("\\", "/"))
    with pytest.raises(InputError, match=rf"IM1\.dcm: {keyword} is {shown}; expected a finite number"):
        read_scan(write(tmp_path, slices))


def test_an_intercept_of_0_is_a_number(tmp_path: Path) -> None:
    slices = a_series()
    for d in slices:
        d.RescaleIntercept = 0
    assert (voxels(read_scan(write(tmp_path, slices)).image) == EXPECTED_HU + 1024).all()


@pytest.mark.parametrize("unit", ["US", "", "hu", "Hounsfield"])
def test_a_missing_unit_and_other_spellings_are_taken_as_hu(tmp_path: Path, unit: str) -> None:
    slices = a_series()
    for d in slices:
        d.RescaleType = unit
    assert (voxels(read_scan(write(tmp_path, slices)).image) == EXPECTED_HU).all()


def test_another_unit_than_hu_is_refused(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        d.RescaleType = "MGML"
    with pytest.raises(InputError, match="values are in MGML; expected HU"):
        read_scan(write(tmp_path, slices))


def test_rgb_is_refused(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        d.SamplesPerPixel, d.PhotometricInterpretation, d.PlanarConfiguration = 3, "RGB", 0
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 8, 8, 7, 0
        d.PixelData = bytes(ROWS * COLUMNS * 3)
    with pytest.raises(InputError, match=r"IM0\.dcm: 3 value.*RGB; expected 1, MONOCHROME2"):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_truncated_pixels_name_the_file(tmp_path: Path, syntax: str | None) -> None:
    slices = a_series(3)
    if syntax:
        slices[1].compress(syntax, generate_instance_uid=False)
    folder = write(tmp_path, slices)
    whole = (folder / "IM1.dcm").read_bytes()
    (folder / "IM1.dcm").write_bytes(whole[:-100])
    with pytest.raises(InputError, match=r"IM1\.dcm: the pixels cannot be decoded"):
        _ = read_scan(folder).image


@pytest.mark.parametrize("length", [0, 100, 400])
def test_a_file_truncated_in_its_header_is_not_skipped(tmp_path: Path, length: int) -> None:
    folder = write(tmp_path, a_series(3))
    (folder / "IM2.dcm").write_bytes((folder / "IM2.dcm").read_bytes()[:length])
    with pytest.raises(InputError, match=r"IM2\.dcm"):
        read_scan(folder)


def test_other_files_and_sub_folders(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path / "a", slices[:3])
    write(tmp_path / "b" / "c", slices[3:])
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"an index of these files")
    assert (voxels(read_scan(tmp_path).image) == EXPECTED_HU).all()


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.write_bytes({"no preamble": whole[132:], "damaged": whole[:128] + b"DIXM" + whole[132:]}[how])


@pytest.mark.parametrize("end", ["IM0", "IM5"])
def test_a_slice_without_a_preamble_is_a_slice(tmp_path: Path, end: str) -> None:
    folder = write(tmp_path, a_series(), name="IM{}")
    damage(folder / end, "no preamble")
    scan = read_scan(folder)
    assert (voxels(scan.image) == EXPECTED_HU).all()
    assert scan.warnings == ()
    assert (voxels(read_scan(folder / end).image) == EXPECTED_HU[[int(end[-1])]]).all()


def test_a_slice_without_a_preamble_may_have_a_short_first_group(tmp_path: Path) -> None:
    slices = a_series()
    for d in slices:
        for element in list(d.group_dataset(0x0008)):
            if element.keyword not in ("SOPClassUID", "SOPInstanceUID", "Modality"):
                del d[element.tag]
        d.SOPInstanceUID = "1.2.3"
        d.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    folder = write(tmp_path, slices, name="IM{}")
    content = (folder / "IM5").read_bytes()
    (folder / "IM5").write_bytes(content[content.index(b"\x08\x00\x16\x00") :])
    assert (voxels(read_scan(folder).image) == EXPECTED_HU).all()


@pytest.mark.parametrize("end", ["IM0", "IM5"])
def test_a_damaged_end_of_a_scan_is_an_error(tmp_path: Path, end: str) -> None:
    folder = write(tmp_path, a_series(), name="IM{}")
    damage(folder / end, "damaged")
    with pytest.raises(InputError, match=rf"{end} \(\d+ bytes\) is not a DICOM file; expected DICOM like the files"):
        read_scan(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [("NOTES", b"a text of the export"), ("tumour.nrrd", b"NRRD0004\0"), ("mask.nii.gz", b"\x1f\0")],
)
def test_other_data_beside_slices_is_left_out(tmp_path: Path, name: str, content: bytes) -> None:
    folder = write(tmp_path, a_series())
    (folder / name).write_bytes(content)
    assert read_scan(folder).warnings == ("Left out: 1 file that is not DICOM.",)


def test_an_empty_file_among_slices_is_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", a_series(), name="IM{}")
    (folder / "IM5").write_bytes(b"")
    with pytest.raises(InputError, match=r"IM5 \(0 bytes\) is not a DICOM file; expected DICOM like the files"):
        read_scan(folder)


def test_an_empty_file_elsewhere_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a", a_series())
    (tmp_path / "done").write_bytes(b"")
    assert read_scan(tmp_path).warnings == ("Left out: 1 file that is not DICOM.",)


@pytest.mark.parametrize("name", ["DICOMDIR", ".DS_Store", "Thumbs.db", "readme.TXT", "viewer.exe", "._IM0.dcm"])
@pytest.mark.parametrize("content", [b"", b"something else than a slice"])
def test_files_that_are_not_slices_by_their_names_are_not_counted(tmp_path: Path, name: str, content: bytes) -> None:
    folder = write(tmp_path, a_series())
    (folder / name).write_bytes(content)
    assert read_scan(folder).warnings == ()


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
def test_entries_that_are_not_files_are_ignored(tmp_path: Path) -> None:
    folder = write(tmp_path, a_series())
    (folder / "link.dcm").symlink_to(tmp_path / "gone")
    (folder / "loop.dcm").symlink_to(folder / "loop.dcm")
    os.mkfifo(folder / "pipe.dcm")
    scan = read_scan(folder)
    assert (voxels(scan.image) == EXPECTED_HU).all()
    assert scan.warnings == ()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are any bytes on Linux only")
@pytest.mark.parametrize("given", ["folder", "slice within"])
def test_names_that_are_not_utf_8_are_refused(tmp_path: Path, given: str) -> None:
    """In a child process, since ITK would crash."""
    bad = os.fsdecode(b"\xd6\xd7")  # "ends" in GBK
    folder = write(tmp_path / (bad if given == "folder" else "scan"), a_series(2), name="IM{}")
    (folder / "IM1").rename(folder / bad)
    program = (
        "import sys\nfrom pathlib import Path\nfrom GTRStagingLib.errors import InputError\n"
        "from GTRStagingLib.imaging.scans import read_scan\n"
        "try: read_scan(Path(sys.argv[1]))\nexcept InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert r"\xd6\xd7 is not valid UTF-8; expected a path in UTF-8. Rename" in done.stdout


def test_mr_is_not_ct(tmp_path: Path) -> None:
    slices = a_series(4)
    for d in slices:
        d.Modality, d.SOPClassUID = "MR", MRImageStorage
    with pytest.raises(InputError, match=r"No CT images; found MR \(4 file"):
        read_scan(write(tmp_path, slices))
    with pytest.raises(InputError, match=r"No CT images; found MR \(1 file"):
        read_scan(tmp_path / "IM0.dcm")


def test_localizers_are_left_out_and_reported(tmp_path: Path) -> None:
    slices = a_series()
    scout = a_series(1)[0]
    scout.SeriesInstanceUID = slices[0].SeriesInstanceUID
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scan = read_scan(write(tmp_path, [*slices, scout]))
    assert scan.image.GetSize()[2] == 6
    assert scan.warnings == ("Left out: 1 file of CT localizer.",)


@pytest.fixture
def two_series(tmp_path: Path) -> tuple[Path, str, str]:
    """Arterial (number 2, 3 slices) and portal venous (number 3, 4 slices) with their UIDs."""
    arterial, portal = a_series(3), a_series(4)
    for d in arterial:
        d.SeriesNumber, d.SeriesDescription, d.SeriesInstanceUID = 2, "arterial", "1.2.826.0.1.77"
    for d in portal:
        d.SeriesInstanceUID = "1.2.826.0.1.78"
    write(tmp_path, arterial, name="a{}")
    write(tmp_path, portal, name="p{}")
    return tmp_path, "1.2.826.0.1.77", "1.2.826.0.1.78"


def test_several_series_must_be_chosen_from(two_series: tuple[Path, str, str]) -> None:
    folder, first, second = two_series
    with pytest.raises(InputError, match=r"2 CT series; expected one.*`series`") as caught:
        read_scan(folder)
    assert "number 2: 3 CT slices, 2.5 mm apart, kernel B30f, no contrast agent stated" in str(caught.value)
    assert "number 3: 4 CT slices" in str(caught.value)
    assert f"2: 'arterial', UID {first}" in caught.value.details
    assert f"3: 'portal venous', UID {second}" in caught.value.details
    assert not any(secret in str(caught.value) for secret in (first, second, "arterial"))
    assert [(s.uid, s.number, s.modality, s.n_slices) for s in list_series(folder)] == [
        (first, 2, "CT", 3),
        (second, 3, "CT", 4),
    ]


@pytest.mark.parametrize("choice", ["1.2.826.0.1.78", "3", ".78", "26.0.1.78"])
def test_a_series_is_chosen_by_uid_number_or_suffix(two_series: tuple[Path, str, str], choice: str) -> None:
    scan = read_scan(two_series[0], series=choice)
    assert scan.image.GetSize()[2] == 4
    assert scan.identifiers["SeriesInstanceUID"] == two_series[2]


@pytest.mark.parametrize("number", ["8", "78", "1.78", "7"])
def test_a_number_that_is_not_there_is_not_the_end_of_a_uid(two_series: tuple[Path, str, str], number: str) -> None:
    with pytest.raises(InputError, match=f"`series` {number} fits no CT series"):
        read_scan(two_series[0], series=number)


def test_a_choice_of_series_that_fits_none_or_several(two_series: tuple[Path, str, str]) -> None:
    with pytest.raises(InputError, match="`series` 9 fits no CT series"):
        read_scan(two_series[0], series="9")
    for path in two_series[0].iterdir():
        d = pydicom.dcmread(path)
        d.SeriesNumber = 5
        d.save_as(path)
    with pytest.raises(InputError, match="`series` 5 fits 2 CT series"):
        read_scan(two_series[0], series="5")


def test_a_single_file_is_one_slice_and_says_so(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path, a_series()) / "IM2.dcm")
    assert scan.image.GetSpacing() == pytest.approx((0.5, 0.75, 2.5))
    assert (voxels(scan.image) == EXPECTED_HU[[2]]).all()
    assert "folder" in scan.warnings[0]


def test_slices_further_apart_than_the_header_says_are_reported(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path, a_series(6)[::2]))  # every second slice: an even stack
    assert scan.image.GetSpacing()[2] == pytest.approx(5)
    assert scan.warnings == ("Slices are 5 mm apart, but 2.5 mm thick by the header; slices may be missing.",)


@pytest.mark.parametrize("keyword", ["SeriesNumber", "NumberOfFrames", "SliceThickness"])
def test_invalid_numbers_are_named(tmp_path: Path, keyword: str) -> None:
    slices = a_series()
    for d in slices:
        say(d, keyword, "four")
    with pytest.raises(InputError, match=f"{keyword} is .*expected"):
        read_scan(write(tmp_path, slices))


def test_slices_without_thickness_have_the_spacing_of_their_positions(tmp_path: Path) -> None:
    slices = a_series()
    for d in slices:
        del d.SliceThickness
    scan = read_scan(write(tmp_path, slices))
    assert scan.image.GetSpacing()[2] == pytest.approx(2.5)
    assert scan.warnings == ()


def test_the_digest_is_of_the_content_not_of_the_names(tmp_path: Path) -> None:
    slices = a_series()
    first = read_scan(write(tmp_path / "a", slices)).digest
    assert read_scan(write(tmp_path / "b", slices, name="z{}")).digest == first
    assert read_scan(write(tmp_path / "c", slices[::-1])).digest == first
    slices[3].add_new("ImageComments", "LT", "re-exported")
    assert read_scan(write(tmp_path / "d", slices)).digest != first
    del slices[3].ImageComments
    slices[3].SOPInstanceUID = generate_uid()
    assert read_scan(write(tmp_path / "e", slices)).digest != first


def test_the_digest_of_what_was_used_is_of_its_voxels_too(tmp_path: Path) -> None:
    slices = a_series()
    scan = read_scan(write(tmp_path / "a", slices))
    slices[3].PixelData = slices[4].PixelData
    other = read_scan(write(tmp_path / "b", slices))
    assert other.digest == scan.digest  # same size and headers; pixels are not read

    def used(of: Scan, first: int, offsets: tuple[int, ...] = (-1, 0, 1)) -> str:
        return of.digest_with(of.slices(first, first + 2), offsets)

    assert used(other, 0) == used(scan, 0)
    assert used(other, 1) != used(scan, 1)
    assert len({used(scan, 0), used(scan, 1), used(scan, 0, (0, 1, 2)), scan.digest}) == 4


def test_identifiers_stay_among_the_identifiers(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path, a_series()))
    assert scan.acquisition["ConvolutionKernel"] == "B30f"
    assert scan.acquisition["ImageType"] == "ORIGINAL/PRIMARY/AXIAL"
    assert scan.identifiers["PatientName"] == "Doe^Jane"
    assert scan.identifiers["InputPath"] == str(tmp_path)
    for secret in ("Doe", "4711", "1950", "ACC-9", "20240102", str(tmp_path), "2.25", "portal"):
        assert secret not in repr(scan)


def test_a_number_with_several_values_is_kept_as_text(tmp_path: Path) -> None:
    slices = a_series(2)
    for d in slices:
        say(d, "KVP", "120\\80")
    assert read_scan(write(tmp_path, slices)).acquisition["KVP"] == "120/80"


def test_the_protocol_of_the_contrast_agent_is_read_without_its_free_text(tmp_path: Path) -> None:
    slices = a_series()
    for d in slices:
        d.ContrastBolusAgent, d.ContrastBolusVolume, d.ContrastFlowRate = "Jane's bottle", 80.5, [3.0, 2.5]
        d.SingleCollimationWidth, d.TotalCollimationWidth = 0.625, 40.0
    found = read_scan(write(tmp_path, slices)).acquisition
    assert (found["ContrastBolusVolume"], found["ContrastFlowRate"]) == ("80.5", "3.0/2.5")
    assert (found["SingleCollimationWidth"], found["TotalCollimationWidth"]) == ("0.625", "40.0")
    assert "ContrastBolusAgent" not in found


def enhanced(slices: list[Dataset]) -> Dataset:
    return highdicom.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 4, generate_uid(), 1)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_multi_frame_reads_as_its_series_does(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    slices = a_series(orientation=orientation)
    slices[2].RescaleSlope = 0.5
    series = read_scan(write(tmp_path / "series", slices))
    one = save(tmp_path / "one.dcm", enhanced([slices[i] for i in (4, 0, 5, 2, 1, 3)]))
    scan = read_scan(one)
    assert scan.format == "DICOM multi-frame"
    assert (voxels(scan.image) == voxels(series.image)).all()
    assert np.allclose(scan.image.GetOrigin(), series.image.GetOrigin())
    assert np.allclose(scan.image.GetDirection(), series.image.GetDirection())
    assert np.allclose(scan.image.GetSpacing(), series.image.GetSpacing())


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_the_frame_of_reference(tmp_path: Path, multi_frame: bool, named: bool) -> None:
    slices = a_series()
    uid = slices[0].FrameOfReferenceUID if named else None
    written = [enhanced(slices)] if multi_frame else slices
    for d in written:
        d.FrameOfReferenceUID = uid
    scan = read_scan(write(tmp_path, written))
    assert scan.frame_of_reference == uid
    assert str(uid) not in (*scan.acquisition.values(), *scan.identifiers.values())


def test_multi_frame_alone_in_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "one", enhanced(a_series()))
    assert (voxels(read_scan(tmp_path).image) == EXPECTED_HU).all()


def test_multi_frame_gaps_name_the_frames(tmp_path: Path) -> None:
    slices = a_series()
    with pytest.raises(GeometryError, match=r"1 slice.* missing.*frame 3 and frame 4"):
        read_scan(save(tmp_path / "one.dcm", enhanced([slices[i] for i in (0, 1, 2, 4, 5)])))


@pytest.mark.parametrize("found", [0, 4, 7])
def test_multi_frame_needs_a_position_for_each_frame(tmp_path: Path, found: int) -> None:
    one = enhanced(a_series())
    frames = list(one.PerFrameFunctionalGroupsSequence)
    one.PerFrameFunctionalGroupsSequence = (frames + frames)[:found]
    with pytest.raises(GeometryError, match=rf"one\.dcm: 6 frames, but {found} positions; expected one position"):
        read_scan(save(tmp_path / "one.dcm", one))


def test_multi_frame_without_shared_groups(tmp_path: Path) -> None:
    one = enhanced(a_series())
    for frame in one.PerFrameFunctionalGroupsSequence:
        frame.update(one.SharedFunctionalGroupsSequence[0])
    del one.SharedFunctionalGroupsSequence
    assert (voxels(read_scan(save(tmp_path / "one.dcm", one)).image) == EXPECTED_HU).all()


@pytest.mark.parametrize("shared_groups", ["absent", "empty"])
def test_multi_frame_with_missing_shared_values(tmp_path: Path, shared_groups: str) -> None:
    one = enhanced(a_series())
    one.SharedFunctionalGroupsSequence = []
    if shared_groups == "absent":
        del one.SharedFunctionalGroupsSequence
    with pytest.raises(InputError, match="frame 1: .*expected"):
        read_scan(save(tmp_path / "one.dcm", one))


def test_truncated_multi_frame(tmp_path: Path) -> None:
    one = save(tmp_path / "one.dcm", enhanced(a_series()))
    one.write_bytes(one.read_bytes()[:-300])
    scan = read_scan(one)
    for needed in (lambda: scan.slices(0, 0), lambda: scan.slices(5, 5), lambda: scan.image):
        with pytest.raises(
            InputError, match=r"one\.dcm: the pixels cannot be decoded: PixelData has 2004 .* need 2304"
        ):
            needed()


def test_multi_frame_without_positions_has_no_geometry(tmp_path: Path) -> None:
    d = a_series(1)[0]
    d.SOPClassUID, d.NumberOfFrames = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, 3
    d.PixelData = d.PixelData * 3
    with pytest.raises(GeometryError, match=r"one\.dcm: 3 frames without positions"):
        read_scan(save(tmp_path / "one.dcm", d))


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    for name, reason in (("gone", "No such file"), ("link", "No such file"), ("file/x", "Not a directory")):
        with pytest.raises(InputError, match=reason):
            read_scan(tmp_path / name)
    with pytest.raises(InputError, match="found no DICOM files"):
        read_scan(tmp_path / "empty")


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
@pytest.mark.parametrize(
    ("locked", "mode", "named"),
    [(".", 0, "scan"), ("sub", 0, "sub"), ("sub", 0o444, "x0.dcm"), ("IM1.dcm", 0, "IM1.dcm")],
)
def test_without_the_right_to_read(tmp_path: Path, locked: str, mode: int, named: str) -> None:
    folder = write(tmp_path / "scan", a_series(3))
    write(folder / "sub", a_series(1), name="x{}.dcm")
    for private in (tmp_path, *tmp_path.parents):  # pytest's own folders are closed to other users
        if private.stat().st_uid == os.geteuid() and private.is_relative_to(tempfile.gettempdir()):
            private.chmod(private.stat().st_mode | 0o055)
    (folder / locked).chmod(mode)
    program = (
        "import os, sys\nfrom pathlib import Path\nimport pydicom\n"
        "from GTRStagingLib.errors import InputError\nfrom GTRStagingLib.imaging.scans import read_scan\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"  # root ignores permissions
        "try: read_scan(Path(sys.argv[1]))\nexcept InputError as error: sys.exit(f'refused: {error}')"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    (folder / locked).chmod(0o755)
    assert done.stderr.startswith("refused:")
    assert f"{named}: Permission denied" in done.stderr


def test_without_pydicom_the_remedy_is_named(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nsys.modules['pydicom'] = None\n"  # as if it were not installed
        "from GTRStagingLib.imaging.scans import read_scan\nread_scan(Path(sys.argv[1]))"
    )
    folder = write(tmp_path, a_series(1))
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert "MissingDependencyError: Reading this DICOM needs pydicom: pip install 'gtrstaging[dicom]'" in done.stderr


def test_a_real_ct() -> None:
    scan = read_scan(shared("ct/ct_3slice_dicom"))
    files = [pydicom.dcmread(f) for f in sorted(shared("ct/ct_3slice_dicom").glob("*.dcm"))]
    files.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    stored_values = np.stack([d.pixel_array.astype(int) for d in files])
    padding = stored_values == files[0].PixelPaddingValue
    assert padding.mean() > 0.1
    expected = np.where(padding, PADDING_HU, stored_values + int(files[0].RescaleIntercept))
    assert (voxels(scan.image) == expected).all()
    assert scan.image.GetOrigin() == pytest.approx([float(x) for x in files[0].ImagePositionPatient])
    assert scan.image.GetSpacing() == pytest.approx((0.810547, 0.810547, 1))
