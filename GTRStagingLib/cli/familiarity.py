"""Add the command `gtrstaging models familiarity`: record what a model learned from."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from GTRStagingLib.cli.arguments import COLUMNS, Commands, add_limits, given_limits, print_notes, progress_bar


def add_to(models: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging models`."""
    command = models.add_parser(
        "familiarity",
        help="record what a model learned from, so that results tell whether a case is like it",
        description="Record the distribution of a model's training cases in its folder, and how far held-out patients "
        "are from it. Each later result then states whether its case is usual, unusual or unlike the training, with "
        "rates of false alarms. The weights are not changed.",
    )
    command.set_defaults(run=_familiarity, contradiction=_contradiction, supervised=True, columns=COLUMNS)
    command.add_argument("model", metavar="NAME|FOLDER", help="name of a model, or a model folder")
    command.add_argument("cohort", type=Path, help="table of the cohort that the model was trained on: the split "
                         "train, and the held-out split calibration, or else validation")  # fmt: skip
    command.add_argument("--cases", type=int, metavar="N", help="use at most N training cases, drawn evenly from the "
                         "true stages (default: all)")  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)")
    command.add_argument("--workers", type=int, default=1, metavar="N", help="number of worker processes; 0 measures "
                         "in this process, without limits (default: %(default)s)")  # fmt: skip
    add_limits(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")


def _contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options contradict each other, or None."""
    if options.cases is not None and options.cases < 1:
        return f"--cases {options.cases}; expected 1 or more"
    if options.workers < 0:
        return f"--workers {options.workers}; expected 0 or more"
    if not 0 <= options.seed < 2**32:
        return f"--seed {options.seed}; expected 0 or more, below 2**32"
    return None


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
    with ExitStack() as opened:
        steps: list[Callable[[str], None]] = []

        def progress(done: int, total: int) -> None:
            if not steps:  # the total is known only now
                steps.append(opened.enter_context(progress_bar(total)))
            steps[0](f"{done} of {total}")

        fitted = fit_familiarity(
            options.model, cohort.cases, most=options.cases, device=options.device, workers=options.workers,
            limits=given_limits(options), seed=options.seed, progress=progress,
        )  # fmt: skip
    for case_id, reason in list(fitted.left_out.items())[:3]:
        print(f"left out: {case_id}: {reason}")
    if len(fitted.left_out) > 3:
        print(f"left out: {len(fitted.left_out) - 3} more")
    print(f"Fitted to {fitted.found['training_cases']} training cases, compared by {', '.join(fitted.found['parts'])}.")
    print(promise(fitted.reference))
    if folder is not None:
        write_familiarity(fitted, folder, weights_sha256=sha256)
        print(f"Written to {folder / registry.CARD_FILE}; the weights are unchanged.")
