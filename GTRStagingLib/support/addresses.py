"""Parse the addresses of archives: DICOMweb services, and application entities of the DICOM network.

An address contains no credentials, and is shown in messages without UIDs.
"""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from GTRStagingLib.errors import InputError

WEB, DIMSE = "dicomweb:", "dicom:"
"""Beginnings of addresses."""

ALLOW_HTTP = "GTRSTAGING_ALLOW_HTTP"
"""Environment variable that allows unencrypted HTTP to other machines, if it is 1."""

_UID = re.compile(r"(?=.{1,64}\Z)\d+(\.\d+)+\Z", re.ASCII)
_AE_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?\Z")
_RESOURCE = re.compile(r"/studies/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+))?/?\Z")


@dataclass(frozen=True)
class WebAddress:
    """DICOMweb service, and optionally a study and a series there.

    Attributes
    ----------
    base
        URL of the service, without a slash at its end.
    study, series
        UIDs; None if the address does not name them.
    """

    base: str
    study: str | None = field(default=None, repr=False)
    series: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{WEB}{self.base}"

    @property
    def whole(self) -> str:
        """Address with its UIDs, which are identifiers."""
        study = "" if self.study is None else f"/studies/{self.study}"
        return f"{self}{study}{'' if self.series is None else f'/series/{self.series}'}"

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine."""
        return is_loopback(urlsplit(self.base).hostname or "")


@dataclass(frozen=True)
class DimseAddress:
    """Application entity of the DICOM network: its title, host and port."""

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"dicom://{self.title}@{host}:{self.port}"


def is_web_address(text: object) -> bool:
    """Return whether a text is meant as the address of a DICOMweb service, not as a path.

    Examples
    --------
    >>> from GTRStagingLib.support.addresses import is_web_address
    >>> is_web_address("dicomweb:https://archive.example/dicom-web"), is_web_address("ct/1.dcm")
    (True, False)
    """
    return isinstance(text, str) and text.lower().startswith(WEB)


def parse_web_address(text: str, *, study: str | None = None) -> WebAddress:
    """Parse the address of a DICOMweb service, with or without `dicomweb:` in front.

    It may end with `/studies/UID` or `/studies/UID/series/UID`, as DICOMweb names these; `study` is a UID for one
    that does not.

    Raises
    ------
    InputError
        If it is another text, or contains credentials; if it is not encrypted and leads to another machine; or if a
        UID is not one.

    Examples
    --------
    >>> from GTRStagingLib.support.addresses import parse_web_address
    >>> address = parse_web_address("dicomweb:https://archive.example/dicom-web/studies/1.2.3")
    >>> address.base, address.study
    ('https://archive.example/dicom-web', '1.2.3')
    """
    form = "expected dicomweb:https://HOST/PATH, the address of a DICOMweb service"
    url = text[len(WEB) :] if is_web_address(text) else text
    if any(one.isspace() or not one.isprintable() for one in url):
        raise InputError(f"The address of the archive has blanks or control characters; {form}. Correct it.")
    try:
        parts = urlsplit(url)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError as error:
        raise InputError(f"The address of the archive cannot be read ({error}); {form}. Correct it.") from error
    if user is not None or "@" in parts.netloc:
        raise InputError(
            "The address of the archive contains a user or a password; expected none, since addresses are logged. "
            "Set GTRSTAGING_DICOMWEB_USER and GTRSTAGING_DICOMWEB_PASSWORD, or write a netrc file."
        )
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise InputError(f"The address of the archive begins with {parts.scheme or 'a host'}; {form}. Correct it.")
    if parts.query or parts.fragment:
        raise InputError(f"The address of the archive has a query or a fragment; {form}. Leave it out.")
    if parts.scheme.lower() == "http" and not is_loopback(host) and os.environ.get(ALLOW_HTTP) != "1":
        raise InputError(
            f"http://{host} is not encrypted; expected https, except on this machine. Use https, or set {ALLOW_HTTP}=1 "
            "if the network is trusted: images and passwords can be read on their way."
        )
    path, series = parts.path.rstrip("/"), None
    if (named := _RESOURCE.search(path)) is not None:
        if study is not None and study != named["study"]:
            raise InputError("The address names another study than `study`; expected one. Leave one of them out.")
        path, study, series = path[: named.start()], named["study"], named["series"]
    for name, uid in (("study", study), ("series", series)):
        if uid is not None:
            require_uid(uid, name)
    return WebAddress(f"{parts.scheme.lower()}://{parts.netloc}{path}", study, series)


def parse_dimse_address(text: str) -> DimseAddress:
    """Parse the address of an application entity, `dicom://TITLE@HOST:PORT`.

    Raises
    ------
    InputError
        If it is no such address.

    Examples
    --------
    >>> from GTRStagingLib.support.addresses import parse_dimse_address
    >>> parse_dimse_address("dicom://ARCHIVE@10.0.0.7:104")
    DimseAddress(title='ARCHIVE', host='10.0.0.7', port=104)
    """
    form = "expected dicom://TITLE@HOST:PORT, an application entity"
    body = text.strip().removeprefix("dicom://")
    title, at, place = body.rpartition("@")
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"The address {text!r} cannot be read ({error}); {form}. Correct it.") from error
    if not at or not host or not port or parts.path or parts.query or not text.strip().startswith("dicom://"):
        raise InputError(f"The address is {text!r}; {form}. Correct it.")
    return DimseAddress(require_ae_title(title), host, port)


def parse_store_address(text: str) -> WebAddress | DimseAddress:
    """Parse an address that results are sent to; raise `InputError` for others."""
    if text.strip().lower().startswith("dicom://"):
        return parse_dimse_address(text)
    found = parse_web_address(text)
    if found.study is not None:
        raise InputError(
            "The address that results are sent to names a study; expected that of the service, since each object names "
            "its study. Leave the study out."
        )
    return found


def require_ae_title(text: str) -> str:
    """Return an AE title of 1 to 16 printable ASCII characters without a backslash; raise `InputError` for others."""
    if not _AE_TITLE.match(text):
        raise InputError(
            f"The AE title is {text!r}; expected 1 to 16 letters, digits or signs, without a backslash. Correct it."
        )
    return text


def require_uid(text: str, name: str) -> str:
    """Return a UID; raise `InputError`, with the name of the parameter but not the value, for others."""
    if not _UID.match(text):
        raise InputError(
            f"The UID of the {name} is not one; expected numbers and dots, at most 64 characters. Correct it.",
            details=text,
        )
    return text


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or number.

    Examples
    --------
    >>> from GTRStagingLib.support.addresses import is_loopback
    >>> is_loopback("localhost"), is_loopback("127.0.0.5"), is_loopback("::1"), is_loopback("10.0.0.1")
    (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


__all__ = [
    "ALLOW_HTTP",
    "DIMSE",
    "WEB",
    "DimseAddress",
    "WebAddress",
    "is_loopback",
    "is_web_address",
    "parse_dimse_address",
    "parse_store_address",
    "parse_web_address",
    "require_ae_title",
    "require_uid",
]
