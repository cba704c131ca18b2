"""Run the command line: `gtrstaging stage | profile | batch | evaluate | radscore | nomogram | train | models | …`.

Exit codes: 0 done, 1 failed (stderr contains the reason) or errors found, 2 wrong arguments. Of `monitor`, 1 is an
alarm, and 2 also a failure.
"""

import argparse
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import GTRStagingLib
from GTRStagingLib.cli import (
    batch,
    cohort,
    evaluate,
    listen,
    models,
    monitor,
    nomogram,
    phantom,
    profile,
    radscore,
    read_sr,
    reading,
    send,
    stage,
    supervise,
    train,
)
from GTRStagingLib.cli.arguments import every_parser, shown_error
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.extras import missing_extra


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    As a program (without `arguments`), a command that reads images in its process runs in a supervised child.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    contradiction_of: Callable[[argparse.Namespace], str | None] | None = getattr(options, "contradiction", None)
    if contradiction_of is not None and (contradiction := contradiction_of(options)):
        options.parser.error(contradiction)
    run: Callable[[argparse.Namespace], int | None] = options.run
    failure: int = getattr(options, "failure", 1)  # exit code of a command that gives no answer
    if arguments is None and getattr(options, "supervised", False) and not supervise.is_child():
        with suppress(OSError):  # the machine starts no process: the command runs in this one
            return supervise.run_child(sys.argv[1:])
    try:
        with _terminated_as_interrupted():
            code = run(options) or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # The reader has closed the pipe; without this, Python would report an error when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failure
    except StagingError as error:
        print(f"gtrstaging: {shown_error(error, options)}", file=sys.stderr)
        return failure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "torchvision"):
            raise
        print(f"gtrstaging: {missing_extra('PyTorch, which is not installed', 'This needs', 'torch')}", file=sys.stderr)
        return failure
    except MemoryError:
        print("gtrstaging: The memory of this machine does not suffice. Free memory, or check the size of the files.",
              file=sys.stderr)  # fmt: skip
        return failure
    except OSError as error:
        shown = shown_error(error, options)
        print(f"gtrstaging: {shown}. Check the path, its permissions and the free space.", file=sys.stderr)
        return failure
    except KeyboardInterrupt:
        print("gtrstaging: interrupted; no half-written file was left.", file=sys.stderr)
        return failure


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that a run cleans up; do nothing in a thread, which cannot handle signals.

    A signal that repeats within a second is ignored: a terminal sends Ctrl-C to a supervised child and to its parent,
    which passes it on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -math.inf
    ours = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        ours.append(signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 1:
            last = now
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; the parsed options contain the command's own parser as `parser`."""
    parser = argparse.ArgumentParser(
        prog="gtrstaging", description=f"T staging of gastric cancer on portal-venous CT. {RESEARCH_USE_ONLY}"
    )
    parser.add_argument("--version", action="version", version=f"gtrstaging {GTRStagingLib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stage.add_to(commands)
    profile.add_to(commands)
    batch.add_to(commands)
    read_sr.add_to(commands)
    send.add_to(commands)
    listen.add_to(commands)
    evaluate.add_to(commands)
    radscore.add_to(commands)
    nomogram.add_to(commands)
    train.add_to(commands)
    models.add_to(commands)
    phantom.add_to(commands)
    cohort.add_to(commands)
    monitor.add_to(commands)
    reading.add_to(commands)
    for command in every_parser(parser):
        command.set_defaults(parser=command)  # `options.parser` reports wrong arguments and has the flags
    return parser
