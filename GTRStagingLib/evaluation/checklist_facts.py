"""Derive the facts of an evaluation as sentences for the reporting checklists; unknown facts are left out."""

from collections.abc import Mapping

from GTRStagingLib.evaluation.cohorts import Cohorts
from GTRStagingLib.evaluation.evaluate import BASELINE_NAMES, FAMILIARITY, Evaluation
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.evaluation.study_facts import study_facts
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.radscore.radscore import RadScore
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.stats.metrics import BOUNDARIES
from GTRStagingLib.stats.reader_study import PAIRED
from GTRStagingLib.support.counts import counted

WHERE: Mapping[str, str] = {
    "flow": "Flow of patients",
    "exclusions": "Flow of patients",
    "characteristics": "Table 1",
    "performance": "Table 2",
    "errors": "Table 2",
    "subgroups": "Table 2",
    "heterogeneity": "Table 2",
    "calibration": "Calibration",
    "recalibration": "Calibration",
    "decision_curves": "Decisions",
    "stage_sets": "Table 2",
    "familiarity": "Table 2",
    "comparison": "Readers and other models",
    "tests": "Readers and other models",
    "attention": "Attention",
    "nomogram": "Table 3",
    "radscore": "Rad-score",
    "leakage": "Leak audit",
    "robustness": "Leak audit",
    "provenance": "Provenance",
    **dict.fromkeys(
        (
            "study_readers",
            "study_advice",
            "study_protocol",
            "study_performance",
            "study_times",
            "study_versions",
            "study_agreement",
            "study_errors",
        ),
        "Reader study",
    ),
}
"""Fact -> heading of the report's section that shows it (resources/evaluation.html.j2; a test compares them)."""


def facts(found: Evaluation, nomogram: Nomogram | None = None, radscore: RadScore | None = None) -> dict[str, str]:
    """Return the known facts by their keys in `checklists.FACTS`."""
    predictions, m, flow = found.predictions, found.performance.metrics, found.predictions.flow
    by_stage = ", ".join(f"{stage} {n}" for stage, n in zip(TStage, m.confusion.sum(axis=1).tolist(), strict=True))
    left_out = ", ".join(f"{reason}: {n}" for reason, n in flow.excluded.items()) or "none"
    known = {
        "n_rows": f"The table has {counted(flow.read, 'row')}, of which {flow.used} were evaluated.",
        "n_patients": f"{counted(m.n_patients, 'patient')}; rows by true stage: {by_stage}.",
        "exclusions": f"Rows left out: {left_out}.",
        "flow": f"{counted(flow.read, 'row')} read, {flow.read - flow.used} left out ({left_out}), {flow.used} "
        f"evaluated, of {counted(m.n_patients, 'patient')}.",
        "missing": "Rows without a true stage or a prediction were left out and counted; nothing was imputed.",
        "characteristics": "Covariates by stage, with the number of missing values.",
        "outcome_definition": f"T stage (T1 to T4), from column {predictions.columns.truth!r}.",
        "unit_of_analysis": _unit(found),
        "metrics": "Accuracy, kappas (plain, linear, quadratic), mean absolute stage error, over- and under-staging; "
        "sensitivity, specificity, predictive values and F1 for each stage and at the boundaries "
        f"{' and '.join(BOUNDARIES)}; areas under the ROC curve, calibration and net benefit if the table has "
        "probabilities.",
        "performance": f"Accuracy {m.accuracy.text()}; quadratic kappa {m.kappa_quadratic.text()}"
        + ("" if found.performance.areas is None else f"; macro AUC {found.performance.areas.macro.text()}")
        + " (95 % intervals).",
        "intervals": "95 %: Wilson for proportions, DeLong on the logit scale for areas, jackknife over patients "
        "for the rest; all clustered by patient if patients have several rows.",
        "errors": f"Over-staged {m.over_staged.text(1, percent=True)}, under-staged "
        f"{m.under_staged.text(1, percent=True)}; the confusion matrix is shown.",
        "predictions": f"The probabilities were read from {predictions.source}; "
        + (
            f"its model: {', '.join(found.models)}."
            if found.models
            else "the table does not state how they were computed."
        ),
        "decision_curves": "Net benefit of 'at least T2', 'T3' and 'T4', compared with treating all and treating none.",
        "provenance": f"{found.provenance['software']}; sha256 of the table {predictions.digest}.",
        "seed": f"Seed {found.provenance['seed']} for random permutations and the draw of rows for a temperature; no "
        "interval is drawn at random.",
        "guidelines": "The report fills in CLAIM 2024, TRIPOD+AI, PROBAST+AI"
        + (" and METRICS" if found.study is None else ", METRICS and DECIDE-AI")
        + " as far as the software can.",
        "research_use_only": RESEARCH_USE_ONLY,
        "radscore": "No Rad-score is reported." if radscore is None else _radscore(radscore),
        "nomogram": "No nomogram is reported." if nomogram is None else _nomogram(nomogram),
    }
    if found.siblings is not None:
        known["leakage"] = f"Compared with {found.siblings.training} by patient: {found.siblings.sentence}"
        if found.without_siblings is not None:
            apart = found.without_siblings.metrics
            known["robustness"] = (
                f"Accuracy is {apart.accuracy.text()} on the {counted(apart.n_patients, 'patient')} without other rows "
                "in training."
            )
    centre = predictions.columns.centre
    if centre is not None and centre in found.groups:
        levels = found.groups[centre]
        known["centres"] = (
            "; ".join(f"{name}: {counted(one.metrics.n_patients, 'patient')}" for name, one in levels.items()) + "."
        )
        known["heterogeneity"] = "Results by centre with intervals; differences between centres were not tested."
    if found.cohorts is not None:
        known["heterogeneity"] = _heterogeneity(found.cohorts)
    if FAMILIARITY in found.groups:
        known["familiarity"] = (
            "By the model's own measure of familiarity: "
            + "; ".join(
                f"{level}, {counted(one.metrics.n_rows, 'row')}, accuracy {one.metrics.accuracy.text()}"
                for level, one in found.groups[FAMILIARITY].items()
            )
            + "."
        )
    if found.stage_sets is not None and found.stage_sets.rows:
        sets = found.stage_sets
        known["stage_sets"] = (
            f"{counted(sets.rows, 'row')} with a stage set (promised {sets.promised}): it contains the true stage in "
            f"{sets.coverage['all'].text()}, with {sets.size['all'].text(2)} stages on average; withheld in "
            f"{counted(sets.withheld, 'row')}."
        )
    strata = [column for column in found.groups if column not in (centre, FAMILIARITY)]
    if strata:
        known["subgroups"] = f"Results by {', '.join(strata)}, with intervals."
    if found.calibration is not None:
        known["calibration"] = (
            f"Curves, calibration in the large, slope, ECE {found.calibration.ece.text()}, Brier score "
            f"{found.calibration.brier.text()}, Hosmer-Lemeshow tests (binary, multinomial, ordinal)."
        )
        scaling = found.calibration.scaling
        known["recalibration"] = (
            "The probabilities were not recalibrated. A temperature, cross-fitted by patient, would change the log "
            f"loss from {scaling.before.log_loss.text()} to {scaling.after.log_loss.text()}."
        )
    if found.comparison is None and found.study is None and (predictions.readers or predictions.columns.others):
        pass  # the table has readers or models, and a note states why they are not compared
    elif found.comparison is None and found.study is None:
        known["comparison"] = "No readers were compared."
        known["tests"] = "No readers or models were tested against each other."
    else:
        names = [shown_name(name) for name in found.comparison.readers] if found.comparison else []
        phases = [shown_name(row.reader) for row in found.study.rows[:-1]] if found.study else []
        known["comparison"] = "; ".join(
            [*([f"Side by side: {', '.join(names)}"] if names else []),
             *([f"with and without the model's help: {', '.join(phases)}"] if phases else [])]
        ) + "."  # fmt: skip
        known["tests"] = (
            "McNemar's test, exact and by patient, DeLong's paired test, jackknife over patients for kappas; Holm's "
            "correction within each family of tests."
        )
        if found.study is not None and any(row.overlap.design != PAIRED for row in found.study.rows):
            known["tests"] += " Phases with other patients: difference of two intervals, by patient (MOVER)."
        if found.study is not None and found.study.mrmc:
            known["tests"] += " Several readers: Obuchowski and Rockette's analysis, with random and fixed readers."
    if found.attention is not None:
        known["attention"] = (
            f"Mean Dice with the ROI {found.attention.measures['dice']['all'].mean.text()}, compared with "
            f"{', '.join(BASELINE_NAMES[name] for name in found.attention.against) or 'no baseline'}."
        )
    return known | study_facts(found)


def _unit(found: Evaluation) -> str:
    predictions = found.predictions
    if predictions.patients_by is None:
        return "A row; each row counts as one patient, since the table does not identify patients."
    several = (
        "patients have several rows, and intervals are clustered by patient"
        if predictions.clustered
        else "one row per patient"
    )
    return f"A row; patients are identified {predictions.patients_by}: {several}."


def _heterogeneity(cohorts: Cohorts) -> str:
    """Return the facts of the tests of differences between cohorts."""
    tested = [one for one in cohorts.heterogeneity if one.p is not None]
    results = f"Results by {cohorts.column} with intervals"
    if not tested:
        return f"{results}; differences between cohorts could not be tested."
    each = ", ".join(f"{one.measure} p {one.p:.3g} (Holm {one.p_holm:.3g})" for one in tested)
    return f"{results}; differences between cohorts were tested by Cochran's Q: {each}."


def _radscore(radscore: RadScore) -> str:
    return (
        f"LASSO on {radscore.n_features} standardised features selects {len(radscore.coefficients)}, with penalty "
        f"{radscore.penalty:.4g}."
    )


def _nomogram(nomogram: Nomogram) -> str:
    return (
        f"{nomogram.name}: proportional odds on {', '.join(term.label for term in nomogram.terms)}. {nomogram.source}"
    )


__all__ = ["WHERE", "facts"]
