"""A CT in a real archive is the same as in a folder, and only its voting slices travel."""

import json
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.key_objects import a_key_object
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid

from GTRStagingLib.archive.remote_series import read_remote, states_of
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.cli.main import main
from GTRStagingLib.errors import GeometryError, InputError, MachineError
from GTRStagingLib.imaging import keyslice
from GTRStagingLib.imaging.inputs import read_inputs
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.support.addresses import parse_web_address

pytestmark = pytest.mark.usefixtures("no_credentials")


def address_of(archive, study):
    return parse_web_address(archive.address, study=study.uid)


def voxels(image):
    return sitk.GetArrayFromImage(image)


def test_a_scan_from_an_archive_equals_the_one_from_a_folder(filled_archive, a_study):
    remote, local = read_remote(address_of(filled_archive, a_study)), read_scan(a_study.folder / "ct")
    assert remote.grid == local.grid
    assert remote.acquisition == local.acquisition
    assert remote.frame_of_reference == local.frame_of_reference
    assert (remote.format, remote.intensity, remote.warnings) == (local.format, local.intensity, local.warnings)
    assert remote.source.instances() == local.source.instances()
    np.testing.assert_array_equal(voxels(remote.image), voxels(local.image))
    assert remote.image.GetPixelID() == local.image.GetPixelID()
    different = {name for name in local.identifiers if remote.identifiers[name] != local.identifiers[name]}
    assert different == {"InputPath"}


def test_only_the_slices_that_are_decoded_are_fetched(filled_archive, a_study):
    archive = WebArchive(address_of(filled_archive, a_study))
    scan = read_remote(archive.address, archive=archive)
    headers, asked = archive.traffic.received, archive.traffic.requests
    scan.slices(10, 12)
    scan.slices(10, 12)  # kept
    fetched = archive.traffic.received - headers
    three = sum(one.stat().st_size for one in a_study.slices[10:13])
    whole = sum(one.stat().st_size for one in a_study.slices)
    assert archive.traffic.requests - asked == 3
    assert three / 10 < fetched < 1.05 * three + 1000  # three files and their envelopes, compressed on the way
    assert headers + fetched < whole / 4


def test_the_command_gives_the_same_record_as_for_a_folder(filled_archive, a_study, tmp_path):
    roi = ["--segmentation", str(a_study.seg)]
    assert main(["stage", str(a_study.folder / "ct"), *roi, "--out", str(tmp_path / "local")]) == 0
    assert main(["stage", filled_archive.address, "--study", a_study.uid, "--series", a_study.series, *roi,
                 "--out", str(tmp_path / "remote")]) == 0  # fmt: skip
    local, remote = (
        json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8")) for name in ("local", "remote")
    )
    for one in (local, remote):
        for key in ("input_digest", "utc"):
            del one["provenance"][key]
        del one["input"]["digest"], one["timings_s"], one["case_id"]  # the case is named by its digest
    assert {key for key in local if local[key] != remote.get(key)} == set()
    text = (tmp_path / "remote" / "result.json").read_text(encoding="utf-8")
    assert a_study.uid not in text
    assert a_study.series not in text


def test_a_series_is_chosen_by_its_number_or_the_end_of_its_uid(empty_archive, a_study, tmp_path):
    others = other_series(a_study, tmp_path / "other")
    empty_archive.add(*a_study.slices, *others)
    other = dcmread(others[0]).SeriesInstanceUID
    address = address_of(empty_archive, a_study)
    with pytest.raises(InputError, match="2 CT series; expected one") as refused:
        read_remote(address)
    assert a_study.uid not in str(refused.value)
    assert "\n  number 9: 3 CT slices" in str(refused.value)
    assert read_remote(address, series="9").grid.size[2] == 3
    assert read_remote(address, series=a_study.series[-12:]).grid.size[2] == len(a_study.slices)
    assert read_remote(parse_web_address(f"{address.whole}/series/{other}")).grid.size[2] == 3


def test_a_missing_slice_is_refused_as_in_a_folder(empty_archive, a_study):
    empty_archive.add(*a_study.slices[:5], *a_study.slices[6:])
    with pytest.raises(GeometryError, match="1 slice missing"):
        read_remote(address_of(empty_archive, a_study))


def test_a_file_that_differs_from_the_metadata_is_refused(filled_archive, a_study, monkeypatch):
    answer = WebArchive.image
    other = dcmread(a_study.slices[0], stop_before_pixels=True).SOPInstanceUID
    monkeypatch.setattr(WebArchive, "image", lambda self, study, series, _: answer(self, study, series, other))
    scan = read_remote(address_of(filled_archive, a_study))
    with pytest.raises(InputError, match="SOPInstanceUID of the file that the archive sent differs") as refused:
        scan.slices(10, 10)
    assert str(other) not in str(refused.value)


def test_the_state_changes_with_an_image_of_the_ct_and_not_with_a_result(empty_archive, a_study):
    address = address_of(empty_archive, a_study)
    empty_archive.add(*a_study.slices[:-1])
    before = states_of(address)
    empty_archive.add(a_study.seg)
    assert states_of(address) == before
    empty_archive.add(a_study.slices[-1])
    assert states_of(address) != before


def test_the_state_changes_with_a_key_object_selection_and_not_with_ours(empty_archive, a_study, tmp_path):
    address = address_of(empty_archive, a_study)
    empty_archive.add(*a_study.slices)
    before = states_of(address)
    for name, model in (("own", "GTR Staging"), ("reader", "Viewer")):
        key_object = a_key_object([dcmread(a_study.slices[9])])
        key_object.ManufacturerModelName = model
        key_object.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    empty_archive.add(tmp_path / "own.dcm")
    assert states_of(address) == before
    empty_archive.add(tmp_path / "reader.dcm")
    assert states_of(address) != before


def test_a_study_or_series_that_is_not_there_is_named_without_its_uid(filled_archive, a_study):
    with pytest.raises(InputError, match="no series of this study") as refused:
        read_remote(parse_web_address(filled_archive.address, study="1.2.3.4"))
    assert "1.2.3.4" not in str(refused.value)
    with pytest.raises(InputError, match="fits no CT series"):
        read_remote(address_of(filled_archive, a_study), series="1.2.3.4")
    with pytest.raises(InputError, match="HTTP 404"):
        read_remote(parse_web_address(f"dicomweb:{filled_archive.url}/elsewhere", study=a_study.uid))
    with pytest.raises(InputError, match="names no study"):
        read_remote(parse_web_address(filled_archive.address))


def test_no_connection_is_an_error_of_the_machine_after_bounded_attempts(a_study):
    from helpers.orthanc import free_port

    address = parse_web_address(f"dicomweb:http://127.0.0.1:{free_port()}/dicom-web", study=a_study.uid)
    archive = WebArchive(address, pauses_s=(0.01, 0.01))
    with pytest.raises(MachineError, match="after 3 attempts for the study's series"):
        read_remote(address, archive=archive)


def test_an_archive_that_is_killed_between_headers_and_slices_is_named_and_continues(empty_archive, a_study):
    empty_archive.add(*a_study.slices)
    archive = WebArchive(address_of(empty_archive, a_study), pauses_s=(0.01,))
    scan = read_remote(archive.address, archive=archive)
    kept = scan.slices(9, 9)
    empty_archive.kill()
    with pytest.raises(MachineError, match="no connection, or one that broke, after 2 attempts for an image"):
        scan.slices(9, 10)
    empty_archive.start()
    np.testing.assert_array_equal(voxels(scan.slices(9, 10))[0], voxels(kept)[0])


# -- what the study marks --------------------------------------------------------------------------------------------


def other_series(study, folder):
    """Write three slices of the CT as another series of the study."""
    folder.mkdir()
    other = generate_uid()
    for path in study.slices[:3]:
        ds = dcmread(path)
        ds.SeriesInstanceUID, ds.SeriesNumber = other, 9
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dcmwrite(folder / path.name, ds)
    return sorted(folder.iterdir())


def test_the_roi_chooses_among_the_series_of_a_study(empty_archive, a_study, tmp_path):
    empty_archive.add(*a_study.slices, *other_series(a_study, tmp_path / "other"))
    read = partial(read_remote, address_of(empty_archive, a_study))
    found = read_inputs(read, roi=a_study.seg)
    assert found.scan.grid.size[2] == len(a_study.slices)
    assert found.scan.warnings == ("CT series 1 chosen: the ROI refers to it.",)
    assert found.roi is not None


def test_a_key_object_selection_of_the_study_marks_the_key_slice(empty_archive, a_study, tmp_path):
    marked = dcmread(a_study.slices[9])
    key_object = a_key_object([marked])
    key_object.save_as(tmp_path / "ko.dcm", enforce_file_format=True)
    result = a_key_object([dcmread(a_study.slices[3])])  # of this software: a result, which marks nothing
    result.ManufacturerModelName = "GTR Staging"
    result.save_as(tmp_path / "own.dcm", enforce_file_format=True)
    empty_archive.add(*a_study.slices, *other_series(a_study, tmp_path / "other"), tmp_path / "ko.dcm",
                      tmp_path / "own.dcm")  # fmt: skip
    address = address_of(empty_archive, a_study)
    scan = read_remote(address, by_key_objects=True)
    key = keyslice.choose(scan, key_slice="ko")
    assert key.position_mm == float(marked.ImagePositionPatient[2])
    assert key.chosen_by == "key object"
    assert scan.warnings == ("CT series 1 chosen: the key object selection refers to it.",)
    assert main(["stage", empty_archive.address, "--study", a_study.uid, "--key-slice", "ko", "--out",
                 str(tmp_path / "out")]) == 0  # fmt: skip
    record = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert (record["key_slice"]["index"], record["key_slice"]["chosen_by"]) == (key.index, "key object")


def test_without_a_mark_in_the_study_the_key_slice_is_not_guessed(filled_archive, a_study):
    scan = read_remote(address_of(filled_archive, a_study))
    with pytest.raises(InputError, match="study in the archive has no key object selection"):
        keyslice.choose(scan, key_slice="ko")


def test_a_slice_that_was_rejected_in_the_archive_is_not_given_out(empty_archive, a_study, tmp_path):
    rejecting = a_key_object([dcmread(a_study.slices[9])], "RejectedForQualityReasons")
    rejecting.save_as(tmp_path / "ko.dcm", enforce_file_format=True)
    empty_archive.add(*a_study.slices, tmp_path / "ko.dcm")
    scan = read_remote(address_of(empty_archive, a_study))
    assert list(scan.rejected.values()) == ["Rejected for Quality Reasons"]
    with pytest.raises(InputError, match="Rejected for Quality Reasons"):
        scan.slices(8, 10)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ct", "--study", "1.2"], "--study requires an archive"),
        (["dicomweb:https://pacs.example/x"], "expected --study UID: the address of the archive names no study"),
        (["dicomweb:https://a:b@127.0.0.1/x", "--study", "1.2"], "contains a user or a password"),
        (["dicomweb:http://pacs.example/x", "--study", "1.2"], "is not encrypted"),
    ],
)
@pytest.mark.parametrize("command", ["stage", "profile"])
def test_wrong_uses_of_the_command_are_refused(command, arguments, expected, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        main([command, *arguments, "--out", str(tmp_path / "out")])
    assert expected in capsys.readouterr().err


def test_a_profile_fetches_its_slices_only(filled_archive, a_study, tmp_path):
    assert main(["profile", filled_archive.address, "--study", a_study.uid, "--around", "8", "--mm", "5",
                 "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    lines = (tmp_path / "out" / "profile.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4  # a header, and the key slice with one slice on each side
