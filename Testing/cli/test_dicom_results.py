"""`stage --dicom`, `batch --dicom` and `read-sr`: from a CT to a table of predictions, by DICOM objects alone."""

import csv

import pytest
import SimpleITK as sitk
from helpers import oriented_cts
from pydicom import dcmread

from GTRStagingLib import load_model
from GTRStagingLib.batch.local import BatchSettings
from GTRStagingLib.batch.run import depends_on
from GTRStagingLib.cli.main import main
from GTRStagingLib.dicom_results import codes
from GTRStagingLib.dicom_results.write import FILES
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.case_files import DICOM_OUTPUTS


@pytest.fixture(scope="module")
def cts(tmp_path_factory):
    """DICOM folders `a` and `b` of two phantoms, and `c.nii.gz`."""
    folder = tmp_path_factory.mktemp("cts")
    for name, stage, seed in (("a", TStage.T3, 3), ("b", TStage.T2, 5)):
        phantom = make_phantom(stage, seed=seed, size=64)
        oriented_cts.write_slices(folder / name, oriented_cts.slices_of(phantom))
    sitk.WriteImage(phantom.ct, folder / "c.nii.gz")
    return folder


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def table(path, *rows):
    path.write_text("case_id,image,key_slice,stage\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    return path


def stage(ct, *more):
    return main(["stage", str(ct), "--key-slice", "8", "--device", "cpu", "--model", "demonstration", *map(str, more)])


def batch(cases, out, *more):
    return main(["batch", str(cases), "--out", str(out), "--workers", "1", "--device", "cpu", "--model",
                 "demonstration", "--no-evaluation", *more])  # fmt: skip


def test_the_files_of_a_batch_are_those_that_are_written():
    assert {f"dicom/{name}" for name in FILES.values()} == set(DICOM_OUTPUTS)


def test_stage_writes_dicom_and_prints_it(cts, tmp_path, capsys):
    assert stage(cts / "a", "--dicom", tmp_path / "dicom", "--dicom-codes", "private", "--threshold", "0.4") == 0
    printed = capsys.readouterr().out
    assert "report.dcm" in printed
    assert printed.endswith("clinical use.\n") or "esearch" in printed.splitlines()[-1]
    assert {path.name for path in (tmp_path / "dicom").iterdir()} == set(FILES.values())
    report = dcmread(tmp_path / "dicom" / "report.dcm")
    assert "SCT" not in str(report)
    thresholds = [item for item in _items(report) if item.ConceptNameCodeSequence[0].CodeValue == codes.THRESHOLD[0]]
    assert float(thresholds[0].MeasuredValueSequence[0].NumericValue) == 0.4


def _items(ds):
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def test_stage_refuses_other_formats_before_the_model_is_loaded(cts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("GTRStagingLib.model.backbone.load_models", lambda *_: pytest.fail("the model was loaded"))
    assert stage(cts / "c.nii.gz", "--dicom", tmp_path / "dicom") == 1
    assert "expected DICOM" in capsys.readouterr().err
    assert not (tmp_path / "dicom").exists()


@pytest.mark.parametrize("command", [["stage", "ct", "--json"], ["batch", "t.csv", "--out", "o"]])
def test_a_coding_without_dicom_results_is_a_contradiction(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "--dicom-codes", "private"])
    assert "--dicom-codes requires --dicom" in capsys.readouterr().err


def test_a_batch_writes_reports_that_give_its_table_back(cts, tmp_path, capsys):
    cases = table(
        tmp_path / "cases.csv", ("a", cts / "a", 8, "T3"), ("b", cts / "b", 9, "T2"), ("c", cts / "c.nii.gz", 9, "T2")
    )
    assert batch(cases, tmp_path / "out", "--dicom") == 1  # a case failed
    written = rows_of(tmp_path / "out" / "predictions.csv")
    assert {name: row["status"] for name, row in written.items()} == {"a": "done", "b": "done", "c": "failed"}
    assert "expected DICOM" in written["c"]["reason"]
    assert not list((tmp_path / "out" / "cases" / "c").glob("*.nrrd"))
    capsys.readouterr()

    assert main(["read-sr", str(tmp_path / "out"), "--out", str(tmp_path / "read.csv")]) == 0
    assert "2 reports" in capsys.readouterr().out
    read = rows_of(tmp_path / "read.csv")
    assert read.keys() == {"a", "b"}
    scanner = {name for name in read["a"] if name.startswith("ct_")}
    for case_id, row in read.items():
        for name, text in row.items():
            if name in scanner:
                continue
            expected = written[case_id][name]
            if name.startswith(("p_", "stays", "asked")) or name in ("key_position_mm", "familiarity_percentile"):
                assert float(text) == pytest.approx(float(expected), abs=1e-12), name
            else:
                assert text == expected.replace("–", "-").replace("°", " degrees"), name

    truth = table(tmp_path / "truth.csv", ("a", "", "", "T3"), ("b", "", "", "T2"))
    assert main(["evaluate", str(tmp_path / "read.csv"), "--cohort", str(truth)]) == 0
    assert "ccuracy" in capsys.readouterr().out


def test_what_a_batch_depends_on_contains_its_objects():
    card = load_model("demonstration", device="cpu").card
    without, standard, private = (
        depends_on(BatchSettings(dicom=codes), card) for codes in (None, "standard", "private")
    )
    assert "dicom" not in without  # the records of earlier batches stay valid
    assert without != standard != private


@pytest.mark.slow
def test_a_resumed_batch_takes_the_objects_into_account(cts, tmp_path):
    cases = table(tmp_path / "cases.csv", ("a", cts / "a", 8, "T3"))
    assert batch(cases, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "cases" / "a" / "dicom").exists()
    assert batch(cases, tmp_path / "out", "--resume", "--dicom") == 0
    report = tmp_path / "out" / "cases" / "a" / "dicom" / "report.dcm"
    first = report.stat().st_mtime_ns
    assert batch(cases, tmp_path / "out", "--resume", "--dicom") == 0
    assert report.stat().st_mtime_ns == first
    assert batch(cases, tmp_path / "out", "--resume", "--dicom", "--dicom-codes", "private") == 0
    assert "SCT" not in str(dcmread(report))
    assert batch(cases, tmp_path / "out", "--resume") == 0
    assert not list(report.parent.glob("*.dcm"))


def test_reports_of_two_models_are_not_put_into_one_table(tmp_path):
    from dataclasses import replace

    import numpy as np

    from GTRStagingLib.batch.report_rows import write_report_table
    from GTRStagingLib.dicom_results.report_content import ReportContent
    from GTRStagingLib.errors import InputError
    from GTRStagingLib.staging.voting import vote

    one = ReportContent(
        case_id="a", software="1", model="m", model_warning=None, weights_sha256="0" * 64, card_sha256="1" * 64,
        method="gradcam", prediction=vote([0], np.array([[0.1, 0.2, 0.3, 0.4]])), stage=TStage.T4, key_slice=1,
        key_slice_by="hand", key_position_mm=None, slice_mm=None, familiarity="not known", percentile=None, reasons=(),
        set_stages=(), set_level=None, set_withheld=None, looks=1, spread=None, threshold=None, agreement={},
        pointing_hit=None, warnings=(),
    )  # fmt: skip
    write_report_table([one], tmp_path / "one.csv")
    assert rows_of(tmp_path / "one.csv")["a"]["stage_set_note"] == "the model has no calibration"
    with pytest.raises(InputError, match="of 2 models"):
        write_report_table([one, replace(one, case_id="b", card_sha256="2" * 64)], tmp_path / "two.csv")
