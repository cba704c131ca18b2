"""Objects carry the patient and the study of their CT as its headers state them, and nothing else of it."""

import warnings
from copy import deepcopy

import pytest
from helpers import oriented_cts
from helpers.dicom_files import say
from helpers.dicom_validation import consistent, no_errors
from helpers.staged_dicom import staged
from helpers.tokens import Tokens, tokens_in
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from GTRStagingLib import load_model
from GTRStagingLib.dicom_results.evidence import REQUIRED, evidence_of
from GTRStagingLib.dicom_results.write import write_dicom_results
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.scans import scan_of
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.pipeline import stage_case

PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime",
           "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription")  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return load_model("demonstration", device="cpu")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TStage.T3, seed=3, size=64)


@pytest.fixture
def objects(model, phantom, tmp_path):
    """A function that changes the headers of a CT, stages it, and returns its case."""

    def of(change):
        slices = oriented_cts.slices_of(phantom)
        for one in slices:
            change(one)
        return staged(model, phantom, tmp_path, slices=slices)

    return of


def raw(ds, keyword, value):
    """Set an element without a check of its value, as files from other software have it."""
    from pydicom.config import settings

    before = settings.writing_validation_mode
    settings.writing_validation_mode = 0
    try:
        setattr(ds, keyword, value)
    finally:
        settings.writing_validation_mode = before


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Łukasz^Žofie=山田^太郎"),
        ("ISO_IR 144", "Люкceмбypг"),
        (None, "Doe^Jane"),
    ],
)
def test_names_come_back_in_the_character_set_of_the_ct(objects, character_set, name):
    def change(ds):
        if character_set is None:
            ds.pop("SpecificCharacterSet", None)
        else:
            ds.SpecificCharacterSet = character_set
        ds.PatientName = name
        ds.StudyDescription = name.partition("=")[2].partition("^")[0] or name.partition("^")[0]

    case = objects(change)
    first = dcmread(next(case.ct.iterdir()))
    assert str(first.PatientName) == name
    for kind, ds in case.of.items():
        assert ds.PatientName == first.PatientName
        assert str(ds.PatientName) == name
        assert ds.StudyDescription == first.StudyDescription
        assert ds.get("SpecificCharacterSet") == first.get("SpecificCharacterSet")
        assert ds.get_item("PatientName").value == first.get_item("PatientName").value, kind
        no_errors(case.files[kind])


ODD = {
    "sex in words": {"PatientSex": "Female"},
    "sex O": {"PatientSex": "O"},
    "age without unit": {"PatientAge": "61"},
    "dates with dots": {"StudyDate": "2020.01.01", "PatientBirthDate": "1950.02.01"},
    "date that is none": {"StudyDate": "20201301"},
    "time that is none": {"StudyTime": "99:99"},
    "name of five parts": {"PatientName": "Doe^Jane^M^Dr^PhD^more"},
    "long identifiers": {"PatientID": "4" * 70, "StudyID": "long study identifier"},
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD)
def test_odd_values_are_carried_over_as_they_are(objects, values):
    def change(ds):
        for keyword, value in values.items():
            raw(ds, keyword, value)

    case = objects(change)
    with warnings.catch_warnings(record=True, action="always") as caught:
        write_dicom_results(case.result, case.ct.parent / "again", threshold=0.4)
    assert not caught  # they would show values of the headers
    first = dcmread(next(case.ct.iterdir()))
    for ds in case.of.values():
        for keyword in values:
            assert ds.get_item(keyword).value == first.get_item(keyword).value


@pytest.mark.parametrize("number", ["-3", "2147483647"])
def test_a_series_number_that_gives_none_is_replaced_by_the_first(objects, number):
    case = objects(lambda ds: say(ds, "SeriesNumber", number))
    assert sorted(int(case.of[kind].SeriesNumber) for kind in ("map", "region", "picture")) == [2, 3, 5]


def test_letters_that_cannot_be_decoded_are_refused(objects):
    def change(ds):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds["StudyDescription"] = RawDataElement(
            Tag("StudyDescription"), "LO", 6, b"M\xfcller", 0, is_implicit_VR=False, is_little_endian=True
        )

    with pytest.raises(InputError, match=r"not in their character set \(ISO_IR 192\); expected"):
        objects(change)


def test_missing_values_stay_empty(objects):
    def change(ds):
        for keyword in (*PATIENT, "BodyPartExamined", "SliceThickness", "SpacingBetweenSlices"):
            ds.pop(keyword, None)

    case = objects(change)
    for kind, ds in case.of.items():
        for keyword in PATIENT:
            assert not ds.get(keyword), keyword
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                        "StudyID", "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
            assert keyword in ds
        no_errors(case.files[kind])


def test_de_identification_and_trial_are_stated_as_in_the_ct(objects):
    def change(ds):
        ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "basic profile"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
        code.CodeMeaning = "Basic Application Confidentiality Profile"
        ds.DeidentificationMethodCodeSequence = Sequence([code])
        ds.LongitudinalTemporalInformationModified = "MODIFIED"
        ds.ClinicalTrialSponsorName, ds.ClinicalTrialProtocolID = "Sponsor", "TRIAL-1"
        ds.ClinicalTrialProtocolName, ds.ClinicalTrialSiteID, ds.ClinicalTrialSiteName = "", "", ""
        ds.ClinicalTrialSubjectID = "SUBJECT-7"
        ds.TimezoneOffsetFromUTC = "+0900"

    case = objects(change)
    for kind, ds in case.of.items():
        assert (ds.PatientIdentityRemoved, ds.DeidentificationMethod) == ("YES", "basic profile")
        assert ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
        assert (ds.ClinicalTrialProtocolID, ds.ClinicalTrialSubjectID) == ("TRIAL-1", "SUBJECT-7")
        assert ds.TimezoneOffsetFromUTC == "+0900"
        no_errors(case.files[kind])


def test_nothing_is_said_to_be_removed_that_the_ct_does_not_say(objects):
    case = objects(lambda ds: None)
    for ds in case.of.values():
        for keyword in ("PatientIdentityRemoved", "DeidentificationMethod", "TimezoneOffsetFromUTC",
                        "LongitudinalTemporalInformationModified", "ClinicalTrialProtocolID"):  # fmt: skip
            assert keyword not in ds


@pytest.mark.parametrize("lossy", [True, False])
def test_pictures_of_lossy_images_are_lossy(objects, lossy):
    def change(ds):
        if lossy:
            ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 12.5
            ds.LossyImageCompressionMethod = "ISO_10918_1"

    case = objects(change)
    for kind in ("map", "region", "picture"):
        ds = case.of[kind]
        assert ds.LossyImageCompression == ("01" if lossy else "00")
        assert (ds.get("LossyImageCompressionRatio") == 12.5) == lossy
        no_errors(case.files[kind])


def test_entities_are_consistent_with_the_ct(objects):
    case = objects(lambda ds: None)
    consistent([*case.files.values(), *sorted(case.ct.iterdir())])


def test_only_identifiers_of_patient_and_study_are_carried_over(objects, tmp_path):
    tokens = Tokens()
    case = objects(lambda ds: tokens.fill(ds))
    allowed = _of_patient_and_study(tokens.of)
    for kind, path in case.files.items():
        found = tokens_in(path.read_bytes())
        assert found, kind
        unexpected = {keyword for keyword, token in tokens.of.items() if _in(token, found) and keyword not in allowed}
        assert not unexpected, kind
        assert str(tmp_path).encode() not in path.read_bytes()


def _in(token, found):
    return any(part.lower() in found for part in (token, token.partition("^")[0]))


def _of_patient_and_study(keywords):
    """Return the attributes of patient, study and clinical trial, and those of the scanner, as PS3.3 lists them."""
    from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map

    of = get_module_attribute_map()
    modules = [m["key"] for m in get_iod_module_map()["ct-image"] if m["ie"] in ("Patient", "Study")]
    allowed = {str(item["keyword"]) for key in modules for item in of[key]}
    scanner = {"InstitutionName", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber",
               "SoftwareVersions", "Manufacturer", "ManufacturerModelName", "InstitutionAddress"}  # fmt: skip
    place = {"SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator"}
    return allowed | scanner | place | {"DeidentificationMethod", "TimezoneOffsetFromUTC"}


# -- what cannot be referred to ------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", [one for one in REQUIRED if one not in ("SOPClassUID", "SeriesInstanceUID")])
def test_images_without_uids_are_refused(objects, keyword):
    with pytest.raises(InputError, match=f"has no {keyword}; expected"):
        objects(lambda ds: ds.pop(keyword, None))


def test_other_formats_are_refused(model, phantom, tmp_path):
    result = stage_case(scan_of(phantom.ct, "phantom"), model, key_slice=8)
    with pytest.raises(InputError, match="read from volume in memory; expected DICOM"):
        write_dicom_results(result, tmp_path)
    assert not any(tmp_path.iterdir())


def test_headers_are_not_changed(objects):
    case = objects(lambda ds: None)
    evidence = evidence_of(case.result)
    before = deepcopy(evidence.key)
    write_dicom_results(case.result, case.ct.parent / "again", threshold=0.4)
    assert evidence_of(case.result).key == before
