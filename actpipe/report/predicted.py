"""Where the rules of a unit say that it fires, in windows of tokens: docs/reference/score-tables.md, rules.

The same as `RuleList.predict` of actpipe.analysis.scores.rule_json on each window, by looking each token up once: a
page asks it of some 60 windows of every unit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Pattern = tuple[int | None, ...]
Candidates = tuple[tuple[int, Pattern], ...]  # rule, pattern
NONE = 1 << 30


class Predictor:
    def __init__(self, rule: str) -> None:
        found: dict[str, Any] = json.loads(rule)
        fires_from = found["fires_from"]
        self._fires = [fires_from is not None and each["weight"] >= fires_from for each in found["rules"]]
        # By the last token that a pattern names: of the row itself, or of the row before where any token may follow.
        self._ending: dict[int | None, Candidates] = {}
        self._passing: dict[int | None, Candidates] = {}
        for number, each in enumerate(found["rules"]):
            for pattern in each["match"]:
                by, named = (self._passing, pattern[-2]) if pattern[-1] is None else (self._ending, pattern[-1])
                by[named] = (*by.get(named, ()), (number, tuple(pattern)))
        self._named = frozenset({*self._ending, *self._passing})

    def fires(self, tokens: Sequence[int]) -> list[int]:
        """Indices in the window at which firing is predicted; what stands before the window is not known."""
        named = [i for i, token in enumerate(tokens) if token in self._named]
        if not named:
            return []
        places = sorted({*named, *(i + 1 for i in named if i + 1 < len(tokens))})
        return [i for i in places if self._speaks(tokens, i)]

    def _speaks(self, tokens: Sequence[int], i: int) -> bool:
        """The first rule that matches speaks; candidates stand in the order of the rules."""
        speaking = _first(self._ending.get(tokens[i], ()), tokens, i)
        if i and (passing := self._passing.get(tokens[i - 1])):
            speaking = min(speaking, _first(passing, tokens, i))
        return speaking < len(self._fires) and self._fires[speaking]


def _first(candidates: Candidates, tokens: Sequence[int], i: int) -> int:
    """Number of the first rule that matches, more than there are if none does."""
    for number, pattern in candidates:
        if _matches(pattern, tokens, i):
            return number
    return NONE


def _matches(pattern: Pattern, tokens: Sequence[int], i: int) -> bool:
    first = i + 1 - len(pattern)
    if len(pattern) == 1:  # most; its token led here
        return True
    return first >= 0 and all(token is None or token == tokens[first + j] for j, token in enumerate(pattern))
