"""The simulation finds what it assumes, and its intervals narrow as those of a real study would."""

from pathlib import Path

import numpy as np
import pytest

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.designs import Design, schedule
from GTRStagingLib.reading.expected_widths import Assumptions, error_size, expected_widths
from GTRStagingLib.stages import TStage


def found(cases=60, readers=4, kind="crossed", **assumptions):
    cohort = [Case(case_id=f"c{n}", patient_id=f"p{n}", image=Path("ct"), stage=TStage(n % 4)) for n in range(cases)]
    planned = schedule(cohort, [f"r{n}" for n in range(readers)], Design(kind=kind))
    return expected_widths(cohort, planned, Assumptions(**{"studies": 60, **assumptions}))


def width(result, measure="accuracy", readers="fixed"):
    return next(one for one in result.widths if (one.measure, one.readers) == (measure, readers))


@pytest.mark.parametrize(("accuracy", "shares"), [(0.4, (0.25,) * 4), (0.7, (0.1, 0.2, 0.3, 0.4)), (0.9, (0, 1, 0, 0))])
def test_an_error_of_the_size_gives_the_accuracy(accuracy, shares):
    rng = np.random.default_rng(1)
    stages = rng.choice(4, 400_000, p=shares)
    read = np.clip(np.rint(stages + error_size(accuracy, shares) * rng.standard_normal(len(stages))), 0, 3)
    assert (read == stages).mean() == pytest.approx(accuracy, abs=0.003)


def test_the_assumed_gain_is_found_and_more_cases_narrow_its_interval():
    small, large = found(cases=40, gain=0.15), found(cases=160, gain=0.15)
    for result in (small, large):
        assert width(result).gain == pytest.approx(0.15, abs=0.02)
    ratio = width(small).width / width(large).width
    assert ratio == pytest.approx(2, rel=0.15)  # the root of four times the cases
    assert width(large).found > width(small).found
    assert width(large, readers="random").width > width(large).width
    assert width(large, "auc_T3-4").gain > 0


def test_without_a_gain_the_interval_is_above_0_as_rarely_as_it_promises():
    result = found(gain=0, studies=200, spread=0)
    assert width(result).gain == pytest.approx(0, abs=0.01)
    assert width(result).found <= 0.065  # 2.5 % expected; four standard errors of 200 studies more


def test_crossed_phases_need_fewer_cases_than_halves_and_readers_who_agree_help_less():
    assert width(found()).width < width(found(kind="halves")).width
    agreeing = found(agreement=0.7, constancy=0.1)
    assert agreeing.same_stage > found(agreement=0.1, constancy=0.1).same_stage


def test_split_plot_and_one_reader_have_intervals_too():
    assert width(found(kind="split-plot")).width > 0
    alone = found(readers=1, studies=20)
    assert [(one.measure, one.readers) for one in alone.widths] == [("accuracy", "fixed")]
    assert alone.same_stage is None
    assert alone.widths[0].width > 0


def test_equal_seeds_are_equal_studies():
    assert found(seed=3, studies=20) == found(seed=3, studies=20)
    assert found(seed=3, studies=20) != found(seed=4, studies=20)


@pytest.mark.parametrize("wrong", [{"accuracy": 0.2}, {"accuracy": 0.95, "gain": 0.1}, {"agreement": 0.9},
                                   {"spread": 0.5}, {"studies": 3}])  # fmt: skip
def test_assumptions_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        Assumptions(**wrong)
