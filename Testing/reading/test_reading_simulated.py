"""Simulated readers read 60 cases by the real logic; their skill, trust and constancy are found in the answers."""

import csv

import pytest
from helpers.reading_studies import SimulatedReader, Watch, make_study, read_all

from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design

READERS = {"r1": (0.5, 0.8, 0.0), "r2": (0.65, 0.4, 0.0), "r3": (0.8, 0.1, 0.0), "r4": (0.5, 0.0, 1.0)}
"""Skill, trust, and the share of displays at which the skill is drawn anew."""


def close_to(share, number):
    return pytest.approx(share, abs=2.6 * (share * (1 - share) / number) ** 0.5)  # 99 % of the samples


def test_skill_trust_and_constancy_of_simulated_readers_are_in_the_answers(tmp_path):
    study = make_study(tmp_path, cases=60, readers=tuple(READERS), shows=("stage", "set"),
                       design=Design(seed=3, repeats=12))  # fmt: skip
    watch = Watch()
    for _ in range(2):
        for name, (skill, trust, wavers) in READERS.items():
            reader = SimulatedReader(study, name, skill, trust, wavers=wavers)
            assert len(read_all(study, name, watch, think=reader)) == 72
        watch.pass_by(days=28)
    found = collect(study, study / "organiser" / "truth.csv", tmp_path / "data" / "batch" / "predictions.csv",
                    now=watch.time)  # fmt: skip
    assert found.kept
    _, path, _ = write_collected(found, tmp_path / "table.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert len(rows) == len(READERS) * 2 * 72
    for name, (skill, trust, wavers) in READERS.items():
        own = [row for row in rows if row["reader"] == name]
        final = {(row["kind"], row["phase"], row["case_id"]): row for row in own}
        alone = {case: row for (kind, phase, case), row in final.items() if (kind, phase) == ("reading", "unaided")}
        right = sum(row["stage"] == row["true_stage"] for row in alone.values())
        assert right / 60 == close_to(skill, 60)
        aided = [row for (kind, phase, _), row in final.items() if (kind, phase) == ("reading", "aided")]
        assert {row["advice_shown"].split()[0] for row in aided} == {"stage"}
        # Without wavering, the reader's own opinion is the one of the unaided phase.
        other = [row for row in aided if alone[row["case_id"]]["stage"] != row["advice_stage"]]
        followed = sum(row["stage"] == row["advice_stage"] for row in other)
        if not wavers:
            assert len(other) > 15
            assert followed / len(other) == close_to(trust, len(other))
        again = [(key, row) for key, row in final.items() if key[0] == "repeat"]
        assert len(again) == 24
        same = sum(final["reading", *key[1:]]["stage"] == row["stage"] for key, row in again)
        assert same < 20 if wavers else same == 24
