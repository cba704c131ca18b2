"""Explain the failures of requests to a DICOMweb service, each with its remedy.

What concerns every request (no connection, no access, no trust) is a `MachineError`; what concerns one image or study
is an `InputError`, or a `RefusedError` if the archive does not take an object.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from GTRStagingLib.errors import InputError, MachineError, StagingError
from GTRStagingLib.support.extras import import_extra

BUSY = frozenset({408, 429, 502, 503, 504})
"""Status codes after which a request is repeated: the archive, or a proxy before it, is busy or starting."""

FULL = frozenset({413, 500, 503, 507})
"""Status codes that archives give for an object that they cannot keep."""

CREDENTIALS = (
    "Set GTRSTAGING_DICOMWEB_USER and GTRSTAGING_DICOMWEB_PASSWORD, or GTRSTAGING_DICOMWEB_TOKEN, or write a netrc file"
)


def import_web_package(module: str) -> Any:
    """Import a module of the extra `archive`."""
    return import_extra(module, "Reading from an archive needs", "archive")


class RefusedError(StagingError):
    """Object that an archive did not take; another one, or a later attempt, may succeed."""


def is_passing(error: Exception) -> bool:
    """Return whether a failure may pass, so that the request is repeated."""
    exceptions = import_web_package("requests.exceptions")
    if isinstance(error, exceptions.HTTPError):
        return error.response is not None and error.response.status_code in BUSY
    lasting = (exceptions.SSLError, exceptions.ProxyError, exceptions.InvalidURL)
    passing = (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError)
    return isinstance(error, passing) and not isinstance(error, lasting)


@contextmanager
def explained(place: str, what: str, tries: int = 1) -> Iterator[None]:
    """Turn failures of requests inside the block into errors of this library.

    Parameters
    ----------
    place
        The archive as messages name it, without UIDs.
    what
        What was requested, as in "the series".
    tries
        Number of attempts that were made at a failure that may pass.
    """
    exceptions = import_web_package("requests.exceptions")
    try:
        yield
    except exceptions.SSLError as error:
        raise MachineError(
            f"{place}: the certificate is not trusted; expected one of a known authority. If the archive has an "
            "authority of its own, set REQUESTS_CA_BUNDLE to its certificate.",
            details=str(error),
        ) from error
    except exceptions.ProxyError as error:
        raise MachineError(
            f"{place}: the proxy does not connect; expected a way to the archive. Correct HTTPS_PROXY, or name the "
            "archive in NO_PROXY.",
            details=str(error),
        ) from error
    except exceptions.TooManyRedirects as error:
        raise MachineError(
            f"{place}: the archive refers to another address; expected an answer. Give the address that it refers to.",
            details=str(error),
        ) from error
    except exceptions.Timeout as error:
        raise MachineError(
            f"{place}: no answer in time for {what}, after {tries} attempts; expected one. Try again when the archive "
            "is less busy.",
            details=str(error),
        ) from error
    except (exceptions.ConnectionError, exceptions.ChunkedEncodingError) as error:
        raise MachineError(
            f"{place}: no connection, or one that broke, after {tries} attempts for {what}; expected a running "
            "DICOMweb service. Check host and port, and that the archive runs.",
            details=str(error),
        ) from error
    except exceptions.HTTPError as error:
        raise _of_status(place, what, error) from error
    except (StagingError, MemoryError):
        raise
    except Exception as error:  # an answer that is not DICOMweb can raise any kind in the client
        raise InputError(
            f"{place}: the answer for {what} cannot be read ({type(error).__name__}); expected DICOMweb. Check the "
            "address: it is that of the service, as in https://HOST/dicom-web.",
            details=str(error),
        ) from error


def _of_status(place: str, what: str, error: Exception) -> StagingError:
    response = getattr(error, "response", None)
    status = 0 if response is None else response.status_code
    details = "" if response is None else f"HTTP {status}: {response.text[:2000]}"
    if status == 401:
        return MachineError(
            f"{place}: the archive does not accept the user, password or token (HTTP 401); expected valid ones. "
            f"{CREDENTIALS}.",
            details=details,
        )
    if status == 403:
        return MachineError(
            f"{place}: the archive does not allow access to {what} (HTTP 403); expected permission. {CREDENTIALS} of a "
            "user with this permission.",
            details=details,
        )
    if status == 404:
        return InputError(
            f"{place}: the archive does not have {what}, or is no DICOMweb service (HTTP 404); expected both. Check "
            "the UIDs and the address.",
            details=details,
        )
    if status in BUSY or status >= 500:
        return MachineError(
            f"{place}: the archive failed on {what} (HTTP {status}); expected an answer. Try again later, or see the "
            "archive's log.",
            details=details,
        )
    return InputError(
        f"{place}: the archive refuses the request for {what} (HTTP {status}); expected an answer. See the archive's "
        "log.",
        details=details,
    )


def refused(place: str, error: Exception) -> RefusedError | None:
    """Return the error of a store request by which an archive does not keep an object; None for another failure."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    status: int = response.status_code
    if status in FULL:
        return RefusedError(
            f"{place}: the archive could not keep the object (HTTP {status}); expected it to be stored. The archive "
            "may be full: ask its operator, then send again.",
            details=response.text[:2000],
        )
    if status in (401, 403, 404, 408, 429) or status > 500:
        return None
    reason = failure_reason(_json_of(response))
    return RefusedError(
        f"{place}: the archive did not take the object (HTTP {status}{reason and f', {reason}'}); expected it to be "
        "stored. See the archive's log.",
        details=response.text[:2000],
    )


def failure_reason(answer: dict[str, object]) -> str:
    """Return the first failure reason of the answer to a store request, in words; empty without one.

    Examples
    --------
    >>> from GTRStagingLib.archive.web_errors import failure_reason
    >>> failure_reason({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [42752]}}]}})
    'out of resources (0xA700)'
    """
    try:
        code = int(answer["00081198"]["Value"][0]["00081197"]["Value"][0])  # type: ignore[index]
    except (KeyError, IndexError, TypeError, ValueError):
        return ""
    return status_in_words(code)


def status_in_words(code: int) -> str:
    """Return the status of a store request in words (DICOM PS3.4 B.2.3, PS3.3 C.14)."""
    words = {
        0x0110: "processing failure",
        0x0112: "no such object",
        0x0119: "class and instance conflict",
        0x0122: "class of objects not supported",
        0x0124: "not authorised",
        0x0131: "duplicate transaction",
        0x0213: "resource limitation",
    }
    groups = {0xA7: "out of resources", 0xA9: "the object does not match its class", 0xC0: "cannot understand"}
    word = words.get(code) or groups.get(code >> 8) or ("cannot understand" if code >> 12 == 0xC else "failure")
    return f"{word} (0x{code:04X})"


def _json_of(response: object) -> dict[str, object]:
    try:
        found = json.loads(getattr(response, "content", b"") or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


__all__ = [
    "BUSY",
    "CREDENTIALS",
    "RefusedError",
    "explained",
    "failure_reason",
    "import_web_package",
    "is_passing",
    "refused",
    "status_in_words",
]
