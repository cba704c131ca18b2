"""Simulate a planned study, to know before it begins how wide the intervals of its gains will be.

A reader stages a case by its true stage plus an error, cut at the middles between stages. The error has three parts:
one of the case, which all readers share; one of reader and case, which the reader has in both phases; and one of its
own. The size of the error gives the reader's accuracy. The planned readings are drawn so many times, and each time
analysed as the study will be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.designs import AIDED, READING, UNAIDED, Schedule
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Estimate
from GTRStagingLib.stats.mrmc import FIXED
from GTRStagingLib.stats.reader_study import reader_study, several_readers
from GTRStagingLib.stats.readers import Reader

GAIN = f"{AIDED} − {UNAIDED}"
LEAST, MOST = 0.35, 0.99
"""Accuracies to which simulated readers are limited."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a simulation assumes.

    Attributes
    ----------
    accuracy, gain
        Mean accuracy of the readers without the model, and how much the model's help adds.
    spread
        Standard deviation of the accuracy between readers; that of the gain is half of it.
    agreement
        Share of the variance of the errors that all readers share, since some cases are hard for everybody.
    constancy
        Share that a reader has in both phases, beyond what all readers share.
    studies
        Number of simulated studies.

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    accuracy: float = 0.6
    gain: float = 0.1
    spread: float = 0.05
    agreement: float = 0.4
    constancy: float = 0.2
    studies: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        aided = self.accuracy + self.gain
        if not (LEAST <= self.accuracy <= MOST and LEAST <= aided <= MOST):
            raise InputError(
                f"`accuracy` {self.accuracy:g} with `gain` {self.gain:g}; expected {LEAST} to {MOST} without and with "
                "the model. Give other assumptions."
            )
        shares = (self.agreement, self.constancy)
        if not (0 <= self.spread <= 0.2 and min(shares) >= 0 and sum(shares) <= 1 and 20 <= self.studies <= 10_000):
            raise InputError(
                f"`spread` {self.spread:g}, `agreement` {self.agreement:g}, constancy {self.constancy:g}, `studies` "
                f"{self.studies}; expected a spread of at most 0.2, shares with a sum of at most 1, and 20 to 10,000 "
                "studies. Give other assumptions."
            )


@dataclass(frozen=True)
class Width:
    """Expected interval of the gain in one measure.

    Attributes
    ----------
    measure
        'accuracy' or 'auc_T3-4'.
    readers
        'random': the interval is about similar readers; 'fixed': about these readers only.
    gain
        Mean over the simulated studies.
    width
        Median width of the 95 % interval; None if it is not defined.
    narrow, wide
        10th and 90th percentile of the width.
    found
        Share of the studies whose interval lies above 0.
    undefined
        Number of studies without an interval.
    """

    measure: str
    readers: str
    gain: float
    width: float | None
    narrow: float | None
    wide: float | None
    found: float
    undefined: int


@dataclass(frozen=True)
class ExpectedWidths:
    """What a planned study can show.

    Attributes
    ----------
    same_stage
        Share of the cases that two simulated readers stage alike without the model, as a check of `agreement`.
    """

    assumptions: Assumptions
    widths: tuple[Width, ...]
    same_stage: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def error_size(accuracy: float, shares: Sequence[float]) -> float:
    """Return the standard deviation of the error of a reader with this accuracy.

    Parameters
    ----------
    shares
        Share of the cases of T1..T4; an error beyond T1 or T4 stays right.

    Examples
    --------
    With cases of T2 only, 68.3 % of the errors are within one standard deviation: half a stage.

    >>> from GTRStagingLib.reading.expected_widths import error_size
    >>> round(error_size(0.6827, (0, 1, 0, 0)), 3)
    0.5
    """
    ends = shares[0] + shares[-1]

    def excess(size: float) -> float:
        within = norm.cdf(0.5 / size)
        return float(ends * within + (1 - ends) * (2 * within - 1)) - accuracy

    # With large errors, the ends stay right half of the time; others nearly never.
    return float(brentq(excess, 1e-3, 1e4)) if excess(1e4) < 0 else 1e4


def expected_widths(cases: Sequence[Case], planned: Schedule, assumptions: Assumptions) -> ExpectedWidths:
    """Simulate a planned study.

    Parameters
    ----------
    cases
        Of the cohort, with stages.

    Returns
    -------
    The gain in accuracy, and in the area under the ROC curve of T3-4 against T1-2; with one reader, the gain in
    accuracy for this reader.
    """
    kept = [case for case in cases if case.case_id in planned.parts]
    stages = np.array([int(case.stage or 0) for case in kept])
    clusters = Clusters.of(np.array([case.patient_id for case in kept]))
    shares = np.bincount(stages, minlength=len(TStage)) / len(stages)
    read = {
        (reader, phase): np.isin([case.case_id for case in kept], [
            one.case_id for one in items if one.phase == phase and one.kind == READING])
        for reader, items in planned.readings.items() for phase in (UNAIDED, AIDED)
    }  # fmt: skip
    rng = np.random.default_rng(assumptions.seed)
    gains: dict[tuple[str, str], list[Estimate]] = {}
    alike = []
    for _ in range(assumptions.studies):
        drawn = _drawn(stages, shares, read, assumptions, rng)
        for name, estimate in _gains(stages, drawn, clusters).items():
            gains.setdefault(name, []).append(estimate)
        alike += _alike([one[0] for one in drawn.values()])
    return ExpectedWidths(
        assumptions,
        tuple(_width(*name, found) for name, found in gains.items()),
        float(np.mean(alike)) if alike else None,
    )


def _drawn(
    stages: np.ndarray,
    shares: np.ndarray,
    read: Mapping[tuple[str, str], np.ndarray],
    given: Assumptions,
    rng: np.random.Generator,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Draw the stages that each reader gives without and with the model; -1 where a case is not read."""
    of_case = rng.standard_normal(len(stages)) * given.agreement**0.5
    found = {}
    for reader in dict.fromkeys(name for name, _ in read):
        own = rng.standard_normal(len(stages)) * given.constancy**0.5
        accuracy = given.accuracy + given.spread * rng.standard_normal()
        aided = accuracy + given.gain + given.spread / 2 * rng.standard_normal()
        two = []
        for phase, wanted in ((UNAIDED, accuracy), (AIDED, aided)):
            rest = rng.standard_normal(len(stages)) * (1 - given.agreement - given.constancy) ** 0.5
            size = error_size(float(np.clip(wanted, LEAST, MOST)), shares.tolist())
            given_stages = np.clip(np.rint(stages + size * (of_case + own + rest)), 0, len(TStage) - 1).astype(int)
            two.append(np.where(read[reader, phase], given_stages, -1))
        found[reader] = (two[0], two[1])
    return found


def _gains(
    stages: np.ndarray, drawn: Mapping[str, tuple[np.ndarray, np.ndarray]], clusters: Clusters
) -> dict[tuple[str, str], Estimate]:
    if len(drawn) == 1:
        row = reader_study(stages, drawn, None, clusters).rows[0]
        return {("accuracy", FIXED): next(one.estimate for one in row.gains if one.measure == "accuracy")}
    pairs = {
        name: tuple(Reader(f"{name}, {phase}", one) for phase, one in zip((UNAIDED, AIDED), two, strict=True))
        for name, two in drawn.items()
    }
    return {
        (analysis.measure, one.readers): one.estimate
        for analysis in several_readers(stages, pairs, None, clusters)
        for one in analysis.effects
        if one.name == GAIN
    }


def _alike(unaided: Sequence[np.ndarray]) -> list[float]:
    found = []
    for one, other in combinations(unaided, 2):
        both = (one >= 0) & (other >= 0)
        if both.any():
            found.append(float((one == other)[both].mean()))
    return found


def _width(measure: str, readers: str, found: Sequence[Estimate]) -> Width:
    values = [one.value for one in found if one.value is not None]
    ends = [(one.low, one.high) for one in found if one.low is not None and one.high is not None]
    widths = [high - low for low, high in ends]
    narrow, width, wide = np.quantile(widths, (0.1, 0.5, 0.9)).tolist() if widths else (None, None, None)
    return Width(
        measure=measure,
        readers=readers,
        gain=float(np.mean(values)) if values else float("nan"),
        width=width,
        narrow=narrow,
        wide=wide,
        found=sum(low > 0 for low, _ in ends) / len(found),
        undefined=len(found) - len(ends),
    )


__all__ = ["Assumptions", "ExpectedWidths", "Width", "error_size", "expected_widths"]
