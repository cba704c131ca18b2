"""Name the panel's keys, which are those of the browser page as far as Slicer has use for them."""

from collections.abc import Callable
from typing import Any

from GTRStagingSlicer.words import tr as _

KEYS = {
    "1": ("stage", "T1"), "2": ("stage", "T2"), "3": ("stage", "T3"), "4": ("stage", "T4"),
    "A": ("substage", "T4a"), "B": ("substage", "T4b"), "C": ("confidence", ""), "N": ("remarks", ""),
    "Esc": ("images", ""), "Space": ("save", ""), "Return": ("next", ""), "Enter": ("next", ""),
    "Up": ("scroll", "1"), "Down": ("scroll", "-1"), "PgUp": ("scroll", "5"), "PgDown": ("scroll", "-5"),
    "Home": ("scroll", "-10000"), "End": ("scroll", "10000"),
    "Shift+Up": ("level", "10"), "Shift+Down": ("level", "-10"),
    "Shift+Right": ("width", "20"), "Shift+Left": ("width", "-20"), "R": ("reset", ""),
    "K": ("key slice", ""), "M": ("map", ""), "T": ("mark", ""), "Del": ("unmark", ""), "P": ("pause", ""),
}  # fmt: skip
"""Key as Qt writes it -> what it does, with its argument."""

REPEATED = ("scroll", "level", "width")
"""What goes on while the key is held."""

HELP = (
    ("1 2 3 4", _("stage cT1 to cT4")),
    ("A B", _("T4a, T4b")),
    ("C N", _("confidence, remarks; Esc leaves the field")),
    ("Space", _("saves the answer, which can be given again until Next")),
    ("Enter", _("saves the answer, and shows the next case")),
    ("↑ ↓", _("slice above, below; Page Up and Page Down by five; Home, End")),
    (_("Shift + arrows"), _("level by ↑ ↓, width by ← →")),
    ("R", _("first window and size")),
    ("K M P", _("key slice, map on and off, pause")),
    ("T", _("mark the tumour by a click; Del removes the mark")),
)


def help_table() -> str:
    """Return the list of keys as HTML."""
    return "<table>" + "".join(f"<tr><td><b>{k}</b>&nbsp;</td><td>{text}</td></tr>" for k, text in HELP) + "</table>"


class Shortcuts:
    """Shortcuts of a window for the panel's keys; they work while they are switched on.

    Text fields keep the keys that they use themselves, such as letters.

    Parameters
    ----------
    qt
        PythonQt's module; this package is imported without it, too.
    act
        Called with what a key does and its argument, which may be empty.
    """

    def __init__(self, qt: Any, window: Any, act: Callable[[str, str], None]) -> None:
        self._all = []
        for key, (name, argument) in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.autoRepeat = name in REPEATED
            shortcut.connect("activated()", lambda name=name, argument=argument: act(name, argument))
            self._all.append(shortcut)
        self.switch(False)

    def switch(self, on: bool) -> None:
        """Let the keys work, or leave them to Slicer."""
        for shortcut in self._all:
            shortcut.enabled = on


__all__ = ["HELP", "KEYS", "REPEATED", "Shortcuts", "help_table"]
