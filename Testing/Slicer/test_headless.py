"""Runs without a window, and scenes as files: exit codes, what is written, and that it reads back as it was staged."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from GTRStagingSlicer import headless, mrb, nodes
from GTRStagingSlicer.bare import bare_scene
from helpers.results import a_picture, box_on, with_roi

from GTRStagingLib.batch import batch, records
from GTRStagingLib.batch.columns import PREDICTIONS
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.imaging import geometry, rois, scans
from GTRStagingLib.model import weights
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.results import outputs
from GTRStagingLib.stages import RESEARCH_USE_ONLY

SCRIPT = Path(headless.__file__)


@pytest.fixture(scope="module")
def phantom_files(tmp_path_factory, a_small_phantom):
    folder = tmp_path_factory.mktemp("phantom")
    write_dicom(a_small_phantom, folder)
    return folder


def run(*arguments, cwd):
    """The script as a person starts it, in a folder that knows nothing of the project."""
    command = [sys.executable, str(SCRIPT), "--", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def opened(path):
    """A scene file's scene, and the module's parameter node in it."""
    bare = bare_scene()
    assert bare.scene.ReadFromMRB(str(path))
    return bare, bare.scene.GetSingletonNode("GTRStaging", "vtkMRMLScriptedModuleNode")


WHERE = pytest.mark.parametrize(
    "where", ["here", pytest.param("in a process of its own", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def where(request, tmp_path, monkeypatch, capfd):
    """Run the script in `tmp_path`, in this process or in another; return its code and its output."""

    def here(*arguments):
        monkeypatch.chdir(tmp_path)
        return headless.main(["--", *map(str, arguments)]), capfd.readouterr().out

    def as_a_person(*arguments):
        done = run(*arguments, cwd=tmp_path)
        return done.returncode, done.stdout

    return here if request.param == "here" else as_a_person


def test_it_is_a_script(tmp_path):
    done = run(cwd=tmp_path)
    assert done.returncode == 2
    assert "required" in done.stderr


@WHERE
def test_one_dicom_case_gets_its_files_and_its_scene(phantom_files, tmp_path, where):
    code, shown_text = where("--input", phantom_files / "ct", "--segmentation", phantom_files / "tumour_seg.dcm",
                       "--out", "out")  # fmt: skip
    assert code == 0
    assert RESEARCH_USE_ONLY in shown_text
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == sorted([*outputs.OUTPUTS, batch.SCENE])
    record = json.loads((out / "result.json").read_text())
    bare, node = opened(out / batch.SCENE)
    try:
        assert json.loads(node.GetNodeReference("resultText").GetText())["prediction"] == record["prediction"]
        assert node.GetNodeReference("tumourSegmentation").GetSegmentation().GetNumberOfSegments() == 1
        assert node.GetParameter("keySlice") == str(record["key_slice"]["index"])
        attention = sitk.ReadImage(str(out / "attention.nrrd"))
        shown = nodes.placed(node.GetNodeReference("attentionVolume")).image
        assert geometry.same_grid(shown, attention)
        raw = sitk.GetArrayFromImage(attention)
        assert np.allclose(sitk.GetArrayFromImage(shown), raw / raw.max(), atol=1e-6)
    finally:
        bare.close()
    # The same case by the command line.
    assert cli.main(["stage", str(phantom_files / "ct"), "--segmentation", str(phantom_files / "tumour_seg.dcm"),
                     "--out", str(tmp_path / "cli")]) == 0  # fmt: skip
    same = json.loads((tmp_path / "cli" / "result.json").read_text())
    for part in ("stage", "probabilities", "votes"):
        assert same["prediction"][part] == pytest.approx(record["prediction"][part])
    assert same["agreement"]["dice"] == record["agreement"]["dice"]


@WHERE
def test_a_table_with_a_lost_case_ends_with_1_and_says_which(tmp_path, where):
    ct = ct_like()
    sitk.WriteImage(ct, tmp_path / "ct.nrrd")
    sitk.WriteImage(box_on(ct).mask, tmp_path / "roi.nrrd")
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        rows = [["case_id", "image", "roi", "key_slice"], ["one", "ct.nrrd", "roi.nrrd", ""]]
        csv.writer(file).writerows([*rows, ["lost", "nowhere.nrrd", "", "2"], ["two", "ct.nrrd", "", "4"]])
    code, shown_text = where("--cases", "cases.csv", "--out", "out")
    assert code == 1
    assert "3 cases: 2 done, 1 failed, 0 skipped" in shown_text
    for case in ("one", "two"):
        assert (tmp_path / "out" / "cases" / case / batch.SCENE).stat().st_size > 1000
    assert "nowhere.nrrd" in (tmp_path / "out" / "cases" / "lost" / records.FAILED).read_text()
    assert json.loads((tmp_path / "out" / "cases" / "two" / "result.json").read_text())["case_id"] == "two"


def test_a_table_gets_maps_of_the_key_slices_alone_unless_asked(tmp_path, a_model):
    weights.save(a_model, tmp_path / "mine")
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\none,ct.nrrd,4\n")
    for asked in ([], ["--neighbour-maps"]):
        out = tmp_path / f"out{len(asked)}"
        assert headless.main(["--cases", str(tmp_path / "cases.csv"), "--out", str(out), "--model",
                              str(tmp_path / "mine"), *asked]) == 0  # fmt: skip
        attention = json.loads((out / "cases" / "one" / "result.json").read_text())["attention"]
        assert attention["method"] == "fine"
        assert attention["mapped"] == [bool(asked), True, bool(asked)]


def test_a_table_by_a_method_that_the_model_has_not_is_refused_at_once(tmp_path, capfd, a_model):
    weights.save(a_model, tmp_path / "mine")
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\none,ct.nrrd,4\n")
    assert headless.main(["--cases", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out"), "--model",
                          str(tmp_path / "mine"), "--cam", "gated"]) == 1  # fmt: skip
    assert "Use 'auto'." in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_key_object_selection_is_refused_in_slicer(tmp_path, capfd, a_model):
    weights.save(a_model, tmp_path / "mine")
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\none,ct.nrrd,ko\n")
    arguments = ["--cases", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out")]
    assert headless.main([*arguments, "--model", str(tmp_path / "mine")]) == 1
    assert "is not read in 3D Slicer; expected an index" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "shown_text"),
    [
        ([], 2, "required"),
        (["--input", "x"], 2, "--out"),
        (["--input", "x", "--cases", "y", "--out", "z"], 2, "not allowed with"),
        (["--input", "x", "--out", "z", "--neighbour-maps"], 2, "not allowed without --cases"),
        (["--input", "x", "--out", "z", "--threshold", "50"], 2, "50: expected a share of the maximum"),
        (["--input", "nowhere.nii", "--out", "out", "--key-slice", "3"], 1, "nowhere.nii"),
        (["--input", "ct.nrrd", "--out", "out"], 1, "Give the --key-slice, or an ROI of the tumour (--segmentation)"),
        (["--input", "x", "--out", "z", "--key-slice", "3", "--threshold", "2"], 2, "2: expected a share"),
        (["--input", "x", "--out", "z", "--segmentation", "y", "--threshold", "2"], 2, "2: expected a share"),
        (["--input", "ct.nrrd", "--out", "out", "--key-slice", "3", "--model", "none"], 1, "'none'"),
    ],
)
def test_wrong_use_and_failures_have_their_codes(tmp_path, monkeypatch, capfd, arguments, code, shown_text):
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    monkeypatch.chdir(tmp_path)
    assert headless.main(["--", *arguments]) == code
    assert shown_text in capfd.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_warnings_are_on_stderr_as_the_command_line_prints_them(tmp_path, capfd):
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    arguments = ["--input", str(tmp_path / "ct.nrrd"), "--out", str(tmp_path / "out"), "--key-slice", "4"]
    assert headless.main(arguments) == 0
    printed = capfd.readouterr()
    assert [f"WARNING    {text}" for text in warnings_in(tmp_path / "out")] == printed.err.splitlines()
    assert "DEMONSTRATION" in printed.err
    assert "WARNING" not in printed.out


def test_an_error_of_a_table_names_its_columns_and_the_model_is_warned_of_once(tmp_path, capfd):
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\none,ct.nrrd,\ntwo,ct.nrrd,4\n")
    assert headless.main(["--cases", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out")]) == 1
    printed = capfd.readouterr().err
    assert "Give the column key_slice, or an ROI of the tumour (column roi)" in printed
    assert "--key-slice" not in printed
    assert printed.count("DEMONSTRATION") == 1


def test_the_failures_of_a_table_are_on_stderr(tmp_path, capfd, a_model):
    weights.save(a_model, tmp_path / "mine")
    sitk.WriteImage(ct_like(), tmp_path / "ct.nrrd")
    (tmp_path / "cases.csv").write_text("case_id,image,key_slice\none,ct.nrrd,4\nlost,nowhere.nrrd,4\n")
    assert headless.main(["--cases", str(tmp_path / "cases.csv"), "--out", str(tmp_path / "out"), "--model",
                          str(tmp_path / "mine")]) == 1  # fmt: skip
    printed = capfd.readouterr()
    assert "1/2  one  T" in printed.out
    assert "lost" not in printed.out
    assert "2/2  lost  " in printed.err


def test_an_error_of_the_library_names_the_flag(tmp_path, monkeypatch, capfd):
    def fail(*arguments):
        raise InputError("2 maps; expected one. Leave out `neighbour_maps` or another `method`; see `scan`.")

    monkeypatch.setattr(headless, "_run", fail)
    assert headless.main(["--input", "x", "--out", str(tmp_path)]) == 1
    assert "Leave out --neighbour-maps or another --cam.\n" in capfd.readouterr().err


# -- scene files ---------------------------------------------------------------------------------------------------


def test_the_command_line_writes_a_scene(phantom_files, tmp_path, capsys, a_model):
    target = tmp_path / "case.mrb"
    weights.save(a_model, tmp_path / "mine")
    arguments = ["stage", str(phantom_files / "ct"), "--segmentation", str(phantom_files / "tumour_seg.dcm")]
    assert (
        cli.main(
            [
                *arguments,
                "--mrb",
                str(target),
                "--model",
                str(tmp_path / "mine"),
                "--cam",
                "layercam",
                "--threshold",
                "0.4",
            ]
        )
        == 0
    )
    bare, node = opened(target)
    try:
        assert (node.GetParameter("method"), node.GetParameter("threshold")) == ("LAYERCAM", "0.4")
        segmentation = node.GetNodeReference("tumourSegmentation")
        ct = node.GetNodeReference("inputVolume")
        roi = nodes.roi_of(segmentation, node.GetParameter("tumourSegment"), ct, nodes.placed(ct))
        given = rois.read_roi(phantom_files / "tumour_seg.dcm")
        placed = nodes.placed(ct).image
        a, b = (geometry.embedded(one.onto(placed), placed) for one in (roi, given))
        assert np.array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))
    finally:
        bare.close()
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--mrb", str(tmp_path / "case.zip")])
    assert "expected a name that ends in .mrb" in capsys.readouterr().err


def test_a_scene_carries_no_identifiers(tmp_path):
    mrb.write_mrb(with_roi(), tmp_path / "a.mrb", tumour=box_on(ct_like()))
    with zipfile.ZipFile(tmp_path / "a.mrb") as bundle:
        for name in bundle.namelist():
            assert b"Doe" not in bundle.read(name), name
            assert "Doe" not in name


def test_a_picture_has_no_scene(tmp_path):
    with pytest.raises(InputError, match="a scene file requires a volume"):
        mrb.write_mrb(a_picture(), tmp_path / "a.mrb")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="a file in the way of a folder")
def test_a_scene_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StagingError, match="expected a writable folder"):
        mrb.write_mrb(with_roi(), tmp_path / "file" / "a.mrb")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("wanted", "uid"),
    [("1.2.3", "1.2.3"), ("3", "1.2.7"), (".2.7", "1.2.7"), ("4.5", None), ("3.1", None), ("9", None), (None, None),
     ("2.7", None), ("7", None)],  # ends of a UID that read as the number of a series
)  # fmt: skip
def test_a_series_is_chosen_by_its_uid_then_by_its_number_and_never_by_a_part(wanted, uid):
    numbers = {"1.2.3": "4", "1.2.7": "3", "1.2.4.5": "8", "1.2.3.1": "11"}
    if uid is None:
        with pytest.raises(InputError, match="expected one whole series") as caught:
            headless.chosen_series(numbers, wanted)
        assert "1.2" not in str(caught.value)
    else:
        assert headless.chosen_series(numbers, wanted) == uid


def test_warnings_of_the_files_reach_the_result(tmp_path, phantom_files):
    header = Path(phantom_files) / "ct"
    image = scans.read_scan(header).image
    sitk.WriteImage(image, str(tmp_path / "ct.mha"))
    text = (tmp_path / "ct.mha").read_bytes()
    lines = [line for line in text.split(b"\n", 20) if not line.startswith(b"TransformMatrix")]
    (tmp_path / "ct.mha").write_bytes(b"\n".join(lines))
    arguments = ["--input", str(tmp_path / "ct.mha"), "--out", str(tmp_path / "out"), "--key-slice", "12"]
    assert headless.main(arguments) == 0
    assert any("orientation is assumed" in text for text in warnings_in(tmp_path / "out"))


def warnings_in(folder):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))["warnings"]


def test_the_column_of_the_stomach_is_read_as_by_the_command_line(phantom_files, tmp_path, a_small_phantom):
    """The third case has a mask that lies elsewhere, which is refused."""
    mask = sitk.GetArrayFromImage(a_small_phantom.stomach)
    first = int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
    mask[first + 3 :] = 0
    part = sitk.GetImageFromArray(mask * np.uint8(6))
    part.CopyInformation(a_small_phantom.stomach)
    sitk.WriteImage(part, tmp_path / "part.nii.gz")
    part.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(part, tmp_path / "elsewhere.nii.gz")
    ct, out = str(phantom_files / "ct"), tmp_path / "out"
    rows = [["inside", first + 1, "part"], ["outside", first + 5, "part"], ["wrong", first, "elsewhere"]]
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "image", "key_slice", "stomach", "stomach_segment"])
        writer.writerows([name, ct, index, tmp_path / f"{mask}.nii.gz", 6] for name, index, mask in rows)
    assert headless.main(["--cases", str(tmp_path / "cases.csv"), "--out", str(out)]) == 1

    def about_the_stomach(folder):
        return [text for text in json.loads((folder / "result.json").read_text())["warnings"] if "STOMACH" in text]

    cases = {name: next(out.rglob(name)) for name, _index, _mask in rows}
    assert about_the_stomach(cases["inside"]) == []
    (warning,) = about_the_stomach(cases["outside"])
    assert cli.main(["stage", ct, "--key-slice", str(first + 5), "--stomach", str(tmp_path / "part.nii.gz"),
                     "--stomach-segment", "6", "--out", str(tmp_path / "cli")]) == 0  # fmt: skip
    assert about_the_stomach(tmp_path / "cli") == [warning]
    (failed,) = [row for row in csv.DictReader((out / PREDICTIONS).open()) if row["case_id"] == "wrong"]
    assert "Mask of the stomach" in str(failed)
    bare, _node = opened(cases["inside"] / batch.SCENE)
    try:
        drawn = bare.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        assert nodes.segments_of(drawn) == {"stomach": "stomach"}
    finally:
        bare.close()


def test_an_option_of_one_case_is_refused_beside_a_table(tmp_path, capfd):
    for option, value in (("--stomach", "x.nii.gz"), ("--segmentation", "x.nii.gz"), ("--key-slice", "3")):
        assert headless.main(["--cases", "a.csv", "--out", str(tmp_path / "o"), option, value]) == 2
        assert f"{option}: not allowed with --cases" in capfd.readouterr().err
    assert headless.main(["--input", "a", "--out", "o", "--stomach-segment", "stomach"]) == 2
