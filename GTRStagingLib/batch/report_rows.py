"""Write the table of predictions from structured reports, with the columns of a batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from GTRStagingLib.batch.columns import AGREEMENT, NO_CALIBRATION, RESULT_COLUMNS
from GTRStagingLib.batch.records import stability_columns, vote_columns
from GTRStagingLib.dicom_results.report_content import ReportContent
from GTRStagingLib.errors import InputError, printable
from GTRStagingLib.tables.table_files import write_table


def row_of_report(report: ReportContent) -> Mapping[str, str]:
    """Return the columns of `columns.RESULT_COLUMNS` ; those of scanner and protocol are not in a report."""
    measures = {name: repr(report.agreement[name]) if name in report.agreement else "" for name in AGREEMENT}
    stages = report.set_stages
    level = NO_CALIBRATION if report.set_level is None else f"{100 * report.set_level:g} %"
    return {
        **dict.fromkeys(RESULT_COLUMNS, ""),
        "case_id": report.case_id,
        "status": "done",
        **vote_columns(report.prediction),
        "key_slice": str(report.key_slice),
        "key_slice_by": report.key_slice_by,
        "key_position_mm": "" if report.key_position_mm is None else repr(report.key_position_mm),
        **measures,
        "pointing_hit": {True: "1", False: "0", None: ""}[report.pointing_hit],
        "familiarity": report.familiarity,
        "familiarity_percentile": "" if report.percentile is None else repr(report.percentile),
        "familiarity_reasons": printable("; ".join(report.reasons)),
        "stage_set": "-".join(dict.fromkeys(map(str, (stages[0], stages[-1])))) if stages else "",
        "stage_set_note": report.set_withheld or level,
        **stability_columns(report.stability),
        "looks": str(report.looks),
        "spread": "" if report.spread is None else repr(report.spread),
        "warnings": printable(" | ".join(report.warnings)),
        "model": report.model,
        "model_warning": report.model_warning or "",
        "card_sha256": report.card_sha256,
    }


def write_report_table(reports: Sequence[ReportContent], path: Path) -> None:
    """Write a table of predictions, one row for each report.

    Parameters
    ----------
    path
        Ends in .csv or .parquet.

    Raises
    ------
    InputError
        If the reports are of several models: their predictions are not evaluated together.
    """
    if len({one.card_sha256 for one in reports}) > 1:
        names = sorted({f"{one.model} ({one.card_sha256[:8]})" for one in reports})
        raise InputError(
            f"The reports are of {len(names)} models: {', '.join(names)}; expected one, since their predictions are "
            "evaluated apart. Give the reports of one model."
        )
    rows = [row_of_report(one) for one in reports]
    write_table(path, {name: [row[name] for row in rows] for name in RESULT_COLUMNS})


__all__ = ["row_of_report", "write_report_table"]
