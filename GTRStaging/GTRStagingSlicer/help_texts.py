"""Texts of Slicer's Help & Acknowledgement section, with links."""

from collections.abc import Sequence

from GTRStagingSlicer.words import tr as _

ARTICLE = "https://doi.org/10.1038/s41746-025-02002-5"
DOCUMENTS = "https://set-at-publication.invalid/GTRStaging"
PAGES = (
    ("docs/tutorials/clinician.md", _("Tutorial: stage a case in Slicer")),
    ("docs/when-to-believe.md", _("When to believe a result")),
    ("docs/attention-maps.md", _("Attention maps and their check")),
    ("docs/how-to/troubleshooting.md", _("Troubleshooting")),
)
"""Page of the documentation -> its title; linked in the help text."""


def with_links(text: str, pages: Sequence[tuple[str, str]] = PAGES) -> str:
    """Return a text with links to pages of the documentation (path, title), as HTML."""
    links = " · ".join(f'<a href="{DOCUMENTS}/main/{page}">{title}</a>' for page, title in pages)
    return f"{text}<br>{links}"


def acknowledgement() -> str:
    """Return whose work the network follows, as HTML."""
    return _("The network follows {article}.").format(
        article=f'<a href="{ARTICLE}">Zheng et al., npj Digital Medicine 2025</a>'
    )


__all__ = ["PAGES", "acknowledgement", "with_links"]
