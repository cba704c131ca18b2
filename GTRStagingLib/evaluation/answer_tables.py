"""Make the tables of the answers of a reader study: for the report, and as rows of files."""

from collections.abc import Iterator
from dataclasses import asdict

from GTRStagingLib.evaluation.answer_analysis import AnswerAnalysis
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.evaluation.report_tables import Line, PrintedTable, p_text
from GTRStagingLib.stages import TStage
from GTRStagingLib.stats.advice_taking import SHARES, Taking
from GTRStagingLib.stats.estimates import Estimate
from GTRStagingLib.stats.reader_study import PAIRED, PHASES, ReaderStudy
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.column_words import label_of

Rows = list[dict[str, str | float | None]]

NAMES = {
    "wrong_taken": "wrong advice taken",
    "right_ignored": "right advice ignored",
    "switched_to_wrong": "switched to the wrong advice",
    "switched_to_right": "switched to the right stage",
}


def rows_of_files(found: AnswerAnalysis | None) -> dict[str, Rows]:
    """Return the tables of answers: file name without ending -> rows."""
    if found is None:
        return {}
    files: dict[str, Rows] = {
        "reader_times": [
            {"reader": one.reader, "phase": one.phase, "n": one.n, "missing": one.missing, "median_s": one.median,
             "q1_s": one.q1, "q3_s": one.q3}
            for one in found.times
        ],
        "reader_confidence": [
            {"reader": one.reader, "phase": one.phase, "n_right": one.n_right, "n_wrong": one.n_wrong,
             "measure": name, **getattr(one, name).to_json()}
            for one in found.confidence for name in ("mean_right", "mean_wrong", "auc")
        ],
        "reader_repeats": [
            {"reader": one.reader, "n": one.n, "n_patients": one.n_patients, "measure": name,
             **getattr(one, name).to_json()}
            for one in found.constancy for name in ("agreement", "kappa_linear", "kappa_quadratic")
        ],
        "reader_places": [
            {"measure": one.measure, "n_taken": one.n_first, "n_not_taken": one.n_second, "mean_taken": one.first,
             "mean_not_taken": one.second, **one.difference.to_json()}
            for one in found.places
        ],
        "reader_wrong_advice": [asdict(one) for one in found.wrong_advice],
    }  # fmt: skip
    if found.advice is not None:
        files["reader_advice"] = [
            {"reader": one.reader, "measure": name, "n": n, **estimate.to_json()}
            for one in found.advice.rows for name, n, estimate in _measures(one)
        ]  # fmt: skip
        files["reader_changes"] = [{"reader": one.reader, **line} for one in found.advice.rows for line in one.changes]
    if found.deviations:
        files["reader_deviations"] = [dict(one) for one in found.deviations]
    return {name: rows for name, rows in files.items() if rows}


def _measures(one: Taking) -> Iterator[tuple[str, int, Estimate]]:
    yield "wrong_taken", one.n_wrong, one.wrong_taken
    yield "wrong_agreed_alone", one.n_wrong_alone, one.wrong_agreed_alone
    yield "wrong_excess", one.n_wrong_alone if one.design == PAIRED else one.n_wrong, one.wrong_excess
    yield "right_ignored", one.n_right, one.right_ignored
    yield "right_differed_alone", one.n_right_alone, one.right_differed_alone
    yield "right_excess", one.n_right_alone if one.design == PAIRED else one.n_right, one.right_excess
    yield "switched_to_wrong", one.n_right_before, one.switched_to_wrong
    yield "switched_to_right", one.n_wrong_before, one.switched_to_right


# -- the report --------------------------------------------------------------------------------------------------------


def supplementary_table(study: ReaderStudy) -> PrintedTable:
    """Make the article's Supplementary Table 1: readers by phase, with numbers of over- and under-staged cases."""

    def share(one: Estimate) -> str:
        return "–" if one.value is None else f"{100 * one.value:.1f}"

    def cases(one: Estimate, n: int) -> str:
        return "–" if one.value is None else f"{round(one.value * n):,} ({100 * one.value:.1f})"

    readings = [(row.reader, phase, one) for row in study.rows for phase, one in
                zip(PHASES, (row.unaided, row.aided), strict=True)]  # fmt: skip
    if study.model is not None:
        readings.append((study.model.name, "alone", study.model))
    return PrintedTable(
        "Supplementary Table 1",
        "Staging by readers without and with the model, and by the model alone. Accuracy and "
        "weighted (quadratic) kappa with 95 % intervals; sensitivity of each stage in per cent; numbers of over- and "
        "under-staged cases (per cent). The other intervals are in the tables below.",
        ("", "phase", "cases", "accuracy", "weighted kappa", *(f"{stage} (%)" for stage in TStage), "over-staged",
         "under-staged"),
        tuple(
            (shown_name(name), phase, f"{one.n_rows:,}", one.accuracy.text(1, percent=True),
             one.kappa_quadratic.text(2),
             *(share(one.sensitivity[str(stage)]) for stage in TStage), cases(one.over_staged, one.n_rows),
             cases(one.under_staged, one.n_rows))
            for name, phase, one in readings
        ),
    )  # fmt: skip


def printed(found: AnswerAnalysis | None) -> tuple[PrintedTable, ...]:
    """Return the tables of the answers for the report."""
    return () if found is None else tuple(_printed(found))


def _printed(found: AnswerAnalysis) -> Iterator[PrintedTable]:
    if found.advice is not None:
        yield from _advice(found.advice.rows)
        if found.advice.over_readers:
            yield PrintedTable(
                "Taking of advice, readers as a sample",
                "Means over readers of their shares, with 95 % intervals that apply to similar readers (random) and to "
                "these readers (fixed), by Obuchowski and Rockette.",
                ("", "random readers", "fixed readers"),
                tuple((NAMES[name], *(one.estimate.text(1, percent=True) for one in found.advice.over_readers[name]))
                      for name in SHARES),
            )  # fmt: skip
    if found.wrong_advice:
        yield PrintedTable(
            "Wrong advice by case",
            "Cases with wrong advice by true and advised stage: taken by all, by some and by none of the readers who "
            "saw it; answers with this advice, and the share of them that are the advised stage.",
            ("", "cases", "by all", "by some", "by none", "answers", "taken (%)"),
            tuple((one.truth if one.truth == "all" else f"true {one.truth}, advised {one.advised}",
                   *(f"{n:,}" for n in (one.cases, one.by_all, one.by_some, one.by_none, one.answers)),
                   f"{100 * one.taken / one.answers:.1f}") for one in found.wrong_advice),
        )  # fmt: skip
    if found.places:
        yield PrintedTable(
            "Where the map lay",
            "Means in answers that took wrong advice and in answers that did not, of all readers, and their difference "
            "with 95 % interval by patients. The columns are those of the batch; the map was seen only where it was "
            "shown.",
            ("", "taken", "n", "not taken", "n", "difference"),
            tuple((label_of(one.measure), _mean(one.first), f"{one.n_first:,}", _mean(one.second), f"{one.n_second:,}",
                   one.difference.text()) for one in found.places),
        )  # fmt: skip
    yield PrintedTable(
        "Seconds for a case",
        "Seconds from display to answer, without pauses: median (quartiles). Cases that were displayed again after an "
        "interruption, and answers that were changed after the next case, count as missing. Ratio: geometric mean of "
        "aided / unaided, with 95 % interval by patients.",
        ("", *(f"{phase}{what}" for phase in PHASES for what in ("", ", n (missing)")), "ratio", "mean difference (s)"),
        tuple(_times(found)),
    )
    if found.confidence:
        yield PrintedTable(
            "Confidence",
            "Mean confidence (0 to 100) of right and of wrong answers, and AUC: the share of pairs of a right and a "
            "wrong answer in which the right one was given with more confidence. 95 % intervals by patients.",
            ("", "phase", "right answers", "n", "wrong answers", "n", "AUC"),
            tuple((shown_name(one.reader), one.phase, one.mean_right.text(1), f"{one.n_right:,}",
                   one.mean_wrong.text(1), f"{one.n_wrong:,}", one.auc.text()) for one in found.confidence),
        )  # fmt: skip
    if found.constancy:
        yield PrintedTable(
            "Agreement of readers with themselves",
            "Second readings of the same cases in the same phase, both phases together, with 95 % intervals by "
            "patients. An answer that changes here changes without advice.",
            ("", "repeats", "patients", "same stage", "linear kappa", "quadratic kappa"),
            tuple((shown_name(one.reader), f"{one.n:,}", f"{one.n_patients:,}", one.agreement.text(1, percent=True),
                   one.kappa_linear.text(), one.kappa_quadratic.text()) for one in found.constancy),
        )  # fmt: skip
    yield PrintedTable(
        "Agreement between readers",
        "On the cases that all readers have read in the phase, with 95 % intervals by patients: share of the pairs of "
        "readers with the same stage, Fleiss' kappa, and the mean quadratic kappa of all pairs (Light).",
        ("", "cases", "same stage", "Fleiss' kappa", "quadratic kappa"),
        tuple((one.phase, f"{one.n:,}", one.agreement.text(1, percent=True), one.fleiss.text(),
               one.kappa_quadratic.text()) for one in found.concord),
    )  # fmt: skip


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _advice(rows: tuple[Taking, ...]) -> Iterator[PrintedTable]:
    def excess(one: Estimate, p: float | None) -> str:
        return one.text(1, percent=True) + ("" if p is None else f"; p\u00a0{p_text(p)}")

    yield PrintedTable(
        "Automation bias: wrong advice",
        "Taken: share of the wrong advice whose answer is that of the advice. Without it: the same share of the "
        "reader's answers without advice, since agreement by one's own judgement is no bias. Excess: taken minus "
        "without it, on the cases with both answers where there are such cases. Switched: share of the cases that were "
        "right without advice in which the answer became the wrong advice. 95 % intervals by patients.",
        ("", "wrong advice", "taken", "without it", "n", "excess", "right before", "switched"),
        tuple((shown_name(one.reader), f"{one.n_wrong:,}", one.wrong_taken.text(1, percent=True),
               one.wrong_agreed_alone.text(1, percent=True), f"{one.n_wrong_alone:,}",
               excess(one.wrong_excess, one.wrong_p), f"{one.n_right_before:,}",
               one.switched_to_wrong.text(1, percent=True)) for one in rows),
    )  # fmt: skip
    yield PrintedTable(
        "Help by right advice",
        "Ignored: share of the right advice whose answer is another stage. Without it: the same share of the reader's "
        "answers without advice. Change: ignored minus without it, as above. Corrected: share of the cases that were "
        "wrong without advice in which the answer became right. 95 % intervals by patients.",
        ("", "right advice", "ignored", "without it", "n", "change", "wrong before", "corrected"),
        tuple((shown_name(one.reader), f"{one.n_right:,}", one.right_ignored.text(1, percent=True),
               one.right_differed_alone.text(1, percent=True), f"{one.n_right_alone:,}",
               excess(one.right_excess, one.right_p), f"{one.n_wrong_before:,}",
               one.switched_to_right.text(1, percent=True)) for one in rows),
    )  # fmt: skip


def _times(found: AnswerAnalysis) -> Iterator[Line]:
    by_reader = {(one.reader, one.phase): one for one in found.times}
    for change in found.time_changes:
        cells = []
        for phase in PHASES:
            one = by_reader[change.reader, phase]
            known = one.median is not None
            cells += [f"{one.median:.0f} ({one.q1:.0f} to {one.q3:.0f})" if known else "not defined",
                      f"{one.n:,} ({one.missing:,})"]  # fmt: skip
        yield shown_name(change.reader), *cells, change.ratio.text(2), change.difference.text(1)


def words(found: AnswerAnalysis | None) -> tuple[str, ...]:
    """Return what was shown, the versions of the software, and the deviations from the protocol, as sentences."""
    if found is None:
        return ()
    shown = "; ".join(f"{parts or 'nothing of the model'} in {n:,}" for parts, n in found.shown.items())
    sentences = [f"Answers of {found.source}. Displayed in aided first readings: {shown or 'none was given'}."]
    if found.without_advice:
        sentences.append(
            f"In {counted(found.without_advice, 'aided reading')} no stage of the model was displayed; they do not "
            "tell whether advice is taken."
        )
    if found.advice is None:
        sentences.append("No answer was given with a stage of the model, so the taking of advice is not estimable.")
    if not found.constancy:
        sentences.append("No case was read twice, so the agreement of readers with themselves is not estimable.")
    sentences.append(f"Versions of the software: {', '.join(found.software) or 'not known'}.")
    if found.deviations is None:
        sentences.append("There is no deviations.csv beside the answers: whether the protocol was kept is not known.")
    else:
        number = sum(one["severity"] == "deviation" for one in found.deviations)
        notes = len(found.deviations) - number
        sentences.append(f"The protocol: {counted(number, 'deviation')}, {counted(notes, 'note')}.")
        sentences += [
            f"{label_of(one['severity'])}{', ' + one['reader'] if one['reader'] else ''}: {one['sentence']}"
            for one in found.deviations
        ]
    return tuple(sentences)


__all__ = ["printed", "rows_of_files", "supplementary_table", "words"]
