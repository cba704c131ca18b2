"""Fit the head that proposes key slices (`model.proposal`) to the slices of a model's training patients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

import GTRStagingLib
from GTRStagingLib.checking.case_runs import loaded_backbone, no_case, reasons, require_training_cohort, run_cases
from GTRStagingLib.checking.model_check import draw_cases
from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.model.proposal import ProposalHead
from GTRStagingLib.support.files import sha256_of_data
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.tables.table_files import import_table_package

if TYPE_CHECKING:
    from GTRStagingLib.model.weights import Model

LEAST_PATIENTS = 20
"""Least number of training patients with slices that show a tumour."""

FOLDS = 5
"""Folds of the cross-validation; all cases of a patient are in one fold."""

PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty among which the cross-validation chooses, by the log loss of its held-out slices."""

SMOOTHINGS_MM = (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0)
"""Standard deviations of the smoothing among which the cross-validation chooses, by the mean distance in mm of its
held-out proposals from the slices of the largest tumour area; of equal ones, the least."""


@dataclass(frozen=True, eq=False)
class SeenSlices:
    """Slices of a case.

    Attributes
    ----------
    features
        (S, features) float32, the penultimate features of each slice alone.
    area_mm2, position_mm
        (S,) area of the ROI, and position along the body axis.
    digest
        sha256 of the case's input.
    """

    features: np.ndarray
    area_mm2: np.ndarray
    position_mm: np.ndarray
    digest: str

    @property
    def key_mm(self) -> float:
        """Position of the slice of the largest tumour area."""
        return float(self.position_mm[np.argmax(self.area_mm2)])


@dataclass(frozen=True, eq=False)
class FittedHead:
    """Head that proposes key slices, ready to be written into the model's folder.

    Attributes
    ----------
    found
        Data for the model's card (`ModelCard.proposal`), without identifiers.
    left_out
        Case id -> reason why the case could not be used.
    """

    found: Mapping[str, Any]
    head: ProposalHead
    left_out: Mapping[str, str] = field(default_factory=dict)


def fit_proposal(
    model: "Model | str",
    cases: Sequence[Case],
    *,
    most: int | None = None,
    device: str = "auto",
    workers: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FittedHead:
    """Fit the head that proposes key slices on the cohort that a model was trained on.

    Only the split 'train' is used. Penalty and smoothing are chosen by cross-validation among its patients.

    Parameters
    ----------
    model
        Name or folder; or the model itself, which only this process can use (`workers` is then 0).
    cases
        The cohort of the training. Cases without an ROI are left out.
    most
        Largest number of training cases, drawn evenly from the true stages by the seed; None for all.
    workers, limits
        Processes that run the network, and limits of each case, see `support.pools.parallel_map`; 0 runs it in this
        process.
    progress
        Called with the number of cases that are done, and of all cases.

    Raises
    ------
    InputError
        If the training cases or patients are not as many as on the model's card, or too few of them have an ROI.
    WeightsError
        If the model is unknown.
    """
    if isinstance(model, str):
        loaded_backbone.cache_clear()  # the folder may contain another model now
        card = loaded_backbone(model, device).card
    else:
        workers, card = 0, model.card
    learned = [case for case in cases if case.split == "train"]
    require_training_cohort(card, learned)
    training = draw_cases(learned, most, seed)
    _require_enough({case.patient_id for case in training if case.roi is not None})
    outcomes = run_cases(_seen, model, training, device=device, workers=workers, limits=limits, progress=progress)
    left_out = reasons(training, outcomes)
    pairs = [(case, one) for case, one in zip(training, outcomes, strict=True) if not isinstance(one, str)]
    if not pairs:
        raise no_case(left_out, "used")
    patients = [case.patient_id for case, _ in pairs]
    _require_enough(set(patients))
    seen = [one for _, one in pairs]
    head, chosen = fit_head(seen, patients)
    return FittedHead(
        found={
            "cohort_training_cases": len(learned),
            "training_cases": len(seen),
            "training_patients": len(set(patients)),
            "slices": sum(len(one.area_mm2) for one in seen),
            "tumour_slices": sum(int(np.count_nonzero(one.area_mm2)) for one in seen),
            "left_out": len(left_out),
            **chosen,
            "seed": seed,
            "cohort": sha256_of_data(sorted(one.digest for one in seen)),
            "command": "gtrstaging models proposal",
            "packages": {name: version(name) for name in ("numpy", "scikit-learn")},
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": GTRStagingLib.__version__,
        },
        head=head,
        left_out=left_out,
    )


def _require_enough(patients: set[str]) -> None:
    if len(patients) < LEAST_PATIENTS:
        raise InputError(
            f"{len(patients)} patients of the split 'train' have an ROI that can be used; expected at least "
            f"{LEAST_PATIENTS}. Give the cohort that the model was trained on, with the masks of its tumours."
        )


# -- in this process or a worker -----------------------------------------------------------------------------------


def _seen(job: "tuple[Model | str, str, Case]") -> SeenSlices | str:
    """Run the network on every slice of a case; return the reason for a case without an ROI or a slice."""
    from GTRStagingLib.imaging import geometry, keyslice
    from GTRStagingLib.imaging.inputs import read_inputs
    from GTRStagingLib.model import backbone
    from GTRStagingLib.staging.proposal import slice_passes

    source, device, case = job
    scan, roi, _ = read_inputs(case.ct, series=case.series, roi=case.roi, segment=case.segment)
    if roi is None:
        return "It has no ROI; expected the tumour's."
    ready = loaded_backbone(source, device) if isinstance(source, str) else backbone.ready(source, device)
    areas = keyslice.areas_mm2(scan.grid, roi.onto(scan.grid))
    indices: list[int] = []
    features = []
    for done, seen, _ in slice_passes(scan, ready, range(geometry.axial_size(scan.grid)[2])):
        if seen is not None:
            indices += done
            features.append(seen.features)
    if not areas[indices].any():
        raise InputError("No slice with tumour can be prepared; expected one. Check the CT and the ROI.")
    return SeenSlices(np.concatenate(features), areas[indices], keyslice.positions_mm(scan.grid)[indices], scan.digest)


# -- the fit -------------------------------------------------------------------------------------------------------


def fit_head(seen: Sequence[SeenSlices], patients: Sequence[str]) -> tuple[ProposalHead, dict[str, Any]]:
    """Fit the head to the slices of cases, and return it with what the cross-validation chose and found.

    The features are standardised for the fit; the head's weights are for the features as they are. Cases weigh by their
    slices.

    Parameters
    ----------
    patients
        Of each case.
    """
    x = np.concatenate([one.features for one in seen]).astype(np.float64)
    y = np.concatenate([one.area_mm2 > 0 for one in seen])
    counts = [len(one.area_mm2) for one in seen]
    case_of = np.repeat(np.arange(len(seen)), counts)
    groups = np.array(patients)[case_of]
    folds = list(import_table_package("sklearn.model_selection").GroupKFold(FOLDS).split(x, y, groups))
    by_penalty = {}
    for penalty in PENALTIES:
        held_out = np.full(len(y), np.nan)
        for fitting, others in folds:
            weights, bias = _logistic(x[fitting], y[fitting], penalty)
            held_out[others] = x[others] @ weights + bias
        by_penalty[penalty] = held_out
    losses = {penalty: float(np.logaddexp(0, np.where(y, -one, one)).mean()) for penalty, one in by_penalty.items()}
    penalty = min(losses, key=losses.__getitem__)
    parts = np.split(by_penalty[penalty], np.cumsum(counts)[:-1])
    apart = {smoothing: distances_mm(seen, parts, smoothing) for smoothing in SMOOTHINGS_MM}
    smoothing = min(apart, key=lambda one: (round(float(apart[one].mean()), 6), one))
    weights, bias = _logistic(x, y, penalty)
    return ProposalHead(weights, bias, smoothing, len(set(patients))), {
        "inverse_penalty": penalty,
        "smoothing_mm": smoothing,
        "folds": FOLDS,
        "log_loss": losses[penalty],
        "median_mm": float(np.median(apart[smoothing])),
        "p90_mm": float(np.quantile(apart[smoothing], 0.9)),
        "mean_mm": {f"{one:g}": float(distances.mean()) for one, distances in apart.items()},
    }


def distances_mm(seen: Sequence[SeenSlices], log_odds: Sequence[np.ndarray], smoothing_mm: float) -> np.ndarray:
    """Return the (cases,) distances in mm of the proposed slices from those of the largest tumour area."""
    found = []
    for one, values in zip(seen, log_odds, strict=True):
        smoothed = ProposalHead(np.ones(1), 0.0, smoothing_mm, 1).smoothed(values, one.position_mm)
        found.append(abs(float(one.position_mm[np.argmax(smoothed)]) - one.key_mm))
    return np.array(found)


def _logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Fit a logistic regression to standardised features; return weights and bias for the features as they are."""
    regression = import_table_package("sklearn.linear_model").LogisticRegression
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = np.inf  # the same in every slice: no weight
    fitted = regression(C=penalty, max_iter=2000).fit((x - mean) / scale, y)
    weights = fitted.coef_[0] / scale
    return weights, float(fitted.intercept_[0] - mean @ weights)


__all__ = ["FittedHead", "SeenSlices", "distances_mm", "fit_head", "fit_proposal"]
