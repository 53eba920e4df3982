"""A planted unit: what it fires on is a regular expression, and five explanations of it are true to a known degree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .questions import Explanation


@dataclass(frozen=True)
class Meaning:
    text: str
    pattern: str

    @property
    def explanation(self) -> Explanation:
        rule = {"kind": "pattern", "pattern": self.pattern}
        return Explanation(self.text, json.dumps(rule, ensure_ascii=False), "exam")

    def holds(self, text: str) -> bool:
        return re.search(self.pattern, text) is not None


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
) -> PlantedUnit:
    """A unit that fires where a pattern matches: pairs are (explanation, regular expression), phrases divided by |."""
    return PlantedUnit(
        name=name,
        family=family,
        exact=Meaning(*exact),
        paraphrase=paraphrase,
        broad=Meaning(*broad),
        narrow=Meaning(*narrow),
        inner=tuple(inner.split("|")),
        outer=tuple(outer.split("|")),
        near=tuple(near.split("|")),
    )


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
    a, b, c = ("|".join(words.split()) for words in (inner, outer, near))
    return shaped(
        name,
        family,
        exact=(exact, rf"\b(?:{a}|{b})\b"),
        paraphrase=paraphrase,
        broad=(broad, rf"\b(?:{a}|{b}|{c})\b"),
        narrow=(narrow, rf"\b(?:{a})\b"),
        inner=a,
        outer=b,
        near=c,
    )
