"""Receive studies of the DICOM network, stage those with an ROI or a key object selection, and send the results back.

Everything else is left alone and logged. Log lines contain the random names of studies in the spool, and no UIDs.
"""

import errno
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GTRStagingLib.archive.contents import Contents, contents_of
from GTRStagingLib.archive.dimse import network
from GTRStagingLib.archive.sending import Sent, UnsendableError
from GTRStagingLib.archive.spool import FullError, Spool, Study
from GTRStagingLib.errors import InputError, MachineError, OutputError
from GTRStagingLib.imaging.dicom_pixels import JPEG_FAMILY, NATIVE, RLE
from GTRStagingLib.support.addresses import require_ae_title
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.isolation import TRIES, DiedError
from GTRStagingLib.support.shared_text import shared_error

SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
"""Status of a store request (DICOM PS3.4 B.2.3)."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of the system that are no fault of the study."""

ASSOCIATIONS = 8
"""Most associations at once."""

STEP_S = 0.2
"""Seconds between two looks at the spool."""

StageStudy = Callable[[Path, Contents, Path], str]
"""Function of a study's objects, its contents and the folder for its results; it returns why staging failed, or an
empty text."""

SendResults = Callable[[Path], Sent]
"""Function that sends the DICOM objects of a folder."""


@dataclass(frozen=True)
class ListenSettings:
    """Settings of a listener.

    Attributes
    ----------
    title
        AE title by which it is called.
    known
        AE titles from which it accepts associations.
    host, port
        Where it listens; by default only this machine can connect. Port 0 is any free one.
    quiet_s
        Seconds without an object after which a study is complete.
    again_s
        Seconds between attempts at sending.
    incomplete_s
        Seconds without an object after which a study fails of which objects were refused and have not come since.
    """

    title: str
    known: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 11112
    quiet_s: float = 30.0
    again_s: float = 60.0
    incomplete_s: float = 3600.0

    def __post_init__(self) -> None:
        for one in (self.title, *self.known):
            require_ae_title(one)
        if not self.known:
            raise InputError("`known` is empty; expected the AE titles that may send. Name them.")
        if not 0 < self.quiet_s < float("inf"):
            raise InputError(f"`quiet_s` is {self.quiet_s:g}; expected seconds above 0.")
        if not 0 < self.again_s < float("inf"):
            raise InputError(f"`again_s` is {self.again_s:g}; expected seconds above 0.")
        if not 0 < self.incomplete_s < float("inf"):
            raise InputError(f"`incomplete_s` is {self.incomplete_s:g}; expected seconds above 0.")
        if not 0 <= self.port < 65536:
            raise InputError(f"`port` is {self.port}; expected 0 to 65535.")


@dataclass
class Listener:
    """Storage SCP with a spool.

    Parameters
    ----------
    settings
        Titles, place and times.
    spool
        Where studies wait.
    stage
        Function that stages a study.
    send
        Function that sends results.
    log
        Called with each line of the log.
    """

    settings: ListenSettings
    spool: Spool
    stage: StageStudy
    send: SendResults
    log: Callable[[str], None] = lambda line: None
    _stop: threading.Event = field(default_factory=threading.Event)
    _later: dict[str, float] = field(default_factory=dict)
    _refused_at: float = 0.0
    _incomplete: set[str] = field(default_factory=set)

    def run(self, ready: Callable[[int], None] = lambda port: None) -> None:
        """Listen until `stop` is called; `ready` is called with the port.

        Raises
        ------
        InputError, MachineError
            If the spool is in use, or the port cannot be used.
        """
        with self.spool.opened(self.log), self._served() as port:
            ready(port)
            while not self._stop.is_set():
                for study in self.spool.waiting():
                    if self._stop.is_set():
                        break
                    self._advance(study)
                self._stop.wait(STEP_S)
        self.log("stopped; what waits is taken up by the next start")

    def stop(self) -> None:
        """Let `run` return; what waits stays in the spool."""
        self._stop.set()

    # -- receiving -------------------------------------------------------------------------------------------------

    @contextmanager
    def _served(self) -> Iterator[int]:
        package = network()
        entity = package.AE(ae_title=self.settings.title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self.settings.known)
        entity.maximum_associations = ASSOCIATIONS
        entity.network_timeout = 60
        syntaxes = sorted({*NATIVE, RLE, *JPEG_FAMILY})
        for context in package.AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, syntaxes)
        entity.add_supported_context("1.2.840.10008.1.1")  # Verification
        handlers = [(package.evt.EVT_C_STORE, self._received), (package.evt.EVT_REJECTED, self._rejected)]
        try:
            server = entity.start_server((self.settings.host, self.settings.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise MachineError(
                f"{self.settings.host}:{self.settings.port} cannot be listened at ({error.strerror or error}); "
                "expected a free port of this machine. Choose another `port`."
            ) from error
        try:
            port: int = server.server_address[1]
            self.log(f"listening at {self.settings.host}:{port} as {self.settings.title}")
            yield port
        finally:
            server.shutdown()

    def _received(self, event: Any) -> int:
        """Keep an object, and return the status of its store request."""
        content = event.encoded_dataset()
        try:
            study, instance = _identifying(content)
        except Exception:  # a damaged object can raise any kind
            self.log("refused an object without a study or an instance UID")
            return NOT_UNDERSTOOD
        try:
            self.spool.add(study, instance, content)
        except FullError as error:
            if time.monotonic() - self._refused_at > 10:  # a sender may try hundreds of objects
                self._refused_at = time.monotonic()
                self.log(f"refused objects: {error}")
            return OUT_OF_RESOURCES
        return SUCCESS

    def _rejected(self, event: Any) -> None:
        self.log("rejected an association: its titles are not known here, or too many are open")

    # -- staging and sending ---------------------------------------------------------------------------------------

    def _advance(self, study: Study) -> None:
        """Stage or send a study, if it is time."""
        try:
            due = time.monotonic() >= self._later.get(study.name, 0.0)
            if study.stage == "receiving" and due and time.monotonic() - study.last >= self.settings.quiet_s:
                if study.missing:
                    self._wait_for_missing(study)
                else:
                    self._incomplete.discard(study.name)
                    self._stage(study)
            if study.stage == "sending" and due:
                self._send(study)
        except OSError as error:  # a full disk, for example
            self._later[study.name] = time.monotonic() + self.settings.again_s
            study.last = time.monotonic()
            self.log(f"study {study.name}: {error.strerror or type(error).__name__}; tried again later")

    def _wait_for_missing(self, study: Study) -> None:
        """Log that objects of a study were refused, or let it fail if they have not come for too long."""
        objects = counted(len(study.missing), "object")
        if study.name not in self._incomplete:
            self._incomplete.add(study.name)
            self.log(
                f"study {study.name}: waits for {objects} that could not be kept, for up to "
                f"{self.settings.incomplete_s:.0f} s"
            )
        if time.monotonic() - study.last < self.settings.incomplete_s:
            return
        count = sum(1 for _ in study.objects.glob("*.dcm"))
        reason = f"The study lacks {objects} that could not be kept; expected all. Send it again."
        if self.spool.give_up(study, reason):
            self._incomplete.discard(study.name)
            self.log(f"study {study.name}: failed, {counted(count, 'object')}: {reason}")

    def _stage(self, study: Study) -> None:
        self.spool.begin_staging(study)
        count = sum(1 for _ in study.objects.glob("*.dcm"))
        begun = time.monotonic()
        try:
            found = contents_of(study.objects)
            if found.left_alone:
                self.log(f"study {study.name}: left alone, {count} objects: {found.left_alone}")
                self.spool.finish(study)
                return
            reason = self.stage(study.objects, found, study.results)
        except DiedError as error:
            if self._stop.is_set():
                return
            tries = study.tries + 1
            reason = str(error)
            if tries < TRIES and not error.overtime:
                self.log(f"study {study.name}: {reason} It is tried again")
                study.note("receiving", tries=tries)
                return
        except OutputError as error:  # a full disk here is no fault of the study
            self._later[study.name] = time.monotonic() + self.settings.again_s
            study.note("receiving", tries=study.tries)
            self.log(f"study {study.name}: {shared_error(error)} It is tried again in {self.settings.again_s:.0f} s")
            return
        except Exception as error:  # a fault of one study must not end the listener
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            reason = shared_error(error)
        if reason:
            if self.spool.end(study, "failed", reason=_first_line(reason)):
                self.log(f"study {study.name}: failed, {count} objects: {_first_line(reason)}")
        elif self.spool.end(study, "sending"):
            self.log(f"study {study.name}: staged, {count} objects, {time.monotonic() - begun:.1f} s")

    def _send(self, study: Study) -> None:
        try:
            sent = self.send(study.results)
        except UnsendableError as error:
            if self.spool.end(study, "failed", reason=shared_error(error)):
                self.log(f"study {study.name}: failed: {shared_error(error)}")
            return
        except Exception as error:
            sent = Sent({}, problem=shared_error(error))
        if sent.complete and not sent.problem:
            self.log(f"study {study.name}: {sent.summary()}")
            self._later.pop(study.name, None)
            self.spool.finish(study)
            return
        study.tries += 1
        wait = self.settings.again_s * min(2 ** (study.tries - 1), 60)
        self._later[study.name] = time.monotonic() + wait
        why = _first_line(sent.problem or "; ".join(sent.reasons))
        self.log(f"study {study.name}: {sent.summary()}; tried again in {wait:.0f} s: {why}")


def _identifying(content: bytes) -> tuple[str, str]:
    """Return the UIDs of the study and of the instance of an object."""
    from pydicom import dcmread

    keywords = ["StudyInstanceUID", "SOPInstanceUID"]
    header = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=keywords)
    study, instance = (str(header.get(keyword) or "") for keyword in keywords)
    if not study or not instance:
        raise ValueError("no UID")
    return study, instance


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


__all__ = ["ListenSettings", "Listener", "SendResults", "StageStudy"]
