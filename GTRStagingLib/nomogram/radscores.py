"""Find out where the Rad-scores of a table come from, and repeat their fit in the validation of a nomogram.

In-sample scores follow the stages without any signal, so that a nomogram must not be fitted on them. Out-of-fold scores
are predictions, but not independent ones: see `stats.lasso.overlap`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.nomogram import RADSCORE
from GTRStagingLib.stats.estimates import ROUNDING
from GTRStagingLib.stats.lasso import FOLDS, fewest_patients, fit_scores, overlap
from GTRStagingLib.stats.proportional_odds import Design
from GTRStagingLib.stats.proportional_odds_checks import Refit
from GTRStagingLib.tables.cells import covariate_number
from GTRStagingLib.tables.headers import folded

IN_SAMPLE = "radscore_in_sample"
"""Column of in-sample scores in the table that `radscore fit` writes."""

DIGITS = 6
"""Significant digits of the scores in a Rad-score's record."""

ALIKE = 0.9999
"""Correlation with the in-sample scores beside it above which a column is a copy of them, rounded or on another scale.

Copies with two decimals exceed it; a covariate does not.
"""

SAME = 0.2
"""Share of equal scores, beyond those by chance, above which a column is taken for the scores of a fit."""

DECIMALS = 4
"""Fewest decimals by which scores are recognised; with three, one in four is equal to one of 1,000 by chance."""

_SCORE_NAME = re.compile(r"score|signature|radiomic|(?<![a-z])rad(?![a-z])")
"""Part of the name of a column that may be a score fitted to the stages; `grade` and `radius` have none."""

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
    given, scores = _spelt(rows, IN_SAMPLE), _spelt(rows, RADSCORE)
    # A Rad-score that is itself a copy does not show that another column is out of fold.
    others = [one for one in scores if not any(_equal(one, inside) for inside in given)]
    record = {} if radscore is None else radscore.get("record", {})
    for name in predictors:
        values = _numbers(rows, name)
        own = folded(name) == folded(RADSCORE)
        copies = any(_equal(values, one) if own else _follows(values, one, others) for one in given)
        if folded(name) == folded(IN_SAMPLE) or copies or _are(values, record.get("in_sample")):
            raise InputError(
                f"{name} has the in-sample scores of a Rad-score; expected out-of-fold scores, since in-sample scores "
                f"follow the stage without any signal. Use the column {RADSCORE} of the table that the Rad-score's fit "
                "wrote."
            )
    if RADSCORE not in predictors:
        return None
    values = _numbers(rows, RADSCORE)
    if _decimals(values) < DECIMALS:  # equal to scores by chance
        return Origin("unknown")
    if any(not np.isnan(one).all() for one in given) or _are(values, record.get("out_of_fold")):
        return Origin("out of fold", int(record.get("folds", {}).get("number", FOLDS)))
    return Origin("of other patients" if _scores(record.get("out_of_fold")) else "unknown")


def named_like_scores(columns: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of columns of numbers, other than `RADSCORE`, that may be scores fitted to the stages.

    Whole numbers are points of a clinical score, as of ECOG.

    Examples
    --------
    >>> import numpy as np
    >>> from GTRStagingLib.nomogram.radscores import named_like_scores
    >>> numbers = np.array([0.5, 1.25])
    >>> named_like_scores({"grade": numbers, "RadScore": numbers, "rad": numbers, "ecog_score": np.array([0, 2])})
    ['RadScore', 'rad']
    """
    return [
        name
        for name, values in columns.items()
        if name != RADSCORE and _SCORE_NAME.search(name.casefold()) and (values % 1).any()
    ]


def _numbers(rows: Sequence[Mapping[str, str | None]], column: str) -> np.ndarray:
    """Return the (n,) numbers of a column; NaN for other cells."""
    numbers = [covariate_number(row.get(column)) for row in rows]
    return np.array([np.nan if number is None else number for number in numbers])


def _spelt(rows: Sequence[Mapping[str, str | None]], name: str) -> list[np.ndarray]:
    """Return the (n,) numbers of each column that has a spelling of the name."""
    return [_numbers(rows, column) for column in rows[0] if folded(column) == folded(name)]


def _equal(values: np.ndarray, given: np.ndarray) -> bool:
    """Return whether more than half of the rows with both numbers have the same, in the coarser rounding of both."""
    decimals = min(_decimals(values), _decimals(given))
    both = ~(np.isnan(values) | np.isnan(given))
    same = np.abs(values - given)[both] <= 0.5 * 10**-decimals + ROUNDING
    return bool(same.sum() > both.sum() / 2)


def _follows(values: np.ndarray, given: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Return whether values are the given scores, on any scale, rather than other scores that are nearly the same.

    The out-of-fold scores of a strong Rad-score are nearly its in-sample scores, too.
    """
    alike = _correlation(values, given)
    return alike > ALIKE and alike > max((_correlation(values, one) for one in others), default=0.0) - ROUNDING


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return the absolute correlation of the rows in which both are numbers; 0 if it is not defined."""
    both = ~(np.isnan(one) | np.isnan(other))
    one, other = one[both], other[both]
    return abs(float(np.corrcoef(one, other)[0, 1])) if len(one) > 2 and np.ptp(one) and np.ptp(other) else 0.0


def _decimals(scores: np.ndarray) -> int:
    """Return the number of decimals to which scores are rounded, at most `DIGITS`."""
    known = scores[~np.isnan(scores)]
    return next((n for n in range(DIGITS) if (known.round(n) == known).all()), DIGITS)


def _scores(part: object) -> Sequence[float]:
    found: Sequence[float] = part.get("scores", ()) if isinstance(part, Mapping) else ()
    return found


def _are(values: np.ndarray, part: object) -> bool:
    """Return whether values are among the scores that a Rad-score's record lists, in the coarser rounding of both.

    Chance makes one in thirty equal to one of 1,000 scores with four decimals, and one in four to one of 10,000. Values
    next to the given ones tell how many, and the share of the others is compared with `SAME`.
    """
    decimals = _decimals(values)
    if decimals < DECIMALS:
        return False

    def rounded(score: float) -> str:
        return f"{float(f'{score:.{DIGITS}g}'):.{decimals}f}"

    listed = {rounded(score) for score in _scores(part)}

    def hits(of: np.ndarray) -> int:
        return sum(rounded(value) in listed for value in of.tolist())

    by_chance = hits(values + 3 * 10.0**-decimals)
    return hits(values) - by_chance > SAME * (len(values) - by_chance)


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


__all__ = ["Origin", "RadScoreChain", "named_like_scores", "origin_of", "refitted"]
