"""Self-test of the module in Slicer: the steps of the tutorial in the panel, and every sample phantom."""

import tempfile
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from GTRStagingSlicer import case_results, dependencies, samples, scene_staging
from GTRStagingSlicer.logic import GTRStagingLogic
from GTRStagingSlicer.mrml import VolumeNode

CASES = {"patient A": "T3", "patient A follow-up": "T2", "patient B": "T1"}
"""Two patients and a follow-up of one scene: name of the CT -> stage of its phantom."""


class GTRStagingTest(ScriptedLoadableModuleTest):
    """Self-test, run by Slicer's Reload and Test and by ctest."""

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        for test in (self.test_opens_without_packages, self.test_samples, self.test_several_cases_of_a_scene):
            self.setUp()
            test()

    def open_panel(self) -> Any:
        """Open the module, and return its panel."""
        slicer.util.selectModule("GTRStaging")
        return slicer.modules.gtrstaging.widgetRepresentation().self()

    def skip_without_packages(self) -> None:
        """Skip the test if staging is not possible."""
        if lacking := dependencies.missing():
            self.skipTest(f"not installed: {dependencies.in_words(lacking)}; press Light in the panel first")

    def test_opens_without_packages(self) -> None:
        """The panel opens without the packages, and Apply is disabled with a reason."""
        self.delayDisplay("Opening the panel")
        ui = self.open_panel().ui
        self.assertFalse(ui.applyButton.enabled)
        self.assertTrue(ui.applyButton.toolTip)

    def test_samples(self) -> None:
        """Each phantom gets a stage, a map and tables; a second run adds no nodes."""
        for stage in samples.SEEDS:
            self.setUp()
            self.stages_a_sample(stage)

    def stages_a_sample(self, stage: str) -> None:
        """Stage one phantom twice by the logic, and check its nodes."""
        self.skip_without_packages()
        self.delayDisplay(f"Staging the phantom {stage}")
        ct, tumour = samples.load(slicer.mrmlScene, stage)
        logic = GTRStagingLogic()
        state = logic.getParameterNode()
        state.inputVolume, state.tumourSegmentation, state.tumourSegment = ct, tumour, samples.TUMOUR
        result = logic.stage(state)
        self.assertEqual(state.attentionVolume.GetParentTransformNode(), None)
        self.assertEqual(len(result.prediction.slices), 3)
        self.assertGreater(state.resultTable.GetNumberOfRows(), 8)
        record = scene_staging.record_of(state) or self.fail("the scene contains no record of the result")
        self.assertEqual(record["prediction"]["stage"], str(result.prediction.stage))
        self.assertIn(record["attention"]["method"], ("fine", "gated"))
        self.assertTrue(all(record["attention"]["mapped"]))
        table = state.resultTable.GetTable()
        values = [table.GetValue(i, 1).ToString() for i in range(table.GetNumberOfRows())]
        self.assertIn(record["model"]["check_in_words"], values)
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        logic.stage(state)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
        self.delayDisplay(f"The phantom {stage} was staged {result.prediction.stage}")

    def test_several_cases_of_a_scene(self) -> None:
        """Follow the tutorial in the panel for two patients and a follow-up; save, reload and export the scene."""
        self.skip_without_packages()
        panel = self.open_panel()
        for name, stage in CASES.items():
            self.delayDisplay(f"Staging {name} in the panel")
            self.add_case(name, stage)
            self.stage_in_panel(panel, name)
        stages = {name: self.shows_case(panel, name) for name in CASES}
        with tempfile.TemporaryDirectory() as folder:
            self.delayDisplay("Saving and reloading the scene")
            self.assertTrue(slicer.mrmlScene.WriteToMRB(str(Path(folder) / "cases.mrb")))
            slicer.mrmlScene.Clear(False)
            self.assertFalse(panel.ui.applyButton.enabled)
            self.assertTrue(slicer.mrmlScene.ReadFromMRB(str(Path(folder) / "cases.mrb")))
            panel.enter()
            self.assertEqual({name: self.shows_case(panel, name) for name in CASES}, stages)
            self.delayDisplay("Exporting the reports")
            self.exports_cases(panel, Path(folder) / "reports")

    def add_case(self, name: str, stage: str) -> None:
        """Add a phantom under a name, with its tumour's segment."""
        ct, tumour = samples.load(slicer.mrmlScene, stage)
        ct.SetName(name)
        tumour.SetName(f"{name} tumour")

    def choose(self, panel: Any, name: str) -> VolumeNode:
        """Choose a CT in the panel by its name, and return it."""
        ct, selector = slicer.mrmlScene.GetFirstNodeByName(name), panel.ui.inputSelector
        selector.currentIndex = selector.findData(ct.GetID())
        self.assertIs(panel.logic.getParameterNode().inputVolume, ct)
        return ct

    def stage_in_panel(self, panel: Any, name: str) -> None:
        """Choose CT and tumour, and press the buttons of the tutorial."""
        ui = panel.ui
        self.choose(panel, name)
        tumour = slicer.mrmlScene.GetFirstNodeByName(f"{name} tumour")
        ui.tumourSelector.currentIndex = ui.tumourSelector.findData(tumour.GetID())
        ui.largestSectionButton.click()
        self.assertTrue(ui.applyButton.enabled, ui.applyButton.toolTip)
        ui.applyButton.click()
        self.shows_case(panel, name)

    def shows_case(self, panel: Any, name: str) -> str:
        """Check that the panel shows the current result of a CT, and return its stage."""
        ct, ui = self.choose(panel, name), panel.ui
        state = panel.logic.getParameterNode()
        record = scene_staging.record_of(state) or self.fail(f"{name} has no result")
        self.assertIs(state.resultVolume, ct)
        self.assertFalse(panel.logic.outOfDate(state))
        self.assertIn(record["prediction"]["stage"], ui.stageLabel.text)
        self.assertGreater(state.agreementTable.GetNumberOfRows(), 3)
        self.assertIs(panel.logic.shownVolume(), ct)
        return str(record["prediction"]["stage"])

    def exports_cases(self, panel: Any, folder: Path) -> None:
        """Export each result from the list of results, and check that each has a report of its own."""
        folder.mkdir()
        ui = panel.ui
        ui.reportFolderSelector.currentPath = str(folder)
        for row in range(len(CASES)):
            ui.casesTable.selectRow(row)
            self.assertTrue(ui.caseExportButton.enabled, ui.caseExportButton.toolTip)
            ui.caseExportButton.click()
        written = sorted(path.parent.name for path in folder.glob("*/report.html"))
        self.assertEqual(len(written), len(CASES), f"reports of {written}")
        self.assertEqual(len(case_results.texts(slicer.mrmlScene)), len(CASES))
