"""Make the tables of readers, comparators and other models: for the report, and as rows of files."""

from collections.abc import Iterator, Sequence
from typing import Any

from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.evaluation.report_tables import Line, PrintedTable, p_text
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.stats.mrmc import FIXED, RANDOM, Effect
from GTRStagingLib.stats.reader_study import ALL, PAIRED, Overlap, Phases, ReaderStudy
from GTRStagingLib.stats.readers import Comparison, Difference, Reading

Rows = list[dict[str, str | float | None]]

AGREEMENT = {
    "accuracy": "accuracy",
    "kappa_linear": "linear kappa",
    "kappa_quadratic": "quadratic kappa",
    "over_staged": "over-staged",
    "under_staged": "under-staged",
}
SENSITIVITY = {f"sensitivity_{stage}": f"sensitivity {stage}" for stage in TStage}
TREATMENT = {
    "over_treatment": "over-treatment",
    "under_treatment": "under-treatment",
    "net_benefit": "net benefit (1/NNT)",
    "auc_macro": "macro AUC",
}
MEASURES = {"accuracy": "accuracy", "auc_T3-4": "AUC of T3–4 against T1–2"}


def rows_of_files(study: ReaderStudy | None, comparison: Comparison | None) -> dict[str, Rows]:
    """Return the tables of readers: file name without ending -> rows."""
    readings: Rows = []
    differences: Rows = []
    if comparison is not None:
        for one in comparison.readers.values():
            readings += _rows_of(one.name, "", one)
        differences += [_row_of("comparison", d) for pair in comparison.pairs for d in pair.differences]
    if study is not None:
        for row in study.rows:
            for phase, one in (("unaided", row.unaided), ("aided", row.aided)):
                readings += _rows_of(row.reader, phase, one)
            differences += [_row_of("reader study", d) for d in (*row.gains, *row.against_model)]
        if study.model is not None:
            readings += _rows_of(study.model.name, "rows of the reader study", study.model)
    found = {"readers": readings, "reader_differences": differences} if readings else {}
    if study is not None and study.mrmc:
        found["reader_mrmc"] = [
            {"measure": one.measure, "effect": effect.name, "readers": effect.readers, **effect.estimate.to_json(),
             "statistic": effect.statistic, "df": effect.df, "p": effect.p}
            for one in study.mrmc for effect in one.effects
        ]  # fmt: skip
    return found


def _rows_of(reader: str, phase: str, one: Reading) -> Iterator[dict[str, str | float | None]]:
    for measure, estimate in _measures(one).items():
        yield {"reader": reader, "phase": phase, "n_rows": one.n_rows, "n_patients": one.n_patients,
               "measure": measure, **estimate.to_json()}  # fmt: skip


def _row_of(part: str, one: Difference) -> dict[str, str | float | None]:
    return {"part": part, "first": one.first, "second": one.second, "measure": one.measure, **one.estimate.to_json(),
            "test": one.test, "p": one.p, "p_holm": one.p_holm, "family": one.family}  # fmt: skip


def _measures(one: Reading) -> dict[str, Estimate]:
    found = {name: getattr(one, name) for name in AGREEMENT}
    found |= {f"sensitivity_{stage}": estimate for stage, estimate in one.sensitivity.items()}
    return found if one.auc_macro is None else {**found, "auc_macro": one.auc_macro}


# -- the report --------------------------------------------------------------------------------------------------------


def shown(study: ReaderStudy | None, comparison: Comparison | None) -> dict[str, Any]:
    """Return the tables of the report's section on readers."""
    return {
        "study": None if study is None else tuple(_of_study(study)),
        "study_words": None if study is None else _words_of(study),
        "comparison": None if comparison is None else tuple(_of_comparison(comparison)),
        "comparison_words": "Each has the results of its own rows; the differences are of the rows that both have. "
        "Net benefit: of treating T3 or more at the threshold 0.5, the reciprocal of NNT.",
    }


def _of_study(study: ReaderStudy) -> Iterator[PrintedTable]:
    readings = [one for row in study.rows for one in (row.unaided, row.aided)]
    yield from _of_readings([*readings, *([] if study.model is None else [study.model])], "Readers by phase")
    if all(row.overlap.design == PAIRED for row in study.rows):
        changes = [(shown_name(row.reader), [row.by_stage[str(stage)] for stage in TStage]) for row in study.rows]
        yield PrintedTable(
            "Gains and losses",
            "Rows of each true stage: wrong without and correct with the model (+), correct without and wrong with the "
            "model (−).",
            ("", *map(str, TStage)),
            tuple((reader, *(f"+{c.only_second} −{c.only_first}" for c in each)) for reader, each in changes),
        )
    compared = [one for row in study.rows for one in _compared(row)]
    yield from _of_differences(compared, "Reader study", (AGREEMENT, SENSITIVITY))
    if study.mrmc:
        yield PrintedTable(
            "Readers and patients as samples",
            "Obuchowski and Rockette, with the degrees of freedom of Hillis and covariances by the jackknife over "
            "patients. Random readers: the result applies to similar readers; fixed readers: to these. The score of "
            "the AUC is the stage that was read. p is not corrected for the number of tests.",
            ("", "random readers (95 %)", "t", "df", "p", "fixed readers (95 %)", "p"),
            tuple(_effects(f"{MEASURES[one.measure]}: {random.name}", random, fixed)
                  for one in study.mrmc for random, fixed in _by_name(one.effects)),
        )  # fmt: skip


def _of_comparison(comparison: Comparison) -> Iterator[PrintedTable]:
    yield from _of_readings(list(comparison.readers.values()), "Side by side")
    pairs = [(f"{_minus(pair.first, pair.second)} (n = {pair.crossing.n:,})", pair.differences)
             for pair in comparison.pairs if pair.differences]  # fmt: skip
    if pairs:
        yield from _of_differences(pairs, "Side by side", (AGREEMENT, SENSITIVITY, TREATMENT))


def _of_readings(readings: Sequence[Reading], label: str) -> Iterator[PrintedTable]:
    """Yield agreement and sensitivity; the macro AUC beside the latter if there is one."""
    areas = {"auc_macro": "macro AUC"} if any(one.auc_macro for one in readings) else {}
    for measures, caption in ((AGREEMENT, "agreement with the true stage"), (SENSITIVITY | areas, "sensitivity")):
        lines = tuple(
            (shown_name(one.name), f"{one.n_rows:,}", *(found[m].text() if m in found else "–" for m in measures))
            for one in readings
            for found in [_measures(one)]
        )
        head = ("", "rows", *measures.values())
        yield PrintedTable(f"{label}: {caption}", f"{label}: {caption}, with 95 % intervals.", head, lines)


def _of_differences(
    compared: Sequence[tuple[str, Sequence[Difference]]], label: str, groups: Sequence[dict[str, str]]
) -> Iterator[PrintedTable]:
    for measures, what in zip(groups, ("agreement", "sensitivity", "treatment and AUC"), strict=False):
        yield PrintedTable(
            f"{label}: differences of {what}",
            f"{label}: differences of {what}, first minus second, with 95 % interval; p, and p corrected by Holm "
            "within each family of tests.",
            ("", *measures.values()),
            tuple((name, *(_cell(tests, measure) for measure in measures)) for name, tests in compared),
        )


def _compared(row: Phases) -> Iterator[tuple[str, Sequence[Difference]]]:
    yield f"{shown_name(row.reader)}: aided − unaided", row.gains
    for second in dict.fromkeys(one.second for one in row.against_model):
        tests = [one for one in row.against_model if one.second == second]
        yield _minus(tests[0].first, second), tests


def _minus(first: str, second: str) -> str:
    return f"{shown_name(first)} − {shown_name(second)}"


def _cell(tests: Sequence[Difference], measure: str) -> str:
    """Return a difference with the test by patient, which stands before one by row."""
    one = next((test for test in tests if test.measure == measure), None)
    if one is None:
        return "–"
    if one.p is None:
        return one.estimate.text()
    return f"{one.estimate.text()}; p\u00a0{p_text(one.p)}, Holm\u00a0{p_text(one.p_holm)}"


def _by_name(effects: Sequence[Effect]) -> Iterator[tuple[Effect, Effect]]:
    """Yield each effect with random and with fixed readers."""
    kinds = {(one.name, one.readers): one for one in effects}
    for name in dict.fromkeys(one.name for one in effects):
        yield kinds[name, RANDOM], kinds[name, FIXED]


def _effects(name: str, random: Effect, fixed: Effect) -> Line:
    statistic = "–" if random.statistic is None else f"{random.statistic:.2f}"
    df = "–" if random.df is None or random.statistic is None else f"{random.df:,.1f}"
    return (name, random.estimate.text(), statistic, df, p_text(random.p), fixed.estimate.text(), p_text(fixed.p))


def _words_of(study: ReaderStudy) -> str:
    """Return what was read, how the phases overlap, and what follows for their comparison."""
    kinds = {row.overlap.design for row in study.rows}
    together = next(row for row in study.rows if row.reader == ALL).overlap
    how = (
        "Every reader read the same rows in both phases, which are compared as pairs."
        if kinds == {PAIRED}
        else "; ".join(overlap_text(row.reader, row.overlap) for row in study.rows if row.reader != ALL)
        + f". {'No patient is in both phases: the' if not together.patients_both else 'The'} phases are compared by "
        "patient, from the interval of each phase (MOVER)"
        + (", with the correlation of the patients in both." if together.patients_both else ".")
    )
    return (
        f"{study.n_rows:,} rows of {study.n_patients:,} patients. {how} Fleiss' kappa between readers: unaided "
        f"{study.fleiss['unaided'].text()}, aided {study.fleiss['aided'].text()}."
    )


def overlap_text(reader: str, one: Overlap) -> str:
    """Return the design of a reader's phases and the numbers of rows, as text."""
    return (
        f"{shown_name(reader)}: {one.design} phases, {one.rows_unaided_only:,} rows unaided only, "
        f"{one.rows_aided_only:,} aided only, {one.rows_both:,} in both"
    )


__all__ = ["overlap_text", "rows_of_files", "shown"]
