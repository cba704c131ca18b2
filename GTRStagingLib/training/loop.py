"""Training loop on Lightning's Trainer; after an interruption it resumes from the last complete epoch.

A run folder contains `last.ckpt` (weights, optimiser, loops and the history of all epochs), the weights of the best
epoch as `best-EPOCH.safetensors`, and `metrics.csv`. They are written in an order such that every file that `last.ckpt`
refers to is complete whenever the process ends. An epoch depends on the seed and its number alone, so that an epoch
repeated after an interruption gives the same result.
"""

import csv
import importlib.util
import io
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from GTRStagingLib.errors import Cancelled, InputError, StagingError, without_backticks
from GTRStagingLib.model.network import GTRNet
from GTRStagingLib.stats.split_scores import SplitLogits, case_votes, slice_loss
from GTRStagingLib.support.extras import missing_extra
from GTRStagingLib.support.files import atomic_file
from GTRStagingLib.training import gating
from GTRStagingLib.training.dataset import Sample, SliceSet, plain_loader, training_loader
from GTRStagingLib.training.plan import Hardware, Plan

try:
    from lightning.pytorch import LightningModule, Trainer, seed_everything
    from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.utilities import rank_zero_only
    from lightning.pytorch.utilities.seed import isolate_rng
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
except ModuleNotFoundError as error:
    raise missing_extra(str(error.name).partition(".")[0], "Training needs", "train") from error

LAST, METRICS = "last.ckpt", "metrics.csv"

History = list[dict[str, float]]
"""One row per epoch: epoch, train_loss, val_loss, val_slice_accuracy, val_accuracy (of cases, by vote), seconds; for a
gated head with validation masks also val_gate_dice, the mean over slices with a tumour in the ROI."""

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Staging(LightningModule):
    """GTRNet with Adam and cross-entropy; the validation is the same on any number of devices.

    `first_epoch` is the epoch at which this process starts; the trainer knows it only after it has made the loader.
    """

    def __init__(
        self, network: GTRNet, plan: Plan, training: SliceSet, validation: SliceSet, workers: int, first_epoch: int = 0
    ) -> None:
        super().__init__()
        self.network, self.plan, self.workers, self.first_epoch = network, plan, workers, first_epoch
        self.training_set, self.validation_set = training, validation
        self.logits, self.overlaps = torch.zeros(0), torch.zeros(0)

    def train(self, mode: bool = True) -> "Staging":
        """Set the training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.plan.freeze_backbone:
            for module in self.network.children():
                module.train(mode and module is self.network.head_module)
        return self

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return the loader of this rank; Lightning calls it when the ranks are known."""
        return training_loader(
            self.training_set,
            batch_size=self.plan.batch_size,
            seed=self.plan.seed,
            epoch=self.first_epoch,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
            workers=self.workers,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the loader of this rank."""
        return plain_loader(
            self.validation_set,
            batch_size=self.plan.batch_size,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
            workers=self.workers,
        )

    def training_step(self, batch: Batch, number: int) -> Tensor:
        """Compute the loss of a batch."""
        pixels, stages, _, masks = batch
        layers = self.network.layers(_channels_last(pixels))
        if self.plan.head == "gated":
            found = self.network.gate(layers)
            mask_loss = gating.mask_loss(found.gate_logit, masks)
            loss = nn.functional.cross_entropy(found.logits, stages) + self.plan.mask_weight * mask_loss
        else:
            loss = nn.functional.cross_entropy(self.network.decide(layers)[0], stages)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(stages))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Allocate the results of all slices; each rank fills in its own."""
        self.logits = torch.zeros(len(self.validation_set), 4, device=self.device)
        self.overlaps = torch.zeros(len(self.validation_set), 2, device=self.device)  # Dice, and whether it is known

    def validation_step(self, batch: Batch, number: int) -> None:
        """Store the logits of a batch, and the Dice of its gates with the masks."""
        pixels, _, index, masks = batch
        layers = self.network.layers(_channels_last(pixels))
        if self.plan.head == "gated":
            found = self.network.gate(layers)
            logits, there = found.logits, gating.usable(masks)
            dice = torch.where(there, gating.dice(found.gate.float(), masks), 0.0)
            self.overlaps[index] = torch.stack([dice, there.float()], dim=1)
        else:
            logits = self.network.decide(layers)[0]
        self.logits[index] = logits.float()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole split: each slice is non-zero on one rank only, so that sums join the ranks."""
        logits = self.trainer.strategy.reduce(self.logits, reduce_op="sum").cpu().numpy()
        if not np.isfinite(logits).all():
            raise StagingError(
                f"The network's outputs are not finite in epoch {self.current_epoch}; expected numbers. The training "
                "diverged: choose a lower `learning_rate`."
            )
        seen = split_logits(self.validation_set, logits)
        self.log_dict(
            {
                "val_loss": slice_loss(seen),
                "val_slice_accuracy": float((logits.argmax(axis=1) == seen.slice_stages).mean()),
                "val_accuracy": float((case_votes(seen)[0] == seen.stages).mean()),
            },
            sync_dist=True,
        )
        dice, known = self.trainer.strategy.reduce(self.overlaps, reduce_op="sum").sum(dim=0)
        if known:
            self.log("val_gate_dice", dice / known, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam, as in the article; fused, since its many small steps then take a tenth of the time on a CPU."""
        trainable = filter(_is_trainable, self.network.parameters())
        optimiser = torch.optim.Adam(trainable, lr=self.plan.learning_rate, fused=True)
        if self.plan.schedule == "constant":
            return optimiser
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = OneCycleLR(optimiser, self.plan.learning_rate, total_steps=steps, pct_start=0.2, cycle_momentum=False)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


class Keeper(Checkpoint):
    """Callback that writes the run folder after each epoch, and stops the training when its patience is exhausted."""

    def __init__(self, run: Path, plan: Plan) -> None:
        self.run, self.plan = run, plan
        self.history: History = []
        self.began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return the history, which a resumed run needs."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history of an earlier process."""
        self.history = list(state_dict["history"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the time at which the epoch starts."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the best weights first, then the checkpoint that refers to them, then the other files."""
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        seconds = round(time.perf_counter() - self.began, 2)
        self.history.append({"epoch": trainer.current_epoch, **values, "seconds": seconds})
        best = best_epoch(self.history)
        if trainer.is_global_zero and best == trainer.current_epoch:
            state = {k: tensor.cpu().contiguous() for k, tensor in pl_module.network.state_dict().items()}  # type: ignore[union-attr]
            with atomic_file(_best(self.run, best)) as stream:
                stream.write(safetensors.torch.save(state))
        # Lightning moves a checkpoint from the temporary folder, which is not atomic between two disks.
        part = self.run / f"{LAST}.part"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.run / LAST)
            write_metrics(self.history, self.run / METRICS)
            for other in set(self.run.glob("best-*.safetensors")) - {_best(self.run, best)}:
                other.unlink()
        trainer.should_stop = trainer.should_stop or is_finished(self.history, self.plan)


def fit(
    network: GTRNet, training: SliceSet, validation: SliceSet, plan: Plan, hardware: Hardware, run: Path, *, bar: bool
) -> History:
    """Train to the end of the plan, from a checkpoint in `run` if there is one, and return the epochs' metrics.

    Parameters
    ----------
    network
        With its initial weights; the trained weights are in `run`.
    run
        An existing folder.
    bar
        Whether to draw a progress bar.

    Raises
    ------
    InputError
        If this machine lacks the devices, or Lightning does not support the strategy or precision.
    StagingError
        If the training diverges.
    Cancelled
        If the user interrupts the training, which can be resumed.
    """
    last = run / LAST
    history = read_history(run) if last.is_file() else []
    if history and is_finished(history, plan):
        write_metrics(history, run / METRICS)  # a process may have ended between the two
        return history
    network.train().requires_grad_(not plan.freeze_backbone).to(memory_format=torch.channels_last)
    network.head_module.requires_grad_(True)
    with _without_lightning_messages(), isolate_rng(), _settings_restored():
        seed_everything(plan.seed, workers=True, verbose=False)
        trainer = _trainer(plan, hardware, run, bar=bar)
        workers = loading_workers(hardware, trainer.strategy.root_device)
        module = Staging(network, plan, training, validation, workers, first_epoch=len(history))
        module.train()
        try:
            trainer.fit(module, ckpt_path=last if last.is_file() else None)
        except SystemExit as error:
            raise Cancelled(f"Interrupted; `resume` continues from the last complete epoch in {run}.") from error
    return read_history(run)


def is_main_process() -> bool:
    """Return whether this process reports and writes, of all processes that Lightning or SLURM started."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def loading_workers(hardware: Hardware, device: torch.device) -> int:
    """Return the number of workers that load and augment: one is enough for a CPU, a GPU needs more."""
    if hardware.workers is not None:
        return hardware.workers
    return 1 if device.type == "cpu" else min(8, os.cpu_count() or 1)


def _trainer(plan: Plan, hardware: Hardware, run: Path, *, bar: bool) -> Trainer:
    callbacks: list[Callback] = [Keeper(run, plan)]
    if bar:
        callbacks.append(TQDMProgressBar())
    tensorboard = importlib.util.find_spec("tensorboard") is not None
    try:
        return Trainer(
            accelerator=hardware.accelerator,
            devices=int(hardware.devices) if hardware.devices.lstrip("-").isdigit() else hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=plan.max_epochs,
            callbacks=callbacks,
            logger=TensorBoardLogger(run, name="", version="tensorboard") if tensorboard else False,
            deterministic="warn",
            benchmark=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=bar,
            enable_model_summary=False,
            default_root_dir=run,
        )
    except Exception as error:  # Lightning raises TypeError, MisconfigurationException and ImportError, too
        raise InputError(
            f"Lightning cannot train on accelerator {hardware.accelerator!r}, devices {hardware.devices!r}, strategy "
            f"{hardware.strategy!r}, precision {hardware.precision!r}: {without_backticks(error).rstrip('.')}. Choose "
            "another `accelerator`, `devices`, `strategy` or `precision`."
        ) from error


@contextmanager
def _without_lightning_messages() -> Iterator[None]:
    """Suppress Lightning's messages and hints, which do not concern the user's options."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _settings_restored() -> Iterator[None]:
    """Restore torch's settings and the environment, which Lightning sets for its run."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    # The setting fills new memory, to reveal reads before writes; there are none, and filling takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        os.environ.pop("PL_GLOBAL_SEED", None)
        os.environ.pop("PL_SEED_WORKERS", None)


# -- the run folder ------------------------------------------------------------------------------------------------


def read_history(run: Path) -> History:
    """Return the history of the epochs so far from the last checkpoint.

    Raises
    ------
    StagingError
        If the checkpoint cannot be read.
    """
    try:
        checkpoint = torch.load(run / LAST, map_location="cpu", weights_only=True, mmap=True)
        return list(checkpoint["callbacks"]["Keeper"]["history"])
    except Exception as error:  # a damaged file can raise any of them in the unpickler
        raise StagingError(
            f"{run / LAST} cannot be read; expected the checkpoint of an unfinished run. Remove {run} and train again."
        ) from error


def best_epoch(history: History) -> int:
    """Return the first epoch with the lowest validation loss."""
    return int(min(history, key=lambda row: (row["val_loss"], row["epoch"]))["epoch"])


def is_finished(history: History, plan: Plan) -> bool:
    """Return whether all epochs are done, or the last `patience` epochs brought no improvement."""
    return len(history) >= plan.max_epochs or len(history) - 1 - best_epoch(history) >= plan.patience


def best_weights(history: History, run: Path) -> dict[str, Tensor]:
    """Load the weights of the best epoch."""
    return safetensors.torch.load_file(_best(run, best_epoch(history)))


def clear(run: Path) -> None:
    """Remove the checkpoints of a run after its model is written, and keep its records."""
    for path in [*run.glob("best-*.safetensors"), *run.glob(f"{LAST}*")]:
        path.unlink()


def write_metrics(history: History, path: Path) -> None:
    """Write the table of the metrics with one row per epoch, completely or not at all."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(history[0]))
    table.writeheader()
    table.writerows(history)
    with atomic_file(path) as stream:
        stream.write(text.getvalue().encode())


def _best(run: Path, epoch: int) -> Path:
    return run / f"best-{epoch:04d}.safetensors"


# -- prediction ----------------------------------------------------------------------------------------------------


def predict(network: GTRNet, samples: SliceSet, device: torch.device, batch_size: int) -> np.ndarray:
    """Compute a network's logits of a set, (slices, 4) float32."""
    network = network.to(device).eval()
    logits = []
    with torch.no_grad():
        for pixels, *_ in plain_loader(samples, batch_size=batch_size):
            outcome = network.decide(network.layers(_channels_last(pixels.to(device))))
            logits.append(outcome[0].cpu())
    return torch.cat(logits).numpy()


def split_logits(samples: SliceSet, logits: np.ndarray) -> SplitLogits:
    """Combine a set's logits with the case, offset, stage and patient of each slice."""
    return SplitLogits(
        logits=logits,
        case=np.array([case for case, _ in samples.places]),
        offsets=np.array([samples.cases[case].offsets[place] for case, place in samples.places]),
        stages=np.array([int(one.stage) for one in samples.cases]),
        patients=[one.case.patient_id for one in samples.cases],
    )


def _is_trainable(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad


def _channels_last(pixels: Tensor) -> Tensor:
    """Return pixels in the fastest memory order for convolutions (`benchmarks/training.py`)."""
    return pixels.contiguous(memory_format=torch.channels_last)


__all__ = [
    "Keeper",
    "Staging",
    "best_epoch",
    "best_weights",
    "clear",
    "fit",
    "is_finished",
    "is_main_process",
    "predict",
    "read_history",
    "split_logits",
]  # fmt: skip
