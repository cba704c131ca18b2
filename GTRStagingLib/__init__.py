"""T staging of gastric cancer on portal-venous CT: from a scan to a stage, and to how far to trust it.

Research use only. The way of a case, each step in a file of that name::

    scan = images.read_scan(path)                 # DICOM, NIfTI, NRRD, MetaImage or PNG -> Scan
    tumour = rois.read_roi(mask, segment=1)       # DICOM SEG, .seg.nrrd or label map -> Roi
    model = weights.load("untrained")             # a folder: weights and their card -> Model
    result = staging.stage_case(scan, model=model, tumour=tumour)
    report.write_outputs(result, out)             # result.json, attention.nrrd, overlay.png, report.html

Inside `stage_case`: `keyslice` chooses the slice, `preprocess` prepares it and its neighbours by the model's `recipe`,
`network` classifies them in one pass, `voting` counts, `attention` lays the heat map on the anatomy, `agreement`
compares it with the ROI. Many cases are a `cohort`: a table, split by patient, that `audit` searches for leaks and
contradictions, and that `train` makes a model of: `plan` says how, `slicecache` prepares, `augment` varies, `fitting`
runs the epochs, `scores` measures. From `predictions`, a table alone, `evaluate` tells how good they are, and
`evaluation_report` writes it down; `radscore` and `nomogram` join the network's features with the patient's covariates,
fitted by `radscore_fit` and `nomogram_fit`. `geometry` knows where every voxel lies; `errors` says what went wrong and
what to do.

Importing this package loads nothing but these lines: names are looked up when they are used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "TStage": "stages",
    "StagingError": "errors",
    "InputError": "errors",
    "GeometryError": "errors",
    "WeightsError": "errors",
    "LeakageError": "errors",
    "Cancelled": "errors",
    "Scan": "imaging.scans",
    "read_scan": "imaging.scans",
    "Roi": "imaging.rois",
    "read_roi": "imaging.rois",
    "KeySlice": "imaging.keyslice",
    "Recipe": "model.recipe",
    "Prediction": "staging.voting",
    "SlicePrediction": "staging.voting",
    "Attention": "staging.attention",
    "Agreement": "staging.agreement",
    "Model": "model.weights",
    "ModelCard": "model.card",
    "Provenance": "staging.pipeline",
    "StagingResult": "staging.pipeline",
    "stage_case": "staging.pipeline",
    "write_outputs": "results.report",
    "make_phantom": "phantoms.phantom",
    "Case": "cohort.cohort",
    "Cohort": "cohort.cohort",
    "read_cohort": "cohort.cohort",
    "write_cohort": "cohort.cohort",
    "split_cohort": "cohort.cohort",
    "folds": "cohort.cohort",
    "Audit": "cohort.audit",
    "audit_partitions": "cohort.audit",
    "Estimate": "stats.estimates",
    "Predictions": "evaluation.predictions",
    "read_predictions": "evaluation.predictions",
    "Nomogram": "nomogram.nomogram",
    "RadScore": "radscore.radscore",
    "Plan": "training.plan",
    "Hardware": "training.plan",
    "train_folds": "training.cross_validation",
}

__all__ = sorted([*_WHERE, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'GTRStagingLib' has no attribute {name!r}")
    return getattr(import_module(f"GTRStagingLib.{_WHERE[name]}"), name)
