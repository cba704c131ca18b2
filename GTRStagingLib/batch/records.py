"""What a batch leaves on disk of every case, so that nothing is lost and nothing done twice.

A case's folder holds its results and `done.json`, or `failed.json` with error and traceback, or `skipped.json` with the
reason, written last and whole (a case that is skipped keeps what an earlier run did). Each names the digest of model,
recipe and options that it was made with, and how the case's files looked: what a later run knows it by. The tables are
made of these records alone.
"""

import csv
import io
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.batch.cases import BatchCase
from GTRStagingLib.batch.columns import AGREEMENT, NUMBER_COLUMNS, PARQUET, PREDICTIONS, seconds_of
from GTRStagingLib.errors import Cancelled
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.files import sha256_of, sha256_of_data, whole_file
from GTRStagingLib.tables.case_files import Look, files_of, look_of

if TYPE_CHECKING:
    from GTRStagingLib.staging.agreement import Agreement
    from GTRStagingLib.staging.result import StagingResult

DONE, FAILED, SKIPPED = "done.json", "failed.json", "skipped.json"
RECORDS = {"done": DONE, "failed": FAILED, "skipped": SKIPPED}
"""Status -> the file that says so."""

RUN, BEGUN = ".batch.run", ".begun"

ROWS = 1000
"""Of a Parquet row group: what is held in memory while the table is written."""


@dataclass(frozen=True)
class Job:
    """A case and where its results go.

    Attributes
    ----------
    digest
        Of everything beside the case's files that its results depend on.
    run
        Which run it is of.
    known
        What an earlier run's files held (see `content_of`), where they look different now; None: nothing is known.
    """

    case: BatchCase
    folder: Path
    digest: str
    run: str = ""
    known: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes
    ----------
    status
        'done', 'failed' or 'skipped'.
    row
        Its part of the tables, but for what the case table says itself.
    reason
        Why it failed or was skipped; empty where it is done.
    reused
        Whether an earlier run had done it.
    """

    case_id: str
    status: str
    row: Mapping[str, str] = field(hash=False)
    reused: bool = False

    @property
    def reason(self) -> str:
        """Why it failed or was skipped; empty where it is done."""
        return self.row.get("reason", "")

    @property
    def error(self) -> str | None:
        """Why it failed; None where it did not."""
        return self.reason if self.status == "failed" else None


# -- writing -------------------------------------------------------------------------------------------------------


def clear(folder: Path, names: Iterable[str]) -> None:
    """Make the case's folder, and remove what an earlier or a killed run left there of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*RECORDS.values(), *names):
        (folder / name).unlink(missing_ok=True)
    tidy(folder)


def begin(out: Path, run: str) -> None:
    """Say whose the folder is from now on, and clear up after a run that was killed while it wrote there."""
    tidy(out)
    with whole_file(out / RUN) as stream:
        stream.write(run.encode())


def settled(job: Job) -> Outcome | None:
    """What this run has recorded of a case already: a worker of a cluster that was given up may still have done it.

    Raises
    ------
    Cancelled
        If the folder is another run's by now.
    """
    owner = job.folder.parent.parent / RUN
    if job.run and owner.is_file() and owner.read_text(encoding="utf-8") != job.run:
        raise Cancelled(f"{job.case.case_id}: another run has taken over the folder; nothing was written.")
    known = recorded(job)
    if known is None or known[0].status != "done" or known[1].get("run") != job.run or not job.run:
        return None
    return replace(known[0], reused=False)


def begun(job: Job) -> int:
    """Note that a case is begun in this process, and say how often that was since it last came to an end."""
    note = job.folder / BEGUN
    with suppress(OSError, ValueError):
        times = int(note.read_text(encoding="utf-8")) + 1 if note.is_file() else 1
        job.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(note) as stream:
            stream.write(str(times).encode())
        return times
    return 1


def tidy(folder: Path) -> None:
    """Remove what a process that was killed had half-written there; nobody else may be writing."""
    for left in folder.glob(".writing-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def done(job: Job, row: Mapping[str, str], look: Look, content: str) -> Outcome:
    """Record that a case is done; its results are all there."""
    return _recorded(job, Outcome(job.case.case_id, "done", {"status": "done", **row}), look, content=content)


def same_again(job: Job) -> Outcome | None:
    """Record that the files, though they look different, hold what they held; None if nothing was done with them."""
    known = recorded(job)
    if known is None:
        return None
    done(job, known[0].row, looks(job.case), known[1]["content"])
    return known[0]


def failed(job: Job, error: str, traceback: str) -> Outcome:
    """Record that a case has failed."""
    outcome = Outcome(job.case.case_id, "failed", {"status": "failed", "reason": error})
    return _recorded(job, outcome, [], error=error, traceback=traceback)


def skipped(job: Job) -> Outcome:
    """Record that a case was left out."""
    outcome = Outcome(job.case.case_id, "skipped", {"status": "skipped", "reason": job.case.skip or ""})
    return _recorded(job, outcome, [])


def _recorded(job: Job, outcome: Outcome, look: Look, **more: str) -> Outcome:
    record = {"case_id": job.case.case_id, **more, "row": dict(outcome.row), "job": job.digest,
              "run": job.run, "files": look}  # fmt: skip
    job.folder.mkdir(parents=True, exist_ok=True)
    with whole_file(job.folder / RECORDS[outcome.status]) as stream:
        stream.write((json.dumps(record, indent=2) + "\n").encode())
    (job.folder / BEGUN).unlink(missing_ok=True)
    return outcome


# -- reading -------------------------------------------------------------------------------------------------------


def recorded(job: Job) -> tuple[Outcome, Mapping[str, Any]] | None:
    """What the records say of a case under these options, and the record; None where they say nothing."""
    for status, name in RECORDS.items():
        with suppress(OSError, ValueError, KeyError, TypeError):  # none, or one that somebody else wrote there
            record = json.loads((job.folder / name).read_bytes())
            row = {str(column): str(text) for column, text in record["row"].items()}
            if record["job"] == job.digest:
                return Outcome(job.case.case_id, status, row, reused=True), record
    return None


def looks(case: BatchCase) -> Look:
    """How the case's files look now."""
    return look_of([case.image, *([] if case.roi is None else [case.roi])], strict=True)


def content_of(case: BatchCase, input_digest: str, warnings: Sequence[str]) -> str:
    """What a case's files hold, as far as its results depend on them; `input_digest` is a result's."""
    roi = [] if case.roi is None else files_of(case.roi)
    return sha256_of_data(input_digest, list(warnings), [sha256_of(path) for path in roi])


# -- rows ----------------------------------------------------------------------------------------------------------


def row_of(result: "StagingResult") -> Mapping[str, str]:
    """What the tables say of a result, by `columns.RESULT_COLUMNS` and the columns of seconds."""
    prediction, key, agreement = result.prediction, result.key_slice, result.agreement
    seconds = {seconds_of(step): s for step, s in result.timings_s.items()}
    return {
        "stage": str(prediction.stage),
        "unanimous": "yes" if prediction.unanimous else "no",
        "tied": "yes" if prediction.tied else "no",
        "votes": " ".join(str(one.stage) for one in prediction.slices),
        "mean_probability_stage": str(prediction.mean_probability_stage),
        **{f"p_{stage}": repr(float(p)) for stage, p in zip(TStage, prediction.probabilities, strict=True)},
        "key_slice": str(key.index),
        "key_slice_by": key.chosen_by,
        "key_position_mm": repr(float(key.position_mm)) if result.scan.spacing_known else "",
        **({} if agreement is None else _agreement(agreement)),
        "warnings": " | ".join(result.warnings),
        **{name: f"{s:.4f}" for name, s in seconds.items()},
        "seconds": f"{sum(seconds.values()):.4f}",
    }


def _agreement(agreement: "Agreement") -> Mapping[str, str]:
    """Empty where a measure is not defined."""
    whole = {"energy_inside": agreement.energy_inside, "roi_area_mm2": agreement.roi_area_mm2}
    cut = asdict(agreement.at_threshold) | whole
    hit = {True: "1", False: "0", None: ""}[agreement.pointing_hit]
    return {name: "" if math.isnan(cut[name]) else repr(float(cut[name])) for name in AGREEMENT} | {"pointing_hit": hit}


# -- tables --------------------------------------------------------------------------------------------------------


def write_tables(out: Path, jobs: Iterable[Job], columns: Sequence[str], given: Mapping[str, str]) -> None:
    """Write `predictions.csv`, and where pyarrow is installed `predictions.parquet`, from the records.

    A row for every case that is accounted for, in the order of `jobs`. Memory does not grow with their number.

    Parameters
    ----------
    columns
        All of them, in order.
    given
        See `columns.given_names`.
    """
    with whole_file(out / PREDICTIONS) as stream:
        file = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        table = csv.DictWriter(file, list(columns), restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(_rows(jobs, given))
        file.detach()  # flushes it, and leaves the stream open
    _write_parquet(out, columns)


def _rows(jobs: Iterable[Job], given: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    for job in jobs:
        if (known := recorded(job)) is not None:
            own = {called: job.case.given.get(name, "") for name, called in given.items()}
            yield {"case_id": job.case.case_id, **known[0].row, **own}


def _write_parquet(out: Path, columns: Sequence[str]) -> None:
    """The same rows with numbers as numbers; what is empty is null."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:  # Slicer's Python has none: the CSV says it all
        (out / PARQUET).unlink(missing_ok=True)
        return
    types = [(name, pyarrow.float64() if name in NUMBER_COLUMNS else pyarrow.string()) for name in columns]
    with (
        (out / PREDICTIONS).open(encoding="utf-8", newline="") as file,
        whole_file(out / PARQUET) as stream,
        parquet.ParquetWriter(stream, pyarrow.schema(types)) as writer,
    ):
        lines = csv.DictReader(file)
        while rows := list(islice(lines, ROWS)):
            numbers = [{n: _typed(n, text) for n, text in row.items()} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(numbers, schema=pyarrow.schema(types)))


def _typed(name: str, text: str) -> str | float | None:
    if text == "":
        return None
    return float(text) if name in NUMBER_COLUMNS else text


__all__ = ["DONE", "FAILED", "RECORDS", "SKIPPED", "Job", "Outcome", "begin", "begun", "clear", "content_of", "done",
           "failed", "looks", "recorded", "row_of", "same_again", "settled", "skipped", "tidy",
           "write_tables"]  # fmt: skip
