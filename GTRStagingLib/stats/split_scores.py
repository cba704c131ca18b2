"""Score a model on a split, with 95 % intervals, and fit the temperature that calibrates its probabilities."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from GTRStagingLib.errors import InputError
from GTRStagingLib.staging.voting import Prediction, vote
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import Clusters, Estimate, proportion
from GTRStagingLib.support.distributions import softmax

TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class SplitLogits:
    """Logits of a network for the slices of a split.

    Attributes
    ----------
    logits
        (slices, 4).
    case
        (slices,) index of each slice's case, ascending from 0.
    offsets
        (slices,) distance from the case's key slice, in acquired slices.
    stages, patients
        (cases,) stage and patient of each case.
    """

    logits: np.ndarray
    case: np.ndarray
    offsets: np.ndarray
    stages: np.ndarray
    patients: Sequence[str]

    def __post_init__(self) -> None:
        slices, cases = len(self.logits), len(self.stages)
        counted = sorted(set(self.case.tolist()))
        if not slices == len(self.case) == len(self.offsets) or counted != list(range(cases)):
            raise InputError(
                f"{slices} logits, {len(self.case)} cases of slices, {len(self.offsets)} offsets, {cases} stages; "
                "expected one of the first three per slice, and slices of every case."
            )
        if not np.isfinite(self.logits).all() or len(self.patients) != cases:
            raise InputError(
                f"Logits that are not finite, or {len(self.patients)} patients for {cases} cases; expected finite "
                "logits and one patient per case. Train again."
            )

    @property
    def slice_stages(self) -> np.ndarray:
        """Stage of each slice's case, (slices,)."""
        return self.stages[self.case]


@dataclass(frozen=True)
class SplitScores:
    """Scores of a model on a split.

    Attributes
    ----------
    accuracy
        Share of cases with a correct vote.
    macro_auc
        Mean of the four one-vs-rest areas of the cases' mean probabilities.
    slice_loss
        Mean cross-entropy of the slices, at temperature 1.
    slice_accuracy
        Share of slices with a correct prediction.
    """

    cases: int
    patients: int
    accuracy: Estimate
    macro_auc: Estimate
    slice_loss: float
    slice_accuracy: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def slice_loss(seen: SplitLogits, temperature: float = 1.0) -> float:
    """Compute the mean cross-entropy of the slices."""
    logs = log_softmax(seen.logits.astype(np.float64) / temperature, axis=1)
    return float(-logs[np.arange(len(logs)), seen.slice_stages].mean())


def case_predictions(seen: SplitLogits, temperature: float = 1.0) -> list[Prediction]:
    """Return the vote of each case's slices."""
    probabilities = softmax(seen.logits, temperature)
    return [
        vote(seen.offsets[seen.case == case].tolist(), probabilities[seen.case == case])
        for case in range(len(seen.stages))
    ]


def case_votes(seen: SplitLogits, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (cases,) stages by vote, and (cases, 4) mean probabilities."""
    votes = case_predictions(seen, temperature)
    return np.array([one.stage for one in votes]), np.array([one.probabilities for one in votes])


def scores(seen: SplitLogits, temperature: float = 1.0) -> SplitScores:
    """Compute the scores of a split."""
    stages, probabilities = case_votes(seen, temperature)
    clusters = Clusters.of(np.asarray(seen.patients))
    return SplitScores(
        cases=len(stages),
        patients=clusters.number,
        accuracy=proportion(stages == seen.stages, clusters),
        macro_auc=roc.estimate(roc.macro(roc.stage_areas(seen.stages, probabilities)), clusters),
        slice_loss=slice_loss(seen),
        slice_accuracy=float((seen.logits.argmax(axis=1) == seen.slice_stages).mean()),
    )


def fitted_temperature(seen: SplitLogits) -> float:
    """Fit the temperature with the least cross-entropy of the slices (Guo et al. 2017), within `TEMPERATURES`."""
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(lambda log: slice_loss(seen, float(np.exp(log))), bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


__all__ = [
    "SplitLogits",
    "SplitScores",
    "case_predictions",
    "case_votes",
    "fitted_temperature",
    "scores",
    "slice_loss",
]  # fmt: skip
