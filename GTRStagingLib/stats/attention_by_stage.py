"""Summarise the agreement of attention and ROI over a cohort: by stage, compared with baselines, with a trend test.

Intervals of means are by the jackknife over patients. Tests use one value per patient, the mean of its rows, since rows
are not independent. An undefined measure of a batch is NaN here; it is counted and left out. The p-values are not
corrected for their number.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, permutation_test, wilcoxon

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import (
    FEWEST_OF_AMOUNTS,
    FEWEST_OF_DISTANCES,
    Clusters,
    Estimate,
    Patients,
    Range,
    mean,
    proportion,
)
from GTRStagingLib.support.counts import counted

K = len(TStage)
ALL = "all"
SHARES = ("pointing_hit",)
"""Measures that are yes or no; their mean is a proportion."""
BASELINES = {"chance": "chance_dice", "blob": "blob_dice", "mean_mask": "mean_mask_dice"}
"""Baseline -> its measure. Each is the Dice of a region as large as the attention's: random pixels in the body, a disc
in the middle of the body, and the most frequent place of the ROIs of the model's cases (location only)."""

PERMUTATIONS = 9999
MOST_PERMUTED = 20_000
"""Largest number of patients for a permutation test; above it, only the normal approximation is used."""


@dataclass(frozen=True)
class Distribution:
    """Distribution of a measure in some rows.

    Attributes
    ----------
    n, n_undefined
        Numbers of rows with and without the measure.
    median, q1, q3
        None without rows.
    mean
        With an interval by the jackknife over patients; Wilson's for a measure that is yes or no.
    """

    n: int
    n_undefined: int
    median: float | None
    q1: float | None
    q3: float | None
    mean: Estimate


@dataclass(frozen=True)
class Difference:
    """Dice minus the Dice of a baseline in the same slice.

    Attributes
    ----------
    n
        Number of rows with both.
    difference
        Mean difference.
    test, p
        Wilcoxon's signed-rank test, two-sided; if `p` is None, `test` states the reason.
    """

    n: int
    difference: Estimate
    test: str
    p: float | None


@dataclass(frozen=True)
class Trend:
    """Trend of a measure over the stages (Jonckheere 1954, Biometrika 41:133).

    Attributes
    ----------
    n
        Number of values, one per patient.
    statistic
        J, the number of pairs of values from two stages in which the higher stage has the higher value; ties count
        half.
    share
        J divided by the number of such pairs: 0.5 is no trend, more is an increase.
    test, p
        Normal approximation corrected for ties, two-sided; if `p` is None, `test` states the reason.
    permutation_test, p_permutation
        Test by permuting the stages among the patients.
    """

    n: int
    statistic: float | None
    share: float | None
    test: str
    p: float | None
    permutation_test: str
    p_permutation: float | None


@dataclass(frozen=True)
class AttentionStudy:
    """Agreement of attention and ROI over a cohort.

    Attributes
    ----------
    measures
        Measure -> 'all', 'T1' .. 'T4' -> its distribution.
    against
        Each available baseline of `BASELINES` -> 'all', 'T1' .. 'T4' -> Dice minus the Dice of the baseline.
    trends
        Measure -> its trend over the stages.
    """

    n_rows: int
    n_patients: int
    measures: Mapping[str, Mapping[str, Distribution]]
    against: Mapping[str, Mapping[str, Difference]]
    trends: Mapping[str, Trend]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def attention(
    stages: np.ndarray, measures: Mapping[str, np.ndarray], patients: Patients, *, seed: int = 0
) -> AttentionStudy:
    """Summarise measures of agreement between attention and ROI by true stage.

    Parameters
    ----------
    stages
        (n,) 0..3.
    measures
        Name, as in the columns of a batch (dice, chance_dice, iou, hd95_mm, …), -> (n,) numbers, NaN if not defined.
    patients
        (n,) patient of each row.
    seed
        Seed of the permutations.

    Raises
    ------
    InputError
        If there is no measure or no row, or a measure does not have one finite number or NaN per row.
    """
    values = {name: np.asarray(column, dtype=float) for name, column in measures.items()}
    _check(stages, values, patients)
    clusters = Clusters.of(patients)
    return AttentionStudy(
        n_rows=len(stages),
        n_patients=clusters.number,
        measures={name: _by_stage(name, column, stages, clusters) for name, column in values.items()},
        against={
            name: _against(values["dice"] - values[column], stages, clusters)
            for name, column in BASELINES.items()
            if {"dice", column} <= values.keys()
        },
        trends={name: trend(column, stages, clusters, seed=seed) for name, column in values.items()},
    )


def trend(values: np.ndarray, stages: np.ndarray, patients: Patients, *, seed: int = 0) -> Trend:
    """Test (n,) values, without NaN, for a trend over T1..T4 (Jonckheere-Terpstra).

    J is a linear function of Kendall's S, 2 J = S + pairs, so its normal approximation with the correction for ties is
    that of Kendall's tau in scipy.
    """
    there = ~np.isnan(values)
    clusters, stages = Clusters.of(patients).at(there), stages[there]
    ranked, levels = _one_a_stage(values[there], stages, clusters)
    sizes = np.bincount(levels, minlength=K)
    pairs = (len(levels) ** 2 - int((sizes**2).sum())) / 2
    reason = ""
    if len(levels) < 3:
        reason = f"{counted(len(levels), 'patient has', 'patients have')} a value, fewer than three"
    elif pairs == 0:
        reason = "fewer than two stages have values"
    if reason:
        return Trend(len(levels), None, None, f"not defined: {reason}", None, f"not defined: {reason}", None)
    statistic = float(_jonckheere(ranked, levels))
    if (ranked == ranked[0]).all():
        reason = "not defined: every value is the same"
        return Trend(len(levels), statistic, statistic / pairs, reason, None, reason, None)
    test = "Jonckheere-Terpstra, normal approximation with ties, over " + ", ".join(
        str(stage) for stage in TStage if sizes[stage]
    )
    if clusters.number < len(levels):
        test += "; a patient with rows of several stages counts once in each"
    p = float(kendalltau(levels, ranked, method="asymptotic").pvalue)
    permuted, p_permuted = f"not computed above {MOST_PERMUTED} patients", None
    if len(levels) <= MOST_PERMUTED:
        permuted, p_permuted = _permuted(ranked, levels, seed)
    return Trend(len(levels), statistic, statistic / pairs, test, p, permuted, p_permuted)


def _jonckheere(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return J, (…,), of (n,) values with stages (…, n)."""
    order = np.argsort(values, kind="stable")
    ordered, starts = levels[..., order], np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    result = np.zeros(levels.shape[:-1])
    for level in range(1, K):
        upper, lower = ((ordered == level).astype(float), (ordered < level).astype(float))
        if len(starts) < len(values):  # pairs of equal values count half
            upper, lower = (np.add.reduceat(side, starts, axis=-1) for side in (upper, lower))
            result -= (upper * lower).sum(axis=-1) / 2
        result += (upper * np.cumsum(lower, axis=-1)).sum(axis=-1)
    return result


def _permuted(values: np.ndarray, levels: np.ndarray, seed: int) -> tuple[str, float]:
    def statistic(permuted: np.ndarray, axis: int = -1) -> np.ndarray:
        return _jonckheere(values, np.moveaxis(permuted, axis, -1))

    found = permutation_test(
        (levels,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=max(1, 500_000 // len(levels)),
        random_state=np.random.default_rng(seed),
    )
    drawn = len(found.null_distribution)
    every = drawn != PERMUTATIONS  # scipy uses all permutations if there are not more than requested
    kind = f"all {drawn} permutations" if every else f"{drawn} random permutations"
    return f"{kind} of the stages among the patients", float(found.pvalue)


def _against(above: np.ndarray, stages: np.ndarray, clusters: Clusters) -> dict[str, Difference]:
    found = {}
    for name, rows in _groups(stages).items():
        there = rows & ~np.isnan(above)
        of_rows = clusters.at(there)
        test, p = _signed_rank(_means_by(of_rows, above[there]))
        difference = mean(above[there], of_rows, (-1.0, 1.0), FEWEST_OF_AMOUNTS)
        found[name] = Difference(int(np.count_nonzero(there)), difference, test, p)
    return found


def _signed_rank(differences: np.ndarray) -> tuple[str, float | None]:
    """Run Wilcoxon's test on one difference per patient, without zeros, as in the original test."""
    differences = differences[differences != 0]
    if len(differences) < 2:
        return "not defined: fewer than two patients have a difference", None
    ties = len(np.unique(np.abs(differences))) < len(differences)
    method = "exact" if len(differences) <= 50 and not ties else "approx"
    p = float(wilcoxon(differences, method=method).pvalue)
    how = "exact" if method == "exact" else "normal approximation"
    return f"Wilcoxon signed-rank test of {len(differences)} patients' means, {how}", p


def _by_stage(name: str, values: np.ndarray, stages: np.ndarray, clusters: Clusters) -> dict[str, Distribution]:
    found = {}
    for group, everyone in _groups(stages).items():
        rows = everyone & ~np.isnan(values)
        n, kept, of_rows = int(np.count_nonzero(rows)), values[rows], clusters.at(rows)
        q1, median, q3 = np.quantile(kept, [0.25, 0.5, 0.75]).tolist() if n else (None, None, None)
        if n and name in SHARES:
            average = proportion(kept > 0, of_rows)
        else:
            limits = _range(name, values)
            few = FEWEST_OF_AMOUNTS if limits and np.isfinite(limits[1]) else FEWEST_OF_DISTANCES
            average = mean(kept, of_rows, limits, few)
        found[group] = Distribution(n, int(np.count_nonzero(everyone)) - n, median, q1, q3, average)
    return found


def _range(name: str, values: np.ndarray) -> Range | None:
    """Return the possible values of a measure: lengths and areas are not negative, the others are between 0 and 1."""
    if np.isnan(values).all():
        return None
    most = np.inf if name.endswith(("_mm", "_mm2")) else 1.0
    return (0.0, most) if np.nanmin(values) >= 0 and np.nanmax(values) <= most else None


def _groups(stages: np.ndarray) -> dict[str, np.ndarray]:
    return {ALL: np.full(len(stages), True), **{str(stage): stages == stage for stage in TStage}}


def _means_by(clusters: Clusters, values: np.ndarray) -> np.ndarray:
    """Return the mean of each patient's values, rounded, so that equal values tie in spite of rounding errors."""
    result: np.ndarray = (clusters.sums(values) / clusters.sizes).round(12)
    return result


def _one_a_stage(values: np.ndarray, stages: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each patient's values in each stage of its rows, and that stage."""
    each = Clusters.of(clusters.codes * K + stages)
    return _means_by(each, values), stages[each.first]


def _check(stages: np.ndarray, values: Mapping[str, np.ndarray], patients: Patients) -> None:
    if not values or not len(stages) or len(stages) != len(patients):
        raise InputError(
            f"{len(values)} measures, {len(stages)} stages, {len(patients)} patients; expected at least one measure, "
            "and one stage and one patient per row."
        )
    if not np.issubdtype(stages.dtype, np.integer) or not 0 <= stages.min() <= stages.max() < K:
        raise InputError(
            f"Stages {np.unique(stages)[:9].tolist()}; expected whole numbers 0 to {K - 1} for T1 to T{K}."
        )
    for name, column in values.items():
        if column.shape != stages.shape:
            raise InputError(f"{name} has shape {column.shape}; expected {stages.shape}, one number per row.")
        if np.isinf(column).any():
            row = int(np.flatnonzero(np.isinf(column))[0])
            raise InputError(f"{name}, row {row}: {column[row]}; expected a number, or NaN if it is not defined.")
        other = column[~np.isnan(column) & (column != 0) & (column != 1)]
        if name in SHARES and len(other):
            raise InputError(f"{name} contains {other[0]:g}; expected 0, 1, or NaN if it is not defined.")


__all__ = ["BASELINES", "AttentionStudy", "Difference", "Distribution", "Trend", "attention", "trend"]
