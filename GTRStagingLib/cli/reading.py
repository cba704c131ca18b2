"""Add the commands `gtrstaging reading design | serve | collect`.

Exit code of collect: 0 the protocol was kept, 1 it was not, or nothing was collected.
"""

import argparse
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import Commands, out_folder, print_notes, progress_bar, whole
from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.reading.expected_widths import ExpectedWidths

KINDS = ("crossed", "halves", "split-plot")
SHOWN_PARTS = ("stage", "votes", "probabilities", "set", "map")
IMAGES = ("copy", "reference")
"""Repeated here, so that `--help` imports no large package; a test compares them with the library's."""

SHOWN = 20
"""Number of printed deviations."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    actions = commands.add_parser("reading", help="design a reader study, and collect its answers").add_subparsers(
        required=True, metavar="ACTION"
    )
    _add_design(actions)
    _add_serve(actions)
    collect = actions.add_parser(
        "collect",
        help="check the answers of a study against its protocol, and write them as tables",
        description="Collect the answers of a reader study: a table for `gtrstaging evaluate`, readings.csv with every "
        "answer and deviations.csv beside it. Exit code 1: the protocol was not kept; the tables are written all the "
        f"same. {RESEARCH_USE_ONLY}",
    )
    collect.set_defaults(run=_collect)
    collect.add_argument("study", type=Path, metavar="STUDY", help="folder of the study, with the readers' folders put "
                         "back")  # fmt: skip
    collect.add_argument("--truth", type=Path, required=True, metavar="FILE", help="table with case_id and stage, such "
                         "as organiser/truth.csv")  # fmt: skip
    collect.add_argument("--predictions", type=Path, required=True, metavar="FILE", help="predictions.csv of the batch")
    collect.add_argument("--out", type=Path, required=True, metavar="TABLE",
                         help="table of the cases, CSV or Parquet")  # fmt: skip


def _add_design(actions: "Commands[argparse.ArgumentParser]") -> None:
    design = actions.add_parser(
        "design",
        help="write the folder of a study, with a folder to hand out for each reader",
        description="Design a reader study in two phases, without and with the model's advice, and simulate what it "
        f"can show. {RESEARCH_USE_ONLY}",
    )
    design.set_defaults(run=_design)
    design.add_argument("cohort", type=Path, metavar="COHORT",
                        help="CSV, XLSX or Parquet with case_id, patient_id, image, stage, and optionally centre, roi, "
                        "key_slice")  # fmt: skip
    design.add_argument("--readers", type=Path, required=True, metavar="FILE", help="table with a column reader: an id "
                        "of each reader")  # fmt: skip
    design.add_argument("--predictions", type=Path, required=True, metavar="DIR", help="output folder of a batch with "
                        "the model's advice for all cases, or its predictions.csv")  # fmt: skip
    design.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="folder of the study")
    plan = design.add_argument_group("design")
    plan.add_argument("--design", dest="kind", choices=KINDS, default="crossed",
                      help="crossed: all cases in both phases; halves: one half unaided, the other aided, as in the "
                      "article; split-plot: groups of readers, each with its part of the cases in both phases "
                      "(default: %(default)s)")  # fmt: skip
    plan.add_argument("--groups", type=whole, default=2, metavar="N", help="groups of a split-plot design (default: "
                      "%(default)s)")  # fmt: skip
    plan.add_argument("--counterbalanced", action="store_true", help="let every other reader begin with the aided "
                      "phase (default: all begin unaided)")  # fmt: skip
    plan.add_argument("--washout-days", type=float, default=28, metavar="DAYS", help="days between the phases "
                      "(default: %(default)s)")  # fmt: skip
    plan.add_argument("--repeats", type=int, default=0, metavar="N", help="cases that each reader reads twice in each "
                      "phase (default: %(default)s)")  # fmt: skip
    plan.add_argument("--training", type=int, default=0, metavar="N", help="cases that are read first and not analysed "
                      "(default: %(default)s)")  # fmt: skip
    plan.add_argument("--seed", type=int, help="seed of orders and codes, which readers must not know (default: drawn)")
    shown = design.add_argument_group("what readers see and do")
    shown.add_argument("--show", dest="shows", nargs="+", choices=SHOWN_PARTS,
                       default=["stage", "probabilities", "map"],
                       help="parts of the advice in the aided phase (default: stage probabilities map)")  # fmt: skip
    shown.add_argument("--no-key-slice", action="store_true", help="do not mark the key slice")
    shown.add_argument("--revise", action="store_true", help="let answers be changed after the next case; both stand")
    shown.add_argument("--window", type=float, nargs=2, default=[50, 350], metavar=("LEVEL", "WIDTH"),
                       help="first window in HU (default: 50 350)")  # fmt: skip
    shown.add_argument("--images", choices=IMAGES, default="copy", help="copy voxels without headers, or refer to the "
                       "files, whose paths and headers readers can see (default: %(default)s)")  # fmt: skip
    shown.add_argument("--keep-advice", action="store_true", help="keep the advice with the organiser, to hand it out "
                       "after the first phase")  # fmt: skip
    assumed = design.add_argument_group("assumptions of the simulation")
    for name, value, text in (
        ("accuracy", 0.6, "mean accuracy of the readers without the model"),
        ("gain", 0.1, "what the model's help adds to it"),
        ("spread", 0.05, "standard deviation of the accuracy between readers"),
        ("agreement", 0.4, "share of the variance of errors that all readers share"),
    ):
        assumed.add_argument(f"--{name}", type=float, default=value, help=f"{text} (default: %(default)s)")
    assumed.add_argument("--studies", type=int, default=200, metavar="N",
                         help="number of simulated studies (default: %(default)s)")  # fmt: skip


def _add_serve(actions: "Commands[argparse.ArgumentParser]") -> None:
    serve = actions.add_parser(
        "serve",
        help="let a reader read in a browser",
        description="Let a reader read in a browser on this machine, until Ctrl+C: open the address that it prints. "
        f"Nothing is loaded from the internet. {RESEARCH_USE_ONLY}",
    )
    serve.set_defaults(run=_serve)
    serve.add_argument("folder", type=Path, metavar="STUDY", help="folder of the study, or of the reader")
    serve.add_argument("--reader", required=True, metavar="NAME", help="id of the reader, as in the readers' table")
    serve.add_argument("--port", type=int, default=0, help="default: one that is free")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all of this machine, "
                       "unencrypted (default: %(default)s, this machine only)")  # fmt: skip


def _design(options: argparse.Namespace) -> None:
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.reading.advice import read_advice
    from GTRStagingLib.reading.designs import KINDS as WORDS
    from GTRStagingLib.reading.designs import Design, schedule
    from GTRStagingLib.reading.expected_widths import Assumptions, expected_widths
    from GTRStagingLib.reading.folders import StudyOptions, write_study
    from GTRStagingLib.reading.plan import Rules
    from GTRStagingLib.reading.readers_table import read_readers

    seed = secrets.randbits(48) if options.seed is None else options.seed
    design = Design(
        kind=options.kind,
        counterbalanced=options.counterbalanced,
        repeats=options.repeats,
        training=options.training,
        groups=options.groups,
        seed=seed,
    )
    rules = Rules(
        washout_days=options.washout_days,
        shows=tuple(part for part in SHOWN_PARTS if part in options.shows),
        marks_key_slice=not options.no_key_slice,
        may_revise=options.revise,
        window_level=options.window[0],
        window_width=options.window[1],
    )
    assumed = Assumptions(accuracy=options.accuracy, gain=options.gain, spread=options.spread,
                          agreement=options.agreement, studies=options.studies, seed=seed)  # fmt: skip
    cohort, readers = read_cohort(options.cohort), read_readers(options.readers)
    print_notes(cohort.notes, options)
    advice = read_advice(options.predictions, [case.case_id for case in cohort], rules.shows)
    planned = schedule(list(cohort), [one.name for one in readers], design)
    days = "day" if rules.washout_days == 1 else "days"
    print(f"{counted(len(readers), 'reader')}, {counted(len(planned.parts), 'case')}: {WORDS[design.kind]}. "
          f"{'Every other reader begins aided' if design.counterbalanced else 'All begin unaided'}, "
          f"{rules.washout_days:g} {days} between the phases, {counted(design.repeats, 'repeat')} in each, "
          f"{counted(len(planned.training), 'training case')}.\n")  # fmt: skip
    found = expected_widths(list(cohort), planned, assumed)
    _print_widths(found)
    with progress_bar(len(cohort)) as progress:
        write_study(
            cohort,
            readers,
            advice,
            options.out,
            StudyOptions(design=design, rules=rules, images=options.images, keep_advice=options.keep_advice),
            progress=progress,
            facts={"expected": found.to_json()},
        )
    print(f"Written: {options.out}. Hand out readers/NAME to each reader, and keep organiser.")
    if options.keep_advice:
        print("After the first phase, copy the folder in organiser/advice/NAME into the folder of each reader.")
    if options.images == "reference":
        print("WARNING: readers can see the paths and headers of the images that their folders refer to.")
    print(RESEARCH_USE_ONLY)


def _print_widths(found: "ExpectedWidths") -> None:
    given = found.assumptions
    print(f"Assumed: accuracy {given.accuracy:g} unaided and {given.accuracy + given.gain:g} aided, standard deviation "
          f"between readers {given.spread:g}; of the variance of errors, {given.agreement:.0%} is shared by all "
          f"readers, and {given.constancy:.0%} by the two phases of one.")  # fmt: skip
    if found.same_stage is not None:
        print(f"Two readers then give the same stage in {found.same_stage:.0%} of the cases.")
    print(f"Expected in {counted(given.studies, 'simulated study', 'simulated studies')}:\n")
    print(f"{'gain in':<12}{'readers':<10}{'mean':>8}{'width of the 95 % interval':>30}{'interval above 0':>20}")
    for one in found.widths:
        width = "not defined"
        if one.width is not None:
            width = f"{one.width:.3f} ({one.narrow:.3f} to {one.wide:.3f})"
        print(f"{one.measure:<12}{one.readers:<10}{one.gain:>+8.3f}{width:>30}{one.found:>20.0%}")
        if one.undefined:
            print(f"WARNING: no interval in {one.undefined} of {given.studies} simulated studies.")
    print("With random readers, the result applies to similar readers; with fixed readers, to these only.\n")


def _serve(options: argparse.Namespace) -> None:
    from GTRStagingLib.reading.plan import reader_folders
    from GTRStagingLib.reading.server import serving
    from GTRStagingLib.reading.session import open_session
    from GTRStagingLib.support.addresses import is_loopback

    folders = reader_folders(options.folder)
    if options.reader not in folders:
        raise InputError(
            f"The folder has no reader {options.reader!r}; expected {' or '.join(folders)}. Check `reader`, or ask "
            "the organiser for your folder."
        )
    with (
        open_session(folders[options.reader], options.reader) as session,
        serving(session, host=options.host, port=options.port) as address,
    ):
        print(f"{options.reader}: {session.progress}. Open {address}")
        if not is_loopback(options.host):
            print("WARNING: images and answers go over the network unencrypted, and whoever has this address can read "
                  "and answer. Use it in a trusted network only.", file=sys.stderr)  # fmt: skip
        print("Keep this window open. Ctrl+C ends the session; every saved answer is on the disk.")
        print(RESEARCH_USE_ONLY, flush=True)
        with suppress(KeyboardInterrupt):  # SIGTERM as well
            while True:
                time.sleep(1)
    print("The session has ended.")


def _collect(options: argparse.Namespace) -> int:
    from GTRStagingLib.reading.collect import collect, write_collected
    from GTRStagingLib.reading.deviations import NOTE

    found = collect(options.study, options.truth, options.predictions)
    written = write_collected(found, options.out)
    print_notes(found.notes, options)
    for name, (answered, planned) in found.answered.items():
        print(f"{name}: {answered} of {counted(planned, 'reading')}")
    for one in found.deviations[:SHOWN]:
        print(f"{one.severity.upper():<10} {one.reader + ': ' if one.reader else ''}{one.sentence}")
    if len(found.deviations) > SHOWN:
        print(f"and {len(found.deviations) - SHOWN} more in {written[2].name}")
    number = sum(one.severity != NOTE for one in found.deviations)
    verdict = "The protocol was kept." if found.kept else f"The protocol was not kept: {counted(number, 'deviation')}."
    print(f"{verdict} Written: {', '.join(str(path) for path in written)}")
    print(f"Next: gtrstaging evaluate {options.out}")
    print(RESEARCH_USE_ONLY)
    return 0 if found.kept else 1


__all__ = ["add_to"]
