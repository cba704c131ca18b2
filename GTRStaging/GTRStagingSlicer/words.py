"""Texts for people: `tr` translates the panel's own, `plain` prepares those of the library."""

import re

try:
    from slicer.i18n import tr
except ImportError:  # the package slicer-core contains MRML, but no translations

    def tr(text: str) -> str:
        """Return the text unchanged."""
        return text


def plain(message: object) -> str:
    """Return a message of the library without the backticks around the names of parameters.

    Examples
    --------
    >>> plain("Give `segment`.")
    'Give segment.'
    """
    return re.sub(r"`([^`]*)`", r"\1", str(message))


__all__ = ["plain", "tr"]
