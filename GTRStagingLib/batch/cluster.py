"""Run a batch on a Dask cluster: each of its workers has a worker group, and the scheduler distributes the cases.

Any cluster works (SLURM with dask-jobqueue, Kubernetes, SSH) if its workers have this package installed and find the
same files at the same paths. The cases of a worker that dies are retried on another. The limits of time and memory
apply as on one machine. `docs/how-to/cluster.md` explains the setup.
"""

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import distributed
from distributed.comm import CommClosedError, get_address_host_port

import GTRStagingLib
from GTRStagingLib.batch.batch import record_failure
from GTRStagingLib.batch.local import BatchSettings, WorkerGroup
from GTRStagingLib.batch.records import Job, Outcome
from GTRStagingLib.errors import Cancelled, InputError, MachineError, StagingError
from GTRStagingLib.model import registry
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.several import joined, with_folds
from GTRStagingLib.support.files import parse_json, remove_partial_files
from GTRStagingLib.support.isolation import error_text

CONNECT_S = 10
"""Seconds to wait for a connection; a running scheduler answers within one."""

ALONE_S = 60
"""Seconds without any worker after which a warning is logged; the batch waits on, since a queue may start one later."""

LOG = logging.getLogger(__name__)

_DISCONNECTED = (distributed.CancelledError, CommClosedError)
"""Errors of calls to a scheduler that has just ended, while the client's status is still "running"."""


class Cluster:
    """Connection to a scheduler, for one batch.

    Parameters
    ----------
    address
        Address of the scheduler, as in tcp://HOST:8786; or the file that `dask scheduler --scheduler-file` writes.
    out
        Output folder of the batch. A batch that resumes in the same folder ends the processes that a killed run left on
        the workers.

    Raises
    ------
    InputError
        If no scheduler answers.
    """

    def __init__(self, address: str, settings: BatchSettings, out: Path) -> None:
        models = with_folds(settings.model)
        self._run = secrets.token_hex(8)
        self._name = f"gtrstaging {out.absolute()}"
        self._settings = replace(settings, model=tuple(_absolute_model(one) for one in models))
        self.card = joined([_card(one) for one in models])
        try:
            self._client = distributed.Client(_scheduler_address(address), timeout=CONNECT_S, set_as_default=False)
        except Exception as error:
            raise InputError(
                f"No scheduler answers at {address} ({error}); expected a running Dask "
                "scheduler, as in tcp://HOST:8786, or its scheduler file. Start it, or leave out `scheduler`."
            ) from error

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def work(self, todo: Iterator[Job | Outcome]) -> Iterator[Outcome]:
        """Do the jobs of a batch (see `batch.Work`).

        Raises
        ------
        StagingError
            If the scheduler ended, a worker cannot take part, or another error concerns every case.
        """
        jobs: dict[Any, Job] = {}
        ended = distributed.as_completed(loop=self._client.loop)
        clock = threading.Timer(ALONE_S, self._warn_without_workers)
        clock.daemon = True
        clock.start()
        try:
            self._start_worker_groups()
            for one in todo:
                if isinstance(one, Outcome):
                    yield one
                    continue
                job = replace(one, folder=one.folder.absolute())
                key = f"gtrstaging-{self._run}-{job.case.case_id}"
                future = self._client.submit(_stage, job, self._name, self._run, key=key)
                jobs[future] = job
                ended.add(future)
                while len(jobs) >= self._window():
                    yield _outcome(next(ended), jobs)
            while jobs:
                yield _outcome(next(ended), jobs)
        except StagingError:
            raise
        except Exception as error:
            if self._client.status == "running" and not isinstance(error, _DISCONNECTED):
                raise
            raise MachineError(
                "The scheduler ended or was restarted; expected it to run until the batch ends. Start it, and set "
                "`resume` to continue."
            ) from error
        finally:
            clock.cancel()
            if self._client.status == "running":
                with suppress(*_DISCONNECTED):
                    self._client.cancel(list(jobs), force=True)
                self._close_worker_groups()
            for job in jobs.values():
                remove_partial_files(job.folder)

    def _warn_without_workers(self) -> None:
        with suppress(Exception):  # the scheduler may end at this moment
            if not self._client.nthreads():
                LOG.warning(
                    "No Dask worker has joined the scheduler after %g s; the batch waits for one. Start a worker: dask "
                    "worker %s", ALONE_S, self._client.scheduler.address)  # fmt: skip

    def _start_worker_groups(self) -> None:
        try:
            self._client.register_plugin(_WorkerGroupPlugin(self._settings, self._run), name=self._name)
        except Exception as error:
            raise MachineError(
                f"A worker of the cluster cannot take part: {error_text(error)}. Expected this package, version "
                f"{GTRStagingLib.__version__}, with its dependencies. Install the same version on every machine."
            ) from error

    def _close_worker_groups(self) -> None:
        """End the worker groups, also in the middle of a case."""
        with suppress(Exception):  # a worker that ends at this moment ends its own group
            self._client.unregister_worker_plugin(self._name)

    def _window(self) -> int:
        """Return how many cases to submit at a time: two for each thread of the cluster, so that no worker waits."""
        return 2 * max(1, sum(self._client.nthreads().values()))


def _scheduler_address(address: str) -> str:
    """Return the address, or that in a scheduler file; raise an error if it is invalid, since `Client` would hang."""
    if Path(address).is_file():
        try:
            address = parse_json(Path(address).read_bytes())["address"]
        except (KeyError, TypeError) as error:
            raise ValueError("no address in this file") from error
    get_address_host_port(address)
    return address


def _absolute_model(model: str) -> str:
    """Return the name or the absolute folder of a model, so that workers find it from any current folder."""
    folder = registry.locate(model)
    return model if folder is None or folder.is_relative_to(registry.SHIPPED) else str(folder.absolute())


def _card(model: str) -> ModelCard:
    folder = registry.locate(model)
    if folder is not None:
        return registry.read_card(folder)
    from GTRStagingLib.model import weights

    return weights.load(model).card


def _outcome(future: Any, jobs: dict[Any, Job]) -> Outcome:
    """Remove a finished job from `jobs`, and return its outcome."""
    job = jobs.pop(future)
    if future.status != "error":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception()
    if isinstance(error, distributed.KilledWorker):
        return record_failure(job, f"Every worker of the cluster that tried the case died: {error_text(error)}")
    if isinstance(error, StagingError):
        raise error  # an error of a worker group concerns every case
    raise MachineError(f"A worker of the cluster failed: {error_text(error)}") from error


# -- on a worker of the cluster ------------------------------------------------------------------------------------


class _WorkerGroupPlugin(distributed.WorkerPlugin):
    """Worker group of each worker of the cluster, also of workers that join later; it lasts as long as the run."""

    def __init__(self, settings: BatchSettings, run: str) -> None:
        self.run = run
        self._settings, self._version = settings, GTRStagingLib.__version__

    def setup(self, worker: Any) -> None:
        """Make the worker group; its processes start with the first case."""
        self._group = WorkerGroup(self._settings, worker.state.nthreads)

    def teardown(self, worker: Any) -> None:
        """End the processes of the worker group."""
        self._group.close()

    def stage(self, job: Job) -> Outcome:
        """Stage a case."""
        if self._version != GTRStagingLib.__version__:
            raise InputError(
                f"A worker of the cluster has version {GTRStagingLib.__version__} of this package; expected "
                f"{self._version}, which started the batch. Install the same version on every machine."
            )
        return self._group.stage(job)


def _stage(job: Job, name: str, run: str) -> Outcome:
    plugin = distributed.get_worker().plugins.get(name)
    if plugin is None or plugin.run != run:
        raise Cancelled("The run of this case has ended.")
    outcome: Outcome = plugin.stage(job)
    return outcome


__all__ = ["Cluster"]
