"""Cross-validate by patient: train several models, and tabulate their scores on held-out patients."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from GTRStagingLib.cohort.cohort import Cohort, folds
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.several import folds_table
from GTRStagingLib.support.files import atomic_file
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.tables.cells import guarded
from GTRStagingLib.training.plan import Hardware, Plan
from GTRStagingLib.training.train import TrainingProgress, train

COLUMNS = ("accuracy", "macro_auc", "slice_loss", "slice_accuracy")


def train_folds(
    cohort: Cohort,
    out: Path,
    plan: Plan,
    hardware: Hardware = Hardware(),  # noqa: B008 (frozen)
    *,
    k: int,
    backbone: Path | None = None,
    cache: Path | None = None,
    resume: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    progress: TrainingProgress = TrainingProgress(),  # noqa: B008 (frozen)
) -> list[ModelCard]:
    """Train `k` models, `OUT-fold1` to `OUT-fold{k}`, each validated on patients left out of its training.

    The cohort's 'test' cases are left out, and its other splits are ignored. `OUT-folds.csv` has one row per fold, then
    their mean and standard deviation. Parameters and errors are those of `train`.
    """
    learning = Cohort(tuple(case for case in cohort.cases if case.split != "test"))
    cards: list[ModelCard] = []
    for number, (training, held_out) in enumerate(folds(learning, k, seed=plan.seed), 1):
        fold = Cohort(training.cases + held_out.cases)
        folder = out.with_name(f"{out.name}-fold{number}")
        progress.report(f"Fold {number} of {k}: {len(training.cases)} training cases, {len(held_out.cases)} held out.")
        card = train(
            fold, folder, plan, hardware, backbone=backbone, cache=cache, resume=resume, limits=limits,
            progress=progress,
        )  # fmt: skip
        if card is not None:
            cards.append(card)
    if cards:
        _write_table(cards, folds_table(out))
    return cards


def _write_table(cards: Sequence[ModelCard], path: Path) -> None:
    rows = [_scores(card) for card in cards]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["fold", *COLUMNS])
    table.writerows([guarded(card.name), *row] for card, row in zip(cards, rows, strict=True))
    defined = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    table.writerow(["mean", *(statistics.fmean(values) if values else None for values in defined)])
    table.writerow(["sd", *(statistics.stdev(values) if len(values) > 1 else None for values in defined)])
    with atomic_file(path) as stream:
        stream.write(text.getvalue().encode())


def _scores(card: ModelCard) -> list[float | None]:
    """Return the validation scores of a trained model's card, without intervals; None if undefined."""
    found = (card.training or {})["metrics"]["validation"]
    return [found[name]["value"] if isinstance(found[name], Mapping) else found[name] for name in COLUMNS]


__all__ = ["train_folds"]
