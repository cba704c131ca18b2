"""What can go wrong, by the remedy it asks for.

Every message gives the value that was met, the one that was expected, and what to do about it.
"""


class StagingError(Exception):
    """Anything that the library reports on purpose; the command line prints it without a traceback."""


class InputError(StagingError):
    """The CT, the ROI or an option cannot be used as given."""


class GeometryError(InputError):
    """Two images do not lie on one grid, or an image's geometry cannot be trusted."""


class MissingDependencyError(StagingError, ImportError):
    """A package is missing that an optional part of the library needs; the message names its extra."""


class WeightsError(StagingError):
    """A model's weights or card are missing, damaged, unsafe or of another architecture."""


class LeakageError(StagingError):
    """A cohort lets the same patient stand on two sides of a split."""


class MachineError(StagingError):
    """No case's fault, and in the way of all of them."""


class OutputError(MachineError):
    """Results cannot be written where they were to go."""


class Cancelled(StagingError):  # noqa: N818 (a request that was obeyed, not an error of anybody's)
    """The user stopped the run; nothing was written."""
