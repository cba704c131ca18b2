"""A table of cases: every row accounted for, whatever becomes of it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import SimpleITK as sitk
from conftest import ct_like
from results import box_on

from GTRStagingLib import attention, batch, cli, cli_batch
from GTRStagingLib.errors import Cancelled, InputError, StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY


def a_table(folder, rows, name="cases.csv"):
    """A case table beside ct.nrrd and roi.nrrd."""
    ct = ct_like()
    sitk.WriteImage(ct, folder / "ct.nrrd")
    sitk.WriteImage(box_on(ct).mask, folder / "roi.nrrd")
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


HEAD = ["case_id", "image", "roi", "segment", "key_slice"]
ROWS = [
    HEAD,
    ["a", "ct.nrrd", "roi.nrrd", "", ""],
    ["lost", "nowhere.nrrd", "", "", "3"],
    ["b", "ct.nrrd", "", "", "4"],
]


def results_of(out):
    with (out / batch.RESULTS).open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def test_every_row_ends_as_done_or_failed(tmp_path, a_model):
    cases = batch.read_cases(a_table(tmp_path, ROWS))
    out = tmp_path / "out"
    outcomes = list(batch.run(cases, out, batch.stage_from_files(a_model)))
    assert [o.case_id for o in outcomes] == ["a", "lost", "b"]
    assert [o.error is None for o in outcomes] == [True, False, True]
    found = results_of(out)
    assert [found[case]["status"] for case in ("a", "lost", "b")] == ["done", "failed", "done"]
    assert "nowhere.nrrd" in found["lost"]["error"]
    record = json.loads((out / "cases" / "a" / "result.json").read_text())
    assert found["a"]["stage"] == record["prediction"]["stage"]
    assert [float(found["a"][f"p_T{i}"]) for i in (1, 2, 3, 4)] == record["prediction"]["probabilities"]
    assert float(found["a"]["dice"]) == record["agreement"]["dice"]
    assert record["case_id"] == "a"
    assert found["b"]["dice"] == ""
    assert found["b"]["key_slice"] == "4"
    failed = json.loads((out / "cases" / "lost" / batch.FAILED).read_text())
    assert "Traceback" in failed["traceback"]
    assert not (out / "cases" / "a" / batch.FAILED).exists()


def test_what_an_earlier_run_left_never_stands_for_this_one(tmp_path, a_model):
    table, out = a_table(tmp_path, [ROWS[0], ROWS[1]]), tmp_path / "out"
    list(batch.run(batch.read_cases(table), out, batch.stage_from_files(a_model)))
    (tmp_path / "ct.nrrd").unlink()
    before = []

    def stage_one(case, folder):
        before.append((sorted(p.name for p in folder.iterdir()), results_of(out)))
        return batch.stage_from_files(a_model)(case, folder)

    (outcome,) = batch.run(batch.read_cases(table), out, stage_one)
    assert outcome.error
    assert before == [([], {})]
    assert [p.name for p in (out / "cases" / "a").iterdir()] == [batch.FAILED]


def test_the_table_is_whole_after_every_case(tmp_path, a_model):
    cases = batch.read_cases(a_table(tmp_path, ROWS))
    counts = []
    for _outcome in batch.run(cases, tmp_path / "out", batch.stage_from_files(a_model)):
        counts.append(len(results_of(tmp_path / "out")))
    assert counts == [1, 2, 3]


def test_what_nobody_expected_costs_its_own_case_only(tmp_path):
    def stage_one(case, folder):
        raise ZeroDivisionError("by nothing")

    cases = batch.read_cases(a_table(tmp_path, ROWS))
    outcomes = list(batch.run(cases, tmp_path / "out", stage_one))
    assert [o.error for o in outcomes] == ["ZeroDivisionError: by nothing"] * 3


def test_a_cancelled_batch_stops_and_keeps_what_is_done(tmp_path, a_model):
    real = batch.stage_from_files(a_model)

    def stage_one(case, folder):
        if case.case_id == "b":
            raise Cancelled
        return real(case, folder)

    cases = batch.read_cases(a_table(tmp_path, ROWS))
    with pytest.raises(Cancelled):
        list(batch.run(cases, tmp_path / "out", stage_one))
    assert list(results_of(tmp_path / "out")) == ["a", "lost"]


def test_a_case_that_failed_before_and_now_does_not_says_so(tmp_path, a_model):
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"
    list(batch.run(batch.read_cases(table), out, batch.stage_from_files(a_model)))
    sitk.WriteImage(ct_like(), tmp_path / "nowhere.nrrd")
    list(batch.run(batch.read_cases(table), out, batch.stage_from_files(a_model)))
    assert results_of(out)["lost"]["status"] == "done"
    assert not (out / "cases" / "lost" / batch.FAILED).exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["id", "image"], ["a", "x"]], "no column case_id among id, image"),
        ([HEAD, ["a", "", "", "", ""]], "row 2: expected a case_id and an image"),
        ([HEAD, ["a/b", "x", "", "", ""]], "row 2: expected a safe name"),
        ([HEAD, ["a", "x", "", "", "first"]], "row 2: key_slice 'first'; expected a whole number"),
        ([HEAD, ["a", "x", "", "", "-1"]], "row 2: key_slice '-1'"),
        (
            [HEAD, ["a", "x", "", "", ""], ["A", "y", "", "", ""]],
            "row 3: case_id 'A'; expected an id of its own, row 2",
        ),
    ],
)
def test_a_faulty_table_is_refused_before_anything_is_staged(tmp_path, rows, said):
    with pytest.raises(InputError) as error:
        batch.read_cases(a_table(tmp_path, rows))
    assert said in str(error.value)


def test_a_folder_that_cannot_be_made_ends_the_batch(tmp_path, a_model):
    (tmp_path / "out").write_text("a file stands here")
    cases = batch.read_cases(a_table(tmp_path, ROWS))
    with pytest.raises(StagingError, match="expected a folder that can be written to"):
        list(batch.run(cases, tmp_path / "out", batch.stage_from_files(a_model)))


# -- the command ---------------------------------------------------------------------------------------------------


def test_the_command_says_what_became_of_each_case(tmp_path, capsys):
    table = a_table(tmp_path, ROWS)
    assert cli.main(["batch", str(table), "--out", str(tmp_path / "out"), "--progress", "json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["done"], line["total"]) for line in lines] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [line.get("status") for line in lines] == [None, "done", "failed", "done"]
    good = a_table(tmp_path, [ROWS[0], ROWS[1]], "good.csv")
    assert cli.main(["batch", str(good), "--out", str(tmp_path / "good")]) == 0
    out = capsys.readouterr().out
    assert "1 cases: 1 done, 0 failed" in out
    assert RESEARCH_USE_ONLY in out


def test_the_words_of_the_command_are_the_librarys():
    assert set(cli_batch.METHODS) == set(attention.METHODS)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_batch_that_is_told_to_stop_leaves_a_whole_table(tmp_path):
    rows = [ROWS[0], *([f"case{i}", "ct.nrrd", "", "", "4"] for i in range(300))]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "GTRStagingLib", "batch", str(a_table(tmp_path, rows)), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not ((out / batch.RESULTS).exists() and results_of(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _said, why = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"interrupted" in why
    found = results_of(out)
    assert 1 <= len(found) < 300
    assert all(row["status"] == "done" for row in found.values())
    assert not list(out.rglob(".writing-*"))


def test_a_table_with_stages_ends_in_an_evaluation(tmp_path, capsys):
    head = ["case_id", "patient_id", "image", "roi", "key_slice", "stage", "size_cm", "lauren", "dice"]
    rows = [
        head,
        ["a", "p1", "ct.nrrd", "roi.nrrd", "", "T1", "2.5", "diffuse", "x"],
        ["b", "p2", "ct.nrrd", "", "4", "T3", "", "mixed", "y"],
        ["lost", "p3", "nowhere.nrrd", "", "4", "T4", "3", "mixed", "z"],
    ]
    out = tmp_path / "out"
    assert cli.main(["batch", str(a_table(tmp_path, rows)), "--out", str(out)]) == 1
    assert "on 2 cases with a stage" in capsys.readouterr().out
    found = results_of(out)
    assert (found["a"]["true_stage"], found["a"]["size_cm"], found["a"]["given_dice"]) == ("T1", "2.5", "x")
    assert found["lost"]["true_stage"] == "T4"
    agreement = json.loads((out / "cases/a/result.json").read_text())["agreement"]
    assert float(found["a"]["iou"]) == agreement["iou"]
    assert float(found["a"]["hd95_mm"]) == agreement["hd95_mm"]
    told = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert told["flow"] == {"read": 3, "used": 2, "excluded": {"failed": 1}}
    assert (out / "evaluation" / "report.html").exists()


def test_a_nomogram_stands_beside_the_networks_stage_or_says_what_is_missing(tmp_path, a_model):
    from GTRStagingLib.nomogram import Nomogram, Term

    size = Term("size_cm", "Tumour size", "cm", coefficient=0.5, range=(1, 9), typical=5)
    nomogram = Nomogram("n", "s", (-1.0, 1.0, 3.0), (size,))
    rows = [[*HEAD, "size_cm"], [*ROWS[1], "4"], [*ROWS[3], ""]]
    cases = batch.read_cases(a_table(tmp_path, rows))
    told = batch.scores_of(None, nomogram)
    list(batch.run(cases, tmp_path / "out", batch.stage_from_files(a_model), told))
    found = results_of(tmp_path / "out")
    expected = nomogram.read({"size_cm": 4})
    assert [float(found["a"][f"nomogram_T{k}"]) for k in (1, 2, 3, 4)] == list(expected.probabilities)
    assert found["a"]["nomogram_stage"] == str(expected.stage)
    assert found["a"]["stage"] in ("T1", "T2", "T3", "T4")
    assert "no value for size_cm" in found["b"]["nomogram_note"]
    assert found["b"]["nomogram_T1"] == ""
