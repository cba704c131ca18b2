"""Map, region and picture lie in the CT's study and at their place, and independent readers give them back."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import shared
from helpers import oriented_cts
from helpers.dicom_validation import no_errors
from helpers.staged_dicom import staged
from pydicom import dcmread

from GTRStagingLib import load_model
from GTRStagingLib.dicom_results import identity, write
from GTRStagingLib.dicom_results.evidence import evidence_of
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import stage_case

IMAGES = ("map", "region", "picture")
NEOPLASM = "108369006"


@pytest.fixture(scope="module")
def model():
    return load_model("demonstration", device="cpu")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TStage.T3, seed=3, size=64)


@pytest.fixture(scope="module")
def case(model, phantom, tmp_path_factory):
    """A staged CT with its objects."""
    return staged(model, phantom, tmp_path_factory.mktemp("case"))


def frames_of(ds):
    """Return the (n, rows, columns) values of a multi-frame object, and its (n, 4, 4) matrices.

    A matrix converts (column, row, 0, 1) to LPS mm.
    """
    if "FloatPixelData" in ds:
        values = np.frombuffer(ds.FloatPixelData, "<f4").reshape(-1, ds.Rows, ds.Columns)
    else:
        bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
        count = int(ds.NumberOfFrames) * ds.Rows * ds.Columns
        values = bits[:count].reshape(-1, ds.Rows, ds.Columns)
    shared = ds.SharedFunctionalGroupsSequence[0]
    sy, sx = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    places = []
    for frame in ds.PerFrameFunctionalGroupsSequence:
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1] = orientation[:3] * sx, orientation[3:] * sy
        matrix[:3, 2] = np.cross(orientation[:3], orientation[3:])
        matrix[:3, 3] = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        places.append(matrix)
    return values, np.array(places)


def at_the_place_of(image, ds):
    """Return the values of an object at each voxel centre of an axial image, (z, y, x); NaN where no frame lies."""
    values, places = frames_of(ds)
    size = image.GetSize()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1).reshape(-1, 3)
    direction = np.reshape(image.GetDirection(), (3, 3))
    points = index * image.GetSpacing() @ direction.T + image.GetOrigin()
    found = np.full(len(points), np.nan)
    for frame, matrix in zip(values, places, strict=True):
        column, row, off, _ = np.linalg.inv(matrix) @ np.c_[points, np.ones(len(points))].T
        here = abs(off) < 0.01
        assert np.allclose(column[here], column[here].round(), atol=1e-3)
        found[here] = frame[row[here].round().astype(int), column[here].round().astype(int)]
    return found.reshape(size).transpose()


def expected_region(result, threshold):
    heat = sitk.GetArrayFromImage(result.heat)
    region = np.full(heat.shape, np.nan)
    region[result.slices.key] = heat[result.slices.key] >= threshold * heat[result.slices.key].max()
    return region


def assert_at_its_place(case, threshold=0.5):
    heat = sitk.GetArrayFromImage(case.result.heat).astype(float)
    heat[~np.array(case.result.attention.mapped)] = np.nan
    assert np.nanmax(heat) > 0
    np.testing.assert_array_equal(at_the_place_of(case.result.heat, case.of["map"]), heat)
    np.testing.assert_array_equal(
        at_the_place_of(case.result.heat, case.of["region"]), expected_region(case.result, threshold)
    )


@pytest.mark.parametrize("turn", [0.0, 20.0])
@pytest.mark.parametrize("orientation", oriented_cts.ORIENTATIONS)
def test_map_and_region_lie_where_the_attention_lies(model, phantom, tmp_path, orientation, turn):
    case = staged(model, oriented_cts.oriented(phantom, orientation, turn), tmp_path)
    assert_at_its_place(case)
    for path in case.files.values():
        no_errors(path)


def test_a_multi_frame_ct_is_referred_to_by_its_frames(model, phantom, tmp_path):
    case = staged(model, phantom, tmp_path, slices=[oriented_cts.multi_frame(oriented_cts.slices_of(phantom))])
    assert case.result.scan.format == "DICOM multi-frame"
    assert_at_its_place(case)
    frames = dcmread(case.ct / "000.dcm").PerFrameFunctionalGroupsSequence
    z_of = {n: one.PlanePositionSequence[0].ImagePositionPatient[2] for n, one in enumerate(frames, start=1)}
    for kind in ("map", "region"):
        no_errors(case.files[kind])
        for frame in case.of[kind].PerFrameFunctionalGroupsSequence:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            assert source.ReferencedSOPInstanceUID == "2.25.4712"
            assert z_of[source.ReferencedFrameNumber] == frame.PlanePositionSequence[0].ImagePositionPatient[2]
    source = case.of["picture"].SourceImageSequence[0]
    assert z_of[source.ReferencedFrameNumber] == pytest.approx(case.result.key_slice.position_mm, abs=0.01)


def test_every_frame_names_the_image_that_it_lies_on(case):
    places = {str(ds.SOPInstanceUID): list(ds.ImagePositionPatient) for ds in map(dcmread, case.ct.iterdir())}
    for kind, count in (("map", 3), ("region", 1)):
        frames = case.of[kind].PerFrameFunctionalGroupsSequence
        assert len(frames) == case.of[kind].NumberOfFrames == count
        for frame in frames:
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            assert places[source.ReferencedSOPInstanceUID] == list(frame.PlanePositionSequence[0].ImagePositionPatient)
        series = case.of[kind].ReferencedSeriesSequence
        assert [one.SeriesInstanceUID for one in series] == [evidence_of(case.result).key.SeriesInstanceUID]
    key = evidence_of(case.result).key.SOPInstanceUID
    assert [one.ReferencedSOPInstanceUID for one in case.of["picture"].SourceImageSequence] == [key]


def test_objects_are_of_the_ct_study_in_series_of_their_own(case):
    first = dcmread(next(case.ct.iterdir()))
    for kind in IMAGES:
        ds = case.of[kind]
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyID", "BodyPartExamined"):
            assert ds[keyword].value == first[keyword].value
        assert ds.SeriesInstanceUID != first.SeriesInstanceUID
        assert (ds.Manufacturer, ds.ManufacturerModelName) == (identity.MANUFACTURER, "GTR Staging")
        assert ds.DeviceSerialNumber == case.result.provenance.weights_sha256
        assert ds.BurnedInAnnotation == "NO"
        assert "RESEARCH" in ds.SeriesDescription
    for kind in ("map", "region"):
        assert case.of[kind].FrameOfReferenceUID == first.FrameOfReferenceUID
    assert len({case.of[kind].SeriesInstanceUID for kind in IMAGES}) == len(IMAGES)
    assert case.of["map"].ContentQualification == "RESEARCH"


def test_all_times_are_those_of_the_staging(case):
    made = identity.identity_of(evidence_of(case.result), threshold=0.5, codes="standard").made
    date, time = f"{made:%Y%m%d}", f"{made:%H%M%S}"
    for kind in IMAGES:
        ds = case.of[kind]
        times = {e.keyword: str(e.value) for e in ds if e.VR in ("DA", "TM") and not e.keyword.startswith("Study")}
        assert set(times.values()) <= {date, time, ""}, times
        assert (ds.SeriesDate, ds.SeriesTime) == (date, time)
        stated = [one.ContributionDateTime for one in ds.get("ContributingEquipmentSequence", ())
                  if "ContributionDateTime" in one]  # fmt: skip
        assert set(stated) <= {date + time}


def test_the_same_result_has_the_same_objects(case, tmp_path):
    again = write.write_dicom_results(case.result, tmp_path)
    assert {kind: path.read_bytes() for kind, path in again.items()} == {
        kind: path.read_bytes() for kind, path in case.files.items()
    }
    other = write.write_dicom_results(case.result, tmp_path / "other", threshold=0.6)
    for kind in IMAGES:
        assert dcmread(other[kind]).SOPInstanceUID != case.of[kind].SOPInstanceUID


def test_objects_on_a_real_ct_are_valid_where_the_ct_is_not(model, tmp_path):
    """Its headers have no part of the body and an empty character set, which dciodvfy calls errors of the CT."""
    result = stage_case(read_scan(shared("ct/ct_3slice_dicom")), model, key_slice=1)
    files = write.write_dicom_results(result, tmp_path)
    for path in files.values():
        no_errors(path)
    assert_at_its_place(SimpleNamespace(result=result, of={kind: dcmread(path) for kind, path in files.items()}))


# -- the map -------------------------------------------------------------------------------------------------------


def test_a_slice_without_a_map_has_no_frame(case, tmp_path):
    attention, key = case.result.attention, case.result.slices.key
    mapped = tuple(k == key for k in range(len(attention.mapped)))
    alone = replace(attention, mapped=mapped, maps=attention.maps * np.array(mapped)[:, None, None])
    result = replace(case.result, attention=alone, heat=alone.on(case.result.slices.native))
    files = write.write_dicom_results(result, tmp_path)
    of = {kind: dcmread(path) for kind, path in files.items()}
    assert of["map"].NumberOfFrames == 1
    assert_at_its_place(SimpleNamespace(result=result, of=of))
    no_errors(files["map"])


def mapping_of(ds):
    groups = [*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence]
    return next(one.RealWorldValueMappingSequence[0] for one in groups if "RealWorldValueMappingSequence" in one)


def test_the_values_of_the_map_are_named(case):
    mapping = mapping_of(case.of["map"])
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    peak = sitk.GetArrayViewFromImage(case.result.heat).max()
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == 0
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == peak
    unit = mapping.MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("1", "UCUM")
    assert mapping.LUTLabel == "GATED"
    assert "T3" in mapping.LUTExplanation
    quantity = mapping.QuantityDefinitionSequence[0]
    assert quantity.ConceptNameCodeSequence[0].CodeValue == "246205007"
    assert quantity.ConceptCodeSequence[0].CodeValue == "130401"


def test_only_grad_cam_is_called_grad_cam(case, tmp_path):
    attention = replace(case.result.attention, method="gradcam")
    files = write.write_dicom_results(replace(case.result, attention=attention), tmp_path)
    code = mapping_of(dcmread(files["map"])).QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (code.CodeValue, code.CodeMeaning) == ("130403", "Gradient-weighted class activation")


def test_the_mean_map_of_several_looks(model, phantom, tmp_path):
    case = staged(model, phantom, tmp_path, options=StagingOptions(tta=True))
    assert_at_its_place(case)
    assert "mean of 6 looks" in mapping_of(case.of["map"]).LUTExplanation
    no_errors(case.files["map"])


def test_without_attention_there_is_a_map_of_zeros_and_no_region(case, tmp_path):
    nothing = replace(case.result.attention, maps=np.zeros_like(case.result.attention.maps))
    result = replace(case.result, attention=nothing, heat=nothing.on(case.result.slices.native), agreement=None)
    files = write.write_dicom_results(result, tmp_path)
    assert "region" not in files
    assert not (tmp_path / "region.dcm").exists()
    assert not frames_of(dcmread(files["map"]))[0].any()
    no_errors(files["map"])


# -- the region ----------------------------------------------------------------------------------------------------


def test_the_region_is_no_tumour_by_name_and_code(case):
    (segment,) = case.of["region"].SegmentSequence
    assert segment.SegmentLabel == "Attention above 50 % of maximum (research, not a tumour)"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentDescription.startswith(RESEARCH_USE_ONLY)
    kinds = [segment.SegmentedPropertyCategoryCodeSequence[0], segment.SegmentedPropertyTypeCodeSequence[0]]
    assert [code.CodeValue for code in kinds] == ["309825002", "130401"]
    assert NEOPLASM not in str(case.of["region"])


@pytest.mark.parametrize("threshold", [0.05, 0.75, 1.0])
def test_the_region_follows_the_threshold(case, tmp_path, threshold):
    files = write.write_dicom_results(case.result, tmp_path, threshold=threshold)
    ds = dcmread(files["region"])
    np.testing.assert_array_equal(at_the_place_of(case.result.heat, ds), expected_region(case.result, threshold))
    assert f"above {100 * threshold:g} %" in ds.SegmentSequence[0].SegmentLabel


def test_private_codes_leave_snomed_out(case, tmp_path):
    def designators(ds):
        for element in ds:
            if element.VR == "SQ":
                for item in element.value:
                    yield from designators(item)
            elif element.keyword == "CodingSchemeDesignator":
                yield element.value

    assert "SCT" in {one for kind in IMAGES for one in designators(case.of[kind])}
    files = write.write_dicom_results(case.result, tmp_path, codes="private")
    for kind in IMAGES:
        assert "SCT" not in set(designators(dcmread(files[kind])))
        no_errors(files[kind])


# -- the picture ---------------------------------------------------------------------------------------------------


def test_the_picture_is_the_overlay_without_free_text(case, tmp_path):
    from GTRStagingLib.results import overlay

    ds = case.of["picture"]
    assert (ds.ConversionType, ds.PhotometricInterpretation) == ("WSD", "RGB")
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    page = overlay.render(replace(case.result, segment=None, segment_number=None))
    np.testing.assert_array_equal(ds.pixel_array, np.asarray(page.image))
    words = " ".join(text.words for text in page.texts)
    for expected in ("T3", RESEARCH_USE_ONLY, case.result.model.warning, "mm"):
        assert expected in words
    named = replace(case.result, segment="Doe Jane", segment_number=1)
    files = write.write_dicom_results(named, tmp_path)
    np.testing.assert_array_equal(dcmread(files["picture"]).pixel_array, ds.pixel_array)


# -- independent readers -------------------------------------------------------------------------------------------


def by_dcmqi(program, path, folder):
    """Convert an object by a program of dcmqi; return the volume and what the program printed."""
    folder.mkdir()
    command = [Path(sys.executable).parent / program, "--inputDICOM", path, "--outputDirectory", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (volume,) = folder.glob("*.nrrd")
    return sitk.ReadImage(str(volume))


@pytest.mark.parametrize("orientation", ["head first, supine", "feet first"])
def test_dcmqi_reads_map_and_region_at_their_place(model, phantom, tmp_path, orientation):
    case = staged(model, oriented_cts.oriented(phantom, orientation), tmp_path)
    for kind, program in (("map", "paramap2itkimage"), ("region", "segimage2itkimage")):
        volume = by_dcmqi(program, case.files[kind], tmp_path / kind)
        ours = sitk.Resample(volume, case.result.heat, sitk.Transform(), sitk.sitkNearestNeighbor, -1.0)
        found = sitk.GetArrayFromImage(ours).astype(np.float64)
        expected = sitk.GetArrayFromImage(case.result.heat)
        if kind == "region":
            expected = np.nan_to_num(expected_region(case.result, 0.5), nan=-1)
        np.testing.assert_array_equal(found, expected)


def test_highdicom_reads_map_and_region(case):
    import highdicom as hd

    heat = sitk.GetArrayFromImage(case.result.heat)
    read = hd.imread(case.files["map"])
    volume = read.get_volume(apply_real_world_transform=True)
    heights = [(volume.affine @ (k, 0, 0, 1))[2] for k in range(len(heat))]
    np.testing.assert_array_equal(volume.array[np.argsort(heights)], heat)
    region = hd.seg.segread(case.files["region"])
    assert region.get_segment_description(1).algorithm_type.value == "AUTOMATIC"
