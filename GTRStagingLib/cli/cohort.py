"""Add the commands `gtrstaging cohort split | audit`.

Exit code of an audit: 0 clean, 1 leaks or errors, 2 wrong arguments.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    COLUMNS,
    PATIENT_PATTERN,
    Commands,
    add_limits,
    given_limits,
    print_notes,
    regular_expression,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from GTRStagingLib.cohort.audit import Audit, SplitSummary

_SEVERITIES = {"leak": "leak", "fault": "error", "note": "note"}
"""Severity of a finding -> its printed word."""

SHOWN = 3
"""Number of printed examples of a finding; --json lists all."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    actions = commands.add_parser("cohort", help="split a cohort by patient; audit it for leaks").add_subparsers(
        required=True, metavar="ACTION"
    )
    split = actions.add_parser(
        "split",
        help="split patients into train, validation, test and calibration, stratified by stage",
        description="Split the patients of a cohort into train, validation, test and, if asked for, calibration, "
        "stratified by stage, and write the cohort table with the column split.",
    )
    split.set_defaults(run=_split)
    split.add_argument("cohort", type=Path, help="CSV, XLSX or Parquet, one row per case")
    split.add_argument(
        "--out", type=Path, required=True, metavar="TABLE", help="cohort table with the column split, CSV or Parquet"
    )
    split.add_argument(
        "--fractions",
        type=float,
        nargs=3,
        default=(0.7, 0.15, 0.15),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="shares of the patients in train, validation and test (default: 0.7 0.15 0.15)",
    )
    split.add_argument("--calibration", type=float, metavar="SHARE", help="share of the patients in calibration, for "
                       "the stage sets; the four shares have sum 1 (default: no such split)")  # fmt: skip
    split.add_argument(
        "--seed", type=int, default=0, help="seed; equal seeds give the same split (default: %(default)s)"
    )
    split.add_argument("--test-centre", dest="test_centres", action="append", default=[], metavar="NAME",
                       help="use exactly the patients of this centre as the split test; may be repeated")  # fmt: skip
    check = actions.add_parser("audit", help="find leaks, contradictions and missing files",
                               description="Exit code 0: clean; 1: leaks or errors found.")  # fmt: skip
    check.set_defaults(run=_audit, supervised=True, columns=COLUMNS, shared=True)
    check.add_argument("cohort", type=Path, nargs="?", help="CSV, XLSX or Parquet, one row per case")
    check.add_argument("--no-content", action="store_true", help="do not read the images")
    check.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="number of processes "
                       "that read images (default: one per core); 0 reads them in this process, without "
                       "limits")  # fmt: skip
    add_limits(check)
    check.add_argument("--json", action="store_true", help="print only the findings, all of them, as JSON")
    foreign = check.add_argument_group("splits as separate files, instead of COHORT")
    foreign.add_argument("--split", type=_side, action="append", default=[], metavar="NAME=FILE",
                         help="file of one split; repeat the option for each split")  # fmt: skip
    foreign.add_argument("--patient-pattern", type=regular_expression, metavar="REGEX", help=PATIENT_PATTERN)
    foreign.add_argument("--id-column", metavar="COLUMN", help="column with the id of a row (default: detected)")
    foreign.add_argument(
        "--covariates", type=Path, metavar="FILE", help="table of covariates, one row per id or patient"
    )


def _side(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r}; expected NAME=FILE, as in train=train.csv")
    return name, Path(file)


def _split(options: argparse.Namespace) -> None:
    from GTRStagingLib.cohort.audit import audit
    from GTRStagingLib.cohort.cohort import read_cohort, split_cohort, write_cohort

    read = read_cohort(options.cohort)
    print_notes(read.notes, options)
    fourth = () if options.calibration is None else (options.calibration,)
    cohort = split_cohort(read, (*options.fractions, *fourth), seed=options.seed, test_centres=options.test_centres)
    write_cohort(cohort, options.out)
    _print_sides(audit(cohort, content=False).splits)
    print(f"Written: {options.out}, seed {options.seed}. Check it: gtrstaging cohort audit {options.out}")
    print(RESEARCH_USE_ONLY)


def _audit(options: argparse.Namespace) -> int:
    sides = dict(options.split)
    if (options.cohort is None) == (not sides):
        options.parser.error("expected either COHORT, or --split NAME=FILE for each split")
    if len(sides) != len(options.split) or len(sides) == 1:
        options.parser.error("--split: expected two or more splits with different names")
    if options.cohort is not None and (options.patient_pattern or options.id_column or options.covariates):
        options.parser.error("--patient-pattern, --id-column and --covariates require --split")
    from GTRStagingLib.cohort.audit import audit, audit_partitions
    from GTRStagingLib.cohort.cohort import read_cohort

    if sides:
        found = audit_partitions(sides, options.patient_pattern, options.covariates, id_column=options.id_column)
    else:
        found = audit(read_cohort(options.cohort), content=not options.no_content, progress=_progress(),
                      workers=options.workers, limits=given_limits(options))  # fmt: skip
    print_notes(found.notes, options)
    if options.json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        _print(found)
    return 0 if found.ok else 1


def _progress() -> Callable[[str], None] | None:
    """Return a function that prints each image on a terminal; None elsewhere."""
    return (lambda case: print(f"read {case}", file=sys.stderr)) if sys.stderr.isatty() else None


def _print_sides(sides: "Sequence[SplitSummary]") -> None:
    stages = sorted({stage for side in sides for stage in side.stages})
    print(f"{'':<12}{'rows':>8}{'patients':>10}" + "".join(f"{stage:>6}" for stage in stages))
    for side in sides:
        counts = "".join(f"{side.stages.get(stage, 0):>6}" for stage in stages)
        print(f"{side.name or '(no split)':<12}{side.rows:>8}{side.patients:>10}{counts}")
    print()


def _print(found: "Audit") -> None:
    _print_sides(found.splits)
    for finding in found.findings:
        print(f"{_SEVERITIES[finding.severity].upper():<6} {finding.kind}: {finding.sentence}")
        for example in finding.examples[:SHOWN]:
            print(f"         {example}")
        if len(finding.examples) > SHOWN:
            print(f"         and {len(finding.examples) - SHOWN} more (--json lists them)")
        print(f"       {finding.remedy}\n")
    print(f"Checked: {'; '.join(found.looked_at)}.")
    count = {text: sum(f.severity == s for f in found.findings) for s, text in _SEVERITIES.items()}
    verdict = "CLEAN" if found.ok else "NOT CLEAN"
    print(f"{verdict}: " + ", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in count.items()))
    print(RESEARCH_USE_ONLY)
