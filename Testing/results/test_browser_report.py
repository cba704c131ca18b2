"""The report of a case in a real browser; and that the browser notices what is wrong with a page."""

import pytest
from helpers import accessibility, browser, results

from GTRStagingLib.nomogram.nomogram import PUBLISHED, REFERENCE, load
from GTRStagingLib.results import overlay
from GTRStagingLib.results.report import html

NOMOGRAM = {
    "nomogram": load(PUBLISHED),
    "values": {"radscore": 0.8, "size": REFERENCE, "differentiation": REFERENCE, "lauren": "diffuse"},
}


@pytest.mark.parametrize("options", [{}, NOMOGRAM], ids=["alone", "with a nomogram"])
def test_it_opens_without_a_complaint_is_accessible_prints_and_fits_a_phone(chromium, tmp_path, options):
    result, path = results.with_roi(), tmp_path / "report.html"
    path.write_text(html(result, overlay.png(result), include_phi=True, **options), encoding="utf-8")
    with chromium.open(path) as view:
        assert view.page.locator(".nomogram.live form").count() == len(options) / 2
        assert accessibility.violations(view) == []
        assert view.pdf().startswith(b"%PDF-")
        view.resize(browser.PHONE)
        assert view.overflow == 0
        assert view.complaints == []


BROKEN = """<!DOCTYPE html><html><head><meta http-equiv="Content-Security-Policy"
content="default-src 'none'; img-src https:; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<link rel="stylesheet" href="other.css"></head>
<body><p style="color: #bbb">pale</p><img src="https://example.invalid/a.png" ><div style="width: 900px">wide</div>
<script>console.error("printed"); console.log("passing"); undefinedName();</script></body></html>"""


def test_errors_of_a_page_are_detected(chromium, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text(BROKEN)
    with chromium.open(path, size=browser.PHONE) as view:
        text_of_errors = "\n".join(view.complaints)
        for text in ("error: printed", "undefinedName is not defined", "Content Security Policy",
                     "request: https://example.invalid/a.png"):  # fmt: skip
            assert text in text_of_errors
        assert "passing" not in text_of_errors
        assert "log: passing" in view.messages
        assert view.overflow > 500
        rules = {sentence.partition(":")[0] for sentence in accessibility.violations(view)}
        assert {"image-alt", "html-has-lang", "document-title"} <= rules
        view.screenshot(tmp_path / "shot.png")
        assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_browser_tests_are_skipped_but_fail_under_ci(monkeypatch):
    monkeypatch.delenv("CHROME", raising=False)
    monkeypatch.setenv("PATH", "")
    for ci, outcome in (("", pytest.skip.Exception), ("true", pytest.fail.Exception)):
        monkeypatch.setenv("CI", ci)
        with pytest.raises(outcome, match="no browser: none of chromium"), browser.running():
            pass
    monkeypatch.setenv("CHROME", "/opt/chrome")
    assert browser.executable() == "/opt/chrome"
