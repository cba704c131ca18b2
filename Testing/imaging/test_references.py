"""The CT of a study with several is the one that the ROI was drawn on; references that are damaged choose nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import shared
from helpers.dicom_files import a_series, save, voxels, write
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid
from test_rois import TUMOUR, a_seg
from test_rtstruct import SQUARE, an_rtstruct, on_slice

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.scans import Scan, read_scan

NOT_HERE = "refers to none of them, but to"


class Study:
    """Folder of a study: an arterial (3) and a portal-venous (4) series on one frame of reference, both of 6 slices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arterial, self.portal = a_series(), a_series()
        study, frame = self.arterial[0].StudyInstanceUID, self.arterial[0].FrameOfReferenceUID
        for d in self.portal:
            d.StudyInstanceUID, d.FrameOfReferenceUID, d.SeriesNumber = study, frame, 4
            d.SeriesDescription = "portal"
        write(folder / "one", self.arterial)
        write(folder / "two", self.portal)

    def seg(self, slices: list[Dataset]) -> Dataset:
        return a_seg(slices, TUMOUR[..., None], labels=("Tumour",))

    def rtstruct(self, slices: list[Dataset], *, listed: bool = True, drawn: bool = True) -> Dataset:
        """Return an RTSTRUCT whose series are listed, or whose contours name their images, or both."""
        rt = an_rtstruct({"GTV": [on_slice(slices[k], SQUARE) for k in (1, 2)]}, slices[0].FrameOfReferenceUID)
        if listed:
            rt.ReferencedFrameOfReferenceSequence = [frame_of(slices)]
        if drawn:
            for k, contour in zip((1, 2), rt.ROIContourSequence[0].ContourSequence, strict=True):
                contour.ContourImageSequence = [an_image(slices[k])]
        return rt

    def read(self, roi: Path, **given: str) -> tuple[Scan, Roi]:
        scan, drawn, _ = read_inputs(self.folder, roi=roi, **given)
        return scan, drawn


def an_image(d: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    return item


def frame_of(*several: list[Dataset]) -> Dataset:
    """Return an item of ReferencedFrameOfReferenceSequence for series of one frame of reference."""
    frame, study = Dataset(), Dataset()
    frame.FrameOfReferenceUID = several[0][0].FrameOfReferenceUID
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", generate_uid()
    study.RTReferencedSeriesSequence = Sequence()
    for slices in several:
        one = Dataset()
        one.SeriesInstanceUID, one.ContourImageSequence = slices[0].SeriesInstanceUID, [an_image(d) for d in slices]
        study.RTReferencedSeriesSequence.append(one)
    frame.RTReferencedStudySequence = [study]
    return frame


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "study")


def is_portal(scan: Scan, study: Study) -> bool:
    return set(scan.source.instances()) == {d.SOPInstanceUID for d in study.portal}


@pytest.mark.parametrize(
    "kind", ["SEG", "SEG without series", "RTSTRUCT", "RTSTRUCT of series only", "RTSTRUCT of contours only"]
)
def test_the_series_that_the_roi_refers_to_is_read(study: Study, tmp_path: Path, kind: str) -> None:
    if kind.startswith("SEG"):
        roi = study.seg(study.portal)
        if kind != "SEG":
            del roi.ReferencedSeriesSequence  # the source images of its frames remain
    else:
        roi = study.rtstruct(study.portal, listed="contours" not in kind, drawn="series" not in kind)
    scan, drawn = study.read(save(tmp_path / "roi.dcm", roi))
    assert is_portal(scan, study)
    assert scan.warnings == ("CT series 4 chosen: the ROI refers to it.",)
    assert voxels(drawn.onto(scan.grid)).any()


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_an_roi_in_the_folder_of_the_study_is_found_there(study: Study, kind: str) -> None:
    """As in the export of an archive: CT, SEG and RTSTRUCT in one folder."""
    roi = study.seg(study.portal) if kind == "SEG" else study.rtstruct(study.portal)
    save(study.folder / "three" / "roi.dcm", roi)
    scan, drawn = study.read(study.folder)
    assert is_portal(scan, study)
    assert scan.warnings == ("CT series 4 chosen: the ROI refers to it.",)  # it is not left out: it was read
    assert voxels(drawn.onto(scan.grid)).any()


def test_results_of_this_software_are_no_roi(study: Study) -> None:
    save(study.folder / "roi.dcm", study.seg(study.portal))
    own = study.seg(study.arterial)
    own.ManufacturerModelName = "GTR Staging"
    save(study.folder / "attention.dcm", own)
    assert is_portal(study.read(study.folder)[0], study)


def test_two_rois_in_a_folder_are_refused(study: Study) -> None:
    save(study.folder / "a.dcm", study.seg(study.portal))
    save(study.folder / "b.dcm", study.rtstruct(study.portal))
    with pytest.raises(InputError, match=r"2 DICOM SEG or RTSTRUCT files \(a.dcm, b.dcm\); expected one"):
        study.read(study.folder)


def test_a_given_series_is_read_with_a_warning(study: Study, tmp_path: Path) -> None:
    roi = save(tmp_path / "roi.dcm", study.seg(study.portal))
    scan, _ = study.read(roi, series="3")
    assert set(scan.source.instances()) == {d.SOPInstanceUID for d in study.arterial}
    assert scan.warnings == (
        "The ROI refers to another CT series than the one that was read; it was placed by its coordinates.",
    )
    assert study.read(roi, series="4")[0].warnings == ()


def test_the_only_series_is_read_with_a_warning_if_the_roi_refers_to_another_one(study: Study, tmp_path: Path) -> None:
    roi = save(tmp_path / "roi.dcm", study.seg(study.portal))
    for path, warned in ((study.folder / "one", True), (study.folder / "two", False)):
        scan = read_inputs(path, roi=roi).scan
        assert any("refers to another CT series" in text for text in scan.warnings) == warned
    one = read_inputs(study.folder / "one" / "IM1.dcm", roi=roi).scan
    assert any("refers to another CT series" in text for text in one.warnings)


def test_without_a_reference_the_choice_is_refused(study: Study, tmp_path: Path) -> None:
    roi = save(tmp_path / "rt.dcm", study.rtstruct(study.portal, listed=False, drawn=False))
    with pytest.raises(InputError, match="2 CT series; expected one, and the ROI names no CT series") as caught:
        study.read(roi)
    assert "number 4: 6 CT slices" in str(caught.value)


def test_a_reference_to_a_series_elsewhere_is_refused_in_words(study: Study, tmp_path: Path) -> None:
    absent = a_series()
    roi = save(tmp_path / "roi.dcm", study.seg(absent))
    with pytest.raises(InputError, match=f"the ROI {NOT_HERE} 6 images of 1 series elsewhere") as caught:
        study.read(roi)
    every = [d.SOPInstanceUID for d in (*absent, *study.portal)] + [absent[0].SeriesInstanceUID]
    assert not any(uid in str(caught.value) for uid in every)
    assert absent[0].SeriesInstanceUID in caught.value.details


def test_the_images_of_the_contours_decide_between_listed_series(study: Study, tmp_path: Path) -> None:
    """Planning systems list every series of the frame of reference; the contours name those they were drawn on."""
    rt = study.rtstruct(study.portal)
    rt.ReferencedFrameOfReferenceSequence = [frame_of(study.arterial, study.portal)]
    assert is_portal(study.read(save(tmp_path / "rt.dcm", rt))[0], study)
    for contour in rt.ROIContourSequence[0].ContourSequence:
        del contour.ContourImageSequence
    with pytest.raises(InputError, match=r"the ROI refers to 2 of them \(3, 4\)"):
        study.read(save(tmp_path / "rt.dcm", rt))


def test_a_listed_series_is_not_taken_if_the_roi_was_drawn_elsewhere(study: Study, tmp_path: Path) -> None:
    absent = a_series()
    for d in absent:
        d.FrameOfReferenceUID = study.portal[0].FrameOfReferenceUID
    rt = study.rtstruct(absent)
    rt.ReferencedFrameOfReferenceSequence = [frame_of(absent, study.portal)]
    del (
        rt.ReferencedFrameOfReferenceSequence[0]
        .RTReferencedStudySequence[0]
        .RTReferencedSeriesSequence[1]["ContourImageSequence"]
    )
    with pytest.raises(InputError, match=NOT_HERE):
        study.read(save(tmp_path / "rt.dcm", rt))


def test_a_part_of_a_series_is_chosen_by_its_images(tmp_path: Path) -> None:
    """Two contrast phases under one series UID, of which a SEG was drawn on the second."""
    early, late = a_series(), a_series()
    for d in late:
        d.SeriesInstanceUID, d.StudyInstanceUID = early[0].SeriesInstanceUID, early[0].StudyInstanceUID
        d.FrameOfReferenceUID, d.AcquisitionNumber, d.AcquisitionTime = early[0].FrameOfReferenceUID, 2, "101110"
    write(tmp_path / "ct", early, name="a{}")
    write(tmp_path / "ct", late, name="b{}")
    roi = save(tmp_path / "roi.dcm", a_seg(late, TUMOUR[..., None], labels=("Tumour",)))
    scan = read_inputs(tmp_path / "ct", roi=roi).scan
    assert scan.warnings == ("CT series 3.2 chosen: the ROI refers to it.",)
    assert set(scan.source.instances()) == {d.SOPInstanceUID for d in late}
    given = read_inputs(tmp_path / "ct", roi=roi, series="3.1").scan
    assert "refers to another CT series" in given.warnings[0]
    assert read_inputs(tmp_path / "ct", roi=roi, series="3.2").scan.warnings == ()


def test_the_mask_of_the_stomach_chooses_where_there_is_no_roi(study: Study, tmp_path: Path) -> None:
    stomach = save(tmp_path / "s.dcm", a_seg(study.portal, TUMOUR[..., None], labels=("Stomach",)))
    scan, roi, organ = read_inputs(study.folder, stomach=stomach)
    assert is_portal(scan, study)
    assert roi is None
    assert organ.segment == "Stomach"
    assert scan.warnings == ("CT series 4 chosen: the mask of the stomach refers to it.",)
    both = read_inputs(study.folder, roi=save(tmp_path / "r.dcm", study.seg(study.arterial)), stomach=stomach)
    assert both.scan.warnings == (
        "CT series 3 chosen: the ROI refers to it.",
        "The mask of the stomach refers to another CT series than the one that was read; it was placed by its "
        "coordinates.",
    )


def test_a_label_map_refers_to_nothing(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "roi.nii.gz"
    shutil.copy(shared("cases") / "control" / "tumour.nii.gz", path)
    assert read_roi(path).refers_to is None
    with pytest.raises(InputError, match="2 CT series; expected one. Give"):
        study.read(path)


# -- damaged references --------------------------------------------------------------------------------------------


def element(keyword: str, vr: str, value: object) -> DataElement:
    return DataElement(keyword, vr, value)


DAMAGES = {
    "no sequences": lambda d: None,
    "empty sequences": lambda d: d.update({"ReferencedSeriesSequence": [], "ReferencedFrameOfReferenceSequence": []}),
    "empty items": lambda d: d.update(
        {"ReferencedSeriesSequence": [Dataset()], "ReferencedFrameOfReferenceSequence": [Dataset()]}
    ),
    "text for a sequence": lambda d: [
        d.add(element(name, "LO", "1.2.3"))
        for name in ("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence")
    ],
    "several UIDs": lambda d: [
        d.update({name: [with_uids()]}) for name in ("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence")
    ],
}


def with_uids() -> Dataset:
    item = Dataset()
    item.add(element("SeriesInstanceUID", "UI", ["1.2.3", "1.2.4"]))
    return item


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_a_damaged_reference_is_as_none(study: Study, tmp_path: Path, kind: str, damage: str) -> None:
    """The ROI is read as before where the series is clear, and chooses none where it is not."""
    roi = study.seg(study.portal) if kind == "SEG" else study.rtstruct(study.portal, drawn=False)
    for name in ("ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence"):
        if name in roi:
            del roi[name]
    for group in roi.get("PerFrameFunctionalGroupsSequence", ()):
        del group.DerivationImageSequence
    DAMAGES[damage](roi)
    path = save(tmp_path / "roi.dcm", roi)
    assert not read_roi(path).refers_to
    with pytest.raises(InputError, match="the ROI names no CT series"):
        study.read(path)
    scan, drawn = study.read(path, series="4")
    assert scan.warnings == ()
    assert voxels(drawn.onto(scan.grid)).any()


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
def test_altered_bytes_in_the_references_end_in_an_answer_or_an_error_of_the_library(
    study: Study, tmp_path: Path, kind: str
) -> None:
    """Never in a choice of the other series."""
    roi = study.seg(study.portal) if kind == "SEG" else study.rtstruct(study.portal)
    path = save(tmp_path / "roi.dcm", roi)
    whole = path.read_bytes()
    uid = str(study.portal[0].SeriesInstanceUID).encode()
    start = whole.index(uid) - 40
    random = np.random.default_rng(7)
    answers, messages = set(), ""
    for _ in range(60):
        changed = bytearray(whole)
        changed[int(random.integers(start, start + 120))] = int(random.integers(256))
        path.write_bytes(changed)
        try:
            answers.add(is_portal(study.read(path)[0], study))
        except InputError as error:
            answers.add("refused")
            messages += str(error)
    assert False not in answers
    assert "refused" in answers
    assert uid.decode() not in messages


# -- real files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ct", "roi"), [("ct_3slice_dicom", "ct_3slice_liver_seg.dcm"), ("rtstruct", "rtstruct/rt.dcm")]
)
def test_real_files_choose_their_ct(tmp_path: Path, ct: str, roi: str) -> None:
    """The SEG of dcmqi and the RTSTRUCT of rt-utils, in a study with a second series."""
    shutil.copytree(shared("ct") / ct, tmp_path / "study" / "right")
    shutil.copy(shared("ct") / roi, tmp_path / "study" / "roi.dcm")
    (tmp_path / "study" / "right" / "rt.dcm").unlink(missing_ok=True)
    write(tmp_path / "study" / "other", a_series())
    scan = read_inputs(tmp_path / "study", roi=tmp_path / "study").scan
    assert any("chosen: the ROI refers to it." in text for text in scan.warnings)
    assert scan.digest == read_scan(shared("ct") / ct).digest
