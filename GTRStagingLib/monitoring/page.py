"""Write monitor.html, monitor.csv and monitor.json of a comparison, all of them or none."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import OutputError
from GTRStagingLib.monitoring.charts import chart_figure, words
from GTRStagingLib.monitoring.watch import LEAST_PERIOD, Watch, WatchedMeasure
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.stats.control_charts import WEIGHT
from GTRStagingLib.support import pages
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.figures import figure_bytes
from GTRStagingLib.support.files import replace_files
from GTRStagingLib.tables.cells import guarded

PAGE, TABLE, RECORD = "monitor.html", "monitor.csv", "monitor.json"

COLUMNS = ("period", "from", "to", "cases", "measure", "label", "unit", "known", "median", "shares", "stability_index",
           "statistic", "limit", "alarm", "changed")  # fmt: skip
"""Columns of `TABLE`."""

REM_PER_INCH = 8.5
"""Width of a figure on the page."""


def write_watch(found: Watch, out: Path) -> dict[str, Path]:
    """Write the page, the table and the record into a folder; files of these names in it are replaced.

    Returns
    -------
    File name -> path.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    OutputError
        If the folder cannot be written to.
    """
    contents = {
        PAGE: page(found).encode(),
        TABLE: _table(found),
        RECORD: (json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n").encode(),
    }
    try:
        with replace_files(out, list(contents)) as work:
            for name, content in contents.items():
                (work / name).write_bytes(content)
    except OSError as error:
        raise OutputError(
            f"The comparison cannot be written to {out}: {error.strerror or error}; expected a writable folder. Choose "
            "another `out`. No partial file was left."
        ) from error
    return {name: out / name for name in contents}


def page(found: Watch) -> str:
    """Return the self-contained page; measures with an alarm come first."""
    alarms = found.alarms
    others = [one for one in found.measures if one.first is None]
    stream = found.stream
    return pages.template("monitor.html.j2").render(
        found=found,
        stream=stream,
        research_use_only=RESEARCH_USE_ONLY,
        policy=pages.policy(),
        alarms=pages.alarms(stream.warning),
        number=counted(len(stream.cases), "case"),
        changes=[
            {"label": one.measure.label, "first": found.place(one.first or 0), "since": found.place(one.since or 0),
             "changed": one.changed} for one in alarms
        ],
        groups=[(title, [_figure(found, one) for one in part]) for title, part in
                (("Measures with an alarm", alarms), ("Measures without an alarm", others)) if part],
        periods=found.periods,
        memory=round(2 / WEIGHT),
        weight=WEIGHT,
        least_period=LEAST_PERIOD,
        small=sum(period.cases < LEAST_PERIOD for period in found.periods),
        table=TABLE,
        record=RECORD,
        time=pages.moment(found.utc),
    )  # fmt: skip


def _figure(found: Watch, one: WatchedMeasure) -> dict[str, Any]:
    figure = chart_figure(found, one)
    svg = figure_bytes(figure, "svg", salt=one.measure.name)
    return {
        "label": f"{one.measure.label} ({one.measure.unit})" if one.measure.unit else one.measure.label,
        "svg": base64.b64encode(svg).decode("ascii"),
        "words": words(found, one),
        "width": f"{REM_PER_INCH * figure.get_figwidth():.1f}",
    }


def _table(found: Watch) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for row in found.rows():
        table.writerow({name: guarded(value) if isinstance(value, str) else "" if value is None else value
                        for name, value in row.items()})  # fmt: skip
    return text.getvalue().encode()


__all__ = ["COLUMNS", "PAGE", "RECORD", "TABLE", "page", "write_watch"]
