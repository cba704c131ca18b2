"""Read headers by their layout, with the same result as pydicom."""

import io
import random

import pydicom
import pytest
from helpers.dicom_files import a_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from GTRStagingLib.imaging.dicom_headers import EVERY_FILE
from GTRStagingLib.imaging.dicom_layout import LAYOUTS, HeaderReader

KEYWORDS = EVERY_FILE.split()


def written(d: Dataset) -> bytes:
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    stream = io.BytesIO()
    d.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(reader: HeaderReader, content: bytes):
    values, length = reader.read(io.BytesIO(content), content[: reader.reach])
    return {keyword: repr(value) for keyword, value in values.items()}, length


def by_pydicom(content: bytes):
    stream = io.BytesIO(content)
    d = pydicom.dcmread(stream, stop_before_pixels=True)
    return {keyword: repr(d[keyword].value) for keyword in KEYWORDS if keyword in d}, stream.tell()


def alike(n: int) -> list[bytes]:
    """Return slices with headers that differ in values, not in lengths."""
    slices = a_series(n)
    for k, d in enumerate(slices):
        d.SOPInstanceUID = f"1.2.826.0.1.77.{100 + k}"
    return [written(d) for d in slices]


def various(n: int) -> list[Dataset]:
    """Return slices with values of several lengths, sequences of both forms, and some with an element less."""
    rng = random.Random(0)
    slices = a_series(n)
    for d in slices:
        d.SOPInstanceUID = "1.2.826." + "1" * rng.choice([7, 8, 9, 10])
        d.SliceLocation = rng.choice(["5", "12.5", "100.25"])
        d.SeriesDescription = rng.choice(["venous", "portal venous", ""])
        code = Dataset()
        code.CodeValue, code.CodeMeaning = "1", rng.choice(["stomach", "abdomen"])
        code.is_undefined_length_sequence_item = rng.random() < 0.5
        d.ProcedureCodeSequence = [code]
        d["ProcedureCodeSequence"].is_undefined_length = rng.random() < 0.5
        if rng.random() < 0.2:
            del d.RescaleType
    return slices


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless,
                                    DeflatedExplicitVRLittleEndian])  # fmt: skip
def test_headers_have_the_values_that_pydicom_reads(syntax) -> None:
    reader = HeaderReader(KEYWORDS)
    for d in various(60):
        if syntax == RLELossless:
            d.compress(syntax, generate_instance_uid=False)
        elif syntax is not None:
            d.file_meta.TransferSyntaxUID = syntax
        content = written(d)
        values, length = read(reader, content)
        expected, pixels = by_pydicom(content)
        assert values == expected
        if syntax != DeflatedExplicitVRLittleEndian:  # its pixels are compressed together with its header
            assert length == pixels
            assert content[length:].startswith((b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"))


def test_only_a_header_with_a_new_layout_is_parsed() -> None:
    reader = HeaderReader(KEYWORDS)
    first, *others = alike(9)
    read(reader, first)
    for content in others:
        values, _ = reader.read(None, content[: reader.reach])  # there is no file to parse
        assert {k: repr(v) for k, v in values.items()} == by_pydicom(content)[0]
    longer = a_series(1)[0]
    longer.SeriesDescription = "something longer"
    with pytest.raises(AttributeError):
        reader.read(None, written(longer)[: reader.reach])


def test_a_header_longer_than_the_bytes_read_is_read_completely() -> None:
    slices = a_series(3)
    for k, d in enumerate(slices):
        d.SOPInstanceUID = f"1.2.826.0.1.77.{100 + k}"
        d.add_new(0x00091001, "OB", bytes(100_000))
    reader = HeaderReader(KEYWORDS)
    contents = [written(d) for d in slices]
    assert [read(reader, one) for one in contents] == [by_pydicom(one) for one in contents]
    assert reader.reach > 100_000
    reader.read(None, contents[2][: reader.reach])


def test_only_the_last_layouts_are_kept() -> None:
    reader = HeaderReader(KEYWORDS)
    contents = []
    for n in range(LAYOUTS + 1):
        d = a_series(1, study="1.2.3")[0]
        d.SeriesDescription = "x" * (2 * n + 1)
        contents.append(written(d))
        read(reader, contents[-1])
    reader.read(None, contents[1])
    with pytest.raises(AttributeError):
        reader.read(None, contents[0])


ALIKE = alike(2)


@pytest.mark.filterwarnings("ignore")  # warnings of pydicom
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_gives_the_result_of_a_new_reader(data) -> None:
    """For a byte of a value, a length, a tag, the character set, the transfer syntax, the preamble."""
    first, second = ALIKE
    reader = HeaderReader(KEYWORDS)
    _, length = read(reader, first)
    changed = bytearray(second)
    changed[data.draw(st.integers(0, length + 3))] = data.draw(st.integers(0, 255))
    outcomes = []
    for one in (reader, HeaderReader(KEYWORDS)):
        try:
            outcomes.append(read(one, bytes(changed)))
        except Exception as error:  # pydicom raises any kind for a damaged file
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
