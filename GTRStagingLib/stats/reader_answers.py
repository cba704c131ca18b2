"""Measure what answers of readers tell beside stages: seconds, confidence, agreement with themselves and others."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import (
    FEWEST,
    FEWEST_OF_AMOUNTS,
    FEWEST_OF_LONG_TAILS,
    Clusters,
    Estimate,
    Spread,
    estimated,
    jackknifed,
    mean,
    patient_counts,
    proportion,
    undefined,
)
from GTRStagingLib.stats.metrics import AGREEMENT, agreement
from GTRStagingLib.stats.mrmc import Effect, mean_over_readers
from GTRStagingLib.stats.reader_study import PAIRED, PARTLY, UNPAIRED, combined, fleiss
from GTRStagingLib.stats.readers import Reader, reading_of

K = len(TStage)
CONFIDENCE = (0.0, 100.0)


@dataclass(frozen=True)
class Times:
    """Seconds for each case of a reader in a phase.

    Attributes
    ----------
    n, missing
        Cases with and without a time.
    median, q1, q3
        Seconds; None without a time.
    """

    reader: str
    phase: str
    n: int
    missing: int
    median: float | None
    q1: float | None
    q3: float | None


@dataclass(frozen=True)
class TimeChange:
    """Change of the seconds for a case, from without to with advice.

    Attributes
    ----------
    design
        'paired': of the same cases; 'unpaired': of other patients; 'partly overlapping': neither; None without both
        phases.
    n
        Cases with both times if they are paired; otherwise cases with advice.
    ratio
        Geometric mean of the seconds with advice, divided by that without.
    difference
        Mean difference in seconds.
    """

    reader: str
    design: str | None
    n: int
    ratio: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Confidence:
    """Confidence from 0 to 100 of a reader in a phase, of right and of wrong answers.

    Attributes
    ----------
    mean_right, mean_wrong
        Means.
    auc
        Share of the pairs of a right and a wrong answer in which the right one has the higher confidence, ties half.
    """

    reader: str
    phase: str
    n_right: int
    n_wrong: int
    mean_right: Estimate
    mean_wrong: Estimate
    auc: Estimate


@dataclass(frozen=True)
class Constancy:
    """Agreement of a reader's second readings with the first ones, within a phase.

    Attributes
    ----------
    agreement
        Share of the repeats with the same stage.
    """

    reader: str
    phase: str
    n: int
    n_patients: int
    agreement: Estimate
    kappa_linear: Estimate
    kappa_quadratic: Estimate


@dataclass(frozen=True)
class Concord:
    """Agreement between readers in a phase, on the cases that all of them have read.

    Attributes
    ----------
    agreement
        Share of the pairs of readers with the same stage, over all cases.
    fleiss
        Fleiss' kappa, which does not weight by the distance of stages.
    kappa_quadratic
        Mean of the quadratic kappas of all pairs of readers (Light 1971, Psychol Bull 76:365).
    """

    phase: str
    n: int
    readers: int
    agreement: Estimate
    fleiss: Estimate
    kappa_quadratic: Estimate


def times(reader: str, phase: str, seconds: np.ndarray) -> Times:
    """Describe the seconds of a reader in a phase; `seconds` are (n,), NaN where they are not known."""
    known = seconds[~np.isnan(seconds)]
    missing = len(seconds) - len(known)
    if not len(known):
        return Times(reader, phase, 0, missing, None, None, None)
    q1, median, q3 = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    return Times(reader, phase, len(known), missing, median, q1, q3)


def time_change(reader: str, unaided: np.ndarray, aided: np.ndarray, patients: Clusters) -> TimeChange:
    """Estimate how the seconds for a case change with advice.

    Parameters
    ----------
    unaided, aided
        (n,) seconds of a row, above 0; NaN where they are not known or the row was not read.
    patients
        Patient of each row.

    Examples
    --------
    Half of the time in each of eight cases that took 10 to 80 seconds.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> from GTRStagingLib.stats.reader_answers import time_change
    >>> seconds = np.arange(10.0, 90.0, 10.0)
    >>> found = time_change("A", seconds, seconds / 2, Clusters.of(np.arange(8)))
    >>> round(found.ratio.value, 6), found.difference.value, found.n
    (0.5, -22.5, 8)
    """
    before, after = ~np.isnan(unaided), ~np.isnan(aided)
    both = before & after
    if both.any():
        among = patients.at(both)
        return TimeChange(
            reader,
            PAIRED,
            int(both.sum()),
            _exponential(mean(np.log(aided[both]) - np.log(unaided[both]), among)),
            mean(aided[both] - unaided[both], among, fewest=FEWEST_OF_LONG_TAILS),
        )
    if not before.any() or not after.any():
        missing = undefined("a phase has no time")
        return TimeChange(reader, None, 0, missing, missing)
    first, second = (patients.sums(rows.astype(float)) > 0 for rows in (before, after))
    if (first & second).any():
        missing = undefined("the phases have other cases of the same patients")
        return TimeChange(reader, PARTLY, int(after.sum()), missing, missing)
    (log_after, log_before), (mean_after, mean_before) = (
        [mean(f(seconds[rows]), patients.at(rows), fewest=fewest) for seconds, rows in
         ((aided, after), (unaided, before))]
        for f, fewest in ((np.log, FEWEST), (np.asarray, FEWEST_OF_LONG_TAILS))
    )  # fmt: skip
    return TimeChange(reader, UNPAIRED, int(after.sum()), _exponential(combined(log_after, log_before)[0]),
                      combined(mean_after, mean_before)[0])  # fmt: skip


def time_change_over_readers(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], patients: Clusters) -> list[Effect]:
    """Estimate the ratio of paired seconds over readers as a sample, and for these readers; empty with one reader.

    Parameters
    ----------
    pairs
        Reader -> (n,) seconds unaided and aided, as in `time_change`.
    """
    rows = []
    for unaided, aided in pairs.values():
        both = ~np.isnan(unaided) & ~np.isnan(aided)
        if both.any():
            kept = Clusters(patients.codes[both], patients.number)
            rows.append((np.log(aided[both]) - np.log(unaided[both]), kept))
    if len(rows) < 2:
        return []
    effects = mean_over_readers("ratio of the seconds, aided / unaided", rows, tested=True)
    return [Effect(one.name, one.readers, _exponential(one.estimate), one.statistic, one.df, one.p) for one in effects]


def _exponential(of: Estimate) -> Estimate:
    """Return the exponential of an estimate of a mean logarithm."""
    value, low, high = (None if one is None else float(np.exp(one)) for one in (of.value, of.low, of.high))
    return Estimate(value, low, high, of.method if value is None else f"geometric mean: {of.method}")


def confidence(reader: str, phase: str, right: np.ndarray, given: np.ndarray, patients: Clusters) -> Confidence:
    """Describe the (n,) confidence of answers by whether they are right, (n,) bool."""

    def average(rows: np.ndarray) -> Estimate:
        if not rows.any():
            return undefined("there is no such answer")
        return mean(given[rows], patients.at(rows), CONFIDENCE, FEWEST_OF_AMOUNTS)

    area = roc.area(right, given)
    auc = undefined("all answers are right, or all are wrong") if area is None else roc.estimate(area, patients)
    return Confidence(reader, phase, int(right.sum()), int((~right).sum()), average(right), average(~right), auc)


def constancy(reader: str, phase: str, first: np.ndarray, again: np.ndarray, patients: Clusters) -> Constancy:
    """Compare the (n,) stages 0..3 of second readings with those of the first readings of the same cases."""
    if not len(first):
        missing = undefined("no case was read again")
        return Constancy(reader, phase, 0, 0, missing, missing, missing)
    found = reading_of(first, Reader(reader, again), patients)
    return Constancy(reader, phase, found.n_rows, found.n_patients, found.accuracy, found.kappa_linear,
                     found.kappa_quadratic)  # fmt: skip


def concord(phase: str, stages: np.ndarray, patients: Clusters) -> Concord:
    """Measure the agreement of (readers, n) stages 0..3, -1 where a reader has not read the row."""
    rows = np.asarray((stages >= 0).all(axis=0))
    number = len(stages)
    if number < 2 or not rows.any():
        missing = undefined("fewer than two readers" if number < 2 else "no case was read by all readers")
        return Concord(phase, int(rows.sum()), number, missing, missing, missing)
    read, among = stages[:, rows], patients.at(rows)
    pairs = list(combinations(range(number), 2))
    same = np.array([read[i] == read[j] for i, j in pairs], float).mean(axis=0)
    counts = np.concatenate([patient_counts(read[i] * K + read[j], K * K, among) for i, j in pairs], axis=1)
    place = AGREEMENT.index("kappa_quadratic")

    def light(cells: np.ndarray) -> np.ndarray:
        each = agreement(cells.reshape(*cells.shape[:-1], len(pairs), K * K))[..., place]
        return np.asarray(each.mean(axis=-1, keepdims=True))

    agreed = proportion(same == 1, among) if number == 2 else mean(same, among, (0.0, 1.0), FEWEST_OF_AMOUNTS)
    (kappa,) = jackknifed(light, counts, [None])
    return Concord(phase, int(rows.sum()), number, agreed, fleiss(read, among), kappa)


@dataclass(frozen=True)
class Contrast:
    """Mean of a number in two groups of rows that may share patients.

    Attributes
    ----------
    difference
        First minus second, by the jackknife over patients.
    """

    measure: str
    n_first: int
    n_second: int
    first: float | None
    second: float | None
    difference: Estimate


def contrast(measure: str, values: np.ndarray, first: np.ndarray, patients: Clusters) -> Contrast:
    """Compare the (n,) values of rows in two groups, `first` (n,) bool and the others; rows with NaN are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> from GTRStagingLib.stats.reader_answers import contrast
    >>> four = np.arange(4)
    >>> found = contrast("dice", np.array([0.2, 0.4, 0.5, 0.9]), four < 2, Clusters.of(four))
    >>> round(found.first, 3), round(found.second, 3), round(found.difference.value, 3)
    (0.3, 0.7, -0.4)
    """
    known = ~np.isnan(values)
    groups = [known & first, known & ~first]
    sizes = [int(rows.sum()) for rows in groups]
    means = [float(values[rows].mean()) if n else None for rows, n in zip(groups, sizes, strict=True)]
    if means[0] is None or means[1] is None:
        return Contrast(measure, sizes[0], sizes[1], means[0], means[1], undefined("one of the two groups is empty"))
    without = []
    for rows in groups:
        total, counts = patients.sums(np.where(rows, values, 0.0)), patients.sums(rows.astype(float))
        with np.errstate(invalid="ignore", divide="ignore"):
            without.append((total.sum() - total) / (counts.sum() - counts))
    present = patients.sums(known.astype(float)) > 0
    value = means[0] - means[1]
    spread = Spread.of((without[0] - without[1] - value)[present])
    among = patients.at(known)
    found = estimated(value, spread, among.sizes, "jackknife over patients")
    return Contrast(measure, sizes[0], sizes[1], means[0], means[1], found)


__all__ = ["CONFIDENCE", "Concord", "Confidence", "Constancy", "Contrast", "TimeChange", "Times", "concord",
           "confidence", "constancy", "contrast", "time_change", "time_change_over_readers", "times"]  # fmt: skip
