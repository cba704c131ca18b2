"""Add the command `gtrstaging models proposal`: fit the head that proposes key slices."""

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
    out_folder,
    print_notes,
)


def add_to(models: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging models`."""
    command = models.add_parser(
        "proposal",
        help="fit the head that proposes key slices, for scans without an ROI",
        description="Fit a small head on the features of a model to whether a slice shows a tumour, by the ROIs of the "
        "model's training cases, and write it into the model's folder. With it, `gtrstaging stage "
        "--propose-key-slice` proposes a key slice. The weights are not changed.",
    )
    command.set_defaults(run=_proposal, contradiction=draw_contradiction, supervised=True, columns=COLUMNS)
    command.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    command.add_argument("cohort", type=Path, help="table of the cohort that the model was trained on, with ROIs; only "
                         "the split train is used")  # fmt: skip
    command.add_argument("--out", type=out_folder, metavar="DIR", help="new folder for a copy of the model with the "
                         "head (default: the model's own folder)")  # fmt: skip
    add_draw(command, "training cases")
    add_workers(command, "runs the network")


def _proposal(options: argparse.Namespace) -> None:
    from GTRStagingLib.checking.card_writing import require_new, require_writable, write_proposal
    from GTRStagingLib.checking.proposal_fit import fit_proposal
    from GTRStagingLib.cohort.cohort import read_cohort
    from GTRStagingLib.model import registry

    folder = registry.locate(options.model)
    if folder is None or options.out is None:
        require_writable(options.model, folder, dry_run=False)
    else:
        require_new(options.out)
    cohort = read_cohort(options.cohort)
    print_notes(cohort.notes, options)
    # Read before the fit, so that weights that are replaced meanwhile do not get its head.
    sha256 = None if folder is None else registry.read_card(folder).sha256
    fitted = on_drawn_cases(fit_proposal, options, cohort.cases)
    for line in left_out_lines(fitted.left_out):
        print(line)
    if folder is not None:
        card = write_proposal(fitted, folder, out=options.out, weights_sha256=sha256)
        print(card.proposal_in_words)
        print(f"Written to {(options.out or folder) / registry.CARD_FILE}; the weights are unchanged.")
