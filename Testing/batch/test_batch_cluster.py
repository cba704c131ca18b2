"""Batches on a real Dask cluster: a scheduler and workers in processes of their own, some of which are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import distributed
import psutil
import pytest
from helpers import TESTING
from helpers.worker_groups import no_processes
from test_batch import HEAD, ROWS, a_table, rows_of, without_seconds
from test_batch_local import SECONDS, many, poisoned

from GTRStagingLib.batch import batch, local
from GTRStagingLib.batch import cluster as batch_cluster
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.cluster import Cluster
from GTRStagingLib.batch.run import run_batch
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.cli import main as cli
from GTRStagingLib.errors import InputError, MachineError
from GTRStagingLib.model import registry
from GTRStagingLib.staging.options import StagingOptions

MODEL = "demonstration"
PATIENCE_S = 120


class Processes:
    """Scheduler and workers, started as a user starts them."""

    def __init__(self, folder):
        self.file = folder / "scheduler.json"
        self._folder, self.workers, self._all = folder, [], []
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", self.file)
        until(lambda: self.file.exists() and self.file.read_text().rstrip().endswith("}"))
        self.address = json.loads(self.file.read_text())["address"]

    def add_worker(self, *options):
        """Start one more worker, without waiting for it."""
        options = options or ("--no-nanny",)
        self.workers.append(
            self._start(
                "worker", self.address, "--nthreads", "1", "--memory-limit", "0", "--host", "127.0.0.1", *options
            )
        )

    def _start(self, what, *options):
        log = (self._folder / f"{what}-{len(self._all)}.log").open("wb")
        # In another folder, as on another machine; it finds the modules of these tests.
        path = os.pathsep.join([str(Path(__file__).parent), str(TESTING), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *map(str, options)],
            cwd=self._folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        log.close()
        self._all.append(process)
        return process

    def children(self):
        """Return the child processes of the workers' groups, without the nannies' own."""
        below = [child for one in self.workers if one.poll() is None for child in offspring(one.pid)]
        return [child for child in below if "GTRStagingLib.support.isolation" in command_of(child)]

    def stop(self):
        below = [child for one in self._all for child in offspring(one.pid)]
        for process in (*self._all, *below):
            process.kill()
        for process in self._all:
            process.wait()


def offspring(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_of(process):
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def gone(processes):
    """Return whether all processes end within a few seconds."""
    return not psutil.wait_procs(processes, timeout=15)[1]


@pytest.fixture
def dask(tmp_path, monkeypatch):
    """Start a scheduler without workers; everything runs on one thread, so that sums are the same everywhere."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    processes = Processes(folder)
    yield processes
    processes.stop()


@pytest.fixture
def less_patient(monkeypatch):
    """Let a case fail after two dead workers instead of four."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")


class Slow(ScoreColumns):
    """Scores that take half a second, so that a test can act meanwhile."""

    def of(self, case, result):
        time.sleep(0.5)
        return {}


def settings(scores=None):
    return local.BatchSettings(MODEL, scores=scores or ScoreColumns(), time_limit=120)


def on_cluster(dask, table, out, how=None, *, resume=False):
    """Run a batch on the cluster, and yield its outcomes."""
    with Cluster(dask.address, how or settings(), out) as cluster:
        made = batch.Batch(read_cases(table), out, {"model": cluster.card.sha256})
        yield from made.run(cluster.work, resume=resume)


def here(table, out, how=None, *, resume=False):
    """Run the same batch on this machine."""
    with local.WorkerGroup(how or settings(), 1) as group:
        made = batch.Batch(read_cases(table), out, {"model": group.address().card.sha256})
        return list(made.run(local.with_workers(group, 1), resume=resume))


@pytest.mark.slow
def test_a_scheduler_without_workers_is_reported(dask, tmp_path, monkeypatch, caplog):
    """The batch waits and says so; it ends as ever once a worker has joined."""
    monkeypatch.setattr(batch_cluster, "ALONE_S", 0.5)
    late = threading.Thread(target=lambda: (until(lambda: caplog.records), dask.add_worker()))
    late.start()
    found = list(on_cluster(dask, many(tmp_path, 1), tmp_path / "out"))
    late.join()
    assert [one.status for one in found] == ["done"]
    (warning,) = (one.getMessage() for one in caplog.records if one.name == batch_cluster.LOG.name)
    assert "No Dask worker has joined" in warning
    assert dask.address in warning


def test_an_address_without_a_scheduler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_cluster, "CONNECT_S", 1)
    (tmp_path / "broken.json").write_text('{"address": ')
    (tmp_path / "other.json").write_text("[]")
    begun = time.monotonic()
    for address in ("tcp://127.0.0.1:9", "scheduler.json", "nonsense://here", "broken.json", "other.json"):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="No scheduler answers") as error:
            Cluster(address, settings(), tmp_path / "out")
        assert address in str(error.value)
    assert time.monotonic() - begun < 15


@pytest.mark.slow
def test_a_method_without_a_map_is_refused_on_a_cluster(dask, tmp_path):
    lacking = "gated" if registry.read_card(registry.locate(MODEL)).head == "mean" else "fine"
    asked = local.BatchSettings(MODEL, options=StagingOptions(method=lacking))
    with pytest.raises(InputError, match=f"'{lacking}' for model '{MODEL}'"):
        run_batch(a_table(tmp_path, [HEAD, ["one", "ct.nrrd", "", "", "4"]]), tmp_path / "out", asked,
                  scheduler=dask.address)  # fmt: skip
    assert not (tmp_path / "out" / "cases").exists()


def test_the_tables_equal_those_of_one_machine(dask, tmp_path, monkeypatch, capsys):
    """With relative paths, and a worker that joins after the start."""
    monkeypatch.chdir(tmp_path)
    a_table(tmp_path, [[*HEAD, "exclude"], *([*row, ""] for row in ROWS[1:]), ["not", "ct.nrrd", "", "", "", "metal"]])
    dask.add_worker("--nanny")
    assert cli.main(["batch", "cases.csv", "--out", "there", "--scheduler", str(dask.file)]) == 1
    assert "4 cases: 2 done, 1 failed, 1 skipped" in capsys.readouterr().out
    assert gone(dask.children())
    assert all(process.poll() is None for process in dask.workers)
    with no_processes(monkeypatch):
        here(tmp_path / "cases.csv", tmp_path / "here")
    assert without_seconds(tmp_path / "there") == without_seconds(tmp_path / "here")
    assert not list((tmp_path / "elsewhere").rglob("result.json"))


@pytest.mark.slow
@pytest.mark.parametrize("nanny", ["--no-nanny", "--nanny"])
def test_cases_of_a_killed_worker_are_retried(dask, tmp_path, nanny):
    table = many(tmp_path, 16)
    for _ in range(3):
        dask.add_worker(nanny)
    victims, left = [], []
    outcomes = []
    with distributed.Client(dask.address, set_as_default=False) as watch:
        watch.wait_for_workers(3)
        for outcome in on_cluster(dask, table, tmp_path / "there", settings(Slow())):
            outcomes.append(outcome)
            if len(outcomes) == 3:
                known = watch.run(os.getpid)
                address, keys = next((who, keys) for who, keys in watch.processing().items() if keys)
                left = [key.rpartition("-")[2] for key in keys]
                victims = [psutil.Process(known[address]), *offspring(known[address])]
                victims[0].kill()
        assert len(victims) >= 2
        assert gone(victims[1:])
        assert len(outcomes) == len({o.case_id for o in outcomes}) == 16
        assert left
        assert [o.status for o in outcomes] == ["done"] * 16
        assert set(left) <= {o.case_id for o in outcomes[3:]}
    assert gone(dask.children())
    here(table, tmp_path / "here")
    assert without_seconds(tmp_path / "there") == without_seconds(tmp_path / "here")
    assert not list(tmp_path.rglob(".writing-*"))


@pytest.mark.slow
def test_a_case_that_hangs_fails_alone_on_a_cluster(dask, tmp_path):
    dask.add_worker()
    found = list(on_cluster(dask, many(tmp_path, 4), tmp_path / "out", poisoned(tmp_path, {"c000": "hang"})))
    assert sorted(o.status for o in found) == ["done", "done", "done", "failed"]
    (failed,) = (o for o in found if o.error)
    assert f"exceeded the time limit ({SECONDS} s)" in failed.error
    assert gone(dask.children())


@pytest.mark.slow
def test_a_case_that_kills_every_worker_fails_alone(less_patient, dask, tmp_path):
    """As the system's out-of-memory killer may, which can choose the worker instead of its child."""
    for _ in range(3):
        dask.add_worker()
    table = many(tmp_path, 3)
    how = settings(KillsItsWorker(first=tmp_path / "first"))
    found = list(on_cluster(dask, table, tmp_path / "out", how))
    assert sorted(o.status for o in found) == ["done", "done", "failed"]
    (failed,) = (o for o in found if o.error)
    assert "Every worker of the cluster that tried the case died" in failed.error
    assert rows_of(tmp_path / "out")[failed.case_id]["status"] == "failed"


@dataclass(frozen=True)
class KillsItsWorker(ScoreColumns):
    """Scores of which the first case kills its worker at each attempt."""

    first: Path | None = None

    def of(self, case, result):
        case = case.case_id
        try:
            with self.first.open("x") as file:
                file.write(case)
        except FileExistsError:
            if self.first.read_text() != case:
                return {}
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)  # it ends with its worker, and must not finish before
        return {}


@pytest.mark.slow
def test_a_killed_scheduler_ends_the_batch_which_resumes_on_one_machine(dask, tmp_path):
    table, out = many(tmp_path, 10), tmp_path / "out"
    dask.add_worker()
    dask.add_worker("--nanny")
    run = on_cluster(dask, table, out, settings(Slow()))
    before = [next(run) for _ in range(3)]
    children = dask.children()
    dask.scheduler.kill()
    with pytest.raises(MachineError, match=r"The scheduler ended.*`resume`"):
        before += run
    assert children
    assert gone(children)
    assert list(rows_of(out))
    assert all(row["status"] == "done" for row in rows_of(out).values())
    after = here(table, out, resume=True)
    assert sum(o.reused for o in after) >= 3
    assert [o.status for o in after] == ["done"] * 10
    here(table, tmp_path / "here")
    assert without_seconds(out) == without_seconds(tmp_path / "here")


@pytest.mark.slow
def test_a_killed_scheduler_that_the_client_has_not_noticed_ends_the_batch(dask, tmp_path, monkeypatch):
    asked = Cluster._window

    def window(self):
        dask.scheduler.kill()
        dask.scheduler.wait()
        return asked(self)

    dask.add_worker()
    monkeypatch.setattr(Cluster, "_window", window)
    with pytest.raises(MachineError, match=r"The scheduler ended.*`resume`"):
        list(on_cluster(dask, many(tmp_path, 4), tmp_path / "out", settings(Slow())))


@pytest.mark.slow
def test_a_killed_run_resumes_and_leaves_no_process_on_the_workers(dask, tmp_path):
    table, out = many(tmp_path, 10), tmp_path / "out"
    dask.add_worker()
    command = [sys.executable, "-m", "GTRStagingLib", "batch", str(table), "--out", str(out), "--scheduler",
               dask.address]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: len(list(out.glob("cases/*/done.json"))) >= 2 or process.poll() is not None)
    process.kill()
    process.communicate()
    old = dask.children()
    assert old
    ended = subprocess.run([*command, "--resume"], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "10 done" in ended.stdout
    assert "by an earlier run" in ended.stdout
    assert gone([*old, *dask.children()])
