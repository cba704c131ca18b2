"""The report as a page, and the folder of outputs: whole or not at all."""

import base64
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
from helpers import results
from helpers.markup import Page

import GTRStagingLib
from GTRStagingLib.errors import Cancelled, InputError, MissingDependencyError, StagingError
from GTRStagingLib.imaging.geometry import same_grid
from GTRStagingLib.model.cells import CellGrid
from GTRStagingLib.model.recipe import GTR, PAPER, RELEASED
from GTRStagingLib.nomogram import page as nomogram_page
from GTRStagingLib.nomogram.nomogram import PUBLISHED, REFERENCE, load
from GTRStagingLib.results import overlay, words
from GTRStagingLib.results.outputs import OUTPUTS, write_outputs
from GTRStagingLib.results.record import schema, to_json
from GTRStagingLib.results.report import html, recipe_in_words
from GTRStagingLib.stages import RESEARCH_USE_ONLY

A_PICTURE = b"\x89PNG, as far as the page is concerned"


def page_of(result, **options):
    return Page(html(result, A_PICTURE, **options))


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", results.ALL)
def test_the_page_is_whole_self_contained_and_accessible(case):
    source = html(results.ALL[case](), A_PICTURE, include_phi=True)
    page = Page(source)
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert not page.all("script")
    assert not page.all("link")
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", source)
    image = page.all("img")[0]
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == A_PICTURE
    assert "axial CT slice" in image["alt"]
    assert all(th["scope"] in ("row", "col") for th in page.all("th"))
    captions = len(page.all("caption")) + sum("aria-labelledby" in table for table in page.all("table"))
    assert captions == len(page.all("table"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert all(attrs["aria-labelledby"] in ids for _, attrs in page.tags if "aria-labelledby" in attrs)
    assert len(page.all("h1")) == 1
    assert "@media print" in source
    assert RESEARCH_USE_ONLY in page.words


def test_it_reads_in_the_order_of_a_clinician():
    words = page_of(results.with_roi(), include_phi=True).words
    order = ["Research use only", "UNTRAINED MODEL", "Predicted T stage", "Mean probabilities", "Warnings",
             "Attention of the model", "Agreement with the ROI", "Method", "Provenance", "Identifiers"]  # fmt: skip
    places = [words.index(text) for text in order]
    assert places == sorted(places)


def test_unlike_stands_beside_the_stage_in_its_size():
    source = html(results.unlike(), A_PICTURE)
    assert '<p class="stage unlike">UNLIKE THE TRAINING</p>' in source
    words_ = Page(source).words
    assert "farther from them than 99 % of the held-out patients" in words_  # 99.75
    assert "noise of 34 HU; training 8.1 to 16.7 HU" in words_
    assert "at most 5 % are called unusual or unlike" in words_
    for verdict in ("usual", "unusual"):
        other = html(results.judged(verdict), A_PICTURE)
        assert "stage unlike" not in other
        assert f"{verdict} for the training" in other
    assert "likeness to the training not known" in page_of(results.with_roi()).words


def test_usual_by_some_parts_only_is_not_shown_as_good():
    partly = results.judged("usual", "without HU and millimetres, only the picture and the features were compared")
    assert '<p class="notice good" role="note">This case is like' in html(results.judged("usual"), A_PICTURE)
    assert '<p class="notice open" role="note">This case is like' in html(partly, A_PICTURE)


@pytest.mark.parametrize(
    ("percentile", "words_"),
    [(99.75, "than 99 % of the"), (99.9999, "than 99 % of the"), (100.0, "than all"), (0.0, "than 0 % of the")],
)
def test_a_rank_is_rounded_down(percentile, words_):
    likeness = replace(results.judged("unusual").familiarity, percentile=percentile)
    assert f"farther from them {words_} held-out patients" in words.likeness_in_words(likeness)


def test_the_vote_can_be_read_slice_by_slice():
    page = page_of(results.split_vote())
    assert ["one below (−1)", "T2", "0.100", "0.500", "0.300", "0.100"] in page.rows
    assert ["key slice 3 (S −388.0 mm)", "T3", "0.050", "0.200", "0.600", "0.150"] in page.rows
    assert ["Mean", "T3", "0.083", "0.267", "0.450", "0.200"] in page.rows
    assert "2 of 3 slices" in page.texts
    assert results.split_vote().prediction.rule in page.words
    bars = [float(rect["width"]) for rect in page.all("rect") if rect["class"] == "bar-value"]
    assert bars == pytest.approx([8.33, 26.67, 45, 20], abs=0.01)


def test_agreement_has_units_and_baselines():
    result = results.with_roi()
    cut = result.agreement.at_threshold
    page = page_of(result)
    assert ["Measure", "At least 0.50 of the maximum"] in page.rows
    assert ["Dice", f"{cut.dice:.3f}"] in page.rows
    assert ["Chance Dice", f"{cut.chance_dice:.3f}"] in page.rows
    assert ["Dice of a centred blob", f"{cut.blob_dice:.3f}"] in page.rows
    assert ["HD95 (outlines)", f"{cut.hd95_mm:.1f} mm"] in page.rows
    assert ["Area of the ROI", f"{result.agreement.roi_area_mm2:,.0f} mm²"] in page.rows
    assert words.region_in_words(result.agreement) in page.words
    assert words.baselines_in_words(result.agreement, "the body's section") in page.words


def test_otsus_threshold_is_in_the_record_alone():
    """It fails on maps with heavy tails, so the page does not show it beside the chosen threshold."""
    result = results.with_roi()
    assert "Otsu" not in page_of(result).words
    assert to_json(result)["agreement"]["otsu"]["dice"] == result.agreement.at_otsu.dice


@pytest.mark.parametrize(
    ("check", "kind", "shown_text"),
    [
        (None, "notice open", "This map has not been checked for this model."),
        (results.CHECKED, "notice good", "The map of this model passed its check (Dice 0.61, chance 0.02)."),
        ({**results.CHECKED, "verdict": "failed"}, "notice bad", "FAILED"),
        ({**results.CHECKED, "method": "layercam"}, "notice open", "the check used maps by 'layercam'"),
    ],
)
def test_the_check_of_the_map_is_shown_beside_it(check, kind, shown_text):
    result = results.split_vote()
    page = page_of(replace(result, model=replace(result.model, check=check)))
    assert {"class": kind, "role": "note"} in page.all("p")
    places = [page.words.index(text) for text in ("Attention of the model", shown_text, "The key slice")]
    assert places == sorted(places)


def test_two_maps_are_shown_each_with_its_sentence():
    result = results.with_roi()
    coarse = replace(result.attention, method="gradcam")
    fine = replace(result.attention, method="fine", rows=CellGrid(4.0, 0.0), columns=CellGrid(4.0, 0.0))
    page = page_of(replace(result, attention=fine, comparison=coarse))
    _, *pair = page.all("img")
    assert [image["alt"] for image in pair] == [
        "The whole key slice: attention for T2 (fine map)".replace("T2", str(fine.target)),
        "The whole key slice: attention for T2 (Grad-CAM)".replace("T2", str(fine.target)),
    ]
    for image, one in zip(pair, (fine, coarse), strict=True):
        shown = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert shown == overlay.small_png(replace(result, attention=fine), one)
        assert words.map_in_words(one, spacing_known=True) in page.words
    assert len(page_of(replace(result, comparison=None)).all("img")) == 1


@pytest.mark.parametrize("method", ["layercam", "gradcam++", "eigencam"])
def test_a_map_of_no_stage_is_nowhere_called_the_attention_for_one(method, tmp_path):
    result = results.split_vote()
    result = replace(result, attention=replace(result.attention, method=method), comparison=None)
    name = words.map_name(result.attention)
    assert name.endswith("for every stage)")
    page = page_of(result)
    assert name in page.all("img")[0]["alt"]
    volume = sitk.ReadImage(str(write_outputs(result, tmp_path)["attention.nrrd"]))
    assert volume.GetMetaData("content").startswith(f"{name}, raw")
    for shown_text in (page.words, page.all("img")[0]["alt"], volume.GetMetaData("content")):
        assert f"attention for {result.attention.target}" not in shown_text
    assert f"{words.METHOD_NAMES[method]} for " not in page.words


def test_slices_without_a_map_are_counted_apart_from_empty_ones():
    alt = page_of(results.not_mapped(results.split_vote(), 0, 2)).all("img")[0]["alt"]
    assert "No map was computed for 2 of 3." in alt
    assert "empty" not in alt
    assert "The map is empty in 1 of 3." in page_of(results.without_attention(results.split_vote(), 0)).words


def test_the_sweep_is_drawn_to_scale():
    known = results.with_roi()
    cuts = [replace(cut, mean_mask_dice=0.9 - 0.4 * cut.threshold) for cut in known.agreement.sweep]
    agreement = replace(known.agreement, sweep=tuple(cuts))
    page = page_of(replace(known, agreement=agreement))
    chance, disc, mask, dice = (
        [tuple(map(float, p.split(","))) for p in line["points"].split()] for line in page.all("polyline")
    )
    ticks = [float(line["y1"]) for line in page.all("line") if line.get("stroke") == "#d5dbe0"]
    labels = [float(text) for text in page.texts if re.fullmatch(r"0\.\d\d|1\.00", text)][: len(ticks)]
    assert labels[0] == 0
    scale = (ticks[0] - ticks[-1]) / labels[-1]
    for points, values in (
        (dice, [cut.dice for cut in agreement.sweep]),
        (chance, [cut.chance_dice for cut in agreement.sweep]),
        (disc, [cut.blob_dice for cut in agreement.sweep]),
        (mask, [cut.mean_mask_dice for cut in agreement.sweep]),
    ):
        assert [x for x, _ in points] == pytest.approx([44 + 364 * cut.threshold for cut in agreement.sweep], abs=0.06)
        assert [(ticks[0] - y) / scale for _, y in points] == pytest.approx(values, abs=0.002)
    assert all(24 <= y <= 196 for _, y in dice + chance + disc + mask)
    strokes = [(line["stroke"], line.get("stroke-dasharray")) for line in page.all("polyline")]
    legend = [
        (line["stroke"], line.get("stroke-dasharray"))
        for line in page.all("line")
        if line["x2"] in ("70", "170", "280")
    ]
    assert set(strokes) < set(legend)
    assert {"the map", "chance", "centred blob", "mean mask"} <= set(page.texts)


def test_the_sweep_has_no_line_for_a_mean_mask_that_is_not_known():
    page = page_of(results.with_roi())
    assert len(page.all("polyline")) == 3
    assert "mean mask" not in page.texts


def test_undefined_values_have_a_reason():
    page = page_of(results.roi_elsewhere())
    undefined = "not defined: the ROI has no pixel in the key slice"
    assert ["Dice", undefined] in page.rows
    assert ["Maximum lies in the ROI (pointing game)", undefined] in page.rows
    assert not page.all("polyline")
    assert "nan" not in page.words.lower().split()

    picture = page_of(results.a_picture())
    assert ["HD95 (outlines)", "not defined: the input has no physical pixel size"] in picture.rows
    assert ["Position", "not defined: the input has no spacing"] in picture.rows
    assert picture.all("polyline")  # Dice needs no millimetres
    assert "at random in the slice" in picture.words

    assert "Not measured: no ROI was given." in page_of(results.without_roi()).words


def test_only_models_with_a_warning_show_one():
    assert page_of(results.with_roi()).words.count("UNTRAINED: its weights are random") == 3  # banner, list, foot
    demonstration = replace(results.with_roi().model, status="demonstration")
    assert "DEMONSTRATION MODEL" in page_of(replace(results.with_roi(), model=demonstration)).words
    leaking = replace(results.split_vote(), model=replace(results.split_vote().model, leaking=True))
    assert "LEAKING COHORT" in page_of(leaking).words
    words = page_of(results.split_vote()).words
    assert "UNTRAINED" not in words
    assert "LEAKING" not in words
    assert "DEMONSTRATION" not in words


def test_every_warning_is_listed():
    texts = page_of(replace(results.split_vote(), warnings=("First thing.", "Second thing."))).texts
    assert {"First thing.", "Second thing."} <= set(texts)
    assert "Warnings" not in page_of(results.split_vote()).texts


def test_a_vote_against_the_mean_probability_is_pointed_out():
    rows = np.array([[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.0, 0.0]])
    words = page_of(replace(results.with_roi(), prediction=results.vote((-1, 0, 1), rows))).words
    assert "T2, which differs from the vote" in words
    assert "differs from the vote" not in page_of(results.split_vote()).words


def test_names_from_files_are_text_and_never_markup():
    evil = "<script>alert(1)</script><img src=x>"
    result = replace(results.with_roi(), segment=evil, case_id=evil, warnings=(evil,))
    source = html(result, A_PICTURE)
    assert "<script" not in source
    assert sum(evil in text for text in Page(source).texts) == 4  # title, case, warning, segment
    assert all(image["src"].startswith("data:image/png;base64,") for image in Page(source).all("img"))


def test_identifiers_only_on_request():
    plain = html(results.with_roi(), A_PICTURE)
    assert not any(value in plain for value in results.IDENTIFIERS.values())
    assert "Identifiers" not in Page(plain).words
    page = page_of(results.with_roi(), include_phi=True)
    for name, value in results.IDENTIFIERS.items():
        assert [name, value] in page.rows


def test_the_crop_is_described():
    assert ["Detail crop", "at the image's centre"] in page_of(results.with_roi()).rows
    assert ["Detail crop", "none: the network has no centre crop"] in page_of(results.a_picture()).rows


def test_recipes_in_words():
    assert recipe_in_words(GTR) == (
        "HU clipped to −1024 … 1024; window level 50, width 350 (−125 … 225 HU); no N4; resampled to 1 mm in plane "
        "over a square field, resized to 224×224; each slice to mean 0 and standard deviation 1."
    )
    assert "N4 bias-field correction" in recipe_in_words(PAPER)
    assert "rounded to 8 bits; shorter side resized to 224 pixels, aspect kept; ImageNet" in recipe_in_words(RELEASED)


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "GTRStagingLib.results.overlay", raising=False)
    monkeypatch.delattr(GTRStagingLib.results, "overlay", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"{missing}.*pip install 'gtrstaging\[report\]'"):
        write_outputs(results.with_roi(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- the nomogram in it --------------------------------------------------------------------------------------------

COVARIATES = {"radscore": 0.0, "size": REFERENCE, "differentiation": REFERENCE, "lauren": REFERENCE}
KEPT = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The policy of a page that runs nothing."""


def policy_of(page):
    (policy,) = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    return policy


def test_the_nomogram_is_shown_beside_the_networks_stage():
    page = page_of(results.split_vote(), nomogram=load(PUBLISHED), values=COVARIATES)
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["Result"] == ["T3", "T3"]
    # The network's mean, and Table 3 at its reference.
    assert rows["T1"] == ["8.3 %", "3.9 %"]
    assert rows["T4"] == ["20.0 %", "22.4 %"]
    assert page.texts.count("2 of 3 slices") == 1  # the stage of the report is the network's, as without a nomogram
    words = page_of(results.with_roi(), nomogram=load(PUBLISHED)).words
    places = [
        words.index(text) for text in ("Mean probabilities", "Nomogram", "compared with intestinal", "Attention shows")
    ]
    assert places == sorted(places)
    assert "Missing: Rad-score, Tumour size, Differentiation, Lauren type." in words


def test_only_a_report_with_a_nomogram_runs_anything():
    alone, both = page_of(results.with_roi()), page_of(results.with_roi(), nomogram=load(PUBLISHED))
    assert (policy_of(alone), alone.all("script"), "Nomogram" in alone.words) == (KEPT, [], False)
    assert policy_of(both) == f"{KEPT}; script-src '{nomogram_page.script_hash()}'"
    assert [attrs.get("type") for attrs in both.all("script")] == ["application/json", None]
    assert html(results.with_roi(), A_PICTURE, nomogram=load(PUBLISHED)).count(nomogram_page.script()) == 1


def test_values_without_a_nomogram_are_refused():
    with pytest.raises(InputError, match="Values of radscore without a nomogram. `values` requires `nomogram`."):
        html(results.with_roi(), A_PICTURE, values={"radscore": 1.0})


def test_the_record_is_the_same_with_a_nomogram_and_without(tmp_path):
    alone = write_outputs(results.with_roi(), tmp_path / "alone")
    both = write_outputs(results.with_roi(), tmp_path / "both", nomogram=load(PUBLISHED), values=COVARIATES)
    assert [name for name in OUTPUTS if alone[name].read_bytes() != both[name].read_bytes()] == ["report.html"]
    assert "Highest probability: T3 (T1 3.9 %, " in both["report.html"].read_text()


# -- the folder ----------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_all_outputs_are_written_and_are_of_one_case(tmp_path):
    result = results.with_roi()
    paths = write_outputs(result, tmp_path / "new" / "case")
    assert list(paths) == list(OUTPUTS)
    assert sorted(p.name for p in (tmp_path / "new" / "case").iterdir()) == sorted(OUTPUTS)
    record = json.loads(paths["result.json"].read_text())
    jsonschema.Draft202012Validator(schema()).validate(record)
    picture = paths["overlay.png"].read_bytes()
    assert picture == overlay.png(result)
    assert base64.b64encode(picture).decode() in paths["report.html"].read_text()


def test_the_volume_has_the_geometry_of_the_slices_and_a_description(tmp_path):
    result = results.with_roi()
    volume = sitk.ReadImage(str(write_outputs(result, tmp_path)["attention.nrrd"]))
    assert same_grid(volume, result.attention_volume)
    assert np.array_equal(sitk.GetArrayFromImage(volume), sitk.GetArrayFromImage(result.attention_volume))
    assert volume.GetMetaData("research_use_only") == RESEARCH_USE_ONLY
    assert "UNTRAINED" in volume.GetMetaData("warning")
    trained = sitk.ReadImage(str(write_outputs(results.split_vote(), tmp_path)["attention.nrrd"]))
    assert not trained.HasMetaDataKey("warning")


@pytest.mark.smoke
def test_no_output_names_the_patient_unless_asked(tmp_path):
    write_outputs(results.with_roi(), tmp_path)
    for name in OUTPUTS:
        content = (tmp_path / name).read_bytes()
        assert not any(value.encode() in content for value in results.IDENTIFIERS.values())
    write_outputs(results.with_roi(), tmp_path, include_phi=True)
    assert all(b"MRN-4711" in (tmp_path / name).read_bytes() for name in ("result.json", "report.html"))


OLD = {name: f"older {name}".encode() for name in OUTPUTS}


@pytest.fixture
def with_older_results(tmp_path):
    for name, content in OLD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def contents(folder):
    return {path.name: None if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("interruption", "at"), [*((KeyboardInterrupt, name) for name in OUTPUTS), (Cancelled, OUTPUTS[-1])]
)
def test_an_interruption_leaves_the_folder_as_it_was(with_older_results, interruption, at):
    def interrupt(step):
        if step == at:
            raise interruption

    with pytest.raises(interruption):
        write_outputs(results.with_roi(), with_older_results, progress=interrupt)
    assert contents(with_older_results) == OLD


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_files_that_cannot_be_written_in_full_are_not_there_at_all(with_older_results, tmp_path_factory):
    """The limit breaks each of the four in turn: the features make result.json the longest."""
    from helpers.limits import files_up_to

    features = np.random.default_rng(0).normal(size=(3, 40_000)).astype(np.float32)
    result = replace(results.with_roi(), features=features)
    empty, whole = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("whole")
    begun = []
    write_outputs(result, whole, progress=begun.append)
    sizes = [(whole / name).stat().st_size for name in OUTPUTS]
    assert begun == list(OUTPUTS)
    assert sizes == sorted(sizes)
    for broken, size in enumerate(sizes):
        for folder in (with_older_results, empty):
            begun.clear()
            with files_up_to(size - 1), pytest.raises(StagingError, match="MB free") as error:
                write_outputs(result, folder, progress=begun.append)
            assert str(folder) in str(error.value)
            assert begun == list(OUTPUTS[: broken + 1])
    assert contents(with_older_results) == OLD
    assert contents(empty) == {}


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_full_disk_leaves_the_older_results_alone(tmp_path, share):
    whole = write_outputs(results.with_roi(), tmp_path / "whole")
    needed = sum(path.stat().st_size for path in whole.values())
    disk = tmp_path / "disk"
    disk.mkdir()
    size = 32768 + int(share * needed)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        for name, content in OLD.items():
            (disk / name).write_bytes(content)
        with pytest.raises(StagingError, match=r"(?s)disk.*MB free.*Free some space"):
            write_outputs(results.with_roi(), disk)
        assert contents(disk) == OLD
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StagingError, match=r"file/out: .*choose another folder"):
        write_outputs(results.with_roi(), tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_folder_in_the_place_of_a_file_leaves_all_as_it_was(with_older_results):
    (with_older_results / "report.html").unlink()
    (with_older_results / "report.html").mkdir()
    others = {name: OLD[name] for name in OUTPUTS if name != "report.html"}
    with pytest.raises(StagingError, match=r"report\.html is a folder; expected a file"):
        write_outputs(results.with_roi(), with_older_results)
    assert contents(with_older_results) == {**others, "report.html": None}


def test_a_move_that_fails_leaves_no_file_that_vouches_for_the_rest(with_older_results, monkeypatch):
    def refuse(path, target):
        if path.name == "report.html":
            raise PermissionError(13, "Permission denied")
        path.rename(target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StagingError, match="Permission denied"):
        write_outputs(results.with_roi(), with_older_results)
    assert sorted(contents(with_older_results)) == ["attention.nrrd", "overlay.png", "report.html"]


@pytest.mark.parametrize("at", OUTPUTS)
def test_folders_that_were_made_for_nothing_are_removed(tmp_path, at):
    def interrupt(step):
        if step == at:
            raise Cancelled

    (tmp_path / "kept").mkdir()
    for out in ("new", "kept/new/case"):
        with pytest.raises(Cancelled):
            write_outputs(results.with_roi(), tmp_path / out, progress=interrupt)
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_damaged_stream_is_not_delivered(tmp_path, monkeypatch):
    written = sitk.WriteImage

    def damaged(image, name, **options):
        written(image, name, **options)
        with Path(name).open("ab") as stream:  # behind the voxels, where ITK does not look: a block of no known type
            stream.write(gzip.compress(b"")[:10] + b"\xff")

    monkeypatch.setattr(sitk, "WriteImage", damaged)
    with pytest.raises(StagingError, match=r"attention\.nrrd cannot be written or read back"):
        write_outputs(results.with_roi(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are any bytes on Linux only")
def test_a_folder_with_a_name_that_is_not_utf_8_is_refused(tmp_path):
    """ITK would end the whole process: hence a process of its own."""
    (tmp_path / "result.pickle").write_bytes(pickle.dumps(results.without_roi()))
    program = (
        "import os, pickle, sys\nfrom pathlib import Path\n"
        "from GTRStagingLib.errors import InputError\nfrom GTRStagingLib.results.outputs import write_outputs\n"
        "os.chdir(sys.argv[1])\nresult = pickle.loads(Path('result.pickle').read_bytes())\n"
        "try: write_outputs(result, Path(os.fsdecode(b'\\xd6\\xd7')))\n"
        "except InputError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert r"\xd6\xd7 is not valid UTF-8; expected a path in UTF-8. Rename" in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["result.pickle"]
