"""The commands of docs/tutorials/reader-study.md, read by three simulated readers: one in Chromium, two by requests."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from helpers import TESTING, browser
from helpers.reading_pages import Client, answer_by_keys, wait_for_case, wait_for_screen
from helpers.reading_studies import SimulatedReader

from GTRStagingLib.reading.plan import read_plan
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.tables.table_files import read_table

pytestmark = pytest.mark.slow

PAGE = TESTING.parent / "docs" / "tutorials" / "reader-study.md"
READERS = {"r1": (0.5, 0.8), "r2": (0.65, 0.4), "r3": (0.8, 0.1)}
"""Skill and trust; the page names those of r1 and r3."""

ENVIRONMENT = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}  # noqa: PTH120


def run(block, folder):
    done = subprocess.run(["bash", "-ec", block], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def started(block, folder):
    """Run the page's command of a reader; return the address that it prints."""
    with subprocess.Popen(["bash", "-ec", f"exec {block}"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            yield re.search(r"Open (http://\S+)", line)[1]
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()  # not communicate(): it loses what readline() has buffered
        assert "The session has ended." in rest
        assert RESEARCH_USE_ONLY in rest
    assert process.returncode == 0


def thought(reader, planned, advice):
    stage = None if advice is None else TStage[advice["stage"]]
    return reader(SimpleNamespace(code=planned.code, place=planned.place, advice=SimpleNamespace(stage=stage)))


def read_in_browser(drawing, address, reader, items):
    with drawing.visit(address) as view:
        for planned in items:  # without a wash-out, the second phase follows the first at once
            wait_for_case(view)
            advised = view.page.locator("#advice dd").first
            advice = {"stage": advised.inner_text()} if view.page.locator("#advice").is_visible() else None
            answer_by_keys(view, thought(reader, planned, advice))
        wait_for_screen(view, "All cases are read")
        assert view.complaints == []


def read_by_requests(address, reader, items):
    client = Client(address)
    client.ask("open")
    for planned in items:
        assert client.image("ct")[0] == 200
        client.ask("displayed")
        assert client.answer(thought(reader, planned, client.state["item"]["advice"]).name)[0] == 200
    assert client.state["state"] == "finished"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Run the page; return the folder, and what each command printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    make, design, serve, collect, evaluate = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"),
                                                        re.S | re.M)  # fmt: skip
    printed = {"make": run(make, folder), "design": run(design, folder)}
    with browser.running(browser.GRAPHICS) as drawing:
        for name, (skill, trust) in READERS.items():
            reader = SimulatedReader(folder / "study", name, skill, trust)
            items = read_plan(folder / "study" / "readers" / name).items
            with started(serve.replace("r1", name), folder) as address:
                if name == "r1":
                    read_in_browser(drawing, address, reader, items)
                else:
                    read_by_requests(address, reader, items)
    printed |= {"collect": run(collect, folder), "evaluate": run(evaluate, folder)}
    return folder, printed


def test_the_design_prints_the_numbers_of_the_page(study):
    _, printed = study
    page = PAGE.read_text(encoding="utf-8")
    assert "3 readers, 18 cases" in printed["design"]
    assert "Every reader reads 18 cases alone" in page
    (table,) = re.findall(r"^```none\n(.*?)^```", page, re.S | re.M)
    for line in table.splitlines():
        assert line in printed["design"]


def test_all_answers_are_collected_and_the_protocol_was_kept(study):
    folder, printed = study
    assert "The protocol was kept." in printed["collect"]
    readings = read_table(folder / "collected" / "readings.csv").rows
    assert {row["reader"] for row in readings} == set(READERS)
    assert len(readings) == len(READERS) * 2 * (18 + 2 + 2)


def test_the_evaluation_answers_the_questions_of_the_page(study):
    folder, printed = study
    assert "Protocol      0 deviations" in printed["evaluate"]
    report = (folder / "evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Reader study" in report
    assert "Supplementary Table 1" in report
    advice = json.loads((folder / "evaluation" / "metrics.json").read_text())["reader_answers"]["advice"]["rows"]
    taken = {row["reader"]: row["n_wrong"] for row in advice}
    assert set(READERS) <= set(taken)
    assert taken["r1"] == sum(
        row["stage"] != row["true_stage"]
        for row in read_table(folder / "results" / "predictions.csv").rows
        if row["case_id"] in {one["case_id"] for one in read_table(folder / "collected" / "table.csv").rows}
    )
