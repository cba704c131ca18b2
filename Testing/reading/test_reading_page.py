"""Readers read in a real Chromium: by keys, by mouse, on a tablet, with reloads, kills and two tabs."""

import csv
import re
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from helpers import accessibility, browser
from helpers.reading_pages import answer_by_keys, pixels, served, wait_for_case, wait_for_screen
from helpers.reading_studies import SimulatedReader, Watch, copied_study, make_study, read_all

from GTRStagingLib.imaging.geometry import Grid
from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.reading.log import read_log
from GTRStagingLib.reading.viewer_images import ViewerImages, _nifti
from GTRStagingLib.stages import TStage

TABLET = (820, 1180)
SIZES = [(390, 844), TABLET, (1280, 800), (1920, 1080)]


@pytest.fixture(scope="module")
def drawing():
    with browser.running(browser.GRAPHICS) as started:
        yield started


@pytest.fixture
def reading(small_study, tmp_path, drawing):
    """A view of the first case of a served study, its session, watch and log."""
    study, watch = copied_study(small_study, tmp_path), Watch()
    with served(study, "r1", watch) as (session, address), drawing.visit(address) as view:
        wait_for_case(view)
        yield view, session, watch, study / "readers" / "r1" / "log.jsonl"


def answers_in(log):
    return [entry.data["answer"] for entry in read_log(log).entries if entry.kind == "answer"]


def value(view, name):
    return float(view.page.locator(f"#{name}").input_value())


def test_a_study_is_read_by_keys_alone_and_its_table_equals_that_of_the_session(tmp_path, drawing):
    """The page loads nothing from elsewhere; the wash-out is refused, and ends at its time."""
    options = {"cases": 4, "readers": ("r1",), "design": Design(seed=3)}
    tables = []
    for way in ("browser", "session"):
        study, watch = make_study(tmp_path / way, **options), Watch()
        reader = SimulatedReader(study, "r1", 0.6, 0.5)
        if way == "session":
            for _ in range(2):
                read_all(study, "r1", watch, think=reader)
                watch.pass_by(days=29)
        else:
            with served(study, "r1", watch) as (session, address), drawing.visit(address) as view:
                for phase in range(2):
                    wait_for_case(view)
                    assert view.page.locator("#advice").is_visible() == (phase == 1)
                    for n in range(4):
                        assert view.page.locator("#progress").inner_text() == f"{n + 1} of 4"
                        answer_by_keys(view, reader(session.item))
                    if phase == 0:
                        wait_for_screen(view, "The first part is done")
                        with view.page.expect_response("**/do/proceed"):
                            view.page.keyboard.press("Enter")
                        view.wait_until("!document.getElementById('next').disabled || "
                                        "document.getElementById('pause').disabled === false")  # fmt: skip
                        wait_for_screen(view, "The first part is done")
                        watch.pass_by(days=29)
                        view.page.keyboard.press("Enter")
                wait_for_screen(view, "All cases are read")
                assert view.complaints == []
        found = collect(study, study / "organiser" / "truth.csv", study.parent / "data" / "batch" / "predictions.csv",
                        now=watch.time)  # fmt: skip
        assert found.kept
        tables.append(list(csv.DictReader(write_collected(found, tmp_path / way / "table.csv")[0].open())))
    assert tables[0] == tables[1]
    assert len({row["r1_aided"] for row in tables[0]}) > 1


def test_slices_and_windows_change_the_pixels_and_are_recorded(reading):
    view, session, _, log = reading
    first, start = pixels(view), value(view, "slice")
    assert start == session.item.key_slice
    assert view.page.locator("#badge").is_visible()
    view.page.keyboard.press("ArrowUp")
    assert value(view, "slice") == start + 1
    assert not view.page.locator("#badge").is_visible()
    second = pixels(view)
    assert np.abs(second - first).max() > 30
    view.page.locator("#view").hover()
    view.page.mouse.wheel(0, 100)
    view.wait_until("start => document.getElementById('slice').value == start", start)
    box = view.page.locator("#view").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.page.mouse.move(*middle)
    view.page.mouse.down()
    view.page.mouse.move(middle[0] + 60, middle[1] + 40)
    view.page.mouse.up()
    assert (value(view, "level"), value(view, "width")) == (90, 470)
    dragged = pixels(view)
    assert np.abs(dragged - first).mean() > 1
    view.page.keyboard.press("Shift+ArrowUp")
    view.page.keyboard.press("Shift+ArrowLeft")
    assert (value(view, "level"), value(view, "width")) == (100, 450)
    answer_by_keys(view, TStage.T2)
    (answer,) = answers_in(log)
    assert answer["seen"] == {"slices": [start, start + 1], "window_level": 100, "window_width": 450}
    assert view.complaints == []


def test_no_confidence_is_recorded_that_nobody_has_set(reading):
    view, _, _, log = reading
    assert view.page.locator("#confidence").input_value() == ""
    view.page.keyboard.press("3")
    view.page.keyboard.press("Enter")
    view.page.wait_for_selector("#status.wrong")
    assert "confidence" in view.page.locator("#status").inner_text()
    assert answers_in(log) == []


def test_space_saves_and_the_answer_can_be_given_again_until_next(reading):
    view, session, _, log = reading
    for key in ("4", "b", "c"):
        view.page.keyboard.press(key)
    view.page.keyboard.type("55")
    view.page.keyboard.press("Space")
    view.wait_until("document.getElementById('status').textContent.startsWith('Saved')")
    assert session.answered
    view.page.keyboard.press("Escape")
    view.page.keyboard.press("2")
    view.wait_until("!document.getElementById('next').disabled")
    view.page.keyboard.press("Enter")
    view.wait_until("document.getElementById('progress').textContent.startsWith('2 ')")
    assert [(one["stage"], one["substage"], one["confidence"]) for one in answers_in(log)] == [
        ("T4", "T4b", 55), ("T2", None, 55)]  # fmt: skip


def test_a_reload_and_a_restart_go_on_where_it_stopped(small_study, tmp_path, drawing):
    study, watch = copied_study(small_study, tmp_path), Watch()
    with served(study, "r1", watch) as (_, address), drawing.visit(address) as view:
        wait_for_case(view)
        answer_by_keys(view, TStage.T1)
        view.page.reload()
        wait_for_case(view)
        assert view.page.locator("#progress").inner_text() == "2 of 8"
        address_before = address
    with served(study, "r1", watch) as (_, address), drawing.visit(address) as view:
        wait_for_case(view)
        assert address != address_before
        assert view.page.locator("#progress").inner_text() == "2 of 8"


@contextmanager
def program(study):
    """Run `gtrstaging reading serve` for r1; return the process and the address."""
    command = [sys.executable, "-m", "GTRStagingLib", "reading", "serve", str(study), "--reader", "r1"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield running, re.search(r"http://127\.0\.0\.1:\d+/\S+/", running.stdout.readline())[0]
    finally:
        running.kill()
        running.communicate()


def test_a_killed_program_loses_at_most_the_case_on_the_screen(small_study, tmp_path, drawing):
    study = copied_study(small_study, tmp_path)
    log = study / "readers" / "r1" / "log.jsonl"
    with program(study) as (running, address), drawing.visit(address) as view:
        wait_for_case(view)
        answer_by_keys(view, TStage.T1)
        running.kill()
        running.wait()
        for key in ("2", "c"):
            view.page.keyboard.press(key)
        view.page.keyboard.type("40")
        view.page.keyboard.press("Enter")
        view.page.wait_for_selector("#status.wrong")
        assert "gtrstaging reading serve again" in view.page.locator("#status").inner_text()
        assert view.page.locator("#confidence").input_value() == "40"
    with program(study) as (running, address), drawing.visit(address) as view:
        wait_for_case(view)
        assert view.page.locator("#progress").inner_text() == "2 of 8"
        running.send_signal(signal.SIGINT)
        assert "The session has ended." in running.communicate(timeout=20)[0]
        assert running.returncode == 0
    assert [one["stage"] for one in answers_in(log)] == ["T1"]
    assert [entry.kind for entry in read_log(log).entries][-1] == "closed"


def test_a_second_tab_takes_over_and_the_first_one_says_so(reading):
    view, session, _, log = reading
    other = view.page.context.new_page()
    other.goto(view.page.url)
    other.locator("#loading").wait_for(state="hidden")
    for key in ("2", "c"):
        view.page.keyboard.press(key)
    view.page.keyboard.type("40")
    view.page.keyboard.press("Enter")
    wait_for_screen(view, "Not here")
    assert answers_in(log) == []
    view.page.keyboard.press("Enter")
    wait_for_case(view)
    answer_by_keys(view, TStage.T3)
    assert [one["stage"] for one in answers_in(log)] == ["T3"]
    assert session.item.place == 2


def test_a_pause_hides_the_images_and_stops_the_clock(reading):
    view, session, watch, log = reading
    watch.pass_by(seconds=7)
    view.page.keyboard.press("p")
    wait_for_screen(view, "Paused")
    assert not view.page.locator("#view").is_visible()
    assert session.state == "paused"
    watch.pass_by(seconds=100)
    view.page.keyboard.press("Enter")
    wait_for_case(view)
    assert np.abs(pixels(view)).max() > 100
    answer_by_keys(view, TStage.T2)
    (entry,) = [one for one in read_log(log).entries if one.kind == "answer"]
    assert entry.data["seconds"] == 7


def test_the_map_is_shown_and_switched_off(tmp_path, drawing):
    study, watch = make_study(tmp_path, cases=4, readers=("r1",), design=Design(seed=1), washout_days=0), Watch()
    read_all(study, "r1", watch, stop=4)
    with served(study, "r1", watch) as (_, address), drawing.visit(address) as view:
        wait_for_case(view)
        coloured = pixels(view)
        view.page.keyboard.press("m")
        assert not view.page.locator("#map").is_checked()
        view.page.wait_for_timeout(100)
        grey = pixels(view)[60:-60, 40:-40]  # without the letters at the sides, and the badge
        assert (grey.max(axis=2) - grey.min(axis=2)).max() == 0
        assert (coloured.max(axis=2) - coloured.min(axis=2)).max() > 60
        assert view.page.locator("#advice dl").inner_text().split()[:2] == ["Stage", view.page.locator(
            "#advice dd").first.inner_text()]  # fmt: skip
        assert view.complaints == []


def test_advice_and_keys_wait_for_the_image(tmp_path, drawing):
    study, watch = make_study(tmp_path, cases=4, readers=("r1",), design=Design(seed=1), washout_days=0), Watch()
    read_all(study, "r1", watch, stop=4)
    with served(study, "r1", watch) as (session, address), drawing.visit(address) as view:
        wait_for_case(view)
        assert view.page.locator("#advice").is_visible()
        held = []
        view.page.route(re.compile(r"/ct\?"), lambda route: held.append(route))
        view.page.keyboard.press("1")
        view.page.keyboard.press("c")
        view.page.keyboard.type("50")
        view.page.keyboard.press("Enter")
        view.wait_until("!document.getElementById('loading').hidden")
        assert session.item.place == 2
        assert not view.page.locator("#advice").is_visible()
        for key in ("3", "c", "9"):
            view.page.keyboard.press(key)
        while not held:
            view.page.wait_for_timeout(20)
        held[0].continue_()
        wait_for_case(view)
        assert view.page.locator("#advice").is_visible()
        assert view.page.locator("#stages [aria-pressed=true]").count() == 0
        assert view.page.locator("#confidence").input_value() == ""
        assert view.complaints == []


@pytest.fixture
def marked(small_study, tmp_path, drawing, monkeypatch):
    """A view of a CT of air with a bright block at the patient's right, front, on slice 5 of 12."""
    voxels = np.full((12, 48, 64), -1000, np.int16)
    voxels[5, 6:12, 8:16] = 400
    grid = Grid((64, 48, 12), (2.0, 2.0, 5.0), (-60.0, -50.0, -300.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    images = ViewerImages(grid, _nifti(voxels, grid))
    monkeypatch.setattr("GTRStagingLib.reading.browser_session.viewer_images", lambda item: images)
    study, watch = copied_study(small_study, tmp_path), Watch()
    with served(study, "r1", watch) as (_, address), drawing.visit(address) as view:
        wait_for_case(view)
        yield view, study / "readers" / "r1" / "log.jsonl"


def bright(view):
    """Return the middle (x, y) of the bright block on the view, as shares of its size."""
    found = pixels(view).min(axis=2) > 200
    found[:, :40], found[:, -40:], found[:50] = False, False, False  # the letters, and the badge
    rows, columns = np.nonzero(found)
    return None if not rows.size else (columns.mean() / found.shape[1], rows.mean() / found.shape[0])


def test_the_patients_right_is_at_the_left_and_the_front_above_and_slices_are_the_librarys(marked):
    view, _ = marked
    for index, is_there in ((4, False), (5, True), (6, False)):
        view.page.locator("#slice").fill(str(index))
        view.page.wait_for_timeout(100)
        found = bright(view)
        assert (found is not None) == is_there
        if is_there:
            assert found[0] < 0.45
            assert found[1] < 0.45


@pytest.mark.parametrize("way", ["mouse", "keys"])
def test_a_mark_is_recorded_in_millimetres_where_it_was_set(marked, way):
    view, log = marked
    view.page.locator("#slice").fill("5")
    view.page.wait_for_timeout(100)
    x, y = bright(view)
    view.page.locator("#view").focus()
    view.page.keyboard.press("t")
    if way == "mouse":
        box = view.page.locator("#view").bounding_box()
        view.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    else:  # from the middle of 64 by 48 voxels, 31.5, 23.5
        for key, times in (("Shift+ArrowLeft", 2), ("Shift+ArrowUp", 1), ("ArrowUp", 5)):
            for _ in range(times):
                view.page.keyboard.press(key)
        view.page.keyboard.press("Enter")
    assert view.page.locator("#cross").is_visible()
    answer_by_keys(view, TStage.T2)
    (answer,) = answers_in(log)
    assert answer["mark"]["slice"] == 5
    # The middle of the block is at voxel 11.5, 8.5 of slice 5; a click is as exact as a pixel of the screen.
    assert answer["mark"]["points_mm"][0] == pytest.approx((-37.0, -33.0, -275.0), abs=1.5 if way == "mouse" else 0.01)


def test_a_tablet_reads_by_touch(small_study, tmp_path, drawing):
    study, watch = copied_study(small_study, tmp_path), Watch()
    with (
        served(study, "r1", watch) as (_, address),
        drawing.visit(address, size=TABLET, has_touch=True, is_mobile=True) as view,
    ):
        wait_for_case(view)
        start = value(view, "slice")
        box = view.page.locator("#view").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = view.page.context.new_cdp_session(view.page)
        for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x, y - 40)]), ("touchEnd", [])):
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
        view.wait_until("start => document.getElementById('slice').value > start", start)
        view.page.locator("#stages button").nth(2).tap()
        slider = view.page.locator("#confidence-slider")
        slider.scroll_into_view_if_needed()
        place = slider.bounding_box()
        view.page.touchscreen.tap(place["x"] + 0.8 * place["width"], place["y"] + place["height"] / 2)
        view.wait_until("document.getElementById('confidence').value !== '' && document.activeElement.id === 'view'")
        view.page.locator("#next").tap()
        view.wait_until("document.getElementById('progress').textContent === '2 of 8'")
        (answer,) = answers_in(study / "readers" / "r1" / "log.jsonl")
        assert answer["stage"] == "T3"
        assert answer["confidence"] == pytest.approx(80, abs=3)
        assert view.overflow == 0
        assert view.complaints == []


def faults(view, size):
    view.resize(size)
    return [*accessibility.violations(view), *view.complaints, *(["too wide"] if view.overflow else [])]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_accessible(tmp_path, drawing, scheme):
    design = Design(seed=1)
    study = make_study(tmp_path, cases=4, readers=("r1",), design=design, may_revise=True, washout_days=1)
    watch, found = Watch(), {}
    read_all(study, "r1", watch, stop=3)
    with served(study, "r1", watch) as (_, address), drawing.visit(address, color_scheme=scheme) as view:
        wait_for_case(view)
        for size in SIZES:
            found["case", size] = faults(view, size)
        for name in ("keys", "earlier"):
            if name == "keys":
                view.page.keyboard.press("?")
            else:
                view.page.locator(f"#{name}").click()
            if name == "keys" or view.page.locator(f"#{name}-dialog").is_visible():
                found[name] = faults(view, SIZES[0])
            view.page.keyboard.press("Escape")
        view.page.locator("#view").focus()
        view.page.keyboard.press("p")
        wait_for_screen(view, "Paused")
        found["paused"] = faults(view, SIZES[0])
        view.page.keyboard.press("Enter")
        wait_for_case(view)
        answer_by_keys(view, TStage.T4)
        wait_for_screen(view, "The first part is done")
        found["washing out"] = faults(view, SIZES[0])
        watch.pass_by(days=2)
        view.page.keyboard.press("Enter")
        wait_for_case(view)
        for size in SIZES:
            found["aided", size] = faults(view, size)
        for _ in range(4):
            answer_by_keys(view, TStage.T4)
        wait_for_screen(view, "All cases are read")
        assert view.page.locator("#earlier").is_visible()  # this design lets answers be changed
        found["finished"] = faults(view, SIZES[0])
    assert {screen: one for screen, one in found.items() if one} == {}
    assert len(found) >= 12


@pytest.mark.slow
def test_simulated_readers_in_the_browser_give_the_table_of_the_session(tmp_path, drawing):
    readers = {"r1": (0.5, 0.8), "r2": (0.8, 0.2)}
    tables = []
    for way in ("browser", "session"):
        design = Design(seed=9, repeats=2, training=2)
        study, watch = make_study(tmp_path / way, cases=14, readers=tuple(readers), design=design), Watch()
        for _ in range(2):
            for name, (skill, trust) in readers.items():
                reader = SimulatedReader(study, name, skill, trust, wavers=0.2)
                if way == "session":
                    read_all(study, name, watch, think=reader)
                    continue
                with served(study, name, watch) as (session, address), drawing.visit(address) as view:
                    wait_for_case(view)
                    while session.item is not None:
                        answer_by_keys(view, reader(session.item))
            watch.pass_by(days=29)
        found = collect(study, study / "organiser" / "truth.csv", study.parent / "data" / "batch" / "predictions.csv",
                        now=watch.time)  # fmt: skip
        assert found.kept
        tables.append(list(csv.DictReader(write_collected(found, tmp_path / way / "table.csv")[0].open())))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 12
