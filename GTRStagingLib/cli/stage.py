"""Add the command `gtrstaging stage`: stage one CT and write the result."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.cli.arguments import (
    Commands,
    add_device,
    add_dicom_codes,
    add_model,
    add_proposal,
    folder_path,
    given_models,
    progress_bar,
    staging_options,
    timed,
)
from GTRStagingLib.stages import RESEARCH_USE_ONLY, TStage
from GTRStagingLib.support.extras import import_extra

if TYPE_CHECKING:
    from GTRStagingLib.imaging.keyslice import KeySlice
    from GTRStagingLib.imaging.scans import Scan
    from GTRStagingLib.staging.result import StagingResult


def add_to(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command to those of `gtrstaging`."""
    stage = commands.add_parser("stage", help="stage one CT", description=f"Stage one CT. {RESEARCH_USE_ONLY}")
    stage.set_defaults(run=_stage, contradiction=_contradiction, supervised=True)
    stage.add_argument("input", type=Path, help="DICOM folder or file, NIfTI, NRRD, MHA; or a windowed 8-bit PNG")
    stage.add_argument(
        "--out", type=folder_path, help="folder for result.json, attention.nrrd, overlay.png, report.html"
    )
    stage.add_argument("--mrb", type=Path, metavar="FILE", help="scene of the result for 3D Slicer, with the CT")
    stage.add_argument("--dicom", type=folder_path, metavar="DIR", help="folder for the result as DICOM objects of the "
                       "CT's study: structured report, map, region, key objects, picture")  # fmt: skip
    add_dicom_codes(stage)
    stage.add_argument("--json", action="store_true", help="print only the result, as JSON")
    stage.add_argument("--series", help="UID or number of the CT series in a DICOM folder")
    stage.add_argument(
        "--segmentation", type=Path, help="ROI of the tumour: DICOM SEG, RTSTRUCT, .seg.nrrd, NRRD, NIfTI, MHA"
    )
    stage.add_argument("--segment", help="name or number of the tumour's segment or ROI, if there are several")
    stage.add_argument(
        "--resample-roi", action="store_true", help="accept an ROI on another grid; resample it by nearest neighbour"
    )
    key = stage.add_mutually_exclusive_group()
    key.add_argument("--key-slice", type=int, metavar="INDEX", help="index of the key slice, from 0 nearest the feet")
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


def _stage(options: argparse.Namespace) -> None:
    """Stage the case, write the results and print a summary."""
    from GTRStagingLib.imaging import rois, scans
    from GTRStagingLib.model.backbone import load_models
    from GTRStagingLib.staging.pipeline import STEPS, stage_case

    with progress_bar(len(STEPS) + 3) as step:
        timings: dict[str, float] = {}
        with timed(timings, "reading", step):
            scan = scans.read_scan(options.input, series=options.series)
            if options.dicom is not None:
                from GTRStagingLib.dicom_results.write import require_dicom_results, write_dicom_results

                require_dicom_results(scan)
            tumour = None
            if options.segmentation is not None:
                tumour = rois.read_roi(options.segmentation, segment=options.segment)
            stomach = None
            if options.stomach is not None:
                stomach = rois.read_stomach(options.stomach, segment=options.stomach_segment)
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
        objects = {}
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


def _key_slice(options: argparse.Namespace, scan: "Scan") -> "KeySlice | int | None":
    """Return the key slice that the options name, or its index; None without one."""
    from GTRStagingLib.imaging import keyslice

    if options.key_position_mm is not None:
        return keyslice.by_position(scan.grid, options.key_position_mm)
    index: int | None = options.key_slice
    return index


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
    how = "proposed by the model" if key.chosen_by == "proposed" else f"chosen by {key.chosen_by}"
    print(f"Key slice  {key.index}{place}, {how}")
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
