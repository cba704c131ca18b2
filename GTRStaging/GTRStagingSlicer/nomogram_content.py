"""Decide what the panel's nomogram shows, without Qt: from terms, values and a reading to texts, states and tables.

`nomogram_view` makes the controls, and writes it into the widgets.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from GTRStagingLib.errors import InputError
from GTRStagingLib.nomogram.effects import effects
from GTRStagingLib.nomogram.nomogram import REFERENCE, Nomogram, Term
from GTRStagingSlicer import tables
from GTRStagingSlicer.nomograms import Status
from GTRStagingSlicer.result_content import Bar, Cells, bars
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _

NONE, FROM_SCENE = 0, 1
"""Indices in the selector: of no nomogram, and of the scene's nomogram if this computer does not have it."""

FEWEST_STEPS = 50
"""Least number of steps of a slider over a term's range."""

REFUSED = "border: 2px solid #b00020;"
"""Style of the field of a value that the term refuses."""


# -- the choice of a nomogram --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """Entries of the selector, index of the chosen one, and what is stated about it; empty without a nomogram."""

    entries: Sequence[str]
    index: int
    about: str


def selection(nomogram: Nomogram | None, local_name: str | None, names: Sequence[str]) -> Selection:
    """Return what the selector shows.

    Parameters
    ----------
    nomogram
        The chosen nomogram; None without one.
    local_name
        Name under which this computer has it, if it does.
    names
        Nomograms of this computer.
    """
    if nomogram is None:
        return Selection([_("None"), *names], NONE, "")
    if local_name is None or local_name not in names:
        own = _("{name} (of this scene)").format(name=nomogram.name)
        return Selection([_("None"), own, *names], FROM_SCENE, about(nomogram))
    return Selection([_("None"), *names], 1 + list(names).index(local_name), about(nomogram))


def about(nomogram: Nomogram) -> str:
    """Return the source of a nomogram, and its odds ratios with intervals and p values."""
    lines = [one.sentence for one in effects(nomogram) if not one.is_reference]
    return "\n".join([nomogram.source, _("Odds ratios of a higher stage (95 % interval):"), *lines])


# -- controls of the terms -----------------------------------------------------------------------------------------


def label_of(term: Term) -> str:
    """Return the label of a term: its name and unit."""
    unit = term.unit and f" ({term.unit})"
    return f"{term.label}{unit}:"


def tip_of(term: Term) -> str:
    """Return the tooltip of a term, which states range and reference."""
    if term.is_choice:
        return _("{label}; odds ratio compared with {reference}.").format(
            label=term.label, reference=term.reference or "–"
        )
    return _("{label}, {low:g} to {high:g} {unit}; odds ratio compared with {typical:g}.").format(
        label=term.label, low=term.range[0], high=term.range[1], unit=term.unit, typical=term.typical
    )


def choices(term: Term) -> dict[str | None, str]:
    """Return the entries of a term with levels as value -> label, where None is no value."""
    return {None: _("not given"), REFERENCE: _("left out"), **{level: level for level in term.levels}}


@dataclass(frozen=True)
class Scale:
    """Steps of a slider over a term's range: `low`, and the number of decimals of a step."""

    low: float
    high: float
    decimals: int

    @property
    def maximum(self) -> int:
        """Number of steps."""
        return round((self.high - self.low) * 10**self.decimals)

    def step_of(self, value: object) -> int:
        """Return the step nearest to a value; the first for what is not a finite number."""
        at = min(max(value, self.low), self.high) if isinstance(value, float) and math.isfinite(value) else self.low
        return round((at - self.low) * 10**self.decimals)

    def value_of(self, step: int) -> float:
        """Return the value of a step."""
        return round(self.low + step * 10**-self.decimals, self.decimals)


def scale_of(term: Term) -> Scale:
    """Return the steps of a term's slider, at least about `FEWEST_STEPS`.

    Examples
    --------
    >>> scale_of(Term("size_cm", "Tumour size", "cm", 0.3, (0.0, 15.0)))
    Scale(low=0.0, high=15.0, decimals=1)
    """
    low, high = term.range
    return Scale(low, high, max(0, math.ceil(math.log10(FEWEST_STEPS / (high - low)))))


@dataclass(frozen=True)
class NumberContent:
    """State of the controls of a number.

    Attributes
    ----------
    left_out
        Whether the box *left out* is ticked.
    text, placeholder, tip, style
        Of the text field; style and tip mark a value that the term refuses.
    step
        Of the slider.
    enabled
        Whether slider and text field can be used.
    """

    left_out: bool
    text: str
    placeholder: str
    tip: str
    style: str
    step: int
    enabled: bool


def number_content(term: Term, value: str | float | None, *, locked: bool) -> NumberContent:
    """Return the state of the controls of a number; `locked` is that of a computed one."""
    left_out, refused = value == REFERENCE, refusal(term, value)
    text = "" if value is None or left_out else f"{value:.4g}" if isinstance(value, float) else value
    return NumberContent(
        left_out=left_out,
        text=text,
        placeholder=_("left out") if left_out else _("not given"),
        tip=refused or tip_of(term),
        style=REFUSED if refused else "",
        step=scale_of(term).step_of(value),
        enabled=not left_out and not locked,
    )


def refusal(term: Term, value: str | float | None) -> str:
    """Return why a term refuses a value; empty if it takes it, or without a value."""
    try:
        if value is not None:
            term.accepted(value)
    except InputError as error:
        return plain(error)
    return ""


# -- the reading ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadingContent:
    """What stands below the controls.

    Attributes
    ----------
    warnings, message
        Plain texts; empty without one.
    read
        Whether there is a reading to show.
    stage, network
        Stages by the nomogram and by the network, as HTML; empty without a reading: a stage of earlier values must not
        come back.
    bars
        Stage -> its bar.
    table
        Contributions of the factors.
    """

    warnings: str
    message: str
    read: bool = False
    stage: str = ""
    network: str = ""
    bars: Mapping[str, Bar] = field(default_factory=lambda: dict.fromkeys(tables.STAGES, Bar(0, "")))
    table: Cells = field(default_factory=Cells)


def reading_content(status: Status | None, error: str = "") -> ReadingContent:
    """Return what is shown of a status; `error` is why there is none."""
    if status is None:
        return ReadingContent("", error)
    reading = status.reading
    if reading is None:
        return ReadingContent(plain("\n".join(status.nomogram.warnings)), status.reason)
    image = _("from the image alone") if status.network else _("no up-to-date result")
    rows = [*tables.nomogram_rows(status.nomogram, reading), (_("Total"), "", f"{reading.total_points:.1f}", "", "")]
    heads = [_("Factor"), _("Value"), _("Points"), _("Odds ratio"), _("Reference")]
    return ReadingContent(
        warnings=plain("\n".join(reading.warnings)),
        message=status.reason,
        read=True,
        stage=_large(_("By the nomogram"), str(reading.stage), _("with the values above")),
        network=_large(_("By the network"), status.network or "–", image),
        bars=bars(reading.probabilities),
        table=Cells(heads, rows),
    )


def _large(source: str, stage: str, how: str) -> str:
    """Return a stage in large letters between its source and how it was found, as HTML."""
    return f"{source}<br><span style='font-size: 22px; font-weight: bold;'>{stage}</span><br>{how}"


__all__ = [
    "FEWEST_STEPS",
    "FROM_SCENE",
    "NONE",
    "REFUSED",
    "NumberContent",
    "ReadingContent",
    "Scale",
    "Selection",
    "about",
    "choices",
    "label_of",
    "number_content",
    "reading_content",
    "refusal",
    "scale_of",
    "selection",
    "tip_of",
]
