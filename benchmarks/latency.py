"""Measure the time of a case: the network relative to a plain forward pass, and each step of a case.

    python benchmarks/latency.py [--rounds 15] [--threads N] [--compile] [--openvino] [--json FILE]
    python benchmarks/latency.py --rounding

Network. The variants are timed in turn, round after round, so that other load slows all of them equally:

- bare: an eager forward pass of torchvision's ResNet-152, three slices in one batch;
- each backend of this software: prediction, 2,048 features and Grad-CAM of the same slices, the map resampled to the
  input grid; then the same with the fine map of all three slices, and of the key slice alone, as in batches;
- usual: the same network predicts, and pytorch-grad-cam then runs on the full model.

The results are the medians of the rounds' ratios. The same run checks that each backend gives the stage and the map of
`usual` (the raw map, each slice divided by its maximum) to 1e-3. `--openvino` times the same graph in OpenVINO, which
is not a backend of this software.

Case. A phantom's DICOM series and its SEG, from reading to the four files of a result, with the network above.

Looks. `stage_case` on the same phantom with the demonstration model: one look, six views (`--tta`), and together with
the network above and with another of its kind; the medians of the ratios to one look, in turn in the same rounds.

`--rounding` prints only the difference of PyTorch's gradient maps in float32 from those in float64, as a reference for
the tolerance of other implementations.

GPU, if available: cases per second in passes of 16, and the share of the time during which its kernels run.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging.rois import Roi, read_roi
from GTRStagingLib.imaging.scans import read_scan, scan_of
from GTRStagingLib.model import onnx_graph, weights
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.model.gradient_graph import layer_cam
from GTRStagingLib.model.logits import probabilities
from GTRStagingLib.model.network import GTRNet, folded
from GTRStagingLib.model.onnx_graph import export_graph
from GTRStagingLib.model.onnx_session import OUTPUTS
from GTRStagingLib.model.passes import EXPLAINED, Backbone, Pass, PassRequest
from GTRStagingLib.model.torch_backbone import TorchBackbone
from GTRStagingLib.phantoms.export import write_dicom
from GTRStagingLib.phantoms.phantom import make_phantom
from GTRStagingLib.results.outputs import write_outputs
from GTRStagingLib.stages import TStage
from GTRStagingLib.staging.cam import compute_attention
from GTRStagingLib.staging.options import StagingOptions
from GTRStagingLib.staging.pipeline import STEPS, stage_case
from GTRStagingLib.staging.result import versions
from GTRStagingLib.staging.voting import Prediction, vote

MOST_OF_BARE, MOST_OF_USUAL, MOST_APART = 0.85, 0.3, 1e-3
"""Largest time of the fastest backend relative to `bare` and to `usual`; largest difference of maps with maximum 1."""

MOST_FOR_FINE = {"onnx": 1.4, "torch": 2.1}
"""Largest time relative to `bare`, with the fine map of three slices."""

CASES_ON_GPU, PASSES_ON_GPU = 16, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="backend 'compile' as well, which takes a minute")
    parser.add_argument("--openvino", action="store_true", help="OpenVINO as well, where it is installed")
    parser.add_argument("--rounding", action="store_true", help="of gradients, in float32; nothing is timed")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rounding:
        show_rounding()
        return

    with tempfile.TemporaryDirectory() as folder:
        os.environ["GTRSTAGING_CACHE"] = folder  # an empty cache, so that the first start exports the graph
        model = weights.untrained()
        plain = plain_twin(model)
        backbones, starts = made_ready(model, options)
        result = {
            "network": network(plain, backbones, options.rounds),
            "ready_s": starts,
            "case": case(next(iter(backbones.values())), Path(folder), options.rounds),
            "looks": looks(model, options.rounds),
            "gpu": on_gpu(model, plain) if torch.cuda.is_available() else "no GPU on this machine",
            "rounds": options.rounds,
            "threads": options.threads,
            "machine": platform.machine(),
            "versions": versions() | {name: by.version for name, by in backbones.items() if isinstance(by, OpenVino)},
        }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


# -- variants ------------------------------------------------------------------------------------------------------


def plain_twin(model: weights.Model) -> torch.nn.Module:
    """Return torchvision's ResNet-152 with the same weights; an untrained second stream does not change the output."""
    plain = torchvision.models.resnet152(num_classes=4)
    own = {key: value for key, value in model.network.state_dict().items() if not key.startswith("detail.")}
    plain.load_state_dict(own, strict=True)
    return plain.eval()


class OpenVino:
    """The exported graph in OpenVINO, in float32."""

    def __init__(self, model: weights.Model, like: Backbone) -> None:
        import openvino

        self.version = openvino.__version__
        self.card, self.head, self.cells, self.mean_mask = like.card, like.head, like.cells, like.mean_mask
        core = openvino.Core()
        graph = core.read_model(model=export_graph(model.network, model.card.recipe.input_size))
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._compiled = core.compile_model(graph, "CPU", how)

    def classify(self, pixels: np.ndarray, wanted: Sequence[PassRequest] = ()) -> Pass:
        if wanted:
            raise NotImplementedError("OpenVINO is timed without gradients")
        found = self._compiled([pixels])
        return Pass(*(found[name].copy() for name in OUTPUTS), "cpu", "OpenVINO")


def made_ready(model: weights.Model, options: argparse.Namespace) -> tuple[dict[str, Backbone], dict[str, float]]:
    """Return the backends, the default first, and the seconds that each took to start."""
    wanted = ["onnx", "torch"] + ["compile"] * options.compile
    backbones, seconds = {}, {}
    for name in wanted:
        try:
            start = time.perf_counter()
            backbones[name] = ready(model, "cpu", name)
            seconds[f"{name}, the first time" if name == "onnx" else name] = time.perf_counter() - start
        except InputError as error:
            print(error)
    if "onnx" in backbones:
        start = time.perf_counter()
        onnx_graph.verified_session(model.network, model.card.recipe.input_size, onnx_graph.default_folder())
        seconds["onnx, from the cache"] = time.perf_counter() - start
    if options.openvino:
        backbones["openvino"] = OpenVino(model, backbones["torch"])
    return backbones, seconds


# -- the network ---------------------------------------------------------------------------------------------------


def network(plain: torch.nn.Module, backbones: dict[str, Backbone], rounds: int) -> dict[str, object]:
    pixels = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    batch = torch.from_numpy(pixels)
    grid = sitk.Image([224, 224, 3], sitk.sitkUInt8)

    def bare() -> np.ndarray:
        with torch.no_grad():
            return plain(batch).numpy()

    def ours(by: Backbone, shown: tuple[int, ...] = ()) -> tuple[Prediction, np.ndarray]:
        """Compute Grad-CAM of all slices, or the fine map of the given ones."""
        seen = by.classify(pixels, [PassRequest(range(3), shown)] if shown else [])
        prediction = vote((-1, 0, 1), probabilities(seen.logits, by.card))
        target = prediction.stage if seen.targets is None else TStage(int(seen.targets[shown[0]]))
        attention = compute_attention(by, seen, grid, target=target, method="fine" if shown else "gradcam")
        attention.on(grid)
        return prediction, attention.maps

    def usual() -> None:
        bare()
        # Its default target: each slice's own highest logit.
        with GradCAM(model=plain, target_layers=[plain.layer4]) as cam:
            cam(batch, None)

    timed: dict[str, Callable[[], object]] = {"bare": bare, "usual": usual}
    timed |= {name: lambda by=by: ours(by) for name, by in backbones.items()}
    for name, by in backbones.items():
        if not isinstance(by, OpenVino):
            timed[f"{name}, fine"] = lambda by=by: ours(by, (0, 1, 2))
            timed[f"{name}, fine, key"] = lambda by=by: ours(by, (1,))
    apart = {name: checked(plain, batch, *ours(by)) for name, by in backbones.items()}
    for run in timed.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(seconds[a], seconds[b], strict=True))

    return {
        name: {
            "seconds": statistics.median(taken),
            "over_bare": ratio(name, "bare"),
            "over_usual": ratio(name, "usual"),
            "maps_apart": apart.get(name),
        }
        for name, taken in seconds.items()
    }


def checked(plain: torch.nn.Module, batch: torch.Tensor, prediction: Prediction, maps: np.ndarray) -> float:
    """Return the difference from pytorch-grad-cam's maps of the full model; fail if it or the stage is wrong."""
    with torch.no_grad():
        card = weights.untrained(10).card  # only its temperature, 1, is used
        expected = vote((-1, 0, 1), probabilities(plain(batch).numpy(), card))
    assert prediction.stage == expected.stage, f"{prediction.stage}; expected {expected.stage}"
    raw = []
    with GradCAM(model=plain, target_layers=[plain.layer4]) as cam:
        inner = cam.get_cam_image
        cam.get_cam_image = lambda *given: raw.append(inner(*given)) or raw[-1]  # before scaling
        cam(batch, [ClassifierOutputTarget(int(expected.stage))] * len(batch))
    (usual,) = raw
    usual = np.maximum(usual, 0)
    assert (usual.max(axis=(1, 2)) > 0).all(), "the reference map is empty; expected one with values"
    shares = [one / one.max(axis=(1, 2), keepdims=True) for one in (maps, usual)]
    apart = float(np.abs(shares[0] - shares[1]).max())
    assert apart <= MOST_APART, f"the maps differ by {apart:g}; expected at most {MOST_APART:g}"
    return apart


def show_rounding() -> None:
    """Print the difference of the maps of two layers from those in float64, as shares of their maximum."""
    x = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for model in (weights.untrained(152, "none"), weights.untrained(18, "none")):
        network = folded(model.network)
        of32, of64 = gradient_maps(network, x), gradient_maps(network.double(), x.double())
        for name, found in of32.items():
            away = np.abs(found - of64[name]) / of64[name].max()
            print(
                f"ResNet-{model.card.depth}, {name}: at most {away.max():.1e} of the maximum, 99 % of the cells within "
                f"{np.quantile(away, 0.99):.1e}, median {np.median(away):.1e}"
            )


def gradient_maps(network: GTRNet, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Compute LayerCAM of the stem and of layer2 for T3 by autograd."""
    stem = network.stem(x).detach().requires_grad_()
    layers = network.after_stem(stem)
    logits, _ = network.decide(layers)
    gradients = torch.autograd.grad(logits[:, TStage.T3].sum(), [layers[name] for name in EXPLAINED])
    pairs = zip(EXPLAINED, gradients, strict=True)
    return {name: layer_cam(layers[name], gradient).detach().numpy() for name, gradient in pairs}


# -- the case ------------------------------------------------------------------------------------------------------


def case(by: Backbone, folder: Path, rounds: int) -> dict[str, object]:
    """Return the median seconds of each step of one case."""
    phantom = make_phantom(TStage.T3, seed=3)
    write_dicom(phantom, folder / "phantom")
    taken: dict[str, list[float]] = {name: [] for name in ("reading", *STEPS, "writing")}
    for round_ in range(rounds + 1):
        start = time.perf_counter()
        scan = read_scan(folder / "phantom" / "ct")
        tumour = read_roi(folder / "phantom" / "tumour_seg.dcm", segment="tumour")
        reading = time.perf_counter() - start
        result = stage_case(scan, by, tumour=tumour)
        start = time.perf_counter()
        write_outputs(result, folder / "result")
        seconds = {"reading": reading, **result.timings_s, "writing": time.perf_counter() - start}
        if round_:  # the first round fills caches
            for name, value in seconds.items():
                taken[name].append(value)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "slices": phantom.ct.GetDepth(),
        "pixels": phantom.ct.GetWidth(),
        "backend": result.provenance.backend,
        "seconds": {**medians, "all": statistics.median(map(sum, zip(*taken.values(), strict=True)))},
    }


# -- several looks -------------------------------------------------------------------------------------------------


def looks(model: weights.Model, rounds: int) -> dict[str, float]:
    """Return the time of several looks at a case relative to one look of the demonstration model."""
    phantom = make_phantom(TStage.T3, seed=3)
    scan, tumour = scan_of(phantom.ct, "phantom"), Roi(phantom.tumour, "tumour")
    first = ready(weights.load("demonstration"), "cpu")
    second = ready(other_weights("demonstration"), "cpu")
    runs = {
        "one look": (first, StagingOptions()),
        "6 views": (first, StagingOptions(tta=True)),
        "2 models": ((first, second), StagingOptions()),
        "2 models, 6 views": ((first, second), StagingOptions(tta=True)),
        "with the network above": ((first, ready(model, "cpu")), StagingOptions()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, (by, how) in runs.items():
            start = time.perf_counter()
            stage_case(scan, by, how, tumour=tumour)
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {
        name: statistics.median(a / b for a, b in zip(taken, seconds["one look"], strict=True))
        for name, taken in seconds.items()
    }


def other_weights(name: str) -> weights.Model:
    """Return a model whose weights differ by a thousandth, at the same cost."""
    found = weights.load(name)
    network = copy.deepcopy(found.network)
    with torch.no_grad():
        network.conv1.weight.mul_(1.001)
    return weights.Model(replace(found.card, name="second", sha256="ab" * 32), network, None, found.reference)


# -- the GPU -------------------------------------------------------------------------------------------------------


def on_gpu(model: weights.Model, plain: torch.nn.Module) -> dict[str, object]:
    """Return cases of three slices per second: of the bare network, eager and with autocast, and of the backends."""
    place = torch.device("cuda")
    pixels = np.random.default_rng(0).normal(size=(3 * CASES_ON_GPU, 3, 224, 224)).astype(np.float32)
    there, on_it = plain.to(place), torch.from_numpy(pixels).to(place)

    def bare(*, autocast: bool) -> None:
        with torch.no_grad(), torch.autocast("cuda", enabled=autocast):
            there(on_it)
        torch.cuda.synchronize()

    runs: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(autocast=False),
        "bare, autocast": lambda: bare(autocast=True),
    }
    for name, compiled in (("torch", False), ("compile", True)):
        by = TorchBackbone(model, place, compiled=compiled)
        runs[name] = lambda by=by: by.classify(pixels)
    rates = {}
    for name, run in runs.items():
        for _ in range(3):
            run()
        start = time.perf_counter()
        for _ in range(PASSES_ON_GPU):
            run()
        wall = (time.perf_counter() - start) / PASSES_ON_GPU
        rates[name] = {"cases_a_second": CASES_ON_GPU / wall, "busy": kernel_seconds(run) / wall}
    plain.to("cpu")
    return {"device": torch.cuda.get_device_name(), "cases_a_pass": CASES_ON_GPU, **rates}


def kernel_seconds(run: Callable[[], object]) -> float:
    """Return the seconds of kernels and copies on the GPU in one pass; CUDA events would include idle time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(5):
            run()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / 5


# -- the tables ----------------------------------------------------------------------------------------------------


def show(result: dict) -> None:
    print(
        f"Three slices through ResNet-152, {result['threads']} threads, median of {result['rounds']} paired rounds:\n"
    )
    print(f"{'':<16} {'seconds':>8} {'of bare':>8} {'of usual':>9} {'maps apart':>11}")
    for name, row in result["network"].items():
        apart = "" if row["maps_apart"] is None else f"{row['maps_apart']:.0e}"
        print(f"{name:<16} {row['seconds']:>8.3f} {row['over_bare']:>8.2f} {row['over_usual']:>9.2f} {apart:>11}")
    for name, most in MOST_FOR_FINE.items():
        if (row := result["network"].get(f"{name}, fine")) is not None:
            met = "met" if row["over_bare"] <= most else "NOT MET"
            print(f"\nFine map of three slices by {name}: at most {most} of bare: {met}", end="")
    ours = next(row for name, row in result["network"].items() if name not in ("bare", "usual"))
    met = ours["over_bare"] <= MOST_OF_BARE and ours["over_usual"] <= MOST_OF_USUAL
    print(f"\nRequired: at most {MOST_OF_BARE} of bare and {MOST_OF_USUAL} of usual: {'met' if met else 'NOT MET'}")
    print("Start of the backends: " + "; ".join(f"{name} {taken:.1f} s" for name, taken in result["ready_s"].items()))
    one = result["case"]
    print(f"\nA case of {one['slices']} slices of {one['pixels']}², DICOM and SEG, by {one['backend']}:\n")
    for name, taken in one["seconds"].items():
        print(f"{name:<14} {taken:>7.3f} s")
    print("\nA case from memory, relative to one look of the demonstration model:\n")
    for name, ratio in result["looks"].items():
        print(f"{name:<24} {ratio:>6.2f}")
    gpu = result["gpu"]
    if isinstance(gpu, str):
        print(f"\nGPU: {gpu}")
        return
    print(f"\n{gpu['device']}, {gpu['cases_a_pass']} cases a pass:\n")
    for name, row in gpu.items():
        if isinstance(row, dict):
            print(f"{name:<16} {row['cases_a_second']:>8.1f} cases/s, busy {row['busy']:.0%} of the time")


if __name__ == "__main__":
    main()
