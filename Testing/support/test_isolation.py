"""Run jobs in a child process: a job that crashes or hangs affects no other job."""

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from GTRStagingLib.errors import InputError, OutputError, StagingError
from GTRStagingLib.support.isolation import DiedError, IsolatedProcess, Limits
from GTRStagingLib.support.pools import parallel_map


def add(constant):
    """Return a function that runs the job named by a word."""

    def work(job):
        what, value = job
        if what == "add":
            return constant + value
        if what == "sleep":
            time.sleep(value)
        if what == "crash":
            ctypes.string_at(0)
        if what == "exit":
            os._exit(value)
        if what == "fill":
            return len(bytes(value * 2**20))
        if what == "print":
            print("output of a library")
            os.write(1, b"output of its C part\n")
            return value
        if what == "fail":
            raise InputError("as expected")
        if what == "odd":
            raise type("Odd", (Exception,), {})("of a class that exists here only")
        if what == "pid":
            return os.getpid()
        if what == "threads":
            return os.environ["OMP_NUM_THREADS"]
        return None

    return work


def unable():
    raise InputError("no such model")


@pytest.fixture
def a_process():
    with_limits = IsolatedProcess(add, 1, seconds=20, memory_mb=300, threads=1)
    yield with_limits
    with_limits.close()


def test_jobs_run_in_one_child_process(a_process):
    assert [a_process.run(("add", value)) for value in (1, 2, 3)] == [2, 3, 4]
    assert a_process.run(("pid", 0)) == a_process.run(("pid", 0)) == a_process.pid != os.getpid()
    assert a_process.run(("threads", 0)) == "1"


def test_errors_of_a_job_are_raised_and_the_process_continues(a_process):
    pid = a_process.run(("pid", 0))
    with pytest.raises(InputError, match="as expected"):
        a_process.run(("fail", 0))
    with pytest.raises(Exception, match="Odd: of a class that exists here only"):
        a_process.run(("odd", 0))
    assert a_process.run(("pid", 0)) == pid


def test_output_of_libraries_is_not_an_answer(a_process):
    assert a_process.run(("print", 7)) == 7
    assert a_process.run(("print", 8)) == 8


def test_a_crash_affects_one_job_and_leaves_a_traceback(a_process):
    with pytest.raises(DiedError, match="SIGSEGV") as error:
        a_process.run(("crash", 0))
    assert "Segmentation fault" in error.value.log
    assert "test_isolation.py" in error.value.log
    assert not error.value.overtime
    assert a_process.run(("add", 1)) == 2
    with pytest.raises(DiedError, match="ended with code 3"):
        a_process.run(("exit", 3))
    assert a_process.run(("add", 1)) == 2


def test_a_job_over_the_time_limit_is_killed():
    process = IsolatedProcess(add, 1, seconds=1.0)
    begun = time.monotonic()
    with pytest.raises(DiedError, match=r"exceeded the time limit \(1 s\)") as error:
        process.run(("sleep", 60))
    assert error.value.overtime
    assert time.monotonic() - begun < 30
    assert process.run(("add", 1)) == 2
    process.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not enforce it")
def test_memory_over_the_limit_raises_and_the_process_continues(a_process):
    assert a_process.run(("fill", 100)) == 100 * 2**20
    pid = a_process.pid
    with pytest.raises(MemoryError):
        a_process.run(("fill", 400))
    assert a_process.run(("pid", 0)) == pid


def test_an_error_of_the_setup_is_raised_each_time():
    process = IsolatedProcess(unable)
    for _ in range(2):
        with pytest.raises(InputError, match="no such model"):
            process.run(None)
    process.close()


def test_a_closed_process_refuses_jobs(a_process):
    a_process.run(("add", 1))
    a_process.close()
    with pytest.raises(DiedError, match="stopped"):
        a_process.run(("add", 1))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("job", [("add", 1), ("sleep", 60)])
def test_a_child_does_not_outlive_its_parent(job):
    """SIGKILL, which the parent cannot handle, while the child is idle or runs a job."""
    code = (
        f"import sys, threading; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_isolation import add\nfrom GTRStagingLib.support.isolation import IsolatedProcess\n"
        "child = IsolatedProcess(add, 1)\nchild.run(('add', 1))\nprint(child.pid, flush=True)\n"
        f"child.run({job!r})\nimport time; time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{child}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # dead, not yet reaped
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


# -- pools ---------------------------------------------------------------------------------------------------------


def one(job):
    """Do the job named by a word, in a process of a pool."""
    folder, what, value = job
    if what == "crash once" and not (folder / "crashed").exists():
        (folder / "crashed").write_text("")
        ctypes.string_at(0)
    if what == "full disk":
        raise OutputError("no space")
    return add(0)((what, value)) if what != "add" else value


def failed(job, reason):
    return f"{job[1]}: {reason}"


def test_a_pool_keeps_the_order_and_each_failure_is_of_its_own_job(tmp_path):
    words = ["add", "crash", "add", "crash once", "fail", "exit", "sleep", "odd", "add"]
    jobs = [(tmp_path, word, 60 if word == "sleep" else number) for number, word in enumerate(words)]
    found = list(parallel_map(one, jobs, 2, limits=Limits(4.0, None), failed=failed))
    assert [found[i] for i in (0, 2, 3, 8)] == [0, 2, None, 8]
    assert found[1].startswith("crash: The process of the case was ended by SIGSEGV.")
    assert found[4] == "fail: as expected"
    assert found[5].startswith("exit: The process of the case ended with code 5.")
    assert "sleep: The case exceeded the time limit (4 s)" in found[6]
    assert found[7] == "odd: Odd: of a class that exists here only"


def test_without_a_pool_errors_are_failures_of_their_job_too(tmp_path):
    jobs = [(tmp_path, "add", 1), (tmp_path, "fail", 0), (tmp_path, "add", 2)]
    assert list(parallel_map(one, jobs, 0, failed=failed)) == [1, "fail: as expected", 2]
    with pytest.raises(InputError, match="as expected"):
        list(parallel_map(one, jobs, 0))
    assert list(parallel_map(one, [], 2)) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not enforce it")
def test_a_job_over_the_memory_limit_fails_alone(tmp_path):
    jobs = [(tmp_path, "fill", 400), (tmp_path, "add", 2)]
    found = list(parallel_map(one, jobs, 1, limits=Limits(None, 300), failed=failed))
    assert found == ["fill: The case exceeded the memory limit. Raise `memory_limit`.", 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_machine_ends_the_whole_map(tmp_path, workers):
    with pytest.raises(OutputError, match="no space"):
        list(parallel_map(one, [(tmp_path, "full disk", 0)], workers, failed=failed))


def test_without_a_place_for_failures_the_job_is_named(tmp_path):
    with pytest.raises(StagingError, match=r"Job 2 of 2: The process of the case was ended by SIGSEGV"):
        list(parallel_map(one, [(tmp_path, "add", 1), (tmp_path, "crash", 0)], 1))


def test_a_function_of_a_script_runs_in_a_pool(tmp_path):
    """As those of the benchmarks; a job that cannot be unpickled ends its process, and not the caller's patience."""
    script = tmp_path / "script.py"
    script.write_text(
        "from dataclasses import dataclass\nfrom GTRStagingLib.support.pools import parallel_map\n"
        "@dataclass\nclass Row:\n    value: int\n\n"
        "def work(row):\n    return Row(2 * row.value)\n\n"
        "if __name__ == '__main__':\n    print(list(parallel_map(work, [Row(1), Row(2)], 2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "[Row(value=2), Row(value=4)]\n"


class Unknown:
    """Value that unpickles only where its module is complete."""

    def __reduce__(self):
        return importlib.import_module, ("module_that_no_child_has",)


def test_a_job_that_cannot_be_unpickled_is_a_failure(a_process):
    with pytest.raises(DiedError, match="ended with code 1") as error:
        a_process.run(Unknown())
    assert "module_that_no_child_has" in error.value.log
