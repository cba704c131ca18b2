"""Add the commands `gtrstaging models list | show | verify | check | … | import | export-onnx`."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingLib.cli import calibrate, familiarity, proposal
from GTRStagingLib.cli.arguments import (
    COLUMNS,
    Commands,
    add_draw,
    add_workers,
    draw_contradiction,
    left_out_lines,
    on_drawn_cases,
    out_folder,
    print_notes,
)
from GTRStagingLib.cli.train import RECIPES
from GTRStagingLib.errors import StagingError
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    from GTRStagingLib.checking.model_check import Check
    from GTRStagingLib.model.card import ModelCard

SPLITS = ("train", "validation", "test", "calibration")
"""Repeated here, so that `--help` imports no large package."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `gtrstaging`."""
    models = commands.add_parser(
        "models", help="list, show, verify, check, compare, calibrate and import models"
    ).add_subparsers(required=True, metavar="ACTION")
    models.add_parser(
        "list",
        help="list the available models",
        description="List the models that can be given by name, with status, network, recipe, verdict of the check and "
        "folder.",
    ).set_defaults(run=_list)
    for action, run, text, description in (
        ("show", _show, "print a model card", "Print a model card as JSON; its head and its check follow on stderr."),
        ("verify", _verify, "verify hash, keys and shapes of a model's weights",
         "Verify that a model's weights have the hash of its card, and the names and shapes of its network. Exit code "
         "0: valid; 1: not valid, with the reason."),
    ):  # fmt: skip
        command = models.add_parser(action, help=text, description=description)
        command.set_defaults(run=run)
        command.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    checker = models.add_parser(
        "check",
        help="check a model's attention maps on a cohort, and write the verdict into its model card",
        description="Test whether a model's attention maps depend on its decision, and whether they agree with the "
        "ROIs. The verdict and its numbers are written into the model card, and shown with each result. Exit code 0: "
        "passed; 1: failed, or not checked.",
    )
    checker.set_defaults(run=_check, contradiction=draw_contradiction, supervised=True, columns=COLUMNS)
    checker.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    checker.add_argument("cohort", type=Path, help="table of cases outside the training of the model, if possible "
                         "with ROIs")  # fmt: skip
    checker.add_argument("--split", choices=SPLITS, help="use only the cases of this split")
    add_draw(checker, "cases")
    add_workers(checker, "stages")
    checker.add_argument("--dry-run", action="store_true", help="print the result without writing the model card")
    checker.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to this file")
    familiarity.add_to(models)
    proposal.add_to(models)
    calibrate.add_to(models)
    exporter = models.add_parser(
        "export-onnx",
        help="write the graphs with which a model runs without PyTorch",
        description="Write model.onnx, and with the usual head gradients.onnx for fine maps, into a model's folder, "
        "and their hashes into its card. With them the model runs by ONNX Runtime, where PyTorch is not installed. The "
        "graphs refer to the weights in the folder, and are compared with PyTorch before they are written. Needs "
        "PyTorch.",
    )
    exporter.set_defaults(run=_export)
    exporter.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    importer = models.add_parser(
        "import",
        help="convert a checkpoint (.pth) to a model folder",
        description="Convert a checkpoint of the published training script, or the ImageNet weights of torchvision, to "
        "a model folder.",
    )
    importer.set_defaults(run=_import, contradiction=_contradiction)
    source = importer.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", help="checkpoint of the published training script")
    source.add_argument("--pretrained", choices=["imagenet"], help="weights of torchvision, with an untrained head")
    importer.add_argument(
        "--recipe", choices=RECIPES, required=True, help="preprocessing with which the weights were trained"
    )
    importer.add_argument("--name", required=True, help="name of the new model")
    importer.add_argument(
        "--out", type=out_folder, help="folder for the new model folder (default: the folder of your models)"
    )
    importer.add_argument("--sha256", metavar="HEX", help="expected hash of the file")
    importer.add_argument(
        "--depth", type=int, choices=[18, 50, 152], help="depth of the ResNet, with --pretrained (default: 152)"
    )


def _contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options contradict each other, or None."""
    if options.pretrained and options.sha256:
        return "--sha256 requires a file; torchvision verifies the weights of --pretrained"
    if options.depth is not None and not options.pretrained:
        return "--depth requires --pretrained; for a file it is detected"
    return None


def _list(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import registry

    row = "{:<20} {:<14} {:<18} {:<10} {:<12} {:<38} {}"
    print(row.format("NAME", "STATUS", "NETWORK", "RECIPE", "MAP", "HEAD", "FOLDER"))
    for name, folder in registry.available().items():
        if folder is None:
            known = ("untrained", "ResNet-152 add", "gtr", "not checked", "mean of the last feature map")
            print(row.format(name, *known, "(built in; random weights)"))
            continue
        try:
            card = registry.read_card(folder)
        except StagingError as error:
            print(row.format(name, "DAMAGED", "", "", "", "", str(error)))
            continue
        verdict = "not checked" if card.check is None else card.check["verdict"]
        network = f"ResNet-{card.depth} {card.fusion}"
        print(row.format(name, card.status, network, card.recipe.name, verdict, card.head_in_words, folder))


def _show(options: argparse.Namespace) -> None:
    from GTRStagingLib.model import registry

    folder = registry.locate(options.model)
    card = _untrained_card() if folder is None else registry.read_card(folder)
    print(json.dumps(card.to_json(), indent=2))
    print(f"Head: {card.head_in_words}", file=sys.stderr)
    print(card.check_in_words, file=sys.stderr)
    print(card.familiarity_in_words, file=sys.stderr)
    print(card.proposal_in_words, file=sys.stderr)
    print(card.graph_in_words, file=sys.stderr)
    if card.warning:
        print(f"WARNING: {card.warning}", file=sys.stderr)


def _verify(options: argparse.Namespace) -> None:
    from GTRStagingLib.model.backbone import verify

    card = verify(options.model)
    print(f"{card.name}: valid; sha256 {card.sha256}, ResNet-{card.depth}, recipe {card.recipe.name}")


def _export(options: argparse.Namespace) -> None:
    from GTRStagingLib.checking.card_writing import require_writable, write_graphs
    from GTRStagingLib.model import registry
    from GTRStagingLib.model.arrays import GRADIENTS_FILE, GRAPH_FILE

    folder = registry.locate(options.model)
    require_writable(options.model, folder, dry_run=False)
    if folder is not None:
        card = write_graphs(folder)
        for name, sha256 in ((GRAPH_FILE, card.graph_sha256), (GRADIENTS_FILE, card.gradients_sha256)):
            if sha256 is not None:
                print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes, sha256 {sha256}")
        print(card.graph_in_words)


def _untrained_card() -> "ModelCard":
    """Return the card of the built-in model, whose weights PyTorch makes."""
    from GTRStagingLib.model import weights

    return weights.untrained().card


def _check(options: argparse.Namespace) -> int:
    from GTRStagingLib.checking.card_writing import nothing_measured, require_writable, write_check
    from GTRStagingLib.checking.model_check import check_model
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.errors import InputError
    from GTRStagingLib.model import registry
    from GTRStagingLib.support.files import require_file_can_be_written, write_json

    folder = registry.locate(options.model)
    if not options.dry_run:
        require_writable(options.model, folder)
    if options.json is not None:
        require_file_can_be_written(options.json)
    cohort = read_cohort(options.cohort)
    print_notes(cohort.notes, options)
    cases = cohort.cases if options.split is None else cohort.of(options.split).cases
    if not cases:
        of = "" if options.split is None else f" in {options.split!r}"
        raise InputError(f"{options.cohort} has no case{of}; expected some. Choose another table, or another --split.")
    if options.split is None and (learned := sum(case.split == "train" for case in cases)):
        raise InputError(
            f"{learned} of the {len(cases)} cases of {options.cohort} are in the split 'train'; expected cases "
            "outside the training of the model. Give --split validation or --split test."
        )
    # Read before the check, so that weights that are replaced meanwhile do not get its verdict.
    sha256 = None if folder is None else registry.read_card(folder).sha256
    check = on_drawn_cases(check_model, options, cases)
    print("\n".join(check_lines(check)))
    if not options.dry_run and folder is not None:
        if not check.found["tests"]:
            raise nothing_measured(check)
        write_check(check, folder, weights_sha256=sha256)
        print(f"The verdict was written to {folder / registry.CARD_FILE}.")
    if options.json is not None:
        write_json(check.found, options.json)
    return 0 if check.found["verdict"] == "passed" else 1


def check_lines(check: "Check") -> Iterator[str]:
    """Yield the lines of a check's table: one for each test, with its numbers."""
    found = check.found
    yield from left_out_lines(check.left_out)
    yield f"Maps by {found['method']!r}, {counted(found['cases'], 'case')} of {counted(found['patients'], 'patient')}"
    tests = found["tests"]
    if tests:
        row = "{:<16} {:<12} {}"
        for name, words in (
            ("empty_maps", _empty_words), ("location", _location_words), ("other_stage", _other_words),
            ("deletion", _deletion_words), ("random_weights", _random_words),
        ):  # fmt: skip
            one = tests[name]
            verdict = {True: "passed", False: "FAILED", None: "not checked"}[one["passed"]]
            first, *more = [*([one["reason"]] if one["reason"] else []), *words(one)] or [""]
            yield row.format(name.replace("_", " "), verdict, first)
            yield from (row.format("", "", line) for line in more)
    yield f"{found['verdict'].upper()}: {found['summary']}"


def _mean(one: "Mapping[str, Any] | None", digits: int = 3) -> str:
    """Format a mean with its interval."""
    if one is None or one["mean"] is None:
        return "-"
    if one["low"] is None:
        return f"{one['mean']:.{digits}f}"
    return f"{one['mean']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def _with_baselines(label: str, one: "Mapping[str, Any]", first: str, digits: int = 3) -> str:
    """Format a mean with those of the baselines."""
    from GTRStagingLib.checking.rules import BASELINES

    others = [f"{name.replace('_', ' ')} {_mean(one[name], digits)}" for name in BASELINES
              if name in one]  # fmt: skip
    return f"{label} {_mean(one.get(first), digits)}; {', '.join(others)}"


def _empty_words(one: "Mapping[str, Any]") -> "Sequence[str]":
    return [f"{one['empty']} of {one['cases']} maps are empty; expected a share of at most {one['bound']}"]


def _location_words(one: "Mapping[str, Any]") -> "Sequence[str]":
    if "dice" not in one:
        return []
    return [
        _with_baselines("Dice", one, "dice"),
        _with_baselines("energy in the ROI", one["energy_inside"], "map"),
        _with_baselines("peak in the ROI", one["pointing_hit"], "map"),
        _with_baselines("mm between centroids", one["centroid_mm"], "map", 0),
        f"mm2 of the map {_mean(one.get('area_mm2'), 0)}, of the ROI {_mean(one.get('roi_area_mm2'), 0)}",
    ]


def _other_words(one: "Mapping[str, Any]") -> "Sequence[str]":
    return [f"correlation with the maps of the other stages {_mean(one['spearman'])}; expected below {one['bound']}",
            f"with the map of the second most likely stage {_mean(one.get('second'))}"]  # fmt: skip


def _deletion_words(one: "Mapping[str, Any]") -> "Sequence[str]":
    of = one["cases"] + one["without_control"]
    without = [f"{one['without_control']} of {of} cases without a control, left out"] if one["without_control"] else []
    return [
        f"decrease of the probability with the region filled in: {_mean(one.get('fall'))}, with controls: "
        f"{_mean(one.get('control'))}",
        f"difference {_mean(one['above'])}; expected an interval above 0, and {one['bound']}",
        f"decrease with the ROI filled in: {_mean(one.get('fall_without_roi'))}",
        *without,
    ]


def _random_words(one: "Mapping[str, Any]") -> "Sequence[str]":
    def points(name: str) -> str:
        return ", ".join(
            f"{point['random']} {_mean(point.get('spearman'), 2)}"
            + (f" Dice {point['dice']['mean']:.2f}" if "dice" in point else "")
            for point in one[name]
        )

    return [
        f"correlation with maps of weights that are random from the head down: {points('curve')}; expected below "
        f"{one['bound']} at the end",
        f"the same with random layers below the trained head: {points('late')}",
    ]


def _import(options: argparse.Namespace) -> None:
    from GTRStagingLib.checking.card_writing import write_graphs
    from GTRStagingLib.model import checkpoints, recipe

    how = {"recipe": recipe.find_recipe(options.recipe), "name": options.name, "out": options.out}
    if options.pretrained:
        card, folder = checkpoints.import_imagenet(depth=options.depth or 152, **how)
    else:
        card, folder = checkpoints.import_checkpoint(options.file, sha256=options.sha256, **how)
    print(f"{folder}: ResNet-{card.depth} (fusion {card.fusion}), recipe {card.recipe.name}, sha256 {card.sha256}")
    print(card.provenance)
    if card.warning:
        print(f"WARNING: {card.warning}")
    try:
        print(write_graphs(folder).graph_in_words)
    except StagingError as error:
        print(f"NOTE: this model needs PyTorch: its graphs for ONNX Runtime were not written. {error}")
    print(RESEARCH_USE_ONLY)
