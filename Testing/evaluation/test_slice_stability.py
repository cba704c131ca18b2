"""The stability along the scan in an evaluation: shares by stage and cohort, what was not asked, and wrong tables."""

import numpy as np
import pandas as pd
import pytest

from GTRStagingLib.batch.columns import STABILITY
from GTRStagingLib.cli.main import main
from GTRStagingLib.errors import InputError
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.evaluation.set_tables import slice_stability

HOLDS, UP, THIN = (5.0, 5.0, 5.0, 5.0, 5.0), (5.0, 0.0, 5.0, 5.0, 5.0), (1.0, 1.0, 1.0, 0.0, 1.0)
EDGE = (5.0, 5.0, 5.0, 0.0, 0.0)


def written(rows, path):
    rows.to_csv(path, index=False)
    return path


def table_of(*ways):
    """Eight patients of each stage; the ways in turn, None for empty cells."""
    stages = np.repeat([1, 2, 3, 4], 8)
    chosen = [ways[i % len(ways)] for i in range(len(stages))]
    numbers = pd.DataFrame([[np.nan] * 5 if way is None else way for way in chosen], columns=list(STABILITY))
    shares = np.full((len(stages), 4), 0.1)
    shares[range(len(stages)), stages - 1] = 0.7
    rows = pd.DataFrame(shares, columns=[f"p_T{k}" for k in (1, 2, 3, 4)])
    rows.insert(0, "case_id", [f"c{i}" for i in range(len(stages))])
    cohort = np.where(np.arange(len(stages)) % 8 < 4, "A", "B")
    return rows.assign(true_stage=[f"T{k}" for k in stages], cohort=cohort, **numbers)


def evaluated(rows, tmp_path, **how):
    return evaluate(read_predictions(written(rows, tmp_path / "t.csv")), **how)


def test_only_rows_that_were_asked_so_far_count(tmp_path):
    """Of 32 rows, 8 hold to 5 mm and 8 do not; thin slices were asked for 1 mm, and a quarter has nothing below."""
    found = evaluated(table_of(HOLDS, UP, THIN, EDGE), tmp_path, cohort_column="cohort")
    shares = found.slice_stability
    assert (shares.rows, shares.without) == (32, 0)
    assert shares.known == {2.5: 0, 5.0: 16, 10.0: 0}
    assert shares.stable[5.0]["all"].value == shares.stable[5.0]["T2"].value == 0.5
    assert shares.stable[2.5]["all"].value is shares.stable[10.0]["T4"].value is None
    assert {part.name: part.slice_stability.known[5.0] for part in found.cohorts.parts} == {"A": 8, "B": 8}
    record = found.to_json()["slice_stability"]
    assert record["stable"]["5 mm"]["all"]["method"].startswith("Wilson")
    printed = slice_stability(found)
    assert [line[:4] for line in printed.lines[:3]] == [
        ("all rows", "± 2.5 mm", "0", "32"), ("all rows", "± 5 mm", "16", "16"), ("all rows", "± 10 mm", "0", "32")
    ]  # fmt: skip


def test_rows_without_a_stability_are_counted_and_a_table_without_any_has_no_section(tmp_path):
    assert evaluated(table_of(HOLDS, None), tmp_path).slice_stability.without == 16
    assert evaluated(table_of(None), tmp_path).slice_stability is None
    assert evaluated(table_of(HOLDS).drop(columns=list(STABILITY)), tmp_path).slice_stability is None


def test_the_stability_is_no_covariate(tmp_path):
    found = read_predictions(written(table_of(HOLDS, UP), tmp_path / "t.csv"))
    assert not set(STABILITY) & set(found.covariates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="asked_up_mm"), "no numbers in asked_up_mm"),
        (lambda rows: rows.assign(stays_up_mm=7.5), r"c0: The stage holds for 7\.5 mm, but slices were asked for 5 mm"),
        (lambda rows: rows.assign(stability_step_mm=0.0), "a step above 0"),
        (lambda rows: rows.assign(asked_down_mm=[np.nan] + [5.0] * 31), r"\(1 such row\)"),
    ],
)
def test_impossible_columns_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        evaluated(change(table_of(HOLDS)), tmp_path)


def test_the_summary_and_the_page_name_the_share(tmp_path, capsys):
    path = written(table_of(HOLDS, UP), tmp_path / "t.csv")
    assert main(["evaluate", str(path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Key slice     the stage holds within ± 5 mm in 0.500 (" in printed
    assert "of 32 rows asked so far" in printed
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'id="slice-stability"' in page


def test_the_summary_states_that_nobody_asked(tmp_path, capsys):
    assert main(["evaluate", str(written(table_of(THIN), tmp_path / "t.csv"))]) == 0
    assert "Key slice     not known: no row's slices were asked" in capsys.readouterr().out
