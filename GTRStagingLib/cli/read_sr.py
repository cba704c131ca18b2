"""Add the command `gtrstaging read-sr`: make a table of predictions from structured reports."""

import argparse
from pathlib import Path

from GTRStagingLib.cli.arguments import Commands, print_notes, shown_place
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    command = commands.add_parser(
        "read-sr",
        help="make a table of predictions from structured reports",
        description="Read the structured reports of --dicom back from files of an archive, and write a table with the "
        f"columns of a batch, which `gtrstaging evaluate` reads. {RESEARCH_USE_ONLY}",
    )
    command.set_defaults(run=_read_sr, shared=True)
    command.add_argument("reports", type=Path, nargs="+", metavar="PATH", help="DICOM files, or folders that contain "
                         "them at any depth; other objects are passed over")  # fmt: skip
    command.add_argument("--out", type=Path, required=True, metavar="TABLE", help="new table: .csv or .parquet")


def _read_sr(options: argparse.Namespace) -> None:
    from GTRStagingLib.batch.report_rows import write_report_table
    from GTRStagingLib.dicom_results.read_report import read_reports
    from GTRStagingLib.support.files import require_file_can_be_written

    require_file_can_be_written(options.out)
    found = read_reports(options.reports)
    print_notes(found.notes, options)
    write_report_table(found.reports, options.out)
    print(f"{counted(len(found.reports), 'report')} of {counted(len(found.reports), 'case')} written to "
          f"{shown_place(options.out)}")  # fmt: skip
    print(RESEARCH_USE_ONLY)
