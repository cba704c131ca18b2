"""Texts of a Rad-score: which every way to enter one takes, and which every way refuses."""

TAKEN = (("0.8", 0.8), ("0,8", 0.8), (" 1,25 ", 1.25), (".5", 0.5), ("-2.", -2.0), ("\u22120.5", -0.5), ("1e-1", 0.1))
"""Text and its number."""

REFUSED = ("1000", "-1000", "21.001", "1e400", "-1e400", "nan", "inf", "1,234", "1.234,5", "1,2,3", "0x1", "1_0",
           "high", "1 2", "+-1")  # fmt: skip
"""Texts that are no number, may be two, or are beyond three widths of the range of -3 to 3."""
