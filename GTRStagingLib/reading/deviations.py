"""Compare what readers did with what was designed, and state every deviation."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.course import Course, course_of
from GTRStagingLib.reading.designs import READING, REPEAT, UNAIDED
from GTRStagingLib.reading.log import (
    TOLERANCE,
    LogContent,
    fault_in_words,
    interruptions_in_words,
    read_log,
    time_text,
)
from GTRStagingLib.reading.organiser import Study
from GTRStagingLib.reading.plan import Plan
from GTRStagingLib.reading.seals import MANIFEST, read_manifest
from GTRStagingLib.reading.session import LOCK, LOG
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of

DEVIATION, NOTE = "deviation", "note"

LONG_STOP = timedelta(days=7)
"""Time without an entry within a period that is noted."""

IGNORED = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that operating systems leave in folders."""


@dataclass(frozen=True)
class Deviation:
    """What differs from the protocol ('deviation'), or is worth knowing ('note').

    Attributes
    ----------
    reader
        Empty if it concerns the study.
    """

    reader: str
    severity: str
    kind: str
    sentence: str


def course_and_deviations(study: Study, reader: str, now: datetime) -> tuple[Course, list[Deviation]]:
    """Return what a reader did, as far as the log holds, and every deviation from the plan.

    Answers of a log that belongs to another folder than the one that was handed out are left out, since their cases
    are not known; a deviation states it.
    """
    plan, folder = study.plans[reader], study.reader_folder(reader)
    nothing = course_of(plan, ())
    if not folder.is_dir():
        return nothing, [Deviation(reader, DEVIATION, "folder", "The folder of the reader is missing.")]
    found = [Deviation(reader, *rest) for rest in _of_files(study, reader, folder)]
    try:
        content = read_log(folder / LOG)
    except OSError as error:
        sentence = f"The log cannot be read ({error.strerror})."
        return nothing, [*found, Deviation(reader, DEVIATION, "log", sentence)]
    course = course_of(plan, content.entries)
    found += [Deviation(reader, *rest) for rest in _of_log(content, course, now)]
    if any(one != study.manifests[reader] for one in course.manifests):
        sentence = (
            f"The log was written in another folder than the one that was handed out; "
            f"{counted(sum(len(one.answers) for one in course.readings), 'answer')} left out."
        )
        return nothing, [*found, Deviation(reader, DEVIATION, "files", sentence)]
    return course, [*found, *(Deviation(reader, *rest) for rest in _of_course(plan, course))]


def _of_files(study: Study, reader: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    if not (folder / MANIFEST).is_file() or sha256_of(folder / MANIFEST) != study.manifests[reader]:
        yield DEVIATION, "files", f"{MANIFEST} is missing, or not the one that was handed out."
        return
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        yield DEVIATION, "files", str(error)
        return
    for name in manifest.changed(folder):
        yield DEVIATION, "files", f"{name} was changed after the study was designed."
    if missing := manifest.missing(folder):
        yield NOTE, "files", f"{counted(len(missing), 'file')} did not come back, as {missing[0]}."
    known = {*manifest.files, MANIFEST, LOG, LOCK}
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names - known):
        if name.rpartition("/")[2] not in IGNORED:
            yield NOTE, "files", f"{name} was added to the folder."


def _of_log(content: LogContent, course: Course, now: datetime) -> Iterator[tuple[str, str, str]]:
    for sentence in interruptions_in_words(content):
        yield NOTE, "interruption", sentence
    for sentence in fault_in_words(content):
        yield DEVIATION, "log", sentence
    for fault in course.faults:
        yield DEVIATION, "log", fault
    if content.entries and content.entries[-1].time > now + TOLERANCE:
        last, today = time_text(content.entries[-1].time), time_text(now)
        yield DEVIATION, "clock", f"The last entry is of {last}, later than now ({today}): a clock was wrong."
    if len(course.software) > 1:
        yield DEVIATION, "software", f"The versions {', '.join(course.software)} were used; one was expected."


def _of_course(plan: Plan, course: Course) -> Iterator[tuple[str, str, str]]:
    if list(course.order) != sorted(course.order):
        at = next(i for i, one in enumerate(course.order) if one != i)
        yield DEVIATION, "order", f"From the reading {at + 1} on, the order is not the planned one."
    if early := [one for one in course.readings if one.item.phase == UNAIDED and one.advice]:
        yield DEVIATION, "order", f"{counted(len(early), 'unaided case was', 'unaided cases were')} shown with advice."
    yield from _of_washout(plan, course)
    for period in (1, 2):
        own = [one for one in course.readings if one.item.period == period]
        for kind, what in ((READING, "missing"), (REPEAT, "repeats")):
            planned = [one for one in own if one.item.kind == kind]
            if unread := [one for one in planned if not one.answers]:
                yield (
                    DEVIATION,
                    what,
                    (
                        f"{len(unread)} of {counted(len(planned), kind)} of the period {period} "
                        f"({planned[0].item.phase}) {'has' if len(unread) == 1 else 'have'} no answer."
                    ),
                )
        times = sorted([time for one in own for time in (*one.shown, *(given.time for given in one.answers))])
        longest = max((b - a for a, b in pairwise(times)), default=timedelta())
        if longest > LONG_STOP:
            yield NOTE, "interruption", f"The reading stopped for {longest.days} days within the period {period}."
    changed = Counter(given.after_next for one in course.readings for given in one.answers[1:])
    if changed[False]:
        yield NOTE, "revision", f"{counted(changed[False], 'answer was', 'answers were')} changed before the next case."
    if changed[True]:
        severity = NOTE if plan.rules.may_revise else DEVIATION
        yield (
            severity,
            "revision",
            (
                f"{counted(changed[True], 'answer was', 'answers were')} changed after the next case; both stand, and "
                "the last one counts."
            ),
        )
    if again := sum(len(one.shown) > 1 for one in course.readings):
        yield NOTE, "interruption", f"{counted(again, 'case was', 'cases were')} displayed again after an interruption."


def _of_washout(plan: Plan, course: Course) -> Iterator[tuple[str, str, str]]:
    ended = course.ended(1)
    began = min((time for one in course.readings if one.item.period == 2 for time in one.shown[:1]), default=None)
    if began is None:
        return
    if any(one.shown and began < one.shown[-1] for one in course.readings if one.item.period == 1):
        yield DEVIATION, "order", "Cases of the first period were displayed after the second had begun."
    elif ended is not None and began - ended < timedelta(days=plan.rules.washout_days):
        days = (began - ended) / timedelta(days=1)
        yield (
            DEVIATION,
            "wash-out",
            (f"The second period began after {days:.1f} days; expected {plan.rules.washout_days:g} or more."),
        )


__all__ = ["DEVIATION", "NOTE", "Deviation", "course_and_deviations"]
