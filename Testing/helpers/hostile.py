"""Alter valid files in the ways of a careless program or a stranger, and check what a reader makes of them."""

import copy
import json
import random
import re
import warnings

from GTRStagingLib.errors import StagingError

VALUES = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e-320, 1e-12, 1e6, 1e18, 1e100, 1e308, -1e308, 10**18, 10**300,
    10**400, -(10**400), "", " ", "1", "T1", "nan", "reference", "\x1b[31mred", "a\x00b", "a\nb", "\u202eT1", "\ud800",
    "é", "x" * 200_000, [], [[]], {}, [None], [1, 2], [1, 2, 3], ["a"], {"a": 1}, {"": None}, [1e308] * 3,
)  # fmt: skip
"""Values that replace a value of JSON."""

TEXTS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 400, "1" * 5000, '"\\ud800"', "[" * 100_000, "[" * 70,
         '{"a":' * 500, "00", "+1", "'a'", '"\\u001b[2J"', '"\t"', "", "\x00", "\ufeff", "null")  # fmt: skip
"""Texts that replace a number or a text in the bytes of JSON."""

CELLS = ("", "NA", "1e999", "-1e999", "nan", "inf", "1" * 400, "9" * 5000, "1e308", "-1e308", "1e-320", "0x10", "1_0",
         "\x1b[31m", "a\x00b", "\u202ea", "é", "x" * 200_000,
         "=1+1", "..", "/", "T9", "T0", "true", "[1, 2]", '"',
         "a,b", "-1", "1.5", "None", "1e5", "0" * 300, "٣", "１")  # fmt: skip
"""Texts that replace a cell of a table."""

WORDS_OF_PYTHON = re.compile(
    r"Traceback|<class|object at 0x|NoneType|dtype\(|\b\w*(?<!Staging)(?<!Unpickling)Error:|unhashable|"
    r"not subscriptable|must be real number|has no attribute|positional argument|unexpected keyword"
)
"""Words that only a programmer of this software understands."""

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def require_plain(message):
    """Fail unless a message is one for users."""
    assert message.strip()
    assert len(message) < 20_000
    assert not CONTROLS.search(message), repr(message[:2000])
    assert not WORDS_OF_PYTHON.search(message), message[:2000]


def outcome(use, *arguments):
    """Return 'read' or 'refused'; any other exception passes, and a refusal must be a message for users."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numbers that are not finite
            use(*arguments)
    except StagingError as error:
        require_plain(str(error))
        return "refused"
    return "read"


def places(data, path=()):
    """Yield the path of each value in plain data; of a long list only those of its ends."""
    yield path
    if isinstance(data, dict):
        for key in data:
            yield from places(data[key], (*path, key))
    elif isinstance(data, list):
        for index in sorted({0, 1, len(data) - 1} & set(range(len(data)))):
            yield from places(data[index], (*path, index))


def altered_json(data, seed, also=()):
    """Return the bytes of plain data with one or two alterations; `also` are further values to use."""
    rng = random.Random(seed)
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2))):
        where = rng.choice(list(places(data)))
        how = rng.random()
        if not where:
            data = rng.choice((data, data, data, *VALUES))
            continue
        parent = data
        for step in where[:-1]:
            parent = parent[step]
        if how < 0.65:
            parent[where[-1]] = copy.deepcopy(rng.choice((*VALUES, *also)))
        elif how < 0.8:
            del parent[where[-1]]
        elif isinstance(parent, dict):
            parent[
                rng.choice(("extra", "", "\x1b[1m", "T1", where[-1].upper() if isinstance(where[-1], str) else "x"))
            ] = rng.choice(VALUES)
        else:
            parent += parent[:1] * rng.choice((1, 150))
    text = json.dumps(data)
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.35:
        content = altered_text(text, rng)
    return content


def altered_text(text, rng):
    """Return the bytes of JSON with an alteration that plain data cannot have."""
    how = rng.randrange(8)
    tokens = list(re.finditer(r'"[^"]*"|-?\d[\d.eE+-]*', text)) or [re.match("", text)]
    token = rng.choice(tokens)
    if how < 3:
        new = rng.choice(TEXTS)
        return (text[: token.start()] + new + text[token.end() :]).encode("utf-8", "surrogatepass")
    if how == 3:
        return text[: rng.randrange(len(text) + 1)].encode()
    if how == 4:
        place, content = rng.randrange(len(text)), bytearray(text.encode())
        content[place] ^= 1 << rng.randrange(8)
        return bytes(content)
    if how == 5:
        return rng.choice(("utf-16", "utf-8-sig", "utf-32")) and text.encode(
            rng.choice(("utf-16", "utf-8-sig", "utf-32"))
        )
    if how == 6:
        return text.replace("{", '{"kind": 1, "name": 2, ', 1).encode()
    return rng.choice((b"", b"\xff" + text.encode(), text.encode() * 2, b"\x00" * 10, text.encode() + b"\x00"))


def altered_rows(rows, seed):
    """Return the bytes of a CSV table, given as lists of cells with the header first, with alterations."""
    rng = random.Random(seed)
    rows = [list(row) for row in rows]
    for _ in range(rng.choice((1, 1, 2, 3))):
        how, row = rng.random(), rng.choice(rows if rng.random() < 0.2 else rows[1:] or rows)
        if not row:
            continue
        column = rng.randrange(len(row))
        if how < 0.5:
            row[column] = rng.choice(CELLS)
        elif how < 0.6:
            text = rng.choice(CELLS)
            for other in rows[1:]:
                other[min(column, len(other) - 1) :][:1] or other.append("")
                other[min(column, len(other) - 1)] = text
        elif how < 0.7:
            del row[column]
        elif how < 0.8:
            row.insert(column, rng.choice(CELLS))
        elif how < 0.9:
            rows.append(list(rng.choice(rows)))
        else:
            rows.remove(row)
            rows = rows or [[""]]
    mark, end = rng.choice((",", ",", ",", ",", ";", "\t")), rng.choice(("\n", "\n", "\r\n", "\r"))
    quoted = [[f'"{cell}"' if mark in cell and rng.random() < 0.8 else cell for cell in row] for row in rows]
    content = end.join(mark.join(row) for row in quoted).encode("utf-8", "surrogatepass")
    how = rng.random()
    if how < 0.05:
        return content.decode("utf-8", "replace").encode("utf-16")
    if how < 0.1:
        return b"\xef\xbb\xbf" + content
    if how < 0.15:
        return content[: rng.randrange(len(content) + 1)]
    if how < 0.2 and content:
        place = rng.randrange(len(content))
        return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
    return content
