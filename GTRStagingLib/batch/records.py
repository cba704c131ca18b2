"""Write and read the records of a batch's cases, which allow it to resume.

A case folder contains the results and `done.json`, or `failed.json` with the error, or `skipped.json` with the reason;
the record is written last and in one step. Paths and traceback of a failed case are in its local log (`local_log`). A
skipped case keeps the results of an earlier run. Each record contains the digest of model, recipe and options, and a
hash of the state of the case's files; a later run compares both. The tables are made from these records only.
"""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.archive.remote_series import states_of
from GTRStagingLib.batch.columns import (
    AGREEMENT,
    HEADER,
    MATRIX,
    NO_CALIBRATION,
    NUMBER_COLUMNS,
    PARQUET,
    PREDICTIONS,
    STABILITY,
    seconds_of,
)
from GTRStagingLib.batch.local_log import LOCAL, log_file, remove_log, write_log
from GTRStagingLib.errors import Cancelled, InputError, OutputError, printable, without_backticks
from GTRStagingLib.stages import TStage
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import atomic_file, parse_json, remove_partial_files, sha256_of, sha256_of_data
from GTRStagingLib.tables.case_files import file_stats, input_files
from GTRStagingLib.tables.case_row import CaseRow
from GTRStagingLib.tables.cells import guarded, unguarded

if TYPE_CHECKING:
    from GTRStagingLib.staging.agreement import Agreement
    from GTRStagingLib.staging.familiarity import Familiarity
    from GTRStagingLib.staging.result import StagingResult
    from GTRStagingLib.staging.stability import Stability
    from GTRStagingLib.staging.stage_set import StageSet
    from GTRStagingLib.staging.voting import Prediction

DONE, FAILED, SKIPPED = "done.json", "failed.json", "skipped.json"
RECORDS = {"done": DONE, "failed": FAILED, "skipped": SKIPPED}
"""Status -> file name of the record."""

RUN, STARTS = ".batch.run", ".begun"

ROWS = 1000
"""Number of rows in a Parquet row group, which is in memory while the table is written."""


@dataclass(frozen=True)
class Job:
    """Case and its case folder.

    Attributes
    ----------
    digest
        Digest of everything that the results depend on beside the case's files.
    run
        Token of the run.
    known_content
        Content digest in the record of an earlier run (see `content_digest`), if the state of the files has changed
        since; None: unknown.
    """

    case: CaseRow
    folder: Path
    digest: str
    run: str = ""
    known_content: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case.

    Attributes
    ----------
    status
        'done', 'failed' or 'skipped'.
    row
        Columns of the tables, without those of the case table.
    reason
        Why the case failed or was skipped; empty if it is done.
    reused
        Whether the outcome is that of an earlier run.
    """

    case_id: str
    status: str
    row: Mapping[str, str] = field(hash=False)
    reused: bool = False

    @property
    def reason(self) -> str:
        """Reason why the case failed or was skipped; empty if it is done."""
        return self.row.get("reason", "")

    @property
    def cells(self) -> dict[str, str]:
        """Columns of the tables with the case's id, the reason as plain text."""
        reason = {"reason": without_backticks(self.reason)} if self.reason else {}
        return {"case_id": self.case_id, **self.row, **reason}

    @property
    def error(self) -> str | None:
        """Reason why the case failed; None if it did not fail."""
        return self.reason if self.status == "failed" else None


# -- writing -------------------------------------------------------------------------------------------------------


def clear_case_folder(folder: Path, names: Iterable[str]) -> None:
    """Make a case folder; if it exists, remove its records, its local log and the files with these names."""
    remove_log(log_file(folder))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*RECORDS.values(), *names):
        (folder / name).unlink(missing_ok=True)
    remove_partial_files(folder)


def claim_folder(out: Path, run: str) -> None:
    """Write the token of the run that owns the folder, and remove the partial files of a killed run."""
    remove_partial_files(out, below=False)  # other folders there may be in use
    with atomic_file(out / RUN) as stream:
        stream.write(run.encode())


def outcome_of_this_run(job: Job) -> Outcome | None:
    """Return this run's outcome of a case if it exists, e.g. from a worker presumed lost; else None.

    Raises
    ------
    Cancelled
        If another run has taken over the folder.
    OutputError
        If the output folder is no longer that of the run.
    """
    owner = job.folder.parent.parent / RUN
    if job.run and not owner.is_file():
        raise OutputError(
            f"The output folder {owner.parent.name} was moved, renamed or emptied while the batch ran; expected the "
            "folder of this run. Restore it, then set `resume` to continue: finished cases are kept."
        )
    if job.run and owner.read_text(encoding="utf-8") != job.run:
        raise Cancelled(f"{job.case.case_id}: another run has taken over the folder; nothing was written.")
    known = read_record(job)
    if known is None or known[0].status != "done" or known[1].get("run") != job.run or not job.run:
        return None
    return replace(known[0], reused=False)


def count_start(job: Job) -> int:
    """Count the starts of a case since its last outcome, this one included."""
    note = job.folder / STARTS
    with suppress(OSError, ValueError):
        times = int(note.read_text(encoding="utf-8")) + 1 if note.is_file() else 1
        job.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(note) as stream:
            stream.write(str(times).encode())
        return times
    return 1


def record_done(job: Job, row: Mapping[str, str], states: str, content: str) -> Outcome:
    """Record that a case is done, after its results were written."""
    return _write_record(job, Outcome(job.case.case_id, "done", {"status": "done", **row}), states, content=content)


def renew_record(job: Job) -> Outcome | None:
    """Record the new state of files with unchanged content, and return the outcome; None if there is no record."""
    known = read_record(job)
    if known is None:
        return None
    remove_partial_files(job.folder)  # of a worker that was killed here
    record_done(job, known[0].row, file_states(job.case), known[1]["content"])
    return known[0]


def record_failed(job: Job, error: str, local: Iterable[str] = ()) -> Outcome:
    """Record that a case failed, with an error that may be shared; write the `local` texts into its local log."""
    outcome = Outcome(job.case.case_id, "failed", {"status": "failed", "reason": printable(error)})
    log = log_file(job.folder)
    logged = {"log": f"{LOCAL}/{log.name}"} if write_log(log, local) else {}
    return _write_record(job, outcome, "", error=error, **logged)


def record_skipped(job: Job) -> Outcome:
    """Record that a case was skipped."""
    outcome = Outcome(job.case.case_id, "skipped", {"status": "skipped", "reason": job.case.skip or ""})
    return _write_record(job, outcome, "")


def _write_record(job: Job, outcome: Outcome, states: str, **more: str) -> Outcome:
    record = {"case_id": job.case.case_id, **more, "row": dict(outcome.row), "job": job.digest,
              "run": job.run, "files": states}  # fmt: skip
    job.folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(job.folder / RECORDS[outcome.status]) as stream:
        stream.write((json.dumps(record, indent=2) + "\n").encode())
    (job.folder / STARTS).unlink(missing_ok=True)
    return outcome


# -- reading -------------------------------------------------------------------------------------------------------


def read_record(job: Job) -> tuple[Outcome, Mapping[str, Any]] | None:
    """Return the recorded outcome of a case with the job's options, and the record; None if there is no such record."""
    for status, name in RECORDS.items():
        with suppress(OSError, ValueError, InputError):  # no record, or a file of another program
            record = Fields(parse_json((job.folder / name).read_bytes())).data
            row = {str(column): str(text) for column, text in Fields(record.get("row")).data.items()}
            for column in NUMBER_COLUMNS & row.keys():
                _typed(column, row[column])
            complete = "files" in record and (status != "done" or isinstance(record.get("content"), str))
            if complete and row.get("status") == status and record.get("job") == job.digest:
                return Outcome(job.case.case_id, status, row, reused=True), record
    return None


def file_states(case: CaseRow) -> str:
    """Return a hash of the current state of a case's files (see `file_stats`), empty without files.

    The states contain the files' names, which a record must not have. Of a CT in an archive the state is the list of
    its images there.

    Raises
    ------
    StagingError
        If the archive does not answer.
    """
    if case.archive is not None:
        remote = states_of(case.archive, series=case.series)
        return sha256_of_data(remote, file_stats(masks_of(case), strict=True))
    beside: list[Path] = []
    if case.key_slice == "ko":  # the key object selection may be there
        from GTRStagingLib.imaging.key_objects import marks_beside

        beside = marks_beside(case.ct)
    states = file_stats([case.ct, *masks_of(case), *beside], strict=True)
    return sha256_of_data(states) if states else ""


def content_digest(case: CaseRow, input_digest: str, warnings: Sequence[str]) -> str:
    """Return the digest of a case's input: the result's `input_digest`, its warnings and the files of its masks."""
    masks = [path for mask in masks_of(case) for path in input_files(mask)]
    return sha256_of_data(input_digest, list(warnings), [sha256_of(path) for path in masks])


def masks_of(case: CaseRow) -> list[Path]:
    """Return the paths of a case's masks: of the ROI and of the stomach, of those that it has."""
    return [mask for mask in (case.roi, case.stomach) if mask is not None]


# -- rows ----------------------------------------------------------------------------------------------------------


def row_of(result: "StagingResult") -> Mapping[str, str]:
    """Return the columns of the tables for a result: those of `columns.RESULT_COLUMNS` and the timings."""
    prediction, key, agreement = result.prediction, result.key_slice, result.agreement
    seconds = {seconds_of(step): s for step, s in result.timings_s.items()}
    return {
        **vote_columns(prediction),
        "key_slice": str(key.index),
        "key_slice_by": key.chosen_by,
        "key_position_mm": repr(float(key.position_mm)) if result.scan.spacing_known else "",
        **({} if agreement is None else _agreement(agreement)),
        **_familiarity(result.familiarity),
        # The CSV has no byte order mark, so that Excel would show the dash as other letters.
        "stage_set": "" if result.stage_set is None else result.stage_set.text.replace("–", "-"),
        "stage_set_note": _set_note(result.stage_set),
        "looks": "1" if result.looks is None else str(len(result.looks.each)),
        "spread": "" if result.looks is None else repr(result.looks.spread),
        **stability_columns(result.stability),
        "warnings": printable(" | ".join(result.warnings)),
        "model": result.model.name,
        "model_warning": result.model.warning or "",
        "card_sha256": result.provenance.card_sha256,
        **{name: printable(result.scan.acquisition.get(keyword, "")) for name, keyword in HEADER.items()},
        MATRIX: "{} x {}".format(*result.slices.native.GetSize()),
        **{name: f"{s:.4f}" for name, s in seconds.items()},
        "seconds": f"{sum(seconds.values()):.4f}",
    }


def vote_columns(prediction: "Prediction") -> Mapping[str, str]:
    """Return the columns of a vote."""
    return {
        "stage": str(prediction.stage),
        "unanimous": "yes" if prediction.unanimous else "no",
        "tied": "yes" if prediction.tied else "no",
        "votes": " ".join(str(one.stage) for one in prediction.slices),
        "mean_probability_stage": str(prediction.mean_probability_stage),
        **{f"p_{stage}": repr(float(p)) for stage, p in zip(TStage, prediction.probabilities, strict=True)},
    }


def _familiarity(familiarity: "Familiarity") -> Mapping[str, str]:
    percentile = familiarity.percentile
    return {
        "familiarity": familiarity.verdict,
        "familiarity_percentile": "" if percentile is None else repr(float(percentile)),
        "familiarity_reasons": printable("; ".join(familiarity.reasons)),
    }


def stability_columns(found: "Stability | None") -> Mapping[str, str]:
    """Return the columns of a stability; empty cells if it is not known."""
    return (
        dict.fromkeys(STABILITY, "") if found is None else dict(zip(STABILITY, map(repr, astuple(found)), strict=True))
    )


def _set_note(found: "StageSet | None") -> str:
    """Return the level of a stage set, as in '90 %', or why there is none."""
    if found is None:
        return NO_CALIBRATION
    return found.withheld or f"{100 * found.level:g} %"


def _agreement(agreement: "Agreement") -> Mapping[str, str]:
    """Return the columns of the agreement; a measure that is not defined is empty."""
    whole = {"energy_inside": agreement.energy_inside, "roi_area_mm2": agreement.roi_area_mm2}
    cut = asdict(agreement.at_threshold) | whole
    hit = {True: "1", False: "0", None: ""}[agreement.pointing_hit]
    return {name: "" if math.isnan(cut[name]) else repr(float(cut[name])) for name in AGREEMENT} | {"pointing_hit": hit}


# -- tables --------------------------------------------------------------------------------------------------------


def write_tables(out: Path, jobs: Iterable[Job], columns: Sequence[str], given: Mapping[str, str]) -> Counter[str]:
    """Write `predictions.csv` from the records, and `predictions.parquet` if pyarrow is installed.

    Return the number of rows by status, as read again from the written CSV.

    The tables have a row for every case with an outcome, in the order of `jobs`. Memory does not grow with the number
    of cases.

    Parameters
    ----------
    columns
        All columns, in order.
    given
        See `columns.given_names`.
    """
    with atomic_file(out / PREDICTIONS) as stream:
        file = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        table = csv.DictWriter(file, list(columns), restval="", extrasaction="ignore", lineterminator="\n")
        table.writerow({name: guarded(name) for name in columns})
        table.writerows({name: guarded(text) for name, text in row.items()} for row in _rows(jobs, given))
        file.detach()  # flushes the file and leaves the stream open
    _write_parquet(out, columns)
    return rows_by_status(out / PREDICTIONS)


def rows_by_status(table: Path) -> Counter[str]:
    """Return the number of rows by status of a written CSV table; none if there is no such table."""
    if not table.is_file():
        return Counter()
    with table.open(encoding="utf-8", newline="") as file:
        return Counter(row["status"] for row in csv.DictReader(file))


def _rows(jobs: Iterable[Job], given: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    for job in jobs:
        if (known := read_record(job)) is not None:
            own = {called: job.case.given.get(name, "") for name, called in given.items()}
            yield {**known[0].cells, **own}


def _write_parquet(out: Path, columns: Sequence[str]) -> None:
    """Write the rows of the CSV as Parquet, with typed numbers and null for empty cells."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:  # Slicer's Python has no pyarrow; the CSV has the same content
        (out / PARQUET).unlink(missing_ok=True)
        return
    types = [(name, pyarrow.float64() if name in NUMBER_COLUMNS else pyarrow.string()) for name in columns]
    with (
        (out / PREDICTIONS).open(encoding="utf-8", newline="") as file,
        atomic_file(out / PARQUET) as stream,
        parquet.ParquetWriter(stream, pyarrow.schema(types)) as writer,
    ):
        lines = csv.DictReader(file)
        while rows := list(islice(lines, ROWS)):
            numbers = [{unguarded(n): _typed(unguarded(n), unguarded(text)) for n, text in row.items()} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(numbers, schema=pyarrow.schema(types)))


def _typed(name: str, text: str) -> str | float | None:
    if text == "":
        return None
    return float(text) if name in NUMBER_COLUMNS else text


__all__ = [
    "DONE",
    "FAILED",
    "RECORDS",
    "SKIPPED",
    "Job",
    "Outcome",
    "claim_folder",
    "clear_case_folder",
    "content_digest",
    "count_start",
    "file_states",
    "outcome_of_this_run",
    "read_record",
    "record_done",
    "record_failed",
    "record_skipped",
    "renew_record",
    "row_of",
    "rows_by_status",
    "stability_columns",
    "vote_columns",
    "write_tables",
]
