"""List the input files of a case, with sizes and times of change."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from GTRStagingLib.tables.case_files import file_stats, input_files


def a_volume(path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(path))
    return path


@pytest.mark.parametrize("name", ["ct.mhd", "ct[1].mhd", "ct.nhdr", "ct*.nhdr"])
def test_the_voxel_file_of_a_header_is_an_input_file(tmp_path, name):
    header = a_volume(tmp_path / name)
    (voxels,) = [one for one in tmp_path.iterdir() if one != header]
    assert input_files(header) == sorted([header, voxels])
    before = file_stats([header])
    os.utime(voxels, ns=(0, 0))
    assert file_stats([header]) != before


@pytest.mark.parametrize(("name", "keyword"), [("ct.mhd", "ElementDataFile = "), ("ct.nhdr", "data file: ")])
def test_a_voxel_file_of_another_name_is_found_by_the_header(tmp_path, name, keyword):
    header = a_volume(tmp_path / name)
    (voxels,) = [one for one in tmp_path.iterdir() if one != header]
    (tmp_path / "other.bin").write_bytes(voxels.read_bytes())
    (tmp_path / "stray.txt").write_text("not of the case")
    header.write_text(header.read_text().replace(voxels.name, "other.bin"))
    assert keyword in header.read_text()
    assert input_files(header) == sorted([header, tmp_path / "other.bin"])
    header.write_text(header.read_text().replace("other.bin", "LIST"))  # the header lists the files: all count
    assert set(input_files(header)) == set(tmp_path.iterdir())


def test_missing_files_have_no_stats(tmp_path):
    assert file_stats([tmp_path / "nowhere.nrrd", tmp_path / "nowhere.mhd"]) == []


def test_strict_stats_detect_a_restored_date(tmp_path):
    path = a_volume(tmp_path / "ct.nrrd")
    stat, loose, strict = path.stat(), file_stats([path]), file_stats([path], strict=True)
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file_stats([path]) == loose
    assert file_stats([path], strict=True) != strict
