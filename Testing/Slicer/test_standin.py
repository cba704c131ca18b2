"""The stand-in for Slicer's desktop refuses what Slicer does not have, and does what Slicer does."""

import enum
import importlib
import sys
from typing import Annotated

import pytest
import slicer

pytest.importorskip("PySide6")
import standin

FORM = """<ui version="4.0"><class>P</class><widget class="qMRMLWidget" name="P"><layout class="QVBoxLayout" name="l">
{items}</layout></widget>{more}</ui>"""
ITEM = '<item><widget class="{kind}" name="{name}">{properties}</widget></item>'
PARAMETER = '<property name="SlicerParameterName" stdset="0"><string>{}</string></property>'
CONNECTION = """<connections><connection><sender>w</sender><signal>clicked()</signal><receiver>P</receiver>
<slot>close()</slot></connection></connections>"""


def item(kind, name="w", parameter="", properties=""):
    if parameter:
        properties += PARAMETER.format(parameter)
    return ITEM.format(kind=kind, name=name, properties=properties)


@pytest.fixture
def load(tmp_path):
    """Load a form as the panel does, from its items."""

    def made(*items, more=""):
        (tmp_path / "form.ui").write_text(FORM.format(items="".join(items), more=more))
        return slicer.util.loadUI(str(tmp_path / "form.ui"))

    return made


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


@pytest.mark.parametrize("name", ["_box", "currentText", "mrmlScene", "scene"])
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


def test_own_widgets_have_no_other_signals_and_methods(desk):
    import ctk

    slider = ctk.ctkSliderWidget()
    slider.connect("valueChanged(double)", print)
    for name in ("valueChanged(int)", "sliderMoved(int)", "textChanged(QString)"):
        with pytest.raises(AttributeError, match="no signal"):
            slider.connect(name, print)
    for name in ("setSliderPosition", "text", "_slider", "_fit"):
        assert not hasattr(slider, name)


@pytest.mark.parametrize("signal", ["clicked(int)", "pushed()", "clicked", "clicked( bool )"])
def test_an_unknown_signal_raises(qt, signal):
    with pytest.raises(AttributeError, match="no signal"):
        qt.QPushButton().connect(signal, print)


def test_signals_by_signature_and_by_name(qt):
    received, button = [], qt.QPushButton()
    button.checkable = True

    def listen(checked):
        received.append(checked)

    button.connect("clicked(bool)", listen)
    button.connect("toggled(bool)", listen)
    button.connect("clicked(bool)", lambda: received.append("none"))  # PythonQt passes what the callable takes
    button.click()
    assert sorted(map(str, received)) == ["True", "True", "none"]
    button.disconnect("clicked(bool)", listen)
    with pytest.raises(KeyError):
        button.disconnect("clicked(bool)", listen)
    button.disconnect("toggled(bool)", listen)
    received.clear()
    button.click()
    assert received == ["none"]
    button.clicked()
    assert received == ["none", "none"]


def test_errors_of_handlers_and_warnings_of_qt_are_not_lost(bare):
    desk = standin.install(bare)
    button = desk.qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    desk.qt.QVBoxLayout(button)
    desk.qt.QVBoxLayout(button)
    with pytest.raises(AssertionError, match=r"(?s)ZeroDivisionError.*already has a layout"):
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
    desk.record.answers["getItem"] = "T3"
    assert qt.QInputDialog.getItem(None, "t", "q", ["T2", "T3"], 0, False) == "T3"
    assert (desk.shown[0].kind, desk.shown[0].text, desk.shown[0].detail) == ("confirm", "Sure?", "all")
    for name in ("QMessageBox", "QMenu", "QProgressDialog"):
        with pytest.raises(RuntimeError, match="wait"):
            getattr(qt, name)
    with pytest.raises(TypeError, match="detailed"):
        slicer.util.infoDisplay("text", detailed="misspelt")


# -- .ui files ---------------------------------------------------------------------------------------------------------


def test_a_form_is_loaded_with_the_properties_it_gives(desk, load, scene):
    folder = '<property name="filters"><set>ctkPathLineEdit::Dirs</set></property>'
    panel = load(item("ctkPathLineEdit", "folder", properties=folder), item("QPushButton", "go"))
    ui = slicer.util.childWidgetVariables(panel)
    panel.setMRMLScene(scene)
    assert type(panel) is slicer.qMRMLWidget
    assert (type(ui.go), ui.folder.filters) == (desk.qt.QPushButton, 1)


@pytest.mark.parametrize(
    ("items", "more", "match"),
    [
        (item("ctkSlider"), "", "no widget 'ctkSlider'"),
        (item("QSlider", properties='<property name="decimals"><number>1</number></property>'), "", "decimals"),
        (item("ctkSliderWidget", properties='<property name="text"><string>1</string></property>'), "",
         "no property 'text'"),
        (item("QLabel", properties='<property name="buddy"><cstring>x</cstring></property>'), "", "buddy 'x'"),
        (item("QLabel", "a") + item("QLabel", "a"), "", "two widgets"),
        (item("QPushButton"), CONNECTION, "no connections"),
    ],
)  # fmt: skip
def test_a_form_that_slicer_would_not_understand_raises(desk, load, items, more, match):
    with pytest.raises(standin.ui_files.UiError, match=match):
        load(items, more=more)


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
    edit.currentPath = "/y"
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


def test_a_slider_follows_its_box_within_its_range(desk, qt):
    import ctk

    slider, received = ctk.ctkSliderWidget(), []
    slider.connect("valueChanged(double)", lambda value: received.append(value))
    slider.decimals, slider.maximum = 1, 2.0
    slider.value = 1.5
    inner = slider.findChild(qt.QSlider)
    assert (inner.value, inner.maximum) == (15, 20)
    inner.value = 7
    slider.value = 9.0
    slider.maximum = 1.0
    assert (slider.value, received) == (1.0, [1.5, 0.7, 2.0, 1.0])


def test_a_folded_section_is_as_high_as_its_head(desk, qt):
    import ctk

    section = ctk.ctkCollapsibleButton()
    section.text = "Section"
    label = qt.QLabel("long")
    label.setMinimumHeight(300)
    qt.QVBoxLayout(section).addWidget(label)
    section.show()
    heights = []
    for folded in (False, True, False):
        section.collapsed = folded
        heights.append(section.minimumSizeHint.height())
        assert section.checked is not folded
    assert heights[0] == heights[2] > 300 > 60 > heights[1]
    section.click()
    assert section.collapsed


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
        free: float = 0.5
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
    assert stored == {
        "share": "1",
        "free": "0.5",
        "name": "n",
        "on": "False",
        "count": "3",
        "way": "FAST",
        "volume": "",
    }
    assert node.GetNodeReference("volume") is volume
    node.SetParameter("way", "SLOW")
    assert (one.way, one.volume, one.share) == (Way.SLOW, volume, 1.0)
    with pytest.raises(ValueError, match="within"):
        one.share = 1.5
    for name, value in (("name", 3), ("way", "FAST"), ("volume", one.parameterNode), ("count", 1.5)):
        with pytest.raises(TypeError):
            setattr(one, name, value)
    one.anything = 3  # as in Python, and as in Slicer


BOUND = (
    item("QCheckBox", "on", "on"),
    item("ctkSliderWidget", "share", "share", '<property name="decimals"><number>2</number></property>'),
    item("QComboBox", "way", "way"),
)


def test_the_binding_goes_both_ways_and_ends(desk, load, scene):
    ui, one = slicer.util.childWidgetVariables(load(*BOUND)), parameters(scene)
    tag = one.connectGui(ui)
    read = lambda: (ui.on.checked, ui.share.value, ui.way.currentText)  # noqa: E731
    assert (*read(), ui.share.maximum) == (True, 0.5, "Fast", 1.0)
    received = []
    one.AddObserver("ModifiedEvent", lambda *_: received.append(1))
    one.on, one.share, one.way = False, 0.25, Way.SLOW
    assert read() == (False, 0.25, "Slow")
    assert len(received) < 20
    ui.on.click()
    ui.share.value, ui.way.currentIndex = 0.75, 1
    assert (one.on, one.share, one.way) == (True, 0.75, Way.FAST)
    with pytest.raises(RuntimeError, match="one panel"):
        one.connectGui(ui)
    one.disconnectGui(tag)
    ui.share.value, one.on = 0.1, False
    assert (one.share, ui.on.checked) == (0.75, True)


@pytest.mark.parametrize(
    ("kind", "parameter", "error"),
    [
        ("QDoubleSpinBox", "on", RuntimeError),
        ("ctkPathLineEdit", "name", RuntimeError),
        ("QComboBox", "name", RuntimeError),
        ("ctkSliderWidget", "count", RuntimeError),
        ("ctkSliderWidget", "free", RuntimeError),  # without a range
        ("QCheckBox", "misspelt", ValueError),
    ],
)
def test_pairs_that_slicer_does_not_connect_raise(desk, load, scene, kind, parameter, error):
    panel = load(item(kind, "w", parameter))
    with pytest.raises(error):
        parameters(scene).connectGui(slicer.util.childWidgetVariables(panel))


@pytest.mark.parametrize(
    ("made", "match"),
    [
        ({"Modified": bool}, "reserved name 'Modified'"),
        ({"getValue": bool}, "reserved name 'getValue'"),
        ({"way": list}, "cannot store"),
        ({"way": Annotated[int, 3]}, "3"),
    ],
)
def test_fields_that_cannot_be_parameters_raise(desk, made, match):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises((TypeError, ValueError), match=match):
        parameterNodeWrapper(type("Mine", (), {"__annotations__": made, **dict.fromkeys(made, 0)}))


# -- the application ---------------------------------------------------------------------------------------------------


def test_the_views_are_real(desk, scene):
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.mrmlSliceNode() is scene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert red.sliceLogic().GetSliceCompositeNode() is scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert slicer.app.layoutManager().sliceWidget("Blue") is None
    volume = ct(scene)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    assert red.sliceLogic().GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()


@pytest.fixture
def pins(tmp_path):
    (tmp_path / "pins.txt").write_text("a==1\n")
    return tmp_path / "pins.txt"


def test_packages_are_not_installed_but_noted(desk, pins):
    from slicer.packaging import pip_ensure, pip_install

    pip_install(["b"], constraints=pins, requester="R")
    pip_ensure(["c"], constraints=pins, prompt_install=False)
    first, second = desk.record.installed
    assert (first["requirements"], first["constraints_text"], first["requester"]) == (["b"], "a==1\n", "R")
    assert (second["requirements"], second["prompt_install"]) == (["c"], False)
    with pytest.raises(TypeError):
        pip_install("d", constraint=pins)
    with pytest.raises(TypeError):  # where 5.12 and main disagree
        pip_install("d", None, None, None, True, True, "R", print)


@pytest.mark.parametrize("desk", ["5.10"], indirect=True)
def test_slicer_5_10_lacks_what_came_later(desk, pins):
    with pytest.raises(ImportError):
        importlib.import_module("slicer.packaging")
    slicer.util.pip_install(["-c", str(pins), "b"])
    assert desk.record.installed == [{"requirements": ["-c", str(pins), "b"]}]
    with pytest.raises(TypeError):
        slicer.util.pip_install("b", constraints=pins)
    desk.open_module()
    desk.startup_completed()
    assert not desk.shown
    assert slicer.modules.sampleDataSources
    assert not hasattr(slicer.modules, "sampleDataSourceCategories")
    with pytest.raises(KeyError, match="5.8"):
        standin.install(desk.bare, version="5.8")


def test_sample_data_must_be_lists_of_one_length(desk):
    from SampleData import SampleDataLogic

    register = SampleDataLogic.registerCustomSampleDataSource
    given = {"category": "c", "sampleName": "s", "customDownloader": print, "thumbnailFileName": "s.png"}
    with pytest.raises(ValueError, match="same length"):
        register(**given, uris=["a"], fileNames=[], nodeNames=[])
    register(**given, uris=[], fileNames=[], nodeNames=[])
    assert [one.sampleName for one in slicer.modules.sampleDataSources["c"]] == ["s"]


def test_the_real_panel_opens_and_can_be_photographed(desk, tmp_path):
    import numpy as np
    from PIL import Image

    widget = desk.open_module()
    assert widget.parent.isEntered
    assert not widget.ui.applyButton.enabled
    assert widget.ui.applyButton.visible
    slicer.util.selectModule("GTRStaging")
    with pytest.raises(RuntimeError, match="no module 'Data'"):
        slicer.util.selectModule("Data")
    desk.photograph(widget.parent, tmp_path / "panel.png")
    picture = np.asarray(Image.open(tmp_path / "panel.png").convert("L"))
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
