"""The command line: `gtrstaging stage | batch | evaluate | radscore | nomogram | train | models | …`, thin.

What it does is done by the library.

Exit codes: 0 done, 1 failed (the reason on stderr) or found something wrong, 2 wrong use.
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import GTRStagingLib
from GTRStagingLib.cli import batch, cohort, evaluate, nomogram, radscore, train
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.extras import required

if TYPE_CHECKING:
    from GTRStagingLib.imaging.keyslice import KeySlice
    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.staging.pipeline import CropCentre, StagingResult

METHODS = batch.METHODS
BACKENDS = batch.BACKENDS
RECIPES = train.RECIPES
SCANNERS = ("A", "B", "C")
"""Spelled out here, so that `--help` imports nothing heavy; a test holds them against the library's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if contradiction := _contradiction(options):
        parser.error(contradiction)
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        with _terminated_as_interrupted():
            code = run(options) or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # Whoever read along has seen enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except StagingError as error:
        print(f"gtrstaging: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"gtrstaging: {error}. Check the path, its permissions and the free space.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gtrstaging: interrupted; nothing half-written was left.", file=sys.stderr)
        return 1


def _contradiction(options: argparse.Namespace) -> str | None:
    """What is wrong with options that argparse takes one by one, or None."""
    if options.run is _stage:
        if options.out is None and options.mrb is None and not options.json:
            return "stage needs --out DIR, --mrb FILE, or --json to print the result"
        if options.mrb is not None and options.mrb.suffix.lower() != ".mrb":
            return f"--mrb {options.mrb}: expected a name that ends in .mrb"
        if not 0 < options.threshold <= 1:
            return f"--threshold {options.threshold:g}: expected a share of the maximum, above 0 and at most 1"
        asked = (("--segment", options.segment is not None), ("--resample-roi", options.resample_roi))
        for name, given in asked:
            if given and options.segmentation is None:
                return f"{name} says something of an ROI: give it with --segmentation"
    if options.run is _models_import:
        if options.pretrained and options.sha256:
            return "--sha256 is for a file; torchvision checks what --pretrained fetches"
        if options.depth is not None and not options.pretrained:
            return "--depth goes with --pretrained; of a file it is read off the weights"
    return None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that it tidies up; in a thread, signals are not ours to handle."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- stage ---------------------------------------------------------------------------------------------------------


def _stage(options: argparse.Namespace) -> None:
    from GTRStagingLib.imaging import rois, scans
    from GTRStagingLib.model import backbone, weights
    from GTRStagingLib.staging.pipeline import STEPS, stage_case

    with _progress_bar(len(STEPS) + 3) as step:
        timings: dict[str, float] = {}
        with _timed(timings, "reading", step):
            scan = scans.read_scan(options.input, series=options.series)
            tumour = None
            if options.segmentation is not None:
                tumour = rois.read_roi(options.segmentation, segment=options.segment)
            key = _key_slice(options, scan)
        with _timed(timings, "loading the model", step):
            model = backbone.ready(weights.load(options.model), options.device, options.backend)
        result = stage_case(
            scan,
            model=model,
            tumour=tumour,
            key_slice=key,
            target=None if options.target == "predicted" else TStage[options.target],
            method=options.cam,
            alignment=options.alignment.replace("-", "_"),
            threshold=options.threshold,
            neighbour_mm=options.neighbour_mm,
            crop_centre=options.crop_centre,
            resample_roi=options.resample_roi,
            case_id=options.case_id,
            timings_s=timings,
            progress=step,
        )
        step("writing")
        if options.out is not None:
            from GTRStagingLib.results.report import write_outputs

            write_outputs(result, options.out, include_phi=options.include_phi)
        if options.mrb is not None:
            required("GTRStagingSlicer.mrb", "A scene file needs", "slicer").write_mrb(
                result, options.mrb, tumour=tumour
            )
    if options.json:
        from GTRStagingLib.results.record import to_json

        print(json.dumps(to_json(result, include_phi=options.include_phi), allow_nan=False))
    else:
        _print_summary(result, options.out)


def _key_slice(options: argparse.Namespace, scan: "Scan") -> "KeySlice | None":
    from GTRStagingLib.imaging import keyslice

    if options.key_slice is not None:
        return keyslice.by_index(scan.grid, options.key_slice)
    if options.key_position_mm is not None:
        return keyslice.by_position(scan.grid, options.key_position_mm)
    return None


def _print_summary(result: "StagingResult", out: Path | None) -> None:
    prediction, key = result.prediction, result.key_slice
    votes = ", ".join(
        f"{'key slice' if s.offset == 0 else f'{s.offset:+d}'}: {s.stage} ({s.probabilities[s.stage]:.2f})"
        for s in prediction.slices
    )
    shares = "  ".join(f"{stage} {p:.2f}" for stage, p in zip(TStage, prediction.probabilities, strict=True))
    print(f"Stage      {prediction.stage}   {'unanimous' if prediction.unanimous else 'not unanimous'} ({votes})")
    print(f"Mean       {shares}")
    place = f" at S {key.position_mm:.1f} mm" if result.scan.spacing_known else ""
    print(f"Key slice  {key.index}{place}, chosen by {key.chosen_by}")
    if result.agreement is not None:
        a = result.agreement
        reason = "; ".join(a.reasons.values())
        print(
            f"Dice       {a.dice:.3f} at {a.threshold:g} of the maximum; by chance {a.at_threshold.chance_dice:.3f}"
            + (f" ({reason})" if reason else "")
        )
    print(f"Device     {result.provenance.device}, {result.provenance.backend}, {sum(result.timings_s.values()):.1f} s")
    if out is not None:
        print(f"Written    {out / 'report.html'} and result.json, overlay.png, attention.nrrd beside it")
    for warning in result.warnings:
        print(f"WARNING    {warning}")
    print(RESEARCH_USE_ONLY)


@contextmanager
def _timed(timings: dict[str, float], name: str, announce: Callable[[str], None]) -> Iterator[None]:
    announce(name)
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, nothing elsewhere: a callable that takes the name of the step that begins."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda step: print(f"{step} …", file=sys.stderr)
        return
    with tqdm(total=total, leave=False, bar_format="{desc:<18} {bar} {n_fmt}/{total_fmt}") as bar:

        def begin(step: str) -> None:
            bar.set_description_str(step)
            bar.update()

        yield begin


# -- models --------------------------------------------------------------------------------------------------------


def _models_list(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import registry

    row = "{:<20} {:<14} {:<18} {:<10} {}"
    print(row.format("NAME", "STATUS", "NETWORK", "RECIPE", "FOLDER"))
    for name, folder in registry.available().items():
        if folder is None:
            print(row.format(name, "untrained", "ResNet-152 add", "gtr", "(built in; random weights)"))
            continue
        try:
            card = registry.read_card(folder)
        except StagingError as error:
            print(row.format(name, "DAMAGED", "", "", str(error)))
            continue
        print(row.format(name, card.status, f"ResNet-{card.depth} {card.fusion}", card.recipe.name, folder))


def _models_show(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import registry, weights

    folder = registry.locate(options.model)
    card = weights.untrained().card if folder is None else registry.read_card(folder)
    print(json.dumps(card.to_json(), indent=2))
    if card.warning:
        print(f"WARNING: {card.warning}", file=sys.stderr)


def _models_verify(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import weights

    card = weights.verify(options.model)
    print(f"{card.name}: whole; sha256 {card.sha256}, ResNet-{card.depth}, recipe {card.recipe.name}")


def _models_import(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import checkpoints, recipe

    how = {"recipe": recipe.named(options.recipe), "name": options.name, "out": options.out}
    if options.pretrained:
        card, folder = checkpoints.import_imagenet(depth=options.depth or 152, **how)
    else:
        card, folder = checkpoints.import_checkpoint(options.file, sha256=options.sha256, **how)
    print(f"{folder}: ResNet-{card.depth} (fusion {card.fusion}), recipe {card.recipe.name}, sha256 {card.sha256}")
    print(card.provenance)
    if card.warning:
        print(f"WARNING: {card.warning}")
    print(RESEARCH_USE_ONLY)


# -- phantom -------------------------------------------------------------------------------------------------------


def _phantom(options: argparse.Namespace) -> None:
    if options.cases is not None:
        _phantom_cohort(options)
        return
    from GTRStagingLib.phantoms import export, phantom

    made = phantom.make_phantom(TStage[options.stage], seed=options.seed, scanner=options.scanner[0], size=options.size)
    write = export.write_dicom if options.format == "dicom" else export.write_nifti
    write(made, options.out)
    size = " x ".join(map(str, made.ct.GetSize()))
    print(f"{options.out}: synthetic CT, {made.stage}, seed {made.seed}, scanner {made.scan.profile.name}, {size}")


def _phantom_cohort(options: argparse.Namespace) -> None:
    from GTRStagingLib.phantoms.phantom_cohort import make_phantom_cohort

    with _progress_bar(options.cases) as step:
        table = make_phantom_cohort(
            options.out,
            cases=options.cases,
            seed=options.seed,
            scanners=options.scanner,
            size=options.size,
            form=options.format,
            workers=options.workers,
            progress=lambda done: step(f"case {done}"),
        )
    print(f"{table}: {options.cases} synthetic cases of centre {', '.join(options.scanner)}. {RESEARCH_USE_ONLY}")


# -- the words -----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gtrstaging", description=f"T staging of gastric cancer on portal-venous CT. {RESEARCH_USE_ONLY}"
    )
    parser.add_argument("--version", action="version", version=f"gtrstaging {GTRStagingLib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_stage(commands)
    batch.add_to(commands)
    evaluate.add_to(commands)
    radscore.add_to(commands)
    nomogram.add_to(commands)
    train.add_to(commands)
    _add_models(commands)
    _add_phantom(commands)
    cohort.add_to(commands)
    return parser


def _add_stage(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    stage = commands.add_parser("stage", help="stage one CT", description=f"Stage one CT. {RESEARCH_USE_ONLY}")
    stage.set_defaults(run=_stage)
    stage.add_argument("input", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA; or a windowed 8-bit PNG")
    stage.add_argument("--out", type=_folder, help="folder for result.json, attention.nrrd, overlay.png, report.html")
    stage.add_argument("--mrb", type=Path, metavar="FILE", help="a scene of it for 3D Slicer, with the CT in it")
    stage.add_argument("--json", action="store_true", help="print the result, and nothing else, to stdout as JSON")
    stage.add_argument("--series", help="which CT series of a DICOM folder: its UID or number")
    stage.add_argument("--segmentation", type=Path, help="ROI of the tumour: DICOM SEG, .seg.nrrd, NRRD, NIfTI, MHA")
    stage.add_argument("--segment", help="label or number of the ROI's segment, where it has several")
    stage.add_argument("--resample-roi", action="store_true", help="accept an ROI on other voxels (nearest neighbour)")
    key = stage.add_mutually_exclusive_group()
    key.add_argument("--key-slice", type=int, metavar="INDEX", help="axial slice, 0 being nearest the feet")
    key.add_argument("--key-position-mm", type=float, metavar="S", help="position towards the head, as Slicer shows it")
    stage.add_argument("--neighbour-mm", type=float, metavar="MM", help="distance of the voting neighbours "
                       "(default: the adjacent acquired slices)")  # fmt: skip
    stage.add_argument("--model", default="demonstration", metavar="NAME|FOLDER", help="default: %(default)s")
    stage.add_argument("--cam", choices=METHODS, default="gradcam", help="attention method (default: %(default)s)")
    stage.add_argument("--target", choices=batch.TARGETS, default="predicted",
                       help="stage whose attention is shown (default: %(default)s)")  # fmt: skip
    stage.add_argument("--threshold", type=float, default=0.5, help="share of the key slice's maximum "
                       "(default: %(default)s)")  # fmt: skip
    stage.add_argument("--alignment", choices=["receptive-field", "half-pixel"], default="receptive-field",
                       help="where the map's cells are placed (default: %(default)s)")  # fmt: skip
    stage.add_argument("--crop-centre", type=_crop_centre, default="image", metavar="image|body|X,Y",
                       help="centre of the network's detail crop; X,Y in LPS mm, written --crop-centre=X,Y "
                       "(default: %(default)s)")  # fmt: skip
    stage.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    stage.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the network: PyTorch, or ONNX "
                       "Runtime on a CPU (default: %(default)s)")  # fmt: skip
    stage.add_argument("--case-id", help="name of the case in the results (default: from the input's hash)")
    stage.add_argument("--include-phi", action="store_true", help="write patient identifiers into the results")


def _crop_centre(text: str) -> "CropCentre":
    if text in ("image", "body"):
        return text  # type: ignore[return-value]
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected image, body, or X,Y in mm, as in --crop-centre=-10,35")
    return x, y


def _folder(text: str) -> Path:
    """An empty name, from a shell variable that is not set, would be the folder that one happens to stand in."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder")
    return Path(text)


def _add_models(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    models = commands.add_parser("models", help="list, show, verify and import models").add_subparsers(
        required=True, metavar="ACTION"
    )
    models.add_parser("list", help="the models at hand").set_defaults(run=_models_list)
    for action, run, text in (
        ("show", _models_show, "print a model's card"),
        ("verify", _models_verify, "check a model's hash, keys and shapes"),
    ):
        command = models.add_parser(action, help=text)
        command.set_defaults(run=run)
        command.add_argument("model", metavar="NAME|FOLDER")
    importer = models.add_parser("import", help="turn a checkpoint (.pth) into a model folder")
    importer.set_defaults(run=_models_import)
    source = importer.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", help="checkpoint as the published training script writes it")
    source.add_argument("--pretrained", choices=["imagenet"], help="torchvision's weights, under an untrained head")
    importer.add_argument("--recipe", choices=RECIPES, required=True, help="the preprocessing it was trained with")
    importer.add_argument("--name", required=True)
    importer.add_argument("--out", type=_folder, help="folder that receives the model's folder (default: your models)")
    importer.add_argument("--sha256", metavar="HEX", help="what the file's hash must be")
    importer.add_argument("--depth", type=int, choices=[18, 50, 152], help="with --pretrained (default: 152)")


def _add_phantom(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    phantom = commands.add_parser("phantom", help="write synthetic CTs with a tumour of known stage, and its mask")
    phantom.set_defaults(run=_phantom)
    phantom.add_argument("--out", type=_folder, required=True)
    how_many = phantom.add_mutually_exclusive_group()
    how_many.add_argument("--stage", choices=[s.name for s in TStage], default="T3", help="default: %(default)s")
    how_many.add_argument("--cases", type=int, metavar="N", help="N patients of stages in turn, and their cohort table")
    phantom.add_argument("--seed", type=int, default=0, help="same seed, same patient (default: %(default)s)")
    phantom.add_argument("--scanner", choices=SCANNERS, nargs="+", default=["A"],
                         help="scanner profile; several take turns (default: A)")  # fmt: skip
    phantom.add_argument("--size", type=int, default=256, help="pixels of a slice's side (default: %(default)s)")
    phantom.add_argument("--format", choices=["dicom", "nifti"], default="dicom", help="default: %(default)s")
    phantom.add_argument("--workers", type=int, default=1, metavar="N", help="processes, with --cases")
