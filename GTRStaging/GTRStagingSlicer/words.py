"""Words that Slicer translates; outside Slicer they stay as they are."""

try:
    from slicer.i18n import tr
except ImportError:  # the package slicer-core has MRML, and no application to translate for

    def tr(text: str) -> str:
        """The text itself."""
        return text


__all__ = ["tr"]
