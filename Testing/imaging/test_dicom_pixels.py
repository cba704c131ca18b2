"""Decode DICOM pixels: the stored values of pydicom in all transfer syntaxes, or a refusal that states both numbers."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import COLUMNS, ROWS, a_series, save, voxels, write
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.dicom_pixels import PADDING_HU
from GTRStagingLib.imaging.scans import read_scan

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]


def slices_of(values: np.ndarray, *, stored: int = 16, signed: bool = False, intercept: float = -1024) -> list[Dataset]:
    """Return a series of (z, rows, columns) stored values."""
    slices = a_series(len(values))
    for d, plane in zip(slices, values, strict=True):
        d.Rows, d.Columns = plane.shape
        d.BitsStored, d.HighBit, d.PixelRepresentation = stored, stored - 1, int(signed)
        d.RescaleIntercept = intercept
        d.PixelData = plane.astype(np.int16 if signed else np.uint16).tobytes()
    return slices


def compressed(plane: np.ndarray, syntax: str) -> bytes:
    """Return a frame, by an encoder that is not used for reading, where there is one."""
    plane = plane.astype(np.uint16)
    if syntax == JPEG2000Lossless:
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, "JPEG2000", no_jp2=True)
        return stream.getvalue()
    if syntax == JPEGLosslessSV1:
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        path = Path("lossless.dcm")
        writer.SetFileName(str(path))
        writer.Execute(sitk.GetImageFromArray(plane[None]))
        d = pydicom.dcmread(path)
        assert d.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        path.unlink()
        return next(generate_frames(d.PixelData, number_of_frames=1))
    d = slices_of(plane[None])[0]
    d.compress(syntax, generate_instance_uid=False)
    return next(generate_frames(d.PixelData, number_of_frames=1))


def encode(d: Dataset, syntax: str) -> None:
    """Set the transfer syntax of an uncompressed slice, and compress its frames if necessary."""
    frames = np.frombuffer(d.PixelData, np.uint16).reshape(-1, d.Rows, d.Columns)
    d.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        d.PixelData = frames.astype(">u2").tobytes()
    elif syntax not in NATIVE:
        d.PixelData = encapsulate([compressed(frame, syntax) for frame in frames])
        d["PixelData"].VR = "OB"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def some_values(bits: int, signed: bool, seed: int = 0) -> np.ndarray:
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    return np.random.default_rng(seed).integers(low, high, (3, 20, 24))


@pytest.mark.parametrize("syntax", NATIVE + COMPRESSED)
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (12, True), (16, False), (16, True)])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_every_transfer_syntax_gives_the_stored_values(
    tmp_path: Path, syntax: str, bits: int, signed: bool, multi_frame: bool
) -> None:
    values = some_values(bits, signed)
    slices = slices_of(values, stored=bits, signed=signed)
    written = [enhanced(slices)] if multi_frame else slices
    for d in written:
        encode(d, syntax)
    scan = read_scan(write(tmp_path / "ct", written))
    assert (voxels(scan.image) == values - 1024).all()
    if syntax not in (JPEGLosslessSV1, ExplicitVRBigEndian) and not multi_frame:
        by_pydicom = [pydicom.dcmread(f).pixel_array.astype(int) for f in sorted((tmp_path / "ct").iterdir())]
        assert (np.stack(by_pydicom) == values).all()


def test_lossy_syntaxes_are_read(tmp_path: Path) -> None:
    values = np.clip(some_values(8, False) // 16 + np.arange(24) * 8, 0, 255)
    slices = slices_of(values)
    for d in slices:
        d.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    assert np.abs(voxels(read_scan(write(tmp_path / "ls", slices)).image) - (values - 1024)).max() <= 2
    slices = slices_of(values)
    for d, plane in zip(slices, values, strict=True):
        stream = io.BytesIO()
        Image.fromarray(plane.astype(np.uint8)).save(stream, "JPEG", quality=100)
        d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7
        d.PixelData, d.file_meta.TransferSyntaxUID = encapsulate([stream.getvalue()]), JPEGBaseline8Bit
        d["PixelData"].VR = "OB"
    assert np.abs(voxels(read_scan(write(tmp_path / "jpeg", slices)).image) - (values - 1024)).max() <= 4


def test_syntaxes_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    slices = slices_of(some_values(12, False))
    for d in slices:
        encode(d, JPEG2000Lossless)
        d.file_meta.TransferSyntaxUID = HTJ2KLossless
    with pytest.raises(InputError, match=r"compressed as High-Throughput.*; expected no compression, RLE, JPEG"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


def enhanced(slices: list[Dataset]) -> Dataset:
    return highdicom.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 4, generate_uid(), 1)


# -- the length of the pixels ----------------------------------------------------------------------------------------


def half(d: Dataset) -> None:
    d.PixelData = d.PixelData[: len(d.PixelData) // 2]


def fewer_rows(d: Dataset) -> None:
    d.Rows -= 2


def more_columns(d: Dataset) -> None:
    d.Columns += 1


def eight_bits(d: Dataset) -> None:
    d.BitsAllocated, d.BitsStored, d.HighBit = 8, 8, 7


@pytest.mark.parametrize("alter", [half, fewer_rows, more_columns, eight_bits])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_length_that_contradicts_the_header_is_refused(
    tmp_path: Path, alter: Callable[[Dataset], None], syntax: str
) -> None:
    slices = a_series(3)
    for d in slices:
        alter(d)
        d.file_meta.TransferSyntaxUID = syntax
    message = r"IM0\.dcm: the pixels cannot be decoded: PixelData has (\d+) bytes, but .* need (\d+); expected the same"
    with pytest.raises(InputError, match=message):
        _ = read_scan(write(tmp_path / "ct", slices)).image


@pytest.mark.parametrize("alter", [fewer_rows, more_columns])
@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_compressed_picture_of_another_size_is_refused(
    tmp_path: Path, alter: Callable[[Dataset], None], syntax: str
) -> None:
    slices = a_series(3)
    for d in slices:
        encode(d, syntax)
        alter(d)
    with pytest.raises(InputError, match=r"IM0\.dcm: the pixels cannot be decoded: .*expected"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("what", ["cut", "two pictures", "two fragments", "no frame"])
def test_compressed_pixels_must_be_one_whole_picture(tmp_path: Path, syntax: str, what: str) -> None:
    slices = slices_of(some_values(12, False), stored=12)
    frame = compressed(np.frombuffer(slices[1].PixelData, np.uint16).reshape(20, 24), syntax)
    for d in slices:
        encode(d, syntax)
    frames = {"cut": [frame[: len(frame) // 2]], "two pictures": [frame, frame], "two fragments": [frame]}
    if what == "no frame":
        slices[1].PixelData = bytes.fromhex("FEFF00E000000000 FEFFDDE000000000")
    else:
        slices[1].PixelData = encapsulate(frames[what], fragments_per_frame=2 if what == "two fragments" else 1)
    slices[1]["PixelData"].VR = "OB"
    scan = read_scan(write(tmp_path / "ct", slices))
    if what == "two fragments":  # harmless
        assert scan.image.GetSize()[2] == 3
    else:
        with pytest.raises(InputError, match=r"IM1\.dcm: the pixels cannot be decoded: "):
            _ = scan.image
    assert (voxels(scan.slices(0, 2, 2)) == some_values(12, False)[[0, 2]] - 1024).all()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_what_follows_the_pixels_must_be_elements(tmp_path: Path, syntax: str) -> None:
    slices = slices_of(some_values(12, False))
    for d in slices:
        encode(d, syntax)
        d.DataSetTrailingPadding = bytes(6)
    folder = write(tmp_path / "ct", slices)
    assert (voxels(read_scan(folder).image) == some_values(12, False) - 1024).all()
    for d in slices:
        del d.DataSetTrailingPadding
    whole = (write(tmp_path / "ct", slices) / "IM1.dcm").read_bytes()
    for at, more in ((-40, b"ab"), (len(whole), b"more"), (len(whole), bytes(16))):
        (folder / "IM1.dcm").write_bytes(whole[:at] + more + whole[at:])
        with pytest.raises(InputError, match=r"IM1\.dcm: the pixels cannot be decoded: "):
            _ = read_scan(folder).image


def test_an_odd_length_has_a_padding_byte(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        d.Rows, d.Columns, d.BitsAllocated, d.BitsStored, d.HighBit = 5, 5, 8, 8, 7
        d.PixelRepresentation, d.PixelData = 0, bytes(range(25)) + b"\0"
        d["PixelData"].VR = "OB"
    image = read_scan(write(tmp_path / "ct", slices)).image
    assert (voxels(image)[0].ravel() == np.arange(25) - 1024).all()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("BitsAllocated", 12),
        ("BitsStored", 17),
        ("BitsStored", 0),
        ("HighBit", 11),
        ("HighBit", 3),
        ("PixelRepresentation", 2),
        ("Rows", 0),
        ("Columns", 0),
    ],
)
def test_header_values_that_contradict_one_another_are_refused(tmp_path: Path, keyword: str, value: int) -> None:
    slices = a_series(3)
    for d in slices:
        setattr(d, keyword, value)
    with pytest.raises(InputError, match=rf"{keyword} .*expected"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


@pytest.mark.parametrize("keyword", ["BitsStored", "PixelRepresentation", "PixelData"])
def test_missing_values_are_named(tmp_path: Path, keyword: str) -> None:
    slices = a_series(3)
    delattr(slices[1], keyword)
    with pytest.raises(InputError, match=rf"IM1\.dcm: .*{keyword}.*expected"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


def test_sizes_that_no_slice_has_are_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        d.Rows = d.Columns = 65535
    with pytest.raises(InputError, match="Rows is 65535; expected a CT slice of about 512"):
        read_scan(write(tmp_path / "ct", slices))


# -- bits, padding, rescale ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *COMPRESSED])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_bits_above_bits_stored_are_not_part_of_the_value(
    tmp_path: Path, syntax: str, signed: bool, multi_frame: bool
) -> None:
    values = some_values(12, signed)
    noise = np.random.default_rng(1).integers(0, 16, values.shape)
    written = (values & 0xFFF) | noise << 12
    slices = slices_of(written, stored=12, intercept=-1024)
    for d in slices:
        d.PixelRepresentation = int(signed)
    files = [enhanced(slices)] if multi_frame else slices
    for d in files:
        encode(d, syntax)
    assert (voxels(read_scan(write(tmp_path / "ct", files)).image) == values - 1024).all()


def test_the_multi_frame_case() -> None:
    folder = shared("cases/multi-frame-12-bit")
    assert (voxels(read_scan(folder / "multi.dcm").image) == np.load(folder / "truth.npy")).all()


@pytest.mark.parametrize("name", ["unsigned63536", "signed-2000"])
def test_declared_padding_becomes_air(name: str) -> None:
    folder = shared("cases/pixel-padding")
    scan = read_scan(folder / name)
    assert (voxels(scan.image) == np.load(folder / "truth.npy")).all()
    files = [pydicom.dcmread(f) for f in sorted((folder / name).iterdir())]
    shares = [float((d.pixel_array == d.PixelPaddingValue).mean()) for d in files]
    assert [scan.padding(k) for k in range(3)] == pytest.approx(shares)
    assert shares[0] > 0.2


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize(
    ("stored", "signed", "value", "limit", "padded"),
    [
        (16, False, 63536, None, [63536]),
        (16, True, -2000, None, [-2000]),
        (16, True, -2000, -1990, [-2000, -1995, -1990]),
        (16, True, -1990, -2000, [-2000, -1995, -1990]),
        (16, False, 0, 5, [0, 3, 5]),
        (12, True, -2000, None, [-2000]),
        (12, False, 0xF000, None, [0xF000]),  # only in the bits above BitsStored
    ],
)
def test_padding_is_decided_on_stored_values(
    tmp_path: Path, multi_frame: bool, stored: int, signed: bool, value: int, limit: int | None, padded: list[int]
) -> None:
    plane = np.full((3, 12, 16), 1100 if not signed else 76)
    plane[:, 0, : len(padded)] = padded
    slices = slices_of(plane, stored=stored, signed=signed)
    for d in slices:
        d.add_new("PixelPaddingValue", "SS" if signed else "US", value)
        if limit is not None:
            d.add_new("PixelPaddingRangeLimit", "SS" if signed else "US", limit)
    files = slices
    if multi_frame:
        files = [enhanced(slices)]
        files[0].PixelPaddingValue = value
        if limit is not None:
            files[0].PixelPaddingRangeLimit = limit
    scan = read_scan(write(tmp_path / "ct", files))
    assert (voxels(scan.image)[:, 0, : len(padded)] == PADDING_HU).all()
    assert (voxels(scan.image)[:, 1:] == (76 if not signed else 76 - 1024)).all()
    assert scan.padding(1) == pytest.approx(len(padded) / (12 * 16))


def test_padding_that_is_tissue_by_its_value(tmp_path: Path) -> None:
    """Water as padding is air outside, but no voxel inside may have it."""
    plane = np.full((3, 12, 16), 1064)
    plane[:, :4] = 1024
    slices = slices_of(plane)
    for d in slices:
        d.add_new("PixelPaddingValue", "US", 1024)
    assert (voxels(read_scan(write(tmp_path / "outside", slices)).image)[:, :4] == PADDING_HU).all()
    plane[:, 8, 8] = 1024
    slices = slices_of(plane)
    for d in slices:
        d.add_new("PixelPaddingValue", "US", 1024)
    with pytest.raises(InputError, match=r"PixelPaddingValue is tissue \(0 to 0 HU\), and 1 single voxels have it"):
        _ = read_scan(write(tmp_path / "inside", slices)).image


def test_values_without_declared_padding_are_read_as_they_are(tmp_path: Path) -> None:
    plane = np.full((3, 12, 16), 76)
    plane[:, :4] = -2000
    scan = read_scan(write(tmp_path / "ct", slices_of(plane, signed=True, intercept=0)))
    assert (voxels(scan.image) == plane).all()
    assert scan.padding(0) == 0


def test_a_range_without_its_value_is_refused(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        d.add_new("PixelPaddingRangeLimit", "SS", 5)
    with pytest.raises(InputError, match="PixelPaddingRangeLimit without PixelPaddingValue; expected both"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


def test_a_table_of_values_is_refused(tmp_path: Path) -> None:
    slices = a_series(3)
    for d in slices:
        table = Dataset()
        table.LUTDescriptor, table.LUTData = [3, 0, 16], bytes(6)
        d.ModalityLUTSequence = [table]
    with pytest.raises(InputError, match="converted by a table"):
        _ = read_scan(write(tmp_path / "ct", slices)).image


@pytest.mark.parametrize("where", ["at the top level", "in the shared groups"])
def test_two_geometries_of_a_multi_frame_file_are_refused(tmp_path: Path, where: str) -> None:
    one = enhanced(a_series())
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2.5
    for frame in one.PerFrameFunctionalGroupsSequence:
        frame.PixelMeasuresSequence = [measures]
    other = Dataset()
    other.PixelSpacing, other.SliceThickness = [0.9, 0.9], 2.5
    one.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    if where == "at the top level":
        one.PixelSpacing = [0.9, 0.9]
    else:
        one.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [other]
    with pytest.raises(
        InputError, match=rf"PixelSpacing is 0\.9/0\.9 {where}, but 0\.75/0\.5 in frame 1; expected one"
    ):
        read_scan(save(tmp_path / "one.dcm", one))


def test_two_conversions_of_a_multi_frame_file_are_refused_if_they_differ(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"RescaleIntercept is -900 at the top level, but -1024 in frame 1; expected one"
    ):
        read_scan(shared("cases/damaged-volumes/enh_toplevel_rescale.dcm"))
    one = enhanced(a_series())
    one.RescaleSlope, one.RescaleIntercept, one.PixelSpacing = 1, -1024, [0.75, 0.5]
    assert read_scan(save(tmp_path / "one.dcm", one)).image.GetSize()[2] == 6


# -- deflated files ---------------------------------------------------------------------------------------------------


def deflated(path: Path, content: bytes) -> Path:
    """Write a deflated file with these elements behind those of a slice."""
    d = a_series(1)[0]
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    save(path, d)
    plain = path.read_bytes()
    meta = pydicom.filereader.read_file_meta_info(path)
    begin = 132 + 12 + meta.FileMetaInformationGroupLength
    d.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(path, d)
    start = path.read_bytes()[: 132 + 12 + pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength]
    pixels = plain.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    packed = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = plain[begin:pixels] + content.replace(b"PIXELS", plain[pixels:])
    path.write_bytes(start + packed.compress(body) + packed.flush())
    return path


def test_a_deflated_slice_is_read(tmp_path: Path) -> None:
    assert read_scan(deflated(tmp_path / "one.dcm", b"PIXELS")).image.GetSize() == (COLUMNS, ROWS, 1)


@pytest.mark.parametrize("where", ["header", "pixels", "small elements"])
def test_a_deflated_file_that_needs_more_than_its_pixels_is_refused(tmp_path: Path, where: str) -> None:
    zeros = struct.pack("<HH2sHL", 0x7FDF, 0x10, b"OB", 0, 1 << 26) + bytes(1 << 26)
    small = b"".join(struct.pack("<HH2sH", 0x7001 + 2 * g, e, b"LO", 0) for g in range(8) for e in range(0x10, 0xFFFF))
    content = {
        "header": zeros + b"PIXELS",
        "pixels": struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, 1 << 26) + bytes(1 << 26),
        "small elements": small + b"PIXELS",
    }[where]
    path = deflated(tmp_path / "one.dcm", content)
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"one\.dcm: the deflated (file|header) inflates to more than"):
        _ = read_scan(path).image
    assert time.monotonic() - begun < 60


def test_a_damaged_deflated_file_is_refused(tmp_path: Path) -> None:
    path = deflated(tmp_path / "one.dcm", b"PIXELS")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"one\.dcm: the deflated file ends too early"):
        _ = read_scan(path).image
