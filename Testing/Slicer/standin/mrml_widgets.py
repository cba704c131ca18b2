"""Slicer's widgets, with the properties, signals and slots that their headers declare and that panels use.

The tables are as in `ctk_widgets`; the headers are those of Slicer 5.10, 5.12 and main, which agree in what is here.

=============================  ===============================================
qMRMLWidget                    Slicer/Libs/MRML/Widgets/qMRMLWidget.h
qMRMLNodeComboBox              Slicer/Libs/MRML/Widgets/qMRMLNodeComboBox.h
qMRMLSegmentSelectorWidget     Slicer/Libs/MRML/Widgets/qMRMLSegmentSelectorWidget.h
qSlicerScriptedLoadable...     Slicer/Base/QTGUI/qSlicerAbstractModuleWidget.h
=============================  ===============================================
"""
# Slicer calls, and is called, in mixed case.
# ruff: noqa: N801, N815, RUF012 (nobody writes to the tables)

import weakref

import shiboken6
import slicer
import vtk
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from standin import proxy
from standin.ctk_widgets import kept

_observers: list[tuple[object, int]] = []


def observe(widget, observed, event, method):
    """Call a widget's method at an event of VTK, as long as the widget lives."""
    there = weakref.ref(widget)

    def relay():
        alive = there()
        if alive is not None and shiboken6.isValid(alive):
            getattr(alive, method)()

    _observers.append((observed, observed.AddObserver(event, proxy.guarded(relay))))
    return _observers[-1]


def stop_observing(observers) -> None:
    """Take observers off; the list is empty then."""
    for one in observers:
        observed, tag = one
        observed.RemoveObserver(tag)
        if one in _observers and observers is not _observers:
            _observers.remove(one)
    observers.clear()


def stop() -> None:
    """Nothing observes the scene any more: VTK must not call widgets that are gone."""
    stop_observing(_observers)


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


class qMRMLNodeComboBox(QWidget):
    """The scene's nodes of some classes, kept up to date.

    Below the nodes are the rows that create, delete and so on; here they do nothing. As Qt chooses the first row of a
    box that was empty, and only then, a box that has such rows does not choose the first node to come.
    """

    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_valid_changed",
        "currentNodeIDChanged(QString)": "_id_changed",
        "nodeActivated(vtkMRMLNode*)": "_activated",
        "nodeAdded(vtkMRMLNode*)": "_added",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "_about_to_be_removed",
    }
    SLOTS = {
        "setMRMLScene(vtkMRMLScene*)": "_set_scene",
        "mrmlScene()": "_get_scene",
        "setCurrentNode(vtkMRMLNode*)": "_set_node",
        "setCurrentNodeID(QString)": "_set_id",
        "setCurrentNodeIndex(int)": "_set_index",
        "currentNode()": "_node",
        "nodeCount()": "_count",
        "nodeFromIndex(int)": "_node_at",
    }
    _node_changed = Signal(object)
    _valid_changed = Signal(bool)
    _id_changed = Signal(str)
    _activated = Signal(object)
    _added = Signal(object)
    _about_to_be_removed = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._tags, self._names, self._silent, self._requested = None, [], set(), False, None
        self._extras = 0
        self._box = QComboBox(self)
        self._box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        # Slicer's follows the text too: two nodes of one name do not tell each other apart.
        self._box.currentTextChanged.connect(self._tell)
        self._box.activated.connect(self._tell_activated)
        self.setEnabled(False)

    def _set_scene(self, scene):
        if scene is self._scene:
            return
        stop_observing(self._tags)
        had_nodes = self._count() > 0
        wanted = self._box.currentData() if had_nodes else self._requested
        self._scene = scene
        self._names.clear()
        if scene is not None:
            events = slicer.vtkMRMLScene
            for event in (events.NodeAddedEvent, events.NodeRemovedEvent, events.EndBatchProcessEvent):
                self._tags.append(observe(self, scene, event, "_follow"))
        self._silent = True
        self._follow()
        if not (had_nodes or wanted or self.noneEnabled) and self._count():
            wanted = self._box.itemData(0)
        self._set_id(wanted or "")
        self._silent, self._requested = False, None
        self._tell()
        self.setEnabled(scene is not None)

    def _get_scene(self):
        return self._scene

    def _listed(self):
        scene = self._scene
        if scene is None:
            return []
        nodes = (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
        return [node for node in nodes if self._shows(node)]

    def _shows(self, node):
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if not self.showChildNodeTypes:
            return node.GetClassName() in self.nodeTypes
        hidden = any(node.IsA(one) for one in self.hideChildNodeTypes)
        return not hidden and any(node.IsA(one) for one in self.nodeTypes)

    def _follow(self, *_):
        """Bring the list in line with the scene, item by item: the box then chooses as Qt's does."""
        if self._scene is None:
            self._box.clear()
            self._extras = 0
            return
        if self._scene.IsBatchProcessing():
            return
        none = self._box.count() > 0 and self._box.itemData(0) == ""
        if self.noneEnabled and not none:
            self._box.insertItem(0, self.noneDisplay, "")
        elif none and not self.noneEnabled:
            self._box.removeItem(0)
        elif none:
            self._box.setItemText(0, self.noneDisplay)
        self._show_extras()
        first = int(self.noneEnabled)
        nodes = self._listed()
        ids = [node.GetID() for node in nodes]
        for i in reversed(range(first, self._box.count() - self._extras)):
            if self._box.itemData(i) not in ids:
                self._box.removeItem(i)
        for i, node in enumerate(nodes, first):
            if self._box.itemData(i) != node.GetID():
                self._box.insertItem(i, node.GetName() or "", node.GetID())
                self._observe(node)
                self._added.emit(node)
            elif self._box.itemText(i) != (node.GetName() or ""):
                self._box.setItemText(i, node.GetName() or "")

    def _show_extras(self):
        switches = (self.renameEnabled, self.editEnabled, self.addEnabled, self.removeEnabled)
        texts = [text for on, text in zip(switches, ("Rename", "Edit", "Create", "Delete"), strict=True) if on]
        wanted = 0 if self._scene is None or not texts else 1 + len(texts)
        if wanted != self._extras:
            silent, self._silent, chosen = self._silent, True, self._box.currentIndex()
            for _ in range(self._extras):
                self._box.removeItem(self._box.count() - 1)
            if wanted:
                self._box.insertSeparator(self._box.count())
                self._box.addItems(texts)
            self._extras = wanted
            self._box.setCurrentIndex(chosen)
            self._silent = silent

    def _observe(self, node):
        if node.GetID() not in self._names:
            self._names.add(node.GetID())
            self._tags.append(observe(self, node, vtk.vtkCommand.ModifiedEvent, "_renamed"))

    def _renamed(self):
        for i in range(self._box.count()):
            node = self._scene and self._scene.GetNodeByID(self._box.itemData(i) or "")
            if node is not None and self._box.itemText(i) != (node.GetName() or ""):
                self._silent = True  # the same node under another name
                self._box.setItemText(i, node.GetName() or "")
                self._silent = False

    def _tell(self, *_):
        if not self._silent:
            node = self._node()
            if node is None and self._box.currentIndex() != int(self.noneEnabled) - 1:  # a row that is no node
                last = self._node_at(self._count() - 1)
                if last is not None:
                    self._set_node(last)
                return
            self._node_changed.emit(node)
            self._valid_changed.emit(node is not None)
            self._id_changed.emit(node.GetID() if node is not None else "")

    def _tell_activated(self, index):
        if self._node() is not None or (self.noneEnabled and index == 0):
            self._activated.emit(self._node())

    def _node(self):
        chosen = self._box.currentData()
        return self._scene.GetNodeByID(chosen) if chosen and self._scene is not None else None

    def _set_node(self, node):
        self._set_id(node.GetID() if node is not None else "")

    def _set_id(self, node_id):
        if self._scene is None:
            self._requested = node_id
        index = self._box.findData(node_id) if node_id else -1
        self._box.setCurrentIndex(int(self.noneEnabled) - 1 if index < 0 else index)

    def _set_index(self, index):
        self._box.setCurrentIndex((index if index < self._count() else -1) + int(self.noneEnabled))

    def _count(self):
        return self._box.count() - self._extras - int(self.noneEnabled and self._box.count() > 0)

    def _node_at(self, index):
        node_id = self._box.itemData(index + int(self.noneEnabled))
        return self._scene.GetNodeByID(node_id) if node_id and self._scene is not None else None

    currentNodeID = Property(str, lambda self: self._box.currentData() or "", _set_id)
    nodeTypes = kept("QStringList", "node_types", [], "_follow")
    showHidden = kept(bool, "show_hidden", False, "_follow")
    showChildNodeTypes = kept(bool, "show_child_node_types", True, "_follow")
    hideChildNodeTypes = kept("QStringList", "hide_child_node_types", [], "_follow")
    baseName = kept(str, "base_name", "")
    noneEnabled = kept(bool, "none_enabled", False, "_follow")
    addEnabled = kept(bool, "add_enabled", True, "_show_extras")
    removeEnabled = kept(bool, "remove_enabled", True, "_show_extras")
    editEnabled = kept(bool, "edit_enabled", False, "_show_extras")
    renameEnabled = kept(bool, "rename_enabled", False, "_show_extras")
    interactionNodeSingletonTag = kept(str, "interaction_tag", "")
    selectNodeUponCreation = kept(bool, "select_upon_creation", True)
    noneDisplay = kept(str, "none_display", "None", "_follow")
    sizeAdjustPolicy = kept(int, "size_adjust_policy", 0)


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """A segmentation and one of its segments, or several of them."""

    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_valid_changed",
        "currentSegmentChanged(QString)": "_segment_changed",
        "segmentSelectionChanged(QStringList)": "_selection_changed",
    }
    SLOTS = {
        "setMRMLScene(vtkMRMLScene*)": "_set_scene",
        "currentNode()": "_node",
        "currentNodeID()": "_node_id",
        "currentSegmentID()": "_current_segment",
        "setCurrentNode(vtkMRMLNode*)": "_set_node",
        "setCurrentNodeID(QString)": "_set_node_id",
        "setCurrentSegmentID(QString)": "_set_segment",
        "segmentIDs()": "_listed",
        "selectedSegmentIDs()": "_get_selected",
        "setSelectedSegmentIDs(QStringList)": "_set_selected",
    }
    _node_changed = Signal(object)
    _valid_changed = Signal(bool)
    _segment_changed = Signal(str)
    _selection_changed = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segmentation, self._segment, self._tags = None, "", []
        self._several, self._selected, self._filling = False, (), False
        self._nodes = qMRMLNodeComboBox(self)
        for name, value in {
            "nodeTypes": ["vtkMRMLSegmentationNode"],
            "addEnabled": False,
            "renameEnabled": True,
        }.items():
            self._nodes.setProperty(name, value)
        self._segments, self._many, self._message = QComboBox(self), QComboBox(self), QLabel(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for one in (self._nodes, self._segments, self._many, self._message):
            column.addWidget(one)
        self._nodes._node_changed.connect(self._on_node)
        self._nodes._node_changed.connect(self._node_changed.emit)
        self._nodes._valid_changed.connect(self._valid_changed.emit)
        self._segments.currentIndexChanged.connect(self._on_segment)
        self._many.model().itemChanged.connect(self._on_tick)
        self._scene_changed.connect(self._nodes._set_scene)
        self._fill()

    def _on_node(self, node):
        if node is self._segmentation:
            return
        stop_observing(self._tags)
        self._segmentation = node
        if node is not None:
            events = slicer.vtkSegmentation
            inside = node.GetSegmentation()
            for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
                self._tags.append(observe(self, inside, event, "_fill"))
        self._fill()

    def _fill(self):
        """List the segments. One that was chosen stays chosen; a stale id makes place for the first segment."""
        box, none = self._segments, self.noneEnabled
        inside = None if self._segmentation is None else self._segmentation.GetSegmentation()
        ids = [] if inside is None else list(inside.GetSegmentIDs())
        self._fill_many(inside, ids if self._several else [])
        box.setVisible(bool(ids) and not self._several)
        self._message.setVisible(not ids)
        self._message.setText("No node is selected" if inside is None else "No segments in segmentation")
        box.blockSignals(True)
        box.clear()
        if self._several:
            ids = []
        if ids and none:
            box.addItem("None", "None")
        for one in ids:
            box.addItem(inside.GetSegment(one).GetName(), one)
        box.setCurrentIndex(-1 if not (none and ids) else 0)
        keeps = ids and (self._segment in ids or (none and not self._segment))
        if keeps:
            self._set_segment(self._segment)
        elif ids:
            box.setCurrentIndex(-1)
        box.blockSignals(False)
        if ids and not keeps:
            box.setCurrentIndex(int(none))

    def _fill_many(self, inside, ids):
        self._filling = True
        self._many.clear()
        for row, one in enumerate(ids):
            self._many.addItem(inside.GetSegment(one).GetName(), one)
            self._many.model().item(row).setCheckable(True)
        self._filling = False
        self._many.setVisible(bool(ids))
        if ids:
            self._set_selected(self._selected)

    def _on_tick(self, *_):
        if not self._filling and self._segmentation is not None:
            rows = (self._many.model().item(row) for row in range(self._many.count()))
            self._selected = tuple(
                r.data(Qt.ItemDataRole.UserRole) for r in rows if r.checkState() == Qt.CheckState.Checked
            )
            self._selection_changed.emit(self._selected)

    def _listed(self):
        """Of the list where several can be chosen; Slicer gives an empty one too where it is one."""
        return tuple(self._many.itemData(row) for row in range(self._many.count()))

    def _get_selected(self):
        return self._selected

    def _set_selected(self, segment_ids):
        if not self._several or self._segmentation is None:
            return
        there = self._segmentation.GetSegmentation().GetSegmentIDs()
        before, self._selected = self._selected, tuple(one for one in segment_ids if one in there)
        self._filling = True
        for row, one in enumerate(self._listed()):
            chosen = one in self._selected
            self._many.model().item(row).setCheckState(Qt.CheckState.Checked if chosen else Qt.CheckState.Unchecked)
        self._filling = False
        if self._selected != before:
            self._on_tick()

    def _set_several(self, on):
        self._several, self._segment = on, "" if on else self._segment
        self._selected = self._selected if on else ()
        self._fill()

    def _on_segment(self, index):
        if self._segmentation is not None:
            chosen = self._segments.itemData(index) or ""
            self._segment = "" if chosen == "None" else chosen
            self._segment_changed.emit(self._segment)

    def _node(self):
        return self._nodes._node()

    def _node_id(self):
        return self._nodes.currentNodeID

    def _current_segment(self):
        return self._segment

    def _set_node(self, node):
        self._nodes._set_node(node)

    def _set_node_id(self, node_id):
        self._nodes._set_id(node_id)

    def _set_segment(self, segment_id):
        if self._several:
            return
        if not segment_id and self.noneEnabled:
            self._segments.setCurrentIndex(0)
            return
        index = self._segments.findData(segment_id)
        if index >= 0:
            self._segments.setCurrentIndex(index)

    def _set_none(self, on):
        self._nodes.setProperty("noneEnabled", on)
        self._fill()

    noneEnabled = Property(bool, lambda self: self._nodes.noneEnabled, _set_none)
    editEnabled = kept(bool, "edit_enabled", False)
    segmentationNodeSelectorVisible = Property(
        bool, lambda self: self._nodes.isVisible(), lambda self, on: self._nodes.setVisible(on)
    )
    multiSelection = Property(bool, lambda self: self._several, _set_several)
    horizontalLayout = kept(bool, "horizontal", False)
    selectNodeUponCreation = kept(bool, "select_upon_creation", True)


QMRML = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentSelectorWidget, qSlicerScriptedLoadableModuleWidget)
