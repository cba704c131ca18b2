"""Hold what a reader has chosen for a case so far: a form that begins empty."""

from dataclasses import dataclass, replace

from GTRStagingSlicer.words import tr as _

STAGES = ("T1", "T2", "T3", "T4")
SUBSTAGES = ("T4a", "T4b")


@dataclass(frozen=True)
class Form:
    """Form of an answer, which may be incomplete.

    Attributes
    ----------
    confidence
        What the reader has typed; empty until then, so that no number is suggested.

    Examples
    --------
    >>> form = Form().with_stage("T4").with_substage("T4a")
    >>> form.with_stage("T3").substage is None, form.missing
    (True, 'Set the confidence, 0 to 100: key C.')
    """

    stage: str | None = None
    substage: str | None = None
    confidence: str = ""
    remarks: str = ""

    def with_stage(self, stage: str) -> "Form":
        """Return the form with a stage; only T4 keeps its substage."""
        return replace(self, stage=stage, substage=self.substage if stage == "T4" else None)

    def with_substage(self, substage: str) -> "Form":
        """Return the form with T4a or T4b, or without it if it was chosen; other stages than T4 have none."""
        if self.stage != "T4":
            return self
        return replace(self, substage=None if self.substage == substage else substage)

    @property
    def number(self) -> int | None:
        """Confidence as a number; None unless it is a whole number from 0 to 100."""
        text = self.confidence.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100 else None

    @property
    def missing(self) -> str:
        """Sentence on what is missing; empty if the form is complete."""
        if self.stage is None:
            return str(_("Choose a stage: keys 1 to 4."))
        if self.number is None:
            return str(_("Set the confidence, 0 to 100: key C."))
        return ""


__all__ = ["STAGES", "SUBSTAGES", "Form"]
