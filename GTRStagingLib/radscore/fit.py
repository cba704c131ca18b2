"""Fit a Rad-score: LASSO of the T stage, as a number from 1 to 4, on standardised features, with folds by patient.

Each row of the fit has an in-sample score and an out-of-fold score. With more features than cases, in-sample scores
follow the stages closely even without any signal. Models that are fitted on Rad-scores, such as nomograms, must use the
out-of-fold scores. These are of nested cross-validation: neither the penalty nor a coefficient of a row's score depends
on the row's stage.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.stats import rankdata

import GTRStagingLib
from GTRStagingLib.cohort.fit_side import fit_side
from GTRStagingLib.errors import InputError
from GTRStagingLib.radscore.inputs import NO_STAGE, CaseFeatures, Excluded, counted, scores
from GTRStagingLib.radscore.radscore import DIGITS, RadScore
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Estimate, Patients, Z, no_interval, patient_draws, undefined
from GTRStagingLib.stats.lasso import (
    FOLDS,
    INNER,
    PATIENCE,
    PENALTIES,
    LassoScores,
    PenaltyPath,
    Rule,
    fit_scores,
    overlap,
)
from GTRStagingLib.tables.case_row import CaseRow

NESTED = (
    "nested cross-validation: the penalty of each fold is chosen on folds within its training part, so that the score "
    "of a row does not depend on its stage"
)


LARGEST = 1 - 1e-9
"""Largest rank correlation with a finite value on Fisher's z scale."""


@dataclass(frozen=True)
class Fit:
    """Result of fitting a Rad-score.

    Attributes
    ----------
    in_sample, out_of_fold
        (n,) standardised scores of the rows of the fit: in-sample and out-of-fold, both in standard deviations of the
        in-sample scores.
    fold
        (n,) fold that held each row out, from 0.
    """

    radscore: RadScore
    path: PenaltyPath
    in_sample: np.ndarray
    out_of_fold: np.ndarray
    fold: np.ndarray


def fit(
    features: CaseFeatures,
    stages: np.ndarray,
    patients: Patients,
    *,
    name: str = "radscore",
    folds: int = FOLDS,
    rule: Rule = "min",
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> Fit:
    """Fit a Rad-score on cases.

    Parameters
    ----------
    stages, patients
        (n,) 0..3 and patient of each row of the features.
    rule
        'min': the penalty of the least cross-validated error. '1se': the largest within one standard error of it.
    seed
        Seed of the folds and the bootstrap.
    record, warnings
        Further entries of the record, and warnings that are shown with every score.

    Raises
    ------
    InputError
        If the rows do not match, there is only one stage, there are too few patients for the folds, or the LASSO
        selects no feature.
    """
    values = np.asarray(features.values, dtype=np.float64)
    if not len(values) == len(stages) == len(patients) or not np.isfinite(values).all():
        raise InputError(
            f"{len(values)} rows of features, {len(stages)} stages, {len(patients)} patients; expected one of each per "
            "case, and finite features."
        )
    if len(np.unique(stages)) < 2:
        raise InputError(f"{len(stages)} rows with fewer than two stages; expected two stages or more.")
    clusters = Clusters.of(patients)
    targets = np.asarray(stages, dtype=np.float64) + 1
    found = fit_scores(values, stages, clusters, folds=folds, rule=rule, seed=seed)
    if not len(found.kept):
        raise InputError(
            f"LASSO selected no feature: none of {values.shape[1]} lowers the cross-validated error of {len(stages)} "
            f"cases (rule {rule}); expected at least one that is associated with the stage. Use features of a model "
            f"that was trained on such patients{', the `rule` min' * (rule == '1se')}, or more cases."
        )
    centre, spread = found.centre, found.spread
    in_sample, out_of_fold = (found.raw - centre) / spread, (found.held_out - centre) / spread
    outside = _performance(found.held_out, targets, clusters, folds, seed)
    radscore = RadScore(
        name=name,
        model=features.model,
        model_sha256=features.model_sha256,
        n_features=values.shape[1],
        names=tuple(features.names[i] for i in found.kept),
        indices=tuple(int(i) for i in found.kept),
        coefficients=tuple(found.weights.tolist()),
        means=tuple(found.means.tolist()),
        scales=tuple(found.scales.tolist()),
        intercept=found.intercept,
        penalty=float(found.path.penalties[found.chosen]),
        score_mean=centre,
        score_sd=spread,
        warnings=(*warnings, *_warnings(features, found, outside["spearman"], no_interval(clusters.sizes))),
        record={
            "method": "LASSO, T stage as a number 1 to 4, features standardised within the rows of each fit",
            "cases": len(stages),
            "patients": clusters.number,
            "stages": {str(s): int((stages == s).sum()) for s in TStage},
            **(record or {}),
            "folds": {"number": folds, "inner": INNER, "by": "patient, stratified by stage", "seed": seed},
            "rule": rule,
            "path": _path_record(found.path, len(found.path.penalties) < PENALTIES),
            "out_of_fold": {**{name: one.to_json() for name, one in outside.items()},
                            "mean": float(out_of_fold.mean()), "sd": float(out_of_fold.std(ddof=1)),
                            "features_by_fold": found.selected.tolist(),
                            "scores": _rounded(out_of_fold),
                            "method": NESTED},
            "in_sample": {"spearman": spearman(found.raw, targets), "r2": r_squared(found.raw, targets),
                          "scores": _rounded(in_sample),
                          "caution": "of the rows of the fit: too optimistic, not a measure of performance"},
            "versions": _versions(),
        },
    )  # fmt: skip
    return Fit(radscore, found.path, in_sample, out_of_fold, found.fold)


def _rounded(scores: np.ndarray) -> list[float]:
    """Return scores in ascending order, by which a nomogram recognises them in a table."""
    return sorted(float(f"{score:.{DIGITS}g}") for score in scores.tolist())


def _warnings(features: CaseFeatures, found: LassoScores, correlation: Estimate, reason: str | None) -> list[str]:
    warnings = []
    if features.model_sha256 is None:
        warnings.append("This Rad-score was fitted on a table that does not name the model of its features, so it "
                        "cannot be checked that a case's features are of the same model.")  # fmt: skip
    if correlation.value is not None and reason is not None:
        warnings.append(
            "It is not known whether the Rad-score is associated with the stage out of fold: its Spearman correlation "
            f"of {correlation.value:.2f} has no interval, since {reason}."
        )
    elif correlation.low is None or correlation.low <= 0:
        warnings.append(
            "The Rad-score shows no association with the stage out of fold (Spearman "
            f"{correlation.text(2)}); scores of features without any signal look like this."
        )
    if found.unsettled:
        warnings.append(f"{found.unsettled} of the fits along the paths did not converge within the tolerance.")
    if features.warning is not None:
        warnings.append(features.warning)
    return warnings


def _path_record(path: PenaltyPath, stopped: bool) -> dict[str, Any]:
    return {
        "penalties": path.penalties.tolist(),
        "cv_error": path.errors.tolist(),
        "cv_standard_error": path.standard_errors.tolist(),
        "features_kept": path.kept.tolist(),
        "penalty_min": float(path.penalties[path.chosen("min")]),
        "penalty_1se": float(path.penalties[path.chosen("1se")]),
        "stopped": f"{PATIENCE} or more penalties after the least error" if stopped else None,
    }


def _versions() -> dict[str, str]:
    return {
        "gtrstaging": GTRStagingLib.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
    }


def spearman(score: np.ndarray, targets: np.ndarray) -> float:
    """Return the rank correlation, with mean ranks for ties; NaN if either is constant."""
    a, b = rankdata(score), rankdata(targets)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else float("nan")


def r_squared(score: np.ndarray, targets: np.ndarray) -> float:
    """Return 1 - SSE/SST of raw scores for T as a number; negative if worse than the mean, NaN for constant targets."""
    total = ((targets - targets.mean()) ** 2).sum()
    return float(1 - ((targets - score) ** 2).sum() / total) if total else float("nan")


def _performance(
    score: np.ndarray, targets: np.ndarray, clusters: Clusters, folds: int, seed: int
) -> dict[str, Estimate]:
    """Estimate the association of out-of-fold scores with the stage.

    The intervals have the standard error of the patient bootstrap, widened since the training parts of the folds
    overlap; that of the rank correlation is symmetric on Fisher's z scale.
    """
    reason = no_interval(clusters.sizes)
    wider = overlap(folds) ** 0.5
    draws = patient_draws(clusters, seed=seed)
    method = f"patient bootstrap, standard error times {wider:.2f} for the overlap of the folds, 95 %"

    def estimated(measure: Callable[..., float], scale: Callable[..., Any], back: Callable[..., Any]) -> Estimate:
        value = measure(score, targets)
        if not np.isfinite(value):
            return undefined("the score is the same in all rows")
        if reason is not None:
            return Estimate(value, None, None, f"{method}: no interval, {reason}")
        drawn = scale(np.array([measure(score[rows], targets[rows]) for rows in draws]))
        half = Z * wider * float(np.std(drawn[np.isfinite(drawn)], ddof=1))
        return Estimate(value, float(back(scale(value) - half)), float(back(scale(value) + half)), method)

    return {
        "spearman": estimated(spearman, lambda r: np.arctanh(np.clip(r, -LARGEST, LARGEST)), np.tanh),
        "r2": estimated(r_squared, np.asarray, float),
    }


# -- a cohort ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CohortFit:
    """Rad-score fitted on some splits of a cohort, with the scores of all its cases.

    Attributes
    ----------
    fit
        Fit on the rows of these splits.
    scored
        Cases with features and a stage, in the order of the table.
    in_sample
        (n,) standardised scores; NaN for cases outside the fit.
    radscore
        (n,) standardised scores for a nomogram: out-of-fold for cases of the fit, applied to the others.
    excluded
        Excluded cases with their reason.
    """

    fit: Fit
    scored: tuple[CaseRow, ...]
    in_sample: np.ndarray
    radscore: np.ndarray
    excluded: Mapping[str, Excluded]

    def table(self) -> dict[str, list[str | float | None]]:
        """Return the scores as columns, with the cohort's other columns, since a nomogram requires both.

        Fit the nomogram on `radscore`, not on `radscore_in_sample`.
        """
        given = dict.fromkeys(name for row in self.scored for name in row.given)
        scores: dict[str, list[str | float | None]] = {
            "case_id": [row.case_id for row in self.scored],
            "patient_id": [row.patient_id for row in self.scored],
            "stage": [str(row.stage) for row in self.scored],
            "radscore_in_sample": [None if np.isnan(score) else float(score) for score in self.in_sample],
            "radscore": self.radscore.tolist(),
            "split": [row.split for row in self.scored],
        }
        return scores | {name: [row.given.get(name) for row in self.scored] for name in given if name not in scores}


def fit_cohort(
    rows: Sequence[CaseRow],
    features: CaseFeatures,
    *,
    splits: Sequence[str] | None = None,
    allow_leakage: bool = False,
    **options: Any,
) -> CohortFit:
    """Fit a Rad-score on the split `train` of a cohort, and score the other cases with it.

    Parameters
    ----------
    splits
        Splits to fit on, but not 'test'; by default 'train' if any row has a split, otherwise all rows.
    allow_leakage
        Fit although a patient is in a split of the fit and in another; the Rad-score then has a warning.
    options
        Further options of `fit`.

    Raises
    ------
    LeakageError
        If patients are in a split of the fit and in another.
    InputError
        If there is no row to fit on, or `fit` raises it.
    """
    side = fit_side([row.split for row in rows], [row.patient_id for row in rows], splits, allow_leakage=allow_leakage)
    place = {case_id: i for i, case_id in enumerate(features.case_ids)}
    excluded = {row.case_id: Excluded(NO_STAGE) for row in rows if row.stage is None}
    for row in rows:
        if row.stage is not None and row.case_id not in place:
            excluded[row.case_id] = features.excluded.get(row.case_id, Excluded("no features"))
    scored = tuple(row for row in rows if row.case_id not in excluded)
    taking = {row.case_id for row, used in zip(rows, side.used.tolist(), strict=True) if used}
    fitted = np.array([row.case_id in taking for row in scored], dtype=bool)
    if not fitted.any():
        reasons = "; ".join(f"{n} × {reason}" for reason, n in counted(excluded.values()).items())
        raise InputError(
            f"None of {len(rows)} rows can be used in the fit (excluded: {reasons or 'none'}); expected cases with "
            f"features and a stage{'' if side.splits is None else f', in split {side.words}'}."
        )
    taken = _taken(features, [place[row.case_id] for row, used in zip(scored, fitted, strict=True) if used])
    training = [row for row, used in zip(scored, fitted, strict=True) if used]
    made = fit(
        taken,
        np.array([int(row.stage) for row in training if row.stage is not None]),
        np.array([row.patient_id for row in training]),
        record={
            "split": None if side.splits is None else list(side.splits),
            "rows": len(rows),
            "only_applied": int((~fitted).sum()),
            "excluded": counted(excluded.values()),
        },
        warnings=side.warnings,
        **options,
    )
    in_sample, radscore = np.full(len(scored), np.nan), np.empty(len(scored))
    in_sample[fitted], radscore[fitted] = made.in_sample, made.out_of_fold
    if not fitted.all():
        others = [place[row.case_id] for row, used in zip(scored, fitted, strict=True) if not used]
        radscore[~fitted] = scores(made.radscore, _taken(features, others))[0]
    return CohortFit(made, scored, in_sample, radscore, excluded)


def _taken(features: CaseFeatures, rows: Sequence[int]) -> CaseFeatures:
    ids = tuple(features.case_ids[i] for i in rows)
    return CaseFeatures(ids, features.values[list(rows)], features.names, features.model, features.model_sha256,
                        features.warning)  # fmt: skip


__all__ = ["CohortFit", "Fit", "fit", "fit_cohort", "r_squared", "spearman"]
