"""Compare two conditions over several readers and cases: the analysis of Obuchowski and Rockette.

Figures of merit of r readers in two conditions, such as without and with a model's help, follow a two-way analysis of
variance whose errors are correlated, since readers read the same patients (Obuchowski and Rockette 1995, Commun Stat
Simul Comput 24:285). Degrees of freedom are Hillis' (2007, Stat Med 26:596). The covariances are those of the jackknife
over patients, so that patients with several rows, conditions with other patients, and patients that a reader has not
read need no other formula: a patient without a reading has no influence.

With random readers, a result applies to similar readers; with fixed readers, to these only. With two or three readers,
their mean square can be far too small by chance, and a result about all readers would be surer than one about these
readers. So the variance with random readers is never taken to be less than that with fixed readers. This does not
change the published examples; without it, tests of two readers without a difference would have p below 0.05 in up to
12 % of studies, with it in up to 7 %, and tests of three in 2 to 6 % (a test repeats a part of this simulation).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm, t

from GTRStagingLib.errors import InputError
from GTRStagingLib.stats.estimates import LEVEL, Clusters, Estimate, no_interval, undefined

RANDOM, FIXED = "random", "fixed"


@dataclass(frozen=True)
class Components:
    """Mean squares and covariances of r readers in two conditions, as printed by the software of this field.

    Attributes
    ----------
    ms_t, ms_tr
        Mean squares of the conditions, and of condition by reader.
    error
        Mean variance of a figure.
    cov1, cov2, cov3
        Mean covariance of figures of one reader in both conditions; of two readers in one condition; of two readers in
        different conditions.
    """

    ms_t: float
    ms_tr: float
    error: float
    cov1: float
    cov2: float
    cov3: float


@dataclass(frozen=True)
class Effect:
    """Mean over readers, or a difference of such means.

    Attributes
    ----------
    name
        As in 'aided', or 'aided − unaided'.
    readers
        'random' or 'fixed'.
    statistic, df
        Of the test that a difference is 0: Student's t and its degrees of freedom, or z and None.
    p
        Two-sided; None for a mean, and if the test is not defined.
    """

    name: str
    readers: str
    estimate: Estimate
    statistic: float | None = None
    df: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Mrmc:
    """Multi-reader multi-case analysis of one measure.

    Attributes
    ----------
    components
        None with one condition only.
    effects
        Means of each condition and differences, each with random and with fixed readers.
    """

    measure: str
    readers: tuple[str, ...]
    n_patients: int
    components: Components | None
    effects: tuple[Effect, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def jackknife_covariance(without: np.ndarray) -> np.ndarray:
    """Return the (k, k) covariance matrix of k figures, from their values without one patient each.

    Parameters
    ----------
    without
        (k, patients); NaN for a patient without a row in the figure, which the figure does not depend on.

    Examples
    --------
    The means of 1, 2, 3 and of 3, 2, 1: the variance of a mean of three is 1/3, and one falls when the other rises.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.mrmc import jackknife_covariance
    >>> values = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    >>> without = (values.sum(axis=1, keepdims=True) - values) / 2
    >>> jackknife_covariance(without).round(4).tolist()
    [[0.3333, -0.3333], [-0.3333, 0.3333]]
    """
    own = ~np.isnan(without)
    number = own.sum(axis=1, keepdims=True)
    centre = np.where(own, without, 0).sum(axis=1, keepdims=True) / number
    influence = np.where(own, without - centre, 0) * np.sqrt((number - 1) / number)
    result: np.ndarray = influence @ influence.T
    return result


def components(values: np.ndarray, covariance: np.ndarray) -> Components:
    """Return mean squares and mean covariances of (2, r) figures with their (2 r, 2 r) covariance matrix."""
    conditions, r = values.shape
    by_condition, by_reader, whole = values.mean(axis=1), values.mean(axis=0), values.mean()
    apart = values - by_condition[:, None] - by_reader[None, :] + whole
    cells = covariance.reshape(conditions, r, conditions, r)
    same = np.einsum("ijij->ij", cells)
    other_condition = np.array([cells[0, j, 1, j] for j in range(r)])
    off = ~np.eye(r, dtype=bool)
    return Components(
        ms_t=float(r * ((by_condition - whole) ** 2).sum() / (conditions - 1)),
        ms_tr=float((apart**2).sum() / ((conditions - 1) * (r - 1))),
        error=float(same.mean()),
        cov1=float(other_condition.mean()),
        cov2=float(np.mean([cells[i, :, i, :][off].mean() for i in range(conditions)])),
        cov3=float(cells[0, :, 1, :][off].mean()),
    )


def difference(name: str, value: float, r: int, of: Components) -> tuple[Effect, Effect]:
    """Test the difference of two conditions' means over r readers: with random and with fixed readers.

    Random: F = MS(T) / (MS(TR) + r·max(Cov2 − Cov3, 0)), whose denominator d has d²·(r − 1) / MS(TR)² degrees of
    freedom, and t = √F. Fixed: the variance is 2/r · (Error − Cov1 + (r − 1)·max(Cov2 − Cov3, 0)).
    """
    between = max(of.cov2 - of.cov3, 0.0)
    random = of.ms_tr + r * between
    df = np.inf if of.ms_tr == 0 else random**2 * (r - 1) / of.ms_tr**2
    fixed = of.error - of.cov1 + (r - 1) * between
    return (
        _effect(name, RANDOM, value, 2 / r * max(random, fixed), float(df), tested=True),
        _effect(name, FIXED, value, 2 / r * fixed, None, tested=True),
    )


def mean(name: str, values: np.ndarray, covariance: np.ndarray, *, tested: bool = False) -> tuple[Effect, Effect]:
    """Estimate the mean of r readers' figures in one condition: with random and with fixed readers.

    Random: the variance is (MS(R) + r·max(Cov2, 0)) / r, with the corresponding degrees of freedom. Fixed: (Error +
    (r − 1)·Cov2) / r. The figures may be differences of the readers from a model, which is the same for all: then the
    test that their mean is 0 compares the readers with the model.

    Parameters
    ----------
    values
        (r,) figures.
    covariance
        (r, r) of them.
    tested
        Whether to test that the mean is 0.
    """
    r = len(values)
    ms_r = float(values.var(ddof=1))
    cov2 = float(covariance[~np.eye(r, dtype=bool)].mean())
    random = ms_r + r * max(cov2, 0.0)
    df = np.inf if ms_r == 0 else random**2 * (r - 1) / ms_r**2
    fixed = float(np.trace(covariance) / r) + (r - 1) * cov2
    value = float(values.mean())
    return (
        _effect(name, RANDOM, value, max(random, fixed) / r, float(df), tested),
        _effect(name, FIXED, value, fixed / r, None, tested),
    )


def _effect(name: str, readers: str, value: float, variance: float, df: float | None, tested: bool) -> Effect:
    method = f"Obuchowski and Rockette, {readers} readers"
    if not variance > 1e-15:  # rounding errors of figures that do not vary
        return Effect(name, readers, Estimate(value, None, None, f"{method}: no interval, the figures do not vary"))
    error = variance**0.5
    at = (1 + LEVEL) / 2
    if df is None:
        quantile, method = float(norm.ppf(at)), f"{method}, 95 %"
    else:
        quantile, method = float(t.ppf(at, df)), f"{method}, degrees of freedom by Hillis, 95 %"
    low, high = value - quantile * error, value + quantile * error
    if not tested:
        return Effect(name, readers, Estimate(value, max(0.0, low), min(1.0, high), method), df=_finite(df))
    statistic = value / error
    p = 2 * (norm.sf(abs(statistic)) if df is None else t.sf(abs(statistic), df))
    return Effect(name, readers, Estimate(value, low, high, method), statistic, _finite(df), float(p))


def _finite(df: float | None) -> float | None:
    """Return degrees of freedom; None if they are infinite, so that the test is that of a normal distribution."""
    return None if df is None or np.isinf(df) else df


def analyse(
    measure: str, readers: Sequence[str], values: np.ndarray, without: np.ndarray, conditions: tuple[str, str]
) -> Mrmc:
    """Analyse r readers in two conditions: the mean of each, and the second minus the first.

    Parameters
    ----------
    values
        (2, r) figures of merit between 0 and 1.
    without
        (2, r, patients) figures without one patient, as in `jackknife_covariance`.

    Raises
    ------
    InputError
        If there are fewer than two readers, or a shape differs.
    """
    r = len(readers)
    if r < 2 or values.shape != (2, r) or without.shape[:2] != (2, r):
        raise InputError(
            f"{r} readers, figures of shape {values.shape} and {without.shape}; expected two or more readers, (2, "
            "readers) and (2, readers, patients)."
        )
    n_patients = int((~np.isnan(without)).any(axis=(0, 1)).sum())
    if np.isnan(values).any() or (~np.isnan(without)).sum(axis=-1).min() < 2:
        missing = undefined("a reader has too few patients, or a side of the boundary is missing")
        effects = tuple(Effect(name, kind, missing) for name in (*conditions, " − ".join(reversed(conditions)))
                        for kind in (RANDOM, FIXED))  # fmt: skip
        return Mrmc(measure, tuple(readers), n_patients, None, effects)
    covariance = jackknife_covariance(without.reshape(2 * r, -1))
    found = components(values, covariance)
    gain = float(values[1].mean() - values[0].mean())
    effects = (
        *mean(conditions[0], values[0], covariance[:r, :r]),
        *mean(conditions[1], values[1], covariance[r:, r:]),
        *difference(f"{conditions[1]} − {conditions[0]}", gain, r, found),
    )
    return Mrmc(measure, tuple(readers), n_patients, found, effects)


def without_intervals(found: Mrmc, reason: str) -> Mrmc:
    """Return the analysis without intervals and tests, for patients that allow none (`estimates.no_interval`)."""
    return replace(found, effects=tuple(_bare(one, reason) for one in found.effects))


def _bare(one: Effect, reason: str) -> Effect:
    if one.estimate.low is None:
        return one
    estimate = Estimate(one.estimate.value, None, None, f"{one.estimate.method}: no interval, {reason}")
    return Effect(one.name, one.readers, estimate)


def mean_over_readers(
    name: str, rows: Sequence[tuple[np.ndarray, Clusters]], *, tested: bool = False
) -> tuple[Effect, Effect]:
    """Estimate the mean over readers of each reader's mean of rows: with random and with fixed readers.

    Parameters
    ----------
    rows
        For each reader the (n,) values of the rows, and their patients; `Clusters` of one number of patients for all
        readers, of which a reader may lack some.
    tested
        Whether to test that the mean is 0; otherwise the values are shares, and the interval ends at 0 and 1.

    Examples
    --------
    Two readers take 3 and 5 of 10 pieces of advice.

    >>> import numpy as np
    >>> from GTRStagingLib.stats.estimates import Clusters
    >>> from GTRStagingLib.stats.mrmc import mean_over_readers
    >>> ten = Clusters.of(np.arange(10))
    >>> random, fixed = mean_over_readers("taken", [(np.arange(10) < n, ten) for n in (3, 5)])
    >>> random.estimate.value, random.readers, fixed.readers
    (0.4, 'random', 'fixed')
    """
    sums = [(among.sums(np.asarray(values, float)), among.sums(np.ones(len(values)))) for values, among in rows]
    if len(sums) < 2 or min((int((counts > 0).sum()) for _, counts in sums), default=0) < 2:
        missing = undefined("fewer than two readers, or a reader with rows of fewer than two patients")
        return Effect(name, RANDOM, missing), Effect(name, FIXED, missing)
    without = np.array([
        np.where(counts > 0, (total.sum() - total) / (counts.sum() - counts), np.nan) for total, counts in sums
    ])  # fmt: skip
    means = np.array([total.sum() / counts.sum() for total, counts in sums])
    random, fixed = mean(name, means, jackknife_covariance(without), tested=tested)
    reason = next((reason for _, counts in sums if (reason := no_interval(counts[counts > 0].astype(int)))), None)
    return (random, fixed) if reason is None else (_bare(random, reason), _bare(fixed, reason))


__all__ = ["FIXED", "RANDOM", "Components", "Effect", "Mrmc", "analyse", "components", "difference",
           "jackknife_covariance", "mean", "mean_over_readers", "without_intervals"]  # fmt: skip
