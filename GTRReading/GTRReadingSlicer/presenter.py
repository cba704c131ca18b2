"""Decide what the panel shows, without Qt: from facts of the session to visible and enabled widgets, and their texts.

Names are those of the widgets in `GTRReading.ui`.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from GTRStagingSlicer.words import tr as _

if TYPE_CHECKING:
    from GTRStagingLib.reading.advice import Advice
    from GTRStagingLib.reading.answers import Answer

ALARM = "QLabel { background-color: #b3001b; color: white; padding: 6px; }"
NOTE = "QLabel { padding: 6px; }"
"""Styles of a refusal and of a note; a refusal sets both colours, so that a dark Slicer does not change them."""

CLOSED, READING, PAUSED, WASHING_OUT, FINISHED = "closed", "reading", "paused", "washing out", "finished"
"""States of a session, see `GTRStagingLib.reading.session.State`; also of the panel without one."""

PHASES = {"unaided": _("without the model"), "aided": _("with the model's advice")}


@dataclass(frozen=True)
class Facts:
    """Facts about the session that the panel depends on.

    Attributes
    ----------
    displayed
        Whether the case is on the screen.
    readers
        Whether a study was chosen, so that there are names to choose from.
    place, total, practice, phase, opens
        As `reading.session.Progress` has them.
    slices, slice, key_slice
        Number of slices of the case, index of the one in the Red view (None: another plane), and of the marked one
        (None: the design marks none).
    advice
        Parts of the advice to show; None in the unaided phase.
    shows
        Names of the parts that the design shows.
    earlier
        Whether there are earlier answers that may be changed.
    """

    state: str = CLOSED
    displayed: bool = False
    readers: bool = False
    reader: str = ""
    place: int = 0
    total: int = 0
    practice: bool = False
    phase: str = "unaided"
    opens: datetime | None = None
    slices: int = 0
    slice: int | None = None
    key_slice: int | None = None
    advice: "Advice | None" = None
    shows: tuple[str, ...] = ()
    stage: str | None = None
    mark: bool = False
    placing: bool = False
    earlier: bool = False


@dataclass(frozen=True)
class Decision:
    """What the panel shows: names of widgets to show and to enable, of the ones that it decides on, and their texts."""

    visible: frozenset[str]
    enabled: frozenset[str]
    texts: dict[str, str] = field(default_factory=dict)


DECIDED = ("startBox", "readerSelector", "startButton", "progressLabel", "phaseLabel", "screenBox", "goOnButton",
           "caseBox", "keySliceButton", "adviceBox", "mapCheckBox", "unmarkButton", "pauseButton", "endButton",
           "T4aButton", "T4bButton", "earlierSection")  # fmt: skip
"""Widgets that `decide` shows and hides, or enables."""


def decide(facts: Facts) -> Decision:
    """Decide what the panel shows.

    Examples
    --------
    >>> decision = decide(Facts(state="paused", place=12, total=60))
    >>> decision.texts["progressLabel"], "caseBox" in decision.visible, decision.texts["goOnButton"]
    ('12 of 60', False, 'Go on')
    """
    shown = facts.state == READING and facts.displayed
    visible = {"readerSelector", "startButton", "T4aButton", "T4bButton", "phaseLabel"}
    visible |= {"startBox"} if facts.state == CLOSED else {"progressLabel", "endButton"}
    visible |= {"earlierSection"} if facts.earlier else set()
    texts = {"progressLabel": progress(facts), "phaseLabel": phase(facts)}
    if shown:
        visible |= {"caseBox", "pauseButton"}
        visible |= set() if facts.key_slice is None else {"keySliceButton"}
        visible |= {"unmarkButton"} if facts.mark or facts.placing else set()
        visible |= set() if facts.advice is None else {"adviceBox"}
        visible |= {"mapCheckBox"} if facts.advice is not None and facts.advice.map is not None else set()
        texts |= {"sliceLabel": slice_in_words(facts), "markButton": mark_in_words(facts)}
        texts["adviceLabel"] = "" if facts.advice is None else advice_table(facts.advice, facts.shows)
    elif facts.state != CLOSED:
        visible |= {"screenBox"}
        texts["screenLabel"], texts["goOnButton"] = screen(facts)
        visible |= {"goOnButton"} if texts["goOnButton"] else set()
    enabled = set(DECIDED) - {"readerSelector", "startButton", "T4aButton", "T4bButton"}
    enabled |= {"readerSelector"} if facts.readers else set()
    enabled |= {"startButton"} if facts.readers and facts.reader else set()
    enabled |= {"T4aButton", "T4bButton"} if facts.stage == "T4" else set()
    return Decision(frozenset(visible), frozenset(enabled), texts)


def progress(facts: Facts) -> str:
    """Return how far the reader is; training cases are counted apart."""
    if facts.state in (CLOSED, FINISHED):
        return ""
    text = _("Training case {place} of {total}: it is not analysed") if facts.practice else _("{place} of {total}")
    return str(text).format(place=facts.place, total=facts.total)


def phase(facts: Facts) -> str:
    """Return whether the model's advice is shown in this phase."""
    return "" if facts.state in (CLOSED, FINISHED) else str(PHASES[facts.phase])


def screen(facts: Facts) -> tuple[str, str]:
    """Return the text in place of the case, and the button below it; an empty one if there is nothing to do."""
    if facts.state == PAUSED:
        return _("Paused. The clock stands still, and the images are hidden."), _("Go on")
    if facts.state == WASHING_OUT:
        opens = "?" if facts.opens is None else f"{facts.opens.astimezone():%Y-%m-%d %H:%M}"
        text = _("The first part is done. The second part opens on {opens}. You can close Slicer until then.")
        return text.format(opens=opens), _("Look again")
    if facts.state == FINISHED:
        return _("All cases are read. Thank you. Press End, and give the folder back to the organiser."), ""
    return _("The case is not on the screen."), _("Show the case")


def slice_in_words(facts: Facts) -> str:
    """Return which slice the Red view shows, and whether it is the marked one."""
    if facts.slice is None:
        return str(_("The Red view shows no axial slice of the CT."))
    text = _("Slice {index} (0 to {last}), key slice") if facts.slice == facts.key_slice else _(
        "Slice {index} (0 to {last})"
    )  # fmt: skip
    return str(text).format(index=facts.slice, last=facts.slices - 1)


def mark_in_words(facts: Facts) -> str:
    """Return the text of the button that marks the tumour."""
    if facts.placing:
        return str(_("Click on the tumour"))
    return str(_("Mark again") if facts.mark else _("Mark tumour"))


def advice_rows(advice: "Advice", shows: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and value of each part of the advice that the design shows, but for the map."""
    given = {
        "stage": (_("Stage"), "" if advice.stage is None else advice.stage.name),
        "set": (_("Stage set"), advice.stage_set or ""),
        "votes": (_("Votes of slices"), " ".join(one.name for one in advice.votes)),
        "probabilities": (
            _("Probabilities"),
            ", ".join(f"T{i} {100 * share:.0f} %" for i, share in enumerate(advice.probabilities or (), start=1)),
        ),
    }
    return [(str(name), value or str(_("not given"))) for part, (name, value) in given.items() if part in shows]


def advice_table(advice: "Advice", shows: Sequence[str]) -> str:
    """Return `advice_rows` as HTML."""
    rows = (f"<tr><td>{html.escape(name)}&nbsp;&nbsp;</td><td><b>{html.escape(value)}</b></td></tr>"
            for name, value in advice_rows(advice, shows))  # fmt: skip
    return f"<table>{''.join(rows)}</table>"


def earlier_label(name: str, answer: "Answer") -> str:
    """Return an earlier answer as the list shows it."""
    return f"{name}: c{answer.substage or answer.stage.name}, {answer.confidence:.0f}"


def lacking_packages(names: str) -> str:
    """Return why nothing can be read without the library's packages; empty if none of them is missing."""
    if not names:
        return ""
    text = _(
        "GTR Reading needs packages that are missing in Slicer's Python: {names}. Choose a study: "
        "you are asked before they are installed."
    )
    return str(text).format(names=names)


__all__ = ["ALARM", "CLOSED", "DECIDED", "FINISHED", "NOTE", "PAUSED", "READING", "WASHING_OUT", "Decision", "Facts",
           "advice_rows", "advice_table", "decide", "earlier_label", "lacking_packages", "mark_in_words", "phase",
           "progress", "screen", "slice_in_words"]  # fmt: skip
