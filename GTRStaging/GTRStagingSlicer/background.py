"""Run work that needs neither MRML nor Qt in a thread, while the main thread keeps the window alive.

Slicer's event loop holds Python's lock, so that a thread gets time only while the main thread waits: `Task.wait` waits
in short intervals, and `loading_view` does so with a timer.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from GTRStagingLib.errors import Cancelled

T = TypeVar("T")
Tell = Callable[..., None]

EVERY_S = 0.02
"""Seconds between two calls of `tick`: the longest that a press of Cancel waits for, besides Python's lock."""


def at_once(work: Callable[[Tell], T], progress: Tell) -> T:
    """Do work in the calling thread; the same call as `Worker.steps` without a thread."""
    return work(progress)


class Task(Generic[T]):
    """Work in a thread of its own, which ends with the application."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: T | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._do, name="GTR Staging", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work goes on."""
        return self._thread.is_alive()

    def _do(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        """Wait for the work, `EVERY_S` seconds at most."""
        self._thread.join(EVERY_S)

    def wait(self, tick: Callable[[], None]) -> T:
        """Return the result of the work, or raise its error; until then call `tick`, which may raise to stop."""
        while self.running:
            self.join()
            tick()
        if self.error is not None:
            raise self.error
        return cast("T", self._value)  # set by the thread, which has ended


class Worker:
    """One thread at a time: a task begins after the one before it has ended, also if nobody waits for that one."""

    def __init__(self) -> None:
        self._task: Task[Any] | None = None

    @property
    def running(self) -> bool:
        """Whether a task goes on, also one that was cancelled and has not reached its next step."""
        return self._task is not None and self._task.running

    def begin(self, work: Callable[[], object]) -> None:
        """Begin work for which nobody waits, unless a task goes on; what needs the result meets its error again."""
        if not self.running:
            self._task = Task(work)

    @property
    def error(self) -> BaseException | None:
        """Error of the last task; None without one, and while it goes on. Slicer's log is for the main thread alone."""
        return None if self._task is None or self._task.running else self._task.error

    def steps(self, work: Callable[[Tell], T], progress: Tell, *, tick: Callable[[], None]) -> T:
        """Do work in a thread, and show its steps in the calling one.

        Parameters
        ----------
        work
            Called in the thread with a function that announces a step.
        progress
            Called in the calling thread with what was announced, in order.
        tick
            Called in the calling thread every `EVERY_S` seconds. An exception that it or `progress` raises leaves the
            work to itself: it stops at its next step, and its result is dropped.
        """
        self.settle(tick)
        told: SimpleQueue[tuple[object, ...]] = SimpleQueue()
        left = threading.Event()

        def tell(*what: object) -> None:
            if left.is_set():
                raise Cancelled("Cancelled by the user")
            told.put(what)

        def each() -> None:
            while not told.empty():
                progress(*told.get())
            tick()

        task = Task(lambda: work(tell))
        self._task = task
        try:
            return task.wait(each)
        finally:
            left.set()

    def settle(self, tick: Callable[[], None] = lambda: None) -> None:
        """Wait for the task before, whose result and error are nobody's any more; call `tick` meanwhile."""
        while self._task is not None and self._task.running:
            self._task.join()
            tick()


__all__ = ["EVERY_S", "Task", "Worker", "at_once"]
