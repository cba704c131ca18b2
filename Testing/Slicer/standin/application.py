"""`slicer.app`, the base classes of scripted modules, and sample data: only what is listed here.

Whatever would open a window, install a package or leave the program is written down in `Record` instead.
"""
# ruff: noqa: N802, N803 (Slicer calls these names)

import inspect
import sys
import tempfile
import unittest
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import slicer
import vtk
from PySide6 import QtWidgets

from standin import proxy


@dataclass
class Shown:
    """A message that a person would have seen."""

    kind: str
    text: str
    detail: str | None = None


@dataclass
class Record:
    """What the module did to the world outside, and what the world answers."""

    shown: list[Shown] = field(default_factory=list)
    confirm: bool = True
    opened: list[str] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    installed: list[dict] = field(default_factory=list)
    uninstalled: list[str] = field(default_factory=list)
    restarts: list[bool] = field(default_factory=list)
    extensions: list[tuple] = field(default_factory=list)
    at_startup: list = field(default_factory=list)
    settings: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()) / "Slicer.ini")


def _layout_manager(bare):
    """Three slice views: Slicer's own logics and nodes, without widgets."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(bare.scene)
    logics, widgets = vtk.vtkCollection(), {}
    for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(bare.application)
        logic.SetMRMLScene(bare.scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(256, 256, 1)
        logics.AddItem(logic)
        widgets[name] = SimpleNamespace(mrmlSliceNode=logic.GetSliceNode, sliceLogic=lambda logic=logic: logic)
    bare.application.SetSliceLogics(logics)
    return SimpleNamespace(sliceWidget=widgets.get, mrmlSliceLogics=lambda: logics)


class ExtensionsManager:
    """Slicer's model of extensions; installs none."""

    interactive = True

    def __init__(self, record):
        self._record = record

    def installExtensionFromServer(self, name, restart=True):
        self._record.extensions.append((name, restart, self.interactive))
        return self._record.confirm


def app(bare, record):
    """`slicer.app`."""
    layout_manager, qt = _layout_manager(bare), QtWidgets.QApplication

    def connect(signal, function):
        if signal != "startupCompleted()":
            raise AttributeError(f"the stand-in's slicer.app has no signal {signal!r}")
        record.at_startup.append(proxy.guarded(function))

    return SimpleNamespace(
        applicationLogic=lambda: bare.application,
        connect=connect,
        extensionsManagerModel=lambda: ExtensionsManager(record),
        layoutManager=lambda: layout_manager,
        processEvents=qt.processEvents,
        restoreOverrideCursor=qt.restoreOverrideCursor,
        setOverrideCursor=qt.setOverrideCursor,
        slicerUserSettingsFilePath=str(record.settings),
    )


# -- scripted modules --------------------------------------------------------------------------------------------------


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent):
        super().__init__()
        self.parent, self.layout = parent, parent.layout()

    def resourcePath(self, filename):
        return str(Path(inspect.getfile(type(self))).parent / "Resources" / filename)

    def setup(self):
        """Nothing: the developer's section is for developers."""


class ScriptedLoadableModuleLogic:
    def __init__(self):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is not None:
            return node
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Slicer makes it without a method's name, and calls runTest()."""

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        """Nothing: nobody reads it."""


class _ModuleParent(SimpleNamespace):
    """The C++ side of a module, as far as its Python side writes to it."""

    _widget = None

    def widgetRepresentation(self):
        return self._widget


# -- sample data -------------------------------------------------------------------------------------------------------


class SampleDataLogic:
    """Of Slicer 5.10. What is registered is in `slicer.modules.sampleDataSources`, category by category."""

    @staticmethod
    def registerCustomSampleDataSource(category, sampleName, uris, fileNames, nodeNames, customDownloader,
                                       thumbnailFileName):  # fmt: skip
        if not len(uris) == len(fileNames) == len(nodeNames):
            raise ValueError("All fields of sample data source must have the same length")
        source = SimpleNamespace(sampleName=sampleName, customDownloader=customDownloader)
        slicer.modules.__dict__.setdefault("sampleDataSources", {}).setdefault(category, []).append(source)


class TitledSampleDataLogic(SampleDataLogic):
    """Of Slicer 5.12 and main, where a category can have a title."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        categories = slicer.modules.__dict__.setdefault("sampleDataSourceCategories", {})
        categories.setdefault(category, {})["title"] = title


# -- functions ---------------------------------------------------------------------------------------------------------


def of_util(record: Record) -> dict:
    """The functions of `slicer.util` that show, install or end something, and now write it down."""

    def display(kind, answer):
        def show(text, windowTitle=None, *, detailedText=None):
            record.shown.append(Shown(kind, text, detailedText))
            return answer()

        return show

    def pip_install(requirements):
        """Of Slicer 5.10; newer ones take options, too."""
        if type(requirements) not in (str, list):
            raise ValueError("pip_install requirement input must be string or list")
        record.installed.append({"requirements": requirements})

    return {
        "errorDisplay": display("error", lambda: None),
        "infoDisplay": display("info", lambda: None),
        "confirmOkCancelDisplay": display("confirm", lambda: record.confirm),
        "mainWindow": lambda: None,
        "pip_install": pip_install,
        "pip_uninstall": record.uninstalled.append,
        "restart": lambda: record.restarts.append(True),
    }


def pip_functions(record: Record) -> dict:
    """The functions of `slicer.packaging`, since Slicer 5.11; they install nothing."""

    def note(constraints, **arguments):  # the file is gone when the call is over
        record.installed.append({"constraints_text": Path(constraints).read_text(encoding="utf-8"), **arguments})

    def pip_install(requirements, constraints=None, *, requester=None):
        note(constraints, requirements=requirements, requester=requester)

    def pip_ensure(requirements, constraints=None, *, prompt_install=True, requester=None):
        """Ask in a window of its own, unless told not to."""
        note(constraints, requirements=requirements, prompt_install=prompt_install, requester=requester)

    return {"pip_install": pip_install, "pip_ensure": pip_ensure}


def fresh(names) -> None:
    """Take modules out of what is imported, and off their packages, where `from package import` would find them."""
    for name in names:
        sys.modules.pop(name, None)
        package, _, short = name.rpartition(".")
        if package in sys.modules and short in vars(sys.modules[package]):
            delattr(sys.modules[package], short)
