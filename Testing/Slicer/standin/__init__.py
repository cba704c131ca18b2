"""A stand-in for the desktop parts of 3D Slicer on PySide6: the real module and its real panel load, without Slicer.

MRML is the real one, of the package slicer-core, and so is the greater part of `slicer.util`. Qt is real too, by
PySide6, behind proxies that behave as PythonQt's do; CTK's and Slicer's widgets are stand-ins of their own, with the
names that the real ones declare and no others. It shows that a panel holds together; that it runs in Slicer, Slicer
must show.

What it does was read in the sources of Slicer (5.10, 5.12, main) and CTK, and compared with no running Slicer. Open:

- values of Qt (QSize, QColor, QUrl, events): here they are PySide's, with methods and enums as PySide has them. Whether
  PythonQt takes an int, a text or None where PySide takes an enum or an object is not shown here, nor the opposite;
- enums: those of Qt 6, scoped and not. Slicer's builds with Qt 5 lack what is new, and have some names no longer there;
- lists that Qt gives are lists here, and tuples from PythonQt;
- classes of Python derived from Qt's, which PythonQt knows: they raise here;
- which of several overloads PythonQt takes for a call, and who owns an object that nobody keeps;
- looks: Fusion, with the fonts at hand. What Qt makes of the HTML of a tooltip or a label depends on both;
- the children of a folded section: CTK hides them, here they are cut off and say that they are visible;
- paths that a ctkPathLineEdit remembers from one session to the next, and its dialogs: they are missing here;
- translations, settings, the order in which modules are loaded, real views, and what other modules do to the scene.
"""

import contextlib
import importlib
import os
import sys
import types
from pathlib import Path
from unittest import mock

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import GTRReadingSlicer
import GTRStagingSlicer
import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from standin import application, parameters, proxy, ui_files, widgets

MODULE, READING = "GTRStaging", "GTRReading"
MODULE_FOLDERS = [str(Path(one.__file__).resolve().parents[1]) for one in (GTRStagingSlicer, GTRReadingSlicer)]
"""Where the modules lie: beside the packages that Python finds, in the source tree or in one that was installed."""


class Standin:
    """The stand-in while it is installed; `record` tells what would have been seen, opened and installed."""

    def __init__(self, bare, version):
        self.bare, self.version = bare, version
        self._samples = {"5.10": application.SampleDataLogic, "5.12": application.TitledSampleDataLogic}[version]
        self.record = application.Record()
        self.shown = self.record.shown
        self._put_in = contextlib.ExitStack()
        self._modules: list[str] = []

    def open_module(self, name=MODULE):
        """Load a real module, its panel set up, entered and shown, as when a person chooses it in Slicer."""
        module = importlib.import_module(name)
        parent = application._ModuleParent()
        self.module = getattr(module, name)(parent)
        frame = widgets.qSlicerScriptedLoadableModuleWidget()
        QtWidgets.QVBoxLayout(frame)
        widget = getattr(module, f"{name}Widget")(proxy.wrap(frame))
        frame._python, parent._widget = widget, proxy.wrap(frame)
        setattr(slicer.modules, name.lower(), parent)
        widget.setup()
        frame._entered = True
        widget.enter()
        frame.resize(560, 1100)
        frame.show()
        QtWidgets.QApplication.processEvents()
        return widget

    def startup_completed(self):
        """What Slicer tells its modules once it is up: sample data are registered then."""
        for one in self.record.at_startup:
            one()

    def photograph(self, widget, path, width: int = 560):
        """Write a picture of a widget, as high as its contents ask for."""
        target = proxy.unwrap(widget)
        top = target.window()
        for _ in range(3):  # labels that wrap know their height when their width is set
            top.resize(width, max(top.layout().totalHeightForWidth(width), top.sizeHint().height()))
            QtWidgets.QApplication.processEvents()
        if not target.grab().save(str(path)):
            raise OSError(f"cannot write {path}")

    # -- putting in and taking out -------------------------------------------------------------------------------------

    def _put(self, owner, name, value):
        self._put_in.enter_context(mock.patch.object(owner, name, value, create=True))

    def _put_module(self, name, **contents):
        made = types.ModuleType(name)
        vars(made).update(contents)
        sys.modules[name] = made
        self._modules.append(name)
        package, _, short = name.rpartition(".")
        if package:
            self._put(sys.modules[package], short, made)
        return made

    def _install(self):
        self.application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standin"])
        self.application.setStyle("Fusion")
        QtCore.qInstallMessageHandler(_say)
        proxy.forget()
        record = self.record
        self.qt = self._put_module("qt", __getattr__=proxy.lookup, QUiLoader=ui_files.QUiLoader, **_desktop(record))
        self._put_module("ctk", **{one.__name__: proxy.class_of(one) for one in widgets.CTK})
        self._put_module("SampleData", SampleDataLogic=self._samples)
        for one in widgets.QMRML:
            self._put(slicer, one.__name__, proxy.class_of(one))
        self._put(sys, "path", [*sys.path, *MODULE_FOLDERS])
        self._put(slicer, "mrmlScene", self.bare.scene)
        self._put(slicer, "modules", types.SimpleNamespace())
        self._put(slicer, "app", application.app(self.bare, record))
        self._put_module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
        scripted = {name: one for name, one in vars(application).items() if name.startswith("ScriptedLoadable")}
        self._put_module("slicer.ScriptedLoadableModule", **scripted)
        self._put_module(
            "slicer.parameterNodeWrapper",
            parameterNodeWrapper=parameters.parameterNodeWrapper,
            WithinRange=parameters.WithinRange,
        )
        if self.version != "5.10":
            self._put_module("slicer.packaging", **application.pip_functions(record))
        self._put(slicer.util, "selectModule", _select)
        for name, function in application.of_util(record).items():
            self._put(slicer.util, name, function)
        return self

    def uninstall(self):
        """Take everything out again; a handler's error or a warning of Qt that nobody looked at comes up here."""
        for name in (MODULE, READING):
            there = getattr(slicer.modules, name.lower(), None)
            if there is not None and there.widgetRepresentation() is not None:
                there.widgetRepresentation().self().cleanup()
        errors = list(proxy.errors)
        proxy.forget()
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        QtCore.qInstallMessageHandler(None)
        self._put_in.close()
        packages = ("GTRStagingSlicer.logic", "GTRStagingSlicer.selftest", "GTRStagingSlicer.words",
                    "GTRReadingSlicer.selftest")  # fmt: skip
        users = {n for n, m in list(sys.modules.items()) if n.startswith((MODULE, READING)) and "qt" in vars(m)}
        application.fresh({MODULE, READING, *self._modules, *packages} | users)
        if errors:
            raise AssertionError("what PythonQt and Qt would only print:\n" + "\n".join(errors))


def install(bare, version="5.12") -> Standin:
    """Put the stand-in in place, around a scene of `GTRStagingSlicer.bare.bare_scene()`.

    As "5.10" it has no `slicer.packaging` and no `registerCustomSampleDataCategory`, and is as 5.12 otherwise.
    """
    return Standin(bare, version)._install()


def _select(name):
    """Choose a module: there are these two, and each stays chosen once it is open."""
    if not (name in (MODULE, READING) and hasattr(slicer.modules, name.lower())):
        raise RuntimeError(f"the stand-in has no module {name!r} that is open")


def _say(kind, context, message):
    if message.startswith(
        ("QFormLayout", "QLayout", "QObject", "QWidget")
    ):  # what the panel does wrong, not the system
        proxy.errors.append(f"Qt: {message}")
    elif "propagateSizeHints" not in message:  # printed for each window without a screen
        sys.stderr.write(f"Qt: {message}\n")


def _desktop(record):
    """What would open a window of the system: it is answered from `record.answers`, or as if it were cancelled."""

    def ask(name):
        return staticmethod(lambda *arguments: record.answers.get(name, ""))

    def open_url(url):
        record.opened.append(url.toString())
        return True

    files = ("getExistingDirectory", "getOpenFileName")
    return {
        "QFileDialog": type("QFileDialog", (), {name: ask(name) for name in files}),
        "QInputDialog": type("QInputDialog", (), {"getItem": ask("getItem")}),
        "QDesktopServices": type("QDesktopServices", (), {"openUrl": staticmethod(open_url)}),
    }
