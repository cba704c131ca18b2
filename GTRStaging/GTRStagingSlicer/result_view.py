"""Write the panel's result into its widgets: stage, bars, votes and agreement, as `result_content` decides them."""

from collections.abc import Mapping, Sequence
from typing import Any

import qt

from GTRStagingSlicer import result_content
from GTRStagingSlicer.presenter import ALARM
from GTRStagingSlicer.result_content import Bar


def fold_inputs(ui: Any) -> None:
    """Fold the sections above the result, so that the stage is visible without scrolling on a small screen."""
    ui.inputSection.collapsed = ui.keySliceSection.collapsed = True


def show_stage(ui: Any, record: Mapping[str, Any] | None) -> None:
    """Fill the result of section 3, or hide it without a record."""
    ui.resultBox.visible = record is not None
    if record is None:
        return
    content = result_content.stage_content(record)
    ui.stageLabel.text, ui.voteLabel.text, ui.detailsLabel.text = content.stage, content.vote, content.details
    ui.likenessLabel.text, ui.likenessLabel.styleSheet = content.likeness, content.likeness_style
    ui.mapLabel.text, ui.mapLabel.styleSheet = content.map, content.map_style
    ui.warningsLabel.text, ui.warningsLabel.visible = content.warnings, bool(content.warnings)
    ui.warningsLabel.styleSheet = ALARM  # beside the stage: a slice without stomach is among them
    fill_bars(ui, "bar", content.bars)
    fill(ui.votesTable, content.votes.heads, content.votes.rows)


def fit_height(ui: Any) -> None:
    """Give the result the height that its wrapped lines need at the panel's width.

    A scroll area gives it the height of its minimum size otherwise, which counts each label as one line: the lines
    below the table of votes were printed over its last rows.
    """
    width = ui.stageSection.layout().contentsRect().width()
    ui.resultBox.setMinimumHeight(max(0, ui.resultBox.layout().heightForWidth(width)))


def show_agreement(ui: Any, record: Mapping[str, Any] | None, threshold: float) -> None:
    """Fill section 5 at a threshold of the sweep, or show why it is empty."""
    content = result_content.agreement_content(record, threshold)
    ui.agreementLabel.text = content.text
    ui.agreementTable.visible = content.table is not None
    if content.table is not None:
        fill(ui.agreementTable, content.table.heads, content.table.rows)


def fill_bars(ui: Any, name: str, bars: Mapping[str, Bar]) -> None:
    """Fill the bars of the stages, which are named `name` and the stage."""
    for stage, content in bars.items():
        bar = getattr(ui, f"{name}{stage}")
        bar.value, bar.format = content.value, content.text


def fill(
    table: "qt.QTableWidget", heads: Sequence[str], rows: Sequence[Sequence[str]], *, first_is_wide: bool = False
) -> None:
    """Fill a table widget, and set its height to that of its rows.

    Parameters
    ----------
    first_is_wide
        Whether the first column takes the width that the others leave; else it has its own, and the others share.
    """
    table.setColumnCount(len(heads))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(list(heads))
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
