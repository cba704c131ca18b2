"""Setups for the processes of a `WorkerGroup` that import nothing heavy: jobs that act on their process."""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

from GTRStagingLib.batch.model_process import Address
from GTRStagingLib.batch.records import Outcome
from GTRStagingLib.batch.scoring import ScoreColumns

HARM = {"crash": lambda: ctypes.string_at(0), "hang": lambda: time.sleep(60)}


@dataclass(frozen=True)
class Poison(ScoreColumns):
    """Does harm when a case is asked for its scores: what the case's file says, a word each time, until it is empty."""

    folder: Path | None = None

    def of(self, case, result):
        doses = self.folder / f"{case.case_id}.doses"
        if doses.exists() and (words := doses.read_text().split()):
            doses.write_text(" ".join(words[1:]))
            HARM[words[0]]()
        return {}


def model(name, device, backend):
    """In place of `model_process.start`: an address where nobody listens."""
    return lambda job: Address(None, b"", None, b"")


def worker(settings):
    """In place of `local._worker`: done, unless the case's dose does harm before."""

    def work(task):
        job, _ = task
        settings.scores.of(job.case, None)
        return Outcome(job.case.case_id, "done", {"status": "done"})

    return work
