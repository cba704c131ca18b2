"""GTR Staging."""

__version__ = "0.1.0"
