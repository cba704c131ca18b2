"""Objects of a folder reach a real archive once, whatever fails on the way."""

import json
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
from pydicom import dcmread

from GTRStagingLib.archive.dimse import DimseSender
from GTRStagingLib.archive.outbox import OUTBOX, read_outbox
from GTRStagingLib.archive.sending import WebSender, send_folder
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.cli.main import main
from GTRStagingLib.errors import InputError
from GTRStagingLib.support.addresses import parse_dimse_address, parse_web_address

pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.fixture
def objects(a_study, tmp_path):
    """A folder with 24 DICOM objects of this software, and another file."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    for path in a_study.slices:
        one = dcmread(path)
        one.Manufacturer, one.ManufacturerModelName = "GTR Staging developers", "GTR Staging"
        one.save_as(folder / path.name)
    (folder / "notes.txt").write_text("no object", encoding="utf-8")
    return folder


def contents(folder):
    return {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in folder.glob("*.dcm")}


def hasty(address):
    """Return a way to a service that does not wait between attempts."""
    return WebSender(WebArchive(parse_web_address(address), pauses_s=(0.01,)))


def test_every_object_arrives_with_equal_bytes_and_is_not_sent_again(empty_archive, objects, capsys):
    assert main(["send", str(objects), "--store", empty_archive.address]) == 0
    assert capsys.readouterr().out == "24 objects: 24 sent.\n"
    assert empty_archive.instances() == contents(objects)
    empty_archive.kill()  # what is known to be there needs no archive
    assert main(["send", str(objects), "--store", empty_archive.address]) == 0
    assert capsys.readouterr().out == "24 objects: 24 sent (24 by an earlier run).\n"


def test_a_ct_and_its_roi_are_left_and_counted(empty_archive, objects, a_study, capsys):
    shutil.copytree(a_study.folder / "ct", objects / "another case" / "ct")
    shutil.copy(a_study.seg, objects)
    for path in sorted(objects.glob("00*.dcm"))[1:]:
        path.unlink()
    assert main(["send", str(objects), "--store", empty_archive.address]) == 0
    shown = capsys.readouterr()
    assert shown.out == "1 object: 1 sent.\n"
    assert "25 objects of other software left: only results are sent" in shown.err
    assert empty_archive.instances() == {
        str(dcmread(objects / "0001.dcm").SOPInstanceUID): (objects / "0001.dcm").read_bytes()
    }


def test_a_folder_without_results_is_refused(empty_archive, a_study, capsys):
    assert main(["send", str(a_study.folder), "--store", empty_archive.address]) == 1
    assert "no DICOM objects of this software (25 objects of other software)" in capsys.readouterr().err
    assert empty_archive.instances() == {}


def test_a_second_export_is_recognised(empty_archive, objects, tmp_path):
    send_folder(objects, parse_web_address(empty_archive.address))
    (objects / OUTBOX).unlink()  # as a folder that was written again
    way = hasty(empty_archive.address)
    again = send_folder(objects, way.archive.address, sender=way)
    assert again.summary() == "24 objects: 24 already there"
    assert way.archive.traffic.sent == 0  # asked only
    assert len(empty_archive.instances()) == 24


def test_an_object_that_changed_is_sent(empty_archive, objects):
    address = parse_web_address(empty_archive.address)
    send_folder(objects, address)
    changed = dcmread(objects / "0001.dcm")
    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    changed.save_as(objects / "0001.dcm")
    assert send_folder(objects, address).states["0001.dcm"] == "sent"
    assert len(empty_archive.instances()) == 25


def test_an_archive_that_is_killed_in_between_loses_and_doubles_nothing(empty_archive, objects):
    def kill_at_the_tenth(done, total):
        if done == 10:
            empty_archive.kill()

    way = hasty(empty_archive.address)
    sent = send_folder(objects, way.archive.address, sender=way, progress=kill_at_the_tenth)
    assert not sent.complete
    assert sent.summary() == "24 objects: 10 sent, 14 waiting"
    assert "no connection, or one that broke, after 2 attempts" in sent.problem
    empty_archive.start()
    assert send_folder(objects, way.archive.address).summary() == "24 objects: 24 sent (10 by an earlier run)"
    assert empty_archive.instances() == contents(objects)


def test_a_sender_that_is_killed_in_between_loses_and_doubles_nothing(empty_archive, objects):
    run = [sys.executable, "-m", "GTRStagingLib", "send", str(objects), "--store", empty_archive.address]
    process = subprocess.Popen(run, cwd=ROOT, stdout=subprocess.DEVNULL)
    for _ in range(600):
        time.sleep(0.01)
        if (objects / OUTBOX).exists() and "sent" in (objects / OUTBOX).read_text(encoding="utf-8"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = len(empty_archive.instances())
    assert 0 < before < 24
    assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True).returncode == 0
    assert empty_archive.instances() == contents(objects)
    assert not list(objects.glob(".writing-*"))


def test_a_full_archive_refuses_some_and_takes_them_later(empty_archive, objects, capsys):
    big = dcmread(objects / "0024.dcm")
    big.Rows = big.Columns = 1024
    big.PixelData = bytes(2 * 1024**2)
    big.save_as(objects / "0024.dcm")
    empty_archive.fill(1 << 20)
    assert main(["send", str(objects), "--store", empty_archive.address]) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r"24 objects: \d+ sent, \d+ refused\.\n", shown.out)
    assert 0 < len(empty_archive.instances()) < 24
    assert "It may be full" in shown.err
    assert "send it: gtrstaging send" in shown.err
    assert str(big.SOPInstanceUID) not in shown.err
    empty_archive.empty()
    assert main(["send", str(objects), "--store", empty_archive.address]) == 0
    assert len(empty_archive.instances()) == 24


def test_a_wrong_password_keeps_everything_for_later(objects, tmp_path, monkeypatch, capsys):
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"writer": "correct horse"}}
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_USER", "writer")
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_PASSWORD", "wrong battery")
    with orthanc.running(tmp_path / "locked", **users) as made:
        assert main(["send", str(objects), "--store", made.address]) == 1
        shown = capsys.readouterr()
        assert shown.out == "24 objects: 24 waiting.\n"
        assert "does not accept the user, password or token (HTTP 401)" in shown.err
        monkeypatch.setenv("GTRSTAGING_DICOMWEB_PASSWORD", "correct horse")
        assert main(["send", str(objects), "--store", made.address]) == 0
    written = (objects / OUTBOX).read_text(encoding="utf-8")
    assert "battery" not in written
    assert "horse" not in written


def test_a_folder_is_sent_by_one_process_at_a_time(empty_archive, objects):
    address, refused = parse_web_address(empty_archive.address), []
    second = [sys.executable, "-m", "GTRStagingLib", "send", str(objects), "--store", empty_archive.address]

    def try_too(done, total):
        if done == 2:
            refused.append(subprocess.run(second, cwd=ROOT, capture_output=True, text=True))

    assert send_folder(objects, address, progress=try_too).complete
    assert refused[0].returncode == 1
    assert "Another process sends dicom; expected one at a time" in refused[0].stderr
    assert empty_archive.instances() == contents(objects)
    assert send_folder(objects, address).complete  # released


def test_the_list_has_no_uid_and_keeps_other_archives(empty_archive, objects, a_study):
    with orthanc.running(objects.parent / "second") as second:
        for archive in (empty_archive, second):
            send_folder(objects, parse_web_address(archive.address))
        written = json.loads((objects / OUTBOX).read_text(encoding="utf-8"))
        assert written["to"].keys() == {empty_archive.address, second.address}
    assert a_study.uid[:20] not in json.dumps(written)


@pytest.mark.parametrize(
    "content", ["[]", '{"format": 2, "to": {}}', '{"format": 1, "to": {"dicom://A@127.0.0.1:1": {"a.dcm": {}}}}', "{"]
)
def test_a_damaged_list_is_refused(objects, content):
    (objects / OUTBOX).write_text(content, encoding="utf-8")
    with pytest.raises(InputError):
        read_outbox(objects, "dicom://A@127.0.0.1:1")


def test_a_folder_without_objects_and_a_damaged_object_are_refused(tmp_path, objects):
    address = parse_dimse_address("dicom://A@127.0.0.1:1")
    with pytest.raises(InputError, match="is not a folder"):
        send_folder(tmp_path / "missing", address)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no DICOM objects"):
        send_folder(tmp_path / "none", address)
    whole = (objects / "0001.dcm").read_bytes()
    (objects / "0001.dcm").write_bytes(whole[:200])
    with pytest.raises(InputError, match=r"0001.dcm (has no|cannot be read)"):
        send_folder(objects, address)


# -- the DICOM network ---------------------------------------------------------------------------------------------


def test_c_store_brings_every_object_with_equal_pixels_and_twice_is_once(empty_archive, objects):
    address = parse_dimse_address(empty_archive.dimse)
    assert send_folder(objects, address, sender=DimseSender(address, commitment_s=0)).complete
    (objects / OUTBOX).unlink()
    assert send_folder(objects, address, sender=DimseSender(address, commitment_s=0)).complete
    stored = empty_archive.instances()
    assert stored.keys() == contents(objects).keys()
    (objects / "received.bin").write_bytes(next(iter(stored.values())))
    received = dcmread(objects / "received.bin")
    original = next(one for path in objects.glob("*.dcm") if (one := dcmread(path)) == received)
    assert original.SOPInstanceUID == received.SOPInstanceUID


def test_an_archive_that_offers_commitment_is_asked_for_it(objects, tmp_path, monkeypatch):
    port = orthanc.free_port()
    monkeypatch.setenv("GTRSTAGING_COMMIT_PORT", str(port))
    known = {"DicomModalities": {"here": ["GTRSTAGING", "127.0.0.1", port]}}
    with orthanc.running(tmp_path / "committing", **known) as made:
        assert send_folder(objects, parse_dimse_address(made.dimse)).summary() == "24 objects: 24 sent and committed"


def test_an_archive_that_does_not_answer_in_time_has_the_objects_without_a_promise(empty_archive, objects):
    address = parse_dimse_address(empty_archive.dimse)
    sent = send_folder(objects, address, sender=DimseSender(address, commitment_s=0.2))
    assert sent.summary() == "24 objects: 24 sent"


def test_an_unknown_title_a_closed_port_and_a_killed_archive_are_clear(empty_archive, objects):
    port = empty_archive.config["DicomPort"]
    wrong = send_folder(objects, parse_dimse_address(f"dicom://ELSEWHERE@127.0.0.1:{port}"))
    assert "rejects the association; expected it to know the AE title GTRSTAGING" in wrong.problem
    closed = send_folder(objects, parse_dimse_address(f"dicom://ARCHIVE@127.0.0.1:{orthanc.free_port()}"))
    assert "no association; expected a running DICOM service" in closed.problem

    address = parse_dimse_address(empty_archive.dimse)
    killed = send_folder(objects, address, progress=lambda done, total: done == 10 and empty_archive.kill())
    assert killed.summary() == "24 objects: 10 sent, 14 waiting"
    empty_archive.start()
    assert send_folder(objects, address, sender=DimseSender(address, commitment_s=0)).complete
    assert empty_archive.instances().keys() == contents(objects).keys()


@pytest.mark.parametrize("verified", [True, False])
def test_a_class_that_the_archive_does_not_accept_blocks_no_other(objects, verified):
    """By a small SCP: Orthanc accepts every class."""
    from pydicom.uid import ExplicitVRLittleEndian
    from pynetdicom import AE, evt

    for path in sorted(objects.glob("*.dcm"))[3:]:
        path.unlink()
    first = dcmread(objects / "0001.dcm")
    kept, first.SOPClassUID = first.SOPClassUID, "1.2.840.10008.5.1.4.1.1.88.33"
    first.file_meta.MediaStorageSOPClassUID = first.SOPClassUID
    first.save_as(objects / "0001.dcm")
    scp = AE(ae_title="ARCHIVE")
    scp.add_supported_context(kept, ExplicitVRLittleEndian)
    if verified:
        scp.add_supported_context("1.2.840.10008.1.1")
    server = scp.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)])
    try:
        address = parse_dimse_address(f"dicom://ARCHIVE@127.0.0.1:{server.server_address[1]}")
        sent = send_folder(objects, address, sender=DimseSender(address, commitment_s=0))
        for path in sorted(objects.glob("*.dcm"))[1:]:  # alone, it is refused as well
            path.unlink()
        alone = send_folder(objects, address, sender=DimseSender(address, commitment_s=0))
    finally:
        server.shutdown()
    assert sent.summary() == "3 objects: 2 sent, 1 refused"
    assert sent.states["0001.dcm"] == "refused"
    assert (sent.problem, alone.problem) == ("", "")
    assert alone.summary() == "1 object: 1 refused"
    assert "does not accept this class of objects" in sent.reasons[0]


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({}, "1 sent and committed, 1 refused"),
        ({"calling": "STRANGER"}, "2 sent"),
        ({"called": "ELSEWHERE"}, "2 sent"),
        ({"transaction": "2.25.1"}, "2 sent"),
    ],
)
def test_only_the_archives_report_on_what_was_asked_is_believed(objects, monkeypatch, changes, summary):
    """By a small SCP: Orthanc commits to all that it stores."""
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian
    from pynetdicom import AE, build_role, evt

    for path in sorted(objects.glob("*.dcm"))[2:]:
        path.unlink()
    kept, lost = (dcmread(path) for path in sorted(objects.glob("*.dcm")))
    port, reports, elsewhere = orthanc.free_port(), [], []
    monkeypatch.setenv("GTRSTAGING_COMMIT_PORT", str(port))
    model, instance = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"

    def report(asked):
        answer = Dataset()
        answer.TransactionUID = changes.get("transaction", asked.TransactionUID)
        answer.ReferencedSOPSequence = [one for one in asked.ReferencedSOPSequence
                                        if one.ReferencedSOPInstanceUID == kept.SOPInstanceUID]  # fmt: skip
        failed = [one for one in asked.ReferencedSOPSequence if one.ReferencedSOPInstanceUID == lost.SOPInstanceUID]
        for one in failed:
            one.FailureReason = 0x0112
        answer.FailedSOPSequence = failed
        entity = AE(ae_title=changes.get("calling", "ARCHIVE"))
        entity.add_requested_context(model)
        called, role = changes.get("called", "GTRSTAGING"), build_role(model, scp_role=True)
        with socket.socket() as one:  # another address of this machine
            elsewhere.append(one.connect_ex(("127.0.0.2", port)) == 0)
        made = entity.associate("127.0.0.1", port, ae_title=called, ext_neg=[role])
        if made.is_established:
            reports.append(made.send_n_event_report(answer, 2, model, instance)[0].Status)
            made.release()
        else:
            reports.append("rejected" if made.is_rejected else "no association")

    def act(event):
        threading.Timer(0.2, report, [event.action_information]).start()
        return 0x0000, None

    scp = AE(ae_title="ARCHIVE")
    scp.add_supported_context(kept.SOPClassUID, ExplicitVRLittleEndian)
    scp.add_supported_context(model)
    server = scp.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000), (evt.EVT_N_ACTION, act)]
    )
    try:
        address = parse_dimse_address(f"dicom://ARCHIVE@127.0.0.1:{server.server_address[1]}")
        sent = send_folder(objects, address, sender=DimseSender(address, commitment_s=3 if changes else 10))
    finally:
        server.shutdown()
    assert sent.summary() == f"2 objects: {summary}"
    assert elsewhere == [False]
    assert reports == ([0x0115] if "transaction" in changes else ["rejected"] if changes else [0x0000])
    if not changes:
        assert sent.reasons[0].startswith("The archive took the object, but does not commit to keep it")
