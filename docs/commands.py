"""Write the reference of the command line from its parsers, so that page and program cannot differ.

`conf.py` puts the result in the place of the line `<!-- commands -->` or `<!-- headless -->` of a page.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]

SLICER = ("slicer", "vtk", "vtk.util", "vtk.util.numpy_support", "qt", "ctk")
"""Modules that the extension imports and only 3D Slicer has."""


def gtrstaging() -> str:
    """Return the reference of all `gtrstaging` commands as Markdown."""
    from GTRStagingLib.cli.arguments import every_parser, is_command
    from GTRStagingLib.cli.main import make_parser

    commands = [*filter(is_command, every_parser(make_parser()))]
    links = ", ".join(f"[{one.prog.partition(' ')[2]}](#{one.prog.replace(' ', '-')})" for one in commands)
    return "\n".join([f"Commands: {links}.\n", *(line for one in commands for line in _reference(one, 2))])


def headless() -> str:
    """Return the reference of `headless.py` as Markdown.

    It is made in a process of its own: the modules of 3D Slicer, which that file imports, are replaced by empty ones.
    """
    command = [sys.executable, __file__]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout  # noqa: S603


class _Constants(type):
    """A class of which every attribute is 0, as the constants of VTK's classes."""

    def __getattr__(cls, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0


class _Empty(ModuleType):
    """A module of which every name is a class with constants alone: enough to import what uses them."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Constants(name, (), {})


def _reference(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield f"{'#' * level} {parser.prog}\n"
    if parser.description:
        yield f"{_markdown(parser.description)}\n"
    yield f"```none\n{_usage(parser)}\n```\n"
    formatter = _formatter(parser.prog)
    for group in parser._action_groups:
        actions = [one for one in group._group_actions if one.help is not argparse.SUPPRESS and one.dest != "help"]
        if not actions:
            continue
        yield f"**{(group.title or '').capitalize()}**"
        yield f": {_markdown(group.description)}\n" if group.description else ""
        for action in actions:
            yield f"`{formatter._format_action_invocation(action).replace('`', '')}`"
            text = formatter._expand_help(action) if action.help else ""
            yield f": {_markdown(text) or 'required' * action.required or '–'}\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = _formatter(parser.prog)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    first, *more = formatter.format_help().rstrip().removeprefix("usage: ").splitlines()
    return "\n".join([first, *(line.removeprefix(" " * len("usage: ")) for line in more)])


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=96)  # not as wide as the terminal that builds the documentation


def _markdown(text: str) -> str:
    """Escape what Markdown would read as markup, except code between backticks."""
    parts = text.replace("%%", "%").split("`")
    escaped = [re.sub(r"([\\*_\[\]<>#|~^$])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts)]
    return "`".join(escaped)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "GTRStaging")]
    sys.modules.update({name: _Empty(name) for name in SLICER})
    from GTRStagingSlicer.headless import _parser

    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write("\n".join(_reference(_parser(), 2)))
