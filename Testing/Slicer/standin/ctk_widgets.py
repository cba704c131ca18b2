"""CTK's widgets, with the properties, signals and slots that their headers declare and that panels use.

`SIGNALS` and `SLOTS` (Q_INVOKABLE too) hold the signatures of the headers, each checked against CTK's main branch; what
begins with an underscore is the stand-in's own and is never shown to a module.

=============================  ===============================================
ctkCollapsibleButton           CTK/Libs/Widgets/ctkCollapsibleButton.h
ctkSliderWidget                CTK/Libs/Widgets/ctkSliderWidget.h
ctkPathLineEdit                CTK/Libs/Widgets/ctkPathLineEdit.h
=============================  ===============================================
"""
# Qt, CTK and Slicer call, and are called, in mixed case.
# ruff: noqa: N801, N802, N815, RUF012 (nobody writes to the tables)

import re

from PySide6.QtCore import Property, QEvent, QRegularExpression, QSize, Qt, Signal
from PySide6.QtGui import QRegularExpressionValidator
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOption,
    QStyleOptionButton,
    QStylePainter,
    QToolButton,
    QWidget,
)


def kept(kind, name, default, changed=None):
    """A property that is stored under an attribute; `changed` is the method that acts on it."""

    def read(self):
        return getattr(self, f"_{name}", default)

    def write(self, value):
        if value != read(self):
            setattr(self, f"_{name}", value)
            if changed is not None:
                getattr(self, changed)()

    return Property(kind, read, write)


def slider_part(name):
    """A property of the slider within a ctkSliderWidget."""
    writer = f"set{name[0].upper()}{name[1:]}"
    return Property(bool, lambda s: getattr(s._slider, name)(), lambda s, value: getattr(s._slider, writer)(value))


class ctkCollapsibleButton(QAbstractButton):
    """A section with a head that folds it; while it is folded, its children are hidden."""

    SIGNALS = {"contentsCollapsed(bool)": "_folded"}
    SLOTS = {}
    _folded = Signal(bool)

    def __init__(self, title="", parent=None):
        if isinstance(title, QWidget):
            title, parent = "", title
        super().__init__(parent)
        self._children_busy = self._is_folded = False
        self._wanted = {}
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(title or "")
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._head().height(), 0, 0)
        self.toggled.connect(lambda on: self._fold(not on))

    collapsed = Property(bool, lambda self: self._is_folded, lambda self, on: self.setChecked(not on))
    collapsedHeight = kept(int, "collapsed_height", 14, "updateGeometry")
    flat = kept(bool, "flat", False, "update")
    contentsFrameShape = kept(int, "shape", 0)
    contentsFrameShadow = kept(int, "shadow", 16)
    contentsLineWidth = kept(int, "line_width", 1)
    contentsMidLineWidth = kept(int, "mid_line_width", 0)
    buttonTextAlignment = kept(int, "text_alignment", 0x81)
    indicatorAlignment = kept(int, "indicator_alignment", 0x81)

    def _fold(self, folded):
        if folded != self._is_folded:
            self._is_folded = folded
            self.setMaximumHeight(self.sizeHint().height() if folded else 16777215)
            if self.isVisible():
                self._show_or_hide()
            self.updateGeometry()
            self._folded.emit(folded)

    def _show_or_hide(self):
        for child in self.children():
            if child.isWidgetType():
                wanted = self._wanted.setdefault(child, not child.isHidden())
                child.installEventFilter(self)
                self._children_busy = True
                child.setVisible(wanted and not self._is_folded)
                if wanted:  # hidden by the folding, not by anybody: a later hide() must be noticed
                    child.setAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
                self._children_busy = False

    def showEvent(self, event):
        super().showEvent(event)
        self._show_or_hide()

    def eventFilter(self, child, event):
        if not self._children_busy and self.isVisible() and child in self._wanted:
            if event.type() == QEvent.Type.ShowToParent:
                self._wanted[child] = True
                if self._is_folded:
                    self._show_or_hide()
            elif event.type() == QEvent.Type.HideToParent:
                self._wanted[child] = False
        elif not self._children_busy and event.type() in (QEvent.Type.ShowToParent, QEvent.Type.HideToParent):
            self._wanted.pop(child, None)  # looked up when it is shown again
        return False

    def _head(self):
        option = QStyleOptionButton()
        option.initFrom(self)
        size = self.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, self.text() or "XXXX") + QSize(20, 0)
        return self.style().sizeFromContents(QStyle.ContentsType.CT_PushButton, option, size, self)

    def sizeHint(self):
        head = self._head() + QSize(0, self.collapsedHeight)
        return head if self._is_folded else super().sizeHint().expandedTo(head)

    def minimumSizeHint(self):
        head = self._head()
        if self._is_folded:
            return head + QSize(0, self.collapsedHeight)
        return head if self.layout() is None else super().minimumSizeHint().expandedTo(head)

    def hitButton(self, position):
        return position.y() < self._head().height()

    def paintEvent(self, event):
        painter = QStylePainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._head().height())
        painter.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QStyleOption()
        arrow.initFrom(self)
        arrow.rect.setRect(6, (option.rect.height() - 12) // 2, 12, 12)
        primitive = QStyle.PrimitiveElement
        painter.drawPrimitive(
            primitive.PE_IndicatorArrowRight if self._is_folded else primitive.PE_IndicatorArrowDown, arrow
        )
        text = option.rect.adjusted(26, 0, -4, 0)
        painter.drawItemText(text, Qt.AlignmentFlag.AlignVCenter, option.palette, self.isEnabled(), self.text())


class ctkSliderWidget(QWidget):
    """A slider and a box with the number."""

    SIGNALS = {
        "valueChanged(double)": "_changed",
        "valueIsChanging(double)": "_changing",
        "decimalsChanged(int)": "_decimals_changed",
    }
    SLOTS = {
        "setValue(double)": "_set_value",
        "setRange(double,double)": "_set_range",
        "setMinimum(double)": "_set_minimum",
        "setMaximum(double)": "_set_maximum",
        "setDecimals(int)": "_set_decimals",
        "reset()": "_reset",
        "setSpinBoxVisible(bool)": "_set_box_visible",
    }
    _changed = Signal(float)
    _changing = Signal(float)
    _decimals_changed = Signal(int)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        self._slider.setObjectName("Slider")
        self._box.setObjectName("SpinBox")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        row.addWidget(self._box)
        self._box.setRange(0, 99)
        self._before = None  # the value, while the slider is held and `tracking` is off
        self._fit()
        self._box.valueChanged.connect(self._from_box)
        self._slider.valueChanged.connect(lambda steps: self._box.setValue(steps * self._unit()))
        self._slider.sliderPressed.connect(self._hold)
        self._slider.sliderReleased.connect(self._let_go)
        self.setFocusProxy(self._slider)

    def _unit(self):
        return 10.0 ** -self._box.decimals()

    def _fit(self):
        self._slider.blockSignals(True)
        self._slider.setRange(round(self._box.minimum() / self._unit()), round(self._box.maximum() / self._unit()))
        self._slider.setSingleStep(max(1, round(self._box.singleStep() / self._unit())))
        self._slider.setValue(round(self._box.value() / self._unit()))
        self._slider.blockSignals(False)

    def _from_box(self, value):
        self._fit()
        if not self.tracking:
            self._changing.emit(value)
        if self._before is None:
            self._changed.emit(value)

    def _hold(self):
        if not self.tracking:
            self._before = self._box.value()

    def _let_go(self):
        before, self._before = self._before, None
        if before is not None and before != self._box.value():
            self._changed.emit(self._box.value())

    def _get_value(self):
        return self._box.value() if self._before is None else self._before

    def _set_value(self, value):
        held, self._before = self._before, None
        self._box.setValue(value)
        self._before = held

    def _set_range(self, low, high):
        self._box.setRange(low, high)
        self._fit()

    def _set_minimum(self, low):
        self._box.setMinimum(low)
        self._fit()

    def _set_maximum(self, high):
        self._box.setMaximum(high)
        self._fit()

    def _set_decimals(self, decimals):
        self._box.setDecimals(decimals)
        self._fit()
        self._decimals_changed.emit(decimals)

    def _set_step(self, step):
        self._box.setSingleStep(step)
        self._fit()

    def _set_box_visible(self, on):
        self._box.setVisible(on)

    def _reset(self):
        self._box.setValue(self._box.minimum())

    decimals = Property(int, lambda self: self._box.decimals(), _set_decimals)
    singleStep = Property(float, lambda self: self._box.singleStep(), _set_step)
    pageStep = kept(float, "page_step", 10.0)
    minimum = Property(float, lambda self: self._box.minimum(), _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum(), _set_maximum)
    value = Property(float, _get_value, _set_value)
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    tickInterval = kept(float, "tick_interval", 0.0)
    tickPosition = kept(int, "tick_position", 0)
    synchronizeSiblings = kept(int, "synchronize_siblings", 1)
    spinBoxAlignment = kept(int, "spin_box_alignment", 0x20)
    tracking = kept(bool, "tracking", True)
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), _set_box_visible)
    popupSlider = kept(bool, "popup_slider", False)
    invertedAppearance = slider_part("invertedAppearance")
    invertedControls = slider_part("invertedControls")


def path_pattern(name_filters) -> str:
    """What CTK accepts as a path, for filters such as 'Tables (*.csv *.txt)'.

    Of '*.nii.gz' CTK sees '*.nii' only, and takes the last letter of an ending as optional.
    """
    endings = []
    for one in name_filters:
        within = re.search(r"\(([^()]*)\)$", one)
        if within is not None:
            endings += within[1].split(" ")
        elif re.fullmatch(r"[\w\s.*~$\[\]]+", one):
            endings.append(one)
    found = [ending[1] for ending in (re.search(r"\*\.(\w+)", one) for one in endings) if ending is not None]
    return "(" + "|".join(rf".*\.{one}?$" for one in found) + ")" if found else ".+"


class ctkPathLineEdit(QWidget):
    """A path to type or to choose. Without a file system to complete from.

    Only a path that the filters accept is sent; `validInputChanged` reports an empty one.
    """

    SIGNALS = {"currentPathChanged(QString)": "_path_changed", "validInputChanged(bool)": "_valid_changed"}
    SLOTS = {
        "setCurrentPath(QString)": "_set_path",
        "setCurrentFileExtension(QString)": "_set_extension",
        "addCurrentPathToHistory()": "_remember",
        "comboBox()": "_combo_box",
    }
    Dirs, Drives, Files, Readable, Writable, Executable, Hidden = 0x001, 0x004, 0x002, 0x010, 0x020, 0x040, 0x100
    _path_changed = Signal(str)
    _valid_changed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._combo = QComboBox(self)
        self._combo.setEditable(True)
        self._combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._line: QLineEdit = self._combo.lineEdit()
        self._browse = QToolButton(self)
        self._browse.setText("…")
        row.addWidget(self._combo)
        row.addWidget(self._browse)
        self._was_valid, self._validator = False, QRegularExpressionValidator(self)
        self._filter()
        self._line.setValidator(self._validator)
        self._line.textChanged.connect(self._tell)
        self.setFocusProxy(self._combo)

    def _filter(self):
        self._validator.setRegularExpression(QRegularExpression(path_pattern(self.nameFilters)))

    def _tell(self, path):
        valid = self._line.hasAcceptableInput()
        if valid:
            self._path_changed.emit(path)
        if valid != self._was_valid:
            self._was_valid = valid
            self._valid_changed.emit(valid)

    def _set_path(self, path):
        self._line.setText(path)

    def _set_extension(self, extension):
        if extension and self._line.text():
            self._line.setText(self._line.text().rsplit(".", 1)[0] + "." + extension.lstrip("."))

    def _remember(self):
        self._combo.insertItem(0, self._line.text())

    def _combo_box(self):
        return self._combo

    def _show_browse(self):
        self._browse.setVisible(self.showBrowseButton)

    label = kept(str, "label", "")
    filters = kept(int, "filters", 0)
    currentPath = Property(str, lambda self: self._line.text(), _set_path)
    options = kept(int, "options", 0)
    settingKey = kept(str, "setting_key", "")
    showBrowseButton = kept(bool, "show_browse", True, "_show_browse")
    showHistoryButton = kept(bool, "show_history", True)
    sizeAdjustPolicy = kept(int, "size_adjust_policy", 1)
    minimumContentsLength = kept(int, "minimum_contents_length", 0)
    nameFilters = kept("QStringList", "name_filters", [], "_filter")


CTK = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)
