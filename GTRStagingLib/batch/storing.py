"""Send the DICOM results of cases to an archive as the cases end; what fails waits for the end, or for `resume`."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from GTRStagingLib.archive.sending import Sent, send_folder, sender_to
from GTRStagingLib.errors import StagingError
from GTRStagingLib.support.addresses import DimseAddress, WebAddress
from GTRStagingLib.support.counts import counted
from GTRStagingLib.tables.case_files import DICOM, DICOM_OUTPUTS


@dataclass
class Storing:
    """Sending of the results of a run, and its outcome.

    A failure does not fail a case: its results are there, and so is its list of what to send (`archive.outbox`). After
    the archive was not reached, no further case tries until the end of the run.

    Attributes
    ----------
    address
        The archive.
    cases
        Case -> number of its objects in each state (see `archive.outbox.State`).
    earlier
        Case -> number of its objects that an earlier run had sent.
    reasons
        Case -> why its objects are not all in the archive.
    """

    address: WebAddress | DimseAddress
    cases: dict[str, Counter[str]] = field(default_factory=dict)
    earlier: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    _waiting: list[Path] = field(default_factory=list)
    _reached: bool = True

    def send(self, folder: Path) -> None:
        """Send the objects of a case folder, if it has any; they wait if the archive was not reached before."""
        if not (folder / DICOM).is_dir():
            return
        if self._reached:
            self._send(folder)
        else:
            self._waiting.append(folder)
            self.cases[folder.name] = Counter(waiting=len(_written(folder)))

    def finish(self) -> None:
        """Try once more what waits, as long as the archive is reached."""
        waiting, self._waiting, self._reached = self._waiting, [], True
        for folder in waiting:
            if self._reached:
                self._send(folder)
            else:
                self._waiting.append(folder)
                self.reasons.setdefault(folder.name, "the archive was not reached")

    @property
    def complete(self) -> bool:
        """Whether the archive has every object."""
        return not self.reasons

    def summary(self) -> str:
        """Return the counts as a sentence without a full stop."""
        down = "" if self._reached else "; the archive was not reached or gave no access"
        missing = (
            f"; of {counted(len(self.reasons), 'case')} not all, set `resume` to send them" if self.reasons else ""
        )
        counts = sum(self.cases.values(), Counter[str]())
        return f"Archive: {Sent.in_words(counts, sum(self.earlier.values()))}{down}{missing}"

    def _send(self, folder: Path) -> None:
        try:
            with sender_to(self.address) as way:
                sent = send_folder(folder / DICOM, self.address, files=_written(folder), sender=way)
        except StagingError as error:
            self.cases[folder.name] = Counter(waiting=len(_written(folder)))
            self.reasons[folder.name] = str(error)
            return
        self.cases[folder.name], self.earlier[folder.name] = Counter(sent.states.values()), sent.earlier
        if sent.problem:
            self._reached = False
            self._waiting.append(folder)
            self.reasons[folder.name] = sent.problem
            return
        if sent.complete:
            self.reasons.pop(folder.name, None)
        else:
            self.reasons[folder.name] = "; ".join(sent.reasons)


def _written(folder: Path) -> list[Path]:
    """Return the DICOM objects that a batch has written into a case folder."""
    return [path for name in DICOM_OUTPUTS if (path := folder / name).is_file()]


__all__ = ["Storing"]
