"""Measure what the DICOM objects of a result cost, relative to the staging, and their sizes.

    python benchmarks/dicom_results.py [--rounds 15] [--size 512]

One phantom as a DICOM series, with its ROI, and the demonstration model. In each round the case is read and staged, its
four usual files are written, and then its DICOM objects, one after the other, so that other load slows all of them. The
ratios are the medians of those of the rounds, with their range: of the time on the clock, which includes the waiting
until the files are on the disk, and of the processor's time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from GTRStagingLib.dicom_results.write import write_dicom_results
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.backbone import load_model
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.results.outputs import write_outputs
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.pipeline import stage_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=512, help="pixels in a row")
    options = parser.parse_args()
    phantom = make_phantom(TStage.T3, seed=3, size=options.size)
    model = load_model("demonstration", device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dicom(phantom, folder / "case")

        def stage():
            return stage_case(read_scan(folder / "case" / "ct"), model, tumour=Roi(phantom.tumour, "tumour"))

        write_dicom_results(stage(), folder / "first")  # imports highdicom
        to_files, to_objects = list[tuple[float, float]](), list[tuple[float, float]]()
        for k in range(options.rounds):
            staging, result = timed(stage)
            files, _ = timed(lambda result=result, k=k: write_outputs(result, folder / f"files {k}"))
            objects, written = timed(lambda result=result, k=k: write_dicom_results(result, folder / f"objects {k}"))
            to_files.append((files[0] / staging[0], files[1] / staging[1]))
            to_objects.append((objects[0] / staging[0], objects[1] / staging[1]))
        for what, both in (("the usual files", to_files), ("the DICOM objects", to_objects)):
            for clock, ratios in zip(("on the clock", "of the processor"), zip(*both, strict=True), strict=True):
                print(
                    f"writing {what}, time {clock}: {statistics.median(ratios):.2f} of reading and staging "
                    f"({min(ratios):.2f} to {max(ratios):.2f}, {options.rounds} rounds)"
                )
        for kind, path in written.items():
            print(f"{kind}: {path.stat().st_size / 1e6:.2f} MB")
        ct = sum(path.stat().st_size for path in (folder / "case" / "ct").iterdir())
        print(f"CT: {ct / 1e6:.2f} MB")


def timed(work: Callable):
    """Return the seconds that a function takes, on the clock and of the processor, and its result."""
    start, busy = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - start, time.process_time() - busy), result


if __name__ == "__main__":
    main()
