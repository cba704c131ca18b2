"""Designs are balanced, complete and repeatable, whatever the cohort."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from GTRStagingLib.cohort.cohort import Case
from GTRStagingLib.errors import InputError
from GTRStagingLib.reading.designs import ALPHABET, KINDS, Design, case_codes, schedule
from GTRStagingLib.reading.plan import Rules
from GTRStagingLib.stages import TStage


def cohort(patients, *, cases_a_patient=1, stages=None):
    return [
        Case(case_id=f"c{p}-{c}", patient_id=f"p{p}", image=Path("ct"), centre="XYZ"[p % 3],
             stage=TStage((stages or [0, 1, 2, 3])[p % len(stages or "1234")]))
        for p in range(patients) for c in range(cases_a_patient)
    ]  # fmt: skip


READERS = ["r1", "r2", "r3", "r4"]
DESIGNS = st.builds(
    Design,
    kind=st.sampled_from(sorted(KINDS)),
    counterbalanced=st.booleans(),
    repeats=st.integers(0, 3),
    training=st.integers(0, 4),
    groups=st.integers(2, 3),
    seed=st.integers(0, 2**40),
)


@settings(max_examples=60, deadline=None)
@given(design=DESIGNS, patients=st.integers(30, 60), stages=st.lists(st.integers(0, 3), min_size=4, max_size=9))
def test_every_design_is_complete_balanced_and_repeatable(design, patients, stages):
    cases = cohort(patients, stages=stages)
    found = schedule(cases, READERS, design)
    assert found == schedule(list(reversed(cases)), READERS, design)  # the order of the table does not matter
    stage_of = {one.case_id: one.stage for one in cases}
    centre_of = {one.case_id: one.centre for one in cases}
    parts = set(found.parts.values())
    for key in (stage_of.get, lambda one: (stage_of[one], centre_of[one])):
        sizes = Counter((part, key(one)) for one, part in found.parts.items())
        for name in {key(one) for one in found.parts}:
            of_parts = [sizes[part, name] for part in parts]
            assert max(of_parts) - min(of_parts) <= 1
    assert len(found.training) == design.training
    assert not set(found.training) & set(found.parts)
    for reader, items in found.readings.items():
        for phase in ("unaided", "aided"):
            own = [one for one in items if one.phase == phase]
            assert len({one.period for one in own}) == 1
            first = [one.case_id for one in own if one.kind == "reading"]
            assert len(first) == len(set(first))
            part = {"crossed": 0, "halves": ("unaided", "aided").index(phase)}.get(design.kind, found.groups[reader])
            assert set(first) == {one for one, where in found.parts.items() if where == part}
            assert [one.kind for one in own[: design.training]] == ["training"] * design.training
            assert {one.case_id for one in own if one.kind == "training"} == set(found.training)
            again = [one.case_id for one in own if one.kind == "repeat"]
            assert len(again) == len(set(again)) == design.repeats
            for case_id in again:
                places = [i for i, one in enumerate(own) if one.case_id == case_id]
                assert len(places) == 2
                assert places[1] - places[0] >= len(first) // 4
        assert [one.period for one in items] == sorted(one.period for one in items)
        starts = {one.phase for one in items if one.period == 1}
        assert starts == {"unaided"} or design.counterbalanced
    if design.counterbalanced:
        begin_aided = sum(items[0].phase == "aided" for items in found.readings.values())
        assert begin_aided in (1, 2)


def test_all_cases_of_a_patient_are_in_one_part_and_halves_do_not_overlap():
    cases = cohort(24, cases_a_patient=3)
    found = schedule(cases, READERS, Design(kind="halves", training=3, seed=1))
    by_patient = {}
    for case in cases:
        by_patient.setdefault(case.patient_id, set()).add(found.parts.get(case.case_id))
    assert all(len(parts) == 1 for parts in by_patient.values())
    for items in found.readings.values():
        unaided, aided = ({one.case_id for one in items if one.phase == phase and one.kind == "reading"}
                          for phase in ("unaided", "aided"))  # fmt: skip
        assert not unaided & aided
        assert len(unaided | aided) == 69
    first, second = (
        [one.case_id for one in found.readings[name] if one.kind == "reading" and one.phase == "unaided"]
        for name in READERS[:2]
    )
    assert set(first) == set(second)  # the same half for all readers
    assert first != second  # in another order


def test_another_seed_is_another_order_and_another_half():
    cases = cohort(40)
    one, other = (schedule(cases, READERS, Design(kind="halves", seed=seed)) for seed in (1, 2))
    assert one.parts != other.parts
    assert one.readings["r1"] != other.readings["r1"]


def test_codes_tell_nothing_and_differ_between_readers():
    ids = [f"patient-{n}-T{n % 4 + 1}" for n in range(2000)]
    found = case_codes(READERS, ids, 5)
    assert found == case_codes(READERS, list(reversed(ids)), 5)
    for codes in found.values():
        assert len(set(codes.values())) == len(ids)
        assert all(code.startswith("CASE-") and set(code[5:]) <= set(ALPHABET) for code in codes.values())
    assert sum(found["r1"][one] == found["r2"][one] for one in ids) < 3
    assert found["r1"] != case_codes(READERS, ids, 6)["r1"]


@pytest.mark.parametrize(
    ("cases", "readers", "design", "message"),
    [
        (16, [], {}, "No reader; expected one or more"),
        (16, ["a"], {"counterbalanced": True}, "1 reader; expected two or more for a counter-balanced design"),
        (16, ["a"], {"kind": "split-plot"}, "1 reader for 2 `groups`"),
        (16, ["a"], {"repeats": 9}, "9 `repeats` of 16 cases in a phase; expected at most half"),
        (4, ["a"], {"training": 4}, "4 `training` cases of 4 cases"),
        (1, ["a"], {"kind": "halves"}, "1 case for a design of 2 parts"),
    ],
)
def test_designs_that_cannot_be_are_refused(cases, readers, design, message):
    with pytest.raises(InputError, match=message):
        schedule(cohort(cases), readers, Design(**design))


def test_wrong_values_and_cases_without_a_stage_are_refused():
    with pytest.raises(InputError, match="`kind` is 'latin'; expected crossed, halves, split-plot"):
        Design(kind="latin")
    with pytest.raises(InputError, match="`washout_days` is -1"):
        Rules(washout_days=-1)
    case = Case(case_id="a", patient_id="1", image=Path("ct"))
    with pytest.raises(InputError, match=r"1 case has no stage \(a\)"):
        schedule([case], ["r"], Design())
