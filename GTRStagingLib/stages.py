"""Define the four T stages, in the order of the network's outputs."""

from enum import IntEnum

RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
"""Sentence that every output contains."""


class TStage(IntEnum):
    """T stage of a tumour, by its depth of invasion (AJCC 8); the value is the index of the network's output.

    Examples
    --------
    >>> from GTRStagingLib.stages import TStage
    >>> print(TStage.T3, int(TStage.T3), TStage["T3"] > TStage.T2)
    T3 2 True
    """

    T1 = 0
    T2 = 1
    T3 = 2
    T4 = 3

    def __str__(self) -> str:
        return self.name
