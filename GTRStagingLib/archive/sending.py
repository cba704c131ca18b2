"""Send the DICOM objects of a folder to an archive, each once, and keep what could not be sent for another attempt."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from GTRStagingLib.archive.dimse import DimseSender
from GTRStagingLib.archive.outbox import LOCK, OUTBOX, Entry, Outbox, not_listed, read_outbox
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.archive.web_errors import RefusedError
from GTRStagingLib.dicom_results.identity import is_result
from GTRStagingLib.errors import InputError, MachineError, OutputError
from GTRStagingLib.imaging.dicom_files import damage_refused, import_dicom_package
from GTRStagingLib.imaging.dicom_headers import files_below, is_dicom, whole_header
from GTRStagingLib.support.addresses import DimseAddress, WebAddress
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.support.folder_lock import locked_folder

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

NOT_COMMITTED = (
    "The archive took the object, but does not commit to keep it; expected it to be stored. Ask its operator, then "
    "send again."
)


class UnsendableError(InputError):
    """Folder without objects to send, or with a damaged one: another attempt cannot succeed."""


Progress = Callable[[int, int], None]
"""Function that receives the number of objects that are settled, and of all."""


class Sender(AbstractContextManager["Sender"], Protocol):
    """Way to an archive, open inside a `with` block."""

    def expect(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Take note of the pairs of class and transfer syntax of the objects that will be stored."""

    def has(self, dataset: Any) -> bool:
        """Return whether the archive has an object; False if it cannot be asked."""

    def store(self, dataset: Any) -> None:
        """Store an object; raise `RefusedError` if the archive does not take it."""

    def committed(self, datasets: Sequence[Any]) -> Mapping[str, bool]:
        """Return by SOP Instance UID whether the archive promises to keep a stored object, where it answers."""


@dataclass
class WebSender:
    """Way to a DICOMweb service, which is asked once for each series."""

    archive: WebArchive
    _known: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def __enter__(self) -> "WebSender":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: a service has no connection that must be closed."""

    def expect(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Do nothing: a service needs no agreement on classes beforehand."""

    def has(self, dataset: Any) -> bool:
        """Return whether the archive lists an object."""
        series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
        if series not in self._known:
            self._known[series] = self.archive.instances_of(*series)
        return str(dataset.SOPInstanceUID) in self._known[series]

    def store(self, dataset: Any) -> None:
        """Store an object; raise `RefusedError` if the archive does not take it."""
        self.archive.store(dataset)

    def committed(self, datasets: Sequence[Any]) -> Mapping[str, bool]:
        """Return nothing, since DICOMweb has no such promise; storing has asked whether the object is there."""
        return {}


@dataclass(frozen=True)
class Sent:
    """Outcome of sending a folder: names of files by state.

    Attributes
    ----------
    states
        State of each file, in the order of their names (see `outbox.State`).
    earlier
        Number of files that an earlier run had sent.
    problem
        Why sending was stopped; empty if it was not.
    reasons
        Why files were refused, each reason once.
    """

    states: dict[str, str]
    earlier: int = 0
    problem: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the archive has every object."""
        return not {"waiting", "refused"} & set(self.states.values())

    def summary(self) -> str:
        """Return the counts as a sentence without a full stop."""
        return self.in_words(Counter(self.states.values()), self.earlier)

    @staticmethod
    def in_words(counts: Mapping[str, int], earlier: int = 0) -> str:
        """Return numbers of objects by state in words, with the number of those that an earlier run had sent."""
        words = {"sent": "sent", "committed": "sent and committed", "there": "already there", "refused": "refused",
                 "waiting": "waiting"}  # fmt: skip
        parts = [f"{counts[state]} {word}" for state, word in words.items() if counts.get(state)]
        before = f" ({earlier} by an earlier run)" if earlier else ""
        return f"{counted(sum(counts.values()), 'object')}: {', '.join(parts) or 'nothing to send'}{before}"


def sender_to(address: WebAddress | DimseAddress) -> Sender:
    """Return a way to an archive; nothing is connected yet."""
    return WebSender(WebArchive(address)) if isinstance(address, WebAddress) else DimseSender(address)


def send_folder(
    folder: Path,
    address: WebAddress | DimseAddress,
    *,
    files: Sequence[Path] | None = None,
    sender: Sender | None = None,
    progress: Progress = lambda done, total: None,
) -> Sent:
    """Send DICOM objects of a folder.

    Objects that the archive has are not sent again. The outcome of each is kept in the folder (see `outbox`), so that
    another call sends what is missing. If the archive cannot be reached, or does not answer as one does, the remaining
    objects wait, and `problem` of the result says why.

    Parameters
    ----------
    folder
        Folder of the objects, in which the list of what was sent is kept.
    files
        Objects in this folder or its sub-folders; by default all of them, whoever wrote them (see `own_objects`).
    sender
        Way to the archive; by default a new one.

    Raises
    ------
    UnsendableError
        If the folder has no DICOM objects, or one of them is damaged.
    InputError
        If the list of objects is damaged, or another process sends this folder.
    OutputError
        If the list of objects cannot be written.
    """
    if files is None:
        files = _objects_below(folder)
    if not files:
        raise UnsendableError(f"{folder.name} has no DICOM objects; expected results as DICOM. Give another folder.")
    busy = (
        f"Another process sends {folder.name}; expected one at a time. Wait until it ends, then send again: what it "
        "sent is not sent twice."
    )
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(folder / LOCK, busy))
        except OSError as error:
            raise not_listed(error) from error
        return _send_locked(folder, address, files, sender, progress)


def _send_locked(
    folder: Path,
    address: WebAddress | DimseAddress,
    files: Sequence[Path],
    sender: Sender | None,
    progress: Progress,
) -> Sent:
    objects = {path.relative_to(folder).as_posix(): (path, sha256_of(path)) for path in files}
    box = read_outbox(folder, str(address))
    waiting = {name: found for name, found in objects.items() if not box.is_done(name, found[1])}
    earlier = len(objects) - len(waiting)
    box = replace(box, entries={**box.entries, **{name: Entry(sha) for name, (_, sha) in waiting.items()}})
    box.write()  # before the first attempt, so that a run that is killed leaves the list
    problem = ""
    if waiting:
        try:
            with sender or sender_to(address) as way:
                box = _send(box, waiting, way, lambda done: progress(earlier + done, len(objects)))
        except (OutputError, UnsendableError):
            raise
        except (MachineError, InputError) as error:  # an InputError here is an answer that no archive gives
            problem, box = str(error), read_outbox(folder, str(address))
    states = {name: box.entries[name].state for name in objects}
    reasons = tuple(dict.fromkeys(box.entries[name].reason for name in objects if box.entries[name].reason))
    return Sent(dict(states), earlier, problem, reasons)


def own_objects(folder: Path) -> tuple[list[Path], int]:
    """Return the results of this software in a folder and its sub-folders, and the number of other DICOM objects.

    Others, such as the CT of another case, are not results, and nobody asked to send them.

    Raises
    ------
    UnsendableError
        If the folder has no results as DICOM.
    InputError
        If the header of an object cannot be read.
    """
    every = _objects_below(folder)
    own = [path for path in every if is_result(whole_header(path, ["Manufacturer", "ManufacturerModelName"]))]
    others = len(every) - len(own)
    if not own:
        found = f" ({counted(others, 'object')} of other software)" if others else ""
        raise UnsendableError(
            f"{folder.name} has no DICOM objects of this software{found}; expected results as DICOM. Give another "
            "folder."
        )
    return own, others


def _objects_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UnsendableError(
            f"{folder.name} is not a folder; expected one with DICOM objects. Give that of the results."
        )
    return [path for path in files_below(folder) if path.name != OUTBOX and is_dicom(path)]


def _send(box: Outbox, waiting: dict[str, tuple[Path, str]], way: Sender, progress: Callable[[int], None]) -> Outbox:
    stored: dict[str, Any] = {}
    way.expect(_kinds(path for path, _ in waiting.values()))
    for done, (name, (path, sha256)) in enumerate(waiting.items(), 1):
        dataset = _read(path)
        if way.has(dataset):
            box = box.with_entry(name, Entry(sha256, "there"))
        else:
            try:
                way.store(dataset)
            except RefusedError as error:
                box = box.with_entry(name, Entry(sha256, "refused", str(error)))
            else:
                box = box.with_entry(name, Entry(sha256, "sent"))
                stored[name] = _reference(dataset)
        progress(done)
    promised = way.committed(list(stored.values()))
    for name, one in stored.items():
        if (kept := promised.get(str(one.SOPInstanceUID))) is True:
            box = box.with_entry(name, Entry(waiting[name][1], "committed"))
        elif kept is False:
            box = box.with_entry(name, Entry(waiting[name][1], "refused", NOT_COMMITTED))
    return box


def _kinds(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the class and transfer syntax of each object; damaged ones are left to `_read`."""
    for path in paths:
        try:
            header = whole_header(path, ["SOPClassUID"])
            yield str(header.SOPClassUID), str(header.file_meta.TransferSyntaxUID)
        except (InputError, AttributeError):
            continue


def _reference(dataset: Any) -> Any:
    """Return the identifying elements of an object, so that its pixels need not stay in memory."""
    kept = import_dicom_package("pydicom").Dataset()
    for keyword in NEEDED:
        setattr(kept, keyword, dataset.get(keyword))
    return kept


def _read(path: Path) -> Any:
    try:
        with damage_refused(
            lambda error: (
                f"{path.name} cannot be read as DICOM ({type(error).__name__}); expected an object to send. It is "
                "damaged: write the results again."
            )
        ):
            dataset = import_dicom_package("pydicom").dcmread(path)
            missing = [keyword for keyword in NEEDED if not dataset.get(keyword)]
    except InputError as error:
        raise UnsendableError(str(error)) from error
    if missing:
        raise UnsendableError(
            f"{path.name} has no {' and no '.join(missing)}; expected a DICOM object. It is damaged: write the results "
            "again."
        )
    return dataset


__all__ = ["Progress", "Sender", "Sent", "UnsendableError", "WebSender", "own_objects", "send_folder", "sender_to"]
