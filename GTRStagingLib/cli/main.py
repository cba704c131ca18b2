"""Run the command line: `gtrstaging stage | batch | evaluate | radscore | nomogram | train | models | …`.

Exit codes: 0 done, 1 failed (stderr contains the reason) or errors found, 2 wrong arguments.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import GTRStagingLib
from GTRStagingLib.cli import batch, cohort, evaluate, models, nomogram, phantom, radscore, stage, train
from GTRStagingLib.cli.arguments import every_parser, with_flags
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    contradiction_of: Callable[[argparse.Namespace], str | None] | None = getattr(options, "contradiction", None)
    if contradiction_of is not None and (contradiction := contradiction_of(options)):
        options.parser.error(contradiction)
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        with _terminated_as_interrupted():
            code = run(options) or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # The reader has closed the pipe; without this, Python would report an error when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except StagingError as error:
        print(f"gtrstaging: {with_flags(str(error), options.parser)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"gtrstaging: {error}. Check the path, its permissions and the free space.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gtrstaging: interrupted; no half-written file was left.", file=sys.stderr)
        return 1


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that a run cleans up; do nothing in a thread, which cannot handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; the parsed options contain the command's own parser as `parser`."""
    parser = argparse.ArgumentParser(
        prog="gtrstaging", description=f"T staging of gastric cancer on portal-venous CT. {RESEARCH_USE_ONLY}"
    )
    parser.add_argument("--version", action="version", version=f"gtrstaging {GTRStagingLib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stage.add_to(commands)
    batch.add_to(commands)
    evaluate.add_to(commands)
    radscore.add_to(commands)
    nomogram.add_to(commands)
    train.add_to(commands)
    models.add_to(commands)
    phantom.add_to(commands)
    cohort.add_to(commands)
    for command in every_parser(parser):
        command.set_defaults(parser=command)  # `options.parser` reports wrong arguments and has the flags
    return parser
