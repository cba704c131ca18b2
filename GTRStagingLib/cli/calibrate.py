"""Add the command `gtrstaging models calibrate`."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    COLUMNS,
    Commands,
    add_workers,
    counting_bar,
    given_limits,
    left_out_lines,
    out_folder,
    print_notes,
    workers_contradiction,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from GTRStagingLib.checking.calibrate import Calibration

SPLITS = ("validation", "test", "calibration")
"""Splits of patients that did not fit the model."""


def add_to(actions: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging models`."""
    command = actions.add_parser(
        "calibrate",
        help="calibrate the temperature and the stage sets of a model on your own patients, in a new model folder",
        description="Fit the temperature of a model, and calibrate its stage sets, on patients that neither fitted nor "
        "chose it. The result is a new model folder with the same weights and another card.",
    )
    command.set_defaults(run=_calibrate, contradiction=_contradiction, supervised=True, columns=COLUMNS)
    command.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    command.add_argument("cohort", type=Path, help="table of cases with stages, outside the training of the model; the "
                         "first case of each patient counts")  # fmt: skip
    command.add_argument("--out", type=out_folder, metavar="FOLDER", help="new model folder, which also names the "
                         "model (default: NAME-calibrated in the folder of your models)")  # fmt: skip
    command.add_argument("--level", type=float, default=0.9, help="share of the patients of each stage whose set is to "
                         "contain the stage (default: %(default)s)")  # fmt: skip
    command.add_argument("--split", choices=SPLITS, help="use only the cases of this split")
    add_workers(command, "stages")


def _contradiction(options: argparse.Namespace) -> str | None:
    from GTRStagingLib.model.card import SET_LEVELS

    if (workers := workers_contradiction(options)) is not None:
        return workers
    least, most = SET_LEVELS
    if not least <= options.level <= most:
        return f"--level {options.level:g}; expected a share from {least:g} to {most:g}"
    return None


def _calibrate(options: argparse.Namespace) -> None:
    from GTRStagingLib.checking.calibrate import calibrate_model
    from GTRStagingLib.checking.card_writing import require_new, write_calibrated
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.errors import WeightsError
    from GTRStagingLib.model import registry

    folder = registry.locate(options.model)
    if folder is None:
        raise WeightsError(f"Model {options.model!r} is built in and has random weights; expected a trained model.")
    out: Path = options.out or _own_folder(registry.models_folder(), registry.read_card(folder).name)
    require_new(out)
    cohort = read_cohort(options.cohort)
    print_notes(cohort.notes, options)
    with counting_bar() as progress:
        found = calibrate_model(
            options.model, cohort, split=options.split, level=options.level, device=options.device,
            workers=options.workers, limits=given_limits(options), progress=progress,
        )  # fmt: skip
    _print(found)  # before the write, which a full disk can stop
    card = write_calibrated(found, out)
    use = shlex.join(["gtrstaging", "stage", "CT", "--model", str(out)])
    print(f"Written: {out}, card sha256 {card.card_sha256}. Use it: {use}")
    print(RESEARCH_USE_ONLY)


def _own_folder(home: Path | None, name: str) -> Path:
    from GTRStagingLib.errors import WeightsError

    if home is None:
        raise WeightsError("There is no folder for your models; expected one. Give `out`.")
    return home / f"{name}-calibrated"


def _print(found: "Calibration") -> None:
    from GTRStagingLib.stages import TStage
    from GTRStagingLib.staging.stage_set import least_patients, limit

    for line in left_out_lines(found.left_out):
        print(line)
    sets = found.stage_sets
    level, least = sets["level"], least_patients(sets["level"])
    print(f"Stage sets at {100 * level:g} %: {sets['source']}")
    print(f"{'':<4}{'patients':>10}{'limit':>10}")
    for stage in TStage:
        own = limit(sets["scores"][stage.name], level)
        print(f"{stage!s:<4}{sets['patients'][stage.name]:>10}{f'{own:.3f}' if own <= 1 else 'none':>10}")
    for stage in TStage:
        if (n := sets["patients"][stage.name]) < least:
            print(f"WARNING    {stage} has {n} patients, fewer than {least}: it is in every set.")
    if sets["warning"]:
        print(f"WARNING    {sets['warning']}")


__all__ = ["add_to"]
