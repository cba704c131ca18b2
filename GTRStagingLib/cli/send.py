"""Add the command `gtrstaging send`: send the DICOM objects of a folder to an archive."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GTRStagingLib.cli.arguments import Commands, counting_bar
from GTRStagingLib.errors import StagingError, without_backticks
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.addresses import DimseAddress, WebAddress, parse_store_address
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.archive.sending import Sent


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    send = commands.add_parser(
        "send",
        help="send DICOM results to an archive",
        description="Send the DICOM results in a folder to an archive, and no other objects. Those that it has are not "
        f"sent again; what could not be sent waits in the folder for the next call. {RESEARCH_USE_ONLY}",
    )
    send.set_defaults(run=_send)
    send.add_argument("folder", type=Path, metavar="DIR", help="folder with DICOM results, also in sub-folders")
    add_store(send, required=True)


def add_store(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add --store."""
    parser.add_argument("--store", type=store_address, metavar="ADDRESS", required=required,
                        help="archive: dicomweb:https://HOST/PATH, or dicom://TITLE@HOST:PORT")  # fmt: skip


def store_contradiction(options: argparse.Namespace) -> str | None:
    """Return why --store cannot be, or None: it sends what --dicom writes."""
    if options.store is None or options.dicom:
        return None
    return "--store requires --dicom: it sends the DICOM objects that this writes"


def store_address(text: str) -> WebAddress | DimseAddress:
    """Parse the address of an archive that results are sent to."""
    try:
        return parse_store_address(text)
    except StagingError as error:
        raise argparse.ArgumentTypeError(without_backticks(error)) from error


def _send(options: argparse.Namespace) -> int:
    from GTRStagingLib.archive.sending import own_objects, send_folder

    files, others = own_objects(options.folder)
    with counting_bar() as progress:
        sent = send_folder(options.folder, options.store, files=files, progress=progress)
    print_sent(sent, options.folder)
    if others:
        print(f"gtrstaging: {counted(others, 'object')} of other software left: only results are sent", file=sys.stderr)
    return 0 if sent.complete else 1


def print_sent(sent: "Sent", folder: Path, *, file: "TextIO | None" = None) -> None:
    """Print what was sent, to `file` or stdout, and on stderr what was not, with the remedy."""
    print(f"{sent.summary()}.", file=file)
    for reason in sent.reasons:
        print(f"gtrstaging: {reason}", file=sys.stderr)
    if sent.problem:
        print(f"gtrstaging: {sent.problem}", file=sys.stderr)
    if not sent.complete:
        print(f"gtrstaging: what is missing is kept in {folder}; send it: gtrstaging send {folder} --store ADDRESS",
              file=sys.stderr)  # fmt: skip
