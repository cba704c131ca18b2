"""Cases a minute of `gtrstaging batch`, beside a plain loop and MONAI doing the same work, paired in one run.

    python benchmarks/throughput.py [--cases 200] [--size 512] [--format nifti] [--blocks 4] [--workers 1 2]
                                    [--backend auto] [--work DIR] [--json FILE]

Three ways stage the same phantoms by the same network on the CPU: a ResNet-152 with the preprocessing of the article's
released script (8-bit window, `Resize(224)`, ImageNet's mean and standard deviation).

- loop: what most would write around that script. SimpleITK reads the CT, torchvision's transforms prepare the key
  slice and its neighbours, each goes through the network, and pytorch-grad-cam then runs on the full model for the
  stage that won the vote.
- monai: MONAI's transforms behind its `DataLoader`, which reads ahead in a process of its own; the three slices of a
  case as one batch; `monai.visualize.GradCAM`. Left out where MONAI or nibabel is not installed, and for DICOM: its
  reader takes no SEG that names its one segment once instead of in every frame.
- batch N: the command `gtrstaging batch --workers N`.

The first two write an overlay of each slice, and for each case a row of a table, with the Dice of the key slice's map
and the ROI. The batch writes more: the attention as a volume, the record, a report with its picture, a sweep of
thresholds, distances in millimetres; and it can be killed and resumed.

The cases are staged in blocks, every block by each way in turn and by another one first. What is timed is a new process
from its start to its end, so imports and loading the model are in it: small blocks count against those that start more
slowly, which is the batch. A round on two cases that is not timed goes before; it leaves the network's graph in the
cache, where ONNX Runtime runs it. Pairing is no help against other work on the machine: threads that wait for each
other, as those of the loop and of MONAI do, lose more by it than processes that do not. So the load before the run is
printed; it should be near 0. Beside the cases a minute stand the seconds that processors worked for each case.

The weights are random, but for the last layer, which is set so that all four stages are predicted. The batch must find
the loop's key slices and stages, and its probabilities within 1e-4, or this ends with an error. MONAI's `Resize`
smooths by a Gaussian and interpolates, all in floating point, where Pillow weighs 8-bit pixels by a triangle: how far
its stages and probabilities are from the loop's is printed, and nothing required of them.
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
"""Of probabilities that count as equal."""

AIM = 3.0
"""What the batch with two workers should be to the loop, at least."""

SPREAD = 0.25
"""Standard deviation of the logits: what 1e-4 lets pass is small beside it, and every stage can win."""

SIZE, WINDOW_HU = 224, (-125.0, 225.0)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

PREDICTIONS = "predictions.csv"
COLUMNS = ("case_id", "stage", *(f"p_{stage}" for stage in TStage), "key_slice", "dice")


@dataclass(frozen=True)
class Case:
    """A row of the case table; the key slice is that with the ROI's largest area where none is given."""

    case_id: str
    image: Path
    roi: Path
    key_slice: int | None


def read_cases(table: Path) -> list[Case]:
    """The cases of a table; its paths start from its folder."""
    with table.open(encoding="utf-8", newline="") as file:
        return [Case(row["case_id"], table.parent / row["image"], table.parent / row["roi"],
                     int(row["key_slice"]) if row["key_slice"] else None) for row in csv.DictReader(file)]  # fmt: skip


def key_slice(case: Case, roi: np.ndarray) -> int:
    """Its index; `roi` is (z, y, x)."""
    return int(np.argmax(np.count_nonzero(roi, axis=(1, 2)))) if case.key_slice is None else case.key_slice


def voting(key: int, slices: int) -> list[int]:
    """The offsets of the slices that vote."""
    return [offset for offset in (-1, 0, 1) if 0 <= key + offset < slices]


def dice(heat: np.ndarray, roi: np.ndarray) -> float:
    """Of a map in 0..1, cut at half of its maximum, and an ROI on the same pixels."""
    hot, tumour = heat >= 0.5 * heat.max(), roi > 0
    return float(2 * np.count_nonzero(hot & tumour) / (np.count_nonzero(hot) + np.count_nonzero(tumour)))


@contextmanager
def rows_into(out: Path) -> Iterator[Callable[[Case, Prediction, int, float], None]]:
    """A table in a new folder, a row a case."""
    out.mkdir()
    with (out / PREDICTIONS).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        yield lambda case, said, key, found: table.writerow([case.case_id, said.stage, *said.probabilities, key, found])


def load_plain(model: Path) -> Any:
    """The model in torchvision's own network."""
    from safetensors.torch import load_file
    from torchvision.models import resnet152

    network = resnet152(num_classes=len(TStage))
    network.load_state_dict(load_file(model / "model.safetensors"))
    return network.eval()


# -- the plain loop ------------------------------------------------------------------------------------------------


def plain_loop(table: Path, model: Path, out: Path) -> None:
    """Stage the cases one by one, slice by slice, on all cores as torch uses them."""
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
            said = vote(offsets, np.stack(probabilities))
            for offset, picture, pixels in zip(offsets, pictures, inputs, strict=True):
                heat = cam(pixels, [ClassifierOutputTarget(int(said.stage))])[0]
                size = heat.shape[1], heat.shape[0]
                overlay = show_cam_on_image(np.asarray(picture.resize(size), np.float32) / 255, heat, use_rgb=True)
                Image.fromarray(overlay).save(out / f"{case.case_id}_{offset:+d}.png")
                if offset == 0:
                    tumour = Image.fromarray(roi[key]).resize(size, Image.Resampling.NEAREST)
                    found = dice(heat, np.asarray(tumour))
            write(case, said, key, found)


def read_nifti(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """CT and ROI, (z, y, x)."""
    import SimpleITK as sitk

    hu, roi = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (case.image, case.roi))
    return hu, roi


def read_dicom(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """CT and ROI, (z, y, x), of a series and its SEG."""
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
            said = vote(one["offsets"], probabilities)
            heat = 1 - cam(pixels, class_idx=int(said.stage)).detach()  # its 0 is the most important place
            for offset, x, y in zip(one["offsets"], slices, heat, strict=True):
                overlay = blend_images(x[None], y, cmap="jet", rescale_arrays=False, transparent_background=False)
                picture = (255 * overlay).to(torch.uint8).movedim(0, -1).numpy()
                Image.fromarray(picture).save(out / f"{case.case_id}_{offset:+d}.png")
            key_heat = heat[one["offsets"].index(0), 0].numpy()
            write(case, said, one["key"], dice(key_heat, one["roi"][0].numpy()))


def voting_slices(read: dict[str, Any]) -> dict[str, Any]:
    """CT and ROI of (1, x, y, z) -> the slices that vote, (S, y, x), and the key slice's ROI, (1, y, x)."""
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
    """A case alone needs no collating."""
    return one


# -- the batch -----------------------------------------------------------------------------------------------------


def gtrstaging(*arguments: object, cache: Path | None = None) -> None:
    """Run the command."""
    environment = os.environ if cache is None else {**os.environ, "GTRSTAGING_CACHE": str(cache)}
    command = [sys.executable, "-m", "GTRStagingLib", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def batch(workers: int, backend: str, table: Path, model: Path, out: Path) -> None:
    """Stage the cases with the command."""
    options = ("--model", model, "--device", "cpu", "--backend", backend, "--workers", workers, "--no-evaluation")
    gtrstaging("batch", table, "--out", out, *options, cache=model.parent / "cache")


def in_process(work: Callable[..., None], *arguments: Path) -> None:
    """Call it in a fresh Python, as a script of its own."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} ended with exit code {process.exitcode}; see above.")


# -- what is staged ------------------------------------------------------------------------------------------------


def make_model(table: Path, folder: Path) -> None:
    """Save the network, its last layer set by a few cases of all stages and scanners."""
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
    """The cohort's table in as many parts, beside it; before them one of two cases."""
    with cohort.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    parts = [rows[:2], *(rows[len(rows) * i // blocks : len(rows) * (i + 1) // blocks] for i in range(blocks))]
    tables = [cohort.with_name(f"block-{i}.csv") for i in range(len(parts))]
    for table, part in zip(tables, parts, strict=True):
        with table.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *part])
    return tables


# -- what came of it -----------------------------------------------------------------------------------------------


def read_predictions(out: Path) -> dict[str, tuple[str, int, np.ndarray]]:
    """Case -> its stage, key slice and probabilities, of one table of any way."""
    with (out / PREDICTIONS).open(encoding="utf-8", newline="") as file:
        return {row["case_id"]: (row["stage"], int(row["key_slice"]), np.array([float(row[f"p_{s}"]) for s in TStage]))
                for row in csv.DictReader(file)}  # fmt: skip


@dataclass
class Likeness:
    """A way's predictions beside the loop's."""

    cases: int = 0
    same_stage: int = 0
    same_key_slice: int = 0
    largest_difference: float = 0.0

    def add(self, own: dict[str, Any], loops: dict[str, Any]) -> None:
        """Compare a block."""
        if own.keys() != loops.keys():
            raise SystemExit(f"Cases {sorted(own.keys() ^ loops.keys())} were staged by one way and not by another.")
        for case_id, (stage, key, probabilities) in own.items():
            other = loops[case_id]
            self.cases += 1
            self.same_stage += stage == other[0]
            self.same_key_slice += key == other[1]
            self.largest_difference = max(self.largest_difference, float(np.abs(probabilities - other[2]).max()))

    @property
    def equal(self) -> bool:
        """Whether they are the loop's."""
        return self.same_stage == self.same_key_slice == self.cases and self.largest_difference <= TOLERANCE


def ratios(one: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    """How many times as fast, by seconds a block."""
    blocks = [y / x for x, y in zip(one, other, strict=True)]
    return {"blocks": blocks, "median": statistics.median(blocks), "all": sum(other) / sum(one)}


def measured(ways: dict[str, Any], tables: Sequence[Path], model: Path, runs: Path) -> dict[str, Any]:
    """Stage every block in every way; the first one does not count."""
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
    """Seconds it takes, and those that processors work in all its processes."""
    begun, before = time.perf_counter(), os.times()
    work()
    took, after = time.perf_counter() - begun, os.times()
    return took, sum(after[2:4]) - sum(before[2:4])


def print_report(result: dict[str, Any]) -> None:
    """All of it, as Markdown."""
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
    print(f"\nOver all blocks (the slowest to the quickest of them), start-up included. The loop says {stages}.")
    if two := over["loop"].get("batch 2"):
        print(f"batch 2 / loop: {two['all']:.2f}, median of the blocks {two['median']:.2f}   (aim: at least {AIM:g})")


def installed(name: str) -> str | None:
    """The version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cores() -> int:
    """That this process may use."""
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
    parser.add_argument("--work", type=Path, help="keep cases and model there, for another run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not 2 <= options.blocks * 2 <= options.cases:
        parser.error("expected at least two cases a block")

    ways: dict[str, Any] = {"loop": partial(in_process, plain_loop)}
    if options.format == "nifti" and find_spec("monai") and find_spec("nibabel"):
        ways["monai"] = partial(in_process, monai_loop)
    else:
        print("Without MONAI: it takes `pip install monai nibabel`, and --format nifti.", file=sys.stderr)
    ways |= {f"batch {workers}": partial(batch, workers, options.backend) for workers in options.workers}

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print(f"Load of the machine before: {load}", file=sys.stderr)
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
        raise SystemExit(f"{', '.join(unequal)}: other predictions than the loop's, or not within {TOLERANCE:g}.")


if __name__ == "__main__":
    main()
