"""What the README tells a new user to type must work, from an empty folder and in that order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_every_command_runs_in_the_order_of_the_page(tmp_path):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("gtrstaging ")]
    assert len(commands) >= 5
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    for name in ("result.json", "attention.nrrd", "overlay.png", "report.html"):
        assert (tmp_path / "result" / name).stat().st_size > 1000
    (program,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("T")


def test_it_opens_with_the_two_commands_that_make_knows():
    first = blocks("sh")[0].split()
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert first[first.index(target) - 1] == "make"
        assert f"\n{target}:" in makefile
    assert README.index("make demo") < 100


def test_its_links_point_at_files_that_exist():
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link


def test_its_anchors_exist_in_the_architecture():
    headings = re.findall(r"^#+ (.+)$", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for anchor in re.findall(r"ARCHITECTURE\.md#([\w-]+)", README):
        assert anchor in anchors


def test_research_use_only_is_said():
    assert "Research use only" in README
