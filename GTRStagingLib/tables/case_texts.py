"""Remove folders, and names of files that the table does not name, from texts about a case."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from GTRStagingLib.support.shared_text import with_file_numbers, without_folders
from GTRStagingLib.tables.case_files import input_files


def shared_text(text: str, given: Iterable[Path | None], folders: Mapping[Path, str] | None = None) -> str:
    """Return a text about a case, such as an error, for records, tables and reports.

    Parameters
    ----------
    given
        Paths of the case's CT and ROI: each is shown by its last part. Files in their folders, and the data files of
        their headers, are shown by numbers, in the order of their names.
    folders
        Further paths, with the names that are shown in their place.
    """
    paths = [path for path in given if path is not None]
    shown = without_folders(text, {**(folders or {}), **{path: path.name for path in paths}})
    for path in paths:
        with suppress(OSError):  # a folder that cannot be read has no names to remove
            shown = with_file_numbers(shown, [one for one in input_files(path) if one.name != path.name])
    return shown


__all__ = ["shared_text"]
