"""Run a function on every case of a cohort, in this process or in workers, and prepare a case as staging does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError, without_backticks
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import parallel_map
from GTRStagingLib.tables.case_texts import shared_text

if TYPE_CHECKING:
    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.model.recipe import Recipe
    from GTRStagingLib.staging.preprocess import PreparedSlices

Source = TypeVar("Source")
Outcome = TypeVar("Outcome")


def run_cases(
    run: "Callable[[tuple[Source, str, Case]], Outcome | str]",
    model: Source,
    cases: Sequence[Case],
    *,
    device: str,
    workers: int,
    limits: Limits,
    progress: Callable[[int, int], None],
) -> list[Outcome | str]:
    """Run a function on (model, device, case) for each case; return the outcomes in the order of the cases.

    The outcome of a case that failed is the reason, without its identifiers.

    Parameters
    ----------
    workers, limits
        Processes, and limits of each case, see `support.pools.parallel_map`; 0 runs in this process.
    progress
        Called with the number of finished cases and of all cases.
    """
    from GTRStagingLib.model import device as devices

    if devices.choose(device).type != "cpu":
        limits = replace(limits, memory_limit=None)  # the driver of a GPU reserves more than it uses
    jobs = [(model, device, case) for case in cases]
    outcomes: list[Outcome | str] = []
    threads = None if workers == 1 else 1
    for outcome in parallel_map(run, jobs, workers, limits=limits, failed=_left_out, threads=threads):
        outcomes.append(outcome)
        progress(len(outcomes), len(jobs))
    return outcomes


@lru_cache(maxsize=1)
def loaded_backbone(model: str, device: str) -> "Backbone":
    """Load a model on a device, and keep it for the next case; `cache_clear` if its folder may have changed."""
    from GTRStagingLib.model import backbone

    return backbone.load_model(model, device)


def require_training_cohort(card: "ModelCard", learned: Sequence[Case]) -> None:
    """Raise `InputError` unless as many cases and patients train as on the card; an imported model's card has none."""
    if card.training is None:
        return
    on_card = Fields(card.training, "training").fields("data").fields("training")
    expected = on_card.whole("cases"), on_card.whole("patients")
    given = len(learned), len({case.patient_id for case in learned})
    if given != expected:
        raise InputError(
            f"{counted(given[0], 'case')} of {counted(given[1], 'patient')} in the split 'train'; expected "
            f"{counted(expected[0], 'case')} of {counted(expected[1], 'patient')}, those that trained {card.name!r} by "
            "its card. Give the cohort that the model was trained on."
        )


def reasons(cases: Sequence[Case], outcomes: Sequence[Any]) -> dict[str, str]:
    """Return the case ids of the outcomes that are reasons, with these reasons."""
    return {case.case_id: one for case, one in zip(cases, outcomes, strict=True) if isinstance(one, str)}


def no_case(left_out: Mapping[str, str], done: str) -> InputError:
    """Return the error for a cohort of which no case could be `done`, as in 'staged'."""
    first, why = next(iter(left_out.items()))
    return InputError(f"No case could be {done}. First case, {first}: {why}")


def prepared(case: Case, recipe: "Recipe") -> "tuple[Scan, PreparedSlices]":
    """Read a case and prepare its voting slices, as staging does."""
    from GTRStagingLib.imaging import keyslice
    from GTRStagingLib.imaging.inputs import read_inputs
    from GTRStagingLib.staging.preprocess import prepare

    scan, roi, _ = read_inputs(
        case.image, series=case.series, roi=case.roi, segment=case.segment, key_slice=case.key_slice
    )
    mask = None if roi is None else roi.onto(scan.grid)
    key = keyslice.choose(scan, mask=mask, key_slice=case.key_slice)
    return scan, prepare(scan, key, recipe, intensity=scan.intensity)


def _left_out(job: tuple[Any, str, Case], reason: str) -> str:
    _, _, case = job
    return shared_text(without_backticks(reason), (case.image, case.roi))


__all__ = ["loaded_backbone", "no_case", "prepared", "reasons", "require_training_cohort", "run_cases"]
