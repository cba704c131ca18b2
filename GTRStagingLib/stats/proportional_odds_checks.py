"""Whether a proportional-odds model may be believed.

Are the odds proportional, do its predictors tell the same, and how does it do on patients whom it has not seen?
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import chi2, rankdata

from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import patient_draws
from GTRStagingLib.stats.proportional_odds import CUTS, ChiSquared, Design, OrdinalFit, maximum, nagelkerke
from GTRStagingLib.support import extras

RESAMPLES = 200
"""Of the bootstrap that tells the optimism: as Harrell advises, and the means that it takes need no more."""


# -- proportional odds ---------------------------------------------------------------------------------------------


def brant(design: Design, terms: Mapping[str, Sequence[int]]) -> tuple[ChiSquared, dict[str, ChiSquared]]:
    """Whether the odds are proportional: Brant's test (Biometrics 1990;46:1171), of all columns and of each term.

    Three binary logistic models (T2 or more, T3 or more, T4) are held against one another; where patients have several
    rows, with the sandwich over patients in place of the models' joint covariance.

    Parameters
    ----------
    terms
        Name -> the indices of its columns.
    """
    reason = "not defined: a predictor tells stages apart without an error in one of the three binary models"
    binary = [_binary(design, k) for k in range(CUTS)]
    p = len(design.names)
    if any(one is None for one in binary):
        return ChiSquared(None, (CUTS - 1) * p, None, reason), {
            name: ChiSquared(None, (CUTS - 1) * len(which), None, reason) for name, which in terms.items()
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
        value = float(apart @ np.linalg.solve(contrast @ covariance @ contrast.T, apart))
        return ChiSquared(value, len(apart), float(chi2.sf(value, len(apart))), kind)

    return wald(range(p)), {name: wald(which) for name, which in terms.items()}


def _with_constant(design: Design) -> np.ndarray:
    return np.hstack([np.ones((len(design.stages), 1)), design.standardised])


def _binary(design: Design, cut: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Coefficients and probabilities of 'above this cut'; None where there is no maximum."""
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
    """(3 p, 3 p) covariance of the three models' slopes, `fitted` being their (3, n) probabilities."""
    x = _with_constant(design)
    inverse = [np.linalg.inv((x.T * (pi * (1 - pi))) @ x) for pi in fitted]
    if design.clustered:
        above = design.stages[None] > np.arange(CUTS)[:, None]
        scores = np.hstack([x * (above[k] - fitted[k])[:, None] for k in range(CUTS)])
        sums = design.clusters.sums(scores)
        middle = sums.T @ sums
    else:  # two indicators of one row, m <= l: P(above both) - P(above m) P(above l), of which the first is P(above l)
        middle = np.block([[(x.T * (fitted[max(m, k)] - fitted[m] * fitted[k])) @ x for k in range(CUTS)]
                           for m in range(CUTS)])  # fmt: skip
    width = x.shape[1]
    bread = np.zeros_like(middle)
    for k in range(CUTS):
        bread[k * width : (k + 1) * width, k * width : (k + 1) * width] = inverse[k]
    slopes = [i for i in range(CUTS * width) if i % width]
    return (bread @ middle @ bread)[np.ix_(slopes, slopes)]


# -- variance inflation --------------------------------------------------------------------------------------------


def variance_inflation(design: Design, terms: Mapping[str, Sequence[int]]) -> dict[str, float | None]:
    """Generalised variance inflation factor of each term (Fox and Monette, JASA 1992;87:178).

    Of a single column it is the ordinary one. None where there is but one term, which nothing inflates.
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
    """A measure of the model on its own rows, by how much that flatters it, and without the flattery.

    `optimism` and `corrected` are None where too few resamples could be fitted.
    """

    apparent: float
    optimism: float | None
    corrected: float | None


@dataclass(frozen=True)
class Validation:
    """What the bootstrap says.

    Attributes
    ----------
    indices
        By the names of `INDICES`. `c_index`: share of the pairs of different stages that the linear predictor puts in
        their order, ties counting half; `dxy` is Somers' D of them, 2 c - 1. `calibration_slope`: of the stages on the
        linear predictor. `calibration_error_Tk`: mean distance between P(Tk or more) and its smoothed frequency.
    resamples, used
        Drawn, and those of them that could be fitted.
    """

    indices: Mapping[str, Index]
    seed: int
    resamples: int
    used: int
    method: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **{name: vars(index) for name, index in self.indices.items()},
            "seed": self.seed,
            "resamples": self.resamples,
            "used": self.used,
            "method": self.method,
        }


def validate(fitted: OrdinalFit, *, seed: int, resamples: int = RESAMPLES) -> Validation:
    """The optimism of a fit (Harrell et al., Stat Med 1996;15:361), patients being drawn with all their rows.

    The model is fitted again on each resample; how much better it does there than on all rows is the optimism. R2 and
    the slope are those of the stages on its linear predictor, as R's `rms::validate` has them.
    """
    design = fitted.design
    apparent = _indices(design.columns, design.stages, fitted.coefficients, fitted.thresholds)
    optimism = []
    for rows in patient_draws(design.clusters, seed=seed, resamples=resamples):
        columns, stages = design.columns[rows], design.stages[rows]
        again = maximum(columns, stages)
        if again is not None:
            optimism.append(_indices(columns, stages, *again[:2]) - _indices(design.columns, design.stages, *again[:2]))
    whole = np.array([drawn for drawn in optimism if np.isfinite(drawn).all()]).reshape(-1, len(INDICES))
    method = f"bootstrap over patients, optimism of {len(whole)} of {resamples} resamples that can be fitted"
    if len(whole) < 0.5 * resamples:
        method += ": too few to tell it"
        indices = {name: Index(value, None, None) for name, value in zip(INDICES, apparent.tolist(), strict=True)}
    else:
        means = whole.mean(axis=0)
        indices = {
            name: Index(value, mean, value - mean)
            for name, value, mean in zip(INDICES, apparent.tolist(), means.tolist(), strict=True)
        }
    return Validation(indices, seed, resamples, len(whole), method)


def concordance(linear_predictor: np.ndarray, stages: np.ndarray) -> float:
    """Share of the pairs of different stages that are in their order, ties counting half; NaN without such a pair.

    By ranks: the pairs of two stages in order are Mann and Whitney's U.
    """
    groups = [linear_predictor[stages == stage] for stage in TStage]
    ordered, pairs = 0.0, 0
    for high in range(1, len(groups)):
        for low in range(high):
            n, m = len(groups[high]), len(groups[low])
            if n * m:
                ranks = rankdata(np.concatenate([groups[high], groups[low]]))
                ordered += float(ranks[:n].sum()) - n * (n + 1) / 2
                pairs += n * m
    return ordered / pairs if pairs else float("nan")


def _indices(columns: np.ndarray, stages: np.ndarray, coefficients: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(7,) `INDICES` of a model on some rows; NaN where its linear predictor cannot be recalibrated there."""
    lp = columns @ coefficients
    recalibrated = maximum(lp[:, None], stages)
    if recalibrated is None:
        return np.full(len(INDICES), np.nan)
    counts = np.bincount(stages, minlength=CUTS + 1)
    null = float((counts * np.log(counts / counts.sum())).sum())
    c = concordance(lp, stages)
    errors = [calibration_error(expit(lp - theta), stages > k) for k, theta in enumerate(thresholds)]
    return np.array([c, 2 * c - 1, nagelkerke(recalibrated[2], null, len(stages)), recalibrated[0][0], *errors])


def calibration_error(predicted: np.ndarray, happened: np.ndarray) -> float:
    """Mean distance between (n,) probabilities and the frequency at each, smoothed by lowess (Harrell's E)."""
    lowess = extras.import_extra("statsmodels.nonparametric.smoothers_lowess", "Calibration needs", "evaluate").lowess
    span = float(np.ptp(predicted))
    seen = lowess(happened.astype(float), predicted, it=0, delta=0.01 * span, return_sorted=False)
    return float(np.abs(np.clip(seen, 0, 1) - predicted).mean())


__all__ = ["INDICES", "RESAMPLES", "Index", "Validation", "brant", "calibration_error", "concordance", "validate",
           "variance_inflation"]  # fmt: skip
