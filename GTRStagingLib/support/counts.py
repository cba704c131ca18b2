"""Write numbers of things in messages."""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with its noun, as in '1 row' or '2,500 rows'.

    Parameters
    ----------
    thing, things
        The noun, and its plural where that is not made by an s, as where a verb follows.

    Examples
    --------
    >>> from GTRStagingLib.support.counts import counted
    >>> counted(1, "row"), counted(2500, "row"), counted(2, "case is", "cases are")
    ('1 row', '2,500 rows', '2 cases are')
    """
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


__all__ = ["counted"]
