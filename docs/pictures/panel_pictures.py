"""Take the pictures of the panel and of the window in a running Slicer, by the steps of the tutorial.

    Slicer --no-splash --additional-module-paths GTRStaging --python-script docs/pictures/panel_pictures.py FOLDER
           [--size 1280x800] [--dark]

The packages must be installed in Slicer (the panel's button *Light*). `draw.py --only panel` runs it in both colours.
The window is not saved by Slicer, and nothing is asked: errors end the script.
"""

import argparse
import re
import sys
import time
import traceback
from pathlib import Path

import qt
import slicer

STAGE = "T3"
SECTIONS = {
    "panel-input": ("inputSection", "keySliceSection"),
    "panel-result": ("stageSection",),
    "panel-attention": ("attentionSection",),
    "panel-agreement": ("agreementSection",),
    "panel-nomogram": ("nomogramSection",),
    "panel-batch": ("batchSection",),
}
STYLES = {False: "Light Slicer", True: "Dark Slicer"}


def settle(seconds=1.0):
    """Let the window and its views draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)


def take(widget, path):
    """Save a widget as a PNG."""
    slicer.util.forceRenderAllViews()
    settle()
    if not widget.grab().save(str(path), "PNG"):
        raise RuntimeError(f"{path} cannot be written")


def opened(stage):
    """Load a sample as the Sample Data module does, and open the module; return its panel, CT and tumour."""
    from GTRStagingSlicer import samples

    ct, tumour = samples.load(slicer.mrmlScene, stage)
    slicer.util.setSliceViewerLayers(background=ct, foreground=None, label=None, fit=True)
    settle()
    slicer.util.selectModule("GTRStaging")
    settle(3.0)  # it loads the model in the background
    return slicer.modules.gtrstaging.widgetRepresentation().self(), ct, tumour


def stage(panel, ct, tumour):
    """Press the buttons of the tutorial up to the result."""
    from GTRStagingSlicer import samples

    ui = panel.ui
    ui.inputSelector.currentIndex = ui.inputSelector.findData(ct.GetID())
    ui.tumourSelector.currentIndex = ui.tumourSelector.findData(tumour.GetID())
    ui.largestSectionButton.click()
    ui.applyButton.click()
    if panel.logic.getParameterNode().resultText is None:
        raise RuntimeError(f"not staged: {ui.applyButton.toolTip}")
    for name in ("Green", "Yellow"):
        view = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        view.JumpSliceByOffsetting(*tumour.GetSegmentCenterRAS(samples.TUMOUR))
    # How long it took differs from run to run; a picture must change only with what it shows.
    ui.detailsLabel.text = re.sub(r"[\d.]+ s\.$", "0.3 s.", ui.detailsLabel.text)


def read_nomogram(panel):
    """Open the nomogram's section with the published one and a patient of whom a part is known."""
    ui = panel.ui
    ui.nomogramSection.collapsed = False
    ui.nomogramSelector.currentIndex = ui.nomogramSelector.findText("published-2025")
    settle(0.2)
    values = {"radscore": "0.8", "size": "≥ 5 cm", "differentiation": "left out", "lauren": "intestinal"}
    for term, value in values.items():
        control = slicer.util.findChild(ui.nomogramValuesBox, f"nomogramValue_{term}")
        if term == "radscore":
            control.text = value
            control.editingFinished()
        else:
            control.currentIndex = control.findText(value)
    settle(0.2)
    if not ui.nomogramBox.visible:
        raise RuntimeError(ui.nomogramMessage.text)


def take_panel(panel, folder, dark):
    """Take the whole panel as high as its contents, and in light colours its sections."""
    ui = panel.ui
    for section in ("inputSection", "keySliceSection", "casesSection"):  # the first two fold when the result is there
        getattr(ui, section).collapsed = False
    whole = ui.researchUseLabel.parent()
    take(whole, folder / ("panel-dark.png" if dark else "panel.png"))
    if not dark:
        read_nomogram(panel)
        ui.batchSection.collapsed = False
        settle()
        for name, sections in SECTIONS.items():
            around = qt.QRect()
            for section in sections:
                around = around.united(getattr(ui, section).geometry)
            area = qt.QRect(0, around.top() - 4, whole.width, around.height() + 8)
            whole.grab(area).save(str(folder / f"{name}.png"))


def main(arguments):
    """Take all pictures of one palette and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="1280x800", help="of the window (default: %(default)s)")
    parser.add_argument("--dark", action="store_true", help="Slicer's dark colours; of the panel only the whole")
    options = parser.parse_args(arguments)
    dark, folder = options.dark, options.folder
    folder.mkdir(parents=True, exist_ok=True)
    qt.QApplication.setStyle(STYLES[dark])
    qt.QApplication.setPalette(slicer.app.style().standardPalette())
    window = slicer.util.mainWindow()
    window.showNormal()
    window.move(0, 0)
    window.resize(*map(int, options.size.split("x")))
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    settle()
    panel, ct, tumour = opened(STAGE)
    name = "-dark" if dark else ""
    stage(panel, ct, tumour)
    take(window, folder / f"window{name}.png")
    take(slicer.app.layoutManager().viewport(), folder / f"views{name}.png")
    panel.ui.resultLayoutButton.click()
    take(window, folder / f"window-result{name}.png")
    panel.ui.plotButton.click()
    take(window, folder / f"window-sweep{name}.png")
    panel.ui.ownLayoutButton.click()
    take_panel(panel, folder, dark)


if __name__ == "__main__":
    code = 0
    try:
        main(sys.argv[1:])
    except (Exception, SystemExit):
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
