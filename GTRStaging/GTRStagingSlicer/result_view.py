"""Fill the panel's result from a record: stage, bars, votes and agreement."""

import html
import math
from collections.abc import Mapping
from typing import Any

import qt

from GTRStagingSlicer import presenter, records, tables
from GTRStagingSlicer.presenter import ALARM
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _


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


def fold_inputs(ui: Any) -> None:
    """Fold the sections above the result, so that the stage is visible without scrolling on a small screen."""
    ui.inputSection.collapsed = ui.keySliceSection.collapsed = True


def show_stage(ui: Any, record: Mapping[str, Any] | None) -> None:
    """Fill the result of section 3, or hide it without a record."""
    ui.resultBox.visible = record is not None
    if record is None:
        return
    prediction, key = record["prediction"], record["key_slice"]
    ui.stageLabel.text = prediction["stage"]
    meaning = meaning_of(prediction["stage"])
    within = _("Stage set {words}").format(words=html.escape(tables.stage_set_in_words(prediction), quote=False))
    moved = _("If the key slice moves: {words}").format(words=tables.stability_in_words(prediction))
    ui.voteLabel.text = f"<b>{tables.vote_in_words(prediction)}</b><br>{meaning}<br>{within}<br>{moved}"
    familiarity = record["familiarity"]
    name, unlike = records.likeness_name(familiarity), familiarity["verdict"] == "unlike"
    words = html.escape(records.likeness_in_words(familiarity), quote=False)
    size = 44 if unlike else 13
    ui.likenessLabel.text = f'<span style="font-size: {size}px"><b>{name}</b></span><br>{words}'
    ui.likenessLabel.styleSheet = ALARM if unlike else ""
    for stage, share in zip(tables.STAGES, prediction["probabilities"], strict=True):
        bar = getattr(ui, f"bar{stage}")
        bar.value = round(1000 * share)
        bar.format = f"{share:.2f}"
    heads = [_("Slice"), _("Vote"), *tables.STAGES]
    rows = []
    for one in sorted(prediction["slices"], key=lambda s: -s["offset"]):
        name = _("{index} (key)") if one["offset"] == 0 else "{index} ({offset:+d})"
        rows.append([name.format(**one), one["stage"], *(f"{p:.2f}" for p in one["probabilities"])])
    fill(ui.votesTable, heads, rows)
    model = record["model"]
    ui.mapLabel.text = " ".join((records.map_in_words(record), model["check_in_words"]))
    check = model["check"] or {}
    failed = (check.get("verdict"), check.get("method")) == ("failed", record["attention"]["method"])
    ui.mapLabel.styleSheet = ALARM if failed else "QLabel { font-weight: bold; }"
    seconds = sum(record["timings_s"].values())
    ui.detailsLabel.text = _(
        "Key slice {index} at S {position:.1f} mm. Model {model}. {device}, {seconds:.1f} s."
    ).format(
        index=key["index"],
        position=key["position_mm"],
        model=model["name"],
        device=record["provenance"]["device"],
        seconds=seconds,
    )
    warnings = presenter.warnings_beside(record)
    ui.warningsLabel.visible = bool(warnings)
    ui.warningsLabel.styleSheet = ALARM  # beside the stage: a slice without stomach is among them
    ui.warningsLabel.text = plain("\n".join(warnings))


def fit_height(ui: Any) -> None:
    """Give the result the height that its wrapped lines need at the panel's width.

    A scroll area gives it the height of its minimum size otherwise, which counts each label as one line: the lines
    below the table of votes were printed over its last rows.
    """
    width = ui.stageSection.layout().contentsRect().width()
    ui.resultBox.setMinimumHeight(max(0, ui.resultBox.layout().heightForWidth(width)))


def show_agreement(ui: Any, record: Mapping[str, Any] | None, threshold: float) -> None:
    """Fill section 5 at a threshold of the sweep, or show why it is empty."""
    agreement = None if record is None else record["agreement"]
    ui.agreementTable.visible = agreement is not None
    if agreement is None:
        ui.agreementLabel.text = (
            _("Stage a case first.") if record is None else _("No segment was chosen to compare the attention with.")
        )
        return
    sentences = records.agreement_in_words(agreement, threshold)
    ui.agreementLabel.text = "<br>".join(html.escape(one, quote=False) for one in sentences)
    rows = [[name, number(value, unit)] for name, value, unit in tables.agreement_rows(agreement, threshold)]
    hit = {True: _("yes"), False: _("no"), None: "–"}[agreement["pointing_hit"]]
    rows[tables.POINTING_ROW] = [_("Maximum lies in the ROI"), hit]
    fill(ui.agreementTable, [_("Measure"), _("At the threshold")], rows)


def number(value: float, unit: str) -> str:
    """Format a value with its unit: three decimals, one for lengths and areas, a dash if it is not defined."""
    if math.isnan(value):
        return "–"
    short = unit if unit in ("mm", "mm²") else ""
    return f"{value:,.1f} {short}" if short else f"{value:.3f}"


def fill(table: "qt.QTableWidget", heads: list[str], rows: list[list[str]], *, first_is_wide: bool = False) -> None:
    """Fill a table widget, and set its height to that of its rows.

    Parameters
    ----------
    first_is_wide
        Whether the first column takes the width that the others leave; else it has its own, and the others share.
    """
    table.setColumnCount(len(heads))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(heads)
    table.verticalHeader().visible = False
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            table.setItem(i, j, qt.QTableWidgetItem(text))
    header = table.horizontalHeader()
    own, shared = qt.QHeaderView.ResizeToContents, qt.QHeaderView.Stretch
    for j in range(len(heads)):
        header.setSectionResizeMode(j, shared if (j == 0) == first_is_wide else own)
    height = header.height + sum(table.rowHeight(i) for i in range(len(rows))) + 4
    table.setMinimumHeight(height)
    table.setMaximumHeight(height)
