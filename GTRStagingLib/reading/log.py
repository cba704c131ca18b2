"""Write and read a log that is only appended to: a line of JSON for each entry, chained by sha256.

Each line contains the hash of the line before and its own, a number that grows by 1, and a time that never falls. So an
entry that was changed, moved or removed between others is found. The chain has no secret: it shows accidents and edits,
and does not stop somebody who computes all hashes again, or removes the last entries.

An entry exists once it is on the disk. A process that ends while it writes leaves the beginning of a line; the next
entry then states how long this beginning was, and its hash.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import flush_folder, parse_json, sha256_of_data

TORN = "torn"
"""Kind of the entry after the beginning of a line."""

TOLERANCE = timedelta(seconds=60)
"""How much the clock may be behind the last entry, as after it was synchronised; such an entry has the time of the
last one."""

FIRST = "0" * 64
"""Hash before the first entry."""


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


def time_text(time: datetime) -> str:
    """Return a time in UTC to milliseconds.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from GTRStagingLib.reading.log import time_text
    >>> time_text(datetime(2026, 12, 2, 20, 15, tzinfo=UTC))
    '2026-12-02T20:15:00.000Z'
    """
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: str) -> datetime:
    """Return the time of `time_text`; raise ValueError for another text."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time


@dataclass(frozen=True)
class Entry:
    """Entry of a log.

    Attributes
    ----------
    number
        From 0.
    line
        Line of the file, from 1.
    """

    number: int
    time: datetime
    kind: str
    data: Mapping[str, Any]
    sha256: str
    line: int = 0


@dataclass(frozen=True)
class LogContent:
    """Content of a log as far as its chain holds.

    Attributes
    ----------
    entries
        Up to the first line that does not fit.
    fault
        The first line that does not fit, and why; None if all fit.
    left_out
        Number of lines from there on.
    torn
        Bytes after the last entry that are the beginning of one; empty without.
    complete_line
        Whether the file ends with a line break.
    size
        Number of bytes that were read.
    """

    entries: tuple[Entry, ...] = ()
    fault: str | None = None
    left_out: int = 0
    torn: bytes = field(default=b"", repr=False)
    complete_line: bool = True
    size: int = 0


def read_log(path: Path) -> LogContent:
    """Read a log; a file that is missing is an empty log.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return LogContent()
    lines = content.split(b"\n")
    complete = not lines[-1]
    if complete:
        lines.pop()
    entries: list[Entry] = []
    waiting: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        entry = _entry(line, number)
        if entry is None:
            waiting.append(line)
            continue
        last = entries[-1] if entries else None
        if (fault := _misfit(entry, _previous(line), last, b"\n".join(waiting))) is not None:
            at = number - len(waiting)
            return LogContent(tuple(entries), f"line {at}: {fault}", len(lines) - at + 1, size=len(content))
        entries.append(entry)
        waiting = []
    return LogContent(tuple(entries), torn=b"\n".join(waiting), complete_line=complete, size=len(content))


def _entry(line: bytes, number: int) -> Entry | None:
    """Return the entry of a line; None if it is not a whole one."""
    try:
        fields = Fields(parse_json(line))
        fields.only(("number", "time", "kind", "data", "previous", "sha256"), ("number",))
        data = fields.data["data"]
        found = Entry(
            fields.whole("number"),
            time_of(fields.text("time")),
            fields.text("kind"),
            data,
            fields.sha256("sha256"),
            number,
        )
        fields.sha256("previous")
    except (ValueError, KeyError, InputError):
        return None
    return found if isinstance(data, dict) else None


def _previous(line: bytes) -> tuple[str, str]:
    """Return the hash before, and the one that the line should have."""
    found = parse_json(line)
    return found["previous"], sha256_of_data({name: value for name, value in found.items() if name != "sha256"})


def _misfit(entry: Entry, hashes: tuple[str, str], last: Entry | None, torn: bytes) -> str | None:
    """Return why an entry does not follow the last one and the beginning of a line; None if it does."""
    previous, own = hashes
    if own != entry.sha256:
        return "its content was changed after it was written"
    if previous != (FIRST if last is None else last.sha256) or entry.number != (0 if last is None else last.number + 1):
        return "entries before it were changed, removed or added"
    if last is not None and entry.time < last.time:
        return f"its time {time_text(entry.time)} is before that of the entry before"
    if torn and (entry.kind != TORN or entry.data.get("sha256") != hashlib.sha256(torn).hexdigest()):
        return "it is no entry, and the next entry does not state it"
    return None


class Log:
    """Log of one folder, which no other process writes to.

    Parameters
    ----------
    path
        File, which is made by the first entry.
    now
        Time of an entry.

    Raises
    ------
    InputError
        If the log was changed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> from GTRStagingLib.reading.log import Log
    >>> log = Log(Path("log.jsonl"), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    >>> log.append("opened", {"by": "r1"}).number, log.append("closed", {}).number
    (0, 1)
    >>> [one.kind for one in Log(Path("log.jsonl")).entries]
    ['opened', 'closed']
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = utc_now) -> None:
        self.path, self._now = path, now
        self._read()

    def _read(self) -> None:
        content = read_log(self.path)
        if content.fault is not None:
            raise InputError(
                f"{self.path.name}, {content.fault}; expected the log as it was written. Put back the log of this "
                "reader, or tell the organiser: its answers cannot be continued."
            )
        self._content, self._entries = content, list(content.entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Entries in their order."""
        return tuple(self._entries)

    @property
    def torn(self) -> bool:
        """Whether the file ends with the beginning of an entry, which the next entry will state."""
        return bool(self._content.torn)

    def time(self) -> datetime:
        """Return the time that the next entry would have.

        Raises
        ------
        InputError
            If the clock is behind the last entry.
        """
        now = self._now()
        last = self._entries[-1].time if self._entries else now
        if now < last - TOLERANCE:
            raise InputError(
                f"The clock of this machine shows {time_text(now)}, and the last entry of the log is of "
                f"{time_text(last)}; expected a later time. Set the clock."
            )
        return max(now, last)

    def append(self, kind: str, data: Mapping[str, Any]) -> Entry:
        """Write an entry to the disk, and return it.

        Raises
        ------
        InputError
            If the clock is behind the last entry.
        OutputError
            If it cannot be written: then the log is as before.
        """
        time, head = self.time(), b"" if self._content.complete_line else b"\n"
        if torn := self._content.torn:
            whole = {"sha256": hashlib.sha256(torn).hexdigest(), "bytes": len(torn)}
            self._write(head, [(TORN, whole, time), (kind, data, time)])
        else:
            self._write(head, [(kind, data, time)])
        return self._entries[-1]

    def _write(self, head: bytes, added: list[tuple[str, Mapping[str, Any], datetime]]) -> None:
        last = self._entries[-1] if self._entries else None
        new, lines = [], [head]
        for kind, data, time in added:
            fields: dict[str, Any] = {
                "number": 0 if last is None else last.number + 1,
                "time": time_text(time),
                "kind": kind,
                "data": dict(data),
                "previous": FIRST if last is None else last.sha256,
            }
            fields["sha256"] = sha256_of_data(fields)
            lines.append(json.dumps(fields, allow_nan=False).encode() + b"\n")
            last = Entry(fields["number"], time_of(fields["time"]), kind, fields["data"], fields["sha256"])
            new.append(last)
        content = b"".join(lines)
        try:
            _append(self.path, content, self._content.size)
        except OSError as error:
            self._read()  # what is there now: the beginning of a line, if it could not be removed
            raise OutputError(
                f"{self.path.name} was not written ({error.strerror or error}); expected a writable disk with free "
                "space. Free some space, and answer again: the case stays open."
            ) from error
        self._entries += new
        self._content = LogContent(size=self._content.size + len(content))


def _append(path: Path, content: bytes, size: int) -> None:
    """Append bytes and flush them to the disk; if that fails, cut the file to its size before."""
    new = not path.exists()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if new:  # so that the name of the new file is on the disk as well
        flush_folder(path.parent)


def interruptions_in_words(content: LogContent) -> list[str]:
    """Return a sentence on each beginning of an entry."""
    found = [
        f"The writing of an entry was interrupted before entry {one.number} ({one.data.get('bytes')} bytes)."
        for one in content.entries
        if one.kind == TORN
    ]
    if content.torn:
        found.append(f"The writing of the last entry was interrupted ({len(content.torn)} bytes).")
    return found


def fault_in_words(content: LogContent) -> list[str]:
    """Return a sentence on what of a log does not fit; none if all fits."""
    if content.fault is None:
        return []
    return [f"The log does not hold from {content.fault}; {counted(content.left_out, 'line')} left out."]


__all__ = ["TOLERANCE", "TORN", "Entry", "Log", "LogContent", "fault_in_words", "interruptions_in_words", "read_log",
           "time_of", "time_text", "utc_now"]  # fmt: skip
