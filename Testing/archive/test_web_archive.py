"""Requests to a real archive: credentials, trust, repeated attempts, storing, and what its failures say."""

import json
import sys

import pytest
from helpers import orthanc, tls_front
from helpers.web_answers import answering
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from GTRStagingLib.archive.dimse import DimseSender
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.archive.web_errors import RefusedError, failure_reason, status_in_words
from GTRStagingLib.errors import InputError, MachineError, MissingDependencyError
from GTRStagingLib.support.addresses import parse_dimse_address, parse_web_address

pytestmark = pytest.mark.usefixtures("no_credentials")


def asked(archive, study, **changes):
    return WebArchive(parse_web_address(archive.address, study=study.uid), **changes)


@pytest.fixture(scope="module")
def locked(a_study, tmp_path_factory):
    """An Orthanc with a user and a password."""
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "correct horse"}}
    with orthanc.running(tmp_path_factory.mktemp("locked"), **users) as made:
        made.headers = {"Authorization": "Basic cmVhZGVyOmNvcnJlY3QgaG9yc2U="}
        made.add(a_study.slices[0])
        yield made


# -- credentials and trust -----------------------------------------------------------------------------------------


def test_a_password_of_the_environment_opens_the_archive(locked, a_study, monkeypatch):
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_USER", "reader")
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_PASSWORD", "correct horse")
    assert len(asked(locked, a_study).series_of(a_study.uid)) == 1


def test_a_netrc_opens_the_archive(locked, a_study, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text('machine 127.0.0.1 login reader password "correct horse"\n', encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert len(asked(locked, a_study).series_of(a_study.uid)) == 1


@pytest.mark.parametrize("password", [None, "wrong battery"])
def test_a_wrong_password_is_an_error_with_the_remedy_and_without_the_password(locked, a_study, monkeypatch, password):
    if password is not None:
        monkeypatch.setenv("GTRSTAGING_DICOMWEB_USER", "reader")
        monkeypatch.setenv("GTRSTAGING_DICOMWEB_PASSWORD", password)
    archive = asked(locked, a_study)
    with pytest.raises(MachineError, match=r"HTTP 401.*Set GTRSTAGING_DICOMWEB_USER") as refused:
        archive.series_of(a_study.uid)
    assert archive.traffic.requests == 1  # a wrong password is not tried again
    for text in (str(refused.value), refused.value.details):
        assert "battery" not in text
        assert a_study.uid not in text


def test_a_token_is_sent_as_a_bearer(a_study, monkeypatch):
    with answering([(200, "[]")]) as (address, seen):
        monkeypatch.setenv("GTRSTAGING_DICOMWEB_TOKEN", "abc.def")
        WebArchive(address).instances_of("1.2", "1.3")
    assert seen[0]["Authorization"] == "Bearer abc.def"


def test_half_of_the_credentials_and_two_kinds_are_refused(filled_archive, a_study, monkeypatch):
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_USER", "reader")
    with pytest.raises(InputError, match=r"Only one of .* is set; expected both"):
        asked(filled_archive, a_study).series_of(a_study.uid)
    monkeypatch.setenv("GTRSTAGING_DICOMWEB_TOKEN", "abc")
    with pytest.raises(InputError, match="expected one of them"):
        asked(filled_archive, a_study).series_of(a_study.uid)


def test_an_unknown_certificate_is_refused_and_a_known_one_is_not(filled_archive, a_study, monkeypatch, tmp_path):
    with tls_front.before(filled_archive.config["HttpPort"], tmp_path) as (port, certificate):
        archive = WebArchive(parse_web_address(f"dicomweb:https://127.0.0.1:{port}/dicom-web"), pauses_s=(0.01,))
        with pytest.raises(MachineError, match=r"certificate is not trusted.*set REQUESTS_CA_BUNDLE"):
            archive.series_of(a_study.uid)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert len(archive.series_of(a_study.uid)) == 2


# -- attempts ------------------------------------------------------------------------------------------------------


def a_small_object():
    """Return an object with the elements that storing needs."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    found.StudyInstanceUID, found.SeriesInstanceUID = "1.2", "1.3"
    return found


@pytest.mark.parametrize("status", [502, 503, 504, 206])
def test_a_failure_that_passes_is_tried_again(status):
    with answering([(status, "[]"), (200, '[{"0020000E": {"vr": "UI", "Value": ["1.3"]}}]')]) as (address, seen):
        assert len(WebArchive(address, pauses_s=(0.01,)).series_of("1.2")) == 1
    assert len(seen) == 3  # the failure, the page, and the one after it


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (500, 1), (403, 1), (404, 1), (400, 1)])
def test_the_number_of_attempts_is_bounded(status, tries):
    failed = pytest.raises((InputError, MachineError), match=f"HTTP {status}")
    with answering([(status, "{}")]) as (address, seen), failed:
        WebArchive(address, pauses_s=(0.01, 0.01)).series_of("1.2")
    assert len(seen) == tries


def test_a_redirect_is_not_followed():
    failed = pytest.raises(MachineError, match="refers to another address")
    with answering([(302, "http://127.0.0.1:1/elsewhere")]) as (address, seen), failed:
        WebArchive(address).series_of("1.2")
    assert len(seen) == 1


@pytest.mark.parametrize("body", ["<html></html>", '"text"', "[1, 2]", '{"a": '])
def test_an_answer_that_is_not_dicom_json_is_refused(body):
    with answering([(200, body)]) as (address, _), pytest.raises(InputError, match=r"expected DICOM"):
        WebArchive(address).series_of("1.2")


def test_an_archive_that_ignores_pages_does_not_hang():
    page = json.dumps([{"0020000E": {"vr": "UI", "Value": ["1.3"]}}])
    with answering([(200, page)]) as (address, seen):
        assert len(WebArchive(address).series_of("1.2")) == 1
    assert len(seen) == 2


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(filled_archive, a_study, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert len(asked(filled_archive, a_study).series_of(a_study.uid)) == 2


# -- storing -------------------------------------------------------------------------------------------------------


def test_a_stored_object_comes_back_with_equal_bytes(empty_archive, a_study):
    archive = asked(empty_archive, a_study)
    seg = dcmread(a_study.seg)
    archive.store(seg)
    archive.store(seg)  # nothing is doubled
    assert empty_archive.instances() == {str(seg.SOPInstanceUID): a_study.seg.read_bytes()}
    assert archive.image(a_study.uid, str(seg.SeriesInstanceUID), str(seg.SOPInstanceUID)) == a_study.seg.read_bytes()


def test_a_full_archive_is_named_and_takes_the_object_later(empty_archive, a_study):
    seg = dcmread(a_study.seg)
    big = dcmread(a_study.slices[0])
    big.Rows = big.Columns = 1024
    big.PixelData = bytes(2 * 1024**2)
    empty_archive.fill(1 << 20)
    archive = asked(empty_archive, a_study, pauses_s=(0.01,))
    archive.store(seg)
    with pytest.raises(RefusedError, match="expected it to be stored. It may be full") as refused:
        archive.store(big)
    assert str(big.SOPInstanceUID) not in str(refused.value)
    empty_archive.empty()
    archive.store(big)
    assert len(empty_archive.instances()) == 2


def test_an_archive_that_drops_objects_without_a_word_is_not_believed(a_study, tmp_path):
    script = tmp_path / "drop.lua"
    script.write_text("function ReceivedInstanceFilter(dicom, origin) return false end\n", encoding="utf-8")
    with orthanc.running(tmp_path / "orthanc", LuaScripts=[str(script)]) as made:
        with pytest.raises(RefusedError, match="reported no failure, but does not list the object"):
            asked(made, a_study).store(dcmread(a_study.seg))
        assert made.instances() == {}


def test_an_archive_that_says_that_it_is_full_is_named():
    with answering([(507, "{}")]) as (address, _), pytest.raises(RefusedError, match=r"HTTP 507.*may be full"):
        WebArchive(address).store(a_small_object())


def test_reasons_of_refusals_are_words():
    assert status_in_words(0xA700) == "out of resources (0xA700)"
    assert status_in_words(0xC123) == "cannot understand (0xC123)"
    assert status_in_words(0x0124) == "not authorised (0x0124)"
    assert failure_reason({}) == ""
    assert failure_reason({"00081198": {"vr": "SQ", "Value": [{}]}}) == ""


@pytest.mark.parametrize("package", ["requests", "requests.exceptions", "dicomweb_client.api"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gtrstaging\[archive\]'"):
        WebArchive(parse_web_address("https://127.0.0.1:1/web")).series_of("1.2")


def test_a_missing_package_of_the_dicom_network_is_named_with_its_extra(monkeypatch, a_study):
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gtrstaging\[archive\]'"):
        DimseSender(parse_dimse_address("dicom://A@127.0.0.1:1")).store(dcmread(a_study.seg))
