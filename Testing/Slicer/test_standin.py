"""The stand-in for Slicer's desktop refuses what Slicer does not have, and does what Slicer does."""

import enum
import importlib
import sys
from typing import Annotated

import pytest
import slicer

pytest.importorskip("PySide6")
import standin
from standin.forms import SCENE, form, item


@pytest.fixture
def desk(bare, request):
    made = standin.install(bare, getattr(request, "param", "5.12"))
    yield made
    made.uninstall()


@pytest.fixture
def qt(desk):
    return desk.qt


def ct(scene, name="CT", kind="vtkMRMLScalarVolumeNode"):
    return scene.AddNewNodeByClass(kind, name)


# -- PythonQt's manners ------------------------------------------------------------------------------------------------


def test_properties_are_attributes_and_classes_are_exact(qt):
    label = qt.QLabel("text")
    label.enabled, label.toolTip, label.name = False, "tip", "title"
    assert (label.text, label.enabled, label.toolTip, label.objectName) == ("text", False, "tip", "title")
    with pytest.raises(TypeError):
        label.text()
    label.setText("other")
    assert label.text == "other"
    assert type(label) is qt.QLabel
    assert isinstance(label, qt.QWidget)
    assert label.isWidgetType()
    parent = qt.QWidget()
    qt.QVBoxLayout(parent).addWidget(label)
    assert parent.findChild(qt.QLabel, "title") is label
    assert parent.findChildren(qt.QWidget) == [label]
    assert not label.visible  # its parent is not shown
    with pytest.raises(AttributeError, match="does not accept"):
        label.text = None


@pytest.mark.parametrize("name", ["txet", "value", "setValue", "_target_", "collapsed"])
def test_what_qt_lacks_raises(qt, name):
    label = qt.QLabel()
    assert not hasattr(label, name)
    with pytest.raises(AttributeError):
        setattr(label, name, 1)


@pytest.mark.parametrize("name", ["_box", "currentText", "currentSegment", "scene"])
def test_what_slicers_widgets_lack_raises(desk, name):
    widget = slicer.qMRMLWidget()
    assert not hasattr(widget, name)
    with pytest.raises(AttributeError):
        setattr(widget, name, 1)


def test_python_classes_derived_from_qts_raise(desk, qt):
    for base in (qt.QWidget, qt.QObject, slicer.qMRMLWidget):
        with pytest.raises(TypeError, match="derived"):
            type("Mine", (base,), {})


def test_a_tables_columns_take_unscoped_modes(qt):
    table = qt.QTableWidget(1, 2)
    header = table.horizontalHeader()
    for column, mode in enumerate((qt.QHeaderView.ResizeToContents, qt.QHeaderView.Stretch)):
        header.setSectionResizeMode(column, mode)
        assert header.sectionResizeMode(column) == mode
    assert not hasattr(qt.QHeaderView, "Strech")


@pytest.mark.parametrize("signal", ["clicked(int)", "pushed()", "clicked"])
def test_an_unknown_signal_raises(qt, signal):
    with pytest.raises(AttributeError, match="no signal"):
        qt.QPushButton().connect(signal, print)


def test_signals_by_signature_and_by_name(qt):
    received, button = [], qt.QPushButton()
    button.checkable = True

    def listen(checked):
        received.append(checked)

    button.connect("clicked( bool )", listen)
    button.toggled.connect(listen)
    button.connect("clicked(bool)", lambda: received.append("none"))  # PythonQt passes what the callable takes
    button.click()
    assert sorted(map(str, received)) == ["True", "True", "none"]
    assert button.disconnect("clicked(bool)", listen)
    assert not button.disconnect("clicked(bool)", listen)
    button.toggled.disconnect(listen)
    received.clear()
    button.click()
    assert received == ["none"]


def test_an_error_in_a_handler_is_not_lost(bare):
    desk = standin.install(bare)
    button = desk.qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        desk.uninstall()
    assert "qt" not in sys.modules
    assert not hasattr(slicer, "app")


def test_nothing_is_opened_and_nobody_is_waited_for(desk, qt):
    assert qt.QFileDialog.getExistingDirectory(None, "Where") == ""
    desk.record.answers["getExistingDirectory"] = "/there"
    assert qt.QFileDialog.getExistingDirectory(None, "Where") == "/there"
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile("/there"))
    assert desk.record.opened == ["file:///there"]
    desk.record.confirm = False
    assert not slicer.util.confirmOkCancelDisplay("Sure?", windowTitle="Ask", detailedText="all")
    assert (desk.shown[0].kind, desk.shown[0].text, desk.shown[0].detail) == ("confirm", "Sure?", "all")
    with pytest.raises(RuntimeError, match="wait"):
        qt.QMessageBox.question(None, "t", "q")
    with pytest.raises(TypeError, match="detailed"):
        slicer.util.infoDisplay("text", detailed="misspelt")


# -- .ui files ---------------------------------------------------------------------------------------------------------


def test_a_form_is_loaded_and_its_connections_work(desk, scene):
    panel = desk.load_ui(form(item("qMRMLWidget", "nodes"), connection=SCENE))
    ui = slicer.util.childWidgetVariables(panel)
    assert type(ui.nodes) is slicer.qMRMLWidget
    assert ui.nodes.mrmlScene() is None
    panel.setMRMLScene(scene)
    assert ui.nodes.mrmlScene() is scene


@pytest.mark.parametrize(
    ("items", "connection", "match"),
    [
        (item("ctkSlider", "s"), None, "no widget 'ctkSlider'"),
        (item("QSlider", "s", properties='<property name="decimals"><number>1</number></property>'), None, "decimals"),
        (
            item("ctkSliderWidget", "s", properties='<property name="text"><string>1</string></property>'),
            None,
            "no property 'text'",
        ),
        (item("qMRMLWidget", "nodes"), (SCENE[0], "sceneChanged(vtkMRMLScene*)", *SCENE[2:]), "no signal"),
        (item("qMRMLWidget", "nodes"), (*SCENE[:3], "setScene(vtkMRMLScene*)"), "no slot"),
        (item("qMRMLWidget", "other"), SCENE, "'nodes'"),
        (item("QLabel", "a") + item("QLabel", "a"), None, "two widgets"),
    ],
)
def test_a_form_that_slicer_would_not_understand_raises(desk, items, connection, match):
    with pytest.raises(standin.ui_files.UiError, match=match):
        desk.load_ui(form(items, connection=connection))


# -- Slicer's widgets --------------------------------------------------------------------------------------------------


def path_edit(filters=()):
    import ctk

    edit, received = ctk.ctkPathLineEdit(), []
    edit.nameFilters = list(filters)
    edit.connect("currentPathChanged(QString)", received.append)
    edit.connect("validInputChanged(bool)", received.append)
    return edit, received


def test_an_emptied_path_is_signalled_by_its_validity_only(desk):
    edit, received = path_edit()
    edit.currentPath = "/x"
    edit.setCurrentPath("/y")
    edit.currentPath = ""
    assert (edit.currentPath, received) == ("", ["/x", True, "/y", False])


@pytest.mark.parametrize(
    ("filters", "path", "signals"),
    [
        (["*.csv"], "/x/y.txt", False),
        (["*.csv"], "/x/y.csv", True),
        (["*.csv"], "/x/y.CSV", False),
        (["Tables (*.csv *.CSV)", "Texts (*.txt)"], "/x/y.txt", True),
        (["Images (*.nii.gz)"], "/x/y.nii.gz", False),  # CTK sees *.nii
        (["All files (*)"], "/x/y", True),
    ],
)
def test_a_path_that_the_filters_reject_is_not_signalled(desk, filters, path, signals):
    edit, received = path_edit(filters)
    edit.currentPath = path
    assert (edit.currentPath, received) == (path, [path, True] if signals else [])


def test_a_slider_signals_intermediate_changes_only_without_tracking(desk, qt):
    import ctk

    slider, received = ctk.ctkSliderWidget(), []
    slider.connect("valueIsChanging(double)", lambda v: received.append(("is", v)))
    slider.connect("valueChanged(double)", lambda v: received.append(("was", v)))
    slider.value = 3.0
    assert received == [("was", 3.0)]
    slider.tracking = False
    received.clear()
    inner = slider.findChild(qt.QSlider, "Slider")
    inner.sliderDown = True
    inner.setValue(400)
    assert (slider.value, received) == (3.0, [("is", 4.0)])
    inner.sliderDown = False
    assert (slider.value, received) == (4.0, [("is", 4.0), ("was", 4.0)])


def test_a_folded_section_hides_its_children_and_remembers_who_was_hidden(desk, qt):
    import ctk

    section = ctk.ctkCollapsibleButton("Section")
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    hidden.visible = False
    for one in (shown, hidden):
        (section.layout() or qt.QVBoxLayout(section)).addWidget(one)
    section.show()
    section.collapsed = True
    assert not shown.visible
    hidden.visible = True
    assert not hidden.visible
    section.collapsed = False
    assert shown.visible
    assert hidden.visible


# -- parameter nodes ---------------------------------------------------------------------------------------------------


class Way(enum.Enum):
    SLOW = 1
    FAST = 2

    def label(self):
        return self.name.title()


def parameters(scene):
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    class Base:
        share: float = 0.5
        name: str = "n"

    @parameterNodeWrapper
    class Parameters(Base):
        share: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
        on: bool = True
        count: int = 3
        way: Way = Way.FAST
        volume: slicer.vtkMRMLScalarVolumeNode = None

    return Parameters(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parameters_are_stored_as_slicer_does(desk, scene):
    one = parameters(scene)
    node, volume = one.parameterNode, ct(scene)
    one.volume, one.share, one.on = volume, 1, False
    stored = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert stored == {"share": "1", "name": "n", "on": "False", "count": "3", "way": "FAST", "volume": ""}
    assert node.GetNodeReference("volume") is volume
    node.SetParameter("way", "SLOW")
    assert (one.way, one.volume, one.share) == (Way.SLOW, volume, 1.0)
    with pytest.raises(ValueError, match="range"):
        one.share = 1.5
    for name, value in (("name", 3), ("way", "FAST"), ("volume", one.parameterNode), ("count", 1.5)):
        with pytest.raises(TypeError):
            setattr(one, name, value)
    one.anything = 3  # as in Python, and as in Slicer


BOUND = (
    item("QCheckBox", "on", "on"),
    item("ctkSliderWidget", "share", "share", '<property name="decimals"><number>2</number></property>'),
    item("QSpinBox", "count", "count"),
    item("QComboBox", "way", "way"),
    item("QLineEdit", "name_", "name"),
)


def test_the_binding_goes_both_ways_and_ends(desk, scene):
    ui, one = slicer.util.childWidgetVariables(desk.load_ui(form(*BOUND))), parameters(scene)
    tag = one.connectGui(ui)
    read = lambda: (ui.on.checked, ui.share.value, ui.count.value, ui.way.currentText, ui.name_.text)  # noqa: E731
    assert (*read(), ui.share.maximum) == (True, 0.5, 3, "Fast", "n", 1.0)
    signals = []
    one.AddObserver("ModifiedEvent", lambda *_: signals.append(1))
    one.on, one.share, one.count, one.way, one.name = False, 0.25, 7, Way.SLOW, "m"
    assert read() == (False, 0.25, 7, "Slow", "m")
    assert len(signals) < 20
    ui.on.click()
    ui.share.value, ui.count.value, ui.way.currentIndex, ui.name_.text = 0.75, 8, 1, "o"
    assert (one.on, one.share, one.count, one.way, one.name) == (True, 0.75, 8, Way.FAST, "o")
    one.disconnectGui(tag)
    ui.share.value, one.count = 0.1, 4
    assert (one.share, ui.count.value) == (0.75, 8)


@pytest.mark.parametrize(
    ("kind", "parameter", "error"),
    [
        ("QDoubleSpinBox", "on", RuntimeError),
        ("ctkPathLineEdit", "name", RuntimeError),
        ("QComboBox", "name", RuntimeError),
        ("ctkSliderWidget", "count", RuntimeError),  # without a range
        ("QSpinBox", "misspelt", ValueError),
    ],
)
def test_pairs_that_slicer_does_not_connect_raise(desk, scene, kind, parameter, error):
    panel = desk.load_ui(form(item(kind, "w", parameter)))
    with pytest.raises(error):
        parameters(scene).connectGui(slicer.util.childWidgetVariables(panel))


# -- the application ---------------------------------------------------------------------------------------------------


def test_the_views_are_real(desk, scene):
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.mrmlSliceNode() is scene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert red.sliceLogic().GetSliceCompositeNode() is scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert slicer.app.layoutManager().sliceWidget("Blue") is None
    volume = ct(scene)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    assert red.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


def test_there_is_a_main_window_and_testing_can_be_switched_on(desk, qt):
    assert slicer.util.mainWindow().objectName == "qSlicerMainWindow"
    assert isinstance(slicer.util.mainWindow(), qt.QWidget)
    assert not slicer.app.testingEnabled()
    desk.record.testing, desk.record.confirm = True, False
    assert slicer.app.testingEnabled()
    slicer.util.errorDisplay("not shown")
    assert slicer.util.confirmOkCancelDisplay("not asked")
    assert not desk.shown


@pytest.fixture
def pins(tmp_path):
    (tmp_path / "pins.txt").write_text("a==1\n")
    return tmp_path / "pins.txt"


def test_packages_are_not_installed_but_noted(desk, pins):
    from slicer.packaging import pip_install

    pip_install(["b"], constraints=pins, requester="R")
    slicer.util.pip_install("c", parent=None, show_progress=False)
    first, second = desk.record.installed
    assert (first["requirements"], first["constraints_text"], first["requester"]) == (["b"], "a==1\n", "R")
    assert (second["requirements"], second["show_progress"]) == ("c", False)
    with pytest.raises(TypeError):
        pip_install("d", constraint=pins)
    with pytest.raises(TypeError):  # where 5.12 and main disagree
        pip_install("d", None, None, None, True, True, "R", print)


@pytest.mark.parametrize("desk", ["5.10"], indirect=True)
def test_slicer_5_10_lacks_what_came_later(desk, pins):
    with pytest.raises(ImportError):
        importlib.import_module("slicer.packaging")
    slicer.util.pip_install(["-c", str(pins), "b"])
    assert desk.record.installed[0]["constraints_text"] == "a==1\n"
    with pytest.raises(TypeError):
        slicer.util.pip_install("b", constraints=pins)
    desk.open_module()
    desk.startup_completed()
    assert not desk.shown
    assert slicer.modules.sampleDataSources
    assert not hasattr(slicer.modules, "sampleDataSourceCategories")
    with pytest.raises(ValueError, match="5.8"):
        standin.install(desk.bare, version="5.8")


def test_sample_data_must_be_lists_of_one_length(desk):
    from SampleData import SampleDataLogic

    register = SampleDataLogic.registerCustomSampleDataSource
    with pytest.raises(ValueError, match="same length"):
        register(category="c", sampleName="s", uris=["a"], fileNames=[], nodeNames=[])
    register(category="c", sampleName="s", uris=[], fileNames=[], nodeNames=[])
    assert [one.sampleName for one in slicer.modules.sampleDataSources["c"]] == ["s"]


def test_the_real_panel_opens_and_can_be_photographed(desk, tmp_path):
    import numpy as np
    from PIL import Image

    widget = desk.open_module()
    assert widget.parent.isEntered
    assert not widget.ui.applyButton.enabled
    assert widget.ui.applyButton.visible
    path = desk.photograph(widget.parent, tmp_path / "panel.png")
    picture = np.asarray(Image.open(path).convert("L"))
    assert picture.shape[1] == 560
    assert picture.shape[0] > 600
    assert picture.std() > 10
    desk.startup_completed()
    assert not desk.shown


def test_it_can_be_installed_again(bare):
    widgets = []
    for _ in range(2):
        desk = standin.install(bare)
        widgets.append(desk.open_module())
        desk.uninstall()
    assert type(widgets[0]) is not type(widgets[1])
    assert {"qt", "ctk", "GTRStaging", "slicer.i18n", "GTRStagingSlicer.logic"}.isdisjoint(sys.modules)
