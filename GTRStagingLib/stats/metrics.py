"""What a confusion matrix tells: accuracy, kappas, sensitivity and its kin, over- and under-staging, with intervals."""

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
"""From which stage on a row is positive; the second is where treatment changes."""

AGREEMENT = ("kappa_plain", "kappa_linear", "kappa_quadratic", "mean_absolute_error", "macro_f1")


@dataclass(frozen=True)
class Binary:
    """What is told of a question with two answers."""

    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    n_positive: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        shares = {name: getattr(self, name).to_json() for name in ("sensitivity", "specificity", "ppv", "npv", "f1")}
        return {**shares, "n_positive": self.n_positive}


@dataclass(frozen=True)
class Metrics:
    """What the confusion matrix of some rows tells.

    Attributes
    ----------
    confusion
        (4, 4) rows counted, by true stage and by predicted stage.
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
        """Plain data, in the names of `metrics.json`."""
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
    """What predicted stages are worth.

    Parameters
    ----------
    stages, predicted
        (n,) the true and the predicted stage, 0..3.
    patients
        (n,) whole numbers that tell patients apart: intervals are clustered by them where they repeat.
    seed
        Of the bootstrap.

    Examples
    --------
    One of four rows is wrong: a T3 was called T4.

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
    whose = Clusters.of(patients)
    counts = patient_counts(stages * K + predicted, K * K, whose)
    matrix = counts.sum(axis=0).reshape(K, K)
    drawn = bootstrapped(_agreement_and_f1, counts, seed=seed)
    told = dict(zip(AGREEMENT, drawn, strict=False))
    questions = {str(stage): (stages == stage, predicted == stage) for stage in TStage}
    questions |= {name: (stages >= first, predicted >= first) for name, first in BOUNDARIES.items()}
    f1 = dict(zip(questions, drawn[len(AGREEMENT) :], strict=True))
    answers = {name: _binary(is_so, said, whose, f1[name]) for name, (is_so, said) in questions.items()}
    return Metrics(
        n_rows=len(stages),
        n_patients=whose.number,
        confusion=matrix,
        accuracy=proportion(stages == predicted, whose),
        over_staged=proportion(predicted > stages, whose),
        under_staged=proportion(predicted < stages, whose),
        per_class={name: answers[name] for name in map(str, TStage)},
        boundaries={name: answers[name] for name in BOUNDARIES},
        **told,
    )


def _binary(positive: np.ndarray, said: np.ndarray, whose: Clusters, f1: Estimate) -> Binary:
    def share(hits: np.ndarray, among: np.ndarray, what: str) -> Estimate:
        return proportion(hits[among], whose.at(among)) if among.any() else undefined(f"no row is {what}")

    return Binary(
        sensitivity=share(said, positive, "of this stage"),
        specificity=share(~said, ~positive, "of another stage"),
        ppv=share(positive, said, "predicted so"),
        npv=share(~positive, ~said, "predicted otherwise"),
        f1=f1,
        n_positive=int(positive.sum()),
    )


def agreement(counts: np.ndarray) -> np.ndarray:
    """(…, 16) confusion counts -> (…, 5) the numbers of `AGREEMENT`, NaN where one is not defined."""
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    total = table.sum(axis=(-2, -1))
    true, said = table.sum(axis=-1), table.sum(axis=-2)
    apart = np.abs(np.subtract.outer(np.arange(K), np.arange(K)))
    expected = true[..., :, None] * said[..., None, :] / total[..., None, None]
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
    """2 TP / (2 TP + FP + FN); NaN where nothing is or is called so."""
    true = table[..., positive, :].sum(axis=(-2, -1))
    said = table[..., :, positive].sum(axis=(-2, -1))
    both = table[..., positive, :][..., positive].sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        result: np.ndarray = 2 * both / (true + said)
    return result


def _agreement_and_f1(counts: np.ndarray) -> np.ndarray:
    """Both from the same resamples, which are drawn once."""
    return np.concatenate([agreement(counts), _f1_of_all(counts)], axis=-1)


def _f1_of_all(counts: np.ndarray) -> np.ndarray:
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    sides = [_one(stage) for stage in TStage] + [np.arange(K) >= first for first in BOUNDARIES.values()]
    return np.stack([_f1(table, side) for side in sides], axis=-1)


__all__ = ["AGREEMENT", "BOUNDARIES", "Binary", "Metrics", "agreement", "measure"]
