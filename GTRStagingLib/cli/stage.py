"""Add the command `gtrstaging stage`: stage one CT and write the result."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    Commands,
    add_device,
    add_dicom_codes,
    add_input,
    add_model,
    add_proposal,
    given_ct,
    given_models,
    input_contradiction,
    key_slice,
    out_folder,
    progress_bar,
    staging_options,
    timed,
)
from GTRStagingLib.cli.send import add_store, print_sent, store_contradiction
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    from GTRStagingLib.dicom_results.identity import Kind
    from GTRStagingLib.imaging.keyslice import KeyChoice
    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.staging.result import StagingResult


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    stage = commands.add_parser("stage", help="stage one CT", description=f"Stage one CT. {RESEARCH_USE_ONLY}")
    stage.set_defaults(run=_stage, contradiction=_contradiction, supervised=True)
    add_input(stage, "; or a windowed 8-bit PNG")
    stage.add_argument(
        "--out", type=out_folder, help="folder for result.json, attention.nrrd, overlay.png, report.html"
    )
    stage.add_argument("--mrb", type=Path, metavar="FILE", help="scene of the result for 3D Slicer, with the CT")
    stage.add_argument("--dicom", type=out_folder, metavar="DIR", help="folder for the result as DICOM objects of the "
                       "CT's study: structured report, map, region, key objects, picture")  # fmt: skip
    add_dicom_codes(stage)
    add_store(stage)
    stage.add_argument("--json", action="store_true", help="print only the result, as JSON")
    stage.add_argument(
        "--segmentation",
        type=Path,
        help="ROI of the tumour: DICOM SEG or RTSTRUCT (or the folder of a study that has "
        "one), .seg.nrrd, NRRD, NIfTI, MHA",
    )
    stage.add_argument("--segment", help="name or number of the tumour's segment or ROI, if there are several")
    stage.add_argument(
        "--resample-roi", action="store_true", help="accept an ROI on another grid; resample it by nearest neighbour"
    )
    key = stage.add_mutually_exclusive_group()
    key.add_argument("--key-slice", type=key_slice, metavar="INDEX|ko", help="index of the key slice, from 0 nearest "
                     "the feet; or ko, for the slice that a key object selection in the folder of the CT or beside it "
                     "marks")  # fmt: skip
    key.add_argument(
        "--key-position-mm", type=float, metavar="S", help="position of the key slice towards the head, as in Slicer"
    )
    add_proposal(stage, key)
    stage.add_argument("--stomach", type=Path, metavar="FILE", help="mask of the stomach, in the forms of "
                       "--segmentation, as by TotalSegmentator: a key slice without stomach is warned of, and none is "
                       "proposed there")  # fmt: skip
    stage.add_argument("--stomach-segment", metavar="SEGMENT", help="name or number of the stomach's segment "
                       "(default: 'stomach', if there are several)")  # fmt: skip
    stage.add_argument("--neighbour-mm", type=float, metavar="MM", help="distance of the neighbouring slices "
                       "(default: the adjacent acquired slices)")  # fmt: skip
    add_model(stage)
    stage.add_argument("--alignment", choices=["receptive-field", "half-pixel"], default="receptive-field",
                       help="placement of the map's cells (default: %(default)s)")  # fmt: skip
    add_device(stage)
    stage.add_argument("--case-id", help="name of the case in the results (default: from the input's hash)")
    stage.add_argument("--include-phi", action="store_true", help="write patient identifiers into the results")


def _contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options contradict each other, or None."""
    if (wrong := input_contradiction(options)) is not None:
        return wrong
    if (wrong := store_contradiction(options)) is not None:
        return wrong
    if options.out is None and options.mrb is None and options.dicom is None and not options.json:
        return "expected --out DIR, --dicom DIR, --mrb FILE or --json"
    if options.dicom_codes is not None and options.dicom is None:
        return "--dicom-codes requires --dicom"
    if options.mrb is not None and options.mrb.suffix.lower() != ".mrb":
        return f"--mrb {options.mrb}: expected a name that ends in .mrb"
    if options.case_id is not None and not options.case_id.strip():
        return "--case-id: expected a name"
    if options.segment is not None and options.segmentation is None:
        return "--segment requires --segmentation"
    if options.stomach_segment is not None and options.stomach is None:
        return "--stomach-segment requires --stomach"
    if options.resample_roi and options.segmentation is None and options.stomach is None:
        return "--resample-roi requires --segmentation or --stomach"
    if options.propose_key_slice and options.segmentation is not None:
        return "--propose-key-slice and --segmentation: the ROI determines the key slice; leave one of them out"
    return None


def _stage(options: argparse.Namespace) -> int:
    """Stage the case, write the results, send them and print a summary; return 1 if not all could be sent."""
    from GTRStagingLib.imaging.inputs import read_inputs
    from GTRStagingLib.model.backbone import load_models
    from GTRStagingLib.staging.pipeline import STEPS, stage_case

    with progress_bar(len(STEPS) + 3) as step:
        timings: dict[str, float] = {}
        with timed(timings, "reading", step):
            scan, tumour, stomach = read_inputs(
                given_ct(options),
                series=options.series,
                roi=options.segmentation,
                segment=options.segment,
                stomach=options.stomach,
                stomach_segment=options.stomach_segment,
                key_slice=options.key_slice,
            )
            if options.dicom is not None:
                from GTRStagingLib.dicom_results.write import require_dicom_results, write_dicom_results

                require_dicom_results(scan, options.dicom)
            key = _key_slice(options, scan)
        with timed(timings, "loading the model", step):
            model = load_models(given_models(options), options.device, options.backend)
        result = stage_case(
            scan,
            model,
            staging_options(options),
            tumour=tumour,
            stomach=stomach,
            key_slice=key,
            case_id=options.case_id,
            progress=step,
        )
        result = replace(result, timings_s={**timings, **result.timings_s})
        step("writing")
        if options.out is not None:
            from GTRStagingLib.results.outputs import write_outputs

            write_outputs(result, options.out, include_phi=options.include_phi)
        objects: dict[Kind, Path] = {}
        if options.dicom is not None:
            objects = write_dicom_results(
                result, options.dicom, threshold=options.threshold, codes=options.dicom_codes or "standard"
            )
        if options.mrb is not None:
            import_extra("GTRStagingSlicer.mrb", "A scene file needs", "slicer").write_mrb(
                result, options.mrb, tumour=tumour
            )
    if options.json:
        from GTRStagingLib.results.record import to_json

        print(json.dumps(to_json(result, include_phi=options.include_phi), allow_nan=False))
    else:
        _print_summary(result, options.out)
        if objects:
            print(f"DICOM      {options.dicom}: {', '.join(path.name for path in objects.values())}")
        for warning in result.warnings:
            print(f"WARNING    {warning}")
        print(RESEARCH_USE_ONLY)
    return 0 if options.store is None else _send(options, list(objects.values()))


def _send(options: argparse.Namespace, files: list[Path]) -> int:
    """Send the DICOM objects that were written; return 1 if not all could be sent, after saying so."""
    from GTRStagingLib.archive.sending import send_folder

    sent = send_folder(options.dicom, options.store, files=files)
    print_sent(sent, options.dicom, file=sys.stderr if options.json else sys.stdout)
    return 0 if sent.complete else 1


def _key_slice(options: argparse.Namespace, scan: "Scan") -> "KeyChoice | None":
    """Return the key slice that the options name, its index or 'ko'; None without one."""
    from GTRStagingLib.imaging import keyslice

    if options.key_position_mm is not None:
        return keyslice.by_position(scan.grid, options.key_position_mm)
    choice: KeyChoice | None = options.key_slice
    return choice


def _print_summary(result: "StagingResult", out: Path | None) -> None:
    from GTRStagingLib.results import words

    prediction, key = result.prediction, result.key_slice
    votes = ", ".join(
        f"{'key slice' if s.offset == 0 else f'{s.offset:+d}'}: {s.stage} ({s.probabilities[s.stage]:.2f})"
        for s in prediction.slices
    )
    shares = "  ".join(f"{stage} {p:.2f}" for stage, p in zip(TStage, prediction.probabilities, strict=True))
    print(f"Stage      {prediction.stage}   {'unanimous' if prediction.unanimous else 'not unanimous'} ({votes})")
    print(f"Mean       {shares}")
    if (looks := words.looks_in_words(result)) is not None:
        print(f"Looks      {looks}")
    print(f"Likeness   {words.likeness(result.familiarity)}: {words.likeness_in_words(result.familiarity)}")
    print(f"Set        {words.stage_set_in_words(result)}")
    print(f"Stable     {words.stability_in_words(result.stability, prediction)}")
    place = f" at S {key.position_mm:.1f} mm" if result.scan.spacing_known else ""
    print(f"Key slice  {key.index}{place}, {words.choice_in_words(key, spacing_known=result.scan.spacing_known)}")
    for one in () if result.proposal is None else result.proposal.candidates:
        print(f"           proposed: {one.index} at S {one.position_mm:.1f} mm, score {one.score:.2f}")
    print(f"Map        {words.map_name(result.attention)}: {result.map_check}")
    if result.agreement is not None:
        agreement = result.agreement
        if (region := words.region_in_words(agreement)) is None:
            print(f"Agreement  not defined: {agreement.reasons['all']}")
        else:
            print(f"Agreement  {region}")
            print(f"           {words.baselines_in_words(agreement, words.section_in_words(result))}")
    print(f"Device     {result.provenance.device}, {result.provenance.backend}, {sum(result.timings_s.values()):.1f} s")
    if out is not None:
        volumes = "attention.nrrd" if result.looks is None else "attention.nrrd, disagreement.nrrd"
        print(f"Written    {out / 'report.html'} with result.json, overlay.png and {volumes}")
