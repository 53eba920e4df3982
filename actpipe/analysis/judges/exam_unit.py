"""A planted unit: what it fires on is a regular expression, and five explanations of it are true to a known degree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .questions import Explanation


@dataclass(frozen=True, kw_only=True)
class Meaning:
    text: str
    pattern: str
    any_case: bool = False

    @property
    def explanation(self) -> Explanation:
        rule = {"kind": "pattern", "pattern": self.pattern, **({"flags": "i"} if self.any_case else {})}
        return Explanation(self.text, json.dumps(rule, ensure_ascii=False), "exam")

    def holds(self, text: str) -> bool:
        return re.search(self.pattern, text, re.IGNORECASE if self.any_case else re.NOFLAG) is not None


@dataclass(frozen=True, kw_only=True)
class PlantedUnit:
    """The unit fires on `exact`. `narrow` misses half of that, `broad` holds of `near` too.

    Phrases: `inner` match narrow, `outer` match exact alone, `near` match broad alone.
    """

    name: str
    family: str
    exact: Meaning
    paraphrase: str
    broad: Meaning
    narrow: Meaning
    inner: tuple[str, ...]
    outer: tuple[str, ...]
    near: tuple[str, ...]


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def one_of(*lists: tuple[str, ...]) -> str:
    """Regular expression for any of the words, alone."""
    return r"\b(?:" + "|".join(re.escape(word) for part in lists for word in part) + r")\b"


def listed(
    name: str,
    family: str,
    *,
    exact: str,
    paraphrase: str,
    broad: str,
    narrow: str,
    inner: str,
    outer: str,
    near: str,
) -> PlantedUnit:
    """A unit that fires on the words `inner` and `outer`; the broad explanation holds of the words `near` as well."""
    a, b, c = words(inner), words(outer), words(near)
    return PlantedUnit(
        name=name,
        family=family,
        exact=Meaning(text=exact, pattern=one_of(a, b)),
        paraphrase=paraphrase,
        broad=Meaning(text=broad, pattern=one_of(a, b, c)),
        narrow=Meaning(text=narrow, pattern=one_of(a)),
        inner=a,
        outer=b,
        near=c,
    )


def shaped(
    name: str,
    family: str,
    *,
    exact: tuple[str, str],
    paraphrase: str,
    broad: tuple[str, str],
    narrow: tuple[str, str],
    inner: str,
    outer: str,
    near: str,
    any_case: bool = False,
) -> PlantedUnit:
    """A unit that fires where a pattern matches: pairs are (explanation, regular expression), phrases divided by |."""
    meanings = [Meaning(text=text, pattern=pattern, any_case=any_case) for text, pattern in (exact, broad, narrow)]
    phrases = [tuple(part.strip() for part in text.split("|")) for text in (inner, outer, near)]
    return PlantedUnit(
        name=name,
        family=family,
        exact=meanings[0],
        paraphrase=paraphrase,
        broad=meanings[1],
        narrow=meanings[2],
        inner=phrases[0],
        outer=phrases[1],
        near=phrases[2],
    )
