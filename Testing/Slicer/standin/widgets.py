"""CTK's and Slicer's widgets, with the properties and signals of their headers that the panel uses, and no others.

What begins with an underscore is the stand-in's own and is never shown to a module.

===================================  ===============================================
ctkCollapsibleButton                 CTK/Libs/Widgets/ctkCollapsibleButton.h
ctkSliderWidget                      CTK/Libs/Widgets/ctkSliderWidget.h
ctkPathLineEdit                      CTK/Libs/Widgets/ctkPathLineEdit.h
qMRMLWidget                          Slicer/Libs/MRML/Widgets/qMRMLWidget.h
qSlicerScriptedLoadableModuleWidget  Slicer/Base/QTGUI/qSlicerAbstractModuleWidget.h
===================================  ===============================================
"""
# Qt, CTK and Slicer call, and are called, in mixed case.
# ruff: noqa: N801, N802, N815

import re

from PySide6.QtCore import Property, QRegularExpression, QSize, Qt, Signal, Slot
from PySide6.QtGui import QRegularExpressionValidator
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QToolButton,
    QWidget,
)


class ctkCollapsibleButton(QAbstractButton):
    """A section with a head that folds it. A folded one cuts its children off, where CTK hides them."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._head().height(), 0, 0)
        self.toggled.connect(self._fold)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, on: self.setChecked(not on))

    def _fold(self, unfolded):
        self.setMaximumHeight(16777215 if unfolded else self._head().height())
        self.updateGeometry()

    def _head(self):
        return QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self.fontMetrics().height() + 10)

    def minimumSizeHint(self):
        return super().minimumSizeHint().expandedTo(self._head()) if self.isChecked() else self._head()

    def hitButton(self, position):
        return position.y() < self._head().height()

    def paintEvent(self, event):
        painter, option = QStylePainter(self), QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._head().height())
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)
        text, place = f"{'▾' if self.isChecked() else '▸'}  {self.text()}", option.rect.adjusted(8, 0, 0, 0)
        painter.drawItemText(place, Qt.AlignmentFlag.AlignVCenter, option.palette, self.isEnabled(), text)


def of_box(kind, name):
    """A property of the box within a ctkSliderWidget, which the slider follows."""

    def write(slider, value):
        getattr(slider._box, f"set{name[0].upper()}{name[1:]}")(value)
        slider._fit()

    return Property(kind, lambda slider: getattr(slider._box, name)(), write)


class ctkSliderWidget(QWidget):
    """A slider and a box with the number."""

    valueChanged = Signal(float)
    _page_step = 10.0

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._box)
        self._box.valueChanged.connect(self._from_box)
        self._slider.valueChanged.connect(lambda steps: self._box.setValue(steps / self._steps()))

    def _steps(self):
        return 10 ** self._box.decimals()

    def _from_box(self, value):
        self._fit()
        self.valueChanged.emit(value)

    def _fit(self):
        self._slider.blockSignals(True)
        self._slider.setRange(round(self._box.minimum() * self._steps()), round(self._box.maximum() * self._steps()))
        self._slider.setValue(round(self._box.value() * self._steps()))
        self._slider.blockSignals(False)

    decimals = of_box(int, "decimals")
    singleStep = of_box(float, "singleStep")
    minimum = of_box(float, "minimum")
    maximum = of_box(float, "maximum")
    value = of_box(float, "value")
    pageStep = Property(float, lambda self: self._page_step, lambda self, step: setattr(self, "_page_step", step))


class ctkPathLineEdit(QWidget):
    """A path to type or to choose. Without a file system to complete from.

    Only a path that the filters accept is sent; `validInputChanged` reports an empty one.
    """

    Dirs, Files = 0x001, 0x002
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        combo, browse = QComboBox(self), QToolButton(self)
        combo.setEditable(True)
        combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        browse.setText("…")
        row.addWidget(combo)
        row.addWidget(browse)
        self._line, self._was_valid, self._filters, self._name_filters = combo.lineEdit(), False, 0, []
        self._set_name_filters([])
        self._line.textChanged.connect(self._tell)
        self.setFocusProxy(combo)

    def _tell(self, path):
        valid = self._line.hasAcceptableInput()
        if valid:
            self.currentPathChanged.emit(path)
        if valid != self._was_valid:
            self._was_valid = valid
            self.validInputChanged.emit(valid)

    def _set_name_filters(self, filters):
        # Of '*.nii.gz' CTK sees '*.nii' only, and takes the last letter of an ending as optional.
        self._name_filters = filters
        pattern = "|".join(rf".*\.{ending}?$" for ending in re.findall(r"\*\.(\w+)", " ".join(filters)))
        self._line.setValidator(QRegularExpressionValidator(QRegularExpression(f"({pattern or '.+'})"), self))

    currentPath = Property(str, lambda self: self._line.text(), lambda self, path: self._line.setText(path))
    filters = Property(int, lambda self: self._filters, lambda self, filters: setattr(self, "_filters", filters))
    nameFilters = Property("QStringList", lambda self: self._name_filters, _set_name_filters)


class qMRMLWidget(QWidget):
    """A widget that knows the scene, for the node lists within it: the stand-in has none of them."""

    @Slot(object)
    def setMRMLScene(self, scene):
        """Nothing."""


class qSlicerScriptedLoadableModuleWidget(QWidget):
    """What a module's panel is put into."""

    _entered = False
    _python = None
    isEntered = Property(bool, lambda self: self._entered)

    @Slot()
    def self(self):
        return self._python


CTK = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)
QMRML = (qMRMLWidget, qSlicerScriptedLoadableModuleWidget)
