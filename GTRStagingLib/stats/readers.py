"""Compare readers and models on the same rows, and readers without and with the model's help.

Every test is paired. Rows of one patient are not independent: intervals resample patients, and the test of accuracies
sums within patients. McNemar's test, which ignores patients, is reported in addition.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations
from typing import Any

import numpy as np
from scipy.stats import chi2

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    bootstrapped,
    holm,
    of_one_patient,
    patient_counts,
    percentiles,
    proportion,
    resampled_counts,
    undefined,
)
from GTRStagingLib.stats.metrics import AGREEMENT, agreement
from GTRStagingLib.support.distributions import wrong_shares, wrong_sums
from GTRStagingLib.support.extras import import_extra

K = len(TStage)
PHASES = ("unaided", "aided")
ALL = "all readers"
KAPPAS = ("kappa_linear", "kappa_quadratic")
Areas = Mapping[str, roc.Area | None]


@dataclass(frozen=True)
class Reader:
    """Readings of a person or a model.

    Attributes
    ----------
    predicted
        (n,) whole numbers, stages 0..3.
    probabilities
        (n, 4), if available.

    Raises
    ------
    InputError
        If a stage is out of range, or the probabilities are invalid.
    """

    name: str
    predicted: np.ndarray
    probabilities: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_stages(f"Stages of {self.name}", self.predicted)
        if self.probabilities is None:
            return
        shape, expected = self.probabilities.shape, (len(self.predicted), K)
        if shape != expected:
            raise InputError(f"Probabilities of {self.name} have shape {shape}; expected {expected}.")
        off = wrong_shares(self.probabilities) | wrong_sums(self.probabilities, 0.01)
        if off.any():
            row = int(np.flatnonzero(off)[0])
            raise InputError(
                f"Probabilities of {self.name}, row {row}: {self.probabilities[row].tolist()}; expected four that sum "
                "to 1. Remove rows without probabilities for all readers."
            )


@dataclass(frozen=True)
class Crossing:
    """Numbers of rows by whether each of two readings is right."""

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int

    @property
    def n(self) -> int:
        """Number of all rows."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong


@dataclass(frozen=True)
class Difference:
    """Difference of two readers, first minus second, with a test.

    Attributes
    ----------
    measure
        accuracy, kappa_linear, kappa_quadratic, auc_macro, auc_T1 .. auc_T4.
    test
        Method of `p`, or the reason why it is None.
    p, p_holm
        Two-sided p-value, and corrected (Holm 1979) for all tests of the same `family`.
    """

    first: str
    second: str
    measure: str
    estimate: Estimate
    test: str
    p: float | None
    family: str
    p_holm: float | None = None


@dataclass(frozen=True)
class Pair:
    """Comparison of two readers.

    Attributes
    ----------
    differences
        With two entries for accuracy if patients have several rows: tested by patient, and by row (McNemar).
    """

    first: str
    second: str
    crossing: Crossing
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Comparison of all readers.

    Attributes
    ----------
    readers
        Name -> accuracy, kappa_linear, kappa_quadratic and, with probabilities, auc_macro.
    pairs
        Every two readers, in the given order.
    """

    n_rows: int
    n_patients: int
    readers: Mapping[str, Mapping[str, Estimate]]
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Phases:
    """Reader without and with the model's help.

    Attributes
    ----------
    gains
        Aided minus unaided, tested by patient; also with McNemar's test by row if patients have several rows.
    against_model
        Model minus unaided and model minus aided, with the same tests; empty without a model.
    by_stage
        True stage -> rows by whether the reader was right unaided (first) and aided (second): `only_second` are gains,
        `only_first` losses.
    """

    reader: str
    unaided: Estimate
    aided: Estimate
    gains: tuple[Difference, ...]
    against_model: tuple[Difference, ...]
    by_stage: Mapping[str, Crossing]


@dataclass(frozen=True)
class Alone:
    """Model in a reader study: accuracy, and sensitivity for each true stage."""

    name: str
    accuracy: Estimate
    by_stage: Mapping[str, Estimate]


@dataclass(frozen=True)
class ReaderStudy:
    """Two-phase reader study as a table.

    Attributes
    ----------
    rows
        One per reader, and the last for all readings together, clustered by patient. That row describes these readers;
        it does not generalise to others, as a model with random readers would.
    fleiss
        'unaided' and 'aided' -> Fleiss' kappa between the readers.
    """

    n_rows: int
    n_patients: int
    rows: tuple[Phases, ...]
    model: Alone | None
    fleiss: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def phase_columns(columns: Iterable[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Find the columns of a two-phase study by their names.

    Returns
    -------
    tuple
        Reader -> its (unaided, aided) columns, for names such as `reader1_unaided` and `Reader 1 aided`; and the
        columns without a second one.
    """
    found: dict[str, dict[str, str]] = {}
    for column in columns:
        if match := re.fullmatch(r"(.+?)[ _.-]+(unaided|aided)", column.strip(), re.IGNORECASE):
            found.setdefault(match[1], {})[match[2].lower()] = column
    pairs = {name: (two["unaided"], two["aided"]) for name, two in found.items() if len(two) == 2}
    return pairs, [column for name, two in found.items() if name not in pairs for column in two.values()]


def compare(stages: np.ndarray, readers: Sequence[Reader], patients: Patients, *, seed: int = 0) -> Comparison:
    """Compare every two readers on the same rows.

    Parameters
    ----------
    stages
        (n,) true stages, 0..3.
    patients
        (n,) patient of each row.
    seed
        Seed of the bootstrap.

    Raises
    ------
    InputError
        If there are fewer than two readers, a repeated name, or not exactly one reading per row.
    """
    _check(stages, readers, patients)
    if len(readers) < 2:
        raise InputError(f"{len(readers)} reader to compare; expected two or more on the same rows.")
    clusters = Clusters.of(patients)
    areas = {one.name: _areas(stages, one) for one in readers}
    pairs = list(combinations(readers, 2))
    found = _holm([_differences(stages, *two, areas, clusters, seed) for two in pairs])
    return Comparison(
        n_rows=len(stages),
        n_patients=clusters.number,
        readers={one.name: _of_one(stages, one, areas[one.name], clusters, seed) for one in readers},
        pairs=tuple(
            Pair(a.name, b.name, _crossing(a.predicted == stages, b.predicted == stages), differences)
            for (a, b), differences in zip(pairs, found, strict=True)
        ),
    )


def reader_study(
    stages: np.ndarray,
    phases: Mapping[str, tuple[np.ndarray, np.ndarray]],
    model: Reader | None,
    patients: Patients,
    *,
    seed: int = 0,
) -> ReaderStudy:
    """Evaluate readers without and with the model's help, and the model alone.

    Parameters
    ----------
    stages
        (n,) true stages, 0..3.
    phases
        Reader -> (n,) stages unaided, and (n,) stages aided.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If there is no reader, a reader is named 'all readers', or there is not exactly one reading per row.
    """
    if not phases or ALL in phases:
        raise InputError(f"Readers {list(phases)}; expected one or more, and other names than '{ALL}'.")
    readings = [
        Reader(f"{name}, {phase}", one) for name, two in phases.items() for phase, one in zip(PHASES, two, strict=True)
    ]
    _check(stages, readings if model is None else [*readings, model], patients)

    clusters = Clusters.of(patients)
    predicted = np.stack([np.stack(two) for two in phases.values()], axis=1)  # (2, readers, n)
    rows = [_phases(name, stages, predicted[:, [i]], clusters, model, seed) for i, name in enumerate(phases)]
    rows.append(_phases(ALL, stages, predicted, clusters, model, seed))
    corrected = _holm([(*row.gains, *row.against_model) for row in rows])
    return ReaderStudy(
        n_rows=len(stages),
        n_patients=clusters.number,
        rows=tuple(
            replace(row, gains=tests[: len(row.gains)], against_model=tests[len(row.gains) :])
            for row, tests in zip(rows, corrected, strict=True)
        ),
        model=None if model is None else _alone(stages, model, clusters),
        fleiss={phase: fleiss(predicted[i], clusters, seed=seed) for i, phase in enumerate(PHASES)},
    )


def fleiss(readings: np.ndarray, patients: Patients, *, seed: int = 0) -> Estimate:
    """Estimate Fleiss' kappa between readers of all rows (Fleiss 1971, Psychol Bull 76:378) by the patient bootstrap.

    Not computed by statsmodels, so that all resamples are one product of matrices.

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
        expected = ((counts @ kinds / (times * total[..., None])) ** 2).sum(axis=-1)
        with np.errstate(invalid="ignore"):
            return np.asarray((counts @ agreeing / total - expected) / (1 - expected))[..., None]

    counts = patient_counts(which.ravel(), len(kinds), patients)
    return bootstrapped(kappa, counts, seed=seed)[0]


def clustered_mcnemar(first: np.ndarray, second: np.ndarray, patients: Patients) -> tuple[float | None, str]:
    """Run McNemar's test on (n,) bool with several rows per patient (Obuchowski 1998, Stat Med 17:1495).

    Of the available tests, this one tests the reported difference, with equal weight for every row. With one row per
    patient it is McNemar's chi-square, uncorrected, times (patients - 1) / patients.

    Returns
    -------
    tuple
        Two-sided p-value, None if not defined; and the method as text.
    """
    net = Clusters.of(patients).sums(first.astype(float) - second)
    if len(net) < 2:
        return None, "not defined: all rows are of one patient"
    if not net.any():
        return None, "not defined: both are right equally often in every patient"
    statistic = net.sum() ** 2 / (len(net) / (len(net) - 1) * (net**2).sum())
    return float(chi2.sf(statistic, 1)), "McNemar's test clustered by patient (Obuchowski)"


def _phases(
    name: str, stages: np.ndarray, predicted: np.ndarray, clusters: Clusters, model: Reader | None, seed: int
) -> Phases:
    """Evaluate (2, readers, n) stages, unaided and aided."""
    times = predicted.shape[1]
    truth, clusters = np.tile(stages, times), clusters.tiled(times)
    unaided, aided = ((f"{name}, {phase}", predicted[i].ravel() == truth) for i, phase in enumerate(PHASES))
    # The tests of the readers form a family; the test of all readings together is one of its own.
    subject = ALL if name == ALL else "each reader"
    against = []
    if model is not None:
        alone = (model.name, np.tile(model.predicted, times) == truth)
        for phase, other in zip(PHASES, (unaided, aided), strict=True):
            against += _of_accuracy(alone, other, clusters, f"model against {subject}, {phase}", seed)
    return Phases(
        reader=name,
        unaided=proportion(unaided[1], clusters),
        aided=proportion(aided[1], clusters),
        gains=tuple(_of_accuracy(aided, unaided, clusters, f"gain of {subject}", seed)),
        against_model=tuple(against),
        by_stage={str(s): _crossing(unaided[1][truth == s], aided[1][truth == s]) for s in TStage},
    )


def _alone(stages: np.ndarray, model: Reader, clusters: Clusters) -> Alone:
    right = model.predicted == stages
    each = {str(s): proportion(right[stages == s], clusters.at(stages == s)) for s in TStage}
    return Alone(model.name, proportion(right, clusters), each)


def _of_one(stages: np.ndarray, one: Reader, areas: Areas, clusters: Clusters, seed: int) -> dict[str, Estimate]:
    counts = patient_counts(stages * K + one.predicted, K * K, clusters)
    agreements = dict(zip(AGREEMENT, bootstrapped(agreement, counts, seed=seed), strict=True))
    found = {"accuracy": proportion(one.predicted == stages, clusters), **{name: agreements[name] for name in KAPPAS}}
    if areas:
        found["auc_macro"] = roc.estimate(areas["auc_macro"], clusters)
    return found


def _areas(stages: np.ndarray, one: Reader) -> Areas:
    if one.probabilities is None:
        return {}
    each = roc.stage_areas(stages, one.probabilities)
    return {"auc_macro": roc.macro(each), **{f"auc_{s}": area for s, area in zip(TStage, each, strict=True)}}


def _differences(
    stages: np.ndarray, first: Reader, second: Reader, areas: Mapping[str, Areas], clusters: Clusters, seed: int
) -> list[Difference]:
    one_right, other_right = ((reader.name, reader.predicted == stages) for reader in (first, second))
    found = _of_accuracy(one_right, other_right, clusters, "accuracy", seed)
    found += _of_kappas(stages, first, second, clusters, seed)
    one, other = areas[first.name], areas[second.name]
    clustered = ", clustered by patient" if clusters.clustered else ""
    for measure in one if other else ():
        estimate, p = roc.difference(one[measure], other[measure], clusters)
        family = "macro AUC" if measure == "auc_macro" else "AUC of each stage"
        test = estimate.method if p is None else f"DeLong's paired test{clustered}"
        found.append(Difference(first.name, second.name, measure, estimate, test, p, family))
    return found


def _of_accuracy(
    first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], clusters: Clusters, family: str, seed: int
) -> list[Difference]:
    """Estimate the difference of two accuracies, given as names and (n,) bool; two tests if patients repeat."""
    (one, one_right), (other, other_right) = first, second
    table = _crossing(one_right, other_right)

    def difference(counts: np.ndarray) -> np.ndarray:
        return np.asarray((counts[..., [2]] - counts[..., [1]]) / counts.sum(axis=-1, keepdims=True))

    counts = patient_counts(2 * one_right + other_right, 4, clusters)
    estimate = bootstrapped(difference, counts, seed=seed)[0]
    exact = import_extra("statsmodels.stats.contingency_tables", "Comparisons of readers need", "evaluate").mcnemar(
        [[table.both_right, table.only_first], [table.only_second, table.both_wrong]], exact=True
    )
    mcnemar = Difference(one, other, "accuracy", estimate, "McNemar's test, exact", float(exact.pvalue), family)
    if not clusters.clustered:
        return [mcnemar]
    p, test = clustered_mcnemar(one_right, other_right, clusters)
    assumption = f"{mcnemar.test}, assuming independent rows, which rows of one patient are not"
    beside = replace(mcnemar, test=assumption, family=f"{family}, rows as if independent")
    return [replace(mcnemar, test=test, p=p), beside]


def _of_kappas(stages: np.ndarray, first: Reader, second: Reader, clusters: Clusters, seed: int) -> list[Difference]:
    places = [AGREEMENT.index(name) for name in KAPPAS]

    def difference(counts: np.ndarray) -> np.ndarray:
        """Compute (…, 2) differences from (…, 64) counts of (true, first, second)."""
        cells = counts.reshape(*counts.shape[:-1], K, K, K)
        one, other = (agreement(cells.sum(axis=axis).reshape(*counts.shape[:-1], K * K)) for axis in (-1, -2))
        return np.asarray((one - other)[..., places])

    counts = patient_counts((stages * K + first.predicted) * K + second.predicted, K**3, clusters)
    values = difference(counts.sum(axis=0))
    draws = difference(resampled_counts(counts, seed=seed))
    found = []
    for name, value, drawn in zip(KAPPAS, values.tolist(), draws.T, strict=True):
        estimate = percentiles(value, drawn) if clusters.number > 1 else of_one_patient(value)
        p, test = None, estimate.method
        if estimate.low is not None:
            p, test = _bootstrap_p(drawn[~np.isnan(drawn)]), "patient bootstrap: level at which its interval reaches 0"
        found.append(Difference(first.name, second.name, name, estimate, test, p, name))
    return found


def _bootstrap_p(drawn: np.ndarray) -> float:
    """Return a two-sided p-value: twice the share of draws on the smaller side of 0, limited by their number."""
    least = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return float(min(1.0, 2 * (least + 1) / (len(drawn) + 1)))


def _crossing(first: np.ndarray, second: np.ndarray) -> Crossing:
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    return Crossing(*(int(np.count_nonzero(cell)) for cell in cells))


def _holm(groups: Sequence[Sequence[Difference]]) -> list[tuple[Difference, ...]]:
    """Return the groups with p-values corrected within each family; undefined tests do not count."""
    families: dict[str, list[float]] = {}
    for one in chain.from_iterable(groups):
        if one.p is not None:
            families.setdefault(one.family, []).append(one.p)
    # The corrected values are in the order in which they were collected.
    left = {name: iter(holm(np.array(values)).tolist()) for name, values in families.items()}
    return [tuple(one if one.p is None else replace(one, p_holm=next(left[one.family])) for one in group)
            for group in groups]  # fmt: skip


def _check(stages: np.ndarray, readers: Sequence[Reader], patients: Patients) -> None:
    _check_stages("True stages", stages)
    if not len(stages) or len(stages) != len(patients):
        raise InputError(
            f"{len(stages)} stages, {len(patients)} patients; expected one of each per row, and at least one row."
        )
    names = [one.name for one in readers]
    if len(set(names)) < len(names):
        raise InputError(f"Readers {names}; expected unique names.")
    for one in readers:
        if len(one.predicted) != len(stages):
            raise InputError(
                f"{one.name} has {len(one.predicted)} readings for {len(stages)} rows; expected one per row. Remove "
                "incomplete rows for all readers."
            )


def _check_stages(name: str, values: np.ndarray) -> None:
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{name}: {values.dtype} of shape {values.shape}; expected (n,) whole numbers 0 to {K - 1}.")
    if len(values) and not 0 <= values.min() <= values.max() < K:
        met = values[(values < 0) | (values >= K)][0]
        raise InputError(f"{name} include {met}; expected 0 to {K - 1} for T1 to T{K}.")


__all__ = ["ALL", "Alone", "Comparison", "Crossing", "Difference", "Pair", "Phases", "Reader", "ReaderStudy",
           "clustered_mcnemar", "compare", "fleiss", "phase_columns", "reader_study"]  # fmt: skip
