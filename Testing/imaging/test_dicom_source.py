"""A scan read from DICOM knows the images that its slices came from."""

import pydicom
import pytest
from pydicom import dcmread, dcmwrite

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.scans import read_scan, scan_of
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "phantom"
    write_dicom(make_phantom(TStage.T2, size=64), folder)
    return folder / "ct"


def test_every_slice_names_the_file_of_its_position(folder):
    scan = read_scan(folder)
    of_position = {float(ds.ImagePositionPatient[2]): str(ds.SOPInstanceUID) for ds in map(dcmread, folder.iterdir())}
    origin, step = scan.grid.origin[2], scan.grid.spacing[2]
    expected = tuple(
        of_position[min(of_position, key=lambda z: abs(z - origin - k * step))] for k in range(len(of_position))
    )
    assert scan.source.instances() == expected
    assert len(set(expected)) == scan.source.count == scan.grid.size[2]
    assert scan.source.frames is None


def test_headers_are_whole_and_without_pixels(folder):
    scan = read_scan(folder)
    first, last = scan.source.headers([0, scan.source.count - 1])
    assert (first.SOPInstanceUID, last.SOPInstanceUID) == (scan.source.instances()[0], scan.source.instances()[-1])
    assert str(first.PatientID).startswith("PHANTOM")
    assert "PixelData" not in first


def test_an_image_without_an_instance_uid_is_refused(folder, tmp_path):
    for path in sorted(folder.iterdir()):
        ds = dcmread(path)
        if ds.InstanceNumber == 3:
            del ds.SOPInstanceUID
            ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dcmwrite(tmp_path / path.name, ds)
    with pytest.raises(InputError, match="Slice 2 of the CT has no SOP Instance UID"):
        read_scan(tmp_path).source.instances()


def test_other_inputs_have_no_source():
    assert scan_of(make_phantom(TStage.T2, size=64).ct, "phantom").source is None
