"""Write a check, a head, a reference or graphs into a model's folder; and a calibrated model into a new one."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from GTRStagingLib.checking.calibrate import Calibration
from GTRStagingLib.checking.familiarity_fit import Fitted
from GTRStagingLib.checking.model_check import OWN, WRITTEN, Check
from GTRStagingLib.checking.proposal_fit import FittedHead
from GTRStagingLib.errors import InputError, WeightsError
from GTRStagingLib.model.arrays import (
    FEATURES_FILE,
    GRADIENTS_FILE,
    GRAPH_FILE,
    MEAN_MASK_FILE,
    PROPOSAL_FILE,
    WEIGHTS_FILE,
    write_mean_mask,
    write_proposal_head,
    write_reference,
)
from GTRStagingLib.model.card import ModelCard
from GTRStagingLib.model.registry import CARD_FILE, locate, read_card
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import atomic_file, give_usual_mode, new_folder, sha256_of

LOCK = ".check.lock"


def require_writable(name: str, folder: Path | None, *, dry_run: bool = True) -> None:
    """Raise `WeightsError` unless a model's card can be written; called before a long measurement.

    Parameters
    ----------
    folder
        None for the built-in model.
    dry_run
        Whether the caller can also print the result without writing it.
    """
    remedy = "Print the result without writing it (`dry_run`)" if dry_run else "Give a model with a folder"
    if folder is None:
        raise WeightsError(f"Model {name!r} is built in and has no card to write to; expected a folder. {remedy}.")
    if not os.access(folder, os.W_OK):
        raise WeightsError(
            f"{folder} cannot be written to; expected a writable folder for the result. {remedy}, or use a copy of "
            "the model in a folder of your own."
        )


def write_check(check: Check, folder: Path, *, weights_sha256: str | None = None) -> ModelCard:
    """Write a check into the card of a model's folder, completely or not at all; it replaces an earlier check.

    The mean of the checked ROIs becomes the model's mean mask, unless the model has one from its training, which is of
    more and of other cases. Simultaneous checks wait for each other. If the process ends at any time, the card names no
    missing file.

    Parameters
    ----------
    weights_sha256
        Of the checked weights; the folder must still contain them.

    Raises
    ------
    InputError
        If nothing was measured, because of too few patients, and the card contains a check already.
    WeightsError
        If the folder cannot be written to, or contains other weights now.
    """
    remedy = "Check a copy of the model in a folder of your own, or print the result without writing it (`dry_run`)."
    with _locked_card(folder, weights_sha256, "The verdict", remedy) as card:
        if card.check is not None and not check.found["tests"]:
            raise nothing_measured(check)
        of_a_check = card.check is not None and card.check.get("mean_mask") == WRITTEN
        own = card.mean_mask_sha256 is not None and not of_a_check
        writes = check.mean_mask is not None and not own
        source = WRITTEN if writes or of_a_check else OWN if own else None
        checked = replace(card, check={**check.found, "mean_mask": source})
        if writes and check.mean_mask is not None:
            _write_card(replace(checked, mean_mask_sha256=None), folder)
            sha256 = _write_arrays(partial(write_mean_mask, check.mean_mask), folder / MEAN_MASK_FILE)
            checked = replace(checked, mean_mask_sha256=sha256)
        _write_card(checked, folder)
    return checked


def write_familiarity(fitted: Fitted, folder: Path, *, weights_sha256: str | None = None) -> ModelCard:
    """Write what a model learned from into its folder, completely or not at all; it replaces an earlier record.

    The weights stay as they are. Writers wait for each other. If the process ends at any time, the card names no
    missing file.

    Parameters
    ----------
    weights_sha256
        Of the weights that measured the cases; the folder must still contain them.

    Raises
    ------
    WeightsError
        If the folder cannot be written to, or contains other weights now.
    """
    remedy = "Use a copy of the model in a folder of your own."
    with _locked_card(folder, weights_sha256, "What the model learned from", remedy) as card:
        _write_card(replace(card, familiarity=None, features_sha256=None), folder)
        sha256 = _write_arrays(partial(write_reference, fitted.reference), folder / FEATURES_FILE)
        card = replace(card, familiarity=fitted.found, features_sha256=sha256)
        _write_card(card, folder)
    return card


def write_proposal(
    fitted: FittedHead, folder: Path, *, out: Path | None = None, weights_sha256: str | None = None
) -> ModelCard:
    """Write the head that proposes key slices into a model's folder, or a new one; it replaces an earlier head.

    It is written completely or not at all. The weights stay as they are; errors are those of `write_familiarity`.

    Parameters
    ----------
    out
        New folder for a copy of the model with the head, as for `write_calibrated`; None for the model's own folder.
    """

    def write(card: ModelCard, folder: Path) -> ModelCard:
        sha256 = _write_arrays(partial(write_proposal_head, fitted.head), folder / PROPOSAL_FILE)
        card = replace(card, proposal=fitted.found, proposal_sha256=sha256)
        _write_card(card, folder)
        return card

    if out is not None:
        require_new(out)
        card = replace(read_card(folder), name=out.name, proposal=None, proposal_sha256=None)
        _require_same(card, weights_sha256, folder, "fit of the head")
        with _copied(folder, card, out) as work:
            return write(card, work)
    remedy = "Use a copy of the model in a folder of your own."
    with _locked_card(folder, weights_sha256, "The head that proposes key slices", remedy) as card:
        _write_card(replace(card, proposal=None, proposal_sha256=None), folder)
        return write(card, folder)


def write_graphs(folder: Path) -> ModelCard:
    """Write the graphs for ONNX Runtime into a model's folder, completely or not at all; they replace earlier ones.

    The weights stay as they are: the graphs refer to them. Writers wait for each other. If the process ends at any
    time, the card names no missing file.

    Raises
    ------
    MissingDependencyError
        If torch, onnx or ONNX Runtime is not installed.
    WeightsError
        If the folder cannot be written to, its weights are damaged, or are stored in a type that graphs cannot use.
    GraphError
        If the network cannot be exported, or a graph differs from PyTorch.
    """
    from GTRStagingLib.model import onnx_files, weights

    model = weights.load(str(folder))
    graphs = onnx_files.make_graphs(model, folder)
    remedy = "Use a copy of the model in a folder of your own."
    with _locked_card(folder, model.card.sha256, "The graphs", remedy) as card:
        _write_card(replace(card, graph_sha256=None, gradients_sha256=None), folder)
        hashes = {name: _write_arrays(partial(_write_bytes, graph), folder / name) for name, graph in graphs.items()}
        written = replace(card, graph_sha256=hashes[GRAPH_FILE], gradients_sha256=hashes.get(GRADIENTS_FILE))
        _write_card(written, folder)
    return written


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)


@contextmanager
def _locked_card(folder: Path, weights_sha256: str | None, what: str, remedy: str) -> Iterator[ModelCard]:
    """Lock a model's folder and yield its card; raise `WeightsError` for other weights, or if writing fails."""
    from filelock import FileLock

    try:
        with FileLock(folder / LOCK):
            card = read_card(folder)
            if weights_sha256 not in (None, card.sha256):
                raise WeightsError(
                    f"{folder} contains weights with sha256 {card.sha256[:12]}; expected the checked weights, "
                    f"{str(weights_sha256)[:12]}. The model was replaced during the check: check it again."
                )
            yield card
    except OSError as error:
        raise WeightsError(
            f"{what} cannot be written to {folder} ({error.strerror or error}); expected a writable folder. {remedy}"
        ) from error


def _write_arrays(write: Callable[[Path], None], path: Path) -> str:
    """Write a file of arrays, which appears when it is complete; return its sha256."""
    work = path.with_name(f".{path.name}")
    write(work)
    give_usual_mode(work)  # safetensors makes its files readable by their owner only
    sha256 = sha256_of(work)
    work.replace(path)
    return sha256


def nothing_measured(check: Check) -> InputError:
    """Return the error for a check that gives no verdict to write."""
    return InputError(
        f"Nothing was measured ({check.found['summary']}), and the card was not changed; expected enough patients for "
        "a verdict. Give more cases."
    )


def write_calibrated(calibration: Calibration, out: Path) -> ModelCard:
    """Write a calibrated model into a new folder, completely or not at all; return its card.

    The files whose hashes the card gives (weights, features, mean mask, head of proposals, graphs) are copied byte by
    byte, and no others; the card has the name of the folder, the new temperature and the new stage sets.

    Raises
    ------
    WeightsError
        If the folder exists or cannot be written, the model is built in, its folder contains other weights now, or a
        copied file has another hash than the card gives.
    """
    folder = locate(calibration.model)
    if folder is None:
        raise WeightsError(f"Model {calibration.model!r} is built in and has no folder; expected a trained model.")
    require_new(out)
    card = replace(
        read_card(folder), name=out.name, temperature=calibration.temperature, stage_sets=calibration.stage_sets
    )
    _require_same(card, calibration.weights_sha256, folder, "calibration")
    with _copied(folder, card, out):
        pass
    return card


def _require_same(card: ModelCard, weights_sha256: str | None, folder: Path, what: str) -> None:
    """Raise `WeightsError` if a folder contains other weights than before; `what` was going on."""
    if weights_sha256 not in (None, card.sha256):
        raise WeightsError(
            f"{folder} contains weights with sha256 {card.sha256[:12]}; expected {str(weights_sha256)[:12]}. The model "
            f"was replaced during the {what}: repeat it."
        )


@contextmanager
def _copied(folder: Path, card: ModelCard, out: Path) -> Iterator[Path]:
    """Copy the files whose hashes the card gives, and the card, into a new folder, which appears when it is complete.

    Yields
    ------
    The folder while it is made.
    """
    try:
        with new_folder(out) as work:
            hashes = {
                WEIGHTS_FILE: card.sha256,
                FEATURES_FILE: card.features_sha256,
                MEAN_MASK_FILE: card.mean_mask_sha256,
                PROPOSAL_FILE: card.proposal_sha256,
                GRAPH_FILE: card.graph_sha256,
                GRADIENTS_FILE: card.gradients_sha256,
            }
            for name, sha256 in hashes.items():
                if sha256 is not None:
                    shutil.copyfile(folder / name, work / name)
                    _require_hash(work / name, sha256, folder / name)
            _write_card(card, work)
            yield work
    except OSError as error:
        raise WeightsError(
            f"{out} cannot be written: {error.strerror or error}; expected a writable place with room for the model. "
            "Free some space, or choose another `out`. Nothing was written."
        ) from error


def _require_hash(copy: Path, sha256: str, original: Path) -> None:
    if (found := sha256_of(copy)) != sha256:
        raise WeightsError(
            f"{original} has sha256 {found[:12]}; its card gives {sha256[:12]}. The file was changed or damaged: "
            "import the model again. Nothing was written."
        )


def require_new(out: Path) -> None:
    """Raise `WeightsError` if a new model's folder cannot be written; called before a long calibration.

    The folder must not exist, its name must do as a model's name, and its place must be writable.
    """
    if out.exists():
        raise WeightsError(f"{out} exists; expected a new folder. Choose another `out`, or remove it.")
    try:
        Fields({"name": out.name}).name("name")
    except InputError as error:
        raise WeightsError(f"The new folder names the model: {error} Choose another `out`.") from error
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise WeightsError(
            f"{out} cannot be written: {nearest} is not a writable folder; expected a writable place. Choose another "
            "`out`."
        )


def _write_card(card: ModelCard, folder: Path) -> None:
    with atomic_file(folder / CARD_FILE) as stream:
        stream.write(card.to_text().encode())


__all__ = ["LOCK", "nothing_measured", "require_new", "require_writable", "write_calibrated", "write_check",
           "write_familiarity", "write_graphs", "write_proposal"]  # fmt: skip
