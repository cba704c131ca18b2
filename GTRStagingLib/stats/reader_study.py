"""Evaluate readers in two phases, without and with the model's help, on the same, on other or on some of the same rows.

A reader is measured in each phase on the rows that it has read there. If these are the same rows, the phases are
compared as pairs, by the tests of `readers`. If not, their two intervals are combined, which needs no pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import norm

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import mrmc
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    Z,
    jackknifed,
    no_interval,
    patient_counts,
    proportion,
    undefined,
)
from GTRStagingLib.stats.metrics import AGREEMENT, agreement
from GTRStagingLib.stats.readers import (
    KAPPAS,
    TREATED,
    Crossing,
    Difference,
    Reader,
    Reading,
    check_readers,
    crossing,
    family_of,
    paired,
    reading_of,
    shares_of,
    with_holm,
)

K = len(TStage)
PHASES = ("unaided", "aided")
ALL = "all readers"
PAIRED, UNPAIRED, PARTLY = "paired", "unpaired", "partly overlapping"

AUC = "auc_T3-4"
"""Area under the ROC curve of T3-4 against T1-2, with the stage that was read as the score."""


@dataclass(frozen=True)
class Overlap:
    """Rows and patients of two phases.

    Attributes
    ----------
    design
        'paired': the same rows; 'unpaired': no patient is in both phases; 'partly overlapping': all others.
    """

    design: str
    rows_both: int
    rows_unaided_only: int
    rows_aided_only: int
    patients_both: int
    patients_unaided_only: int
    patients_aided_only: int


@dataclass(frozen=True)
class Phases:
    """Reader without and with the model's help.

    Attributes
    ----------
    unaided, aided
        Each on the rows that were read in this phase.
    gains
        Aided minus unaided, tested by patient; accuracy also with McNemar's exact test by row if the phases are paired.
    against_model
        Model minus unaided and model minus aided, on the rows of the phase; empty without a model.
    by_stage
        True stage -> rows by whether the reader was right unaided (first) and aided (second): `only_second` are gains,
        `only_first` losses. Of the rows that were read in both phases.
    """

    reader: str
    overlap: Overlap
    unaided: Reading
    aided: Reading
    gains: tuple[Difference, ...]
    against_model: tuple[Difference, ...]
    by_stage: Mapping[str, Crossing]


@dataclass(frozen=True)
class ReaderStudy:
    """Two-phase reader study as a table.

    Attributes
    ----------
    n_rows, n_patients
        With at least one reading.
    rows
        One per reader, and the last for all readings together, clustered by patient. That row describes these readers;
        `mrmc` generalises to others.
    model
        On all rows with a reading.
    fleiss
        'unaided' and 'aided' -> Fleiss' kappa between the readers, on the rows that all of them have read.
    mrmc
        Analysis over readers and patients of each measure; empty with one reader.
    """

    n_rows: int
    n_patients: int
    rows: tuple[Phases, ...]
    model: Reading | None
    fleiss: Mapping[str, Estimate]
    mrmc: tuple[mrmc.Mrmc, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def reader_study(
    stages: np.ndarray,
    phases: Mapping[str, tuple[np.ndarray, np.ndarray]],
    model: Reader | None,
    patients: Patients,
) -> ReaderStudy:
    """Evaluate readers without and with the model's help, and the model alone.

    Parameters
    ----------
    stages
        (n,) true stages, 0..3.
    phases
        Reader -> (n,) stages unaided, and (n,) stages aided; -1 in rows that were not read in the phase.
    model
        With a stage in every row.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If there is no reader, a reader is named 'all readers' or has no reading in a phase, or there is not exactly one
        entry per row.
    """
    if not phases or ALL in phases:
        raise InputError(f"Readers {list(phases)}; expected one or more, and other names than '{ALL}'.")
    pairs = {name: tuple(Reader(f"{name}, {phase}", one) for phase, one in zip(PHASES, two, strict=True))
             for name, two in phases.items()}  # fmt: skip
    readings = [one for two in pairs.values() for one in two]
    check_readers(stages, readings if model is None else [*readings, model], patients)

    clusters = Clusters.of(patients)
    rows = [_phases(name, stages, unaided, aided, clusters, model) for name, (unaided, aided) in pairs.items()]
    rows.append(_together(stages, pairs, clusters, model))
    corrected = with_holm([(*row.gains, *row.against_model) for row in rows])
    seen = np.any([one.read for one in readings], axis=0)
    return ReaderStudy(
        n_rows=int(seen.sum()),
        n_patients=clusters.at(seen).number,
        rows=tuple(
            replace(row, gains=tests[: len(row.gains)], against_model=tests[len(row.gains) :])
            for row, tests in zip(rows, corrected, strict=True)
        ),
        model=None if model is None else reading_of(stages[seen], model.at(seen), clusters.at(seen)),
        fleiss={phase: _fleiss_of([two[i] for two in pairs.values()], clusters) for i, phase in enumerate(PHASES)},
        mrmc=several_readers(stages, pairs, model, clusters) if len(pairs) > 1 else (),
    )


def _together(
    stages: np.ndarray, pairs: Mapping[str, tuple[Reader, ...]], clusters: Clusters, model: Reader | None
) -> Phases:
    """Evaluate all readings of all readers as rows of one reader."""
    times = len(pairs)
    unaided, aided = (
        Reader(f"{ALL}, {phase}", np.concatenate([two[i].predicted for two in pairs.values()]))
        for i, phase in enumerate(PHASES)
    )
    alone = None if model is None else Reader(model.name, np.tile(model.predicted, times))
    return _phases(ALL, np.tile(stages, times), unaided, aided, clusters.tiled(times), alone)


def _phases(
    name: str,
    stages: np.ndarray,
    unaided: Reader,
    aided: Reader,
    clusters: Clusters,
    model: Reader | None,
) -> Phases:
    # The tests of the readers form a family; the test of all readings together is one of its own.
    subject = ALL if name == ALL else "each reader"
    overlap = _overlap(unaided.read, aided.read, clusters)
    before, after = (reading_of(stages, one, clusters) for one in (unaided, aided))
    gain = f"gain of {subject}"
    if overlap.design == PAIRED:
        gains = paired(stages, aided, unaided, clusters, of=gain)
    else:
        gains = _apart(stages, (aided, after), (unaided, before), clusters, gain, overlap.design)
    against = []
    if model is not None:
        for phase, other in zip(PHASES, (unaided, aided), strict=True):
            against += paired(stages, model, other, clusters, of=f"model against {subject}, {phase}")
    return Phases(
        reader=name,
        overlap=overlap,
        unaided=before,
        aided=after,
        gains=tuple(gains),
        against_model=tuple(against),
        by_stage={str(s): crossing(stages[at], unaided.at(at), aided.at(at)) for s in TStage for at in [stages == s]},
    )


def _overlap(unaided: np.ndarray, aided: np.ndarray, clusters: Clusters) -> Overlap:
    """Compare the (n,) bool of the rows that were read in each phase."""
    first, second = (clusters.sums(rows.astype(float)) > 0 for rows in (unaided, aided))
    shared = int((first & second).sum())
    design = PAIRED if (unaided == aided).all() else PARTLY if shared else UNPAIRED
    return Overlap(
        design=design,
        rows_both=int((unaided & aided).sum()),
        rows_unaided_only=int((unaided & ~aided).sum()),
        rows_aided_only=int((aided & ~unaided).sum()),
        patients_both=shared,
        patients_unaided_only=int((first & ~second).sum()),
        patients_aided_only=int((second & ~first).sum()),
    )


def _apart(
    stages: np.ndarray,
    first: tuple[Reader, Reading],
    second: tuple[Reader, Reading],
    clusters: Clusters,
    of: str,
    design: str,
) -> list[Difference]:
    """Estimate and test the differences of two readings that are not of the same rows."""
    (one, reading), (other, before) = first, second
    overlap, found = design != UNPAIRED, []

    def add(measure: str, here: Estimate, there: Estimate, correlation: float) -> None:
        estimate, p = combined(here, there, correlation)
        test = estimate.method if p is None else f"{design} phases, by patient, from the two intervals (MOVER)"
        found.append(Difference(one.name, other.name, measure, estimate, test, p, f"{family_of(measure)}, {of}"))

    shares = [(shares_of(stages, reader.predicted), reader.read) for reader in (one, other)]
    for measure in shares[0][0]:
        sides = [(rows & read, hits) for of_reader, read in shares for rows, hits in [of_reader[measure]]]
        here, there = (
            proportion(hits[rows], clusters.at(rows)) if rows.any() else undefined("no row is of this stage")
            for rows, hits in sides
        )
        correlation = 0.0
        if overlap:
            counts = [np.column_stack([clusters.sums(1.0 * rows), clusters.sums(1.0 * (hits & rows))])
                      for rows, hits in sides]  # fmt: skip
            correlation = _correlation(_ratio, counts)
        add(measure, here, there, correlation)
    confusions = [_confusions(stages, reader, clusters) for reader in (one, other)] if overlap else []
    for measure in KAPPAS:
        correlation = _correlation(partial(_agreement, AGREEMENT.index(measure)), confusions) if overlap else 0.0
        add(measure, getattr(reading, measure), getattr(before, measure), correlation)
    return found


def combined(first: Estimate, second: Estimate, correlation: float = 0.0) -> tuple[Estimate, float | None]:
    """Estimate `first` minus `second` from their intervals, and test it (MOVER; Zou and Donner 2008, Stat Med 27:1693).

    The p-value is that of the interval that ends at 0, if its half width on this side grows with the quantile of the
    normal distribution: it is below 0.05 if and only if the 95 % interval leaves 0 out.

    Parameters
    ----------
    correlation
        Of the two estimates; 0 for different patients (otherwise Zou 2007, Psychol Methods 12:399).

    Examples
    --------
    Shares of 0.8 and 0.6 with half widths of 0.1: the half width of the difference is the root of 0.01 + 0.01.

    >>> from GTRStagingLib.stats.estimates import Estimate
    >>> from GTRStagingLib.stats.reader_study import combined
    >>> found, p = combined(Estimate(0.8, 0.7, 0.9, ""), Estimate(0.6, 0.5, 0.7, ""))
    >>> print(found.text(), p < 0.05)
    0.200 (0.059 to 0.341) True
    """
    if first.value is None or second.value is None:
        return undefined("one of the two is not defined"), None
    value = first.value - second.value
    ends = (first.low, first.high, second.low, second.high)
    if None in ends:
        return Estimate(value, None, None, "no interval, since one of the two has none"), None
    low1, high1, low2, high2 = (float(end or 0.0) for end in ends)
    below = _half(first.value - low1, high2 - second.value, correlation)
    above = _half(high1 - first.value, second.value - low2, correlation)
    if not min(below, above) > 0:
        return Estimate(value, None, None, "no interval, since the two do not vary"), None
    estimate = Estimate(value, value - below, value + above, "from the two intervals (MOVER), 95 %")
    return estimate, float(2 * norm.sf(abs(value) * Z / (below if value > 0 else above)))


def _half(one: float, other: float, correlation: float) -> float:
    return float(max(one**2 + other**2 - 2 * correlation * one * other, 0.0) ** 0.5)


def _correlation(statistic: Callable[[np.ndarray], np.ndarray], counts: Sequence[np.ndarray]) -> float:
    """Correlate a statistic of two sets of (patients, k) counts by the influence of each patient on them."""
    first, second = (_influence(statistic, one) for one in counts)
    size = float(((first**2).sum() * (second**2).sum()) ** 0.5)
    return float((first * second).sum()) / size if size > 0 else 0.0


def _influence(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Return the (patients,) influence on a statistic of counts by the jackknife; 0 for patients without a row."""
    without = _without(statistic, counts)
    own = ~np.isnan(without)
    return np.where(own, np.nanmean(without) - without, 0.0) if own.any() else np.zeros(len(counts))


def _without(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Return a statistic of (patients, k) counts without each patient; NaN for patients without a row."""
    found = np.full(len(counts), np.nan)
    own = counts.any(axis=1)
    found[own] = statistic(counts.sum(axis=0) - counts[own])
    return found


def _ratio(counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts[..., 1] / counts[..., 0])


def _agreement(place: int, counts: np.ndarray) -> np.ndarray:
    return np.asarray(agreement(counts)[..., place])


def _confusions(stages: np.ndarray, reader: Reader, clusters: Clusters) -> np.ndarray:
    """Count each patient's rows that were read by true and read stage, (patients, 16)."""
    read = reader.read
    kept = Clusters(clusters.codes[read], clusters.number)
    return patient_counts(stages[read] * K + reader.predicted[read], K * K, kept)


# -- several readers ---------------------------------------------------------------------------------------------------


def several_readers(
    stages: np.ndarray, pairs: Mapping[str, tuple[Reader, ...]], model: Reader | None, clusters: Clusters
) -> tuple[mrmc.Mrmc, ...]:
    """Analyse accuracy and AUC over readers and patients, and compare the model with the readers of each phase.

    Parameters
    ----------
    pairs
        Reader -> readings without and with the model's help, of two readers or more.
    """

    def counted(of: Callable[[Reader], Reader]) -> np.ndarray:
        phases = [[_confusions(stages, of(two[i]), clusters) for two in pairs.values()] for i in range(len(PHASES))]
        return np.array(phases)

    counts = counted(lambda reader: reader)
    if model is not None:
        alone = counted(lambda reader: Reader(reader.name, np.where(reader.read, model.predicted, -1)))
    found = []
    early = TREATED * K  # of the cells by true and read stage, those of T1 and T2
    whole, sides = (slice(None),), (slice(early), slice(early, None))
    for measure, statistic, parts in (("accuracy", _accuracy, whole), (AUC, late_area, sides)):
        values, without = _figures(statistic, counts)
        one = mrmc.analyse(measure, list(pairs), values, without, PHASES)
        if model is not None and one.components is not None:
            model_values, model_without = _figures(statistic, alone)
            for i, phase in enumerate(PHASES):
                covariance = mrmc.jackknife_covariance(model_without[i] - without[i])
                name = f"{model.name} − {phase}"
                tests = mrmc.mean(name, model_values[i] - values[i], covariance, tested=True)
                one = replace(one, effects=(*one.effects, *tests))
        sizes = [cells[:, part].sum(axis=1) for part in parts for cells in counts.reshape(-1, *counts.shape[2:])]
        reason = next((reason for size in sizes if (reason := no_interval(size[size > 0]))), None)
        found.append(one if reason is None else mrmc.without_intervals(one, reason))
    return tuple(found)


def _figures(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (2, r) figures and (2, r, patients) figures without one patient, from (2, r, patients, 16) counts.

    A figure is NaN if it is not defined without a patient of its own.
    """
    without = np.array([[_without(statistic, one) for one in phase] for phase in counts])
    values = statistic(counts.sum(axis=2))
    broken = (np.isnan(without) & counts.any(axis=3)).any(axis=2)
    return np.where(broken, np.nan, values), without


def _accuracy(counts: np.ndarray) -> np.ndarray:
    return _ratio(np.stack([counts.sum(axis=-1), counts[..., :: K + 1].sum(axis=-1)], axis=-1))


def late_area(counts: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve of T3-4 against T1-2 from (…, 16) counts by true and read stage.

    The stage that was read is the score, and ties count half. NaN without rows on both sides.

    Examples
    --------
    Two rows of T1, read as T1 and T2; two of T3, read as T2 and T4. Of four pairs, three are in order and one is tied.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.reader_study import late_area
    >>> counts = np.zeros((4, 4))
    >>> counts[0, 0] = counts[0, 1] = counts[2, 1] = counts[2, 3] = 1
    >>> float(late_area(counts.ravel()))
    0.875
    """
    table = counts.reshape(*counts.shape[:-1], K, K).astype(float)
    early, late = table[..., :TREATED, :].sum(axis=-2), table[..., TREATED:, :].sum(axis=-2)
    below = np.cumsum(early, axis=-1) - early / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((late * below).sum(axis=-1) / (early.sum(axis=-1) * late.sum(axis=-1)))


def _fleiss_of(readers: list[Reader], clusters: Clusters) -> Estimate:
    rows = np.all([one.read for one in readers], axis=0)
    if not rows.any():
        return undefined("no row has the readings of all readers")
    return fleiss(np.array([one.predicted[rows] for one in readers]), clusters.at(rows))


def fleiss(readings: np.ndarray, patients: Patients) -> Estimate:
    """Estimate Fleiss' kappa between readers of all rows (Fleiss 1971, Psychol Bull 76:378) with a jackknife interval.

    Not computed by statsmodels, so that the results without each patient are one product of matrices.

    Parameters
    ----------
    readings
        (readers, n) stages 0..3.
    """
    times = len(readings)
    if times < 2:
        return undefined("fewer than two readers")
    votes = (readings[..., None] == np.arange(K)).sum(axis=0)  # (n, 4) readers for each stage
    kinds, which = np.unique(votes, axis=0, return_inverse=True)
    agreeing = (kinds * (kinds - 1)).sum(axis=1) / (times * (times - 1))
    if (votes == times).all(axis=0).any():
        return undefined("every reading is of one stage")

    def kappa(counts: np.ndarray) -> np.ndarray:
        total = counts.sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = ((counts @ kinds / (times * total[..., None])) ** 2).sum(axis=-1)
            return np.asarray((counts @ agreeing / total - expected) / (1 - expected))[..., None]

    counts = patient_counts(which.ravel(), len(kinds), patients)
    by_chance = ((votes.sum(axis=0) / votes.sum()) ** 2).sum()
    return jackknifed(kappa, counts, [(1 - 1 / (1 - float(by_chance)), 1.0)])[0]


__all__ = ["ALL", "PAIRED", "PARTLY", "UNPAIRED", "Overlap", "Phases", "ReaderStudy", "combined", "fleiss", "late_area",
           "reader_study", "several_readers"]  # fmt: skip
