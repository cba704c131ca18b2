"""Keep received studies on disk until their results are sent, so that nothing that was accepted is lost.

An object is written under another name, flushed to the disk, and renamed before its sender gets an answer. A study of
which an object was refused is neither staged nor done until that object has come.
A study has a folder with a random name, which logs may show: `objects/`, `results/` and `study.json` with its state.
"""

import json
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from GTRStagingLib.errors import InputError, MachineError
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import atomic_file, flush_folder, parse_json, remove_partial_files
from GTRStagingLib.support.folder_lock import locked_folder

STUDY, OBJECTS, RESULTS, LOCK = "study.json", "objects", "results", ".spool.lock"
FORMAT = 1

Stage = Literal["receiving", "sending", "failed", "done"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""`receiving`: objects may come, or staging has not ended; `sending`: results wait to be sent."""

MOST_REFUSED = 1000
"""Most studies without an accepted object of which it is known which objects were refused."""

MEASURE_S = 10.0
"""Seconds after which a full spool is measured again."""


class FullError(MachineError):
    """Spool that takes no further object."""


@dataclass
class Study:
    """Study in the spool.

    Attributes
    ----------
    folder
        Its folder.
    uid
        Study Instance UID; never logged.
    stage
        How far it is.
    last
        Time of the last object, by `time.monotonic`.
    tries
        Number of attempts at staging or sending that failed.
    changed
        Whether an object came since staging began.
    reason
        Why it failed.
    missing
        Names of the files of objects that were refused since the spool was full, and have not come since.
    """

    folder: Path
    uid: str = field(repr=False)
    stage: Stage = "receiving"
    last: float = field(default_factory=time.monotonic)
    tries: int = 0
    changed: bool = False
    reason: str = ""
    missing: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Name for logs."""
        return self.folder.name

    @property
    def objects(self) -> Path:
        """Folder of the received objects."""
        return self.folder / OBJECTS

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self.folder / RESULTS

    def note(self, stage: Stage, *, tries: int = 0, reason: str = "") -> None:
        """Record how far the study is."""
        self.stage, self.tries, self.reason = stage, tries, reason
        record = {
            "format": FORMAT, "study": self.uid, "stage": stage, "tries": tries, "reason": reason,
            "missing": sorted(self.missing),
        }  # fmt: skip
        with atomic_file(self.folder / STUDY, private=True) as stream:
            stream.write((json.dumps(record, indent=2) + "\n").encode())
        flush_folder(self.folder)


class Spool:
    """Folder of received studies, with bounds; one process uses it at a time.

    Parameters
    ----------
    folder
        Made if it does not exist; only its owner can read it.
    most_bytes, most_studies
        Bounds of what it holds, results included.
    keep
        Whether the folders of studies that are done stay on the disk; they count towards the bound.
    least_free
        Bytes of the disk that stay free.

    Raises
    ------
    InputError
        If another process uses it.
    MachineError
        If it cannot be written to.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int, most_studies: int, keep: bool = False, least_free: int = 1 << 28
    ) -> None:
        self.folder, self.most_bytes, self.most_studies = folder, most_bytes, most_studies
        self.keep, self.least_free = keep, least_free
        self._guard = threading.RLock()
        self._studies: dict[str, Study] = {}
        self._refused: dict[str, set[str]] = {}  # of studies of which nothing was accepted yet
        self._bytes = 0
        self._measured = 0.0

    @contextmanager
    def opened(self, log: Callable[[str], None] = lambda line: None) -> Iterator["Spool"]:
        """Lock the spool, and take up what an earlier process left there."""
        busy = f"Another process uses the spool {self.folder.name}; expected one. Stop it, or choose another `spool`."
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            with locked_folder(self.folder / LOCK, busy):
                self._take_up(log)
                yield self
        except OSError as error:
            raise MachineError(
                f"The spool cannot be written to ({error.strerror or error}); expected a writable folder with free "
                "space. Check its owner and its disk."
            ) from error

    def _take_up(self, log: Callable[[str], None]) -> None:
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            remove_partial_files(folder)  # of a process that was killed before it answered
            study = _read_study(folder)
            if study is None:
                if any(folder.rglob("*.dcm")):
                    log(f"study {folder.name}: its {STUDY} is missing or damaged; it is left as it is")
                else:
                    shutil.rmtree(folder, ignore_errors=True)  # killed before its first object
                continue
            if study.stage == "done":
                if not self.keep:
                    shutil.rmtree(folder, ignore_errors=True)  # killed while it was removed
                continue
            self._studies[study.uid] = study
            log(f"study {study.name}: taken up, {study.stage}, {len(list(study.objects.glob('*.dcm')))} objects")
        self._measure()

    def _measure(self) -> None:
        """Measure what the spool holds: results are written by others."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # a file that was just removed
                total += path.stat().st_size if path.is_file() else 0
        self._bytes, self._measured = total, time.monotonic()

    def add(self, study_uid: str, instance_uid: str, content: bytes) -> Study:
        """Keep an object; it is on the disk when this returns.

        Raises
        ------
        FullError
            If it would exceed a bound, or if the disk is full.
        """
        name = f"{sha256(instance_uid.encode()).hexdigest()[:32]}.dcm"
        with self._guard:
            study = self._known(study_uid)
            try:
                self._require_room(study, len(content))
                study = study or self._begin(study_uid)
                target = study.objects / name
                before = target.stat().st_size if target.exists() else 0
                with atomic_file(target, private=True) as stream:
                    stream.write(content)
                flush_folder(study.objects)
            except FullError:
                self._note_refused(study_uid, name)
                raise
            except OSError as error:
                self._note_refused(study_uid, name)
                raise FullError(
                    f"The spool cannot be written to ({error.strerror or error}); expected free space. Free some."
                ) from error
            self._bytes += len(content) - before
            study.last, study.changed = time.monotonic(), True
            study.missing.discard(name)
            if study.stage != "receiving":  # an object that came late: the study is staged again
                study.note("receiving")
            return study

    def _known(self, uid: str) -> Study | None:
        """Return a study, unless its folder was removed by hand, which also makes room."""
        study = self._studies.get(uid)
        if study is None or study.folder.is_dir():
            return study
        del self._studies[uid]
        self._measure()
        return None

    def _require_room(self, study: Study | None, size: int) -> None:
        """Raise `FullError` if an object of a size exceeds a bound; `study` is None for the first object of one."""
        if self._bytes + size > self.most_bytes and time.monotonic() - self._measured > MEASURE_S:
            self._measure()  # folders of failed studies may have been removed by hand
        if self._bytes + size > self.most_bytes:
            raise FullError(
                f"The spool holds {self._bytes >> 20} MB of at most {self.most_bytes >> 20}; expected room for an "
                "object. Send it again later, or raise `spool_mb`."
            )
        waiting = sum(one.stage != "failed" for one in self._studies.values())
        if study is None and waiting >= self.most_studies:
            raise FullError(
                f"{waiting} studies wait, of at most {self.most_studies}; expected fewer. Send it again "
                "later, or raise `studies`."
            )
        if shutil.disk_usage(self.folder).free < self.least_free + size:
            raise FullError("The disk of the spool is full; expected free space. Free some.")

    def _note_refused(self, uid: str, name: str) -> None:
        """Note that an object of a study is missing, unless it came before."""
        study = self._studies.get(uid)
        if study is None:
            self._refused.setdefault(uid, set()).add(name)
            if len(self._refused) > MOST_REFUSED:
                self._refused.pop(next(iter(self._refused)))
            return
        if (study.objects / name).exists():
            return
        study.missing.add(name)
        study.last, study.changed = time.monotonic(), True
        with suppress(OSError):  # a full disk; it is kept in memory, and written with the next step
            study.note("receiving", tries=study.tries)

    def _begin(self, uid: str) -> Study:
        study = Study(self.folder / secrets.token_hex(4), uid, missing=self._refused.get(uid, set()))
        study.objects.mkdir(parents=True, mode=0o700)
        study.note("receiving")
        flush_folder(self.folder)
        self._studies[uid] = study
        self._refused.pop(uid, None)
        return study

    def waiting(self) -> list[Study]:
        """Return the studies that are not done, those without objects for the longest time first."""
        with self._guard:
            known = [study for uid in list(self._studies) if (study := self._known(uid)) is not None]
            return sorted(known, key=lambda one: one.last)

    def begin_staging(self, study: Study) -> None:
        """Note that staging begins, and remove the results of an earlier attempt."""
        with self._guard:
            study.changed = False
        shutil.rmtree(study.results, ignore_errors=True)

    def end(self, study: Study, stage: Stage, *, tries: int = 0, reason: str = "") -> bool:
        """Record the end of a step; return False, without recording, if an object came or was refused meanwhile."""
        with self._guard:
            if study.stage == "receiving" and (study.changed or study.missing):
                return False
            study.note(stage, tries=tries, reason=reason)
            self._measure()
            return True

    def give_up(self, study: Study, reason: str) -> bool:
        """Record that a study failed since objects are missing; False if they came meanwhile."""
        with self._guard:
            if not study.missing:
                return False
            study.note("failed", reason=reason)
            return True

    def finish(self, study: Study) -> bool:
        """Record that a study is done, and remove its folder unless it is kept; False if an object came meanwhile."""
        with self._guard:
            if not self.end(study, "done"):
                return False
            self._studies.pop(study.uid, None)
            if not self.keep:
                shutil.rmtree(study.folder, ignore_errors=True)
                self._measure()
            return True


def _read_study(folder: Path) -> Study | None:
    try:
        record = Fields(parse_json((folder / STUDY).read_bytes())).data
        if record["format"] != FORMAT or record["stage"] not in STAGES or not isinstance(record["study"], str):
            return None
        study = Study(
            folder, record["study"], record["stage"], tries=int(record.get("tries") or 0), changed=True,
            reason=str(record.get("reason") or ""),
        )  # fmt: skip
        study.missing = {str(name) for name in record.get("missing") or () if not (study.objects / str(name)).exists()}
        return study
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


__all__ = ["FullError", "Spool", "Stage", "Study"]
