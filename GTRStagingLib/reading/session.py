"""Let a reader read: one session on a reader's folder, which decides what may be shown and when.

Panel and browser use it. They show an `Item` and nothing else of the folder, and hand back an `Answer`. Every answer is
on the disk when `Session.answer` returns. A session is used by one thread at a time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from GTRStagingLib import __version__
from GTRStagingLib.errors import InputError, OutputError, StagingError
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.reading.advice import Advice
from GTRStagingLib.reading.answers import Answer, Mark, Seen
from GTRStagingLib.reading.course import (
    ANSWER,
    CLOSED,
    OPENED,
    PAUSED,
    RESUMED,
    REVISION,
    SHOWN,
    Course,
    course_of,
    opening,
)
from GTRStagingLib.reading.designs import AIDED, TRAINING
from GTRStagingLib.reading.log import Log, time_text, utc_now
from GTRStagingLib.reading.plan import PLAN, Plan, PlannedItem, Rules, advice_file, map_file, read_plan
from GTRStagingLib.reading.seals import MANIFEST, read_manifest, require_sealed
from GTRStagingLib.support.files import read_json, sha256_of
from GTRStagingLib.support.folder_lock import locked_folder

LOG, LOCK = "log.jsonl", ".reading.lock"

State = Literal["reading", "paused", "washing out", "finished", "closed"]
READING: State = "reading"
PAUSE: State = "paused"
WASHING_OUT: State = "washing out"
FINISHED: State = "finished"
ENDED: State = "closed"


@dataclass(frozen=True)
class Progress:
    """How far a reader is.

    Attributes
    ----------
    place, total
        Number of the case on the screen and of all, in this period; training cases are counted apart.
    practice
        Whether these are training cases.
    opens
        When the second period may begin, in the state 'washing out'.
    """

    place: int
    total: int
    period: int
    phase: str
    practice: bool = False
    opens: datetime | None = None

    def __str__(self) -> str:
        return f"{'practice ' * self.practice}{self.place} of {self.total}"


@dataclass(frozen=True)
class Item:
    """Case that is on the screen, with everything that may be shown of it.

    Attributes
    ----------
    place
        Number of the case in its period, training cases included.
    code
        Name of the case for this reader. It is not to be displayed: a repeat has the code of its first reading.
    practice
        Whether it is a training case.
    image, series
        For `imaging.scans.read_scan`.
    slices
        Number of axial slices.
    key_slice
        Index of the axial slice to mark, 0 nearest the feet; None if the design marks none.
    advice
        Parts of the model's advice to show; None in the unaided phase.
    """

    place: int
    code: str
    phase: str
    practice: bool
    image: Path
    series: str | None
    slices: int
    key_slice: int | None
    advice: Advice | None


@contextmanager
def open_session(
    folder: Path,
    reader: str,
    *,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator["Session"]:
    """Open a session on a reader's folder; no other session can be open on it inside the block.

    Parameters
    ----------
    folder
        `readers/NAME` of a study.
    reader
        Name that the reader gives; it must be the one that the folder is made for.
    now, clock
        Time of the machine, and seconds that never fall.

    Raises
    ------
    InputError
        If the folder is of another reader, in use by another session, or was changed; if its log was changed; or if
        the clock is behind the log.
    OutputError
        If the log cannot be written.
    """
    if not (folder / PLAN).is_file():
        raise InputError(f"{folder.name} has no {PLAN}; expected the folder of a reader in a study. Choose it.")
    busy = f"Another session is open on {folder.name}; expected one at a time. Close the other window or program."
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(folder / LOCK, busy))
        except OSError as error:
            raise OutputError(
                f"{folder.name} cannot be written to ({error.strerror}); expected a writable folder for the answers. "
                "Check its permissions and the free space."
            ) from error
        session = Session(folder, reader, now, clock)
        try:
            yield session
        finally:
            session.close()


class Session:
    """Session of a reader, see `open_session`.

    Attributes
    ----------
    state
        'reading', 'paused', 'washing out' (the second period must not begin yet, see `proceed`), 'finished', or
        'closed' after the end of the session.
    item
        Case to show; None in the other states.
    """

    def __init__(self, folder: Path, reader: str, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self.folder = folder
        seals = read_manifest(folder)
        require_sealed(folder, PLAN, seals.files.get(PLAN))
        self.plan: Plan = read_plan(folder)
        if reader != self.plan.reader:
            raise InputError(
                f"The folder is of another reader than {reader!r}; expected the name that it is made for. Check the "
                "name, or ask the organiser for your folder."
            )
        if missing := seals.missing(folder):
            raise InputError(
                f"{missing[0]} is missing ({len(missing)} of {len(seals.files)} files); expected the folder as it was "
                "handed out. Copy it again from the organiser's folder, and keep the log."
            )
        self._seals, self._clock = seals, clock
        self._log = Log(folder / LOG, now)
        self._log.time()  # the clock is checked before anything is shown
        self._manifest = sha256_of(folder / MANIFEST)
        course = self._course
        if course.faults:
            raise InputError(f"{course.faults[0]} Put back the log of this reader, or tell the organiser.")
        if any(one != self._manifest for one in course.manifests):
            raise InputError(
                f"{MANIFEST} is another one than when the reading began; expected the folder as it was handed out. "
                "Copy the folder again, and keep its log."
            )
        self.state: State = READING
        self.item: Item | None = None
        self._hidden: Item | None = None
        self._opens: datetime | None = None
        self._index = course.answered
        self._seconds, self._since, self._answered = 0.0, clock(), False
        self._append(OPENED, software=__version__, manifest=self._manifest)
        self._go_to(self._index)

    # -- what is shown ---------------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """Rules of the design for front-ends."""
        return self.plan.rules

    @property
    def progress(self) -> Progress:
        """How far the reader is."""
        items = self.plan.items
        at = items[min(self._index, len(items) - 1)]
        alike = [one for one in items if one.period == at.period and (one.kind == TRAINING) == (at.kind == TRAINING)]
        return Progress(
            alike.index(at) + 1, len(alike), at.period, at.phase, practice=at.kind == TRAINING, opens=self._opens
        )

    @property
    def answered(self) -> bool:
        """Whether the case on the screen has an answer."""
        return self._answered

    def _go_to(self, index: int) -> None:
        """Display an item, or wait, or finish."""
        if index >= len(self.plan.items):
            self.state, self.item, self._index = FINISHED, None, index
            return
        opens = opening(self.plan, self._course, index)
        if opens is not None and self._log.time() < opens:
            self.state, self.item, self._index, self._opens = WASHING_OUT, None, index, opens
            return
        item = self._item(self.plan.items[index])
        self._append(SHOWN, item=index, advice=[] if item.advice is None else list(item.advice.parts))
        self.state, self.item, self._index, self._opens = READING, item, index, None
        self._answered, self._seconds, self._since = False, 0.0, self._clock()

    def _item(self, at: PlannedItem) -> Item:
        case = self.plan.cases[at.code]
        if case.digest is None:
            image = self._sealed_path(case.image)
        else:
            image = _require_reference(Path(case.image), case.series, case.digest)
        return Item(
            place=at.place,
            code=at.code,
            phase=at.phase,
            practice=at.kind == TRAINING,
            image=image,
            series=case.series,
            slices=case.slices,
            key_slice=case.key_slice if self.rules.marks_key_slice else None,
            advice=self._advice(at.code) if at.phase == AIDED else None,
        )

    def _advice(self, code: str) -> Advice:
        name, drawn = advice_file(code), None
        if not (self.folder / name).is_file() and name in self._seals.later:
            raise InputError(
                "The advice of the model is not in the folder yet; expected it for the aided phase. Ask the organiser "
                "for the folder 'advice', and copy it into yours."
            )
        path = self._sealed_path(name)
        if "map" in self.rules.shows:
            drawn = self._sealed_path(map_file(code))
        return Advice.of(read_json(path, "the advice for a case"), drawn).only(self.rules.shows)

    def _sealed_path(self, name: str) -> Path:
        return require_sealed(self.folder, name, self._seals.files.get(name))

    # -- what the reader does --------------------------------------------------------------------------------------

    def displayed(self) -> None:
        """State that the case is on the screen now: seconds count from here, not from the loading of the image."""
        self._require(READING)
        if not self._answered:
            self._seconds, self._since = 0.0, self._clock()

    def answer(self, answer: Answer) -> None:
        """Write the answer to the case on the screen to the disk.

        It can be given again until `next`; all answers stand in the log, and the last one counts.

        Raises
        ------
        InputError
            If no case is on the screen, or the answer is about slices that the case does not have.
        OutputError
            If it cannot be written; the case stays open.
        """
        item = self._require(READING)
        _require_slices(answer, item.slices)
        seconds = round(self._seconds + self._clock() - self._since, 3)
        self._append(ANSWER, item=self._index, seconds=max(0.0, seconds), answer=answer.to_json())
        self._answered = True

    def next(self) -> None:
        """Go to the following case; the answer is then closed, unless the design lets it be changed.

        Raises
        ------
        InputError
            If the case on the screen has no answer, or a file of the following case was changed.
        OutputError
            If the log cannot be written.
        """
        self._require(READING)
        if not self._answered:
            raise InputError("The case has no answer; expected a stage and a confidence. Answer it first.")
        self._go_to(self._index + 1)

    def proceed(self) -> None:
        """Display the first case of the second period, if its time has come; do nothing in the other states."""
        if self.state == WASHING_OUT:
            self._go_to(self._index)

    def pause(self) -> None:
        """Stop the clock and hide the case."""
        self._require(READING)
        self._append(PAUSED, item=self._index)
        self._seconds += self._clock() - self._since
        self.state, self._hidden, self.item = PAUSE, self.item, None

    def resume(self) -> None:
        """Show the case again after a pause."""
        if self.state != PAUSE:
            raise InputError(f"The session is {self.state}; expected a pause. Go on reading.")
        self._append(RESUMED, item=self._index)
        self.state, self.item, self._since = READING, self._hidden, self._clock()

    @property
    def answers(self) -> tuple[tuple[int, Answer], ...]:
        """Place and final answer of the earlier cases of this period, if the design lets them be changed."""
        if not self.rules.may_revise:
            return ()
        period = self.progress.period
        return tuple(
            (one.item.place, one.answers[-1].answer)
            for one in self._course.readings[: self._index]
            if one.item.period == period
        )

    def name_of(self, place: int) -> str:
        """Return how readers know a case of this period: 'practice 2', or '12' without the training cases."""
        items = [one for one in self.plan.items if one.period == self.progress.period]
        practice = sum(one.kind == TRAINING for one in items)
        return f"practice {place}" if place <= practice else str(place - practice)

    def revise(self, place: int, answer: Answer) -> None:
        """Write another answer to an earlier case of this period, if the design allows it; both stand.

        Raises
        ------
        InputError
            If the design does not allow it, or no earlier case has this place.
        OutputError
            If it cannot be written.
        """
        if not self.rules.may_revise:
            raise InputError("The design does not let answers be changed after the next case; expected one answer.")
        places = {one: i for i, one in enumerate(self.plan.items[: self._index])}
        found = [i for one, i in places.items() if one.place == place and one.period == self.progress.period]
        if not found or self.state in (PAUSE, ENDED):
            raise InputError(
                f"Case {place} cannot be changed now; expected an earlier case of this period. Choose one."
            )
        _require_slices(answer, self.plan.cases[self.plan.items[found[0]].code].slices)
        self._append(REVISION, item=found[0], answer=answer.to_json())

    def close(self) -> None:
        """Write that the session ends; a session that is closed cannot go on."""
        if self.state == ENDED:
            return
        with suppress(StagingError):  # the answers are on the disk; the next session writes that it was opened
            self._append(CLOSED)
        self.state, self.item = ENDED, None

    def _require(self, state: State) -> Item:
        if self.state != state or self.item is None:
            opens = "" if self._opens is None else f" until {time_text(self._opens)}"
            raise InputError(f"The session is {self.state}{opens}; expected a case on the screen. Open it again later.")
        return self.item

    def _append(self, kind: str, **data: object) -> None:
        self._log.append(kind, data)

    @property
    def _course(self) -> Course:
        return course_of(self.plan, self._log.entries)


def _require_reference(image: Path, series: str | None, digest: str) -> Path:
    """Return the path of a CT that is referred to; raise `InputError` unless it is the planned one."""
    try:
        found = read_scan(image, series=series).digest
    except StagingError as error:
        raise InputError(
            f"The CT of this case cannot be read; expected it where the study refers to it. {error}",
            details=str(image),
        ) from error
    if found != digest:
        raise InputError(
            "The CT of this case is another one than the study was designed with; expected the same files. Tell the "
            "organiser.",
            details=str(image),
        )
    return image


def _require_slices(answer: Answer, slices: int) -> None:
    asked = [*answer.seen.slices, *(() if answer.mark is None else (answer.mark.slice,))]
    if asked and max(asked) >= slices:
        raise InputError(f"The answer names slice {max(asked)}; expected an index below {slices}. Report this error.")


__all__ = ["FINISHED", "LOCK", "LOG", "PAUSE", "READING", "WASHING_OUT", "Answer", "Item", "Mark", "Progress", "Seen",
           "Session", "State", "open_session"]  # fmt: skip
