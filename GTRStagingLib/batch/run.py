"""Run a batch: read its case table, stage its cases on this machine or a cluster, and write its tables."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from GTRStagingLib.batch.batch import Batch, Counts, Work, require_free_folder, software_and_model
from GTRStagingLib.batch.cases import read_cases
from GTRStagingLib.batch.local import BatchSettings, WorkerGroup, default_workers, with_workers
from GTRStagingLib.batch.records import Outcome
from GTRStagingLib.batch.storing import Storing
from GTRStagingLib.errors import InputError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.several import members_of
from GTRStagingLib.staging.options import resolve_method
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.tables.case_row import CaseRow

DEFAULTS = BatchSettings()

Progress = Callable[[Counts, Outcome | None], None]
"""Function that receives the counts so far and the latest outcome, which is None before the first."""


def run_batch(
    cases: str | Path | Sequence[CaseRow],
    out: str | Path,
    settings: BatchSettings = DEFAULTS,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    storing: Storing | None = None,
    progress: Progress = lambda counts, outcome: None,
) -> Counts:
    """Stage the cases of a table; each ends as done, failed or skipped.

    Parameters
    ----------
    cases
        A table (see `tables.table_files.read_table`), or the cases read from one.
    out
        Output folder, for `cases/CASE/` and the tables of predictions.
    settings
        How each case is staged.
    workers
        Number of processes that read, prepare and write; by default one per processor. Without effect on a cluster.
    scheduler
        Address of a Dask scheduler; its workers then replace the processes of this machine.
    resume
        Continue in a folder with results: finished cases are kept if files, model and options are unchanged.
    storing
        Where the DICOM results of the cases are sent, those of an earlier run included; its attributes say what the
        archive has.
    progress
        Called once the model is loaded, and after each case. An exception that it raises stops the run; the tables of
        the cases so far are written.

    Raises
    ------
    InputError
        If the table has errors, `out` contains results and `resume` is not set, or another run is writing there; or if
        the model has no map of the chosen method, or has no head to propose the key slices that are asked for.
    StagingError
        If every case would fail: the model cannot be loaded, or the folder cannot be written to. An error of one case
        is in its record.
    """
    if isinstance(cases, str | Path):
        cases = read_cases(Path(cases))
    out = Path(out)
    if workers is not None and workers < 1:
        raise InputError(f"`workers` is {workers}; expected 1 or more, or None for one per processor.")
    require_free_folder(out, resume)  # before the model is loaded
    counts = Counts(len(cases))
    with _work(settings, out, workers, scheduler) as (card, work):
        for one in members_of(card):
            resolve_method(one, settings.options.method)  # else every case would fail
        if settings.options.propose_key_slice:
            _require_proposals(cases, members_of(card)[0])
        if settings.scores.radscore is not None:
            settings.scores.radscore.require_model(card.sha256)
        progress(counts, None)
        for outcome in Batch(cases, out, depends_on(settings, card), settings.scores).run(work, resume=resume):
            counts = counts.with_outcome(outcome)
            if storing is not None and outcome.status == "done":
                storing.send(out / "cases" / outcome.case_id)
            progress(counts, outcome)
    if storing is not None:
        storing.finish()
    return counts


def _require_proposals(cases: Sequence[CaseRow], card: ModelCard) -> None:
    """Raise `WeightsError` if a case needs a proposal, which the first model cannot make: it would fail by itself."""
    from GTRStagingLib.staging.proposal import no_head

    to_propose = [case for case in cases if case.skip is None and case.roi is None and case.key_slice is None]
    if to_propose and card.proposal is None:
        raise no_head(card)


def depends_on(settings: BatchSettings, card: ModelCard) -> dict[str, Any]:
    """Return what the results depend on beside the cases, as plain data: software, model, options, scores."""
    radscore, nomogram = settings.scores.radscore, settings.scores.nomogram
    return {
        **software_and_model(card),
        "options": settings.options.to_json(),
        "device": settings.device,
        "backend": settings.backend,
        "radscore": None if radscore is None else radscore.to_json(),
        "nomogram": None if nomogram is None else nomogram.to_json(),
        **({} if settings.dicom is None else {"dicom": settings.dicom}),
    }


@contextmanager
def _work(
    settings: BatchSettings, out: Path, workers: int | None, scheduler: str | None
) -> Iterator[tuple[ModelCard, Work]]:
    """Yield the model card, and the work of this machine's processes or of a cluster."""
    if scheduler is not None:
        import_extra("distributed", "A cluster needs", "cluster")
        from GTRStagingLib.batch.cluster import Cluster

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # our error replaces its traceback
        with Cluster(scheduler, settings, out) as cluster:
            yield cluster.card, cluster.work
        return
    count = workers or default_workers()
    with WorkerGroup(settings, count) as group:
        yield group.address().card, with_workers(group, count)


__all__ = ["DEFAULTS", "depends_on", "run_batch"]
