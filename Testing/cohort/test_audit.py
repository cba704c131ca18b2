"""The audit finds every planted error, singly and together, and nothing in a clean table."""

import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from helpers import cohorts, harmful_reads
from hypothesis import given, settings
from hypothesis import strategies as st

from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort import fingerprint
from GTRStagingLib.cohort.audit import audit, audit_partitions
from GTRStagingLib.cohort.cohort import Cohort, read_cohort, write_cohort
from GTRStagingLib.cohort.rules import association
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage

PATTERN = r"^(.+?)\.nii"


def kinds(found):
    return {f.kind for f in found.findings}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """48 patients with two rows; split p // 8 % 3, stage p % 4, centre p // 4 % 2."""
    return cohorts.clean(tmp_path_factory.mktemp("clean"), cases_a_patient=2)


# -- planted errors ------------------------------------------------------------------------------------------------
# Each takes the cases by id, plants one error in patients of its own, and returns severity, kind, and texts that an
# example must contain. Patients 0-7 and 24-31 are in train, 8-15 and 32-39 in validation, the others in test.


def patient_in_two_splits(cases):
    cases["case1-1"] = replace(cases["case1-1"], split="test")
    return "leak", "same patient on two sides", ["patient1: case1-1 in test, case1-0 in train"]


def image_in_two_splits(cases):
    cases["case2-0"] = replace(cases["case2-0"], image=cases["case17-0"].image)
    return "leak", "same image on two sides", ["case2-0 (train) = case17-0 (test)"]


def image_in_two_splits_under_a_link(cases):
    link = cases["case3-0"].image.with_name("link.nii.gz")
    if not link.exists():
        link.symlink_to(cases["case9-0"].image)
    cases["case3-0"] = replace(cases["case3-0"], image=link)
    return "leak", "same image on two sides", ["case3-0 (train) = case9-0 (validation)"]


def image_of_two_patients(cases):
    cases["case5-0"] = replace(cases["case5-0"], image=cases["case6-0"].image)
    return "note", "same image of two patients", ["case5-0 (train) = case6-0 (train)"]


def two_ages(cases):
    case = cases["case10-1"]
    cases["case10-1"] = replace(case, covariates={**case.covariates, "age": 51.0})
    return "fault", "contradictory covariate", ["patient10: 50 / 51"]


def two_sexes(cases):
    case = cases["case11-1"]
    cases["case11-1"] = replace(case, covariates={**case.covariates, "sex": "M"})
    return "fault", "contradictory covariate", ["patient11: F / M"]


def a_number_and_a_text(cases):
    for name, value in (("case13-0", 5.0), ("case13-1", "<5")):
        cases[name] = replace(cases[name], covariates={**cases[name].covariates, "cea": value})
    return "fault", "contradictory covariate", ["patient13: 5 / <5"]


def two_stages(cases):
    cases["case14-1"] = replace(cases["case14-1"], stage=TStage.T4)
    return "note", "several stages in a patient", ["patient14: T3 / T4"]


def no_image(cases):
    cases["case18-0"] = replace(cases["case18-0"], image=Path("/nowhere/18.nii"))
    return "fault", "missing file", ["case18-0: image 18.nii"]


def no_roi(cases):
    cases["case19-0"] = replace(cases["case19-0"], roi=Path("/nowhere/roi.nrrd"))
    return "fault", "missing file", ["case19-0: roi roi.nrrd"]


def another_spelling_in_another_split(cases):
    cases["case25-1"] = replace(cases["case25-1"], patient_id="Patient_025", split="test")
    return "fault", "patient id in two spellings", ["patient25", "Patient_025"]


def another_spelling(cases):
    cases["case26-1"] = replace(cases["case26-1"], patient_id="PATIENT 26")
    return "note", "patient id in two spellings", ["patient26", "PATIENT 26"]


def in_no_split(cases):
    cases["case33-1"] = replace(cases["case33-1"], split=None)
    return "note", "no side", ["case33-1"]


def no_t1_in_test(cases):
    for name in [name for name, case in cases.items() if case.split == "test" and case.stage == TStage.T1]:
        del cases[name]
    return "fault", "stage missing on a side", ["patient0"]


def a_centre_of_its_own(cases):
    for name in ("case34-0", "case34-1"):
        cases[name] = replace(cases[name], centre="Z")
    return "note", "centre on one side only", ["Z: validation"]


PLANTS = [
    patient_in_two_splits, image_in_two_splits, image_in_two_splits_under_a_link, image_of_two_patients, two_ages,
    two_sexes, a_number_and_a_text, two_stages, no_image, no_roi, another_spelling_in_another_split, another_spelling,
    in_no_split, no_t1_in_test, a_centre_of_its_own,
]  # fmt: skip


def assert_found(cohort, plants):
    cases = {case.case_id: case for case in cohort}
    planted = [plant(cases) for plant in plants]
    found = audit(Cohort(tuple(cases.values())), content=False)
    assert {(f.severity, f.kind) for f in found.findings} == {(severity, kind) for severity, kind, _ in planted}
    examples = "\n".join(text for f in found.findings for text in f.examples)
    for _, _, named in planted:
        for text in named:
            assert text in examples
    assert found.ok == all(severity == "note" for severity, _, _ in planted)
    assert bool(found.leaks) == any(severity == "leak" for severity, _, _ in planted)


def test_nothing_is_found_in_a_clean_table(clean):
    found = audit(clean, content=False)
    assert (found.findings, found.ok) == ((), True)
    found.require_no_leak()
    assert [(s.name, s.rows, s.patients, dict(s.stages)) for s in found.splits] == [
        (split, 32, 16, {"T1": 4, "T2": 4, "T3": 4, "T4": 4}) for split in ("train", "validation", "test")
    ]


@pytest.mark.smoke
@pytest.mark.parametrize("plant", PLANTS, ids=lambda p: p.__name__)
def test_every_error_is_found_alone(clean, plant):
    assert_found(clean, [plant])


@settings(max_examples=60, deadline=None)
@given(plants=st.lists(st.sampled_from(PLANTS), unique=True))
def test_errors_are_found_together_and_nothing_else(clean, plants):
    assert_found(clean, plants)


@settings(max_examples=20, deadline=None)
@given(patients=st.integers(3, 15).map(lambda n: 8 * 3 * n), rows=st.integers(1, 3))
def test_clean_tables_of_any_size_are_clean(patients, rows):
    cohort = cohorts.clean("/nowhere", patients, rows)
    assert kinds(audit(cohort, content=False)) == {"missing file"}


def test_require_no_leak_raises_for_a_leak_and_not_for_an_error(clean):
    cases = {case.case_id: case for case in clean}
    two_ages(cases)
    audit(Cohort(tuple(cases.values())), content=False).require_no_leak()
    patient_in_two_splits(cases)
    with pytest.raises(LeakageError, match="1 of 17 patients of test also appear in train"):
        audit(Cohort(tuple(cases.values())), content=False).require_no_leak()


# -- balance -------------------------------------------------------------------------------------------------------


def of_patients(folder, rows):
    """Return a cohort of (split, stage, centre, number of patients)."""
    base = cohorts.clean(folder, 1).cases[0]
    cases = [
        replace(base, case_id=f"c{i}-{n}", patient_id=f"p{i} x{n}", split=split, stage=stage, centre=centre,
                image=base.image.with_name(f"{i}-{n}.nii"))
        for i, (split, stage, centre, count) in enumerate(rows)
        for n in range(count)
    ]  # fmt: skip
    for case in cases:
        case.image.write_bytes(b"")
    return Cohort(tuple(cases))


def test_a_centre_associated_with_the_stage_is_an_error(tmp_path):
    rows = [(split, stage, "A" if stage < 2 else "B", 10) for split in ("train", "test") for stage in TStage]
    (finding,) = audit(of_patients(tmp_path, rows), content=False).findings
    assert (finding.kind, finding.severity) == ("centre tells the stage", "fault")
    assert finding.examples == ("A: T1 20, T2 20", "B: T3 20, T4 20")
    assert "Cramér's V 1.00" in finding.sentence


def test_uneven_stages_and_splits_that_differ_are_notes(tmp_path):
    rows = [("train", TStage.T1, None, 50), ("train", TStage.T4, None, 10), ("test", TStage.T1, None, 2),
            ("test", TStage.T4, None, 28)]  # fmt: skip
    found = audit(of_patients(tmp_path, rows), content=False)
    assert kinds(found) == {"stages differ between sides"}
    assert found.ok
    (tmp_path / "b").mkdir()
    rows = [(split, stage, None, 2 if stage == TStage.T2 else 10) for split in ("train", "test") for stage in TStage]
    (finding,) = audit(of_patients(tmp_path / "b", rows), content=False).findings
    assert (finding.kind, finding.sentence) == ("uneven stages", "T1 has 20 patients, T2 only 4.")


def test_centres_that_differ_between_splits_are_a_note(tmp_path):
    rows = [(split, stage, centre, 12 if (centre == "A") == (split == "train") else 3)
            for split in ("train", "test") for stage in TStage for centre in "AB"]  # fmt: skip
    assert kinds(audit(of_patients(tmp_path, rows), content=False)) == {"centres differ between sides"}


def test_the_association_by_hand():
    """20 and 10 against 10 and 20: chi-square 60 * 300^2 / 30^4 = 6.667, V its root over 60, p 0.00982 (1 df)."""
    effect, p = association({"a": Counter(x=20, y=10), "b": Counter(x=10, y=20)})
    assert effect == pytest.approx(1 / 3)
    assert p == pytest.approx(0.00982, abs=1e-5)
    assert association({"a": Counter(x=4), "b": Counter(y=4)}) == (0.0, 1.0)
    assert association({"a": Counter(x=100), "b": Counter(x=100)}) == (0.0, 1.0)


def test_similar_ids_are_two_patients(clean):
    cases = list(clean)
    for i, name in enumerate(("P1-11", "P11-1", "P111", "胃1", "1")):
        for c in (0, 1):
            cases[2 * i + c] = replace(cases[2 * i + c], patient_id=name)
    assert kinds(audit(Cohort(tuple(cases)), content=False)) == set()


# -- content -------------------------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path):
    """Eight patients with one CT each, in train and test, with all stages in both."""
    cases = []
    for p in range(8):
        sitk.WriteImage(ct_like(shape=(4, 128, 128), seed=p), str(tmp_path / f"{p}.nii.gz"))
        base = cohorts.clean(tmp_path, 1).cases[0]
        cases.append(
            replace(base, case_id=f"c{p}", patient_id=f"p{p}x", image=tmp_path / f"{p}.nii.gz", key_slice=2,
                    centre=None, stage=TStage(p % 4), split="train" if p < 4 else "test")
        )  # fmt: skip
    return cases


def test_scans_of_different_patients_are_clean(scans):
    read = []
    found = audit(Cohort(tuple(scans)), progress=read.append)
    assert found.findings == ()
    assert read == [f"c{p}" for p in range(8)]
    assert "8 images by content, 8 key slices by picture" in found.looked_at


def test_several_processes_find_the_same_as_one(scans, tmp_path):
    """A copy in another split, and a file that cannot be read."""
    (tmp_path / "copy.nii.gz").write_bytes(scans[0].image.read_bytes())
    scans[5] = replace(scans[5], image=tmp_path / "copy.nii.gz")
    scans[6].image.write_bytes(b"damaged")
    read = []
    found = audit(Cohort(tuple(scans)), progress=read.append, workers=2)
    assert [finding.kind for finding in found.findings] == ["same image on two sides", "unusable case"]
    assert read == [f"c{p}" for p in range(8)]
    assert found == audit(Cohort(tuple(scans)))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_file_that_ends_its_process_is_a_finding_of_its_case(scans, tmp_path, monkeypatch, capsys):
    """A crash, a kill, a hang, too much memory, a foreign error; the others are compared as ever."""
    monkeypatch.setattr(fingerprint, "_of_image", harmful_reads.of_image)
    words = ["crash crash", "kill kill", "hang", "fill", "odd", "crash"]
    for case, word in zip(scans, words, strict=False):
        harmful_reads.ask(case.image, word)
    scans[7] = replace(scans[7], image=noisy(scans[6].image, tmp_path / "n.nii.gz"))
    write_cohort(Cohort(tuple(scans)), tmp_path / "cohort.csv")
    limits = ["--time-limit", "15", "--memory-limit", "1000"]
    assert cli.main(["cohort", "audit", str(tmp_path / "cohort.csv"), "--workers", "2", "--json", *limits]) == 1
    found = json.loads(capsys.readouterr().out)
    by_kind = {finding["kind"]: finding for finding in found["findings"]}
    reasons = dict(text.split(": ", 1) for text in by_kind["unusable case"]["examples"])
    on_linux = sys.platform.startswith("linux")
    assert set(reasons) == {"c0", "c1", "c2", "c4", *(["c3"] if on_linux else [])}
    assert "SIGSEGV" in reasons["c0"]
    assert "SIGKILL. The machine may have run out of memory." in reasons["c1"]
    assert "exceeded the time limit (15 s)" in reasons["c2"]
    assert not on_linux or reasons["c3"] == "The case exceeded the memory limit. Raise memory_limit."
    assert reasons["c4"].startswith("KeyError; expected a result.")  # its text may be a value of the header
    assert "same slice of two patients" in by_kind
    assert f"{3 if on_linux else 4} images by content" in found["looked_at"][1]


def test_a_renamed_and_recompressed_copy_in_another_split_is_a_leak(scans, tmp_path):
    sitk.WriteImage(sitk.ReadImage(str(scans[0].image)), str(tmp_path / "other.nrrd"))
    scans[5] = replace(scans[5], image=tmp_path / "other.nrrd")
    (finding,) = audit(Cohort(tuple(scans))).findings
    assert (finding.kind, finding.severity) == ("same image on two sides", "leak")
    assert finding.examples[0].startswith("c0 (train) = c5 (test)")
    assert audit(Cohort(tuple(scans)), content=False).findings == ()


def test_a_copy_is_found_after_one_in_no_split(scans):
    scans[0] = replace(scans[0], split=None, image=scans[5].image)
    scans[1] = replace(scans[1], image=scans[5].image)
    assert "same image on two sides" in kinds(audit(Cohort(tuple(scans)), content=False))


def noisy(scan, target):
    image = sitk.ReadImage(str(scan))
    values = sitk.GetArrayFromImage(image)
    again = sitk.GetImageFromArray(values + np.random.default_rng(3).normal(0, 3, values.shape).astype(np.float32))
    again.CopyInformation(image)
    sitk.WriteImage(again, str(target))
    return target


def test_the_same_slice_under_other_noise_is_a_leak_across_and_a_note_within(scans, tmp_path):
    scans[6] = replace(scans[6], image=noisy(scans[1].image, tmp_path / "n1.nii.gz"))
    (finding,) = audit(Cohort(tuple(scans))).findings
    assert (finding.kind, finding.severity) == ("same slice on two sides", "leak")
    assert finding.examples[0].startswith("c1 (train) = c6 (test): agreement 0.")
    scans[6] = replace(scans[6], split="train")
    found = audit(Cohort(tuple(scans)))
    assert "same slice of two patients" in kinds(found)
    assert not found.leaks


def test_one_slice_of_two_patients_on_two_sides_is_a_leak(scans, tmp_path):
    """Scans of one slice need no key slice in the table; a voxel that differs makes them two images."""
    values = sitk.GetArrayFromImage(ct_like(shape=(1, 128, 128), seed=20))
    for name, change in (("a", 0.0), ("b", 1.0)):
        values[0, 0, 0] += change
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / f"{name}.nii.gz"))
    scans[0] = replace(scans[0], image=tmp_path / "a.nii.gz", key_slice=None)
    scans[6] = replace(scans[6], image=tmp_path / "b.nii.gz", key_slice=None)
    found = audit(Cohort(tuple(scans)))
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("same slice on two sides", "leak")
    assert finding.examples[0].startswith("c0 (train) = c6 (test)")
    assert "8 images by content, 8 key slices by picture" in found.looked_at


def test_rows_of_one_patient_in_one_split_may_share_an_image(scans):
    scans.append(replace(scans[0], case_id="again", key_slice=1))
    assert audit(Cohort(tuple(scans))).findings == ()


def test_unusable_cases_are_named_and_the_others_compared(scans, tmp_path):
    (tmp_path / "0.nii.gz").write_bytes(b"no")
    scans[1] = replace(scans[1], key_slice=4)
    scans[2] = replace(scans[2], key_slice=None, roi=tmp_path / "nowhere.nrrd")
    scans[3] = replace(scans[3], image=tmp_path / "nowhere.nii")
    scans[7] = replace(scans[7], image=scans[5].image)
    found = audit(Cohort(tuple(scans)))
    by_kind = {f.kind: f for f in found.findings}
    assert set(by_kind) == {"unusable case", "missing file", "same image of two patients"}
    assert [text.split(":")[0] for text in by_kind["unusable case"].examples] == ["c0", "c1"]
    assert [text.split(":")[0] for text in by_kind["missing file"].examples] == ["c2", "c3"]
    assert "6 images by content, 4 key slices by picture (1 case has neither key slice nor ROI)" in found.looked_at


# -- partitions ----------------------------------------------------------------------------------------------------


def test_the_release_from_its_files_alone(shared_data, capsys):
    folder = shared_data / "released"
    code = cli.main(["cohort", "audit", "--split", f"train={folder}/splits/train.csv",
                     "--split", f"test={folder}/splits/test.csv", "--patient-pattern", PATTERN,
                     "--covariates", f"{folder}/clinic_sel.csv"])  # fmt: skip
    out = capsys.readouterr().out
    assert code == 1
    assert "All 239 rows of test are also in train." in out
    assert "Without these rows, 177 of 179 patients of test also appear in train." in out
    assert "Age has contradictory values in 358 of 358 patients" in out
    assert "Sex has contradictory values in 222 of 358 patients" in out
    assert "NOT CLEAN" in out
    assert RESEARCH_USE_ONLY in out


def files(tmp_path, **tables):
    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in tables}


def test_splits_without_common_patients_are_clean(tmp_path):
    splits = files(
        tmp_path, train="image,patient_id,label\na,1,0\nb,1,0\nc,2,1\n", test="image,patient_id,label\nd,3,0\ne,4,1\n"
    )
    found = audit_partitions(splits)
    assert (found.findings, found.ok) == ((), True)
    assert [(s.name, s.rows, s.patients, s.stages) for s in found.splits] == [
        ("train", 3, 2, {"0": 1, "1": 1}),
        ("test", 2, 2, {"0": 1, "1": 1}),
    ]


def test_the_id_is_the_unique_column(tmp_path):
    """By PatientID the one row of test would be a copy of train's; by image it is another slice of that patient."""
    splits = files(tmp_path, train="PatientID,image\n1,a\n1,b\n2,c\n", test="PatientID,image\n1,d\n")
    (finding,) = audit_partitions(splits).findings
    assert (finding.kind, finding.examples) == ("same patient on two sides", ("1: d in test, a, b in train",))


def test_covariates_are_joined_by_patient_and_other_rows_are_noted(tmp_path):
    splits = files(tmp_path, train="image,patient_id\na,1\nb,1\n", test="image,patient_id\nc,2\n")
    table = files(tmp_path, clinic="who,age\n1,60\n2,61\n1,60.0\n9,70\n1,NA\n")["clinic"]
    (finding,) = audit_partitions(splits, covariates=table).findings
    assert (finding.kind, finding.examples) == ("covariates of nobody", ("9",))
    table.write_text("who,age\n1,60\n2,61\n1,60.5\n")
    (finding,) = audit_partitions(splits, covariates=table).findings
    assert finding.examples == ("1: 60 / 60.5",)
    table.write_text("who,age\n1,#REF!\n")
    with pytest.raises(InputError, match="clinic.csv, row 2, age '#REF!'"):
        audit_partitions(splits, covariates=table)
    table.write_text("who,age\nx,60\n")
    with pytest.raises(InputError, match="no column .* contains ids"):
        audit_partitions(splits, covariates=table)


@pytest.mark.parametrize(
    ("head", "pattern", "column", "message"),
    [
        ("image,stage", None, None, "has no column of patients"),
        ("image,stage", "x(.*)", None, "train.csv, image 'a' does not fit"),
        ("image,stage", "(z?)", None, "train.csv, image 'a' does not fit"),
        ("foo,stage", "a", None, "has no column of unique ids"),
        ("image,patient_id", None, "id", "no column 'id'"),
    ],
)
def test_splits_without_ids_or_patients_are_refused(tmp_path, head, pattern, column, message):
    splits = files(tmp_path, train=f"{head}\na,1\n", test=f"{head}\nb,2\n")
    with pytest.raises(InputError, match=message):
        audit_partitions(splits, pattern, id_column=column)


def test_repeated_ids_need_an_id_column(tmp_path):
    splits = files(tmp_path, train="image,patient_id\na,1\na,1\n", test="image,patient_id\nb,2\n")
    with pytest.raises(InputError, match="image, patient_id repeat"):
        audit_partitions(splits)
    assert audit_partitions(splits, id_column="image").ok


# -- the command line ----------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_split_then_audit(tmp_path, capsys):
    cohort = cohorts.clean(tmp_path, 80)
    write_cohort(Cohort(tuple(replace(c, split=None) for c in cohort)), tmp_path / "cohort.csv")
    code, out, err = run(capsys, "cohort", "split", tmp_path / "cohort.csv", "--out", tmp_path / "split.parquet",
                         "--fractions", 0.6, 0.2, 0.2, "--seed", 4)  # fmt: skip
    assert (code, err) == (0, "")
    assert RESEARCH_USE_ONLY in out
    split = read_cohort(tmp_path / "split.parquet")
    assert [len(split.of(s).patients) for s in ("train", "validation", "test")] == [48, 16, 16]
    code, out, err = run(capsys, "cohort", "audit", tmp_path / "split.parquet", "--no-content")
    assert (code, err) == (0, "")
    assert "CLEAN: 0 leaks, 0 errors, 0 notes" in out
    code, out, _ = run(capsys, "cohort", "split", tmp_path / "cohort.csv", "--out", tmp_path / "b.csv",
                       "--test-centre", "B")  # fmt: skip
    assert code == 0
    assert {c.centre for c in read_cohort(tmp_path / "b.csv").of("test")} == {"B"}


@pytest.mark.parametrize(("calibration", "sizes"), [((), [40, 20, 20, 0]), (("--calibration", 0.25), [40, 20, 0, 20])])
def test_the_shares_may_stand_before_the_table(calibration, sizes, tmp_path, capsys):
    cohort = cohorts.clean(tmp_path, 80)
    write_cohort(Cohort(tuple(replace(c, split=None) for c in cohort)), tmp_path / "cohort.csv")
    shares = (0.5, 0.25, 0 if calibration else 0.25)
    code, _, err = run(capsys, "cohort", "split", "--fractions", *shares, *calibration, tmp_path / "cohort.csv",
                       "--out", tmp_path / "split.csv")  # fmt: skip
    assert (code, err) == (0, "")
    split = read_cohort(tmp_path / "split.csv")
    assert [len(split.of(s).patients) for s in ("train", "validation", "test", "calibration")] == sizes


def test_shares_that_do_not_add_up_with_the_calibration_are_refused(tmp_path, capsys):
    write_cohort(cohorts.clean(tmp_path, 80), tmp_path / "cohort.csv")
    code, _, err = run(capsys, "cohort", "split", tmp_path / "cohort.csv", "--out", tmp_path / "split.csv",
                       "--calibration", 0.1)  # fmt: skip
    assert (code, "Fractions 0.7 0.15 0.15 0.1; expected" in err) == (1, True)


def test_json_lists_everything(clean, tmp_path, capsys):
    cases = {case.case_id: case for case in clean}
    for plant in PLANTS:
        plant(cases)
    write_cohort(Cohort(tuple(cases.values())), tmp_path / "c.csv")
    code, out, err = run(capsys, "cohort", "audit", tmp_path / "c.csv", "--json", "--no-content")
    data = json.loads(out)
    assert (code, err, data["ok"], data["notice"]) == (1, "", False, RESEARCH_USE_ONLY)
    assert [f["severity"] for f in data["findings"]] == sorted(
        (f["severity"] for f in data["findings"]), key=["leak", "fault", "note"].index
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit"],
        ["audit", "c.csv", "--split", "train=a.csv"],
        ["audit", "--split", "train=a.csv"],
        ["audit", "--split", "train=a.csv", "--split", "train=b.csv"],
        ["audit", "--split", "a.csv", "--split", "b=b.csv"],
        ["audit", "--split", "a=a.csv", "--split", "b=b.csv", "--patient-pattern", "("],
        ["audit", "c.csv", "--patient-pattern", "x"],
        ["split", "c.csv"],
        [],
    ],
)
def test_wrong_use_has_an_exit_code_of_its_own(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["cohort", *arguments])
    assert stop.value.code == 2


def test_ten_thousand_rows_are_audited_fast(tmp_path):
    cohort = cohorts.clean("/nowhere", 4800, 2)
    start = time.perf_counter()
    found = audit(cohort, content=False)
    assert time.perf_counter() - start < 20
    assert kinds(found) == {"missing file"}
