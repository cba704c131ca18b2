"""A session shows what the design allows, writes every answer at once, and holds the rules of the study."""

import json
import shutil
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.limits import files_up_to
from helpers.reading_studies import START, Watch, copied_study, make_study, read_all, write_cohort_folder

from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.imaging.geometry import same_grid
from GTRStagingLib.imaging.scans import read_scan
from GTRStagingLib.imaging.volumes import read_volume
from GTRStagingLib.reading.answers import Answer, Mark, Seen
from GTRStagingLib.reading.log import read_log
from GTRStagingLib.reading.plan import reader_folders
from GTRStagingLib.reading.session import open_session
from GTRStagingLib.stages import TStage
from GTRStagingLib.tables.table_files import read_table

T3 = Answer(TStage.T3, 80)


@pytest.fixture
def study(small_study, tmp_path):
    return copied_study(small_study, tmp_path)


@pytest.fixture
def watch():
    return Watch()


def session_of(study, watch, reader="r1", folder=None):
    return open_session(folder or study / "readers" / reader, reader, now=watch.now, clock=watch.clock)


def entries(study, kind, reader="r1"):
    return [one for one in read_log(study / "readers" / reader / "log.jsonl").entries if one.kind == kind]


@pytest.mark.smoke
def test_a_reader_reads_the_unaided_phase_waits_and_reads_the_aided_one(study, watch):
    first = read_all(study, "r1", watch)
    assert len(first) == 8
    assert {one.phase for one in first} == {"unaided"}
    assert all(one.advice is None for one in first)
    with session_of(study, watch) as session:
        assert (session.state, session.item) == ("washing out", None)
        assert session.progress.opens == START + timedelta(seconds=160) + timedelta(days=28)
        with pytest.raises(InputError, match=r"The session is washing out until 2026-02-02T08:02:40.000Z"):
            session.answer(T3)
        watch.pass_by(days=27, hours=23, minutes=59)
        session.proceed()
        assert session.state == "washing out"
        assert len(entries(study, "shown")) == 8
    assert read_all(study, "r1", watch) == []
    watch.pass_by(minutes=1)
    with session_of(copied_study(study, study.parent / "open"), watch) as session:
        assert session.item.phase == "aided"
        session.proceed()
        assert session.progress.place == 1
    second = read_all(study, "r1", watch)
    assert [one.phase for one in second] == ["aided"] * 8
    assert all(one.advice.parts[:3] == ("stage", "votes", "probabilities") for one in second)
    given = {one["case_id"]: one for one in read_table(study / "organiser" / "advice.csv").rows}
    names = {one["code"]: one["case_id"] for one in read_table(study / "organiser" / "key.csv").rows}
    for one in second:  # the advice of each case is its own, T1 included
        row = given[names[one.code]]
        assert one.advice.stage.name == row["stage"]
        assert " ".join(vote.name for vote in one.advice.votes) == row["votes"]
        assert list(one.advice.probabilities) == [float(row[f"p_{stage}"]) for stage in TStage]
        assert one.advice.stage_set == row["stage_set"]
    assert {one.code for one in first} == {one.code for one in second}
    assert [one.code for one in first] != [one.code for one in second]
    with session_of(study, watch) as session:
        assert session.state == "finished"
        assert str(session.progress) == "8 of 8"
    assert len(entries(study, "answer")) == 16


def test_the_image_and_the_map_of_an_item_are_those_of_the_case(study, watch):
    read_all(study, "r1", watch)
    watch.pass_by(days=28)
    with session_of(study, watch) as session:
        item = session.item
        scan = read_scan(item.image)
        assert scan.image.GetSize()[2] == item.slices == 24
        assert 0 <= item.key_slice < item.slices
        assert scan.axial_index(item.key_slice) == item.key_slice  # in axial order already
        drawn, _ = read_volume(item.advice.map)
        assert same_grid(drawn, scan.grid)
        expected = sitk.GetArrayFromImage(scan.image) > 0
        voting = [item.key_slice - 1, item.key_slice, item.key_slice + 1]
        expected[[one for one in range(item.slices) if one not in voting]] = False
        assert np.array_equal(sitk.GetArrayFromImage(drawn), expected)


def test_only_the_parts_that_the_design_shows_are_shown(tmp_path, watch):
    study = make_study(tmp_path, shows=("set",), marks_key_slice=False, washout_days=0)
    items = read_all(study, "r1", watch)
    assert all(one.key_slice is None for one in items)
    aided = [one.advice for one in items if one.phase == "aided"]
    assert {one.parts for one in aided} == {("set",), ()}
    assert not list((study / "readers").rglob("advice/*.nii.gz"))
    written = [json.loads(path.read_text()) for path in (study / "readers").rglob("advice/*.json")]
    assert {one["stage"] for one in written} == {None}
    assert {one["probabilities"] for one in written} == {None}


def test_seconds_count_from_the_display_without_pauses_and_all_that_was_seen_is_written(study, watch):
    with session_of(study, watch) as session:
        watch.pass_by(seconds=9)
        session.displayed()
        watch.pass_by(seconds=5)
        session.pause()
        assert (session.state, session.item) == ("paused", None)
        with pytest.raises(InputError, match="The session is paused; expected a case on the screen"):
            session.answer(T3)
        watch.pass_by(hours=2)
        session.resume()
        watch.pass_by(seconds=2.5)
        mark = Mark(3, ((1.0, 2.0, 3.0), (3.0, 2.0, 1.0)))
        session.answer(Answer(TStage.T4, 55, "T4a", "fat stranding", mark, Seen((7, 3, 3), 40, 400)))
        with pytest.raises(InputError, match="expected a pause"):
            session.resume()
    (written,) = entries(study, "answer")
    assert written.data["seconds"] == 7.5
    again = Answer.of(written.data["answer"])
    assert again.mark.centre_mm == (2.0, 2.0, 2.0)
    assert again.seen.slices == (3, 7)
    assert (again.stage, again.substage, again.confidence, again.remarks) == (TStage.T4, "T4a", 55, "fat stranding")


def test_the_next_case_needs_an_answer_and_closes_the_last_one(study, watch):
    with session_of(study, watch) as session:
        code = session.item.code
        with pytest.raises(InputError, match="The case has no answer"):
            session.next()
        session.answer(T3)
        session.answer(Answer(TStage.T2, 10))  # both stand
        assert session.answered
        assert session.item.code == code
        session.next()
        assert session.item.code != code
        assert str(session.progress) == "2 of 8"
        assert session.answers == ()
        with pytest.raises(InputError, match="does not let answers be changed"):
            session.revise(1, T3)
    assert [one.data["answer"]["stage"] for one in entries(study, "answer")] == ["T3", "T2"]


def test_a_design_may_let_answers_be_changed(full_study, tmp_path, watch):
    study = copied_study(full_study, tmp_path)
    with session_of(study, watch) as session:
        practised = []
        for _ in range(5):
            practised.append((session.item.practice, str(session.progress)))
            session.answer(T3)
            session.next()
        assert practised == [(True, f"practice {n} of 4") for n in range(1, 5)] + [(False, "1 of 5")]
        session.revise(5, Answer(TStage.T1, 20))
        assert session.answers[-1] == (5, Answer(TStage.T1, 20))
        with pytest.raises(InputError, match="Case 6 cannot be changed now"):
            session.revise(6, T3)
    (changed,) = entries(study, "revision")
    assert changed.data["item"] == 4


def test_the_next_session_goes_on_where_the_last_one_stopped(study, watch):
    order = [one.code for one in read_all(copied_study(study, study.parent / "all"), "r1", Watch())]
    first = read_all(study, "r1", watch, stop=3)
    with session_of(study, watch) as session:
        assert session.item.code == order[3]  # not answered: it is shown again
    watch.pass_by(days=31)
    with session_of(study, watch) as session:
        session.answer(T3)  # without `next`: it is answered all the same
    rest = read_all(study, "r1", watch)
    assert [one.code for one in (*first, *rest)] == [*order[:3], *order[4:]]
    shown = [one.data["item"] for one in entries(study, "shown")]
    assert shown == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7]


def test_a_session_that_stays_open_goes_on_after_the_wash_out(study, watch):
    with session_of(study, watch) as session:
        while session.state == "reading":
            session.answer(T3)
            session.next()
        watch.pass_by(days=28)
        with pytest.raises(InputError, match="expected a case on the screen"):
            session.answer(T3)
        session.proceed()
        assert (session.state, session.item.phase, str(session.progress)) == ("reading", "aided", "1 of 8")


def test_readers_are_found_in_the_study_and_in_their_own_folder(study):
    own = study / "readers" / "r1"
    assert reader_folders(study) == {"r1": own, "r2": study / "readers" / "r2"}
    assert reader_folders(own) == {"r1": own}
    with pytest.raises(InputError, match="cases has no plan.json of a reader; expected the folder of a study"):
        reader_folders(own / "cases")


def test_two_folders_of_one_reader_are_refused(study):
    shutil.copytree(study / "readers" / "r1", study / "readers" / "r1 (1)")
    with pytest.raises(InputError, match=r"r1 and r1 \(1\) are both of reader 'r1'"):
        reader_folders(study)


def test_another_name_and_another_folder_are_refused(study, watch, tmp_path):
    with (
        pytest.raises(InputError, match="of another reader than 'r2'"),
        session_of(study, watch, "r2", study / "readers" / "r1"),
    ):
        pass
    with (
        pytest.raises(InputError, match="has no plan.json; expected the folder of a reader"),
        session_of(study, watch, "r1", tmp_path),
    ):
        pass


# -- faults ------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from GTRStagingLib.reading.plan import reader_folders
from GTRStagingLib.reading.session import open_session
with open_session(Path(sys.argv[1]), "r1"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_sessions_on_one_folder_are_refused(study, watch):
    with session_of(study, watch):
        with pytest.raises(InputError, match="Another session is open on r1"), session_of(study, watch):
            pass
        with session_of(study, watch, "r2") as other:
            assert other.state == "reading"
    command = [sys.executable, "-c", HOLD, str(study / "readers" / "r1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="Another session is open on r1"), session_of(study, watch):
            pass
        process.kill()
    watch.pass_by(days=400 * 30)
    with session_of(study, watch) as session:  # the lock ends with the process
        assert session.state == "reading"


def test_a_clock_that_was_set_back_is_refused_before_and_during_a_session(study, watch):
    read_all(study, "r1", watch)
    watch.time = START - timedelta(days=1)
    with (
        pytest.raises(InputError, match=r"The clock of this machine shows 2026-01-04.* Set the clock"),
        session_of(study, watch),
    ):
        pass
    watch.time = START
    with session_of(study, watch, "r2") as session:
        watch.time -= timedelta(hours=1)
        with pytest.raises(InputError, match="Set the clock"):
            session.answer(T3)
        assert session.item is not None
        assert not session.answered
        watch.time = START + timedelta(minutes=1)
        session.answer(T3)


def test_a_full_disk_refuses_the_answer_and_keeps_the_case_open(study, watch):
    log = study / "readers" / "r1" / "log.jsonl"
    with session_of(study, watch) as session:
        code, size = session.item.code, log.stat().st_size
        for room in (0, 50):
            with files_up_to(size + room), pytest.raises(OutputError, match="Free some space, and answer again"):
                session.answer(T3)
        assert not session.answered
        assert session.item.code == code
        with pytest.raises(InputError, match="no answer"):
            session.next()
        session.answer(T3)
        with files_up_to(log.stat().st_size), pytest.raises(OutputError):
            session.next()
        assert session.item.code == code
        session.next()
        assert session.item.code != code
    assert len(entries(study, "answer")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("plan", "plan.json was changed after the study was designed"),
        ("plan and manifest", "manifest.json is another one than when the reading began"),
        ("image", r"cases/CASE-\w+.nii.gz was changed"),
        ("missing image", r"cases/CASE-\w+.nii.gz is missing"),
        ("log", r"log.jsonl, line 3: its content was changed after it was written"),
        ("log of another", "manifest.json is another one"),
    ],
)
def test_a_folder_that_was_edited_is_refused(study, watch, change, message):
    folder = study / "readers" / "r1"
    read_all(study, "r1", watch, stop=2)
    plan, manifest = folder / "plan.json", folder / "manifest.json"
    images = sorted((folder / "cases").glob("*.nii.gz"))
    if "plan" in change:
        text = plan.read_text()
        plan.write_text(text.replace('"washout_days": 28', '"washout_days": 0'))
        assert plan.read_text() != text
    if "manifest" in change:
        from GTRStagingLib.support.files import sha256_of

        content = json.loads(manifest.read_text())
        content["files"]["plan.json"] = sha256_of(plan)
        manifest.write_text(json.dumps(content))
    for image in images if change == "image" else ():
        image.write_bytes(image.read_bytes()[:-1] + b"x")
    if change == "missing image":
        images[0].unlink()
    if change == "log":
        log = folder / "log.jsonl"
        log.write_text(log.read_text().replace('"stage": "T2"', '"stage": "T3"', 1))
    if change == "log of another":
        read_all(study, "r2", watch, stop=1)
        shutil.copy(study / "readers" / "r2" / "log.jsonl", folder)
    with pytest.raises(InputError, match=message), session_of(study, watch):
        pass


def test_advice_that_was_changed_is_not_shown(study, watch):
    read_all(study, "r1", watch)
    watch.pass_by(days=28)
    for path in (study / "readers" / "r1" / "advice").glob("*.json"):
        path.write_text(path.read_text().replace("T1", "T4"))
        path.write_text(path.read_text() + " ")
    with pytest.raises(InputError, match=r"advice/CASE-\w+.json was changed"), session_of(study, watch):
        pass


def test_advice_that_is_handed_out_later_is_waited_for(tmp_path, watch):
    study = make_study(tmp_path, keep_advice=True, washout_days=1)
    assert not list((study / "readers").rglob("advice"))
    assert len(read_all(study, "r1", watch)) == 8
    watch.pass_by(days=1)
    with pytest.raises(InputError, match="The advice of the model is not in the folder yet"), session_of(study, watch):
        pass
    shutil.copytree(study / "organiser" / "advice" / "r1" / "advice", study / "readers" / "r1" / "advice")
    second = read_all(study, "r1", watch)
    assert len(second) == 8
    assert all(one.advice.stage is not None for one in second)


def test_images_by_reference_are_checked_by_their_digest(tmp_path, watch):
    table = write_cohort_folder(tmp_path / "data", 8)
    study = make_study(tmp_path, cohort=table, images="reference")
    assert not list((study / "readers").rglob("cases/*"))
    with session_of(study, watch) as session:
        image = session.item.image
        assert image.is_absolute()
        assert image.parent == tmp_path / "data"
    other = next(one for one in (tmp_path / "data").glob("ct*") if one.stat().st_size != image.stat().st_size)
    shutil.copyfile(other, image)
    with pytest.raises(InputError, match="another one than the study was designed with"), session_of(study, watch):
        pass
    image.unlink()
    with pytest.raises(InputError, match="The CT of this case cannot be read"), session_of(study, watch):
        pass


@pytest.mark.parametrize(
    "values",
    [
        {"stage": "T3"}, {"confidence": 101}, {"confidence": float("nan")}, {"confidence": True}, {"substage": "T4a"},
        {"remarks": "x" * 2001}, {"remarks": "a\x00b"}, {"remarks": "\ud800"},
    ],
)  # fmt: skip
def test_wrong_answers_are_refused(values):
    with pytest.raises(InputError):
        Answer(**{"stage": TStage.T3, "confidence": 50, **values})


def test_slices_that_the_case_does_not_have_are_refused(study, watch):
    with session_of(study, watch) as session:
        for answer in (
            Answer(TStage.T3, 50, seen=Seen((24,))),
            Answer(TStage.T3, 50, mark=Mark(24, ((0, 0, 0),))),
        ):
            with pytest.raises(InputError, match="The answer names slice 24; expected an index below 24"):
                session.answer(answer)
    assert entries(study, "answer") == []
    with pytest.raises(InputError, match="expected indices from 0"):
        Seen((-1,))
    with pytest.raises(InputError, match="window width is 'wide'"):
        Seen((), 40, "wide")
    with pytest.raises(InputError, match="The mark has 1 points"):
        Mark(1, ((0, float("inf"), 0),))
