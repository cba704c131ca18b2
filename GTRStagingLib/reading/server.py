"""Serve a session to a page in a browser, by HTTP on this machine.

The address contains a token, so that other users of the machine and other pages of the browser can neither see nor
answer a case. Requests under another name of this machine, or from another page, are refused.
"""

import ipaddress
import json
import secrets
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from GTRStagingLib.errors import InputError, MachineError, StagingError, without_backticks
from GTRStagingLib.reading.browser_session import BrowserSession, StalePageError
from GTRStagingLib.reading.session import Session
from GTRStagingLib.support.addresses import is_loopback

PAGE = "page.html"
FILES = {
    PAGE: "text/html; charset=utf-8",
    "reading.css": "text/css; charset=utf-8",
    "reading.js": "text/javascript; charset=utf-8",
    "answer_form.js": "text/javascript; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "niivue.umd.js": "text/javascript; charset=utf-8",
}
"""Files of the page, in `resources/reading`, and their types."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: everything comes from this server; the letters of the viewer are a data URL."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
LONGEST_REQUEST = 1 << 20
"""Bytes of a request's content; the longest answer has about 100,000."""

IDLE_S = 30.0
"""Seconds after which a connection without a request is closed."""


@contextmanager
def serving(session: Session, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a session inside the block, and return the address of its page.

    Parameters
    ----------
    host
        Address to listen at. The content is not encrypted: others than this machine's own are for trusted networks.
    port
        0 for one that is free.

    Raises
    ------
    InputError
        If the address cannot be listened at.
    """
    try:
        server = _Server(session, host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}, port {port} cannot be listened at ({reason}); expected an address of this machine and a free "
            "port. Give another `host` or `port`, or none."
        ) from error
    thread = Thread(target=server.serve_forever, name="reading server", daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        server.browser.close()  # requests have threads of their own, which outlive the server
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    """Server of one session."""

    daemon_threads = True
    block_on_close = False  # a connection that is kept open must not keep the program from its end

    def __init__(self, session: Session, host: str, port: int) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        self.browser, self.token = BrowserSession(session), secrets.token_urlsafe(24)
        self.local = is_loopback(host)
        self.names = {"localhost", host.lower()} | (set() if self.local else {socket.gethostname().lower()})
        name = host if self.local or host not in ("0.0.0.0", "::") else socket.gethostname()  # noqa: S104 (compared)
        self.address = f"http://{f'[{name}]' if ':' in name else name}:{self.server_port}/{self.token}/"

    def is_own(self, host: str) -> bool:
        """Return whether a Host names this server: by a number, or a name that nobody else can point here.

        A page elsewhere can let its own name lead to this machine, but its requests then have that name.
        """
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        return port == self.server_port and parts.username is None and (name in self.names or _is_number(name))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors other than those of a page that was closed."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "GTRStaging", ""
    timeout = IDLE_S
    server: _Server

    def do_GET(self) -> None:
        """Send a file of the page, or an image of the case on the screen."""
        if (path := self._own_path()) is None:
            return
        name, _, query = path.partition("?")
        name = name or PAGE
        if name in FILES:
            self._send(HTTPStatus.OK, FILES[name], _file(name))
        elif name in ("ct", "map"):
            self._image(name, query)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Do what the page asks for, and send the state after it."""
        if (path := self._own_path()) is None or (content := self._content()) is None:
            return
        action = path.removeprefix("do/")
        if action not in ("open", *BrowserSession.ACTIONS) or action == path:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        try:
            data = json.loads(content)
            if not isinstance(data, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        browser = self.server.browser
        self._reply(lambda: browser.open() if action == "open" else browser.act(action, data))

    def _image(self, name: str, query: str) -> None:
        asked = parse_qs(query)

        def image() -> bytes:
            page, key = ("".join(asked.get(one, [""])) for one in ("page", "key"))
            images = self.server.browser.images(page, key)
            if (found := images.ct if name == "ct" else images.map) is None:
                raise InputError("No map is shown with this case; expected none to be asked for. Report this error.")
            return found

        self._reply(image)

    # -- what is accepted ------------------------------------------------------------------------------------------

    def _own_path(self) -> str | None:
        """Return the path after the token; refuse requests by other names, from other pages, or without the token."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        host = self.headers.get("Host", "")
        foreign = origin is not None and origin != f"http://{host}"
        if not self.server.is_own(host) or foreign or site not in ("none", "same-origin"):
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        token, slash, path = self.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return path

    def _content(self) -> bytes | None:
        """Return the JSON of a request of the page; refuse what a form on another page could send."""
        length = self.headers.get("Content-Length", "")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        if self.headers.get("Origin") is None or kind != "application/json":
            self._refuse(HTTPStatus.FORBIDDEN)
        elif not length.isascii() or not length.isdigit() or int(length[:12]) > LONGEST_REQUEST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            return self.rfile.read(int(length))
        return None

    # -- what is sent ----------------------------------------------------------------------------------------------

    def _reply(self, made: Any) -> None:
        """Send what a function returns, an image or plain data, or its error in words."""
        try:
            found = made()
            status = HTTPStatus.OK
        except StagingError as error:
            found, status = {"error": without_backticks(error)}, _status(error)
        except Exception:  # the page must not wait for ever, and the reader's answers are on the disk
            traceback.print_exc()
            found = {"error": "The program failed, which it should not; expected the next case. Start it again, and "
                              "report what it printed."}  # fmt: skip
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        if isinstance(found, bytes):
            self._send(status, "application/octet-stream", found)
        else:
            self._send(status, "application/json", json.dumps(found, allow_nan=False).encode())

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True
        text = "Not available. Open the address that gtrstaging reading serve printed.\n"
        self._send(status, "text/plain; charset=utf-8", text.encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in (*HEADERS.items(), ("Content-Type", kind), ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Print nothing: paths contain the token."""


def _status(error: StagingError) -> HTTPStatus:
    if isinstance(error, StalePageError):
        return HTTPStatus.CONFLICT
    if isinstance(error, MachineError):
        return HTTPStatus.INSUFFICIENT_STORAGE
    return HTTPStatus.UNPROCESSABLE_ENTITY


@cache
def _file(name: str) -> bytes:
    return files("GTRStagingLib").joinpath("resources", "reading", name).read_bytes()


__all__ = ["FILES", "HEADERS", "PAGE", "serving"]
