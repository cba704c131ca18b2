"""A reader's folder names no patient and no true stage; collected tables have the ids of the given table alone."""

import csv
import gzip
import json
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from helpers.reading_studies import Watch, make_study, read_all, write_cohort_folder
from helpers.tokens import MARK, Tokens, tokens_below, tokens_in

from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.stages import TStage

TOKEN = f"{MARK}9000"


def altered(table, change):
    """Change the rows of a table in place."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [change(n, row) for n, row in enumerate(csv.DictReader(file))]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def tokens_study(tmp_path_factory):
    """Ids, files and headers are full of tokens; two cases are DICOM series with every identifying element."""
    folder = tmp_path_factory.mktemp("tokens")
    table = write_cohort_folder(folder / "data", 8, token=TOKEN)
    for n in range(2):
        phantom = make_phantom(TStage(n), seed=n, size=64)
        place = folder / "data" / f"{TOKEN}-dicom{n}"
        write_dicom(phantom, place)
        tokens = Tokens()
        for path in (place / "ct").iterdir():
            tokens.fill(pydicom.dcmread(path)).save_as(path)

    def change(n, row):
        return row | ({"image": f"{TOKEN}-dicom{n}/ct"} if n < 2 else {})

    altered(table, change)
    study = make_study(folder, cohort=table, token=TOKEN, design=Design(repeats=1, seed=2), washout_days=0)
    for reader in ("r1", "r2"):
        read_all(study, reader, Watch())
    return study


def test_a_readers_folder_and_log_have_no_token(tokens_study):
    assert tokens_below(tokens_study / "organiser")  # the search finds them where they are
    for reader in ("r1", "r2"):
        assert (tokens_study / "readers" / reader / "log.jsonl").is_file()
        assert tokens_below(tokens_study / "readers" / reader) == {}


def test_an_image_is_voxels_and_geometry_and_nothing_else(tokens_study):
    key = list(csv.DictReader((tokens_study / "organiser" / "key.csv").open(encoding="utf-8")))
    for row in key[:4]:
        path = tokens_study / "readers" / row["reader"] / "cases" / f"{row['code']}.nii.gz"
        header = nib.load(path).header
        assert [bytes(header[name].item()).strip(b"\0") for name in ("aux_file", "intent_name", "db_name")] == [b""] * 3
        assert not header.extensions
        assert tokens_in(gzip.decompress(path.read_bytes())) == set()
        assert path.read_bytes()[3:8] == bytes(5)  # no name and no time in the header of the compressed file
        n = int(row["case_id"][-2:])
        source = tokens_study.parent / "data" / (f"{TOKEN}-dicom{n}/ct" if n < 2 else f"ct{TOKEN}-{n}.nrrd")
        own, copy = read_scan(source), read_scan(path)
        assert np.array_equal(*(sitk.GetArrayFromImage(one.slices(0, 23)) for one in (own, copy)))
        assert np.allclose(own.slices(0, 23).GetOrigin(), copy.image.GetOrigin(), atol=1e-3)


def test_collected_tables_have_ids_of_the_table_and_nothing_of_headers_and_files(tokens_study, tmp_path):
    found = collect(tokens_study, tokens_study / "organiser" / "truth.csv",
                    tokens_study.parent / "data" / "batch" / "predictions.csv")  # fmt: skip
    own = {"case_id", "patient_id", "centre", "model"}
    for path in write_collected(found, tmp_path / "table.csv"):
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
        assert rows or path.name == "deviations.csv"
        for row in rows:
            assert tokens_in(json.dumps({k: v for k, v in row.items() if k not in own}).encode()) == set()


def test_a_readers_folder_is_the_same_whatever_the_true_stages_are(tmp_path):
    """Nothing of the truth is in it: of two cohorts that differ in their stages alone, every byte is equal."""
    folders = []
    for turn in range(2):
        table = write_cohort_folder(tmp_path / f"{turn}" / "data", 8)
        altered(table, lambda n, row, turn=turn: row | {"stage": f"T{(n * (1 + 2 * turn) + turn) % 4 + 1}"})
        study = make_study(tmp_path / f"{turn}", cohort=table, design=Design(seed=6))
        assert (study / "organiser" / "truth.csv").is_file()
        folders.append({
            path.relative_to(study): (path.read_bytes(), path.stat().st_mtime, path.stat().st_mode)
            for path in (study / "readers").rglob("*")
            if path.is_file()
        })  # fmt: skip
    assert folders[0] == folders[1]
    truths = [(tmp_path / f"{turn}" / "study" / "organiser" / "truth.csv").read_text() for turn in range(2)]
    assert truths[0] != truths[1]


def test_nothing_that_a_reader_can_open_in_the_unaided_phase_names_a_stage(tmp_path):
    study = make_study(tmp_path, design=Design(kind="halves", training=4, seed=2), keep_advice=True, cases=12)
    stage = re.compile(rb"(?<![A-Za-z0-9])[cpu]?T[1-4][ab]?(?![A-Za-z0-9])")
    for path in (study / "readers").rglob("*"):
        assert not stage.search(path.name.encode())
        if path.is_file():
            assert path.stat().st_mtime == 315_532_800
            if path.suffix != ".gz":
                assert not stage.search(path.read_bytes()), path
    sizes = {path.stat().st_size for path in (study / "readers").rglob("plan.json")}
    assert len(sizes) == 1
