"""Typed parameter nodes: what `slicer.parameterNodeWrapper` does with the types and widgets that panels here use.

A small implementation of its own, that stores values as Slicer's does, so that scenes can be exchanged with it. Types
and widgets that Slicer knows and this does not raise, and so does every pair that Slicer does not know either.
"""
# ruff: noqa: N802, N803 (Slicer calls these names)

import enum
import typing
import weakref

import slicer
import vtk

from standin import proxy


class WithinRange:
    """As in `Annotated[float, WithinRange(0, 1)]`; both ends are in."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class _Parameter:
    """How one field is written to a vtkMRMLScriptedModuleNode and read from it."""

    def __init__(self, name, annotation, default):
        self.name, self.annotation = name, annotation
        annotated = typing.get_origin(annotation) is typing.Annotated
        self.type, *notes = typing.get_args(annotation) if annotated else (annotation,)
        unknown = [one for one in notes if not isinstance(one, WithinRange)]
        if unknown:
            raise TypeError(f"the stand-in does not know the annotations {unknown} of {name}")
        self.range = notes[0] if notes else None
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.type, type) and issubclass(self.type, enum.Enum)
        if not (self.is_node or self.is_enum or self.type in (str, int, float, bool)):
            raise TypeError(f"the stand-in cannot store {name} of type {self.type}")
        if default is ...:
            default = None if self.is_node else next(iter(self.type)) if self.is_enum else self.type()
        self.default = default

    def check(self, value):
        if value is None and not self.is_node:
            raise ValueError("Value must not be None")
        accepted = (int, float) if self.type is float else self.type
        if value is not None and not isinstance(value, accepted):
            raise TypeError(f"Value must be of type '{self.type}', is type '{type(value)}' value '{value}'")
        if self.range is not None:
            self.range.validate(value)

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


def parameterNodeWrapper(classtype=None):
    """Make a class of annotated fields a typed view of a parameter node."""
    if classtype is None:
        return parameterNodeWrapper
    parameters = {}
    for name, annotation in typing.get_type_hints(classtype, include_extras=True).items():
        parameters[name] = _Parameter(name, annotation, getattr(classtype, name, ...))
        setattr(classtype, name, _field(name))
    classtype.allParameters = parameters
    classtype.__init__ = _init
    for function in (
        connectGui, disconnectGui, getValue, setValue, dataType,
        StartModify, EndModify, AddObserver, RemoveObserver, Modified,
    ):  # fmt: skip
        if hasattr(classtype, function.__name__):
            raise ValueError(f"Cannot use reserved name '{function.__name__}' in a parameterNodeWrapper")
        setattr(classtype, function.__name__, function)
    return classtype


def _field(name):
    return property(lambda self: self._values[name], lambda self, value: setValue(self, name, value))


def _init(self, parameterNode, prefix=None):
    if prefix:
        raise NotImplementedError("the stand-in has no prefixes")
    self.parameterNode = parameterNode
    self._values, self._writing, self._guis, self._from_node = {}, None, {}, False
    for name, parameter in self.allParameters.items():
        if not parameterNode.HasParameter(name):
            parameter.write(parameterNode, parameter.default)
        self._values[name] = parameter.read(parameterNode)
    there = weakref.ref(self)  # the node must not keep its view alive
    parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, proxy.guarded(lambda: _read_all(there())))


def _read_all(self):
    if self is None:
        return
    for name, parameter in self.allParameters.items():
        if name != self._writing:
            self._values[name] = parameter.read(self.parameterNode)


def getValue(self, name):
    return self._values[name]


def setValue(self, name, value):
    """Validate, store, and read back before observers are notified."""
    parameter = self.allParameters[name]
    before, self._writing = self._writing, name
    was = self.parameterNode.StartModify()
    try:
        parameter.write(self.parameterNode, value)
        self._values[name] = parameter.read(self.parameterNode)
    finally:
        self.parameterNode.EndModify(was)
        self._writing = before


def dataType(self, name):
    return self.allParameters[name].annotation


def StartModify(self):
    return self.parameterNode.StartModify()


def EndModify(self, was):
    return self.parameterNode.EndModify(was)


def AddObserver(self, event, callback, priority=0.0):
    return self.parameterNode.AddObserver(event, proxy.guarded(callback), priority)


def RemoveObserver(self, tag):
    return self.parameterNode.RemoveObserver(tag)


def Modified(self):
    return self.parameterNode.Modified()


# -- widgets -----------------------------------------------------------------------------------------------------------


class _Connector:
    """One widget and one parameter, by the widget's property and its signal."""

    def __init__(self, widget, parameter):
        self.widget, self.parameter, self.function = widget, parameter, None
        kind, of = type(widget), parameter.type
        qt = proxy.lookup
        if kind is qt("QCheckBox") and of is bool:
            self.attribute, self.signal = "checked", "stateChanged"
        elif kind in (qt("QSlider"), qt("QSpinBox")) and of is int:
            self.attribute, self.signal = "value", "valueChanged"
            if kind is qt("QSlider") and parameter.range is None:
                raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
            low, high = -(2**31), 2**31 - 1
            if parameter.range is not None:
                low, high = parameter.range.minimum, parameter.range.maximum
            widget.setRange(low, high)
        elif kind.__name__ in ("QDoubleSpinBox", "ctkSliderWidget") and of in (int, float):
            self.attribute, self.signal = "value", "valueChanged"
            if of is int:
                widget.decimals = 0
            if parameter.range is not None:
                widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
            elif kind.__name__ == "ctkSliderWidget":
                raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
            else:
                widget.minimum, widget.maximum = float("-inf"), float("inf")
        elif kind is qt("QLineEdit") and of is str:
            self.attribute, self.signal = "text", "textChanged"
        elif kind is qt("QComboBox") and parameter.is_enum:
            self.attribute, self.signal = "currentIndex", "currentIndexChanged"
            label = getattr(of, "label", lambda one: one.name)
            chosen = widget.currentIndex
            widget.clear()
            for one in of:
                widget.addItem(label(one))
            widget.currentIndex = chosen % len(of)  # -1 of an empty box is the last, as of a list in Python
        else:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{of}' to widget type '{kind}'.")

    def read(self):
        value = getattr(self.widget, self.attribute)
        if self.parameter.is_enum:
            return list(self.parameter.type)[value]
        return int(value) if self.parameter.type is int else value

    def write(self, value):
        if self.parameter.is_enum:
            self.widget.currentIndex = list(self.parameter.type).index(value)
        elif value != getattr(self.widget, self.attribute):
            setattr(self.widget, self.attribute, value)

    def follow(self, function):
        signal = getattr(self.widget, self.signal)
        if self.function is not None:
            signal.disconnect(self.function)
        self.function = function
        if function is not None:
            signal.connect(function)


def connectGui(self, gui):
    """Tie every widget with the dynamic property SlicerParameterName to its parameter; the result undoes it."""
    widgets = gui.findChildren(proxy.lookup("QWidget")) if isinstance(gui, proxy.Proxy) else gui.__dict__.values()
    named = {}
    for widget in widgets:
        name = widget.property("SlicerParameterName")
        if name:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            named[name] = widget
    connectors = {name: _Connector(widget, self.allParameters[name]) for name, widget in named.items()}
    for name, connector in connectors.items():
        connector.write(self._values[name])
        connector.follow(_from_widget(self, name, connector))
    tag = max(self._guis, default=-1) + 1
    observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda: _to_widgets(self))
    self._guis[tag] = connectors, observer
    return tag


def _from_widget(self, name, connector):
    def changed():
        if not self._from_node:
            setValue(self, name, connector.read())

    return changed


def _to_widgets(self):
    if self._from_node:
        return
    self._from_node = True
    was = self.StartModify()
    try:
        for connectors, _observer in self._guis.values():
            for name, connector in connectors.items():
                connector.write(self._values[name])
    finally:
        self.EndModify(was)
        self._from_node = False


def disconnectGui(self, tag):
    """Undo a connectGui; what is not connected is passed over."""
    if tag not in self._guis:
        return
    connectors, observer = self._guis.pop(tag)
    for connector in connectors.values():
        connector.follow(None)
    self.RemoveObserver(observer)
