"""Slicer's widgets, with the properties, signals and slots that their headers declare and that panels use.

The tables are as in `ctk_widgets`; the headers are those of Slicer 5.10, 5.12 and main, which agree in what is here.

=============================  ===============================================
qMRMLWidget                    Slicer/Libs/MRML/Widgets/qMRMLWidget.h
qSlicerScriptedLoadable...     Slicer/Base/QTGUI/qSlicerAbstractModuleWidget.h
=============================  ===============================================
"""
# Slicer calls, and is called, in mixed case.
# ruff: noqa: N801, N815, RUF012 (nobody writes to the tables)

from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QWidget


class qMRMLWidget(QWidget):
    """A widget that knows the scene."""

    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "_scene_changed"}
    SLOTS = {"setMRMLScene(vtkMRMLScene*)": "_set_scene", "mrmlScene()": "_get_scene"}
    _scene_changed = Signal(object)
    _scene = None

    def _set_scene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self._scene_changed.emit(scene)

    def _get_scene(self):
        return self._scene


class qSlicerScriptedLoadableModuleWidget(QWidget):
    """What a module's panel is put into."""

    SIGNALS = {}
    SLOTS = {"self()": "_self"}
    _entered = False
    _python = None
    isEntered = Property(bool, lambda self: self._entered)
    moduleName = Property(str, lambda self: self._python.moduleName)

    def _self(self):
        return self._python


QMRML = (qMRMLWidget, qSlicerScriptedLoadableModuleWidget)
