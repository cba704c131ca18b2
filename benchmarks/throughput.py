"""Measure cases per minute of `gtrstaging batch`, of a plain loop and of MONAI for the same work, paired in one run.

    python benchmarks/throughput.py [--cases 200] [--size 512] [--format nifti] [--blocks 4] [--workers 1 2]
                                    [--backend auto] [--work DIR] [--json FILE]

Three ways stage the same phantoms by the same network on the CPU: a ResNet-152 with the preprocessing of the article's
released script (8-bit window, `Resize(224)`, ImageNet's mean and standard deviation).

- loop: a typical script around the released one. SimpleITK reads the CT, torchvision's transforms prepare the key slice
  and its neighbouring slices, the network classifies each, and pytorch-grad-cam runs on the full model for the stage
  that won the vote.
- monai: MONAI's transforms in its `DataLoader`, which reads ahead in a separate process; the three slices of a case as
  one batch; `monai.visualize.GradCAM`. Left out if MONAI or nibabel is not installed, and for DICOM: its reader does
  not support a SEG that names its only segment once instead of in every frame.
- batch N: the command `gtrstaging batch --workers N`.

The first two write an overlay of each slice, and for each case a row of a table with the Dice of the key slice's map
with the ROI. The batch writes more: the attention as a volume, the record, a report with its picture, a sweep of
thresholds, distances in millimetres; and it can be interrupted and resumed.

The cases are staged in blocks, each block by all ways in turn, beginning with another way each time. The time is that
of a new process from start to end, including imports and loading the model: small blocks are a disadvantage for the
batch, which starts more slowly. A round on two cases before is not timed; it exports the network's graph to the cache
for ONNX Runtime. Pairing does not remove the effect of other load on the machine: threads that wait for each other, as
in the loop and in MONAI, are slowed more than independent processes. The load before the run is therefore printed; it
should be near 0. The processor seconds per case are printed as well.

The weights are random except for the last layer, which is set so that all four stages are predicted. If the batch has
other key slices or stages than the loop, or probabilities that differ by more than 1e-4, the run ends with an error.
MONAI's `Resize` smooths by a Gaussian and interpolates in floating point, while Pillow weights 8-bit pixels by a
triangle: the differences of its stages and probabilities from the loop's are printed, without a requirement.
"""

import argparse
import csv
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from GTRStagingLib.model.backbone import ready
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.voting import Prediction, vote

TOLERANCE = 1e-4
"""Largest difference of probabilities that count as equal."""

AIM = 3.0
"""Required speed of the batch with two workers relative to the loop."""

SPREAD = 0.25
"""Standard deviation of the logits: large compared with the tolerance, and small enough for every stage to win."""

SIZE, WINDOW_HU = 224, (-125.0, 225.0)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

PREDICTIONS = "predictions.csv"
COLUMNS = ("case_id", "stage", *(f"p_{stage}" for stage in TStage), "key_slice", "dice")


@dataclass(frozen=True)
class Case:
    """Row of the case table; without a key slice, the slice with the ROI's largest area is used."""

    case_id: str
    image: Path
    roi: Path
    key_slice: int | None


def read_cases(table: Path) -> list[Case]:
    """Read the cases of a table; paths are relative to its folder."""
    with table.open(encoding="utf-8", newline="") as file:
        return [Case(row["case_id"], table.parent / row["image"], table.parent / row["roi"],
                     int(row["key_slice"]) if row["key_slice"] else None) for row in csv.DictReader(file)]  # fmt: skip


def key_slice(case: Case, roi: np.ndarray) -> int:
    """Return the index of the key slice; `roi` is (z, y, x)."""
    return int(np.argmax(np.count_nonzero(roi, axis=(1, 2)))) if case.key_slice is None else case.key_slice


def voting(key: int, slices: int) -> list[int]:
    """Return the offsets of the voting slices."""
    return [offset for offset in (-1, 0, 1) if 0 <= key + offset < slices]


def dice(heat: np.ndarray, roi: np.ndarray) -> float:
    """Compute the Dice of a map in 0..1, at half of its maximum, with an ROI on the same pixels."""
    hot, tumour = heat >= 0.5 * heat.max(), roi > 0
    return float(2 * np.count_nonzero(hot & tumour) / (np.count_nonzero(hot) + np.count_nonzero(tumour)))


@contextmanager
def rows_into(out: Path) -> Iterator[Callable[[Case, Prediction, int, float], None]]:
    """Open a table in a new folder, with one row per case."""
    out.mkdir()
    with (out / PREDICTIONS).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        yield lambda case, voted, key, dice_: table.writerow(
            [case.case_id, voted.stage, *voted.probabilities, key, dice_]
        )


def load_plain(model: Path) -> Any:
    """Load the model into torchvision's own network."""
    from safetensors.torch import load_file
    from torchvision.models import resnet152

    network = resnet152(num_classes=len(TStage))
    network.load_state_dict(load_file(model / "model.safetensors"))
    return network.eval()


# -- the plain loop ------------------------------------------------------------------------------------------------


def plain_loop(table: Path, model: Path, out: Path) -> None:
    """Stage the cases one by one, slice by slice, with torch's default threads."""
    import torch
    from PIL import Image
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    network = load_plain(model)
    prepared = Compose([Resize(SIZE), ToTensor(), Normalize(MEAN, STD)])
    cam = GradCAM(model=network, target_layers=[network.layer4])
    low, high = WINDOW_HU
    with rows_into(out) as write:
        for case in read_cases(table):
            hu, roi = read_dicom(case) if case.image.is_dir() else read_nifti(case)
            key = key_slice(case, roi)
            offsets = voting(key, len(hu))
            pictures, inputs, probabilities = [], [], []
            for offset in offsets:
                windowed = (np.clip(hu[key + offset].astype(np.float32), low, high) - low) * (255 / (high - low))
                pictures.append(Image.fromarray(np.round(windowed).astype(np.uint8)).convert("RGB"))
                inputs.append(prepared(pictures[-1]).unsqueeze(0))
                with torch.no_grad():
                    probabilities.append(torch.softmax(network(inputs[-1]), dim=1)[0].numpy())
            prediction = vote(offsets, np.stack(probabilities))
            for offset, picture, pixels in zip(offsets, pictures, inputs, strict=True):
                heat = cam(pixels, [ClassifierOutputTarget(int(prediction.stage))])[0]
                size = heat.shape[1], heat.shape[0]
                overlay = show_cam_on_image(np.asarray(picture.resize(size), np.float32) / 255, heat, use_rgb=True)
                Image.fromarray(overlay).save(out / f"{case.case_id}_{offset:+d}.png")
                if offset == 0:
                    tumour = Image.fromarray(roi[key]).resize(size, Image.Resampling.NEAREST)
                    found = dice(heat, np.asarray(tumour))
            write(case, prediction, key, found)


def read_nifti(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Read CT and ROI, (z, y, x)."""
    import SimpleITK as sitk

    hu, roi = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (case.image, case.roi))
    return hu, roi


def read_dicom(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Read CT and ROI, (z, y, x), from a series and its SEG."""
    import highdicom
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(case.image)))
    reader.MetaDataDictionaryArrayUpdateOn()
    hu = sitk.GetArrayFromImage(reader.Execute())
    slices = [reader.GetMetaData(i, "0008|0018").strip("\0 ") for i in range(len(hu))]
    roi = highdicom.seg.segread(case.roi).get_pixels_by_source_instance(
        slices, combine_segments=True, assert_missing_frames_are_empty=True
    )
    return hu, roi


# -- MONAI ---------------------------------------------------------------------------------------------------------


def monai_loop(table: Path, model: Path, out: Path) -> None:
    """Stage the cases with MONAI's transforms, loader and Grad-CAM, the slices of a case as one batch."""
    import torch
    from monai import transforms as mt
    from monai.data import DataLoader, Dataset
    from monai.visualize import GradCAM, blend_images
    from PIL import Image

    both = ["image", "roi"]
    transform = mt.Compose([
        mt.LoadImaged(both, reader="NibabelReader"),
        mt.EnsureChannelFirstd(both),
        mt.Orientationd(both, axcodes="LPS", labels=None),
        mt.Lambda(voting_slices),
        mt.ScaleIntensityRanged("image", *WINDOW_HU, 0.0, 1.0, clip=True),
        mt.Resized(both, (SIZE, SIZE), mode=["bilinear", "nearest"], anti_aliasing=[True, False]),
    ])  # fmt: skip
    to_input = mt.Compose([mt.RepeatChannel(3), mt.NormalizeIntensity(MEAN, STD, channel_wise=True)])
    data = Dataset([{"case": one, "image": one.image, "roi": one.roi} for one in read_cases(table)], transform)
    network = load_plain(model)
    cam = GradCAM(nn_module=network, target_layers="layer4")
    with rows_into(out) as write:
        for one in DataLoader(data, batch_size=None, num_workers=1, collate_fn=as_it_is):
            case, slices = one["case"], one["image"].as_tensor()
            pixels = torch.stack([to_input(x[None]) for x in slices])
            with torch.no_grad():
                probabilities = torch.softmax(network(pixels), dim=1).numpy()
            prediction = vote(one["offsets"], probabilities)
            heat = 1 - cam(pixels, class_idx=int(prediction.stage)).detach()  # 0 is the most important place
            for offset, x, y in zip(one["offsets"], slices, heat, strict=True):
                overlay = blend_images(x[None], y, cmap="jet", rescale_arrays=False, transparent_background=False)
                picture = (255 * overlay).to(torch.uint8).movedim(0, -1).numpy()
                Image.fromarray(picture).save(out / f"{case.case_id}_{offset:+d}.png")
            key_heat = heat[one["offsets"].index(0), 0].numpy()
            write(case, prediction, one["key"], dice(key_heat, one["roi"][0].numpy()))


def voting_slices(read: dict[str, Any]) -> dict[str, Any]:
    """Extract the voting slices, (S, y, x), and the key slice's ROI, (1, y, x), from CT and ROI of (1, x, y, z)."""
    hu, roi = (read[name][0].permute(2, 1, 0) for name in ("image", "roi"))
    key = key_slice(read["case"], roi.numpy())
    offsets = voting(key, len(hu))
    return {
        "case": read["case"],
        "key": key,
        "offsets": offsets,
        "image": hu[[key + offset for offset in offsets]],
        "roi": roi[[key]],
    }


def as_it_is(one: Any) -> Any:
    """Return a single case without collating."""
    return one


# -- the batch -----------------------------------------------------------------------------------------------------


def gtrstaging(*arguments: object, cache: Path | None = None) -> None:
    """Run a command of `gtrstaging`."""
    environment = os.environ if cache is None else {**os.environ, "GTRSTAGING_CACHE": str(cache)}
    command = [sys.executable, "-m", "GTRStagingLib", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def batch(workers: int, backend: str, table: Path, model: Path, out: Path) -> None:
    """Stage the cases with the command."""
    options = ("--model", model, "--device", "cpu", "--backend", backend, "--workers", workers, "--no-evaluation")
    gtrstaging("batch", table, "--out", out, *options, cache=model.parent / "cache")


def in_process(work: Callable[..., None], *arguments: Path) -> None:
    """Call a function in a new Python process, as a separate script."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} ended with exit code {process.exitcode}; see the messages above.")


# -- model and tables ----------------------------------------------------------------------------------------------


def make_model(table: Path, folder: Path) -> None:
    """Save the network with its last layer set by a few cases of all stages and scanners."""
    import torch

    from GTRStagingLib.imaging.rois import read_roi
    from GTRStagingLib.imaging.scans import read_scan
    from GTRStagingLib.model import weights
    from GTRStagingLib.model.recipe import RELEASED
    from GTRStagingLib.staging.pipeline import stage_case

    plain = weights.untrained(depth=152, fusion="none")
    model = weights.Model(replace(plain.card, name="throughput", recipe=RELEASED), plain.network)
    staged = (
        stage_case(read_scan(case.image), ready(model, device="cpu", backend="torch"), tumour=read_roi(case.roi))
        for case in read_cases(table)[:8]
    )
    features = torch.from_numpy(np.concatenate([result.features for result in staged]))
    last = model.network.fc
    with torch.no_grad():
        logits = last(features)
        scale = SPREAD / logits.std(dim=0)
        last.bias.copy_((last.bias - logits.mean(dim=0)) * scale)
        last.weight.mul_(scale[:, None])
    weights.save(model, folder)


def make_tables(cohort: Path, blocks: int) -> list[Path]:
    """Write the cohort's table in `blocks` parts beside it, and before them a table of two cases."""
    with cohort.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    parts = [rows[:2], *(rows[len(rows) * i // blocks : len(rows) * (i + 1) // blocks] for i in range(blocks))]
    tables = [cohort.with_name(f"block-{i}.csv") for i in range(len(parts))]
    for table, part in zip(tables, parts, strict=True):
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *part])
    return tables


# -- results -------------------------------------------------------------------------------------------------------


def read_predictions(out: Path) -> dict[str, tuple[str, int, np.ndarray]]:
    """Read case -> stage, key slice and probabilities from the table of any way."""
    with (out / PREDICTIONS).open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: (row["stage"], int(row["key_slice"]), np.array([float(row[f"p_{s}"]) for s in TStage]))
                for row in csv.DictReader(file)}  # fmt: skip


@dataclass
class Likeness:
    """Comparison of a way's predictions with the loop's."""

    cases: int = 0
    same_stage: int = 0
    same_key_slice: int = 0
    largest_difference: float = 0.0

    def add(self, own: dict[str, Any], loops: dict[str, Any]) -> None:
        """Compare a block."""
        if own.keys() != loops.keys():
            raise SystemExit(f"Cases {sorted(own.keys() ^ loops.keys())} are missing from one of the ways.")
        for case_id, (stage, key, probabilities) in own.items():
            other = loops[case_id]
            self.cases += 1
            self.same_stage += stage == other[0]
            self.same_key_slice += key == other[1]
            self.largest_difference = max(self.largest_difference, float(np.abs(probabilities - other[2]).max()))

    @property
    def equal(self) -> bool:
        """Whether the predictions equal the loop's."""
        return self.same_stage == self.same_key_slice == self.cases and self.largest_difference <= TOLERANCE


def ratios(one: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """Return the relative speed from the seconds of each block."""
    blocks = [y / x for x, y in zip(one, other, strict=True)]
    return {"blocks": blocks, "median": statistics.median(blocks), "all": sum(other) / sum(one)}


def measured(ways: dict[str, Any], tables: Sequence[Path], model: Path, runs: Path) -> dict[str, Any]:
    """Stage every block in every way; the first block does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    likeness = {name: Likeness() for name in ways}
    stages: dict[str, int] = dict.fromkeys(map(str, TStage), 0)
    for i, table in enumerate(tables):
        first = i % len(ways)
        for name in [*ways][first:] + [*ways][:first]:
            took, of_processor = timed(partial(ways[name], table, model, runs / name))
            print(f"block {i} of {len(tables) - 1}, {name}: {took:.1f} s", file=sys.stderr)
            if i > 0:
                seconds[name].append(took)
                processor[name].append(of_processor)
        found = {name: read_predictions(runs / name) for name in ways}
        for name in ways:
            shutil.rmtree(runs / name)
            if i > 0:
                likeness[name].add(found[name], found["loop"])
        if i > 0:
            for stage, _, _ in found["loop"].values():
                stages[stage] += 1
    cases = sum(stages.values())
    return {
        "stages_of_loop": stages,
        "seconds": seconds,
        "cases_per_minute": {name: 60 * cases / sum(values) for name, values in seconds.items()},
        "processor_seconds_a_case": {name: sum(values) / cases for name, values in processor.items()},
        "times_as_fast_as": {
            other: {name: ratios(seconds[name], seconds[other]) for name in ways}
            for other in ("loop", "monai")
            if other in ways
        },
        "beside_loop": {name: {**vars(one), "equal": one.equal} for name, one in likeness.items()},
    }


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the duration of a function in seconds, and the processor seconds of all its processes."""
    begun, before = time.perf_counter(), os.times()
    work()
    took, after = time.perf_counter() - begun, os.times()
    return took, sum(after[2:4]) - sum(before[2:4])


def print_report(result: dict[str, Any]) -> None:
    """Print all results as Markdown."""
    over = result["times_as_fast_as"]
    print(f"| | cases a minute | {''.join(f'times the {other} | ' for other in over)}processor s a case | same stage | "
          "probabilities |")  # fmt: skip
    print(f"|---|---|{'---|' * len(over)}---|---|---|")
    for name, rate in result["cases_per_minute"].items():
        cells = [f"{x['all']:.2f} ({min(x['blocks']):.2f} to {max(x['blocks']):.2f})"
                 for x in (over[other][name] for other in over)]  # fmt: skip
        alike = result["beside_loop"][name]
        cells += [
            f"{result['processor_seconds_a_case'][name]:.2f}",
            f"{alike['same_stage']} of {alike['cases']}",
            f"within {alike['largest_difference']:.1e}",
        ]
        print(f"| {name} | {rate:.1f} | {' | '.join(cells)} |")
    stages = ", ".join(f"{count} {stage}" for stage, count in result["stages_of_loop"].items())
    print(f"\nOver all blocks (slowest to fastest), start-up included. Stages by the loop: {stages}.")
    if two := over["loop"].get("batch 2"):
        print(f"batch 2 / loop: {two['all']:.2f}, median of the blocks {two['median']:.2f}  (required: {AIM:g})")


def installed(name: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="pixels of a slice's side (default: %(default)s)")
    parser.add_argument("--format", choices=["nifti", "dicom"], default="nifti", help="default: %(default)s")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=list(range(1, cores() + 1)),
                        help="of the batch, one run for each number (default: 1 to all cores)")  # fmt: skip
    parser.add_argument("--backend", default="auto", help="of the batch (default: %(default)s)")
    parser.add_argument("--work", type=Path, help="folder that keeps cases and model for another run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not 2 <= options.blocks * 2 <= options.cases:
        parser.error("expected at least two cases per block")

    ways: dict[str, Any] = {"loop": partial(in_process, plain_loop)}
    if options.format == "nifti" and find_spec("monai") and find_spec("nibabel"):
        ways["monai"] = partial(in_process, monai_loop)
    else:
        print("Without MONAI, which needs `pip install monai nibabel` and --format nifti.", file=sys.stderr)
    ways |= {f"batch {workers}": partial(batch, workers, options.backend) for workers in options.workers}

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print(f"Load of the machine before the run: {load}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).absolute()
        cases = work / f"{options.format}-{options.size}"
        gtrstaging("phantom", "--cases", options.cases, "--scanner", "A", "B", "--size", options.size,
                   "--format", options.format, "--workers", cores(), "--out", cases)  # fmt: skip
        tables = make_tables(cases / "cohort.csv", options.blocks)
        if not (work / "model").exists():
            in_process(make_model, cases / "cohort.csv", work / "model")
        with tempfile.TemporaryDirectory(dir=work) as runs:
            found = measured(ways, tables, work / "model", Path(runs))

    packages = ("torch", "torchvision", "grad-cam", "SimpleITK", "onnxruntime", "monai", "nibabel")
    result = {
        **{name: getattr(options, name) for name in ("cases", "size", "format", "blocks", "backend")},
        **found,
        "cores": cores(),
        "load_before": load,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in packages},
    }
    print_report(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if unequal := [name for name in ways if "batch" in name and not result["beside_loop"][name]["equal"]]:
        raise SystemExit(f"{', '.join(unequal)}: the predictions differ from the loop's by more than {TOLERANCE:g}.")


if __name__ == "__main__":
    main()
