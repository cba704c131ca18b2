"""Fit a nomogram to a table of patients: select rows, code columns, fit, test and validate."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from GTRStagingLib.cohort.fit_side import fit_side
from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.nomogram import RADSCORE, REFERENCE, Nomogram, Term
from GTRStagingLib.nomogram.radscores import Origin, RadScoreChain, named_like_scores, origin_of, refitted
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Clusters
from GTRStagingLib.stats.proportional_odds import FEW_EVENTS, ChiSquared, Design, OrdinalFit, fit
from GTRStagingLib.stats.proportional_odds_checks import (
    REFITTED,
    RESAMPLES,
    brant,
    concordance_estimates,
    validate,
    variance_inflation,
    without_term,
)
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import MOST
from GTRStagingLib.tables.cells import covariate_number
from GTRStagingLib.tables.column_words import label_and_unit, label_of
from GTRStagingLib.tables.headers import PATIENTS, folded
from GTRStagingLib.tables.stage_cells import named_stage
from GTRStagingLib.tables.table_files import Table

CASE, STAGE, PATIENT, SPLIT = "case_id", "stage", "patient_id", "split"
MOST_LEVELS = 12
"""Largest number of levels of a choice; a column with more texts is a name or a comment, not a covariate."""

RARE = 5
"""Number of rows of a level below which a warning is given."""

_JOINT = re.compile(r"(?<=[^\W\d])[\s_-]+(?=[^\W\d])")
"""Blank or hyphen between two letters."""

ALPHA = 0.05
NOT_INCLUDED = "the optimism of the Rad-score itself is not included: its features were not given"
INFLATED = 10.0
"""Generalised variance inflation factor, to the power of 1 / df, above which terms are nearly collinear."""


@dataclass(frozen=True)
class Wording:
    """Label, unit and reference level of a predictor; without a label, label and unit come from the column's name."""

    label: str | None = None
    unit: str = ""
    reference: str | None = None


@dataclass(frozen=True)
class _Predictor:
    """Coded column of the table: a number unchanged, a choice as one column per level without the reference."""

    name: str
    wording: Wording
    levels: tuple[str, ...]
    coded: np.ndarray

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={level}" for level in self.levels[1:]) if self.levels else (self.name,)

    @property
    def label(self) -> str:
        """The given label, or the column's name in words."""
        return self.wording.label or label_of(self.name)

    def term(self, coefficients: Sequence[float]) -> Term:
        if self.levels:
            weights = dict(zip(self.levels, (0.0, *coefficients), strict=True))
            return Term(self.name, self.label, levels=weights, reference=self.levels[0])
        values = self.coded[:, 0]
        label, unit = (self.wording.label, "") if self.wording.label else label_and_unit(self.name)
        return Term(self.name, label, self.wording.unit or unit, coefficients[0],
                    range=(float(values.min()), float(values.max())), typical=float(values.mean()))  # fmt: skip


def fit_nomogram(
    table: Table,
    predictors: Sequence[str],
    *,
    name: str,
    wordings: Mapping[str, Wording] | None = None,
    splits: Sequence[str] | None = None,
    allow_leakage: bool = False,
    radscore: Mapping[str, Any] | None = None,
    features: RadScoreChain | None = None,
    seed: int = 0,
    resamples: int | None = None,
) -> Nomogram:
    """Fit a proportional-odds model to a table's rows, and test and validate it.

    Parameters
    ----------
    table
        Table with the columns `stage` (T1..T4) and the predictors, and `patient_id` if patients have several rows. A
        column of numbers is a number; a column of texts, or one with a reference, is a choice.
    splits
        Splits to fit on, but not 'test'; by default 'train' if any row has a split, otherwise all rows.
    allow_leakage
        Fit although a patient is in a split of the fit and in another; the nomogram then has a warning.
    radscore
        Rad-score of the standardised values in the column `radscore`, as plain data.
    features
        Features that the Rad-score was fitted on; each resample of the validation then fits it again.
    seed, resamples
        Of the bootstrap; by default `RESAMPLES`, or `REFITTED` with features.

    Raises
    ------
    LeakageError
        If patients are in a split of the fit and in another.
    InputError
        If a column, a reference or a stage is invalid, a predictor has in-sample scores, or the model cannot be fitted.
    """
    wordings = {} if wordings is None else wordings
    _require_columns(table, predictors, wordings, radscore, features)
    identified = PATIENT in table.columns
    side = fit_side(
        [row.get(SPLIT) for row in table.rows],
        [row[PATIENT] for row in table.rows] if identified else None,
        splits,
        allow_leakage=allow_leakage,
    )
    chosen = [row for row, used in zip(table.rows, side.used.tolist(), strict=True) if used]
    needed = (STAGE, *((PATIENT,) if identified else ()), *predictors)
    used = [row for row in chosen if all(row[column] is not None for column in needed)]
    if not used:
        raise InputError(
            f"No row of {table.path.name} has all of {', '.join(needed)}"
            f"{f' and split {side.words}' * (side.splits is not None)}; expected many complete rows. Fill in the cells."
        )
    origin = origin_of(used, predictors, radscore)
    coded = [_coded(name, [str(row[name]) for row in used], wordings.get(name, Wording())) for name in predictors]
    design = Design(
        names=tuple(column for one in coded for column in one.columns),
        columns=np.hstack([one.coded for one in coded]),
        stages=_stages([str(row[STAGE]) for row in used]),
        patients=Clusters.of(np.asarray([row[PATIENT] for row in used] if identified else range(len(used)))).codes,
    )
    fitted = fit(design)
    where = _where(coded)
    omnibus, each = brant(design, where)
    inflation = variance_inflation(design, where)
    refit = None
    if features is not None:
        if origin is not None and origin.kind == "of other patients":
            raise InputError(
                "`features` are given, but the Rad-score was fitted on other patients, so that its fit adds no "
                "optimism here; expected the Rad-score of these patients. Leave out `features`."
            )
        refit = refitted(design, where[RADSCORE][0], features.of([row[CASE] for row in used]), features)
    count = resamples if resamples is not None else RESAMPLES if refit is None else REFITTED
    validation = validate(fitted, seed=seed, resamples=count, refit=refit)
    unknown = _unknown_scores(coded, origin)
    warnings = [*side.warnings, *_radscore_warnings(radscore, unknown)]
    warnings += _warnings(design, coded, omnibus, each, inflation)
    record = {
        "table": table.path.name,
        "rows": {
            "in_table": len(table.rows),
            "of_another_split": len(table.rows) - len(chosen),
            "incomplete": len(chosen) - len(used),
            "used": len(used),
        },
        "split": None if side.splits is None else list(side.splits),
        "missing": {column: sum(row[column] is None for row in chosen) for column in needed},
        "patients": design.clusters.number,
        "patients_are": f"identified by {PATIENT}" if identified else f"one per row: no {PATIENT}",
        "stages": {str(t): int((design.stages == t).sum()) for t in TStage},
        "events_per_parameter": {
            "value": design.events_per_parameter,
            "method": "patients of the rarest stage per coefficient",
        },
        **_fit_record(fitted, coded, origin),
        **_radscore_record(fitted, where, origin, radscore, refitted=refit is not None),
        "scores_of_unknown_origin": unknown,
        "proportional_odds": {
            "omnibus": omnibus.to_json(),
            "terms": {term: test.to_json() for term, test in each.items()},
        },
        "variance_inflation": {
            term: {"gvif": value, "df": len(where[term]), "gvif_1_df": _per_df(value, where[term])}
            for term, value in inflation.items()
        },
        "c_index": {kind: one.to_json() for kind, one in concordance_estimates(fitted, validation).items()},
        "validation": validation.to_json(),
        "warnings": list(warnings),
    }
    t1, t2, t3 = fitted.thresholds.tolist()
    return Nomogram(
        name=name,
        source=f"Fitted to {len(used)} rows of {record['patients']} patients of {table.path.name}"
        f"{f', split {side.words}' * (side.splits is not None)}.",
        thresholds=(t1, t2, t3),
        terms=tuple(one.term(fitted.coefficients[where[one.name]].tolist()) for one in coded),
        warnings=tuple(warnings),
        record=record,
        radscore=radscore,
    )


def _where(coded: Sequence[_Predictor]) -> dict[str, list[int]]:
    """Return the indices of each predictor's columns."""
    found, start = {}, 0
    for one in coded:
        found[one.name] = list(range(start, start + len(one.columns)))
        start += len(one.columns)
    return found


# -- the table -----------------------------------------------------------------------------------------------------


def _require_columns(
    table: Table,
    predictors: Sequence[str],
    wordings: Mapping[str, Wording],
    radscore: Mapping[str, Any] | None,
    features: RadScoreChain | None,
) -> None:
    if not predictors or len(set(predictors)) < len(predictors):
        raise InputError(f"Predictors {list(predictors)}; expected one or more columns, each once.")
    wanted = [STAGE, *predictors, *([CASE] if features is not None else [])]
    if absent := [column for column in wanted if column not in table.columns]:
        raise InputError(
            f"{table.path.name} has no column {', '.join(absent)}; expected names among {', '.join(table.columns)}. "
            "Check the names."
        )
    roles = {folded(name) for name in (STAGE, *PATIENTS, SPLIT)}  # also in another spelling, such as Split
    if taken := [name for name in predictors if folded(name) in roles]:
        raise InputError(f"{', '.join(taken)} as a predictor; expected covariates. Leave it out.")
    if strange := [column for column in wordings if column not in predictors]:
        raise InputError(
            f"A label, unit or reference is given for {', '.join(strange)}; expected predictors: "
            f"{', '.join(predictors)}."
        )
    if radscore is not None and RADSCORE not in predictors:
        raise InputError(f"`radscore` is given without the predictor {RADSCORE!r}; expected both, or neither.")
    if features is not None and RADSCORE not in predictors:
        raise InputError(f"`features` is given without the predictor {RADSCORE!r}; expected both, or neither.")


def _stages(texts: Sequence[str]) -> np.ndarray:
    stage_of = {text: named_stage(text) for text in texts}
    if strange := sorted(text for text, stage in stage_of.items() if stage is None):
        raise InputError(
            f"Stage {', '.join(strange[:5])}; expected T1 to T4, also as in pT3, T1b or T4a. Correct the cells."
        )
    return np.array([stage_of[text] for text in texts], dtype=int)


def _coded(name: str, texts: Sequence[str], wording: Wording) -> _Predictor:
    numbers = [covariate_number(text) for text in texts]
    if wording.reference is None and None not in numbers:
        _require_range(name, numbers)
        return _Predictor(name, wording, (), np.array(numbers, dtype=float)[:, None])
    if wording.reference is None and any(number is not None for number in numbers):
        strange = sorted({text for text, number in zip(texts, numbers, strict=True) if number is None})
        raise InputError(
            f"{name} has numbers and also {', '.join(map(repr, strange[:3]))}; expected numbers with a point, or "
            "texts. Correct these cells, or set a `reference` level, which makes the column a choice."
        )
    counts = Counter(texts)
    _require_spellings(name, counts)
    reference = wording.reference if wording.reference is not None else counts.most_common(1)[0][0]
    levels = sorted(counts, key=lambda level: (level != reference, level))
    if reference not in counts:
        raise InputError(f"Reference {reference!r} of {name}; expected one of its levels: {', '.join(sorted(counts))}.")
    if REFERENCE in counts:
        raise InputError(
            f"{name} has the level {REFERENCE!r}, which is reserved for a term that is left out; rename it."
        )
    if wording.unit:
        raise InputError(f"Unit {wording.unit!r} for {name}, which is a choice; expected a unit for numbers only.")
    if not 2 <= len(levels) <= MOST_LEVELS:
        number = any(text[:1].isdecimal() for text in levels)
        remedy = "If these are numbers, write them without units and signs. " if number else ""
        raise InputError(
            f"{name} has {counted(len(levels), 'different text')}, as in {levels[0]!r}; expected 2 to {MOST_LEVELS} "
            f"levels. {remedy}Join levels, or leave the column out."
        )
    return _Predictor(
        name, wording, tuple(levels), np.array([[t == level for level in levels[1:]] for t in texts], float)
    )


def _require_spellings(name: str, levels: Iterable[str]) -> None:
    """Raise `InputError` for levels that are one word in two spellings, which would be two levels."""
    spellings: dict[str, list[str]] = {}
    for level in levels:
        spellings.setdefault(_JOINT.sub("", unicodedata.normalize("NFKC", level).casefold()), []).append(level)
    if twice := [sorted(same) for same in spellings.values() if len(same) > 1]:
        raise InputError(
            f"{name} has the levels {' and '.join(map(repr, twice[0]))}, which differ only in case, blanks or hyphens; "
            "expected one spelling of each level. Correct the cells."
        )


def _require_range(name: str, numbers: Sequence[Any]) -> None:
    """Raise `InputError` unless the squares of numbers, and of their differences, are finite and not 0."""
    low, high = min(numbers), max(numbers)
    if max(abs(low), abs(high)) > MOST or 0 < high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        raise InputError(
            f"{name} has values from {low!r} to {high!r}; expected numbers of at most {MOST:g} that differ by more "
            "than rounding. Correct the cells, or change the unit."
        )


# -- the record ----------------------------------------------------------------------------------------------------


def _fit_record(fitted: OrdinalFit, coded: Sequence[_Predictor], origin: Origin | None) -> dict[str, Any]:
    effects = iter(fitted.effects)
    rows = []
    for one in coded:
        for level in one.levels[1:] or (None,):
            effect = next(effects)
            if one.name == RADSCORE and origin is not None:
                effect = effect.widened(origin.variance**0.5)
            rows.append(
                {
                    "term": one.name,
                    "level": level,
                    "coefficient": effect.coefficient.to_json(),
                    "standard_error": effect.standard_error,
                    "odds_ratio": effect.odds_ratio.to_json(),
                    "p": effect.p,
                }
            )
    names = ("T1 | T2", "T2 | T3", "T3 | T4")
    unknown = fitted.design.no_interval is not None
    errors = [None if unknown else error for error in fitted.threshold_errors.tolist()]
    triples = zip(names, fitted.threshold_estimates, errors, strict=True)
    return {
        "coefficients": rows,
        "thresholds": [{"between": n, **e.to_json(), "standard_error": error} for n, e, error in triples],
        "covariance": fitted.covariance_method,
        "log_likelihood": fitted.log_likelihood,
        "likelihood_ratio": fitted.likelihood_ratio.to_json(),
        "nagelkerke_r2": fitted.nagelkerke_r2,
    }


def _radscore_record(
    fitted: OrdinalFit,
    where: Mapping[str, Sequence[int]],
    origin: Origin | None,
    radscore: Mapping[str, Any] | None,
    *,
    refitted: bool,
) -> dict[str, Any]:
    """Return the entries of the Rad-score: its origin, its own performance, and the test of what it adds."""
    if origin is None:
        return {}
    test = without_term(fitted, where[RADSCORE], variance=origin.variance)
    outside = {} if radscore is None else radscore.get("record", {}).get("out_of_fold", {})
    included = "the Rad-score is fitted again in each resample" if refitted else NOT_INCLUDED
    return {
        "radscore": {
            "scores": origin.words,
            "out_of_fold": {name: outside.get(name) for name in ("spearman", "r2")},
            "optimism": "of scores of other patients" if origin.kind == "of other patients" else included,
        },
        "radscore_test": test.to_json(),
    }


def _unknown_scores(coded: Sequence[_Predictor], origin: Origin | None) -> list[str]:
    """Return the names of the numbers that are, or may be, a Rad-score of unknown origin."""
    own = [RADSCORE] if origin is not None and origin.kind == "unknown" else []
    return own + named_like_scores({one.name: one.coded for one in coded if not one.levels})


def _radscore_warnings(radscore: Mapping[str, Any] | None, unknown: Sequence[str]) -> list[str]:
    """Return the warnings of the Rad-score, and on scores of unknown origin."""
    warnings = [] if radscore is None else list(radscore.get("warnings", ()))
    for name in unknown:
        other = name != RADSCORE
        warnings.append(
            f"The origin of the column {name} is not known; if it contains scores that were fitted to the stages of "
            "these patients, its p value is too small, and the performance too good. "
            f"{'If it is a clinical score, nothing is wrong; if it is a Rad-score, give' if other else 'Give'} the fit "
            f"the file of the Rad-score, and its scores{f' in the column {RADSCORE}' * other} as its table has them, "
            "not rounded."
        )
    return warnings


def _per_df(value: float | None, which: Sequence[int]) -> float | None:
    """Convert a generalised factor to the scale of an ordinary one (Fox and Monette): to the power of 1 / df."""
    return None if value is None else float(value ** (1 / len(which)))


def _warnings(
    design: Design,
    coded: Sequence[_Predictor],
    omnibus: ChiSquared,
    each: Mapping[str, ChiSquared],
    inflation: Mapping[str, float | None],
) -> list[str]:
    warnings = []
    if design.no_interval is not None:
        warnings.append(f"The coefficients have no intervals, and there are no p values: {design.no_interval}.")
    if design.events_per_parameter < FEW_EVENTS:
        warnings.append(
            f"Fitted to few patients: {min(design.patients_by_stage)} of the rarest stage for {len(design.names)} "
            f"coefficients, {design.events_per_parameter:.1f} per coefficient; {FEW_EVENTS} are recommended."
        )
    for one in coded:
        for level, count in zip(one.levels[1:], one.coded.sum(axis=0), strict=False):
            if count < RARE:
                warnings.append(
                    f"{one.label}, {level}: {counted(round(count), 'row')}, too few to estimate its coefficient."
                )
    labels = {one.name: one.label for one in coded}
    broken = [
        f"{labels[name]} (p = {test.p:.2g})" for name, test in each.items() if test.p is not None and test.p < ALPHA
    ]
    if omnibus.p is None and design.no_interval is None:
        warnings.append(f"Brant's test of proportional odds is {omnibus.method}.")
    elif omnibus.p is not None and omnibus.p < ALPHA:
        warnings.append(
            f"The odds are not proportional (Brant's test, p = {omnibus.p:.2g}"
            f"{', mainly ' + ', '.join(broken) if broken else ''}): the effect of a predictor differs between early "
            "and late stages, and the nomogram uses an average."
        )
    where = _where(coded)
    for name, value in inflation.items():
        scaled = _per_df(value, where[name])
        if scaled is not None and scaled > INFLATED:
            warnings.append(
                f"{labels[name]} is nearly collinear with the other predictors (variance inflation {scaled:.0f})."
            )
    return warnings


__all__ = ["ALPHA", "INFLATED", "MOST_LEVELS", "PATIENT", "RARE", "SPLIT", "STAGE", "Wording", "fit_nomogram"]
