"""The structured report obeys what 3D Slicer's plugin for such reports takes for granted.

The desktop is not run here. The rules are those of `DICOMTID1500Plugin.py` of Slicer 5.13 (Slicer/Slicer, commit
cecaf6792162, Modules/Scripted/DICOMPlugins), which reads reports by the program `tid1500reader` of dcmqi:

- It takes a document whose root has the template 1500, and loads the segmentations among its evidence first.
- The columns of its table are the measurements of the first group, named by their derivation if they have one, else by
  their quantity, with the unit. The values of each group are put into these columns by their order alone.
- The n-th group's tracking UID is given to the n-th segment of the segmentation that was loaded last. If the report
  names none, that is any segmentation of the scene.
- A report without a group stops it before it has made anything.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pytest
from helpers.dicom_validation import no_errors
from helpers.staged_dicom import staged
from pydicom import dcmread
from pydicom.sr.codedict import codes as known
from pydicom.uid import SegmentationStorage

from GTRStagingLib import load_model
from GTRStagingLib.dicom_results.read_report import read_reports
from GTRStagingLib.dicom_results.write import write_dicom_results
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TStage.T3, seed=3, size=64)


@pytest.fixture(scope="module")
def case(phantom, tmp_path_factory):
    return staged(load_model("demonstration", device="cpu"), phantom, tmp_path_factory.mktemp("case"))


def as_dcmqi_reads(report, folder):
    """Return the content of a report in JSON, and what the program has printed."""
    out = folder / "read.json"
    done = subprocess.run(
        [Path(sys.executable).parent / "tid1500reader", "--inputDICOM", str(report), "--outputMetadata", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text()), done.stdout + done.stderr


def columns_of(group):
    """Return the names of a group's columns as the plugin makes them."""
    return [
        f"{one.get('derivationModifier', one['quantity'])['CodeMeaning']} [{one['units']['CodeValue']}]"
        for one in group["measurementItems"]
    ]


def segmentations_of(report):
    """Return the UIDs of the segmentations that a report lists as evidence."""
    return [
        one.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
        if one.ReferencedSOPClassUID == SegmentationStorage
    ]


@pytest.mark.parametrize("codes", ["standard", "private"])
def test_each_group_belongs_to_the_segment_of_its_number_and_has_the_columns_of_the_first(case, tmp_path, codes):
    files = write_dicom_results(case.result, tmp_path / codes, codes=codes)
    report, region = dcmread(files["report"]), dcmread(files["region"])
    groups = as_dcmqi_reads(files["report"], tmp_path)[0]["Measurements"]
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert segmentations_of(report) == [region.SOPInstanceUID]
    assert [one["TrackingUniqueIdentifier"] for one in groups] == [one.TrackingUID for one in region.SegmentSequence]
    names = columns_of(groups[0])
    assert len(names) == len(set(names))
    assert all(columns_of(one) == names for one in groups)
    found = dict(zip(names, (float(one["value"]) for one in groups[0]["measurementItems"]), strict=True))
    assert found["Dice of attention region and ROI [1]"] == pytest.approx(case.result.agreement.dice, abs=1e-9)
    assert found["Area of the ROI [mm2]"] == pytest.approx(case.result.agreement.roi_area_mm2, rel=1e-9)


def test_the_programs_that_the_plugin_uses_know_every_item_and_find_no_drawn_region(case, tmp_path):
    """A drawn region would be read by other lines of the plugin, which expect a polygon or a point in each group."""
    assert "not known" not in as_dcmqi_reads(case.files["report"], tmp_path)[1]
    (group,) = hd.sr.srread(case.files["report"]).content.get_planar_roi_measurement_groups()
    assert group.reference_type == known.DCM.ReferencedSegmentationFrame


def test_without_a_region_there_is_no_group_that_a_segment_of_something_else_could_take(case, tmp_path):
    result = case.result
    empty = replace(result, heat=result.heat * 0.0, agreement=None)
    files = write_dicom_results(empty, tmp_path / "dicom")
    assert "region" not in files
    assert as_dcmqi_reads(files["report"], tmp_path)[0]["Measurements"] == []
    assert segmentations_of(dcmread(files["report"])) == []
    no_errors(files["report"])
    (read,) = read_reports([files["report"]]).reports
    assert (read.prediction, read.threshold) == (result.prediction, None)
