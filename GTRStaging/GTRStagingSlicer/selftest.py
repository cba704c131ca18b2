"""Self-test of the module in Slicer: stage every sample phantom and check the nodes of its result."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from GTRStagingSlicer import dependencies, samples, scene_staging
from GTRStagingSlicer.logic import GTRStagingLogic


class GTRStagingTest(ScriptedLoadableModuleTest):
    """Self-test, run by Slicer's Reload and Test and by ctest."""

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        self.setUp()
        self.test_opens_without_packages()
        self.test_samples()

    def test_opens_without_packages(self) -> None:
        """The panel opens without the packages, and Apply is disabled with a reason."""
        self.delayDisplay("Opening the panel")
        slicer.util.selectModule("GTRStaging")
        widget = slicer.modules.gtrstaging.widgetRepresentation().self()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertTrue(widget.ui.applyButton.toolTip)

    def test_samples(self) -> None:
        """Each phantom gets a stage, a map and tables; a second run adds no nodes."""
        for stage in samples.SEEDS:
            self.setUp()
            self.stages_a_sample(stage)

    def stages_a_sample(self, stage: str) -> None:
        """Stage one phantom twice and check its nodes."""
        if lacking := dependencies.missing():
            self.skipTest(f"not installed: {dependencies.in_words(lacking)}; press Light in the panel first")
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
