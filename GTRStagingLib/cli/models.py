"""The commands `gtrstaging models list | show | verify | import`."""

import argparse
import json
import sys
from pathlib import Path

from GTRStagingLib.cli.arguments import Commands, folder_path
from GTRStagingLib.cli.train import RECIPES
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    models = commands.add_parser("models", help="list, show, verify and import models").add_subparsers(
        required=True, metavar="ACTION"
    )
    models.add_parser("list", help="the models at hand").set_defaults(run=_list)
    for action, run, text in (
        ("show", _show, "print a model's card"),
        ("verify", _verify, "check a model's hash, keys and shapes"),
    ):
        command = models.add_parser(action, help=text)
        command.set_defaults(run=run)
        command.add_argument("model", metavar="NAME|FOLDER")
    importer = models.add_parser("import", help="turn a checkpoint (.pth) into a model folder")
    importer.set_defaults(run=_import, contradiction=_contradiction)
    source = importer.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", help="checkpoint as the published training script writes it")
    source.add_argument("--pretrained", choices=["imagenet"], help="torchvision's weights, under an untrained head")
    importer.add_argument("--recipe", choices=RECIPES, required=True, help="the preprocessing it was trained with")
    importer.add_argument("--name", required=True)
    importer.add_argument(
        "--out", type=folder_path, help="folder that receives the model's folder (default: your models)"
    )
    importer.add_argument("--sha256", metavar="HEX", help="what the file's hash must be")
    importer.add_argument("--depth", type=int, choices=[18, 50, 152], help="with --pretrained (default: 152)")


def _contradiction(options: argparse.Namespace) -> str | None:
    """Say what is wrong with options that argparse takes one by one, or None."""
    if options.pretrained and options.sha256:
        return "--sha256 is for a file; torchvision checks what --pretrained fetches"
    if options.depth is not None and not options.pretrained:
        return "--depth goes with --pretrained; of a file it is read off the weights"
    return None


def _list(options: argparse.Namespace) -> None:
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


def _show(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import registry, weights

    folder = registry.locate(options.model)
    card = weights.untrained().card if folder is None else registry.read_card(folder)
    print(json.dumps(card.to_json(), indent=2))
    if card.warning:
        print(f"WARNING: {card.warning}", file=sys.stderr)


def _verify(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import weights

    card = weights.verify(options.model)
    print(f"{card.name}: whole; sha256 {card.sha256}, ResNet-{card.depth}, recipe {card.recipe.name}")


def _import(options: argparse.Namespace) -> None:
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
