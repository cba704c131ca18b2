"""Read ROIs from DICOM SEG, Slicer segmentations and label maps: segment, geometry, and files that are not masks."""

from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import AXIAL, COLUMNS, CORONAL, OBLIQUE, ROWS, a_series, move, save, voxels
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RTStructureSetStorage, generate_uid

from GTRStagingLib.errors import GeometryError, InputError
from GTRStagingLib.imaging.rois import read_roi

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
        assert places(roi.mask) == expected_places(slices, mask)
        assert roi.segment == ("Tumour" if mask is TUMOUR else "Node")
        assert roi.mask.GetPixelID() == sitk.sitkUInt8
        assert voxels(roi.mask).max() == 1
        assert np.linalg.det(np.reshape(roi.mask.GetDirection(), (3, 3))) == pytest.approx(1)


def test_a_fraction_of_a_half_belongs_to_the_roi(tmp_path: Path) -> None:
    fractions = TUMOUR[..., np.newaxis].astype(float)
    fractions[1, 2, 7], fractions[1, 2, 8] = 0.49, 0.51
    roi = read_roi(save(tmp_path / "seg.dcm", a_seg(a_series(), fractions, "FRACTIONAL", ("Tumour",))))
    assert voxels(roi.mask).sum() == TUMOUR.sum() - 1


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
    assert places(roi.mask) == expected_places(slices, only)
    assert roi.mask.GetSpacing() == pytest.approx((0.5, 0.75, 2.5))


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
    assert voxels(read_roi(path, segment=2).mask).sum() == NODE.sum()


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
    with pytest.raises(InputError, match="has 0 DICOM SEG files; expected one"):
        read_roi(tmp_path)
    save(tmp_path / "seg", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",)))
    assert voxels(read_roi(tmp_path).mask).sum() == TUMOUR.sum()
    save(tmp_path / "again", a_seg(slices, NODE[..., np.newaxis], labels=("Node",)))
    with pytest.raises(InputError, match=r"has 2 DICOM SEG files \(again, seg\); expected one"):
        read_roi(tmp_path)


def test_other_dicom_is_no_segmentation(tmp_path: Path) -> None:
    d = a_series(1)[0]
    with pytest.raises(InputError, match=r"ct\.dcm is CT Image Storage \(CT\); expected a DICOM SEG"):
        read_roi(save(tmp_path / "ct.dcm", d))
    d.Modality, d.SOPClassUID = "RTSTRUCT", RTStructureSetStorage
    with pytest.raises(InputError, match=r"RT Structure Set Storage \(RTSTRUCT\).*must be converted"):
        read_roi(save(tmp_path / "rt.dcm", d))


def test_a_truncated_seg(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.dcm", a_seg(a_series(), TUMOUR[..., np.newaxis], labels=("Tumour",)))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"seg\.dcm: the frames cannot be decoded"):
        read_roi(path)


def test_a_seg_on_uneven_planes(tmp_path: Path) -> None:
    slices = a_series()
    move(slices[4], 1.0)
    with pytest.raises(GeometryError, match=r"seg\.dcm: the frames do not form an even"):
        read_roi(save(tmp_path / "seg.dcm", a_seg(slices, TUMOUR[..., np.newaxis], labels=("Tumour",))))


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


def test_a_named_segment_without_voxels(tmp_path: Path) -> None:
    path = seg_nrrd(tmp_path / "roi.seg.nrrd", 3 * TUMOUR, NAMED)
    assert read_roi(path).segment == "Tumour"  # the only one that was drawn
    with pytest.raises(InputError, match=r"segment 'lymph node' .* is empty"):
        read_roi(path, segment="lymph node")


def test_a_real_seg_agrees_with_its_nrrd_voxel_for_voxel() -> None:
    seg = read_roi(shared("ct/ct_3slice_liver_seg.dcm"), segment="liver")
    nrrd = read_roi(shared("ct/ct_3slice_liver_seg.nrrd"))
    there = sitk.Resample(nrrd.mask, seg.mask, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert (voxels(there) == voxels(seg.mask)).all()
    assert voxels(seg.mask).sum() == voxels(nrrd.mask).sum() > 0
    assert (seg.segment, nrrd.segment) == ("Liver", "1")


def test_a_real_label_map() -> None:
    path = shared("ct/totalseg_example_seg.nii.gz")
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) == 6
    assert (voxels(read_roi(path, segment=6).mask) == expected).all()
