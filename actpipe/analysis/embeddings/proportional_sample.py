"""Of each unit a sample of its tiles, drawn in proportion to activation, in one pass: priority sampling.

With u uniform in (0, 1], a function of (seed, unit, tile), the priority of a tile is a / u. Kept are the k largest, and
the next one as the threshold τ (Duffield, Lund and Thorup 2007): max(a, τ) is then an unbiased weight, so that sums
over the k estimate sums of a over all tiles. With k tiles or fewer all are there, with their activations. That is
stratification by activation without bins: strong tiles are surely in it, weak ones stand for many.

A tile among the k + 1 of the whole is among those of every part that holds it, so parts merge exactly. State: 16 bytes
an entry, 1 kB a unit at k = 64.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.store.hashing import Words, salt, salted, splitmix64

from .tiles import Peaks

_SALT = 0x70726F70  # "prop"


class Sample(NamedTuple):
    """One entry a tile, ordered by unit, then priority."""

    unit: NDArray[np.int64]
    tile: NDArray[np.int64]
    weight: NDArray[np.float64]


class _Entries(NamedTuple):
    """One a tile, ordered by unit, then priority, of equal ones by tile."""

    unit: NDArray[np.int32]
    tile: NDArray[np.int64]
    value: NDArray[np.float32]
    priority: NDArray[np.float64]

    def take(self, index: NDArray[np.int64]) -> _Entries:
        return _Entries._make(column[index] for column in self)

    def starts(self, n_units: int) -> NDArray[np.int64]:
        return np.searchsorted(self.unit, np.arange(n_units + 1))


class ProportionalSample:
    def __init__(self, n_units: int, *, keep: int, seed: int) -> None:
        self.n_units, self.keep = n_units, keep
        self.unit_words = salted(np.arange(n_units), salt(_SALT, seed))
        self._kept = self._entries(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))

    def update(self, tile: NDArray[np.int64], peaks: Peaks) -> None:
        """Tiles that no other call holds, ascending, and what fires in them; values are exact in float32."""
        words = splitmix64(tile)
        priority = _priority(self.unit_words[peaks.unit], words[peaks.item], peaks.value)
        starts = np.searchsorted(peaks.unit, np.arange(self.n_units + 1))
        first = _first(starts, priority, self.keep + 1)
        unit, item, value = (column[first] for column in peaks)
        self._add(_Entries(unit.astype(np.int32), tile[item], value.astype(np.float32), priority[first]))

    def merge(self, other: Self) -> None:
        self._add(other._kept)

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self._kept, name) for name in ("unit", "tile", "value")}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self._kept = self._entries(state["unit"], state["tile"], state["value"])

    def finish(self) -> Sample:
        """Without the entry after the last, whose priority is τ; it is 0 where all tiles are there."""
        unit, starts = self._kept.unit.astype(np.int64), self._kept.starts(self.n_units)
        rank = np.arange(len(unit)) - starts[unit]
        threshold = np.zeros(self.n_units)
        threshold[unit[rank == self.keep]] = self._kept.priority[rank == self.keep]
        kept = rank < self.keep
        weight = np.maximum(self._kept.value.astype(np.float64), threshold[unit])
        return Sample(unit[kept], self._kept.tile[kept], weight[kept])

    def _entries(self, unit: NDArray[np.int32], tile: NDArray[np.int64], value: NDArray[np.float32]) -> _Entries:
        return _Entries(unit, tile, value, _priority(self.unit_words[unit], splitmix64(tile), value))

    def _add(self, new: _Entries) -> None:
        both = _Entries(*(np.concatenate([one, other]) for one, other in zip(self._kept, new, strict=True)))
        mine, theirs = self._kept.starts(self.n_units), new.starts(self.n_units) + len(self._kept.unit)
        self._kept = both.take(_merged(mine, theirs, both.priority, both.tile, self.keep + 1))


def _priority(unit: Words, tile: Words, value: NDArray[np.floating]) -> NDArray[np.float64]:
    uniform = (splitmix64(unit ^ tile).astype(np.float64) + 1) / 2.0**64
    return value.astype(np.float64) / uniform


@compiled
def _first(starts: Any, priority: Any, most: int) -> Any:
    """Of each unit the indices of the `most` entries of highest priority, in order; of equal ones as they come."""
    n = len(starts) - 1
    index, first, last = np.empty(len(priority), np.int64), 0, 0
    for u in range(n):
        first = last
        for i in range(starts[u], starts[u + 1]):
            if last - first == most and priority[i] <= priority[index[last - 1]]:
                continue
            if last - first < most:
                last += 1
            at = last - 1
            while at > first and priority[index[at - 1]] < priority[i]:
                index[at] = index[at - 1]
                at -= 1
            index[at] = i
    return index[:last].copy()


@compiled
def _merged(mine: Any, theirs: Any, priority: Any, tile: Any, most: int) -> Any:
    """Two lists, each in order, those of unit u in mine[u]:mine[u + 1] and theirs[u]:theirs[u + 1]: indices of the
    `most` first of both together."""
    n = len(mine) - 1
    index, last = np.empty(len(priority), np.int64), 0
    for u in range(n):
        i, j, room = mine[u], theirs[u], most
        while room and (i < mine[u + 1] or j < theirs[u + 1]):
            if j == theirs[u + 1]:
                higher = True
            elif i == mine[u + 1]:
                higher = False
            else:
                higher = priority[i] > priority[j] or (priority[i] == priority[j] and tile[i] < tile[j])
            if higher:
                index[last] = i
                i += 1
            else:
                index[last] = j
                j += 1
            last += 1
            room -= 1
    return index[:last].copy()
