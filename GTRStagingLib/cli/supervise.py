"""Run a command in a child process, and report its end if a file crashes it or the system kills it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from GTRStagingLib.support.isolation import die_with_parent, how_it_ended

VARIABLE = "GTRSTAGING_SUPERVISED"
"""Environment variable of the child, which runs the command itself."""

CRASHED = 0xC0000000
"""Smallest exit code of a crash on Windows."""


def is_child() -> bool:
    """Return whether this process is the child; then Linux also ends it when the supervising process ends."""
    if os.environ.pop(VARIABLE, None) is None:  # removed, so that commands that the child starts are supervised
        return False
    die_with_parent()
    return True


def run_child(arguments: Sequence[str]) -> int:
    """Run `gtrstaging ARGUMENTS` in a child with this process's streams, and return the exit code.

    SIGINT and SIGTERM are passed on. If the child did not end by itself, the reason is printed.
    """
    # The child imports from the same path, as in `support.isolation`.
    start = f"import sys; sys.path[:] = {sys.path!r}; from GTRStagingLib.cli.main import main; sys.exit(main())"
    sent: list[int] = []
    with _passed_on(sent) as child:
        process = subprocess.Popen(  # noqa: S603 (this Python, without a shell)
            [sys.executable, "-c", start, *arguments], env={**os.environ, VARIABLE: "1"}
        )
        child.append(process)
        for number in sent:  # a signal before the child existed
            _send(process, number)
        code = process.wait()
    if os.name == "nt" and code >= CRASHED:
        _report(f"crashed (code {code:#x}).")
    elif code >= 0:
        return code
    elif -code in (signal.SIGINT, signal.SIGTERM):
        print("gtrstaging: interrupted; no half-written file was left.", file=sys.stderr)
    else:
        _report(how_it_ended(code))
    return 1


def _report(how: str) -> None:
    print(
        f"gtrstaging: The process that reads the files {how} Expected a result or an error. A file may be damaged, or "
        "too large for this machine: check its size, export it again, or free memory.",
        file=sys.stderr,
    )


@contextmanager
def _passed_on(sent: list[int]) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Pass SIGINT and SIGTERM on to the child in the yielded list, or keep them in `sent` until there is one."""
    child: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if child:
            _send(child[0], number)
        else:
            sent.append(number)

    ours = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in ours}
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(process: "subprocess.Popen[bytes]", number: int) -> None:
    if os.name == "posix":  # elsewhere, Ctrl-C reaches the child by itself
        with suppress(ProcessLookupError):
            process.send_signal(number)


__all__ = ["VARIABLE", "is_child", "run_child"]
