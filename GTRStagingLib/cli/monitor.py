"""Add the command `gtrstaging monitor`: watch finished batches over time."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import Commands, folder_path, number, out_folder, print_notes, shown_place
from GTRStagingLib.stages import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from GTRStagingLib.monitoring.measures import Baseline
    from GTRStagingLib.monitoring.watch import Watch

NO_ANSWER = 2
"""Exit code where neither an alarm nor its absence is known; 1 is an alarm."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    one = commands.add_parser(
        "monitor",
        help="watch finished batches over time, and raise an alarm if something changed",
        description="Compare the cases of finished batches, in the order of time, with a reference, by control "
        "charts of familiarity, stages, probabilities, acquisition, image statistics and, with outcomes, accuracy. "
        f"Exit code 0: no alarm; 1: alarm; 2: no answer, as with too few cases. {RESEARCH_USE_ONLY}",
    )
    one.set_defaults(run=_monitor, contradiction=_contradiction, failure=NO_ANSWER, shared=True)
    one.add_argument("batches", type=folder_path, nargs="+", metavar="BATCH", help="output folder of a batch")
    one.add_argument("--reference", required=True, metavar="MODEL|BATCH", help="what to expect: the output folder of "
                     "an earlier batch, or the name or folder of the model, whose record knows fewer "
                     "measures")  # fmt: skip
    one.add_argument("--by", default="week", metavar="week|month|N", help="periods of the table and the figures: "
                     "calendar weeks or months, UTC, or N cases (default: %(default)s)")  # fmt: skip
    one.add_argument("--out", type=out_folder, metavar="DIR", help="folder for monitor.html, monitor.csv and "
                     "monitor.json; without it, only the summary is printed")  # fmt: skip
    one.add_argument("--outcomes", type=Path, metavar="TABLE", help="true stages that came in later (case_id, stage), "
                     "for cases of the batches and of the reference")  # fmt: skip
    one.add_argument("--time", metavar="COLUMN", help="column of the case table with the day of the scan (default: "
                     "acquisition_date, scan_date, study_date, examination_date or exam_date, or else the time of "
                     "staging)")  # fmt: skip
    one.add_argument("--false-alarms", type=number, default=0.05, metavar="P", help="largest probability of any false "
                     "alarm within the horizon (default: %(default)s)")  # fmt: skip
    one.add_argument("--horizon", type=int, default=1000, metavar="CASES", help="number of cases, from the first one, "
                     "within which this holds; choose it before you look (default: %(default)s)")  # fmt: skip
    one.add_argument("--seed", type=int, default=0, help="seed of the simulation of the limits (default: "
                     "%(default)s)")  # fmt: skip


def _contradiction(options: argparse.Namespace) -> str | None:
    if not 0 < options.false_alarms < 1:
        return f"--false-alarms {options.false_alarms:g}; expected a probability above 0 and below 1"
    if options.horizon < 1:
        return f"--horizon {options.horizon}; expected 1 or more"
    if not 0 <= options.seed < 2**32:
        return f"--seed {options.seed}; expected 0 or more, below 2**32"
    if options.by not in ("week", "month") and not (options.by.isascii() and options.by.isdigit() and int(options.by)):
        return f"--by {options.by}; expected week, month, or a number of cases"
    return None


def _monitor(options: argparse.Namespace) -> int:
    from GTRStagingLib.monitoring.stream import read_outcomes, read_stream
    from GTRStagingLib.monitoring.watch import parse_by, watch

    if options.out is not None:
        from GTRStagingLib.support.extras import import_extra

        for module in ("matplotlib", "jinja2"):
            import_extra(module, "The page needs", "report")
    outcomes, notes = ({}, ()) if options.outcomes is None else read_outcomes(options.outcomes)
    stream = read_stream(options.batches, time=options.time, outcomes=outcomes)
    baseline = _baseline(options, outcomes)
    print_notes((*notes, *stream.notes), options)
    found = watch(
        stream, baseline, by=parse_by(options.by), false_alarms=options.false_alarms, horizon=options.horizon,
        seed=options.seed,
    )  # fmt: skip
    _print(found)
    if options.out is not None:
        from GTRStagingLib.monitoring.page import PAGE, write_watch

        write_watch(found, options.out)
        print(f"Written    {shown_place(options.out / PAGE)} with monitor.csv and monitor.json")
    print(RESEARCH_USE_ONLY)
    return 1 if found.alarms else 0


def _baseline(options: argparse.Namespace, outcomes: dict[str, str]) -> "Baseline":
    """Return what to expect of a batch, if the reference is a folder with its table, or else of a model."""
    from GTRStagingLib.batch.columns import PREDICTIONS
    from GTRStagingLib.errors import InputError
    from GTRStagingLib.model.registry import CARD_FILE, available
    from GTRStagingLib.monitoring.measures import expected_of_batch, expected_of_model
    from GTRStagingLib.monitoring.stream import read_stream

    folder = Path(options.reference)
    if (folder / PREDICTIONS).is_file():
        return expected_of_batch(read_stream([folder], outcomes=outcomes))
    if options.reference not in available() and not (folder / CARD_FILE).is_file():
        raise InputError(
            f"`reference` {shown_place(folder)} is neither the output folder of a finished batch (with {PREDICTIONS}) "
            f"nor a model: {', '.join(available())}, or a folder with {CARD_FILE}. Correct the path."
        )
    if sys.stderr.isatty():
        print("model …", file=sys.stderr)
    from GTRStagingLib.model.backbone import load_model

    model = load_model(options.reference, device="cpu")
    return expected_of_model(model.card, model.reference)


def _print(found: "Watch") -> None:
    stream = found.stream
    if stream.warning is not None:
        print(f"WARNING    {stream.warning}")
    left_out = "".join(f"; {n} {reason}" for reason, n in stream.left_out.items())
    print(f"Cases      {len(stream.cases)} of {stream.name}, by {stream.ordered_by}{left_out}")
    print(f"Reference  {found.baseline.name}")
    print(f"Promise    {found.promise}")
    for one in found.alarms:
        print(f"ALARM      {one.measure.label}, {found.place(one.first or 0)}, since about "
              f"{found.place(one.since or 0)}: {one.changed}")  # fmt: skip
    if not found.alarms:
        print(f"No alarm   in {len(found.measures)} measures")
    for reason in dict.fromkeys(found.without.values()):
        labels = ", ".join(label for label, why in found.without.items() if why == reason)
        print(f"NOTE       not watched: {labels}: {reason}.")


__all__ = ["add_to"]
