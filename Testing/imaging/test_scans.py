"""Read volumes and windowed slices: accepted CTs, and errors with their remedies."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import voxels
from PIL import Image

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import geometry, scans
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan

VOLUMES = ("scan.nii", "scan.nii.gz", "scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd")
HU = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 3 - 100).astype(np.int16)


def a_volume(values: np.ndarray = HU) -> sitk.Image:
    """Oblique, with three different spacings."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-10.5, 20.25, 30.0))
    image.SetDirection((0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6))
    return image


def save(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.smoke
@pytest.mark.parametrize("name", VOLUMES)
def test_volumes_keep_their_axes_and_geometry(tmp_path: Path, name: str) -> None:
    scan = read_scan(save(tmp_path / name, a_volume()))
    assert (voxels(scan.image) == HU).all()
    assert scan.image.GetPixelID() == sitk.sitkInt16
    for corner in ((0, 0, 0), (5, 4, 3)):
        there = a_volume().TransformIndexToPhysicalPoint(corner)
        assert np.allclose(scan.image.TransformIndexToPhysicalPoint(corner), there, atol=1e-4)
    assert (scan.intensity, scan.spacing_known, scan.warnings, scan.key_index) == ("HU", True, (), None)
    assert (
        scan.format == {"nii": "NIfTI", "nrr": "NRRD", "nhd": "NRRD", "mha": "MetaImage", "mhd": "MetaImage"}[name[5:8]]
    )


@pytest.mark.parametrize("name", VOLUMES)
def test_slices_equal_those_of_the_volume(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, a_volume(HU.astype(np.int32)))
    for scan in (read_scan(path), scans.scan_of(a_volume(HU.astype(np.int32)), "the volume")):
        whole = geometry.axial_lps(scan.image)
        assert scan.grid == geometry.grid_of(scan.image)
        n = whole.GetSize()[2]
        for first, last, step in ((0, 0, 1), (1, 3, 2), (0, n - 1, 1), (0, n - 1, n - 1)):
            cut, expected = scan.slices(first, last, step), whole[:, :, first : last + 1 : step]
            assert geometry.same_grid(cut, expected, tolerance=1e-6)
            assert cut.GetPixelID() == expected.GetPixelID() == sitk.sitkInt16
            assert (voxels(cut) == voxels(expected)).all()


def test_slices_have_the_type_of_the_volume(tmp_path: Path) -> None:
    values = HU.astype(np.int32)
    values[0, 0, 0] = 40_000
    scan = read_scan(save(tmp_path / "scan.nrrd", sitk.GetImageFromArray(values)))
    assert scan.slices(2, 3).GetPixelID() == sitk.sitkFloat32  # one type for the whole scan


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices as POSIX has them")
@pytest.mark.parametrize("name", ["scan.nii", "scan.png", "scan"])
def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / f"link-{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"link-{name}", Path("/dev/zero")):
        for read in (read_scan, read_roi):
            with pytest.raises(InputError, match="is a pipe, a device or a socket; expected a file or a folder"):
                read(path)


def test_denormal_cosines_in_a_header_are_accepted(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nhdr", sitk.GetImageFromArray(HU))
    header = path.read_text().replace("(1,0,0) (0,1,0)", "(1,1e-314,0) (-1e-314,1,0)")
    assert "1e-314" in header
    path.write_text(header)
    read = read_scan(path).image
    assert read.TransformPhysicalPointToContinuousIndex((1.0, 2.0, 3.0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (np.int8, sitk.sitkInt16),
        (np.int32, sitk.sitkInt16),
        (np.int64, sitk.sitkInt16),
        (np.float32, sitk.sitkFloat32),
        (np.float64, sitk.sitkFloat32),
    ],
)
def test_types(tmp_path: Path, stored: type, read: int) -> None:
    values = np.clip(HU, -100, 100).astype(stored)
    image = read_scan(save(tmp_path / "scan.nrrd", a_volume(values))).image
    assert image.GetPixelID() == read
    assert (voxels(image) == values).all()


def test_whole_numbers_beyond_int16_become_float(tmp_path: Path) -> None:
    values = HU.astype(np.int32) * 200
    image = read_scan(save(tmp_path / "scan.nrrd", a_volume(values))).image
    assert image.GetPixelID() == sitk.sitkFloat32
    assert (voxels(image) == values).all()


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nii.gz", "scan.mha"])
def test_values_that_are_not_numbers_are_refused_with_their_count(tmp_path: Path, name: str) -> None:
    values = HU.astype(np.float32)
    values[0, 0, 0], values[1, 0, 0], values[1, 0, 1] = np.nan, np.inf, -np.inf
    for read in (read_scan, read_roi):
        with pytest.raises(InputError, match=rf"{name} has NaN .* in 1 and infinite values in 2 of 120 vox"):
            read(save(tmp_path / name, a_volume(values)))


@pytest.mark.parametrize("name", ["scan.nhdr", "scan.mhd"])
def test_the_digest_covers_voxels_kept_in_another_file(tmp_path: Path, name: str) -> None:
    first = read_scan(save(tmp_path / name, a_volume())).digest
    assert read_scan(save(tmp_path / name, a_volume(HU + np.int16(1)))).digest != first


def test_the_digest_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nrrd", a_volume())
    assert read_scan(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_free_text_of_a_header_is_dropped(tmp_path: Path) -> None:
    image = a_volume()
    image.SetMetaData("patient", "Doe^Jane")
    scan = read_scan(save(tmp_path / "scan.nrrd", image))
    assert scan.image.GetMetaDataKeys() == scan.slices(0, 1).GetMetaDataKeys() == ()
    assert str(tmp_path) not in repr(scan)
    assert scan.identifiers == {"InputPath": str(tmp_path / "scan.nrrd")}


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha", "scan.nii"])
def test_one_time_point_is_a_volume_and_several_are_not(tmp_path: Path, name: str) -> None:
    def in_time(n: int) -> sitk.Image:
        return sitk.JoinSeries([sitk.GetImageFromArray(HU)] * n)

    assert (voxels(read_scan(save(tmp_path / name, in_time(1))).image) == HU).all()
    with pytest.raises(InputError, match=r"3 volumes \(4-D\); expected one"):
        read_scan(save(tmp_path / name, in_time(3)))


@pytest.mark.parametrize("name", ["scan.nii", "scan.mha"])
def test_a_flat_image_is_one_slice(tmp_path: Path, name: str) -> None:
    scan = read_scan(save(tmp_path / name, sitk.GetImageFromArray(HU[0])))
    assert (voxels(scan.image) == HU[:1]).all()
    assert scan.warnings[0] == "The file has a single slice without thickness; 1 mm is assumed."


def test_colour_and_vectors_are_refused(tmp_path: Path) -> None:
    vector = sitk.GetImageFromArray(np.stack([HU] * 3, axis=-1), isVector=True)
    with pytest.raises(InputError, match="3 values per voxel"):
        read_scan(save(tmp_path / "scan.nrrd", vector))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="complex numbers"):
        read_scan(save(tmp_path / "scan.nii", sitk.Image(4, 4, 4, sitk.sitkComplexFloat32)))


@pytest.mark.parametrize("values", [HU + np.int16(100), (HU + 100).astype(np.uint16), np.zeros((2, 3, 4), np.uint8)])
def test_an_image_without_negative_values_is_not_a_ct(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(
        InputError, match=r"mr.nii.gz is not in HU: its values reach from 0 to \d+, none below 0; expected air at -1000"
    ):
        read_scan(save(tmp_path / "mr.nii.gz", a_volume(values)))


@pytest.mark.parametrize("name", VOLUMES)
def test_the_wrong_content_under_a_known_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>504 Gateway Time-out</html>")
    with pytest.raises(InputError, match=name):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha", "slice.png"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, name: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, (8, 32, 32)).astype(np.int16)
    path = tmp_path / name
    if name == "slice.png":
        Image.fromarray(noise[0].astype(np.uint8)).save(path)
    else:
        save(path, a_volume(noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(InputError, match=name):
        read_scan(path)


def test_unknown_types(tmp_path: Path) -> None:
    (tmp_path / "report.docx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"report\.docx has no supported format; expected DICOM or a name .* \.nii"):
        read_scan(tmp_path / "report.docx")


def test_series_is_for_dicom(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scan\.nrrd is NRRD; `series` requires DICOM"):
        read_scan(save(tmp_path / "scan.nrrd", a_volume()), series="3")


def nifti(path: Path, *patches: tuple[int, str, float | int]) -> Path:
    """A NIfTI file with fields of its header overwritten: (offset, struct code, value), offsets as in nifti1.h."""
    plain = sitk.GetImageFromArray(HU)
    raw = bytearray(save(path, plain).read_bytes())
    for offset, code, value in patches:
        struct.pack_into(f"<{code}", raw, offset, value)
    path.write_bytes(raw)
    return path


QFORM_CODE, SFORM_CODE, QUATERN_B, SROW_X, SROW_X_Y, SROW_X_OFFSET = 252, 254, 256, 280, 284, 292
DIM_Z, PIXDIM_Z, VOX_OFFSET, XYZT_UNITS = 46, 88, 108, 123


def test_the_patches_leave_a_good_file_good(tmp_path: Path) -> None:
    assert read_scan(nifti(tmp_path / "scan.nii")).warnings == ()


@pytest.mark.parametrize("qform", [0, 1])
def test_a_skewed_sform_is_refused_whether_or_not_there_is_a_qform(tmp_path: Path, qform: int) -> None:
    with pytest.raises(GeometryError, match=r"scan\.nii.*the axes are skewed.*Convert"):
        read_scan(nifti(tmp_path / "scan.nii", (QFORM_CODE, "h", qform), (SROW_X_Y, "f", 0.3)))


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 4), (4, 1)])
@pytest.mark.parametrize("patch", [(SROW_X, "f", 1.0), (SROW_X, "f", -2.0), (SROW_X_OFFSET, "f", 3.0)])
def test_an_sform_that_contradicts_the_qform_is_refused(tmp_path: Path, codes, patch) -> None:
    """Mirrored, stretched or moved: ITK takes the one or the other, by their codes, or a mixture of both."""
    forms = (QFORM_CODE, "h", codes[0]), (SFORM_CODE, "h", codes[1])
    assert read_scan(nifti(tmp_path / "good.nii", *forms)).warnings == ()
    with pytest.raises(GeometryError, match=r"scan\.nii: the voxel positions of its header differ by up to [\d.]+ mm"):
        read_scan(nifti(tmp_path / "scan.nii", *forms, patch))


def test_a_form_with_code_0_is_ignored(tmp_path: Path) -> None:
    path = nifti(tmp_path / "scan.nii", (SFORM_CODE, "h", 0), (SROW_X, "f", 7.0))
    assert read_scan(path).image.GetSpacing() == (1, 1, 1)


def test_metres_are_metres_in_both_forms(tmp_path: Path) -> None:
    image = read_scan(nifti(tmp_path / "scan.nii", (XYZT_UNITS, "b", 1))).image
    assert image.GetSpacing() == pytest.approx((1000, 1000, 1000))


def test_a_quaternion_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"scan\.nii: a spacing is 0 or not a number"):
        read_scan(nifti(tmp_path / "scan.nii", (SFORM_CODE, "h", 0), (QUATERN_B, "f", float("nan"))))


@pytest.mark.parametrize("patch", [(DIM_Z, "h", 0), (DIM_Z, "h", -4), (VOX_OFFSET, "f", 0.0), (VOX_OFFSET, "f", -500.0),
                                   (VOX_OFFSET, "f", float("nan")), (VOX_OFFSET, "f", float("inf"))])  # fmt: skip
def test_invalid_sizes_and_offsets_are_refused(tmp_path: Path, patch) -> None:
    with pytest.raises(InputError, match=r"scan\.nii: sizes .* voxels from byte .*The header is damaged"):
        read_scan(nifti(tmp_path / "scan.nii", patch))


@pytest.mark.parametrize("size", [0.0, float("nan")])
@pytest.mark.parametrize("codes", [0, 1])
def test_an_invalid_spacing_is_refused(tmp_path: Path, size: float, codes: int) -> None:
    path = nifti(tmp_path / "scan.nii", (PIXDIM_Z, "f", size), (QFORM_CODE, "h", codes), (SFORM_CODE, "h", codes))
    with pytest.raises(GeometryError, match=r"scan\.nii.*a spacing is 0 or not a number"):
        read_scan(path)


def test_a_nifti_without_orientation_gives_a_warning(tmp_path: Path) -> None:
    scan = read_scan(nifti(tmp_path / "scan.nii", (QFORM_CODE, "h", 0), (SFORM_CODE, "h", 0)))
    assert scan.warnings == ("The NIfTI header does not state which side is left; the orientation is assumed.",)


def test_the_length_of_a_big_endian_nifti_is_checked(tmp_path: Path) -> None:
    voxel_bytes = HU.astype(">i2").tobytes()
    head = bytearray(352)
    struct.pack_into(">i", head, 0, 348)
    struct.pack_into(">8h", head, 40, 3, 6, 5, 4, 1, 1, 1, 1)
    struct.pack_into(">2h", head, 70, 4, 16)
    struct.pack_into(">8f", head, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into(">f", head, 108, 352)
    head[344:348] = b"n+1\0"
    (tmp_path / "big.nii").write_bytes(head + voxel_bytes)
    assert (voxels(read_scan(tmp_path / "big.nii").image) == HU).all()
    (tmp_path / "big.nii").write_bytes((head + voxel_bytes)[:-2])
    with pytest.raises(InputError, match=r"has 590 bytes; expected 592 by its header\. It is truncated"):
        read_scan(tmp_path / "big.nii")


def test_nifti_2_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "two.nii").write_bytes(struct.pack("<i8s", 540, b"n+2\0\r\n\x1a\n") + bytes(1000))
    with pytest.raises(InputError, match=r"two\.nii has no NIfTI-1 header \(found NIfTI-2\).*Convert"):
        read_scan(tmp_path / "two.nii")


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    raw = bytearray(gzip.compress(nifti(tmp_path / "scan.nii").read_bytes()))
    raw[-6] ^= 0xFF  # its checksum
    (tmp_path / "scan.nii.gz").write_bytes(raw)
    with pytest.raises(InputError, match=r"scan\.nii\.gz is damaged or truncated"):
        read_scan(tmp_path / "scan.nii.gz")


def nrrd(path: Path, directions: str, more: str = "") -> Path:
    space = (
        f"space: left-posterior-superior\nspace directions: {directions}\nspace origin: (0,0,0)\n" if directions else ""
    )
    head = f"NRRD0004\ntype: short\ndimension: 3\n{space}sizes: 6 5 4\nendian: little\n{more}encoding: raw\n\n"
    path.write_bytes(head.encode() + HU.tobytes())
    return path


@pytest.mark.parametrize("directions", ["(1,0,0) (0,1,0) (0.4,0,1)", "(1,0,0) (0,1,0) (0,0,0)"])
def test_skewed_and_flat_nrrd(tmp_path: Path, directions: str) -> None:
    with pytest.raises(GeometryError, match=r"scan\.nrrd: (the axes are skewed \(|a spacing is 0 .*spacing 1 × 1 × 0)"):
        read_scan(nrrd(tmp_path / "scan.nrrd", directions))


def test_an_nrrd_without_space_gives_a_warning(tmp_path: Path) -> None:
    assert read_scan(nrrd(tmp_path / "a.nrrd", "(1,0,0) (0,1,0) (0,0,1)")).warnings == ()
    assert "which side is left" in read_scan(nrrd(tmp_path / "b.nrrd", "", "spacings: 1 2 3\n")).warnings[0]
    with pytest.raises(GeometryError, match=r"c\.nrrd has no spacing"):
        read_scan(nrrd(tmp_path / "c.nrrd", ""))


def grey(seed: int, shape: tuple[int, int] = (9, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.smoke
@pytest.mark.parametrize("channels", [1, 3])
def test_a_windowed_slice(tmp_path: Path, channels: int) -> None:
    pixels = grey(0) if channels == 1 else np.stack([grey(0)] * 3, axis=-1)
    scan = read_scan(png(tmp_path / "case.png", pixels))
    assert (voxels(scan.image) == grey(0)[np.newaxis]).all()
    assert scan.image.GetPixelID() == sitk.sitkUInt8
    assert (scan.intensity, scan.spacing_known, scan.format, scan.key_index) == ("windowed", False, "PNG", 0)


@pytest.mark.parametrize(
    ("neighbours", "order", "key"),
    [(("-01", "+01"), (1, 0, 2), 1), (("-01",), (1, 0), 1), (("+01",), (0, 2), 0)],
)
def test_neighbours_are_found_by_their_suffix(
    tmp_path: Path, neighbours: tuple[str, ...], order: tuple[int, ...], key: int
) -> None:
    path = png(tmp_path / "case.png", grey(0))
    for suffix in neighbours:
        png(tmp_path / f"case_{suffix}.png", grey({"-01": 1, "+01": 2}[suffix]))
    scan = read_scan(path)
    assert (voxels(scan.image) == np.stack([grey(i) for i in order])).all()
    assert scan.key_index == key
    assert scan.image.GetSpacing() == (1, 1, 1)


def test_neighbours_of_another_size_are_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "case.png", grey(0))
    png(tmp_path / "case_+01.png", grey(1, (9, 8)))
    with pytest.raises(InputError, match=r"case_\+01\.png has 8×9 pixels, case\.png 7×9; expected neighbouring"):
        read_scan(path)


def test_a_colour_picture_is_refused(tmp_path: Path) -> None:
    pixels = np.stack([grey(0)] * 3, axis=-1)
    pixels[4, 4, 1] ^= 1
    with pytest.raises(InputError, match=r"case\.png is a colour picture"):
        read_scan(png(tmp_path / "case.png", pixels))


def test_other_depths_and_kinds_of_png_are_refused(tmp_path: Path) -> None:
    png(tmp_path / "deep.png", grey(0).astype(np.uint16) * 200)
    with pytest.raises(InputError, match=r"deep\.png: 16 bits per channel.*expected 8-bit"):
        read_scan(tmp_path / "deep.png")
    Image.fromarray(grey(0)).convert("LA").save(tmp_path / "clear.png")
    with pytest.raises(InputError, match=r"clear\.png: 8 bits per channel, PNG colour type 4"):
        read_scan(tmp_path / "clear.png")
    Image.fromarray(grey(0)).save(tmp_path / "jpeg.png", format="JPEG")
    with pytest.raises(InputError, match=r"jpeg\.png is not a PNG"):
        read_scan(tmp_path / "jpeg.png")


def test_a_picture_too_large_for_a_slice_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "scanned.png", grey(0))
    whole = bytearray(path.read_bytes())
    whole[16:24] = struct.pack(">II", 20000, 10000)
    whole[29:33] = struct.pack(">I", zlib.crc32(whole[12:29]))
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"scanned\.png has 20000×10000 pixels; expected a CT slice"):
        read_scan(path)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are any bytes on Linux only")
@pytest.mark.parametrize("end", [".nrrd", ".png"])
def test_names_that_are_not_utf_8_are_refused(tmp_path: Path, end: str) -> None:
    """In a child process, since ITK would crash."""
    path = tmp_path / os.fsdecode(b"\xd6\xd7" + end.encode())
    path.write_bytes(b"never opened")
    program = (
        "import sys\nfrom pathlib import Path\nfrom GTRStagingLib.errors import InputError\n"
        "from GTRStagingLib.imaging.scans import read_scan\n"
        "try: read_scan(Path(sys.argv[1]))\nexcept InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert rf"\xd6\xd7{end} is not valid UTF-8; expected a path in UTF-8. Rename" in done.stdout


def test_the_published_slices() -> None:
    for number in range(1, 5):
        scan = read_scan(shared(f"released/case00{number}.png"))
        assert scan.image.GetSize() == (512, 512, 1)
        assert scan.intensity == "windowed"


def test_a_real_volume_keeps_its_flipped_axes() -> None:
    scan = read_scan(shared("ct/totalseg_example_ct_sm.nii.gz"))
    assert scan.image.GetSize() == (122, 101, 30)
    assert scan.image.GetDirection() == pytest.approx((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert voxels(scan.image).min() < -900  # air


def test_the_digest_of_a_volume_in_memory_covers_voxels_and_geometry(a_ct):
    held = scans.scan_of(a_ct, "the volume")
    assert held.format == "volume in memory"
    assert held.intensity == "HU"
    assert np.array_equal(sitk.GetArrayViewFromImage(held.image), sitk.GetArrayViewFromImage(a_ct))
    again, moved = sitk.Image(a_ct), sitk.Image(a_ct)
    moved.SetOrigin([o + 1 for o in a_ct.GetOrigin()])
    assert scans.scan_of(again, "another name").digest == held.digest
    assert scans.scan_of(moved, "the volume").digest != held.digest


def test_a_volume_in_memory_is_copied_only_if_necessary(a_ct):
    def address(image):
        return sitk.GetArrayViewFromImage(image).__array_interface__["data"][0]

    assert address(scans.scan_of(a_ct, "the volume").image) == address(a_ct)
    double = scans.scan_of(sitk.Cast(a_ct, sitk.sitkFloat64), "the volume")
    assert double.digest == scans.scan_of(a_ct, "the volume").digest  # of the float32 values
    assert double.slices(2, 3).GetPixelID() == sitk.sitkFloat32
    a_ct.SetMetaData("patient", "Doe^Jane")
    assert scans.scan_of(a_ct, "the volume").image.GetMetaDataKeys() == ()


def test_a_volume_in_memory_that_is_not_a_ct_is_refused_by_its_name(a_ct):
    with pytest.raises(InputError, match="The volume is not in HU"):
        scans.scan_of(sitk.Abs(a_ct), "The volume")
    with pytest.raises(InputError, match="3-D"):
        scans.scan_of(a_ct[:, :, 0], "The volume")
