"""Compute measures of a confusion matrix with intervals: accuracy, kappas, sensitivity, over- and under-staging etc."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    bootstrapped,
    patient_counts,
    proportion,
    undefined,
)

K = len(TStage)

BOUNDARIES: Mapping[str, TStage] = {"T2-4 against T1": TStage.T2, "T3-4 against T1-2": TStage.T3}
"""Boundary -> its lowest positive stage; treatment changes at the second boundary."""

AGREEMENT = ("kappa_plain", "kappa_linear", "kappa_quadratic", "mean_absolute_error", "macro_f1")


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


def measure(stages: np.ndarray, predicted: np.ndarray, patients: Patients, *, seed: int = 0) -> Metrics:
    """Measure the performance of predicted stages.

    Parameters
    ----------
    stages, predicted
        (n,) true and predicted stage, 0..3.
    patients
        (n,) patient of each row; intervals are clustered if patients have several rows.
    seed
        Seed of the bootstrap.

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
    drawn = bootstrapped(_agreement_and_f1, counts, seed=seed)
    agreements = dict(zip(AGREEMENT, drawn, strict=False))
    questions = {str(stage): (stages == stage, predicted == stage) for stage in TStage}
    questions |= {name: (stages >= first, predicted >= first) for name, first in BOUNDARIES.items()}
    f1 = dict(zip(questions, drawn[len(AGREEMENT) :], strict=True))
    answers = {name: _binary(true, called, clusters, f1[name]) for name, (true, called) in questions.items()}
    return Metrics(
        n_rows=len(stages),
        n_patients=clusters.number,
        confusion=matrix,
        accuracy=proportion(stages == predicted, clusters),
        over_staged=proportion(predicted > stages, clusters),
        under_staged=proportion(predicted < stages, clusters),
        per_class={name: answers[name] for name in map(str, TStage)},
        boundaries={name: answers[name] for name in BOUNDARIES},
        **agreements,
    )


def _binary(positive: np.ndarray, called: np.ndarray, clusters: Clusters, f1: Estimate) -> Binary:
    def share(hits: np.ndarray, among: np.ndarray, what: str) -> Estimate:
        return proportion(hits[among], clusters.at(among)) if among.any() else undefined(f"no row is {what}")

    return Binary(
        sensitivity=share(called, positive, "of this stage"),
        specificity=share(~called, ~positive, "of another stage"),
        ppv=share(positive, called, "predicted as this stage"),
        npv=share(~positive, ~called, "predicted as another stage"),
        f1=f1,
        n_positive=int(positive.sum()),
    )


def agreement(counts: np.ndarray) -> np.ndarray:
    """Compute the (…, 5) measures of `AGREEMENT` from (…, 16) confusion counts, NaN if not defined."""
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    total = table.sum(axis=(-2, -1))
    true, called = table.sum(axis=-1), table.sum(axis=-2)
    apart = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
    expected = true[..., :, None] * called[..., None, :] / total[..., None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        kappas = [
            1 - (weight * table).sum(axis=(-2, -1)) / (weight * expected).sum(axis=(-2, -1))
            for weight in ((apart > 0).astype(float), apart, apart**2)
        ]
        error = (apart * table).sum(axis=(-2, -1)) / total
    f1 = np.mean([_f1(table, _one(stage)) for stage in TStage], axis=0)
    return np.stack([*kappas, error, f1], axis=-1)


def _one(stage: int) -> np.ndarray:
    return np.arange(K) == stage


def _f1(table: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Compute 2 TP / (2 TP + FP + FN); NaN without true or predicted positives."""
    true = table[..., positive, :].sum(axis=(-2, -1))
    called = table[..., :, positive].sum(axis=(-2, -1))
    both = table[..., positive, :][..., positive].sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        result: np.ndarray = 2 * both / (true + called)
    return result


def _agreement_and_f1(counts: np.ndarray) -> np.ndarray:
    """Compute agreement and F1 from the same resamples."""
    return np.concatenate([agreement(counts), _f1_of_all(counts)], axis=-1)


def _f1_of_all(counts: np.ndarray) -> np.ndarray:
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    positives = [_one(stage) for stage in TStage] + [np.arange(K) >= first for first in BOUNDARIES.values()]
    return np.stack([_f1(table, positive) for positive in positives], axis=-1)


__all__ = ["AGREEMENT", "BOUNDARIES", "Binary", "Metrics", "agreement", "measure"]
