"""Take pictures of the panel in a desktop Slicer, by pressing the buttons of the tutorial.

    Slicer --no-splash --additional-module-paths GTRStaging --python-script Resources/take_screenshots.py

The packages must be installed (the panel's Install button). The pictures are written to `build/screenshots`; those of
the documents are made without a desktop, by `make pictures`.
"""

import time
import traceback
from pathlib import Path

import qt
import slicer

OUT = Path(__file__).resolve().parents[1] / "build" / "screenshots"


def settle(seconds=1.0):
    """Let the views draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)


def take(widget, name, width=None):
    """A widget as a PNG, reduced to a width."""
    settle()
    picture = widget.grab()
    if width is not None and picture.width() > width:
        picture = picture.scaledToWidth(width, qt.Qt.SmoothTransformation)
    picture.save(str(OUT / name), "PNG")


def main():
    """The tutorial's steps 2 to 9."""
    from GTRStagingSlicer import samples

    OUT.mkdir(parents=True, exist_ok=True)
    window = slicer.util.mainWindow()
    window.resize(1500, 1000)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    settle()
    ct, tumour = samples.load(slicer.mrmlScene, "T3")
    slicer.util.setSliceViewerLayers(background=ct, foreground=None, label=None, fit=True)
    settle()
    slicer.util.selectModule("GTRStaging")
    settle()
    panel = slicer.modules.gtrstaging.widgetRepresentation().self()
    ui = panel.ui
    ui.inputSelector.currentIndex = ui.inputSelector.findData(ct.GetID())
    ui.tumourSelector.currentIndex = ui.tumourSelector.findData(tumour.GetID())
    ui.largestSectionButton.click()
    take(window, "key_slice.png", 1200)
    ui.applyButton.click()
    ui.outlineCheckBox.checked = True
    for name in ("Green", "Yellow"):
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().JumpSliceByOffsetting(
            *tumour.GetSegmentCenterRAS(samples.TUMOUR)
        )
    take(window, "window.png", 1200)
    take(slicer.app.layoutManager().viewport(), "views.png", 1000)
    ui.plotButton.click()
    take(window, "sweep.png", 1200)
    whole = panel.ui.researchUseLabel.parent()
    whole.setParent(None)
    whole.resize(470, whole.sizeHint.height())
    whole.show()
    take(whole, "panel.png")
    whole.hide()


if __name__ == "__main__":
    code = 0
    try:
        main()
    except Exception:
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
