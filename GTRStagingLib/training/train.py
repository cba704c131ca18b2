"""Train a model on a cohort: audit, prepare, fit, calibrate, describe and check."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from GTRStagingLib.checking.card_writing import write_check, write_familiarity, write_graphs
from GTRStagingLib.checking.familiarity_fit import fit_familiarity
from GTRStagingLib.checking.model_check import check_model
from GTRStagingLib.cohort.audit import Audit, audit
from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.errors import InputError, LeakageError, StagingError, WeightsError
from GTRStagingLib.imaging.coverage import pooled
from GTRStagingLib.model import checkpoints, registry, weights
from GTRStagingLib.model import device as devices
from GTRStagingLib.model.card import GATE_STRIDE, ModelCard
from GTRStagingLib.model.network import GTRNet
from GTRStagingLib.model.pretrained import Pretrained, read_pretrained
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.result import versions
from GTRStagingLib.staging.stage_set import LEVEL, least_patients
from GTRStagingLib.stats.set_calibration import CHOSE_THE_MODEL, calibrate_sets
from GTRStagingLib.stats.split_scores import SplitLogits, fitted_temperature, scores
from GTRStagingLib.support.counts import counted
from GTRStagingLib.support.fields import Fields
from GTRStagingLib.support.files import atomic_file, read_json
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.pools import DEFAULT_LIMITS
from GTRStagingLib.training import loop
from GTRStagingLib.training.augment import write_contact_sheet
from GTRStagingLib.training.dataset import SliceSet
from GTRStagingLib.training.plan import Hardware, Plan
from GTRStagingLib.training.slice_cache import CachedCase, Progress, cache_slices, default_folder

SPLITS = ("training", "validation", "test", "calibration")
RECORD = "run.json"
"""File of the run folder with the plan, the data and their audit at the start of the run."""

SHEET_ROWS = 6

CHECKED = 48
"""Largest number of validation cases in the check of a new model's maps: half a minute for a small network."""


@dataclass(frozen=True)
class TrainingProgress:
    """Callbacks for the progress of a training; the library itself prints nothing.

    Attributes
    ----------
    report
        Called with a sentence for the user.
    reading
        Called with the number of prepared cases and of all cases.
    bar
        Whether Lightning draws a progress bar.
    """

    report: Callable[[str], None] = lambda sentence: None
    reading: Progress = lambda done, total: None
    bar: bool = False


def train(
    cohort: Cohort,
    out: Path,
    plan: Plan,
    hardware: Hardware = Hardware(),  # noqa: B008 (frozen)
    *,
    backbone: Path | None = None,
    cache: Path | None = None,
    resume: bool = False,
    samples: Path | None = None,
    audited: Audit | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: TrainingProgress = TrainingProgress(),
) -> ModelCard | None:
    """Train a model on a cohort with splits, and write its folder, completely or not at all.

    Parameters
    ----------
    cohort
        The model is trained on its 'train' cases. Its 'validation' cases determine the last epoch and the temperature.
        Its 'calibration' cases calibrate the stage sets; without any, the validation cases do, with a warning. Its
        'test' cases, if any, are scored at the end.
    out
        The model's folder; `OUT-run` beside it contains checkpoints, metrics and the record of the run.
    backbone
        File of ResNet weights to start from, under a random head (see `model.pretrained`); requires the plan's `init`
        'auto'.
    cache
        Folder of the prepared slices; `slice_cache.default_folder()` if not given.
    resume
        Resume the run in `OUT-run`, or start one if there is none; a finished model is not changed.
    samples
        File of a picture of augmented samples to write.
    audited
        Audit of this cohort and its content, if already made; otherwise every image is read for it.
    limits
        Limits of each case that is read, in the workers of `hardware`.

    Returns
    -------
    The model's card; None in the other processes of a run on several devices.

    Raises
    ------
    InputError
        If the cohort lacks splits, a case cannot be prepared, or a run is resumed with another plan or cohort.
    LeakageError
        If patients are in two splits, unless the plan allows it.
    WeightsError
        If the model's folder exists, or the initial weights are not available.
    """
    run = out.with_name(f"{out.name}-run")
    main = loop.is_main_process()
    if main and (done := _finished(out, run, resume)):
        unchecked = "" if done.check is not None else " Its maps have not been checked."
        unrecorded = "" if done.familiarity is not None else " What it learned from has not been recorded."
        progress.report(f"{out} is already complete; nothing to do.{unchecked}{unrecorded}")
        return done
    _require_splits(cohort)
    pretrained = None
    if backbone is not None:
        plan, pretrained = _from_file(backbone, plan)
    record = _recorded(run) if resume or not main else None
    if record is None:
        leaks = _accepted(audited or audit(cohort, workers=_readers(hardware), limits=limits), plan, progress)
    else:
        leaks = record["audit"]
    parts = _prepared(cohort, plan, cache or default_folder(), hardware, limits, progress)
    data = _data(parts)
    record = record or {
        "plan": plan.to_json(),
        "data": data,
        "audit": leaks,
        "versions": {**versions(), "lightning": version("lightning"), "scipy": version("scipy")},
    }
    _require_same(record, plan, data, run)
    start, remark = _initial(plan, pretrained)
    for sentence in (remark, _masks_in_words(data["training"]) if plan.head == "gated" else None):
        if sentence:
            progress.report(sentence)
    if main:
        run.mkdir(parents=True, exist_ok=True)
        with atomic_file(run / RECORD) as stream:
            stream.write((json.dumps(record, indent=2) + "\n").encode())
    augmentation = plan.seed if plan.augment else None
    masks = plan.head == "gated"
    sets = {name: SliceSet(cases, plan.recipe, masks=masks) for name, cases in parts.items()}
    learning = SliceSet(parts["training"], plan.recipe, augmentation, masks=masks)
    if main and samples is not None:
        _write_samples(parts["training"], samples, plan)

    history = loop.fit(start.network, learning, sets["validation"], plan, hardware, run, bar=progress.bar)
    if not main:
        return None
    network = weights.network_with(loop.best_weights(history, run), plan.depth, plan.fusion, plan.head)
    if plan.half:  # measure the weights that are stored
        network.load_state_dict(weights.halved(network))
    card = _described(network, sets, plan, hardware, start, record, history, out.name)
    model = weights.Model(card, network, _mean_mask(parts["training"]))
    model = replace(model, card=weights.save(model, out, half=plan.half))
    loop.clear(run)
    if card.stage_sets is None:
        progress.report(
            f"The model has no stage sets: no stage has {least_patients(LEVEL)} patients or more to calibrate them. "
            "Calibrate it on further patients."
        )
    elif card.stage_sets["warning"]:
        progress.report(card.stage_sets["warning"])
    # The model is already saved: an error in what follows does not lose the training.
    model = replace(model, card=_familiar(model, out, cohort.cases, plan, hardware, progress))
    _checked(model, out, [one.case for one in parts["validation"]], plan, hardware, progress)
    try:
        return write_graphs(out)
    except StagingError as error:
        progress.report(f"The model needs PyTorch: its graphs for ONNX Runtime were not written. {error}")
        return registry.read_card(out)


# -- before --------------------------------------------------------------------------------------------------------


def _finished(out: Path, run: Path, resume: bool) -> ModelCard | None:
    """Return the card of a model that an earlier process finished, or None; raise if another file is in the way."""
    if out.exists():
        if resume and (run / RECORD).is_file() and (out / registry.CARD_FILE).is_file():
            loop.clear(run)
            return registry.read_card(out)
        raise WeightsError(f"{out} exists; expected a new folder. Choose another `out`, or remove it.")
    if run.exists() and not resume:
        raise InputError(f"{run} contains an unfinished run; expected none. Use `resume` to continue it, or remove it.")
    return None


def _require_splits(cohort: Cohort) -> None:
    if unstaged := [case.case_id for case in cohort.cases if case.stage is None]:
        raise InputError(
            f"{counted(len(unstaged), 'case has', 'cases have')} no stage ({', '.join(unstaged[:5])}); expected "
            "one in every case. Add them, or leave these cases out."
        )
    counts = Counter(case.split for case in cohort.cases)
    if not counts["train"] or not counts["validation"]:
        found = ", ".join(f"{count} {split or 'without split'}" for split, count in counts.items())
        raise InputError(
            f"The cohort has {found or 'no case'}; expected cases in 'train' and 'validation'. Split the cohort by "
            "patient."
        )
    if counts[None]:
        without = [case.case_id for case in cohort.cases if case.split is None]
        raise InputError(
            f"{counted(len(without), 'case')} without a split ({', '.join(without[:5])}); expected 'train', "
            "'validation', 'test' or 'calibration'. Split the cohort by patient."
        )


def _readers(hardware: Hardware) -> int:
    return (os.cpu_count() or 1) if hardware.workers is None else hardware.workers


def _accepted(found: Audit, plan: Plan, progress: TrainingProgress) -> dict[str, Any]:
    """Return the audit's result for the card; raise `LeakageError` for leaks unless the plan allows them.

    The examples of the findings are left out: they name cases and patients, and results contain parts of the card.
    """
    if not plan.allow_leakage:
        try:
            found.require_no_leak()
        except LeakageError as error:
            raise LeakageError(
                f"{error} Or train with `allow_leakage`: the model and all its reports then contain a warning."
            ) from error
    for one in found.findings:
        if one.severity != "note":
            progress.report(f"{one.sentence} {one.remedy}")
    return {
        "ok": found.ok,
        "leaks": len(found.leaks),
        "findings": [{"severity": f.severity, "kind": f.kind, "sentence": f.sentence} for f in found.findings],
    }


def _prepared(
    cohort: Cohort, plan: Plan, cache: Path, hardware: Hardware, limits: Limits, progress: TrainingProgress
) -> dict[str, tuple[CachedCase, ...]]:
    """Return the cases of each split from the cache, and prepare missing ones."""
    every = cache_slices(
        cohort.cases, plan.recipe, cache, workers=_readers(hardware), limits=limits, progress=progress.reading
    )
    sizes = Counter(one.slices().shape[1:] for one in every)
    if len(sizes) > 1:
        raise InputError(
            f"With recipe {plan.recipe.name!r} the slices have {len(sizes)} sizes ({', '.join(map(str, sizes))}); "
            "expected one. Choose a recipe with a square field (gtr), or pictures of one shape."
        )
    return {
        name: tuple(one for one in every if one.case.split == {"training": "train"}.get(name, name)) for name in SPLITS
    }


def _data(parts: Mapping[str, Sequence[CachedCase]]) -> dict[str, Any]:
    """Return the data without identifiers: counts, and a digest of every case's content, stage and split."""
    content = sorted(
        [c.case.case_id, c.case.patient_id, str(c.stage), s, c.key, c.mask or ""] for s, p in parts.items() for c in p
    )
    return {
        "digest": hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        **{
            name: {
                "patients": len({one.case.patient_id for one in part}),
                "cases": len(part),
                "slices": sum(len(one.offsets) for one in part),
                "masks": sum(one.mask is not None for one in part),
                "stages": {str(stage): sum(one.stage == stage for one in part) for stage in TStage},
            }
            for name, part in parts.items()
            if part or name != "calibration"  # a run without it began before there was one
        },
    }


def _recorded(run: Path) -> dict[str, Any] | None:
    """Return the record of an earlier process of this run, or None if there is none."""
    path = run / RECORD
    if not path.is_file():
        return None
    expected = f"a run's record. Remove {run}"
    record = Fields(read_json(path, expected), path.name)
    try:
        Plan.from_json(record.plain_object("plan"))
        record.fields("audit").whole("leaks"), record.plain_object("versions"), record.fields("data").text("digest")
    except InputError as error:
        raise InputError(f"{path.name} is not {expected}. ({error})") from error
    return dict(record.data)


def _require_same(record: Mapping[str, Any], plan: Plan, data: Mapping[str, Any], run: Path) -> None:
    """Raise `InputError` if a run is to be resumed with another plan or other data."""
    if differences := Plan.from_json(record["plan"]).differences(plan):
        raise InputError(
            f"{run} was started with other options (then, now: {'; '.join(differences)}); expected the same. Use the "
            "same options, or remove the folder to start again."
        )
    if record["data"] != data:
        raise InputError(
            f"{run} was started with other data (digest {record['data']['digest'][:12]}, now {data['digest'][:12]}); "
            "expected the same cohort. Restore it, or remove the folder to start again."
        )


@dataclass(frozen=True)
class _Start:
    """Initial network, its provenance, whether its training data leaked, and the number of its gate's masks."""

    network: GTRNet
    provenance: str
    leaking: bool = False
    masks: int = 0


def _from_file(backbone: Path, plan: Plan) -> tuple[Plan, Pretrained]:
    """Return the plan with this file's hash as `init`, and the weights of the file."""
    pretrained = read_pretrained(backbone, plan.depth)
    init = f"backbone:{pretrained.sha256}"
    if plan.init not in ("auto", init):
        raise InputError(
            f"Training is to start from {backbone.name} and from {plan.init!r}; expected one of them. Leave out "
            "`backbone` or `init`."
        )
    return replace(plan, init=init), pretrained


def _initial(plan: Plan, pretrained: Pretrained | None = None) -> tuple[_Start, str | None]:
    """Return the start of the training, and a remark for the user or None."""
    if pretrained is not None:
        state = {
            **weights.seeded_network(plan.depth, plan.fusion, plan.seed, plan.head).state_dict(),
            **pretrained.tensors,
        }
        network = weights.network_with(state, plan.depth, plan.fusion, plan.head)
        return _Start(network, pretrained.provenance), pretrained.doubt
    if plan.init not in ("auto", "imagenet", "random"):
        return _to_fine_tune(plan), None
    network = weights.seeded_network(plan.depth, plan.fusion, plan.seed, plan.head)
    random = _Start(network, "random weights (He et al. 2015)")
    if plan.init == "random":
        return random, None
    try:
        backbone = checkpoints.imagenet_state(plan.depth)
    except WeightsError as error:
        if plan.init == "imagenet" or plan.freeze_backbone:
            raise
        return random, f"Training starts from random weights. {error}"
    state = {**network.state_dict(), **{k: tensor for k, tensor in backbone.items() if not k.startswith("fc.")}}
    pretrained = weights.network_with(state, plan.depth, plan.fusion, plan.head)
    return _Start(pretrained, "ImageNet weights (torchvision, IMAGENET1K_V1) under a random head"), None


def _to_fine_tune(plan: Plan) -> _Start:
    model = weights.load(plan.init)
    card = model.card
    plain = card.fusion == "none"  # its weights fit every stem, as ImageNet's do
    if (card.depth, card.recipe) != (plan.depth, plan.recipe) or not (plain or card.fusion == plan.fusion):
        raise WeightsError(
            f"Model {card.name!r} is a ResNet-{card.depth} of fusion {card.fusion!r} and recipe {card.recipe.name!r}; "
            f"the plan has ResNet-{plan.depth}, fusion {plan.fusion!r}, recipe {plan.recipe.name!r}. Use the model's "
            "own `depth`, `fusion` and `recipe`."
        )
    fresh = weights.seeded_network(plan.depth, plan.fusion, plan.seed, plan.head).state_dict()
    taken = {key: tensor for key, tensor in model.network.state_dict().items() if key in fresh}  # not another's head
    how = "fine-tuned from" if card.head == plan.head else f"a new {plan.head} head on the backbone of"
    provenance = f"{how} {card.name!r}, weights sha256 {card.sha256}"
    network = weights.network_with({**fresh, **taken}, plan.depth, plan.fusion, plan.head)
    return _Start(network, provenance, card.leaking, card.masks if card.head == plan.head else 0)


def _masks_in_words(data: Mapping[str, Any]) -> str | None:
    """Return a sentence about the masks that a gate is trained on, or None if all cases have one."""
    cases, masks = data["cases"], data["masks"]
    if masks == 0:
        return (
            f"None of the {cases} training cases has an ROI: THE GATE IS NOT TRAINED TO FIND THE TUMOUR, and its map "
            "will not lie on the tumour. Add ROIs for some cases, for example a tenth (column roi), or use `head=mean`."
        )
    return f"The gate is trained on the ROIs of {masks} of {cases} training cases." if masks < cases else None


def _mean_mask(cases: Sequence[CachedCase]) -> np.ndarray | None:
    """Return the mean of the ROIs on the key slices, in the cells of a gated head; None without any ROI."""
    shares = ((one.covered(), one.offsets.index(0)) for one in cases)
    masks = [pooled(covered[key] / np.float32(255), GATE_STRIDE) for covered, key in shares if covered is not None]
    return np.stack(masks).mean(axis=0) if masks else None


def _write_samples(cases: Sequence[CachedCase], path: Path, plan: Plan) -> None:
    """Write a picture of some cases' key slices, spread over the split, with augmentations."""
    chosen = cases[:: max(1, len(cases) // SHEET_ROWS)][:SHEET_ROWS]
    write_contact_sheet([np.array(one.slices()[one.offsets.index(0)]) for one in chosen], path, seed=plan.seed)


# -- after ---------------------------------------------------------------------------------------------------------


def _described(
    network: GTRNet,
    sets: Mapping[str, SliceSet],
    plan: Plan,
    hardware: Hardware,
    start: _Start,
    record: Mapping[str, Any],
    history: loop.History,
    name: str,
) -> ModelCard:
    """Return the card of the best epoch's network; the network is moved to the CPU."""
    where = devices.choose(_device(hardware))
    seen = {}
    for split, samples in sets.items():
        if len(samples):
            logits = loop.predict(network, samples, torch.device(str(where)), plan.batch_size)
            seen[split] = loop.split_logits(samples, logits)
    network.to("cpu", memory_format=torch.contiguous_format)
    temperature = fitted_temperature(seen["validation"])
    best = loop.best_epoch(history)
    # The validation split determined epoch and temperature: patients of another split calibrate the sets, and only the
    # test split measures the model independently.
    metrics = {name: scores(seen[name], temperature).to_json() for name in seen if name != "training"}
    leaking = record["audit"]["leaks"] > 0 or start.leaking
    training = {
        "data": record["data"],
        "audit": record["audit"],
        "leakage_allowed": plan.allow_leakage,
        "plan": {**plan.to_json(), "init": start.provenance},
        "seed": plan.seed,
        "epochs": len(history),
        "best_epoch": best,
        "best": history[best],
        "metrics": metrics,
        "versions": record["versions"],
        "hardware": {**asdict(hardware), "measured_on": devices.describe(where)},
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    data = record["data"]["training"]
    subjects = "synthetic phantoms" if plan.demonstration else "patients"
    never = "Trained on synthetic phantoms, never for patients. " if plan.demonstration else ""
    return ModelCard(
        name=name,
        status="demonstration" if plan.demonstration else "trained",
        depth=plan.depth,
        fusion=plan.fusion,
        recipe=plan.recipe,
        sha256="0" * 64,  # replaced when the file is written
        provenance=f"trained by gtrstaging {record['versions']['gtrstaging']}; start: {start.provenance}",
        trained_on=f"{data['slices']} slices of {data['patients']} {subjects}, digest {record['data']['digest'][:12]}",
        licence="Apache-2.0" if plan.demonstration and not plan.init.startswith("backbone:") else "not stated",
        intended_use=never + RESEARCH_USE_ONLY,
        temperature=temperature,
        leaking=leaking,
        training=training,
        head=plan.head,
        masks=max(data["masks"], start.masks) if plan.head == "gated" else 0,
        stage_sets=_stage_sets(seen, temperature, record["data"]["digest"]),
    )


def _stage_sets(seen: Mapping[str, SplitLogits], temperature: float, digest: str) -> dict[str, Any] | None:
    """Calibrate the stage sets on the split of calibration, else of validation; None if its patients are too few."""
    split = "calibration" if "calibration" in seen else "validation"
    n = len(set(seen[split].patients))
    source = f"one case of each of {n} patients of the split {split!r}; temperature fitted on the split 'validation'"
    warning = None if split == "calibration" else CHOSE_THE_MODEL.format(n=n, of=n)
    try:
        return calibrate_sets(seen[split], temperature, LEVEL, digest=digest, source=source, warning=warning)
    except InputError:
        return None


def _device(hardware: Hardware) -> str:
    """Convert Lightning's name of the accelerator to one of `device.choose`."""
    return {"gpu": "auto"}.get(hardware.accelerator, hardware.accelerator)


def _familiar(
    model: weights.Model, out: Path, cases: Sequence[Case], plan: Plan, hardware: Hardware, progress: TrainingProgress
) -> ModelCard:
    """Record what the model learned from, and return its card with it, or unchanged after an error."""
    progress.report("Recording what the model learned from.")
    try:
        fitted = fit_familiarity(model, cases, device=_device(hardware), seed=plan.seed)
        return write_familiarity(fitted, out, weights_sha256=model.card.sha256)
    except StagingError as error:
        progress.report(f"What the model learned from was not recorded. {error}")
        return model.card


def _checked(
    model: weights.Model, out: Path, cases: Sequence[Case], plan: Plan, hardware: Hardware, progress: TrainingProgress
) -> ModelCard:
    """Check the model on validation cases, and return its card with the result, or unchanged after an error."""
    progress.report("Checking the maps on validation cases.")
    try:
        check = check_model(model, cases, most=CHECKED, device=_device(hardware), seed=plan.seed)
        return write_check(check, out, weights_sha256=model.card.sha256)
    except StagingError as error:
        progress.report(f"The model's maps were not checked. {error}")
        return model.card


__all__ = ["TrainingProgress", "train"]
