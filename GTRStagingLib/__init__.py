"""T staging of gastric cancer on portal-venous CT. Research use only.

One case::

    scan = read_scan(path)                                  # DICOM, NIfTI, NRRD, MetaImage or PNG
    tumour = read_roi(mask, segment=1)                      # DICOM SEG, .seg.nrrd or label map
    model = load_model("demonstration", device="auto")      # weights and their card, made ready to run
    result = stage_case(scan, model, StagingOptions(method="layercam"), tumour=tumour)
    write_outputs(result, out)                              # result.json, attention.nrrd, overlay.png, report.html

Many cases: `run_batch` stages the cases of a table, `read_predictions` and `evaluate` measure how good the stages are,
`write_evaluation` writes the evidence. A cohort (`read_cohort`) is split by patient (`split_cohort`), searched for
leaks (`audit`), and trained on (`train`). What is needed less often is imported from its room: key slices by index
(`imaging.keyslice`), Rad-scores and nomograms (`radscore`, `nomogram`), single statistics (`stats`).

The library has a room (sub-package) for each part; a room imports from the rooms below it:

============================  ======================================================
cli                           the command line
evaluation                    a table of predictions -> the evidence
batch                         a table of cases -> results, each case accounted for
results                       a result -> its record, overlay and report
nomogram, radscore, training  what is fitted on cohorts
checking                      whether a model's maps can be believed
phantoms, stats               synthetic CTs of known truth; estimates with intervals
cohort, staging               many cases as a table; one case from its CT to its result
imaging, model, tables        where voxels lie; networks and weights; tables as text
support                       files, processes, figures, pages
============================  ======================================================

Each room's docstring says what goes in, what comes out, and names its modules. `stages` and `errors` belong to all.

Importing this package loads nothing but these lines: a name's module is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a type checker sees; `_WHERE` below says the same at run time, and a test compares them
    from GTRStagingLib.batch.local import BatchSettings
    from GTRStagingLib.batch.run import run_batch
    from GTRStagingLib.cohort.audit import Audit, audit
    from GTRStagingLib.cohort.cohort import Case, Cohort, read_cohort, split_cohort, write_cohort
    from GTRStagingLib.errors import (
        Cancelled,
        GeometryError,
        InputError,
        LeakageError,
        MissingDependencyError,
        StagingError,
        WeightsError,
    )
    from GTRStagingLib.evaluation.evaluate import Evaluation, evaluate
    from GTRStagingLib.evaluation.predictions import Predictions, read_predictions
    from GTRStagingLib.evaluation.report import write_evaluation
    from GTRStagingLib.imaging.keyslice import KeySlice
    from GTRStagingLib.imaging.rois import Roi, read_roi
    from GTRStagingLib.imaging.scans import Scan, read_scan, scan_of
    from GTRStagingLib.model.backbone import load_model
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.results.outputs import write_outputs
    from GTRStagingLib.stages import TStage
    from GTRStagingLib.staging.options import StagingOptions
    from GTRStagingLib.staging.pipeline import stage_case
    from GTRStagingLib.staging.result import StagingResult
    from GTRStagingLib.training.plan import Hardware, Plan
    from GTRStagingLib.training.train import train

__version__ = "0.2.0.dev0"

_WHERE = {
    "Audit": "cohort.audit",
    "BatchSettings": "batch.local",
    "Cancelled": "errors",
    "Case": "cohort.cohort",
    "Cohort": "cohort.cohort",
    "Evaluation": "evaluation.evaluate",
    "GeometryError": "errors",
    "Hardware": "training.plan",
    "InputError": "errors",
    "KeySlice": "imaging.keyslice",
    "LeakageError": "errors",
    "MissingDependencyError": "errors",
    "ModelCard": "model.card",
    "Plan": "training.plan",
    "Predictions": "evaluation.predictions",
    "Roi": "imaging.rois",
    "Scan": "imaging.scans",
    "StagingError": "errors",
    "StagingOptions": "staging.options",
    "StagingResult": "staging.result",
    "TStage": "stages",
    "WeightsError": "errors",
    "audit": "cohort.audit",
    "evaluate": "evaluation.evaluate",
    "load_model": "model.backbone",
    "make_phantom": "phantoms.phantom",
    "read_cohort": "cohort.cohort",
    "read_predictions": "evaluation.predictions",
    "read_roi": "imaging.rois",
    "read_scan": "imaging.scans",
    "run_batch": "batch.run",
    "scan_of": "imaging.scans",
    "split_cohort": "cohort.cohort",
    "stage_case": "staging.pipeline",
    "train": "training.train",
    "write_cohort": "cohort.cohort",
    "write_evaluation": "evaluation.report",
    "write_outputs": "results.outputs",
}

__all__ = [
    "Audit",
    "BatchSettings",
    "Cancelled",
    "Case",
    "Cohort",
    "Evaluation",
    "GeometryError",
    "Hardware",
    "InputError",
    "KeySlice",
    "LeakageError",
    "MissingDependencyError",
    "ModelCard",
    "Plan",
    "Predictions",
    "Roi",
    "Scan",
    "StagingError",
    "StagingOptions",
    "StagingResult",
    "TStage",
    "WeightsError",
    "__version__",
    "audit",
    "evaluate",
    "load_model",
    "make_phantom",
    "read_cohort",
    "read_predictions",
    "read_roi",
    "read_scan",
    "run_batch",
    "scan_of",
    "split_cohort",
    "stage_case",
    "train",
    "write_cohort",
    "write_evaluation",
    "write_outputs",
]


if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'GTRStagingLib' has no attribute {name!r}")
        return getattr(import_module(f"GTRStagingLib.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
