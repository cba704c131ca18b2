"""Soak test: many small cases, some of them broken, on a disk that fills, with processes that are killed at random.

More than a quarter of the broken cases have a trait of the fuzzer: they are read as something else, or crash a reader.

`GTR_SOAK_CASES=1000 pytest Testing/batch/test_soak.py -s` reports the duration and the killed processes.
"""

import contextlib
import csv
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle

import numpy as np
import psutil
import pyarrow.parquet as parquet
import pytest
import SimpleITK as sitk
from conftest import ct_like
from fuzz import inputs, traits
from helpers.results import box_on
from test_batch import HEAD, rows_of, without_seconds

from GTRStagingLib.batch.columns import PARQUET, PREDICTIONS, SECONDS
from GTRStagingLib.batch.local_log import LOCAL
from GTRStagingLib.batch.records import FAILED, RECORDS
from GTRStagingLib.tables.case_files import OUTPUTS

CASES = int(os.environ.get("GTR_SOAK_CASES", "120"))
KINDS = ("plain", "with ROI", "compressed", "plain", "with ROI", "plain", "compressed", "with ROI", "truncated",
         "plain", "garbage", "plain", "with ROI", "missing", "plain", "without key slice", "with ROI", "beyond",
         "excluded", "no image",
         "plain", "with ROI", "compressed", "plain", "with ROI", "harmless trait", "compressed", "with ROI", "trait",
         "plain", "trait", "plain", "with ROI", "missing", "plain", "without key slice", "with ROI", "trait",
         "excluded", "no image")  # fmt: skip
"""Kinds of every forty cases."""

ENDS = {"truncated": "failed", "garbage": "failed", "missing": "failed", "without key slice": "failed",
        "beyond": "failed", "trait": "failed", "excluded": "skipped", "no image": "skipped"}  # fmt: skip
"""Expected outcomes; all other kinds are done."""

MARK = "GTR_SOAK_RUN"
"""Environment variable that identifies the processes of a run."""

FULL_AT = 0.45
"""Share of all results that fits on the small disk."""

KILLS = max(3, CASES // 50)
"""Kills before the disk is full; twice as many follow."""


def a_cohort(folder):
    """Write the case table, and return it with the expected outcome of each case."""
    template = ct_like()
    sitk.WriteImage(box_on(template).mask, folder / "roi.nrrd")
    rows, ends = [[*HEAD, "exclude"]], {}
    broken, whole = cycle(traits.BROKEN.values()), cycle(traits.WHOLE.values())
    for number in range(CASES):
        kind, case = KINDS[number % len(KINDS)], f"case-{number:04d}"
        if kind in ("trait", "harmless trait"):
            draft = next(broken if kind == "trait" else whole)(random.Random(number))
            path = inputs.write(draft, folder / case)
            roi = path.with_name("seg.dcm")
            rows.append([case, str(path.relative_to(folder)), f"{case}/seg.dcm" if roi.is_file() else "", "",
                         "" if roi.is_file() else "2", ""])  # fmt: skip
            ends[case] = ENDS.get(kind, "done")
            continue
        image = f"{case}.nii.gz" if kind == "compressed" else f"{case}.nrrd"
        path = folder / image
        if kind == "garbage":
            path.write_bytes(np.random.default_rng(number).bytes(4000))
        elif kind not in ("missing", "no image"):
            sitk.WriteImage(sitk.Cast(ct_like(seed=number), sitk.sitkInt16), path)
        if kind == "truncated":
            os.truncate(path, path.stat().st_size // 2)
        key = {"with ROI": "", "without key slice": "", "beyond": "99"}.get(kind, str(2 + number % 5))
        rows.append([case, "" if kind == "no image" else image, "roi.nrrd" if kind == "with ROI" else "", "", key,
                     "metal" if kind == "excluded" else ""])  # fmt: skip
        ends[case] = ENDS.get(kind, "done")
    table = folder / "cohort.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return table, ends


class Disk:
    """Small disk in memory, which can be enlarged."""

    def __init__(self, place):
        self.place = place
        place.mkdir()
        if shutil.which("mount") is None:
            self.refused = "no `mount` on this system"
            return
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True)
        self.refused = made.stderr.strip() if made.returncode else None

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.place], check=True)

    def remove(self):
        if self.refused is None:
            subprocess.run(["umount", "--lazy", self.place], check=True)


@pytest.fixture
def small_disk(tmp_path):
    disk = Disk(tmp_path / "small")
    if disk.refused is not None:
        message = f"a small disk cannot be mounted ({disk.refused}): this test is for root on Linux"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield disk
    disk.remove()


class Run:
    """Repeated starts of the command for one folder."""

    def __init__(self, table, out):
        self._command = [sys.executable, "-m", "GTRStagingLib", "batch", str(table), "--out", str(out),
                         "--workers", "2"]  # fmt: skip
        self._mark = secrets.token_hex(8)
        self.started, self.killed = 0, Counter()

    def _start(self, *more):
        self.started += 1
        return subprocess.Popen([*self._command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, MARK: self._mark, "OMP_NUM_THREADS": "1"})  # fmt: skip

    def to_its_end(self, *more):
        """Run the command to its end; return its exit code, output and error output."""
        process = self._start(*more)
        out, err = process.communicate()
        return process.returncode, out, err

    def disturbed(self, rng, kills, *, children):
        """Run the command with `--resume`, and kill it or one of its processes `kills` times before it ends."""
        process = self._start("--resume")
        while True:
            try:
                out, err = process.communicate(timeout=float(rng.uniform(0.5, 14)) if kills else None)
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                kills -= 1
            below = psutil.Process(process.pid).children()
            if children and below and rng.random() < 0.5:
                with contextlib.suppress(psutil.Error):  # the process may end at this moment
                    one = below[int(rng.integers(len(below)))]
                    listens = any("gtrstaging" in str(each.laddr) for each in one.net_connections("unix"))
                    one.kill()
                    self.killed["model process" if listens else "worker"] += 1
                continue
            process.kill()
            process.communicate()
            self.killed["command"] += 1
            process = self._start("--resume")

    def alive(self):
        """Return the processes of this run that do not end."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return psutil.wait_procs(found, timeout=15)[1]


def size_of(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


def failed_cases(out):
    """Return the cases with a record of failure."""
    return {path.parent.name for path in out.glob(f"cases/*/{FAILED}")}


def differences(one, other):
    """Return the differences between two tables, timings apart."""
    return [
        (row["case_id"], column, text, beside[column])
        for row, beside in zip(without_seconds(one), without_seconds(other), strict=True)
        for column, text in row.items()
        if text != beside[column]
    ]


def timeless(out):
    return parquet.read_table(out / PARQUET).drop_columns(list(SECONDS))


@pytest.mark.slow
def test_every_case_has_an_outcome_after_faults_and_kills(tmp_path, small_disk):
    rng = np.random.default_rng(6)
    (tmp_path / "cohort").mkdir()
    table, ends = a_cohort(tmp_path / "cohort")
    expected = Counter(ends.values())
    faulty = {case for case, end in ends.items() if end == "failed"}
    words = f"{CASES} cases: {expected['done']} done, {expected['failed']} failed, {expected['skipped']} skipped"

    whole, soaked = tmp_path / "whole", small_disk.place / "soaked"
    begun = time.monotonic()
    code, text, _ = Run(table, whole).to_its_end()
    undisturbed = time.monotonic() - begun
    assert (code, words in text) == (1, True), text
    assert {case: row["status"] for case, row in rows_of(whole).items()} == ends

    # Less than half of the results fit on the disk: the batch reports it and fails no case, twice.
    needed = size_of(whole)
    small_disk.resize(int(FULL_AT * needed))
    run = Run(table, soaked)
    begun = time.monotonic()
    for code, _, errors in (run.disturbed(rng, KILLS, children=False), run.to_its_end("--resume")):
        assert code == 1
        assert "Free some space" in errors
        assert failed_cases(soaked) <= faulty
    kept = len(list(soaked.glob("cases/*/done.json")))
    assert 0.2 * expected["done"] < kept < 0.6 * expected["done"]

    # With room the batch continues; a case fails if its process is killed twice, and the next run tries it again.
    small_disk.resize(2 * needed)
    run.disturbed(rng, 2 * KILLS, children=True)
    code, text, _ = run.to_its_end("--resume")
    took = time.monotonic() - begun
    assert (code, words in text) == (1, True), text
    assert int(re.search(r"\((\d+) of them by an earlier run\)", text)[1]) >= kept

    assert list(rows_of(soaked)) == list(ends)
    assert differences(soaked, whole) == []
    assert timeless(soaked).equals(timeless(whole))
    for case, end in ends.items():
        there = {path.name for path in (soaked / "cases" / case).iterdir()}
        assert there == {RECORDS[end], *(OUTPUTS if end == "done" else ())}
        if end == "done":
            one, other = ((out / "cases" / case / "attention.nrrd").read_bytes() for out in (soaked, whole))
            assert one == other
    assert {path.name for path in soaked.iterdir()} <= {
        "cases",
        PREDICTIONS,
        PARQUET,
        LOCAL,
        ".batch.lock",
        ".batch.run",
    }
    assert run.alive() == []
    killed = ", ".join(f"{count} x {what}" for what, count in run.killed.items())
    print(f"\n{words}. Undisturbed {undisturbed:.0f} s. On a disk for {kept} cases, then a larger one: {took:.0f} s, "
          f"started {run.started} times, killed {killed}.")  # fmt: skip
