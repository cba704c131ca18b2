"""Add the command `gtrstaging phantom`: write one or many synthetic CTs."""

import argparse

from GTRStagingLib.cli.arguments import Commands, out_folder, progress_bar
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.counts import counted

SCANNERS = ("A", "B", "C")
"""Repeated here, so that `--help` imports no large package; a test compares them with the library's."""


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    phantom = commands.add_parser("phantom", help="write synthetic CTs with a tumour of known stage, and its mask")
    phantom.set_defaults(run=_phantom)
    phantom.add_argument("--out", type=out_folder, required=True)
    how_many = phantom.add_mutually_exclusive_group()
    how_many.add_argument("--stage", choices=[s.name for s in TStage], default="T3", help="default: %(default)s")
    how_many.add_argument(
        "--cases", type=int, metavar="N", help="write N patients of alternating stages, and their cohort table"
    )
    phantom.add_argument(
        "--seed", type=int, default=0, help="seed; equal seeds give the same patient (default: %(default)s)"
    )
    phantom.add_argument("--scanner", choices=SCANNERS, nargs="+", default=["A"],
                         help="scanner profile; several are used in turn (default: A)")  # fmt: skip
    phantom.add_argument(
        "--size", type=int, default=256, help="width and height of a slice in pixels (default: %(default)s)"
    )
    phantom.add_argument("--format", choices=["dicom", "nifti"], default="dicom", help="default: %(default)s")
    phantom.add_argument("--workers", type=int, default=1, metavar="N", help="number of processes, with --cases")


def _phantom(options: argparse.Namespace) -> None:
    if options.cases is not None:
        _phantom_cohort(options)
        return
    from GTRStagingLib.phantoms import export, phantom

    made = phantom.make_phantom(TStage[options.stage], seed=options.seed, scanner=options.scanner[0], size=options.size)
    write = export.write_dicom if options.format == "dicom" else export.write_nifti
    write(made, options.out)
    size = " x ".join(map(str, made.ct.GetSize()))
    print(f"{options.out}: synthetic CT, {made.stage}, seed {made.seed}, scanner {made.scan.profile.name}, {size}")


def _phantom_cohort(options: argparse.Namespace) -> None:
    from GTRStagingLib.phantoms.phantom_cohort import make_phantom_cohort

    with progress_bar(options.cases) as step:
        table = make_phantom_cohort(
            options.out,
            cases=options.cases,
            seed=options.seed,
            scanners=options.scanner,
            size=options.size,
            form=options.format,
            workers=options.workers,
            progress=lambda done: step(f"case {done}"),
        )
    cases = counted(options.cases, "synthetic case")
    print(f"{table}: {cases} of centre {', '.join(options.scanner)}. {RESEARCH_USE_ONLY}")
