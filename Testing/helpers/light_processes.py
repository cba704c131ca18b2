"""Setups of a `WorkerGroup`'s processes without heavy imports, with jobs that crash or block their process."""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.batch.model_process import Address
from GTRStagingLib.batch.records import record_done
from GTRStagingLib.batch.scoring import ScoreColumns

HARM = {"crash": lambda: ctypes.string_at(0), "hang": lambda: time.sleep(60)}


@dataclass(frozen=True)
class Poison(ScoreColumns):
    """Do harm when the scores of a case are computed: one word of the case's file each time, until it is empty."""

    folder: Path | None = None

    def of(self, case, result):
        doses = self.folder / f"{case.case_id}.doses"
        if doses.exists() and (words := doses.read_text().split()):
            doses.write_text(" ".join(words[1:]))
            HARM[words[0]]()
        return {}


def model(name, device, backend):
    """Replacement of `model_process.start`: an address without a process."""
    return lambda job: Address(None, b"", None, b"")


def worker(settings):
    """Replacement of `local._worker`: a case is done, unless its dose does harm before."""

    def work(task):
        job, _ = task
        settings.scores.of(job.case, None)
        return record_done(job, {}, [], "")

    return work
