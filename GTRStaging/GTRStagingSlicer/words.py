"""Texts for people: `tr` translates the panel's own, `plain` prepares those of the library."""

from GTRStagingLib.errors import without_backticks as plain

try:
    from slicer.i18n import tr
except ImportError:  # the package slicer-core contains MRML, but no translations

    def tr(text: str) -> str:
        """Return the text unchanged."""
        return text


__all__ = ["plain", "tr"]
