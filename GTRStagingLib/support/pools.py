"""Map a function over jobs in several processes; a job that ends its process, or exceeds a limit, fails alone."""

import pickle
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import spawn
from typing import Any, TypeVar

from GTRStagingLib.errors import Cancelled, MachineError, StagingError
from GTRStagingLib.support.isolation import TRIES, DiedError, IsolatedProcess, Limits
from GTRStagingLib.support.shared_text import shared_error

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

DEFAULT_LIMITS = Limits()


def parallel_map(
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    workers: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    failed: Callable[[Job, str], Outcome] | None = None,
    threads: int | None = 1,
) -> Iterator[Outcome]:
    """Yield the result of each job, in the order of the jobs.

    Parameters
    ----------
    work
        Function of a module; it and the jobs are pickled.
    workers
        Number of processes; a job that crashes ends its process only, and is tried once more, alone. 0 runs the jobs in
        this process, without limits; a crash then ends the caller. A function of a script needs
        `if __name__ == "__main__"` in the script.
    limits
        Limits of each job.
    failed
        Called with a job and the reason if the job raised an error, ended its process or exceeded a limit; returns the
        result to yield. None: the error is raised.
    threads
        Threads of the numeric libraries in each process: with one process per core, more would compete. None: one per
        core.

    Raises
    ------
    StagingError
        If a job ended its process or exceeded the time limit, and `failed` is None.
    """
    if workers < 1:
        for job in jobs:
            yield _outcome(partial(work, job), job, failed)
        return
    with _Pool(work, min(workers, len(jobs)), limits, threads) as pool:
        futures = deque(pool.submit(job) for job in jobs)
        for number, job in enumerate(jobs, 1):
            try:
                yield _outcome(futures.popleft().result, job, failed)
            except DiedError as error:
                raise StagingError(f"Job {number} of {len(jobs)}: {error}") from error


def _outcome(attempt: Callable[[], Outcome], job: Job, failed: Callable[[Job, str], Outcome] | None) -> Outcome:
    try:
        return attempt()
    except (Cancelled, MachineError):  # these concern every job
        raise
    except Exception as error:
        if failed is None:
            raise
        return failed(job, shared_error(error))


class _Pool:
    """Processes, each with a thread that waits for its answers."""

    def __init__(self, work: Callable[[Any], Any], count: int, limits: Limits, threads: int | None) -> None:
        packed = _main_module(work), pickle.dumps(work)
        self._threads = ThreadPoolExecutor(max(count, 1))
        self._retry = threading.Lock()
        self._all = [
            IsolatedProcess(
                _worker, *packed, threads, seconds=limits.time_limit, memory_mb=limits.memory_limit, threads=threads
            )
            for _ in range(count)
        ]
        self._idle: queue.SimpleQueue[IsolatedProcess] = queue.SimpleQueue()
        for process in self._all:
            self._idle.put(process)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Any) -> "Future[Any]":
        """Return the future result of a job."""
        return self._threads.submit(self._run, job)

    def _run(self, job: Any) -> Any:
        process = self._idle.get()
        try:
            for attempt in range(1, TRIES + 1):
                try:
                    # One retry at a time: several large jobs may have taken the memory from each other.
                    with self._retry if attempt > 1 else nullcontext():
                        return process.run(job)
                except DiedError as error:
                    if error.overtime or attempt == TRIES:
                        raise
        finally:
            self._idle.put(process)


def _main_module(work: Callable[[Any], Any]) -> dict[str, Any]:
    """Return how a child imports the script that defines `work`; empty for a function of a module."""
    if work.__module__ != "__main__":
        return {}
    whole = spawn.get_preparation_data("")
    return {name: whole[name] for name in ("init_main_from_name", "init_main_from_path") if name in whole}


def _worker(main: dict[str, Any], work: bytes, threads: int | None) -> Callable[[Any], Any]:
    """Return the function that a process runs on a job; the setup of an `IsolatedProcess`."""
    if threads is not None:
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    spawn.prepare(main)
    found: Callable[[Any], Any] = pickle.loads(work)  # noqa: S301 (of our own parent)
    return found


__all__ = ["DEFAULT_LIMITS", "parallel_map"]
