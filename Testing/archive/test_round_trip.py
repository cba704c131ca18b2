"""From a real archive and back by the commands: stage, write as DICOM, store, stage again; and the listener."""

import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT
from helpers.key_objects import a_key_object
from pydicom import dcmread

from GTRStagingLib.archive.sending import send_folder
from GTRStagingLib.cli.main import main
from GTRStagingLib.support.addresses import parse_dimse_address

pytestmark = pytest.mark.usefixtures("no_credentials")

OBJECTS = 5
"""Objects of a result: report, map, region, key objects, picture."""


def staged(place, study, out, *more):
    """Stage the study's CT from an archive or a folder; return the exit code."""
    where = [place, "--study", study.uid] if place.startswith("dicomweb:") else [place]
    return main(["stage", *where, "--segmentation", str(study.seg), "--case-id", "a", "--out", str(out), "--dicom",
                 str(out / "dicom"), *more])  # fmt: skip


def files_of(folder):
    return {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in folder.glob("*.dcm")}


def test_results_return_to_the_archive_and_a_second_export_is_recognised(empty_archive, a_study, tmp_path, capsys):
    empty_archive.add(*a_study.slices)
    store = ["--store", empty_archive.address]
    assert staged(empty_archive.address, a_study, tmp_path / "first", *store) == 0
    assert f"{OBJECTS} objects: {OBJECTS} sent.\n" in capsys.readouterr().out
    written = files_of(tmp_path / "first" / "dicom")
    stored = empty_archive.instances()
    assert {uid: stored[uid] for uid in written} == written
    assert len(stored) == len(a_study.slices) + OBJECTS

    # From the archive, whose study has the results now, and from a folder: the same objects.
    for name, place in (("second", empty_archive.address), ("third", str(a_study.folder / "ct"))):
        assert staged(place, a_study, tmp_path / name, *store) == 0
        assert f"{OBJECTS} objects: {OBJECTS} already there.\n" in capsys.readouterr().out
        assert files_of(tmp_path / name / "dicom").keys() == written.keys()
    assert empty_archive.instances() == stored


def test_stage_sends_what_it_wrote_and_refuses_the_folder_of_a_ct(empty_archive, a_study, tmp_path, capsys):
    ct, out = tmp_path / "ct", tmp_path / "out"
    shutil.copytree(a_study.folder / "ct", ct)
    before = {path.name: path.read_bytes() for path in ct.iterdir()}
    refused = ["stage", str(ct), "--segmentation", str(a_study.seg), "--dicom", str(ct), "--store",
               empty_archive.address]  # fmt: skip
    assert main(refused) == 1
    assert "has images of a CT; expected a folder for the results alone" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in ct.iterdir()} == before
    shutil.copytree(ct, out / "dicom" / "of another case")
    assert staged(str(ct), a_study, out, "--store", empty_archive.address) == 0
    assert empty_archive.instances().keys() == files_of(out / "dicom").keys()
    assert len(empty_archive.instances()) == OBJECTS


def test_what_was_computed_is_kept_if_the_archive_is_down(empty_archive, a_study, tmp_path, capsys):
    empty_archive.kill()
    store = ["--store", empty_archive.dimse]
    assert staged(str(a_study.folder / "ct"), a_study, tmp_path / "out", *store) == 1
    shown = capsys.readouterr()
    assert f"{OBJECTS} objects: {OBJECTS} waiting.\n" in shown.out
    assert "no association; expected a running DICOM service" in shown.err
    assert (tmp_path / "out" / "result.json").exists()
    empty_archive.start()
    assert main(["send", str(tmp_path / "out" / "dicom"), *store]) == 0
    assert empty_archive.instances().keys() == files_of(tmp_path / "out" / "dicom").keys()


def test_the_listener_stages_by_an_roi_and_by_a_key_object_selection(empty_archive, a_study, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "GTRStagingLib", "listen", "--spool", str(tmp_path / "spool"), "--store",
         empty_archive.address, "--known", "GTRSTAGING", "--title", "LISTENER", "--port", "0", "--quiet-s", "0.5",
         "--device", "cpu"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        port = re.search(r":(\d+) as", process.stderr.readline())[1]
        address = parse_dimse_address(f"dicom://LISTENER@127.0.0.1:{port}")
        by_roi, by_key_object = tmp_path / "roi", tmp_path / "ko"
        for folder in (by_roi, by_key_object):
            shutil.copytree(a_study.folder / "ct", folder)
        shutil.copy(a_study.seg, by_roi)
        a_key_object([dcmread(a_study.slices[8])]).save_as(by_key_object / "ko.dcm", enforce_file_format=True)
        for count, folder in enumerate((by_roi, by_key_object), 1):
            assert send_folder(folder, address).complete
            assert re.fullmatch(r"study \w{8}: staged, 25 objects, \d+\.\d s\n", process.stderr.readline())
            assert re.fullmatch(rf"study \w{{8}}: {OBJECTS} objects: {OBJECTS} sent\n", process.stderr.readline())
            assert len(empty_archive.instances()) == count * OBJECTS

        # Results that come back are no ROI and no mark.
        (by_roi / a_study.seg.name).unlink()
        (by_roi / "outbox.json").unlink()
        for number, content in enumerate(empty_archive.instances().values()):
            (by_roi / f"result{number}.dcm").write_bytes(content)
        assert send_folder(by_roi, address).complete
        assert process.stderr.readline().endswith(
            f"left alone, {24 + 2 * OBJECTS} objects: no ROI and no key object selection\n"
        )
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stderr.close()
