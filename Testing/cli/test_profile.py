"""The command `gtrstaging profile`: files, summary, and options that contradict each other."""

import csv
import json

import pytest
import SimpleITK as sitk

from GTRStagingLib.cli.main import main
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small phantom and its tumour as files."""
    folder, phantom = tmp_path_factory.mktemp("profile"), make_phantom(TStage.T3, seed=3, size=96)
    sitk.WriteImage(phantom.ct, str(folder / "ct.nii.gz"))
    sitk.WriteImage(phantom.tumour, str(folder / "tumour.nii.gz"))
    return folder


def run(folder, *options, out="out"):
    return main(["profile", str(folder / "ct.nii.gz"), "--out", str(folder / out), "--device", "cpu", *options])


def rows(folder, out="out"):
    with (folder / out / "profile.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_roi_gives_slices_and_key_slice(folder, capsys):
    assert run(folder, "--segmentation", str(folder / "tumour.nii.gz"), "--mm", "5", "--case-id", "one") == 0
    printed = capsys.readouterr().out
    found = rows(folder)
    inside = [row for row in found if float(row["roi_area_mm2"]) > 0]
    assert len(found) == len(inside) + 2
    (key,) = [row for row in found if row["key_slice"] == "yes"]
    assert float(key["roi_area_mm2"]) == max(float(row["roi_area_mm2"]) for row in found)
    record = json.loads((folder / "out" / "profile.json").read_text(encoding="utf-8"))
    assert record["case_id"] == "one"
    assert f"Stable     {record['in_words']}" in printed
    assert "the slice with the largest area of the ROI" in printed
    assert "DEMONSTRATION" in printed
    assert printed.endswith(f"{RESEARCH_USE_ONLY}\n")
    assert str(folder) not in (folder / "out" / "profile.html").read_text(encoding="utf-8")


def test_the_summary_names_the_stage_of_the_key_slice(folder, capsys):
    """Also the lowest one, which counts as 0; without tumour in the slice the model gives it."""
    assert run(folder, "--around", "14", "--mm", "0", out="lowest") == 0
    record = json.loads((folder / "lowest" / "profile.json").read_text(encoding="utf-8"))
    assert record["stage"] == "T1"
    assert "Stage      T1\n" in capsys.readouterr().out
    assert record["stability"] is None
    assert record["in_words"] == "not known: no neighbouring slice was asked"
    assert "1 of 1 slice is UNLIKE those that the model learned from: its stage means nothing." in record["warnings"]


def test_around_a_slice_and_a_range_of_positions(folder, capsys):
    assert run(folder, "--around", "8", "--mm", "10", out="near") == 0
    assert [row["slice"] for row in rows(folder, "near")] == ["6", "7", "8", "9", "10"]
    assert [row["slice"] for row in rows(folder, "near") if row["key_slice"] == "yes"] == ["8"]
    low, high = (rows(folder, "near")[i]["position_mm"] for i in (1, 3))
    assert run(folder, f"--from={low}", f"--to={high}", out="range") == 0
    assert [row["slice"] for row in rows(folder, "range")] == ["7", "8", "9"]
    assert "no key slice was given" in capsys.readouterr().out
    same = {row["slice"]: float(row["p_T3"]) for row in rows(folder, "near")}
    for row in rows(folder, "range"):
        assert float(row["p_T3"]) == pytest.approx(same[row["slice"]], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--around", "3", "--from", "0"], "give one of them"),
        (["--from", "5", "--to", "-5"], "--from 5 lies above --to -5"),
        (["--mm", "5"], "--mm is a distance from --around or beyond --segmentation"),
        (["--segmentation", "a.nrrd", "--from", "0", "--mm", "5"], "without --from and --to"),
        (["--around", "3", "--mm", "-1"], "--mm -1: expected a distance of 0 or more"),
        (["--from", "north"], "--from: expected a number of millimetres"),
        (["--segment", "1"], "--segment requires --segmentation"),
        (["--resample-roi"], "--resample-roi requires --segmentation"),
        (["--case-id", " "], "--case-id: expected a name"),
        (["--tta"], "unrecognized arguments: --tta"),
        (["--model", "demonstration", "--model", "other"], "argument --model: expected once"),
    ],
)
def test_contradicting_options_are_refused(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        main(["profile", "ct.nii.gz", "--out", str(tmp_path / "out"), *options])
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_range_without_slices_names_those_of_the_scan(folder, capsys):
    assert run(folder, "--from", "5000", out="none") == 1
    assert "No slice lies at 5000 mm or above; the slices' centres lie at" in capsys.readouterr().err
    assert not (folder / "none").exists()


def test_a_slice_that_does_not_exist_is_refused(folder, capsys):
    assert run(folder, "--around", "99", out="none") == 1
    assert "Key slice 99 does not exist" in capsys.readouterr().err
