"""Add the command `gtrstaging train`: train a model on a cohort."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.cli.arguments import COLUMNS, Commands, add_limits, given_limits, out_folder, print_notes, with_flags
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.model.card import ModelCard

DEPTHS, FUSIONS, HEADS = (10, 18, 50, 152), ("none", "add", "concat"), ("mean", "gated")
RECIPES, SCHEDULES = ("gtr", "paper", "released"), ("constant", "cosine")
"""Repeated here, so that `--help` imports no large package; a test compares them with the library's."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    train = commands.add_parser(
        "train",
        help="train a model on a cohort",
        description=f"Train a model on a cohort with splits, and write the model folder. {RESEARCH_USE_ONLY}",
    )
    train.set_defaults(run=_train, columns=COLUMNS)
    train.add_argument("cohort", type=Path, help="cohort table with splits")
    train.add_argument("--out", type=out_folder, required=True, metavar="MODEL_DIR", help="new model folder; "
                       "checkpoints and metrics.csv are written to MODEL_DIR-run")  # fmt: skip
    train.add_argument("--resume", action="store_true", help="resume the run in MODEL_DIR-run, if it exists")
    train.add_argument(
        "--depth", type=int, choices=DEPTHS, help="depth of the ResNet (default: that of --init MODEL, or 152)"
    )
    train.add_argument("--fusion", choices=FUSIONS, help="fusion of its stem (default: that of --init MODEL, or none)")
    train.add_argument("--head", choices=HEADS, help="mean: mean of the last feature map; gated: mean of the cells "
                       "weighted by a gate, trained with the cases' ROIs (default: that of --init MODEL, or "
                       "mean)")  # fmt: skip
    train.add_argument("--recipe", choices=RECIPES, help="preprocessing (default: that of --init MODEL, or gtr)")
    train.add_argument("--init", default="auto", metavar="auto|imagenet|random|MODEL", help="initial weights: of "
                       "ImageNet, or random if unavailable (auto); or of a model, to fine-tune it")  # fmt: skip
    train.add_argument("--backbone", type=Path, metavar="FILE", help="initial weights of another ResNet (.pth, "
                       ".safetensors), with a random head; instead of --init")  # fmt: skip
    train.add_argument("--freeze-backbone", action="store_true", help="train only the head")
    train.add_argument("--mask-weight", type=float, default=1.0, metavar="W", help="weight of the gate's mask loss "
                       "relative to the cross-entropy (default: %(default)s)")  # fmt: skip
    train.add_argument("--max-epochs", type=int, default=100, help="default: %(default)s")
    train.add_argument("--patience", type=int, default=10, metavar="EPOCHS", help="stop after this number of epochs "
                       "without a lower validation loss (default: %(default)s)")  # fmt: skip
    train.add_argument("--batch-size", type=int, default=32, help="slices per device (default: %(default)s)")
    train.add_argument("--lr", dest="learning_rate", type=float, default=1e-4, metavar="LR",
                       help="Adam's learning rate (default: %(default)s)")  # fmt: skip
    train.add_argument("--schedule", choices=SCHEDULES, default="constant", help="schedule of the learning rate: "
                       "cosine rises to --lr and falls until the last epoch, for training from random weights "
                       "(default: %(default)s)")  # fmt: skip
    train.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    train.add_argument("--no-augment", action="store_true", help="do not augment the training slices")
    train.add_argument("--samples", type=Path, metavar="PICTURE.png", help="write a picture of augmented samples")
    train.add_argument(
        "--folds", type=int, metavar="K", help="cross-validate: train K models, each validated on different patients"
    )
    train.add_argument("--allow-leakage", action="store_true", help="train although the cohort contains leaks; the "
                       "model and its reports then contain a warning")  # fmt: skip
    train.add_argument("--demonstration", action="store_true", help="mark the model as trained on phantoms")
    train.add_argument("--half", action="store_true", help="store the weights as float16, in half the space")
    train.add_argument(
        "--cache", type=Path, metavar="DIR", help="cache of the prepared slices (default: your cache folder)"
    )
    train.add_argument(
        "--workers", type=int, metavar="N", help="number of processes that read CTs, and that load slices"
    )
    add_limits(train)
    machine = train.add_argument_group("hardware", "arguments of Lightning's Trainer")
    machine.add_argument("--accelerator", default="auto", help="auto, cpu, gpu, mps (default: %(default)s)")
    machine.add_argument(
        "--devices", default="1", help="number of devices, 'auto', or their indices, as in 0,1 (default: %(default)s)"
    )
    machine.add_argument("--num-nodes", type=int, default=1, help="default: %(default)s")
    machine.add_argument("--strategy", default="auto", help="as in ddp (default: %(default)s)")
    machine.add_argument("--precision", default="32-true", help="as in 16-mixed, bf16-mixed (default: %(default)s)")


def _train(options: argparse.Namespace) -> None:
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.model.several import folds_table
    from GTRStagingLib.support.extras import import_extra
    from GTRStagingLib.tables.case_table import split_notes

    for module in ("lightning", "scipy"):
        import_extra(module, "Training needs", "train")
    from GTRStagingLib.training.cross_validation import train_folds
    from GTRStagingLib.training.plan import Hardware, Plan
    from GTRStagingLib.training.train import TrainingProgress, train

    plan = Plan(
        **_network(options),
        init=options.init,
        max_epochs=options.max_epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        patience=options.patience,
        seed=options.seed,
        augment=not options.no_augment,
        half=options.half,
        demonstration=options.demonstration,
        allow_leakage=options.allow_leakage,
        freeze_backbone=options.freeze_backbone,
        mask_weight=options.mask_weight,
    )
    hardware = Hardware(
        options.accelerator, options.devices, options.num_nodes, options.strategy, options.precision, options.workers
    )
    cohort = read_cohort(options.cohort)
    nowhere = sum(case.split is None for case in cohort)
    splits = [] if options.folds is not None else split_notes(nowhere, len(cohort))
    print_notes([*cohort.notes, *splits], options)
    with _reading_bar() as reading:
        report = partial(_report, options.parser)
        progress = TrainingProgress(report=report, reading=reading, bar=sys.stdout.isatty())
        if options.folds is not None:
            cards = train_folds(
                cohort, options.out, plan, hardware, k=options.folds, backbone=options.backbone, cache=options.cache,
                resume=options.resume, limits=given_limits(options), progress=progress,
            )  # fmt: skip
        else:
            card = train(
                cohort, options.out, plan, hardware, backbone=options.backbone, cache=options.cache,
                resume=options.resume, samples=options.samples, limits=given_limits(options), progress=progress,
            )  # fmt: skip
            cards = [] if card is None else [card]
    for card in cards:
        _print_summary(card, options.out.with_name(card.name))
    if cards and options.folds is not None:
        print(f"Folds      {folds_table(options.out)}")
    if cards:
        print(RESEARCH_USE_ONLY)


def _network(options: argparse.Namespace) -> dict[str, Any]:
    """Return depth, fusion, head and recipe: the given ones, those of the initial model, or the defaults of `Plan`."""
    from GTRStagingLib.model import recipe, registry

    given = {"depth": options.depth, "fusion": options.fusion, "head": options.head}
    given["recipe"] = None if options.recipe is None else recipe.find_recipe(options.recipe)
    folder = None if options.init in ("auto", "imagenet", "random") else registry.locate(options.init)
    own = {} if folder is None else vars(registry.read_card(folder))
    chosen = {name: own.get(name) if value is None else value for name, value in given.items()}
    return {name: value for name, value in chosen.items() if value is not None}


def _report(parser: argparse.ArgumentParser, sentence: str) -> None:
    print(f"gtrstaging: {with_flags(sentence, parser)}", file=sys.stderr)


def _print_summary(card: "ModelCard", folder: Path) -> None:
    from GTRStagingLib.stats.estimates import Estimate

    record = card.training or {}
    print(f"Model      {folder}: ResNet-{card.depth} (fusion {card.fusion}), recipe {card.recipe.name}")
    print(f"Head       {card.head_in_words}")
    print(f"Epochs     {record['epochs']}, best epoch {record['best_epoch']} (counted from 0)")
    print(f"Scaling    temperature {card.temperature:.3f}")
    for split, found in record["metrics"].items():
        right, auc = found["accuracy"], found["macro_auc"]
        print(
            f"{split.capitalize():<10} accuracy of {counted(found['cases'], 'case')} {Estimate(**right).text()}, "
            f"macro AUC {Estimate(**auc).text()}, slice loss {found['slice_loss']:.4f}"
        )
    print(f"Maps       {card.check_in_words}")
    if card.warning:
        print(f"WARNING    {card.warning}")


@contextmanager
def _reading_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for the preparation of the slices, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm  # Lightning requires it, too

    with tqdm(desc="preparing slices", unit="case", leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
