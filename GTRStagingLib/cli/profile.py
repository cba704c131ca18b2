"""Add the command `gtrstaging profile`: stage one CT along its slices."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    Commands,
    add_device,
    add_input,
    add_model,
    counting_bar,
    given_ct,
    input_contradiction,
    key_slice,
    number,
    out_folder,
    staging_options,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.support.counts import counted

if TYPE_CHECKING:
    import numpy as np

    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.staging.profile import Profile


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    one = commands.add_parser(
        "profile",
        help="stage one CT along its slices",
        description="Stage one CT with each slice as the key slice: stage, familiarity and attention by position, and "
        f"how far the key slice may move before the stage changes. {RESEARCH_USE_ONLY}",
    )
    one.set_defaults(run=_profile, contradiction=_contradiction, supervised=True)
    add_input(one)
    one.add_argument("--out", type=out_folder, required=True, help="folder for profile.html, profile.csv, profile.json")
    which = one.add_argument_group("slices", "without an option, all slices of the scan")
    which.add_argument("--from", dest="low_mm", type=number, metavar="MM", help="lowest position S (towards the feet)")
    which.add_argument("--to", dest="high_mm", type=number, metavar="MM", help="highest position S (towards the head)")
    which.add_argument("--around", dest="around", type=key_slice, metavar="INDEX|ko",
                       help="the key slice, by its index from 0 nearest the feet or as marked by a key object "
                       "selection (ko), and those around it")  # fmt: skip
    which.add_argument("--segmentation", type=Path, help="ROI of the tumour or the stomach, as in stage; its slices, "
                       "if no other range is given. Without --around, the key slice is that of its largest "
                       "area")  # fmt: skip
    which.add_argument("--mm", type=number, help="distance beyond --around (default: 30) or beyond the ROI "
                       "(default: 0)")  # fmt: skip
    one.add_argument("--segment", help="name or number of the segment or ROI, if there are several")
    one.add_argument(
        "--resample-roi", action="store_true", help="accept an ROI on another grid; resample it by nearest neighbour"
    )
    one.add_argument("--neighbour-mm", type=float, metavar="MM", help="distance of the neighbours that vote with a "
                     "slice (default: the adjacent acquired slices)")  # fmt: skip
    add_model(one, several=False)  # a profile is of one look of one model
    add_device(one)
    one.add_argument("--case-id", help="name of the case in the results (default: from the input's hash)")


def _contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options contradict each other, or None."""
    if (wrong := input_contradiction(options)) is not None:
        return wrong
    range_given = options.low_mm is not None or options.high_mm is not None
    for name, value in (("--from", options.low_mm), ("--to", options.high_mm), ("--mm", options.mm)):
        if value is not None and not abs(value) < float("inf"):
            return f"{name}: expected a number of millimetres"
    if options.mm is not None and options.mm < 0:
        return f"--mm {options.mm:g}: expected a distance of 0 or more"
    if range_given and options.around is not None:
        return "--around and --from or --to name two ranges; give one of them"
    if options.low_mm is not None and options.high_mm is not None and options.low_mm > options.high_mm:
        return f"--from {options.low_mm:g} lies above --to {options.high_mm:g}; give the lower position as --from"
    if options.mm is not None and (range_given or (options.around is None and options.segmentation is None)):
        return "--mm is a distance from --around or beyond --segmentation; give one of these, without --from and --to"
    if options.case_id is not None and not options.case_id.strip():
        return "--case-id: expected a name"
    for name, given in (("--segment", options.segment is not None), ("--resample-roi", options.resample_roi)):
        if given and options.segmentation is None:
            return f"{name} requires --segmentation"
    return None


def _profile(options: argparse.Namespace) -> None:
    """Make the profile, write it and print a summary."""
    from GTRStagingLib.imaging import keyslice
    from GTRStagingLib.imaging.inputs import read_inputs
    from GTRStagingLib.model.backbone import load_model
    from GTRStagingLib.results.profile_outputs import write_profile
    from GTRStagingLib.staging.scanning import profile_scan

    scan, tumour, _ = read_inputs(
        given_ct(options),
        series=options.series,
        roi=options.segmentation,
        segment=options.segment,
        key_slice=options.around,
    )
    areas = None
    if tumour is not None:
        areas = keyslice.areas_mm2(scan.grid, tumour.onto(scan.grid, resample=options.resample_roi))
    indices = _indices(options, scan, areas)
    model = load_model(options.model, options.device, options.backend)
    with counting_bar() as progress:
        found = profile_scan(
            scan,
            model,
            staging_options(options),
            indices=indices,
            tumour=tumour,
            key_slice=options.around,
            case_id=options.case_id,
            progress=progress,
        )
    write_profile(found, options.out)
    _print_summary(found, options.out)


def _indices(options: argparse.Namespace, scan: "Scan", areas: "np.ndarray | None") -> range:
    """Return the slices that the options name."""
    from GTRStagingLib.imaging import keyslice
    from GTRStagingLib.staging.profile import NEAR_MM, slices_between, slices_near

    if options.around is not None:
        key = keyslice.choose(scan, key_slice=options.around)
        return slices_near(scan.grid, [key.index], NEAR_MM if options.mm is None else options.mm)
    if options.low_mm is None and options.high_mm is None and areas is not None and areas.any():
        return slices_near(scan.grid, areas.nonzero()[0].tolist(), options.mm or 0.0)
    return slices_between(scan.grid, options.low_mm, options.high_mm)


def _print_summary(found: "Profile", out: Path) -> None:
    from GTRStagingLib.results import words
    from GTRStagingLib.results.profile_outputs import in_words

    first, last = found.slices[0], found.slices[-1]
    ends = f"{first.index} to {last.index}, S {first.position_mm:.1f} to {last.position_mm:.1f} mm"
    print(f"Asked      {counted(len(found.slices), 'slice')}, {ends}")
    if found.key_slice is not None:
        key = found.key_slice
        print(f"Key slice  {key.index} at S {key.position_mm:.1f} mm, {words.choice_in_words(key)}")
        print(f"Stage      {'none: the key slice was refused' if found.stage is None else found.stage}")
    print(f"Stable     {in_words(found)}")
    print(f"Device     {found.provenance.device}, {found.provenance.backend}")
    print(f"Written    {out / 'profile.html'} with profile.csv and profile.json")
    for warning in found.warnings:
        print(f"WARNING    {warning}")
    print(RESEARCH_USE_ONLY)
