"""Start and stop a real Orthanc on free loopback ports, with a folder and a configuration of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest

# `urlopen` keeps the proxies of its first call in a process, also those that a test had set for its own time.
open_directly = build_opener(ProxyHandler({})).open

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def executable() -> str:
    """Return the path of Orthanc; without it the test is skipped, and fails under CI on Linux."""
    found = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if found is None or not PLUGIN.exists():
        message = "Orthanc with its plug-in for DICOMweb was not found; on Debian: make .venv/.archive"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(message)
        pytest.skip(message)
    return found


def _survive_long_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass(frozen=True)
class Study:
    """A phantom's study as files, with its UIDs."""

    folder: Path
    uid: str
    series: str

    @property
    def slices(self) -> list[Path]:
        return sorted((self.folder / "ct").iterdir())

    @property
    def seg(self) -> Path:
        return self.folder / "tumour_seg.dcm"


def a_study(folder: Path) -> Study:
    """Write a phantom of 96 pixels as a study."""
    from pydicom import dcmread

    from GTRStagingLib.phantoms.export import write_dicom
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    write_dicom(make_phantom(TStage.T3, seed=3, size=96), folder)
    first = dcmread(folder / "ct" / "0001.dcm", stop_before_pixels=True)
    return Study(folder, str(first.StudyInstanceUID), str(first.SeriesInstanceUID))


@dataclass
class Orthanc:
    """A running Orthanc; `user` and `password` are those of its only user."""

    folder: Path
    config: dict
    headers: dict = field(default_factory=dict)
    process: subprocess.Popen | None = None

    @property
    def address(self) -> str:
        return f"dicomweb:{self.url}/dicom-web"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['HttpPort']}"

    @property
    def dimse(self) -> str:
        return f"dicom://{self.config['DicomAet']}@127.0.0.1:{self.config['DicomPort']}"

    def start(self) -> "Orthanc":
        """Start the process, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(self.config))
        log = (self.folder / "log.txt").open("ab")
        self.process = subprocess.Popen(
            [executable(), str(self.folder / "orthanc.json")],
            stdout=log, stderr=log, cwd=self.folder, preexec_fn=_survive_long_files,
        )  # fmt: skip
        for _ in range(400):
            if self.process.poll() is not None:
                raise RuntimeError(self.log())
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.config["HttpPort"])) == 0:
                    return self
            time.sleep(0.05)
        raise RuntimeError("Orthanc does not answer")

    def log(self) -> str:
        """Return the end of what the process wrote."""
        return (self.folder / "log.txt").read_text(errors="replace")[-3000:]

    def fill(self, largest_file: int) -> None:
        """Let the writing of longer files fail from now on, as on a full disk."""
        self._allow(largest_file)

    def empty(self) -> None:
        """Let files of any length be written again."""
        self._allow(-1)

    def _allow(self, largest_file: int) -> None:
        import resource  # POSIX only

        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self.process = None

    def get(self, path: str) -> bytes:
        """Return the answer of Orthanc's own interface."""
        with open_directly(Request(self.url + path, headers=self.headers)) as answer:
            return answer.read()

    def json(self, path: str):
        return json.loads(self.get(path))

    def add(self, *files: Path) -> None:
        """Store files by Orthanc's own interface."""
        for file in files:
            request = Request(f"{self.url}/instances", data=file.read_bytes(), headers=self.headers)
            with open_directly(request) as answer:
                assert answer.status == 200

    def instances(self) -> dict[str, bytes]:
        """Return the stored files by SOP Instance UID."""
        every = self.json("/instances?expand") if self.json("/instances") else []
        return {one["MainDicomTags"]["SOPInstanceUID"]: self.get(f"/instances/{one['ID']}/file") for one in every}


def configured(folder: Path, **changes) -> Orthanc:
    """Return an Orthanc that is not running, on free ports of this machine."""
    config = {
        "Name": "Archive of the tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": free_port(),
        "DicomPort": free_port(),
        "DicomAet": "ARCHIVE",
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {},
        "DicomAlwaysAllowStore": True,
        "JobsHistorySize": 10,
        **changes,
    }
    return Orthanc(folder, config)


@contextmanager
def running(folder: Path, **changes):
    """Yield a running Orthanc with these changes of its configuration."""
    executable()
    made = configured(folder, **changes)
    try:
        yield made.start()
    finally:
        if made.process is not None:
            ended = made.process.poll()
            if ended is None:
                made.kill()  # its orderly end takes seconds, and its folder is thrown away
            else:
                raise RuntimeError(f"Orthanc ended before its test, with {ended}:\n{made.log()}")
