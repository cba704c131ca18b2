"""Addresses of archives: what is accepted, and what the refusals say."""

import pytest

from GTRStagingLib.errors import InputError
from GTRStagingLib.support.addresses import (
    DimseAddress,
    is_web_address,
    parse_dimse_address,
    parse_store_address,
    parse_web_address,
)


def test_an_address_may_name_a_study_and_a_series():
    found = parse_web_address("dicomweb:https://pacs.example:8443/dicom-web/studies/1.2.3/series/4.5/")
    assert (found.base, found.study, found.series) == ("https://pacs.example:8443/dicom-web", "1.2.3", "4.5")
    assert str(found) == "dicomweb:https://pacs.example:8443/dicom-web"  # as messages show it
    assert parse_web_address(found.whole) == found
    assert parse_web_address("dicomweb:https://pacs.example", study="1.2.3").study == "1.2.3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicomweb:https://doctor:secret@127.0.0.1/web", "contains a user or a password"),
        ("dicomweb:https://doctor@127.0.0.1/web", "contains a user or a password"),
        ("dicomweb:http://pacs.example/web", "is not encrypted; expected https"),
        ("dicomweb:ftp://pacs.example/web", "begins with ftp"),
        ("dicomweb:pacs.example/web", "begins with a host"),
        ("dicomweb:https:///web", "expected dicomweb:https"),
        ("dicomweb:https://pacs.example:port/web", "cannot be read"),
        ("dicomweb:https://pacs.example/web?a=1", "has a query"),
        ("dicomweb:https://pacs.example/we b", "has blanks"),
        ("dicomweb:https://pacs.example/web/studies/Doe", "UID of the study is not one"),
        ("dicomweb:https://pacs.example/web/studies/1.2/series/x", "UID of the series is not one"),
    ],
)
def test_other_addresses_are_refused_without_secrets(text, expected):
    with pytest.raises(InputError, match=expected) as refused:
        parse_web_address(text)
    assert "secret" not in str(refused.value)
    assert "Doe" not in str(refused.value)


def test_two_studies_are_refused():
    with pytest.raises(InputError, match="names another study"):
        parse_web_address("dicomweb:https://pacs.example/web/studies/1.2", study="1.3")


def test_plain_http_needs_a_word_of_the_operator(monkeypatch):
    monkeypatch.setenv("GTRSTAGING_ALLOW_HTTP", "1")
    assert parse_web_address("dicomweb:http://pacs.example/web").base == "http://pacs.example/web"
    monkeypatch.delenv("GTRSTAGING_ALLOW_HTTP")
    for here in ("http://localhost:8042/web", "http://127.0.0.1:8042/web", "http://[::1]:8042/web"):
        assert parse_web_address(here).base == here


def test_application_entities_have_a_title_a_host_and_a_port():
    assert parse_dimse_address("dicom://MY PACS@10.0.0.7:104") == DimseAddress("MY PACS", "10.0.0.7", 104)
    assert str(parse_dimse_address("dicom://PACS@[::1]:11112")) == "dicom://PACS@[::1]:11112"
    assert isinstance(parse_store_address("dicom://PACS@host:104"), DimseAddress)


@pytest.mark.parametrize(
    "text", ["dicom://host:104", "dicom://PACS@host", "dicom://PACS@host:0", "dicom://PACS@host:70000",
             "dicom://A_TITLE_OF_17_CHS@host:104", "dicom://A\\B@host:104", "dicom://@host:104", "PACS@host:104"]
)  # fmt: skip
def test_other_application_entities_are_refused(text):
    with pytest.raises(InputError, match="expected"):
        parse_dimse_address(text)


def test_results_are_sent_to_a_service_not_to_a_study():
    with pytest.raises(InputError, match="names a study"):
        parse_store_address("https://pacs.example/web/studies/1.2")
    assert parse_store_address("https://pacs.example/web").base == "https://pacs.example/web"


def test_a_path_is_no_address():
    assert not is_web_address("dicomweb/ct")
    assert not is_web_address(None)
    assert is_web_address("DICOMweb:https://pacs.example")
