"""Load templates of pages, and write their Content-Security-Policy."""

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


__all__ = ["policy", "resource", "source_hash", "template"]
