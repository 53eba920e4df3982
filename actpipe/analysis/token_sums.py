"""How much of each unit's activation falls on each token: the sparse matrix S of the token scores.

The one accumulator that is not flat in the number of tokens: 16 bytes a distinct (unit, token) pair, three times that
while parts are merged. There are at most units · distinct tokens of them, and at most as many as firings.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .firings import Firings, starts_of

Tokens = NDArray[np.int64]


class Pairs(NamedTuple):
    """Entries of S in order of (unit, token), without repeats."""

    unit: NDArray[np.int64]
    token: NDArray[np.int64]
    total: NDArray[np.float64]


class _Run(NamedTuple):
    key: NDArray[np.int64]  # unit · vocabulary + token, increasing
    total: NDArray[np.float64]


class TokenSums:
    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary  # token ids are below
        self.runs: list[_Run] = []  # each at least twice as long as the next, so every pair is merged log(n) times

    def update(self, batch: Firings, tokens: Tokens) -> None:
        """`tokens` [B]: what activation falls on, the row's own token or another."""
        self.add(*token_totals(batch, tokens, self.vocabulary))

    def add(self, key: NDArray[np.int64], total: NDArray[np.float64]) -> None:
        """`key`: unit · vocabulary + token, increasing, without repeats."""
        self._push(_Run(key, total))

    def merge(self, other: Self) -> None:
        for run in other.runs:
            self._push(run)

    def state(self) -> dict[str, NDArray[Any]]:
        """All runs, one after the other."""
        runs = self.runs or [_Run(np.zeros(0, np.int64), np.zeros(0))]
        return {
            "key": np.concatenate([run.key for run in runs]),
            "total": np.concatenate([run.total for run in runs]),
            "lengths": np.array([len(run.key) for run in runs]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        borders = np.cumsum(state["lengths"])[:-1]
        parts = zip(np.split(state["key"], borders), np.split(state["total"], borders), strict=True)
        self.runs = [_Run(key, total) for key, total in parts if len(key)]

    def pairs(self) -> Pairs:
        while len(self.runs) > 1:
            self._fold()
        if not self.runs:
            return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        unit, token = np.divmod(self.runs[0].key, self.vocabulary)
        return Pairs(unit, token, self.runs[0].total)

    def _push(self, run: _Run) -> None:
        self.runs.append(run)
        self.runs.sort(key=lambda r: -len(r.key))
        while len(self.runs) > 1 and len(self.runs[-2].key) < 2 * len(self.runs[-1].key):
            self._fold()

    def _fold(self) -> None:
        b, a = self.runs.pop(), self.runs.pop()
        self.runs.append(_Run(*_merged(a.key, a.total, b.key, b.total)))


def token_totals(batch: Firings, tokens: Tokens, vocabulary: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """unit · vocabulary + token, increasing, and Σ a of each."""
    by_token = np.argsort(tokens, kind="stable")
    found: tuple[NDArray[np.int64], NDArray[np.float64]] = _totals(
        by_token, tokens, batch.starts, batch.unit, batch.value, batch.n_units, vocabulary
    )
    return found


@compiled
def _totals(by_token: Any, tokens: Any, starts: Any, unit: Any, value: Any, n: int, vocabulary: int) -> Any:
    """A counting sort by unit of rows in order of their tokens: what falls on one token comes together."""
    begins = starts_of(unit, n)
    stops = begins[:-1].copy()
    key, total = np.empty(len(unit), np.int64), np.empty(len(unit), np.float64)
    for t in by_token:
        for i in range(starts[t], starts[t + 1]):
            u = np.int64(unit[i])
            k, at = u * vocabulary + tokens[t], stops[u]
            if at > begins[u] and key[at - 1] == k:
                total[at - 1] += value[i]
            else:
                key[at], total[at] = k, value[i]
                stops[u] = at + 1
    m = 0
    for each in range(n):
        for at in range(begins[each], stops[each]):
            key[m], total[m] = key[at], total[at]
            m += 1
    return key[:m].copy(), total[:m].copy()


@compiled
def _merged(a: Any, of_a: Any, b: Any, of_b: Any) -> Any:
    """Two runs made one; what has the same key is added up."""
    key, total = np.empty(len(a) + len(b), np.int64), np.empty(len(a) + len(b), np.float64)
    i, j, m = 0, 0, 0
    while i < len(a) or j < len(b):
        if j == len(b) or (i < len(a) and a[i] < b[j]):
            key[m], total[m] = a[i], of_a[i]
            i += 1
        elif i == len(a) or b[j] < a[i]:
            key[m], total[m] = b[j], of_b[j]
            j += 1
        else:
            key[m], total[m] = a[i], of_a[i] + of_b[j]
            i += 1
            j += 1
        m += 1
    return key[:m].copy(), total[:m].copy()
