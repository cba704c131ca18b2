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
- paths that a ctkPathLineEdit remembers from one session to the next, and its dialogs: they are missing here;
- translations, settings, the order in which modules are loaded, real views, and what other modules do to the scene.
"""

import importlib
import os
import sys
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import GTRStagingSlicer
import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from standin import application, ctk_widgets, mrml_widgets, parameters, proxy, ui_files

MODULE = "GTRStaging"
MODULE_FOLDER = Path(GTRStagingSlicer.__file__).resolve().parents[1]
"""Where the module lies: beside the package that Python finds, in the source tree or in one that was installed."""
VERSIONS = ("5.10", "5.12")
_MISSING = object()


class Standin:
    """The stand-in while it is installed; `record` tells what would have been seen, opened and installed."""

    def __init__(self, bare, version):
        if version not in VERSIONS:
            raise ValueError(f"no stand-in for Slicer {version}; there is one for {' and '.join(VERSIONS)}")
        self.bare, self.version = bare, version
        self.record = application.Record()
        self.errors = proxy.errors
        self._before: list[tuple[object, str, object]] = []
        self._added_path = False

    # What tests read and set most.

    @property
    def shown(self):
        """Messages, in order."""
        return self.record.shown

    @property
    def qt(self):
        """The module `qt`."""
        return sys.modules["qt"]

    def open_module(self):
        """Load the real module, its panel set up, entered and shown, as when a person chooses it in Slicer."""
        if str(MODULE_FOLDER) not in sys.path:
            sys.path.insert(0, str(MODULE_FOLDER))
            self._added_path = True
        module = importlib.import_module(MODULE)
        parent = application._ModuleParent(MODULE, module.__file__)
        self.module = getattr(module, MODULE)(parent)
        frame = mrml_widgets.qSlicerScriptedLoadableModuleWidget()
        QtWidgets.QVBoxLayout(frame)
        widget = getattr(module, f"{MODULE}Widget")(proxy.wrap(frame))
        frame._python, parent._widget = widget, proxy.wrap(frame)
        setattr(slicer.modules, MODULE.lower(), parent)
        widget.setup()
        frame._entered = True
        widget.enter()
        frame.resize(560, 1100)
        frame.show()
        QtWidgets.QApplication.processEvents()
        return widget

    def startup_completed(self):
        """What Slicer tells its modules once it is up: sample data are registered then."""
        slicer.app._startup_completed()

    def load_ui(self, text: str):
        """A panel from the text of a .ui file."""
        buffer = QtCore.QBuffer()
        buffer.setData(text.encode())
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        return ui_files.QUiLoader().load(buffer)

    def photograph(self, widget, path, width: int = 560) -> Path:
        """Write a picture of a widget, as high as its contents ask for."""
        target = proxy.unwrap(widget)
        top = target.window()
        top.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
        top.show()
        for _ in range(3):  # labels that wrap know their height when their width is set
            layout = top.layout()
            high = layout.totalHeightForWidth(width) if layout is not None and layout.hasHeightForWidth() else -1
            top.resize(width, max(high, top.sizeHint().height()))
            QtWidgets.QApplication.processEvents()
        picture = QtGui.QPixmap(target.size())
        picture.fill(target.palette().window().color())
        target.render(picture)
        if not picture.save(str(path)):
            raise OSError(f"cannot write {path}")
        return Path(path)

    # -- putting in and taking out -------------------------------------------------------------------------------------

    def _put(self, owner, name, value):
        self._before.append((owner, name, getattr(owner, name, _MISSING)))
        setattr(owner, name, value)

    def _put_module(self, name, **contents):
        made = types.ModuleType(name)
        vars(made).update(contents)
        sys.modules[name] = made
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
        ui_files.QUiLoader.own = {one.__name__: one for one in (*ctk_widgets.CTK, *mrml_widgets.QMRML)}
        self._put_module("qt", __getattr__=proxy.lookup, QUiLoader=ui_files.QUiLoader, **_desktop(record))
        self._put_module("ctk", **{one.__name__: proxy.class_of(one) for one in ctk_widgets.CTK})
        old = self.version == "5.10"
        samples = application.SampleDataLogic if old else application.TitledSampleDataLogic
        self._put_module("SampleData", SampleDataLogic=samples)
        for one in mrml_widgets.QMRML:
            self._put(slicer, one.__name__, proxy.class_of(one))
        self._put(slicer, "mrmlScene", self.bare.scene)
        self._put(slicer, "modules", types.SimpleNamespace())
        self._put(slicer, "app", application.Application(self.bare, record))
        self._put_module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
        test = type("ScriptedLoadableModuleTest", (application.ScriptedLoadableModuleTest,), {"record": record})
        self._put_module(
            "slicer.ScriptedLoadableModule",
            ScriptedLoadableModule=application.ScriptedLoadableModule,
            ScriptedLoadableModuleWidget=application.ScriptedLoadableModuleWidget,
            ScriptedLoadableModuleLogic=application.ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest=test,
        )
        self._put_module(
            "slicer.parameterNodeWrapper",
            parameterNodeWrapper=parameters.parameterNodeWrapper,
            WithinRange=parameters.WithinRange,
        )
        pip_install, of_packaging = application.pip_installers(record, self.version)
        if of_packaging is not None:
            self._put_module("slicer.packaging", **of_packaging)
        functions = {**application.messages(record), "selectModule": self._select, "pip_install": pip_install}
        functions |= {"pip_uninstall": record.uninstalled.append, "restart": lambda: record.restarts.append(True)}
        for name, function in functions.items():
            self._put(slicer.util, name, function)
        return self

    def _select(self, module):
        name = module if isinstance(module, str) else module.name
        if name != MODULE:
            raise RuntimeError(f"the stand-in has no module {name!r}")
        self.record.modules.append(name)
        there = getattr(slicer.modules, MODULE.lower(), None)
        if there is None:
            self.open_module()
            return
        frame = proxy.unwrap(there.widgetRepresentation())
        if not frame._entered:
            frame._entered = True
            frame._python.enter()

    def uninstall(self):
        """Take everything out again; a handler's error that nobody looked at comes up here."""
        there = getattr(slicer.modules, MODULE.lower(), None)
        if there is not None and there.widgetRepresentation() is not None:
            there.widgetRepresentation().self().cleanup()
        errors = list(self.errors)
        proxy.forget()
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        QtCore.qInstallMessageHandler(None)
        for owner, name, value in reversed(self._before):
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        ours = {"qt", "ctk", "SampleData", MODULE, "slicer.i18n", "slicer.ScriptedLoadableModule"}
        ours |= {"slicer.parameterNodeWrapper", "slicer.packaging"}
        packages = ("GTRStagingSlicer.logic", "GTRStagingSlicer.selftest", "GTRStagingSlicer.words")
        users = {n for n, m in list(sys.modules.items()) if n.startswith(MODULE) and "qt" in vars(m)}
        application.fresh(ours | set(packages) | users)
        if self._added_path:
            sys.path.remove(str(MODULE_FOLDER))
        if errors:
            raise AssertionError("errors in handlers, where PythonQt would only print them:\n" + "\n".join(errors))


def install(bare, version="5.12") -> Standin:
    """Put the stand-in in place, around a scene of `GTRStagingSlicer.bare.bare_scene()`.

    As "5.10" it has no `slicer.packaging` and no `registerCustomSampleDataCategory`, and is as 5.12 otherwise.
    """
    return Standin(bare, version)._install()


def _say(kind, context, message):
    if "propagateSizeHints" not in message:  # printed for each window without a screen
        sys.stderr.write(f"Qt: {message}\n")


def _desktop(record):
    """What would open a window of the system: it is written down, and answered from `record.answers`."""

    def ask(name, empty):
        def asked(parent=None, caption="", directory="", *rest):
            record.asked.append((name, caption, directory, *rest))
            return record.answers.get(name, empty)

        return staticmethod(asked)

    def open_url(url):
        record.opened.append(url.toString())
        return True

    dialogs = {
        "getExistingDirectory": ask("getExistingDirectory", ""),
        "getOpenFileName": ask("getOpenFileName", ""),
        "getSaveFileName": ask("getSaveFileName", ""),
        "getOpenFileNames": ask("getOpenFileNames", ()),
    }
    return {
        "QFileDialog": type("QFileDialog", (), dialogs),
        "QInputDialog": type("QInputDialog", (), {"getItem": ask("getItem", "")}),
        "QDesktopServices": type("QDesktopServices", (), {"openUrl": staticmethod(open_url)}),
    }
