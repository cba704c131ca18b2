"""Open pages in a headless browser: its complaints, results of JavaScript, screenshots.

The browser is the system's Chromium or Chrome, controlled by Playwright; none is downloaded.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")
FLAGS = ("--headless=new", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
GRAPHICS = (*(flag for flag in FLAGS if flag != "--disable-gpu"), "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader")  # fmt: skip
"""Flags for pages that draw by WebGL, here without a GPU."""

WAIT_S = 30
DESKTOP, PHONE = (1200, 900), (375, 812)
"""Width and height of windows, in CSS pixels."""


def executable() -> str | None:
    """Return the browser's path: the environment variable `CHROME`, or the first of `NAMES` on the path."""
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class View:
    """Page open in a window.

    Attributes
    ----------
    page
        Playwright's page, for clicks, keys and locators.
    messages
        All messages of the console, as 'type: text'.
    complaints
        Console errors and warnings (violations of the Content-Security-Policy among them), uncaught exceptions, and
        requests for anything but the page itself: empty for a correct page.
    """

    page: Any
    messages: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """Return the result of a JavaScript expression, or of a function of the argument, as plain data."""
        return self.page.evaluate(expression, argument)

    def wait_until(self, expression: str, argument: Any = None) -> None:
        """Wait until a JavaScript expression is true; pages with a strict policy forbid Playwright's own wait."""
        end = time.monotonic() + WAIT_S
        while not self.evaluate(expression, argument):
            assert time.monotonic() < end, f"not so after {WAIT_S} s: {expression}"
            time.sleep(0.03)

    def resize(self, size: tuple[int, int]) -> None:
        """Set the width and height of the window."""
        width, height = size
        self.page.set_viewport_size({"width": width, "height": height})

    @property
    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG, at the width of the window."""
        self.page.screenshot(path=path, full_page=True)

    def pdf(self, path: Path | None = None) -> bytes:
        """Return the page as PDF: A4, or the size of its @page rule."""
        return self.page.pdf(path=path, format="A4", print_background=True, prefer_css_page_size=True)

    def _record(self, kind: str, text: str) -> None:
        self.messages.append(f"{kind}: {text}")
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")


class Browser:
    """Running browser; every page has an empty profile and no network."""

    def __init__(self, running: Any) -> None:
        self._running = running

    @contextmanager
    def open(self, path: Path, *, size: tuple[int, int] = DESKTOP, script: bool = True) -> Iterator[View]:
        """Open a file in a window; `script=False` switches JavaScript off."""
        width, height = size
        context = self._running.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=script, offline=True
        )
        address = path.absolute().as_uri()
        try:
            view = View(context.new_page())
            view.page.on("console", lambda message: view._record(message.type, message.text))
            view.page.on("pageerror", lambda error: view.complaints.append(f"exception: {error}"))
            view.page.on("request", lambda request: _check_request(request.url, address, view))
            view.page.goto(address, wait_until="load")
            yield view
        finally:
            context.close()

    @contextmanager
    def visit(self, address: str, *, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[View]:
        """Open a page of a server of this machine; requests to elsewhere are aborted, and are complaints.

        `options` are those of a browser context, such as `has_touch` or `color_scheme`.
        """
        width, height = size
        context = self._running.new_context(viewport={"width": width, "height": height}, **options)
        try:
            view = View(context.new_page())
            view.page.set_default_timeout(30_000)
            view.page.on("console", lambda message: view._record(message.type, message.text))
            view.page.on("pageerror", lambda error: view.complaints.append(f"exception: {error}"))

            def guard(route: Any) -> None:
                if route.request.url.startswith(address):
                    route.continue_()
                else:
                    view.complaints.append(f"request: {route.request.url}")
                    route.abort()

            context.route(lambda url: not url.startswith(("data:", "blob:")), guard)
            view.page.goto(address, wait_until="load")
            yield view
        finally:
            context.close()


def _check_request(url: str, address: str, view: View) -> None:
    if not url.startswith("data:") and url.partition("#")[0] != address:
        view.complaints.append(f"request: {url}")


@contextmanager
def running(flags: tuple[str, ...] = FLAGS) -> Iterator[Browser]:
    """Start the browser; without one the test is skipped, and fails under CI.

    Run it for one test module at a time: while it runs, asyncio has a loop in this thread.
    """
    path = executable()
    if path is None:
        message = f"no browser: none of {', '.join(NAMES)} is on the path; install Debian's chromium, or set CHROME"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(flags), chromium_sandbox=False)
        try:
            yield Browser(started)
        finally:
            started.close()
