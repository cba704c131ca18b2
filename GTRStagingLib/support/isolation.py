"""One job at a time in a process of its own, which may crash, hang or eat memory without taking anything along.

The child is started as a program, not by `multiprocessing`: the workers of a cluster may have no children of that kind.
It hears jobs on its standard input and answers on its standard output, both pickled; whatever libraries print goes to
its standard error, which is kept for the record of a job that it does not survive.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import StagingError

Work = Callable[[Any], Any]
Setup = Callable[..., Work]
"""Called once in the child; what it returns does the jobs."""

LAST_WORDS = 20_000
"""Characters of a dead child's standard error that are kept: a crash ends with a list of all compiled modules."""


POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What tells the numeric libraries how many threads they may have."""


class DiedError(StagingError):
    """The process did not survive its job.

    Attributes
    ----------
    log
        The end of what it printed, a crash's traceback included.
    overtime
        Whether it was killed for the time that it took.
    """

    def __init__(self, message: str, log: str = "", *, overtime: bool = False) -> None:
        super().__init__(message)
        self.log, self.overtime = log, overtime


class Isolated:
    """A child process that does jobs, and is started anew where it has died.

    Parameters
    ----------
    setup, arguments
        What makes the child's work: a function of a module, and what it is called with; they are pickled.
    seconds
        A job that takes longer is killed, with the process that does it. None: no limit.
    memory_mb
        What a job may take beyond what the process has after its setup. Where the system does not enforce it (only
        Linux does), nothing is limited. None: no limit.
    threads
        Of the numeric libraries, whose pools are as large as the machine otherwise.
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
        """Of the process, None where none runs."""
        return None if self._process is None else self._process.pid

    def run(self, job: Any) -> Any:
        """Have a job done, and give its outcome.

        Raises
        ------
        DiedError
            If the process ended, or was killed for the time that it took.
        Exception
            Whatever the work raised.
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
        """End the process at once, in the middle of a job too."""
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
        # The same modules as here, wherever they come from: Slicer's Python and a source tree set their own path.
        start = f"import sys; sys.path[:] = {sys.path!r}; from GTRStagingLib.support.isolation import serve; serve()"
        limits = {} if self._threads is None else dict.fromkeys(POOLS, str(self._threads))
        # Appending, so that emptying it between jobs leaves no hole.
        self._log = tempfile.TemporaryFile(mode="a+b")  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603 (this Python, without a shell)
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **limits, "PYTHONUNBUFFERED": "1"},
        )
        if self._closed.is_set():  # meanwhile, by another thread, which may not have seen this process
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
        """The answer to a message; None if the process ended without one."""
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
        log = self._log.read().decode(errors="replace")[-LAST_WORDS:]
        self._discard()
        if overtime:
            return DiedError(
                f"It took longer than {self._seconds:g} s and was stopped; expected less. Look at its files, or allow "
                "more with --time-limit.", log, overtime=True)  # fmt: skip
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"
        # Where memory is short the system kills without a word.
        memory = " The machine may have run out of memory." if code == -getattr(signal, "SIGKILL", 9) else ""
        return DiedError(f"The process that worked on it {how}.{memory} Its files may be damaged.", log)

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not yet sent has no receiver
                        pipe.close()
            self._log.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# -- in the child --------------------------------------------------------------------------------------------------


def serve() -> None:
    """The child's life: set up, then job after job, until the parent is gone."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints is taken for an answer
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(jobs, heard), daemon=True).start()
    _die_with_parent()
    work: Work | None = None
    while True:
        message = heard.get()
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


def _hear(jobs: Any, heard: "queue.SimpleQueue[Any]") -> None:
    """Read jobs; where the parent is gone, there is nobody to work for."""
    try:
        while True:
            heard.put(pickle.load(jobs))  # noqa: S301 (our own parent)
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(1)


def _die_with_parent() -> None:
    """A library that reads for ever may hold the interpreter, so that `_hear` never ends the process: Linux does."""
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
    """The error, if it comes through a pipe as it is; else one that says the same, as of what would end a program."""
    try:
        if not isinstance(error, Exception):
            return StagingError(f"{type(error).__name__}: {error}")
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return StagingError(f"{type(error).__name__}: {error}")
    return error


__all__ = ["DiedError", "Isolated"]
