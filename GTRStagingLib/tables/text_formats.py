"""Recognise the encoding and the separator of a table that is text.

Encodings are UTF-8, UTF-16 and GB18030; separators are commas, semicolons and tabs.
"""

import codecs
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from GTRStagingLib.errors import InputError
from GTRStagingLib.tables.headers import CASES, CENTRES, COLUMNS, PATIENTS, STAGES, folded

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
"""Byte-order marks and their encodings; that of UTF-32 begins with that of UTF-16."""

COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方"
    "多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心本前开但因只从想实日者意无力与长把机十民第公此已工使情明性知"
    "全三又关点正业外将两高间由问很最重并物手应向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度"
    "门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活更别女变四神总何电数安少报才结反受目太量再感建做接"
    "必场件计管期市直德资命山金指许统区保至形社便空治展科五基眼书非则听白却界达光放强即难且思象完设式色路记南品住告类求据程北"
    "边死该交规万取术领共确传师观清切院识候带导运六七八九百零"
    "胃癌患病例号姓龄岁医影像图肿瘤淋巴转移低未型弥漫混肠腺细胞浸润溃疡贲窦底切片层序列编径夹诊断检查扫描训练验证测试组集备注厘"
    "米毫男附属华福尼厂商设随访存亡术症状期强增脉静门"
    "京津沪渝广州杭江苏浙川湖武汉郑陕深圳青岛济沈阳哈尔滨昆贵阳宁夏"
    "李王张刘陈杨黄赵吴周徐孙马朱胡郭林罗梁谢宋唐韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶魏吕丁姚卢姜崔钟谭陆汪范石廖贾韦付方邹孟熊秦邱"
    "尹薛段雷侯龙史陶黎贺顾毛郝龚邵钱严戴莫孔汤"
)
"""Frequent Chinese characters, those of such tables, and of names: other encodings, read as GB18030, have few."""

_KNOWN = frozenset(folded(name) for name in (*CASES, *PATIENTS, *CENTRES, *STAGES, *COLUMNS))


@dataclass(frozen=True)
class TextFormat:
    """Encoding, as Python names it, and separator of a table, with a note on each that is unusual."""

    encoding: str
    separator: str
    notes: tuple[str, ...] = ()


def text_format(path: Path) -> TextFormat:
    """Recognise the format of a table by its bytes and its header.

    Raises
    ------
    InputError
        If the encoding or the separator is not known, or could be two.
    csv.Error
        If the header cannot be read.
    """
    encoding, notes = _encoding(path)
    separator = _separator(path, encoding)
    if separator != ",":
        notes = (*notes, f"{path.name} is separated by {SEPARATORS[separator]}.")
    return TextFormat(encoding, separator, notes)


# -- encoding ------------------------------------------------------------------------------------------------------


def _encoding(path: Path) -> tuple[str, tuple[str, ...]]:
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((name for mark, name in MARKS if start.startswith(mark)), None)
    if marked is not None:
        _require_decodes(path, marked)
        shown = marked.removesuffix("-sig").upper()
        return marked, () if shown == "UTF-8" else (f"{path.name} is {shown}, by its byte-order mark.",)
    try:
        _require_decodes(path, "utf-8")
    except InputError:
        found = _chinese(path)
        if found is None:
            raise
        return "gb18030", (f"{path.name} is not UTF-8; it is read as GB18030 (Chinese), as in {found!r}.",)
    return "utf-8", ()


def _require_decodes(path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    with path.open("rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
                read += len(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            shown = encoding.removesuffix("-sig").upper()
            raise InputError(
                f"{path.name} is not {shown} (byte {max(0, read + error.start)}); expected UTF-8, UTF-16 with a "
                "byte-order mark, or Chinese in GB18030. Save the table as 'CSV UTF-8'."
            ) from error


def _chinese(path: Path) -> str | None:
    """Return a Chinese text of a file in GB18030; None if it is more likely in another encoding.

    Texts in Latin-1, Cyrillic or Korean encodings often decode as GB18030, but then into rare characters.
    """
    try:
        text = path.read_text(encoding="gb18030")
    except UnicodeDecodeError:
        return None
    words = "".join(c if ord(c) > 0x7F else " " for c in text).split()
    ideographs = {c for word in words for c in word if "\u3400" <= c <= "\u9fff" or c >= "\U00020000"}
    others = {c for word in words for c in word} - ideographs
    strange = {
        c for c in others if not ("\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" or c in "“”‘’…—·×°±≥≤μ")
    }
    if len(ideographs) < 2 or strange or len(ideographs & COMMON) < 0.6 * len(ideographs):
        return None
    return next(word for word in words if set(word) & ideographs)


# -- separator -----------------------------------------------------------------------------------------------------


def _separator(path: Path, encoding: str) -> str:
    read = {mark: _first_rows(path, encoding, mark) for mark in SEPARATORS}
    several = {mark: rows for mark, rows in read.items() if rows and len(rows[0]) > 1}
    if not several:
        header = read[","][0][0] if read[","] and read[","][0] else ""
        if "|" in header:
            raise InputError(
                f"{path.name}: the header is separated by '|'; expected commas, semicolons or tabs. Save the table as "
                "comma-separated UTF-8."
            )
        return ","
    known = [mark for mark, rows in several.items() if any(folded(name) in _KNOWN for name in rows[0])]
    found = known or list(several)
    if len(found) > 1:
        found = [mark for mark in found if all(len(row) == len(several[mark][0]) for row in several[mark])]
    if len(found) != 1:
        marks = " or ".join(SEPARATORS[mark] for mark in several)
        raise InputError(
            f"{path.name}: the header could be separated by {marks}; expected one of them. Put quotes around names "
            "that contain the other one, or rename these columns."
        )
    return found[0]


def _first_rows(path: Path, encoding: str, separator: str) -> Sequence[Sequence[str]]:
    """Return the header and the next rows."""
    with path.open(encoding=encoding, newline="") as file:
        return [row for row in islice(csv.reader(file, delimiter=separator), 6) if row]


__all__ = ["SEPARATORS", "TextFormat", "text_format"]
