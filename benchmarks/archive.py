"""Measure what is fetched from an archive to stage a CT, against the bytes of its series.

    python benchmarks/archive.py dicomweb:http://127.0.0.1:8042/dicom-web --size 512

The phantom is sent to the archive, and stays there.
"""

import argparse
import tempfile
import time
from pathlib import Path

from pydicom import dcmread

from GTRStagingLib.archive.remote_series import read_remote
from GTRStagingLib.archive.sending import send_folder
from GTRStagingLib.archive.web import WebArchive
from GTRStagingLib.imaging.rois import read_roi
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.backbone import load_models
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.pipeline import stage_case
from GTRStagingLib.support.addresses import parse_web_address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", help="dicomweb:https://HOST/PATH")
    parser.add_argument("--size", type=int, default=512, help="pixels in a row (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    model = load_models(("demonstration",), "cpu", "auto")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "phantom"
        write_dicom(make_phantom(TStage.T3, seed=3, size=options.size), folder)
        files = sorted((folder / "ct").iterdir())
        first = dcmread(files[0], stop_before_pixels=True)
        address = parse_web_address(options.archive, study=str(first.StudyInstanceUID))
        begun = time.perf_counter()
        sent = send_folder(folder / "ct", parse_web_address(options.archive))
        sending = time.perf_counter() - begun
        roi = read_roi(folder / "tumour_seg.dcm")
        seconds: dict[str, list[float]] = {"archive": [], "folder": []}
        for _ in range(options.repetitions):
            for place in seconds:
                archive = WebArchive(address)
                begun = time.perf_counter()
                scan = read_remote(address, archive=archive) if place == "archive" else read_scan(folder / "ct")
                if place == "archive":
                    headers = archive.traffic.received
                stage_case(scan, model, tumour=roi)
                seconds[place].append(time.perf_counter() - begun)
                if place == "archive":
                    traffic = archive.traffic
        whole = sum(path.stat().st_size for path in files)
    print("| slices | bytes of the series | bytes of the metadata | bytes of the images | share | requests |")
    print("|---|---|---|---|---|---|")
    cells = [len(files), f"{whole:,}", f"{headers:,}", f"{traffic.received - headers:,}",
             f"{traffic.received / whole:.3f}", traffic.requests]  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |\n")
    ratio = min(seconds["archive"]) / min(seconds["folder"])
    print(f"Staging from the archive took {ratio:.2f} of the time from the folder (best of {options.repetitions}: "
          f"{min(seconds['archive']):.2f} s, {min(seconds['folder']):.2f} s); sending {sent.summary()}, "
          f"{sending:.1f} s.")  # fmt: skip


if __name__ == "__main__":
    main()
