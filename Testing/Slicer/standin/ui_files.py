"""Reading of .ui files: what Slicer's loader would pass over with a warning, or not at all, is an error here."""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtWidgets
from PySide6.QtUiTools import QUiLoader as PySideLoader

from standin import proxy, widgets

OWN = {one.__name__: one for one in (*widgets.CTK, *widgets.QMRML)}


class UiError(ValueError):
    """A .ui file names something that is not there."""


class QUiLoader:
    """As `qt.QUiLoader`: `load(file)` gives the widget."""

    def load(self, file):
        tree = ElementTree.fromstring(bytes(proxy.unwrap(file).readAll().data()))
        check(tree)
        _flags_as_numbers(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        loader = PySideLoader()
        for one in OWN.values():
            loader.registerCustomWidget(one)
        widget = loader.load(buffer)
        if widget is None:
            raise UiError(loader.errorString())
        return proxy.wrap(widget)


def check(tree):
    """Check every name in a .ui file."""
    names = set()
    for node in tree.iter("widget"):
        name, class_name = node.get("name"), node.get("class")
        if name in names:
            raise UiError(f"two widgets are called {name!r}")
        names.add(name)
        found = OWN.get(class_name) or getattr(QtWidgets, class_name, None)
        if found is None:
            raise UiError(f"there is no widget {class_name!r}")
        for one in node.findall("property"):
            on_forms_only = one.get("stdset") == "0" or (class_name, one.get("name")) == ("QLabel", "buddy")
            if not on_forms_only and one.get("name") not in proxy.properties(found):
                raise UiError(f"{class_name} {name!r} has no property {one.get('name')!r}")
    for one in tree.iter("property"):
        buddy = one.findtext("cstring")
        if one.get("name") == "buddy" and buddy not in names:
            raise UiError(f"the buddy {buddy!r} is not in the panel")
    if tree.find("connections/connection") is not None:
        raise UiError("the stand-in makes no connections: connect in the panel's code")


def _flags_as_numbers(tree):
    """Write flags of the stand-in's widgets as numbers: Qt's loader knows those of its own classes only."""
    for flags in tree.iter("set"):
        scope, _, name = flags.text.partition("::")
        if scope in OWN:
            flags.tag, flags.text = "number", str(getattr(OWN[scope], name))
