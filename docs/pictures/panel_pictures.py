"""Draw the panel and the slice views after a run, on Slicer's stand-in of the tests, without a screen.

    python docs/pictures/panel_pictures.py FOLDER [--dark]

The panel is the module's own .ui and code on the real scene of slicer-core; its widgets are Qt's and stand-ins for
CTK's, so that frames and fonts differ a little from those of a running Slicer. The slice views are drawn by Slicer's
own slice pipeline, the outlines over them here.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

os.environ["QT_QPA_PLATFORM"] = "offscreen"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "GTRStaging"), str(ROOT / "Testing"), str(ROOT / "Testing" / "Slicer")]

import numpy as np
import SimpleITK as sitk
import slicer
import standin
from GTRStagingSlicer import layers, nodes, samples
from GTRStagingSlicer.bare import bare_scene
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from PySide6 import QtCore, QtGui, QtWidgets
from standin import proxy
from vtk.util import numpy_support

from GTRStagingLib.nomogram import nomogram

STAGE = "T3"
WIDTH = 480
"""Of the panel, in Qt's pixels: about what Slicer gives a module on a screen of 1,920."""
SCALE = 1.25
"""Of the sections, so that a page can show them in its own width."""
SECTIONS = {
    "panel-input": ("inputSection", "keySliceSection"),
    "panel-result": ("stageSection",),
    "panel-attention": ("attentionSection",),
    "panel-agreement": ("agreementSection",),
    "panel-nomogram": ("nomogramSection",),
}
DARK = {
    "Window": "#353535", "WindowText": "#ffffff", "Base": "#232323", "AlternateBase": "#2d2d2d", "Text": "#ffffff",
    "ToolTipBase": "#353535", "ToolTipText": "#ffffff", "Button": "#3c3c3c", "ButtonText": "#ffffff",
    "PlaceholderText": "#9a9a9a", "BrightText": "#ff5555", "Link": "#5aa9f0", "Highlight": "#2a6fb0",
    "HighlightedText": "#ffffff",
}  # fmt: skip


def darken(application):
    """Give Qt a dark palette, before there are widgets."""
    palette = QtGui.QPalette()
    for role, colour in DARK.items():
        palette.setColor(getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(colour))
    for role in ("Text", "WindowText", "ButtonText"):
        palette.setColor(
            QtGui.QPalette.ColorGroup.Disabled, getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor("#808080")
        )
    application.setPalette(palette)


def staged(desk):
    """Open the module, and stage a sample at its tumour's largest section, as the tutorial does."""
    panel = desk.open_module()
    desk.startup_completed()
    sources = {one.sampleName: one for one in slicer.modules.sampleDataSources[samples.CATEGORY]}
    source = sources[samples.name_of(STAGE)]
    ct, tumour = source.customDownloader(source)
    panel.enter()
    ui = panel.ui
    ui.inputSelector.currentIndex = ui.inputSelector.findData(ct.GetID())
    ui.tumourSelector.currentIndex = ui.tumourSelector.findData(tumour.GetID())
    ui.largestSectionButton.click()
    ui.applyButton.click()
    ui.outlineCheckBox.checked = True
    if problems := [one.text for one in desk.shown]:
        raise RuntimeError("; ".join(problems))
    # How long it took differs from run to run; a picture must change only with what it shows.
    ui.detailsLabel.text = re.sub(r"[\d.]+ s\.$", "0.3 s.", ui.detailsLabel.text)
    return panel, ct, tumour


def read_nomogram(panel):
    """Open section 6 with the published nomogram and a patient of whom a part is known."""
    ui = panel.ui
    ui.nomogramSection.collapsed = False
    ui.nomogramSelector.currentIndex = ui.nomogramSelector.findText(nomogram.PUBLISHED)

    box = proxy.unwrap(ui.nomogramValuesBox)
    find = {child.objectName(): child for child in box.findChildren(QtWidgets.QWidget)}
    score = find["nomogramValue_radscore"]
    score.setText("0.8")
    score.editingFinished.emit()
    for term, level in (("size", "≥ 5 cm"), ("differentiation", "left out"), ("lauren", "intestinal")):
        chosen = find[f"nomogramValue_{term}"]
        chosen.setCurrentIndex(chosen.findText(level))
    if not ui.nomogramBox.visible:
        raise RuntimeError(ui.nomogramMessage.text)


# -- the panel -------------------------------------------------------------------------------------------------------


def laid_out(top):
    """Make the panel as high as its contents ask for at its width."""
    top.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen)
    top.show()
    for _ in range(4):  # labels that wrap know their height when their width is set
        top.resize(WIDTH, max(top.layout().totalHeightForWidth(WIDTH), top.sizeHint().height()))
        QtWidgets.QApplication.processEvents()


def grab(top, area, scale):
    """Return an area of the panel as a picture."""
    picture = QtGui.QPixmap(round(area.width() * scale), round(area.height() * scale))
    picture.setDevicePixelRatio(scale)
    picture.fill(top.palette().window().color())
    top.render(picture, QtCore.QPoint(), QtGui.QRegion(area))
    image = picture.toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return Image.fromarray(rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy())


def place(top, widget):
    """Return where a widget lies in the panel."""
    inside = proxy.unwrap(widget)
    return QtCore.QRect(inside.mapTo(top, QtCore.QPoint(0, 0)), inside.size())


def section_area(top, sections):
    """Return the panel's whole width beside some sections, with a margin."""
    union = QtCore.QRect()
    for section in sections:
        union = union.united(place(top, section))
    return QtCore.QRect(0, union.top() - 4, WIDTH, union.height() + 8)


# -- the slice views -------------------------------------------------------------------------------------------------


class View(NamedTuple):
    """A slice view: its name, the colour of its bar in Slicer, its axis in RAS, and the letters of its sides."""

    name: str
    colour: str
    letter: str
    axis: tuple[int, int, int]
    sides: tuple[str, str]


VIEWS = {
    "Red": View("Axial", "#f34a33", "S", (0, 0, 1), ("R", "L")),
    "Green": View("Coronal", "#4e8f3f", "A", (0, 1, 0), ("R", "L")),
    "Yellow": View("Sagittal", "#edd54c", "L", (-1, 0, 0), ("A", "P")),
}
FIELD_MM = 340.0
"""Width of each view."""
SIDE, GAP, BAR = 560, 6, 26
"""Pixels: of the axial view, between the views, and of the bar above each."""
TUMOUR, ATTENTION = (255, 90, 70), (255, 255, 255)
"""Colours of the outlines, as in the panel's segments."""


def slice_view(name, size, centre, outlines):
    """Return a slice view through a point: CT and attention by Slicer's pipeline, and outlines over them.

    `outlines` holds a colour, a (z, y, x) region and its (4, 4) matrix from RAS to voxels for each outline.
    """
    width, height = size
    logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
    node = logic.GetSliceNode()
    node.SetDimensions(width, height, 1)
    node.SetFieldOfView(FIELD_MM, FIELD_MM * height / width, 1)
    node.JumpSliceByCentering(*centre)
    logic.UpdatePipeline()
    port = logic.GetImageDataConnection()
    port.GetProducer().Update()
    data = port.GetProducer().GetOutputDataObject(port.GetIndex())
    pixels = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars()).reshape(height, width, 4)[::-1]
    picture = (pixels[..., :3] * (pixels[..., 3:] / 255)).astype(np.uint8)  # black beside the CT, as in Slicer
    x, y = np.meshgrid(np.arange(width), np.arange(height)[::-1])
    to_ras = nodes.matrix_of(lambda matrix: matrix.DeepCopy(node.GetXYToRAS()))
    points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1) @ to_ras.T
    for colour, region, to_voxels in outlines:
        index = np.rint(points @ to_voxels.T)[..., :3].astype(int)
        there = ((index >= 0) & (index < region.shape[::-1])).all(axis=-1)
        shown = np.zeros(there.shape, dtype=bool)
        i, j, k = index[there].T
        shown[there] = region[k, j, i]
        core = shown.copy()
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)) * 2:  # the line is two pixels wide
            core &= np.roll(core, step, axis)
        picture[shown & ~core] = colour
    return Image.fromarray(picture)


def views(panel, ct, tumour):
    """Return the axial view beside the coronal and the sagittal one, through the tumour's middle."""
    ui, state = panel.ui, panel._parameterNode
    ui.overlayButton.click()
    there = nodes.placed(ct)
    roi = nodes.roi_of(tumour, samples.TUMOUR, ct, there).mask
    from_roi = nodes.ijk_to_ras_of(roi)
    mask = sitk.GetArrayFromImage(roi) > 0
    heat = state.attentionVolume
    outlines = (
        (ATTENTION, layers.above(heat, state.threshold), np.linalg.inv(nodes.matrix_of(heat.GetIJKToRASMatrix))),
        (TUMOUR, mask, np.linalg.inv(from_roi)),
    )
    centres = [nodes.slice_centre(there.image, index) for index in range(there.image.GetSize()[2])]
    key = centres[round(ui.keySliceSlider.value)]
    middle = np.mean(centres, axis=0)
    x, y, _z, _w = from_roi @ [*(np.mean(axis) for axis in np.nonzero(mask)[::-1]), 1]
    half = (SIDE - GAP) // 2
    places = {
        "Red": (0, 0, SIDE, key),
        "Green": (SIDE + GAP, 0, half, (middle[0], y, middle[2])),
        "Yellow": (SIDE + GAP, half + GAP, half, (x, middle[1], middle[2])),
    }
    page = Image.new("RGB", (2 * SIDE + GAP, SIDE), "#20242a")
    pen = ImageDraw.Draw(page)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 15)
    for name, (left, top, height, centre) in places.items():
        view, right = VIEWS[name], left + SIDE - 8
        position = f"{view.letter}: {np.dot(view.axis, centre):.1f} mm"
        pen.rectangle((left, top, left + SIDE - 1, top + BAR - 1), fill=view.colour)
        pen.text((left + 8, top + 4), view.name, fill="black", font=font)
        pen.text((right, top + 4), position, fill="black", font=font, anchor="ra")
        page.paste(slice_view(name, (SIDE, height - BAR), centre, outlines), (left, top + BAR))
        pen.text((left + 8, top + BAR + 6), view.sides[0], fill="white", font=font)
        pen.text((right, top + BAR + 6), view.sides[1], fill="white", font=font, anchor="ra")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dark", action="store_true", help="the whole panel alone, as it looks in a dark Slicer")
    options = parser.parse_args()
    bare = bare_scene()
    desk = standin.install(bare)
    if options.dark:
        darken(desk.application)
    panel, ct, tumour = staged(desk)
    top = proxy.unwrap(panel.parent)
    laid_out(top)
    end = place(top, panel.ui.batchSection).bottom() + 8
    whole = grab(top, QtCore.QRect(0, 0, WIDTH, end), 1.0)
    whole.save(options.folder / ("panel-dark.png" if options.dark else "panel.png"))
    if not options.dark:
        views(panel, ct, tumour).save(options.folder / "views.png")
        read_nomogram(panel)
        laid_out(top)
        for name, sections in SECTIONS.items():
            area = section_area(top, [getattr(panel.ui, section) for section in sections])
            grab(top, area, SCALE).save(options.folder / f"{name}.png")
    desk.uninstall()
    bare.close()


if __name__ == "__main__":
    main()
