"""Collected tables have every answer, and every deviation from the protocol is stated."""

import shutil
from datetime import timedelta

import pytest
from helpers.reading_studies import START, Watch, copied_study, make_study, read_all

from GTRStagingLib.errors import InputError
from GTRStagingLib.reading import session as session_module
from GTRStagingLib.reading.answers import Answer, Mark, Seen
from GTRStagingLib.reading.collect import collect, write_collected
from GTRStagingLib.reading.designs import Design
from GTRStagingLib.reading.log import Log
from GTRStagingLib.reading.plan import read_plan
from GTRStagingLib.reading.readings import COLUMNS
from GTRStagingLib.reading.session import open_session
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.table_files import read_table


@pytest.fixture(scope="module")
def read_study_folder(full_study, tmp_path_factory):
    """A study that both readers have read as planned; the stage depends on reader, case and phase."""
    study = copied_study(full_study, tmp_path_factory.mktemp("read"))
    watch = Watch()
    for reader in ("r1", "r2"):
        read_all(study, reader, watch, think=thinker(reader))
        watch.pass_by(days=30)
    for reader in ("r1", "r2"):
        read_all(study, reader, watch, think=thinker(reader))
    return study


def thinker(reader):
    return lambda item: TStage((sum(map(ord, reader + item.code + item.phase))) % 4)


@pytest.fixture
def study(read_study_folder, tmp_path):
    return copied_study(read_study_folder, tmp_path)


def predictions(full_study):
    return full_study.parent / "data" / "batch" / "predictions.csv"


def collected(study, full_study, *, now=START + timedelta(days=100)):
    return collect(study, study / "organiser" / "truth.csv", predictions(full_study), now=now)


def sentences(found, kind=None, severity=None):
    return [f"{one.reader}: {one.sentence}" for one in found.deviations
            if kind in (None, one.kind) and severity in (None, one.severity)]  # fmt: skip


def rows_of(table):
    return [dict(row) for row in read_table(table).rows]


@pytest.mark.smoke
def test_a_study_that_was_read_as_planned_has_no_deviation_and_every_answer(study, full_study, tmp_path):
    found = collected(study, full_study)
    assert found.kept
    assert sentences(found, severity="deviation") == []
    out, readings, deviations = write_collected(found, tmp_path / "out" / "table.csv")
    table, answers = rows_of(out), rows_of(readings)
    truth = {row["case_id"]: row for row in rows_of(study / "organiser" / "truth.csv")}
    assert len(table) == 8  # 12 cases, of which 4 are training
    assert [row["true_stage"] for row in table] == [truth[row["case_id"]]["stage"] for row in table]
    assert {row["case_id"] for row in table} == {one for one, row in truth.items() if row["part"] != "training"}
    given = {row["case_id"]: row for row in rows_of(predictions(full_study))}
    for row in table:
        assert {name: row[name] for name in given[row["case_id"]]} == given[row["case_id"]]

    key = {(row["reader"], row["case_id"]): row["code"] for row in rows_of(study / "organiser" / "key.csv")}
    half = {row["case_id"]: row["part"] for row in truth.values()}
    for row in table:
        for reader in ("r1", "r2"):
            for phase, part in (("unaided", "1"), ("aided", "2")):
                text = f"{reader}{key[reader, row['case_id']]}{phase}"
                expected = TStage(sum(map(ord, text)) % 4).name if half[row["case_id"]] == part else None
                assert row[f"{reader}_{phase}"] == expected

    assert list(answers[0]) == list(COLUMNS)
    assert len(answers) == 2 * 2 * (4 + 1 + 4)
    kinds = [(row["kind"], row["phase"]) for row in answers if row["reader"] == "r2"]
    assert kinds.count(("training", "aided")) == 4
    assert kinds.count(("repeat", "unaided")) == 1
    for row in answers:
        advice = given[row["case_id"]]
        assert row["advice_stage"] == advice["stage"]
        assert [row[f"advice_p_{stage}"] for stage in TStage] == [advice[f"p_{stage}"] for stage in TStage]
        assert (row["seconds"], row["views"], row["final"], row["after_next"]) == ("20", "1", "yes", "no")
        assert row["slices"] == "24"
        assert (row["advice_shown"] is None) == (row["phase"] == "unaided")
    assert rows_of_deviations(deviations) == sentences(found)


def rows_of_deviations(path):
    try:
        return [f"{row['reader'] or ''}: {row['sentence']}" for row in rows_of(path)]
    except InputError:  # a table without rows
        return []


def test_one_of_two_readers_begins_aided_and_both_have_their_period_in_the_table(study, full_study):
    found = collected(study, full_study)
    first = {row["reader"]: row["phase"] for row in found.readings if row["period"] == 1}
    assert set(first.values()) == {"unaided", "aided"}


def test_everything_of_an_answer_is_in_the_table(tmp_path):
    study = make_study(tmp_path, may_revise=True)
    watch = Watch()
    with open_session(study / "readers" / "r1", "r1", now=watch.now, clock=watch.clock) as session:
        mark = Mark(4, ((0.0, 3.0, 7.0), (2.0, 5.0, 9.0)))
        key = session.item.key_slice
        session.answer(Answer(TStage.T4, 33, "T4b", "a\nb =1", mark, Seen((1, 2, key), 45.5, 300)))
        watch.pass_by(seconds=1)
        session.answer(Answer(TStage.T3, 34))
        session.next()
        session.revise(1, Answer(TStage.T2, 35, remarks="=later"))
    found = collect(study, study / "organiser" / "truth.csv", predictions(study), now=watch.time)
    _, readings, _ = write_collected(found, tmp_path / "table.csv")
    first, second, third = rows_of(readings)
    assert (first["stage"], first["substage"], first["confidence"], first["final"]) == ("T4", "T4b", "33", "no")
    assert (first["mark_slice"], first["mark_x_mm"], first["mark_y_mm"], first["mark_z_mm"]) == ("4", "1", "4", "8")
    assert (first["window_level"], first["window_width"], first["slices_seen"]) == ("45.5", "300", "3")
    assert (first["key_slice_seen"], second["key_slice_seen"]) == ("yes", "no")
    assert (first["remarks"], third["remarks"]) == ("a b =1", "=later")
    assert [one["answer"] for one in (first, second, third)] == ["1", "2", "3"]
    assert (third["after_next"], third["final"], third["seconds"]) == ("yes", "yes", None)
    column = dict(zip(found.table["case_id"], found.table["r1_unaided"], strict=True))
    assert column[first["case_id"]] == "T2"  # the last answer counts, and all stand in readings.csv
    assert any("1 answer was changed after the next case; both stand" in one for one in sentences(found, "revision"))
    assert any("1 answer was changed before the next case" in one for one in sentences(found, "revision", "note"))


def test_readings_that_are_missing_are_counted_and_their_cells_are_empty(full_study, tmp_path):
    study = copied_study(full_study, tmp_path)
    read_all(study, "r1", Watch(), stop=6)
    found = collected(study, full_study)
    assert not found.kept
    missing = sentences(found, "missing")
    assert "r1: 2 of 4 readings of the period 1 (" in "".join(missing)
    assert sum("4 of 4 readings" in one for one in missing) == 3
    assert "r2: 1 of 1 repeat of the period 2 (aided) has no answer." in "".join(sentences(found)).replace(
        "unaided", "aided"
    )
    assert found.answered == {"r1": (2, 10), "r2": (0, 10)}
    columns = [found.table[f"r1_{phase}"] for phase in ("unaided", "aided")]
    assert sum(one is not None for values in columns for one in values) == 2


def test_a_wash_out_that_was_too_short_and_an_order_that_is_not_the_planned_one_are_stated(full_study, tmp_path):
    """As written by a program that does not hold the rules, or by somebody who computes the hashes again."""
    study = copied_study(full_study, tmp_path)
    folder, watch = study / "readers" / "r1", Watch()
    plan = read_plan(folder)
    with open_session(folder, "r1", now=watch.now, clock=watch.clock):
        pass
    log = Log(folder / "log.jsonl", watch.now)
    order = list(range(len(plan.items)))
    order[5], order[6] = order[6], order[5]
    for item in order:
        watch.pass_by(hours=3)
        advice = ["stage"] if plan.items[item].phase == "unaided" and item in (5, 6, 16) else []
        log.append("shown", {"item": item, "advice": advice})
        log.append("answer", {"item": item, "seconds": 3, "answer": Answer(TStage.T1, 1).to_json()})
    found = collected(study, full_study)
    assert sentences(found, "wash-out") == ["r1: The second period began after 0.1 days; expected 30 or more."]
    assert "r1: From the reading 6 on, the order is not the planned one." in sentences(found, "order")
    assert any("shown with advice" in one for one in sentences(found, "order"))
    assert not found.kept


def test_months_of_pause_and_interruptions_are_noted(full_study, tmp_path):
    study, watch = copied_study(full_study, tmp_path), Watch()
    read_all(study, "r1", watch, stop=5)
    watch.pass_by(days=61)
    read_all(study, "r1", watch)
    log = study / "readers" / "r1" / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"number": 99, "ti')
    watch.pass_by(days=30)
    read_all(study, "r1", watch)
    found = collected(study, full_study, now=watch.time)
    noted = " ".join(sentences(found, "interruption", "note"))
    assert "The reading stopped for 61 days within the period 1." in noted
    assert "(18 bytes)" in noted
    assert "1 case was displayed again after an interruption." in noted
    assert not [one for one in sentences(found, severity="deviation") if one.startswith("r1")]


def test_a_log_that_was_changed_is_left_out_from_there_on(study, full_study):
    before = len(collected(study, full_study).readings)
    log = study / "readers" / "r1" / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if '"item": 12' in line and '"answer"' in line)
    lines[at] = lines[at].replace('"confidence": 70', '"confidence": 71')
    log.write_text("".join(lines))
    found = collected(study, full_study)
    assert len(found.readings) == before - 6  # of 18 readings, those from the 13th on
    (sentence,) = sentences(found, "log", "deviation")
    assert f"line {at + 1}: its content was changed" in sentence
    assert f"{len(lines) - at} lines left out" in sentence


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ("folder", "folder", "The folder of the reader is missing."),
        ("image", "files", "was changed after the study was designed."),
        ("images", "files", "12 files did not come back, as cases/CASE-"),
        ("added", "files", "notes.txt was added to the folder."),
        ("manifest", "files", "manifest.json is missing, or not the one that was handed out."),
        ("other log", "files", "The log was written in another folder than the one that was handed out; 18 answers"),
        ("stranger", "folder", "r9 is no reader of the study"),
        ("future", "clock", "later than now"),
    ],
)  # fmt: skip
def test_folders_that_were_changed_are_stated(study, full_study, change, kind, sentence):
    folder = study / "readers" / "r1"
    image = next((folder / "cases").iterdir())
    if change == "folder":
        shutil.rmtree(folder)
    elif change == "image":
        image.write_bytes(b"x")
    elif change == "images":
        shutil.rmtree(folder / "cases")
    elif change == "added":
        (folder / "notes.txt").write_text("x")
        (folder / ".DS_Store").write_text("x")
    elif change == "manifest":
        (folder / "manifest.json").write_text("{}")
    elif change == "other log":
        shutil.copy(study / "readers" / "r2" / "log.jsonl", folder)
    elif change == "stranger":
        shutil.copytree(folder, study / "readers" / "r9")
    now = START if change == "future" else START + timedelta(days=100)
    found = collected(study, full_study, now=now)
    assert any(sentence in one for one in sentences(found, kind)), sentences(found)
    assert not any(".DS_Store" in one for one in sentences(found))


def test_versions_that_differ_are_stated(full_study, tmp_path, monkeypatch):
    study, watch = copied_study(full_study, tmp_path), Watch()
    read_all(study, "r1", watch, stop=3)
    monkeypatch.setattr(session_module, "__version__", "9.9")
    read_all(study, "r2", watch)
    found = collected(study, full_study)
    assert any(": Readers used the versions 0." in one and "9.9" in one for one in sentences(found, "software"))
    read_all(study, "r1", watch, stop=3)
    found = collected(study, full_study)
    assert any(one.startswith("r1: The versions 0.") for one in sentences(found, "software"))
    assert {row["software"] for row in found.readings if row["reader"] == "r2"} == {"9.9"}


def test_tables_that_do_not_fit_are_refused_or_stated(study, full_study, tmp_path):
    table = predictions(full_study)
    text = table.read_text().splitlines()
    truth = study / "organiser" / "truth.csv"
    other = tmp_path / "predictions.csv"
    case = next(row["case_id"] for row in rows_of(truth) if row["part"] != "training")
    other.write_text("\n".join(line for line in text if not line.startswith(case)) + "\n")
    with pytest.raises(InputError, match=rf"no prediction for 1 case of the study \({case}\)"):
        collect(study, truth, other)
    header = text[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in text[1:]]
    row = next(one for one in rows if one["case_id"] == case)

    def written():
        other.write_text("\n".join([text[0], *(",".join(one.values()) for one in rows)]) + "\n")
        return other

    kept = row["true_stage"]
    row["true_stage"] = "T1" if kept != "T1" else "T2"
    with pytest.raises(InputError, match=rf"another true_stage .* for 1 case \({case}\)"):
        collect(study, truth, written())
    row["true_stage"] = kept
    row["stage"] = "T1" if row["stage"] != "T1" else "T2"
    found = collect(study, truth, written())
    assert any(f"differ from the advice that the study was designed with in 1 case ({case})" in one
               for one in sentences(found, "truth"))  # fmt: skip
    with pytest.raises(InputError, match="has no organiser/study.json"):
        collect(tmp_path, truth, table)
    with pytest.raises(InputError, match="deviations.csv is the name of another table"):
        write_collected(found, tmp_path / "deviations.csv")


def test_the_same_seed_and_the_same_answers_give_the_same_study_and_the_same_tables(tmp_path):
    designed = Design(kind="split-plot", repeats=1, seed=3)
    tables, plans = [], []
    for name in ("one", "other"):
        study = make_study(tmp_path / name, cases=16, design=designed, washout_days=0, readers=("r1", "r2"))
        watch = Watch()
        for reader in ("r1", "r2"):
            read_all(study, reader, watch, think=thinker(reader))
        found = collect(study, study / "organiser" / "truth.csv", predictions(study), now=watch.time)
        tables.append([path.read_bytes() for path in write_collected(found, tmp_path / name / "table.csv")])
        plans.append({path.relative_to(study): path.read_bytes() for path in study.rglob("*")
                      if path.is_file() and path.name != "log.jsonl"})  # fmt: skip
    assert tables[0] == tables[1]
    assert plans[0] == plans[1]
