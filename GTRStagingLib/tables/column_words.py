"""Put the names of a table's columns into words, for tables, figures and nomograms."""

import re

ACRONYMS = {
    name.casefold(): name
    for name in ("AFP", "AJCC", "ASA", "AUC", "BMI", "CA", "CEA", "CT", "Dice", "ECE", "ECOG", "EGJ", "EUS", "HD95",
                 "HER2", "HU", "ID", "IoU", "MRI", "MSI", "NNT", "PET", "ROI", "TNM", "UICC", "WHO")
}  # fmt: skip
"""Words that keep their capitals, in whatever case a column has them."""

UNITS = {
    "cm": "cm", "cm2": "cm²", "cm3": "cm³", "mm": "mm", "mm2": "mm²", "mm3": "mm³", "ml": "ml", "kg": "kg", "g": "g",
    "hu": "HU", "kv": "kV", "kvp": "kVp", "ma": "mA", "mas": "mAs", "s": "s", "seconds": "s", "min": "min",
    "days": "days", "weeks": "weeks", "months": "months", "years": "years", "yr": "years", "yrs": "years",
    "percent": "%", "pct": "%", "kg m2": "kg/m²", "g dl": "g/dl", "g l": "g/l", "mg dl": "mg/dl", "ng ml": "ng/ml",
    "u ml": "U/ml", "ku l": "kU/l", "mmol l": "mmol/l",
}  # fmt: skip
"""Last words of a column that are a unit, separated by spaces -> the unit as it is printed."""

WHOLE = {"radscore": "Rad-score", "lauren": "Lauren type", "kvp": "kVp"}
"""Names that the rules below would spell differently."""

_CA19_9 = re.compile(r"\bca[_-]?19[_-]?9(?!\d)", re.IGNORECASE)

_PROBABILITY = re.compile(r"(?:(?P<model>.+)_)?T(?P<stage>[1-4])", re.IGNORECASE)
_OWN = {"p", "prob", "probability", "y_prob"}
_STAGE = re.compile(r"[cpyur]+[TNM]\d?[abx]?|[TNM]\d[abx]?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NUMBERED = re.compile(r"(reader|case|centre|center|hospital|phase|slice|arm|site)(\d+)", re.IGNORECASE)


def label_of(column: str) -> str:
    """Return a column's name in words, to be shown in place of the name itself.

    Underscores and changes of case separate words, a unit at the end goes into brackets, and abbreviations of the field
    keep their capitals. Text in another script stays as it is.

    Examples
    --------
    >>> from GTRStagingLib.tables.column_words import label_of
    >>> [label_of(name) for name in ("tumour_size_cm", "ageYears", "cea_ng_ml", "pT", "sex")]
    ['Tumour size (cm)', 'Age (years)', 'CEA (ng/ml)', 'pT', 'Sex']
    >>> [label_of(name) for name in ("p_T1", "other_model_T4", "reader2_unaided", "hd95_mm")]
    ['Probability of T1', 'Probability of T4 (other model)', 'Reader 2, unaided', 'HD95 (mm)']
    """
    label, unit = label_and_unit(column)
    return f"{label} ({unit})" if unit else label


def label_and_unit(column: str) -> tuple[str, str]:
    """Return the words of `label_of` and the unit at the end of the name, empty if there is none.

    Examples
    --------
    >>> from GTRStagingLib.tables.column_words import label_and_unit
    >>> label_and_unit("tumour_size_cm"), label_and_unit("sex")
    (('Tumour size', 'cm'), ('Sex', ''))
    """
    name = " ".join(column.split())
    if " " in name:  # words already
        return name[:1].upper() + name[1:], ""
    if (found := _PROBABILITY.fullmatch(name)) and not _STAGE.fullmatch(name):
        model = found["model"]
        whose = "" if model.casefold() in _OWN else f" ({' '.join(_words(model))})"
        return f"Probability of T{found['stage']}{whose}", ""
    if (known := WHOLE.get(name.casefold())) is not None:
        return known, ""
    words = _words(_CA19_9.sub("CA_19-9", name))
    plain = [word.casefold() for word in words]
    unit = ""
    for many in (2, 1):
        if len(words) > many and (spelt := UNITS.get(" ".join(plain[-many:]))) is not None:
            words, unit = words[:-many], spelt
            break
    if len(words) > 1 and words[-1] in ("unaided", "aided"):
        words = [*words[:-2], f"{words[-2]},", words[-1]]
    text = " ".join(words)
    first = text[:1] if words and (_STAGE.fullmatch(words[0]) or words[0] != words[0].casefold()) else text[:1].upper()
    return f"{first}{text[1:]}" or column, unit


def _words(name: str) -> list[str]:
    """Split a name into words, in lower case but for acronyms, stages and names that are given in capitals."""
    parts: list[str] = []
    for part in re.split(r"[_\s]+", name):
        if not _STAGE.fullmatch(part) and part.casefold() not in ACRONYMS:
            part = _NUMBERED.sub(r"\1 \2", _CAMEL.sub(" ", part))
        parts += part.split()
    return [_spelt(part) for part in parts]


def _spelt(word: str) -> str:
    if (acronym := ACRONYMS.get(word.casefold())) is not None:
        return acronym
    kept = _STAGE.fullmatch(word) or (word.isupper() and len(word) <= 3 and word not in ("SEX", "AGE"))
    return word if kept or not word.isascii() else word.casefold()


__all__ = ["label_and_unit", "label_of"]
