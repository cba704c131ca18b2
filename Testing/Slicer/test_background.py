"""Work in a thread: the panel stays alive, Cancel is heard, and the model is there before the first Apply."""

import itertools
import threading
import time

import pytest
import slicer
from GTRStagingSlicer import background, scene_staging, time_left
from GTRStagingSlicer.background import Worker
from scenes import node_ids

from GTRStagingLib.errors import Cancelled, InputError
from GTRStagingLib.staging import pipeline


def nothing(*what):
    pass


# -- the thread ----------------------------------------------------------------------------------------------------


def test_steps_are_shown_in_the_calling_thread_and_in_order():
    shown, ticks = [], []

    def work(tell):
        for name in "abc":
            tell(name)
            time.sleep(0.03)
        return threading.get_ident()

    def show(name):
        shown.append((name, threading.get_ident()))

    there = Worker().steps(work, show, tick=lambda: ticks.append(threading.get_ident()))
    here = threading.get_ident()
    assert there != here
    assert shown == [(name, here) for name in "abc"]
    assert set(ticks) == {here}
    assert len(ticks) >= 3


def test_an_error_of_the_work_is_raised_where_it_is_waited_for():
    def work(tell):
        raise InputError("a value; expected another")

    with pytest.raises(InputError, match="a value"):
        Worker().steps(work, nothing, tick=nothing)


def test_cancel_is_heard_while_a_step_goes_on_and_the_next_work_waits_for_the_one_left():
    worker, go_on, order = Worker(), threading.Event(), []

    def endless(tell):
        go_on.wait(20)
        order.append("left")
        tell("next step")
        order.append("never")

    def cancel():
        raise Cancelled("by the user")

    began = time.monotonic()
    with pytest.raises(Cancelled):
        worker.steps(endless, nothing, tick=cancel)
    assert time.monotonic() - began < 1
    assert worker.running
    ticks = []

    def tick():
        ticks.append(1)
        go_on.set()

    worker.steps(lambda tell: order.append("new"), nothing, tick=tick)
    assert order == ["left", "new"]


def test_what_nobody_waits_for_leaves_its_error(caplog):
    worker = Worker()
    assert worker.error is None
    worker.begin(lambda: 1 / 0)
    worker.settle()
    assert isinstance(worker.error, ZeroDivisionError)
    assert caplog.text == ""  # Slicer's log is not for threads
    assert worker.steps(lambda tell: 7, nothing, tick=nothing) == 7


# -- time left -----------------------------------------------------------------------------------------------------


def test_the_time_left_follows_the_pace_of_the_steps_that_have_ended():
    usual = {"a": 1.0, "b": 2.0, "c": 4.0}
    assert time_left.seconds_left(usual, {}, "a", 0) == 7
    assert time_left.seconds_left(usual, {"a": 3.0}, "b", 2.0) == 3 * 4 + 3 * 2 - 2
    assert time_left.seconds_left(usual, {"a": 1.0}, "c", 9.0) == 0  # it takes longer than usual: nothing negative


def test_the_second_run_is_estimated_from_the_first():
    clock = time_left.Clock()
    clock.begin(0)
    now = 0.0
    for step in time_left.USUAL_S:
        clock.enter(step, now)
        now += 5
    clock.end(now)
    clock.begin(100)
    clock.enter("loading", 100)
    assert clock.left_s(100) == 5 * len(time_left.USUAL_S)
    clock.enter("another", 101)
    assert clock.left_s(101) is None


def test_the_steps_of_a_run_are_those_whose_time_is_known():
    assert tuple(time_left.USUAL_S) == ("loading", "reading", *pipeline.STEPS, "showing")


# -- the panel -----------------------------------------------------------------------------------------------------


def test_the_model_is_loaded_once_the_panel_is_open(desk, panel):
    assert panel.logic._model is None
    said, until = set(), time.monotonic() + 60
    while panel.logic._model is None or panel.logic.worker.running:
        slicer.app.processEvents()
        said.add(panel.ui.loadingLabel.text)
        assert time.monotonic() < until
        time.sleep(0.01)
    assert "Loading the model and its packages in the background …" in said
    time.sleep(0.1)
    slicer.app.processEvents()
    assert not panel.ui.loadingLabel.visible
    assert panel.logic._model[0][0] == panel._parameterNode.model


def test_cancel_is_heard_within_a_second_in_the_middle_of_a_step(desk, loaded, scene, monkeypatch):
    loaded.ui.largestSectionButton.click()
    go_on, in_step, before = threading.Event(), threading.Event(), node_ids(scene)

    def slow(*arguments, **named):
        in_step.set()
        assert go_on.wait(30)
        raise AssertionError("nobody asks for this")

    monkeypatch.setattr(pipeline, "stage_case", slow)
    process, pressed = slicer.app.processEvents, []

    def press_cancel():
        if in_step.is_set() and not pressed:
            assert loaded.ui.cancelButton.enabled
            pressed.append(time.monotonic())
            loaded.ui.cancelButton.click()
        process()

    monkeypatch.setattr(slicer.app, "processEvents", press_cancel)
    loaded.ui.applyButton.click()
    assert time.monotonic() - pressed[0] < 1
    assert loaded.ui.applyButton.enabled
    assert node_ids(scene) == before
    assert [one for one in desk.shown if one.kind == "error"] == []
    go_on.set()


def test_the_window_is_not_frozen_while_a_case_is_staged(desk, loaded, monkeypatch):
    """Longest time between two rounds of events. The steps of the scene themselves are measured in the test below."""
    loaded.ui.largestSectionButton.click()
    loaded.ui.applyButton.click()  # what is imported once
    slept = pipeline.stage_case

    def slow(*arguments, **named):
        time.sleep(1)
        return slept(*arguments, **named)

    monkeypatch.setattr(pipeline, "stage_case", slow)
    process, times = slicer.app.processEvents, []

    def timed():
        times.append(time.monotonic())
        process()

    monkeypatch.setattr(slicer.app, "processEvents", timed)
    loaded.ui.applyButton.click()
    during = [b - a for a, b in itertools.pairwise(times)]
    assert sum(1 for gap in during if gap < 0.1) > 15  # of the second that is slept through


def test_a_case_that_is_changed_while_it_is_staged_is_not_shown(desk, loaded, scene):
    loaded.ui.largestSectionButton.click()
    state, real = loaded._parameterNode, loaded._onStep

    def step(name):
        if name == "agreement":
            state.tumourSegmentation.GetSegmentation().GetSegment(state.tumourSegment).GetRepresentation(
                state.tumourSegmentation.GetSegmentation().GetSourceRepresentationName()
            ).Modified()
        real(name)

    loaded._onStep = step
    loaded.ui.applyButton.click()
    (message,) = [one.text for one in desk.shown if one.kind == "error"]
    assert "changed while the case was staged" in message
    assert scene_staging.record_of(state) is None


def test_the_thread_calls_neither_the_scene_nor_the_window(desk, loaded):
    """Every call in the thread is looked at; MRML, VTK and Qt are for the main thread alone."""
    loaded.ui.largestSectionButton.click()
    foreign, seen = set(), []

    def look(frame, event, argument):
        if event == "call":
            name = frame.f_globals.get("__name__", "")
        elif event == "c_call":
            owner = getattr(argument, "__self__", None)
            name = getattr(argument, "__module__", None) or type(owner).__module__ or ""
        else:
            return
        seen.append(name)
        own = name.startswith("GTRStagingSlicer.") and name.split(".")[1] not in {
            "background",
            "logic",
            "scene_staging",
        }
        if own or name.split(".")[0] in {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PySide6", "standin", "mrml"}:
            foreign.add(name)

    threading.setprofile(look)
    try:
        loaded.ui.applyButton.click()
    finally:
        threading.setprofile(None)
    assert scene_staging.record_of(loaded._parameterNode) is not None
    assert "GTRStagingLib.staging.pipeline" in seen  # the thread was looked at
    assert foreign == set()


def test_an_error_in_the_thread_reaches_the_user(desk, loaded, monkeypatch):
    loaded.ui.largestSectionButton.click()

    def fails(*arguments, **named):
        raise ZeroDivisionError("in the thread")

    monkeypatch.setattr(pipeline, "stage_case", fails)
    loaded.ui.applyButton.click()
    (message,) = [one.text for one in desk.shown if one.kind == "error"]
    assert "unexpected error" in message
    assert loaded.ui.applyButton.enabled
    assert scene_staging.record_of(loaded._parameterNode) is None


def during(monkeypatch, act):
    """Do something once, with the window's events, while the library is computing."""
    real, process, computing, done = pipeline.stage_case, slicer.app.processEvents, threading.Event(), []
    acted = threading.Event()

    def slow(*arguments, **named):
        computing.set()
        assert acted.wait(30)
        return real(*arguments, **named)

    def events():
        if computing.is_set() and not done:
            done.append(1)
            act()
            acted.set()
        process()

    monkeypatch.setattr(pipeline, "stage_case", slow)
    monkeypatch.setattr(slicer.app, "processEvents", events)
    return done


def test_a_scene_that_is_closed_during_a_run_gets_nothing(desk, loaded, scene, monkeypatch):
    loaded.ui.largestSectionButton.click()
    done = during(monkeypatch, lambda: scene.Clear(0))
    loaded.ui.applyButton.click()
    assert done
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0
    assert [one for one in desk.shown if one.kind == "error"] == []
    assert loaded.logic._staged is None
    assert not loaded._running


def test_a_ct_that_is_deleted_during_a_run_is_not_staged(desk, loaded, scene, monkeypatch):
    loaded.ui.largestSectionButton.click()
    during(monkeypatch, lambda: scene.RemoveNode(loaded._parameterNode.inputVolume))
    loaded.ui.applyButton.click()
    (message,) = [one.text for one in desk.shown if one.kind == "error"]
    assert "changed while the case was staged" in message
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0


def test_a_second_press_of_apply_starts_no_second_run(desk, loaded, monkeypatch):
    loaded.ui.largestSectionButton.click()
    runs, real = [], loaded.logic.stage
    monkeypatch.setattr(loaded.logic, "stage", lambda *given: (runs.append(1), real(*given)))
    done = during(monkeypatch, loaded.onApply)
    loaded.ui.applyButton.click()
    assert done
    assert runs == [1]
    assert scene_staging.record_of(loaded._parameterNode) is not None


def test_the_model_is_not_used_before_a_cancelled_run_has_left_it(loaded):
    worker, go_on = loaded.logic.worker, threading.Event()

    def cancel():
        raise Cancelled("by the user")

    with pytest.raises(Cancelled):
        worker.steps(lambda tell: go_on.wait(20), nothing, tick=cancel)
    threading.Timer(0.2, go_on.set).start()
    assert worker.running
    loaded.logic.backbone(loaded._parameterNode)
    assert go_on.is_set()


def test_without_a_thread_the_work_is_done_where_it_is_called():
    assert background.at_once(lambda tell: threading.get_ident(), nothing) == threading.get_ident()
