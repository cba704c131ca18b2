"""Send objects to an application entity of the DICOM network (C-STORE), with storage commitment where it is offered."""

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from GTRStagingLib.archive.web_errors import RefusedError, status_in_words
from GTRStagingLib.errors import MachineError
from GTRStagingLib.support.addresses import DimseAddress, require_ae_title
from GTRStagingLib.support.extras import import_extra

TITLE, DEFAULT_TITLE = "GTRSTAGING_AE_TITLE", "GTRSTAGING"
"""Environment variable with the AE title of this software, and its default."""

COMMIT_PORT = "GTRSTAGING_COMMIT_PORT"
"""Environment variable with the port at which an archive reports what it has committed; none: on the association."""

VERIFICATION = "1.2.840.10008.1.1"
"""Class that every archive accepts, so that a rejected class of objects does not end the association."""

COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""Storage Commitment Push Model, and its well-known instance."""

COMMIT_HOST, DEFAULT_HOST = "GTRSTAGING_COMMIT_HOST", "127.0.0.1"
"""Environment variable with the address of this machine at which that port is open, and its default."""

TIMEOUT_S, COMMITMENT_S = 30.0, 10.0
"""Seconds to wait for an answer, and for the report of a commitment."""

CONTEXTS = 100
"""Most pairs of class and transfer syntax of one association; DICOM allows 128."""


def own_title() -> str:
    """Return the AE title of this software."""
    return require_ae_title(os.environ.get(TITLE) or DEFAULT_TITLE)


def network() -> Any:
    """Return the package pynetdicom, whose logs are off, since they contain identifiers."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    return import_extra("pynetdicom", "The DICOM network needs", "archive")


@dataclass
class DimseSender:
    """Way to an application entity: one association for all classes and transfer syntaxes.

    Parameters
    ----------
    address
        Application entity.
    commitment_s
        Seconds to wait for the report of a commitment; 0: ask for none.
    """

    address: DimseAddress
    commitment_s: float = COMMITMENT_S
    _association: Any = None
    _offered: set[tuple[str, str]] = field(default_factory=set)
    _promised: dict[str, bool] = field(default_factory=dict)
    _transaction: str = ""
    _reported: threading.Event = field(default_factory=threading.Event)
    _server: Any = None

    def __enter__(self) -> "DimseSender":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def expect(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Offer these pairs of class and transfer syntax with the next association."""
        self._offered.update(sorted(set(kinds) - self._offered)[: CONTEXTS - len(self._offered)])

    def has(self, dataset: Any) -> bool:
        """Return False: C-STORE has no question for it, and archives keep an instance once."""
        return False

    def store(self, dataset: Any) -> None:
        """Store an object.

        Raises
        ------
        RefusedError
            If the archive does not take its class, or refuses it.
        MachineError
            If the archive cannot be reached or does not accept this software.
        """
        context = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
        self._associate(context)
        try:
            status = self._association.send_c_store(dataset)
        except ValueError as error:
            raise self._not_accepted(str(error)) from error
        except RuntimeError as error:  # the association has ended
            raise self._broken() from error
        code = status.get("Status")
        if code is None:
            raise self._broken()
        if code != 0x0000 and code >> 12 != 0xB:  # 0xB: stored, with a warning
            words = status_in_words(code)
            full = " It may be full: ask its operator, then send again." if code >> 8 == 0xA7 else ""
            raise RefusedError(
                f"{self.address}: the archive did not take the object, {words}; expected it to be stored."
                f"{full or ' See the log of the archive.'}",
                details=str(status.get("ErrorComment") or ""),
            )

    def committed(self, datasets: Sequence[Any]) -> Mapping[str, bool]:
        """Ask the archive to commit to stored objects; return by SOP Instance UID whether it promises to keep each.

        Nothing is returned where the archive does not offer it, or does not report in time: the objects are stored
        all the same.
        """
        if not datasets or not self.commitment_s:
            return {}
        package = network()
        self._release()
        try:
            self._associate((COMMITMENT, "1.2.840.10008.1.2.1"))
        except (MachineError, RefusedError):
            return {}
        if not any(one.abstract_syntax == COMMITMENT for one in self._association.accepted_contexts):
            return {}
        pydicom = import_extra("pydicom", "The DICOM network needs", "archive")
        wanted, references = pydicom.Dataset(), []
        for one in datasets:
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
            references.append(item)
        wanted.TransactionUID = pydicom.uid.generate_uid()
        self._transaction = str(wanted.TransactionUID)
        wanted.ReferencedSOPSequence = references
        self._listen(package)
        self._reported.clear()
        try:
            status, _ = self._association.send_n_action(wanted, 1, COMMITMENT, COMMITMENT_INSTANCE)
        except (ValueError, RuntimeError):
            return {}
        if status.get("Status") != 0x0000:
            return {}
        self._reported.wait(self.commitment_s)
        return dict(self._promised)

    def _listen(self, package: Any) -> None:
        """Wait for the report at the port of the environment, if it names one."""
        port = os.environ.get(COMMIT_PORT)
        if not port or self._server is not None:
            return
        host = os.environ.get(COMMIT_HOST) or DEFAULT_HOST
        entity = package.AE(ae_title=own_title())
        entity.require_called_aet, entity.require_calling_aet = True, [self.address.title]
        entity.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        try:
            self._server = entity.start_server(
                (host, int(port)), block=False, evt_handlers=[(package.evt.EVT_N_EVENT_REPORT, self._report)]
            )
        except (OSError, ValueError) as error:
            raise MachineError(
                f"{COMMIT_PORT} is {port!r}, and nothing can be received there at {host} ({error}); expected a free "
                f"port of this machine. Choose another one, or unset it; {COMMIT_HOST} is the address."
            ) from error

    def _report(self, event: Any) -> tuple[int, None]:
        """Keep what an archive reports on the objects that it was asked about, and return the status."""
        if str(event.event_information.get("TransactionUID") or "") != self._transaction:
            return 0x0115, None  # an argument that is not valid here
        for sequence, kept in (("ReferencedSOPSequence", True), ("FailedSOPSequence", False)):
            for item in event.event_information.get(sequence) or ():
                self._promised[str(item.ReferencedSOPInstanceUID)] = kept
        self._reported.set()
        return 0x0000, None

    def _associate(self, context: tuple[str, str]) -> None:
        if self._association is not None and self._association.is_established and context in self._offered:
            return
        self._release()
        package = network()
        if context not in self._offered and len(self._offered) >= CONTEXTS:
            self._offered.clear()
        self._offered.add(context)
        entity = package.AE(ae_title=own_title())
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
        entity.connection_timeout = TIMEOUT_S
        for kind, syntax in sorted(self._offered):
            entity.add_requested_context(kind, syntax)
        entity.add_requested_context(VERIFICATION)
        made = entity.associate(
            self.address.host,
            self.address.port,
            ae_title=self.address.title,
            evt_handlers=[(package.evt.EVT_N_EVENT_REPORT, self._report)],
        )
        if made.is_rejected:
            raise MachineError(
                f"{self.address}: the archive rejects the association; expected it to know the AE title {own_title()} "
                f"and to be called {self.address.title}. Register this software there, or set {TITLE}."
            )
        if not made.is_established and made.rejected_contexts:
            raise self._not_accepted("No class was accepted.")
        if not made.is_established:
            raise MachineError(
                f"{self.address}: no association; expected a running DICOM service. Check host, port and titles."
            )
        self._association = made

    def _not_accepted(self, details: str) -> RefusedError:
        return RefusedError(
            f"{self.address}: the archive does not accept this class of objects or its transfer syntax; expected both. "
            "Ask its operator to allow them.",
            details=details,
        )

    def _broken(self) -> MachineError:
        return MachineError(
            f"{self.address}: the connection broke during an object; expected an answer. Send again: what the archive "
            "has is kept once."
        )

    def _release(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()


__all__ = ["COMMIT_HOST", "COMMIT_PORT", "DEFAULT_TITLE", "TITLE", "DimseSender", "network", "own_title"]
