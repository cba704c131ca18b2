"""Trainings of a small network, killed and resumed, and the content of the model folder."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from helpers.spots import a_spot_model, a_spotted_cohort
from helpers.trainings import HERE, SMALL, a_cohort

from GTRStagingLib.checking.card_writing import LOCK
from GTRStagingLib.cli import main as cli
from GTRStagingLib.cohort.audit import audit
from GTRStagingLib.cohort.cohort import Cohort, write_cohort
from GTRStagingLib.cohort.rules import Finding
from GTRStagingLib.errors import InputError, LeakageError, StagingError, WeightsError
from GTRStagingLib.model import registry, weights
from GTRStagingLib.model.backbone import verify
from GTRStagingLib.stats.split_scores import SplitLogits
from GTRStagingLib.support.files import sha256_of
from GTRStagingLib.training import loop, slice_cache, train
from GTRStagingLib.training.cross_validation import train_folds
from GTRStagingLib.training.dataset import SliceSet
from GTRStagingLib.training.plan import Hardware, Plan, Schedule

PLAN = Plan(
    depth=10,
    fusion="add",
    recipe=SMALL,
    init="random",
    max_epochs=2,
    batch_size=8,
    learning_rate=1e-3,
    demonstration=True,
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return a_cohort(tmp_path_factory.mktemp("volumes") / "c", 20, validation=8, test=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def audited(cohort):
    """Audit of the cohort, which takes twice as long as an epoch."""
    return audit(cohort, content=True)


@pytest.fixture(scope="module")
def trained(cohort, cache, audited):
    """A training on the cohort, which has been audited already."""

    def run(folder, plan, hardware=HERE, **options):
        return train.train(cohort, folder, plan, hardware, cache=cache, audited=audited, **options)

    return run


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """The folder of a plain network that was trained."""
    folder = tmp_path_factory.mktemp("plain") / "m"
    trained(folder, replace(PLAN, fusion="none", max_epochs=1))
    return folder


@pytest.fixture(scope="module")
def made(cohort, cache, tmp_path_factory):
    """A finished training: its folder, card and reported sentences."""
    reported = []
    folder = tmp_path_factory.mktemp("models") / "small"
    progress = train.TrainingProgress(report=reported.append)
    card = train.train(
        cohort, folder, PLAN, HERE, cache=cache, progress=progress, samples=folder.parent / "samples.png"
    )
    return folder, card, reported


def metrics(folder):
    """The epochs of a run, without the time that they took."""
    with (folder.with_name(f"{folder.name}-run") / "metrics.csv").open() as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


# -- killed and resumed --------------------------------------------------------------------------------------------


def die_at(owner, name, calls):
    """Replace a function by one that ends the process at its n-th call."""
    wrapped, left = getattr(owner, name), [calls]

    def deadly(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return wrapped(*arguments, **options)

    setattr(owner, name, deadly)


def saved_but_not_moved(trainer, part):
    part.write_bytes(b"half a checkpoint")
    os.kill(os.getpid(), signal.SIGKILL)


def a_training(where, cohort, cache, folder, plan, resume, audited=None, hardware=HERE):
    """Train in a separate process, killed at the moment `where`."""
    torch.set_num_threads(1)
    if where == "preparing":
        die_at(slice_cache, "_read", 20)
    elif where == "learning":
        die_at(loop.Staging, "training_step", 3)  # of 5 batches, or in the third epoch of one each
    elif where == "validating":
        die_at(loop.Staging, "validation_step", 1)
    elif where == "keeping":
        loop.Trainer.save_checkpoint = saved_but_not_moved
    elif where == "recording":
        die_at(loop, "write_metrics", 1)
    elif where == "describing":
        die_at(train, "fitted_temperature", 1)
    elif where == "writing":
        die_at(weights, "write_mean_mask", 1)  # after the weights
    elif where == "clearing":
        die_at(loop, "clear", 1)
    train.train(cohort, folder, plan, hardware, cache=cache, resume=resume, audited=audited)


@pytest.fixture(scope="module")
def processes():
    """Context that starts processes quickly, from a server that has imported all modules."""
    if os.name != "posix":
        pytest.skip("a server of processes and signals as POSIX has them")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["GTRStagingLib.training.train", "helpers.trainings"])
    return context


def exit_code(processes, *arguments):
    process = processes.Process(target=a_training, args=arguments)
    process.start()
    process.join()
    return process.exitcode


KILLED = ("preparing", "learning", "validating", "keeping", "recording", "describing", "writing", "clearing")


@pytest.mark.parametrize(
    ("cases", "batch_size", "audit_first"), [(24, 9, True), pytest.param(64, 32, False, marks=pytest.mark.slow)]
)
def test_a_run_killed_at_any_moment_and_resumed_gives_the_same_result(
    tmp_path, processes, cases, batch_size, audit_first
):
    """One epoch of five batches, on one device: metrics, temperature and weights are the same to the bit."""
    cohort = a_cohort(tmp_path / "c", cases, validation=8)
    audited = audit(cohort, content=True) if audit_first else None
    plan = replace(PLAN, max_epochs=1, batch_size=batch_size)
    straight, broken = tmp_path / "straight" / "m", tmp_path / "broken" / "m"
    one, other = tmp_path / "cache 1", tmp_path / "cache 2"
    assert exit_code(processes, "never", cohort, one, straight, plan, False, audited) == 0
    for where in KILLED:
        assert exit_code(processes, where, cohort, other, broken, plan, True, audited) == -signal.SIGKILL, where
        assert broken.exists() == (where == "clearing")
    assert exit_code(processes, "never", cohort, other, broken, plan, True, audited) == 0
    assert len(metrics(straight)) == 1
    assert metrics(broken) == metrics(straight)
    one, other = (registry.read_card(folder) for folder in (straight, broken))
    assert (one.sha256, one.temperature) == (other.sha256, other.temperature)
    assert one.training["metrics"] == other.training["metrics"]
    assert one.training["data"] == other.training["data"]
    assert sorted(p.name for p in (tmp_path / "broken" / "m-run").iterdir()) == ["metrics.csv", "run.json"]


@pytest.mark.parametrize(
    "schedule", [one if one == "constant" else pytest.param(one, marks=pytest.mark.slow) for one in get_args(Schedule)]
)
def test_killed_in_a_later_epoch_and_resumed_to_the_end_of_its_patience(
    schedule, tmp_path, processes, cohort, cache, audited
):
    """The best epoch is before the kill, the stop after it: history and learning rate must survive the process.

    Slices are loaded by the default number of workers, which draw their order earlier than this process does.
    """
    plan = replace(PLAN, max_epochs=9, patience=2, batch_size=16, learning_rate=3e-3, schedule=schedule)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    usual = (audited, Hardware(accelerator="cpu"))
    assert loop.loading_workers(usual[1], torch.device("cpu")) == 1
    assert exit_code(processes, "never", cohort, cache, straight, plan, False, audited) == 0
    assert exit_code(processes, "learning", cohort, cache, broken, plan, False, *usual) == -signal.SIGKILL
    assert exit_code(processes, "keeping", cohort, cache, broken, plan, True, *usual) == -signal.SIGKILL
    assert exit_code(processes, "never", cohort, cache, broken, plan, True, *usual) == 0
    assert metrics(broken) == metrics(straight)
    assert registry.read_card(broken).sha256 == registry.read_card(straight).sha256
    losses = [float(row["val_loss"]) for row in metrics(straight)]
    best = int(np.argmin(losses))
    assert registry.read_card(straight).training["best_epoch"] == best
    assert len(losses) == min(9, best + 1 + 2)


def test_a_run_is_resumed_with_the_same_options_only(tmp_path, processes, cohort, cache):
    folder, plan = tmp_path / "m", replace(PLAN, max_epochs=9, batch_size=16)
    assert exit_code(processes, "learning", cohort, cache, folder, plan, False) == -signal.SIGKILL
    with pytest.raises(InputError, match="unfinished run.*`resume`"):
        train.train(cohort, folder, plan, HERE, cache=cache)
    other = replace(plan, learning_rate=1e-4, seed=1)
    with pytest.raises(
        InputError, match=r"started with other options \(then, now: learning_rate: 0.001, 0.0001; seed: 0, 1"
    ):
        train.train(cohort, folder, other, HERE, cache=cache, resume=True)
    with pytest.raises(InputError, match="started with other data"):
        train.train(Cohort(cohort.cases[:-1]), folder, plan, HERE, cache=cache, resume=True)
    (tmp_path / "m-run" / "last.ckpt").write_bytes(b"damaged")
    with pytest.raises(StagingError, match=r"last.ckpt cannot be read"):
        train.train(cohort, folder, plan, HERE, cache=cache, resume=True)


# -- what comes of it ----------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_the_card_describes_the_training(made, cohort):
    folder, card, _ = made
    files = ["card.json", "gradients.onnx", "mean_mask.safetensors", "model.onnx", "model.safetensors"]
    assert sorted(p.name for p in folder.iterdir() if p.name != LOCK) == files
    model = weights.load(str(folder))
    assert model.card == card == weights.ModelCard.from_json(json.loads(json.dumps(card.to_json())))
    assert (card.status, card.depth, card.recipe, card.leaking) == ("demonstration", 10, SMALL, False)
    assert card.intended_use.startswith("Trained on synthetic phantoms, never for patients. Research use only.")
    record = card.training
    assert record["data"]["training"] == {
        "patients": 8, "cases": 8, "slices": 24, "masks": 4, "stages": {"T1": 2, "T2": 2, "T3": 2, "T4": 2},
    }  # fmt: skip
    assert (record["seed"], record["epochs"], record["leakage_allowed"], record["audit"]["leaks"]) == (0, 2, False, 0)
    assert set(record["metrics"]) == {"validation", "test"}
    for name in ("gtrstaging", "torch", "lightning", "scipy"):
        assert record["versions"][name]
    assert (folder.parent / "samples.png").stat().st_size > 1000
    text = json.dumps(card.to_json())
    assert not any(case.patient_id in text or case.case_id in text or str(case.image) in text for case in cohort.cases)


def test_metrics_and_temperature_are_those_of_the_stored_weights(made, cohort, cache):
    """Recomputed from the folder: the best epoch's weights are stored, and all metrics are theirs."""
    from GTRStagingLib.stats.split_scores import fitted_temperature, scores

    folder, card, _ = made
    network = weights.load(str(folder)).network
    for split, name in (("validation", "validation"), ("test", "test")):
        of = [case for case in cohort.cases if case.split == split]
        samples = SliceSet(slice_cache.cache_slices(of, SMALL, cache), SMALL)
        logits = loop.predict(network, samples, torch.device("cpu"), 16)
        seen = loop.split_logits(samples, logits)
        found = scores(seen, card.temperature).to_json()
        assert found["slice_loss"] == pytest.approx(card.training["metrics"][name]["slice_loss"], abs=1e-5)
        assert found["accuracy"] == card.training["metrics"][name]["accuracy"]
        if split == "validation":
            assert fitted_temperature(seen) == pytest.approx(card.temperature, rel=1e-3)
            assert float(metrics(folder)[card.training["best_epoch"]]["val_loss"]) == pytest.approx(
                found["slice_loss"], abs=1e-5
            )


def test_calibration_patients_calibrate_the_sets_and_nothing_else(tmp_path, cache):
    """36 patients of calibration, 9 of each stage; without them, 2 of each stage in validation are too few."""
    cases = a_cohort(tmp_path / "c", 52, validation=8).cases
    four = Cohort((*cases[:16], *(replace(case, split="calibration") for case in cases[16:])))
    said = []
    progress = train.TrainingProgress(report=said.append)
    plan = replace(PLAN, max_epochs=1)
    card = train.train(four, tmp_path / "four", plan, HERE, cache=cache, progress=progress)
    found = card.stage_sets
    assert (found["level"], found["warning"], found["patients"]) == (0.9, None, dict.fromkeys(found["scores"], 9))
    assert found["source"].startswith("one case of each of 36 patients of the split 'calibration'")
    assert card.training["data"]["calibration"]["patients"] == 36
    assert set(card.training["metrics"]) == {"validation", "calibration"}
    three = train.train(Cohort(four.cases[:16]), tmp_path / "three", plan, HERE, cache=cache, progress=progress)
    assert three.stage_sets is None
    assert any("no stage sets: no stage has 9 patients" in sentence for sentence in said)
    assert (three.sha256, three.temperature) == (card.sha256, card.temperature)


def test_without_calibration_patients_validation_calibrates_with_a_warning():
    eye = np.log(np.full((36, 4), 0.1) + 0.6 * np.eye(4)[np.arange(36) % 4])
    places = np.arange(36)
    seen = SplitLogits(eye, places, np.zeros(36, int), places % 4, [str(i) for i in range(36)])
    found = train._stage_sets({"validation": seen}, 1.0, "ab" * 32)
    assert "patients of the split 'validation'" in found["source"]
    assert found["warning"].startswith("Stage sets: 36 of the 36 patients")


def test_too_few_patients_to_record_what_was_learned_from_are_reported(made):
    _, card, reported = made
    assert card.familiarity is None
    (found,) = [text for text in reported if text.startswith("What the model learned from was not recorded.")]
    assert "8 cases of the split 'train' and 8 patients of the split 'validation'" in found


def test_what_the_model_learned_from_is_written_at_the_end(tmp_path):
    """Measured in the cohort of the training, by the weights that were just written."""
    model = a_spot_model()
    saved = replace(model, card=weights.save(model, tmp_path / "m"))
    cases = [replace(case, split="train" if i < 20 else "validation")
             for i, case in enumerate(a_spotted_cohort(tmp_path / "spots", 40))]  # fmt: skip
    card = train._familiar(saved, tmp_path / "m", cases, PLAN, HERE, train.TrainingProgress())
    assert card == registry.read_card(tmp_path / "m")
    assert (card.familiarity["training_cases"], card.familiarity["held_out_patients"]) == (20, 20)
    assert weights.load(str(tmp_path / "m")).reference is not None


def test_the_cosine_schedule_goes_up_and_down_once(tmp_path, trained, monkeypatch):
    """To the plan's rate after a fifth of the steps, and to nearly nothing at the end; one step a batch."""
    rates, step = [], loop.Staging.training_step

    def noted(self, batch, number):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, number)

    monkeypatch.setattr(loop.Staging, "training_step", noted)
    plan = replace(PLAN, max_epochs=5, batch_size=5, schedule="cosine", patience=99)
    trained(tmp_path / "m", plan)
    assert len(rates) == 5 * (24 // 5)
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(plan.learning_rate, rel=0.01)
    assert peak == pytest.approx(len(rates) / 5, abs=1)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert max(rates[0], 1e3 * rates[-1]) < plan.learning_rate / 10


def test_the_network_learns(tmp_path, trained):
    """The tumour's size is the stage: a network that learns finds it in some epochs."""
    plan = replace(PLAN, max_epochs=8, augment=False)
    card = trained(tmp_path / "m", plan)
    losses = [float(row["train_loss"]) for row in metrics(tmp_path / "m")]
    assert losses[-1] < 0.3 < losses[0]
    assert card.training["best"]["val_loss"] < np.log(4)


def test_the_run_leaves_torch_as_it_was(tmp_path, trained):
    state, deterministic = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    environment = {key: value for key, value in os.environ.items() if key.startswith("PL_")}
    trained(tmp_path / "m", replace(PLAN, max_epochs=1))
    assert (torch.random.get_rng_state() == state).all()
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert {key: value for key, value in os.environ.items() if key.startswith("PL_")} == environment


# -- where it starts from ------------------------------------------------------------------------------------------


def test_fine_tuning_starts_from_the_models_weights(tmp_path, made, trained):
    folder, card, _ = made
    plan = replace(PLAN, init=str(folder), max_epochs=1, learning_rate=1e-9)  # it hardly moves
    tuned = trained(tmp_path / "tuned", plan)
    assert card.sha256 in tuned.provenance
    before, after = (weights.load(str(f)).network.state_dict() for f in (folder, tmp_path / "tuned"))
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before if k.endswith("weight"))
    for change in ({"depth": 18}, {"fusion": "none"}, {"recipe": replace(SMALL, spacing_mm=3.0)}):
        with pytest.raises(WeightsError, match="Use the model's own"):
            trained(tmp_path / "other", replace(plan, **change))
    assert not (tmp_path / "other-run").exists()


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_a_plain_network_is_a_start_for_every_stem(fusion, plain):
    """As with ImageNet's weights; before training, the output is the plain network's."""
    plan = replace(PLAN, fusion=fusion, max_epochs=1, init=str(plain))
    start, _ = train._initial(replace(plan, seed=1))
    network = weights.load(str(plain)).network
    pixels = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(start.network(pixels), network(pixels))
    other, _ = train._initial(replace(plan, seed=2))
    if fusion == "add":  # the new layer's weights are the seed's
        assert not torch.equal(start.network.detail[0].weight, other.network.detail[0].weight)


def test_without_imagenet_weights_training_starts_from_random_ones(tmp_path, trained):
    reported = []
    plan = replace(PLAN, init="auto", max_epochs=1)
    card = trained(tmp_path / "m", plan, progress=train.TrainingProgress(report=reported.append))
    assert any("starts from random weights" in text and "no ImageNet weights of ResNet-10" in text for text in reported)
    assert "random weights" in card.provenance
    with pytest.raises(WeightsError, match="no ImageNet weights"):
        trained(tmp_path / "n", replace(plan, init="imagenet"))


# -- leaks and other faults ----------------------------------------------------------------------------------------


def test_a_leaking_cohort_is_refused_before_anything_is_written(tmp_path, cohort, cache, trained):
    shared = replace(cohort.cases[-5], patient_id=cohort.cases[0].patient_id)
    leaking = Cohort((*cohort.cases[:-5], shared, *cohort.cases[-4:]))
    with pytest.raises(LeakageError, match="leaks.*`allow_leakage`"):
        train.train(leaking, tmp_path / "m", PLAN, HERE, cache=cache)
    assert not list(tmp_path.iterdir())
    allowed = replace(PLAN, allow_leakage=True, max_epochs=1, demonstration=False)
    card = train.train(leaking, tmp_path / "m", allowed, HERE, cache=cache)
    assert card.leaking
    assert card.training["leakage_allowed"]
    assert card.training["audit"]["leaks"] >= 1
    assert "LEAKING" in weights.load(str(tmp_path / "m")).card.warning
    # What starts from it inherits it, however clean its own cohort.
    tuned = replace(PLAN, init=str(tmp_path / "m"), max_epochs=1)
    assert trained(tmp_path / "tuned", tuned).leaking


def test_an_existing_audit_is_used_and_not_repeated(tmp_path, cohort, cache, monkeypatch):
    found = audit(cohort)
    leaking = replace(found, findings=(Finding("kind", "leak", "One leak.", (), "Mend it."),))
    monkeypatch.setattr(train, "audit", None)  # whoever calls it fails
    plan = replace(PLAN, max_epochs=1)
    with pytest.raises(LeakageError, match="One leak"):
        train.train(cohort, tmp_path / "m", plan, HERE, cache=cache, audited=leaking)
    card = train.train(cohort, tmp_path / "m", plan, HERE, cache=cache, audited=found)
    assert card.training["audit"]["ok"]


def test_cohorts_that_cannot_be_trained_on(tmp_path, cohort, cache):
    faults = {
        "expected cases in 'train' and 'validation'.*Split the cohort by patient": [
            replace(c, split="train") for c in cohort.cases
        ],
        "1 case without a split .case0.": [replace(cohort.cases[0], split=None), *cohort.cases[1:]],
        "1 case has no stage .case0.": [replace(cohort.cases[0], stage=None), *cohort.cases[1:]],
    }
    for message, cases in faults.items():
        with pytest.raises(InputError, match=message):
            train.train(Cohort(tuple(cases)), tmp_path / "m", PLAN, HERE, cache=cache)
    assert not list(tmp_path.iterdir())


def test_an_existing_model_is_left_alone(made, cohort, cache):
    folder, card, _ = made
    with pytest.raises(WeightsError, match="exists"):
        train.train(cohort, folder, PLAN, HERE, cache=cache)
    assert train.train(cohort, folder, PLAN, HERE, cache=cache, resume=True) == card


@pytest.mark.parametrize(
    "change",
    [{"depth": 11}, {"fusion": "sum"}, {"max_epochs": 0}, {"batch_size": 1}, {"learning_rate": -1.0}, {"seed": -1}],
)
def test_contradictory_plans_are_refused(change):
    with pytest.raises(InputError, match="expected"):
        Plan(**change)
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


@pytest.mark.parametrize(
    "change",
    [{"accelerator": "abacus"}, {"accelerator": "tpu"}, {"strategy": "luck"}, {"precision": "7"}, {"num_nodes": 0}]
    + [{"devices": devices} for devices in ("0", "-3", "cuda", "x", "", "1e9")],
)
def test_missing_hardware_is_refused(tmp_path, trained, change):
    with pytest.raises(InputError, match="Lightning cannot train.* Choose another `accelerator`"):
        trained(tmp_path / "m", PLAN, replace(HERE, **change))


def test_a_diverging_training_stops_with_a_reason(tmp_path, trained):
    with pytest.raises(StagingError, match="diverged.*`learning_rate`"):
        trained(tmp_path / "m", replace(PLAN, learning_rate=1e11))


# -- several at once -----------------------------------------------------------------------------------------------


def test_folds_are_by_patient_and_make_a_table(tmp_path, cohort, cache):
    plan = replace(PLAN, max_epochs=1)
    cards = train_folds(cohort, tmp_path / "m", plan, HERE, k=2, cache=cache)
    assert [card.name for card in cards] == ["m-fold1", "m-fold2"]
    assert sum(card.training["data"]["validation"]["cases"] for card in cards) == 16  # all but the test cases
    assert all(card.training["data"]["test"]["cases"] == 0 for card in cards)
    with (tmp_path / "m-folds.csv").open() as stream:
        rows = {row["fold"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["m-fold1", "m-fold2", "mean", "sd"]
    losses = [float(rows[f"m-fold{i}"]["slice_loss"]) for i in (1, 2)]
    assert float(rows["mean"]["slice_loss"]) == pytest.approx(np.mean(losses))
    assert float(rows["sd"]["slice_loss"]) == pytest.approx(np.std(losses, ddof=1))
    assert train_folds(cohort, tmp_path / "m", plan, HERE, k=2, cache=cache, resume=True) == cards


def command(folder, *arguments):
    return ["train", folder / "cohort.csv", "--cache", folder / "c", "--depth", "10", "--init", "random",
            "--max-epochs", "1", "--batch-size", "8", "--workers", "0", "--accelerator", "cpu", *arguments]  # fmt: skip


def run(folder, *arguments):
    """Run the command in a separate process: exit code and output."""
    done = subprocess.run([sys.executable, "-m", "GTRStagingLib", *map(str, command(folder, *arguments))],
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def a_table(tmp_path):
    write_cohort(a_cohort(tmp_path / "c", 8), tmp_path / "cohort.csv")
    return tmp_path


@pytest.mark.parametrize("where", ["here", pytest.param("in a process of its own", marks=pytest.mark.slow)])
def test_the_command_trains_a_small_model_in_half_the_space(a_table, capfd, where):
    out = a_table / "tiny"
    arguments = ("--out", out, "--half", "--demonstration")
    if where == "here":
        code = cli.main([str(argument) for argument in command(a_table, *arguments)])
        reported, errors = capfd.readouterr()
    else:
        code, reported, errors = run(a_table, *arguments)
    assert code == 0
    said = [line.removeprefix("gtrstaging: ").split()[:5] for line in errors.splitlines()]  # no word of Lightning's
    assert [" ".join(line) for line in said] == [
        "The model has no stage", "Recording what the model learned", "What the model learned from",
        "Checking the maps on validation",
    ]  # fmt: skip
    assert "DEMONSTRATION" in reported
    assert (out / "model.safetensors").stat().st_size < 12e6
    card = verify(str(out))
    assert card.recipe.name == "gtr"
    assert card.sha256 == sha256_of(out / "model.safetensors")
    assert cli.main(["train", str(a_table / "cohort.csv"), "--out", str(out), "--depth", "10"]) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"gtrstaging: {out} exists;")
    assert output.err.count("\n") == 1


def test_the_words_of_the_command_are_the_librarys():
    """The parser repeats them, so that `--help` imports no heavy package."""
    from GTRStagingLib.cli import train as cli_train
    from GTRStagingLib.model import card, network, recipe

    assert set(cli_train.DEPTHS) == set(network.BLOCKS) == set(card.DEPTHS)
    assert get_args(card.Fusion) == cli_train.FUSIONS
    assert set(cli_train.RECIPES) == set(recipe.RECIPES)
    assert get_args(Schedule) == cli_train.SCHEDULES


@pytest.mark.slow
def test_two_processes_train_together_and_validate_every_slice_once(a_table):
    """DDP with gloo on the CPU: the metrics are those of all ranks, and one of them writes the model."""
    code, reported, errors = run(a_table, "--out", a_table / "m", "--devices", "2", "--strategy", "ddp")
    assert code == 0, errors
    assert reported.count("Model ") == 1
    card = verify(str(a_table / "m"))
    assert card.training["metrics"]["validation"]["cases"] == 4
    # Recounted on one device from the stored weights.
    (row,) = metrics(a_table / "m")
    assert float(row["val_loss"]) == pytest.approx(card.training["metrics"]["validation"]["slice_loss"], abs=1e-4)
