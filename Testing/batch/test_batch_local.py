"""A batch with real processes: workers, a model's process, and what kills them."""

import contextlib
import ctypes
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import ct_like
from test_batch import HEAD, a_table, rows_of, without_seconds

from GTRStagingLib.batch import batch
from GTRStagingLib.batch.local import BatchSettings, Station, with_workers
from GTRStagingLib.batch.model_process import ModelGoneError, RemoteBackbone, passes
from GTRStagingLib.batch.scoring import Scores
from GTRStagingLib.errors import WeightsError
from GTRStagingLib.model import backbone, weights

MODEL = "demonstration"


def run(table, out, settings, *, workers=1, resume=False):
    cases = batch.read_cases(table)
    with Station(settings, workers) as station:
        made = batch.Batch(cases, out, {"model": station.address().card.sha256})
        return {o.case_id: o for o in made.run(with_workers(station, workers), resume=resume)}


def many(folder, count, name="many.csv"):
    return a_table(folder, [HEAD, *([f"c{i:03d}", "ct.nrrd", "", "", str(2 + i % 5)] for i in range(count))], name)


@dataclass(frozen=True)
class Poison(Scores):
    """Does harm in the first cases that are asked for their scores, as often as the file has bytes."""

    path: Path | None = None
    harm: Callable[[], None] | None = None

    def of(self, case, result):
        left = self.path.stat().st_size
        if left:
            os.truncate(self.path, left - 1)
            self.harm()
        return {}


def crash():
    ctypes.string_at(0)


def hang():
    time.sleep(60)


def poisoned(folder, harm, times):
    (folder / "doses").write_bytes(b"x" * times)
    return BatchSettings(MODEL, scores=Poison(path=folder / "doses", harm=harm), seconds=8)


# -- the model's process -------------------------------------------------------------------------------------------


def test_the_model_of_another_process_answers_as_it_does_here():
    here = backbone.ready(weights.load(MODEL))
    pixels = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    with Station(BatchSettings(MODEL), 1) as station:
        there = RemoteBackbone(station.address())
        one, other = here.classify(pixels), there.classify(pixels)
        assert there.card == here.card
        assert there.cells == here.cells
        for name in ("logits", "features", "feature_map"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(there.classify(pixels).logits, other.logits)
        # What the network cannot do may be the device's fault: it is said, and the next process begins afresh.
        with pytest.raises(ModelGoneError, match="pass failed"):
            there.classify(pixels[:, :1])
        again = RemoteBackbone(station.address())
        np.testing.assert_array_equal(again.classify(pixels).logits, other.logits)


def test_a_cases_numbers_do_not_depend_on_the_company_it_keeps():
    ready = backbone.ready(weights.load(MODEL), device="cpu", backend="torch")
    rng = np.random.default_rng(1)
    questions = [rng.normal(size=(n, 3, 224, 224)).astype(np.float32) for n in (3, 2, 3, 1)]
    alone = [next(iter(passes(ready, [one], 4))) for one in questions]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0]):
        together = passes(ready, [questions[i] for i in order], 4)
        for i, seen in zip(order, together, strict=True):
            for name in ("logits", "features", "feature_map"):
                np.testing.assert_array_equal(getattr(seen, name), getattr(alone[i], name))
                assert len(getattr(seen, name)) == len(questions[i])


def test_a_model_that_cannot_be_loaded_is_said():
    with Station(BatchSettings("nowhere"), 1) as station, pytest.raises(WeightsError, match="nowhere"):
        station.address()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_model_process_that_dies_costs_a_retry(tmp_path):
    table = many(tmp_path, 6)
    cases = batch.read_cases(table)
    with Station(BatchSettings(MODEL), 1) as station:
        made = batch.Batch(cases, tmp_path / "out", {})
        outcomes = []
        for outcome in made.run(with_workers(station, 1)):
            outcomes.append(outcome)
            if len(outcomes) == 2:
                os.kill(station._model.pid, signal.SIGKILL)
    assert [o.status for o in outcomes] == ["done"] * 6


# -- poison --------------------------------------------------------------------------------------------------------


def test_a_crash_is_tried_once_more(tmp_path):
    found = run(many(tmp_path, 3), tmp_path / "out", poisoned(tmp_path, crash, 1))
    assert [o.status for o in found.values()] == ["done"] * 3


def test_a_case_that_crashes_again_fails_alone_and_leaves_the_traceback(tmp_path):
    found = run(many(tmp_path, 3), tmp_path / "out", poisoned(tmp_path, crash, 2))
    assert sorted(o.status for o in found.values()) == ["done", "done", "failed"]
    (failed,) = (o for o in found.values() if o.error)
    record = json.loads((tmp_path / "out" / "cases" / failed.case_id / batch.FAILED).read_text())
    assert "SIGSEGV" in record["error"]
    assert "Segmentation fault" in record["traceback"]
    assert [p.name for p in (tmp_path / "out" / "cases" / failed.case_id).iterdir()] == [batch.FAILED]


def test_a_case_without_end_fails_alone(tmp_path):
    found = run(many(tmp_path, 2), tmp_path / "out", poisoned(tmp_path, hang, 1))
    assert sorted(o.status for o in found.values()) == ["done", "failed"]
    (failed,) = (o for o in found.values() if o.error)
    assert "longer than 8 s" in failed.error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not enforce it")
def test_a_file_that_unpacks_without_end_fails_alone(tmp_path):
    """Three gigabytes of zeros, packed into a few megabytes, behind a NIfTI header that promises them."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1000, 1000, 750, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 1, 0)
    header[344:348] = b"n+1\0"
    with gzip.open(tmp_path / "bomb.nii.gz", "wb", compresslevel=1) as file:
        file.write(bytes(header))
        for _ in range(3000):
            file.write(bytes(10**6))
    table = a_table(tmp_path, [HEAD, ["bomb", "bomb.nii.gz", "", "", "4"], ["good", "ct.nrrd", "", "", "4"]])
    found = run(table, tmp_path / "out", BatchSettings(MODEL, memory_mb=1000))
    assert found["good"].status == "done"
    assert "--memory-limit" in found["bomb"].error


# -- killed and gone on with ---------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_tables(tmp_path):
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
    for kills_left in reversed(range(8)):  # the last time it is left alone
        process = subprocess.Popen(command(killed, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=float(rng.uniform(3, 9)) if kills_left else None)
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


def test_nothing_but_a_file_or_a_folder_is_opened(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    os.mkfifo(tmp_path / "pipe.nrrd")
    table = a_table(tmp_path, [HEAD, ["pipe", "pipe.nrrd", "", "", "4"], ["endless", "/dev/zero", "", "", "4"]])
    found = run(table, tmp_path / "out", BatchSettings(MODEL, seconds=20))
    assert all("expected a file or a folder" in o.error for o in found.values()), {k: o.error for k, o in found.items()}


def test_limits_are_the_commands(tmp_path):
    """What the options say reaches the processes."""
    table = many(tmp_path, 1)
    out = subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", "batch", str(table), "--out", str(tmp_path / "out"), "--time-limit",
         "0.05", "--workers", "1"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert out.returncode == 1
    assert "longer than 0.05 s" in out.stderr
    assert "1 failed" in out.stdout


def test_files_that_only_look_different_are_not_staged_again(tmp_path):
    """Touched, or copied elsewhere: what they hold counts; the CT's voxels and the ROI's as well."""
    rows = [HEAD, ["a", "ct.nrrd", "roi.nrrd", "", ""], ["b", "ct.nrrd", "", "", "4"]]
    table, out = a_table(tmp_path, rows), tmp_path / "out"
    run(table, out, BatchSettings(MODEL))
    written = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/result.json")}
    for name in ("ct.nrrd", "roi.nrrd"):
        os.utime(tmp_path / name)
    again = run(table, out, BatchSettings(MODEL), resume=True)
    assert all(o.reused for o in again.values())
    assert {path: path.stat().st_mtime_ns for path in out.glob("cases/*/result.json")} == written
    roi = sitk.ReadImage(str(tmp_path / "roi.nrrd"))
    sitk.WriteImage(sitk.BinaryDilate(roi, [1, 1, 0]), tmp_path / "roi.nrrd")
    again = run(table, out, BatchSettings(MODEL), resume=True)
    assert {name: o.reused for name, o in again.items()} == {"a": False, "b": True}
