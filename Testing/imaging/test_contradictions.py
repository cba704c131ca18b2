"""Headers that contradict themselves are refused, and their harmless neighbours are read; found by the fuzzer."""

import io
import struct

import numpy as np
import pydicom
import pytest
from fuzz import bases
from fuzz.bases import hu

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan


def nifti_with(at, code, value):
    content = bytearray(bases.nifti(hu()))
    struct.pack_into(f"<{code}", content, at, value)
    return "ct.nii", bytes(content)


def nrrd_with(*more, space="left-posterior-superior"):
    content = b"".join(bases.nrrd(hu(), more=more)).replace(b"left-posterior-superior", space.encode(), 1)
    return "ct.nrrd", content


def meta_with(old, new, *, compressed=False):
    return "ct.mha", b"".join(bases.meta(hu(), compressed=compressed)).replace(old, new, 1)


def png_with(field, value, extra=b""):
    content = bases.png(bases.grey()[2])
    sizes = list(struct.unpack(">IIBBBBB", content[16:29]))
    sizes[field] = value
    return "slice.png", content[:8] + bases.chunk(b"IHDR", struct.pack(">IIBBBBB", *sizes)) + extra + content[33:]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (nifti_with(123, "b", 4), "xyzt_units 4"),
        (nifti_with(254, "h", 4097), "sform code 4097"),
        (nifti_with(252, "h", -1), "qform code -1"),
        (nrrd_with("spacings: 1 1 1"), "both 'spacings' and 'space directions'"),
        (nrrd_with(space="left-posterior-superior-time"), "with 3 coordinates"),
        (nrrd_with("data file: a.raw", "data file: b.raw"), "twice"),
        (nrrd_with("data file: LIST 2.5"), "LIST 2.5"),
        (meta_with(b"BinaryData = True", b"BinaryData = False", compressed=True), "BinaryData False"),
        (meta_with(b"DimSize = 48", b"DimSize = inf"), "DimSize"),
        (png_with(4, 6), "compression 6"),
        (png_with(5, 1), "filter 1"),
        (png_with(6, 2), "interlace 2"),
        (png_with(6, 0, bases.chunk(b"CgBI", bytes(4))), "unknown chunk"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_contradiction_is_refused(tmp_path, file, message):
    name, content = file
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, GeometryError), match=message) as caught:
        read_scan(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "file",
    [
        nifti_with(123, "b", 0),
        nifti_with(123, "b", 2 + 8),  # mm, and seconds
        nrrd_with("spacings: nan nan nan"),
        nrrd_with("unknown: 1"),
        meta_with(b"BinaryData = True", b"BinaryData = true"),
        png_with(6, 0, bases.chunk(b"zTXt", b"Title\0\0abc")),
    ],
    ids=lambda one: one[0],
)
def test_its_harmless_neighbour_is_read(tmp_path, file):
    name, content = file
    (tmp_path / name).write_bytes(content)
    assert read_scan(tmp_path / name).grid.size[:2] == (48, 40)


def test_hu_beyond_any_number_are_refused(tmp_path):
    for k in range(3):
        d = bases.slice_of(hu()[k], k)
        d.RescaleSlope = "1e308" if k == 1 else "1"
        (tmp_path / f"{k}.dcm").write_bytes(bases.encoded(d))
    scan = read_scan(tmp_path)
    scan.slices(0, 0)
    with pytest.raises(InputError, match=r"1\.dcm \(RescaleSlope 1e\+308\)"):
        scan.slices(0, 2)


def test_an_roi_without_a_stated_orientation_has_a_warning(tmp_path):
    content = b"".join(bases.nrrd(bases.tumour(), "gzip", code="|u1"))
    (tmp_path / "known.nrrd").write_bytes(content)
    (tmp_path / "unknown.nrrd").write_bytes(content.replace(b"space: left-posterior-superior\n", b"", 1))
    assert read_roi(tmp_path / "known.nrrd").warnings == ()
    (warning,) = read_roi(tmp_path / "unknown.nrrd").warnings
    assert warning.startswith("ROI: ")
    assert "assumed" in warning


def test_a_length_beyond_the_file_needs_no_memory(tmp_path):
    """4 GB by an element behind the pixels of a SEG."""
    content = bases.base("seg-binary").files["seg.dcm"]
    (tmp_path / "seg.dcm").write_bytes(content + struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 0xFFFFFFF0))
    with pytest.raises(InputError, match="behind the pixel data"):
        read_roi(tmp_path / "seg.dcm")
    at = content.rindex(b"\xe0\x7f\x10\x00O") + 8
    (tmp_path / "seg.dcm").write_bytes(content[:at] + struct.pack("<I", 0xFFFFFFF0) + content[at + 4 :])
    with pytest.raises(InputError, match="complete, valid file"):
        read_roi(tmp_path / "seg.dcm")


def test_fractions_that_are_called_binary_are_refused(tmp_path):
    content = bases.base("seg-fractional").files["seg.dcm"]
    (tmp_path / "seg.dcm").write_bytes(content.replace(b"FRACTIONAL", b"BINARY    ", 1))
    with pytest.raises(InputError, match="SegmentationType is BINARY, but frame 1 has the value 255"):
        read_roi(tmp_path / "seg.dcm")


def test_fractions_above_1_are_refused(tmp_path):
    d = pydicom.dcmread(io.BytesIO(bases.base("seg-fractional").files["seg.dcm"]))
    d.MaximumFractionalValue = 100
    (tmp_path / "seg.dcm").write_bytes(bases.encoded(d))
    with pytest.raises(InputError, match="value 255, but MaximumFractionalValue is 100"):
        read_roi(tmp_path / "seg.dcm")


def test_the_base_of_these_tests_is_read(tmp_path):
    (tmp_path / "ct.nii").write_bytes(bases.nifti(hu()))
    scan = read_scan(tmp_path / "ct.nii")
    assert np.allclose(scan.grid.origin, bases.ORIGIN)
