"""Compare readers, comparators such as EUS, and models, every two on the rows that both have read.

Every test is paired. Rows of one patient are not independent: intervals and tests sum within patients or leave out
patients. The interval and the p-value of a difference are of one method, so that the interval contains 0 if and only if
p is 0.05 or more. McNemar's exact test, which ignores patients, is reported in addition, without an interval.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, combinations
from typing import Any

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import (
    Clusters,
    Estimate,
    Patients,
    compared,
    holm,
    jackknife,
    patient_counts,
    undefined,
)
from GTRStagingLib.stats.mcnemar import clustered_mcnemar
from GTRStagingLib.stats.metrics import AGREEMENT, agreement, measure
from GTRStagingLib.support.distributions import wrong_shares, wrong_sums
from GTRStagingLib.support.extras import import_extra

K = len(TStage)
TREATED = TStage.T3
"""Lowest stage that is treated, as in `decisions.treatment`."""

KAPPAS = ("kappa_linear", "kappa_quadratic")
Areas = Mapping[str, roc.Area | None]


@dataclass(frozen=True)
class Reader:
    """Readings of a person, a comparator or a model.

    Attributes
    ----------
    predicted
        (n,) whole numbers, stages 0..3; -1 in rows without a reading.
    probabilities
        (n, 4), if available; not used in rows without a reading.

    Raises
    ------
    InputError
        If a stage is out of range, or the probabilities are invalid.
    """

    name: str
    predicted: np.ndarray
    probabilities: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_stages(f"Stages of {self.name}", self.predicted, least=-1)
        if self.probabilities is None:
            return
        shape, expected = self.probabilities.shape, (len(self.predicted), K)
        if shape != expected:
            raise InputError(f"Probabilities of {self.name} have shape {shape}; expected {expected}.")
        off = (wrong_shares(self.probabilities) | wrong_sums(self.probabilities, 0.01)) & self.read
        if off.any():
            row = int(np.flatnonzero(off)[0])
            raise InputError(
                f"Probabilities of {self.name}, row {row}: {self.probabilities[row].tolist()}; expected four that sum "
                "to 1. Set the stage of a row without probabilities to -1."
            )

    @property
    def read(self) -> np.ndarray:
        """Whether there is a reading, (n,) bool."""
        return np.asarray(self.predicted >= 0)

    def at(self, rows: np.ndarray) -> "Reader":
        """Select rows by a (n,) bool."""
        return Reader(self.name, self.predicted[rows], None if self.probabilities is None else self.probabilities[rows])


@dataclass(frozen=True)
class Reading:
    """Performance of one reader on the rows that it has read.

    Attributes
    ----------
    name
        Of the reader, with the phase in a study of two phases.
    sensitivity
        Stage -> share of its rows that are read as this stage.
    auc_macro
        None without probabilities.
    """

    name: str
    n_rows: int
    n_patients: int
    accuracy: Estimate
    kappa_linear: Estimate
    kappa_quadratic: Estimate
    sensitivity: Mapping[str, Estimate]
    over_staged: Estimate
    under_staged: Estimate
    auc_macro: Estimate | None = None


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
        accuracy, kappa_linear, kappa_quadratic, over_staged, under_staged, sensitivity_T1 .. sensitivity_T4,
        over_treatment, under_treatment, net_benefit (at the threshold 0.5), auc_macro, auc_T1 .. auc_T4.
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
    """Comparison of two readers on the rows that both have read.

    Attributes
    ----------
    differences
        With two entries for accuracy: tested by patient, and by row (McNemar, exact, without an interval). Empty if no
        row has both readings.
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
        Name -> performance on its own rows.
    pairs
        Every two readers, in the given order.
    """

    n_rows: int
    n_patients: int
    readers: Mapping[str, Reading]
    pairs: tuple[Pair, ...]

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


def compare(stages: np.ndarray, readers: Sequence[Reader], patients: Patients) -> Comparison:
    """Compare every two readers on the rows that both have read.

    Parameters
    ----------
    stages
        (n,) true stages, 0..3.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If there are fewer than two readers, a repeated name, a reader without a reading, or not exactly one entry per
        row.
    """
    check_readers(stages, readers, patients)
    if len(readers) < 2:
        raise InputError(f"{len(readers)} reader to compare; expected two or more on the same rows.")
    clusters = Clusters.of(patients)
    pairs = list(combinations(readers, 2))
    found = with_holm([paired(stages, *two, clusters) for two in pairs])
    return Comparison(
        n_rows=len(stages),
        n_patients=clusters.number,
        readers={one.name: reading_of(stages, one, clusters) for one in readers},
        pairs=tuple(
            Pair(a.name, b.name, crossing(stages, a, b), differences)
            for (a, b), differences in zip(pairs, found, strict=True)
        ),
    )


def reading_of(stages: np.ndarray, one: Reader, clusters: Clusters) -> Reading:
    """Measure the performance of a reader on the rows that it has read, at least one."""
    stages, clusters, one = stages[one.read], clusters.at(one.read), one.at(one.read)
    found = measure(stages, one.predicted, clusters)
    areas = _areas(stages, one)
    return Reading(
        name=one.name,
        n_rows=found.n_rows,
        n_patients=found.n_patients,
        accuracy=found.accuracy,
        kappa_linear=found.kappa_linear,
        kappa_quadratic=found.kappa_quadratic,
        sensitivity={str(stage): found.per_class[str(stage)].sensitivity for stage in TStage},
        over_staged=found.over_staged,
        under_staged=found.under_staged,
        auc_macro=roc.estimate(areas["auc_macro"], clusters) if areas else None,
    )


def crossing(stages: np.ndarray, first: Reader, second: Reader) -> Crossing:
    """Count the rows that both have read by whether each is right."""
    both = first.read & second.read
    return _crossing(*((one.predicted == stages)[both] for one in (first, second)))


def paired(stages: np.ndarray, first: Reader, second: Reader, clusters: Clusters, *, of: str = "") -> list[Difference]:
    """Estimate and test every difference of two readers, first minus second, on the rows that both have read.

    Parameters
    ----------
    of
        Added to the name of each family of tests, such as 'gain of each reader'.
    """
    both = first.read & second.read
    if not both.any():
        return []
    stages, clusters, first, second = stages[both], clusters.at(both), first.at(both), second.at(both)
    names, apart = (first.name, second.name), f", {of}" if of else ""
    found = []
    one, other = (shares_of(stages, reader.predicted) for reader in (first, second))
    for name, (rows, hits) in one.items():
        family = family_of(name) + apart
        if not rows.any():
            missing = undefined("no row is of this stage")
            found.append(Difference(*names, name, missing, missing.method, None, family))
            continue
        sides, among = ((first.name, hits[rows]), (second.name, other[name][1][rows])), clusters.at(rows)
        by_patient, *by_row = _of_accuracy(*sides, among, family)
        found += [replace(test, measure=name) for test in (by_patient, *(by_row if name == "accuracy" else ()))]
    kappas = _of_kappas(stages, first, second, clusters)
    found += [replace(test, family=family_of(test.measure) + apart) for test in kappas]
    areas, others = _areas(stages, first), _areas(stages, second)
    clustered = ", clustered by patient" if clusters.clustered else ""
    for name in areas if others else ():
        estimate, p = roc.difference(areas[name], others[name], clusters)
        family = ("macro AUC" if name == "auc_macro" else "AUC of each stage") + apart
        test = estimate.method if p is None else f"DeLong's paired test, t{clustered}"
        found.append(Difference(*names, name, estimate, test, p, family))
    return found


def shares_of(stages: np.ndarray, predicted: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the measures that are shares of rows: name -> (n,) bool of the rows concerned, and of those that count.

    The difference of two net benefits at the threshold 0.5 is that of the shares of rows which are treated or not
    treated rightly: (TP - FP) / N is this share minus the share of rows that need no treatment, which is the same.
    """
    every, late, treated = np.ones(len(stages), bool), stages >= TREATED, predicted >= TREATED
    return {
        "accuracy": (every, predicted == stages),
        "over_staged": (every, predicted > stages),
        "under_staged": (every, predicted < stages),
        **{f"sensitivity_{stage}": (stages == stage, predicted == stage) for stage in TStage},
        "over_treatment": (every, treated & ~late),
        "under_treatment": (every, ~treated & late),
        "net_benefit": (every, treated == late),
    }


def family_of(measure: str) -> str:
    """Return the name of the family of tests of a share or a kappa."""
    return "sensitivity of each stage" if measure.startswith("sensitivity") else measure.replace("_", " ")


def _areas(stages: np.ndarray, one: Reader) -> Areas:
    if one.probabilities is None:
        return {}
    each = roc.stage_areas(stages, one.probabilities)
    return {"auc_macro": roc.macro(each), **{f"auc_{s}": area for s, area in zip(TStage, each, strict=True)}}


def _of_accuracy(
    first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], clusters: Clusters, family: str
) -> list[Difference]:
    """Estimate the difference of two accuracies, given as names and (n,) bool; and test it by row."""
    (one, one_right), (other, other_right) = first, second
    estimate, p, test = clustered_mcnemar(one_right, other_right, clusters)
    table = _crossing(one_right, other_right)
    exact = import_extra("statsmodels.stats.contingency_tables", "Comparisons of readers need", "evaluate").mcnemar(
        [[table.both_right, table.only_first], [table.only_second, table.both_wrong]], exact=True
    )
    by_row = "McNemar's test, exact"
    if clusters.clustered:
        by_row += ", assuming independent rows, which rows of one patient are not"
    value = Estimate(estimate.value, None, None, f"{by_row}: it has no interval")
    return [
        Difference(one, other, "accuracy", estimate, test, p, family),
        Difference(one, other, "accuracy", value, by_row, float(exact.pvalue), f"{family}, exact, by row"),
    ]


def _of_kappas(stages: np.ndarray, first: Reader, second: Reader, clusters: Clusters) -> list[Difference]:
    places = [AGREEMENT.index(name) for name in KAPPAS]

    def difference(counts: np.ndarray) -> np.ndarray:
        """Compute (…, 2) differences from (…, 64) counts of (true, first, second)."""
        cells = counts.reshape(*counts.shape[:-1], K, K, K)
        one, other = (agreement(cells.sum(axis=axis).reshape(*counts.shape[:-1], K * K)) for axis in (-1, -2))
        return np.asarray((one - other)[..., places])

    counts = patient_counts((stages * K + first.predicted) * K + second.predicted, K**3, clusters)
    found = []
    for name, (value, spread) in zip(KAPPAS, jackknife(difference, counts), strict=True):
        if np.isnan(value):
            estimate, p = undefined("the required rows are missing"), None
        else:
            estimate, p = compared(value, spread, clusters.sizes, "jackknife over patients")
        test = estimate.method if p is None else "t test, jackknife over patients"
        found.append(Difference(first.name, second.name, name, estimate, test, p, name))
    return found


def _crossing(first: np.ndarray, second: np.ndarray) -> Crossing:
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    return Crossing(*(int(np.count_nonzero(cell)) for cell in cells))


def with_holm(groups: Sequence[Sequence[Difference]]) -> list[tuple[Difference, ...]]:
    """Return the groups with p-values corrected within each family; undefined tests do not count."""
    families: dict[str, list[float]] = {}
    for one in chain.from_iterable(groups):
        if one.p is not None:
            families.setdefault(one.family, []).append(one.p)
    # The corrected values are in the order in which they were collected.
    left = {name: iter(holm(np.array(values)).tolist()) for name, values in families.items()}
    return [tuple(one if one.p is None else replace(one, p_holm=next(left[one.family])) for one in group)
            for group in groups]  # fmt: skip


def check_readers(stages: np.ndarray, readers: Sequence[Reader], patients: Patients) -> None:
    """Raise `InputError` unless stages, readings and patients have one entry per row, and every reader a reading."""
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
                f"{one.name} has {len(one.predicted)} readings for {len(stages)} rows; expected one per row. Set the "
                "stage of a row without a reading to -1."
            )
        if not one.read.any():
            raise InputError(f"{one.name} has no reading in {len(stages)} rows; expected at least one.")


def _check_stages(name: str, values: np.ndarray, least: int = 0) -> None:
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"{name}: {values.dtype} of shape {values.shape}; expected (n,) whole numbers 0 to {K - 1}.")
    if len(values) and not least <= values.min() <= values.max() < K:
        met = values[(values < least) | (values >= K)][0]
        raise InputError(f"{name} include {met}; expected 0 to {K - 1} for T1 to T{K}.")


__all__ = ["KAPPAS", "TREATED", "Comparison", "Crossing", "Difference", "Pair", "Reader", "Reading", "check_readers",
           "compare", "crossing", "family_of", "paired", "phase_columns", "reading_of",
           "shares_of", "with_holm"]  # fmt: skip
