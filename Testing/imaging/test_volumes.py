"""Read volumes: the same as ITK for valid files, and a refusal where ITK accepts or alters damaged ones."""

import bz2
import gzip
import io
import itertools
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from PIL import Image

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import stored
from GTRStagingLib.imaging.geometry import axial_lps
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.imaging.volumes import read_volume
from GTRStagingLib.tables.case_files import file_stats, input_files

KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
HU = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 3 - 100).astype(np.int16)
OBLIQUE = (0.0, -0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
    "space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)\nendian: little\nencoding: raw\nspace origin: (1,2,3)\n"
)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 0.5 0.75 2.5\nDimSize = 6 5 4\n"
    "ElementType = MET_SHORT\n"
)


def an_image(values: np.ndarray = HU, direction: tuple[float, ...] = OBLIQUE, *, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(values, isVector=vector)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-10.5, 20.25, 30.0))
    image.SetDirection(direction)
    return image


def nrrd_file(path: Path, text: str = NRRD, data: bytes = HU.tobytes()) -> Path:
    path.write_bytes(text.encode() + b"\n" + data)
    return path


def meta_file(path: Path, text: str = META, data: bytes = HU.tobytes(), *, where: str = "LOCAL") -> Path:
    path.write_bytes(text.encode() + f"ElementDataFile = {where}\n".encode() + data)
    return path


def values_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_volume(path)[0])


def require_same(path: Path) -> None:
    """ITK and this library read the same voxels of the same type, at the same positions."""
    ours, theirs = read_volume(path)[0], sitk.ReadImage(str(path))
    assert ours.GetPixelIDTypeAsString() == theirs.GetPixelIDTypeAsString()
    assert np.array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(theirs))
    assert np.allclose(ours.GetSpacing(), theirs.GetSpacing(), rtol=1e-6)
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-5)
    assert np.allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-6)


# -- the same as ITK ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_voxel_type_is_read_as_itk_reads_it(tmp_path: Path, name: str, compressed: bool) -> None:
    for kind in KINDS:
        type_ = np.dtype(kind)
        low, high = (-1e6, 1e6) if type_.kind == "f" else (np.iinfo(type_).min, np.iinfo(type_).max)
        values = np.linspace(low / 2, high / 2, 120).reshape(4, 5, 6).astype(type_)
        sitk.WriteImage(an_image(values), str(tmp_path / name), compressed)
        require_same(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_every_orientation_is_read_as_itk_reads_it(tmp_path: Path, name: str) -> None:
    turned = np.reshape(OBLIQUE, (3, 3))
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        for axes in (np.eye(3), turned):
            direction = tuple((axes[:, order] * signs).ravel().tolist())
            sitk.WriteImage(an_image(direction=direction), str(tmp_path / name))
            require_same(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_vectors_are_read_as_itk_reads_them(tmp_path: Path, name: str) -> None:
    values = np.arange(240, dtype=np.uint8).reshape(4, 5, 6, 2)
    sitk.WriteImage(an_image(values, vector=True), str(tmp_path / name))
    require_same(tmp_path / name)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (2.0, -1024.0), (0.25, 3.5), (1.0, -1024.0)])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_scaled_nifti_is_read_as_nibabel_reads_it(tmp_path: Path, kind: type, slope: float, intercept: float) -> None:
    values = np.arange(120).reshape(6, 5, 4).astype(kind)
    image = nibabel.Nifti1Image(values, np.diag([-0.5, -0.75, 2.5, 1]))
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, tmp_path / "a.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    struct.pack_into("<2f", raw, 112, slope, intercept)
    (tmp_path / "a.nii").write_bytes(raw)
    assert np.allclose(values_of(tmp_path / "a.nii").T, nibabel.load(tmp_path / "a.nii").get_fdata(), rtol=1e-6)


def test_gzip_nifti_of_several_members_or_with_a_long_name_is_read(tmp_path: Path) -> None:
    sitk.WriteImage(an_image(), str(tmp_path / "a.nii"))
    whole = (tmp_path / "a.nii").read_bytes()
    named = io.BytesIO()
    with gzip.GzipFile("n" * 3000, "wb", fileobj=named) as file:
        file.write(whole)
    in_small_parts = b"".join(gzip.compress(part) for part in (b"", whole[:100], whole[100:]))
    for content in (named.getvalue(), in_small_parts):
        (tmp_path / "b.nii.gz").write_bytes(content)
        assert (values_of(tmp_path / "b.nii.gz") == HU).all()
    (tmp_path / "b.nii.gz").write_bytes(in_small_parts[:60])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_volume(tmp_path / "b.nii.gz")


def test_a_qfac_of_0_is_1_as_nifti_defines(tmp_path: Path) -> None:
    sitk.WriteImage(an_image(direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)), str(tmp_path / "a.nii"))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    assert struct.unpack("<f", raw[76:80])[0] == 1
    raw[76:80] = bytes(4)
    (tmp_path / "b.nii").write_bytes(raw)
    changed, original = (read_volume(tmp_path / name)[0] for name in ("b.nii", "a.nii"))
    assert changed.GetDirection() == original.GetDirection()
    assert changed.GetOrigin() == original.GetOrigin()


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "left-anterior-superior", "LAS",
                                   "left-posterior-superior", "LPS"])  # fmt: skip
def test_spaces_of_nrrd_are_read_as_itk_reads_them(tmp_path: Path, space: str) -> None:
    path = nrrd_file(tmp_path / "a.nrrd", NRRD.replace("left-posterior-superior", space))
    require_same(path)
    assert read_volume(path)[1] == ()


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_encodings_of_nrrd_are_read_as_pynrrd_writes_them(tmp_path: Path, encoding: str) -> None:
    header = {"space": "LPS", "space directions": np.diag([0.5, 0.75, 2.5]), "space origin": [1, 2, 3],
              "encoding": encoding}  # fmt: skip
    nrrd.write(str(tmp_path / "a.nrrd"), HU, header, index_order="C")
    assert (values_of(tmp_path / "a.nrrd") == HU).all()
    nrrd.write(str(tmp_path / "b.nhdr"), HU, header, index_order="C", detached_header=True)
    assert (values_of(tmp_path / "b.nhdr") == HU).all()


@pytest.mark.parametrize("big", [False, True])
def test_byte_orders(tmp_path: Path, big: bool) -> None:
    data = HU.astype(">i2" if big else "<i2").tobytes()
    one = nrrd_file(tmp_path / "a.nrrd", NRRD.replace("little", "big" if big else "little"), data)
    two = meta_file(tmp_path / "a.mha", META.replace("MSB = False", f"MSB = {big}"), data)
    for path in (one, two):
        assert (values_of(path) == HU).all()
        require_same(path)


def test_keys_of_segments_are_kept_in_any_script(tmp_path: Path) -> None:
    labels = (HU > 100).astype(np.uint8)
    text = NRRD.replace("short", "uchar") + "Segment0_Name:=胃癌: T3\nSegment0_LabelValue:=1\n"
    path = nrrd_file(tmp_path / "a.seg.nrrd", text, labels.tobytes())
    assert read_volume(path)[0].GetMetaData("Segment0_Name") == "胃癌: T3"
    assert read_roi(path).segment == "胃癌: T3"


@pytest.mark.parametrize("names", [("Rotation", "Position"), ("Orientation", "Origin"), ("TransformMatrix", "Offset")])
def test_the_other_names_of_metaimage_fields(tmp_path: Path, names: tuple[str, str]) -> None:
    path = meta_file(tmp_path / "a.mha", META.replace("TransformMatrix", names[0]).replace("Offset", names[1]))
    assert read_volume(path)[0].GetOrigin() == (1, 2, 3)
    require_same(path)


def test_a_header_of_the_data_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(7) + HU.tobytes())
    for size in ("7", "-1"):
        path = meta_file(tmp_path / "a.mhd", META + f"HeaderSize = {size}\n", b"", where="a.raw")
        assert (values_of(path) == HU).all()
        path = nrrd_file(tmp_path / "a.nhdr", NRRD + f"byte skip: {size}\ndata file: a.raw\n", b"")
        assert (values_of(path) == HU).all()


@pytest.mark.parametrize("listed", ["LIST\ns1.raw\ns2.raw\ns3.raw\ns4.raw", "s%d.raw 1 4 1"])
def test_lists_and_patterns_of_data_files(tmp_path: Path, listed: str) -> None:
    for index, plane in enumerate(HU, 1):
        (tmp_path / f"s{index}.raw").write_bytes(plane.tobytes())
    one = meta_file(tmp_path / "a.mhd", data=b"", where=listed)
    two = nrrd_file(tmp_path / "a.nhdr", NRRD + f"data file: {listed}", b"")
    for path in (one, two):
        assert (values_of(path) == HU).all()
        assert len(input_files(path)) == 5
    (tmp_path / "s3.raw").unlink()
    for path in (one, two):
        with pytest.raises(InputError, match=r"refers to the data file 's3\.raw', which is missing"):
            read_volume(path)


# -- cases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("damaged-volumes/flipped.mha", "right checksum"),
        ("damaged-volumes/list.mhd", "refers to 5 data files"),
        ("damaged-volumes/mha_no_spacing.mha", "no field ElementSpacing"),
        ("damaged-volumes/nrrd_ascii_crash.nrrd", "other characters than numbers"),
        ("damaged-volumes/png_half_rows_valid_crc.png", "4656 bytes when decompressed; expected 9312"),
        ("nifti-nan/outside.nii.gz", r"NaN \(not a number\) in 30016 and infinite values in 0 of 114688 voxels"),
    ],
)
def test_damaged_cases_are_refused(name: str, message: str) -> None:
    path = shared(f"cases/{name}")
    with pytest.raises(InputError, match=rf"{path.name}.*{message}"):
        read_scan(path)


@pytest.mark.parametrize("name", ["nifti-slope-0/slope0inter.nii.gz", "nifti-geometry/shear1e-4.nii.gz",
                                  "nifti-geometry/gz-named.nii", "control/ct.nii.gz"])  # fmt: skip
def test_harmless_cases_are_read(name: str) -> None:
    path = shared(f"cases/{name}")
    read = sitk.GetArrayFromImage(axial_lps(read_scan(path).image))
    assert np.array_equal(read, np.load(path.parent / "truth.npy"))


# -- damage ---------------------------------------------------------------------------------------------------------


def compressed(path: Path) -> Path:
    sitk.WriteImage(an_image(np.random.default_rng(1).integers(-900, 900, (4, 9, 8)).astype(np.int16)), str(path), True)
    return path


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_a_changed_bit_of_compressed_voxels_is_refused_or_changes_nothing(tmp_path: Path, name: str) -> None:
    path = compressed(tmp_path / name)
    whole, right = path.read_bytes(), values_of(path)
    refused = 0
    for at in range(len(whole) - 400, len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            assert np.array_equal(values_of(path), right)
        except InputError:
            refused += 1
    assert refused >= 399


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.png"])
@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_a_byte_too_many_or_too_few_is_refused(tmp_path: Path, name: str, change: str) -> None:
    if name == "a.png":
        Image.fromarray(HU[0].astype(np.uint8)).save(tmp_path / name)
    else:
        sitk.WriteImage(an_image(), str(tmp_path / name))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-1] if change == "shorter" else whole + b"x")
    with pytest.raises(InputError, match=name):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd"])
@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_the_size_of_a_data_file_is_checked(tmp_path: Path, name: str, change: str) -> None:
    sitk.WriteImage(an_image(), str(tmp_path / name))
    data = tmp_path / "a.raw"
    data.write_bytes(HU.tobytes()[:-2] if change == "shorter" else HU.tobytes() + b"xy")
    with pytest.raises(InputError, match=r"a\.raw has 2[34][82] bytes; expected 240 by its header"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("missing", ["ElementSpacing", "Offset", "DimSize", "ElementType", "NDims",
                                     "BinaryDataByteOrderMSB"])  # fmt: skip
def test_metaimage_without_a_field_is_refused(tmp_path: Path, missing: str) -> None:
    lines = [line for line in META.splitlines() if not line.startswith(missing)]
    with pytest.raises(InputError, match=rf"a\.mha has (no field |the MetaImage field )?{missing}"):
        read_volume(meta_file(tmp_path / "a.mha", "\n".join(lines) + "\n"))


def test_compressed_metaimage_needs_its_size(tmp_path: Path) -> None:
    data, text = zlib.compress(HU.tobytes()), META.replace("CompressedData = False", "CompressedData = True")
    path = meta_file(tmp_path / "a.mha", text + f"CompressedDataSize = {len(data)}\n", data)
    assert (values_of(path) == HU).all()
    for wrong in ("", "CompressedDataSize = 7\n", f"CompressedDataSize = {len(data) + 1}\n"):
        with pytest.raises(InputError, match=r"a\.mha"):
            read_volume(meta_file(path, text + wrong, data))


@pytest.mark.parametrize(
    ("old", "new"),
    [("NDims = 3", "NDims = 0"), ("NDims = 3", "NDims = 99"), ("NDims = 3", "NDims = -1"),
     ("MET_SHORT", "MET_SHORT_ARRAY"),
     ("0.5 0.75 2.5", "0,5 0,75 2,5"), ("0.5 0.75 2.5", "0.5 0.75"), ("0.5 0.75 2.5", "0.5 0 2.5"),
     ("0.5 0.75 2.5", "0.5 nan 2.5"), ("0.5 0.75 2.5", "0.5 -0.75 2.5"), ("6 5 4", "6 5 -4"), ("6 5 4", "6 5 4.5"),
     ("6 5 4", "60000 60000 60000"), ("1 2 3", "1 2 nan"), ("1 2 3", "1 2 1e30"),
     ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0.4 0 0.9"),
     ("1 0 0 0 1 0 0 0 1", "0 0 0 0 0 0 0 0 0"), ("NDims = 3", "NDims = 3\nNDims = 2")],
)  # fmt: skip
def test_other_metaimage_headers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(InputError, match=r"a\.mha"):
        read_volume(meta_file(tmp_path / "a.mha", META.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [("(1,2,3)", "none"), ("(1,2,3)", "(nan,2,3)"), ("(1,2,3)", "(1,2)"), ("space origin: (1,2,3)\n", ""),
     ("(0.5,0,0)", "(nan,0,0)"), ("(0.5,0,0)", "(0,0,0)"), ("(0.5,0,0)", "(0,5;0;0)"), ("6 5 4", "6 5 4.7"),
     ("6 5 4", "6 5 1_2"), ("6 5 4", "60000 60000 60000"), ("6 5 4", "6 5"), ("short", "block"), ("little", "middle"),
     ("raw", "hex"), ("superior", "inferior"), ("dimension: 3", "dimension: 99"), ("sizes", "size"),
     ("endian: little\n", 'endian: little\nspace units: "cm" "cm" "cm"\n'),
     ("endian: little\n", "endian: little\nbroken\n"),
     ("endian: little\n", "endian: little\nendian: big\n"), ("NRRD0004", "NRRD9999"),
     ("endian: little\n", "endian: little\nkinds: domain domain dmain\n"),
     ("endian: little\n", "endian: little\nkinds: domain domain list\n"), ("2.5", "1e30"), ("2.5", "1e-30")],
)  # fmt: skip
def test_other_nrrd_headers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    assert old in NRRD
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(nrrd_file(tmp_path / "a.nrrd", NRRD.replace(old, new)))


def test_a_wrong_checksum_of_nrrd_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(HU.tobytes()))
    text = NRRD.replace("raw", "gzip")
    assert (values_of(nrrd_file(tmp_path / "a.nrrd", text, data)) == HU).all()
    members = gzip.compress(HU.tobytes()[:100]) + gzip.compress(HU.tobytes()[100:])
    assert (values_of(nrrd_file(tmp_path / "a.nrrd", text, members)) == HU).all()
    data[-6] ^= 1
    for wrong in (data, members + b"more", members + gzip.compress(b"more"), members[:-3]):
        with pytest.raises(InputError, match=r"a\.nrrd"):
            read_volume(nrrd_file(tmp_path / "a.nrrd", text, wrong))


@pytest.mark.parametrize("text", ["1 2 3", "1.5 " * 120, "99999 " * 120, "1,5 " * 120, "x " * 120, "1 " * 121])
def test_wrong_numbers_as_text_are_refused(tmp_path: Path, text: str) -> None:
    header = NRRD.replace("raw", "ascii")
    with pytest.raises(InputError, match=r"a\.nrrd"):
        read_volume(nrrd_file(tmp_path / "a.nrrd", header, text.encode()))
    right = " ".join(map(str, HU.ravel())).encode()
    assert (values_of(nrrd_file(tmp_path / "b.nrrd", header, right)) == HU).all()
    assert (
        values_of(meta_file(tmp_path / "b.mha", META.replace("BinaryData = True", "BinaryData = False"), right)) == HU
    ).all()


# -- where the data files may be ------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
@pytest.mark.parametrize("name", ["/dev/zero", "../outside.raw", "link.raw", "pipe.raw", "nowhere.raw", "folder"])
@pytest.mark.parametrize("suffix", ["d", "a"])
def test_data_files_are_regular_files_in_the_folder(tmp_path: Path, name: str, suffix: str) -> None:
    folder = tmp_path / "case"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "outside.raw").write_bytes(HU.tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "outside.raw")
    os.mkfifo(folder / "pipe.raw")
    one = meta_file(folder / f"a.mh{suffix}", data=b"", where=name)
    two = nrrd_file(folder / f"a.n{'hdr' if suffix == 'd' else 'rrd'}", NRRD + f"data file: {name}\n", b"")
    for path in (one, two):
        with pytest.raises(InputError, match=rf"{path.name} refers to the data file '{Path(name).name}'"):
            read_volume(path)
        assert all(file.is_relative_to(folder) for file in input_files(path))


@pytest.mark.parametrize("suffix", ["d", "a"])
def test_a_replaced_data_file_changes_digest_and_stats_whatever_the_suffix(tmp_path: Path, suffix: str) -> None:
    one = meta_file(tmp_path / f"a.mh{suffix}", data=b"", where="v.raw")
    two = nrrd_file(tmp_path / f"a.n{'hdr' if suffix == 'd' else 'rrd'}", NRRD + "data file: v.raw\n", b"")
    seen = set()
    for values in (HU, HU + np.int16(1)):
        (tmp_path / "v.raw").write_bytes(values.tobytes())
        seen |= {(read_scan(path).digest, str(file_stats([path], strict=True))) for path in (one, two)}
        assert all(input_files(path) == [path, tmp_path / "v.raw"] for path in (one, two))
    assert len(seen) == 4
    assert len({digest for digest, _ in seen}) == len({stats for _, stats in seen}) == 4


# -- memory, and the locale -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_sizes_that_the_file_cannot_contain_are_refused_before_memory_is_taken(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("allocated")

    monkeypatch.setattr(stored, "_empty_image", never)
    pack = {"gzip": gzip.compress, "bzip2": bz2.compress}.get(encoding, bytes)
    for size in ("30000 30000 3", "2000000000 2000000000 2000000000") + (
        ("1200 1200 900",) if encoding != "bzip2" else ()
    ):
        text = NRRD.replace("raw", encoding).replace("6 5 4", size)
        with pytest.raises(InputError, match=r"a\.nrrd has"):
            read_volume(nrrd_file(tmp_path / "a.nrrd", text, pack(HU.tobytes())))


def test_decompression_stops_at_the_size_of_the_header(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(2**28), 1)
    with pytest.raises(InputError, match=r"more than 240 bytes when decompressed; expected 240"):
        read_volume(nrrd_file(tmp_path / "a.nrrd", NRRD.replace("raw", "gzip"), bomb))


def test_numbers_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    program = (
        "import locale, sys\nfrom pathlib import Path\nfor name in ('de_DE.UTF-8', 'fr_FR.UTF-8', 'de_DE'):\n"
        "    try: locale.setlocale(locale.LC_ALL, name); break\n    except locale.Error: pass\n"
        "from GTRStagingLib.imaging.volumes import read_volume\n"
        "print(*(read_volume(Path(path))[0].GetSpacing() for path in sys.argv[1:]))"
    )
    one, two = meta_file(tmp_path / "a.mha"), nrrd_file(tmp_path / "a.nrrd")
    done = subprocess.run([sys.executable, "-c", program, one, two], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(0.5, 0.75, 2.5) (0.5, 0.75, 2.5)"


# -- axes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("angle", "read"), [(1e-4, True), (1e-2, False)])
def test_one_tolerance_for_skewed_axes_in_every_format(tmp_path: Path, angle: float, read: bool) -> None:
    values = np.full((3, 128, 128), -50, np.int16)
    affine = np.array([[-3, 3 * angle, 0, 0], [0, -3, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_qform(affine, 1)
    image.header.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii")
    sizes = ("6 5 4", "128 128 3")
    nrrd_file(
        tmp_path / "a.nrrd", NRRD.replace("(0,0.75,0)", f"({0.75 * angle},0.75,0)").replace(*sizes), values.tobytes()
    )
    matrix = f"1 0 0 {angle} 1 0 0 0 1"
    meta_file(tmp_path / "a.mha", META.replace("1 0 0 0 1 0 0 0 1", matrix).replace(*sizes), values.tobytes())
    for name in ("a.nii", "a.nrrd", "a.mha"):
        if read:
            assert read_volume(tmp_path / name)[1] == ()
        else:
            with pytest.raises(GeometryError, match=rf"{name}: the (axes are skewed|voxel positions)"):
                read_volume(tmp_path / name)


# -- PNG ------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def a_png(rows: bytes, *extra: bytes, height: int = 4) -> bytes:
    head = struct.pack(">IIBBBBB", 6, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def test_png_is_checked_before_it_is_decoded(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.png", b"".join(bytes([0, *range(6)]) for _ in range(4))
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**27), 1))  # Pillow raises a ValueError
    for right in (a_png(rows), a_png(rows, text)):
        path.write_bytes(right)
        assert (sitk.GetArrayFromImage(read_scan(path).image) == np.tile(np.arange(6), (1, 4, 1))).all()
    wrong = bytearray(a_png(rows))
    wrong[-20] ^= 1
    for data in (a_png(rows[:-7]), a_png(rows + rows), a_png(rows, height=5), wrong, a_png(rows) + b"x",
                 a_png(rows)[:-1], a_png(b"\7" + rows[1:]), a_png(rows, chunk(b"IHDR", bytes(13)))):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.png"):
            read_scan(path)


def test_interlaced_png_is_read(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\7")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    assert sitk.GetArrayFromImage(read_scan(tmp_path / "a.png").image).tolist() == [[[7]]]
