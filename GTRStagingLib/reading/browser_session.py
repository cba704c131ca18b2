"""Let one page in a browser use a session: what it gets of a case, and what it may do, as plain data.

`Session` decides what may be shown. This module names the case on the screen by a key, so that a page that is behind
cannot answer another case, and lets one page act at a time.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from threading import RLock
from typing import Any

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.advice import Advice
from GTRStagingLib.reading.answers import Answer, Mark, Seen
from GTRStagingLib.reading.log import time_text
from GTRStagingLib.reading.session import PAUSE, READING, Item, Session
from GTRStagingLib.reading.viewer_images import ViewerImages, viewer_images
from GTRStagingLib.support.fields import Fields

Data = Mapping[str, Any]


class StalePageError(InputError):
    """Raised for a page that shows another case than the session, or was followed by another page."""


class BrowserSession:
    """Session that one page of a browser uses; its methods may be called from several threads.

    Parameters
    ----------
    session
        Open session, which nothing else uses.

    Examples
    --------
    >>> from GTRStagingLib.reading.browser_session import BrowserSession
    >>> sorted(BrowserSession.ACTIONS)
    ['answer', 'displayed', 'next', 'pause', 'proceed', 'resume', 'revise', 'seen']
    """

    ACTIONS = ("answer", "displayed", "next", "pause", "proceed", "resume", "revise", "seen")
    """What a page may ask for, see `act`."""

    def __init__(self, session: Session) -> None:
        self._session, self._lock = session, RLock()
        self._page = ""  # the page that was opened last
        self._closed = False
        self._key = ""
        self._images: ViewerImages | None = None
        self._displayed, self._seen = False, frozenset[int]()
        self._given: dict[str, Any] | None = None  # the answer to the case on the screen, as the page gave it

    def open(self) -> dict[str, Any]:
        """Let a new page act in place of the former one; return its name and the state.

        Raises
        ------
        InputError
            After `close`.
        """
        with self._lock:
            self._require_open()
            self._page = secrets.token_urlsafe(9)
            return {"page": self._page, **self._state()}

    def act(self, action: str, data: Data) -> dict[str, Any]:
        """Do what a page asks for, and return the state after it.

        Parameters
        ----------
        action
            One of `ACTIONS`.
        data
            'page', the name that `open` gave; 'key' of the case on the screen; and what the action needs: 'answer' and
            'next' (whether to go on) for an answer, 'place' and 'answer' for a revision, 'seen' for what was seen.

        Raises
        ------
        StalePageError
            If another page was opened, or the page shows another case.
        InputError, OutputError
            As the session does; InputError after `close`.
        """
        with self._lock:
            self._require_open()
            self._require_page(str(data.get("page")))
            if action in ("answer", "displayed", "next", "pause", "seen"):
                self._require_key(str(data.get("key")))
            if action == "answer":
                self._answer(Fields(data, "the request"))
            elif action == "displayed":
                self._display()
            elif action == "revise":
                self._revise(Fields(data, "the request"))
            elif action == "seen":
                self._see(_seen_of(data.get("seen")))
            else:
                {"next": self._session.next, "pause": self._session.pause, "resume": self._session.resume,
                 "proceed": self._session.proceed}[action]()  # fmt: skip
            return self._state()

    def images(self, page: str, key: str) -> ViewerImages:
        """Return the images of the case on the screen.

        Raises
        ------
        StalePageError
            If another page was opened, or the page shows another case.
        InputError
            If no case is on the screen, or its images cannot be read.
        """
        with self._lock:
            self._require_open()
            self._require_page(page)
            self._require_key(key)
            return self._shown_images()

    def close(self) -> None:
        """Wait for what a page is doing, and refuse what follows, so that the session can be closed."""
        with self._lock:
            self._closed = True

    # -- what a page gets ------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        session, progress = self._session, self._session.progress
        if self._key != (key := f"{progress.period}-{session.item.place}" if session.item else self._key):
            self._key, self._images, self._given = key, None, None
            self._displayed, self._seen = False, frozenset()
        return {
            "state": session.state,
            "progress": str(progress),
            "reader": session.plan.reader,
            "phase": progress.phase,
            "opens": None if progress.opens is None else time_text(progress.opens),
            "item": None if session.item is None else self._item(session.item),
            "revisable": None if not session.rules.may_revise or session.state == PAUSE else self._revisable(),
        }

    def _item(self, item: Item) -> dict[str, Any]:
        rules = self._session.rules
        return {
            "key": self._key,
            "slices": item.slices,
            "key_slice": item.key_slice,
            "window": [rules.window_level, rules.window_width],
            "advice": None if item.advice is None else _advice(item.advice, rules.shows),
            "answer": self._given if self._session.answered else None,
        }

    def _revisable(self) -> list[dict[str, Any]]:
        """Return the earlier answers of this period, the last one first."""
        return [
            {
                "place": place,
                "name": self._session.name_of(place),
                "stage": answer.stage.name,
                "substage": answer.substage,
                "confidence": answer.confidence,
                "remarks": answer.remarks,
            }
            for place, answer in reversed(self._session.answers)
        ]

    # -- what a page does ------------------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            raise InputError("The session has ended; expected a running program. Start gtrstaging reading serve again.")

    def _require_page(self, page: str) -> None:
        if not self._page or page != self._page:
            raise StalePageError(
                "The study was opened in another tab or window; expected one at a time. Read on there, or here."
            )

    def _require_key(self, key: str) -> None:
        if self._session.state != READING or key != self._key:
            raise StalePageError(
                "This page is not about the case on the screen; expected the current one. Show the current case."
            )

    def _shown_images(self) -> ViewerImages:
        item = self._session.item
        if self._session.state != READING or item is None:
            raise InputError("No case is on the screen; expected one. Show the current case.")
        if self._images is None:
            self._images = viewer_images(item)
        return self._images

    def _display(self) -> None:
        """Start the clock of a case; once, so that a page that is loaded again does not set it back."""
        if not self._displayed:
            self._session.displayed()
            self._displayed = True

    def _see(self, seen: Seen) -> Seen:
        """Return what was seen of the case on the screen, with what earlier pages have reported."""
        item = self._session.item
        if item is not None and seen.slices and max(seen.slices) >= item.slices:
            raise InputError(f"Slice {max(seen.slices)} was seen; expected an index below {item.slices}. Report this.")
        self._seen |= frozenset(seen.slices)
        return replace(seen, slices=tuple(self._seen))

    def _answer(self, fields: Fields) -> None:
        given = fields.data.get("answer")
        answer = _answer_of(given, "the answer")
        seen = self._see(_seen_of(fields.data.get("seen")))
        drawn = None if not isinstance(given, dict) else given.get("mark")
        mark = None if drawn is None else self._mark(Fields(drawn, "the mark"))
        written = {**answer.to_json(), "mark": drawn, "seen": None}
        if not self._session.answered or written != self._given:  # a retry of a refused Next writes nothing again
            self._session.answer(replace(answer, mark=mark, seen=seen))
            self._given = written
        if fields.data.get("next") is True:
            self._session.next()

    def _mark(self, fields: Fields) -> Mark:
        index = fields.whole("slice")
        return Mark(
            index, (self._shown_images().position_mm(index, fields.number("column"), fields.number("row")),)
        )  # fmt: skip

    def _revise(self, fields: Fields) -> None:
        """Write another answer to an earlier case; mark and views stay, since the case is not shown again."""
        place, earlier = fields.whole("place", least=1), dict(self._session.answers)
        answer = _answer_of(fields.data.get("answer"), "the answer")
        if place in earlier:
            answer = replace(answer, mark=earlier[place].mark, seen=earlier[place].seen)
        self._session.revise(place, answer)


def _answer_of(data: Any, where: str) -> Answer:
    """Return stage, substage, confidence and remarks of an answer."""
    given = Fields(data, where)
    kept = {name: given.data.get(name) for name in ("stage", "substage", "confidence", "remarks")}
    return Answer.of({name: value for name, value in kept.items() if value is not None})


def _seen_of(data: Any) -> Seen:
    fields = Fields(data, "what was seen")
    slices = fields.data.get("slices")
    if not isinstance(slices, list):
        raise fields.error("slices", "a list of indices")
    return Seen(tuple(slices), fields.number("window_level", None), fields.number("window_width", None))


def _advice(advice: Advice, shows: tuple[str, ...]) -> dict[str, Any]:
    """Return the parts of the advice that the design shows; a part that this case lacks is None."""
    parts = {
        "stage": None if advice.stage is None else advice.stage.name,
        "votes": [one.name for one in advice.votes] or None,
        "probabilities": None if advice.probabilities is None else [round(p, 4) for p in advice.probabilities],
        "set": advice.stage_set,
        "map": advice.map is not None,
    }
    return {part: value for part, value in parts.items() if part in shows}


__all__ = ["BrowserSession", "StalePageError"]
