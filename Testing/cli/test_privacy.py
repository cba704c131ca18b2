"""What is shared has no identifier, no folder and no file name of the patient, in any byte."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from helpers import dicom_files
from helpers.tokens import MARK, Tokens, tokens_below, tokens_in

from GTRStagingLib.batch.local_log import LOCAL, NOTICE
from GTRStagingLib.cli import main as cli
from GTRStagingLib.imaging.dicom import IDENTIFIERS
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model import weights

CASES = {
    "good": "images/good/ct",
    "volume": "images/volume/ct.nii.gz",
    "two-series": "images/two/ct",
    "no-such-series": "images/two/ct",
    "missing": "images/missing/ct",
    "cut-header": "images/header/ct",
    "cut-pixels": "images/pixels/ct",
    "two-at-one-place": "images/twice/ct",
    "no-scale": "images/scale/ct",
    "one-missing": "images/gap/ct",
    "cut-volume": "images/cut/ct.nii.gz",
    "not-a-volume": "images/text/ct.nrrd",
    "bad-roi": "images/good/ct",
}
FAILED = [name for name in CASES if name not in ("good", "volume")]


def write_dicom(source, target, tokens, *, series="", only=slice(None)):
    """Copy DICOM files with tokens, into a folder and with names that are tokens as well."""
    for number, path in enumerate(sorted(source.glob("*.dcm"))[only]):
        target.mkdir(parents=True, exist_ok=True)
        tokens.fill(pydicom.dcmread(path), series=series).save_as(target / f"{MARK}file{series}{number:03}.dcm")


@pytest.fixture(scope="module")
def study(tmp_path_factory, a_model):
    """A study whose folder, files and headers are full of tokens; with a model, and the tokens."""
    root = tmp_path_factory.mktemp("privacy")
    assert cli.main(["phantom", "--seed", "5", "--size", "64", "--out", str(root / "phantom")]) == 0
    truth = json.loads((root / "phantom/truth.json").read_bytes())
    slices = root / "phantom/ct"
    table = root / f"{MARK}above the study" / "study"
    tokens = Tokens()
    at = {name: table / path for name, path in CASES.items()}
    for name in ("good", "cut-header", "cut-pixels", "two-at-one-place", "no-scale", "two-series"):
        write_dicom(slices, at[name] / f"{MARK}inside", tokens)
    write_dicom(slices, at["two-series"], tokens, series="2")
    write_dicom(slices, at["one-missing"], tokens, only=slice(None, 9))
    sorted(at["one-missing"].iterdir())[4].unlink()
    files = {name: sorted((at[name] / f"{MARK}inside").glob("*.dcm")) for name in at}
    files["cut-header"][3].write_bytes(files["cut-header"][3].read_bytes()[:900])
    for path in files["cut-pixels"]:
        path.write_bytes(path.read_bytes()[:-4000])
    shutil.copy(files["two-at-one-place"][3], files["two-at-one-place"][3].with_name(f"{MARK}copy.dcm"))
    for path in files["no-scale"]:
        d = pydicom.dcmread(path)
        d.RescaleSlope = 0
        d.save_as(path)
    ct = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(slices)))
    for name in ("volume", "cut-volume"):
        at[name].parent.mkdir(parents=True)
        sitk.WriteImage(ct, str(at[name]))
        image = nibabel.load(at[name])
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            image.header[field] = f"{MARK}{field}"[:10].encode() + b"xx"
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), at[name])
    at["cut-volume"].write_bytes(at["cut-volume"].read_bytes()[:-5000])
    at["not-a-volume"].parent.mkdir(parents=True)
    at["not-a-volume"].write_text(f"NRRD0004\n# {MARK}comment\ntype: {MARK}type\n")
    seg = tokens.fill(pydicom.dcmread(root / "phantom/tumour_seg.dcm"))
    seg.save_as(table / "images/good/seg.dcm")
    (table / "images/good/bad.dcm").write_bytes((table / "images/good/seg.dcm").read_bytes()[:1500])
    key = str(truth.get("key_slice", 12))
    with (table / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["case_id", "patient_id", "image", "series", "roi", "key_slice", "stage", "split"])
        for number, (name, image) in enumerate(CASES.items()):
            roi = {"good": "images/good/seg.dcm", "bad-roi": "images/good/bad.dcm"}.get(name, "")
            series = {"no-such-series": "99"}.get(name, "")
            rows.writerow([name, f"p{number}", image, series, roi, "" if roi else key, f"T{number % 4 + 1}", "test"])
    weights.save(a_model, root / "small")
    return table, root / "small", tokens


def console(capfd, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    return code, "".join(capfd.readouterr())


def test_the_helper_finds_tokens_in_all_that_is_packed(tmp_path, study):
    table, _, tokens = study
    assert len(tokens.of) > 150
    assert {"PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "ContrastBolusAgent"} <= set(tokens.of)
    import base64
    import gzip
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("x", b"<img src='data:x;base64," + base64.b64encode(gzip.compress(b"a ZqxTok0001 b")) + b"'>")
    assert tokens_in((tmp_path / "a.zip").read_bytes()) == {"zqxtok0001"}
    assert len(tokens_below(table / "images/good")) > 10


def test_a_batch_with_failed_cases_shares_nothing(tmp_path, study, capfd):
    table, model, _ = study
    out = tmp_path / f"{MARK}jane doe" / "results"
    code, printed = console(capfd, "batch", table / "cohort.csv", "--out", out, "--model", model, "--workers", 1)
    assert code == 1
    records = {name: sorted(p.stem for p in (out / "cases" / name).glob("*.json")) for name in CASES}
    assert [name for name, found in records.items() if "failed" in found] == FAILED, printed
    assert tokens_in(printed.encode()) == set(), printed
    assert tokens_below(out, without=LOCAL) == {}
    assert str(tmp_path) not in printed
    for path in (out / "cases").rglob("*.json"):
        assert str(table) not in path.read_text(encoding="utf-8")
    logs = sorted(path.name for path in (out / LOCAL).iterdir())
    assert logs == sorted(f"{name}.log" for name in FAILED)
    text = (out / LOCAL / "two-series.log").read_text(encoding="utf-8")
    assert text.startswith(NOTICE)
    assert str(table / "images/missing/ct") in (out / LOCAL / "missing.log").read_text(encoding="utf-8")
    # The same run again reads the records, which have no names, and knows the finished cases.
    code, printed = console(
        capfd, "batch", table / "cohort.csv", "--out", out, "--model", model, "--workers", 1, "--resume",
        "--progress", "json",
    )  # fmt: skip
    assert tokens_in(printed.encode()) == set()
    assert "(2 of them by an earlier run)" in printed or '"done": 2' in printed
    assert tokens_below(out, without=LOCAL) == {}

    code, printed = console(capfd, "evaluate", out / "predictions.csv", "--out", out / "again")
    assert tokens_in(printed.encode()) == set()
    assert str(tmp_path) not in printed
    assert tokens_below(out, without=LOCAL) == {}


@pytest.mark.parametrize("form", ["--json", "--workers=1"])
def test_an_audit_shares_nothing(study, capfd, form):
    table, _, _ = study
    code, printed = console(capfd, "cohort", "audit", table / "cohort.csv", form)
    assert code == 1
    assert "missing: image ct" in printed
    assert tokens_in(printed.encode()) == set(), printed
    assert str(table) not in printed


def test_a_wrong_path_shows_its_last_part_only(study, capfd):
    table, _, _ = study
    for arguments in (
        ("batch", table / "nowhere.csv", "--out", table / "out"),
        ("evaluate", table / "nowhere.csv"),
        ("cohort", "audit", table / "nowhere.csv"),
    ):
        code, printed = console(capfd, *arguments)
        assert code == 1
        assert "nowhere.csv" in printed
        assert tokens_in(printed.encode()) == set()
        assert str(table.parent) not in printed


def test_one_case_shares_identifiers_on_request_only(tmp_path, study, capfd):
    table, model, _ = study
    ct, seg = table / CASES["good"], table / "images/good/seg.dcm"
    pytest.importorskip("slicer")
    for name, more in (("plain", ()), ("asked", ("--include-phi",))):
        code, printed = console(
            capfd, "stage", ct, "--segmentation", seg, "--model", model, "--out", tmp_path / name,
            "--mrb", tmp_path / f"{name}-scene" / "scene.mrb", *more,
        )  # fmt: skip
        assert code == 0, printed
    assert tokens_below(tmp_path / "plain") == {}
    assert tokens_below(tmp_path / "plain-scene") == {}
    asked = tokens_below(tmp_path / "asked")
    assert sorted(asked) == ["report.html", "result.json"]
    header = pydicom.dcmread(next(ct.rglob("*.dcm")), stop_before_pixels=True)
    searched = set().union(*(tokens_in(str(header.get(name)).encode()) for name in IDENTIFIERS.split()))
    assert len(searched) >= 10
    for found in asked.values():
        assert searched <= found
        assert f"{MARK}above".lower() in found


def test_the_person_at_the_machine_gets_the_details(study, capfd):
    table, model, tokens = study
    code, printed = console(
        capfd, "stage", table / CASES["two-series"], "--key-slice", 3, "--model", model, "--json"
    )  # fmt: skip
    assert code == 1
    assert tokens.of["SeriesDescription"] in printed
    code, printed = console(capfd, "stage", table / "images/missing/ct", "--model", model, "--json")
    assert str(Path("images/missing/ct").name) in printed


def test_a_value_on_the_acquisition_that_repeats_an_identifier_is_left_out(tmp_path):
    slices = dicom_files.a_series()
    for one in slices:
        one.ManufacturerModelName, one.Manufacturer = "Scanner of MRN-4711", "Maker"
    acquisition = read_scan(dicom_files.write(tmp_path, slices)).acquisition
    assert "ManufacturerModelName" not in acquisition
    assert acquisition["Manufacturer"] == "Maker"
    assert acquisition["ConvolutionKernel"] == "B30f"
