"""Batches that read from a real archive, and send their results to it."""

import csv
import shutil

import pytest
from helpers import orthanc
from helpers.worker_groups import no_processes
from pydicom import dcmread, dcmwrite
from pydicom.uid import generate_uid

from GTRStagingLib.archive import web
from GTRStagingLib.archive.outbox import OUTBOX
from GTRStagingLib.batch.local import BatchSettings
from GTRStagingLib.batch.run import run_batch
from GTRStagingLib.batch.storing import Storing
from GTRStagingLib.cli.main import main
from GTRStagingLib.errors import MachineError
from GTRStagingLib.support.addresses import parse_store_address

pytestmark = pytest.mark.usefixtures("no_credentials", "in_this_process")


@pytest.fixture(scope="module")
def in_this_process():
    """Cases are staged in this process, and no attempt waits; batches with processes are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patched, no_processes(patched):
        patched.setattr(web, "PAUSES_S", (0.01,))
        yield


def a_table(folder, rows):
    folder.mkdir(exist_ok=True)
    table = folder / "cases.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["case_id", "image", "series", "roi"])
        writer.writeheader()
        writer.writerows(rows)
    return table


def rows_of(out):
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def remote(archive, study):
    return {"image": f"{archive.address}/studies/{study.uid}", "roi": str(study.seg)}


def outcomes(table, out, **changes):
    found = []
    counts = run_batch(table, out, BatchSettings(device="cpu"), workers=1, **changes,
                       progress=lambda counts, outcome: outcome and found.append(outcome))  # fmt: skip
    return counts, found


def test_rows_of_an_archive_and_of_folders_have_equal_results(empty_archive, a_study, tmp_path):
    empty_archive.add(*a_study.slices)
    table = a_table(tmp_path / "table", [
        {"case_id": "remote", "series": "1", **remote(empty_archive, a_study)},
        {"case_id": "local", "image": str(a_study.folder / "ct"), "roi": str(a_study.seg)},
        {"case_id": "missing", "image": f"{empty_archive.address}/studies/1.2.3"},
    ])  # fmt: skip
    counts, _ = outcomes(table, tmp_path / "out")
    assert (counts.done, counts.failed) == (2, 1)
    one, other, failed = rows_of(tmp_path / "out")
    apart = {name for name in one if name.startswith("seconds")} | {"case_id"}
    assert {name for name in one if one[name] != other[name]} <= apart
    assert "no series of this study" in failed["reason"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.is_file())
    assert a_study.uid.encode() not in written

    # Resumed, both are kept; a further image of the CT makes the remote case new.
    counts, found = outcomes(table, tmp_path / "out", resume=True)
    assert [one.reused for one in found if one.status == "done"] == [True, True]
    last = dcmread(a_study.slices[-1])
    last.ImagePositionPatient[2] = float(last.ImagePositionPatient[2]) + 5
    last.SOPInstanceUID = last.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dcmwrite(tmp_path / "next.dcm", last)
    empty_archive.add(tmp_path / "next.dcm")
    counts, found = outcomes(table, tmp_path / "out", resume=True)
    assert {one.case_id: one.reused for one in found if one.status == "done"} == {"remote": False, "local": True}


def test_an_archive_that_is_down_stops_the_batch_and_resume_continues_it(empty_archive, a_study, tmp_path):
    empty_archive.add(*a_study.slices)
    table = a_table(tmp_path / "table", [{"case_id": "a", **remote(empty_archive, a_study)}])
    empty_archive.kill()
    with pytest.raises(MachineError, match="no connection, or one that broke"):
        outcomes(table, tmp_path / "out")
    empty_archive.start()
    counts, _ = outcomes(table, tmp_path / "out", resume=True)
    assert counts.done == 1


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("dicomweb:https://doctor:secret@127.0.0.1/web/studies/1.2", "contains a user or a password"),
        ("dicomweb:http://pacs.example/web/studies/1.2", "is not encrypted"),
        ("dicomweb:https://pacs.example/web/studies/Doe", "UID of the study is not one"),
    ],
)
def test_a_wrong_address_is_an_error_of_its_row_without_secrets(tmp_path, image, expected, capsys):
    table = a_table(tmp_path / "table", [{"case_id": "a", "image": image}])
    assert main(["batch", str(table), "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().err
    assert "row 2, image dicomweb:: " in shown
    assert expected in shown
    for word in ("secret", "doctor", "Doe"):
        assert word not in shown


def test_commands_that_read_files_refuse_an_address(tmp_path, capsys):
    table = tmp_path / "cohort.csv"
    table.write_text("case_id,patient_id,image,stage\na,p,dicomweb:https://pacs.example/web/studies/1.2,T3\n")
    assert main(["cohort", "audit", str(table)]) == 1
    assert "the image is in an archive; expected a path here" in capsys.readouterr().err


# -- sending -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def staged_batch(a_study, tmp_path_factory, in_this_process):
    """A table of two cases and its batch, in whose case folders lie DICOM objects."""
    folder = tmp_path_factory.mktemp("staged")
    rows = [{"case_id": name, "image": str(a_study.folder / "ct"), "roi": str(a_study.seg)} for name in ("a", "b")]
    table = a_table(folder / "table", rows)
    outcomes(table, folder / "out")
    for name in ("a", "b"):
        (folder / "out" / "cases" / name / "dicom").mkdir()
        one = dcmread(a_study.seg)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.save_as(folder / "out" / "cases" / name / "dicom" / "region.dcm")
    return folder


@pytest.fixture
def a_batch(staged_batch, tmp_path):
    shutil.copytree(staged_batch, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy" / "table" / "cases.csv", tmp_path / "copy" / "out"


def test_results_of_an_earlier_run_are_sent_by_resume_and_once(empty_archive, a_batch):
    storing = Storing(parse_store_address(empty_archive.address))
    _, found = outcomes(*a_batch, resume=True, storing=storing)
    assert [one.reused for one in found] == [True, True]
    assert storing.summary() == "Archive: 2 objects: 2 sent"
    assert len(empty_archive.instances()) == 2
    empty_archive.kill()  # what was sent asks nothing
    again = Storing(parse_store_address(empty_archive.address))
    outcomes(*a_batch, resume=True, storing=again)
    assert again.complete
    assert again.summary() == "Archive: 2 objects: 2 sent (2 by an earlier run)"


def test_a_batch_sends_only_what_it_wrote(empty_archive, a_batch, a_study):
    shutil.copytree(a_study.folder / "ct", a_batch[1] / "cases" / "a" / "dicom" / "ct")
    shutil.copy(a_study.slices[0], a_batch[1] / "cases" / "a" / "dicom")
    storing = Storing(parse_store_address(empty_archive.address))
    outcomes(*a_batch, resume=True, storing=storing)
    assert storing.summary() == "Archive: 2 objects: 2 sent"
    assert len(empty_archive.instances()) == 2


def test_an_archive_that_is_down_fails_no_case_and_resume_sends(a_batch, tmp_path):
    made = orthanc.configured(tmp_path / "orthanc")
    storing = Storing(parse_store_address(made.address))
    counts, _ = outcomes(*a_batch, resume=True, storing=storing)
    assert (counts.done, counts.failed) == (2, 0)
    assert not storing.complete
    assert storing.reasons.keys() == {"a", "b"}
    assert storing.summary() == (
        "Archive: 2 objects: 2 waiting; the archive was not reached or gave no access; of 2 cases not all, set "
        "`resume` to send them"
    )
    assert (a_batch[1] / "cases" / "a" / "dicom" / OUTBOX).exists()
    with orthanc.running(tmp_path / "orthanc", **made.config):
        again = Storing(parse_store_address(made.address))
        outcomes(*a_batch, resume=True, storing=again)
        assert again.complete
        assert again.summary() == "Archive: 2 objects: 2 sent"


def test_a_folder_of_results_is_no_list_of_another_archive(empty_archive, a_batch):
    (a_batch[1] / "cases" / "a" / "dicom" / OUTBOX).write_text("[]", encoding="utf-8")
    storing = Storing(parse_store_address(empty_archive.address))
    counts, _ = outcomes(*a_batch, resume=True, storing=storing)
    assert counts.done == 2
    assert storing.reasons.keys() == {"a"}
    assert storing.summary() == ("Archive: 2 objects: 1 sent, 1 waiting; of 1 case not all, set `resume` to send them")
    assert len(empty_archive.instances()) == 1


def test_results_are_sent_only_where_they_are_written_as_dicom(a_batch, capsys):
    for command in (
        ["batch", str(a_batch[0]), "--out", str(a_batch[1])],
        ["stage", "ct", "--json", "--key-slice", "1"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--store", "dicom://ARCHIVE@127.0.0.1:104"])
        assert "--store requires --dicom" in capsys.readouterr().err
