"""Altered files are read rightly or refused: 2,000 inputs of the fuzzer, and checks of the fuzzer itself.

`python -m fuzz --only N` repeats an input that failed here; `make fuzz` runs 20,000.
"""

import numpy as np
import pytest

from fuzz import bases, inputs, oracle, trial

INPUTS, PARTS = 2_000, 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_altered_files_are_read_rightly_or_refused(part, tmp_path):
    share = INPUTS // PARTS
    verdicts = list(trial.run(inputs.SEED, range(part * share, (part + 1) * share), tmp_path))
    print(f"\n{trial.table(verdicts)}")
    bad = [f"#{v.number} {v.format}: {v.what}: {v.verdict}: {v.reason}" for v in verdicts if v.verdict in trial.BAD]
    assert len(verdicts) == share
    assert bad == []


@pytest.mark.parametrize("name", bases.BASES)
def test_the_oracle_reads_every_base_as_it_was_made(name):
    base, right = bases.base(name), inputs.right_of(name)
    if base.kind == "roi":
        index = np.argwhere(bases.tumour() * (np.arange(bases.SIZE[0])[:, None, None] % 2 if "sparse" in name else 1))
        points = index[:, ::-1] * bases.SPACING + bases.ORIGIN
        assert trial.compare_points(points, right)[0] == trial.RIGHT
    elif base.format == "PNG":
        assert (right.values == (bases.grey()[1:4] if "neighbours" in name else bases.grey()[2:3])).all()
    else:
        affine = np.diag([*bases.SPACING, 1.0])
        affine[:3, 3] = bases.ORIGIN
        assert trial.compare(bases.hu().astype(float), affine, right)[0] == trial.RIGHT


@pytest.mark.parametrize("change", ["value", "place", "order", "mirror", "fewer"])
def test_a_wrong_result_is_found(change):
    values, affine = bases.hu().astype(float), np.diag([*bases.SPACING, 1.0])
    affine[:3, 3] = bases.ORIGIN
    if change == "value":
        values[2, 20, 20] += 1
    elif change == "place":
        affine[2, 3] += 2.5
    elif change == "order":
        values = values[::-1]
    elif change == "mirror":
        affine[0, 0] *= -1
    else:
        values = values[:-1]
    for name in ("dicom-explicit", "nifti", "nrrd-raw", "mha-raw"):
        assert trial.compare(values, affine, inputs.right_of(name))[0] == trial.WRONG


def test_an_input_is_the_same_in_every_run():
    one, again = (inputs.make(inputs.SEED, 13) for _ in range(2))
    assert one == again
    assert len({inputs.make(inputs.SEED, n).what for n in range(40)}) > 30


def test_a_hang_a_crash_and_another_exception_are_verdicts(tmp_path, monkeypatch):
    """A reader that fails in each way is found out, in a process of its own."""
    monkeypatch.setattr(trial, "SECONDS", 3.0)
    monkeypatch.setattr(trial, "setup", failing)
    found = {v.number: v.verdict for v in trial.run(inputs.SEED, range(3), tmp_path)}
    assert found == {0: trial.CRASH, 1: trial.OTHER, 2: trial.HANG}


def failing(seed, folder):
    """Return a worker that crashes, raises and hangs."""
    import os
    import time

    def work(job):
        step, number = job
        if step == "make":
            return "NIfTI", "nothing"
        if number == 0:
            os.abort()
        if number == 1:
            return trial.OTHER, "ValueError"
        return time.sleep(60)

    return work


def test_the_oracle_has_no_answer_where_there_is_none(tmp_path):
    path = tmp_path / "ct.nii"
    path.write_bytes(bases.nifti(bases.hu())[:-2])
    with pytest.raises(oracle.NoAnswerError, match="length"):
        oracle.read_nifti(path)
