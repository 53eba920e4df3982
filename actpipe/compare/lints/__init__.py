"""Known ways in which a comparison fails, each a sentence where what is recorded shows it.

Numbers are those of the list in docs/how-to/compare.md, which also says why the others cannot happen here.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actpipe.compare.matching import Matched
from actpipe.compare.pairs import Sides
from actpipe.compare.stand import Row, Stand

from .of_arms import OF_ARMS
from .of_pairs import OF_PAIRS
from .subject import Pair, Subject

__all__ = ["Count", "Lint", "counted", "lints"]

WITHHOLD = frozenset({1, 3, 4, 15, 16})  # numbers of what a claim fails by (claims.py)


class Lint(NamedTuple):
    number: int
    name: str
    text: str


def lints(
    stands: Sequence[Stand], matched: Sequence[Matched], sides: Sequence[Sides], rows: Sequence[Row]
) -> list[Lint]:
    """Those that fire, by number. Everything is of all layers together."""
    subjects = {each.arm: Subject(stood, each) for stood, each in zip(stands, matched, strict=True)}
    by_names: Mapping[tuple[str, str], Sides] = {each.names: each for each in sides}
    pairs = []
    for first, second in itertools.combinations(subjects.values(), 2):
        names = (first.name, second.name)
        mine = [row for row in rows if (row["first"], row["second"]) == names and not row["twin"]]
        pairs.append(Pair(first, second, by_names[names], mine))
    of_arms = [(number, name, check(each)) for number, name, check in OF_ARMS for each in subjects.values()]
    of_pairs = [(number, name, check(pair)) for number, name, check in OF_PAIRS for pair in pairs]
    found = [Lint(number, name, text) for number, name, text in (*of_arms, *of_pairs) if text]
    return sorted(found, key=lambda lint: lint.number)


class Count(NamedTuple):
    number: int
    name: str
    times: int
    of: int
    what: str  # `arms` or `pairs`


def counted(fired: Sequence[Mapping[str, Any]], n_arms: int) -> list[Count]:
    """How often each fires, from `lints` of compare.json, the worst first: what withholds claims, then the rest; of
    each the most frequent first."""
    of_arms = {(number, name) for number, name, _ in OF_ARMS}
    found = []
    for (number, name), times in Counter((lint["number"], lint["name"]) for lint in fired).items():
        what, of = ("arms", n_arms) if (number, name) in of_arms else ("pairs", math.comb(n_arms, 2))
        found.append(Count(number, name, times, of, what))
    return sorted(found, key=lambda each: (each.number not in WITHHOLD, -each.times / each.of, each.number))
