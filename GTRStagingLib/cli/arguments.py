"""Add the arguments that several commands share, and convert them for the library."""

import argparse
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from GTRStagingLib.errors import StagingError, without_backticks
from GTRStagingLib.model.registry import DEFAULT
from GTRStagingLib.staging.options import METHODS, PREDICTED, TARGETS, StagingOptions, parse_target
from GTRStagingLib.support.addresses import WebAddress, is_web_address, parse_web_address
from GTRStagingLib.support.isolation import Limits
from GTRStagingLib.support.shared_text import without_folders

if TYPE_CHECKING:
    from GTRStagingLib.cohort.cohort import Case
    from GTRStagingLib.imaging.inputs import ScanReader
    from GTRStagingLib.radscore.inputs import CaseFeatures
    from GTRStagingLib.tables.cells import KeySliceCell

BACKENDS = ("auto", "torch", "onnx", "compile")
"""Repeated here, so that `--help` imports no large package; a test compares them with the library's."""

Result = TypeVar("Result")

Commands = argparse._SubParsersAction  # type of `add_subparsers`, which has no public name


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its commands, in the order of `--help`."""
    yield parser
    for action in parser._actions:
        if isinstance(action, Commands):
            for command in action.choices.values():
                yield from every_parser(command)


def is_command(parser: argparse.ArgumentParser) -> bool:
    """Return whether a parser runs something itself, instead of choosing among commands."""
    return not any(isinstance(action, Commands) for action in parser._actions)


class _Once(argparse.Action):
    """Option that is refused when it is repeated, where another command takes several."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if self.dest in (given := namespace.__dict__.setdefault("given_once", set[str]())):
            raise argparse.ArgumentError(self, "expected once; this command takes one")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


INPUT = "DICOM folder or file, NIfTI, NRRD, MHA, or dicomweb:https://HOST/PATH with --study"


def add_input(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Add the input of one CT, --study and --series; `also` is a further form of the input, for its help."""
    parser.add_argument("input", type=ct_place, help=f"{INPUT}{also}")
    parser.add_argument("--study", metavar="UID", help="UID of the study in an archive, if the address does not name "
                        "it")  # fmt: skip
    parser.add_argument("--series", help="UID or number of the CT series in a DICOM folder or a study (default: the "
                        "only one, or the one that the ROI was drawn on)")  # fmt: skip


def input_contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options of `add_input` cannot be, or None."""
    if isinstance(options.input, Path):
        return None if options.study is None else "--study requires an archive, as in dicomweb:https://HOST/PATH"
    if options.study is None and options.input.study is None:
        return "expected --study UID: the address of the archive names no study"
    return None


def given_ct(options: argparse.Namespace) -> "Path | ScanReader":
    """Return the CT of the options of `add_input` for `imaging.inputs.read_inputs`: a path, or how it is fetched."""
    if isinstance(options.input, Path):
        return options.input
    from GTRStagingLib.archive.remote_series import read_remote

    address = options.input
    if options.study is not None:
        address = parse_web_address(address.whole, study=options.study)
    return partial(read_remote, address)


def add_model(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """Add --model, --cam, --target and --threshold; with `several`, --model may be repeated, and --tta is there."""
    if several:
        parser.add_argument("--model", action="append", metavar="NAME|FOLDER",
                            help="repeat for several models, whose mean is the result; folds by the --out of their "
                            f"training or the folder that contains them (default: {DEFAULT})")  # fmt: skip
        parser.add_argument("--tta", action="store_true", help="test-time augmentation: look at the slices as "
                            "acquired, mirrored and shifted, and take the mean; six times the network's "
                            "time")  # fmt: skip
    else:
        parser.add_argument("--model", action=_Once, default=DEFAULT, metavar="NAME|FOLDER",
                            help="default: %(default)s")  # fmt: skip
    parser.add_argument("--cam", dest="method", choices=METHODS, default="auto", help="attention method; auto: gated "
                        "for a model with a gated head, else fine (default: %(default)s)")  # fmt: skip
    parser.add_argument("--target", choices=TARGETS, default=PREDICTED,
                        help="stage for which the attention is shown (default: %(default)s)")  # fmt: skip
    parser.add_argument("--threshold", type=share, default=0.5,
                        help="threshold of the attention, a share of the key slice's maximum (default: "
                        "%(default)s)")  # fmt: skip


def given_models(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the models of a command's --model, with folds as their folders; the default model without one."""
    from GTRStagingLib.model.several import with_folds

    return with_folds(options.model or DEFAULT)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device and --backend."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--backend", choices=BACKENDS, default="auto",
                        help="software that runs the network; auto: ONNX Runtime on a CPU if it is installed, else "
                        "PyTorch; compile is for long batches (default: %(default)s)")  # fmt: skip


def add_proposal(parser: "argparse._ActionsContainer", group: "argparse._ActionsContainer | None" = None) -> None:
    """Add --propose-key-slice, to a group of options that exclude each other if it is given."""
    (group or parser).add_argument(
        "--propose-key-slice", action="store_true", help="let the model propose the key slice of a case that has "
        "none; the result asks to confirm it")  # fmt: skip


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add --time-limit and --memory-limit."""
    usual = Limits()
    parser.add_argument("--time-limit", type=limit, default=usual.time_limit, metavar="S",
                        help="time limit of a case in seconds; 0 for no limit (default: %(default)g)")  # fmt: skip
    parser.add_argument("--memory-limit", type=limit, default=usual.memory_limit, metavar="MB",
                        help="memory limit of a case, on Linux; 0 for no limit (default: %(default)s)")  # fmt: skip


def add_draw(parser: argparse.ArgumentParser, cases: str) -> None:
    """Add --cases, of cases as named in its help, and --seed."""
    parser.add_argument("--cases", type=int, metavar="N", help=f"use at most N {cases}, drawn evenly from the true "
                        "stages (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)")


def add_workers(parser: argparse.ArgumentParser, does: str) -> None:
    """Add --workers, whose 0 `does` its work in this process, the limits of a case, and --device."""
    parser.add_argument("--workers", type=int, default=1, metavar="N", help=f"number of worker processes; 0 {does} in "
                        "this process, without limits (default: %(default)s)")  # fmt: skip
    add_limits(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")


def workers_contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options of `add_workers` cannot be, or None."""
    return f"--workers {options.workers}; expected 0 or more" if options.workers < 0 else None


def draw_contradiction(options: argparse.Namespace) -> str | None:
    """Return why the options of `add_draw` and `add_workers` cannot be, or None."""
    if options.cases is not None and options.cases < 1:
        return f"--cases {options.cases}; expected 1 or more"
    if (workers := workers_contradiction(options)) is not None:
        return workers
    if not 0 <= options.seed < 2**32:
        return f"--seed {options.seed}; expected 0 or more, below 2**32"
    return None


def given_limits(options: argparse.Namespace) -> Limits:
    """Convert a command's options to limits."""
    return Limits(options.time_limit or None, int(options.memory_limit) or None)


def add_dicom_codes(command: argparse.ArgumentParser) -> None:
    """Add the coding of DICOM results."""
    command.add_argument("--dicom-codes", choices=["standard", "private"], help="coding of stages, site and method in "
                         "the DICOM results: SNOMED CT, or a private scheme for sites without its licence (default: "
                         "standard)")  # fmt: skip


def staging_options(options: argparse.Namespace) -> StagingOptions:
    """Convert a command's options to staging options; those that the command lacks keep their defaults."""
    given = vars(options)
    defaults = StagingOptions()
    return StagingOptions(
        method=options.method,
        target=parse_target(options.target),
        threshold=options.threshold,
        alignment=given.get("alignment", defaults.alignment).replace("-", "_"),
        neighbour_mm=given.get("neighbour_mm", defaults.neighbour_mm),
        neighbour_maps=given.get("neighbour_maps", defaults.neighbour_maps),
        resample_roi=given.get("resample_roi", defaults.resample_roi),
        tta=given.get("tta", defaults.tta),
        propose_key_slice=given.get("propose_key_slice", defaults.propose_key_slice),
    )


PATIENT_PATTERN = ("regular expression that finds the patient in the id of a row, such as '^(.+?)_slice': its first "
                   "group, or else the whole match; it is searched for in the last part of a path, and then in the "
                   "whole path")  # fmt: skip
"""Help of --patient-pattern, see `tables.patient_pattern`."""


def regular_expression(text: str) -> str:
    """Check a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from error
    return text


def add_features(
    command: argparse.ArgumentParser, results: str, *, metavar: str = "DIR", required: bool = True
) -> None:
    """Add the two sources of the network's features; `results` is the help of `--results`."""
    source = command.add_mutually_exclusive_group(required=required)
    source.add_argument("--results", type=Path, metavar=metavar, help=results)
    source.add_argument("--features", type=Path, metavar="TABLE",
                        help="CSV, XLSX or Parquet: case_id; every other column is a feature")  # fmt: skip


def given_features(options: argparse.Namespace, case_ids: Iterable[str] | None = None) -> "CaseFeatures":
    """Read the features that `add_features` was given; `case_ids` limit those of a batch."""
    from GTRStagingLib.radscore.inputs import from_results, from_table

    return from_table(options.features) if options.results is None else from_results(options.results, case_ids)


# -- messages of the library ---------------------------------------------------------------------------------------


COLUMNS = {"series": "series", "segmentation": "roi", "segment": "segment", "key_slice": "key_slice",
           "stomach_segment": "stomach_segment"}  # fmt: skip
"""Parameters of one case -> columns of a case table, for commands that read one; see `with_flags`."""

_PARAMETER = re.compile(r"`(?P<name>\w+)(?:=(?P<value>[^`]*))?`")
_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z`])")
_IMPERATIVE = re.compile(r"(add|allow|choose|correct|free|give|leave|put|remove|set|train|use)\b")
_ALTERNATIVE = re.compile(r"(,? or |; )(?![^(]*\))")


def with_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """Replace the parameters that a message of the library names by the flags of a command, or columns of its table.

    The library puts a parameter in backticks. After the first sentence, a remedy with a parameter that the command does
    not have is left out, since it does not exist there.

    Parameters
    ----------
    message
        Text of an error or a warning of the library.
    parser
        Parser of the command; the `dest` of an option is the name of the library's parameter. The default `columns` of
        a command that reads a case table is `COLUMNS`.

    Examples
    --------
    >>> import argparse
    >>> from GTRStagingLib.cli.arguments import with_flags
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--resample-roi", action="store_true")
    >>> _ = parser.add_argument("--out")
    >>> with_flags("Other grid. Give `resample_roi=True`, or another `out`. Raise `memory_limit`.", parser)
    'Other grid. Give --resample-roi, or another --out.'
    """
    flags = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    columns: dict[str, str] = parser.get_default("columns") or {}
    known = {**{name: f"column {column}" for name, column in columns.items()}, **flags}

    def shown(sentence: str, words: Mapping[str, str]) -> str:
        def word_of(found: re.Match[str]) -> str:
            name, value = found["name"], found["value"]
            word = words.get(name, name)
            if value is None or (value == "True" and name in words):
                return word
            return f"{word} {value}" if name in words else f"{word}={value}"

        return _PARAMETER.sub(word_of, sentence)

    first, *others = _SENTENCE.split(message)
    remedies = (_without_unknown(sentence, known) for sentence in others)
    return " ".join([shown(first, {**columns, **flags}), *(shown(one, known) for one in remedies if one)])


def _without_unknown(sentence: str, known: Collection[str]) -> str:
    """Return a sentence without the alternatives that name an unknown parameter; empty if none is left."""
    unknown = {found[0] for found in _PARAMETER.finditer(sentence) if found["name"] not in known}
    for name in map(re.escape, unknown):  # in a list of parameters, of which another one remains
        sentence = re.sub(rf"{name}(?:, | or |, or | and )(?=`)", "", sentence)
        sentence = re.sub(rf"(?<=`)(?:, | or |, or | and ){name}", "", sentence)
    if not any(name in sentence for name in unknown):
        return sentence
    body, end = (sentence[:-1], ".") if sentence.endswith(".") else (sentence, "")
    parts = _ALTERNATIVE.split(body)
    pairs = [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    left = [(mark, part) for mark, part in pairs if not any(name in part for name in unknown)]
    if not left or not (left[0] == pairs[0] or _IMPERATIVE.match(left[0][1])):
        return ""
    text = left[0][1] + "".join(mark + part for mark, part in left[1:])
    return text[0].upper() + text[1:] + end


def shown_error(error: Exception, options: argparse.Namespace) -> str:
    """Return an error as a command prints it: with flags, and with the details for the person at this machine.

    What a command with `shared` prints is part of what is shared; it has neither details nor folders.
    """
    text = with_flags(str(error), options.parser)
    if getattr(options, "shared", False):
        given = [one for value in vars(options).values() for one in (value if isinstance(value, list) else [value])]
        return without_folders(text, {path: path.name or "." for path in given if isinstance(path, Path)})
    details = getattr(error, "details", "")
    return f"{text}\n{details}" if details and details not in text else text


def print_notes(notes: Iterable[str], options: argparse.Namespace) -> None:
    """Print notes on how a table was read, each once, on stderr."""
    for note in dict.fromkeys(notes):
        print(f"NOTE: {with_flags(note, options.parser)}", file=sys.stderr)


def shown_place(file: Path) -> Path:
    """Return a file and its folder, without the folders above, which may have names of persons."""
    return Path(*[part for part in file.parts if part != file.anchor][-2:])


# -- types of single arguments -------------------------------------------------------------------------------------


def ct_place(text: str) -> Path | WebAddress:
    """Parse a path, or the address of a DICOMweb service."""
    if not is_web_address(text):
        return Path(text)
    try:
        return parse_web_address(text)
    except StagingError as error:
        raise argparse.ArgumentTypeError(without_backticks(error)) from error


def folder_path(text: str) -> Path:
    """Parse the name of a folder; an empty name, as of an unset shell variable, is an error."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder")
    return Path(text)


def out_folder(text: str) -> Path:
    """Parse the name of a folder for results, new or existing; a file of this name is an error, before any work."""
    path = folder_path(text)
    try:
        nearest = next((one for one in (path, *path.parents) if one.exists()), None)
        is_file = nearest is not None and not nearest.is_dir()
    except OSError:  # such as a folder that must not be looked into: reported when it is written to
        return path
    if nearest is not None and is_file:
        raise argparse.ArgumentTypeError(
            f"{shown_place(nearest)} is a file; expected a folder, new or existing. Choose another name"
        )
    return path


def key_slice(text: str) -> "KeySliceCell":
    """Parse the index of a key slice, or 'ko', as a cell of a table."""
    from GTRStagingLib.tables.cells import key_slice_of

    try:
        return key_slice_of(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text}: expected a whole number from 0 (the slice nearest the feet), or ko (the slice of a key object "
            "selection)"
        ) from None


def share(text: str) -> float:
    """Parse a share of the maximum."""
    if not 0 < (value := number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a share of the maximum, above 0 and at most 1")
    return value


def limit(text: str) -> float:
    """Parse a limit in seconds or megabytes."""
    if not 0 <= (value := number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0, or 0 for no limit")
    return value


def whole(text: str) -> int:
    """Parse a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number of 1 or more")
    return int(text)


def number(text: str) -> float:
    """Parse a number; return NaN, which lies in no range, for other text."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


# -- progress ------------------------------------------------------------------------------------------------------


@contextmanager
def timed(timings: dict[str, float], name: str, announce: Callable[[str], None]) -> Iterator[None]:
    """Announce a step, and store its duration in seconds."""
    announce(name)
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on a terminal; yield a function to call with the name of each step."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda step: print(f"{step} …", file=sys.stderr)
        return
    with tqdm(total=total, leave=False, bar_format="{desc:<18} {bar} {n_fmt}/{total_fmt}") as bar:

        def begin(step: str) -> None:
            bar.set_description_str(step)
            bar.update()

        yield begin


@contextmanager
def counting_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar whose total the first step states; yield a function of the steps done and of all."""
    with ExitStack() as opened:
        steps: list[Callable[[str], None]] = []

        def progress(done: int, total: int) -> None:
            if not steps:
                steps.append(opened.enter_context(progress_bar(total)))
            steps[0](f"{done} of {total}")

        yield progress


def on_drawn_cases(function: Callable[..., Result], options: argparse.Namespace, cases: Collection["Case"]) -> Result:
    """Call a function of a model and cases by the options of `add_draw` and `add_workers`, with a progress bar."""
    with counting_bar() as progress:
        return function(
            options.model, cases, most=options.cases, seed=options.seed, device=options.device,
            workers=options.workers, limits=given_limits(options), progress=progress,
        )  # fmt: skip


def left_out_lines(left_out: Mapping[str, str], shown: int = 3) -> Iterator[str]:
    """Yield a line for each of the first cases that were left out, with its reason, and the number of the others."""
    for case_id, reason in list(left_out.items())[:shown]:
        yield f"left out: {case_id}: {reason}"
    if len(left_out) > shown:
        yield f"left out: {len(left_out) - shown} more"
