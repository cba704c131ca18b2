"""Reading of .ui files: what Slicer's loader would pass over with a warning, or not at all, is an error here."""

# ruff: noqa: N802 (Qt calls it)

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtWidgets
from PySide6.QtUiTools import QUiLoader as PySideLoader

from standin import proxy

FORM_ONLY = {("QLabel", "buddy")}
"""What only forms know as a property."""


class UiError(ValueError):
    """A .ui file names something that is not there."""


class Loader(PySideLoader):
    """Qt's loader, with the stand-in's widgets."""

    def __init__(self, own, parent=None):
        super().__init__(parent)
        self._own = own

    def createWidget(self, class_name, parent=None, name=""):
        if class_name in self._own:
            made = self._own[class_name](parent)
            made.setObjectName(name)
            return made
        return super().createWidget(class_name, parent, name)


class QUiLoader:
    """As `qt.QUiLoader`: `load(file)` gives the widget."""

    own: dict[str, type] = {}  # noqa: RUF012 (filled by what installs the stand-in)

    def load(self, file, parent=None):
        device = proxy.unwrap(file)
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = checked(tree, self.own)
        late = _taken_out(tree, self.own)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        loader = Loader(self.own)
        widget = loader.load(buffer, proxy.unwrap(parent))
        if widget is None:
            raise UiError(loader.errorString())
        for name, key, value in late:
            proxy.wrap(_named(widget, name)).__setattr__(key, value)
        for sender, signal, receiver, slot in connections:
            _connect(_named(widget, sender), signal, _named(widget, receiver), slot)
        return proxy.wrap(widget)


def checked(tree, own) -> list[tuple[str, str, str, str]]:
    """Check every name in a .ui file, and give its connections."""
    classes = {}
    for node in tree.iter("widget"):
        name, class_name = node.get("name"), node.get("class")
        if name in classes:
            raise UiError(f"two widgets are called {name!r}")
        classes[name] = _class(class_name, own)
        for one in node.findall("property"):
            exempt = one.get("stdset") == "0" or (class_name, one.get("name")) in FORM_ONLY
            if not exempt and one.get("name") not in proxy.facts(classes[name]).properties:
                raise UiError(f"{class_name} {name!r} has no property {one.get('name')!r}")
    for one in tree.iter("property"):
        buddy = one.findtext("cstring")
        if one.get("name") == "buddy" and buddy not in classes:
            raise UiError(f"the buddy {buddy!r} is not in the panel")
    connections = []
    for one in tree.iter("connection"):
        sender, signal, receiver, slot = (one.findtext(k) for k in ("sender", "signal", "receiver", "slot"))
        signal, slot = proxy.normalized(signal), proxy.normalized(slot)
        for name in (sender, receiver):
            if name not in classes:
                raise UiError(f"{name!r} in a connection is not in the panel")
        if signal not in proxy.facts(classes[sender]).signals:
            raise UiError(f"{classes[sender].__name__} {sender!r} has no signal {signal!r}")
        facts = proxy.facts(classes[receiver])
        if slot not in facts.slots and slot not in facts.signals:
            raise UiError(f"{classes[receiver].__name__} {receiver!r} has no slot {slot!r}")
        connections.append((sender, signal, receiver, slot))
    return connections


def _class(name, own):
    if name in own:
        return own[name]
    found = getattr(QtWidgets, name, None)
    if found is None or not issubclass(found, QtWidgets.QWidget):
        raise UiError(f"there is no widget {name!r}")
    return found


def _taken_out(tree, own):
    """Take out of the file what Qt's loader cannot do for widgets written in Python: their enums and connections."""
    late = []
    for node in tree.iter("widget"):
        for one in node.findall("property"):
            written = one.findtext("set") or one.findtext("enum")
            scope, _, _rest = (written or "").partition("::")
            if scope in own:
                value = 0
                for flag in written.split("|"):
                    value |= getattr(own[scope], flag.rpartition("::")[2])
                late.append((node.get("name"), one.get("name"), value))
                node.remove(one)
    for one in tree.findall("connections"):
        tree.remove(one)
    return late


def _named(widget, name):
    return widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)


def _connect(sender, signal, receiver, slot):
    own = proxy.declared(type(receiver), "SLOTS").get(slot, slot.partition("(")[0])
    proxy.wrap(sender).connect(signal, getattr(receiver, own))
