"""The four T stages of the network, in the order of its outputs."""

from enum import IntEnum

RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment decisions."
"""The sentence that every output carries."""


class TStage(IntEnum):
    """A tumour's depth of invasion (AJCC 8); the value is the index of the network's output.

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
