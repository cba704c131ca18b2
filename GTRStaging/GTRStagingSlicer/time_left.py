"""Estimate how long a run of the panel still takes, from the durations of its steps. No Qt, no MRML."""

from collections.abc import Mapping

from GTRStagingSlicer.words import tr as _

USUAL_S: Mapping[str, float] = {
    "loading": 0.1,
    "reading": 0.1,
    "key slice": 0.1,
    "preparation": 0.2,
    "network": 0.6,
    "attention": 0.6,
    "agreement": 0.4,
    "showing": 0.3,
}
"""Seconds of each step, in order, before one was measured: of a phantom with the demonstration model on one core.

Their proportions count, since they are scaled by the steps that have ended. Packages are loaded before the first step.
"""


class Clock:
    """Durations of a run's steps; those of the run before are the estimate for the next."""

    def __init__(self) -> None:
        self._usual = dict(USUAL_S)
        self._done: dict[str, float] = {}
        self._step, self._since = "", 0.0

    @property
    def step(self) -> str:
        """Name of the step that is running; empty before the first."""
        return self._step

    def begin(self, now: float) -> None:
        """Start a run at a time in seconds."""
        self._done, self._step, self._since = {}, "", now

    def enter(self, step: str, now: float) -> None:
        """End the step that was running, and start another."""
        self._close(now)
        self._step, self._since = step, now

    def end(self, now: float) -> None:
        """End a run that was not cancelled, and keep its durations for the next."""
        self._close(now)
        self._usual.update(self._done)
        self._step = ""

    def _close(self, now: float) -> None:
        if self._step:
            self._done[self._step] = now - self._since

    def left_s(self, now: float) -> float | None:
        """Return the seconds that are left; None in a step of unknown duration."""
        if self._step not in self._usual:
            return None
        return seconds_left(self._usual, self._done, self._step, now - self._since)


def seconds_left(usual: Mapping[str, float], done: Mapping[str, float], step: str, in_step_s: float) -> float:
    """Return the seconds left after `in_step_s` seconds of a step.

    Parameters
    ----------
    usual
        Usual seconds of each step, in the order of the run.
    done
        Seconds of the steps that have ended: the rest is as much slower or faster than usual as these were.

    Examples
    --------
    >>> from GTRStagingSlicer.time_left import seconds_left
    >>> seconds_left({"a": 1, "b": 2, "c": 3}, {"a": 2}, "b", 1)
    9.0
    """
    known = {name: seconds for name, seconds in done.items() if name in usual}
    expected = sum(usual[name] for name in known)
    pace = sum(known.values()) / expected if expected > 0 else 1.0
    names = list(usual)
    later = sum(usual[name] for name in names[names.index(step) + 1 :])
    return float(pace * later + max(0.0, pace * usual[step] - in_step_s))


def left_in_words(seconds: float | None) -> str:
    """Say how much time is left, or nothing below a second and where it is not known.

    Examples
    --------
    >>> from GTRStagingSlicer.time_left import left_in_words
    >>> left_in_words(3.2), left_in_words(150), left_in_words(None)
    ('about 4 s left', 'about 3 min left', '')
    """
    if seconds is None or seconds < 1:
        return ""
    if seconds < 100:
        return _("about {seconds} s left").format(seconds=int(seconds) + 1)
    return _("about {minutes} min left").format(minutes=int(seconds / 60) + 1)


__all__ = ["USUAL_S", "Clock", "left_in_words", "seconds_left"]
