"""Run the fuzzer: `python -m fuzz --count 20000` prints a table, and each bad input with the command that makes it."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from fuzz import inputs, trial


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Read altered files, and judge the results.")
    parser.add_argument("--count", type=int, default=20_000, help="number of inputs (default: 20,000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=inputs.SEED, help=f"seed (default: {inputs.SEED})")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    parser.add_argument("--only", type=int, metavar="N", help="run input N alone")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="with --only: write the input to a new folder")
    options = parser.parse_args()
    if options.only is not None and options.save:
        one = inputs.make(options.seed, options.only)
        inputs.write(one, options.save)
        print(f"{one.format}: {one.what}; read {options.save / one.path}")
        return 0
    numbers = range(options.first, options.first + options.count) if options.only is None else [options.only]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    begun, verdicts = time.monotonic(), []
    try:
        for verdict in trial.run(options.seed, numbers, folder, jobs=options.jobs):
            verdicts.append(verdict)
            if verdict.verdict in trial.BAD or options.only is not None:
                print(
                    f"#{verdict.number} {verdict.format}: {verdict.what}: {verdict.verdict}: {verdict.reason}",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bad = Counter(v.verdict for v in verdicts if v.verdict in trial.BAD)
    print(f"\n{trial.table(verdicts)}\n")
    print(f"Seed {options.seed}, {len(verdicts):,} inputs, {time.monotonic() - begun:.0f} s; "
          f"bad: {', '.join(f'{n} {what}' for what, n in bad.items()) or 'none'}.")  # fmt: skip
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
