"""A reader's program that is killed at any moment loses at most the case on the screen."""

import random
import subprocess
import sys
import time

import pytest
from helpers.reading_studies import make_study

from GTRStagingLib.reading.log import read_log
from GTRStagingLib.reading.plan import read_plan

READ = """
import sys
from pathlib import Path
from GTRStagingLib.reading.session import Answer, open_session
from GTRStagingLib.stages import TStage
with open_session(Path(sys.argv[1]), "r1") as session:
    print("ready", flush=True)
    while session.state == "reading":
        code, phase = session.item.code, session.item.phase
        session.answer(Answer(TStage(ord(code[-1]) % 4), 50, remarks=code * 100))
        print(code, phase, flush=True)
        session.next()
    print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("cases", "most"), [(8, 4), pytest.param(250, 25, marks=pytest.mark.slow)], ids=["16 answers", "500 answers"]
)
def test_a_kill_at_any_moment_loses_at_most_the_case_on_the_screen(tmp_path, cases, most):
    """Answers that the program had confirmed are in the log once, no case is answered twice, and the chain holds."""
    study = make_study(tmp_path, cases=cases, readers=("r1",), shows=("stage",), washout_days=0)
    folder = study / "readers" / "r1"
    plan = [(one.code, one.phase) for one in read_plan(folder).items]
    rng, confirmed, killed, lines = random.Random(5), [], 0, []
    while "done" not in lines:
        with subprocess.Popen([sys.executable, "-c", READ, str(folder)], stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline().strip()]
            for _ in range(rng.randint(0, most)):
                lines.append(process.stdout.readline().strip())
            time.sleep(rng.uniform(0, 0.004))
            process.kill()
            lines += [one.strip() for one in process.stdout if one.endswith("\n")]
        killed += process.returncode != 0
        confirmed += [tuple(one.split()) for one in lines if " " in one]
        found = read_log(folder / "log.jsonl")
        assert found.fault is None
        written = [plan[one.data["item"]] for one in found.entries if one.kind == "answer"]
        assert written == plan[: len(written)]  # in their order, each once
        assert set(confirmed) <= set(written)
        assert len(written) - len(confirmed) <= killed  # at most one a kill was on the disk and not yet confirmed
    assert written == plan
    assert len(plan) == 2 * cases
    assert killed >= cases / most
