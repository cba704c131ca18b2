"""Run jobs, one at a time, in a child process that may crash, hang or run out of memory without harm to the caller.

The child is started as a program, not by `multiprocessing`, since workers of a cluster may not have `multiprocessing`
children. It receives jobs on its standard input and sends answers on its standard output, both pickled; output of
libraries goes to its standard error, which is kept for the record of a job during which the child died.
"""

import faulthandler
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import StagingError

Work = Callable[[Any], Any]
Setup = Callable[..., Work]
"""Function that the child calls once; its return value runs the jobs."""

LOG_LENGTH = 20_000
"""Characters kept of a dead child's standard error; a crash report ends with a list of all compiled modules."""

OUT_OF_MEMORY = "The case exceeded the memory limit. Raise `memory_limit`."

TRIES = 2
"""Attempts at a job that ends its process: the machine may have caused the first failure."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that limit the threads of the numeric libraries."""


@dataclass(frozen=True)
class Limits:
    """Limits of one job that reads a file: a hundred times the needs of a large CT.

    Attributes
    ----------
    time_limit
        Seconds; None: no limit.
    memory_limit
        Megabytes beyond those of the process after its setup; None: no limit. Only Linux enforces it.
    """

    time_limit: float | None = 600.0
    memory_limit: int | None = 8192


class DiedError(StagingError):
    """Death of the child process during a job.

    Attributes
    ----------
    log
        End of its output, with the traceback of a crash.
    overtime
        Whether it was killed because the job exceeded the time limit.
    """

    def __init__(self, message: str, log: str = "", *, overtime: bool = False) -> None:
        super().__init__(message)
        self.log, self.overtime = log, overtime


class IsolatedProcess:
    """Child process that runs jobs, and is restarted if it has died.

    Parameters
    ----------
    setup, arguments
        Function of a module, and its arguments, that the child calls to get the function that runs jobs; pickled.
    seconds
        Time limit of a job; the process is killed if a job takes longer. None: no limit.
    memory_mb
        Memory that a job may use beyond that of the process after its setup. Only Linux enforces it. None: no limit.
    threads
        Threads of the numeric libraries; by default one per core.
    """

    def __init__(
        self,
        setup: Setup,
        *arguments: Any,
        seconds: float | None = None,
        memory_mb: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._setup = (setup, arguments, memory_mb)
        self._seconds, self._threads = seconds, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()

    @property
    def pid(self) -> int | None:
        """Process id; None if no process runs."""
        return None if self._process is None else self._process.pid

    def run(self, job: Any) -> Any:
        """Run a job in the child, and return its result.

        Raises
        ------
        DiedError
            If the process ended, or was killed because the job exceeded the time limit.
        Exception
            Any exception of the job.
        """
        process = self._running()
        self._log.truncate(0)
        overtime = threading.Event()

        def end() -> None:
            overtime.set()
            process.kill()

        clock = threading.Timer(self._seconds or 0, end)
        if self._seconds is not None:
            clock.daemon = True
            clock.start()
        try:
            answer = self._ask(process, job)
        finally:
            clock.cancel()
        if answer is None:
            raise self._death(process, overtime.is_set())
        good, value = answer
        if good:
            return value
        raise value

    def close(self) -> None:
        """End the process immediately, even during a job."""
        self._closed.set()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._closed.is_set():
            raise DiedError("The work was stopped.")
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._discard()
        # The child imports from the same path: Slicer's Python and a source tree set their own.
        start = f"import sys; sys.path[:] = {sys.path!r}; from GTRStagingLib.support.isolation import serve; serve()"
        limits = {} if self._threads is None else dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        # In append mode, truncation between jobs leaves no hole.
        self._log = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (open as long as the process runs)
        self._process = subprocess.Popen(  # noqa: S603 (this Python, without a shell)
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **limits, "PYTHONUNBUFFERED": "1"},
        )
        if self._closed.is_set():  # closed by another thread, which may not have seen this process
            self._discard()
            raise DiedError("The work was stopped.")
        begun = self._ask(self._process, self._setup)
        if begun is None:
            raise self._death(self._process, overtime=False)
        good, value = begun
        if not good:
            self._discard()
            raise value
        return self._process

    def _ask(self, process: "subprocess.Popen[bytes]", message: Any) -> tuple[bool, Any] | None:
        """Send a message and return the answer; None if the process ended without an answer."""
        assert process.stdin is not None  # noqa: S101 (for the type checker: both are pipes)
        assert process.stdout is not None  # noqa: S101
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            answer: tuple[bool, Any] = pickle.load(process.stdout)  # noqa: S301 (our own child)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        return answer

    def _death(self, process: "subprocess.Popen[bytes]", overtime: bool) -> DiedError:
        process.kill()
        code = process.wait()
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")[-LOG_LENGTH:]
        self._discard()
        if overtime:
            return DiedError(
                f"The case exceeded the time limit ({self._seconds:g} s) and was stopped. Check its files, or raise "
                "`time_limit`.", log, overtime=True)  # fmt: skip
        return DiedError(f"The process of the case {how_it_ended(code)} The files of the case may be damaged.", log)

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # unsent data has no receiver
                        pipe.close()
            self._log.close()


def how_it_ended(code: int) -> str:
    """Return the end of a process as the predicate of a sentence, from its exit code; a signal is negative.

    Examples
    --------
    >>> from GTRStagingLib.support.isolation import how_it_ended
    >>> how_it_ended(-11)
    'was ended by SIGSEGV.'
    >>> how_it_ended(3)
    'ended with code 3.'
    """
    if code >= 0:
        return f"ended with code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    # The system kills without a message when memory runs out.
    return f"was ended by {name}." + (" The machine may have run out of memory." if name == "SIGKILL" else "")


def error_text(error: BaseException) -> str:
    """Return an error of a job as one line of text, preceded by its type unless it is a `StagingError`."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    text = " ".join(str(error).split())
    return text if isinstance(error, StagingError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, is a failed allocation, also if only its message reports it."""
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError) or "bad_alloc" in words or "failed to allocate memory" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


# -- in the child --------------------------------------------------------------------------------------------------


def serve() -> None:
    """Run the child: set up, then run jobs until the parent ends."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not be read as an answer
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs, received), daemon=True).start()
    die_with_parent()
    work: Work | None = None
    while True:
        message = received.get()
        try:
            if work is None:
                setup, arguments, memory_mb = message
                work = setup(*arguments)
                _limit_memory(memory_mb)
                answer: tuple[bool, Any] = (True, None)
            else:
                answer = (True, work(message))
        except BaseException as error:
            answer = (False, _portable(error))
        pickle.dump(answer, answers)
        answers.flush()


def _read_jobs(jobs: Any, received: "queue.SimpleQueue[Any]") -> None:
    """Read jobs, and end the process when the parent has ended, or if a job cannot be unpickled here."""
    try:
        while True:
            received.put(pickle.load(jobs))  # noqa: S301 (our own parent)
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(1)
    except BaseException:  # a module is missing, for example: without an end, both sides would wait
        traceback.print_exc()
        os._exit(1)


def die_with_parent() -> None:
    """Have Linux kill the child with its parent: a library that blocks the interpreter also blocks `_read_jobs`."""
    if sys.platform.startswith("linux"):
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _limit_memory(memory_mb: int | None) -> None:
    if memory_mb is None or not sys.platform.startswith("linux"):
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = pages * resource.getpagesize() + memory_mb * 2**20
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _portable(error: BaseException) -> BaseException:
    """Return the error if it can be pickled; else, and if it would end a program, one with the same message."""
    try:
        if not isinstance(error, Exception):
            return StagingError(f"{type(error).__name__}: {error}")
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return StagingError(f"{type(error).__name__}: {error}")
    return error


__all__ = [
    "OUT_OF_MEMORY",
    "TRIES",
    "DiedError",
    "IsolatedProcess",
    "Limits",
    "die_with_parent",
    "error_text",
    "how_it_ended",
    "is_out_of_memory",
]
