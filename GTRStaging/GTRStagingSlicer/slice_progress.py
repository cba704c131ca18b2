"""Show in the panel how many slices are done, and stop when the user has pressed Cancel."""

from collections.abc import Callable
from typing import Any

import slicer

from GTRStagingLib.errors import Cancelled


def slice_progress(ui: Any, words: str, cancelled: Callable[[], bool]) -> Callable[[int, int], None]:
    """Return a function for the number of slices done and of all, which raises `Cancelled` after a Cancel.

    Parameters
    ----------
    words
        What the panel says, with the places {done} and {total}.
    """

    def progress(done: int, total: int) -> None:
        ui.progressBar.value = ui.progressBar.maximum * done // total
        ui.applyHint.text = words.format(done=done, total=total)
        slicer.app.processEvents()
        if cancelled():
            raise Cancelled("Cancelled by the user")

    return progress
