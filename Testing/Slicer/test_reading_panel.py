"""The panel of GTR Reading, from its real .ui: studies are read in it, and their logs are looked at."""

import pytest
import slicer
from conftest import ct_like
from GTRReadingSlicer.case_scene import holds_data
from GTRStagingSlicer import dependencies, layouts, nodes
from helpers.limits import files_up_to
from helpers.reading_studies import SimulatedReader, Watch, copied_study, make_study, read_all
from scenes import add_volume, node_ids

from GTRStagingLib.reading.designs import Design
from GTRStagingLib.reading.log import read_log
from GTRStagingLib.reading.session import LOG, open_session
from GTRStagingLib.stages import TStage


@pytest.fixture(scope="module")
def short_study(tmp_path_factory):
    """A study of four cases and a training case, with repeats and without a wash-out; a test takes a copy."""
    design = Design(seed=5, repeats=1, training=4)
    return make_study(tmp_path_factory.mktemp("short"), cases=8, design=design, readers=("r1", "r2"), washout_days=0)


@pytest.fixture
def study(short_study, tmp_path):
    return copied_study(short_study, tmp_path)


def start(panel, study, reader="r1", watch=None):
    """Choose folder and name, and press Start."""
    if watch is not None:
        panel.sitting.clocks = {"now": watch.now, "clock": watch.clock}
    panel.openFolder(study)
    choose_reader(panel, reader)
    panel.ui.startButton.click()


def choose_reader(panel, reader):
    panel.ui.readerSelector.currentIndex = panel.ui.readerSelector.findText(reader)


def fill(panel, stage=TStage.T2, confidence="70"):
    getattr(panel.ui, f"{stage.name}Button").click()
    panel.ui.confidenceEdit.text = confidence


def log_of(study, reader="r1"):
    return read_log(study / "readers" / reader / LOG)


def answers_of(study, reader="r1"):
    return [entry.data for entry in log_of(study, reader).entries if entry.kind == "answer"]


def key(panel, text):
    """Press a key as Qt does: the window's shortcuts and the focused field decide who gets it."""
    from PySide6 import QtGui, QtTest, QtWidgets
    from standin import proxy

    window = proxy.unwrap(panel.parent).window()
    window.activateWindow()
    QtTest.QTest.qWaitForWindowActive(window)
    pressed = QtGui.QKeySequence(text)[0]
    target = QtWidgets.QApplication.focusWidget() or window
    QtTest.QTest.keyClick(target, pressed.key(), pressed.keyboardModifiers())


# -- a whole study ---------------------------------------------------------------------------------------------------


def test_the_selftest_passes(desk, reading_panel):
    from GTRReading import GTRReadingTest

    GTRReadingTest().runTest()


def test_a_simulated_reader_reads_the_study_and_the_log_has_the_answers(desk, reading_panel, scene, study):
    panel, thinks, watch = reading_panel, SimulatedReader(study, "r1", 0.6, 0.5), Watch()
    start(panel, study, watch=watch)
    ui, plan, given = panel.ui, panel.sitting.session.plan, []
    while panel.sitting.session.state == "reading":
        item = panel.sitting.session.item
        assert ui.adviceBox.visible == (item.phase == "aided")
        assert ("Training" in ui.progressLabel.text) == item.practice
        names = [node.GetName() for node in nodes.of_class(scene, "vtkMRMLScalarVolumeNode")]
        assert names == (["CT", "Map"] if item.phase == "aided" else ["CT"])
        assert (ui.confidenceEdit.text, ui.remarksEdit.plainText) == ("", "")
        watch.pass_by(seconds=20)
        stage = thinks(item)
        fill(panel, stage, "80")
        ui.nextButton.click()
        assert ui.messageLabel.text == ""
        given.append((item.code, stage.name))
    assert [code for code, _ in given] == [one.code for one in plan.items]
    assert "Thank you" in ui.screenLabel.text
    written = answers_of(study)
    assert [one["answer"]["stage"] for one in written] == [stage for _, stage in given]
    assert {one["answer"]["confidence"] for one in written} == {80}
    assert {one["seconds"] for one in written} == {20}
    assert [one["item"] for one in written] == list(range(len(plan.items)))
    ui.endButton.click()
    assert log_of(study).entries[-1].kind == "closed"
    assert not holds_data(scene)
    assert not desk.shown


def test_what_was_seen_and_how_is_in_the_log(desk, reading_panel, study):
    panel, watch = reading_panel, Watch()
    start(panel, study, watch=watch)
    item, case = panel.sitting.session.item, panel.sitting.case
    assert case.slice == item.key_slice
    key(panel, "Up")
    key(panel, "PgDown")
    case.set_window(40, 400)
    watch.pass_by(seconds=7)
    panel.ui.pauseButton.click()
    watch.pass_by(hours=1)
    panel.ui.goOnButton.click()
    assert case.window == (40, 400)  # as it was left
    watch.pass_by(seconds=5)
    fill(panel)
    panel.ui.remarksEdit.plainText = "near the spleen"
    panel.ui.saveButton.click()
    (written,) = answers_of(study)
    k = item.key_slice
    assert written["answer"]["seen"] == {"slices": [k - 4, k, k + 1], "window_level": 40, "window_width": 400}
    assert written["seconds"] == 12
    assert written["answer"]["remarks"] == "near the spleen"


def test_keys_alone_answer_a_case(desk, reading_panel, study):
    panel = reading_panel
    start(panel, study)
    item = panel.sitting.session.item
    for one in ("4", "A", "C", "8", "5", "Esc"):
        key(panel, one)
    assert (panel.ui.confidenceEdit.text, panel.sitting.form.substage) == ("85", "T4a")
    key(panel, "N")
    for one in ("4", "P", "Space", "K", "Esc"):  # the field takes them
        key(panel, one)
    assert panel.sitting.form.remarks.lower() == "4p k"
    assert answers_of(study) == []
    key(panel, "Space")
    assert len(answers_of(study)) == 1
    panel.sitting.case.go_to(0)
    key(panel, "K")
    assert panel.sitting.case.slice == item.key_slice
    key(panel, "Shift+Up")
    assert panel.sitting.case.window == (60, 350)
    key(panel, "R")
    assert panel.sitting.case.window == (50, 350)
    key(panel, "P")
    assert not panel.sitting.displayed
    key(panel, "P")
    assert panel.sitting.displayed
    key(panel, "Return")
    assert panel.sitting.session.item.place == item.place + 1
    assert len(answers_of(study)) == 1  # it was there as it is
    key(panel, "C")
    for one in ("7", "Space"):
        key(panel, one)
    assert panel.ui.confidenceEdit.text == "7"
    assert "stage" in panel.ui.messageLabel.text  # the space saves, also from this field
    panel.exit()
    key(panel, "3")
    assert panel.sitting.form.stage is None


def test_a_substage_and_a_mark_are_written(desk, reading_panel, scene, study):
    panel = reading_panel
    scene.AddNewNodeByClass("vtkMRMLSelectionNode")
    scene.AddNewNodeByClass("vtkMRMLInteractionNode")
    start(panel, study)
    fill(panel, TStage.T4)
    panel.ui.T4bButton.click()
    panel.ui.markButton.click()
    assert panel.ui.markButton.text == "Click on the tumour"
    matrix = nodes.matrix_of(scene.GetFirstNodeByName("CT").GetIJKToRASMatrix)
    scene.GetFirstNodeByName("Mark").AddControlPoint(*(matrix @ (10, 8, 5, 1))[:3])
    panel.ui.saveButton.click()
    (written,) = answers_of(study)
    item = panel.sitting.session.item
    grid = panel.sitting._voxels.grid
    assert written["answer"]["substage"] == "T4b"
    assert written["answer"]["mark"]["slice"] == 5
    assert written["answer"]["mark"]["points_mm"][0] == pytest.approx(
        grid.TransformContinuousIndexToPhysicalPoint((10, 8, 5))
    )
    assert item.slices > 5
    panel.ui.pauseButton.click()
    panel.ui.goOnButton.click()
    panel.ui.nextButton.click()
    assert len(answers_of(study)) == 1  # a pause changes nothing
    assert not panel.ui.unmarkButton.visible


# -- what a reader must not see ----------------------------------------------------------------------------------------


def texts_of(panel):
    return " ".join(str(getattr(one, "text", "")) for one in vars(panel.ui).values() if getattr(one, "visible", False))


def test_scene_and_panel_have_no_code_and_no_path(desk, reading_panel, scene, study):
    panel = reading_panel
    start(panel, study)
    codes = set(panel.sitting.session.plan.cases)
    while panel.sitting.session.state == "reading":
        scene.SetURL(str(study / "scene.mrml"))
        names = [scene.GetNthNode(i).GetName() or "" for i in range(scene.GetNumberOfNodes())]
        files = [node.GetFileName() for node in nodes.of_class(scene, "vtkMRMLStorageNode")]
        assert not [one for one in (*names, texts_of(panel), *filter(None, files)) if any(c in one for c in codes)]
        fill(panel)
        panel.ui.nextButton.click()


def test_a_design_without_key_slice_and_with_one_part_shows_that_part_alone(desk, reading_panel, scene, tmp_path):
    design = Design(seed=3)
    study = make_study(tmp_path, cases=4, design=design, readers=("r1",), shows=("set",), marks_key_slice=False,
                       washout_days=0)  # fmt: skip
    start(reading_panel, study)
    ui = reading_panel.ui
    while reading_panel.sitting.session.state == "reading":
        assert not ui.keySliceButton.visible
        assert "key slice" not in ui.sliceLabel.text
        assert scene.GetFirstNodeByName("Key slice") is None
        assert scene.GetFirstNodeByName("Map") is None
        assert not ui.mapCheckBox.visible
        if ui.adviceBox.visible:
            assert ui.adviceLabel.text.count("<tr>") == 1
        fill(reading_panel)
        ui.nextButton.click()


@pytest.mark.parametrize("leave", ["pauseButton", "exit"])
def test_a_pause_and_another_module_take_the_case_out_of_the_scene(desk, reading_panel, scene, study, leave):
    panel = reading_panel
    scene.AddNewNodeByClass("vtkMRMLLayoutNode").SetViewArrangement(3)
    before = node_ids(scene)
    start(panel, study)
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layout.GetViewArrangement() == layouts.READING
    fill(panel, TStage.T3)
    panel.exit() if leave == "exit" else getattr(panel.ui, leave).click()
    assert not holds_data(scene)
    assert {scene.GetNodeByID(one).GetClassName() for one in set(node_ids(scene)) - set(before)} <= {
        "vtkMRMLSubjectHierarchyNode"
    }
    assert log_of(study).entries[-1].kind == "paused"
    if leave == "exit":
        assert layout.GetViewArrangement() == 3
        panel.enter()
    assert panel.ui.screenBox.visible
    panel.ui.goOnButton.click()
    assert panel.ui.caseBox.visible
    assert panel.sitting.form.stage == "T3"  # what was chosen is kept
    assert layout.GetViewArrangement() == layouts.READING


def test_other_data_in_the_scene_are_refused(desk, reading_panel, scene, study):
    panel = reading_panel
    other = add_volume(scene, ct_like())
    start(panel, study)
    assert "empty scene" in panel.ui.messageLabel.text
    assert panel.sitting.session is None
    assert not (study / "readers" / "r1" / LOG).exists()
    scene.RemoveNode(other)
    panel.ui.startButton.click()
    assert panel.ui.caseBox.visible
    panel.ui.pauseButton.click()
    add_volume(scene, ct_like())
    panel.ui.goOnButton.click()
    assert "empty scene" in panel.ui.messageLabel.text
    assert panel.sitting.session.state == "paused"


@pytest.mark.parametrize("event", ["StartCloseEvent", "StartImportEvent"])
def test_a_closed_scene_or_another_one_ends_the_session(desk, reading_panel, scene, study, event):
    start(reading_panel, study)
    fill(reading_panel)
    reading_panel.ui.nextButton.click()
    scene.InvokeEvent(getattr(scene, event))
    assert reading_panel.sitting.session is None
    assert "session has ended" in reading_panel.ui.messageLabel.text
    assert not holds_data(scene)
    assert log_of(study).entries[-1].kind == "closed"
    reading_panel.ui.startButton.click()
    assert reading_panel.sitting.session.progress.place == 2


def test_destroying_the_panel_ends_the_session(desk, reading_panel, scene, study):
    start(reading_panel, study)
    reading_panel.cleanup()
    assert log_of(study).entries[-1].kind == "closed"
    with open_session(study / "readers" / "r1", "r1") as session:
        assert session.item is not None


def test_earlier_answers_can_be_changed_where_the_design_allows_it(desk, reading_panel, full_study, tmp_path):
    panel, study = reading_panel, copied_study(full_study, tmp_path)
    start(panel, study)
    ui = panel.ui
    assert not ui.earlierSection.visible
    for stage in (TStage.T1, TStage.T2, TStage.T3, TStage.T4, TStage.T2):
        fill(panel, stage)
        ui.remarksEdit.plainText = f"as {stage.name}"
        ui.nextButton.click()
    assert ui.earlierSection.visible
    listed = [ui.earlierSelector.itemText(i) for i in range(ui.earlierSelector.count)]
    assert listed == ["1: cT2, 70", "practice 4: cT4, 70", "practice 3: cT3, 70", "practice 2: cT2, 70",
                      "practice 1: cT1, 70"]  # fmt: skip
    ui.earlierSelector.currentIndex = 1
    assert (ui.revisedStageSelector.currentText, ui.revisedRemarksEdit.text) == ("cT4", "as T4")
    ui.revisedStageSelector.currentIndex = ui.revisedStageSelector.findText("cT4b")
    ui.revisedConfidenceEdit.text = ""
    ui.reviseButton.click()
    assert "0 to 100" in ui.messageLabel.text
    ui.revisedConfidenceEdit.text = "90"
    ui.reviseButton.click()
    assert ui.messageLabel.text == "Changed. Both answers stand."
    assert ui.earlierSelector.currentText == "practice 4: cT4b, 90"
    last = log_of(study).entries[-1]
    assert (last.kind, last.data["item"], last.data["answer"]["substage"]) == ("revision", 3, "T4b")
    assert last.data["answer"]["seen"] == answers_of(study)[3]["answer"]["seen"]
    assert len(answers_of(study)) == 5
    ui.pauseButton.click()
    assert not ui.earlierSection.visible


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_study_is_refused_in_words(desk, reading_panel, tmp_path):
    desk.record.answers["getExistingDirectory"] = str(tmp_path)
    reading_panel.ui.folderButton.click()
    assert "plan.json" in reading_panel.ui.messageLabel.text
    assert not reading_panel.ui.startButton.enabled


def test_a_full_disk_keeps_the_case_and_ends_the_session_when_the_module_is_left(desk, reading_panel, scene, study):
    start(reading_panel, study)
    log = study / "readers" / "r1" / LOG
    fill(reading_panel)
    with files_up_to(log.stat().st_size + 10):
        reading_panel.ui.nextButton.click()
        assert "log" in reading_panel.ui.messageLabel.text
        assert reading_panel.ui.caseBox.visible
        reading_panel.exit()
        assert "log" in reading_panel.ui.messageLabel.text
    assert reading_panel.sitting.session is None
    assert not holds_data(scene)
    assert answers_of(study) == []
    reading_panel.enter()
    reading_panel.ui.startButton.click()
    assert reading_panel.ui.progressLabel.text.startswith("Training case 1")


def test_what_is_pressed_while_a_case_is_loaded_is_not_taken_for_it(desk, reading_panel, study):
    panel = reading_panel
    start(panel, study)
    fit, pressed = panel.sitting.case._fit, []

    def fit_while_the_reader_presses():
        fit()
        pressed.append(panel.ui.caseBox.visible)
        panel.ui.T4Button.click()
        panel.ui.nextButton.click()
        panel._onKey("next", "")

    panel.sitting.case._fit = fit_while_the_reader_presses
    fill(panel, TStage.T1)
    panel.ui.nextButton.click()
    assert pressed == [True]  # once, and without another screen in between
    assert (panel.sitting.session.item.place, panel.sitting.form.stage) == (2, None)
    assert not panel.ui.T4Button.checked


@pytest.mark.parametrize("how", ["leave", "close the scene"])
def test_leaving_while_a_case_is_loaded_shows_nothing_and_stops_nothing(desk, reading_panel, scene, study, how):
    panel = reading_panel
    start(panel, study)
    fit, left = panel.sitting.case._fit, []

    def fit_while_the_reader_leaves():
        fit()
        if not left:
            left.append(how)
            panel.exit() if how == "leave" else scene.Clear(0)

    panel.sitting.case._fit = fit_while_the_reader_leaves
    fill(panel, TStage.T1)
    panel.ui.nextButton.click()
    assert left == [how]
    assert not holds_data(scene)
    assert not panel.ui.caseBox.visible
    if how == "leave":
        panel.enter()
        panel.ui.goOnButton.click()
    else:
        assert "the session has ended" in panel.ui.messageLabel.text
        panel.ui.startButton.click()
    assert panel.ui.caseBox.visible, panel.ui.messageLabel.text
    assert panel.sitting.session.item.place == 2
    panel.ui.endButton.click()
    assert panel.sitting.session is None
    assert len(answers_of(study)) == 1


def test_a_mark_stays_until_another_one_is_set(desk, reading_panel, scene, study):
    panel = reading_panel
    scene.AddNewNodeByClass("vtkMRMLSelectionNode")
    scene.AddNewNodeByClass("vtkMRMLInteractionNode")
    start(panel, study)
    fill(panel)
    matrix = nodes.matrix_of(scene.GetFirstNodeByName("CT").GetIJKToRASMatrix)
    places = [tuple((matrix @ (*voxel, 1))[:3]) for voxel in ((10, 8, 5), (20, 9, 6))]
    panel.ui.markButton.click()
    scene.GetFirstNodeByName("Mark").AddControlPoint(*places[0])
    panel.ui.markButton.click()
    panel.ui.saveButton.click()
    for _ in range(2):  # by mistake, and back
        panel.ui.markButton.click()
    assert panel.sitting.case.mark == pytest.approx((10, 8, 5))
    assert scene.GetFirstNodeByName("Mark").GetNumberOfControlPoints() == 1
    panel.ui.saveButton.click()
    assert len(answers_of(study)) == 1
    panel.ui.markButton.click()
    scene.GetFirstNodeByName("Mark").AddControlPoint(*places[1])
    assert panel.sitting.case.mark == pytest.approx((20, 9, 6))
    panel.ui.unmarkButton.click()
    assert panel.sitting.case.mark is None


def test_the_end_in_a_pause_asks_if_the_form_is_not_saved(desk, reading_panel, study):
    panel = reading_panel
    start(panel, study)
    panel.ui.pauseButton.click()
    panel.ui.endButton.click()
    assert panel.sitting.session is None
    assert desk.shown == []
    panel.ui.startButton.click()
    fill(panel)
    panel.ui.pauseButton.click()
    desk.record.confirm = False
    panel.ui.endButton.click()
    assert [one.kind for one in desk.shown] == ["confirm"]
    assert panel.sitting.session.state == "paused"


def test_the_name_is_chosen_by_the_reader(desk, reading_panel, study):
    desk.record.answers["getExistingDirectory"] = str(study)
    reading_panel.ui.folderButton.click()
    selector = reading_panel.ui.readerSelector
    assert [selector.itemText(i) for i in range(selector.count)] == ["", "r1", "r2"]
    assert not reading_panel.ui.startButton.enabled
    choose_reader(reading_panel, "r2")
    assert reading_panel.ui.startButton.enabled


def test_a_second_session_on_the_folder_is_refused(desk, reading_panel, study):
    with open_session(study / "readers" / "r1", "r1"):
        start(reading_panel, study)
        assert "Another session is open" in reading_panel.ui.messageLabel.text
    assert reading_panel.sitting.session is None
    reading_panel.ui.startButton.click()
    assert reading_panel.ui.caseBox.visible


def test_the_second_part_waits_for_the_wash_out(desk, reading_panel, small_study, tmp_path, scene):
    study, watch = copied_study(small_study, tmp_path), Watch()
    read_all(study, "r1", watch)
    start(reading_panel, study, watch=watch)
    ui = reading_panel.ui
    assert "The second part opens on" in ui.screenLabel.text
    ui.goOnButton.click()
    assert "The second part opens on" in ui.screenLabel.text
    assert not holds_data(scene)
    watch.pass_by(days=29)
    ui.goOnButton.click()
    assert ui.adviceBox.visible


def test_a_changed_image_is_refused_and_the_case_stays(desk, reading_panel, study):
    panel = reading_panel
    start(panel, study)
    plan = panel.sitting.session.plan
    following = study / "readers" / "r1" / plan.cases[plan.items[1].code].image
    original = following.read_bytes()
    following.write_bytes(original[:-20] + bytes(20))
    fill(panel)
    panel.ui.nextButton.click()
    assert "changed" in panel.ui.messageLabel.text
    assert panel.ui.caseBox.visible
    assert len(answers_of(study)) == 1
    following.write_bytes(original)
    panel.ui.nextButton.click()
    assert panel.sitting.session.item.place == 2
    assert len(answers_of(study)) == 1


def test_an_incomplete_answer_is_refused(desk, reading_panel, study):
    start(reading_panel, study)
    reading_panel.ui.nextButton.click()
    assert reading_panel.ui.messageLabel.text == "Choose a stage: keys 1 to 4."
    reading_panel.ui.T1Button.click()
    reading_panel.ui.confidenceEdit.text = "130"
    reading_panel.ui.saveButton.click()
    assert "0 to 100" in reading_panel.ui.messageLabel.text
    assert answers_of(study) == []


def test_a_case_whose_images_cannot_be_read_can_be_tried_again(desk, reading_panel, study, monkeypatch):
    from GTRStagingLib.errors import InputError
    from GTRStagingLib.reading import case_voxels

    def fails(item):
        raise InputError("The CT cannot be read; expected it. Try again.")

    with monkeypatch.context() as broken:
        broken.setattr(case_voxels, "case_voxels", fails)
        start(reading_panel, study)
        assert "cannot be read" in reading_panel.ui.messageLabel.text
        assert reading_panel.ui.goOnButton.text == "Show the case"
        assert not reading_panel.ui.caseBox.visible
    reading_panel.ui.goOnButton.click()
    assert reading_panel.ui.caseBox.visible
    assert [entry.kind for entry in log_of(study).entries] == ["opened", "shown"]


def test_without_packages_it_says_what_is_missing(desk, reading_panel, study, monkeypatch):
    (one, *_others) = dependencies.requirements()
    monkeypatch.setattr(dependencies, "missing", lambda **options: [one])
    reading_panel.enter()
    assert one.name in reading_panel.ui.messageLabel.text
    desk.record.confirm = False
    desk.record.answers["getExistingDirectory"] = str(study)
    reading_panel.ui.folderButton.click()
    assert one.name in next(iter(desk.shown)).text
    assert reading_panel.ui.readerSelector.count == 0
    assert not reading_panel.ui.startButton.enabled


def test_end_asks_before_an_answer_that_is_not_saved_is_lost(desk, reading_panel, study):
    start(reading_panel, study)
    fill(reading_panel)
    desk.record.confirm = False
    reading_panel.ui.endButton.click()
    assert reading_panel.sitting.session is not None
    reading_panel.ui.saveButton.click()
    reading_panel.ui.endButton.click()
    assert reading_panel.sitting.session is None
    assert [one.kind for one in desk.shown] == ["confirm"]


def test_the_module_has_help_with_links(desk, reading_panel):
    parent = slicer.modules.gtrreading
    assert parent.title == "GTR Reading"
    assert "docs/reader-study.md" in parent.helpText
