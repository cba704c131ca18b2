"""Say where a user's own files lie: what was imported and fitted, and what can be made anew."""

import os
import sys
from pathlib import Path
from typing import Literal

NAME = "gtrstaging"


def user_folder(kind: Literal["data", "cache"]) -> Path | None:
    """Our folder for a kind of user data, as the system has it (platformdirs).

    macOS keeps files where Linux does, by XDG's variables or under `~/.local/share` and `~/.cache`: they were there
    before platformdirs was asked, and nobody's models are to be lost. On Windows both kinds share one folder, of the
    local profile.

    None for a user without a home directory, as in some containers and services; and where platformdirs is not
    installed, as in a Slicer that has none of the packages yet, and offers what is shipped until it has them.
    """
    try:
        from platformdirs import PlatformDirs
        from platformdirs.unix import Unix
    except ModuleNotFoundError:
        return None
    system = (PlatformDirs if sys.platform == "win32" else Unix)(NAME, appauthor=False, opinion=False)
    try:
        found = Path(system.user_data_dir if kind == "data" else system.user_cache_dir)
    except RuntimeError:  # from the newer ones where there is no home; older ones leave '~' as it is
        return None
    return found if found.is_absolute() else None


def cache_folder() -> Path | None:
    """Where what can be made anew is kept: `$GTRSTAGING_CACHE`, or our folder under the user's cache folder.

    None where there is no such folder.
    """
    chosen = os.environ.get("GTRSTAGING_CACHE")
    return Path(chosen) if chosen else user_folder("cache")


__all__ = ["cache_folder", "user_folder"]
