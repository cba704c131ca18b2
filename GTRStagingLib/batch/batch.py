"""Run the jobs of a batch, record the outcome of each, and write the tables.

Where the jobs run is a parameter: in this process (`one_by_one`), in the workers of this machine (`local`), or on a
cluster (`cluster`). Records and tables are the same. `run.run_batch` combines these parts.
"""

import secrets
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import GTRStagingLib
from GTRStagingLib.batch import records
from GTRStagingLib.batch.columns import PARQUET, PREDICTIONS, RESULT_COLUMNS, ROWS_VERSION, SECONDS, given_names
from GTRStagingLib.batch.records import Job, Outcome
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.errors import Cancelled, InputError, MachineError, OutputError, StagingError
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import remove_partial_files, sha256_of_data
from GTRStagingLib.support.folder_lock import locked_folder
from GTRStagingLib.support.isolation import TRIES, error_text
from GTRStagingLib.support.shared_text import shared_error
from GTRStagingLib.tables.case_files import DICOM_OUTPUTS, DISAGREEMENT, OUTPUTS
from GTRStagingLib.tables.case_row import CaseRow
from GTRStagingLib.tables.case_texts import shared_text

if TYPE_CHECKING:
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.staging.result import StagingResult

LOCK, SCENE = ".batch.lock", "scene.mrb"

RESULTS = (*OUTPUTS, DISAGREEMENT, SCENE, *DICOM_OUTPUTS)
"""Files that a case folder may contain beside its record."""

PACKAGES = ("torch", "torchvision", "onnxruntime", "SimpleITK", "numpy", "scikit-image", "pillow", "scipy")
"""Packages that may change results when their version changes."""

StageOne = Callable[[CaseRow, Path], "StagingResult"]
"""Function that stages a case and writes its files into its folder."""

Work = Callable[[Iterator[Job | Outcome]], Iterator[Outcome]]
"""Function that does the jobs of its input, in any order, and passes outcomes on unchanged. It takes a job from its
input only when it is about to do the job."""


@dataclass(frozen=True)
class Counts:
    """Number of cases of each outcome so far."""

    total: int
    done: int = 0
    failed: int = 0
    skipped: int = 0
    reused: int = 0

    @property
    def finished(self) -> int:
        """Number of cases with an outcome."""
        return self.done + self.failed + self.skipped

    def summary(self) -> str:
        """Return the counts as a sentence without a full stop."""
        left = self.total - self.finished
        parts = [f"{self.done} done", f"{self.failed} failed", f"{self.skipped} skipped"]
        before = f" ({self.reused} of them by an earlier run)" if self.reused else ""
        return f"{counted(self.total, 'case')}: {', '.join(parts + ([f'{left} not reached'] if left else []))}{before}"

    def with_outcome(self, outcome: Outcome) -> "Counts":
        """Return the counts with one more outcome."""
        status = outcome.status
        return Counts(
            self.total,
            self.done + (status == "done"),
            self.failed + (status == "failed"),
            self.skipped + (status == "skipped"),
            self.reused + outcome.reused,
        )


def software_and_model(card: "ModelCard") -> dict[str, Any]:
    """Return the versions of this software and its packages, and the model card, as plain data for a digest."""
    installed = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return {
        "version": GTRStagingLib.__version__,
        "rows": ROWS_VERSION,
        "packages": installed,
        "card": card.to_json(),
    }


@dataclass(frozen=True)
class Batch:
    """Cases of a run and the folder of their results.

    Attributes
    ----------
    depends_on
        Everything that the results depend on beside the cases: model, recipe, options, as plain data.
    scores
        Further columns.
    token
        Identifier of this run.
    """

    cases: Sequence[CaseRow]
    out: Path
    depends_on: Mapping[str, Any]
    scores: ScoreColumns = field(default_factory=ScoreColumns)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def jobs(self) -> Iterator[Job]:
        """Yield a job for every case, skipped cases included."""
        for case in self.cases:
            # The nomogram's result depends on these columns of the case table.
            read = {} if self.scores.nomogram is None else {t.name: case.given.get(t.name)
                                                            for t in self.scores.nomogram.terms}  # fmt: skip
            digest = sha256_of_data(
                self.depends_on, case.series, case.segment, case.key_slice, case.roi is None, case.skip, read,
                *([] if case.stomach is None else ["stomach", case.stomach_segment]),
            )  # fmt: skip
            yield Job(case, self.out / "cases" / case.case_id, digest, self.token)

    def run(self, work: Work, *, resume: bool = False) -> Iterator[Outcome]:
        """Run the jobs and yield the outcome of each case as it ends.

        `out/cases/CASE/` is the case folder, see `records`. The tables are written at the end, also when the run is
        stopped. A failed case does not stop the others.

        Parameters
        ----------
        resume
            Keep the results that an earlier run made from the same files, model and options. Failed cases are tried
            again.

        Raises
        ------
        InputError
            If `out` contains results of another run and `resume` is not set; or if another run is writing there.
        OutputError
            If `out` cannot be written to.
        Cancelled
            If the work was cancelled.
        """
        with _locked(self.out):
            require_free_folder(self.out, resume)
            try:
                for table in (PREDICTIONS, PARQUET):  # a table of an earlier run must not be taken for this run's
                    (self.out / table).unlink(missing_ok=True)
                records.claim_folder(self.out, self.token)
            except OSError as error:
                raise _not_writable(self.out, error) from error
            given = given_names((case.given for case in self.cases), self.scores.columns)
            columns = (*RESULT_COLUMNS, *given.values(), *self.scores.columns, *SECONDS)
            ended: Counter[str] = Counter()
            try:
                for outcome in work(self._todo(resume)):
                    ended[outcome.status] += 1
                    yield outcome
            except BaseException:
                with suppress(OSError):  # the first error is the reason
                    records.write_tables(self.out, self.jobs(), columns, given)
                raise
            try:
                rows = records.write_tables(self.out, self.jobs(), columns, given)
            except OSError as error:
                raise _not_writable(self.out, error) from error
            _require_rows(self.out / PREDICTIONS, rows, ended)

    def _todo(self, resume: bool) -> Iterator[Job | Outcome]:
        for job in self.jobs():
            try:
                if resume:
                    remove_partial_files(job.folder)
                if job.case.skip is not None:
                    yield records.record_skipped(job)  # keeps the record of an earlier run
                else:
                    yield _outcome_or_job(job) if resume else job
            except OSError as error:
                raise _not_writable(job.folder, error) from error


def _outcome_or_job(job: Job) -> Job | Outcome:
    """Return the outcome of an earlier run if it is still valid; else the job, with the recorded content digest."""
    known = records.read_record(job)
    if known is None or known[0].status != "done":
        return job
    outcome, record = known
    with suppress(OSError, StagingError):  # a missing file or archive, for example: staging the case reports it
        if record["files"] and record["files"] == records.file_states(job.case):
            return outcome
    return replace(job, known_content=record.get("content"))


def require_free_folder(out: Path, resume: bool) -> None:
    """Raise `InputError` if `out` contains results of an earlier run and `resume` is not set."""
    earlier = [path for path in (out / "cases", out / PREDICTIONS) if path.exists()]
    if earlier and not resume:
        raise InputError(
            f"{out} contains results of an earlier run ({earlier[0].name}); expected a folder without results. Set "
            "`resume` to continue that run (finished cases are kept if files, model and options are unchanged), or "
            "choose another `out`."
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the output folder, and lock it inside the block."""
    busy = (
        f"Another batch is writing to {out}; expected one batch per folder. Wait until it ends, or choose another "
        "`out`."
    )
    with ExitStack() as held:
        try:
            out.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked_folder(out / LOCK, busy))
        except OSError as error:
            raise _not_writable(out, error) from error
        yield


def _require_rows(table: Path, rows: Mapping[str, int], ended: Mapping[str, int]) -> None:
    """Raise `OutputError` unless a table has a row for every case that ended, by status."""
    if rows != ended:
        raise OutputError(
            f"{table.name} has {_by_status(rows)}; expected {_by_status(ended)}, one row for each case. The output "
            "folder was moved, or files in it were changed, while the batch ran. Restore the folder if it was renamed, "
            "then set `resume`: only the missing cases are staged."
        )


def _by_status(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values())} rows ({', '.join(f'{counts.get(one, 0)} {one}' for one in records.RECORDS)})"


def _not_writable(place: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{place}: {error.strerror or error}; expected a writable folder with free disk space. Free some space or "
        "choose another folder, then set `resume` to continue: finished cases are kept."
    )


# -- one case ------------------------------------------------------------------------------------------------------


def stage_and_record(job: Job, stage_one: StageOne, scores: ScoreColumns) -> Outcome:
    """Stage a case and record its outcome.

    Raises
    ------
    MachineError, Cancelled
        If the cause is not the case.
    """
    try:
        if (finished := records.outcome_of_this_run(job)) is not None:
            return finished
        records.clear_case_folder(job.folder, RESULTS)
    except OSError as error:
        raise _not_writable(job.folder, error) from error
    try:
        # Before reading, so that the next run notices a file that changes meanwhile.
        states = records.file_states(job.case)
        result = stage_one(job.case, job.folder)
        row = {**records.row_of(result), **scores.of(job.case, result)}
        content = records.content_digest(job.case, result.provenance.input_digest, result.scan.warnings)
    except (Cancelled, MachineError):
        raise
    except Exception as error:  # an unexpected error in one case must not stop the others
        details = error.details if isinstance(error, StagingError) else ""
        trace = "".join(traceback.format_exception(error))
        return record_failure(job, shared_error(error), error_text(error), details, trace)
    try:
        return records.record_done(job, row, states, content)
    except OSError as error:
        raise _not_writable(job.folder, error) from error


def record_failure(job: Job, error: str, *local: str) -> Outcome:
    """Record that a case failed, and remove its other files; `local` are texts for its local log."""
    try:
        if (finished := records.outcome_of_this_run(job)) is not None:
            return finished
        records.clear_case_folder(job.folder, RESULTS)
        out = {job.folder.parent.parent: "the output folder"}
        return records.record_failed(
            job, shared_text(error, (job.case.image, job.case.roi, job.case.stomach), out), local
        )
    except OSError as problem:
        raise _not_writable(job.folder, problem) from problem


def one_by_one(stage_one: StageOne, scores: ScoreColumns | None = None) -> Work:
    """Return work that does the jobs in this process one by one, for a program with the cases in its own memory."""

    def work(todo: Iterable[Job | Outcome]) -> Iterator[Outcome]:
        for one in todo:
            if isinstance(one, Outcome):
                yield one
            elif records.count_start(one) > TRIES:
                why = f"The case ended the program {TRIES} times; expected a result. Its files may be damaged."
                yield record_failure(one, why)
            else:
                yield stage_and_record(one, stage_one, scores or ScoreColumns())

    return work


__all__ = [
    "RESULTS",
    "SCENE",
    "Batch",
    "Counts",
    "StageOne",
    "Work",
    "one_by_one",
    "record_failure",
    "require_free_folder",
    "software_and_model",
    "stage_and_record",
]  # fmt: skip
