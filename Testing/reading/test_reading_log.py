"""The log is only appended to, whole or not at all, and every change of it is found."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from helpers.limits import files_up_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.reading import log as module
from GTRStagingLib.reading.log import Log, fault_in_words, interruptions_in_words, read_log

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def filled(path, count=6):
    log = Log(path, lambda: NOW)
    for n in range(count):
        log.append("answer", {"item": n, "remarks": "Größe, T3?\n" * n})
    return path


def test_what_was_appended_is_read(tmp_path):
    path = filled(tmp_path / "log.jsonl")
    found = read_log(path)
    assert [one.data["item"] for one in found.entries] == list(range(6))
    assert found.fault is None
    assert not found.torn
    assert Log(path, lambda: NOW).append("answer", {}).number == 6
    assert read_log(tmp_path / "none.jsonl").entries == ()


def test_a_file_that_ends_at_any_byte_loses_at_most_the_last_entry(tmp_path):
    """As after a kill: the entries before are there, the next one states the interruption, and the chain holds."""
    whole = filled(tmp_path / "log.jsonl", 3).read_bytes()
    lines = whole.splitlines(keepends=True)
    before = len(whole) - len(lines[-1])
    for size in range(before, len(whole) + 1):
        path = tmp_path / f"{size}.jsonl"
        path.write_bytes(whole[:size])
        log = Log(path, lambda: NOW)
        complete = size >= len(whole) - 1  # without the line break alone, the entry is whole
        assert len(log.entries) == 2 + complete
        assert log.torn == (before < size < len(whole) - 1)
        log.append("answer", {"item": 9})
        found = read_log(path)
        assert found.fault is None
        assert found.entries[-1].data == {"item": 9}
        assert ["torn" in one.kind for one in found.entries].count(True) == (before < size < len(whole) - 1)
        assert path.read_bytes().startswith(whole[:size])  # nothing was taken away


def test_an_interruption_while_an_interruption_is_stated(tmp_path):
    path = filled(tmp_path / "log.jsonl", 2)
    path.write_bytes(path.read_bytes() + b'{"number": 2, "ti')
    Log(path, lambda: NOW).append("opened", {})
    whole = path.read_bytes()
    start = whole.index(b"\n", whole.index(b'"ti')) + 1
    for size in range(start, len(whole)):
        path.write_bytes(whole[:size])
        Log(path, lambda: NOW).append("answer", {"item": 7})
        found = read_log(path)
        assert found.fault is None
        assert found.entries[-1].data == {"item": 7}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_changed_byte_is_found(tmp_path, data):
    """Any byte but those of the last line, which may look like one that was interrupted."""
    path = tmp_path / "log.jsonl"
    if not path.exists():
        filled(path)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    at = data.draw(st.integers(0, last - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != whole[at]))
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    found = read_log(changed)
    same = [json.loads(line) for line in whole.split(b"\n") if line]
    kept = [json.loads(line) for line in changed.read_bytes().split(b"\n") if line] if found.fault is None else None
    assert found.fault is not None or kept == same  # a blank more, or another escape of the same character
    if found.fault is not None:
        assert found.left_out > 0
        with pytest.raises(InputError, match=r"changed.jsonl, line \d: .* expected the log as it was written"):
            Log(changed)


@pytest.mark.parametrize("change", ["removed", "swapped", "doubled", "first removed"])
def test_lines_that_were_removed_or_moved_are_found(tmp_path, change):
    path = filled(tmp_path / "log.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    altered = {
        "removed": [*lines[:2], *lines[3:]],
        "swapped": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "doubled": [*lines[:3], lines[2], *lines[3:]],
        "first removed": lines[1:],
    }[change]
    path.write_bytes(b"".join(altered))
    found = read_log(path)
    assert "entries before it were changed, removed or added" in found.fault
    assert any("left out" in sentence for sentence in fault_in_words(found))


def test_the_clock_never_goes_back(tmp_path):
    times = [NOW, NOW - timedelta(seconds=59), NOW - timedelta(seconds=61), NOW + timedelta(days=30)]
    log = Log(tmp_path / "log.jsonl", lambda: times[0])
    log.append("a", {})
    times.pop(0)
    assert log.append("b", {}).time == NOW  # the clock was synchronised
    times.pop(0)
    with pytest.raises(InputError, match=r"shows 2025-12-31T23:58:59.000Z, .* of 2026-01-01T00:00:00.000Z; .* Set the"):
        log.append("c", {})
    times.pop(0)
    assert log.append("d", {}).number == 2


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path):
    path = filled(tmp_path / "log.jsonl", 3)
    before = path.read_bytes()
    log = Log(path, lambda: NOW)
    for room in (0, 1, 100):
        with files_up_to(len(before) + room), pytest.raises(OutputError, match="log.jsonl was not written .* the case"):
            log.append("answer", {"item": 3, "remarks": "long " * 50})
        assert path.read_bytes() == before
        assert len(log.entries) == 3
    log.append("answer", {"item": 3})
    assert [one.data["item"] for one in read_log(path).entries] == [0, 1, 2, 3]


def test_a_disk_that_also_refuses_to_cut_the_file_leaves_a_beginning_that_is_stated(tmp_path, monkeypatch):
    path = filled(tmp_path / "log.jsonl", 3)
    log = Log(path, lambda: NOW)

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(module.os, "ftruncate", refuse)
    with files_up_to(path.stat().st_size + 20), pytest.raises(OutputError):
        log.append("answer", {"item": 3})
    monkeypatch.undo()
    assert log.torn
    log.append("answer", {"item": 3})
    found = read_log(path)
    assert [one.kind for one in found.entries[3:]] == ["torn", "answer"]
    assert fault_in_words(found) == []
    assert interruptions_in_words(found) == ["The writing of an entry was interrupted before entry 3 (20 bytes)."]
