"""Run a batch: read its table, stage its cases on this machine or a cluster, and write its tables."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from GTRStagingLib.batch.batch import Batch, Counts, Work, made_with, require_room
from GTRStagingLib.batch.cases import BatchCase, read_cases
from GTRStagingLib.batch.local import BatchSettings, WorkerGroup, default_workers, with_workers
from GTRStagingLib.batch.records import Outcome
from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.staging.options import resolve_method
from GTRStagingLib.support.extras import import_extra

DEFAULTS = BatchSettings()

Progress = Callable[[Counts, Outcome | None], None]
"""Hears the counts so far, and the case that they changed by; None before the first."""


def run_batch(
    cases: str | Path | Sequence[BatchCase],
    out: str | Path,
    settings: BatchSettings = DEFAULTS,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    progress: Progress = lambda counts, outcome: None,
) -> Counts:
    """Stage the cases of a table; each ends as done, failed or skipped.

    Parameters
    ----------
    cases
        A table (CSV or Parquet), or the cases read from one.
    out
        Receives `cases/CASE/` and the tables of predictions.
    settings
        How each case is staged.
    workers
        Processes that read, prepare and write; one for each processor if not given. Without effect on a cluster.
    scheduler
        Address of a Dask scheduler, whose workers then do the work in place of this machine's processes.
    resume
        Go on in a folder with results: what was done with the same files, model and options stays.
    progress
        Called once the model is loaded, and after each case; what it raises stops the run. Tables of the cases so far
        are written all the same.

    Raises
    ------
    InputError
        If the table has faults, `out` holds results and `resume` is not set, or another run is writing there; or the
        model has no map of the method that is asked for.
    StagingError
        What is in the way of every case: a model that cannot be loaded, a folder that cannot be written to. What goes
        wrong with one case is in its record.
    """
    if isinstance(cases, str | Path):
        cases = read_cases(Path(cases))
    out = Path(out)
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers; expected 1 or more, or None for one a processor.")
    require_room(out, resume)  # before the model is loaded
    counts = Counts(len(cases))
    with _work(settings, out, workers, scheduler) as (card, work):
        resolve_method(card, settings.options.method)  # each case would fail of the same
        if settings.scores.radscore is not None:
            settings.scores.radscore.require_model(card.sha256)
        progress(counts, None)
        for outcome in Batch(cases, out, depends_on(settings, card), settings.scores).run(work, resume=resume):
            counts = counts.after(outcome)
            progress(counts, outcome)
    return counts


def depends_on(settings: BatchSettings, card: ModelCard) -> dict[str, Any]:
    """What makes two runs the same, cases apart, as plain data: software, model, options, scores."""
    radscore, nomogram = settings.scores.radscore, settings.scores.nomogram
    return {
        **made_with(card),
        "options": settings.options.to_json(),
        "device": settings.device,
        "backend": settings.backend,
        "radscore": None if radscore is None else radscore.to_json(),
        "nomogram": None if nomogram is None else nomogram.to_json(),
    }


@contextmanager
def _work(
    settings: BatchSettings, out: Path, workers: int | None, scheduler: str | None
) -> Iterator[tuple[ModelCard, Work]]:
    """The model's card, and what does the work: this machine's processes, or a cluster's."""
    if scheduler is not None:
        import_extra("distributed", "A cluster needs", "cluster")
        from GTRStagingLib.batch.cluster import Cluster

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our error says it without a traceback
        with Cluster(scheduler, settings, out) as cluster:
            yield cluster.card, cluster.work
        return
    count = workers or default_workers()
    with WorkerGroup(settings, count) as station:
        yield station.address().card, with_workers(station, count)


__all__ = ["DEFAULTS", "depends_on", "run_batch"]
