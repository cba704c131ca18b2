"""Batches with real processes: workers and a model process, which some tests kill."""

import contextlib
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from helpers import light_processes
from helpers.worker_groups import no_processes
from test_batch import HEAD, a_table, rows_of, without_seconds

from GTRStagingLib.batch import batch, local, model_process
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.local import BatchSettings, WorkerGroup, with_workers
from GTRStagingLib.batch.model_process import ModelGoneError, RemoteBackbone, classify_together
from GTRStagingLib.batch.records import FAILED
from GTRStagingLib.batch.run import run_batch
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError, StagingError, WeightsError
from GTRStagingLib.model import backbone, weights
from GTRStagingLib.model.passes import PassRequest
from GTRStagingLib.staging.options import StagingOptions

MODEL = "demonstration"


def run(table, out, settings, *, workers=1, resume=False):
    cases = read_cases(table)
    with local.WorkerGroup(settings, workers) as group:
        made = batch.Batch(cases, out, {"model": group.address().card.sha256})
        return {o.case_id: o for o in made.run(local.with_workers(group, workers), resume=resume)}


def many(folder, count, name="many.csv"):
    return a_table(folder, [HEAD, *([f"c{i:03d}", "ct.nrrd", "", "", str(2 + i % 5)] for i in range(count))], name)


SECONDS = 12
"""Time limit of a poisoned case; any other case takes less, also on a busy machine."""


def poisoned(folder, doses, seconds=SECONDS, **limits):
    """Return the settings of a batch with these doses by case; all doses are taken in the end."""
    for case, words in doses.items():
        (folder / f"{case}.doses").write_text(words)
    return BatchSettings(MODEL, scores=light_processes.Poison(folder=folder), time_limit=seconds, **limits)


# -- the model's process -------------------------------------------------------------------------------------------


def test_the_model_process_answers_as_a_local_model():
    here = backbone.ready(weights.load(MODEL))
    pixels = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    with WorkerGroup(BatchSettings(MODEL), 1) as group:
        there = RemoteBackbone(group.address())
        one, other = here.classify(pixels), there.classify(pixels)
        assert there.card == here.card
        assert there.cells == here.cells
        for name in ("logits", "features", "feature_map"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(there.classify(pixels).logits, other.logits)
        # An error of the network may be caused by the device: it is reported, and a new process is started.
        with pytest.raises(ModelGoneError, match="pass failed"):
            there.classify(pixels[:, :1])
        group._model._process.wait(30)  # an earlier question would reach the old process
        again = RemoteBackbone(group.address())
        np.testing.assert_array_equal(again.classify(pixels).logits, other.logits)


def test_numbers_of_a_case_do_not_depend_on_other_cases_in_the_pass():
    ready = backbone.ready(weights.load(MODEL), device="cpu", backend="torch")
    rng = np.random.default_rng(1)
    slices = [rng.normal(size=(n, 3, 224, 224)).astype(np.float32) for n in (3, 2, 3, 1)]
    questions = [(one, [PassRequest(range(len(one)), (len(one) - 1,))]) for one in slices]
    alone = [next(iter(classify_together(ready, [one], 4))) for one in questions]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0]):
        together = classify_together(ready, [questions[i] for i in order], 4)
        for i, seen in zip(order, together, strict=True):
            for name in ("logits", "features", "feature_map"):
                np.testing.assert_array_equal(getattr(seen, name), getattr(alone[i], name))
                assert len(getattr(seen, name)) == len(slices[i])
            np.testing.assert_array_equal(seen.targets, alone[i].targets)
            for name, expected in alone[i].maps.items():
                np.testing.assert_array_equal(seen.maps[name], expected)
                assert expected[-1].any()


def test_a_model_that_cannot_be_loaded_is_reported():
    with WorkerGroup(BatchSettings("nowhere"), 1) as group, pytest.raises(WeightsError, match="nowhere"):
        group.address()


@pytest.mark.parametrize("method", ["gated", "gradcam"])
def test_a_method_without_a_map_in_the_model_is_refused_before_the_first_case(tmp_path, method):
    kind = "mean" if method == "gated" else "gated"
    network = weights.seeded_network(10, "none", 5, kind).eval().requires_grad_(False)
    weights.save(weights.Model(replace(weights.untrained(10).card, name="mine", head=kind), network), tmp_path / "mine")
    settings = BatchSettings(str(tmp_path / "mine"), options=StagingOptions(method=method))
    with pytest.raises(InputError, match=rf"'{method}' for model .*Use 'auto'\."):
        run_batch(many(tmp_path, 2), tmp_path / "out", settings, workers=1)
    assert not (tmp_path / "out" / "cases").exists()


def test_a_batch_computes_maps_of_the_key_slice_only_by_default():
    assert not BatchSettings().options.neighbour_maps


# -- poison --------------------------------------------------------------------------------------------------------


AFTERWARDS = ("one more", "another", "last")


def a_bomb(path):
    """A gigabyte and a half of zeros, packed into a few megabytes, behind a NIfTI header that promises them."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1000, 1000, 375, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 1, 0)
    header[344:348] = b"n+1\0"
    zeros = gzip.compress(bytes(30 * 10**6), 1)  # a file may have several parts
    path.write_bytes(gzip.compress(bytes(header), 1) + 50 * zeros)


@pytest.fixture(scope="module")
def faulty_batch(tmp_path_factory):
    """Run a batch with one worker: invalid and too large files, valid ones, and a model process that dies."""
    folder = tmp_path_factory.mktemp("faulty")
    rows = [["endless", "/dev/zero", "", "", "4"]]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.nrrd")
        rows.append(["pipe", "pipe.nrrd", "", "", "4"])
    if sys.platform.startswith("linux"):  # other systems do not enforce the limit
        a_bomb(folder / "bomb.nii.gz")
        rows.append(["bomb", "bomb.nii.gz", "", "", "4"])
    rows += [[name, "ct.nrrd", "", "", "4"] for name in ("first", "then the model dies", *AFTERWARDS)]
    cases = read_cases(a_table(folder, [HEAD, *rows]))
    found = {}
    with WorkerGroup(BatchSettings(MODEL, time_limit=60, memory_limit=500), 1) as group:
        for outcome in batch.Batch(cases, folder / "out", {}).run(with_workers(group, 1)):
            found[outcome.case_id] = outcome
            if outcome.case_id == "then the model dies":
                model = group._model.pid
                os.kill(model, getattr(signal, "SIGKILL", signal.SIGTERM))
        assert group._model.pid != model
    return found


def test_faulty_files_fail_their_own_case_only(faulty_batch):
    found = faulty_batch
    assert {name for name, o in found.items() if o.status == "done"} == {"first", "then the model dies", *AFTERWARDS}
    assert {o.status for o in found.values()} == {"done", "failed"}


def test_a_model_process_that_dies_costs_a_retry(faulty_batch):
    found = faulty_batch
    assert [found[name].status for name in AFTERWARDS] == ["done"] * 3


DOSES = {"crashes once": "crash", "crashes twice": "crash crash", "hangs": "hang"}


@pytest.mark.parametrize("how", ["light", pytest.param("real", marks=pytest.mark.slow)])
def test_crashes_and_hangs_fail_their_own_case_only(tmp_path, monkeypatch, how):
    """Light processes do the same harm without the imports of staging."""
    names = ["first", *DOSES, "last"]
    table = a_table(tmp_path, [HEAD, *([name, "ct.nrrd", "", "", "4"] for name in names)])
    seconds = SECONDS
    if how == "light":
        monkeypatch.setattr(model_process, "start", light_processes.model)
        monkeypatch.setattr(local, "_worker", light_processes.worker)
        seconds = 4
    out = tmp_path / "out"
    with WorkerGroup(poisoned(tmp_path, DOSES, seconds), 1) as group:
        run_of = batch.Batch(read_cases(table), out, {})
        found = {o.case_id: o for o in run_of.run(with_workers(group, 1))}
    assert "".join(path.read_text() for path in tmp_path.glob("*.doses")) == ""
    assert {name: o.status for name, o in found.items()} == {
        "first": "done", "crashes once": "done", "crashes twice": "failed", "hangs": "failed", "last": "done"
    }  # fmt: skip
    assert found["crashes once"].error is None
    assert f"exceeded the time limit ({seconds} s)" in found["hangs"].error
    record = json.loads((out / "cases" / "crashes twice" / FAILED).read_text())
    assert "SIGSEGV" in record["error"]
    assert "Segmentation fault" in (out / record["log"]).read_text(encoding="utf-8")
    assert [p.name for p in (out / "cases" / "crashes twice").iterdir()] == [FAILED]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not enforce it")
def test_a_file_that_unpacks_without_end_fails(faulty_batch):
    found = faulty_batch
    assert "`memory_limit`" in found["bomb"].error


@pytest.mark.parametrize("name", ["endless", "pipe"])
def test_only_files_and_folders_are_opened(faulty_batch, name):
    found = faulty_batch
    if name == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    assert "expected a file or a folder" in found[name].error


# -- killed and gone on with ---------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_a_batch_killed_at_random_moments_ends_with_the_same_tables(tmp_path):
    table = many(tmp_path, 24)
    sitk.WriteImage(ct_like(), tmp_path / "short.nrrd")
    os.truncate(tmp_path / "short.nrrd", 3000)
    with table.open("a") as file:
        file.write("short,short.nrrd,,,4\nnone,,,,\n")

    def command(out, *more):
        return [sys.executable, "-m", "GTRStagingLib", "batch", str(table), "--out", str(out), "--workers", "2", *more]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert subprocess.run(command(whole), check=False).returncode == 1
    rng = np.random.default_rng(0)
    rounds = 0
    for kills_left in reversed(range(8)):  # the last run is not killed
        process = subprocess.Popen(command(killed, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # After some more cases, whatever the speed of the machine, and then at any moment.
        enough = len(list(killed.rglob("done.json"))) + rng.integers(0, 5)
        while kills_left and process.poll() is None and len(list(killed.rglob("done.json"))) < enough:
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=float(rng.uniform(0, 0.3)) if kills_left else None)
        if process.poll() is not None:
            process.communicate()
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        rounds += 1
    assert process.returncode == 1
    assert rounds >= 2
    assert without_seconds(killed) == without_seconds(whole)
    assert list(rows_of(killed)) == list(rows_of(whole))
    assert not list(killed.rglob(".writing-*"))


def test_a_retry_runs_alone():
    """A retry starts after the attempts before it, and later ones start after it."""
    gate, seen, begun = local.Gate(), [], threading.Barrier(3)

    def attempt(name, alone, before=None):
        with gate.passed(alone=alone):
            seen.append(f"{name} begins")
            if before is not None:
                before.wait(10)
                time.sleep(0.2)
            seen.append(f"{name} ends")

    first = [threading.Thread(target=attempt, args=("first", False, begun)) for _ in range(2)]
    for one in first:
        one.start()
    begun.wait(10)
    later = []
    for name, alone in (("retry", True), ("retry", True), ("later", False)):
        later.append(threading.Thread(target=attempt, args=(name, alone)))
        later[-1].start()
        while alone and gate._retries < len(later):
            time.sleep(0.01)
    for one in first + later:
        one.join(10)
    assert seen == ["first begins", "first begins", "first ends", "first ends", *["retry begins", "retry ends"] * 2,
                    "later begins", "later ends"]  # fmt: skip


def test_the_command_passes_its_limits_on(tmp_path, monkeypatch):
    """The worker group gets the limits of the options."""
    asked = []

    def no_group(settings, workers):
        asked.append((settings.time_limit, settings.memory_limit, workers))
        raise StagingError("enough seen")

    monkeypatch.setattr("GTRStagingLib.batch.run.WorkerGroup", no_group)
    command = ["batch", str(many(tmp_path, 1)), "--out", str(tmp_path / "out"), "--workers", "3"]
    assert cli.main([*command, "--time-limit", "0.05", "--memory-limit", "700"]) == 1
    assert cli.main([*command, "--time-limit", "0", "--memory-limit", "0"]) == 1
    assert asked == [(0.05, 700, 3), (None, None, 3)]


@pytest.mark.slow
def test_processes_apply_the_limits(tmp_path):
    table = many(tmp_path, 1)
    out = subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", "batch", str(table), "--out", str(tmp_path / "out"), "--time-limit",
         "0.05", "--workers", "1"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert out.returncode == 1
    assert "exceeded the time limit (0.05 s)" in out.stderr
    assert "1 failed" in out.stdout


@pytest.mark.parametrize("where", ["in this process", pytest.param("in processes", marks=pytest.mark.slow)])
def test_files_that_only_look_different_are_not_staged_again(tmp_path, where, monkeypatch):
    """Content counts, not the time stamp: the CT's voxels and the ROI's bytes."""

    def staged(table, out, *, resume=False):
        with no_processes(monkeypatch) if where == "in this process" else contextlib.nullcontext():
            return run(table, out, BatchSettings(MODEL), resume=resume)

    rows = [HEAD, ["a", "ct.nrrd", "roi.nrrd", "", ""], ["b", "ct.nrrd", "", "", "4"]]
    table, out = a_table(tmp_path, rows), tmp_path / "out"
    staged(table, out)
    written = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/result.json")}
    for name in ("ct.nrrd", "roi.nrrd"):
        os.utime(tmp_path / name)
    again = staged(table, out, resume=True)
    assert all(o.reused for o in again.values())
    assert {path: path.stat().st_mtime_ns for path in out.glob("cases/*/result.json")} == written
    roi = sitk.ReadImage(str(tmp_path / "roi.nrrd"))
    sitk.WriteImage(sitk.BinaryDilate(roi, [1, 1, 0]), tmp_path / "roi.nrrd")
    again = staged(table, out, resume=True)
    assert {name: o.reused for name, o in again.items()} == {"a": False, "b": True}


# -- several looks -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """Folders of two small networks, as of two folds of one training."""
    folder = tmp_path_factory.mktemp("folds")
    for number in (1, 2):
        model = weights.untrained(10, "none", number)
        card = replace(model.card, name=f"small-fold{number}")
        weights.save(weights.Model(card, model.network), folder / f"small-fold{number}")
    (folder / "small-folds.csv").write_text("fold\nsmall-fold1\nsmall-fold2\nmean\nsd\n")
    return folder / "small"


def test_several_models_look_at_each_case_of_a_batch(tmp_path, two_models):
    """Two real processes; then the same batch with other looks is staged again, and with the same is kept."""
    table, out = many(tmp_path, 2), tmp_path / "out"
    settings = BatchSettings(str(two_models), options=StagingOptions(neighbour_maps=False, tta=True))
    assert run_batch(table, out, settings, workers=1).done == 2
    rows = rows_of(out)
    assert {row["looks"] for row in rows.values()} == {"12"}
    assert {row["model"] for row in rows.values()} == {"small-fold1 + small-fold2"}
    record = json.loads((out / "cases" / "c000" / "result.json").read_text())
    assert float(rows["c000"]["spread"]) == record["looks"]["spread"]
    here = backbone.load_models(str(two_models), "cpu")
    there = local.stage_from_files(here, settings.options)(read_cases(table)[0], tmp_path / "here")
    given = [float(rows["c000"][f"p_T{i}"]) for i in (1, 2, 3, 4)]
    assert given == pytest.approx(there.prediction.probabilities, abs=1e-4)
    assert run_batch(table, out, settings, workers=1, resume=True).reused == 2
    other = replace(settings, options=StagingOptions(neighbour_maps=False))
    assert run_batch(table, out, other, workers=1, resume=True).reused == 0
    assert {row["looks"] for row in rows_of(out).values()} == {"2"}
    alone = replace(other, model=f"{two_models}-fold1")
    assert run_batch(table, out, alone, workers=1, resume=True).reused == 0
    assert {(row["looks"], row["spread"]) for row in rows_of(out).values()} == {("1", "")}


def test_models_that_do_not_go_together_are_refused_before_the_first_case(tmp_path):
    with pytest.raises(InputError, match="would count twice"):
        run_batch(many(tmp_path, 1), tmp_path / "out", BatchSettings((MODEL, MODEL)), workers=1)
    assert not (tmp_path / "out" / "cases").exists()


def test_a_method_that_one_of_the_models_lacks_is_refused(tmp_path, two_models):
    settings = BatchSettings((MODEL, f"{two_models}-fold1"), options=StagingOptions(method="gated"))
    with pytest.raises(InputError, match="'gated' for model 'small-fold1'"):
        run_batch(many(tmp_path, 1), tmp_path / "out", settings, workers=1)
