"""Let a reader read in a scene: a session, the form of the answer, and the case that the session lets be shown."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from GTRStagingSlicer import layouts
from GTRStagingSlicer.mrml import Scene
from GTRStagingSlicer.words import tr as _

from GTRReadingSlicer.answer_form import Form
from GTRReadingSlicer.case_scene import CaseScene, View, holds_data
from GTRStagingLib.errors import InputError, StagingError
from GTRStagingLib.stages import TStage

if TYPE_CHECKING:
    from GTRStagingLib.reading.case_voxels import CaseVoxels
    from GTRStagingLib.reading.session import Answer, Item, Mark, Seen, Session


def readers_in(folder: Path) -> dict[str, Path]:
    """Return name -> folder of the readers in a study, or of the one whose own folder it is.

    Raises
    ------
    InputError
        If it is no folder of a study.
    """
    from GTRStagingLib.reading.plan import reader_folders

    return reader_folders(folder)


class Sitting:
    """One reader at the screen, from the start of a session to its end.

    Parameters
    ----------
    changed, fit
        As for `CaseScene`.

    Attributes
    ----------
    session
        Open session; None at other times.
    displayed
        Whether the case of the session is on the screen.
    clocks
        Further arguments of `open_session`, for tests.
    """

    def __init__(self, scene: Scene, changed: Callable[[], None], fit: Callable[[], None] = lambda: None) -> None:
        self.case = CaseScene(scene, changed, fit)
        self.session: Session | None = None
        self.form, self.displayed = Form(), False
        self.clocks: dict[str, Any] = {}
        self._scene, self._held = scene, ExitStack()
        self._voxels: CaseVoxels | None = None
        self._saved: tuple[Form, tuple[float, float, float] | None] | None = None
        self._view: View | None = None

    # -- the session -----------------------------------------------------------------------------------------------

    def start(self, folder: Path, reader: str) -> None:
        """Open a session on a reader's folder, and show the case that is next.

        Raises
        ------
        InputError
            If the scene contains other data, or the session refuses the reader, the folder or the clock.
        OutputError
            If the log cannot be written.
        """
        from GTRStagingLib.reading.session import open_session

        self.close()
        _require_no_data(self._scene)
        self.session = self._held.enter_context(open_session(folder, reader, **self.clocks))
        layouts.show(self._scene, layouts.READING)
        self.show()

    def show(self) -> None:
        """Show the case of the session, as it was left if it was on the screen before; nothing if there is none.

        Raises
        ------
        InputError, GeometryError
            If the scene contains other data, or the images cannot be read; nothing is shown then.
        """
        from GTRStagingLib.reading.case_voxels import case_voxels

        self._take_out()
        session = self._session()
        if (item := session.item) is None:
            return
        _require_no_data(self._scene)
        if self._voxels is None:
            self._voxels = case_voxels(item)
        rules = session.rules
        begin = View(_first_slice(item), rules.window_level, rules.window_width)
        self.case.show(self._voxels, self._view or begin, key_slice=item.key_slice)
        if self.session is not session or session.item is not item:
            self.case.clear()  # while it was loaded, another module was opened, or the scene closed
            return
        self.displayed = True
        if self._view is None:
            session.displayed()  # once for each case: it sets the seconds to 0
        self._view = self.case.view

    def pause(self) -> None:
        """Stop the clock, and take the case out of the scene."""
        self._session().pause()
        self._take_out()

    def go_on(self) -> None:
        """Go on after a pause or a wash-out that is over, or try again to show a case that could not be read."""
        session = self._session()
        if session.state == "paused":
            _require_no_data(self._scene)
            session.resume()
        session.proceed()
        layouts.show(self._scene, layouts.READING)
        self.show()

    def leave(self) -> None:
        """Pause, and take the case out of the scene, since another module is opened.

        Raises
        ------
        OutputError
            If the log cannot be written; the session is closed then.
        """
        self._take_out()
        layouts.back(self._scene)
        if self.session is not None and self.session.state == "reading":
            try:
                self.session.pause()
            except StagingError:
                self.close()
                raise

    def close(self) -> None:
        """End the session, and take the case out of the scene."""
        self._take_out()
        self._forget()
        if self.session is not None:
            self.session = None
            layouts.back(self._scene)
        self._held.close()

    # -- the answer ------------------------------------------------------------------------------------------------

    @property
    def saved(self) -> bool:
        """Whether the form and the mark are on the disk as they are."""
        return self._saved is not None and self._saved == (self.form, self.case.mark)

    @property
    def has_unsaved_form(self) -> bool:
        """Whether something is chosen in the form, also in a pause, that is not on the disk."""
        return self.form != Form() and (self._saved is None or self._saved[0] != self.form)

    def save(self) -> None:
        """Write the answer to the disk, unless it is there as it is.

        Raises
        ------
        InputError
            If no case is on the screen, or the answer is incomplete.
        OutputError
            If it cannot be written; the case stays open.
        """
        session = self._session()
        if not self.displayed:
            raise InputError(_("No case is on the screen; expected one. Show the case first."))
        if missing := self.form.missing:
            raise InputError(missing)
        if not self.saved:
            session.answer(self._answer())
            self._saved = (self.form, self.case.mark)

    def next(self) -> None:
        """Save the answer, and show the next case.

        Raises
        ------
        StagingError
            As `save` and `show` do, or if files of the next case were changed: then the case stays on the screen.
        """
        self.save()
        self._session().next()
        self._take_out()
        self._forget()
        self.show()

    # -- earlier answers -------------------------------------------------------------------------------------------

    @property
    def earlier(self) -> dict[int, "Answer"]:
        """Place -> answer of the earlier cases of this period, the last one first, if they may be changed now."""
        session = self.session
        return {} if session is None or session.state == "paused" else dict(reversed(session.answers))

    def revise(self, place: int, form: Form) -> None:
        """Write another answer to an earlier case; mark and views stay, since the case is not shown again.

        Raises
        ------
        InputError
            If the answer is incomplete, or may not be changed.
        OutputError
            If it cannot be written.
        """
        session = self._session()
        if missing := form.missing:
            raise InputError(missing)
        kept = self.earlier.get(place)
        mark, seen = (None, None) if kept is None else (kept.mark, kept.seen)
        session.revise(place, _answer_of(form, mark, seen))

    def _answer(self) -> "Answer":
        from GTRStagingLib.reading.session import Seen

        level, width = self.case.window
        return _answer_of(self.form, self._mark(), Seen(tuple(self.case.seen), level, width))

    def _mark(self) -> "Mark | None":
        from GTRStagingLib.reading.case_voxels import position_mm
        from GTRStagingLib.reading.session import Mark

        if self.case.mark is None or self._voxels is None:
            return None
        column, row, index = self.case.mark
        return Mark(round(index), (position_mm(self._voxels.grid, round(index), column, row),))

    # -- the case --------------------------------------------------------------------------------------------------

    def _session(self) -> "Session":
        if self.session is None:
            raise InputError(_("No session is open; expected one. Choose a study and a reader, and press Start."))
        return self.session

    def _take_out(self) -> None:
        """Take the case out of the scene, and keep how it was shown."""
        if self.displayed:
            self._view = self.case.view
        self.displayed = False
        self.case.clear()

    def _forget(self) -> None:
        """Forget the case, for another one."""
        self.form = Form()
        self._voxels = self._saved = self._view = None
        self.case.forget()


def _answer_of(form: Form, mark: "Mark | None", seen: "Seen | None") -> "Answer":
    """Return the answer of a complete form."""
    from GTRStagingLib.reading.session import Answer, Seen

    return Answer(
        stage=TStage[form.stage or ""],
        confidence=-1 if form.number is None else form.number,
        substage=form.substage,
        remarks=form.remarks,
        mark=mark,
        seen=seen or Seen(),
    )


def _first_slice(item: "Item") -> int:
    return item.slices // 2 if item.key_slice is None else item.key_slice


def _require_no_data(scene: Scene) -> None:
    if holds_data(scene):
        raise InputError(
            _("The scene contains other data; expected an empty scene, since nothing else may be seen while reading. "
              "Save what you need, close the scene (File, Close Scene), and start again.")
        )  # fmt: skip


__all__ = ["Sitting", "readers_in"]
