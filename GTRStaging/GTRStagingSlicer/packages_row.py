"""Show which packages are missing, and install or remove them: the row *Packages* of the panel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingSlicer import dependencies, presenter, reporting
from GTRStagingSlicer.words import tr as _


class PackagesRow:
    """Row of the panel with the state of the packages, and its buttons.

    Parameters
    ----------
    ui
        Widgets of the panel.
    changed
        Called after an installation: the user's own models can be found from then on.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        ui.installButton.connect("clicked()", self.onInstallLight)
        ui.fullButton.connect("clicked()", self.onInstallFull)
        ui.wheelsButton.connect("clicked()", self.onInstallFromFolder)
        ui.removeButton.connect("clicked()", self.onRemove)

    def show(self) -> None:
        """Show what is missing, and the buttons that can change something."""
        lacking, lacking_full = dependencies.missing(), dependencies.missing(full=True)
        row = presenter.packages(
            dependencies.in_words(lacking), lacking_full=bool(lacking_full), removable=bool(dependencies.removable())
        )
        self._ui.dependenciesLabel.text = row.text
        for name in presenter.PACKAGE_BUTTONS:
            getattr(self._ui, name).visible = name in row.visible

    def ensure(self, wheels: Path | None = None, *, full: bool = False) -> bool:
        """Return whether all packages are installed; ask and install them first if some are missing."""
        lacking = dependencies.missing(full=full)
        if lacking:
            question = dependencies.question(lacking, wheels)
            if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Install packages")):
                return False
            try:
                dependencies.install(wheels, full=full)
            except dependencies.ExtensionMissingError:
                return self._install_extension()
            self._changed()
        self.show()
        return True

    def onInstallLight(self) -> None:
        """Install the packages that staging needs, after asking."""
        with reporting.errors_shown():
            self.ensure()

    def onInstallFull(self) -> None:
        """Install PyTorch as well, after asking."""
        with reporting.errors_shown():
            self.ensure(full=True)

    def onInstallFromFolder(self) -> None:
        """Install from a folder of wheels, after asking: PyTorch too, if the folder has it."""
        folder = qt.QFileDialog.getExistingDirectory(self._ui.installButton, _("Folder of wheels"))
        if folder:
            with reporting.errors_shown():
                full = any(Path(folder).glob("torch-*.whl")) or not dependencies.missing()
                self.ensure(Path(folder), full=full)

    def onRemove(self) -> None:
        """Remove what this module has installed, after asking, and offer to restart."""
        with reporting.errors_shown():
            names = dependencies.removable()
            question = _(
                "Remove the packages that GTR Staging has installed: {names}?\n\nOther extensions that use them will "
                "need them again."
            ).format(names=", ".join(names))
            if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove packages")):
                dependencies.remove()
                self.show()
                self._offer_restart(_("The packages are removed. Those in use stay in memory until Slicer restarts."))

    def _install_extension(self) -> bool:
        """Offer to install the PyTorch extension and to restart; return False, since PyTorch is still missing."""
        question = _(
            "PyTorch is installed by the extension “PyTorch”, which chooses the build for your graphics card and is "
            "missing.\n\nInstall the extension now? Slicer must restart afterwards; then press Full once more."
        )
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Install the extension PyTorch")):
            dependencies.install_extension()
            self._offer_restart(_("The extension “PyTorch” is installed."))
        return False

    def _offer_restart(self, done: str) -> None:
        question = _("{done} Restart Slicer now? Save your scene first.").format(done=done)
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Restart Slicer")):
            slicer.util.restart()
