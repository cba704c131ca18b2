"""Every row of a case table gets an outcome."""

import argparse
import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
from conftest import ct_like, shared
from helpers.results import box_on, unlike, with_roi
from helpers.worker_groups import no_processes

from GTRStagingLib.batch import batch, columns, local, local_log, records
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.cli import arguments
from GTRStagingLib.cli import batch as cli_batch
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import Cancelled, InputError, OutputError, StagingError
from GTRStagingLib.model import backbone
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.tables.case_files import DICOM


def a_table(folder, rows, name="cases.csv"):
    """Write a case table beside ct.nrrd and roi.nrrd."""
    if not (folder / "ct.nrrd").exists():
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


def rows_of(out):
    with (out / columns.PREDICTIONS).open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def staged_here(table, out, model, *, resume=False, depends_on=None, stage_one=None, scores=None):
    """Run a batch in this process."""
    run = batch.Batch(read_cases(table), out, depends_on or {"model": "m"}, scores or ScoreColumns())
    work = batch.one_by_one(stage_one or local.stage_from_files(ready(model), StagingOptions()), run.scores)
    return list(run.run(work, resume=resume))


def test_every_row_ends_as_done_failed_or_skipped(tmp_path, a_model):
    rows = [[*HEAD, "exclude"], *([*row, ""] for row in ROWS[1:]), ["not", "ct.nrrd", "", "", "", "metal"],
            ["none", "", "", "", "", ""]]  # fmt: skip
    out = tmp_path / "out"
    outcomes = staged_here(a_table(tmp_path, rows), out, a_model)
    assert [(o.case_id, o.status) for o in outcomes] == [
        ("a", "done"), ("lost", "failed"), ("b", "done"), ("not", "skipped"), ("none", "skipped")
    ]  # fmt: skip
    found = rows_of(out)
    assert list(found) == ["a", "lost", "b", "not", "none"]
    assert [row["status"] for row in found.values()] == [o.status for o in outcomes]
    assert "nowhere.nrrd" in found["lost"]["reason"]
    assert found["not"]["reason"] == "excluded: metal"
    assert found["none"]["reason"] == "no image in the table"
    record = json.loads((out / "cases" / "a" / "result.json").read_text())
    assert found["a"]["stage"] == record["prediction"]["stage"]
    assert [float(found["a"][f"p_T{i}"]) for i in (1, 2, 3, 4)] == record["prediction"]["probabilities"]
    assert found["a"]["votes"].split() == [one["stage"] for one in record["prediction"]["slices"]]
    assert float(found["a"]["dice"]) == record["agreement"]["dice"]
    assert float(found["a"]["key_position_mm"]) == record["key_slice"]["position_mm"]
    assert found["a"]["key_slice_by"] == "tumour area"
    assert found["a"]["warnings"].split(" | ") == record["warnings"]
    assert float(found["a"]["seconds"]) > 0
    assert record["case_id"] == "a"
    assert found["b"]["dice"] == ""
    assert (found["b"]["key_slice"], found["b"]["key_slice_by"]) == ("4", "hand")
    failed = json.loads((out / "cases" / "lost" / records.FAILED).read_text())
    assert failed["error"].startswith("nowhere.nrrd: ")
    assert failed["log"] == "local/lost.log"
    assert [p.name for p in (out / "local").iterdir()] == ["lost.log"]
    log = (out / failed["log"]).read_text(encoding="utf-8")
    assert log.startswith(f"{local_log.NOTICE}\n")
    assert "Traceback" in log
    assert str(tmp_path / "nowhere.nrrd") in log
    for case, record in (("a", "done"), ("lost", "failed"), ("not", "skipped")):
        assert [p.name for p in (out / "cases" / case).iterdir() if p.name in records.RECORDS.values()] == [
            f"{record}.json"
        ]


def test_parquet_has_the_rows_of_the_csv_with_typed_numbers(tmp_path, a_model):
    import pandas

    out = tmp_path / "out"
    staged_here(a_table(tmp_path, ROWS), out, a_model)
    texts = rows_of(out)
    typed = pandas.read_parquet(out / columns.PARQUET).set_index("case_id")
    assert list(typed.index) == list(texts)
    for case, row in texts.items():
        for name, text in row.items():
            if name == "case_id":
                continue
            value = typed.loc[case, name]
            if text == "":
                assert pandas.isna(value), name
            else:
                assert (float(text) if name in columns.NUMBER_COLUMNS else text) == value, name


def test_results_of_an_earlier_run_are_neither_lost_nor_mixed_in(tmp_path, a_model):
    table, out = a_table(tmp_path, [ROWS[0], ROWS[1]]), tmp_path / "out"
    staged_here(table, out, a_model)
    before = (out / columns.PREDICTIONS).read_bytes()
    with pytest.raises(InputError, match="`resume`"):
        staged_here(table, out, a_model)
    assert (out / columns.PREDICTIONS).read_bytes() == before
    (tmp_path / "ct.nrrd").unlink()
    seen = []

    def stage_one(case, folder):
        seen.append(
            (sorted(p.name for p in folder.iterdir() if p.name[0] != "."), (out / columns.PREDICTIONS).exists())
        )
        return local.stage_from_files(ready(a_model), StagingOptions())(case, folder)

    (outcome,) = staged_here(table, out, a_model, resume=True, stage_one=stage_one)
    assert outcome.error
    assert seen == [([], False)]
    assert [p.name for p in (out / "cases" / "a").iterdir()] == [records.FAILED]


def test_a_resumed_batch_does_not_mix_two_calibrations_of_a_model(tmp_path, a_model):
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"
    other = replace(a_model, card=replace(a_model.card, temperature=2.0))
    for model, resume in ((a_model, False), (other, True), (other, True)):
        about = batch.software_and_model(model.card)
        found = staged_here(table, out, model, depends_on=about, resume=resume)
        shown = {row["card_sha256"] for row in rows_of(out).values() if row["status"] == "done"}
        assert shown == {model.card.card_sha256}
    assert [one.reused for one in found if one.status == "done"] == [True] * 2


class Counting:
    """Stage cases, and list them."""

    def __init__(self, model):
        self._stage_one, self.asked = local.stage_from_files(ready(model), StagingOptions()), []

    def __call__(self, case, folder):
        self.asked.append(case.case_id)
        return self._stage_one(case, folder)


def without_seconds(out):
    return [{name: text for name, text in row.items() if name not in columns.SECONDS}
            for row in rows_of(out).values()]  # fmt: skip


def test_resume_keeps_finished_cases_and_stages_changed_ones_again(tmp_path, a_model):
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"
    counting = Counting(a_model)
    staged_here(table, out, a_model, stage_one=counting)
    first = without_seconds(out)

    def again(**changes):
        counting.asked.clear()
        outcomes = staged_here(table, out, a_model, resume=True, stage_one=counting, **changes)
        return counting.asked[:], [o.reused for o in outcomes]

    assert again() == (["lost"], [True, False, True])  # what failed is tried again
    assert without_seconds(out) == first
    assert again(depends_on={"model": "another"})[0] == ["a", "lost", "b"]
    assert again(depends_on={"model": "another"})[0] == ["lost"]
    # A ROI drawn anew concerns the case that has one.
    os.utime(tmp_path / "roi.nrrd", ns=(0, 0))
    assert again(depends_on={"model": "another"})[0] == ["a", "lost"]
    # Another CT of the same size and, on the face of it, the same age.
    stat = (tmp_path / "ct.nrrd").stat()
    sitk.WriteImage(ct_like(seed=1), tmp_path / "ct.nrrd")
    os.utime(tmp_path / "ct.nrrd", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (tmp_path / "ct.nrrd").stat().st_size == stat.st_size
    assert again(depends_on={"model": "another"})[0] == ["a", "lost", "b"]
    # Another key slice in the table.
    a_table(tmp_path, [*ROWS[:3], ["b", "ct.nrrd", "", "", "5"]])
    assert "b" in again(depends_on={"model": "another"})[0]
    assert rows_of(out)["b"]["key_slice"] == "5"


def test_other_columns_of_the_case_table_change_the_tables_not_the_cases(tmp_path, a_model):
    out = tmp_path / "out"
    staged_here(a_table(tmp_path, [[*HEAD, "stage"], [*ROWS[1], "T1"]]), out, a_model)
    assert rows_of(out)["a"]["true_stage"] == "T1"
    counting = Counting(a_model)
    corrected = a_table(tmp_path, [[*HEAD, "stage"], [*ROWS[1], "T2"]], "corrected.csv")
    staged_here(corrected, out, a_model, resume=True, stage_one=counting)
    assert counting.asked == []
    assert rows_of(out)["a"]["true_stage"] == "T2"


def test_a_row_names_its_series_and_another_series_is_staged_again(tmp_path, a_model):
    study = shared("cases/two-series/study")
    head = ["case_id", "image", "series", "key_slice"]
    rows = [
        head,
        ["one", study, "1", "1"],
        ["two", study, "2", "1"],
        ["both", study, "", "1"],
        ["none", study, "9", "1"],
        *([f"part {part}", shared("cases/two-acquisitions"), f"1.{part}", "3"] for part in (1, 2)),
    ]
    table, out = a_table(tmp_path, rows), tmp_path / "out"
    first = {o.case_id: o for o in staged_here(table, out, a_model)}
    assert {name: o.status for name, o in first.items()} == {
        "one": "done", "two": "done", "both": "failed", "none": "failed",
        "part 1": "done", "part 2": "done",
    }  # fmt: skip
    digests = [
        json.loads((out / f"cases/{name}/result.json").read_bytes())["input"]["digest"] for name in ("one", "two")
    ]
    assert digests[0] != digests[1]
    assert "series" not in rows_of(out)["one"]  # like the other columns that say what to read
    again = staged_here(a_table(tmp_path, [head, ["one", study, "2", "1"], rows[2]]), out, a_model, resume=True)
    assert [o.reused for o in again] == [False, True]
    assert json.loads((out / "cases/one/result.json").read_bytes())["input"]["digest"] == digests[1]


def test_a_series_that_a_spreadsheet_has_rewritten_is_refused(tmp_path):
    head = ["case_id", "image", "series"]
    with pytest.raises(InputError, match="row 2, series '3.0': expected the original id"):
        read_cases(a_table(tmp_path, [head, ["a", "ct.nrrd", "3.0"]]))
    kept = read_cases(a_table(tmp_path, [head, ["a", "ct.nrrd", "3.10"], ["b", "x", ""]]))
    assert [case.series for case in kept] == ["3.10", None]


def test_an_unexpected_error_fails_its_own_case_only(tmp_path):
    def stage_one(case, folder):
        raise ZeroDivisionError("by nothing")

    outcomes = staged_here(a_table(tmp_path, ROWS), tmp_path / "out", None, stage_one=stage_one)
    assert len({o.error for o in outcomes}) == 1
    assert outcomes[0].error.startswith("ZeroDivisionError; expected a result. Its text and traceback are not shared")
    assert "ZeroDivisionError: by nothing" in (tmp_path / "out/local/lost.log").read_text(encoding="utf-8")


def test_a_failed_allocation_is_reported_as_the_memory_limit(tmp_path):
    def stage_one(case, folder):
        try:
            raise RuntimeError("Failed to allocate memory for image.")
        except RuntimeError as error:
            raise InputError("ct.nrrd cannot be read") from error

    outcomes = staged_here(a_table(tmp_path, ROWS), tmp_path / "out", None, stage_one=stage_one)
    assert all(o.error == "The case exceeded the memory limit. Raise `memory_limit`." for o in outcomes)
    reasons = [row["reason"] for row in rows_of(tmp_path / "out").values()]
    assert reasons == ["The case exceeded the memory limit. Raise memory_limit."] * 3


def test_a_cancelled_batch_stops_and_keeps_finished_cases(tmp_path, a_model):
    real = local.stage_from_files(ready(a_model), StagingOptions())

    def stage_one(case, folder):
        if case.case_id == "b":
            raise Cancelled
        return real(case, folder)

    with pytest.raises(Cancelled):
        staged_here(a_table(tmp_path, ROWS), tmp_path / "out", a_model, stage_one=stage_one)
    assert list(rows_of(tmp_path / "out")) == ["a", "lost"]


def test_results_that_cannot_be_written_stop_the_batch_and_fail_no_case(tmp_path, a_model):
    def stage_one(case, folder):
        raise OutputError("the disk is full")

    with pytest.raises(OutputError, match="the disk is full"):
        staged_here(a_table(tmp_path, ROWS), tmp_path / "out", a_model, stage_one=stage_one)
    assert not list((tmp_path / "out").rglob(records.FAILED))
    assert rows_of(tmp_path / "out") == {}


def test_a_folder_that_is_renamed_during_the_run_ends_it(tmp_path, a_model):
    """No case is staged into a second folder of the same name; the renamed one can be resumed."""
    table, out = a_table(tmp_path, [HEAD, *([f"c{i}", "ct.nrrd", "", "", "4"] for i in range(4))]), tmp_path / "out"
    run = batch.Batch(read_cases(table), out, {"model": "m"})
    work = batch.one_by_one(local.stage_from_files(ready(a_model), StagingOptions()))
    ended = []

    def go_on():
        for outcome in run.run(work):
            ended.append(outcome.case_id)
            if len(ended) == 2:
                out.rename(tmp_path / "moved")

    with pytest.raises(OutputError, match=r"The output folder out was moved, renamed .* set `resume`"):
        go_on()
    assert ended == ["c0", "c1"]
    assert not list(out.rglob("*.json"))
    shutil.rmtree(out, ignore_errors=True)
    (tmp_path / "moved").rename(out)
    again = list(replace(run, token="next").run(work, resume=True))
    assert [o.reused for o in again] == [True, True, False, False]


@pytest.mark.parametrize("lost", [["c1"], ["c0", "c1", "c3"]])
def test_counts_that_differ_from_the_rows_are_an_error(tmp_path, a_model, lost):
    table, out = a_table(tmp_path, [HEAD, *([f"c{i}", "ct.nrrd", "", "", "4"] for i in range(4))]), tmp_path / "out"
    run = batch.Batch(read_cases(table), out, {"model": "m"})
    work = batch.one_by_one(local.stage_from_files(ready(a_model), StagingOptions()))
    left = 4 - len(lost)

    def go_on():
        for outcome in run.run(work):
            if outcome.case_id == "c3":
                for case_id in lost:
                    shutil.rmtree(out / "cases" / case_id)

    with pytest.raises(OutputError, match=rf"predictions.csv has {left} rows \({left} done, .*; expected 4 rows \(4 d"):
        go_on()
    again = list(replace(run, token="next").run(work, resume=True))
    assert [o.case_id for o in again if not o.reused] == lost
    assert len(rows_of(out)) == 4


def test_a_case_that_failed_before_is_recorded_as_done(tmp_path, a_model):
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"
    staged_here(table, out, a_model)
    sitk.WriteImage(ct_like(), tmp_path / "nowhere.nrrd")
    staged_here(table, out, a_model, resume=True)
    assert rows_of(out)["lost"]["status"] == "done"
    assert not (out / "cases" / "lost" / records.FAILED).exists()


def test_only_the_chosen_splits_are_staged(tmp_path):
    rows = [["case_id", "image", "split"], ["a", "ct.nrrd", "train"], ["b", "ct.nrrd", "test"], ["c", "ct.nrrd", ""]]
    cases = read_cases(a_table(tmp_path, rows), ["test"])
    assert [case.skip for case in cases] == ["in split train", None, "in no split"]
    with pytest.raises(InputError, match=r"no column 'split'.*or leave out `split`\."):
        read_cases(a_table(tmp_path, ROWS), ["test"])


@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        ([["id", "image"], ["a", "x"]], "column case_id is missing; found id, image"),
        ([HEAD, ["", "x", "", "", ""]], "row 2, case_id is empty: expected an id"),
        ([HEAD, ["a/b", "x", "", "", ""]], "row 2, case_id 'a/b': expected a valid folder name"),
        ([HEAD, ["1.0", "x", "", "", ""]], "row 2, case_id '1.0': expected the original id"),
        ([HEAD, ["a", "x", "", "", "first"]], "row 2, key_slice 'first': expected a whole number"),
        ([HEAD, ["a", "x", "", "", "-1"]], "row 2, key_slice '-1'"),
        ([[*HEAD, "exclude"], ["a", "x", "", "", "", "0"]], "exclude '0': expected the reason"),
        ([["case_id", "image", "Key-Slice"], ["a", "x", "first"]], "row 2, key_slice 'first': expected a whole"),
        (
            [HEAD, ["a", "x", "", "", ""], ["A", "y", "", "", ""]],
            "row 3, case_id 'A': expected a unique id, ignoring case; row 2",
        ),
    ],
)
def test_a_faulty_table_is_refused_before_anything_is_staged(tmp_path, rows, fragment):
    with pytest.raises(InputError) as error:
        read_cases(a_table(tmp_path, rows))
    assert fragment in str(error.value)


def test_a_folder_that_cannot_be_made_ends_the_batch(tmp_path, a_model):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StagingError, match="expected a writable folder"):
        staged_here(a_table(tmp_path, ROWS), tmp_path / "out", a_model)


def test_a_case_that_is_skipped_once_keeps_its_results(tmp_path, a_model):
    table, out, counting = a_table(tmp_path, ROWS), tmp_path / "out", Counting(a_model)
    staged_here(table, out, a_model)
    left_out = a_table(tmp_path, [[*HEAD, "exclude"], [*ROWS[1], "metal"], [*ROWS[3], ""]], "left.csv")
    staged_here(left_out, out, a_model, resume=True, stage_one=counting)
    assert [row["status"] for row in rows_of(out).values()] == ["skipped", "done"]
    staged_here(table, out, a_model, resume=True, stage_one=counting)
    assert counting.asked == ["lost"]
    assert [row["status"] for row in rows_of(out).values()] == ["done", "failed", "done"]


def test_resume_removes_partial_files_of_a_killed_run_from_every_case(tmp_path, a_model):
    """Also where nothing is staged again: of a case that was killed while its record was written."""
    rows = [[*HEAD, "exclude"], [*ROWS[1], ""], [*ROWS[2], ""], [*ROWS[3], "metal"]]
    table, out, counting = a_table(tmp_path, rows), tmp_path / "out", Counting(a_model)
    staged_here(table, out, a_model)
    (out / "cases" / "a" / DICOM).mkdir()
    (out / "elsewhere" / ".writing-89abcdef").mkdir(parents=True)  # of another program
    whole = {path.relative_to(out) for path in out.rglob("*")}
    for folder in (out, *out.glob("cases/*"), out / "cases" / "a" / DICOM):
        (folder / ".writing-0123abcd").write_bytes(b"half of a rec")
        (folder / ".writing-4567cdef").mkdir()
        (folder / ".writing-4567cdef" / "attention.nrrd").touch()
    staged_here(table, out, a_model, resume=True, stage_one=counting)
    assert counting.asked == ["lost"]
    assert {path.relative_to(out) for path in out.rglob("*")} == whole


def test_a_renewed_record_leaves_no_partial_file(tmp_path, a_model):
    """A worker that is killed while it renews a record is followed by another that renews it."""
    table, out = a_table(tmp_path, [HEAD, ROWS[3]]), tmp_path / "out"
    staged_here(table, out, a_model)
    (job,) = batch.Batch(read_cases(table), out, {"model": "m"}, ScoreColumns()).jobs()
    left = out / "cases" / "b" / ".writing-0123abcd"
    left.touch()
    assert records.renew_record(job).status == "done"
    assert not left.exists()


def test_a_path_that_is_too_long_fails_its_own_case(tmp_path, a_model):
    rows = [HEAD, ["long", "x" * 300 + ".nrrd", "", "", "4"], ROWS[3]]
    outcomes = staged_here(a_table(tmp_path, rows), tmp_path / "out", a_model)
    assert [o.status for o in outcomes] == ["failed", "done"]
    assert "too long" in outcomes[0].error


def test_a_case_that_ends_the_program_is_not_retried_without_end(tmp_path, a_model):
    """As in Slicer, where the cases are staged in the program itself."""
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[3])\nfrom pathlib import Path\n"
        "from GTRStagingLib.batch import batch, cases\n"
        "run = batch.Batch(cases.read_cases(Path(sys.argv[1])), Path(sys.argv[2]), {'model': 'm'})\n"
        "list(run.run(batch.one_by_one(lambda case, folder: os._exit(7)), resume=True))\n"
    )
    for _ in range(batch.TRIES):
        ended = subprocess.run([sys.executable, "-c", code, table, out, Path.cwd()], check=False)
        assert ended.returncode == 7
    outcomes = staged_here(table, out, a_model, resume=True)
    assert [o.status for o in outcomes] == ["failed", "failed", "done"]
    assert "ended the program 2 times" in outcomes[0].error


def test_the_outcome_of_a_lost_worker_stays_and_another_runs_folder_is_not_touched(tmp_path, a_model):
    """Two workers on a case: of one run, as on a cluster after a lost connection; and of two runs."""
    out = tmp_path / "out"
    run = batch.Batch(read_cases(a_table(tmp_path, ROWS[:2])), out, {"model": "m"})
    stage_one = local.stage_from_files(ready(a_model), StagingOptions())
    list(run.run(batch.one_by_one(stage_one)))
    (job,) = run.jobs()
    assert batch.record_failure(job, "it took too long", "").status == "done"
    assert batch.stage_and_record(job, Counting(a_model), run.scores).status == "done"
    later = batch.Batch(run.cases, out, {"model": "another"})
    list(later.run(batch.one_by_one(stage_one), resume=True))
    for late in (
        lambda: batch.record_failure(job, "late", ""),
        lambda: batch.stage_and_record(job, stage_one, run.scores),
    ):
        with pytest.raises(Cancelled, match="another run"):
            late()
    assert rows_of(out)["a"]["status"] == "done"


def test_column_names_are_unique():
    own = {"stage": "T1", "true_stage": "T2", "given_dice": "x", "dice": "y", "radscore": "z", "size": "1"}
    called = columns.given_names([own], ["radscore"])
    assert called["stage"] == "true_stage"
    assert called["size"] == "size"
    assert called["radscore"] == "given_radscore"
    assert len(set(called.values())) == len(own)
    assert not set(called.values()) & {*columns.RESULT_COLUMNS, *columns.SECONDS, "radscore"}


def test_two_batches_cannot_write_to_one_folder(tmp_path, a_model):
    table, out = a_table(tmp_path, ROWS), tmp_path / "out"

    def stage_one(case, folder):
        with pytest.raises(InputError, match="Another batch is writing"):
            staged_here(table, out, a_model, resume=True)
        return local.stage_from_files(ready(a_model), StagingOptions())(case, folder)

    outcomes = staged_here(table, out, a_model, stage_one=stage_one)
    assert [o.status for o in outcomes] == ["done", "failed", "done"]


# -- the command ---------------------------------------------------------------------------------------------------


def output_of(*arguments):
    """Return a command's exit code and its two outputs."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    """Return the outputs of three commands on one folder (first run, refused, resumed with stages), and the folder."""
    folder = tmp_path_factory.mktemp("command")
    out = folder / "out"
    command = ["batch", a_table(folder, ROWS), "--out", out, "--workers", "1"]
    made, refused = output_of(*command, "--progress", "json"), output_of(*command)
    rows = [
        [*HEAD, "patient_id", "stage", "size_cm", "lauren", "dice"],
        [*ROWS[1], "p1", "T1", "2.5", "diffuse", "x"],
        [*ROWS[2], "p3", "T4", "3", "mixed", "z"],
        [*ROWS[3], "p2", "T3", "", "mixed", "y"],
        ["left", "", "", "", "4", "p4", "T4", "3", "mixed", "z"],
    ]
    a_table(folder, rows)
    with pytest.MonkeyPatch.context() as patched, no_processes(patched):
        resumed = output_of(*command, "--resume")
    return made, refused, resumed, out


@pytest.mark.smoke
def test_the_command_reports_progress_and_outcomes(by_command):
    (code, out, _), _, _, _ = by_command
    assert code == 1
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["settled"], line["total"]) for line in lines] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert {line["case_id"]: line["status"] for line in lines[1:]} == {"a": "done", "lost": "failed", "b": "done"}
    assert [bool(line.get("reason")) for line in lines[1:]] == [line["status"] == "failed" for line in lines[1:]]
    assert lines[0]["seconds_left"] is None
    assert lines[2]["seconds_left"] > 0
    assert lines[3]["seconds_left"] == 0
    assert (lines[3]["done"], lines[3]["failed"], lines[3]["skipped"]) == (2, 1, 0)
    assert lines[3]["cases_per_minute"] > 0


@pytest.mark.smoke
def test_the_command_resumes_only_with_the_flag(by_command):
    _, (code, out, err), (resumed, summary, failures), _ = by_command
    assert (code, out) == (1, "")
    assert "--resume" in err
    assert resumed == 1
    assert "4 cases: 2 done, 1 failed, 1 skipped (2 of them by an earlier run)" in summary
    assert RESEARCH_USE_ONLY in summary
    assert failures.startswith("lost: ")
    assert failures.count("\n") == 1  # no bar, since this is not a terminal


@pytest.mark.smoke
def test_a_table_with_stages_ends_in_an_evaluation(by_command):
    _, _, (_, summary, _), out = by_command
    assert "on 2 cases with a stage" in summary
    found = rows_of(out)
    assert (found["a"]["true_stage"], found["a"]["size_cm"], found["a"]["given_dice"]) == ("T1", "2.5", "x")
    assert found["lost"]["true_stage"] == "T4"
    agreement = json.loads((out / "cases/a/result.json").read_text())["agreement"]
    assert float(found["a"]["iou"]) == agreement["iou"]
    assert float(found["a"]["hd95_mm"]) == agreement["hd95_mm"]
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert metrics["flow"] == {"read": 4, "used": 2, "excluded": {"failed": 1, "skipped": 1}}
    assert (out / "evaluation" / "report.html").exists()


@pytest.mark.parametrize("option", [("--time-limit", "-1"), ("--memory-limit", "x"), ("--threshold", "7"),
                                    ("--workers", "0")])  # fmt: skip
def test_invalid_limits_are_usage_errors(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as error:
        cli.main(["batch", str(a_table(tmp_path, ROWS)), "--out", str(tmp_path / "out"), *option])
    assert error.value.code == 2
    assert f"{option[1]}: expected" in capsys.readouterr().err


def test_the_backends_of_the_command_are_those_of_the_library():
    assert arguments.BACKENDS == backbone.BACKENDS


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupted_batch_leaves_a_complete_table(tmp_path):
    rows = [ROWS[0], *([f"case{i}", "ct.nrrd", "", "", "4"] for i in range(300))]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "GTRStagingLib", "batch", str(a_table(tmp_path, rows)), "--out", str(out)]
    process = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(out.glob("cases/*/done.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out_text, error_text = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"interrupted" in error_text
    assert b"not reached" in out_text
    found = rows_of(out)
    assert 1 <= len(found) < 300
    assert all(row["status"] == "done" for row in found.values())
    assert not list(out.rglob(".writing-*"))


def test_a_nomogram_adds_columns_or_a_note_on_missing_and_refused_values(tmp_path, a_model):
    from GTRStagingLib.nomogram.nomogram import Nomogram, Term

    size = Term("size_cm", "Tumour size", "cm", coefficient=0.5, range=(1, 9), typical=5)
    nomogram = Nomogram("n", "s", (-1.0, 1.0, 3.0), (size,))
    in_mm = ["c", *ROWS[3][1:], "45"]
    rows = [[*HEAD, "size_cm"], [*ROWS[1], "4"], [*ROWS[3], ""], in_mm]
    table, out, scores = a_table(tmp_path, rows), tmp_path / "out", ScoreColumns(None, nomogram)
    staged_here(table, out, a_model, scores=scores)
    found = rows_of(out)
    expected = nomogram.read({"size_cm": 4})
    assert [float(found["a"][f"nomogram_T{k}"]) for k in (1, 2, 3, 4)] == list(expected.probabilities)
    assert found["a"]["nomogram_stage"] == str(expected.stage)
    assert found["a"]["stage"] in ("T1", "T2", "T3", "T4")
    assert "no value for size_cm" in found["b"]["nomogram_note"]
    assert "Tumour size '45'; expected a number in cm, from -23 to 33" in found["c"]["nomogram_note"]
    assert found["b"]["nomogram_T1"] == found["c"]["nomogram_T1"] == found["c"]["nomogram_stage"] == ""
    # The value of a term is part of the case, for a nomogram alone.
    counting = Counting(a_model)
    later = a_table(tmp_path, [rows[0], rows[1], [*ROWS[3], "3"], in_mm], "later.csv")
    staged_here(later, out, a_model, scores=scores, resume=True, stage_one=counting)
    assert counting.asked == ["b"]
    assert rows_of(out)["b"]["nomogram_note"] == ""


def test_every_value_of_a_row_has_its_column():
    """The tables drop values without a column, and leave columns without a value empty, without an error."""
    row = records.row_of(with_roi())
    assert {*row, "case_id", "status", "reason"} == {*columns.RESULT_COLUMNS, *columns.SECONDS} - {"seconds_writing"}
    assert row["mean_mask_dice"] == ""  # the model of this result has no mean mask
    assert (row["familiarity"], row["familiarity_percentile"], row["familiarity_reasons"]) == ("not known", "", "")
    for name in columns.NUMBER_COLUMNS & set(row) - {"mean_mask_dice", "familiarity_percentile", "spread"}:
        float(row[name])


def test_a_row_states_whether_the_case_is_like_the_training():
    row = records.row_of(unlike())
    assert (row["familiarity"], float(row["familiarity_percentile"])) == ("unlike", 99.75)
    assert row["familiarity_reasons"].startswith("noise of 34 HU; training 8.1 to 16.7 HU; a tube voltage of 80 kV;")


def test_a_row_states_model_and_scanner():
    """The table travels without its folder, and an evaluation must know from it what the predictions are worth."""
    result = with_roi()
    row = records.row_of(result)
    assert (row["model"], row["model_warning"]) == (result.model.name, result.model.warning)
    assert "UNTRAINED" in row["model_warning"]
    assert (row["ct_tube_voltage_kv"], row["ct_manufacturer"]) == (result.scan.acquisition["KVP"], "")
    size = result.slices.native.GetSize()
    assert row["ct_matrix"] == f"{size[0]} x {size[1]}"


def test_no_bar_is_drawn_before_the_model_is_loaded(monkeypatch):
    """An error of the model would be printed on the line of the bar."""
    drawn = []
    monkeypatch.setattr(cli_batch, "_progress_bar", lambda total, parser: drawn.append(total) or (lambda *given: None))
    reporter = cli_batch._Progress(4, argparse.ArgumentParser(), as_json=False)
    assert drawn == []
    reporter(batch.Counts(4), None)
    assert drawn == [4]


def test_counts_of_one_and_of_many_are_written_with_their_noun():
    assert batch.Counts(1, done=1).summary() == "1 case: 1 done, 0 failed, 0 skipped"
    assert batch.Counts(2500, done=2).summary() == "2,500 cases: 2 done, 0 failed, 0 skipped, 2498 not reached"
