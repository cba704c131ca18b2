"""Run batches without processes: the worker's code and the model in this process."""

from contextlib import contextmanager
from types import SimpleNamespace

import SimpleITK as sitk

from GTRStagingLib.batch import local, model_process, run
from GTRStagingLib.batch.records import Outcome
from GTRStagingLib.model import backbone, several


class InProcessGroup:
    """Replacement of `local.WorkerGroup`."""

    def __init__(self, settings, workers):
        self.ready = backbone.load_models(settings.model, settings.device, settings.backend)
        # The attributes of a `model_process.RemoteBackbone`.
        self.remotes = [self._remote(ready) for ready in self.ready]
        self.stage = local._worker(settings)

    @staticmethod
    def _remote(ready):
        return SimpleNamespace(
            card=ready.card,
            head=ready.head,
            cells=ready.cells,
            mean_mask=ready.mean_mask,
            reference=ready.reference,
            proposal_head=ready.proposal_head,
            classify=ready.classify,
            close=lambda: None,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def address(self):
        return model_process.Address(None, b"", several.joined([one.card for one in self.ready]), b"")


def work_in_process(group, workers):
    """Replacement of `local.with_workers`."""

    def work(todo):
        for one in todo:
            yield one if isinstance(one, Outcome) else group.stage((one, group.address()))

    return work


@contextmanager
def no_processes(monkeypatch):
    """Stage the cases of batches in this process meanwhile."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    with monkeypatch.context() as patched:
        made = []

        def group(settings, workers):
            made.append(InProcessGroup(settings, workers))
            return made[-1]

        for module in (local, run):
            patched.setattr(module, "WorkerGroup", group)
            patched.setattr(module, "with_workers", work_in_process)
        patched.setattr(model_process, "RemoteBackbone", lambda address, model: made[-1].remotes[model])
        yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
