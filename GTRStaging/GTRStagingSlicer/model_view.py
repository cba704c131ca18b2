"""Model buttons of the panel: list, card, import, folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GTRStagingLib.errors import InputError
from GTRStagingLib.model import registry
from GTRStagingLib.model.recipe import RECIPES
from GTRStagingSlicer import model_import, models, reporting
from GTRStagingSlicer.state import State
from GTRStagingSlicer.words import tr as _


class ModelView:
    """Buttons below the list of models."""

    def __init__(
        self,
        ui: Any,
        state: Callable[[], State],
        ensure_dependencies: Callable[..., bool],
    ) -> None:
        self._ui, self._state = ui, state
        self._ensure_dependencies = ensure_dependencies
        for button, act in (
            (ui.modelCardButton, self._show_card),
            (ui.importModelButton, self._import),
            (ui.modelFolderButton, self._open_folder),
        ):

            def pressed(checked: bool = False, act: Callable[[], None] = act) -> None:
                with reporting.errors_shown():
                    act()

            button.connect("clicked(bool)", pressed)

    def offer(self) -> None:
        """List the available models; add those that were imported since."""
        selector = self._ui.modelSelector
        selector.addItems([name for name in models.names() if selector.findText(name) < 0])

    def _show_card(self) -> None:
        """Show the model card; its details contain the whole card as JSON."""
        text, whole = models.card_in_words(self._state().model)
        slicer.util.infoDisplay(text, windowTitle=_("Model card"), detailedText=whole)

    def _import(self) -> None:
        """Import a model after its card was shown, and choose it."""
        title = _("Import a model: card.json of its folder, a zip file, or a checkpoint")
        files = _("Models (card.json *.zip *.pth *.pt *.ckpt)")
        chosen = qt.QFileDialog.getOpenFileName(self._ui.modelSelector, title, "", files)
        if not chosen:
            return
        offer = model_import.read(Path(chosen))
        text, whole = ("", "") if offer.card is None else models.words_of(offer.card)
        question = model_import.question(offer, text)
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Import model"), detailedText=whole):
            return
        recipe = ""
        if offer.card is None:
            # The first item is what a cancelled dialog returns, too.
            none = _("Do not import")
            words = _("Preprocessing with which it was trained (a wrong one makes its stages wrong):")
            recipe = qt.QInputDialog.getItem(
                self._ui.modelSelector, _("Import model"), words, [none, *RECIPES], 0, False
            )
            if recipe not in RECIPES:
                return
        if self._ensure_dependencies(full=offer.kind == "checkpoint"):  # PyTorch reads it
            name = model_import.take(offer, recipe)
            self.offer()
            self._state().model = name

    def _open_folder(self) -> None:
        """Open the folder of the user's models."""
        folder = registry.models_folder()
        if folder is None:
            raise InputError(
                _("There is no folder of models; expected a home directory. Set GTRSTAGING_MODELS to a folder.")
            )
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))


__all__ = ["ModelView"]
