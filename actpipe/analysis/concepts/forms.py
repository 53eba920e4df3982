"""Families of the token's form: case, digits, letters, scripts, white space, punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from .concept import Concept, TokenConcept


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text.strip()) is not None


def _contains(*marks: str) -> Callable[[str], bool]:
    return lambda text: any(mark in text for mark in marks)


def _made_of(marks: str) -> Callable[[str], bool]:
    """Of these characters alone, and at least one."""
    return lambda text: bool(text.strip()) and not set(text.strip()) - set(marks)


def _script(*prefixes: str) -> Callable[[str], bool]:
    """Any letter whose Unicode name begins so."""
    return lambda text: any(
        unicodedata.name(letter, "").startswith(prefixes) for letter in text if ord(letter) > 127 and letter.isalpha()
    )


def _emoji(text: str) -> bool:
    return any(0x1F300 <= ord(c) <= 0x1FAFF or 0x2600 <= ord(c) <= 0x27BF for c in text)


def _token(name: str, text: str, test: Callable[[str], bool], *parents: str) -> Concept:
    return TokenConcept(name=name, text=text, test=test, parents=parents)


def _letters_only(text: str) -> bool:
    return text.strip().isalpha()


CASE: tuple[Concept, ...] = (
    _token("case/capital", "begins with a capital letter", lambda t: t.strip()[:1].isupper()),
    _token("case/title", "a capital, then small letters", _matches(r"[A-Z][a-z]+"), "case/capital"),
    _token("case/all capitals", "two or more capitals", _matches(r"[A-Z]{2,}"), "case/capital"),
    _token("case/single capital", "one capital letter", _matches(r"[A-Z]"), "case/capital"),
    _token("case/mixed", "a capital behind a small letter", lambda t: re.search("[a-z][A-Z]", t) is not None),
    _token("case/small", "small letters only", _matches(r"[a-z]+")),
)

FORM: tuple[Concept, ...] = (
    _token("form/leading space", "begins with a space", lambda t: t.startswith(" ") and bool(t.strip())),
    _token("form/continuation", "goes on with letters and no space", lambda t: t[:1].isalpha()),
    _token("form/letters", "letters only", _letters_only),
    _token("form/one letter", "a single letter", lambda t: _letters_only(t) and len(t.strip()) == 1, "form/letters"),
    _token("form/two letters", "two letters", lambda t: _letters_only(t) and len(t.strip()) == 2, "form/letters"),
    _token("form/long", "eight letters or more", lambda t: _letters_only(t) and len(t.strip()) >= 8, "form/letters"),
    _token("form/alphanumeric", "letters and digits mixed", _matches(r"(?=.*\d)(?=.*[A-Za-z])\w+")),
    _token("form/special", "a token of the tokenizer's own", _matches(r"<[|/]?[a-zA-Z_]+[|]?>|\[[A-Z]+\]")),
    _token("form/part of a character", "bytes of an unfinished character", _contains("<0x")),
    _token("form/roman numeral", "two or more of I, V, X, L, C", _matches(r"[IVXLC]{2,}"), "case/all capitals"),
    _token("form/web", "part of a web or mail address", _matches(r"https?|www|\.?(com|org|net|html)|.*://.*|@\w*")),
)

NUMBER: tuple[Concept, ...] = (
    _token("number/digits", "digits", _matches(r"\d+")),
    _token("number/one digit", "one digit", _matches(r"\d"), "number/digits"),
    _token("number/zero", "0", _matches("0"), "number/one digit"),
    _token("number/two digits", "two digits", _matches(r"\d\d"), "number/digits"),
    _token("number/year", "a year from 1500 to 2099", _matches(r"1[5-9]\d\d|20\d\d"), "number/digits"),
    _token("number/ordinal", "1st, 2nd …", _matches(r"\d*(1st|2nd|3rd|\dth)"), "form/alphanumeric"),
    _token("number/decade", "1980s, 90s", _matches(r"(\d\d)?\d0s"), "form/alphanumeric"),
    _token("number/percent", "a percent sign", _contains("%")),
    _token("number/currency", "a sign of money", _contains("$", "€", "£", "¥")),
)

PUNCTUATION: tuple[Concept, ...] = (
    _token("punctuation/any", "no letter and no digit", lambda t: bool(t.strip()) and not any(map(str.isalnum, t))),
    _token(
        "punctuation/ends sentence",
        "ends a sentence: . ! ?",
        lambda t: t.strip()[-1:] in {".", "!", "?", "…"} or t.strip()[-2:] in {'."', '!"', '?"', ".)"},
    ),
    _token("punctuation/period", ".", _made_of("."), "punctuation/any", "punctuation/ends sentence"),
    _token("punctuation/ellipsis", "...", _matches(r"\.{2,}|…"), "punctuation/any", "punctuation/ends sentence"),
    _token("punctuation/question", "?", _made_of("?"), "punctuation/any", "punctuation/ends sentence"),
    _token("punctuation/exclamation", "!", _made_of("!"), "punctuation/any", "punctuation/ends sentence"),
    _token("punctuation/comma", ",", _made_of(","), "punctuation/any"),
    _token("punctuation/colon", ":", _made_of(":"), "punctuation/any"),
    _token("punctuation/semicolon", ";", _made_of(";"), "punctuation/any"),
    _token("punctuation/double quote", "a double quotation mark", _contains('"', "“", "”", "«", "»")),
    _token("punctuation/apostrophe", "an apostrophe", _contains("'", "’")),
    _token("punctuation/hyphen", "a hyphen", _made_of("-"), "punctuation/any"),
    _token("punctuation/dash", "a dash", _matches("--+|–|—"), "punctuation/any"),
    _token("punctuation/opening bracket", "( [ {", _contains("(", "[", "{")),
    _token("punctuation/closing bracket", ") ] }", _contains(")", "]", "}")),
    _token("punctuation/slash", "/ or \\", _made_of("/\\"), "punctuation/any"),
    _token("punctuation/mathematical", "+ = < > and the like", _made_of("+=<>±×÷≤≥≠^~"), "punctuation/any"),
    _token("punctuation/mark", "# * | and the like", _made_of("#*|_`&@"), "punctuation/any"),
)

SPACE: tuple[Concept, ...] = (
    _token("space/blank", "white space only", lambda t: bool(t) and not t.strip()),
    _token("space/newline", "a newline", _contains("\n")),
    _token("space/blank line", "two newlines or more", lambda t: t.count("\n") >= 2, "space/newline"),
    _token("space/several", "two spaces or more", lambda t: not t.strip(" ") and len(t) > 1, "space/blank"),
    _token("space/indent", "two spaces or a tab in front", lambda t: t.startswith(("  ", "\t"))),
    _token("space/tab", "a tab", _contains("\t")),
)

SCRIPT: tuple[Concept, ...] = (
    _token("script/not ASCII", "any character beyond ASCII", lambda t: not t.isascii()),
    _token("script/accented", "a Latin letter with an accent", _script("LATIN"), "script/not ASCII"),
    _token("script/Cyrillic", "Cyrillic", _script("CYRILLIC"), "script/not ASCII"),
    _token("script/Greek", "Greek", _script("GREEK"), "script/not ASCII"),
    _token("script/Arabic", "Arabic or Hebrew", _script("ARABIC", "HEBREW"), "script/not ASCII"),
    _token("script/Indic", "of India", _script("DEVANAGARI", "BENGALI", "TAMIL"), "script/not ASCII"),
    _token(
        "script/East Asian", "Han, kana or hangul", _script("CJK", "HIRAGANA", "KATAKANA", "HANGUL"), "script/not ASCII"
    ),
    _token("script/emoji", "an emoji or pictograph", _emoji, "script/not ASCII"),
)
