"""Compute every measure that a table of predictions allows.

Requires tables only: no images, no torch.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import GTRStagingLib
from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.evaluation.answer_analysis import AnswerAnalysis, analyse_answers
from GTRStagingLib.evaluation.cohorts import Cohorts, cohort_names, cohort_rows, evaluate_cohorts, evaluate_part
from GTRStagingLib.evaluation.flow import PatientFlow, patient_flow
from GTRStagingLib.evaluation.performance import Performance, performance
from GTRStagingLib.evaluation.predictions import Predictions, texts_of
from GTRStagingLib.evaluation.scanner_table import ScannerLine, scanner_table
from GTRStagingLib.evaluation.table_one import Described, describe_patients, groups_by
from GTRStagingLib.evaluation.training_overlap import Siblings, find_siblings
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.stats import attention_by_stage, calibration, decisions, reader_study, readers
from GTRStagingLib.stats.estimates import LEVEL, MOST_OF_ONE, Clusters, no_interval
from GTRStagingLib.stats.risk_coverage import RiskCoverage
from GTRStagingLib.stats.set_coverage import SetCoverage
from GTRStagingLib.stats.stage_stability import StageStability
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.evaluation.study_answers import StudyAnswers

MODEL = "model"
"""Name of the evaluated predictions beside readers and other models."""

SCHEMA = 3
PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "statsmodels")


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation; parts that the table does not allow are None.

    Attributes
    ----------
    curves
        Stage -> (k, 2) false and true positive rates.
    groups
        Column -> level -> performance on its rows.
    without_siblings, with_siblings, unseen
        Performance on rows of patients without other rows in the training table, of patients with such rows, and on
        rows that are not in the training table and have no siblings there; None without such a table or such rows.
    notes
        Sentences that a reader of the numbers must know.
    cohorts
        Evaluation by cohort; None without a cohort column.
    early
        Performance on the rows whose true stage is T1 or T2.
    scanners
        Scanner table: by cohort, then all rows.
    flow
        Rows and patients read, left out and evaluated.
    models
        Names of the models that made the predictions, if the table states them.
    stage_sets
        Coverage and size of the stage sets; None if the table has none.
    risk_coverage
        Whether scores of uncertainty tell of errors; None if the table has none beside the probabilities.
    slice_stability
        How far the stage holds along the scan; None if the table does not tell.
    model_warning
        What a reader must know of the model, as that it is the demonstration model.
    answers
        Analysis of the single answers of a reader study; None without them.
    """

    predictions: Predictions
    performance: Performance
    curves: Mapping[str, np.ndarray | None]
    description: tuple[Described, ...]
    calibration: "calibration.Calibration | None"
    decisions: "decisions.Decisions"
    comparison: "readers.Comparison | None"
    study: "reader_study.ReaderStudy | None"
    attention: "attention_by_stage.AttentionStudy | None"
    groups: Mapping[str, Mapping[str, Performance]]
    siblings: Siblings | None
    without_siblings: Performance | None
    with_siblings: Performance | None
    unseen: Performance | None
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    cohorts: Cohorts | None = None
    early: Performance | None = None
    scanners: tuple[ScannerLine, ...] = ()
    flow: PatientFlow = field(default_factory=PatientFlow)
    models: tuple[str, ...] = ()
    model_warning: str | None = None
    stage_sets: SetCoverage | None = None
    risk_coverage: RiskCoverage | None = None
    slice_stability: StageStability | None = None
    answers: AnswerAnalysis | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of `metrics.json` as plain data."""

        def plain(part: Any) -> Any:
            return None if part is None else part.to_json()

        return {
            "schema": SCHEMA,
            "research_use_only": RESEARCH_USE_ONLY,
            **self.performance.to_json(),
            "flow": self.predictions.flow.to_json(),
            "notes": [without_backticks(note) for note in self.notes],
            "clustered_by_patient": self.predictions.clustered,
            "leakage": plain(self.siblings),
            "without_siblings": plain(self.without_siblings),
            "with_siblings": plain(self.with_siblings),
            "unseen": plain(self.unseen),
            "groups": {c: {k: one.to_json() for k, one in levels.items()} for c, levels in self.groups.items()},
            "calibration": plain(self.calibration),
            "decisions": self.decisions.to_json(),
            "comparison": plain(self.comparison),
            "reader_study": plain(self.study),
            "attention": plain(self.attention),
            "description": [line.to_json() for line in self.description],
            "cohorts": plain(self.cohorts),
            "early": plain(self.early),
            "scanners": [line.to_json() for line in self.scanners],
            "patient_flow": self.flow.to_json(),
            "models": list(self.models),
            "model_warning": self.model_warning,
            "stage_sets": plain(self.stage_sets),
            "risk_coverage": plain(self.risk_coverage),
            "slice_stability": plain(self.slice_stability),
            "reader_answers": plain(self.answers),
            "provenance": dict(self.provenance),
        }


def evaluate(
    found: Predictions,
    *,
    strata: Sequence[str] = (),
    cohort_column: str | None = None,
    training: Path | None = None,
    patient_pattern: str | None = None,
    answers: "StudyAnswers | None" = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> Evaluation:
    """Evaluate predictions.

    Parameters
    ----------
    strata
        Columns of subgroups, beside the centre.
    cohort_column
        Column of the cohorts, which are evaluated apart, described side by side and compared.
    training
        Table of the model's training rows, to find rows and patients that the model has seen.
    patient_pattern
        As given to `read_predictions`, for the training table.
    answers
        Single answers of a reader study, which were read for these predictions (`study_answers.read_answers`).
    seed
        Seed of random permutations, and of the rows drawn for a temperature.

    Raises
    ------
    InputError
        If a column does not exist, or patients are not identified but have to be.
    """
    cohorts = {} if cohort_column is None else cohort_rows(found, cohort_column)
    progress("leakage")
    siblings = None if training is None else find_siblings(found, training, patient_pattern)
    progress("performance")
    whole = evaluate_part(found, "all", _decisions, seed=seed)
    progress("description")
    description = describe_patients(found, cohort_column)
    progress("cohorts")
    by_cohort = None
    if cohort_column is not None:
        by_cohort = evaluate_cohorts(found, cohort_column, cohorts, _decisions, seed=seed)
    groups, notes = _groups(found, strata, by_cohort)
    progress("readers")
    compared, study, left_out = _readers(found)
    if whole.attention is not None:
        notes += _missing_baselines(found, whole.attention)
    flow = _flow(found, cohort_column)
    models, model_warning, unknown_model = _models(found)
    notes += [*unknown_model, *(whole.notes if by_cohort is None else by_cohort.all_notes), *_lost_cohorts(flow)]
    return Evaluation(
        predictions=found,
        performance=whole.performance,
        curves=whole.curves,
        description=description,
        calibration=whole.calibration,
        decisions=whole.decisions,
        comparison=compared,
        study=study,
        attention=whole.attention,
        groups=groups,
        siblings=siblings,
        without_siblings=None if siblings is None else _on(found, ~siblings.related),
        with_siblings=None if siblings is None else _on(found, siblings.related),
        unseen=None if siblings is None else _on(found, siblings.unseen),
        notes=(
            *found.notes,
            *(() if siblings is None else siblings.notes),
            *_without_intervals(found.clusters),
            *notes,
            *left_out,
        ),
        provenance=_provenance(found, seed),
        cohorts=by_cohort,
        early=_on(found, found.stages <= TStage.T2),
        scanners=scanner_table(found, list(cohorts.values())),
        flow=flow,
        models=models,
        model_warning=model_warning,
        stage_sets=whole.stage_sets,
        risk_coverage=whole.risk_coverage,
        slice_stability=whole.slice_stability,
        answers=None if answers is None else analyse_answers(found, answers),
    )


def _without_intervals(clusters: Clusters) -> list[str]:
    """Return a note if patients of several rows are so few, or one has so many rows, that no interval holds."""
    reason = no_interval(clusters.sizes) if clusters.clustered else None
    if reason is None:
        return []
    if clusters.sizes.max() <= MOST_OF_ONE * len(clusters):
        return [f"Numbers of all rows have no interval: {reason}."]
    return [
        f"{reason[0].upper()}{reason[1:]}: numbers that include it have no interval, and describe this patient more "
        "than the cohort. Keep fewer of its rows, such as one, or report it alone."
    ]


def _groups(
    found: Predictions, strata: Sequence[str], cohorts: Cohorts | None
) -> tuple[dict[str, dict[str, Performance]], list[str]]:
    """Measure performance by centre and familiarity, where the table has them, and by the given columns, with notes."""
    groups: dict[str, dict[str, Performance]] = {}
    notes = []
    centre = [found.columns.centre] if found.columns.centre else []
    for column in dict.fromkeys([*centre, *_familiarity(found), *strata]):
        if cohorts is not None and column == cohorts.column:
            groups[column] = {part.name: part.performance for part in cohorts.parts}
            continue
        try:
            levels = groups_by(found, column)
        except InputError as error:
            if column in strata:
                raise
            notes.append(f"No results by {'centre' if column in centre else column}: {error}")
            continue
        groups[column] = {level: performance(found.of(rows)) for level, rows in levels.items()}
    return groups, notes


def _familiarity(found: Predictions) -> list[str]:
    """Return the batch's column of familiarity, if rows differ in it."""
    return [name for name in found.frame.columns if name == FAMILIARITY and len(set(found.texts(name)) - {None}) > 1]


def _flow(found: Predictions, cohort_column: str | None) -> PatientFlow:
    """Return the flow of patients; that of a group of rows begins with the group."""
    reasons, n = list(found.flow.excluded) if found.left_out else [], len(found)
    step = np.full(n, len(reasons))
    patients = found.patient_names[found.patients]
    cohorts = None if cohort_column is None else found.texts(cohort_column)
    if found.left_out is not None:
        gone = found.left_out
        step = np.concatenate([step, [reasons.index(reason) for reason in gone.reasons]]).astype(int)
        patients = np.concatenate([patients, gone.patients])
        if cohorts is not None:
            cohorts = np.concatenate([cohorts, texts_of(gone.frame[cohort_column])])
    names = None if cohorts is None else cohort_names(cohorts)
    return patient_flow(reasons, step, None if found.patients_by is None else patients, names)


def _lost_cohorts(flow: PatientFlow) -> list[str]:
    """Return a note for each cohort of which no row is evaluated."""
    last = flow.steps[-1].cohorts
    return [
        f"Cohort {name} is not evaluated: all of its "
        f"{counted(flow.steps[0].cohorts[name].rows, 'row is', 'rows are')} left out ("
        + ", ".join(f"{n} {step.text}" for step in flow.steps if step.excluded and (n := step.cohorts[name].rows))
        + "). Rows of another split are evaluated if it is named in `split`, or all are."
        for name, counts in last.items()
        if not counts.rows
    ]


def _models(found: Predictions) -> tuple[tuple[str, ...], str | None, list[str]]:
    """Return the names of the models by which a batch made the predictions, the warnings about them, and notes."""
    columns = set(found.frame.columns)
    if "model_warning" in columns:
        names, warnings = (
            tuple(dict.fromkeys(filter(None, found.texts(column)))) if column in columns else ()
            for column in ("model", "model_warning")
        )
        return names, " ".join(warnings) or None, []
    if {"status", "unanimous"} <= columns:
        return (), None, [UNKNOWN_MODEL]
    return (), None, []


UNKNOWN_MODEL = (
    "The table does not state its model, as tables of version 0.1.0: see in the report of a case whether it is a "
    "demonstration model, whose stages mean nothing for patients."
)

FAMILIARITY = "familiarity"
"""Column of a batch: 'usual', 'unusual', 'unlike' or 'not known'."""

BASELINE_NAMES = {"chance": "chance", "blob": "a centred blob", "mean_mask": "the mean mask of the model's cases"}


def _missing_baselines(found: Predictions, study: "attention_by_stage.AttentionStudy") -> list[str]:
    """Return notes on the baselines that Dice is not compared with: without a column, or with an empty one."""
    missing = [name for name in BASELINE_NAMES if name not in study.against]
    empty = [name for name in missing if found.spelt(attention_by_stage.BASELINES[name]) is not None]
    absent = [name for name in missing if name not in empty]
    notes = []
    if absent:
        notes.append(
            f"Dice is not compared with {_baselines_in_words(absent)}: the table has no such column. Tables of version "
            "0.1.0 have chance Dice only."
        )
    if empty:
        columns = ", ".join(attention_by_stage.BASELINES[name] for name in empty)
        notes.append(
            f"Dice is not compared with {_baselines_in_words(empty)}: no row has both Dice and a number in {columns}."
        )
    if "mean_mask" in missing:
        notes.append(
            "The Dice of the mean mask requires a model with a mean mask, of several models the first one; a check of "
            "the model's maps adds it."
        )
    return notes


def _baselines_in_words(names: Sequence[str]) -> str:
    return " and ".join(BASELINE_NAMES[name] for name in names)


def _on(found: Predictions, rows: np.ndarray) -> Performance | None:
    return performance(found.of(rows)) if rows.any() else None


def _decisions(found: Predictions) -> "decisions.Decisions":
    """Compute decision curves of the model, and of every other one with a value in each row; treatment of all of them.

    The treatment of one with fewer rows is that of its own rows.
    """
    predicted = {MODEL: found.predicted}
    four = {} if found.probabilities is None else {MODEL: found.probabilities}
    for name in found.columns.others:
        if (other := found.other_probabilities(name)) is not None and not np.isnan(other).any():
            predicted[name], four[name] = other.argmax(axis=1), other
    readings = {name: found.stages_of(name) for name in found.readers}
    predicted |= {name: stages for name, stages in readings.items() if (stages >= 0).all()}
    decided = decisions.decide(found.stages, predicted, four, found.clusters)
    own = {
        name: decisions.treatment(found.stages[rows], stages[rows], found.clusters.at(rows))
        for name, stages in readings.items()
        for rows in [stages >= 0]
        if name not in predicted and rows.any()
    }
    return replace(decided, treatment={**decided.treatment, **own})


def _readers(found: Predictions) -> "tuple[readers.Comparison | None, reader_study.ReaderStudy | None, list[str]]":
    """Compare the model with other models, readers and comparators, and evaluate the readers in two phases.

    Every two are compared on the rows that both have.
    """
    notes, side_by_side = [], [readers.Reader(MODEL, found.predicted, found.probabilities)]
    for name in found.columns.others:
        four = found.other_probabilities(name)
        if four is None:
            notes.append(f"Model {name} is left out: its columns are not all numbers.")
            continue
        given = ~np.isnan(four).any(axis=1)
        side_by_side.append(readers.Reader(name, np.where(given, np.nan_to_num(four).argmax(axis=1), -1), four))
    side_by_side += [readers.Reader(name, found.stages_of(name)) for name in found.opinions.single]
    for one in side_by_side:
        if not one.read.all():
            missing = int((~one.read).sum())
            notes.append(
                f"{one.name} has no stage in {missing} of {len(found)} rows. Its results are of its own rows, and it "
                "has no decision curve."
            )
    side_by_side = [one for one in side_by_side if one.read.any()]
    compared = study = None
    if len(side_by_side) > 1:
        compared = readers.compare(found.stages, side_by_side, found.clusters)
        notes += [
            f"{pair.first} and {pair.second} are not compared: no row has values of both."
            for pair in compared.pairs
            if not pair.crossing.n
        ]
    phases, left_out = _complete(found)
    notes += left_out
    if phases:
        model = readers.Reader(MODEL, found.predicted)
        study = reader_study.reader_study(found.stages, phases, model, found.clusters)
        if not study.mrmc:
            notes.append("With one reader there is no analysis over readers and patients, which needs two or more.")
    return compared, study, notes


def _complete(found: Predictions) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Return the readers with readings in both phases of these rows, and notes on the others."""
    phases, notes = {}, []
    for name, (unaided, aided) in found.opinions.phases.items():
        both = unaided.stages(found.frame), aided.stages(found.frame)
        if all((one >= 0).any() for one in both):
            phases[name] = both
        else:
            notes.append(f"Reader {name} is left out of the reader study: a phase has no reading in these rows.")
    return phases, notes


def _provenance(found: Predictions, seed: int) -> dict[str, Any]:
    return {
        "software": f"gtrstaging {GTRStagingLib.__version__}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": found.source,
        "input_sha256": found.digest,
        "columns": {
            "truth": found.columns.truth,
            "predicted": found.columns.predicted or "the stage of the highest probability",
            "probabilities": None if found.columns.probabilities is None else list(found.columns.probabilities),
            "patient": found.patients_by,
            "case": found.columns.case,
            "centre": found.columns.centre,
            "split": found.columns.split,
        },
        "level": LEVEL,
        "seed": seed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


__all__ = ["BASELINE_NAMES", "FAMILIARITY", "MODEL", "Evaluation", "evaluate"]
