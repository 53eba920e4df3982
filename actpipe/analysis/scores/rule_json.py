"""A rule list on its own: JSON that any program can execute on token ids, and the reference for how.

    {"otherwise": 0.01, "fires_from": 0.8, "rules": [{"match": [[318, 2993]], "weight": 2.5}, …]}

`match` holds alternatives. Each is token ids in reading order, the last for the row itself and those before it for the
rows before; null stands for any token and occurs only last. An alternative matches a row if all its tokens stand
there, within one document and one sequence. The first rule of the list with an alternative that matches speaks: its
`weight` is the predicted activation; where none speaks it is `otherwise`. The unit is predicted to fire where a rule
speaks whose weight is at least `fires_from`; null: nowhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pattern = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    match: tuple[Pattern, ...]
    weight: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """[T] by token."""

    activation: NDArray[np.float64]
    fires: NDArray[np.bool_]
    rule: NDArray[np.int64]  # number of the rule that speaks, −1 where none does


@dataclass(frozen=True, kw_only=True)
class RuleList:
    rules: tuple[Rule, ...]
    otherwise: float
    fires_from: float | None

    @classmethod
    def from_json(cls, text: str) -> Self:
        found = json.loads(text)
        rules = (
            Rule(match=tuple(tuple(pattern) for pattern in each["match"]), weight=each["weight"])
            for each in found["rules"]
        )
        return cls(rules=tuple(rules), otherwise=found["otherwise"], fires_from=found["fires_from"])

    def to_json(self) -> str:
        rules = [{"match": each.match, "weight": each.weight} for each in self.rules]
        return json.dumps(
            {"otherwise": self.otherwise, "fires_from": self.fires_from, "rules": rules}, separators=(",", ":")
        )

    def predict(self, tokens: ArrayLike, *, documents: ArrayLike | None = None) -> Prediction:
        """`tokens` [T] in reading order, e.g. a window; `documents` [T]: where the number changes, text begins anew."""
        ids = np.asarray(tokens, dtype=np.int64)
        begins = _beginnings(len(ids), documents)
        speaker = np.full(len(ids), -1)
        for number in range(len(self.rules) - 1, -1, -1):  # the first rule speaks last
            for pattern in self.rules[number].match:
                speaker[_matches(pattern, ids, begins)] = number
        weights = np.array([*(rule.weight for rule in self.rules), self.otherwise])  # −1 reads the last
        above = weights >= (np.inf if self.fires_from is None else self.fires_from)
        return Prediction(activation=weights[speaker], fires=(speaker >= 0) & above[speaker], rule=speaker)


def _beginnings(n: int, documents: ArrayLike | None) -> NDArray[np.int64]:
    """[n] where the text of each token begins."""
    if documents is None:
        return np.zeros(n, dtype=np.int64)
    number = np.asarray(documents)
    fresh = np.ones(n, dtype=bool)
    fresh[1:] = number[1:] != number[:-1]
    return np.asarray(np.maximum.accumulate(np.where(fresh, np.arange(n), 0)))


def _matches(pattern: Pattern, ids: NDArray[np.int64], begins: NDArray[np.int64]) -> NDArray[np.bool_]:
    place = np.arange(len(ids))
    found = place - begins >= len(pattern) - 1
    for back, token in enumerate(reversed(pattern)):
        if token is not None:
            found &= np.where(place >= back, ids[np.maximum(place - back, 0)] == token, False)
    return found
