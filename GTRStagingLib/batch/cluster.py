"""A batch on a Dask cluster: each of its workers keeps a station of its own, and the scheduler hands the cases out.

Any cluster does (SLURM by dask-jobqueue, Kubernetes, SSH), as long as its workers have this package and see the same
files under the same names. A worker that dies costs its cases another try elsewhere; limits of time and memory hold
there as they do here. `Resources/CLUSTER.md` says how to set one up.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import distributed
from distributed.comm import CommClosedError, get_address_host_port

import GTRStagingLib
from GTRStagingLib.batch.batch import record_failure, said
from GTRStagingLib.batch.local import BatchSettings, WorkerGroup
from GTRStagingLib.batch.records import Job, Outcome, tidy
from GTRStagingLib.errors import Cancelled, InputError, MachineError, StagingError
from GTRStagingLib.model import registry
from GTRStagingLib.model.card import ModelCard

CONNECT_S = 10
"""A scheduler that runs answers within one."""

_GONE = (distributed.CancelledError, CommClosedError)
"""What a call to a scheduler that has just gone raises; the client's status says "running" for a while longer."""


class Cluster:
    """A connection to a scheduler, for one batch.

    Parameters
    ----------
    address
        Of the scheduler, as in tcp://HOST:8786; or the scheduler file that `dask scheduler --scheduler-file` writes.
    out
        The batch's folder: one that goes on there ends what one that was killed has left on the workers.

    Raises
    ------
    InputError
        If nobody answers.
    """

    def __init__(self, address: str, settings: BatchSettings, out: Path) -> None:
        self._run = secrets.token_hex(8)
        self._name = f"gtrstaging {out.absolute()}"
        self._settings = replace(settings, model=_for_all(settings.model))
        self.card = _card(settings.model)
        try:
            self._client = distributed.Client(_written(address), timeout=CONNECT_S, set_as_default=False)
        except Exception as error:
            raise InputError(
                f"No scheduler answers at {address} ({type(error).__name__}: {error}); expected a running `dask "
                "scheduler`, as in tcp://HOST:8786, or its scheduler file. Start it, or leave --scheduler out."
            ) from error

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def work(self, todo: Iterator[Job | Outcome]) -> Iterator[Outcome]:
        """Do the jobs of a batch (see `batch.Work`).

        Raises
        ------
        StagingError
            If the scheduler has gone, or a worker cannot take part; or what else is in the way of every case.
        """
        jobs: dict[Any, Job] = {}
        ended = distributed.as_completed(loop=self._client.loop)
        try:
            self._open_stations()
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
                    yield _taken(next(ended), jobs)
            while jobs:
                yield _taken(next(ended), jobs)
        except StagingError:
            raise
        except Exception as error:
            if self._client.status == "running" and not isinstance(error, _GONE):
                raise
            raise MachineError(
                "The scheduler has gone, or was restarted; expected it to run until the batch ends. Start it, and go "
                "on with --resume."
            ) from error
        finally:
            if self._client.status == "running":
                with suppress(*_GONE):
                    self._client.cancel(list(jobs), force=True)
                self._close_stations()
            for job in jobs.values():
                tidy(job.folder)

    def _open_stations(self) -> None:
        try:
            self._client.register_plugin(_AtWork(self._settings, self._run), name=self._name)
        except Exception as error:
            raise MachineError(
                f"A worker of the cluster cannot take part: {said(error)}. Expected this package, version "
                f"{GTRStagingLib.__version__}, with all that it needs: install the same everywhere."
            ) from error

    def _close_stations(self) -> None:
        """In the middle of a case too."""
        with suppress(Exception):  # a worker that goes just now ends its own
            self._client.unregister_worker_plugin(self._name)

    def _window(self) -> int:
        """Cases that are handed out at once: as many again as are being worked on, so that no worker waits."""
        return 2 * max(1, sum(self._client.nthreads().values()))


def _written(address: str) -> str:
    """An address, or the one in a scheduler file; a client that meets a wrong one first hangs at its end."""
    if Path(address).is_file():
        try:
            address = json.loads(Path(address).read_text(encoding="utf-8"))["address"]
        except (KeyError, TypeError) as error:
            raise ValueError("no address in this file") from error
    get_address_host_port(address)
    return address


def _for_all(model: str) -> str:
    """A model's name or folder as every worker finds it, whatever its current folder and settings are."""
    folder = registry.locate(model)
    return model if folder is None or folder.is_relative_to(registry.SHIPPED) else str(folder.absolute())


def _card(model: str) -> ModelCard:
    folder = registry.locate(model)
    if folder is not None:
        return registry.read_card(folder)
    from GTRStagingLib.model import weights

    return weights.load(model).card


def _taken(future: Any, jobs: dict[Any, Job]) -> Outcome:
    """What became of a job, which is no longer among them."""
    job = jobs.pop(future)
    if future.status != "error":
        outcome: Outcome = future.result()
        return outcome
    error = future.exception()
    if isinstance(error, distributed.KilledWorker):
        return record_failure(job, f"Every worker of the cluster that tried it died: {said(error)}", "")
    if isinstance(error, StagingError):
        raise error  # what a station raises is in the way of every case
    raise MachineError(f"A worker of the cluster cannot do its work: {said(error)}") from error


# -- on a worker of the cluster ------------------------------------------------------------------------------------


class _AtWork(distributed.WorkerPlugin):
    """The station of each worker, those that come later included, for as long as the run and the worker last."""

    def __init__(self, settings: BatchSettings, run: str) -> None:
        self.run = run
        self._settings, self._version = settings, GTRStagingLib.__version__

    def setup(self, worker: Any) -> None:
        """Make it; its processes start with the first case."""
        self._station = WorkerGroup(self._settings, worker.state.nthreads)

    def teardown(self, worker: Any) -> None:
        """End them."""
        self._station.close()

    def stage(self, job: Job) -> Outcome:
        """Stage a case."""
        if self._version != GTRStagingLib.__version__:
            raise InputError(
                f"A worker of the cluster has version {GTRStagingLib.__version__} of this package; expected "
                f"{self._version}, the one that started the batch. Install the same everywhere."
            )
        return self._station.stage(job)


def _stage(job: Job, name: str, run: str) -> Outcome:
    at_work = distributed.get_worker().plugins.get(name)
    if at_work is None or at_work.run != run:
        raise Cancelled("The run that handed out this case has ended.")
    outcome: Outcome = at_work.stage(job)
    return outcome


__all__ = ["Cluster"]
