"""Fit a LASSO along a path of penalties with cross-validation by patient, for the choice of a Rad-score.

Objective, grid and errors are those of R's `cv.glmnet` (gaussian, standardised): ``(1/2n) |y - Xb|² + penalty |b|``,
with features standardised within the rows of each fit, and the same penalties in every fold. The difference: all rows
of a patient are in one fold.

The folds on which the penalty was chosen do not measure the fit: the least of their errors is too small. `fit_scores`
therefore predicts each row by nested cross-validation (Varma and Simon 2006, BMC Bioinformatics 7:91), in which the
penalty is chosen again without the row's fold.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Patients
from GTRStagingLib.support import extras

Rule = Literal["min", "1se"]
FOLDS = 10
PENALTIES = 100
INNER = 5
"""Folds within the training part of each fold, on which its penalty is chosen."""

TOLERANCE = 1e-6
"""Tolerance of scikit-learn's coordinate descent: the duality gap, as a share of the stages' variance."""

STEP, PATIENCE = 10, 20
"""Penalties per step, and penalties after the least error before the path ends. The end of the grid keeps many
features; it takes more time than the rest and does not change the choice."""


def _sklearn(module: str = "") -> Any:
    return extras.import_extra(f"sklearn.{module}".rstrip("."), "A Rad-score's fit needs", "evaluate")


@dataclass(frozen=True)
class PenaltyPath:
    """Coefficients and cross-validation along the penalties.

    Attributes
    ----------
    penalties
        (K,) descending.
    coefficients
        (F, K) per standard deviation, fitted on all rows.
    errors, standard_errors
        (K,) mean squared error of held-out rows, and its standard error between the folds.
    held_out
        (n, K) out-of-fold predictions.
    """

    penalties: np.ndarray
    coefficients: np.ndarray
    errors: np.ndarray
    standard_errors: np.ndarray
    held_out: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Number of features with a coefficient at each penalty, (K,)."""
        return np.count_nonzero(self.coefficients, axis=0)

    def chosen(self, rule: Rule) -> int:
        """Return the index of the least error, or of the largest penalty with an error within one standard error."""
        least = int(self.errors.argmin())
        return least if rule == "min" else int(np.argmax(self.errors <= (self.errors + self.standard_errors)[least]))


class _Lasso:
    """LASSO on some rows, standardised by their own means and standard deviations, with warm starts along a path.

    scikit-learn solves a step of penalties on the features that can have a coefficient there (the sequential strong
    rule of Tibshirani et al. 2012, J R Stat Soc B 74:245), and again with features that violate the rule. This gives
    the same minimum as all features in a part of the time.
    """

    def __init__(self, features: np.ndarray, targets: np.ndarray, tolerance: float) -> None:
        scaler = _sklearn("preprocessing").StandardScaler()
        self.x = np.asfortranarray(scaler.fit_transform(features))
        self.mean, self.scale = scaler.mean_, scaler.scale_  # the scale of a constant feature is 1
        self.intercept = float(targets.mean())
        self.y = targets - self.intercept
        self.products = self.x.T @ self.y
        self.tolerance = tolerance
        self.coefficients = np.zeros(features.shape[1])
        # Slope of the squared error with each coefficient: above the penalty, the feature gets a coefficient.
        self.slopes = np.abs(self.products) / len(self.y)
        self.penalty = self.largest
        self.unsettled = 0

    @property
    def largest(self) -> float:
        """Least penalty without any coefficient."""
        return float(np.abs(self.products).max()) / len(self.y)

    def down(self, penalties: np.ndarray) -> np.ndarray:
        """Return the (F, K) coefficients at further penalties, descending."""
        tried = (self.slopes >= 2 * penalties[-1] - self.penalty) | (self.coefficients != 0)
        while True:
            among = np.flatnonzero(tried)
            few = np.asfortranarray(self.x[:, among])
            found = self._solved(few, among, penalties) if len(among) else np.zeros((0, len(penalties)))
            slopes = np.abs(self.x.T @ (self.y[:, None] - few @ found)) / len(self.y)
            missed = (slopes > penalties * (1 + 1e-9)).any(axis=1) & ~tried
            if not missed.any():
                break
            tried |= missed
        coefficients = np.zeros((len(tried), len(penalties)))
        coefficients[among] = found
        self.penalty, self.coefficients, self.slopes = float(penalties[-1]), coefficients[:, -1], slopes[:, -1]
        return coefficients

    def _solved(self, few: np.ndarray, among: np.ndarray, penalties: np.ndarray) -> np.ndarray:
        unsettled = _sklearn("exceptions").ConvergenceWarning
        # The checks of scikit-learn take longer than its solution; the features were checked when they were read.
        unchecked = _sklearn().config_context(assume_finite=True, skip_parameter_validation=True)
        with unchecked, warnings.catch_warnings(record=True, action="always", category=unsettled) as caught:
            _, coefficients, _ = _sklearn("linear_model").lasso_path(
                few,
                self.y,
                alphas=penalties,
                precompute=few.T @ few,
                Xy=self.products[among],
                coef_init=self.coefficients[among],
                tol=self.tolerance,
                max_iter=20_000,
            )
        self.unsettled += len(caught)
        return np.asarray(coefficients)

    def predicted(self, features: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return (n, K) predictions for any rows."""
        return np.asarray((features - self.mean) / self.scale @ coefficients + self.intercept)


def grid(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return `PENALTIES` penalties from the least without any coefficient down to 1 % of it, as in glmnet.

    Down to 0.01 % if there are at least as many rows as features.
    """
    largest = _Lasso(features, targets, TOLERANCE).largest
    ratio = 1e-2 if len(targets) < features.shape[1] else 1e-4
    return np.geomspace(largest, ratio * largest, PENALTIES)


def path_of(
    features: np.ndarray,
    targets: np.ndarray,
    fold: np.ndarray,
    penalties: np.ndarray,
    *,
    patience: int | None = PATIENCE,
) -> tuple[PenaltyPath, int]:
    """Fit the same penalties with all rows and without each fold, each standardised by its own rows.

    Errors are averaged as in `cv.glmnet`: over the rows, with the weighted spread of the folds as standard error.

    Parameters
    ----------
    features, targets, fold
        (n, F), (n,), and (n,) fold that holds a row out, from 0.
    patience
        Number of penalties after the least error before the path ends; None for the whole grid.

    Returns
    -------
    The path, and the number of fits that did not converge within the tolerance.
    """
    sizes = np.bincount(fold)
    whole = _Lasso(features, targets, TOLERANCE)
    parts = [_Lasso(features[fold != k], targets[fold != k], TOLERANCE) for k in range(len(sizes))]
    coefficients, held_out = [], []
    errors = spreads = np.empty(0)
    for start in range(0, len(penalties), STEP):
        step = penalties[start : start + STEP]
        predicted = np.empty((len(targets), len(step)))
        for k, part in enumerate(parts):
            predicted[fold == k] = part.predicted(features[fold == k], part.down(step))
        squared = (targets[:, None] - predicted) ** 2
        of_fold = np.array([squared[fold == k].mean(axis=0) for k in range(len(sizes))])
        mean = np.average(of_fold, axis=0, weights=sizes)
        variance = np.average((of_fold - mean) ** 2, axis=0, weights=sizes) / (len(sizes) - 1)
        errors, spreads = np.append(errors, mean), np.append(spreads, np.sqrt(variance))
        coefficients.append(whole.down(step))
        held_out.append(predicted)
        if patience is not None and len(errors) - 1 - errors.argmin() >= patience:
            break
    path = PenaltyPath(penalties[: len(errors)], np.hstack(coefficients), errors, spreads, np.hstack(held_out))
    return path, sum(one.unsettled for one in (whole, *parts))


@dataclass(frozen=True)
class LassoScores:
    """LASSO of a cohort at the chosen penalty, with scores of its rows.

    Attributes
    ----------
    chosen
        Index of the penalty on the path.
    kept, weights, means, scales
        Indices of the selected features, their coefficients per standard deviation, and their means and standard
        deviations (1/n).
    intercept
        Mean of the targets, which is the score at the mean of all features.
    raw
        (n,) scores of the rows that the LASSO was fitted on.
    held_out
        (n,) scores by nested cross-validation: intercept, penalty and coefficients are those of the other folds.
    fold
        (n,) fold that held a row out, from 0.
    selected
        (folds,) number of features that each fold's LASSO selected. Without one, all held-out rows of the fold have the
        same score, the mean stage of the others.
    unsettled
        Number of fits that did not converge within the tolerance.
    """

    path: PenaltyPath
    chosen: int
    kept: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    intercept: float
    raw: np.ndarray
    held_out: np.ndarray
    fold: np.ndarray
    selected: np.ndarray
    unsettled: int

    @property
    def centre(self) -> float:
        """Mean of `raw`."""
        return float(self.raw.mean())

    @property
    def spread(self) -> float:
        """Standard deviation (1/(n-1)) of `raw`; 0 without a selected feature."""
        return float(self.raw.std(ddof=1)) if len(self.kept) else 0.0

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return the (n,) scores of any rows of features, (n, F)."""
        return np.asarray((features[:, self.kept] - self.means) / self.scales @ self.weights + self.intercept)


def fit_scores(
    features: np.ndarray, stages: np.ndarray, patients: Patients, *, folds: int, rule: Rule, seed: int
) -> LassoScores:
    """Fit a LASSO of the stage as a number from 1 to 4, and score its rows, in-sample and out of fold.

    Parameters
    ----------
    features, stages, patients
        (n, F), (n,) 0..3, and patient of each row.

    Raises
    ------
    InputError
        If a stage has too few patients for the folds.
    """
    clusters = Clusters.of(patients)
    targets = np.asarray(stages, dtype=np.float64) + 1
    fold = patient_folds(stages, clusters, folds, seed=seed)
    path, unsettled = path_of(features, targets, fold, grid(features, targets))
    chosen = path.chosen(rule)
    kept, weights, means, scales = _selected(features, path.coefficients[:, chosen])
    intercept = float(targets.mean())
    held_out, selected = np.empty(len(targets)), np.zeros(folds, dtype=np.int64)
    for k in range(folds):
        rest, out = fold != k, fold == k
        inner = patient_folds(stages[rest], clusters.at(rest), _inner(stages, clusters, rest), seed=seed)
        part, failed = path_of(features[rest], targets[rest], inner, grid(features[rest], targets[rest]))
        among, coefficients, mean, scale = _selected(features[rest], part.coefficients[:, part.chosen(rule)])
        held_out[out] = (features[np.ix_(out, among)] - mean) / scale @ coefficients + targets[rest].mean()
        selected[k], unsettled = len(among), unsettled + failed
    raw = (features[:, kept] - means) / scales @ weights + intercept
    return LassoScores(path, chosen, kept, weights, means, scales, intercept, raw, held_out, fold, selected, unsettled)


def _selected(features: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the selected features with their coefficients, means and standard deviations (1/n, as the path has it)."""
    kept = np.flatnonzero(coefficients)
    return kept, coefficients[kept], features[:, kept].mean(axis=0), features[:, kept].std(axis=0)


def _inner(stages: np.ndarray, clusters: Clusters, rows: np.ndarray) -> int:
    """Return the number of inner folds: `INNER`, or fewer if a stage has fewer patients in these rows."""
    fewest = fewest_patients(stages[rows], clusters.at(rows))
    if fewest < 2:
        raise InputError(
            "A stage has one patient outside a fold, too few to choose the penalty there; expected 3 or more patients "
            "of every stage. Add patients."
        )
    return min(INNER, fewest)


def overlap(folds: int) -> float:
    """Return the factor of the variance of out-of-fold results, whose folds share most of their training rows.

    Without a signal, scores of different folds follow the same chance patterns, and the variance of their association
    with the stage is about twice that of scores that were made on other patients. The factor is the correction of
    Nadeau and Bengio (2003, Mach Learn 52:239), 1 + folds / (folds - 1); `benchmarks/radscore_noise.py` measures it.

    Examples
    --------
    >>> from GTRStagingLib.stats.lasso import overlap
    >>> overlap(2), overlap(5)
    (3.0, 2.25)
    """
    return 1 + folds / (folds - 1)


def fewest_patients(stages: np.ndarray, patients: Patients) -> int:
    """Return the number of patients of the rarest stage that occurs."""
    clusters = Clusters.of(patients)
    return min(clusters.at(stages == stage).number for stage in np.unique(stages))


def patient_folds(stages: np.ndarray, patients: Patients, k: int, *, seed: int) -> np.ndarray:
    """Assign rows to k folds by patient, balanced by stage (StratifiedGroupKFold); return the (n,) folds.

    Parameters
    ----------
    stages, patients
        (n,) 0..3, and patient of each row.

    Raises
    ------
    InputError
        If there are fewer than 2 folds, or fewer patients of a stage than folds.
    """
    if k < 2:
        raise InputError(f"`folds` is {k}; expected 2 or more, by default {FOLDS}.")
    clusters = Clusters.of(patients)
    few = [f"{TStage(int(stage))} has {count}" for stage in np.unique(stages)
           if (count := clusters.at(stages == stage).number) < k]  # fmt: skip
    if few:
        raise InputError(
            f"Too few patients for {k} folds: {', '.join(few)}; expected {k} or more of every stage. Use fewer "
            "`folds`, or add patients."
        )
    # Shuffled here, since older versions of scikit-learn lose the balance (they shuffle the patients' counts of stages
    # instead of the patients).
    drawn = np.random.default_rng(seed).permutation(clusters.number)[clusters.codes]
    splitter = _sklearn("model_selection").StratifiedGroupKFold(k)
    fold = np.empty(len(stages), dtype=np.int64)
    for number, (_, held_out) in enumerate(splitter.split(np.zeros((len(stages), 1)), stages, drawn)):
        fold[held_out] = number
    return fold


__all__ = ["FOLDS", "INNER", "PATIENCE", "PENALTIES", "LassoScores", "PenaltyPath", "Rule", "fewest_patients",
           "fit_scores", "grid", "overlap", "path_of", "patient_folds"]  # fmt: skip
