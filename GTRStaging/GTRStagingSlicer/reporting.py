"""Show errors of the panel's actions as message boxes, and a waiting cursor while they run."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import qt
import slicer

from GTRStagingLib.errors import Cancelled, StagingError
from GTRStagingSlicer.words import plain
from GTRStagingSlicer.words import tr as _


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error as one message box, and write its details to the log."""
    try:
        yield
    except Cancelled:
        logging.info("GTR Staging: cancelled by the user")
    except StagingError as error:
        logging.info("GTR Staging: %s", traceback.format_exc())
        show_error(plain(error))
    except Exception:
        logging.info("GTR Staging: %s", traceback.format_exc())
        show_error(
            _("An unexpected error occurred in GTR Staging. Please report it, with the details below."),
            traceback.format_exc(),
        )


def show_error(text: str, details: str = "") -> None:
    """Show an error with its details."""
    slicer.util.errorDisplay(text, windowTitle=_("GTR Staging"), detailedText=details)


@contextmanager
def waiting() -> Iterator[None]:
    """Show a waiting cursor."""
    slicer.app.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        yield
    finally:
        slicer.app.restoreOverrideCursor()


__all__ = ["errors_shown", "show_error", "waiting"]
