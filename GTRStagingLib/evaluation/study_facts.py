"""Derive the facts of a reader study as sentences for the checklist DECIDE-AI; unknown facts are left out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from GTRStagingLib.evaluation.answer_analysis import AnswerAnalysis
from GTRStagingLib.evaluation.evaluate import Evaluation
from GTRStagingLib.evaluation.predictions import Predictions
from GTRStagingLib.evaluation.readings import shown_name
from GTRStagingLib.evaluation.stage_sets import CARD
from GTRStagingLib.reading.deviations import DEVIATION
from GTRStagingLib.stats.mrmc import RANDOM
from GTRStagingLib.stats.reader_study import ALL, PAIRED, PARTLY, PHASES, UNPAIRED, ReaderStudy
from GTRStagingLib.support.counts import counted

GAIN = " − ".join(reversed(PHASES))
"""Name of the effect of the advice in the analysis of several readers."""

CASES: Mapping[str, str] = {
    PAIRED: "each reader has read the same cases in both phases",
    UNPAIRED: "the phases have other patients",
    PARTLY: "the phases have some of the same cases or patients",
}


def study_facts(found: Evaluation) -> dict[str, str]:
    """Return the known facts of a reader study by their keys in `checklists.FACTS`; empty without one."""
    if found.study is None:
        return {}
    return dict(chain(_of_study(found.study), _of_model(found), [] if found.answers is None else _of_answers(found)))


def _of_study(study: ReaderStudy) -> Iterator[tuple[str, str]]:
    readers = [row for row in study.rows if row.reader != ALL]
    each = "; ".join(f"{shown_name(row.reader)} {row.unaided.n_rows:,} unaided and {row.aided.n_rows:,} aided"
                     for row in readers)  # fmt: skip
    yield "study_readers", f"{counted(len(readers), 'reader')}, with cases: {each}."
    both = " and ".join(f"{phase} {one.accuracy.text(1, percent=True)}" for phase, one in
                        (("unaided", study.rows[-1].unaided), ("aided", study.rows[-1].aided)))  # fmt: skip
    gain = next((one.estimate for one in study.rows[-1].gains if one.measure == "accuracy"), None)
    words = f"Accuracy of all readings {both}" + ("" if gain is None else f"; gain {gain.text(1, percent=True)}") + "."
    random = [effect for one in study.mrmc if one.measure == "accuracy" for effect in one.effects
              if effect.readers == RANDOM and effect.name == GAIN]  # fmt: skip
    if random:
        words += f" With readers as a sample, the gain is {random[0].estimate.text(1, percent=True)}."
    yield "study_performance", f"{words} Every reader stands in Supplementary Table 1."


def _of_model(found: Evaluation) -> Iterator[tuple[str, str]]:
    if found.models:
        cards = _cards(found.predictions)
        yield (
            "study_model",
            f"The predictions are of the model {', '.join(found.models)}"
            + (f", model card sha256 {', '.join(cards)}" if cards else "")
            + f". {found.model_warning or 'The table has no warning about the model.'}",
        )


def _cards(found: Predictions) -> list[str]:
    column = found.spelt(CARD)
    return [] if column is None else sorted(set(found.texts(column)) - {None})


def _of_answers(found: Evaluation) -> Iterator[tuple[str, str]]:
    answers, study = found.answers, found.study
    assert answers is not None  # noqa: S101 (checked by the caller)
    assert study is not None  # noqa: S101
    yield (
        "study_training",
        f"{counted(answers.training, 'answer')} to training cases, which are not analysed."
        if answers.training
        else "No training cases were read in the study.",
    )
    yield (
        "study_setting",
        "The readings were made in the sessions of a reader study, on cases whose true stages the organiser has; this "
        "is no live use in care.",
    )
    yield "study_design", " ".join(_design(answers, study))
    if answers.shown:
        shown = "; ".join(f"{parts or 'nothing of the model'} in {n:,}" for parts, n in answers.shown.items())
        yield "study_advice", f"Displayed in aided first readings: {shown}."
    if answers.deviations is not None:
        yield "study_protocol", _protocol(answers)
    if (change := answers.time_changes[-1]).ratio.value is not None:
        yield "study_times", f"Seconds for a case, aided / unaided: {change.ratio.text(2)}, of all readers."
    if answers.software:
        models = f" Models of the predictions: {', '.join(found.models)}." if found.models else ""
        yield "study_versions", f"Versions of the software in the answers: {', '.join(answers.software)}.{models}"
    if answers.advice is not None:
        yield from _of_advice(found)


def _design(answers: AnswerAnalysis, study: ReaderStudy) -> Iterator[str]:
    """Yield what is known of the order of the phases, their cases, the time between them, and the answers."""
    starts = Counter(answers.first_phases.values())
    if starts:
        each = ", ".join(f"{phase} by {counted(n, 'reader')}" for phase, n in sorted(starts.items(), reverse=True))
        yield f"Read first: {each}."
    designs = {row.overlap.design for row in study.rows if row.reader != ALL}
    if len(designs) == 1:
        words = CASES[designs.pop()]
        yield f"{words[0].upper()}{words[1:]}."
    if answers.pauses:
        least, most = min(answers.pauses.values()), max(answers.pauses.values())
        days = f"{least:.1f}" if f"{least:.1f}" == f"{most:.1f}" else f"{least:.1f} to {most:.1f}"
        yield f"Days from the last answer of the first period to the first answer of the second: {days}."
    yield "Each answer is the stage that the reader decided on, after the advice where it was displayed."


def _protocol(answers: AnswerAnalysis) -> str:
    kinds = Counter(one["kind"] for one in answers.deviations or () if one["severity"] == DEVIATION)
    if not kinds:
        return "No deviation from the protocol was found in the logs."
    return "Deviations from the protocol: " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()) + "."


def _of_advice(found: Evaluation) -> Iterator[tuple[str, str]]:
    assert found.answers is not None  # noqa: S101 (checked by the caller)
    assert found.answers.advice is not None  # noqa: S101
    one = found.answers.advice.rows[-1]
    yield (
        "study_errors_defined",
        f"Advice is wrong if its stage is not the one in column {found.predictions.columns.truth!r}; it was taken if "
        "the final answer to the first aided reading is the advised stage.",
    )
    yield (
        "study_errors",
        f"The advice was wrong in {one.n_wrong:,} of {one.n_wrong + one.n_right:,} answers with a displayed stage; "
        f"taken {one.wrong_taken.text(1, percent=True)}, the same answer unaided "
        f"{one.wrong_agreed_alone.text(1, percent=True)}.",
    )
    yield (
        "study_agreement",
        f"Wrong advice taken {one.wrong_taken.text(1, percent=True)}, right advice ignored "
        f"{one.right_ignored.text(1, percent=True)}; changed to the wrong advice {_of(one.n_right_before)}"
        f"{one.switched_to_wrong.text(1, percent=True)}, corrected by right advice {_of(one.n_wrong_before)}"
        f"{one.switched_to_right.text(1, percent=True)}.",
    )


def _of(n: int) -> str:
    return f"(of {counted(n, 'answer')}) "


__all__ = ["study_facts"]
