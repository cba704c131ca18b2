"""Divide a series that joins acquisitions or reconstructions, and keep each single one whole."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from conftest import shared
from helpers.dicom_files import a_series, move, say, voxels, write
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.dicom_headers import list_series
from GTRStagingLib.imaging.scans import read_scan

UID = "1.2.826.0.1.99"
N, STEP = 8, 5.0


def clock(seconds: float) -> str:
    """Return seconds after noon as a DICOM time."""
    whole = int(seconds)
    return f"{12 + whole // 3600:02}{whole // 60 % 60:02}{whole % 60:02}.{round((seconds - whole) * 1e6):06}"


def two(how: str, n: int = N) -> tuple[list[Dataset], list[Dataset]]:
    """Return two acquisitions of one series, which differ in nothing but their pixels and places."""
    first, second = a_series(n, step=STEP), a_series(n, step=STEP)
    offset = {"interleaved": STEP / 2, "joined": n * STEP, "repeated": 0.0, "overlapping": 3 * STEP}[how]
    for d in second:
        move(d, offset)
        d.PixelData = np.frombuffer(d.PixelData, np.int16)[::-1].tobytes()
    for k, d in enumerate([*first, *second]):
        d.SeriesInstanceUID, d.FrameOfReferenceUID = UID, first[0].FrameOfReferenceUID
        d.InstanceNumber, d.StudyInstanceUID = 0, f"{UID}.5"
        del d.AcquisitionNumber, d.AcquisitionTime, d.AcquisitionDate, d.ContentTime, d.ContentDate, d.StudyTime
        d.SOPInstanceUID = f"{UID}.{k}"
    return first, second


def each(slices: Iterable[Dataset], keyword: str, value: object) -> None:
    for k, d in enumerate(slices):
        setattr(d, keyword, value(k) if callable(value) else value)


TRAITS: dict[str, tuple[object, object]] = {
    "AcquisitionNumber": (1, 2),
    "AcquisitionTime": ("120010", "120050"),
    "ConvolutionKernel": ("B30f", "B70f"),
    "KVP": (80, 140),
    "PatientID": ("A", "B"),
    "StudyInstanceUID": ("1.2.3.6", "1.2.3.7"),
    "PatientPosition": ("HFS", "HFP"),
    "ContrastBolusAgent": ("", "Iodine"),
    "SeriesTime": ("115900", "120100"),
    "SeriesNumber": (3, 4),
    "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL", "VMI"], ["ORIGINAL", "PRIMARY", "AXIAL", "WATER"]),
    "SliceThickness": (5, 1),
    "IrradiationEventUID": ("1.2.3.4", "1.2.3.5"),
}


@pytest.mark.parametrize("how", ["interleaved", "joined", "repeated", "overlapping"])
@pytest.mark.parametrize("keyword", TRAITS)
def test_what_differs_between_acquisitions_divides_them(tmp_path: Path, how: str, keyword: str) -> None:
    parts = two(how)
    for slices, value in zip(parts, TRAITS[keyword], strict=True):
        each(slices, keyword, value)
    folder = write(tmp_path, [*parts[0], *parts[1]])
    with pytest.raises(InputError, match=r"1 CT series with 2 acquisitions or reconstructions; expected one") as caught:
        read_scan(folder)
    assert "portal venous" not in str(caught.value)
    assert UID not in str(caught.value)
    assert f"{UID}#1" in caught.value.details
    found = {s.name for s in list_series(folder)}
    wanted = [{"3.1", "3.2"}, {"3.1", "4.2"}][keyword == "SeriesNumber"]
    assert found == wanted
    read = {name: (voxels(read_scan(folder, series=name).image) + 1024).tobytes() for name in found}
    expected = [b"".join(d.PixelData for d in part) for part in parts]
    assert set(read.values()) == set(expected)
    by_uid = [(voxels(read_scan(folder, series=f"{UID}#{k}").image) + 1024).tobytes() for k in (1, 2)]
    assert by_uid == [read[name] for name in sorted(found)]
    if keyword != "SeriesNumber":
        with pytest.raises(InputError, match=r"`series` 3 fits 2 CT series or acquisitions.*\n  number 3\.1: 8"):
            read_scan(folder, series="3")
    with pytest.raises(InputError, match="fits 2 CT series"):
        read_scan(folder, series=UID)
    with pytest.raises(InputError, match=r"fits no CT series"):
        read_scan(folder, series="3.3")


def test_a_series_without_a_number_is_chosen_by_the_end_of_its_uid(tmp_path: Path) -> None:
    parts = two("interleaved")
    for slices, value in zip(parts, (1, 2), strict=True):
        each(slices, "AcquisitionNumber", value)
        each(slices, "SeriesNumber", None)
    folder = write(tmp_path, [*parts[0], *parts[1]])
    assert [s.name for s in list_series(folder)] == [f"{UID[-8:]}#{k}" for k in (1, 2)]
    assert read_scan(folder, series=".99#2").image.GetSize()[2] == N


@pytest.mark.parametrize("how", ["interleaved", "repeated"])
@pytest.mark.parametrize(
    ("keyword", "first", "second"),
    [
        ("ContentTime", "120010", "120050"),
        ("ContentTime", lambda k: clock(k), lambda k: clock(60 + k)),
        ("AcquisitionTime", lambda k: clock(0.3 * k), lambda k: clock(40 + 0.3 * k)),
        ("AcquisitionTime", lambda k: clock(3 * k), lambda k: clock(60 + 3 * k)),
        ("AcquisitionNumber", lambda k: 1 + k, lambda k: 1 + N + k),
        ("InstanceNumber", lambda k: 1 + k, lambda k: 1 + N + k),
        ("InstanceNumber", lambda k: 101 + k, lambda k: 201 + k),
    ],
)
def test_orders_that_pass_the_positions_twice_divide_them(
    tmp_path: Path, how: str, keyword: str, first: object, second: object
) -> None:
    parts = two(how)
    each(parts[0], keyword, first)
    each(parts[1], keyword, second)
    folder = write(tmp_path, [*parts[0], *parts[1]])
    assert [(s.name, s.n_slices) for s in list_series(folder)] == [("3.1", N), ("3.2", N)]


def test_a_pause_divides_acquisitions_that_follow_each_other(tmp_path: Path) -> None:
    parts = two("joined")
    each(parts[0], "AcquisitionTime", lambda k: clock(0.3 * k))
    each(parts[1], "AcquisitionTime", lambda k: clock(40 + 0.3 * k))
    folder = write(tmp_path, [*parts[0], *parts[1]])
    with pytest.raises(InputError, match=r"number 3\.2: 8 CT slices, 5 mm apart, .*, 40 s after the first"):
        read_scan(folder)


def test_the_same_time_of_another_day_divides(tmp_path: Path) -> None:
    parts = two("joined")
    for slices, day in zip(parts, ("20240102", "20240103"), strict=True):
        each(slices, "AcquisitionTime", "120000")
        each(slices, "AcquisitionDate", day)
    with pytest.raises(InputError, match=r"number 3\.2: 8 CT slices, .*, 86400 s after the first"):
        read_scan(write(tmp_path, [*parts[0], *parts[1]]))


def test_three_phases_of_two_kernels(tmp_path: Path) -> None:
    slices = []
    for phase in range(3):
        for kernel in ("B30f", "B70f"):
            part, _ = two("joined", 4)
            each(part, "AcquisitionNumber", phase + 1)
            each(part, "ConvolutionKernel", kernel)
            each(part, "FrameOfReferenceUID", "1.2.3")
            slices += part
    folder = write(tmp_path, slices)
    assert [(s.name, s.n_slices) for s in list_series(folder)] == [(f"3.{k}", 4) for k in range(1, 7)]
    assert "kernel B30f, no contrast agent stated, acquisition 3" in str(list_series(folder)[2])


def test_a_single_slice_of_another_acquisition_is_not_part_of_the_stack(tmp_path: Path) -> None:
    first, second = two("joined")
    each(first, "AcquisitionNumber", 1)
    each(second, "AcquisitionNumber", 2)
    with pytest.raises(InputError, match=r"number 3\.2: 1 CT slices"):
        read_scan(write(tmp_path, [*first, second[0]]))


def test_the_case_of_two_acquisitions() -> None:
    folder = shared("cases/two-acquisitions/interleaved")
    with pytest.raises(
        InputError, match=r"number 1\.2: 7 CT slices, 5 mm apart, .*acquisition 2, 40 s after the first"
    ):
        read_scan(folder)
    parts = [read_scan(folder, series=name) for name in ("1.1", "1.2")]
    assert [p.grid.GetSize()[2] for p in parts] == [7, 7]
    assert [p.grid.GetSpacing()[2] for p in parts] == [5, 5]


def test_frames_of_two_acquisitions_are_refused(tmp_path: Path) -> None:
    parts = two("interleaved")
    every = [d for pair in zip(*parts, strict=True) for d in pair]
    for d in every:
        d.ContentDate, d.ContentTime, d.StudyTime = "20240102", "101010", "101010"
    one = highdicom.legacy.LegacyConvertedEnhancedCTImage(every, generate_uid(), 4, generate_uid(), 1)
    for k, frame in enumerate(one.PerFrameFunctionalGroupsSequence):
        content = frame.FrameContentSequence[0] if "FrameContentSequence" in frame else Dataset()
        content.FrameAcquisitionNumber = 1 + k % 2
        frame.FrameContentSequence = [content]
    with pytest.raises(GeometryError, match=r"frames belong to several acquisitions \(8, 8 frames\)"):
        read_scan(write(tmp_path, [one]))


# -- one acquisition ---------------------------------------------------------------------------------------------------

SHUFFLED = [int(k) for k in np.random.default_rng(0).permutation(16)]

HARMLESS: dict[str, Callable[[list[Dataset]], None]] = {
    "times of a spiral scan": lambda s: each(s, "AcquisitionTime", lambda k: clock(0.2 * k)),
    "times of a spiral scan towards the feet": lambda s: each(s, "AcquisitionTime", lambda k: clock(9 - 0.2 * k)),
    "times in whole seconds": lambda s: each(s, "AcquisitionTime", lambda k: clock(0.3 * k)[:6]),
    "times around midnight": lambda s: each(
        s, "AcquisitionTime", lambda k: f"23595{k}" if k < 9 else f"0000{k - 9:02}"
    ),
    "times and dates around midnight": lambda s: (
        each(s, "AcquisitionTime", lambda k: f"23595{k}" if k < 9 else f"00000{k - 9}"),
        each(s, "AcquisitionDate", lambda k: "20240430" if k < 9 else "20240501"),
    ),
    "slow times": lambda s: each(s, "AcquisitionTime", lambda k: clock(8 * k)),
    "invalid times": lambda s: each(s, "AcquisitionTime", "noon"),
    "a number per slice": lambda s: each(s, "AcquisitionNumber", lambda k: 1 + k),
    "a number per slice from the head": lambda s: each(s, "AcquisitionNumber", lambda k: 40 - k),
    "steps of four": lambda s: each(s, "AcquisitionNumber", lambda k: 1 + k // 4),
    "steps of four, the last of two": lambda s: each(s[:-2], "AcquisitionNumber", lambda k: 1 + k // 4),
    "steps of four with times": lambda s: (
        each(s, "AcquisitionNumber", lambda k: 1 + k // 4),
        each(s, "AcquisitionTime", lambda k: clock(2 * (k // 4))),
    ),
    "steps of four by time alone": lambda s: each(s, "AcquisitionTime", lambda k: clock(2 * (k // 4))),
    "breath-holds of four": lambda s: each(s, "AcquisitionTime", lambda k: clock(9 * (k // 4) + 0.1 * k)),
    "content times of a parallel reconstruction": lambda s: each(
        s, "ContentTime", lambda k: clock(0.2 * (SHUFFLED[k]))
    ),
    "content times of two batches": lambda s: each(s, "ContentTime", lambda k: clock(0.2 * k + (60 if k > 9 else 0))),
    "numbers from the head": lambda s: each(s, "InstanceNumber", lambda k: 99 - k),
    "shuffled numbers": lambda s: each(s, "InstanceNumber", lambda k: SHUFFLED[k]),
    "equal numbers": lambda s: each(s, "InstanceNumber", 1),
    "a current per slice": lambda s: each(s, "XRayTubeCurrent", lambda k: 100 + k),
    "numbers written in two ways": lambda s: [say(d, "KVP", "120.0" if k % 2 else "120") for k, d in enumerate(s)],
    "rounded thicknesses": lambda s: each(s, "SliceThickness", lambda k: "2.125" if k % 2 else "2.1250001"),
    "rounded orientations": lambda s: each(
        s, "ImageOrientationPatient", lambda k: [1, 0, 0, 0, 0.9995 if k % 2 else 0.9994999, 0]
    ),
    "everything missing": lambda s: None,
}


@pytest.mark.parametrize("trait", HARMLESS)
def test_a_single_acquisition_stays_whole(tmp_path: Path, trait: str) -> None:
    first, second = two("joined")
    slices = [*first, *second]
    HARMLESS[trait](slices)
    if trait == "steps of four, the last of two":
        slices = slices[:-2]
    scan = read_scan(write(tmp_path, slices))
    assert scan.image.GetSize()[2] == len(slices)
    assert list_series(tmp_path)[0].part is None


def test_times_in_no_order_are_refused(tmp_path: Path) -> None:
    slices, _ = two("joined")
    each(slices, "AcquisitionTime", lambda k: clock(3 * ((5 * k) % 8)))
    with pytest.raises(
        GeometryError, match=r"times of acquisition of 8 slices are not in the order of their positions"
    ):
        read_scan(write(tmp_path, slices))


@pytest.mark.parametrize("text", ["0", "-5", "-0"])
def test_a_stated_distance_of_0_or_less_is_no_reason_to_refuse(tmp_path: Path, text: str) -> None:
    slices, _ = two("joined")
    for d in slices:
        say(d, "SpacingBetweenSlices", text)
    scan = read_scan(write(tmp_path, slices))
    assert scan.grid.GetSpacing()[2] == pytest.approx(STEP)
    assert scan.warnings == ()


@pytest.mark.parametrize("case", ["spacing-between-slices-0/zero", "no-preamble/top-two-plain", "control/ct"])
def test_the_cases_that_are_read(case: str) -> None:
    scan = read_scan(shared(f"cases/{case}"))
    assert (voxels(scan.image) == np.load(shared(f"cases/{case.split('/')[0]}/truth.npy"))).all()
    assert scan.warnings == ()


def test_the_case_of_two_series() -> None:
    folder = shared("cases/two-series/study")
    with pytest.raises(InputError, match=r"2 CT series; expected one.*`series`.*\n  number 1: 3 CT slices, 5 mm apart"):
        read_scan(folder)
    first, second = (voxels(read_scan(folder, series=number).image) for number in "12")
    assert (first != second).any()


def test_a_slice_that_is_no_ct_by_its_header_is_not_left_out(tmp_path: Path) -> None:
    slices, _ = two("joined")
    slices[-1].SOPClassUID = "1.2.840.10008.5.1.4.1.1.3"
    with pytest.raises(InputError, match=r"IM7\.dcm is .* by its header, but belongs to the series of the CT"):
        read_scan(write(tmp_path, slices))
    slices[-1].SOPClassUID, slices[-1].Modality = slices[0].SOPClassUID, "MR"
    with pytest.raises(InputError, match=r"IM7\.dcm is MR by its header, but belongs to the series of the CT"):
        read_scan(write(tmp_path, slices))


ODD = [b"", b"\xff\xfe", b"1\\2", b"nan", b"1e999", b"-1", b"9" * 40, b"1\\a\\\\", b"\x00\x01", b"text", b"0"]
KEYWORDS = (
    "SOPClassUID SeriesInstanceUID SeriesNumber Modality ImageType NumberOfFrames Rows Columns PixelSpacing "
    "ImagePositionPatient ImageOrientationPatient RescaleSlope RescaleIntercept RescaleType SamplesPerPixel "
    "PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation AcquisitionTime AcquisitionNumber "
    "InstanceNumber SliceThickness SpacingBetweenSlices PixelPaddingValue FrameOfReferenceUID SpecificCharacterSet KVP"
)


@pytest.mark.parametrize("keyword", KEYWORDS.split())
@pytest.mark.parametrize("multi_frame", [False, True])
def test_odd_values_raise_errors_of_the_library_only(tmp_path: Path, keyword: str, multi_frame: bool) -> None:
    right = voxels(read_scan(write(tmp_path / "right", a_series(3))).image)
    for k, value in enumerate(ODD):
        slices = a_series(3)
        files = (
            [highdicom.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 4, generate_uid(), 1)]
            if multi_frame
            else slices
        )
        folder = write(tmp_path / str(k), files)
        tag = Tag(tag_for_keyword(keyword))
        vr = dictionary_VR(tag).split(" ")[0]
        for d in files:
            d[tag] = RawDataElement(
                tag, vr, len(value) + len(value) % 2, value + b" " * (len(value) % 2), 0, False, True
            )
        try:
            for i, d in enumerate(files):
                d.save_as(folder / f"IM{i}.dcm", implicit_vr=False, little_endian=True)
        except Exception:  # not writable
            continue
        try:
            scan = read_scan(folder)
            found = voxels(scan.image)
        except InputError as error:
            assert re.search(r"expected|ransfer|^No CT images", str(error))  # noqa: PT017
        else:
            assert keyword in ("RescaleIntercept", "RescaleSlope", "PixelPaddingValue") or (found == right).all()
