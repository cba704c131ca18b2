"""Decide what the panel's result shows, without Qt: from a record to texts, bars, tables and styles.

`result_view` writes it into the widgets.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from GTRStagingSlicer import presenter, records, tables
from GTRStagingSlicer.presenter import ALARM
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _

BOLD = "QLabel { font-weight: bold; }"
"""Style of the sentence on the map, unless its check has failed."""


@dataclass(frozen=True)
class Bar:
    """Bar of a probability: its length in thousandths, and the text on it."""

    value: int
    text: str


@dataclass(frozen=True)
class Cells:
    """Heads and rows of a table."""

    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class StageContent:
    """Content of section 3.

    Attributes
    ----------
    stage, details
        Plain texts.
    vote, likeness
        HTML.
    likeness_style, map_style
        Style sheets; an alarm for an unlike case and for a map whose check has failed.
    bars
        Stage -> its bar.
    warnings
        Plain text, one warning a line; empty without one.
    """

    stage: str
    vote: str
    likeness: str
    likeness_style: str
    bars: Mapping[str, Bar]
    votes: Cells
    map: str
    map_style: str
    details: str
    warnings: str


@dataclass(frozen=True)
class AgreementContent:
    """Content of section 5: a text as HTML, and a table, None if there is no agreement to show."""

    text: str
    table: Cells | None = None


def stage_content(record: Mapping[str, Any]) -> StageContent:
    """Return what section 3 shows of a record."""
    prediction, key, model = record["prediction"], record["key_slice"], record["model"]
    within = _("Stage set {words}").format(words=html.escape(tables.stage_set_in_words(prediction), quote=False))
    moved = _("If the key slice moves: {words}").format(words=tables.stability_in_words(prediction))
    meaning = meaning_of(prediction["stage"])
    familiarity = record["familiarity"]
    name, unlike = records.likeness_name(familiarity), familiarity["verdict"] == "unlike"
    words = html.escape(records.likeness_in_words(familiarity), quote=False)
    size = 44 if unlike else 13
    check = model["check"] or {}
    failed = (check.get("verdict"), check.get("method")) == ("failed", record["attention"]["method"])
    details = _("Key slice {index} at S {position:.1f} mm. Model {model}. {device}, {seconds:.1f} s.").format(
        index=key["index"],
        position=key["position_mm"],
        model=model["name"],
        device=record["provenance"]["device"],
        seconds=sum(record["timings_s"].values()),
    )
    return StageContent(
        stage=prediction["stage"],
        vote=f"<b>{tables.vote_in_words(prediction)}</b><br>{meaning}<br>{within}<br>{moved}",
        likeness=f'<span style="font-size: {size}px"><b>{name}</b></span><br>{words}',
        likeness_style=ALARM if unlike else "",
        bars=bars(prediction["probabilities"]),
        votes=_votes(prediction),
        map=" ".join((records.map_in_words(record), model["check_in_words"])),
        map_style=ALARM if failed else BOLD,
        details=details,
        warnings=plain("\n".join(presenter.warnings_beside(record))),
    )


def bars(probabilities: Sequence[float]) -> dict[str, Bar]:
    """Return the bar of each stage.

    Examples
    --------
    >>> bars([0.25, 0.5, 0.25, 0.0])["T2"]
    Bar(value=500, text='0.50')
    """
    both = zip(tables.STAGES, probabilities, strict=True)
    return {stage: Bar(round(1000 * share), f"{share:.2f}") for stage, share in both}


def _votes(prediction: Mapping[str, Any]) -> Cells:
    """Return the table of the slices' votes, the slice nearest the head first."""
    rows = []
    for one in sorted(prediction["slices"], key=lambda s: -s["offset"]):
        name = _("{index} (key)") if one["offset"] == 0 else "{index} ({offset:+d})"
        rows.append([name.format(**one), one["stage"], *(f"{p:.2f}" for p in one["probabilities"])])
    return Cells([_("Slice"), _("Vote"), *tables.STAGES], rows)


def agreement_content(record: Mapping[str, Any] | None, threshold: float) -> AgreementContent:
    """Return what section 5 shows at a threshold of the sweep, or why it is empty; the record may be None."""
    if record is None:
        return AgreementContent(_("Stage a case first."))
    agreement = record["agreement"]
    if agreement is None:
        return AgreementContent(_("No segment was chosen to compare the attention with."))
    sentences = records.agreement_in_words(agreement, threshold)
    rows = [[name, number(value, unit)] for name, value, unit in tables.agreement_rows(agreement, threshold)]
    hit = {True: _("yes"), False: _("no"), None: "–"}[agreement["pointing_hit"]]
    rows[tables.POINTING_ROW] = [_("Maximum lies in the ROI"), hit]
    text = "<br>".join(html.escape(one, quote=False) for one in sentences)
    return AgreementContent(text, Cells([_("Measure"), _("At the threshold")], rows))


def step_in_words(step: str) -> str:
    """Return the text that the panel shows during a step."""
    return {
        "loading": _("Loading the model and its packages …"),
        "reading": _("Reading the CT …"),
        "key slice": _("Finding the key slice …"),
        "preparation": _("Preparing the slices …"),
        "network": _("Running the network …"),
        "attention": _("Computing the attention …"),
        "agreement": _("Comparing with the segment …"),
        "showing": _("Showing the result …"),
    }.get(step, step)


def meaning_of(stage: str) -> str:
    """Describe a stage by the depth of the tumour: AJCC 8th edition, gastric cancer."""
    return {
        "T1": _("tumour no deeper than the submucosa"),
        "T2": _("tumour into the muscularis propria"),
        "T3": _("tumour into the subserosa, not through the serosa"),
        "T4": _("tumour through the serosa, or into neighbouring structures"),
    }[stage]


def number(value: float, unit: str) -> str:
    """Format a value with its unit: three decimals, one for lengths and areas, a dash if it is not defined.

    Examples
    --------
    >>> number(0.5, ""), number(1234.56, "mm²"), number(float("nan"), "mm")
    ('0.500', '1,234.6 mm²', '–')
    """
    if math.isnan(value):
        return "–"
    short = unit if unit in ("mm", "mm²") else ""
    return f"{value:,.1f} {short}" if short else f"{value:.3f}"


__all__ = [
    "BOLD",
    "AgreementContent",
    "Bar",
    "Cells",
    "StageContent",
    "agreement_content",
    "bars",
    "meaning_of",
    "number",
    "stage_content",
    "step_in_words",
]
