"""Measure size and seconds from a bare Python to the first result: the light installation beside the full one.

Each variant gets a fresh virtual environment, an installation by pip without its cache, and one staging of a phantom by
the demonstration model on the CPU, in a process of its own: the first after the installation, and the quickest of
`--repeats` further ones. The seconds of the installation depend on the network; the sizes do not.

    python benchmarks/installation.py --work /tmp/installation
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
VARIANTS = {"light": "", "full": "[torch]"}
"""Name -> extras of the package."""

SCRIPT = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from GTRStagingLib import load_model, read_roi, read_scan, stage_case
model = load_model("demonstration", "cpu")
folder = Path(sys.argv[1])
result = stage_case(read_scan(folder / "ct.nii.gz"), model, tumour=read_roi(folder / "tumour.nii.gz"))
print(result.prediction.stage, f"{time.perf_counter() - start:.2f}", result.provenance.backend, sep=";")
"""


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def run(command: list[str], folder: Path) -> tuple[str, float]:
    """Run a command outside the repository, and return its output and its seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "", time.perf_counter() - start


def measured(variant: str, work: Path, phantom: Path, repeats: int) -> str:
    home = work / variant
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    before = bytes_of(home)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", f"{REPOSITORY}{VARIANTS[variant]}"]
    _, installing = run(pip, work)
    size = bytes_of(home) - before
    stage = [python, "-c", SCRIPT, str(phantom)]
    said, first = run(stage, work)
    later = min(run(stage, work)[1] for _ in range(repeats))
    result, _, backend = said.split(";")
    times = f"{installing:>8.0f} s {first:>8.1f} s {later:>8.1f} s"
    return f"{variant:<6} {size / 1e6:>8,.0f} MB {times}   {result}, {backend}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="new or empty folder, with room for 10 GB")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    phantom = options.work / "phantom"
    shutil.rmtree(phantom, ignore_errors=True)
    made = ["-m", "GTRStagingLib", "phantom", "--format", "nifti", "--seed", "3", "--out", str(phantom)]
    subprocess.run([sys.executable, *made], check=True, cwd=REPOSITORY)
    print("variant     size     install    first    later   result, backend")
    for variant in options.variants:
        print(measured(variant, options.work, phantom, options.repeats), flush=True)


if __name__ == "__main__":
    main()
