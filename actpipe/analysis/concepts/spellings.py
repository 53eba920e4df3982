"""Families of a word's spelling: first letter, beginning, ending, contraction."""

from __future__ import annotations

import string
from collections.abc import Callable

from .concept import Concept, TokenConcept, WordConcept

_REST = 2  # letters that must be left of the word: "red" does not end in -ed


def _first(letter: str) -> Callable[[str], bool]:
    """Of tokens that begin a word where the vocabulary marks that with a space, of all others elsewhere."""
    return lambda text: text.strip()[:1].lower() == letter


def _starts(prefix: str) -> Callable[[str], bool]:
    return lambda word: word.startswith(prefix) and word.isalpha() and len(word) >= len(prefix) + _REST


def _ends(suffix: str) -> Callable[[str], bool]:
    return lambda word: word.endswith(suffix) and word.isalpha() and len(word) >= len(suffix) + _REST


def _plural(word: str) -> bool:
    return _ends("s")(word) and not word.endswith(("ss", "us", "is"))


_SUFFIXES = (
    *("ing", "ed", "ly", "er", "est", "tion", "sion", "ness", "ment", "ity", "able", "ible", "ful", "less", "ous"),
    *("ive", "al", "ic", "ism", "ist", "ance", "ence", "ize", "ship", "y"),
)
_ABOVE = {"ly": ("suffix/-y",), "ity": ("suffix/-y",)}
_PREFIXES = ("un", "re", "dis", "pre", "over", "inter", "mis", "non", "sub", "con", "in", "ex")

LETTER: tuple[Concept, ...] = tuple(
    TokenConcept(name=f"letter/{letter}", text=f"begins with {letter}, of either case", test=_first(letter))
    for letter in string.ascii_lowercase
)

SUFFIX: tuple[Concept, ...] = (
    *(
        WordConcept(name=f"suffix/-{end}", text=f"a word in -{end}", test=_ends(end), parents=_ABOVE.get(end, ()))
        for end in _SUFFIXES
    ),
    WordConcept(name="suffix/-s", text="a word in -s, but not -ss, -us, -is", test=_plural),
)

PREFIX: tuple[Concept, ...] = tuple(
    WordConcept(
        name=f"prefix/{start}-",
        text=f"a word that begins with {start}-",
        test=_starts(start),
        parents=("prefix/in-",) if start == "inter" else (),
    )
    for start in _PREFIXES
)

CONTRACTION: tuple[Concept, ...] = (
    TokenConcept(
        name="contraction/any",
        text="'s, 't, 're and the like",
        test=lambda t: t.strip().lower().replace("’", "'") in {"'s", "'t", "n't", "'re", "'ve", "'ll", "'d", "'m"},
    ),
    *(
        TokenConcept(
            name=f"contraction/{end}",
            text=end,
            test=lambda t, end=end: t.strip().lower().replace("’", "'") == end,  # type: ignore[misc]
            parents=("contraction/any",),
        )
        for end in ("'s", "'t", "n't", "'re", "'ve", "'ll", "'d", "'m")
    ),
)
