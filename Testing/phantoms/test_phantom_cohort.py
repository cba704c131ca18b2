"""Cohorts of phantoms: the table, the continuation of an interrupted run, and a clean audit."""

import json
import shutil

import pytest

from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.audit import audit
from GTRStagingLib.cohort.cohort import read_cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.phantoms.phantom_cohort import make_phantom_cohort
from GTRStagingLib.stages import TStage


@pytest.fixture(scope="module")
def a_cohort_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "cohort"
    code = cli.main(["phantom", "--cases", "8", "--seed", "70", "--scanner", "A", "B", "--size", "64", "--format",
                     "nifti", "--workers", "2", "--out", str(folder)])  # fmt: skip
    assert code == 0
    return folder


def test_stages_and_scanners_alternate_and_patients_differ(a_cohort_folder):
    cohort = read_cohort(a_cohort_folder / "cohort.csv")
    assert [case.stage for case in cohort] == [*TStage, *TStage]
    assert [case.centre for case in cohort] == ["A"] * 4 + ["B"] * 4
    assert len(cohort.patients) == 8
    for case in cohort:
        truth = json.loads((case.image.parent / "truth.json").read_text())
        assert (truth["stage"], truth["scan"]["profile"]["name"]) == (case.stage.name, case.centre)
        assert case.covariates["depth_mm"] == truth["depth_mm"]


def test_the_audit_finds_no_error(a_cohort_folder):
    found = audit(read_cohort(a_cohort_folder / "cohort.csv"))
    assert found.ok, found.findings


def test_existing_cases_are_kept_and_missing_ones_made(a_cohort_folder, tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(a_cohort_folder, folder)
    (folder / "cohort.csv").unlink()
    shutil.rmtree(folder / "cases" / "phantom-000073")
    kept = (folder / "cases" / "phantom-000070" / "ct.nii.gz").stat().st_mtime_ns
    done = []
    table = make_phantom_cohort(folder, cases=8, seed=70, scanners=("A", "B"), size=64, progress=done.append)
    assert done == list(range(1, 9))
    assert table.read_bytes() == (a_cohort_folder / "cohort.csv").read_bytes()
    assert (folder / "cases" / "phantom-000070" / "ct.nii.gz").stat().st_mtime_ns == kept
    again, first = (f / "cases" / "phantom-000073" / "tumour.nii.gz" for f in (folder, a_cohort_folder))
    assert again.read_bytes() == first.read_bytes()


def test_another_phantom_in_a_case_folder_is_an_error(a_cohort_folder, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(a_cohort_folder, folder)
    with pytest.raises(InputError, match="has another phantom"):
        make_phantom_cohort(folder, cases=1, seed=70, scanners=("B",), size=64)


@pytest.mark.parametrize("bad", [{"cases": 0}, {"cases": 4, "form": "png"}, {"cases": 4, "scanners": ("Z",)}])
def test_invalid_parameters_are_refused(tmp_path, bad):
    with pytest.raises(InputError, match="expected"):
        make_phantom_cohort(tmp_path / "x", **bad)
    assert not (tmp_path / "x").exists()
