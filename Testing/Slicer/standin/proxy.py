"""PythonQt's manners around PySide6: properties are attributes, methods are methods, and nothing else is there.

An object of Qt is wrapped in a proxy with a class that mirrors Qt's, so that `type(widget) is qt.QCheckBox` holds.
PySide is laxer than PythonQt in one way that matters: one may set any attribute. Here that raises, as in Slicer.
"""

import ctypes
import enum
import inspect
import logging
import sys
import traceback
from functools import cache

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaMethod, QObject

if sys.version_info < (3, 12):
    # PySide 6.12 gives out None and True without counting them, as newer Pythons allow; an older one would end with a
    # fatal error once it had counted down. So there are some to spare, in a tuple that is never freed.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object((None, True, False) * 300_000))

_classes: dict[type, type] = {}
_proxies: dict[int, "Proxy"] = {}
errors: list[str] = []
"""Tracebacks of what went wrong in a handler: PythonQt prints them, and a test would miss them."""


def forget() -> None:
    """Delete what was made, and start anew: no proxies, no errors."""
    for target in [proxy._target for proxy in _proxies.values()]:
        if shiboken6.isValid(target) and target.parent() is None:
            target.blockSignals(True)
            if isinstance(target, QtWidgets.QWidget):
                target.hide()
            target.deleteLater()
    _proxies.clear()
    errors.clear()


def guarded(function):
    """Call `function` as PythonQt does: with as many arguments as it takes, and without letting an error out."""

    def relay(*arguments):
        try:
            return function(*[wrap(a) for a in arguments[: _takes(function)]])
        except Exception:
            errors.append(traceback.format_exc())
            logging.exception("in a handler")
            return None

    return relay


def _takes(function) -> int | None:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def wrap(value):
    """An object of Qt as PythonQt shows it; other values as they are."""
    if isinstance(value, QObject):
        address = shiboken6.getCppPointer(value)[0]
        known = _proxies.get(address)
        if known is None or not shiboken6.isValid(known._target) or type(known) is not class_of(type(value)):
            known = object.__new__(class_of(type(value)))
            object.__setattr__(known, "_target", value)
            object.__setattr__(known, "_connections", {})
            _proxies[address] = known
        return known
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(wrap(one) for one in value)
    return value


def unwrap(value):
    """The object of Qt behind a proxy, the class of PySide behind a proxy's class."""
    if isinstance(value, Proxy):
        return value._target
    if isinstance(value, ProxyClass):
        return value._qt_class
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(unwrap(one) for one in value)
    return value


def class_of(qt_class: type) -> type:
    """The proxies' class for a class of Qt, or for one of the stand-in's own widgets."""
    if qt_class not in _classes:
        bases = tuple(class_of(b) for b in qt_class.__bases__ if issubclass(b, QObject)) or (Proxy,)
        _classes[qt_class] = ProxyClass(qt_class.__name__, bases, {"_qt_class": qt_class, "__slots__": ()})
    return _classes[qt_class]


@cache
def properties(qt_class: type) -> dict[str, tuple[str, bool]]:
    """Properties of a class, with their type and whether they can be set.

    Read once for each class: PySide takes the metaobject for gone when one of its objects is.
    """
    meta = qt_class.staticMetaObject
    found = [meta.property(i) for i in range(meta.propertyCount())]
    return {str(one.name()): (one.typeName(), one.isWritable()) for one in found}


@cache
def signals(qt_class: type) -> list[str]:
    """Signatures of a class's signals, as in `currentPathChanged(QString)`."""
    meta = qt_class.staticMetaObject
    found = [meta.method(i) for i in range(meta.methodCount())]
    return [one.methodSignature().data().decode() for one in found if one.methodType() is QMetaMethod.MethodType.Signal]


class ProxyClass(type):
    """Class of proxies: called, it makes the object of Qt; it has Qt's unscoped enums, and no static functions."""

    def __new__(cls, name, bases, contents):
        if "_qt_class" not in contents:  # in Slicer that works, and calls what the class overrides
            raise TypeError(f"the stand-in has no classes of Python derived from {bases[0].__name__} ({name})")
        return super().__new__(cls, name, bases, contents)

    def __call__(cls, *arguments):
        return wrap(cls._qt_class(*unwrap(arguments)))

    def __getattr__(cls, name):
        found = getattr(cls._qt_class, name)
        if isinstance(found, enum.Enum | type | int):
            return found
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}' in the stand-in")


class Proxy(metaclass=ProxyClass):
    """An object of Qt as PythonQt shows it."""

    __slots__ = ("__weakref__", "_connections", "_target")
    _qt_class = QObject

    def __getattr__(self, name):
        target = self._target
        if not shiboken6.isValid(target):
            raise ValueError(f"Trying to call '{name}' on a destroyed {type(self).__name__} object")
        if name == "name":
            return target.objectName()
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        if name in properties(type(target)):
            return wrap(target.property(name))
        if any(one.startswith(f"{name}(") for one in signals(type(target))):
            return lambda *arguments: getattr(target, name).emit(*unwrap(arguments))
        return self._method(name)

    def __setattr__(self, name, value):
        target = self._target
        name = "objectName" if name == "name" else name
        if name not in properties(type(target)):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        type_name, writable = properties(type(target))[name]
        if not writable:
            raise AttributeError(f"Property '{name}' of {type(self).__name__} is not writable")
        if not _accepts(type_name, value) or not target.setProperty(name, unwrap(value)):
            raise AttributeError(
                f"Property '{name}' of type '{type_name}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )

    def connect(self, signal, function):
        """Connect a signal, by its signature, to a callable."""
        if signal not in signals(type(self._target)):
            raise AttributeError(f"{type(self).__name__} has no signal {signal!r}")
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        relay = guarded(function)
        connection = QObject.connect(self._target, QtCore.SIGNAL(signal), relay)
        self._connections.setdefault((signal, function), []).append((connection, relay))
        return True

    def disconnect(self, signal, function):
        """Take a callable off a signal that it is connected to."""
        for connection, _relay in self._connections.pop((signal, function)):
            QObject.disconnect(connection)
        return True

    def _method(self, name):
        target = self._target
        found = getattr(type(target), name, None)
        if not callable(found) or isinstance(found, type):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        bound = getattr(target, name)
        return lambda *arguments: wrap(bound(*unwrap(arguments)))


ACCEPTED = {"QString": str, "bool": bool, "int": int, "uint": int, "double": int | float, "float": int | float}
"""Types of Qt's properties -> those of Python. PythonQt is a little laxer; a panel should not lean on it."""


def _accepts(type_name: str, value) -> bool:
    if type_name == "QStringList":
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    if type_name in ("double", "float") and isinstance(value, bool):
        return False
    return value is not None and isinstance(value, ACCEPTED.get(type_name, object))


def lookup(name: str):
    """What the module `qt` has under a name: Qt's classes as proxies, its values as PySide has them."""
    for module in (QtWidgets, QtGui, QtCore):
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, QtWidgets.QDialog | QtWidgets.QMenu):
            raise RuntimeError(f"a {name} would wait for somebody who is not there")
        if found is not None:
            return class_of(found) if isinstance(found, type) and issubclass(found, QObject) else found
    raise AttributeError(f"module 'qt' has no attribute '{name}'")
