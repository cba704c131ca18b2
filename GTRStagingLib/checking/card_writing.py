"""Write what a check found into a model's folder: its card, and the mean of the ROIs beside it."""

import json
import os
from dataclasses import replace
from pathlib import Path

from GTRStagingLib.checking.model_check import OWN, WRITTEN, Check
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.registry import CARD_FILE, read_card
from GTRStagingLib.support.files import sha256_of, whole_file

LOCK = ".check.lock"


def require_writable(name: str, folder: Path | None) -> None:
    """Raise unless a verdict can be written to a model's folder; `folder` is None for the built-in model.

    Raises
    ------
    WeightsError
        Before hours are spent on a check that cannot be kept.
    """
    remedy = "Give --dry-run to print the result alone, or --json FILE with it"
    if folder is None:
        raise WeightsError(f"Model {name!r} is built in and has no card to write to; expected a folder. {remedy}.")
    if not os.access(folder, os.W_OK):
        raise WeightsError(
            f"{folder} cannot be written to; expected a folder that receives the verdict. {remedy}; or check a copy "
            "of the model in a folder of your own."
        )


def write_check(check: Check, folder: Path, *, weights_sha256: str | None = None) -> ModelCard:
    """Put a check into the card of a model's folder, in place of an earlier one; whole or not at all.

    If there were ROIs, their mean becomes the model's mean mask, unless it has one of its training, which is of more
    cases and of none that it is compared with. Two checks at once wait for each other; and whenever the process ends,
    the card names no file that is not there.

    Parameters
    ----------
    weights_sha256
        Of the weights that were checked; the folder must still hold them.

    Raises
    ------
    InputError
        If nothing was measured, for too few patients, and the card has a check already.
    WeightsError
        If the folder cannot be written to, or holds other weights by now.
    """
    from filelock import FileLock

    from GTRStagingLib.model.weights import MEAN_MASK_FILE, write_mean_mask

    try:
        with FileLock(folder / LOCK):
            card = read_card(folder)
            if weights_sha256 not in (None, card.sha256):
                raise WeightsError(
                    f"{folder} holds weights of sha256 {card.sha256[:12]}; those that were checked have "
                    f"{str(weights_sha256)[:12]}. The model was replaced meanwhile: check it again."
                )
            if card.check is not None and not check.found["tests"]:
                raise nothing_measured(check)
            of_a_check = card.check is not None and card.check.get("mean_mask") == WRITTEN
            own = card.mean_mask_sha256 is not None and not of_a_check
            writes = check.mean_mask is not None and not own
            said = WRITTEN if writes or of_a_check else OWN if own else None
            checked = replace(card, check={**check.found, "mean_mask": said})
            if writes and check.mean_mask is not None:
                _write_card(replace(checked, mean_mask_sha256=None), folder)
                work = folder / f".{MEAN_MASK_FILE}"
                write_mean_mask(check.mean_mask, work)
                work.chmod(0o644)  # safetensors keeps its files to their owner
                checked = replace(checked, mean_mask_sha256=sha256_of(work))
                work.replace(folder / MEAN_MASK_FILE)
            _write_card(checked, folder)
    except OSError as error:
        raise WeightsError(
            f"The verdict cannot be written to {folder} ({error.strerror or error}); expected a folder that can be "
            "written to. Copy the model to a folder of your own and check that, or give --dry-run to print the result "
            "alone."
        ) from error
    return checked


def nothing_measured(check: Check) -> InputError:
    """Say that a check has no verdict to write."""
    return InputError(
        f"Nothing was measured ({check.found['summary']}), and the card was left as it is; expected patients enough "
        "for a verdict. Give more cases."
    )


def _write_card(card: ModelCard, folder: Path) -> None:
    with whole_file(folder / CARD_FILE) as stream:
        stream.write((json.dumps(card.to_json(), indent=2, allow_nan=False) + "\n").encode())


__all__ = ["LOCK", "nothing_measured", "require_writable", "write_check"]
