"""List every answer of a study as rows of one table, see docs/reference/tables.md."""

from collections.abc import Iterator, Mapping

from GTRStagingLib.batch.columns import PROBABILITIES
from GTRStagingLib.reading.course import Course, Given, Reading
from GTRStagingLib.reading.log import time_text
from GTRStagingLib.reading.organiser import Study
from GTRStagingLib.stages import TStage

COLUMNS = ("reader", "case_id", "patient_id", "centre", "true_stage", "phase", "period", "kind", "place", "answer",
           "final", "after_next", "stage", "substage", "confidence", "seconds", "views", "time", "advice_shown",
           "advice_stage", "advice_set", *(f"advice_{name}" for name in PROBABILITIES), "slices", "slices_seen",
           "key_slice_seen", "window_level", "window_width", "mark_slice", "mark_x_mm", "mark_y_mm", "mark_z_mm",
           "remarks", "software")  # fmt: skip
"""Columns of `readings.csv`, in their order."""

Cell = str | float | None


def reading_rows(study: Study, courses: Mapping[str, Course], truth: Mapping[str, TStage]) -> list[dict[str, Cell]]:
    """Return a row for each answer, by reader and in the order of the readings.

    Parameters
    ----------
    courses
        Reader -> what was done.
    truth
        Case id -> true stage.
    """
    return [
        row
        for reader, course in courses.items()
        for one in course.readings
        for row in _rows_of(study, reader, one, truth)
    ]


def _rows_of(study: Study, reader: str, one: Reading, truth: Mapping[str, TStage]) -> Iterator[dict[str, Cell]]:
    case = study.cases[study.case_ids[reader][one.item.code]]
    stage, advice = truth.get(case.case_id), study.advice[case.case_id]
    shares: tuple[float | None, ...] = advice.probabilities or (None,) * len(PROBABILITIES)
    whole: dict[str, Cell] = {
        "reader": reader,
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "centre": case.centre,
        "true_stage": None if stage is None else stage.name,
        "phase": one.item.phase,
        "period": one.item.period,
        "kind": one.item.kind,
        "place": one.item.place,
        "views": len(one.shown),
        "advice_shown": " ".join(one.advice) or None,
        "advice_stage": None if advice.stage is None else advice.stage.name,
        "advice_set": advice.stage_set,
        **{f"advice_{name}": share for name, share in zip(PROBABILITIES, shares, strict=True)},
        "slices": case.slices,
    }
    for number, given in enumerate(one.answers, start=1):
        row = whole | _answer(given) | {"answer": number, "final": _yes(number == len(one.answers))}
        seen = given.answer.seen.slices
        row["key_slice_seen"] = None if case.key_slice is None else _yes(case.key_slice in seen)
        yield {name: row[name] for name in COLUMNS}


def _answer(given: Given) -> dict[str, Cell]:
    answer = given.answer
    centre: tuple[float | None, ...] = (None,) * 3 if answer.mark is None else answer.mark.centre_mm
    return {
        "after_next": _yes(given.after_next),
        "stage": answer.stage.name,
        "substage": answer.substage,
        "confidence": answer.confidence,
        "seconds": given.seconds,
        "time": time_text(given.time),
        "slices_seen": len(answer.seen.slices),
        "window_level": answer.seen.window_level,
        "window_width": answer.seen.window_width,
        "mark_slice": None if answer.mark is None else answer.mark.slice,
        **dict(zip(("mark_x_mm", "mark_y_mm", "mark_z_mm"), centre, strict=True)),
        "remarks": " ".join(answer.remarks.split()) or None,
        "software": given.software,
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


__all__ = ["COLUMNS", "Cell", "reading_rows"]
