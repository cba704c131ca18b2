"""The slice cache, and the samples and order of training."""

import multiprocessing
import os
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import harmful_reads
from helpers.dicom_files import a_series, write
from helpers.trainings import SMALL, a_cohort

from GTRStagingLib.cohort.cohort import Case, Cohort
from GTRStagingLib.errors import InputError
from GTRStagingLib.imaging import keyslice, scans
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.model.recipe import GTR, RELEASED
from GTRStagingLib.staging.preprocess import prepare
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.training import slice_cache
from GTRStagingLib.training.dataset import SliceSet, plain_loader, training_loader
from GTRStagingLib.training.slice_cache import cache_slices


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return a_cohort(tmp_path_factory.mktemp("volumes") / "c", 6)


@pytest.fixture(scope="module")
def cases(cohort, tmp_path_factory):
    return cache_slices(cohort.cases, SMALL, tmp_path_factory.mktemp("cache"))


# -- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe", [SMALL, GTR, replace(RELEASED, input_size=32)], ids=lambda r: f"{r.name}{r.input_size}"
)
def test_an_unaugmented_sample_equals_the_input_of_inference(cohort, tmp_path, recipe):
    samples = SliceSet(cache_slices(cohort.cases[:2], recipe, tmp_path), recipe)
    found = [samples[7, index] for index in range(len(samples))]
    expected = []
    for case in cohort.cases[:2]:
        scan = read_scan(case.image)
        key = keyslice.by_index(scan.image, 2)  # where the tumour of either lies
        expected += list(prepare(scan.image, key, recipe, intensity=scan.intensity).pixels)
    assert len(found) == len(expected) == 6
    for (pixels, stage, index, _), wanted in zip(found, expected, strict=True):
        assert pixels.dtype == wanted.dtype
        assert (pixels == wanted).all()
        assert stage == int(cohort.cases[index // 3].stage)


def test_a_second_run_reads_no_volume(tmp_path):
    cohort = a_cohort(tmp_path / "c", 3)
    first = cache_slices(cohort.cases, SMALL, tmp_path / "cache")
    for path in (tmp_path / "c").iterdir():
        path.unlink()
    assert cache_slices(cohort.cases, SMALL, tmp_path / "cache") == first
    assert SliceSet(first, SMALL)[0, 0][0].shape == (3, 32, 32)
    with pytest.raises(InputError, match=r"3 of 3 cases cannot be prepared.*case0"):
        cache_slices(cohort.cases, replace(SMALL, window=(40.0, 400.0)), tmp_path / "cache")


def test_changed_files_are_read_again(tmp_path, monkeypatch):
    cohort = a_cohort(tmp_path / "c", 2)
    folder = tmp_path / "cache"
    first = cache_slices(cohort.cases, SMALL, folder)
    read = []
    reader = scans.read_scan
    monkeypatch.setattr(scans, "read_scan", lambda path, **options: read.append(path.name) or reader(path, **options))
    assert cache_slices(cohort.cases, SMALL, folder) == first
    assert read == []
    (tmp_path / "c" / "1.nii.gz").write_bytes((tmp_path / "c" / "0.nii.gz").read_bytes())  # another patient's voxels
    second = cache_slices(cohort.cases, SMALL, folder)
    assert read == ["1.nii.gz"]
    assert second[0] == first[0]
    assert second[1].key != first[1].key
    assert (second[1].slices() == first[0].slices()).all()  # the same content and key slice: one file
    assert second[1].key == first[0].key
    roi = tmp_path / "c" / "1_roi.nii.gz"
    os.utime(roi, ns=(1, 1))
    assert cache_slices(cohort.cases, SMALL, folder) == second
    assert read == ["1.nii.gz"] * 2
    elsewhere = replace(cohort.cases[0], key_slice=1)
    assert cache_slices([elsewhere], SMALL, folder)[0].key != first[0].key
    assert cache_slices([replace(cohort.cases[0], key_slice=3)], SMALL, folder)[0].offsets == (
        -1,
        0,
    )  # the uppermost slice


def test_other_voxels_under_the_same_headers_are_other_slices(tmp_path):
    for name, change in (("a", 0), ("b", 1)):
        slices = a_series(3)
        for k, d in enumerate(slices):
            d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
            d.SOPInstanceUID = f"1.2.6.{k}"
            d.PixelSpacing = [3, 3]
            d.PixelData = (np.frombuffer(d.PixelData, np.int16) + np.int16(1024 - 250 + change)).tobytes()
        write(tmp_path / name, slices)
    cases = [Case(case_id=n, patient_id=n, image=tmp_path / n, key_slice=1) for n in "ab"]
    assert read_scan(tmp_path / "a").digest == read_scan(tmp_path / "b").digest
    first, second = cache_slices(cases, SMALL, tmp_path / "cache")
    assert first.key != second.key
    assert (first.slices() != second.slices()).any()


def test_a_damaged_file_is_made_again(tmp_path):
    cohort = a_cohort(tmp_path / "c", 1)
    (first,) = cache_slices(cohort.cases, SMALL, tmp_path / "cache")
    whole = np.array(first.slices())
    first.path.write_bytes(first.path.read_bytes()[:-8])
    (again,) = cache_slices(cohort.cases, SMALL, tmp_path / "cache")
    assert (again.slices() == whole).all()
    assert not list((tmp_path / "cache").rglob(".*"))


def test_every_case_that_fails_is_named_and_the_others_are_kept(tmp_path):
    cohort = a_cohort(tmp_path / "c", 4)
    bad = [replace(cohort.cases[1], key_slice=9), replace(cohort.cases[3], roi=None)]
    with pytest.raises(InputError, match=r"2 of 3 cases.*case1: Key slice 9 does .*case3: No key slice is chosen"):
        cache_slices([cohort.cases[0], *bad], SMALL, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "slices").iterdir())) == 1


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="the list of processes is Linux's")
def test_a_case_that_ends_its_process_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(slice_cache, "_read", harmful_reads.prepare)
    cohort = a_cohort(tmp_path / "c", 4)
    harmful_reads.ask(cohort.cases[1].image, "crash crash")
    harmful_reads.ask(cohort.cases[2].image, "hang")
    with pytest.raises(InputError, match=r"2 of 4 cases.*case1: .*SIGSEGV.*case2: .*exceeded the time limit \(9 s\)"):
        cache_slices(cohort.cases, SMALL, tmp_path / "cache", workers=2, limits=Limits(9.0, None))
    assert len(list((tmp_path / "cache" / "slices").iterdir())) == 2
    assert len(cache_slices(cohort.cases, SMALL, tmp_path / "cache", workers=2)) == 4  # the harm was done once


def test_several_processes_give_the_same_as_one(cohort, cases, tmp_path):
    calls = []
    found = cache_slices(
        cohort.cases, SMALL, tmp_path, workers=2, progress=lambda done, total: calls.append((done, total))
    )
    assert [(one.key, one.offsets) for one in found] == [(one.key, one.offsets) for one in cases]
    assert all((a.slices() == b.slices()).all() for a, b in zip(found, cases, strict=True))
    assert calls == [(done, 6) for done in range(7)]


# -- samples and order ---------------------------------------------------------------------------------------------


def test_a_sample_depends_on_seed_epoch_and_index_alone(cases):
    samples = SliceSet(cases, SMALL, augment=1)
    first = samples[4, 2][0]
    samples[0, 0], samples[4, 3]
    assert (samples[4, 2][0] == first).all()
    assert (SliceSet(cases, SMALL, augment=1)[4, 2][0] == first).all()
    for other in (samples[5, 2][0], SliceSet(cases, SMALL, augment=2)[4, 2][0], SliceSet(cases, SMALL)[4, 2][0]):
        assert (other != first).any()


def seen(loader, epoch=0):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return [index.tolist() for _, _, index, _ in loader]


def test_an_epoch_can_be_repeated_and_differs_from_others(cases):
    samples = SliceSet(cases, SMALL, augment=0)

    def loader(seed=3, workers=0):
        return training_loader(samples, batch_size=6, seed=seed, workers=workers)

    assert seen(loader(), 2) == seen(loader(), 2)
    assert seen(loader(), 2) != seen(loader(), 3)
    assert seen(loader(), 2) != seen(loader(seed=4), 2)
    # A resumed run makes the iterator before the epoch is set; the first order is that of its epoch.
    resumed = training_loader(samples, batch_size=6, seed=3, epoch=2, workers=1)
    batches = iter(resumed)
    resumed.sampler.set_epoch(2)
    assert [index.tolist() for _, _, index, _ in batches] == seen(loader(), 2)
    assert seen(resumed, 3) == seen(loader(), 3)
    one, other = loader(), loader(workers=1)
    for each in (one, other):
        each.sampler.set_epoch(5)
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def a_run_that_waits(samples, told):
    loader = training_loader(samples, batch_size=6, seed=3, workers=2)
    batches = iter(loader)
    next(batches)
    told.put([worker.pid for worker in loader._iterator._workers])
    time.sleep(600)


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="the list of processes is Linux's")
@pytest.mark.parametrize("way", ["fork", "forkserver", "spawn"])
def test_workers_end_with_a_run_that_is_killed(cases, way):
    """However processes start: the default of Linux differs between versions of Python."""
    context = multiprocessing.get_context(way)
    told = context.Queue()
    run = context.Process(target=a_run_that_waits, args=(SliceSet(cases, SMALL), told))
    run.start()
    workers = told.get(timeout=120)
    assert len(workers) == 2
    assert all(is_running(worker) for worker in workers)
    run.kill()
    run.join()
    end = time.monotonic() + 60
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < end, "workers outlive their run"
        time.sleep(0.05)


def is_running(process):
    """Return whether a process is there, and no zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_slice_once_and_no_small_last_batch(cases):
    samples = SliceSet(cases, SMALL)
    assert len(samples) == 18
    assert sorted(chain(*seen(training_loader(samples, batch_size=6, seed=0)))) == list(range(18))
    assert [len(batch) for batch in seen(training_loader(samples, batch_size=8, seed=0))] == [8, 8]
    assert [len(batch) for batch in seen(training_loader(samples, batch_size=32, seed=0))] == [18]
    assert list(chain(*seen(plain_loader(samples, batch_size=8)))) == list(range(18))


def test_ranks_share_the_slices(cases):
    samples = SliceSet(cases[:5], SMALL)  # 15 slices, which two do not divide
    learned = [list(chain(*seen(training_loader(samples, batch_size=4, seed=0, rank=r, ranks=2)))) for r in (0, 1)]
    assert len(learned[0]) == len(learned[1]) == 8
    assert set(learned[0]) | set(learned[1]) == set(range(15))
    looked_at = [list(chain(*seen(plain_loader(samples, batch_size=4, rank=r, ranks=2)))) for r in (0, 1)]
    assert sorted(looked_at[0] + looked_at[1]) == list(range(15))  # none twice: it would count twice


def test_a_case_without_a_stage_is_refused(cohort, tmp_path):
    unstaged = Cohort((replace(cohort.cases[0], stage=None),))
    samples = SliceSet(cache_slices(unstaged.cases, SMALL, tmp_path), SMALL)
    with pytest.raises(InputError, match="case0 has no stage"):
        samples[0, 0]


def test_without_a_home_directory_the_cache_must_be_named(homeless, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="no home directory.*`cache`"):
        slice_cache.default_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert slice_cache.default_folder() == tmp_path / "gtrstaging"
