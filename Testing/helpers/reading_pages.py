"""Read a study in a browser, or by plain requests, on a real server of this process."""

import http.client
import io
import json
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from GTRStagingLib.reading.server import serving
from GTRStagingLib.reading.session import open_session


@contextmanager
def served(study, reader, watch, **options):
    """Serve a reader's session; return it and the address of its page."""
    folder = Path(study) / "readers" / reader
    with (
        open_session(folder, reader, now=watch.now, clock=watch.clock) as session,
        serving(session, **options) as address,
    ):
        yield session, address


class Client:
    """A page without a browser: it sends what the page's script would send."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.place, self.path, self.origin = (parts.hostname, parts.port), parts.path, f"http://{parts.netloc}"
        self.page, self.state = None, {}

    def request(self, method, path, body=None, headers=None):
        """Return status, headers and content of a request."""
        connection = http.client.HTTPConnection(*self.place, timeout=20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def get(self, name):
        return self.request("GET", self.path + name)

    def ask(self, action, **data):
        """Return status and data of an action."""
        key = (self.state.get("item") or {}).get("key")
        body = json.dumps({"page": self.page, "key": key, **data})
        headers = {"Origin": self.origin, "Content-Type": "application/json"}
        status, _, content = self.request("POST", f"{self.path}do/{action}", body, headers)
        found = json.loads(content)
        if status == 200:
            self.page, self.state = found.get("page", self.page), found
        return status, found

    def answer(self, stage, confidence=70, *, go_on=True, **given):
        slices = [] if self.state["item"] is None else [self.state["item"]["slices"] // 2]
        seen = {"slices": slices, "window_level": 50, "window_width": 350}
        return self.ask("answer", answer={"stage": stage, "confidence": confidence, **given}, seen=seen, next=go_on)

    def image(self, name, **changed):
        asked = {"page": self.page, "key": self.state["item"]["key"], **changed}
        return self.get(f"{name}?page={asked['page']}&key={asked['key']}")


def wait_for_case(view):
    """Wait until the images of a case are on the screen, and its clock runs."""
    view.wait_until("!document.getElementById('case').hidden && document.getElementById('loading').hidden "
                                "&& !document.getElementById('next').disabled")  # fmt: skip


def wait_for_screen(view, title):
    view.wait_until("title => !document.getElementById('message').hidden && "
                                "document.querySelector('#message h2').textContent === title", title)  # fmt: skip


def pixels(view):
    """Return the (rows, columns, 3) colours of the image on the screen."""
    return np.asarray(Image.open(io.BytesIO(view.page.locator("#view").screenshot())).convert("RGB")).astype(int)


def answer_by_keys(view, stage, confidence=70):
    """Answer the case on the screen by keys alone, and wait for what follows."""
    before = view.evaluate("['progress', 'phase'].map((id) => document.getElementById(id).textContent).join('')")
    keyboard = view.page.keyboard
    keyboard.press(str(stage + 1))
    keyboard.press("c")
    keyboard.type(str(confidence))
    keyboard.press("Enter")
    view.wait_until(
        "before => !document.getElementById('message').hidden || (document.getElementById('progress').textContent + "
        "document.getElementById('phase').textContent !== before && document.getElementById('loading').hidden && "
        "!document.getElementById('next').disabled)",
        before,
    )
