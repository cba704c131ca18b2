"""Make the tables of an evaluation's report as texts, for its page and for a manuscript."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from GTRStagingLib.evaluation.cohorts import CohortEvaluation, Cohorts
from GTRStagingLib.evaluation.evaluate import BASELINE_NAMES, Evaluation
from GTRStagingLib.evaluation.flow import Counts, FlowStep
from GTRStagingLib.evaluation.performance import Performance
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.attention_by_stage import AttentionStudy
from GTRStagingLib.stats.calibration import Calibration
from GTRStagingLib.stats.decisions import Decisions
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.tables.column_words import label_of

Line = tuple[str, ...]
STAGES = tuple(map(str, TStage))

HOSMER_LEMESHOW = (
    "The Hosmer–Lemeshow test depends on the number of groups. It has little power in small samples, and rejects small "
    "deviations in very large ones. It does not state where or in which direction the probabilities are wrong: see the "
    "curve, the intercept and the slope. p > 0.05 is no proof of calibration."
)


@dataclass(frozen=True)
class PrintedTable:
    """Table as texts.

    Attributes
    ----------
    label
        Short name of the table.
    head
        Names of the columns; a column without a name has an empty text.
    lines
        Cells of each line; the first one is the name of the line.
    """

    label: str
    caption: str
    head: Line
    lines: tuple[Line, ...]

    @property
    def spans(self) -> tuple[int, ...]:
        """Number of lines that the first cell of each line spans: 0 if the line before has the same name.

        Examples
        --------
        >>> from GTRStagingLib.evaluation.report_tables import PrintedTable
        >>> PrintedTable("", "", ("", ""), (("age", "a"), ("age", "b"), ("sex", "c"))).spans
        (2, 0, 1)
        """
        runs = [len(list(same)) for _, same in groupby(line[0] for line in self.lines)]
        return tuple(span for run in runs for span in (run, *[0] * (run - 1)))


def p_text(p: float | None) -> str:
    """Return a p-value as text, as in a paper."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


# -- patients ------------------------------------------------------------------------------------------------------


def flow(found: Evaluation) -> PrintedTable:
    """Make the table of rows and patients read, left out and evaluated, in total and by cohort."""
    predictions, parts = found.predictions, _cohort_parts(found)
    cohorts = list(found.flow.steps[0].cohorts) if found.flow.steps else []
    by_name = {part.name: part.performance.metrics.confusion.sum(axis=1).tolist() for part in parts}
    names = {"read": "rows read", "evaluated": "rows evaluated"}
    lines = []
    for step in found.flow.steps:
        sign = "−" if step.excluded else ""
        counts: list[FlowStep | Counts] = [step, *(step.cohorts[name] for name in cohorts)]
        name = f"left out: {step.text}" if step.excluded else names.get(step.text, step.text)
        lines.append((name, *(_rows(sign, one.rows, one.patients) for one in counts)))
    for stage, n in zip(TStage, found.performance.metrics.confusion.sum(axis=1).tolist(), strict=True):
        own = len(set(predictions.patients[predictions.stages == stage].tolist()))
        known = own if predictions.patients_by is not None else None
        of_cohorts = (f"{by_name[name][stage]:,}" if name in by_name else "0" for name in cohorts)
        lines.append((f"of them {stage}", _rows("", n, known), *of_cohorts))
    return PrintedTable(
        "Flow",
        "Rows of the table by outcome, with the number of patients; the rows add up to the total. A patient is left "
        "out with the last row, and may have rows of several stages.",
        ("", "all", *cohorts) if cohorts else ("", "rows (patients)"),
        tuple(lines),
    )


def _rows(sign: str, rows: int, patients: int | None) -> str:
    return f"{sign}{rows:,}" if patients is None else f"{sign}{rows:,} ({patients:,})"


def siblings(found: Evaluation) -> PrintedTable | None:
    """Make the table of performance by overlap with the training table; None without overlap."""
    if found.siblings is None or not found.siblings.leaks:
        return None
    lines: list[Line] = []
    for name, part in (("patients with other rows in training", found.with_siblings),
                       ("patients without", found.without_siblings),
                       ("neither rows nor patients in training", found.unseen),
                       ("all", found.performance)):  # fmt: skip
        if part is None:
            lines.append((name, "0", "0", "–", "–", "–"))
            continue
        m = part.metrics
        lines.append((name, f"{m.n_rows:,}", f"{m.n_patients:,}", f"{int(m.confusion.trace()):,}", m.accuracy.text(),
                      _area(part)))  # fmt: skip
    return PrintedTable(
        "By other rows in training",
        "Performance by whether other rows of the patient are in the training table.",
        ("", "rows", "patients", "correct", "accuracy (95 %)", "macro AUC (95 %)"),
        tuple(lines),
    )


def patients_by_stage(found: Evaluation) -> PrintedTable:
    """Make Table 1 by stage."""
    lines = tuple((label_of(line.variable), line.level, *line.cells) for line in found.description)
    return PrintedTable(
        "Patients by stage",
        "Patients by their highest stage; numbers as mean ± standard deviation and median (quartiles), texts as count "
        "(share of the known values).",
        ("", "", "all", *STAGES),
        tuple(lines),
    )


def patients_by_cohort(cohorts: Cohorts) -> PrintedTable | None:
    """Make Table 1 by cohort, with tests and standardised differences; None without a description."""
    if not cohorts.description:
        return None
    lines = tuple(
        (
            label_of(line.variable),
            line.level,
            *line.cells,
            p_text(line.p) if line.p is not None or line.test else "",
            line.test,
            "" if line.difference is None else f"{line.difference:.2f}",
        )
        for line in cohorts.description
    )
    return PrintedTable(
        "Patients by cohort",
        "Patients of each cohort; numbers as mean ± standard deviation and median (quartiles), texts as count (share "
        "of the known values). The standardised difference is the largest between two cohorts; above 0.1 it is "
        "commonly called an imbalance.",
        ("", "", *(part.name for part in cohorts.parts), "all", "p", "test", "standardised difference"),
        tuple(lines),
    )


def scanners(found: Evaluation) -> PrintedTable | None:
    """Make the table of CT acquisition (Table 4); None if it has no line."""
    if not found.scanners:
        return None
    cohorts = () if found.cohorts is None else tuple(part.name for part in found.cohorts.parts)
    return PrintedTable(
        "CT acquisition",
        "CT acquisition, from the headers of the images or columns of the table; in brackets the number of rows.",
        ("", *cohorts, "all"),
        tuple((line.parameter, *line.cells) for line in found.scanners),
    )


# -- performance ---------------------------------------------------------------------------------------------------

OVERALL = {
    "accuracy": "Accuracy",
    "kappa_plain": "Cohen's kappa",
    "kappa_linear": "linear kappa",
    "kappa_quadratic": "quadratic kappa",
    "mean_absolute_error": "Mean absolute stage error",
    "macro_f1": "macro F1",
    "over_staged": "Over-staged",
    "under_staged": "Under-staged",
}
SHARES = ("sensitivity", "specificity", "ppv", "npv")
SHARE_NAMES = ("sensitivity", "specificity", "PPV", "NPV")


def _area(part: Performance) -> str:
    return "–" if part.areas is None else part.areas.macro.text()


def overall(part: Performance) -> PrintedTable:
    """Make the table of the measures over all stages."""
    estimates: list[tuple[str, Estimate, int]] = [(w, getattr(part.metrics, name), 3) for name, w in OVERALL.items()]
    if part.areas is not None:
        estimates += [("macro AUC", part.areas.macro, 4), ("micro AUC", part.areas.micro, 4)]
    lines = tuple((words, one.text(digits), one.method) for words, one, digits in estimates)
    return PrintedTable("Overall", "All stages together, with 95 % intervals.",
                        ("", "estimate (95 %)", "interval by"), lines)  # fmt: skip


def by_stage(part: Performance) -> PrintedTable:
    """Make the table of the measures by stage and at the boundaries between stages."""
    areas = {} if part.areas is None else {**part.areas.per_class, **part.areas.boundaries}
    lines = []
    for name, one in {**part.metrics.per_class, **part.metrics.boundaries}.items():
        shares = (one.sensitivity, one.specificity, one.ppv, one.npv, one.f1)
        lines.append(
            (name, f"{one.n_positive:,}", *(s.text() for s in shares), *([areas[name].text()] if areas else []))
        )
    return PrintedTable(
        "By stage",
        "One stage versus the others, and at the boundaries between stages; with 95 % intervals.",
        ("", "n", *SHARE_NAMES, "F1", *(["AUC"] if areas else [])),
        tuple(lines),
    )


def by_cohort(found: Evaluation) -> PrintedTable:
    """Make Table 2: a line for each cohort, then all rows, the measures of T1 to T4 in one cell."""
    lines = tuple(
        (
            f"{name} (n = {part.metrics.n_rows:,})",
            _percent(part.metrics.accuracy),
            _area(part),
            *(" / ".join(_percent(getattr(part.metrics.per_class[s], share)) for s in STAGES) for share in SHARES),
        )
        for name, part in _parts(found)
    )
    return PrintedTable(
        "Performance by cohort",
        "Performance by cohort, in percent, of T1 / T2 / T3 / T4 versus the other stages; n is the number of rows.",
        ("", "accuracy (%)", "macro AUC (95 %)", *(f"{name} (%)" for name in SHARE_NAMES)),
        lines,
    )


def _parts(found: Evaluation) -> Iterator[tuple[str, Performance]]:
    if found.cohorts is not None:
        yield from ((part.name, part.performance) for part in found.cohorts.parts)
    yield "all", found.performance


def _percent(one: Estimate) -> str:
    return "–" if one.value is None else f"{100 * one.value:.1f}"


def stages_by_cohort(cohorts: Cohorts) -> PrintedTable:
    """Make the table of Table 2 with the interval of every measure."""
    lines = []
    for part in cohorts.parts:
        areas = part.performance.areas
        for stage in STAGES:
            one = part.performance.metrics.per_class[stage]
            lines.append(
                (part.name, stage, f"{one.n_positive:,}", *(getattr(one, share).text() for share in SHARES),
                 "–" if areas is None else areas.per_class[stage].text())
            )  # fmt: skip
    return PrintedTable(
        "Performance by cohort and stage",
        "One stage versus the others in each cohort, with 95 % intervals.",
        ("", "stage", "n", *SHARE_NAMES, "AUC"),
        tuple(lines),
    )


def heterogeneity(cohorts: Cohorts) -> PrintedTable | None:
    """Make the table of the tests of differences between cohorts; None without a test."""
    if not cohorts.heterogeneity:
        return None
    return PrintedTable(
        "Differences between cohorts",
        "Tests of the differences between cohorts; I² is the share of the variation beyond chance. Few cohorts give "
        "little power: no significant difference is no proof of equality.",
        ("", "statistic", "df", "p", "p (Holm)", "I²", "test"),
        tuple(
            (one.measure, _number(one.statistic, 2), str(one.df), p_text(one.p), p_text(one.p_holm),
             "–" if one.i2 is None else f"{100 * one.i2:.0f} %", one.method)
            for one in cohorts.heterogeneity
        ),
    )  # fmt: skip


def early(found: Evaluation) -> PrintedTable | None:
    """Make the table of the rows with true stage T1 or T2; None without such rows."""
    if found.early is None:
        return None
    m, areas = found.early.metrics, found.early.areas
    above = int(m.confusion[:2, 2:].sum())
    lines: list[Line] = [
        ("rows (patients)", f"{m.n_rows:,} ({m.n_patients:,})"),
        ("accuracy", m.accuracy.text()),
        ("sensitivity of T1", m.per_class["T1"].sensitivity.text()),
        ("sensitivity of T2", m.per_class["T2"].sensitivity.text()),
        ("over-staged", m.over_staged.text()),
        ("under-staged", m.under_staged.text()),
        ("staged as T3 or T4", f"{above:,} of {m.n_rows:,}"),
    ]
    if areas is not None:
        lines.append(("AUC of T2 against T1", areas.boundaries["T2-4 against T1"].text()))
    return PrintedTable("T1 and T2", "Rows whose true stage is T1 or T2, with 95 % intervals.",
                        ("", "estimate (95 %)"), tuple(lines))  # fmt: skip


def group(name: str, part: Performance) -> Line:
    """Make the line of a subgroup."""
    m, late = part.metrics, part.metrics.boundaries["T3-4 against T1-2"]
    return (name, f"{m.n_rows:,}", f"{m.n_patients:,}", m.accuracy.text(), _area(part), m.kappa_quadratic.text(),
            late.sensitivity.text(), late.specificity.text())  # fmt: skip


def groups(found: Evaluation) -> Iterator[tuple[str, PrintedTable]]:
    """Yield each column of subgroups with its table."""
    head = ("", "rows", "patients", "accuracy", "macro AUC", "quadratic kappa", "sensitivity T3–4", "specificity T3–4")
    for column, levels in found.groups.items():
        lines = tuple(group(name, one) for name, one in levels.items())
        label = label_of(column)
        lower = label if label[1:2].isupper() else label[:1].lower() + label[1:]
        yield column, PrintedTable(f"By {lower}", "With 95 % intervals.", head, lines)


# -- calibration and decisions -------------------------------------------------------------------------------------


def _cohort_parts(found: Evaluation) -> tuple[CohortEvaluation, ...]:
    return () if found.cohorts is None else found.cohorts.parts


def _events(one: Calibration) -> Iterator[Line]:
    for e in one.events:
        yield (e.event, e.intercept.text(2), e.slope.text(2), e.ece.text(), e.brier.text(),
               p_text(e.hosmer_lemeshow.p))  # fmt: skip


_EVENT_HEAD = ("intercept", "slope", "ECE", "Brier", "Hosmer–Lemeshow p")


def calibration(one: Calibration) -> PrintedTable:
    """Make the table of the calibration of each event."""
    return PrintedTable("Calibration of each event", f"Intercept 0 and slope 1 are ideal. {one.definition}",
                        ("", *_EVENT_HEAD), tuple(_events(one)))  # fmt: skip


def calibration_by_cohort(found: Evaluation) -> PrintedTable | None:
    """Make the table of the calibration of each event in each cohort; None without one."""
    parts = [(part.name, part.calibration) for part in _cohort_parts(found) if part.calibration is not None]
    if not parts:
        return None
    lines = [(name, *line) for name, one in parts for line in _events(one)]
    return PrintedTable("Calibration by cohort", "Calibration of each event in each cohort.",
                        ("", "event", *_EVENT_HEAD), tuple(lines))  # fmt: skip


def joint_tests(one: Calibration) -> PrintedTable:
    """Make the table of the joint tests of the four probabilities."""
    lines = tuple(
        (name, _number(test.statistic, 2), str(test.df or "–"), p_text(test.p))
        for name, test in _joint(one).items()
    )  # fmt: skip
    return PrintedTable("All four stages together", "Joint tests of the four probabilities.",
                        ("", "statistic", "df", "p"), lines)  # fmt: skip


def undefined_tests(one: Calibration) -> list[str]:
    """Return the tests of calibration without a p value, with the reason."""
    tests = {**{event.event: event.hosmer_lemeshow for event in one.events}, **_joint(one)}
    return [f"{name}: {test.method}" for name, test in tests.items() if test.p is None]


def _joint(one: Calibration) -> dict[str, Any]:
    return {
        "Multinomial (Fagerland, Hosmer & Bofin 2008)": one.multinomial,
        "Ordinal (Fagerland & Hosmer 2013)": one.ordinal,
    }


def temperature(one: Calibration) -> PrintedTable:
    """Make the table of temperature scaling."""
    scaling = one.scaling
    lines = tuple(
        (name, getattr(scaling.before, field).text(), getattr(scaling.after, field).text())
        for name, field in (("Log loss", "log_loss"), ("ECE of the top stage", "ece"), ("Brier", "brier"))
    )
    return PrintedTable(
        "Temperature",
        "Temperature scaling, fitted and applied to different patients. Temperature of all patients: "
        f"{scaling.temperature.text(2)}: {scaling.temperature.method}.",
        ("", "before", "after"),
        lines,
    )


def treatment(found: Evaluation) -> PrintedTable:
    """Make the table of over- and under-treatment by the model, other models and readers."""
    return PrintedTable(
        "Treatment",
        "Treating every patient with a predicted stage of T3 or more; with 95 % intervals. The NNT is net: the number "
        "of patients staged for one net correct treatment, TP − FP.",
        ("", "rows", "over-treatment", "under-treatment", "net NNT"),
        tuple(_treatment(found.decisions)),
    )


def treatment_by_cohort(found: Evaluation) -> PrintedTable | None:
    """Make the same table for each cohort; None without cohorts."""
    if not (parts := _cohort_parts(found)):
        return None
    lines = [(part.name, *line) for part in parts for line in _treatment(part.decisions)]
    return PrintedTable(
        "Treatment by cohort",
        "The same in each cohort.",
        ("", "by", "rows", "over-treatment", "under-treatment", "net NNT"),
        tuple(lines),
    )


def _treatment(decided: Decisions) -> Iterator[Line]:
    for name, one in decided.treatment.items():
        counts = ", ".join(f"{kind.upper()}\u00a0{getattr(one, kind):,}" for kind in ("tp", "fp", "fn", "tn"))
        yield shown_name(name), counts, one.over.text(2, percent=True), one.under.text(2, percent=True), one.nnt.text(2)


# -- attention -----------------------------------------------------------------------------------------------------


def attention(study: AttentionStudy) -> PrintedTable:
    """Make the table of the agreement of attention and ROI by stage."""

    def cell(one: Any) -> str:
        if one.median is None:
            return f"– (n = {one.n})"
        median, q1, q3 = (f"{x:.3g}" if x < 1000 else f"{x:,.0f}" for x in (one.median, one.q1, one.q3))
        return f"{one.mean.text()}; {median} ({q1} to {q3}), n = {one.n}"

    lines = tuple(
        (label_of(name), *(cell(levels[k]) for k in ("all", *STAGES)), p_text(study.trends[name].p))
        for name, levels in study.measures.items()
    )
    return PrintedTable(
        "Agreement of attention and ROI",
        "Mean with 95 % interval, median (quartiles).",
        ("", "all", *STAGES, "trend p"),
        lines,
    )


def dice_by_cohort(found: Evaluation) -> PrintedTable | None:
    """Make the table of the mean Dice by stage in each cohort; None without one."""
    studies = [(part.name, part.attention) for part in _cohort_parts(found) if part.attention is not None]
    if not studies:
        return None

    def cell(one: Any) -> str:
        return f"– (n = {one.n})" if one.median is None else f"{one.mean.text()}, n = {one.n}"

    lines = tuple((name, *(cell(study.measures["dice"][k]) for k in ("all", *STAGES))) for name, study in studies)
    return PrintedTable("Dice by cohort", "Mean Dice of attention and ROI by stage in each cohort, with 95 % interval.",
                        ("", "all", *STAGES), lines)  # fmt: skip


def against_baselines(study: AttentionStudy) -> PrintedTable | None:
    """Make the table of Dice compared with its baselines; None without a baseline."""
    if not study.against:
        return None
    return PrintedTable(
        "Compared with baselines",
        "Dice minus the Dice of a region of the same area, chosen without reading the slice: pixels at random in the "
        "body (chance), a centred disc (blob), the place where the ROIs of the training cases lie most often (mean "
        "mask).",
        ("", "stage", "rows", "mean difference (95 %)", "p"),
        tuple(
            (BASELINE_NAMES[baseline], name, str(one.n), one.difference.text(), p_text(one.p))
            for baseline, levels in study.against.items()
            for name, one in levels.items()
        ),
    )


__all__ = [
    "HOSMER_LEMESHOW",
    "PrintedTable",
    "against_baselines",
    "attention",
    "by_cohort",
    "by_stage",
    "calibration",
    "calibration_by_cohort",
    "dice_by_cohort",
    "early",
    "flow",
    "groups",
    "heterogeneity",
    "joint_tests",
    "overall",
    "p_text",
    "patients_by_cohort",
    "patients_by_stage",
    "scanners",
    "siblings",
    "stages_by_cohort",
    "temperature",
    "treatment",
    "treatment_by_cohort",
    "undefined_tests",
]
