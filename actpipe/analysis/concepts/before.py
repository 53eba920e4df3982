"""Family of what stands right before: the previous token has a concept of its own."""

from __future__ import annotations

from .concept import Bools, Concept, RowConcept
from .reading import Reading

_OF = (
    *("function/article", "function/demonstrative", "function/possessive", "function/preposition", "function/of"),
    *("function/to", "function/conjunction", "function/pronoun", "function/be", "function/have", "function/modal"),
    *("function/negation", "function/wh-word", "function/degree adverb", "punctuation/comma", "punctuation/colon"),
    *("punctuation/double quote", "punctuation/opening bracket", "punctuation/hyphen", "punctuation/apostrophe"),
    *("number/digits", "case/title", "suffix/-ly", "suffix/-ed", "suffix/-ing", "lexicon/first names"),
    "punctuation/period",
)


def _behind(name: str) -> Concept:
    def label(reading: Reading) -> Bools:
        return reading.previous(reading.token(name))

    return RowConcept(
        name=f"before/{name.split('/')[1]}",
        text=f"right behind a token of {name}",
        label=label,
        parents=("before/preposition",) if name in {"function/of", "function/to"} else (),
    )


BEFORE: tuple[Concept, ...] = tuple(_behind(name) for name in _OF)
