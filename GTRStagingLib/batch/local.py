"""Run a batch on one machine: workers read, prepare and write the cases, and one model process runs the network.

Each worker sends the slices of its case to the model process and continues with the answer. Disk, processor and GPU
work at the same time, and the weights are in memory once.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from GTRStagingLib.batch import model_process
from GTRStagingLib.batch.batch import StageOne, record_failure, stage_and_record
from GTRStagingLib.batch.model_process import Address, ModelGoneError
from GTRStagingLib.batch.records import Job, Outcome, content_digest, renew_record
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.errors import Cancelled, StagingError
from GTRStagingLib.model.registry import DEFAULT
from GTRStagingLib.model.several import with_folds
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.support.files import remove_partial_files
from GTRStagingLib.support.isolation import TRIES, DiedError, IsolatedProcess
from GTRStagingLib.tables.case_files import DICOM
from GTRStagingLib.tables.case_row import CaseRow

if TYPE_CHECKING:
    from GTRStagingLib.dicom_results.identity import Codes
    from GTRStagingLib.imaging.inputs import Inputs
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.staging.result import StagingResult


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a batch, the same on every machine that takes part.

    Attributes
    ----------
    model, device, backend
        As `load_models` takes them: one or several models.
    options
        Options of staging. By default a fine map is computed for the key slice only, since each neighbouring slice
        takes as long again. Use `StagingOptions()` to include the neighbouring slices.
    scores
        Further columns of the tables.
    time_limit
        Seconds that a case may take; None: no limit.
    memory_limit
        Megabytes that a case may take, see `support.isolation.IsolatedProcess`; None: no limit.
    dicom
        Coding of the results as DICOM objects, see `dicom_results.identity.Codes`; None: no such objects.
    """

    model: str | tuple[str, ...] = DEFAULT
    device: str = "auto"
    backend: str = "auto"
    options: StagingOptions = field(default_factory=lambda: StagingOptions(neighbour_maps=False))
    scores: ScoreColumns = field(default_factory=ScoreColumns)
    time_limit: float | None = None
    memory_limit: int | None = None
    dicom: "Codes | None" = None


class WorkerGroup:
    """Processes of one machine: workers and a model process. Call `stage` from one thread per worker."""

    def __init__(self, settings: BatchSettings, workers: int) -> None:
        self._model = IsolatedProcess(
            model_process.start, with_folds(settings.model), settings.device, settings.backend
        )
        self._address_lock, self._gate = threading.Lock(), Gate()
        self._closed = False
        self._all = [
            IsolatedProcess(_worker, settings, seconds=settings.time_limit, memory_mb=settings.memory_limit, threads=1)
            for _ in range(workers)
        ]
        self._idle: queue.SimpleQueue[IsolatedProcess] = queue.SimpleQueue()
        for one in self._all:
            self._idle.put(one)

    def __enter__(self) -> "WorkerGroup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, also in the middle of a case."""
        self._closed = True
        for one in (*self._all, self._model):
            one.close()

    def address(self) -> Address:
        """Return the address of the model process, and start the process if it is not running.

        Raises
        ------
        StagingError
            If the model cannot be loaded.
        """
        with self._address_lock:
            for _ in range(TRIES):
                try:
                    found: Address = self._model.run(None)
                    return found
                except DiedError as error:
                    died = error
            raise StagingError(
                f"The model process ended {TRIES} times during its start; expected it to run. Check that it has enough "
                "memory.",
                details=f"Its output:\n{died.log}",
            ) from died

    def stage(self, job: Job) -> Outcome:
        """Stage a case in the first idle worker.

        Raises
        ------
        StagingError
            If results cannot be written or the model cannot be loaded: such errors concern every case.
        Cancelled
            If the group was closed meanwhile; the case has no outcome then.
        """
        worker = self._idle.get()
        try:
            trace = ""
            for attempt in range(TRIES):
                try:
                    # Retry alone: a case that ends the model process also ends the passes of the other workers, and a
                    # retry that another case ends as well would count as its own failure.
                    with self._gate.passed(alone=attempt > 0):
                        outcome: Outcome = worker.run((job, self.address()))
                    return outcome
                except ModelGoneError as error:
                    why = str(error)
                except DiedError as error:
                    if self._closed:
                        raise Cancelled("The batch was stopped during this case.") from error
                    why, trace = str(error), error.log
                    if error.overtime:
                        break
            return record_failure(job, why, trace)
        finally:
            self._idle.put(worker)


class Gate:
    """Gate that lets first attempts at cases run together, and each retry while nothing else runs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = self._retries = 0

    @contextmanager
    def passed(self, *, alone: bool) -> Iterator[None]:
        """Wait until an attempt may start, and run it inside the block; waiting retries go first."""
        with self._changed:
            self._retries += alone
            self._changed.wait_for(lambda: not self._running if alone else not self._retries)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._retries -= alone
                self._changed.notify_all()


def with_workers(group: WorkerGroup, workers: int) -> Callable[[Iterator[Job | Outcome]], Iterator[Outcome]]:
    """Return work that does the jobs of a batch in a worker group (see `batch.Work`)."""

    def work(todo: Iterator[Job | Outcome]) -> Iterator[Outcome]:
        pool = ThreadPoolExecutor(workers)
        jobs: dict[Future[Outcome], Job] = {}
        try:
            for one in todo:
                if isinstance(one, Outcome):
                    yield one
                    continue
                jobs[pool.submit(group.stage, one)] = one
                while len(jobs) > workers:  # one job is queued, so that no worker waits
                    yield from _next_outcomes(jobs)
            while jobs:
                yield from _next_outcomes(jobs)
        finally:
            group.close()
            pool.shutdown(wait=True, cancel_futures=True)
            for job in jobs.values():
                remove_partial_files(job.folder)

    return work


def _next_outcomes(jobs: dict[Future[Outcome], Job]) -> Iterator[Outcome]:
    """Wait until a job ends, remove the finished jobs and yield their outcomes."""
    for future in wait(jobs, return_when=FIRST_COMPLETED)[0]:
        del jobs[future]
        yield future.result()


def default_workers() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- in a worker ---------------------------------------------------------------------------------------------------


def _worker(settings: BatchSettings) -> Callable[[tuple[Job, Address]], Outcome]:
    """Return the function that a worker runs on a job and the address of the model process."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    # Import before the first case, since the memory limit applies to cases.
    for heavy in ("staging.pipeline", "results.overlay", "imaging.dicom"):
        with suppress(ModuleNotFoundError):  # an optional package is missing: the first case reports it
            import_module(f"GTRStagingLib.{heavy}")
    known: dict[bytes, tuple[model_process.RemoteBackbone, ...]] = {}

    def work(task: tuple[Job, Address]) -> Outcome:
        job, address = task
        if address.key not in known:
            for old in known.values():
                model_process.close(old)
            known.clear()
            known[address.key] = model_process.connect(address)
        if job.known_content is not None and _content_digest(job.case, settings.options) == job.known_content:
            with suppress(OSError):  # a full disk, for example: staging reports it
                if (again := renew_record(job)) is not None:
                    return again
        stage_one = stage_from_files(known[address.key], settings.options, settings.dicom)
        outcome = stage_and_record(job, stage_one, settings.scores)
        if outcome.error is not None:
            model_process.close(known.pop(address.key))  # an answer may be half read, if memory ran out
        return outcome

    return work


def _read(case: CaseRow) -> "Inputs":
    """Read the CT, the ROI and the mask of the stomach of a case."""
    from GTRStagingLib.archive.remote_series import read_remote
    from GTRStagingLib.imaging.inputs import read_inputs

    ct = case.ct if case.archive is None else partial(read_remote, case.archive)
    return read_inputs(
        ct, series=case.series, roi=case.roi, segment=case.segment, stomach=case.stomach,
        stomach_segment=case.stomach_segment, key_slice=case.key_slice,
    )  # fmt: skip


def _content_digest(case: CaseRow, options: StagingOptions) -> str | None:
    """Return the content digest of a case's files, without staging it; None if they cannot be read."""
    from GTRStagingLib.imaging import geometry, keyslice
    from GTRStagingLib.staging import preprocess

    try:
        scan, roi, _ = _read(case)
        mask = None if roi is None else roi.onto(scan.grid, resample=options.resample_roi)
        key = keyslice.choose(scan, mask=mask, key_slice=case.key_slice)
        step = preprocess.neighbour_step(scan.grid, options.neighbour_mm)
        offsets = preprocess.voting_slices(geometry.axial_size(scan.grid)[2], key.index, step)
        native = scan.slices(key.index + offsets[0], key.index + offsets[-1], step)
        return content_digest(case, scan.digest_with(native, offsets), scan.warnings)
    except Exception:  # staging reports it
        return None


def stage_from_files(
    backbone: "Backbone | Sequence[Backbone]", options: StagingOptions, dicom: "Codes | None" = None
) -> StageOne:
    """Return a function that stages a case from its files and writes its results, with `dicom` as DICOM objects too."""
    from GTRStagingLib.results.outputs import write_outputs
    from GTRStagingLib.staging.pipeline import stage_case

    def stage_one(case: CaseRow, folder: Path) -> "StagingResult":
        start = time.perf_counter()
        scan, tumour, stomach = _read(case)
        read = time.perf_counter() - start
        if dicom is not None:
            from GTRStagingLib.dicom_results.write import require_dicom_results, write_dicom_results

            require_dicom_results(scan)
        result = stage_case(
            scan, backbone, options, tumour=tumour, stomach=stomach, key_slice=case.key_slice, case_id=case.case_id
        )
        result = replace(result, timings_s={"reading": read, **result.timings_s})
        start = time.perf_counter()
        write_outputs(result, folder)
        if dicom is not None:
            write_dicom_results(result, folder / DICOM, threshold=options.threshold, codes=dicom)
        return replace(result, timings_s={**result.timings_s, "writing": time.perf_counter() - start})

    return stage_one


__all__ = ["BatchSettings", "Gate", "WorkerGroup", "default_workers", "stage_from_files", "with_workers"]
