"""Remove folders, names of files and identifiers from texts that are shared: records, tables, reports, consoles."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from GTRStagingLib.errors import StagingError
from GTRStagingLib.support.isolation import OUT_OF_MEMORY, is_out_of_memory

LEAST = 4
"""Length below which an identifier stays in a text: "F" or "3" names nobody, and is part of ordinary words."""

_FOLDERS = re.compile(r"""(?<![\w.:/\\~-])(?:[A-Za-z]:)?[/\\](?:[^/\\\s:;,'"<>|()]+[/\\])+""")
_END, _START = r"(?![\w-])", r"(?<![\w-])"


def without_folders(text: str, names: Mapping[Path, str]) -> str:
    r"""Return a text in which each path has a name that may be shared, or only its last part.

    Parameters
    ----------
    names
        Path -> name that is shown in its place. The folders above these paths are removed, also if their names contain
        blanks; of other absolute paths, all folders of which the name has no blank.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.support.shared_text import without_folders
    >>> without_folders("/data/Doe Jane/ct/1.dcm is not in /data/Doe Jane.", {Path("/data/Doe Jane/ct"): "ct"})
    'ct/1.dcm is not in ….'
    >>> without_folders("[Errno 2] No such file: '/srv/Doe/x.nii'; 3 mm/px, T3-4 / T1-2", {})
    "[Errno 2] No such file: 'x.nii'; 3 mm/px, T3-4 / T1-2"
    """
    shown = {spelt: name for path, name in names.items() for spelt in _spellings(path)}
    for folder in (*(one for path in names for one in path.absolute().parents), Path.cwd(), *_home()):
        if folder.name:  # not the root
            for spelt in _spellings(folder):
                for separator in "/", "\\":
                    shown.setdefault(spelt + separator, "")
                shown.setdefault(spelt, "…")
    return _FOLDERS.sub("", _replaced(text, shown, relative=False))


def with_file_numbers(text: str, files: Iterable[Path]) -> str:
    """Return a text in which the names of a case's files are numbers, from 1 in the order of the files.

    Names of less than `LEAST` characters stay.

    Examples
    --------
    >>> from pathlib import Path
    >>> from GTRStagingLib.support.shared_text import with_file_numbers
    >>> with_file_numbers("Doe 1.dcm is damaged.", [Path("ct/Doe 1.dcm"), Path("ct/Doe 2.dcm")])
    'file 1 of 2 is damaged.'
    """
    every = list(files)
    numbers = {path.name: f"file {i} of {len(every)}" for i, path in enumerate(every, 1) if len(path.name) >= LEAST}
    return _replaced(text, numbers)


def without_identifiers(text: str, identifiers: Mapping[str, str]) -> str:
    """Return a text without the values of identifiers, by name: patient, study and `InputPath`.

    Examples
    --------
    >>> from GTRStagingLib.support.shared_text import without_identifiers
    >>> without_identifiers("The scan of Doe has 3 slices.", {"PatientName": "Doe^Jane^^^", "SeriesNumber": "3"})
    'The scan of (PatientName) has 3 slices.'
    """
    values: dict[str, str] = {}
    for name, value in identifiers.items():
        if name == "InputPath":
            text = without_folders(text, {Path(value): Path(value).name})
            continue
        parts = re.split(r"[\^=\s]+", value) if name == "PatientName" else ()
        least = LEAST - 1 if name == "PatientName" else LEAST
        values |= {part: f"({name})" for part in (*parts, value) if len(part) >= least}
    return _replaced(text, values)


def shared_error(error: BaseException) -> str:
    r"""Return the text of an error on one line, without values of headers; paths remain.

    Of a `StagingError` this is its first line: further lines list what a header offers, such as the series of a folder
    with their numbers. An error of another library may contain any value; only its type is returned.

    Examples
    --------
    >>> from GTRStagingLib.errors import InputError
    >>> from GTRStagingLib.support.shared_text import shared_error
    >>> shared_error(InputError("2 CT series; expected one. Give its `series`:\n  number 7\n  number 8"))
    '2 CT series; expected one. Give its `series`. The list is not shared: stage the case alone to see it.'
    >>> shared_error(ValueError("Invalid value 'Doe'"))
    'ValueError; expected a result. Its text and traceback are not shared: they may have values of the header.'
    """
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, StagingError):
        first, _, listing = str(error).strip().partition("\n")
        notice = ". The list is not shared: stage the case alone to see it."
        return " ".join((first.rstrip(" :.") + notice if listing else first).split())
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return (
        f"{type(error).__name__}{reason}; expected a result. Its text and traceback are not shared: they may have "
        "values of the header."
    )


def _replaced(text: str, shown: Mapping[str, str], *, relative: bool = True) -> str:
    """Replace texts, the longest first; a text that is part of a longer word, or of a longer path, stays."""
    if not shown:
        return text
    start = _START if relative else r"(?<![\w.-])"
    every = "|".join(
        re.escape(one) + ("" if one[-1] in "/\\" else _END) for one in sorted(shown, key=len, reverse=True)
    )
    return re.sub(f"{start}(?:{every})", lambda found: shown[found[0]], text)


def _spellings(path: Path) -> Iterator[str]:
    """Yield the texts by which messages name a path: as given, absolute, without links, and quoted."""
    for one in {path, path.absolute(), _resolved(path)}:
        for text in {str(one), one.as_posix(), repr(str(one))[1:-1]}:
            if len(text) > 1 and (one.is_absolute() or len(one.parts) > 1):
                yield text


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a name that is too long, or a circle of links
        return path.absolute()


def _home() -> Iterator[Path]:
    try:
        yield Path.home()
    except RuntimeError:  # no home directory
        return


__all__ = ["LEAST", "shared_error", "with_file_numbers", "without_folders", "without_identifiers"]
