"""Map a function over jobs in several processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def parallel_map(work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Yield the result of each job, in the order of the jobs.

    Parameters
    ----------
    workers
        Number of processes; 0 runs the jobs in this process. Processes are spawned, because a process with threads
        (torch, ITK) cannot be forked safely: a calling script needs `if __name__ == "__main__"`.
    """
    if workers < 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(work, jobs)


def _one_thread() -> None:
    """Limit ITK to one thread: with one process per core, more threads would compete."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


__all__ = ["parallel_map"]
