"""Add the command `gtrstaging batch`: stage the cases of a table, and evaluate them if their stages are known.

Exit code: 0 all cases done or skipped, 1 some failed, the run was stopped, or results could not be sent.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.batch.cases import SPLITS
from GTRStagingLib.cli.arguments import (
    COLUMNS,
    Commands,
    add_device,
    add_dicom_codes,
    add_limits,
    add_model,
    add_proposal,
    given_limits,
    given_models,
    out_folder,
    print_notes,
    shown_place,
    staging_options,
    whole,
    with_flags,
)
from GTRStagingLib.cli.send import add_store, store_contradiction
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.shared_text import without_folders

if TYPE_CHECKING:
    from GTRStagingLib.batch.batch import Counts
    from GTRStagingLib.batch.records import Outcome
    from GTRStagingLib.batch.scoring import ScoreColumns
    from GTRStagingLib.batch.storing import Storing

EVALUATION = "evaluation"
"""Name of the folder for the evaluation, beside the tables."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    batch = commands.add_parser("batch", help="stage the cases of a table",
                                description=f"Stage the cases of a table. {RESEARCH_USE_ONLY}")  # fmt: skip
    batch.set_defaults(run=_batch, contradiction=_contradiction, columns=COLUMNS, shared=True)
    batch.add_argument("cases", type=Path, metavar="TABLE",
                       help="CSV, XLSX or Parquet with case_id and image, and optionally series, roi, segment, "
                       "key_slice (an index, or ko), stomach (a mask), exclude (a reason to leave the case out); "
                       "other columns are copied; with a column stage the predictions are evaluated")  # fmt: skip
    batch.add_argument("--out", type=out_folder, required=True, metavar="DIR",
                       help="output folder for cases/CASE/, predictions.csv and predictions.parquet")  # fmt: skip
    batch.add_argument("--resume", action="store_true",
                       help="resume in a folder with results: cases that were done with the same files, model and "
                       "options are kept, failed cases are tried again")  # fmt: skip
    batch.add_argument("--split", nargs="+", choices=SPLITS, default=[], metavar="SPLIT",
                       help="only the cases of these splits (train, validation, test, calibration)")  # fmt: skip
    add_model(batch)
    batch.add_argument("--neighbour-maps", action="store_true", help="also compute a fine map for the neighbouring "
                       "slices, which takes longer")  # fmt: skip
    batch.add_argument("--resample-roi", action="store_true",
                       help="resample ROIs that have another grid than their CT")  # fmt: skip
    add_proposal(batch)
    add_device(batch)
    batch.add_argument("--dicom", action="store_true", help="also write each result as DICOM objects of its CT's "
                       "study, into cases/CASE/dicom; a case whose CT is not DICOM fails")  # fmt: skip
    add_dicom_codes(batch)
    where = batch.add_mutually_exclusive_group()
    where.add_argument("--workers", type=whole, metavar="N",
                       help="number of workers, processes that read, prepare and write (default: one per "
                       "processor)")  # fmt: skip
    add_limits(batch)
    where.add_argument("--scheduler", metavar="ADDRESS",
                       help="run on the workers of this Dask scheduler (tcp://HOST:8786, or its file) instead of this "
                       "machine; they require this package and the same paths; the number of cases at once is set by "
                       "their --nthreads")  # fmt: skip
    add_store(batch)
    batch.add_argument("--radscore", type=Path, metavar="FILE", help="add this Rad-score (standardised) as a column")
    batch.add_argument("--nomogram", metavar="NAME|FILE", help="add the probabilities of this nomogram, from the "
                       "table's columns and the Rad-score")  # fmt: skip
    batch.add_argument("--no-evaluation", action="store_true", help="do not evaluate the predictions")
    batch.add_argument("--progress", choices=["text", "json"], default="text",
                       help="text: progress bar on stderr, if it is a terminal; json: a line of JSON for each case "
                       "on stdout (default: text)")  # fmt: skip


def _contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options contradict each other, or None."""
    if options.dicom_codes is not None and not options.dicom:
        return "--dicom-codes requires --dicom"
    return store_contradiction(options)


def _batch(options: argparse.Namespace) -> int:
    from GTRStagingLib.batch.batch import require_free_folder
    from GTRStagingLib.batch.cases import read_cases
    from GTRStagingLib.batch.columns import PREDICTIONS
    from GTRStagingLib.batch.local import BatchSettings
    from GTRStagingLib.batch.local_log import LOCAL, write_log
    from GTRStagingLib.batch.run import run_batch
    from GTRStagingLib.batch.scoring import ScoreColumns
    from GTRStagingLib.batch.storing import Storing
    from GTRStagingLib.nomogram import nomogram
    from GTRStagingLib.radscore import radscore

    cases = read_cases(options.cases, options.split)
    print_notes(cases.notes, options)
    require_free_folder(options.out, options.resume)  # before anything else is read
    limits = given_limits(options)
    settings = BatchSettings(
        model=given_models(options),
        device=options.device,
        backend=options.backend,
        options=staging_options(options),
        scores=ScoreColumns(
            None if options.radscore is None else radscore.read(options.radscore),
            None if options.nomogram is None else nomogram.load(options.nomogram),
        ),
        time_limit=limits.time_limit,
        memory_limit=limits.memory_limit,
        dicom=(options.dicom_codes or "standard") if options.dicom else None,
    )
    storing = None if options.store is None else Storing(options.store)
    progress = _Progress(len(cases), options.parser, as_json=options.progress == "json")
    try:
        counts = run_batch(
            cases,
            options.out,
            settings,
            workers=options.workers,
            scheduler=options.scheduler,
            resume=options.resume,
            storing=storing,
            progress=progress,
        )
    except StagingError as error:
        if error.details:
            write_log(options.out / LOCAL / "batch.log", [str(error), error.details])
        raise
    finally:
        if options.progress == "text" and progress.counts.finished:
            _print_summary(progress.counts, options.out / PREDICTIONS)
    if storing is not None:
        _print_storing(storing, options.parser, as_json=options.progress == "json")
    known = any(case.given.get("stage") for case in cases)
    if known and counts.done and not options.no_evaluation:
        as_json = options.progress == "json"
        _evaluate(options.out / PREDICTIONS, options.out / EVALUATION, settings.scores, options.parser, as_json=as_json)
    # The exit code is used by GTRStagingSlicer/batch_process.py and by job queues.
    return 1 if counts.failed or (storing is not None and not storing.complete) else 0


def _print_summary(counts: "Counts", table: Path) -> None:
    from GTRStagingLib.batch.records import rows_by_status

    rows = rows_by_status(table).total()
    fewer = f", WHICH HAS ONLY {rows} ROWS" if rows < counts.finished else ""
    print(f"{counts.summary()}. See {shown_place(table)}{fewer}")
    print(RESEARCH_USE_ONLY)


def _print_storing(storing: "Storing", parser: argparse.ArgumentParser, *, as_json: bool) -> None:
    """Print what the archive has, and on stderr why it does not have all."""
    print(f"{with_flags(storing.summary(), parser)}.", file=sys.stderr if as_json else sys.stdout)
    for reason in dict.fromkeys(storing.reasons.values()):
        print(f"gtrstaging: {with_flags(reason, parser)}", file=sys.stderr)


def _evaluate(
    predictions: Path, out: Path, scores: "ScoreColumns", parser: argparse.ArgumentParser, *, as_json: bool
) -> None:
    """Write the evaluation beside the tables; an error or interruption is printed, and the exit code remains."""
    try:
        for module in ("pandas", "pyarrow", "statsmodels", "sklearn", "matplotlib", "jinja2"):
            import_extra(module, "Evaluation needs", "evaluate")
        from GTRStagingLib.evaluation.evaluate import evaluate
        from GTRStagingLib.evaluation.gallery import misclassified
        from GTRStagingLib.evaluation.predictions import read_predictions
        from GTRStagingLib.evaluation.report import REPORT, write_evaluation

        found = evaluate(read_predictions(predictions))
        gallery = misclassified(found.predictions, predictions.absolute().parent)
        write_evaluation(found, out, nomogram=scores.nomogram, radscore=scores.radscore, gallery=gallery)
    except StagingError as error:
        reason = without_folders(with_flags(str(error), parser), {predictions: predictions.name, out: out.name})
        print(f"gtrstaging: predictions were not evaluated: {reason}", file=sys.stderr)
        return
    except KeyboardInterrupt:  # the batch is complete
        place = shown_place(predictions)
        print(f"gtrstaging: the evaluation was interrupted; {place} is complete. Repeat the evaluation alone: "
              f"gtrstaging evaluate {place} --out {shown_place(out)}", file=sys.stderr)  # fmt: skip
        return
    accuracy = found.performance.metrics.accuracy
    print(f"Accuracy {accuracy.text()} on {counted(len(found.predictions), 'case')} with a stage. See "
          f"{shown_place(out / REPORT)}", file=sys.stderr if as_json else sys.stdout)  # fmt: skip


# -- progress ------------------------------------------------------------------------------------------------------


@dataclass
class _Pace:
    """Speed of this run, without the cases of an earlier run."""

    begun: float = field(default_factory=time.monotonic)
    worked: int = 0

    def note(self, outcome: "Outcome") -> None:
        """Count a case, unless it was reused or skipped."""
        self.worked += not outcome.reused and outcome.status != "skipped"

    @property
    def per_minute(self) -> float | None:
        """Cases per minute; None before the first case."""
        return None if self.worked == 0 else 60 * self.worked / max(time.monotonic() - self.begun, 1e-3)

    def seconds_left(self, counts: "Counts") -> float | None:
        """Estimate the remaining seconds; None before the first case."""
        return None if (pace := self.per_minute) is None else 60 * (counts.total - counts.finished) / pace


Show = Callable[["Counts", _Pace, "Outcome | None"], None]


class _Progress:
    """Progress of `run_batch`, shown as a bar or as lines of JSON."""

    def __init__(self, total: int, parser: argparse.ArgumentParser, *, as_json: bool) -> None:
        from GTRStagingLib.batch.batch import Counts

        self.counts = Counts(total)
        self._total, self._parser, self._as_json = total, parser, as_json

    def __call__(self, counts: "Counts", outcome: "Outcome | None") -> None:
        if outcome is None:  # the model is loaded; the pace excludes that time, and an earlier error is not drawn over
            self._pace = _Pace()
            self._show = _show_json if self._as_json else _progress_bar(self._total, self._parser)
        else:
            self._pace.note(outcome)
        self.counts = counts
        self._show(counts, self._pace, outcome)


def _show_json(counts: "Counts", pace: _Pace, outcome: "Outcome | None") -> None:
    """Print the progress as a line of JSON."""
    rounded = {name: None if value is None else round(value, 1) for name, value in
               (("cases_per_minute", pace.per_minute), ("seconds_left", pace.seconds_left(counts)))}  # fmt: skip
    case = {} if outcome is None else outcome.cells
    numbers = {"settled": counts.finished, "total": counts.total, "done": counts.done, "failed": counts.failed,
               "skipped": counts.skipped}  # fmt: skip
    print(json.dumps({**numbers, **rounded, **case}), flush=True)


def _progress_bar(total: int, parser: argparse.ArgumentParser) -> Show:
    """Return a function that shows a bar on a terminal, and prints the errors of failed cases on stderr."""
    from tqdm import tqdm

    bar = tqdm(total=total, unit="case", disable=None, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} {postfix}")

    def show(counts: "Counts", pace: _Pace, outcome: "Outcome | None") -> None:
        if outcome is None:
            return
        if outcome.error is not None:
            tqdm.write(f"{outcome.case_id}: {with_flags(outcome.error, parser)}", file=sys.stderr)
        left = pace.seconds_left(counts)
        speed = "" if left is None else f", {pace.per_minute:.0f} per minute, {tqdm.format_interval(left)} left"
        bar.set_postfix_str(f"{counts.done} done, {counts.failed} failed{speed}", refresh=False)
        bar.update()
        if counts.finished == counts.total:
            bar.close()

    return show
