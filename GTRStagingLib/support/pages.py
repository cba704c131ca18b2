"""Load templates of pages, and write their alarms and their Content-Security-Policy."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import TYPE_CHECKING

from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    import jinja2


_TITLES = {
    "UNTRAINED": "UNTRAINED MODEL",
    "DEMONSTRATION": "DEMONSTRATION MODEL",
    "LEAK": "LEAKING COHORT",
}
"""Word in capitals, by which a warning of the library is an alarm -> its title."""


@dataclass(frozen=True)
class Alarm:
    """Warning at the top of a page, without which no number on it should be read."""

    title: str
    text: str


def alarms(*warnings: str | None) -> tuple[Alarm, ...]:
    """Return the alarms among warnings, each text once: those on an untrained or demonstration model, or on a leak.

    Every page shows them by `resources/alarms.html.j2`.

    Examples
    --------
    >>> from GTRStagingLib.support.pages import alarms
    >>> alarms("Fitted to few patients.", "Fitted on a LEAKING cohort: 2 patients.", None)
    (Alarm(title='LEAKING COHORT', text='Fitted on a LEAKING cohort: 2 patients.'),)
    """
    texts = [text for text in dict.fromkeys(warnings) if text]
    named = ((text, [title for mark, title in _TITLES.items() if mark in text]) for text in texts)
    return tuple(Alarm(", ".join(titles), text) for text, titles in named if titles)


def moment(utc: str) -> str:
    """Return an ISO 8601 time in UTC as a page shows it.

    Examples
    --------
    >>> from GTRStagingLib.support.pages import moment
    >>> moment("2026-12-02T08:05:00+00:00")
    '2026-12-02 08:05:00 UTC'
    """
    return utc.replace("T", " ").replace("+00:00", " UTC")


def resource(name: str) -> str:
    """Return the text of a file in `resources`."""
    return files("GTRStagingLib").joinpath("resources", name).read_text(encoding="utf-8")


def template(name: str) -> "jinja2.Template":
    """Load a template of `resources`: values are escaped, and a missing value is an error.

    Raises
    ------
    MissingDependencyError
        If jinja2 is not installed.
    """
    return _environment(import_extra("jinja2", "A page needs", "report")).get_template(name)


@cache
def _environment(jinja: ModuleType) -> "jinja2.Environment":
    """Create the environment once, with its compiled templates: compiling takes longer than rendering."""
    environment: jinja2.Environment = jinja.Environment(
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja.FunctionLoader(resource),
    )
    return environment


def source_hash(script: str) -> str:
    """Return the hash by which a Content-Security-Policy allows this script only."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def policy(*scripts: str) -> str:
    """Return the Content-Security-Policy of a self-contained page: nothing is fetched, only these scripts run."""
    base = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    hashes = " ".join(f"'{source_hash(script)}'" for script in scripts)
    return f"{base}; script-src {hashes}" if scripts else base


__all__ = ["Alarm", "alarms", "moment", "policy", "resource", "source_hash", "template"]
