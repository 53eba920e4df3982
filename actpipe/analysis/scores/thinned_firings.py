"""Firings kept for a look at all of them together: every one of a rare unit, those of fewer sequences of a common one.

Sequences are halved again and again by a hash: a sequence has level ℓ or higher with probability 2^−ℓ. Unit u is looked
at on the sequences of level `floor[u]` and higher, the lowest floor under which it fires at most `at_most` times there.
So a unit's rows are a random sample of whole sequences, which ones depends on the unit's firings and the seed alone,
and what was kept stays enough when parts are merged, because floors only rise.

Memory: 17 bytes a firing, at most `at_most` a unit after a look (`kept`), plus PENDING that were not sorted out yet.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from actpipe.analysis.compiled import compiled
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import Rows
from actpipe.store.hashing import salt, salted

from .score import State

LEVELS = 24  # the highest is 1 sequence in 8 million
PENDING = 1 << 20  # firings between two looks
AT_MOST = 4096  # firings of a unit
TOTAL = 1 << 24  # firings of all units together: 290 MB,
AT_LEAST = 512  # but so many of a unit, however many units there are
_SALT = 0x7468696E  # "thin"


class Kept(NamedTuple):
    unit: NDArray[np.int32]
    row: NDArray[np.int64]  # number in the store
    value: NDArray[np.float32]
    level: NDArray[np.int8]  # of the row's sequence


def levels(sequence: NDArray[np.int64], seed: int) -> NDArray[np.int8]:
    words = salted(sequence, salt(_SALT, seed))
    borders = np.uint64(1) << np.arange(63, 64 - LEVELS, -1).astype(np.uint64)  # below 2^63: level 1, …
    return np.asarray((words[:, None] < borders).sum(axis=1).astype(np.int8))


def row_levels(rows: Rows, context: int, seed: int) -> NDArray[np.int8]:
    """[B] level of each row's sequence."""

    def make() -> NDArray[np.int8]:
        n_sequences = len(rows.tokens) // context
        of_sequence: NDArray[np.int8] = levels(rows.first // context + np.arange(n_sequences), seed)
        return np.repeat(of_sequence, context)

    return rows.once(f"thinned.levels.{seed}", make)


class ThinnedFirings:
    def __init__(
        self, n_units: int, *, context: int, seed: int, split: int | None, at_most: int | None = None, floor: int = 0
    ):
        """`split`: of the rows, None for all; `floor`: for every unit, where there are more rows than can be held."""
        self.at_most = at_most or max(AT_LEAST, min(AT_MOST, TOTAL // max(n_units, 1)))
        self.context, self.seed, self.split = context, seed, split
        self.counts = np.zeros((n_units, LEVELS), dtype=np.int64)  # firings on sequences of each level ≥ floor
        self.floor = np.full(n_units, floor, dtype=np.int8)
        self._kept: list[Kept] = []
        self._pending: list[Kept] = []
        self._n_pending = 0

    def update(self, batch: Firings) -> None:
        level = row_levels(batch.rows, self.context, self.seed)
        if self.split is not None:
            batch = batch.of(self.split)
        here = level[batch.row]
        fresh = Kept(batch.unit, batch.row + np.int64(batch.rows.first), batch.value, here)
        self._pending.append(_at_floor(fresh, self.floor) if self.floor.any() else fresh)
        self._n_pending += len(fresh.unit)
        if self._n_pending >= PENDING:
            self._look()

    def merge(self, other: Self) -> None:
        other._look()
        self._look()
        self.counts += other.counts
        self._kept += other._kept
        self._raise_floors(np.maximum(self.floor, other.floor))

    def kept(self) -> Kept:
        """All that are left, in order of row and unit."""
        self._look()
        whole = _joined([_at_floor(part, self.floor) for part in self._kept])
        if (np.diff(whole.row) < 0).any():  # parts were not merged in order
            whole = _only(whole, np.lexsort((whole.unit, whole.row)))
        self._kept = [whole]
        return whole

    def firings(self) -> NDArray[np.int64]:
        """[n] how often each unit fires on the rows it is looked at."""
        self._look()
        level = np.arange(LEVELS)
        return np.asarray(np.where(level >= self.floor[:, None], self.counts, 0).sum(axis=1))

    def state(self) -> State:
        whole = self.kept()
        return {"counts": self.counts, "floor": self.floor, **whole._asdict()}

    def restore(self, state: State) -> None:
        self.counts, self.floor = state["counts"].copy(), state["floor"].copy()
        self._kept = [Kept._make(state[name] for name in Kept._fields)]

    def _look(self) -> None:
        if not self._pending:
            return
        fresh = _joined(self._pending)
        self._pending, self._n_pending = [], 0
        _count(fresh.unit, fresh.level, self.counts)
        self._kept.append(fresh)
        self._raise_floors(self.floor)

    def _raise_floors(self, floor: NDArray[np.int8]) -> None:
        """To the lowest level from which on a unit fires at most `at_most` times; the highest where there is none."""
        at_least = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1]
        lowest = np.minimum((at_least > self.at_most).sum(axis=1), LEVELS - 1)
        self.floor = np.maximum(floor, lowest).astype(np.int8)
        if sum(len(part.unit) for part in self._kept) > self._bound():
            self._kept = [_at_floor(part, self.floor) for part in self._kept]

    def _bound(self) -> int:
        """Beyond it, what floors have dropped is let go: twice what can be left, so the work stays linear."""
        level = np.arange(LEVELS)
        return 2 * int(np.where(level >= self.floor[:, None], self.counts, 0).sum()) + PENDING


@compiled
def _count(unit: Any, level: Any, counts: Any) -> None:
    for i in range(len(unit)):
        counts[unit[i], level[i]] += 1


def _at_floor(of: Kept, floor: NDArray[np.int8]) -> Kept:
    """Those at the floor of their unit or above."""
    return Kept(*_filtered(*of, floor))


@compiled
def _filtered(unit: Any, row: Any, value: Any, level: Any, floor: Any) -> Any:
    m = 0
    for i in range(len(unit)):
        m += level[i] >= floor[unit[i]]
    units, rows, values = np.empty(m, np.int32), np.empty(m, np.int64), np.empty(m, np.float32)
    levels = np.empty(m, np.int8)
    m = 0
    for i in range(len(unit)):
        if level[i] >= floor[unit[i]]:
            units[m], rows[m], values[m], levels[m] = unit[i], row[i], value[i], level[i]
            m += 1
    return units, rows, values, levels


def _joined(parts: list[Kept]) -> Kept:
    if len(parts) == 1:
        return parts[0]
    empty = Kept(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int8))
    return Kept._make(np.concatenate(arrays) for arrays in zip(empty, *parts, strict=True))


def _only(of: Kept, where: NDArray[np.bool_] | NDArray[np.int64]) -> Kept:
    return Kept(of.unit[where], of.row[where], of.value[where], of.level[where])
