"""Read, write and split cohort tables: errors name row and column, and patients stay in one split."""

import math
import string
import sys
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest
from helpers import cohorts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from GTRStagingLib.cohort.cohort import COLUMNS, OPTIONAL, Case, Cohort, folds, read_cohort, split_cohort, write_cohort
from GTRStagingLib.errors import InputError, MissingDependencyError
from GTRStagingLib.stages import TStage

HEADER = "case_id,patient_id,centre,image,series,roi,segment,key_slice,stage,split,age,sex\n"
GOOD = "007,P01,Köln,ct/a.nii.gz,3.10,,tumour,12,T3,train,61.5,F\n"


def table(tmp_path, text, name="cohort.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def fault(tmp_path, text, encoding="utf-8"):
    with pytest.raises(InputError) as caught:
        read_cohort(table(tmp_path, text, encoding=encoding))
    return str(caught.value)


def staged(counts, cases_a_patient=1):
    """Return a cohort with a number of patients of each stage."""
    stages = [stage for stage, n in zip(TStage, counts, strict=True) for _ in range(n)]
    return Cohort(
        tuple(
            Case(case_id=f"{p}-{c}", patient_id=f"p{p}", image=Path(f"/x/{p}-{c}.nii"), stage=stage, centre="AB"[p % 2])
            for p, stage in enumerate(stages)
            for c in range(cases_a_patient)
        )
    )


# -- reading -------------------------------------------------------------------------------------------------------


def test_a_row_becomes_a_case(tmp_path):
    (case,) = read_cohort(table(tmp_path, HEADER + GOOD))
    assert case == Case(
        case_id="007",
        patient_id="P01",
        centre="Köln",
        image=tmp_path / "ct/a.nii.gz",
        series="3.10",
        roi=None,
        segment="tumour",
        key_slice=12,
        stage=TStage.T3,
        split="train",
        covariates={"age": 61.5, "sex": "F"},
    )


def test_missing_values_are_none_and_leading_zeros_make_a_text(tmp_path):
    cohort = read_cohort(table(tmp_path, "case_id,patient_id,image,a,b,c,d\n1,2,/ct,NA,NaN,007,-1e-3\n"))
    (case,) = cohort
    assert (case.stage, case.split, case.key_slice, case.roi, case.centre) == (None,) * 5
    assert case.covariates == {"a": None, "b": None, "c": "007", "d": -0.001}
    assert case.image == Path("/ct")
    assert cohort.covariates == ("a", "b", "c", "d")


def test_byte_order_mark_and_empty_rows_keep_the_row_numbers(tmp_path):
    text = "\ufeff" + HEADER + "\n" + GOOD + ",,,,,,,,,,\n" + GOOD.replace("007", "008").replace("T3", "T5")
    assert "row 5, stage 'T5': expected T1 to T4" in fault(tmp_path, text)
    assert len(read_cohort(table(tmp_path, text.replace("T5", "T4")))) == 2


def test_all_errors_of_the_table_are_listed(tmp_path):
    text = HEADER + GOOD + "../up,,B,,,,,x,T5,val,#REF!,F\n007,P2,,b,,,,-1,4,test,1,2\n"
    message = fault(tmp_path, text)
    for part in (
        "10 errors",
        "row 3, case_id '../up': expected a valid folder name",
        "row 3, patient_id is empty",
        "row 3, image is empty",
        "row 3, key_slice 'x': expected a whole number",
        "row 3, stage 'T5': expected T1 to T4",
        "row 3, split 'val': expected train, validation, test or calibration",
        "row 3, age '#REF!': expected a value",
        "row 4, stage '4'",
        "row 4, key_slice '-1'",
        "row 4, case_id '007': expected a unique id, ignoring case; row 2 has the same id",
    ):
        assert part in message, part


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", ".hidden", "..", "-rf", "CON", "nul.txt", "a.", "x:y", "a\tb", "é" * 101, "7.0",
             "1.2E+05", "3E+08"]
)  # fmt: skip
def test_ids_that_are_not_folder_names_or_were_rewritten_are_refused(tmp_path, name):
    assert "row 2, case_id" in fault(tmp_path, HEADER + GOOD.replace("007", name))
    with pytest.raises(InputError, match="expected"):
        Case(case_id=name, patient_id="P", image=Path("/x"))


@pytest.mark.parametrize(("name", "what"), [("-rf", "a hyphen at its start"), ("CON", "names of devices such as CON")])
def test_what_is_wrong_with_a_folder_name_is_listed(tmp_path: Path, name: str, what: str) -> None:
    assert what in fault(tmp_path, HEADER + GOOD.replace("007", name))


@pytest.mark.parametrize("name", ["007", "P 1", "胃癌-12", "Müller_1", "a.b", "2E", "3E8", "1e5x", "é" * 100])
def test_ids_of_any_script_are_kept(tmp_path, name):
    (case,) = read_cohort(table(tmp_path, HEADER + GOOD.replace("007", name)))
    assert case.case_id == name


def test_ids_that_differ_only_in_case_are_duplicates(tmp_path):
    assert "row 3" in fault(tmp_path, HEADER + GOOD.replace("007", "a1") + GOOD.replace("007", "A1"))
    with pytest.raises(InputError, match="unique"):
        Cohort(tuple(Case(case_id=i, patient_id="P", image=Path("/x")) for i in ("e\u0301", "\u00c9")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEADER, "no rows"),
        (HEADER + "\n,,,,,,,,,,\n", "no rows"),
        (HEADER.replace(",", "|") + GOOD.replace(",", "|"), "separated by '|'"),
        (HEADER.replace("sex", "age") + GOOD, "column 'age' twice"),
        (HEADER.replace("sex", "") + GOOD, "without a name"),
        (HEADER.replace("image", "picture") + GOOD, "column image is missing"),
        (HEADER.replace("sex", "Stage") + GOOD, "row 1, column 'Stage': expected one column 'stage'; the table has"),
        (HEADER.replace("sex", "key slice") + GOOD, "row 1, column 'key slice': expected one column 'key_slice'"),
        (HEADER + GOOD.replace("\n", ",1,2\n"), "row 2: 14 cells; expected 12"),
        (HEADER + "007,P01,Köln\n", "row 2: 3 cells; expected 12"),
        (HEADER + '"007,P01,Köln', "is not a valid CSV table"),
    ],
)
def test_errors_of_invalid_tables(tmp_path, text, message):
    assert message in fault(tmp_path, text)


def test_a_table_that_is_not_utf8_is_refused(tmp_path):
    assert "not UTF-8" in fault(tmp_path, HEADER + GOOD, encoding="latin-1")


def test_a_table_of_another_kind_or_place_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.xlsx or \.parquet"):
        read_cohort(table(tmp_path, GOOD, "cohort.xls"))
    with pytest.raises(InputError, match="is not a file"):
        read_cohort(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_cohort(table(tmp_path, GOOD, "cohort.parquet"))


def test_long_lists_of_errors_are_shortened(tmp_path):
    message = fault(tmp_path, HEADER + "".join(f"{i},P,,,,,,,T1,,,\n" for i in range(1000)))
    assert "1,000 errors" in message
    assert "and 980 more" in message
    assert len(message.splitlines()) == 22


def test_parquet_as_pandas_writes_it(tmp_path):
    """Whole-number ids become text; a number column with gaps does not spoil the key slice; categories are texts."""
    frame = pd.DataFrame(
        {
            "case_id": [1, 2],
            "patient_id": ["007", "8"],
            "image": ["a", "b"],
            "key_slice": [3.0, None],
            "stage": pd.Categorical(["T1", None]),
            "age": [61, 62],
            "t": [float("nan"), 0.1 + 0.2],
        }
    )
    frame.set_index("case_id").to_parquet(tmp_path / "split=train.parquet")
    first, second = read_cohort(tmp_path / "split=train.parquet")
    assert (first.case_id, first.patient_id, first.key_slice, first.stage) == ("1", "007", 3, TStage.T1)
    assert (second.key_slice, second.stage, second.split) == (None, None, None)
    assert second.covariates == {"age": 62.0, "t": 0.1 + 0.2}
    assert first.covariates["t"] is None


def test_ten_thousand_rows_are_read_in_seconds(tmp_path):
    path = table(tmp_path, HEADER + "".join(GOOD.replace("007", f"c{i}") for i in range(10_000)))
    start = time.perf_counter()
    cohort = read_cohort(path)
    assert len(cohort) == 10_000
    assert time.perf_counter() - start < 20


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    path = table(tmp_path, HEADER + GOOD)
    cohort = read_cohort(path)
    for module, use in (
        ("openpyxl", lambda: read_cohort(table(tmp_path, GOOD, "cohort.xlsx"))),
        ("pandas", lambda: write_cohort(cohort, path)),
        ("pyarrow", lambda: write_cohort(cohort, tmp_path / "cohort.parquet")),
        ("sklearn.model_selection", lambda: split_cohort(staged((9, 9, 9, 9)))),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(MissingDependencyError, match=rf"{module}: pip install 'gtrstaging\[cohort\]'"):
                use()


# -- a case by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"patient_id": ""},
        {"patient_id": " P"},
        {"centre": "NA"},
        {"key_slice": -1},
        {"split": "val"},
        {"covariates": {"age": "61"}},
        {"covariates": {"age": float("nan")}},
        {"covariates": {"stage": "T1"}},
        {"covariates": {"a": True}},
    ],
)
def test_a_case_that_no_table_can_store_is_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        Case(**{"case_id": "1", "patient_id": "P", "image": Path("/x"), **wrong})


def test_splits_and_patients_of_a_cohort(tmp_path):
    cohort = cohorts.clean(tmp_path, patients=6, cases_a_patient=2)
    assert cohort.patients == tuple(f"patient{p}" for p in range(6))
    assert len(cohort.of("train")) == 12
    assert len(cohort.of("test")) == 0
    assert len({hash(case) for case in cohort}) == 12


# -- round trip ----------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12
).map(str.strip).filter(lambda t: t not in ("", "NA", "N/A", "NaN", "nan", "null", "None") and t[0] != "#")  # fmt: skip
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WORD = TEXT.filter(lambda t: not any(c.isdigit() for c in t))
CENTRE = st.text('äé胃Zz =+-@,"', min_size=1).map(str.strip).filter(bool)


@st.composite
def any_cohort(draw):
    names = draw(st.lists(WORD.map(lambda t: "x " + t).map(str.strip), unique=True, max_size=3))
    ids = draw(st.lists(st.text(string.ascii_lowercase + "äß胃 ", min_size=1).map(lambda t: f"c{t}x"),
                        min_size=1, max_size=4, unique_by=str.casefold))  # fmt: skip
    ids = [i for n, i in enumerate(ids) if i.replace("ß", "ss") not in [j.replace("ß", "ss") for j in ids[:n]]]
    return Cohort(
        tuple(
            Case(
                case_id=name,
                patient_id=draw(st.sampled_from(["007", "P1", "é", "1,5", 'quo"ted'])),
                centre=draw(st.none() | CENTRE | st.sampled_from(["=1+1", "'@x", "-"])),
                series=draw(
                    st.none() | st.sampled_from(["3", "3.1", "3.10", "2.25.580528684739689840480168809437574290"])
                ),
                image=Path(draw(st.sampled_from(["/data/ct", "/tmp/NA", "/x/../y/a,b.nii"]))),
                roi=draw(st.none() | st.just(Path("/data/roi.nrrd"))),
                segment=draw(st.none() | st.sampled_from(["1", "tumour", "002"])),
                key_slice=draw(st.none() | st.integers(0, 2000)),
                stage=draw(st.none() | st.sampled_from(list(TStage))),
                split=draw(st.none() | st.sampled_from(["train", "validation", "test"])),
                covariates={n: draw(st.none() | NUMBER | WORD | st.just("007")) for n in names},
            )
            for name in ids
        )
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cohort=any_cohort())
def test_a_written_cohort_is_read_unchanged(tmp_path, kind, cohort):
    write_cohort(cohort, tmp_path / f"there.{kind}")
    back = read_cohort(tmp_path / f"there.{kind}")
    assert back == cohort
    other = tmp_path / f"back.{'parquet' if kind == 'csv' else 'csv'}"
    write_cohort(back, other)
    assert read_cohort(other) == cohort


def test_paths_below_the_table_are_relative_to_it_and_move_with_it(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    case = Case(case_id="1", patient_id="P", image=folder / "ct/1.nii", roi=tmp_path / "roi.nrrd")
    awkward = Case(case_id="2", patient_id="P", image=folder / "NA")
    write_cohort(Cohort((case, awkward)), folder / "cohort.csv")
    written = (folder / "cohort.csv").read_text()
    assert ",ct/1.nii," in written
    assert str(tmp_path / "roi.nrrd") in written
    assert read_cohort(folder / "cohort.csv").cases == (case, awkward)
    folder.rename(tmp_path / "b")
    assert read_cohort(tmp_path / "b" / "cohort.csv").cases[0].image == tmp_path / "b/ct/1.nii"


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = table(tmp_path, HEADER + GOOD)
    cohort = read_cohort(path)

    def full(*arguments, **options):
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        write_cohort(cohort, path)
    assert path.read_text(encoding="utf-8") == HEADER + GOOD
    assert [p.name for p in tmp_path.iterdir()] == ["cohort.csv"]


def test_the_columns_are_those_of_the_row():
    from GTRStagingLib.tables import case_row, headers

    assert set(case_row.CHECKS) == set(headers.COLUMNS) == {*COLUMNS, *OPTIONAL, "exclude"}
    assert set(headers.COLUMNS) <= {field.name for field in fields(case_row.CaseRow)}


# -- splits --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(*[st.integers(14, 60)] * 4),
    fractions=st.sampled_from([(0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.8, 0, 0.2), (0.34, 0.33, 0.33)]),
    seed=st.integers(0, 1000),
    cases=st.integers(1, 3),
)
def test_splits_keep_patients_fractions_and_proportions_of_stages(counts, fractions, seed, cases):
    cohort = staged(counts, cases)
    split = split_cohort(cohort, fractions, seed=seed)
    assert [c.case_id for c in split] == [c.case_id for c in cohort]
    splits_of = {c.patient_id: set() for c in split}
    for case in split:
        splits_of[case.patient_id].add(case.split)
    assert all(len(s) == 1 for s in splits_of.values())
    for name, fraction in zip(("train", "validation", "test"), fractions, strict=True):
        part = split.of(name)
        assert abs(len(part.patients) - fraction * sum(counts)) <= 1.01
        per_stage = Counter(c.stage for c in part)
        for stage, n in zip(TStage, counts, strict=True):
            assert abs(per_stage[stage] / cases - fraction * n) <= 2


def test_a_fourth_fraction_is_calibration_and_leaves_the_test_patients():
    cohort = staged((20, 20, 20, 20), 2)
    four = split_cohort(cohort, (0.5, 0.2, 0.2, 0.1), seed=3)
    assert {name: len(four.of(name).patients) for name in ("train", "validation", "test", "calibration")} == {
        "train": 40, "validation": 16, "test": 16, "calibration": 8
    }  # fmt: skip
    assert set(Counter(case.stage for case in four.of("calibration")).values()) == {4}  # two patients, two cases each
    three = split_cohort(cohort, (0.6, 0.2, 0.2), seed=3)
    assert four.of("test") == three.of("test")
    assert four.of("validation") == three.of("validation")


def test_a_calibration_is_drawn_from_the_patients_of_the_other_centres():
    cohort = staged((20, 20, 20, 20))
    cases = [replace(c, centre="B" if i % 4 == 0 else "A") for i, c in enumerate(cohort)]
    split = split_cohort(Cohort(tuple(cases)), (0.4, 0.2, 0.2, 0.2), test_centres=["B"])
    assert {case.centre for case in split.of("test")} == {"B"}
    assert len(split.of("calibration").patients) == len(split.of("validation").patients) == 15  # a quarter of 60


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_table():
    cohort = staged((20, 20, 20, 20))
    there = {c.case_id: c.split for c in split_cohort(cohort, seed=5)}
    assert {c.case_id: c.split for c in split_cohort(Cohort(cohort.cases[::-1]), seed=5)} == there
    assert {c.case_id: c.split for c in split_cohort(cohort, seed=6)} != there


def test_a_patient_with_several_stages_counts_as_the_highest():
    """If they counted as T1, no split could have T4, which no other patient has."""
    cohort = staged((20, 20, 20, 0), cases_a_patient=2)
    cases = [replace(c, stage=TStage.T4) if c.stage == TStage.T1 and c.case_id.endswith("-1") else c for c in cohort]
    cases += [
        replace(c, case_id=f"o{c.case_id}", patient_id=f"o{c.patient_id}") for c in cohort if c.stage == TStage.T1
    ]
    split = split_cohort(Cohort(tuple(cases)))
    for name in ("train", "validation", "test"):
        assert TStage.T4 in {c.stage for c in split.of(name)}


def test_a_centre_can_be_held_out_for_testing():
    cohort = staged((20, 20, 20, 20), cases_a_patient=2)
    # A patient of both centres is in split test with all cases.
    cases = [replace(c, centre="B") if c.case_id == "0-1" else c for c in cohort]
    split = split_cohort(Cohort(tuple(cases)), (0.6, 0.2, 0.2), test_centres=["B"])
    at_b = {c.patient_id for c in cases if c.centre == "B"}
    assert set(split.of("test").patients) == at_b
    assert "p0" in at_b
    assert len(split.of("validation").patients) == round((80 - 41) * 0.25)
    with pytest.raises(InputError, match=r"Centre 'C' is not in the table; expected one of: A, B"):
        split_cohort(cohort, test_centres=["C"])


@pytest.mark.parametrize(
    ("counts", "fractions", "message"),
    [
        ((2, 20, 20, 20), (0.7, 0.15, 0.15), "T1 has 2"),
        ((4, 4, 4, 4), (0.7, 0.15, 0.15), "test would have 2"),
        ((3, 40, 40, 40), (0.9, 0.05, 0.05), "does not contain every stage"),
        ((20, 20, 20, 20), (0.7, 0.2, 0.2), "with sum 1"),
        ((20, 20, 20, 20), (1.2, -0.1, -0.1), "with sum 1"),
        ((20, 20, 20, 20), (math.nan, 0.5, 0.5), "with sum 1"),
        ((20, 20, 20, 20), (0.5, math.nan, 0.5), "with sum 1"),
        ((20, 20, 20, 20), (math.inf, 0.5, 0.5), "with sum 1"),
        ((20, 20, 20, 20), (0, 0.5, 0.5), "train above 0"),
        ((20, 20, 20, 20), (0.5, 0.5), "expected three or four numbers"),
        ((20, 20, 20, 20), (0.5, 0.1, 0.1, 0.1, 0.2), "expected three or four numbers"),
    ],
)
def test_too_few_patients_and_odd_fractions_are_errors(counts, fractions, message):
    with pytest.raises(InputError, match=message):
        split_cohort(staged(counts), fractions)


def test_cases_without_a_stage_cannot_be_split():
    cohort = staged((9, 9, 9, 9))
    cases = (replace(cohort.cases[0], stage=None), *cohort.cases[1:])
    with pytest.raises(InputError, match=r"1 case has no stage \(0-0\)"):
        split_cohort(Cohort(cases))


@pytest.mark.parametrize("k", [2, 5])
def test_folds_are_by_patient_and_every_case_is_validated_once(k):
    cohort = staged((10, 10, 15, 20), cases_a_patient=2)
    seen = Counter()
    for train, validation in folds(cohort, k, seed=1):
        assert not set(train.patients) & set(validation.patients)
        assert len(train) + len(validation) == len(cohort)
        assert {c.split for c in train} == {"train"}
        assert {c.split for c in validation} == {"validation"}
        assert set(TStage) == {c.stage for c in validation}
        seen.update(c.case_id for c in validation)
    assert seen == Counter(c.case_id for c in cohort)


def test_folds_refuse_split_test_and_too_few_patients():
    cohort = staged((9, 9, 9, 4))
    with pytest.raises(InputError, match="T4 has 4"):
        next(folds(cohort, 5))
    with pytest.raises(InputError, match="at least 2"):
        next(folds(cohort, 1))
    held = (replace(cohort.cases[0], split="test"), *cohort.cases[1:])
    with pytest.raises(InputError, match="1 case is in split test"):
        next(folds(Cohort(held), 2))
