"""Add the command `gtrstaging models familiarity`: record what a model learned from."""

import argparse
from pathlib import Path

from GTRStagingLib.cli.arguments import (
    COLUMNS,
    Commands,
    add_draw,
    add_workers,
    draw_contradiction,
    left_out_lines,
    on_drawn_cases,
    print_notes,
)


def add_to(models: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging models`."""
    command = models.add_parser(
        "familiarity",
        help="record what a model learned from, so that results tell whether a case is like it",
        description="Record the distribution of a model's training cases in its folder, and how far held-out patients "
        "are from it. Each later result then states whether its case is usual, unusual or unlike the training, with "
        "rates of false alarms. The weights are not changed.",
    )
    command.set_defaults(run=_familiarity, contradiction=draw_contradiction, supervised=True, columns=COLUMNS)
    command.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    command.add_argument("cohort", type=Path, help="table of the cohort that the model was trained on: the split "
                         "train, and the held-out split calibration, or else validation")  # fmt: skip
    add_draw(command, "training cases")
    add_workers(command, "measures")


def _familiarity(options: argparse.Namespace) -> None:
    from GTRStagingLib.checking.card_writing import require_writable, write_familiarity
    from GTRStagingLib.checking.familiarity_fit import fit_familiarity
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.model import registry
    from GTRStagingLib.staging.familiarity import promise

    folder = registry.locate(options.model)
    require_writable(options.model, folder, dry_run=False)
    cohort = read_cohort(options.cohort)
    print_notes(cohort.notes, options)
    # Read before the fit, so that weights that are replaced meanwhile do not get its reference.
    sha256 = None if folder is None else registry.read_card(folder).sha256
    fitted = on_drawn_cases(fit_familiarity, options, cohort.cases)
    for line in left_out_lines(fitted.left_out):
        print(line)
    print(f"Fitted to {fitted.found['training_cases']} training cases, compared by {', '.join(fitted.found['parts'])}.")
    print(promise(fitted.reference))
    if folder is not None:
        write_familiarity(fitted, folder, weights_sha256=sha256)
        print(f"Written to {folder / registry.CARD_FILE}; the weights are unchanged.")
