"""Write the folder of a case's outputs, whole or not at all: result.json is written last and vouches for the rest."""

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
from GTRStagingLib.results.words import choice_in_words, map_name
from GTRStagingLib.stages import RESEARCH_USE_ONLY
from GTRStagingLib.staging.result import StagingResult
from GTRStagingLib.support.files import replace_files, require_utf8_path
from GTRStagingLib.tables.case_files import OUTPUTS


def write_outputs(
    result: StagingResult,
    out: Path,
    *,
    include_phi: bool = False,
    nomogram: Nomogram | None = None,
    values: Mapping[str, str | float] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Path]:
    """Write attention.nrrd, overlay.png, report.html and result.json into a folder, none of them half-written.

    Parameters
    ----------
    out
        Made if it does not exist; files of these names in it are replaced.
    include_phi, nomogram, values
        As `report.html` takes them; result.json has nothing of the nomogram.
    progress
        Called with each file's name before it is written; an exception that it raises stops the writing, and the
        folder is as it was: gone, if it was made here.

    Returns
    -------
    File name -> path.

    Raises
    ------
    InputError
        If matplotlib or jinja2 is not installed, the folder's path is not valid UTF-8, or the nomogram does not take a
        value.
    OutputError
        If the folder cannot be written to, the disk is full, or a folder has the name of a file. The folder is as it
        was then; unless a whole file could not take its place: then result.json is absent, and the others are partly
        of this result and partly older. So they are if the process dies while they take their places.
    """
    require_utf8_path(out.absolute())  # as a temporary folder in it is called from Python 3.12 on
    picture = report.overlay_module().png(result)
    page = report.html(result, picture, include_phi=include_phi, nomogram=nomogram, values=values)
    contents = {
        "overlay.png": picture,
        "report.html": page.encode(),
        "result.json": _json(result, include_phi=include_phi),
    }
    try:
        with replace_files(out, list(OUTPUTS)) as work:
            progress("attention.nrrd")
            _write_attention(result, work / "attention.nrrd")
            for name, content in contents.items():
                progress(name)
                (work / name).write_bytes(content)
    except OSError as error:
        raise OutputError(_no_room(out, error)) from error
    except RuntimeError as error:  # ITK's, which does not say whether the disk is full or the map is odd
        full = shutil.disk_usage(out if out.is_dir() else out.absolute().parent).free < 16e6
        raise (OutputError if full else StagingError)(_no_room(out, error)) from error
    return {name: out / name for name in OUTPUTS}


def _json(result: StagingResult, *, include_phi: bool) -> bytes:
    """Without spaces, of which thousands of numbers would have one each."""
    record = to_json(result, include_phi=include_phi)
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()


def _write_attention(result: StagingResult, path: Path) -> None:
    """The map with its geometry and what it is; read back, because ITK fails on a full disk without a word."""
    image = sitk.Image(result.attention_volume)
    attention = result.attention
    words = {
        "research_use_only": RESEARCH_USE_ONLY,
        "warning": result.model.warning or "",
        "content": f"{map_name(attention)}, raw, placed by {attention.alignment}",
        "check": result.model.map_check(attention.method),
        "key_slice": f"{result.key_slice.index} of the CT, 0 nearest the feet: {choice_in_words(result)}",
        "model": f"{result.model.name}, weights sha256 {result.model.sha256}",
    }
    for key, text in words.items():
        if text:
            image.SetMetaData(key, text)
    # A sixth larger than at zlib's usual level, in two thirds of the time.
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    # The header by ITK, the voxels by gzip: ITK reads a file whose last bytes are missing without a word, too.
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    try:
        voxels = gzip.decompress(path.read_bytes().partition(b"\n\n")[2])
    except (EOFError, zlib.error) as error:
        raise RuntimeError(f"{path.name} is cut short or damaged") from error
    there = Grid(header.GetSize(), header.GetSpacing(), header.GetOrigin(), header.GetDirection())
    if not same_grid(there, image) or voxels != sitk.GetArrayViewFromImage(image).tobytes():
        raise RuntimeError(f"{path.name} reads back other than it was written")


def _no_room(out: Path, error: Exception) -> str:
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    why = (error.strerror or error) if isinstance(error, OSError) else "attention.nrrd cannot be written or read back"
    return (
        f"The results cannot be written to {out}: {why} ({free / 1e6:,.1f} MB free there); expected a folder that can "
        "be written to, with some 10 MB free. Free some space, or choose another folder. No half-written file was left."
    )


__all__ = ["OUTPUTS", "write_outputs"]
