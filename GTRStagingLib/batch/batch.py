"""A table of cases, each of them accounted for: staged, failed or skipped, whatever happens to the machine meanwhile.

What is done where is injected: in this process (`one_by_one`), by workers around one model (`local`), or on a cluster
(`cluster`). Records and tables are the same. `run.run_batch` puts it all together.
"""

import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import GTRStagingLib
from GTRStagingLib.batch import records
from GTRStagingLib.batch.cases import BatchCase
from GTRStagingLib.batch.columns import PARQUET, PREDICTIONS, RESULT_COLUMNS, ROWS_VERSION, SECONDS, given_names
from GTRStagingLib.batch.records import Job, Outcome
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.errors import Cancelled, InputError, MachineError, OutputError, StagingError
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.tables.case_files import OUTPUTS

if TYPE_CHECKING:
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.staging.result import StagingResult

TRIES = 2
"""Of a case that ends its process: once may have been the machine's doing."""

LOCK, SCENE = ".batch.lock", "scene.mrb"

RESULTS = (*OUTPUTS, SCENE)
"""What a case's folder may hold beside its record."""

SHAPING = ("torch", "torchvision", "onnxruntime", "SimpleITK", "numpy", "grad-cam", "scikit-image", "pillow", "scipy")
"""Packages of which another version may give other digits."""

StageOne = Callable[[BatchCase, Path], "StagingResult"]
"""Stages a case and writes its files into its folder."""

Work = Callable[[Iterator[Job | Outcome]], Iterator[Outcome]]
"""Does jobs, in whatever order; an outcome that is known already passes through. It asks for no more jobs than it is
about to do."""


@dataclass(frozen=True)
class Counts:
    """What became of the cases so far."""

    total: int
    done: int = 0
    failed: int = 0
    skipped: int = 0
    reused: int = 0

    @property
    def accounted(self) -> int:
        """All that are settled."""
        return self.done + self.failed + self.skipped

    def in_words(self) -> str:
        """All of them, in a sentence without its full stop."""
        left = self.total - self.accounted
        parts = [f"{self.done} done", f"{self.failed} failed", f"{self.skipped} skipped"]
        before = f" ({self.reused} of them by an earlier run)" if self.reused else ""
        return f"{self.total} cases: {', '.join(parts + ([f'{left} not reached'] if left else []))}{before}"

    def after(self, outcome: Outcome) -> "Counts":
        """With one more."""
        is_ = outcome.status
        return Counts(
            self.total,
            self.done + (is_ == "done"),
            self.failed + (is_ == "failed"),
            self.skipped + (is_ == "skipped"),
            self.reused + outcome.reused,
        )


def made_with(card: "ModelCard") -> dict[str, Any]:
    """What every result depends on, beside the options: this software and the model."""
    installed = {}
    for package in SHAPING:
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
    """The cases of a run and where their results go.

    Attributes
    ----------
    depends_on
        All that the results depend on beside the cases: model, recipe, options, as plain data.
    scores
        Further columns.
    token
        Tells this run from every other.
    """

    cases: Sequence[BatchCase]
    out: Path
    depends_on: Mapping[str, Any]
    scores: ScoreColumns = field(default_factory=ScoreColumns)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def jobs(self) -> Iterator[Job]:
        """A job for every case, those that will be skipped included."""
        for case in self.cases:
            # What a nomogram reads in the table is part of its result.
            read = {} if self.scores.nomogram is None else {t.name: case.given.get(t.name)
                                                            for t in self.scores.nomogram.terms}  # fmt: skip
            digest = sha256_of_data(self.depends_on, case.segment, case.key_slice, case.roi is None, case.skip, read)
            yield Job(case, self.out / "cases" / case.case_id, digest, self.token)

    def run(self, work: Work, *, resume: bool = False) -> Iterator[Outcome]:
        """Do all that is to be done, and give what became of each case as it is known.

        `out/cases/CASE/` holds a case's files, see `records`; the tables are written at the end, also of a run
        that is stopped. A case that fails does not stop the others.

        Parameters
        ----------
        resume
            Leave alone what an earlier run has done with the same files, model and options. Failed cases are tried
            again.

        Raises
        ------
        InputError
            If `out` holds another run's results, and `resume` is not set; or another run is writing there.
        OutputError
            If `out` cannot be written to. `Cancelled` passes through, whoever raised it.
        """
        with _kept(self.out):
            require_room(self.out, resume)
            try:
                for table in (PREDICTIONS, PARQUET):  # one of an earlier run never stands for this one
                    (self.out / table).unlink(missing_ok=True)
                records.begin(self.out, self.token)
            except OSError as error:
                raise _no_output(self.out, error) from error
            given = given_names((case.given for case in self.cases), self.scores.columns)
            try:
                yield from work(self._todo(resume))
            finally:
                columns = (*RESULT_COLUMNS, *given.values(), *self.scores.columns, *SECONDS)
                try:
                    records.write_tables(self.out, self.jobs(), columns, given)
                except OSError as error:
                    raise _no_output(self.out, error) from error

    def _todo(self, resume: bool) -> Iterator[Job | Outcome]:
        for job in self.jobs():
            try:
                if job.case.skip is not None:
                    yield records.skipped(job)  # beside what an earlier run may have done with it
                else:
                    yield _as_before(job) if resume else job
            except OSError as error:
                raise _no_output(job.folder, error) from error


def _as_before(job: Job) -> Job | Outcome:
    """What an earlier run made of the case, if it would be the same again; else the job, with what is known."""
    known = records.recorded(job)
    if known is None or known[0].status != "done":
        return job
    outcome, record = known
    with suppress(OSError):  # a file that has gone, say: the case will say so
        if record["files"] and record["files"] == records.looks(job.case):
            return outcome
    return replace(job, known=record.get("content"))


def require_room(out: Path, resume: bool) -> None:
    """Raise `InputError` where an earlier run's results would be mixed with these, or thrown away by a slip."""
    earlier = [path for path in (out / "cases", out / PREDICTIONS) if path.exists()]
    if earlier and not resume:
        raise InputError(
            f"{out} holds the results of an earlier run ({earlier[0].name}); expected a folder without. Give --resume "
            "to go on with it (what is done with the same files, model and options stays as it is), or choose another "
            "--out."
        )


class _kept:  # noqa: N801 (a context manager, read like a function)
    """The folder, for this run alone: its lock goes with the process, however that ends."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> None:
        from filelock import FileLock, Timeout

        try:
            self._out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._out / LOCK)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise InputError(
                f"Another batch is writing to {self._out}; expected a folder of its own for each. Wait for it, or "
                "choose another --out."
            ) from error
        except OSError as error:
            raise _no_output(self._out, error) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _no_output(place: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{place}: {error.strerror or error}; expected a folder that can be written to, on a disk with room. Free some "
        "space or choose another folder, and go on with --resume: what is done is not done again."
    )


# -- one case ------------------------------------------------------------------------------------------------------


def staged(job: Job, stage_one: StageOne, scores: ScoreColumns) -> Outcome:
    """Stage a case and record what became of it.

    Raises
    ------
    MachineError, Cancelled
        What is not the case's fault.
    """
    try:
        if (settled := records.settled(job)) is not None:
            return settled
        records.clear(job.folder, RESULTS)
    except OSError as error:
        raise _no_output(job.folder, error) from error
    try:
        look = records.looks(job.case)  # before reading: a file that changes meanwhile looks different next time
        result = stage_one(job.case, job.folder)
        row = {**records.row_of(result), **scores.of(job.case, result)}
        content = records.content_of(job.case, result.provenance.input_digest, result.scan.warnings)
    except (Cancelled, MachineError):
        raise
    except Exception as error:  # a case that nobody expected must not cost the others
        return record_failure(job, said(error), "".join(traceback.format_exception(error)))
    try:
        return records.done(job, row, look, content)
    except OSError as error:
        raise _no_output(job.folder, error) from error


def said(error: BaseException) -> str:
    """An error in one line; those that nobody expected with their type."""
    if _is_out_of_memory(error):
        return "It needs more memory than a case may take; expected less. Allow more with --memory-limit."
    text = " ".join(str(error).split())
    return text if isinstance(error, StagingError) else f"{type(error).__name__}: {text}"


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Also where a library said so in its own words, and somebody else reported that."""
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError) or "bad_alloc" in words or "failed to allocate memory" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def record_failure(job: Job, error: str, trace: str) -> Outcome:
    """Record that a case has failed; nothing else of it is left."""
    try:
        if (settled := records.settled(job)) is not None:
            return settled
        records.clear(job.folder, RESULTS)
        return records.failed(job, error, trace)
    except OSError as problem:
        raise _no_output(job.folder, problem) from problem


def one_by_one(stage_one: StageOne, scores: ScoreColumns | None = None) -> Work:
    """Do the jobs in this process, one after the other: for a program that has the cases in its own memory."""

    def work(todo: Iterable[Job | Outcome]) -> Iterator[Outcome]:
        for one in todo:
            if isinstance(one, Outcome):
                yield one
            elif records.begun(one) > TRIES:
                why = f"It ended the whole program, {TRIES} times; expected a result. Its files may be damaged."
                yield record_failure(one, why, "")
            else:
                yield staged(one, stage_one, scores or ScoreColumns())

    return work


__all__ = ["RESULTS", "SCENE", "TRIES", "Batch", "Counts", "StageOne", "Work", "made_with", "one_by_one",
           "record_failure", "require_room", "said", "staged"]  # fmt: skip
