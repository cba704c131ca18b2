"""Read ROIs of an RTSTRUCT: contours on the slices of the CT, holes, and files that are refused.

Two other programs draw the contours too: `matplotlib.path` here, and once, for the real file, rt-utils 1.2.7.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers.dicom_files import AXIAL, COLUMNS, CORONAL, OBLIQUE, ROWS, a_series, save, voxels, write
from matplotlib.path import Path as Polygon
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy.ndimage import binary_dilation, binary_erosion

from GTRStagingLib.errors import GeometryError, InputError, StagingError
from GTRStagingLib.imaging.geometry import axial_lps, embedded
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.rtstruct import Contours
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.results.canvas import contours
from GTRStagingLib.stages import TStage

SQUARE = [(2.5, 2.5), (2.5, 8.5), (10.5, 8.5), (10.5, 2.5)]  # (column, row): 8 columns, 6 rows
HOLE = [(4.5, 4.5), (8.5, 4.5), (8.5, 6.5), (4.5, 6.5)]  # 4 columns, 2 rows
KEY_HOLE = [*SQUARE[:1], *HOLE, HOLE[0], *SQUARE]
"""The square's first corner, a channel to the hole, the hole, back, and the square."""


def on_slice(d: Dataset, corners: list[tuple[float, float]]) -> list[float]:
    """Return the ContourData of (column, row) corners on a slice, by the formula of PS3.3 C.7.6.2.1.1."""
    x, y = np.array(d.ImageOrientationPatient[:3], float), np.array(d.ImageOrientationPatient[3:], float)
    position = np.array(d.ImagePositionPatient, float)
    points = [position + column * d.PixelSpacing[1] * x + row * d.PixelSpacing[0] * y for column, row in corners]
    return [round(float(v), 6) for v in np.ravel(points)]


def an_rtstruct(rois: dict[str, list[list[float]]], frame: str = "") -> Dataset:
    """Return an RTSTRUCT; each ROI is a list of contours' data."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID, d.Modality = RTStructureSetStorage, generate_uid(), "RTSTRUCT"
    d.StudyInstanceUID, d.SeriesInstanceUID, d.SpecificCharacterSet = generate_uid(), generate_uid(), "ISO_IR 192"
    d.StructureSetLabel, d.StructureSetROISequence, d.ROIContourSequence = "RT", Sequence(), Sequence()
    for number, (name, outlines) in enumerate(rois.items(), 1):
        described, drawn = Dataset(), Dataset()
        described.ROINumber, described.ROIName = number, name
        described.ReferencedFrameOfReferenceUID = frame or generate_uid()
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for data in outlines:
            one = Dataset()
            one.ContourGeometricType, one.NumberOfContourPoints, one.ContourData = "CLOSED_PLANAR", len(data) // 3, data
            drawn.ContourSequence.append(one)
        d.StructureSetROISequence.append(described)
        d.ROIContourSequence.append(drawn)
    return d


def drawn(folder: Path, slices: list[Dataset], rt: Dataset, segment: str | int | None = None) -> np.ndarray:
    """Return the ROI in the order of the slices, (z, y, x) bool."""
    scan = read_scan(write(folder / "ct", slices))
    roi = read_roi(save(folder / "rt.dcm", rt), segment=segment)
    return voxels(embedded(roi.onto(scan.grid), scan.grid)).astype(bool)


def box(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[rows, columns] = True
    return mask


FILLED = box(slice(3, 9), slice(3, 11))
RING = FILLED & ~box(slice(5, 7), slice(5, 9))


@pytest.mark.smoke
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
def test_contours_lie_on_their_slices(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    """Between the contours the slices stay empty; holes, by contours in contours and by key holes, are holes."""
    slices = a_series(orientation=orientation)
    rt = an_rtstruct(
        {
            "GTV": [
                on_slice(slices[1], SQUARE),
                on_slice(slices[3], SQUARE),
                on_slice(slices[3], HOLE),
                on_slice(slices[4], KEY_HOLE),
            ]
        }
    )
    mask = drawn(tmp_path, slices, rt)
    expected = np.zeros_like(mask)
    expected[1], expected[3], expected[4] = FILLED, RING, RING
    assert (mask == expected).all()


def test_contours_on_a_volume_in_another_axis_order(tmp_path: Path) -> None:
    """As in a NIfTI with permuted and flipped axes: the same mask at the same place."""
    slices = a_series()
    rt = save(tmp_path / "rt.dcm", an_rtstruct({"GTV": [on_slice(slices[k], SQUARE) for k in (1, 2)]}))
    ct = read_scan(write(tmp_path / "ct", slices)).grid.image(np.zeros((6, ROWS, COLUMNS), np.int16))
    turned = sitk.Flip(sitk.PermuteAxes(ct, (2, 0, 1)), (True, False, True))
    mask = voxels(axial_lps(embedded(read_roi(rt).onto(turned), turned))).astype(bool)
    assert (mask[1] == FILLED).all()
    assert (mask[2] == FILLED).all()
    assert mask.sum() == 2 * FILLED.sum()


def test_islands_are_added_and_an_island_in_a_hole_belongs_to_the_roi(tmp_path: Path) -> None:
    slices = a_series()
    island = [(5.5, 4.5), (7.5, 4.5), (7.5, 6.5), (5.5, 6.5)]
    beside = [(12.5, 2.5), (14.5, 2.5), (14.5, 4.5), (12.5, 4.5)]
    rt = an_rtstruct({"GTV": [on_slice(slices[2], points) for points in (SQUARE, HOLE, island, beside)]})
    expected = RING | box(slice(5, 7), slice(6, 8)) | box(slice(3, 5), slice(13, 15))
    assert (drawn(tmp_path, slices, rt)[2] == expected).all()


def test_contours_that_overlap_in_part_have_no_clear_meaning(tmp_path: Path) -> None:
    """A union, or a hole that is wrong? Touching by less than a pixel is no overlap, and the file may state it."""
    slices = a_series()
    across = [(6.5, 4.5), (14.5, 4.5), (14.5, 10.5), (6.5, 10.5)]
    rt = an_rtstruct({"GTV": [on_slice(slices[2], SQUARE), on_slice(slices[2], across)]})
    refused(tmp_path, rt, r"centred at .* overlaps another one on the same plane in part", InputError)
    for one in rt.ROIContourSequence[0].ContourSequence:
        one.ContourGeometricType = "CLOSEDPLANAR_XOR"
    expected = FILLED ^ box(slice(5, 11), slice(7, 15))
    assert (drawn(tmp_path / "xor", slices, rt)[2] == expected).all()
    beside = [(10.2, 2.5), (10.2, 8.5), (14.5, 8.5), (14.5, 2.5)]
    protruding = [(4.5, 4.5), (8.5, 4.5), (8.5, 8.8), (4.5, 8.8)]  # a hole down to the edge, and 0.3 pixels further
    for other, added in ((beside, box(slice(3, 9), slice(11, 15))), (protruding, None)):
        rt = an_rtstruct({"GTV": [on_slice(slices[2], SQUARE), on_slice(slices[2], other)]})
        expected = FILLED ^ box(slice(5, 9), slice(5, 9)) if added is None else FILLED | added
        assert (drawn(tmp_path / f"{added is None}", slices, rt)[2] == expected).all()


def test_a_contour_through_the_centres_of_pixels_contains_them(tmp_path: Path) -> None:
    """As programs write that outline a mask by its outermost pixels, also around a hole."""
    slices = a_series()
    outer, hole = [(3, 3), (10, 3), (10, 8), (3, 8)], [(4, 4), (9, 4), (9, 7), (4, 7)]
    rt = an_rtstruct({"GTV": [on_slice(slices[2], points) for points in (outer, hole)]})
    assert (drawn(tmp_path, slices, rt)[2] == RING).all()


@pytest.mark.parametrize("seed", range(8))
def test_contours_agree_with_another_algorithm(tmp_path: Path, seed: int) -> None:
    """Irregular outlines with a hole, by `matplotlib.path`: the same pixels."""
    rng = np.random.default_rng(seed)
    slices = a_series()

    def ring(radius: float) -> np.ndarray:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 25))
        radii = radius * rng.uniform(0.6, 1.0, 25)
        return np.stack([8 + radii * np.cos(angles), 6 + radii * np.sin(angles)], axis=1)

    rings = [ring(5.3), ring(2.5)]
    rt = an_rtstruct({"GTV": [on_slice(slices[2], [tuple(p) for p in points]) for points in rings]})
    centres = np.stack(np.meshgrid(np.arange(COLUMNS), np.arange(ROWS)), axis=-1).reshape(-1, 2)
    expected = np.zeros(ROWS * COLUMNS, bool)
    for points in rings:
        expected ^= Polygon(np.vstack([points, points[:1]])).contains_points(centres)
    assert (drawn(tmp_path, slices, rt)[2] == expected.reshape(ROWS, COLUMNS)).all()


@pytest.mark.smoke
def test_a_real_rtstruct_agrees_with_rt_utils_within_a_pixel() -> None:
    folder = shared("ct/rtstruct")
    scan = read_scan(folder)
    roi = read_roi(folder)  # the only RTSTRUCT of the folder
    mask = voxels(embedded(roi.onto(scan.grid), scan.grid)).astype(bool)
    assert (roi.segment, roi.number) == ("ROI-1", 1)
    assert roi.frame_of_reference not in (None, scan.frame_of_reference)  # rt-utils made one of its own
    assert not mask[1].any()
    # What `RTStructBuilder.create_from(...).get_roi_mask_by_name("ROI-1")` of rt-utils returns for slice 0. It rounds
    # the corners to pixels and counts the outlines to the ROI.
    theirs = np.zeros_like(mask[0])
    theirs[152:202, 152:202] = True
    theirs[161:190, 161:190] = False
    theirs[161, 161] = True
    assert theirs.sum() == 1660
    thick = np.ones((3, 3), bool)
    assert not (mask[0] & ~binary_dilation(theirs, thick)).any()
    assert not (binary_erosion(theirs, thick) & ~mask[0]).any()


def test_the_outline_of_a_mask_gives_the_mask(tmp_path: Path) -> None:
    """An irregular tumour as a DICOM SEG, and its outlines halfway between pixels as an RTSTRUCT."""
    phantom = make_phantom(TStage.T3, size=64)
    write_dicom(phantom, tmp_path / "case")
    slices = [dcmread(path) for path in sorted((tmp_path / "case/ct").iterdir())]
    tumour = voxels(phantom.tumour)
    outlines = [
        on_slice(d, [(column, row) for row, column in outline[:-1]])
        for d, mask in zip(slices, tumour, strict=True)
        for outline in contours(mask.astype(float), 0.5)
    ]
    assert len(outlines) > 1
    grid = read_scan(tmp_path / "case/ct").grid
    seg = read_roi(tmp_path / "case/tumour_seg.dcm").onto(grid)
    drawn = read_roi(save(tmp_path / "rt.dcm", an_rtstruct({"GTV": outlines}))).onto(grid)
    assert (voxels(embedded(drawn, grid)) == voxels(embedded(seg, grid))).all()
    assert voxels(drawn).sum() == tumour.sum()


def test_an_roi_is_chosen_by_number_or_name(tmp_path: Path) -> None:
    slices = a_series()
    rois = {
        "BODY": [on_slice(slices[k], SQUARE) for k in range(6)],
        "肿瘤": [on_slice(slices[2], SQUARE), on_slice(slices[2], HOLE)],
        "never drawn": [],
    }
    rt = an_rtstruct(rois)
    path = save(tmp_path / "rt.dcm", rt)
    with pytest.raises(InputError, match=r"2 segments; expected one.*1: BODY; 2: 肿瘤; 3: never drawn \(0 voxels\)"):
        read_roi(path)
    with pytest.raises(InputError, match=r"'GTV' is not in rt\.dcm"):
        read_roi(path, segment="GTV")
    with pytest.raises(InputError, match=r"segment 'never drawn' in rt\.dcm\) is empty"):
        read_roi(path, segment=3)
    for chosen in ("肿瘤", 2, "2"):
        assert drawn(tmp_path, slices, rt, chosen).sum() == RING.sum()
    assert drawn(tmp_path, slices, rt, "body").sum() == 6 * FILLED.sum()


def refused(folder: Path, rt: Dataset, message: str, kind: type[StagingError]) -> None:
    slices = a_series()
    scan = read_scan(write(folder / "ct", slices))
    with pytest.raises(kind, match=message):
        read_roi(save(folder / "rt.dcm", rt)).onto(scan.grid)


def moved(mm: float) -> list[float]:
    data = np.reshape(on_slice(a_series()[2], SQUARE), (-1, 3))
    return (data + np.array([0, 0, mm])).ravel().tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (moved(1.25), r"centred at \(-9\.25, -26\.12, 107\.25\) mm lies on no slice of the CT .*2\.5 mm apart"),
        (moved(100), "lies on no slice of the CT"),
        (moved(-7.5), "lies on no slice of the CT"),
        ([0.0, 0.0, 101.0, 50.0, 0.0, 101.0, 50.0, 50.0, 101.0], "reaches outside the CT"),
        ([-10.0, -28.0, 101.0, -8.0, -28.0, 108.0, -8.0, -25.0, 114.0], "lies on no slice of the CT"),  # slanted
        ([1e200, 0.0, 101.0, 0.0, 1e200, 101.0, 0.0, 0.0, 101.0], "lies on no slice|reaches outside"),
    ],
)
def test_contours_off_the_ct(tmp_path: Path, data: list[float], message: str) -> None:
    refused(tmp_path, an_rtstruct({"GTV": [on_slice(a_series()[1], SQUARE), data]}), message, GeometryError)


def test_a_position_rounded_by_the_writer_is_on_its_slice(tmp_path: Path) -> None:
    slices = a_series()
    assert drawn(tmp_path, slices, an_rtstruct({"GTV": [moved(0.05)]}))[2].sum() == FILLED.sum()


def contour(rt: Dataset) -> Dataset:
    return rt.ROIContourSequence[0].ContourSequence[0]


def change(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda rt: setattr(contour(rt), keyword, value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("ContourData", on_slice(a_series()[2], SQUARE)[:-1]), "11 coordinates, and NumberOfContourPoints is 4"),
        (change("NumberOfContourPoints", 5), "12 coordinates, and NumberOfContourPoints is 5"),
        (change("ContourData", None), "0 coordinates, and NumberOfContourPoints is 4"),
        (change("ContourGeometricType", "POINT"), "contour 1 of 'GTV' is POINT; expected CLOSED_PLANAR"),
        (change("ContourGeometricType", "OPEN_PLANAR"), "is OPEN_PLANAR"),
        (change("ContourGeometricType", "OPEN_NONPLANAR"), "is OPEN_NONPLANAR"),
        (change("ContourGeometricType", None), "is of no type"),
        (change("ContourOffsetVector", [0, 0, 5]), "has a ContourOffsetVector"),
        (lambda rt: rt.ROIContourSequence.append(rt.ROIContourSequence[0]), "ROI 1, which is used twice"),
        (lambda rt: setattr(rt.ROIContourSequence[0], "ReferencedROINumber", 7), "ROI 7, which is not described"),
        (lambda rt: rt.StructureSetROISequence.append(rt.StructureSetROISequence[0]), "two ROIs have the same number"),
        (lambda rt: delattr(rt, "ROIContourSequence"), "is empty"),
        (lambda rt: delattr(rt, "StructureSetROISequence"), "not described"),
        (lambda rt: setattr(rt.ROIContourSequence[0].ContourSequence, "_list", [contour(rt)] * 2), "is there twice"),
    ],
)
def test_damaged_structure_sets(tmp_path: Path, damage: Callable[[Dataset], None], message: str) -> None:
    rt = an_rtstruct({"GTV": [on_slice(a_series()[2], SQUARE)]})
    damage(rt)
    refused(tmp_path, rt, message, InputError)


@pytest.mark.parametrize("text", [b"nan", b"inf", b"abc", b""])
def test_coordinates_that_are_no_numbers(tmp_path: Path, text: bytes) -> None:
    path = save(tmp_path / "rt.dcm", an_rtstruct({"GTV": [[11.25, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]]}))
    whole = path.read_bytes()
    assert whole.count(b"11.25\\") == 1
    path.write_bytes(whole.replace(b"11.25\\", text.rjust(5) + b"\\"))
    with pytest.raises(InputError, match=r"rt\.dcm"):
        read_roi(path)


def test_contours_without_an_area_are_no_part_of_the_roi(tmp_path: Path) -> None:
    """One or two corners, as some planning systems leave behind."""
    slices = a_series()
    single, pair = on_slice(slices[4], [(5, 5)]), on_slice(slices[4], [(5, 5), (6, 6)])
    mask = drawn(tmp_path, slices, an_rtstruct({"GTV": [on_slice(slices[2], SQUARE), single, pair]}))
    assert mask.sum() == mask[2].sum() == FILLED.sum()
    refused(tmp_path / "only", an_rtstruct({"GTV": [single, pair]}), "is empty", InputError)


def test_contours_between_the_centres_of_pixels(tmp_path: Path) -> None:
    small = [(5.2, 5.2), (5.8, 5.2), (5.8, 5.8), (5.2, 5.8)]
    refused(tmp_path, an_rtstruct({"GTV": [on_slice(a_series()[2], small)]}), "is empty", InputError)


def test_contours_with_very_many_corners(tmp_path: Path) -> None:
    scan = read_scan(write(tmp_path / "ct", a_series()))
    angles = np.linspace(0, 2 * np.pi, 200_000, endpoint=False)
    points = np.stack([-8 + 3 * np.cos(angles), -26 + 3 * np.sin(angles), np.full_like(angles, 106.0)], axis=1)
    roi = read_roi(save(tmp_path / "rt.dcm", an_rtstruct({"GTV": [[*np.round(points[::10000], 3).ravel()]]})))
    many = Contours(roi.mask.name, roi.mask.segment, (points,) * 500)
    with pytest.raises(InputError, match="corners over large areas"):
        Roi(many, "GTV").onto(scan.grid)
