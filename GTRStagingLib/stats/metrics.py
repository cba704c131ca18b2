"""Compute measures of a confusion matrix with intervals: accuracy, kappas, sensitivity, over- and under-staging etc."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    at_most,
    effective_patients,
    jackknifed,
    no_interval,
    patient_counts,
    proportion,
    undefined,
)

K = len(TStage)

BOUNDARIES: Mapping[str, TStage] = {"T2-4 against T1": TStage.T2, "T3-4 against T1-2": TStage.T3}
"""Boundary -> its lowest positive stage; treatment changes at the second boundary."""

AGREEMENT = ("kappa_plain", "kappa_linear", "kappa_quadratic", "mean_absolute_error", "macro_f1")
KAPPAS = AGREEMENT[:3]

_APART = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
_WEIGHTS = ((_APART > 0).astype(float), _APART.astype(float), _APART.astype(float) ** 2)
"""Weight of each cell of the confusion matrix in the disagreement of each kappa."""


@dataclass(frozen=True)
class Binary:
    """Measures of a binary classification."""

    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    n_positive: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        shares = {name: getattr(self, name).to_json() for name in ("sensitivity", "specificity", "ppv", "npv", "f1")}
        return {**shares, "n_positive": self.n_positive}


@dataclass(frozen=True)
class Metrics:
    """Measures of the confusion matrix of some rows.

    Attributes
    ----------
    confusion
        (4, 4) numbers of rows, by true stage and predicted stage.
    mean_absolute_error
        In stages.
    """

    n_rows: int
    n_patients: int
    confusion: np.ndarray
    accuracy: Estimate
    kappa_plain: Estimate
    kappa_linear: Estimate
    kappa_quadratic: Estimate
    mean_absolute_error: Estimate
    macro_f1: Estimate
    over_staged: Estimate
    under_staged: Estimate
    per_class: Mapping[str, Binary]
    boundaries: Mapping[str, Binary]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data, with the keys of `metrics.json`."""
        totals = self.confusion.sum(axis=1)
        return {
            "n_rows": self.n_rows,
            "n_patients": self.n_patients,
            "accuracy": self.accuracy.to_json(),
            "kappa": {name: getattr(self, f"kappa_{name}").to_json() for name in ("plain", "linear", "quadratic")},
            "mean_absolute_error": self.mean_absolute_error.to_json(),
            "macro_f1": self.macro_f1.to_json(),
            "over_staged": self.over_staged.to_json(),
            "under_staged": self.under_staged.to_json(),
            "per_class": {name: one.to_json() for name, one in self.per_class.items()},
            "boundaries": {name: one.to_json() for name, one in self.boundaries.items()},
            "confusion_matrix": self.confusion.tolist(),
            "confusion_matrix_normalised": [
                [None if not total else cell / total for cell in row]
                for row, total in zip(self.confusion.tolist(), totals.tolist(), strict=True)
            ],
        }


def measure(stages: np.ndarray, predicted: np.ndarray, patients: Patients) -> Metrics:
    """Measure the performance of predicted stages.

    Parameters
    ----------
    stages, predicted
        (n,) true and predicted stage, 0..3.
    patients
        (n,) patient of each row; intervals are clustered if patients have several rows.

    Examples
    --------
    One of four rows is wrong: T4 is predicted for a T3.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.metrics import measure
    >>> found = measure(np.array([0, 1, 2, 3]), np.array([0, 1, 3, 3]), np.arange(4))
    >>> found.accuracy.value, found.over_staged.value, found.under_staged.value
    (0.75, 0.25, 0.0)
    >>> found.confusion.tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    >>> found.per_class["T4"].sensitivity.value, found.per_class["T4"].ppv.value
    (1.0, 0.5)
    """
    clusters = Clusters.of(patients)
    counts = patient_counts(stages * K + predicted, K * K, clusters)
    matrix = counts.sum(axis=0).reshape(K, K)
    questions = {str(stage): (stages == stage, predicted == stage) for stage in TStage}
    questions |= {name: (stages >= first, predicted >= first) for name, first in BOUNDARIES.items()}
    answers = {name: _binary(true, called, clusters) for name, (true, called) in questions.items()}
    return Metrics(
        n_rows=len(stages),
        n_patients=clusters.number,
        confusion=matrix,
        accuracy=proportion(stages == predicted, clusters),
        over_staged=proportion(predicted > stages, clusters),
        under_staged=proportion(predicted < stages, clusters),
        per_class={name: answers[name] for name in map(str, TStage)},
        boundaries={name: answers[name] for name in BOUNDARIES},
        **agreements(counts),
    )


def _binary(positive: np.ndarray, called: np.ndarray, clusters: Clusters) -> Binary:
    def share(hits: np.ndarray, among: np.ndarray, what: str) -> Estimate:
        return proportion(hits[among], clusters.at(among)) if among.any() else undefined(f"no row is {what}")

    return Binary(
        sensitivity=share(called, positive, "of this stage"),
        specificity=share(~called, ~positive, "of another stage"),
        ppv=share(positive, called, "predicted as this stage"),
        npv=share(~positive, ~called, "predicted as another stage"),
        f1=_f1_of(share(positive & called, positive | called, "of this stage or predicted as it")),
        n_positive=int(positive.sum()),
    )


def _f1_of(both: Estimate) -> Estimate:
    """Return F1 from the share J of rows that are positive in truth and prediction, among those positive in either.

    F1 = 2 J / (1 + J) increases with J, so that the limits of J give those of F1.
    """

    def f1(share: float | None) -> float | None:
        return None if share is None else 2 * share / (1 + share)

    method = both.method if both.value is None else f"{both.method}, of true positives among TP, FP and FN"
    return Estimate(f1(both.value), f1(both.low), f1(both.high), method)


def agreements(counts: np.ndarray) -> dict[str, Estimate]:
    """Estimate the measures of `AGREEMENT` from (patients, 16) confusion counts."""
    table = counts.sum(axis=0).reshape(K, K)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum() ** 2
    most = [weight.max() for weight in _WEIGHTS]
    by_chance = [float((weight * expected).sum()) for weight in _WEIGHTS]
    # A kappa is 1 minus the disagreement, 0 to `most`, divided by that of chance.
    ranges = [(1 - top / chance, 1.0) if chance else None for top, chance in zip(most, by_chance, strict=True)]
    found = dict(zip(AGREEMENT, jackknifed(agreement, counts, [*ranges, (0.0, K - 1.0), (0.0, 1.0)]), strict=True))
    reason = no_interval(counts.sum(axis=1))
    return _without_errors(counts, by_chance, found) if reason is None and np.trace(table) == table.sum() else found


def _without_errors(
    counts: np.ndarray, by_chance: Sequence[float], found: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """Return the estimates for predictions without an error, with one-sided limits from the number of patients.

    The limit of the share of errors is that of no error in as many rows as there are (effective) patients. Each error
    is taken to be one stage off; for F1, that of each stage has its own limit.
    """

    def error_share(sizes: np.ndarray) -> float:
        return at_most(effective_patients(sizes[sizes > 0]))

    most = error_share(counts.sum(axis=1))
    of_stage = [1 - error_share(counts[:, stage * (K + 1)]) for stage in TStage]
    limits = {name: (1 - most / chance, 1.0) for name, chance in zip(KAPPAS, by_chance, strict=True) if chance}
    limits |= {
        "mean_absolute_error": (0.0, most),
        "macro_f1": (float(np.mean([2 * j / (1 + j) for j in of_stage])), 1.0),
    }
    method = "no error: limit of no error in as many rows as patients, each error one stage off, 95 %"
    return {
        name: one if one.value is None else Estimate(one.value, *limits[name], method) for name, one in found.items()
    }


def agreement(counts: np.ndarray) -> np.ndarray:
    """Compute the (…, 5) measures of `AGREEMENT` from (…, 16) confusion counts, NaN if not defined."""
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    total = table.sum(axis=(-2, -1))
    true, called = table.sum(axis=-1), table.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = true[..., :, None] * called[..., None, :] / total[..., None, None]
        kappas = [
            1 - (weight * table).sum(axis=(-2, -1)) / (weight * expected).sum(axis=(-2, -1)) for weight in _WEIGHTS
        ]
        error = (_APART * table).sum(axis=(-2, -1)) / total
        right = np.diagonal(table, axis1=-2, axis2=-1)
        f1 = (2 * right / (true + called)).mean(axis=-1)
    return np.stack([*kappas, error, f1], axis=-1)


__all__ = ["AGREEMENT", "BOUNDARIES", "KAPPAS", "Binary", "Metrics", "agreement", "agreements", "measure"]
