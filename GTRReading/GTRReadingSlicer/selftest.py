"""Self-test of the module in Slicer: make a small study of phantoms, and read it through the panel."""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import slicer
from GTRStagingSlicer import dependencies
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from GTRReadingSlicer.case_scene import holds_data

READER = "r1"


def make_study(folder: Path) -> Path:
    """Write a study of four phantoms for one reader, without a wash-out, and return its folder."""
    import SimpleITK as sitk

    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.reading.advice import Advice
    from GTRStagingLib.reading.designs import Design
    from GTRStagingLib.reading.folders import StudyOptions, write_study
    from GTRStagingLib.reading.plan import Rules
    from GTRStagingLib.reading.readers_table import ReaderRow
    from GTRStagingLib.stages import TStage

    rows, advice = [], {}
    for stage in TStage:
        phantom, case = make_phantom(stage, seed=int(stage), size=64), f"case{stage}"
        image, roi, drawn = (folder / f"{name}-{stage}.nrrd" for name in ("ct", "roi", "map"))
        sitk.WriteImage(phantom.ct, str(image))
        sitk.WriteImage(phantom.tumour, str(roi))
        sitk.WriteImage(sitk.Cast(phantom.tumour, sitk.sitkFloat32), str(drawn))
        rows.append({"case_id": case, "patient_id": case, "image": image.name, "roi": roi.name, "stage": stage.name})
        advice[case] = Advice(stage=stage, probabilities=(0.1, 0.2, 0.3, 0.4), map=drawn)
    table = folder / "cohort.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = StudyOptions(design=Design(seed=1), rules=Rules(washout_days=0))
    write_study(read_cohort(table), [ReaderRow(READER, {})], advice, folder / "study", options)
    return folder / "study"


class GTRReadingTest(ScriptedLoadableModuleTest):
    """Self-test, run by Slicer's Reload and Test and by ctest."""

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (self.test_opens_without_a_study, self.test_reads_a_study):
            self.setUp()
            test()

    def open_panel(self) -> Any:
        """Open the module, and return its panel."""
        slicer.util.selectModule("GTRReading")
        return slicer.modules.gtrreading.widgetRepresentation().self()

    def test_opens_without_a_study(self) -> None:
        """The panel opens without packages and without a study, and nothing can be started."""
        self.delayDisplay("Opening the panel")
        ui = self.open_panel().ui
        self.assertFalse(ui.startButton.enabled)
        self.assertFalse(ui.caseBox.visible)

    def test_reads_a_study(self) -> None:
        """Read four phantoms unaided and aided, with a pause, and find the answers in the log."""
        if lacking := dependencies.missing():
            self.skipTest(f"not installed: {dependencies.in_words(lacking)}; choose a study in the panel first")
        panel = self.open_panel()
        with tempfile.TemporaryDirectory() as folder:
            self.delayDisplay("Making a study of phantoms")
            study = make_study(Path(folder))
            panel.openFolder(study)
            panel.ui.readerSelector.currentIndex = panel.ui.readerSelector.findText(READER)
            panel.ui.startButton.click()
            given = [self.answers(panel, number) for number in range(8)]
            self.assertEqual(panel.sitting.session.state, "finished")
            panel.ui.endButton.click()
            log = (study / "readers" / READER / "log.jsonl").read_text(encoding="utf-8").splitlines()
        written = [one["data"] for line in log if (one := json.loads(line))["kind"] == "answer"]
        self.assertEqual([one["answer"]["stage"] for one in written], given)
        self.assertFalse(holds_data(slicer.mrmlScene))

    def answers(self, panel: Any, number: int) -> str:
        """Answer the case on the screen, and return the stage."""
        ui, stage = panel.ui, f"T{1 + number % 4}"
        self.delayDisplay(f"Reading case {number + 1}")
        self.assertTrue(ui.caseBox.visible, ui.messageLabel.text)
        self.assertEqual(ui.adviceBox.visible, number >= 4)
        self.assertEqual(ui.confidenceEdit.text, "")
        if number == 1:
            ui.pauseButton.click()
            self.assertFalse(holds_data(slicer.mrmlScene))
            ui.goOnButton.click()
        getattr(ui, f"{stage}Button").click()
        ui.confidenceEdit.text = "70"
        ui.nextButton.click()
        return stage
