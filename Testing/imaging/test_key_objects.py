"""The key slice is the image that a key object selection marks; rejected images do not vote."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_files import CORONAL, a_series, save, write
from helpers.key_objects import a_key_object, say_frames
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from test_dicom import enhanced
from test_rois import TUMOUR, a_seg

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import key_objects, keyslice
from GTRStagingLib.imaging.geometry import Grid
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.scans import Scan, read_scan, scan_of

FEET_TO_HEAD = (1, 0, 0, 0, 1, 0)
HEAD_TO_FEET = (1, 0, 0, 0, -1, 0)  # the normal points towards the feet


def marked(scan: Scan) -> keyslice.KeySlice:
    return keyslice.choose(scan, key_slice="ko")


def read(folder: Path, **given: str) -> Scan:
    return read_inputs(folder, key_slice="ko", **given).scan


@pytest.mark.smoke
@pytest.mark.parametrize(("orientation", "index"), [(FEET_TO_HEAD, 4), (HEAD_TO_FEET, 1)])
def test_the_marked_image_is_the_key_slice(tmp_path: Path, orientation: tuple[float, ...], index: int) -> None:
    """Slice 4 along the normal is the fifth from the feet, or the second where the normal points to the feet."""
    slices = a_series(orientation=orientation)
    write(tmp_path, slices)
    save(tmp_path / "ko.dcm", a_key_object([slices[4]]))
    scan = read(tmp_path)
    key = marked(scan)
    assert (key.index, key.chosen_by) == (index, "key object")
    assert key.position_mm == pytest.approx(float(slices[4].ImagePositionPatient[2]))
    assert scan.warnings == ()


def test_a_key_object_that_was_not_asked_for_is_left_out(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    save(tmp_path / "ko.dcm", a_key_object([slices[4]]))
    scan = read_scan(tmp_path)
    assert scan.warnings == ("Left out: 1 file of KO.",)
    with pytest.raises(InputError, match="No key slice is chosen among 6 slices"):
        keyslice.choose(scan)


@pytest.mark.parametrize("place", ["ct/ko.dcm", "ko.dcm", "keys/ko.dcm"])
def test_a_key_object_beside_the_ct_is_found(tmp_path: Path, place: str) -> None:
    slices = a_series()
    write(tmp_path / "ct", slices)
    save(tmp_path / place, a_key_object([slices[2]]))
    assert marked(read(tmp_path / "ct")).index == 2


def test_a_copy_of_a_key_object_counts_once(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    ko = a_key_object([slices[2], slices[3]])
    for name in ("a.dcm", "b.dcm"):
        save(tmp_path / name, ko)
    with pytest.raises(InputError, match="1 key object selection marks 2 slices"):
        marked(read(tmp_path))


def test_a_key_object_of_another_study_beside_the_ct_is_not_taken(tmp_path: Path) -> None:
    slices, other = a_series(), a_series()
    write(tmp_path / "a", slices)
    save(tmp_path / "b" / "ko.dcm", a_key_object([other[2]]))
    with pytest.raises(InputError, match="No key object selection was found in the folder of the CT or beside it"):
        marked(read(tmp_path / "a"))


def test_the_search_beside_the_ct_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", a_series())
    write(tmp_path / "b", a_series())
    monkeypatch.setattr(key_objects, "MOST_BESIDE", 4)
    with pytest.raises(InputError, match="or among 4 of 6 files beside it"):
        marked(read(tmp_path / "a"))


def test_a_damaged_file_beside_the_ct_is_none(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path / "ct", slices)
    (tmp_path / "notes.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    (tmp_path / "empty").write_bytes(b"")
    save(tmp_path / "ko.dcm", a_key_object([slices[3]]))
    assert marked(read(tmp_path / "ct")).index == 3


def test_several_marked_slices_are_refused_with_their_titles(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    save(tmp_path / "a.dcm", a_key_object([slices[1]], "OfInterest"))
    save(tmp_path / "b.dcm", a_key_object([slices[4], slices[3]], "ForSurgery"))
    with pytest.raises(InputError) as caught:
        marked(read(tmp_path))
    assert str(caught.value) == (
        "2 key object selections mark 3 slices of the CT: 1 ('Of Interest'), 3 ('For Surgery'), 4 ('For Surgery'); "
        "expected one. Give one of them as `key_slice`."
    )


def test_two_selections_of_one_slice_agree(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    for name, title in (("a.dcm", "OfInterest"), ("b.dcm", "ForSurgery")):
        save(tmp_path / name, a_key_object([slices[1]], title))
    assert marked(read(tmp_path)).index == 1


@pytest.mark.parametrize("title", ["Manifest", "CompleteStudyContent", "QualityIssue"])
def test_a_list_of_images_marks_none(tmp_path: Path, title: str) -> None:
    slices = a_series()
    write(tmp_path, slices)
    save(tmp_path / "list.dcm", a_key_object(slices, title))
    with pytest.raises(InputError, match=r"1 key object selection \('.+'\) marked no key image"):
        marked(read(tmp_path))
    save(tmp_path / "ko.dcm", a_key_object([slices[4]]))
    assert marked(read(tmp_path)).index == 4


def test_results_of_this_software_are_no_marks(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    own = a_key_object(slices[1:4])
    own.ManufacturerModelName = "GTR Staging"
    save(tmp_path / "own.dcm", own)
    with pytest.raises(InputError, match="No key object selection was found"):
        marked(read(tmp_path))
    save(tmp_path / "ko.dcm", a_key_object([slices[4]]))
    assert marked(read(tmp_path)).index == 4


# -- several series ------------------------------------------------------------------------------------------------


def two_series(folder: Path) -> tuple[list[Dataset], list[Dataset]]:
    one, two = a_series(), a_series()
    for d in two:
        d.StudyInstanceUID, d.FrameOfReferenceUID = one[0].StudyInstanceUID, one[0].FrameOfReferenceUID
        d.SeriesNumber = 4
    write(folder / "one", one)
    write(folder / "two", two)
    return one, two


def test_the_key_object_chooses_among_several_series(tmp_path: Path) -> None:
    _, two = two_series(tmp_path)
    save(tmp_path / "ko.dcm", a_key_object([two[2]]))
    scan = read(tmp_path)
    assert scan.warnings == ("CT series 4 chosen: the key object selection refers to it.",)
    assert set(scan.source.instances()) == {d.SOPInstanceUID for d in two}
    assert marked(scan).index == 2
    with pytest.raises(InputError, match="2 CT series; expected one. Give"):
        read_scan(tmp_path)  # not asked for


def test_the_roi_decides_before_the_key_object(tmp_path: Path) -> None:
    one, two = two_series(tmp_path)
    save(tmp_path / "ko.dcm", a_key_object([two[2]]))
    roi = save(tmp_path / "roi.dcm", a_seg(one, TUMOUR[..., None], labels=("Tumour",)))
    scan = read_inputs(tmp_path, roi=roi, key_slice="ko").scan
    assert scan.warnings == ("CT series 3 chosen: the ROI refers to it.",)
    with pytest.raises(InputError, match=r"\('Of Interest'\) marked no slice of this CT, but images of another series"):
        marked(scan)


def test_only_marks_of_the_chosen_series_count(tmp_path: Path) -> None:
    one, two = two_series(tmp_path)
    save(tmp_path / "a.dcm", a_key_object([one[1]]))
    save(tmp_path / "b.dcm", a_key_object([two[5]]))
    assert marked(read(tmp_path, series="3")).index == 1
    assert marked(read(tmp_path, series="4")).index == 5
    with pytest.raises(InputError, match=r"the key object selection refers to 2 of them \(3, 4\)"):
        read(tmp_path)


def test_marks_that_are_elsewhere_are_refused_in_words(tmp_path: Path) -> None:
    slices, other = a_series(), a_series()
    write(tmp_path, slices)
    absent = a_series(8)[6:]
    for d in absent:
        d.StudyInstanceUID, d.SeriesInstanceUID = slices[0].StudyInstanceUID, slices[0].SeriesInstanceUID
    for images, words in (([other[1]], "images of another study"), (absent[:1], "images that are not here")):
        save(tmp_path / "ko.dcm", a_key_object(images))
        with pytest.raises(InputError, match=f"marked no slice of this CT, but {words}; expected one") as caught:
            marked(read(tmp_path))
        assert images[0].SeriesInstanceUID not in str(caught.value)
        assert images[0].SeriesInstanceUID in caught.value.details


def test_a_mark_of_another_patient_is_refused(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    ko = a_key_object([slices[2]])
    ko.PatientID = "MRN-0815"
    save(tmp_path / "ko.dcm", ko)
    with pytest.raises(InputError, match="names another patient") as caught:
        marked(read(tmp_path))
    assert "MRN" not in str(caught.value)
    assert "MRN-0815" in caught.value.details


# -- multi-frame, other inputs -------------------------------------------------------------------------------------


def test_a_frame_of_a_multi_frame_image(tmp_path: Path) -> None:
    one = enhanced(a_series())
    save(tmp_path / "ct.dcm", one)
    ko = a_key_object([one])
    save(tmp_path / "ko.dcm", say_frames(ko, 3))
    for path in (tmp_path, tmp_path / "ct.dcm"):
        key, scan = marked(read(path)), read(path)
        frames = scan.source.frames
        assert frames[key.index] == 3
    save(tmp_path / "ko.dcm", say_frames(ko, [2, 3]))
    with pytest.raises(InputError, match="marks 2 slices"):
        marked(read(tmp_path))
    for item in ko.ContentSequence:
        del item.ReferencedSOPSequence[0].ReferencedFrameNumber
    save(tmp_path / "ko.dcm", ko)
    with pytest.raises(InputError, match="marks 6 slices"):
        marked(read(tmp_path))
    save(tmp_path / "ko.dcm", say_frames(ko, 0))
    with pytest.raises(InputError, match="refers to frame 0"):
        marked(read(tmp_path))


def test_a_volume_without_dicom_has_no_key_objects() -> None:
    scan = scan_of(Grid((4, 4, 3), (1, 1, 5), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)).image(
        np.full((3, 4, 4), -1000, np.int16)), "air")  # fmt: skip
    with pytest.raises(InputError, match="'ko', a key object selection of DICOM, but the scan is volume in memory"):
        marked(scan)


def test_a_mark_on_a_coronal_slice_is_refused(tmp_path: Path) -> None:
    slices = a_series(orientation=CORONAL)
    write(tmp_path, slices)
    save(tmp_path / "ko.dcm", a_key_object([slices[2]]))
    with pytest.raises(InputError, match="the slices of the scan are not axial"):
        marked(read(tmp_path))


# -- rejected images -----------------------------------------------------------------------------------------------

REJECTIONS = {
    "RejectedForQualityReasons": "Rejected for Quality Reasons",
    "RejectedForPatientSafetyReasons": "Rejected for Patient Safety Reasons",
    "IncorrectModalityWorklistEntry": "Incorrect Modality Worklist Entry",
    "DataRetentionPolicyExpired": "Data Retention Policy Expired",
}


@pytest.mark.parametrize("title", REJECTIONS)
def test_a_rejected_slice_is_not_given_out(tmp_path: Path, title: str) -> None:
    slices = a_series(orientation=HEAD_TO_FEET)
    write(tmp_path, slices)
    save(tmp_path / "no.dcm", a_key_object([slices[1]], title))  # the fifth slice from the feet
    scan = read_scan(tmp_path)
    assert scan.warnings == (
        f"1 slice of the CT is marked '{REJECTIONS[title]}' by a key object selection: images that must not be used.",
    )
    assert scan.slices(0, 3).GetSize()[2] == 4
    assert scan.slices(3, 5, 2).GetSize()[2] == 2  # a step over it
    for first, last in ((4, 4), (3, 5)):
        with pytest.raises(InputError, match=f"Slice 4 is marked '{REJECTIONS[title]}'"):
            scan.slices(first, last)


def test_a_slice_that_is_marked_and_rejected_is_refused(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path / "ct", slices)
    save(tmp_path / "ko.dcm", a_key_object([slices[1]]))
    save(tmp_path / "no.dcm", a_key_object([slices[1], slices[2]], "RejectedForQualityReasons"))
    with pytest.raises(InputError, match="Slice 1 is marked as the key slice, and 'Rejected for Quality Reasons'"):
        marked(read(tmp_path / "ct"))


def test_a_rejected_selection_marks_and_rejects_nothing(tmp_path: Path) -> None:
    slices = a_series()
    write(tmp_path, slices)
    wrong = a_key_object([slices[1]])
    save(tmp_path / "a.dcm", wrong)
    save(tmp_path / "b.dcm", a_key_object([slices[4]]))
    save(tmp_path / "no.dcm", a_key_object([wrong], "RejectedForQualityReasons"))
    scan = read(tmp_path)
    assert marked(scan).index == 4
    assert scan.warnings == ()
    assert scan.slices(0, 5).GetSize()[2] == 6


def test_rejected_images_of_another_series_change_nothing(tmp_path: Path) -> None:
    slices, other = a_series(), a_series()
    write(tmp_path, slices)
    save(tmp_path / "no.dcm", a_key_object(other, "RejectedForQualityReasons"))
    assert read_scan(tmp_path).slices(0, 5).GetSize()[2] == 6


# -- damaged selections --------------------------------------------------------------------------------------------


def no_content(d: Dataset) -> None:
    d.ContentSequence = []


def no_title(d: Dataset) -> None:
    del d.ConceptNameCodeSequence


def empty_title(d: Dataset) -> None:
    d.ConceptNameCodeSequence = [Dataset()]


def empty_items(d: Dataset) -> None:
    d.ContentSequence = [Dataset(), Dataset()]


def no_uids(d: Dataset) -> None:
    for item in d.ContentSequence:
        if "ReferencedSOPSequence" in item:
            item.ReferencedSOPSequence = [Dataset()]


def text_for_frames(d: Dataset) -> None:
    for item in d.ContentSequence:
        if "ReferencedSOPSequence" in item:
            item.ReferencedSOPSequence[0].add_new("ReferencedFrameNumber", "LO", "second")


@pytest.mark.parametrize("damage", [no_content, no_title, empty_title, empty_items, no_uids, text_for_frames])
def test_a_damaged_selection_is_refused_where_it_is_asked_for(
    tmp_path: Path, damage: Callable[[Dataset], None]
) -> None:
    """And reported where it is not: it could reject slices. Others still do."""
    slices = a_series()
    write(tmp_path, slices)
    ko = a_key_object([slices[2]])
    damage(ko)
    save(tmp_path / "ko.dcm", ko)
    with pytest.raises(InputError, match=r"ko\.dcm"):
        marked(read(tmp_path))
    save(tmp_path / "no.dcm", a_key_object([slices[1]], "RejectedForQualityReasons"))
    scan = read_scan(tmp_path)
    assert (
        "1 key object selection could not be read: whether slices of the CT are rejected by it is not known."
        in scan.warnings
    )
    assert scan.rejected == {1: "Rejected for Quality Reasons"}


def test_a_selection_without_evidence_is_read_by_its_images(tmp_path: Path) -> None:
    one, two = two_series(tmp_path)
    ko = a_key_object([two[2]])
    del ko.CurrentRequestedProcedureEvidenceSequence
    save(tmp_path / "ko.dcm", ko)
    assert marked(read(tmp_path)).index == 2
    assert one is not two


def test_altered_bytes_end_in_an_answer_or_an_error_of_the_library(tmp_path: Path) -> None:
    """Never in another slice than the marked one."""
    slices = a_series()
    write(tmp_path, slices)
    path = save(tmp_path / "ko.dcm", a_key_object([slices[2]]))
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    answers = set()
    for _ in range(80):
        changed = bytearray(whole)
        for at in random.integers(132, len(whole), 2):
            changed[int(at)] = int(random.integers(256))
        path.write_bytes(changed)
        try:
            answers.add(marked(read(tmp_path)).index)
        except InputError:
            answers.add(-1)
    assert answers == {2, -1}


def test_a_title_of_a_private_scheme_is_a_mark(tmp_path: Path) -> None:
    """The code 113001 of another scheme is no rejection; the title is shown as the file has it."""
    slices = a_series()
    write(tmp_path, slices)
    ko = a_key_object(slices[:2])
    title = ko.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113001", "99HOSPITAL", "Tumour\x1b[31m board"
    ko.SOPInstanceUID = generate_uid()
    save(tmp_path / "ko.dcm", ko)
    with pytest.raises(InputError) as caught:
        marked(read(tmp_path))
    assert "0 ('Tumour" in str(caught.value)
    assert "\x1b" not in str(caught.value)
