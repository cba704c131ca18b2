"""Typed parameter nodes: what `slicer.parameterNodeWrapper` does with the types and widgets that the panel uses.

A small implementation of its own, that stores values as Slicer's does, so that scenes can be exchanged with it. Types
and widgets that Slicer knows and this does not raise, and so does every pair that Slicer does not know either.
"""
# ruff: noqa: N802 (Slicer calls it)

import enum
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk

from standin import proxy

CONNECTED = {
    ("QCheckBox", "bool"): ("checked", "stateChanged(int)"),
    ("QComboBox", "enum"): ("currentIndex", "currentIndexChanged(int)"),
    ("ctkSliderWidget", "float"): ("value", "valueChanged(double)"),
}
"""Classes of a widget and of a parameter -> property and signal of the widget."""

UNUSED = ("default", "isCached", "dataType", "getValue", "setValue", "connectParametersToGui")
"""Names that Slicer's wrapper has, too: a field of that name is refused."""


@dataclass(frozen=True)
class WithinRange:
    """As in `Annotated[float, WithinRange(0, 1)]`; both ends are in."""

    minimum: float
    maximum: float


class _Parameter:
    """How one field is written to a vtkMRMLScriptedModuleNode and read from it."""

    def __init__(self, name, annotation, default):
        self.name, self.default = name, default
        annotated = typing.get_origin(annotation) is typing.Annotated
        self.type, *notes = typing.get_args(annotation) if annotated else (annotation,)
        if not all(isinstance(one, WithinRange) for one in notes):
            raise TypeError(f"the stand-in does not know the annotations {notes} of {name}")
        self.range = notes[0] if notes else None
        self.is_node = issubclass(self.type, slicer.vtkMRMLNode)
        self.is_enum = issubclass(self.type, enum.Enum)
        if not (self.is_node or self.is_enum or self.type in (str, int, float, bool)):
            raise TypeError(f"the stand-in cannot store {name} of type {self.type}")

    def check(self, value):
        if value is None and not self.is_node:
            raise ValueError("Value must not be None")
        accepted = (int, float) if self.type is float else self.type
        if value is not None and not isinstance(value, accepted):
            raise TypeError(f"Value must be of type '{self.type}', is type '{type(value)}' value '{value}'")
        if self.range is not None and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"Value must be within {self.range}, is {value}")

    def write(self, node, value):
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node):
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)


def parameterNodeWrapper(classtype):
    """Make a class of annotated fields with defaults a typed view of a parameter node."""
    parameters = {}
    for name, annotation in typing.get_type_hints(classtype, include_extras=True).items():
        parameters[name] = _Parameter(name, annotation, getattr(classtype, name))
        setattr(classtype, name, _field(name))
    classtype.allParameters = parameters
    classtype.__init__ = _init
    functions = {one: _of_node(one) for one in ("StartModify", "EndModify", "RemoveObserver", "Modified")}
    functions |= {"AddObserver": _add_observer, "connectGui": _connect_gui, "disconnectGui": _disconnect_gui}
    for name in (*functions, *UNUSED):
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    for name, function in functions.items():
        setattr(classtype, name, function)
    return classtype


def _of_node(name):
    return lambda self, *arguments: getattr(self.parameterNode, name)(*arguments)


def _field(name):
    return property(lambda self: self._values[name], lambda self, value: _set(self, name, value))


def _init(self, node):
    self.parameterNode = node
    self._connectors, self._from_node = {}, False
    self._values = {name: one.read(node) for name, one in self.allParameters.items()}
    there = weakref.ref(self)  # the node must not keep its view alive
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, proxy.guarded(lambda: _read_all(there())))


def _read_all(self):
    if self is None:
        return
    for name, parameter in self.allParameters.items():
        self._values[name] = parameter.read(self.parameterNode)


def _set(self, name, value):
    """Validate, store, and read back before observers are notified."""
    parameter = self.allParameters[name]
    was = self.parameterNode.StartModify()
    try:
        parameter.write(self.parameterNode, value)
        self._values[name] = parameter.read(self.parameterNode)
    finally:
        self.parameterNode.EndModify(was)


def _add_observer(self, event, callback, priority=0.0):
    return self.parameterNode.AddObserver(event, proxy.guarded(callback), priority)


# -- widgets -----------------------------------------------------------------------------------------------------------


class _Connector:
    """One widget and one parameter, by the widget's property and its signal."""

    def __init__(self, widget, parameter):
        kinds = type(widget).__name__, "enum" if parameter.is_enum else parameter.type.__name__
        if kinds not in CONNECTED:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{kinds[1]}' to widget type '{kinds[0]}'."
            )
        self.widget, self.parameter = widget, parameter
        self.attribute, self.signal = CONNECTED[kinds]
        if kinds[0] == "ctkSliderWidget":
            if parameter.range is None:
                raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
            widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
        if parameter.is_enum:
            widget.clear()
            for one in parameter.type:
                widget.addItem(one.label())

    def read(self):
        value = getattr(self.widget, self.attribute)
        return list(self.parameter.type)[value] if self.parameter.is_enum else value

    def write(self, value):
        if self.parameter.is_enum:
            value = list(self.parameter.type).index(value)
        setattr(self.widget, self.attribute, value)

    def follow(self, function):
        self.function = function
        self.widget.connect(self.signal, function)

    def let_go(self):
        self.widget.disconnect(self.signal, self.function)


def _connect_gui(self, gui):
    """Tie every widget with the dynamic property SlicerParameterName to its parameter; the result undoes it."""
    if self._connectors:
        raise RuntimeError("the stand-in connects one panel at a time")
    connectors = {}
    for widget in gui.__dict__.values():
        if name := widget.property("SlicerParameterName"):
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            connectors[name] = _Connector(widget, self.allParameters[name])
    for name, connector in connectors.items():
        connector.write(self._values[name])
        connector.follow(_from_widget(self, name, connector))
    self._connectors = connectors
    return self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda: _to_widgets(self))


def _from_widget(self, name, connector):
    def changed():
        if not self._from_node:
            _set(self, name, connector.read())

    return changed


def _to_widgets(self):
    if self._from_node:
        return
    self._from_node = True
    was = self.StartModify()
    try:
        for name, connector in self._connectors.items():
            connector.write(self._values[name])
    finally:
        self.EndModify(was)
        self._from_node = False


def _disconnect_gui(self, tag):
    """Undo a connectGui."""
    connectors, self._connectors = self._connectors, {}
    for connector in connectors.values():
        connector.let_go()
    self.RemoveObserver(tag)
