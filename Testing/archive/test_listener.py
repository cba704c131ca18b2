"""A listener keeps what it accepts, stages a study when it is complete, and sends the results to a real archive."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT, orthanc
from helpers.key_objects import a_key_object
from helpers.web_answers import answering
from pydicom import dcmread

from GTRStagingLib.archive.contents import contents_of
from GTRStagingLib.archive.listener import Listener, ListenSettings
from GTRStagingLib.archive.sending import WebSender, send_folder
from GTRStagingLib.archive.spool import FullError, Spool
from GTRStagingLib.archive.web import PAUSES_S, WebArchive
from GTRStagingLib.cli import listen, stage
from GTRStagingLib.errors import InputError, MachineError, OutputError
from GTRStagingLib.support.addresses import parse_dimse_address, parse_web_address
from GTRStagingLib.support.isolation import DiedError

pytestmark = pytest.mark.usefixtures("no_credentials")


def a_spool(folder, **changes):
    return Spool(folder, **{"most_bytes": 1 << 30, "most_studies": 10, "least_free": 0, **changes})


def copies(objects, found, results):
    """Write objects of a result: copies of the ROI, with an instance of their own."""
    (results / "dicom").mkdir(parents=True)
    one = dcmread(found.rois[0])
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{one.SOPInstanceUID[:-4]}1"
    one.SeriesInstanceUID = f"{one.SeriesInstanceUID[:-4]}1"
    one.Manufacturer = "GTR Staging developers"
    one.save_as(results / "dicom" / "region.dcm")
    return ""


class heard:  # noqa: N801
    """A listener that runs in a thread; its lines are in `lines`."""

    def __init__(self, folder, address, *, stage=copies, spool=None, pauses_s=PAUSES_S, **changes):
        self.lines = []
        archive = WebArchive(parse_web_address(address), pauses_s=pauses_s)

        def send_results(results):
            return send_folder(results / "dicom", archive.address, sender=WebSender(archive))

        settings = {"title": "LISTENER", "known": ["GTRSTAGING"], "port": 0, "quiet_s": 0.5, "again_s": 0.3, **changes}
        self.listener = Listener(
            ListenSettings(**settings), spool or a_spool(folder), stage, send_results, log=self.lines.append
        )
        self._ready = threading.Event()

    def __enter__(self):
        def ready(port):
            self.port = port
            self._ready.set()

        self._thread = threading.Thread(target=self.listener.run, args=(ready,))
        self._thread.start()
        assert self._ready.wait(10), self.lines
        return self

    def __exit__(self, *_):
        self.listener.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def address(self):
        return parse_dimse_address(f"dicom://LISTENER@127.0.0.1:{self.port}")

    def wait_for(self, text, seconds=20):
        for _ in range(int(seconds / 0.05)):
            if any(text in line for line in self.lines):
                return
            time.sleep(0.05)
        pytest.fail(f"{text!r} is not among {self.lines}")


@pytest.fixture
def sent_study(a_study, tmp_path):
    """A copy of the study's folder, to be sent."""
    folder = tmp_path / "sent"
    shutil.copytree(a_study.folder, folder)
    return folder


def send(folder, listener):
    return send_folder(folder, listener.address)


def test_a_study_with_an_roi_is_staged_once_and_its_result_is_sent(empty_archive, sent_study, a_study, tmp_path):
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("1 object: 1 sent")
    assert len(empty_archive.instances()) == 1
    assert list((tmp_path / "spool").glob("*/*.dcm")) == []  # a study that is done is removed
    assert any("staged, 25 objects" in line for line in listener.lines)
    uids = {
        str(dcmread(path).get(name))
        for path in [*a_study.slices, a_study.seg]
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientName", "PatientID")
    }
    assert [line for line in listener.lines if any(uid in line for uid in uids)] == []


def test_a_study_without_an_roi_is_left_alone(empty_archive, sent_study, tmp_path):
    (sent_study / "tumour_seg.dcm").unlink()
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("left alone, 24 objects: no ROI and no key object selection")
    assert empty_archive.instances() == {}


def test_an_roi_of_this_software_does_not_stage_its_study_again(sent_study):
    shutil.copy(sent_study / "tumour_seg.dcm", sent_study / "ct" / "seg.dcm")
    assert contents_of(sent_study / "ct").rois == (sent_study / "ct" / "seg.dcm",)
    seg = dcmread(sent_study / "tumour_seg.dcm")
    seg.ManufacturerModelName = "GTR Staging"
    seg.save_as(sent_study / "ct" / "seg.dcm")
    assert contents_of(sent_study / "ct").left_alone == "no ROI and no key object selection"


def test_a_study_with_several_rois_or_a_damaged_mark_fails_and_is_kept(empty_archive, sent_study, tmp_path):
    seg = dcmread(sent_study / "tumour_seg.dcm")
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = f"{seg.SOPInstanceUID[:-4]}2"
    seg.save_as(sent_study / "second.dcm")
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("failed, 26 objects: The study has 2 ROIs; expected one")
    assert len(list((tmp_path / "spool").glob("*/objects/*.dcm"))) == 26
    for roi in ("tumour_seg.dcm", "second.dcm"):
        (sent_study / roi).unlink()
    damaged = a_key_object([dcmread(path) for path in sorted((sent_study / "ct").iterdir())[:1]])
    damaged.ConceptNameCodeSequence[0].CodeValue = ""
    damaged.save_as(sent_study / "mark.dcm", enforce_file_format=True)
    (sent_study / "outbox.json").unlink()
    with heard(tmp_path / "other", empty_archive.address) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("failed, 25 objects: ")
    assert "has no title" in next((tmp_path / "other").glob("*/study.json")).read_text()
    assert len(list((tmp_path / "other").glob("*/objects/*.dcm"))) == 25


def test_an_object_that_comes_late_makes_a_new_attempt(empty_archive, sent_study, tmp_path):
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def slow(objects, found, results):
        seen.append(len(list(objects.glob("*.dcm"))))
        begun.set()
        assert go_on.wait(20)
        return copies(objects, found, results)

    late = sent_study / "late"
    late.mkdir()
    (sent_study / "ct" / "0024.dcm").rename(late / "0024.dcm")
    shutil.move(late, tmp_path / "late")
    with heard(tmp_path / "spool", empty_archive.address, stage=slow) as listener:
        assert send(sent_study, listener).complete
        assert begun.wait(10)
        assert send(tmp_path / "late", listener).complete
        go_on.set()
        listener.wait_for("1 object: 1 sent")
    assert seen == [24, 25]
    assert len(empty_archive.instances()) == 1


def test_an_unknown_title_is_rejected(empty_archive, sent_study, tmp_path, monkeypatch):
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        monkeypatch.setenv("GTRSTAGING_AE_TITLE", "STRANGER")
        assert "rejects the association" in send(sent_study, listener).problem
        monkeypatch.delenv("GTRSTAGING_AE_TITLE")
        wrong = parse_dimse_address(f"dicom://ELSEWHERE@127.0.0.1:{listener.port}")
        assert "rejects the association" in send_folder(sent_study, wrong).problem
        listener.wait_for("rejected an association")
    assert list((tmp_path / "spool").glob("*/objects/*")) == []


def test_a_full_spool_refuses_with_out_of_resources(empty_archive, sent_study, tmp_path):
    spool = a_spool(tmp_path / "spool", most_bytes=100_000)
    with heard(None, empty_archive.address, spool=spool, quiet_s=60) as listener:
        sent = send(sent_study, listener)
    assert not sent.complete
    assert "out of resources (0xA700)" in sent.reasons[0]
    stored = list((tmp_path / "spool").glob("*/objects/*.dcm"))
    assert len(stored) == sum(state == "sent" for state in sent.states.values()) > 0
    assert sum(path.stat().st_size for path in stored) <= 100_000
    assert sum("refused objects" in line for line in listener.lines) == 1


def test_the_number_of_waiting_studies_is_bounded(tmp_path):
    spool = a_spool(tmp_path / "spool", most_studies=2)
    with spool.opened():
        spool.add("1.1", "1.1.1", b"a")
        spool.add("1.2", "1.2.1", b"b")
        with pytest.raises(FullError, match="2 studies wait, of at most 2"):
            spool.add("1.3", "1.3.1", b"c")
        spool.add("1.1", "1.1.2", b"d")  # an object of a study that waits
        failed = spool.waiting()[0]
        spool.begin_staging(failed)
        assert spool.end(failed, "failed", reason="a reason")
        spool.add("1.3", "1.3.1", b"c")


def test_a_study_of_which_objects_were_refused_waits_for_them(empty_archive, sent_study, tmp_path):
    spool, seen = a_spool(tmp_path / "spool", most_bytes=300_000), []

    def stage(objects, found, results):
        seen.append(len(list(objects.glob("*.dcm"))))
        return copies(objects, found, results)

    with heard(None, empty_archive.address, spool=spool, stage=stage) as listener:
        assert not send(sent_study, listener).complete
        listener.wait_for("objects that could not be kept, for up to 3600 s")
        time.sleep(1.5)  # longer than `quiet_s`
        assert (seen, empty_archive.instances()) == ([], {})
        spool.most_bytes = 1 << 30  # room again
        assert send(sent_study, listener).complete
        listener.wait_for("1 object: 1 sent")
    assert seen == [25]
    assert sum("waits for" in line for line in listener.lines) == 1


def test_a_study_whose_missing_objects_do_not_come_fails_and_is_kept(empty_archive, sent_study, tmp_path):
    (sent_study / "tumour_seg.dcm").unlink()  # what was accepted is no study that can be staged
    spool = a_spool(tmp_path / "spool", most_bytes=300_000)
    with heard(None, empty_archive.address, spool=spool, incomplete_s=1.5) as listener:
        sent = send(sent_study, listener)
        missing = sum(state != "sent" for state in sent.states.values())
        listener.wait_for(f"failed, {24 - missing} objects: The study lacks {missing} objects that could")
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "spool").glob("*/study.json"))
    assert record["stage"] == "failed"
    assert record["reason"].endswith("expected all. Send it again.")
    assert len(record["missing"]) == missing > 0
    assert len(list((tmp_path / "spool").glob("*/objects/*.dcm"))) == 24 - missing > 0


def test_what_was_refused_is_known_after_a_restart_until_it_has_come(tmp_path):
    with (spool := a_spool(tmp_path / "spool", most_bytes=2000)).opened():
        assert spool.add("1.1", "1.1.1", bytes(1000)).missing == set()
        for instance in ("1.1.2", "1.1.3", "1.1.1"):  # the last one is there already
            with pytest.raises(FullError):
                spool.add("1.1", instance, bytes(1500))
    assert "1.1.2" not in (tmp_path / "spool").glob("*/study.json").__next__().read_text()
    with (again := a_spool(tmp_path / "spool")).opened():
        (study,) = again.waiting()
        assert len(study.missing) == 2
        again.begin_staging(study)
        assert not again.end(study, "sending")  # neither staged nor done without them
        assert not again.finish(study)
        again.add("1.1", "1.1.2", b"a")
        again.add("1.1", "1.1.3", b"b")
        again.begin_staging(study)
        assert again.end(study, "sending")
    with (last := a_spool(tmp_path / "spool")).opened():
        assert last.waiting()[0].missing == set()


def test_a_study_whose_first_objects_were_refused_is_not_complete_with_the_others(tmp_path):
    with (spool := a_spool(tmp_path / "spool", most_bytes=10)).opened():
        for instance in ("1.1.1", "1.1.2"):
            with pytest.raises(FullError):
                spool.add("1.1", instance, bytes(100))
        assert spool.waiting() == []
        spool.most_bytes = 1 << 20
        assert len(spool.add("1.1", "1.1.3", bytes(100)).missing) == 2
        spool.add("1.1", "1.1.1", bytes(100))
        assert len(spool.add("1.1", "1.1.2", bytes(100)).missing) == 0


def test_a_study_that_was_removed_by_hand_makes_room(tmp_path):
    with (spool := a_spool(tmp_path / "spool", most_bytes=3000, most_studies=1)).opened():
        first = spool.add("1.2.3", "1.2.3.1", bytes(2000))
        spool.begin_staging(first)
        assert spool.end(first, "failed", reason="for a test")
        shutil.rmtree(first.folder)
        again = spool.add("1.2.3", "1.2.3.1", bytes(2000))
        assert again.folder != first.folder
        assert [one.name for one in spool.waiting()] == [again.name]
        shutil.rmtree(again.folder)
        assert spool.waiting() == []
        assert spool.add("1.2.4", "1.2.4.1", bytes(2000)).stage == "receiving"


def test_a_refused_object_of_a_study_that_waits_to_be_sent_lets_it_be_staged_again(tmp_path):
    with (spool := a_spool(tmp_path / "spool")).opened():
        study = spool.add("1.1", "1.1.1", bytes(1000))
        spool.begin_staging(study)
        assert spool.end(study, "sending")
        spool.most_bytes = 1000
        with pytest.raises(FullError):
            spool.add("1.1", "1.1.2", bytes(1000))
        assert (study.stage, len(study.missing)) == ("receiving", 1)
        assert spool.give_up(study, "a reason")
        assert (study.stage, study.reason) == ("failed", "a reason")


def test_two_listeners_do_not_share_a_spool_or_a_port(empty_archive, tmp_path):
    with heard(tmp_path / "spool", empty_archive.address) as first:
        second = heard(tmp_path / "spool", empty_archive.address).listener
        with pytest.raises(InputError, match="Another process uses the spool"):
            second.run()
        third = heard(tmp_path / "other", empty_archive.address, port=first.port).listener
        with pytest.raises(MachineError, match="cannot be listened at"):
            third.run()


def test_it_listens_at_one_address_of_this_machine_unless_told_otherwise(empty_archive, tmp_path):
    with heard(tmp_path / "spool", empty_archive.address) as listener, socket.socket() as one:
        assert listener.lines[0] == f"listening at 127.0.0.1:{listener.port} as LISTENER"
        assert one.connect_ex(("127.0.0.2", listener.port)) != 0  # another address of this machine
    with heard(tmp_path / "spool", empty_archive.address, host="0.0.0.0") as listener, socket.socket() as one:
        assert one.connect_ex(("127.0.0.2", listener.port)) == 0


def test_results_wait_for_an_archive_that_is_down(empty_archive, sent_study, tmp_path):
    empty_archive.kill()
    with heard(tmp_path / "spool", empty_archive.address, pauses_s=(0.01,)) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("1 waiting; tried again in")
        empty_archive.start()
        listener.wait_for("1 object: 1 sent")
    assert len(empty_archive.instances()) == 1


@pytest.mark.parametrize(
    ("status", "body"), [(404, "<html>not here</html>"), (400, "{}"), (200, "<html>a portal</html>")]
)
def test_results_wait_for_a_page_in_place_of_the_archive(sent_study, tmp_path, status, body):
    with answering([(status, body)]) as (address, _), heard(
        tmp_path / "spool", f"dicomweb:{address.base}", pauses_s=(0.01,)
    ) as listener:  # fmt: skip
        assert send(sent_study, listener).complete
        listener.wait_for("1 waiting; tried again in 0 s")
        listener.wait_for("1 waiting; tried again in 1 s")
    assert not any("failed" in line for line in listener.lines)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OutputError("result.json: No space left on device; expected free disk space. Free some space."),
            "No space left on device; expected free disk space. Free some space. It is tried again in 1 s",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; tried again later"),
    ],
)
def test_a_study_is_staged_again_after_a_full_disk(empty_archive, sent_study, tmp_path, error, said):
    tries = []

    def full_once(objects, found, results):
        tries.append(time.monotonic())
        if len(tries) == 1:
            raise error
        return copies(objects, found, results)

    with heard(tmp_path / "spool", empty_archive.address, stage=full_once, again_s=1) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for(said)
        listener.wait_for("1 object: 1 sent")
    assert tries[1] - tries[0] >= 1
    assert len(empty_archive.instances()) == 1


def test_the_child_of_the_command_gives_a_full_disk_as_what_it_is(monkeypatch, a_study, tmp_path):
    def full(options):
        raise OutputError("no space")

    monkeypatch.setattr(stage, "_stage", full)
    work = listen._stager(("demonstration",), "cpu", "torch")
    with pytest.raises(OutputError, match="no space"):
        work([str(a_study.folder / "ct"), "--out", str(tmp_path / "out")])


def test_results_that_wait_are_sent_by_the_next_start_without_staging_again(empty_archive, sent_study, tmp_path):
    empty_archive.kill()
    with heard(tmp_path / "spool", empty_archive.address, pauses_s=(0.01,), again_s=100) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("1 waiting; tried again in 100 s: ")
    empty_archive.start()

    def not_again(objects, found, results):
        pytest.fail("staged again")

    with heard(tmp_path / "spool", empty_archive.address, stage=not_again) as again:
        again.wait_for("1 object: 1 sent")
    assert any(line.endswith("taken up, sending, 25 objects") for line in again.lines)
    assert len(empty_archive.instances()) == 1


def test_a_case_that_fails_is_kept_with_its_reason_and_another_is_staged(empty_archive, sent_study, tmp_path):
    def fails(objects, found, results):
        return "2 CT series; expected one.\n  number 1: of a person"

    with heard(tmp_path / "spool", empty_archive.address, stage=fails) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("failed, 25 objects: 2 CT series; expected one.")
    assert "person" not in str(listener.lines)
    assert len(list((tmp_path / "spool").glob("*/objects/*.dcm"))) == 25
    with heard(tmp_path / "spool", empty_archive.address) as again:  # the next start knows it, and leaves it
        time.sleep(1)
        assert any("taken up, failed" in line for line in again.lines)
        (sent_study / "outbox.json").unlink()
        assert send(sent_study, again).complete  # sent once more, it is staged once more
        again.wait_for("1 object: 1 sent")


def test_an_unexpected_error_of_one_study_does_not_end_the_listener(empty_archive, sent_study, tmp_path):
    def wrong(objects, found, results):
        raise ValueError("Doe^Jane")

    with heard(tmp_path / "spool", empty_archive.address, stage=wrong) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("failed, 25 objects: ValueError; expected a result")
        (sent_study / "outbox.json").unlink()
        assert send(sent_study, listener).complete
    assert "Doe" not in str(listener.lines)
    assert "Doe" not in "".join(path.read_text() for path in (tmp_path / "spool").glob("*/study.json"))


def test_a_case_that_ends_its_process_is_tried_twice_and_does_not_end_the_listener(empty_archive, sent_study, tmp_path):
    tries = []

    def dies(objects, found, results):
        tries.append(1)
        raise DiedError("The process of the case was ended by SIGSEGV.")

    with heard(tmp_path / "spool", empty_archive.address, stage=dies) as listener:
        assert send(sent_study, listener).complete
        listener.wait_for("failed, 25 objects: The process of the case was ended by SIGSEGV.")
    assert len(tries) == 2


def test_orthanc_sends_a_marked_study_by_the_script_of_the_documents_and_once(a_study, tmp_path):
    page = (ROOT / "docs" / "archive.md").read_text(encoding="utf-8")
    script = tmp_path / "to-gtrstaging.lua"
    script.write_text(re.search(r"```lua\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    port = orthanc.free_port()
    known = {"gtrstaging": ["GTRSTAGING", "127.0.0.1", port]}
    with orthanc.running(
        tmp_path / "orthanc", DicomModalities=known, LuaScripts=[str(script)], StableAge=1, OverwriteInstances=True
    ) as archive, heard(
        tmp_path / "spool", archive.address, title="GTRSTAGING", known=["ARCHIVE"], port=port
    ) as listener:  # fmt: skip
        archive.add(*a_study.slices, a_study.seg)
        listener.wait_for("1 object: 1 sent")
        time.sleep(3)  # the study is stable again, with its result
        assert len(archive.instances()) == 26
    assert sum("staged" in line for line in listener.lines) == 1


KILLED = """
import sys, threading
from pathlib import Path
from GTRStagingLib.archive.listener import Listener, ListenSettings
from GTRStagingLib.archive.spool import Spool
spool = Spool(Path(sys.argv[1]), most_bytes=1 << 30, most_studies=10, least_free=0)
settings = ListenSettings(title="LISTENER", known=["GTRSTAGING"], port=0, quiet_s=float(sys.argv[2]))
def hangs(objects, found, results):
    results.mkdir(); (results / ".writing-1").mkdir()
    print("staging", flush=True); threading.Event().wait()
Listener(settings, spool, hangs, None).run(lambda port: print(port, flush=True))
"""


@pytest.mark.parametrize("quiet_s", [100, 0.3])  # killed while it receives, and while it stages
def test_a_listener_that_is_killed_loses_no_study(empty_archive, sent_study, tmp_path, quiet_s):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "spool"), str(quiet_s)], cwd=ROOT, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    port = int(process.stdout.readline())
    address = parse_dimse_address(f"dicom://LISTENER@127.0.0.1:{port}")
    if quiet_s > 1:
        kill = lambda done, total: done == 12 and os.kill(process.pid, signal.SIGKILL)  # noqa: E731
        sent = send_folder(sent_study, address, progress=kill)
        assert sent.summary() == "25 objects: 12 sent, 13 waiting"
    else:
        assert send_folder(sent_study, address).complete
        assert process.stdout.readline() == "staging\n"
        process.kill()
    process.wait()
    process.stdout.close()
    before = len(list((tmp_path / "spool").glob("*/objects/*.dcm")))
    assert before == (12 if quiet_s > 1 else 25)  # what the sender was told is there
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        if quiet_s > 1:
            again = parse_dimse_address(f"dicom://LISTENER@127.0.0.1:{listener.port}")
            assert send_folder(sent_study, again).complete
        listener.wait_for("1 object: 1 sent")
    assert len(empty_archive.instances()) == 1
    assert list((tmp_path / "spool").rglob(".writing-*")) == []


def listening(folder, store, *more):
    """Start the command; return its process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "GTRStagingLib", "listen", "--spool", str(folder), "--store", store, "--known",
         "GTRSTAGING", "--title", "LISTENER", "--port", "0", "--quiet-s", "0.5", *more],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process, int(re.fullmatch(r"listening at 127.0.0.1:(\d+) as LISTENER\n", process.stderr.readline())[1])


def test_the_command_ends_cleanly_by_sigterm_and_keeps_what_waits(empty_archive, sent_study, tmp_path):
    process, port = listening(tmp_path / "spool", empty_archive.address, "--quiet-s", "100")
    assert send_folder(sent_study, parse_dimse_address(f"dicom://LISTENER@127.0.0.1:{port}")).complete
    process.terminate()
    assert process.wait(20) == 0
    assert process.stderr.read() == "stopped; what waits is taken up by the next start\n"
    process.stderr.close()
    assert len(list((tmp_path / "spool").glob("*/objects/*.dcm"))) == 25
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700


def test_a_model_that_cannot_be_loaded_ends_the_command_at_once(tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "GTRStagingLib", "listen", "--spool", str(tmp_path / "spool"), "--store",
         "dicom://A@127.0.0.1:1", "--known", "A", "--port", "0", "--model", str(tmp_path / "no-model")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 1
    assert found.stderr.startswith("gtrstaging: ")
    assert "no-model" in found.stderr
    assert not (tmp_path / "spool").exists()


def test_the_spool_counts_what_is_removed_and_what_others_write(tmp_path):
    spool = a_spool(tmp_path / "spool", most_bytes=3000)
    with spool.opened():
        study = spool.add("1.1", "1.1.1", bytes(1000))
        spool.begin_staging(study)
        study.results.mkdir()
        (study.results / "report.html").write_bytes(bytes(1500))
        assert spool.end(study, "sending")
        with pytest.raises(FullError, match="of at most"):
            spool.add("1.2", "1.2.1", bytes(1000))
        assert spool.finish(study)
        spool.add("1.2", "1.2.1", bytes(2000))


@pytest.mark.parametrize("change", ["missing", "text", "other"])
def test_a_study_whose_record_is_damaged_is_left_as_it_is(tmp_path, change):
    with (spool := a_spool(tmp_path / "spool")).opened():
        study = spool.add("1.1", "1.1.1", b"a")
    record = study.folder / "study.json"
    record.unlink() if change == "missing" else record.write_text("{" if change == "text" else '{"format": 9}')
    lines = []
    with (again := a_spool(tmp_path / "spool")).opened(lines.append):
        assert again.waiting() == []
    assert "it is left as it is" in lines[0]
    assert len(list(study.objects.iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [{"known": []}, {"title": "A_TITLE_OF_17_CHS"}, {"quiet_s": 0}, {"quiet_s": float("nan")}, {"port": 70000}],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(InputError, match="expected"):
        ListenSettings(**{"title": "LISTENER", "known": ["A"], **change})


def test_an_object_without_a_study_is_not_accepted(empty_archive, sent_study, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    one = dcmread(sent_study / "ct" / "0001.dcm")
    one.StudyInstanceUID = ""
    with heard(tmp_path / "spool", empty_archive.address) as listener:
        from pynetdicom import AE

        entity = AE(ae_title="GTRSTAGING")
        entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        made = entity.associate("127.0.0.1", listener.port, ae_title="LISTENER")
        assert made.send_c_store(one).Status == 0xC000
        made.release()
    assert list((tmp_path / "spool").glob("*/objects/*")) == []
