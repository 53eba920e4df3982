"""How much of each unit's activation falls on each token: the sparse matrix S of the token scores.

The one accumulator that is not flat in the number of tokens: 16 bytes a distinct (unit, token) pair, three times that
while parts are merged. There are at most units · distinct tokens of them, and at most as many as firings.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


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

    def update(self, unit: NDArray[np.int64], token: NDArray[np.int64], value: NDArray[np.float32]) -> None:
        self._push(_reduced(unit * self.vocabulary + token, value.astype(np.float64)))

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
        self.runs.append(_reduced(np.concatenate([a.key, b.key]), np.concatenate([a.total, b.total]), "stable"))


def _reduced(
    key: NDArray[np.int64], total: NDArray[np.float64], kind: Literal["quicksort", "stable"] = "quicksort"
) -> _Run:
    """Sort by key and add up what has the same key. The stable sort is the faster one where two sorted halves meet."""
    if not len(key):
        return _Run(key, total)
    order = np.argsort(key, kind=kind)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    return _Run(key[starts], np.add.reduceat(total[order], starts))
