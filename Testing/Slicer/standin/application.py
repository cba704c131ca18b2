"""`slicer.app`, the base classes of scripted modules, and sample data: only what is listed here.

Whatever would open a window, install a package or leave the program is written down in `Record` instead.
"""
# ruff: noqa: N802, N803, N815 (Slicer calls these names)

import inspect
import sys
import tempfile
import unittest
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import slicer
import vtk
from PySide6 import QtWidgets

from standin import proxy


@dataclass
class Shown:
    """A message that a person would have seen."""

    kind: str
    text: str
    title: str | None = None
    detail: str | None = None


@dataclass
class Record:
    """What the module did to the world outside, and what the world answers."""

    shown: list[Shown] = field(default_factory=list)
    confirm: bool = True
    testing: bool = False
    opened: list[str] = field(default_factory=list)
    asked: list[tuple] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    installed: list[dict] = field(default_factory=list)
    uninstalled: list[str] = field(default_factory=list)
    restarts: list[bool] = field(default_factory=list)
    extensions: list[tuple] = field(default_factory=list)
    settings: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()) / "Slicer.ini")
    layouts: list[int] = field(default_factory=list)
    cursors: list = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    delayed: list[str] = field(default_factory=list)


class _SliceWidget:
    def __init__(self, logic):
        self._logic = logic

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def sliceLogic(self):
        return self._logic


class _LayoutManager:
    def __init__(self, bare, record):
        self._record = record
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(bare.scene)
        self._logics = vtk.vtkCollection()
        self._widgets = {}
        for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(bare.application)
            logic.SetMRMLScene(bare.scene)
            node = logic.AddSliceNode(name)
            node.SetOrientation(orientation)
            node.SetDimensions(256, 256, 1)
            self._logics.AddItem(logic)
            self._widgets[name] = _SliceWidget(logic)
        bare.application.SetSliceLogics(self._logics)

    def sliceWidget(self, name):
        return self._widgets.get(name)

    def sliceViewNames(self):
        return tuple(self._widgets)

    def mrmlSliceLogics(self):
        return self._logics

    def setLayout(self, layout):
        self._record.layouts.append(layout)


class ExtensionsManager:
    """Slicer's model of extensions; installs none."""

    interactive = True

    def __init__(self, record):
        self._record = record

    def installExtensionFromServer(self, name, restart=True):
        self._record.extensions.append((name, restart, self.interactive))
        return self._record.confirm


class Application:
    """`slicer.app`."""

    applicationName = "Slicer"

    def __init__(self, bare, record):
        self._application, self._record = bare.application, record
        self._layout = _LayoutManager(bare, record)
        self._handlers = {"startupCompleted()": []}
        self._main = QtWidgets.QMainWindow()  # nothing is in it
        self._main.setObjectName("qSlicerMainWindow")

    def layoutManager(self):
        return self._layout

    @property
    def slicerUserSettingsFilePath(self):
        return str(self._record.settings)

    def extensionsManagerModel(self):
        return ExtensionsManager(self._record)

    def applicationLogic(self):
        return self._application

    def mrmlScene(self):
        return slicer.mrmlScene

    def processEvents(self):
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self):
        return proxy.wrap(tuple(QtWidgets.QApplication.topLevelWidgets()))

    def testingEnabled(self):
        """As `Record.testing` says, which tests set."""
        return self._record.testing

    def translate(self, context, text):
        return text

    def setOverrideCursor(self, cursor):
        self._record.cursors.append(cursor)
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._record.cursors.append(None)
        QtWidgets.QApplication.restoreOverrideCursor()

    def connect(self, signal, function):
        if proxy.normalized(signal) not in self._handlers:
            raise AttributeError(f"slicer.app has no signal {signal!r}")
        self._handlers[proxy.normalized(signal)].append(proxy.guarded(function))
        return True

    def _startup_completed(self):
        for one in self._handlers["startupCompleted()"]:
            one()


# -- scripted modules --------------------------------------------------------------------------------------------------


def _resources(python_object, filename):
    return str(Path(inspect.getfile(type(python_object))).parent / "Resources" / filename)


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText = parent.acknowledgementText = ""

    def resourcePath(self, filename):
        return _resources(self, filename)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        if parent is None:
            raise NotImplementedError("the stand-in gives every module's widget a parent")
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent, self.layout = parent, parent.layout()

    def resourcePath(self, filename):
        return _resources(self, filename)

    def setup(self):
        """Nothing: the developer's section is for developers."""

    def cleanup(self):
        """Overridden by modules."""


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        if not self.isSingletonParameterNode:
            raise NotImplementedError("the stand-in has one parameter node to a module")
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        if node.GetAttribute("ModuleName") != self.moduleName:
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def createParameterNode(self):
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    record: ClassVar[Record]

    def __init__(self, *arguments, **named):
        # Slicer makes it without a method's name, and calls runTest().
        super().__init__(*arguments, **named)

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        self.record.delayed.append(message)


class _ModuleParent(SimpleNamespace):
    """The C++ side of a module, as far as its Python side writes to it."""

    def __init__(self, name, path):
        super().__init__(name=name, path=str(path))
        self._widget = None

    def widgetRepresentation(self):
        return self._widget


# -- sample data -------------------------------------------------------------------------------------------------------


class SampleDataSource:
    def __init__(self, sampleName, uris, fileNames, nodeNames, customDownloader, thumbnailFileName, loadFileTypes,
                 loadFiles, loadFileProperties, checksums):  # fmt: skip
        if isinstance(uris, list | tuple):
            if isinstance(loadFileTypes, str) or loadFileTypes is None:
                loadFileTypes = [loadFileTypes] * len(uris)
            nodeNames, loadFiles, checksums = (
                [None] * len(uris) if one is None else one for one in (nodeNames, loadFiles, checksums)
            )
        elif isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
            loadFiles, loadFileTypes, checksums = [loadFiles], [loadFileTypes], [checksums]
        if len({len(one) for one in (uris, fileNames, nodeNames, loadFiles, loadFileTypes, checksums)}) > 1:
            raise ValueError("All fields of sample data source must have the same length")
        self.sampleName, self.uris, self.fileNames, self.nodeNames = sampleName, uris, fileNames, nodeNames
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileTypes, self.loadFiles, self.loadFileProperties = loadFileTypes, loadFiles, loadFileProperties
        self.checksums = checksums


class SampleDataLogic:
    """Of Slicer 5.10. What is registered is in `slicer.modules.sampleDataSources`, category by category."""

    @staticmethod
    def registerCustomSampleDataSource(category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None,
                                       customDownloader=None, thumbnailFileName=None, loadFileTypes=None,
                                       loadFiles=None, loadFileProperties={},  # noqa: B006 (as Slicer has it)
                                       checksums=None, loadFileType=None):  # fmt: skip
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        source = SampleDataSource(
            sampleName, uris, fileNames, nodeNames, customDownloader, thumbnailFileName,
            loadFileTypes if loadFileType is None else loadFileType, loadFiles, loadFileProperties, checksums,
        )  # fmt: skip
        slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, []).append(source)


class TitledSampleDataLogic(SampleDataLogic):
    """Of Slicer 5.12 and main, where a category can have a title."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        categories = slicer.modules.__dict__.setdefault("sampleDataSourceCategories", {})
        categories.setdefault(category, {})["title"] = title


# -- functions ---------------------------------------------------------------------------------------------------------


def messages(record: Record) -> dict:
    """The functions of `slicer.util` that show something, and now write it down; in testing nothing is shown."""

    def display(kind):
        def show(text, windowTitle=None, parent=None, standardButtons=None, *, detailedText=None, **named):
            _only(named, "dontShowAgainSettingsKey", "icon")
            if not slicer.app.testingEnabled():
                record.shown.append(Shown(kind, text, windowTitle, detailedText))

        return show

    def confirm(text, windowTitle=None, parent=None, *, detailedText=None, **named):
        _only(named, "dontShowAgainSettingsKey", "icon")
        if slicer.app.testingEnabled():
            return True
        record.shown.append(Shown("confirm", text, windowTitle, detailedText))
        return record.confirm

    return {
        "errorDisplay": display("error"),
        "warningDisplay": display("warning"),
        "infoDisplay": display("info"),
        "confirmOkCancelDisplay": confirm,
        "confirmYesNoDisplay": confirm,
    }


def _only(named, *known):
    if unknown := set(named) - set(known):
        raise TypeError(f"a message box has no {', '.join(sorted(unknown))}")


def pip_installers(record: Record, version: str):
    """`slicer.util.pip_install`, and that of `slicer.packaging`, None in Slicer 5.10; neither installs anything."""

    def note(shown_text, constraints):
        record.installed.append(shown_text)
        if constraints is not None:  # it is gone when the call is over
            shown_text["constraints_text"] = Path(constraints).read_text(encoding="utf-8")

    def old(requirements):
        if type(requirements) not in (str, list):
            raise ValueError("pip_install requirement input must be string or list")
        words = requirements.split() if isinstance(requirements, str) else requirements
        note({"requirements": requirements}, words[words.index("-c") + 1] if "-c" in words else None)

    # Slicer 5.12 has `parent` after `requester`, Slicer's main branch has not: from there on by name only.
    def full(requirements, constraints=None, no_deps_requirements=None, skip_packages=None, blocking=True,
             show_progress=True, requester=None, *, parent=None, logCallback=None, completedCallback=None):  # fmt: skip
        note({name: value for name, value in locals().items() if name != "note"}, constraints)

    def short(requirements, **named):
        return full(requirements, **named)

    def ensure(requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True,
               requester=None, skip_in_testing=True, show_progress=True):  # fmt: skip
        """Slicer 5.11 and newer ask in their own window, unless told not to."""
        full(requirements, constraints, skip_packages=skip_packages, requester=requester)
        record.installed[-1]["prompt_install"] = prompt_install

    return (old, None) if version == "5.10" else (short, {"pip_install": full, "pip_ensure": ensure})


def fresh(names) -> None:
    """Take modules out of what is imported, and off their packages, where `from package import` would find them."""
    for name in names:
        sys.modules.pop(name, None)
        package, _, short = name.rpartition(".")
        if package in sys.modules and short in vars(sys.modules[package]):
            delattr(sys.modules[package], short)
