"""Write a result as a scene file (`.mrb`) that 3D Slicer opens with the panel filled in, also outside Slicer."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from GTRStagingLib.errors import InputError, OutputError
from GTRStagingLib.imaging.rois import Roi
from GTRStagingLib.support.files import replace_files
from GTRStagingSlicer import nodes, samples, scene_staging
from GTRStagingSlicer.bare import bare_scene
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.state import Method, State, Target, save

if TYPE_CHECKING:
    from GTRStagingLib.staging.result import StagingResult


def require_scene_name(path: Path) -> None:
    """Raise `InputError` unless a path ends in `.mrb`."""
    if path.suffix.lower() != ".mrb":
        raise InputError(f"{path.name}; expected a name that ends in .mrb. Rename the file.")


def write_mrb(result: "StagingResult", path: Path, *, tumour: Roi | None = None) -> None:
    """Write a result, its CT and its ROI as a scene file, with the package slicer-core.

    Raises
    ------
    InputError
        If the input has no spacing, or the name does not end in `.mrb`.
    OutputError
        If the file cannot be written; then no file is left.
    """
    require_scene_name(path)
    if not result.scan.spacing_known:
        raise InputError("The input is a picture without spacing; a scene file requires a volume. Leave out `mrb`.")
    bare = bare_scene()
    try:
        ct = samples.add_ct(bare.scene, result.scan.image, result.case_id)
        state = State(
            inputVolume=ct,
            model=result.model.name,
            method=Method(result.attention.method),
            target=Target.PREDICTED
            if result.attention.target == result.prediction.stage
            else Target(str(result.attention.target)),
            threshold=0.5 if result.agreement is None else result.agreement.threshold,
        )
        if tumour is not None:
            # The result exists, so an ROI on other voxels was accepted.
            drawn = tumour.image(result.scan.grid, resample=True)
            state.tumourSegmentation = samples.add_tumour(bare.scene, ct, drawn, tumour.segment, tumour.segment)
            state.tumourSegment = samples.TUMOUR
        scene_staging.show(result, state, bare.scene, bare.application, placed_ct=nodes.placed(ct))
        save(state, bare.scene)
        write_scene(bare.scene, path)
    finally:
        bare.close()


def write_scene(scene: Scene, path: Path) -> None:
    """Write a scene file, and read it back: Slicer's writer reports no error when the disk is full.

    Raises
    ------
    OutputError
        If the file cannot be written or read back; then an earlier file is unchanged.
    """
    require_scene_name(path)
    try:
        with replace_files(path.absolute().parent, [path.name]) as work:
            made = work / path.name
            if not scene.WriteToMRB(str(made)) or not made.is_file():
                raise OSError("Slicer could not write the scene")
            with zipfile.ZipFile(made) as bundle:
                if (damaged := bundle.testzip()) is not None:
                    raise OSError(f"its part {damaged} is damaged")
    except (OSError, zipfile.BadZipFile) as error:
        raise OutputError(
            f"{path} cannot be written: {error}; expected a writable folder with enough space for the CT. Free some "
            "space, or choose another folder."
        ) from error
