"""How good a model is on a split, with 95 % intervals, and the temperature that makes its probabilities honest."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, rankdata

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.voting import vote

LEVEL = 0.95
RESAMPLES = 1000
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; all None where it is not defined, with the reason in `method`."""

    value: float | None
    low: float | None
    high: float | None
    method: str


@dataclass(frozen=True)
class SplitLogits:
    """What a network says of a split.

    Attributes
    ----------
    logits
        (slices, 4).
    case
        (slices,) index of the case that each belongs to, ascending from 0.
    offsets
        (slices,) acquired slices from the case's key slice.
    stages, patients
        One a case: its stage, and whose it is.
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
                "expected one each of a slice, and slices of every case."
            )
        if not np.isfinite(self.logits).all() or len(self.patients) != cases:
            raise InputError("Logits that are not finite, or patients that are not one a case; train again.")

    @property
    def slice_stages(self) -> np.ndarray:
        """(slices,) the stage of each slice's case."""
        return self.stages[self.case]


@dataclass(frozen=True)
class Scores:
    """How good a model is on a split.

    Attributes
    ----------
    accuracy
        Share of the cases whose vote is right; Wilson's interval.
    macro_auc
        Mean of the four one-against-rest areas of the cases' mean probabilities; bootstrap over patients.
    slice_loss
        Mean cross-entropy of the slices, at temperature 1.
    slice_accuracy
        Share of the slices.
    """

    cases: int
    patients: int
    accuracy: Estimate
    macro_auc: Estimate
    slice_loss: float
    slice_accuracy: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def slice_loss(seen: SplitLogits, temperature: float = 1.0) -> float:
    """Mean cross-entropy of the slices."""
    logs = log_softmax(seen.logits.astype(np.float64) / temperature, axis=1)
    return float(-logs[np.arange(len(logs)), seen.slice_stages].mean())


def case_votes(seen: SplitLogits, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(cases,) stages by vote, and (cases, 4) mean probabilities."""
    probabilities = softmax(seen.logits.astype(np.float64) / temperature, axis=1)
    votes = [
        vote(seen.offsets[seen.case == case].tolist(), probabilities[seen.case == case])
        for case in range(len(seen.stages))
    ]
    return np.array([one.stage for one in votes]), np.array([one.probabilities for one in votes])


def scores(seen: SplitLogits, temperature: float = 1.0, *, seed: int = 0) -> Scores:
    """The scores of a split; `seed` draws the bootstrap."""
    stages, probabilities = case_votes(seen, temperature)
    right = int((stages == seen.stages).sum())
    interval = binomtest(right, len(stages)).proportion_ci(LEVEL, method="wilson")
    return Scores(
        cases=len(stages),
        patients=len(set(seen.patients)),
        accuracy=Estimate(right / len(stages), interval.low, interval.high, "Wilson, 95 %, by case"),
        macro_auc=_auc_estimate(seen.stages, probabilities, seen.patients, seed),
        slice_loss=slice_loss(seen),
        slice_accuracy=float((seen.logits.argmax(axis=1) == seen.slice_stages).mean()),
    )


def fitted_temperature(seen: SplitLogits) -> float:
    """The temperature of the least cross-entropy of the slices (Guo et al. 2017), within `TEMPERATURES`."""
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(lambda log: slice_loss(seen, float(np.exp(log))), bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def macro_auc(stages: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of the one-against-rest areas under the ROC curve; NaN unless every stage is there.

    By ranks (Mann and Whitney), all four at once: a bootstrap calls this a thousand times.
    """
    is_stage = stages[:, None] == np.arange(len(TStage))
    positive = is_stage.sum(axis=0)
    negative = len(stages) - positive
    if not (positive * negative).all():
        return float("nan")
    ranks = rankdata(probabilities, axis=0)
    return float((((ranks * is_stage).sum(axis=0) - positive * (positive + 1) / 2) / (positive * negative)).mean())


def _auc_estimate(stages: np.ndarray, probabilities: np.ndarray, patients: Sequence[str], seed: int) -> Estimate:
    value = macro_auc(stages, probabilities)
    if np.isnan(value):
        return Estimate(None, None, None, "not defined: the split lacks a stage")
    rng = np.random.default_rng(seed)
    whose = np.unique(np.asarray(patients), return_inverse=True)[1]
    cases_of = [np.flatnonzero(whose == patient) for patient in range(whose.max() + 1)]
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([cases_of[p] for p in rng.integers(len(cases_of), size=len(cases_of))])
        drawn.append(macro_auc(stages[chosen], probabilities[chosen]))
    whole = np.array(drawn)[~np.isnan(drawn)]
    low, high = np.quantile(whole, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(whole) else (None, None)
    method = f"bootstrap over patients, 95 %, {len(whole)} of {RESAMPLES} resamples with all four stages"
    return Estimate(value, low, high, method)


__all__ = ["Estimate", "Scores", "SplitLogits", "case_votes", "fitted_temperature", "macro_auc", "scores", "slice_loss"]
