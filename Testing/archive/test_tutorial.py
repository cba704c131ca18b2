"""The commands of docs/tutorials/archive.md, with a real Orthanc and a real CT."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import shared
from helpers import TESTING
from helpers.orthanc import executable, free_port

from GTRStagingLib.stages import RESEARCH_USE_ONLY

pytestmark = pytest.mark.slow

PAGE = TESTING.parent / "docs" / "tutorials" / "archive.md"


def commands() -> list[str]:
    """Return the blocks of shell commands of the page, in its order."""
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> list[str]:
    """Run the page in a folder with the real CT; return what each block printed."""
    executable()
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(shared("ct/ct_3slice_dicom"), folder / "ct")
    marker = "-- end of a block --"
    # The archive ends with the script, also after an error.
    script = "set -e\ntrap 'kill ${ORTHANC:-} 2>/dev/null || true' EXIT\n"
    script += "".join(f"{block}echo '{marker}'\n" for block in commands())
    for port in ("8142", "4342"):
        assert port in script
        script = script.replace(port, str(free_port()))
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    run = ["bash", "-c", script + "wait || true\n"]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(f"{marker}\n")


def test_every_block_ends_without_an_error(output):
    assert len(output) == len(commands()) + 1


def test_a_plain_query_finds_the_stage_that_was_printed(output):
    stage = re.search(r"^Stage +(T[1-4])", output[3], re.M)[1]
    assert "key object" in output[3]
    assert RESEARCH_USE_ONLY in output[3]
    series = dict(line.split("  ", 1) for line in output[4].splitlines())
    assert stage in series["SR"]
    assert "RESEARCH" in series["SR"].upper()
    assert len(output[4].splitlines()) == 2 + 5  # the CT, the reader's mark, and what was stored


def test_a_second_export_stores_nothing(output):
    assert "5 objects: 5 sent." in output[3]
    assert "5 objects: 5 already there." in output[5]


def test_the_report_gives_the_row_of_the_case(output):
    header, row = output[6].splitlines()[-2:]
    assert header.startswith("case_id")
    assert row.split(",")[0]
