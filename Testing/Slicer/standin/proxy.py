"""PythonQt's manners around PySide6: properties are attributes, methods are methods, and nothing else is there.

An object of Qt is wrapped in a proxy with a class that mirrors Qt's, so that `type(widget) is qt.QCheckBox` holds.
PySide is laxer than PythonQt in one way that matters: one may set any attribute. Here that raises, as in Slicer.
"""

# ruff: noqa: N802 (PythonQt calls these names)

import ctypes
import enum
import inspect
import logging
import sys
import traceback
from dataclasses import dataclass
from functools import cache

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaMethod, QObject

WAITING = {"exec", "exec_", "question", "information", "warning", "critical", "about", "getText", "getItem"}
"""Of dialogs: they would wait for somebody who is not there."""

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
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def normalized(signature: str) -> str:
    """As in `currentPathChanged(QString)`."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


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


def is_own(qt_class: type) -> bool:
    """Whether a class is a widget of the stand-in, of which only what it declares may be seen."""
    return issubclass(qt_class, QObject) and not qt_class.__module__.startswith(("PySide6", "Shiboken"))


def declared(qt_class: type, kind: str) -> dict[str, str]:
    """The table `SIGNALS` or `SLOTS` of the stand-in's widgets: normalised signature -> name in the class."""
    found: dict[str, str] = {}
    for one in reversed(qt_class.__mro__):
        found.update(one.__dict__.get(kind, {}))
    return found


@dataclass(frozen=True)
class Facts:
    """What a class's metaobject says: properties with their type and whether they can be set; signatures."""

    properties: dict[str, tuple[str, bool]]
    signals: list[str]
    slots: set[str]


@cache
def facts(qt_class: type) -> Facts:
    """Read once for each class: PySide takes the metaobject for gone when one of its objects is."""
    meta = qt_class.staticMetaObject
    properties = [meta.property(i) for i in range(meta.propertyCount())]
    signatures: dict[object, list[str]] = {}
    for i in range(meta.methodCount()):
        text = bytes(meta.method(i).methodSignature().data()).decode()
        if not text.startswith("_"):
            signatures.setdefault(meta.method(i).methodType(), []).append(text)
    kinds = QMetaMethod.MethodType
    return Facts(
        {str(p.name()): (p.typeName(), p.isWritable()) for p in properties if not str(p.name()).startswith("_")},
        [*declared(qt_class, "SIGNALS"), *signatures.get(kinds.Signal, [])],
        {*declared(qt_class, "SLOTS"), *signatures.get(kinds.Slot, [])},
    )


class ProxyClass(type):
    """Class of proxies: called, it makes the object of Qt; it has Qt's static functions and its unscoped enums."""

    def __new__(cls, name, bases, contents):
        if "_qt_class" not in contents:  # in Slicer that works, and calls what the class overrides
            raise TypeError(f"the stand-in has no classes of Python derived from {bases[0].__name__} ({name})")
        return super().__new__(cls, name, bases, contents)

    def __call__(cls, *arguments, **named):
        return wrap(cls._qt_class(*unwrap(arguments), **{k: unwrap(v) for k, v in named.items()}))

    def __getattr__(cls, name):
        if name.startswith("_"):
            raise AttributeError(f"{cls.__name__} has no {name}")
        found = getattr(cls._qt_class, name)
        if isinstance(found, enum.Enum | type | int):
            return found
        if callable(found):
            if name in WAITING and issubclass(cls._qt_class, QtWidgets.QDialog):
                raise RuntimeError(f"{cls.__name__}.{name} would wait for an answer")
            return lambda *arguments, **named: wrap(
                found(*[guarded(a) if inspect.isroutine(a) else a for a in unwrap(arguments)], **named)
            )
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


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
        if name in facts(type(target)).properties:
            return wrap(target.property(name))
        signatures = self._signatures(name)
        if signatures:
            return Signal(self, signatures)
        return self._method(name)

    def __setattr__(self, name, value):
        target = self._target
        name = "objectName" if name == "name" else name
        if name not in facts(type(target)).properties:
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        type_name, writable = facts(type(target)).properties[name]
        if not writable:
            raise AttributeError(f"Property '{name}' of {type(self).__name__} is not writable")
        if not _accepts(type_name, value) or not target.setProperty(name, unwrap(value)):
            raise AttributeError(
                f"Property '{name}' of type '{type_name}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )

    def __repr__(self):
        return f"{type(self).__name__} (at: {id(self._target):#x})"

    def __dir__(self):
        return sorted({*facts(type(self._target)).properties, "name"})

    # PythonQt's own additions to every object.

    def className(self):
        return type(self._target).__name__

    def connect(self, signal, function):
        """Connect a signal, by its signature, to a callable."""
        signature = normalized(signal)
        target = self._target
        if signature not in facts(type(target)).signals:
            raise AttributeError(f"{type(self).__name__} has no signal {signal!r}")
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        own = declared(type(target), "SIGNALS").get(signature)
        relay = guarded(function)
        if own is not None:
            connection = getattr(target, own).connect(relay)
        else:
            connection = QObject.connect(target, QtCore.SIGNAL(signature), relay)
        self._connections.setdefault((signature, function), []).append((connection, relay))
        return True

    def disconnect(self, signal, function):
        """Take a callable off a signal; whether it was there."""
        signature = normalized(signal)
        if signature not in facts(type(self._target)).signals:
            raise AttributeError(f"{type(self).__name__} has no signal {signal!r}")
        there = self._connections.pop((signature, function), [])
        for connection, _relay in there:
            QObject.disconnect(connection)
        return bool(there)

    def delete(self):
        """Delete it at once."""
        shiboken6.delete(self._target)

    def _signatures(self, name):
        return [s for s in facts(type(self._target)).signals if s.partition("(")[0] == name]

    def _method(self, name):
        target = self._target
        own = {s.partition("(")[0]: attribute for s, attribute in declared(type(target), "SLOTS").items()}
        attribute = own.get(name)
        if attribute is None:
            qt_class = next(c for c in type(target).__mro__ if not is_own(c))
            found = getattr(qt_class, name, None)
            if isinstance(found, enum.Enum):
                return found
            if not callable(found) or isinstance(found, type):
                raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
            attribute = name
        if name in WAITING and isinstance(target, QtWidgets.QDialog | QtWidgets.QMenu):
            raise RuntimeError(f"{type(self).__name__}.{name} would wait for an answer")
        bound = getattr(target, attribute)
        return lambda *arguments: wrap(bound(*unwrap(arguments)))


class Signal:
    """A signal as an attribute."""

    def __init__(self, proxy, signatures):
        # Of several, PythonQt takes the one that the header declares first.
        self._proxy, self._signature = proxy, signatures[0]

    def connect(self, function):
        return self._proxy.connect(self._signature, function)

    def disconnect(self, function):
        return self._proxy.disconnect(self._signature, function)

    def __call__(self, *arguments):
        own = declared(type(self._proxy._target), "SIGNALS").get(self._signature, self._signature.partition("(")[0])
        getattr(self._proxy._target, own).emit(*unwrap(arguments))


def _accepts(type_name: str, value) -> bool:
    # PythonQt is a little laxer with numbers and texts; a panel should not lean on it.
    if type_name == "QString":
        return isinstance(value, str)
    if type_name == "bool":
        return isinstance(value, bool)
    if type_name in ("int", "uint"):
        return isinstance(value, int)
    if type_name in ("double", "float"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if type_name == "QStringList":
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return value is not None


def lookup(name: str):
    """What the module `qt` has under a name: Qt's classes as proxies, its values as PySide has them."""
    for module in (QtWidgets, QtGui, QtCore):
        found = getattr(module, name, None)
        if found is not None:
            return class_of(found) if isinstance(found, type) and issubclass(found, QObject) else found
    raise AttributeError(f"module 'qt' has no attribute '{name}'")
