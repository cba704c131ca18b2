"""A study as an archive exports it, with two CT series, an ROI and a key object selection, in all commands."""

import copy
import csv
import json
import shutil
from pathlib import Path

import pydicom
import pytest
from helpers.key_objects import a_key_object
from helpers.worker_groups import no_processes
from pydicom.uid import generate_uid

from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.local import BatchSettings
from GTRStagingLib.batch.records import file_states
from GTRStagingLib.batch.run import run_batch
from GTRStagingLib.checking.case_runs import prepared
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.cohort import Case, read_cohort, write_cohort
from GTRStagingLib.cohort.fingerprint import fingerprints
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.recipe import GTR
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.training import slice_cache

KEY = 10


@pytest.fixture(scope="module")
def exported(tmp_path_factory, a_small_phantom):
    """A study: series 1 (the CT of the ROI) and 7 (its copy upside down); a mark on slice 10 of series 1."""
    folder = tmp_path_factory.mktemp("export") / "study"
    write_dicom(a_small_phantom, folder)
    (folder / "other").mkdir()
    series = generate_uid()
    slices = [pydicom.dcmread(path) for path in sorted((folder / "ct").iterdir())]
    for d in slices:
        other = copy.deepcopy(d)
        other.SeriesInstanceUID, other.SOPInstanceUID, other.SeriesNumber = series, generate_uid(), 7
        other.PixelData = slices[len(slices) - d.InstanceNumber].PixelData
        other.save_as(folder / "other" / f"{d.InstanceNumber:04d}.dcm", enforce_file_format=True)
    by_height = sorted(slices, key=lambda d: float(d.ImagePositionPatient[2]))
    a_key_object([by_height[KEY]]).save_as(folder / "ko.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def study(exported, tmp_path):
    """A copy of it, to change."""
    return Path(shutil.copytree(exported, tmp_path / "study"))


def mark(study: Path, index: int, title: str = "OfInterest", name: str = "ko.dcm") -> None:
    """Write a key object selection of a slice of the series of the ROI, counted from the feet."""
    slices = [pydicom.dcmread(path) for path in (study / "ct").iterdir()]
    slices.sort(key=lambda d: float(d.ImagePositionPatient[2]))
    a_key_object([slices[index]], title).save_as(study / name, enforce_file_format=True)


def staged(capsys, *arguments):
    code = cli.main([str(one) for one in arguments])
    return (code, *capsys.readouterr())


@pytest.mark.smoke
def test_the_marked_slice_of_a_study_is_staged(exported, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, _ = staged(capsys, "stage", exported, "--key-slice", "ko", "--device", "cpu", "--out", out)
    assert code == 0
    assert f"Key slice  {KEY} at S" in printed
    record = json.loads((out / "result.json").read_text())
    assert (record["key_slice"]["index"], record["key_slice"]["chosen_by"]) == (KEY, "key object")
    assert record["warnings"].count("CT series 1 chosen: the key object selection refers to it.") == 1
    assert not any("Left out: 1 file of KO" in text for text in record["warnings"])
    page = (out / "report.html").read_text()
    assert "marked by a key object selection" in page
    by_index = json.loads(staged(capsys, "stage", exported / "ct", "--key-slice", KEY, "--device", "cpu", "--json")[1])
    assert record["prediction"] == by_index["prediction"]
    assert record["input"]["digest"] == by_index["input"]["digest"]


def test_the_roi_of_a_study_is_found_and_chooses_its_ct(exported, capsys):
    _, out, _ = staged(capsys, "stage", exported, "--segmentation", exported, "--device", "cpu", "--json")
    record = json.loads(out)
    assert record["key_slice"]["chosen_by"] == "tumour area"
    assert "CT series 1 chosen: the ROI refers to it." in record["warnings"]
    alone = staged(
        capsys, "stage", exported / "ct", "--segmentation", exported / "tumour_seg.dcm", "--device", "cpu", "--json"
    )
    assert record["prediction"] == json.loads(alone[1])["prediction"]
    both = ["stage", exported, "--segmentation", exported, "--key-slice", "ko", "--device", "cpu", "--json"]
    record = json.loads(staged(capsys, *both)[1])
    assert (record["key_slice"]["index"], record["key_slice"]["chosen_by"]) == (KEY, "key object")
    assert record["agreement"] is not None


def test_a_study_without_a_choice_is_refused(exported, capsys):
    code, _, err = staged(capsys, "stage", exported, "--key-slice", KEY, "--json")
    assert code == 1
    assert "2 CT series; expected one. Give the folder of the portal-venous one, or its --series" in err
    code, _, err = staged(capsys, "stage", exported, "--key-slice", "ko", "--series", 7, "--json")
    assert code == 1
    assert "marked no slice of this CT, but images of another series" in err
    assert "Give the --series that was marked, or the index of the --key-slice." in err
    with pytest.raises(SystemExit):
        cli.main(["stage", str(exported), "--key-slice", "best", "--json"])
    assert "expected a whole number from 0 (the slice nearest the feet), or ko" in capsys.readouterr().err


def test_several_marks_are_refused_by_flag(study, capsys):
    mark(study, 4, "ForSurgery", "second.dcm")
    code, _, err = staged(capsys, "stage", study, "--key-slice", "ko", "--json")
    assert code == 1
    assert f"4 ('For Surgery'), {KEY} ('Of Interest'); expected one. Give one of them as --key-slice." in err


def test_a_profile_around_the_marked_slice(exported, tmp_path, capsys):
    out = tmp_path / "profile"
    code, printed, _ = staged(capsys, "profile", exported, "--around", "ko", "--mm", 5, "--device", "cpu", "--out", out)
    assert code == 0
    assert f"Key slice  {KEY} at S" in printed
    with (out / "profile.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["slice"] for row in rows if row["key_slice"] == "yes"] == [str(KEY)]
    assert 1 < len(rows) < 10
    assert json.loads((out / "profile.json").read_text())["key_slice"]["chosen_by"] == "key object"


def test_a_rejected_neighbour_does_not_vote(study, tmp_path, capsys):
    mark(study, KEY + 1, "RejectedForQualityReasons", "no.dcm")
    code, _, err = staged(capsys, "stage", study, "--key-slice", "ko", "--device", "cpu", "--json")
    assert code == 1
    assert f"Slice {KEY + 1} is marked 'Rejected for Quality Reasons' by a key object selection" in err
    code, out, _ = staged(capsys, "stage", study, "--series", 1, "--key-slice", KEY - 2, "--device", "cpu", "--json")
    assert code == 0
    assert any("1 slice of the CT is marked 'Rejected" in text for text in json.loads(out)["warnings"])
    out = tmp_path / "profile"
    around = ["--around", KEY - 2, "--mm", 15, "--series", 1, "--device", "cpu", "--out", out]
    assert staged(capsys, "profile", study, *around)[0] == 0
    with (out / "profile.csv").open() as file:
        text = file.read()
    assert text.count("marked 'Rejected for Quality Reasons'") >= 2


# -- tables --------------------------------------------------------------------------------------------------------


def a_table(folder: Path, *rows: str) -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join(["case_id,patient_id,image,roi,key_slice,stage", *rows, ""]))
    return path


def test_a_batch_of_studies(study, tmp_path, monkeypatch):
    table = a_table(
        tmp_path, "a,p,study,study/tumour_seg.dcm,,T3", "b,p,study,,KO,T3", "c,p,study,,3,T3", "d,p,study/ct,,ko,T3"
    )
    out, settings = tmp_path / "out", BatchSettings()
    with no_processes(monkeypatch):
        assert run_batch(table, out, settings, workers=1).done == 3
        with (out / "predictions.csv").open() as file:
            rows = {row["case_id"]: row for row in csv.DictReader(file)}
        assert rows["a"]["key_slice_by"] == "tumour area"
        assert (rows["b"]["key_slice"], rows["b"]["key_slice_by"]) == (str(KEY), "key object")
        assert rows["d"]["key_slice"] == str(KEY)  # marked beside the folder of the CT
        assert "2 CT series; expected one" in rows["c"]["reason"]
        assert run_batch(table, out, settings, workers=1, resume=True).reused == 3
        mark(study, 6)
        again = run_batch(table, out, settings, workers=1, resume=True)
        with (out / "predictions.csv").open() as file:
            rows = {row["case_id"]: row for row in csv.DictReader(file)}
        assert (rows["b"]["key_slice"], rows["d"]["key_slice"], again.reused) == ("6", "6", 1)


def test_files_beside_the_ct_that_are_no_mark_of_its_study_change_no_state(study, tmp_path):
    (row,) = read_cases(a_table(tmp_path, "d,p,study/ct,,ko,T3"))
    before = file_states(row)
    (study / "out").mkdir()
    (study / "out" / "predictions.csv").write_text("of a batch")
    own = pydicom.dcmread(study / "ko.dcm")
    own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    own.ManufacturerModelName = "GTR Staging"
    own.save_as(study / "out" / "key-objects.dcm")
    own.ManufacturerModelName, own.StudyInstanceUID = "Archive", generate_uid()
    own.save_as(study / "of-another-study.dcm")
    assert file_states(row) == before
    mark(study, 6, name="out/second.dcm")
    assert file_states(row) != before


def test_a_cohort_of_studies(study, tmp_path):
    """The audit, the cache of slices for training, and the checks see the slices that staging sees."""
    table = a_table(tmp_path, "a,p,study,study,,T3", "b,q,study,,ko,T3")
    cohort = read_cohort(table)
    assert [case.key_slice for case in cohort] == [None, "ko"]
    write_cohort(cohort, tmp_path / "again.csv")
    assert [case.key_slice for case in read_cohort(tmp_path / "again.csv")] == [None, "ko"]
    scan = read_scan(study / "ct")
    found = fingerprints(cohort.cases)
    assert [one.problem for one in found] == [None, None]
    assert (
        found[0].digest
        == found[1].digest
        == fingerprints([Case(case_id="c", patient_id="p", image=study / "ct")])[0].digest
    )
    assert prepared(cohort.cases[1], GTR)[0].digest == scan.digest
    cache = tmp_path / "cache"
    one = slice_cache.cache_slices(cohort.cases, GTR, cache, workers=0)
    assert one[1].key == slice_cache.cache_slices(cohort.cases, GTR, cache, workers=0)[1].key
    mark(study, 6)
    assert slice_cache.cache_slices(cohort.cases, GTR, cache, workers=0)[1].key != one[1].key
    assert keyslice.choose(read_scan(study / "ct"), key_slice="ko").index == 6


def test_a_series_that_cannot_be_chosen_is_the_problem_of_its_case(study, tmp_path):
    cohort = read_cohort(a_table(tmp_path, "a,p,study,study,,T3", "b,q,study,,5,T3"))
    first, second = fingerprints(cohort.cases)
    assert first.problem is None
    assert first.picture is not None
    assert "2 CT series; expected one" in second.problem
