"""Work shared out among processes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def parallel_map(work: Callable[[Job], Outcome], jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """The outcome of each job, in their order.

    Parameters
    ----------
    workers
        Processes; 0 works in this one. They are spawned, because a process that has threads (torch's, ITK's) cannot be
        forked safely: a script that calls this needs its `if __name__ == "__main__"`.
    """
    if workers < 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(work, jobs)


def _one_thread() -> None:
    """There is a process a core: threads of ITK's beside them would only wait for each other."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


__all__ = ["parallel_map"]
