"""Find out where the Rad-scores of a table come from, and repeat their fit in the validation of a nomogram.

In-sample scores follow the stages without any signal, so that a nomogram must not be fitted on them. Out-of-fold scores
are predictions, but not independent ones: see `stats.lasso.overlap`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.nomogram import RADSCORE
from GTRStagingLib.stats.lasso import FOLDS, fewest_patients, fit_scores, overlap
from GTRStagingLib.stats.proportional_odds import Design
from GTRStagingLib.stats.proportional_odds_checks import Refit
from GTRStagingLib.tables.cells import covariate_number

IN_SAMPLE = "radscore_in_sample"
"""Column of in-sample scores in the table that `radscore fit` writes."""

SAME = 0.5
"""Share of equal scores from which a column is taken for the scores of a fit; others share single ones by chance."""

Kind = Literal["out of fold", "of other patients", "unknown"]


@dataclass(frozen=True)
class Origin:
    """Origin of the Rad-scores of a table.

    Attributes
    ----------
    kind
        'out of fold': of the fit of the Rad-score; 'of other patients': given by a Rad-score that was fitted on others;
        'unknown': neither a Rad-score nor its table tells.
    folds
        Number of folds of out-of-fold scores.
    """

    kind: Kind
    folds: int | None = None

    @property
    def variance(self) -> float:
        """Factor of the variance of the coefficient."""
        return 1.0 if self.folds is None else overlap(self.folds)

    @property
    def words(self) -> str:
        """Origin as a sentence."""
        if self.kind == "out of fold":
            return (
                f"out of {self.folds} folds; standard error times {self.variance**0.5:.2f}, since the folds share "
                "training rows"
            )
        if self.kind == "of other patients":
            return "of a Rad-score that was fitted on other patients"
        return "unknown: if the scores are of the patients that the Rad-score was fitted on, its p is too small"


def origin_of(
    rows: Sequence[Mapping[str, str | None]], predictors: Sequence[str], radscore: Mapping[str, Any] | None
) -> Origin | None:
    """Return the origin of the Rad-scores among the predictors; None without a Rad-score.

    Parameters
    ----------
    rows
        Rows of the fit, with all their columns.
    radscore
        Rad-score as plain data.

    Raises
    ------
    InputError
        If a predictor has in-sample scores.
    """
    given = [covariate_number(row.get(IN_SAMPLE)) for row in rows]
    known = [i for i, score in enumerate(given) if score is not None]
    record = {} if radscore is None else radscore.get("record", {})
    for name in predictors:
        values = [covariate_number(row.get(name)) for row in rows]
        equal = sum(values[i] == given[i] for i in known)
        if name == IN_SAMPLE or (known and equal > SAME * len(known)) or _are(values, record.get("in_sample")):
            raise InputError(
                f"{name} has the in-sample scores of a Rad-score; expected out-of-fold scores, since in-sample scores "
                f"follow the stage without any signal. Use the column {RADSCORE} of the table that the Rad-score's fit "
                "wrote."
            )
    if RADSCORE not in predictors:
        return None
    scores = [covariate_number(row.get(RADSCORE)) for row in rows]
    if known or _are(scores, record.get("out_of_fold")):
        return Origin("out of fold", int(record.get("folds", {}).get("number", FOLDS)))
    return Origin("unknown") if not _scores(record.get("out_of_fold")) else Origin("of other patients")


def _scores(part: object) -> Sequence[float]:
    found: Sequence[float] = part.get("scores", ()) if isinstance(part, Mapping) else ()
    return found


def _are(values: Sequence[float | None], part: object) -> bool:
    """Return whether most values are among the scores that a Rad-score's record lists, in its rounding."""
    listed = {f"{score:.6g}" for score in _scores(part)}
    return bool(listed) and sum(v is not None and f"{v:.6g}" in listed for v in values) > SAME * len(values)


@dataclass(frozen=True)
class RadScoreChain:
    """Features and settings by which a Rad-score was fitted, to fit it again in resamples.

    Attributes
    ----------
    features
        (F,) features of each case, by `case_id`.
    """

    features: Mapping[str, np.ndarray]
    folds: int = FOLDS
    rule: Literal["min", "1se"] = "min"
    seed: int = 0

    def of(self, case_ids: Sequence[str | None]) -> np.ndarray:
        """Return the (n, F) features of cases.

        Raises
        ------
        InputError
            If a case has no features.
        """
        missing = [case_id for case_id in case_ids if case_id not in self.features]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(case_ids)} rows have no features; expected features of every row, to fit the "
                "Rad-score again. Leave out `features`, or these rows.",
                details=f"Cases: {', '.join(map(str, missing[:20]))}{' …' * (len(missing) > 20)}",
            )
        return np.stack([self.features[str(case_id)] for case_id in case_ids]).astype(float)


def refitted(design: Design, column: int, values: np.ndarray, chain: RadScoreChain) -> Callable[[np.ndarray], Refit]:
    """Return a function that repeats the Rad-score's fit on a resample, for `proportional_odds_checks.validate`.

    The resample's model is tested on the patients that were not drawn: the final Rad-score of a resample has in-sample
    scores of those that were. In a resample without a selected feature, the nomogram has no Rad-score.

    Parameters
    ----------
    column
        Index of the Rad-score's column in the design.
    values
        (n, F) features of the design's rows.
    """

    def refit(rows: np.ndarray) -> Refit:
        out = np.setdiff1d(np.arange(len(design.stages)), rows)
        stages, patients = design.stages[rows], design.patients[rows]
        folds = min(chain.folds, fewest_patients(stages, patients))
        if folds < 3:
            return None
        found = fit_scores(values[rows], stages, patients, folds=folds, rule=chain.rule, seed=chain.seed)
        drawn, others = design.columns[rows].copy(), design.columns[out].copy()
        if found.spread:
            drawn[:, column] = (found.held_out - found.centre) / found.spread
            others[:, column] = (found.of(values[out]) - found.centre) / found.spread
        else:
            drawn, others = np.delete(drawn, column, axis=1), np.delete(others, column, axis=1)
        return drawn, out, others

    return refit


__all__ = ["IN_SAMPLE", "Origin", "RadScoreChain", "origin_of", "refitted"]
