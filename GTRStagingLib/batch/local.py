"""A batch on one machine: processes that read, prepare and write, around one that has the model.

The workers ask the model's process for each case's pass, and go on with what it answers: so disk, processor and GPU
each have something to do while the others are busy, and the weights are held once.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from GTRStagingLib.batch import model_process
from GTRStagingLib.batch.batch import TRIES, StageOne, record_failure, staged
from GTRStagingLib.batch.cases import BatchCase
from GTRStagingLib.batch.model_process import Address, ModelGoneError
from GTRStagingLib.batch.records import Job, Outcome, content_of, same_again, tidy
from GTRStagingLib.batch.scoring import ScoreColumns
from GTRStagingLib.errors import Cancelled, StagingError
from GTRStagingLib.model.registry import DEFAULT
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.support.isolation import DiedError, Isolated

if TYPE_CHECKING:
    from GTRStagingLib.imaging.keyslice import KeySlice
    from GTRStagingLib.imaging.rois import Roi
    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.model.backbone import Backbone
    from GTRStagingLib.staging.result import StagingResult


@dataclass(frozen=True)
class BatchSettings:
    """How the cases of a batch are staged; the same on every machine that takes part.

    Attributes
    ----------
    model, device, backend
        As `load_model` takes them.
    options
        Of every case's staging. By default a fine map is made of the key slices alone, since one of each neighbour
        takes as long again: give `StagingOptions()` for those too.
    scores
        Further columns of the tables.
    seconds, memory_mb
        What a case may take, see `support.isolation.Isolated`; None: no limit.
    """

    model: str = DEFAULT
    device: str = "auto"
    backend: str = "auto"
    options: StagingOptions = field(default_factory=lambda: StagingOptions(neighbour_maps=False))
    scores: ScoreColumns = field(default_factory=ScoreColumns)
    seconds: float | None = None
    memory_mb: int | None = None


class WorkerGroup:
    """The processes of one machine. `stage` is to be called from as many threads as there are workers."""

    def __init__(self, settings: BatchSettings, workers: int) -> None:
        self._model = Isolated(model_process.start, settings.model, settings.device, settings.backend)
        self._asking, self._alone = threading.Lock(), threading.Lock()
        self._closed = False
        self._all = [
            Isolated(_worker, settings, seconds=settings.seconds, memory_mb=settings.memory_mb, threads=1)
            for _ in range(workers)
        ]
        self._idle: queue.SimpleQueue[Isolated] = queue.SimpleQueue()
        for one in self._all:
            self._idle.put(one)

    def __enter__(self) -> "WorkerGroup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, in the middle of a case too."""
        self._closed = True
        for one in (*self._all, self._model):
            one.close()

    def address(self) -> Address:
        """Where the model's process listens; it is started where it does not run.

        Raises
        ------
        StagingError
            If the model cannot be loaded.
        """
        with self._asking:
            for _ in range(TRIES):
                try:
                    found: Address = self._model.run(None)
                    return found
                except DiedError as error:
                    died = error
            raise StagingError(
                f"The process that has the model ended as soon as it was asked, {TRIES} times; expected it to stay. Is "
                f"there memory enough for it? It said:\n{died.log}"
            ) from died

    def stage(self, job: Job) -> Outcome:
        """Stage a case in the first worker that is idle.

        Raises
        ------
        StagingError
            What is in the way of every case: results that cannot be written, a model that cannot be loaded.
        Cancelled
            If the station was closed meanwhile: the case is neither done nor failed.
        """
        worker = self._idle.get()
        try:
            trace = ""
            for attempt in range(TRIES):
                try:
                    # The second time alone: a case that ends the model's process takes those along that ask beside it.
                    with self._alone if attempt else nullcontext():
                        outcome: Outcome = worker.run((job, self.address()))
                    return outcome
                except ModelGoneError as error:
                    why = str(error)
                except DiedError as error:
                    if self._closed:
                        raise Cancelled("The batch was stopped in the middle of this case.") from error
                    why, trace = str(error), error.log
                    if error.overtime:
                        break
            return record_failure(job, why, trace)
        finally:
            self._idle.put(worker)


def with_workers(station: WorkerGroup, workers: int) -> Callable[[Iterator[Job | Outcome]], Iterator[Outcome]]:
    """Do the jobs of a batch with a station's workers (see `batch.Work`)."""

    def work(todo: Iterator[Job | Outcome]) -> Iterator[Outcome]:
        pool = ThreadPoolExecutor(workers)
        jobs: dict[Future[Outcome], Job] = {}
        try:
            for one in todo:
                if isinstance(one, Outcome):
                    yield one
                    continue
                jobs[pool.submit(station.stage, one)] = one
                while len(jobs) > workers:  # one waits, so that no worker does
                    yield from _finished(jobs)
            while jobs:
                yield from _finished(jobs)
        finally:
            station.close()
            pool.shutdown(wait=True, cancel_futures=True)
            for job in jobs.values():
                tidy(job.folder)

    return work


def _finished(jobs: dict[Future[Outcome], Job]) -> Iterator[Outcome]:
    """Those that end next."""
    for future in wait(jobs, return_when=FIRST_COMPLETED)[0]:
        del jobs[future]
        yield future.result()


def default_workers() -> int:
    """One for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- in a worker ---------------------------------------------------------------------------------------------------


def _worker(settings: BatchSettings) -> Callable[[tuple[Job, Address]], Outcome]:
    """Make the work of a worker: a case, and where the model is."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    for heavy in (
        "staging.pipeline",
        "results.overlay",
        "imaging.dicom",
    ):  # now, since the limit of memory is for cases
        with suppress(ModuleNotFoundError):  # an optional part: the first case says so, with the remedy
            import_module(f"GTRStagingLib.{heavy}")
    known: dict[bytes, model_process.RemoteBackbone] = {}

    def work(task: tuple[Job, Address]) -> Outcome:
        job, address = task
        if address.key not in known:
            for old in known.values():
                old.close()
            known.clear()
            known[address.key] = model_process.RemoteBackbone(address)
        if job.known is not None and _content(job.case, settings.options) == job.known:
            with suppress(OSError):  # a full disk, say: staging meets it too
                if (again := same_again(job)) is not None:
                    return again
        outcome = staged(job, stage_from_files(known[address.key], settings.options), settings.scores)
        if outcome.error is not None:
            known.pop(address.key).close()  # memory may have run out in the middle of an answer
        return outcome

    return work


def _read(case: BatchCase) -> "tuple[Scan, Roi | None, KeySlice | None]":
    """What the table says of a case, read: its CT, its ROI, and the key slice that was chosen by hand."""
    from GTRStagingLib.imaging import keyslice, rois, scans

    scan = scans.read_scan(case.image)
    roi = None if case.roi is None else rois.read_roi(case.roi, segment=case.segment)
    return scan, roi, None if case.key_slice is None else keyslice.by_index(scan.grid, case.key_slice)


def _content(case: BatchCase, options: StagingOptions) -> str | None:
    """What the case's files hold now, without staging it; None where that cannot be told."""
    from GTRStagingLib.imaging import geometry, keyslice
    from GTRStagingLib.staging import preprocess

    try:
        scan, roi, chosen = _read(case)
        mask = None if roi is None else geometry.onto_block(roi.mask, scan.grid, resample=options.resample_roi)
        key = keyslice.choose(scan.grid, mask=mask, chosen=chosen, named=scan.key_index)
        step = preprocess.neighbour_step(scan.grid, options.neighbour_mm)
        offsets = preprocess.voting_slices(geometry.axial_size(scan.grid)[2], key.index, step)
        native = scan.slices(key.index + offsets[0], key.index + offsets[-1], step)
        return content_of(case, scan.digest_with(native, offsets), scan.warnings)
    except Exception:  # staging will say why
        return None


def stage_from_files(backbone: "Backbone", options: StagingOptions) -> StageOne:
    """Stage a case from its files with the library alone."""
    from GTRStagingLib.results.outputs import write_outputs
    from GTRStagingLib.staging.pipeline import stage_case

    def stage_one(case: BatchCase, folder: Path) -> "StagingResult":
        begun = time.perf_counter()
        scan, tumour, key = _read(case)
        read = time.perf_counter() - begun
        result = stage_case(scan, backbone, options, tumour=tumour, key_slice=key, case_id=case.case_id)
        result = replace(result, timings_s={"reading": read, **result.timings_s})
        begun = time.perf_counter()
        write_outputs(result, folder)
        return replace(result, timings_s={**result.timings_s, "writing": time.perf_counter() - begun})

    return stage_one


__all__ = ["BatchSettings", "WorkerGroup", "default_workers", "stage_from_files", "with_workers"]
