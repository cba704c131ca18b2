"""Talk to a DICOMweb service: search, metadata, single images, storing.

TLS certificates are verified. Credentials are those of the environment, or of a netrc file; they are sent to the host
of the address only, since redirects are refused. A request that may succeed later is repeated with growing pauses.
"""

import io
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from GTRStagingLib.archive.web_errors import (
    RefusedError,
    explained,
    failure_reason,
    import_web_package,
    is_passing,
    refused,
)
from GTRStagingLib.errors import InputError
from GTRStagingLib.support.addresses import WebAddress

USER, PASSWORD, TOKEN = "GTRSTAGING_DICOMWEB_USER", "GTRSTAGING_DICOMWEB_PASSWORD", "GTRSTAGING_DICOMWEB_TOKEN"
"""Environment variables with the credentials: user and password, or a bearer token."""

PAUSES_S = (0.5, 2.0, 6.0)
"""Seconds before the second and each further attempt."""

CONNECT_S, READ_S = 10.0, 120.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""

Answer = TypeVar("Answer")


@dataclass
class Traffic:
    """What was requested from an archive: number of requests, and bytes received and sent in their bodies."""

    requests: int = 0
    received: int = 0
    sent: int = 0


@dataclass(frozen=True)
class WebArchive:
    """DICOMweb service.

    Attributes
    ----------
    address
        Its address; study and series there are of no effect.
    pauses_s
        Seconds before each further attempt.
    timeout_s
        Seconds to wait for a connection, and for the next bytes.
    traffic
        Counts of all requests so far.
    """

    address: WebAddress
    pauses_s: Sequence[float] = field(default_factory=lambda: PAUSES_S)
    timeout_s: tuple[float, float] = (CONNECT_S, READ_S)
    traffic: Traffic = field(default_factory=Traffic, compare=False)

    def series_of(self, study: str) -> list[Mapping[str, Any]]:
        """Return the series of a study, as DICOM JSON with Modality, SeriesInstanceUID and SeriesNumber.

        Raises
        ------
        MachineError
            If the archive cannot be reached, or does not accept the credentials.
        InputError
            If it does not have the study, or does not answer as DICOMweb does.
        """
        found = self._every(partial(self._client.search_for_series, study), "0020000E", "the study's series")
        if not found:
            raise InputError(
                f"{self.address}: the archive has no series of this study; expected a CT. Check the study's UID."
            )
        return found

    def metadata(self, study: str, series: str) -> list[Mapping[str, Any]]:
        """Return the headers of the images of a series as DICOM JSON, without pixels.

        Raises
        ------
        MachineError, InputError
            As `series_of`.
        """
        found = self._found(lambda: self._client.retrieve_series_metadata(study, series), "the series")
        if not found:
            raise InputError(f"{self.address}: the series has no images; expected a CT. Check the series' UID.")
        return found

    def image(self, study: str, series: str, instance: str) -> bytes:
        """Return the DICOM file of an image, as pydicom writes the object that the archive sends.

        Elements and pixels are those of the archive; the bytes of the file that it stores may differ.

        Raises
        ------
        MachineError, InputError
            As `series_of`.
        """

        def retrieve() -> bytes:
            content = io.BytesIO()
            dataset = self._client.retrieve_instance(study, series, instance)
            import_web_package("pydicom").dcmwrite(content, dataset)
            return content.getvalue()

        return self._asked(retrieve, "an image")

    def instances_of(self, study: str, series: str) -> frozenset[str]:
        """Return the SOP Instance UIDs that the archive has of a series; empty if it does not know the series.

        Raises
        ------
        MachineError, InputError
            As `series_of`.
        """
        search = partial(self._client.search_for_instances, study, series)
        found = self._every(search, "00080018", "the list of images")
        return frozenset(text_in(one, "00080018") or "" for one in found)

    def store(self, dataset: Any) -> None:
        """Store an object, and ask the archive whether it has it.

        Some archives report no failure for objects that they drop or cannot write: the answer alone is no proof.

        Raises
        ------
        RefusedError
            If the archive does not take the object.
        MachineError
            As `series_of`.
        """
        HTTPError = import_web_package("requests").HTTPError  # noqa: N806

        def post() -> Any:
            try:
                return self._client.store_instances([dataset])
            except HTTPError as error:
                if not is_passing(error) and (known := refused(str(self.address), error)) is not None:
                    raise known from error
                raise

        answer = self._asked(post, "an object to store")
        if reason := failure_reason(answer.to_json_dict()):
            raise RefusedError(
                f"{self.address}: the archive did not take the object ({reason}); expected it to be stored. See the "
                "archive's log."
            )
        if str(dataset.SOPInstanceUID) not in self.instances_of(
            str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
        ):
            raise RefusedError(
                f"{self.address}: the archive reported no failure, but does not list the object; expected it to be "
                "stored. It may be full, or drop such objects by a filter: ask its operator, then send again."
            )

    def _found(self, request: Callable[[], Any], what: str) -> list[Mapping[str, Any]]:
        found = self._asked(request, what)
        if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
            raise InputError(
                f"{self.address}: the answer for {what} is no list of objects; expected DICOM JSON. Check the address."
            )
        return found

    def _every(self, search: Callable[..., Any], tag: str, what: str) -> list[Mapping[str, Any]]:
        """Return all results of a search, page by page; those without the identifying element `tag` are left out."""
        found, offset = dict[str, Mapping[str, Any]](), 0
        while True:
            page = self._found(partial(search, offset=offset), what)
            new = {uid: one for one in page if (uid := text_in(one, tag)) is not None and uid not in found}
            if not new:  # an archive without pages gives the same again
                return list(found.values())
            found |= new
            offset += len(page)

    def _asked(self, request: Callable[[], Answer], what: str) -> Answer:
        """Return the answer to a request, which is repeated after failures that may pass."""
        with explained(str(self.address), what, len(self.pauses_s) + 1):
            for pause in self.pauses_s:
                try:
                    return request()
                except Exception as error:
                    if not is_passing(error):
                        raise
                time.sleep(pause)
            return request()

    @cached_property
    def _client(self) -> Any:
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # its messages contain UIDs
        api = import_web_package("dicomweb_client.api")
        client = api.DICOMwebClient(
            self.address.base, session=self._session(), timeout=self.timeout_s, chunk_size=1 << 30
        )  # one body of known length: not every archive takes chunks
        client.set_http_retry_params(retry=False)
        return client

    def _session(self) -> Any:
        requests = import_web_package("requests")
        session = requests.Session()
        session.max_redirects = 0  # a redirect would lead images and credentials elsewhere
        session.hooks["response"].append(self._count)
        user, password, token = (os.environ.get(name) for name in (USER, PASSWORD, TOKEN))
        if token and (user or password):
            raise InputError(f"{TOKEN} and {USER} are set; expected one of them. Unset the other.")
        if bool(user) != bool(password):
            raise InputError(f"Only one of {USER} and {PASSWORD} is set; expected both. Set the other.")
        if token:
            session.auth = _bearer(token)
        elif user:
            session.auth = (user, password)
        if self.address.is_loopback:
            session.mount(self.address.base, _direct(requests))
        return session

    def _count(self, response: Any, *_: Any, **__: Any) -> None:
        size = len(response.content)  # read here, so that a connection that breaks counts as a failed request
        self.traffic.requests += 1
        self.traffic.received += response.raw.tell() or size
        self.traffic.sent += int(response.request.headers.get("Content-Length") or 0)


def _bearer(token: str) -> Callable[[Any], Any]:
    def signed(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return signed


def _direct(requests: Any) -> Any:
    """Return an adapter that uses no proxy."""

    class Direct(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **settings: Any) -> Any:
            return super().send(request, **{**settings, "proxies": None})

    return Direct()


def text_in(item: Mapping[str, Any], tag: str) -> str | None:
    """Return the first value of an element of DICOM JSON as text; None if there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    first = values[0] if isinstance(values, list) and values else None
    return str(first) if isinstance(first, str | int | float) and first != "" else None


__all__ = ["PASSWORD", "TOKEN", "USER", "Traffic", "WebArchive", "text_in"]
