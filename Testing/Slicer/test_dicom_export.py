"""A result is written into Slicer's DICOM database, in the study of its CT, and sent from there."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from GTRStagingSlicer import dicom_export, layers, nodes, samples, scene_staging, terminology
from helpers.dicom_validation import no_errors
from helpers.lists import choose_node
from pydicom import dcmread

from GTRStagingLib import Roi, load_model, stage_case
from GTRStagingLib.dicom_results import codes
from GTRStagingLib.dicom_results.write import write_dicom_results
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.stages import RESEARCH_USE_ONLY


class Database:
    """Slicer's DICOM database as the module sees it: files by the UID of their image."""

    isOpen = True  # noqa: N815 (Slicer's name)

    def __init__(self, folder):
        self.folder, self.files = folder, {}
        folder.mkdir()

    def fileForInstance(self, uid):  # noqa: N802 (Slicer's name)
        return self.files.get(uid, "")

    def take(self, folder, *, copy):
        for path in sorted(Path(folder).iterdir()):
            uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            self.files[uid] = str(shutil.copy(path, self.folder / uid) if copy else path)


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """Folder of a phantom's DICOM series."""
    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    folder = tmp_path_factory.mktemp("phantom") / "case"
    write_dicom(make_phantom(TStage.T3, seed=3, size=128), folder)
    return folder / "ct"


@pytest.fixture
def dicom(bare, monkeypatch, tmp_path, ct):
    """Slicer's DICOM module with a database that contains the CT, and the files that were given to its send dialog."""
    database, sent = Database(tmp_path / "database"), []
    database.take(ct, copy=False)
    module = ModuleType("DICOMLib")

    def import_dicom(folder, into, copyFiles=False):  # noqa: N803 (Slicer's name)
        into.take(folder, copy=copyFiles)
        return True

    module.DICOMUtils = SimpleNamespace(importDicom=import_dicom)
    module.DICOMSendDialog = sent.append
    monkeypatch.setitem(sys.modules, "DICOMLib", module)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return SimpleNamespace(database=database, sent=sent)


@pytest.fixture
def opened(panel, scene, dicom, ct, a_small_phantom):
    """The panel with the CT as the DICOM module loads it, staged with its tumour."""
    scan = read_scan(ct)
    volume = samples.add_ct(scene, scan.image, "from DICOM")
    volume.SetAttribute(dicom_export.INSTANCES, " ".join(scan.source.instances()))
    choose_node(panel.ui.inputSelector, volume)
    choose_node(panel.ui.tumourSelector, samples.add_tumour(scene, volume, a_small_phantom.tumour, "drawn"))
    panel.ui.largestSectionButton.click()
    panel.ui.applyButton.click()
    return panel


def messages(desk, kind="error"):
    return [one.text for one in desk.shown if one.kind == kind]


def exported(database, ct):
    """Return the datasets of what was added to the database, by class name."""
    known = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in ct.iterdir()}
    added = [dcmread(path) for uid, path in database.files.items() if uid not in known]
    return {ds.SOPClassUID.name: ds for ds in added}


def test_the_objects_are_in_the_study_of_the_ct(opened, desk, dicom, ct, scene):
    assert opened.ui.dicomExportButton.enabled
    opened.ui.dicomExportButton.click()
    assert messages(desk) == []
    found = exported(dicom.database, ct)
    assert {"Parametric Map Storage", "Segmentation Storage", "Secondary Capture Image Storage"} <= set(found)
    first = dcmread(next(ct.iterdir()))
    for ds in found.values():
        assert (ds.StudyInstanceUID, ds.PatientID) == (first.StudyInstanceUID, first.PatientID)
        assert Path(ds.filename).parent == dicom.database.folder
        no_errors(Path(ds.filename))
    assert "in the study of the CT: map" in opened.ui.dicomLabel.text
    assert any(RESEARCH_USE_ONLY in one.text for one in desk.shown if one.kind != "error")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(opened._parameterNode.attentionVolume)
    assert hierarchy.GetItemUID(item, "DICOM") == found["Parametric Map Storage"].SeriesInstanceUID


def test_the_map_of_the_database_is_that_of_the_scene(opened, dicom, ct):
    opened.ui.dicomExportButton.click()
    ds = exported(dicom.database, ct)["Parametric Map Storage"]
    stored = np.frombuffer(ds.FloatPixelData, "<f4")
    result = opened.logic._staged.result
    assert np.sort(stored).tolist() == np.sort(sitk.GetArrayFromImage(result.heat).ravel()).tolist()
    assert not result.scan.format.startswith("DICOM")  # the scene's result stays that of the volume


def test_the_objects_are_those_of_the_same_case_outside_slicer(opened, dicom, ct, a_small_phantom, tmp_path):
    opened.ui.dicomExportButton.click()
    tumour = Roi(a_small_phantom.tumour, opened.logic._staged.result.segment)
    again = stage_case(read_scan(ct), load_model("demonstration", device="cpu"), tumour=tumour)
    files = write_dicom_results(again, tmp_path / "there", threshold=opened._parameterNode.threshold)
    for path in files.values():
        assert str(dcmread(path).SOPInstanceUID) in dicom.database.files


def test_a_second_export_adds_nothing(opened, dicom):
    opened.ui.dicomExportButton.click()
    before = set(dicom.database.files)
    opened.ui.dicomExportButton.click()
    assert set(dicom.database.files) == before


def test_private_codes_are_those_of_the_check_box(opened, dicom, ct):
    opened.ui.dicomExportButton.click()
    standard = exported(dicom.database, ct)
    opened.ui.privateCodesCheckBox.click()
    assert opened.ui.dicomLabel.text == ""  # what was written has other codes
    opened.ui.dicomExportButton.click()
    uids = {str(ds.SOPInstanceUID) for ds in standard.values()}
    added = [dcmread(path) for path in dicom.database.files.values()]
    private = [
        ds for ds in added if ds.get("Manufacturer") == "GTR Staging developers" and ds.SOPInstanceUID not in uids
    ]
    assert len(private) == len(standard) == 5
    assert "'SCT'" in str(standard["Comprehensive 3D SR Storage"])
    assert not any("'SCT'" in str(ds) for ds in private)


def test_nothing_is_written_without_consent(opened, desk, dicom):
    before = set(dicom.database.files)
    desk.record.confirm = False
    opened.ui.dicomExportButton.click()
    assert set(dicom.database.files) == before


def test_send_opens_the_dialog_with_the_objects(opened, desk, dicom, ct):
    opened.ui.dicomSendButton.click()
    assert messages(desk) == []
    (files,) = dicom.sent
    assert {str(ds.filename) for ds in exported(dicom.database, ct).values()} == set(files)
    opened.ui.dicomSendButton.click()
    assert dicom.sent == [files, files]


def test_a_volume_that_is_not_from_dicom_has_no_buttons(staged):
    assert not staged.ui.dicomExportButton.enabled
    assert "not loaded from DICOM" in staged.ui.dicomExportButton.toolTip


def test_without_highdicom_the_buttons_say_how_to_install_it(opened, monkeypatch):
    monkeypatch.setattr(dicom_export.importlib.util, "find_spec", lambda name: None)
    opened._refresh()
    assert not opened.ui.dicomExportButton.enabled
    assert "slicer.util.pip_install('highdicom')" in opened.ui.dicomExportButton.toolTip


def test_a_changed_setting_disables_the_buttons(opened):
    opened._parameterNode.keySlice += 1
    assert not opened.ui.dicomExportButton.enabled
    assert "press Apply first" in opened.ui.dicomSendButton.toolTip


def restaged(panel):
    panel.ui.applyButton.click()
    panel.ui.dicomExportButton.click()


def test_a_moved_volume_is_refused(opened, scene, desk, dicom):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = nodes.vtk_matrix(np.array([[1, 0, 0, 0], [0, 1, 0, 7.5], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    transform.SetMatrixTransformToParent(matrix)
    before = set(dicom.database.files)
    opened._parameterNode.inputVolume.SetAndObserveTransformNodeID(transform.GetID())
    opened._parameterNode.tumourSegmentation.SetAndObserveTransformNodeID(transform.GetID())
    restaged(opened)
    assert "does not lie where its DICOM images lie" in messages(desk)[-1]
    assert set(dicom.database.files) == before


def test_changed_voxels_are_refused(opened, desk, dicom):
    volume = opened._parameterNode.inputVolume
    values = nodes.array_of(volume.GetImageData()).copy()
    nodes._set_voxels(volume.GetImageData(), values + 1)
    volume.GetImageData().Modified()
    restaged(opened)
    assert "voxels of “from DICOM” differ" in messages(desk)[-1]


def test_missing_files_are_counted(opened, desk, dicom):
    del dicom.database.files[next(iter(dicom.database.files))]
    opened.ui.dicomExportButton.click()
    assert "1 of the " in messages(desk)[-1]
    assert "are not in Slicer's DICOM database" in messages(desk)[-1]


def test_another_number_of_slices_is_refused(opened, desk):
    volume = opened._parameterNode.inputVolume
    uids = volume.GetAttribute(dicom_export.INSTANCES).split()
    volume.SetAttribute(dicom_export.INSTANCES, " ".join(uids[:-1]))
    opened.ui.dicomExportButton.click()
    assert f"its DICOM images have {len(uids) - 1}" in messages(desk)[-1]


def test_a_database_that_takes_nothing_is_reported(opened, desk, dicom, monkeypatch):
    monkeypatch.setattr(dicom.database, "take", lambda folder, copy: None)
    opened.ui.dicomExportButton.click()
    assert "did not take: map" in messages(desk)[-1]
    assert opened.ui.dicomLabel.text == ""


# -- codes of segments ---------------------------------------------------------------------------------------------


def entry_of(segmentation, segment):
    found = segmentation.GetSegmentation().GetSegment(segment)
    text = vtk.reference("")
    assert found.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), text)
    return str(text)


def test_segments_have_codes(opened, scene):
    state = opened._parameterNode
    assert entry_of(state.tumourSegmentation, samples.TUMOUR) == terminology.TUMOUR
    state.showOutline = True
    assert entry_of(state.attentionOutline, layers.OUTLINE) == terminology.ATTENTION
    scene_staging.rethreshold(state, scene)
    assert entry_of(state.attentionOutline, layers.OUTLINE) == terminology.ATTENTION


def test_the_attention_has_the_codes_of_its_dicom_segmentation():
    _, category, kind, *_ = terminology.ATTENTION.split("~")
    for text, (value, scheme, meaning) in ((category, codes.SPATIAL), (kind, codes.VISUAL_EXPLANATION)):
        assert text == f"{scheme}^{value}^{meaning}"
    assert "Neoplasm" not in terminology.ATTENTION
    for entry in (terminology.ATTENTION, terminology.TUMOUR):
        assert len(entry.split("~")) == 7
        assert all(len(code.split("^")) == 3 for code in entry.split("~")[1:4] + entry.split("~")[5:])
