"""Test whether a measure differs between cohorts of different patients: Cochran's Q, and the share I2 beyond chance.

Q is the sum of the squared distances of the cohorts' values from their weighted mean, each divided by its variance
(Cochran 1954, Biometrics 10:101; Higgins & Thompson 2002, Stat Med 21:1539). Shares are compared with the variances of
equal shares, so that Q is Pearson's chi-squared if each patient has one row; if patients have several, the number of
rows is divided by the design effect (Rao & Scott 1992, Biometrics 48:577). Areas and means are compared on the logit
scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit
from scipy.stats import chi2

from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import (
    FEWEST,
    FEWEST_OF_AMOUNTS,
    RESAMPLES,
    ROUNDING,
    Clusters,
    holm,
    no_interval,
    spread_of_mean,
)
from GTRStagingLib.stats.group_differences import FEWEST_EXPECTED


@dataclass(frozen=True)
class Heterogeneity:
    """Test of the differences of one measure between cohorts.

    Attributes
    ----------
    measure
        As in 'accuracy', 'macro AUC' or 'sensitivity of T1'.
    statistic
        Cochran's Q; None if the measure is not defined in two cohorts or more.
    df
        Degrees of freedom: the number of compared cohorts less 1, or 0.
    p, p_holm
        P value, and the same corrected for the number of measures (Holm); None with `statistic`.
    i2
        Share of the variation between cohorts beyond chance, 0..1.
    method
        Name of the test with the cohorts that it leaves out, or why the test is not defined.
    """

    measure: str
    statistic: float | None
    df: int
    p: float | None
    i2: float | None
    method: str
    p_holm: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def compare_shares(measure: str, cohorts: Mapping[str, tuple[np.ndarray, Clusters]], *, seed: int = 0) -> Heterogeneity:
    """Compare the share of hits between cohorts.

    If an expected number of hits or misses is below `FEWEST_EXPECTED`, or a patient of several rows leaves no interval
    (`estimates.no_interval`), the p value is the share of random assignments of the patients to the cohorts with a Q at
    least as large.

    Parameters
    ----------
    cohorts
        Name -> (n,) bool hits, and the patients of these rows; a cohort without rows is left out.

    Examples
    --------
    45 of 50 rows are hits in one cohort, 35 of 50 in the other; each row is a patient.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> from GTRStagingLib.stats.heterogeneity import compare_shares
    >>> rows = Clusters.of(np.arange(50))
    >>> found = compare_shares("accuracy", {"A": (np.arange(50) < 45, rows), "B": (np.arange(50) < 35, rows)})
    >>> round(found.statistic, 6), found.df, round(found.p, 4), round(found.i2, 3)
    (6.25, 1, 0.0124, 0.84)
    """
    used = {name: one for name, one in cohorts.items() if len(one[0])}
    missing = [f"{name} has no such rows" for name in cohorts if name not in used]
    if len(used) < 2:
        return _undefined(measure, missing)
    cohort = np.repeat(np.arange(len(used)), [clusters.number for _, clusters in used.values()])
    # By patient: the number of rows, its square, and the number of hits.
    sizes = np.concatenate([clusters.sizes for _, clusters in used.values()])
    hits = np.concatenate([clusters.sums(one.astype(float)) for one, clusters in used.values()])
    sums = np.column_stack([sizes, sizes**2, hits]).astype(float)
    statistic, expected = _q_of_shares(sums, cohort)
    df = len(used) - 1
    clustered = any(clusters.clustered for _, clusters in used.values())
    how = "Cochran's Q of shares" + (", with the design effect of several rows per patient" if clustered else "")
    uneven = any(one.clustered and no_interval(one.sizes) for _, one in used.values())
    if expected >= FEWEST_EXPECTED and not uneven:
        p = float(chi2.sf(statistic, df))
    else:
        rng = np.random.default_rng(seed)
        drawn = (_q_of_shares(sums, rng.permutation(cohort))[0] for _ in range(RESAMPLES))
        p = (1 + sum(one >= statistic * (1 - 1e-9) for one in drawn)) / (1 + RESAMPLES)
        how += f", {RESAMPLES:,} random assignments of patients to cohorts"
    return Heterogeneity(measure, statistic, df, p, _i2(statistic, df), "; ".join([how, *missing]))


def _q_of_shares(sums: np.ndarray, cohort: np.ndarray) -> tuple[float, float]:
    """Return Q and the smallest expected number of hits or misses in a cohort.

    `sums` are the number of rows of each patient, its square, and the number of hits; `cohort` is that of the patient.
    """
    sizes, squares, hits = np.array([np.bincount(cohort, weights=column) for column in sums.T])
    shares = hits / sizes
    effective = sizes / (1 + (squares / sizes - 1) * _correlation(sums, shares[cohort]))
    mean = float((effective * shares).sum() / effective.sum())
    smallest = float(effective.min()) * min(mean, 1 - mean)
    if not 0 < mean < 1:
        return 0.0, smallest
    return float((effective * (shares - mean) ** 2).sum() / (mean * (1 - mean))), smallest


def _correlation(sums: np.ndarray, share: np.ndarray) -> float:
    """Estimate the correlation of two hits of a patient, 0..1; `share` is that of the patient's cohort."""
    sizes, squares, hits = sums.T
    pairs = float((squares - sizes).sum())
    rows = float((hits * (1 - share) ** 2 + (sizes - hits) * share**2).sum())
    if pairs == 0:
        return 0.0
    if rows == 0:
        return 1.0  # no row differs from the others of its cohort: only the number of patients is known
    within = float(((hits - sizes * share) ** 2).sum()) - rows
    return min(1.0, max(0.0, (within / pairs) / (rows / float(sizes.sum()))))


def compare_areas(measure: str, cohorts: Mapping[str, tuple["roc.Area | None", Clusters]]) -> Heterogeneity:
    """Compare an area under the ROC curve between cohorts, on the logit scale with DeLong's standard errors.

    A cohort is left out without the area, with a perfect one, whose standard error is unknown, and if its patients
    allow no interval.

    Parameters
    ----------
    cohorts
        Name -> area, and the patients of its rows.
    """
    found: dict[str, _OnLogits | str] = {
        name: "lacks a stage"
        if area is None
        else _on_logits(area.value, roc.standard_error(area.influence, clusters), clusters)
        for name, (area, clusters) in cohorts.items()
    }
    return _compare_logits(measure, found, "Cochran's Q of areas on the logit scale, DeLong's standard errors")


def compare_means(measure: str, cohorts: Mapping[str, tuple[np.ndarray, Clusters]]) -> Heterogeneity:
    """Compare the mean of a measure from 0 to 1 between cohorts, on the logit scale with the jackknife's errors.

    A cohort is left out without a value, with a value outside 0 to 1, if its values are all the same, and if its
    patients allow no interval.

    Parameters
    ----------
    cohorts
        Name -> (n,) finite values, and the patients of these rows.

    Examples
    --------
    Means of 0.5 and 0.75 of 32 patients each; a value is 0.1 above or below. The squared standard error of a mean is
    0.01 / 31, that of its logit is this over (0.5 * 0.5)**2 or (0.75 * 0.25)**2. Q is log(3)**2 = 1.20695 over their
    sum, 0.0143369.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> from GTRStagingLib.stats.heterogeneity import compare_means
    >>> rows, apart = Clusters.of(np.arange(32)), np.tile([-0.1, 0.1], 16)
    >>> found = compare_means("mean Dice", {"A": (0.5 + apart, rows), "B": (0.75 + apart, rows)})
    >>> round(found.statistic, 3), found.df
    (84.185, 1)
    """
    found: dict[str, _OnLogits | str] = {}
    for name, (values, clusters) in cohorts.items():
        if not len(values):
            found[name] = "has no such rows"
        elif values.min() < 0 or values.max() > 1:
            found[name] = "has values outside 0 to 1"
        else:
            value, error = float(values.mean()), 0.0
            if np.ptp(values) > ROUNDING:
                apart = values - value
                error = spread_of_mean(clusters.sums(apart), float(apart @ apart), clusters).error
            found[name] = _on_logits(value, error, clusters, FEWEST_OF_AMOUNTS)
    return _compare_logits(measure, found, "Cochran's Q of means on the logit scale, jackknife over patients")


_OnLogits = tuple[float, float]
"""Value of a cohort on the logit scale, and its standard error there."""


def _on_logits(value: float, error: float, clusters: Clusters, fewest: int = FEWEST) -> _OnLogits | str:
    """Return a value between 0 and 1 and its standard error on the logit scale, or why they are not compared."""
    if not (error > 0 and 0 < value < 1):
        return "has no standard error"
    if reason := no_interval(clusters.sizes, fewest):
        return f"has no reliable standard error: {reason}"
    return float(logit(value)), error / (value * (1 - value))


def _compare_logits(measure: str, cohorts: Mapping[str, _OnLogits | str], how: str) -> Heterogeneity:
    """Compare values on the logit scale between cohorts; those with a text are left out for this reason."""
    missing = [f"{name} {one}" for name, one in cohorts.items() if isinstance(one, str)]
    known = np.array([one for one in cohorts.values() if not isinstance(one, str)])
    if len(known) < 2:
        return _undefined(measure, missing)
    values, weights = known[:, 0], known[:, 1] ** -2.0
    mean = float(np.average(values, weights=weights))
    statistic, df = float((weights * (values - mean) ** 2).sum()), len(values) - 1
    return Heterogeneity(
        measure, statistic, df, float(chi2.sf(statistic, df)), _i2(statistic, df), "; ".join([how, *missing])
    )


def _undefined(measure: str, missing: Sequence[str]) -> Heterogeneity:
    reason = "; ".join(["not tested: fewer than two cohorts have the measure", *missing])
    return Heterogeneity(measure, None, 0, None, None, reason)


def _i2(statistic: float, df: int) -> float:
    return max(0.0, (statistic - df) / statistic) if statistic > 0 else 0.0


def corrected(found: Sequence[Heterogeneity]) -> tuple[Heterogeneity, ...]:
    """Return the tests with their p values corrected for their number (Holm); tests without a p value do not count."""
    known = [k for k, one in enumerate(found) if one.p is not None]
    p = dict(zip(known, holm(np.array([found[k].p for k in known])).tolist(), strict=True))
    return tuple(replace(one, p_holm=p.get(k)) for k, one in enumerate(found))


__all__ = ["Heterogeneity", "compare_areas", "compare_means", "compare_shares", "corrected"]
