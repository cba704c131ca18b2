"""The files of a profile: what they contain, what the page shows, and that they are written whole or not at all."""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import ct_like
from helpers.results import IDENTIFIERS, a_small_model, box_on, scan_of

from GTRStagingLib.errors import OutputError
from GTRStagingLib.model.backbone import ready
from GTRStagingLib.results import profile_outputs
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.staging.familiarity import Familiarity
from GTRStagingLib.staging.scanning import profile_scan
from GTRStagingLib.staging.voting import vote


@pytest.fixture(scope="module")
def found():
    """Nine slices of two stages, the key slice in the middle, one refused and one unlike."""
    ct = ct_like()
    plain = profile_scan(scan_of(ct), ready(a_small_model()), tumour=box_on(ct))
    stages = (TStage.T2, TStage.T3, TStage.T3, TStage.T3, TStage.T3, TStage.T4, TStage.T4, TStage.T4, TStage.T4)
    slices = []
    for one, stage in zip(plain.slices, stages, strict=True):
        rows = np.full((1, 4), 0.1)
        rows[0, stage] = 0.7
        likeness = Familiarity("usual", 0.1, 62.5, (), "")
        slices.append(replace(one, prediction=vote([0], rows), familiarity=likeness))
    slices[-1] = replace(slices[-1], prediction=None, familiarity=None, refused="Slice 8 is constant <b>here</b>")
    slices[0] = replace(slices[0], familiarity=Familiarity("unlike", 4.0, 100.0, ("air", "=1+1"), ""))
    return replace(plain, slices=tuple(slices))


def test_the_table_has_a_row_for_every_slice(found):
    rows = list(csv.DictReader(io.StringIO(profile_outputs.table(found))))
    assert [row["slice"] for row in rows] == [str(i) for i in range(9)]
    assert [row["own_stage"] for row in rows] == ["T2", "T3", "T3", "T3", "T3", "T4", "T4", "T4", ""]
    assert [row["key_slice"] for row in rows].index("yes") == found.key_slice.index == 3
    assert float(rows[1]["p_T3"]) == 0.7
    assert rows[0]["familiarity_reasons"] == "air; =1+1"
    assert (rows[8]["p_T1"], rows[8]["vote"], rows[8]["refused"]) == ("", "", "Slice 8 is constant <b>here</b>")
    assert [float(row["roi_area_mm2"]) > 0 for row in rows] == [2 < i < 6 for i in range(9)]


def test_the_record_is_strict_and_counts_the_stability(found):
    record = json.loads(json.dumps(profile_outputs.to_json(found), allow_nan=False))
    assert record["stability"] == {
        "step_mm": 4.0,
        "up": {"stays_mm": 4.0, "asked_mm": 16.0, "at_least": False},
        "down": {"stays_mm": 8.0, "asked_mm": 12.0, "at_least": False},
    }
    assert record["in_words"].startswith(
        "T3 holds for 4.0 mm towards the head and changes within 8.0 mm; it holds for 8"
    )
    assert record["research_use_only"] == RESEARCH_USE_ONLY
    assert record["slices"][8]["refused"]
    assert not any(text in json.dumps(record) for text in IDENTIFIERS.values())


def test_the_page_shows_plot_table_and_warnings(found):
    page = profile_outputs.html(found)
    assert page.count("<svg") == 1
    assert page.count("<tr class=") == 9
    assert page.count(' holds"') == 4
    assert "UNLIKE" in page
    assert RESEARCH_USE_ONLY in page
    assert "UNTRAINED MODEL" in page
    assert "refused: Slice 8 is constant &lt;b&gt;here&lt;/b&gt;" in page
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", page)
    assert not any(text in page for text in IDENTIFIERS.values())


def test_equal_profiles_give_equal_pages(found):
    assert profile_outputs.html(found) == profile_outputs.html(found)


def test_without_a_key_slice_the_page_states_that_nothing_is_known(found):
    without = replace(found, key_slice=None)
    page = profile_outputs.html(without)
    assert "No key slice was given, or it is not among the asked slices" in page
    assert profile_outputs.to_json(without)["stability"] is None


def test_a_refused_key_slice_is_shown_with_its_reason(found):
    refused = replace(found, key_slice=replace(found.key_slice, index=8))
    assert profile_outputs.in_words(refused) == (
        "not known: the key slice cannot be staged. Slice 8 is constant <b>here</b>"
    )
    assert profile_outputs.to_json(refused)["stage"] is None


def test_a_profile_without_an_roi_has_no_panel_for_it(found):
    plain = replace(found, slices=tuple(replace(one, roi_area_mm2=None, attention_inside=None) for one in found.slices))
    assert "Attention in it" in profile_outputs.html(found)
    assert "Attention in it" not in profile_outputs.html(plain)


def test_a_stage_without_a_reference_is_drawn_as_not_known(found):
    unknown = Familiarity("not known", None, None, (), "")
    plain = replace(found, slices=tuple(replace(one, familiarity=unknown) for one in found.slices[:-1]))
    assert "not known" in profile_outputs.html(plain)


def test_the_files_are_written_whole_or_not_at_all(found, tmp_path):
    written = profile_outputs.write_profile(found, tmp_path / "a" / "b")
    assert list(written) == list(profile_outputs.PROFILE_OUTPUTS)
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == sorted(written)

    def fail(name):
        if name == "profile.json":
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        profile_outputs.write_profile(found, tmp_path / "c", progress=fail)
    assert not (tmp_path / "c").exists()
