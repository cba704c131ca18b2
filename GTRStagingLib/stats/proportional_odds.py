"""Fit a proportional-odds model, and estimate its coefficients with intervals.

P(T <= k) = 1 / (1 + exp(-(theta_k - lp))), lp = sum of coefficient times column. statsmodels fits the model; it
parametrises every threshold but the first as the logarithm of the distance from the one before. This module converts
them back to thresholds. The checks of a model are in `proportional_odds_checks`.
"""

import math
import sys
import warnings
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.special import expit
from scipy.stats import chi2, norm

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Estimate, Z, no_interval
from GTRStagingLib.support import extras

CUTS = len(TStage) - 1
FEW_EVENTS = 10
"""Patients of the rarest stage per coefficient; a fit with fewer gets a warning (Peduzzi et al. 1996)."""

MODEL_BASED = "model-based (inverse of the observed information)"
CLUSTERED = "sandwich, clustered by patient (Huber, White), without a correction for few clusters"

_CONVERGED = 1e-9
_STEPS = 40


@dataclass(frozen=True)
class ChiSquared:
    """Chi-squared test; `chi2` and `p` are None if it is not defined, with the reason in `method`."""

    chi2: float | None
    df: int
    p: float | None
    method: str

    @classmethod
    def undefined(cls, df: int, reason: str) -> "ChiSquared":
        """Return a test that is not defined, with the reason."""
        return cls(None, df, None, f"not defined: {reason}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Effect:
    """Coefficient of a column.

    Attributes
    ----------
    standard_error
        None if the patients allow no interval (`Design.no_interval`).
    odds_ratio
        Odds ratio of a higher stage per unit of the column, with Wald's interval.
    p
        Two-sided p-value of Wald's test; None without a standard error.
    """

    name: str
    coefficient: Estimate
    standard_error: float | None
    odds_ratio: Estimate
    p: float | None

    def widened(self, factor: float) -> "Effect":
        """Return the effect with a larger standard error, as of a column that was itself fitted to the stages."""
        if factor == 1 or self.standard_error is None:
            return self
        value, error = float(self.coefficient.value or 0), self.standard_error * factor
        method = f"{self.coefficient.method}, standard error times {factor:.2f}"
        low, high = value - Z * error, value + Z * error
        return Effect(
            name=self.name,
            coefficient=Estimate(value, low, high, method),
            standard_error=error,
            odds_ratio=Estimate(math.exp(value), math.exp(low), math.exp(high), method),
            p=float(2 * norm.sf(abs(value / error))),
        )


@dataclass(frozen=True)
class Design:
    """Data that a model is fitted on.

    Attributes
    ----------
    names
        Names of the columns.
    columns
        (n, p) numbers, without constant columns and columns that are a linear combination of others.
    stages
        (n,) 0..3, all of them present.
    patients
        (n,) patient of each row.

    Raises
    ------
    InputError
        If the model cannot be fitted; the message names the column or stage.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    stages: np.ndarray
    patients: np.ndarray

    def __post_init__(self) -> None:
        n, p = self.columns.shape
        if p == 0 or p != len(self.names) or n != len(self.stages) or n != len(self.patients):
            raise InputError(
                f"{n} rows of {p} columns, {len(self.names)} names, {len(self.stages)} stages, {len(self.patients)} "
                "patients; expected one name per column, and one stage and patient per row."
            )
        if n <= p + CUTS:
            raise InputError(f"{n} rows for {p + CUTS} parameters; expected many more rows. Use fewer predictors.")
        if not np.isfinite(self.columns).all():
            raise InputError("A predictor is not finite; expected finite numbers. Remove rows with missing values.")
        if strange := sorted(set(self.stages.tolist()) - set(range(len(TStage)))):
            raise InputError(f"Stage {strange[0]}; expected 0 to {len(TStage) - 1}, for T1 to T4.")
        if absent := [str(t) for t in TStage if not (self.stages == t).any()]:
            raise InputError(
                f"No row of {', '.join(absent)} among {n} usable rows; expected all four stages, since a nomogram "
                "cannot predict a missing one. Add such patients."
            )
        for name, column in zip(self.names, self.columns.T, strict=True):
            if np.ptp(column) == 0:
                raise InputError(f"{name} is {column[0]:g} in all rows; expected different values. Leave it out.")
        self._require_full_rank()

    def _require_full_rank(self) -> None:
        scaled = self.standardised
        for i in range(1, len(self.names)):
            rest, *_ = np.linalg.lstsq(scaled[:, :i], scaled[:, i], rcond=None)
            if np.abs(scaled[:, i] - scaled[:, :i] @ rest).max() < 1e-8:
                others = [name for name, c in zip(self.names, rest, strict=False) if abs(c) > 1e-6]
                raise InputError(
                    f"{self.names[i]} is determined by {', '.join(others)}; expected predictors that are not linear "
                    "combinations of others. Leave one of them out."
                )

    @property
    def standardised(self) -> np.ndarray:
        """Columns, (n, p), with mean 0 and standard deviation 1, for better convergence."""
        return (self.columns - self.columns.mean(axis=0)) / self.columns.std(axis=0)

    @cached_property
    def clusters(self) -> Clusters:
        """Rows by patient."""
        return Clusters.of(self.patients)

    @property
    def clustered(self) -> bool:
        """Whether a patient has several rows."""
        return self.clusters.clustered

    @property
    def no_interval(self) -> str | None:
        """Why the patients allow no interval and no test (`estimates.no_interval`); None if they allow them."""
        return no_interval(self.clusters.sizes)

    @property
    def patients_by_stage(self) -> tuple[int, ...]:
        """Numbers of patients with a row of each of T1..T4."""
        return tuple(self.clusters.at(self.stages == t).number for t in TStage)

    @property
    def events_per_parameter(self) -> float:
        """Number of patients of the rarest stage per coefficient."""
        return min(self.patients_by_stage) / len(self.names)


@dataclass(frozen=True)
class OrdinalFit:
    """Fitted proportional-odds model.

    Attributes
    ----------
    coefficients, thresholds
        (p,) log odds of a higher stage per unit; (3,) theta_1..theta_3, ascending.
    covariance
        (p + 3, p + 3) covariance of the coefficients, then the thresholds.
    covariance_method
        `MODEL_BASED`, or `CLUSTERED` if patients have several rows.
    null_log_likelihood
        Log-likelihood of the model with thresholds only.
    """

    design: Design
    coefficients: np.ndarray
    thresholds: np.ndarray
    covariance: np.ndarray
    covariance_method: str
    log_likelihood: float
    null_log_likelihood: float

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Coefficient of each column with its tests."""
        errors, unknown = self._errors[: len(self.coefficients)], self.design.no_interval is not None
        return tuple(
            Effect(
                name=name,
                coefficient=self._wald(value, error),
                standard_error=None if unknown else error,
                odds_ratio=self._wald(value, error, of=math.exp),
                p=None if unknown else float(2 * norm.sf(abs(value / error))),
            )
            for name, value, error in zip(self.design.names, self.coefficients.tolist(), errors.tolist(), strict=True)
        )

    @property
    def threshold_estimates(self) -> tuple[Estimate, ...]:
        """Thresholds theta_1..theta_3 with Wald's intervals."""
        pairs = zip(self.thresholds.tolist(), self.threshold_errors.tolist(), strict=True)
        return tuple(self._wald(value, error) for value, error in pairs)

    @property
    def threshold_errors(self) -> np.ndarray:
        """Standard errors of the thresholds, (3,)."""
        return self._errors[len(self.coefficients) :]

    @property
    def linear_predictor(self) -> np.ndarray:
        """Linear predictor of the fitted rows, (n,)."""
        return self.design.columns @ self.coefficients

    @property
    def likelihood_ratio(self) -> ChiSquared:
        """Likelihood-ratio test against the model with thresholds only."""
        ratio, df = 2 * (self.log_likelihood - self.null_log_likelihood), len(self.coefficients)
        if (reason := self.design.no_interval) is not None:
            return ChiSquared.undefined(df, reason)
        taken = ", rows taken as independent" if self.design.clustered else ""
        return ChiSquared(ratio, df, float(chi2.sf(ratio, df)), f"likelihood ratio against no predictor{taken}")

    @property
    def nagelkerke_r2(self) -> float:
        """Nagelkerke's R2 (Nagelkerke 1991)."""
        return nagelkerke(self.log_likelihood, self.null_log_likelihood, len(self.design.stages))

    @property
    def _errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))

    def _wald(self, value: float, error: float, of: Any = float) -> Estimate:
        kind, reason = "sandwich by patient" if self.design.clustered else "model-based", self.design.no_interval
        method = f"Wald, {kind} standard error, 95 %"
        if reason is not None:
            return Estimate(of(value), None, None, f"{method}: no interval, {reason}")
        return Estimate(of(value), of(value - Z * error), of(value + Z * error), method)


def fit(design: Design) -> OrdinalFit:
    """Fit the model by maximum likelihood (statsmodels' `OrderedModel`).

    If patients have several rows, the coefficients are fitted to all rows and the covariance is the sandwich estimator
    over patients.

    Raises
    ------
    InputError
        If the predictors separate some stages perfectly, so that no finite coefficient fits best, the fit does not
        converge, or an odds ratio per unit is not finite.
    """
    _require_overlap(design)
    ordinal = extras.import_extra("statsmodels.miscmodels.ordinal_model", "Ordinal models need", "evaluate")
    model = ordinal.OrderedModel(design.stages, design.standardised, distr="logit")
    kind: dict[str, Any] = {}
    if design.clustered:
        kind = {"cov_type": "cluster", "cov_kwds": {"groups": design.patients, "use_correction": False}}
    with warnings.catch_warnings(action="ignore"):  # convergence is checked below
        found = model.fit(method="bfgs", maxiter=1000, gtol=1e-7, disp=0, **kind)
    steepest = np.abs(model.score(found.params)).max() / len(design.stages)
    if not (np.isfinite(found.cov_params()).all() and steepest < 1e-5):
        raise InputError(
            f"The model did not converge (gradient {steepest:.2g} per row); expected convergence. Use fewer "
            "predictors, or join the rare levels of a choice."
        )
    p = len(design.names)
    thresholds = model.transform_threshold_params(found.params)[1:-1]
    # Convert from standardised columns and log distances to the original columns and thresholds:
    # coefficient = c / s; theta = (first + sum of exp(log distance)) + mean . coefficient.
    scale, mean = design.columns.std(axis=0), design.columns.mean(axis=0)
    jacobian = np.zeros((p + CUTS, p + CUTS))
    jacobian[:p, :p] = np.diag(1 / scale)
    jacobian[p:, :p] = mean / scale
    jacobian[p:, p] = 1
    jacobian[p:, p + 1 :] = np.tril(np.ones((CUTS, CUTS - 1)), -1) * np.exp(found.params[p + 1 :])
    coefficients = found.params[:p] / scale
    counts = np.bincount(design.stages, minlength=CUTS + 1)
    fitted = OrdinalFit(
        design=design,
        coefficients=coefficients,
        thresholds=thresholds + mean @ coefficients,
        covariance=jacobian @ found.cov_params() @ jacobian.T,
        covariance_method=CLUSTERED if design.clustered else MODEL_BASED,
        log_likelihood=float(found.llf),
        null_log_likelihood=float((counts * np.log(counts / counts.sum())).sum()),
    )
    most = np.abs(coefficients) + Z * np.sqrt(np.diag(fitted.covariance)[:p])
    for name, one in zip(design.names, most.tolist(), strict=True):
        if not one < math.log(sys.float_info.max):
            raise InputError(
                f"The log odds of {name} change by up to {one:.0f} per unit, which has no finite odds ratio; expected "
                "a predictor with values that differ by about one unit or more. Write it in a smaller unit, as in mm "
                "instead of m."
            )
    return fitted


def _require_overlap(design: Design) -> None:
    """Raise `InputError` if the likelihood has no maximum, i.e. stages are separated (Albert and Anderson 1984).

    It has none if there is a direction (d_theta, d_beta) in which neither threshold of any row comes closer to the
    row's linear predictor. These are linear inequalities; linear programming finds whether a solution exists.
    """
    upper, lower = _bound_designs(design.standardised, design.stages)
    moves = np.vstack([upper[design.stages < CUTS], -lower[design.stages > 0]])
    found = linprog(-moves.sum(axis=0), A_ub=-moves, b_ub=np.zeros(len(moves)), bounds=(-1, 1), method="highs")
    if found.status != 0 or -found.fun > 1e-6:
        separating = (
            [n for n, d in zip(design.names, found.x[CUTS:], strict=True) if abs(d) > 1e-6] if found.success else []
        )
        raise InputError(
            f"Some stages are separated perfectly by {', '.join(separating) or 'the predictors'}, so no finite "
            "coefficient fits best; expected stages that overlap. Join the rare levels of a choice, leave the "
            "predictor out, or add patients."
        )


def _bound_designs(columns: np.ndarray, stages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two (n, 3 + p) designs; times (thresholds, coefficients) they give each row's upper and lower bound.

    The upper bounds of T4 and the lower bounds of T1 are infinite; the caller must ignore these rows.
    """
    cut = np.arange(CUTS)
    return (
        np.hstack([stages[:, None] == cut, -columns]).astype(float),
        np.hstack([stages[:, None] - 1 == cut, -columns]).astype(float),
    )


def maximum(columns: np.ndarray, stages: np.ndarray) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Fit by Newton's method; return coefficients (p,), thresholds (3,) and log-likelihood, for hundreds of refits.

    This takes a hundredth of the time of `fit`, which uses the numeric derivatives of statsmodels, and gives no
    covariance. Returns None if a stage is missing or there is no maximum.
    """
    counts = np.bincount(stages, minlength=CUTS + 1)
    mean, scale = columns.mean(axis=0), columns.std(axis=0)
    if not counts.all() or not scale.all():
        return None
    shares = counts.cumsum()[:-1] / counts.sum()
    p = columns.shape[1]
    at = np.concatenate([np.log(shares / (1 - shares)), np.zeros(p)])
    upper, lower = _bound_designs((columns - mean) / scale, stages)
    upper[stages == CUTS], lower[stages == 0] = 0, 0

    def terms(at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        above = np.where(stages == CUTS, 1.0, expit(upper @ at))
        below = np.where(stages == 0, 0.0, expit(lower @ at))
        share = above - below
        return (float(np.log(share).sum()) if (share > 0).all() else -math.inf), above, below, share

    best, above, below, share = terms(at)
    for _ in range(_STEPS):
        da, db = above * (1 - above), below * (1 - below)
        each = (da / share)[:, None] * upper - (db / share)[:, None] * lower
        curve = (upper.T * (da * (1 - 2 * above) / share)) @ upper - (lower.T * (db * (1 - 2 * below) / share)) @ lower
        gradient = each.sum(axis=0)
        try:
            step = np.linalg.solve(each.T @ each - curve, gradient)
        except np.linalg.LinAlgError:
            return None
        gained = float(gradient @ step)
        length = 1.0
        while (new := terms(at + length * step))[0] < best and length > 1e-6:
            length /= 2
        if np.abs(at + length * step).max() > 30:  # one standard deviation multiplies the odds by 1e13: separation
            return None
        at = at + length * step
        best, above, below, share = new
        if gained < _CONVERGED:
            coefficients = at[CUTS:] / scale
            return coefficients, at[:CUTS] + mean @ coefficients, best
    return None


def nagelkerke(log_likelihood: float, null: float, n: int) -> float:
    """Return Nagelkerke's R2 of two log-likelihoods."""
    return (1 - math.exp(2 * (null - log_likelihood) / n)) / (1 - math.exp(2 * null / n))


__all__ = ["CLUSTERED", "CUTS", "FEW_EVENTS", "MODEL_BASED", "ChiSquared", "Design", "Effect", "OrdinalFit", "fit",
           "maximum", "nagelkerke"]  # fmt: skip
