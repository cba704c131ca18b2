"""Stage one case or a table of cases without a window.

    Slicer --no-splash --no-main-window --python-script GTRStagingSlicer/headless.py -- --input CT --out DIR

Writes the four files of a result and the scene, `scene.mrb`, for each case. Exit codes: 0 all done, 1 a case failed
(stderr contains the reason), 2 wrong arguments. Outside Slicer, with slicer-core: `python headless.py --input ...`.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import slicer

for _folder in (Path(__file__).resolve().parents[1], Path(__file__).resolve().parents[2]):
    if str(_folder) not in sys.path:  # run from the source tree: neither is on Slicer's path
        sys.path.append(str(_folder))

from GTRStagingLib.batch import batch  # noqa: E402
from GTRStagingLib.batch.cases import read_cases  # noqa: E402
from GTRStagingLib.batch.columns import PREDICTIONS  # noqa: E402
from GTRStagingLib.cli.arguments import COLUMNS, out_folder, share, with_flags  # noqa: E402
from GTRStagingLib.errors import InputError, StagingError  # noqa: E402
from GTRStagingLib.imaging import keyslice  # noqa: E402
from GTRStagingLib.imaging.dicom_headers import DicomSeries  # noqa: E402
from GTRStagingLib.nomogram import nomogram  # noqa: E402
from GTRStagingLib.nomogram.nomogram import Nomogram  # noqa: E402
from GTRStagingLib.stages import RESEARCH_USE_ONLY  # noqa: E402
from GTRStagingLib.staging.options import resolve_method  # noqa: E402
from GTRStagingLib.tables.case_row import CaseRow  # noqa: E402
from GTRStagingSlicer import bare, dependencies, mrb, nodes, nomograms, organs, samples, scene_staging, terminology  # noqa: E402
from GTRStagingSlicer.mrml import Application, Scene, VolumeNode  # noqa: E402
from GTRStagingSlicer.state import Device, Method, State, Target, save  # noqa: E402

if TYPE_CHECKING:
    from GTRStagingLib.model.card import ModelCard
    from GTRStagingLib.model.passes import Backbone
    from GTRStagingLib.staging.result import StagingResult


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; catch every error, or else Slicer waits without a window."""
    parser = _parser()
    try:
        options = parser.parse_args([a for a in arguments if a != "--"])
        if options.nomogram is not None and options.cases is not None:
            parser.error("--nomogram: not allowed with --cases; its values are those of one patient")
        for given, name in ((options.resume, "--resume"), (options.neighbour_maps, "--neighbour-maps")):
            if given and options.cases is None:
                parser.error(f"{name}: not allowed without --cases")
        of_one_case = {"--segmentation": options.segmentation, "--segment": options.segment,
                       "--key-slice": options.key_slice, "--stomach": options.stomach}  # fmt: skip
        for name, value in of_one_case.items():
            if value is not None and options.cases is not None:
                parser.error(f"{name}: not allowed with --cases; give it as a column of the table")
        if options.stomach_segment is not None and options.stomach is None:
            parser.error("--stomach-segment: not allowed without --stomach")
        if options.set and options.nomogram is None:
            parser.error("--set: not allowed without --nomogram")
    except SystemExit as error:
        return int(error.code or 0)
    parser = _parser_of(options, parser)
    try:
        return _run(options, parser)
    except StagingError as error:
        local = f"\n{error.details}" if error.details and options.cases is None else ""
        _print(f"GTR Staging: {with_flags(str(error), parser)}{local}", sys.stderr)
    except Exception:
        _print(f"GTR Staging: unexpected error:\n{traceback.format_exc()}", sys.stderr)
    return 1


def _parser_of(options: argparse.Namespace, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser whose options messages name; beside a table, what is of one case is a column of the table."""
    if options.cases is None:
        return parser
    of_table = argparse.ArgumentParser(add_help=False)
    for action in parser._actions:
        if action.dest not in COLUMNS:
            of_table._add_action(action)
    of_table.set_defaults(columns=COLUMNS)
    return of_table


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Stage the case or the table of cases, and return the exit code."""
    if lacking := dependencies.missing():
        if not options.install:
            raise InputError(
                f"Slicer's Python lacks {dependencies.in_words(lacking)}. Press Light in the panel once, "
                "or add `install`."
            )
        dependencies.install(options.wheels)
    from GTRStagingLib.model.backbone import load_model

    options.nomogram = None if options.nomogram is None else _requested_nomogram(options.nomogram, options.set)
    backbone = load_model(options.model, options.device)
    if options.cases is not None and backbone.card.warning is not None:
        _print_warnings((backbone.card.warning,), parser)  # once; the results of the cases contain it
    resolve_method(backbone.card, options.method)  # fails here once, not in each case
    stage_one = _make_stage_one(backbone, options)
    if options.input is not None:
        case = CaseRow(
            case_id="case",
            image=options.input,
            roi=options.segmentation,
            segment=options.segment,
            key_slice=options.key_slice,
            stomach=options.stomach,
            stomach_segment=options.stomach_segment,
            series=options.series,
        )
        result = stage_one(case, options.out)
        _print_warnings(result.warnings, parser)
        _print(f"{result.prediction.stage}  {options.out / batch.SCENE}")
        _print(RESEARCH_USE_ONLY)
        return 0
    cases = read_cases(options.cases)
    for note in cases.notes:
        _print(f"NOTE: {with_flags(note, parser)}", sys.stderr)
    counts = batch.Counts(len(cases))
    run = batch.Batch(cases, options.out, _settings_of(options, backbone.card))
    for outcome in run.run(batch.one_by_one(stage_one), resume=options.resume):
        counts = counts.with_outcome(outcome)
        text = with_flags(outcome.reason, parser) or outcome.row["stage"]
        stream = sys.stdout if outcome.error is None else sys.stderr
        _print(f"{counts.finished}/{len(cases)}  {outcome.case_id}  {text}", stream)
    _print(f"{counts.summary()}. See {options.out / PREDICTIONS}. {RESEARCH_USE_ONLY}")
    return 1 if counts.failed else 0


def _settings_of(options: argparse.Namespace, card: "ModelCard") -> dict[str, object]:
    """Return the settings that two runs of a table must share, so that the second can resume the first."""
    asked = scene_staging.options_of(_state_of(options), neighbour_maps=options.neighbour_maps).to_json()
    return {
        **batch.software_and_model(card),
        "options": asked,
        "device": options.device,
        "series": options.series,
        "scene": True,
    }


def _requested_nomogram(name: str, given: Sequence[str]) -> tuple[Nomogram, dict[str, str | float]]:
    """Return the nomogram and its values, checked before staging; only a computed Rad-score may be missing."""
    chosen = nomogram.load(name)
    values = dict(_parse_value(chosen, one) for one in given)
    computed = [term.name for term in chosen.terms if term.name == nomogram.RADSCORE and chosen.radscore is not None]
    chosen.read({**dict.fromkeys(computed, nomogram.REFERENCE), **values})
    return chosen, values


def _parse_value(chosen: Nomogram, given: str) -> tuple[str, str | float]:
    """Parse one --set into name and value."""
    name, equals, text = given.partition("=")
    if not equals:
        raise InputError(
            f"--set {given}; expected NAME=VALUE with one of the names {', '.join(term.name for term in chosen.terms)}."
        )
    return name, chosen.term(name).accepted(text)


def _state_of(options: argparse.Namespace) -> State:
    """Return the panel's state for the options, without a case."""
    return State(
        model=options.model,
        method=Method(options.method),
        target=Target(options.target),
        threshold=options.threshold,
        device=Device(options.device),
    )


def _make_stage_one(backbone: "Backbone", options: argparse.Namespace) -> Callable[[CaseRow, Path], "StagingResult"]:
    """Return the function that stages one case in its own scene and writes result and scene."""
    from dataclasses import replace

    from GTRStagingLib.results.outputs import write_outputs

    def stage_one(case: CaseRow, folder: Path) -> "StagingResult":
        scene, application, close = _empty_scene()
        try:
            ct, warnings = load_ct(scene, case.ct, case.series or options.series)
            state = _state_of(options)
            state.inputVolume, state.keySlice = ct, _index_of(case)
            if case.roi is not None:
                from GTRStagingLib.imaging import rois

                roi = rois.read_roi(case.roi, segment=case.segment)
                drawn = roi.image(nodes.placed(ct).image, resample=True)  # as in the panel, see `scene_staging.compute`
                state.tumourSegmentation = samples.add_tumour(scene, ct, drawn, roi.segment, roi.segment)
                state.tumourSegment = samples.TUMOUR
                warnings += roi.warnings
            if case.stomach is not None:
                warnings += _add_stomach(scene, ct, case.stomach, case.stomach_segment)
            _require_key_slice(state)
            every = options.neighbour_maps or options.input is not None
            result = scene_staging.stage(state, backbone, scene, application, neighbour_maps=every)
            result = replace(result, warnings=(*warnings, *result.warnings))  # of the files, which nodes do not have
            if options.input is None:
                result = replace(result, case_id=case.case_id)
            extra = {} if options.nomogram is None else _read_nomogram(state, scene, *options.nomogram)
            write_outputs(result, folder, **extra)
            save(state, scene)
            mrb.write_scene(scene, folder / batch.SCENE)
            return result
        finally:
            close()

    return stage_one


def _require_key_slice(state: State) -> None:
    """Refuse a case of several slices that has neither a key slice nor an ROI, by the parameters' names."""
    if state.tumourSegmentation is None and state.keySlice < 0:
        placed_ct = nodes.placed(state.inputVolume)
        keyslice.choose(nodes.scan_of(placed_ct, state.inputVolume.GetName() or ""))


def _add_stomach(scene: Scene, ct: VolumeNode, path: Path, segment: str | None) -> tuple[str, ...]:
    """Add a mask of the stomach to the scene, with which the key slice is compared; return its warnings."""
    from GTRStagingLib.imaging import rois

    stomach, grid = rois.read_stomach(path, segment=segment), nodes.placed(ct).image
    with rois.stomach_named():
        stomach.onto(grid, resample=True)  # refused here: a scene's stomach that cannot be compared is but warned of
        drawn = stomach.image(grid, resample=True)
    name = organs.STOMACH_NAME
    samples.add_segmentation(scene, ct, drawn, name, name, samples.YELLOW, name, terminology.STOMACH)
    return stomach.warnings


def _index_of(case: CaseRow) -> int:
    """Return the index of the key slice that a case names; -1 without one."""
    if case.key_slice == "ko":
        raise InputError(
            "The key slice is 'ko', that of a key object selection, which is not read in 3D Slicer; expected an index. "
            "Give the index, or stage the case with gtrstaging."
        )
    return -1 if case.key_slice is None else case.key_slice


def _read_nomogram(state: State, scene: Scene, chosen: Nomogram, values: dict[str, str | float]) -> dict[str, Any]:
    """Add a nomogram and its result to the scene; return the arguments for the report."""
    nomograms.choose(state, scene, chosen)
    for name, value in values.items():
        nomograms.set_value(state, scene, name, value)
    now = cast(nomograms.Status, nomograms.show(state, scene, stale=False))  # None only without a nomogram
    if now.reading is None:
        raise InputError(f"{chosen.name}: {now.reason} {now.radscore}")
    if values.items() - now.values.items():
        raise InputError(
            f"--set {nomogram.RADSCORE}={values[nomogram.RADSCORE]} is not allowed: {chosen.name} computes its "
            f"Rad-score ({now.values[nomogram.RADSCORE]:.4g}). Leave it out."
        )
    return {"nomogram": chosen, "values": now.values}


def _empty_scene() -> tuple[Scene, Application, Callable[[], None]]:
    """Return an empty scene (inside Slicer, Slicer's own), its application logic, and a function to close it."""
    if in_application():
        slicer.mrmlScene.Clear(False)
        return slicer.mrmlScene, slicer.app.applicationLogic(), lambda: slicer.mrmlScene.Clear(False)
    made = bare.bare_scene()
    return made.scene, made.application, made.close


def in_application() -> bool:
    """Return whether the code runs inside 3D Slicer instead of with slicer-core."""
    return hasattr(slicer, "app")


def load_ct(scene: Scene, path: Path, series: str | None = None) -> tuple[VolumeNode, tuple[str, ...]]:
    """Load a CT as a volume node, and return it with warnings; inside Slicer, its DICOM module loads DICOM folders."""
    from GTRStagingLib.imaging import scans

    if in_application() and path.is_dir():
        return _load_dicom(path, series), ()
    scan = scans.read_scan(path, series=series)
    return samples.add_ct(scene, scan.image, path.name), scan.warnings


def _load_dicom(folder: Path, series: str | None) -> VolumeNode:
    """Load the chosen CT series of a DICOM folder with Slicer's DICOM module."""
    from DICOMLib import DICOMUtils

    # A separate folder for each run: Slicer names its own by the second, so that two runs could share one.
    with (
        tempfile.TemporaryDirectory(prefix="gtrstaging-") as place,
        DICOMUtils.TemporaryDICOMDatabase(place) as database,
    ):
        DICOMUtils.importDicom(str(folder), database)
        first = {
            uid: database.filesForSeries(uid)[0]
            for patient in database.patients()
            for study in database.studiesForPatient(patient)
            for uid in database.seriesForStudy(study)
        }
        numbers = {
            uid: database.fileValue(file, "0020,0011").strip()
            for uid, file in first.items()
            if database.fileValue(file, "0008,0060") == "CT"
        }
        chosen = [chosen_series(numbers, series)]
        ids = DICOMUtils.loadSeriesByUID(chosen)
    volumes = [slicer.mrmlScene.GetNodeByID(one) for one in ids or []]
    volumes = [node for node in volumes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
    if len(volumes) != 1:
        raise InputError(
            f"{folder.name} was loaded as {len(volumes)} volumes; expected one. Load it in Slicer's DICOM module, and "
            "save it as NRRD."
        )
    return volumes[0]


def chosen_series(numbers: Mapping[str, str], wanted: str | None) -> str:
    """Return the UID of the CT series with the UID, number or end of UID `wanted`; else the only one.

    Parameters
    ----------
    numbers
        UID -> series number, as `DicomSeries.fits` compares them with `wanted`.

    Raises
    ------
    InputError
        If no series or several ones fit, or `wanted` is a part of a series, which 3D Slicer loads as a whole.
    """
    ways: list[list[str]] = [list(numbers)]
    if wanted is not None:
        fits = {
            uid: DicomSeries(uid, int(number) if number.isdecimal() else None, "", "CT", "CT", ()).fits(wanted)
            for uid, number in numbers.items()
        }
        ways = [[uid for uid in numbers if fits[uid][way]] for way in range(3)]
    fitting = next((way for way in ways if way), [])
    if len(fitting) == 1:
        return fitting[0]
    raise InputError(
        f"{len(fitting)} of {len(numbers)} CT series fit; expected one whole series. Give its number or UID as "
        "`series`. Only the command line stages a part of a series.",
        details="; ".join(f"number {number or 'unknown'}: {uid}" for uid, number in numbers.items()),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headless.py", description=f"Stage cases without a window. {RESEARCH_USE_ONLY}"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", type=Path, help="DICOM folder, NIfTI, NRRD or MetaImage")
    what.add_argument("--cases", type=Path, metavar="TABLE",
                      help="CSV with case_id, image, series, roi, segment, key_slice, stomach, "
                      "stomach_segment")  # fmt: skip
    parser.add_argument("--out", type=out_folder, required=True, help="folder for the results")
    parser.add_argument("--series", help="UID, or its end, or number of the CT series in a DICOM folder")
    parser.add_argument("--segmentation", type=Path, help="ROI of the tumour")
    parser.add_argument("--segment", help="label or number of the ROI's segment")
    parser.add_argument("--stomach", type=Path, metavar="FILE", help="mask of the stomach: a key slice without stomach "
                        "is warned of")  # fmt: skip
    parser.add_argument("--stomach-segment", metavar="SEGMENT", help="name or number of the stomach's segment "
                        "(default: 'stomach', if there are several)")  # fmt: skip
    parser.add_argument("--key-slice", type=int, help="index of the axial slice, 0 nearest the feet")
    parser.add_argument("--model", default=State.model, metavar="NAME|FOLDER", help="default: %(default)s")
    parser.add_argument("--cam", dest="method", choices=[m.value for m in Method], default=State.method.value,
                        help="attention method (default: %(default)s)")  # fmt: skip
    parser.add_argument("--target", choices=[t.value for t in Target], default="predicted",
                        help="stage for which the attention is shown (default: %(default)s)")  # fmt: skip
    parser.add_argument("--threshold", type=share, default=0.5, help="threshold of the attention, a share of the key "
                        "slice's maximum (default: %(default)s)")  # fmt: skip
    parser.add_argument("--device", choices=[d.value for d in Device], default="auto",
                        help="device of the network (default: %(default)s)")  # fmt: skip
    parser.add_argument("--nomogram", metavar="NAME|FILE", help="also compute a nomogram, with the values of --set")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="value of one term of the "
                        f"nomogram; {nomogram.REFERENCE!r} leaves it out")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="with --cases: resume in a folder with results")
    parser.add_argument("--neighbour-maps", action="store_true", help="with --cases: also compute a fine map for the "
                        "neighbouring slices, which takes longer")  # fmt: skip
    parser.add_argument("--install", action="store_true", help="install missing packages, without asking")
    parser.add_argument("--wheels", type=Path, help="with --install: folder of wheels, for a computer without network")
    return parser


def _print_warnings(warnings: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print warnings on stderr in the words of the command line; stdout has the result alone."""
    for warning in warnings:
        _print(f"WARNING    {with_flags(warning, parser)}", sys.stderr)


def _print(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    stream.write(text + "\n")
    stream.flush()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if in_application():
        slicer.util.exit(code)
    else:
        sys.exit(code)
