"""The server holds the rules of the session, and keeps others out."""

import hashlib
import json
import os
import re
import time
from pathlib import Path
from threading import Event, Thread

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.reading_pages import Client, served
from helpers.reading_studies import SHOWS, Watch, copied_study, make_study
from helpers.tokens import MARK, tokens_in

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.browser_session import BrowserSession
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.reading.log import read_log
from GTRStagingLib.reading.server import FILES, HEADERS, serving
from GTRStagingLib.reading.session import open_session
from GTRStagingLib.reading.viewer_images import viewer_images

RESOURCES = Path(__file__).parents[2] / "GTRStagingLib" / "resources" / "reading"


@pytest.fixture
def reading(small_study, tmp_path):
    """A served copy of a study: session, client whose page is open, watch, folder of the reader."""
    study, watch = copied_study(small_study, tmp_path), Watch()
    with served(study, "r1", watch) as (session, address):
        client = Client(address)
        client.ask("open")
        yield session, client, watch, study / "readers" / "r1"


def answers_of(folder):
    return [entry for entry in read_log(folder / "log.jsonl").entries if entry.kind == "answer"]


def test_the_viewer_is_the_published_file_with_its_licences():
    facts = json.loads((RESOURCES / "niivue.json").read_text(encoding="utf-8"))
    assert hashlib.sha256((RESOURCES / "niivue.umd.js").read_bytes()).hexdigest() == facts["sha256"]
    licences = (RESOURCES / "niivue-LICENSES.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2021, Niivue" in licences
    assert len(re.findall(r"^== ", licences, re.M)) == 9
    version = facts["version"].encode()
    assert version in (RESOURCES / "niivue.umd.js").read_bytes()


def test_the_page_and_its_scripts_are_served_with_strict_headers(reading):
    client = reading[1]
    for name in ("", *FILES):
        status, headers, content = client.get(name)
        assert status == 200
        assert content
        assert HEADERS.items() <= headers.items()
        assert "Python" not in headers["Server"]
    for name in ("niivue.json", "../look.css.j2", "plan.json", "cases", "ct/1"):
        assert client.get(name)[0] == 404


def test_without_the_token_nothing_is_served(reading):
    client = reading[1]
    for path in ("/", "/favicon.ico", "/x" + client.path[2:], client.path[:-1], f"/x{client.path}"):
        assert client.request("GET", path)[0] == 404
        assert client.request("POST", f"{path}do/open", "{}", {"Origin": client.origin})[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere.example"},
        {"Host": "elsewhere.example:{port}"},
        {"Host": "127.0.0.1:1"},
        {"Host": "user@127.0.0.1:{port}"},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_names_and_other_pages_are_refused(reading, headers):
    client = reading[1]
    given = {name: value.format(port=client.place[1]) for name, value in headers.items()}
    assert client.request("GET", client.path, headers=given)[0] == 403
    assert client.request("GET", client.path, headers={"Host": f"localhost:{client.place[1]}"})[0] == 200


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Origin": None}], ids=str)
def test_a_request_that_a_form_elsewhere_could_send_is_refused(reading, headers):
    client = reading[1]
    given = {"Origin": client.origin, "Content-Type": "application/json"} | headers
    given = {name: value for name, value in given.items() if value is not None}
    assert client.request("POST", f"{client.path}do/open", "{}", given)[0] == 403


@pytest.mark.parametrize("body", ["", "[]", "{", "1", "[" * 100_000])
def test_what_is_no_object_is_refused(reading, body):
    client = reading[1]
    headers = {"Origin": client.origin, "Content-Type": "application/json"}
    assert client.request("POST", f"{client.path}do/answer", body, headers)[0] == 400


def test_too_long_a_request_is_refused(reading):
    client = reading[1]
    headers = {"Origin": client.origin, "Content-Type": "application/json", "Content-Length": "9" * 9}
    assert client.request("POST", f"{client.path}do/answer", None, headers)[0] == 413


def test_only_the_case_on_the_screen_is_served(reading):
    session, client, _, _ = reading
    first = client.state["item"]["key"]
    assert client.image("ct")[0] == 200
    assert client.image("ct", key="1-2")[0] == 409
    assert client.image("map")[0] == 422  # unaided
    assert client.answer("T2")[0] == 200
    assert client.image("ct", key=first)[0] == 409
    assert client.image("ct")[0] == 200
    client.ask("pause")
    assert client.state["item"] is None
    assert client.get(f"ct?page={client.page}&key=1-2")[0] == 409
    assert session.state == "paused"


def test_an_answer_for_another_place_is_refused(reading):
    _, client, _, folder = reading
    status, found = client.ask("answer", key="1-3", answer={"stage": "T2", "confidence": 1}, seen={"slices": []})
    assert status == 409
    assert "expected the current one" in found["error"]
    assert answers_of(folder) == []


def test_a_second_page_takes_over(reading):
    _, client, _, folder = reading
    other = Client(f"{client.origin}{client.path}")
    assert other.ask("open")[0] == 200
    status, found = client.answer("T1")
    assert status == 409
    assert "another tab" in found["error"]
    assert client.image("ct")[0] == 409
    assert other.answer("T3")[0] == 200
    assert [one.data["answer"]["stage"] for one in answers_of(folder)] == ["T3"]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"stage": "T5", "confidence": 1}, "T1 to T4"),
        ({"stage": "T2"}, "confidence"),
        ({"stage": "T2", "confidence": 101}, "0 to 100"),
        ({"stage": "T2", "confidence": 1, "substage": "T4a"}, "with T4"),
        ({"stage": "T2", "confidence": 1, "mark": {"slice": 99, "column": 1, "row": 1}}, "within"),
        ({"stage": "T2", "confidence": 1, "mark": {"slice": 9, "column": 64, "row": 1}}, "within"),
        ({"stage": "T2", "confidence": 1, "remarks": "x" * 2001}, "2,000"),
        (None, "answer"),
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused_in_words(reading, given, part):
    _, client, _, folder = reading
    status, found = client.ask("answer", answer=given, seen={"slices": [3]}, next=True)
    assert status == 422
    assert part in found["error"]
    assert answers_of(folder) == []


def test_next_without_an_answer_is_refused(reading):
    status, found = reading[1].ask("next")
    assert status == 422
    assert "Answer it first" in found["error"]


def test_the_clock_starts_once_and_views_are_kept_when_the_page_is_loaded_again(reading):
    _, client, watch, folder = reading
    watch.pass_by(seconds=9)
    client.ask("displayed")
    watch.pass_by(seconds=5)
    client.ask("seen", seen={"slices": [1, 2]})
    client.ask("open")
    client.ask("displayed")
    watch.pass_by(seconds=6)
    client.answer("T1", go_on=False)
    (entry,) = answers_of(folder)
    assert entry.data["seconds"] == 11
    assert entry.data["answer"]["seen"]["slices"] == [1, 2, 12]
    client.ask("open")
    assert client.state["item"]["answer"]["stage"] == "T1"


def test_a_changed_case_is_refused_in_words_and_the_answer_stands(reading):
    session, client, _, folder = reading
    following = folder / session.plan.cases[session.plan.items[1].code].image
    following.write_bytes(b"changed")
    status, found = client.answer("T1")
    assert status == 422
    assert "was changed" in found["error"]
    assert len(answers_of(folder)) == 1
    assert client.answer("T1")[0] == 422  # another press of Enter
    assert len(answers_of(folder)) == 1
    assert client.answer("T2")[0] == 422
    assert [one.data["answer"]["stage"] for one in answers_of(folder)] == ["T1", "T2"]


def test_an_answer_that_is_written_while_the_program_ends_is_whole(small_study, tmp_path, monkeypatch):
    """On a slow disk: the log must not get two entries of one number."""
    study, watch = copied_study(small_study, tmp_path), Watch()
    flush, begun, found = os.fsync, Event(), []

    def slow(file):
        begun.set()
        time.sleep(0.7)
        flush(file)

    with served(study, "r1", watch) as (_, address):
        client = Client(address)
        client.ask("open")
        client.ask("displayed")
        monkeypatch.setattr(os, "fsync", slow)
        page = Thread(target=lambda: found.append(client.answer("T1", go_on=False)[0]))
        page.start()
        assert begun.wait(10)
    page.join()
    monkeypatch.undo()
    assert found == [200]
    with served(study, "r1", watch) as (session, address):
        assert len(answers_of(study / "readers" / "r1")) == 1
        assert session.state == "reading"
    kinds = [one.kind for one in read_log(study / "readers" / "r1" / "log.jsonl").entries]
    assert kinds[-4:] == ["closed", "opened", "shown", "closed"]


def test_nothing_is_done_after_the_end(small_study, tmp_path):
    study, watch = copied_study(small_study, tmp_path), Watch()
    with open_session(study / "readers" / "r1", "r1", now=watch.now, clock=watch.clock) as session:
        browser = BrowserSession(session)
        page = browser.open()
        browser.close()
        key = page["item"]["key"]
        for ask in (browser.open, lambda: browser.images(page["page"], key),
                    lambda: browser.act("displayed", {"page": page["page"], "key": key})):  # fmt: skip
            with pytest.raises(InputError, match="The session has ended"):
                ask()


def test_a_second_session_is_refused_while_one_is_served(reading):
    with pytest.raises(InputError, match="Another session is open"), open_session(reading[3], "r1"):
        pass


def test_the_advice_is_what_the_design_shows_and_only_in_its_phase(tmp_path):
    watch = Watch()
    study = make_study(tmp_path, readers=("r1",), cases=4, shows=("set", "map"), design=Design(seed=1), washout_days=1)
    with served(study, "r1", watch) as (_, address):
        client = Client(address)
        client.ask("open")
        for _ in range(4):
            assert client.state["item"]["advice"] is None
            client.answer("T2")
        assert client.state["state"] == "washing out"
        client.ask("proceed")
        assert client.state["item"] is None
        watch.pass_by(days=2)
        client.ask("proceed")
        assert set(client.state["item"]["advice"]) == {"set", "map"}
        assert client.image("map")[0] == 200


def test_nothing_that_is_served_names_a_case_a_patient_or_a_true_stage(tmp_path):
    token, watch = f"{MARK}9100", Watch()
    study = make_study(tmp_path, readers=("r1",), cases=4, token=token, shows=SHOWS, may_revise=True,
                       design=Design(seed=5), washout_days=0)  # fmt: skip
    got = []
    with served(study, "r1", watch) as (session, address):
        codes = list(session.plan.cases)
        client = Client(address)
        got.append(json.dumps(client.ask("open")[1]))
        while client.state["item"] is not None:
            unaided = client.state["phase"] == "unaided"
            if unaided:  # before the own answer, nothing of a stage is there
                assert not re.search(r"T[1-4]", json.dumps(client.state["item"]))
            status, _, content = client.image("ct")
            assert status == 200
            got += [content.decode("latin-1"), json.dumps(client.answer("T2")[1])]
    everything = "\n".join(got)
    assert len(got) == 17
    assert tokens_in(everything.encode()) == set()
    assert not [code for code in codes if code in everything]
    assert "case" not in everything
    assert str(tmp_path) not in everything


def test_an_earlier_answer_can_be_changed_if_the_design_allows_it(full_study, tmp_path):
    study, watch = copied_study(full_study, tmp_path), Watch()
    with served(study, "r1", watch) as (session, address):
        client = Client(address)
        client.ask("open")
        for _ in range(5):
            client.answer("T2", mark={"slice": 3, "column": 10, "row": 20})
        assert [one["name"] for one in client.state["revisable"]][-2:] == ["practice 2", "practice 1"]
        assert client.state["revisable"][0]["name"] == "1"
        assert client.ask("revise", place=5, answer={"stage": "T4", "confidence": 9, "substage": "T4a"})[0] == 200
        assert client.state["revisable"][0]["substage"] == "T4a"
        assert dict(session.answers)[5].mark.slice == 3
        assert client.ask("revise", place=6, answer={"stage": "T4", "confidence": 9})[0] == 422


def test_the_images_of_the_viewer_are_the_voxels_in_axial_order(small_study, tmp_path):
    study, watch = copied_study(small_study, tmp_path), Watch()
    with open_session(study / "readers" / "r1", "r1", now=watch.now, clock=watch.clock) as session:
        found = viewer_images(session.item)
        image = sitk.ReadImage(str(session.item.image))
    made = nib.Nifti1Image.from_bytes(found.ct)
    assert made.get_data_dtype() == np.int16
    assert nib.aff2axcodes(made.affine) == ("L", "P", "S")
    assert np.array_equal(np.asarray(made.dataobj).T, sitk.GetArrayFromImage(image))
    assert np.allclose(made.affine[:3, 3], 0)
    assert found.position_mm(3, 10.5, 20) == pytest.approx(
        image.TransformContinuousIndexToPhysicalPoint((10.5, 20.0, 3.0))
    )


def test_a_port_that_is_taken_is_refused(reading):
    client = reading[1]
    with pytest.raises(InputError, match="cannot be listened at"), serving(reading[0], port=client.place[1]):
        pass
