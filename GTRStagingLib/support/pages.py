"""What all pages share: how templates are read, and what a browser may run of a page."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import TYPE_CHECKING

from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    import jinja2


def resource(name: str) -> str:
    """The text of a file in `resources`."""
    return files("GTRStagingLib").joinpath("resources", name).read_text(encoding="utf-8")


def template(name: str) -> "jinja2.Template":
    """A template of `resources`: all that is put into it is escaped, and a name that is not given is an error.

    Raises
    ------
    InputError
        If jinja2 is not installed.
    """
    return _environment(import_extra("jinja2", "A page needs", "report")).get_template(name)


@cache
def _environment(jinja: ModuleType) -> "jinja2.Environment":
    """Kept, with the templates that it has compiled: that takes longer than filling them in."""
    environment: jinja2.Environment = jinja.Environment(
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja.FunctionLoader(resource),
    )
    return environment


def source_hash(script: str) -> str:
    """The hash by which a Content-Security-Policy lets one script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def policy(*scripts: str) -> str:
    """The Content-Security-Policy of a page that holds all it needs: nothing is fetched, only these scripts run."""
    kept = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    hashes = " ".join(f"'{source_hash(script)}'" for script in scripts)
    return f"{kept}; script-src {hashes}" if scripts else kept


__all__ = ["policy", "resource", "source_hash", "template"]
