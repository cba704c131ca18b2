"""Build the documentation with Sphinx: `make docs` writes it to `build/docs`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import commands

import GTRStagingLib

project = "GTR Staging"
author = "The GTR Staging developers"
version = release = GTRStagingLib.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
suppress_warnings = ["ref.python"]  # a size such as `n` in a docstring is no reference to an attribute n

# Docstrings write names between single backticks, as Markdown does.
default_role = "code"
apidoc_modules = [
    {
        "path": str(ROOT / "GTRStagingLib"),
        "destination": "reference/library",
        "max_depth": 1,
        "automodule_options": {"members", "show-inheritance", "ignore-module-all"},
    }
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"npt.NDArray": "numpy.typing.NDArray"}
napoleon_google_docstring = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
smartquotes = False  # "--" in texts is part of an option

html_theme = "furo"
html_title = "GTR Staging"
html_show_copyright = False
# Without buttons: "view" and "edit" lead to the source of a page.
html_theme_options = {"source_repository": "", "top_of_page_buttons": []}
exclude_patterns = ["pictures", "reference/library/modules.rst"]


GENERATED = {"<!-- commands -->": commands.gtrstaging, "<!-- headless -->": commands.headless}
"""What a line of a page stands for."""

READ_ANEW = ["reference/command-line"]
"""Pages that depend on more than their own file."""


def setup(app):
    """Fill in what is made of the program itself, at every build."""

    def fill(app, page, source):
        for line, write in GENERATED.items():
            if line in source[0]:
                source[0] = source[0].replace(line, write())

    app.connect("source-read", fill)
    app.connect("env-get-outdated", lambda app, env, added, changed, removed: READ_ANEW)
