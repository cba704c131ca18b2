"""The structured report and the key objects state the result, are read back, and are refused once they are changed."""

import copy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import highdicom as hd
import pytest
from helpers import oriented_cts
from helpers.dicom_validation import no_errors
from helpers.tokens import Tokens
from pydicom import dcmread
from pydicom.sr.codedict import codes as known

from GTRStagingLib import load_model
from GTRStagingLib.dicom_results import codes
from GTRStagingLib.dicom_results.read_report import read_reports
from GTRStagingLib.dicom_results.report_content import content_of
from GTRStagingLib.dicom_results.write import FILES, references_of, write_dicom_results
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case


@pytest.fixture(scope="module")
def model():
    return load_model("demonstration", device="cpu")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TStage.T3, seed=3, size=64)


@pytest.fixture(scope="module")
def case(model, phantom, tmp_path_factory):
    """A staged CT with its objects in both codings."""
    return staged(model, phantom, tmp_path_factory.mktemp("case"), oriented_cts.slices_of(phantom))


def staged(model, phantom, folder, slices, *, roi=True, options=None):
    ct = oriented_cts.write_slices(folder / "ct", slices)
    how = {"tumour": Roi(phantom.tumour, "tumour")} if roi else {"key_slice": 8}
    result = stage_case(read_scan(ct), model, options or StagingOptions(), case_id="case 3", **how)
    files = write_dicom_results(result, folder / "dicom")
    private = write_dicom_results(result, folder / "private", codes="private")
    return SimpleNamespace(result=result, files=files, private=private, folder=folder, ct=ct)


def items_of(ds):
    """Yield all content items of a document, at any depth."""
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from items_of(item)


def evaluations_of(report):
    """Return the container of the evaluations of the case, as highdicom reads it."""
    (found,) = hd.sr.utils.find_content_items(
        report.content[0], name=hd.sr.CodedConcept(*codes.QUALITATIVE_EVALUATIONS)
    )
    return found


def groups_of(report):
    """Return the group of the case and those of its slices, as highdicom reads them."""
    found = hd.sr.utils.find_content_items(evaluations_of(report), name=known.DCM.MeasurementGroup)
    return [hd.sr.MeasurementsAndQualitativeEvaluations.from_sequence([one]) for one in found]


def concepts_in(ds):
    """Yield (value, scheme, meaning) of every code in a dataset."""
    for element in ds.iterall():
        if element.keyword == "CodeMeaning":
            continue
        if element.VR == "SQ":
            for item in element.value:
                if "CodeValue" in item:
                    yield item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning


# -- what is stated ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_every_object_is_valid_in_both_codings(case, kind):
    no_errors(case.files[kind])
    no_errors(case.private[kind])


def test_highdicom_reads_the_stage_of_the_case_and_of_each_slice_with_its_image(case):
    report = hd.sr.srread(case.files["report"])
    assert report.content[0].name == known.DCM.ImagingMeasurementReport
    question = hd.sr.CodedConcept(*codes.QUESTION)
    evaluations = evaluations_of(report)
    (stage,) = [item for item in evaluations.ContentSequence if item.name == question]
    assert (stage.value.value, stage.value.scheme_designator) == codes.STAGES[case.result.prediction.stage][:2]
    whole, *slices = groups_of(report)
    (again,) = whole.get_qualitative_evaluations(question)
    assert again.value == stage.value
    assert whole.method == hd.sr.CodedConcept(*codes.METHOD)
    assert whole.finding_sites[0].value == known.SCT.Stomach
    assert len(slices) == len(case.result.slices.offsets)
    for one, predicted in zip(slices, case.result.prediction.slices, strict=True):
        (stage,) = one.get_qualitative_evaluations(question)
        assert stage.value.value == codes.STAGES[predicted.stage][0]
        (source,) = one.source_images
        image = next(
            d for d in map(dcmread, case.ct.iterdir()) if d.SOPInstanceUID == source.referenced_sop_instance_uid
        )
        index = case.result.key_slice.index + predicted.offset
        assert float(image.ImagePositionPatient[2]) == pytest.approx(
            case.result.slices.native.GetOrigin()[2]
            + case.result.slices.offsets.index(predicted.offset) * case.result.slices.native.GetSpacing()[2]
        ), index
        found = [one.get_measurements(hd.sr.CodedConcept(*code))[0].value for code in codes.PROBABILITIES.values()]
        assert found == pytest.approx(predicted.probabilities, abs=1e-12)


def test_an_independent_reader_reads_the_region_group(case, tmp_path):
    """dcmqi reads groups of segments: threshold and Dice, and the finding that is no tumour."""
    program = Path(sys.executable).parent / "tid1500reader"
    out = tmp_path / "read.json"
    done = subprocess.run(
        [program, "--inputDICOM", str(case.files["report"]), "--outputMetadata", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Visual explanation" in out.read_text()


def test_the_report_lists_every_other_object_and_the_slices(case):
    report = dcmread(case.files["report"])
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID == dcmread(next(case.ct.iterdir())).StudyInstanceUID
    listed = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    others = {dcmread(path).SOPInstanceUID for kind, path in case.files.items() if kind != "report"}
    assert others < listed
    assert len(listed) == len(others) + len(case.result.slices.offsets)
    shown = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items_of(report) if item.ValueType == "IMAGE"
    }
    assert {dcmread(case.files[kind]).SOPInstanceUID for kind in ("map", "region", "picture")} < shown
    assert shown <= listed


def test_research_use_and_the_models_warning_are_in_the_report(case):
    report = dcmread(case.files["report"])
    groups = [item for item in items_of(report) if item.ConceptNameCodeSequence[0].CodeValue == "125007"]
    for group in groups:
        values = {one.ConceptCodeSequence[0].CodeValue for one in group.ContentSequence if one.ValueType == "CODE"}
        assert codes.RESEARCH_ONLY[0] in values
    texts = [item.TextValue for item in items_of(report) if item.ValueType == "TEXT"]
    assert case.result.model.warning in texts
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")


def test_private_codes_leave_out_snomed_and_are_declared(case):
    for kind, path in case.private.items():
        ds = dcmread(path)
        found = list(concepts_in(ds))
        assert not [one for one in found if one[1] in ("SCT", "SRT")], kind
        if any(scheme == codes.SCHEME for _, scheme, _ in found):
            (declared,) = ds.CodingSchemeIdentificationSequence
            assert (declared.CodingSchemeDesignator, declared.CodingSchemeUID) == (codes.SCHEME, codes.SCHEME_UID)
    assert any(scheme == "SCT" for _, scheme, _ in concepts_in(dcmread(case.files["report"])))


def test_codes_fit_their_elements_and_are_distinct():
    own = [code for name in dir(codes) if name.isupper() for code in _flat(getattr(codes, name))]
    own += [codes.in_private(code) for code in own]
    for value, scheme, meaning in own:
        assert 0 < len(value) <= 16
        assert len(scheme) <= 16
        assert 0 < len(meaning) <= 64
    meanings = {}
    for value, scheme, meaning in own:
        assert meanings.setdefault((value, scheme), meaning) == meaning


def test_standard_codes_are_those_of_pydicoms_dictionary():
    """DICOM's own; the stages, which DICOM does not have, are mCODE's."""
    mcode = {codes.QUESTION, codes.METHOD, *codes.STAGES.values()}
    own = {code for name in dir(codes) if name.isupper() for code in _flat(getattr(codes, name))}
    for value, scheme, meaning in own - mcode:
        if scheme in ("DCM", "SCT", "LN"):
            names = {
                getattr(known, scheme).__getattr__(n).meaning.lower()  # highdicom writes some words in capitals
                for n in getattr(known, scheme).dir()
                if getattr(known, scheme).__getattr__(n).value == value
            }
            assert meaning.lower() in names, (value, meaning)


def _flat(value):
    if isinstance(value, dict):
        return list(value.values())
    return [value] if isinstance(value, tuple) and len(value) == 3 and isinstance(value[0], str) else []


def test_the_key_objects_are_the_voting_slices(case):
    found = dcmread(case.files["key objects"])
    assert found.ConceptNameCodeSequence[0].CodeValue == "113000"
    images = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items_of(found) if item.ValueType == "IMAGE"
    ]
    assert len(images) == len(case.result.slices.offsets)
    assert set(images) == {uid for _, uid in references_of(found)}
    (description,) = [
        item.TextValue for item in items_of(found) if item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert str(case.result.prediction.stage) in description
    assert "research" in description.casefold()


# -- reading back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["files", "private"])
def test_a_report_gives_back_what_was_staged(case, coding):
    (report,) = read_reports([getattr(case, coding)["report"]]).reports
    assert report == content_of(case.result, 0.5)
    assert report.prediction.probabilities == pytest.approx(case.result.prediction.probabilities, abs=1e-12)
    assert report.stability == case.result.stability
    assert report.agreement["dice"] == pytest.approx(case.result.agreement.dice, abs=1e-12)


def test_several_looks_an_unknown_region_and_no_roi_come_back(model, phantom, tmp_path):
    made = staged(
        model, phantom, tmp_path, oriented_cts.slices_of(phantom), roi=False, options=StagingOptions(tta=True)
    )
    (report,) = read_reports([made.files["report"]]).reports
    assert report.looks == len(made.result.looks.each) > 1
    assert report.spread == pytest.approx(made.result.looks.spread, abs=1e-12)
    assert report.agreement == {}
    assert report.pointing_hit is None
    assert report.set_withheld == made.result.stage_set.withheld
    no_errors(made.files["report"])


def test_a_multi_frame_ct_is_referred_to_by_frame(model, phantom, tmp_path):
    made = staged(model, phantom, tmp_path, [oriented_cts.multi_frame(oriented_cts.slices_of(phantom))])
    report = dcmread(made.files["report"])
    groups = groups_of(hd.sr.srread(made.files["report"]))[1:]
    frames = [one.source_images[0].referenced_frame_numbers[0] for one in groups]
    assert len(set(frames)) == len(made.result.slices.offsets)
    key = dcmread(made.files["key objects"])
    (image,) = [item for item in items_of(key) if item.ValueType == "IMAGE"]
    assert sorted(image.ReferencedSOPSequence[0].ReferencedFrameNumber) == sorted(frames)
    assert report.StudyInstanceUID == key.StudyInstanceUID
    for path in made.files.values():
        no_errors(path)
    assert read_reports([made.files["report"]]).reports[0] == content_of(made.result, 0.5)


def changed(case, tmp_path, change, name="changed.dcm"):
    ds = dcmread(case.files["report"])
    change(ds)
    ds.save_as(tmp_path / name)
    return tmp_path / name


def named(item, value):
    return [one for one in item.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == value]


def groups_in(ds):
    """Return the groups of a report's case and slices."""
    (evaluations,) = named(ds, codes.QUALITATIVE_EVALUATIONS[0])
    return named(evaluations, codes.MEASUREMENT_GROUP[0])


def test_changed_reports_are_refused(case, tmp_path):
    def measured(group, value):
        return named(group, value)[0].MeasuredValueSequence[0]

    def probability(ds):
        one = measured(groups_in(ds)[0], "PROBABILITY_T3")
        one.NumericValue, one.FloatingPointValue = "0.5", 0.5

    def slice_probabilities(ds):
        for value, change in (("PROBABILITY_T1", 0.01), ("PROBABILITY_T2", -0.01)):
            one = measured(groups_in(ds)[1], value)
            one.FloatingPointValue = one.FloatingPointValue + change
            one.NumericValue = str(one.FloatingPointValue)[:16]

    def stage(ds):
        named(groups_in(ds)[0], codes.QUESTION[0])[0].ConceptCodeSequence[0].CodeValue = codes.STAGES[TStage.T1][0]

    def stage_of_the_document(ds):
        (evaluations,) = named(ds, codes.QUALITATIVE_EVALUATIONS[0])
        named(evaluations, codes.QUESTION[0])[0].ConceptCodeSequence[0].CodeValue = codes.STAGES[TStage.T1][0]

    def no_research_use(ds):
        (evaluations,) = named(ds, codes.QUALITATIVE_EVALUATIONS[0])
        evaluations.ContentSequence = [
            one
            for one in evaluations.ContentSequence
            if one.ConceptNameCodeSequence[0].CodeValue != codes.INTENDED_USE[0]
        ]

    def no_warning_of_the_model(ds):
        (evaluations,) = named(ds, codes.QUALITATIVE_EVALUATIONS[0])
        named(evaluations, codes.MODEL_WARNING[0])[0].TextValue = "none"

    def warning(ds):
        group = groups_in(ds)[0]
        group.ContentSequence = [
            one for one in group.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue != "WARNING"
        ]

    def no_slices(ds):
        (evaluations,) = named(ds, codes.QUALITATIVE_EVALUATIONS[0])
        kept = groups_in(ds)[0]
        evaluations.ContentSequence = [
            one for one in evaluations.ContentSequence if one.ValueType != "CONTAINER" or one is kept
        ]

    for change in (
        slice_probabilities, stage, stage_of_the_document, no_research_use, no_warning_of_the_model, warning, no_slices,
        probability,
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"changed\.dcm"):
            read_reports([changed(case, tmp_path, change)])


def test_reports_with_all_groups_below_the_measurements_are_read(case, tmp_path):
    """As the objects of layout 1 had them, which archives may hold."""

    def earlier(ds):
        (measurements,) = named(ds, codes.IMAGING_MEASUREMENTS[0])
        measurements.ContentSequence = [*groups_in(ds), *measurements.ContentSequence]
        ds.ContentSequence = [
            one
            for one in ds.ContentSequence
            if one.ConceptNameCodeSequence[0].CodeValue != codes.QUALITATIVE_EVALUATIONS[0]
        ]

    (report,) = read_reports([changed(case, tmp_path, earlier)]).reports
    assert report == content_of(case.result, 0.5)


def test_a_truncated_report_is_refused(case, tmp_path):
    content = case.files["report"].read_bytes()
    for size in (*(int(share * len(content)) for share in (0.3, 0.7, 0.99)), len(content) - 10):
        (tmp_path / "cut.dcm").write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut\.dcm"):
            read_reports([tmp_path / "cut.dcm"])


def test_reports_of_other_software_are_named_and_left_out(case, tmp_path):
    def other(ds):
        ds.Manufacturer = "Another"

    foreign = changed(case, tmp_path, other, "foreign.dcm")
    found = read_reports([case.folder / "dicom", foreign])
    assert len(found.reports) == 1
    assert "foreign.dcm" in found.notes[0]
    with pytest.raises(InputError, match="No structured report"):
        read_reports([foreign])


def test_two_reports_of_a_case_must_agree(model, phantom, case, tmp_path):
    shutil.copy(case.files["report"], tmp_path / "again.dcm")
    again = read_reports([case.files["report"], tmp_path / "again.dcm"])
    assert len(again.reports) == 1
    assert again.notes
    other = stage_case(read_scan(case.ct), model, key_slice=9, case_id="case 3")
    files = write_dicom_results(other, tmp_path / "other")
    with pytest.raises(InputError, match="two different reports of case 'case 3'"):
        read_reports([case.files["report"], files["report"]])


# -- writing again -------------------------------------------------------------------------------------------------


def test_a_second_export_leaves_the_files_as_they_are(model, phantom, case, tmp_path):
    shutil.copytree(case.folder / "dicom", tmp_path / "dicom")
    before = {path.name: path.read_bytes() for path in (tmp_path / "dicom").iterdir()}
    again = stage_case(read_scan(case.ct), model, tumour=Roi(phantom.tumour, "tumour"), case_id="case 3")
    again = replace(again, provenance=replace(again.provenance, utc="2031-01-01T00:00:00+00:00"))
    write_dicom_results(again, tmp_path / "dicom")
    assert {path.name: path.read_bytes() for path in (tmp_path / "dicom").iterdir()} == before
    (tmp_path / "dicom" / "map.dcm").unlink()
    write_dicom_results(again, tmp_path / "dicom")
    assert {path.name for path in (tmp_path / "dicom").iterdir()} == before.keys()
    changed = write_dicom_results(again, tmp_path / "dicom", threshold=0.3)
    for kind, path in changed.items():
        assert dcmread(path).SOPInstanceUID != dcmread(case.files[kind]).SOPInstanceUID


def test_another_warning_makes_other_objects(case, tmp_path):
    """As when a mask of the stomach shows afterwards that the key slice has none."""
    shutil.copytree(case.folder / "dicom", tmp_path / "dicom")
    warned = replace(case.result, warnings=(*case.result.warnings, "The key slice shows NO STOMACH."))
    for kind, path in write_dicom_results(warned, tmp_path / "dicom").items():
        assert dcmread(path).SOPInstanceUID != dcmread(case.files[kind]).SOPInstanceUID
    assert b"NO STOMACH" in (tmp_path / "dicom" / "report.dcm").read_bytes()


def test_a_corrected_patient_makes_other_objects(case, tmp_path):
    shutil.copytree(case.folder / "dicom", tmp_path / "dicom")
    source = case.result.scan.source

    def corrected(indices, keywords):
        headers = [copy.deepcopy(one) for one in source.read(indices, keywords)]
        for one in headers:
            one.PatientID = "CORRECTED"
        return headers

    scan = replace(case.result.scan, source=replace(source, read=corrected))
    for kind, path in write_dicom_results(replace(case.result, scan=scan), tmp_path / "dicom").items():
        written = dcmread(path)
        assert written.PatientID == "CORRECTED"
        assert written.SOPInstanceUID != dcmread(case.files[kind]).SOPInstanceUID


def test_a_folder_with_another_ct_is_refused(model, phantom, case, tmp_path):
    other = make_phantom(TStage.T2, seed=5, size=64)
    made = staged(model, other, tmp_path, oriented_cts.slices_of(other))
    before = {path: path.read_bytes() for path in made.files.values()}
    with pytest.raises(InputError, match="not a DICOM result on this CT"):
        write_dicom_results(case.result, tmp_path / "dicom")
    assert {path: path.read_bytes() for path in made.files.values()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "map.dcm").write_text("my own notes")
    with pytest.raises(InputError, match="not a DICOM result on this CT"):
        write_dicom_results(case.result, tmp_path / "mine")


# -- privacy -------------------------------------------------------------------------------------------------------


def test_documents_contain_no_identifier_beyond_those_of_patient_and_study(model, phantom, tmp_path):
    tokens = Tokens()
    slices = [tokens.fill(one) for one in oriented_cts.slices_of(phantom)]
    for k, one in enumerate(slices):
        one.SOPInstanceUID = f"{one.SOPInstanceUID}.{k}"
    ct = oriented_cts.write_slices(tmp_path / "ct", slices)
    result = stage_case(read_scan(ct), model, key_slice=8)
    files = write_dicom_results(result, tmp_path / "dicom")
    for kind in ("report", "key objects"):
        ds = dcmread(files[kind])
        ds.file_meta.clear()
        for item in ("ContentSequence",):
            if item in ds:
                for found in ds[item].value:
                    # UIDs of the images are what a document refers to
                    text = str(found).replace(str(dcmread(next(ct.iterdir())).SeriesInstanceUID), "")
                    names = {value for key, value in tokens.of.items() if "UID" not in key}
                    assert not {value for value in names if value in text}, (kind, item)
        for element in ds:
            text = str(element.value)
            assert str(tmp_path) not in text


def test_texts_beyond_ascii_are_written_in_utf_8_where_the_ct_states_no_character_set(model, phantom, tmp_path):
    slices = oriented_cts.slices_of(phantom)
    for one in slices:
        one.pop("SpecificCharacterSet", None)
    ct = oriented_cts.write_slices(tmp_path / "ct", slices)
    result = stage_case(read_scan(ct), model, key_slice=8, case_id="Fall Müller 症例")
    files = write_dicom_results(result, tmp_path / "dicom")
    assert dcmread(files["report"]).SpecificCharacterSet == "ISO_IR 192"
    assert read_reports([tmp_path / "dicom"]).reports[0].case_id == "Fall Müller 症例"
    no_errors(files["report"])
