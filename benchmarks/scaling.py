"""Measure how the cost of staging grows with the length of the scan, and of a batch with the size of its cohort.

    python benchmarks/scaling.py [--part slices cases] [--rounds 7] [--json FILE]

Part `slices`: a DICOM series of 60 to 1,000 files (512 x 512, int16, some 100 header elements, written to a temporary
folder) is staged with the key slice given by index. Every series begins with the same files, so that the same three
slices vote and the results must agree; differences are the cost of a longer scan.

- Time: of `read_scan`, the key slice and `stage_case`, and the same with `write_outputs`. One warm process per model
  stages the series in turn, round after round, so that other load slows all of them equally; the result is the median
  of the rounds' ratios to the shortest series.
- Memory: the peak of a new process that stages one series and writes its outputs, and its growth over the memory of the
  imports and the model.

Part `cases`: `gtrstaging batch` on cohorts of 10 to 1,000 small cases (9 slices of 40 x 50 pixels, two workers, the
demonstration model), start-up included. Memory is the resident set, sampled twenty times per second: the maximum of the
command's own process, of any worker or the model process, and of all processes together.

Files are read from the system's cache; a slow disk adds the time to read the headers, some kilobytes per file.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Only the child processes import heavy packages, because a child inherits its parent's peak memory.

LENGTHS = (60, 120, 300, 600, 1000)
SIZES = (10, 100, 1000)
KEY = 30
MODELS = ("untrained ResNet-152", "demonstration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="N")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        job, *values = options.child
        print(json.dumps(CHILDREN[job](*values)))
        return
    result = {part: PARTS[part](options) for part in options.part}
    result |= {"rounds": options.rounds, "cores": os.cpu_count(), "python": platform.python_version()}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def child(job: str, *values: object) -> object:
    """Run a job in a separate process, and return its result."""
    command = [sys.executable, __file__, "--child", job, *map(str, values)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# -- part 1: the length of the scan --------------------------------------------------------------------------------


def by_slices(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    lengths = sorted(options.lengths)
    found = {}
    with tempfile.TemporaryDirectory(prefix="gtrstaging-") as folder:
        elements = child("write", folder, *lengths)
        print(f"DICOM series, {elements} header elements a file; ratios to {lengths[0]} slices")
        print(
            f"{'model':<22}{'slices':>7}{'s':>8}{'ratio':>7}{'+outputs s':>12}{'ratio':>7}"
            f"{'peak MB':>9}{'growth':>8}{'ratio':>7}"
        )
        for model in MODELS:
            seconds = child("time", model, folder, options.rounds, *lengths)
            peaks = [child("memory", model, folder, n) for n in lengths]
            found[model] = rows = []
            for i, n in enumerate(lengths):
                staged, written = ([one[i] for one in rounds] for rounds in seconds)
                row = {
                    "slices": n,
                    "seconds": statistics.median(staged),
                    "ratio": statistics.median(one[i] / one[0] for one in seconds[0]),
                    "seconds_with_outputs": statistics.median(written),
                    "ratio_with_outputs": statistics.median(one[i] / one[0] for one in seconds[1]),
                    "peak_mb": peaks[i]["peak_mb"],
                    "growth_mb": peaks[i]["peak_mb"] - peaks[i]["before_mb"],
                    "peak_ratio": peaks[i]["peak_mb"] / peaks[0]["peak_mb"],
                }
                rows.append(row)
                print(
                    f"{model:<22}{n:>7}{row['seconds']:>8.3f}{row['ratio']:>7.2f}{row['seconds_with_outputs']:>12.3f}"
                    f"{row['ratio_with_outputs']:>7.2f}{row['peak_mb']:>9.0f}{row['growth_mb']:>8.0f}"
                    f"{row['peak_ratio']:>7.2f}"
                )
    print("required at 600 slices: at most 1.3 times the time and 1.1 times the peak memory of 60 slices")
    return found


def write(folder: str, *lengths: str) -> int:
    """Write the longest series as files, the others as links to its first files; return the elements of a header."""
    import numpy as np
    import SimpleITK as sitk

    from GTRStagingLib.phantoms.phantom import make_phantom
    from GTRStagingLib.stages import TStage

    patient = sitk.GetArrayFromImage(make_phantom(TStage.T3, seed=3, size=512).ct)
    longest = max(map(int, lengths))
    files, elements = [], 0
    (Path(folder) / "files").mkdir()
    for k in range(longest):
        dataset = a_slice(k, patient[min(k, KEY + 1) % len(patient)].astype(np.int16))
        elements = len(dataset) + len(dataset.file_meta)
        files.append(Path(folder) / "files" / f"IM{k:05d}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    for n in map(int, lengths):
        (Path(folder) / str(n)).mkdir()
        for file in files[:n]:
            os.link(file, Path(folder) / str(n) / file.name)
    return elements


def a_slice(k: int, hounsfield):
    """Make a CT slice with a header as long as a scanner's: private elements, sequences, doses, times."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def uid(what: str) -> str:
        return generate_uid(entropy_srcs=["gtrstaging scaling", what])

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTABD", "99LOCAL", "CT of the abdomen"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, uid("reference")
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = CTImageStorage
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = uid(f"slice {k}")
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = uid("study"), uid("series"), uid("frame")
    d.SpecificCharacterSet, d.ImageType, d.Modality = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    for moment in ("InstanceCreation", "Study", "Series", "Acquisition", "Content"):
        setattr(d, f"{moment}Date", "20240102")
        tenths = 0 if moment in ("Study", "Series") else k  # ten slices a second, as one sweep of the table
        setattr(d, f"{moment}Time", f"10{10 + tenths // 600:02d}{tenths // 10 % 60:02d}.{tenths % 10}00000")
    d.Manufacturer, d.ManufacturerModelName, d.SoftwareVersions = "Maker", "Model", "1.0"
    d.InstitutionName, d.InstitutionAddress, d.StationName, d.InstitutionalDepartmentName = "H", "A", "S", "R"
    d.ReferringPhysicianName = d.PerformingPhysicianName = d.OperatorsName = d.PhysiciansOfRecord = ""
    d.StudyDescription, d.SeriesDescription, d.ProtocolName = "Abdomen", "portal venous", "Abdomen, three phases"
    d.ProcedureCodeSequence, d.ReferencedStudySequence, d.RequestAttributesSequence = [code], [reference], [code]
    d.ReferencedImageSequence, d.SourceImageSequence = [reference], [reference]
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = "Synthetic", "SCALING", "19500102", "O"
    d.PatientAge, d.PatientSize, d.PatientWeight, d.PatientPosition = "074Y", "1.7", "70", "HFS"
    d.ContrastBolusAgent, d.ContrastBolusRoute, d.ContrastBolusVolume = "X", "IV", "100"
    d.BodyPartExamined, d.ScanOptions, d.KVP, d.ConvolutionKernel = "ABDOMEN", "HELICAL", "120", "B30f"
    d.DataCollectionDiameter, d.ReconstructionDiameter = "500", "358.4"
    d.DistanceSourceToDetector, d.DistanceSourceToPatient = "1085.6", "595"
    d.GantryDetectorTilt, d.TableHeight, d.RotationDirection, d.DeviceSerialNumber = "0", "150", "CW", "1"
    d.ExposureTime, d.XRayTubeCurrent, d.Exposure, d.FilterType, d.GeneratorPower = "500", "200", "100", "F", "40"
    d.FocalSpots, d.SingleCollimationWidth, d.TotalCollimationWidth, d.TableSpeed = "1.2", 0.6, 38.4, 46.0
    d.TableFeedPerRotation, d.SpiralPitchFactor, d.CTDIvol, d.ExposureModulationType = 23.0, 0.6, 8.5, "XYZ_EC"
    d.StudyID, d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber, d.AccessionNumber = "1", 3, 1, k + 1, "A"
    d.ImagePositionPatient, d.ImageOrientationPatient = ["-179.2", "-179.2", f"{k * 1.0:.3f}"], [1, 0, 0, 0, 1, 0]
    d.PositionReferenceIndicator, d.SliceLocation, d.SliceThickness = "", f"{k * 1.0:.3f}", "1"
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelSpacing = 1, "MONOCHROME2", ["0.7", "0.7"]
    d.Rows, d.Columns = hounsfield.shape
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
    d.WindowCenter, d.WindowWidth, d.WindowCenterWidthExplanation = ["50", "400"], ["350", "1500"], ["A", "B"]
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = "0", "1", "HU"
    private = d.private_block(0x0019, "GTR SCALING", create=True)
    for i in range(10):
        private.add_new(i, "LO", f"private value {i}")
    d.PixelData = hounsfield.astype("<i2").tobytes()
    return d


def load_model(name: str):
    from GTRStagingLib.model import weights

    return weights.load("demonstration") if name == "demonstration" else weights.untrained()


def staged(model, series: Path, out: Path):
    """Return the result, and the seconds without and with writing its outputs."""
    from GTRStagingLib.imaging.keyslice import by_index
    from GTRStagingLib.imaging.scans import read_scan
    from GTRStagingLib.model.backbone import ready
    from GTRStagingLib.results.outputs import write_outputs
    from GTRStagingLib.staging.pipeline import stage_case

    start = time.perf_counter()
    scan = read_scan(series)
    result = stage_case(scan, ready(model), key_slice=by_index(scan.grid, KEY))
    done = time.perf_counter()
    write_outputs(result, out)
    return result, done - start, time.perf_counter() - start


def time_in_turn(name: str, folder: str, rounds: str, *lengths: str) -> list[list[list[float]]]:
    """Return the seconds without and with outputs, (2, rounds, lengths)."""
    import numpy as np

    model, seconds, answers = load_model(name), ([], []), []
    for _ in range(1 + int(rounds)):  # the first round warms up
        done = []
        for n in lengths:
            with tempfile.TemporaryDirectory(prefix="gtrstaging-") as out:
                done.append(staged(model, Path(folder) / n, Path(out) / "result"))
        answers += [result.prediction.probabilities for result, *_ in done]
        seconds[0].append([one for _, one, _ in done])
        seconds[1].append([both for *_, both in done])
    np.testing.assert_array_equal(answers, answers[:1] * len(answers))
    return [one[1:] for one in seconds]


def peak(name: str, folder: str, n: str) -> dict[str, float]:
    """Return the peak memory (MB) before and after one case."""
    import GTRStagingLib.results.report
    import GTRStagingLib.staging.pipeline  # noqa: F401 (imported by every process before its first case)

    model = load_model(name)
    before = _peak_mb()
    with tempfile.TemporaryDirectory(prefix="gtrstaging-") as out:
        staged(model, Path(folder) / n, Path(out) / "result")
    return {"before_mb": before, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


# -- part 2: the size of the cohort --------------------------------------------------------------------------------


def by_cases(options: argparse.Namespace) -> list[dict[str, float]]:
    rows = []
    print(f"{'cases':>6}{'s':>8}{'s a case':>10}{'command MB':>12}{'a child MB':>12}{'all MB':>8}")
    for size in sorted(options.sizes):
        with tempfile.TemporaryDirectory(prefix="gtrstaging-") as folder:
            child("cohort", folder, size)
            seconds, peaks = batch_of(Path(folder))
        rows.append({"cases": size, "seconds": seconds, "seconds_a_case": seconds / size, **peaks})
        print(
            f"{size:>6}{seconds:>8.1f}{seconds / size:>10.3f}{peaks['command_mb']:>12.0f}{peaks['child_mb']:>12.0f}"
            f"{peaks['all_mb']:>8.0f}"
        )
    return rows


def cohort(folder: str, size: str) -> None:
    """Write different small CTs and their table."""
    import numpy as np
    import SimpleITK as sitk

    rows = ["case_id,image,key_slice"]
    for i in range(int(size)):
        rng = np.random.default_rng(i)
        z, y, x = np.indices((9, 40, 50))
        inside = ((y - 20) / 17) ** 2 + ((x - 25) / 21) ** 2 < 1
        hounsfield = np.where(inside, 40.0 + 3 * z, -1000.0) + rng.normal(0, 20, inside.shape)
        image = sitk.GetImageFromArray(hounsfield.astype(np.int16))
        image.SetSpacing((0.9, 1.1, 4.0))
        sitk.WriteImage(image, str(Path(folder) / f"c{i:05d}.nrrd"))
        rows.append(f"c{i:05d},c{i:05d}.nrrd,4")
    (Path(folder) / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def batch_of(folder: Path) -> tuple[float, dict[str, float]]:
    """Return the seconds of the command, and the largest resident sets of its processes (MB)."""
    import psutil

    command = [sys.executable, "-m", "GTRStagingLib", "batch", str(folder / "cohort.csv"), "--out", str(folder / "out")]
    start = time.perf_counter()
    running = subprocess.Popen([*command, "--workers", "2"], stdout=subprocess.PIPE, text=True)
    peaks = {"command_mb": 0.0, "child_mb": 0.0, "all_mb": 0.0}
    process = psutil.Process(running.pid)
    while running.poll() is None:
        try:
            own = process.memory_info().rss / 1e6
            children = [one.memory_info().rss / 1e6 for one in process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        now = {"command_mb": own, "child_mb": max(children, default=0.0), "all_mb": own + sum(children)}
        peaks = {name: max(peaks[name], value) for name, value in now.items()}
        time.sleep(0.05)
    output = running.communicate()[0]
    assert running.returncode == 0, output
    return time.perf_counter() - start, peaks


# -- all -----------------------------------------------------------------------------------------------------------

PARTS = {"slices": by_slices, "cases": by_cases}
CHILDREN = {"cohort": cohort, "write": write, "time": time_in_turn, "memory": peak}

if __name__ == "__main__":
    main()
