"""Check the subject lines of commits: imperative, at most 72 characters, a capital first, no full stop at the end.

python .ci/commit_subject.py MESSAGE_FILE        (pre-commit calls it so, see .pre-commit-config.yaml)
python .ci/commit_subject.py --range BASE..HEAD
"""

import subprocess
import sys
from pathlib import Path

LONGEST = 72
GIT_MADE = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
IMPERATIVES = {"Address", "Bring", "Embed", "Feed", "Focus", "Need", "Seed", "Shed", "Speed", "Spring", "String"}
"""Verbs in the imperative that look like another form."""


def faults(subject: str) -> list[str]:
    """Return what is wrong with a subject line; empty if nothing is."""
    if subject.startswith(GIT_MADE):
        return []
    first = subject.partition(" ")[0]
    found = []
    if len(subject) > LONGEST:
        found.append(f"it has {len(subject)} characters; expected at most {LONGEST}")
    if not subject[:1].isupper():
        found.append("expected a capital letter first")
    if subject.endswith("."):
        found.append("expected no full stop at the end")
    if first not in IMPERATIVES and first.endswith(("ed", "ing", "s")) and not first.endswith("ss"):
        found.append(f"expected a verb in the imperative first ('Add', 'Report'), not '{first}'")
    return found


def main(arguments: list[str]) -> int:
    """Print every fault; return 1 if there is one."""
    if arguments[0] == "--range":
        command = ["git", "log", "--no-merges", "--format=%s", arguments[1]]
        subjects = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    else:
        lines = Path(arguments[0]).read_text(encoding="utf-8").splitlines()
        subjects = [next((line for line in lines if line.strip() and not line.startswith("#")), "")]
    failed = {subject: found for subject in subjects if (found := faults(subject))}
    for subject, found in failed.items():
        print(f"Commit subject “{subject}”: {'; '.join(found)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
