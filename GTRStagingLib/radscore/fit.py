"""Fitting a Rad-score: LASSO of the T stage, as a number from 1 to 4, on standardised features, folds by patient.

Besides the score of the rows that it was fitted on, every one of these rows has a score from the fold that did not see
it. With more features than cases the former follow the stages closely even where there is nothing to find; what is to
be fitted on Rad-scores, such as a nomogram, takes the latter.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from scipy.stats import rankdata

import GTRStagingLib
from GTRStagingLib.errors import InputError, LeakageError
from GTRStagingLib.radscore.inputs import NO_STAGE, CaseFeatures, Excluded, FeatureRow, counted, scores
from GTRStagingLib.radscore.radscore import RadScore
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters, Estimate, Patients, patient_draws, percentiles, undefined
from GTRStagingLib.stats.lasso import FOLDS, PATIENCE, PENALTIES, PenaltyPath, Rule, grid, path_of, patient_folds

OPTIMISM = (
    "the penalty was chosen on these very folds, from at most 100: what that adds to the out-of-fold figures is not "
    "corrected"
)


@dataclass(frozen=True)
class Fit:
    """A Rad-score and what it was chosen from.

    Attributes
    ----------
    in_sample, out_of_fold
        (n,) standardised scores of the rows it was fitted on: its own, and by the folds that did not see the row.
        Both are in its standard deviations.
    fold
        (n,) which fold held each row out, from 0.
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
    said: Sequence[str] = (),
) -> Fit:
    """Fit a Rad-score on cases.

    Parameters
    ----------
    stages, patients
        (n,) 0..3 and what tells patients apart, of the features' rows.
    rule
        The penalty of the least cross-validated error, or the largest within one standard error of it.
    seed
        Draws the folds, and the bootstrap.
    record, said
        What else its record has, and warnings to show wherever it is used.

    Raises
    ------
    InputError
        If the rows do not match, the stages are all one, the patients are too few for the folds, or the LASSO keeps
        no feature.
    """
    values = np.asarray(features.values, dtype=np.float64)
    if not len(values) == len(stages) == len(patients) or not np.isfinite(values).all():
        raise InputError(
            f"{len(values)} rows of features, {len(stages)} stages, {len(patients)} patients; expected one each of a "
            "case, and finite features."
        )
    if len(np.unique(stages)) < 2:
        raise InputError(f"{len(stages)} rows of one stage or none; expected two stages or more to tell apart.")
    whose = Clusters.of(patients)
    fold = patient_folds(stages, whose, folds, seed=seed)
    targets = np.asarray(stages, dtype=np.float64) + 1
    path, unsettled = path_of(values, targets, fold, grid(values, targets))
    chosen = path.chosen(rule)
    kept = np.flatnonzero(path.coefficients[:, chosen])
    if not len(kept):
        raise InputError(
            f"LASSO kept nothing: of {values.shape[1]} features none lowers the cross-validated error of {len(stages)} "
            f"cases (rule {rule}); expected at least one that goes with the stage. Use features of a model that was "
            f"trained on such patients{', the rule min' * (rule == '1se')}, or more cases."
        )
    weights = path.coefficients[kept, chosen]
    mean, scale = values[:, kept].mean(axis=0), values[:, kept].std(axis=0)  # 1/n, as the path has it
    raw = (values[:, kept] - mean) / scale @ weights + targets.mean()
    centre, spread = float(raw.mean()), float(raw.std(ddof=1))
    in_sample, out_of_fold = (raw - centre) / spread, (path.held_out[:, chosen] - centre) / spread
    warned = [*said]
    if features.model_sha256 is None:
        warned.append("The table that this Rad-score was fitted on does not say of which model its features are: that "
                      "a case's are of the same is taken on trust.")  # fmt: skip
    if unsettled:
        warned.append(f"{unsettled} of the fits along the path did not settle within the tolerance.")
    if features.warning is not None:
        warned.append(features.warning)
    radscore = RadScore(
        name=name,
        model=features.model,
        model_sha256=features.model_sha256,
        n_features=values.shape[1],
        names=tuple(features.names[i] for i in kept),
        indices=tuple(int(i) for i in kept),
        coefficients=tuple(weights.tolist()),
        means=tuple(mean.tolist()),
        scales=tuple(scale.tolist()),
        intercept=float(targets.mean()),
        penalty=float(path.penalties[chosen]),
        score_mean=centre,
        score_sd=spread,
        warnings=tuple(warned),
        record={
            "method": "LASSO, T stage as a number 1 to 4, features standardised within the rows of each fit",
            "cases": len(stages),
            "patients": whose.number,
            "stages": {str(s): int((stages == s).sum()) for s in TStage},
            **(record or {}),
            "folds": {"number": folds, "by": "patient, stratified by stage", "seed": seed},
            "rule": rule,
            "path": _told(path, len(path.penalties) < PENALTIES),
            "out_of_fold": {**_performance(path.held_out[:, chosen], targets, whose, seed),
                            "mean": float(out_of_fold.mean()), "sd": float(out_of_fold.std(ddof=1)),
                            "caution": OPTIMISM},
            "in_sample": {"spearman": spearman(raw, targets), "r2": r_squared(raw, targets),
                          "caution": "of the rows that it was fitted on: too good, never a performance"},
            "versions": _versions(),
        },
    )  # fmt: skip
    return Fit(radscore, path, in_sample, out_of_fold, fold)


def _told(path: PenaltyPath, stopped: bool) -> dict[str, Any]:
    return {
        "penalties": path.penalties.tolist(),
        "cv_error": path.errors.tolist(),
        "cv_standard_error": path.standard_errors.tolist(),
        "features_kept": path.kept.tolist(),
        "penalty_min": float(path.penalties[path.chosen("min")]),
        "penalty_1se": float(path.penalties[path.chosen("1se")]),
        "stopped": f"after the least error lay {PATIENCE} or more penalties behind" if stopped else None,
    }


def _versions() -> dict[str, str]:
    return {
        "gtrstaging": GTRStagingLib.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
    }


def spearman(score: np.ndarray, targets: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; NaN where either does not vary."""
    a, b = rankdata(score), rankdata(targets)
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else float("nan")


def r_squared(score: np.ndarray, targets: np.ndarray) -> float:
    """1 - SSE/SST of raw scores against T as a number; negative where the mean would do better, NaN without spread."""
    total = ((targets - targets.mean()) ** 2).sum()
    return float(1 - ((targets - score) ** 2).sum() / total) if total else float("nan")


def _performance(score: np.ndarray, targets: np.ndarray, whose: Clusters, seed: int) -> dict[str, Any]:
    draws = patient_draws(whose, seed=seed)
    found: dict[str, Estimate] = {}
    for name, measure in (("spearman", spearman), ("r2", r_squared)):
        value = measure(score, targets)
        drawn = np.array([measure(score[rows], targets[rows]) for rows in draws])
        found[name] = percentiles(value, drawn) if np.isfinite(value) else undefined("the score is the same in all")
    return {name: estimate.to_json() for name, estimate in found.items()}


# -- a cohort ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CohortFit:
    """A Rad-score fitted on one side of a cohort, and the scores of all its cases.

    Attributes
    ----------
    fit
        Of the rows on the fitted side.
    scored
        Cases with features and a stage, in the order of the table.
    in_sample
        (n,) standardised; NaN for the cases that it was not fitted on.
    radscore
        (n,) standardised: out of fold where it was fitted, applied elsewhere. What a nomogram is to be fitted on.
    excluded
        Cases that have no part, and why.
    """

    fit: Fit
    scored: tuple[FeatureRow, ...]
    in_sample: np.ndarray
    radscore: np.ndarray
    excluded: Mapping[str, Excluded]

    def table(self) -> dict[str, list[str | float | None]]:
        """The scores as columns, and the cohort's other ones beside them, as a nomogram needs both.

        It is to be fitted on `radscore`, not on `radscore_in_sample`.
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
    rows: Sequence[FeatureRow],
    features: CaseFeatures,
    *,
    splits: Sequence[str] | None = None,
    allow_leakage: bool = False,
    **options: Any,
) -> CohortFit:
    """Fit a Rad-score on the training side of a cohort, and score the rest with it.

    Parameters
    ----------
    splits
        The sides to fit on; if not given, 'train' where any row has a side, otherwise all rows. Never 'test'.
    allow_leakage
        Go on although a patient stands on a fitted side and on another; the Rad-score then says so.
    options
        Of `fit`.

    Raises
    ------
    LeakageError
        If patients stand on a fitted side and on another.
    InputError
        If no row is left to fit on; and as `fit` does.
    """
    divided = any(row.split is not None for row in rows)
    if splits is not None and ("test" in splits or not divided):
        met = "the test side selects nothing" if "test" in splits else "no row of the table has a split"
        raise InputError(f"Split {', '.join(splits)}: {met}; expected train, validation or both, of a divided table.")
    sides = None if not divided else tuple(splits or ("train",))
    said = [] if sides is None else _leaks(rows, sides, allow_leakage)
    place = {case_id: i for i, case_id in enumerate(features.case_ids)}
    excluded = {row.case_id: Excluded(NO_STAGE) for row in rows if row.stage is None}
    for row in rows:
        if row.stage is not None and row.case_id not in place:
            excluded[row.case_id] = features.excluded.get(row.case_id, Excluded("no features"))
    scored = tuple(row for row in rows if row.case_id not in excluded)
    fitted = np.array([sides is None or row.split in sides for row in scored], dtype=bool)
    if not fitted.any():
        reasons = "; ".join(f"{n} × {reason}" for reason, n in counted(excluded.values()).items())
        raise InputError(
            f"{len(rows)} rows, none of them to fit on (excluded: {reasons or 'none'}); expected cases with features "
            f"and a stage{f', of the split {sides}' * divided}."
        )
    taken = _taken(features, [place[row.case_id] for row, used in zip(scored, fitted, strict=True) if used])
    training = [row for row, used in zip(scored, fitted, strict=True) if used]
    made = fit(
        taken,
        np.array([int(row.stage) for row in training if row.stage is not None]),
        np.array([row.patient_id for row in training]),
        record={
            "split": None if sides is None else list(sides),
            "rows": len(rows),
            "only_applied": int((~fitted).sum()),
            "excluded": counted(excluded.values()),
        },
        said=said,
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


def _leaks(rows: Sequence[FeatureRow], sides: Sequence[str], allowed: bool) -> list[str]:
    within = {row.patient_id for row in rows if row.split in sides}
    beyond = {row.patient_id for row in rows if row.split not in (None, *sides)}
    if not (both := sorted(within & beyond)):
        return []
    said = f"{len(both)} patient(s) stand on {', '.join(sides)} and on another side"
    if not allowed:
        raise LeakageError(
            f"{said} ({', '.join(both[:5])}); expected every patient on one. Divide the cohort by patient "
            "(`gtrstaging cohort split`), or go on with --allow-leakage, and the Rad-score will say so."
        )
    return [f"Fitted on a LEAKING cohort: {said}. What is said of it on the other sides is too good."]


__all__ = ["CohortFit", "Fit", "fit", "fit_cohort", "r_squared", "spearman"]
