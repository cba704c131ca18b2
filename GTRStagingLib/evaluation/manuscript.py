"""Write the tables and figures of an evaluation as a Word document, from which they are pasted into a manuscript.

Requires the extra `docx` (python-docx).
"""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from GTRStagingLib.evaluation.report_tables import PrintedTable
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.extras import import_extra
from GTRStagingLib.support.pages import Alarm

MANUSCRIPT = "manuscript.docx"
STYLE = "Light Shading"
FIGURE_MM, MARGIN_MM = (170, 220), 18
"""Largest width and height of a figure, and margins of the page, A4."""

WIDE = 6
"""Number of columns above which the font of a table is smaller."""


def require_docx() -> Any:
    """Import python-docx.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    return import_extra("docx", "A Word document needs", "docx")


def manuscript_docx(
    tables: Sequence[tuple[str, PrintedTable]], pictures: Sequence[tuple[bytes, str]], alarms: Sequence[Alarm]
) -> bytes:
    """Return a Word document with tables and figures.

    Parameters
    ----------
    tables
        Title and table.
    pictures
        PNG of a figure and its text alternative, which is its legend.
    alarms
        Shown first, and at the foot of every page.

    Raises
    ------
    MissingDependencyError
        If python-docx is not installed.
    """
    document = require_docx().Document()
    _page(document, alarms)
    for alarm in alarms:
        document.add_paragraph().add_run(f"{alarm.title}: {alarm.text}").bold = True
    for title, table in tables:
        document.add_heading(title, level=2)
        _add(document, table)
        document.add_paragraph(table.caption)
    for k, (png, words) in enumerate(pictures, start=1):
        _add_picture(document, png, words, f"Figure {k}. {words}")
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def _page(document: Any, alarms: Sequence[Alarm]) -> None:
    """Make the page A4, with the sentence on research use and the alarms at its foot, and no date or author."""
    from docx.shared import Mm

    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Mm(MARGIN_MM)
    section.footer.paragraphs[0].text = " ".join([RESEARCH_USE_ONLY, *(alarm.text for alarm in alarms)])
    about = document.core_properties
    about.author, about.title, about.comments = "", "GTR Staging: evaluation of predictions", ""
    about.created = about.modified = datetime(2000, 1, 1, tzinfo=UTC)


def _add(document: Any, table: PrintedTable) -> None:
    from docx.shared import Pt

    made = document.add_table(rows=1 + len(table.lines), cols=len(table.head), style=STYLE)
    size = Pt(7 if len(table.head) > WIDE else 9)
    lines = [line if span else ("", *line[1:]) for line, span in zip(table.lines, table.spans, strict=True)]
    for row, texts in zip(made.rows, [table.head, *lines], strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(0)
            paragraph.add_run(text).font.size = size
    _repeat_head(made)


def _repeat_head(made: Any) -> None:
    """Mark the first row as the head, which Word repeats on each page, and keep rows on one page."""
    from docx.oxml import OxmlElement

    made.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    for row in made.rows:
        row._tr.get_or_add_trPr().append(OxmlElement("w:cantSplit"))


def _add_picture(document: Any, png: bytes, words: str, legend: str) -> None:
    from docx.shared import Mm

    width, height = FIGURE_MM
    picture = document.add_picture(io.BytesIO(png), width=Mm(width))
    if picture.height > Mm(height):
        picture.width, picture.height = round(picture.width * Mm(height) / picture.height), Mm(height)
    picture._inline.docPr.set("descr", words)
    document.paragraphs[-1].paragraph_format.keep_with_next = True
    document.add_paragraph(legend)


__all__ = ["MANUSCRIPT", "manuscript_docx", "require_docx"]
