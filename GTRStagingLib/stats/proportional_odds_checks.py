"""Check a proportional-odds model: proportional odds, variance inflation, and validation by bootstrap."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import chi2

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats import roc
from GTRStagingLib.stats.estimates import Estimate, patient_draws, undefined
from GTRStagingLib.stats.proportional_odds import CUTS, ChiSquared, Design, OrdinalFit, maximum, nagelkerke
from GTRStagingLib.support import extras

RESAMPLES = 200
"""Number of resamples for the optimism, as Harrell recommends; enough for a mean."""

REFITTED = 50
"""Number of resamples in which a whole chain is fitted again, which takes seconds each."""

Refit = tuple[np.ndarray, np.ndarray, np.ndarray] | None
"""Columns of a resample's rows, rows to test on, and their columns; None if the resample cannot be fitted."""


# -- proportional odds ---------------------------------------------------------------------------------------------


def brant(design: Design, terms: Mapping[str, Sequence[int]]) -> tuple[ChiSquared, dict[str, ChiSquared]]:
    """Test proportional odds with Brant's test (Biometrics 1990;46:1171), for all columns and for each term.

    The test compares three binary logistic models (T2 or more, T3 or more, T4). If patients have several rows, the
    sandwich estimator over patients replaces the models' joint covariance.

    Parameters
    ----------
    terms
        Name -> indices of its columns.
    """
    binary = [_binary(design, k) for k in range(CUTS)]
    p, reason = len(design.names), design.no_interval
    if reason is None and any(one is None for one in binary):
        reason = "a predictor separates stages perfectly in one of the three binary models"
    if reason is not None:
        return ChiSquared.undefined((CUTS - 1) * p, reason), {
            name: ChiSquared.undefined((CUTS - 1) * len(which), reason) for name, which in terms.items()
        }
    slopes = np.concatenate([one[0][1:] for one in binary if one is not None])
    fitted = np.stack([one[1] for one in binary if one is not None])
    covariance = _joint_covariance(design, fitted)
    kind = "Brant, covariance clustered by patient" if design.clustered else "Brant"

    def wald(which: Sequence[int]) -> ChiSquared:
        picks = np.eye(p)[list(which)]
        contrast = np.vstack([np.hstack([picks, *(-picks * (k == other) for other in range(1, CUTS))])
                              for k in range(1, CUTS)])  # fmt: skip
        apart = contrast @ slopes
        value = _wald(apart, contrast @ covariance @ contrast.T)
        if value is None:
            reason = f"{len(apart)} differences of coefficients are too many for {design.clusters.number} patients"
            return ChiSquared.undefined(len(apart), reason)
        return ChiSquared(value, len(apart), float(chi2.sf(value, len(apart))), kind)

    return wald(range(p)), {name: wald(which) for name, which in terms.items()}


def _wald(estimates: np.ndarray, covariance: np.ndarray) -> float | None:
    """Return Wald's statistic of k estimates; None if their (k, k) covariance has no inverse.

    The rank of a sandwich estimator is at most the number of patients; beyond it, rounding errors decide the statistic.
    """
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(estimates):
        return None
    return float(estimates @ np.linalg.solve(covariance, estimates))


def _with_constant(design: Design) -> np.ndarray:
    return np.hstack([np.ones((len(design.stages), 1)), design.standardised])


def _binary(design: Design, cut: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit 'above this cut'; return coefficients and probabilities, None if there is no maximum."""
    discrete = extras.import_extra("statsmodels.discrete.discrete_model", "Ordinal models need", "evaluate")
    try:
        with warnings.catch_warnings(action="ignore"):
            found = discrete.Logit((design.stages > cut).astype(float), _with_constant(design)).fit(
                method="newton", maxiter=50, tol=1e-10, disp=0
            )
    except (np.linalg.LinAlgError, ArithmeticError, ValueError):
        return None
    if not found.mle_retvals["converged"] or np.abs(found.params).max() > 20:
        return None
    return np.asarray(found.params), np.asarray(found.predict())


def _joint_covariance(design: Design, fitted: np.ndarray) -> np.ndarray:
    """Return the (3 p, 3 p) covariance of the three models' slopes from their (3, n) probabilities `fitted`."""
    x = _with_constant(design)
    inverse = [np.linalg.inv((x.T * (pi * (1 - pi))) @ x) for pi in fitted]
    if design.clustered:
        above = design.stages[None] > np.arange(CUTS)[:, None]
        scores = np.hstack([x * (above[k] - fitted[k])[:, None] for k in range(CUTS)])
        sums = design.clusters.sums(scores)
        middle = sums.T @ sums
    else:  # covariance of two indicators of a row, m <= l: P(above both) - P(above m) P(above l); P(both) = P(above l)
        middle = np.block([[(x.T * (fitted[max(m, k)] - fitted[m] * fitted[k])) @ x for k in range(CUTS)]
                           for m in range(CUTS)])  # fmt: skip
    width = x.shape[1]
    bread = np.zeros_like(middle)
    for k in range(CUTS):
        bread[k * width : (k + 1) * width, k * width : (k + 1) * width] = inverse[k]
    slopes = [i for i in range(CUTS * width) if i % width]
    return (bread @ middle @ bread)[np.ix_(slopes, slopes)]


# -- one term ------------------------------------------------------------------------------------------------------


def without_term(fitted: OrdinalFit, which: Sequence[int], *, variance: float) -> ChiSquared:
    """Test a term by the models with and without it.

    The test is the likelihood-ratio test. If patients have several rows it would take these as independent, and Wald's
    test with the sandwich estimator over patients replaces it.

    Parameters
    ----------
    which
        Indices of the term's columns.
    variance
        Factor by which the variance of the term's coefficients is larger than the model states; divides the statistic.
    """
    which, p = list(which), len(fitted.coefficients)
    if (reason := fitted.design.no_interval) is not None:
        return ChiSquared.undefined(len(which), reason)
    divided = "" if variance == 1 else f", divided by {variance:.2f} for the overlap of the folds"
    if fitted.design.clustered:
        wald = _wald(fitted.coefficients[which], fitted.covariance[np.ix_(which, which)])
        if wald is None:
            reason = f"{len(which)} coefficients are too many for {fitted.design.clusters.number} patients"
            return ChiSquared.undefined(len(which), reason)
        value = wald / variance
        method = "Wald, sandwich by patient, since the likelihood ratio takes rows as independent"
    else:
        rest = [i for i in range(p) if i not in which]
        without = maximum(fitted.design.columns[:, rest], fitted.design.stages) if rest else None
        if rest and without is None:
            return ChiSquared.undefined(len(which), "the model without the term has no maximum")
        smaller = fitted.null_log_likelihood if without is None else without[2]
        value = max(0.0, 2 * (fitted.log_likelihood - smaller)) / variance
        method = "likelihood ratio with and without the term"
    return ChiSquared(value, len(which), float(chi2.sf(value, len(which))), method + divided)


# -- variance inflation --------------------------------------------------------------------------------------------


def variance_inflation(design: Design, terms: Mapping[str, Sequence[int]]) -> dict[str, float | None]:
    """Compute the generalised variance inflation factor of each term (Fox and Monette, JASA 1992;87:178).

    It equals the ordinary factor for a term with one column. None if there is only one term.
    """
    if len(terms) < 2:
        return dict.fromkeys(terms)
    correlation = np.corrcoef(design.columns, rowvar=False)
    whole = np.linalg.det(correlation)
    found: dict[str, float | None] = {}
    for name, which in terms.items():
        rest = [i for i in range(len(design.names)) if i not in which]
        parts = [np.linalg.det(correlation[np.ix_(some, some)]) for some in (list(which), rest)]
        found[name] = float(parts[0] * parts[1] / whole)
    return found


# -- validation ----------------------------------------------------------------------------------------------------

INDICES = ("c_index", "dxy", "nagelkerke_r2", "calibration_slope",
           *(f"calibration_error_{stage}" for stage in list(TStage)[1:]))  # fmt: skip


@dataclass(frozen=True)
class Index:
    """Measure of a model on its own rows, its optimism, and the corrected value.

    `optimism` and `corrected` are None if too few resamples could be fitted.
    """

    apparent: float
    optimism: float | None
    corrected: float | None


@dataclass(frozen=True)
class Validation:
    """Result of the validation by bootstrap.

    Attributes
    ----------
    indices
        By the names of `INDICES`. `c_index`: share of pairs of different stages that the linear predictor orders
        correctly, ties counting half; `dxy`: Somers' D, 2 c - 1. `calibration_slope`: slope of the stages on the linear
        predictor. `calibration_error_Tk`: mean distance between P(Tk or more) and its smoothed frequency.
    resamples, used
        Numbers of resamples drawn and fitted.
    """

    indices: Mapping[str, Index]
    seed: int
    resamples: int
    used: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {
            **{name: vars(index) for name, index in self.indices.items()},
            "seed": self.seed,
            "resamples": self.resamples,
            "used": self.used,
            "method": self.method,
        }


def validate(
    fitted: OrdinalFit,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    refit: Callable[[np.ndarray], Refit] | None = None,
) -> Validation:
    """Estimate the optimism of a fit (Harrell et al., Stat Med 1996;15:361), drawing patients with all their rows.

    The model is refitted on each resample. The optimism is its performance there minus its performance on all rows. R2
    and slope are those of the stages on the linear predictor, as in R's `rms::validate`.

    Parameters
    ----------
    refit
        Makes the columns of a resample from its rows, if a column is itself fitted to the stages; the resample's
        performance is then compared with that on the rows that it returns.
    """
    design = fitted.design
    apparent = _indices(design.columns, design.stages, fitted.coefficients, fitted.thresholds)
    optimism = []
    for rows in patient_draws(design.clusters, seed=seed, resamples=resamples):
        made = (design.columns[rows], slice(None), design.columns) if refit is None else refit(rows)
        if made is None:
            continue
        columns, test, tested = made
        again = maximum(columns, design.stages[rows]) if columns.shape[1] else None
        if again is not None:
            optimism.append(
                _indices(columns, design.stages[rows], *again[:2]) - _indices(tested, design.stages[test], *again[:2])
            )
    whole = np.array([drawn for drawn in optimism if np.isfinite(drawn).all()]).reshape(-1, len(INDICES))
    against = "" if refit is None else ", each tested on the patients that were not drawn"
    method = f"patient bootstrap, optimism from {len(whole)} of {resamples} resamples that could be fitted{against}"
    if len(whole) < 0.5 * resamples:
        method += ": too few for an estimate"
        indices = {name: Index(value, None, None) for name, value in zip(INDICES, apparent.tolist(), strict=True)}
    else:
        means = whole.mean(axis=0)
        indices = {
            name: Index(value, mean, value - mean)
            for name, value, mean in zip(INDICES, apparent.tolist(), means.tolist(), strict=True)
        }
    return Validation(indices, seed, resamples, len(whole), method)


def concordance(linear_predictor: np.ndarray, stages: np.ndarray) -> roc.Area | None:
    """Return the share of pairs of different stages in the correct order, ties counting half; None without pairs.

    It is the mean of the areas under the ROC curve of each two stages, weighted by their numbers of pairs; so are the
    influences of the rows.
    """
    value, influence, pairs = 0.0, np.zeros(len(stages)), 0
    for high in range(1, len(TStage)):
        for low in range(high):
            two = (stages == high) | (stages == low)
            found = roc.area(stages[two] == high, linear_predictor[two])
            if found is not None:
                many = int((stages == high).sum()) * int((stages == low).sum())
                value, pairs = value + many * found.value, pairs + many
                influence[two] += many * found.influence
    return roc.Area(value / pairs, influence / pairs, stages) if pairs else None


def concordance_estimates(fitted: OrdinalFit, validation: Validation) -> dict[str, Estimate]:
    """Estimate the C-index, apparent and corrected for optimism, with intervals.

    The apparent interval is that of the fitted linear predictor, as of an area under the ROC curve. The corrected one
    is the same, shifted by the optimism (Noma et al. 2021, Stat Med 40:5691).
    """
    design, index = fitted.design, validation.indices["c_index"]
    apparent = roc.estimate(concordance(fitted.linear_predictor, design.stages), design.clusters)
    if index.optimism is None:
        return {"apparent": apparent, "corrected": undefined(validation.method)}
    if apparent.low is None or apparent.high is None:
        return {"apparent": apparent, "corrected": Estimate(index.corrected, None, None, apparent.method)}
    low, high = (min(1.0, max(0.0, end - index.optimism)) for end in (apparent.low, apparent.high))
    corrected = Estimate(index.corrected, low, high, f"{apparent.method}, shifted by the optimism")
    return {"apparent": apparent, "corrected": corrected}


def _indices(columns: np.ndarray, stages: np.ndarray, coefficients: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Compute the (7,) `INDICES` of a model on some rows; NaN if its linear predictor cannot be recalibrated there."""
    lp = columns @ coefficients
    recalibrated = maximum(lp[:, None], stages)
    if recalibrated is None:
        return np.full(len(INDICES), np.nan)
    counts = np.bincount(stages, minlength=CUTS + 1)
    null = float((counts * np.log(counts / counts.sum())).sum())
    area = concordance(lp, stages)
    c = float("nan") if area is None else area.value
    errors = [calibration_error(expit(lp - theta), stages > k) for k, theta in enumerate(thresholds)]
    return np.array([c, 2 * c - 1, nagelkerke(recalibrated[2], null, len(stages)), recalibrated[0][0], *errors])


def calibration_error(predicted: np.ndarray, happened: np.ndarray) -> float:
    """Return the mean distance between (n,) probabilities and their frequency smoothed by lowess (Harrell's E)."""
    lowess = extras.import_extra("statsmodels.nonparametric.smoothers_lowess", "Calibration needs", "evaluate").lowess
    span = float(np.ptp(predicted))
    seen = lowess(happened.astype(float), predicted, it=0, delta=0.01 * span, return_sorted=False)
    return float(np.abs(np.clip(seen, 0, 1) - predicted).mean())


__all__ = ["INDICES", "REFITTED", "RESAMPLES", "Index", "Refit", "Validation", "brant", "calibration_error",
           "concordance", "concordance_estimates", "validate", "variance_inflation", "without_term"]  # fmt: skip
