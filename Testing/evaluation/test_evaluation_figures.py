"""Figures of an evaluation: what they show, and that they can be read in a column and with any colour vision."""

import dataclasses
import io
import re

import numpy as np
import pytest
from helpers import colour_vision
from helpers.figure_checks import faults, shown_texts
from helpers.golden_data import ROWS
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from GTRStagingLib.evaluation import figure_panels, figure_style
from GTRStagingLib.evaluation.evaluate import evaluate
from GTRStagingLib.evaluation.figures import figures
from GTRStagingLib.evaluation.flow import Counts, FlowStep, PatientFlow
from GTRStagingLib.evaluation.predictions import read_predictions
from GTRStagingLib.support.figures import COLUMN, DPI, figure_bytes, new_figure

COHORTS = {"North": "Internal test", "South": "External test 1", "West": "External test 2"}
STAGES = ("T1", "T2", "T3", "T4")
FOUR = [f"p_{stage}" for stage in STAGES]
PATIENTS = sorted(set(ROWS["patient_id"]))
TABLE = ROWS[ROWS["patient_id"].isin(PATIENTS[::2])].assign(
    cohort=ROWS["centre"].map(COHORTS),
    blob_dice=(ROWS["dice"] - 0.2).clip(0).round(3),
    mean_mask_dice=(ROWS["dice"] - 0.1).clip(0).round(3),
)
"""Rows of half of the patients, in three cohorts, with two readers in two phases, EUS and a second model."""

BY_COHORT = ("roc", "confusion", "calibration", "decision_curves", "attention")


def evaluated(rows, folder, **how):
    rows.to_csv(folder / "t.csv", index=False)
    return evaluate(read_predictions(folder / "t.csv"), **how)


def flow_of(found, excluded):
    """Return a flow with the rows of the cohorts, and of each step that leaves some out."""
    parts = {part.name: len(part.predictions) for part in found.cohorts.parts}
    used = sum(parts.values())
    gone = [FlowStep(text, n, patients, {next(iter(parts)): Counts(n, patients)}, excluded=True)
            for text, n, patients in excluded]  # fmt: skip
    first = FlowStep("read", used + sum(n for _, n, _ in excluded), 130)
    last = FlowStep("evaluated", used, 120, {name: Counts(n, n) for name, n in parts.items()})
    return PatientFlow((first, *gone, last))


def with_bands(decisions, names=("model", "eus")):
    """Return decisions with bands of ± 0.05 around some lines, and no others."""
    curves = []
    for curve in decisions.curves:
        again = dataclasses.replace(curve)
        around = {name: np.array(curve.net_benefit[name])[:, None] + [-0.05, 0.05] for name in names}
        object.__setattr__(again, "bands", around)
        curves.append(again)
    return dataclasses.replace(decisions, curves=tuple(curves))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    plain = evaluated(TABLE, tmp_path_factory.mktemp("t"), cohort_column="cohort", strata=["sex"])
    parts = tuple(dataclasses.replace(p, decisions=with_bands(p.decisions)) for p in plain.cohorts.parts)
    return dataclasses.replace(
        plain,
        decisions=with_bands(plain.decisions),
        cohorts=dataclasses.replace(plain.cohorts, parts=parts),
        flow=flow_of(plain, [("no true stage", 7, 5), ("the case failed", 3, 3)]),
    )


@pytest.fixture(scope="module")
def drawn(found):
    return figures(found)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Evaluate five cohorts with difficult names, one of a single row and one of a single stage, and long levels."""
    rows = TABLE[TABLE["patient_id"].isin(PATIENTS[::6])].reset_index(drop=True)
    rows = rows.assign(**dict.fromkeys(("Reader_of_the_second_hospital", "reader9"), rows["eus"]))
    rows["cohort"] = [f"Cohort {'ABC'[i % 3]} of the consortium's hospitals, 2015 to 2021" for i in range(len(rows))]
    rows.loc[:9, "cohort"] = "$x_$ & <y>"
    rows.loc[20, "cohort"] = "one"
    rows["who_type_2019"] = ["poorly cohesive carcinoma, NOS" if i % 2 else "t" for i in range(len(rows))]
    rows = rows.drop(columns=[name for name in rows.columns if "aided" in name])
    plain = evaluated(rows, tmp_path_factory.mktemp("t"), cohort_column="cohort", strata=["who_type_2019"])
    left_out = [("a reason that is explained in a sentence with many words", 1_234_567, None), ("x" * 60, 1, 0)]
    return dataclasses.replace(plain, flow=flow_of(plain, left_out))


@pytest.fixture(scope="module")
def without_probabilities(tmp_path_factory):
    rows = TABLE[["case_id", "patient_id", "stage", "cohort", "eus"]].assign(predicted_stage=TABLE["reader1_aided"])
    return evaluated(rows, tmp_path_factory.mktemp("t"), cohort_column="cohort")


def rows_of(name):
    return TABLE[TABLE["cohort"] == name]


def panels_of(figure):
    """Name of a cohort -> its panel, by the panel's title."""
    titles = {" ".join(axis.get_title(loc="left").split()): axis for axis in figure.axes}
    return {title.rpartition(" (n")[0]: axis for title, axis in titles.items()}


def labels_of(figure):
    return [text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()]


# -- legible -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["found", "awkward", "without_probabilities"])
def test_no_text_is_small_cut_off_or_over_data(which, request):
    wrong = {name: faults(figure) for name, (figure, _) in figures(request.getfixturevalue(which)).items()}
    assert {name: some for name, some in wrong.items() if some} == {}


def test_figures_are_a_column_wide_at_300_dots_per_inch(drawn):
    assert DPI == 300
    for name, (figure, _) in drawn.items():
        assert figure.get_figwidth() == COLUMN, name
        assert figure.get_figheight() < 247 / 25.4, name  # the height of a journal's page
    with Image.open(io.BytesIO(figure_bytes(drawn["roc"][0], "png", dpi=DPI))) as picture:
        assert picture.width == int(88 / 25.4 * 300)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_check_finds_what_it_looks_for():
    figure = new_figure(COLUMN, 2)
    axis = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    axis.plot([0, 1], [0, 1], label="a line")
    assert faults(figure) == [f"{t.get_text()!r} is 10.0 points high in a column" for t, _ in shown_texts(figure)
                              if t.get_fontsize() < 6.5]  # fmt: skip
    axis.legend(loc="center")
    axis.text(0.2, 0.2, "here", fontsize=5)
    axis.text(0.2, 0.2, "too", fontsize=7)
    figure.text(0.98, 0.5, "outside")
    text = "\n".join(faults(figure))
    for fault in ("'here' is 5.0 points", "the legend is over data", "'here' is over data", "'here' is over 'too'",
                  "'outside' is cut off"):  # fmt: skip
        assert fault in text


# -- colours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vision", [None, *colour_vision.MATRICES])
def test_stages_differ_for_all_colour_vision(vision):
    """CIEDE2000: a difference of 15 is seen at a glance between thin lines; 5 is not, as in the palette before."""
    rgb = colour_vision.rgb_of(figure_style.COLOURS.values())
    assert colour_vision.least_distance(rgb if vision is None else colour_vision.seen(rgb, vision)) >= 15


def test_the_palette_of_version_0_2_would_fail():
    """Its ochre, green and rust look alike without green cones; white stays white in every simulation."""
    older = colour_vision.rgb_of(["#0072B2", "#B07A00", "#00805E", "#C44E00"])
    assert colour_vision.least_distance(older) > 15
    assert colour_vision.least_distance(colour_vision.seen(older, "deuteranopia")) < 5
    for deficiency in colour_vision.MATRICES:
        assert colour_vision.seen(np.ones(3), deficiency) == pytest.approx(np.ones(3), abs=1e-5)


def test_stages_differ_in_grey_print_in_the_order_of_the_stages():
    steps = np.diff(colour_vision.lightness(colour_vision.rgb_of(figure_style.COLOURS.values())))
    assert (steps <= -10).all()


def test_stages_have_contrast_and_a_second_cue():
    for colour in figure_style.COLOURS.values():
        assert colour_vision.contrast(to_rgb(colour), (1, 1, 1)) >= 3  # WCAG 2, 1.4.11
    for looks in (figure_style.COLOURS, figure_style.DASHES, figure_style.MARKS):
        assert list(looks) == list(STAGES)
        assert len({str(look) for look in looks.values()}) == len(STAGES)


def test_the_lines_of_a_decision_curve_differ_in_grey_print():
    """By dashes, or by the width of the line; of more than four comparators, by the colour as well."""
    looks = figure_panels._looks(["EUS", "Reader 1", "Reader 2", "Reader 3"])
    assert len({(str(look.get("ls", "-")), look["lw"]) for look in looks.values()}) == len(looks) == 7
    many = figure_panels._looks([f"Reader {i}" for i in range(12)])
    assert len({(str(look.get("ls", "-")), look["lw"], look["color"]) for look in many.values()}) == 15
    widths = [look["lw"] for look in looks.values() if "ls" not in look]
    assert max(widths) >= 2 * min(widths)


# -- what they show ------------------------------------------------------------------------------------------------


def test_every_figure_is_drawn_for_all_rows_and_by_cohort(drawn, without_probabilities):
    assert set(drawn) == {*BY_COHORT, *(f"{name}_by_cohort" for name in BY_COHORT), "flow", "reader_study",
                          "forest_centre", "forest_sex"}  # fmt: skip
    some = {"confusion", "decision_curves"}
    assert set(figures(without_probabilities)) - {"flow"} == some | {f"{name}_by_cohort" for name in some}


def test_roc_curves_and_areas_are_those_of_the_cohort(drawn):
    figure, words = drawn["roc_by_cohort"]
    panels = panels_of(figure)
    assert set(panels) == set(COHORTS.values())
    legends = [[text.get_text() for text in one.get_texts()] for one in figure.legends]
    for (name, axis), legend in zip(panels.items(), legends, strict=True):
        rows = rows_of(name)
        for stage, line, label in zip(STAGES, axis.lines[1:5], legend[:4], strict=True):
            truth, score = rows["stage"] == stage, rows[f"p_{stage}"] / rows[FOUR].sum(axis=1)
            points = {*zip(*np.round(roc_curve(truth, score, drop_intermediate=False)[:2], 9), strict=True)}
            x, y = line.get_data()
            assert {*zip(*np.round([x, y], 9), strict=True)} <= points
            assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(truth, score))
            assert label.startswith(f"{stage}  {roc_auc_score(truth, score):.3f} (")
            assert f"{stage} {roc_auc_score(truth, score):.3f}" in words


def test_confusion_matrices_have_counts_shares_and_readable_cells(drawn):
    for name, axis in panels_of(drawn["confusion_by_cohort"][0]).items():
        rows = rows_of(name)
        predicted = np.array(STAGES)[rows[FOUR].to_numpy().argmax(axis=1)]
        counts = confusion_matrix(rows["stage"], predicted, labels=STAGES)
        shares = counts / counts.sum(axis=1, keepdims=True)
        (image,) = axis.images
        assert np.allclose(image.get_array(), shares)
        for cell in axis.texts:
            j, i = map(int, cell.get_position())
            assert cell.get_text() == f"{counts[i, j]}\n{100 * shares[i, j]:.0f} %"
            background = image.cmap(image.norm(shares[i, j]))[:3]
            assert colour_vision.contrast(to_rgb(cell.get_color()), background) >= 4.5  # WCAG 2, 1.4.3
        brightness = colour_vision.lightness(image.cmap(np.linspace(0, 1, 50))[:, :3])
        assert (np.diff(brightness) < 0).all()


def test_a_stage_without_rows_has_no_shares(tmp_path):
    rows = TABLE[TABLE["stage"] != "T1"][["case_id", "stage"]].assign(predicted_stage="T2")
    figure, _ = figures(evaluated(rows, tmp_path))["confusion"]
    assert [text.get_text() for text in figure.axes[0].texts[:4]] == ["0\n–"] * 4


def test_decision_curves_have_the_comparator_the_bands_and_the_net_benefit(drawn):
    figure, words = drawn["decision_curves_by_cohort"]
    assert labels_of(figure) == ["Model", "Q", "EUS", "Treat all", "Treat none"]
    assert figure.get_supylabel() == "Net benefit"
    names = list(dict.fromkeys(TABLE["cohort"]))
    assert len(figure.axes) == 3 * len(names)
    for k, axis in enumerate(figure.axes):
        rows, event = rows_of(names[k // 3]), STAGES[1 + k % 3]
        assert axis.get_xlim() == (0, 0.8)
        lines = {line.get_label(): line.get_data() for line in axis.lines}
        positive, treated = rows["stage"] >= event, rows["eus"] >= event
        for t in (0.2, 0.5, 0.7):
            net = (positive & treated).mean() - (~positive & treated).mean() * t / (1 - t)
            x, y = lines["EUS"]
            assert y[list(x).index(t)] == pytest.approx(net)
            x, y = lines["Treat all"]
            assert y[list(x).index(t)] == pytest.approx(positive.mean() - (~positive).mean() * t / (1 - t))
        assert len(axis.collections) == 2  # the bands of the model and of EUS
    assert "Bands are 95 % intervals." in words


def test_without_bands_no_band_is_drawn_or_named(found):
    part = found.cohorts.parts[0]
    figure, words = figure_panels.decision_curves(
        [dataclasses.replace(part, decisions=with_bands(part.decisions, names=()))]
    )
    assert not any(axis.collections for axis in figure.axes)
    assert "Bands" not in words


def test_calibration_has_a_panel_for_each_stage_of_each_cohort(found, drawn):
    figure, words = drawn["calibration_by_cohort"]
    parts = found.cohorts.parts
    assert len(figure.axes) == 4 * len(parts)
    for k, axis in enumerate(figure.axes):
        part, stage = parts[k // 4], STAGES[k % 4]
        rows = rows_of(part.name)
        event = part.calibration.events[k % 4]
        x, y = axis.lines[-1].get_data()
        weights = [point.n for point in event.curve]
        assert np.average(x, weights=weights) == pytest.approx(rows[f"p_{stage}"].mean(), abs=1e-4)
        assert np.average(y, weights=weights) == pytest.approx((rows["stage"] == stage).mean())
        assert axis.get_title(loc="left") == f"{stage}\nECE {event.ece.value:.3f}"
        assert f"{part.name}, {stage}: slope" in words
    whole, _ = drawn["calibration"]
    assert [axis.get_title(loc="left").partition("\n")[0] for axis in whole.axes] == [
        *STAGES, "At least T2", "At least T3", "At least T4",
    ]  # fmt: skip


def test_dice_is_shown_by_stage_in_each_cohort_with_the_baselines(drawn):
    figure, words = drawn["attention_by_cohort"]
    for name, axis in panels_of(figure).items():
        medians = rows_of(name).groupby("stage")["dice"].median()
        shown = [
            line.get_ydata()[0] for line in axis.lines if line.get_linewidth() == 1.4 and len(line.get_ydata()) == 2
        ]
        assert shown == pytest.approx([medians[stage] for stage in STAGES])
        chance = rows_of(name).groupby("stage")["chance_dice"].mean()
        (line,) = [line for line in axis.lines if line.get_label() == "Chance"]
        assert list(line.get_ydata()) == pytest.approx([chance[stage] for stage in STAGES])
    assert labels_of(figure) == ["Chance", "A centred blob", "The mean mask of the model's cases"]
    assert all(f"{name}: mean all" in words for name in COHORTS.values())


def test_the_flow_is_a_drawing_of_all_counts(found, drawn):
    figure, words = drawn["flow"]
    text = " ".join(part.get_text() for part, _ in shown_texts(figure)).replace("\N{NO-BREAK SPACE}", " ")
    used, first = len(TABLE), found.cohorts.parts[0].name
    for part in (f"Read {used + 10} rows, 130 patients", "Left out: no true stage 7 rows, 5 patients",
                 f"Left out: the case failed 3 rows, 3 patients {first}: 3",
                 f"Evaluated {used} rows, 120 patients"):  # fmt: skip
        assert part in text
        assert re.sub(r"^(Read|Evaluated|Left out: [a-z ]+?) (\d)", r"\1: \2", part).partition(f" {first}")[0] in words
    for name in COHORTS.values():
        counts = rows_of(name)["stage"].value_counts()
        stages = ", ".join(f"{stage} {counts[stage]}" for stage in STAGES)
        assert f"{name} {len(rows_of(name))} rows, {len(rows_of(name))} patients {stages}" in text
        assert f"{name}: {stages}." in words
    arrows = [one for one in figure.axes[0].texts if getattr(one, "arrow_patch", None) is not None]
    assert len(arrows) == 1 + 2 + 3  # down, to the rows left out, and to the cohorts


def test_a_forest_has_room_for_whole_marks_at_both_ends(tmp_path):
    alike = TABLE[["case_id", "stage", "cohort"]].assign(predicted_stage=TABLE["stage"])
    figure, _ = figures(evaluated(alike, tmp_path, strata=["cohort"]))["forest_cohort"]
    figure.draw_without_rendering()
    for axis in figure.axes:
        half = 4.5 / 72 * figure.dpi / np.sqrt(2)  # of the diamond: a square of 4.5 points on its corner
        at = axis.transData.transform((1.0, 0))[0]
        assert at + half <= axis.get_window_extent().x1


def test_a_flow_without_patients_or_cohorts_counts_rows(found):
    flow = PatientFlow((FlowStep("read", 1, None), FlowStep("evaluated", 1, None)))
    figure, words = figures(dataclasses.replace(found, cohorts=None, flow=flow))["flow"]
    assert words.startswith("Flow of patients. Read: 1 row. Evaluated: 1 row; T1 ")
    assert faults(figure) == []


# -- words ---------------------------------------------------------------------------------------------------------


def test_every_figure_has_a_text_alternative_without_names_of_columns(drawn):
    for name, (figure, words) in drawn.items():
        assert words[:1].isupper(), name
        assert words.endswith("."), name
        assert len(words) > 80, name
        for text in (words, *(one.get_text() for one, _ in shown_texts(figure))):
            assert not re.search(r"[a-z]_[a-zA-Z]|\bp_T|\bnan\b", text), f"{name}: {text}"
