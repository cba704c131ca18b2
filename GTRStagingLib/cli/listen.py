"""Add the command `gtrstaging listen`: receive studies, stage them, and send the results back."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.cli import stage
from GTRStagingLib.cli.arguments import (
    Commands,
    add_device,
    add_dicom_codes,
    add_limits,
    add_model,
    given_limits,
    given_models,
    whole,
    with_flags,
)
from GTRStagingLib.cli.send import add_store
from GTRStagingLib.errors import OutputError, StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.tables.case_files import DICOM

if TYPE_CHECKING:
    from GTRStagingLib.archive.contents import Contents


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    listen = commands.add_parser(
        "listen",
        help="receive studies, stage them, and send the results back",
        description="Receive studies by the DICOM network (C-STORE). A study with an ROI or a key object selection is "
        "staged when no object has come for a while, and its results are sent to an archive; others are left alone. "
        f"{RESEARCH_USE_ONLY}",
    )
    listen.set_defaults(run=_listen)
    listen.add_argument("--spool", type=Path, required=True, metavar="DIR",
                        help="folder for studies until they are done; it contains identifiers")  # fmt: skip
    add_store(listen, required=True)
    listen.add_argument("--known", nargs="+", required=True, metavar="TITLE", help="AE titles that may send")
    listen.add_argument("--title", metavar="TITLE", help="own AE title (default: GTRSTAGING_AE_TITLE, or GTRSTAGING)")
    listen.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all of this machine "
                        "(default: %(default)s, this machine only)")  # fmt: skip
    listen.add_argument("--port", type=int, default=11112, help="default: %(default)s")
    listen.add_argument("--quiet-s", type=float, default=30.0, metavar="S",
                        help="a study is complete without an object for so long (default: %(default)g)")  # fmt: skip
    listen.add_argument("--again-s", type=float, default=60.0, metavar="S", help="time before results that could not "
                        "be sent are sent again (default: %(default)g; doubled each time)")  # fmt: skip
    listen.add_argument("--incomplete-s", type=float, default=3600.0, metavar="S", help="time for objects that were "
                        "refused to be sent again; then their study fails (default: %(default)g)")  # fmt: skip
    listen.add_argument("--spool-mb", type=whole, default=20_000, metavar="MB",
                        help="most that the spool may hold; senders then get 'out of resources' (default: "
                        "%(default)s)")  # fmt: skip
    listen.add_argument("--studies", type=whole, default=100, metavar="N",
                        help="most studies that may wait (default: %(default)s)")  # fmt: skip
    listen.add_argument("--keep", action="store_true", help="keep objects and results of studies that are done")
    add_model(listen)
    add_device(listen)
    add_dicom_codes(listen)
    add_limits(listen)


def _listen(options: argparse.Namespace) -> None:
    from GTRStagingLib.archive.dimse import own_title
    from GTRStagingLib.archive.listener import Listener, ListenSettings
    from GTRStagingLib.archive.sending import Sent, own_objects, send_folder
    from GTRStagingLib.archive.spool import Spool
    from GTRStagingLib.support.isolation import IsolatedProcess

    limits = given_limits(options)
    child = IsolatedProcess(
        _stager, given_models(options), options.device, options.backend, seconds=limits.time_limit,
        memory_mb=limits.memory_limit,
    )  # fmt: skip
    settings = ListenSettings(
        title=options.title or own_title(),
        known=options.known,
        host=options.host,
        port=options.port,
        quiet_s=options.quiet_s,
        again_s=options.again_s,
        incomplete_s=options.incomplete_s,
    )
    spool = Spool(
        options.spool, most_bytes=options.spool_mb << 20, most_studies=options.studies, keep=options.keep
    )  # fmt: skip

    def stage_study(objects: Path, found: "Contents", results: Path) -> str:
        reason: str = child.run(_arguments(options, objects, found, results))
        return with_flags(reason, options.parser)

    def send_results(results: Path) -> Sent:
        files, _ = own_objects(results / DICOM)
        return send_folder(results / DICOM, options.store, files=files)

    listener = Listener(
        settings,
        spool,
        stage_study,
        send_results,
        log=lambda line: print(with_flags(line, options.parser), file=sys.stderr, flush=True),
    )

    def end() -> None:
        listener.stop()
        child.close()  # its study is staged by the next start

    try:
        child.run(None)  # a model that cannot be loaded ends the command, before a study is accepted
        with _ended_by_signals(end):
            listener.run()
    finally:
        child.close()


def _arguments(options: argparse.Namespace, objects: Path, found: "Contents", results: Path) -> list[str]:
    """Return the arguments of `gtrstaging stage` for a received study."""
    by = ["--segmentation", str(found.rois[0])] if found.rois else ["--key-slice", "ko"]
    models = [part for one in options.model or () for part in ("--model", one)]
    shown = ["--cam", options.method, "--target", options.target, "--threshold", str(options.threshold)]
    device = ["--device", options.device, "--backend", options.backend]
    looks = ["--tta"] if options.tta else []
    coded = ["--dicom-codes", options.dicom_codes] if options.dicom_codes else []
    out = ["--out", str(results), "--dicom", str(results / DICOM)]
    return [str(objects), *by, *models, *shown, *device, *looks, *coded, *out]


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Call a function at the first SIGTERM or SIGINT, in place of an interruption."""
    before = {number: signal.signal(number, lambda *_: end()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- in the child --------------------------------------------------------------------------------------------------


def _stager(models: tuple[str, ...], device: str, backend: str) -> Callable[[list[str] | None], str]:
    """Return the function that runs `gtrstaging stage` and returns why it failed, or an empty text.

    Raises
    ------
    StagingError
        If the models cannot be loaded.
    """
    from GTRStagingLib.model.backbone import load_models

    load_models(models, device, backend)
    parser = argparse.ArgumentParser(prog="gtrstaging", exit_on_error=False)
    commands: Any = parser.add_subparsers()
    stage.add_to(commands)

    def work(arguments: list[str] | None) -> str:
        if arguments is None:
            return ""
        with redirect_stdout(sys.stderr), redirect_stderr(sys.stderr):
            options = parser.parse_args(["stage", *arguments])
            options.parser = commands.choices["stage"]
            try:
                options.run(options)
            except OutputError:  # as a full disk: the study is staged again later
                raise
            except StagingError as error:
                return str(error)
            return ""

    return work
