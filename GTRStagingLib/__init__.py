"""T staging of gastric cancer on portal-venous CT. Research use only.

One case::

    scan = read_scan(path)                                  # DICOM, NIfTI, NRRD, MetaImage or PNG
    tumour = read_roi(mask, segment=1)                      # DICOM SEG, RTSTRUCT, .seg.nrrd or label map
    model = load_model("demonstration", device="auto")      # weights and model card, ready to run
    result = stage_case(scan, model, StagingOptions(method="layercam"), tumour=tumour)
    write_outputs(result, out)                              # result.json, attention.nrrd, overlay.png, report.html

Many cases: `run_batch` stages the cases of a table, `read_predictions` and `evaluate` compare predicted with true
stages, `write_evaluation` writes the evaluation. `read_cohort` reads a cohort, `split_cohort` splits it by patient,
`audit` searches it for leaks, and `train` trains on it. Less common functions are imported from their room: key slices
by index (`imaging.keyslice`), Rad-scores and nomograms (`radscore`, `nomogram`), single statistics (`stats`).

The library has a room (sub-package) for each part; a room imports from the rooms below it:

============================  ======================================================
cli                           the command line
evaluation, monitoring        a table of predictions -> its evaluation; batches over time -> alarms
reading                       reader studies: design, session of a reader, tables of the answers
batch                         a table of cases -> results, and an outcome for each case
results                       a result -> its record, overlay and report
nomogram, radscore, training  models fitted on cohorts
checking                      checks of a model's attention maps, and its calibration
phantoms, stats               synthetic CTs with ground truth; estimates with intervals
cohort, staging               many cases as a table; one case from its CT to its result
imaging, model, tables        CTs and ROIs with their geometry; networks and weights; tables as text
support                       files, processes, figures, pages
============================  ======================================================

The docstring of each room states its input and output and lists its modules. All rooms use `stages` and `errors`.

Importing this package imports no other module: the module of a name is imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; `_WHERE` below is the same list at run time, and a test compares both
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
    from GTRStagingLib.model.backbone import load_model, load_models
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.results.outputs import write_outputs
    from GTRStagingLib.stages import TStage
    from GTRStagingLib.staging.options import StagingOptions
    from GTRStagingLib.staging.pipeline import stage_case
    from GTRStagingLib.staging.profile import Profile
    from GTRStagingLib.staging.result import StagingResult
    from GTRStagingLib.staging.scanning import profile_scan
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
    "Profile": "staging.profile",
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
    "load_models": "model.backbone",
    "make_phantom": "phantoms.phantom",
    "profile_scan": "staging.scanning",
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
    "Profile",
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
    "load_models",
    "make_phantom",
    "profile_scan",
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


if not TYPE_CHECKING:  # hidden from type checkers, which would otherwise accept any name

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'GTRStagingLib' has no attribute {name!r}")
        return getattr(import_module(f"GTRStagingLib.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
