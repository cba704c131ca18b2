"""Keep a list of the objects of a folder that are to be sent, so that nothing is lost or sent twice.

The list is a file in the folder, written in one step after each object. It contains names of files, no UIDs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from GTRStagingLib.errors import InputError, OutputError, printable
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import read_json, write_json

OUTBOX, LOCK = "outbox.json", ".outbox.lock"
FORMAT = 1

State = Literal["waiting", "refused", "sent", "there", "committed"]
STATES: tuple[State, ...] = get_args(State)
"""`there`: the archive had it before; `committed`: the archive has promised to keep it."""

DONE: frozenset[State] = frozenset({"sent", "there", "committed"})


@dataclass(frozen=True)
class Entry:
    """State of an object for one archive: the sha256 of its file, and why it was refused."""

    sha256: str
    state: State = "waiting"
    reason: str = ""


@dataclass(frozen=True)
class Outbox:
    """Objects of a folder, by the name of their file, for one archive.

    Attributes
    ----------
    folder
        Folder of the files.
    to
        Address of the archive.
    entries
        State of each object.
    others
        What the file says on other archives, kept as it is.
    """

    folder: Path
    to: str
    entries: Mapping[str, Entry] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def with_entry(self, name: str, entry: Entry) -> "Outbox":
        """Return the list with the state of one object, after writing it.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        new = replace(self, entries={**self.entries, name: entry})
        new.write()
        return new

    def write(self) -> None:
        """Write the list; raise `OutputError` if it cannot be written."""
        files = {
            name: {"sha256": one.sha256, "state": one.state, "reason": one.reason} for name, one in self.entries.items()
        }
        try:
            write_json({"format": FORMAT, "to": {**self.others, self.to: files}}, self.folder / OUTBOX)
        except OSError as error:
            raise not_listed(error) from error

    def is_done(self, name: str, sha256: str) -> bool:
        """Return whether the archive has this content of a file."""
        known = self.entries.get(name)
        return known is not None and known.sha256 == sha256 and known.state in DONE


def not_listed(error: OSError) -> OutputError:
    """Return the error of a folder in which the list cannot be written."""
    return OutputError(
        f"{OUTBOX}: {error.strerror or error}; expected a writable folder with free disk space. Free some space, then "
        "send again: objects that the archive has are not sent twice."
    )


def read_outbox(folder: Path, to: str) -> Outbox:
    """Read the list of a folder for one archive; empty if there is none yet.

    Raises
    ------
    InputError
        If the file is not such a list.
    """
    path = folder / OUTBOX
    if not path.exists():
        return Outbox(folder, to)
    expected = "a list of objects to send"
    top = Fields(read_json(path, expected), OUTBOX).data
    if top.get("format") != FORMAT:
        raise InputError(f"{OUTBOX} has format {top.get('format')!r}; expected {FORMAT}. Remove it, and send again.")
    places = Fields(top.get("to"), "to").data
    entries = {}
    for name, found in Fields(places.get(to, {}), "files").data.items():
        one = Fields(found, "file").data
        if one.get("state") not in STATES or not isinstance(one.get("sha256"), str):
            raise InputError(f"{OUTBOX} has an entry without a known state; expected {expected}. Remove it, and send "
                             "again: objects that the archive has are not sent twice.")  # fmt: skip
        entries[str(name)] = Entry(one["sha256"], one["state"], printable(str(one.get("reason", ""))))
    return Outbox(folder, to, entries, {place: files for place, files in places.items() if place != to})


__all__ = ["DONE", "LOCK", "OUTBOX", "STATES", "Entry", "Outbox", "State", "not_listed", "read_outbox"]
