"""Find the user's folders for data (imported and fitted models) and for caches."""

import os
import sys
from pathlib import Path
from typing import Literal

NAME = "gtrstaging"


def user_folder(kind: Literal["data", "cache"]) -> Path | None:
    """Return GTR Staging's folder for a kind of user files, by the conventions of the system (platformdirs).

    macOS uses the folders of Linux (XDG variables, else `~/.local/share` and `~/.cache`): versions before platformdirs
    used them, and their models must be found. On Windows both kinds share one folder of the local profile.

    None for a user without a home directory, as in some containers and services, and if platformdirs is not installed,
    as in a Slicer without the packages, which offers only the shipped models.
    """
    try:
        from platformdirs import PlatformDirs
        from platformdirs.unix import Unix
    except ModuleNotFoundError:
        return None
    system = (PlatformDirs if sys.platform == "win32" else Unix)(NAME, appauthor=False, opinion=False)
    try:
        found = Path(system.user_data_dir if kind == "data" else system.user_cache_dir)
    except RuntimeError:  # without a home: newer versions raise, older ones return '~'
        return None
    return found if found.is_absolute() else None


def cache_folder() -> Path | None:
    """Return the folder of caches: `$GTRSTAGING_CACHE`, or GTR Staging's folder in the user's cache folder.

    None if there is no such folder.
    """
    chosen = os.environ.get("GTRSTAGING_CACHE")
    return Path(chosen) if chosen else user_folder("cache")


__all__ = ["cache_folder", "user_folder"]
