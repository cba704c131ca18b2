"""Define the exceptions of the library.

Every message states the value that was found, the value that was expected, and a remedy. Names of parameters are
between backticks: the command line names its flags instead, and files and screens show the names alone.
"""

import re

LONGEST = 8000
"""Number of characters of a message above which its middle is left out: files may contain names of any length."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text with all characters that alter a terminal or the order of its text as escapes, and not too long.

    These are control characters other than tabs and line breaks, marks of direction, and halves of surrogate pairs.

    Examples
    --------
    >>> from GTRStagingLib.errors import printable
    >>> print(printable("case \x1b[31m7"))
    case \x1b[31m7
    """
    shown = _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    if (more := len(shown) - LONGEST) > 0:
        half = LONGEST // 2
        shown = f"{shown[:half]} … ({more:,} characters left out) … {shown[-half:]}"
    return shown


def without_backticks(message: object) -> str:
    """Return a message with the names of parameters as plain text, for files and screens.

    Examples
    --------
    >>> from GTRStagingLib.errors import without_backticks
    >>> without_backticks("Give `segment`.")
    'Give segment.'
    """
    return re.sub(r"`([^`]*)`", r"\1", str(message))


class StagingError(Exception):
    """Base class of the library's errors; the command line prints them without a traceback.

    Attributes
    ----------
    details
        Further text for the person at this machine, which may contain identifiers, such as the list of a folder's
        series. It is never written to results; the message itself contains no identifiers.
    """

    def __init__(self, message: str = "", *, details: str = "") -> None:
        super().__init__(printable(message))
        self.details = printable(details)


class InputError(StagingError):
    """Invalid CT, ROI, table or option."""


class GeometryError(InputError):
    """Images on different grids, or an image with an unreliable geometry."""


class MissingDependencyError(StagingError, ImportError):
    """Missing package of an optional part of the library; the message names the extra that installs it."""

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class WeightsError(StagingError):
    """Weights or card of a model that are missing, damaged, unsafe or of another architecture."""


class LeakageError(StagingError):
    """Leak between the splits of a cohort, such as a patient in two splits."""


class MachineError(StagingError):
    """Failure of the machine or its set-up, which affects every case of a batch."""


class OutputError(MachineError):
    """Failure to write results to the output folder."""


class Cancelled(StagingError):  # noqa: N818 (a request of the user, not an error)
    """Run stopped by the user; nothing was written."""
