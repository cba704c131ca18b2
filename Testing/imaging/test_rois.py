"""Read ROIs from DICOM SEG, Slicer segmentations and label maps: segment, geometry, and files that are not masks."""

import copy
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import AXIAL, COLUMNS, CORONAL, FEET_FIRST_PRONE, OBLIQUE, ROWS, a_series, move, save, voxels
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.geometry import Grid, axial_lps, embedded
from GTRStagingLib.imaging.rois import read_roi, read_stomach
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.imaging.stack import plane_of, stack_planes

TUMOUR = np.zeros((6, ROWS, COLUMNS), np.uint8)
TUMOUR[1:3, 2:5, 7:12] = 1
TUMOUR[4, 3, 8] = 1  # slice 3 stays empty between
NODE = np.zeros_like(TUMOUR)
NODE[2:4, 9:11, 1:4] = 1


def a_seg(
    slices: list[Dataset], masks: np.ndarray, kind: str = "BINARY", labels: tuple[str, ...] = ("Tumour", "Node")
) -> Dataset:
    """A DICOM SEG on the given slices; (z, y, x, segment) masks; frames without a voxel are omitted."""
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=i + 1,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for i, label in enumerate(labels)
    ]
    return highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=masks,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Drawer",
        software_versions="1",
        device_serial_number="1",
    )


def grid_of(slices: list[Dataset]) -> Grid:
    """Return the grid of the CT of the slices."""
    return stack_planes([plane_of(d, d, d, d, f"{k}") for k, d in enumerate(slices)]).grid


def places(mask: sitk.Image) -> set[tuple[float, ...]]:
    """Return the positions of the mask's voxels (mm, rounded)."""
    return {
        tuple(np.round(mask.TransformIndexToPhysicalPoint(i[::-1].tolist()), 2) + 0.0)
        for i in np.argwhere(voxels(mask))
    }


def expected_places(slices: list[Dataset], mask: np.ndarray) -> set[tuple[float, ...]]:
    """Return the voxel positions of a (z, y, x) mask drawn on the slices, by the formula of PS3.3 C.7.6.2.1.1."""
    points = set()
    for k, row, column in np.argwhere(mask):
        d = slices[k]
        x, y = np.array(d.ImageOrientationPatient[:3], float), np.array(d.ImageOrientationPatient[3:], float)
        position = np.array(d.ImagePositionPatient, float)
        point = position + column * d.PixelSpacing[1] * x + row * d.PixelSpacing[0] * y
        points.add(tuple(np.round(point, 2) + 0.0))
    return points


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
def test_a_dicom_seg_has_the_positions_of_its_slices(tmp_path: Path, kind: str, orientation: tuple[float, ...]) -> None:
    slices = a_series(orientation=orientation)
    path = save(tmp_path / "seg.dcm", a_seg(slices, np.stack([TUMOUR, NODE], axis=-1), kind))
    for chosen, mask in ((1, TUMOUR), ("2", NODE), ("tumour", TUMOUR), ("NODE", NODE)):
        roi = read_roi(path, segment=chosen)
        placed = roi.onto(grid_of(slices))
        assert places(placed) == expected_places(slices, mask)
        assert (roi.segment, roi.number) == (("Tumour", 1) if mask is TUMOUR else ("Node", 2))
        assert placed.GetPixelID() == sitk.sitkUInt8
        assert voxels(placed).max() == 1
        assert np.linalg.det(np.reshape(placed.GetDirection(), (3, 3))) == pytest.approx(1)


def test_a_fraction_of_a_half_belongs_to_the_roi(tmp_path: Path) -> None:
    fractions = TUMOUR[..., np.newaxis].astype(float)
    fractions[1, 2, 7], fractions[1, 2, 8] = 0.49, 0.51
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(a_series(), fractions, "FRACTIONAL", ("Tumour",))))
    assert voxels(roi.onto(grid_of(a_series()))).sum() == TUMOUR.sum() - 1


def test_a_fractional_seg_without_a_scale(tmp_path: Path) -> None:
    seg = a_seg(a_series(), TUMOUR[..., np.newaxis].astype(float), "FRACTIONAL", ("Tumour",))
    seg.MaximumFractionalValue = 0
    with pytest.raises(InputError, match="MaximumFractionalValue is 0; expected 1 or more"):
        read_roi(save(tmp_path / "seg.dcm", seg))


def test_planes_on_a_volume_in_another_axis_order(tmp_path: Path) -> None:
    """As NIfTI, with permuted and flipped axes, the CT has the ROI at the same places."""
    slices = a_series()
    sparse = TUMOUR * (np.arange(6) != 2)[:, np.newaxis, np.newaxis].astype(np.uint8)
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(slices, sparse[..., np.newaxis], labels=("Tumour",))))
    ct = grid_of(slices).image(np.zeros((6, ROWS, COLUMNS), np.int16))
    for order, flips in (((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))):
        turned = sitk.Flip(sitk.PermuteAxes(ct, order), flips)
        assert places(roi.onto(turned)) == expected_places(slices, sparse)


def test_the_background_of_a_label_map_seg_is_not_a_segment(tmp_path: Path) -> None:
    seg = a_seg(a_series(), TUMOUR[..., np.newaxis], "LABELMAP", ("Tumour",))
    assert [s.SegmentNumber for s in seg.SegmentSequence] == [0, 1]
    assert read_roi(save(tmp_path / "seg.dcm", seg)).segment == "Tumour"


def test_a_seg_of_a_single_plane_keeps_the_slice_thickness(tmp_path: Path) -> None:
    slices = a_series()
    only = TUMOUR * (np.arange(6) == 4)[:, np.newaxis, np.newaxis].astype(np.uint8)
    seg = a_seg(slices, only[..., np.newaxis], labels=("Tumour",))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    assert measures.SliceThickness == 2.5
    roi = read_roi(save(tmp_path / "seg.dcm", seg))
    assert places(roi.onto(grid_of(slices))) == expected_places(slices, only)
    # Between two slices, resampled: the plane is as thick as a slice.
    between = replace(grid_of(slices), origin=(-12.5, -30.25, 102.0))
    there = roi.image(between, resample=True)
    assert there.GetSpacing() == pytest.approx((0.5, 0.75, 2.5))
    assert places(there) == expected_places(slices, only)
    assert voxels(roi.onto(between, resample=True)).sum() == 1


def test_a_segment_must_be_chosen_and_be_there(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.dcm", a_seg(a_series(), np.stack([TUMOUR, NODE], axis=-1)))
    with pytest.raises(InputError, match=r"2 segments; expected one.*`segment`: 1: Tumour; 2: Node"):
        read_roi(path)
    with pytest.raises(InputError, match=r"'Liver' is not in seg\.dcm; expected one of: 1: Tumour; 2: Node"):
        read_roi(path, segment="Liver")
    with pytest.raises(InputError, match="'3' is not in"):
        read_roi(path, segment=3)


def test_a_label_that_two_segments_bear_is_no_choice(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.dcm", a_seg(a_series(), np.stack([TUMOUR, NODE], axis=-1), labels=("Tumour", "tumour")))
    with pytest.raises(InputError, match="'tumour' fits 2 segments"):
        read_roi(path, segment="tumour")
    assert voxels(read_roi(path, segment=2).onto(grid_of(a_series()))).sum() == NODE.sum()


def test_an_empty_segment(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.dcm", a_seg(a_series(), np.stack([TUMOUR, np.zeros_like(TUMOUR)], axis=-1)))
    with pytest.raises(InputError, match=r"segment 'Node' in seg\.dcm\) is empty"):
        read_roi(path, segment="Node")


def test_a_seg_says_in_which_frame_of_reference_it_lies(tmp_path: Path) -> None:
    slices = a_series()
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))))
    assert roi.frame_of_reference == slices[0].FrameOfReferenceUID
    assert roi.frame_of_reference not in repr(roi)
    assert read_roi(label_map(tmp_path / "roi.nrrd", TUMOUR)).frame_of_reference is None


def test_a_folder_with_one_seg(tmp_path: Path) -> None:
    slices = a_series()
    for k, d in enumerate(slices):
        save(tmp_path / f"{k}", d)
    with pytest.raises(InputError, match="has 0 DICOM SEG or RTSTRUCT files; expected one"):
        read_roi(tmp_path)
    save(tmp_path / "seg", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",)))
    assert voxels(read_roi(tmp_path).onto(grid_of(slices))).sum() == TUMOUR.sum()
    save(tmp_path / "again", a_seg(slices, NODE[..., np.newaxis], labels=("Node",)))
    with pytest.raises(InputError, match=r"has 2 DICOM SEG or RTSTRUCT files \(again, seg\); expected one"):
        read_roi(tmp_path)


def test_other_dicom_is_no_segmentation(tmp_path: Path) -> None:
    d = a_series(1)[0]
    with pytest.raises(InputError, match=r"ct\.dcm is CT Image Storage \(CT\); expected a DICOM SEG or an RTSTRUCT"):
        read_roi(save(tmp_path / "ct.dcm", d))


def test_a_header_with_several_values_for_one(tmp_path: Path) -> None:
    seg = a_seg(a_series(), TUMOUR[..., np.newaxis], labels=("Tumour",))
    path = save(tmp_path / "seg.dcm", seg)
    written = path.read_bytes()
    uid = str(seg.SOPClassUID).encode()
    place = written.rindex(uid)  # not the one of the file's meta information
    path.write_bytes(written[:place] + b"1.2.840\\" + uid[8:] + written[place + len(uid) :])
    with pytest.raises(InputError, match=r"seg\.dcm"):
        read_roi(path)


def test_a_seg_must_have_the_stated_frames(tmp_path: Path) -> None:
    """Of frames, positions and pixels: the file has as many as it states, or is refused."""
    slices = a_series()
    whole = a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))
    assert (whole.NumberOfFrames, len(whole.PixelData)) == (3, 3 * ROWS * COLUMNS // 8)
    assert voxels(read_roi(save(tmp_path / "seg.dcm", whole)).onto(grid_of(slices))).sum() == TUMOUR.sum()
    damages = {
        r"NumberOfFrames is 2, but 3 frames have a position": lambda d: setattr(d, "NumberOfFrames", 2),
        r"NumberOfFrames is 3, but 2 frames have a position": lambda d: d.PerFrameFunctionalGroupsSequence.pop(),
        r"the pixel data have 40 bytes; expected 72": lambda d: setattr(d, "PixelData", d.PixelData[:40]),
        r"the pixel data have 96 bytes; expected 72": lambda d: setattr(d, "PixelData", d.PixelData + bytes(24)),
    }
    for number, (message, damage) in enumerate(damages.items()):
        one = copy.deepcopy(whole)
        damage(one)
        with pytest.raises(InputError, match=rf"{number}\.dcm: {message}"):
            read_roi(save(tmp_path / f"{number}.dcm", one))
    path = save(tmp_path / "more.dcm", whole)
    for inserted in (1, 7, 8, 20):
        written = path.read_bytes()
        path.write_bytes(written[:-40] + bytes(inserted) + written[-40:])
        with pytest.raises(InputError, match=r"more\.dcm: there are bytes behind the pixel data"):
            read_roi(path)
        path.write_bytes(written)
    whole.DataSetTrailingPadding = bytes(10)
    assert voxels(read_roi(save(tmp_path / "padded.dcm", whole)).onto(grid_of(slices))).sum() == TUMOUR.sum()
    path = save(tmp_path / "cut.dcm", whole)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read_roi(path)


UNCOMPRESSED = [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        *(("BINARY", syntax) for syntax in UNCOMPRESSED),
        *(("FRACTIONAL", syntax) for syntax in (*UNCOMPRESSED, RLELossless, JPEGLSLossless)),
        *(("LABELMAP", syntax) for syntax in (*UNCOMPRESSED, RLELossless, JPEGLSLossless)),
    ],
)
def test_a_seg_in_another_transfer_syntax(tmp_path: Path, kind: str, syntax: UID) -> None:
    slices = a_series()
    mask = TUMOUR[..., np.newaxis].astype(float if kind == "FRACTIONAL" else np.uint8)
    seg = a_seg(slices, mask, kind, ("Tumour",))
    if syntax.is_encapsulated:
        seg.compress(syntax)
    else:
        seg.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "seg.dcm"
    dcmwrite(path, seg, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=True)
    assert places(read_roi(path).onto(grid_of(slices))) == expected_places(slices, TUMOUR)


@pytest.mark.parametrize("shape", [(5, 7), (3, 3), (9, 11), (2, 5)])
def test_frames_of_bits_that_begin_within_a_byte(tmp_path: Path, shape: tuple[int, int]) -> None:
    slices = a_series(5)
    for d in slices:
        d.Rows, d.Columns = shape
        d.PixelData = bytes(2 * shape[0] * shape[1])
    mask = (np.random.default_rng(0).random((5, *shape)) > 0.4).astype(np.uint8)
    mask[:, 0, 0] = 1
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(slices, mask[..., np.newaxis], labels=("Tumour",))))
    assert places(roi.onto(grid_of(slices))) == expected_places(slices, mask)


@pytest.mark.parametrize(
    "keyword",
    ["DimensionIndexSequence", "ReferencedSeriesSequence", "StudyInstanceUID", "SegmentsOverlap", "PatientID"],
)
def test_a_seg_without_what_no_mask_needs(tmp_path: Path, keyword: str) -> None:
    slices = a_series()
    seg = a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))
    del seg[keyword]
    del seg.SegmentSequence[0].SegmentLabel
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence
    roi = read_roi(save(tmp_path / "seg.dcm", seg))
    assert roi.segment == "1"
    assert places(roi.onto(grid_of(slices))) == expected_places(slices, TUMOUR)


def test_a_deflated_seg_that_inflates_without_end(tmp_path: Path) -> None:
    """Refused before it fills the memory: the header states how long the pixels are."""
    seg = a_seg(a_series(), TUMOUR[..., np.newaxis], labels=("Tumour",))
    seg.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    seg.PixelData += bytes(16 << 20)
    path = tmp_path / "seg.dcm"
    dcmwrite(path, seg, implicit_vr=False, little_endian=True, enforce_file_format=True)
    assert path.stat().st_size < 1 << 17
    with pytest.raises(InputError, match="the deflated file inflates to more than"):
        read_roi(path)


def test_a_compressed_seg_must_have_the_stated_frames(tmp_path: Path) -> None:
    slices = a_series()
    seg = a_seg(slices, TUMOUR[..., np.newaxis].astype(float), "FRACTIONAL", ("Tumour",))
    seg.compress(RLELossless)
    assert voxels(read_roi(save(tmp_path / "seg.dcm", seg)).onto(grid_of(slices))).sum() == TUMOUR.sum()
    frames = list(generate_frames(seg.PixelData, number_of_frames=3))
    for count in (2, 4):
        seg.PixelData = encapsulate((frames * 2)[:count])
        with pytest.raises(InputError, match=rf"NumberOfFrames is 3, but the pixel data have {count} frames"):
            read_roi(save(tmp_path / "seg.dcm", seg))


def test_a_frame_of_a_segment_that_is_not_described(tmp_path: Path) -> None:
    seg = a_seg(a_series(), np.stack([TUMOUR, NODE], axis=-1))
    seg.PerFrameFunctionalGroupsSequence[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 4
    with pytest.raises(InputError, match=r"frame 2 shows segment 4, .* expected one of 1, 2"):
        read_roi(save(tmp_path / "seg.dcm", seg), segment=1)


def test_two_frames_at_one_position(tmp_path: Path) -> None:
    seg = a_seg(a_series(), TUMOUR[..., np.newaxis], labels=("Tumour",))
    first, second = (seg.PerFrameFunctionalGroupsSequence[k].PlanePositionSequence[0] for k in (0, 1))
    second.ImagePositionPatient = first.ImagePositionPatient
    with pytest.raises(GeometryError, match=r"frame 1 and frame 2 show the segment at the same position"):
        read_roi(save(tmp_path / "seg.dcm", seg))


@pytest.mark.parametrize("spacing", [None, 0, 2.5, 5.0, -2.5])
@pytest.mark.parametrize("rows", [(1, 3, 5), (0, 3, 4), (2,), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, FEET_FIRST_PRONE])
def test_sparse_planes_lie_where_they_were_drawn(
    tmp_path: Path, orientation: tuple[float, ...], rows: tuple[int, ...], spacing: float | None
) -> None:
    """Whatever SpacingBetweenSlices says, and between the planes the slices stay empty."""
    slices = a_series(orientation=orientation)
    mask = np.zeros_like(TUMOUR)
    for row in rows:
        mask[row, 2 : 4 + row, 3:9] = 1
    seg = a_seg(slices, mask[..., np.newaxis], labels=("Tumour",))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if spacing is not None:
        measures.SpacingBetweenSlices = spacing
    elif "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    roi = read_roi(save(tmp_path / "seg.dcm", seg))
    assert places(roi.onto(grid_of(slices))) == expected_places(slices, mask)
    assert places(roi.onto(grid_of(slices), resample=True)) == expected_places(slices, mask)


def test_planes_may_be_unevenly_apart(tmp_path: Path) -> None:
    """Such planes lie on no even CT, and no place is guessed."""
    slices = a_series()
    move(slices[4], 1.0)
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))))
    even = grid_of(a_series())
    with pytest.raises(
        GeometryError, match=r"plane of the ROI \(frame 1, centred at .*112\.00\) mm\) lies on no slice of the CT"
    ):
        roi.onto(even)
    with pytest.raises(GeometryError, match=r"not 2\.5 mm or a multiple apart, .* but 2\.5 to 6 mm"):
        roi.onto(even, resample=True)


def test_sparse_planes_between_the_slices_are_resampled_by_the_stated_distance(tmp_path: Path) -> None:
    """So the slices between them stay empty there too; without a stated distance nothing is resampled."""
    slices = a_series()
    sparse = TUMOUR * np.isin(np.arange(6), (1, 4))[:, np.newaxis, np.newaxis].astype(np.uint8)
    seg = a_seg(slices, sparse[..., np.newaxis], labels=("Tumour",))
    roi = read_roi(save(tmp_path / "seg.dcm", seg))
    between = replace(grid_of(slices), origin=(-12.5, -30.25, 101.75))
    there = voxels(embedded(roi.onto(between, resample=True), between))
    assert there.sum(axis=(1, 2)).tolist() == sparse.sum(axis=(1, 2)).tolist()
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        if keyword in measures:
            del measures[keyword]
    roi = read_roi(save(tmp_path / "seg.dcm", seg))
    assert places(roi.onto(grid_of(slices))) == expected_places(slices, sparse)
    with pytest.raises(GeometryError, match=r"seg\.dcm states neither SpacingBetweenSlices nor SliceThickness"):
        roi.onto(between, resample=True)


def test_a_plane_outside_the_ct(tmp_path: Path) -> None:
    slices = a_series()
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))))
    with pytest.raises(GeometryError, match=r"frame 1, centred at \(-8\.50, -28\.00, 111\.00\) mm\) is outside the CT"):
        roi.onto(grid_of(slices[:4]))
    with pytest.raises(GeometryError, match="no voxel inside the CT"):
        roi.onto(grid_of(slices[5:]))
    assert voxels(roi.onto(grid_of(slices[1:5]))).sum() == TUMOUR.sum()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"ImagePositionPatient": [1e300, 0, 0]}, "frame 2"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"ImagePositionPatient": [0, 0]}, "ImagePositionPatient is missing or not 3 numbers"),
        ({"ImageOrientationPatient": [0] * 6}, "expected two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected two perpendicular unit vectors"),
        ({"PixelSpacing": [0, 0.5]}, "pixel sizes above 0"),
        ({"PixelSpacing": [-1, 0.5]}, "pixel sizes above 0"),
        ({"PixelSpacing": None}, "PixelSpacing is missing"),
    ],
)
def test_a_seg_without_a_geometry(tmp_path: Path, damage: dict[str, object], message: str) -> None:
    slices = a_series()
    seg = a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))
    shared_groups, groups = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
    for part in (
        groups[1].PlanePositionSequence[0],
        shared_groups.PlaneOrientationSequence[0],
        shared_groups.PixelMeasuresSequence[0],
    ):
        for keyword, value in damage.items():
            if keyword in part:
                setattr(part, keyword, value)
    with pytest.raises((InputError, GeometryError), match=message):
        read_roi(save(tmp_path / "seg.dcm", seg)).onto(grid_of(slices))


def label_map(path: Path, values: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-1, 2, 3))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["roi.nii.gz", "roi.nrrd", "roi.mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_label_maps(tmp_path: Path, name: str, dtype: type) -> None:
    path = label_map(tmp_path / name, (TUMOUR * 7).astype(dtype))
    for chosen in (None, 7, "7"):
        roi = read_roi(path, segment=chosen)
        assert (voxels(roi.mask) == TUMOUR).all()
        assert roi.segment == "7"
        assert roi.mask.GetSpacing() == pytest.approx((0.5, 0.75, 2.5))
        assert roi.mask.GetDirection() == pytest.approx((-1, 0, 0, 0, -1, 0, 0, 0, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("one", [0.99999999, 1.00000001, 0.9995, 1.0005])
def test_a_label_may_be_rounded(tmp_path: Path, dtype: type, one: float) -> None:
    """Also where parts of the map are rounded to one side and parts to the other, and the background to -1e-9."""
    values = np.where(TUMOUR, one, -1e-9).astype(dtype)
    values[2] = np.where(TUMOUR[2], 1.0, 0.0)
    roi = read_roi(label_map(tmp_path / "roi.nrrd", values))
    assert (voxels(roi.mask) == TUMOUR).all()
    assert (roi.segment, roi.number) == ("1", 1)


def test_a_label_map_of_255(tmp_path: Path) -> None:
    roi = read_roi(label_map(tmp_path / "roi.nii.gz", TUMOUR * np.uint8(255)))
    assert (voxels(roi.mask) == TUMOUR).all()
    assert (roi.segment, roi.number) == ("255", 255)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("folder", "roi", "segment", "counts"),
    [
        ("sparse-seg/ct", "sparse-seg/alternate-nospacing.dcm", None, [0, 50, 0, 114, 0, 50, 0]),
        ("chinese-segment/ct", "chinese-segment/utf8.dcm", "肿瘤", [0, 50, 80, 114, 80, 50, 0]),
        ("control/ct", "control/tumour.nii.gz", None, [0, 50, 80, 114, 80, 50, 0]),
        ("control/ct.nii.gz", "control/tumour.nii.gz", None, [0, 50, 80, 114, 80, 50, 0]),
        ("float-labels/ct.nii.gz", "float-labels/almost.nii.gz", None, [0, 50, 80, 114, 80, 50, 0]),
    ],
)
def test_inputs_that_once_went_wrong(folder: str, roi: str, segment: str | None, counts: list[int]) -> None:
    cases = shared("cases")
    grid = read_scan(cases / folder).grid
    block = read_roi(cases / roi, segment=segment).onto(grid)
    assert voxels(axial_lps(embedded(block, grid))).sum(axis=(1, 2)).tolist() == counts
    assert keyslice.by_area(grid, block).index == 3


def test_a_real_damaged_seg() -> None:
    with pytest.raises(InputError, match="NumberOfFrames is 3, but 5 frames have a position"):
        read_roi(shared("cases") / "damaged-volumes/seg_frames3.dcm")


def test_several_labels_are_listed_with_their_voxels(tmp_path: Path) -> None:
    path = label_map(tmp_path / "roi.nii.gz", TUMOUR + 4 * NODE)
    with pytest.raises(InputError, match=r"2 segments.*`segment`: 1 \(31 voxels\); 4 \(12 voxels\)"):
        read_roi(path)
    with pytest.raises(InputError, match=r"'2' is not in roi\.nii\.gz; expected one of: 1 \(31 voxels\); 4"):
        read_roi(path, segment=2)
    assert (voxels(read_roi(path, segment=4).mask) == NODE).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (TUMOUR * 0, r"The ROI \(roi\.nrrd\) is empty"),
        (TUMOUR * 0.5, r"values that are not labels \(0\.5\)"),
        (TUMOUR * np.float32(np.nan), r"roi\.nrrd has NaN .* in 1152 and"),
        (np.where(TUMOUR, 1, np.inf).astype(np.float32), r"infinite values in 1121 of 1152 voxels"),
        (TUMOUR * np.float64(0.99), r"values that are not labels \(0\.99\)"),
        (TUMOUR * 0.9989999999, r"values that are not labels \(0\.9989999999\)"),
        (np.where(TUMOUR, 1, 0.30000000000000004), r"values that are not labels \(0\.30000000000000004\)"),
        (np.where(TUMOUR, 1, -0.25), r"negative values \(lowest -0\.25\)"),
        (TUMOUR.astype(np.int16) * 40 - 1000, r"negative values \(lowest -1000\).*seems to be the CT"),
    ],
)
def test_files_that_are_not_masks(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_roi(label_map(tmp_path / "roi.nrrd", values))


def test_vectors_and_pictures_are_not_masks(tmp_path: Path) -> None:
    vector = sitk.GetImageFromArray(np.stack([TUMOUR] * 3, axis=-1), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "rgb.nrrd"))
    with pytest.raises(InputError, match="3 values per voxel; expected one label"):
        read_roi(tmp_path / "rgb.nrrd")
    (tmp_path / "roi.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="is a picture"):
        read_roi(tmp_path / "roi.png")
    with pytest.raises(InputError, match="No such file"):
        read_roi(tmp_path / "gone.nrrd")


def seg_nrrd(path: Path, values: np.ndarray, fields: dict[str, str]) -> Path:
    """A `.seg.nrrd` as Slicer writes it; (z, y, x) or, with layers, (z, y, x, layer) uint8."""
    layered = values.ndim == 4
    z, y, x = values.shape[:3]
    head = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {values.ndim}",
        "space: left-posterior-superior",
        f"sizes: {f'{values.shape[3]} ' if layered else ''}{x} {y} {z}",
        f"space directions: {'none ' if layered else ''}(0.5,0,0) (0,0.75,0) (0,0,2.5)",
        f"kinds: {'list ' if layered else ''}domain domain domain",
        "encoding: raw",
        "space origin: (-1,2,3)",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    path.write_bytes("\n".join(head).encode() + b"\n\n" + values.tobytes())
    return path


NAMED = {
    "Segment0_ID": "Segment_1",
    "Segment0_Name": "Tumour",
    "Segment0_LabelValue": "3",
    "Segment0_Layer": "0",
    "Segment1_Name": "lymph node",
    "Segment1_LabelValue": "5",
    "Segment1_Layer": "0",
}


@pytest.mark.smoke
def test_a_slicer_segmentation_is_chosen_from_by_name(tmp_path: Path) -> None:
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", 3 * TUMOUR + 5 * (NODE & ~TUMOUR), NAMED)
    for chosen, mask, name in (
        ("tumour", TUMOUR, "Tumour"),
        ("Lymph Node", NODE, "lymph node"),
        (5, NODE, "lymph node"),
    ):
        roi = read_roi(path, segment=chosen)
        assert (voxels(roi.mask) == mask).all()
        assert roi.segment == name
        assert roi.mask.GetOrigin() == pytest.approx((-1, 2, 3))
    with pytest.raises(InputError, match=r"3: Tumour \(31 voxels\); 5: lymph node \(12 voxels\)"):
        read_roi(path)


def test_the_stomach_is_found_among_other_organs_by_its_name(tmp_path: Path) -> None:
    values = 3 * TUMOUR + 5 * (NODE & ~TUMOUR)
    organs = {**NAMED, "Segment0_Name": "liver", "Segment1_Name": "Stomach"}
    found = read_stomach(seg_nrrd(tmp_path / "organs.seg.nrrd", values, organs))
    assert (found.segment, found.number) == ("Stomach", 5)
    assert (voxels(found.mask) == NODE).all()
    assert read_stomach(tmp_path / "organs.seg.nrrd", segment="liver").number == 3
    unnamed = seg_nrrd(tmp_path / "unnamed.seg.nrrd", values, NAMED)
    with pytest.raises(InputError, match=r"2 segments.*called 'stomach'.*`stomach_segment`: 3: Tumour"):
        read_stomach(unnamed)
    only = seg_nrrd(tmp_path / "only.seg.nrrd", 5 * NODE, NAMED)
    assert read_stomach(only).warnings == (
        "The only segment of the mask of the stomach has another name than 'stomach'; it was taken as the stomach.",
    )
    assert read_stomach(only, segment="lymph node").warnings == ()


def test_an_empty_stomach_is_named_so(tmp_path: Path) -> None:
    empty = seg_nrrd(tmp_path / "empty.seg.nrrd", 0 * NODE, NAMED)
    with pytest.raises(InputError, match=r"^Mask of the stomach: .*empty.seg.nrrd\) is empty"):
        read_stomach(empty)


@pytest.mark.parametrize("others", [NODE, TUMOUR + 3 * (NODE & ~TUMOUR)], ids=["one other", "two others"])
def test_an_empty_segment_of_the_stomach_is_not_called_missing(tmp_path: Path, others: np.ndarray) -> None:
    """Nor is another segment taken in its place, although that is the only one with voxels."""
    organs = {"Segment0_Name": "liver", "Segment0_LabelValue": "1", "Segment1_Name": "Stomach",
              "Segment1_LabelValue": "2", "Segment2_Name": "spleen", "Segment2_LabelValue": "3"}  # fmt: skip
    path = seg_nrrd(tmp_path / "organs.seg.nrrd", others, organs)
    with pytest.raises(InputError, match=r"^Mask of the stomach: The ROI \(segment 'Stomach' in .*\) is empty"):
        read_stomach(path)
    assert read_stomach(path, segment="liver").segment == "liver"


def test_overlapping_segments_are_in_layers(tmp_path: Path) -> None:
    wide = np.clip(TUMOUR + NODE, 0, 1)
    fields = {**NAMED, "Segment0_LabelValue": "1", "Segment1_LabelValue": "1", "Segment1_Layer": "1"}
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", np.stack([TUMOUR, wide], axis=-1), fields)
    assert (voxels(read_roi(path, segment="Tumour").mask) == TUMOUR).all()
    assert (voxels(read_roi(path, segment="lymph node").mask) == wide).all()
    with pytest.raises(InputError, match="'1' fits 2 segments"):
        read_roi(path, segment=1)


def test_segmentations_of_slicer_before_4_11_have_a_layer_each(tmp_path: Path) -> None:
    fields = {"Segment0_Name": "Tumour", "Segment1_Name": "Node"}
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", np.stack([TUMOUR, NODE], axis=-1), fields)
    assert (voxels(read_roi(path, segment="Node").mask) == NODE).all()


@pytest.mark.parametrize(
    ("key", "text", "limits"),
    [
        ("LabelValue", "abc", "1 to 2147483647"),
        ("LabelValue", "0", "1 to 2147483647"),
        ("LabelValue", "1.5", "1 to 2147483647"),
        ("Layer", "5", "0 to 0"),
        ("Layer", "-1", "0 to 0"),
        ("Layer", "", "0 to 0"),
    ],
)
def test_a_slicer_segmentation_that_contradicts_itself(tmp_path: Path, key: str, text: str, limits: str) -> None:
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", 3 * TUMOUR, {**NAMED, f"Segment1_{key}": text})
    with pytest.raises(InputError, match=rf"Segment1_{key} is '{text}'; expected a whole number from {limits}"):
        read_roi(path, segment="lymph node")


def test_names_in_other_scripts(tmp_path: Path) -> None:
    """In Slicer's file as UTF-8; in DICOM in the character set that the header names, as GB18030."""
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", 3 * TUMOUR, {**NAMED, "Segment0_Name": "肿瘤"})
    assert read_roi(path, segment="肿瘤").segment == "肿瘤"
    # In another encoding a name is not guessed; the number chooses the segment, and the result can be written.
    path.write_bytes(path.read_bytes().replace("肿瘤".encode(), "肿瘤".encode("gb18030")))
    assert read_roi(path, segment=3).segment.encode("utf-8").decode() == "\ufffd" * 4
    slices = a_series()
    for character_set in ("ISO_IR 192", "GB18030"):
        seg = a_seg(slices, np.stack([TUMOUR, NODE], axis=-1), labels=("肿瘤", "胃"))
        seg.SpecificCharacterSet = character_set
        path = save(tmp_path / f"{character_set}.dcm", seg)
        encoding = {"ISO_IR 192": "utf-8"}.get(character_set, character_set)
        assert "肿瘤".encode(encoding) in path.read_bytes()
        for chosen in ("肿瘤", 1):
            roi = read_roi(path, segment=chosen)
            assert (roi.segment, roi.number) == ("肿瘤", 1)
            assert places(roi.onto(grid_of(slices))) == expected_places(slices, TUMOUR)


def test_a_named_segment_without_voxels(tmp_path: Path) -> None:
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", 3 * TUMOUR, NAMED)
    assert read_roi(path).segment == "Tumour"  # the only one that was drawn
    with pytest.raises(InputError, match=r"segment 'lymph node' .* is empty"):
        read_roi(path, segment="lymph node")


def test_a_real_seg_agrees_with_its_nrrd_voxel_for_voxel() -> None:
    seg = read_roi(shared("ct/ct_3slice_liver_seg.dcm"), segment="liver")
    nrrd = read_roi(shared("ct/ct_3slice_liver_seg.nrrd"))
    ct = read_scan(shared("ct/ct_3slice_dicom")).grid
    assert (voxels(nrrd.onto(ct)) == voxels(seg.onto(ct))).all()
    assert voxels(seg.onto(ct)).sum() == voxels(nrrd.mask).sum() > 0
    assert (seg.segment, nrrd.segment) == ("Liver", "1")


def test_a_real_label_map() -> None:
    path = shared("ct/totalseg_example_seg.nii.gz")
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 6
    assert (voxels(read_roi(path, segment=6).mask) == expected).all()
