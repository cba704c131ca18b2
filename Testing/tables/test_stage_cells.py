"""Texts of cells that are T stages, and those that are not."""

import pytest

from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.stage_cells import CODES, code_of, coded_stage, is_like_a_stage, named_stage, possible_codes


@pytest.mark.parametrize(
    ("text", "stage"),
    [("T1", "T1"), ("t4", "T4"), ("pT3", "T3"), ("cT2", "T2"), ("uT3", "T3"), ("usT3", "T3"), ("ypT3", "T3"),
     ("ycT1", "T1"), ("rT3", "T3"), ("rpT4b", "T4"), ("aT2", "T2"), ("T1a", "T1"), ("pT1b", "T1"), ("T4a", "T4"),
     ("Ｔ３", "T3")],
)  # fmt: skip
def test_names_with_prefixes_and_subdivisions_are_read(text, stage):
    assert named_stage(text) is TStage[stage]


@pytest.mark.parametrize(
    "text",
    ["", "3", "3.0", "T", "T0", "T5", "T10", "Tis", "TX", "T3?", "?T3", "T2-3", "T2/T3", ">T2", "T3N1", "T 3", "T3 (?)",
     "T2a", "T2b", "T3a", "4a", "III", "xT3", "T3期", "T3.0",
     "T٣", "T৩", "T²", "T₃", "T③"],
)  # fmt: skip
def test_all_other_texts_are_no_stage(text):
    assert named_stage(text) is None


@pytest.mark.parametrize("text", ["T3?", "~T3", "T2-3", ">T2", "uT3?", "T3N1", "Tis", "T0", "TX", "T2b", "T 3", "T3"])
def test_texts_that_begin_as_a_stage_are_alike(text):
    assert is_like_a_stage(text)


@pytest.mark.parametrize("text", ["", "3", "diffuse", "T10", "tumour", "Trans", "well", "TNM"])
def test_other_texts_are_not_alike(text):
    assert not is_like_a_stage(text)


@pytest.mark.parametrize(
    ("text", "code", "fault"),
    [("T3?", "T", "^uncertain"), ("T3N1", "T", "^uncertain, or more than a stage"), ("Tis", "T", "^not one of the"),
     ("T0", "T", "^not one of the"), ("T2b", "T", "T2b was the T3 of today"), ("3", "T", "^expected T1 to T4"),
     ("4", "0-3", "^expected whole numbers from 0 to 3"), ("0", "1-4", "^expected whole numbers from 1 to 4"),
     ("-1", "0-3", "^expected"), ("3.5", "1-4", "^expected"), ("T3", "1-4", "^expected"), ("T3?", "1-4", "^expected")],
)  # fmt: skip
def test_the_fault_is_named(text, code, fault):
    with pytest.raises(ValueError, match=fault):
        coded_stage(text, code)


def test_a_number_is_another_stage_in_another_code():
    assert [str(coded_stage(text, "1-4")) for text in ("1", "2", "3.0", "4")] == ["T1", "T2", "T3", "T4"]
    assert [str(coded_stage(text, "0-3")) for text in ("0", "1", "2.0", "3")] == ["T1", "T2", "T3", "T4"]


def test_numbers_in_full_width_are_those_of_ascii_and_no_others():
    assert str(coded_stage("３", "1-4")) == "T3"
    assert str(coded_stage("３．０", "0-3")) == "T4"
    for text in ("٣", "३", "³", "③", "三"):
        assert possible_codes({text}) == []


def test_a_code_is_found_only_if_no_other_fits():
    assert code_of({"0"}) == "0-3"
    assert code_of({"4", "1"}) == "1-4"
    assert code_of({"pT3", "T1"}) == "T"
    assert code_of(set()) is None
    for texts in ({"1", "2", "3"}, {"2"}, {"0", "4"}, {"T1", "3"}, {"1", "5"}):
        assert code_of(texts) is None
    assert possible_codes({"1", "3"}) == ["1-4", "0-3"]
    assert possible_codes({"0", "4"}) == []
    assert set(possible_codes({"T1"})) < set(CODES)
