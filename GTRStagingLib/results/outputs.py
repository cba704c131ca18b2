"""Write the output folder of a case, completely or not at all; result.json is written last."""

import gzip
import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import SimpleITK as sitk

from GTRStagingLib.errors import OutputError, StagingError
from GTRStagingLib.imaging.geometry import Grid, same_grid
from GTRStagingLib.nomogram.nomogram import Nomogram
from GTRStagingLib.results import report
from GTRStagingLib.results.record import to_json
from GTRStagingLib.results.words import choice_in_words, map_name, scale_in_words
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.attention import Attention
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support.files import replace_files, require_utf8_path
from GTRStagingLib.support.given import given_path
from GTRStagingLib.tables.case_files import DISAGREEMENT, OUTPUTS


def write_outputs(
    result: StagingResult,
    out: Path,
    *,
    include_phi: bool = False,
    nomogram: Nomogram | None = None,
    values: Mapping[str, str | float] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Path]:
    """Write attention.nrrd, overlay.png, report.html and result.json into a folder; no file is left half written.

    For several looks also disagreement.nrrd; one of an earlier result is removed.

    Parameters
    ----------
    out
        Output folder, made if it does not exist; files of these names in it are replaced.
    include_phi, nomogram, values
        As in `report.html`; result.json contains nothing of the nomogram.
    progress
        Called with each file's name before it is written; an exception that it raises stops the writing and leaves
        the folder unchanged.

    Returns
    -------
    File name -> path.

    Raises
    ------
    InputError
        If the folder's path is not valid UTF-8, or the nomogram does not accept a value.
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    OutputError
        If the folder is not writable, the disk is full, or a folder has the name of a file. The folder is then
        unchanged, unless a finished file could not be moved into it: then result.json is missing, and the other files
        are partly new and partly old, as after the end of the process during these moves.
    """
    out = given_path("out", out)
    require_utf8_path(out.absolute())  # Python 3.12 and later name the temporary folder by it
    picture = report.overlay_module().png(result)
    page = report.html(result, picture, include_phi=include_phi, nomogram=nomogram, values=values)
    contents = {
        "overlay.png": picture,
        "report.html": page.encode(),
        "result.json": _json(result, include_phi=include_phi),
    }
    looks = result.looks
    volumes = {} if looks is None else {DISAGREEMENT: (looks.disagreement, looks.volume)}
    volumes["attention.nrrd"] = (result.attention, result.attention_volume)
    names, volume = [*volumes, *contents], ""
    try:
        with replace_files(out, names, older=[DISAGREEMENT]) as work:
            for volume, (attention, image) in volumes.items():
                progress(volume)
                _write_volume(result, attention, image, work / volume)
            for name, content in contents.items():
                progress(name)
                (work / name).write_bytes(content)
    except OSError as error:
        raise OutputError(not_written(out, error, volume)) from error
    except RuntimeError as error:  # of ITK, which does not distinguish a full disk from an invalid image
        full = shutil.disk_usage(out if out.is_dir() else out.absolute().parent).free < 16e6
        raise (OutputError if full else StagingError)(not_written(out, error, volume)) from error
    return {name: out / name for name in names}


def _json(result: StagingResult, *, include_phi: bool) -> bytes:
    """Return the record as JSON without spaces, since it contains thousands of numbers."""
    record = to_json(result, include_phi=include_phi)
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()


def _write_volume(result: StagingResult, attention: Attention, volume: sitk.Image, path: Path) -> None:
    """Write a map with its geometry and a description, and read it back: ITK reports no error on a full disk."""
    image = sitk.Image(volume)
    metadata = {
        "research_use_only": RESEARCH_USE_ONLY,
        "warning": result.model.warning or "",
        "content": f"{map_name(attention)}, {scale_in_words(result)}, placed by {attention.alignment}",
        "check": result.map_check,
        "key_slice": f"{result.key_slice.index} of the CT, 0 nearest the feet: "
        f"{choice_in_words(result.key_slice, spacing_known=result.scan.spacing_known)}",
        "model": f"{result.model.name}, weights sha256 {result.model.sha256}",
    }
    for key, text in metadata.items():
        if text:
            image.SetMetaData(key, text)
    # Compared with zlib's usual level: a sixth larger, in two thirds of the time.
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    # ITK also reads a truncated file without an error, so gzip reads the voxels.
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    try:
        voxels = gzip.decompress(path.read_bytes().partition(b"\n\n")[2])
    except (EOFError, zlib.error) as error:
        raise RuntimeError(f"{path.name} is truncated or damaged") from error
    written = Grid(header.GetSize(), header.GetSpacing(), header.GetOrigin(), header.GetDirection())
    if not same_grid(written, image) or voxels != sitk.GetArrayViewFromImage(image).tobytes():
        raise RuntimeError(f"{path.name} differs from the written image when it is read back")


def not_written(out: Path, error: Exception, volume: str = "attention.nrrd") -> str:
    """Return the message for results that could not be written."""
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    reason = (error.strerror or error) if isinstance(error, OSError) else f"{volume} cannot be written or read back"
    return (
        f"The results cannot be written to {out}: {reason} ({free / 1e6:,.1f} MB free); expected a writable folder "
        "with about 10 MB free. Free some space, or choose another folder. No half-written file was left."
    )


__all__ = ["OUTPUTS", "not_written", "write_outputs"]
