"""Token sums in bounded memory: the heaviest tokens of each unit, with a bound on what is missing.

The mergeable form of Misra and Gries (1982) for weights (Agarwal et al. 2013): of each unit at most COUNTERS tokens are
kept. Where there are more, the largest total that does not fit, s, is taken from all of the unit's totals, and those
that are not above zero are dropped. Each time s is taken from COUNTERS + 1 totals at least, so what is ever taken from
a total is at most mass/(COUNTERS + 1), and less than mass/COUNTERS:

    kept total ≤ true total ≤ kept total + error        error = Σ s ≤ mass/COUNTERS, a number a unit; 0: exact
    a token that is not kept has a true total of at most error

Parts merge in any order and keep the bound, but the totals themselves depend on the order where error is not 0: use
TokenSums, which is exact, as long as there is memory for it. State: 16 · COUNTERS bytes a unit (2 kB).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .firings import Firings
from .token_sums import Pairs, Tokens, token_totals

COUNTERS = 128
_PENDING = 1 << 20  # entries before they are brought together: 16 MiB
_State = dict[str, NDArray[Any]]


class TokenSketch:
    """Used like TokenSums."""

    def __init__(self, n_units: int, vocabulary: int, counters: int = COUNTERS) -> None:
        self.vocabulary, self.counters = vocabulary, counters  # token ids are below
        self.error = np.zeros(n_units)  # how much of a token's total may be missing
        self.mass = np.zeros(n_units)  # sum of all that was given: exact
        self._key, self._total = np.zeros(0, np.int64), np.zeros(0)  # unit · vocabulary + token, increasing
        self._pending: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []

    def update(self, batch: Firings, tokens: Tokens) -> None:
        self.add(*token_totals(batch, tokens, self.vocabulary))

    def add(self, key: NDArray[np.int64], total: NDArray[np.float64]) -> None:
        np.add.at(self.mass, key // self.vocabulary, total)
        self._push(key, total)

    def merge(self, other: Self) -> None:
        self.error += other.error
        self.mass += other.mass
        for entries in ((other._key, other._total), *other._pending):
            self._push(*entries)

    def state(self) -> _State:
        self._reduce()
        return {"key": self._key, "total": self._total, "error": self.error, "mass": self.mass}

    def restore(self, state: _State) -> None:
        self._key, self._total = state["key"], state["total"]
        self.error, self.mass, self._pending = state["error"].copy(), state["mass"].copy(), []

    def pairs(self) -> Pairs:
        """Totals that are never too large, and too small by at most `error` of the unit."""
        self._reduce()
        unit, token = np.divmod(self._key, self.vocabulary)
        return Pairs(unit, token, self._total)

    def _push(self, key: NDArray[np.int64], total: NDArray[np.float64]) -> None:
        self._pending.append((key, total))
        if sum(len(key) for key, _ in self._pending) > max(_PENDING, len(self._key)):
            self._reduce()

    def _reduce(self) -> None:
        if not self._pending:
            return
        every = [(self._key, self._total), *self._pending]
        self._pending = []
        key, total = _summed(*(np.concatenate(columns) for columns in zip(*every, strict=True)))
        unit = key // self.vocabulary
        taken = _first_left_out(unit, total, self.counters, len(self.error))
        self.error += taken
        total -= taken[unit]
        kept = total > 0
        self._key, self._total = key[kept], total[kept]


def _first_left_out(
    unit: NDArray[np.int64], total: NDArray[np.float64], counters: int, n_units: int
) -> NDArray[np.float64]:
    """[n_units]: the (counters + 1)-th largest total of each unit; 0 where it has no more than `counters`."""
    found = np.zeros(n_units)
    sizes = np.bincount(unit, minlength=n_units)
    crowded = (sizes > counters)[unit]  # sorted are only those that have to be
    unit, total = unit[crowded], total[crowded]
    order = np.lexsort((-total, unit))
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    found[unit[starts]] = total[order[starts + counters]]
    return found


def _summed(key: NDArray[np.int64], total: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if not len(key):
        return key, total
    order = np.argsort(key)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    return key[starts], np.add.reduceat(total[order], starts)
