"""Follow what a reader has done, from the plan and the log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.answers import Answer
from GTRStagingLib.reading.log import Entry
from GTRStagingLib.reading.plan import Plan, PlannedItem, texts_of
from GTRStagingLib.support.fields import Fields

OPENED, SHOWN, ANSWER, REVISION, PAUSED, RESUMED, CLOSED = (
    "opened", "shown", "answer", "revision", "paused", "resumed", "closed",
)  # fmt: skip
"""Kinds of entries."""


@dataclass(frozen=True)
class Given:
    """An answer as it was written.

    Attributes
    ----------
    seconds
        From the display to the answer, without pauses; None for one that was changed after the next case.
    after_next
        Whether the next case had been displayed.
    software
        Version that wrote it.
    """

    answer: Answer
    time: datetime
    seconds: float | None
    after_next: bool
    software: str


@dataclass(frozen=True)
class Reading:
    """What a reader has done with one planned reading.

    Attributes
    ----------
    shown
        When it was displayed; more than once after an interruption.
    advice
        Parts of the advice that were displayed with it.
    answers
        In their order; the last one is final.
    """

    item: PlannedItem
    shown: tuple[datetime, ...] = ()
    advice: tuple[str, ...] = ()
    answers: tuple[Given, ...] = ()


@dataclass(frozen=True)
class Course:
    """What a reader has done.

    Attributes
    ----------
    readings
        In the order of the plan.
    order
        Indices of the plan's items in the order in which they were first displayed.
    manifests
        Hashes of the folder that was opened, each once.
    software
        Versions, each once.
    faults
        Sentences on entries that do not belong to the plan.
    """

    readings: tuple[Reading, ...]
    order: tuple[int, ...] = ()
    manifests: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    faults: tuple[str, ...] = field(default=())

    @property
    def answered(self) -> int:
        """Number of readings with an answer before the first without."""
        return next((i for i, one in enumerate(self.readings) if not one.answers), len(self.readings))

    def ended(self, period: int) -> datetime | None:
        """Return the time of the last answer or display of a period; None without one."""
        times = [
            time
            for one in self.readings
            if one.item.period == period
            for time in (*one.shown, *(given.time for given in one.answers))
        ]
        return max(times, default=None)


def course_of(plan: Plan, entries: Sequence[Entry]) -> Course:
    """Return what a reader has done."""
    shown: dict[int, list[datetime]] = {}
    advice: dict[int, tuple[str, ...]] = {}
    answers: dict[int, list[Given]] = {}
    manifests, versions, faults, software = dict[str, None](), dict[str, None](), list[str](), ""
    for entry in entries:
        try:
            fields = Fields(entry.data, f"entry {entry.number}")
            if entry.kind == OPENED:
                software = fields.text("software")
                versions[software] = manifests[fields.text("manifest")] = None
            elif entry.kind in (SHOWN, ANSWER, REVISION):
                item = fields.whole("item", most=len(plan.items) - 1)
                if entry.kind == SHOWN:
                    shown.setdefault(item, []).append(entry.time)
                    advice[item] = texts_of(fields, "advice")
                    continue
                after = entry.kind == REVISION
                seconds = None if after else fields.number("seconds", least=0)
                answer = Answer.of(fields.data.get("answer") or {})
                answers.setdefault(item, []).append(Given(answer, entry.time, seconds, after, software))
        except InputError as error:
            faults.append(f"Entry {entry.number} of the log: {error}")
    return Course(
        readings=tuple(
            Reading(item, tuple(shown.get(i, ())), advice.get(i, ()), tuple(answers.get(i, ())))
            for i, item in enumerate(plan.items)
        ),
        order=tuple(shown),
        manifests=tuple(manifests),
        software=tuple(versions),
        faults=tuple(faults),
    )


def opening(plan: Plan, course: Course, index: int) -> datetime | None:
    """Return when an item may be displayed; None if nothing is to be waited for."""
    period = plan.items[index].period
    ended = None if period == 1 else course.ended(period - 1)
    started = any(one.shown for one in course.readings if one.item.period == period)
    return None if ended is None or started else ended + timedelta(days=plan.rules.washout_days)


__all__ = ["ANSWER", "CLOSED", "OPENED", "PAUSED", "RESUMED", "REVISION", "SHOWN", "Course", "Given", "Reading",
           "course_of", "opening"]  # fmt: skip
